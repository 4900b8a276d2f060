//! The response of the opening handshake (RFC 6455 §4.1, §4.2.2), read as it arrives.

use std::fmt;

use super::head::{Head, shown};
use super::headers::Charset;
use super::{Headers, violation};
use crate::error::{Error, Flaw, Violation};
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
    /// One by whose text each byte is a character.
    pub(super) fn latin_1() -> Self {
        let mut made = Self::default();
        made.head.charset = Charset::Latin1;
        made
    }

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
    let text = format!("the answer is not an HTTP/1.1 response: {}{hint}", shown(line));
    Err(Violation::Handshake(Flaw::NotHttp, text))
}

fn parse(head: &Head) -> Result<Response, Error> {
    let (start, headers) = head.parse()?;
    let Some((minor_version, status, reason)) = parse_status_line(start, head.charset) else {
        return Err(violation(format!("bad status line {}; wanted HTTP/1.1 101", shown(start))));
    };
    Ok(Response { minor_version, status, reason, headers, body: Vec::new(), body_truncated: false })
}

/// RFC 9112 §4. The reason may be anything, and the space before it may be missing: servers do both.
fn parse_status_line(line: &[u8], charset: Charset) -> Option<(u8, u16, String)> {
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
    let is_control = |c: char| if charset == Charset::Latin1 { c.is_ascii_control() } else { c.is_control() };
    let reason = charset.text(reason.trim_ascii()).replace(is_control, "\u{fffd}");
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

/// A chunk's size has 16 digits at most; extensions are next to unknown, leading zeros a joke.
const MAX_CHUNK_LINE: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Limit;

    /// Feeds the input in pieces of this size, then the end of the stream if it is to come; returns the response and
    /// how many bytes were consumed.
    fn read(input: &[u8], size: usize, eof: bool, limits: &Limits) -> Result<(Option<Response>, usize), Error> {
        let (mut reader, mut used) = (ResponseReader::default(), 0);
        for piece in input.chunks(size) {
            let (more, response) = reader.receive(piece, limits)?;
            used += more;
            if response.is_some() {
                assert!(matches!(reader.receive(b"more", limits), Ok((0, None))));
                return Ok((response, used));
            }
            assert_eq!(more, piece.len());
        }
        Ok((if eof { reader.receive_eof() } else { None }, used))
    }

    /// The same, in pieces of every size, which have to agree.
    fn read_any(input: &[u8], eof: bool, limits: &Limits) -> Result<(Option<Response>, usize), Error> {
        let whole = read(input, input.len(), eof, limits);
        for size in 1..input.len() {
            let pieces = read(input, size, eof, limits);
            let same_kind = match (&whole, &pieces) {
                // The text shows what had arrived.
                (Err(Error::PeerViolated(_)), Err(Error::PeerViolated(_))) => true,
                _ => whole == pieces,
            };
            assert!(same_kind, "{} in pieces of {size}: {pieces:?}, not {whole:?}", input.escape_ascii());
        }
        whole
    }

    fn parsed(input: &str) -> Response {
        read_any(input.as_bytes(), false, &Limits::default()).unwrap().0.unwrap()
    }

    #[test]
    fn status_lines_may_have_any_reason_or_none() {
        type Case = (&'static [u8], Option<(u8, u16, &'static str)>);
        let table: [Case; 16] = [
            (b"HTTP/1.1 101 Switching Protocols", Some((1, 101, "Switching Protocols"))),
            (b"HTTP/1.1 101", Some((1, 101, ""))),
            (b"HTTP/1.1 101 ", Some((1, 101, ""))),
            ("HTTP/1.1 101 Anything odd é".as_bytes(), Some((1, 101, "Anything odd é"))),
            (b"HTTP/1.1 101 Anything odd \xe9", Some((1, 101, "Anything odd é"))),
            (b"HTTP/1.1 101 a\0b\x1b[31m", Some((1, 101, "a\u{fffd}b\u{fffd}[31m"))),
            (b"HTTP/1.0 403 No", Some((0, 403, "No"))),
            (b"HTTP/1.1 999 x", Some((1, 999, "x"))),
            (b"HTTP/1.1", None),
            (b"HTTP/1.1  101 x", None),
            (b"HTTP/1.1 10", None),
            (b"HTTP/1.1 1010", None),
            (b"HTTP/1.1 101x", None),
            (b"HTTP/1.1 099 x", None),
            (b"HTTP/1.1 +10 x", None),
            (b"HTTP/1.2 101 x", None),
        ];
        for (line, expected) in table {
            let expected = expected.map(|(minor, status, reason)| (minor, status, reason.to_owned()));
            assert_eq!(parse_status_line(line, Charset::default()), expected, "{}", line.escape_ascii());
        }
    }

    #[test]
    fn a_101_ends_with_its_head_however_it_arrives() {
        let response = b"HTTP/1.1 101 \r\nA:1\r\nb: \t x y \t\r\nEmpty:\r\nA: caf\xe9\r\nContent-Length: 5\r\n\r\n";
        let input = [response, &b"\x81\x02hi"[..]].concat();
        let (parsed, used) = read_any(&input, false, &Limits::default()).unwrap();
        let parsed = parsed.unwrap();
        assert_eq!(used, response.len());
        let headers = [("A", "1"), ("b", "x y"), ("Empty", ""), ("A", "café"), ("Content-Length", "5")];
        assert_eq!(parsed.headers.iter().collect::<Vec<_>>(), headers);
        assert_eq!((parsed.status, parsed.minor_version, parsed.body.len(), parsed.body_truncated), (101, 1, 0, false));
    }

    #[test]
    fn informational_responses_are_skipped() {
        let input =
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 101 Yes\r\nA: 1\r\n\r\n";
        let response = parsed(input);
        assert_eq!((response.status, response.headers.len()), (101, 1));
        // But not for ever.
        let limits = Limits { max_head: 1000, ..Limits::default() };
        let endless = b"HTTP/1.1 100 Continue\r\n\r\n".repeat(100);
        let error = Error::from(Limit::Head { what: "bytes", limit: 1000 });
        assert_eq!(read_any(&endless, false, &limits), Err(error));
    }

    #[test]
    fn what_is_not_http_is_refused_at_once_and_shown() {
        let table: [(&[u8], &str); 11] = [
            (b"\x15\x03\x03\x00\x02\x02\x28", "\"\\x15\\x03\\x03\\x00\\x02\\x02(\"; is this a TLS port? use wss://"),
            (b"\x16\x03\x01", "is this a TLS port? use wss://"),
            (b"SSH-2.0-OpenSSH_9.9\r\n", "\"SSH-2.0-OpenSSH_9.9\\r\\n\"; this is an SSH server"),
            (b"HTTP/2 200\r\n", "\"HTTP/2 200\\r\\n\"; the server must speak HTTP/1.1"),
            (b"PRI * HTTP/2.0\r\n", "the server must speak HTTP/1.1"),
            (b"\0\0\x12\x04\0\0\0\0\0", "; is this HTTP/2? the server must speak HTTP/1.1"),
            (b"220 mail.example ESMTP\r\n", "\"220 mail.example ESMTP\\r\\n\""),
            (b"<!DOCTYPE html><html><head><title>", "\"<!DOCTYPE html><html><head><titl\"…"),
            (b"\r\nHTTP/1.1 101 x", "\"\\r\\n\""),
            (b"http/1.1 101", "\"http/1.1 101\""),
            (b"\x81\x02hi", "\"\\x81\\x02hi\""),
        ];
        for (input, expected) in table {
            let error = read_any(input, false, &Limits::default()).unwrap_err();
            let text = error.to_string();
            assert!(matches!(error, Error::PeerViolated(Violation::Handshake(Flaw::NotHttp, _))), "{text}");
            assert!(text.starts_with("the answer is not an HTTP/1.1 response: ") && text.ends_with(expected), "{text}");
        }
        for input in [&b"HTTP/1.2 101 x\r\n\r\n"[..], b"HTTP/1.11 101 x\r\n\r\n", b"HTTP/1.1 what\r\n\r\n"] {
            let text = read_any(input, false, &Limits::default()).unwrap_err().to_string();
            assert!(text.starts_with("bad status line \"HTTP/1.") && text.ends_with("wanted HTTP/1.1 101"), "{text}");
        }
    }

    #[test]
    fn bodies_of_refusals_are_kept_within_their_bound() {
        const CHUNKED: &str = "Transfer-Encoding: chunked";
        // Header, what follows the head, whether the stream then ends, the body, whether it is truncated, and how much
        // of what follows is consumed.
        type Case = (&'static str, &'static [u8], bool, &'static [u8], bool, usize);
        let table: [Case; 40] = [
            ("Content-Length: 5", b"hello", false, b"hello", false, 5),
            ("Content-Length: 5", b"hello more", false, b"hello", false, 5),
            ("Content-Length: 0", b"", false, b"", false, 0),
            ("Content-Length: 0", b"more", false, b"", false, 0),
            ("Content-Length: 10", b"0123456789", false, b"0123456789", false, 10),
            ("Content-Length: 11", b"0123456789", false, b"0123456789", true, 10),
            ("Content-Length: 11", b"0123456789a", false, b"0123456789", true, 10),
            ("Content-Length: 18446744073709551615", b"0123456789a", false, b"0123456789", true, 10),
            ("Content-Length: 5", b"hel", true, b"hel", true, 3),
            ("Content-Length: 5, 5", b"hello more", false, b"hello", false, 5),
            ("Content-Length: 5\r\ncontent-length: 5", b"hello more", false, b"hello", false, 5),
            // What is no length is none.
            ("Content-Length: 5, 6", b"hello", true, b"hello", false, 5),
            ("Content-Length: -1", b"hello", true, b"hello", false, 5),
            ("Content-Length: +1", b"hello", true, b"hello", false, 5),
            ("Content-Length: 99999999999999999999", b"hello", true, b"hello", false, 5),
            ("A: 1", b"", true, b"", false, 0),
            ("A: 1", b"hello", true, b"hello", false, 5),
            ("A: 1", b"0123456789", true, b"0123456789", false, 10),
            ("A: 1", b"0123456789a", false, b"0123456789", true, 10),
            ("Transfer-Encoding: gzip", b"hello", true, b"hello", false, 5),
            (CHUNKED, b"5\r\nhello\r\n0\r\n\r\n", false, b"hello", false, 13),
            (CHUNKED, b"0\r\n\r\n", false, b"", false, 3),
            (CHUNKED, b"3\r\nhel\r\n2\r\nlo\r\n0\r\nTrailer: 1\r\n\r\n", false, b"hello", false, 18),
            (CHUNKED, b"A\r\n0123456789\r\n0\r\n\r\n", false, b"0123456789", false, 18),
            (CHUNKED, b"a\r\n0123456789\r\n1\r\nx\r\n", false, b"0123456789", true, 18),
            (CHUNKED, b"b\r\n0123456789a\r\n", false, b"0123456789", true, 13),
            (CHUNKED, b"ffffffffffffffff\r\n0123456789a", false, b"0123456789", true, 28),
            (CHUNKED, b"005;name=\"v\"\r\nhello\r\n00\r\n", false, b"hello", false, 25),
            (CHUNKED, b"5 \r\nhello\r\n0\r\n", false, b"hello", false, 14),
            ("Transfer-Encoding: gzip, Chunked\r\nContent-Length: 1", b"1\r\nx\r\n0\r\n", false, b"x", false, 9),
            (CHUNKED, b"5\r\nhel", true, b"hel", true, 6),
            (CHUNKED, b"5\r\nhello\r\n", true, b"hello", true, 10),
            (CHUNKED, b"5\nhello\n0\n\n", false, b"", true, 2),
            (CHUNKED, b"5;x\nhello", false, b"", true, 4),
            (CHUNKED, b"\r\nhello", false, b"", true, 1),
            (CHUNKED, b"-1\r\nhello", false, b"", true, 1),
            (CHUNKED, b"5\rhello", false, b"", true, 3),
            (CHUNKED, b"10000000000000000\r\nhello", false, b"", true, 17),
            (CHUNKED, b"5\r\nhelloworld\r\n", false, b"hello", true, 9),
            (CHUNKED, b"5\r\nhello\rx", false, b"hello", true, 10),
        ];
        let limits = Limits { max_body: 10, ..Limits::default() };
        for (header, follows, eof, body, truncated, used) in table {
            let head = format!("HTTP/1.1 403 No\r\n{header}\r\n\r\n");
            let what = format!("{header}: {}", follows.escape_ascii());
            let (response, consumed) = read_any(&[head.as_bytes(), follows].concat(), eof, &limits).unwrap();
            let response = response.unwrap_or_else(|| panic!("{what}: not done"));
            assert_eq!(response.status, 403);
            assert_eq!((response.body.as_slice(), response.body_truncated), (body, truncated), "{what}");
            assert_eq!(consumed, head.len() + used, "{what}");
        }
        for status in [204, 304] {
            assert_eq!(parsed(&format!("HTTP/1.1 {status} x\r\nContent-Length: 5\r\n\r\n")).body, b"");
        }
    }

    #[test]
    fn the_line_of_a_chunks_size_is_bounded() {
        for (digits, expected) in [(200, End::Whole), (2000, End::Cut)] {
            let mut body = Vec::new();
            let line = format!("{}\r\n", "0".repeat(digits));
            assert_eq!(Chunks::default().receive(line.as_bytes(), &mut body, 10).1, expected);
            let line = format!("0;{}\r\n", "x".repeat(digits));
            assert_eq!(Chunks::default().receive(line.as_bytes(), &mut body, 10).1, expected);
        }
    }

    #[test]
    fn debug_shows_neither_secrets_nor_bodies() {
        let response = parsed("HTTP/1.1 403 No\r\nSet-Cookie: hunter2\r\nContent-Length: 7\r\n\r\nhunter2");
        let shown = format!("{response:?}");
        assert!(shown.contains("403") && shown.contains("7 bytes") && !shown.contains("hunter2"), "{shown}");
    }
}
