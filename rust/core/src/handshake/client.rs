//! The client's side: its request, and what it accepts for an answer (RFC 6455 §4.1).

use super::head::shown;
use super::headers::{elements, extension_name};
use super::{Headers, Request, RequestParts, Response, ResponseReader, check_upgrade, flawed};
use crate::error::{Error, Flaw, Incompatible, Misuse};
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
    /// [`Misuse`], naming the header, subprotocol or extension that cannot be sent.
    pub fn new(parts: &RequestParts<'_>) -> Result<Self, Misuse> {
        let (request, expected) = parts.build()?;
        let (bytes, reader) = if parts.latin_1 {
            (request.to_latin_1()?, ResponseReader::latin_1())
        } else {
            (request.to_bytes(), ResponseReader::default())
        };
        Ok(Self { request, bytes, expected, reader })
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

/// What a 101 has to say.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Expected {
    /// The value of `Sec-WebSocket-Accept`.
    pub(super) accept: String,
    /// The subprotocols asked for.
    pub(super) subprotocols: Vec<String>,
    /// The names of the extensions offered.
    pub(super) extensions: Vec<String>,
    /// Whether others may be chosen.
    pub(super) any_extension: bool,
}

/// What a 101 settled.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Negotiated {
    /// The subprotocol chosen; none if the server wants none, whatever was asked for.
    pub subprotocol: Option<String>,
    /// The extensions chosen, in order, each with its parameters as on the wire. Their names were offered, unless any may
    /// be chosen; whether the parameters will do is for the extension to say.
    pub extensions: Vec<String>,
}

/// Checks a 101 (§4.1, the list at its end).
///
/// # Errors
/// [`Violation::Handshake`], [`Incompatible::Subprotocol`] or [`Incompatible::Extension`].
fn check_response(response: &Response, expected: &Expected) -> Result<Negotiated, Error> {
    let headers = &response.headers;
    if response.minor_version == 0 {
        return Err(flawed(Flaw::Version, "a 101 with HTTP/1.0; wanted HTTP/1.1".to_owned()));
    }
    check_upgrade(headers, "101")?;
    let wanted = &expected.accept;
    let bad_accept = |text| flawed(Flaw::Accept, text);
    match headers.get_all("Sec-WebSocket-Accept").collect::<Vec<_>>()[..] {
        [] => return Err(bad_accept(format!("a 101 without header Sec-WebSocket-Accept; wanted {wanted}"))),
        [accept] if accept == wanted => {}
        [accept] => {
            let found = shown(accept.as_bytes());
            return Err(bad_accept(format!("a 101 with Sec-WebSocket-Accept: {found}; wanted {wanted}")));
        }
        [..] => return Err(bad_accept("a 101 with several headers Sec-WebSocket-Accept; wanted one".to_owned())),
    }
    Ok(Negotiated {
        subprotocol: chosen_subprotocol(headers, &expected.subprotocols)?,
        extensions: chosen_extensions(headers, expected)?,
    })
}

fn chosen_subprotocol(headers: &Headers, asked: &[String]) -> Result<Option<String>, Error> {
    match headers.get_all("Sec-WebSocket-Protocol").collect::<Vec<_>>()[..] {
        [] => Ok(None),
        [chosen] if asked.iter().any(|subprotocol| subprotocol == chosen) => Ok(Some(chosen.to_owned())),
        [chosen] if elements(chosen).count() < 2 => Err(Incompatible::Subprotocol(chosen.to_owned()).into()),
        ref chosen => {
            let found = shown(chosen.join(", ").as_bytes());
            let text = format!("a 101 with Sec-WebSocket-Protocol: {found}; wanted one subprotocol at most");
            Err(flawed(Flaw::Subprotocol, text))
        }
    }
}

