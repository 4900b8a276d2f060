//! The response of the opening handshake (RFC 6455 §4.1, §4.2.2), read as it arrives, and the check of a 101.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use sha1::{Digest as _, Sha1};

use super::{Head, Headers, elements, extension_name, shown, text};
use crate::error::{Error, Incompatible, Violation};
use crate::limits::Limits;

/// The answer to an upgrade request. `Debug` masks secret headers and shows no body.
#[derive(Clone, PartialEq, Eq)]
pub struct Response {
    /// 0 or 1, for HTTP/1.0 or HTTP/1.1.
    pub minor_version: u8,
    /// The status code.
    pub status: u16,
    /// The reason phrase; may be empty.
    pub reason: String,
    /// All headers.
    pub headers: Headers,
    /// What was kept of the body, chunks put together; empty for a 101.
    pub body: Vec<u8>,
    /// The body is not whole: it was over `Limits::max_body`, cut short, or its chunks could not be read.
    pub body_truncated: bool,
}

impl fmt::Debug for Response {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Response")
            .field("minor_version", &self.minor_version)
            .field("status", &self.status)
            .field("reason", &self.reason)
            .field("headers", &self.headers)
            .field("body", &format_args!("{} bytes", self.body.len()))
            .field("body_truncated", &self.body_truncated)
            .finish()
    }
}

/// What a 101 has to say.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Expected {
    /// The value of `Sec-WebSocket-Accept`.
    pub accept: String,
    /// The subprotocols asked for.
    pub subprotocols: Vec<String>,
    /// The names of the extensions offered.
    pub extensions: Vec<String>,
}

/// What a 101 settled.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Negotiated {
    /// The subprotocol chosen; none if the server wants none, whatever was asked for.
    pub subprotocol: Option<String>,
    /// The extensions chosen, in order, each with its parameters as on the wire. Their names were offered; whether the
    /// parameters will do is for the extension to say.
    pub extensions: Vec<String>,
}

/// Checks a 101 (§4.1, the list at its end).
///
/// # Errors
/// [`Violation::Handshake`], [`Incompatible::Subprotocol`] or [`Incompatible::Extension`].
pub fn check_response(response: &Response, expected: &Expected) -> Result<Negotiated, Error> {
    let headers = &response.headers;
    if response.minor_version == 0 {
        return Err(violation("a 101 with HTTP/1.0; wanted HTTP/1.1".to_owned()));
    }
    for (name, token) in [("Upgrade", "websocket"), ("Connection", "Upgrade")] {
        if headers.list(name).any(|element| element.eq_ignore_ascii_case(token)) {
            continue;
        }
        let found = headers.get_all(name).collect::<Vec<_>>();
        return Err(violation(if found.is_empty() {
            format!("a 101 without header {name}; wanted {name}: {token}")
        } else {
            format!("a 101 with {name}: {}; wanted {name}: {token}", shown(found.join(", ").as_bytes()))
        }));
    }
    let wanted = &expected.accept;
    match headers.get_all("Sec-WebSocket-Accept").collect::<Vec<_>>()[..] {
        [] => return Err(violation(format!("a 101 without header Sec-WebSocket-Accept; wanted {wanted}"))),
        [accept] if accept == wanted => {}
        [accept] => {
            let found = shown(accept.as_bytes());
            return Err(violation(format!("a 101 with Sec-WebSocket-Accept: {found}; wanted {wanted}")));
        }
        [..] => return Err(violation("a 101 with several headers Sec-WebSocket-Accept; wanted one".to_owned())),
    }
    Ok(Negotiated {
        subprotocol: chosen_subprotocol(headers, &expected.subprotocols)?,
        extensions: chosen_extensions(headers, &expected.extensions)?,
    })
}

fn chosen_subprotocol(headers: &Headers, asked: &[String]) -> Result<Option<String>, Error> {
    match headers.get_all("Sec-WebSocket-Protocol").collect::<Vec<_>>()[..] {
        [] => Ok(None),
        [chosen] if asked.iter().any(|subprotocol| subprotocol == chosen) => Ok(Some(chosen.to_owned())),
        [chosen] if elements(chosen).count() < 2 => Err(Incompatible::Subprotocol(chosen.to_owned()).into()),
        ref chosen => {
            let found = shown(chosen.join(", ").as_bytes());
            Err(violation(format!("a 101 with Sec-WebSocket-Protocol: {found}; wanted one subprotocol at most")))
        }
    }
}

fn chosen_extensions(headers: &Headers, offered: &[String]) -> Result<Vec<String>, Error> {
    let mut chosen = Vec::new();
    for extension in headers.list("Sec-WebSocket-Extensions") {
        let name = extension_name(extension);
        if !offered.iter().any(|offer| offer == name) {
            let asked = if offered.is_empty() { "none".to_owned() } else { offered.join(", ") };
            let found = shown(extension.as_bytes());
            let text = format!("the server chose extension {found}, which was not offered; offered: {asked}");
            return Err(Incompatible::Extension(text).into());
        }
        chosen.push(extension.to_owned());
    }
    Ok(chosen)
}

