//! Frames one by one: the object that a consumer is shown, and the callback that it is shown to.
//!
//! A frame is a place in the read buffer while its callback runs. What is kept of it after that, the frame itself or a
//! `memoryview` of it, becomes a [`MessageView`], and stays valid as those do.

use std::cell::{Cell, OnceCell};

use fastws_core::Opcode;
use pyo3::exceptions::PyAssertionError;
use pyo3::ffi;
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBytes, PyString, PyTuple};

use crate::conn::{Conn, Inner};
use crate::errors::ends_program;
use crate::frame_transport::FrameTransport;
use crate::listener::{Listener, OnMessage};
use crate::queue::{Body, Taken};
use crate::view::MessageView;

/// A received frame. It stays valid for as long as it is kept.
#[pyclass(frozen, freelist = 64, module = "fastws._core")]
pub struct Frame {
    /// The first byte of its header.
    head: u8,
    /// It is the last of those that were read together.
    last: bool,
    /// Bytes behind it that were read with it.
    tail: usize,
    address: Cell<*const u8>,
    /// 0 when its bytes could not be kept.
    length: Cell<usize>,
    /// What keeps its bytes, if not the wake-up.
    view: OnceCell<Py<MessageView>>,
    /// What they are, if they are an object by themselves.
    object: Option<Py<PyBytes>>,
}

// SAFETY: every access happens with the interpreter attached.
unsafe impl Send for Frame {}
// SAFETY: as above.
unsafe impl Sync for Frame {}

/// Python's names of opcodes and of close codes: two enumerations, and the members of the first by opcode.
static KINDS: PyOnceLock<(Vec<Py<PyAny>>, Py<PyAny>)> = PyOnceLock::new();

/// Tells how opcodes and close codes are called: two enumerations of integers. The first call counts.
#[pyfunction(name = "_frame_kinds")]
pub fn frame_kinds(opcodes: &Bound<'_, PyAny>, close_codes: &Bound<'_, PyAny>) -> PyResult<()> {
    let py = opcodes.py();
    let mut members: Vec<Py<PyAny>> = Vec::with_capacity(16);
    for opcode in 0..16u8 {
        let known = Opcode::from_bits(opcode).is_some();
        let number = opcode.into_pyobject(py)?.into_any();
        members.push(if known { opcodes.call1((number,))?.unbind() } else { number.unbind() });
    }
    let _ = KINDS.set(py, (members, close_codes.clone().unbind()));
    Ok(())
}

impl Frame {
    fn bytes(&self) -> &[u8] {
        match self.view.get() {
            Some(view) => view.get().bytes(),
            // SAFETY: the wake-up that received it lasts, or the object is held.
            None => unsafe { std::slice::from_raw_parts(self.address.get(), self.length.get()) },
        }
    }

    #[inline]
    pub(crate) fn opcode(&self) -> u8 {
        self.head & 15
    }

    /// The view that keeps its bytes.
    fn view(&self, py: Python<'_>) -> PyResult<&Py<MessageView>> {
        if let Some(view) = self.view.get() {
            return Ok(view);
        }
        let view = match &self.object {
            Some(bytes) => MessageView::of_object(py, bytes.bind(py), false)?,
            None => MessageView::of_slice(py, self.address.get(), self.length.get(), false)?,
        };
        let _ = self.view.set(view);
        self.view.get().ok_or_else(|| PyAssertionError::new_err("no view"))
    }

    /// The view, where somebody may look at the frame when the wake-up is over.
    fn kept(&self, py: Python<'_>, is_held: bool) -> PyResult<Option<Py<MessageView>>> {
        if self.object.is_some() {
            return Ok(None);
        }
        if is_held {
            // Without memory for a view it shows nothing, since its place is used again.
            let view = self.view(py).inspect_err(|_| self.length.set(0))?;
            return Ok(Some(view.clone_ref(py)));
        }
        // SAFETY: attached. A count of one is the frame's own.
        let is_viewed = self.view.get().filter(|view| unsafe { ffi::Py_REFCNT(view.as_ptr()) } > 1);
        Ok(is_viewed.map(|view| view.clone_ref(py)))
    }

    fn must_close(&self, what: &str) -> PyResult<()> {
        if self.opcode() == Opcode::Close as u8 {
            return Ok(());
        }
        Err(PyAssertionError::new_err(format!("{what} can be called only for CLOSE frames")))
    }
}

#[pymethods]
impl Frame {
    /// A frame that no connection received, for tests.
    #[staticmethod]
    fn _of(payload: &Bound<'_, PyBytes>, head: u8) -> Self {
        let bytes = payload.as_bytes();
        Self {
            head,
            last: true,
            tail: 0,
            address: Cell::new(bytes.as_ptr()),
            length: Cell::new(bytes.len()),
            view: OnceCell::new(),
            object: Some(payload.clone().unbind()),
        }
    }

