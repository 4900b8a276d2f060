//! Faults of our own making, in builds with debug assertions: so that what a panic costs can be tested. In a release
//! this is nothing.

#[cfg(debug_assertions)]
use std::sync::atomic::{AtomicU8, Ordering};

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

/// Where a panic may be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// While bytes are parsed: inside a dispatch, with the connection's state borrowed.
    Parse = 1,
    /// In a step of a reader: inside a slot that the interpreter calls.
    Poll,
}

#[cfg(debug_assertions)]
static ASKED: AtomicU8 = AtomicU8::new(0);

/// Panics if it was asked to at this place.
#[inline]
pub fn point(place: Place) {
    #[cfg(debug_assertions)]
    assert!(
        ASKED.compare_exchange(place as u8, 0, Ordering::Relaxed, Ordering::Relaxed).is_err(),
        "asked for by a test"
    );
    #[cfg(not(debug_assertions))]
    let _ = place;
}

/// Asks for a panic at the next "parse" or "poll", or (none) for no panic; false: this build has no such thing.
#[pyfunction]
#[pyo3(name = "_panic_at")]
#[pyo3(signature = (place=None))]
pub fn panic_at(place: Option<&str>) -> PyResult<bool> {
    let place = match place {
        None => 0,
        Some("parse") => Place::Parse as u8,
        Some("poll") => Place::Poll as u8,
        Some(place) => return Err(PyValueError::new_err(format!("no such place: {place}"))),
    };
    #[cfg(debug_assertions)]
    ASKED.store(place, Ordering::Relaxed);
    let _ = place;
    Ok(cfg!(debug_assertions))
}
