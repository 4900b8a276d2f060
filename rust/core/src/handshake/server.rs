//! The server's side of the opening handshake (RFC 6455 §4.2): requests, read as they arrive and checked, and answers.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::head::{Head, shown};
use super::request::{check_field, head};
use super::{Request, accept_for, check_upgrade, is_token_byte, violation};
use crate::error::{Error, Flaw, Incompatible, Misuse, Violation};
use crate::limits::Limits;

/// Reads a request as it arrives.
#[derive(Default)]
pub struct RequestReader {
    head: Head,
    done: bool,
}

impl RequestReader {
    /// Takes in what arrived; returns how much of it was consumed, and the request once it is complete. Until then all
    /// is consumed; bytes behind the request never are.
    ///
    /// # Errors
    /// [`Violation::Handshake`] where this is not an upgrade request, [`Incompatible::Version`] where it is one for
    /// another version (the answer is 426 with `Sec-WebSocket-Version: 13`, §4.4), [`crate::Limit::Head`]. There is no
    /// going on.
    pub fn receive(&mut self, input: &[u8], limits: &Limits) -> Result<(usize, Option<Request>), Error> {
        if self.done {
            return Ok((0, None));
        }
        let (used, complete) = self.head.receive(input, limits, check_start)?;
        if !complete {
            return Ok((used, None));
        }
        self.done = true;
        let (line, headers) = self.head.parse()?;
        let target = parse_request_line(line)?;
        let request = Request { target, headers };
        check(&request)?;
        Ok((used, Some(request)))
    }
}

/// Refuses what does not begin with a method (RFC 9110 §9.1) as soon as it shows.
fn check_start(line: &[u8]) -> Result<(), Violation> {
    // The longest method that is registered has 17 letters; a long line is not to be looked at again and again.
    let method = line[..line.len().min(18)].split(|&byte| byte == b' ').next().unwrap_or_default();
    if !method.is_empty() && method.iter().all(|&byte| is_token_byte(byte)) {
        return Ok(());
    }
    let hint = if line.starts_with(b"\x16") { "; is the client using TLS (wss://)?" } else { "" };
    Err(Violation::Handshake(Flaw::NotHttp, format!("this is not an HTTP/1.1 request: {}{hint}", shown(line))))
}

/// RFC 9112 §3; RFC 6455 §4.1 wants GET and HTTP/1.1 or higher, of which there is no other that looks like it.
fn parse_request_line(line: &[u8]) -> Result<String, Error> {
    match line.split(|&byte| byte == b' ').collect::<Vec<_>>()[..] {
        [b"GET", target, b"HTTP/1.1"] if target.iter().all(u8::is_ascii_graphic) => {
            let text: String = target.iter().copied().map(char::from).collect();
            resource_name(&text)
                .ok_or_else(|| violation(format!("a request for {}, which is no path and no http URI", shown(target))))
        }
        [b"GET", _, b"HTTP/1.1"] => Err(violation("a request for a target that is not printable ASCII".to_owned())),
        [b"GET", _, version] => Err(violation(format!("a request with {}; wanted HTTP/1.1", shown(version)))),
        [method, _, _] => Err(violation(format!("a request with method {}; wanted GET", shown(method)))),
        _ => Err(violation("a request line that is not method, target and version".to_owned())),
    }
}

/// The path and query of a request's target, which may be an absolute URI too (§4.2.1, RFC 9112 §3.2).
fn resource_name(target: &str) -> Option<String> {
    if target.starts_with('/') {
        return Some(target.to_owned());
    }
    let (scheme, rest) = target.split_once("://")?;
    if !scheme.eq_ignore_ascii_case("http") && !scheme.eq_ignore_ascii_case("https") {
        return None;
    }
    match rest.find(['/', '?']) {
        Some(0) => None,
        Some(at) if rest[at..].starts_with('/') => Some(rest[at..].to_owned()),
        Some(at) => Some(format!("/{}", &rest[at..])),
        None if rest.is_empty() => None,
        None => Some("/".to_owned()),
    }
}

