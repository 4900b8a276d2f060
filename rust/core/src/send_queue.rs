//! The bytes to send: a ring of data frames, bounded in bytes and messages, and a small lane of control frames that
//! passes them.
//!
//! Frames never interleave on the wire: a control frame leaves when the data frame that is partly written is complete.
//! The ring's storage is lent by the driver while there is something to send, so that an idle connection owns none; without
//! a loan the queue allocates its own.

use std::collections::VecDeque;

use crate::error::Misuse;
use crate::mask::mask_into;

/// The queue of one connection.
#[derive(Debug)]
pub struct SendQueue {
    ring: Ring,
    /// Where each unsent data frame ends, in bytes since the connection began, and whether it ends a message.
    frames: VecDeque<Frame>,
    messages: usize,
    /// Bytes written since the connection began.
    written: u64,
    /// Where the frame starts that is written next, or in part.
    frame_start: u64,
    control: VecDeque<Control>,
    control_written: usize,
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
            messages: 0,
            written: 0,
            frame_start: 0,
            control: VecDeque::new(),
            control_written: 0,
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
        if self.ring.len > self.max_bytes - bytes || self.messages >= self.max_messages {
            return Err(Misuse::QueueFull { messages: self.messages, bytes: self.ring.len });
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

    /// Queues a Ping or Pong.
    ///
    /// # Errors
    /// [`Misuse::QueueFull`] if too many wait already.
    pub fn push_control(&mut self, frame: &[u8]) -> Result<(), Misuse> {
        if self.closed {
            return Ok(());
        }
        if self.control.len() >= MAX_CONTROL_FRAMES {
            return Err(Misuse::QueueFull { messages: self.control.len(), bytes: self.ring.len });
        }
        self.control.push_back(Control { is_pong: false, bytes: frame.into() });
        Ok(())
    }

    /// Queues the answer to a Ping. Where many wait, the latest takes the place of the one before it (RFC 6455 §5.5.3).
    pub fn push_pong(&mut self, frame: &[u8]) {
        if self.closed {
            return;
        }
        let begun = usize::from(self.control_written > 0);
        let mut waiting = self.control.iter_mut().skip(begun).filter(|control| control.is_pong);
        match waiting.nth(MAX_PONGS - 1) {
            Some(last) => last.bytes = frame.into(),
            None => self.control.push_back(Control { is_pong: true, bytes: frame.into() }),
        }
    }

    /// Queues the Close frame, the last one: behind all data, or at once, dropping data frames of which nothing was
    /// written.
    pub fn push_close(&mut self, frame: &[u8], after_data: bool) {
        if self.closed {
            return;
        }
        if after_data {
            self.ring.make_room(frame.len());
            self.ring.push(frame);
            self.end_frame(false);
        } else {
            self.drop_unbegun();
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

    /// Takes note that this many bytes of the output were written.
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
        self.ring.consume(count);
        self.written += count as u64;
        while let Some(frame) = self.frames.front().filter(|frame| frame.end <= self.written) {
            self.messages -= usize::from(frame.ends_message);
            self.frame_start = frame.end;
            self.frames.pop_front();
        }
        if self.frames.is_empty() && self.frames.capacity() > KEEP_FRAMES {
            self.frames = VecDeque::new();
        }
    }

    /// Whether nothing is to be written.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.ring.len == 0 && self.control.is_empty()
    }

    /// Unsent messages, the one partly written included.
    pub fn messages(&self) -> usize {
        self.messages
    }

    /// Unsent bytes of data frames.
    #[inline]
    pub fn bytes(&self) -> usize {
        self.ring.len
    }

    /// Unsent messages of which nothing was written, and those of which some was (0 or 1).
    pub fn unsent(&self) -> (usize, usize) {
        let begun = usize::from(self.is_mid_frame() && self.messages > 0);
        (self.messages - begun, begun)
    }

    /// Whether the queue has storage.
    #[inline]
    pub fn has_storage(&self) -> bool {
        !self.ring.storage.is_empty()
    }

    /// Lends storage, whose length is a power of two, to a queue that has none.
    #[inline]
    pub fn lend_storage(&mut self, storage: Vec<u8>) {
        debug_assert!(storage.len().is_power_of_two() && !self.has_storage());
        self.ring.storage = storage;
    }

    /// Takes the storage back, if nothing is in it.
    #[inline]
    pub fn take_storage(&mut self) -> Option<Vec<u8>> {
        (self.ring.len == 0 && self.has_storage()).then(|| std::mem::take(&mut self.ring.storage))
    }

    fn is_mid_frame(&self) -> bool {
        self.written > self.frame_start
    }

    #[inline]
    fn end_frame(&mut self, ends_message: bool) {
        let end = self.written + self.ring.len as u64;
        self.frames.push_back(Frame { end, ends_message });
        self.messages += usize::from(ends_message);
    }

    fn drop_unbegun(&mut self) {
        let kept = usize::from(self.is_mid_frame());
        self.frames.truncate(kept);
        self.messages = self.frames.iter().filter(|frame| frame.ends_message).count();
        let end = self.frames.back().map_or(self.written, |frame| frame.end);
        self.ring.truncate((end - self.written) as usize);
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn drain(queue: &mut SendQueue, most: usize) -> Vec<u8> {
        let (first, second) = queue.output();
        let bytes: Vec<u8> = first.iter().chain(second).copied().take(most).collect();
        queue.wrote(bytes.len());
        bytes
    }

    fn drain_all(queue: &mut SendQueue) -> Vec<u8> {
        let mut all = Vec::new();
        while !queue.is_empty() {
            all.extend(drain(queue, usize::MAX));
        }
        all
    }

    #[test]
    fn one_message_goes_in_and_out_in_one_slice() {
        let mut queue = SendQueue::new(1000, 10);
        queue.push_data(b"HD", b"payload", None, true);
        assert_eq!(queue.output(), (&b"HDpayload"[..], &b""[..]));
        assert_eq!((queue.messages(), queue.bytes()), (1, 9));
        queue.wrote(9);
        assert!(queue.is_empty());
        assert_eq!((queue.messages(), queue.bytes()), (0, 0));
        assert!(queue.take_storage().is_some_and(|storage| storage.len() == MIN_STORAGE));
        assert!(!queue.has_storage());
    }

    #[test]
    fn bounds_are_in_bytes_and_messages() {
        let mut queue = SendQueue::new(10, 2);
        assert_eq!(queue.check(11), Err(Misuse::MessageTooLarge { bytes: 11, limit: 10 }));
        queue.push_data(b"", b"12345678", None, true);
        assert_eq!(queue.check(3), Err(Misuse::QueueFull { messages: 1, bytes: 8 }));
        assert_eq!(queue.check(2), Ok(()));
        queue.push_data(b"", b"", None, true);
        assert_eq!(queue.check(0), Err(Misuse::QueueFull { messages: 2, bytes: 8 }));
        drain_all(&mut queue);
        assert_eq!(queue.check(10), Ok(()));
    }

    #[test]
    fn control_frames_pass_data_but_not_the_frame_that_was_begun() {
        let mut queue = SendQueue::new(1000, 10);
        queue.push_data(b"", b"first.", None, true);
        queue.push_data(b"", b"second", None, true);
        assert_eq!(drain(&mut queue, 2), b"fi");
        assert_eq!(queue.unsent(), (1, 1));
        queue.push_control(b"<ping>").unwrap();
        assert_eq!(drain(&mut queue, usize::MAX), b"rst.");
        assert_eq!(drain(&mut queue, 3), b"<pi");
        assert_eq!(drain_all(&mut queue), b"ng>second");
    }

    #[test]
    fn a_burst_of_pongs_leaves_in_order_and_of_a_flood_the_latest_is_kept() {
        let mut queue = SendQueue::new(1000, 10);
        for number in 1..=MAX_PONGS as u8 {
            queue.push_pong(&[b'<', number]);
        }
        assert_eq!(drain(&mut queue, 1), b"<");
        for number in 100..200 {
            queue.push_pong(&[b'<', number]);
        }
        let mut expected = vec![1];
        for number in (2..=MAX_PONGS as u8).chain([199]) {
            expected.extend([b'<', number]);
        }
        assert_eq!(drain_all(&mut queue), expected);
    }

    #[test]
    fn pings_are_bounded() {
        let mut queue = SendQueue::new(1000, 10);
        for _ in 0..MAX_CONTROL_FRAMES {
            queue.push_control(b"p").unwrap();
        }
        assert!(matches!(queue.push_control(b"p"), Err(Misuse::QueueFull { .. })));
    }

    #[test]
    fn close_is_last_and_comes_behind_data_or_drops_what_was_not_begun() {
        let mut queue = SendQueue::new(1000, 10);
        queue.push_data(b"", b"data", None, true);
        queue.push_close(b"<close>", true);
        queue.push_data(b"", b"late", None, true);
        queue.push_pong(b"late");
        assert_eq!(drain_all(&mut queue), b"data<close>");

        let mut queue = SendQueue::new(1000, 10);
        queue.push_data(b"", b"begun", None, true);
        queue.push_data(b"", b"not begun", None, true);
        drain(&mut queue, 1);
        queue.push_close(b"<close>", false);
        assert_eq!(queue.messages(), 1);
        assert_eq!(drain_all(&mut queue), b"egun<close>");

        let mut queue = SendQueue::new(1000, 10);
        queue.push_data(b"", b"not begun", None, true);
        queue.push_close(b"<close>", false);
        assert_eq!(drain_all(&mut queue), b"<close>");
        assert!(queue.is_empty());
    }

    #[test]
    fn lent_storage_is_used_and_comes_back() {
        let mut queue = SendQueue::new(100_000, 10);
        queue.lend_storage(vec![0; 8192]);
        queue.push_data(b"h", &[1; 100], Some([1, 1, 1, 1]), true);
        assert_eq!(drain_all(&mut queue)[1..], [0; 100]);
        assert_eq!(queue.take_storage().unwrap().len(), 8192);
    }

    #[derive(Debug, Clone)]
    enum Step {
        Data(Vec<u8>, Option<[u8; 4]>, bool),
        Control(u8),
        Pong(u8),
        Write(usize),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            4 => (prop::collection::vec(any::<u8>(), 0..3000), any::<Option<[u8; 4]>>(), any::<bool>())
                .prop_map(|(bytes, key, ends)| Step::Data(bytes, key, ends)),
            1 => any::<u8>().prop_map(Step::Control),
            1 => any::<u8>().prop_map(Step::Pong),
            4 => (0usize..6000).prop_map(Step::Write),
        ];
        prop::collection::vec(step, 0..60)
    }

    proptest! {
        /// Against a list of whole frames: what is written is a sequence of whole frames, data in order, masked right.
        #[test]
        fn agrees_with_a_plain_list(steps in steps()) {
            let mut queue = SendQueue::new(usize::MAX, usize::MAX);
            let mut waiting: VecDeque<Vec<u8>> = VecDeque::new();
            let mut controls: VecDeque<(bool, Vec<u8>)> = VecDeque::new();
            let mut begun: Vec<u8> = Vec::new();
            let mut begun_is_control = false;
            for step in steps {
                match step {
                    Step::Data(bytes, key, ends) => {
                        queue.push_data(b"hh", &bytes, key, ends);
                        let mut frame = b"hh".to_vec();
                        frame.extend(bytes.iter().enumerate().map(|(i, b)| b ^ key.map_or(0, |key| key[i & 3])));
                        waiting.push_back(frame);
                    }
                    Step::Control(byte) => {
                        if queue.push_control(&[0xff, byte]).is_ok() {
                            controls.push_back((false, vec![0xff, byte]));
                        }
                    }
                    Step::Pong(byte) => {
                        queue.push_pong(&[0xfe, byte, byte]);
                        match controls.iter_mut().filter(|(pong, _)| *pong).nth(MAX_PONGS - 1) {
                            Some(known) => known.1 = vec![0xfe, byte, byte],
                            None => controls.push_back((true, vec![0xfe, byte, byte])),
                        }
                    }
                    Step::Write(most) => {
                        let bytes = drain(&mut queue, most);
                        let mut bytes = &bytes[..];
                        while !bytes.is_empty() {
                            if begun.is_empty() {
                                begun_is_control = !controls.is_empty();
                                begun = if begun_is_control {
                                    controls.pop_front().unwrap().1
                                } else {
                                    waiting.pop_front().unwrap()
                                };
                            }
                            let count = bytes.len().min(begun.len());
                            prop_assert_eq!(&bytes[..count], &begun[..count]);
                            begun.drain(..count);
                            bytes = &bytes[count..];
                        }
                    }
                }
                let data = waiting.iter().map(Vec::len).sum::<usize>() + if begun_is_control { 0 } else { begun.len() };
                prop_assert_eq!(queue.bytes(), data);
            }
        }
    }
}
