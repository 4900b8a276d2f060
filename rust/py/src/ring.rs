//! The ring of a resilient client: what its connections receive, for any number of streams, each at its own place.
//!
//! One ring outlives its connections. An attached connection's messages go into it natively (`feed`); `store` is the ring
//! itself, `cursor` and `read` are what streams are natively. No borrow of the store is held while Python runs.

mod batch;
mod conflate;
mod cursor;
mod decode;
mod feed;
mod message;
mod read;
mod slot;
mod state;
mod store;
mod take;

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use pyo3::exceptions::PyRuntimeError;
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyString, PyWeakrefReference};

use crate::conn::{Conn, running_loop};
use crate::hub::Hub;
use crate::settings::Water;
use crate::{clock, fork};

pub use cursor::Cursor;
pub use message::Message;
use state::Marker;
pub(crate) use state::Origin;
use store::{Ended, Store};

/// The messages of a client, received and not yet taken by all of its streams.
///
/// It belongs to the event loop given, or to the one that runs at the first use that needs one; without connections and
/// readers it may move to another.
#[pyclass(frozen, weakref, module = "fastws._core")]
pub struct Ring {
    pub(crate) store: RefCell<Store>,
    /// What Python decides, as for a connection.
    policy: Py<PyAny>,
    hub: RefCell<Option<Py<Hub>>>,
    thread: Cell<Option<libc::pthread_t>>,
    fork: u32,
}

// SAFETY: every access happens with the interpreter attached; `RefCell` borrows never span a call into Python. Calls from
// another thread than the loop's are refused, but for the end of the object.
unsafe impl Send for Ring {}
// SAFETY: as above.
unsafe impl Sync for Ring {}

impl Ring {
    /// Refuses another thread than the loop's, and a forked child.
    #[inline]
    pub(crate) fn check(&self, py: Python<'_>) -> PyResult<()> {
        if self.is_at_home() {
            return Ok(());
        }
        self.check_fork()?;
        Err(self.error(py, "wrong_thread", (self.thread.get().unwrap_or_default(), "client")))
    }

    /// Whether this is the thread and process of the client, if it runs.
    #[inline]
    fn is_at_home(&self) -> bool {
        // SAFETY: a plain call.
        let here = unsafe { libc::pthread_self() };
        self.thread.get().is_none_or(|thread| thread == here) && !self.is_forked()
    }

    fn check_fork(&self) -> PyResult<()> {
        if self.is_forked() {
            return Err(PyRuntimeError::new_err(
                "this client belongs to the process that made it; a forked child must make its own",
            ));
        }
        Ok(())
    }

    #[inline]
    fn is_forked(&self) -> bool {
        self.fork != fork::generation()
    }

    /// An exception that `policy` makes.
    fn error<'py>(&self, py: Python<'py>, name: &str, args: impl pyo3::call::PyCallArgs<'py>) -> PyErr {
        match self.policy.bind(py).call_method1(name, args) {
            Ok(error) => PyErr::from_value(error),
            Err(error) => error,
        }
    }

    fn known_hub<'py>(&self, py: Python<'py>) -> Option<Bound<'py, Hub>> {
        self.hub.borrow().as_ref().map(|hub| hub.bind(py).clone())
    }

    /// The turn of its loop.
    fn turn(&self, py: Python<'_>) -> u64 {
        self.hub.borrow().as_ref().map_or(0, |hub| hub.bind(py).get().turn())
    }

    /// Whether a hub is at work, which will look after all registrations.
    fn is_dispatching(&self, py: Python<'_>) -> bool {
        self.hub.borrow().as_ref().is_some_and(|hub| hub.bind(py).get().is_running())
    }

    /// The hub of the loop that runs, which becomes the ring's if it has none, or nothing that binds it to another.
    fn hub_here<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, Hub>> {
        let (py, this) = (slf.py(), slf.get());
        let known = this.known_hub(py);
        if let Some(hub) = &known
            && hub.get().is_running()
        {
            return Ok(hub.clone());
        }
        let running = running_loop(py)?;
        if let Some(hub) = known {
            if running.is(hub.get().event_loop(py)) {
                return Ok(hub);
            }
            if running.is_none() || this.is_bound() {
                return Err(this.error(py, "wrong_loop", (hub.get().event_loop(py), "client")));
            }
        }
        if running.is_none() {
            return Err(PyRuntimeError::new_err("a stream is read in an event loop, and none runs here"));
        }
        let hub = Hub::of(py, &running)?;
        this.bind(&hub);
        Ok(hub)
    }

    /// Whether something in the ring belongs to its loop.
    fn is_bound(&self) -> bool {
        let store = self.store.borrow();
        !store.conns.is_empty() || !store.rooms.is_empty() || store.is_awaited()
    }

    fn bind(&self, hub: &Bound<'_, Hub>) {
        let old = self.hub.replace(Some(hub.clone().unbind()));
        // SAFETY: a plain call.
        self.thread.set(Some(unsafe { libc::pthread_self() }));
        if let Some(old) = old {
            old.drop_ref(hub.py());
        }
    }
}