    /// What kind of frame it is: an opcode of RFC 6455 §5.2.
    #[getter]
    fn msg_type(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        match KINDS.get(py) {
            Some((members, _)) => Ok(members[usize::from(self.opcode())].clone_ref(py)),
            None => Ok(self.opcode().into_pyobject(py)?.into_any().unbind()),
        }
    }

    /// Whether it is the last frame of its message.
    #[getter]
    fn fin(&self) -> bool {
        self.head & 0x80 != 0
    }

    /// The first reserved bit.
    #[getter]
    fn rsv1(&self) -> bool {
        self.head & 0x40 != 0
    }

    /// The second reserved bit.
    #[getter]
    fn rsv2(&self) -> bool {
        self.head & 0x20 != 0
    }

    /// The third reserved bit.
    #[getter]
    fn rsv3(&self) -> bool {
        self.head & 0x10 != 0
    }

    /// Whether no other frame that was read with it is behind it.
    #[getter]
    fn last_in_buffer(&self) -> bool {
        self.last
    }

    /// Bytes behind it that were read with it.
    #[getter]
    fn tail_size(&self) -> usize {
        self.tail
    }

    /// Bytes of the payload.
    #[getter]
    fn payload_size(&self) -> usize {
        self.length.get()
    }

    /// The payload, as a new ``bytes`` for each call, but for large ones: that is the same each time.
    fn get_payload_as_bytes<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        match &self.object {
            Some(bytes) => bytes.bind(py).clone(),
            None => PyBytes::new(py, self.bytes()),
        }
    }

    /// The payload as ``str``. Raises UnicodeDecodeError if it is not UTF-8.
    fn get_payload_as_utf8_text<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyString>> {
        text(py, self.bytes())
    }

    /// The payload as ``str``. Raises UnicodeDecodeError if it is not ASCII.
    fn get_payload_as_ascii_text<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let bytes = self.bytes();
        // SAFETY: attached; a new reference or null with an exception.
        unsafe {
            let made = ffi::PyUnicode_DecodeASCII(bytes.as_ptr().cast(), bytes.len() as isize, std::ptr::null());
            Bound::from_owned_ptr_or_err(py, made)
        }
    }

    /// The payload as a read-only ``memoryview``, not copied. It stays valid for as long as it is kept.
    fn get_payload_as_memoryview<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let owner = match &self.object {
            Some(bytes) => bytes.as_ptr(),
            None => self.view(py)?.as_ptr(),
        };
        // SAFETY: attached; a new reference or null with an exception.
        unsafe { Bound::from_owned_ptr_or_err(py, ffi::PyMemoryView_FromObject(owner)) }
    }

    /// The code of a Close frame, 0 if it has none.
    ///
    /// Raises AssertionError for other frames.
    fn get_close_code(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        self.must_close("get_close_code")?;
        let code = self.bytes().first_chunk::<2>().map_or(0, |code| u16::from_be_bytes(*code));
        let number = code.into_pyobject(py)?.into_any();
        match KINDS.get(py) {
            // One that has no name, such as an application's, is a number.
            Some((_, codes)) => Ok(codes.call1(py, (&number,)).unwrap_or_else(|_| number.unbind())),
            None => Ok(number.unbind()),
        }
    }

    /// What a Close frame says besides the code, as ``bytes``; None if it says nothing.
    ///
    /// Raises AssertionError for other frames.
    fn get_close_message<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyBytes>>> {
        self.must_close("get_close_message")?;
        Ok(self.bytes().get(2..).filter(|said| !said.is_empty()).map(|said| PyBytes::new(py, said)))
    }

    /// The same as ``str``.
    ///
    /// Raises AssertionError for other frames.
    fn get_close_reason<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyString>>> {
        self.must_close("get_close_reason")?;
        self.bytes().get(2..).filter(|said| !said.is_empty()).map(|said| text(py, said)).transpose()
    }

    fn __str__(&self, py: Python<'_>) -> PyResult<String> {
        let kind = self.msg_type(py)?;
        let name = kind.bind(py).getattr("name").map_or_else(|_| kind.to_string(), |name| name.to_string());
        let say = |is: bool| if is { "True" } else { "False" };
        Ok(format!(
            "WSFrame({name}, fin={}, rsv1={}, rsv2={}, rsv3={}, last_in_buffer={}, payload_sz={}, tail_sz={})",
            say(self.fin()),
            say(self.rsv1()),
            say(self.rsv2()),
            say(self.rsv3()),
            say(self.last),
            self.length.get(),
            self.tail
        ))
    }
}

