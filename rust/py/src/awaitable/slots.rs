//! What the raw types share: how they are made, the methods of a coroutine, and a net under every slot.

use std::ffi::{CStr, c_char, c_int, c_ulong, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::null_mut;

use pyo3::exceptions::PyTypeError;
use pyo3::ffi;
use pyo3::panic::PanicException;
use pyo3::prelude::*;

/// Runs a slot's work. A panic, which would be a fault of ours, becomes an exception: it must not unwind into C.
#[inline]
pub(crate) fn guarded<R>(failed: R, work: impl FnOnce() -> R) -> R {
    guarded_then(failed, work, || {})
}

/// The same, with something to be done behind a panic.
#[inline]
pub(super) fn guarded_then<R>(failed: R, work: impl FnOnce() -> R, then: impl FnOnce()) -> R {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(result) => result,
        Err(panic) => {
            then();
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("unknown");
            let text = format!("internal error of fastws, please report it: {text}");
            // SAFETY: a slot is called attached.
            PanicException::new_err(text).restore(unsafe { Python::assume_attached() });
            failed
        }
    }
}

/// The same where no exception can be raised, and one may be on its way: the panic's own report has to do.
pub(super) fn contained(work: impl FnOnce()) {
    let _ = catch_unwind(AssertUnwindSafe(work));
}

pub(super) const DEFAULT: c_ulong = ffi::Py_TPFLAGS_DEFAULT;
pub(crate) const COLLECTED: c_ulong = DEFAULT | ffi::Py_TPFLAGS_HAVE_GC;
pub(crate) const NOT_CALLABLE: c_ulong = ffi::Py_TPFLAGS_DISALLOW_INSTANTIATION;

pub(crate) unsafe extern "C" fn itself(this: *mut ffi::PyObject) -> *mut ffi::PyObject {
    // SAFETY: attached.
    unsafe { ffi::Py_INCREF(this) };
    this
}

/// The exception that `throw(kind, value)` means.
///
/// # Safety
/// Attached; the pointers are borrowed references, `value` may be null.
pub(super) unsafe fn instance<'py>(
    py: Python<'py>,
    kind: *mut ffi::PyObject,
    value: *mut ffi::PyObject,
) -> Bound<'py, PyAny> {
    // SAFETY: the caller's promise.
    unsafe {
        let kind = Bound::from_borrowed_ptr(py, kind);
        if ffi::PyExceptionInstance_Check(kind.as_ptr()) != 0 {
            return kind;
        }
        if ffi::PyExceptionClass_Check(kind.as_ptr()) == 0 {
            let name = kind.get_type().name().map(|name| name.to_string()).unwrap_or_default();
            let text = format!("exceptions must be classes or instances deriving from BaseException, not {name}");
            return PyTypeError::new_err(text).into_value(py).into_bound(py).into_any();
        }
        let value = Bound::from_borrowed_ptr_or_opt(py, value).filter(|value| !value.is_none());
        if let Some(value) = &value
            && ffi::PyExceptionInstance_Check(value.as_ptr()) != 0
        {
            return value.clone();
        }
        let made = match value {
            Some(value) => kind.call1((value,)),
            None => kind.call0(),
        };
        made.unwrap_or_else(|error| error.into_value(py).into_bound(py).into_any())
    }
}

/// # Safety
/// Attached; `this` is an untracked, cleared object of a heap type of ours.
pub(crate) unsafe fn free(this: *mut ffi::PyObject) {
    // SAFETY: the caller's promise; a heap type's instances hold a reference to it.
    unsafe {
        let kind = ffi::Py_TYPE(this);
        ffi::PyObject_GC_Del(this.cast());
        ffi::Py_DECREF(kind.cast());
    }
}

pub(super) type Method = unsafe extern "C" fn(*mut ffi::PyObject, *mut ffi::PyObject) -> *mut ffi::PyObject;
pub(super) type FastMethod =
    unsafe extern "C" fn(*mut ffi::PyObject, *mut *mut ffi::PyObject, ffi::Py_ssize_t) -> *mut ffi::PyObject;

/// The methods of the Coroutine protocol; the table lives as long as its type, which is for ever.
pub(super) fn coroutine_methods(send: Method, throw: FastMethod, close: Method) -> *mut c_void {
    let table = vec![
        ffi::PyMethodDef {
            ml_name: c"send".as_ptr(),
            ml_meth: ffi::PyMethodDefPointer { PyCFunction: send },
            ml_flags: ffi::METH_O,
            ml_doc: c"Resumes the awaitable.".as_ptr(),
        },
        ffi::PyMethodDef {
            ml_name: c"throw".as_ptr(),
            ml_meth: ffi::PyMethodDefPointer { PyCFunctionFast: throw },
            ml_flags: ffi::METH_FASTCALL,
            ml_doc: c"Raises an exception in the awaitable.".as_ptr(),
        },
        ffi::PyMethodDef {
            ml_name: c"close".as_ptr(),
            ml_meth: ffi::PyMethodDefPointer { PyCFunction: close },
            ml_flags: ffi::METH_NOARGS,
            ml_doc: c"Gives the awaitable up.".as_ptr(),
        },
        ffi::PyMethodDef::zeroed(),
    ];
    Box::leak(table.into_boxed_slice()).as_mut_ptr().cast()
}

/// What asyncio and others call a coroutine by, `__name__` and `__qualname__`; for as long as the process lasts.
pub(super) fn named(name: ffi::getter, qualified: ffi::getter) -> *mut c_void {
    let get = |attribute: &'static CStr, get| ffi::PyGetSetDef {
        name: attribute.as_ptr(),
        get: Some(get),
        set: None,
        doc: c"The method that was called.".as_ptr(),
        closure: null_mut(),
    };
    let table = vec![get(c"__name__", name), get(c"__qualname__", qualified), ffi::PyGetSetDef::default()];
    Box::leak(table.into_boxed_slice()).as_mut_ptr().cast()
}

/// Methods of a type that has one besides its slots, for as long as the process lasts.
pub(super) fn one_method(name: &'static CStr, doc: &'static CStr, function: ffi::PyCFunction) -> *mut c_void {
    let table = vec![
        ffi::PyMethodDef {
            ml_name: name.as_ptr(),
            ml_meth: ffi::PyMethodDefPointer { PyCFunction: function },
            ml_flags: ffi::METH_NOARGS,
            ml_doc: doc.as_ptr(),
        },
        ffi::PyMethodDef::zeroed(),
    ];
    Box::leak(table.into_boxed_slice()).as_mut_ptr().cast()
}

pub(crate) fn make_type(
    py: Python<'_>,
    name: &'static CStr,
    size: usize,
    flags: c_ulong,
    slots: &[(c_int, *mut c_void)],
) -> PyResult<Py<PyAny>> {
    let mut table: Vec<ffi::PyType_Slot> =
        slots.iter().map(|&(slot, pfunc)| ffi::PyType_Slot { slot, pfunc }).collect();
    table.push(ffi::PyType_Slot { slot: 0, pfunc: null_mut() });
    let mut spec = ffi::PyType_Spec {
        name: name.as_ptr().cast::<c_char>(),
        basicsize: size as c_int,
        itemsize: 0,
        flags: flags as _,
        slots: table.as_mut_ptr(),
    };
    // SAFETY: the slots are functions of their slots' types; the table is copied by the call.
    unsafe { Bound::from_owned_ptr_or_err(py, ffi::PyType_FromSpec(&raw mut spec)).map(Bound::unbind) }
}
