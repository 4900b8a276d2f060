//! WebSocket URIs (RFC 6455 §3).

use std::fmt;

use url::{Host, Url};

use crate::error::Misuse;

/// A `ws://` or `wss://` URI, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Uri {
    /// `wss`: TLS.
    pub secure: bool,
    /// The host in ASCII: a domain (IDNA-encoded) or an address, IPv6 without brackets.
    pub host: String,
    /// The port, given or the scheme's default.
    pub port: u16,
    /// What the request asks for: path and query, percent-encoded.
    pub path_and_query: String,
    /// User and password, percent-decoded.
    pub userinfo: Option<(Vec<u8>, Vec<u8>)>,
    has_query: bool,
}

impl Uri {
    /// Takes a URI apart.
    ///
    /// # Errors
    /// [`Misuse::Uri`], whose text says what is wrong and what to do.
    pub fn parse(text: &str) -> Result<Self, Misuse> {
        let wrong = |why: &str| Err(Misuse::Uri(format!("{}: {why}", shown(text))));
        if text.is_empty() {
            return Err(Misuse::Uri("the URI is empty; it starts with ws:// or wss://".to_owned()));
        }
        if text.chars().any(|c| c.is_whitespace() || c.is_control()) {
            return wrong("a URI has no spaces or control characters; percent-encode them (a space is %20)");
        }
        if text.contains('\\') {
            return wrong("a URI has no backslashes; use / in paths, or %5C");
        }
        let Some((scheme, rest)) = text.split_once("://") else {
            return wrong("a WebSocket URI starts with ws:// or wss://");
        };
        let secure = match scheme.to_ascii_lowercase().as_str() {
            "ws" => false,
            "wss" => true,
            "http" => return wrong("http:// is not a WebSocket URI; use ws://"),
            "https" => return wrong("https:// is not a WebSocket URI; use wss://"),
            _ => return wrong("the scheme must be ws or wss"),
        };
        // The URL standard would skip further slashes.
        if rest.is_empty() || rest.starts_with(['/', '?', '#']) {
            return wrong("the host is missing");
        }
        if rest.contains('#') {
            // 3. Fragment identifiers are meaningless in the context of WebSocket URIs and must not be used.
            return wrong("a WebSocket URI has no fragment (#...); escape a # as %23");
        }
        let url = match Url::parse(text) {
            Ok(url) => url,
            Err(error) => return wrong(&error.to_string()),
        };
        let host = match url.host() {
            Some(Host::Domain(domain)) if !domain.is_empty() => domain.to_owned(),
            Some(Host::Ipv4(address)) => address.to_string(),
            Some(Host::Ipv6(address)) => address.to_string(),
            _ => return wrong("the host is missing"),
        };
        let port = url.port().unwrap_or(if secure { 443 } else { 80 });
        if port == 0 {
            return wrong("port 0 cannot be connected to");
        }
        let path_and_query = match url.query() {
            Some(query) => format!("{}?{query}", url.path()),
            None => url.path().to_owned(),
        };
        let userinfo = (!url.username().is_empty() || url.password().is_some())
            .then(|| (percent_decoded(url.username()), percent_decoded(url.password().unwrap_or_default())));
        Ok(Self { secure, host, port, path_and_query, userinfo, has_query: url.query().is_some() })
    }

    /// The value of the Host header: the port only where it is not the scheme's default (RFC 6455 §4.1).
    pub fn authority(&self) -> String {
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        if self.port == if self.secure { 443 } else { 80 } { host } else { format!("{host}:{}", self.port) }
    }
}

/// For people and logs: userinfo and query are masked.
impl fmt::Display for Uri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path_and_query.split('?').next().unwrap_or_default();
        write!(
            f,
            "{}://{}{}{path}{}",
            if self.secure { "wss" } else { "ws" },
            if self.userinfo.is_some() { "***@" } else { "" },
            self.authority(),
            if self.has_query { "?***" } else { "" },
        )
    }
}

/// A text that is no URI, for an error message: without what may be a secret.
fn shown(text: &str) -> String {
    let text = text.split('?').next().unwrap_or_default();
    let text = match text.split_once("://") {
        Some((scheme, rest)) => {
            let (authority, path) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
            let host = authority.rsplit_once('@').map_or(authority.to_owned(), |(_, host)| format!("***@{host}"));
            format!("{scheme}://{host}{path}")
        }
        None => text.to_owned(),
    };
    let short: String = text.chars().take(MAX_SHOWN).collect();
    format!("{short:?}")
}

