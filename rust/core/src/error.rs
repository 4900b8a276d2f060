//! Every error of the protocol. The variant of [`Error`] says who is to blame; [`Error::close_code`] is the one map
//! from an error to the close code that tells the peer (RFC 6455 §7.4.1).

use std::fmt;

use crate::close::CloseCode;

/// What went wrong, by who is to blame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Error {
    /// The caller asked for something that the protocol or the connection's state does not allow.
    Misuse(Misuse),
    /// The peer broke the protocol.
    PeerViolated(Violation),
    /// The peer is within its rights, but we cannot work with what it chose.
    PeerIncompatible(Incompatible),
    /// The peer sent more than the configuration allows.
    LimitExceeded(Limit),
}

/// What the caller did wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Misuse {
    /// The opening handshake is not over.
    NotOpen,
    /// The closing handshake has begun or the connection is over.
    Closing,
    /// A code that may not be put into a Close frame (§7.4).
    CloseCode(u16),
    /// A close reason of more than 123 bytes (§5.5).
    ReasonTooLong(usize),
    /// A control frame's payload of more than 125 bytes (§5.5).
    ControlTooLong(usize),
    /// A message was begun while a fragmented one was being sent (§5.4), or a continuation without a beginning.
    FragmentOrder,
    /// A continuation of another type than the message's first fragment.
    FragmentType,
    /// The send queue holds all it may.
    QueueFull {
        /// Messages in the queue.
        messages: usize,
        /// Bytes in the queue.
        bytes: usize,
    },
    /// As many Pings and Pongs wait to be sent as may.
    ControlFull(usize),
    /// One message is larger than the whole send queue may hold.
    MessageTooLarge {
        /// Bytes of the message.
        bytes: usize,
        /// Bytes that the queue may hold.
        limit: usize,
    },
    /// The URI cannot be used; the text says why.
    Uri(String),
    /// A header name or value that cannot be sent; the text says which.
    Header(String),
    /// A subprotocol that is not a token, or named twice.
    Subprotocol(String),
    /// A configuration value that cannot be; the text names it.
    Config(String),
}

/// How the peer broke the protocol.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Violation {
    /// RSV bits that no negotiated extension gives a meaning to (§5.2). The bits, RSV1 being 4.
    ReservedBits(u8),
    /// An opcode that is reserved (§5.2).
    Opcode(u8),
    /// A length not in its shortest form (§5.2).
    NonMinimalLength(u64),
    /// A 64-bit length with the most significant bit set (§5.2).
    LengthSignBit,
    /// A server masked a frame (§5.1).
    Masked,
    /// A client did not mask a frame (§5.1).
    Unmasked,
    /// A control frame without FIN (§5.5).
    FragmentedControl,
    /// A control frame of more than 125 bytes (§5.5).
    ControlTooLong,
    /// A continuation frame while no message is in progress (§5.4).
    UnexpectedContinuation,
    /// A text or binary frame while a fragmented message is in progress (§5.4).
    ExpectedContinuation,
    /// A text message or a close reason that is not UTF-8 (§8.1): the offset of the first bad byte in the message.
    Utf8(u64),
    /// A Close frame with a payload of one byte (§5.5.1).
    ClosePayload,
    /// A close code that may not appear on the wire (§7.4).
    CloseCode(u16),
    /// The opening handshake is not HTTP, or not as RFC 6455 §4 wants it; the text says what was found and wanted.
    Handshake(Flaw, String),
    /// A wire extension could not decode a frame; the text says why.
    Extension(String),
}

/// In what an opening handshake is not as it should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flaw {
    /// The stream ended before it was over.
    Unfinished,
    /// This is not HTTP/1.
    NotHttp,
    /// A 101 with HTTP/1.0.
    Version,
    /// `Sec-WebSocket-Accept` is missing, there several times, or wrong.
    Accept,
    /// More than one subprotocol was chosen.
    Subprotocol,
    /// Anything else.
    Other,
}