/// The `Sec-WebSocket-Accept` that answers this `Sec-WebSocket-Key` (§4.2.2).
pub fn accept_for(key: &str) -> String {
    BASE64.encode(Sha1::new().chain_update(key).chain_update(GUID).finalize())
}

/// Reads a response as it arrives.
#[derive(Default)]
pub struct ResponseReader {
    head: Head,
    state: Reading,
}

#[derive(Default)]
enum Reading {
    #[default]
    Head,
    Body(Box<Response>, Framing),
    Done,
}

impl ResponseReader {
    /// Takes in what arrived; returns how much of it was consumed, and the response once it is complete, or as much of
    /// it as is kept. Until then all is consumed. Bytes behind the head of a 101 are not. Informational responses (1xx
    /// but 101, RFC 9110 §15.2) are skipped.
    ///
    /// # Errors
    /// [`Violation::Handshake`] where this is not an HTTP response, [`crate::Limit::Head`]. There is no going on.
    pub fn receive(&mut self, input: &[u8], limits: &Limits) -> Result<(usize, Option<Response>), Error> {
        let mut used = 0;
        loop {
            match &mut self.state {
                Reading::Head => {
                    let (more, complete) = self.head.receive(&input[used..], limits, check_start)?;
                    used += more;
                    if !complete {
                        return Ok((used, None));
                    }
                    let response = parse(&self.head)?;
                    match response.status {
                        101 => {
                            self.state = Reading::Done;
                            return Ok((used, Some(response)));
                        }
                        100..200 => self.head.next(),
                        _ => {
                            let framing = Framing::of(&response);
                            self.state = Reading::Body(Box::new(response), framing);
                        }
                    }
                }
                Reading::Body(response, framing) => {
                    let (more, end) = framing.receive(&input[used..], &mut response.body, limits.max_body);
                    used += more;
                    return match end {
                        End::NotYet => Ok((used, None)),
                        End::Whole => Ok((used, self.finish(false))),
                        End::Cut => Ok((used, self.finish(true))),
                    };
                }
                Reading::Done => return Ok((used, None)),
            }
        }
    }

    /// The stream ended, or no more is waited for: the response, if its head is complete.
    pub fn receive_eof(&mut self) -> Option<Response> {
        let truncated = !matches!(self.state, Reading::Body(_, Framing::UntilEof));
        self.finish(truncated)
    }

    fn finish(&mut self, body_truncated: bool) -> Option<Response> {
        match std::mem::replace(&mut self.state, Reading::Done) {
            Reading::Body(response, _) => Some(Response { body_truncated, ..*response }),
            before => {
                self.state = before;
                None
            }
        }
    }
}

/// Refuses what is not an HTTP/1 response as soon as its first bytes say so: such peers rarely send an empty line.
fn check_start(line: &[u8]) -> Result<(), Violation> {
    const WANTED: &[u8] = b"HTTP/1.";
    let compared = line.len().min(WANTED.len());
    if line[..compared] == WANTED[..compared] {
        return Ok(());
    }
    let hint = match line {
        // Record types of TLS: alert, handshake.
        [0x15 | 0x16, ..] => "; is this a TLS port? use wss://",
        [b'H', b'T', b'T', b'P', b'/', ..] | [b'P', b'R', b'I', b' ', ..] => "; the server must speak HTTP/1.1",
        // The SETTINGS frame that an HTTP/2 server begins with.
        [0, 0, _, 4, ..] => "; is this HTTP/2? the server must speak HTTP/1.1",
        [b'S', b'S', b'H', b'-', ..] => "; this is an SSH server",
        _ => "",
    };
    Err(Violation::Handshake(format!("the answer is not an HTTP/1.1 response: {}{hint}", shown(line))))
}

fn parse(head: &Head) -> Result<Response, Error> {
    let (start, headers) = head.parse()?;
    let Some((minor_version, status, reason)) = parse_status_line(start) else {
        return Err(violation(format!("bad status line {}; wanted HTTP/1.1 101", shown(start))));
    };
    Ok(Response { minor_version, status, reason, headers, body: Vec::new(), body_truncated: false })
}

/// RFC 9112 §4. The reason may be anything, and the space before it may be missing: servers do both.
fn parse_status_line(line: &[u8]) -> Option<(u8, u16, String)> {
    let (minor, rest) = line.strip_prefix(b"HTTP/1.")?.split_first()?;
    let minor = match minor {
        b'0' => 0,
        b'1' => 1,
        _ => return None,
    };
    let (status, reason) = rest.strip_prefix(b" ")?.split_first_chunk::<3>()?;
    if !status.iter().all(u8::is_ascii_digit) || status[0] == b'0' || !matches!(reason, [] | [b' ', ..]) {
        return None;
    }
    let status = status.iter().fold(0, |status, digit| status * 10 + u16::from(digit - b'0'));
    let reason = text(reason).trim().replace(char::is_control, "\u{fffd}");
    Some((minor, status, reason))
}

/// Where the body of a refusal ends (RFC 9112 §6.3).
enum Framing {
    /// After this many bytes more.
    Length(u64),
    /// Behind the last chunk.
    Chunked(Chunks),
    /// With the stream.
    UntilEof,
}

