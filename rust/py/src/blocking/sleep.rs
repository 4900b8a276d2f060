//! How a call of a blocking connection sleeps: in poll(2), without the interpreter's lock, until the socket is ready,
//! another thread rings, a signal comes, or the time is over.

use std::cell::Cell;
use std::os::fd::RawFd;
use std::sync::{Arc, OnceLock};

use fastws_core::Nanos;
use pyo3::prelude::*;

use super::Blocking;
use super::bell::{self, Bell};
use crate::clock;
use crate::poller::Ready;

/// What to sleep for.
#[derive(Clone, Copy)]
pub(super) struct Plan {
    /// The socket, or -1.
    pub fd: RawFd,
    pub events: libc::c_short,
    /// When to wake up anyhow.
    pub until: Option<Nanos>,
}

impl Plan {
    /// Sleeps. A signal ends it too: then nothing is ready.
    pub fn sleep(&self, bell: &Bell) -> Ready {
        let left = self.until.map(|until| until.saturating_sub(clock::monotonic()));
        self.poll(bell, left).unwrap_or(NOTHING)
    }

    /// What is ready, looked for again and again for so long: the thread's core is busy meanwhile.
    fn look(&self, bell: &Bell, time: Nanos) -> Option<Ready> {
        let start = clock::monotonic();
        loop {
            if let Some(ready) = self.poll(bell, Some(0)) {
                return Some(ready);
            }
            let now = clock::monotonic();
            if now - start >= time || self.until.is_some_and(|until| now >= until) {
                return None;
            }
        }
    }

    /// What is ready, once something is; who rang, or that nothing is within the time, is nothing.
    fn poll(&self, bell: &Bell, left: Option<Nanos>) -> Option<Ready> {
        let mut fds = [
            libc::pollfd { fd: bell.fd(), events: libc::POLLIN, revents: 0 },
            libc::pollfd { fd: self.fd, events: self.events, revents: 0 },
        ];
        if !poll(&mut fds, left) {
            return None;
        }
        if fds[0].revents != 0 {
            bell.quiet();
        }
        let got = fds[1].revents;
        Some(Ready {
            token: 0,
            read: got & libc::POLLIN != 0,
            write: got & libc::POLLOUT != 0,
            hangup: got & (HANGUP | libc::POLLERR | libc::POLLHUP) != 0,
        })
    }
}

/// Whether it is worth a look before going to sleep: to sleep and to be woken takes longer than some answers do.
///
/// Where the last wait was over in a moment, as with a peer on this machine, the next one first looks for a moment. Where
/// that was in vain, the ones after it do not: one at first, then twice as many each time, until a look finds something.
#[derive(Default)]
pub(super) struct Hunch {
    was_short: Cell<bool>,
    /// Waits that do not look, as looking was in vain, and how many those were the last time.
    skips: Cell<u32>,
    skipped: Cell<u32>,
}

impl Hunch {
    /// How long to look.
    fn time(&self) -> Option<Nanos> {
        if !self.was_short.get() {
            return None;
        }
        let skips = self.skips.get();
        self.skips.set(skips.saturating_sub(1));
        (skips == 0).then_some(LOOK)
    }

    fn waited(&self, time: Nanos, looked: bool, found: bool) {
        self.was_short.set(time < SHORT);
        if looked {
            let skips = if found { 0 } else { (2 * self.skipped.get() + 1).min(MOST_SKIPS) };
            self.skips.set(skips);
            self.skipped.set(skips);
        }
    }
}

/// A wait that short, with its waking, may have had an answer that came within a look.
const SHORT: Nanos = 200_000;

/// How long to look for the next.
const LOOK: Nanos = 50_000;

/// Waits without a look, at most, after looks in vain.
const MOST_SKIPS: u32 = 15;

