//! Frames as they are on the wire ([`Delivery::Raw`](crate::Delivery::Raw)), for a consumer that does by itself what
//! messages and the closing handshake are.
//!
//! A header is checked as ever (§5.2, §5.5), and so is the payload of a Close frame. What fragments belong together, what
//! RSV bits mean and whether text is UTF-8 is the consumer's to know. No frame is answered but, with `auto_pong`, a Ping,
//! which is not passed on then. A Close frame, received or sent, ends nothing: [`Connection::hang_up`] does, and the end
//! of the stream.

use super::Connection;
use super::receive::Reading;
use crate::close::{Cause, Close, Initiator};
use crate::config::Role;
use crate::error::{Error, Misuse};
use crate::frame::{Header, MAX_CONTROL_PAYLOAD, MAX_HEADER, Opcode, encode};
use crate::sink::{Event, Flow, PayloadBuf, Sink, Unit};
use crate::state::State;

impl<B: PayloadBuf> Connection<B> {
    /// Queues a frame behind all others, with these bits as its first byte: FIN, RSV and opcode.
    ///
    /// # Errors
    /// [`Misuse::NotOpen`]; [`Misuse::Closing`], also behind a Close frame; [`Misuse::ControlTooLong`];
    /// [`Misuse::QueueFull`], [`Misuse::MessageTooLarge`]: then nothing was queued.
    #[inline]
    pub fn send_raw(&mut self, first: u8, payload: &[u8]) -> Result<(), Misuse> {
        let opcode = Opcode::from_bits(first & 15);
        if payload.len() > MAX_CONTROL_PAYLOAD && opcode.is_some_and(Opcode::is_control) {
            return Err(Misuse::ControlTooLong(payload.len()));
        }
        self.may_send_raw(payload.len())?;
        let key = (self.config.role == Role::Client).then(|| (self.config.mask_key)());
        let header = Header { opcode: Opcode::Binary, fin: true, rsv: 0, key, length: payload.len() as u64 };
        let mut bytes = [0; MAX_HEADER];
        let used = encode(&header, &mut bytes);
        bytes[0] = first;
        self.queue.push_data(&bytes[..used], payload, key, true);
        self.stats.frames_sent += 1;
        self.stats.messages_sent += 1;
        self.stats.payload_sent += payload.len() as u64;
        Ok(())
    }

    /// Queues bytes that the consumer answers for, as they are.
    ///
    /// # Errors
    /// As [`Connection::send_raw`].
    pub fn write_raw(&mut self, bytes: &[u8]) -> Result<(), Misuse> {
        self.may_send_raw(bytes.len())?;
        self.queue.push_data(bytes, &[], None, true);
        self.stats.messages_sent += 1;
        Ok(())
    }

    /// Queues a Close frame behind all other frames. A second one is not sent.
    ///
    /// # Errors
    /// [`Misuse::CloseCode`], [`Misuse::ReasonTooLong`], and as [`Connection::send_raw`].
    pub fn close_raw(&mut self, code: Option<u16>, reason: &str) -> Result<(), Misuse> {
        let close = Close::to_send(code, reason)?;
        self.may_send_raw(0)?;
        self.close.initiator.get_or_insert(Initiator::Local);
        self.send_close(close, true);
        Ok(())
    }

    /// Reads no more, and closes the stream when everything that is queued is written.
    pub fn hang_up(&mut self) {
        match self.state() {
            State::Connecting => self.abort("closed before the opening handshake was over"),
            State::Open | State::Closing => {
                self.ended = true;
                self.state.closing();
                self.end_with(Cause::Aborted("disconnected".to_owned()));
                self.forget_received();
            }
            State::Closed => {}
        }
    }

    fn may_send_raw(&self, bytes: usize) -> Result<(), Misuse> {
        if self.close.sent.is_some() {
            return Err(Misuse::Closing);
        }
        self.may_send(bytes)
    }

    /// The common case: unmasked data frames that lie whole in the input, with lengths of 7 or 16 bits. Stops before
    /// anything else. Not inlined: its caller has a loop of the kind already.
    #[inline(never)]
    pub(super) fn receive_whole_raw<S: Sink<Buf = B>>(
        &mut self,
        input: &[u8],
        sink: &mut S,
    ) -> (usize, Result<Flow, Error>) {
        let (mut at, mut frames, mut messages, mut payload_bytes) = (0, 0, 0, 0);
        let mut outcome = Ok(Flow::Continue);
        while let Some([first, second]) = input.get(at..).and_then(<[u8]>::first_chunk::<2>) {
            let opcode = match first & 15 {
                0 => Opcode::Continuation,
                1 => Opcode::Text,
                2 => Opcode::Binary,
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
            at = start + length;
            frames += 1;
            messages += u64::from(first >> 7);
            payload_bytes += length;
            let unit = Unit { opcode, fin: first & 0x80 != 0, rsv: first >> 4 & 7, ascii: false };
            if sink.whole(unit, payload) == Flow::Stop {
                outcome = Ok(Flow::Stop);
                break;
            }
        }
        self.stats.frames_received += frames;
        self.stats.messages_received += messages;
        self.stats.payload_received += payload_bytes as u64;
        (at, outcome)
    }

    /// Bytes of a frame that has not come whole yet.
    pub fn unfinished(&self) -> usize {
        match &self.reading {
            Reading::Header { have, .. } => usize::from(*have),
            Reading::Data { header, got, .. } => header_size(header) + usize::try_from(*got).unwrap_or(usize::MAX),
            Reading::Control { header, payload } => header_size(header) + payload.len(),
            Reading::Handshake | Reading::Over => 0,
        }
    }

    /// A control frame, complete. It is answered, or delivered and acted upon only in what a Close frame says of the end.
    /// `lies`: the payload is in the input.
    pub(super) fn control_raw<S: Sink<Buf = B>>(
        &mut self,
        opcode: Opcode,
        payload: &[u8],
        lies: bool,
        sink: &mut S,
    ) -> Result<Flow, Error> {
        match opcode {
            Opcode::Ping => {
                self.stats.pings_received += 1;
                if self.config.auto_pong {
                    self.answer_ping(payload);
                    return Ok(sink.event(Event::Ping(payload)));
                }
            }
            Opcode::Pong => self.stats.pongs_received += 1,
            _ => {
                self.close.received = Some(Close::parse(payload)?);
                self.close.initiator.get_or_insert(Initiator::Remote);
            }
        }
        let unit = Unit { opcode, fin: true, rsv: 0, ascii: false };
        let flow = if lies {
            sink.whole(unit, payload)
        } else {
            let mut copy = sink.lend(unit, payload.len()).map_err(|_| crate::Limit::Memory { size: payload.len() })?;
            copy.extend(payload);
            sink.assembled(unit, copy)
        };
        if opcode == Opcode::Close {
            // 5.5.1, 7.1.7: what is behind it is not looked at.
            self.data_ends(sink);
        }
        Ok(flow)
    }
}

/// Bytes of a header on the wire.
fn header_size(header: &Header) -> usize {
    let length = match header.length {
        0..=125 => 0,
        126..=0xffff => 2,
        _ => 8,
    };
    2 + length + header.key.map_or(0, |key| key.len())
}
