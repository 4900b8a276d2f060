//! The end of a connection: closing handshakes from both ends, ends of the stream, keepalive.

mod common;

use common::{End, Item, Pair, close_payload, config, frame, frames_of, quiet, text};
use fastws_core::close::CloseInfo;
use fastws_core::connection::{StreamEnd, Teardown};
use fastws_core::{Broken, Cause, Initiator, Misuse, Opcode, Place, Role, SECOND, State};

const ROLES: [Role; 2] = [Role::Client, Role::Server];

fn outcome(info: &CloseInfo) -> (u16, bool, Option<Initiator>) {
    (info.code().into(), info.is_clean(), info.initiator)
}

#[test]
fn closing_handshakes_from_either_end_and_from_both_at_once() {
    for (by_client, by_server) in [(true, false), (false, true), (true, true)] {
        for sizes in [&[][..], &[1], &[1, 3]] {
            let mut pair = Pair::open();
            if by_client {
                pair.client.close(3001, "client");
            }
            if by_server {
                pair.server.close(3002, "server");
            }
            pair.pump(sizes);
            let (client, server) = (pair.client.conn.close_info(), pair.server.conn.close_info());
            assert!(client.is_clean() && server.is_clean(), "{client:?} {server:?}");
            assert_eq!(client.code().0, if by_server { 3002 } else { 3001 });
            assert_eq!(server.code().0, if by_client { 3001 } else { 3002 });
            assert_eq!(client.reason(), if by_server { "server" } else { "" });
            let initiator = |local| Some(if local { Initiator::Local } else { Initiator::Remote });
            assert_eq!((client.initiator, server.initiator), (initiator(by_client), initiator(by_server)));
            assert_eq!((pair.client.conn.state(), pair.server.conn.state()), (State::Closed, State::Closed));
            assert_eq!(pair.client.items(), [Item::Over]);
            assert_eq!(pair.server.items(), [Item::Over]);
        }
    }
}

#[test]
fn a_close_after_a_close_changes_nothing() {
    for role in ROLES {
        let mut end = End::open(quiet(role));
        end.close(1000, "first");
        end.close(1001, "second");
        assert_eq!(end.sent_closes(), [close_payload(1000, "first")]);
        end.frame(0x88, &close_payload(1000, "")).frame(0x88, &close_payload(4000, "again"));
        end.close(1001, "third");
        assert!(!end.conn.wants_write());
        assert_eq!(outcome(end.conn.close_info()), (1000, true, Some(Initiator::Local)));
    }
}

#[test]
fn close_comes_behind_all_data_and_data_still_arrives_until_the_peers_close() {
    for role in ROLES {
        let mut end = End::open(quiet(role));
        end.send_text("one");
        end.conn.send_fragment(Opcode::Text, b"unfinished", false).unwrap();
        end.close(1000, "");
        assert_eq!(end.conn.send(Opcode::Text, b"late"), Err(Misuse::Closing));
        assert_eq!(end.conn.send_fragment(Opcode::Text, b"late", true), Err(Misuse::Closing));
        let opcodes: Vec<Opcode> = end.sent().into_iter().map(|(opcode, ..)| opcode).collect();
        assert_eq!(opcodes, [Opcode::Text, Opcode::Text, Opcode::Close]);
        end.frame(0x81, b"on its way").frame(0x88, b"").frame(0x81, b"too late");
        assert_eq!(end.items(), [text("on its way"), Item::Over]);
        assert_eq!(outcome(end.conn.close_info()), (1005, true, Some(Initiator::Local)));
    }
}

/// One step of a connection's end.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Step {
    /// We close, and it is written.
    Close,
    /// The peer's Close arrives, and our answer is written.
    PeerClose,
    /// The peer breaks the protocol.
    Violation,
    Fin,
    Cut,
    Reset,
    /// Time passes, ten seconds.
    Timeout,
}

/// Steps, close code, cause, and the teardown as a client and as a server.
type Row<'a> = (&'a [Step], u16, Option<Cause>, [Teardown; 2]);

