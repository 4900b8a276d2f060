//! A listener's callbacks, and how they are called.

use std::cell::{OnceCell, RefCell};

use pyo3::ffi;
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;

use crate::frames::OnFrame;

/// A listener's callbacks, and the context that they run in.
pub struct Listener {
    pub(crate) on_open: Option<Py<PyAny>>,
    pub(crate) on_message: Option<OnMessage>,
    pub(crate) on_batch: Option<Py<PyAny>>,
    pub(crate) on_close: Option<Py<PyAny>>,
    /// Frames' callback, known when the connection is open.
    pub(crate) on_frame: OnceCell<OnFrame>,
    context: Py<PyAny>,
    pub(crate) running: RefCell<()>,
}

/// The callback of a message. A bound method is kept in its two parts: what calls it anew for each message would take it
/// apart each time.
pub(crate) struct OnMessage {
    function: Py<PyAny>,
    receiver: Option<Py<PyAny>>,
}

impl Listener {
    /// `listener` has the attributes `on_open`, `on_message`, `on_batch`, `on_close`: callables or none.
    pub fn new(py: Python<'_>, listener: &Bound<'_, PyAny>) -> PyResult<Self> {
        let get = |name: &str| -> PyResult<Option<Py<PyAny>>> {
            let callback = listener.getattr(name)?;
            Ok((!callback.is_none()).then(|| callback.unbind()))
        };
        // SAFETY: attached; a new reference or null with an exception.
        let context = unsafe { Bound::from_owned_ptr_or_err(py, ffi::PyContext_CopyCurrent()) }?.unbind();
        Ok(Self {
            on_open: get("on_open")?,
            on_message: get("on_message")?.map(|callback| OnMessage::new(callback.bind(py))).transpose()?,
            on_batch: get("on_batch")?,
            on_close: get("on_close")?,
            on_frame: OnceCell::new(),
            context,
            running: RefCell::new(()),
        })
    }

    /// Whether a callback of messages is on the stack.
    pub fn is_running(&self) -> bool {
        self.running.try_borrow_mut().is_err()
    }

    pub fn traverse(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        for callback in [&self.on_open, &self.on_batch, &self.on_close].into_iter().flatten() {
            visit.call(callback)?;
        }
        if let Some(on_message) = &self.on_message {
            on_message.traverse(visit)?;
        }
        if let Some(on_frame) = self.on_frame.get() {
            on_frame.traverse(visit)?;
        }
        visit.call(&self.context)
    }

    /// Runs `calls` in the listener's context.
    pub(crate) fn run<'py, R>(&self, py: Python<'py>, calls: impl FnOnce() -> PyResult<R>) -> PyResult<R> {
        // SAFETY: attached; the context is ours. It is entered already where a callback runs a nested loop.
        let entered = unsafe { ffi::PyContext_Enter(self.context.as_ptr()) } == 0;
        if !entered {
            drop(PyErr::take(py));
        }
        let outcome = calls();
        if entered {
            // SAFETY: entered above. An exception of the calls was taken out of the interpreter by their result.
            let left = unsafe { ffi::PyContext_Exit(self.context.as_ptr()) };
            if left < 0 {
                return outcome.and(Err(PyErr::fetch(py)));
            }
        }
        outcome
    }
}

impl OnMessage {
    pub(crate) fn traverse(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.function)?;
        visit.call(&self.receiver)
    }

    pub(crate) fn new(callback: &Bound<'_, PyAny>) -> PyResult<Self> {
        let method = callback.py().import("types")?.getattr("MethodType")?;
        if !callback.get_type().is(&method) {
            return Ok(Self { function: callback.clone().unbind(), receiver: None });
        }
        let (function, receiver) = (callback.getattr("__func__")?, callback.getattr("__self__")?);
        Ok(Self { function: function.unbind(), receiver: Some(receiver.unbind()) })
    }

    /// What calls it. A Python function's own entry is called at once: its result needs no check.
    pub(crate) fn entry(&self) -> ffi::vectorcallfunc {
        // SAFETY: attached.
        let direct = unsafe {
            let is_function = ffi::PyFunction_Check(self.function.as_ptr()) != 0;
            if is_function { ffi::PyVectorcall_Function(self.function.as_ptr()) } else { None }
        };
        direct.unwrap_or(ffi::PyObject_Vectorcall)
    }

    #[inline]
    pub(crate) fn call(
        &self,
        entry: ffi::vectorcallfunc,
        conn: &Bound<'_, PyAny>,
        message: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        // The first place is the callee's to use: that is what the flag says.
        let null = std::ptr::null_mut();
        let receiver = self.receiver.as_ref().map_or(null, Py::as_ptr);
        let mut args = [null, receiver, conn.as_ptr(), message.as_ptr()];
        let from = if receiver.is_null() { 2 } else { 1 };
        let count = (args.len() - from) | ffi::PY_VECTORCALL_ARGUMENTS_OFFSET;
        // SAFETY: attached; `entry` is this function's; borrowed references that live through the call, with a place
        // before them.
        unsafe {
            let result = entry(self.function.as_ptr(), args.as_mut_ptr().add(from).cast_const(), count, null);
            if result.is_null() {
                return Err(PyErr::fetch(conn.py()));
            }
            ffi::Py_DECREF(result);
        }
        Ok(())
    }
}
