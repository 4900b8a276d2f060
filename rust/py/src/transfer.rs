//! Bytes between the socket and the core: one receive path and one send path, for plain and TLS streams.

mod ending;
mod sending;
mod settling;

use std::collections::VecDeque;
use std::io;

use fastws_core::connection::StreamEnd;
use fastws_core::filter::{Direction, WorkDone};
use fastws_core::handshake::Response;
use fastws_core::{Broken, Nanos, PayloadBuf, State};
use pyo3::prelude::*;

use crate::address::Address;
use crate::conn::Inner;
use crate::driver::Phase;
use crate::extras::{receive, receive_raw};
use crate::sink::QueueSink;
use crate::tap::{self, Way};
use crate::tls::Tls;
use crate::{buffers, clock, fault, payload};

pub(crate) use sending::{Fragment, TLS_CHUNK};

/// A read buffer that is lent to the connection, and what of it is not parsed.
pub(crate) struct Input {
    pub buffer: Box<[u8]>,
    pub start: usize,
    pub end: usize,
    /// When it was read, by the calendar and by the clock, of what a call of `parse` left for the next.
    pub since: Option<(Nanos, Nanos)>,
}

impl Input {
    pub fn of(buffer: Box<[u8]>, end: usize) -> Self {
        Self { buffer, start: 0, end, since: None }
    }

    fn empty() -> Self {
        Self::of(buffers::take(), 0)
    }
}

/// What a read brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Read {
    /// Bytes; there may be more.
    More,
    /// Bytes or none; the socket is empty.
    Drained,
    /// The stream is over.
    Ended,
}

/// A payload with more to come than this is received straight into its storage.
const LANDING_MIN: usize = 16 << 10;

/// What the last compressed messages of a peer that is gone may become while nobody takes them, above what the queue is
/// to hold: as much as a kernel holds of plain ones.
const ENDING_BYTES: usize = 8 << 20;

impl Inner {
    /// The socket is connected to `remote`.
    pub(crate) fn connected_to(&mut self, remote: Address) {
        (self.local, self.remote) = (Address::local(self.fd), remote);
        // That of a proxy, with nothing inside, is established already.
        let is_to_come = self.tls.as_ref().is_some_and(|tls| !tls.is_established());
        self.phase = if is_to_come { Phase::Tls } else { Phase::Upgrade };
    }

    /// The socket is writable for the first time: connected, or not to be.
    pub(crate) fn connected(&mut self) {
        let mut error: libc::c_int = 0;
        let mut size = size_of::<libc::c_int>() as libc::socklen_t;
        // SAFETY: both live through the call and have the stated size.
        let result = unsafe {
            libc::getsockopt(self.fd, libc::SOL_SOCKET, libc::SO_ERROR, (&raw mut error).cast(), &raw mut size)
        };
        if result < 0 || error != 0 {
            let error = if result < 0 { io::Error::last_os_error() } else { io::Error::from_raw_os_error(error) };
            self.core.not_connected(broken(&error));
            return;
        }
        // One that was given to us may never have been connected.
        match Address::remote(self.fd) {
            Some(remote) => self.connected_to(remote),
            None => self.core.abort("the socket is not connected"),
        }
    }

    /// Parses what was read before; reads, if there is nothing.
    #[inline]
    pub(crate) fn take_in(&mut self, py: Python<'_>) -> PyResult<Read> {
        if self.has_unparsed() || self.core.is_failing() {
            self.parse(py);
            return Ok(Read::More);
        }
        self.read(py)
    }

    /// The peer ended its half or reset while we did not read: what is left in the kernel is bounded, and behind it is
    /// the end. What it becomes where it is compressed is not, so that has a bound of its own.
    pub(crate) fn hung_up(&mut self) {
        self.held = false;
        if self.paused.is_some() && !self.is_ending {
            self.is_ending = true;
            self.resume_reading();
        }
    }

