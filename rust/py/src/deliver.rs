//! How messages reach their consumer: a waiting task, a listener's callbacks, or a list of many. No borrow of the
//! connection's state is held while any of them runs.

use fastws_core::Nanos;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyList;

use crate::batch::Batch;
use crate::conn::{Conn, Inner};
use crate::driver::Phase;
use crate::errors::ends_program;
use crate::hub::Hub;
use crate::listener::{Listener, OnMessage};
use crate::queue::{Body, Decode, Form, Taken};
use crate::view::MessageView;
use crate::waiter::Waiter;
use crate::{clock, gc};

impl Conn {
    /// Gives what is in the queue to whoever consumes it.
    pub(crate) fn deliver(slf: &Bound<'_, Self>) -> PyResult<()> {
        let this = slf.get();
        if this.listener.get().is_some() {
            return Self::deliver_to_listener(slf);
        }
        let waiter = {
            let inner = this.inner.borrow();
            if inner.ring.is_some() {
                drop(inner);
                return Self::deliver_to_ring(slf);
            }
            if !inner.is_batch_ready() {
                return Ok(());
            }
            inner.waiter.as_ref().map(|waiter| waiter.clone_ref(slf.py()))
        };
        match waiter {
            Some(waiter) => Waiter::wake(waiter.bind(slf.py()), this.hub.get()),
            None => Ok(()),
        }
    }

    fn deliver_to_listener(slf: &Bound<'_, Self>) -> PyResult<()> {
        let (py, this) = (slf.py(), slf.get());
        let Some(listener) = this.listener.get() else { return Ok(()) };
        if this.inner.borrow().queue.has_pieces() {
            this.inner.borrow_mut().queue.join(py, true)?;
        }
        let Ok(running) = listener.running.try_borrow_mut() else {
            // A callback runs a nested loop: its messages come when it returns, in order.
            return Ok(());
        };
        {
            let mut inner = this.inner.borrow_mut();
            if inner.rare.listener_error.is_some() {
                inner.queue.clear(py);
            }
            if inner.queue.is_empty() {
                return Ok(());
            }
        }
        let outcome = Self::calling(slf, listener, || match (&listener.on_batch, &listener.on_message) {
            _ if let Some(on_frame) = listener.on_frame() => Self::call_frames(slf, on_frame),
            (Some(on_batch), _) => Self::call_batches(slf, on_batch),
            (None, Some(on_message)) => Self::call_messages(slf, on_message),
            (None, None) => {
                this.inner.borrow_mut().queue.clear(py);
                Ok(())
            }
        });
        let outcome = outcome.or_else(|error| Self::listener_failed(slf, error));
        drop(running);
        let ended = this.inner.borrow_mut().take_on_close();
        let outcome = if ended { outcome.and(Self::call_on_close(slf)) } else { outcome };
        let inner = this.inner.borrow_mut();
        let left = inner.token.filter(|_| !inner.queue.is_empty());
        if inner.paused.is_some() && inner.is_below_low_water() {
            Self::resume(slf, inner)?;
        } else {
            drop(inner);
        }
        if let Some(token) = left {
            Hub::run_soon(this.hub.bind(py), token)?;
        }
        outcome
    }

    /// Calls back; meanwhile no task is stepped: it would run inside of the callback.
    fn calling<R>(slf: &Bound<'_, Self>, listener: &Listener, calls: impl FnOnce() -> PyResult<R>) -> PyResult<R> {
        let _calling = slf.get().hub.get().calling();
        listener.run(slf.py(), calls)
    }

    fn call_messages(slf: &Bound<'_, Self>, on_message: &OnMessage) -> PyResult<()> {
        let (py, this) = (slf.py(), slf.get());
        let entry = on_message.entry();
        loop {
            let message = {
                let mut inner = this.inner.borrow_mut();
                if inner.queue.is_empty() || (inner.run.is_used_up() && inner.token.is_some()) {
                    return Ok(());
                }
                inner.take_default(py)?.into_bound(py)
            };
            on_message.call(entry, slf.as_any(), &message)?;
        }
    }

