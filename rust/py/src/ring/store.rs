//! The ring itself: the messages that some cursor has not passed, and what is known of them. No Python runs in here.
//!
//! Positions count messages and markers, numbers (`seq`) count messages only. A slot goes when the slowest cursor has
//! passed it. While a wake-up lasts, a message may be a place in a connection's read buffer: whoever takes it first makes
//! its object, which stays for the others.

use std::collections::VecDeque;
use std::rc::Rc;

use fastws_core::Nanos;
use pyo3::ffi;
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;

use super::decode::Shared;
use super::slot::{MARKER, OUTAGE};
use super::state::{Ahead, Marker, Origin, Policy, Run, Stamp, State};
use crate::conn::Conn;
use crate::queue::{Queue, SLICE, Slot, TEXT};
use crate::settings::Water;

/// Markers that are kept while there was no stream yet: as many as an event stream keeps events.
const MOST_MARKERS: usize = 256;

/// How many times what it may have makes a ring overfull: what a session or two brought at their end does not.
const OVERFULL: u64 = 4;

/// What a ring holds.
pub(crate) struct Store {
    pub(super) slots: VecDeque<Slot>,
    /// Position of the first slot.
    pub(super) base: u64,
    /// What is before this position is no place in a read buffer.
    pub(super) unsettled: u64,
    pub(super) runs: VecDeque<Run>,
    pub(super) states: Vec<Option<Box<State>>>,
    /// Cursors that keep messages.
    pub(super) live: usize,
    /// Bytes of all messages ever, and of those that went.
    pub(super) bytes: u64,
    pub(super) base_bytes: u64,
    pub(super) markers: u64,
    pub water: Water,
    pub receive: bool,
    /// Messages that came where none is received.
    pub discarded: u64,
    /// There was a stream, or there is to be none: without one now, nothing is kept.
    pub had_stream: bool,
    /// Where the state is that keeps everything for the first stream, while there are cursors but no stream yet.
    keeper: Option<usize>,
    /// Messages that were let go before there was a stream, as only markers came and came.
    forgone: u64,
    /// Somebody waits for room: cursors look whether there is some.
    pub paused: bool,
    pub conns: Vec<Py<Conn>>,
    pub rooms: Vec<Py<PyAny>>,
    /// What is pushed by hand belongs to this session.
    pub origin: Rc<Origin>,
    pub ended: Option<Ended>,
    pub shared: Shared,
    /// Readers were woken who go on in the loop's next turn.
    pub owes_turn: bool,
    /// What is to be released when nothing is borrowed: it may run anything.
    pub(super) trash: Vec<Py<PyAny>>,
}

/// How the streams end.
pub(crate) struct Ended {
    pub error: Option<Py<PyAny>>,
}

impl Store {
    pub fn new(water: Water, receive: bool) -> Self {
        Self {
            slots: VecDeque::new(),
            base: 0,
            unsettled: 0,
            runs: VecDeque::new(),
            states: Vec::new(),
            live: 0,
            bytes: 0,
            base_bytes: 0,
            markers: 0,
            water,
            receive,
            discarded: 0,
            had_stream: !receive,
            keeper: None,
            forgone: 0,
            paused: false,
            conns: Vec::new(),
            rooms: Vec::new(),
            origin: Rc::new(Origin { generation: 0, connection_id: 0, source: None }),
            ended: None,
            shared: Shared::default(),
            owes_turn: false,
            trash: Vec::new(),
        }
    }

    /// Position behind the newest message or marker.
    pub fn end(&self) -> u64 {
        self.base + self.slots.len() as u64
    }

    /// Number of the newest message.
    pub fn newest(&self) -> u64 {
        self.end() - self.markers
    }

    pub fn len(&self) -> usize {
        self.slots.len()
    }

    pub fn retained_bytes(&self) -> u64 {
        self.bytes - self.base_bytes
    }

    /// Streams that keep messages.
    pub fn streams(&self) -> usize {
        self.states().filter(|state| !state.aside && !state.overflowed).count()
    }

    /// Whether what comes is only counted: nobody wants it, nor will.
    pub fn is_deaf(&self) -> bool {
        !self.receive && self.live == 0
    }

    /// What may only be released when nothing is borrowed.
    #[must_use]
    pub fn take_trash(&mut self) -> Vec<Py<PyAny>> {
        std::mem::take(&mut self.trash)
    }

    // Cursors.

    #[inline]
    pub fn state(&mut self, index: usize) -> Option<&mut State> {
        self.states.get_mut(index)?.as_deref_mut()
    }

    pub fn states(&self) -> impl Iterator<Item = &State> {
        self.states.iter().filter_map(Option::as_deref)
    }