    /// Whether an end that is known has to wait for the consumer: too much is before it.
    pub(crate) fn is_ending_late(&self) -> bool {
        let held = match &self.ring {
            None => self.queue.bytes() as u64,
            Some(attached) => attached.ring.get().store.borrow().retained_bytes(),
        };
        let high = self.settings.water.high_bytes.saturating_add(ENDING_BYTES);
        self.is_ending && self.core.compression().is_some() && held >= high as u64
    }

    /// Our own queue does not keep us from reading any more.
    pub(crate) fn resume_reading(&mut self) {
        self.paused = None;
        self.core.resume_receiving(clock::monotonic());
    }

    /// Tells the core the time, if it waited for it.
    pub(crate) fn tick(&mut self, py: Python<'_>, now: Nanos, lag: Nanos) {
        if self.phase != Phase::Closed && self.core.deadline().is_some_and(|at| at <= now) {
            let mut sink = QueueSink::new(py, &mut self.queue, &mut self.events, self.delivery);
            self.core.tick(now, lag, &mut sink);
        }
    }

    /// Takes back the result of a wire extension's work.
    pub(crate) fn worked(&mut self, py: Python<'_>, direction: Direction, done: WorkDone) {
        let now = clock::monotonic();
        let mut sink = QueueSink::new(py, &mut self.queue, &mut self.events, self.delivery);
        self.core.job_done(direction, done, now, &mut sink);
        let lost = sink.lost();
        self.end_behind(py, lost, now);
        self.arrived(py, now);
    }

    /// The connection ends behind what could not be kept.
    #[inline]
    fn end_behind(&mut self, py: Python<'_>, lost: Option<usize>, now: Nanos) {
        if let Some(size) = lost {
            let mut sink = QueueSink::new(py, &mut self.queue, &mut self.events, self.delivery);
            self.core.lost(size, now, &mut sink);
        }
    }

    /// The upgrade was accepted: with this response, the connection is open. Returns who waits for it.
    pub(crate) fn opened(&mut self, response: &Response) -> Option<Py<PyAny>> {
        self.response = Some(payload::pack_response(response));
        self.phase = Phase::Open;
        // What a quiet connection has no use for any more.
        self.events = VecDeque::new();
        let opening = self.rare.opening.take();
        self.rare.rest();
        opening
    }

    /// The pings that this Pong answers, each with its latency: it answers all before the one of `number`, too, whose
    /// round trip took `rtt`.
    pub(crate) fn answered_pings(&mut self, number: u64, rtt: Nanos) -> Vec<(Nanos, Py<PyAny>)> {
        if self.rare.pings.is_empty() {
            return Vec::new();
        }
        let (answered, waiting) = std::mem::take(&mut self.rare.pings).into_iter().partition(|(n, _, _)| *n <= number);
        self.rare.pings = waiting;
        self.rare.rest();
        let known = answered.iter().find(|(n, _, _)| *n == number);
        let now = known.map_or_else(clock::monotonic, |(_, sent, _)| sent + rtt);
        answered.into_iter().map(|(_, sent, future)| (now.saturating_sub(sent), future)).collect()
    }

    /// Reads once and parses what came.
    pub(crate) fn read(&mut self, py: Python<'_>) -> PyResult<Read> {
        // The buffer is used again: what the consumer has not taken becomes objects.
        self.settle_slices(py)?;
        let outcome = if self.tls.is_some() { self.read_tls(py) } else { self.read_plain(py) };
        let end = match outcome {
            Ok(read) => return read,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => match self.broken.take() {
                // Nothing more came, and nothing can be sent.
                Some(why) => StreamEnd::Error(*why),
                None => return Ok(Read::Drained),
            },
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => match &self.tls {
                Some(tls) if tls.end().is_none() || tls.is_cut_off() => StreamEnd::Truncated,
                _ => StreamEnd::Clean,
            },
            Err(error) => StreamEnd::Error(broken(&error)),
        };
        // What could not be written tells more than an end does, and nothing that is queued can leave any more. What TLS
        // says tells more yet: a peer that refused us with an alert may have reset the connection behind it.
        let end = match self.broken.take() {
            Some(why) if !self.tls.as_ref().is_some_and(|tls| matches!(tls.end(), Some(Err(_)))) => {
                StreamEnd::Error(*why)
            }
            _ => end,
        };
        tap::note(&mut self.extras, Way::In, &[], &[]);
        let mut sink = QueueSink::new(py, &mut self.queue, &mut self.events, self.delivery);
        self.core.stream_ended(end, clock::monotonic(), &mut sink);
        Ok(Read::Ended)
    }

