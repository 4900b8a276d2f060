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

    /// Queues the answer to a Ping. Where many wait, the latest takes the place of the one before it (RFC 6455 §5.5.3). It
    /// passes a Close frame that waits for data; tells whether it was queued.
    pub fn push_pong(&mut self, frame: &[u8]) -> bool {
        if self.closed && self.close.is_none() {
            return false;
        }
        let begun = usize::from(self.control_written > 0);
        let mut waiting = self.control.iter_mut().skip(begun).filter(|control| control.is_pong);
        match waiting.nth(MAX_PONGS - 1) {
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
        assert_eq!(queue.unsent_messages(), Unsent { not_begun: 1, begun: 1 });
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
        drain(&mut queue, 1);
        assert!(queue.push_pong(b"<pong>"));
        assert_eq!(drain(&mut queue, 3), b"ata");
        assert!(!queue.push_pong(b"late"));
        assert_eq!(drain_all(&mut queue), b"<pong><close>");

        let mut queue = SendQueue::new(1000, 10);
        queue.push_data(b"", b"begun", None, true);
        queue.push_data(b"", b"not begun", None, true);
        drain(&mut queue, 1);
        queue.push_close(b"<close>", false);
        assert_eq!(queue.messages(), 1);
        assert_eq!(queue.unsent_messages(), Unsent { not_begun: 1, begun: 1 });
        assert_eq!(drain_all(&mut queue), b"egun<close>");
        assert_eq!(queue.unsent_messages(), Unsent { not_begun: 1, begun: 0 });

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

    #[test]
    fn close_waits_outside_of_the_bound() {
        let mut queue = SendQueue::new(8192, 10);
        queue.push_data(b"", &[0; 8192], None, true);
        queue.push_control(b"<ping>").unwrap();
        queue.push_close(b"<close>", true);
        assert_eq!(queue.ring.storage.len(), 8192);
        let all = drain_all(&mut queue);
        assert_eq!(&all[..6], b"<ping>");
        assert_eq!(&all[8192 + 6..], b"<close>");
    }

    #[test]
    fn a_message_in_fragments_is_one_message_and_begun_with_its_first_byte() {
        let mut queue = SendQueue::new(1000, 1);
        queue.push_data(b"", b"one", None, false);
        assert_eq!((queue.messages(), queue.check(3)), (1, Ok(())));
        queue.push_data(b"", b"two", None, true);
        assert!(queue.check(3).is_err());
        // Written to the end of the first frame: the message has begun, though no frame is partly written.
        drain(&mut queue, 3);
        assert_eq!(queue.unsent_messages(), Unsent { not_begun: 0, begun: 1 });
        let mut closed = queue;
        closed.push_close(b"<close>", false);
        assert_eq!(drain_all(&mut closed), b"<close>");
        assert_eq!(closed.unsent_messages(), Unsent { not_begun: 0, begun: 1 });

        let mut queue = SendQueue::new(1000, 1);
        queue.push_data(b"", b"all of a first fragment", None, false);
        drain_all(&mut queue);
        assert_eq!((queue.messages(), queue.unsent_messages()), (0, Unsent { not_begun: 0, begun: 1 }));
        queue.push_data(b"", b"end", None, true);
        drain_all(&mut queue);
        assert_eq!(queue.unsent_messages(), Unsent::default());
    }

    #[test]
    fn what_a_burst_took_is_given_back() {
        let mut queue = SendQueue::new(64 << 20, 1000);
        queue.push_data(b"", &vec![0; KEEP_STORAGE + 1], None, true);
        for _ in 0..=KEEP_FRAMES {
            queue.push_data(b"", b"x", None, true);
        }
        drain_all(&mut queue);
        assert!(!queue.has_storage() && queue.frames.capacity() <= KEEP_FRAMES);
    }

    #[derive(Debug, Clone)]
    enum Step {
        Data(Vec<u8>, Option<[u8; 4]>, bool),
        Control(u8),
        Pong(u8),
        Write(usize),
        Close(bool),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            12 => (prop::collection::vec(any::<u8>(), 0..3000), any::<Option<[u8; 4]>>(), any::<bool>())
                .prop_map(|(bytes, key, ends)| Step::Data(bytes, key, ends)),
            3 => any::<u8>().prop_map(Step::Control),
            3 => any::<u8>().prop_map(Step::Pong),
            12 => (0usize..6000).prop_map(Step::Write),
            1 => any::<bool>().prop_map(Step::Close),
        ];
        prop::collection::vec(step, 0..60)
    }

    /// Whole frames in plain lists.
    #[derive(Default)]
    struct Model {
        /// With the number of its message.
        data: VecDeque<(usize, Vec<u8>)>,
        control: VecDeque<(bool, Vec<u8>)>,
        /// Waits for all data.
        close: Option<Vec<u8>>,
        /// What is left of the frame that is being written, and its message if it is data.
        begun: Vec<u8>,
        begun_message: Option<usize>,
        /// Of each message: whether a byte was written, whether its end was.
        messages: Vec<(bool, bool)>,
        ends: Vec<bool>,
        is_open: bool,
        is_closed: bool,
    }

    impl Model {
        fn push_data(&mut self, frame: Vec<u8>, ends: bool) {
            if !self.is_open {
                self.messages.push((false, false));
                self.ends.push(false);
            }
            let message = self.messages.len() - 1;
            self.ends[message] = ends;
            self.is_open = !ends;
            self.data.push_back((message, frame));
        }

        fn push_pong(&mut self, frame: Vec<u8>) {
            match self.control.iter_mut().filter(|(is_pong, _)| *is_pong).nth(MAX_PONGS - 1) {
                Some(waiting) => waiting.1 = frame,
                None => self.control.push_back((true, frame)),
            }
        }

        fn push_close(&mut self, frame: Vec<u8>, after_data: bool) {
            self.is_closed = true;
            if after_data {
                self.close = Some(frame);
            } else {
                self.data.clear();
                self.control.push_back((false, frame));
            }
        }

        /// The next bytes on the wire are these.
        fn expect(&mut self, mut bytes: &[u8]) {
            while !bytes.is_empty() {
                if self.begun.is_empty() {
                    (self.begun_message, self.begun) = if let Some((_, frame)) = self.control.pop_front() {
                        (None, frame)
                    } else if let Some((message, frame)) = self.data.pop_front() {
                        (Some(message), frame)
                    } else {
                        (None, self.close.take().expect("no byte was queued"))
                    };
                }
                let count = bytes.len().min(self.begun.len());
                assert_eq!(bytes[..count], self.begun[..count]);
                self.begun.drain(..count);
                bytes = &bytes[count..];
                if let Some(message) = self.begun_message {
                    let is_last = self.ends[message] && self.data.front().is_none_or(|(next, _)| *next != message);
                    self.messages[message] = (true, is_last && self.begun.is_empty());
                }
            }
        }

        fn bytes(&self) -> usize {
            let begun = if self.begun_message.is_some() { self.begun.len() } else { 0 };
            self.data.iter().map(|(_, frame)| frame.len()).sum::<usize>() + begun
        }

        fn unsent(&self) -> Unsent {
            let unsent = self.messages.iter().filter(|(_, ended)| !ended);
            let begun = unsent.clone().filter(|(begun, _)| *begun).count();
            Unsent { not_begun: unsent.count() - begun, begun }
        }
    }

    proptest! {
        /// What is written is a sequence of whole frames, data in order, masked right, Close last.
        #[test]
        fn agrees_with_plain_lists(steps in steps()) {
            let mut queue = SendQueue::new(usize::MAX, usize::MAX);
            let mut model = Model::default();
            for step in steps {
                match step {
                    Step::Data(bytes, key, ends) => {
                        queue.push_data(b"hh", &bytes, key, ends);
                        let mut frame = b"hh".to_vec();
                        frame.extend(bytes.iter().enumerate().map(|(i, b)| b ^ key.map_or(0, |key| key[i & 3])));
                        if !model.is_closed {
                            model.push_data(frame, ends);
                        }
                    }
                    Step::Control(byte) => {
                        let accepted = queue.push_control(&[0xff, byte]).is_ok();
                        if accepted && !model.is_closed {
                            model.control.push_back((false, vec![0xff, byte]));
                        }
                    }
                    Step::Pong(byte) => {
                        let passes_close = !model.data.is_empty() || model.begun_message.is_some_and(|_| !model.begun.is_empty());
                        let expected = !model.is_closed || (model.close.is_some() && passes_close);
                        prop_assert_eq!(queue.push_pong(&[0xfe, byte, byte]), expected);
                        if expected {
                            model.push_pong(vec![0xfe, byte, byte]);
                        }
                    }
                    Step::Write(most) => model.expect(&drain(&mut queue, most)),
                    Step::Close(after_data) => {
                        queue.push_close(b"<close>", after_data);
                        if !model.is_closed {
                            // The end of a message is dropped unless it is in the frame that is being written.
                            if !after_data {
                                for (message, _) in &model.data {
                                    model.ends[*message] = false;
                                }
                            }
                            model.push_close(b"<close>".to_vec(), after_data);
                        }
                    }
                }
                prop_assert_eq!(queue.bytes(), model.bytes());
                prop_assert_eq!(queue.unsent_messages(), model.unsent());
            }
            let rest = drain_all(&mut queue);
            model.expect(&rest);
            prop_assert!(model.begun.is_empty() && model.data.is_empty() && model.control.is_empty());
            prop_assert!(model.close.is_none());
            prop_assert_eq!(rest.ends_with(b"<close>"), model.is_closed && !rest.is_empty());
        }
    }
}
