//! The machine as a client, through its public face; what does not depend on the role is tried for both.

mod common;

use common::{
    Buf, End, Item, Pair, binary, close_payload, config, data, frame, frame_as, frames_of, handshake, head, mask_key,
    ping, quiet, text,
};
use fastws_core::close::CloseInfo;
use fastws_core::connection::{StreamEnd, Teardown};
use fastws_core::handshake::refuse;
use fastws_core::limits::RESERVE_AHEAD;
use fastws_core::{
    Cause, CloseCode, Config, Connection, Delivery, Error, Initiator, Limit, Limits, Misuse, Opcode, Role, SECOND,
    State, Violation,
};
use proptest::prelude::*;

const ROLES: [Role; 2] = [Role::Client, Role::Server];

#[test]
fn whatever_arrives_however_cut() {
    assert!(common::cases::check_all(Role::Client) > 250);
}

// --- sending -------------------------------------------------------------------------------------------------------

#[test]
fn a_client_masks_each_frame_with_a_key_of_its_own() {
    let mut end = End::open(quiet(Role::Client));
    for _ in 0..3 {
        end.send_text("the same");
    }
    end.conn.ping(Some(b"p"), 0).unwrap();
    end.close(1000, "done");
    let wire = end.write_all();
    let (mut keys, mut at) = (Vec::new(), 0);
    while at < wire.len() {
        let (header, used) = fastws_core::frame::decode(&wire[at..], Role::Server, 0).unwrap().unwrap();
        keys.push(header.key.unwrap());
        at += used + header.length as usize;
    }
    assert_eq!(keys.len(), 5);
    keys.sort_unstable();
    keys.dedup();
    assert_eq!(keys.len(), 5, "no key is used twice");
    let payloads: Vec<Vec<u8>> = frames_of(Role::Client, &wire).into_iter().map(|(_, payload)| payload).collect();
    let close = close_payload(1000, "done");
    assert_eq!(payloads, [&b"p"[..], b"the same", b"the same", b"the same", &close]);
}

#[test]
fn fragments_are_sent_in_order_and_nothing_but_control_frames_between_them() {
    for role in ROLES {
        let mut end = End::open(quiet(role));
        end.conn.send_fragment(Opcode::Text, b"a", false).unwrap();
        assert!(end.conn.is_sending_fragments());
        assert_eq!(end.conn.send(Opcode::Text, b"no"), Err(Misuse::FragmentOrder));
        assert_eq!(end.conn.send_fragment(Opcode::Binary, b"no", true), Err(Misuse::FragmentType));
        assert_eq!(end.sent(), [(Opcode::Text, false, b"a".to_vec())]);
        end.conn.pong(b"between").unwrap();
        assert_eq!(end.sent(), [(Opcode::Pong, true, b"between".to_vec())]);
        end.conn.send_fragment(Opcode::Text, b"", false).unwrap();
        end.conn.send_fragment(Opcode::Text, b"b", true).unwrap();
        assert!(!end.conn.is_sending_fragments());
        end.conn.send(Opcode::Binary, b"whole").unwrap();
        let expected = [
            (Opcode::Continuation, false, vec![]),
            (Opcode::Continuation, true, b"b".to_vec()),
            (Opcode::Binary, true, b"whole".to_vec()),
        ];
        assert_eq!(end.sent(), expected);
        let stats = end.conn.stats();
        assert_eq!((stats.messages_sent, stats.frames_sent, stats.payload_sent), (2, 5, 7));
    }
}

