//! What a connection holds. What few connections have at a time is boxed: an idle one is to be small.

use std::collections::VecDeque;
use std::ops::{Deref, DerefMut};
use std::os::fd::RawFd;
use std::rc::Rc;
use std::sync::Arc;

use fastws_core::handshake::ClientHandshake;
use fastws_core::{Broken, Connection, Delivery, Event, Nanos, State};
use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::types::PyString;

use crate::address::Address;
use crate::budget::Budget;
use crate::clock;
use crate::driver::Phase;
use crate::extras::Extras;
use crate::frames::Frame;
use crate::hub::Token;
use crate::landing::Landing;
use crate::poller::Interest;
use crate::queue::Queue;
use crate::request::Request;
use crate::ring::{Origin, Ring};
use crate::settings::Shared;
use crate::tls::Tls;
use crate::transfer::Input;
use crate::view::MessageView;
use crate::waiter::Waiter;

/// What a connection holds.
pub(crate) struct Inner {
    pub core: Connection<Landing>,
    /// The socket; -1 when it is closed.
    pub fd: RawFd,
    pub tls: Option<Tls>,
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
    pub events: VecDeque<Event<'static>>,
    pub settings: Arc<Shared>,
    /// The peer's end was told while reading was paused: reading does not pause any more.
    pub is_ending: bool,
    /// The consumer asked not to read.
    pub held: bool,
    /// Since when our own full queue has paused reading.
    pub paused: Option<Nanos>,
    /// The ring that what is received goes into, if not to a reader.
    pub ring: Option<Box<Attached>>,
    /// The reader that waits, or was woken and has not come back.
    pub waiter: Option<Py<Waiter>>,
    pub spare: Option<Py<PyAny>>,
    pub batch: Option<Box<Awaited>>,
    /// The frame that somebody is being shown.
    pub shown: Option<Py<Frame>>,
    /// The present run of the consumer.
    pub run: Budget,
    // Sending.
    /// The kernel takes no more for now.
    pub blocked: bool,
    /// Writing failed: the connection is read to its end, then it is over.
    pub broken: Option<Box<Broken>>,
    /// The hub tells the time then, or before.
    pub told_by: Nanos,
    pub sent_turn: u64,
    pub flush_listed: bool,
    /// Blocks of `cork()` that are open: what is sent in them leaves together.
    pub corks: u32,
    /// System calls that wrote.
    pub writes: u64,
    pub blocked_senders: usize,
    pub half_closed: bool,
    pub rare: Rare,
    /// The answer to the upgrade, see `payload::pack_response`.
    pub response: Option<Box<[u8]>>,
    pub request: Option<Box<[u8]>>,
    pub local: Address,
    pub remote: Address,
    /// The URI, without its secrets.
    pub uri: Option<Py<PyString>>,
    pub ended: bool,
}

/// A ring, and as whose its messages come.
pub(crate) struct Attached {
    pub ring: Py<Ring>,
    pub origin: Rc<Origin>,
}

/// A batch that is waited for.
pub(crate) struct Awaited {
    /// Its limits.
    pub messages: usize,
    pub bytes: usize,
    /// How long it waits for more after its first message, and until when that is.
    pub wait: Nanos,
    pub due: Option<Nanos>,
}

/// What few connections have at a time: who waits for something else than a message (asyncio futures), and the like.
#[derive(Default)]
pub(crate) struct Seldom {
    pub opening: Option<Py<PyAny>>,
    pub draining: Vec<Py<PyAny>>,
    pub rooms: VecDeque<Py<PyAny>>,
    pub pings: Vec<(u64, Nanos, Py<PyAny>)>,
    pub closing: Vec<Py<PyAny>>,
    /// `on_close` is to be called when the callback that runs returns.
    pub on_close_waits: bool,
    /// The exception of a listener, raised by `wait_closed`.
    pub listener_error: Option<Py<PyAny>>,
    /// Views of the read buffer that this wake-up made.
    pub views: Vec<Py<MessageView>>,
    /// Our queue was full while our Close waited for its answer: messages behind this number are let go.
    pub discards_behind: Option<u64>,
    /// How many were.
    pub discarded: u64,
    /// Who waits until so many messages are written.
    pub writing: VecDeque<(u64, Py<PyAny>)>,
    /// Who waits for the end of what is received.
    pub overs: Vec<Py<PyAny>>,
    /// TLS of Python's that is over.
    pub tls: Option<Tls>,
    /// Messages in TLS records that had not left when the connection ended.
    pub in_records: usize,
    /// A transport dropped all that it was given, behind so many messages that had begun to leave.
    pub refused_behind: Option<usize>,
}

/// Has storage only while there is something in it: most connections wait for a message, and for nothing else.
#[derive(Default)]
pub(crate) struct Rare(Option<Box<Seldom>>);

impl Deref for Rare {
    type Target = Seldom;

    #[inline]
    fn deref(&self) -> &Seldom {
        static NOTHING: Seldom = Seldom {
            opening: None,
            draining: Vec::new(),
            rooms: VecDeque::new(),
            pings: Vec::new(),
            closing: Vec::new(),
            on_close_waits: false,
            listener_error: None,
            views: Vec::new(),
            discards_behind: None,
            discarded: 0,
            writing: VecDeque::new(),
            overs: Vec::new(),
            tls: None,
            in_records: 0,
            refused_behind: None,
        };
        self.0.as_deref().unwrap_or(&NOTHING)
    }
}

