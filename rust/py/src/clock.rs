//! The two clocks.

#[cfg(debug_assertions)]
use std::cell::Cell;

use fastws_core::Nanos;
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyDelta};

/// CLOCK_MONOTONIC in nanoseconds, the clock of `time.monotonic_ns()` on Linux.
#[inline]
pub fn monotonic() -> Nanos {
    #[cfg(debug_assertions)]
    if let Some(now) = made_up() {
        return now;
    }
    read(libc::CLOCK_MONOTONIC)
}

#[cfg(debug_assertions)]
thread_local! {
    /// The time that a test says it is in its thread, and what every look at it adds to that.
    static MADE_UP: Cell<Option<(Nanos, Nanos)>> = const { Cell::new(None) };
}

#[cfg(debug_assertions)]
fn made_up() -> Option<Nanos> {
    MADE_UP.try_with(|cell| cell.get().map(|(now, step)| (cell.set(Some((now + step, step))), now).1)).ok().flatten()
}

/// Says what time it is in this thread: `now` nanoseconds, or more where it was more, and `step` more with every look at
/// it; None: the real clock goes on. Returns whether this build, one with debug assertions, can be told so.
#[pyfunction]
#[pyo3(name = "_clock_at")]
#[pyo3(signature = (now=None, step=0))]
pub fn clock_at(now: Option<Nanos>, step: Nanos) -> bool {
    #[cfg(debug_assertions)]
    MADE_UP.with(|cell| {
        let before = cell.get().map_or(0, |(before, _)| before);
        cell.set(now.map(|now| (now.max(before), step)));
    });
    let _ = (now, step);
    cfg!(debug_assertions)
}

/// CLOCK_REALTIME in nanoseconds, the clock of `time.time_ns()`.
#[inline]
pub fn realtime() -> Nanos {
    read(libc::CLOCK_REALTIME)
}

#[inline]
fn read(clock: libc::clockid_t) -> Nanos {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `now` is written to; both clocks exist on every Unix.
    unsafe { libc::clock_gettime(clock, &raw mut now) };
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

/// Seconds as nanoseconds; none and what is not positive or finite: none.
pub fn from_seconds(seconds: Option<f64>) -> Option<Nanos> {
    seconds.filter(|s| s.is_finite() && *s > 0.0).map(|s| (s * 1e9).min(u64::MAX as f64 / 4.0) as Nanos)
}

/// A duration as Python gives it, as seconds: a number of them, or a `timedelta`; zero or more.
#[pyfunction]
pub fn seconds(name: &str, value: &Bound<'_, PyAny>) -> PyResult<f64> {
    let seconds = if value.is_instance_of::<PyDelta>() {
        Some(value.call_method0("total_seconds")?.extract::<f64>()?)
    } else if value.is_instance_of::<PyBool>() {
        None
    } else {
        value.extract::<f64>().ok()
    };
    match seconds {
        Some(seconds) if seconds.is_finite() && seconds >= 0.0 => Ok(seconds),
        Some(_) => Err(PyValueError::new_err(format!("{name} is zero or more seconds, not {}", value.repr()?))),
        None => Err(PyTypeError::new_err(format!("{name} is seconds (float) or a timedelta, not {}", value.repr()?))),
    }
}

/// Nanoseconds as seconds.
pub fn to_seconds(nanos: Nanos) -> f64 {
    nanos as f64 / 1e9
}
