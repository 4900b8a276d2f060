//! The task that reads a stream: what it gets, and how it waits.

use std::cell::RefMut;

use pyo3::exceptions::PyStopAsyncIteration;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyList;

use super::cursor::Cursor;
use super::state::{Ahead, Lost, Stamp};
use super::store::Store;
use super::take::Step;
use super::{Ring, release};
use crate::awaitable::{self, Kinds, Polled, Source, Types, Want};
use crate::batch::Batch;
use crate::conn::{Awaited, Conn};
use crate::waiter::Waiter;
use crate::{clock, errors, fault, gc};

/// What a look at the ring found for a reader.
enum Found {
    Step(Step),
    /// Messages, and who sent the last; and the number of the first and the last.
    Batch(Py<PyList>, std::rc::Rc<Stamp>, u64, u64),
    /// A batch of a cursor whose messages are not plain.
    Collect,
    /// Nothing is there, or not enough for a batch.
    Wait,
    /// The loop has a turn first.
    Turn,
    Overflow,
    Closed,
    /// Every message was given, and no more will come.
    Ended(Option<Py<PyAny>>),
}

impl Source for Cursor {
    const NAMES: (&'static std::ffi::CStr, &'static std::ffi::CStr) =
        (c"fastws._core.StreamAwaitable", c"fastws._core.StreamIteration");
    const SHOWN: &'static str = "Stream";

    #[inline]
    fn kinds(types: &Types) -> &Kinds {
        &types.cursor
    }

    #[inline]
    fn take_at_once(&self, py: Python<'_>) -> Option<*mut ffi::PyObject> {
        let ring = self.ring.get();
        let mut store = ring.store.borrow_mut();
        fault::point(fault::Place::Poll);
        if !ring.is_at_home() {
            return None;
        }
        store.take_at_once(py, self.index.get())
    }

    fn poll<'py>(slf: &Bound<'py, Self>, want: Want, resumed: bool, started: bool) -> PyResult<Polled<'py>> {
        let (py, this) = (slf.py(), slf.get());
        let ring = this.ring.bind(py);
        fault::point(fault::Place::Poll);
        // It may be awaited elsewhere than it was made.
        ring.get().check(py)?;
        let turn = ring.get().turn(py);
        {
            let mut store = ring.get().store.borrow_mut();
            if let Some(state) = store.state(this.index.get()) {
                if !started {
                    if state.waiter.as_ref().is_some_and(|waiter| Waiter::of(waiter).is_live()) {
                        drop(store);
                        return Err(ring.get().error(py, "concurrent_stream", ()));
                    }
                    state.batch = None;
                }
                if resumed {
                    state.run.begin();
                    state.run.turn = turn;
                }
            }
        }
        loop {
            let (found, room, trash) = {
                let mut store = ring.get().store.borrow_mut();
                let found = this.look(py, &mut store, want, turn)?;
                (found, store.paused && store.is_low(), store.take_trash())
            };
            release(py, trash);
            // What was found is given also if the loop of a connection makes trouble.
            let made_room = if room { Ring::make_room(ring) } else { Ok(()) };
            let outcome = match found {
                Found::Step(step) => this.give(slf, step),
                Found::Batch(list, stamp, first, last) => Self::batch(py, list, &stamp, first, last).map(Some),
                Found::Collect => Self::collect(slf, want),
                Found::Wait => return Self::wait(slf, want, false),
                Found::Turn => return Self::wait(slf, want, true),
                Found::Overflow => Err(ring.get().error(py, "overflow", (slf,))),
                Found::Closed if matches!(want, Want::Message(_)) => Err(ring.get().error(py, "stream_closed", ())),
                Found::Closed => Err(PyStopAsyncIteration::new_err(())),
                Found::Ended(Some(error)) => Err(ring.get().error(py, "stream_failed", (error,))),
                Found::Ended(None) if matches!(want, Want::Message(_)) => Err(ring.get().error(py, "stream_over", ())),
                Found::Ended(None) => Err(PyStopAsyncIteration::new_err(())),
            };
            if let Some(object) = outcome.transpose() {
                return object.map(Polled::Ready);
            }
            made_room?;
        }
    }

    fn reader_left(slf: &Bound<'_, Self>, waiter: &Bound<'_, Waiter>, gone: bool) {
        let (py, this) = (slf.py(), slf.get());
        let ring = this.ring.bind(py);
        let (old, timer, conns) = {
            let Ok(mut store) = ring.get().store.try_borrow_mut() else { return };
            let Some(state) = store.state(this.index.get()) else { return };
            if state.waiter.as_ref().is_none_or(|known| !known.is(waiter)) {
                return;
            }
            if gone {
                state.batch = None;
            }
            let (old, timer) = (state.waiter.take(), state.timer.take());
            // In a dispatch, the connections' registrations are looked after at its end.
            let is_alone = !ring.get().is_dispatching(py) && !store.is_awaited();
            (old, timer, is_alone.then(|| store.conns.iter().map(|conn| conn.clone_ref(py)).collect::<Vec<_>>()))
        };
        if let Some(timer) = timer {
            errors::aside(py, || {
                if let Err(error) = timer.call_method0(py, "cancel") {
                    error.write_unraisable(py, Some(slf));
                }
                timer.drop_ref(py);
            });
        }
        if let Some(old) = old {
            old.drop_ref(py);
        }
        if ring.get().is_forked() {
            return;
        }
        for conn in conns.into_iter().flatten() {
            Conn::let_go(conn.bind(py));
            conn.drop_ref(py);
        }
    }

    #[inline]
    fn awaitable(slf: &Bound<'_, Self>, want: Want) -> PyResult<Py<PyAny>> {
        let this = slf.get();
        let ring = this.ring.get();
        if !ring.is_at_home() {
            // Called by another thread, for the loop to await: where it is awaited is looked at when it is.
            ring.check_fork()?;
            return awaitable::make(slf, want);
        }
        let mut spare = this.spare.borrow_mut();
        if let Some(made) = awaitable::of(slf, want, &mut spare)? {
            return Ok(made);
        }
        let forgotten = spare.take();
        drop(spare);
        let made = awaitable::instead(slf, want, forgotten)?;
        this.spare.borrow_mut().get_or_insert_with(|| made.clone_ref(slf.py()));
        Ok(made)
    }
}

