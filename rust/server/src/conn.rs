//! One connection: reads, feeds the protocol core, writes, and carries out its program. Nothing here ever waits: a turn
//! does a bounded amount of work and says when the next one is due.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use fastws_core::close::Cause;
use fastws_core::connection::{Connection, StreamEnd, Teardown};
use fastws_core::deflate::Terms;
use fastws_core::handshake::Request;
use fastws_core::{Config, Delivery, Limits, Nanos, Role, SECOND, State};

use crate::clock;
use crate::intake::{Deaf, Intake, Tally};
use crate::output::{AT_ONCE, Outbox};
use crate::program::{Active, Task};
use crate::report::ConnLog;
use crate::shared::Shared;
use crate::source::Source;
use crate::step::Step;
use crate::stream::{Received, Scratch, Stream};

/// A connection and all that is known of it.
pub(crate) struct Conn {
    pub(crate) stream: Stream,
    pub(crate) shared: Arc<Shared>,
    pub(crate) log: Arc<ConnLog>,
    pub(super) core: Connection<Vec<u8>>,
    pub(super) outbox: Outbox,
    pub(super) program: VecDeque<Task>,
    pub(super) active: Active,
    /// Steps from outside, until what is being sent is at the end of a frame.
    pub(super) injected: Vec<Step>,
    /// Messages that came while no step was waiting for them.
    pub(super) early: u64,
    /// The request that waits for its answer.
    pub(super) request: Option<Box<Request>>,
    pub(super) phase: Phase,
    /// Nothing is read until then.
    pub(super) stalled: Option<Nanos>,
    /// Nothing is written until then.
    pub(super) muted: Option<Nanos>,
    pub(super) answers_pings: bool,
    /// Interval and next time of our own pings.
    pub(super) pings: Option<(Nanos, Nanos)>,
    /// How long after its message an echo leaves, and when the next one may.
    pub(super) think: Nanos,
    answer_at: Option<Nanos>,
    /// Received, but not to be consumed yet.
    held: Vec<u8>,
    /// A frame of the core's was written in part.
    core_mid: bool,
    /// The stream did not take what there was.
    blocked: bool,
    /// The peer's sending half is over.
    ended: bool,
    /// When patience ends with a peer that does not end the connection.
    give_up: Option<Nanos>,
}

/// How far a connection has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// TLS and the request must be over by then.
    Opening(Nanos),
    Running,
    /// Our half is closed; until then what still comes is read and forgotten, since a close with unread data is a reset.
    Draining(Nanos),
    Over,
}

/// What a turn wants next.
pub(crate) enum Turn {
    /// Another turn, after the others had theirs.
    Again,
    /// A turn at the next event, or at this time.
    Sleep(Option<Nanos>),
    /// To be forgotten.
    Gone,
}

impl Conn {
    pub(crate) fn new(stream: Stream, shared: Arc<Shared>, log: Arc<ConnLog>, now: Nanos) -> Self {
        let mut config = Config::new(Role::Server, || [0; 4]);
        let most = shared.config.max_message;
        config.delivery = Delivery::Frames;
        config.limits = Limits { max_message: most, max_frame: most, ..Limits::default() };
        config.auto_pong = false;
        config.ping_interval = None;
        config.ping_timeout = None;
        config.close_timeout = None;
        config.deflate = Some((Terms::default(), AT_ONCE));
        let delay = clock::nanos(shared.config.accept_delay);
        Self {
            stream,
            core: Connection::server(config),
            outbox: Outbox::default(),
            program: VecDeque::new(),
            active: Active::Nothing,
            injected: Vec::new(),
            early: 0,
            request: None,
            phase: Phase::Opening(now.saturating_add(delay).saturating_add(shared.timeout())),
            stalled: (delay > 0).then(|| now.saturating_add(delay)),
            muted: None,
            answers_pings: true,
            pings: None,
            think: 0,
            answer_at: None,
            held: Vec::new(),
            core_mid: false,
            blocked: false,
            ended: false,
            give_up: None,
            shared,
            log,
        }
    }

    /// Does what can be done now.
    pub(crate) fn turn(&mut self, now: Nanos, scratch: &mut Scratch) -> Turn {
        if let Phase::Draining(until) = self.phase {
            return self.drain(until, now, scratch);
        }
        self.on_time(now);
        if self.outbox.is_empty() {
            self.outbox.lend(std::mem::take(&mut scratch.spare));
        }
        let mut rounds = 0;
        while self.is_running() && (self.receive(now, scratch) | self.send(now)) {
            rounds += 1;
            if rounds == ROUNDS {
                break;
            }
        }
        self.settle(now);
        if let Some(storage) = self.outbox.take_back() {
            scratch.spare = storage;
        }
        match self.phase {
            Phase::Over => Turn::Gone,
            _ if rounds == ROUNDS => Turn::Again,
            _ => Turn::Sleep(self.deadline()),
        }
    }

