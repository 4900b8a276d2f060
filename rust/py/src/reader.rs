//! The task that reads a connection: what it gets, how it waits, and what its reading does for the connection.

use fastws_core::State;
use pyo3::ffi;
use pyo3::prelude::*;

use crate::awaitable::{self, Kinds, Polled, Source, Types, Want};
use crate::conn::{Awaited, Conn, Inner};
use crate::driver::Phase;
use crate::hub::Hub;
use crate::queue::{Decode, Form};
use crate::waiter::Waiter;
use crate::{clock, fault, gc};

impl Source for Conn {
    const NAMES: (&'static std::ffi::CStr, &'static std::ffi::CStr) =
        (c"fastws._core.Awaitable", c"fastws._core.Iteration");
    const SHOWN: &'static str = "Connection";

    #[inline]
    fn kinds(types: &Types) -> &Kinds {
        &types.conn
    }

    #[inline]
    fn take_at_once(&self, py: Python<'_>) -> Option<*mut ffi::PyObject> {
        let mut inner = self.inner.borrow_mut();
        fault::point(fault::Place::Poll);
        if inner.waiter.is_some()
            || inner.queue.is_empty()
            || inner.queue.form == Form::View
            || (inner.paused.is_some() && inner.queue.len() <= inner.settings.water.low_messages + 1)
            || inner.batch.is_some()
            || inner.run.left <= 1
            || !self.is_at_home()
            || self.listener.get().is_some()
        {
            return None;
        }
        inner.run.left -= 1;
        Some(inner.queue.take_object(py))
    }

    fn poll<'py>(slf: &Bound<'py, Self>, want: Want, resumed: bool, started: bool) -> PyResult<Polled<'py>> {
        let (py, this) = (slf.py(), slf.get());
        // It may be awaited elsewhere than it was made.
        this.check()?;
        let mut inner = this.inner.borrow_mut();
        fault::point(fault::Place::Poll);
        if !started {
            if let Some(waiter) = &inner.waiter
                && Waiter::of(waiter).is_live()
            {
                drop(inner);
                return Err(this.error(py, "concurrent", ()));
            }
            if this.listener.get().is_some() {
                drop(inner);
                return Err(this.error(py, "has_listener", ()));
            }
            if inner.ring.is_some() {
                drop(inner);
                return Err(this.error(py, "has_streams", ()));
            }
            inner.forget_batch();
        }
        if resumed {
            inner.run.begin();
            inner.run.turn = this.hub.get().turn();
        }
        let by_piece = want == Want::Piece;
        let all = matches!(want, Want::Batch { .. });
        if !by_piece && inner.queue.has_pieces() && (all || inner.queue.is_empty()) && !inner.queue.is_taken_in_part() {
            inner.queue.join(py, all)?;
            if inner.queue.is_empty() && inner.paused.is_some() && inner.is_below_low_water() {
                // What is missing has not been read.
                Self::resume(slf, inner)?;
                inner = this.inner.borrow_mut();
            }
        }
        if !inner.queue.is_empty() || (by_piece && inner.queue.has_piece_to_take()) {
            if inner.run.is_used_up() && !inner.run.had_a_turn(this.hub.get().turn()) {
                // The loop gets a turn; then reading goes on.
                return Self::wait(slf, inner, want, true);
            }
            let object = match want {
                Want::Message(decode) => inner.take(py, decode),
                Want::Next => inner.take(py, Decode::Default),
                Want::Piece => inner.queue.take_piece(py).map(|piece| piece.unwrap_or_else(|| py.None())),
                Want::Batch { messages, bytes, wait } => {
                    if !inner.batch_may_leave(messages, bytes, wait) {
                        return Self::wait(slf, inner, want, false);
                    }
                    inner.take_batch(py, messages, bytes)
                }
            };
            if inner.paused.is_some() && inner.is_below_low_water() {
                Self::resume(slf, inner)?;
            }
            return object.map(Polled::Ready);
        }
        let is_over = inner.core.data_over() || inner.phase == Phase::Closed;
        if !by_piece && inner.queue.is_taken_in_part() && (!is_over || inner.queue.has_pieces()) {
            drop(inner);
            return Err(this.error(py, "concurrent", ()));
        }
        if is_over {
            drop(inner);
            let name = if matches!(want, Want::Message(_) | Want::Piece) { "closed" } else { "iteration_over" };
            return Err(this.error(py, name, (slf,)));
        }
        if inner.phase == Phase::New {
            drop(inner);
            return Err(this.error(py, "closed", (slf,)));
        }
        Self::wait(slf, inner, want, false)
    }

    fn reader_left(slf: &Bound<'_, Self>, waiter: &Bound<'_, Waiter>, gone: bool) {
        let this = slf.get();
        let (old, token) = {
            let Ok(mut inner) = this.inner.try_borrow_mut() else { return };
            if inner.waiter.as_ref().is_none_or(|known| !known.is(waiter)) {
                return;
            }
            if gone {
                inner.forget_batch();
            }
            (inner.waiter.take(), inner.token)
        };
        if let Some(old) = old {
            old.drop_ref(slf.py());
        }
        if this.hub.get().is_dispatching(token) || this.is_forked() {
            // The dispatch that we are in will look after the registration.
            return;
        }
        Self::let_go(slf);
    }

    #[inline]
    fn awaitable(slf: &Bound<'_, Self>, want: Want) -> PyResult<Py<PyAny>> {
        let this = slf.get();
        if !this.is_at_home() {
            return Self::awaitable_elsewhere(slf, want);
        }
        let mut inner = this.inner.borrow_mut();
        if let Some(made) = awaitable::of(slf, want, &mut inner.spare)? {
            return Ok(made);
        }
        let forgotten = inner.spare.take();
        drop(inner);
        let made = awaitable::instead(slf, want, forgotten)?;
        this.inner.borrow_mut().spare.get_or_insert_with(|| made.clone_ref(slf.py()));
        Ok(made)
    }
}