impl Cursor {
    /// What there is for a reader.
    fn look(&self, py: Python<'_>, store: &mut RefMut<'_, Store>, want: Want, turn: u64) -> PyResult<Found> {
        let index = self.index.get();
        let Some(state) = store.state(index) else { return Ok(Found::Closed) };
        if state.overflowed {
            return Ok(Found::Overflow);
        }
        if !store.has_something(py, index) {
            return Ok(match &store.ended {
                None => Found::Wait,
                Some(ended) => Found::Ended(ended.error.as_ref().map(|error| error.clone_ref(py))),
            });
        }
        let Some(state) = store.state(index) else { return Ok(Found::Closed) };
        if state.run.is_used_up() && !state.run.had_a_turn(turn) {
            return Ok(Found::Turn);
        }
        if let Want::Batch { messages, bytes, wait } = want {
            if !store.batch_may_leave(index, messages, bytes, wait) {
                return Ok(Found::Wait);
            }
            if store.is_at_message(index) {
                let Some(state) = store.state(index) else { return Ok(Found::Closed) };
                state.batch = None;
                if !state.plain || state.needle.is_some() {
                    return Ok(Found::Collect);
                }
                let (list, stamp, first, last) = store.take_list(py, index, messages, bytes)?;
                return Ok(Found::Batch(list, stamp, first, last));
            }
        }
        Ok(Found::Step(store.step(py, index)))
    }

    /// What a step gives; none: nothing, and the next one is looked at.
    fn give(&self, slf: &Bound<'_, Self>, step: Step) -> PyResult<Option<Py<PyAny>>> {
        let py = slf.py();
        match step {
            Step::Given(object) | Step::Marker(object) => Ok(Some(object)),
            Step::Got(got) => Self::finish(slf, got),
            Step::Lost(Lost { count, first_seq, last_seq, generation }) => {
                let args = (count, first_seq, last_seq, generation);
                self.ring.get().policy.bind(py).call_method1("dropped", args).map(|marker| Some(marker.unbind()))
            }
            Step::Error(error) => Err(PyErr::from_value(error.into_bound(py))),
            Step::Empty | Step::Nothing => Ok(None),
        }
    }

    fn batch(py: Python<'_>, messages: Py<PyList>, stamp: &Stamp, first: u64, last: u64) -> PyResult<Py<PyAny>> {
        let batch = Batch {
            messages,
            first_seq: first,
            last_seq: last,
            generation: stamp.origin.generation,
            connection_id: stamp.origin.connection_id,
            source: stamp.origin.source.as_ref().map(|source| source.clone_ref(py)),
            received_ns: stamp.realtime,
            received_mono_ns: stamp.monotonic,
            kernel_ns: stamp.kernel,
        };
        Ok(Py::new(py, batch)?.into_any())
    }

