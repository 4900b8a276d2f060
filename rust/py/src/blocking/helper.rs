//! The helper of a blocking connection: a thread that reads while its users compute, so that pings are answered and
//! keepalive is kept. It is off duty while calls wait, and for a while after the last one: in a loop of calls it costs
//! nothing but a look now and then, and takes no part in the race for the interpreter's lock.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::thread::JoinHandle;
use std::time::Duration;

use pyo3::prelude::*;
use pyo3::types::{PyWeakref, PyWeakrefMethods, PyWeakrefReference};

use super::Blocking;
use super::bell::Bell;
use super::sleep::{NOTHING, Plan};
use crate::driver::Phase;
use crate::fork;
use crate::poller::Ready;

/// Without a call that waits for so long, the helper reads. What a peer may demand an answer to is a matter of seconds.
const GRACE: Duration = Duration::from_millis(100);

/// What calls and the helper know of each other.
pub struct Helper {
    over: Mutex<bool>,
    changed: Condvar,
    /// Calls that wait, and how many ever did.
    calls: AtomicU32,
    begun: AtomicU32,
    /// The helper is to be told when the last call ends.
    wants_end: AtomicBool,
    /// There as long as its thread: a connection that is over has no descriptor.
    bell: Mutex<Option<Arc<Bell>>>,
    sleeps: AtomicBool,
    fork: u32,
}

/// A call that waits, as long as this lives.
pub(super) struct Call<'a>(Option<&'a Helper>);

/// What the helper does next.
enum Turn {
    Rest,
    Over,
    Sleep(Plan),
}

/// All helpers, to be ended with the interpreter.
static ALL: Mutex<Vec<Started>> = Mutex::new(Vec::new());

struct Started {
    helper: Weak<Helper>,
    thread: JoinHandle<()>,
    /// The process that it belongs to.
    fork: u32,
}

impl Helper {
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            over: Mutex::new(false),
            changed: Condvar::new(),
            calls: AtomicU32::new(0),
            begun: AtomicU32::new(0),
            wants_end: AtomicBool::new(false),
            bell: Mutex::new(None),
            sleeps: AtomicBool::new(false),
            fork: fork::generation(),
        })
    }

    /// Lets it work for a connection, which it does not keep alive.
    pub fn start(self: &Arc<Self>, conn: &Bound<'_, Blocking>) -> PyResult<()> {
        let py = conn.py();
        watch_exit(py)?;
        let weak = PyWeakrefReference::new(conn)?.unbind();
        let (this, bell) = (Arc::clone(self), Arc::new(Bell::new()?));
        *lock(&self.bell) = Some(Arc::clone(&bell));
        let thread = std::thread::Builder::new().name("fastws-sync".to_owned()).spawn(move || this.run(weak, &bell))?;
        let mut all = lock(&ALL);
        for over in all.extract_if(.., |started| !started.is_ours() || started.thread.is_finished()) {
            drop(over.thread());
        }
        all.push(Started { helper: Arc::downgrade(self), thread, fork: self.fork });
        Ok(())
    }

    /// Ends it. In a forked child there is none.
    pub fn stop(&self) {
        if self.fork == fork::generation() {
            *lock(&self.over) = true;
            self.changed.notify_all();
            self.ring_bell();
        }
    }

    fn ring_bell(&self) {
        if let Some(bell) = &*lock(&self.bell) {
            bell.ring();
        }
    }

    /// Wakes it, if it sleeps on duty: what is waited for has changed.
    pub fn ring(&self) {
        if self.sleeps.load(Ordering::SeqCst) {
            self.ring_bell();
        }
    }

    /// A call begins to wait.
    #[inline]
    pub(super) fn begin(this: Option<&Self>) -> Call<'_> {
        if let Some(helper) = this {
            helper.calls.fetch_add(1, Ordering::SeqCst);
            helper.begun.fetch_add(1, Ordering::SeqCst);
        }
        Call(this)
    }

    fn run(&self, weak: Py<PyWeakrefReference>, bell: &Bell) {
        // Signals are for the main thread, whose calls they interrupt.
        // SAFETY: an all-zero set is valid, and lives through the calls.
        unsafe {
            let mut all: libc::sigset_t = std::mem::zeroed();
            libc::sigfillset(&raw mut all);
            libc::pthread_sigmask(libc::SIG_BLOCK, &raw const all, std::ptr::null_mut());
        }
        while let Some(seen) = self.rest() {
            if !self.work(&weak, bell, seen) {
                break;
            }
        }
        *lock(&self.bell) = None;
        // Without an interpreter there is nothing to give back to.
        let mut weak = Some(weak);
        if Python::try_attach(|_| drop(weak.take())).is_none() {
            std::mem::forget(weak);
        }
    }

    /// Off duty until no call has waited for a while; returns how many ever did. None: it is over.
    fn rest(&self) -> Option<u32> {
        let mut over = lock(&self.over);
        while !*over {
            if self.calls.load(Ordering::SeqCst) > 0 {
                self.wants_end.store(true, Ordering::SeqCst);
                if self.calls.load(Ordering::SeqCst) > 0 {
                    over = self.changed.wait(over).unwrap_or_else(PoisonError::into_inner);
                }
                continue;
            }
            let seen = self.begun.load(Ordering::SeqCst);
            over = self.changed.wait_timeout(over, GRACE).unwrap_or_else(PoisonError::into_inner).0;
            if !*over && !self.is_relieved(seen) {
                return Some(seen);
            }
        }
        None
    }

    /// Whether a call waits, or has since.
    fn is_relieved(&self, seen: u32) -> bool {
        self.calls.load(Ordering::SeqCst) > 0 || self.begun.load(Ordering::SeqCst) != seen
    }

    /// On duty until a call waits. False: it is over.
    fn work(&self, weak: &Py<PyWeakrefReference>, bell: &Bell, seen: u32) -> bool {
        let mut ready = NOTHING;
        loop {
            let turn = Python::try_attach(|py| self.turn(weak.bind(py), seen, ready));
            match turn {
                None | Some(Turn::Over) => return false,
                Some(Turn::Rest) => return true,
                Some(Turn::Sleep(plan)) => ready = plan.sleep(bell),
            }
            self.sleeps.store(false, Ordering::SeqCst);
            if *lock(&self.over) {
                return false;
            }
            // Before the interpreter's lock is asked for: a call may want it now.
            if self.is_relieved(seen) {
                return true;
            }
        }
    }

    fn turn(&self, weak: &Bound<'_, PyWeakrefReference>, seen: u32, ready: Ready) -> Turn {
        let py = weak.py();
        let Ok(Ok(Some(conn))) = weak.as_any().cast::<PyWeakref>().map(PyWeakrefMethods::upgrade_as::<Blocking>) else {
            return Turn::Over;
        };
        if self.is_relieved(seen) {
            return Turn::Rest;
        }
        let worked = Blocking::work(&conn, ready).and_then(|()| conn.get().inner.borrow_mut().settle(py));
        if let Err(error) = worked {
            // Of memory, or of a callback of the user's on a ping: the next turn goes on.
            error.write_unraisable(py, Some(&conn));
            return Turn::Rest;
        }
        if conn.get().inner.borrow().phase == Phase::Closed {
            return Turn::Over;
        }
        let plan = conn.get().plan(None);
        self.sleeps.store(true, Ordering::SeqCst);
        if conn.get().has_more() { Turn::Sleep(Plan { until: Some(0), ..plan }) } else { Turn::Sleep(plan) }
    }
}

