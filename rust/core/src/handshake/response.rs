//! The server's response, read as it arrives.

use super::Headers;
use super::head::{Head, shown, split};
use crate::error::{Error, Violation};
use crate::limits::Limits;

/// An HTTP response.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// The reason phrase, as far as there is one.
    pub reason: String,
    /// Header fields.
    pub headers: Headers,
    /// The body of a refusal, up to a bound.
    pub body: Vec<u8>,
    /// The body is longer than what was kept, or did not arrive whole.
    pub body_truncated: bool,
}

/// Reads a response. Bytes behind a 101 are frames, and are left alone.
#[derive(Debug, Default)]
pub struct ResponseReader {
    head: Head,
    body: Option<(Response, Body)>,
}

#[derive(Debug)]
enum Body {
    /// So many bytes are left.
    Length(u64),
    Chunked(Chunked),
    /// Until the stream ends.
    UntilEnd,
}

/// What of a chunked body (RFC 7230 §4.1) comes next.
#[derive(Debug)]
enum Chunked {
    /// A line with a size, so far.
    Size(Vec<u8>),
    Data(u64),
    /// The line break behind data.
    Break,
}

impl ResponseReader {
    /// Takes in what arrived; returns how much of it was used, and the response when it is complete.
    pub fn receive(&mut self, input: &[u8], limits: &Limits) -> Result<(usize, Option<Response>), Error> {
        let mut used = 0;
        loop {
            if let Some((response, body)) = &mut self.body {
                used += body.take(&input[used..], response, limits);
                let done = body.is_done() || response.body_truncated;
                return Ok((used, if done { self.body.take().map(|(response, _)| response) } else { None }));
            }
            let before = self.head.bytes().len();
            let (taken, block) = self.head.push(&input[used..], limits)?;
            used += taken;
            if before < FIRST.len() {
                let seen = block.as_deref().unwrap_or(self.head.bytes());
                check_first_bytes(seen)?;
            }
            let Some(block) = block else { return Ok((used, None)) };
            let (start, headers) = split(&block, limits)?;
            let (status, reason) = parse_status_line(&start)?;
            let response = Response { status, reason, headers, ..Response::default() };
            match status {
                101 => return Ok((used, Some(response))),
                // RFC 7231 §6.2: a client must be able to parse informational responses before the final one.
                100..=199 => {}
                _ => {
                    let body = Body::of(&response)?;
                    self.body = Some((response, body));
                }
            }
        }
    }

    /// The stream ended; gives the response if only its body is incomplete.
    pub fn receive_eof(&mut self) -> Option<Response> {
        self.body.take().map(|(mut response, body)| {
            response.body_truncated |= !matches!(body, Body::UntilEnd);
            response
        })
    }
}

impl Body {
    fn of(response: &Response) -> Result<Self, Error> {
        if matches!(response.status, 204 | 304) {
            return Ok(Self::Length(0));
        }
        if response.headers.has_token("Transfer-Encoding", "chunked") {
            return Ok(Self::Chunked(Chunked::Size(Vec::new())));
        }
        match response.headers.get("Content-Length") {
            None => Ok(Self::UntilEnd),
            Some(length) => length.trim().parse().map(Self::Length).map_err(|_| {
                Violation::Handshake(format!("Content-Length is {}, not a number", shown(length.as_bytes()))).into()
            }),
        }
    }

    fn is_done(&self) -> bool {
        matches!(self, Self::Length(0))
    }

    fn take(&mut self, input: &[u8], response: &mut Response, limits: &Limits) -> usize {
        let mut used = 0;
        while used < input.len() && !self.is_done() && !response.body_truncated {
            let rest = &input[used..];
            used += match self {
                Self::UntilEnd => keep(response, rest, limits),
                Self::Length(left) => {
                    let count = usize::try_from(*left).unwrap_or(usize::MAX).min(rest.len());
                    *left -= count as u64;
                    keep(response, &rest[..count], limits)
                }
                Self::Chunked(chunked) => match chunked {
                    Chunked::Data(0) => {
                        *chunked = Chunked::Break;
                        0
                    }
                    Chunked::Data(left) => {
                        let count = usize::try_from(*left).unwrap_or(usize::MAX).min(rest.len());
                        *left -= count as u64;
                        keep(response, &rest[..count], limits)
                    }
                    Chunked::Break => {
                        if rest[0] == b'\n' {
                            *chunked = Chunked::Size(Vec::new());
                        } else if rest[0] != b'\r' {
                            response.body_truncated = true;
                        }
                        1
                    }
                    Chunked::Size(line) => {
                        if rest[0] == b'\n' {
                            match chunk_size(line) {
                                // Trailers, if any, are not waited for.
                                Some(0) => *self = Self::Length(0),
                                Some(size) => *chunked = Chunked::Data(size),
                                None => response.body_truncated = true,
                            }
                        } else if line.len() < MAX_CHUNK_LINE {
                            line.push(rest[0]);
                        } else {
                            response.body_truncated = true;
                        }
                        1
                    }
                },
            };
        }
        used
    }
}

