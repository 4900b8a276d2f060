//! Frames that wait to be written: small ones side by side, large ones each in its own storage.

use std::collections::VecDeque;
use std::io::IoSlice;

use fastws_core::deflate::{PerMessageDeflate, Terms, Tuning};
use fastws_core::filter::{FilterFrame, Filtered, FrameFilter};
use fastws_core::frame::{Header, MAX_HEADER, encode};
use fastws_core::{Opcode, Role};

use crate::feed::Compressed;

/// The queue of one connection.
#[derive(Default)]
pub(crate) struct Outbox {
    queue: VecDeque<Vec<u8>>,
    /// How much of the first segment was written.
    at: usize,
    bytes: usize,
    /// Compresses messages, where that was negotiated.
    deflate: Option<Box<Deflating>>,
}

/// A connection's compression.
struct Deflating {
    filter: PerMessageDeflate,
    /// What was agreed.
    terms: Terms,
    /// Nothing was sent yet that a message could refer back to.
    is_fresh: bool,
    /// Whatever is not of a feed is sent as it is.
    says_plain: bool,
}

impl Outbox {
    /// Compresses messages from here on.
    pub(crate) fn compress(&mut self, terms: Terms) {
        let filter = PerMessageDeflate::new(Role::Server, terms, AT_ONCE);
        self.deflate = Some(Box::new(Deflating { filter, terms, is_fresh: true, says_plain: false }));
    }

    /// How the messages of a feed are to be compressed, which is done before a connection asks for them; none: not at all.
    /// `begins`: the feed is sent from its beginning on.
    ///
    /// A feed that is the first on its connection is compressed as a whole. What we send besides must not be seen by its
    /// window then, and is sent as it is. Any other has messages that refer to nothing before them, and so have we.
    pub(crate) fn compressed_ahead(&mut self, begins: bool) -> Option<Compressed> {
        let deflate = self.deflate.as_mut()?;
        let alone = deflate.terms.server_no_context_takeover || !(begins && deflate.is_fresh);
        let terms = Terms { server_no_context_takeover: true, ..deflate.terms };
        deflate.filter = PerMessageDeflate::new(Role::Server, terms, AT_ONCE);
        deflate.is_fresh = false;
        deflate.says_plain |= !alone;
        Some(Compressed { window_bits: terms.server_max_window_bits, alone })
    }

    /// Queues a frame by copying it.
    #[inline]
    pub(crate) fn push(&mut self, opcode: Opcode, fin: bool, payload: &[u8]) {
        if self.deflate.is_some() && !opcode.is_control() {
            return self.push_deflated(opcode, fin, payload);
        }
        let (head, used) = header(opcode, fin, payload.len());
        self.append(&head[..used], payload);
    }

    fn push_deflated(&mut self, opcode: Opcode, fin: bool, payload: &[u8]) {
        let Some(deflate) = &mut self.deflate else { return };
        if deflate.says_plain {
            let (head, used) = header(opcode, fin, payload.len());
            return self.append(&head[..used], payload);
        }
        deflate.is_fresh = false;
        let (frame, payload) = deflated(&mut deflate.filter, opcode, fin, payload);
        let (head, used) = header_of(frame, payload.len());
        self.append(&head[..used], &payload);
    }

    /// Queues a frame whose storage can be taken over.
    pub(crate) fn push_owned(&mut self, opcode: Opcode, fin: bool, payload: Vec<u8>) {
        if payload.len() < LARGE || self.deflate.is_some() {
            return self.push(opcode, fin, &payload);
        }
        let (head, used) = header(opcode, fin, payload.len());
        self.append(&head[..used], &[]);
        self.bytes += payload.len();
        self.queue.push_back(payload);
    }

    /// Queues bytes as they are.
    pub(crate) fn push_raw(&mut self, bytes: &[u8]) {
        self.append(bytes, &[]);
    }

    #[inline]
    fn append(&mut self, first: &[u8], second: &[u8]) {
        let more = first.len() + second.len();
        self.bytes += more;
        if let Some(tail) = self.queue.back_mut().filter(|tail| tail.len() + more <= SEGMENT) {
            tail.extend_from_slice(first);
            tail.extend_from_slice(second);
            return;
        }
        let mut tail = Vec::with_capacity(more.max(SMALLEST));
        tail.extend_from_slice(first);
        tail.extend_from_slice(second);
        self.queue.push_back(tail);
    }

