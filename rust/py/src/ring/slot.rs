//! The object of a slot, as whoever takes it wants it. A slot is a place in a read buffer until its object is made.

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyString};

use crate::queue::{SLICE, Slot, TEXT, as_kind};

/// A slot that holds a marker, and one that says that an outage is over.
pub(super) const MARKER: u8 = 8;
pub(super) const OUTAGE: u8 = 16;

/// The object of a slot that nobody else will take, as the one who does wants it. Null: an exception is set.
#[inline]
pub(super) fn solo(py: Python<'_>, slot: Slot, raw: bool) -> *mut ffi::PyObject {
    if slot.tag & SLICE != 0 {
        return slot.make(!raw);
    }
    let object = slot.address as *mut ffi::PyObject;
    if is_as_wanted(slot, raw) { object } else { convert(py, object, raw) }
}

/// The object of a slot that others will take too.
#[inline]
pub(super) fn shared(py: Python<'_>, slot: &mut Slot, raw: bool) -> *mut ffi::PyObject {
    if slot.tag & SLICE != 0 {
        let object = slot.make(!raw);
        if object.is_null() {
            return object;
        }
        slot.address = object as usize;
        slot.tag &= !SLICE;
    }
    let object = slot.address as *mut ffi::PyObject;
    // SAFETY: attached; the slot holds a reference.
    unsafe { ffi::Py_INCREF(object) };
    if is_as_wanted(*slot, raw) {
        return object;
    }
    let made = convert(py, object, raw);
    if !raw && !made.is_null() {
        // Others who want text find it.
        // SAFETY: as above; the old object is a `bytes`.
        unsafe {
            ffi::Py_INCREF(made);
            ffi::Py_DECREF(object);
        }
        slot.address = made as usize;
    }
    made
}

/// Whether an object is `bytes` where those are wanted, else `str` if it is text.
#[inline]
fn is_as_wanted(slot: Slot, raw: bool) -> bool {
    // SAFETY: attached; the slot holds an object.
    slot.tag & TEXT == 0 || raw != (unsafe { ffi::PyUnicode_Check(slot.address as *mut ffi::PyObject) } != 0)
}

/// `object` as `bytes` if `raw`, else as `str`; its reference is taken.
#[cold]
fn convert(py: Python<'_>, object: *mut ffi::PyObject, raw: bool) -> *mut ffi::PyObject {
    // SAFETY: the caller gives a reference away.
    let object = unsafe { Bound::from_owned_ptr(py, object) }.unbind();
    match as_kind(object, py, !raw) {
        Ok(object) => object.into_ptr(),
        Err(error) => {
            error.restore(py);
            std::ptr::null_mut()
        }
    }
}

/// The bytes of a message's slot: text as UTF-8.
pub(super) fn payload(slot: &Slot) -> &[u8] {
    if slot.tag & SLICE != 0 {
        // SAFETY: the slot is a place in a read buffer, which is lent until it is settled.
        return unsafe { std::slice::from_raw_parts(slot.address as *const u8, slot.length as usize) };
    }
    // SAFETY: attached wherever a ring is used; the slot holds a reference to a `str` or `bytes`.
    let py = unsafe { Python::assume_attached() };
    // SAFETY: as above. The reference outlives what is returned.
    let object = unsafe { &*std::ptr::from_ref(&slot.address).cast::<Py<PyAny>>() }.bind(py);
    if let Ok(bytes) = object.cast::<PyBytes>() {
        return bytes.as_bytes();
    }
    object.cast::<PyString>().ok().and_then(|text| text.to_str().ok()).unwrap_or_default().as_bytes()
}
