//! The receiving half: bytes → frames → (filter) → messages → sink.

use super::{Connection, OpeningSide, SHARE};
use crate::Nanos;
use crate::assemble::Assembly;
use crate::close::{Close, Place};
use crate::config::{Delivery, Role};
use crate::deflate::{self, Terms};
use crate::error::{Error, Incompatible, Violation};
use crate::frame::{self, Header, MAX_HEADER, Opcode};
use crate::handshake::Outcome;
use crate::mask::mask;
use crate::sink::{Event, Flow, PayloadBuf, Sink, Unit};
use crate::utf8;

/// What the next byte belongs to.
pub(super) enum Reading {
    Handshake,
    Header {
        partial: [u8; MAX_HEADER],
        have: u8,
    },
    /// A data frame's payload, of which `got` bytes were taken.
    Data {
        header: Header,
        opcode: Opcode,
        got: u64,
    },
    /// A control frame's payload.
    Control {
        header: Header,
        payload: Vec<u8>,
    },
    /// Nothing: what still arrives is ignored (§5.5.1, §7.1.7).
    Over,
}

/// Where a large payload can be received straight into.
pub struct Landing<'a, B> {
    /// The storage; append to it, by at most `room` bytes, then call [`Connection::landed`].
    pub buf: &'a mut B,
    /// Bytes that belong to this payload and that the storage has room for.
    pub room: usize,
}

impl Reading {
    pub(super) fn header() -> Self {
        Self::Header { partial: [0; MAX_HEADER], have: 0 }
    }
}

impl<B: PayloadBuf> Connection<B> {
    /// Takes in what arrived and returns how much of it was consumed: all, unless the sink said stop or received data
    /// waits for [`Work`] or the connection [`is_failing`](Connection::is_failing) or a wire extension has made much of
    /// little: the rest is for the next call. Bytes are unmasked in place. Errors of
    /// the peer's making end the connection, and are found in [`Connection::close_info`].
    #[inline]
    pub fn receive<S: Sink<Buf = B>>(&mut self, input: &mut [u8], now: Nanos, sink: &mut S) -> usize {
        if let Some(error) = self.failing.take() {
            self.fail(*error, now, sink);
        }
        if input.is_empty() {
            return 0;
        }
        self.keepalive.on_bytes(now);
        if let Some(slot) = &mut self.filter {
            slot.look(now);
            slot.share = SHARE;
        }
        self.stats.bytes_received += input.len() as u64;
        let raw = self.config.delivery == Delivery::Raw;
        let simple = self.config.role == Role::Client
            && (raw || matches!(self.config.delivery, Delivery::Messages | Delivery::Mixed))
            && self.config.limits.max_frame > 0xffff
            && self.config.limits.max_message > 0xffff;
        let mut at = 0;
        while at < input.len() {
            if simple
                && self.assembly.is_idle()
                && matches!(self.reading, Reading::Header { have: 0, .. })
                && self.passes_plain()
            {
                let rest = &input[at..];
                let (used, outcome) =
                    if raw { self.receive_whole_raw(rest, sink) } else { self.receive_whole(rest, sink) };
                at += used;
                match outcome {
                    Ok(Flow::Continue) if at == input.len() => break,
                    Ok(Flow::Continue) => {}
                    Ok(Flow::Stop) => break,
                    Err(error) => match self.violated(error, now, sink) {
                        Flow::Continue => continue,
                        Flow::Stop => break,
                    },
                }
            }
            if self.is_parked() {
                break;
            }
            match self.receive_step(&mut input[at..], now, sink) {
                Ok((used, flow)) => {
                    at += used;
                    if flow == Flow::Stop {
                        break;
                    }
                }
                Err(error) => {
                    if self.violated(error, now, sink) == Flow::Stop {
                        break;
                    }
                }
            }
        }
        self.stats.bytes_received -= (input.len() - at) as u64;
        self.look_at_work(now);
        at
    }

    /// Fails the connection, now or at the next call, which need not bring anything.
    fn violated<S: Sink<Buf = B>>(&mut self, error: Error, now: Nanos, sink: &mut S) -> Flow {
        let flow = sink.before_failure();
        match flow {
            Flow::Continue => self.fail(error, now, sink),
            Flow::Stop => self.failing = Some(Box::new(error)),
        }
        flow
    }

