//! A connection whose bytes come and go by an asyncio transport, for loops that watch no descriptors and by choice: what
//! came and was not read, what is to be written, and when the transport is called. Nothing is borrowed then: it may call
//! back at once.

use std::io;
use std::mem::MaybeUninit;

use fastws_core::Broken;
use pyo3::exceptions::PyOSError;
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyByteArray, PyBytes, PyType, PyWeakrefMethods, PyWeakrefReference};

use crate::conn::{Conn, Inner};
use crate::errors::ends_program;
use crate::hub::Hub;
use crate::secured::secure;
use crate::syscall;

/// Bytes given to the transport at once: what it cannot get rid of, it keeps, and is given nothing until it has.
const CHUNK: usize = 64 << 10;

/// What a transport receives into. libuv reads up to 32 times before it gives the loop its turn.
const LANDING: usize = 64 << 10;

/// Seconds that a transport of a connection that is over may take to get rid of what it was given.
const LINGER: u32 = 10;

/// What is read of the socket of a transport that failed: more than the kernel has received of a peer that is gone, which
/// one that is not would go on to send.
const MOST_UNREAD: usize = 16 << 20;

/// A transport, and what lies between it and the connection.
pub struct Wire {
    /// None when the connection is over.
    transport: Option<Py<PyAny>>,
    /// What came; up to `taken` it was read.
    inbox: Vec<u8>,
    taken: usize,
    end: Option<End>,
    outbox: Vec<u8>,
    /// The transport holds what the kernel did not take, or has dropped it: it is given nothing more.
    is_full: bool,
    /// The transport was told to stop reading.
    is_stopped: bool,
    /// Nothing more will be written: to be said, and said.
    ends: bool,
    has_ended: bool,
    /// Messages that were wholly written when the transport had got rid of everything, and those written in part.
    left_messages: u64,
    left_begun: usize,
}

/// How what comes ended.
enum End {
    Eof,
    Lost(Option<Why>),
}

/// Why a transport was lost: an error of the system's by its number, or another one's text.
enum Why {
    System(i32),
    Other(String),
}

impl Why {
    fn error(&self) -> io::Error {
        match self {
            Self::System(number) => io::Error::from_raw_os_error(*number),
            Self::Other(text) => io::Error::other(text.clone()),
        }
    }
}

impl Wire {
    fn new(transport: Py<PyAny>) -> Self {
        Self {
            transport: Some(transport),
            inbox: Vec::new(),
            taken: 0,
            end: None,
            outbox: Vec::new(),
            is_full: false,
            is_stopped: false,
            ends: false,
            has_ended: false,
            left_messages: 0,
            left_begun: 0,
        }
    }

    /// As recv(2).
    pub fn receive(&mut self, buffer: &mut [MaybeUninit<u8>]) -> io::Result<usize> {
        let left = &self.inbox[self.taken..];
        if left.is_empty() {
            return Err(match &self.end {
                None => io::ErrorKind::WouldBlock.into(),
                Some(End::Lost(Some(why))) => why.error(),
                Some(_) => io::ErrorKind::UnexpectedEof.into(),
            });
        }
        let count = left.len().min(buffer.len());
        for (to, byte) in buffer.iter_mut().zip(left) {
            to.write(*byte);
        }
        self.taken += count;
        if self.taken == self.inbox.len() {
            (self.inbox, self.taken) = (Vec::new(), 0);
        }
        Ok(count)
    }

    /// As send(2), of two slices.
    pub fn send(&mut self, first: &[u8], second: &[u8]) -> io::Result<usize> {
        if let Some(End::Lost(why)) = &self.end {
            return Err(why.as_ref().map_or(io::ErrorKind::BrokenPipe.into(), Why::error));
        }
        let room = CHUNK.saturating_sub(self.outbox.len());
        if self.is_full || room == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let (one, two) = (first.len().min(room), second.len().min(room - first.len().min(room)));
        self.outbox.extend_from_slice(&first[..one]);
        self.outbox.extend_from_slice(&second[..two]);
        Ok(one + two)
    }

    /// Nothing more will be written.
    pub fn end(&mut self) {
        self.ends = true;
    }

    /// Whether the transport keeps some of what it was given, lost it, or will be given it; and the messages before that.
    pub fn kept(&self) -> Option<u64> {
        (self.is_full || !self.outbox.is_empty()).then_some(self.left_messages)
    }

    /// Whether what is kept may still leave.
    pub fn is_writing(&self) -> bool {
        self.kept().is_some() && !matches!(self.end, Some(End::Lost(_)))
    }

    /// Whether something is there to be read, an end included.
    pub fn has_more(&self) -> bool {
        self.taken < self.inbox.len() || self.end.is_some()
    }

