//! The program of a connection: what each step does.

use fastws_core::handshake::{self, Request};
use fastws_core::{Error, Incompatible, Nanos, Opcode, State};

use crate::clock;
use crate::conn::{Conn, Phase};
use crate::output::Outbox;
use crate::source::{BlastSource, PacedSource, ReplaySource, Source};
use crate::step::{Accept, Fault, Outgoing, Refusal, Step};
use crate::venue::{Session, Suffered};

/// What is to be done.
pub(crate) enum Task {
    Step(Step),
    /// A step that was interrupted.
    Resume(Active),
}

/// The step that takes time.
pub(crate) enum Active {
    Nothing,
    Wait(Nanos),
    /// Messages still to come.
    Expect(u64),
    /// Messages still to be echoed.
    Echo(u64),
    Source(Source),
    /// Waits, at most until then, for what was written to leave: a reset would take it back.
    Reset(Nanos),
}

impl Active {
    /// Whether a frame of a source was written in part.
    #[inline]
    pub(crate) fn is_mid(&self) -> bool {
        matches!(self, Self::Source(source) if source.is_mid())
    }

    /// When time alone changes something.
    #[inline]
    pub(crate) fn deadline(&self) -> Option<Nanos> {
        match self {
            Self::Wait(until) => Some(*until),
            Self::Source(source) => source.deadline(),
            Self::Reset(_) => Some(clock::now() + UNSENT_CHECK),
            Self::Nothing | Self::Expect(_) | Self::Echo(_) => None,
        }
    }
}

impl Conn {
    /// A request came: its program begins.
    pub(super) fn on_request(&mut self, request: Box<Request>, now: Nanos) {
        let headers = request.headers.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        self.log.requested(&request.target, headers);
        self.program = self.shared.program(&request.target, now).into_iter().map(Task::Step).collect();
        self.request = Some(request);
        self.phase = Phase::Running;
    }

    /// What came is not a request to upgrade.
    pub(super) fn on_bad_request(&mut self, error: &Error) {
        self.log.error(&error.to_string());
        let (status, more) = match error {
            Error::PeerIncompatible(Incompatible::Version(_)) => {
                (426, vec![("Sec-WebSocket-Version".to_owned(), "13".to_owned())])
            }
            Error::LimitExceeded(_) => (431, Vec::new()),
            _ => (400, Vec::new()),
        };
        let body = format!("{error}\n");
        if let Ok(response) = handshake::refuse(status, reason(status), &more, body.as_bytes()) {
            self.outbox.push_raw(&response);
        }
        self.phase = Phase::Running;
    }

    /// Steps from outside. Faults in front happen at once, the rest when what is being sent was sent.
    pub(crate) fn inject(&mut self, steps: Vec<Step>, now: Nanos) {
        let mut steps = steps.into_iter().peekable();
        while let Some(Step::Fault(fault)) = steps.next_if(|step| matches!(step, Step::Fault(_))) {
            match fault {
                Fault::Reset => self.reset(),
                fault => self.fault(fault, now),
            }
        }
        self.injected.extend(steps);
    }

    /// Puts injected steps in front of the one that is under way.
    #[inline]
    pub(super) fn preempt(&mut self) {
        if self.injected.is_empty() || self.active.is_mid() || self.request.is_some() || self.phase != Phase::Running {
            return;
        }
        let active = std::mem::replace(&mut self.active, Active::Nothing);
        self.program.push_front(Task::Resume(active));
        for step in self.injected.drain(..).rev() {
            self.program.push_front(Task::Step(step));
        }
    }

    /// Everything before was written: begins the next step if the one before is over. Whether anything changed.
    pub(super) fn advance(&mut self, now: Nanos) -> bool {
        let open = self.core.state() <= State::Open;
        match &mut self.active {
            Active::Wait(until) if *until > now => return false,
            Active::Expect(1..) | Active::Echo(1..) => return false,
            Active::Source(Source::Replay(replay)) if open && replay.mismatch().is_some() => {
                let number = replay.mismatch().unwrap_or_default();
                self.fail(1008, &format!("message {number} differs from the recorded one"), now);
                return true;
            }
            Active::Source(Source::Venue(session)) if open && self.muted.is_none() => {
                let Some((code, reason)) = session.take_close(now) else { return false };
                self.put(Outgoing::Close(Some(code), reason), now);
            }
            Active::Source(source) if open && !source.is_done() => return false,
            Active::Reset(until) => {
                if *until > now && self.stream.has_unsent() {
                    return false;
                }
                self.reset();
                return true;
            }
            _ => {}
        }
        match self.program.pop_front() {
            None if matches!(self.active, Active::Nothing) && matches!(self.phase, Phase::Opening(_)) => return false,
            None => self.active = Active::Expect(u64::MAX),
            Some(Task::Resume(active)) => self.active = active,
            Some(Task::Step(step)) => {
                self.active = Active::Nothing;
                self.begin(step, now);
            }
        }
        true
    }

