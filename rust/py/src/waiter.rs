//! What a task waits on while a connection has nothing for it: as much of `asyncio.Future` as a task uses.
//!
//! Each wait has a waiter of its own, with its own cancellation: the awaitable that a connection hands out can be reused,
//! this one never is.

use std::cell::{Cell, RefCell};

use pyo3::exceptions::asyncio::{CancelledError, InvalidStateError};
use pyo3::ffi;
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyDict;

use crate::hub::Hub;

/// A wait of one task.
#[pyclass(frozen, module = "fastws._core")]
pub struct Waiter {
    event_loop: Py<PyAny>,
    callbacks: RefCell<Callbacks>,
    status: Cell<Status>,
    /// What a task's `cancel` asked for after the wake-up: then the task throws by itself, and the message stays.
    cancel_asked: Cell<bool>,
    cancel_message: RefCell<Option<Py<PyAny>>>,
    blocking: Cell<bool>,
}

// SAFETY: every access happens with the interpreter attached; `RefCell` borrows never span a call into Python.
unsafe impl Send for Waiter {}
// SAFETY: as above.
unsafe impl Sync for Waiter {}

/// What is called when the wait is over, and the context that it is called in.
type Callback = (Py<PyAny>, Option<Py<PyAny>>);

/// A task has one; others are rare.
#[derive(Default)]
struct Callbacks {
    first: Option<Callback>,
    more: Vec<Callback>,
}

impl Callbacks {
    fn push(&mut self, callback: Callback) {
        match self.first {
            None => self.first = Some(callback),
            Some(_) => self.more.push(callback),
        }
    }

    fn into_iter(self) -> impl Iterator<Item = Callback> {
        self.first.into_iter().chain(self.more)
    }

    fn iter(&self) -> impl Iterator<Item = &Callback> {
        self.first.iter().chain(&self.more)
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Status {
    Pending,
    Done,
    Cancelled,
}

static TASK: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
static CURRENT_TASK: PyOnceLock<Py<PyAny>> = PyOnceLock::new();

impl Waiter {
    pub fn new<'py>(py: Python<'py>, event_loop: &Py<PyAny>, done: bool) -> PyResult<Bound<'py, Self>> {
        Bound::new(
            py,
            Self {
                event_loop: event_loop.clone_ref(py),
                callbacks: RefCell::default(),
                status: Cell::new(if done { Status::Done } else { Status::Pending }),
                cancel_asked: Cell::new(false),
                cancel_message: RefCell::new(None),
                // A task wants to see true when this is yielded to it.
                blocking: Cell::new(true),
            },
        )
    }

    /// Whether its task is still going to come back for a message.
    pub fn is_live(&self) -> bool {
        self.status.get() != Status::Cancelled && !self.cancel_asked.get()
    }

    /// Whether it was neither woken nor cancelled.
    pub fn is_pending(&self) -> bool {
        self.status.get() == Status::Pending
    }

    /// Wakes the task: by stepping it here and now where `step` allows and the loop has no task of its own running, else
    /// in the loop's next turn.
    pub fn wake(slf: &Bound<'_, Self>, hub: &Hub) -> PyResult<()> {
        let this = slf.get();
        if this.status.get() != Status::Pending {
            return Ok(());
        }
        this.status.set(Status::Done);
        let mut callbacks = this.callbacks.take();
        if hub.may_step()
            && callbacks.more.is_empty()
            && callbacks.first.is_some()
            && no_task_runs(slf.py(), &this.event_loop).unwrap_or(false)
            && let Some((callback, context)) = callbacks.first.take()
        {
            return this.step(slf, hub, callback, context);
        }
        this.schedule(slf, callbacks)
    }

    fn step(&self, slf: &Bound<'_, Self>, hub: &Hub, callback: Py<PyAny>, context: Option<Py<PyAny>>) -> PyResult<()> {
        let py = slf.py();
        let Some(context) = context else {
            return callback.bind(py).call1((slf,)).map(|_| ());
        };
        // A task of asyncio's C code asks what woke it for its result, and knows a Future of its own kind at once; of
        // anything else it makes a string of the method's name first.
        let argument = if is_of_a_task(callback.bind(py))? { hub.done_future(py)?.as_ptr() } else { slf.as_ptr() };
        // SAFETY: attached; `context` came from the task and is checked by the call.
        unsafe {
            if ffi::PyContext_Enter(context.as_ptr()) < 0 {
                // Entered by somebody else already: the loop will manage.
                ffi::PyErr_Clear();
                return self.schedule(slf, Callbacks { first: Some((callback, Some(context))), more: Vec::new() });
            }
            let result = ffi::PyObject_CallOneArg(callback.as_ptr(), argument);
            let error = if result.is_null() { Some(PyErr::fetch(py)) } else { None };
            ffi::Py_XDECREF(result);
            if ffi::PyContext_Exit(context.as_ptr()) < 0 && error.is_none() {
                return Err(PyErr::fetch(py));
            }
            error.map_or(Ok(()), Err)
        }
    }

    /// Wakes the task in the loop's next turn.
    pub fn wake_later(slf: &Bound<'_, Self>) -> PyResult<()> {
        let this = slf.get();
        if this.status.get() != Status::Pending {
            return Ok(());
        }
        this.status.set(Status::Done);
        let callbacks = this.callbacks.take();
        this.schedule(slf, callbacks)
    }

