//! What Python sees of a waiter: the slots and methods of its type.
//!
//! A task asks for `_asyncio_future_blocking`, `get_loop` and `add_done_callback`, and sets the first. Those names are
//! compared before anything is looked up; none of it makes an object. Everything else, and the same names where they are
//! other strings, goes the usual way, by the type's methods.

use std::cell::Cell;
use std::cell::UnsafeCell;
use std::ffi::{CStr, c_int, c_void};
use std::mem::offset_of;
use std::ptr::{addr_eq, null_mut};

use pyo3::exceptions::asyncio::{CancelledError, InvalidStateError};
use pyo3::exceptions::{PyRuntimeError, PyTypeError};
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;

use super::{Callback, Status, Waiter};
use crate::awaitable::slots::{COLLECTED, NOT_CALLABLE, free, guarded, itself, make_type};

/// The type, and the names that tasks ask for, interned as theirs are.
struct Known {
    kind: Py<PyAny>,
    blocking: Py<PyAny>,
    get_loop: Py<PyAny>,
    add_done_callback: Py<PyAny>,
    context: Py<PyAny>,
    msg: Py<PyAny>,
}

static KNOWN: PyOnceLock<Known> = PyOnceLock::new();

/// Makes the type. Called once, when the module is made.
pub fn prepare(py: Python<'_>) -> PyResult<&Py<PyAny>> {
    let intern = |name| pyo3::types::PyString::intern(py, name).into_any().unbind();
    let known = KNOWN.get_or_try_init(py, || {
        Ok::<_, PyErr>(Known {
            kind: make_waiter_type(py)?,
            blocking: intern("_asyncio_future_blocking"),
            get_loop: intern("get_loop"),
            add_done_callback: intern("add_done_callback"),
            context: intern("context"),
            msg: intern("msg"),
        })
    })?;
    Ok(&known.kind)
}

fn known(py: Python<'_>) -> &Known {
    // It is there since the module is: nobody has a waiter before.
    KNOWN.get(py).unwrap_or_else(|| unreachable!("fastws._core is not initialised"))
}

/// The `get_loop` of the waiters of a loop: a function whose `self` is the loop, which it returns.
pub fn loop_getter(py: Python<'_>, event_loop: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
    static DEFINITION: Table<ffi::PyMethodDef, 1> = Table(UnsafeCell::new([method(
        c"get_loop",
        c"get_loop($self, /)\n--\n\nThe event loop.",
        NoArguments(returns_self),
    )]));
    // SAFETY: attached; the definition lives as long as the process.
    unsafe {
        let function = ffi::PyCFunction_NewEx(DEFINITION.0.get().cast(), event_loop.as_ptr(), null_mut());
        Bound::from_owned_ptr_or_err(py, function).map(Bound::unbind)
    }
}

/// A new waiter of the loop that `get_loop` gives.
pub(super) fn make<'py>(py: Python<'py>, get_loop: &Py<PyAny>, status: Status) -> PyResult<Bound<'py, Waiter>> {
    let kind = KNOWN.get(py).ok_or_else(|| PyRuntimeError::new_err("fastws._core is not initialised"))?.kind.as_ptr();
    // SAFETY: attached. The type was made for this struct; every field is written before anybody, the collector among
    // them, sees the object.
    unsafe {
        let object = match SPARE.take() {
            Some(memory) => ffi::PyObject_Init(memory, kind.cast()),
            None => ffi::PyObject_GC_New::<ffi::PyObject>(kind.cast()),
        };
        if object.is_null() {
            return Err(PyErr::fetch(py));
        }
        let waiter = object.cast::<Waiter>();
        (&raw mut (*waiter).call).write(called);
        ffi::Py_INCREF(get_loop.as_ptr());
        (&raw mut (*waiter).get_loop).write(get_loop.as_ptr());
        (&raw mut (*waiter).callback).write(Cell::new(Callback::NONE));
        (&raw mut (*waiter).more).write(Cell::default());
        (&raw mut (*waiter).cancel_message).write(Cell::new(null_mut()));
        (&raw mut (*waiter).status).write(Cell::new(status));
        (&raw mut (*waiter).cancel_asked).write(Cell::new(false));
        // A task wants to see true when this is yielded to it.
        (&raw mut (*waiter).blocking).write(Cell::new(true));
        ffi::PyObject_GC_Track(object.cast());
        Ok(Bound::from_owned_ptr(py, object).cast_into_unchecked())
    }
}

/// Memory of waiters that are gone, for those to come: a reader has one after the other, two of them at a time.
struct Spare(UnsafeCell<([*mut ffi::PyObject; SPARES], usize)>);

