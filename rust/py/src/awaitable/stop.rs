//! The value of a finished await. From CPython 3.12 on it travels in a StopIteration; one is kept and used again while
//! nobody else has it.

#[cfg(all(Py_3_12, not(Py_GIL_DISABLED)))]
use std::ptr::null_mut;

use pyo3::ffi;

use super::Awaitable;

/// Raises StopIteration with `value`, whose reference is taken.
///
/// # Safety
/// Attached; `this` is an awaitable, `value` a reference.
#[cfg(all(Py_3_12, not(Py_GIL_DISABLED)))]
pub(super) unsafe fn stop_with(this: *mut Awaitable, value: *mut ffi::PyObject) {
    // SAFETY: the exception is a StopIteration that nobody else has when its fields are written: a count of one is ours.
    // The struct is CPython's public one.
    unsafe {
        let mut stop = (*this).stop;
        if stop.is_null() || ffi::Py_REFCNT(stop) != 1 {
            ffi::Py_XDECREF(stop);
            stop = ffi::PyObject_CallNoArgs(ffi::PyExc_StopIteration);
            (*this).stop = stop;
            if stop.is_null() {
                ffi::Py_DECREF(value);
                return;
            }
        }
        let fields = stop.cast::<ffi::PyStopIterationObject>();
        replace(&raw mut (*fields).value, value);
        clear_around(fields);
        ffi::Py_INCREF(stop);
        ffi::PyErr_SetRaisedException(stop);
    }
}

/// Lets go of the last message, and of the frames that a traceback of it has, before a wait that may be long.
///
/// # Safety
/// Attached; `this` is an awaitable.
#[cfg(all(Py_3_12, not(Py_GIL_DISABLED)))]
pub(super) unsafe fn forget(this: *mut Awaitable) {
    // SAFETY: as in `stop_with`.
    unsafe {
        let stop = (*this).stop;
        if stop.is_null() {
            return;
        }
        if ffi::Py_REFCNT(stop) != 1 {
            (*this).stop = null_mut();
            ffi::Py_DECREF(stop);
            return;
        }
        clear_around(stop.cast());
        replace(&raw mut (*stop.cast::<ffi::PyStopIterationObject>()).value, null_mut());
    }
}

/// Nothing is kept where no StopIteration is.
///
/// # Safety
/// None is needed; the signature is that of the other one.
#[cfg(not(all(Py_3_12, not(Py_GIL_DISABLED))))]
pub(super) unsafe fn forget(_this: *mut Awaitable) {}

/// Clears what the interpreter put into an exception when it was raised last.
///
/// # Safety
/// Attached; nobody else has the exception.
#[cfg(all(Py_3_12, not(Py_GIL_DISABLED)))]
unsafe fn clear_around(fields: *mut ffi::PyStopIterationObject) {
    // SAFETY: the struct is CPython's public one; each field is null or a reference of the exception's own.
    unsafe {
        if !(*fields).traceback.is_null() {
            replace(&raw mut (*fields).traceback, null_mut());
        }
        if !(*fields).context.is_null() {
            replace(&raw mut (*fields).context, null_mut());
        }
        if !(*fields).cause.is_null() {
            replace(&raw mut (*fields).cause, null_mut());
        }
        if !(*fields).notes.is_null() {
            replace(&raw mut (*fields).notes, null_mut());
        }
    }
}

/// Raises StopIteration with `value`, whose reference is taken; without one to use again.
///
/// # Safety
/// Attached; `value` is a reference.
#[cfg(not(all(Py_3_12, not(Py_GIL_DISABLED))))]
pub(super) unsafe fn stop_with(_this: *mut Awaitable, value: *mut ffi::PyObject) {
    // SAFETY: attached. An exception class of its own wraps tuples and exceptions, which would else be taken apart.
    unsafe {
        let stop = ffi::PyObject_CallOneArg(ffi::PyExc_StopIteration, value);
        ffi::Py_DECREF(value);
        if !stop.is_null() {
            ffi::PyErr_SetObject(ffi::PyExc_StopIteration, stop);
            ffi::Py_DECREF(stop);
        }
    }
}

/// # Safety
/// Attached; `field` holds null or a reference that is ours.
#[cfg(all(Py_3_12, not(Py_GIL_DISABLED)))]
unsafe fn replace(field: *mut *mut ffi::PyObject, with: *mut ffi::PyObject) {
    // SAFETY: the old value is released after it left the field.
    unsafe {
        let old = std::mem::replace(&mut *field, with);
        ffi::Py_XDECREF(old);
    }
}
