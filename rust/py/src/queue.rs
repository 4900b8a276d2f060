//! Received messages that wait for their consumer.
//!
//! While a wake-up lasts, a message is only a place in the read buffer: its object is made when the consumer takes it,
//! so that the memory of the last message, just freed, serves the next. What is left when the wake-up ends is made then.

use std::collections::VecDeque;

use fastws_core::frame::first_byte;
use fastws_core::{Nanos, Opcode, Unit};
use pyo3::ffi;
use pyo3::prelude::*;

use crate::fault;
use crate::landing::Landing;
use crate::pieces::Pieces;

/// How data is delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Text as `str`, binary as `bytes`.
    Auto,
    /// Both as `bytes`.
    Bytes,
    /// Both as a view of the read buffer.
    View,
}

/// What the consumer asks for with `recv(decode=…)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decode {
    /// As the connection's form says.
    Default,
    /// `str`, also for binary.
    Text,
    /// `bytes`, also for text.
    Bytes,
}

/// A message taken from the queue.
pub struct Taken {
    /// UTF-8 or binary, in the read buffer or in an object.
    pub body: Body,
    pub text: bool,
    pub ascii: bool,
}

pub enum Body {
    /// In the read buffer, valid until the wake-up ends.
    Slice(*const u8, usize),
    /// A `str` or `bytes`.
    Object(Py<PyAny>),
}

/// A message that waits.
#[derive(Clone, Copy)]
pub(crate) struct Slot {
    /// An address in the read buffer, or of an object whose reference is the slot's.
    pub address: usize,
    pub length: u32,
    pub tag: u8,
    /// A frame's first byte, where frames are delivered as they are.
    pub head: u8,
}

/// When the messages up to a number were received.
#[derive(Clone, Copy)]
struct Stamp {
    end: u64,
    realtime: Nanos,
    monotonic: Nanos,
}

/// The queue.
pub struct Queue {
    pub(crate) slots: VecDeque<Slot>,
    /// Slots at the end that are places in the read buffer.
    slices: usize,
    pub(crate) bytes: usize,
    /// Of frames: bytes of their headers.
    headers: usize,
    pub(crate) taken: u64,
    stamps: VecDeque<Stamp>,
    pub form: Form,
    /// What is behind the slots, where messages come in pieces.
    pub(crate) pieces: Option<Box<Pieces>>,
}

/// What a slot's tag says: it is text, ASCII at that, a place in the read buffer.
pub(crate) const TEXT: u8 = 1;
pub(crate) const ASCII: u8 = 2;
pub(crate) const SLICE: u8 = 4;

impl Queue {
    pub fn new(form: Form) -> Self {
        Self {
            slots: VecDeque::new(),
            slices: 0,
            bytes: 0,
            headers: 0,
            taken: 0,
            stamps: VecDeque::new(),
            form,
            pieces: None,
        }
    }

    /// Messages that wait, and pieces of others.
    #[inline]
    pub fn len(&self) -> usize {
        self.slots.len() + self.pieces.as_ref().map_or(0, |pieces| pieces.len())
    }

    /// Whether no message is there to be taken as it is.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    #[inline]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Messages taken so far: the number of the one last taken, from 1.
    pub fn taken(&self) -> u64 {
        self.taken
    }

    /// Realtime and monotonic moment at which the message last taken was received.
    pub fn stamp(&mut self) -> Option<(Nanos, Nanos)> {
        self.forget_stamps();
        self.stamps.front().filter(|_| self.taken > 0).map(|stamp| (stamp.realtime, stamp.monotonic))
    }

    /// The stamp of the message last taken is kept, older ones are not.
    fn forget_stamps(&mut self) {
        while self.stamps.front().is_some_and(|stamp| stamp.end < self.taken) {
            self.stamps.pop_front();
        }
    }

    /// Marks everything received since the last mark as received at this moment.
    pub fn mark(&mut self, realtime: Nanos, monotonic: Nanos) {
        let end = self.newest();
        self.forget_stamps();
        if self.stamps.back().is_none_or(|stamp| stamp.end < end) {
            self.stamps.push_back(Stamp { end, realtime, monotonic });
        }
    }

    /// A message that lies in the read buffer.
    #[inline]
    pub fn push_slice(&mut self, unit: Unit, payload: &[u8]) {
        self.push_at(payload, SLICE | tag_of(unit), 0);
    }

    /// A frame that lies in the read buffer, where frames are delivered as they are.
    pub fn push_frame(&mut self, unit: Unit, payload: &[u8]) {
        self.note_header(payload.len());
        self.push_at(payload, SLICE | tag_of(unit), head_of(unit));
    }

