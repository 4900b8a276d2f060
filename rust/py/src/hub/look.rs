//! One look at the sockets: who is ready works, and what was sent leaves.

use fastws_core::Nanos;
use pyo3::prelude::*;

use super::Hub;
use super::registry::Token;
use crate::clock;
use crate::conn::Conn;
use crate::poller::{Ready, TIMER, WAKE};

/// Time after which a dispatch returns to the loop; what is ready stays so.
pub(super) const DISPATCH_BUDGET: Nanos = 4_000_000;

impl Hub {
    /// Lets those connections work that are ready, and writes what they sent. True: there was one, or a timer. With
    /// `again` this is one look of many: the poller is asked only where it would tell more than reading does.
    pub(super) fn look(slf: &Bound<'_, Self>, now: Nanos, again: bool) -> PyResult<bool> {
        // What the loop watches by itself is not why it woke us.
        let alone =
            if again || slf.get().state.borrow().direct().is_none() { Self::read_alone(slf, now) } else { Ok(None) };
        let found = match alone {
            Ok(Some(found)) if found || again => Ok(found),
            Ok(_) => Self::look_at_all(slf, now),
            Err(error) => Err(error),
        };
        // Also with what ends the program on its way: what was sent leaves.
        let flushed = if matches!(found, Ok(false)) && again { Ok(()) } else { Self::flush(slf) };
        found.and_then(|found| flushed.map(|()| found))
    }

    /// The same where the loop itself says which one is ready.
    pub(super) fn look_at_one(slf: &Bound<'_, Self>, token: Token, now: Nanos) -> PyResult<()> {
        let event = Ready { token: token.key(), read: true, write: false, hangup: false };
        let found = Self::run_one(slf, event, now);
        let flushed = Self::flush(slf);
        found.and(flushed)
    }

    fn look_at_all(slf: &Bound<'_, Self>, start: Nanos) -> PyResult<bool> {
        let this = slf.get();
        let ready = this.state.borrow_mut().poll()?;
        let found = !ready.is_empty();
        let mut left = ready.len();
        let (mut now, mut works, mut late) = (start, false, false);
        let mut outcome = Ok(());
        for event in &ready {
            let event = *event;
            left -= 1;
            if outcome.is_err() {
                // What ends the program is on its way: the others keep what they were told.
                this.state.borrow_mut().give_back(event);
                continue;
            }
            outcome = match event.token {
                TIMER => Self::run_timers(slf),
                WAKE => Self::take_mail(slf),
                _ if late => {
                    this.state.borrow_mut().put_off(event);
                    Ok(())
                }
                _ => {
                    works = true;
                    Self::run_one(slf, event, now)
                }
            };
            if left > 0 {
                now = clock::monotonic();
                late |= works && now - start > DISPATCH_BUDGET;
            }
        }
        this.state.borrow_mut().ready = ready;
        outcome.map(|()| found)
    }

    /// Where there is one connection, and a wake-up is for its input as good as always, this reads without asking the
    /// poller first: a system call less for each message. False: nothing was there to read. None: the poller is to be asked.
    fn read_alone(slf: &Bound<'_, Self>, now: Nanos) -> PyResult<Option<bool>> {
        let this = slf.get();
        let Some(token) = this.state.borrow_mut().guess(now) else { return Ok(None) };
        let Some(conn) = this.connection(slf.py(), token) else { return Ok(None) };
        let (before, taken) = (conn.get().reads(), conn.get().taken_if_polled());
        let outcome = this.busy_with(&conn, Some(token), |conn| {
            Conn::on_ready(conn, Ready { token: token.key(), read: true, write: false, hangup: false }, now)
        });
        Self::handle(slf, &conn, outcome)?;
        this.judge(conn.get(), taken);
        Ok(Some(conn.get().reads() != before))
    }

    fn run_one(slf: &Bound<'_, Self>, event: Ready, now: Nanos) -> PyResult<()> {
        let token = Token::from_key(event.token);
        let Some(conn) = slf.get().connection(slf.py(), token) else { return Ok(()) };
        let taken = conn.get().taken_if_polled();
        let outcome = slf.get().busy_with(&conn, Some(token), |conn| Conn::on_ready(conn, event, now));
        slf.get().judge(conn.get(), taken);
        Self::handle(slf, &conn, outcome)
    }
}