/// What the peer chose that we cannot work with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Incompatible {
    /// The server answered the upgrade with another status than 101. The response is kept with the connection.
    Status(u16),
    /// A WebSocket version other than 13.
    Version(String),
    /// A subprotocol that was not asked for.
    Subprotocol(String),
    /// An extension that was not asked for, or with parameters that cannot be accepted.
    Extension(String),
}

/// Which limit was exceeded: what was seen (or announced), and what is allowed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Limit {
    /// `max_frame_size`, bytes.
    Frame {
        /// Announced.
        size: u64,
        /// Allowed.
        limit: usize,
    },
    /// `max_size` of a message, bytes.
    Message {
        /// Received and announced so far.
        size: u64,
        /// Allowed.
        limit: usize,
    },
    /// Fragments of one message.
    Fragments {
        /// Allowed.
        limit: usize,
    },
    /// The header block of the opening handshake, bytes or lines.
    Head {
        /// What is limited: "bytes" or "lines".
        what: &'static str,
        /// Allowed.
        limit: usize,
    },
    /// What a compressed message may grow by.
    Ratio {
        /// Inflated so far, bytes.
        size: u64,
        /// Of so many bytes.
        compressed: usize,
        /// Allowed: times those.
        limit: usize,
    },
    /// Memory for a payload could not be had.
    Memory {
        /// Bytes asked for.
        size: usize,
    },
}

impl Error {
    /// The code of the Close frame that tells the peer, or none where no Close frame is due.
    pub fn close_code(&self) -> Option<CloseCode> {
        match self {
            Self::PeerViolated(Violation::Utf8(_)) => Some(CloseCode::INVALID_DATA),
            Self::PeerViolated(Violation::Handshake(..)) | Self::PeerIncompatible(_) | Self::Misuse(_) => None,
            Self::PeerViolated(_) => Some(CloseCode::PROTOCOL_ERROR),
            Self::LimitExceeded(Limit::Head { .. }) => None,
            Self::LimitExceeded(Limit::Memory { .. }) => Some(CloseCode::INTERNAL_ERROR),
            Self::LimitExceeded(_) => Some(CloseCode::MESSAGE_TOO_BIG),
        }
    }

    /// The reason in that Close frame: the text, without the names of our settings, which say nothing to a peer.
    pub(crate) fn close_reason(&self) -> String {
        match self {
            Self::LimitExceeded(limit) => limit.text(),
            other => other.to_string(),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Misuse(e) => e.fmt(f),
            Self::PeerViolated(e) => e.fmt(f),
            Self::PeerIncompatible(e) => e.fmt(f),
            Self::LimitExceeded(e) => e.fmt(f),
        }
    }
}

impl fmt::Display for Misuse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotOpen => write!(f, "the connection is not open yet"),
            Self::Closing => write!(f, "the connection is closing or closed"),
            Self::CloseCode(code) => {
                write!(f, "close code {code} may not be sent; use {}", CloseCode::SENDABLE)
            }
            Self::ReasonTooLong(n) => write!(f, "a close reason may have 123 bytes of UTF-8, not {n}"),
            Self::ControlTooLong(n) => write!(f, "a control frame may carry 125 bytes, not {n}"),
            Self::FragmentOrder => write!(f, "another message is being sent in fragments"),
            Self::FragmentType => write!(f, "all fragments of a message must be of one type, text or binary"),
            Self::QueueFull { messages, bytes } => {
                write!(f, "the send queue is full: {messages} messages, {bytes} bytes are waiting")
            }
            Self::ControlFull(frames) => write!(f, "{frames} pings and pongs are waiting to be sent already"),
            Self::MessageTooLarge { bytes, limit } => {
                write!(f, "a message of {bytes} bytes can never fit a send queue of {limit} bytes")
            }
            Self::Uri(text) | Self::Header(text) | Self::Subprotocol(text) | Self::Config(text) => f.write_str(text),
        }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ReservedBits(bits) => write!(f, "reserved bits set without an extension: {bits:03b}"),
            Self::Opcode(op) => write!(f, "reserved opcode {op:#x}"),
            Self::NonMinimalLength(n) => write!(f, "length {n} is not in its shortest form"),
            Self::LengthSignBit => write!(f, "a 64-bit length with its most significant bit set"),
            Self::Masked => write!(f, "a server must not mask frames"),
            Self::Unmasked => write!(f, "a client must mask frames"),
            Self::FragmentedControl => write!(f, "a control frame may not be fragmented"),
            Self::ControlTooLong => write!(f, "a control frame announces more than the 125 bytes that it may carry"),
            Self::UnexpectedContinuation => write!(f, "a continuation frame without a message in progress"),
            Self::ExpectedContinuation => write!(f, "a new message before the last one was finished"),
            Self::Utf8(at) => write!(f, "invalid UTF-8 at byte {at}"),
            Self::ClosePayload => write!(f, "a Close frame with a payload of one byte"),
            Self::CloseCode(code) => write!(f, "close code {code} may not be used on the wire"),
            Self::Handshake(_, text) | Self::Extension(text) => f.write_str(text),
        }
    }
}

