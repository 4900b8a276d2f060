//! What a task waits on while a connection has nothing for it: as much of `asyncio.Future` as a task uses.
//!
//! Each wait has a waiter of its own, with its own cancellation: the awaitable that a connection hands out can be reused,
//! this one never is. What Python sees of it is in `protocol`.

mod protocol;

use std::cell::Cell;
use std::ptr::null_mut;

use pyo3::exceptions::PyImportError;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;

use crate::hub::Hub;
pub use protocol::{loop_getter, prepare};

/// A wait of one task. An object of Python's, of a raw type: a task asks each waiter for four attributes, which takes an
/// object of PyO3's longer than all the rest of its wake-up.
#[repr(C)]
pub struct Waiter {
    base: ffi::PyObject,
    /// What a call of it does: it is its own bound `add_done_callback`.
    call: ffi::vectorcallfunc,
    /// The `get_loop` of all waiters of a loop, whose `self` is that loop: a reference.
    get_loop: *mut ffi::PyObject,
    callback: Cell<Callback>,
    /// A task has one callback; others are rare.
    more: Cell<Vec<Callback>>,
    /// A reference, or null.
    cancel_message: Cell<*mut ffi::PyObject>,
    status: Cell<Status>,
    /// What a task's `cancel` asked for after the wake-up: then the task throws by itself, and the message stays.
    cancel_asked: Cell<bool>,
    blocking: Cell<bool>,
}

/// What is called when the wait is over, and the context that it is called in: references, or null.
#[derive(Clone, Copy)]
struct Callback {
    call: *mut ffi::PyObject,
    context: *mut ffi::PyObject,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Status {
    Pending,
    Done,
    Cancelled,
}

static TASK: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
static CURRENT_TASK: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
static CONTEXT: PyOnceLock<Py<PyAny>> = PyOnceLock::new();

impl Callback {
    const NONE: Self = Self { call: null_mut(), context: null_mut() };

    /// # Safety
    /// Attached; the references are the callback's, and it is not used again.
    unsafe fn let_go(self) {
        // SAFETY: the caller's promise.
        unsafe {
            ffi::Py_XDECREF(self.call);
            ffi::Py_XDECREF(self.context);
        }
    }
}

impl Waiter {
    pub fn new<'py>(py: Python<'py>, hub: &Hub, done: bool) -> PyResult<Bound<'py, Self>> {
        let status = if done { Status::Done } else { Status::Pending };
        protocol::make(py, hub.get_loop(), status)
    }

    /// What is in it.
    #[inline]
    pub fn of(waiter: &Py<Self>) -> &Self {
        // SAFETY: only `protocol::make` makes what is named so, of this struct; the reference keeps it.
        unsafe { &*waiter.as_ptr().cast() }
    }

    /// Whether its task is still going to come back for a message.
    pub fn is_live(&self) -> bool {
        self.status.get() != Status::Cancelled && !self.cancel_asked.get()
    }

    /// Whether it was neither woken nor cancelled.
    pub fn is_pending(&self) -> bool {
        self.status.get() == Status::Pending
    }

    /// Wakes the task: by stepping it here and now where the hub allows and the loop has no task of its own running, else
    /// in the loop's next turn.
    pub fn wake(slf: &Bound<'_, Self>, hub: &Hub) -> PyResult<()> {
        let (py, this) = (slf.py(), Self::of(slf.as_unbound()));
        if this.status.get() != Status::Pending {
            return Ok(());
        }
        this.status.set(Status::Done);
        let callback = this.callback.get();
        // SAFETY: the field may be looked at: nothing runs meanwhile.
        let is_only = unsafe { (*this.more.as_ptr()).is_empty() };
        if hub.may_step()
            && is_only
            && !callback.context.is_null()
            && no_task_runs(py, hub.event_loop(py)).unwrap_or(false)
        {
            this.callback.set(Callback::NONE);
            // SAFETY: the references were the field's.
            return unsafe { Self::step(slf, hub, callback) };
        }
        Self::schedule_all(slf)
    }

    /// Calls back here and now.
    ///
    /// # Safety
    /// The callback's references are given away with it; none is null.
    unsafe fn step(slf: &Bound<'_, Self>, hub: &Hub, callback: Callback) -> PyResult<()> {
        let py = slf.py();
        // SAFETY: attached; `context` came from the task and is checked by the call; both live until they are let go.
        unsafe {
            // A task of asyncio's C code asks what woke it for its result, and knows a Future of its own kind at once; of
            // anything else it makes a string of the method's name first.
            let argument =
                match is_of_a_task(py, callback.call).and_then(|is| is.then(|| hub.done_future(py)).transpose()) {
                    Ok(Some(done)) => done.as_ptr(),
                    Ok(None) => slf.as_ptr(),
                    // The task wakes all the same, in the loop's next turn.
                    Err(error) => return Self::schedule(slf, callback).and(Err(error)),
                };
            if ffi::PyContext_Enter(callback.context) < 0 {
                // Entered by somebody else already: the loop will manage.
                ffi::PyErr_Clear();
                return Self::schedule(slf, callback);
            }
            let result = ffi::PyObject_CallOneArg(callback.call, argument);
            let error = if result.is_null() { Some(PyErr::fetch(py)) } else { None };
            ffi::Py_XDECREF(result);
            let left = if ffi::PyContext_Exit(callback.context) < 0 { Some(PyErr::fetch(py)) } else { None };
            callback.let_go();
            error.or(left).map_or(Ok(()), Err)
        }
    }

    /// Wakes the task in the loop's next turn.
    pub fn wake_later(slf: &Bound<'_, Self>) -> PyResult<()> {
        let this = Self::of(slf.as_unbound());
        if this.status.get() != Status::Pending {
            return Ok(());
        }
        this.status.set(Status::Done);
        Self::schedule_all(slf)
    }

    fn schedule_all(slf: &Bound<'_, Self>) -> PyResult<()> {
        let this = Self::of(slf.as_unbound());
        let (first, more) = (this.callback.replace(Callback::NONE), this.more.take());
        let mut outcome = Ok(());
        for callback in std::iter::once(first).chain(more).filter(|callback| !callback.call.is_null()) {
            // SAFETY: the references were the fields'.
            outcome = outcome.and(unsafe { Self::schedule(slf, callback) });
        }
        outcome
    }

    /// Has the loop call back in its next turn.
    ///
    /// # Safety
    /// The callback's references are given away with it; its context may be null.
    unsafe fn schedule(slf: &Bound<'_, Self>, callback: Callback) -> PyResult<()> {
        let py = slf.py();
        let context =
            CONTEXT.get_or_try_init(py, || ("context",).into_pyobject(py).map(|names| names.into_any().unbind()))?;
        let names = if callback.context.is_null() { null_mut() } else { context.as_ptr() };
        // SAFETY: attached. The call borrows what is in the array, which has its three arguments and, if it is named, the
        // context; the loop is there as long as the waiter.
        unsafe {
            let event_loop = ffi::PyCFunction_GetSelf(Self::of(slf.as_unbound()).get_loop);
            let arguments = [event_loop, callback.call, slf.as_ptr(), callback.context];
            let method = pyo3::intern!(py, "call_soon").as_ptr();
            let handle = ffi::PyObject_VectorcallMethod(method, arguments.as_ptr(), 3, names);
            callback.let_go();
            Bound::from_owned_ptr_or_err(py, handle).map(|_| ())
        }
    }
}

