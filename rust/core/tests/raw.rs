//! Frames as they are on the wire: what is passed on, what is checked, and who ends the connection.

mod common;

use common::{End, Item, binary, close_payload, data, frame, quiet};
use fastws_core::connection::{StreamEnd, Teardown};
use fastws_core::{Config, Delivery, Limits, Misuse, Opcode, Role, State};

const ROLES: [Role; 2] = [Role::Client, Role::Server];

fn raw(role: Role) -> Config {
    Config { delivery: Delivery::Raw, auto_pong: false, ..quiet(role) }
}

#[test]
fn any_order_of_frames_any_rsv_bits_and_any_text_are_passed_on() {
    for role in ROLES {
        for sizes in [&[][..], &[1], &[3, 70]] {
            let mut end = End::open(raw(role));
            let long = vec![7; 300];
            let frames = [
                frame(role, 0x02, b"a"),
                frame(role, 0x82, b"b"),
                frame(role, 0x80, b"c"),
                frame(role, 0x81, b"\xff"),
                frame(role, 0xf2, &long),
                frame(role, 0x89, b"p"),
                frame(role, 0x8a, b""),
                frame(role, 0x81, b""),
            ];
            end.feed_in(&frames.concat(), sizes);
            let with_rsv = Item::Data { opcode: Opcode::Binary, fin: true, rsv: 7, payload: long };
            let expected = [
                data(Opcode::Binary, false, b"a"),
                binary(b"b"),
                data(Opcode::Continuation, true, b"c"),
                data(Opcode::Text, true, b"\xff"),
                with_rsv,
                data(Opcode::Ping, true, b"p"),
                data(Opcode::Pong, true, b""),
                data(Opcode::Text, true, b""),
            ];
            assert_eq!(end.items(), expected, "{role:?} {sizes:?}");
            assert!(!end.conn.wants_write(), "nothing is answered");
            assert_eq!(end.conn.stats().frames_received, 8);
        }
    }
}

#[test]
fn pings_are_answered_on_request_past_what_waits_and_as_seldom_as_ever() {
    for role in ROLES {
        let mut end = End::open(Config { auto_pong: true, max_send_bytes: 100, ..raw(role) });
        end.conn.send_raw(0x82, b"waits").unwrap();
        for number in 0..200 {
            end.frame(0x89, &[number]);
        }
        assert!(end.conn.queued_bytes() < 20, "of a flood that is not read, little is answered");
        let sent = end.sent();
        assert_eq!(sent.len(), 17);
        assert_eq!(sent[15], (Opcode::Pong, true, vec![199]));
        assert_eq!(sent[16], (Opcode::Binary, true, b"waits".to_vec()));
        assert!(end.items().iter().all(|item| matches!(item, Item::Ping(_))), "they are not passed on");
    }
}

#[test]
fn a_control_frame_that_is_long_is_refused() {
    let mut end = End::open(raw(Role::Client));
    for first in [0x88, 0x89, 0x8a, 0x09] {
        assert_eq!(end.conn.send_raw(first, &[0; 126]), Err(Misuse::ControlTooLong(126)));
        end.conn.send_raw(first, &[0; 125]).unwrap();
    }
    end.conn.send_raw(0x8b, &[0; 126]).unwrap();
    end.conn.send_raw(0x82, &[0; 126]).unwrap();
}

#[test]
fn a_close_frame_ends_what_comes_but_not_what_is_sent() {
    for role in ROLES {
        let mut end = End::open(raw(role));
        end.feed(&[frame(role, 0x88, b"\x03\xe8bye"), frame(role, 0x82, b"late")].concat());
        assert_eq!(end.items(), [data(Opcode::Close, true, b"\x03\xe8bye"), Item::Over]);
        assert_eq!((end.conn.state(), end.conn.teardown()), (State::Open, Teardown::Keep));
        end.conn.send_raw(0x82, b"more").unwrap();
        end.conn.close_raw(Some(1001), "mine").unwrap();
        assert_eq!(end.conn.send_raw(0x82, b"late"), Err(Misuse::Closing));
        assert_eq!(end.conn.close_raw(None, ""), Err(Misuse::Closing));
        assert_eq!(end.sent_closes(), [close_payload(1001, "mine")]);
        assert_eq!(end.conn.teardown(), Teardown::Keep);
        end.conn.hang_up();
        assert_eq!(end.conn.teardown(), Teardown::Close);
        assert!(end.conn.close_info().is_clean());
    }
}

#[test]
fn hanging_up_waits_for_what_is_queued_and_reads_no_more() {
    let mut end = End::open(raw(Role::Client));
    end.conn.send_raw(0x01, b"one").unwrap();
    end.conn.write_raw(b"\x00\x01\x02").unwrap();
    end.conn.hang_up();
    assert!(end.conn.has_stream_ended());
    assert_eq!(end.conn.teardown(), Teardown::Keep);
    let count = end.conn.output().0.len() + end.conn.output().1.len();
    assert_eq!(count, 2 + 4 + 3 + 3);
    assert_eq!(end.conn.output().0[0], 0x01);
    end.conn.wrote(count);
    assert_eq!(end.conn.teardown(), Teardown::Close);
    end.conn.hang_up();
    end.conn.stream_closed();
    end.conn.hang_up();
    assert_eq!(end.conn.state(), State::Closed);
}

#[test]
fn what_no_frame_may_be_fails_the_connection() {
    let role = Role::Client;
    let too_big = frame(role, 0x82, &vec![0; 70_000]);
    for (bad, code) in [
        (b"\x83\x00".to_vec(), 1002),
        (b"\x09\x00".to_vec(), 1002),
        (b"\x82\x80\x01\x02\x03\x04".to_vec(), 1002),
        (b"\x82\x7e\x00\x01\x00".to_vec(), 1002),
        (b"\x88\x01\x03".to_vec(), 1002),
        (b"\x88\x03\x03\xe8\xff".to_vec(), 1007),
        (too_big, 1009),
    ] {
        let limits = Limits { max_frame: 66_000, ..Limits::default() };
        let mut end = End::open(Config { limits, ..raw(role) });
        end.feed(&bad);
        let sent = end.sent_closes();
        assert_eq!(sent.len(), 1, "{bad:?}");
        assert_eq!(sent[0][..2], u16::to_be_bytes(code), "{bad:?}");
        assert_eq!(end.conn.teardown(), Teardown::HalfClose);
    }
}

#[test]
fn the_end_of_the_stream_ends_it() {
    let mut end = End::open(raw(Role::Client));
    end.end(StreamEnd::Clean);
    assert_eq!(end.conn.teardown(), Teardown::Close);
}
