//! A cursor on a ring: what a stream is natively. How it is read is in `read`.

use std::cell::{Cell, RefCell};

use memchr::memmem::Finder;
use pyo3::exceptions::PyValueError;
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyString, PyWeakrefReference};

use super::conflate::Pending;
use super::decode::{Calls, identity};
use super::state::{Policy, Stamp, State};
use super::{Ring, release};
use crate::awaitable::{self, Source, Want};
use crate::queue::Decode;
use crate::{arguments, errors};

/// A place in a client's messages, from which they are read. The base of ``fastws.Stream``.
#[pyclass(frozen, subclass, weakref, generic, module = "fastws._core")]
pub struct Cursor {
    pub(super) ring: Py<Ring>,
    /// Where the ring has its state; nowhere when it is detached.
    pub(super) index: Cell<usize>,
    /// What is left of the state then.
    rest: RefCell<Option<Box<State>>>,
    pub(super) spare: RefCell<Option<Py<PyAny>>>,
    pub(super) calls: RefCell<Calls>,
    pub(super) absorbing: Cell<bool>,
}

// SAFETY: every access happens with the interpreter attached; `RefCell` borrows never span a call into Python.
unsafe impl Send for Cursor {}
// SAFETY: as above.
unsafe impl Sync for Cursor {}

pub(super) const DETACHED: usize = usize::MAX;

impl Cursor {
    /// Looks at the state, wherever it is.
    pub(super) fn with_state(&self, py: Python<'_>, look: impl FnOnce(&mut State)) {
        let trash = {
            let mut store = self.ring.get().store.borrow_mut();
            if let Some(state) = store.state(self.index.get()) {
                look(state);
            } else if let Some(state) = &mut *self.rest.borrow_mut() {
                look(state);
            }
            store.take_trash()
        };
        release(py, trash);
    }

    fn last<R>(&self, look: impl FnOnce(&Stamp) -> R) -> Option<R> {
        let mut store = self.ring.get().store.borrow_mut();
        if let Some(state) = store.state(self.index.get()) {
            return state.last.as_deref().map(look);
        }
        self.rest.borrow().as_ref().and_then(|state| state.last.as_deref().map(look))
    }

    fn known<R: Default>(&self, look: impl FnOnce(&State) -> R) -> R {
        let mut store = self.ring.get().store.borrow_mut();
        if let Some(state) = store.state(self.index.get()) {
            return look(state);
        }
        self.rest.borrow().as_ref().map(|state| look(state)).unwrap_or_default()
    }

    /// Leaves the ring. True: somebody may go on who waited for room.
    fn leave(&self, py: Python<'_>) -> bool {
        let (trash, kept, room) = {
            // Nothing that may run anything goes while a ring is borrowed, so no cursor does.
            let Ok(mut store) = self.ring.get().store.try_borrow_mut() else { return false };
            let index = self.index.replace(DETACHED);
            if index == DETACHED {
                return false;
            }
            let mut state = store.remove(py, index);
            let kept = state.as_mut().map(|state| {
                state.batch = None;
                (state.pending.take(), std::mem::take(&mut state.ahead))
            });
            let mut trash = store.take_trash();
            let waiter = state.as_mut().and_then(|state| state.waiter.take());
            trash.extend(waiter.map(Py::into_any));
            *self.rest.borrow_mut() = state;
            (trash, kept, store.paused && store.is_low())
        };
        release(py, trash);
        drop(kept);
        room
    }
}

