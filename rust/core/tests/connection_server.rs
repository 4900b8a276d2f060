//! The machine as a server, through its public face: what differs from a client.

mod common;

use common::{End, Item, Pair, close_payload, frame, frame_as, handshake, ping, quiet, text};
use fastws_core::connection::{StreamEnd, Teardown};
use fastws_core::handshake::{RequestReader, accept, refuse};
use fastws_core::{Cause, Config, Connection, Delivery, Limits, Misuse, Opcode, Role, State, Violation};

#[test]
fn whatever_arrives_however_cut() {
    assert!(common::cases::check_all(Role::Server) > 250);
}

#[test]
fn a_server_masks_nothing() {
    let mut end = End::open(quiet(Role::Server));
    end.send_text("text");
    end.conn.ping(Some(b"ping"), 0).unwrap();
    end.frame(0x89, b"pong");
    end.close(1000, "");
    let wire = end.write_all();
    assert_eq!(wire, b"\x89\x04ping\x8a\x04pong\x81\x04text\x88\x02\x03\xe8");
}

#[test]
fn any_key_unmasks_at_any_offset() {
    let payload: Vec<u8> = "κόσμε ".bytes().cycle().take(300).collect();
    for key in [[0; 4], [0xff; 4], [1, 2, 3, 4], [0x80, 0, 0, 0x80]] {
        let wire = frame_as(0x82, Some(key), &payload);
        for first in 1..40 {
            let mut end = End::open(quiet(Role::Server));
            end.feed_in(&wire, &[first, 3, 7, 64]);
            assert_eq!(end.items(), [common::binary(&payload)], "{key:?} {first}");
        }
    }
}

fn request() -> Vec<u8> {
    handshake().0.request_bytes().to_vec()
}

fn acceptance() -> Vec<u8> {
    handshake().1
}

fn server() -> End {
    End::of(Connection::server(quiet(Role::Server)))
}

#[test]
fn the_upgrade_between_our_two_ends_however_cut() {
    for sizes in [&[][..], &[1], &[7, 3]] {
        let mut pair = Pair::connect();
        pair.pump(sizes);
        assert_eq!(pair.server.items(), [Item::Requested("/chat".to_owned())]);
        assert_eq!(pair.client.conn.state(), State::Connecting);
        pair.server.conn.accept(acceptance(), 0).unwrap();
        assert_eq!(pair.server.conn.state(), State::Open);
        pair.server.send_text("glued to the answer");
        pair.pump(sizes);
        assert_eq!(pair.client.items(), [Item::Opened(101), text("glued to the answer")]);
        pair.client.send_text("hello");
        pair.pump(sizes);
        assert_eq!(pair.server.items(), [text("hello")]);
    }
}

#[test]
fn frames_behind_a_request_wait_for_its_answer() {
    let frames = [frame(Role::Server, 0x81, b"eager"), frame(Role::Server, 0x89, b"p")].concat();
    let wire = [request(), frames].concat();
    for cut in [1, request().len() - 1, request().len(), request().len() + 1, wire.len()] {
        let mut end = server();
        end.feed_in(&wire, &[cut, 1]);
        assert_eq!(end.items(), [Item::Requested("/chat".to_owned())], "{cut}");
        assert_eq!(end.unread.len(), wire.len() - request().len(), "not a byte of them is consumed");
        end.feed(&[]);
        assert_eq!(end.items(), []);
        end.conn.accept(acceptance(), 0).unwrap();
        end.feed(&[]);
        assert_eq!(end.items(), [text("eager"), ping(b"p")]);
        let wire = end.write_all();
        assert!(wire.starts_with(b"HTTP/1.1 101 ") && wire.ends_with(b"\x8a\x01p"));
    }
}

#[test]
fn a_request_is_answered_once_and_only_when_there_is_one() {
    let mut end = server();
    assert_eq!(end.conn.accept(acceptance(), 0), Err(Misuse::NotOpen));
    assert_eq!(end.conn.refuse(b"HTTP/1.1 503 x\r\n\r\n".to_vec()), Err(Misuse::NotOpen));
    end.feed(&request());
    end.conn.accept(acceptance(), 0).unwrap();
    assert_eq!(end.conn.accept(acceptance(), 0), Err(Misuse::NotOpen));
    assert_eq!(end.conn.refuse(b"HTTP/1.1 503 x\r\n\r\n".to_vec()), Err(Misuse::NotOpen));
    assert_eq!(end.write_all(), acceptance());
    assert_eq!(end.conn.accept(acceptance(), 0), Err(Misuse::NotOpen));

    let mut gone = server();
    gone.feed(&request()).end(StreamEnd::Clean);
    assert_eq!(gone.conn.accept(acceptance(), 0), Err(Misuse::NotOpen));
    assert_eq!((gone.conn.state(), gone.conn.teardown()), (State::Closed, Teardown::Close));
}

