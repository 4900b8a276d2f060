//! Messages, their fragments, or frames; landings; what is copied and what is counted.

mod common;

use common::{Buf, End, Item, binary, close_payload, data, frame, ping, quiet, text};
use fastws_core::limits::RESERVE_AHEAD;
use fastws_core::{Cause, Config, Connection, Delivery, Opcode, Role, State, Violation};
use proptest::prelude::*;

const ROLES: [Role; 2] = [Role::Client, Role::Server];

#[test]
fn fragments_are_delivered_one_by_one() {
    for role in ROLES {
        for sizes in [&[][..], &[1], &[2, 5]] {
            let mut end = End::open(Config { delivery: Delivery::Mixed, ..quiet(role) });
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
fn mixed_delivery_gives_messages_of_one_frame_whole_and_fragments_of_others() {
    for role in ROLES {
        for sizes in [&[][..], &[1], &[2, 5]] {
            let mut end = End::open(Config { delivery: Delivery::Mixed, ..quiet(role) });
            let smile = "😀".as_bytes();
            let frames = [
                frame(role, 0x81, smile),
                frame(role, 0x01, &smile[..2]),
                frame(role, 0x89, b"p"),
                frame(role, 0x00, &smile[2..]),
                frame(role, 0x80, b""),
                frame(role, 0x82, b"whole"),
                frame(role, 0x81, b""),
                frame(role, 0x02, b"cut"),
                frame(role, 0x88, b""),
            ];
            end.feed_in(&frames.concat(), sizes);
            let expected = [
                data(Opcode::Text, true, smile),
                data(Opcode::Text, false, &smile[..2]),
                ping(b"p"),
                data(Opcode::Text, false, &smile[2..]),
                data(Opcode::Text, true, b""),
                binary(b"whole"),
                data(Opcode::Text, true, b""),
                data(Opcode::Binary, false, b"cut"),
                Item::Over,
            ];
            assert_eq!(end.items(), expected, "{sizes:?}");
            let stats = end.conn.stats();
            assert_eq!((stats.frames_received, stats.messages_received), (9, 4));
            if sizes.is_empty() && role == Role::Client {
                assert_eq!((end.sink.whole, end.sink.assembled), (3, 4), "fragments are assembled, all of them");
            }
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
fn control_frames_are_delivered_between_messages_if_they_are_wanted() {
    for role in ROLES {
        for sizes in [&[][..], &[1], &[2, 5]] {
            let mut end = End::open(Config { controls: true, ..quiet(role) });
            let frames = [
                frame(role, 0x81, b"first"),
                frame(role, 0x01, b"a"),
                frame(role, 0x89, b"p"),
                frame(role, 0x80, b"b"),
                frame(role, 0x88, b"\x03\xe8"),
            ];
            end.feed_in(&frames.concat(), sizes);
            let expected = [
                text("first"),
                ping(b"p"),
                data(Opcode::Ping, true, b"p"),
                text("ab"),
                data(Opcode::Close, true, b"\x03\xe8"),
                Item::Over,
            ];
            assert_eq!(end.items(), expected, "{sizes:?}");
        }
    }
}

#[test]
fn bad_text_across_fragments_is_found_in_every_delivery() {
    for delivery in [Delivery::Messages, Delivery::Mixed, Delivery::Frames] {
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

#[test]
fn a_sink_that_says_stop_gets_one_unit_a_call() {
    for role in ROLES {
        // A ping is one, also where it is told and delivered.
        for (delivery, units) in [(Delivery::Messages, 5), (Delivery::Mixed, 6), (Delivery::Frames, 6)] {
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
                at += end.conn.receive(&mut wire[at..], 0, &mut end.sink);
                calls += 1;
                assert_eq!(end.items().len(), if calls == 4 && delivery == Delivery::Frames { 2 } else { 1 });
            }
            assert_eq!(calls, units, "{delivery:?}");
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
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_landing_gives_what_receive_gives(
        parts in session(),
        server: bool,
        delivery in prop::sample::select(vec![Delivery::Messages, Delivery::Mixed, Delivery::Frames]),
        sizes in prop::collection::vec(prop_oneof![1usize..10, 1usize..3000, Just(100_000)], 1..6),
    ) {
        let role = if server { Role::Server } else { Role::Client };
        let wire: Vec<u8> = parts.iter().flat_map(|part| frame(role, part.first, &part.payload)).collect();
        let make = || End::open(Config { delivery, ..quiet(role) });
        let (mut whole, mut pieced, mut landed) = (make(), make(), make());
        whole.feed(&wire);
        pieced.feed_in(&wire, &sizes);
        landed.feed_landing(&wire, &sizes);
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
        for bad in [b"\xff\xff", b"a\xc5"] {
            let wire = [frame(role, 0x82, b"good"), frame(role, 0x81, bad)].concat();
            for cut in 1..=wire.len() {
                let mut end = End::open(quiet(role));
                end.feed(&wire[..cut]);
                end.feed(&wire[cut..]);
                let stats = end.conn.stats();
                let counts = (stats.frames_received, stats.messages_received, stats.payload_received);
                assert_eq!(counts, (2, 1, 6), "{bad:02x?} cut at {cut}");
            }
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
        end.feed_landing(&wire[1000..], &[100_000]);
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