    /// Ends the transport: what it was given leaves, where the peer takes it.
    fn close(mut self, py: Python<'_>, event_loop: &Bound<'_, PyAny>) -> PyResult<()> {
        let Some(transport) = self.transport.take() else { return Ok(()) };
        let transport = transport.bind(py);
        if self.is_full {
            transport.call_method0(intern!(py, "abort"))?;
            return Self::shut(transport);
        }
        if !self.outbox.is_empty() {
            transport.call_method1(intern!(py, "write"), (PyBytes::new(py, &self.outbox),))?;
        }
        transport.call_method0(intern!(py, "close"))?;
        if transport.call_method0(intern!(py, "get_write_buffer_size"))?.is_truthy()? {
            let abort = transport.getattr(intern!(py, "abort"))?;
            event_loop.call_method1(intern!(py, "call_later"), (LINGER, abort))?;
            return Ok(());
        }
        Self::shut(transport)
    }

    /// The transport closes its socket in the loop's next turn; the peer is told now.
    fn shut(transport: &Bound<'_, PyAny>) -> PyResult<()> {
        let fd = Self::descriptor(transport)?;
        // SAFETY: a plain call; a socket that is gone says so.
        unsafe { libc::shutdown(fd, libc::SHUT_RDWR) };
        Ok(())
    }

    /// What came, and a transport that failed will not give any more: its socket is open as long as it says so.
    fn unread(transport: &Bound<'_, PyAny>) -> PyResult<Vec<u8>> {
        let fd = Self::descriptor(transport)?;
        let mut bytes = Vec::new();
        loop {
            let end = bytes.len();
            bytes.resize(end + LANDING, 0);
            // SAFETY: so many bytes may be written there.
            let got = unsafe { syscall::receive_raw(fd, bytes[end..].as_mut_ptr(), LANDING) }.unwrap_or(0);
            bytes.truncate(end + got);
            if got == 0 || bytes.len() >= MOST_UNREAD {
                return Ok(bytes);
            }
        }
    }

    /// -1: it is closed.
    fn descriptor(transport: &Bound<'_, PyAny>) -> PyResult<i32> {
        let py = transport.py();
        let socket = transport.call_method1(intern!(py, "get_extra_info"), ("socket",))?;
        if socket.is_none() { Ok(-1) } else { socket.call_method0("fileno")?.extract() }
    }

    pub fn traverse(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        self.transport.as_ref().map_or(Ok(()), |transport| visit.call(transport))
    }

    /// Ends it from wherever the last reference went.
    pub fn abandon(mut self, py: Python<'_>, event_loop: &Bound<'_, PyAny>) {
        let Some(transport) = self.transport.take() else { return };
        let _ = Self::shut(transport.bind(py));
        let abort = transport.bind(py).getattr(intern!(py, "abort"));
        // A loop that is closed has closed its transports.
        let _ = abort.and_then(|abort| event_loop.call_method1(intern!(py, "call_soon_threadsafe"), (abort,)));
    }
}

impl Inner {
    fn wire(&mut self) -> Option<&mut Wire> {
        self.extras.as_mut()?.wire()
    }

    /// Whether a part of its work calls Python: TLS of Python's, a transport, or one who is told of all bytes.
    #[inline]
    pub(crate) fn works_outside(&self) -> bool {
        self.is_secured_by_python()
            || self.extras.as_ref().is_some_and(|extras| extras.has_wire() || extras.tap.is_some())
    }

    #[inline]
    pub(crate) fn has_wire(&self) -> bool {
        self.extras.as_ref().is_some_and(|extras| extras.has_wire())
    }

    /// Whether a transport gave what was not read.
    pub(crate) fn has_more(&self) -> bool {
        self.extras.as_ref().is_some_and(|extras| extras.has_more())
    }

    /// If the transport has got rid of everything, it is given what waits.
    fn go_on_writing(&mut self) {
        let (accepted, not_begun, begun) = self.in_core();
        let Some(wire) = self.wire() else { return };
        if !wire.is_full && wire.outbox.is_empty() {
            wire.left_messages = accepted.saturating_sub((not_begun + begun) as u64);
            wire.left_begun = begun;
            self.blocked = false;
            self.flush();
        }
    }

    /// The transport dropped what it was given, all of it, and tells why in a turn to come.
    fn refused(&mut self) {
        let is_plain = self.tls.is_none();
        let Some(wire) = self.wire() else { return };
        wire.is_full = true;
        let begun = wire.left_begun;
        if is_plain {
            self.rare.refused_behind = Some(begun);
        }
    }

