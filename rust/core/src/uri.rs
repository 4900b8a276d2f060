//! The address of a server: ws and wss URIs (RFC 6455 §3), read strictly, shown without their secrets.

use std::fmt;

use url::Host;

use crate::error::Misuse;

/// A ws or wss URI. `Display` and `Debug` mask userinfo and query, which may be secrets; the fields hold them in full.
#[derive(Clone, PartialEq, Eq)]
pub struct Uri {
    /// `wss`: TLS is wanted.
    pub secure: bool,
    /// ASCII: a name encoded by IDNA, an IPv4 address, or an IPv6 address without its brackets.
    pub host: String,
    /// The port, named or by default (80, or 443 where `secure`).
    pub port: u16,
    /// What the request asks for: it begins with `/` and is printable ASCII.
    pub path_and_query: String,
    /// User name and password, percent-decoded.
    pub userinfo: Option<(String, String)>,
}

impl Uri {
    /// Reads a URI. Path and query are sent as they are written, but for characters that no URI may hold, which are
    /// percent-encoded.
    ///
    /// # Errors
    /// [`Misuse::Uri`], with what is wrong and what to do. The text never shows userinfo, path or query.
    pub fn parse(text: &str) -> Result<Self, Misuse> {
        read(text).map_err(|why| Misuse::Uri(format!("bad URI: {why}")))
    }

    /// The port that goes without saying.
    pub fn default_port(&self) -> u16 {
        if self.secure { 443 } else { 80 }
    }

    /// `host` or `host:port`, as the Host header wants it (§4.1): IPv6 in brackets, the default port omitted.
    pub fn authority(&self) -> String {
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        if self.port == self.default_port() { host } else { format!("{host}:{}", self.port) }
    }
}

impl fmt::Display for Uri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.secure { "wss" } else { "ws" };
        let userinfo = if self.userinfo.is_some() { "***@" } else { "" };
        write!(f, "{scheme}://{userinfo}{}{}", self.authority(), without_query(&self.path_and_query))
    }
}

impl fmt::Debug for Uri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Uri({self})")
    }
}

/// A request target with its query masked.
pub(crate) fn without_query(target: &str) -> String {
    match target.split_once('?') {
        Some((path, _)) => format!("{path}?***"),
        None => target.to_owned(),
    }
}

fn read(text: &str) -> Result<Uri, String> {
    refuse_characters(text)?;
    let Some((scheme, rest)) = text.split_once("://") else {
        return Err("there is no \"://\"; write ws://host/path or wss://host/path".to_owned());
    };
    let secure = read_scheme(scheme)?;
    let (authority, path_and_query) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    let (userinfo, host_and_port) = match authority.rsplit_once('@') {
        None => (None, authority),
        Some((userinfo, _)) if userinfo.contains('@') => {
            return Err("there are two \"@\" before the path; write %40 in a user name or password".to_owned());
        }
        Some((userinfo, rest)) => (read_userinfo(userinfo)?, rest),
    };
    let (host, port) = split_port(host_and_port)?;
    let port = match port {
        None if secure => 443,
        None => 80,
        Some(port) => read_port(port)?,
    };
    Ok(Uri { secure, host: read_host(host)?, port, path_and_query: encode(path_and_query), userinfo })
}

/// What browsers' URL parsers strip or rewrite: whoever wrote it meant something else.
fn refuse_characters(text: &str) -> Result<(), String> {
    if text.is_empty() {
        return Err("it is empty; write ws://host/path or wss://host/path".to_owned());
    }
    for (at, c) in text.char_indices() {
        if c.is_whitespace() {
            return Err(format!("whitespace {c:?} at byte {at}; remove it, or write %20 for a space"));
        }
        if c.is_control() {
            return Err(format!("control character {c:?} at byte {at}; remove or percent-encode it"));
        }
        if c == '\\' {
            return Err(format!("a backslash at byte {at}; write / or %5C"));
        }
        if c == '#' {
            // §3: fragment identifiers are meaningless here and must not be used.
            return Err(format!("a fragment (#) at byte {at}, which WebSocket URIs cannot have; write %23 for a #"));
        }
    }
    Ok(())
}

fn read_scheme(scheme: &str) -> Result<bool, String> {
    match scheme.to_ascii_lowercase().as_str() {
        "ws" => Ok(false),
        "wss" => Ok(true),
        "" => Err("the scheme is missing; use ws:// or wss://".to_owned()),
        "http" => Err("the scheme is http; use ws:// or wss:// (http becomes ws)".to_owned()),
        "https" => Err("the scheme is https; use ws:// or wss:// (https becomes wss)".to_owned()),
        other if other.len() <= 32 && other.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b)) => {
            Err(format!("the scheme is {other}; use ws:// or wss://"))
        }
        // Not shown: it may be anything, a password too.
        _ => Err("what stands before \"://\" is not a scheme; use ws:// or wss://".to_owned()),
    }
}

