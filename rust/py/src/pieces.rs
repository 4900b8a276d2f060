//! Messages that came in fragments, where they are queued piece by piece (`Delivery::Mixed`).
//!
//! What waits in a queue is in three places, in this order: its slots, which are whole messages; pieces that a reader of
//! messages has taken of one that is not whole; and what came behind the first piece that nobody has looked at. So the
//! slots are what they are for every other connection, and pieces are looked at where there are none.

use std::collections::VecDeque;

use fastws_core::{Opcode, Unit};
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyTuple};

use crate::gc;
use crate::landing::Landing;
use crate::queue::{Body, Decode, Form, Queue, Slot, TEXT};

/// What of a queue is not in its slots. All of it are objects: messages as the queue's form says, pieces as `bytes`.
#[derive(Default)]
pub(crate) struct Pieces {
    /// Pieces of the oldest message, taken out by a reader that waits for all of it. They count for no bound but
    /// `max_size`.
    held: VecDeque<Slot>,
    /// Pieces, and messages that came behind them.
    later: VecDeque<Slot>,
    /// Of those, the ones that end a message.
    ends: usize,
    /// The message that is being received has more to come.
    is_open: bool,
    /// A part of the oldest message was taken, piece by piece.
    is_begun: bool,
}

/// What a slot's tag says beside what it says in `queue`: it is a piece, the last of its message.
const PIECE: u8 = 8;
const LAST: u8 = 16;

impl Pieces {
    /// What waits behind the first piece that was not looked at: pieces and messages.
    pub fn len(&self) -> usize {
        self.later.len()
    }

    /// Messages among that which are whole, or will be with the pieces that were taken.
    pub fn ends(&self) -> usize {
        self.ends
    }
}

impl Slot {
    fn ends_message(self) -> bool {
        self.tag & PIECE == 0 || self.tag & LAST != 0
    }

    /// # Safety
    /// Attached; the slot is not used again, and is an object.
    unsafe fn release(self) {
        // SAFETY: the reference is the slot's.
        unsafe { ffi::Py_DECREF(self.address as *mut ffi::PyObject) };
    }
}

impl Queue {
    /// Whether something came behind the slots that nobody has looked at.
    #[inline]
    pub fn has_pieces(&self) -> bool {
        self.pieces.as_ref().is_some_and(|pieces| !pieces.later.is_empty())
    }

    /// Whether there is a piece, or a message, for a reader that takes messages apart.
    pub fn has_piece_to_take(&self) -> bool {
        !self.is_empty() || self.pieces.as_ref().is_some_and(|pieces| pieces.held.len() + pieces.later.len() > 0)
    }

    /// Whether a part of the oldest message was taken, so that it cannot be had whole.
    pub fn is_taken_in_part(&self) -> bool {
        self.pieces.as_ref().is_some_and(|pieces| pieces.is_begun)
    }

    /// Whether the unit received now is a piece of a message.
    pub fn is_piece(&self, unit: Unit) -> bool {
        !unit.fin || self.pieces.as_ref().is_some_and(|pieces| pieces.is_open)
    }

    /// A piece of a message.
    pub fn push_fragment(&mut self, py: Python<'_>, unit: Unit, payload: Landing) -> PyResult<()> {
        let length = fastws_core::PayloadBuf::len(&payload);
        // The core goes on, whatever becomes of this.
        let pieces = self.pieces.get_or_insert_default();
        pieces.is_open = !unit.fin;
        let bytes = payload.into_bytes(py)?;
        let (last, text) = (u8::from(unit.fin) * LAST, u8::from(unit.opcode == Opcode::Text) * TEXT);
        let tag = PIECE | last | text;
        pieces.ends += usize::from(unit.fin);
        self.bytes += length.min(u32::MAX as usize);
        self.pieces.get_or_insert_default().later.push_back(Slot::of(bytes, length, tag));
        Ok(())
    }

    /// A message behind pieces.
    pub fn push_later(&mut self, message: Py<PyAny>, length: usize, tag: u8) {
        let pieces = self.pieces.get_or_insert_default();
        pieces.ends += 1;
        pieces.later.push_back(Slot::of(message, length, tag));
        self.bytes += length.min(u32::MAX as usize);
    }

    /// Makes slots of what is whole, all of it or what comes before the pieces of a second message, and takes out the
    /// pieces of what is not: there is room for more then.
    pub fn join(&mut self, py: Python<'_>, all: bool) -> PyResult<()> {
        if !self.has_pieces() {
            return Ok(());
        }
        // Slots that are places in the read buffer stay at the end.
        self.settle(py)?;
        let Some(mut pieces) = self.pieces.take() else { return Ok(()) };
        let mut outcome = Ok(());
        while let Some(slot) = pieces.later.front().copied() {
            if slot.tag & PIECE != 0 && !all && !self.slots.is_empty() {
                break;
            }
            pieces.later.pop_front();
            if slot.tag & PIECE == 0 {
                pieces.ends -= 1;
                self.slots.push_back(slot);
                continue;
            }
            self.bytes -= slot.length as usize;
            pieces.held.push_back(slot);
            if slot.tag & LAST == 0 {
                continue;
            }
            pieces.ends -= 1;
            let held = std::mem::take(&mut pieces.held);
            let text = slot.tag & TEXT != 0;
            match joined(py, held, text && self.form == Form::Auto) {
                Ok((message, length)) => {
                    self.bytes += length.min(u32::MAX as usize);
                    self.slots.push_back(Slot::of(message, length, slot.tag & TEXT));
                }
                // A message less: its number is counted.
                Err(error) => {
                    self.taken += 1;
                    outcome = Err(error);
                }
            }
        }
        if pieces.later.is_empty() {
            pieces.later = VecDeque::new();
        }
        self.pieces = Some(pieces);
        outcome
    }