    /// The common case and the fast one: unmasked, unfragmented text and binary frames that lie whole in the input,
    /// with lengths of 7 or 16 bits. Stops before anything else.
    #[inline]
    fn receive_whole<S: Sink<Buf = B>>(&mut self, input: &[u8], sink: &mut S) -> (usize, Result<Flow, Error>) {
        let (mut at, mut messages, mut payload_bytes) = (0, 0, 0);
        let mut outcome = Ok(Flow::Continue);
        while let Some([first, second]) = input.get(at..).and_then(<[u8]>::first_chunk::<2>) {
            let opcode = match first {
                0x81 => Opcode::Text,
                0x82 => Opcode::Binary,
                _ => break,
            };
            let (start, length) = match second {
                0..=125 => (at + 2, *second as usize),
                126 => match input.get(at + 2..).and_then(<[u8]>::first_chunk::<2>) {
                    Some(bytes) if u16::from_be_bytes(*bytes) >= 126 => (at + 4, u16::from_be_bytes(*bytes) as usize),
                    _ => break,
                },
                _ => break,
            };
            let Some(payload) = input.get(start..start + length) else { break };
            let ascii = if opcode == Opcode::Text {
                match utf8::validate(payload) {
                    Ok(ascii) => ascii,
                    Err(offset) => {
                        // As in the general case: a frame counts when its header is admitted.
                        self.stats.frames_received += 1;
                        self.stats.payload_received += length as u64;
                        outcome = Err(Violation::Utf8(offset).into());
                        break;
                    }
                }
            } else {
                false
            };
            at = start + length;
            messages += 1;
            payload_bytes += length;
            if sink.whole(Unit { opcode, fin: true, rsv: 0, ascii }, payload) == Flow::Stop {
                outcome = Ok(Flow::Stop);
                break;
            }
        }
        self.stats.frames_received += messages;
        self.stats.messages_received += messages;
        self.stats.payload_received += payload_bytes as u64;
        (at, outcome)
    }

    /// One step of the general case: part of a handshake, of a header, or of a payload.
    fn receive_step<S: Sink<Buf = B>>(
        &mut self,
        input: &mut [u8],
        now: Nanos,
        sink: &mut S,
    ) -> Result<(usize, Flow), Error> {
        match &mut self.reading {
            Reading::Over => Ok((input.len(), Flow::Continue)),
            Reading::Handshake => self.receive_handshake(input, now, sink),
            Reading::Header { partial, have } => {
                let reserved = match self.config.delivery {
                    Delivery::Raw => 7,
                    _ => self.filter.as_ref().map_or(self.config.reserved_bits, |slot| slot.filter.reserved_bits()),
                };
                let before = *have as usize;
                let more = input.len().min(MAX_HEADER - before);
                partial[before..before + more].copy_from_slice(&input[..more]);
                let seen = &partial[..before + more];
                let Some((header, length)) = frame::decode(seen, self.config.role, reserved)? else {
                    *have += more as u8;
                    return Ok((more, Flow::Continue));
                };
                self.reading = Reading::header();
                // `length > before`: the bytes before were not enough.
                let used = length - before;
                let flow = self.begin_frame(header, &mut input[used..], now, sink)?;
                Ok((used + flow.0, flow.1))
            }
            Reading::Data { header, opcode, got } => {
                let (header, opcode, got) = (*header, *opcode, *got);
                self.receive_piece(header, opcode, got, input, sink)
            }
            Reading::Control { header, payload } => {
                let missing = header.length as usize - payload.len();
                let used = missing.min(input.len());
                payload.extend_from_slice(&input[..used]);
                if used < missing {
                    return Ok((used, Flow::Continue));
                }
                let (header, mut payload) = (*header, std::mem::take(payload));
                self.reading = Reading::header();
                let flow = self.control(header, &mut payload, false, now, sink)?;
                Ok((used, flow))
            }
        }
    }

