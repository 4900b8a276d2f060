//! Many messages of a ring at once.

use std::rc::Rc;

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyList;

use super::state::{Stamp, may_join};
use super::store::Store;
use crate::{clock, gc};

impl Store {
    /// Whether the next thing for a cursor is a message.
    pub fn is_at_message(&mut self, index: usize) -> bool {
        let end = self.end();
        let Some(state) = self.state(index) else { return false };
        if !state.ahead.is_empty() || state.overflowed {
            return false;
        }
        if let Some(first) = state.pending.as_ref().and_then(|pending| pending.first()) {
            return first.is_ok();
        }
        state.next < end && self.enter(index)
    }

    /// Whether what is next for a cursor may not be in a batch with messages of that stamp.
    pub fn is_at_boundary(&mut self, index: usize, stamp: &Rc<Stamp>) -> bool {
        let Some(state) = self.state(index) else { return true };
        if let Some(first) = state.pending.as_ref().and_then(|pending| pending.first()) {
            return !first.as_ref().is_ok_and(|got| state.may_join(&got.stamp, stamp));
        }
        if !self.enter(index) {
            return true;
        }
        self.state(index).is_none_or(|state| state.here.as_ref().is_none_or(|here| !state.may_join(here, stamp)))
    }

    /// Whether a batch within these limits may be taken, or has to wait for more.
    pub fn batch_may_leave(&mut self, index: usize, messages: usize, bytes: usize, wait: u64) -> bool {
        if wait == 0 || self.ended.is_some() || self.paused {
            return true;
        }
        let Some(state) = self.state(index) else { return true };
        if state.batch.as_ref().and_then(|batch| batch.due).is_some_and(|due| clock::monotonic() >= due) {
            return true;
        }
        if state.markers && !self.is_at_message(index) {
            return true;
        }
        let (count, size, is_bounded) = self.waiting(index, messages);
        is_bounded || count >= messages || size >= bytes
    }

    /// Messages that wait for a cursor before the next marker or session, and their bytes, as far as the limit on
    /// messages wants to know; and whether there is such a bound.
    fn waiting(&mut self, index: usize, messages: usize) -> (usize, usize, bool) {
        let end = self.end();
        let Some(state) = self.state(index) else { return (0, 0, true) };
        if let Some(pending) = state.pending.as_ref().filter(|pending| !pending.is_empty()) {
            let (count, bytes) = pending.size();
            return (count as usize, bytes as usize, false);
        }
        let (next, passed, exact) = (state.next, state.bytes, state.exact);
        let (mut last, mut is_bounded) = (next, false);
        let mut first: Option<&Rc<Stamp>> = None;
        for run in self.runs_from(next) {
            let Some(stamp) = &run.stamp else {
                is_bounded = true;
                break;
            };
            if !may_join(exact, first.get_or_insert(stamp), stamp) {
                is_bounded = true;
                break;
            }
            last = run.end;
            if (last - next) as usize >= messages {
                break;
            }
        }
        let bytes = if last == end { self.bytes() - passed } else { self.lengths(next, last).sum() };
        ((last - next) as usize, bytes as usize, is_bounded)
    }

    /// Bytes of the next message for a cursor that is at one.
    pub fn next_length(&mut self, index: usize) -> usize {
        let Some(state) = self.state(index) else { return 0 };
        if let Some(length) = state.pending.as_ref().and_then(|pending| pending.next_length()) {
            return length;
        }
        let next = state.next;
        self.lengths(next, next + 1).next().unwrap_or_default() as usize
    }

    /// Takes messages for a cursor that is at one, and plain: as many as may be in a batch.
    pub fn take_list(
        &mut self,
        py: Python<'_>,
        index: usize,
        messages: usize,
        bytes: usize,
    ) -> PyResult<(Py<PyList>, Rc<Stamp>, u64, u64)> {
        let (waiting, size, _) = self.waiting(index, messages);
        let mut count = waiting.min(messages);
        let next = self.state(index).map_or(0, |state| state.next);
        if size > bytes {
            let mut sum = 0u64;
            let fitting = self.lengths(next, next + count as u64).take_while(|length| {
                sum += length;
                sum <= bytes as u64
            });
            count = fitting.count().max(1);
        }
        let last = next + count as u64 - 1;
        let stamp = self.stamp_at(last);
        let Some((stamp, state)) = stamp.and_then(|stamp| self.state(index).map(|state| (stamp, state))) else {
            return Err(pyo3::exceptions::PyRuntimeError::new_err("no message is here"));
        };
        // Numbers have no gap within a session's messages between two markers.
        let (first_seq, last_seq) = (next + 1 - stamp.skew, last + 1 - stamp.skew);
        (state.seq, state.last) = (last_seq, Some(Rc::clone(&stamp)));
        let _paused = gc::pause(py);
        // SAFETY: attached. The list has room for `count`, no item is there yet, and nobody else has seen it; one that is
        // not filled may be dropped.
        let list = unsafe {
            let list = Bound::from_owned_ptr_or_err(py, ffi::PyList_New(count as isize))?;
            for at in 0..count {
                let message = self.take_slot(py, index);
                if message.is_null() {
                    return Err(PyErr::fetch(py));
                }
                ffi::PyList_SET_ITEM(list.as_ptr(), at as isize, message);
            }
            list.cast_into_unchecked::<PyList>().unbind()
        };
        self.forget_runs();
        Ok((list, stamp, first_seq, last_seq))
    }
}
