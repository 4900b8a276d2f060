//! What the arguments of a call may be. pyo3's own errors name the type that came, and not the argument.

use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyBool;

/// `text` of a call that sends.
pub fn text(value: &Bound<'_, PyAny>) -> PyResult<Option<bool>> {
    switch("text", value)
}

/// `compress` of a call that sends.
pub fn compress(value: &Bound<'_, PyAny>) -> PyResult<Option<bool>> {
    switch("compress", value)
}

/// `decode` of `recv`.
pub fn decode(value: &Bound<'_, PyAny>) -> PyResult<Option<bool>> {
    switch("decode", value)
}

/// `max_messages` of `batches`.
pub fn max_messages(value: &Bound<'_, PyAny>) -> PyResult<usize> {
    bound("max_messages", value, "")
}

/// `max_bytes` of `batches`.
pub fn max_bytes(value: &Bound<'_, PyAny>) -> PyResult<usize> {
    if value.is_none() { Ok(usize::MAX) } else { bound("max_bytes", value, ", or None for no limit") }
}

#[inline]
fn switch(name: &str, value: &Bound<'_, PyAny>) -> PyResult<Option<bool>> {
    if value.is_none() {
        return Ok(None);
    }
    match value.extract() {
        Ok(given) => Ok(Some(given)),
        Err(_) => Err(PyTypeError::new_err(format!("{name} is True, False or None, not {}", value.repr()?))),
    }
}

fn bound(name: &str, value: &Bound<'_, PyAny>, otherwise: &str) -> PyResult<usize> {
    let number: Option<i128> = if value.is_instance_of::<PyBool>() { None } else { value.extract().ok() };
    match number {
        Some(number) if number >= 1 => Ok(usize::try_from(number).unwrap_or(usize::MAX)),
        Some(_) => Err(PyValueError::new_err(format!("{name} must be at least 1{otherwise}; not {}", value.repr()?))),
        None => Err(PyTypeError::new_err(format!("{name} is a number (int){otherwise}; not {}", value.repr()?))),
    }
}
