//! The bytes to send: a ring of data frames, bounded in bytes and messages, and a small lane of control frames that
//! passes them.
//!
//! Frames never interleave on the wire: a control frame leaves when the data frame that is partly written is complete.
//! The ring's storage is lent by the driver while there is something to send, and taken back when it is empty, so that
//! an idle connection owns none; without a loan the queue allocates its own.

use std::collections::VecDeque;

use crate::error::Misuse;
use crate::mask::mask_into;

/// The queue of one connection.
#[derive(Debug)]
pub struct SendQueue {
    ring: Ring,
    /// Where each unsent data frame ends, in bytes since the connection began, and whether it ends a message.
    frames: VecDeque<Frame>,
    /// Frames in the queue that end a message.
    ends: usize,
    /// Some of the first message's bytes were written, perhaps in earlier frames.
    is_begun: bool,
    /// Messages that Close dropped; nothing of them was written.
    dropped: usize,
    /// Bytes written since the connection began.
    written: u64,
    /// Where the frame starts that is written next, or in part.
    frame_start: u64,
    control: VecDeque<Control>,
    control_written: usize,
    /// The Close frame that waits for all data; outside of the ring, whose bound it would exceed.
    close: Option<Box<[u8]>>,
    closed: bool,
    max_bytes: usize,
    max_messages: usize,
}

#[derive(Debug, Clone, Copy)]
struct Frame {
    end: u64,
    ends_message: bool,
}

#[derive(Debug)]
struct Control {
    is_pong: bool,
    bytes: Box<[u8]>,
}

/// Messages that were accepted and not wholly written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Unsent {
    /// Nothing of them was written.
    pub not_begun: usize,
    /// Some of it was written, perhaps all that was queued of a message in fragments: 0 or 1.
    pub begun: usize,
}

/// A circular buffer whose size is a power of two.
#[derive(Debug, Default)]
struct Ring {
    storage: Vec<u8>,
    head: usize,
    len: usize,
}

impl SendQueue {
    /// An empty queue that holds this much at most.
    pub fn new(max_bytes: usize, max_messages: usize) -> Self {
        Self {
            ring: Ring::default(),
            frames: VecDeque::new(),
            ends: 0,
            is_begun: false,
            dropped: 0,
            written: 0,
            frame_start: 0,
            control: VecDeque::new(),
            control_written: 0,
            close: None,
            closed: false,
            max_bytes,
            max_messages,
        }
    }

    /// Whether a data frame of this many bytes, header included, has room.
    ///
    /// # Errors
    /// [`Misuse::MessageTooLarge`], [`Misuse::QueueFull`].
    #[inline]
    pub fn check(&self, bytes: usize) -> Result<(), Misuse> {
        if bytes > self.max_bytes {
            return Err(Misuse::MessageTooLarge { bytes, limit: self.max_bytes });
        }
        // A fragment of the message that is being queued is not one more message.
        let is_more = !self.is_unended() && self.messages() >= self.max_messages;
        if self.ring.len > self.max_bytes - bytes || is_more {
            return Err(Misuse::QueueFull { messages: self.messages(), bytes: self.ring.len });
        }
        Ok(())
    }

    /// Queues a data frame, masking its payload on the way. Room was [`SendQueue::check`]ed. Ignored after Close.
    #[inline]
    pub fn push_data(&mut self, header: &[u8], payload: &[u8], key: Option<[u8; 4]>, ends_message: bool) {
        if self.closed {
            return;
        }
        self.ring.make_room(header.len() + payload.len());
        self.ring.push(header);
        match key {
            Some(key) => self.ring.push_masked(payload, key),
            None => self.ring.push(payload),
        }
        self.end_frame(ends_message);
    }

    /// Takes note that a whole data frame was written that was never queued; nothing waits.
    #[inline]
    pub fn passed(&mut self, count: usize) {
        debug_assert!(self.is_empty() && !self.is_mid_frame());
        self.written += count as u64;
        self.frame_start = self.written;
        self.is_begun = false;
    }

    /// Whether a Ping or Pong has room. Behind Close it has: it is let go.
    ///
    /// # Errors
    /// [`Misuse::ControlFull`] if too many wait already.
    pub fn check_control(&self) -> Result<(), Misuse> {
        if self.control.len() >= MAX_CONTROL_FRAMES && !self.closed {
            return Err(Misuse::ControlFull(self.control.len()));
        }
        Ok(())
    }

