//! The sending half: messages → (filter) → frames → the queue of bytes.

use super::{Busy, Connection};
use crate::Nanos;
use crate::config::Role;
use crate::error::{Error, Misuse};
use crate::filter::{Direction, FilterFrame, Filtered, Work};
use crate::frame::{Header, MAX_CONTROL_PAYLOAD, MAX_HEADER, Opcode, encode};
use crate::mask::mask_into;
use crate::sink::{PayloadBuf, Sink};
use crate::state::State;

impl<B: PayloadBuf> Connection<B> {
    /// Queues a whole message, masked in the same pass as it is copied.
    ///
    /// # Errors
    /// [`Misuse::NotOpen`], [`Misuse::Closing`], [`Misuse::FragmentOrder`], [`Misuse::QueueFull`],
    /// [`Misuse::MessageTooLarge`]: then nothing was queued.
    #[inline]
    pub fn send(&mut self, opcode: Opcode, payload: &[u8]) -> Result<(), Misuse> {
        self.send_as(opcode, payload, None)
    }

    /// As [`Connection::send`], and says whether it is to be compressed, where that was negotiated.
    ///
    /// # Errors
    /// As [`Connection::send`].
    #[inline]
    pub fn send_as(&mut self, opcode: Opcode, payload: &[u8], compress: Option<bool>) -> Result<(), Misuse> {
        debug_assert!(matches!(opcode, Opcode::Text | Opcode::Binary));
        if self.sending.is_some() {
            self.may_control(&[])?;
            return Err(Misuse::FragmentOrder);
        }
        self.send_frame(opcode, opcode, true, payload, compress)
    }

    /// Sends a small whole message past the queue, where nothing waits in it: `write` is given the frame, and tells how many
    /// bytes of it were written; the others are queued. False: nothing was done, it is to be sent by [`Connection::send`].
    ///
    /// # Errors
    /// As [`Connection::send`].
    #[inline]
    pub fn send_past_queue(
        &mut self,
        opcode: Opcode,
        payload: &[u8],
        write: impl FnOnce(&[u8]) -> usize,
    ) -> Result<bool, Misuse> {
        let is_plain = self.sending.is_none() && self.filter.is_none() && !self.wants_write();
        if payload.len() > PAST_QUEUE || !is_plain {
            return Ok(false);
        }
        self.may_send(payload.len())?;
        let (key, header) = self.header(opcode, true, 0, payload.len());
        let (mut head, mut bytes) = ([0; MAX_HEADER], [0; MAX_HEADER + PAST_QUEUE]);
        let used = encode(&header, &mut head);
        bytes[..MAX_HEADER].copy_from_slice(&head);
        let frame = &mut bytes[..used + payload.len()];
        match key {
            Some(key) => mask_into(&mut frame[used..], payload, key, 0),
            None => frame[used..].copy_from_slice(payload),
        }
        self.count_frame(true, payload.len());
        let sent = write(frame);
        if sent == frame.len() {
            self.stats.bytes_sent += sent as u64;
            self.queue.passed(sent);
        } else {
            self.queue.push_data(frame, &[], None, true);
            self.wrote(sent);
        }
        Ok(true)
    }

    /// Queues one fragment of a message. The first one begins the message, `fin` ends it; until then no other data
    /// message may begin (§5.4). Control frames may pass between fragments.
    ///
    /// # Errors
    /// As [`Connection::send`], and [`Misuse::FragmentType`].
    pub fn send_fragment(&mut self, opcode: Opcode, payload: &[u8], fin: bool) -> Result<(), Misuse> {
        let wire = match self.sending {
            None => opcode,
            Some(begun) if begun == opcode => Opcode::Continuation,
            Some(_) => {
                self.may_control(&[])?;
                return Err(Misuse::FragmentType);
            }
        };
        self.send_frame(wire, opcode, fin, payload, None)?;
        self.sending = if fin { None } else { Some(opcode) };
        Ok(())
    }

    /// Queues the first fragment of a message, as [`Connection::send_fragment`] does where none is being sent.
    ///
    /// # Errors
    /// As [`Connection::send`].
    pub fn begin_fragments(&mut self, opcode: Opcode, payload: &[u8], fin: bool) -> Result<(), Misuse> {
        if self.sending.is_some() {
            self.may_control(&[])?;
            return Err(Misuse::FragmentOrder);
        }
        self.send_fragment(opcode, payload, fin)
    }

