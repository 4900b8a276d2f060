//! The machine: feed it what arrived, take what is to be sent, tell it the time.
//!
//! A driver's loop, in short: `receive` what was read; write `output` and report `wrote`; call `tick` at `deadline`; do
//! what `teardown` says; when [`Connection::state`] is closed, ask [`Connection::close_info`] how it ended.

mod closing;
mod filtering;
mod raw;
mod receive;
mod send;

use crate::Nanos;
use crate::assemble::Assembly;
use crate::close::CloseInfo;
use crate::config::{Config, Role};
use crate::deflate::{PerMessageDeflate, Terms, Tuning};
use crate::error::{Error, Misuse};
use crate::filter::{Direction, FilterFrame, FrameFilter, Work};
use crate::frame::Opcode;
use crate::handshake::{ClientHandshake, RequestReader};
use crate::keepalive::Keepalive;
use crate::send_queue::{SendQueue, Unsent};
use crate::state::{Machine, State};
use crate::stats::Stats;

pub use closing::{StreamEnd, Teardown};
pub use receive::Landing;

use receive::Reading;
use std::collections::VecDeque;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

/// One WebSocket connection, either role. `B` is the driver's storage for payloads that arrive in pieces.
pub struct Connection<B> {
    config: Arc<Config>,
    state: Machine,
    reading: Reading,
    assembly: Assembly<B>,
    queue: SendQueue,
    keepalive: Keepalive,
    stats: Stats,
    opening: Option<Box<Opening>>,
    filter: Option<Box<FilterSlot>>,
    /// What was agreed on compression.
    compression: Option<Terms>,
    /// Type of the message that is being sent in fragments.
    sending: Option<Opcode>,
    close: Ending,
    /// When the closing handshake must be over.
    close_deadline: Option<Nanos>,
    /// The stream's receiving half ended.
    ended: bool,
    /// We failed the connection: no closing handshake is awaited.
    failed: bool,
    /// Why the next call of `receive` will fail it.
    failing: Option<Box<Error>>,
}

/// The opening handshake while it lasts.
struct Opening {
    side: OpeningSide,
    /// Bytes to send, and how many of them were.
    output: Vec<u8>,
    written: usize,
}

enum OpeningSide {
    Client(ClientHandshake),
    Server(RequestReader),
    /// The request arrived; its answer is not decided.
    Requested,
    /// The answer is decided; only its bytes are left to send.
    Decided,
}

/// How it ended: storage only where there is something to say.
#[derive(Default)]
struct Ending(Option<Box<CloseInfo>>);

impl Deref for Ending {
    type Target = CloseInfo;

    fn deref(&self) -> &CloseInfo {
        static NOTHING: CloseInfo = CloseInfo { received: None, sent: None, initiator: None, cause: None };
        self.0.as_deref().unwrap_or(&NOTHING)
    }
}

impl DerefMut for Ending {
    fn deref_mut(&mut self) -> &mut CloseInfo {
        self.0.get_or_insert_default()
    }
}

/// A wire extension and what waits for it.
struct FilterSlot {
    filter: Box<dyn FrameFilter>,
    /// The payload of the data frame that is being received.
    raw: Vec<u8>,
    receiving: Parked,
    sending: Parked,
    /// No more frames will come, but those that wait for work are still to be delivered.
    draining: bool,
    /// The Close frame is to be sent behind data that waits for work.
    close_waits: bool,
    /// When the filter is to be asked to rest.
    rest_at: Option<Nanos>,
    /// Bytes that may still be made of what came, in this call.
    share: usize,
}

/// Frames of one direction that wait for [`Work`] to be done.
#[derive(Default)]
struct Parked {
    /// The frame that is being worked on.
    busy: Option<Busy>,
    /// That work, until the driver takes it.
    work: Option<Work>,
    /// Frames behind it, each with its message's type.
    waiting: VecDeque<(FilterFrame, Opcode, Vec<u8>)>,
    /// Bytes of those behind it.
    bytes: usize,
    /// Messages whose last frame is here.
    messages: usize,
    /// Messages that were here when there was no sense in sending any more.
    dropped: usize,
}

/// A frame that is being worked on: its message's type, its payload's bytes, and whether it is the last of its message.
struct Busy {
    opcode: Opcode,
    bytes: usize,
    fin: bool,
}

impl<B: crate::PayloadBuf> Connection<B> {
    /// A client's connection: its request is the first output. Connections of a kind may share their configuration.
    pub fn client(config: impl Into<Arc<Config>>, handshake: ClientHandshake) -> Self {
        let config = config.into();
        debug_assert_eq!(config.role, Role::Client);
        let output = handshake.request_bytes().to_vec();
        Self::new(config, OpeningSide::Client(handshake), output)
    }