const SPARES: usize = 4;

static SPARE: Spare = Spare(UnsafeCell::new(([null_mut(); SPARES], 0)));

// SAFETY: it is used attached only, and not at all where that does not order the threads; no Python runs in its functions.
unsafe impl Sync for Spare {}

impl Spare {
    /// # Safety
    /// Attached.
    unsafe fn take(&self) -> Option<*mut ffi::PyObject> {
        // SAFETY: nobody else is in here.
        let (memory, count) = unsafe { &mut *self.0.get() };
        *count = count.checked_sub(1)?;
        Some(memory[*count])
    }

    /// Keeps the memory of an object; false: there is enough of it.
    ///
    /// # Safety
    /// Attached; `object` is untracked, its fields are dropped, and it is not used again.
    unsafe fn keep(&self, object: *mut ffi::PyObject) -> bool {
        // SAFETY: nobody else is in here.
        let (memory, count) = unsafe { &mut *self.0.get() };
        if cfg!(Py_GIL_DISABLED) || *count == SPARES {
            return false;
        }
        memory[*count] = object;
        *count += 1;
        true
    }
}

/// A table of C's, which is only read once it is made.
struct Table<T, const N: usize>(UnsafeCell<[T; N]>);

// SAFETY: as above; what it points to is static.
unsafe impl<T, const N: usize> Sync for Table<T, N> {}

type Keywords = ffi::PyCFunctionFastWithKeywords;

/// A method's function, by what it takes.
enum Takes {
    NoArguments(ffi::PyCFunction),
    One(ffi::PyCFunction),
    Any(Keywords),
}

use Takes::{Any, NoArguments, One};

const fn method(name: &'static CStr, doc: &'static CStr, takes: Takes) -> ffi::PyMethodDef {
    let (ml_meth, ml_flags) = match takes {
        NoArguments(function) => (ffi::PyMethodDefPointer { PyCFunction: function }, ffi::METH_NOARGS),
        One(function) => (ffi::PyMethodDefPointer { PyCFunction: function }, ffi::METH_O),
        Any(function) => {
            (ffi::PyMethodDefPointer { PyCFunctionFastWithKeywords: function }, ffi::METH_FASTCALL | ffi::METH_KEYWORDS)
        }
    };
    ffi::PyMethodDef { ml_name: name.as_ptr(), ml_meth, ml_flags, ml_doc: doc.as_ptr() }
}

static METHODS: Table<ffi::PyMethodDef, 10> = Table(UnsafeCell::new([
    method(c"_wake", c"_wake($self, /)\n--\n\nThe time of a wait is over.", NoArguments(wake)),
    method(c"get_loop", c"get_loop($self, /)\n--\n\n", NoArguments(get_loop)),
    method(
        c"add_done_callback",
        c"add_done_callback($self, callback, *, context=None)\n--\n\n",
        Any(add_done_callback),
    ),
    method(c"remove_done_callback", c"remove_done_callback($self, callback, /)\n--\n\n", One(remove_done_callback)),
    method(c"result", c"result($self, /)\n--\n\n", NoArguments(result)),
    method(c"exception", c"exception($self, /)\n--\n\n", NoArguments(result)),
    method(c"done", c"done($self, /)\n--\n\n", NoArguments(done)),
    method(c"cancelled", c"cancelled($self, /)\n--\n\n", NoArguments(cancelled)),
    method(c"cancel", c"cancel($self, msg=None)\n--\n\n", Any(cancel)),
    ffi::PyMethodDef::zeroed(),
]));

static MEMBERS: Table<ffi::PyMemberDef, 2> = Table(UnsafeCell::new([
    ffi::PyMemberDef {
        name: c"__vectorcalloffset__".as_ptr(),
        type_code: ffi::Py_T_PYSSIZET,
        offset: offset_of!(Waiter, call) as ffi::Py_ssize_t,
        flags: ffi::Py_READONLY,
        doc: std::ptr::null(),
    },
    ffi::PyMemberDef { name: std::ptr::null(), type_code: 0, offset: 0, flags: 0, doc: std::ptr::null() },
]));

static PROPERTIES: Table<ffi::PyGetSetDef, 2> = Table(UnsafeCell::new([
    ffi::PyGetSetDef {
        name: c"_asyncio_future_blocking".as_ptr(),
        get: Some(get_blocking),
        set: Some(set_blocking),
        doc: std::ptr::null(),
        closure: null_mut(),
    },
    ffi::PyGetSetDef { name: std::ptr::null(), get: None, set: None, doc: std::ptr::null(), closure: null_mut() },
]));

