//! The opening handshake (RFC 6455 §4), both roles, as bytes.
//!
//! A client's is a [`ClientHandshake`]: it owns the request and reads the answer. A server reads with a
//! [`RequestReader`] and answers with the bytes of [`accept`] or [`refuse`].

mod client;
mod head;
mod headers;
mod request;
mod response;
mod server;

pub use client::{ClientHandshake, Negotiated, Outcome};
pub use headers::Headers;
pub(crate) use headers::quoted_elements;
pub use request::{Request, RequestParts};
pub use response::{Response, ResponseReader};
pub use server::{RequestReader, accept, refuse};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use sha1::{Digest as _, Sha1};

use crate::error::{Error, Flaw, Violation};
use head::shown;

/// The `Sec-WebSocket-Accept` that answers this `Sec-WebSocket-Key` (§4.2.2).
pub fn accept_for(key: &str) -> String {
    BASE64.encode(Sha1::new().chain_update(key).chain_update(GUID).finalize())
}

/// Checks what requests and responses have in common (RFC 6455 §4.1, §4.2.1).
fn check_upgrade(headers: &Headers, whose: &str) -> Result<(), Error> {
    for (name, token) in [("Upgrade", "websocket"), ("Connection", "Upgrade")] {
        if headers.list(name).any(|element| element.eq_ignore_ascii_case(token)) {
            continue;
        }
        let found = headers.get_all(name).collect::<Vec<_>>();
        return Err(violation(if found.is_empty() {
            format!("a {whose} without header {name}; wanted {name}: {token}")
        } else {
            format!("a {whose} with {name}: {}; wanted {name}: {token}", shown(found.join(", ").as_bytes()))
        }));
    }
    Ok(())
}

fn violation(text: String) -> Error {
    flawed(Flaw::Other, text)
}

fn flawed(flaw: Flaw, text: String) -> Error {
    Violation::Handshake(flaw, text).into()
}

/// RFC 9110 §5.6.2.
fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(is_token_byte)
}

fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// §1.3: a string that no network endpoint that does not know WebSocket would ever use.
const GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_accept_value_is_the_one_of_rfc_6455_section_1_3() {
        assert_eq!(accept_for("dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }
}
