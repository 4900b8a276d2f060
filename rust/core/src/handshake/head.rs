//! The head of an HTTP message: cut out of the stream as it arrives, bounded, split into its lines.

use super::headers::{Charset, Headers};
use crate::error::{Error, Flaw, Limit, Violation};
use crate::limits::Limits;

/// A start line and its header lines, cut out of a stream.
#[derive(Debug, Default)]
pub(super) struct Head {
    /// What the header values are text by.
    pub(super) charset: Charset,
    bytes: Vec<u8>,
    /// Where the line under way begins in `bytes`.
    line: usize,
    /// Bytes and header lines so far, those of earlier heads included.
    seen: usize,
    header_lines: usize,
}

impl Head {
    /// Takes in what arrived up to the empty line that ends the head (RFC 9112 §2.1); returns how much that was, and
    /// whether the head is complete. Each byte is looked at once, however the input is cut. `check_start` sees the
    /// start line as it grows, to refuse at once what will never become a head.
    pub(super) fn receive(
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
    pub(super) fn parse(&self) -> Result<(&[u8], Headers), Violation> {
        let end = self.bytes.iter().position(|&byte| byte == b'\n').unwrap_or(0);
        let (start, block) = (&self.bytes[..end], &self.bytes[(end + 1).min(self.bytes.len())..]);
        let mut lines = vec![httparse::EMPTY_HEADER; block.split(|&byte| byte == b'\n').count()];
        let Ok(httparse::Status::Complete((_, lines))) = httparse::parse_headers(block, &mut lines) else {
            return Err(Violation::Handshake(Flaw::Other, bad_line(block)));
        };
        let headers = lines.iter().map(|line| (line.name.to_owned(), self.charset.text(line.value))).collect();
        Ok((start.strip_suffix(b"\r").unwrap_or(start), headers))
    }

    /// Makes ready for the next head. The limits go on counting.
    pub(super) fn next(&mut self) {
        self.bytes.clear();
        self.line = 0;
    }
}

/// The first line that cannot be read, without its value, which may be a secret.
fn bad_line(block: &[u8]) -> String {
    for (at, line) in block.split_inclusive(|&byte| byte == b'\n').enumerate() {
        let alone = [line, b"\r\n"].concat();
        if matches!(
            httparse::parse_headers(&alone, &mut [httparse::EMPTY_HEADER; 1]),
            Ok(httparse::Status::Complete(_))
        ) {
            continue;
        }
        return match line.iter().position(|&byte| byte == b':') {
            // RFC 9112 §5.2: obsolete line folding.
            _ if matches!(line[0], b' ' | b'\t') => format!("header line {} goes on with the line before it", at + 1),
            Some(colon) => {
                format!("header line {} cannot be read: {}: (value not shown)", at + 1, shown(&line[..colon]))
            }
            None => format!("header line {} has no colon: {}", at + 1, shown(line)),
        };
    }
    "the header lines cannot be read".to_owned()
}

/// The beginning of what a peer sent, fit to be shown.
pub(super) fn shown(bytes: &[u8]) -> String {
    let kept = &bytes[..bytes.len().min(MAX_SHOWN)];
    format!("\"{}\"{}", kept.escape_ascii(), if kept.len() < bytes.len() { "…" } else { "" })
}

/// Two lines of a hex dump: enough to know SSH, SMTP or TLS by.
const MAX_SHOWN: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_is_escaped_and_bounded() {
        assert_eq!(shown(b"\x15\x03\"a"), r#""\x15\x03\"a""#);
        assert_eq!(shown(&[b'x'; 33]), format!("\"{}\"…", "x".repeat(32)));
    }

    #[test]
    fn limits_can_be_lifted() {
        let limits = Limits { max_head: usize::MAX, max_head_lines: usize::MAX, ..Limits::default() };
        let mut head = Head::default();
        assert_eq!(head.receive(b"start\nA: 1\n\n", &limits, |_| Ok(())), Ok((12, true)));
        assert_eq!(head.parse().unwrap().1.get("a"), Some("1"));
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
            assert_eq!(head.parse().unwrap_err(), Violation::Handshake(Flaw::Other, expected.to_owned()));
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
            (b"start\r\nA: 1\r\nB: 12345678901234567890\r\n\r\n", None),
            (b"start\r\nA: 1\r\nB: 123456789012345678901\r\n\r\n", Some(bytes.clone())),
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
}
