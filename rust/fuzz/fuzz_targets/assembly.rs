//! Frames that are well formed one by one, in any order: a model of twenty lines says what messages they make.
#![no_main]

#[path = "../../core/tests/common/mod.rs"]
mod common;

use common::{End, Item, frame, quiet};
use fastws_core::{Config, Limits, Opcode, Role};
use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;

#[derive(Arbitrary, Debug)]
enum Kind {
    Text,
    Binary,
    Continuation,
    Ping,
    Pong,
}

#[derive(Arbitrary, Debug)]
struct Piece {
    kind: Kind,
    fin: bool,
    payload: Payload,
}

#[derive(Arbitrary, Debug)]
enum Payload {
    Any(Vec<u8>),
    Text(String),
    /// A part of a text, cut anywhere.
    Cut(String, u8),
    Long(u16),
}

impl Payload {
    fn bytes(&self) -> Vec<u8> {
        match self {
            Self::Any(bytes) => bytes.clone(),
            Self::Text(text) => text.clone().into_bytes(),
            Self::Cut(text, at) => text.as_bytes()[usize::from(*at) % (text.len() + 1)..].to_vec(),
            Self::Long(length) => vec![b'z'; usize::from(*length) % 5000],
        }
    }
}

#[derive(Arbitrary, Debug)]
struct Session {
    server: bool,
    max_message: u16,
    max_fragments: u8,
    sizes: [u8; 3],
    pieces: Vec<Piece>,
}

/// The messages that the pieces make, up to the first that is not right; none after that.
fn model(session: &Session) -> (Vec<(Opcode, Vec<u8>)>, bool) {
    let most = usize::from(session.max_message).max(1);
    let mut messages = Vec::new();
    let mut open: Option<(Opcode, Vec<u8>, usize)> = None;
    for piece in &session.pieces {
        let payload = piece.payload.bytes();
        let (opcode, begins) = match piece.kind {
            Kind::Ping | Kind::Pong if piece.fin && payload.len() <= 125 => continue,
            Kind::Ping | Kind::Pong => return (messages, false),
            Kind::Text => (Opcode::Text, true),
            Kind::Binary => (Opcode::Binary, true),
            Kind::Continuation => (Opcode::Continuation, false),
        };
        if begins == open.is_some() {
            return (messages, false);
        }
        let (opcode, mut message, fragments) = open.take().unwrap_or((opcode, Vec::new(), 0));
        message.extend_from_slice(&payload);
        let fragments = fragments + 1;
        if message.len() > most || fragments > usize::from(session.max_fragments).max(1) {
            return (messages, false);
        }
        if opcode == Opcode::Text {
            match std::str::from_utf8(&message) {
                Ok(_) => {}
                Err(error) if !piece.fin && error.error_len().is_none() => {}
                Err(_) => return (messages, false),
            }
        }
        if piece.fin {
            messages.push((opcode, message));
        } else {
            open = Some((opcode, message, fragments));
        }
    }
    (messages, true)
}

fuzz_target!(|session: Session| {
    let role = if session.server { Role::Server } else { Role::Client };
    let limits = Limits {
        max_message: usize::from(session.max_message).max(1),
        max_frame: usize::MAX,
        max_fragments: usize::from(session.max_fragments).max(1),
        ..Limits::default()
    };
    let mut wire = Vec::new();
    for piece in &session.pieces {
        let opcode = match piece.kind {
            Kind::Text => 1,
            Kind::Binary => 2,
            Kind::Continuation => 0,
            Kind::Ping => 9,
            Kind::Pong => 10,
        };
        wire.extend_from_slice(&frame(role, u8::from(piece.fin) << 7 | opcode, &piece.payload.bytes()));
    }
    let (expected, good) = model(&session);
    let sizes: Vec<usize> = session.sizes.iter().map(|size| usize::from(*size).max(1)).collect();
    for landing in [false, true] {
        let mut end = End::open(Config { limits: limits.clone(), ..quiet(role) });
        if landing {
            end.feed_landing(&wire, &sizes);
        } else {
            end.feed_in(&wire, &sizes);
        }
        let data = |item| match item {
            Item::Data { opcode, payload, .. } => Some((opcode, payload)),
            _ => None,
        };
        let messages: Vec<_> = end.items().into_iter().filter_map(data).collect();
        assert_eq!(messages, expected);
        assert_eq!(end.conn.close_info().cause.is_none(), good);
    }
});
