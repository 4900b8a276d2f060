//! The slot for wire extensions, both directions, with an extension that XORs.

mod common;
#[path = "common/xor.rs"]
mod xor;

use std::any::Any;

use common::{End, Item, binary, close_payload, data, frame, frame_as, other, ping, quiet, text};
use fastws_core::connection::{StreamEnd, Teardown};
use fastws_core::filter::{Direction, FilterFrame, Filtered, FrameFilter, WorkDone};
use fastws_core::{
    Cause, Config, Delivery, Error, Limit, Limits, Misuse, Opcode, Place, Role, SECOND, State, Violation,
};
use xor::{coded, filtered, filtered_with, sent, work, xor};

const ROLES: [Role; 2] = [Role::Client, Role::Server];

#[test]
fn messages_pass_the_filter_both_ways_however_cut() {
    for role in ROLES {
        for sizes in [&[][..], &[1], &[3, 2]] {
            let mut end = filtered(role);
            let wire = [
                coded(role, 0x81, "κόσμε".as_bytes()),
                coded(role, 0x82, b""),
                coded(role, 0x01, &"é".as_bytes()[..1]),
                frame(role, 0x89, b"never filtered"),
                coded(role, 0x80, &"é".as_bytes()[1..]),
                frame(role, 0x81, b"\x01"),
            ];
            end.feed_in(&wire.concat(), sizes);
            let expected = [text("κόσμε"), binary(b""), ping(b"never filtered"), text("é"), text("!")];
            assert_eq!(end.items(), expected);
            end.write_all();
            end.send_text("out");
            end.conn.send_fragment(Opcode::Binary, b"a", false).unwrap();
            end.conn.send_fragment(Opcode::Binary, b"b", true).unwrap();
            let wire = end.write_all();
            let mut bits = Vec::new();
            for (header, payload) in common::frames_of(role, &wire) {
                bits.push((header.rsv, header.fin, xor(&payload)));
            }
            assert_eq!(bits, [(4, true, b"out".to_vec()), (4, false, b"a".to_vec()), (0, true, b"b".to_vec())]);
        }
    }
}

#[test]
fn bits_that_the_extension_does_not_own_stay_violations() {
    for (first, reserved) in [(0xa1, 2), (0xd1, 1), (0xc9, 4), (0xc8, 4)] {
        let mut end = filtered(Role::Client);
        end.frame(first, b"");
        assert_eq!(end.conn.close_info().cause, Some(Cause::Protocol(Violation::ReservedBits(reserved).into())));
    }
}

#[test]
fn received_work_parks_the_data_and_its_order_is_kept() {
    for role in ROLES {
        for sizes in [&[][..], &[1]] {
            let mut end = filtered(role);
            let wire = [
                coded(role, 0x81, b"before"),
                coded(role, 0x81, b"Job 1"),
                coded(role, 0x82, b"behind 1"),
                frame(role, 0x89, b"still answered"),
                coded(role, 0x01, b"Job 2"),
                coded(role, 0x80, b" and more"),
                coded(role, 0x82, b"last"),
            ];
            end.feed_in(&wire.concat(), sizes);
            assert!(end.unread.is_empty());
            assert_eq!(end.items(), [text("before"), ping(b"still answered")]);
            assert_eq!(end.sent(), [(Opcode::Pong, true, b"still answered".to_vec())]);
            assert!(!end.conn.is_parked(), "so little may wait");
            assert_eq!(work(&mut end), Some(Direction::Receive));
            assert_eq!(end.items(), [text("Job 1"), binary(b"behind 1")]);
            assert_eq!(work(&mut end), Some(Direction::Receive));
            assert_eq!(end.items(), [text("Job 2 and more"), binary(b"last")]);
            assert_eq!(work(&mut end), None);
        }
    }
}

