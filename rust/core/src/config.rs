//! What a connection is told when it is made.

use crate::Nanos;
use crate::deflate::{Terms, Tuning};
use crate::limits::Limits;

/// Which end of the connection this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Masks what it sends, refuses masked frames.
    Client,
    /// The other way round.
    Server,
}

/// The granularity in which data reaches the sink.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Delivery {
    /// Whole messages.
    #[default]
    Messages,
    /// Whole messages of one frame; of others, each fragment as its frame is complete, in order: text may split inside a
    /// character. A unit without `fin`, and all up to the next with it, are fragments.
    Mixed,
    /// Each frame, control frames too (which are still acted upon).
    Frames,
    /// Each frame as it is on the wire; nothing is acted upon but pings with `auto_pong`, see `connection::raw`.
    Raw,
}

/// The configuration of one connection.
#[derive(Debug, Clone)]
pub struct Config {
    /// Which end.
    pub role: Role,
    /// Granularity of delivery.
    pub delivery: Delivery,
    /// Control frames are delivered between messages, as `Delivery::Frames` does it; they are acted upon nevertheless.
    pub controls: bool,
    /// RSV bits, RSV1 being 4, that the peer may set on data frames; for `Delivery::Frames`. They belong to an extension
    /// that looks at the frames when they were delivered: with any, what text is on the wire is not known, nor checked.
    pub reserved_bits: u8,
    /// Limits on what arrives.
    pub limits: Limits,
    /// Bytes that the send queue may hold.
    pub max_send_bytes: usize,
    /// Messages that the send queue may hold.
    pub max_send_messages: usize,
    /// Answer pings by ourselves.
    pub auto_pong: bool,
    /// Answer a Close frame with its own reason, not with its code alone.
    pub echo_reason: bool,
    /// Ping after this long without one; none: never.
    pub ping_interval: Option<Nanos>,
    /// How long a pong, or any other byte, may take; none: for ever.
    pub ping_timeout: Option<Nanos>,
    /// How long the peer may take to answer our Close and to end the stream; none: for ever.
    pub close_timeout: Option<Nanos>,
    /// Compression: the terms that a client offers, and how it is done.
    pub deflate: Option<(Terms, Tuning)>,
    /// Source of mask keys: four unpredictable bytes a frame (RFC 6455 §5.3).
    pub mask_key: fn() -> [u8; 4],
}

impl Config {
    /// The defaults of `role`; `mask_key` is the driver's.
    pub fn new(role: Role, mask_key: fn() -> [u8; 4]) -> Self {
        Self {
            role,
            delivery: Delivery::Messages,
            controls: false,
            reserved_bits: 0,
            limits: Limits::default(),
            max_send_bytes: MAX_SEND_BYTES,
            max_send_messages: MAX_SEND_MESSAGES,
            auto_pong: true,
            echo_reason: false,
            ping_interval: Some(20 * crate::SECOND),
            ping_timeout: Some(20 * crate::SECOND),
            close_timeout: Some(10 * crate::SECOND),
            deflate: None,
            mask_key,
        }
    }
}

/// 64 MiB: four messages of the largest size that we would accept ourselves.
pub const MAX_SEND_BYTES: usize = 64 << 20;

/// A queue of this many unsent messages is a stalled peer, whatever their size.
pub const MAX_SEND_MESSAGES: usize = 65_536;