    fn call_batches(slf: &Bound<'_, Self>, on_batch: &Py<PyAny>) -> PyResult<()> {
        let (py, this) = (slf.py(), slf.get());
        loop {
            let batch = {
                let mut inner = this.inner.borrow_mut();
                if inner.queue.is_empty() || (inner.run.is_used_up() && inner.token.is_some()) {
                    return Ok(());
                }
                inner.take_list(py, usize::MAX, usize::MAX)?
            };
            on_batch.bind(py).call1((slf, batch))?;
        }
    }

    /// An exception of a callback ends the connection, and is raised by `wait_closed`.
    fn listener_failed(slf: &Bound<'_, Self>, error: PyErr) -> PyResult<()> {
        let (py, this) = (slf.py(), slf.get());
        if ends_program(py, &error) {
            return Err(error);
        }
        let text = "exception in a listener's callback; the connection is closed with 1011";
        {
            let mut inner = this.inner.borrow_mut();
            inner.rare.listener_error.get_or_insert_with(|| error.value(py).clone().into_any().unbind());
            inner.queue.clear(py);
            // 1011 may be sent, and the reason is short.
            let _ = inner.core.close(Some(1011), "a listener raised an exception", clock::monotonic());
        }
        // Whoever waits for the end gets it too; but nobody may.
        Hub::report(this.hub.bind(py), slf, text, &error)
    }

    pub(crate) fn call_on_open(slf: &Bound<'_, Self>) -> PyResult<()> {
        Self::call_back(slf, |listener| listener.on_open.as_ref(), |on_open| on_open.call1((slf,)).map(|_| ()))
    }

    pub(crate) fn call_on_close(slf: &Bound<'_, Self>) -> PyResult<()> {
        let call = |on_close: &Bound<'_, PyAny>| {
            let info = slf.get().policy.bind(slf.py()).call_method1("close_info", (slf,))?;
            on_close.call1((slf, info)).map(|_| ())
        };
        Self::call_back(slf, |listener| listener.on_close.as_ref(), call)
    }

    fn call_back(
        slf: &Bound<'_, Self>,
        which: impl FnOnce(&Listener) -> Option<&Py<PyAny>>,
        call: impl FnOnce(&Bound<'_, PyAny>) -> PyResult<()>,
    ) -> PyResult<()> {
        let py = slf.py();
        let Some(listener) = slf.get().listener.get() else { return Ok(()) };
        let Some(callback) = which(listener) else { return Ok(()) };
        Self::calling(slf, listener, || call(callback.bind(py))).or_else(|error| Self::listener_failed(slf, error))
    }
}

impl Inner {
    /// Takes the oldest message, which is there, as the connection's form says.
    #[inline]
    pub(crate) fn take_default(&mut self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        if self.queue.form == Form::View {
            return self.take(py, Decode::Default);
        }
        let object = self.queue.take_object(py);
        // SAFETY: attached; a new reference or null with an exception.
        unsafe { Bound::from_owned_ptr_or_err(py, object) }.map(Bound::unbind)
    }

    /// Takes a message as the object that its consumer gets.
    #[inline]
    pub(crate) fn take(&mut self, py: Python<'_>, decode: Decode) -> PyResult<Py<PyAny>> {
        let form = self.queue.form;
        let Some(taken) = self.queue.pop(py) else { return Ok(py.None()) };
        if form == Form::View && decode == Decode::Default {
            return self.take_view(py, taken);
        }
        // Without a conversion nothing is made that collections look at.
        let _paused = (decode != Decode::Default).then(|| gc::pause(py));
        taken.into_object(py, form, decode)
    }

    fn take_view(&mut self, py: Python<'_>, taken: Taken) -> PyResult<Py<PyAny>> {
        let _paused = gc::pause(py);
        let view = match taken.body {
            Body::Slice(address, length) => {
                let view = MessageView::of_slice(py, address, length, taken.text)?;
                self.rare.views.push(view.clone_ref(py));
                view
            }
            Body::Object(object) => match object.bind(py).cast::<pyo3::types::PyBytes>() {
                Ok(bytes) => MessageView::of_object(py, bytes, taken.text)?,
                // A fragment or a frame.
                Err(_) => return Ok(object),
            },
        };
        Ok(view.into_any())
    }