    /// What the transport is to be told next.
    fn next_call(&mut self, py: Python<'_>) -> Option<(Py<PyAny>, Call)> {
        let wants_read = self.wanted().read;
        let has_begun = self.token.is_some();
        let wire = self.wire()?;
        let transport = wire.transport.as_ref()?.clone_ref(py);
        let call = if !wire.outbox.is_empty() && !wire.is_full {
            Call::Write(std::mem::take(&mut wire.outbox))
        } else if wire.ends && !wire.has_ended && wire.outbox.is_empty() {
            wire.has_ended = true;
            Call::End
        } else {
            // What came already is read first. Where nobody wants it, the kernel keeps the rest.
            let stops = !wants_read && has_begun || wire.taken < wire.inbox.len();
            if stops == wire.is_stopped || wire.end.is_some() {
                return None;
            }
            wire.is_stopped = stops;
            if stops { Call::Stop } else { Call::GoOn }
        };
        Some((transport, call))
    }
}

enum Call {
    Write(Vec<u8>),
    End,
    Stop,
    GoOn,
}

impl Call {
    /// False: it was refused. A transport that failed says so later, and ends at once.
    fn make(self, transport: &Bound<'_, PyAny>) -> PyResult<bool> {
        let py = transport.py();
        let done = match self {
            Self::Write(bytes) => {
                transport.call_method1(intern!(py, "write"), (PyBytes::new(py, &bytes),))?;
                return Ok(!transport.call_method0(intern!(py, "is_closing"))?.is_truthy()?);
            }
            Self::End => transport.call_method0(intern!(py, "write_eof")),
            Self::Stop => transport.call_method0(intern!(py, "pause_reading")),
            Self::GoOn => transport.call_method0(intern!(py, "resume_reading")),
        };
        done.map(|_| true)
    }
}

impl Conn {
    /// Does what calls Python, until there is nothing more to do: its part of TLS, and the transport's.
    #[cold]
    pub(crate) fn work_outside(slf: &Bound<'_, Self>) -> PyResult<()> {
        let worked = Self::call_outside(slf);
        worked.and(Self::tell_tapped(slf))
    }

    fn call_outside(slf: &Bound<'_, Self>) -> PyResult<()> {
        let (py, this) = (slf.py(), slf.get());
        loop {
            if this.inner.borrow().is_secured_by_python() {
                secure(py, &this.inner)?;
            }
            let Some((transport, call)) = this.inner.borrow_mut().next_call(py) else { return Ok(()) };
            let outcome = call.make(transport.bind(py));
            let inner = &mut *this.inner.borrow_mut();
            match outcome {
                Ok(true) => inner.go_on_writing(),
                Ok(false) => inner.refused(),
                Err(error) => {
                    // What the transport was to be given may be lost: nothing can follow it.
                    let number = system_error(error.value(py).as_any());
                    inner.broken.get_or_insert_with(|| Box::new(Broken { text: error.to_string(), number }));
                    if let Some(wire) = inner.wire() {
                        wire.is_full = true;
                    }
                    return if ends_program(py, &error) { Err(error) } else { Ok(()) };
                }
            }
        }
    }

    /// The connection is over, and so is its transport.
    pub(crate) fn close_wire(slf: &Bound<'_, Self>) -> PyResult<()> {
        let wire = slf.get().inner.borrow_mut().extras.as_mut().and_then(|extras| extras.take_wire());
        wire.map_or(Ok(()), |wire| wire.close(slf.py(), slf.get().hub.get().event_loop(slf.py())))
    }

    fn on_wire(slf: &Bound<'_, Self>, change: impl FnOnce(&mut Inner)) -> PyResult<()> {
        {
            let inner = &mut *slf.get().inner.borrow_mut();
            inner.run.begin();
            change(inner);
        }
        Self::receive(slf)?;
        Self::sync(slf)
    }
}

/// What asyncio calls; `fastws._loop_io` makes it an `asyncio.BufferedProtocol`. It keeps its connection as the hub does.
#[pyclass(frozen, subclass, module = "fastws._core")]
pub struct Protocol {
    /// Its loop's transports let nothing pass that ends the program: libuv's.
    swallows: bool,
    conn: Py<PyWeakrefReference>,
    hub: Py<Hub>,
    landing: Py<PyByteArray>,
}

#[pymethods]
impl Protocol {
    #[new]
    fn new(conn: &Bound<'_, Conn>) -> PyResult<Self> {
        let py = conn.py();
        Ok(Self {
            swallows: swallows(&conn.get().hub.get().event_loop(py).get_type())?,
            conn: PyWeakrefReference::new(conn)?.unbind(),
            hub: conn.get().hub.clone_ref(py),
            landing: PyByteArray::new_with(py, LANDING, |_| Ok(()))?.unbind(),
        })
    }

