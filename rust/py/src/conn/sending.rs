//! What a connection sends, and what becomes of it.

use fastws_core::{Misuse, Opcode, State};
use pyo3::prelude::*;

use super::Conn;
use crate::cork::Cork;
use crate::hub::Hub;
use crate::transfer::Fragment;
use crate::{arguments, awaitable, clock, payload};

/// What became of a message that was to be sent.
enum Sent {
    /// Accepted.
    Queued { above_limit: bool },
    /// Not accepted: it has to wait.
    Full(Misuse),
}

#[pymethods]
impl Conn {
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
    ///     ValueError: ``text=True`` and the bytes are not UTF-8, or no send queue of this size can hold the message.
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
        let outcome = match payload::with_bytes(message, text, false, send) {
            Ok(Some(outcome)) => outcome,
            Ok(None) if !this.is_at_home() => return Self::send_elsewhere(slf, message, text, seconds, compress),
            Ok(None) => {
                let sent = this.policy.bind(py).call_method1("send_other", (slf, message, text, seconds))?;
                return Ok(sent.unbind());
            }
            Err(error) => Err(error),
        };
        let sent = match outcome {
            Ok(sent) => sent,
            Err(_) if !this.is_at_home() => return Self::send_elsewhere(slf, message, text, seconds, compress),
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
        let (py, this) = (slf.py(), slf.get());
        let outcome = payload::with_bytes(message, text, fin.is_some(), |opcode, bytes| {
            this.check_loop(py)?;
            let outcome = {
                let mut inner = this.inner.borrow_mut();
                match fin {
                    None => inner.accept(opcode, bytes, compress),
                    Some(fin) => inner.accept_fragment(opcode, bytes, Fragment { begins: false, fin }),
                }
            };
            match outcome {
                Ok(()) => Self::after_send(slf).map(|_| true),
                Err(Misuse::QueueFull { .. } | Misuse::FragmentOrder) => Ok(false),
                Err(misuse) => Err(this.misuse(slf, &misuse)),
            }
        })?;
        match outcome {
            Some(outcome) => outcome,
            None => Err(this.error(py, "not_sendable", (message,))),
        }
    }

    /// Tries to send a frame as it is, for extensions in Python: masked, and nothing else. True: it was accepted.
    /// False: there is no room now, or a data frame of another message comes first.
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

    /// Queues a Pong.
    fn _pong(slf: &Bound<'_, Self>, data: &[u8]) -> PyResult<()> {
        let this = slf.get();
        this.check_loop(slf.py())?;
        let outcome = this.inner.borrow_mut().core.pong(data);
        outcome.map_err(|misuse| this.misuse(slf, &misuse))?;
        Self::after_send(slf).map(|_| ())
    }
}

impl Conn {
    /// Called by another thread, for the loop to await: it is sent then.
    #[cold]
    fn send_elsewhere(
        slf: &Bound<'_, Self>,
        message: &Bound<'_, PyAny>,
        text: Option<bool>,
        seconds: Option<f64>,
        compress: Option<bool>,
    ) -> PyResult<Py<PyAny>> {
        let this = slf.get();
        this.check_process()?;
        let arguments = (slf, message, text, seconds, compress);
        Ok(this.policy.bind(slf.py()).call_method1("send_at_home", arguments)?.unbind())
    }

    #[inline]
    fn send_bytes(slf: &Bound<'_, Self>, opcode: Opcode, bytes: &[u8], compress: Option<bool>) -> PyResult<Sent> {
        let this = slf.get();
        this.check_loop(slf.py())?;
        let outcome = {
            let inner = &mut *this.inner.borrow_mut();
            if inner.blocked_senders > 0 && inner.core.state() == State::Open {
                // Those who wait for room come first.
                let (messages, bytes) = (inner.core.queued_messages(), inner.core.queued_bytes());
                return Ok(Sent::Full(Misuse::QueueFull { messages, bytes }));
            }
            let hub = this.hub.get();
            let passed = if inner.leaves_at_once(hub.turn()) { inner.send_past_queue(opcode, bytes) } else { None };
            match passed {
                Some(true) if !hub.awaits_turn_end() => return Ok(Sent::Queued { above_limit: false }),
                Some(true) => {
                    inner.sent_turn = hub.turn();
                    Ok(true)
                }
                Some(false) => Ok(false),
                None => inner.accept(opcode, bytes, compress).map(|()| false),
            }
        };
        match outcome {
            Ok(true) => Hub::mark_turn(this.hub.bind(slf.py())).map(|()| Sent::Queued { above_limit: false }),
            Ok(false) => Self::after_send(slf).map(|above_limit| Sent::Queued { above_limit }),
            Err(full @ (Misuse::QueueFull { .. } | Misuse::FragmentOrder)) => Ok(Sent::Full(full)),
            Err(misuse) => Err(this.misuse(slf, &misuse)),
        }
    }
}
