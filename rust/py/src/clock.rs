//! The two clocks.

use fastws_core::Nanos;
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyDelta};

/// CLOCK_MONOTONIC in nanoseconds, the clock of `time.monotonic_ns()` on Linux.
#[inline]
pub fn monotonic() -> Nanos {
    read(libc::CLOCK_MONOTONIC)
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