    fn connection_made(&self, transport: &Bound<'_, PyAny>) -> PyResult<()> {
        // It tells us of whatever it keeps: what else waits, waits in the send queue.
        transport.call_method1("set_write_buffer_limits", (0,))?;
        if let Some(conn) = self.conn(transport.py()) {
            conn.get().inner.borrow_mut().extras_mut().set_wire(Wire::new(transport.clone().unbind()));
        }
        Ok(())
    }

    fn get_buffer(&self, py: Python<'_>, _sizehint: isize) -> Py<PyByteArray> {
        self.landing.clone_ref(py)
    }

    fn buffer_updated(&self, py: Python<'_>, count: usize) -> PyResult<()> {
        let landing = self.landing.bind(py);
        // SAFETY: attached, and nothing runs that could change the buffer while it is read.
        let bytes = unsafe { landing.as_bytes() };
        let bytes = &bytes[..count.min(bytes.len())];
        self.tell(py, |inner| {
            if let Some(wire) = inner.wire() {
                wire.inbox.extend_from_slice(bytes);
            }
        })
    }

    /// True: the transport stays, for what is to be written.
    fn eof_received(&self, py: Python<'_>) -> PyResult<bool> {
        self.tell(py, |inner| {
            if let Some(wire) = inner.wire() {
                wire.end = Some(End::Eof);
            }
            inner.hung_up();
        })?;
        Ok(true)
    }

    fn connection_lost(&self, py: Python<'_>, error: Option<&Bound<'_, PyAny>>) -> PyResult<()> {
        let transport = self.conn(py).and_then(|conn| {
            let inner = &mut *conn.get().inner.borrow_mut();
            inner.wire()?.transport.as_ref().map(|transport| transport.clone_ref(py))
        });
        // It goes when nothing is borrowed: it may run anything.
        let unread = match &transport {
            Some(transport) if error.is_some() => Wire::unread(transport.bind(py)),
            _ => Ok(Vec::new()),
        };
        // The end is told also where a transport does not give its socket, and with what ends the program on its way.
        let (unread, failed) = match unread {
            Ok(bytes) => (bytes, Ok(())),
            Err(error) => (Vec::new(), Err(error)),
        };
        let error = error.map(|error| system_error(error).map_or_else(|| Why::Other(error.to_string()), Why::System));
        self.tell(py, |inner| {
            if let Some(wire) = inner.wire() {
                wire.inbox.extend_from_slice(&unread);
                wire.end = Some(End::Lost(error));
                wire.transport = None;
            }
            inner.hung_up();
            if inner.core.has_stream_ended() {
                // Nobody reads any more: who writes is told.
                inner.blocked = false;
                inner.flush();
            }
        })
        .and(failed)
    }

    /// The transport may say so within a write of ours.
    fn pause_writing(&self, py: Python<'_>) {
        if let Some(conn) = self.conn(py)
            && let Some(wire) = conn.get().inner.borrow_mut().wire()
        {
            wire.is_full = true;
        }
    }

    fn resume_writing(&self, py: Python<'_>) -> PyResult<()> {
        let Some(conn) = self.conn(py) else { return Ok(()) };
        let token = {
            let inner = &mut *conn.get().inner.borrow_mut();
            if let Some(wire) = inner.wire() {
                wire.is_full = false;
            }
            inner.go_on_writing();
            inner.token
        };
        let hub = self.hub.bind(py);
        match token {
            Some(token) if hub.get().is_running() => Hub::run_soon(hub, token),
            Some(_) => Hub::visit(hub, &conn, self.swallows, Conn::on_flush),
            None => Ok(()),
        }
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.hub)
    }
}

/// The system's number that an exception has.
fn system_error(error: &Bound<'_, PyAny>) -> Option<i32> {
    error.cast::<PyOSError>().ok()?.getattr("errno").ok()?.extract().ok()
}

/// Whether loops of this kind, or one that it is made of, are libuv's.
fn swallows(kind: &Bound<'_, PyType>) -> PyResult<bool> {
    for class in kind.mro() {
        let module: String = class.getattr("__module__")?.extract()?;
        if ["uvloop", "winloop"].iter().any(|name| module.starts_with(name)) {
            return Ok(true);
        }
    }
    Ok(false)
}

impl Protocol {
    fn conn<'py>(&self, py: Python<'py>) -> Option<Bound<'py, Conn>> {
        self.conn.bind(py).upgrade()?.cast_into::<Conn>().ok()
    }

    /// Lets the connection work with what it is told.
    fn tell(&self, py: Python<'_>, change: impl FnOnce(&mut Inner)) -> PyResult<()> {
        let Some(conn) = self.conn(py) else { return Ok(()) };
        if conn.get().token().is_none() {
            // Before it begins, or when it is over.
            change(&mut conn.get().inner.borrow_mut());
            return Ok(());
        }
        Hub::visit(self.hub.bind(py), &conn, self.swallows, |conn| Conn::on_wire(conn, change))
    }
}
