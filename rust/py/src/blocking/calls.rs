//! What the methods of a blocking connection share.

use std::cell::Cell;

use fastws_core::{Misuse, Nanos, Opcode};
use pyo3::prelude::*;

use super::Blocking;
use crate::conn::Inner;
use crate::driver::Phase;
use crate::transfer::Fragment;
use crate::{clock, fork, payload};

impl Blocking {
    /// Gives what `take` takes as soon as there is a message; none: the time is over. The end of the connection is the
    /// exception that `over` of the policy makes.
    #[inline]
    pub(super) fn receive<T>(
        slf: &Bound<'_, Self>,
        deadline: Option<Nanos>,
        over: &str,
        take: impl Fn(&mut Inner, Python<'_>) -> PyResult<T>,
    ) -> PyResult<Option<T>> {
        let (py, this) = (slf.py(), slf.get());
        this.check()?;
        let _only = this.only_reader(slf)?;
        let check = || {
            let mut inner = this.inner.borrow_mut();
            if inner.queue.is_empty() && inner.queue.has_pieces() && !inner.queue.is_taken_in_part() {
                inner.queue.join(py, false)?;
                this.took(py, &mut inner)?;
            }
            if !inner.queue.is_empty() {
                let taken = take(&mut inner, py);
                this.took(py, &mut inner)?;
                return taken.map(Some);
            }
            let is_over = inner.core.data_over() || inner.phase == Phase::Closed;
            if inner.queue.is_taken_in_part() && (!is_over || inner.queue.has_pieces()) {
                drop(inner);
                return Err(this.error(py, "concurrent", ()));
            }
            if is_over {
                drop(inner);
                return Err(this.error(py, over, (slf,)));
            }
            Ok(None)
        };
        match check()? {
            Some(taken) => Ok(Some(taken)),
            None => Self::wait(slf, deadline, check),
        }
    }

    /// Gives the next piece of a message as soon as there is one; none: the time is over.
    pub(super) fn receive_piece(slf: &Bound<'_, Self>, deadline: Option<Nanos>) -> PyResult<Option<Py<PyAny>>> {
        let (py, this) = (slf.py(), slf.get());
        this.check()?;
        let _only = this.only_reader(slf)?;
        let check = || {
            let mut inner = this.inner.borrow_mut();
            if inner.queue.has_piece_to_take() {
                let taken = inner.queue.take_piece(py);
                this.took(py, &mut inner)?;
                return taken;
            }
            if inner.core.data_over() || inner.phase == Phase::Closed {
                drop(inner);
                return Err(this.error(py, "closed", (slf,)));
            }
            Ok(None)
        };
        match check()? {
            Some(taken) => Ok(Some(taken)),
            None => Self::wait(slf, deadline, check),
        }
    }

    /// The queue has become shorter.
    #[inline]
    fn took(&self, py: Python<'_>, inner: &mut Inner) -> PyResult<()> {
        if inner.paused.is_some() && inner.is_below_low_water() {
            inner.resume_reading();
            self.behind.set(true);
            self.ring_all();
        }
        // What waits stays where it was read to; of views, the buffer is used until the next read.
        if inner.queue.is_empty() && inner.rare.views.is_empty() { inner.settle(py) } else { Ok(()) }
    }

    /// One call receives at a time.
    #[inline]
    pub(super) fn only_reader(&self, slf: &Bound<'_, Self>) -> PyResult<Only<'_>> {
        if self.receiving.replace(true) {
            return Err(self.error(slf.py(), "concurrent", ()));
        }
        Ok(Only(&self.receiving))
    }

    /// Tries to send a message, or a fragment of one. False: it has to wait; none: it is of another type.
    #[inline]
    pub(super) fn try_send(
        &self,
        slf: &Bound<'_, Self>,
        message: &Bound<'_, PyAny>,
        text: Option<bool>,
        fragment: Option<Fragment>,
        compress: Option<bool>,
    ) -> PyResult<Option<bool>> {
        let send = |opcode: Opcode, bytes: &[u8]| {
            let mut inner = self.inner.borrow_mut();
            match fragment {
                None => inner.accept(opcode, bytes, compress),
                Some(fragment) => inner.accept_fragment(opcode, bytes, fragment),
            }
        };
        match payload::with_bytes(message, text, fragment.is_some(), send)? {
            None => Ok(None),
            Some(Ok(())) => Ok(Some(true)),
            Some(Err(Misuse::QueueFull { .. } | Misuse::FragmentOrder)) => Ok(Some(false)),
            Some(Err(misuse)) => Err(self.misuse(slf, &misuse)),
        }
    }

    /// Tries to send a frame as it is. False: it has to wait.
    pub(super) fn try_send_frame(
        &self,
        slf: &Bound<'_, Self>,
        opcode: u8,
        fin: bool,
        rsv: u8,
        data: &Bound<'_, PyAny>,
    ) -> PyResult<bool> {
        match payload::send_frame(&self.inner, opcode, fin, rsv, data)? {
            None => Err(self.error(slf.py(), "not_sendable", (data,))),
            Some(Ok(())) => Ok(true),
            Some(Err(Misuse::QueueFull { .. } | Misuse::ControlFull(_) | Misuse::FragmentOrder)) => Ok(false),
            Some(Err(misuse)) => Err(self.misuse(slf, &misuse)),
        }
    }

    /// Refuses a forked child.
    #[inline]
    pub(super) fn check(&self) -> PyResult<()> {
        if self.is_forked() { Err(fork::stranger()) } else { Ok(()) }
    }

    #[inline]
    pub(super) fn is_forked(&self) -> bool {
        self.fork != fork::generation()
    }

    /// An exception that `policy` makes.
    pub(super) fn error<'py>(&self, py: Python<'py>, name: &str, args: impl pyo3::call::PyCallArgs<'py>) -> PyErr {
        payload::error(self.policy.bind(py), name, args)
    }

    /// The exception for what the core refused.
    pub(super) fn misuse(&self, slf: &Bound<'_, Self>, misuse: &Misuse) -> PyErr {
        payload::misuse(self.policy.bind(slf.py()), slf, misuse)
    }

    /// When a call with a timeout below zero gives up: at once, where the policy `takes_past_deadlines`.
    #[cold]
    pub(super) fn past(
        &self,
        py: Python<'_>,
        timeout: Option<&Bound<'_, PyAny>>,
        error: PyErr,
    ) -> PyResult<(Option<Nanos>, f64)> {
        let is_past = timeout.is_some_and(|timeout| timeout.lt(0.0).unwrap_or(false));
        if is_past && self.policy.bind(py).hasattr("takes_past_deadlines")? {
            return Ok((Some(clock::monotonic()), 0.0));
        }
        Err(error)
    }

    /// Closes the socket without a word.
    pub(super) fn abandon(&self) {
        if let Some(helper) = &self.helper {
            helper.stop();
        }
        let Ok(mut inner) = self.inner.try_borrow_mut() else { return };
        let fd = std::mem::replace(&mut inner.fd, -1);
        if fd >= 0 {
            // SAFETY: the descriptor is ours and closed once.
            unsafe { libc::close(fd) };
        }
    }
}

/// The one call that receives, as long as this lives.
pub(super) struct Only<'a>(&'a Cell<bool>);

impl Drop for Only<'_> {
    fn drop(&mut self) {
        self.0.set(false);
    }
}

/// When a call with this timeout is to give up, and its seconds.
#[inline]
pub(super) fn deadline(timeout: Option<&Bound<'_, PyAny>>) -> PyResult<(Option<Nanos>, f64)> {
    let Some(timeout) = timeout else { return Ok((None, 0.0)) };
    let seconds = clock::seconds("timeout", timeout)?;
    Ok((Some(clock::monotonic() + clock::from_seconds(Some(seconds)).unwrap_or(0)), seconds))
}