#[test]
fn what_waits_for_work_is_bounded_in_bytes_and_in_frames() {
    for role in ROLES {
        for (length, most) in [(100_000, 2), (100, 12), (0, 65)] {
            let mut end = filtered(role);
            end.feed(&coded(role, 0x82, b"Job"));
            let one = coded(role, 0x82, &vec![b'x'; length]);
            let mut count = 0;
            while end.unread.is_empty() {
                end.feed(&one);
                count += 1;
                assert!(count <= most);
            }
            assert!(end.conn.is_parked());
            assert_eq!(end.conn.receive(&mut [0x89], 0, &mut end.sink), 0, "nothing is consumed");
            end.unread.clear();
            work(&mut end);
            assert!(!end.conn.is_parked());
            assert_eq!(end.items().len(), count);
        }
    }
}

#[test]
fn sent_work_parks_the_data_and_control_frames_pass() {
    for role in ROLES {
        let mut end = filtered(role);
        end.send_text("Job 1");
        end.send_text("behind");
        end.conn.send_fragment(Opcode::Binary, b"Job 2", false).unwrap();
        end.conn.send_fragment(Opcode::Binary, b"end", true).unwrap();
        end.conn.ping(Some(b"p"), 0).unwrap();
        assert_eq!(sent(&mut end), [(Opcode::Ping, true, b"p".to_vec())]);
        assert_eq!((end.conn.queued_messages(), end.conn.queued_bytes()), (3, 19));
        let (accepted, unsent) = end.conn.accepted_messages();
        assert_eq!((accepted, unsent.not_begun, unsent.begun), (3, 3, 0));
        work(&mut end);
        assert_eq!(sent(&mut end), [(Opcode::Text, true, b"Job 1".to_vec()), (Opcode::Text, true, b"behind".to_vec())]);
        work(&mut end);
        let expected = [(Opcode::Binary, false, b"Job 2".to_vec()), (Opcode::Continuation, true, b"end".to_vec())];
        assert_eq!(sent(&mut end), expected);
        assert_eq!((work(&mut end), end.conn.queued_messages(), end.conn.queued_bytes()), (None, 0, 0));
    }
}

#[test]
fn work_of_both_directions_waits_side_by_side() {
    for role in ROLES {
        let mut end = filtered(role);
        end.feed(&coded(role, 0x81, b"Job in"));
        end.send_text("Job out");
        let (first, second) = (end.conn.take_work().unwrap(), end.conn.take_work().unwrap());
        assert_ne!(first.direction, second.direction);
        for work in [second, first] {
            let done = (work.run)();
            end.conn.job_done(work.direction, done, 0, &mut end.sink);
        }
        assert_eq!(end.items(), [text("Job in")]);
        assert_eq!(sent(&mut end), [(Opcode::Text, true, b"Job out".to_vec())]);
    }
}

#[test]
fn what_waits_to_be_sent_is_bounded() {
    let mut end = filtered_with(Config { max_send_bytes: 1000, max_send_messages: 3, ..quiet(Role::Client) });
    end.send_text("Job");
    end.conn.send(Opcode::Binary, &[0; 600]).unwrap();
    assert!(matches!(end.conn.send(Opcode::Binary, &[0; 600]), Err(Misuse::QueueFull { .. })));
    end.send_text("x");
    assert!(matches!(end.conn.send(Opcode::Binary, b"z"), Err(Misuse::QueueFull { messages: 3, .. })));
    work(&mut end);
    assert_eq!(sent(&mut end).len(), 3);
}

#[test]
fn what_is_worked_on_when_the_connection_ends_was_not_sent() {
    for role in ROLES {
        for how in ["violated", "dead", "aborted"] {
            let mut end =
                filtered_with(Config { ping_interval: Some(SECOND), ping_timeout: Some(SECOND), ..quiet(role) });
            end.send_text("sent");
            assert_eq!(sent(&mut end).len(), 1);
            end.send_text("Job");
            end.send_text("behind");
            match how {
                "violated" => drop(end.frame(0x83, b"no opcode")),
                "dead" => drop(end.at(1).at(2)),
                _ => end.conn.abort("enough"),
            }
            assert_ne!(end.conn.state(), State::Open, "{how}");
            let (accepted, unsent) = end.conn.accepted_messages();
            assert_eq!((accepted, unsent.not_begun, unsent.begun), (3, 2, 0), "{how}");
            work(&mut end);
            assert_eq!(end.conn.accepted_messages().0, 3);
            assert_eq!((end.conn.queued_messages(), end.conn.accepted_messages().1.not_begun), (0, 2));
        }
    }
}