    /// A batch of messages for each of which something is called. None: all were left out.
    fn collect(slf: &Bound<'_, Self>, want: Want) -> PyResult<Option<Py<PyAny>>> {
        let (py, this) = (slf.py(), slf.get());
        let Want::Batch { messages, bytes, .. } = want else { return Ok(None) };
        let list = PyList::empty(py);
        let mut kept: Option<(std::rc::Rc<Stamp>, u64, u64)> = None;
        let mut size = 0;
        while list.len() < messages {
            let step = {
                let mut store = this.ring.get().store.borrow_mut();
                let index = this.index.get();
                if store.state(index).is_none() || !store.has_something(py, index) || !store.is_at_message(index) {
                    break;
                }
                if kept.as_ref().is_some_and(|(stamp, ..)| store.is_at_boundary(index, stamp)) {
                    break;
                }
                let next = store.next_length(index);
                if kept.is_some() && size + next > bytes {
                    break;
                }
                size += next;
                store.step(py, index)
            };
            let taken = match step {
                Step::Got(got) => {
                    let (seq, stamp) = (got.seq, std::rc::Rc::clone(&got.stamp));
                    Self::bare(slf, got).map(|bare| bare.map(|(object, _)| (object, seq, stamp)))
                }
                step => match this.give(slf, step) {
                    Ok(Some(object)) => {
                        let mut last = None;
                        this.with_state(py, |state| last = state.last.as_ref().map(|s| (state.seq, s.clone())));
                        Ok(last.map(|(seq, stamp)| (object, seq, stamp)))
                    }
                    other => other.map(|_| None),
                },
            };
            match taken {
                Ok(None) => {}
                Ok(Some((object, seq, stamp))) => {
                    list.append(object)?;
                    let first = kept.as_ref().map_or(seq, |(_, first, _)| *first);
                    kept = Some((stamp, first, seq));
                }
                Err(error) if kept.is_none() => return Err(error),
                Err(error) => {
                    // What was taken before it comes first.
                    let error = error.into_value(py).into_any();
                    this.with_state(py, |state| state.ahead.push_front(Ahead::Error(error)));
                    break;
                }
            }
        }
        match kept {
            None => Ok(None),
            Some((stamp, first, last)) => Self::batch(py, list.unbind(), &stamp, first, last).map(Some),
        }
    }

    /// Makes the reader wait: for a message, or (`done`) for the loop's next turn.
    fn wait<'py>(slf: &Bound<'py, Self>, want: Want, done: bool) -> PyResult<Polled<'py>> {
        let (py, this) = (slf.py(), slf.get());
        let ring = this.ring.bind(py);
        let hub = Ring::hub_here(ring)?;
        let waiter = {
            let _paused = gc::pause(py);
            Waiter::new(py, hub.get(), done)?
        };
        let (old, conns, delay) = {
            let mut store = ring.get().store.borrow_mut();
            let index = this.index.get();
            let has_something = store.has_something(py, index);
            store.owes_turn |= done;
            let Some(state) = store.state(index) else { return Ok(Polled::Wait(waiter)) };
            let old = state.waiter.replace(waiter.clone().unbind());
            state.until = 0;
            let mut delay = None;
            if let Want::Batch { messages, bytes, wait } = want {
                let mut due = state.batch.as_ref().and_then(|batch| batch.due);
                if wait > 0 && has_something && due.is_none() && !done {
                    due = Some(clock::monotonic().saturating_add(wait));
                    delay = Some(wait);
                } else if let Some(due) = due.filter(|_| !done) {
                    delay = Some(due.saturating_sub(clock::monotonic()));
                }
                state.batch = Some(Box::new(Awaited { messages, bytes, wait, due }));
            }
            (old, store.conns.iter().map(|conn| conn.clone_ref(py)).collect::<Vec<_>>(), delay)
        };
        if let Some(old) = old {
            old.drop_ref(py);
        }
        for conn in conns {
            Conn::hold(conn.bind(py));
            conn.drop_ref(py);
        }
        if let Some(delay) = delay {
            let event_loop = hub.get().event_loop(py);
            let wake = waiter.as_any().getattr("_wake");
            match wake.and_then(|wake| event_loop.call_method1("call_later", (clock::to_seconds(delay), wake))) {
                Ok(timer) => this.with_state(py, |state| state.timer = Some(timer.unbind())),
                Err(error) => {
                    // Nobody waits.
                    Self::reader_left(slf, &waiter, true);
                    return Err(error);
                }
            }
        }
        Ok(Polled::Wait(waiter))
    }
}