fn make_waiter_type(py: Python<'_>) -> PyResult<Py<PyAny>> {
    make_type(
        py,
        c"fastws._core.Waiter",
        size_of::<Waiter>(),
        COLLECTED | NOT_CALLABLE | ffi::Py_TPFLAGS_HAVE_VECTORCALL,
        &[
            (ffi::Py_tp_call, ffi::PyVectorcall_Call as *mut c_void),
            (ffi::Py_tp_getattro, get_attribute as *mut c_void),
            (ffi::Py_tp_setattro, set_attribute as *mut c_void),
            (ffi::Py_tp_methods, METHODS.0.get().cast()),
            (ffi::Py_tp_members, MEMBERS.0.get().cast()),
            (ffi::Py_tp_getset, PROPERTIES.0.get().cast()),
            (ffi::Py_tp_traverse, traverse as *mut c_void),
            (ffi::Py_tp_clear, clear as *mut c_void),
            (ffi::Py_tp_dealloc, dealloc as *mut c_void),
        ],
    )
}

/// The fields of the object that a slot or method is called with.
///
/// # Safety
/// `this` is a waiter that lives as long as the result is used.
unsafe fn fields<'a>(this: *mut ffi::PyObject) -> &'a Waiter {
    // SAFETY: the caller's promise.
    unsafe { &*this.cast::<Waiter>() }
}

/// # Safety
/// Attached.
unsafe fn new_reference(object: *mut ffi::PyObject) -> *mut ffi::PyObject {
    // SAFETY: the caller's promise.
    unsafe { ffi::Py_INCREF(object) };
    object
}

/// # Safety
/// Attached.
unsafe fn truth(value: bool) -> *mut ffi::PyObject {
    // SAFETY: the caller's promise.
    unsafe { new_reference(if value { ffi::Py_True() } else { ffi::Py_False() }) }
}

unsafe extern "C" fn get_attribute(this: *mut ffi::PyObject, name: *mut ffi::PyObject) -> *mut ffi::PyObject {
    // SAFETY: a slot is called attached, with an object of its type and a string.
    unsafe {
        let known = known(Python::assume_attached());
        if addr_eq(name, known.blocking.as_ptr()) {
            truth(fields(this).blocking.get())
        } else if addr_eq(name, known.get_loop.as_ptr()) {
            new_reference(fields(this).get_loop)
        } else if addr_eq(name, known.add_done_callback.as_ptr()) {
            new_reference(this)
        } else {
            ffi::PyObject_GenericGetAttr(this, name)
        }
    }
}

unsafe extern "C" fn set_attribute(
    this: *mut ffi::PyObject,
    name: *mut ffi::PyObject,
    value: *mut ffi::PyObject,
) -> c_int {
    // SAFETY: as above; `value` is null where the attribute is to be deleted.
    unsafe {
        let known = known(Python::assume_attached());
        if addr_eq(name, known.blocking.as_ptr()) && addr_eq(value, ffi::Py_False()) {
            fields(this).blocking.set(false);
            return 0;
        }
        ffi::PyObject_GenericSetAttr(this, name, value)
    }
}

unsafe extern "C" fn get_blocking(this: *mut ffi::PyObject, _: *mut c_void) -> *mut ffi::PyObject {
    // SAFETY: as above.
    unsafe { truth(fields(this).blocking.get()) }
}

unsafe extern "C" fn set_blocking(this: *mut ffi::PyObject, value: *mut ffi::PyObject, _: *mut c_void) -> c_int {
    // SAFETY: as above.
    unsafe {
        if value.is_null() {
            PyTypeError::new_err("_asyncio_future_blocking cannot be deleted").restore(Python::assume_attached());
            return -1;
        }
        let value = ffi::PyObject_IsTrue(value);
        if value >= 0 {
            fields(this).blocking.set(value > 0);
        }
        value.min(0)
    }
}

unsafe extern "C" fn called(
    this: *mut ffi::PyObject,
    arguments: *const *mut ffi::PyObject,
    count: usize,
    names: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    // SAFETY: a method of the same object, with the same arguments.
    unsafe { add_done_callback(this, arguments, ffi::PyVectorcall_NARGS(count), names) }
}

