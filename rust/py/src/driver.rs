//! The loop driver: who calls recv(2) and send(2), and when. One receive path for plain and TLS streams.

use std::io;

use fastws_core::connection::{StreamEnd, Teardown};
use fastws_core::filter::{Direction, WorkDone};
use fastws_core::{Event, Flow, Nanos, Opcode, Sink, State, Unit};
use pyo3::IntoPyObjectExt;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyTuple};

use crate::conn::{Conn, Inner};
use crate::hub::{Hub, Mail};
use crate::landing::Landing;
use crate::poller::{Interest, Ready};
use crate::queue::Queue;
use crate::view::PinnedBuffer;
use crate::{buffers, clock};

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

/// A read buffer that is lent to the connection, and what of it is not parsed.
pub(crate) struct Input {
    buffer: Box<[u8]>,
    start: usize,
    end: usize,
}

/// What a read brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Read {
    /// Bytes; there may be more.
    More,
    /// Bytes or none; the socket is empty.
    Drained,
    /// The stream is over.
    Ended,
}

/// Time that one connection may take of a turn, its consumer's included.
const TURN_BUDGET: Nanos = 1_000_000;

/// A payload with more to come than this is received straight into its storage.
const LANDING_MIN: usize = 16 << 10;

/// Messages parsed before the consumer is woken: it keeps what is parsed in the cache, and bounds an overshoot.
const PARSE_MESSAGES: usize = 8192;

/// Bytes queued in a turn that are worth a system call before it ends.
const COALESCE: usize = 64 << 10;

/// Plaintext given to TLS at once: four records.
const TLS_CHUNK: usize = 64 << 10;

