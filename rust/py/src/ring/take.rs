//! What is next for a cursor, how it is taken, and what is passed. No Python runs in here.

use std::rc::Rc;

use pyo3::ffi;
use pyo3::prelude::*;

use super::decode::Value;
use super::message::Message;
use super::slot::{MARKER, OUTAGE, payload, shared, solo};
use super::state::{Ahead, Lost, Marker, Run, Stamp, State};
use super::store::Store;
use crate::gc;
use crate::queue::TEXT;

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
        let _paused = gc::pause(py);
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
    pub fn keep_decoded(&mut self, index: usize, position: u64, value: impl FnOnce() -> Value) {
        let Some(id) = self.state(index).and_then(|state| state.decoder) else { return };
        let is_wanted = |state: &State| state.decoder == Some(id) && state.next <= position;
        if position >= self.base && self.states().any(is_wanted) {
            self.shared.keep(id, position, value(), &mut self.trash);
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
}
