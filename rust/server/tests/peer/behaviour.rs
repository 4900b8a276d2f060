//! What the paths do.

use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, Instant};

use fastws_server::{Accept, Opcode, Outgoing, Server, ServerConfig, Step};
use tungstenite::client::IntoClientRequest;
use tungstenite::protocol::frame::Frame;
use tungstenite::protocol::frame::coding::{Data, OpCode};
use tungstenite::{Bytes, Error, Message};

use crate::{PATIENCE, connect, read_to_close, server, try_connect};

#[test]
fn echo_returns_messages_of_every_size_in_kind() {
    let server = server();
    let mut client = connect(&server, "/echo");
    for size in [0, 1, 125, 126, 4096, 65_535, 65_536, 300_000, 3 << 20] {
        let binary: Vec<u8> = (0..size).map(|i| (i * 7 + i / 251) as u8).collect();
        for message in [Message::text("ä".repeat(size / 2)), Message::binary(binary)] {
            client.send(message.clone()).unwrap();
            assert!(client.read().unwrap() == message, "{size}");
        }
    }
    client.close(None).unwrap();
    assert!(read_to_close(&mut client).0.is_empty());
    assert!(server.wait_for(PATIENCE, |server| server.stats().open == 0));
    let stats = server.stats();
    assert_eq!((stats.messages_in, stats.messages_out, stats.bytes_in), (18, 18, stats.bytes_out));
}

#[test]
fn echo_keeps_up_with_a_client_that_sends_a_thousand_before_it_reads_and_closes() {
    let server = server();
    let mut client = connect(&server, "/");
    for i in 0..1000u32 {
        client.write(Message::binary(i.to_le_bytes().to_vec())).unwrap();
    }
    client.close(None).unwrap();
    client.flush().unwrap();
    let (messages, code) = read_to_close(&mut client);
    let numbers = messages.iter().map(|m| u32::from_le_bytes(m.clone().into_data()[..].try_into().unwrap()));
    assert!(numbers.eq(0..1000));
    assert_eq!(code, None);
}

#[test]
fn fragments_come_back_as_the_same_message() {
    let server = Server::start(ServerConfig { record: true, ..ServerConfig::default() }).unwrap();
    let mut client = connect(&server, "/echo");
    let frame = |text: &str, data, fin| {
        Message::Frame(Frame::message(Bytes::from(text.as_bytes().to_vec()), OpCode::Data(data), fin))
    };
    client.send(frame("one ", Data::Text, false)).unwrap();
    client.send(Message::Ping(Bytes::from_static(b"between"))).unwrap();
    client.send(frame("message", Data::Continue, true)).unwrap();
    let mut seen = vec![client.read().unwrap(), client.read().unwrap()];
    seen.sort_by_key(Message::is_pong);
    assert_eq!(seen, [Message::text("one message"), Message::Pong(Bytes::from_static(b"between"))]);
    let report = &server.connections()[0];
    let frames: Vec<_> = report.frames.iter().map(|f| (f.opcode, f.fin, f.payload.as_slice())).collect();
    assert_eq!(
        frames,
        [
            (Opcode::Text, false, &b"one "[..]),
            (Opcode::Ping, true, b"between"),
            (Opcode::Continuation, true, b"message")
        ]
    );
    assert_eq!((report.messages_in, report.bytes_in, report.pings_ns.len()), (1, 11, 1));
    assert!(report.accepted_ns <= report.pings_ns[0] && !report.is_over());
}

#[test]
fn blast_sends_all_and_closes_with_1000() {
    let server = server();
    let mut client = connect(&server, "/blast?n=100_000&size=128&seq=1");
    let (messages, code) = read_to_close(&mut client);
    assert_eq!(code, Some(1000));
    let numbers = messages.iter().map(|m| {
        let data = m.clone().into_data();
        assert_eq!(data.len(), 128);
        u64::from_le_bytes(data[..8].try_into().unwrap())
    });
    assert!(numbers.eq(0..100_000));
    let mut client = connect(&server, "/blast?n=3&size=70000&text=1");
    assert_eq!(read_to_close(&mut client).0, vec![Message::text("x".repeat(70_000)); 3]);
    let mut client = connect(&server, "/blast?n=0");
    assert_eq!(read_to_close(&mut client), (vec![], Some(1000)));
}

