//! Whose a connection is: its thread, its process, its event loop; and its end when nobody has it any more.

use std::cell::RefMut;

use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;

use super::{Conn, Inner};
use crate::{errors, fork, syscall};

static RUNNING_LOOP: PyOnceLock<Py<PyAny>> = PyOnceLock::new();

impl Conn {
    /// Refuses what the connection's owner does not do: another thread, a forked child.
    #[inline]
    pub(crate) fn check(&self) -> PyResult<()> {
        if self.is_at_home() { Ok(()) } else { Err(self.stranger()) }
    }

    /// Whether this is the owner's thread and process.
    #[inline]
    pub(crate) fn is_at_home(&self) -> bool {
        // SAFETY: a plain call.
        unsafe { libc::pthread_self() == self.thread && !self.is_forked() }
    }

    /// Refuses also another event loop than the connection's, and one that is closed: what is asked for must be done
    /// there. Without a running loop, what is asked for is done when the connection's runs again.
    #[inline]
    pub(crate) fn check_loop(&self, py: Python<'_>) -> PyResult<()> {
        self.check()?;
        if self.hub.get().is_running() { Ok(()) } else { self.check_running_loop(py) }
    }

    fn check_running_loop(&self, py: Python<'_>) -> PyResult<()> {
        let running = running_loop(py)?;
        let ours = self.hub.get().event_loop(py);
        if running.is(ours) || (running.is_none() && !ours.call_method0("is_closed")?.is_truthy()?) {
            return Ok(());
        }
        Err(self.error(py, "wrong_loop", (ours,)))
    }

    #[cold]
    fn stranger(&self) -> PyErr {
        if self.is_forked() {
            return fork::stranger();
        }
        Python::attach(|py| self.error(py, "wrong_thread", (self.thread,)))
    }

    /// Refuses a forked child.
    pub(crate) fn check_process(&self) -> PyResult<()> {
        if self.is_forked() { Err(fork::stranger()) } else { Ok(()) }
    }

    #[inline]
    pub(crate) fn is_forked(&self) -> bool {
        self.fork != fork::generation()
    }

    pub(super) fn borrow(&self) -> PyResult<RefMut<'_, Inner>> {
        self.check()?;
        Ok(self.inner.borrow_mut())
    }

    /// Closes the socket without a word, on whatever thread.
    pub(super) fn abandon(&self, py: Python<'_>) {
        let Ok(mut inner) = self.inner.try_borrow_mut() else { return };
        let fd = std::mem::replace(&mut inner.fd, -1);
        let token = inner.token.take();
        let wire = inner.extras.as_mut().and_then(|extras| extras.take_wire());
        drop(inner);
        let doubled = token.is_some_and(|token| self.hub.bind(py).get().deregister(py, token));
        if self.is_forked() && wire.is_some() {
            // The transport is the parent's.
        } else if let Some(wire) = wire {
            wire.abandon(py, self.hub.bind(py).get().event_loop(py));
        } else if fd >= 0 {
            if doubled && !self.is_forked() {
                // The peer is told at once, and so is the loop, which lets the duplicate go.
                syscall::shutdown(fd);
            }
            // SAFETY: the descriptor is ours and closed once.
            unsafe { libc::close(fd) };
        }
    }
}

/// The loop that runs on this thread, or None.
pub(crate) fn running_loop(py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
    RUNNING_LOOP
        .get_or_try_init(py, || py.import("asyncio.events")?.getattr("_get_running_loop").map(Bound::unbind))?
        .bind(py)
        .call0()
}

impl Drop for Conn {
    fn drop(&mut self) {
        // SAFETY: a Python object's memory is freed with the interpreter attached.
        let py = unsafe { Python::assume_attached() };
        errors::aside(py, || {
            self.inner.get_mut().settle_for_good(py);
            self.abandon(py);
        });
    }
}
