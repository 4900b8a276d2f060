//! The machine through its public face, as a client and, where the role matters, as a server: sending, pings, UTF-8, limits.

mod common;

use common::{End, Item, close_payload, frame, frame_as, frames_of, handshake, head, mask_key, ping, quiet, text};
use fastws_core::limits::RESERVE_AHEAD;
use fastws_core::{
    Cause, Config, Connection, Delivery, Error, Limit, Limits, Misuse, Opcode, Role, SECOND, State, Violation,
};

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
fn what_is_sent_past_the_queue_is_as_if_it_was_queued() {
    for (role, taken) in ROLES.into_iter().flat_map(|role| [0, 1, 5, 200, usize::MAX].map(|taken| (role, taken))) {
        let (mut queued, mut end) = (End::open(quiet(role)), End::open(quiet(role)));
        let payload = [b'x'; 300];
        for number in 0..3 {
            queued.conn.send(Opcode::Binary, &payload[..299 + number % 2]).unwrap();
            queued.write_all();
            let mut wire = Vec::new();
            let write = |frame: &[u8]| {
                wire.extend_from_slice(&frame[..taken.min(frame.len())]);
                wire.len()
            };
            assert_eq!(end.conn.send_past_queue(Opcode::Binary, &payload[..299 + number % 2], write), Ok(true));
            assert_eq!(end.conn.wants_write(), taken != usize::MAX, "{taken}");
            wire.extend(end.write_all());
            let frames = frames_of(role, &wire);
            assert_eq!(frames.len(), 1);
            assert_eq!(frames[0].1, &payload[..299 + number % 2]);
            assert_eq!(end.conn.stats(), queued.conn.stats());
            assert_eq!(end.conn.accepted_messages(), queued.conn.accepted_messages());
        }
        // One in fragments is queued behind it, and written in part.
        end.conn.send_fragment(Opcode::Text, b"begun", false).unwrap();
        end.write(2);
        let refused = |_: &[u8]| panic!("nothing passes a message that was begun");
        assert_eq!(end.conn.send_past_queue(Opcode::Text, b"no", refused), Ok(false));
        end.conn.send_fragment(Opcode::Text, b"", true).unwrap();
        end.write_all();
        assert_eq!(end.conn.send_past_queue(Opcode::Text, b"yes", <[u8]>::len), Ok(true));
    }
}

#[test]
fn what_may_not_pass_the_queue_is_left_to_it() {
    let nowhere = |_: &[u8]| panic!("nothing is to be written");
    let mut end = End::open(quiet(Role::Client));
    assert_eq!(end.conn.send_past_queue(Opcode::Text, &[b'x'; 513], nowhere), Ok(false));
    end.conn.send(Opcode::Text, b"waits").unwrap();
    assert_eq!(end.conn.send_past_queue(Opcode::Text, b"x", nowhere), Ok(false));
    end.write_all();
    end.conn.pong(b"waits").unwrap();
    assert_eq!(end.conn.send_past_queue(Opcode::Text, b"x", nowhere), Ok(false));
    end.write_all();
    end.close(1000, "");
    assert_eq!(end.conn.send_past_queue(Opcode::Text, b"x", nowhere), Ok(false), "Close waits to be written");
    end.write_all();
    assert_eq!(end.conn.send_past_queue(Opcode::Text, b"x", nowhere), Err(Misuse::Closing));
}