#[pymethods]
impl Ring {
    /// A ring on `event_loop` (None: on the one that will run), with `policy` as a connection has it. `water` is when
    /// reading pauses and when it goes on: (messages, messages, bytes, bytes). Without `receive`, what comes is counted
    /// and let go.
    #[new]
    #[pyo3(signature = (event_loop, policy, water, *, receive=true))]
    fn new(
        event_loop: Option<&Bound<'_, PyAny>>,
        policy: Py<PyAny>,
        water: (usize, usize, usize, usize),
        receive: bool,
    ) -> PyResult<Self> {
        let (high_messages, low_messages, high_bytes, low_bytes) = water;
        let water = Water { high_messages, low_messages, high_bytes, low_bytes };
        let ring = Self {
            store: RefCell::new(Store::new(water, receive)),
            policy,
            hub: RefCell::new(None),
            thread: Cell::new(None),
            fork: fork::generation(),
        };
        if let Some(event_loop) = event_loop {
            ring.bind(&Hub::of(event_loop.py(), event_loop)?);
        }
        Ok(ring)
    }

    /// From now on what `conn` receives goes into the ring, what waits in its queue first. Several may be attached.
    ///
    /// Raises ConcurrencyError if somebody else reads the connection, ValueError if it delivers frames or fragments.
    #[pyo3(name = "_attach", signature = (conn, generation, connection_id, source=None))]
    fn attach_conn(
        slf: &Bound<'_, Self>,
        conn: &Bound<'_, Conn>,
        generation: u64,
        connection_id: u64,
        source: Option<Py<PyString>>,
    ) -> PyResult<()> {
        Self::attach(slf, conn, Origin { generation, connection_id, source })
    }

    /// Everything that `conn` received is in the ring; what it receives from now on is not. Does nothing if it is not
    /// attached.
    #[pyo3(name = "_detach")]
    fn detach_conn(slf: &Bound<'_, Self>, conn: &Bound<'_, Conn>) -> PyResult<()> {
        Self::detach(slf, conn)
    }

    /// Messages that are pushed from now on belong to this session.
    #[pyo3(signature = (generation, connection_id, source=None))]
    fn _begin(&self, generation: u64, connection_id: u64, source: Option<Py<PyString>>) {
        self.store.borrow_mut().origin = Rc::new(Origin { generation, connection_id, source });
    }

    /// One message, `str` or bytes-like, with its stamps. It is taken whether or not there is room.
    #[pyo3(signature = (data, received_ns, received_mono_ns, kernel_ns=None))]
    fn _push(
        slf: &Bound<'_, Self>,
        data: &Bound<'_, PyAny>,
        received_ns: u64,
        received_mono_ns: u64,
        kernel_ns: Option<u64>,
    ) -> PyResult<()> {
        let (py, this) = (slf.py(), slf.get());
        this.check(py)?;
        let (object, length, text) = if let Ok(string) = data.cast::<PyString>() {
            let text = string.to_str()?;
            let plain = if data.is_exact_instance_of::<PyString>() { string.clone() } else { PyString::new(py, text) };
            (plain.into_any(), text.len(), true)
        } else if let Ok(bytes) = data.cast_exact::<PyBytes>() {
            (bytes.clone().into_any(), bytes.as_bytes().len(), false)
        } else {
            let copy = PyBytes::new(py, &pyo3::buffer::PyBuffer::<u8>::get(data)?.to_vec(py)?);
            let length = copy.as_bytes().len();
            (copy.into_any(), length, false)
        };
        {
            let mut store = this.store.borrow_mut();
            if !store.receive {
                store.discarded += 1;
            }
            if store.is_deaf() {
                return Ok(());
            }
            store.push(py, object.unbind(), length, text, (received_ns, received_mono_ns, kernel_ns));
        }
        Self::wake(slf)
    }

