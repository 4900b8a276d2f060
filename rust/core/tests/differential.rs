//! The machine beside tungstenite's: the same bytes, valid or not, give the same messages and the same verdict.

mod common;

use std::io::{self, Cursor, Read, Write};

use common::{End, Item, frame_as, mask_key, quiet};
use fastws_core::{Cause, Config, Error, Limits, Opcode, Role};
use proptest::prelude::*;
use tungstenite::protocol::{Role as TheirRole, WebSocket, WebSocketConfig};
use tungstenite::{Message, error::ProtocolError};

/// What both sides are asked.
#[derive(Debug, PartialEq, Eq)]
enum Seen {
    Text(String),
    Binary(Vec<u8>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close,
}

#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    /// The bytes ended, in a frame or between two.
    Ended,
    Closed,
    /// The protocol was broken or a limit passed; a frame may do both, and which is said first is not the matter here.
    Refused,
}

/// Reads bytes, forgets what is written.
struct Stream(Cursor<Vec<u8>>);

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

const MOST: usize = 3000;

fn theirs(role: Role, wire: &[u8]) -> (Vec<Seen>, Verdict) {
    let role = if role == Role::Client { TheirRole::Client } else { TheirRole::Server };
    let config = WebSocketConfig::default().max_message_size(Some(MOST)).max_frame_size(Some(MOST));
    let mut socket = WebSocket::from_raw_socket(Stream(Cursor::new(wire.to_vec())), role, Some(config));
    let mut seen = Vec::new();
    loop {
        seen.push(match socket.read() {
            Ok(Message::Text(text)) => Seen::Text(text.as_str().to_owned()),
            Ok(Message::Binary(bytes)) => Seen::Binary(bytes.to_vec()),
            Ok(Message::Ping(bytes)) => Seen::Ping(bytes.to_vec()),
            Ok(Message::Pong(bytes)) => Seen::Pong(bytes.to_vec()),
            Ok(Message::Close(_)) => {
                seen.push(Seen::Close);
                return (seen, Verdict::Closed);
            }
            Ok(Message::Frame(_)) => unreachable!("reading gives no frames"),
            Err(tungstenite::Error::Protocol(ProtocolError::ResetWithoutClosingHandshake)) => {
                return (seen, Verdict::Ended);
            }
            Err(tungstenite::Error::Protocol(_) | tungstenite::Error::Utf8(_) | tungstenite::Error::Capacity(_)) => {
                return (seen, Verdict::Refused);
            }
            Err(other) => panic!("{other}"),
        });
    }
}

fn ours(role: Role, wire: &[u8], sizes: &[usize]) -> (Vec<Seen>, Verdict) {
    let limits = Limits { max_message: MOST, max_frame: MOST, ..Limits::default() };
    let mut end = End::open(Config { limits, ..quiet(role) });
    end.feed_in(wire, sizes);
    let mut seen: Vec<Seen> = end
        .items()
        .into_iter()
        .filter_map(|item| match item {
            Item::Data { opcode: Opcode::Text, payload, .. } => Some(Seen::Text(String::from_utf8(payload).unwrap())),
            Item::Data { payload, .. } => Some(Seen::Binary(payload)),
            Item::Ping(payload) => Some(Seen::Ping(payload)),
            Item::Pong(payload, _) => Some(Seen::Pong(payload)),
            _ => None,
        })
        .collect();
    let info = end.conn.close_info();
    let verdict = match &info.cause {
        None if info.received.is_some() => {
            seen.push(Seen::Close);
            Verdict::Closed
        }
        None => Verdict::Ended,
        Some(Cause::Protocol(Error::LimitExceeded(_) | Error::PeerViolated(_))) => Verdict::Refused,
        Some(other) => panic!("{other:?}"),
    };
    (seen, verdict)
}

#[derive(Debug, Clone)]
struct Part {
    first: u8,
    payload: Vec<u8>,
    masked: bool,
}

/// Frames of a session that is mostly right.
fn parts() -> impl Strategy<Value = Vec<Part>> {
    let first = prop_oneof![
        6 => prop::sample::select(vec![0x81u8, 0x82]),
        5 => prop::sample::select(vec![0x01u8, 0x02, 0x00, 0x00, 0x80, 0x80]),
        4 => prop::sample::select(vec![0x89u8, 0x8a]),
        1 => any::<u8>(),
    ];
    let payload = prop_oneof![
        6 => "[a-zß世😀]{0,40}".prop_map(String::into_bytes),
        2 => prop::collection::vec(any::<u8>(), 0..130),
        1 => (100usize..4000).prop_map(|length| vec![b'z'; length]),
        1 => Just("ß世😀".as_bytes()[..4].to_vec()),
        1 => Just("ß世😀".as_bytes()[4..].to_vec()),
    ];
    let part = (first, payload, prop::bool::weighted(0.98));
    let frames = prop::collection::vec(part, 1..12).prop_map(|parts| {
        let part = |(first, payload, masked)| Part { first, payload, masked };
        parts.into_iter().map(part).collect::<Vec<_>>()
    });
    (frames, any::<bool>()).prop_map(|(mut frames, closes)| {
        if closes {
            frames.push(Part { first: 0x88, payload: 1000u16.to_be_bytes().to_vec(), masked: true });
        }
        frames
    })
}

/// Where the two differ on purpose.
fn differs_on_purpose(part: &Part) -> bool {
    // Close: tungstenite answers a code that may not be sent and a reason that is no text, and ends without an error.
    part.first & 0x0f == 8 && part.first != 0x88 || part.first == 0x88 && part.payload != 1000u16.to_be_bytes()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 10_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_same_bytes_give_the_same_messages_and_the_same_verdict(
        parts in parts(),
        server: bool,
        cut in any::<prop::sample::Index>(),
        whole: bool,
        sizes in prop::collection::vec(1usize..200, 1..5),
    ) {
        prop_assume!(!parts.iter().any(differs_on_purpose));
        let role = if server { Role::Server } else { Role::Client };
        let mut wire = Vec::new();
        for part in &parts {
            let key = (part.masked == server).then(mask_key);
            wire.extend_from_slice(&frame_as(part.first, key, &part.payload));
        }
        let (_, of_all) = theirs(role, &wire);
        if !whole {
            wire.truncate(cut.index(wire.len() + 1));
        }
        let (ours, our_verdict) = ours(role, &wire, &sizes);
        let (theirs, their_verdict) = theirs(role, &wire);
        prop_assert_eq!(ours, theirs);
        // We judge a frame by its first bytes, tungstenite when it is complete.
        let earlier = their_verdict == Verdict::Ended && our_verdict == Verdict::Refused && of_all == our_verdict;
        prop_assert!(our_verdict == their_verdict || earlier, "{our_verdict:?}, {their_verdict:?}");
    }
}
