//! What `async for` over a connection's batches, or over the connection, iterates with.

use std::ffi::{c_int, c_void};
use std::ptr::null_mut;

use pyo3::ffi;
use pyo3::prelude::*;

use super::slots::{COLLECTED, NOT_CALLABLE, free, guarded, itself, make_type};
use super::{Want, types};
use crate::conn::Conn;

#[repr(C)]
struct Iteration {
    base: ffi::PyObject,
    conn: *mut ffi::PyObject,
    want: Want,
}

/// An asynchronous iterator over `conn`.
pub fn iterate(conn: &Bound<'_, Conn>, want: Want) -> PyResult<Py<PyAny>> {
    let py = conn.py();
    let kind = types(py)?.iteration.as_ptr().cast::<ffi::PyTypeObject>();
    // SAFETY: as in `of`.
    unsafe {
        let object = ffi::PyType_GenericAlloc(kind, 0);
        if object.is_null() {
            return Err(PyErr::fetch(py));
        }
        let iteration = object.cast::<Iteration>();
        (*iteration).conn = conn.clone().into_ptr();
        (&raw mut (*iteration).want).write(want);
        Ok(Bound::from_owned_ptr(py, object).unbind())
    }
}

pub(super) fn make_type_of_iteration(py: Python<'_>) -> PyResult<Py<PyAny>> {
    make_type(
        py,
        c"fastws._core.Iteration",
        size_of::<Iteration>(),
        COLLECTED | NOT_CALLABLE,
        &[
            (ffi::Py_am_aiter, itself as *mut c_void),
            (ffi::Py_am_anext, iteration_next as *mut c_void),
            (ffi::Py_tp_traverse, iteration_traverse as *mut c_void),
            (ffi::Py_tp_clear, iteration_clear as *mut c_void),
            (ffi::Py_tp_dealloc, iteration_dealloc as *mut c_void),
        ],
    )
}

unsafe extern "C" fn iteration_next(this: *mut ffi::PyObject) -> *mut ffi::PyObject {
    // SAFETY: a slot is called attached, with an object of its type, whose connection is there until it is collected.
    unsafe {
        let fields = this.cast::<Iteration>();
        if (*fields).conn.is_null() {
            ffi::PyErr_SetNone(ffi::PyExc_StopAsyncIteration);
            return null_mut();
        }
        guarded(null_mut(), || {
            let py = Python::assume_attached();
            let conn = Bound::from_borrowed_ptr(py, (*fields).conn);
            match Conn::awaitable(conn.cast_unchecked::<Conn>(), (*fields).want) {
                Ok(awaitable) => awaitable.into_ptr(),
                Err(error) => {
                    error.restore(py);
                    null_mut()
                }
            }
        })
    }
}

unsafe extern "C" fn iteration_traverse(this: *mut ffi::PyObject, visit: ffi::visitproc, arg: *mut c_void) -> c_int {
    // SAFETY: as `awaitable_traverse`.
    unsafe {
        let conn = (*this.cast::<Iteration>()).conn;
        if !conn.is_null() {
            let result = visit(conn, arg);
            if result != 0 {
                return result;
            }
        }
        visit(ffi::Py_TYPE(this).cast(), arg)
    }
}

unsafe extern "C" fn iteration_clear(this: *mut ffi::PyObject) -> c_int {
    // SAFETY: the reference is taken out before it is released.
    unsafe {
        let conn = std::mem::replace(&mut (*this.cast::<Iteration>()).conn, null_mut());
        ffi::Py_XDECREF(conn);
    }
    0
}

unsafe extern "C" fn iteration_dealloc(this: *mut ffi::PyObject) {
    // SAFETY: as `awaitable_dealloc`.
    unsafe {
        ffi::PyObject_GC_UnTrack(this.cast());
        iteration_clear(this);
        free(this);
    }
}
