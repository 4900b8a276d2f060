//! Every close code, who may send it (RFC 6455 §7.4), the Close frame's payload, and how a connection ended.

use std::fmt;

use crate::error::{Error, Misuse, Violation};

/// A close code. Any `u16` can be held; [`CloseCode::may_be_sent`] and [`CloseCode::may_be_received`] say where it may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CloseCode(pub u16);

/// The payload of a Close frame. `code` is none where the frame was empty (reported as 1005).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Close {
    /// The code, if there was one.
    pub code: Option<CloseCode>,
    /// The reason; UTF-8 by the protocol, at most 123 bytes.
    pub reason: String,
}

/// Who began the closing handshake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Initiator {
    /// We sent the first Close frame.
    Local,
    /// The peer did.
    Remote,
}

/// Why a connection ended otherwise than by a completed closing handshake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cause {
    /// An error of the protocol: the peer's, or a limit of ours.
    Protocol(Error),
    /// The peer ended the stream without a Close frame.
    Eof(Place),
    /// The stream ended inside TLS without a `close_notify` and without a Close frame: perhaps truncated by somebody else.
    Truncated(Place),
    /// The operating system or the TLS layer gave an error.
    Transport(Broken),
    /// No answer to a ping within `ping_timeout`; the text is the verdict of [`crate::keepalive`].
    Keepalive(String),
    /// The peer did not answer our Close within `close_timeout`.
    CloseTimeout,
    /// The local side gave the connection up without a closing handshake.
    Aborted(String),
}

/// Where in what the peer sent the stream ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// Behind a whole message.
    Between,
    /// In a frame's header.
    Header,
    /// In a frame's payload, of which so many bytes had come.
    Frame {
        /// Bytes that came.
        got: u64,
        /// Bytes that the header announced.
        of: u64,
    },
    /// Behind a fragment of a message that was not the last.
    Message,
}

/// What a stream broke by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broken {
    /// What the operating system or the TLS layer says.
    pub text: String,
    /// The operating system's number, if it was that.
    pub number: Option<i32>,
}

/// How a connection ended.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CloseInfo {
    /// The Close frame received, if any.
    pub received: Option<Close>,
    /// The Close frame sent, if any.
    pub sent: Option<Close>,
    /// Who sent the first Close frame, if any was sent or received.
    pub initiator: Option<Initiator>,
    /// Why it ended, unless by a completed closing handshake.
    pub cause: Option<Cause>,
}

/// To be put behind what is said of the end.
impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Between => Ok(()),
            Self::Header => f.write_str(", in the middle of a frame's header"),
            Self::Frame { got, of } => write!(f, ", in the middle of a frame: {got} of its {of} bytes had come"),
            Self::Message => f.write_str(", in the middle of a message, behind a fragment that was not the last"),
        }
    }
}

impl CloseCode {
    /// 1000: the purpose of the connection is fulfilled.
    pub const NORMAL: Self = Self(1000);
    /// 1001: an endpoint goes away.
    pub const GOING_AWAY: Self = Self(1001);
    /// 1002: a protocol error.
    pub const PROTOCOL_ERROR: Self = Self(1002);
    /// 1005: never on the wire; a Close frame without a code.
    pub const NO_STATUS: Self = Self(1005);
    /// 1006: never on the wire; the connection ended without a Close frame.
    pub const ABNORMAL: Self = Self(1006);
    /// 1007: data that does not fit the message's type, such as bad UTF-8.
    pub const INVALID_DATA: Self = Self(1007);
    /// 1009: a message over a limit.
    pub const MESSAGE_TOO_BIG: Self = Self(1009);
    /// 1011: an unexpected condition at the endpoint that closes.
    pub const INTERNAL_ERROR: Self = Self(1011);

    /// The codes that may be sent, for people.
    pub const SENDABLE: &'static str = "1000–1003, 1007–1014 or 3000–4999";

    /// Whether the code may be put into a Close frame.
    ///
    /// §7.4.1 and the registry that it founds: 1000–1003, 1007–1014; §7.4.2: 3000–4999 for libraries and applications.
    /// 1004 is reserved; 1005, 1006 and 1015 must not be set by an endpoint; 1016–2999 are for the protocol's future.
    pub fn may_be_sent(self) -> bool {
        matches!(self.0, 1000..=1003 | 1007..=1014 | 3000..=4999)
    }

    /// Whether the code may arrive in a Close frame. The same set: what no endpoint may send is a violation to receive.
    pub fn may_be_received(self) -> bool {
        self.may_be_sent()
    }
}

impl From<CloseCode> for u16 {
    fn from(code: CloseCode) -> Self {
        code.0
    }
}

