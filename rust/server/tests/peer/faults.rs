//! What the server breaks on purpose, seen on the wire.

use std::io::{ErrorKind, Read, Write};
use std::time::{Duration, Instant};

use fastws_server::{At, Fault, FaultRule, Outgoing, Refusal, Server, ServerConfig, Step};
use tungstenite::{Bytes, Error, Message};

use crate::{PATIENCE, after_head, connect, read_all, read_to_close, request, server, socket, try_connect};

#[test]
fn close_with_a_code_after_so_many_messages() {
    let server = server();
    let mut client = connect(&server, "/blast?n=1000&size=50&fault=close:4001:so:+there@100");
    let (messages, code) = read_to_close(&mut client);
    assert_eq!((messages.len(), code), (100, Some(4001)));
    let mut client = connect(&server, "/echo?fault=close:4002@3");
    for _ in 0..10 {
        client.send(Message::text("x")).unwrap();
    }
    let (messages, code) = read_to_close(&mut client);
    assert_eq!((messages.len(), code), (3, Some(4002)));
    assert_eq!(read_to_close(&mut connect(&server, "/close?code=3000&reason=why")).1, Some(3000));
    assert_eq!(read_to_close(&mut connect(&server, "/close?code=0")).1, None);
}

#[test]
fn close_codes_that_may_not_be_sent_are_sent() {
    let server = server();
    let mut socket = socket(&server);
    socket.write_all(&request("/close?code=1005&reason=x")).unwrap();
    let mut bytes = [0; 512];
    let mut seen = Vec::new();
    while !seen.ends_with(b"\x88\x03\x03\xedx") {
        let count = socket.read(&mut bytes).unwrap();
        assert!(count > 0, "{seen:?}");
        seen.extend_from_slice(&bytes[..count]);
    }
}

#[test]
fn a_reset_arrives_behind_all_that_was_sent_before_it() {
    let server = server();
    let mut client = connect(&server, "/blast?n=50000&size=1000&fault=reset@20000");
    let mut count = 0;
    let error = loop {
        match client.read() {
            Ok(_) => count += 1,
            Err(error) => break error,
        }
    };
    assert_eq!(count, 20_000);
    assert!(matches!(&error, Error::Io(e) if e.kind() == ErrorKind::ConnectionReset), "{error}");
}

#[test]
fn a_reset_instead_of_an_answer() {
    let server = server();
    let error = try_connect(&server, server.url("/echo?fault=reset@request")).unwrap_err();
    assert!(matches!(&error, Error::Io(e) if e.kind() == ErrorKind::ConnectionReset), "{error}");
}

#[test]
fn the_end_of_the_stream_without_a_close_frame() {
    let server = server();
    for fault in ["eof", "truncate", "half-close"] {
        let mut socket = socket(&server);
        socket.write_all(&request(&format!("/blast?n=5&size=2&fault={fault}@2"))).unwrap();
        let (bytes, outcome) = read_all(&mut socket);
        outcome.unwrap();
        assert_eq!(after_head(&bytes), b"\x82\x02xx\x82\x02xx", "{fault}");
    }
}

#[test]
fn after_a_half_close_the_server_still_reads() {
    let server = server();
    let mut socket = socket(&server);
    socket.write_all(&request("/sink?fault=half-close")).unwrap();
    read_all(&mut socket).1.unwrap();
    socket.write_all(b"\x82\x83\0\0\0\0abc").unwrap();
    assert!(server.wait_for(PATIENCE, |server| server.stats().bytes_in == 3));
}

#[test]
fn silence_reads_on_but_answers_neither_ping_nor_close() {
    let server = server();
    let mut client = connect(&server, "/echo?fault=silence@1");
    client.send(Message::text("1")).unwrap();
    assert_eq!(client.read().unwrap(), Message::text("1"));
    client.send(Message::text("2")).unwrap();
    client.send(Message::Ping(Bytes::new())).unwrap();
    client.close(None).unwrap();
    assert!(server.wait_for(PATIENCE, |server| server.connection(1).unwrap().close_received.is_some()));
    let report = server.connection(1).unwrap();
    assert_eq!((report.messages_in, report.messages_out, report.pings_ns.len()), (2, 1, 1));
    client.get_mut().set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    let error = client.read().unwrap_err();
    assert!(matches!(&error, Error::Io(e) if e.kind() == ErrorKind::WouldBlock), "{error}");
}

