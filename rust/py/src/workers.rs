//! Threads for what takes too long for a loop's: a wire extension's work on large frames. A process has a few of them,
//! made when they are needed; they end when nothing comes for a while, and nobody waits for them at its end.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicPtr, Ordering};
use std::sync::{Condvar, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use crate::fork;

/// Does not panic.
pub(crate) type Task = Box<dyn FnOnce() + Send>;

/// More would not be faster: the work is memory and arithmetic. Connections share them, so that a thousand that take
/// large frames do not make a thousand threads.
const MOST_THREADS: usize = 4;

/// A thread that had nothing to do for so long ends.
const IDLE: Duration = Duration::from_secs(2);

/// Has `task` done by another thread, soon. Where not even one can be made, the task comes back.
pub(crate) fn submit(task: Task) -> Result<(), Task> {
    Crew::of_this_process().submit(task)
}

/// The threads of one process.
struct Crew {
    generation: u32,
    state: Mutex<State>,
    is_wanted: Condvar,
}

#[derive(Default)]
struct State {
    tasks: VecDeque<Task>,
    threads: usize,
    /// Of them, those that wait for a task.
    idle: usize,
}

impl Crew {
    /// A forked child has none of its parent's threads, and maybe a lock that one of them held: it begins anew, and what
    /// it had from its parent is left alone.
    fn of_this_process() -> &'static Self {
        static CREW: AtomicPtr<Crew> = AtomicPtr::new(std::ptr::null_mut());
        let known = CREW.load(Ordering::Acquire);
        // SAFETY: null, or from a box that is never freed.
        if let Some(crew) = unsafe { known.as_ref() }
            && crew.generation == fork::generation()
        {
            return crew;
        }
        let made = Box::into_raw(Box::new(Self {
            generation: fork::generation(),
            state: Mutex::default(),
            is_wanted: Condvar::new(),
        }));
        let outcome = CREW.compare_exchange(known, made, Ordering::AcqRel, Ordering::Acquire);
        // SAFETY: as above; another thread may have been the first.
        unsafe { &*outcome.err().unwrap_or(made) }
    }

    fn submit(&'static self, task: Task) -> Result<(), Task> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.idle <= state.tasks.len() && state.threads < most_threads() {
            let thread = std::thread::Builder::new().name("fastws-work".to_owned());
            if thread.spawn(|| self.work()).is_ok() {
                state.threads += 1;
            } else if state.threads == 0 {
                return Err(task);
            }
        }
        state.tasks.push_back(task);
        drop(state);
        self.is_wanted.notify_one();
        Ok(())
    }

    /// What a thread does.
    fn work(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(task) = state.tasks.pop_front() {
                drop(state);
                task();
                state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            state.idle += 1;
            let waited = self.is_wanted.wait_timeout_while(state, IDLE, |state| state.tasks.is_empty());
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
            state.idle -= 1;
            if state.tasks.is_empty() {
                state.threads -= 1;
                return;
            }
        }
    }
}

/// As many as there are cores, up to a few.
fn most_threads() -> usize {
    static MOST: OnceLock<usize> = OnceLock::new();
    *MOST.get_or_init(|| std::thread::available_parallelism().map_or(1, usize::from).min(MOST_THREADS))
}
