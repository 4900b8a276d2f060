//! What frames are sent by, one by one and as they are: for a consumer that gets them by `frames`.

use std::cell::{Cell, RefCell};

use fastws_core::frame::first_byte;
use fastws_core::{Misuse, Opcode};
use pyo3::exceptions::{PyRuntimeError, PyTypeError, PyValueError};
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::types::{PyByteArray, PyBytes};

use crate::conn::Conn;
use crate::hub::Hub;
use crate::payload;

// What a subclass has to have: `_pause_writing()`, `_is_pong(frame)`, `_frame_failed(error)`, `_ignored()`.
/// Sends frames over a connection whose delivery is ``raw``, and is told of those that come.
#[pyclass(frozen, subclass, weakref, module = "fastws._core")]
pub struct FrameTransport {
    conn: RefCell<Option<Py<Conn>>>,
    thread: libc::pthread_t,
    /// Bytes that wait to be sent above which the consumer is to pause.
    high: Cell<usize>,
    low: Cell<usize>,
    /// It was told to, and not yet to go on.
    is_paused: Cell<bool>,
    /// Each frame is asked whether it is the pong that is waited for.
    pub(crate) expects_pong: Cell<bool>,
}

// SAFETY: every access happens with the interpreter attached, and calls from another thread are refused.
unsafe impl Send for FrameTransport {}
// SAFETY: as above.
unsafe impl Sync for FrameTransport {}

/// Any object as a flag.
fn truth(value: &Bound<'_, PyAny>) -> PyResult<bool> {
    value.is_truthy()
}

#[pymethods]
impl FrameTransport {
    #[new]
    #[pyo3(signature = (conn, *_args, **_kwargs))]
    fn new(
        conn: &Bound<'_, Conn>,
        _args: &Bound<'_, pyo3::types::PyTuple>,
        _kwargs: Option<&Bound<'_, pyo3::types::PyDict>>,
    ) -> Self {
        let inner = conn.get().inner.borrow();
        Self {
            conn: RefCell::new(Some(conn.clone().unbind())),
            // SAFETY: a plain call.
            thread: unsafe { libc::pthread_self() },
            high: Cell::new(inner.settings.write_high),
            low: Cell::new(inner.settings.write_low),
            is_paused: Cell::new(false),
            expects_pong: Cell::new(false),
        }
    }

    /// Has ``callback(transport, frame)`` called for each frame from here on.
    fn _show_frames(slf: &Bound<'_, Self>, callback: &Bound<'_, PyAny>) -> PyResult<()> {
        let conn = slf.get().conn(slf.py())?;
        Conn::show_frames(&conn, slf.clone().unbind(), callback)
    }

    /// Sends a frame.
    ///
    /// It is copied, masked, and leaves at once if it is the first of the loop's turn; later ones of the turn leave
    /// together at its end, or earlier if they are worth a system call. Does nothing after a Close frame was sent, and
    /// after the connection was lost.
    ///
    /// Args:
    ///     msg_type: The opcode, 0 to 15.
    ///     message: The payload: ``str``, bytes-like, or None for none.
    ///     fin: It is the last frame of its message.
    ///     rsv1: The first reserved bit, which extensions give a meaning to.
    ///     rsv2: The second.
    ///     rsv3: The third.
    ///
    /// Raises:
    ///     TypeError: The payload is of another type.
    ///     ValueError: A control frame's payload is longer than 125 bytes, or the opcode is none.
    ///     RuntimeError: The call comes from another thread than the connection's.
    #[pyo3(signature = (msg_type, message, fin=true, rsv1=false, rsv2=false, rsv3=false))]
    #[expect(clippy::fn_params_excessive_bools, reason = "a frame's header has them")]
    fn send(
        slf: &Bound<'_, Self>,
        msg_type: i64,
        message: Option<&Bound<'_, PyAny>>,
        #[pyo3(from_py_with = truth)] fin: bool,
        #[pyo3(from_py_with = truth)] rsv1: bool,
        #[pyo3(from_py_with = truth)] rsv2: bool,
        #[pyo3(from_py_with = truth)] rsv3: bool,
    ) -> PyResult<()> {
        slf.get().check("send")?;
        let first = bits_of(msg_type, [fin, rsv1, rsv2, rsv3])?;
        Self::send_object(slf, first, message)
    }

