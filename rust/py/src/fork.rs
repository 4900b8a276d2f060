//! Forks are counted, so that a child is refused what belongs to its parent.

use std::sync::Once;
use std::sync::atomic::{AtomicU32, Ordering};

use pyo3::PyErr;
use pyo3::exceptions::PyRuntimeError;

static GENERATION: AtomicU32 = AtomicU32::new(0);
static WATCH: Once = Once::new();

/// How many forks lie between the first process and this one.
#[inline]
pub fn generation() -> u32 {
    GENERATION.load(Ordering::Relaxed)
}

/// Starts counting.
pub fn watch() {
    WATCH.call_once(|| {
        // SAFETY: the handler only increments an atomic, which is safe in a forked child.
        unsafe { libc::pthread_atfork(None, None, Some(count)) };
    });
}

/// What a child is told that uses a connection of its parent's.
#[cold]
pub fn stranger() -> PyErr {
    PyRuntimeError::new_err("this connection belongs to the process that made it; a forked child must make its own")
}

extern "C" fn count() {
    GENERATION.fetch_add(1, Ordering::Relaxed);
}
