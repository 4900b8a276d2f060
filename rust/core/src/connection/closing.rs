//! The end of a connection: the closing handshake (RFC 6455 §7), failures, timeouts, and the end of the stream.

use super::send::MAX_CONTROL;
use super::{Connection, OpeningSide};
use crate::Nanos;
use crate::close::{Broken, Cause, Close, CloseCode, Initiator, MAX_REASON};
use crate::config::Role;
use crate::error::{Error, Flaw, Limit, Misuse, Violation};
use crate::frame::Opcode;
use crate::handshake::Response;
use crate::keepalive::Action;
use crate::sink::{Event, PayloadBuf, Sink};
use crate::state::State;

use super::receive::Reading;

/// How the receiving half of the stream ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StreamEnd {
    /// TCP's FIN on a plain connection, or TLS's `close_notify`.
    Clean,
    /// TCP's FIN without a `close_notify` before it.
    Truncated,
    /// A reset or another error.
    Error(Broken),
}

/// What the driver is to do with the stream after it has written what it could.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Teardown {
    /// Nothing: the connection goes on.
    Keep,
    /// End the sending half (after `close_notify` on TLS) and go on reading: the peer is to see that this is the end.
    HalfClose,
    /// Close the stream, then call [`Connection::stream_closed`].
    Close,
}

impl<B: PayloadBuf> Connection<B> {
    /// Begins the closing handshake, after all data that is queued. Once it has begun, or when the connection is over,
    /// this does nothing.
    ///
    /// # Errors
    /// [`Misuse::CloseCode`], [`Misuse::ReasonTooLong`]: then nothing happened.
    pub fn close(&mut self, code: Option<u16>, reason: &str, now: Nanos) -> Result<(), Misuse> {
        let close = Close::to_send(code, reason)?;
        match self.state() {
            State::Connecting => self.abort("closed before the opening handshake was over"),
            State::Open => {
                self.close.initiator = Some(Initiator::Local);
                self.start_deadline(now);
                self.state.closing();
                self.send_close(close, true);
            }
            State::Closing | State::Closed => {}
        }
        Ok(())
    }

    /// Gives the connection up at once, without a closing handshake.
    pub fn abort(&mut self, why: &str) {
        self.end_with(Cause::Aborted(why.to_owned()));
        self.stream_closed();
    }

    /// There is no stream: it broke before it was connected.
    pub fn not_connected(&mut self, broken: Broken) {
        self.end_with(Cause::Transport(broken));
        self.stream_closed();
    }

    /// A Close frame arrived (§5.5.1): answered with the same code, and maybe reason, behind the data that is queued.
    pub(super) fn close_received<S: Sink<Buf = B>>(&mut self, close: Close, now: Nanos, sink: &mut S) {
        self.close.initiator.get_or_insert(Initiator::Remote);
        self.start_deadline(now);
        self.state.closing();
        if self.close.sent.is_none() {
            let reason = if self.config.echo_reason { close.reason.clone() } else { String::new() };
            self.send_close(Close { code: close.code, reason }, true);
        }
        self.close.received = Some(close);
        self.data_ends_behind_work(sink);
    }

    /// Fails the connection (§7.1.7): tells the peer why in a Close frame that passes all data, and reads no more.
    pub(super) fn fail<S: Sink<Buf = B>>(&mut self, error: Error, now: Nanos, sink: &mut S) {
        if self.failed || self.state() == State::Closed {
            return;
        }
        if self.state() == State::Connecting {
            return self.refused(error, None, sink);
        }
        let (code, reason) = (error.close_code().unwrap_or(CloseCode::INTERNAL_ERROR), error.close_reason());
        // Even after the peer's Close: what waited for work may show a violation, or be lost.
        self.close.cause.get_or_insert(Cause::Protocol(error));
        self.fail_with(code, &reason, now, sink);
    }

    /// The same, whatever the cause.
    fn fail_with<S: Sink<Buf = B>>(&mut self, code: CloseCode, reason: &str, now: Nanos, sink: &mut S) {
        self.failed = true;
        self.start_deadline(now);
        self.state.closing();
        if self.close.sent.is_none() || self.filter.as_ref().is_some_and(|slot| slot.close_waits) {
            self.close.initiator.get_or_insert(Initiator::Local);
            self.send_close(Close { code: Some(code), reason: shortened(reason) }, false);
        }
        if let Some(slot) = &mut self.filter {
            slot.sending.clear();
        }
        self.data_ends(sink);
    }

