//! `Conflate(key)`: of each key the newest message waits, at the place of the oldest that was not read.
//!
//! What a conflating cursor has not taken when a wake-up ends moves from the ring to a list of its own. Keys are looked at
//! then and only then, so never for a consumer that keeps up.

use std::collections::VecDeque;

use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;

use super::cursor::Cursor;
use super::state::Marker;
use super::take::Got;
use crate::errors::ends_program;

/// What waits for a conflating cursor.
pub(crate) struct Pending {
    items: VecDeque<Kept>,
    /// The place of the first one; places are never used again.
    base: u64,
    bytes: u64,
    messages: u64,
    most: u64,
    most_bytes: u64,
    /// Keys of what was taken, with the places that they had.
    gone: Vec<(Py<PyAny>, u64)>,
}

struct Kept {
    what: Result<Got, Marker>,
    key: Option<Py<PyAny>>,
}

impl Pending {
    pub fn new(most: usize, most_bytes: usize) -> Self {
        let (most, most_bytes) = (most as u64, most_bytes as u64);
        Self { items: VecDeque::new(), base: 0, bytes: 0, messages: 0, most, most_bytes, gone: Vec::new() }
    }

    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    pub fn size(&self) -> (u64, u64) {
        (self.messages, self.bytes)
    }

    /// The first; none: nothing waits.
    pub fn first(&self) -> Option<&Result<Got, Marker>> {
        self.items.front().map(|kept| &kept.what)
    }

    /// Bytes of the first message; 0 for a marker.
    pub fn next_length(&self) -> Option<usize> {
        self.items.front().map(|kept| kept.what.as_ref().map_or(0, |got| got.length))
    }

    /// Takes the first.
    pub fn pop(&mut self) -> Option<Result<Got, Marker>> {
        let Kept { what, key } = self.items.pop_front()?;
        if let Some(key) = key {
            self.gone.push((key, self.base));
        }
        self.base += 1;
        if let Ok(got) = &what {
            self.messages -= 1;
            self.bytes -= got.length as u64;
        }
        Some(what)
    }

    /// Puts a message at its place: that of an older one with the same key, or the end if there is room. Returns where
    /// it is and what it replaced, or the message.
    fn put(&mut self, got: Got, key: Option<&Py<PyAny>>, place: Option<u64>, py: Python<'_>) -> Result<Put, Got> {
        let length = got.length as u64;
        let known = place.and_then(|place| place.checked_sub(self.base)).and_then(|at| usize::try_from(at).ok());
        if let Some(at) = known
            && let Some(Kept { what: Ok(old), .. }) = self.items.get_mut(at)
        {
            self.bytes = self.bytes - old.length as u64 + length;
            let old = std::mem::replace(old, got);
            return Ok(Put { place: self.base + at as u64, replaced: Some(old.object) });
        }
        if self.messages > 0 && (self.messages >= self.most || self.bytes + length > self.most_bytes) {
            return Err(got);
        }
        self.messages += 1;
        self.bytes += length;
        self.items.push_back(Kept { what: Ok(got), key: key.map(|key| key.clone_ref(py)) });
        Ok(Put { place: self.base + self.items.len() as u64 - 1, replaced: None })
    }

    fn mark(&mut self, marker: Marker) {
        self.items.push_back(Kept { what: Err(marker), key: None });
    }

    pub fn traverse(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        for Kept { what, key } in &self.items {
            if let Err(Marker { object, .. }) = what {
                visit.call(object)?;
            }
            if let Some(key) = key {
                visit.call(key)?;
            }
        }
        for (key, _) in &self.gone {
            visit.call(key)?;
        }
        Ok(())
    }
}

struct Put {
    place: u64,
    replaced: Option<Py<PyAny>>,
}

impl Cursor {
    /// The consumer is behind: what it has not taken is conflated, as far as there is room.
    pub(super) fn absorb(slf: &Bound<'_, Self>) -> PyResult<()> {
        let (py, this) = (slf.py(), slf.get());
        if this.absorbing.replace(true) {
            // A key that is being looked at asks for this: whoever looks will go on.
            return Ok(());
        }
        let outcome = Self::absorb_all(slf);
        this.absorbing.set(false);
        let trash = this.ring.get().store.borrow_mut().take_trash();
        super::release(py, trash);
        outcome
    }