unsafe extern "C" fn add_done_callback(
    this: *mut ffi::PyObject,
    arguments: *const *mut ffi::PyObject,
    count: ffi::Py_ssize_t,
    names: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    // SAFETY: a method is called attached, with `count` arguments and those that `names`, a tuple or null, names.
    unsafe {
        let py = Python::assume_attached();
        guarded(null_mut(), || {
            let context = match named(arguments, count, names, &known(py).context) {
                Ok(context) if count == 1 => context,
                _ => {
                    let text = "add_done_callback() takes a callback and context=";
                    PyTypeError::new_err(text).restore(py);
                    return null_mut();
                }
            };
            let call = new_reference(*arguments);
            let context = if addr_eq(context, ffi::Py_None()) { null_mut() } else { context };
            ffi::Py_XINCREF(context);
            let (waiter, callback) = (fields(this), Callback { call, context });
            if waiter.status.get() != Status::Pending {
                let slf = Bound::from_borrowed_ptr(py, this).cast_into_unchecked::<Waiter>();
                return none_or(py, Waiter::schedule(&slf, callback));
            }
            if waiter.callback.get().call.is_null() {
                waiter.callback.set(callback);
            } else {
                (*waiter.more.as_ptr()).push(callback);
            }
            none_or(py, Ok(()))
        })
    }
}

unsafe extern "C" fn remove_done_callback(
    this: *mut ffi::PyObject,
    callback: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    // SAFETY: a method is called attached, with an object of its type and another one. What is compared is out of the
    // fields meanwhile, as a comparison may run Python.
    unsafe {
        let py = Python::assume_attached();
        guarded(null_mut(), || {
            let waiter = fields(this);
            let mut all = waiter.more.take();
            all.insert(0, waiter.callback.replace(Callback::NONE));
            let (mut removed, mut failed) = (0, None);
            for added in all.into_iter().filter(|added| !added.call.is_null()) {
                let equal =
                    if failed.is_none() { ffi::PyObject_RichCompareBool(added.call, callback, ffi::Py_EQ) } else { 0 };
                if equal > 0 {
                    removed += 1;
                    added.let_go();
                    continue;
                }
                if equal < 0 {
                    failed = Some(PyErr::fetch(py));
                }
                if waiter.callback.get().call.is_null() {
                    waiter.callback.set(added);
                } else {
                    (*waiter.more.as_ptr()).push(added);
                }
            }
            if waiter.status.get() != Status::Pending {
                // A comparison ended the wait: those that are left were not there to be called.
                let slf = Bound::from_borrowed_ptr(py, this).cast_into_unchecked::<Waiter>();
                if let Err(error) = Waiter::schedule_all(&slf) {
                    failed.get_or_insert(error);
                }
            }
            match failed {
                Some(error) => none_or(py, Err(error)),
                None => ffi::PyLong_FromLong(removed),
            }
        })
    }
}

unsafe extern "C" fn wake(this: *mut ffi::PyObject, _: *mut ffi::PyObject) -> *mut ffi::PyObject {
    // SAFETY: a method is called attached, with an object of its type.
    unsafe {
        let py = Python::assume_attached();
        let slf = Bound::from_borrowed_ptr(py, this).cast_into_unchecked::<Waiter>();
        guarded(null_mut(), || none_or(py, Waiter::wake_later(&slf)))
    }
}

unsafe extern "C" fn get_loop(this: *mut ffi::PyObject, _: *mut ffi::PyObject) -> *mut ffi::PyObject {
    // SAFETY: as above; the field is a function with a `self`.
    unsafe { new_reference(ffi::PyCFunction_GetSelf(fields(this).get_loop)) }
}

unsafe extern "C" fn returns_self(event_loop: *mut ffi::PyObject, _: *mut ffi::PyObject) -> *mut ffi::PyObject {
    // SAFETY: attached.
    unsafe { itself(event_loop) }
}

unsafe extern "C" fn result(this: *mut ffi::PyObject, _: *mut ffi::PyObject) -> *mut ffi::PyObject {
    // SAFETY: as above; the message is null or a reference of the waiter's.
    unsafe {
        let py = Python::assume_attached();
        let waiter = fields(this);
        none_or(
            py,
            match waiter.status.get() {
                Status::Done => Ok(()),
                Status::Pending => Err(InvalidStateError::new_err("the wait is not over")),
                Status::Cancelled => Err(match Bound::from_borrowed_ptr_or_opt(py, waiter.cancel_message.get()) {
                    Some(message) => CancelledError::new_err((message.unbind(),)),
                    None => CancelledError::new_err(()),
                }),
            },
        )
    }
}

unsafe extern "C" fn done(this: *mut ffi::PyObject, _: *mut ffi::PyObject) -> *mut ffi::PyObject {
    // SAFETY: as above.
    unsafe { truth(fields(this).status.get() != Status::Pending) }
}

unsafe extern "C" fn cancelled(this: *mut ffi::PyObject, _: *mut ffi::PyObject) -> *mut ffi::PyObject {
    // SAFETY: as above.
    unsafe { truth(fields(this).status.get() == Status::Cancelled) }
}

