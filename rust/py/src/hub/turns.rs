//! The turns of the loop: what is done at the end of one, what waits for the next, and when the loop is left.

use std::cell::Cell;

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyString;

use super::look::DISPATCH_BUDGET;
use super::{Deeper, Hub, Token};
use crate::clock;
use crate::conn::Conn;

/// What the last turns were like, at whose end the loop called us. To be called costs more than all that fastws does to send
/// a small message, and is in vain where nothing is sent in a turn after its first send: after some such turns the next
/// sends leave without it.
#[derive(Default)]
pub(super) struct Lone {
    /// Turns in a row in which no connection sent twice.
    turns: Cell<u32>,
    /// Sends that leave without a call at the end of their turn.
    credit: Cell<u32>,
}

impl Lone {
    fn ended(&self, is_lone: bool) {
        let turns = if is_lone { self.turns.get().saturating_add(1) } else { 0 };
        self.turns.set(turns);
        self.credit.set(match turns {
            0..LONE_TURNS => 0,
            _ => (turns - LONE_TURNS + 1).min(MAX_CREDIT),
        });
    }
}

impl Hub {
    /// Whether the end of this turn is learnt of, or is to be: what is sent in it from now on waits for that.
    #[inline]
    pub fn awaits_turn_end(&self) -> bool {
        if self.depth.get() > 0 || self.turn_end_scheduled.get() {
            return true;
        }
        let credit = self.lone.credit.get();
        self.lone.credit.set(credit.saturating_sub(1));
        credit == 0
    }

    /// The turn ends.
    pub(super) fn end_turn(slf: &Bound<'_, Self>) -> PyResult<()> {
        let this = slf.get();
        this.turn_end_scheduled.set(false);
        let is_lone = this.state.borrow().flush.is_empty();
        this.lone.ended(is_lone);
        Self::flush(slf)
    }

    /// Wants the connection flushed at the end of this turn. The loop is asked also while we dispatch, which ends with a
    /// flush: what is called may run a loop inside of itself, and wait for the answer.
    pub fn flush_later(slf: &Bound<'_, Self>, token: Token) -> PyResult<()> {
        slf.get().state.borrow_mut().flush.push(token);
        Self::ask_for_turn_end(slf)
    }

    /// Sees to it that the turn is counted when it ends.
    #[inline]
    pub fn mark_turn(slf: &Bound<'_, Self>) -> PyResult<()> {
        if slf.get().depth.get() == 0 { Self::ask_for_turn_end(slf) } else { Ok(()) }
    }

    fn ask_for_turn_end(slf: &Bound<'_, Self>) -> PyResult<()> {
        let this = slf.get();
        if this.turn_end_scheduled.replace(true) {
            return Ok(());
        }
        let outcome = Self::call_at_turn_end(slf);
        if outcome.is_err() {
            this.turn_end_scheduled.set(false);
        }
        outcome
    }

    /// Wants another turn for the connection, without waiting for its descriptor.
    pub fn run_soon(slf: &Bound<'_, Self>, token: Token) -> PyResult<()> {
        let this = slf.get();
        {
            let mut state = this.state.borrow_mut();
            let Some(entry) = state.entry(token) else { return Ok(()) };
            if std::mem::replace(&mut entry.is_soon, true) {
                return Ok(());
            }
            state.soon.push_back(token);
        }
        Self::schedule_soon(slf)
    }

    pub(super) fn schedule_soon(slf: &Bound<'_, Self>) -> PyResult<()> {
        let this = slf.get();
        if this.soon_scheduled.replace(true) {
            return Ok(());
        }
        let outcome = Self::call_soon(slf, intern!(slf.py(), "_on_soon"));
        if outcome.is_err() {
            this.soon_scheduled.set(false);
        }
        outcome
    }

