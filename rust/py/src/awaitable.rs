//! `await ws.recv()` without a Future: native awaitables whose slots the interpreter calls directly.
//!
//! Here and in `waiter` are the raw type objects, and nowhere else. CPython up to 3.11 awaits by `am_send`; from 3.12 the
//! SEND instruction calls `tp_iternext` and takes the value out of a StopIteration, so one of those is kept and used again
//! while nobody else has it. A source (a connection, a stream) keeps one awaitable and hands it out while nobody else has
//! it; two readers never share one.

mod done;
mod iteration;
pub(crate) mod slots;
mod stop;

use std::ffi::{CStr, CString, c_int, c_void};
use std::ptr::null_mut;

use pyo3::PyClass;
use pyo3::exceptions::{PyRuntimeError, PyRuntimeWarning, PyTypeError};
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::pyclass::boolean_struct::True;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyString;

use crate::conn::Conn;
use crate::queue::Decode;
use crate::ring::Cursor;
use crate::waiter::Waiter;
use crate::{clock, gc};
pub use iteration::iterate;
use slots::{
    COLLECTED, NOT_CALLABLE, contained, coroutine_methods, free, guarded, guarded_then, instance, itself, make_type,
    named,
};
use stop::{forget, stop_with};

/// What messages are awaited from. Each has types of its own, made of the same code.
pub trait Source: PyClass<Frozen = True> + Sync {
    /// The names of the awaitable's and the iterator's type.
    const NAMES: (&'static CStr, &'static CStr);
    /// What Python calls it.
    const SHOWN: &'static str;

    /// Where its types are kept.
    fn kinds(types: &Types) -> &Kinds;

    /// Takes a message for a reader that has not waited, unless there is something else to look at, which `poll` does.
    /// Null: an exception is set.
    fn take_at_once(&self, py: Python<'_>) -> Option<*mut ffi::PyObject>;

    /// One step of a reader.
    fn poll<'py>(slf: &Bound<'py, Self>, want: Want, resumed: bool, started: bool) -> PyResult<Polled<'py>>;

    /// The task of `waiter` came back, or (`gone`) will not.
    fn reader_left(slf: &Bound<'_, Self>, waiter: &Bound<'_, Waiter>, gone: bool);

    /// The awaitable of a reader.
    fn awaitable(slf: &Bound<'_, Self>, want: Want) -> PyResult<Py<PyAny>>;
}

/// What a reader gets.
pub enum Polled<'py> {
    Ready(Py<PyAny>),
    Wait(Bound<'py, Waiter>),
}

/// What an awaitable gives.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Want {
    /// A message, or the exception that says how the connection ended.
    Message(Decode),
    /// A message of an iteration, which a clean end ends.
    Next,
    /// The next piece of a message, as it came; of a connection alone.
    Piece,
    /// All messages that are there, within limits.
    Batch { messages: usize, bytes: usize, wait: u64 },
}

impl Want {
    /// The method that wants it.
    fn method(self) -> &'static str {
        match self {
            Self::Message(_) => "recv",
            Self::Next => "__anext__",
            Self::Piece => "recv_streaming",
            Self::Batch { .. } => "batches",
        }
    }

    /// A batch with these limits; `wait` as Python gives it.
    pub fn batch(messages: usize, bytes: usize, wait: Option<&Bound<'_, PyAny>>) -> PyResult<Self> {
        let wait = wait.map(|wait| clock::seconds("max_wait", wait)).transpose()?;
        Ok(Self::Batch { messages, bytes, wait: clock::from_seconds(wait).unwrap_or(0) })
    }
}

#[repr(C)]
struct Awaitable {
    base: ffi::PyObject,
    /// Of the type that the awaitable's is made for; null when done.
    source: *mut ffi::PyObject,
    /// The `Waiter` last yielded, while it is waited for.
    waiter: *mut ffi::PyObject,
    /// The StopIteration to use again.
    stop: *mut ffi::PyObject,
    want: Want,
    started: bool,
}

/// The types of a source.
pub struct Kinds {
    awaitable: Py<PyAny>,
    iteration: Py<PyAny>,
}

