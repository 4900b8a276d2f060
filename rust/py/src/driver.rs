//! The loop driver: when bytes are read and written, and who is told. How they move is in `transfer`.

use fastws_core::filter::{Direction, WorkDone};
use fastws_core::{Event, Nanos, State};
use pyo3::prelude::*;

use crate::clock;
use crate::conn::Conn;
use crate::future::{resolve, set_result};
use crate::hub::{Hub, Mail, Token};
use crate::payload;
use crate::poller::Ready;
use crate::secured::receive_secured;
use crate::transfer::Read;
use crate::waiter::Waiter;
use crate::workers;

/// How far the connection has come. The phases before `Open` name what a deadline or an error struck.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    New,
    Tcp,
    Tls,
    Upgrade,
    Open,
    Closed,
}

/// Time that one connection may take of a turn, its consumer's included.
const TURN_BUDGET: Nanos = 500_000;

/// Bytes queued in a turn that are worth a system call before it ends.
pub(crate) const COALESCE: usize = 64 << 10;

impl Conn {
    /// The descriptor is ready, `now`.
    pub(crate) fn on_ready(slf: &Bound<'_, Self>, ready: Ready, now: Nanos) -> PyResult<()> {
        let this = slf.get();
        {
            let mut inner = this.inner.borrow_mut();
            inner.run.begin_at(now);
            if ready.hangup {
                inner.hung_up();
            }
            if inner.phase == Phase::Tcp {
                inner.connected();
            }
            if ready.write {
                inner.blocked = false;
                inner.flush();
            }
        }
        if ready.read || ready.hangup {
            Self::receive(slf)?;
        }
        Self::sync(slf)
    }

    /// Counts the reads that gave something.
    #[inline]
    pub(crate) fn reads(&self) -> u32 {
        self.inner.borrow().reads
    }

    /// Messages taken so far, for a connection that wants to be polled.
    #[inline]
    pub(crate) fn taken_if_polled(&self) -> u64 {
        if self.busy_poll().is_some() { self.inner.borrow().queue.taken() } else { 0 }
    }

    /// Whether its consumer came back and waits for the next message, and nothing else is to be done.
    pub(crate) fn wants_more(&self) -> bool {
        let inner = self.inner.borrow();
        inner.phase == Phase::Open
            && inner.core.state() == State::Open
            && inner.paused.is_none()
            && inner.queue.is_empty()
            && (self.listener.get().is_some()
                || inner.waiter.as_ref().is_some_and(|waiter| Waiter::of(waiter).is_pending())
                || inner.ring.as_ref().is_some_and(|attached| attached.ring.get().store.borrow().is_awaited()))
    }

    /// Its registration with the hub, while it has one.
    pub(crate) fn token(&self) -> Option<Token> {
        self.inner.borrow().token
    }

    /// Another turn was asked for: messages or parsed input are left, or writing failed.
    pub(crate) fn on_soon(slf: &Bound<'_, Self>) -> PyResult<()> {
        slf.get().inner.borrow_mut().run.begin();
        Self::handle_events(slf)?;
        Self::deliver(slf)?;
        Self::receive(slf)?;
        Self::sync(slf)
    }

    /// The turn ends: what was sent in it leaves.
    pub(crate) fn on_flush(slf: &Bound<'_, Self>) -> PyResult<()> {
        {
            let mut inner = slf.get().inner.borrow_mut();
            inner.flush_listed = false;
            inner.flush();
        }
        Self::sync(slf)
    }

    /// A moment that was waited for has come, `lag` ago.
    pub(crate) fn on_timer(slf: &Bound<'_, Self>, lag: Nanos) -> PyResult<()> {
        // What has arrived is read before silence is judged.
        {
            let mut inner = slf.get().inner.borrow_mut();
            inner.run.begin();
            inner.told_by = Nanos::MAX;
        }
        Self::receive(slf)?;
        slf.get().inner.borrow_mut().tick(slf.py(), clock::monotonic(), lag);
        Self::handle_events(slf)?;
        Self::deliver(slf)?;
        Self::sync(slf)
    }

