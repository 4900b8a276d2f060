//! TLS by rustls: its configuration, what is verified and how that is said, and a stream between the driver's buffers.

mod context;
mod identity;
mod notes;
mod stream;
mod verify;
mod words;

pub use context::TlsContext;
pub use stream::TlsStream;
