//! The frame header of RFC 6455 §5.2: what its fields mean, and its two codecs.

mod decode;
mod encode;
mod header;

pub use decode::decode;
pub use encode::{MAX_HEADER, encode, first_byte};
pub use header::{Header, MAX_CONTROL_PAYLOAD, Opcode};