    /// Work of a wire extension is done.
    pub(crate) fn on_worked(slf: &Bound<'_, Self>, direction: Direction, done: WorkDone) -> PyResult<()> {
        {
            let inner = &mut *slf.get().inner.borrow_mut();
            inner.run.begin();
            inner.worked(slf.py(), direction, done);
        }
        Self::handle_events(slf)?;
        Self::deliver(slf)?;
        // What is read next may be work again, whose result comes whether or not there is room.
        Self::pause_if_full(slf)?;
        Self::receive(slf)?;
        Self::sync(slf)
    }

    /// A fault of ours struck while the connection worked: it is given up, and says so.
    pub(crate) fn on_panic(slf: &Bound<'_, Self>, panic: &(dyn std::any::Any + Send)) -> PyResult<()> {
        let text = panic
            .downcast_ref::<String>()
            .map(String::as_str)
            .or_else(|| panic.downcast_ref::<&str>().copied())
            .unwrap_or("unknown");
        if let Ok(mut inner) = slf.get().inner.try_borrow_mut() {
            inner.core.abort(&format!("internal error of fastws, please report it: {text}"));
            let _ = inner.settle(slf.py());
        }
        Self::sync(slf)
    }

    /// Reads, parses and delivers, until the socket is drained, our queue is full, or the turn is used up.
    pub(crate) fn receive(slf: &Bound<'_, Self>) -> PyResult<()> {
        let outcome = Self::receive_turn(slf);
        // However it ended: nothing may point into the read buffer.
        let settled = slf.get().inner.borrow_mut().settle(slf.py());
        if outcome.is_err()
            && let Some(token) = slf.get().token()
        {
            // What came and was not looked at waits for no event of the socket's.
            Hub::run_soon(slf.get().hub.bind(slf.py()), token)?;
        }
        outcome.and(settled)
    }

    fn receive_turn(slf: &Bound<'_, Self>) -> PyResult<()> {
        let (py, this) = (slf.py(), slf.get());
        if this.waits_for_reader() {
            // The loop of uvloop looks at sockets before it gives a task that was woken its turn.
            return match this.token() {
                Some(token) => Hub::run_soon(this.hub.bind(py), token),
                None => Ok(()),
            };
        }
        // Each run of the consumer begins anew: the turn does not.
        let start = this.inner.borrow().run.start;
        loop {
            let (read, by_python, tapped) = {
                let inner = &mut *this.inner.borrow_mut();
                if !inner.may_read() {
                    break;
                }
                (inner.take_in(py)?, inner.is_secured_by_python(), inner.is_tapped())
            };
            let read = if by_python { receive_secured(py, &slf.get().inner, read)? } else { read };
            if tapped {
                Self::tell_tapped(slf)?;
            }
            Self::handle_events(slf)?;
            Self::deliver(slf)?;
            Self::pause_if_full(slf)?;
            let owes_a_turn = this.owes_a_turn();
            let again = {
                let inner = this.inner.borrow();
                let left = inner.has_input();
                if inner.fd < 0 || (read != Read::More && !left) {
                    break;
                }
                if !inner.core.is_failing() && !owes_a_turn && clock::monotonic() - start <= TURN_BUDGET {
                    continue;
                }
                // The socket stays ready; what is parsed in part is not the socket's any more, nor is what a transport gave.
                inner.token.filter(|_| (left || inner.has_more()) && inner.paused.is_none())
            };
            if let Some(token) = again {
                Hub::run_soon(this.hub.bind(py), token)?;
            }
            break;
        }
        Ok(())
    }