    /// The driver could not keep so many bytes of what came, for want of memory: nothing comes behind them, so that they are
    /// no gap that nobody sees.
    pub fn lost<S: Sink<Buf = B>>(&mut self, size: usize, now: Nanos, sink: &mut S) {
        self.fail(Limit::Memory { size }.into(), now, sink);
    }

    /// The opening handshake failed.
    pub(super) fn refused<S: Sink<Buf = B>>(&mut self, error: Error, response: Option<Response>, sink: &mut S) {
        self.end_with(Cause::Protocol(error.clone()));
        self.reading = Reading::Over;
        self.opening = None;
        self.failed = true;
        self.state.closed();
        sink.event(Event::Refused { error, response: response.map(Box::new) });
    }

    /// The receiving half of the stream ended.
    pub fn stream_ended<S: Sink<Buf = B>>(&mut self, end: StreamEnd, now: Nanos, sink: &mut S) {
        if self.ended {
            return;
        }
        self.ended = true;
        if let Some(error) = self.failing.take() {
            self.fail(*error, now, sink);
        }
        let broken = matches!(end, StreamEnd::Error(_));
        if self.state() == State::Connecting {
            self.opening_ended(end, sink);
            return;
        }
        // After a Close frame any end will do: there is nothing more to learn from it. Before one, it is 1006.
        if self.close.received.is_none() {
            let place = self.place();
            self.end_with(match end {
                StreamEnd::Clean => Cause::Eof(place),
                StreamEnd::Truncated => Cause::Truncated(place),
                StreamEnd::Error(broken) => Cause::Transport(broken),
            });
        }
        self.start_deadline(now);
        self.state.closing();
        self.data_ends_behind_work(sink);
        if broken {
            self.data_ends(sink);
            self.stream_closed();
        }
    }

    /// Whether the receiving half of the stream has ended.
    #[must_use]
    pub fn has_stream_ended(&self) -> bool {
        self.ended
    }

    fn opening_ended<S: Sink<Buf = B>>(&mut self, end: StreamEnd, sink: &mut S) {
        if let Some(OpeningSide::Client(handshake)) = self.opening.as_mut().map(|opening| &mut opening.side)
            && let Some(crate::handshake::Outcome::Refused(error, response)) = handshake.receive_eof()
        {
            return self.refused(error, response, sink);
        }
        let how = match end {
            StreamEnd::Clean => "the stream ended".to_owned(),
            StreamEnd::Truncated => "the TLS stream was cut off".to_owned(),
            StreamEnd::Error(broken) => broken.text,
        };
        let text = format!("{how} before the opening handshake was over");
        let error = Violation::Handshake(Flaw::Unfinished, text);
        self.refused(error.into(), None, sink);
    }

    /// The stream is closed, both ways.
    pub fn stream_closed(&mut self) {
        if self.close.received.is_none() && self.close.cause.is_none() {
            self.close.cause = Some(Cause::Aborted("the stream was closed".to_owned()));
        }
        self.forget_received();
        if let Some(slot) = &mut self.filter {
            slot.sending.clear();
        }
        self.opening = None;
        self.state.closed();
    }

    /// When [`Connection::tick`] is to be called next; none: only input or output can change something.
    pub fn deadline(&self) -> Option<Nanos> {
        match self.state() {
            State::Open => match (self.keepalive.deadline(), self.filter.as_ref().and_then(|slot| slot.rest_at)) {
                (Some(a), Some(b)) => Some(a.min(b)),
                (a, b) => a.or(b),
            },
            State::Closing => self.close_deadline,
            State::Connecting | State::Closed => None,
        }
    }