/// The types of all.
pub struct Types {
    pub conn: Kinds,
    pub cursor: Kinds,
    done: Py<PyAny>,
}

static TYPES: PyOnceLock<Types> = PyOnceLock::new();

/// Makes the types and says that they are coroutines. Called once, when the module is made.
pub fn prepare(py: Python<'_>) -> PyResult<()> {
    TYPES.get_or_try_init(py, || {
        let abc = py.import("collections.abc")?.getattr("Coroutine")?;
        let done = done::make_type_of_done(py)?;
        abc.call_method1("register", (&done,))?;
        let done = done.bind(py).call0()?.unbind();
        Ok::<_, PyErr>(Types { conn: make_kinds::<Conn>(&abc)?, cursor: make_kinds::<Cursor>(&abc)?, done })
    })?;
    Ok(())
}

fn make_kinds<S: Source>(abc: &Bound<'_, PyAny>) -> PyResult<Kinds> {
    let py = abc.py();
    let awaitable = make_awaitable_type::<S>(py)?;
    abc.call_method1("register", (&awaitable,))?;
    Ok(Kinds { awaitable, iteration: iteration::make_type_of_iteration::<S>(py)? })
}

fn types(py: Python<'_>) -> PyResult<&Types> {
    TYPES.get(py).ok_or_else(|| PyRuntimeError::new_err("fastws._core is not initialised"))
}

/// An awaitable that is done: what `send` returns where there is nothing to wait for.
pub fn done(py: Python<'_>) -> PyResult<Py<PyAny>> {
    Ok(types(py)?.done.clone_ref(py))
}

/// An awaitable of `source`: `spare` again, if nobody else has it. None: that one was never awaited, see `instead`.
#[inline]
pub fn of<S: Source>(source: &Bound<'_, S>, want: Want, spare: &mut Option<Py<PyAny>>) -> PyResult<Option<Py<PyAny>>> {
    let py = source.py();
    if let Some(known) = spare {
        // SAFETY: attached. A count of one is ours alone.
        if unsafe { ffi::Py_REFCNT(known.as_ptr()) } == 1 {
            let this = known.as_ptr().cast::<Awaitable>();
            // SAFETY: `spare` only ever holds what is made below.
            unsafe {
                if !(*this).source.is_null() {
                    return Ok(None);
                }
                arm(this, source, want);
            }
            return Ok(Some(known.clone_ref(py)));
        }
    }
    let object = make(source, want)?;
    *spare = Some(object.clone_ref(py));
    Ok(Some(object))
}

/// An awaitable of `source` that is not kept.
pub fn make<S: Source>(source: &Bound<'_, S>, want: Want) -> PyResult<Py<PyAny>> {
    let py = source.py();
    let kind = S::kinds(types(py)?).awaitable.as_ptr().cast::<ffi::PyTypeObject>();
    let _paused = gc::pause(py);
    // SAFETY: the type was made for this struct; allocation zeroes it.
    unsafe {
        let object = ffi::PyType_GenericAlloc(kind, 0);
        if object.is_null() {
            return Err(PyErr::fetch(py));
        }
        arm(object.cast(), source, want);
        Ok(Bound::from_owned_ptr(py, object).unbind())
    }
}

/// The same instead of a spare one that nobody has awaited.
#[cold]
pub fn instead<S: Source>(source: &Bound<'_, S>, want: Want, forgotten: Option<Py<PyAny>>) -> PyResult<Py<PyAny>> {
    if let Some(forgotten) = forgotten {
        warn_of(source, forgotten);
    }
    make(source, want)
}

/// Takes the spare one out if nobody has it, and nobody has awaited it.
pub fn take_forgotten(spare: &mut Option<Py<PyAny>>) -> Option<Py<PyAny>> {
    // SAFETY: attached; as in `of`.
    spare.take_if(|known| unsafe {
        ffi::Py_REFCNT(known.as_ptr()) == 1 && !(*known.as_ptr().cast::<Awaitable>()).source.is_null()
    })
}

