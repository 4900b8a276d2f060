//! `await ws.recv()` without a Future: native awaitables whose slots the interpreter calls directly.
//!
//! This is the one place of raw type objects. CPython up to 3.11 awaits by `am_send`; from 3.12 the SEND instruction calls
//! `tp_iternext` and takes the value out of a StopIteration, so one of those is kept and used again while nobody else has
//! it. A connection keeps one awaitable and hands it out while nobody else has it; two readers never share one.

use std::ffi::{CStr, c_char, c_int, c_void};
use std::ptr::null_mut;

use pyo3::exceptions::{PyRuntimeError, PyTypeError};
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;

use crate::conn::{Conn, Polled};
use crate::queue::Decode;
use crate::waiter::Waiter;

/// What an awaitable gives.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Want {
    /// A message, or the exception that says how the connection ended.
    Message(Decode),
    /// A message of an iteration, which a clean end ends.
    Next,
    /// All messages that are there, within limits.
    Batch { messages: usize, bytes: usize, wait: u64 },
}

#[repr(C)]
struct Awaitable {
    base: ffi::PyObject,
    /// A `Conn`; null when done.
    conn: *mut ffi::PyObject,
    /// The `Waiter` last yielded, while it is waited for.
    waiter: *mut ffi::PyObject,
    /// The StopIteration to use again.
    stop: *mut ffi::PyObject,
    want: Want,
    started: bool,
}

#[repr(C)]
struct Iteration {
    base: ffi::PyObject,
    conn: *mut ffi::PyObject,
    want: Want,
}

struct Types {
    awaitable: Py<PyAny>,
    iteration: Py<PyAny>,
    done: Py<PyAny>,
}

static TYPES: PyOnceLock<Types> = PyOnceLock::new();

/// Makes the types and says that they are coroutines. Called once, when the module is made.
pub fn prepare(py: Python<'_>) -> PyResult<()> {
    TYPES.get_or_try_init(py, || {
        let awaitable = make_awaitable_type(py)?;
        let done = make_done_type(py)?;
        let abc = py.import("collections.abc")?.getattr("Coroutine")?;
        abc.call_method1("register", (&awaitable,))?;
        abc.call_method1("register", (&done,))?;
        let done = done.bind(py).call0()?.unbind();
        Ok::<_, PyErr>(Types { awaitable, iteration: make_iteration_type(py)?, done })
    })?;
    Ok(())
}

fn types(py: Python<'_>) -> PyResult<&Types> {
    TYPES.get(py).ok_or_else(|| PyRuntimeError::new_err("fastws._core is not initialised"))
}

/// An awaitable that is done: what `send` returns where there is nothing to wait for.
pub fn done(py: Python<'_>) -> PyResult<Py<PyAny>> {
    Ok(types(py)?.done.clone_ref(py))
}

/// An awaitable of `conn`: `spare` again, if nobody else has it.
#[inline]
pub fn of(conn: &Bound<'_, Conn>, want: Want, spare: &mut Option<Py<PyAny>>) -> PyResult<Py<PyAny>> {
    let py = conn.py();
    if let Some(known) = spare {
        // SAFETY: attached. A count of one is ours alone.
        if unsafe { ffi::Py_REFCNT(known.as_ptr()) } == 1 {
            // SAFETY: `spare` only ever holds what is made below.
            unsafe { rearm(known.as_ptr().cast(), conn, want) };
            return Ok(known.clone_ref(py));
        }
    }
    let kind = types(py)?.awaitable.as_ptr().cast::<ffi::PyTypeObject>();
    // SAFETY: the type was made for this struct; allocation zeroes it.
    let object = unsafe {
        let object = ffi::PyType_GenericAlloc(kind, 0);
        if object.is_null() {
            return Err(PyErr::fetch(py));
        }
        rearm(object.cast(), conn, want);
        Bound::from_owned_ptr(py, object).unbind()
    };
    *spare = Some(object.clone_ref(py));
    Ok(object)
}

/// An asynchronous iterator over `conn`.
pub fn iterate(conn: &Bound<'_, Conn>, want: Want) -> PyResult<Py<PyAny>> {
    let py = conn.py();
    let kind = types(py)?.iteration.as_ptr().cast::<ffi::PyTypeObject>();
    // SAFETY: as in `of`.
    unsafe {
        let object = ffi::PyType_GenericAlloc(kind, 0);
        if object.is_null() {
            return Err(PyErr::fetch(py));
        }
        let iteration = object.cast::<Iteration>();
        (*iteration).conn = conn.clone().into_ptr();
        (&raw mut (*iteration).want).write(want);
        Ok(Bound::from_owned_ptr(py, object).unbind())
    }
}

