//! The hub: one per event loop, the only descriptor of ours that the loop sees.
//!
//! It holds a small registration for each connection: strongly while somebody waits for that connection, else weakly.
//! It dispatches what is ready, keeps the timers, flushes what was sent in a turn, and leaves the loop with its last
//! connection. All of it runs on the loop's thread, but for [`Hub::post`] and the end of a registration.

mod busy;
mod direct;
mod look;
mod registry;
mod turns;

use std::cell::{Cell, OnceCell, RefCell};

use pyo3::exceptions::PyRuntimeError;
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyWeakrefReference};

use crate::clock;
use crate::conn::Conn;
use crate::errors::ends_program;
use crate::fork;
use crate::waiter;

pub use busy::BusyPoll;
use busy::Verdict;
use look::DISPATCH_BUDGET;
use registry::State;
pub use registry::{Mail, Token};
use turns::Lone;

/// Seconds: what a loop's timer may be too early by, at most.
const COARSE: f64 = 0.001;

/// The connections of one event loop.
#[pyclass(frozen, weakref, module = "fastws._core")]
pub struct Hub {
    event_loop: Py<PyAny>,
    /// See [`waiter::loop_getter`].
    get_loop: Py<PyAny>,
    /// A future of the loop's that is done, see [`Hub::done_future`].
    done: OnceCell<Py<PyAny>>,
    state: RefCell<State>,
    /// Counts the turns of the loop, as far as anything of ours happened in them.
    turn: Cell<u64>,
    /// Frames of `dispatch` on the stack: more than one where a nested loop runs.
    depth: Cell<u32>,
    /// Callbacks of listeners on the stack.
    calls: Cell<u32>,
    /// The connection that a dispatch is busy with.
    current: Cell<Option<Token>>,
    /// Whether the last look at the sockets calls for another one at once.
    verdict: Cell<Verdict>,
    /// Somebody who was woken in this call of the loop's waits for its next turn.
    owes_turn: Cell<bool>,
    turn_end_scheduled: Cell<bool>,
    /// How often turns end that had one send of each connection at most.
    lone: Lone,
    /// `_on_turn_end` of this hub, for `call_soon`, while it has connections: a cycle that ends with the last of them.
    turn_end: RefCell<Option<Py<PyAny>>>,
    /// The handle of the loop's own timer, where nobody watches the poller's.
    timer: RefCell<Option<Py<PyAny>>>,
    soon_scheduled: Cell<bool>,
    leave_scheduled: Cell<bool>,
    fork: u32,
}

// SAFETY: every access happens with the interpreter attached; the GIL orders them (the module is not declared free of
// it). `RefCell` borrows never span a call into Python.
unsafe impl Send for Hub {}
// SAFETY: as above.
unsafe impl Sync for Hub {}

static HUBS: PyOnceLock<Py<PyAny>> = PyOnceLock::new();

thread_local! {
    /// The hub last made on this thread: nearly always the one that is asked for.
    static LAST: RefCell<Option<Py<PyWeakrefReference>>> = const { RefCell::new(None) };
}

impl Hub {
    /// The hub of `event_loop`, made where there is none yet.
    pub fn of<'py>(py: Python<'py>, event_loop: &Bound<'py, PyAny>) -> PyResult<Bound<'py, Hub>> {
        let last = LAST.with_borrow(|last| last.as_ref().and_then(|weak| weak.bind(py).upgrade()));
        if let Some(hub) = last.and_then(|hub| hub.cast_into::<Hub>().ok())
            && hub.get().event_loop.is(event_loop)
            && !hub.get().is_forked()
        {
            return Ok(hub);
        }
        let hubs = HUBS
            .get_or_try_init(py, || py.import("weakref")?.getattr("WeakKeyDictionary")?.call0().map(Bound::unbind))?
            .bind(py);
        let known = hubs.call_method1("get", (event_loop,))?;
        if let Ok(weak) = known.cast::<PyWeakrefReference>()
            && let Some(hub) = weak.upgrade()
        {
            let hub = hub.cast_into::<Hub>()?;
            if !hub.get().is_forked() {
                return Ok(hub);
            }
        }
        let hub = Bound::new(
            py,
            Hub {
                event_loop: event_loop.clone().unbind(),
                get_loop: waiter::loop_getter(py, event_loop)?,
                done: OnceCell::new(),
                state: RefCell::new(State::new()?),
                turn: Cell::new(1),
                depth: Cell::new(0),
                calls: Cell::new(0),
                current: Cell::new(None),
                verdict: Cell::new(Verdict::Silent),
                owes_turn: Cell::new(false),
                turn_end_scheduled: Cell::new(false),
                lone: Lone::default(),
                turn_end: RefCell::new(None),
                timer: RefCell::new(None),
                soon_scheduled: Cell::new(false),
                leave_scheduled: Cell::new(false),
                fork: fork::generation(),
            },
        )?;
        let weak = PyWeakrefReference::new(&hub)?;
        hubs.set_item(event_loop, &weak)?;
        LAST.set(Some(weak.unbind()));
        Ok(hub)
    }