    fn read_plain(&mut self, py: Python<'_>) -> io::Result<PyResult<Read>> {
        if !self.is_tapped()
            && let Some(landing) = self.core.landing()
            && landing.room >= LANDING_MIN
        {
            let (spare, size) = landing.buf.spare();
            let room = landing.room.min(size);
            // SAFETY: `room` bytes may be written at `spare`.
            let got = unsafe { receive_raw(self.fd, &mut self.extras, &self.queue, spare, room) }?;
            // SAFETY: the kernel wrote `got` bytes there.
            unsafe { landing.buf.advance(got) };
            self.reads = self.reads.wrapping_add(1);
            let now = clock::monotonic();
            let mut sink = QueueSink::new(py, &mut self.queue, &mut self.events, self.delivery);
            let _ = self.core.landed(got, now, &mut sink);
            let lost = sink.lost();
            self.end_behind(py, lost, now);
            self.arrived(py, now);
            return Ok(Ok(if got < room { Read::Drained } else { Read::More }));
        }
        let mut input = self.take_input();
        let room = input.buffer.len();
        let got = receive(self.fd, &mut self.extras, &self.queue, &mut input.buffer);
        let got = match got {
            Ok(got) => got,
            Err(error) => {
                self.input = Some(input);
                return Err(error);
            }
        };
        (input.start, input.end) = (0, got);
        self.input = Some(input);
        self.reads = self.reads.wrapping_add(1);
        self.parse(py);
        Ok(Ok(if got < room { Read::Drained } else { Read::More }))
    }

    fn read_tls(&mut self, py: Python<'_>) -> io::Result<PyResult<Read>> {
        let is_tapped = self.is_tapped();
        let Some(tls) = &mut self.tls else { return Err(io::ErrorKind::WouldBlock.into()) };
        match tls.end() {
            None => {}
            Some(Ok(())) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Some(Err(error)) => return Err(io::Error::other(format!("TLS: {error}"))),
        }
        let Tls::Rustls(tls) = tls else { return self.read_records().map(Ok) };
        let mut cipher = buffers::take();
        let held = tls.put_incoming(&mut cipher);
        let room = cipher.len() - held - tls.kept();
        let got = match receive(self.fd, &mut self.extras, &self.queue, &mut cipher[held..held + room]) {
            Ok(got) => got,
            Err(error) => {
                buffers::give(cipher);
                return Err(error);
            }
        };
        self.reads = self.reads.wrapping_add(1);
        let mut input = self.input.take().unwrap_or_else(Input::empty);
        let now = clock::monotonic();
        let (core, plain) = (&mut self.core, &mut input.buffer);
        let mut sink = QueueSink::new(py, &mut self.queue, &mut self.events, self.delivery);
        let mut filled = 0;
        tls.receive(&mut cipher[..held + got], |payload| {
            if filled == 0
                && !is_tapped
                && let Some(landing) = core.landing()
                && landing.room >= payload.len()
            {
                // All of it belongs to a large message: it is copied once, to where it will live.
                landing.buf.extend(payload);
                let _ = core.landed(payload.len(), now, &mut sink);
                return;
            }
            // Plaintext is never longer than its records, which fit a buffer of the same size.
            debug_assert!(filled + payload.len() <= plain.len());
            plain[filled..filled + payload.len()].copy_from_slice(payload);
            filled += payload.len();
        });
        let lost = sink.lost();
        buffers::give(cipher);
        (input.start, input.end) = (0, filled);
        self.input = Some(input);
        let (established, ended) = (tls.is_established(), tls.end().is_some());
        if established && self.phase == Phase::Tls {
            self.phase = Phase::Upgrade;
        }
        self.flush();
        // An end among the records is told by the next read, when what came before it was parsed.
        let read = if got < room && !ended { Read::Drained } else { Read::More };
        self.end_behind(py, lost, now);
        // What is found to be wrong may have to wait.
        if !self.core.is_failing() {
            self.parse(py);
        }
        Ok(Ok(read))
    }