fn keep(response: &mut Response, bytes: &[u8], limits: &Limits) -> usize {
    let room = limits.max_body - response.body.len().min(limits.max_body);
    response.body.extend_from_slice(&bytes[..bytes.len().min(room)]);
    response.body_truncated |= bytes.len() > room;
    bytes.len()
}

fn chunk_size(line: &[u8]) -> Option<u64> {
    let digits = std::str::from_utf8(line).ok()?.split(';').next()?.trim();
    u64::from_str_radix(digits, 16).ok()
}

/// Refuses at once what is no HTTP response, with a guess of what it is.
fn check_first_bytes(bytes: &[u8]) -> Result<(), Error> {
    let count = bytes.len().min(FIRST.len());
    if bytes[..count] == FIRST[..count] {
        return Ok(());
    }
    let hint = match bytes {
        [0x15 | 0x16, 0x03, ..] => "; this looks like TLS: is it a wss:// port?",
        [0x15 | 0x16] => "; this may be TLS: is it a wss:// port?",
        _ if bytes.starts_with(b"SSH-") => "; this is an SSH server",
        _ => "",
    };
    Err(Violation::Handshake(format!("the answer is not HTTP: it begins with {}{hint}", shown(bytes))).into())
}

/// `HTTP/1.1 101 any reason`, the reason and the space before it optional.
fn parse_status_line(line: &[u8]) -> Result<(u16, String), Error> {
    let bad = |why: &str| Error::from(Violation::Handshake(format!("the status line {} {why}", shown(line))));
    let rest = line.strip_prefix(b"HTTP/1.").ok_or_else(|| bad("is not HTTP/1.1"))?;
    let [minor @ (b'0'..=b'9'), b' ', a @ b'1'..=b'9', b @ b'0'..=b'9', c @ b'0'..=b'9', reason @ ..] = rest else {
        return Err(bad("has no three-digit status"));
    };
    if !matches!(reason.first(), None | Some(b' ' | b'\t')) {
        return Err(bad("has no three-digit status"));
    }
    let status = [a, b, c].iter().fold(0, |n, digit| n * 10 + u16::from(**digit - b'0'));
    if *minor != b'1' && status == 101 {
        // §4.1: HTTP/1.1 or higher.
        return Err(bad("is not HTTP/1.1, and only that can be upgraded"));
    }
    Ok((status, String::from_utf8_lossy(reason).trim().to_owned()))
}

const FIRST: &[u8] = b"HTTP/";

