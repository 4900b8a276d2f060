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
use pyo3::types::{PyBytes, PyString};

use super::decode::{Shared, Value};
use super::message::Message;
use super::state::{Ahead, Lost, Marker, Origin, Policy, Run, Stamp, State};
use crate::conn::Conn;
use crate::gc;
use crate::queue::{Queue, SLICE, Slot, TEXT, as_kind};
use crate::settings::Water;

/// A slot that holds a marker, and one that says that an outage is over.
const MARKER: u8 = 8;
const OUTAGE: u8 = 16;

/// What a ring holds.
pub(crate) struct Store {
    slots: VecDeque<Slot>,
    /// Position of the first slot.
    base: u64,
    /// What is before this position is no place in a read buffer.
    unsettled: u64,
    runs: VecDeque<Run>,
    states: Vec<Option<Box<State>>>,
    /// Cursors that keep messages.
    live: usize,
    /// Bytes of all messages ever, and of those that went.
    bytes: u64,
    base_bytes: u64,
    markers: u64,
    pub water: Water,
    pub receive: bool,
    /// Messages that came where none is received.
    pub discarded: u64,
    /// There was a stream: without one now, nothing is kept.
    pub had_stream: bool,
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
    trash: Vec<Py<PyAny>>,
}

/// How the streams end.
pub(crate) struct Ended {
    pub error: Option<Py<PyAny>>,
}

/// A message taken for somebody who has to do something with it.
pub(crate) struct Got {
    /// `bytes`, or `str` if it is text.
    pub object: Py<PyAny>,
    pub text: bool,
    pub position: u64,
    pub length: usize,
    pub seq: u64,
    pub stamp: Rc<Stamp>,
    /// It passed the filter already.
    pub passed: bool,
    /// What the cursor's decoder made of it for another one.
    pub made: Option<Value>,
}

/// What comes next for a cursor.
pub(crate) enum Step {
    Empty,
    /// A message, as its consumer gets it.
    Given(Py<PyAny>),
    /// A message for a cursor that is not plain.
    Got(Got),
    Marker(Py<PyAny>),
    Lost(Lost),
    Error(Py<PyAny>),
    /// Something that this cursor does not give.
    Nothing,
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
            had_stream: false,
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

