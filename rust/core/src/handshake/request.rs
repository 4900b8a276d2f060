//! The request of the opening handshake (RFC 6455 §4.1), and how a client's is put together.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::client::Expected;
use super::headers::{elements, extension_name};
use super::{Headers, accept_for, is_token};
use crate::error::Misuse;
use crate::uri::{Uri, without_query};

/// An upgrade request. `Debug` masks the query and secret headers.
#[derive(Clone, PartialEq, Eq)]
pub struct Request {
    /// The request target: path and query.
    pub target: String,
    /// All headers.
    pub headers: Headers,
}

impl Request {
    /// The target without its query.
    pub fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or_default()
    }

    /// The subprotocols asked for, the preferred first (§4.1).
    pub fn subprotocols(&self) -> impl Iterator<Item = &str> {
        self.headers.list("Sec-WebSocket-Protocol")
    }

    /// The request as it is sent.
    pub fn to_bytes(&self) -> Vec<u8> {
        head(&format!("GET {} HTTP/1.1", self.target), self.headers.iter())
    }

    /// The same in ISO 8859-1.
    ///
    /// # Errors
    /// [`Misuse::Header`], where a value has a character that this has not.
    pub(super) fn to_latin_1(&self) -> Result<Vec<u8>, Misuse> {
        if let Some((name, _)) = self.headers.iter().find(|(_, value)| value.chars().any(|c| c > MOST_LATIN_1)) {
            return Err(Misuse::Header(format!("the value of header {name} holds a character beyond ISO 8859-1")));
        }
        Ok(String::from_utf8_lossy(&self.to_bytes()).chars().filter_map(|c| u8::try_from(c).ok()).collect())
    }
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let target = without_query(&self.target);
        f.debug_struct("Request").field("target", &target).field("headers", &self.headers).finish()
    }
}

/// What a client's request is made of.
#[derive(Clone)]
pub struct RequestParts<'a> {
    /// Where to. Its userinfo becomes an `Authorization` header.
    pub uri: &'a Uri,
    /// What `Sec-WebSocket-Key` is made of: 16 random bytes, drawn anew for each connection (§4.1).
    pub nonce: [u8; 16],
    /// Headers of the caller: order, case and duplicates are kept. `Host`, `Origin`, `User-Agent` and `Authorization`
    /// take the place of ours. Those that the handshake itself owns are refused.
    pub headers: &'a [(String, String)],
    /// Subprotocols to ask for, the preferred first.
    pub subprotocols: &'a [String],
    /// Extensions to offer, each with its parameters as on the wire (§9.1).
    pub extensions: &'a [String],
    /// The answer may choose any extensions: whoever asked for them judges that.
    pub any_extension: bool,
    /// The `Origin` header.
    pub origin: Option<&'a str>,
    /// The `User-Agent` header.
    pub user_agent: Option<&'a str>,
    /// Header values are ISO 8859-1, those of the answer too: each byte is a character, whatever it means. Otherwise they
    /// are UTF-8, and those of the answer ISO 8859-1 where they are none.
    pub latin_1: bool,
    /// Names of headers that come first, in this order, for servers that know a client by it; behind them the others.
    pub order: &'a [String],
}

impl<'a> RequestParts<'a> {
    /// The plainest request.
    pub fn new(uri: &'a Uri, nonce: [u8; 16]) -> Self {
        Self {
            uri,
            nonce,
            headers: &[],
            subprotocols: &[],
            extensions: &[],
            any_extension: false,
            origin: None,
            user_agent: None,
            latin_1: false,
            order: &[],
        }
    }