#[test]
fn what_cannot_be_sent_is_refused_and_leaves_nothing_behind() {
    let (handshake, _) = handshake();
    let mut early = End::of(Connection::client(quiet(Role::Client), handshake));
    early.write_all();
    assert_eq!(early.conn.send(Opcode::Text, b""), Err(Misuse::NotOpen));
    assert_eq!(early.conn.send_fragment(Opcode::Text, b"", true), Err(Misuse::NotOpen));
    assert_eq!(early.conn.ping(None, 0), Err(Misuse::NotOpen));
    assert_eq!(early.conn.pong(b""), Err(Misuse::NotOpen));
    assert_eq!(early.conn.may_send(0), Err(Misuse::NotOpen));
    assert!(!early.conn.wants_write());

    let mut end = End::open(Config { max_send_bytes: 1000, max_send_messages: 3, ..quiet(Role::Client) });
    assert!(matches!(end.conn.send(Opcode::Text, &[b'x'; 1001]), Err(Misuse::MessageTooLarge { limit: 1000, .. })));
    assert!(matches!(end.conn.may_send(usize::MAX), Err(Misuse::MessageTooLarge { .. })));
    assert_eq!(end.conn.ping(Some(&[0; 126]), 0), Err(Misuse::ControlTooLong(126)));
    assert_eq!(end.conn.pong(&[0; 126]), Err(Misuse::ControlTooLong(126)));
    assert_eq!(end.conn.close(Some(1005), "", 0), Err(Misuse::CloseCode(1005)));
    assert_eq!(end.conn.close(Some(1000), &"é".repeat(62), 0), Err(Misuse::ReasonTooLong(124)));
    assert_eq!((end.conn.state(), end.conn.wants_write()), (State::Open, false));
    end.conn.send(Opcode::Binary, &[0; 900]).unwrap();
    assert!(matches!(end.conn.send(Opcode::Binary, &[0; 200]), Err(Misuse::QueueFull { messages: 1, .. })));
    end.conn.send(Opcode::Binary, b"").unwrap();
    end.conn.send(Opcode::Binary, b"").unwrap();
    assert!(matches!(end.conn.send(Opcode::Binary, b""), Err(Misuse::QueueFull { messages: 3, .. })));
    assert_eq!(end.sent().len(), 3);
    for _ in 0..64 {
        end.conn.ping(None, 0).unwrap();
    }
    assert!(matches!(end.conn.ping(None, 0), Err(Misuse::QueueFull { .. })));
    end.close(1000, "");
    assert_eq!(end.conn.send(Opcode::Text, b""), Err(Misuse::Closing));
    assert_eq!(end.conn.ping(None, 0), Err(Misuse::Closing));
    assert_eq!(end.sent().len(), 65);
}

// --- pings ---------------------------------------------------------------------------------------------------------

#[test]
fn pings_are_answered_with_their_payload_even_between_fragments() {
    for role in ROLES {
        let mut end = End::open(quiet(role));
        for payload in [&b""[..], b"abc", &[0xff; 125]] {
            end.frame(0x89, payload);
            assert_eq!(end.sent(), [(Opcode::Pong, true, payload.to_vec())]);
        }
        end.frame(0x01, b"a").frame(0x89, b"mid");
        assert_eq!(end.sent(), [(Opcode::Pong, true, b"mid".to_vec())], "not only when the message is complete");
        for number in 0..200 {
            end.frame(0x89, &[number]);
        }
        let pongs = end.sent();
        assert!(pongs.len() < 200, "5.5.3: the most recent will do where many wait");
        assert_eq!(pongs.last(), Some(&(Opcode::Pong, true, vec![199])));
        end.frame(0x80, b"b");
        assert_eq!(end.items().last(), Some(&text("ab")));
        assert_eq!(end.conn.stats().pings_received, 204);
    }
}

#[test]
fn without_auto_pong_pings_are_handed_out_and_not_answered() {
    for role in ROLES {
        let mut end = End::open(Config { auto_pong: false, ..quiet(role) });
        end.frame(0x89, b"mine");
        assert_eq!(end.items(), [ping(b"mine")]);
        assert!(!end.conn.wants_write());
        end.conn.pong(b"mine").unwrap();
        end.conn.pong(b"mine").unwrap();
        assert_eq!(end.sent().len(), 2, "pongs of the user's are not joined");
    }
}

