//! The embedded peer of fastws: a WebSocket server on its own threads, for tests, benchmarks and the demo.
//!
//! It echoes, floods, paces, replays recorded feeds, and breaks things on purpose; what a connection does is chosen by the
//! path of its request, or by a program of [`Step`]s. It reads with the protocol core in the server's role, and sends what
//! it can without it: frames that were encoded once and for all. It knows nothing of Python.
//!
//! | module | its one decision |
//! | --- | --- |
//! | `server` | what its owner can say and ask |
//! | `config` | what it is told when it starts |
//! | `step` | what a connection can do, and how a fault finds its place in it |
//! | [`path`] | what a path and its query mean |
//! | `shard` | whose turn it is: one poll a thread, bounded turns |
//! | `conn` | one connection's reading and writing |
//! | `program` | what each step does |
//! | `intake` | what becomes of a frame |
//! | `output` | frames that wait to be written |
//! | `source` | frames that are sent by themselves: blast, paced, replay |
//! | `feed` | recorded feeds |
//! | `stream` | TCP, TLS, the drip |
//! | `report` | what was seen |
//! | `venue` | a feed on one clock for everybody, with tokens, subscriptions, and faults on a schedule |

mod alarm;
mod clock;
mod config;
mod conn;
mod feed;
mod intake;
mod output;
pub mod path;
mod program;
mod report;
mod server;
mod shard;
mod shared;
mod source;
mod step;
mod stream;
mod tls;
mod venue;

pub use config::{ServerConfig, TlsSettings};
pub use fastws_core::{Nanos, Opcode};
pub use feed::{Feed, FeedError, FeedMessage, RecordedRequest};
pub use report::{ConnectionReport, RecordedFrame, ServerStats};
pub use server::Server;
pub use step::{Accept, At, Blast, Fault, FaultRule, Outgoing, Paced, Refusal, Replay, Step, Subscribe};
pub use venue::{
    EndedBy, ScheduledFault, Segment, SessionReport, Subscribed, Venue, VenueConfig, VenueFault, VenueReport,
};