fn chosen_extensions(headers: &Headers, expected: &Expected) -> Result<Vec<String>, Error> {
    let mut chosen = Vec::new();
    for extension in headers.list("Sec-WebSocket-Extensions") {
        let (name, offered) = (extension_name(extension), &expected.extensions);
        if !expected.any_extension && !offered.iter().any(|offer| offer == name) {
            let asked = if offered.is_empty() { "none".to_owned() } else { offered.join(", ") };
            let found = shown(extension.as_bytes());
            let text = format!("the server chose extension {found}, which was not offered; offered: {asked}");
            return Err(Incompatible::Extension(text).into());
        }
        chosen.push(extension.to_owned());
    }
    Ok(chosen)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::handshake::RequestReader;
    use crate::uri::Uri;

    fn handshake() -> ClientHandshake {
        let uri = Uri::parse("ws://host/chat").unwrap();
        // The key of RFC 6455 §1.3.
        ClientHandshake::new(&RequestParts::new(&uri, *b"the sample nonce")).unwrap()
    }

    const CHUNKED: &str = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";

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
    fn bytes_of_headers_are_characters_where_that_is_wanted() {
        let uri = Uri::parse("ws://host/").unwrap();
        let headers = [("X".to_owned(), "caf\u{e9} \u{c3}\u{a0}".to_owned())];
        let parts = RequestParts { headers: &headers, latin_1: true, ..RequestParts::new(&uri, *b"the sample nonce") };
        let mut client = ClientHandshake::new(&parts).unwrap();
        assert!(client.request_bytes().ends_with(b"\r\nX: caf\xe9 \xc3\xa0\r\n\r\n"));
        let answer = b"HTTP/1.1 403 d\xe9j\xc3\xa0\r\nY: \xc3\xa0\r\nZ: \xe9\r\nContent-Length: 0\r\n\r\n";
        let Ok((_, Some(Outcome::Refused(_, Some(refusal))))) = client.receive(answer, &Limits::default()) else {
            panic!("not refused")
        };
        assert_eq!(refusal.reason, "d\u{e9}j\u{c3}\u{a0}");
        assert_eq!(refusal.headers.get("Y"), Some("\u{c3}\u{a0}"));
        assert_eq!(refusal.headers.get("Z"), Some("\u{e9}"));
        let origin = RequestParts { origin: Some("\u{20ac}"), ..parts };
        let refused = ClientHandshake::new(&origin).err().map(|misuse| misuse.to_string());
        assert!(refused.is_some_and(|text| text.contains("the value of header Origin holds a character")));
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

    fn whole(text: &str) -> Response {
        ResponseReader::default().receive(text.as_bytes(), &Limits::default()).unwrap().1.unwrap()
    }

    fn strings(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|&text| text.to_owned()).collect()
    }

    #[test]
    fn a_101_is_checked() {
        // Headers, subprotocols asked for, extensions offered, outcome.
        type Case = (String, &'static [&'static str], &'static [&'static str], Result<Negotiated, Error>);
        const UP: &str = "Upgrade: websocket\r\nConnection: Upgrade\r\n";
        const OK: &str = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: right\r\n";
        let fine = |subprotocol: Option<&str>, extensions: &[&str]| {
            Ok(Negotiated { subprotocol: subprotocol.map(str::to_owned), extensions: strings(extensions) })
        };
        let flaw = |text: &str| match text {
            _ if text.contains("-Accept") => Flaw::Accept,
            _ if text.contains("-Protocol") => Flaw::Subprotocol,
            _ => Flaw::Other,
        };
        let bad = |text: &str| Err(flawed(flaw(text), text.to_owned()));
        let not_asked = |name: &str| Err(Incompatible::Subprotocol(name.to_owned()).into());
        let not_offered = |text: &str| Err(Incompatible::Extension(text.to_owned()).into());
        let accept = |line: &str| format!("{UP}Sec-WebSocket-Accept: {line}\r\n");
        let also = |lines: &str| format!("{OK}{lines}\r\n");
        let table: Vec<Case> = vec![
            (OK.to_owned(), &[], &[], fine(None, &[])),
            (OK.to_ascii_uppercase().replace("RIGHT", "right"), &[], &[], fine(None, &[])),
            (OK.replace("Connection: ", "Connection: keep-alive,"), &[], &[], fine(None, &[])),
            (OK.replace("Connection: ", "Connection: keep-alive\r\nconnection: "), &[], &[], fine(None, &[])),
            (OK.replace("websocket", "h2c, WebSocket"), &[], &[], fine(None, &[])),
            (
                OK.replace("Upgrade: websocket\r\n", ""),
                &[],
                &[],
                bad("a 101 without header Upgrade; wanted Upgrade: websocket"),
            ),
            (OK.replace("websocket", "h2c"), &[], &[], bad("a 101 with Upgrade: \"h2c\"; wanted Upgrade: websocket")),
            (
                OK.replace("websocket", "websockets"),
                &[],
                &[],
                bad("a 101 with Upgrade: \"websockets\"; wanted Upgrade: websocket"),
            ),
            (
                OK.replace("Connection: Upgrade\r\n", ""),
                &[],
                &[],
                bad("a 101 without header Connection; wanted Connection: Upgrade"),
            ),
            (
                OK.replace("Connection: Upgrade", "Connection: close\r\nConnection: x"),
                &[],
                &[],
                bad("a 101 with Connection: \"close, x\"; wanted Connection: Upgrade"),
            ),
            (UP.to_owned(), &[], &[], bad("a 101 without header Sec-WebSocket-Accept; wanted right")),
            (accept("wrong"), &[], &[], bad("a 101 with Sec-WebSocket-Accept: \"wrong\"; wanted right")),
            (accept("RIGHT"), &[], &[], bad("a 101 with Sec-WebSocket-Accept: \"RIGHT\"; wanted right")),
            (accept(""), &[], &[], bad("a 101 with Sec-WebSocket-Accept: \"\"; wanted right")),
            (
                accept("right\r\nSec-WebSocket-Accept: right"),
                &[],
                &[],
                bad("a 101 with several headers Sec-WebSocket-Accept; wanted one"),
            ),
            (also("Sec-WebSocket-Protocol: b"), &["a", "b"], &[], fine(Some("b"), &[])),
            (OK.to_owned(), &["a"], &[], fine(None, &[])),
            (also("Sec-WebSocket-Protocol: c"), &["a", "b"], &[], not_asked("c")),
            (also("Sec-WebSocket-Protocol: A"), &["a"], &[], not_asked("A")),
            (also("Sec-WebSocket-Protocol: a"), &[], &[], not_asked("a")),
            (also("Sec-WebSocket-Protocol:"), &["a"], &[], not_asked("")),
            (
                also("Sec-WebSocket-Protocol: a, b"),
                &["a", "b"],
                &[],
                bad("a 101 with Sec-WebSocket-Protocol: \"a, b\"; wanted one subprotocol at most"),
            ),
            (
                also("Sec-WebSocket-Protocol: a\r\nSec-WebSocket-Protocol: a"),
                &["a"],
                &[],
                bad("a 101 with Sec-WebSocket-Protocol: \"a, a\"; wanted one subprotocol at most"),
            ),
            (
                also("Sec-WebSocket-Extensions: x; a=\"1,2\", y\r\nSec-WebSocket-Extensions: x ; b"),
                &[],
                &["y", "x"],
                fine(None, &["x; a=\"1,2\"", "y", "x ; b"]),
            ),
            (also("Sec-WebSocket-Extensions:"), &[], &[], fine(None, &[])),
            (
                also("Sec-WebSocket-Extensions: permessage-deflate; a"),
                &[],
                &[],
                not_offered(
                    "the server chose extension \"permessage-deflate; a\", which was not offered; offered: none",
                ),
            ),
            (
                also("Sec-WebSocket-Extensions: x, z"),
                &[],
                &["x", "y"],
                not_offered("the server chose extension \"z\", which was not offered; offered: x, y"),
            ),
        ];
        for (headers, subprotocols, extensions, expected) in table {
            let response = whole(&format!("HTTP/1.1 101 Yes\r\n{headers}\r\n"));
            let wanted = Expected {
                accept: "right".to_owned(),
                subprotocols: strings(subprotocols),
                extensions: strings(extensions),
                any_extension: false,
            };
            assert_eq!(check_response(&response, &wanted), expected, "{headers}");
        }
        let wanted = Expected { accept: "right".to_owned(), ..Expected::default() };
        let anything = Expected { any_extension: true, ..wanted.clone() };
        let foreign = whole(&format!("HTTP/1.1 101 Yes\r\n{OK}Sec-WebSocket-Extensions: x; a, y\r\n\r\n"));
        assert_eq!(check_response(&foreign, &anything), fine(None, &["x; a", "y"]));
        let old = whole(&format!("HTTP/1.0 101 Yes\r\n{OK}\r\n"));
        assert_eq!(
            check_response(&old, &wanted),
            Err(flawed(Flaw::Version, "a 101 with HTTP/1.0; wanted HTTP/1.1".to_owned()))
        );
    }

    proptest! {
        #[test]
        fn random_answers_never_panic(
            start in prop::sample::select(vec!["", "HTTP/1.1 101", CHUNKED]),
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
