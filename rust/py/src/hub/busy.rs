//! Busy polling: after a message was handled the hub looks again at once, for a while, before the loop may sleep.
//!
//! One spinner a loop, over all its connections. It ends when nothing came for `idle`, when the call has taken `most`
//! (timers, other sockets and other tasks wait that long), when a consumer did not come back for more, when somebody else
//! was woken, and when the connection pauses or closes.

use fastws_core::Nanos;
use pyo3::prelude::*;

use super::Hub;
use crate::clock;
use crate::conn::Conn;

/// A connection's wish to be polled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BusyPoll {
    /// Time without a message after which it ends.
    pub idle: Nanos,
    /// Time that one call of the loop's may take.
    pub most: Nanos,
}

/// What the connections whose messages were taken in a look at the sockets make of the next one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Verdict {
    /// None that is polled had a message taken.
    #[default]
    Silent,
    /// Their consumers came back for more.
    Again(BusyPoll),
    /// One did not: the loop has something to do.
    Enough,
}

impl Verdict {
    pub fn and(self, busy: BusyPoll, came_back: bool) -> Self {
        match self {
            _ if !came_back => Self::Enough,
            Self::Enough => Self::Enough,
            Self::Silent => Self::Again(busy),
            Self::Again(other) => {
                Self::Again(BusyPoll { idle: busy.idle.max(other.idle), most: busy.most.min(other.most) })
            }
        }
    }
}

impl Hub {
    /// A connection worked; before, so many of its messages had been taken.
    #[inline]
    pub(super) fn judge(&self, conn: &Conn, before: u64) {
        if let Some(busy) = conn.busy_poll()
            && conn.taken_if_polled() != before
        {
            self.verdict.set(self.verdict.get().and(busy, conn.wants_more()));
        }
    }

    /// Somebody was woken who goes on in the loop's next turn only.
    #[inline]
    pub fn owe_a_turn(&self) {
        self.owes_turn.set(true);
    }

    /// Looks again until it is enough. `start` is when the loop called.
    pub(super) fn spin(slf: &Bound<'_, Self>, start: Nanos) -> PyResult<()> {
        let this = slf.get();
        let Verdict::Again(mut busy) = this.verdict.take() else { return Ok(()) };
        let mut now = clock::monotonic();
        let mut heard = now;
        while !this.owes_turn.get()
            && !this.soon_scheduled.get()
            && now - heard <= busy.idle
            && now - start <= busy.most
        {
            if Self::look(slf, now, true)? {
                match this.verdict.take() {
                    Verdict::Again(next) => (busy, heard) = (next, clock::monotonic()),
                    Verdict::Enough => return Ok(()),
                    Verdict::Silent => {}
                }
            }
            std::hint::spin_loop();
            now = clock::monotonic();
        }
        Ok(())
    }
}