    fn begin(&mut self, step: Step, now: Nanos) {
        let open = self.core.state() == State::Open;
        match step {
            Step::Accept(accept) => self.accept(accept, now),
            Step::Refuse(refusal) => self.refuse(&refusal, now),
            Step::Answer(bytes) => self.answer(&bytes, now),
            Step::Send(outgoing) => self.put(outgoing, now),
            Step::Wait(span) => self.active = Active::Wait(now.saturating_add(clock::nanos(span))),
            Step::Expect(count) => {
                let seen = self.early.min(count);
                self.early -= seen;
                self.active = Active::Expect(if count == u64::MAX { count } else { count - seen });
            }
            Step::Echo(count) => self.active = Active::Echo(count),
            Step::Think(span) => self.think = clock::nanos(span),
            Step::PingEvery(interval) => {
                let interval = clock::nanos(interval).max(1);
                self.pings = Some((interval, now.saturating_add(interval)));
            }
            Step::Fault(fault) => self.fault(fault, now),
            Step::End => self.put(Outgoing::Close(Some(1000), String::new()), now),
            Step::Blast(..) | Step::Paced(..) | Step::Replay(..) | Step::Venue(..) if !open => {}
            Step::Venue(path) => match self.shared.venue(&path) {
                Some(venue) => {
                    let session = Session::new(venue, self.log.id, now);
                    self.active = Active::Source(Source::Venue(Box::new(session)));
                }
                None => self.fail(1011, &format!("there is no venue at {path:?}"), now),
            },
            Step::Blast(range, blast) => {
                if range.start < range.end {
                    self.active = Active::Source(Source::Blast(BlastSource::new(range, &blast)));
                }
            }
            Step::Paced(range, paced) => {
                if range.start < range.end {
                    self.active = Active::Source(Source::Paced(PacedSource::new(range, &paced, now)));
                }
            }
            Step::Replay(range, replay) => match self.shared.feed(&replay.name) {
                Some(feed) => {
                    let feed = match self.outbox.compressed_ahead(range.start == 0) {
                        Some(how) => feed.deflated(how),
                        None => feed,
                    };
                    let source = ReplaySource::new(range, &replay, feed, now);
                    self.active = Active::Source(Source::Replay(Box::new(source)));
                }
                None => self.fail(1011, &format!("no feed is called {:?}", replay.name), now),
            },
        }
    }

    fn accept(&mut self, accept: Accept, now: Nanos) {
        let Some(request) = self.request.take() else { return };
        let config = &self.shared.config;
        let asked = |name: &&String| {
            let lists = request.headers.get_all("Sec-WebSocket-Protocol");
            lists.flat_map(|list| list.split(',')).any(|one| one.trim() == name.as_str())
        };
        let chosen = accept.subprotocol.or_else(|| config.subprotocols.iter().find(asked).cloned());
        let mut headers = [config.headers.as_slice(), &accept.headers].concat();
        let offers = request.headers.list("Sec-WebSocket-Extensions");
        let agreed = accept.deflate.unwrap_or(config.deflate).and_then(|terms| terms.answer(offers));
        headers.extend(agreed.iter().map(|(answer, _)| ("Sec-WebSocket-Extensions".to_owned(), answer.clone())));
        match handshake::accept(&request, chosen.as_deref(), &headers) {
            Ok(mut response) => {
                response.extend_from_slice(&accept.glued);
                self.log.answered(chosen, now);
                self.opened(response, now);
                if let Some((_, terms)) = agreed {
                    self.core.compress(Some(terms));
                    self.outbox.compress(terms);
                }
            }
            Err(misuse) => {
                self.request = Some(request);
                self.log.error(&misuse.to_string());
                self.refuse(&Refusal { status: 500, headers: Vec::new(), body: misuse.to_string().into() }, now);
            }
        }
    }

    fn answer(&mut self, bytes: &[u8], now: Nanos) {
        let Some(request) = self.request.take() else { return };
        let key = request.headers.get("Sec-WebSocket-Key").unwrap_or_default();
        let accept = handshake::accept_for(key.trim());
        let mut response = Vec::with_capacity(bytes.len() + accept.len());
        let mut rest = bytes;
        while let Some(at) = rest.windows(PLACEHOLDER.len()).position(|window| window == PLACEHOLDER) {
            response.extend_from_slice(&rest[..at]);
            response.extend_from_slice(accept.as_bytes());
            rest = &rest[at + PLACEHOLDER.len()..];
        }
        response.extend_from_slice(rest);
        self.log.answered(None, now);
        self.opened(response, now);
    }

    fn opened(&mut self, response: Vec<u8>, now: Nanos) {
        if let Err(misuse) = self.core.accept(response, now) {
            self.log.error(&misuse.to_string());
        }
    }