/// # Safety
/// `this` is an awaitable that only the caller has.
#[inline]
unsafe fn rearm(this: *mut Awaitable, conn: &Bound<'_, Conn>, want: Want) {
    // SAFETY: the caller's promise; `conn` is null unless the awaitable was never awaited.
    unsafe {
        if (*this).conn.is_null() {
            ffi::Py_INCREF(conn.as_ptr());
            (*this).conn = conn.as_ptr();
        }
        (&raw mut (*this).want).write(want);
        (*this).started = false;
    }
}

/// Goes one step: a value (returned), a waiter (yielded), or an exception.
///
/// # Safety
/// Attached; `this` is an awaitable.
unsafe fn step(this: *mut Awaitable, py: Python<'_>) -> PyResult<Result<*mut ffi::PyObject, *mut ffi::PyObject>> {
    // SAFETY: the fields of an awaitable are null or references of the stated types.
    unsafe {
        if (*this).conn.is_null() {
            return Err(PyRuntimeError::new_err("this awaitable was awaited already"));
        }
        let conn = Bound::from_borrowed_ptr(py, (*this).conn);
        let conn = conn.cast_unchecked::<Conn>();
        let resumed = !(*this).waiter.is_null();
        if resumed {
            let waiter = Bound::from_borrowed_ptr(py, (*this).waiter);
            if waiter.cast_unchecked::<Waiter>().get().is_pending() {
                return Err(PyRuntimeError::new_err("this awaitable is being awaited already"));
            }
            drop(waiter);
            leave(this, py, conn, false);
        }
        let polled = Conn::poll(conn, (*this).want, resumed, (*this).started);
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

/// The task came back, or (`gone`) will not: its waiter is no longer the connection's reader.
///
/// # Safety
/// Attached; `this` is an awaitable with a connection and a waiter.
unsafe fn leave(this: *mut Awaitable, py: Python<'_>, conn: &Bound<'_, Conn>, gone: bool) {
    // SAFETY: the field holds a reference to a `Waiter`, which is taken out.
    let waiter = unsafe {
        let waiter = std::mem::replace(&mut (*this).waiter, null_mut());
        Bound::from_owned_ptr(py, waiter)
    };
    // SAFETY: only `step` fills the field.
    Conn::reader_left(conn, unsafe { waiter.cast_unchecked::<Waiter>() }, gone);
}

/// # Safety
/// Attached; `this` is an awaitable.
unsafe fn finish(this: *mut Awaitable) {
    // SAFETY: the reference is ours and taken out before it is released.
    unsafe {
        let conn = std::mem::replace(&mut (*this).conn, null_mut());
        ffi::Py_XDECREF(conn);
    }
}

/// Ends an awaitable that will not be resumed.
///
/// # Safety
/// Attached; `this` is an awaitable.
unsafe fn abandon(this: *mut Awaitable) {
    // SAFETY: as the callees ask.
    unsafe {
        if !(*this).conn.is_null() && !(*this).waiter.is_null() {
            let py = Python::assume_attached();
            let conn = Bound::from_borrowed_ptr(py, (*this).conn);
            leave(this, py, conn.cast_unchecked::<Conn>(), true);
        }
        let waiter = std::mem::replace(&mut (*this).waiter, null_mut());
        ffi::Py_XDECREF(waiter);
        finish(this);
    }
}

unsafe extern "C" fn awaitable_send(
    this: *mut ffi::PyObject,
    _value: *mut ffi::PyObject,
    result: *mut *mut ffi::PyObject,
) -> ffi::PySendResult {
    // SAFETY: a slot is called attached, with an object of its type.
    unsafe {
        let py = Python::assume_attached();
        match step(this.cast(), py) {
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
                *result = null_mut();
                ffi::PySendResult::PYGEN_ERROR
            }
        }
    }
}

unsafe extern "C" fn awaitable_next(this: *mut ffi::PyObject) -> *mut ffi::PyObject {
    // SAFETY: as above.
    unsafe {
        let py = Python::assume_attached();
        match step(this.cast(), py) {
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
    }
}

/// Raises StopIteration with `value`, whose reference is taken.
///
/// # Safety
/// Attached; `this` is an awaitable, `value` a reference.
#[cfg(all(Py_3_12, not(Py_GIL_DISABLED)))]
unsafe fn stop_with(this: *mut Awaitable, value: *mut ffi::PyObject) {
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
unsafe fn forget(this: *mut Awaitable) {
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
unsafe fn forget(_this: *mut Awaitable) {}

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
unsafe fn stop_with(_this: *mut Awaitable, value: *mut ffi::PyObject) {
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

unsafe extern "C" fn awaitable_throw(
    this: *mut ffi::PyObject,
    args: *mut *mut ffi::PyObject,
    count: ffi::Py_ssize_t,
) -> *mut ffi::PyObject {
    // SAFETY: a method is called attached, with `count` arguments.
    unsafe {
        let py = Python::assume_attached();
        abandon(this.cast());
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

/// The exception that `throw(kind, value)` means.
///
/// # Safety
/// Attached; the pointers are borrowed references, `value` may be null.
unsafe fn instance<'py>(py: Python<'py>, kind: *mut ffi::PyObject, value: *mut ffi::PyObject) -> Bound<'py, PyAny> {
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

unsafe extern "C" fn awaitable_send_method(this: *mut ffi::PyObject, _value: *mut ffi::PyObject) -> *mut ffi::PyObject {
    // SAFETY: as `awaitable_next`.
    unsafe { awaitable_next(this) }
}

unsafe extern "C" fn awaitable_close(this: *mut ffi::PyObject, _unused: *mut ffi::PyObject) -> *mut ffi::PyObject {
    // SAFETY: a method is called attached, with an object of its type.
    unsafe {
        abandon(this.cast());
        let none = ffi::Py_None();
        ffi::Py_INCREF(none);
        none
    }
}

unsafe extern "C" fn itself(this: *mut ffi::PyObject) -> *mut ffi::PyObject {
    // SAFETY: attached.
    unsafe { ffi::Py_INCREF(this) };
    this
}

unsafe extern "C" fn awaitable_traverse(this: *mut ffi::PyObject, visit: ffi::visitproc, arg: *mut c_void) -> c_int {
    // SAFETY: the collector calls this with an object of the type; each field is null or a reference.
    unsafe {
        let fields = this.cast::<Awaitable>();
        for object in [(*fields).conn, (*fields).waiter, (*fields).stop, ffi::Py_TYPE(this).cast()] {
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

unsafe extern "C" fn awaitable_clear(this: *mut ffi::PyObject) -> c_int {
    // SAFETY: as `abandon` asks.
    unsafe {
        let fields = this.cast::<Awaitable>();
        abandon(fields);
        let stop = std::mem::replace(&mut (*fields).stop, null_mut());
        ffi::Py_XDECREF(stop);
    }
    0
}

unsafe extern "C" fn awaitable_dealloc(this: *mut ffi::PyObject) {
    // SAFETY: the last reference is gone; the object leaves the collector before its fields go.
    unsafe {
        ffi::PyObject_GC_UnTrack(this.cast());
        awaitable_clear(this);
        free(this);
    }
}

unsafe extern "C" fn iteration_next(this: *mut ffi::PyObject) -> *mut ffi::PyObject {
    // SAFETY: a slot is called attached, with an object of its type, whose connection is there until it is collected.
    unsafe {
        let py = Python::assume_attached();
        let fields = this.cast::<Iteration>();
        if (*fields).conn.is_null() {
            ffi::PyErr_SetNone(ffi::PyExc_StopAsyncIteration);
            return null_mut();
        }
        let conn = Bound::from_borrowed_ptr(py, (*fields).conn);
        match Conn::awaitable(conn.cast_unchecked::<Conn>(), (*fields).want) {
            Ok(awaitable) => awaitable.into_ptr(),
            Err(error) => {
                error.restore(py);
                null_mut()
            }
        }
    }
}

unsafe extern "C" fn iteration_traverse(this: *mut ffi::PyObject, visit: ffi::visitproc, arg: *mut c_void) -> c_int {
    // SAFETY: as `awaitable_traverse`.
    unsafe {
        let conn = (*this.cast::<Iteration>()).conn;
        if !conn.is_null() {
            let result = visit(conn, arg);
            if result != 0 {
                return result;
            }
        }
        visit(ffi::Py_TYPE(this).cast(), arg)
    }
}

unsafe extern "C" fn iteration_clear(this: *mut ffi::PyObject) -> c_int {
    // SAFETY: the reference is taken out before it is released.
    unsafe {
        let conn = std::mem::replace(&mut (*this.cast::<Iteration>()).conn, null_mut());
        ffi::Py_XDECREF(conn);
    }
    0
}

unsafe extern "C" fn iteration_dealloc(this: *mut ffi::PyObject) {
    // SAFETY: as `awaitable_dealloc`.
    unsafe {
        ffi::PyObject_GC_UnTrack(this.cast());
        iteration_clear(this);
        free(this);
    }
}

/// # Safety
/// Attached; `this` is an untracked, cleared object of a heap type of ours.
unsafe fn free(this: *mut ffi::PyObject) {
    // SAFETY: the caller's promise; a heap type's instances hold a reference to it.
    unsafe {
        let kind = ffi::Py_TYPE(this);
        ffi::PyObject_GC_Del(this.cast());
        ffi::Py_DECREF(kind.cast());
    }
}

unsafe extern "C" fn done_next(_this: *mut ffi::PyObject) -> *mut ffi::PyObject {
    // Null without an exception is a StopIteration of None.
    null_mut()
}

unsafe extern "C" fn done_send(
    _this: *mut ffi::PyObject,
    _value: *mut ffi::PyObject,
    result: *mut *mut ffi::PyObject,
) -> ffi::PySendResult {
    // SAFETY: `result` is the caller's.
    unsafe {
        let none = ffi::Py_None();
        ffi::Py_INCREF(none);
        *result = none;
    }
    ffi::PySendResult::PYGEN_RETURN
}

unsafe extern "C" fn done_send_method(_this: *mut ffi::PyObject, _value: *mut ffi::PyObject) -> *mut ffi::PyObject {
    // SAFETY: attached.
    unsafe { ffi::PyErr_SetNone(ffi::PyExc_StopIteration) };
    null_mut()
}

unsafe extern "C" fn done_close(_this: *mut ffi::PyObject, _unused: *mut ffi::PyObject) -> *mut ffi::PyObject {
    // SAFETY: attached.
    unsafe {
        let none = ffi::Py_None();
        ffi::Py_INCREF(none);
        none
    }
}

unsafe extern "C" fn done_throw(
    _this: *mut ffi::PyObject,
    args: *mut *mut ffi::PyObject,
    count: ffi::Py_ssize_t,
) -> *mut ffi::PyObject {
    // SAFETY: as `awaitable_throw`.
    unsafe {
        let py = Python::assume_attached();
        if count > 0 {
            let value = if count > 1 { *args.add(1) } else { null_mut() };
            PyErr::from_value(instance(py, *args, value)).restore(py);
        } else {
            PyTypeError::new_err("throw() takes an exception").restore(py);
        }
        null_mut()
    }
}

const DEFAULT: std::ffi::c_ulong = ffi::Py_TPFLAGS_DEFAULT;
const COLLECTED: std::ffi::c_ulong = DEFAULT | ffi::Py_TPFLAGS_HAVE_GC;
const NOT_CALLABLE: std::ffi::c_ulong = ffi::Py_TPFLAGS_DISALLOW_INSTANTIATION;

fn make_awaitable_type(py: Python<'_>) -> PyResult<Py<PyAny>> {
    let methods = coroutine_methods(awaitable_send_method, awaitable_throw, awaitable_close);
    make_type(
        py,
        c"fastws._core.Awaitable",
        size_of::<Awaitable>(),
        COLLECTED | NOT_CALLABLE,
        &[
            (ffi::Py_am_await, itself as *mut c_void),
            (ffi::Py_am_send, awaitable_send as *mut c_void),
            (ffi::Py_tp_iter, itself as *mut c_void),
            (ffi::Py_tp_iternext, awaitable_next as *mut c_void),
            (ffi::Py_tp_methods, methods),
            (ffi::Py_tp_traverse, awaitable_traverse as *mut c_void),
            (ffi::Py_tp_clear, awaitable_clear as *mut c_void),
            (ffi::Py_tp_dealloc, awaitable_dealloc as *mut c_void),
        ],
    )
}

fn make_iteration_type(py: Python<'_>) -> PyResult<Py<PyAny>> {
    make_type(
        py,
        c"fastws._core.Iteration",
        size_of::<Iteration>(),
        COLLECTED | NOT_CALLABLE,
        &[
            (ffi::Py_am_aiter, itself as *mut c_void),
            (ffi::Py_am_anext, iteration_next as *mut c_void),
            (ffi::Py_tp_traverse, iteration_traverse as *mut c_void),
            (ffi::Py_tp_clear, iteration_clear as *mut c_void),
            (ffi::Py_tp_dealloc, iteration_dealloc as *mut c_void),
        ],
    )
}

fn make_done_type(py: Python<'_>) -> PyResult<Py<PyAny>> {
    let methods = coroutine_methods(done_send_method, done_throw, done_close);
    make_type(
        py,
        c"fastws._core.Done",
        size_of::<ffi::PyObject>(),
        DEFAULT,
        &[
            (ffi::Py_am_await, itself as *mut c_void),
            (ffi::Py_am_send, done_send as *mut c_void),
            (ffi::Py_tp_iter, itself as *mut c_void),
            (ffi::Py_tp_iternext, done_next as *mut c_void),
            (ffi::Py_tp_methods, methods),
        ],
    )
}

type Method = unsafe extern "C" fn(*mut ffi::PyObject, *mut ffi::PyObject) -> *mut ffi::PyObject;
type FastMethod =
    unsafe extern "C" fn(*mut ffi::PyObject, *mut *mut ffi::PyObject, ffi::Py_ssize_t) -> *mut ffi::PyObject;

/// The methods of the Coroutine protocol; the table lives as long as its type, which is for ever.
fn coroutine_methods(send: Method, throw: FastMethod, close: Method) -> *mut c_void {
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

fn make_type(
    py: Python<'_>,
    name: &'static CStr,
    size: usize,
    flags: std::ffi::c_ulong,
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