    /// Queues a Ping or Pong.
    ///
    /// # Errors
    /// [`Misuse::ControlFull`] if too many wait already.
    pub fn push_control(&mut self, frame: &[u8]) -> Result<(), Misuse> {
        self.check_control()?;
        if !self.closed {
            self.control.push_back(Control { is_pong: false, bytes: frame.into() });
        }
        Ok(())
    }

    /// Queues the answer to a Ping. Where many wait, the latest takes the place of the one before it (RFC 6455 §5.5.3). It
    /// passes a Close frame that waits for data; tells whether it was queued.
    pub fn push_pong(&mut self, frame: &[u8]) -> bool {
        if self.closed && self.close.is_none() {
            return false;
        }
        let begun = usize::from(self.control_written > 0);
        let mut waiting = self.control.iter_mut().skip(begun).filter(|control| control.is_pong);
        match waiting.nth(MAX_PONGS - 1) {
            Some(last) if last.bytes.len() == frame.len() => last.bytes.copy_from_slice(frame),
            Some(last) => last.bytes = frame.into(),
            None => self.control.push_back(Control { is_pong: true, bytes: frame.into() }),
        }
        true
    }

    /// Queues the Close frame, the last one: behind all data, or at once, dropping data frames of which nothing was
    /// written.
    pub fn push_close(&mut self, frame: &[u8], after_data: bool) {
        if self.closed {
            return;
        }
        if !after_data {
            self.drop_unbegun();
        }
        if after_data && self.ring.len > 0 {
            self.close = Some(frame.into());
        } else {
            self.control.push_back(Control { is_pong: false, bytes: frame.into() });
        }
        self.closed = true;
    }

    /// What is to be written next: two slices, the second after the first. Both are empty when nothing is.
    #[inline]
    pub fn output(&self) -> (&[u8], &[u8]) {
        let Some(control) = self.control.front() else { return self.ring.slices(self.ring.len) };
        match self.frames.front() {
            // A frame that was begun is finished first.
            Some(frame) if self.is_mid_frame() => self.ring.slices((frame.end - self.written) as usize),
            _ => (&control.bytes[self.control_written..], &[]),
        }
    }

    /// Takes note that this many bytes of the output, and no more, were written.
    #[inline]
    pub fn wrote(&mut self, count: usize) {
        if count == 0 {
            return;
        }
        if let Some(control) = self.control.front()
            && !self.is_mid_frame()
        {
            self.control_written += count;
            debug_assert!(self.control_written <= control.bytes.len());
            if self.control_written >= control.bytes.len() {
                self.control.pop_front();
                self.control_written = 0;
                if self.control.is_empty() {
                    self.control = VecDeque::new();
                }
            }
            return;
        }
        let count = count.min(self.ring.len);
        self.ring.consume(count);
        self.written += count as u64;
        while let Some(frame) = self.frames.front().filter(|frame| frame.end <= self.written) {
            self.ends -= usize::from(frame.ends_message);
            self.is_begun = !frame.ends_message;
            self.frame_start = frame.end;
            self.frames.pop_front();
        }
        self.is_begun |= self.is_mid_frame();
        if self.frames.is_empty() {
            self.on_data_written();
        }
    }