    /// A future that is done when there is room for what is pushed; None: there is.
    fn _room<'py>(slf: &Bound<'py, Self>) -> PyResult<Option<Bound<'py, PyAny>>> {
        let (py, this) = (slf.py(), slf.get());
        this.check(py)?;
        if !this.store.borrow().is_full() {
            return Ok(None);
        }
        let hub = Self::hub_here(slf)?;
        let future = hub.get().event_loop(py).call_method0("create_future")?;
        let mut store = this.store.borrow_mut();
        store.rooms.push(future.clone().unbind());
        store.pause(clock::monotonic());
        Ok(Some(future))
    }

    /// Puts a marker behind what was received.
    fn _mark(slf: &Bound<'_, Self>, marker: &Bound<'_, PyAny>) -> PyResult<()> {
        let (py, this) = (slf.py(), slf.get());
        this.check(py)?;
        let outage = marker.getattr("is_outage")?.is_truthy()?;
        let trash = {
            let mut store = this.store.borrow_mut();
            store.mark(py, Marker { object: marker.clone().unbind(), outage });
            store.take_trash()
        };
        release(py, trash);
        Self::wake(slf)
    }

    /// Streams give everything, then they end (None) or raise `error`.
    #[pyo3(signature = (error=None))]
    fn _end(slf: &Bound<'_, Self>, error: Option<Py<PyAny>>) -> PyResult<()> {
        let (py, this) = (slf.py(), slf.get());
        this.check(py)?;
        let (old, rooms) = {
            let mut store = this.store.borrow_mut();
            (store.ended.replace(Ended { error }), std::mem::take(&mut store.rooms))
        };
        if let Some(Ended { error: Some(error) }) = old {
            error.drop_ref(py);
        }
        // Nothing is pushed any more, and who waits to is of a loop that the ring is to leave.
        Self::tell_of_room(py, rooms).and(Self::wake(slf))
    }

    /// Streams wait for messages again.
    fn _reopen(&self, py: Python<'_>) -> PyResult<()> {
        self.check(py)?;
        let old = self.store.borrow_mut().ended.take();
        drop(old);
        Ok(())
    }

    /// It belongs to no loop any more, until it is used in one; where connections and readers left it.
    fn _leave(slf: &Bound<'_, Self>) -> PyResult<()> {
        let (py, this) = (slf.py(), slf.get());
        this.check(py)?;
        if !this.is_bound() {
            this.thread.set(None);
            let hub = this.hub.take();
            if let Some(hub) = hub {
                hub.drop_ref(py);
            }
        }
        Ok(())
    }

    /// The stream that reading waits for, and for how many seconds it was not read; None: reading waits for nobody.
    ///
    /// Where it was is compared with where it was when this was asked last: so it is to be asked now and then.
    fn _blocked_by<'py>(&self, py: Python<'py>) -> PyResult<Option<(Bound<'py, PyAny>, f64)>> {
        self.check(py)?;
        let found = {
            let mut store = self.store.borrow_mut();
            store.culprit(clock::monotonic()).map(|(weak, since)| (weak.map(|weak| weak.clone_ref(py)), since))
        };
        let Some((Some(weak), nanos)) = found else { return Ok(None) };
        let stream = weak.bind(py).cast::<PyWeakrefReference>()?.upgrade();
        Ok(stream.map(|stream| (stream, clock::to_seconds(nanos))))
    }

    /// Lets those go on who wait for room, if there is some.
    fn _make_room(slf: &Bound<'_, Self>) -> PyResult<()> {
        slf.get().check(slf.py())?;
        Self::make_room(slf)
    }

    /// Messages and markers that some stream has not passed.
    #[getter]
    fn retained(&self) -> usize {
        self.store.borrow().len()
    }

    /// Bytes of those messages.
    #[getter]
    fn retained_bytes(&self) -> u64 {
        self.store.borrow().retained_bytes()
    }

    /// Number of the newest message, from 1; 0 before the first.
    #[getter]
    fn seq(&self) -> u64 {
        self.store.borrow().newest()
    }

    /// Messages that came where none is received.
    #[getter]
    fn discarded(&self) -> u64 {
        self.store.borrow().discarded
    }

    /// Streams that have a place in the ring.
    #[getter]
    fn streams(&self) -> usize {
        self.store.borrow().streams()
    }

    /// Whether somebody waits for what comes next in a stream.
    #[getter]
    fn is_awaited(&self) -> bool {
        self.store.borrow().is_awaited()
    }

    /// Whether there is no room, so that reading waits.
    #[getter]
    fn is_full(&self) -> bool {
        self.store.borrow().is_full()
    }

    /// Whether four times as much waits as there is room for: what comes whether or not there is room adds up.
    #[getter]
    fn is_overfull(&self) -> bool {
        self.store.borrow().is_overfull()
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.policy)?;
        if let Ok(hub) = self.hub.try_borrow()
            && let Some(hub) = &*hub
        {
            visit.call(hub)?;
        }
        let Ok(store) = self.store.try_borrow() else { return Ok(()) };
        store.traverse(&visit)
    }

    fn __clear__(&self) {
        let Ok(mut store) = self.store.try_borrow_mut() else { return };
        let gone = store.clear();
        drop(store);
        drop(gone);
    }
}

/// Lets go of what may run anything as it goes: nothing is borrowed here. A slot of a raw type is no frame of PyO3's:
/// there, a plain drop would be put off.
pub(crate) fn release(py: Python<'_>, trash: Vec<Py<PyAny>>) {
    for object in trash {
        object.drop_ref(py);
    }
}
