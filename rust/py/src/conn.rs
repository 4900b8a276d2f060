//! The connection as Python sees it: what it holds, its methods, and the rules of who may call them.
//!
//! How bytes move is in `driver`, how messages reach their consumer in `deliver`. No borrow of the state is held while
//! Python runs: a callback may send, receive, close, or drop the last reference.

use std::cell::{OnceCell, RefCell};
use std::os::fd::RawFd;
use std::sync::Arc;

use fastws_core::Misuse;
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::types::PyString;

mod described;
mod inner;
mod owner;
mod registered;
mod sending;
mod waiting;

use crate::address::Address;
use crate::awaitable::{self, Source, Want};
use crate::driver::Phase;
use crate::future::resolve;
use crate::hub::{BusyPoll, Hub};
use crate::listener::Listener;
use crate::poller::Interest;
use crate::queue::Decode;
use crate::request::Request;
use crate::settings::{Settings, Shared};
use crate::tls::Tls;
use crate::{arguments, clock, fork, payload};

pub(crate) use described::described;
pub(crate) use inner::{Attached, Awaited, Beginning, Inner};
pub(crate) use owner::running_loop;

/// A WebSocket connection on an event loop. The base of `fastws.Connection`.
#[pyclass(frozen, subclass, weakref, module = "fastws._core", name = "Connection")]
pub struct Conn {
    pub(crate) hub: Py<Hub>,
    /// What Python decides: exceptions, slow paths. A module-like object, the same for all connections of a kind.
    pub(crate) policy: Py<PyAny>,
    pub(crate) inner: RefCell<Inner>,
    thread: libc::pthread_t,
    fork: u32,
    pub(crate) listener: OnceCell<Box<Listener>>,
    settings: Arc<Shared>,
}

// SAFETY: every access happens with the interpreter attached, and the GIL orders them; `RefCell` borrows never span a call
// into Python. Calls from another thread than the loop's are refused, but for the end of the object.
unsafe impl Send for Conn {}
// SAFETY: as above.
unsafe impl Sync for Conn {}

impl Conn {
    /// Whether and how long the hub is to look for more after a message, instead of sleeping.
    #[inline]
    pub(crate) fn busy_poll(&self) -> Option<BusyPoll> {
        self.settings.busy_poll
    }

    /// An exception that `policy` makes.
    pub(crate) fn error<'py>(&self, py: Python<'py>, name: &str, args: impl pyo3::call::PyCallArgs<'py>) -> PyErr {
        payload::error(self.policy.bind(py), name, args)
    }

    /// The exception for what the core refused.
    pub(crate) fn misuse(&self, slf: &Bound<'_, Self>, misuse: &Misuse) -> PyErr {
        payload::misuse(self.policy.bind(slf.py()), slf, misuse)
    }
}

#[pymethods]
impl Conn {
    #[new]
    #[pyo3(signature = (event_loop, policy, settings))]
    fn new(event_loop: &Bound<'_, PyAny>, policy: Py<PyAny>, settings: &Settings) -> PyResult<Self> {
        let py = event_loop.py();
        let hub = Hub::of(py, event_loop)?.unbind();
        Ok(Self {
            hub,
            policy,
            // SAFETY: a plain call.
            thread: unsafe { libc::pthread_self() },
            fork: fork::generation(),
            listener: OnceCell::new(),
            settings: Arc::clone(&settings.shared),
            inner: RefCell::new(Inner::new(Arc::clone(&settings.shared))),
        })
    }