    /// How many places there are for cursors.
    pub fn places(&self) -> usize {
        self.states.len()
    }

    /// Adds a cursor, at the oldest message that is kept or behind the newest; the first stream sees all. A cursor aside
    /// is no stream: it changes nothing for those.
    pub fn add(&mut self, mut state: State, oldest: bool) -> usize {
        let is_first = !state.aside && !std::mem::replace(&mut self.had_stream, true);
        (state.next, state.bytes) =
            if oldest || is_first { (self.base, self.base_bytes) } else { (self.end(), self.bytes) };
        if is_first {
            self.hand_over_to(&mut state);
        } else if !self.had_stream && self.keeper.is_none() {
            let mut keeper = State::new(Policy::Block, self.water);
            (keeper.next, keeper.bytes, keeper.aside) = (self.base, self.base_bytes, true);
            self.keeper = Some(self.place(keeper));
        }
        self.place(state)
    }

    fn place(&mut self, state: State) -> usize {
        self.live += 1;
        self.shared.join(state.decoder);
        let state = Some(Box::new(state));
        if let Some(index) = self.states.iter().position(Option::is_none) {
            self.states[index] = state;
            return index;
        }
        self.states.push(state);
        self.states.len() - 1
    }

    /// The first stream takes what was kept for it, and hears of what was not.
    fn hand_over_to(&mut self, first: &mut State) {
        if let Some(keeper) = self.keeper.take() {
            self.states[keeper] = None;
            self.live -= 1;
        }
        let generation = self.runs.iter().find_map(|run| run.stamp.as_ref()).map(|stamp| stamp.origin.generation);
        if self.forgone > 0 {
            first.lose_all(1, self.forgone, generation.unwrap_or(self.origin.generation));
        }
    }

    /// Takes a cursor out: what only it had kept goes.
    pub fn remove(&mut self, py: Python<'_>, index: usize) -> Option<Box<State>> {
        let state = self.states.get_mut(index)?.take()?;
        if !state.overflowed {
            self.live -= 1;
        }
        self.shared.leave(state.decoder, &mut self.trash);
        while self.states.last().is_some_and(Option::is_none) {
            self.states.pop();
        }
        self.trim(py);
        Some(state)
    }

    /// The position of the slowest cursor.
    fn slowest(&self) -> u64 {
        match self.live {
            0 if self.had_stream => self.end(),
            0 => self.base,
            _ => self.states().filter(|state| !state.overflowed).map(|state| state.next).min().unwrap_or(self.base),
        }
    }

    /// Lets go what every cursor has passed.
    pub fn trim(&mut self, py: Python<'_>) {
        let slowest = self.slowest();
        while self.base < slowest && self.let_go(py) {}
        self.forget_runs();
    }

    /// Lets the oldest message or marker go; false: there is none.
    fn let_go(&mut self, py: Python<'_>) -> bool {
        let Some(slot) = self.pop() else { return false };
        if slot.tag & SLICE != 0 {
            return true;
        }
        // SAFETY: the slot owned the reference.
        let object = unsafe { Bound::from_owned_ptr(py, slot.address as *mut ffi::PyObject) }.unbind();
        if slot.tag & MARKER == 0 {
            object.drop_ref(py);
        } else {
            self.trash.push(object);
        }
        true
    }

    pub fn forget_runs(&mut self) {
        while self.runs.front().is_some_and(|run| run.end <= self.base) {
            self.runs.pop_front();
        }
        self.shared.forget(self.base, &mut self.trash);
    }

    #[inline]
    pub(super) fn pop(&mut self) -> Option<Slot> {
        let slot = self.slots.pop_front()?;
        self.base += 1;
        self.base_bytes += u64::from(slot.length);
        Some(slot)
    }

    // What comes.

    /// Takes everything that waits in a connection's queue.
    pub fn receive(
        &mut self,
        py: Python<'_>,
        queue: &mut Queue,
        origin: &Rc<Origin>,
        mut kernel: impl FnMut(u64) -> Option<Nanos>,
    ) {
        if !self.receive {
            self.discarded += queue.len() as u64;
        }
        if self.is_deaf() {
            queue.clear(py);
            return;
        }
        while !queue.is_empty() {
            let (realtime, monotonic, count) = queue.oldest().unwrap_or((0, 0, queue.len()));
            let first = self.slots.len();
            self.bytes += queue.move_to(&mut self.slots, count.min(queue.len())) as u64;
            if queue.form != crate::queue::Form::Auto {
                self.slots.iter_mut().skip(first).for_each(|slot| slot.tag &= !TEXT);
            }
            let kernel = kernel(queue.taken());
            self.stamped(Stamp { realtime, monotonic, kernel, origin: Rc::clone(origin), skew: 0 });
        }
        if self.live == 0 && self.had_stream {
            self.trim(py);
        }
    }