    fn absorb_all(slf: &Bound<'_, Self>) -> PyResult<()> {
        let (py, this) = (slf.py(), slf.get());
        let ring = this.ring.get();
        let (filter, key, places) = {
            let calls = this.calls.borrow();
            let (Some(key), Some(places)) = (&calls.key, &calls.places) else { return Ok(()) };
            (calls.filter.as_ref().map(|filter| filter.clone_ref(py)), key.clone_ref(py), places.clone_ref(py))
        };
        let places = places.bind(py);
        let mut gone = Vec::new();
        this.with_state(py, |state| {
            gone = state.pending.as_mut().map(|pending| std::mem::take(&mut pending.gone)).unwrap_or_default();
        });
        for (key, place) in gone {
            let key = key.bind(py);
            // A key that cannot be looked up any more was not looked up before either.
            if places.get_item(key).ok().flatten().and_then(|known| known.extract::<u64>().ok()) == Some(place) {
                let _ = places.del_item(key);
            }
        }
        let mut generation = this.generation_kept(py);
        loop {
            let index = this.index.get();
            let got = {
                let mut store = ring.store.borrow_mut();
                if !store.has_more(py, index) {
                    return Ok(());
                }
                if let Some(marker) = store.take_marker(py, index) {
                    if let Some(pending) = store.state(index).and_then(|state| state.pending.as_mut()) {
                        pending.mark(marker);
                    }
                    None
                } else {
                    store.peek(py, index)?
                }
            };
            let Some(mut got) = got else {
                // Never across a marker.
                places.clear();
                continue;
            };
            if generation.replace(got.stamp.origin.generation) != Some(got.stamp.origin.generation) {
                places.clear();
            }
            let wanted = match &filter {
                Some(filter) if !got.passed => {
                    match called(py, filter.bind(py).call1((&got.object,)).and_then(|wanted| wanted.is_truthy()))? {
                        Some(wanted) => wanted,
                        // Its consumer gets to see what is wrong: it stays in the ring for now.
                        None => return Ok(()),
                    }
                }
                _ => true,
            };
            got.passed = true;
            let key = if wanted { key_of(key.bind(py), &got)? } else { None };
            let place = match &key {
                Some(key) => places.get_item(key).ok().flatten().and_then(|place| place.extract::<u64>().ok()),
                None => None,
            };
            let put = {
                let mut store = ring.store.borrow_mut();
                let index = this.index.get();
                let Some(state) = store.state(index).filter(|state| state.next == got.position) else {
                    // What was called has moved the cursor.
                    continue;
                };
                let put = match state.pending.as_mut().filter(|_| wanted) {
                    None => None,
                    Some(pending) => {
                        let Ok(put) = pending.put(got, key.as_ref(), place, py) else { return Ok(()) };
                        state.conflated += u64::from(put.replaced.is_some());
                        Some(put)
                    }
                };
                store.pass(py, index);
                put
            };
            if let (Some(Put { place, replaced }), Some(key)) = (put, key) {
                drop(replaced);
                // It was looked up before: it can be.
                let _ = places.set_item(key, place);
            }
        }
    }

    /// The generation of the newest message that waits conflated.
    fn generation_kept(&self, py: Python<'_>) -> Option<u64> {
        let mut found = None;
        self.with_state(py, |state| {
            let last = state.pending.as_ref().and_then(|pending| pending.items.back());
            found = last.and_then(|kept| kept.what.as_ref().ok()).map(|got| got.stamp.origin.generation);
        });
        found
    }
}

/// The key of a message; none: it is never conflated, for its key is none, failed, or cannot be looked up.
fn key_of(key: &Bound<'_, PyAny>, got: &Got) -> PyResult<Option<Py<PyAny>>> {
    let found = called(key.py(), key.call1((&got.object,)).and_then(|found| found.hash().map(|_| found)))?;
    Ok(found.filter(|found| !found.is_none()).map(Bound::unbind))
}

/// What code of the user's gave; none: it failed.
fn called<T>(py: Python<'_>, outcome: PyResult<T>) -> PyResult<Option<T>> {
    match outcome {
        Ok(found) => Ok(Some(found)),
        Err(error) if ends_program(py, &error) => Err(error),
        Err(_) => Ok(None),
    }
}