fn percent_decoded(text: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let hex = after.get(..2).and_then(|two| std::str::from_utf8(two).ok());
        match hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()).filter(|_| first == b'%') {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[2..];
            }
            None => {
                bytes.push(first);
                rest = after;
            }
        }
    }
    bytes
}

/// Characters of a wrong URI that an error message shows.
const MAX_SHOWN: usize = 200;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn uris_are_taken_apart() {
        // URI, secure, host, port, path and query, Host header.
        let table = [
            ("ws://example.com", false, "example.com", 80, "/", "example.com"),
            ("wss://example.com/feed?a=1&b=2", true, "example.com", 443, "/feed?a=1&b=2", "example.com"),
            ("WSS://EXAMPLE.com:8443/X", true, "example.com", 8443, "/X", "example.com:8443"),
            ("ws://example.com:80/", false, "example.com", 80, "/", "example.com"),
            ("wss://example.com:80/", true, "example.com", 80, "/", "example.com:80"),
            ("ws://127.0.0.1:9001?x", false, "127.0.0.1", 9001, "/?x", "127.0.0.1:9001"),
            ("ws://[::1]:9001/", false, "::1", 9001, "/", "[::1]:9001"),
            ("wss://[2001:DB8::1]/", true, "2001:db8::1", 443, "/", "[2001:db8::1]"),
            ("wss://bücher.example/ä?ö", true, "xn--bcher-kva.example", 443, "/%C3%A4?%C3%B6", "xn--bcher-kva.example"),
            ("ws://h/a%20b/?", false, "h", 80, "/a%20b/?", "h"),
        ];
        for (text, secure, host, port, path, authority) in table {
            let uri = Uri::parse(text).unwrap();
            assert_eq!((uri.secure, uri.host.as_str(), uri.port), (secure, host, port), "{text}");
            assert_eq!((uri.path_and_query.as_str(), uri.authority().as_str()), (path, authority), "{text}");
        }
    }

    #[test]
    fn what_cannot_be_used_is_refused_with_a_reason_and_a_remedy() {
        let table = [
            ("", "starts with ws:// or wss://"),
            ("example.com", "starts with ws:// or wss://"),
            ("http://example.com", "use ws://"),
            ("https://example.com", "use wss://"),
            ("ftp://example.com", "scheme must be ws or wss"),
            ("ws://", "host is missing"),
            ("ws:///path", "host is missing"),
            ("ws://?q", "host is missing"),
            ("ws://:80/", "host"),
            ("ws://h/#frag", "no fragment"),
            ("ws://h:99999/", "port"),
            ("ws://h:x/", "port"),
            ("ws://h:0/", "port 0"),
            ("ws://h/a b", "no spaces"),
            (" ws://h/", "no spaces"),
            ("ws://h/\r\nX: y", "no spaces or control characters"),
            ("ws://h\\path", "no backslashes"),
            ("ws://[::1/", "IPv6"),
            ("ws://ex ample/", "no spaces"),
        ];
        for (text, reason) in table {
            let error = Uri::parse(text).unwrap_err().to_string();
            assert!(error.contains(reason), "{text:?}: {error}");
        }
    }

    #[test]
    fn secrets_are_not_shown() {
        let uri = Uri::parse("wss://user:p%40ss@h/path?token=secret").unwrap();
        assert_eq!(uri.to_string(), "wss://***@h/path?***");
        assert_eq!(uri.userinfo, Some((b"user".to_vec(), b"p@ss".to_vec())));
        let error = Uri::parse("wss://user:pass@h:x/path?token=secret").unwrap_err().to_string();
        assert!(!error.contains("pass") && !error.contains("secret"), "{error}");
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic_and_what_it_gives_can_go_on_a_request_line(text in "\\PC{0,40}", plain: bool) {
            let text = if plain { text } else { format!("ws://{text}") };
            if let Ok(uri) = Uri::parse(&text) {
                prop_assert!(uri.path_and_query.bytes().all(|b| (0x21..0x7f).contains(&b)));
                prop_assert!(uri.authority().bytes().all(|b| (0x21..0x7f).contains(&b)));
            }
        }
    }
}