    /// Reading pauses when our queue is full. A batch that waits for more gets no more then.
    fn pause_if_full(slf: &Bound<'_, Self>) -> PyResult<()> {
        let this = slf.get();
        if !this.inner.borrow_mut().pause_if_full(this.listener.get().is_some()) {
            return Ok(());
        }
        Self::deliver(slf)?;
        Self::wake_ring(slf)
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
                Event::Opened(response) => {
                    let opening = this.inner.borrow_mut().opened(&response);
                    this.hub.get().owe_a_turn();
                    // Also with what ends the program on its way: who waits for the opening is told.
                    let called = if this.listener.get().is_some() { Self::call_on_open(slf) } else { Ok(()) };
                    called.and(resolve(py, opening, None))?;
                }
                Event::Refused { error, response } => {
                    let (opening, phase) = {
                        let mut inner = this.inner.borrow_mut();
                        inner.response = response.as_deref().map(payload::pack_response);
                        (inner.rare.opening.take(), inner.phase)
                    };
                    let kind = payload::refusal_kind(&error);
                    let error = this.error(py, "open_failed", (slf, phase.name(), kind, error.to_string()));
                    resolve(py, opening, Some(error))?;
                }
                Event::Pong { answers: Some((number, rtt)), .. } => {
                    let answered = this.inner.borrow_mut().answered_pings(number, rtt);
                    for (latency, future) in answered {
                        this.hub.get().owe_a_turn();
                        set_result(py, &future, clock::to_seconds(latency))?;
                    }
                }
                Event::Pong { .. } | Event::Ping(_) | Event::DataOver | Event::Requested(_) => {}
            }
        }
    }

    /// Brings the hub's registration up to date with the connection, and ends it when it is over.
    pub(crate) fn sync(slf: &Bound<'_, Self>) -> PyResult<()> {
        let (py, this) = (slf.py(), slf.get());
        let hub = this.hub.get();
        let outside = {
            let mut inner = this.inner.borrow_mut();
            inner.flush();
            inner.works_outside()
        };
        if outside {
            Self::work_outside(slf)?;
        }
        while let Some(work) = this.next_work() {
            Self::run_work(slf, work);
        }
        let (ended, again, tidies) = {
            let inner = &mut *this.inner.borrow_mut();
            let mut tidies = false;
            if inner.tear_down() {
                if let Some(token) = inner.token.take() {
                    tidies = hub.deregister(py, token);
                }
                inner.finish();
            }
            if let Some(token) = inner.token {
                tidies = inner.watch(hub);
                let strong = inner.wants_strong(this.listener.get().is_some());
                inner.hold(slf, strong);
                let deadline = match (inner.core.deadline(), inner.batch_deadline()) {
                    (Some(a), Some(b)) => Some(a.min(b)),
                    (a, b) => a.or(b),
                };
                if let Some(deadline) = deadline
                    && deadline < inner.told_by
                {
                    inner.told_by = deadline;
                    hub.set_deadline(token, Some(deadline));
                }
            }
            let ended = inner.fd < 0 && inner.phase != Phase::New && !std::mem::replace(&mut inner.ended, true);
            let is_owed = inner.broken.is_some() || inner.has_failed_in_python();
            (ended, inner.token.filter(|_| is_owed && inner.paused.is_none()), tidies)
        };
        if tidies {
            Hub::tidy(this.hub.bind(py));
        }
        // Half of it may have been closed meanwhile, and its moment set.
        let outcome = if outside { Self::sync_outside(slf, ended) } else { Ok(()) };
        if let Some(token) = again {
            Hub::run_soon(this.hub.bind(py), token)?;
        }
        // Also with what ends the program on its way: who waits is told.
        outcome.and(if ended { Self::on_end(slf) } else { Self::after_flush(slf) })
    }

    #[cold]
    fn sync_outside(slf: &Bound<'_, Self>, ended: bool) -> PyResult<()> {
        let worked = Self::work_outside(slf);
        let settled = Hub::settle_timer(slf.get().hub.bind(slf.py()));
        let closed = if ended { Self::close_wire(slf) } else { Ok(()) };
        worked.and(settled).and(closed)
    }

    /// Lets those go on who waited for the send queue to shrink.
    fn after_flush(slf: &Bound<'_, Self>) -> PyResult<()> {
        let (py, this) = (slf.py(), slf.get());
        let drained = {
            let mut inner = this.inner.borrow_mut();
            let rare = &*inner.rare;
            if rare.draining.is_empty() && rare.rooms.is_empty() && rare.writing.is_empty() && rare.overs.is_empty() {
                return Ok(());
            }
            inner.take_drained()
        };
        this.hub.get().owe_a_turn();
        for future in drained {
            set_result(py, &future, py.None())?;
        }
        Self::offer_room(slf)
    }

    /// Lets the first of those who wait for room try to send.
    pub(crate) fn offer_room(slf: &Bound<'_, Self>) -> PyResult<()> {
        loop {
            let future = {
                let mut inner = slf.get().inner.borrow_mut();
                let closed = inner.core.state() != State::Open;
                if !closed
                    && (inner.core.queued_bytes() > inner.settings.write_low || inner.core.is_sending_fragments())
                {
                    return Ok(());
                }
                if inner.rare.rooms.is_empty() {
                    inner.rare.rest();
                    return Ok(());
                }
                inner.rare.rooms.pop_front()
            };
            let Some(future) = future else { return Ok(()) };
            // One that was cancelled meanwhile passes its turn on.
            if set_result(slf.py(), &future, slf.py().None())? {
                return Ok(());
            }
        }
    }

    /// The connection is over: everybody who waits for it is told.
    fn on_end(slf: &Bound<'_, Self>) -> PyResult<()> {
        let (py, this) = (slf.py(), slf.get());
        // Also with what ends the program on its way: everybody is told.
        let delivered = Self::tell_tapped(slf).and(Self::deliver(slf));
        let (opening, failing, pings, closing, phase, why, tls) = {
            let mut inner = this.inner.borrow_mut();
            let phase = std::mem::replace(&mut inner.phase, Phase::Closed);
            let rare = &mut *inner.rare;
            let opening = rare.opening.take();
            let mut failing = std::mem::take(&mut rare.draining);
            failing.extend(std::mem::take(&mut rare.rooms));
            failing.extend(std::mem::take(&mut rare.writing).into_iter().map(|(_, future)| future));
            let (pings, mut closing) = (std::mem::take(&mut rare.pings), std::mem::take(&mut rare.overs));
            closing.extend(std::mem::take(&mut rare.closing));
            let tls = rare.tls.take();
            inner.rare.rest();
            let why = inner.core.close_info().cause.as_ref().map(payload::cause_text);
            (opening, failing, pings, closing, phase, why, tls)
        };
        drop(tls);
        if opening.is_some() {
            let error = this.error(py, "open_failed", (slf, phase.name(), "lost", why.unwrap_or_default()));
            resolve(py, opening, Some(error))?;
        }
        for future in failing.into_iter().chain(pings.into_iter().map(|(_, _, future)| future)) {
            let error = this.error(py, "closed", (slf,));
            resolve(py, Some(future), Some(error))?;
        }
        let called = if this.listener.get().is_some_and(|listener| listener.is_running()) {
            // A callback gave the connection up: what it was called for goes on, and `on_close` is last.
            this.inner.borrow_mut().rare.on_close_waits = true;
            Ok(())
        } else {
            Self::call_on_close(slf)
        };
        // Also with what ends the program on its way: who waits for the end is told.
        for future in closing {
            set_result(py, &future, py.None())?;
        }
        delivered.and(called)
    }

    fn next_work(&self) -> Option<fastws_core::filter::Work> {
        self.inner.borrow_mut().core.take_work()
    }

    /// Has a wire extension's work done by another thread, or here where there can be none; the result comes back through
    /// the hub.
    fn run_work(slf: &Bound<'_, Self>, work: fastws_core::filter::Work) {
        let (conn, hub) = (slf.clone().unbind(), slf.get().hub.clone_ref(slf.py()));
        let direction = work.direction;
        let task = move || {
            // A panic is a fault of ours; the connection that waits is told.
            let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work.run));
            // Where the interpreter has ended, there is nobody to tell.
            let _ = Python::try_attach(|py| Hub::post(hub.bind(py), Mail::Worked(conn, direction, done)));
        };
        if let Err(task) = workers::submit(Box::new(task)) {
            slf.py().detach(task);
        }
    }

    /// Writes what a call queued: at once if it is the first of the turn, as far as is known, and nobody collects, else at
    /// the turn's end. True: the queue is above its limit.
    #[inline]
    pub(crate) fn after_send(slf: &Bound<'_, Self>) -> PyResult<bool> {
        let this = slf.get();
        let hub = this.hub.bind(slf.py());
        let turn = hub.get().turn();
        // What the loop is asked for runs Python: after the borrow.
        let (above_limit, first, later, broken, work, outside) = {
            let inner = &mut *this.inner.borrow_mut();
            let (mut first, mut later, mut flushed) = (false, None, false);
            if !inner.blocked {
                let queued = inner.core.queued_bytes();
                if inner.sent_turn != turn && inner.corks == 0 {
                    first = hub.get().awaits_turn_end();
                    if first {
                        inner.sent_turn = turn;
                    }
                    flushed = true;
                    inner.flush();
                } else if queued >= COALESCE || queued > inner.settings.write_high {
                    flushed = true;
                    inner.flush();
                } else if !inner.flush_listed {
                    later = inner.token;
                    inner.flush_listed = later.is_some();
                }
            }
            let broken = inner.keep_for_writing(slf);
            let outside = flushed && inner.works_outside();
            let above_limit = inner.core.queued_bytes() > inner.settings.write_high;
            (above_limit, first, later, broken, inner.core.take_work(), outside)
        };
        if let Some(work) = work {
            // First: what follows may fail.
            Self::run_work(slf, work);
        }
        if first {
            Hub::mark_turn(hub)?;
        }
        if let Some(token) = later {
            Hub::flush_later(hub, token).inspect_err(|_| this.inner.borrow_mut().flush_listed = false)?;
        }
        if let Some(token) = broken {
            Hub::run_soon(hub, token)?;
        }
        if outside {
            Self::send_outside(slf)?;
            let inner = this.inner.borrow();
            return Ok(inner.core.queued_bytes() > inner.settings.write_high);
        }
        Ok(above_limit)
    }
}