    /// Sends the part of ``buffer`` behind ``msg_offset`` as a frame's payload. The buffer is left as it is.
    ///
    /// Args:
    ///     msg_type: The opcode, 0 to 15, but not that of a Close frame.
    ///     buffer: What holds the payload.
    ///     msg_offset: Where in it the payload begins, at least 14.
    ///     fin: As for ``send``, and so are the others.
    ///     rsv1: The first reserved bit.
    ///     rsv2: The second.
    ///     rsv3: The third.
    ///
    /// Raises:
    ///     ValueError: The offset is less than 14 or behind the buffer's end, there is no buffer, or it is Close.
    ///     RuntimeError: The call comes from another thread than the connection's.
    #[pyo3(signature = (msg_type, buffer, msg_offset, fin=true, rsv1=false, rsv2=false, rsv3=false))]
    #[expect(clippy::too_many_arguments, clippy::fn_params_excessive_bools, reason = "a frame's header has them")]
    fn send_reuse_external_bytearray(
        slf: &Bound<'_, Self>,
        msg_type: i64,
        buffer: Option<&Bound<'_, PyByteArray>>,
        msg_offset: isize,
        #[pyo3(from_py_with = truth)] fin: bool,
        #[pyo3(from_py_with = truth)] rsv1: bool,
        #[pyo3(from_py_with = truth)] rsv2: bool,
        #[pyo3(from_py_with = truth)] rsv3: bool,
    ) -> PyResult<()> {
        let value = |text: &'static str| PyValueError::new_err(text);
        let Some(buffer) = buffer else {
            return Err(value("None is passed instead of buffer to send_reuse_external_bytearray"));
        };
        let Some(offset) = usize::try_from(msg_offset).ok().filter(|offset| *offset >= 14) else {
            return Err(value("msg_offset must be at least 14: the room of the longest frame header"));
        };
        if msg_type == Opcode::Close as i64 {
            return Err(value("a Close frame is sent by send_close"));
        }
        slf.get().check("send_reuse_external_bytearray")?;
        let first = bits_of(msg_type, [fin, rsv1, rsv2, rsv3])?;
        // SAFETY: attached, and no Python runs while the bytes are copied.
        let Some(bytes) = (unsafe { buffer.as_bytes() }).get(offset..) else {
            return Err(value("msg_offset points beyond buffer end, msg_offset > len(buffer)"));
        };
        Self::send_bytes(slf, first, bytes)
    }

    /// Sends a Ping frame.
    ///
    /// Args:
    ///     message: Its payload, at most 125 bytes; None for none.
    ///
    /// Raises as ``send``.
    #[pyo3(signature = (message=None))]
    fn send_ping(slf: &Bound<'_, Self>, message: Option<&Bound<'_, PyAny>>) -> PyResult<()> {
        slf.get().check("send_ping")?;
        Self::send_object(slf, first_byte(Opcode::Ping, true, 0), message)
    }

    /// Sends a Pong frame.
    ///
    /// Args:
    ///     message: Its payload, at most 125 bytes; None for none.
    ///
    /// Raises as ``send``.
    #[pyo3(signature = (message=None))]
    fn send_pong(slf: &Bound<'_, Self>, message: Option<&Bound<'_, PyAny>>) -> PyResult<()> {
        slf.get().check("send_pong")?;
        Self::send_object(slf, first_byte(Opcode::Pong, true, 0), message)
    }