    /// Lets those work that asked for another turn, as far as there is time.
    pub(super) fn give_turns(slf: &Bound<'_, Self>) -> PyResult<()> {
        let this = slf.get();
        this.soon_scheduled.set(false);
        let _deeper = Deeper::new(&this.depth);
        let start = clock::monotonic();
        let asked = this.state.borrow().soon.len();
        let mut outcome = Ok(());
        // Those who ask meanwhile are for the next turn. What is left, as there was no time or as something ends the
        // program, keeps its place.
        for _ in 0..asked {
            let Some(token) = this.next_soon() else { break };
            if let Some(conn) = this.connection(slf.py(), token) {
                let done = this.busy_with(&conn, Some(token), Conn::on_soon);
                outcome = Self::handle(slf, &conn, done);
            }
            if outcome.is_err() || clock::monotonic() - start > DISPATCH_BUDGET {
                break;
            }
        }
        let is_left = !this.state.borrow().soon.is_empty();
        if is_left {
            outcome = outcome.and(Self::schedule_soon(slf));
        }
        let flushed = Self::flush(slf);
        outcome.and(flushed).and(Self::leave_soon(slf))
    }

    pub(super) fn call_at_turn_end(slf: &Bound<'_, Self>) -> PyResult<()> {
        let (py, this) = (slf.py(), slf.get());
        let known = this.turn_end.borrow().as_ref().map(|method| method.bind(py).clone());
        if let Some(method) = known {
            return this.schedule(&method);
        }
        let method = slf.getattr(intern!(py, "_on_turn_end"))?;
        if this.state.borrow().live > 0 {
            this.turn_end.replace(Some(method.clone().unbind()));
        }
        this.schedule(&method)
    }

    pub(super) fn call_soon(slf: &Bound<'_, Self>, method: &Bound<'_, PyString>) -> PyResult<()> {
        slf.get().schedule(&slf.getattr(method)?)
    }

    pub(super) fn schedule(&self, callback: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = callback.py();
        self.event_loop.bind(py).call_method1(intern!(py, "call_soon"), (callback,)).map(|_| ())
    }

    pub(super) fn next_soon(&self) -> Option<Token> {
        let mut state = self.state.borrow_mut();
        let token = state.soon.pop_front()?;
        if let Some(entry) = state.entry(token) {
            entry.is_soon = false;
        }
        Some(token)
    }

    pub(super) fn next_to_flush(&self) -> Option<Token> {
        self.state.borrow_mut().flush.pop()
    }

    pub(super) fn flush(slf: &Bound<'_, Self>) -> PyResult<()> {
        let this = slf.get();
        this.turn.set(this.turn.get() + 1);
        let mut outcome = Ok(());
        while let Some(token) = this.next_to_flush() {
            if let Some(conn) = this.connection(slf.py(), token) {
                let done = this.busy_with(&conn, Some(token), Conn::on_flush);
                // Also with what ends the program on its way: what was sent leaves.
                outcome = outcome.and(Self::handle(slf, &conn, done));
            }
        }
        outcome
    }

    /// Leaves the loop in its next turn if there is no connection then: whoever was told of the end of the last one may
    /// make another.
    pub(super) fn leave_soon(slf: &Bound<'_, Self>) -> PyResult<()> {
        let this = slf.get();
        let is_empty = this.state.borrow().is_idle();
        if !is_empty || this.leave_scheduled.replace(true) {
            return Ok(());
        }
        let outcome = Self::call_soon(slf, intern!(slf.py(), "_on_empty"));
        if outcome.is_err() {
            this.leave_scheduled.set(false);
        }
        outcome
    }

    pub(super) fn leave_if_empty(&self, py: Python<'_>) -> PyResult<()> {
        let fd = {
            let mut state = self.state.borrow_mut();
            if !state.is_idle() {
                return Ok(());
            }
            state.watching = false;
            // Nobody hears of the poller's timer any more.
            (state.armed, state.asked) = (None, None);
            state.poller.fd()
        };
        self.event_loop.bind(py).call_method1("remove_reader", (fd,)).map(|_| ())
    }
}

/// So many turns in a row with single sends, and the loop is asked less often.
const LONE_TURNS: u32 = 8;

/// Sends that leave alone at most where a burst follows single ones.
const MAX_CREDIT: u32 = 7;
