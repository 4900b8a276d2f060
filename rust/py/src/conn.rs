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
use pyo3::types::{PyDict, PyString, PyTuple};

mod calls;
mod inner;
mod owner;

use crate::address::Address;
use crate::awaitable::{self, Source, Want};
use crate::cork::Cork;
use crate::driver::Phase;
use crate::future::resolve;
use crate::hub::{BusyPoll, Hub};
use crate::listener::Listener;
use crate::poller::Interest;
use crate::queue::Decode;
use crate::request::Request;
use crate::settings::{Settings, Shared};
use crate::tls::Tls;
use crate::{arguments, clock, fork, gc, payload};

pub(crate) use calls::Sent;
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
        inner.token = Some(token);
        inner.strong = true;
        inner.interest = interest;
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

    /// Sends a message; waits only where the send queue is full.
    ///
    /// The message is accepted by the call, not by the ``await``: below ``write_limit`` it is on its way at once, above
    /// it the ``await`` lasts until the queue is at its low-water mark. Only where the queue is at its hard bound
    /// (``max_send_queue`` messages, ``max_send_bytes`` bytes) nothing is accepted until the ``await``, which then
    /// waits for room, first come first served.
    ///
    /// Args:
    ///     message: ``str`` is sent as text, bytes-like as binary, an iterable or async iterable of either in
    ///         fragments.
    ///     text: True sends bytes-like as text, which must be UTF-8; False sends ``str`` as binary.
    ///     timeout: Seconds (or a ``timedelta``) that the ``await`` may take; None for no limit. After that a message
    ///         that was accepted leaves nevertheless, and the ``await`` is over.
    ///     compress: Where compression was negotiated: True and False say whether this message is compressed; by
    ///         default it is if it has at least ``Deflate.threshold`` bytes.
    ///
    /// Raises:
    ///     ConnectionClosed: The connection is closed or closing.
    ///     TimeoutError: There was no room within ``timeout``: nothing was sent. A message in fragments of which a part
    ///         was sent closes the connection with 1011.
    ///     TypeError: The message cannot be sent.
    ///     ValueError: ``text=True`` and the bytes are not UTF-8.
    #[pyo3(signature = (message, text=None, *, timeout=None, compress=None))]
    fn send(
        slf: &Bound<'_, Self>,
        message: &Bound<'_, PyAny>,
        #[pyo3(from_py_with = arguments::text)] text: Option<bool>,
        timeout: Option<&Bound<'_, PyAny>>,
        #[pyo3(from_py_with = arguments::compress)] compress: Option<bool>,
    ) -> PyResult<Py<PyAny>> {
        let (py, this) = (slf.py(), slf.get());
        let seconds = timeout.map(|timeout| clock::seconds("timeout", timeout)).transpose()?;
        let send = |op, bytes: &[u8]| Self::send_bytes(slf, op, bytes, compress);
        let Some(outcome) = payload::with_bytes(message, text, false, send)? else {
            let sent = this.policy.bind(py).call_method1("send_other", (slf, message, text, seconds))?;
            return Ok(sent.unbind());
        };
        let sent = match outcome {
            Ok(sent) => sent,
            Err(error) => return Ok(this.policy.bind(py).call_method1("send_failed", (slf, error))?.unbind()),
        };
        match sent {
            Sent::Queued { above_limit: false } => awaitable::done(py),
            Sent::Queued { above_limit: true } => {
                Ok(this.policy.bind(py).call_method1("drained", (slf, seconds))?.unbind())
            }
            Sent::Full(_) => {
                let waiting =
                    this.policy.bind(py).call_method1("send_when_room", (slf, message, text, seconds, compress))?;
                Ok(waiting.unbind())
            }
        }
    }

    /// Sends a ``str`` or bytes-like message, or raises at once.
    ///
    /// Args:
    ///     message: ``str`` is sent as text, bytes-like as binary.
    ///     text: True sends bytes-like as text, which must be UTF-8; False sends ``str`` as binary.
    ///     compress: As for ``send``.
    ///
    /// Raises:
    ///     SendQueueFull: The send queue is at its hard bound; nothing was accepted.
    ///     ConnectionClosed: The connection is closed or closing.
    ///     ConcurrencyError: A message is being sent in fragments.
    ///     TypeError: The message cannot be sent.
    #[pyo3(signature = (message, text=None, *, compress=None))]
    fn send_nowait(
        slf: &Bound<'_, Self>,
        message: &Bound<'_, PyAny>,
        #[pyo3(from_py_with = arguments::text)] text: Option<bool>,
        #[pyo3(from_py_with = arguments::compress)] compress: Option<bool>,
    ) -> PyResult<()> {
        let (py, this) = (slf.py(), slf.get());
        let send = |op, bytes: &[u8]| Self::send_bytes(slf, op, bytes, compress);
        let Some(outcome) = payload::with_bytes(message, text, false, send)? else {
            return Err(this.error(py, "not_sendable", (message,)));
        };
        match outcome? {
            Sent::Queued { .. } => Ok(()),
            Sent::Full(misuse) => Err(this.misuse(slf, &misuse)),
        }
    }

    /// Lets what is queued leave now, as far as the kernel takes it, instead of at the end of the loop's turn.
    ///
    /// It waits for nothing: what the kernel does not take leaves when it does. Does nothing where nothing is queued,
    /// and on a closed connection.
    ///
    /// Raises:
    ///     RuntimeError: The connection belongs to another thread, event loop or process.
    fn flush(slf: &Bound<'_, Self>) -> PyResult<()> {
        slf.get().check_loop(slf.py())?;
        Self::flush_now(slf)
    }

    /// Collects what is sent in a ``with`` block, so that it leaves together when the block ends::
    ///
    ///     with ws.cork():
    ///         ws.send_nowait(cancel)
    ///         ws.send_nowait(replace)
    ///
    /// Outside of such a block the first message of a turn leaves alone, at once. In it, what is queued leaves before
    /// the end of the block only if it is worth a system call (64 KiB, or more than ``write_limit``), at the end of the
    /// loop's turn if the block awaits, and by ``flush()``. An exception changes nothing: what was accepted leaves.
    /// Blocks may be nested, the outermost one counts. It concerns the connection: what other tasks send meanwhile is
    /// collected too. Does nothing on a closed connection.
    ///
    /// Raises:
    ///     RuntimeError: The connection belongs to another thread, event loop or process.
    fn cork(slf: &Bound<'_, Self>) -> PyResult<Cork> {
        slf.get().check_loop(slf.py())?;
        Ok(Cork::new(slf))
    }

    /// Tries to send a message or a fragment of one for somebody who waited for room. True: it was accepted.
    #[pyo3(signature = (message, text=None, fin=None, compress=None))]
    fn _try_send(
        slf: &Bound<'_, Self>,
        message: &Bound<'_, PyAny>,
        #[pyo3(from_py_with = arguments::text)] text: Option<bool>,
        fin: Option<bool>,
        compress: Option<bool>,
    ) -> PyResult<bool> {
        Self::try_send(slf, message, text, fin, compress)
    }

    /// Tries to send a frame as it is, for extensions in Python: masked, and nothing else. True: it was accepted. False:
    /// there is no room now, or a data frame of another message comes first.
    fn _try_send_frame(
        slf: &Bound<'_, Self>,
        opcode: u8,
        fin: bool,
        rsv: u8,
        data: &Bound<'_, PyAny>,
    ) -> PyResult<bool> {
        let this = slf.get();
        this.check_loop(slf.py())?;
        match payload::send_frame(&this.inner, opcode, fin, rsv, data)? {
            None => Err(this.error(slf.py(), "not_sendable", (data,))),
            Some(Ok(())) => Self::after_send(slf).map(|_| true),
            Some(Err(Misuse::QueueFull { .. } | Misuse::ControlFull(_) | Misuse::FragmentOrder)) => Ok(false),
            Some(Err(misuse)) => Err(this.misuse(slf, &misuse)),
        }
    }

    /// Whether a message is being sent in fragments.
    fn _is_sending_fragments(&self) -> PyResult<bool> {
        Ok(self.borrow()?.core.is_sending_fragments())
    }

    /// Whether a message may begin at once: none is being sent in fragments, and nobody waits for room.
    fn _may_begin(&self) -> PyResult<bool> {
        let inner = self.borrow()?;
        Ok(inner.blocked_senders == 0 && !inner.core.is_sending_fragments())
    }

    /// Queues a Ping; returns a future of its latency in seconds.
    #[pyo3(signature = (data=None))]
    fn _ping<'py>(slf: &Bound<'py, Self>, data: Option<&[u8]>) -> PyResult<Bound<'py, PyAny>> {
        let (py, this) = (slf.py(), slf.get());
        this.check_loop(py)?;
        let now = clock::monotonic();
        let outcome = this.inner.borrow_mut().core.ping(data, now);
        let number = outcome.map_err(|misuse| this.misuse(slf, &misuse))?;
        let future = this.future(py)?;
        Self::forget_cancelled_pings(slf)?;
        this.inner.borrow_mut().rare.pings.push((number, now, future.clone().unbind()));
        Self::after_send(slf)?;
        Self::hold(slf);
        Ok(future)
    }

    /// Queues a Pong.
    fn _pong(slf: &Bound<'_, Self>, data: &[u8]) -> PyResult<()> {
        let this = slf.get();
        this.check_loop(slf.py())?;
        let outcome = this.inner.borrow_mut().core.pong(data);
        outcome.map_err(|misuse| this.misuse(slf, &misuse))?;
        Self::after_send(slf).map(|_| ())
    }

    /// Begins the closing handshake.
    #[pyo3(signature = (code=None, reason=""))]
    fn _close(slf: &Bound<'_, Self>, code: Option<i64>, reason: &str) -> PyResult<()> {
        let this = slf.get();
        this.check_loop(slf.py())?;
        let code = payload::close_code(code)?;
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

    /// A future that is done when the connection is closed.
    fn _closed_future<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        let (py, this) = (slf.py(), slf.get());
        this.check_loop(py)?;
        let future = this.future(py)?;
        if this.inner.borrow().ended {
            future.call_method1("set_result", (py.None(),))?;
        } else {
            this.inner.borrow_mut().rare.closing.push(future.clone().unbind());
            Self::sync(slf)?;
        }
        Ok(future)
    }

    /// A future that is done when the send queue is below its low-water mark, or fails when the connection ends. With
    /// `again` the mark did not suffice: it is done when something more was written.
    #[pyo3(signature = (again=false))]
    fn _drain_future<'py>(slf: &Bound<'py, Self>, again: bool) -> PyResult<Bound<'py, PyAny>> {
        Self::drain_future(slf, again)
    }

    /// A future that is done when it is its owner's turn to try to send; `again` if it tried in vain.
    fn _room_future<'py>(slf: &Bound<'py, Self>, again: bool) -> PyResult<Bound<'py, PyAny>> {
        Self::room_future(slf, again)
    }

    /// Nobody waits for the end by this future any more.
    fn _forget_closed(slf: &Bound<'_, Self>, future: &Bound<'_, PyAny>) -> PyResult<()> {
        let this = slf.get();
        this.check()?;
        let gone = {
            let mut inner = this.inner.borrow_mut();
            let at = inner.rare.closing.iter().position(|known| known.is(future));
            let gone = at.map(|at| inner.rare.closing.swap_remove(at));
            inner.rare.rest();
            gone
        };
        drop(gone);
        Self::sync(slf)
    }

    /// The terms of compression that were agreed on: (server and client without context takeover, window bits of the
    /// server and of the client). None: messages are not compressed.
    #[getter]
    fn _compression(&self) -> Option<(bool, bool, u8, u8)> {
        payload::terms(&self.inner.borrow())
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

    /// A future that is done when everything accepted by now is written, or fails when the connection ends.
    fn _written_future<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        Self::written_future(slf)
    }

    /// A future that is done when no more messages will come.
    fn _over_future<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        Self::over_future(slf)
    }

    /// Counts those who wait for room; while there are any, nobody passes them.
    fn _waits_for_room(&self, change: isize) -> PyResult<()> {
        let mut inner = self.borrow()?;
        inner.blocked_senders = inner.blocked_senders.saturating_add_signed(change);
        Ok(())
    }

    /// Lets the next of those who wait for room try.
    fn _wake_room(slf: &Bound<'_, Self>) -> PyResult<()> {
        slf.get().check()?;
        Self::offer_room(slf)
    }

    /// How far it has come: "new", "tcp", "tls", "upgrade", "open" or "closed".
    #[getter]
    fn _phase(&self) -> &'static str {
        self.inner.borrow().phase.name()
    }

    /// "connecting", "open", "closing" or "closed".
    #[getter]
    fn _state(&self) -> String {
        self.inner.borrow().state().to_string()
    }

    /// How it ended: (received code, received reason, sent code, sent reason, initiator, cause kind, cause text).
    #[getter]
    fn _close_info<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        let _paused = gc::pause(py);
        payload::close_info(py, self.inner.borrow().core.close_info())
    }

    /// The limit of ours that ended it, if one did: its setting, the size that it was for, and the limit.
    #[getter]
    fn _limit(&self) -> Option<(&'static str, Option<u64>, usize)> {
        payload::limit(self.inner.borrow().core.close_info())
    }

    /// The exception of a listener's callback, if one ended the connection.
    #[getter]
    fn _listener_error(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.inner.borrow().rare.listener_error.as_ref().map(|error| error.clone_ref(py))
    }

    /// The response: (status, reason, headers, body), or none.
    #[getter]
    fn _response<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyTuple>>> {
        let _paused = gc::pause(py);
        let packed = self.inner.borrow().response.clone();
        packed.map(|packed| payload::unpack_response(py, &packed)).transpose()
    }

    /// The request as it was sent, or none.
    #[getter]
    fn _request(&self) -> Option<Vec<u8>> {
        self.inner.borrow().request.as_deref().map(<[u8]>::to_vec)
    }

    /// The URI, with userinfo and query masked.
    #[getter]
    fn uri<'py>(&self, py: Python<'py>) -> Bound<'py, PyString> {
        let uri = self.inner.borrow().uri.as_ref().map(|uri| uri.bind(py).clone());
        uri.unwrap_or_else(|| PyString::intern(py, ""))
    }

    /// The socket's own address, as ``socket.getsockname()`` gives it; None before it is connected.
    #[getter]
    fn local_address<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let address = self.inner.borrow().local.clone();
        address.to_python(py)
    }

    /// The peer's address, as ``socket.getpeername()`` gives it; None before it is connected.
    #[getter]
    fn remote_address<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let address = self.inner.borrow().remote.clone();
        address.to_python(py)
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

    /// The socket's descriptor, or -1 when it is closed. Do not read, write or close it.
    fn fileno(&self) -> PyResult<RawFd> {
        Ok(self.borrow()?.fd)
    }

    /// When the message last taken was received: CLOCK_REALTIME, nanoseconds; 0 before the first.
    #[getter]
    fn received_ns(&self) -> u64 {
        self.inner.borrow_mut().queue.stamp().map_or(0, |(realtime, _)| realtime)
    }

    /// The same moment on CLOCK_MONOTONIC, nanoseconds.
    #[getter]
    fn received_mono_ns(&self) -> u64 {
        self.inner.borrow_mut().queue.stamp().map_or(0, |(_, monotonic)| monotonic)
    }

    /// When the kernel received the message last taken: CLOCK_REALTIME, nanoseconds; the last segment of its read.
    ///
    /// None without ``kernel_timestamps=True``, before the first message, and where the kernel gave none.
    #[getter]
    fn kernel_ns(&self) -> Option<u64> {
        self.inner.borrow_mut().kernel_stamp()
    }

    /// Number of the message last taken, from 1; 0 before the first.
    #[getter]
    fn seq(&self) -> u64 {
        self.inner.borrow().queue.taken()
    }

    /// Round-trip time of the last ping that was answered, in seconds; 0 before the first.
    #[getter]
    fn latency(&self) -> f64 {
        self.inner.borrow().core.latency().map_or(0.0, clock::to_seconds)
    }

    /// The loop that the connection belongs to.
    #[getter]
    fn _loop(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        if self.is_forked() {
            self.check()?;
        }
        Ok(self.hub.get().event_loop(py).clone().unbind())
    }

    /// Counters, by name.
    fn _stats<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        self.check()?;
        let _paused = gc::pause(py);
        let inner = self.inner.borrow();
        payload::stats(py, &inner)
    }

    /// Whether it should have been closed: it is the last reference that goes.
    #[getter]
    fn _is_live(&self) -> bool {
        self.inner.try_borrow().is_ok_and(|inner| inner.fd >= 0) && !self.is_forked()
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