/// Gives the warning that a coroutine would give. Nothing is borrowed, as Python runs.
pub fn warn_of<S: Source>(source: &Bound<'_, S>, forgotten: Py<PyAny>) {
    let py = source.py();
    // SAFETY: a spare awaitable.
    let (started, want) = unsafe {
        let this = forgotten.as_ptr().cast::<Awaitable>();
        ((*this).started, (*this).want)
    };
    if !started {
        let text = format!("coroutine '{}.{}' was never awaited", S::SHOWN, want.method());
        let text = CString::new(text).unwrap_or_default();
        if let Err(error) = PyErr::warn(py, &py.get_type::<PyRuntimeWarning>(), &text, 1) {
            error.write_unraisable(py, Some(source.as_any()));
        }
    }
    drop(forgotten);
}

/// # Safety
/// `this` is an awaitable without a source that only the caller has.
#[inline]
unsafe fn arm<S: Source>(this: *mut Awaitable, source: &Bound<'_, S>, want: Want) {
    // SAFETY: the caller's promise.
    unsafe {
        ffi::Py_INCREF(source.as_ptr());
        (*this).source = source.as_ptr();
        (&raw mut (*this).want).write(want);
        (*this).started = false;
    }
}

/// The message of an awaitable that has not waited, where nothing is in its way: the common case of `step`, without its
/// results through memory. Null: an exception is set.
///
/// # Safety
/// Attached; `this` is an awaitable of an `S`.
#[inline]
unsafe fn take_at_once<S: Source>(this: *mut Awaitable, py: Python<'_>) -> Option<*mut ffi::PyObject> {
    // SAFETY: the fields of an awaitable are null or references of the stated types.
    unsafe {
        let source = (*this).source;
        if source.is_null() || !(*this).waiter.is_null() {
            return None;
        }
        if !matches!((*this).want, Want::Next | Want::Message(Decode::Default)) {
            return None;
        }
        let source = Borrowed::from_ptr(py, source);
        let object = source.cast_unchecked::<S>().get().take_at_once(py)?;
        finish(this);
        Some(object)
    }
}

/// Goes one step: a value (returned), a waiter (yielded), or an exception.
///
/// # Safety
/// Attached; `this` is an awaitable of an `S`.
unsafe fn step<S: Source>(
    this: *mut Awaitable,
    py: Python<'_>,
) -> PyResult<Result<*mut ffi::PyObject, *mut ffi::PyObject>> {
    // SAFETY: the fields of an awaitable are null or references of the stated types.
    unsafe {
        if (*this).source.is_null() {
            return Err(PyRuntimeError::new_err("this awaitable was awaited already"));
        }
        let source = Bound::from_borrowed_ptr(py, (*this).source);
        let source = source.cast_unchecked::<S>();
        let resumed = !(*this).waiter.is_null();
        if resumed {
            let waiter = Borrowed::from_ptr(py, (*this).waiter);
            if Waiter::of(waiter.cast_unchecked::<Waiter>().as_unbound()).is_pending() {
                return Err(PyRuntimeError::new_err("this awaitable is being awaited already"));
            }
            leave(this, py, source, false);
        }
        let polled = S::poll(source, (*this).want, resumed, (*this).started);
        (*this).started = true;
        match polled {
            Ok(Polled::Ready(object)) => {
                finish(this);
                Ok(Ok(object.into_ptr()))
            }
            Ok(Polled::Wait(waiter)) => {
                forget(this);
                (*this).waiter = waiter.clone().into_ptr();
                Ok(Err(waiter.into_ptr()))
            }
            Err(error) => {
                finish(this);
                Err(error)
            }
        }
    }
}

/// The task came back, or (`gone`) will not: its waiter is no longer the source's reader.
///
/// # Safety
/// Attached; `this` is an awaitable of an `S` with a source and a waiter.
unsafe fn leave<S: Source>(this: *mut Awaitable, py: Python<'_>, source: &Bound<'_, S>, gone: bool) {
    // SAFETY: the field holds a reference to a `Waiter`, which is taken out.
    let waiter = unsafe {
        let waiter = std::mem::replace(&mut (*this).waiter, null_mut());
        Bound::from_owned_ptr(py, waiter)
    };
    // SAFETY: only `step` fills the field.
    S::reader_left(source, unsafe { waiter.cast_unchecked::<Waiter>() }, gone);
}

