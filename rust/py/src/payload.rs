//! Translation of plain values between the core and Python.

use std::cell::RefCell;

use fastws_core::close::{Cause, CloseInfo, Initiator};
use fastws_core::handshake::{ClientHandshake, RequestParts, Response};
use fastws_core::uri::Uri;
use fastws_core::{Broken, CloseCode, Error, Flaw, Incompatible, Limit, Misuse, Opcode, Violation};
use pyo3::PyClass;
use pyo3::exceptions::{PyUnicodeDecodeError, PyValueError};
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList, PyString, PyTuple};

use crate::clock;
use crate::conn::Inner;

/// Calls `with` with the bytes of a message that is a `str` or bytes-like, and with its type; none if it is neither.
/// Bytes that are to be text are checked, those of a fragment by the caller: a character may lie across a cut.
#[inline]
pub fn with_bytes<R>(
    message: &Bound<'_, PyAny>,
    text: Option<bool>,
    is_fragment: bool,
    with: impl FnOnce(Opcode, &[u8]) -> R,
) -> PyResult<Option<R>> {
    if let Ok(string) = message.cast::<PyString>() {
        let opcode = if text == Some(false) { Opcode::Binary } else { Opcode::Text };
        return Ok(Some(with(opcode, string.to_str()?.as_bytes())));
    }
    let opcode = if text == Some(true) { Opcode::Text } else { Opcode::Binary };
    if let Ok(bytes) = message.cast::<PyBytes>() {
        let bytes = bytes.as_bytes();
        if !is_fragment {
            check_text(message.py(), opcode, bytes)?;
        }
        return Ok(Some(with(opcode, bytes)));
    }
    // SAFETY: attached.
    if unsafe { ffi::PyObject_CheckBuffer(message.as_ptr()) } == 0 {
        return Ok(None);
    }
    let Ok(view) = SimpleBuffer::get(message) else {
        // What is not contiguous, such as a memoryview with steps, is copied first.
        // SAFETY: attached; a new reference, or an exception is set.
        let copy = unsafe { Bound::from_owned_ptr_or_err(message.py(), ffi::PyBytes_FromObject(message.as_ptr()))? };
        return with_bytes(&copy, text, is_fragment, with);
    };
    if !is_fragment {
        check_text(message.py(), opcode, view.bytes())?;
    }
    Ok(Some(with(opcode, view.bytes())))
}

/// Queues a frame as it is; none: `data` is of another type.
pub(crate) fn send_frame(
    inner: &RefCell<Inner>,
    opcode: u8,
    fin: bool,
    rsv: u8,
    data: &Bound<'_, PyAny>,
) -> PyResult<Option<Result<(), Misuse>>> {
    let opcode = Opcode::from_bits(opcode).ok_or_else(|| PyValueError::new_err(format!("no opcode {opcode}")))?;
    with_bytes(data, None, true, |_, bytes| {
        inner.borrow_mut().with_storage(bytes.len(), |core| core.send_frame_as_is(opcode, fin, rsv, bytes))
    })
}

/// Bytes that are sent as text must be UTF-8 (RFC 6455 §5.6).
fn check_text(py: Python<'_>, opcode: Opcode, bytes: &[u8]) -> PyResult<()> {
    if opcode == Opcode::Binary {
        return Ok(());
    }
    match std::str::from_utf8(bytes) {
        Ok(_) => Ok(()),
        Err(error) => Err(PyUnicodeDecodeError::new_utf8(py, bytes, error)?.into()),
    }
}

/// A contiguous buffer of bytes, released when dropped.
struct SimpleBuffer {
    view: Box<ffi::Py_buffer>,
}

impl SimpleBuffer {
    fn get(object: &Bound<'_, PyAny>) -> PyResult<Self> {
        let mut view = Box::new(ffi::Py_buffer::new());
        // SAFETY: attached; the view is filled or an exception is set.
        if unsafe { ffi::PyObject_GetBuffer(object.as_ptr(), &raw mut *view, ffi::PyBUF_SIMPLE) } < 0 {
            return Err(PyErr::fetch(object.py()));
        }
        Ok(Self { view })
    }

    fn bytes(&self) -> &[u8] {
        if self.view.len == 0 {
            return &[];
        }
        // SAFETY: the exporter keeps `len` bytes at `buf` until the view is released.
        unsafe { std::slice::from_raw_parts(self.view.buf.cast(), self.view.len as usize) }
    }
}

impl Drop for SimpleBuffer {
    fn drop(&mut self) {
        // SAFETY: attached: it lives in a call from Python. Released once.
        unsafe { ffi::PyBuffer_Release(&raw mut *self.view) };
    }
}