    fn refuse(&mut self, refusal: &Refusal, now: Nanos) {
        let Some(_) = self.request.take() else { return };
        let response = handshake::refuse(refusal.status, reason(refusal.status), &refusal.headers, &refusal.body);
        let refused = response.and_then(|response| self.core.refuse(response));
        self.log.answered(None, now);
        if let Err(misuse) = refused {
            self.log.error(&misuse.to_string());
            self.finish(now);
        }
    }

    fn put(&mut self, outgoing: Outgoing, now: Nanos) {
        if let Outgoing::Raw(bytes) = &outgoing {
            return self.outbox.push_raw(bytes);
        }
        if self.core.state() != State::Open || self.muted.is_some() {
            return;
        }
        match outgoing {
            Outgoing::Text(text) => self.put_message(Opcode::Text, &[text.as_bytes()]),
            Outgoing::Binary(payload) => self.put_message(Opcode::Binary, &[&payload]),
            Outgoing::Fragments(text, parts) => {
                let parts: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
                self.put_message(if text { Opcode::Text } else { Opcode::Binary }, &parts);
            }
            Outgoing::Ping(payload) => self.outbox.push(Opcode::Ping, true, &payload),
            Outgoing::Pong(payload) => self.outbox.push(Opcode::Pong, true, &payload),
            Outgoing::Close(code, reason) => {
                if self.core.close(code, &reason, now).is_err() {
                    let mut payload = code.map(u16::to_be_bytes).map(|code| code.to_vec()).unwrap_or_default();
                    payload.extend_from_slice(reason.as_bytes());
                    self.outbox.push(Opcode::Close, true, &payload);
                }
            }
            Outgoing::Raw(_) => {}
        }
    }

    fn put_message(&mut self, opcode: Opcode, parts: &[&[u8]]) {
        push_fragments(&mut self.outbox, opcode, parts);
        self.log.sent(1, parts.iter().map(|part| part.len() as u64).sum());
    }

    fn fault(&mut self, fault: Fault, now: Nanos) {
        match fault {
            Fault::Reset => self.active = Active::Reset(now.saturating_add(self.shared.timeout())),
            Fault::Eof => self.finish(now),
            Fault::Truncate => self.shut_down(now),
            Fault::HalfClose => {
                self.stream.notify();
                let _ = self.stream.flush(now);
                self.stream.shut_down();
                self.muted = Some(Nanos::MAX);
            }
            Fault::Silence { read } => {
                self.muted = Some(Nanos::MAX);
                if !read {
                    self.stalled = Some(Nanos::MAX);
                }
            }
            Fault::StallReading(span) => {
                self.stalled = Some(span.map_or(Nanos::MAX, |span| now.saturating_add(clock::nanos(span))));
            }
            Fault::Drip { chunk, delay } => self.stream.set_drip(chunk, clock::nanos(delay)),
            Fault::IgnorePings => self.answers_pings = false,
        }
    }

    /// What a venue's schedule does to its sessions.
    pub(super) fn suffer(&mut self, now: Nanos) {
        while let Active::Source(Source::Venue(session)) = &mut self.active
            && let Some(suffered) = session.suffer(now)
        {
            match suffered {
                Suffered::Reset => return self.reset(),
                Suffered::Silence(until) => self.muted = self.muted.max(Some(until)),
                Suffered::Cut(until) => {
                    self.muted = self.muted.max(Some(until));
                    self.stalled = self.stalled.max(Some(until));
                }
                Suffered::Close => {}
            }
        }
    }

    fn reset(&mut self) {
        self.stream.reset_on_close();
        self.phase = Phase::Over;
    }

    /// The program cannot go on.
    fn fail(&mut self, code: u16, why: &str, now: Nanos) {
        self.log.error(why);
        self.program.clear();
        self.active = Active::Nothing;
        self.put(Outgoing::Close(Some(code), why.to_owned()), now);
    }
}

fn push_fragments(outbox: &mut Outbox, opcode: Opcode, parts: &[&[u8]]) {
    for (number, part) in parts.iter().enumerate() {
        let opcode = if number == 0 { opcode } else { Opcode::Continuation };
        outbox.push(opcode, number + 1 == parts.len(), part);
    }
}

/// The reason phrase of a status.
fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        301 => "Moved Permanently",
        302 => "Found",
        307 => "Temporary Redirect",
        308 => "Permanent Redirect",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        407 => "Proxy Authentication Required",
        408 => "Request Timeout",
        426 => "Upgrade Required",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        _ => "Status",
    }
}

/// In the bytes of [`Step::Answer`].
const PLACEHOLDER: &[u8] = b"{accept}";

/// How often the kernel is asked whether what was written has left.
const UNSENT_CHECK: Nanos = 200_000;