impl Conn {
    /// Called by another thread, for the loop to await: where it is awaited is looked at when it is.
    #[cold]
    fn awaitable_elsewhere(slf: &Bound<'_, Self>, want: Want) -> PyResult<Py<PyAny>> {
        slf.get().check_process()?;
        awaitable::make(slf, want)
    }

    /// Makes the reader wait: for a message, or (`done`) for the loop's next turn.
    fn wait<'a, 'py>(
        slf: &'a Bound<'py, Self>,
        mut inner: std::cell::RefMut<'a, Inner>,
        want: Want,
        done: bool,
    ) -> PyResult<Polled<'py>> {
        let (py, this) = (slf.py(), slf.get());
        let hub = this.hub.bind(py);
        if !hub.get().is_running() {
            drop(inner);
            this.check_loop(py)?;
            inner = this.inner.borrow_mut();
        }
        let _paused = gc::pause(py);
        let waiter = Waiter::new(py, hub.get(), done)?;
        inner.waiter = Some(waiter.clone().unbind());
        if let Want::Batch { messages, bytes, wait } = want {
            let due = inner.batch.as_ref().and_then(|batch| batch.due);
            let begins = wait > 0 && !inner.queue.is_empty() && due.is_none();
            let due = if begins { Some(clock::monotonic().saturating_add(wait)) } else { due };
            let batch = Awaited { messages, bytes, wait, due };
            match &mut inner.batch {
                Some(known) => **known = batch,
                None => inner.batch = Some(Box::new(batch)),
            }
        }
        let Some(token) = inner.token else { return Ok(Polled::Wait(waiter)) };
        let due = inner.batch.as_ref().and_then(|batch| batch.due);
        hub.get().set_deadline(token, due);
        inner.hold(slf, true);
        drop(inner);
        if due.is_some() {
            Hub::settle_timer(hub).inspect_err(|_| Self::reader_left(slf, &waiter, true))?;
        }
        Ok(Polled::Wait(waiter))
    }

    /// Reading goes on after a pause.
    pub(crate) fn resume(slf: &Bound<'_, Self>, mut inner: std::cell::RefMut<'_, Inner>) -> PyResult<()> {
        let this = slf.get();
        inner.resume_reading();
        let Some(token) = inner.token else { return Ok(()) };
        inner.watch(this.hub.get());
        let left = inner.has_input() || inner.broken.is_some() || inner.has_wire();
        drop(inner);
        if left { Hub::run_soon(this.hub.bind(slf.py()), token) } else { Ok(()) }
    }

    /// A closing handshake must see the peer's Close: what the consumer has not taken does not stop reading any more.
    pub(crate) fn resume_if_closing(slf: &Bound<'_, Self>) -> PyResult<()> {
        let inner = slf.get().inner.borrow_mut();
        if inner.paused.is_some() && inner.core.state() == State::Closing {
            return Self::resume(slf, inner);
        }
        Ok(())
    }
}
