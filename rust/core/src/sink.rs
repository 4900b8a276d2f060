//! The contract with the driver: where messages go, and the storage that it lends for those that arrive in pieces.

use crate::Nanos;
use crate::error::Error;
use crate::frame::Opcode;
use crate::handshake::{Request, Response};

/// What is handed to the driver: a message, a fragment or a frame, by [`crate::Delivery`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unit {
    /// `Text` or `Binary` for messages and for every fragment of them; with `Delivery::Frames` and `Raw` the frame's own
    /// opcode.
    pub opcode: Opcode,
    /// The last (or only) piece of its message.
    pub fin: bool,
    /// RSV bits of the frame, RSV1 being 4; always 0 for messages.
    pub rsv: u8,
    /// Every byte is below 0x80. Exact for text, always false for binary, with `Delivery::Raw`, and where RSV bits are admitted.
    pub ascii: bool,
}

/// Takes what a connection received. Its methods run inside [`crate::Connection::receive`], so they must not call the
/// connection; they store, and the driver acts when `receive` has returned.
pub trait Sink {
    /// Storage for payloads that do not lie whole in the input.
    type Buf: PayloadBuf;

    /// A payload that lies whole in the input, at the very bytes of the slice given to `receive`: text is valid UTF-8.
    fn whole(&mut self, unit: Unit, payload: &[u8]) -> Flow;

    /// Lends empty storage, with room for `capacity` bytes, for a payload that arrives in pieces.
    ///
    /// # Errors
    /// Where memory cannot be had.
    fn lend(&mut self, unit: Unit, capacity: usize) -> Result<Self::Buf, OutOfMemory>;

    /// A payload that arrived in pieces, in storage lent before: text is valid UTF-8.
    fn assembled(&mut self, unit: Unit, payload: Self::Buf) -> Flow;

    /// A message that lies nowhere behind this call: text is valid UTF-8.
    ///
    /// # Errors
    /// Where memory cannot be had.
    fn copied(&mut self, unit: Unit, payload: &[u8]) -> Result<Flow, OutOfMemory> {
        let mut buf = self.lend(unit, payload.len())?;
        buf.extend(payload);
        Ok(self.assembled(unit, buf))
    }

    /// Anything else. Of pings and pongs there may be many, so that what is told of them counts; of the others it does not.
    fn event(&mut self, event: Event<'_>) -> Flow;

    /// A violation was found, and is about to end the connection. `Flow::Stop` puts that off to the next call of
    /// `receive`, which the driver makes also if nothing more comes, so that messages before the violation can still be
    /// answered; see [`crate::Connection::is_failing`].
    fn before_failure(&mut self) -> Flow {
        Flow::Continue
    }
}

/// Whether `receive` goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flow {
    /// Go on with the next frame.
    Continue,
    /// Return now; the rest of the input is not consumed.
    Stop,
}

/// What happened besides data.
#[derive(Debug)]
pub enum Event<'a> {
    /// Server role: a whole request arrived and waits for `accept` or `refuse`.
    Requested(Box<Request>),
    /// Client role: the upgrade was accepted; the connection is open.
    Opened(Box<Response>),
    /// Client role: the upgrade was refused or its answer cannot be accepted. The response is there if it could be read.
    Refused {
        /// Why.
        error: Error,
        /// What the server said, with what came of its body.
        response: Option<Box<Response>>,
    },
    /// A Ping arrived; already answered unless `auto_pong` is off.
    Ping(&'a [u8]),
    /// A Pong arrived. `answers` names the Ping of ours that it answers, which answers all earlier ones (§5.5.3).
    Pong {
        /// Its payload.
        payload: &'a [u8],
        /// The Ping's number (as `Connection::ping` returned it) and the time since it was queued.
        answers: Option<(u64, Nanos)>,
    },
    /// The peer's Close frame arrived, or the connection failed: no more data will come.
    DataOver,
}

/// Bytes of a payload, in storage of the driver's own kind.
pub trait PayloadBuf {
    /// Bytes held.
    fn len(&self) -> usize;

    /// Whether no byte is held.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Makes room for `capacity` bytes in all.
    ///
    /// # Errors
    /// Where memory cannot be had.
    fn reserve(&mut self, capacity: usize) -> Result<(), OutOfMemory>;

    /// Appends bytes; room was reserved.
    fn extend(&mut self, bytes: &[u8]);

    /// The bytes held.
    fn as_slice(&self) -> &[u8];

    /// The bytes held, to be unmasked in place.
    fn as_mut_slice(&mut self) -> &mut [u8];
}

/// Memory for a payload could not be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutOfMemory;

impl PayloadBuf for Vec<u8> {
    fn len(&self) -> usize {
        self.len()
    }

    fn reserve(&mut self, capacity: usize) -> Result<(), OutOfMemory> {
        let more = capacity.saturating_sub(self.len());
        self.try_reserve_exact(more).map_err(|_| OutOfMemory)
    }

    fn extend(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }

    fn as_slice(&self) -> &[u8] {
        self
    }

    fn as_mut_slice(&mut self) -> &mut [u8] {
        self
    }
}