impl fmt::Display for CloseCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Close {
    /// A Close that may be sent.
    ///
    /// # Errors
    /// [`Misuse::CloseCode`] or [`Misuse::ReasonTooLong`]; a reason without a code is sent with 1000.
    pub fn to_send(code: Option<u16>, reason: &str) -> Result<Self, Misuse> {
        let code = match code {
            None if reason.is_empty() => None,
            None => Some(CloseCode::NORMAL),
            Some(code) if CloseCode(code).may_be_sent() => Some(CloseCode(code)),
            Some(code) => return Err(Misuse::CloseCode(code)),
        };
        if reason.len() > MAX_REASON {
            return Err(Misuse::ReasonTooLong(reason.len()));
        }
        Ok(Self { code, reason: reason.to_owned() })
    }

    /// Reads the payload of a received Close frame (§5.5.1, §7.1.5, §7.1.6).
    pub fn parse(payload: &[u8]) -> Result<Self, Violation> {
        match payload {
            [] => Ok(Self::default()),
            [_] => Err(Violation::ClosePayload),
            [high, low, reason @ ..] => {
                let code = CloseCode(u16::from_be_bytes([*high, *low]));
                if !code.may_be_received() {
                    return Err(Violation::CloseCode(code.0));
                }
                match simdutf8::compat::from_utf8(reason) {
                    Ok(reason) => Ok(Self { code: Some(code), reason: reason.to_owned() }),
                    Err(e) => Err(Violation::Utf8(2 + e.valid_up_to() as u64)),
                }
            }
        }
    }

    /// The payload of a Close frame to send.
    pub fn payload(&self) -> Vec<u8> {
        let mut payload = Vec::with_capacity(2 + self.reason.len());
        if let Some(code) = self.code {
            payload.extend_from_slice(&code.0.to_be_bytes());
            payload.extend_from_slice(self.reason.as_bytes());
        }
        payload
    }

    /// The code as it is reported: 1005 where the frame had none (§7.1.5).
    pub fn reported_code(&self) -> CloseCode {
        self.code.unwrap_or(CloseCode::NO_STATUS)
    }
}

impl CloseInfo {
    /// The close code of the connection (§7.1.5): the one received, 1006 where no Close frame came.
    pub fn code(&self) -> CloseCode {
        self.received.as_ref().map_or(CloseCode::ABNORMAL, Close::reported_code)
    }

    /// The close reason of the connection (§7.1.6): the one received, or empty.
    pub fn reason(&self) -> &str {
        self.received.as_ref().map_or("", |close| &close.reason)
    }

    /// Whether the closing handshake was completed: a Close frame went each way (§7.1.4).
    pub fn is_clean(&self) -> bool {
        self.received.is_some() && self.sent.is_some() && self.cause.is_none()
    }
}

/// A control frame carries 125 bytes (§5.5), two of them the code.
pub const MAX_REASON: usize = 123;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_may_be_sent_exactly_where_the_registry_says() {
        for code in 0..=u16::MAX {
            let expected = match code {
                0..=999 | 1004..=1006 | 1015..=2999 | 5000.. => false,
                1000..=1003 | 1007..=1014 | 3000..=4999 => true,
            };
            assert_eq!(CloseCode(code).may_be_sent(), expected, "{code}");
            assert_eq!(CloseCode(code).may_be_received(), expected, "{code}");
        }
    }

    #[test]
    fn payloads_round_trip_and_bad_ones_name_their_fault() {
        let close = Close::to_send(Some(4001), "né").unwrap();
        assert_eq!(Close::parse(&close.payload()), Ok(close));
        assert_eq!(Close::parse(b""), Ok(Close::default()));
        assert_eq!(Close::parse(b"\x03"), Err(Violation::ClosePayload));
        assert_eq!(Close::parse(&1005u16.to_be_bytes()), Err(Violation::CloseCode(1005)));
        assert_eq!(Close::parse(b"\x03\xe8ok\xff"), Err(Violation::Utf8(4)));
        assert_eq!(Close::to_send(None, "why").unwrap().code, Some(CloseCode::NORMAL));
        assert_eq!(Close::to_send(None, "").unwrap().payload(), b"");
        assert_eq!(Close::to_send(Some(1006), ""), Err(Misuse::CloseCode(1006)));
        assert_eq!(Close::to_send(Some(1000), &"x".repeat(124)), Err(Misuse::ReasonTooLong(124)));
    }

    #[test]
    fn the_reported_code_is_1005_for_an_empty_close_and_1006_without_one() {
        let mut info = CloseInfo::default();
        assert_eq!((info.code(), info.reason()), (CloseCode::ABNORMAL, ""));
        info.received = Some(Close::default());
        assert_eq!(info.code(), CloseCode::NO_STATUS);
        assert!(!info.is_clean());
        info.sent = Some(Close::default());
        assert!(info.is_clean());
    }
}
