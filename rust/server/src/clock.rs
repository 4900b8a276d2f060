//! The clock of everything here: `CLOCK_MONOTONIC`, which is Python's `time.monotonic_ns()` on Linux.

use std::time::Duration;

use fastws_core::Nanos;

/// The time now.
#[cfg(unix)]
#[inline]
pub fn now() -> Nanos {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    now.tv_sec as u64 * fastws_core::SECOND + now.tv_nsec as u64
}

/// The time since the first call: elsewhere there is no common clock to be on.
#[cfg(not(unix))]
pub fn now() -> Nanos {
    static START: std::sync::OnceLock<std::time::Instant> = std::sync::OnceLock::new();
    nanos(START.get_or_init(std::time::Instant::now).elapsed())
}

/// A span in nanoseconds, as far as it fits.
pub fn nanos(span: Duration) -> Nanos {
    // Half the range: a deadline is this added to a time.
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX).min(u64::MAX / 2)
}