fn read_userinfo(userinfo: &str) -> Result<Option<(String, String)>, String> {
    if userinfo.is_empty() {
        return Ok(None);
    }
    let (user, password) = userinfo.split_once(':').unwrap_or((userinfo, ""));
    let user = decode(user).ok_or("the user name is badly percent-encoded; write % as %25")?;
    let password = decode(password).ok_or("the password is badly percent-encoded; write % as %25")?;
    // RFC 7617 §2: the colon separates the two, and neither may hold control characters.
    if user.contains(':') {
        return Err("the user name holds a colon, which HTTP Basic authentication cannot carry".to_owned());
    }
    if user.chars().chain(password.chars()).any(char::is_control) {
        return Err(
            "user name or password hold a control character, which HTTP Basic authentication forbids".to_owned()
        );
    }
    Ok(Some((user, password)))
}

fn split_port(text: &str) -> Result<(&str, Option<&str>), String> {
    if text.starts_with('[') {
        let Some(end) = text.find(']') else {
            return Err("an IPv6 address without its closing bracket; write [::1]".to_owned());
        };
        let (host, rest) = text.split_at(end + 1);
        return match rest.strip_prefix(':') {
            Some(port) => Ok((host, Some(port))),
            None if rest.is_empty() => Ok((host, None)),
            None => Err("something else than a port follows the IPv6 address; write [::1]:8080".to_owned()),
        };
    }
    match text.split_once(':') {
        None => Ok((text, None)),
        Some((_, port)) if port.contains(':') => {
            Err("more than one colon in host and port; write IPv6 addresses in brackets, as in [::1]:8080".to_owned())
        }
        Some((host, port)) => Ok((host, Some(port))),
    }
}

fn read_port(port: &str) -> Result<u16, String> {
    const WANTED: &str = "write a number from 1 to 65535";
    if port.is_empty() {
        return Err(format!("there is no port after the colon; {WANTED}, or no colon"));
    }
    // Not shown: it is a password's beginning where somebody forgot to encode a slash in it.
    if !port.bytes().all(|b| b.is_ascii_digit()) {
        return Err(format!("the port is not a number; {WANTED}"));
    }
    match port.parse() {
        Ok(port) if port != 0 => Ok(port),
        _ => Err(format!("the port is out of range; {WANTED}")),
    }
}

fn read_host(host: &str) -> Result<String, String> {
    if host.is_empty() {
        return Err("there is no host; write ws://host/path or wss://host/path".to_owned());
    }
    if host.contains('%') {
        return Err("a percent sign in the host; write the name itself, and IPv6 addresses without a zone".to_owned());
    }
    let name = match Host::parse(host) {
        Ok(Host::Ipv6(address)) => return Ok(address.to_string()),
        // The URL standard takes 0x7f.1, 127.1, 0177.0.0.1 and 2130706433 for addresses as well.
        Ok(Host::Ipv4(address)) if address.to_string() == host => return Ok(address.to_string()),
        Ok(Host::Ipv4(address)) => return Err(format!("{host:?} is an odd IPv4 address; write {address}")),
        Ok(Host::Domain(name)) => name,
        Err(why) => return Err(format!("host {host:?}: {why}")),
    };
    // DNS (RFC 1035 §2.3.4): labels of 1 to 63 bytes, 253 in all; one dot may end the name.
    let dotless = name.strip_suffix('.').unwrap_or(&name);
    if dotless.len() > 253 {
        return Err(format!("a host name of {} bytes; DNS has room for 253", dotless.len()));
    }
    match dotless.split('.').find(|label| label.is_empty() || label.len() > 63) {
        None => Ok(name),
        Some("") => Err(format!("host {host:?} has an empty label; remove a dot")),
        Some(label) => Err(format!("host label {label:?} has {} bytes; DNS has room for 63", label.len())),
    }
}

/// Percent-encodes what RFC 3986 allows in neither path nor query. Brackets stay although it forbids them, too: they
/// are common in queries, and servers expect them as they are written.
fn encode(path_and_query: &str) -> String {
    let mut encoded = String::with_capacity(path_and_query.len() + 1);
    if !path_and_query.starts_with('/') {
        encoded.push('/');
    }
    for &byte in path_and_query.as_bytes() {
        if byte.is_ascii_graphic() && !b"\"<>^`{|}".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push('%');
            encoded.push(char::from(HEX[usize::from(byte >> 4)]));
            encoded.push(char::from(HEX[usize::from(byte & 15)]));
        }
    }
    encoded
}

