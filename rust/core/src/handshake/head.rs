//! The header block of an HTTP message: found as it arrives, bounded, split into fields.

use super::Headers;
use crate::error::{Error, Limit, Violation};
use crate::limits::Limits;

/// Collects a header block, byte by byte if need be, without reading any byte twice.
#[derive(Debug, Default)]
pub(super) struct Head {
    bytes: Vec<u8>,
    /// Whether the line in progress is empty so far.
    line_is_empty: bool,
    lines: usize,
}

impl Head {
    /// Takes bytes until the empty line that ends the block; returns how many, and the block when it is complete.
    pub fn push(&mut self, input: &[u8], limits: &Limits) -> Result<(usize, Option<Vec<u8>>), Error> {
        let mut used = 0;
        while used < input.len() {
            let rest = &input[used..];
            let line = rest.iter().position(|&byte| byte == b'\n').map(|at| &rest[..=at]);
            let taken = line.unwrap_or(rest);
            if self.bytes.len() + taken.len() > limits.max_head {
                return Err(Limit::Head { what: "bytes", limit: limits.max_head }.into());
            }
            if taken.iter().any(|&byte| byte != b'\r' && byte != b'\n') {
                self.line_is_empty = false;
            }
            self.bytes.extend_from_slice(taken);
            used += taken.len();
            if line.is_none() {
                break;
            }
            // The start line is never the empty one.
            if self.lines > 0 && self.line_is_empty {
                self.lines = 0;
                return Ok((used, Some(std::mem::take(&mut self.bytes))));
            }
            self.lines += 1;
            self.line_is_empty = true;
            if self.lines > limits.max_head_lines.saturating_add(1) {
                return Err(Limit::Head { what: "lines", limit: limits.max_head_lines }.into());
            }
        }
        Ok((used, None))
    }

    /// What came so far.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// Splits a complete block into its start line and its fields.
pub(super) fn split(block: &[u8], limits: &Limits) -> Result<(Vec<u8>, Headers), Error> {
    let end = block.iter().position(|&byte| byte == b'\n').unwrap_or(block.len().saturating_sub(1));
    let (start, rest) = block.split_at((end + 1).min(block.len()));
    let start = start.strip_suffix(b"\n").unwrap_or(start);
    let start = start.strip_suffix(b"\r").unwrap_or(start);
    let lines = rest.iter().filter(|&&byte| byte == b'\n').count();
    let mut table = vec![httparse::EMPTY_HEADER; lines.min(limits.max_head_lines)];
    match httparse::parse_headers(rest, &mut table) {
        Ok(httparse::Status::Complete((_, fields))) => Ok((start.to_vec(), Headers::from_raw(fields))),
        Ok(httparse::Status::Partial) => Err(bad_head("the header block is cut off")),
        Err(httparse::Error::TooManyHeaders) => Err(Limit::Head { what: "lines", limit: limits.max_head_lines }.into()),
        Err(error) => Err(bad_head(&error.to_string())),
    }
}

fn bad_head(why: &str) -> Error {
    Violation::Handshake(format!("the HTTP header block is malformed: {why}")).into()
}

/// Bytes as an error message shows them.
pub(super) fn shown(bytes: &[u8]) -> String {
    let short = &bytes[..bytes.len().min(MAX_SHOWN)];
    format!("\"{}{}\"", short.escape_ascii(), if bytes.len() > MAX_SHOWN { "..." } else { "" })
}

const MAX_SHOWN: usize = 60;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_ends_with_its_empty_line_wherever_it_is_cut() {
        let limits = Limits::default();
        for block in [&b"GET / HTTP/1.1\r\nA: b\r\n\r\n"[..], b"GET / HTTP/1.1\nA: b\n\n", b"HTTP/1.1 101\r\n\r\n"] {
            let whole = [block, b"rest"].concat();
            for cut in 0..block.len() {
                let mut head = Head::default();
                assert_eq!(head.push(&whole[..cut], &limits).unwrap(), (cut, None), "{cut}");
                let (used, found) = head.push(&whole[cut..], &limits).unwrap();
                assert_eq!((cut + used, found.as_deref()), (block.len(), Some(block)), "{cut}");
            }
        }
    }

    #[test]
    fn bytes_and_lines_are_bounded_even_in_drips() {
        let limits = Limits { max_head: 100, max_head_lines: 5, ..Limits::default() };
        let mut head = Head::default();
        let outcome = (0..200).map(|_| head.push(b"x", &limits)).find(Result::is_err);
        assert_eq!(outcome.unwrap(), Err(Limit::Head { what: "bytes", limit: 100 }.into()));
        let mut head = Head::default();
        let outcome = (0..20).map(|_| head.push(b"a:b\n", &limits)).find(Result::is_err);
        assert_eq!(outcome.unwrap(), Err(Limit::Head { what: "lines", limit: 5 }.into()));
    }
}