impl Conn {
    /// The descriptor is ready.
    pub(crate) fn on_ready(slf: &Bound<'_, Self>, ready: Ready) -> PyResult<()> {
        let this = slf.get();
        {
            let mut inner = this.inner.borrow_mut();
            inner.begin_run();
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

    /// Another turn was asked for: messages or parsed input are left, or writing failed.
    pub(crate) fn on_soon(slf: &Bound<'_, Self>) -> PyResult<()> {
        slf.get().inner.borrow_mut().begin_run();
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
        slf.get().inner.borrow_mut().begin_run();
        Self::receive(slf)?;
        {
            let inner = &mut *slf.get().inner.borrow_mut();
            let now = clock::monotonic();
            if inner.phase != Phase::Closed && inner.core.deadline().is_some_and(|at| at <= now) {
                let mut sink = QueueSink::new(slf.py(), &mut inner.queue, &mut inner.events, inner.delivery);
                inner.core.tick(now, lag, &mut sink);
            }
        }
        Self::handle_events(slf)?;
        Self::deliver(slf)?;
        Self::sync(slf)
    }

    /// Work of a wire extension is done.
    pub(crate) fn on_worked(slf: &Bound<'_, Self>, direction: Direction, done: WorkDone) -> PyResult<()> {
        {
            let inner = &mut *slf.get().inner.borrow_mut();
            let now = clock::monotonic();
            inner.queue.settle(slf.py())?;
            let mut sink = QueueSink::new(slf.py(), &mut inner.queue, &mut inner.events, inner.delivery);
            inner.core.job_done(direction, done, now, &mut sink);
            sink.outcome()?;
            inner.queue.mark(clock::realtime(), now);
        }
        Self::handle_events(slf)?;
        Self::deliver(slf)?;
        Self::receive(slf)?;
        Self::sync(slf)
    }

    /// Reads, parses and delivers, until the socket is drained, our queue is full, or the turn is used up.
    pub(crate) fn receive(slf: &Bound<'_, Self>) -> PyResult<()> {
        let (py, this) = (slf.py(), slf.get());
        loop {
            let read = {
                let inner = &mut *this.inner.borrow_mut();
                if inner.fd < 0 || inner.paused.is_some() || inner.core.is_parked() || inner.phase == Phase::Tcp {
                    break;
                }
                match &inner.input {
                    Some(input) if input.start < input.end => inner.parse(py).map(|()| Read::More),
                    _ => inner.read(py),
                }?
            };
            Self::handle_events(slf)?;
            Self::deliver(slf)?;
            let inner = &mut *this.inner.borrow_mut();
            inner.pause_if_full();
            let left = inner.input.as_ref().is_some_and(|input| input.start < input.end);
            if inner.fd < 0 || (read != Read::More && !left) {
                break;
            }
            if inner.core.is_failing() || clock::monotonic() - inner.run_start > TURN_BUDGET {
                // The socket stays ready; what is parsed in part is not the socket's any more.
                if left && inner.paused.is_none() && let Some(token) = inner.token {
                    Hub::run_soon(this.hub.bind(py), token)?;
                }
                break;
            }
        }
        this.inner.borrow_mut().settle(py)
    }

    /// Acts on what the core told besides data.
    fn handle_events(slf: &Bound<'_, Self>) -> PyResult<()> {
        let (py, this) = (slf.py(), slf.get());
        loop {
            let event = {
                let mut inner = this.inner.borrow_mut();
                if inner.events.is_empty() { return Ok(()) }
                inner.events.remove(0)
            };
            match event {
                Event::Opened(response) => {
                    let opening = {
                        let mut inner = this.inner.borrow_mut();
                        inner.response = Some(response);
                        inner.phase = Phase::Open;
                        inner.opening.take()
                    };
                    if this.listener.get().is_some() {
                        Self::call_on_open(slf)?;
                    }
                    resolve(py, opening, None)?;
                }
                Event::Refused { error, response } => {
                    let opening = {
                        let mut inner = this.inner.borrow_mut();
                        inner.response = response;
                        inner.opening.take()
                    };
                    let kind = match &error {
                        fastws_core::Error::PeerIncompatible(fastws_core::Incompatible::Status(_)) => "status",
                        _ => "handshake",
                    };
                    let error = this.error(py, "open_failed", (slf, "upgrade", kind, error.to_string()));
                    resolve(py, opening, Some(error))?;
                }
                Event::Pong { answers: Some((number, _)), .. } => {
                    let now = clock::monotonic();
                    let answered = {
                        let mut inner = this.inner.borrow_mut();
                        let (answered, waiting) =
                            std::mem::take(&mut inner.pings).into_iter().partition(|(n, _, _)| *n <= number);
                        inner.pings = waiting;
                        let answered: Vec<(u64, Nanos, Py<PyAny>)> = answered;
                        answered
                    };
                    for (_, sent, future) in answered {
                        set_result(py, &future, clock::to_seconds(now - sent))?;
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
        let work = {
            let mut inner = this.inner.borrow_mut();
            inner.flush();
            inner.core.take_work()
        };
        if let Some(work) = work {
            Self::run_work(slf, work)?;
        }
        let ended = {
            let inner = &mut *this.inner.borrow_mut();
            if inner.fd >= 0 {
                match inner.core.teardown() {
                    Teardown::Keep => {}
                    Teardown::HalfClose => inner.half_close(),
                    Teardown::Close => inner.finish(hub, py),
                }
            }
            if let Some(token) = inner.token {
                let interest = inner.wanted();
                if interest != inner.interest {
                    inner.interest = interest;
                    hub.set_interest(token, interest);
                }
                let strong = inner.wants_strong(this.listener.get().is_some());
                if strong != inner.strong {
                    inner.strong = strong;
                    hub.set_strong(token, strong.then_some(slf));
                }
                let deadline = match (inner.core.deadline(), inner.batch_due) {
                    (Some(a), Some(b)) => Some(a.min(b)),
                    (a, b) => a.or(b),
                };
                hub.set_deadline(token, deadline);
                if inner.broken.is_some() && inner.paused.is_none() {
                    Hub::run_soon(this.hub.bind(py), token)?;
                }
            }
            inner.fd < 0 && inner.phase != Phase::New && !std::mem::replace(&mut inner.ended, true)
        };
        if ended {
            Self::on_end(slf)?;
        } else {
            Self::after_flush(slf)?;
        }
        Ok(())
    }

    /// Lets those go on who waited for the send queue to shrink.
    fn after_flush(slf: &Bound<'_, Self>) -> PyResult<()> {
        let (py, this) = (slf.py(), slf.get());
        let drained = {
            let mut inner = this.inner.borrow_mut();
            if inner.draining.is_empty() && inner.rooms.is_empty() {
                return Ok(());
            }
            if inner.core.queued_bytes() > inner.write_low {
                return Ok(());
            }
            std::mem::take(&mut inner.draining)
        };
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
                if !closed && (inner.core.queued_bytes() > inner.write_low || inner.core.is_sending_fragments()) {
                    return Ok(());
                }
                inner.rooms.pop_front()
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
        Self::deliver(slf)?;
        let (opening, failing, pings, closing, phase, why) = {
            let mut inner = this.inner.borrow_mut();
            let mut failing = std::mem::take(&mut inner.draining);
            failing.extend(std::mem::take(&mut inner.rooms));
            let phase = std::mem::replace(&mut inner.phase, Phase::Closed);
            (
                inner.opening.take(),
                failing,
                std::mem::take(&mut inner.pings),
                std::mem::take(&mut inner.closing),
                phase,
                inner.core.close_info().cause.as_ref().map(crate::payload::cause_text),
            )
        };
        if opening.is_some() {
            let error = this.error(py, "open_failed", (slf, phase.name(), "lost", why.unwrap_or_default()));
            resolve(py, opening, Some(error))?;
        }
        for future in failing.into_iter().chain(pings.into_iter().map(|(_, _, future)| future)) {
            let error = this.error(py, "closed", (slf,));
            resolve(py, Some(future), Some(error))?;
        }
        if this.listener.get().is_some() {
            Self::call_on_close(slf)?;
        }
        for future in closing {
            set_result(py, &future, py.None())?;
        }
        Ok(())
    }

    /// Runs a wire extension's work on a thread of its own; the result comes back through the hub.
    fn run_work(slf: &Bound<'_, Self>, work: fastws_core::filter::Work) -> PyResult<()> {
        let (conn, hub) = (slf.clone().unbind(), slf.get().hub.clone_ref(slf.py()));
        let direction = work.direction;
        let spawned = std::thread::Builder::new().name("fastws-work".to_owned()).spawn(move || {
            let done = (work.run)();
            Python::attach(|py| hub.bind(py).get().post(Mail::Worked(conn, direction, done)));
        });
        spawned.map(|_| ()).map_err(PyErr::from)
    }

    /// Writes what a call queued: at once if it is the first of the turn, else at the turn's end. True: the queue is
    /// above its limit.
    #[inline]
    pub(crate) fn after_send(slf: &Bound<'_, Self>) -> PyResult<bool> {
        let this = slf.get();
        let hub = this.hub.bind(slf.py());
        let turn = hub.get().turn();
        let inner = &mut *this.inner.borrow_mut();
        if !inner.blocked {
            if inner.sent_turn != turn {
                inner.sent_turn = turn;
                inner.flush();
                Hub::mark_turn(hub)?;
            } else if inner.core.queued_bytes() >= COALESCE {
                inner.flush();
            } else if !inner.flush_listed && let Some(token) = inner.token {
                inner.flush_listed = true;
                Hub::flush_later(hub, token)?;
            }
        }
        if inner.blocked || inner.broken.is_some() || !inner.strong && inner.core.wants_write() {
            inner.keep_for_writing(slf, hub)?;
        }
        Ok(inner.core.queued_bytes() > inner.write_high)
    }
}

impl Inner {
    fn begin_run(&mut self) {
        self.run_start = clock::monotonic();
        self.run_count = 0;
    }

    /// The socket is writable for the first time: connected, or not to be.
    fn connected(&mut self) {
        let mut error: libc::c_int = 0;
        let mut size = size_of::<libc::c_int>() as libc::socklen_t;
        // SAFETY: both live through the call and have the stated size.
        let result = unsafe {
            libc::getsockopt(self.fd, libc::SOL_SOCKET, libc::SO_ERROR, (&raw mut error).cast(), &raw mut size)
        };
        if result < 0 || error != 0 {
            let error = if result < 0 { io::Error::last_os_error() } else { io::Error::from_raw_os_error(error) };
            self.core.abort(&error.to_string());
            return;
        }
        self.phase = if self.tls.is_some() { Phase::Tls } else { Phase::Upgrade };
    }

    /// Writes what is to be written, as far as the kernel takes it.
    pub(crate) fn flush(&mut self) {
        if self.blocked || self.broken.is_some() || self.fd < 0 || matches!(self.phase, Phase::New | Phase::Tcp) {
            return;
        }
        let outcome = if self.tls.is_some() { self.flush_tls() } else { self.flush_plain() };
        if let Err(error) = outcome {
            if error.kind() == io::ErrorKind::WouldBlock {
                self.blocked = true;
            } else {
                self.broken = Some(error.to_string());
            }
        }
    }

    fn flush_plain(&mut self) -> io::Result<()> {
        loop {
            let (first, second) = self.core.output();
            if first.is_empty() {
                return Ok(());
            }
            let (sent, total) = (send_two(self.fd, first, second)?, first.len() + second.len());
            self.core.wrote(sent);
            if sent < total {
                return Err(io::ErrorKind::WouldBlock.into());
            }
        }
    }

    fn flush_tls(&mut self) -> io::Result<()> {
        let Some(tls) = &mut self.tls else { return Ok(()) };
        loop {
            while !tls.output().is_empty() {
                let sent = send_two(self.fd, tls.output(), &[])?;
                tls.wrote(sent);
            }
            if !tls.is_established() {
                return Ok(());
            }
            let (first, _) = self.core.output();
            if first.is_empty() {
                return Ok(());
            }
            let chunk = &first[..first.len().min(TLS_CHUNK)];
            tls.send(chunk).map_err(io::Error::other)?;
            let count = chunk.len();
            self.core.wrote(count);
        }
    }

    /// Reads once and parses what came.
    fn read(&mut self, py: Python<'_>) -> PyResult<Read> {
        // The buffer is used again: what the consumer has not taken becomes objects.
        self.settle_slices(py)?;
        let outcome = if self.tls.is_some() { self.read_tls(py) } else { self.read_plain(py) };
        let end = match outcome {
            Ok(read) => return read,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => match self.broken.take() {
                // Nothing more came, and nothing can be sent.
                Some(why) => StreamEnd::Error(why),
                None => return Ok(Read::Drained),
            },
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                match &self.tls {
                    Some(tls) if !tls.is_peer_closed() => StreamEnd::Truncated,
                    _ => StreamEnd::Clean,
                }
            }
            Err(error) => StreamEnd::Error(error.to_string()),
        };
        let mut sink = QueueSink::new(py, &mut self.queue, &mut self.events, self.delivery);
        self.core.stream_ended(end, clock::monotonic(), &mut sink);
        Ok(Read::Ended)
    }

    fn read_plain(&mut self, py: Python<'_>) -> io::Result<PyResult<Read>> {
        if let Some(landing) = self.core.landing()
            && landing.room >= LANDING_MIN
        {
            let (spare, size) = landing.buf.spare();
            let room = landing.room.min(size);
            // SAFETY: `room` bytes may be written at `spare`.
            let got = unsafe { receive_raw(self.fd, spare, room) }?;
            // SAFETY: the kernel wrote `got` bytes there.
            unsafe { landing.buf.advance(got) };
            let now = clock::monotonic();
            let mut sink = QueueSink::new(py, &mut self.queue, &mut self.events, self.delivery);
            let _ = self.core.landed(got, now, &mut sink);
            let outcome = sink.outcome();
            self.queue.mark(clock::realtime(), now);
            return Ok(outcome.map(|()| if got < room { Read::Drained } else { Read::More }));
        }
        let mut input = self.take_input();
        let room = input.buffer.len();
        let got = receive(self.fd, &mut input.buffer);
        let got = match got {
            Ok(got) => got,
            Err(error) => {
                self.input = Some(input);
                return Err(error);
            }
        };
        (input.start, input.end) = (0, got);
        self.input = Some(input);
        Ok(self.parse(py).map(|()| if got < room { Read::Drained } else { Read::More }))
    }

    fn read_tls(&mut self, py: Python<'_>) -> io::Result<PyResult<Read>> {
        let Some(tls) = &mut self.tls else { return Err(io::ErrorKind::WouldBlock.into()) };
        let mut cipher = buffers::take();
        let held = tls.take_incoming(&mut cipher);
        let got = receive(self.fd, &mut cipher[held..]);
        let (got, end) = match got {
            Ok(got) => (got, None),
            // What is held is an incomplete record: it is put back for the next read, or never completed.
            Err(error) => (0, Some(error)),
        };
        let room = cipher.len() - held;
        let mut input = match self.input.take() {
            Some(input) => input,
            None => Input { buffer: buffers::take(), start: 0, end: 0 },
        };
        let was_established = tls.is_established();
        let outcome = tls.receive(&mut cipher[..held + got], &mut input.buffer, 0);
        let (established, peer_closed) = (tls.is_established(), tls.is_peer_closed());
        buffers::give(cipher);
        (input.start, input.end) = (0, outcome.as_ref().map_or(0, |filled| *filled));
        self.input = Some(input);
        if !was_established && established && self.phase == Phase::Tls {
            self.phase = Phase::Upgrade;
        }
        self.flush();
        if let Err(error) = outcome {
            return Err(io::Error::other(format!("TLS: {error}")));
        }
        if let Some(error) = end {
            return Err(error);
        }
        let parsed = self.parse(py);
        if peer_closed && parsed.is_ok() {
            // `close_notify`: bytes after it are ignored.
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(parsed.map(|()| if got < room { Read::Drained } else { Read::More }))
    }

    /// Parses what is in the read buffer.
    fn parse(&mut self, py: Python<'_>) -> PyResult<()> {
        let Some(input) = &mut self.input else { return Ok(()) };
        let now = clock::monotonic();
        let mut sink = QueueSink::new(py, &mut self.queue, &mut self.events, self.delivery);
        input.start += self.core.receive(&mut input.buffer[input.start..input.end], now, &mut sink);
        let outcome = sink.outcome();
        self.queue.mark(clock::realtime(), now);
        outcome
    }

    fn take_input(&mut self) -> Input {
        self.input.take().unwrap_or_else(|| Input { buffer: buffers::take(), start: 0, end: 0 })
    }

    /// Reading pauses when the consumer has left more than our queue is to hold.
    fn pause_if_full(&mut self) {
        let water = self.water;
        if self.paused.is_none()
            && (self.queue.len() >= water.high_messages || self.queue.bytes() >= water.high_bytes)
            && !self.core.data_over()
        {
            let now = clock::monotonic();
            self.paused = Some(now);
            self.core.pause_receiving(now);
        }
    }

    /// The wake-up ends, or the buffer is used again: nothing may point into it.
    fn settle_slices(&mut self, py: Python<'_>) -> PyResult<()> {
        self.queue.settle(py)?;
        if self.views.is_empty() {
            return Ok(());
        }
        let views = std::mem::take(&mut self.views);
        let mut pinning = Vec::new();
        for view in views {
            // SAFETY: attached. A count of one is ours: nobody kept the view.
            if unsafe { pyo3::ffi::Py_REFCNT(view.as_ptr()) } > 1 && view.get().settle() {
                pinning.push(view);
            }
        }
        if pinning.is_empty() {
            return Ok(());
        }
        if let Some(input) = self.input.take() {
            let rest = input.buffer[input.start..input.end].to_vec();
            let pinned = PinnedBuffer::new(input.buffer);
            for view in pinning {
                view.get().pin(&pinned);
            }
            if !rest.is_empty() {
                let mut buffer = buffers::take();
                buffer[..rest.len()].copy_from_slice(&rest);
                self.input = Some(Input { buffer, start: 0, end: rest.len() });
            }
        }
        Ok(())
    }

    /// The wake-up ends: the read buffer goes back, unless unparsed bytes are in it.
    fn settle(&mut self, py: Python<'_>) -> PyResult<()> {
        self.settle_slices(py)?;
        if self.input.as_ref().is_some_and(|input| input.start == input.end)
            && let Some(input) = self.input.take()
        {
            buffers::give(input.buffer);
        }
        self.queue.shrink();
        if let Some(tls) = &mut self.tls {
            tls.rest();
        }
        Ok(())
    }

    pub(crate) fn has_input(&self) -> bool {
        self.input.as_ref().is_some_and(|input| input.start < input.end)
    }

    pub(crate) fn wanted(&self) -> Interest {
        Interest {
            read: self.paused.is_none() && !self.core.is_parked() && self.phase != Phase::Tcp,
            write: self.phase == Phase::Tcp || self.blocked,
        }
    }

    /// Whether somebody waits for what happens to the connection.
    pub(crate) fn wants_strong(&self, listening: bool) -> bool {
        listening
            || self.waiter.is_some()
            || self.core.wants_write()
            || self.blocked
            || self.broken.is_some()
            || self.core.state() != State::Open
            || !self.pings.is_empty()
            || !self.closing.is_empty()
            || self.opening.is_some()
    }

    /// Writing goes on without a caller.
    fn keep_for_writing(&mut self, slf: &Bound<'_, Conn>, hub: &Bound<'_, Hub>) -> PyResult<()> {
        let Some(token) = self.token else { return Ok(()) };
        let interest = self.wanted();
        if interest != self.interest {
            self.interest = interest;
            hub.get().set_interest(token, interest);
        }
        if !self.strong {
            self.strong = true;
            hub.get().set_strong(token, Some(slf));
        }
        if self.broken.is_some() {
            Hub::run_soon(hub, token)?;
        }
        Ok(())
    }

    fn half_close(&mut self) {
        if std::mem::replace(&mut self.half_closed, true) {
            return;
        }
        self.say_close_notify();
        // SAFETY: a plain call; a socket that is gone says so, and the read will too.
        unsafe { libc::shutdown(self.fd, libc::SHUT_WR) };
    }

    fn say_close_notify(&mut self) {
        if let Some(tls) = &mut self.tls
            && tls.notify_close().is_ok()
            && !self.blocked
        {
            // Best effort: a peer that takes nothing will not miss it.
            let _ = self.flush_tls();
        }
    }

    /// Closes the stream.
    fn finish(&mut self, hub: &Hub, py: Python<'_>) {
        if !matches!(self.phase, Phase::Tcp | Phase::Tls) {
            self.say_close_notify();
        }
        self.core.stream_closed();
        if let Some(token) = self.token.take() {
            hub.deregister(py, token);
        }
        // SAFETY: the descriptor is ours, out of the poller, and closed once.
        unsafe { libc::close(self.fd) };
        self.fd = -1;
        self.tls = None;
        self.paused = None;
        self.broken = None;
        self.blocked = false;
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

/// Puts what the core receives into the queue.
struct QueueSink<'a, 'py> {
    py: Python<'py>,
    queue: &'a mut Queue,
    events: &'a mut Vec<Event>,
    delivery: fastws_core::Delivery,
    room: usize,
    failed: Option<PyErr>,
}

impl<'a, 'py> QueueSink<'a, 'py> {
    fn new(
        py: Python<'py>,
        queue: &'a mut Queue,
        events: &'a mut Vec<Event>,
        delivery: fastws_core::Delivery,
    ) -> Self {
        Self { py, queue, events, delivery, room: PARSE_MESSAGES, failed: None }
    }

    /// Whether Python had memory for everything.
    fn outcome(self) -> PyResult<()> {
        self.failed.map_or(Ok(()), Err)
    }

    fn flow(&mut self) -> Flow {
        self.room = self.room.saturating_sub(1);
        if self.room == 0 || self.failed.is_some() { Flow::Stop } else { Flow::Continue }
    }

    /// A fragment or frame: (opcode, fin, rsv, payload).
    fn push_piece(&mut self, unit: Unit, payload: &[u8]) {
        let made = PyTuple::new(
            self.py,
            [
                (unit.opcode as u8).into_pyobject(self.py).map_or_else(|e| match e {}, Bound::into_any),
                unit.fin.into_pyobject(self.py).map_or_else(|e| match e {}, |b| b.to_owned().into_any()),
                unit.rsv.into_pyobject(self.py).map_or_else(|e| match e {}, Bound::into_any),
                PyBytes::new(self.py, payload).into_any(),
            ],
        );
        match made {
            Ok(piece) => self.queue.push_piece(piece.into_any().unbind(), payload.len()),
            Err(error) => self.failed = Some(error),
        }
    }
}

impl Sink for QueueSink<'_, '_> {
    type Buf = Landing;

    #[inline]
    fn whole(&mut self, unit: Unit, payload: &[u8]) -> Flow {
        if self.delivery == fastws_core::Delivery::Messages {
            self.queue.push_slice(unit, payload);
        } else {
            self.push_piece(unit, payload);
        }
        self.flow()
    }

    fn lend(&mut self, unit: Unit, capacity: usize) -> Result<Landing, fastws_core::sink::OutOfMemory> {
        let text = unit.opcode == Opcode::Text && self.queue.form == crate::queue::Form::Auto;
        Landing::new(text, capacity)
    }

    fn assembled(&mut self, unit: Unit, payload: Landing) -> Flow {
        if self.delivery != fastws_core::Delivery::Messages {
            self.push_piece(unit, fastws_core::PayloadBuf::as_slice(&payload));
        } else if let Err(error) = self.queue.push_assembled(self.py, unit, payload) {
            self.failed = Some(error);
        }
        self.flow()
    }

    fn event(&mut self, event: Event) {
        self.events.push(event);
    }

    fn before_failure(&mut self) -> Flow {
        // The consumer gets to answer what came before, as it would if the network had cut the stream there.
        if self.queue.is_empty() { Flow::Continue } else { Flow::Stop }
    }
}

/// Ends a future with a result or an exception, if it still waits.
fn resolve(py: Python<'_>, future: Option<Py<PyAny>>, error: Option<PyErr>) -> PyResult<()> {
    let Some(future) = future else { return Ok(()) };
    match error {
        None => set_result(py, &future, py.None()).map(|_| ()),
        Some(error) => {
            let future = future.bind(py);
            if future.call_method0("done")?.is_truthy()? {
                return Ok(());
            }
            future.call_method1("set_exception", (error.value(py),))?;
            // One that nobody awaits any more is not worth a line in the log.
            future.call_method0("exception").map(|_| ())
        }
    }
}

/// Ends a future with a result; false: it did not wait any more.
fn set_result<'py>(py: Python<'py>, future: &Py<PyAny>, value: impl IntoPyObject<'py>) -> PyResult<bool> {
    let future = future.bind(py);
    if future.call_method0("done")?.is_truthy()? {
        return Ok(false);
    }
    let value = value.into_bound_py_any(py)?;
    future.call_method1("set_result", (value,))?;
    Ok(true)
}

fn receive(fd: i32, buffer: &mut [u8]) -> io::Result<usize> {
    // SAFETY: the buffer has that many bytes.
    unsafe { receive_raw(fd, buffer.as_mut_ptr(), buffer.len()) }
}

/// # Safety
/// `size` bytes may be written at `buffer`.
unsafe fn receive_raw(fd: i32, buffer: *mut u8, size: usize) -> io::Result<usize> {
    loop {
        // SAFETY: the caller's promise.
        let got = unsafe { libc::recv(fd, buffer.cast(), size, libc::MSG_DONTWAIT) };
        match got {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            1.. => return Ok(got as usize),
            _ => {
                let error = io::Error::last_os_error();
                if error.kind() != io::ErrorKind::Interrupted {
                    return Err(error);
                }
            }
        }
    }
}

/// Sends two slices in one call; returns how much of them the kernel took.
fn send_two(fd: i32, first: &[u8], second: &[u8]) -> io::Result<usize> {
    loop {
        let sent = if second.is_empty() {
            // SAFETY: the slice has that many bytes.
            unsafe { libc::send(fd, first.as_ptr().cast(), first.len(), FLAGS) }
        } else {
            let mut parts = [part(first), part(second)];
            // SAFETY: an all-zero msghdr is valid; the parts live through the call.
            unsafe {
                let mut message: libc::msghdr = std::mem::zeroed();
                message.msg_iov = parts.as_mut_ptr();
                message.msg_iovlen = 2;
                libc::sendmsg(fd, &raw const message, FLAGS)
            }
        };
        if sent >= 0 {
            return Ok(sent as usize);
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}

fn part(slice: &[u8]) -> libc::iovec {
    libc::iovec { iov_base: slice.as_ptr().cast_mut().cast(), iov_len: slice.len() }
}

#[cfg(any(target_os = "linux", target_os = "android"))]
const FLAGS: libc::c_int = libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT;
#[cfg(not(any(target_os = "linux", target_os = "android")))]
const FLAGS: libc::c_int = libc::MSG_DONTWAIT;