    pub fn live(&self) -> usize {
        self.live
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

    /// Adds a cursor, at the oldest message that is kept or behind the newest; the first one sees all.
    pub fn add(&mut self, mut state: State, oldest: bool) -> usize {
        let oldest = oldest || !std::mem::replace(&mut self.had_stream, true);
        (state.next, state.bytes) = if oldest { (self.base, self.base_bytes) } else { (self.end(), self.bytes) };
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
        while self.base < slowest
            && let Some(slot) = self.pop()
        {
            if slot.tag & SLICE == 0 {
                // SAFETY: the slot owned the reference.
                let object = unsafe { Bound::from_owned_ptr(py, slot.address as *mut ffi::PyObject) }.unbind();
                if slot.tag & MARKER == 0 {
                    object.drop_ref(py);
                } else {
                    self.trash.push(object);
                }
            }
        }
        self.forget_runs();
    }

    pub fn forget_runs(&mut self) {
        while self.runs.front().is_some_and(|run| run.end <= self.base) {
            self.runs.pop_front();
        }
        self.shared.forget(self.base, &mut self.trash);
    }

    #[inline]
    fn pop(&mut self) -> Option<Slot> {
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
        self.slots.push_back(Slot { address: marker.object.into_ptr() as usize, length: 0, tag });
        self.markers += 1;
        self.runs.push_back(Run { end: self.end(), stamp: None });
        if self.live == 0 && self.had_stream {
            self.trim(py);
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
        if self.live == 0 {
            let water = self.water;
            return !self.had_stream
                && (self.slots.len() >= water.high_messages || self.retained_bytes() >= water.high_bytes as u64);
        }
        self.blocking().any(|(state, water)| {
            self.end() - state.next >= water.high_messages as u64 || self.bytes - state.bytes >= water.high_bytes as u64
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

    // Taking.

    /// Takes a message for a reader that has not waited, if nothing else is to be looked at. Null: an exception is set.
    #[inline]
    pub fn take_at_once(&mut self, py: Python<'_>, index: usize) -> Option<*mut ffi::PyObject> {
        let state = self.states.get_mut(index)?.as_deref_mut()?;
        if state.next >= state.until || state.run.left <= 1 {
            return None;
        }
        state.run.left -= 1;
        let object = if self.live == 1 {
            let slot = self.slots.pop_front()?;
            let length = u64::from(slot.length);
            state.next += 1;
            state.bytes += length;
            self.base += 1;
            self.base_bytes += length;
            solo(py, slot, state.raw)
        } else {
            self.take_slot(py, index)
        };
        let state = self.states.get_mut(index)?.as_deref_mut()?;
        state.seq += 1;
        if !state.markers || object.is_null() {
            return Some(object);
        }
        // SAFETY: a new reference.
        let data = unsafe { Bound::from_owned_ptr(py, object) };
        let stamp = state.last.as_deref()?;
        Some(match Message::of(py, data.unbind(), state.seq, stamp) {
            Ok(message) => message.into_ptr(),
            Err(error) => {
                error.restore(py);
                std::ptr::null_mut()
            }
        })
    }

    /// Takes the slot at a cursor's place as an object. Null: an exception is set.
    #[inline]
    pub fn take_slot(&mut self, py: Python<'_>, index: usize) -> *mut ffi::PyObject {
        let Some(state) = self.states[index].as_deref_mut() else { return std::ptr::null_mut() };
        let (next, raw) = (state.next, state.raw);
        let at = (next - self.base) as usize;
        state.next += 1;
        state.bytes += u64::from(self.slots[at].length);
        // Only whoever is last lets a slot go; all cursors are here or further on if this one was the slowest.
        if at == 0 && self.states().all(|state| state.next > next) {
            return self.pop().map_or(std::ptr::null_mut(), |slot| solo(py, slot, raw));
        }
        shared(py, &mut self.slots[at], raw)
    }

    /// Whether there is something for a cursor. What its needle does not occur in is passed.
    pub fn has_something(&mut self, py: Python<'_>, index: usize) -> bool {
        loop {
            let end = self.end();
            let Some(state) = self.state(index) else { return false };
            if state.overflowed
                || !state.ahead.is_empty()
                || state.pending.as_ref().is_some_and(|pending| !pending.is_empty())
            {
                return true;
            }
            if state.next >= end {
                return false;
            }
            if state.needle.is_none() || !self.pass_unmatched(index) {
                return true;
            }
            self.trim(py);
        }
    }

    /// Passes the messages before the first one that a cursor's needle occurs in; false: it is at one, or at a marker.
    fn pass_unmatched(&mut self, index: usize) -> bool {
        let (base, mut moved) = (self.base, false);
        let Some(state) = self.states[index].as_deref_mut() else { return false };
        let Some(needle) = &state.needle else { return false };
        while let Some(slot) = self.slots.get((state.next - base) as usize) {
            if slot.tag & MARKER != 0 || needle.find(payload(slot)).is_some() {
                break;
            }
            state.next += 1;
            state.bytes += u64::from(slot.length);
            moved = true;
        }
        moved
    }

    /// Sees to it that `here` is the stamp of a cursor's next message; false: it is a marker.
    pub fn enter(&mut self, index: usize) -> bool {
        let Some(state) = self.states[index].as_deref_mut() else { return false };
        if state.next < state.here_until {
            return true;
        }
        let at = self.runs.partition_point(|run| run.end <= state.next);
        let Some(run) = self.runs.get(at) else { return false };
        let Some(stamp) = &run.stamp else { return false };
        state.here = Some(Rc::clone(stamp));
        state.here_until = run.end;
        true
    }

    /// What is next for a cursor, which moves on.
    pub fn step(&mut self, py: Python<'_>, index: usize) -> Step {
        let end = self.end();
        let Some(state) = self.states[index].as_deref_mut() else { return Step::Empty };
        match state.ahead.pop_front() {
            None => {}
            Some(Ahead::Marker(marker)) => return self.give_marker(py, index, marker),
            Some(Ahead::Lost(lost)) => return if state.markers { Step::Lost(lost) } else { Step::Nothing },
            Some(Ahead::Error(error)) => return Step::Error(error),
        }
        if let Some(pending) = &mut state.pending
            && let Some(kept) = pending.pop()
        {
            return match kept {
                Ok(got) => Step::Got(got),
                Err(marker) => self.give_marker(py, index, marker),
            };
        }
        if state.next >= end {
            return Step::Empty;
        }
        if !self.enter(index) {
            return match self.take_marker(py, index) {
                Some(marker) => self.give_marker(py, index, marker),
                None => Step::Empty,
            };
        }
        self.give_message(py, index)
    }

    fn give_message(&mut self, py: Python<'_>, index: usize) -> Step {
        let Some(state) = self.states[index].as_deref() else { return Step::Empty };
        let Some(stamp) = state.here.as_ref().map(Rc::clone) else { return Step::Empty };
        let position = state.next;
        let slot = self.slots[(position - self.base) as usize];
        let (text, length) = (slot.tag & TEXT != 0, slot.length as usize);
        let seq = position + 1 - stamp.skew;
        let made = state.decoder.and_then(|id| self.shared.find(py, id, position));
        let _paused = gc::pause(py);
        let object = self.take_slot(py, index);
        self.forget_runs();
        // SAFETY: attached; a new reference or null with an exception.
        let object = match unsafe { Bound::from_owned_ptr_or_err(py, object) } {
            Ok(object) => object.unbind(),
            Err(error) => return Step::Error(error.into_value(py).into_any()),
        };
        let paused = self.paused;
        let Some(state) = self.states[index].as_deref_mut() else { return Step::Empty };
        if !state.plain {
            let passed = state.needle.is_some();
            return Step::Got(Got { object, text, position, length, seq, stamp, passed, made });
        }
        (state.seq, state.last) = (seq, Some(Rc::clone(&stamp)));
        state.until = if state.is_simple() && !paused { state.here_until } else { 0 };
        if !state.markers {
            return Step::Given(object);
        }
        match Message::of(py, object, seq, &stamp) {
            Ok(message) => Step::Given(message),
            Err(error) => Step::Error(error.into_value(py).into_any()),
        }
    }

    /// A marker is passed: it is given, or only counted.
    fn give_marker(&mut self, py: Python<'_>, index: usize, marker: Marker) -> Step {
        let Some(state) = self.states[index].as_deref_mut() else { return Step::Empty };
        if marker.outage {
            state.outages += 1;
            self.trash.extend(state.last_outage.replace(marker.object.clone_ref(py)));
        }
        if state.markers {
            return Step::Marker(marker.object);
        }
        self.trash.push(marker.object);
        Step::Nothing
    }

    /// The runs that a position and what follows are in.
    pub fn runs_from(&self, next: u64) -> impl Iterator<Item = &Run> {
        let from = self.runs.partition_point(|run| run.end <= next);
        self.runs.iter().skip(from)
    }

    /// The stamp of the message at a position.
    pub fn stamp_at(&self, position: u64) -> Option<Rc<Stamp>> {
        self.runs_from(position).next()?.stamp.clone()
    }

    /// The bytes of each of the messages from a position to before another.
    pub fn lengths(&self, from: u64, to: u64) -> impl Iterator<Item = u64> {
        let (skip, take) = ((from - self.base) as usize, (to - from) as usize);
        self.slots.iter().skip(skip).take(take).map(|slot| u64::from(slot.length))
    }

    /// Bytes of all messages ever.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Whether the ring has something that a cursor has not passed, be it conflated or not.
    pub fn has_more(&mut self, py: Python<'_>, index: usize) -> bool {
        let Some(state) = self.state(index).filter(|state| !state.overflowed) else { return false };
        if state.needle.is_some() && self.pass_unmatched(index) {
            self.trim(py);
        }
        let end = self.end();
        self.state(index).is_some_and(|state| state.next < end)
    }

    /// Keeps what a decoder made, for those who have still to come to the message.
    pub fn keep_decoded(&mut self, index: usize, position: u64, value: Value) {
        let id = self.state(index).and_then(|state| state.decoder);
        let is_wanted = |state: &State| state.decoder == id && state.next <= position;
        match id.filter(|_| position >= self.base && self.states().any(is_wanted)) {
            Some(id) => self.shared.keep(id, position, value, &mut self.trash),
            None => self.trash.push(value.into_object()),
        }
    }

    /// A stream that drops what it has no room for: the oldest go.
    pub fn drop_oldest(&mut self, py: Python<'_>, index: usize) {
        let (end, bytes) = (self.end(), self.bytes);
        let mut moved = false;
        while let Some(state) = self.state(index)
            && (end - state.next > state.water.high_messages as u64
                || (bytes - state.bytes > state.water.high_bytes as u64 && end - state.next > 1))
        {
            moved = true;
            let is_message = self.enter(index);
            let Some(state) = self.states[index].as_deref_mut() else { return };
            let Some(slot) = self.slots.get((state.next - self.base) as usize) else { break };
            if is_message && let Some(here) = &state.here {
                let (seq, generation) = (state.next + 1 - here.skew, here.origin.generation);
                state.bytes += u64::from(slot.length);
                state.next += 1;
                state.lose(seq, generation);
            } else {
                // Markers are not lost.
                // SAFETY: attached; the slot holds a reference.
                let object = unsafe { Bound::from_borrowed_ptr(py, slot.address as *mut ffi::PyObject) }.unbind();
                state.ahead.push_back(Ahead::Marker(Marker { object, outage: slot.tag & OUTAGE != 0 }));
                state.next += 1;
                state.until = 0;
            }
        }
        if moved {
            self.trim(py);
        }
    }

    /// The payload at a cursor's place as an object, without moving; none: a marker, or nothing.
    pub fn peek(&mut self, py: Python<'_>, index: usize) -> PyResult<Option<Got>> {
        if !self.enter(index) {
            return Ok(None);
        }
        let Some(state) = self.states[index].as_deref() else { return Ok(None) };
        let Some(stamp) = state.here.as_ref().map(Rc::clone) else { return Ok(None) };
        let (position, passed) = (state.next, state.needle.is_some());
        let slot = &mut self.slots[(position - self.base) as usize];
        let (text, length) = (slot.tag & TEXT != 0, slot.length as usize);
        // SAFETY: attached; a new reference or null with an exception.
        let object = unsafe { Bound::from_owned_ptr_or_err(py, shared(py, slot, true))? }.unbind();
        let seq = position + 1 - stamp.skew;
        Ok(Some(Got { object, text, position, length, seq, stamp, passed, made: None }))
    }

    /// Moves a cursor over what is at its place.
    pub fn pass(&mut self, py: Python<'_>, index: usize) {
        let at = self.state(index).map(|state| state.next);
        let Some(length) = at.and_then(|next| self.slots.get((next - self.base) as usize)).map(|slot| slot.length)
        else {
            return;
        };
        if let Some(state) = self.state(index) {
            state.next += 1;
            state.bytes += u64::from(length);
            state.until = 0;
        }
        self.trim(py);
    }

    /// Takes the marker at a cursor's place, if one is there, and moves on.
    pub fn take_marker(&mut self, py: Python<'_>, index: usize) -> Option<Marker> {
        let next = self.state(index)?.next;
        let slot = self.slots.get((next - self.base) as usize).filter(|slot| slot.tag & MARKER != 0)?;
        // SAFETY: the slot holds a reference.
        let object = unsafe { Bound::from_borrowed_ptr(py, slot.address as *mut ffi::PyObject) }.unbind();
        let outage = slot.tag & OUTAGE != 0;
        self.pass(py, index);
        Some(Marker { object, outage })
    }

    /// Marks a cursor as one that keeps nothing.
    pub fn overflow(&mut self, py: Python<'_>, index: usize) {
        let Some(state) = self.state(index) else { return };
        state.overflowed = true;
        (state.next, state.until) = (u64::MAX, 0);
        self.live -= 1;
        self.trim(py);
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
        let outages: Vec<_> = self.states.iter_mut().flatten().filter_map(|state| state.last_outage.take()).collect();
        let (conns, rooms) = (std::mem::take(&mut self.conns), std::mem::take(&mut self.rooms));
        (waiters, outages, conns, rooms, self.ended.take(), self.take_trash(), self.shared.take())
    }
}

/// The object of a slot that nobody else will take, as the one who does wants it. Null: an exception is set.
#[inline]
fn solo(py: Python<'_>, slot: Slot, raw: bool) -> *mut ffi::PyObject {
    if slot.tag & SLICE != 0 {
        return slot.make(!raw);
    }
    let object = slot.address as *mut ffi::PyObject;
    if is_as_wanted(slot, raw) { object } else { convert(py, object, raw) }
}

/// The object of a slot that others will take too.
#[inline]
fn shared(py: Python<'_>, slot: &mut Slot, raw: bool) -> *mut ffi::PyObject {
    if slot.tag & SLICE != 0 {
        let object = slot.make(!raw);
        if object.is_null() {
            return object;
        }
        slot.address = object as usize;
        slot.tag &= !SLICE;
    }
    let object = slot.address as *mut ffi::PyObject;
    // SAFETY: attached; the slot holds a reference.
    unsafe { ffi::Py_INCREF(object) };
    if is_as_wanted(*slot, raw) {
        return object;
    }
    let made = convert(py, object, raw);
    if !raw && !made.is_null() {
        // Others who want text find it.
        // SAFETY: as above; the old object is a `bytes`.
        unsafe {
            ffi::Py_INCREF(made);
            ffi::Py_DECREF(object);
        }
        slot.address = made as usize;
    }
    made
}

/// Whether an object is `bytes` where those are wanted, else `str` if it is text.
#[inline]
fn is_as_wanted(slot: Slot, raw: bool) -> bool {
    // SAFETY: attached; the slot holds an object.
    slot.tag & TEXT == 0 || raw != (unsafe { ffi::PyUnicode_Check(slot.address as *mut ffi::PyObject) } != 0)
}

/// `object` as `bytes` if `raw`, else as `str`; its reference is taken.
#[cold]
fn convert(py: Python<'_>, object: *mut ffi::PyObject, raw: bool) -> *mut ffi::PyObject {
    // SAFETY: the caller gives a reference away.
    let object = unsafe { Bound::from_owned_ptr(py, object) }.unbind();
    match as_kind(object, py, !raw) {
        Ok(object) => object.into_ptr(),
        Err(error) => {
            error.restore(py);
            std::ptr::null_mut()
        }
    }
}

/// The bytes of a message's slot: text as UTF-8.
fn payload(slot: &Slot) -> &[u8] {
    if slot.tag & SLICE != 0 {
        // SAFETY: the slot is a place in a read buffer, which is lent until it is settled.
        return unsafe { std::slice::from_raw_parts(slot.address as *const u8, slot.length as usize) };
    }
    // SAFETY: attached wherever a ring is used; the slot holds a reference to a `str` or `bytes`.
    let py = unsafe { Python::assume_attached() };
    // SAFETY: as above. The reference outlives what is returned.
    let object = unsafe { &*std::ptr::from_ref(&slot.address).cast::<Py<PyAny>>() }.bind(py);
    if let Ok(bytes) = object.cast::<PyBytes>() {
        return bytes.as_bytes();
    }
    object.cast::<PyString>().ok().and_then(|text| text.to_str().ok()).unwrap_or_default().as_bytes()
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
