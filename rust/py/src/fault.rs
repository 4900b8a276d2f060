//! What only tests ask for, in builds with debug assertions: a panic of ours, and a wire extension that works on other
//! threads. In a release this is nothing.

#[cfg(debug_assertions)]
use std::sync::atomic::{AtomicU8, Ordering};

use fastws_core::filter::{Direction, FilterFrame, Filtered, FrameFilter, WorkDone};
use pyo3::exceptions::{PyMemoryError, PyValueError};
use pyo3::prelude::*;

use crate::conn::Conn;

/// Where a panic may be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// While bytes are parsed: inside a dispatch, with the connection's state borrowed.
    Parse = 1,
    /// In a step of a reader: inside a slot that the interpreter calls.
    Poll,
    /// In a wire extension's work, on its thread.
    Work,
    /// Where a message that came in pieces is kept: no panic, but no memory.
    Memory,
}

#[cfg(debug_assertions)]
static ASKED: AtomicU8 = AtomicU8::new(0);

/// Panics if it was asked to at this place.
#[inline]
pub fn point(place: Place) {
    assert!(!is_asked(place), "asked for by a test");
}

/// Has no memory if it was asked to.
#[inline]
pub fn memory() -> PyResult<()> {
    if is_asked(Place::Memory) { Err(PyMemoryError::new_err("asked for by a test")) } else { Ok(()) }
}

#[inline]
fn is_asked(place: Place) -> bool {
    #[cfg(debug_assertions)]
    return ASKED.compare_exchange(place as u8, 0, Ordering::Relaxed, Ordering::Relaxed).is_ok();
    #[cfg(not(debug_assertions))]
    {
        let _ = place;
        false
    }
}

/// Asks for a panic at the next "parse", "poll" or "work", for a want of memory ("memory"), or (none) for neither; false: this
/// build has no such thing.
#[pyfunction]
#[pyo3(name = "_panic_at")]
#[pyo3(signature = (place=None))]
pub fn panic_at(place: Option<&str>) -> PyResult<bool> {
    let place = match place {
        None => 0,
        Some("parse") => Place::Parse as u8,
        Some("poll") => Place::Poll as u8,
        Some("work") => Place::Work as u8,
        Some("memory") => Place::Memory as u8,
        Some(place) => return Err(PyValueError::new_err(format!("no such place: {place}"))),
    };
    #[cfg(debug_assertions)]
    ASKED.store(place, Ordering::Relaxed);
    let _ = place;
    Ok(cfg!(debug_assertions))
}

/// Leaves every frame as it is, those from a size on by way of another thread.
struct Elsewhere {
    at_least: usize,
}

impl Elsewhere {
    fn pass(&self, frame: FilterFrame, payload: &[u8]) -> Filtered {
        if payload.len() < self.at_least {
            return Filtered::Same(frame);
        }
        let payload = payload.to_vec();
        Filtered::Work(Box::new(move || {
            point(Place::Work);
            WorkDone { result: Ok((frame, payload)), state: None }
        }))
    }
}

impl FrameFilter for Elsewhere {
    fn reserved_bits(&self) -> u8 {
        0
    }

    fn decode(&mut self, frame: FilterFrame, payload: &[u8], _: usize) -> Filtered {
        self.pass(frame, payload)
    }

    fn encode(&mut self, frame: FilterFrame, payload: &[u8]) -> Filtered {
        self.pass(frame, payload)
    }

    fn restore(&mut self, _: Direction, _: Box<dyn std::any::Any + Send>) {}
}

/// Passes the connection's frames from this size on through other threads, both ways. To be called before the first.
#[pyfunction]
#[pyo3(name = "_work_elsewhere")]
pub fn work_elsewhere(conn: &Bound<'_, Conn>, at_least: usize) {
    if cfg!(debug_assertions) {
        conn.get().inner.borrow_mut().core.set_filter(Box::new(Elsewhere { at_least }));
    }
}