#[test]
fn pings_are_answered_until_our_close_frame_leaves() {
    // 5.5.2: a Ping is answered unless a Close frame was received. Ours is the last frame that we send, though.
    for role in ROLES {
        let mut end = End::open(quiet(role));
        end.send_text("a long queue");
        end.close(1000, "");
        let mut wire = end.write(1);
        end.frame(0x89, b"still there?");
        while end.conn.wants_write() {
            wire.extend_from_slice(&end.write(usize::MAX));
        }
        end.frame(0x89, b"and now?");
        wire.extend_from_slice(&end.write_all());
        let opcodes: Vec<Opcode> = frames_of(role, &wire).iter().map(|(header, _)| header.opcode).collect();
        assert_eq!(opcodes, [Opcode::Text, Opcode::Pong, Opcode::Close]);
    }
}

#[test]
fn pongs_name_the_ping_that_they_answer() {
    let mut end = End::open(quiet(Role::Client));
    let first = end.conn.ping(Some(b"a"), 0).unwrap();
    let second = end.conn.ping(None, 0).unwrap();
    let payload = end.sent()[1].2.clone();
    assert!(first < second);
    end.now = SECOND;
    end.frame(0x8a, b"other").frame(0x8a, &payload).frame(0x8a, b"a");
    let expected =
        [Item::Pong(b"other".to_vec(), None), Item::Pong(payload, Some(second)), Item::Pong(b"a".to_vec(), None)];
    assert_eq!(end.items(), expected);
    assert_eq!(end.conn.latency(), Some(SECOND));
}

// --- UTF-8 ---------------------------------------------------------------------------------------------------------

#[test]
fn bad_text_is_refused_at_its_first_bad_byte_inside_a_frame_and_a_message() {
    // Payload, the index of the byte that must be refused, the offset in the error.
    let table: [(&[u8], usize, u64); 7] = [
        (b"abc\xff", 3, 3),
        (b"\xc0", 0, 0),
        (b"\xce\xba\xe1\xbd\xb9\xed\xa0", 6, 5),
        (b"\xf4\x90", 1, 0),
        (b"\xf0\x80", 1, 0),
        (b"\xe2\x82\x41", 2, 0),
        (b"ok\xf8", 2, 2),
    ];
    for role in ROLES {
        for (payload, refused, offset) in table {
            for before in [&b""[..], b"first "] {
                let key = (role == Role::Server).then_some([9, 8, 7, 6]);
                let mut end = End::open(quiet(role));
                if !before.is_empty() {
                    end.feed(&frame_as(0x01, key, before));
                }
                let announced = head(if before.is_empty() { 0x81 } else { 0x80 }, key, 1000);
                end.feed(&announced);
                let masked = &frame_as(0x82, key, payload)[if key.is_some() { 6 } else { 2 }..];
                for (at, byte) in masked.iter().enumerate() {
                    assert_eq!(end.conn.state(), State::Open, "{payload:02x?} at {at}");
                    end.feed(&[*byte]);
                    if at == refused {
                        break;
                    }
                }
                let offset = offset + before.len() as u64;
                let cause = Some(Cause::Protocol(Violation::Utf8(offset).into()));
                assert_eq!(end.conn.close_info().cause, cause, "{payload:02x?} behind {before:?}");
                let reason = format!("invalid UTF-8 at byte {offset}");
                assert_eq!(end.sent_closes(), [close_payload(1007, &reason)]);
            }
        }
    }
}

