//! The slot for wire extensions (RFC 6455 §9): a filter between the frame decoder and the assembler, and between the
//! sender and the frame encoder. Without one, nothing of this is on a message's way.

use crate::error::Error;
use crate::frame::{Header, Opcode};
use crate::scratch::Scratch;

/// A data frame on its way through a filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FilterFrame {
    /// The opcode of the frame itself: `Continuation` for all but the first.
    pub opcode: Opcode,
    /// RSV bits, RSV1 being 4. A filter that decodes takes its bits away; one that encodes sets them.
    pub rsv: u8,
    /// The last frame of its message.
    pub fin: bool,
    /// Whether the sender wants this message compressed; none: as the extension thinks best. Of a message's first frame.
    pub compress: Option<bool>,
}

impl From<Header> for FilterFrame {
    fn from(header: Header) -> Self {
        Self { opcode: header.opcode, rsv: header.rsv, fin: header.fin, compress: None }
    }
}

/// A negotiated wire extension, both directions. It sees data frames only: control frames pass by (§5.5, RFC 7692 §6.1).
pub trait FrameFilter: Send {
    /// The RSV bits that this extension gives a meaning to; any other bit stays a violation.
    fn reserved_bits(&self) -> u8;

    /// Decodes one whole frame. The result may hold `limit` bytes at most; more is [`crate::Limit::Message`], found
    /// before memory for it is taken.
    fn decode(&mut self, frame: FilterFrame, payload: &[u8], limit: usize) -> Filtered;

    /// Encodes one frame to send.
    fn encode(&mut self, frame: FilterFrame, payload: &[u8]) -> Filtered;

    /// Whether a received message in one frame, without any RSV bit, is what it is: then `decode` need not see it.
    fn passes_plain(&self) -> bool {
        false
    }

    /// Takes back the state that travelled with [`Work`].
    fn restore(&mut self, direction: Direction, state: Box<dyn std::any::Any + Send>);

    /// Whether it holds memory that [`FrameFilter::rest`] may give back.
    fn may_rest(&self) -> bool {
        false
    }

    /// Gives back what was not used since this was called last. Called every now and then.
    fn rest(&mut self) {}
}

/// What a filter made of a frame.
pub enum Filtered {
    /// Done: the payload stays as it is.
    Same(FilterFrame),
    /// Done: this is the payload now.
    Made(FilterFrame, Scratch),
    /// Too long for this thread: run it elsewhere, then call `job_done`. Until then that direction's data waits; control
    /// frames are still answered, unless they are behind more data than may wait.
    Work(Box<dyn FnOnce() -> WorkDone + Send>),
    /// It cannot be done.
    Failed(Error),
}

/// Work to be run on any thread; its result goes back by `Connection::job_done`.
pub struct Work {
    /// Which direction waits for it.
    pub direction: Direction,
    /// The work.
    pub run: Box<dyn FnOnce() -> WorkDone + Send>,
}

/// The result of [`Work`]: the frame, and the filter's state that travelled with it (the filter takes it back).
pub struct WorkDone {
    /// The frame as decoded or encoded, or why not.
    pub result: Result<(FilterFrame, Vec<u8>), Error>,
    /// Gives the travelling state back to the filter that lent it.
    pub state: Option<Box<dyn std::any::Any + Send>>,
}

/// A direction of data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From the peer.
    Receive,
    /// To the peer.
    Send,
}

impl std::fmt::Debug for Work {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Work").field("direction", &self.direction).finish_non_exhaustive()
    }
}