    pub fn event_loop<'py>(&self, py: Python<'py>) -> &Bound<'py, PyAny> {
        self.event_loop.bind(py)
    }

    /// What the `get_loop` of its waiters is.
    #[inline]
    pub fn get_loop(&self) -> &Py<PyAny> {
        &self.get_loop
    }

    /// A future that is done, without a result: what wakes a task whose message waits.
    pub fn done_future(&self, py: Python<'_>) -> PyResult<&Py<PyAny>> {
        if let Some(future) = self.done.get() {
            return Ok(future);
        }
        let future = self.event_loop.bind(py).call_method0("create_future")?;
        future.call_method1("set_result", (py.None(),))?;
        Ok(self.done.get_or_init(|| future.unbind()))
    }

    /// Whether this process is a fork of the one that made the hub.
    #[inline]
    pub fn is_forked(&self) -> bool {
        self.fork != fork::generation()
    }

    /// The current turn of the loop.
    #[inline]
    pub fn turn(&self) -> u64 {
        self.turn.get()
    }

    /// Whether we are in a call of the loop's to the hub: it is the loop that runs, or a nested one of a callback.
    #[inline]
    pub fn is_running(&self) -> bool {
        self.depth.get() > 0
    }

    /// Whether a task may be stepped from here: we are in the loop's own call of the hub, once, and in no callback.
    #[inline]
    pub fn may_step(&self) -> bool {
        self.depth.get() == 1 && self.calls.get() == 0
    }

    /// A callback runs, as long as this lives.
    #[inline]
    pub fn calling(&self) -> Deeper<'_> {
        Deeper::new(&self.calls)
    }

    /// Whether we are in a dispatch of this very connection, which will bring its registration up to date.
    #[inline]
    pub fn is_dispatching(&self, token: Option<Token>) -> bool {
        self.depth.get() == 1 && token.is_some() && self.current.get() == token
    }

    /// Brings something from another thread.
    pub fn post(slf: &Bound<'_, Self>, mail: Mail) {
        let watching = {
            let mut state = slf.get().state.borrow_mut();
            state.mail.push(mail);
            state.poller.wake();
            state.watching
        };
        if !watching && let Ok(method) = slf.getattr("_on_mail") {
            // A loop that is closed takes nothing more.
            let _ = slf.get().event_loop.bind(slf.py()).call_method1("call_soon_threadsafe", (method,));
        }
    }

    /// Has the loop's own timer fire where nobody watches the poller's.
    pub fn settle_timer(slf: &Bound<'_, Self>) -> PyResult<()> {
        let (py, this) = (slf.py(), slf.get());
        let Some(at) = this.state.borrow_mut().asked.take() else { return Ok(()) };
        let event_loop = this.event_loop.bind(py);
        // Not earlier: a loop's clock may be a coarse one.
        let delay = clock::to_seconds(at.saturating_sub(clock::monotonic())) + COARSE;
        let set =
            slf.getattr("_on_timer").and_then(|on_timer| event_loop.call_method1("call_later", (delay, on_timer)));
        let handle = set.inspect_err(|_| {
            this.state.borrow_mut().asked.get_or_insert(at);
        })?;
        let old = this.timer.replace(Some(handle.unbind()));
        old.map_or(Ok(()), |old| old.call_method0(py, "cancel").map(|_| ()))
    }

    /// A transport tells something to its connection. Where it `swallows` what ends the program, the loop has that from us.
    pub fn visit(
        slf: &Bound<'_, Self>,
        conn: &Bound<'_, Conn>,
        swallows: bool,
        work: impl FnOnce(&Bound<'_, Conn>) -> PyResult<()>,
    ) -> PyResult<()> {
        let this = slf.get();
        if this.is_forked() {
            return Ok(());
        }
        let outcome = {
            let _deeper = Deeper::new(&this.depth);
            let done = this.busy_with(conn, conn.get().token(), work);
            let outcome = Self::handle(slf, conn, done);
            // Also with what ends the program on its way: what was sent leaves.
            let flushed = Self::flush(slf);
            outcome.and(flushed).and(Self::leave_soon(slf))
        };
        let Err(error) = outcome else { return Ok(()) };
        if !swallows {
            return Err(error);
        }
        let raise = slf.getattr("_raise")?;
        this.event_loop.bind(slf.py()).call_method1("call_soon", (raise, error.value(slf.py()))).map(|_| ())
    }

    fn dispatch(slf: &Bound<'_, Self>, direct: Option<Token>) -> PyResult<()> {
        let this = slf.get();
        let start = clock::monotonic();
        this.owes_turn.set(false);
        this.verdict.set(Verdict::Silent);
        let mut outcome = match direct {
            Some(token) => Self::look_at_one(slf, token, start),
            None => Self::look(slf, start, false).map(|_| ()),
        };
        if outcome.is_ok() && this.verdict.get() != Verdict::Silent && this.may_step() {
            outcome = Self::spin(slf, start);
        }
        outcome.and(Self::leave_soon(slf)).and(Self::go_direct(slf))
    }

    /// Lets a connection work. A panic, which would be a fault of ours, costs that connection and nothing else.
    fn busy_with(
        &self,
        conn: &Bound<'_, Conn>,
        token: Option<Token>,
        work: impl FnOnce(&Bound<'_, Conn>) -> PyResult<()>,
    ) -> PyResult<()> {
        let before = self.current.replace(token);
        // What a panic leaves behind is not looked at again: the connection is given up.
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| work(conn)));
        self.current.set(before);
        outcome.unwrap_or_else(|panic| Conn::on_panic(conn, panic.as_ref()))
    }

    /// Runs the timers that are due, as many as a turn has time for: the moments of thousands of connections that were
    /// opened together come together.
    fn run_timers(slf: &Bound<'_, Self>) -> PyResult<()> {
        let this = slf.get();
        let start = clock::monotonic();
        // One look at the timers: a moment that is set meanwhile, and is past, is for the next turn.
        let due = {
            let mut state = this.state.borrow_mut();
            state.armed = None;
            state.take_due(start)
        };
        let (mut outcome, mut late) = (Ok(()), false);
        for (at, token) in due {
            if outcome.is_err() || late {
                // The others keep their moment, for the next turn; if what ends the program leaves one.
                this.set_deadline(token, Some(at));
            } else if let Some(conn) = this.connection(slf.py(), token) {
                let done = this.busy_with(&conn, Some(token), |conn| Conn::on_timer(conn, start - at));
                outcome = Self::handle(slf, &conn, done);
                late = clock::monotonic() - start > DISPATCH_BUDGET;
            }
        }
        this.state.borrow_mut().arm();
        outcome.and(Self::settle_timer(slf))
    }

    fn take_mail(slf: &Bound<'_, Self>) -> PyResult<()> {
        let this = slf.get();
        let mail = std::mem::take(&mut this.state.borrow_mut().mail);
        let mut outcome = Ok(());
        for item in mail {
            if outcome.is_err() {
                // What ends the program is on its way: the others keep what was brought to them.
                Self::post(slf, item);
                continue;
            }
            match item {
                Mail::Worked(conn, direction, done) => {
                    let conn = conn.into_bound(slf.py());
                    let done = this.busy_with(&conn, conn.get().token(), |conn| match done {
                        Ok(done) => Conn::on_worked(conn, direction, done),
                        Err(panic) => Conn::on_panic(conn, panic.as_ref()),
                    });
                    outcome = Self::handle(slf, &conn, done);
                }
            }
        }
        outcome
    }

    /// An exception of one connection never skips the others; those that end the program pass, since all state is
    /// consistent and what was not looked at stays ready.
    fn handle(slf: &Bound<'_, Self>, conn: &Bound<'_, Conn>, outcome: PyResult<()>) -> PyResult<()> {
        let py = slf.py();
        let Err(error) = outcome else { return Ok(()) };
        if ends_program(py, &error) {
            // What the connection had left to do, it does in the next turn, if the loop has one.
            if let Some(token) = conn.get().token() {
                let _ = Self::run_soon(slf, token);
            }
            return Err(error);
        }
        Self::report(slf, conn, "exception in a fastws connection", &error)
    }

    /// Tells the loop's exception handler of an error that nobody may be there to catch.
    pub fn report(slf: &Bound<'_, Self>, conn: &Bound<'_, Conn>, text: &str, error: &PyErr) -> PyResult<()> {
        let py = slf.py();
        let context = PyDict::new(py);
        context.set_item("message", text)?;
        context.set_item("exception", error.value(py))?;
        context.set_item("connection", conn)?;
        slf.get().event_loop.bind(py).call_method1("call_exception_handler", (context,)).map(|_| ())
    }

    fn connection<'py>(&self, py: Python<'py>, token: Token) -> Option<Bound<'py, Conn>> {
        let mut state = self.state.borrow_mut();
        let entry = state.entry(token)?;
        if let Some(conn) = &entry.strong {
            return Some(conn.bind(py).clone());
        }
        entry.weak.as_ref()?.bind(py).upgrade()?.cast_into::<Conn>().ok()
    }
}