impl Conn {
    /// Writes what is queued, as far as the kernel takes it. Who waits for the queue to shrink goes on when the turn
    /// ends, as ever.
    pub(crate) fn flush_now(slf: &Bound<'_, Self>) -> PyResult<()> {
        let this = slf.get();
        let hub = this.hub.bind(slf.py());
        let (broken, outside) = {
            let inner = &mut *this.inner.borrow_mut();
            if inner.blocked || !inner.core.wants_write() {
                return Ok(());
            }
            // What is queued is listed for the turn's end already, so the turn is counted.
            inner.sent_turn = hub.get().turn();
            inner.flush();
            (inner.keep_for_writing(slf), inner.works_outside())
        };
        if outside {
            Self::send_outside(slf)?;
        }
        broken.map_or(Ok(()), |token| Hub::run_soon(hub, token))
    }

    /// From here on nothing is the first of its turn: it waits for [`Conn::uncork`], the turn's end or a full write.
    pub(crate) fn cork_up(slf: &Bound<'_, Self>) -> PyResult<()> {
        let this = slf.get();
        this.check_loop(slf.py())?;
        this.inner.borrow_mut().corks += 1;
        Ok(())
    }

    /// Ends a [`Conn::cork_up`]; the last one lets out what is queued.
    pub(crate) fn uncork(slf: &Bound<'_, Self>) -> PyResult<()> {
        let this = slf.get();
        this.check_loop(slf.py())?;
        let last = {
            let mut inner = this.inner.borrow_mut();
            inner.corks -= 1;
            inner.corks == 0
        };
        if last { Self::flush_now(slf) } else { Ok(()) }
    }
}

impl Phase {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Tcp => "tcp",
            Self::Tls => "tls",
            Self::Upgrade => "upgrade",
            Self::Open => "open",
            Self::Closed => "closed",
        }
    }
}
