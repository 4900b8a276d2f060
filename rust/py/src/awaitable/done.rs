//! An awaitable that is done: what `send` returns where there is nothing to wait for.

use std::ffi::c_void;
use std::ptr::null_mut;

use pyo3::exceptions::PyTypeError;
use pyo3::ffi;
use pyo3::prelude::*;

use super::slots::{DEFAULT, coroutine_methods, instance, itself, make_type, named};

pub(super) fn make_type_of_done(py: Python<'_>) -> PyResult<Py<PyAny>> {
    let methods = coroutine_methods(done_send_method, done_throw, done_close);
    make_type(
        py,
        c"fastws._core.Done",
        size_of::<ffi::PyObject>(),
        DEFAULT,
        &[
            (ffi::Py_am_await, itself as *mut c_void),
            (ffi::Py_am_send, done_send as *mut c_void),
            (ffi::Py_tp_iter, itself as *mut c_void),
            (ffi::Py_tp_iternext, done_next as *mut c_void),
            (ffi::Py_tp_methods, methods),
            (ffi::Py_tp_getset, named(done_name, done_qualified_name)),
        ],
    )
}

unsafe extern "C" fn done_name(_this: *mut ffi::PyObject, _unused: *mut c_void) -> *mut ffi::PyObject {
    // SAFETY: attached.
    unsafe { ffi::PyUnicode_FromString(c"send".as_ptr()) }
}

unsafe extern "C" fn done_qualified_name(_this: *mut ffi::PyObject, _unused: *mut c_void) -> *mut ffi::PyObject {
    // SAFETY: attached.
    unsafe { ffi::PyUnicode_FromString(c"Connection.send".as_ptr()) }
}

unsafe extern "C" fn done_next(_this: *mut ffi::PyObject) -> *mut ffi::PyObject {
    // Null without an exception is a StopIteration of None.
    null_mut()
}

unsafe extern "C" fn done_send(
    _this: *mut ffi::PyObject,
    _value: *mut ffi::PyObject,
    result: *mut *mut ffi::PyObject,
) -> ffi::PySendResult {
    // SAFETY: `result` is the caller's.
    unsafe {
        let none = ffi::Py_None();
        ffi::Py_INCREF(none);
        *result = none;
    }
    ffi::PySendResult::PYGEN_RETURN
}

unsafe extern "C" fn done_send_method(_this: *mut ffi::PyObject, _value: *mut ffi::PyObject) -> *mut ffi::PyObject {
    // SAFETY: attached.
    unsafe { ffi::PyErr_SetNone(ffi::PyExc_StopIteration) };
    null_mut()
}

unsafe extern "C" fn done_close(_this: *mut ffi::PyObject, _unused: *mut ffi::PyObject) -> *mut ffi::PyObject {
    // SAFETY: attached.
    unsafe {
        let none = ffi::Py_None();
        ffi::Py_INCREF(none);
        none
    }
}

unsafe extern "C" fn done_throw(
    _this: *mut ffi::PyObject,
    args: *mut *mut ffi::PyObject,
    count: ffi::Py_ssize_t,
) -> *mut ffi::PyObject {
    // SAFETY: as `awaitable_throw`.
    unsafe {
        let py = Python::assume_attached();
        if count > 0 {
            let value = if count > 1 { *args.add(1) } else { null_mut() };
            PyErr::from_value(instance(py, *args, value)).restore(py);
        } else {
            PyTypeError::new_err("throw() takes an exception").restore(py);
        }
        null_mut()
    }
}