    /// What is to be written next, in order.
    #[inline]
    pub(crate) fn slices(&self) -> ([IoSlice<'_>; 8], usize) {
        let mut slices = [IoSlice::new(&[]); 8];
        let mut count = 0;
        for (slice, segment) in slices.iter_mut().zip(&self.queue) {
            *slice = IoSlice::new(if count == 0 { &segment[self.at..] } else { segment });
            count += 1;
        }
        (slices, count)
    }

    /// Takes note that the next `count` bytes were written.
    #[inline]
    pub(crate) fn wrote(&mut self, mut count: usize) {
        self.bytes -= count;
        loop {
            let last = self.queue.len() == 1;
            let Some(head) = self.queue.front_mut() else { return };
            let left = head.len() - self.at;
            if count < left {
                self.at += count;
                return;
            }
            count -= left;
            self.at = 0;
            if last && head.capacity() <= 2 * SEGMENT {
                head.clear();
                return;
            }
            self.queue.pop_front();
        }
    }

    /// Lends storage to an empty outbox.
    #[inline]
    pub(crate) fn lend(&mut self, storage: Vec<u8>) {
        self.queue.push_back(storage);
    }

    /// Takes the storage of an empty outbox, so that an idle connection owns none.
    #[inline]
    pub(crate) fn take_back(&mut self) -> Option<Vec<u8>> {
        if self.is_empty() { self.queue.pop_front() } else { None }
    }

    /// Bytes that wait.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    /// Whether a segment was written in part.
    pub(crate) fn is_mid(&self) -> bool {
        self.at > 0
    }
}

/// The header of an unmasked frame.
pub(crate) fn header(opcode: Opcode, fin: bool, length: usize) -> ([u8; MAX_HEADER], usize) {
    header_of(FilterFrame { opcode, rsv: 0, fin, compress: None }, length)
}

/// The header of what came out of a filter.
pub(crate) fn header_of(frame: FilterFrame, length: usize) -> ([u8; MAX_HEADER], usize) {
    let FilterFrame { opcode, rsv, fin, .. } = frame;
    let mut bytes = [0; MAX_HEADER];
    let used = encode(&Header { opcode, fin, rsv, key: None, length: length as u64 }, &mut bytes);
    (bytes, used)
}

/// A frame, compressed; as it is if that cannot be.
pub(crate) fn deflated(
    deflate: &mut PerMessageDeflate,
    opcode: Opcode,
    fin: bool,
    payload: &[u8],
) -> (FilterFrame, Vec<u8>) {
    let plain = FilterFrame { opcode, rsv: 0, fin, compress: None };
    match deflate.encode(plain, payload) {
        Filtered::Made(frame, payload) => (frame, payload.into_vec()),
        Filtered::Same(_) | Filtered::Work(_) | Filtered::Failed(_) => (plain, payload.to_vec()),
    }
}

/// All work is done at once here: a server's thread has nothing else to do.
pub(crate) const AT_ONCE: Tuning =
    Tuning { level: 6, memory_level: 8, threshold: 16, max_ratio: 2000, offload: usize::MAX };

/// Below this, copying is cheaper than one more segment.
const LARGE: usize = 32 << 10;

/// Small frames share segments of up to this.
const SEGMENT: usize = 256 << 10;

const SMALLEST: usize = 512;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_leave_in_order_however_they_are_cut() {
        for step in [1, 7, 100, 50_000, usize::MAX] {
            let mut outbox = Outbox::default();
            let mut expected = Vec::new();
            for size in [0, 5, 130, 70_000, 300_000, 3] {
                let payload = vec![size as u8; size];
                let (head, used) = header(Opcode::Binary, true, size);
                expected.extend_from_slice(&head[..used]);
                expected.extend_from_slice(&payload);
                outbox.push_owned(Opcode::Binary, true, payload);
            }
            let mut written = Vec::<u8>::new();
            while !outbox.is_empty() {
                assert_eq!(outbox.bytes(), expected.len() - written.len());
                let (slices, count) = outbox.slices();
                let before = written.len();
                written.extend(slices[..count].iter().flat_map(|slice| slice.iter()).take(step));
                outbox.wrote(written.len() - before);
            }
            assert!(written == expected, "in steps of {step}");
            assert!(!outbox.is_mid());
        }
    }
}