#[test]
fn every_end_of_a_stream() {
    use Step::{Close, Cut, Fin, PeerClose, Reset, Timeout, Violation};
    let broken = Broken { text: "reset".to_owned(), number: Some(104) };
    let reset = Cause::Transport(broken.clone());
    let violation = Cause::Protocol(fastws_core::Violation::Opcode(3).into());
    // Steps, the code, the cause, what the client and the server do with the stream then.
    let keep = [Teardown::Keep, Teardown::Keep];
    let close = [Teardown::Close, Teardown::Close];
    let server_first = [Teardown::Keep, Teardown::Close];
    let table: [Row; 21] = [
        (&[Close], 1006, None, keep),
        (&[PeerClose], 1000, None, server_first),
        (&[Close, PeerClose], 1000, None, server_first),
        (&[PeerClose, Fin], 1000, None, close),
        (&[PeerClose, Cut], 1000, None, close),
        (&[PeerClose, Reset], 1000, None, close),
        (&[PeerClose, Timeout], 1000, None, close),
        (&[Close, PeerClose, Timeout], 1000, None, close),
        (&[Close, PeerClose, Reset], 1000, None, close),
        (&[Fin], 1006, Some(Cause::Eof(Place::Between)), close),
        (&[Cut], 1006, Some(Cause::Truncated(Place::Between)), close),
        (&[Reset], 1006, Some(reset.clone()), close),
        (&[Close, Fin], 1006, Some(Cause::Eof(Place::Between)), close),
        (&[Close, Cut], 1006, Some(Cause::Truncated(Place::Between)), close),
        (&[Close, Reset], 1006, Some(reset), close),
        (&[Close, Timeout], 1006, Some(Cause::CloseTimeout), close),
        (&[Violation], 1006, Some(violation.clone()), [Teardown::HalfClose, Teardown::Close]),
        (&[Violation, PeerClose], 1006, Some(violation.clone()), [Teardown::HalfClose, Teardown::Close]),
        (&[Violation, Fin], 1006, Some(violation.clone()), close),
        (&[Violation, Timeout], 1006, Some(violation.clone()), close),
        (&[Close, Violation, Reset], 1006, Some(violation), close),
    ];
    for (steps, code, cause, teardown) in table {
        for role in ROLES {
            let mut end = End::open(quiet(role));
            for step in steps {
                match step {
                    Close => end.close(1000, ""),
                    PeerClose => drop(end.frame(0x88, &close_payload(1000, ""))),
                    Violation => drop(end.frame(0x83, b"")),
                    Fin => drop(end.end(StreamEnd::Clean)),
                    Cut => drop(end.end(StreamEnd::Truncated)),
                    Reset => drop(end.end(StreamEnd::Error(broken.clone()))),
                    Timeout => drop(end.at(10)),
                }
                end.write_all();
            }
            let info = end.conn.close_info();
            assert_eq!((u16::from(info.code()), &info.cause), (code, &cause), "{role:?} {steps:?}");
            assert_eq!(info.is_clean(), code == 1000, "{role:?} {steps:?}");
            assert_eq!(end.conn.teardown(), teardown[role as usize], "{role:?} {steps:?}");
            let overs = end.items().iter().filter(|item| **item == Item::Over).count();
            assert_eq!(overs, usize::from(steps != [Close]), "{role:?} {steps:?}: told once that data is over");
            end.conn.stream_closed();
            assert_eq!((end.conn.state(), end.conn.teardown()), (State::Closed, Teardown::Close));
            assert!(end.conn.data_over());
        }
    }
}