    /// Whether nothing is to be written.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.ring.len == 0 && self.control.is_empty()
    }

    /// Messages with unsent bytes in the queue, one partly written and one whose end is not queued included.
    #[inline]
    pub fn messages(&self) -> usize {
        self.ends + usize::from(self.is_unended())
    }

    /// Unsent bytes of data frames.
    #[inline]
    pub fn bytes(&self) -> usize {
        self.ring.len
    }

    /// Messages that were accepted and not wholly written, those dropped by Close included.
    pub fn unsent_messages(&self) -> Unsent {
        let begun = usize::from(self.is_begun);
        // Of a message whose end is not queued, everything so far may have been written.
        let not_begun = self.dropped + self.messages().saturating_sub(begun);
        Unsent { not_begun, begun }
    }

    /// Whether the queue has storage.
    #[inline]
    pub fn has_storage(&self) -> bool {
        !self.ring.storage.is_empty()
    }

    /// Lends storage, whose length is a power of two, to a queue that has none; otherwise the loan is dropped.
    #[inline]
    pub fn lend_storage(&mut self, storage: Vec<u8>) {
        let is_fit = storage.len().is_power_of_two() && !self.has_storage();
        debug_assert!(is_fit);
        if is_fit {
            self.ring.storage = storage;
        }
    }

    /// Takes the storage back, if nothing is in it.
    #[inline]
    pub fn take_storage(&mut self) -> Option<Vec<u8>> {
        (self.ring.len == 0 && self.has_storage()).then(|| std::mem::take(&mut self.ring.storage))
    }

    #[inline]
    fn is_mid_frame(&self) -> bool {
        self.written > self.frame_start
    }

    /// Whether the last message in the queue has no end yet.
    #[inline]
    fn is_unended(&self) -> bool {
        self.frames.back().is_some_and(|frame| !frame.ends_message)
    }

    /// The last data frame left: what was large is given back, and Close may go.
    #[inline]
    fn on_data_written(&mut self) {
        if self.frames.capacity() > KEEP_FRAMES {
            self.frames = VecDeque::new();
        }
        if self.ring.storage.len() > KEEP_STORAGE {
            self.ring.storage = Vec::new();
        }
        if let Some(bytes) = self.close.take() {
            self.control.push_back(Control { is_pong: false, bytes });
        }
    }

    #[inline]
    fn end_frame(&mut self, ends_message: bool) {
        let end = self.written + self.ring.len as u64;
        self.frames.push_back(Frame { end, ends_message });
        self.ends += usize::from(ends_message);
    }

    fn drop_unbegun(&mut self) {
        self.dropped += self.unsent_messages().not_begun;
        self.frames.truncate(usize::from(self.is_mid_frame()));
        self.ends = self.frames.iter().filter(|frame| frame.ends_message).count();
        let end = self.frames.back().map_or(self.written, |frame| frame.end);
        self.ring.truncate((end - self.written) as usize);
        if self.frames.is_empty() {
            self.on_data_written();
        }
    }
}

impl Ring {
    #[inline]
    fn make_room(&mut self, more: usize) {
        if self.len + more > self.storage.len() {
            self.grow(self.len + more);
        }
    }

    #[cold]
    fn grow(&mut self, needed: usize) {
        let mut storage = vec![0; needed.next_power_of_two().max(MIN_STORAGE)];
        let (first, second) = self.slices(self.len);
        storage[..first.len()].copy_from_slice(first);
        storage[first.len()..first.len() + second.len()].copy_from_slice(second);
        self.storage = storage;
        self.head = 0;
    }

    /// Appends; room was made.
    #[inline]
    fn push(&mut self, bytes: &[u8]) {
        let (first, second) = self.spare(bytes.len());
        let cut = first.len();
        first.copy_from_slice(&bytes[..cut]);
        second.copy_from_slice(&bytes[cut..]);
        self.len += bytes.len();
    }

    #[inline]
    fn push_masked(&mut self, bytes: &[u8], key: [u8; 4]) {
        let (first, second) = self.spare(bytes.len());
        let cut = first.len();
        mask_into(first, &bytes[..cut], key, 0);
        if cut < bytes.len() {
            mask_into(second, &bytes[cut..], key, cut);
        }
        self.len += bytes.len();
    }

    /// The next `count` unused bytes, before and after the wrap.
    #[inline]
    fn spare(&mut self, count: usize) -> (&mut [u8], &mut [u8]) {
        let size = self.storage.len();
        let start = if size == 0 { 0 } else { (self.head + self.len) & (size - 1) };
        let cut = count.min(size - start);
        let (before, after) = self.storage.split_at_mut(start);
        (&mut after[..cut], &mut before[..count - cut])
    }

    #[inline]
    fn slices(&self, count: usize) -> (&[u8], &[u8]) {
        let cut = count.min(self.storage.len() - self.head);
        (&self.storage[self.head..self.head + cut], &self.storage[..count - cut])
    }

    #[inline]
    fn consume(&mut self, count: usize) {
        debug_assert!(count <= self.len);
        self.len -= count;
        self.head = if self.len == 0 { 0 } else { (self.head + count) & (self.storage.len() - 1) };
    }

    fn truncate(&mut self, len: usize) {
        self.len = len;
        if len == 0 {
            self.head = 0;
        }
    }
}

/// Answers to pings that wait. A burst of pings is answered one by one (Autobahn 2.10); a flood is not amplified.
const MAX_PONGS: usize = 16;

/// Waiting pings and pongs of the user; more are a loop gone wild.
const MAX_CONTROL_FRAMES: usize = 64;

/// Own storage begins with a page.
const MIN_STORAGE: usize = 4096;

/// An empty table of frames larger than this is given back.
const KEEP_FRAMES: usize = 64;

/// Empty storage larger than this is given back at once, not only when the driver takes it: a message of 1 MiB with its
/// header still finds its storage again.
const KEEP_STORAGE: usize = 2 << 20;

#[cfg(test)]
mod tests;
