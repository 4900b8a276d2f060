//! What `async for` over a source's batches, or over the source, iterates with.

use std::ffi::{c_int, c_void};
use std::ptr::null_mut;

use pyo3::ffi;
use pyo3::prelude::*;

use super::slots::{COLLECTED, NOT_CALLABLE, free, guarded, itself, make_type, one_method};
use super::{Source, Want, done, types};

#[repr(C)]
struct Iteration {
    base: ffi::PyObject,
    source: *mut ffi::PyObject,
    want: Want,
}

/// An asynchronous iterator over `source`.
pub fn iterate<S: Source>(source: &Bound<'_, S>, want: Want) -> PyResult<Py<PyAny>> {
    let py = source.py();
    let kind = S::kinds(types(py)?).iteration.as_ptr().cast::<ffi::PyTypeObject>();
    // SAFETY: as in `of`.
    unsafe {
        let object = ffi::PyType_GenericAlloc(kind, 0);
        if object.is_null() {
            return Err(PyErr::fetch(py));
        }
        let iteration = object.cast::<Iteration>();
        (*iteration).source = source.clone().into_ptr();
        (&raw mut (*iteration).want).write(want);
        Ok(Bound::from_owned_ptr(py, object).unbind())
    }
}

pub(super) fn make_type_of_iteration<S: Source>(py: Python<'_>) -> PyResult<Py<PyAny>> {
    make_type(
        py,
        S::NAMES.1,
        size_of::<Iteration>(),
        COLLECTED | NOT_CALLABLE,
        &[
            (ffi::Py_am_aiter, itself as *mut c_void),
            (ffi::Py_am_anext, iteration_next::<S> as *mut c_void),
            (ffi::Py_tp_methods, one_method(c"aclose", ACLOSE, iteration_aclose)),
            (ffi::Py_tp_traverse, iteration_traverse as *mut c_void),
            (ffi::Py_tp_clear, iteration_clear as *mut c_void),
            (ffi::Py_tp_dealloc, iteration_dealloc as *mut c_void),
        ],
    )
}

unsafe extern "C" fn iteration_next<S: Source>(this: *mut ffi::PyObject) -> *mut ffi::PyObject {
    // SAFETY: a slot is called attached, with an object of its type, whose source is there until it is collected.
    unsafe {
        let fields = this.cast::<Iteration>();
        if (*fields).source.is_null() {
            ffi::PyErr_SetNone(ffi::PyExc_StopAsyncIteration);
            return null_mut();
        }
        guarded(null_mut(), || {
            let py = Python::assume_attached();
            let source = Bound::from_borrowed_ptr(py, (*fields).source);
            match S::awaitable(source.cast_unchecked::<S>(), (*fields).want) {
                Ok(awaitable) => awaitable.into_ptr(),
                Err(error) => {
                    error.restore(py);
                    null_mut()
                }
            }
        })
    }
}

/// For `contextlib.aclosing`. What was not taken stays where it is, for another reader.
unsafe extern "C" fn iteration_aclose(this: *mut ffi::PyObject, _unused: *mut ffi::PyObject) -> *mut ffi::PyObject {
    // SAFETY: as `iteration_next`.
    unsafe {
        iteration_clear(this);
        guarded(null_mut(), || {
            let py = Python::assume_attached();
            match done(py) {
                Ok(awaitable) => awaitable.into_ptr(),
                Err(error) => {
                    error.restore(py);
                    null_mut()
                }
            }
        })
    }
}

const ACLOSE: &std::ffi::CStr = c"aclose($self, /)\n--\n\nEnds the iteration; awaiting this waits for nothing.";

unsafe extern "C" fn iteration_traverse(this: *mut ffi::PyObject, visit: ffi::visitproc, arg: *mut c_void) -> c_int {
    // SAFETY: as `awaitable_traverse`.
    unsafe {
        let source = (*this.cast::<Iteration>()).source;
        if !source.is_null() {
            let result = visit(source, arg);
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
        let source = std::mem::replace(&mut (*this.cast::<Iteration>()).source, null_mut());
        ffi::Py_XDECREF(source);
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