/// # Safety
/// Attached; `this` is an awaitable.
unsafe fn finish(this: *mut Awaitable) {
    // SAFETY: the reference is ours and taken out before it is released.
    unsafe {
        let source = std::mem::replace(&mut (*this).source, null_mut());
        ffi::Py_XDECREF(source);
    }
}

/// Ends an awaitable that will not be resumed.
///
/// # Safety
/// Attached; `this` is an awaitable of an `S`.
unsafe fn abandon<S: Source>(this: *mut Awaitable) {
    // SAFETY: as the callees ask.
    unsafe {
        if !(*this).source.is_null() && !(*this).waiter.is_null() {
            let py = Python::assume_attached();
            let source = Bound::from_borrowed_ptr(py, (*this).source);
            leave(this, py, source.cast_unchecked::<S>(), true);
        }
        let waiter = std::mem::replace(&mut (*this).waiter, null_mut());
        ffi::Py_XDECREF(waiter);
        finish(this);
    }
}

unsafe extern "C" fn awaitable_send<S: Source>(
    this: *mut ffi::PyObject,
    _value: *mut ffi::PyObject,
    result: *mut *mut ffi::PyObject,
) -> ffi::PySendResult {
    // SAFETY: a slot is called attached, with an object of its type.
    unsafe {
        *result = null_mut();
        let work = || {
            let py = Python::assume_attached();
            if let Some(value) = take_at_once::<S>(this.cast(), py) {
                *result = value;
                return if value.is_null() { ffi::PySendResult::PYGEN_ERROR } else { ffi::PySendResult::PYGEN_RETURN };
            }
            match step::<S>(this.cast(), py) {
                Ok(Ok(value)) => {
                    *result = value;
                    ffi::PySendResult::PYGEN_RETURN
                }
                Ok(Err(waiter)) => {
                    *result = waiter;
                    ffi::PySendResult::PYGEN_NEXT
                }
                Err(error) => {
                    error.restore(py);
                    ffi::PySendResult::PYGEN_ERROR
                }
            }
        };
        guarded_then(ffi::PySendResult::PYGEN_ERROR, work, || was_awaited(this))
    }
}

unsafe extern "C" fn awaitable_next<S: Source>(this: *mut ffi::PyObject) -> *mut ffi::PyObject {
    // SAFETY: as above.
    unsafe {
        let work = || {
            let py = Python::assume_attached();
            if let Some(value) = take_at_once::<S>(this.cast(), py) {
                if !value.is_null() {
                    stop_with(this.cast(), value);
                }
                return null_mut();
            }
            match step::<S>(this.cast(), py) {
                Ok(Ok(value)) => {
                    stop_with(this.cast(), value);
                    null_mut()
                }
                Ok(Err(waiter)) => waiter,
                Err(error) => {
                    error.restore(py);
                    null_mut()
                }
            }
        };
        guarded_then(null_mut(), work, || was_awaited(this))
    }
}

/// It panicked: that nobody awaited it is not to be said.
///
/// # Safety
/// `this` is an awaitable.
unsafe fn was_awaited(this: *mut ffi::PyObject) {
    // SAFETY: the caller's promise.
    unsafe { (*this.cast::<Awaitable>()).started = true };
}

unsafe extern "C" fn awaitable_throw<S: Source>(
    this: *mut ffi::PyObject,
    args: *mut *mut ffi::PyObject,
    count: ffi::Py_ssize_t,
) -> *mut ffi::PyObject {
    // SAFETY: a method is called attached, with `count` arguments.
    unsafe {
        let py = Python::assume_attached();
        contained(|| abandon::<S>(this.cast()));
        let args = std::slice::from_raw_parts(args, count as usize);
        let error = match args {
            [] => PyTypeError::new_err("throw() takes an exception"),
            [only] => PyErr::from_value(instance(py, *only, null_mut())),
            [kind, value, ..] => PyErr::from_value(instance(py, *kind, *value)),
        };
        error.restore(py);
        null_mut()
    }
}