    fn is_running(&self) -> bool {
        matches!(self.phase, Phase::Opening(_) | Phase::Running)
    }

    /// What is due by now.
    fn on_time(&mut self, now: Nanos) {
        if self.stalled.is_some_and(|until| until <= now) {
            self.stalled = None;
        }
        if self.muted.is_some_and(|until| until <= now) {
            self.muted = None;
        }
        self.suffer(now);
        if let Some((interval, next)) = self.pings.filter(|(_, next)| *next <= now) {
            // A full lane of pings: the peer does not read, and misses one.
            let _ = self.core.ping(None, now);
            self.pings = Some((interval, next.saturating_add(interval).max(now)));
        }
        self.answer_at = self.answer_at.filter(|&at| at > now);
        if matches!(self.phase, Phase::Opening(until) if until <= now) {
            self.log.error("no request came in time");
            self.phase = Phase::Over;
        }
        if self.give_up.is_some_and(|until| until <= now) {
            self.phase = Phase::Over;
        }
    }

    /// When the next turn is due without an event.
    fn deadline(&self) -> Option<Nanos> {
        let phase = match self.phase {
            Phase::Opening(until) | Phase::Draining(until) => Some(until),
            Phase::Running | Phase::Over => None,
        };
        let step = match &self.active {
            _ if self.blocked => self.stream.drip_deadline(),
            Active::Source(_) if self.muted.is_some() => None,
            active => active.deadline(),
        };
        let fault = match &self.active {
            Active::Source(Source::Venue(session)) => session.fault_deadline(),
            _ => None,
        };
        let pings = self.pings.filter(|_| self.core.state() == State::Open).map(|(_, next)| next);
        let stalled = self.stalled.filter(|&until| until != Nanos::MAX);
        let muted = self.muted.filter(|&until| until != Nanos::MAX);
        [phase, step, fault, pings, stalled, muted, self.answer_at, self.give_up].into_iter().flatten().min()
    }

    /// Reads once, or goes on with what was held back. Whether anything moved.
    #[inline]
    fn receive(&mut self, now: Nanos, scratch: &mut Scratch) -> bool {
        if !self.may_consume() {
            return false;
        }
        if !self.held.is_empty() {
            let mut held = std::mem::take(&mut self.held);
            let used = self.consume(&mut held, now);
            held.drain(..used);
            self.held = held;
            return used > 0;
        }
        if !self.stream.readable || self.stalled.is_some() || self.ended {
            return false;
        }
        #[cfg(unix)]
        if let Some(moved) = self.receive_landing(now) {
            return moved;
        }
        match self.stream.read(scratch, now) {
            Received::Bytes(count) => {
                if matches!(self.phase, Phase::Opening(_)) && self.stream.take_handshake() == Some(true) {
                    self.log.counters().resumed.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                }
                let used = self.consume(&mut scratch.plain[..count], now);
                self.held.extend_from_slice(&scratch.plain[used..count]);
                true
            }
            Received::Nothing => false,
            Received::End(end) => {
                self.on_end(end, now);
                true
            }
            Received::Reset => {
                self.log.peer_reset();
                self.phase = Phase::Over;
                true
            }
        }
    }

    /// Reads a large payload straight into its storage; none: there is no such payload, or the ordinary way must say more.
    #[cfg(unix)]
    fn receive_landing(&mut self, now: Nanos) -> Option<bool> {
        if self.stream.is_tls() {
            return None;
        }
        let landing = self.core.landing()?;
        // Only where all that the storage has room for belongs to this payload.
        if landing.room < LANDING || landing.buf.capacity() - landing.buf.len() != landing.room {
            return None;
        }
        let room = landing.room;
        let count = rustix::io::read(&self.stream.socket, rustix::buffer::spare_capacity(landing.buf)).ok()?;
        if count == 0 {
            return None;
        }
        self.stream.was_read(count, room);
        let (core, mut intake) = self.intake(now);
        core.landed(count, now, &mut intake);
        let tally = intake.tally;
        self.took(tally, now);
        Some(true)
    }

