//! Every limit on what a peer can make us hold, its default and its reason.

/// Limits of one connection. Sizes are bytes after unmasking; `usize::MAX` lifts a limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// A message, all its fragments together, after decompression.
    pub max_message: usize,
    /// One frame as announced by its header.
    pub max_frame: usize,
    /// Fragments of one message.
    pub max_fragments: usize,
    /// The header block of the opening handshake.
    pub max_head: usize,
    /// Header lines of the opening handshake.
    pub max_head_lines: usize,
    /// What is kept of the body of a refused upgrade.
    pub max_body: usize,
}

/// 16 MiB. Snapshots of order books exceed 1 MiB (one of 709 KB is among common recordings), and no venue documents
/// messages above 16 MiB; websockets' default is 1 MiB, tungstenite's 64 MiB.
pub const MAX_MESSAGE: usize = 16 << 20;

/// The same: a message may come in one frame.
pub const MAX_FRAME: usize = MAX_MESSAGE;

/// An empty fragment costs the sender two bytes and us a turn of the machine; 16 MiB in fragments of 128 bytes pass, and
/// so does the smallest fragmentation in common use, 4 MiB in fragments of 64 bytes (Autobahn 9.3.1), whose last is empty.
pub const MAX_FRAGMENTS: usize = 131_072;

/// Header lines of 8 KiB are common limits of servers and proxies (nginx, Apache: 8 KiB a line); eight of them.
pub const MAX_HEAD: usize = 64 << 10;

/// httparse needs its table up front; CDNs send some 40 lines, Apache's limit is 100.
pub const MAX_HEAD_LINES: usize = 128;

/// Enough for an error page's text; the rest is counted, not kept.
pub const MAX_BODY: usize = 64 << 10;

/// Memory is reserved ahead of a payload's arrival by at most this much, whatever a header announces.
pub const RESERVE_AHEAD: usize = 1 << 20;

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_message: MAX_MESSAGE,
            max_frame: MAX_FRAME,
            max_fragments: MAX_FRAGMENTS,
            max_head: MAX_HEAD,
            max_head_lines: MAX_HEAD_LINES,
            max_body: MAX_BODY,
        }
    }
}
