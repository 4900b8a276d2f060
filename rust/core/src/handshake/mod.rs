//! The opening handshake (RFC 6455 §4), both roles, as bytes.
//!
//! A client's is a [`ClientHandshake`]: it owns the request and reads the answer. A server reads with a
//! [`RequestReader`], looks at the request with [`check_request`], and answers with the bytes of [`accept`] or [`refuse`].
//! What the two share stands here: how a header block is cut out of a stream, and the grammar of header lines.

mod request;
mod response;
mod server;

pub use request::{Headers, Request, RequestParts};
pub use response::{Expected, Negotiated, Response, ResponseReader, accept_for, check_response};
pub use server::{RequestReader, accept, check_request, refuse, refuse_error};

use crate::error::{Error, Incompatible, Limit, Violation};
use crate::limits::Limits;

/// The client's side: the request to send, and the reading of what comes back.
pub struct ClientHandshake {
    request: Request,
    bytes: Vec<u8>,
    expected: Expected,
    reader: ResponseReader,
}

/// How the opening handshake of a client ended.
#[derive(Debug)]
pub enum Outcome {
    /// The connection is open. What follows the response are frames.
    Accepted(Response, Negotiated),
    /// The server said no (the response says why), or gave a 101 that cannot be accepted.
    Refused(Error, Option<Response>),
}

impl ClientHandshake {
    /// Builds the request.
    ///
    /// # Errors
    /// [`crate::Misuse`], naming the header, subprotocol or extension that cannot be sent.
    pub fn new(parts: RequestParts<'_>) -> Result<Self, Error> {
        let (request, expected) = parts.build()?;
        Ok(Self { bytes: request.to_bytes(), request, expected, reader: ResponseReader::default() })
    }

    /// The request.
    pub fn request(&self) -> &Request {
        &self.request
    }

    /// The request as it is sent.
    pub fn request_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Takes in what arrived; returns how much of it was consumed, and the outcome once there is one. Until then all is
    /// consumed; bytes behind the head of a 101 never are.
    ///
    /// # Errors
    /// An answer that cannot be read, or is over a limit. The handshake has failed.
    pub fn receive(&mut self, input: &[u8], limits: &Limits) -> Result<(usize, Option<Outcome>), Error> {
        let (used, response) = self.reader.receive(input, limits)?;
        Ok((used, response.map(|response| self.judge(response))))
    }

    /// The stream ended, or no more is waited for: the outcome, if at least the head of a refusal arrived.
    pub fn receive_eof(&mut self) -> Option<Outcome> {
        let response = self.reader.receive_eof()?;
        Some(self.judge(response))
    }

    fn judge(&self, response: Response) -> Outcome {
        if response.status != 101 {
            return Outcome::Refused(Incompatible::Status(response.status).into(), Some(response));
        }
        match check_response(&response, &self.expected) {
            Ok(negotiated) => Outcome::Accepted(response, negotiated),
            Err(error) => Outcome::Refused(error, Some(response)),
        }
    }
}

/// A start line and its header lines, cut out of a stream.
#[derive(Debug, Default)]
struct Head {
    bytes: Vec<u8>,
    /// Where the line under way begins in `bytes`.
    line: usize,
    /// Bytes and header lines so far, those of earlier heads included.
    seen: usize,
    header_lines: usize,
}