    /// The request, and what its answer has to say.
    ///
    /// # Errors
    /// [`Misuse::Header`] or [`Misuse::Subprotocol`]; the text names what cannot be sent, and shows no value.
    pub(super) fn build(&self) -> Result<(Request, Expected), Misuse> {
        for (name, value) in self.headers {
            check_header(name, value)?;
        }
        check_subprotocols(self.subprotocols)?;
        check_extensions(self.extensions)?;
        let mut theirs = self.headers.to_vec();
        let key = BASE64.encode(self.nonce);
        let basic =
            |(user, password): &(String, String)| format!("Basic {}", BASE64.encode(format!("{user}:{password}")));
        let list = |elements: &[String]| (!elements.is_empty()).then(|| elements.join(", "));
        // Browsers put Host first, and so do we; some servers read no further before they choose a virtual host. For the
        // rest, gateways that know clients by the order of their headers shall know this one: it is that of websockets.
        let ours: [(&str, Option<String>); 9] = [
            ("Host", Some(self.uri.authority())),
            ("Authorization", self.uri.userinfo.as_ref().map(basic)),
            ("Origin", self.origin.map(str::to_owned)),
            ("Upgrade", Some("websocket".to_owned())),
            ("Connection", Some("Upgrade".to_owned())),
            ("Sec-WebSocket-Key", Some(key.clone())),
            ("Sec-WebSocket-Version", Some("13".to_owned())),
            ("Sec-WebSocket-Extensions", list(self.extensions)),
            ("Sec-WebSocket-Protocol", list(self.subprotocols)),
        ];
        let mut headers = Headers::default();
        for (name, value) in ours {
            match given_once(&theirs, name)? {
                Some(at) if name == "Host" => {
                    let (name, value) = theirs.remove(at);
                    headers.push(name, value);
                }
                Some(_) => {}
                None => {
                    if let Some(value) = value {
                        check_value(name, &value)?;
                        headers.push(name, value);
                    }
                }
            }
        }
        let agent = given_once(&theirs, "User-Agent")?.map_or(self.user_agent, |_| None);
        for (name, value) in theirs {
            headers.push(name, value);
        }
        if let Some(agent) = agent {
            check_value("User-Agent", agent)?;
            headers.push("User-Agent", agent);
        }
        let expected = Expected {
            accept: accept_for(&key),
            subprotocols: self.subprotocols.to_vec(),
            extensions: self.extensions.iter().map(|offer| extension_name(offer).to_owned()).collect(),
            any_extension: self.any_extension,
        };
        Ok((Request { target: self.uri.path_and_query.clone(), headers: headers.in_order(self.order) }, expected))
    }
}

/// Where the caller's header of this name is, which is one that can stand once only.
fn given_once(theirs: &[(String, String)], name: &str) -> Result<Option<usize>, Misuse> {
    let mut found = theirs.iter().enumerate().filter(|(_, (other, _))| other.eq_ignore_ascii_case(name));
    let (first, second) = (found.next(), found.next());
    if second.is_some() {
        return Err(Misuse::Header(format!("header {name} is given twice; a request has one")));
    }
    Ok(first.map(|(at, _)| at))
}

fn check_header(name: &str, value: &str) -> Result<(), Misuse> {
    check_field(name, value)?;
    if let Some((name, instead)) = OWNED.iter().find(|(owned, _)| owned.eq_ignore_ascii_case(name)) {
        return Err(Misuse::Header(format!("header {name} cannot be given: {instead}")));
    }
    Ok(())
}

/// Refuses what would break a head.
pub(super) fn check_field(name: &str, value: &str) -> Result<(), Misuse> {
    if !is_token(name) {
        let shown = name.escape_debug();
        return Err(Misuse::Header(format!(
            "header name \"{shown}\" is not a token: letters, digits and !#$%&'*+-.^_`|~"
        )));
    }
    check_value(name, value)
}

/// RFC 9110 §5.5: a value may hold neither line breaks, which would begin another header, nor other control characters.
fn check_value(name: &str, value: &str) -> Result<(), Misuse> {
    match value.bytes().position(|byte| byte.is_ascii_control() && byte != b'\t') {
        None => Ok(()),
        Some(at) => {
            let byte = value.as_bytes()[at].escape_ascii();
            Err(Misuse::Header(format!("the value of header {name} holds a control character, {byte}, at byte {at}")))
        }
    }
}

