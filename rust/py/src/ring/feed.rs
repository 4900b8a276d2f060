//! How messages come into the ring, and who is woken for them.

use std::rc::Rc;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyWeakrefReference;

use super::cursor::Cursor;
use super::state::{Origin, Policy};
use super::{Ring, release};
use crate::clock;
use crate::conn::{Attached, Conn};
use crate::future::set_result;
use crate::hub::Hub;
use crate::waiter::Waiter;

impl Ring {
    pub(super) fn attach(slf: &Bound<'_, Self>, conn: &Bound<'_, Conn>, origin: Origin) -> PyResult<()> {
        let (py, this) = (slf.py(), slf.get());
        this.check(py)?;
        conn.get().check()?;
        if conn.get().listener.get().is_some() {
            return Err(this.error(py, "has_listener", ()));
        }
        let hub = conn.get().hub.bind(py);
        if this.known_hub(py).is_none_or(|known| !known.is(hub)) {
            if this.is_bound() {
                return Err(this.error(py, "wrong_loop", (hub.get().event_loop(py), "connection")));
            }
            this.bind(hub);
        }
        {
            let mut inner = conn.get().inner.borrow_mut();
            if inner.delivery != fastws_core::Delivery::Messages {
                return Err(PyValueError::new_err("a client takes whole messages, not frames or fragments"));
            }
            if inner.ring.is_some() || inner.waiter.as_ref().is_some_and(|waiter| Waiter::of(waiter).is_live()) {
                drop(inner);
                return Err(this.error(py, "concurrent", ()));
            }
            inner.ring = Some(Box::new(Attached { ring: slf.clone().unbind(), origin: Rc::new(origin) }));
            inner.move_to_ring(py);
        }
        this.store.borrow_mut().conns.push(conn.clone().unbind());
        Self::wake(slf)?;
        Conn::judge_room(conn)?;
        if this.store.borrow().is_awaited() {
            Conn::hold(conn);
        }
        Ok(())
    }

    pub(super) fn detach(slf: &Bound<'_, Self>, conn: &Bound<'_, Conn>) -> PyResult<()> {
        let (py, this) = (slf.py(), slf.get());
        this.check(py)?;
        let is_ours = conn.get().inner.borrow().ring.as_ref().is_some_and(|attached| attached.ring.is(slf));
        if !is_ours {
            return Ok(());
        }
        let gone = {
            let inner = &mut *conn.get().inner.borrow_mut();
            // What was read and not parsed, as the ring was full, was received.
            inner.parse_all(py);
            inner.move_to_ring(py);
            let settled = this.store.borrow_mut().settle(py);
            let gone = inner.ring.take();
            settled?;
            gone
        };
        drop(gone);
        let known = {
            let mut store = this.store.borrow_mut();
            let at = store.conns.iter().position(|known| known.is(conn));
            at.map(|at| store.conns.swap_remove(at))
        };
        if let Some(known) = known {
            known.drop_ref(py);
        }
        Self::wake(slf)?;
        Conn::judge_room(conn)?;
        Conn::work_soon(conn)
    }

    /// Something came, or ended: readers that wait are told, and streams that are too slow bear what they chose.
    ///
    /// One reader is stepped here and now where that is allowed, the others go on in the loop's next turn.
    pub(crate) fn wake(slf: &Bound<'_, Self>) -> PyResult<()> {
        let (py, this) = (slf.py(), slf.get());
        let (first, others) = {
            let mut store = this.store.borrow_mut();
            let (mut first, mut others) = (None, Vec::new());
            for index in 0..store.places() {
                if store.is_reader_ready(py, index)
                    && let Some(waiter) = store.state(index).and_then(|state| state.waiter.as_ref())
                {
                    let waiter = waiter.clone_ref(py);
                    if first.is_none() {
                        first = Some(waiter);
                    } else {
                        others.push(waiter);
                    }
                }
            }
            store.owes_turn |= !others.is_empty();
            (first, others)
        };
        let mut outcome = Ok(());
        for waiter in others {
            // Also with what ends the program on its way: everybody is told.
            outcome = outcome.and(Waiter::wake_later(waiter.bind(py)));
            waiter.drop_ref(py);
        }
        if let Some(first) = first {
            let hub = this.known_hub(py);
            outcome = outcome.and(match hub {
                Some(hub) => Waiter::wake(first.bind(py), hub.get()),
                None => Waiter::wake_later(first.bind(py)),
            });
            first.drop_ref(py);
        }
        outcome.and(Self::keep_in_bounds(slf))
    }