    fn receive_handshake<S: Sink<Buf = B>>(
        &mut self,
        input: &[u8],
        now: Nanos,
        sink: &mut S,
    ) -> Result<(usize, Flow), Error> {
        let Some(opening) = &mut self.opening else { return Ok((input.len(), Flow::Continue)) };
        match &mut opening.side {
            OpeningSide::Client(handshake) => {
                let (used, outcome) = handshake.receive(input, &self.config.limits)?;
                match outcome {
                    None => {}
                    Some(Outcome::Accepted(response, negotiated)) => {
                        let deflate = match self.agreed(&negotiated.extensions) {
                            Ok(deflate) => deflate,
                            Err(error) => {
                                self.refused(error, Some(response), sink);
                                return Ok((used, Flow::Continue));
                            }
                        };
                        let Some(opening) = &mut self.opening else { return Ok((used, Flow::Continue)) };
                        opening.side = OpeningSide::Decided;
                        if opening.written == opening.output.len() {
                            self.opening = None;
                        }
                        self.compress(deflate);
                        self.opened(now);
                        sink.event(Event::Opened(Box::new(response)));
                        // The driver may have a wire extension to set before the bytes behind the response are frames.
                        return Ok((used, Flow::Stop));
                    }
                    Some(Outcome::Refused(error, response)) => self.refused(error, response, sink),
                }
                Ok((used, Flow::Continue))
            }
            OpeningSide::Server(reader) => {
                let (used, request) = reader.receive(input, &self.config.limits)?;
                if let Some(request) = request {
                    opening.side = OpeningSide::Requested;
                    sink.event(Event::Requested(Box::new(request)));
                    return Ok((used, Flow::Stop));
                }
                // Nothing consumed: these bytes are behind a request that was not answered yet.
                Ok((used, if used == 0 { Flow::Stop } else { Flow::Continue }))
            }
            // Bytes behind a request whose answer is not decided yet are not consumed.
            OpeningSide::Requested | OpeningSide::Decided => Ok((0, Flow::Stop)),
        }
    }

    /// Compression as the server's answer has it, if it has.
    fn agreed(&self, extensions: &[String]) -> Result<Option<Terms>, Error> {
        let Some((terms, _)) = &self.config.deflate else { return Ok(None) };
        match extensions {
            [] => Ok(None),
            [answer] => terms.agreed(answer).map(Some),
            [..] => {
                let text =
                    format!("the server chose {} extensions; {} can be there once", extensions.len(), deflate::NAME);
                Err(Incompatible::Extension(text).into())
            }
        }
    }

    fn begin_frame<S: Sink<Buf = B>>(
        &mut self,
        header: Header,
        input: &mut [u8],
        now: Nanos,
        sink: &mut S,
    ) -> Result<(usize, Flow), Error> {
        self.stats.frames_received += 1;
        if header.opcode.is_control() {
            let length = header.length as usize;
            if let Some(payload) = input.get_mut(..length) {
                let flow = self.control(header, payload, true, now, sink)?;
                return Ok((length, flow));
            }
            self.reading = Reading::Control { header, payload: input.to_vec() };
            return Ok((input.len(), Flow::Continue));
        }
        let mut opcode = match self.config.delivery {
            // Nothing is known of its message, so nothing is checked of it: as binary.
            Delivery::Raw => Assembly::<B>::admit_alone(&header, &self.config.limits).map(|()| Opcode::Binary)?,
            _ => self.assembly.admit(&header, &self.config.limits)?,
        };
        if self.config.reserved_bits != 0 {
            // Text is what the extension makes of it.
            opcode = Opcode::Binary;
        }
        self.stats.payload_received += header.length;
        let whole = usize::try_from(header.length).ok().filter(|&length| length <= input.len());
        if let Some(length) = whole {
            let payload = &mut input[..length];
            if let Some(key) = header.key {
                mask(payload, key, 0);
            }
            let flow = if self.filter.is_some() {
                self.filter_received(header.into(), opcode, payload, true, sink)?
            } else {
                self.whole_frame(header, opcode, payload, sink)?
            };
            return Ok((length, flow));
        }
        self.reading = Reading::Data { header, opcode, got: 0 };
        self.receive_piece(header, opcode, 0, input, sink)
    }

