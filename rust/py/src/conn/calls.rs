//! What the methods of a connection share.

use std::collections::HashSet;

use fastws_core::{Misuse, Opcode, State};
use pyo3::prelude::*;

use super::Conn;
use crate::hub::Hub;
use crate::payload;
use crate::transfer::Fragment;

/// What became of a message that was to be sent.
pub(crate) enum Sent {
    /// Accepted.
    Queued { above_limit: bool },
    /// Not accepted: it has to wait.
    Full(Misuse),
}

impl Conn {
    pub(super) fn future<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.hub.get().event_loop(py).call_method0("create_future")
    }

    /// Lets pings go that nobody waits for any more: a peer that answers none must not make them pile up.
    pub(super) fn forget_cancelled_pings(slf: &Bound<'_, Self>) -> PyResult<()> {
        let waiting: Vec<Py<PyAny>> = {
            let inner = slf.get().inner.borrow();
            let count = inner.rare.pings.len();
            if count < 64 || !count.is_power_of_two() {
                return Ok(());
            }
            inner.rare.pings.iter().map(|(_, _, future)| future.clone_ref(slf.py())).collect()
        };
        let mut gone = HashSet::new();
        for future in &waiting {
            if future.bind(slf.py()).call_method0("done")?.is_truthy()? {
                gone.insert(future.as_ptr());
            }
        }
        // They are dropped with `waiting`, after the borrow.
        slf.get().inner.borrow_mut().rare.pings.retain(|(_, _, future)| !gone.contains(&future.as_ptr()));
        Ok(())
    }

    /// An exception that `policy` makes.
    pub(crate) fn error<'py>(&self, py: Python<'py>, name: &str, args: impl pyo3::call::PyCallArgs<'py>) -> PyErr {
        payload::error(self.policy.bind(py), name, args)
    }

    /// The exception for what the core refused.
    pub(crate) fn misuse(&self, slf: &Bound<'_, Self>, misuse: &Misuse) -> PyErr {
        payload::misuse(self.policy.bind(slf.py()), slf, misuse)
    }

    #[inline]
    pub(super) fn send_bytes(
        slf: &Bound<'_, Self>,
        opcode: Opcode,
        bytes: &[u8],
        compress: Option<bool>,
    ) -> PyResult<Sent> {
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

    /// Tries to send a message or a fragment of one for somebody who waited for room. True: it was accepted.
    pub(super) fn try_send(
        slf: &Bound<'_, Self>,
        message: &Bound<'_, PyAny>,
        text: Option<bool>,
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

    /// A future that is done when it is its owner's turn to try to send; `again` if it tried in vain.
    pub(super) fn room_future<'py>(slf: &Bound<'py, Self>, again: bool) -> PyResult<Bound<'py, PyAny>> {
        let (py, this) = (slf.py(), slf.get());
        this.check_loop(py)?;
        let future = this.future(py)?;
        let offers = {
            let mut inner = this.inner.borrow_mut();
            if again {
                inner.rare.rooms.push_front(future.clone().unbind());
            } else {
                inner.rare.rooms.push_back(future.clone().unbind());
            }
            // Room may have come before somebody waited for it. Who tried in vain needs more than there was: all of it.
            !again || inner.core.queued_bytes() == 0 || inner.core.state() != State::Open
        };
        if offers {
            Self::offer_room(slf)?;
        }
        Ok(future)
    }

    /// A future that is done when everything accepted by now is written.
    pub(super) fn written_future<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        let (py, this) = (slf.py(), slf.get());
        this.check_loop(py)?;
        let future = this.future(py)?;
        let (is_done, is_over) = {
            let mut inner = this.inner.borrow_mut();
            let (accepted, not_begun, begun) = inner.accepted();
            let (is_done, is_over) = (not_begun + begun == 0, inner.ended);
            if !is_done && !is_over {
                inner.rare.writing.push_back((accepted, future.clone().unbind()));
            }
            (is_done, is_over)
        };
        if is_done {
            future.call_method1("set_result", (py.None(),))?;
        } else if is_over {
            future.call_method1("set_exception", (this.error(py, "closed", (slf,)),))?;
        }
        Ok(future)
    }

    /// A future that is done when no more messages will come.
    pub(super) fn over_future<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        let (py, this) = (slf.py(), slf.get());
        this.check_loop(py)?;
        let future = this.future(py)?;
        let is_over = {
            let mut inner = this.inner.borrow_mut();
            let is_over = inner.core.data_over() || inner.ended;
            if !is_over {
                inner.rare.overs.push(future.clone().unbind());
            }
            is_over
        };
        if is_over {
            future.call_method1("set_result", (py.None(),))?;
        }
        Ok(future)
    }

    /// A future that is done when the send queue is at its low-water mark or, `again`, empty.
    pub(super) fn drain_future<'py>(slf: &Bound<'py, Self>, again: bool) -> PyResult<Bound<'py, PyAny>> {
        let (py, this) = (slf.py(), slf.get());
        this.check_loop(py)?;
        let future = this.future(py)?;
        let (low, over) = {
            let inner = this.inner.borrow();
            let enough = if again { 0 } else { inner.settings.write_low };
            (inner.core.queued_bytes() <= enough, inner.core.state() == State::Closed)
        };
        if low || over {
            future.call_method1("set_result", (py.None(),))?;
        } else {
            this.inner.borrow_mut().rare.draining.push(future.clone().unbind());
        }
        Ok(future)
    }
}
