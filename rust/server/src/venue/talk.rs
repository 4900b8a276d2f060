//! What a venue's clients say, and what it answers: JSON, one object a message.
//!
//! | request | answer |
//! | --- | --- |
//! | `{"type":"auth","token":T}` | `{"type":"authenticated"}`, or an error and a Close |
//! | `{"type":"subscribe","channel":C}` | `{"type":"subscribed","channel":C}` |
//! | `{"type":"unsubscribe","channel":C}` | `{"type":"unsubscribed","channel":C}` |
//! | `{"type":"snapshot","channel":C}` | what the venue has for C at this moment |
//!
//! What is wrong is answered by `{"type":"error","error":TEXT}`. A request's `"id"` is in its answer.

use serde_json::{Map, Value};

/// A request.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Request {
    Auth(String),
    Subscribe(String),
    Unsubscribe(String),
    Snapshot(String),
    Wrong(&'static str),
}

/// Reads a request, and its id.
pub(super) fn parse(payload: &[u8]) -> (Request, Option<Value>) {
    let Ok(Value::Object(mut fields)) = serde_json::from_slice(payload) else {
        return (Request::Wrong("not a JSON object"), None);
    };
    let id = fields.remove("id");
    let mut text = |name: &str| match fields.remove(name) {
        Some(Value::String(text)) => Some(text),
        _ => None,
    };
    let kind = text("type");
    let request = match kind.as_deref() {
        Some("auth") => text("token").map(Request::Auth).ok_or("no token"),
        Some("subscribe") => text("channel").map(Request::Subscribe).ok_or("no channel"),
        Some("unsubscribe") => text("channel").map(Request::Unsubscribe).ok_or("no channel"),
        Some("snapshot") => text("channel").map(Request::Snapshot).ok_or("no channel"),
        Some(_) => Err("unknown type"),
        None => Err("no type"),
    };
    (request.unwrap_or_else(Request::Wrong), id)
}

/// An answer of these fields.
pub(super) fn answer(fields: &[(&str, &str)], id: Option<Value>) -> Vec<u8> {
    let mut object: Map<String, Value> =
        fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).into())).collect();
    object.extend(id.map(|id| ("id".to_owned(), id)));
    Value::Object(object).to_string().into_bytes()
}

/// A JSON object with an id put in front.
pub(super) fn with_id(object: &[u8], id: Option<Value>) -> Vec<u8> {
    let Some(id) = id else { return object.to_vec() };
    let rest = object.trim_ascii_start().strip_prefix(b"{").unwrap_or(object).trim_ascii_start();
    let comma = if rest.starts_with(b"}") { "" } else { "," };
    [format!("{{\"id\":{id}{comma}").as_bytes(), rest].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_read() {
        let table = [
            (r#"{"type":"auth","token":"t"}"#, Request::Auth("t".into())),
            (r#"{"channel":"C","id":7,"type":"subscribe"}"#, Request::Subscribe("C".into())),
            (r#"{"type":"unsubscribe","channel":"C"}"#, Request::Unsubscribe("C".into())),
            (r#"{"type":"snapshot","channel":"C"}"#, Request::Snapshot("C".into())),
            (r#"{"type":"snapshot","channel":3}"#, Request::Wrong("no channel")),
            (r#"{"type":"auth"}"#, Request::Wrong("no token")),
            (r#"{"type":"dance"}"#, Request::Wrong("unknown type")),
            ("{}", Request::Wrong("no type")),
            ("[1]", Request::Wrong("not a JSON object")),
            ("\u{fffd}", Request::Wrong("not a JSON object")),
        ];
        for (text, expected) in table {
            assert_eq!(parse(text.as_bytes()).0, expected, "{text}");
        }
        assert_eq!(parse(br#"{"id":{"a":1}}"#).1.unwrap().to_string(), r#"{"a":1}"#);
    }

    #[test]
    fn answers_carry_the_id_of_their_request() {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        assert_eq!(text(answer(&[("type", "a\"")], None)), r#"{"type":"a\""}"#);
        assert_eq!(text(answer(&[("type", "x")], Some(3.into()))), r#"{"id":3,"type":"x"}"#);
        assert_eq!(text(with_id(br#" { "a": 1}"#, Some("q".into()))), r#"{"id":"q","a": 1}"#);
        assert_eq!(text(with_id(b"{ }", Some(1.into()))), r#"{"id":1}"#);
        assert_eq!(text(with_id(br#"{"a":1}"#, None)), r#"{"a":1}"#);
    }
}