/// RFC 6455 §4.1: tokens, all different.
fn check_subprotocols(subprotocols: &[String]) -> Result<(), Misuse> {
    for (at, subprotocol) in subprotocols.iter().enumerate() {
        let shown = subprotocol.escape_debug();
        if !is_token(subprotocol) {
            return Err(Misuse::Subprotocol(format!(
                "subprotocol \"{shown}\" is not a token: letters, digits and !#$%&'*+-.^_`|~"
            )));
        }
        if subprotocols[..at].contains(subprotocol) {
            return Err(Misuse::Subprotocol(format!("subprotocol \"{shown}\" is given twice")));
        }
    }
    Ok(())
}

/// §9.1: each a token, then parameters, which are the extension's own affair.
fn check_extensions(extensions: &[String]) -> Result<(), Misuse> {
    for extension in extensions {
        if !is_token(extension_name(extension)) || elements(extension).count() != 1 {
            let shown = extension.escape_debug();
            return Err(Misuse::Header(format!("extension \"{shown}\" is not one name with its parameters")));
        }
    }
    Ok(())
}

/// A start line and header lines, as they are sent.
pub(super) fn head<'a>(start: &str, headers: impl IntoIterator<Item = (&'a str, &'a str)>) -> Vec<u8> {
    let mut head = format!("{start}\r\n");
    for (name, value) in headers {
        head.extend([name, ": ", value, "\r\n"]);
    }
    head.push_str("\r\n");
    head.into_bytes()
}

/// The last character of ISO 8859-1.
const MOST_LATIN_1: char = '\u{ff}';