    /// Queues a frame as it is, for an extension that was at work on it before. Data frames keep the order of §5.4; a Ping or
    /// a Pong passes data that waits, and is none of keepalive's.
    ///
    /// # Errors
    /// As [`Connection::send`] and [`Connection::pong`]; [`Misuse::FragmentType`] for a continuation without a beginning;
    /// [`Misuse::Config`] for a Close frame, for more than three RSV bits, and where a wire extension is in its slot.
    pub fn send_frame_as_is(&mut self, opcode: Opcode, fin: bool, rsv: u8, payload: &[u8]) -> Result<(), Misuse> {
        if rsv > 7 {
            return Err(Misuse::Config(format!("rsv has three bits, it is 0 to 7, not {rsv}")));
        }
        if self.filter.is_some() {
            return Err(Misuse::Config("frames cannot be sent as they are where messages are compressed".to_owned()));
        }
        match opcode {
            Opcode::Close => Err(Misuse::Config("a Close frame is sent by closing".to_owned())),
            Opcode::Ping | Opcode::Pong => {
                self.may_control(payload)?;
                if !fin {
                    return Err(Misuse::Config("a Ping or Pong is one frame".to_owned()));
                }
                self.queue_control(opcode, rsv, payload)
            }
            Opcode::Continuation | Opcode::Text | Opcode::Binary => {
                self.may_send(payload.len())?;
                let begun = match (self.sending, opcode) {
                    (None, Opcode::Continuation) => return Err(Misuse::FragmentType),
                    (Some(begun), Opcode::Continuation) => begun,
                    (None, opcode) => opcode,
                    (Some(_), _) => return Err(Misuse::FragmentOrder),
                };
                self.push_frame(FilterFrame { opcode, rsv, fin, compress: None }, payload);
                self.sending = if fin { None } else { Some(begun) };
                Ok(())
            }
        }
    }

    /// Whether a message is being sent in fragments.
    pub fn is_sending_fragments(&self) -> bool {
        self.sending.is_some()
    }

    /// Whether a message of this many bytes would be accepted now.
    ///
    /// # Errors
    /// What [`Connection::send`] would give.
    #[inline]
    pub fn may_send(&self, bytes: usize) -> Result<(), Misuse> {
        match self.state() {
            State::Open => self.queue.check(bytes.saturating_add(MAX_HEADER)),
            State::Connecting => Err(Misuse::NotOpen),
            State::Closing | State::Closed => Err(Misuse::Closing),
        }
    }

    fn send_frame(
        &mut self,
        wire: Opcode,
        opcode: Opcode,
        fin: bool,
        payload: &[u8],
        compress: Option<bool>,
    ) -> Result<(), Misuse> {
        self.may_send(payload.len())?;
        let frame = FilterFrame { opcode: wire, rsv: 0, fin, compress };
        if self.filter.is_some() {
            return self.send_filtered(frame, opcode, payload);
        }
        self.push_frame(frame, payload);
        Ok(())
    }

    fn push_frame(&mut self, frame: FilterFrame, payload: &[u8]) {
        let (key, header) = self.header(frame.opcode, frame.fin, frame.rsv, payload.len());
        let mut bytes = [0; MAX_HEADER];
        let used = encode(&header, &mut bytes);
        self.queue.push_data(&bytes[..used], payload, key, frame.fin);
        self.count_frame(frame.fin, payload.len());
    }

    /// The header of a data frame, with a new key where frames are masked.
    #[inline]
    fn header(&self, opcode: Opcode, fin: bool, rsv: u8, length: usize) -> (Option<[u8; 4]>, Header) {
        let key = (self.config.role == Role::Client).then(|| (self.config.mask_key)());
        (key, Header { opcode, fin, rsv, key, length: length as u64 })
    }

    #[inline]
    fn count_frame(&mut self, fin: bool, payload: usize) {
        self.stats.frames_sent += 1;
        self.stats.messages_sent += u64::from(fin);
        self.stats.payload_sent += payload as u64;
    }

    fn send_filtered(&mut self, frame: FilterFrame, opcode: Opcode, payload: &[u8]) -> Result<(), Misuse> {
        let Some(slot) = &mut self.filter else { return Ok(()) };
        if slot.sending.busy.is_some() {
            let (bytes, messages) = (self.queued_bytes(), self.queued_messages());
            if bytes.saturating_add(payload.len()) > self.config.max_send_bytes
                || messages >= self.config.max_send_messages
            {
                return Err(Misuse::QueueFull { messages, bytes });
            }
            if let Some(slot) = &mut self.filter {
                slot.sending.push(frame, opcode, payload.to_vec());
            }
            return Ok(());
        }
        let bytes = payload.len();
        match slot.filter.encode(frame, payload) {
            Filtered::Same(frame) => self.push_frame(frame, payload),
            Filtered::Made(frame, payload) => self.push_frame(frame, &payload),
            Filtered::Work(run) => {
                let work = Work { direction: Direction::Send, run };
                slot.sending.begin(work, Busy { opcode, bytes, fin: frame.fin });
            }
            Filtered::Failed(error) => return Err(Misuse::Config(error.to_string())),
        }
        Ok(())
    }

    /// Goes on after [`Work`] of the sending direction.
    pub(super) fn send_worked<S: Sink<Buf = B>>(
        &mut self,
        result: Result<(FilterFrame, Vec<u8>), Error>,
        now: Nanos,
        sink: &mut S,
    ) {
        if self.failed {
            return;
        }
        match result {
            Ok((frame, payload)) => self.push_frame(frame, &payload),
            Err(error) => return self.fail(error, now, sink),
        }
        loop {
            let idle = self.filter.as_mut().filter(|slot| slot.sending.busy.is_none());
            let Some((frame, opcode, payload)) = idle.and_then(|slot| slot.sending.pop()) else { break };
            if let Err(misuse) = self.send_filtered(frame, opcode, &payload) {
                return self.fail(misuse.into(), now, sink);
            }
        }
        self.close_when_worked();
    }