/// §4.2.1.
fn check(request: &Request) -> Result<(), Error> {
    let headers = &request.headers;
    let single = |name: &str| match headers.get_all(name).collect::<Vec<_>>()[..] {
        [value] => Ok(value),
        [] => Err(violation(format!("a request without header {name}"))),
        [..] => Err(violation(format!("a request with several headers {name}; wanted one"))),
    };
    single("Host")?;
    check_upgrade(headers, "request")?;
    let version = single("Sec-WebSocket-Version")?;
    if version != "13" {
        return Err(Incompatible::Version(version.to_owned()).into());
    }
    let key = single("Sec-WebSocket-Key")?;
    match BASE64.decode(key) {
        Ok(key) if key.len() == 16 => Ok(()),
        _ => {
            let found = shown(key.as_bytes());
            Err(violation(format!("a request with Sec-WebSocket-Key: {found}; wanted 16 bytes in base64")))
        }
    }
}

/// The response that accepts a request (§4.2.2), with more headers behind the handshake's. Whether the subprotocol and
/// the headers answer the request is not checked.
///
/// # Errors
/// [`Misuse::Header`].
pub fn accept(request: &Request, subprotocol: Option<&str>, headers: &[(String, String)]) -> Result<Vec<u8>, Misuse> {
    let accept = accept_for(request.headers.get("Sec-WebSocket-Key").unwrap_or_default());
    let mut lines =
        vec![("Upgrade", "websocket"), ("Connection", "Upgrade"), ("Sec-WebSocket-Accept", accept.as_str())];
    lines.extend(subprotocol.map(|subprotocol| ("Sec-WebSocket-Protocol", subprotocol)));
    lines.extend(headers.iter().map(|(name, value)| (name.as_str(), value.as_str())));
    respond("101 Switching Protocols", lines)
}

/// A response that refuses a request, or any other response with a body. `Content-Length` and `Connection: close` are
/// added unless the headers say otherwise. The stream is to be closed behind it.
///
/// # Errors
/// [`Misuse::Header`].
pub fn refuse(status: u16, reason: &str, headers: &[(String, String)], body: &[u8]) -> Result<Vec<u8>, Misuse> {
    let length = body.len().to_string();
    let has = |name: &str| headers.iter().any(|(other, _)| other.eq_ignore_ascii_case(name));
    let mut lines: Vec<_> = headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    if !has("Content-Length") && !has("Transfer-Encoding") {
        lines.push(("Content-Length", &length));
    }
    if !has("Connection") {
        lines.push(("Connection", "close"));
    }
    check_field("reason", reason)?;
    let mut response = respond(&format!("{status} {reason}"), lines)?;
    response.extend_from_slice(body);
    Ok(response)
}