    fn schedule(&self, slf: &Bound<'_, Self>, callbacks: Callbacks) -> PyResult<()> {
        let py = slf.py();
        for (callback, context) in callbacks.into_iter() {
            let kwargs = PyDict::new(py);
            if let Some(context) = context {
                kwargs.set_item("context", context)?;
            }
            self.event_loop.bind(py).call_method("call_soon", (callback, slf), Some(&kwargs))?;
        }
        Ok(())
    }
}

/// Whether this is the wake-up of a task that is written in C, as asyncio's own are.
fn is_of_a_task(callback: &Bound<'_, PyAny>) -> PyResult<bool> {
    let py = callback.py();
    let task = TASK.get_or_try_init(py, || py.import("_asyncio")?.getattr("Task").map(Bound::unbind))?;
    // SAFETY: attached; a function of C's has a `self`, which may be null.
    unsafe {
        if ffi::PyCFunction_CheckExact(callback.as_ptr()) == 0 {
            return Ok(false);
        }
        let owner = ffi::PyCFunction_GetSelf(callback.as_ptr());
        Ok(!owner.is_null() && ffi::Py_TYPE(owner).cast() == task.as_ptr())
    }
}

/// Whether the loop runs no task at this moment.
fn no_task_runs(py: Python<'_>, event_loop: &Py<PyAny>) -> PyResult<bool> {
    let current = CURRENT_TASK
        .get_or_try_init(py, || py.import("asyncio.tasks")?.getattr("current_task").map(Bound::unbind))?
        .bind(py);
    Ok(current.call1((event_loop,))?.is_none())
}

#[pymethods]
impl Waiter {
    /// The time of a wait is over.
    fn _wake(slf: &Bound<'_, Self>) -> PyResult<()> {
        Self::wake_later(slf)
    }

    #[getter]
    fn _asyncio_future_blocking(&self) -> bool {
        self.blocking.get()
    }

    #[setter(_asyncio_future_blocking)]
    fn set_blocking(&self, value: bool) {
        self.blocking.set(value);
    }

    fn get_loop(&self, py: Python<'_>) -> Py<PyAny> {
        self.event_loop.clone_ref(py)
    }

    #[pyo3(signature = (callback, *, context=None))]
    fn add_done_callback(slf: &Bound<'_, Self>, callback: Py<PyAny>, context: Option<Py<PyAny>>) -> PyResult<()> {
        let this = slf.get();
        if this.status.get() == Status::Pending {
            this.callbacks.borrow_mut().push((callback, context));
            return Ok(());
        }
        this.schedule(slf, Callbacks { first: Some((callback, context)), more: Vec::new() })
    }

    fn remove_done_callback(&self, py: Python<'_>, callback: &Bound<'_, PyAny>) -> PyResult<usize> {
        let callbacks = self.callbacks.take();
        let (mut kept, mut removed) = (Callbacks::default(), 0);
        for (known, context) in callbacks.into_iter() {
            if known.bind(py).eq(callback)? {
                removed += 1;
            } else {
                kept.push((known, context));
            }
        }
        let mut callbacks = self.callbacks.borrow_mut();
        kept.into_iter().for_each(|callback| callbacks.push(callback));
        drop(callbacks);
        Ok(removed)
    }

    fn result(&self, py: Python<'_>) -> PyResult<()> {
        match self.status.get() {
            Status::Done => Ok(()),
            Status::Pending => Err(InvalidStateError::new_err("the wait is not over")),
            Status::Cancelled => Err(match &*self.cancel_message.borrow() {
                Some(message) => CancelledError::new_err((message.clone_ref(py),)),
                None => CancelledError::new_err(()),
            }),
        }
    }

    fn exception(&self, py: Python<'_>) -> PyResult<()> {
        self.result(py)
    }

    fn done(&self) -> bool {
        self.status.get() != Status::Pending
    }

    fn cancelled(&self) -> bool {
        self.status.get() == Status::Cancelled
    }

    #[pyo3(signature = (msg=None))]
    fn cancel(slf: &Bound<'_, Self>, msg: Option<Py<PyAny>>) -> PyResult<bool> {
        let this = slf.get();
        if this.status.get() != Status::Pending {
            this.cancel_asked.set(true);
            return Ok(false);
        }
        this.status.set(Status::Cancelled);
        let old = this.cancel_message.replace(msg.filter(|msg| !msg.is_none(slf.py())));
        drop(old);
        let callbacks = this.callbacks.take();
        this.schedule(slf, callbacks)?;
        Ok(true)
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.event_loop)?;
        if let Ok(callbacks) = self.callbacks.try_borrow() {
            for (callback, context) in callbacks.iter() {
                visit.call(callback)?;
                if let Some(context) = context {
                    visit.call(context)?;
                }
            }
        }
        if let Ok(message) = self.cancel_message.try_borrow()
            && let Some(message) = &*message
        {
            visit.call(message)?;
        }
        Ok(())
    }

    fn __clear__(&self) {
        let callbacks = self.callbacks.try_borrow_mut().map(|mut callbacks| std::mem::take(&mut *callbacks));
        drop(callbacks);
    }
}
