//! What is called for each message of a stream that has a filter or a decoder. Streams that share a decoder share what
//! it makes: it is called once for a message.

use std::collections::VecDeque;
use std::rc::Rc;

use pyo3::exceptions::{PyBaseException, PyException};
use pyo3::ffi;
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::types::{PyCFunction, PyDict};

use super::cursor::Cursor;
use super::message::Message;
use super::take::Got;
use crate::queue::as_kind;

/// What a cursor calls.
#[derive(Default)]
pub(crate) struct Calls {
    pub filter: Option<Py<PyAny>>,
    pub decode: Option<Py<PyAny>>,
    pub key: Option<Py<PyAny>>,
    /// Keys of the messages that wait, with their places in `Pending`.
    pub places: Option<Py<PyDict>>,
    /// A message that cannot be decoded is left out.
    pub skips: bool,
}

/// What a decoder made of a message.
pub(crate) enum Value {
    Made(Py<PyAny>),
    Failed(Py<PyBaseException>),
}

/// What decoders made of messages that others of their cursors have still to come to.
#[derive(Default)]
pub(crate) struct Shared {
    decoders: Vec<Decoder>,
}

struct Decoder {
    id: (usize, usize),
    users: usize,
    /// Position of the first value.
    base: u64,
    values: VecDeque<Option<Value>>,
}

/// Tells decoders apart: a bound method is made anew each time that it is looked up.
pub(crate) fn identity(decode: &Bound<'_, PyAny>) -> PyResult<(usize, usize)> {
    let method = decode.py().import("types")?.getattr("MethodType")?;
    if decode.get_type().is(&method) {
        let (function, owner) = (decode.getattr("__func__")?, decode.getattr("__self__")?);
        return Ok((function.as_ptr() as usize, owner.as_ptr() as usize));
    }
    if decode.is_instance_of::<PyCFunction>() {
        // SAFETY: attached; the object is a function of C's, which says what it calls and with whom.
        let (function, owner) =
            unsafe { (ffi::PyCFunction_GetFunction(decode.as_ptr()), ffi::PyCFunction_GetSelf(decode.as_ptr())) };
        return Ok((function.map_or(0, |function| function as usize), owner as usize));
    }
    Ok((decode.as_ptr() as usize, 0))
}

impl Shared {
    pub fn join(&mut self, id: Option<(usize, usize)>) {
        let Some(id) = id else { return };
        match self.decoders.iter_mut().find(|decoder| decoder.id == id) {
            Some(decoder) => decoder.users += 1,
            None => self.decoders.push(Decoder { id, users: 1, base: 0, values: VecDeque::new() }),
        }
    }

    pub fn leave(&mut self, id: Option<(usize, usize)>, trash: &mut Vec<Py<PyAny>>) {
        let Some(at) = self.decoders.iter().position(|decoder| Some(decoder.id) == id) else { return };
        self.decoders[at].users -= 1;
        if self.decoders[at].users == 0 {
            let gone = self.decoders.swap_remove(at);
            trash.extend(gone.values.into_iter().flatten().map(Value::into_object));
        }
    }

    /// Values of messages that went.
    pub fn forget(&mut self, before: u64, trash: &mut Vec<Py<PyAny>>) {
        for decoder in &mut self.decoders {
            while decoder.base < before
                && let Some(value) = decoder.values.pop_front()
            {
                decoder.base += 1;
                trash.extend(value.map(Value::into_object));
            }
        }
    }

    /// What was made of a message already.
    pub fn find(&self, py: Python<'_>, id: (usize, usize), position: u64) -> Option<Value> {
        let decoder = self.decoders.iter().find(|decoder| decoder.id == id)?;
        let at = usize::try_from(position.checked_sub(decoder.base)?).ok()?;
        decoder.values.get(at)?.as_ref().map(|value| value.clone_ref(py))
    }

    /// Keeps what was made of a message: somebody else has still to come to it.
    pub fn keep(&mut self, id: (usize, usize), position: u64, value: Value, trash: &mut Vec<Py<PyAny>>) {
        let Some(decoder) = self.decoders.iter_mut().find(|decoder| decoder.id == id) else {
            trash.push(value.into_object());
            return;
        };
        if decoder.values.is_empty() {
            decoder.base = position;
        }
        // The first to come to it may be behind another who began later.
        while position < decoder.base {
            decoder.base -= 1;
            decoder.values.push_front(None);
        }
        let at = (position - decoder.base) as usize;
        while decoder.values.len() <= at {
            decoder.values.push_back(None);
        }
        trash.extend(decoder.values[at].replace(value).map(Value::into_object));
    }