/// (secure, host, port, path with query, text without secrets).
pub fn uri<'py>(py: Python<'py>, uri: &Uri) -> PyResult<Bound<'py, PyTuple>> {
    (uri.secure, &uri.host, uri.port, &uri.path_and_query, uri.to_string()).into_pyobject(py)
}

/// The handshake of a client, see `Request`.
#[allow(clippy::too_many_arguments, reason = "what a request is made of, by name in Python")]
pub fn handshake(
    uri: &Uri,
    nonce: [u8; 16],
    headers: Vec<(String, String)>,
    subprotocols: Vec<String>,
    origin: Option<String>,
    user_agent: Option<String>,
    extensions: &[String],
    any_extension: bool,
    latin_1: bool,
) -> Result<ClientHandshake, Error> {
    let parts = RequestParts {
        uri,
        nonce,
        headers: &headers,
        subprotocols: &subprotocols,
        extensions,
        any_extension,
        origin: origin.as_deref(),
        user_agent: user_agent.as_deref(),
        latin_1,
    };
    ClientHandshake::new(&parts).map_err(Error::from)
}

/// A response in one piece, for a connection to keep: status and reason, a line a header, an empty line, the body. What
/// the parser lets pass has no line ends in it.
pub fn pack_response(response: &Response) -> Box<[u8]> {
    let mut packed = format!("{} {}\r\n", response.status, response.reason).into_bytes();
    for (name, value) in response.headers.iter() {
        packed.extend([name, ":", value, "\r\n"].into_iter().flat_map(str::bytes));
    }
    packed.extend(b"\r\n");
    packed.extend(&response.body);
    packed.into()
}

/// What kind of refusal of an upgrade this is, for the policy: "status", or one of `fastws.errors.UpgradeFault`.
pub fn refusal_kind(error: &Error) -> &'static str {
    match error {
        Error::PeerIncompatible(Incompatible::Status(_)) => "status",
        Error::PeerIncompatible(Incompatible::Subprotocol(_)) => "subprotocol",
        Error::PeerIncompatible(Incompatible::Extension(_)) => "extension",
        Error::LimitExceeded(_) => "too_large",
        Error::PeerViolated(Violation::Handshake(flaw, _)) => match flaw {
            Flaw::Unfinished => "lost",
            Flaw::NotHttp => "not_http",
            Flaw::Version => "version",
            Flaw::Accept => "accept",
            Flaw::Subprotocol => "subprotocol",
            Flaw::Other => "answer",
        },
        _ => "answer",
    }
}

/// (status, reason, headers, body) of a packed response.
pub fn unpack_response<'py>(py: Python<'py>, packed: &[u8]) -> PyResult<Bound<'py, PyTuple>> {
    let end = packed.windows(4).position(|four| four == b"\r\n\r\n").unwrap_or(packed.len());
    let head = String::from_utf8_lossy(&packed[..end]);
    let (first, lines) = head.split_once("\r\n").unwrap_or((&head, ""));
    let (status, reason) = first.split_once(' ').unwrap_or((first, ""));
    let headers: Vec<_> = lines.split("\r\n").filter_map(|line| line.split_once(':')).collect();
    let body = packed.get(end + 4..).unwrap_or_default();
    (status.parse::<u16>()?, reason, PyList::new(py, headers)?, PyBytes::new(py, body)).into_pyobject(py)
}

/// (received code, received reason, sent code, sent reason, initiator, cause kind, cause text).
pub fn close_info<'py>(py: Python<'py>, info: &CloseInfo) -> PyResult<Bound<'py, PyTuple>> {
    let (received, sent) = (info.received.as_ref(), info.sent.as_ref());
    let initiator = info.initiator.map(|initiator| match initiator {
        Initiator::Local => "local",
        Initiator::Remote => "remote",
    });
    let cause = info.cause.as_ref();
    (
        received.map(|close| u16::from(close.reported_code())),
        received.map(|close| close.reason.as_str()),
        sent.map(|close| u16::from(close.reported_code())),
        sent.map(|close| close.reason.as_str()),
        initiator,
        cause.map(cause_kind),
        cause.map(cause_text),
    )
        .into_pyobject(py)
}

/// A close code that Python gave. Which of those that fit may be sent, the core says.
pub fn close_code(code: Option<i64>) -> PyResult<Option<u16>> {
    let fitting = code.map(u16::try_from).transpose();
    fitting.map_err(|_| PyValueError::new_err(format!("a close code is one of {}", CloseCode::SENDABLE)))
}