impl Head {
    /// Takes in what arrived up to the empty line that ends the head (RFC 9112 §2.1); returns how much that was, and
    /// whether the head is complete. Each byte is looked at once, however the input is cut. `check_start` sees the start
    /// line as it grows, to refuse at once what will never become a head.
    fn receive(
        &mut self,
        input: &[u8],
        limits: &Limits,
        check_start: fn(&[u8]) -> Result<(), Violation>,
    ) -> Result<(usize, bool), Error> {
        let mut used = 0;
        while used < input.len() {
            let rest = &input[used..];
            let newline = rest.iter().position(|&byte| byte == b'\n');
            let piece = &rest[..newline.map_or(rest.len(), |at| at + 1)];
            let kept = piece.len().min(limits.max_head.saturating_sub(self.seen));
            self.bytes.extend_from_slice(&piece[..kept]);
            self.seen += kept;
            used += kept;
            if self.line == 0 {
                check_start(&self.bytes)?;
            }
            if kept < piece.len() {
                return Err(Limit::Head { what: "bytes", limit: limits.max_head }.into());
            }
            if newline.is_none() {
                break;
            }
            // §2.2: a lone LF ends a line, too.
            if matches!(&self.bytes[self.line..], b"\r\n" | b"\n") {
                return Ok((used, true));
            }
            if self.line > 0 {
                self.header_lines += 1;
                if self.header_lines > limits.max_head_lines {
                    return Err(Limit::Head { what: "lines", limit: limits.max_head_lines }.into());
                }
            }
            self.line = self.bytes.len();
        }
        Ok((used, false))
    }

    /// The start line without its end, and the header lines. The head is complete.
    fn parse(&self) -> Result<(&[u8], Headers), Violation> {
        let end = self.bytes.iter().position(|&byte| byte == b'\n').unwrap_or(0);
        let (start, block) = (&self.bytes[..end], &self.bytes[(end + 1).min(self.bytes.len())..]);
        let mut lines = vec![httparse::EMPTY_HEADER; block.iter().filter(|&&byte| byte == b'\n').count()];
        let Ok(httparse::Status::Complete((_, lines))) = httparse::parse_headers(block, &mut lines) else {
            return Err(Violation::Handshake(bad_line(block)));
        };
        let headers = lines.iter().map(|line| (line.name.to_owned(), text(line.value))).collect();
        Ok((start.strip_suffix(b"\r").unwrap_or(start), headers))
    }

    /// Makes ready for the next head. The limits go on counting.
    fn next(&mut self) {
        self.bytes.clear();
        self.line = 0;
    }
}

/// Checks what requests and responses have in common (RFC 6455 §4.1, §4.2.1).
fn check_upgrade(headers: &Headers, whose: &str) -> Result<(), Error> {
    for (name, token) in [("Upgrade", "websocket"), ("Connection", "Upgrade")] {
        if headers.list(name).any(|element| element.eq_ignore_ascii_case(token)) {
            continue;
        }
        let found = headers.get_all(name).collect::<Vec<_>>();
        return Err(violation(if found.is_empty() {
            format!("a {whose} without header {name}; wanted {name}: {token}")
        } else {
            format!("a {whose} with {name}: {}; wanted {name}: {token}", shown(found.join(", ").as_bytes()))
        }));
    }
    Ok(())
}

fn violation(text: String) -> Error {
    Violation::Handshake(text).into()
}

/// The first line that cannot be read, without its value, which may be a secret.
fn bad_line(block: &[u8]) -> String {
    for (at, line) in block.split_inclusive(|&byte| byte == b'\n').enumerate() {
        let alone = [line, b"\r\n"].concat();
        if matches!(httparse::parse_headers(&alone, &mut [httparse::EMPTY_HEADER; 1]), Ok(httparse::Status::Complete(_))) {
            continue;
        }
        return match line.iter().position(|&byte| byte == b':') {
            // RFC 9112 §5.2: obsolete line folding.
            _ if matches!(line[0], b' ' | b'\t') => format!("header line {} goes on with the line before it", at + 1),
            Some(colon) => format!("header line {} cannot be read: {}: (value not shown)", at + 1, shown(&line[..colon])),
            None => format!("header line {} has no colon: {}", at + 1, shown(line)),
        };
    }
    "the header lines cannot be read".to_owned()
}

/// The beginning of what a peer sent, fit to be shown.
fn shown(bytes: &[u8]) -> String {
    let kept = &bytes[..bytes.len().min(MAX_SHOWN)];
    format!("\"{}\"{}", kept.escape_ascii(), if kept.len() < bytes.len() { "…" } else { "" })
}

/// The bytes of a start line or of a header value as text: UTF-8, else ISO 8859-1 (RFC 9110 §5.5).
fn text(bytes: &[u8]) -> String {
    match simdutf8::basic::from_utf8(bytes) {
        Ok(text) => text.to_owned(),
        Err(_) => bytes.iter().copied().map(char::from).collect(),
    }
}