#[test]
fn a_refusal_is_written_and_then_the_stream_is_closed() {
    let refusal = refuse(503, "Busy", &[], b"later").unwrap();
    let mut pair = Pair::connect();
    pair.pump_all();
    pair.server.conn.refuse(refusal.clone()).unwrap();
    assert_eq!((pair.server.conn.state(), pair.server.conn.teardown()), (State::Closing, Teardown::Keep));
    assert_eq!(pair.server.conn.send(Opcode::Text, b""), Err(Misuse::Closing));
    pair.server.feed(b"what still comes is ignored");
    assert!(pair.server.unread.is_empty());
    pair.pump(&[3]);
    let items = pair.client.items();
    assert!(matches!(&items[..], [Item::Refused(_, Some(503))]), "{items:?}");
    assert_eq!((pair.client.conn.state(), pair.server.conn.state()), (State::Closed, State::Closed));
}

#[test]
fn what_is_no_upgrade_is_refused_at_once() {
    for (wire, reason) in [
        (&b"\x16\x03\x01"[..], "TLS"),
        (b"POST / HTTP/1.1\r\nHost: h\r\n\r\n", "POST"),
        (b"GET / HTTP/1.1\r\nHost: h\r\n\r\n", "Upgrade"),
    ] {
        let mut end = server();
        end.feed(wire);
        let items = end.items();
        let [Item::Refused(error, None)] = &items[..] else { panic!("{items:?}") };
        assert!(error.contains(reason), "{error}");
        assert_eq!((end.conn.state(), end.conn.teardown()), (State::Closed, Teardown::Close));
    }
    let mut end = End::of(Connection::server(Config {
        limits: Limits { max_head: 100, ..Limits::default() },
        ..quiet(Role::Server)
    }));
    end.feed_in(&request(), &[10]);
    assert!(matches!(&end.items()[..], [Item::Refused(error, None)] if error.contains("100 bytes")));
}

#[test]
fn the_server_ends_the_stream_first() {
    let mut pair = Pair::open();
    pair.client.close(1000, "");
    pair.server.feed(&pair.client.write_all());
    assert_eq!(pair.server.conn.teardown(), Teardown::Keep, "its answer is to be written");
    pair.client.feed(&pair.server.write_all());
    assert_eq!((pair.client.conn.teardown(), pair.server.conn.teardown()), (Teardown::Keep, Teardown::Close));
    assert_eq!(pair.client.conn.state(), State::Closing);
    pair.client.end(StreamEnd::Clean);
    assert_eq!(pair.client.conn.teardown(), Teardown::Close);
}

#[test]
fn a_violation_is_told_to_the_client_and_the_stream_closed() {
    let mut end = End::open(quiet(Role::Server));
    end.send_text("dropped: nothing of it was written");
    end.frame(0x81, b"ok").feed(b"\x81\x02no");
    assert_eq!(end.items(), [text("ok"), Item::Over]);
    assert_eq!(end.sent(), [(Opcode::Close, true, close_payload(1002, &Violation::Unmasked.to_string()))]);
    assert_eq!(end.conn.teardown(), Teardown::Close);
    assert_eq!(end.conn.close_info().cause, Some(Cause::Protocol(Violation::Unmasked.into())));
}

#[test]
fn a_handshake_done_elsewhere() {
    let wire = request();
    let (used, request) = RequestReader::default().receive(&wire, &Limits::default()).unwrap();
    assert_eq!((used, accept(&request.unwrap(), None, &[]).unwrap()), (wire.len(), acceptance()));
    let mut end = End::open(Config { delivery: Delivery::Frames, ..quiet(Role::Server) });
    assert!(!end.conn.wants_write());
    end.frame(0x81, b"x");
    assert_eq!(end.items(), [text("x")]);
}