/// The limit on messages that `info` says was exceeded: its setting, the size that it was for, and the limit.
pub fn limit(info: &CloseInfo) -> Option<(&'static str, Option<u64>, usize)> {
    match info.cause.as_ref()? {
        Cause::Protocol(Error::LimitExceeded(limit)) => match *limit {
            Limit::Frame { size, limit } => Some(("max_frame_size", Some(size), limit)),
            Limit::Message { size, limit } => Some(("max_size", Some(size), limit)),
            Limit::Fragments { limit } => Some(("max_fragments", None, limit)),
            _ => None,
        },
        _ => None,
    }
}

/// The system's number of the error that `info` says the stream broke by.
pub fn system_error(info: &CloseInfo) -> Option<i32> {
    match info.cause.as_ref()? {
        Cause::Transport(broken) => broken.number,
        _ => None,
    }
}

fn cause_kind(cause: &Cause) -> &'static str {
    match cause {
        Cause::Protocol(Error::LimitExceeded(_)) => "limit",
        Cause::Protocol(Error::PeerViolated(Violation::Utf8(_))) => "utf8",
        Cause::Protocol(Error::PeerViolated(Violation::Masked)) => "masked",
        Cause::Protocol(_) => "protocol",
        Cause::Eof => "eof",
        Cause::Truncated => "truncated",
        Cause::Transport(_) => "transport",
        Cause::Keepalive(_) => "keepalive",
        Cause::CloseTimeout => "close_timeout",
        Cause::Aborted(_) => "aborted",
    }
}

/// A cause as a sentence.
pub fn cause_text(cause: &Cause) -> String {
    match cause {
        Cause::Protocol(error) => error.to_string(),
        Cause::Eof => "the peer ended the stream without a Close frame".to_owned(),
        Cause::Truncated => "the TLS stream was cut off without a Close frame or close_notify".to_owned(),
        Cause::Transport(Broken { text, .. }) | Cause::Aborted(text) => text.clone(),
        Cause::Keepalive(verdict) => format!("keepalive ping timeout: {verdict}"),
        Cause::CloseTimeout => "the peer did not answer our Close frame within close_timeout".to_owned(),
    }
}

/// The terms of compression that were agreed on.
pub(crate) fn terms(inner: &Inner) -> Option<(bool, bool, u8, u8)> {
    inner.core.compression().map(|terms| {
        (
            terms.server_no_context_takeover,
            terms.client_no_context_takeover,
            terms.server_max_window_bits,
            terms.client_max_window_bits,
        )
    })
}

/// An exception that `policy` makes.
pub fn error<'py>(policy: &Bound<'py, PyAny>, name: &str, args: impl pyo3::call::PyCallArgs<'py>) -> PyErr {
    match policy.call_method1(name, args) {
        Ok(error) => PyErr::from_value(error),
        Err(error) => error,
    }
}

/// The exception for what the core refused `conn`.
pub fn misuse<'py, C: PyClass>(policy: &Bound<'py, PyAny>, conn: &Bound<'py, C>, misuse: &Misuse) -> PyErr {
    let kind = match misuse {
        Misuse::NotOpen | Misuse::Closing => return error(policy, "closed", (conn,)),
        Misuse::QueueFull { .. } | Misuse::ControlFull(_) => "queue_full",
        Misuse::FragmentOrder | Misuse::FragmentType => "fragment",
        _ => "value",
    };
    error(policy, "misuse", (kind, misuse.to_string()))
}

/// Counters, by name.
pub(crate) fn stats<'py>(py: Python<'py>, inner: &Inner) -> PyResult<Bound<'py, PyDict>> {
    let stats = inner.core.stats();
    let counters = [
        ("messages_received", stats.messages_received),
        ("messages_sent", stats.messages_sent),
        ("frames_received", stats.frames_received),
        ("frames_sent", stats.frames_sent),
        ("payload_received", stats.payload_received),
        ("payload_sent", stats.payload_sent),
        ("bytes_received", stats.bytes_received),
        ("bytes_sent", stats.bytes_sent),
        ("writes", inner.writes),
        ("pings_received", stats.pings_received),
        ("pings_sent", stats.pings_sent),
        ("pongs_received", stats.pongs_received),
        ("pongs_sent", stats.pongs_sent),
        ("messages_discarded", inner.rare.discarded),
        ("receive_queue_messages", inner.queue.len() as u64),
        ("receive_queue_bytes", inner.queue.bytes() as u64),
        ("send_queue_messages", inner.core.queued_messages() as u64),
        ("send_queue_bytes", inner.core.queued_bytes() as u64),
    ];
    let dict = PyDict::new(py);
    for (name, value) in counters {
        dict.set_item(name, value)?;
    }
    dict.set_item("receive_paused", inner.paused.is_some())?;
    let since = inner.paused.map_or(0, |since| clock::monotonic().saturating_sub(since));
    dict.set_item("receive_paused_seconds", clock::to_seconds(since))?;
    Ok(dict)
}