    /// A data frame that lies whole in the input.
    fn whole_frame<S: Sink<Buf = B>>(
        &mut self,
        header: Header,
        opcode: Opcode,
        payload: &[u8],
        sink: &mut S,
    ) -> Result<Flow, Error> {
        let mut unit = self.unit(&header, opcode);
        let ascii = self.assembly.check(opcode, payload)?;
        if matches!(self.config.delivery, Delivery::Messages | Delivery::Mixed) {
            if !is_alone(&header) {
                self.assembly.make_room(payload.len(), 0, header.fin, unit, |u, n| sink.lend(u, n))?;
                if let Some((buf, _)) = self.assembly.storage() {
                    buf.extend(payload);
                }
                return self.end_frame(header, opcode, sink);
            }
            unit.ascii = self.assembly.finish(opcode)?;
            self.stats.messages_received += 1;
        } else {
            // An empty piece inside a character is as ASCII as any.
            unit.ascii = ascii || (opcode == Opcode::Text && payload.is_empty());
            if header.fin {
                self.assembly.finish(opcode)?;
                self.stats.messages_received += 1;
            }
        }
        Ok(sink.whole(unit, payload))
    }

    /// A piece of a data frame that does not lie whole in the input.
    fn receive_piece<S: Sink<Buf = B>>(
        &mut self,
        header: Header,
        opcode: Opcode,
        got: u64,
        input: &mut [u8],
        sink: &mut S,
    ) -> Result<(usize, Flow), Error> {
        let left = header.length - got;
        let used = usize::try_from(left).unwrap_or(usize::MAX).min(input.len());
        let piece = &mut input[..used];
        if let Some(key) = header.key {
            mask(piece, key, (got & 3) as usize);
        }
        let got = got + used as u64;
        if let Some(slot) = &mut self.filter {
            slot.raw.extend_from_slice(piece);
        } else {
            let unit = self.unit(&header, opcode);
            self.assembly.check(opcode, piece)?;
            self.assembly.make_room(used, left - used as u64, header.fin, unit, |u, n| sink.lend(u, n))?;
            if let Some((buf, _)) = self.assembly.storage() {
                buf.extend(piece);
            }
        }
        let flow = self.advance(header, opcode, got, sink)?;
        Ok((used, flow))
    }