impl Blocking {
    /// Sleeps as `plan` says, with the interpreter's lock let go; others can ring.
    pub(super) fn sleep(&self, py: Python<'_>, plan: Plan) -> PyResult<Ready> {
        let bell = bell::own()?;
        self.sleepers.borrow_mut().push(Arc::clone(&bell));
        let is_reading = self.receiving.get();
        let look = match &self.settings.busy_poll {
            Some(poll) => Some(poll.idle),
            None if is_reading && has_cores() => self.hunch.time(),
            None => None,
        };
        let (ready, time, found) = py.detach(|| {
            let start = clock::monotonic();
            let found = look.and_then(|time| plan.look(&bell, time));
            let ready = found.unwrap_or_else(|| plan.sleep(&bell));
            (ready, clock::monotonic() - start, found.is_some())
        });
        if is_reading {
            self.hunch.waited(time, look.is_some(), found);
        }
        let mut sleepers = self.sleepers.borrow_mut();
        if let Some(at) = sleepers.iter().position(|known| Arc::ptr_eq(known, &bell)) {
            sleepers.swap_remove(at);
        }
        Ok(ready)
    }

    /// Wakes the other calls that sleep: something has changed.
    pub(super) fn ring_calls(&self) {
        for bell in &*self.sleepers.borrow() {
            bell.ring();
        }
    }

    /// The same, and the helper: what is waited for has changed.
    pub(super) fn ring_all(&self) {
        self.ring_calls();
        if let Some(helper) = &self.helper {
            helper.ring();
        }
    }

    /// What to sleep for now.
    pub(super) fn plan(&self, deadline: Option<Nanos>) -> Plan {
        let inner = self.inner.borrow();
        let wanted = inner.wanted();
        let events = if wanted.read { libc::POLLIN | HANGUP } else { 0 } | if wanted.write { libc::POLLOUT } else { 0 };
        let until = match (inner.core.deadline(), deadline) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        // An end is told by poll(2) whether or not it is asked for; one that has to wait would be told again and again.
        let is_late = inner.is_ending && inner.paused.is_some();
        Plan { fd: if is_late { -1 } else { inner.fd }, events, until }
    }
}

/// Whether something is ready. An interruption is none.
#[cfg(target_os = "linux")]
fn poll(fds: &mut [libc::pollfd], left: Option<Nanos>) -> bool {
    let time = left.map(|left| libc::timespec {
        tv_sec: (left / 1_000_000_000).min(MOST_SECONDS) as libc::time_t,
        tv_nsec: (left % 1_000_000_000) as _,
    });
    let time = time.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
    // SAFETY: the descriptors and the time live through the call; the signal mask stays as it is.
    unsafe { libc::ppoll(fds.as_mut_ptr(), fds.len() as libc::nfds_t, time, std::ptr::null()) > 0 }
}

/// Whether something is ready. An interruption is none.
#[cfg(not(target_os = "linux"))]
fn poll(fds: &mut [libc::pollfd], left: Option<Nanos>) -> bool {
    let time = left.map_or(-1, |left| left.div_ceil(1_000_000).min(MOST_SECONDS * 1000) as libc::c_int);
    // SAFETY: the descriptors live through the call.
    unsafe { libc::poll(fds.as_mut_ptr(), fds.len() as libc::nfds_t, time) > 0 }
}

/// Whether a peer on this machine can work while we look: how many cores the machine has, not how many this process may
/// use, since one that is bound to a core of its own is bound there to be fast. A peer on the same core is not lost: looks
/// in vain become rare.
fn has_cores() -> bool {
    static MANY: OnceLock<bool> = OnceLock::new();
    // SAFETY: a plain call.
    *MANY.get_or_init(|| unsafe { libc::sysconf(libc::_SC_NPROCESSORS_ONLN) } > 1)
}

/// Nothing is ready.
pub(super) const NOTHING: Ready = Ready { token: 0, read: false, write: false, hangup: false };

/// A sleep that long is begun anew.
const MOST_SECONDS: u64 = 1_000_000;

/// The peer ended its half, where poll(2) tells so: worth a read even where none is wanted, as by the hub's poller.
#[cfg(target_os = "linux")]
const HANGUP: libc::c_short = libc::POLLRDHUP;
#[cfg(not(target_os = "linux"))]
const HANGUP: libc::c_short = 0;
