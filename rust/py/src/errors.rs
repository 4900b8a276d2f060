//! Exceptions of Python's on their way through us.

use pyo3::exceptions::{PyKeyboardInterrupt, PySystemExit};
use pyo3::prelude::*;

/// Whether it ends the program: nobody but the program's own code is to stop it.
pub fn ends_program(py: Python<'_>, error: &PyErr) -> bool {
    error.is_instance_of::<PyKeyboardInterrupt>(py) || error.is_instance_of::<PySystemExit>(py)
}

/// Works while an exception may be set, as where an object goes: it is set again afterwards.
pub fn aside(py: Python<'_>, work: impl FnOnce()) {
    let before = PyErr::take(py);
    work();
    if let Some(before) = before {
        before.restore(py);
    }
}