/// Headers that are never the caller's, and why.
const OWNED: [(&str, &str); 9] = [
    ("Connection", "the handshake sends Connection: Upgrade"),
    ("Upgrade", "the handshake sends Upgrade: websocket"),
    ("Sec-WebSocket-Key", "it is drawn anew for each connection"),
    ("Sec-WebSocket-Version", "the version is 13"),
    ("Sec-WebSocket-Accept", "it belongs to the server's response"),
    ("Sec-WebSocket-Extensions", "use the extensions parameter"),
    ("Sec-WebSocket-Protocol", "use the subprotocols parameter"),
    // They would turn the first frames into a body.
    ("Content-Length", "an upgrade request has no body"),
    ("Transfer-Encoding", "an upgrade request has no body"),
];

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn uri(text: &str) -> Uri {
        Uri::parse(text).unwrap()
    }

    fn pairs(headers: &[(&str, &str)]) -> Vec<(String, String)> {
        headers.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect()
    }

    fn strings(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|&text| text.to_owned()).collect()
    }

    fn with_headers(text: &str, headers: &[(&str, &str)]) -> Result<Headers, Misuse> {
        let uri = uri(text);
        let headers = pairs(headers);
        let parts = RequestParts { headers: &headers, ..RequestParts::new(&uri, [0; 16]) };
        Ok(parts.build()?.0.headers)
    }

    #[test]
    fn a_request_has_its_headers_in_order() {
        let uri = uri("wss://user:pä%3Ass@[::1]:8443/chat?room=1");
        let parts = RequestParts {
            headers: &pairs(&[("X-b", "2"), ("x-A", "ü"), ("X-b", "")]),
            subprotocols: &strings(&["mqtt", "stomp"]),
            extensions: &strings(&["permessage-deflate; client_max_window_bits", "x"]),
            origin: Some("https://example.com"),
            user_agent: Some("fastws/1"),
            ..RequestParts::new(&uri, *b"the sample nonce")
        };
        let (request, expected) = parts.build().unwrap();
        assert_eq!(
            String::from_utf8(request.to_bytes()).unwrap(),
            "GET /chat?room=1 HTTP/1.1\r\n\
             Host: [::1]:8443\r\n\
             Authorization: Basic dXNlcjpww6Q6c3M=\r\n\
             Origin: https://example.com\r\n\
             Upgrade: websocket\r\n\
             Connection: Upgrade\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
             Sec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits, x\r\n\
             Sec-WebSocket-Protocol: mqtt, stomp\r\n\
             X-b: 2\r\n\
             x-A: ü\r\n\
             X-b: \r\n\
             User-Agent: fastws/1\r\n\r\n"
        );
        assert_eq!(expected.accept, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        assert_eq!(expected.subprotocols, ["mqtt", "stomp"]);
        assert_eq!(expected.extensions, ["permessage-deflate", "x"]);
        assert_eq!(request.path(), "/chat");
        assert_eq!(request.subprotocols().collect::<Vec<_>>(), ["mqtt", "stomp"]);
    }

    #[test]
    fn headers_of_the_caller_take_the_place_of_ours() {
        let mine = [("A", "1"), ("authorization", "Bearer t"), ("ORIGIN", "o"), ("user-agent", "u"), ("host", "h")];
        let headers = with_headers("ws://user:password@host/", &mine).unwrap();
        let names: Vec<_> = headers.iter().map(|(name, _)| name).collect();
        assert_eq!((names[0], &names[5..]), ("host", &["A", "authorization", "ORIGIN", "user-agent"][..]));
        assert_eq!(headers.get("Authorization"), Some("Bearer t"));
        assert_eq!(headers.get_all("Host").collect::<Vec<_>>(), ["h"]);
    }

    #[test]
    fn headers_have_the_order_that_is_wanted() {
        let uri = uri("ws://host/");
        let parts = RequestParts {
            headers: &pairs(&[("X-b", "2"), ("X-a", "1"), ("host", "h"), ("X-b", "3")]),
            order: &strings(&["Upgrade", "Host", "X-A", "Sec-WebSocket-Protocol"]),
            ..RequestParts::new(&uri, [0; 16])
        };
        let (request, _) = parts.build().unwrap();
        let names: Vec<_> = request.headers.iter().map(|(name, _)| name).collect();
        assert_eq!(names[..4], ["Upgrade", "host", "X-a", "Connection"]);
        assert_eq!(names[6..], ["X-b", "X-b"]);
        assert_eq!(request.headers.get_all("X-b").collect::<Vec<_>>(), ["2", "3"]);
    }

    #[test]
    fn what_cannot_be_sent_is_refused_by_name() {
        let table = [
            ("Sec-WebSocket-Key", "x", "header Sec-WebSocket-Key cannot be given: it is drawn anew"),
            ("sec-websocket-version", "8", "header Sec-WebSocket-Version cannot be given: the version is 13"),
            ("Sec-WebSocket-Accept", "x", "header Sec-WebSocket-Accept cannot be given"),
            ("SEC-WEBSOCKET-PROTOCOL", "x", "Sec-WebSocket-Protocol cannot be given: use the subprotocols parameter"),
            ("Sec-WebSocket-Extensions", "x", "Sec-WebSocket-Extensions cannot be given: use the extensions parameter"),
            ("Upgrade", "websocket", "header Upgrade cannot be given"),
            ("connection", "close", "header Connection cannot be given"),
            ("Content-Length", "5", "header Content-Length cannot be given: an upgrade request has no body"),
            ("Transfer-Encoding", "chunked", "header Transfer-Encoding cannot be given"),
            ("", "x", "header name \"\" is not a token"),
            ("A B", "x", "header name \"A B\" is not a token"),
            ("A:", "x", "header name \"A:\" is not a token"),
            ("A\r\nB", "x", "header name \"A\\r\\nB\" is not a token"),
            ("Ä", "x", "header name \"Ä\" is not a token"),
            ("X-Token", "secret\n", "the value of header X-Token holds a control character, \\n, at byte 6"),
            ("X-Token", "secret\r\nEvil: 1", "holds a control character, \\r, at byte 6"),
            ("X-Token", "\0secret", "holds a control character, \\x00, at byte 0"),
            ("X-Token", "secret\x7f", "holds a control character, \\x7f, at byte 6"),
            ("Host", "a\nb", "the value of header Host holds a control character"),
        ];
        for (name, value, expected) in table {
            let error = with_headers("ws://host/", &[("Fine", "1\t2"), (name, value)]).unwrap_err();
            assert!(matches!(&error, Misuse::Header(text) if text.contains(expected)), "{name:?}: {error}");
            assert!(!error.to_string().contains("secret"), "{error}");
        }
        for name in ["Host", "Origin", "User-Agent", "Authorization"] {
            let error = with_headers("ws://host/", &[(name, "1"), (&name.to_lowercase(), "2")]).unwrap_err();
            assert_eq!(error, Misuse::Header(format!("header {name} is given twice; a request has one")));
        }
    }

    #[test]
    fn our_own_headers_are_checked_too() {
        let uri = uri("ws://host/");
        let table = [
            RequestParts { origin: Some("a\r\nb"), ..RequestParts::new(&uri, [0; 16]) },
            RequestParts { user_agent: Some("a\nb"), ..RequestParts::new(&uri, [0; 16]) },
            RequestParts { extensions: &strings(&["x; a=\"\n\""]), ..RequestParts::new(&uri, [0; 16]) },
        ];
        for parts in table {
            assert!(matches!(parts.build(), Err(Misuse::Header(_))));
        }
        for extension in ["", "; a", "x y", "x, y", ","] {
            let parts = RequestParts { extensions: &strings(&[extension]), ..RequestParts::new(&uri, [0; 16]) };
            let error = parts.build().unwrap_err().to_string();
            assert_eq!(error, format!("extension \"{extension}\" is not one name with its parameters"));
        }
    }

    #[test]
    fn subprotocols_are_tokens_and_all_different() {
        let table: [(&[&str], Option<&str>); 8] = [
            (&[], None),
            (&["v1.json", "v2!x"], None),
            (&["chat", "Chat"], None),
            (&[""], Some("subprotocol \"\" is not a token")),
            (&["a", "b c"], Some("subprotocol \"b c\" is not a token")),
            (&["a,b"], Some("subprotocol \"a,b\" is not a token")),
            (&["a\r\n"], Some("subprotocol \"a\\r\\n\" is not a token")),
            (&["a", "b", "a"], Some("subprotocol \"a\" is given twice")),
        ];
        for (subprotocols, expected) in table {
            let uri = uri("ws://host/");
            let parts = RequestParts { subprotocols: &strings(subprotocols), ..RequestParts::new(&uri, [0; 16]) };
            match (parts.build(), expected) {
                (Ok(_), None) => {}
                (Err(Misuse::Subprotocol(text)), Some(expected)) => assert!(text.starts_with(expected), "{text}"),
                (outcome, _) => panic!("{subprotocols:?}: {outcome:?}"),
            }
        }
    }

    #[test]
    fn debug_shows_no_secrets() {
        let headers = [("Cookie", "hunter2"), ("X", "shown"), ("proxy-authorization", "hunter2")];
        let headers = with_headers("ws://user:hunter2@host/?hunter2", &headers).unwrap();
        let shown = format!("{:?}", Request { target: "/?hunter2".to_owned(), headers });
        assert!(shown.contains("shown") && shown.contains("\"/?***\"") && !shown.contains("hunter2"), "{shown}");
        assert!(!shown.contains(&BASE64.encode("user:hunter2")), "{shown}");
    }

    proptest! {
        #[test]
        fn no_text_smuggles_a_line_into_a_request(
            name in "\\PC{0,8}|[A-Za-z-]{1,8}|.{1,3}",
            value in any::<String>(),
            subprotocol in any::<String>(),
        ) {
            let uri = uri("ws://host/");
            let parts = RequestParts {
                headers: &[(name, value.clone())],
                subprotocols: &[subprotocol],
                user_agent: Some(&value),
                ..RequestParts::new(&uri, [0; 16])
            };
            if let Ok((request, _)) = parts.build() {
                let bytes = request.to_bytes();
                let lines = bytes.split(|&byte| byte == b'\n').count() - 1;
                prop_assert_eq!(lines, request.headers.len() + 2);
            }
        }
    }
}