#[test]
fn a_server_that_does_not_read_holds_the_client_back_until_it_reads_again() {
    let server = server();
    let mut client = connect(&server, "/sink?fault=stall");
    client.get_mut().set_write_timeout(Some(Duration::from_millis(100))).unwrap();
    let payload = Bytes::from(vec![0; 1 << 20]);
    let mut sent = 0;
    let error = loop {
        match client.send(Message::Binary(payload.clone())) {
            Ok(()) => sent += 1,
            Err(error) => break error,
        }
        assert!(sent < 200, "{sent} MiB went into a server that does not read");
    };
    assert!(matches!(&error, Error::Io(e) if e.kind() == ErrorKind::WouldBlock), "{error}");
    assert!(server.stats().messages_in <= 1);
    server.inject(None, &[Step::Fault(Fault::StallReading(Some(Duration::ZERO)))]);
    client.get_mut().set_write_timeout(Some(PATIENCE)).unwrap();
    client.flush().unwrap();
    assert!(server.wait_for(PATIENCE, |server| server.stats().messages_in == sent + 1));
}

#[test]
fn a_stall_ends_by_itself() {
    let server = server();
    let begun = Instant::now();
    let mut client = connect(&server, "/echo?fault=stall:30");
    client.send(Message::text("x")).unwrap();
    assert_eq!(client.read().unwrap(), Message::text("x"));
    assert!(begun.elapsed() >= Duration::from_millis(20));
}

#[test]
fn a_client_that_resets_is_seen_also_while_the_server_does_not_read() {
    let server = server();
    for target in ["/echo", "/sink?fault=stall", "/silence?read=0"] {
        let client = connect(&server, target);
        let id = server.stats().accepted;
        socket2::SockRef::from(client.get_ref()).set_linger(Some(Duration::ZERO)).unwrap();
        drop(client);
        assert!(server.wait_for(PATIENCE, |server| server.connection(id).unwrap().is_over()), "{target}");
        assert!(server.connection(id).unwrap().peer_reset, "{target}");
    }
}

#[test]
fn a_drip_feeds_single_bytes() {
    let server = server();
    let mut socket = socket(&server);
    let begun = Instant::now();
    socket.write_all(&request("/blast?n=40&size=20&fault=drip:1:1@request")).unwrap();
    let (mut bytes, mut reads, mut buffer) = (Vec::new(), 0, [0; 1024]);
    while !bytes.ends_with(b"\x88\x02\x03\xe8") {
        let count = socket.read(&mut buffer).unwrap();
        bytes.extend_from_slice(&buffer[..count]);
        reads += 1;
    }
    assert_eq!(after_head(&bytes).len(), 40 * 22 + 4);
    // As many as there are bytes, but for those that came while this thread did not run.
    assert!(reads > 8, "{} bytes in {reads} reads", bytes.len());
    assert!(begun.elapsed() >= Duration::from_millis(bytes.len() as u64 - 1));
}

#[test]
fn garbage_and_raw_bytes_go_onto_the_wire_as_they_are() {
    let server = server();
    for (target, expected) in [
        ("/blast?n=2&size=1&fault=garbage:c0ffee@1", &b"\x82\x01x\xc0\xff\xee\x82\x01x\x88\x02\x03\xe8"[..]),
        ("/close?glue=81026869", b"\x81\x02hi\x88\x02\x03\xe8"),
        ("/raw?hex=8900&fault=eof@9", b"\x89\x00"),
    ] {
        let mut socket = socket(&server);
        socket.write_all(&request(target)).unwrap();
        let mut bytes = Vec::new();
        while !bytes.ends_with(expected) {
            let mut buffer = [0; 1024];
            let count = socket.read(&mut buffer).unwrap();
            assert!(count > 0, "{target}: {bytes:02x?}");
            bytes.extend_from_slice(&buffer[..count]);
        }
        assert_eq!(after_head(&bytes), expected, "{target}");
    }
}

