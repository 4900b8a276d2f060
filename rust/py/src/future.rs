//! asyncio futures, for those who wait for something rare.

use pyo3::IntoPyObjectExt;
use pyo3::prelude::*;

/// Ends a future with a result or an exception, if it still waits.
pub fn resolve(py: Python<'_>, future: Option<Py<PyAny>>, error: Option<PyErr>) -> PyResult<()> {
    let Some(future) = future else { return Ok(()) };
    match error {
        None => set_result(py, &future, py.None()).map(|_| ()),
        Some(error) => {
            let future = future.bind(py);
            if future.call_method0("done")?.is_truthy()? {
                return Ok(());
            }
            future.call_method1("set_exception", (error.value(py),))?;
            // One that nobody awaits any more is not worth a line in the log.
            future.call_method0("exception").map(|_| ())
        }
    }
}

/// Ends a future with a result; false: it did not wait any more.
pub fn set_result<'py>(py: Python<'py>, future: &Py<PyAny>, value: impl IntoPyObject<'py>) -> PyResult<bool> {
    let future = future.bind(py);
    if future.call_method0("done")?.is_truthy()? {
        return Ok(false);
    }
    let value = value.into_bound_py_any(py)?;
    future.call_method1("set_result", (value,))?;
    Ok(true)
}