#[pymethods]
impl Cursor {
    /// A cursor with these options, which are complete and were checked.
    #[new]
    #[pyo3(signature = (ring, *, oldest, markers, policy, capacity, capacity_bytes, filter=None, decode=None, skips=false, key=None, aside=false))]
    #[expect(clippy::too_many_arguments, clippy::fn_params_excessive_bools, reason = "its options, once")]
    fn new(
        ring: Bound<'_, Ring>,
        oldest: bool,
        markers: bool,
        policy: &str,
        capacity: Option<usize>,
        capacity_bytes: Option<usize>,
        filter: Option<Bound<'_, PyAny>>,
        decode: Option<Bound<'_, PyAny>>,
        skips: bool,
        key: Option<Bound<'_, PyAny>>,
        aside: bool,
    ) -> PyResult<Self> {
        let py = ring.py();
        ring.get().check(py)?;
        if !aside && !ring.get().store.borrow().receive {
            return Err(ring.get().error(py, "receives_nothing", ()));
        }
        let policy = match policy {
            "block" => Policy::Block,
            "drop_oldest" => Policy::DropOldest,
            "fail" => Policy::Fail,
            "conflate" => Policy::Conflate,
            other => return Err(PyValueError::new_err(format!("policy: there is no {other:?}"))),
        };
        let mut water = ring.get().store.borrow().water;
        if let Some(messages) = capacity {
            (water.high_messages, water.low_messages) = (messages, messages / 4);
        }
        if let Some(bytes) = capacity_bytes {
            (water.high_bytes, water.low_bytes) = (bytes, bytes / 4);
        }
        let mut state = State::new(policy, water);
        (state.markers, state.aside) = (markers, aside);
        let mut calls = Calls { skips, ..Calls::default() };
        if let Some(filter) = filter {
            match filter.cast::<PyBytes>() {
                Ok(needle) => state.needle = Some(Box::new(Finder::new(needle.as_bytes()).into_owned())),
                Err(_) => calls.filter = Some(filter.unbind()),
            }
        }
        if let Some(decode) = decode {
            if decode.is(py.get_type::<PyBytes>()) {
                state.raw = true;
            } else {
                state.decoder = Some(identity(&decode)?);
                calls.decode = Some(decode.unbind());
            }
        }
        if policy == Policy::Conflate {
            state.pending = Some(Box::new(Pending::new(water.high_messages, water.high_bytes)));
            calls.key = key.map(Bound::unbind);
            calls.places = Some(PyDict::new(py).unbind());
        }
        let is_called = calls.filter.is_some() || calls.decode.is_some() || policy == Policy::Conflate;
        state.plain = !is_called && state.needle.is_none();
        state.raw |= is_called;
        let index = ring.get().store.borrow_mut().add(state, oldest);
        Ok(Self {
            ring: ring.unbind(),
            index: Cell::new(index),
            rest: RefCell::default(),
            spare: RefCell::default(),
            calls: RefCell::new(calls),
            absorbing: Cell::new(false),
        })
    }

    /// Tells the ring who this is. Called once, when the object is whole.
    fn _ready(slf: &Bound<'_, Self>) -> PyResult<()> {
        let weak = PyWeakrefReference::new(slf)?.unbind();
        slf.get().with_state(slf.py(), |state| state.me = Some(weak));
        Ok(())
    }

    /// Waits for the next message.
    ///
    /// Cancelling it loses no message. A message already received is returned without a turn of the event loop.
    ///
    /// Raises:
    ///     ClientStopped: The client was shut down and every message was given. Any other end of the client raises its
    ///         cause.
    ///     SubscriberOverflow: The stream has ``policy="fail"`` and was too slow.
    ///     DecodeError: ``decode`` failed; the next call gives the next message.
    ///     ConcurrencyError: Another task is waiting for a message of this stream.
    fn recv(slf: &Bound<'_, Self>) -> PyResult<Py<PyAny>> {
        Self::awaitable(slf, Want::Message(Decode::Default))
    }

    fn __aiter__(slf: &Bound<'_, Self>) -> PyResult<Py<PyAny>> {
        slf.get().ring.get().check(slf.py())?;
        awaitable::iterate(slf, Want::Next)
    }

    fn __anext__(slf: &Bound<'_, Self>) -> PyResult<Py<PyAny>> {
        Self::awaitable(slf, Want::Next)
    }

