//! Futures of what is rare: who waits for something else than a message.

use std::collections::HashSet;

use fastws_core::State;
use pyo3::prelude::*;

use super::Conn;
use crate::clock;

#[pymethods]
impl Conn {
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

    /// A future that is done when the send queue is below its low-water mark, or fails when the connection ends. With
    /// `again` the mark did not suffice: it is done when something more was written.
    #[pyo3(signature = (again=false))]
    fn _drain_future<'py>(slf: &Bound<'py, Self>, again: bool) -> PyResult<Bound<'py, PyAny>> {
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

    /// A future that is done when it is its owner's turn to try to send; `again` if it tried in vain.
    fn _room_future<'py>(slf: &Bound<'py, Self>, again: bool) -> PyResult<Bound<'py, PyAny>> {
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

    /// A future that is done when everything accepted by now is written, or fails when the connection ends.
    fn _written_future<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
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
    fn _over_future<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
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
}

impl Conn {
    fn future<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.hub.get().event_loop(py).call_method0("create_future")
    }

    /// Lets pings go that nobody waits for any more: a peer that answers none must not make them pile up.
    fn forget_cancelled_pings(slf: &Bound<'_, Self>) -> PyResult<()> {
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
}