    /// A server's connection: it waits for a request, then for [`Connection::accept`] or [`Connection::refuse`].
    pub fn server(config: impl Into<Arc<Config>>) -> Self {
        let config = config.into();
        debug_assert_eq!(config.role, Role::Server);
        Self::new(config, OpeningSide::Server(RequestReader::default()), Vec::new())
    }

    /// A connection whose opening handshake was done elsewhere.
    pub fn open(config: impl Into<Arc<Config>>, now: Nanos) -> Self {
        let mut this = Self::new(config.into(), OpeningSide::Decided, Vec::new());
        this.opening = None;
        this.opened(now);
        this
    }

    fn new(config: Arc<Config>, side: OpeningSide, output: Vec<u8>) -> Self {
        Self {
            queue: SendQueue::new(config.max_send_bytes, config.max_send_messages),
            keepalive: Keepalive::new(config.ping_interval, config.ping_timeout),
            config,
            state: Machine::default(),
            reading: Reading::Handshake,
            assembly: Assembly::default(),
            stats: Stats::default(),
            opening: Some(Box::new(Opening { side, output, written: 0 })),
            filter: None,
            compression: None,
            sending: None,
            close: Ending::default(),
            close_deadline: None,
            ended: false,
            failed: false,
            failing: None,
        }
    }

    /// Puts a negotiated wire extension into its slot. Call it when the connection opens, before any frame is read.
    pub fn set_filter(&mut self, filter: Box<dyn FrameFilter>) {
        self.filter = Some(Box::new(FilterSlot {
            filter,
            raw: Vec::new(),
            receiving: Parked::default(),
            sending: Parked::default(),
            draining: false,
            close_waits: false,
            rest_at: None,
            share: 0,
        }));
    }

    /// Compresses on these terms from here on. Call it when the connection opens, before any frame is read.
    pub fn compress(&mut self, terms: Option<Terms>) {
        self.compression = terms;
        if let Some(terms) = terms {
            let tuning = self.config.deflate.map_or_else(Tuning::default, |(_, tuning)| tuning);
            self.set_filter(Box::new(PerMessageDeflate::new(self.config.role, terms, tuning)));
        }
    }

    /// Accepts the request that `Event::Requested` brought, with these raw response bytes (of `handshake::accept`).
    pub fn accept(&mut self, response: Vec<u8>, now: Nanos) -> Result<(), Misuse> {
        self.answer(response)?;
        self.opened(now);
        Ok(())
    }

    /// Refuses the request with these raw response bytes (of `handshake::refuse`); the stream is to be closed after them.
    pub fn refuse(&mut self, response: Vec<u8>) -> Result<(), Misuse> {
        self.answer(response)?;
        self.reading = Reading::Over;
        self.state.closing();
        self.failed = true;
        Ok(())
    }

    fn answer(&mut self, response: Vec<u8>) -> Result<(), Misuse> {
        match &mut self.opening {
            Some(opening) if matches!(opening.side, OpeningSide::Requested) => {
                opening.side = OpeningSide::Decided;
                opening.output = response;
                Ok(())
            }
            _ => Err(Misuse::NotOpen),
        }
    }

    fn opened(&mut self, now: Nanos) {
        self.reading = Reading::header();
        self.state.open();
        self.keepalive.start(now);
    }

    /// The configuration.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The state.
    #[inline]
    pub fn state(&self) -> State {
        self.state.get()
    }

    /// Counters of what went through.
    pub fn stats(&self) -> Stats {
        self.stats
    }

    /// Messages that wait to be sent.
    pub fn queued_messages(&self) -> usize {
        self.queue.messages() + self.filter.as_ref().map_or(0, |slot| slot.sending.messages)
    }

    /// Messages that were accepted since the connection opened, and those of them that were not wholly written.
    pub fn accepted_messages(&self) -> (u64, Unsent) {
        let mut unsent = self.queue.unsent_messages();
        let parked = self.filter.as_ref().map_or(0, |slot| slot.sending.messages + slot.sending.dropped);
        unsent.not_begun += parked;
        (self.stats.messages_sent + parked as u64, unsent)
    }

    /// Time without a byte from the peer, without that in which we did not read.
    pub fn silence(&self, now: Nanos) -> Nanos {
        self.keepalive.silence(now)
    }

    /// Bytes that wait to be sent.
    #[inline]
    pub fn queued_bytes(&self) -> usize {
        self.queue.bytes() + self.filter.as_ref().map_or(0, |slot| slot.sending.held_bytes())
    }

    /// The send queue's storage, for a driver that pools it: see [`SendQueue`].
    pub fn queue_mut(&mut self) -> &mut SendQueue {
        &mut self.queue
    }

    /// Time of the last matched ping's round trip.
    pub fn latency(&self) -> Option<Nanos> {
        self.keepalive.latency()
    }

    /// How the connection ended, as far as is known.
    pub fn close_info(&self) -> &CloseInfo {
        &self.close
    }