impl fmt::Display for Incompatible {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status(code) => write!(f, "the server answered the upgrade with HTTP status {code}"),
            Self::Version(v) => write!(f, "the peer speaks WebSocket version {v}, not 13"),
            Self::Subprotocol(p) => write!(f, "the server chose subprotocol {p:?}, which was not asked for"),
            Self::Extension(text) => f.write_str(text),
        }
    }
}

impl Limit {
    /// What was exceeded, and by how much.
    fn text(&self) -> String {
        match self {
            Self::Frame { size, limit } => format!("a frame of {size} bytes is over the limit of {limit} bytes"),
            Self::Message { size, limit } => {
                format!("a message of {size} bytes or more is over the limit of {limit} bytes")
            }
            Self::Fragments { limit } => format!("a message in more than {limit} fragments is over the limit"),
            Self::Head { what, limit } => format!("the HTTP header block is over the limit of {limit} {what}"),
            Self::Ratio { size, compressed, limit } => format!(
                "a message of {compressed} compressed bytes became {size} or more, over the limit of {limit} times"
            ),
            Self::Memory { size } => format!("no memory for a payload of {size} bytes"),
        }
    }

    /// The setting that it is, by its name in Python.
    fn setting(&self) -> Option<&'static str> {
        match self {
            Self::Frame { .. } => Some("max_frame_size"),
            Self::Message { .. } => Some("max_size"),
            Self::Fragments { .. } => Some("max_fragments"),
            Self::Ratio { .. } => Some("max_ratio"),
            Self::Head { .. } | Self::Memory { .. } => None,
        }
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text())?;
        self.setting().map_or(Ok(()), |name| write!(f, " ({name})"))
    }
}

impl std::error::Error for Error {}

impl From<Misuse> for Error {
    fn from(e: Misuse) -> Self {
        Self::Misuse(e)
    }
}
impl From<Violation> for Error {
    fn from(e: Violation) -> Self {
        Self::PeerViolated(e)
    }
}
impl From<Incompatible> for Error {
    fn from(e: Incompatible) -> Self {
        Self::PeerIncompatible(e)
    }
}
impl From<Limit> for Error {
    fn from(e: Limit) -> Self {
        Self::LimitExceeded(e)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_error_maps_to_the_code_of_rfc_6455_section_7_4_1() {
        let table: [(Error, Option<u16>); 12] = [
            (Violation::ReservedBits(4).into(), Some(1002)),
            (Violation::Opcode(3).into(), Some(1002)),
            (Violation::Utf8(0).into(), Some(1007)),
            (Violation::ClosePayload.into(), Some(1002)),
            (Violation::CloseCode(1005).into(), Some(1002)),
            (Violation::Extension(String::new()).into(), Some(1002)),
            (Violation::Handshake(Flaw::Other, String::new()).into(), None),
            (Incompatible::Status(403).into(), None),
            (Limit::Frame { size: 2, limit: 1 }.into(), Some(1009)),
            (Limit::Message { size: 2, limit: 1 }.into(), Some(1009)),
            (Limit::Memory { size: 2 }.into(), Some(1011)),
            (Misuse::NotOpen.into(), None),
        ];
        for (error, code) in table {
            assert_eq!(error.close_code().map(u16::from), code, "{error}");
        }
    }
}
