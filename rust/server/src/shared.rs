//! What the threads of a server share.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use fastws_core::Nanos;

use crate::clock;
use crate::config::ServerConfig;
use crate::feed::Feed;
use crate::path::{self, path_of};
use crate::report::{Counters, Logs};
use crate::step::{Refusal, Step, with_faults};
use crate::venue::Venue;

/// Everything but the connections themselves.
pub(crate) struct Shared {
    pub(crate) config: ServerConfig,
    pub(crate) tls: Option<Arc<rustls::ServerConfig>>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) logs: Logs,
    pub(crate) stopping: AtomicBool,
    pub(crate) watch: Watch,
    feeds: Mutex<HashMap<String, Arc<Feed>>>,
    scripts: Mutex<HashMap<String, VecDeque<Script>>>,
    venues: Mutex<HashMap<String, Arc<Venue>>>,
    /// How many requests each fault rule has seen that fit its path.
    seen: Vec<AtomicU64>,
}

/// A program for a path.
struct Script {
    steps: Vec<Step>,
    /// For so many requests; none: for all.
    times: Option<u64>,
}

impl Shared {
    pub(crate) fn new(config: ServerConfig, tls: Option<Arc<rustls::ServerConfig>>) -> Self {
        Self {
            seen: config.faults.iter().map(|_| AtomicU64::new(0)).collect(),
            config,
            tls,
            counters: Arc::default(),
            logs: Logs::default(),
            stopping: AtomicBool::new(false),
            watch: Watch::default(),
            feeds: Mutex::default(),
            scripts: Mutex::default(),
            venues: Mutex::default(),
        }
    }

    pub(crate) fn timeout(&self) -> Nanos {
        clock::nanos(self.config.timeout)
    }

    /// The program of a request that came in the turn that began at `now`: what it waits for is counted from there.
    pub(crate) fn program(&self, target: &str, now: Nanos) -> Vec<Step> {
        let path = path_of(target);
        let refusal = |(status, reason): (u16, String)| {
            vec![Step::Refuse(Refusal { status, headers: Vec::new(), body: reason.into_bytes() })]
        };
        let steps = match (self.script(path), self.venue(path)) {
            (Some(steps), _) => steps,
            (None, Some(venue)) => venue.admit(path, now),
            (None, None) => path::program(target).unwrap_or_else(refusal),
        };
        let missing = steps.iter().find_map(|step| match step {
            Step::Replay(_, replay) => self.feed(&replay.name).is_none().then(|| replay.name.clone()),
            _ => None,
        });
        if let Some(name) = missing {
            return refusal((404, format!("no feed is called {name:?}\n")));
        }
        let mut faults = Vec::new();
        for (rule, seen) in self.config.faults.iter().zip(&self.seen) {
            if rule.path.as_ref().is_none_or(|wanted| wanted == path) {
                let number = seen.fetch_add(1, Ordering::Relaxed);
                if rule.connections.contains(&number) {
                    faults.push((rule.at, rule.steps.clone()));
                }
            }
        }
        with_faults(steps, faults)
    }

    pub(crate) fn add_script(&self, path: String, steps: Vec<Step>, times: Option<u64>) {
        lock(&self.scripts).entry(path).or_default().push_back(Script { steps, times });
    }

    pub(crate) fn clear_scripts(&self) {
        lock(&self.scripts).clear();
    }

    fn script(&self, path: &str) -> Option<Vec<Step>> {
        let mut scripts = lock(&self.scripts);
        let queue = scripts.get_mut(path)?;
        while queue.front().is_some_and(|script| script.times == Some(0)) {
            queue.pop_front();
        }
        let script = queue.front_mut()?;
        if let Some(left) = &mut script.times {
            *left -= 1;
        }
        Some(script.steps.clone())
    }

    /// Adds a venue; one at that path is replaced, for connections to come.
    pub(crate) fn add_venue(&self, path: String, venue: Arc<Venue>) {
        lock(&self.venues).insert(path, venue);
    }

    pub(crate) fn venue(&self, path: &str) -> Option<Arc<Venue>> {
        lock(&self.venues).get(path).cloned()
    }

    pub(crate) fn add_feed(&self, name: String, feed: Feed) {
        lock(&self.feeds).insert(name, Arc::new(feed));
    }

    pub(crate) fn feed(&self, name: &str) -> Option<Arc<Feed>> {
        lock(&self.feeds).get(name).cloned()
    }

    pub(crate) fn feed_names(&self) -> Vec<String> {
        let mut names: Vec<_> = lock(&self.feeds).keys().cloned().collect();
        names.sort();
        names
    }
}

/// Lets callers wait until something they can see has changed.
#[derive(Default)]
pub(crate) struct Watch {
    watchers: AtomicUsize,
    changes: Mutex<u64>,
    changed: Condvar,
}

impl Watch {
    /// A turn is over: something may have changed.
    #[inline]
    pub(crate) fn touch(&self) {
        if self.watchers.load(Ordering::SeqCst) > 0 {
            *lock(&self.changes) += 1;
            self.changed.notify_all();
        }
    }

    /// Waits until `done` or until the time is over; what `done` said last.
    pub(crate) fn wait(&self, timeout: Duration, mut done: impl FnMut() -> bool) -> bool {
        let deadline = Instant::now() + timeout;
        self.watchers.fetch_add(1, Ordering::SeqCst);
        let mut outcome;
        loop {
            let seen = *lock(&self.changes);
            outcome = done();
            let left = deadline.saturating_duration_since(Instant::now());
            if outcome || left.is_zero() {
                break;
            }
            let changes = lock(&self.changes);
            let waited = self.changed.wait_timeout_while(changes, left, |changes| *changes == seen);
            drop(waited);
        }
        self.watchers.fetch_sub(1, Ordering::SeqCst);
        outcome
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