    /// One message that came another way: `bytes`, or `str` if it is text.
    pub fn push(
        &mut self,
        py: Python<'_>,
        object: Py<PyAny>,
        length: usize,
        text: bool,
        stamp: (Nanos, Nanos, Option<Nanos>),
    ) {
        self.bytes += length.min(u32::MAX as usize) as u64;
        self.slots.push_back(Slot {
            address: object.into_ptr() as usize,
            length: u32::try_from(length).unwrap_or(u32::MAX),
            tag: if text { TEXT } else { 0 },
            head: 0,
        });
        let (realtime, monotonic, kernel) = stamp;
        self.stamped(Stamp { realtime, monotonic, kernel, origin: Rc::clone(&self.origin), skew: 0 });
        if self.live == 0 && self.had_stream {
            self.trim(py);
        }
    }

    fn stamped(&mut self, mut stamp: Stamp) {
        stamp.skew = self.markers;
        self.runs.push_back(Run { end: self.end(), stamp: Some(Rc::new(stamp)) });
    }

    pub fn mark(&mut self, py: Python<'_>, marker: Marker) {
        let tag = if marker.outage { MARKER | OUTAGE } else { MARKER };
        self.slots.push_back(Slot { address: marker.object.into_ptr() as usize, length: 0, tag, head: 0 });
        self.markers += 1;
        self.runs.push_back(Run { end: self.end(), stamp: None });
        if !self.had_stream {
            self.limit_markers(py);
        } else if self.live == 0 {
            self.trim(py);
        }
    }

    /// Markers come whether or not there is room, so that they need a bound of their own where nobody reads them.
    fn limit_markers(&mut self, py: Python<'_>) {
        let too_many = self.runs.iter().filter(|run| run.stamp.is_none()).count() > MOST_MARKERS;
        let is_marker = self.slots.front().is_some_and(|slot| slot.tag & MARKER != 0);
        if self.slots.len() <= 2 * self.water.high_messages.max(MOST_MARKERS) && !(too_many && is_marker) {
            return;
        }
        if !is_marker {
            self.forgone += 1;
        }
        self.let_go(py);
        self.forget_runs();
        let (base, bytes) = (self.base, self.base_bytes);
        for state in self.states.iter_mut().flatten().filter(|state| state.next < base) {
            (state.next, state.bytes, state.until, state.here_until) = (base, bytes, 0, 0);
        }
    }

    /// Makes objects of all that are still places in a read buffer.
    pub fn settle(&mut self, py: Python<'_>) -> PyResult<()> {
        let end = self.end();
        if self.unsettled >= end {
            return Ok(());
        }
        let natural = !self.states().all(|state| state.raw) || self.live == 0;
        let from = self.unsettled.max(self.base) - self.base;
        for slot in self.slots.iter_mut().skip(from as usize) {
            if slot.tag & SLICE != 0 {
                let object = slot.make(natural);
                if object.is_null() {
                    return Err(PyErr::fetch(py));
                }
                slot.address = object as usize;
                slot.tag &= !SLICE;
            }
        }
        self.unsettled = end;
        Ok(())
    }

    /// There was no memory to settle, and the read buffer goes: what is in it is lost.
    pub fn forget_slices(&mut self) {
        for slot in &mut self.slots {
            if slot.tag & SLICE != 0 {
                let none = py_none();
                (slot.address, slot.tag) = (none, 0);
            }
        }
    }

    /// Gives memory back that a burst took.
    pub fn shrink(&mut self) {
        if self.slots.is_empty() && self.slots.capacity() > 64 {
            self.slots = VecDeque::new();
        }
        if self.runs.capacity() > 64 && self.runs.len() < 16 {
            self.runs.shrink_to(32);
        }
    }

    // What is full.

    /// Whether no more is to be received: the slowest stream that loses nothing has as much as it may have, or what is
    /// kept until there is a stream is as much.
    pub fn is_full(&self) -> bool {
        self.holds(1)
    }

    /// Whether it has so much more that no session is to bring another part of it: what a connection had in its own
    /// queue, and what was read of one that has ended, comes whether or not there is room.
    pub fn is_overfull(&self) -> bool {
        self.holds(OVERFULL)
    }

    /// Whether it has so many times what it may have.
    #[inline]
    fn holds(&self, times: u64) -> bool {
        let most = |water: Water| {
            ((water.high_messages as u64).saturating_mul(times), (water.high_bytes as u64).saturating_mul(times))
        };
        if self.live == 0 {
            let (messages, bytes) = most(self.water);
            return !self.had_stream && (self.slots.len() as u64 >= messages || self.retained_bytes() >= bytes);
        }
        self.blocking().any(|(state, water)| {
            let (messages, bytes) = most(water);
            self.end() - state.next >= messages || self.bytes - state.bytes >= bytes
        })
    }

