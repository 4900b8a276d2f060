//! What `with ws.cork():` enters: while it lasts, what is sent is collected. What that means is in `driver`.

use std::sync::atomic::{AtomicU32, Ordering};

use pyo3::exceptions::PyRuntimeError;
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;

use crate::conn::Conn;

/// A block in which what is sent is collected; made by ``Connection.cork()``.
#[pyclass(frozen, module = "fastws._core")]
pub struct Cork {
    conn: Py<Conn>,
    /// How often it was entered and not left: it takes nobody else's cork away.
    entered: AtomicU32,
}

impl Cork {
    pub(crate) fn new(conn: &Bound<'_, Conn>) -> Self {
        Self { conn: conn.clone().unbind(), entered: AtomicU32::new(0) }
    }
}

#[pymethods]
impl Cork {
    fn __enter__(&self, py: Python<'_>) -> PyResult<()> {
        Conn::cork_up(self.conn.bind(py))?;
        self.entered.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    #[pyo3(signature = (*_exc))]
    fn __exit__(&self, py: Python<'_>, _exc: &Bound<'_, PyAny>) -> PyResult<()> {
        if self.entered.load(Ordering::Relaxed) == 0 {
            return Err(PyRuntimeError::new_err("this cork() was not entered"));
        }
        Conn::uncork(self.conn.bind(py))?;
        self.entered.fetch_sub(1, Ordering::Relaxed);
        Ok(())
    }

    // Nothing to clear: whatever holds this, such as a frame, lets it go.
    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.conn)
    }
}