    /// Parses what is in the read buffer.
    pub(crate) fn parse(&mut self, py: Python<'_>) {
        let input = self.input.get_or_insert_with(Input::empty);
        fault::point(fault::Place::Parse);
        let now = clock::monotonic();
        let mut sink = QueueSink::new(py, &mut self.queue, &mut self.events, self.delivery);
        let begin = input.start;
        input.start += self.core.receive(&mut input.buffer[begin..input.end], now, &mut sink);
        tap::note(&mut self.extras, Way::In, &input.buffer[begin..input.start], &[]);
        let lost = sink.lost();
        let since = input.since.take().unwrap_or_else(|| (clock::realtime(), now));
        if input.start < input.end {
            input.since = Some(since);
        }
        self.end_behind(py, lost, now);
        self.arrived_at(py, since);
    }

    /// What came just now is in the queue: it gets its moment.
    pub(crate) fn arrived(&mut self, py: Python<'_>, now: Nanos) {
        self.arrived_at(py, (clock::realtime(), now));
    }

    fn arrived_at(&mut self, py: Python<'_>, (moment, now): (Nanos, Nanos)) {
        self.queue.mark(moment, now);
        if let Some(last) = self.rare.discards_behind {
            self.rare.discarded += self.queue.drop_behind(py, last);
        }
    }

    fn take_input(&mut self) -> Input {
        self.input.take().unwrap_or_else(Input::empty)
    }

    /// Reading pauses when the consumer has left more than our queue is to hold. True: it does from now on.
    ///
    /// Not while our Close waits for its answer: that lies behind the data, which nobody may be there to take. What
    /// comes from here on is read and let go.
    pub(crate) fn pause_if_full(&mut self, listening: bool) -> bool {
        let water = self.settings.water;
        let has_enough = match &self.ring {
            None => self.queue.len() >= water.high_messages || self.queue.bytes() >= water.high_bytes,
            Some(attached) => attached.ring.get().store.borrow().is_full(),
        };
        let goes_on = self.is_ending && !self.is_ending_late();
        let full = self.paused.is_none() && !goes_on && has_enough && !self.core.data_over();
        if full && !listening && self.core.state() == State::Closing {
            let newest = self.queue.newest();
            self.rare.discards_behind.get_or_insert(newest);
            return false;
        }
        if full {
            let now = clock::monotonic();
            self.paused = Some(now);
            self.core.pause_receiving(now);
            if let Some(attached) = &self.ring {
                attached.ring.get().store.borrow_mut().pause(now);
            }
        }
        full
    }

    /// Whether something is to be taken in without the socket: bytes not parsed, a violation not acted upon, or an end not
    /// told.
    pub(crate) fn has_input(&self) -> bool {
        self.has_unparsed()
            || self.core.is_failing()
            || self.tls.as_ref().is_some_and(|tls| tls.end().is_some() && !self.core.has_stream_ended())
    }

    /// Whether bytes were read that are not parsed.
    pub(crate) fn has_unparsed(&self) -> bool {
        self.input.as_ref().is_some_and(|input| input.start < input.end)
    }
}

/// What the core is told of an error that the stream broke by.
fn broken(error: &io::Error) -> Broken {
    Broken { text: error.to_string(), number: error.raw_os_error() }
}