    /// Takes over a non-blocking socket that is connected or connecting, and does TLS and the upgrade on it; or that of the
    /// transport, where a `Protocol` of this connection has one. Returns a future of the open connection. `tls` is a `TlsContext`, for a server of that name, or a stream, see `Tls::begin`.
    ///
    /// With `opened` the upgrade was done elsewhere: the socket is connected, what it gives next are frames, and `request`
    /// is what was sent, if that is known.
    #[pyo3(signature = (fd, request, uri, tls=None, server_name=None, listener=None, opened=false))]
    #[allow(clippy::too_many_arguments, reason = "what a connection begins with")]
    fn _start<'py>(
        slf: &Bound<'py, Self>,
        fd: RawFd,
        request: Option<&Request>,
        uri: Py<PyString>,
        tls: Option<&Bound<'py, PyAny>>,
        server_name: Option<&str>,
        listener: Option<&Bound<'py, PyAny>>,
        opened: bool,
    ) -> PyResult<Bound<'py, PyAny>> {
        let this = slf.get();
        this.check()?;
        let beginning = Beginning::of(fd, request, tls.is_some(), opened)?;
        if let Some(listener) = listener {
            let made = Listener::new(slf.py(), listener)?;
            let _ = this.listener.set(Box::new(made));
        }
        let tls = Tls::begin(tls, server_name)?;
        let future = this.hub.bind(slf.py()).get().event_loop(slf.py()).call_method0("create_future")?;
        // One to this machine is connected already; who waits for the loop to say so gives a turn of it away.
        let remote = Address::remote(fd);
        let interest = Interest { read: remote.is_some(), write: remote.is_none() };
        let has_wire = this.inner.borrow().has_wire();
        let token = Hub::register(this.hub.bind(slf.py()), slf, if has_wire { -1 } else { fd }, interest)?;
        let mut inner = this.inner.borrow_mut();
        inner.begin(beginning);
        inner.fd = fd;
        inner.tls = tls;
        inner.phase = Phase::Tcp;
        inner.registered(token, interest);
        inner.rare.opening = Some(future.clone().unbind());
        inner.uri = Some(uri);
        if has_wire {
            inner.connected();
        } else if let Some(remote) = remote {
            inner.connected_to(remote);
        } else {
            return Ok(future);
        }
        if opened {
            inner.phase = Phase::Open;
        }
        // A transport may have given something before.
        let has_more = inner.has_more();
        drop(inner);
        let called = if opened && this.listener.get().is_some() { Self::call_on_open(slf) } else { Ok(()) };
        Self::sync(slf)?;
        if opened {
            // Where it has failed meanwhile, that was told.
            let opening = this.inner.borrow_mut().rare.opening.take();
            resolve(slf.py(), opening, None)?;
        }
        if has_more {
            Hub::run_soon(this.hub.bind(slf.py()), token)?;
        }
        called?;
        Ok(future)
    }

    /// Waits for the next message.
    ///
    /// Args:
    ///     decode: None gives text as ``str`` and binary as ``bytes``, or what ``messages=`` of ``connect`` chose;
    ///         True gives ``str`` also for binary; False gives ``bytes`` also for text, whose UTF-8 was checked.
    ///
    /// Cancelling it loses no message. A message already received is returned without a turn of the event loop.
    ///
    /// Raises:
    ///     ConnectionClosed: The connection is closed and every message received was taken.
    ///     ConcurrencyError: Another task is waiting for a message, or a listener takes them.
    ///     UnicodeDecodeError: ``decode=True`` and the message is not UTF-8.
    #[pyo3(signature = (decode=None))]
    fn recv(
        slf: &Bound<'_, Self>,
        #[pyo3(from_py_with = arguments::decode)] decode: Option<bool>,
    ) -> PyResult<Py<PyAny>> {
        let decode = match decode {
            None => Decode::Default,
            Some(true) => Decode::Text,
            Some(false) => Decode::Bytes,
        };
        Self::awaitable(slf, Want::Message(decode))
    }

    /// Waits for the next piece of a message, as `delivery="mixed"` brings it: (opcode, fin, rsv, payload), where the opcode
    /// is the message's in all of its pieces. A message that came whole, or was put together, is one piece. Until the last
    /// piece of a message is taken, a reader of messages is told that another reads.
    fn _recv_piece(slf: &Bound<'_, Self>) -> PyResult<Py<PyAny>> {
        Self::awaitable(slf, Want::Piece)
    }

    fn __aiter__(slf: &Bound<'_, Self>) -> PyResult<Py<PyAny>> {
        slf.get().check()?;
        awaitable::iterate(slf, Want::Next)
    }

    fn __anext__(slf: &Bound<'_, Self>) -> PyResult<Py<PyAny>> {
        Self::awaitable(slf, Want::Next)
    }

    /// Iterates over what has arrived, many messages at a time.
    ///
    /// Args:
    ///     max_messages: Messages in a batch at most.
    ///     max_bytes: Bytes in a batch at most; None for no limit. A larger message comes alone.
    ///     max_wait: Seconds (or a ``timedelta``) to wait for more after a batch's first message; 0 takes what is here.
    ///
    /// Cancelling loses no message. It ends as ``async for`` over the connection ends.
    ///
    /// Raises:
    ///     ValueError: A limit is not more than zero, or ``max_wait`` less.
    ///     TypeError: An argument is of another type; the text names it.
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
        slf.get().check()?;
        awaitable::iterate(slf, Want::batch(max_messages, max_bytes, max_wait)?)
    }

    /// Begins the closing handshake.
    #[pyo3(signature = (code=None, reason=""))]
    fn _close(slf: &Bound<'_, Self>, code: Option<i64>, reason: &str) -> PyResult<()> {
        let this = slf.get();
        this.check_loop(slf.py())?;
        let code = payload::close_code(code)?;
        let forgotten = awaitable::take_forgotten(&mut this.inner.borrow_mut().spare);
        if let Some(forgotten) = forgotten {
            awaitable::warn_of(slf, forgotten);
        }
        let outcome = this.inner.borrow_mut().core.close(code, reason, clock::monotonic());
        outcome.map_err(|misuse| this.misuse(slf, &misuse))?;
        Self::resume_if_closing(slf)?;
        Self::after_send(slf)?;
        Self::sync(slf)
    }

    /// Gives the connection up at once.
    fn _abort(slf: &Bound<'_, Self>, why: &str) -> PyResult<()> {
        let this = slf.get();
        if this.is_forked() {
            return Ok(());
        }
        this.check()?;
        {
            let mut inner = this.inner.borrow_mut();
            inner.core.abort(why);
            if this.listener.get().is_some() {
                inner.queue.clear(slf.py());
            }
        }
        Self::sync(slf)
    }

    /// Messages accepted since the connection opened, and of them: (not begun to be written, written in part).
    #[getter]
    fn _unsent(&self) -> PyResult<(u64, usize, usize)> {
        Ok(self.borrow()?.accepted())
    }

    /// Whether the kernel has not taken everything that was accepted.
    #[getter]
    fn _has_unsent(&self) -> PyResult<bool> {
        Ok(self.borrow()?.has_unsent())
    }

    /// Pings and Pongs that were queued, whoever asked for them.
    #[getter]
    fn _control_frames_sent(&self) -> PyResult<u64> {
        let inner = self.borrow()?;
        let stats = inner.core.stats();
        Ok(stats.pings_sent + stats.pongs_sent)
    }

    /// Whether the send queue is above its limit.
    #[getter]
    fn _is_above_write_limit(&self) -> PyResult<bool> {
        Ok(self.borrow()?.core.queued_bytes() > self.settings.write_high)
    }

    /// Seconds without a byte from the peer, without those in which our own queue was full.
    #[getter]
    fn _silence(&self) -> PyResult<f64> {
        Ok(clock::to_seconds(self.borrow()?.core.silence(clock::monotonic())))
    }

    /// Whether nothing is read, as our own queue is full.
    #[getter]
    fn _is_paused(&self) -> PyResult<bool> {
        Ok(self.borrow()?.paused.is_some())
    }

    /// Bytes in the send queue above which `await send()` waits.
    #[getter]
    fn _write_limit(&self) -> usize {
        self.settings.write_high
    }

    /// Who moves its bytes: ``"loop"``, where the loop watches its socket, or ``"protocol"``, where a transport of
    /// asyncio's has it; see ``driver=`` of ``connect``.
    #[getter]
    fn driver(&self) -> &'static str {
        let by_wire = self.inner.borrow().extras.as_ref().is_some_and(|extras| extras.is_by_wire());
        if by_wire { "protocol" } else { "loop" }
    }

    /// The loop that the connection belongs to.
    #[getter]
    fn _loop(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        if self.is_forked() {
            self.check()?;
        }
        Ok(self.hub.get().event_loop(py).clone().unbind())
    }

    /// Closes the socket, from any thread: nobody refers to the connection any more.
    fn _abandon(&self, py: Python<'_>) {
        self.abandon(py);
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.hub)?;
        visit.call(&self.policy)?;
        if let Some(listener) = self.listener.get() {
            listener.traverse(&visit)?;
        }
        let Ok(inner) = self.inner.try_borrow() else { return Ok(()) };
        inner.traverse(&visit)
    }

    fn __clear__(&self) {
        let Ok(mut inner) = self.inner.try_borrow_mut() else { return };
        let gone = inner.clear();
        drop(inner);
        drop(gone);
    }
}

described!(Conn);
