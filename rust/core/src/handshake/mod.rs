//! The opening handshake (RFC 6455 §4), both roles.

mod client;
mod head;
mod headers;
mod request;
mod response;
mod server;

pub use client::{ClientHandshake, Negotiated, Outcome};
pub use headers::Headers;
pub use request::{Request, RequestParts};
pub use response::{Response, ResponseReader};
pub use server::{RequestReader, accept, refuse};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha1::{Digest, Sha1};

/// The value of Sec-WebSocket-Accept for this key (§4.2.2).
pub fn accept_for(key: &str) -> String {
    let mut hash = Sha1::new();
    hash.update(key.as_bytes());
    hash.update(b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    STANDARD.encode(hash.finalize())
}

/// RFC 7230 §3.2.6: the characters of methods, header names and subprotocols.
fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_section_1_3() {
        assert_eq!(accept_for("dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }
}