/// Something of which more than one may be on the stack.
pub struct Deeper<'a>(&'a Cell<u32>);

impl<'a> Deeper<'a> {
    fn new(depth: &'a Cell<u32>) -> Self {
        depth.set(depth.get() + 1);
        Self(depth)
    }
}

impl Drop for Deeper<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

#[pymethods]
impl Hub {
    fn _on_ready(slf: &Bound<'_, Self>) -> PyResult<()> {
        let this = slf.get();
        if this.is_forked() {
            return Err(PyRuntimeError::new_err("this event loop belongs to the parent process"));
        }
        let _deeper = Deeper::new(&this.depth);
        Self::dispatch(slf, None)
    }

    fn _on_direct(slf: &Bound<'_, Self>) -> PyResult<()> {
        if slf.get().is_forked() {
            return Err(PyRuntimeError::new_err("this event loop belongs to the parent process"));
        }
        Self::on_direct(slf)
    }

    // A forked child that goes on in its parent's loop shares the sockets and the set with it: it touches neither.
    fn _on_turn_end(slf: &Bound<'_, Self>) -> PyResult<()> {
        if slf.get().is_forked() {
            return Ok(());
        }
        Self::end_turn(slf)
    }

    fn _on_empty(slf: &Bound<'_, Self>) -> PyResult<()> {
        if slf.get().is_forked() {
            return Ok(());
        }
        slf.get().leave_scheduled.set(false);
        slf.get().leave_if_empty(slf.py())
    }

