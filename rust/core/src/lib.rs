//! The WebSocket protocol of fastws (RFC 6455): bytes in, events out.
//!
//! Nothing here opens a socket, reads a clock, draws a random number, starts a thread or knows of Python. The caller
//! (a *driver*) owns buffers, time and randomness: it feeds what arrived to [`Connection::receive`], takes what is to be
//! sent from [`Connection::output`], and tells the time as [`Nanos`].
//!
//! | module | its one decision |
//! | --- | --- |
//! | [`connection`] | the machine: input, output, events |
//! | [`config`] | what a connection is told when it is made |
//! | `state` | the only place that assigns the connection state |
//! | [`frame`] | the frame header, read and written |
//! | [`mask`] | masking, at the speed of the machine (the only `unsafe` in this crate) |
//! | `assemble` | fragments become messages |
//! | [`utf8`] | incremental UTF-8 validation |
//! | [`handshake`] | the opening handshake, both roles |
//! | [`close`] | every close code, who may send it, and how a connection ended |
//! | [`limits`] | every limit, its default and its reason |
//! | [`send_queue`] | the ring of bytes to send |
//! | [`keepalive`] | pings, their answers, and the verdict when none comes |
//! | [`filter`] | the slot for wire extensions |
//! | [`deflate`] | permessage-deflate in that slot |
//! | [`scratch`] | memory for what lives no longer than a call |
//! | [`sink`] | where messages go: the contract with the driver |
//! | [`error`] | every error, who is to blame, and its close code |
//! | [`stats`] | counters of one connection |
//! | [`uri`] | ws and wss URIs |
#![deny(unsafe_code)]

mod assemble;
pub mod close;
pub mod config;
pub mod connection;
pub mod deflate;
pub mod error;
pub mod filter;
pub mod frame;
pub mod handshake;
pub mod keepalive;
pub mod limits;
pub mod mask;
pub mod scratch;
pub mod send_queue;
pub mod sink;
mod state;
pub mod stats;
pub mod uri;
pub mod utf8;

pub use close::{Broken, Cause, Close, CloseCode, CloseInfo, Initiator, Place};
pub use config::{Config, Delivery, Role};
pub use connection::Connection;
pub use error::{Error, Flaw, Incompatible, Limit, Misuse, Violation};
pub use frame::Opcode;
pub use limits::Limits;
pub use sink::{Event, Flow, PayloadBuf, Sink, Unit};
pub use state::State;
pub use stats::Stats;

/// A moment or a span on the driver's monotonic clock, in nanoseconds.
pub type Nanos = u64;

/// One second.
pub const SECOND: Nanos = 1_000_000_000;