impl Started {
    fn is_ours(&self) -> bool {
        self.fork == fork::generation()
    }

    /// Its thread, if it is of this process. Another's is not even to be dropped: that detaches a thread by its number,
    /// which one of ours may have.
    fn thread(self) -> Option<JoinHandle<()>> {
        if self.is_ours() {
            return Some(self.thread);
        }
        std::mem::forget(self.thread);
        None
    }
}

impl Drop for Call<'_> {
    #[inline]
    fn drop(&mut self) {
        if let Some(helper) = self.0
            && helper.calls.fetch_sub(1, Ordering::SeqCst) == 1
            && helper.wants_end.load(Ordering::SeqCst)
        {
            helper.wants_end.store(false, Ordering::SeqCst);
            // It waits, or has not looked at the calls yet.
            drop(lock(&helper.over));
            helper.changed.notify_all();
        }
    }
}

/// Ends all helpers before the interpreter does: a thread that wants its lock then would hang.
#[pyfunction]
#[pyo3(name = "_end_helpers")]
pub fn end_helpers(py: Python<'_>) {
    let all = std::mem::take(&mut *lock(&ALL));
    for helper in all.iter().filter_map(|started| started.helper.upgrade()) {
        helper.stop();
    }
    for thread in all.into_iter().filter_map(Started::thread) {
        // One that cannot be joined does not keep the others.
        let join = std::panic::AssertUnwindSafe(|| thread.join());
        let _ = py.detach(|| std::panic::catch_unwind(join));
    }
}

/// Has the helpers ended at exit, from the first one on.
fn watch_exit(py: Python<'_>) -> PyResult<()> {
    static WATCHED: pyo3::sync::PyOnceLock<()> = pyo3::sync::PyOnceLock::new();
    WATCHED.get_or_try_init(py, || {
        let end = pyo3::wrap_pyfunction!(end_helpers, py)?;
        py.import("atexit")?.call_method1("register", (end,)).map(|_| ())
    })?;
    Ok(())
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
