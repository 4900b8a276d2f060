//! The client's request (RFC 6455 §4.1).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::{Headers, is_token};
use crate::error::Misuse;
use crate::uri::Uri;

/// An upgrade request.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Request {
    /// What it asks for: path and query.
    pub target: String,
    /// Header fields.
    pub headers: Headers,
}

/// What a request is made of.
#[derive(Debug, Clone)]
pub struct RequestParts<'a> {
    /// Where it goes.
    pub uri: &'a Uri,
    /// 16 random bytes for Sec-WebSocket-Key.
    pub nonce: [u8; 16],
    /// The user's header fields, in order. `Host` and `User-Agent` take the place of ours.
    pub headers: &'a [(String, String)],
    /// Subprotocols to offer, the preferred one first.
    pub subprotocols: &'a [String],
    /// Extensions to offer, each with its parameters.
    pub extensions: &'a [String],
    /// Origin header.
    pub origin: Option<&'a str>,
    /// User-Agent header.
    pub user_agent: Option<&'a str>,
}

impl RequestParts<'_> {
    /// Makes the request, and the key that it asks an answer for.
    ///
    /// # Errors
    /// [`Misuse::Header`], [`Misuse::Subprotocol`].
    pub fn build(&self) -> Result<(Request, String), Misuse> {
        for (name, value) in self.headers {
            check_field(name, value)?;
            if let Some((_, instead)) = OWNED.iter().find(|(owned, _)| owned.eq_ignore_ascii_case(name)) {
                return Err(Misuse::Header(format!("header {name} is set by the handshake; {instead}")));
            }
        }
        for (index, name) in self.subprotocols.iter().enumerate() {
            if !is_token(name) {
                return Err(Misuse::Subprotocol(format!(
                    "subprotocol {name:?} is not a token (letters, digits and !#$%&'*+-.^_`|~)"
                )));
            }
            if self.subprotocols[..index].contains(name) {
                return Err(Misuse::Subprotocol(format!("subprotocol {name:?} is offered twice")));
            }
        }
        let users = |name: &str| self.headers.iter().any(|(known, _)| known.eq_ignore_ascii_case(name));
        let key = STANDARD.encode(self.nonce);
        let mut headers = Headers::default();
        if !users("Host") {
            headers.push("Host", self.uri.authority());
        }
        headers.push("Upgrade", "websocket");
        headers.push("Connection", "Upgrade");
        headers.push("Sec-WebSocket-Key", key.clone());
        headers.push("Sec-WebSocket-Version", "13");
        let ours = [
            ("Origin", self.origin.map(str::to_owned)),
            ("Sec-WebSocket-Extensions", join(self.extensions)),
            ("Sec-WebSocket-Protocol", join(self.subprotocols)),
            ("Authorization", self.authorization()),
            ("User-Agent", self.user_agent.map(str::to_owned)),
        ];
        for (name, value) in ours {
            if let Some(value) = value.filter(|_| !users(name)) {
                check_field(name, &value)?;
                headers.push(name, value);
            }
        }
        for (name, value) in self.headers {
            headers.push(name, value);
        }
        Ok((Request { target: self.uri.path_and_query.clone(), headers }, key))
    }

    /// RFC 7617, from the URI's userinfo.
    fn authorization(&self) -> Option<String> {
        let (user, password) = self.uri.userinfo.as_ref()?;
        Some(format!("Basic {}", STANDARD.encode([user, b":".as_slice(), password].concat())))
    }
}

impl Request {
    /// The request as it is sent.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = format!("GET {} HTTP/1.1\r\n", self.target).into_bytes();
        write_fields(&mut bytes, &self.headers);
        bytes
    }
}

/// Writes header fields and the empty line behind them.
pub(super) fn write_fields(bytes: &mut Vec<u8>, headers: &Headers) {
    for (name, value) in headers.iter() {
        bytes.extend_from_slice(name.as_bytes());
        bytes.extend_from_slice(b": ");
        bytes.extend_from_slice(value.as_bytes());
        bytes.extend_from_slice(b"\r\n");
    }
    bytes.extend_from_slice(b"\r\n");
}

/// Refuses what would break the header block (RFC 7230 §3.2).
pub(super) fn check_field(name: &str, value: &str) -> Result<(), Misuse> {
    if !is_token(name) {
        return Err(Misuse::Header(format!(
            "header name {name:?} is not a token (letters, digits and !#$%&'*+-.^_`|~)"
        )));
    }
    // The value may be a secret: it is not shown.
    if value.bytes().any(|byte| matches!(byte, b'\r' | b'\n' | 0)) {
        return Err(Misuse::Header(format!("the value of header {name} has a line break or a NUL character in it")));
    }
    if value.bytes().any(|byte| (byte < 0x20 && byte != b'\t') || byte == 0x7f) {
        return Err(Misuse::Header(format!("the value of header {name} has a control character in it")));
    }
    Ok(())
}