    /// Sends a Close frame, once. The connection stays until ``disconnect``, or until the peer ends it.
    ///
    /// Args:
    ///     close_code: The code; 0 sends a frame without one.
    ///     close_message: The reason: ``str`` or UTF-8, at most 123 bytes; None for none.
    ///
    /// Raises:
    ///     ValueError: The code is one that no endpoint may send (RFC 6455 §7.4), or the reason is too long.
    ///     UnicodeDecodeError: The reason is not UTF-8.
    ///     RuntimeError: The call comes from another thread than the connection's.
    #[pyo3(signature = (close_code=0, close_message=None))]
    fn send_close(slf: &Bound<'_, Self>, close_code: i64, close_message: Option<&Bound<'_, PyAny>>) -> PyResult<()> {
        let py = slf.py();
        slf.get().check("send_close")?;
        let code = match close_code {
            0 => None,
            code => Some(u16::try_from(code).map_err(|_| PyValueError::new_err(format!("no close code: {code}")))?),
        };
        let said = match close_message {
            None => Vec::new(),
            Some(message) => payload::with_bytes(message, Some(true), false, |_, bytes| bytes.to_vec())?
                .ok_or_else(|| no_payload(message))?,
        };
        let reason = String::from_utf8(said)?;
        let Ok(conn) = slf.get().conn(py) else { return Ok(()) };
        let outcome = conn.get().inner.borrow_mut().core.close_raw(code, &reason);
        Self::sent(slf, &conn, outcome)
    }

    /// Closes the connection.
    ///
    /// Args:
    ///     graceful: What waits to be sent leaves before; False drops it.
    ///
    /// Does nothing on a connection that is over. Raises RuntimeError in another thread than the connection's.
    #[pyo3(signature = (graceful=true))]
    fn disconnect(slf: &Bound<'_, Self>, #[pyo3(from_py_with = truth)] graceful: bool) -> PyResult<()> {
        slf.get().check("disconnect")?;
        let Ok(conn) = slf.get().conn(slf.py()) else { return Ok(()) };
        {
            let mut inner = conn.get().inner.borrow_mut();
            if graceful {
                inner.core.hang_up();
            } else {
                inner.core.abort("disconnected");
            }
        }
        Conn::sync(&conn)
    }

    /// Reads no more from here on, or again.
    fn _hold_reading(slf: &Bound<'_, Self>, hold: bool) -> PyResult<()> {
        slf.get().check("pause_reading")?;
        let Ok(conn) = slf.get().conn(slf.py()) else { return Ok(()) };
        conn.get().inner.borrow_mut().held = hold;
        if let Some(token) = conn.get().token().filter(|_| !hold) {
            Hub::run_soon(conn.get().hub.bind(slf.py()), token)?;
        }
        Conn::sync(&conn)
    }

    /// Writes bytes to the wire as they are, between frames.
    fn _write(slf: &Bound<'_, Self>, data: &Bound<'_, PyAny>) -> PyResult<()> {
        slf.get().check("write")?;
        let Ok(conn) = slf.get().conn(slf.py()) else { return Ok(()) };
        let outcome = payload::with_bytes(data, None, false, |_, bytes| {
            conn.get().inner.borrow_mut().with_storage(bytes.len(), |core| core.write_raw(bytes))
        })?;
        Self::sent(slf, &conn, outcome.ok_or_else(|| no_payload(data))?)
    }

    /// Raises RuntimeError in another thread than the connection's.
    fn _check_thread(&self, method: &str) -> PyResult<()> {
        self.check(method)
    }

    /// Bytes that wait to be sent.
    #[getter]
    fn _unsent_bytes(&self, py: Python<'_>) -> usize {
        self.conn(py).map_or(0, |conn| conn.get().inner.borrow().core.queued_bytes())
    }

    /// Bytes that wait to be sent above which writing is to pause, and below which it goes on.
    #[getter]
    fn _limits(&self) -> (usize, usize) {
        (self.high.get(), self.low.get())
    }

    fn _set_limits(&self, high: usize, low: usize) {
        self.high.set(high);
        self.low.set(low);
    }

    /// Writing was paused, and goes on now.
    fn _resumed(&self) {
        self.is_paused.set(false);
    }