    #[inline]
    fn push_at(&mut self, payload: &[u8], tag: u8, head: u8) {
        self.bytes += payload.len();
        self.slices += 1;
        let slot = Slot { address: payload.as_ptr() as usize, length: payload.len() as u32, tag, head };
        self.slots.push_back(slot);
    }

    /// Takes note of the header of a frame, which is pushed next as a message would be.
    pub fn note_header(&mut self, length: usize) {
        self.headers += header_size(length);
    }

    /// A message that was assembled.
    pub fn push_assembled(&mut self, py: Python<'_>, unit: Unit, payload: Landing) -> PyResult<()> {
        fault::memory()?;
        // Slices stay at the end of the queue: what came before becomes objects first.
        self.settle(py)?;
        let length = fastws_core::PayloadBuf::len(&payload);
        let object = match payload {
            Landing::Bytes(bytes) => bytes.finish(py)?,
            Landing::Text(bytes) => make_str(py, bytes.as_ptr(), bytes.len(), unit.ascii)?,
        };
        self.push_object(unit, object, length);
        Ok(())
    }

    /// A message that lies nowhere behind this call.
    pub fn push_copy(&mut self, py: Python<'_>, unit: Unit, payload: &[u8]) -> PyResult<()> {
        fault::memory()?;
        self.settle(py)?;
        let object = self.object(py, unit, payload)?;
        self.push_object(unit, object, payload.len());
        Ok(())
    }

    fn push_object(&mut self, unit: Unit, object: Py<PyAny>, length: usize) {
        if self.has_pieces() {
            return self.push_later(object, length, tag_of(unit));
        }
        self.bytes += length.min(u32::MAX as usize);
        self.slots.push_back(Slot { head: head_of(unit), ..Slot::of(object, length, tag_of(unit)) });
    }

    /// A payload, as it is delivered.
    fn object(&self, py: Python<'_>, unit: Unit, payload: &[u8]) -> PyResult<Py<PyAny>> {
        let (address, length) = (payload.as_ptr(), payload.len());
        if unit.opcode == Opcode::Text && self.form == Form::Auto {
            make_str(py, address, length, unit.ascii)
        } else {
            make_bytes(py, address, length)
        }
    }

    /// A message that lies in the read buffer, and may be behind pieces.
    pub fn push_whole(&mut self, py: Python<'_>, unit: Unit, payload: &[u8]) -> PyResult<()> {
        if !self.has_pieces() {
            self.push_slice(unit, payload);
            return Ok(());
        }
        let object = self.object(py, unit, payload)?;
        self.push_later(object, payload.len(), tag_of(unit));
        Ok(())
    }

    /// A fragment or a frame, where all are delivered so, as an object of its own.
    pub fn push_piece(&mut self, piece: Py<PyAny>, length: usize) {
        self.bytes += length.min(u32::MAX as usize);
        self.slots.push_back(Slot::of(piece, length, 0));
    }

    /// Takes the oldest frame, with its first byte.
    #[inline]
    pub fn pop_headed(&mut self, py: Python<'_>) -> Option<(u8, Taken)> {
        let slot = self.slots.front()?;
        let head = slot.head;
        self.headers = self.headers.saturating_sub(header_size(slot.length as usize));
        self.pop(py).map(|taken| (head, taken))
    }

    /// Bytes that the frames in the queue were on the wire.
    pub fn wire_bytes(&self) -> usize {
        self.bytes + self.headers
    }

    /// Takes the oldest message.
    #[inline]
    pub fn pop(&mut self, py: Python<'_>) -> Option<Taken> {
        let slot = self.slots.pop_front()?;
        self.taken += 1;
        self.bytes -= slot.length as usize;
        let body = if slot.tag & SLICE != 0 {
            self.slices -= 1;
            Body::Slice(slot.address as *const u8, slot.length as usize)
        } else {
            // SAFETY: the slot owned the reference.
            Body::Object(unsafe { Bound::from_owned_ptr(py, slot.address as *mut ffi::PyObject) }.unbind())
        };
        Some(Taken { body, text: slot.tag & TEXT != 0, ascii: slot.tag & ASCII != 0 })
    }

    /// Takes the oldest message as the object that `form` says, which is not a view; null: an exception is set, or
    /// there is none.
    #[inline]
    pub fn take_object(&mut self, _: Python<'_>) -> *mut ffi::PyObject {
        let Some(slot) = self.slots.pop_front() else { return std::ptr::null_mut() };
        self.taken += 1;
        self.bytes -= slot.length as usize;
        if slot.tag & SLICE == 0 {
            // Objects were made as the form says.
            return slot.address as *mut ffi::PyObject;
        }
        self.slices -= 1;
        slot.make(self.form == Form::Auto)
    }