#[test]
fn our_close_waits_for_data_that_is_worked_on() {
    for role in ROLES {
        for by_peer in [false, true] {
            let mut end = filtered(role);
            end.send_text("Job");
            end.send_text("behind");
            let close = close_payload(1000, "");
            if by_peer {
                end.frame(0x88, &close);
            } else {
                end.close(1000, "");
            }
            assert!(!end.conn.wants_write());
            assert_eq!((end.conn.state(), end.conn.teardown()), (State::Closing, Teardown::Keep));
            work(&mut end);
            let opcodes: Vec<Opcode> = sent(&mut end).into_iter().map(|(opcode, ..)| opcode).collect();
            assert_eq!(opcodes, [Opcode::Text, Opcode::Text, Opcode::Close]);
            assert_eq!(end.conn.stats().frames_sent, 3);
            if !by_peer {
                end.frame(0x88, &close);
            }
            assert!(end.conn.close_info().is_clean());
        }
    }
}

#[test]
fn the_peers_close_or_end_waits_for_received_data_that_is_worked_on() {
    for role in ROLES {
        for ends in [&[][..], &[StreamEnd::Clean]] {
            let mut end = filtered(role);
            end.feed(&coded(role, 0x81, b"Job 1")).feed(&coded(role, 0x81, b"behind"));
            end.feed(&coded(role, 0x81, b"Job 2")).frame(0x88, b"");
            assert_eq!(end.sent_closes(), [b""], "it is answered at once");
            for how in ends {
                end.end(how.clone());
            }
            end.frame(0x89, b"ignored").feed(&coded(role, 0x81, b"ignored"));
            assert!(end.unread.is_empty() && !end.conn.data_over());
            assert_eq!((end.items(), end.conn.teardown()), (vec![], Teardown::Keep));
            work(&mut end);
            assert_eq!((end.items(), end.conn.data_over()), (vec![text("Job 1"), text("behind")], false));
            work(&mut end);
            assert_eq!((end.items(), end.conn.data_over()), (vec![text("Job 2"), Item::Over], true));
            let is_last = role == Role::Server || !ends.is_empty();
            assert_eq!(end.conn.teardown(), if is_last { Teardown::Close } else { Teardown::Keep });
            assert!(end.conn.close_info().is_clean());
        }
        let mut end = filtered(role);
        end.feed(&coded(role, 0x81, b"Job")).end(StreamEnd::Clean);
        work(&mut end);
        assert_eq!(end.items(), [text("Job"), Item::Over]);
        assert_eq!(end.conn.close_info().cause, Some(Cause::Eof(Place::Between)));
    }
}

/// What a filter makes of little may be much: the driver looks after itself in between.
#[test]
fn one_call_makes_so_many_bytes_of_what_came_and_a_small_frame_counts_as_some() {
    for role in ROLES {
        for (length, fin, expected) in [(100_000, true, 3), (1025, true, 256), (0, true, 256), (0, false, 256)] {
            let mut end = filtered(role);
            let rest = coded(role, if fin { 0x82 } else { 0 }, &vec![b'x'; length]);
            let wire = [coded(role, if fin { 0x82 } else { 2 }, &vec![b'x'; length]), rest.repeat(999)].concat();
            let used = end.conn.receive(&mut wire.clone(), 0, &mut end.sink);
            assert_eq!(used, wire.len() / 1000 * expected);
            assert_eq!(end.items().len(), if fin { expected } else { 0 });
            end.feed(&wire[used..]);
            assert!(end.unread.is_empty());
            assert_eq!(end.conn.stats().frames_received, 1000);
        }
    }
}

#[test]
fn a_parked_end_that_is_full_does_not_block_what_comes_after_the_end() {
    let mut end = filtered(Role::Client);
    end.feed(&coded(Role::Client, 0x82, b"Job"));
    while !end.conn.is_parked() {
        end.feed(&coded(Role::Client, 0x82, &vec![0; 100_000]));
    }
    end.end(StreamEnd::Clean);
    assert!(!end.conn.is_parked());
    end.unread.clear();
    end.feed(b"ignored");
    assert!(end.unread.is_empty());
}