#[test]
fn glued_bytes_come_in_the_same_segment_as_the_response() {
    let server = server();
    let mut socket = socket(&server);
    socket.write_all(&request("/echo?glue=81026869")).unwrap();
    let mut buffer = [0; 4096];
    let count = socket.read(&mut buffer).unwrap();
    assert_eq!(after_head(&buffer[..count]), b"\x81\x02hi");
}

#[test]
fn any_answer_to_the_upgrade_can_be_given() {
    let server = server();
    let answer = b"HTTP/1.1 101\r\nUpgrade: websocket\r\nConnection: upgrade\r\nSec-WebSocket-Accept: {accept}\r\n\r\n";
    server.script("/odd", vec![Step::Answer(answer.to_vec()), Step::Echo(u64::MAX)], None);
    let mut socket = socket(&server);
    socket.write_all(&request("/odd")).unwrap();
    socket.write_all(b"\x82\x83\0\0\0\0abc").unwrap();
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"\x82\x03abc") {
        let mut buffer = [0; 1024];
        let count = socket.read(&mut buffer).unwrap();
        assert!(count > 0);
        bytes.extend_from_slice(&buffer[..count]);
    }
    assert!(bytes.starts_with(b"HTTP/1.1 101\r\n"));
    let accept = b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n";
    assert!(bytes.windows(accept.len()).any(|window| window == accept));
}

#[test]
fn an_answer_can_be_delayed_and_so_can_the_reading_of_a_new_connection() {
    let slow = ServerConfig { accept_delay: Duration::from_millis(40), ..ServerConfig::default() };
    for (server, target) in [(server(), "/echo?accept_ms=40"), (Server::start(slow).unwrap(), "/echo")] {
        let begun = Instant::now();
        let mut client = connect(&server, target);
        assert!(begun.elapsed() >= Duration::from_millis(40));
        client.send(Message::text("x")).unwrap();
        assert_eq!(client.read().unwrap(), Message::text("x"));
    }
}

#[test]
fn pings_can_be_ignored_while_data_flows() {
    let server = server();
    let mut client = connect(&server, "/echo?fault=ignore-pings");
    client.send(Message::Ping(Bytes::from_static(b"x"))).unwrap();
    client.send(Message::text("y")).unwrap();
    assert_eq!(client.read().unwrap(), Message::text("y"));
    client.close(None).unwrap();
    assert!(read_to_close(&mut client).0.is_empty());
}

#[test]
fn rules_break_the_connections_they_name() {
    let refusal = Refusal { status: 503, headers: vec![], body: vec![] };
    let faults = vec![
        FaultRule {
            path: Some("/echo".to_owned()),
            connections: 0..1,
            at: At::Open,
            steps: vec![Step::Fault(Fault::Eof)],
        },
        FaultRule {
            path: Some("/echo".to_owned()),
            connections: 1..2,
            at: At::Request,
            steps: vec![Step::Refuse(refusal)],
        },
        FaultRule {
            path: None,
            connections: 2..3,
            at: At::Message(1),
            steps: vec![Step::Send(Outgoing::Close(Some(1012), String::new()))],
        },
    ];
    let server = Server::start(ServerConfig { faults, ..ServerConfig::default() }).unwrap();
    let mut first = connect(&server, "/echo");
    assert!(matches!(first.read(), Err(Error::Protocol(_))));
    assert!(
        matches!(try_connect(&server, server.url("/echo")), Err(Error::Http(response)) if response.status() == 503)
    );
    let mut third = connect(&server, "/echo");
    third.send(Message::text("x")).unwrap();
    assert_eq!(read_to_close(&mut third), (vec![Message::text("x")], Some(1012)));
    let mut fourth = connect(&server, "/echo");
    fourth.send(Message::text("x")).unwrap();
    assert_eq!(fourth.read().unwrap(), Message::text("x"));
}

#[test]
fn a_fault_can_be_injected_under_a_client_that_does_not_read() {
    let server = server();
    let client = connect(&server, "/blast?size=1000");
    assert!(server.wait_for(PATIENCE, |server| server.stats().messages_out > 100));
    server.inject(None, &[Step::Fault(Fault::Reset)]);
    assert!(server.wait_for(PATIENCE, |server| server.stats().open == 0));
    drop(client);
}
