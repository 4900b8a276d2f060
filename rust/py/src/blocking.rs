//! The blocking connection as Python sees it. Its state is that of a connection on an event loop (`conn::inner`), and so
//! are the ways of its bytes (`transfer`) and messages (`queue`, `sink`); what differs is who waits: `drive` and `sleep`
//! have the calls, `helper` the thread that reads while nobody calls.
//!
//! Any thread may call. The interpreter's lock orders them: no borrow of the state is held while Python runs or the lock
//! is let go of.

use std::cell::{Cell, RefCell};
use std::os::fd::RawFd;
use std::sync::Arc;

use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::types::PyString;

mod bell;
mod calls;
mod drive;
pub(crate) mod helper;
mod sleep;

use crate::address::Address;
use crate::conn::{Beginning, Inner, described};
use crate::driver::Phase;
use crate::queue::Decode;
use crate::request::Request;
use crate::settings::{Settings, Shared};
use crate::tls::Tls;
use crate::transfer::Fragment;
use crate::{arguments, clock, fork};

use bell::Bell;
use calls::deadline;
use helper::Helper;
use sleep::Hunch;

/// A WebSocket connection whose calls block. The base of `fastws.sync.Connection`.
#[pyclass(frozen, subclass, weakref, module = "fastws._core", name = "SyncConnection")]
pub struct Blocking {
    /// What Python decides: exceptions, slow paths. As for a connection on an event loop.
    policy: Py<PyAny>,
    inner: RefCell<Inner>,
    settings: Arc<Shared>,
    helper: Option<Arc<Helper>>,
    /// The bells of calls that sleep.
    sleepers: RefCell<Vec<Arc<Bell>>>,
    /// The last read may have left something in the socket.
    behind: Cell<bool>,
    /// A call waits for a message.
    receiving: Cell<bool>,
    /// Whether calls that receive look before they sleep.
    hunch: Hunch,
    /// Why it did not open.
    failed: RefCell<Option<Failed>>,
    fork: u32,
}

impl Blocking {
    /// What a tap is told by.
    pub(crate) fn tapped(&self) -> (&Py<PyAny>, &RefCell<Inner>) {
        (&self.policy, &self.inner)
    }
}

/// Why a connection did not open, as the policy wants it.
struct Failed {
    phase: Phase,
    kind: &'static str,
    text: String,
}

// SAFETY: every access happens with the interpreter attached, and the GIL orders them; `RefCell` borrows never span a call
// into Python nor a time without the GIL.
unsafe impl Send for Blocking {}
// SAFETY: as above.
unsafe impl Sync for Blocking {}

#[pymethods]
impl Blocking {
    #[new]
    #[pyo3(signature = (policy, settings, background=true))]
    fn new(policy: Py<PyAny>, settings: &Settings, background: bool) -> Self {
        Self {
            policy,
            inner: RefCell::new(Inner::new(Arc::clone(&settings.shared))),
            settings: Arc::clone(&settings.shared),
            helper: background.then(Helper::new),
            sleepers: RefCell::default(),
            behind: Cell::new(false),
            receiving: Cell::new(false),
            hunch: Hunch::default(),
            failed: RefCell::default(),
            fork: fork::generation(),
        }
    }

    /// Takes over a non-blocking socket that is connected or connecting, and does TLS and the upgrade on it. False: it is
    /// not open within `timeout` seconds. `tls` is a `TlsContext`, for a server of that name, or a stream, see `Tls::begin`.
    /// `opened` as for `Connection._start`.
    #[pyo3(signature = (fd, request, uri, tls=None, server_name=None, timeout=None, opened=false))]
    #[allow(clippy::too_many_arguments, reason = "what a connection begins with")]
    fn _open(
        slf: &Bound<'_, Self>,
        fd: RawFd,
        request: Option<&Request>,
        uri: Py<PyString>,
        tls: Option<&Bound<'_, PyAny>>,
        server_name: Option<&str>,
        timeout: Option<f64>,
        opened: bool,
    ) -> PyResult<bool> {
        let (py, this) = (slf.py(), slf.get());
        this.check()?;
        let beginning = Beginning::of(fd, request, tls.is_some(), opened)?;
        {
            let inner = &mut *this.inner.borrow_mut();
            inner.tls = Tls::begin(tls, server_name)?;
            inner.begin(beginning);
            inner.fd = fd;
            inner.phase = Phase::Tcp;
            inner.uri = Some(uri);
            if let Some(remote) = Address::remote(fd) {
                inner.connected_to(remote);
            }
            if opened {
                inner.phase = Phase::Open;
            }
        }
        Self::settle_state(slf)?;
        let deadline = timeout.map(|seconds| clock::monotonic() + clock::from_seconds(Some(seconds)).unwrap_or(0));
        let opened = Self::wait(slf, deadline, || {
            let failed = this.failed.borrow_mut().take();
            if let Some(Failed { phase, kind, text }) = failed {
                return Err(this.error(py, "open_failed", (slf, phase.name(), kind, text)));
            }
            // It may be over again, without a failure to open.
            Ok(matches!(this.inner.borrow().phase, Phase::Open | Phase::Closed).then_some(()))
        })?;
        if opened.is_none() {
            return Ok(false);
        }
        if let Some(helper) = &this.helper {
            helper.start(slf)?;
        }
        Ok(true)
    }