    /// Streams that do not make others wait lose, conflate or give up what is too much for them.
    fn keep_in_bounds(slf: &Bound<'_, Self>) -> PyResult<()> {
        let (py, this) = (slf.py(), slf.get());
        let mut index = 0;
        loop {
            let (absorbing, trash) = {
                let mut store = this.store.borrow_mut();
                if index >= store.places() {
                    break;
                }
                (store.keep_in_bounds(py, index), store.take_trash())
            };
            release(py, trash);
            if let Some(weak) = absorbing
                && let Some(cursor) = weak.bind(py).cast::<PyWeakrefReference>()?.upgrade()
            {
                let hub = this.known_hub(py);
                let _calling = hub.as_ref().map(|hub| hub.get().calling());
                Cursor::absorb(cursor.cast::<Cursor>()?)?;
            }
            index += 1;
        }
        // What was conflated, or passed by a filter, makes room too.
        Self::make_room(slf)
    }

    /// There may be room: connections are read again, and who waits to push goes on.
    pub(super) fn make_room(slf: &Bound<'_, Self>) -> PyResult<()> {
        let (py, this) = (slf.py(), slf.get());
        let (conns, rooms) = {
            let mut store = this.store.borrow_mut();
            if !store.paused || !store.is_low() {
                return Ok(());
            }
            store.paused = false;
            let conns: Vec<_> = store.conns.iter().map(|conn| conn.clone_ref(py)).collect();
            (conns, std::mem::take(&mut store.rooms))
        };
        let mut outcome = Ok(());
        for conn in conns {
            outcome = outcome.and(Conn::resume_if_paused(conn.bind(py)));
            conn.drop_ref(py);
        }
        outcome.and(Self::tell_of_room(py, rooms))
    }

    /// Who waits to push goes on.
    pub(super) fn tell_of_room(py: Python<'_>, rooms: Vec<Py<PyAny>>) -> PyResult<()> {
        let mut outcome = Ok(());
        for room in rooms {
            outcome = outcome.and(set_result(py, &room, py.None()).map(|_| ()));
            room.drop_ref(py);
        }
        outcome
    }

    /// The same, on the loop's thread, wherever this is.
    pub(super) fn make_room_later(&self, slf: &Py<Self>, py: Python<'_>) -> PyResult<()> {
        if self.is_forked() {
            return Ok(());
        }
        let Some(hub) = self.known_hub(py) else { return Ok(()) };
        let method = slf.bind(py).getattr("_make_room")?;
        hub.get().event_loop(py).call_method1("call_soon_threadsafe", (method,)).map(|_| ())
    }
}

impl super::store::Store {
    /// Whether the reader of a cursor waits, and has something to come back for.
    fn is_reader_ready(&mut self, py: Python<'_>, index: usize) -> bool {
        let Some(state) = self.state(index) else { return false };
        if !state.is_awaited() {
            return false;
        }
        let limits = state.batch.as_ref().filter(|batch| batch.due.is_some());
        let limits = limits.map(|batch| (batch.messages, batch.bytes, batch.wait));
        if !self.has_something(py, index) {
            return self.ended.is_some();
        }
        match limits {
            // One that waits for its first message comes back for it: that begins its time.
            None => true,
            Some((messages, bytes, wait)) => self.batch_may_leave(index, messages, bytes, wait),
        }
    }

    /// Whether reading is to wait for a reader that was woken: its stream would have to lose what comes.
    fn is_expecting(&self) -> bool {
        let (messages, bytes) = (self.water.high_messages as u64 / 2, self.water.high_bytes as u64 / 2);
        self.states().any(|state| {
            state.policy != Policy::Block
                && !state.overflowed
                && (self.end() - state.next > messages || self.bytes() - state.bytes > bytes)
                && state.is_coming()
                && !state.is_awaited()
        })
    }

    /// Sees to it that a stream has no more than it may have. A cursor that is returned is to conflate.
    fn keep_in_bounds(&mut self, py: Python<'_>, index: usize) -> Option<Py<PyWeakrefReference>> {
        let (end, bytes, most) = (self.end(), self.bytes(), self.water);
        let state = self.state(index).filter(|state| !state.overflowed)?;
        // A reader that was woken and is on its way is not behind yet.
        if state.is_coming()
            && end - state.next <= most.high_messages as u64
            && bytes - state.bytes <= most.high_bytes as u64
        {
            return None;
        }
        let is_over = end - state.next > state.water.high_messages as u64
            || (bytes - state.bytes > state.water.high_bytes as u64 && end - state.next > 1);
        match state.policy {
            Policy::Block => None,
            Policy::DropOldest => {
                if is_over {
                    self.drop_oldest(py, index);
                }
                None
            }
            Policy::Fail => {
                if is_over {
                    self.overflow(py, index);
                }
                None
            }
            Policy::Conflate => (state.next < end).then(|| state.me.as_ref().map(|me| me.clone_ref(py))).flatten(),
        }
    }