    /// Whether received data may be looked at.
    #[inline]
    fn may_consume(&self) -> bool {
        self.request.is_none()
            && self.outbox.bytes() < HIGH_WATER
            && !matches!(self.active, Active::Echo(0) | Active::Expect(0))
    }

    fn intake(&mut self, now: Nanos) -> (&mut Connection<Vec<u8>>, Intake<'_>) {
        let open = self.core.state() == State::Open && self.muted.is_none();
        let intake = Intake {
            active: &mut self.active,
            outbox: &mut self.outbox,
            log: &self.log,
            now,
            open,
            record: self.shared.config.record,
            tally: Tally::default(),
        };
        (&mut self.core, intake)
    }

    /// Feeds the core. Returns how much may not come again.
    #[inline]
    fn consume(&mut self, input: &mut [u8], now: Nanos) -> usize {
        let mut at = 0;
        while at < input.len() {
            let (core, mut intake) = self.intake(now);
            let used = core.receive(&mut input[at..], now, &mut intake);
            let tally = intake.tally;
            at += used;
            self.took(tally, now);
            if used == 0 || !self.may_consume() {
                break;
            }
        }
        at
    }

    fn took(&mut self, tally: Tally, now: Nanos) {
        if tally.messages > 0 || tally.bytes > 0 {
            self.log.received(tally.messages, tally.bytes);
            self.early += tally.early;
        }
        if tally.echoed > 0 || tally.echoed_bytes > 0 {
            self.log.sent(tally.echoed, tally.echoed_bytes);
            if self.think > 0 {
                self.answer_at = Some(now.saturating_add(self.think));
            }
        }
        if let Some(payload) = tally.ping.filter(|_| self.answers_pings && self.muted.is_none()) {
            // Where the lane is full the peer sends pings and reads nothing.
            let _ = self.core.pong(&payload);
        }
        if let Some(request) = tally.request {
            self.on_request(request, now);
        }
        if let Some(error) = tally.refused {
            self.on_bad_request(&error);
        }
    }

    fn on_end(&mut self, end: StreamEnd, now: Nanos) {
        self.ended = true;
        match &end {
            StreamEnd::Clean => self.log.peer_fin(),
            StreamEnd::Truncated => {
                self.log.peer_fin();
                self.log.error("the TLS stream was cut off without close_notify");
            }
            StreamEnd::Error(broken) => self.log.error(&broken.text),
        }
        self.core.stream_ended(end, now, &mut Deaf);
    }

    /// Writes what the stream takes, and goes through the program. Whether anything moved.
    #[inline]
    fn send(&mut self, now: Nanos) -> bool {
        let (mut moved, mut left) = (false, WRITE_TURN);
        while self.is_running() && left > 0 {
            self.preempt();
            match self.write_next(now) {
                Ok(Some(0)) => {
                    self.blocked = true;
                    return moved;
                }
                Ok(Some(count)) => left = left.saturating_sub(count),
                Ok(None) => {
                    self.blocked = false;
                    if !self.advance(now) {
                        return moved;
                    }
                }
                Err(error) => {
                    self.on_write_error(&error);
                    return true;
                }
            }
            moved = true;
        }
        moved
    }

    /// Writes what is next. None: there is nothing to write; 0: the stream takes nothing.
    ///
    /// Frames never interleave: one that was begun is finished. Pongs pass what waits; a Close does not.
    #[inline]
    fn write_next(&mut self, now: Nanos) -> io::Result<Option<usize>> {
        if self.muted.is_some() {
            return Ok(None);
        }
        let open = self.core.state() <= State::Open;
        if self.active.is_mid() {
            return self.write_source(now);
        }
        let core_first = self.core_mid || (open && !self.outbox.is_mid()) || self.outbox.is_empty();
        if core_first && self.core.wants_write() {
            let (first, second) = self.core.output();
            let slices = [io::IoSlice::new(first), io::IoSlice::new(second)];
            let count = self.stream.write(&slices, now)?;
            self.core.wrote(count);
            self.core_mid = (count > 0 || self.core_mid) && self.core.wants_write();
            return Ok(Some(count));
        }
        if !self.outbox.is_empty() {
            if self.answer_at.is_some() {
                return Ok(Some(0));
            }
            let (slices, used) = self.outbox.slices();
            let count = self.stream.write(&slices[..used], now)?;
            self.outbox.wrote(count);
            return Ok(Some(count));
        }
        if open && matches!(self.active, Active::Source(_)) {
            return self.write_source(now);
        }
        Ok(if self.stream.flush(now)? { None } else { Some(0) })
    }

