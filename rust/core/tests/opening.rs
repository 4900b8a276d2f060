//! The opening handshake inside the machine: what is glued behind it, refusals, limits.

mod common;

use common::{End, Item, frame, handshake, ping, quiet, text};
use fastws_core::connection::{StreamEnd, Teardown};
use fastws_core::handshake::refuse;
use fastws_core::{Cause, CloseCode, Config, Connection, Limits, Opcode, Role, State};

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