unsafe extern "C" fn awaitable_send_method<S: Source>(
    this: *mut ffi::PyObject,
    _value: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    // SAFETY: as `awaitable_next`.
    unsafe { awaitable_next::<S>(this) }
}

unsafe extern "C" fn awaitable_close<S: Source>(
    this: *mut ffi::PyObject,
    _unused: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    // SAFETY: a method is called attached, with an object of its type.
    unsafe {
        guarded((), || abandon::<S>(this.cast()));
        if !ffi::PyErr_Occurred().is_null() {
            return null_mut();
        }
        let none = ffi::Py_None();
        ffi::Py_INCREF(none);
        none
    }
}

unsafe extern "C" fn awaitable_name(this: *mut ffi::PyObject, _unused: *mut c_void) -> *mut ffi::PyObject {
    // SAFETY: a getter is called attached, with an object of its type.
    unsafe { PyString::new(Python::assume_attached(), (*this.cast::<Awaitable>()).want.method()).into_ptr() }
}

unsafe extern "C" fn awaitable_qualified_name<S: Source>(
    this: *mut ffi::PyObject,
    _unused: *mut c_void,
) -> *mut ffi::PyObject {
    // SAFETY: as above.
    unsafe {
        let name = format!("{}.{}", S::SHOWN, (*this.cast::<Awaitable>()).want.method());
        PyString::new(Python::assume_attached(), &name).into_ptr()
    }
}

unsafe extern "C" fn awaitable_traverse(this: *mut ffi::PyObject, visit: ffi::visitproc, arg: *mut c_void) -> c_int {
    // SAFETY: the collector calls this with an object of the type; each field is null or a reference.
    unsafe {
        let fields = this.cast::<Awaitable>();
        for object in [(*fields).source, (*fields).waiter, (*fields).stop, ffi::Py_TYPE(this).cast()] {
            if !object.is_null() {
                let result = visit(object, arg);
                if result != 0 {
                    return result;
                }
            }
        }
        0
    }
}

unsafe extern "C" fn awaitable_clear<S: Source>(this: *mut ffi::PyObject) -> c_int {
    // SAFETY: as `abandon` asks.
    unsafe {
        let fields = this.cast::<Awaitable>();
        contained(|| abandon::<S>(fields));
        let stop = std::mem::replace(&mut (*fields).stop, null_mut());
        ffi::Py_XDECREF(stop);
    }
    0
}

unsafe extern "C" fn awaitable_dealloc<S: Source>(this: *mut ffi::PyObject) {
    // SAFETY: the last reference is gone; the object leaves the collector before its fields go.
    unsafe {
        ffi::PyObject_GC_UnTrack(this.cast());
        awaitable_clear::<S>(this);
        free(this);
    }
}

fn make_awaitable_type<S: Source>(py: Python<'_>) -> PyResult<Py<PyAny>> {
    let methods = coroutine_methods(awaitable_send_method::<S>, awaitable_throw::<S>, awaitable_close::<S>);
    make_type(
        py,
        S::NAMES.0,
        size_of::<Awaitable>(),
        COLLECTED | NOT_CALLABLE,
        &[
            (ffi::Py_am_await, itself as *mut c_void),
            (ffi::Py_am_send, awaitable_send::<S> as *mut c_void),
            (ffi::Py_tp_iter, itself as *mut c_void),
            (ffi::Py_tp_iternext, awaitable_next::<S> as *mut c_void),
            (ffi::Py_tp_methods, methods),
            (ffi::Py_tp_getset, named(awaitable_name, awaitable_qualified_name::<S>)),
            (ffi::Py_tp_traverse, awaitable_traverse as *mut c_void),
            (ffi::Py_tp_clear, awaitable_clear::<S> as *mut c_void),
            (ffi::Py_tp_dealloc, awaitable_dealloc::<S> as *mut c_void),
        ],
    )
}