    /// When the oldest message was received, and how many were then, it included.
    pub fn oldest(&mut self) -> Option<(Nanos, Nanos, usize)> {
        while self.stamps.front().is_some_and(|stamp| stamp.end <= self.taken) {
            self.stamps.pop_front();
        }
        let stamp = self.stamps.front().filter(|_| !self.slots.is_empty())?;
        Some((stamp.realtime, stamp.monotonic, (stamp.end - self.taken) as usize))
    }

    /// Moves the `count` oldest messages to the end of `slots`; returns their bytes.
    pub fn move_to(&mut self, slots: &mut VecDeque<Slot>, count: usize) -> usize {
        self.taken += count as u64;
        if count == self.slots.len() {
            self.slices = 0;
            if slots.is_empty() {
                std::mem::swap(slots, &mut self.slots);
            } else {
                slots.extend(self.slots.drain(..));
            }
            return std::mem::take(&mut self.bytes);
        }
        let mut size = 0;
        for slot in self.slots.drain(..count) {
            size += slot.length as usize;
            self.slices -= usize::from(slot.tag & SLICE != 0);
            slots.push_back(slot);
        }
        self.bytes -= size;
        size
    }

    /// How many of the oldest messages are within these limits; one that alone is larger than `bytes` counts.
    pub fn count_within(&self, messages: usize, bytes: usize) -> usize {
        let most = self.slots.len().min(messages);
        if self.bytes <= bytes {
            return most;
        }
        let mut size = 0usize;
        let fitting = self.slots.iter().take(most).take_while(|slot| {
            size = size.saturating_add(slot.length as usize);
            size <= bytes
        });
        fitting.count().max(most.min(1))
    }

    /// Makes objects of all messages that are still places in the read buffer: it is about to be used again.
    pub fn settle(&mut self, py: Python<'_>) -> PyResult<()> {
        let from = self.slots.len() - self.slices;
        for at in from..self.slots.len() {
            let slot = &mut self.slots[at];
            let text = slot.tag & TEXT != 0 && self.form == Form::Auto;
            let (address, length) = (slot.address as *const u8, slot.length as usize);
            let object = if text {
                make_str(py, address, length, slot.tag & ASCII != 0)?
            } else {
                make_bytes(py, address, length)?
            };
            slot.address = object.into_ptr() as usize;
            slot.tag &= !SLICE;
            self.slices -= 1;
        }
        Ok(())
    }

    /// The number of the newest message.
    pub fn newest(&self) -> u64 {
        self.taken + (self.slots.len() + self.pieces.as_ref().map_or(0, |pieces| pieces.ends())) as u64
    }

    /// Drops the messages behind that of number `last`; returns how many.
    pub fn drop_behind(&mut self, py: Python<'_>, last: u64) -> u64 {
        let mut dropped = self.drop_pieces_behind(last);
        while self.newest() > last
            && let Some(slot) = self.slots.pop_back()
        {
            dropped += 1;
            self.bytes -= slot.length as usize;
            if slot.tag & SLICE != 0 {
                self.slices -= 1;
            } else {
                // SAFETY: the slot owned the reference.
                drop(unsafe { Bound::from_owned_ptr(py, slot.address as *mut ffi::PyObject) });
            }
        }
        dropped
    }

    /// Forgets everything, and gives memory back.
    pub fn clear(&mut self, py: Python<'_>) {
        while self.pop(py).is_some() {}
        self.headers = 0;
        self.clear_pieces(py);
        self.slots = VecDeque::new();
    }

    /// Gives memory back that a burst took.
    pub fn shrink(&mut self) {
        if self.slots.is_empty() && self.slots.capacity() > 64 {
            self.slots = VecDeque::new();
        }
        if self.slots.is_empty() && self.stamps.capacity() > 64 {
            self.stamps = self.stamps.iter().copied().filter(|stamp| stamp.end >= self.taken).collect();
        }
    }
}

impl Slot {
    /// A slot of an object.
    pub fn of(object: Py<PyAny>, length: usize, tag: u8) -> Self {
        Self { address: object.into_ptr() as usize, length: u32::try_from(length).unwrap_or(u32::MAX), tag, head: 0 }
    }

    /// An object of what is a place in the read buffer: text as `str` if `natural`, else all as `bytes`. Null: an
    /// exception is set.
    #[inline]
    pub fn make(self, natural: bool) -> *mut ffi::PyObject {
        let (address, length) = (self.address as *const u8, self.length as usize);
        if natural && self.tag & TEXT != 0 {
            return raw_str(address, length, self.tag & ASCII != 0);
        }
        raw_bytes(address, length)
    }
}