    /// Tells the time. `lag` is how much later than the deadline the driver could call. The driver reads what has
    /// arrived before it calls this, so that silence is never a verdict on itself.
    pub fn tick<S: Sink<Buf = B>>(&mut self, now: Nanos, lag: Nanos, sink: &mut S) {
        if let Some(slot) = &mut self.filter {
            slot.look(now);
        }
        match self.state() {
            State::Open => match self.keepalive.on_tick(now, lag) {
                Action::Nothing => {}
                // A full lane of pings means that none could leave: the verdict is due all the same.
                Action::Ping => drop(self.ping(None, now)),
                Action::Dead(verdict) => {
                    let reason = format!("keepalive ping timeout: {verdict}");
                    self.end_with(Cause::Keepalive(verdict));
                    self.fail_with(CloseCode::INTERNAL_ERROR, &reason, now, sink);
                    // Nobody is there to answer: one try to write, then the end.
                    self.close_deadline = Some(now);
                }
            },
            State::Closing if self.close_deadline.is_some_and(|deadline| now >= deadline) => {
                if self.close.received.is_none() {
                    self.end_with(Cause::CloseTimeout);
                }
                self.data_ends(sink);
                self.stream_closed();
            }
            _ => {}
        }
    }

    /// What is to be done with the stream now.
    pub fn teardown(&self) -> Teardown {
        if self.state() == State::Closed {
            return Teardown::Close;
        }
        if self.state() != State::Closing || self.wants_write() || self.is_working() {
            return Teardown::Keep;
        }
        let both = self.close.received.is_some() && self.close.sent.is_some();
        // 7.1.1: the server closes the stream first, so that it, and not the client, holds TIME_WAIT.
        if self.ended || (self.config.role == Role::Server && (both || self.failed)) {
            return Teardown::Close;
        }
        if self.failed { Teardown::HalfClose } else { Teardown::Keep }
    }

    /// Sends the Close frame that waited for work, if it need not wait any more.
    pub(super) fn close_when_worked(&mut self) {
        if self.filter.as_mut().is_some_and(|slot| std::mem::take(&mut slot.close_waits))
            && let Some(close) = self.close.sent.take()
        {
            self.send_close(close, true);
        }
    }

    /// Whether there is work whose result is still wanted.
    fn is_working(&self) -> bool {
        self.filter.as_ref().is_some_and(|slot| slot.draining || (slot.sending.busy.is_some() && !self.failed))
    }

    pub(super) fn send_close(&mut self, close: Close, after_data: bool) {
        let waits = after_data && self.filter.as_ref().is_some_and(|slot| slot.sending.busy.is_some());
        if let Some(slot) = &mut self.filter {
            slot.close_waits = waits;
        }
        if !waits {
            let mut bytes = [0; MAX_CONTROL];
            let used = self.control_frame(Opcode::Close, 0, &close.payload(), &mut bytes);
            self.queue.push_close(&bytes[..used], after_data);
            self.stats.frames_sent += 1;
        }
        self.close.sent = Some(close);
    }

    fn start_deadline(&mut self, now: Nanos) {
        if self.close_deadline.is_none() {
            self.close_deadline = self.config.close_timeout.map(|timeout| now.saturating_add(timeout));
        }
    }

    /// The first cause stays.
    pub(super) fn end_with(&mut self, cause: Cause) {
        if self.close.received.is_none() {
            self.close.cause.get_or_insert(cause);
        }
    }

    pub(super) fn data_ends<S: Sink<Buf = B>>(&mut self, sink: &mut S) {
        if !self.data_over() {
            self.forget_received();
            sink.event(Event::DataOver);
        }
    }

    /// The same, but frames that arrived and wait for work are delivered before.
    fn data_ends_behind_work<S: Sink<Buf = B>>(&mut self, sink: &mut S) {
        match &mut self.filter {
            Some(slot) if slot.receiving.busy.is_some() && !matches!(self.reading, Reading::Over) => {
                slot.draining = true;
                self.reading = Reading::Over;
            }
            Some(slot) if slot.draining => {}
            _ => self.data_ends(sink),
        }
    }

    pub(super) fn forget_received(&mut self) {
        self.reading = Reading::Over;
        self.failing = None;
        self.assembly.clear();
        if let Some(slot) = &mut self.filter {
            slot.draining = false;
            slot.raw = Vec::new();
            slot.receiving.clear();
        }
    }
}

/// Cuts a reason to what a Close frame can carry, between characters.
fn shortened(reason: &str) -> String {
    let mut end = reason.len().min(MAX_REASON);
    while !reason.is_char_boundary(end) {
        end -= 1;
    }
    reason[..end].to_owned()
}
