//! Header lines: an ordered multimap, and the grammar of their values.

use std::fmt;

/// Header lines, in order; a name may come several times. Names are found whatever their case. `Debug` masks values
/// that are secrets.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Headers(Vec<(String, String)>);

impl Headers {
    /// The value of the first line of this name.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.get_all(name).next()
    }

    /// The value of each line of this name.
    pub fn get_all<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a str> {
        self.iter().filter(move |(other, _)| other.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    /// The elements of a comma-separated list that may be spread over several lines (RFC 9110 §5.3).
    pub fn list<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a str> {
        self.get_all(name).flat_map(elements)
    }

    /// Each line: name and value.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// Adds a line.
    pub fn push(&mut self, name: impl Into<String>, value: impl Into<String>) {
        self.0.push((name.into(), value.into()));
    }

    /// The lines of these names first, in this order; behind them the others as they are.
    pub(super) fn in_order(mut self, names: &[String]) -> Self {
        let place = |name: &str| names.iter().position(|other| other.eq_ignore_ascii_case(name));
        self.0.sort_by_key(|(name, _)| place(name).unwrap_or(names.len()));
        self
    }

    /// Number of lines.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is no line.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromIterator<(String, String)> for Headers {
    fn from_iter<I: IntoIterator<Item = (String, String)>>(lines: I) -> Self {
        Self(lines.into_iter().collect())
    }
}

impl fmt::Debug for Headers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let masked = |name: &str| SECRET.iter().any(|secret| secret.eq_ignore_ascii_case(name));
        f.debug_map()
            .entries(self.iter().map(|(name, value)| (name, if masked(name) { "***" } else { value })))
            .finish()
    }
}

/// How a reason phrase or a header value is text (RFC 9110 §5.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Charset {
    /// UTF-8, or ISO 8859-1 where it is none.
    #[default]
    Utf8,
    /// ISO 8859-1: a character a byte, whatever they mean.
    Latin1,
}

impl Charset {
    /// Bytes as text.
    pub(super) fn text(self, bytes: &[u8]) -> String {
        match simdutf8::basic::from_utf8(bytes) {
            Ok(text) if self == Self::Utf8 || text.is_ascii() => text.to_owned(),
            _ => bytes.iter().copied().map(char::from).collect(),
        }
    }
}

/// The elements of a comma-separated list (RFC 9110 §5.6.1); commas inside quoted strings separate nothing.
pub(super) fn elements(list: &str) -> impl Iterator<Item = &str> {
    quoted_elements(list, ',')
}

/// The same with another separator, such as that of an extension's parameters (RFC 6455 §9.1).
pub(crate) fn quoted_elements(list: &str, separator: char) -> impl Iterator<Item = &str> {
    let (mut quoted, mut escaped) = (false, false);
    list.split(move |c| {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = quoted,
            '"' => quoted = !quoted,
            _ => return c == separator && !quoted,
        }
        false
    })
    .map(|element| element.trim_matches([' ', '\t']))
    .filter(|element| !element.is_empty())
}

/// The name of an extension: what stands before its parameters (RFC 6455 §9.1).
pub(super) fn extension_name(extension: &str) -> &str {
    extension.split(';').next().unwrap_or_default().trim_matches([' ', '\t'])
}

/// Headers whose values are not to be shown.
const SECRET: [&str; 4] = ["Authorization", "Proxy-Authorization", "Cookie", "Set-Cookie"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_whatever_their_case() {
        let lines = [("Via", "a"), ("X", "1"), ("VIA", "b, c")];
        let headers: Headers = lines.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect();
        assert_eq!(headers.get("via"), Some("a"));
        assert_eq!(headers.get("none"), None);
        assert_eq!(headers.get_all("Via").collect::<Vec<_>>(), ["a", "b, c"]);
        assert_eq!(headers.list("via").collect::<Vec<_>>(), ["a", "b", "c"]);
        assert_eq!((headers.len(), headers.iter().len(), headers.is_empty()), (3, 3, false));
    }

    #[test]
    fn lists_come_apart_at_commas_outside_quotes() {
        let table: [(&str, &[&str]); 7] = [
            ("", &[]),
            (" , ,\t", &[]),
            ("a", &["a"]),
            ("keep-alive, Upgrade", &["keep-alive", "Upgrade"]),
            ("a;x=\"1,2\", b", &["a;x=\"1,2\"", "b"]),
            (r#"a;x="\",", b"#, &[r#"a;x="\",""#, "b"]),
            ("a;x=\"open, b", &["a;x=\"open, b"]),
        ];
        for (list, expected) in table {
            assert_eq!(elements(list).collect::<Vec<_>>(), expected, "{list}");
        }
        assert_eq!(extension_name("permessage-deflate ; a=1"), "permessage-deflate");
    }

    #[test]
    fn bytes_are_utf_8_or_latin_1() {
        assert_eq!(Charset::Utf8.text("é€".as_bytes()), "é€");
        assert_eq!(Charset::Utf8.text(b"caf\xe9"), "café");
        assert_eq!(Charset::Latin1.text(b"caf\xe9"), "café");
        assert_eq!(Charset::Latin1.text("é".as_bytes()), "Ã©");
        assert_eq!(Charset::Latin1.text(b"plain"), "plain");
    }
}