    /// Takes the next piece: (opcode, fin, rsv, payload). One that ends its message counts as a message taken.
    pub fn take_piece(&mut self, py: Python<'_>) -> PyResult<Option<Py<PyAny>>> {
        let _paused = gc::pause(py);
        if !self.is_empty() {
            let form = self.form;
            let Some(taken) = self.pop(py) else { return Ok(None) };
            if let Body::Object(object) = &taken.body
                && object.bind(py).is_instance_of::<PyTuple>()
            {
                // It was delivered as a fragment or a frame.
                return Ok(Some(object.clone_ref(py)));
            }
            let opcode = if taken.text { Opcode::Text } else { Opcode::Binary };
            let payload = taken.into_object(py, form, Decode::Bytes)?.into_bound(py);
            return made(py, opcode, true, 0, payload).map(Some);
        }
        let Some(pieces) = &mut self.pieces else { return Ok(None) };
        let slot = match pieces.held.pop_front() {
            Some(slot) => slot,
            None => match pieces.later.pop_front() {
                None => return Ok(None),
                Some(slot) => {
                    self.bytes -= slot.length as usize;
                    pieces.ends -= usize::from(slot.ends_message());
                    slot
                }
            },
        };
        pieces.is_begun = !slot.ends_message();
        self.taken += u64::from(slot.ends_message());
        let opcode = if slot.tag & TEXT != 0 { Opcode::Text } else { Opcode::Binary };
        // SAFETY: the slot owned the reference.
        let object = unsafe { Bound::from_owned_ptr(py, slot.address as *mut ffi::PyObject) }.unbind();
        let payload = crate::queue::as_kind(object, py, false)?.into_bound(py);
        made(py, opcode, slot.ends_message(), 0, payload).map(Some)
    }

    /// Drops what is behind the message of number `last`, outside of the slots; returns how many messages.
    pub(crate) fn drop_pieces_behind(&mut self, last: u64) -> u64 {
        let mut dropped = 0;
        loop {
            let before = self.newest();
            let Some(pieces) = &mut self.pieces else { return dropped };
            let Some(slot) = pieces.later.back().copied() else { return dropped };
            let number = before + u64::from(!slot.ends_message());
            if number <= last {
                return dropped;
            }
            pieces.later.pop_back();
            pieces.ends -= usize::from(slot.ends_message());
            dropped += u64::from(slot.ends_message());
            self.bytes -= slot.length as usize;
            // SAFETY: attached, as all of this runs with the interpreter; the slot was taken out.
            unsafe { slot.release() };
        }
    }

    /// Forgets what is not in the slots.
    pub(crate) fn clear_pieces(&mut self, _: Python<'_>) {
        let Some(pieces) = &mut self.pieces else { return };
        let gone = std::mem::take(&mut pieces.later);
        pieces.ends = 0;
        self.bytes -= gone.iter().map(|slot| slot.length as usize).sum::<usize>();
        for slot in gone.into_iter().chain(std::mem::take(&mut pieces.held)) {
            // SAFETY: attached; the slot was taken out.
            unsafe { slot.release() };
        }
    }
}

impl Drop for Pieces {
    fn drop(&mut self) {
        for slot in self.later.drain(..).chain(self.held.drain(..)) {
            // SAFETY: a connection is dropped with the interpreter attached; the slot was taken out.
            unsafe { slot.release() };
        }
    }
}

/// A message of its pieces, and its length; what they say of `str` was checked as they came.
fn joined(py: Python<'_>, pieces: VecDeque<Slot>, text: bool) -> PyResult<(Py<PyAny>, usize)> {
    let pieces: Vec<Bound<'_, PyBytes>> = pieces
        .into_iter()
        // SAFETY: the slot owned the reference; a piece is `bytes`.
        .map(|slot| unsafe { Bound::from_owned_ptr(py, slot.address as *mut ffi::PyObject).cast_into_unchecked() })
        .collect();
    let length = pieces.iter().map(|piece| piece.as_bytes().len()).sum();
    let fill = |mut to: &mut [u8]| {
        for piece in &pieces {
            let (start, rest) = to.split_at_mut(piece.as_bytes().len());
            start.copy_from_slice(piece.as_bytes());
            to = rest;
        }
    };
    let bytes = PyBytes::new_with(py, length, |to| {
        fill(to);
        Ok(())
    })?;
    let message =
        if text { crate::queue::as_kind(bytes.into_any().unbind(), py, true)? } else { bytes.into_any().unbind() };
    Ok((message, length))
}

/// A piece, a fragment or a frame as Python gets it: (opcode, fin, rsv, payload).
pub(crate) fn made(
    py: Python<'_>,
    opcode: Opcode,
    fin: bool,
    rsv: u8,
    payload: Bound<'_, PyAny>,
) -> PyResult<Py<PyAny>> {
    Ok((opcode as u8, fin, rsv, payload).into_pyobject(py)?.into_any().unbind())
}