    /// Whether reading may go on.
    pub fn is_low(&self) -> bool {
        if self.live == 0 {
            let water = self.water;
            return self.had_stream
                || (self.slots.len() <= water.low_messages && self.retained_bytes() <= water.low_bytes as u64);
        }
        self.blocking().all(|(state, water)| {
            self.end() - state.next <= water.low_messages as u64 && self.bytes - state.bytes <= water.low_bytes as u64
        })
    }

    /// The cursors that what comes must wait for, and with what they have enough.
    pub fn blocking(&self) -> impl Iterator<Item = (&State, Water)> {
        self.states().filter_map(|state| match state.policy {
            Policy::Block if !state.overflowed => Some((state, state.water)),
            // Its capacity counts keys: this is what it has no room for.
            Policy::Conflate if !state.overflowed => Some((state, self.water)),
            _ => None,
        })
    }

    /// What comes waits from now on: every cursor looks whether there is room.
    pub fn pause(&mut self, now: Nanos) {
        if std::mem::replace(&mut self.paused, true) {
            return;
        }
        for state in self.states.iter_mut().flatten() {
            state.until = 0;
            state.watched = (state.next, now);
        }
    }

    pub fn is_awaited(&self) -> bool {
        self.states().any(State::is_awaited)
    }

    /// Messages and bytes that a cursor has not passed.
    pub fn lag(&self, index: usize) -> (u64, u64) {
        let Some(Some(state)) = self.states.get(index) else { return (0, 0) };
        if state.overflowed {
            return (0, 0);
        }
        let (kept, kept_bytes) = state.pending.as_ref().map_or((0, 0), |pending| pending.size());
        let markers = self.markers_from(state.next);
        (self.end() - state.next - markers + kept, self.bytes - state.bytes + kept_bytes)
    }

    fn markers_from(&self, next: u64) -> u64 {
        self.runs.iter().rev().take_while(|run| run.end > next).filter(|run| run.stamp.is_none()).count() as u64
    }

    pub fn traverse(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        for slot in self.slots.iter().filter(|slot| slot.tag & MARKER != 0) {
            // SAFETY: the slot holds a reference, which the visit only looks at.
            let marker = unsafe { &*std::ptr::from_ref(&slot.address).cast::<Py<PyAny>>() };
            visit.call(marker)?;
        }
        for state in self.states() {
            if let Some(waiter) = &state.waiter {
                visit.call(waiter)?;
            }
            if let Some(timer) = &state.timer {
                visit.call(timer)?;
            }
            if let Some(outage) = &state.last_outage {
                visit.call(outage)?;
            }
            for ahead in &state.ahead {
                match ahead {
                    Ahead::Marker(Marker { object, .. }) | Ahead::Error(object) => visit.call(object)?,
                    Ahead::Lost(_) => {}
                }
            }
            if let Some(pending) = &state.pending {
                pending.traverse(visit)?;
            }
        }
        for conn in &self.conns {
            visit.call(conn)?;
        }
        for room in self.rooms.iter().chain(&self.trash) {
            visit.call(room)?;
        }
        if let Some(Ended { error: Some(error) }) = &self.ended {
            visit.call(error)?;
        }
        self.shared.traverse(visit)
    }

    /// Lets the references go that may be part of a cycle; what is returned is to be dropped when nothing is borrowed.
    pub fn clear(&mut self) -> impl Sized + use<> {
        let waiters: Vec<_> = self.states.iter_mut().flatten().filter_map(|state| state.waiter.take()).collect();
        let timers: Vec<_> = self.states.iter_mut().flatten().filter_map(|state| state.timer.take()).collect();
        let outages: Vec<_> = self.states.iter_mut().flatten().filter_map(|state| state.last_outage.take()).collect();
        let (conns, rooms) = (std::mem::take(&mut self.conns), std::mem::take(&mut self.rooms));
        (waiters, timers, outages, conns, rooms, self.ended.take(), self.take_trash(), self.shared.take())
    }
}

fn py_none() -> usize {
    // SAFETY: attached wherever a ring is used.
    unsafe {
        let none = ffi::Py_None();
        ffi::Py_INCREF(none);
        none as usize
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        for slot in self.slots.drain(..) {
            if slot.tag & SLICE == 0 {
                // SAFETY: the reference is ours; a ring is dropped with the interpreter attached.
                unsafe { ffi::Py_DECREF(slot.address as *mut ffi::PyObject) };
            }
        }
    }
}