// --- closing -------------------------------------------------------------------------------------------------------

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
    let reset = Cause::Transport("reset".to_owned());
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
        (&[Fin], 1006, Some(Cause::Eof), close),
        (&[Cut], 1006, Some(Cause::Truncated), close),
        (&[Reset], 1006, Some(reset.clone()), close),
        (&[Close, Fin], 1006, Some(Cause::Eof), close),
        (&[Close, Cut], 1006, Some(Cause::Truncated), close),
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
                    Reset => drop(end.end(StreamEnd::Error("reset".to_owned()))),
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
fn after_the_peers_fin_what_is_queued_is_still_written() {
    for role in ROLES {
        let mut end = End::open(quiet(role));
        end.send_text("for a reader that stays");
        end.end(StreamEnd::Clean);
        assert_eq!((end.conn.state(), end.conn.teardown()), (State::Closing, Teardown::Keep));
        assert_eq!(end.sent().len(), 1);
        assert_eq!(end.conn.teardown(), Teardown::Close);
        end.conn.stream_closed();
        assert_eq!(end.conn.close_info().cause, Some(Cause::Eof));
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

// --- limits --------------------------------------------------------------------------------------------------------

#[test]
fn a_limit_that_is_passed_is_named_and_told_to_the_peer() {
    let limits = Limits { max_message: 100, max_frame: 50, max_fragments: 3, ..Limits::default() };
    let table: [(&[(u8, usize)], Limit); 4] = [
        (&[(0x82, 51)], Limit::Frame { size: 51, limit: 50 }),
        (&[(0x02, 50), (0x00, 50), (0x80, 1)], Limit::Message { size: 101, limit: 100 }),
        (&[(0x02, 0), (0x00, 0), (0x00, 0), (0x80, 0)], Limit::Fragments { limit: 3 }),
        (&[(0x82, 50), (0x02, 50), (0x80, 51)], Limit::Frame { size: 51, limit: 50 }),
    ];
    for role in ROLES {
        for (frames, limit) in &table {
            let mut end = End::open(Config { limits: limits.clone(), ..quiet(role) });
            for (at, (first, length)) in frames.iter().enumerate() {
                assert_eq!(end.conn.state(), State::Open, "{frames:?} at {at}");
                end.frame(*first, &vec![1; *length]);
            }
            let error = Error::from(limit.clone());
            assert_eq!(end.sent_closes(), [close_payload(1009, &error.to_string())]);
            assert_eq!(end.conn.close_info().cause, Some(Cause::Protocol(error)));
        }
    }
}

#[test]
fn what_a_header_announces_is_reserved_only_a_mebibyte_ahead() {
    let limits = Limits { max_message: usize::MAX, max_frame: usize::MAX, ..Limits::default() };
    for role in ROLES {
        for delivery in [Delivery::Messages, Delivery::Fragments, Delivery::Frames] {
            for (first, length) in [(0x82, 1u64 << 62), (0x01, 1 << 40), (0x82, i64::MAX as u64)] {
                let mut end = End::open(Config { limits: limits.clone(), delivery, ..quiet(role) });
                let key = (role == Role::Server).then(mask_key);
                end.feed(&head(first, key, length));
                assert!(end.sink.ahead.get() <= RESERVE_AHEAD);
                let chunk = vec![key.map_or(b'x', |_| 0); 100_000];
                let mut arrived = 0;
                while arrived < 3_000_000 && end.conn.state() == State::Open {
                    end.feed(if first == 0x82 { &chunk } else { &chunk[..0] });
                    arrived += chunk.len();
                    assert!(end.sink.ahead.get() <= RESERVE_AHEAD + chunk.len(), "{}", end.sink.ahead.get());
                    if let Some(landing) = end.conn.landing() {
                        assert!(landing.room <= RESERVE_AHEAD);
                    }
                }
                assert_eq!(end.conn.state(), State::Open);
                assert!(end.sink.items.is_empty());
            }
        }
    }
}

#[test]
fn without_memory_the_connection_ends_with_1011() {
    for role in ROLES {
        for (first, sizes) in [(0x82, &[1, 1000][..]), (0x02, &[])] {
            let mut end = End::open(quiet(role));
            end.sink.memory = Some(50_000);
            let wire = frame(role, first, &vec![0; 60_000]);
            end.feed_in(&wire, sizes);
            let error = Error::from(Limit::Memory { size: 60_000 });
            assert_eq!(end.sent_closes(), [close_payload(1011, &error.to_string())]);
        }
    }
}

// --- the opening handshake -----------------------------------------------------------------------------------------

#[test]
fn frames_behind_the_answer_are_received_wherever_the_bytes_are_cut() {
    let (_, answer) = handshake();
    let wire = [answer.clone(), frame(Role::Client, 0x81, b"first"), frame(Role::Client, 0x89, b"p")].concat();
    for cut in 0..wire.len() {
        let (handshake, _) = handshake();
        let mut end = End::of(Connection::client(quiet(Role::Client), handshake));
        assert!(end.write_all().starts_with(b"GET /chat HTTP/1.1\r\n"));
        end.feed_in(&wire, &[cut.max(1), usize::MAX]);
        assert_eq!(end.items(), [Item::Opened(101), text("first"), ping(b"p")], "{cut}");
        assert_eq!(end.sent(), [(Opcode::Pong, true, b"p".to_vec())]);
    }
}

#[test]
fn receive_stops_at_the_answer_so_that_an_extension_can_be_set() {
    let (handshake, answer) = handshake();
    let mut end = End::of(Connection::client(quiet(Role::Client), handshake));
    let mut wire = [answer.clone(), frame(Role::Client, 0x81, b"x")].concat();
    assert_eq!(end.conn.receive(&mut wire, 0, &mut end.sink), answer.len());
    assert_eq!((end.items(), end.conn.state()), (vec![Item::Opened(101)], State::Open));
    let used = end.conn.receive(&mut wire[answer.len()..], 0, &mut end.sink);
    assert_eq!((used, end.items()), (3, vec![text("x")]));
}

#[test]
fn an_answer_before_the_request_was_written_loses_nothing() {
    let (handshake, answer) = handshake();
    let request = handshake.request_bytes().to_vec();
    let mut end = End::of(Connection::client(quiet(Role::Client), handshake));
    let mut wire = end.write(5);
    end.feed(&answer);
    end.send_text("early");
    assert_eq!(end.conn.output().0, &request[5..]);
    wire.extend_from_slice(&end.write(request.len() - 5));
    assert_eq!(wire, request);
    assert_eq!(end.sent(), [(Opcode::Text, true, b"early".to_vec())]);
    assert_eq!(end.conn.stats().bytes_sent, request.len() as u64 + 11);
}

#[test]
fn a_refused_upgrade_ends_the_connection_with_the_response() {
    let refusal = refuse(503, "Busy", &[], b"later").unwrap();
    let open_end = b"HTTP/1.1 403 No\r\n\r\nuntil the end".to_vec();
    let cut = b"HTTP/1.1 403 No\r\nContent-Length: 100\r\n\r\ncut".to_vec();
    // Answer, whether the stream ends after it, the status of the refusal, what the error says.
    let table: [(&[u8], bool, Option<u16>, &str); 8] = [
        (&refusal, false, Some(503), "503"),
        (&open_end, true, Some(403), "403"),
        (&cut, true, Some(403), "403"),
        (b"HTTP/1.1 101 Ok\r\n\r\n", false, Some(101), "without header Upgrade"),
        (b"SSH-2.0-x\r\n", false, None, "is not an HTTP"),
        (b"", true, None, "the stream ended before"),
        (b"HTTP/1.1 10", true, None, "the stream ended before"),
        (b"HTTP/1.1 101 Ok\r\nbroken\r\n\r\n", false, None, "no colon"),
    ];
    for (answer, ends, status, reason) in table {
        for sizes in [&[][..], &[1]] {
            let (handshake, _) = handshake();
            let mut end = End::of(Connection::client(quiet(Role::Client), handshake));
            end.write_all();
            end.feed_in(answer, sizes);
            if ends {
                end.end(StreamEnd::Clean);
            }
            let items = end.items();
            let [Item::Refused(error, found)] = &items[..] else { panic!("{items:?}") };
            assert!(error.contains(reason) && *found == status, "{items:?}");
            assert_eq!((end.conn.state(), end.conn.teardown()), (State::Closed, Teardown::Close));
            assert!(matches!(end.conn.close_info().cause, Some(Cause::Protocol(_))));
            assert_eq!(end.conn.close_info().code(), CloseCode::ABNORMAL);
            assert!(!end.conn.wants_write() && end.unread.is_empty());
        }
    }
}

#[test]
fn limits_that_are_lifted_do_not_break_the_handshake() {
    let all = usize::MAX;
    let limits = Limits {
        max_message: all,
        max_frame: all,
        max_fragments: all,
        max_head: all,
        max_head_lines: all,
        max_body: all,
    };
    let (handshake, answer) = handshake();
    let mut end = End::of(Connection::client(Config { limits, ..quiet(Role::Client) }, handshake));
    end.feed(&answer).frame(0x81, b"x");
    assert_eq!(end.items(), [Item::Opened(101), text("x")]);
}

#[test]
fn a_close_before_the_answer_gives_up_at_once() {
    let (handshake, answer) = handshake();
    let mut end = End::of(Connection::client(quiet(Role::Client), handshake));
    end.close(1000, "");
    assert_eq!((end.conn.state(), end.conn.wants_write()), (State::Closed, false));
    end.feed(&answer);
    assert_eq!(end.items(), []);
}

// --- deliveries ----------------------------------------------------------------------------------------------------

#[test]
fn fragments_are_delivered_one_by_one() {
    for role in ROLES {
        for sizes in [&[][..], &[1], &[2, 5]] {
            let mut end = End::open(Config { delivery: Delivery::Fragments, ..quiet(role) });
            let smile = "😀".as_bytes();
            let frames = [
                frame(role, 0x01, &smile[..2]),
                frame(role, 0x89, b"p"),
                frame(role, 0x00, &smile[2..]),
                frame(role, 0x00, b""),
                frame(role, 0x00, b"plain"),
                frame(role, 0x80, b"end"),
                frame(role, 0x82, b"whole"),
                frame(role, 0x88, b""),
            ];
            end.feed_in(&frames.concat(), sizes);
            let expected = [
                data(Opcode::Text, false, &smile[..2]),
                ping(b"p"),
                data(Opcode::Text, false, &smile[2..]),
                data(Opcode::Text, false, b""),
                data(Opcode::Text, false, b"plain"),
                data(Opcode::Text, true, b"end"),
                binary(b"whole"),
                Item::Over,
            ];
            assert_eq!(end.items(), expected, "{sizes:?}");
            let stats = end.conn.stats();
            assert_eq!((stats.frames_received, stats.messages_received), (8, 2));
        }
    }
}

#[test]
fn frames_are_delivered_as_they_are_control_frames_too() {
    for role in ROLES {
        for sizes in [&[][..], &[1], &[2, 5]] {
            let mut end = End::open(Config { delivery: Delivery::Frames, ..quiet(role) });
            let frames = [
                frame(role, 0x01, b"a"),
                frame(role, 0x89, b"p"),
                frame(role, 0x80, b"b"),
                frame(role, 0x8a, b""),
                frame(role, 0x82, b"c"),
                frame(role, 0x88, b"\x03\xe8"),
            ];
            end.feed_in(&frames.concat(), sizes);
            let expected = [
                data(Opcode::Text, false, b"a"),
                ping(b"p"),
                data(Opcode::Ping, true, b"p"),
                data(Opcode::Continuation, true, b"b"),
                Item::Pong(vec![], None),
                data(Opcode::Pong, true, b""),
                binary(b"c"),
                data(Opcode::Close, true, b"\x03\xe8"),
                Item::Over,
            ];
            assert_eq!(end.items(), expected, "{sizes:?}");
            assert_eq!(end.sent_closes(), [close_payload(1000, "")], "they are still acted upon");
        }
    }
}

#[test]
fn bad_text_across_fragments_is_found_in_every_delivery() {
    for delivery in [Delivery::Messages, Delivery::Fragments, Delivery::Frames] {
        for sizes in [&[][..], &[1]] {
            for last in [&b"A"[..], b""] {
                let mut end = End::open(Config { delivery, ..quiet(Role::Client) });
                end.frame(0x01, b"ok \xe2\x82").feed_in(&frame(Role::Client, 0x80, last), sizes);
                let cause = Some(Cause::Protocol(Violation::Utf8(3).into()));
                assert_eq!(end.conn.close_info().cause, cause, "{delivery:?}");
            }
        }
    }
}

// --- the driver's ways ---------------------------------------------------------------------------------------------

#[test]
fn a_sink_that_says_stop_gets_one_unit_a_call() {
    for role in ROLES {
        for (delivery, units) in [(Delivery::Messages, 4), (Delivery::Fragments, 5), (Delivery::Frames, 6)] {
            let mut end = End::open(Config { delivery, ..quiet(role) });
            end.sink.stop = true;
            let frames = [
                frame(role, 0x81, b"1"),
                frame(role, 0x82, &[0; 200]),
                frame(role, 0x01, b"2"),
                frame(role, 0x89, b"p"),
                frame(role, 0x80, b"3"),
                frame(role, 0x81, b"4"),
            ];
            let mut wire = frames.concat();
            let (mut at, mut calls) = (0, 0);
            while at < wire.len() {
                let before = end.sink.whole + end.sink.assembled;
                at += end.conn.receive(&mut wire[at..], 0, &mut end.sink);
                calls += 1;
                assert!(end.sink.whole + end.sink.assembled <= before + 1);
            }
            assert_eq!((calls, end.sink.whole + end.sink.assembled), (units, units), "{delivery:?}");
            assert_eq!(end.conn.stats().bytes_received, wire.len() as u64);
        }
    }
}

#[test]
fn whole_frames_are_not_copied() {
    for role in ROLES {
        let mut end = End::open(quiet(role));
        let mut wire = [frame(role, 0x81, b"text"), frame(role, 0x82, &vec![0; 70_000])].concat();
        wire.extend_from_slice(&frame(role, 0x81, b"cut")[..4]);
        end.feed(&wire);
        assert_eq!((end.sink.whole, end.sink.assembled), (2, 0));
    }
}

/// Feeds `wire` as a driver with a landing does: payloads in progress go straight into their storage.
fn feed_landing(end: &mut End, wire: &[u8], sizes: &[usize]) {
    let (mut at, mut turn) = (0, 0);
    while at < wire.len() {
        let size = sizes[turn % sizes.len()].min(wire.len() - at);
        turn += 1;
        match end.conn.landing() {
            Some(landing) => {
                assert!(landing.room > 0);
                let count = size.min(landing.room);
                fastws_core::PayloadBuf::extend(landing.buf, &wire[at..at + count]);
                at += count;
                end.conn.landed(count, end.now, &mut end.sink);
            }
            None => {
                end.feed(&wire[at..at + size]);
                at += size;
            }
        }
    }
}

#[derive(Debug, Clone)]
struct Part {
    first: u8,
    payload: Vec<u8>,
}

/// Messages, some in fragments with pings between them, most of them valid.
fn session() -> impl Strategy<Value = Vec<Part>> {
    let payload = prop_oneof![
        "[a-zäß世😀]{0,40}".prop_map(|text| (true, text.into_bytes())),
        prop::collection::vec(any::<u8>(), 0..300).prop_map(|bytes| (false, bytes)),
        (70_000usize..200_000).prop_map(|length| (false, vec![b'z'; length])),
        (300usize..5000).prop_map(|length| (true, "ü世".repeat(length).into_bytes())),
        prop::collection::vec(any::<u8>(), 0..8).prop_map(|bytes| (true, bytes)),
    ];
    let message = (payload, prop::collection::vec(any::<prop::sample::Index>(), 0..4), any::<bool>());
    prop::collection::vec(message, 1..6).prop_map(|messages| {
        let mut parts = Vec::new();
        for ((is_text, payload), cuts, with_ping) in messages {
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(payload.len() + 1)).collect();
            cuts.sort_unstable();
            cuts.insert(0, 0);
            cuts.push(payload.len());
            let last = cuts.len() - 2;
            for (at, pair) in cuts.windows(2).enumerate() {
                let opcode = if at > 0 { 0 } else { 2 - u8::from(is_text) };
                let fin = if at == last { 0x80 } else { 0 };
                parts.push(Part { first: fin | opcode, payload: payload[pair[0]..pair[1]].to_vec() });
                if with_ping {
                    parts.push(Part { first: 0x89, payload: b"ping".to_vec() });
                }
            }
        }
        parts
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_landing_gives_what_receive_gives(
        parts in session(),
        server: bool,
        delivery in prop::sample::select(vec![Delivery::Messages, Delivery::Fragments, Delivery::Frames]),
        sizes in prop::collection::vec(prop_oneof![1usize..10, 1usize..3000, Just(100_000)], 1..6),
    ) {
        let role = if server { Role::Server } else { Role::Client };
        let wire: Vec<u8> = parts.iter().flat_map(|part| frame(role, part.first, &part.payload)).collect();
        let make = || End::open(Config { delivery, ..quiet(role) });
        let (mut whole, mut pieced, mut landed) = (make(), make(), make());
        whole.feed(&wire);
        pieced.feed_in(&wire, &sizes);
        feed_landing(&mut landed, &wire, &sizes);
        let expected = whole.items();
        prop_assert_eq!(&pieced.items(), &expected);
        prop_assert_eq!(&landed.items(), &expected);
        prop_assert_eq!(pieced.conn.close_info(), whole.conn.close_info());
        prop_assert_eq!(landed.conn.close_info(), whole.conn.close_info());
        prop_assert_eq!(landed.sent_closes(), whole.sent_closes());
        let counts = |end: &End| {
            let stats = end.conn.stats();
            (stats.frames_received, stats.messages_received, stats.payload_received, stats.pings_received)
        };
        prop_assert_eq!(counts(&pieced), counts(&whole));
        prop_assert_eq!(counts(&landed), counts(&whole));
        if whole.conn.state() == State::Open {
            prop_assert_eq!(landed.conn.stats().bytes_received, wire.len() as u64);
        }
    }
}

#[test]
fn a_frame_that_fails_counts_alike_however_it_is_cut() {
    for role in ROLES {
        let wire = [frame(role, 0x82, b"good"), frame(role, 0x81, b"\xff\xff")].concat();
        for cut in 1..wire.len() {
            let mut end = End::open(quiet(role));
            end.feed(&wire[..cut]);
            end.feed(&wire[cut..]);
            let stats = end.conn.stats();
            assert_eq!((stats.frames_received, stats.messages_received, stats.payload_received), (2, 1, 6), "{cut}");
        }
    }
}

#[test]
fn a_landing_is_there_only_while_a_payload_is_in_progress() {
    for role in ROLES {
        let mut end = End::open(quiet(role));
        assert!(end.conn.landing().is_none());
        let wire = frame(role, 0x82, &vec![5; 3_000_000]);
        end.feed(&wire[..1000]);
        let room = end.conn.landing().unwrap().room;
        assert!((RESERVE_AHEAD - 100..=RESERVE_AHEAD).contains(&room), "{room}");
        feed_landing(&mut end, &wire[1000..], &[100_000]);
        assert!(end.conn.landing().is_none());
        assert_eq!(end.items(), [binary(&vec![5; 3_000_000])]);
        end.feed(&frame(role, 0x82, &[5; 10])[..8]);
        end.conn.abort("");
        assert!(end.conn.landing().is_none());
        end.conn.landed(0, 0, &mut end.sink);
    }
}

#[test]
fn an_idle_connection_owns_no_buffers() {
    let mut end = End::open(quiet(Role::Client));
    end.send_text("x");
    end.write_all();
    assert!(end.conn.queue_mut().take_storage().is_some());
    assert!(!end.conn.queue_mut().has_storage());
    assert!(size_of::<Connection<Buf>>() < 1024, "{}", size_of::<Connection<Buf>>());
}
