//! Messages as views of the read buffer, which stay valid for as long as somebody holds them.
//!
//! During the wake-up that received it, a view shows the read buffer itself. When that ends, a view that was kept is
//! given a copy, unless somebody has a `memoryview` of it: then the whole buffer is given away to it.

use std::cell::{Cell, RefCell};
use std::ffi::c_int;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use pyo3::exceptions::{PyBufferError, PyIndexError};
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PySlice};

/// A message that was not copied; it stays valid for as long as it is kept.
///
/// Supports the buffer protocol, ``len()``, ``bytes()``, comparison with bytes and indexing.
#[pyclass(frozen, module = "fastws._core", sequence)]
pub struct MessageView {
    address: Cell<*const u8>,
    length: usize,
    is_text: bool,
    exports: Cell<usize>,
    keeper: RefCell<Keeper>,
}

// SAFETY: every access happens with the interpreter attached.
unsafe impl Send for MessageView {}
// SAFETY: as above.
unsafe impl Sync for MessageView {}

/// What keeps the bytes of a view where they are.
enum Keeper {
    /// The wake-up that received them.
    WakeUp,
    /// A copy.
    Own { _bytes: Box<[u8]> },
    /// An object that was made of them.
    Object { _object: Py<PyBytes> },
    /// The read buffer, given away.
    Pinned { _buffer: Arc<PinnedBuffer> },
}

/// A read buffer that views hold.
pub struct PinnedBuffer {
    buffer: Box<[u8]>,
}

static PINNED: AtomicUsize = AtomicUsize::new(0);

/// Bytes of read buffers that views may hold in all; then new views are copies from the start.
pub const MAX_PINNED: usize = 64 << 20;

/// Bytes of read buffers that views hold.
pub fn pinned() -> usize {
    PINNED.load(Ordering::Relaxed)
}

impl PinnedBuffer {
    pub fn new(buffer: Box<[u8]>) -> Arc<Self> {
        PINNED.fetch_add(buffer.len(), Ordering::Relaxed);
        Arc::new(Self { buffer })
    }
}

impl Drop for PinnedBuffer {
    fn drop(&mut self) {
        PINNED.fetch_sub(self.buffer.len(), Ordering::Relaxed);
    }
}

impl MessageView {
    /// A view of `length` bytes at `address`, valid until [`MessageView::settle`]; or of a copy where too much is pinned.
    pub fn of_slice(py: Python<'_>, address: *const u8, length: usize, is_text: bool) -> PyResult<Py<Self>> {
        let view = Py::new(
            py,
            Self {
                address: Cell::new(address),
                length,
                is_text,
                exports: Cell::new(0),
                keeper: RefCell::new(Keeper::WakeUp),
            },
        )?;
        if pinned() >= MAX_PINNED {
            view.get().own();
        }
        Ok(view)
    }

    /// A view of an object.
    pub fn of_object(py: Python<'_>, object: &Bound<'_, PyBytes>, is_text: bool) -> PyResult<Py<Self>> {
        let bytes = object.as_bytes();
        Py::new(
            py,
            Self {
                address: Cell::new(bytes.as_ptr()),
                length: bytes.len(),
                is_text,
                exports: Cell::new(0),
                keeper: RefCell::new(Keeper::Object { _object: object.clone().unbind() }),
            },
        )
    }

    /// The wake-up ends. True: somebody has the bytes themselves, so the read buffer must be [`MessageView::pin`]ned.
    pub fn settle(&self) -> bool {
        if !matches!(*self.keeper.borrow(), Keeper::WakeUp) {
            return false;
        }
        if self.exports.get() > 0 {
            return true;
        }
        self.own();
        false
    }

    /// Keeps the read buffer for the view.
    pub fn pin(&self, buffer: &Arc<PinnedBuffer>) {
        *self.keeper.borrow_mut() = Keeper::Pinned { _buffer: Arc::clone(buffer) };
    }

    fn own(&self) {
        let bytes: Box<[u8]> = self.bytes().into();
        self.address.set(bytes.as_ptr());
        *self.keeper.borrow_mut() = Keeper::Own { _bytes: bytes };
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        // SAFETY: the keeper holds the bytes where they are; nobody writes to them while a view shows them.
        unsafe { std::slice::from_raw_parts(self.address.get(), self.length) }
    }
}

#[pymethods]
impl MessageView {
    /// Whether the message is text; its bytes are then valid UTF-8.
    #[getter]
    fn is_text(&self) -> bool {
        self.is_text
    }

    /// A copy of the message.
    fn tobytes<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, self.bytes())
    }

    fn __bytes__<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        self.tobytes(py)
    }

    fn __str__(&self) -> String {
        String::from_utf8_lossy(self.bytes()).into_owned()
    }

    fn __len__(&self) -> usize {
        self.length
    }

    fn __getitem__<'py>(slf: &Bound<'py, Self>, index: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let py = slf.py();
        if let Ok(slice) = index.cast::<PySlice>() {
            return slf.get().tobytes(py).get_item(slice);
        }
        // An index that is an object of the user's runs code: the bytes are looked at after it.
        let index: isize = index.extract()?;
        let bytes = slf.get().bytes();
        let at = if index < 0 { index + bytes.len() as isize } else { index };
        let byte = usize::try_from(at).ok().and_then(|at| bytes.get(at));
        match byte {
            Some(byte) => Ok(byte.into_pyobject(py)?.into_any()),
            None => Err(PyIndexError::new_err("index out of range")),
        }
    }

    fn __eq__(&self, other: &Bound<'_, PyAny>) -> bool {
        if let Ok(view) = other.cast::<Self>() {
            return view.get().bytes() == self.bytes();
        }
        if let Ok(bytes) = other.extract::<&[u8]>() {
            return bytes == self.bytes();
        }
        pyo3::buffer::PyBuffer::<u8>::get(other)
            .and_then(|buffer| buffer.to_vec(other.py()))
            .is_ok_and(|bytes| bytes == self.bytes())
    }

    fn __hash__(&self, py: Python<'_>) -> PyResult<isize> {
        self.tobytes(py).hash()
    }

    fn __repr__(&self) -> String {
        format!("<MessageView of {} bytes{}>", self.length, if self.is_text { ", text" } else { "" })
    }

    // SAFETY: called by the interpreter only, attached, with a buffer to fill.
    unsafe fn __getbuffer__(slf: Bound<'_, Self>, view: *mut ffi::Py_buffer, flags: c_int) -> PyResult<()> {
        if view.is_null() {
            return Err(PyBufferError::new_err("no buffer to fill"));
        }
        let this = slf.get();
        // SAFETY: the interpreter passes a buffer to fill; the export keeps `slf`, and with it the keeper, alive.
        let result = unsafe {
            ffi::PyBuffer_FillInfo(
                view,
                slf.as_ptr(),
                this.address.get().cast_mut().cast(),
                this.length as isize,
                1,
                flags,
            )
        };
        if result < 0 {
            return Err(PyErr::fetch(slf.py()));
        }
        this.exports.set(this.exports.get() + 1);
        Ok(())
    }

    // SAFETY: called by the interpreter only, once for each buffer that was filled.
    unsafe fn __releasebuffer__(&self, _view: *mut ffi::Py_buffer) {
        self.exports.set(self.exports.get() - 1);
    }
}