    fn write_source(&mut self, now: Nanos) -> io::Result<Option<usize>> {
        let Active::Source(source) = &mut self.active else { return Ok(None) };
        let chunk = source.chunk(now);
        if chunk.is_empty() {
            return Ok(if self.stream.flush(now)? { None } else { Some(0) });
        }
        let count = self.stream.write(&[io::IoSlice::new(chunk)], now)?;
        let sent = source.wrote(count);
        if sent.messages > 0 {
            self.log.sent(sent.messages, sent.payload_bytes);
        }
        Ok(Some(count))
    }

    fn on_write_error(&mut self, error: &io::Error) {
        match error.kind() {
            io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => self.log.peer_reset(),
            _ => self.log.error(&error.to_string()),
        }
        self.phase = Phase::Over;
    }

    /// Ends what is over.
    fn settle(&mut self, now: Nanos) {
        if !self.is_running() {
            return;
        }
        if self.stream.ending && self.stalled.is_some() {
            self.note_unread_end();
        }
        let state = self.core.state();
        if state >= State::Closing {
            self.log_close();
        }
        if self.muted.is_some() {
            // The peer is gone and will not come back; tests that wait for its own patience to end are faster.
            if self.ended || self.stream.ending {
                self.give_up.get_or_insert(now.saturating_add(ABANDONED));
            }
            return;
        }
        if state < State::Closing {
            return;
        }
        self.give_up.get_or_insert(now.saturating_add(self.shared.timeout()));
        let over = state == State::Closed || self.core.teardown() != Teardown::Keep;
        if over && self.outbox.is_empty() && self.stream.is_flushed() && !self.active.is_mid() {
            self.finish(now);
        }
    }

    /// The peer ended the stream while we do not read it.
    fn note_unread_end(&mut self) {
        if matches!(self.stream.socket.take_error(), Ok(Some(_))) {
            self.log.peer_reset();
            self.phase = Phase::Over;
        } else {
            self.log.peer_fin();
        }
    }

    fn log_close(&self) {
        let info = self.core.close_info();
        if let Some(close) = &info.received {
            self.log.close_received(close.reported_code().0, &close.reason);
        }
        if let Some(Cause::Protocol(error)) = &info.cause {
            self.log.error(&error.to_string());
        }
    }

    /// Ends our half in good order, and waits for the peer's.
    pub(super) fn finish(&mut self, now: Nanos) {
        self.stream.notify();
        let _ = self.stream.flush(now);
        self.shut_down(now);
    }

    /// Ends our half of the TCP connection, and waits for the peer's.
    pub(super) fn shut_down(&mut self, now: Nanos) {
        self.stream.shut_down();
        self.give_up = None;
        self.phase = if self.ended { Phase::Over } else { Phase::Draining(now.saturating_add(DRAIN)) };
    }

    fn drain(&mut self, until: Nanos, now: Nanos, scratch: &mut Scratch) -> Turn {
        if until <= now {
            return Turn::Gone;
        }
        for _ in 0..ROUNDS {
            if !self.stream.readable {
                return Turn::Sleep(Some(until));
            }
            match self.stream.read(scratch, now) {
                Received::Bytes(_) => {}
                Received::Nothing => return Turn::Sleep(Some(until)),
                Received::End(_) => {
                    self.log.peer_fin();
                    return Turn::Gone;
                }
                Received::Reset => {
                    self.log.peer_reset();
                    return Turn::Gone;
                }
            }
        }
        Turn::Again
    }

    /// The server stops: a Close 1001, as far as the stream takes it at once.
    pub(crate) fn say_goodbye(&mut self, now: Nanos) {
        if self.core.state() == State::Open && self.muted.is_none() && !self.active.is_mid() {
            let _ = self.core.close(Some(fastws_core::CloseCode::GOING_AWAY.0), "the server stops", now);
            while let Ok(Some(1..)) = self.write_next(now) {}
        }
    }
}

/// Rounds of reading and writing in one turn; then others have theirs.
const ROUNDS: usize = 4;

/// Bytes written in one round.
const WRITE_TURN: usize = 1 << 20;

/// With this much unsent, nothing is read.
const HIGH_WATER: usize = 1 << 20;

/// From this size on, a payload is read straight into its storage.
#[cfg(unix)]
const LANDING: usize = 16 << 10;

/// How long the peer may take to end its half after we ended ours.
const DRAIN: Nanos = 2 * SECOND;

/// How long a connection that says nothing any more outlives its peer.
const ABANDONED: Nanos = 30 * SECOND;