impl Taken {
    /// The message as an object.
    #[inline]
    pub fn into_object(self, py: Python<'_>, form: Form, decode: Decode) -> PyResult<Py<PyAny>> {
        let text = match decode {
            Decode::Default => self.text && form == Form::Auto,
            Decode::Text => true,
            Decode::Bytes => false,
        };
        match self.body {
            Body::Slice(address, length) if text => make_str(py, address, length, self.ascii),
            Body::Slice(address, length) => make_bytes(py, address, length),
            Body::Object(object) => as_kind(object, py, text),
        }
    }
}

/// `object` (a `str` or `bytes`) as the wanted kind.
pub(crate) fn as_kind(object: Py<PyAny>, py: Python<'_>, text: bool) -> PyResult<Py<PyAny>> {
    // SAFETY: attached; the object is a `str` or `bytes`.
    unsafe {
        if ffi::PyTuple_Check(object.as_ptr()) != 0 {
            // A fragment or a frame.
            return Ok(object);
        }
        let made = match (text, ffi::PyUnicode_Check(object.as_ptr()) != 0) {
            (true, true) | (false, false) => return Ok(object),
            (false, true) => ffi::PyUnicode_AsUTF8String(object.as_ptr()),
            (true, false) => {
                let (data, size) = (ffi::PyBytes_AsString(object.as_ptr()), ffi::PyBytes_Size(object.as_ptr()));
                ffi::PyUnicode_DecodeUTF8(data, size, std::ptr::null())
            }
        };
        Bound::from_owned_ptr_or_err(py, made).map(Bound::unbind)
    }
}

fn tag_of(unit: Unit) -> u8 {
    u8::from(unit.opcode == Opcode::Text) * TEXT + u8::from(unit.ascii) * ASCII
}

/// Bytes of the header of a frame with so long a payload, as a server sends it.
#[inline]
fn header_size(length: usize) -> usize {
    match length {
        0..=125 => 2,
        126..=0xffff => 4,
        _ => 10,
    }
}

/// The first byte of a frame's header, as it was.
#[inline]
fn head_of(unit: Unit) -> u8 {
    first_byte(unit.opcode, unit.fin, unit.rsv)
}

/// A `bytes` of `length` bytes at `address`.
#[inline]
fn make_bytes(py: Python<'_>, address: *const u8, length: usize) -> PyResult<Py<PyAny>> {
    // SAFETY: attached; a new reference or null with an exception.
    unsafe { Bound::from_owned_ptr_or_err(py, raw_bytes(address, length)).map(Bound::unbind) }
}

/// The same; null: an exception is set.
#[inline]
fn raw_bytes(address: *const u8, length: usize) -> *mut ffi::PyObject {
    // SAFETY: attached; `length` bytes may be read at `address` (a slice of the read buffer).
    unsafe { ffi::PyBytes_FromStringAndSize(address.cast(), length as isize) }
}

/// A `str` of `length` bytes of UTF-8 at `address`, which may be known to be ASCII.
#[inline]
fn make_str(py: Python<'_>, address: *const u8, length: usize, ascii: bool) -> PyResult<Py<PyAny>> {
    // SAFETY: attached; a new reference or null with an exception.
    unsafe { Bound::from_owned_ptr_or_err(py, raw_str(address, length, ascii)).map(Bound::unbind) }
}

/// The same; null: an exception is set.
#[inline]
fn raw_str(address: *const u8, length: usize, ascii: bool) -> *mut ffi::PyObject {
    // SAFETY: attached; `length` bytes may be read at `address`. A new ASCII string has room for `length` bytes and a
    // zero, which is there already; nobody else has it.
    unsafe {
        if !ascii {
            // Binary that is asked for as text may fail here.
            return ffi::PyUnicode_DecodeUTF8(address.cast(), length as isize, std::ptr::null());
        }
        let object = ffi::PyUnicode_New(length as isize, 0x7f);
        if !object.is_null() && length > 0 {
            let data = ffi::PyUnicode_DATA(object).cast::<u8>();
            std::ptr::copy_nonoverlapping(address, data, length);
        }
        object
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        for slot in self.slots.drain(..) {
            if slot.tag & SLICE == 0 {
                // SAFETY: the reference is ours; a connection is dropped with the interpreter attached.
                unsafe { ffi::Py_DECREF(slot.address as *mut ffi::PyObject) };
            }
        }
    }
}
