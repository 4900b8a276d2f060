//! Forks are counted, so that a child is refused what belongs to its parent.

use std::sync::Once;
use std::sync::atomic::{AtomicU32, Ordering};

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

extern "C" fn count() {
    GENERATION.fetch_add(1, Ordering::Relaxed);
}