unsafe extern "C" fn cancel(
    this: *mut ffi::PyObject,
    arguments: *const *mut ffi::PyObject,
    count: ffi::Py_ssize_t,
    names: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    // SAFETY: as `add_done_callback`.
    unsafe {
        let py = Python::assume_attached();
        guarded(null_mut(), || {
            let message = match named(arguments, count, names, &known(py).msg) {
                Ok(message) if count == 0 => message,
                Ok(message) if count == 1 && message.is_null() => *arguments,
                _ => {
                    PyTypeError::new_err("cancel() takes msg=").restore(py);
                    return null_mut();
                }
            };
            let waiter = fields(this);
            if waiter.status.get() != Status::Pending {
                waiter.cancel_asked.set(true);
                return truth(false);
            }
            waiter.status.set(Status::Cancelled);
            let message = if addr_eq(message, ffi::Py_None()) { null_mut() } else { message };
            ffi::Py_XINCREF(message);
            ffi::Py_XDECREF(waiter.cancel_message.replace(message));
            let slf = Bound::from_borrowed_ptr(py, this).cast_into_unchecked::<Waiter>();
            match Waiter::schedule_all(&slf) {
                Ok(()) => truth(true),
                Err(error) => none_or(py, Err(error)),
            }
        })
    }
}

/// The value of the one keyword argument that a method has; null: it was not given. An error: there are others.
///
/// # Safety
/// Attached; as in a vectorcall, the values of `names`, a tuple of strings or null, are behind `count` arguments.
unsafe fn named(
    arguments: *const *mut ffi::PyObject,
    count: ffi::Py_ssize_t,
    names: *mut ffi::PyObject,
    known: &Py<PyAny>,
) -> Result<*mut ffi::PyObject, ()> {
    // SAFETY: the caller's promise.
    unsafe {
        match if names.is_null() { 0 } else { ffi::PyTuple_GET_SIZE(names) } {
            0 => Ok(null_mut()),
            1 => {
                let name = ffi::PyTuple_GET_ITEM(names, 0);
                let is_it = addr_eq(name, known.as_ptr()) || ffi::PyUnicode_Compare(name, known.as_ptr()) == 0;
                if is_it { Ok(*arguments.offset(count)) } else { Err(()) }
            }
            _ => Err(()),
        }
    }
}

/// None, or null with the exception raised.
fn none_or(py: Python<'_>, outcome: PyResult<()>) -> *mut ffi::PyObject {
    match outcome {
        // SAFETY: attached.
        Ok(()) => unsafe { new_reference(ffi::Py_None()) },
        Err(error) => {
            error.restore(py);
            null_mut()
        }
    }
}

unsafe extern "C" fn traverse(this: *mut ffi::PyObject, visit: ffi::visitproc, arg: *mut c_void) -> c_int {
    // SAFETY: the collector calls this with an object of the type; each field is null or a reference, and nothing changes
    // them meanwhile.
    unsafe {
        let waiter = fields(this);
        let more = &*waiter.more.as_ptr();
        let callbacks = std::iter::once(waiter.callback.get()).chain(more.iter().copied());
        let fixed = [ffi::Py_TYPE(this).cast(), waiter.get_loop, waiter.cancel_message.get()];
        let all = fixed.into_iter().chain(callbacks.flat_map(|callback| [callback.call, callback.context]));
        for object in all.filter(|object| !object.is_null()) {
            let result = visit(object, arg);
            if result != 0 {
                return result;
            }
        }
        0
    }
}

unsafe extern "C" fn clear(this: *mut ffi::PyObject) -> c_int {
    // SAFETY: each reference is taken out before it is released. The loop stays: it knows nothing of a waiter by itself.
    unsafe {
        let waiter = fields(this);
        let (first, more) = (waiter.callback.replace(Callback::NONE), waiter.more.take());
        ffi::Py_XDECREF(waiter.cancel_message.replace(null_mut()));
        first.let_go();
        for callback in more {
            callback.let_go();
        }
    }
    0
}

unsafe extern "C" fn dealloc(this: *mut ffi::PyObject) {
    // SAFETY: the last reference is gone; the object leaves the collector before its fields go. `clear` has left an empty
    // list, which owns nothing.
    unsafe {
        ffi::PyObject_GC_UnTrack(this.cast());
        clear(this);
        ffi::Py_DECREF(fields(this).get_loop);
        let kind = ffi::Py_TYPE(this);
        if SPARE.keep(this) {
            ffi::Py_DECREF(kind.cast());
        } else {
            free(this);
        }
    }
}
