//! The client's side as a whole: its request, and what it accepts as an answer (RFC 6455 §4.1).

use super::{Headers, RequestParts, Response, ResponseReader, accept_for};
use crate::error::{Error, Incompatible, Misuse, Violation};
use crate::limits::Limits;

/// An opening handshake under way.
#[derive(Debug)]
pub struct ClientHandshake {
    request: Vec<u8>,
    accept: String,
    subprotocols: Vec<String>,
    offers_extensions: bool,
    reader: ResponseReader,
}

/// What client and server agreed on.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Negotiated {
    /// The subprotocol that the server chose.
    pub subprotocol: Option<String>,
    /// The extensions that the server accepted, each with its parameters, in order.
    pub extensions: Vec<String>,
}

/// How the handshake ended.
#[derive(Debug)]
pub enum Outcome {
    /// The connection is open.
    Accepted(Response, Negotiated),
    /// It is not; the response is there if it could be read.
    Refused(Error, Option<Response>),
}

impl ClientHandshake {
    /// A handshake with this request.
    ///
    /// # Errors
    /// As [`RequestParts::build`].
    pub fn new(parts: &RequestParts<'_>) -> Result<Self, Misuse> {
        let (request, key) = parts.build()?;
        Ok(Self {
            request: request.to_bytes(),
            accept: accept_for(&key),
            subprotocols: parts.subprotocols.to_vec(),
            offers_extensions: request.headers.get("Sec-WebSocket-Extensions").is_some(),
            reader: ResponseReader::default(),
        })
    }

    /// The request as it is sent.
    pub fn request_bytes(&self) -> &[u8] {
        &self.request
    }

    /// Takes in what arrived; returns how much of it was used, and the outcome when there is one.
    pub fn receive(&mut self, input: &[u8], limits: &Limits) -> Result<(usize, Option<Outcome>), Error> {
        let (used, response) = self.reader.receive(input, limits)?;
        Ok((used, response.map(|response| self.judge(response))))
    }

    /// The stream ended; gives a refusal whose body was cut off by that.
    pub fn receive_eof(&mut self) -> Option<Outcome> {
        self.reader.receive_eof().map(|response| self.judge(response))
    }

    fn judge(&self, response: Response) -> Outcome {
        match self.check(&response) {
            Ok(negotiated) => Outcome::Accepted(response, negotiated),
            Err(error) => Outcome::Refused(error, Some(response)),
        }
    }

    fn check(&self, response: &Response) -> Result<Negotiated, Error> {
        // §4.1, the client's requirements on the answer, in their order.
        if response.status != 101 {
            return Err(Incompatible::Status(response.status).into());
        }
        let headers = &response.headers;
        if !headers.has_token("Upgrade", "websocket") {
            return Err(expected(headers, "Upgrade", "websocket"));
        }
        if !headers.has_token("Connection", "Upgrade") {
            return Err(expected(headers, "Connection", "Upgrade"));
        }
        let accepts: Vec<&str> = headers.get_all("Sec-WebSocket-Accept").collect();
        if accepts != [self.accept.as_str()] {
            return Err(expected(headers, "Sec-WebSocket-Accept", &self.accept));
        }
        Ok(Negotiated { subprotocol: self.subprotocol(headers)?, extensions: self.extensions(headers)? })
    }

    fn extensions(&self, headers: &Headers) -> Result<Vec<String>, Error> {
        let accepted: Vec<String> = headers
            .get_all("Sec-WebSocket-Extensions")
            .flat_map(|value| value.split(','))
            .map(|item| item.trim().to_owned())
            .filter(|item| !item.is_empty())
            .collect();
        match accepted.first() {
            Some(first) if !self.offers_extensions => {
                Err(Incompatible::Extension(format!("the server chose extension {first:?}, which was not asked for"))
                    .into())
            }
            _ => Ok(accepted),
        }
    }

    fn subprotocol(&self, headers: &Headers) -> Result<Option<String>, Error> {
        let chosen: Vec<&str> = headers.get_all("Sec-WebSocket-Protocol").collect();
        match chosen[..] {
            [] => Ok(None),
            [one] if self.subprotocols.iter().any(|offered| offered == one.trim()) => Ok(Some(one.trim().to_owned())),
            [one] => Err(Incompatible::Subprotocol(one.to_owned()).into()),
            _ => Err(Violation::Handshake("the server chose more than one subprotocol".to_owned()).into()),
        }
    }
}