fn respond(status: &str, headers: Vec<(&str, &str)>) -> Result<Vec<u8>, Misuse> {
    for (name, value) in &headers {
        check_field(name, value)?;
    }
    Ok(head(&format!("HTTP/1.1 {status}"), headers))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Limit;
    use crate::handshake::{ClientHandshake, Outcome, RequestParts};
    use crate::uri::Uri;

    const REQUEST: &str = "GET /chat?a=b HTTP/1.1\r\nHost: host\r\nUpgrade: websocket\r\n\
        Connection: keep-alive, Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
        Sec-WebSocket-Version: 13\r\n\r\n";

    fn read(input: &[u8], size: usize, limits: &Limits) -> Result<(Option<Request>, usize), Error> {
        let (mut reader, mut used) = (RequestReader::default(), 0);
        for piece in input.chunks(size) {
            let (more, request) = reader.receive(piece, limits)?;
            used += more;
            if request.is_some() {
                assert!(matches!(reader.receive(b"more", limits), Ok((0, None))));
                return Ok((request, used));
            }
            assert_eq!(more, piece.len());
        }
        Ok((None, used))
    }

    fn parsed(text: &str) -> Request {
        read(text.as_bytes(), text.len(), &Limits::default()).unwrap().0.unwrap()
    }

    #[test]
    fn a_request_is_the_same_however_it_arrives_and_what_follows_is_left() {
        let expected = parsed(REQUEST);
        assert_eq!((expected.target.as_str(), expected.path(), expected.headers.len()), ("/chat?a=b", "/chat", 5));
        let input = [REQUEST.as_bytes(), b"\x81\x80\0\0\0\0"].concat();
        for size in 1..=input.len() {
            let (request, used) = read(&input, size, &Limits::default()).unwrap();
            assert_eq!((request.as_ref(), used), (Some(&expected), REQUEST.len()), "in pieces of {size}");
        }
    }

    #[test]
    fn an_absolute_uri_as_the_target_stands_for_its_path() {
        for (target, name) in [("http://h/chat?a=b", "/chat?a=b"), ("HTTPS://h:1", "/"), ("http://h?a=/b", "/?a=/b")] {
            assert_eq!(parsed(&REQUEST.replace("/chat?a=b", target)).target, name);
        }
    }

    #[test]
    fn what_is_not_a_get_request_is_refused() {
        let table: [(&[u8], &str); 15] = [
            (b"\x16\x03\x01\x02\0", "request: \"\\x16\\x03\\x01\\x02\\x00\"; is the client using TLS (wss://)?"),
            (b"\r\n", "this is not an HTTP/1.1 request: \"\\r\\n\""),
            (b" GET", "this is not an HTTP/1.1 request: \" GET\""),
            (b"{\"json\": 1}", "this is not an HTTP/1.1 request: \"{\\\"json\\\": 1}\""),
            (b"POST / HTTP/1.1\r\n\r\n", "a request with method \"POST\"; wanted GET"),
            (b"get / HTTP/1.1\r\n\r\n", "a request with method \"get\"; wanted GET"),
            (b"GET / HTTP/1.0\r\n\r\n", "a request with \"HTTP/1.0\"; wanted HTTP/1.1"),
            (b"PRI * HTTP/2.0\r\n\r\n", "a request with method \"PRI\"; wanted GET"),
            (b"GET /\r\n\r\n", "a request line that is not method, target and version"),
            (b"GET /a b HTTP/1.1\r\n\r\n", "a request line that is not method, target and version"),
            (b"GET  HTTP/1.1\r\n\r\n", "a request for \"\", which is no path and no http URI"),
            (b"GET ?a=/b HTTP/1.1\r\n\r\n", "a request for \"?a=/b\", which is no path and no http URI"),
            (b"GET ws://h/ HTTP/1.1\r\n\r\n", "a request for \"ws://h/\", which is no path and no http URI"),
            (b"GET http:/// HTTP/1.1\r\n\r\n", "a request for \"http:///\", which is no path and no http URI"),
            (b"GET /\xff HTTP/1.1\r\n\r\n", "a request for a target that is not printable ASCII"),
        ];
        for (input, expected) in table {
            let error = read(input, input.len(), &Limits::default()).unwrap_err();
            assert!(matches!(error, Error::PeerViolated(_)) && error.to_string().ends_with(expected), "{error}");
            assert!(read(input, 1, &Limits::default()).is_err(), "{expected}");
        }
    }

    #[test]
    fn the_head_is_bounded() {
        let table = [
            (Limits { max_head: 50, ..Limits::default() }, "bytes", 50),
            (Limits { max_head_lines: 4, ..Limits::default() }, "lines", 4),
        ];
        for (limits, what, limit) in table {
            for size in 1..REQUEST.len() {
                let error = read(REQUEST.as_bytes(), size, &limits).unwrap_err();
                assert_eq!(error, Limit::Head { what, limit }.into());
            }
        }
    }

    #[test]
    fn an_upgrade_request_is_checked() {
        let bad = |text: &str| Err(violation(text.to_owned()));
        let table = [
            ("Host: host", "HOST:", Ok(())),
            ("websocket", "WEBSOCKET", Ok(())),
            ("Host: host\r\n", "", bad("a request without header Host")),
            ("Host: host", "Host: a\r\nHost: a", bad("a request with several headers Host; wanted one")),
            ("Upgrade: ", "X: ", bad("a request without header Upgrade; wanted Upgrade: websocket")),
            (": websocket", ": h2c", bad("a request with Upgrade: \"h2c\"; wanted Upgrade: websocket")),
            (", Upgrade", "", bad("a request with Connection: \"keep-alive\"; wanted Connection: Upgrade")),
            ("-Version: 13", "-V: 13", bad("a request without header Sec-WebSocket-Version")),
            ("-Version: 13", "-Version: 8", Err(Incompatible::Version("8".to_owned()).into())),
            ("-Version: 13", "-Version: 13, 8", Err(Incompatible::Version("13, 8".to_owned()).into())),
            ("-Key", "-Kay", bad("a request without header Sec-WebSocket-Key")),
            (
                "dGhlIHNhbXBsZSBub25jZQ==",
                "AAAA",
                bad("a request with Sec-WebSocket-Key: \"AAAA\"; wanted 16 bytes in base64"),
            ),
            (
                "dGhlIHNhbXBsZSBub25jZQ==",
                "dGhlIHNhbXBsZSBub25jZQ",
                bad("a request with Sec-WebSocket-Key: \"dGhlIHNhbXBsZSBub25jZQ\"; wanted 16 bytes in base64"),
            ),
        ];
        for (from, to, expected) in table {
            let input = REQUEST.replacen(from, to, 1);
            let outcome =
                read(input.as_bytes(), input.len(), &Limits::default()).map(|(request, _)| assert!(request.is_some()));
            assert_eq!(outcome, expected, "{from:?} -> {to:?}");
        }
    }

    #[test]
    fn answers_are_what_a_client_reads() {
        let limits = Limits::default();
        let uri = Uri::parse("ws://host/chat").unwrap();
        let parts = RequestParts { subprotocols: &["mqtt".to_owned()], ..RequestParts::new(&uri, [7; 16]) };
        let header = |name: &str, value: &str| (name.to_owned(), value.to_owned());

        let mut client = ClientHandshake::new(&parts).unwrap();
        let (used, request) = RequestReader::default().receive(client.request_bytes(), &limits).unwrap();
        let request = request.unwrap();
        assert_eq!((used, &request), (client.request_bytes().len(), client.request()));
        let answer = accept(&request, Some("mqtt"), &[header("X", "1")]).unwrap();
        let Ok((used, Some(Outcome::Accepted(response, negotiated)))) = client.receive(&answer, &limits) else {
            panic!()
        };
        assert_eq!((used, response.headers.get("x")), (answer.len(), Some("1")));
        assert_eq!(negotiated.subprotocol.as_deref(), Some("mqtt"));

        let mut client = ClientHandshake::new(&parts).unwrap();
        let answer = refuse(503, "Later", &[header("Retry-After", "3")], b"busy").unwrap();
        let expected = "HTTP/1.1 503 Later\r\nRetry-After: 3\r\nContent-Length: 4\r\nConnection: close\r\n\r\nbusy";
        assert_eq!(String::from_utf8_lossy(&answer), expected);
        let Ok((_, Some(Outcome::Refused(error, Some(response))))) = client.receive(&answer, &limits) else { panic!() };
        assert_eq!((error, response.body.as_slice()), (Incompatible::Status(503).into(), &b"busy"[..]));

        let chunked = [header("transfer-encoding", "chunked"), header("CONNECTION", "keep-alive")];
        let answer = refuse(200, "", &chunked, b"2\r\nhi\r\n0\r\n\r\n").unwrap();
        assert_eq!(answer.split(|&byte| byte == b':').count(), 3);
        let mut client = ClientHandshake::new(&parts).unwrap();
        let Ok((_, Some(Outcome::Refused(_, Some(response))))) = client.receive(&answer, &limits) else { panic!() };
        assert_eq!((response.reason.as_str(), response.body.as_slice()), ("", &b"hi"[..]));

        assert!(matches!(accept(&request, Some("a\r\nb"), &[]), Err(Misuse::Header(_))));
        assert!(matches!(refuse(403, "a\nb", &[], b""), Err(Misuse::Header(_))));
        assert!(matches!(refuse(403, "", &[header("a b", "")], b""), Err(Misuse::Header(_))));
    }
}