    fn take_list(&mut self, py: Python<'_>, messages: usize, bytes: usize) -> PyResult<Py<PyList>> {
        let _paused = gc::pause(py);
        let count = self.queue.count_within(messages, bytes);
        // SAFETY: attached. The list has room for `count`, no item is there yet, and nobody else has seen it; one that is
        // not filled may be dropped.
        unsafe {
            let list = Bound::from_owned_ptr_or_err(py, ffi::PyList_New(count as isize))?;
            for at in 0..count {
                let message = self.take_default(py)?;
                ffi::PyList_SET_ITEM(list.as_ptr(), at as isize, message.into_ptr());
            }
            Ok(list.cast_into_unchecked::<PyList>().unbind())
        }
    }

    pub(crate) fn take_batch(&mut self, py: Python<'_>, messages: usize, bytes: usize) -> PyResult<Py<PyAny>> {
        self.forget_batch();
        let first_seq = self.queue.taken() + 1;
        let list = self.take_list(py, messages, bytes)?;
        let last_seq = self.queue.taken();
        let (received_ns, received_mono_ns) = self.queue.stamp().unwrap_or((0, 0));
        let kernel_ns = self.kernel_stamp();
        let _paused = gc::pause(py);
        let batch = Batch {
            messages: list,
            first_seq,
            last_seq,
            generation: 0,
            connection_id: 0,
            source: None,
            received_ns,
            received_mono_ns,
            kernel_ns,
        };
        Ok(Py::new(py, batch)?.into_any())
    }

    /// When the kernel received the message last taken, if it was asked for and said so.
    pub(crate) fn kernel_stamp(&mut self) -> Option<Nanos> {
        self.extras.as_mut()?.stamp(self.queue.taken())
    }

    pub(crate) fn batch_may_leave(&self, messages: usize, bytes: usize, wait: u64) -> bool {
        wait == 0
            || self.queue.len() >= messages
            || self.queue.bytes() >= bytes
            || self.core.data_over()
            || self.paused.is_some()
            || self.batch.as_ref().and_then(|batch| batch.due).is_some_and(|due| clock::monotonic() >= due)
    }

    /// Whether `on_close` waits for the callback that ran.
    fn take_on_close(&mut self) -> bool {
        self.rare.on_close_waits && std::mem::take(&mut self.rare.on_close_waits)
    }

    /// No batch is waited for any more: another reader must not wait for its limits.
    #[inline]
    pub(crate) fn forget_batch(&mut self) {
        if self.batch.is_some() {
            self.batch = None;
        }
    }

    /// When a reader that waits for more than the first message of a batch is to be woken.
    pub(crate) fn batch_deadline(&self) -> Option<Nanos> {
        // One that was woken or cancelled comes back by itself.
        self.batch.as_ref()?.due.filter(|_| self.waiter.as_ref().is_some_and(|waiter| Waiter::of(waiter).is_pending()))
    }

    /// Whether the reader that waits has something to come back for.
    pub(crate) fn is_batch_ready(&self) -> bool {
        if self.queue.is_empty() {
            return self.queue.has_pieces() || self.core.data_over() || self.phase == Phase::Closed;
        }
        match &self.batch {
            // One that waits for its first message comes back for it: that begins its time.
            Some(batch) => batch.due.is_none() || self.batch_may_leave(batch.messages, batch.bytes, batch.wait),
            None => true,
        }
    }

    pub(crate) fn is_below_low_water(&self) -> bool {
        if let Some(attached) = &self.ring {
            return attached.ring.get().store.borrow().is_low();
        }
        self.queue.len() <= self.settings.water.low_messages && self.queue.bytes() <= self.settings.water.low_bytes
    }
}