    /// The slowest stream that reading waits for, and for how long it has been where it is.
    pub fn culprit(&mut self, now: u64) -> Option<(Option<&Py<PyWeakrefReference>>, u64)> {
        if !self.is_full() {
            return None;
        }
        let slowest = self.blocking().map(|(state, _)| state.next).min()?;
        let index = (0..self.places()).find(|index| {
            self.state(*index).is_some_and(|state| state.next == slowest && state.policy != Policy::DropOldest)
        })?;
        let state = self.state(index)?;
        if state.watched.0 != state.next || state.watched.1 == 0 {
            state.watched = (state.next, now);
        }
        Some((state.me.as_ref(), now.saturating_sub(state.watched.1)))
    }
}

impl Conn {
    /// Gives what was received to the ring, and wakes its readers.
    pub(crate) fn deliver_to_ring(slf: &Bound<'_, Self>) -> PyResult<()> {
        let (py, this) = (slf.py(), slf.get());
        let ring = {
            let inner = &mut *this.inner.borrow_mut();
            let Some(ring) = inner.ring.as_ref().map(|attached| attached.ring.clone_ref(py)) else { return Ok(()) };
            if inner.queue.is_empty() {
                ring.drop_ref(py);
                return Ok(());
            }
            inner.move_to_ring(py);
            ring
        };
        let outcome = Ring::wake(ring.bind(py));
        ring.drop_ref(py);
        outcome
    }

    /// Wakes readers of its ring, if it has one, that have something to come back for.
    pub(crate) fn wake_ring(slf: &Bound<'_, Self>) -> PyResult<()> {
        let py = slf.py();
        let ring = slf.get().inner.borrow().ring.as_ref().map(|attached| attached.ring.clone_ref(py));
        let Some(ring) = ring else { return Ok(()) };
        let outcome = Ring::wake(ring.bind(py));
        ring.drop_ref(py);
        outcome
    }

    /// Whether readers of the ring wait for the loop's next turn.
    pub(crate) fn owes_a_turn(&self) -> bool {
        let inner = self.inner.borrow();
        let Some(attached) = &inner.ring else { return false };
        let mut store = attached.ring.get().store.borrow_mut();
        std::mem::take(&mut store.owes_turn) || store.is_expecting()
    }

    /// Whether reading is to wait for a reader of the ring that was woken and has not come back.
    pub(crate) fn waits_for_reader(&self) -> bool {
        self.inner.borrow().ring.as_ref().is_some_and(|attached| attached.ring.get().store.borrow().is_expecting())
    }

    /// Where its messages go has changed: reading pauses or goes on as that wants.
    fn judge_room(slf: &Bound<'_, Self>) -> PyResult<()> {
        let this = slf.get();
        let mut inner = this.inner.borrow_mut();
        if inner.paused.is_some() {
            if inner.is_below_low_water() {
                return Self::resume(slf, inner);
            }
            if let Some(attached) = &inner.ring {
                attached.ring.get().store.borrow_mut().pause(clock::monotonic());
            }
            drop(inner);
            return Self::wake_ring(slf);
        }
        if inner.pause_if_full(false) && inner.token.is_some() {
            inner.watch(this.hub.get());
            drop(inner);
            return Self::wake_ring(slf);
        }
        Ok(())
    }

    /// The ring has room again.
    fn resume_if_paused(slf: &Bound<'_, Self>) -> PyResult<()> {
        let inner = slf.get().inner.borrow_mut();
        if inner.paused.is_some() { Self::resume(slf, inner) } else { Ok(()) }
    }

    /// Lets the hub bring its registration up to date, and act on what was parsed.
    fn work_soon(slf: &Bound<'_, Self>) -> PyResult<()> {
        match slf.get().token() {
            Some(token) => Hub::run_soon(slf.get().hub.bind(slf.py()), token),
            None => Ok(()),
        }
    }
}

impl crate::conn::Inner {
    /// Moves what was received into the ring.
    fn move_to_ring(&mut self, py: Python<'_>) {
        let Some(attached) = &self.ring else { return };
        if self.queue.is_empty() {
            return;
        }
        let extras = &mut self.extras;
        attached.ring.get().store.borrow_mut().receive(py, &mut self.queue, &attached.origin, |taken| {
            extras.as_mut().and_then(|extras| extras.stamp(taken))
        });
    }

    /// Parses what was read, whether or not there is room for it; but not what compressed messages become without one.
    fn parse_all(&mut self, py: Python<'_>) {
        while let Some(before) = self.input.as_ref().map(|input| input.start).filter(|_| self.has_unparsed()) {
            self.parse(py);
            let has_enough = self.core.compression().is_some() && self.queue.bytes() >= self.settings.water.high_bytes;
            if has_enough || self.input.as_ref().is_none_or(|input| input.start == before) {
                break;
            }
        }
    }
}