    /// Whether a violation was found that the next call of [`Connection::receive`] acts on.
    pub fn is_failing(&self) -> bool {
        self.failing.is_some()
    }

    /// Whether no more data will come.
    pub fn data_over(&self) -> bool {
        matches!(self.reading, Reading::Over) && !self.filter.as_ref().is_some_and(|slot| slot.draining)
    }

    /// On which terms messages are compressed; none: they are not.
    pub fn compression(&self) -> Option<Terms> {
        self.compression
    }

    /// Stops the clocks of pings: the driver does not read since its own queue is full.
    pub fn pause_receiving(&mut self, now: Nanos) {
        self.keepalive.pause(now);
    }

    /// Starts them again.
    pub fn resume_receiving(&mut self, now: Nanos) {
        self.keepalive.resume(now);
    }

    /// Work of a wire extension that the driver is to run on another thread, one for each direction at most; its result
    /// goes to [`Connection::job_done`].
    pub fn take_work(&mut self) -> Option<Work> {
        let slot = self.filter.as_mut()?;
        slot.receiving.work.take().or_else(|| slot.sending.work.take())
    }

    /// Whether received data waits for [`Work`] and so much is waiting behind it that reading should pause.
    pub fn is_parked(&self) -> bool {
        !matches!(self.reading, Reading::Over) && self.filter.as_ref().is_some_and(|slot| slot.receiving.is_full())
    }
}

/// Memory of a wire extension that was not used for so long, or twice that, is given back.
const REST: Nanos = 5 * crate::SECOND;

impl FilterSlot {
    /// Time has passed.
    fn look(&mut self, now: Nanos) {
        match self.rest_at {
            None if self.filter.may_rest() => self.rest_at = Some(now.saturating_add(REST)),
            Some(at) if now >= at => {
                self.filter.rest();
                self.rest_at = self.filter.may_rest().then(|| now.saturating_add(REST));
            }
            _ => {}
        }
    }

    /// So many bytes were made of a received frame. False: that is enough for one call.
    fn spend(&mut self, made: usize) -> bool {
        self.share = self.share.saturating_sub(made.max(LEAST_SHARE));
        self.share > 0
    }

    fn parked(&mut self, direction: Direction) -> &mut Parked {
        match direction {
            Direction::Receive => &mut self.receiving,
            Direction::Send => &mut self.sending,
        }
    }
}

impl Parked {
    fn is_full(&self) -> bool {
        self.busy.is_some() && (self.bytes >= MAX_PARKED || self.waiting.len() >= MAX_PARKED_FRAMES)
    }

    /// Bytes of payloads that are here.
    fn held_bytes(&self) -> usize {
        self.bytes + self.busy.as_ref().map_or(0, |busy| busy.bytes)
    }

    /// There is work to be done on a frame.
    fn begin(&mut self, work: Work, busy: Busy) {
        self.messages += usize::from(busy.fin);
        (self.busy, self.work) = (Some(busy), Some(work));
    }

    /// That is done, well or not. Returns the type of the frame's message.
    fn end(&mut self, well: bool) -> Option<Opcode> {
        let busy = self.busy.take()?;
        self.messages -= usize::from(busy.fin);
        self.dropped += usize::from(busy.fin && !well);
        Some(busy.opcode)
    }

    fn push(&mut self, frame: FilterFrame, opcode: Opcode, payload: Vec<u8>) {
        self.bytes += payload.len();
        self.messages += usize::from(frame.fin);
        self.waiting.push_back((frame, opcode, payload));
    }

    /// Forgets what waits; work that is under way stays so, for nothing.
    fn clear(&mut self) {
        self.dropped += std::mem::take(&mut self.messages);
        self.waiting = VecDeque::new();
        self.bytes = 0;
        if let Some(busy) = &mut self.busy {
            (busy.bytes, busy.fin) = (0, false);
        }
    }

    fn pop(&mut self) -> Option<(FilterFrame, Opcode, Vec<u8>)> {
        let item = self.waiting.pop_front()?;
        self.bytes -= item.2.len();
        self.messages -= usize::from(item.0.fin);
        Some(item)
    }
}

/// Received data that may wait behind a job; then reading pauses, until the job is done. Little, since all of it is
/// decoded at once behind the job, and may become a thousand times as much.
const MAX_PARKED: usize = 1 << 10;

/// Empty frames wait in numbers, not in bytes.
const MAX_PARKED_FRAMES: usize = 64;

/// What a wire extension may make of the input of one call of `receive`, and one frame more: as much as a driver reads at
/// once. So what a queue overshoots by is the same with and without an extension.
const SHARE: usize = 256 << 10;

/// A frame counts as so many bytes at least: the work on an empty one is some.
const LEAST_SHARE: usize = 1 << 10;