    /// Where a large payload can be received straight into, if one is in progress.
    pub fn landing(&mut self) -> Option<Landing<'_, B>> {
        let Reading::Data { header, opcode, got } = &self.reading else { return None };
        if self.failing.is_some() {
            return None;
        }
        let (left, fin) = (header.length - got, header.fin);
        let unit = self.unit(header, *opcode);
        if self.filter.is_some() || left == 0 {
            return None;
        }
        let held = self.assembly.storage()?.0.len();
        if self.assembly.storage()?.1 == held {
            // The storage exists, so nothing is lent; without memory the ordinary way will say so.
            self.assembly.make_room(1, left - 1, fin, unit, |_, _| Err(crate::sink::OutOfMemory)).ok()?;
        }
        let (buf, room) = self.assembly.storage()?;
        let room = (room - held).min(usize::try_from(left).unwrap_or(usize::MAX));
        Some(Landing { buf, room })
    }

    /// Takes in `count` bytes that were appended to the storage of [`Connection::landing`].
    pub fn landed<S: Sink<Buf = B>>(&mut self, count: usize, now: Nanos, sink: &mut S) -> Flow {
        let Reading::Data { header, opcode, got } = self.reading else { return Flow::Continue };
        self.keepalive.on_bytes(now);
        self.stats.bytes_received += count as u64;
        let outcome = self.check_landed(header, opcode, got, count).and_then(|()| {
            let got = got + count as u64;
            self.advance(header, opcode, got, sink)
        });
        self.look_at_work(now);
        outcome.unwrap_or_else(|error| self.violated(error, now, sink))
    }

    /// The peer is not silent while reading waits for work: its answer may lie unread.
    #[inline]
    pub(super) fn look_at_work(&mut self, now: Nanos) {
        if self.filter.is_some() {
            self.keepalive.set_working(self.is_parked(), now);
        }
    }

    fn check_landed(&mut self, header: Header, opcode: Opcode, got: u64, count: usize) -> Result<(), Error> {
        let Some((buf, _)) = self.assembly.storage() else { return Ok(()) };
        let start = buf.len() - count;
        if let Some(key) = header.key {
            mask(&mut buf.as_mut_slice()[start..], key, (got & 3) as usize);
        }
        self.assembly.check_stored(opcode, start)
    }

    /// Goes on after `got` bytes of a frame's payload.
    fn advance<S: Sink<Buf = B>>(
        &mut self,
        header: Header,
        opcode: Opcode,
        got: u64,
        sink: &mut S,
    ) -> Result<Flow, Error> {
        if got < header.length {
            self.reading = Reading::Data { header, opcode, got };
            return Ok(Flow::Continue);
        }
        self.reading = Reading::header();
        if let Some(slot) = &mut self.filter {
            let raw = std::mem::take(&mut slot.raw);
            return self.filter_received(header.into(), opcode, &raw, false, sink);
        }
        self.end_frame(header, opcode, sink)
    }

    /// The end of a data frame whose payload is in storage.
    pub(super) fn end_frame<S: Sink<Buf = B>>(
        &mut self,
        header: Header,
        opcode: Opcode,
        sink: &mut S,
    ) -> Result<Flow, Error> {
        let mut unit = self.unit(&header, opcode);
        if header.fin {
            unit.ascii = self.assembly.finish(opcode)?;
            self.stats.messages_received += 1;
        } else if self.config.delivery == Delivery::Messages {
            return Ok(Flow::Continue);
        }
        match self.assembly.take() {
            Some(payload) => {
                if self.config.delivery != Delivery::Messages && !is_alone(&header) {
                    unit.ascii = opcode == Opcode::Text && payload.as_slice().is_ascii();
                }
                Ok(sink.assembled(unit, payload))
            }
            // Only an empty frame has no storage.
            None => Ok(sink.whole(unit, &[])),
        }
    }

    /// Where in what the peer sends the next byte would be.
    pub(super) fn place(&self) -> Place {
        match &self.reading {
            Reading::Header { have: 1.., .. } => Place::Header,
            Reading::Data { header, got, .. } => Place::Frame { got: *got, of: header.length },
            Reading::Control { header, payload } => Place::Frame { got: payload.len() as u64, of: header.length },
            Reading::Header { .. } if self.assembly.is_begun() => Place::Message,
            _ => Place::Between,
        }
    }

    pub(super) fn unit(&self, header: &Header, opcode: Opcode) -> Unit {
        match self.config.delivery {
            Delivery::Messages => Unit { opcode, fin: true, rsv: 0, ascii: false },
            Delivery::Mixed => Unit { opcode, fin: header.fin, rsv: 0, ascii: false },
            Delivery::Frames | Delivery::Raw => {
                Unit { opcode: header.opcode, fin: header.fin, rsv: header.rsv, ascii: false }
            }
        }
    }

    /// A control frame, complete (§5.5). `lies`: the payload is in the input.
    fn control<S: Sink<Buf = B>>(
        &mut self,
        header: Header,
        payload: &mut [u8],
        lies: bool,
        now: Nanos,
        sink: &mut S,
    ) -> Result<Flow, Error> {
        if let Some(key) = header.key {
            mask(payload, key, 0);
        }
        if self.config.delivery == Delivery::Raw {
            return self.control_raw(header.opcode, payload, lies, sink);
        }
        let (mut close, mut flow) = (None, Flow::Continue);
        match header.opcode {
            // 5.5.2. Ping: answered at once, with the same application data.
            Opcode::Ping => {
                self.stats.pings_received += 1;
                if self.config.auto_pong {
                    self.answer_ping(payload);
                }
                flow = sink.event(Event::Ping(payload));
            }
            // 5.5.3. Pong: one that no ping asked for is fine.
            Opcode::Pong => {
                self.stats.pongs_received += 1;
                let answers = self.keepalive.on_pong(payload, now);
                flow = sink.event(Event::Pong { payload, answers });
            }
            _ => close = Some(Close::parse(payload)?),
        }
        if self.config.delivery == Delivery::Frames || self.config.controls {
            let unit = Unit { opcode: header.opcode, fin: true, rsv: 0, ascii: false };
            let mut copy = sink.lend(unit, payload.len()).map_err(|_| crate::Limit::Memory { size: payload.len() })?;
            copy.extend(payload);
            let shown = sink.assembled(unit, copy);
            flow = if flow == Flow::Stop { flow } else { shown };
        }
        if let Some(close) = close {
            self.close_received(close, now, sink);
        }
        Ok(flow)
    }
}

/// Whether a data frame is a message.
pub(super) fn is_alone(header: &Header) -> bool {
    header.fin && header.opcode != Opcode::Continuation
}
