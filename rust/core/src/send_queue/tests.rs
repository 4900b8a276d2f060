//! The ring: bounds, order, partial writes, control frames in between.

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
    assert_eq!(queue.push_control(b"p"), Err(Misuse::ControlFull(MAX_CONTROL_FRAMES)));
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
