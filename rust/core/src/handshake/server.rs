//! The server's side (RFC 6455 §4.2), for the embedded peer.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::head::{Head, shown, split};
use super::request::{check_field, write_fields};
use super::{Headers, Request, accept_for};
use crate::error::{Error, Incompatible, Misuse, Violation};
use crate::limits::Limits;

/// Reads and checks a request.
#[derive(Debug, Default)]
pub struct RequestReader {
    head: Head,
}

impl RequestReader {
    /// Takes in what arrived; returns how much of it was used, and the request when it is complete.
    ///
    /// # Errors
    /// [`Violation::Handshake`], [`Incompatible::Version`] and [`crate::Limit::Head`].
    pub fn receive(&mut self, input: &[u8], limits: &Limits) -> Result<(usize, Option<Request>), Error> {
        let (used, block) = self.head.push(input, limits)?;
        let Some(block) = block else { return Ok((used, None)) };
        let (start, headers) = split(&block, limits)?;
        let request = Request { target: parse_request_line(&start)?, headers };
        check(&request)?;
        Ok((used, Some(request)))
    }
}

/// The response that accepts `request` (§4.2.2), with more header fields behind the handshake's.
///
/// # Errors
/// [`Misuse::Header`].
pub fn accept(request: &Request, subprotocol: Option<&str>, more: &[(String, String)]) -> Result<Vec<u8>, Misuse> {
    let key = request.headers.get("Sec-WebSocket-Key").unwrap_or_default();
    let mut headers = Headers::default();
    headers.push("Upgrade", "websocket");
    headers.push("Connection", "Upgrade");
    headers.push("Sec-WebSocket-Accept", accept_for(key.trim()));
    if let Some(subprotocol) = subprotocol {
        headers.push("Sec-WebSocket-Protocol", subprotocol);
    }
    respond("101 Switching Protocols", headers, more, b"")
}

/// A response that refuses a request.
///
/// # Errors
/// [`Misuse::Header`].
pub fn refuse(status: u16, reason: &str, more: &[(String, String)], body: &[u8]) -> Result<Vec<u8>, Misuse> {
    let mut headers = Headers::default();
    headers.push("Connection", "close");
    headers.push("Content-Length", body.len().to_string());
    check_field("reason", reason)?;
    respond(&format!("{status} {reason}"), headers, more, body)
}

fn respond(status: &str, mut headers: Headers, more: &[(String, String)], body: &[u8]) -> Result<Vec<u8>, Misuse> {
    for (name, value) in more {
        check_field(name, value)?;
        headers.push(name, value);
    }
    let mut bytes = format!("HTTP/1.1 {status}\r\n").into_bytes();
    write_fields(&mut bytes, &headers);
    bytes.extend_from_slice(body);
    Ok(bytes)
}

/// `GET target HTTP/1.1`; returns the target.
fn parse_request_line(line: &[u8]) -> Result<String, Error> {
    let bad = || Error::from(Violation::Handshake(format!("{} is not GET over HTTP/1.1", shown(line))));
    let text = std::str::from_utf8(line).map_err(|_| bad())?;
    let target = text.strip_prefix("GET ").and_then(|rest| rest.strip_suffix(" HTTP/1.1")).ok_or_else(bad)?;
    if target.is_empty() || target.contains(' ') { Err(bad()) } else { Ok(target.to_owned()) }
}

/// The requirements of §4.2.1.
fn check(request: &Request) -> Result<(), Error> {
    let headers = &request.headers;
    let missing = |what: &str| Err(Violation::Handshake(format!("the request {what}")).into());
    if headers.get("Host").is_none() {
        return missing("has no Host header");
    }
    if !headers.has_token("Upgrade", "websocket") || !headers.has_token("Connection", "Upgrade") {
        return missing("does not ask for an upgrade to websocket");
    }
    match headers.get("Sec-WebSocket-Version") {
        Some("13") => {}
        other => return Err(Incompatible::Version(other.unwrap_or("none").to_owned()).into()),
    }
    let key = headers.get("Sec-WebSocket-Key").unwrap_or_default();
    if STANDARD.decode(key.trim()).map(|bytes| bytes.len()) != Ok(16) {
        return missing("has no Sec-WebSocket-Key of 16 bytes in base64");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::request::tests::parts;
    use super::super::{ClientHandshake, Outcome};
    use super::*;
    use crate::uri::Uri;

    fn read(bytes: &[u8]) -> Result<(usize, Option<Request>), Error> {
        RequestReader::default().receive(bytes, &Limits::default())
    }

    #[test]
    fn client_and_server_agree_wherever_the_bytes_are_cut() {
        let uri = Uri::parse("ws://h/chat").unwrap();
        let mut client = ClientHandshake::new(&parts(&uri)).unwrap();
        let bytes = [client.request_bytes(), b"frames"].concat();
        let end = client.request_bytes().len();
        for cut in 0..end {
            let mut reader = RequestReader::default();
            assert_eq!(reader.receive(&bytes[..cut], &Limits::default()), Ok((cut, None)));
            let (used, request) = reader.receive(&bytes[cut..], &Limits::default()).unwrap();
            assert_eq!((cut + used, request.unwrap().target.as_str()), (end, "/chat"));
        }
        let request = read(&bytes).unwrap().1.unwrap();
        let answer = accept(&request, None, &[("X".to_owned(), "y".to_owned())]).unwrap();
        match client.receive(&answer, &Limits::default()).unwrap() {
            (used, Some(Outcome::Accepted(response, _))) => {
                assert_eq!((used, response.headers.get("x")), (answer.len(), Some("y")));
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn every_check_of_section_4_2_1() {
        let good = "GET /x HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";
        assert!(read(good.as_bytes()).unwrap().1.is_some());
        for (from, to, reason) in [
            ("GET", "POST", "not GET"),
            ("HTTP/1.1", "HTTP/1.0", "not GET over HTTP/1.1"),
            ("Host: h\r\n", "", "no Host"),
            ("Upgrade: websocket", "Upgrade: x", "does not ask"),
            ("Connection: Upgrade", "Connection: close", "does not ask"),
            ("Version: 13", "Version: 8", "version 8"),
            ("dGhlIHNhbXBsZSBub25jZQ==", "c2hvcnQ=", "Sec-WebSocket-Key"),
        ] {
            let error = read(good.replacen(from, to, 1).as_bytes()).unwrap_err().to_string();
            assert!(error.contains(reason), "{from}: {error}");
        }
    }

    #[test]
    fn a_refusal_is_a_whole_response() {
        let bytes = refuse(503, "Busy", &[("Retry-After".to_owned(), "3".to_owned())], b"later").unwrap();
        let text = String::from_utf8(bytes).unwrap();
        assert!(
            text.starts_with("HTTP/1.1 503 Busy\r\n") && text.ends_with("\r\nRetry-After: 3\r\n\r\nlater"),
            "{text}"
        );
        assert!(refuse(503, "a\r\nb", &[], b"").is_err());
    }
}