#[test]
fn fragments_are_sent_in_order_and_nothing_but_control_frames_between_them() {
    for role in ROLES {
        let mut end = End::open(quiet(role));
        end.conn.send_fragment(Opcode::Text, b"a", false).unwrap();
        assert!(end.conn.is_sending_fragments());
        assert_eq!(end.conn.send(Opcode::Text, b"no"), Err(Misuse::FragmentOrder));
        assert_eq!(end.conn.send_fragment(Opcode::Binary, b"no", true), Err(Misuse::FragmentType));
        assert_eq!(end.conn.begin_fragments(Opcode::Text, b"no", false), Err(Misuse::FragmentOrder));
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
    assert!(matches!(end.conn.ping(None, 0), Err(Misuse::ControlFull(_))));
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
fn a_close_frame_is_answered_with_its_code_and_on_request_its_reason() {
    for role in ROLES {
        for (echo_reason, answer) in [(false, &b"\x0f\xa0"[..]), (true, b"\x0f\xa0bye")] {
            let mut end = End::open(Config { echo_reason, ..quiet(role) });
            end.frame(0x88, b"\x0f\xa0bye");
            assert_eq!(end.sent(), [(Opcode::Close, true, answer.to_vec())]);
        }
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

#[test]
fn a_ping_that_finds_no_room_takes_no_other_pings_place() {
    for interval in [None, Some(SECOND)] {
        let mut end = End::open(Config { ping_interval: interval, ping_timeout: None, ..quiet(Role::Client) });
        let first = end.conn.ping(Some(b"first"), 0).unwrap();
        while end.conn.ping(None, 0).is_ok() {}
        for second in 1..=100 {
            assert!(matches!(end.conn.ping(None, 0), Err(Misuse::ControlFull(64))));
            end.at(second);
        }
        assert_eq!(end.sent().len(), 64);
        end.frame(0x8a, b"first");
        assert_eq!(end.items(), [Item::Pong(b"first".to_vec(), Some(first))]);
    }
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

#[test]
fn a_violation_may_be_put_off_however_it_was_received() {
    for role in ROLES {
        for lands in [false, true] {
            let mut end = End::open(quiet(role));
            end.sink.puts_off = true;
            let wire = frame_as(0x81, (role == Role::Server).then_some([0; 4]), b"abc\xff");
            let start = wire.len() - 4;
            end.feed(&wire[..start]);
            if lands {
                end.feed_landing(&wire[start..], &[4]);
            } else {
                let mut rest = wire[start..].to_vec();
                end.conn.receive(&mut rest, 0, &mut end.sink);
            }
            assert_eq!((end.conn.state(), end.conn.is_failing()), (State::Open, true), "{lands}");
            assert!(end.conn.landing().is_none() && !end.conn.wants_write());
            end.conn.receive(&mut [], 0, &mut end.sink);
            assert_eq!((end.conn.state(), end.conn.is_failing()), (State::Closing, false), "{lands}");
            assert_eq!(end.sent_closes(), [close_payload(1007, "invalid UTF-8 at byte 3")]);
        }
    }
}

#[test]
fn behind_what_could_not_be_kept_comes_nothing() {
    for role in ROLES {
        let mut end = End::open(quiet(role));
        end.frame(0x81, b"kept");
        end.conn.lost(7, 0, &mut end.sink);
        end.frame(0x81, b"behind");
        assert_eq!(end.items(), [text("kept"), Item::Over]);
        let error = Error::from(Limit::Memory { size: 7 });
        assert_eq!(end.sent_closes(), [close_payload(1011, &error.to_string())]);
        assert_eq!(end.conn.close_info().cause, Some(Cause::Protocol(error)));
    }
}

// --- limits --------------------------------------------------------------------------------------------------------

#[test]
fn a_limit_that_is_passed_is_named_and_told_to_the_peer() {
    let limits = Limits { max_message: 100, max_frame: 50, max_fragments: 3, ..Limits::default() };
    let table: [(&[(u8, usize)], Limit); 4] = [
        (&[(0x82, 51)], Limit::Frame { size: 51, limit: 50 }),
        (&[(0x02, 50), (0x00, 50), (0x80, 1)], Limit::Message { size: 101, before: 100, limit: 100 }),
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
            // The names of our settings say nothing to a peer.
            let text = error.to_string();
            let (reason, setting) = text.rsplit_once(" (").unwrap();
            assert!(setting.starts_with("max_"));
            assert_eq!(end.sent_closes(), [close_payload(1009, reason)]);
            assert_eq!(end.conn.close_info().cause, Some(Cause::Protocol(error)));
        }
    }
}

#[test]
fn what_a_header_announces_is_reserved_only_a_mebibyte_ahead() {
    let limits = Limits { max_message: usize::MAX, max_frame: usize::MAX, ..Limits::default() };
    for role in ROLES {
        for delivery in [Delivery::Messages, Delivery::Mixed, Delivery::Frames] {
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