/// Undoes percent-encoding; none where an escape is not two hexadecimal digits or the outcome is not UTF-8.
fn decode(text: &str) -> Option<String> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            decoded.push(byte);
            continue;
        }
        let high = char::from(bytes.next()?).to_digit(16)?;
        let low = char::from(bytes.next()?).to_digit(16)?;
        decoded.push((high << 4 | low) as u8);
    }
    String::from_utf8(decoded).ok()
}

const HEX: &[u8; 16] = b"0123456789ABCDEF";

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(text: &str) -> Uri {
        Uri::parse(text).unwrap_or_else(|e| panic!("{text}: {e}"))
    }

    #[test]
    fn uris_come_apart() {
        let table = [
            ("ws://host", false, "host", 80, "/", "host"),
            ("wss://host", true, "host", 443, "/", "host"),
            ("WSS://HOST/Path", true, "host", 443, "/Path", "host"),
            ("ws://host:443/", false, "host", 443, "/", "host:443"),
            ("wss://host:443/", true, "host", 443, "/", "host"),
            ("wss://host:00443/", true, "host", 443, "/", "host"),
            ("ws://host:65535/a/b", false, "host", 65535, "/a/b", "host:65535"),
            ("ws://host?a=b", false, "host", 80, "/?a=b", "host"),
            ("ws://host/?a=/x@y:z?", false, "host", 80, "/?a=/x@y:z?", "host"),
            ("ws://host//a/../b/./c", false, "host", 80, "//a/../b/./c", "host"),
            ("ws://host/é?ü=\u{20ac}", false, "host", 80, "/%C3%A9?%C3%BC=%E2%82%AC", "host"),
            ("ws://host/%20%zz?q={\"a\":[1]}", false, "host", 80, "/%20%zz?q=%7B%22a%22:[1]%7D", "host"),
            ("ws://[::1]/", false, "::1", 80, "/", "[::1]"),
            ("wss://[2001:DB8::0:1]:8443/x", true, "2001:db8::1", 8443, "/x", "[2001:db8::1]:8443"),
            ("ws://127.0.0.1:8080", false, "127.0.0.1", 8080, "/", "127.0.0.1:8080"),
            ("ws://münchen.example/", false, "xn--mnchen-3ya.example", 80, "/", "xn--mnchen-3ya.example"),
            ("ws://EXAMPLE.com./", false, "example.com.", 80, "/", "example.com."),
            ("ws://my_service:8000/", false, "my_service", 8000, "/", "my_service:8000"),
        ];
        for (text, secure, host, port, path, authority) in table {
            let uri = parse(text);
            assert_eq!((uri.secure, uri.host.as_str(), uri.port), (secure, host, port), "{text}");
            assert_eq!(uri.path_and_query, path, "{text}");
            assert_eq!(uri.authority(), authority, "{text}");
            assert_eq!(uri.userinfo, None, "{text}");
        }
    }

    #[test]
    fn userinfo_is_percent_decoded() {
        let table = [
            ("ws://user:pass@host/", Some(("user", "pass"))),
            ("ws://user@host/", Some(("user", ""))),
            ("ws://:pass@host/", Some(("", "pass"))),
            ("ws://us%40er:p%3Aa%2Fs:s@host/", Some(("us@er", "p:a/s:s"))),
            ("ws://%C3%A9:é@host/", Some(("é", "é"))),
            ("ws://@host/", None),
            ("ws://host/a@b", None),
        ];
        for (text, expected) in table {
            let expected = expected.map(|(user, password)| (user.to_owned(), password.to_owned()));
            assert_eq!(parse(text).userinfo, expected, "{text}");
        }
    }

    #[test]
    fn refusals_name_what_is_wrong_and_what_to_do() {
        let long_label = format!("ws://{}.example/", "a".repeat(64));
        let long_name = format!("ws://{}example/", "abc.".repeat(63));
        let table = [
            ("", "it is empty; write ws://host/path"),
            ("host/path", "there is no \"://\""),
            ("wss:host", "there is no \"://\""),
            ("wss:/host", "there is no \"://\""),
            ("//host/path", "there is no \"://\""),
            ("://host/", "the scheme is missing"),
            ("http://host/", "the scheme is http; use ws:// or wss:// (http becomes ws)"),
            ("https://host/", "the scheme is https; use ws:// or wss:// (https becomes wss)"),
            ("ftp://host/", "the scheme is ftp; use ws:// or wss://"),
            ("user:pass@host://x", "is not a scheme"),
            ("ws://", "there is no host"),
            ("wss:///path", "there is no host"),
            ("ws://:80/", "there is no host"),
            ("ws://user@/", "there is no host"),
            ("ws://?x", "there is no host"),
            ("ws://host/#part", "a fragment (#) at byte 10"),
            ("ws://host/?#", "a fragment (#) at byte 11"),
            (" ws://host/", "whitespace ' ' at byte 0"),
            ("ws://host/ ", "whitespace ' ' at byte 10"),
            ("ws://host/a b", "whitespace ' ' at byte 11"),
            ("ws://ho\tst/", "whitespace '\\t' at byte 7"),
            ("ws://host/\n", "whitespace '\\n' at byte 10"),
            ("ws://host/\u{a0}", "whitespace '\\u{a0}' at byte 10"),
            ("ws://host/\0", "control character '\\0' at byte 10"),
            ("ws://host/\x7f", "control character '\\u{7f}' at byte 10"),
            ("ws:\\\\host/", "a backslash at byte 3"),
            ("ws://host\\path", "a backslash at byte 9"),
            ("ws://host:/", "there is no port after the colon"),
            ("ws://host:port/", "the port is not a number"),
            ("ws://host:+80/", "the port is not a number"),
            ("ws://host:-1/", "the port is not a number"),
            ("ws://host:0/", "the port is out of range; write a number from 1 to 65535"),
            ("ws://host:65536/", "the port is out of range"),
            ("ws://host:99999999999999999999999999/", "the port is out of range"),
            ("ws://::1/", "more than one colon in host and port"),
            ("ws://a:b:c/", "more than one colon in host and port"),
            ("ws://[::1/", "without its closing bracket"),
            ("ws://[::1]x/", "something else than a port follows"),
            ("ws://[::1]:/", "there is no port after the colon"),
            ("ws://[::g]/", "host \"[::g]\""),
            ("ws://[fe80::1%25eth0]/", "IPv6 addresses without a zone"),
            ("ws://ex%61mple/", "a percent sign in the host"),
            ("ws://a@b@host/", "there are two \"@\" before the path"),
            ("ws://us%zzer@host/", "the user name is badly percent-encoded"),
            ("ws://user:%f@host/", "the password is badly percent-encoded"),
            ("ws://user:%ff@host/", "the password is badly percent-encoded"),
            ("ws://us%3Aer:x@host/", "the user name holds a colon"),
            ("ws://user:%0a@host/", "hold a control character"),
            ("ws://127.1/", "is an odd IPv4 address; write 127.0.0.1"),
            ("ws://0x7f.0.0.1/", "is an odd IPv4 address; write 127.0.0.1"),
            ("ws://2130706433/", "is an odd IPv4 address; write 127.0.0.1"),
            ("ws://127.0.0.1./", "is an odd IPv4 address; write 127.0.0.1"),
            ("ws://256.0.0.1/", "host \"256.0.0.1\""),
            ("ws://a..b/", "has an empty label"),
            ("ws://.a/", "has an empty label"),
            ("ws://./", "has an empty label"),
            ("ws://ho<st/", "host \"ho<st\""),
            (long_label.as_str(), "has 64 bytes; DNS has room for 63"),
            (long_name.as_str(), "a host name of 259 bytes"),
        ];
        for (text, expected) in table {
            let message = Uri::parse(text).expect_err(text).to_string();
            assert!(message.starts_with("bad URI: ") && message.contains(expected), "{text:?}: {message}");
        }
    }

    #[test]
    fn secrets_are_shown_by_neither_display_nor_debug_nor_errors() {
        let table = [
            ("wss://user:hunter2@host:1/path?token=hunter2", "wss://***@host:1/path?***"),
            ("ws://host/path", "ws://host/path"),
            ("ws://[::1]:80/?", "ws://[::1]/?***"),
        ];
        for (text, expected) in table {
            assert_eq!(parse(text).to_string(), expected);
            assert_eq!(format!("{:?}", parse(text)), format!("Uri({expected})"));
        }
        for text in ["wss://user:hunter2/x@host/", "user:hunter2@host/", "hunter2@x://h", "ws://u:hunter2%@host/"] {
            let message = Uri::parse(text).expect_err(text).to_string();
            assert!(!message.contains("hunter2"), "{message}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "(wss?://)?\\PC{0,40}") {
            if let Ok(uri) = Uri::parse(&text) {
                prop_assert!(uri.host.is_ascii() && !uri.host.is_empty());
                prop_assert!(uri.path_and_query.starts_with('/'));
                prop_assert!(uri.path_and_query.bytes().all(|b| b.is_ascii_graphic()));
                let scheme = if uri.secure { "wss" } else { "ws" };
                let again = Uri::parse(&format!("{scheme}://{}{}", uri.authority(), uri.path_and_query)).unwrap();
                prop_assert_eq!(again, Uri { userinfo: None, ..uri });
            }
        }
    }
}
