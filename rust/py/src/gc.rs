//! Garbage collection kept out of where the state of a connection is borrowed.

use std::marker::PhantomData;

/// While this lives, no collection begins on this thread.
///
/// Up to CPython 3.11 any allocation of a tracked object may run one, and with it finalizers, which may use the very
/// connection whose state is borrowed. From 3.12 on collections begin between bytecodes only, and this does nothing.
pub struct Paused {
    #[cfg(not(Py_3_12))]
    was_enabled: bool,
    attached: PhantomData<*const ()>,
}

#[inline]
pub fn pause(_: pyo3::Python<'_>) -> Paused {
    Paused {
        // SAFETY: attached.
        #[cfg(not(Py_3_12))]
        was_enabled: unsafe { pyo3::ffi::PyGC_Disable() } != 0,
        attached: PhantomData,
    }
}

#[cfg(not(Py_3_12))]
impl Drop for Paused {
    fn drop(&mut self) {
        if self.was_enabled {
            // SAFETY: attached, as where it was made: it neither leaves its thread nor the borrow that it is for.
            unsafe { pyo3::ffi::PyGC_Enable() };
        }
    }
}