#[test]
fn work_that_comes_back_too_late_changes_nothing() {
    for role in ROLES {
        let mut end = filtered(role);
        end.feed(&coded(role, 0x81, b"Job in"));
        end.send_text("Job out");
        let works = [end.conn.take_work().unwrap(), end.conn.take_work().unwrap()];
        end.close(1000, "");
        end.now = 11 * SECOND;
        end.conn.tick(end.now, 0, &mut end.sink);
        assert_eq!(end.conn.state(), State::Closed);
        let info = end.conn.close_info().clone();
        assert_eq!(info.cause, Some(Cause::CloseTimeout));
        for work in works {
            let done = (work.run)();
            end.conn.job_done(work.direction, done, end.now, &mut end.sink);
        }
        assert_eq!(end.items(), [Item::Over]);
        assert_eq!(*end.conn.close_info(), info);
        assert!(!end.conn.wants_write());
    }
}

#[test]
fn a_failure_to_decode_ends_the_connection_with_its_code() {
    for role in ROLES {
        // Frame, whether work finds it, behind what; then the error.
        let table: [(&[u8], bool, Error); 3] = [
            (b"Fail", false, Violation::Extension("no".to_owned()).into()),
            (b"Job fails!", true, Violation::Extension("the work failed".to_owned()).into()),
            (b"bad \xff", false, Violation::Utf8(4).into()),
        ];
        for (payload, works, error) in table {
            let mut end = filtered(role);
            end.feed(&coded(role, 0x81, payload));
            end.feed(&coded(role, 0x81, b"behind"));
            assert_eq!(work(&mut end).is_some(), works);
            assert_eq!(end.items(), [Item::Over]);
            let code = u16::from(error.close_code().unwrap());
            assert_eq!(end.sent_closes(), [close_payload(code, &error.to_string())]);
            assert_eq!(end.conn.close_info().cause, Some(Cause::Protocol(error)));
            assert_eq!(work(&mut end), None);
        }
    }
}

#[test]
fn a_failure_behind_the_peers_close_is_not_passed_over() {
    for role in ROLES {
        let mut end = filtered(role);
        end.feed(&coded(role, 0x81, b"Job fails!")).frame(0x88, b"\x03\xe8");
        assert_eq!(end.sent_closes(), [b"\x03\xe8"]);
        work(&mut end);
        assert_eq!(end.items(), [Item::Over]);
        let info = end.conn.close_info();
        assert!(!info.is_clean() && matches!(info.cause, Some(Cause::Protocol(_))), "{info:?}");
        assert!(!end.conn.wants_write());
        assert_ne!(end.conn.teardown(), Teardown::Keep);
    }
}

#[test]
fn a_failure_to_encode_is_told_at_once_and_when_work_finds_it_ends_the_connection() {
    for role in ROLES {
        let mut end = filtered(role);
        assert!(end.conn.send(Opcode::Text, b"Fail").is_err());
        assert_eq!((end.conn.state(), end.conn.wants_write()), (State::Open, false));

        // A user's Close and the peer's, that wait for the work, are sent all the same: the failure's in their place.
        for closing in [None, Some(false), Some(true)] {
            let mut end = filtered(role);
            end.send_text("Job fails!");
            end.send_text("behind");
            match closing {
                None => {}
                Some(false) => end.close(1000, ""),
                Some(true) => drop(end.frame(0x88, b"\x03\xe8")),
            }
            work(&mut end);
            let error = Error::from(Violation::Extension("the work failed".to_owned()));
            let close = close_payload(1002, &error.to_string());
            assert_eq!(end.sent(), [(Opcode::Close, true, close)], "{closing:?}");
            let info = end.conn.close_info();
            assert!(!info.is_clean() && info.cause == Some(Cause::Protocol(error)));
            assert_eq!((end.conn.queued_messages(), end.conn.queued_bytes()), (0, 0));
        }

        // A frame that cannot be encoded behind work.
        let mut end = filtered(role);
        end.send_text("Job");
        end.send_text("Fail");
        work(&mut end);
        let closes = end.sent_closes();
        assert_eq!(closes.len(), 1);
        assert_eq!(closes[0][..2], 1011u16.to_be_bytes());
    }
}

