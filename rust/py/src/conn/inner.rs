//! What a connection holds, and what its settings make of it.

use std::collections::VecDeque;
use std::os::fd::RawFd;

use fastws_core::{Config, Connection, Delivery, Event, Limits, Nanos, Role};
use pyo3::exceptions::PyValueError;
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::driver::Phase;
use crate::extras::Extras;
use crate::hub::{BusyPoll, Token};
use crate::landing::Landing;
use crate::poller::Interest;
use crate::queue::{Form, Queue};
use crate::tls::TlsStream;
use crate::transfer::Input;
use crate::view::MessageView;
use crate::waiter::Waiter;
use crate::{clock, entropy};

/// What a connection holds.
pub(crate) struct Inner {
    pub core: Connection<Landing>,
    /// The socket; -1 when it is closed.
    pub fd: RawFd,
    pub tls: Option<Box<TlsStream>>,
    pub phase: Phase,
    pub token: Option<Token>,
    pub strong: bool,
    pub interest: Interest,
    // Receiving.
    pub queue: Queue,
    pub delivery: Delivery,
    /// The read buffer while it is lent, with what of it is not parsed yet.
    pub input: Option<Input>,
    /// What is asked of a read besides its bytes, if anything is.
    pub extras: Option<Box<Extras>>,
    /// Counts the reads that gave something.
    pub reads: u32,
    pub events: VecDeque<Event>,
    pub water: Water,
    /// The peer's end was told while reading was paused: reading does not pause any more.
    pub is_ending: bool,
    /// Since when our own full queue has paused reading.
    pub paused: Option<Nanos>,
    /// Our queue was full while our Close waited for its answer: messages behind this number are let go.
    pub discards_behind: Option<u64>,
    /// How many were.
    pub discarded: u64,
    /// The reader that waits, or was woken and has not come back.
    pub waiter: Option<Py<Waiter>>,
    pub spare: Option<Py<PyAny>>,
    pub batch_due: Option<Nanos>,
    /// Limits of the batch that is waited for: messages, bytes.
    pub batch_full: Option<(usize, usize)>,
    /// How long a batch waits for more after its first message.
    pub batch_wait: Nanos,
    /// When the present run of the consumer began, when the time was last looked at, and messages until the next look.
    pub run_start: Nanos,
    pub run_looked: Nanos,
    pub run_left: u32,
    /// Messages from look to look.
    pub run_step: u32,
    /// The loop's turn in which the run began, or was last found long.
    pub run_turn: u64,
    pub views: Vec<Py<MessageView>>,
    // Sending.
    /// The kernel takes no more for now.
    pub blocked: bool,
    /// Writing failed: the connection is read to its end, then it is over.
    pub broken: Option<String>,
    pub sent_turn: u64,
    pub flush_listed: bool,
    pub write_high: usize,
    pub write_low: usize,
    pub blocked_senders: usize,
    pub half_closed: bool,
    // Those who wait for something rare: asyncio futures.
    pub opening: Option<Py<PyAny>>,
    pub draining: Vec<Py<PyAny>>,
    pub rooms: VecDeque<Py<PyAny>>,
    pub pings: Vec<(u64, Nanos, Py<PyAny>)>,
    pub closing: Vec<Py<PyAny>>,
    /// `on_close` is to be called when the callback that runs returns.
    pub on_close_waits: bool,
    /// The exception of a listener, raised by `wait_closed`.
    pub listener_error: Option<Py<PyAny>>,
    pub response: Option<Box<fastws_core::handshake::Response>>,
    pub request: Option<Box<[u8]>>,
    pub addresses: Option<Py<PyAny>>,
    pub ended: bool,
}

/// When reading pauses and when it goes on: messages and bytes in the queue.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Water {
    pub high_messages: usize,
    pub low_messages: usize,
    pub high_bytes: usize,
    pub low_bytes: usize,
}

/// Whether and how long the hub is to look for more after a message, instead of sleeping.
pub(super) fn busy_poll(options: &Bound<'_, PyDict>) -> PyResult<Option<BusyPoll>> {
    let Some(pair) = options.get_item("busy_poll")? else { return Ok(None) };
    let Some((idle, most)) = pair.extract::<Option<(f64, f64)>>()? else { return Ok(None) };
    let nanos = |seconds| clock::from_seconds(Some(seconds)).unwrap_or(0);
    Ok(Some(BusyPoll { idle: nanos(idle), most: nanos(most) }))
}