    /// Iterates over what has arrived, many messages at a time.
    ///
    /// Args:
    ///     max_messages: Messages in a batch at most.
    ///     max_bytes: Bytes in a batch at most, before decoding; None for no limit. A larger message comes alone.
    ///     max_wait: Seconds (or a ``timedelta``) to wait for more after a batch's first message; 0 takes what is here.
    ///
    /// A batch is of one session: it never spans a generation, a marker or two lines. With ``markers=True`` the markers
    /// come between the batches. Cancelling loses no message. It ends as ``async for`` over the stream ends.
    ///
    /// Raises:
    ///     ValueError: A limit is not more than zero.
    #[pyo3(
        signature = (max_messages=4096, max_bytes=usize::MAX, max_wait=None),
        text_signature = "($self, max_messages=4096, max_bytes=None, max_wait=0.0)"
    )]
    fn batches(
        slf: &Bound<'_, Self>,
        #[pyo3(from_py_with = arguments::max_messages)] max_messages: usize,
        #[pyo3(from_py_with = arguments::max_bytes)] max_bytes: usize,
        max_wait: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Py<PyAny>> {
        slf.get().ring.get().check(slf.py())?;
        awaitable::iterate(slf, Want::batch(max_messages, max_bytes, max_wait)?)
    }

    /// The session of the item last given: +1 each time that the client became Ready, from 1; 0 before the first.
    #[getter]
    fn generation(&self) -> u64 {
        self.last(|stamp| stamp.origin.generation).unwrap_or_default()
    }

    /// The connection of the item last given: +1 per upgrade; 0 before the first.
    #[getter]
    fn connection_id(&self) -> u64 {
        self.last(|stamp| stamp.origin.connection_id).unwrap_or_default()
    }

    /// The line that the item last given came over; None where it has no name.
    #[getter]
    fn source(&self, py: Python<'_>) -> Option<Py<PyString>> {
        self.last(|stamp| stamp.origin.source.as_ref().map(|source| source.clone_ref(py)))?
    }

    /// When the item last given was received: CLOCK_REALTIME, nanoseconds; 0 before the first.
    #[getter]
    fn received_ns(&self) -> u64 {
        self.last(|stamp| stamp.realtime).unwrap_or_default()
    }

    /// The same moment on CLOCK_MONOTONIC, nanoseconds.
    #[getter]
    fn received_mono_ns(&self) -> u64 {
        self.last(|stamp| stamp.monotonic).unwrap_or_default()
    }

    /// When the kernel received the item last given: CLOCK_REALTIME, nanoseconds; the last segment of its read.
    ///
    /// None without ``kernel_timestamps=True``, before the first message, and where the kernel gave none.
    #[getter]
    fn kernel_ns(&self) -> Option<u64> {
        self.last(|stamp| stamp.kernel)?
    }

    /// Number of the item last given among the messages of the client, from 1; 0 before the first.
    #[getter]
    fn seq(&self) -> u64 {
        self.known(|state| state.seq)
    }

    /// Messages that the stream lost, as it was too slow: ``policy="drop_oldest"``.
    #[getter]
    fn dropped(&self) -> u64 {
        self.known(|state| state.dropped)
    }

    /// Messages whose place a newer one of the same key took: ``policy=Conflate(key)``.
    #[getter]
    fn conflated(&self) -> u64 {
        self.known(|state| state.conflated)
    }

    /// Messages that could not be decoded and were left out: ``on_decode_error="skip"``.
    #[getter]
    fn skipped(&self) -> u64 {
        self.known(|state| state.skipped)
    }

    /// Outages that are behind the item last given.
    #[getter]
    fn outages(&self) -> u64 {
        self.known(|state| state.outages)
    }

    /// The last of them, an ``Outage``; None: there was none.
    #[getter]
    fn last_outage(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.known(|state| state.last_outage.as_ref().map(|outage| outage.clone_ref(py)))
    }

    /// What waits for the stream's reader: (messages, bytes), before filter and decoder.
    #[getter]
    fn lag(&self) -> (u64, u64) {
        self.ring.get().store.borrow().lag(self.index.get())
    }

    /// Whether the stream was closed.
    #[getter]
    fn closed(&self) -> bool {
        self.index.get() == DETACHED
    }

    /// Whether its next batches are of messages that were received together, so that what is said of one is true of each
    /// of its messages.
    fn _be_exact(&self, py: Python<'_>, exact: bool) {
        self.with_state(py, |state| state.exact = exact);
    }

    /// Leaves the ring: it holds nothing for this cursor any more, and a reader that waits comes back.
    fn _detach(slf: &Bound<'_, Self>) -> PyResult<()> {
        let (py, this) = (slf.py(), slf.get());
        let ring = this.ring.bind(py);
        ring.get().check(py)?;
        let waiter = this.waiter(py);
        let room = this.leave(py);
        if let Some(waiter) = waiter {
            crate::waiter::Waiter::wake_later(waiter.bind(py))?;
        }
        if room { Ring::make_room(ring) } else { Ok(()) }
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.ring)?;
        if let Ok(spare) = self.spare.try_borrow()
            && let Some(spare) = &*spare
        {
            visit.call(spare)?;
        }
        if let Ok(rest) = self.rest.try_borrow()
            && let Some(outage) = rest.as_ref().and_then(|state| state.last_outage.as_ref())
        {
            visit.call(outage)?;
        }
        if let Ok(calls) = self.calls.try_borrow() {
            for call in [&calls.filter, &calls.decode, &calls.key].into_iter().flatten() {
                visit.call(call)?;
            }
            if let Some(places) = &calls.places {
                visit.call(places)?;
            }
        }
        Ok(())
    }

    fn __clear__(&self) {
        drop(self.spare.take());
        drop(self.calls.take());
    }
}

impl Cursor {
    fn waiter(&self, py: Python<'_>) -> Option<Py<crate::waiter::Waiter>> {
        let mut waiter = None;
        self.with_state(py, |state| waiter = state.waiter.as_ref().map(|waiter| waiter.clone_ref(py)));
        waiter
    }
}

impl Drop for Cursor {
    fn drop(&mut self) {
        // SAFETY: a Python object's memory is freed with the interpreter attached.
        let py = unsafe { Python::assume_attached() };
        if self.leave(py) {
            // On whatever thread, and perhaps with an exception on its way.
            errors::aside(py, || {
                let _ = self.ring.get().make_room_later(&self.ring, py);
            });
        }
    }
}