    /// Waits for the next message.
    ///
    /// Args:
    ///     timeout: Seconds (or a ``timedelta``) to wait; 0 takes what is here, None waits without a limit. Giving up
    ///         loses no message.
    ///     decode: None gives text as ``str`` and binary as ``bytes``, or what ``messages=`` of ``connect`` chose;
    ///         True gives ``str`` also for binary; False gives ``bytes`` also for text, whose UTF-8 was checked.
    ///
    /// Raises:
    ///     TimeoutError: No message came within ``timeout``.
    ///     ConnectionClosed: The connection is closed and every message received was taken.
    ///     ConcurrencyError: Another thread is waiting for a message.
    ///     UnicodeDecodeError: ``decode=True`` and the message is not UTF-8.
    #[pyo3(signature = (timeout=None, decode=None))]
    fn recv(
        slf: &Bound<'_, Self>,
        timeout: Option<&Bound<'_, PyAny>>,
        #[pyo3(from_py_with = arguments::decode)] decode: Option<bool>,
    ) -> PyResult<Py<PyAny>> {
        let decode = match decode {
            None => Decode::Default,
            Some(true) => Decode::Text,
            Some(false) => Decode::Bytes,
        };
        let (deadline, seconds) = match deadline(timeout) {
            Ok(until) => until,
            Err(error) => slf.get().past(slf.py(), timeout, error)?,
        };
        match Self::receive(slf, deadline, "closed", |inner, py| inner.take(py, decode))? {
            Some(message) => Ok(message),
            None => Err(slf.get().error(slf.py(), "no_message", (seconds,))),
        }
    }

    /// Waits for the next piece of a message, see `Connection._recv_piece`. Raises as `recv`.
    #[pyo3(signature = (timeout=None))]
    fn _recv_piece(slf: &Bound<'_, Self>, timeout: Option<&Bound<'_, PyAny>>) -> PyResult<Py<PyAny>> {
        let (deadline, seconds) = deadline(timeout)?;
        match Self::receive_piece(slf, deadline)? {
            Some(piece) => Ok(piece),
            None => Err(slf.get().error(slf.py(), "no_message", (seconds,))),
        }
    }