#[test]
fn an_endless_blast_answers_pings_and_ends_with_the_clients_close() {
    let server = server();
    let mut client = connect(&server, "/blast?size=100");
    client.send(Message::Ping(Bytes::from_static(b"there?"))).unwrap();
    while client.read().unwrap() != Message::Pong(Bytes::from_static(b"there?")) {}
    client.close(None).unwrap();
    assert_eq!(read_to_close(&mut client).1, None);
}

#[test]
fn many_blasts_beside_each_other_all_end_and_an_echo_between_them_is_answered() {
    let server = server();
    let blasts: Vec<_> = (0..4).map(|_| connect(&server, "/blast?n=200_000&size=200")).collect();
    let mut echo = connect(&server, "/echo");
    std::thread::scope(|scope| {
        for mut client in blasts {
            scope.spawn(move || {
                let mut count = 0;
                while !matches!(client.read().unwrap(), Message::Close(_)) {
                    count += 1;
                }
                assert_eq!(count, 200_000);
            });
        }
        for i in 0..50 {
            echo.send(Message::text(format!("{i}"))).unwrap();
            assert_eq!(echo.read().unwrap(), Message::text(format!("{i}")));
        }
    });
}

#[test]
fn paced_messages_carry_their_times_and_numbers_at_the_rate() {
    let server = server();
    let mut client = connect(&server, "/paced?rate=2000&n=200&size=16");
    let (messages, code) = read_to_close(&mut client);
    assert_eq!((messages.len(), code), (200, Some(1000)));
    let fields: Vec<(u64, u64)> = messages
        .iter()
        .map(|message| {
            let data = message.clone().into_data();
            let number = |at: usize| u64::from_le_bytes(data[at..at + 8].try_into().unwrap());
            (number(0), number(8))
        })
        .collect();
    assert!(fields.iter().map(|field| field.1).eq(0..200));
    let start = server.connections()[0].answered_ns.unwrap();
    for (at, number) in &fields {
        assert!(*at >= start + number * 500_000, "message {number} left before it was due");
    }
    assert!(fields.is_sorted());
}

#[test]
fn sink_counts_and_says_nothing() {
    let server = server();
    let mut client = connect(&server, "/sink");
    for _ in 0..100 {
        client.send(Message::text("abc")).unwrap();
    }
    client.close(Some(tungstenite::protocol::CloseFrame { code: 4321.into(), reason: "done".into() })).unwrap();
    assert_eq!(read_to_close(&mut client), (vec![], Some(4321)));
    drop(client);
    assert!(server.wait_for(PATIENCE, |server| server.connections()[0].is_over()));
    let report = server.connection(1).unwrap();
    assert_eq!((report.messages_in, report.bytes_in, report.messages_out), (100, 300, 0));
    assert_eq!(report.close_received, Some((4321, "done".to_owned())));
    assert!(report.peer_fin);
    assert_eq!(report.error, None);
}

#[test]
fn a_refusal_has_the_status_headers_and_body_asked_for() {
    let server = server();
    for (target, status, body) in [
        ("/status/403?header=Retry-After:3&body=go+away", 403, "go away"),
        ("/nothing/here", 404, "no such path"),
        ("/blast?sise=1", 400, "sise"),
        ("/replay/unknown", 404, "no feed is called \"unknown\""),
        ("/echo?fault=status:503", 503, ""),
    ] {
        match try_connect(&server, server.url(target)) {
            Err(Error::Http(response)) => {
                assert_eq!(response.status().as_u16(), status, "{target}");
                let text = String::from_utf8(response.body().clone().unwrap_or_default()).unwrap();
                assert!(text.contains(body), "{target}: {text}");
                if status == 403 {
                    assert_eq!(response.headers()["retry-after"], "3");
                }
            }
            other => panic!("{target}: {:?}", other.map(|(_, response)| response)),
        }
    }
}