/// Whether a body has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    NotYet,
    Whole,
    /// More was sent or announced than is kept, or the chunks cannot be read.
    Cut,
}

impl Framing {
    fn of(response: &Response) -> Self {
        let headers = &response.headers;
        if matches!(response.status, 204 | 304) {
            return Self::Length(0);
        }
        if let Some(last) = headers.list("Transfer-Encoding").last() {
            let chunked = last.eq_ignore_ascii_case("chunked");
            return if chunked { Self::Chunked(Chunks::default()) } else { Self::UntilEof };
        }
        let mut lengths = headers.list("Content-Length");
        match lengths.next().filter(|&first| lengths.all(|other| other == first)) {
            Some(length) if length.bytes().all(|byte| byte.is_ascii_digit()) => {
                length.parse().map_or(Self::UntilEof, Self::Length)
            }
            _ => Self::UntilEof,
        }
    }

    fn receive(&mut self, input: &[u8], body: &mut Vec<u8>, max: usize) -> (usize, End) {
        match self {
            Self::Length(left) => {
                let (used, fits) = keep(&input[..at_most(*left, input.len())], body, max);
                *left -= used as u64;
                match *left {
                    0 => (used, End::Whole),
                    _ if !fits || body.len() >= max => (used, End::Cut),
                    _ => (used, End::NotYet),
                }
            }
            Self::Chunked(chunks) => chunks.receive(input, body, max),
            Self::UntilEof => {
                let (used, fits) = keep(input, body, max);
                (used, if fits { End::NotYet } else { End::Cut })
            }
        }
    }
}

/// Keeps what there is room for: how much that was, and whether it was all.
fn keep(input: &[u8], body: &mut Vec<u8>, max: usize) -> (usize, bool) {
    let kept = input.len().min(max.saturating_sub(body.len()));
    body.extend_from_slice(&input[..kept]);
    (kept, kept == input.len())
}

fn at_most(left: u64, available: usize) -> usize {
    usize::try_from(left).map_or(available, |left| left.min(available))
}

/// Puts chunks together (RFC 9112 §7.1), strictly: what cannot be read ends the body.
#[derive(Default)]
struct Chunks {
    at: ChunkPart,
    /// Bytes of the chunk still to come; while its size is read: the size so far.
    left: u64,
    /// Bytes of the size line so far.
    line: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum ChunkPart {
    #[default]
    Size,
    Extension,
    SizeLf,
    Data,
    DataCr,
    DataLf,
}

impl Chunks {
    fn receive(&mut self, input: &[u8], body: &mut Vec<u8>, max: usize) -> (usize, End) {
        let mut used = 0;
        while used < input.len() {
            if self.at == ChunkPart::Data {
                let rest = &input[used..];
                let (more, fits) = keep(&rest[..at_most(self.left, rest.len())], body, max);
                used += more;
                self.left -= more as u64;
                if !fits {
                    return (used, End::Cut);
                }
                if self.left == 0 {
                    self.at = ChunkPart::DataCr;
                }
                continue;
            }
            let end = self.byte(input[used]);
            used += 1;
            if end != End::NotYet {
                return (used, end);
            }
        }
        (used, End::NotYet)
    }

    /// A byte outside a chunk's data.
    fn byte(&mut self, byte: u8) -> End {
        self.line += 1;
        self.at = match (self.at, byte) {
            (ChunkPart::Size, b'\r') if self.line > 1 => ChunkPart::SizeLf,
            (ChunkPart::Size, b';' | b' ' | b'\t') if self.line > 1 => ChunkPart::Extension,
            (ChunkPart::Size, _) => {
                let Some(digit) = char::from(byte).to_digit(16) else { return End::Cut };
                // A size of more than 64 bits is not a size.
                if self.left >> 60 != 0 {
                    return End::Cut;
                }
                self.left = self.left << 4 | u64::from(digit);
                ChunkPart::Size
            }
            (ChunkPart::Extension, b'\r') => ChunkPart::SizeLf,
            (ChunkPart::Extension, b'\n') => return End::Cut,
            (ChunkPart::Extension, _) => ChunkPart::Extension,
            // The last chunk. Trailers may follow; nothing depends on them, and nothing else follows.
            (ChunkPart::SizeLf, b'\n') if self.left == 0 => return End::Whole,
            (ChunkPart::SizeLf, b'\n') => ChunkPart::Data,
            (ChunkPart::DataCr, b'\r') => ChunkPart::DataLf,
            (ChunkPart::DataLf, b'\n') => {
                self.line = 0;
                ChunkPart::Size
            }
            _ => return End::Cut,
        };
        if self.line > MAX_CHUNK_LINE { End::Cut } else { End::NotYet }
    }
}

fn violation(text: String) -> Error {
    Violation::Handshake(text).into()
}

/// §1.3: a string that no network endpoint that does not know WebSocket would ever use.
const GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// A chunk's size has 16 digits at most; extensions are next to unknown, leading zeros a joke.
const MAX_CHUNK_LINE: usize = 256;