#[test]
fn limits_count_what_comes_out_of_the_filter_in_every_delivery() {
    /// Triples what it decodes.
    struct Triple;
    impl FrameFilter for Triple {
        fn reserved_bits(&self) -> u8 {
            0
        }
        fn decode(&mut self, frame: FilterFrame, payload: &[u8], limit: usize) -> Filtered {
            assert!(limit <= 100);
            Filtered::Made(frame, payload.repeat(3).into())
        }
        fn encode(&mut self, frame: FilterFrame, _: &[u8]) -> Filtered {
            Filtered::Same(frame)
        }
        fn restore(&mut self, _: Direction, _: Box<dyn Any + Send>) {}
    }
    let limits = Limits { max_message: 100, ..Limits::default() };
    for delivery in [Delivery::Messages, Delivery::Mixed, Delivery::Frames] {
        let mut end = End::open(Config { limits: limits.clone(), delivery, ..quiet(Role::Client) });
        end.conn.set_filter(Box::new(Triple));
        end.frame(0x82, &[1; 33]).frame(0x02, &[1; 20]).frame(0x00, &[1; 13]);
        assert_eq!(end.conn.state(), State::Open, "{delivery:?}");
        end.frame(0x80, &[1; 1]);
        let error = Error::from(Limit::Message { size: 102, before: 99, limit: 100 });
        assert_eq!(end.conn.close_info().cause, Some(Cause::Protocol(error)), "{delivery:?}");
        assert_eq!(end.sent_closes().len(), 1);
    }
}

#[test]
fn fragments_and_frames_pass_the_filter_one_by_one() {
    for role in ROLES {
        for (delivery, last) in [(Delivery::Mixed, Opcode::Text), (Delivery::Frames, Opcode::Continuation)] {
            let mut end = filtered_with(Config { delivery, ..quiet(role) });
            let wire = [coded(role, 0x01, b"a"), coded(role, 0x00, b"Job"), coded(role, 0x80, "é".as_bytes())];
            end.feed_in(&wire.concat(), &[1]);
            assert_eq!(end.items(), [data(Opcode::Text, false, b"a")]);
            work(&mut end);
            assert_eq!(end.items(), [data(last, false, b"Job"), data(last, true, "é".as_bytes())]);
        }
    }
}

#[test]
fn there_is_no_landing_before_a_filter() {
    let mut end = filtered(Role::Server);
    let wire = frame_as(0xc2, Some([1, 2, 3, 4]), &[7; 1000]);
    end.feed(&wire[..500]);
    assert!(end.conn.landing().is_none());
    end.feed(&wire[500..]);
    assert_eq!(end.items(), [binary(&xor(&[7; 1000]))]);
    assert_eq!(other(end.role()), Role::Client);
}

#[test]
fn bits_that_are_admitted_come_with_frames_whose_text_is_not_looked_at() {
    for role in ROLES {
        for sizes in [&[][..], &[1], &[2, 5]] {
            let config = Config { delivery: Delivery::Frames, reserved_bits: 5, ..quiet(role) };
            let mut end = End::open(config);
            let wire = [
                frame(role, 0xc1, b"\xff\xfe"),
                frame(role, 0x41, b"\xff"),
                frame(role, 0x90, b"\xc3"),
                frame(role, 0x81, "plän".as_bytes()),
            ];
            end.feed_in(&wire.concat(), sizes);
            let expected = [(Opcode::Text, true, 4, &b"\xff\xfe"[..]), (Opcode::Text, false, 4, b"\xff")];
            let rest = [(Opcode::Continuation, true, 1, &b"\xc3"[..]), (Opcode::Text, true, 0, "plän".as_bytes())];
            let items = expected.iter().chain(&rest).map(|&(opcode, fin, rsv, payload)| Item::Data {
                opcode,
                fin,
                rsv,
                payload: payload.to_vec(),
            });
            assert_eq!(end.items(), items.collect::<Vec<_>>(), "{sizes:?}");
            end.feed(&frame(role, 0xa1, b""));
            assert_eq!(end.conn.close_info().cause, Some(Cause::Protocol(Violation::ReservedBits(2).into())));
        }
    }
}