#[test]
fn an_end_in_the_middle_of_something_says_where() {
    for role in ROLES {
        let mask = if role == Role::Server { 4 } else { 0 };
        let long = frame(role, 0x82, &[b'x'; 300]);
        let ping = frame(role, 0x89, b"0123456789");
        let table: [(Vec<u8>, Place); 8] = [
            (vec![], Place::Between),
            (long.clone(), Place::Between),
            (long[..1].to_vec(), Place::Header),
            (long[..3].to_vec(), Place::Header),
            (long[..4 + mask + 48].to_vec(), Place::Frame { got: 48, of: 300 }),
            (ping[..2 + mask + 3].to_vec(), Place::Frame { got: 3, of: 10 }),
            (frame(role, 0x01, b"half"), Place::Message),
            ([frame(role, 0x01, b"half"), frame(role, 0x89, b"")].concat(), Place::Message),
        ];
        for (bytes, place) in table {
            for (end_of_stream, cause) in
                [(StreamEnd::Clean, Cause::Eof(place)), (StreamEnd::Truncated, Cause::Truncated(place))]
            {
                let mut end = End::open(quiet(role));
                end.feed(&bytes).end(end_of_stream);
                assert_eq!(end.conn.close_info().cause, Some(cause), "{role:?} {bytes:?}");
            }
        }
    }
}

#[test]
fn after_the_peers_fin_what_is_queued_is_still_written() {
    for role in ROLES {
        let mut end = End::open(quiet(role));
        end.send_text("for a reader that stays");
        end.end(StreamEnd::Clean);
        assert_eq!((end.conn.state(), end.conn.teardown()), (State::Closing, Teardown::Keep));
        assert_eq!(end.sent().len(), 1);
        assert_eq!(end.conn.teardown(), Teardown::Close);
        end.conn.stream_closed();
        assert_eq!(end.conn.close_info().cause, Some(Cause::Eof(Place::Between)));
    }
}

#[test]
fn an_abort_is_the_end_at_once() {
    for role in ROLES {
        let mut end = End::open(quiet(role));
        end.send_text("lost");
        end.frame(0x01, b"half");
        end.conn.abort("enough");
        assert_eq!((end.conn.state(), end.conn.teardown()), (State::Closed, Teardown::Close));
        assert_eq!(end.conn.close_info().cause, Some(Cause::Aborted("enough".to_owned())));
        end.frame(0x80, b"other half").frame(0x89, b"");
        end.end(StreamEnd::Clean).at(100);
        end.close(1000, "");
        assert_eq!(end.items(), []);
        assert_eq!(end.conn.close_info().cause, Some(Cause::Aborted("enough".to_owned())));
    }
}

#[test]
fn a_silent_peer_is_given_up_with_1011_and_the_verdict() {
    for role in ROLES {
        let mut end = End::open(config(role));
        assert_eq!(end.conn.deadline(), Some(20 * SECOND));
        end.at(20);
        let sent = end.sent();
        assert!(matches!(sent[..], [(Opcode::Ping, true, _)]), "{sent:?}");
        end.send_text("written in part");
        end.send_text("never written");
        end.write(3);
        end.at(40);
        assert_eq!(end.conn.close_info().cause, Some(Cause::Keepalive("peer silent 20.0 s".to_owned())));
        assert_eq!(end.items(), [Item::Over]);
        assert_eq!(end.conn.deadline(), Some(40 * SECOND), "one try to write, then the end");
        let mut wire = frame(common::other(role), 0x81, b"");
        wire.clear();
        wire.extend_from_slice(&end.write_all());
        let close = close_payload(1011, "keepalive ping timeout: peer silent 20.0 s");
        let length = if role == Role::Client { 4 } else { 0 } + 2 + close.len();
        let closes = frames_of(role, &wire[wire.len() - length..]);
        assert_eq!((closes[0].0.opcode, &closes[0].1), (Opcode::Close, &close));
        end.at(40);
        assert_eq!((end.conn.state(), u16::from(end.conn.close_info().code())), (State::Closed, 1006));
    }
}

#[test]
fn any_byte_keeps_a_connection_alive_and_pongs_give_the_latency() {
    let mut end = End::open(config(Role::Client));
    for turn in 1..5 {
        end.at(20 * turn);
        let payload = end.sent()[0].2.clone();
        end.now += SECOND / 2;
        if turn % 2 == 0 {
            end.frame(0x8a, &payload);
            assert_eq!(end.conn.latency(), Some(SECOND / 2));
        } else {
            end.feed(&[0x81]).feed(&[0]);
        }
    }
    assert_eq!(end.conn.state(), State::Open);
}