/// A chunk's size has 16 hexadecimal digits at most; the rest is for its extensions, which nobody uses.
const MAX_CHUNK_LINE: usize = 256;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(bytes: &[u8]) -> Result<(usize, Option<Response>), Error> {
        ResponseReader::default().receive(bytes, &Limits::default())
    }

    /// Feeds one byte at a time.
    fn drip(bytes: &[u8]) -> Result<(usize, Option<Response>), Error> {
        let mut reader = ResponseReader::default();
        for (at, byte) in bytes.iter().enumerate() {
            let (used, response) = reader.receive(&[*byte], &Limits::default())?;
            if response.is_some() {
                return Ok((at + used, response));
            }
        }
        Ok((bytes.len(), None))
    }

    #[test]
    fn odd_reasons_are_accepted() {
        for (line, reason) in [
            ("HTTP/1.1 101 Switching Protocols", "Switching Protocols"),
            ("HTTP/1.1 101", ""),
            ("HTTP/1.1 101 ", ""),
            ("HTTP/1.1 101 Web Socket Protocol Handshake é", "Web Socket Protocol Handshake é"),
        ] {
            let bytes = format!("{line}\r\nA: b\r\n\r\n\u{81}");
            let (used, response) = read(bytes.as_bytes()).unwrap();
            let response = response.unwrap();
            assert_eq!((response.status, response.reason.as_str()), (101, reason), "{line}");
            assert_eq!(used, bytes.len() - 2, "what is behind the response is left alone");
        }
    }

    #[test]
    fn what_is_no_response_is_refused_at_once_with_a_hint() {
        for (bytes, reason) in [
            (&b"\x15\x03\x01\x00\x02\x02\x28"[..], "wss://"),
            (b"SSH-2.0-OpenSSH_9.2\r\n", "SSH"),
            (b"220 smtp ready\r\n", "begins with"),
            (b"HTTP/2 101\r\n\r\n", "not HTTP/1.1"),
            (b"HTTP/1.1 1x1\r\n\r\n", "three-digit"),
            (b"HTTP/1.1 1010 x\r\n\r\n", "three-digit"),
            (b"HTTP/1.0 101 x\r\n\r\n", "not HTTP/1.1"),
            (b"HTTP/1.1 101 x\r\nno colon\r\n\r\n", "malformed"),
            (b"HTTP/1.1 404 x\r\nContent-Length: 1x\r\n\r\n", "Content-Length"),
        ] {
            let error = read(bytes).unwrap_err().to_string();
            assert!(error.contains(reason), "{bytes:?}: {error}");
        }
        assert!(drip(b"\x16\x03").is_err());
    }

    #[test]
    fn a_refusal_keeps_its_body() {
        let table: [(&[u8], &[u8], bool, bool); 7] = [
            (b"HTTP/1.1 403 No\r\nContent-Length: 5\r\n\r\nhellomore", b"hello", true, false),
            (b"HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n", b"", true, false),
            (b"HTTP/1.1 503 No\r\nRetry-After: 3\r\n\r\nuntil end", b"until end", false, false),
            (
                b"HTTP/1.1 400 No\r\nTransfer-Encoding: chunked\r\n\r\n3;x\r\nabc\r\n2\r\nde\r\n0\r\n\r\n",
                b"abcde",
                true,
                false,
            ),
            (b"HTTP/1.1 400 No\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nabc", b"", true, true),
            (b"HTTP/1.1 400 No\r\nContent-Length: 10\r\n\r\nabc", b"abc", false, true),
            (b"HTTP/1.1 204 No\r\n\r\n", b"", true, false),
        ];
        for (bytes, body, complete, truncated) in table {
            for feed in [read, drip] {
                let outcome = feed(bytes).unwrap().1;
                assert_eq!(outcome.is_some(), complete, "{bytes:?}");
                let mut reader = ResponseReader::default();
                let direct = reader.receive(bytes, &Limits::default()).unwrap().1;
                let response = outcome.or(direct).or_else(|| reader.receive_eof()).unwrap();
                assert_eq!((response.body.as_slice(), response.body_truncated), (body, truncated), "{bytes:?}");
            }
        }
    }

    #[test]
    fn a_body_is_bounded() {
        let limits = Limits { max_body: 10, ..Limits::default() };
        let mut reader = ResponseReader::default();
        let bytes = [&b"HTTP/1.1 500 No\r\n\r\n"[..], &[b'x'; 100]].concat();
        let response = reader.receive(&bytes, &limits).unwrap().1.unwrap();
        assert_eq!((response.body.len(), response.body_truncated), (10, true));
    }

    #[test]
    fn informational_responses_are_skipped() {
        let bytes = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 101 Ok\r\n\r\n";
        for feed in [read, drip] {
            assert_eq!(feed(bytes).unwrap().1.unwrap().status, 101);
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>, head in prop::sample::select(vec!["", "HTTP/1.1 101\r\n", "HTTP/1.1 500 x\r\nTransfer-Encoding: chunked\r\n\r\n"])) {
            let bytes = [head.as_bytes(), &bytes].concat();
            let whole = read(&bytes).map(|(_, response)| response);
            let dripped = drip(&bytes).map(|(_, response)| response);
            prop_assert_eq!(whole.is_err(), dripped.is_err());
            prop_assert_eq!(whole.ok().flatten(), dripped.ok().flatten());
        }
    }
}