    pub fn traverse(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        for value in self.decoders.iter().flat_map(|decoder| &decoder.values).flatten() {
            match value {
                Value::Made(object) => visit.call(object)?,
                Value::Failed(error) => visit.call(error)?,
            }
        }
        Ok(())
    }

    pub fn take(&mut self) -> impl Sized + use<> {
        self.decoders.iter_mut().map(|decoder| std::mem::take(&mut decoder.values)).collect::<Vec<_>>()
    }
}

impl Value {
    pub fn into_object(self) -> Py<PyAny> {
        match self {
            Self::Made(object) => object,
            Self::Failed(error) => error.into_any(),
        }
    }

    fn clone_ref(&self, py: Python<'_>) -> Self {
        match self {
            Self::Made(object) => Self::Made(object.clone_ref(py)),
            Self::Failed(error) => Self::Failed(error.clone_ref(py)),
        }
    }
}

impl Cursor {
    /// A message as its consumer gets it; none: it is left out.
    pub(super) fn finish(slf: &Bound<'_, Self>, got: Got) -> PyResult<Option<Py<PyAny>>> {
        let (py, seq, stamp) = (slf.py(), got.seq, Rc::clone(&got.stamp));
        match Self::bare(slf, got)? {
            Some((data, true)) => Message::of(py, data, seq, &stamp).map(Some),
            bare => Ok(bare.map(|(data, _)| data)),
        }
    }

    /// A message without what is known of it, and whether that is wanted; none: it is left out.
    pub(super) fn bare(slf: &Bound<'_, Self>, got: Got) -> PyResult<Option<(Py<PyAny>, bool)>> {
        let (py, this) = (slf.py(), slf.get());
        let (filter, decode, skips) = {
            let calls = this.calls.borrow();
            let bound = |call: &Option<Py<PyAny>>| call.as_ref().map(|call| call.bind(py).clone());
            (bound(&calls.filter), bound(&calls.decode), calls.skips)
        };
        if let Some(filter) = filter.filter(|_| !got.passed)
            && !filter.call1((&got.object,))?.is_truthy()?
        {
            return Ok(None);
        }
        let Got { object, text, position, seq, stamp, made, .. } = got;
        let object = object.into_bound(py);
        let outcome = match (decode, made) {
            (None, _) => Ok(as_kind(object.unbind(), py, text)?),
            (_, Some(Value::Made(data))) => Ok(data),
            (_, Some(Value::Failed(error))) => Err((error, object)),
            (Some(decode), None) => match decode.call1((&object,)) {
                Ok(data) => {
                    this.keep(py, position, || Value::Made(data.clone().unbind()));
                    Ok(data.unbind())
                }
                Err(error) => {
                    let error = error.into_value(py);
                    this.keep(py, position, || Value::Failed(error.clone_ref(py)));
                    Err((error, object))
                }
            },
        };
        // What ends the program is not left out.
        let may_skip = |error: &Py<PyBaseException>| skips && error.bind(py).is_instance_of::<PyException>();
        let is_skipped = outcome.as_ref().is_err_and(|(error, _)| may_skip(error));
        let mut markers = false;
        this.with_state(py, |state| {
            markers = state.markers;
            if is_skipped {
                state.skipped += 1;
            } else {
                (state.seq, state.last) = (seq, Some(Rc::clone(&stamp)));
            }
        });
        match outcome {
            Ok(data) => Ok(Some((data, markers))),
            Err(_) if is_skipped => Ok(None),
            Err((error, object)) => {
                let args = (error, object, stamp.origin.generation, stamp.realtime);
                Err(this.ring.get().error(py, "decode_error", args))
            }
        }
    }

    /// Keeps what a decoder made for others who will come to the message, if there are any.
    fn keep(&self, py: Python<'_>, position: u64, value: impl FnOnce() -> Value) {
        let trash = {
            let mut store = self.ring.get().store.borrow_mut();
            store.keep_decoded(self.index.get(), position, value);
            store.take_trash()
        };
        super::release(py, trash);
    }
}
