//! What a ring knows of each of its cursors, and of where messages came from.

use std::collections::VecDeque;
use std::rc::Rc;

use fastws_core::Nanos;
use memchr::memmem::Finder;
use pyo3::prelude::*;
use pyo3::types::{PyString, PyWeakrefReference};

use super::conflate::Pending;
use crate::budget::Budget;
use crate::conn::Awaited;
use crate::settings::Water;
use crate::waiter::Waiter;

/// The session that messages belong to.
pub(crate) struct Origin {
    pub generation: u64,
    pub connection_id: u64,
    pub source: Option<Py<PyString>>,
}

/// What messages that were received together share.
pub(crate) struct Stamp {
    pub realtime: Nanos,
    pub monotonic: Nanos,
    pub kernel: Option<Nanos>,
    pub origin: Rc<Origin>,
    /// The position of such a message minus its number, which is the markers before it; the first number is 1.
    pub skew: u64,
}

/// Messages that share a stamp, or a marker.
pub(crate) struct Run {
    /// The position behind the last one.
    pub end: u64,
    /// None: a marker.
    pub stamp: Option<Rc<Stamp>>,
}

/// What happens when a stream is not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Policy {
    Block,
    DropOldest,
    Conflate,
    Fail,
}

/// What a cursor passed without giving it, or is to give before what is next.
pub(crate) enum Ahead {
    Marker(Marker),
    Lost(Lost),
    Error(Py<PyAny>),
}

/// Something that is no message, at its place among them.
pub(crate) struct Marker {
    pub object: Py<PyAny>,
    /// It says that an outage is over.
    pub outage: bool,
}

/// Messages that a stream lost, all of one generation.
pub(crate) struct Lost {
    pub count: u64,
    pub first_seq: u64,
    pub last_seq: u64,
    pub generation: u64,
}

/// A cursor's place, and all that changes as it moves.
pub(crate) struct State {
    /// Position of its next message, and the bytes of all messages before.
    pub next: u64,
    pub bytes: u64,
    /// To this position messages can be taken without a second look; 0: none can.
    pub until: u64,
    /// To this position messages have the stamp `here`.
    pub here_until: u64,
    pub here: Option<Rc<Stamp>>,
    /// Number and stamp of the message last given; 0: none was.
    pub seq: u64,
    pub last: Option<Rc<Stamp>>,
    pub run: Budget,
    /// The reader that waits, or was woken and has not come back.
    pub waiter: Option<Py<Waiter>>,
    pub batch: Option<Box<Awaited>>,
    /// The loop's timer that wakes that reader when its batch has waited long enough.
    pub timer: Option<Py<PyAny>>,
    /// It gives markers, and messages with what is known of them.
    pub markers: bool,
    /// It is no stream of the user's, who may have none yet.
    pub aside: bool,
    /// Nothing of Python's is called for a message.
    pub plain: bool,
    /// Text is wanted as bytes.
    pub raw: bool,
    /// Its batches are of messages that were received together, so that what is said of a batch is true of each.
    pub exact: bool,
    pub needle: Option<Box<Finder<'static>>>,
    pub policy: Policy,
    pub water: Water,
    pub ahead: VecDeque<Ahead>,
    pub pending: Option<Box<Pending>>,
    /// Who decodes for it, see `decode`.
    pub decoder: Option<(usize, usize)>,
    pub dropped: u64,
    pub conflated: u64,
    pub skipped: u64,
    pub outages: u64,
    pub last_outage: Option<Py<PyAny>>,
    /// It was too slow, which its policy does not forgive: it is in nobody's way any more.
    pub overflowed: bool,
    /// Where it was when it was last looked at, and since when.
    pub watched: (u64, Nanos),
    pub me: Option<Py<PyWeakrefReference>>,
}

impl State {
    pub fn new(policy: Policy, water: Water) -> Self {
        let mut run = Budget::new();
        run.begin();
        Self {
            next: 0,
            bytes: 0,
            until: 0,
            here_until: 0,
            here: None,
            seq: 0,
            last: None,
            run,
            waiter: None,
            batch: None,
            timer: None,
            markers: false,
            aside: false,
            plain: true,
            raw: false,
            exact: false,
            needle: None,
            policy,
            water,
            ahead: VecDeque::new(),
            pending: None,
            decoder: None,
            dropped: 0,
            conflated: 0,
            skipped: 0,
            outages: 0,
            last_outage: None,
            overflowed: false,
            watched: (0, 0),
            me: None,
        }
    }

    /// Whether messages may be taken without a second look.
    pub fn is_simple(&self) -> bool {
        self.plain
            && self.waiter.is_none()
            && self.batch.is_none()
            && self.ahead.is_empty()
            && self.pending.is_none()
            && self.needle.is_none()
    }

    /// Whether messages with these stamps may be in one batch.
    pub fn may_join(&self, one: &Rc<Stamp>, other: &Rc<Stamp>) -> bool {
        may_join(self.exact, one, other)
    }

    /// Whether a task waits that was neither woken nor cancelled.
    pub fn is_awaited(&self) -> bool {
        self.waiter.as_ref().is_some_and(|waiter| Waiter::of(waiter).is_pending())
    }

    /// Whether a task waits, or was woken and is on its way.
    pub fn is_coming(&self) -> bool {
        self.waiter.as_ref().is_some_and(|waiter| Waiter::of(waiter).is_live())
    }

    /// Messages that were lost before it was there.
    pub fn lose_all(&mut self, first_seq: u64, last_seq: u64, generation: u64) {
        let count = last_seq + 1 - first_seq;
        self.dropped += count;
        self.ahead.push_back(Ahead::Lost(Lost { count, first_seq, last_seq, generation }));
    }

    /// Messages that were lost: the next of a row, or the first of another.
    pub fn lose(&mut self, seq: u64, generation: u64) {
        self.dropped += 1;
        self.until = 0;
        if !self.markers {
            return;
        }
        if let Some(Ahead::Lost(lost)) = self.ahead.back_mut()
            && lost.generation == generation
        {
            lost.count += 1;
            lost.last_seq = seq;
            return;
        }
        self.ahead.push_back(Ahead::Lost(Lost { count: 1, first_seq: seq, last_seq: seq, generation }));
    }
}

/// Whether messages with these stamps may be in one batch, which may have to be an exact one.
pub(crate) fn may_join(exact: bool, one: &Rc<Stamp>, other: &Rc<Stamp>) -> bool {
    if exact { Rc::ptr_eq(one, other) } else { one.origin.is_like(&other.origin) }
}

impl Origin {
    /// Whether messages of both may be in one batch.
    pub fn is_like(&self, other: &Self) -> bool {
        let source = |origin: &Self| origin.source.as_ref().map(Py::as_ptr);
        self.generation == other.generation
            && self.connection_id == other.connection_id
            && source(self) == source(other)
    }
}
