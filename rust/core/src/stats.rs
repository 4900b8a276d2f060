//! Counters of one connection.

/// What went through a connection since it opened. Sizes are bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stats {
    /// Data messages received whole.
    pub messages_received: u64,
    /// Data messages queued whole.
    pub messages_sent: u64,
    /// Frames received, control frames too.
    pub frames_received: u64,
    /// Frames queued, control frames too.
    pub frames_sent: u64,
    /// Payload of data frames received, as announced by their headers.
    pub payload_received: u64,
    /// Payload of data frames queued.
    pub payload_sent: u64,
    /// Bytes taken from the stream.
    pub bytes_received: u64,
    /// Bytes given to the stream.
    pub bytes_sent: u64,
    /// Pings received.
    pub pings_received: u64,
    /// Pings queued.
    pub pings_sent: u64,
    /// Pongs received.
    pub pongs_received: u64,
    /// Pongs queued; one that a later one replaced counts too.
    pub pongs_sent: u64,
}
