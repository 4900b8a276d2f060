//! The blocking driver: when bytes are read and written, and who goes on. Every call that waits does the work of the
//! connection meanwhile: whoever wakes up reads, writes and tells the time. All of it happens with the interpreter's lock
//! held, so two that wake up do not meet; only sleeping lets it go.

use std::panic::{AssertUnwindSafe, catch_unwind};

use fastws_core::filter::Work;
use fastws_core::{Event, Nanos, State};
use pyo3::prelude::*;

use super::helper::{Call, Helper};
use super::sleep::NOTHING;
use super::{Blocking, Failed};
use crate::driver::Phase;
use crate::future::{resolve, set_result};
use crate::poller::Ready;
use crate::secured::{receive_secured, secure};
use crate::transfer::Read;
use crate::{clock, payload};

/// Reads in a row before the interpreter's lock is let go of.
const READS: usize = 16;

impl Blocking {
    /// A call that waits, while this lives: the helper is off duty.
    #[inline]
    pub(super) fn begin(&self) -> Call<'_> {
        Helper::begin(self.helper.as_deref())
    }

    /// Waits until `check` gives something, and works meanwhile. None: the time is over.
    pub(super) fn wait<T>(
        slf: &Bound<'_, Self>,
        deadline: Option<Nanos>,
        mut check: impl FnMut() -> PyResult<Option<T>>,
    ) -> PyResult<Option<T>> {
        let (py, this) = (slf.py(), slf.get());
        let _call = this.begin();
        let mut ready = NOTHING;
        // Where the socket was empty when it was read last, it is asked by sleeping.
        let mut works = this.has_more();
        loop {
            if works {
                Self::work(slf, ready)?;
                py.check_signals()?;
            }
            if let Some(found) = check()? {
                return Ok(Some(found));
            }
            if works && deadline.is_some_and(|deadline| deadline <= clock::monotonic()) {
                return Ok(None);
            }
            let mut plan = this.plan(deadline);
            if works && this.has_more() {
                plan.until = Some(0);
            }
            ready = this.sleep(py, plan)?;
            // A signal's handler may have done anything, even closed the connection.
            py.check_signals()?;
            this.check()?;
            works = true;
        }
    }

    /// Whether something may be there to be taken in, without the socket saying so.
    pub(super) fn has_more(&self) -> bool {
        let inner = self.inner.borrow();
        let is_behind =
            self.behind.get() || inner.has_input() || inner.broken.is_some() || inner.has_failed_in_python();
        is_behind && inner.may_read()
    }

    /// Does what is to be done now: reads until there is a message or nothing more, writes, tells the time, and tells
    /// those who wait.
    pub(super) fn work(slf: &Bound<'_, Self>, ready: Ready) -> PyResult<()> {
        let (py, this) = (slf.py(), slf.get());
        let (reads, state) = {
            let inner = &mut *this.inner.borrow_mut();
            let before = (inner.reads, inner.core.state());
            if ready.hangup {
                inner.hung_up();
            }
            if inner.phase == Phase::Tcp && (ready.write || ready.hangup) {
                inner.connected();
            }
            if ready.write {
                inner.blocked = false;
            }
            inner.flush();
            before
        };
        Self::read(slf)?;
        {
            let inner = &mut *this.inner.borrow_mut();
            let now = clock::monotonic();
            let lag = inner.core.deadline().map_or(0, |at| now.saturating_sub(at));
            inner.tick(py, now, lag);
        }
        Self::handle_events(slf)?;
        Self::settle_state(slf)?;
        let changed = {
            let inner = this.inner.borrow();
            inner.reads != reads || inner.core.state() != state || ready.write
        };
        if changed {
            this.ring_calls();
        }
        Ok(())
    }

    fn read(slf: &Bound<'_, Self>) -> PyResult<()> {
        let (py, this) = (slf.py(), slf.get());
        this.behind.set(false);
        for _ in 0..READS {
            let (read, by_python, tapped) = {
                let inner = &mut *this.inner.borrow_mut();
                if !inner.may_read() {
                    return Ok(());
                }
                (inner.take_in(py)?, inner.is_secured_by_python(), inner.is_tapped())
            };
            let read = if by_python {
                this.by_python(|| receive_secured(py, &this.inner, read)).map(|(read, _)| read)?
            } else {
                read
            };
            if tapped {
                Self::tell_tapped(slf)?;
            }
            Self::handle_events(slf)?;
            Self::run_work(slf)?;
            let inner = &mut *this.inner.borrow_mut();
            inner.pause_if_full(false);
            this.behind.set(read == Read::More);
            let has_something = !inner.queue.is_empty() || inner.queue.has_pieces();
            if has_something || (read != Read::More && !inner.has_input()) {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Acts on what the core told besides data.
    fn handle_events(slf: &Bound<'_, Self>) -> PyResult<()> {
        let (py, this) = (slf.py(), slf.get());
        loop {
            let event = {
                let mut inner = this.inner.borrow_mut();
                let Some(event) = inner.events.pop_front() else { return Ok(()) };
                event
            };
            match event {
                Event::Opened(response) => drop(this.inner.borrow_mut().opened(&response)),
                Event::Refused { error, response } => {
                    let mut inner = this.inner.borrow_mut();
                    inner.response = response.as_deref().map(payload::pack_response);
                    let (phase, kind) = (inner.phase, payload::refusal_kind(&error));
                    this.failed.borrow_mut().get_or_insert(Failed { phase, kind, text: error.to_string() });
                }
                Event::Pong { answers: Some((number, rtt)), .. } => {
                    let answered = this.inner.borrow_mut().answered_pings(number, rtt);
                    for (latency, future) in answered {
                        set_result(py, &future, clock::to_seconds(latency))?;
                    }
                }
                Event::Pong { .. } | Event::Ping(_) | Event::DataOver | Event::Requested(_) => {}
            }
        }
    }

    /// Writes, and ends the stream where it is over.
    pub(super) fn settle_state(slf: &Bound<'_, Self>) -> PyResult<()> {
        let this = slf.get();
        Self::run_work(slf)?;
        Self::flush_all(slf)?;
        let ended = {
            let inner = &mut *this.inner.borrow_mut();
            if inner.tear_down() {
                inner.finish();
            }
            inner.fd < 0 && inner.phase != Phase::New && !std::mem::replace(&mut inner.ended, true)
        };
        if ended { Self::on_end(slf) } else { Ok(()) }
    }

    /// Writes what is queued, as far as the kernel takes it, with Python's part of TLS. True: other calls came meanwhile.
    pub(super) fn flush_all(slf: &Bound<'_, Self>) -> PyResult<bool> {
        let this = slf.get();
        let (by_python, tapped) = {
            let inner = &mut *this.inner.borrow_mut();
            inner.flush();
            (inner.is_secured_by_python(), inner.is_tapped())
        };
        let came =
            if by_python { this.by_python(|| secure(slf.py(), &this.inner)).map(|((), came)| came)? } else { false };
        if tapped {
            Self::tell_tapped(slf)?;
        }
        Ok(came)
    }

    /// The same, by a call that does nothing else; so it also ends what could not be ended meanwhile.
    pub(super) fn flush_now(slf: &Bound<'_, Self>) -> PyResult<()> {
        if Self::flush_all(slf)? { Self::settle_state(slf) } else { Ok(()) }
    }

    /// Lets Python do its part of TLS. Other calls can come meanwhile, and leave theirs to it: they are woken behind it,
    /// as all are if it has failed, which no event of the socket's tells. True: some came.
    fn by_python<T>(&self, run: impl FnOnce() -> PyResult<T>) -> PyResult<(T, bool)> {
        let had_failed = self.inner.borrow().has_failed_in_python();
        let outcome = run();
        let (came, failed) = {
            let inner = &mut *self.inner.borrow_mut();
            (inner.take_left_to_python(), !had_failed && inner.has_failed_in_python())
        };
        if came || failed {
            self.behind.set(true);
            self.ring_all();
        }
        Ok((outcome?, came))
    }

    /// The connection is over: everybody who waits is told.
    fn on_end(slf: &Bound<'_, Self>) -> PyResult<()> {
        let (py, this) = (slf.py(), slf.get());
        let (pings, tls) = {
            let inner = &mut *this.inner.borrow_mut();
            let phase = std::mem::replace(&mut inner.phase, Phase::Closed);
            if phase != Phase::Open {
                let text = inner.core.close_info().cause.as_ref().map(payload::cause_text).unwrap_or_default();
                this.failed.borrow_mut().get_or_insert(Failed { phase, kind: "lost", text });
            }
            (std::mem::take(&mut inner.rare.pings), inner.rare.tls.take())
        };
        drop(tls);
        this.ring_calls();
        if let Some(helper) = &this.helper {
            helper.stop();
        }
        // Also with what ends the program on its way: who waits is told.
        let told = Self::tell_tapped(slf);
        for (_, _, future) in pings {
            let error = this.error(py, "closed", (slf,));
            resolve(py, Some(future), Some(error))?;
        }
        told
    }

    /// Runs a wire extension's work, with the interpreter's lock let go.
    fn run_work(slf: &Bound<'_, Self>) -> PyResult<()> {
        let (py, this) = (slf.py(), slf.get());
        loop {
            let Some(Work { direction, run }) = this.inner.borrow_mut().core.take_work() else { return Ok(()) };
            let done = py.detach(|| catch_unwind(AssertUnwindSafe(run)));
            let inner = &mut *this.inner.borrow_mut();
            match done {
                Ok(done) => inner.worked(py, direction, done),
                // A fault of ours: the connection is of no more use.
                Err(_) => {
                    inner.core.abort("internal error of fastws, please report it: a wire extension's work panicked");
                }
            }
        }
    }

    /// Sends what a call queued, and waits where the queue is above its limit. What waits longer than `deadline` leaves
    /// nevertheless, or is left to the next call where there is no helper: then it is an error.
    pub(super) fn after_send(slf: &Bound<'_, Self>, deadline: Option<Nanos>) -> PyResult<()> {
        if Self::leave(slf, deadline)? { Ok(()) } else { Err(slf.get().error(slf.py(), "late", (slf,))) }
    }

    /// The same for what waits for nobody: what the kernel does not take now leaves later.
    pub(super) fn leave_now(slf: &Bound<'_, Self>) -> PyResult<()> {
        Self::leave(slf, Some(clock::monotonic())).map(|_| ())
    }

    /// False: it is late, and there is no helper.
    pub(super) fn leave(slf: &Bound<'_, Self>, deadline: Option<Nanos>) -> PyResult<bool> {
        let this = slf.get();
        Self::run_work(slf)?;
        let leaves = {
            let inner = this.inner.borrow();
            inner.corks == 0 || inner.core.queued_bytes() >= crate::driver::COALESCE
        };
        if leaves {
            Self::flush_now(slf)?;
        }
        let (above_limit, left) = {
            let inner = &mut *this.inner.borrow_mut();
            if inner.broken.is_some() {
                this.behind.set(true);
            }
            // Without a helper nobody is there to send the rest.
            let most = if this.helper.is_some() { this.settings.write_high } else { 0 };
            let left = inner.core.queued_bytes();
            ((left > most || (most == 0 && inner.has_ciphertext())) && inner.corks == 0, inner.blocked)
        };
        if left {
            this.ring_all();
        }
        if above_limit { Self::drain(slf, deadline) } else { Ok(true) }
    }

    fn drain(slf: &Bound<'_, Self>, deadline: Option<Nanos>) -> PyResult<bool> {
        let (py, this) = (slf.py(), slf.get());
        let low = if this.helper.is_some() { this.settings.write_low } else { 0 };
        let drained = Self::wait(slf, deadline, || {
            let inner = this.inner.borrow();
            if inner.core.queued_bytes() <= low && (low > 0 || !inner.has_ciphertext()) {
                return Ok(Some(()));
            }
            if inner.core.state() == State::Closed {
                drop(inner);
                return Err(this.error(py, "closed", (slf,)));
            }
            Ok(None)
        });
        Ok(drained?.is_some() || this.helper.is_some())
    }

    /// Begins the closing handshake.
    pub(super) fn begin_close(slf: &Bound<'_, Self>, code: Option<i64>, reason: &str) -> PyResult<()> {
        let this = slf.get();
        let code = payload::close_code(code)?;
        let outcome = this.inner.borrow_mut().core.close(code, reason, clock::monotonic());
        outcome.map_err(|misuse| this.misuse(slf, &misuse))?;
        {
            let mut inner = this.inner.borrow_mut();
            inner.corks = 0;
            if inner.paused.is_some() && inner.core.state() == State::Closing {
                // The peer's Close lies behind what nobody may take.
                inner.resume_reading();
            }
        }
        Self::settle_state(slf)?;
        this.ring_all();
        Ok(())
    }
}