fn text<'py>(py: Python<'py>, bytes: &[u8]) -> PyResult<Bound<'py, PyString>> {
    // SAFETY: attached; a new reference or null with an exception.
    unsafe {
        let made = ffi::PyUnicode_DecodeUTF8(bytes.as_ptr().cast(), bytes.len() as isize, std::ptr::null());
        Bound::from_owned_ptr_or_err(py, made).map(|text| text.cast_into_unchecked())
    }
}

/// Who frames are shown to.
pub(crate) struct OnFrame {
    function: OnMessage,
    transport: Py<FrameTransport>,
}

impl OnFrame {
    pub fn traverse(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.transport)?;
        self.function.traverse(visit)
    }
}

impl Conn {
    /// Has `callback` called with `transport` and each frame from here on.
    pub(crate) fn show_frames(
        slf: &Bound<'_, Self>,
        transport: Py<FrameTransport>,
        callback: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        let Some(listener) = slf.get().listener.get() else {
            return Err(PyAssertionError::new_err("frames are for a connection with a listener"));
        };
        let shown = OnFrame { function: OnMessage::new(callback)?, transport };
        let _ = listener.on_frame.set(shown);
        Ok(())
    }

    pub(crate) fn call_frames(slf: &Bound<'_, Self>, to: &OnFrame) -> PyResult<()> {
        let (py, this) = (slf.py(), slf.get());
        let entry = to.function.entry();
        let transport = to.transport.bind(py);
        loop {
            let frame = {
                let mut inner = this.inner.borrow_mut();
                if inner.queue.is_empty() || (inner.run.is_used_up() && inner.token.is_some()) {
                    return Ok(());
                }
                let Some(frame) = inner.take_frame(py)? else { return Ok(()) };
                inner.shown = Some(frame.clone_ref(py));
                frame.into_bound(py)
            };
            let outcome = Self::show_frame(to, entry, transport, &frame);
            {
                let mut inner = this.inner.borrow_mut();
                let shown = inner.shown.take();
                drop(shown);
                // SAFETY: attached. Ours is one.
                let is_held = unsafe { ffi::Py_REFCNT(frame.as_ptr()) > 1 };
                if let Some(view) = frame.get().kept(py, is_held)? {
                    inner.rare.views.push(view);
                }
            }
            if let Err(error) = outcome {
                if ends_program(py, &error) {
                    return Err(error);
                }
                transport.call_method1("_frame_failed", (error.into_value(py),))?;
            }
        }
    }

    #[inline]
    fn show_frame(
        to: &OnFrame,
        entry: ffi::vectorcallfunc,
        transport: &Bound<'_, FrameTransport>,
        frame: &Bound<'_, Frame>,
    ) -> PyResult<()> {
        if transport.get().expects_pong.get()
            && transport.call_method1("_is_pong", PyTuple::new(frame.py(), [frame])?)?.is_truthy()?
        {
            return Ok(());
        }
        to.function.call(entry, transport.as_any(), frame.as_any())
    }
}

impl Inner {
    /// Takes the oldest frame.
    #[inline]
    fn take_frame(&mut self, py: Python<'_>) -> PyResult<Option<Py<Frame>>> {
        let Some((head, Taken { body, .. })) = self.queue.pop_headed(py) else { return Ok(None) };
        let last = self.queue.is_empty() && !self.has_unparsed();
        let (address, length, object) = match body {
            Body::Slice(address, length) => (address, length, None),
            Body::Object(object) => {
                let object = object.into_bound(py).cast_into::<PyBytes>()?.unbind();
                let bytes = object.bind(py).as_bytes();
                (bytes.as_ptr(), bytes.len(), Some(object))
            }
        };
        let unparsed = self.input.as_ref().map_or(0, |input| input.end - input.start);
        let tail = self.queue.wire_bytes() + unparsed + self.core.unfinished();
        let view = OnceCell::new();
        let frame = Frame { head, last, tail, address: Cell::new(address), length: Cell::new(length), view, object };
        // No kind of object that collections look at: none runs.
        Py::new(py, frame).map(Some)
    }

    /// Somebody is being shown a frame while the read buffer is about to be used again.
    pub(crate) fn keep_shown(&mut self, py: Python<'_>) -> PyResult<()> {
        if let Some(frame) = self.shown.take()
            && let Some(view) = frame.get().kept(py, true)?
        {
            self.rare.views.push(view);
        }
        Ok(())
    }
}

impl Listener {
    /// Frames' callback, if frames are what it takes.
    pub(crate) fn on_frame(&self) -> Option<&OnFrame> {
        self.on_frame.get()
    }
}