    /// Whether each frame is asked, by ``_is_pong``, whether it is the pong that is waited for.
    #[getter(_expects_pong)]
    fn expects_pong(&self) -> bool {
        self.expects_pong.get()
    }

    #[setter(_expects_pong)]
    fn set_expects_pong(&self, expects: bool) {
        self.expects_pong.set(expects);
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        if let Ok(conn) = self.conn.try_borrow() {
            visit.call(&*conn)?;
        }
        Ok(())
    }

    fn __clear__(&self) {
        let gone = self.conn.take();
        drop(gone);
    }
}

impl FrameTransport {
    fn conn<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, Conn>> {
        match &*self.conn.borrow() {
            Some(conn) => Ok(conn.bind(py).clone()),
            None => Err(PyRuntimeError::new_err("the connection is gone")),
        }
    }

    #[inline]
    fn check(&self, method: &str) -> PyResult<()> {
        // SAFETY: a plain call.
        if unsafe { libc::pthread_self() } == self.thread { Ok(()) } else { Err(stranger(method)) }
    }

    #[inline]
    fn send_object(slf: &Bound<'_, Self>, first: u8, message: Option<&Bound<'_, PyAny>>) -> PyResult<()> {
        let Some(message) = message else { return Self::send_bytes(slf, first, &[]) };
        if let Ok(bytes) = message.cast::<PyBytes>() {
            return Self::send_bytes(slf, first, bytes.as_bytes());
        }
        payload::with_bytes(message, None, false, |_, bytes| Self::send_bytes(slf, first, bytes))?
            .ok_or_else(|| no_payload(message))?
    }

    #[inline]
    fn send_bytes(slf: &Bound<'_, Self>, first: u8, bytes: &[u8]) -> PyResult<()> {
        let Ok(conn) = slf.get().conn(slf.py()) else { return Ok(()) };
        let outcome = conn.get().inner.borrow_mut().with_storage(bytes.len(), |core| core.send_raw(first, bytes));
        Self::sent(slf, &conn, outcome)
    }

    #[inline]
    fn sent(slf: &Bound<'_, Self>, conn: &Bound<'_, Conn>, outcome: Result<(), Misuse>) -> PyResult<()> {
        match outcome {
            Ok(()) => {}
            Err(Misuse::Closing | Misuse::NotOpen) => return slf.call_method0("_ignored").map(|_| ()),
            Err(misuse) => return Err(conn.get().misuse(conn, &misuse)),
        }
        Conn::after_send(conn)?;
        let this = slf.get();
        if this.is_above(conn) && !this.is_paused.get() {
            // What waits for the turn's end is not what the kernel does not take.
            Conn::flush_now(conn)?;
            if this.is_above(conn) && !this.is_paused.replace(true) {
                slf.call_method0("_pause_writing")?;
            }
        }
        Ok(())
    }

    #[inline]
    fn is_above(&self, conn: &Bound<'_, Conn>) -> bool {
        conn.get().inner.borrow().core.queued_bytes() > self.high.get()
    }
}

fn bits_of(opcode: i64, flags: [bool; 4]) -> PyResult<u8> {
    let Some(opcode) = u8::try_from(opcode).ok().filter(|opcode| *opcode < 16) else {
        return Err(PyValueError::new_err(format!("msg_type is an opcode, from 0 to 15, not {opcode}")));
    };
    Ok(flags.into_iter().fold(0, |bits, flag| bits << 1 | u8::from(flag)) << 4 | opcode)
}

#[cold]
fn stranger(method: &str) -> PyErr {
    PyRuntimeError::new_err(format!("WSTransport.{method} called from a wrong thread: the connection is another one's"))
}

#[cold]
fn no_payload(message: &Bound<'_, PyAny>) -> PyErr {
    let kind = message.get_type().name().map_or_else(|_| "this".to_owned(), |name| name.to_string());
    PyTypeError::new_err(format!("a frame's payload is str, bytes-like or None, not {kind}"))
}