/// The elements of a comma-separated list (RFC 9110 §5.6.1); commas inside quoted strings separate nothing.
fn elements(list: &str) -> impl Iterator<Item = &str> {
    let (mut quoted, mut escaped) = (false, false);
    list.split(move |c| {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = quoted,
            '"' => quoted = !quoted,
            _ => return c == ',' && !quoted,
        }
        false
    })
    .map(|element| element.trim_matches([' ', '\t']))
    .filter(|element| !element.is_empty())
}

/// The name of an extension: what stands before its parameters (RFC 6455 §9.1).
fn extension_name(extension: &str) -> &str {
    extension.split(';').next().unwrap_or_default().trim_matches([' ', '\t'])
}

/// RFC 9110 §5.6.2.
fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(is_token_byte)
}

fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// Two lines of a hex dump: enough to know SSH, SMTP or TLS by.
const MAX_SHOWN: usize = 32;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::uri::Uri;

    fn handshake() -> ClientHandshake {
        let uri = Uri::parse("ws://host/chat").unwrap();
        // The key of RFC 6455 §1.3.
        ClientHandshake::new(RequestParts::new(&uri, *b"the sample nonce")).unwrap()
    }

    const ACCEPTED: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
        Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

    #[test]
    fn a_101_opens_and_leaves_the_frames_behind_it() {
        let mut client = handshake();
        assert!(client.request_bytes().starts_with(b"GET /chat HTTP/1.1\r\nHost: host\r\n"));
        let input = [ACCEPTED, b"\x81\x02hi"].concat();
        let (used, outcome) = client.receive(&input, &Limits::default()).unwrap();
        assert_eq!(used, ACCEPTED.len());
        assert!(matches!(outcome, Some(Outcome::Accepted(response, _)) if response.status == 101));
        assert!(matches!(client.receive(&input[used..], &Limits::default()), Ok((0, None))));
    }

    #[test]
    fn other_answers_are_refusals_that_keep_the_response() {
        let bad_accept = String::from_utf8_lossy(ACCEPTED).replace("s3pP", "S3pP");
        let table: [(&[u8], &str); 3] = [
            (b"HTTP/1.1 403 No\r\nContent-Length: 2\r\n\r\nno", "the server answered the upgrade with HTTP status 403"),
            (b"HTTP/1.1 101 Yes\r\n\r\n", "Upgrade"),
            (bad_accept.as_bytes(), "Sec-WebSocket-Accept"),
        ];
        for (input, expected) in table {
            let (used, outcome) = handshake().receive(input, &Limits::default()).unwrap();
            assert_eq!(used, input.len());
            let Some(Outcome::Refused(error, Some(response))) = outcome else { panic!("{outcome:?}") };
            assert!(error.to_string().contains(expected), "{error}");
            assert_eq!(response.status == 403, response.body == b"no");
        }
    }

    #[test]
    fn the_end_of_the_stream_decides_only_behind_a_head() {
        let limits = Limits::default();
        let mut client = handshake();
        assert!(client.receive_eof().is_none());
        client.receive(b"HTTP/1.1 500 Oh\r\n", &limits).unwrap();
        assert!(client.receive_eof().is_none());
        client.receive(b"\r\nwhy", &limits).unwrap();
        let outcome = client.receive_eof();
        assert!(matches!(outcome, Some(Outcome::Refused(_, Some(response))) if response.body == b"why"));
        assert!(client.receive_eof().is_none());
    }

    #[test]
    fn lists_come_apart_at_commas_outside_quotes() {
        let table: [(&str, &[&str]); 7] = [
            ("", &[]),
            (" , ,\t", &[]),
            ("a", &["a"]),
            ("keep-alive, Upgrade", &["keep-alive", "Upgrade"]),
            ("a;x=\"1,2\", b", &["a;x=\"1,2\"", "b"]),
            (r#"a;x="\",", b"#, &[r#"a;x="\",""#, "b"]),
            ("a;x=\"open, b", &["a;x=\"open, b"]),
        ];
        for (list, expected) in table {
            assert_eq!(elements(list).collect::<Vec<_>>(), expected, "{list}");
        }
        assert_eq!(extension_name("permessage-deflate ; a=1"), "permessage-deflate");
    }

    #[test]
    fn bytes_are_utf_8_or_latin_1() {
        assert_eq!(text("é€".as_bytes()), "é€");
        assert_eq!(text(b"caf\xe9"), "café");
        assert_eq!(shown(b"\x15\x03\"a"), r#""\x15\x03\"a""#);
        assert_eq!(shown(&[b'x'; 33]), format!("\"{}\"…", "x".repeat(32)));
    }

    #[test]
    fn a_bad_header_line_is_named_without_its_value() {
        let table: [(&[u8], &str); 6] = [
            (b"A: 1\r\nno colon\r\n", "header line 2 has no colon: \"no colon\\r\\n\""),
            (b"A: 1\r\nB : secret\r\n", "header line 2 cannot be read: \"B \": (value not shown)"),
            (b"A: 1\r\nB: sec\0ret\r\n", "header line 2 cannot be read: \"B\": (value not shown)"),
            (b": secret\r\n", "header line 1 cannot be read: \"\": (value not shown)"),
            (b"A: 1\r\n folded\r\n", "header line 2 goes on with the line before it"),
            (b"A\xff: 1\r\n", "header line 1 cannot be read: \"A\\xff\": (value not shown)"),
        ];
        for (lines, expected) in table {
            let mut head = Head::default();
            let input = [b"start\r\n", lines, b"\r\n"].concat();
            assert_eq!(head.receive(&input, &Limits::default(), |_| Ok(())), Ok((input.len(), true)));
            assert_eq!(head.parse().unwrap_err(), Violation::Handshake(expected.to_owned()));
        }
    }

    #[test]
    fn a_head_is_bounded_in_bytes_and_lines_however_it_arrives() {
        let limits = Limits { max_head: 40, max_head_lines: 2, ..Limits::default() };
        let bytes = Limit::Head { what: "bytes", limit: 40 };
        let lines = Limit::Head { what: "lines", limit: 2 };
        let table: [(&[u8], Option<Limit>); 6] = [
            (b"start\r\nA: 1\r\nB: 2\r\n\r\n", None),
            (b"start\nA: 1\nB: 2\n\n", None),
            (b"start\r\nA: 1\r\nB: 2\r\nC: 3\r\n\r\n", Some(lines)),
            (b"start\r\nA: 1\r\nB: 123456789012345678\r\n\r\n", None),
            (b"start\r\nA: 1\r\nB: 1234567890123456789\r\n\r\n", Some(bytes.clone())),
            (&[b'x'; 41], Some(bytes)),
        ];
        for (input, limit) in table {
            let expected = limit.map_or(Ok(true), |limit| Err(limit.into()));
            for size in 1..=input.len() {
                let mut head = Head::default();
                let mut outcome = Ok(false);
                for piece in input.chunks(size) {
                    outcome = head.receive(piece, &limits, |_| Ok(())).map(|(_, complete)| complete);
                    if outcome != Ok(false) {
                        break;
                    }
                }
                assert_eq!(outcome, expected, "{} in pieces of {size}", input.escape_ascii());
                assert!(head.bytes.len() <= limits.max_head);
            }
        }
    }

    proptest! {
        #[test]
        fn random_answers_never_panic(
            start in prop::sample::select(vec!["", "HTTP/1.1 101", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"]),
            pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..8),
        ) {
            let (mut client, mut server) = (handshake(), RequestReader::default());
            let limits = Limits { max_head: 100, max_head_lines: 3, max_body: 20, ..Limits::default() };
            let mut failed = client.receive(start.as_bytes(), &limits).is_err();
            for piece in &pieces {
                let received = client.receive(piece, &limits);
                prop_assert!(received.as_ref().is_ok_and(|(used, _)| *used <= piece.len()) || received.is_err());
                failed |= received.is_err();
                drop(server.receive(piece, &limits));
            }
            if !failed {
                drop(client.receive_eof());
            }
        }
    }
}
