//! Storage for payloads that arrive in pieces: the `bytes` object that will be delivered, or UTF-8 for a `str` to be.

use fastws_core::PayloadBuf;
use fastws_core::sink::OutOfMemory;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

// Part of CPython's documented API (https://docs.python.org/3/c-api/bytes.html), which pyo3 does not declare.
// SAFETY: the signature is that of the header.
unsafe extern "C" {
    fn _PyBytes_Resize(bytes: *mut *mut ffi::PyObject, size: ffi::Py_ssize_t) -> std::ffi::c_int;
}

/// Storage lent to the core.
pub enum Landing {
    /// Becomes the delivered `bytes`.
    Bytes(BytesBuilder),
    /// Becomes a `str`.
    Text(Vec<u8>),
}

/// A `bytes` object under construction: nobody else has seen it.
pub struct BytesBuilder {
    object: *mut ffi::PyObject,
    len: usize,
    capacity: usize,
}

impl Landing {
    /// Storage with room for `capacity` bytes.
    pub fn new(text: bool, capacity: usize) -> Result<Self, OutOfMemory> {
        if text {
            let mut bytes = Vec::new();
            bytes.try_reserve_exact(capacity).map_err(|_| OutOfMemory)?;
            return Ok(Self::Text(bytes));
        }
        BytesBuilder::new(capacity).map(Self::Bytes)
    }

    /// Where the next bytes go, uninitialised, with its length.
    pub fn spare(&mut self) -> (*mut u8, usize) {
        match self {
            Self::Text(bytes) => {
                let spare = bytes.spare_capacity_mut();
                (spare.as_mut_ptr().cast(), spare.len())
            }
            // SAFETY: the object has `capacity` bytes, of which `len` are in use.
            Self::Bytes(b) => (unsafe { b.data().add(b.len) }, b.capacity - b.len),
        }
    }

    /// Counts `count` bytes as held.
    ///
    /// # Safety
    /// They were written to the start of [`Landing::spare`], which has room for them.
    pub unsafe fn advance(&mut self, count: usize) {
        match self {
            // SAFETY: the caller's promise.
            Self::Text(bytes) => unsafe { bytes.set_len(bytes.len() + count) },
            Self::Bytes(b) => b.len += count,
        }
    }
}

impl Landing {
    /// What is held, as `bytes`.
    pub fn into_bytes(self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        match self {
            Self::Bytes(bytes) => bytes.finish(py),
            Self::Text(bytes) => Ok(PyBytes::new(py, &bytes).into_any().unbind()),
        }
    }
}

impl BytesBuilder {
    fn new(capacity: usize) -> Result<Self, OutOfMemory> {
        let size = isize::try_from(capacity).map_err(|_| OutOfMemory)?;
        // SAFETY: the interpreter is attached wherever the core runs (see `conn`); a null source leaves the bytes
        // uninitialised, and none is read before it is written.
        let object = unsafe { ffi::PyBytes_FromStringAndSize(std::ptr::null(), size) };
        if object.is_null() {
            // SAFETY: attached.
            unsafe { ffi::PyErr_Clear() };
            return Err(OutOfMemory);
        }
        Ok(Self { object, len: 0, capacity })
    }

    fn data(&self) -> *mut u8 {
        if self.object.is_null() {
            return std::ptr::NonNull::dangling().as_ptr();
        }
        // SAFETY: the object is a `bytes` that only we hold.
        unsafe { ffi::PyBytes_AsString(self.object).cast() }
    }

    fn resize(&mut self, capacity: usize) -> Result<(), OutOfMemory> {
        let size = isize::try_from(capacity).map_err(|_| OutOfMemory)?;
        // SAFETY: only we hold the object. On failure it is freed and the pointer null.
        let result = unsafe { _PyBytes_Resize(&raw mut self.object, size) };
        if result < 0 {
            // SAFETY: attached.
            unsafe { ffi::PyErr_Clear() };
            (self.len, self.capacity) = (0, 0);
            return Err(OutOfMemory);
        }
        self.capacity = capacity;
        Ok(())
    }

    /// The finished object.
    pub fn finish(mut self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        if self.capacity != self.len && self.resize(self.len).is_err() {
            return Err(pyo3::exceptions::PyMemoryError::new_err("no memory for a message"));
        }
        let object = std::mem::replace(&mut self.object, std::ptr::null_mut());
        // SAFETY: a reference that we own.
        Ok(unsafe { Bound::from_owned_ptr(py, object) }.unbind())
    }
}

impl Drop for BytesBuilder {
    fn drop(&mut self) {
        if !self.object.is_null() {
            // SAFETY: the reference is ours; a connection is dropped with the interpreter attached.
            unsafe { ffi::Py_DECREF(self.object) };
        }
    }
}

impl PayloadBuf for Landing {
    fn len(&self) -> usize {
        match self {
            Self::Bytes(b) => b.len,
            Self::Text(bytes) => bytes.len(),
        }
    }

    fn reserve(&mut self, capacity: usize) -> Result<(), OutOfMemory> {
        match self {
            Self::Text(bytes) => PayloadBuf::reserve(bytes, capacity),
            Self::Bytes(b) if b.capacity < capacity => b.resize(capacity),
            Self::Bytes(_) => Ok(()),
        }
    }

    fn extend(&mut self, bytes: &[u8]) {
        let (to, room) = self.spare();
        assert!(bytes.len() <= room, "the core reserves before it extends");
        // SAFETY: `room` bytes may be written at `to`, which no slice overlaps.
        unsafe {
            std::ptr::copy_nonoverlapping(bytes.as_ptr(), to, bytes.len());
            self.advance(bytes.len());
        }
    }

    fn as_slice(&self) -> &[u8] {
        match self {
            Self::Text(bytes) => bytes,
            // SAFETY: `len` bytes were written; nobody else has the object.
            Self::Bytes(b) => unsafe { std::slice::from_raw_parts(b.data(), b.len) },
        }
    }

    fn as_mut_slice(&mut self) -> &mut [u8] {
        match self {
            Self::Text(bytes) => bytes,
            // SAFETY: as above.
            Self::Bytes(b) => unsafe { std::slice::from_raw_parts_mut(b.data(), b.len) },
        }
    }
}