#[test]
fn the_request_is_reported_and_answered_with_subprotocol_and_headers() {
    let config = ServerConfig {
        subprotocols: vec!["b".to_owned(), "a".to_owned()],
        headers: vec![("X-Server".to_owned(), "peer".to_owned())],
        ..ServerConfig::default()
    };
    let server = Server::start(config).unwrap();
    let mut request = server.url("/echo?header=X-More:yes").into_client_request().unwrap();
    request.headers_mut().insert("Sec-WebSocket-Protocol", "a, b".parse().unwrap());
    request.headers_mut().insert("X-Client", "me".parse().unwrap());
    let (_client, response) = try_connect(&server, request).unwrap();
    let header = |name| response.headers().get(name).map(|value| value.to_str().unwrap());
    assert_eq!(
        (header("sec-websocket-protocol"), header("x-server"), header("x-more")),
        (Some("b"), Some("peer"), Some("yes"))
    );
    let report = server.connection(1).unwrap();
    assert_eq!((report.path(), report.subprotocol.as_deref()), ("/echo", Some("b")));
    assert!(report.headers.iter().any(|(name, value)| name.eq_ignore_ascii_case("x-client") && value == "me"));
    assert!(report.answered_ns.is_some());
}

#[test]
fn scripts_run_in_turn_and_then_the_path_is_itself_again() {
    let server = server();
    let script = vec![
        Step::Send(Outgoing::Text("hello".to_owned())),
        Step::Expect(2),
        Step::Wait(Duration::from_millis(20)),
        Step::Send(Outgoing::Fragments(false, vec![b"a".to_vec(), b"".to_vec(), b"b".to_vec()])),
        Step::Echo(1),
        Step::Send(Outgoing::Close(Some(4000), "bye".to_owned())),
    ];
    server.script("/echo", script, Some(1));
    server.script(
        "/echo",
        vec![Step::Accept(Accept { glued: b"\x81\x02hi".to_vec(), ..Accept::default() }), Step::End],
        Some(1),
    );
    let mut client = connect(&server, "/echo");
    assert_eq!(client.read().unwrap(), Message::text("hello"));
    let begun = Instant::now();
    client.send(Message::text("1")).unwrap();
    client.send(Message::text("2")).unwrap();
    assert_eq!(client.read().unwrap(), Message::binary(&b"ab"[..]));
    assert!(begun.elapsed() >= Duration::from_millis(20));
    client.send(Message::text("echo me")).unwrap();
    assert_eq!(read_to_close(&mut client), (vec![Message::text("echo me")], Some(4000)));
    assert_eq!(read_to_close(&mut connect(&server, "/echo")), (vec![Message::text("hi")], Some(1000)));
    let mut client = connect(&server, "/echo");
    client.send(Message::text("3")).unwrap();
    assert_eq!(client.read().unwrap(), Message::text("3"));
}

#[test]
fn the_server_pings_when_asked_to() {
    let server = server();
    let mut client = connect(&server, "/echo?ping_ms=5");
    for _ in 0..3 {
        assert!(client.read().unwrap().is_ping());
    }
    client.flush().unwrap();
    assert!(server.wait_for(PATIENCE, |server| server.connection(1).unwrap().pongs_ns.len() >= 2));
}

#[test]
fn steps_can_be_given_to_an_open_connection() {
    let server = server();
    let mut client = connect(&server, "/blast?size=10");
    client.read().unwrap();
    server.inject(Some(1), &[Step::Send(Outgoing::Text("now".to_owned())), Step::End]);
    let (messages, code) = read_to_close(&mut client);
    assert_eq!((messages.last(), code), (Some(&Message::text("now")), Some(1000)));
}

#[test]
fn connections_are_shared_by_threads_and_ipv6_is_spoken() {
    let config = ServerConfig { host: IpAddr::V6(Ipv6Addr::LOCALHOST), threads: 3, ..ServerConfig::default() };
    let Ok(server) = Server::start(config) else {
        eprintln!("skipped: this machine has no IPv6");
        return;
    };
    assert!(server.url("/echo").starts_with("ws://[::1]:"));
    let mut clients: Vec<_> = (0..10).map(|_| connect(&server, "/echo")).collect();
    for client in &mut clients {
        client.send(Message::text("x")).unwrap();
        assert_eq!(client.read().unwrap(), Message::text("x"));
    }
    assert_eq!(server.stats().open, 10);
}

#[test]
fn stopping_says_goodbye_and_is_quick_with_clients_that_do_not_read() {
    let server = server();
    let mut quiet = connect(&server, "/echo");
    let _flooded: Vec<_> = (0..5).map(|_| connect(&server, "/blast")).collect();
    let _frozen = connect(&server, "/silence?read=0");
    let begun = Instant::now();
    server.stop();
    assert!(begun.elapsed() < Duration::from_secs(5));
    assert_eq!(read_to_close(&mut quiet).1, Some(1001));
    assert_eq!(server.stats().open, 0);
    server.stop();
}
