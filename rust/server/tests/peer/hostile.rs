//! Clients that mean harm.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use fastws_server::{Server, ServerConfig};
use tungstenite::Message;

use crate::{PATIENCE, after_head, connect, read_all, request, server, socket};

#[test]
fn what_is_no_upgrade_is_refused_with_the_reason() {
    let server = server();
    for (bytes, status, reason) in [
        (b"GET / HTTP/1.1\r\nHost: h\r\n\r\n".to_vec(), "400", "Upgrade: websocket"),
        (b"POST / HTTP/1.1\r\nHost: h\r\n\r\n".to_vec(), "400", "GET"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n".to_vec(), "400", ""),
        (String::from_utf8(request("/")).unwrap().replace("Version: 13", "Version: 8").into_bytes(), "426", "8"),
        ([b"GET / HTTP/1.1\r\nX: ".to_vec(), vec![b'x'; 70_000]].concat(), "431", "limit"),
    ] {
        let mut socket = socket(&server);
        socket.write_all(&bytes).unwrap();
        let (answer, _) = read_all(&mut socket);
        let text = String::from_utf8_lossy(&answer);
        assert!(text.starts_with(&format!("HTTP/1.1 {status} ")) && text.contains(reason), "{text}");
    }
    let errors: Vec<_> = server.connections().into_iter().filter_map(|report| report.error).collect();
    assert_eq!(errors.len(), 5);
}

#[test]
fn broken_frames_are_answered_with_the_code_of_their_fault() {
    let server = server();
    for (frames, code) in [
        (&b"\x81\x02hi"[..], 1002u16),
        (b"\x83\x80\0\0\0\0", 1002),
        (b"\xc1\x80\0\0\0\0", 1002),
        (b"\x81\x81\0\0\0\0\xff", 1007),
        (b"\x82\xff\x7f\xff\xff\xff\xff\xff\xff\xff\0\0\0\0", 1009),
        (b"\x82\xff\x80\0\0\0\0\0\0\0\0\0\0\0", 1002),
        (b"\x88\x82\0\0\0\0\x03\xed", 1002),
    ] {
        let mut socket = socket(&server);
        socket.write_all(&request("/echo")).unwrap();
        socket.write_all(frames).unwrap();
        let (answer, _) = read_all(&mut socket);
        let [0x88, _, high, low, ..] = after_head(&answer) else { panic!("{frames:02x?}: {answer:02x?}") };
        assert_eq!(u16::from_be_bytes([*high, *low]), code, "{frames:02x?}");
    }
}

#[test]
fn any_bytes_leave_the_server_alive() {
    let server = server();
    let mut seed = 1u64;
    for round in 0..200 {
        let mut socket = socket(&server);
        if round % 2 == 0 {
            socket.write_all(&request("/echo")).unwrap();
        }
        let noise: Vec<u8> = (0..500)
            .map(|_| {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                (seed >> 33) as u8
            })
            .collect();
        // The server may have had enough of it already.
        let _ = socket.write_all(&noise);
    }
    let mut client = connect(&server, "/echo");
    client.send(Message::text("alive")).unwrap();
    assert_eq!(client.read().unwrap(), Message::text("alive"));
    assert!(server.connections().iter().all(|report| !report.error.as_deref().unwrap_or_default().contains("panic")));
}

#[test]
fn a_client_that_never_asks_is_shown_the_door() {
    let server = Server::start(ServerConfig { timeout: Duration::from_millis(50), ..ServerConfig::default() }).unwrap();
    let mut socket = socket(&server);
    socket.write_all(b"GET / HT").unwrap();
    let (bytes, _) = read_all(&mut socket);
    assert!(bytes.is_empty());
    assert_eq!(server.connection(1).unwrap().error.as_deref(), Some("no request came in time"));
}

#[test]
fn a_client_that_sends_and_never_reads_is_held_back() {
    let server = server();
    let mut client = connect(&server, "/echo");
    client.get_mut().set_write_timeout(Some(Duration::from_millis(100))).unwrap();
    let payload = vec![0; 1 << 20];
    let mut sent = 0;
    // Two socket buffers each way, and what the server holds.
    while sent < 200 && client.send(Message::binary(payload.clone())).is_ok() {
        sent += 1;
    }
    assert!(sent < 200, "the server took 200 MiB from a client that reads nothing");
}

#[test]
fn two_thousand_idle_connections_stay_open_beside_a_busy_one() {
    let server = server();
    let mut idle = Vec::new();
    for _ in 0..2000 {
        // Where descriptors are short, fewer will do.
        let Ok(mut socket) = TcpStream::connect(server.addr()) else { break };
        if socket.write_all(&request("/echo")).is_err() {
            break;
        }
        idle.push(socket);
    }
    let count = idle.len() as u64;
    assert!(server.wait_for(PATIENCE, |server| server.stats().requests + server.stats().turned_away >= count));
    let requests = server.stats().requests;
    assert!(requests > 300, "{requests}");
    let mut busy = idle.swap_remove(0);
    let mut head = [0; 512];
    assert!(busy.read(&mut head).unwrap() > 0);
    for _ in 0..100 {
        busy.write_all(b"\x82\x83\0\0\0\0abc").unwrap();
        busy.read_exact(&mut head[..5]).unwrap();
        assert_eq!(&head[..5], b"\x82\x03abc");
    }
    assert!(server.stats().open >= requests);
    drop((idle, busy));
    assert!(server.wait_for(PATIENCE, |server| server.stats().open == 0));
}

#[test]
fn more_connections_than_allowed_are_turned_away() {
    let server = Server::start(ServerConfig { max_connections: 2, ..ServerConfig::default() }).unwrap();
    let _first = connect(&server, "/echo");
    let _second = connect(&server, "/echo");
    let mut third = socket(&server);
    // Its request may be on the way when it is closed: a reset then.
    let (bytes, _) = read_all(&mut third);
    assert!(bytes.is_empty());
    assert_eq!(server.stats().turned_away, 1);
}

#[test]
fn reports_are_bounded() {
    let server = Server::start(ServerConfig { max_reports: 3, ..ServerConfig::default() }).unwrap();
    for _ in 0..5 {
        drop(connect(&server, "/echo"));
        assert!(server.wait_for(PATIENCE, |server| server.stats().open == 0));
    }
    let ids: Vec<u64> = server.connections().iter().map(|report| report.id).collect();
    assert_eq!(ids, [3, 4, 5]);
}
