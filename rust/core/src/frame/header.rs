//! What a frame header says.

use std::fmt;

/// An opcode that RFC 6455 §5.2 defines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Opcode {
    /// 0: a further fragment.
    Continuation = 0,
    /// 1: text, UTF-8.
    Text = 1,
    /// 2: binary.
    Binary = 2,
    /// 8: close.
    Close = 8,
    /// 9: ping.
    Ping = 9,
    /// 10: pong.
    Pong = 10,
}

/// The longest payload of a control frame (§5.5).
pub const MAX_CONTROL_PAYLOAD: usize = 125;

/// A decoded frame header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// The opcode.
    pub opcode: Opcode,
    /// The last frame of its message.
    pub fin: bool,
    /// RSV1–3 as three bits, RSV1 being 4.
    pub rsv: u8,
    /// The masking key, if the frame is masked.
    pub key: Option<[u8; 4]>,
    /// Payload bytes.
    pub length: u64,
}

impl Opcode {
    /// The opcode of four bits; none for the reserved ones.
    pub fn from_bits(bits: u8) -> Option<Self> {
        Some(match bits {
            0 => Self::Continuation,
            1 => Self::Text,
            2 => Self::Binary,
            8 => Self::Close,
            9 => Self::Ping,
            10 => Self::Pong,
            _ => return None,
        })
    }

    /// Whether the frame controls the connection: it may not be fragmented and carries at most 125 bytes (§5.5).
    pub fn is_control(self) -> bool {
        self as u8 >= 8
    }
}

impl fmt::Display for Opcode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Continuation => "continuation",
            Self::Text => "text",
            Self::Binary => "binary",
            Self::Close => "close",
            Self::Ping => "ping",
            Self::Pong => "pong",
        })
    }
}