impl DerefMut for Rare {
    fn deref_mut(&mut self) -> &mut Seldom {
        self.0.get_or_insert_default()
    }
}

impl Rare {
    /// Gives the storage back, if there is nothing.
    pub fn rest(&mut self) {
        if self.0.as_ref().is_some_and(|seldom| seldom.is_empty()) {
            self.0 = None;
        }
    }
}

impl Seldom {
    fn is_empty(&self) -> bool {
        self.opening.is_none()
            && self.draining.is_empty()
            && self.rooms.is_empty()
            && self.pings.is_empty()
            && self.closing.is_empty()
            && !self.on_close_waits
            && self.listener_error.is_none()
            && self.views.is_empty()
            && self.discards_behind.is_none()
            && self.writing.is_empty()
            && self.overs.is_empty()
            && self.tls.is_none()
            && self.in_records == 0
            && self.refused_behind.is_none()
    }
}

/// What a connection begins with.
pub(crate) enum Beginning {
    /// The request of an upgrade.
    Request(ClientHandshake),
    /// An upgrade that was done elsewhere, by this request if it is known.
    Opened(Option<ClientHandshake>),
}

impl Beginning {
    /// Takes the request, which is sent once. An `opened` connection is over a socket that is connected, without TLS of
    /// ours.
    pub(crate) fn of(fd: RawFd, request: Option<&Request>, has_tls: bool, opened: bool) -> PyResult<Self> {
        if opened && (has_tls || Address::remote(fd).is_none()) {
            let what =
                if has_tls { "TLS around an upgrade that was done elsewhere" } else { "the socket is not connected" };
            return Err(PyValueError::new_err(what));
        }
        let handshake = request.map(|request| request.handshake.borrow_mut().take());
        match (handshake, opened) {
            (Some(None), _) => Err(PyRuntimeError::new_err("a request is sent once")),
            (Some(handshake), true) => Ok(Self::Opened(handshake)),
            (None, true) => Ok(Self::Opened(None)),
            (Some(Some(handshake)), false) => Ok(Self::Request(handshake)),
            (None, false) => Err(PyValueError::new_err("a connection is opened by a request")),
        }
    }
}

impl Inner {
    /// The connection begins.
    pub(crate) fn begin(&mut self, beginning: Beginning) {
        let config = Arc::clone(&self.settings.config);
        let bytes = |handshake: &ClientHandshake| Some(handshake.request_bytes().into());
        match beginning {
            Beginning::Request(handshake) => {
                self.request = bytes(&handshake);
                self.core = Connection::client(config, handshake);
            }
            Beginning::Opened(handshake) => {
                self.request = handshake.as_ref().and_then(bytes);
                self.core = Connection::open(config, clock::monotonic());
            }
        }
    }

    /// A connection that is not connected.
    pub(crate) fn new(settings: Arc<Shared>) -> Self {
        Self {
            core: Connection::open(Arc::clone(&settings.config), 0),
            fd: -1,
            tls: None,
            phase: Phase::New,
            token: None,
            strong: false,
            interest: Interest::default(),
            queue: Queue::new(settings.form),
            delivery: settings.delivery,
            input: None,
            extras: Extras::new(settings.kernel_timestamps, settings.quickack, settings.tapped),
            events: VecDeque::new(),
            settings,
            is_ending: false,
            held: false,
            paused: None,
            ring: None,
            waiter: None,
            spare: None,
            batch: None,
            shown: None,
            reads: 0,
            run: Budget::new(),
            blocked: false,
            broken: None,
            told_by: Nanos::MAX,
            sent_turn: 0,
            flush_listed: false,
            corks: 0,
            writes: 0,
            blocked_senders: 0,
            half_closed: false,
            rare: Rare::default(),
            response: None,
            request: None,
            local: Address::Unknown,
            remote: Address::Unknown,
            uri: None,
            ended: false,
        }
    }

    pub(crate) fn extras_mut(&mut self) -> &mut Extras {
        self.extras.get_or_insert_with(|| Box::new(Extras::of_wire()))
    }

    /// The state; one that was not begun is connecting.
    pub(crate) fn state(&self) -> State {
        if self.phase == Phase::New { State::Connecting } else { self.core.state() }
    }

    pub(crate) fn traverse(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        if let Some(tls) = &self.tls {
            tls.traverse(visit)?;
        }
        if let Some(extras) = &self.extras {
            extras.traverse(visit)?;
        }
        let rare = &*self.rare;
        for object in [&self.spare, &rare.opening, &rare.listener_error].into_iter().flatten() {
            visit.call(object)?;
        }
        if let Some(waiter) = &self.waiter {
            visit.call(waiter)?;
        }
        if let Some(attached) = &self.ring {
            visit.call(&attached.ring)?;
        }
        let waiting = rare.draining.iter().chain(&rare.closing).chain(&rare.rooms).chain(&rare.overs);
        for future in waiting.chain(rare.writing.iter().map(|(_, future)| future)) {
            visit.call(future)?;
        }
        for (_, _, future) in &rare.pings {
            visit.call(future)?;
        }
        Ok(())
    }

    /// Lets all references to Python go; what is returned is to be dropped when nothing is borrowed.
    pub(crate) fn clear(&mut self) -> impl Sized + use<> {
        let tls = self.tls.as_mut().and_then(Tls::clear);
        let wire = self.extras.as_mut().and_then(|extras| extras.take_wire());
        (tls, wire, self.spare.take(), self.waiter.take(), self.ring.take(), std::mem::take(&mut self.rare))
    }
}
