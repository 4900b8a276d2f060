//! Fragments become messages (RFC 6455 §5.4): the order of fragments, the limits on a message, UTF-8 across fragments,
//! and the storage that a message in pieces is collected in.

use crate::error::{Error, Limit, Violation};
use crate::frame::{Header, Opcode};
use crate::limits::{Limits, RESERVE_AHEAD};
use crate::sink::{PayloadBuf, Unit};
use crate::utf8::Utf8;

/// The message in progress, if any.
pub(crate) struct Assembly<B> {
    /// Type of the message whose last fragment's header is still to come.
    message: Option<Opcode>,
    /// Pieces collected so far: of the message, or of the frame where fragments are delivered one by one.
    buf: Option<B>,
    /// Capacity that `buf` was asked for.
    room: usize,
    /// Bytes of the message announced by its frames so far.
    size: u64,
    fragments: usize,
    /// Bytes of the message that came out of a filter so far.
    filtered: usize,
    utf8: Utf8,
}

impl<B> Default for Assembly<B> {
    fn default() -> Self {
        Self { message: None, buf: None, room: 0, size: 0, fragments: 0, filtered: 0, utf8: Utf8::default() }
    }
}

impl<B: PayloadBuf> Assembly<B> {
    /// Whether a message waits for its next fragment.
    pub(crate) fn is_begun(&self) -> bool {
        self.message.is_some()
    }

    /// Whether neither a message nor a frame is in progress.
    #[inline]
    pub(crate) fn is_idle(&self) -> bool {
        self.message.is_none() && self.buf.is_none()
    }

    /// Admits a data frame by its header, before any of its payload; returns the type of its message.
    pub(crate) fn admit(&mut self, header: &Header, limits: &Limits) -> Result<Opcode, Error> {
        let opcode = match (self.message, header.opcode) {
            (None, Opcode::Continuation) => return Err(Violation::UnexpectedContinuation.into()),
            (None, opcode) => {
                self.size = 0;
                self.fragments = 0;
                opcode
            }
            (Some(opcode), Opcode::Continuation) => opcode,
            (Some(_), _) => return Err(Violation::ExpectedContinuation.into()),
        };
        if header.length > limits.max_frame as u64 {
            // Where only messages are limited, that limit is named.
            return Err(if limits.max_frame < limits.max_message {
                Limit::Frame { size: header.length, limit: limits.max_frame }.into()
            } else {
                over(self.size, header, limits)
            });
        }
        let size = self.size.saturating_add(header.length);
        if size > limits.max_message as u64 {
            return Err(over(self.size, header, limits));
        }
        self.size = size;
        self.fragments += 1;
        if self.fragments > limits.max_fragments {
            return Err(Limit::Fragments { limit: limits.max_fragments }.into());
        }
        self.message = if header.fin { None } else { Some(opcode) };
        Ok(opcode)
    }

    /// Admits a data frame by its header alone, whatever message it belongs to.
    pub(crate) fn admit_alone(header: &Header, limits: &Limits) -> Result<(), Error> {
        if header.length > limits.max_frame as u64 {
            return Err(Limit::Frame { size: header.length, limit: limits.max_frame }.into());
        }
        Ok(())
    }

    /// Bytes that the message in progress may still grow by, when a filter decides the size.
    pub(crate) fn allowance(&self, limits: &Limits) -> usize {
        limits.max_message.saturating_sub(self.filtered)
    }

    /// Admits a frame that came out of a filter.
    pub(crate) fn admit_filtered(&mut self, header: &Header, limits: &Limits) -> Result<(), Error> {
        let size = self.filtered as u64 + header.length;
        if size > limits.max_message as u64 {
            return Err(over(self.filtered as u64, header, limits));
        }
        self.filtered = if header.fin { 0 } else { size as usize };
        Ok(())
    }

    /// Validates a piece of the message, in order.
    pub(crate) fn check(&mut self, opcode: Opcode, piece: &[u8]) -> Result<bool, Error> {
        if opcode == Opcode::Text { self.utf8.push(piece).map_err(|at| Violation::Utf8(at).into()) } else { Ok(false) }
    }

    /// Validates what the storage holds from `start` on, which came in order.
    pub(crate) fn check_stored(&mut self, opcode: Opcode, start: usize) -> Result<(), Error> {
        match &self.buf {
            Some(buf) if opcode == Opcode::Text => {
                self.utf8.push(&buf.as_slice()[start..]).map_err(|at| Violation::Utf8(at).into()).map(|_| ())
            }
            _ => Ok(()),
        }
    }

    /// Ends a message of this type; tells whether it was all ASCII text.
    pub(crate) fn finish(&mut self, opcode: Opcode) -> Result<bool, Error> {
        if opcode != Opcode::Text {
            return Ok(false);
        }
        let ascii = self.utf8.is_ascii();
        self.utf8.finish().map_err(Violation::Utf8)?;
        self.utf8.reset();
        Ok(ascii)
    }

