//! Header fields.

/// Header fields: order and duplicates are kept; names are compared without case. Values that are not UTF-8 are read as
/// ISO-8859-1 (RFC 7230 §3.2.4).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Headers(Vec<(String, String)>);

impl Headers {
    /// Appends a field.
    pub fn push(&mut self, name: impl Into<String>, value: impl Into<String>) {
        self.0.push((name.into(), value.into()));
    }

    /// The first value of `name`.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// All values of `name`, in order.
    pub fn get_all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// All fields, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// How many fields there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a field of this name has this token in its comma-separated list, compared without case.
    pub fn has_token(&self, name: &str, token: &str) -> bool {
        self.get_all(name).flat_map(|value| value.split(',')).any(|item| item.trim().eq_ignore_ascii_case(token))
    }

    pub(super) fn from_raw(fields: &[httparse::Header<'_>]) -> Self {
        let text = |bytes: &[u8]| match std::str::from_utf8(bytes) {
            Ok(text) => text.to_owned(),
            Err(_) => bytes.iter().map(|&byte| char::from(byte)).collect(),
        };
        Self(fields.iter().map(|field| (field.name.to_owned(), text(field.value))).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_no_case_and_lists_span_fields() {
        let mut headers = Headers::default();
        headers.push("Connection", "keep-alive, Upgrade");
        headers.push("X", "1");
        headers.push("x", "2");
        assert_eq!(headers.get("X"), Some("1"));
        assert_eq!(headers.get_all("x").collect::<Vec<_>>(), ["1", "2"]);
        assert!(headers.has_token("connection", "upgrade"));
        assert!(!headers.has_token("connection", "up"));
        assert_eq!(headers.len(), 3);
    }

    #[test]
    fn values_that_are_not_utf_8_are_latin_1() {
        let headers = Headers::from_raw(&[httparse::Header { name: "S", value: b"caf\xe9" }]);
        assert_eq!(headers.get("s"), Some("café"));
    }
}