    fn _on_soon(slf: &Bound<'_, Self>) -> PyResult<()> {
        if slf.get().is_forked() {
            return Ok(());
        }
        Self::give_turns(slf)
    }

    fn _on_timer(slf: &Bound<'_, Self>) -> PyResult<()> {
        let this = slf.get();
        if this.is_forked() {
            return Ok(());
        }
        drop(this.timer.take());
        let _deeper = Deeper::new(&this.depth);
        let outcome = Self::run_timers(slf);
        let flushed = Self::flush(slf);
        outcome.and(flushed).and(Self::leave_soon(slf))
    }

    #[staticmethod]
    fn _raise(error: Bound<'_, PyAny>) -> PyResult<()> {
        Err(PyErr::from_value(error))
    }

    fn _on_mail(slf: &Bound<'_, Self>) -> PyResult<()> {
        let this = slf.get();
        if this.is_forked() {
            return Ok(());
        }
        let _deeper = Deeper::new(&this.depth);
        let outcome = Self::take_mail(slf);
        let flushed = Self::flush(slf);
        outcome.and(flushed).and(Self::leave_soon(slf))
    }

    /// Connections that are registered.
    fn __len__(&self) -> usize {
        self.state.borrow().live
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.event_loop)?;
        visit.call(&self.get_loop)?;
        if let Some(future) = self.done.get() {
            visit.call(future)?;
        }
        if let Ok(turn_end) = self.turn_end.try_borrow()
            && let Some(method) = &*turn_end
        {
            visit.call(method)?;
        }
        if let Ok(timer) = self.timer.try_borrow()
            && let Some(handle) = &*timer
        {
            visit.call(handle)?;
        }
        if let Ok(state) = self.state.try_borrow() {
            for entry in &state.entries {
                if let Some(conn) = &entry.strong {
                    visit.call(conn)?;
                }
            }
            for Mail::Worked(conn, ..) in &state.mail {
                visit.call(conn)?;
            }
        }
        Ok(())
    }

    fn __clear__(&self) {
        let gone = self.state.try_borrow_mut().map(|mut state| {
            let strong: Vec<_> = state.entries.iter_mut().filter_map(|entry| entry.strong.take()).collect();
            (strong, std::mem::take(&mut state.mail))
        });
        drop(gone);
        drop(self.turn_end.take());
        drop(self.timer.take());
    }
}