    /// Queues a Ping; it passes data that waits. Returns its number, for `Event::Pong`. Without a payload one is made up
    /// that no outstanding ping has.
    ///
    /// # Errors
    /// [`Misuse::NotOpen`], [`Misuse::Closing`], [`Misuse::ControlTooLong`], [`Misuse::ControlFull`].
    pub fn ping(&mut self, payload: Option<&[u8]>, now: Nanos) -> Result<u64, Misuse> {
        self.may_control(payload.unwrap_or_default())?;
        // One that cannot be queued takes no other's place among those that an answer is awaited of.
        self.queue.check_control()?;
        let (number, payload) = self.keepalive.ping(payload, now);
        self.queue_control(Opcode::Ping, 0, &payload)?;
        Ok(number)
    }

    /// Queues a Pong that no Ping asked for (§5.5.3).
    ///
    /// # Errors
    /// [`Misuse::NotOpen`], [`Misuse::Closing`], [`Misuse::ControlTooLong`], [`Misuse::ControlFull`].
    pub fn pong(&mut self, payload: &[u8]) -> Result<(), Misuse> {
        self.may_control(payload)?;
        self.queue_control(Opcode::Pong, 0, payload)
    }

    /// Queues a Ping or a Pong that is not an answer.
    fn queue_control(&mut self, opcode: Opcode, rsv: u8, payload: &[u8]) -> Result<(), Misuse> {
        let mut bytes = [0; MAX_CONTROL];
        let used = self.control_frame(opcode, rsv, payload, &mut bytes);
        self.queue.push_control(&bytes[..used])?;
        self.stats.frames_sent += 1;
        self.stats.pings_sent += u64::from(opcode == Opcode::Ping);
        self.stats.pongs_sent += u64::from(opcode == Opcode::Pong);
        Ok(())
    }

    /// 5.5.2: the answer to the most recent Ping is enough where many wait.
    pub(super) fn answer_ping(&mut self, payload: &[u8]) {
        let mut bytes = [0; MAX_CONTROL];
        let used = self.control_frame(Opcode::Pong, 0, payload, &mut bytes);
        let queued = u64::from(self.queue.push_pong(&bytes[..used]));
        self.stats.frames_sent += queued;
        self.stats.pongs_sent += queued;
    }

    fn may_control(&self, payload: &[u8]) -> Result<(), Misuse> {
        match self.state() {
            State::Connecting => Err(Misuse::NotOpen),
            State::Closing | State::Closed => Err(Misuse::Closing),
            State::Open if payload.len() > MAX_CONTROL_PAYLOAD => Err(Misuse::ControlTooLong(payload.len())),
            State::Open => Ok(()),
        }
    }

    /// Encodes a control frame, whose payload is at most 125 bytes.
    pub(super) fn control_frame(&self, opcode: Opcode, rsv: u8, payload: &[u8], out: &mut [u8; MAX_CONTROL]) -> usize {
        let key = (self.config.role == Role::Client).then(|| (self.config.mask_key)());
        let header = Header { opcode, fin: true, rsv, key, length: payload.len() as u64 };
        let mut head = [0; MAX_HEADER];
        let start = encode(&header, &mut head);
        let end = start + payload.len();
        out[..start].copy_from_slice(&head[..start]);
        out[start..end].copy_from_slice(payload);
        if let Some(key) = key {
            crate::mask::mask(&mut out[start..end], key, 0);
        }
        end
    }

    /// What is to be written next, in order; both empty when nothing is.
    #[inline]
    pub fn output(&self) -> (&[u8], &[u8]) {
        match &self.opening {
            Some(opening) if opening.written < opening.output.len() => (&opening.output[opening.written..], &[]),
            _ => self.queue.output(),
        }
    }

    /// Whether something is to be written.
    #[inline]
    pub fn wants_write(&self) -> bool {
        !self.queue.is_empty() || self.opening.as_ref().is_some_and(|opening| opening.written < opening.output.len())
    }

    /// Takes note that the first `count` bytes of the output were written.
    #[inline]
    pub fn wrote(&mut self, count: usize) {
        self.stats.bytes_sent += count as u64;
        if let Some(opening) = &mut self.opening {
            let left = opening.output.len() - opening.written;
            opening.written += count.min(left);
            if opening.written == opening.output.len() && self.state() != State::Connecting {
                self.opening = None;
            }
            if count > left {
                self.queue.wrote(count - left);
            }
            return;
        }
        self.queue.wrote(count);
    }
}

/// Room for the longest control frame that we send.
pub(super) const MAX_CONTROL: usize = MAX_HEADER + MAX_CONTROL_PAYLOAD;

/// The longest payload that leaves past the queue: what is copied and masked where it would also be copied into the ring,
/// on the stack.
const PAST_QUEUE: usize = 512;