#[test]
fn frames_that_are_sent_as_they_are_keep_the_order_of_fragments() {
    for role in ROLES {
        let mut end = End::open(quiet(role));
        let conn = &mut end.conn;
        assert_eq!(conn.send_frame_as_is(Opcode::Continuation, true, 0, b""), Err(Misuse::FragmentType));
        assert_eq!(conn.send_frame_as_is(Opcode::Text, false, 4, b"\xff"), Ok(()));
        assert_eq!(conn.send_frame_as_is(Opcode::Ping, true, 1, b"p"), Ok(()));
        assert_eq!(conn.send_frame_as_is(Opcode::Binary, true, 0, b""), Err(Misuse::FragmentOrder));
        assert_eq!(conn.send(Opcode::Text, b""), Err(Misuse::FragmentOrder));
        assert_eq!(conn.send_frame_as_is(Opcode::Continuation, true, 0, b"end"), Ok(()));
        for (opcode, fin, rsv) in [(Opcode::Close, true, 0), (Opcode::Ping, false, 0), (Opcode::Text, true, 8)] {
            let refused = conn.send_frame_as_is(opcode, fin, rsv, b"");
            assert!(matches!(refused, Err(Misuse::Config(_))), "{refused:?}");
        }
        assert_eq!(conn.send_frame_as_is(Opcode::Pong, true, 0, &[0; 126]), Err(Misuse::ControlTooLong(126)));
        let stats = conn.stats();
        assert_eq!((stats.frames_sent, stats.messages_sent, stats.pings_sent), (3, 1, 1));
    }
    let mut end = filtered(Role::Client);
    assert!(matches!(end.conn.send_frame_as_is(Opcode::Text, true, 0, b""), Err(Misuse::Config(_))));
}

/// Leaves plain messages alone; what has RSV1 is XORed as work.
struct Marked;

impl FrameFilter for Marked {
    fn reserved_bits(&self) -> u8 {
        4
    }

    fn decode(&mut self, frame: FilterFrame, payload: &[u8], _: usize) -> Filtered {
        if frame.rsv == 0 {
            return Filtered::Same(frame);
        }
        let (frame, made) = (FilterFrame { rsv: 0, ..frame }, xor(payload));
        Filtered::Work(Box::new(move || WorkDone { result: Ok((frame, made)), state: None }))
    }

    fn encode(&mut self, frame: FilterFrame, _: &[u8]) -> Filtered {
        Filtered::Same(frame)
    }

    fn passes_plain(&self) -> bool {
        true
    }

    fn restore(&mut self, _: Direction, _: Box<dyn Any + Send>) {}
}

#[test]
fn plain_messages_are_delivered_where_they_lie_unless_they_are_behind_work() {
    for role in ROLES {
        let mut end = End::open(quiet(role));
        end.conn.set_filter(Box::new(Marked));
        let wire = [
            frame(role, 0x81, "κόσμε".as_bytes()),
            frame(role, 0x82, b""),
            coded(role, 0x81, b"marked"),
            frame(role, 0x81, b"behind"),
            frame(role, 0x01, b"in frag"),
            frame(role, 0x80, b"ments"),
        ];
        end.feed(&wire.concat());
        assert_eq!(end.items(), [text("κόσμε"), binary(b"")]);
        assert_eq!((end.sink.whole, end.sink.assembled), (2, 0));
        assert_eq!(work(&mut end), Some(Direction::Receive));
        assert_eq!(end.items(), [text("marked"), text("behind"), text("in fragments")]);
        end.frame(0x81, b"again");
        assert_eq!((end.items(), end.sink.whole), (vec![text("again")], 3));
        assert_eq!(end.conn.stats().messages_received, 6);
        end.frame(0x81, b"\xff");
        assert_eq!(end.sent_closes(), [close_payload(1007, "invalid UTF-8 at byte 0")]);
    }
}