    /// Makes room for `piece` more bytes, and for some of the `left` that are announced after them; lends the storage
    /// where there is none.
    pub(crate) fn make_room(
        &mut self,
        piece: usize,
        left: u64,
        last: bool,
        unit: Unit,
        lend: impl FnOnce(Unit, usize) -> Result<B, crate::sink::OutOfMemory>,
    ) -> Result<(), Error> {
        let held = self.buf.as_ref().map_or(0, PayloadBuf::len);
        let needed = held + piece;
        if self.buf.is_some() && needed <= self.room {
            return Ok(());
        }
        // What the header announces is believed only RESERVE_AHEAD bytes ahead of what arrived. Where more fragments
        // follow, doubling keeps the copies of a growing message few; beyond that reserve it grows by as much a time.
        let announced = needed.saturating_add(usize::try_from(left).unwrap_or(usize::MAX));
        let wanted = if last { announced } else { announced.max(held.saturating_mul(2)) };
        let room = wanted.min(needed + RESERVE_AHEAD);
        let done = match &mut self.buf {
            Some(buf) => buf.reserve(room),
            none => lend(unit, room).map(|buf| *none = Some(buf)),
        };
        done.map_err(|_| Limit::Memory { size: room })?;
        self.room = room;
        Ok(())
    }

    /// The storage in use and its room.
    pub(crate) fn storage(&mut self) -> Option<(&mut B, usize)> {
        self.buf.as_mut().map(|buf| (buf, self.room))
    }

    /// Takes the storage: what it holds is to be delivered.
    pub(crate) fn take(&mut self) -> Option<B> {
        self.room = 0;
        self.buf.take()
    }

    /// Forgets what was collected.
    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }
}

/// A frame is too much for its message, of which `before` is there.
#[cold]
fn over(before: u64, header: &Header, limits: &Limits) -> Error {
    Limit::Message { size: before.saturating_add(header.length), before, limit: limits.max_message }.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(opcode: Opcode, fin: bool, length: u64) -> Header {
        Header { opcode, fin, rsv: 0, key: None, length }
    }

    #[test]
    fn fragments_come_in_the_order_of_section_5_4() {
        let limits = Limits::default();
        let mut assembly = Assembly::<Vec<u8>>::default();
        assert_eq!(
            assembly.admit(&header(Opcode::Continuation, true, 0), &limits),
            Err(Violation::UnexpectedContinuation.into())
        );
        assert_eq!(assembly.admit(&header(Opcode::Text, false, 1), &limits), Ok(Opcode::Text));
        assert_eq!(assembly.admit(&header(Opcode::Continuation, false, 1), &limits), Ok(Opcode::Text));
        assert_eq!(
            assembly.admit(&header(Opcode::Binary, true, 1), &limits),
            Err(Violation::ExpectedContinuation.into())
        );
    }

    #[test]
    fn limits_are_checked_before_a_byte_of_payload() {
        let limits = Limits { max_frame: 10, max_message: 15, max_fragments: 3, ..Limits::default() };
        let mut assembly = Assembly::<Vec<u8>>::default();
        assert_eq!(
            assembly.admit(&header(Opcode::Text, true, 11), &limits),
            Err(Limit::Frame { size: 11, limit: 10 }.into())
        );
        let mut assembly = Assembly::<Vec<u8>>::default();
        assembly.admit(&header(Opcode::Text, false, 10), &limits).unwrap();
        assert_eq!(
            assembly.admit(&header(Opcode::Continuation, true, 6), &limits),
            Err(Limit::Message { size: 16, before: 10, limit: 15 }.into())
        );
        let mut assembly = Assembly::<Vec<u8>>::default();
        assembly.admit(&header(Opcode::Text, false, 0), &limits).unwrap();
        assembly.admit(&header(Opcode::Continuation, false, 0), &limits).unwrap();
        assembly.admit(&header(Opcode::Continuation, false, 0), &limits).unwrap();
        assert_eq!(
            assembly.admit(&header(Opcode::Continuation, true, 0), &limits),
            Err(Limit::Fragments { limit: 3 }.into())
        );
    }

    #[test]
    fn room_never_runs_further_ahead_than_the_reserve() {
        let unit = Unit { opcode: Opcode::Binary, fin: true, rsv: 0, ascii: false };
        for (piece, left, last, expected) in [
            (10, 90, true, 100),
            (10, u64::MAX, true, 10 + RESERVE_AHEAD),
            (10, 1 << 40, false, 10 + RESERVE_AHEAD),
            (0, 5, true, 5),
        ] {
            let mut assembly = Assembly::<Vec<u8>>::default();
            let lend = |_, capacity| Ok(Vec::with_capacity(capacity));
            assembly.make_room(piece, left, last, unit, lend).unwrap();
            assert_eq!(assembly.storage().unwrap().1, expected);
        }
    }
}