/// Whether this is the wake-up of a task that is written in C, as asyncio's own are.
///
/// # Safety
/// `callback` is a borrowed reference.
unsafe fn is_of_a_task(py: Python<'_>, callback: *mut ffi::PyObject) -> PyResult<bool> {
    let task = TASK.get_or_try_init(py, || match py.import("_asyncio") {
        Ok(module) => module.getattr("Task").map(Bound::unbind),
        // An interpreter that has none: all tasks are Python's.
        Err(error) if error.is_instance_of::<PyImportError>(py) => Ok(py.None()),
        Err(error) => Err(error),
    })?;
    // SAFETY: attached; a function of C's has a `self`, which may be null.
    unsafe {
        if ffi::PyCFunction_CheckExact(callback) == 0 {
            return Ok(false);
        }
        let owner = ffi::PyCFunction_GetSelf(callback);
        Ok(!owner.is_null() && ffi::Py_TYPE(owner).cast() == task.as_ptr())
    }
}

/// Whether the loop runs no task at this moment.
fn no_task_runs(py: Python<'_>, event_loop: &Bound<'_, PyAny>) -> PyResult<bool> {
    if is_idle_everywhere(py)? {
        return Ok(true);
    }
    let current = CURRENT_TASK
        .get_or_try_init(py, || py.import("asyncio.tasks")?.getattr("current_task").map(Bound::unbind))?
        .bind(py);
    Ok(current.call1((event_loop,))?.is_none())
}

/// Whether no loop of the process runs a task, where asyncio has the tasks that run in a `dict` by their loops: an empty
/// one says it for all.
#[cfg(not(Py_3_14))]
#[inline]
fn is_idle_everywhere(py: Python<'_>) -> PyResult<bool> {
    static CURRENT_TASKS: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let tasks = CURRENT_TASKS
        .get_or_try_init(py, || py.import("asyncio.tasks")?.getattr("_current_tasks").map(Bound::unbind))?
        .bind(py);
    Ok(tasks.cast_exact::<pyo3::types::PyDict>().is_ok_and(PyDictMethods::is_empty))
}

/// From CPython 3.14 on each thread has its own.
#[cfg(Py_3_14)]
fn is_idle_everywhere(_: Python<'_>) -> PyResult<bool> {
    Ok(false)
}