fn expected(headers: &Headers, name: &str, wanted: &str) -> Error {
    let found: Vec<&str> = headers.get_all(name).collect();
    let found = if found.is_empty() { "is missing".to_owned() } else { format!("is {:?}", found.join(", ")) };
    Violation::Handshake(format!("the server's answer is no upgrade: header {name} {found}, not {wanted:?}")).into()
}

#[cfg(test)]
mod tests {
    use super::super::request::tests::parts;
    use super::*;
    use crate::uri::Uri;

    const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

    fn answer(lines: &[String]) -> Vec<u8> {
        format!("HTTP/1.1 101 Switching Protocols\r\n{}\r\n\r\n", lines.join("\r\n")).into_bytes()
    }

    fn good() -> Vec<String> {
        vec![
            "Upgrade: WebSocket".to_owned(),
            "Connection: keep-alive, upgrade".to_owned(),
            format!("Sec-WebSocket-Accept: {ACCEPT}"),
        ]
    }

    fn run(bytes: &[u8], subprotocols: &[&str], extensions: &[&str]) -> Result<Negotiated, Error> {
        let uri = Uri::parse("ws://h/").unwrap();
        let owned = |list: &[&str]| list.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>();
        let (subprotocols, extensions) = (owned(subprotocols), owned(extensions));
        let parts = RequestParts { subprotocols: &subprotocols, extensions: &extensions, ..parts(&uri) };
        let mut handshake = ClientHandshake::new(&parts).unwrap();
        match handshake.receive(bytes, &Limits::default())?.1.expect("the answer is complete") {
            Outcome::Accepted(_, negotiated) => Ok(negotiated),
            Outcome::Refused(error, response) => {
                assert!(response.is_some());
                Err(error)
            }
        }
    }

    #[test]
    fn a_good_answer_is_accepted() {
        assert_eq!(run(&answer(&good()), &[], &[]), Ok(Negotiated::default()));
        let mut lines = good();
        lines.push("Sec-WebSocket-Protocol: b".to_owned());
        lines.push("Sec-WebSocket-Extensions: x; y=1, z".to_owned());
        let negotiated = run(&answer(&lines), &["a", "b"], &["x", "z"]).unwrap();
        assert_eq!(negotiated.subprotocol.as_deref(), Some("b"));
        assert_eq!(negotiated.extensions, ["x; y=1", "z"]);
    }

    #[test]
    fn every_check_of_section_4_1() {
        // Line to replace, by what, and what the error says.
        for (at, line, reason) in [
            (0, "Upgrade: h2c", "header Upgrade is \"h2c\""),
            (0, "X: y", "header Upgrade is missing"),
            (1, "Connection: close", "header Connection is \"close\""),
            (1, "X: y", "header Connection is missing"),
            (2, "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xO0=", "Sec-WebSocket-Accept"),
            (2, "X: y", "Sec-WebSocket-Accept is missing"),
        ] {
            let mut lines = good();
            line.clone_into(&mut lines[at]);
            let error = run(&answer(&lines), &[], &[]).unwrap_err();
            assert!(matches!(error, Error::PeerViolated(_)) && error.to_string().contains(reason), "{error}");
        }
        for (line, subprotocols) in [
            (format!("Sec-WebSocket-Accept: {ACCEPT}"), &[][..]),
            ("Sec-WebSocket-Protocol: c".to_owned(), &["a"][..]),
            ("Sec-WebSocket-Protocol: c".to_owned(), &[]),
            ("Sec-WebSocket-Protocol: a\r\nSec-WebSocket-Protocol: b".to_owned(), &["a", "b"]),
            ("Sec-WebSocket-Extensions: permessage-deflate".to_owned(), &[]),
        ] {
            let mut lines = good();
            lines.push(line.clone());
            assert!(run(&answer(&lines), subprotocols, &[]).is_err(), "{line}");
        }
        let refused = b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n";
        assert_eq!(run(refused, &[], &[]), Err(Incompatible::Status(401).into()));
    }
}