    fn __iter__(slf: Bound<'_, Self>) -> Bound<'_, Self> {
        slf
    }

    fn __next__(slf: &Bound<'_, Self>) -> PyResult<Option<Py<PyAny>>> {
        Self::receive(slf, None, "iteration_over", |inner, py| inner.take(py, Decode::Default))
    }

    /// What `batches` gives next.
    #[pyo3(signature = (max_messages=4096, max_bytes=usize::MAX, max_wait=None, takes=true))]
    fn _batch(
        slf: &Bound<'_, Self>,
        #[pyo3(from_py_with = arguments::max_messages)] max_messages: usize,
        #[pyo3(from_py_with = arguments::max_bytes)] max_bytes: usize,
        max_wait: Option<&Bound<'_, PyAny>>,
        takes: bool,
    ) -> PyResult<Option<Py<PyAny>>> {
        let wait = max_wait.map(|wait| clock::seconds("max_wait", wait)).transpose()?;
        if !takes {
            return Ok(None);
        }
        let this = slf.get();
        if let Some(wait) = clock::from_seconds(wait) {
            // The time begins with the first message.
            Self::receive(slf, None, "iteration_over", |_, _| Ok(()))?;
            let _only = this.only_reader(slf)?;
            Self::wait(slf, Some(clock::monotonic() + wait), || {
                let inner = this.inner.borrow();
                let is_full = inner.queue.len() >= max_messages || inner.queue.bytes() >= max_bytes;
                Ok((is_full || inner.core.data_over() || inner.paused.is_some()).then_some(()))
            })?;
        }
        Self::receive(slf, None, "iteration_over", |inner, py| inner.take_batch(py, max_messages, max_bytes))
    }

    /// Sends a message; waits only where the send queue is above its limit.
    ///
    /// The message leaves at once, as far as the kernel takes it. The rest waits in the send queue, and the call does
    /// not wait for up to ``write_limit`` bytes of it; above that it lasts until the queue is at its low-water mark.
    /// Only where the queue is at its hard bound (``max_send_queue`` messages, ``max_send_bytes`` bytes) nothing is
    /// accepted until there is room. With ``background=False`` the call lasts until the kernel has everything.
    ///
    /// Any number of threads may send at the same time, also while one receives.
    ///
    /// Args:
    ///     message: ``str`` is sent as text, bytes-like as binary, an iterable of either in fragments.
    ///     text: True sends bytes-like as text, which must be UTF-8; False sends ``str`` as binary.
    ///     timeout: Seconds (or a ``timedelta``) that the call may take; None for no limit. After that a message that
    ///         was accepted leaves nevertheless, and the call is over.
    ///     compress: Where compression was negotiated: True and False say whether this message is compressed; by
    ///         default it is if it has at least ``Deflate.threshold`` bytes.
    ///
    /// Raises:
    ///     ConnectionClosed: The connection is closed or closing.
    ///     TimeoutError: There was no room within ``timeout``: nothing was sent. A message in fragments of which a part
    ///         was sent closes the connection with 1011. With ``background=False`` also where the message was accepted
    ///         and not all of it left in time: the text says which, and the next call goes on with it.
    ///     TypeError: The message cannot be sent.
    ///     ValueError: ``text=True`` and the bytes are not UTF-8, or no send queue of this size can hold the message.
    #[pyo3(signature = (message, text=None, *, timeout=None, compress=None))]
    fn send(
        slf: &Bound<'_, Self>,
        message: &Bound<'_, PyAny>,
        #[pyo3(from_py_with = arguments::text)] text: Option<bool>,
        timeout: Option<&Bound<'_, PyAny>>,
        #[pyo3(from_py_with = arguments::compress)] compress: Option<bool>,
    ) -> PyResult<()> {
        let (py, this) = (slf.py(), slf.get());
        this.check()?;
        let (deadline, seconds) = deadline(timeout)?;
        match this.try_send(slf, message, text, None, compress)? {
            None => {
                let seconds = timeout.is_some().then_some(seconds);
                return this.policy.bind(py).call_method1("send_other", (slf, message, text, seconds)).map(|_| ());
            }
            Some(true) => {}
            Some(false) => {
                let attempt = || Ok(this.try_send(slf, message, text, None, compress)?.filter(|sent| *sent));
                if Self::wait(slf, deadline, attempt)?.is_none() {
                    return Err(this.error(py, "no_room", (slf, seconds)));
                }
            }
        }
        Self::after_send(slf, deadline)
    }

    /// Sends a fragment of a message, when there is room for it; one that `begins` a message waits for the end of another
    /// one in fragments. None: there was no room in time. False: it was accepted, and is not all sent in time, and there
    /// is no helper to send the rest.
    #[pyo3(signature = (message, text, fin, timeout=None, begins=false))]
    fn _send_fragment(
        slf: &Bound<'_, Self>,
        message: &Bound<'_, PyAny>,
        text: Option<bool>,
        fin: bool,
        timeout: Option<&Bound<'_, PyAny>>,
        begins: bool,
    ) -> PyResult<Option<bool>> {
        let this = slf.get();
        this.check()?;
        let (deadline, _) = deadline(timeout)?;
        let fragment = Some(Fragment { begins, fin });
        let attempt = || Ok(this.try_send(slf, message, text, fragment, None)?.filter(|sent| *sent));
        if attempt()?.is_none() && Self::wait(slf, deadline, attempt)?.is_none() {
            return Ok(None);
        }
        if fin {
            // Others may wait for the end of this message.
            this.ring_calls();
        }
        Self::leave(slf, deadline).map(Some)
    }

    /// Tries to send a frame as it is, see `Connection._try_send_frame`.
    fn _try_send_frame(
        slf: &Bound<'_, Self>,
        opcode: u8,
        fin: bool,
        rsv: u8,
        data: &Bound<'_, PyAny>,
    ) -> PyResult<bool> {
        slf.get().check()?;
        let sent = slf.get().try_send_frame(slf, opcode, fin, rsv, data)?;
        if sent {
            Self::leave_now(slf)?;
        }
        Ok(sent)
    }

    /// Sends a frame as it is, when there is room for it. False: there was none in time.
    #[pyo3(signature = (opcode, fin, rsv, data, timeout=None))]
    fn _send_frame(
        slf: &Bound<'_, Self>,
        opcode: u8,
        fin: bool,
        rsv: u8,
        data: &Bound<'_, PyAny>,
        timeout: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<bool> {
        let this = slf.get();
        this.check()?;
        let (deadline, _) = deadline(timeout)?;
        let attempt = || Ok(this.try_send_frame(slf, opcode, fin, rsv, data)?.then_some(()));
        if attempt()?.is_none() && Self::wait(slf, deadline, attempt)?.is_none() {
            return Ok(false);
        }
        Self::after_send(slf, deadline)?;
        Ok(true)
    }

    /// Lets what is queued leave now, as far as the kernel takes it: inside of ``cork()``.
    ///
    /// Raises:
    ///     RuntimeError: The connection belongs to another process.
    fn flush(slf: &Bound<'_, Self>) -> PyResult<()> {
        slf.get().check()?;
        Self::flush_now(slf)
    }

    /// From here on what is sent is collected.
    fn _cork(&self) -> PyResult<()> {
        self.check()?;
        self.inner.borrow_mut().corks += 1;
        Ok(())
    }

    /// Ends a `_cork`; the last one lets out what was collected, and waits as `send` does.
    #[pyo3(signature = (timeout=None))]
    fn _uncork(slf: &Bound<'_, Self>, timeout: Option<&Bound<'_, PyAny>>) -> PyResult<()> {
        let this = slf.get();
        this.check()?;
        let (deadline, _) = deadline(timeout)?;
        {
            let inner = &mut *this.inner.borrow_mut();
            inner.corks = inner.corks.saturating_sub(1);
        }
        Self::after_send(slf, deadline)
    }

    /// Sends a Ping; `future` gets its latency in seconds.
    fn _ping(slf: &Bound<'_, Self>, data: Option<&[u8]>, future: Py<PyAny>) -> PyResult<()> {
        let this = slf.get();
        this.check()?;
        let now = clock::monotonic();
        let outcome = this.inner.borrow_mut().core.ping(data, now);
        let number = outcome.map_err(|misuse| this.misuse(slf, &misuse))?;
        this.inner.borrow_mut().rare.pings.push((number, now, future));
        Self::leave_now(slf)
    }

    /// Sends a Pong.
    fn _pong(slf: &Bound<'_, Self>, data: &[u8]) -> PyResult<()> {
        let this = slf.get();
        this.check()?;
        let outcome = this.inner.borrow_mut().core.pong(data);
        outcome.map_err(|misuse| this.misuse(slf, &misuse))?;
        Self::leave_now(slf)
    }

    /// Works until `future` is done. False: it is not within `timeout`.
    #[pyo3(signature = (future, timeout=None))]
    fn _wait_for(
        slf: &Bound<'_, Self>,
        future: &Bound<'_, PyAny>,
        timeout: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<bool> {
        slf.get().check()?;
        let (deadline, _) = deadline(timeout)?;
        let is_done = || Ok(future.call_method0("done")?.is_truthy()?.then_some(()));
        Ok(Self::wait(slf, deadline, is_done)?.is_some())
    }

    /// Begins the closing handshake.
    #[pyo3(signature = (code=None, reason=""))]
    fn _close(slf: &Bound<'_, Self>, code: Option<i64>, reason: &str) -> PyResult<()> {
        slf.get().check()?;
        Self::begin_close(slf, code, reason)
    }

    /// Works until the connection is closed. False: it is not within `timeout`.
    #[pyo3(signature = (timeout=None))]
    fn _wait_closed(slf: &Bound<'_, Self>, timeout: Option<&Bound<'_, PyAny>>) -> PyResult<bool> {
        let this = slf.get();
        this.check()?;
        let (deadline, _) = deadline(timeout)?;
        if this.inner.borrow().ended {
            return Ok(true);
        }
        Ok(Self::wait(slf, deadline, || Ok(this.inner.borrow().ended.then_some(())))?.is_some())
    }

    /// Gives the connection up at once.
    fn _abort(slf: &Bound<'_, Self>, why: &str) -> PyResult<()> {
        let this = slf.get();
        if this.is_forked() {
            return Ok(());
        }
        this.inner.borrow_mut().core.abort(why);
        Self::settle_state(slf)
    }

    /// Who moves its bytes: ``"blocking"``, the thread that calls.
    #[getter]
    #[allow(clippy::unused_self, reason = "an attribute of the object's, for Python")]
    fn driver(&self) -> &'static str {
        "blocking"
    }

    /// Closes the socket: nobody refers to the connection any more.
    fn _abandon(&self) {
        self.abandon();
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.policy)?;
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

described!(Blocking);

impl Drop for Blocking {
    fn drop(&mut self) {
        // SAFETY: a Python object's memory is freed with the interpreter attached.
        let py = unsafe { Python::assume_attached() };
        self.inner.get_mut().settle_for_good(py);
        self.abandon();
    }
}