impl Inner {
    /// A connection that is not connected. `options` are its settings, complete.
    pub(super) fn new(options: &Bound<'_, PyDict>) -> PyResult<Self> {
        let get =
            |name: &str| options.get_item(name)?.ok_or_else(|| PyValueError::new_err(format!("no option {name}")));
        let mut config = Config::new(Role::Client, entropy::mask_key);
        let unlimited = |value: Option<usize>| value.unwrap_or(usize::MAX);
        config.limits = Limits {
            max_message: unlimited(get("max_size")?.extract()?),
            max_frame: unlimited(get("max_frame_size")?.extract()?),
            max_fragments: unlimited(get("max_fragments")?.extract()?),
            ..Limits::default()
        };
        config.max_send_bytes = get("max_send_bytes")?.extract()?;
        config.max_send_messages = get("max_send_messages")?.extract()?;
        config.ping_interval = clock::from_seconds(get("ping_interval")?.extract()?);
        config.ping_timeout = clock::from_seconds(get("ping_timeout")?.extract()?);
        config.close_timeout = clock::from_seconds(get("close_timeout")?.extract()?);
        config.auto_pong = get("auto_pong")?.extract()?;
        let delivery = match get("delivery")?.extract::<&str>()? {
            "fragments" => Delivery::Fragments,
            "frames" => Delivery::Frames,
            _ => Delivery::Messages,
        };
        config.delivery = delivery;
        let form = match get("messages")?.extract::<&str>()? {
            "bytes" => Form::Bytes,
            "view" => Form::View,
            _ => Form::Auto,
        };
        let (high_messages, low_messages, high_bytes, low_bytes) = get("water")?.extract()?;
        let (write_high, write_low) = get("write_limit")?.extract()?;
        Ok(Self {
            core: Connection::open(config, 0),
            fd: -1,
            tls: None,
            phase: Phase::New,
            token: None,
            strong: false,
            interest: Interest::default(),
            queue: Queue::new(form),
            delivery,
            input: None,
            extras: Extras::new(get("kernel_timestamps")?.extract()?, get("quickack")?.extract()?),
            events: VecDeque::new(),
            water: Water { high_messages, low_messages, high_bytes, low_bytes },
            is_ending: false,
            paused: None,
            waiter: None,
            spare: None,
            batch_due: None,
            batch_full: None,
            batch_wait: 0,
            reads: 0,
            run_start: 0,
            run_looked: 0,
            run_left: 1,
            run_step: 1,
            run_turn: 0,
            views: Vec::new(),
            blocked: false,
            broken: None,
            sent_turn: 0,
            flush_listed: false,
            write_high,
            write_low,
            blocked_senders: 0,
            half_closed: false,
            opening: None,
            draining: Vec::new(),
            rooms: VecDeque::new(),
            pings: Vec::new(),
            closing: Vec::new(),
            discards_behind: None,
            discarded: 0,
            on_close_waits: false,
            listener_error: None,
            response: None,
            request: None,
            addresses: None,
            ended: false,
        })
    }

    pub(super) fn traverse(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        for object in [&self.spare, &self.opening, &self.listener_error, &self.addresses].into_iter().flatten() {
            visit.call(object)?;
        }
        if let Some(waiter) = &self.waiter {
            visit.call(waiter)?;
        }
        for future in self.draining.iter().chain(&self.closing).chain(&self.rooms) {
            visit.call(future)?;
        }
        for (_, _, future) in &self.pings {
            visit.call(future)?;
        }
        Ok(())
    }

    /// Lets all references to Python go; what is returned is to be dropped when nothing is borrowed.
    pub(super) fn clear(&mut self) -> impl Sized + use<> {
        (
            self.spare.take(),
            self.opening.take(),
            self.waiter.take(),
            std::mem::take(&mut self.draining),
            std::mem::take(&mut self.closing),
            std::mem::take(&mut self.rooms),
            std::mem::take(&mut self.pings),
        )
    }
}