fn join(items: &[String]) -> Option<String> {
    (!items.is_empty()).then(|| items.join(", "))
}

/// Fields that the handshake owns, and what to use instead.
const OWNED: [(&str, &str); 7] = [
    ("Upgrade", "leave it out"),
    ("Connection", "leave it out"),
    ("Sec-WebSocket-Key", "leave it out"),
    ("Sec-WebSocket-Version", "leave it out"),
    ("Sec-WebSocket-Accept", "it is for servers"),
    ("Sec-WebSocket-Protocol", "use subprotocols"),
    ("Sec-WebSocket-Extensions", "use compression or extensions"),
];

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub fn parts(uri: &Uri) -> RequestParts<'_> {
        RequestParts {
            uri,
            nonce: *b"the sample nonce",
            headers: &[],
            subprotocols: &[],
            extensions: &[],
            origin: None,
            user_agent: Some("test/1"),
        }
    }

    fn fields(list: &[(&str, &str)]) -> Vec<(String, String)> {
        list.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn a_plain_request() {
        let uri = Uri::parse("ws://server.example.com/chat?room=1").unwrap();
        let (request, key) = parts(&uri).build().unwrap();
        assert_eq!(key, "dGhlIHNhbXBsZSBub25jZQ==");
        assert_eq!(
            String::from_utf8(request.to_bytes()).unwrap(),
            "GET /chat?room=1 HTTP/1.1\r\nHost: server.example.com\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\nUser-Agent: test/1\r\n\r\n"
        );
    }

    #[test]
    fn everything_in_its_order() {
        let uri = Uri::parse("wss://user:pa%3Ass@[::1]:8443/").unwrap();
        let headers = fields(&[("X-B", "2"), ("X-A", "1"), ("X-B", "3")]);
        let (subprotocols, extensions) = (["a".to_owned(), "b".to_owned()], ["x; y=1".to_owned()]);
        let parts = RequestParts {
            headers: &headers,
            subprotocols: &subprotocols,
            extensions: &extensions,
            origin: Some("https://o"),
            ..parts(&uri)
        };
        let (request, _) = parts.build().unwrap();
        let got: Vec<(&str, &str)> = request.headers.iter().skip(5).collect();
        assert_eq!(
            got,
            [
                ("Origin", "https://o"),
                ("Sec-WebSocket-Extensions", "x; y=1"),
                ("Sec-WebSocket-Protocol", "a, b"),
                ("Authorization", "Basic dXNlcjpwYTpzcw=="),
                ("User-Agent", "test/1"),
                ("X-B", "2"),
                ("X-A", "1"),
                ("X-B", "3"),
            ]
        );
        assert_eq!(request.headers.get("host"), Some("[::1]:8443"));
    }

    #[test]
    fn the_users_fields_take_the_place_of_ours() {
        let uri = Uri::parse("ws://u:p@h/").unwrap();
        let headers = fields(&[("host", "other"), ("USER-AGENT", "me"), ("authorization", "Bearer t")]);
        let (request, _) = RequestParts { headers: &headers, ..parts(&uri) }.build().unwrap();
        for (name, value) in [("Host", "other"), ("User-Agent", "me"), ("Authorization", "Bearer t")] {
            assert_eq!(request.headers.get_all(name).collect::<Vec<_>>(), [value]);
        }
    }

    #[test]
    fn what_would_break_the_request_is_refused_and_named() {
        let uri = Uri::parse("ws://h/").unwrap();
        for (name, value, reason) in [
            ("X", "a\r\nY: b", "line break"),
            ("X", "a\nb", "line break"),
            ("X", "a\0b", "NUL"),
            ("X", "a\x1bb", "control character"),
            ("X Y", "a", "not a token"),
            ("", "a", "not a token"),
            ("X:", "a", "not a token"),
            ("Ü", "a", "not a token"),
            ("upgrade", "h2c", "set by the handshake"),
            ("Sec-WebSocket-Protocol", "a", "use subprotocols"),
        ] {
            let headers = fields(&[(name, value)]);
            let error = RequestParts { headers: &headers, ..parts(&uri) }.build().unwrap_err().to_string();
            assert!(error.contains(reason), "{name}: {error}");
        }
        for (names, reason) in [(vec!["a", "a"], "twice"), (vec!["a b"], "not a token"), (vec![""], "not a token")] {
            let names: Vec<String> = names.into_iter().map(str::to_owned).collect();
            let error = RequestParts { subprotocols: &names, ..parts(&uri) }.build().unwrap_err().to_string();
            assert!(error.contains(reason), "{error}");
        }
        let error = RequestParts { user_agent: Some("a\nb"), ..parts(&uri) }.build().unwrap_err().to_string();
        assert!(error.contains("User-Agent"), "{error}");
    }
}
