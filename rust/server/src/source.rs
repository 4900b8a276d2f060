//! What sends by itself: frames made ready in large buffers, handed out by the chunk. Nothing here is copied through the
//! protocol core: these frames are already what goes onto the wire.

use std::ops::Range;
use std::sync::Arc;

use fastws_core::{Nanos, Opcode, SECOND};

use crate::clock;
use crate::feed::Feed;
use crate::output::header;
use crate::step::{Blast, Paced, Replay, Subscribe};
use crate::venue::Session;

/// A source of frames.
pub(crate) enum Source {
    Blast(BlastSource),
    Paced(PacedSource),
    Replay(Box<ReplaySource>),
    Venue(Box<Session>),
}

/// What was sent whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sent {
    pub(crate) messages: u64,
    pub(crate) payload_bytes: u64,
}

impl Source {
    /// The bytes to send now; none: not yet, or never again.
    pub(crate) fn chunk(&mut self, now: Nanos) -> &[u8] {
        match self {
            Self::Blast(source) => source.chunk(),
            Self::Paced(source) => source.chunk(now),
            Self::Replay(source) => source.chunk(now),
            Self::Venue(session) => session.chunk(now),
        }
    }

    /// Takes note that the next `count` bytes of the chunk were given to the stream.
    pub(crate) fn wrote(&mut self, count: usize) -> Sent {
        match self {
            Self::Blast(source) => source.wrote(count),
            Self::Paced(source) => source.wrote(count),
            Self::Replay(source) => source.wrote(count),
            Self::Venue(session) => session.wrote(count),
        }
    }

    /// Whether a frame was given to the stream in part: nothing else may be sent now.
    pub(crate) fn is_mid(&self) -> bool {
        match self {
            Self::Blast(source) => source.at % source.frame != 0,
            Self::Paced(source) => source.at % source.frame != 0,
            Self::Replay(source) => source.at > source.feed.start_of(source.next),
            Self::Venue(session) => session.is_mid(),
        }
    }

    /// Whether all was sent.
    pub(crate) fn is_done(&self) -> bool {
        match self {
            Self::Blast(source) => source.next == source.end && source.at == source.batch,
            Self::Paced(source) => source.next == source.end && source.at == source.buf.len(),
            Self::Replay(source) => source.next == source.end,
            Self::Venue(session) => session.is_done(),
        }
    }

    /// When there will be more to send, if that is known.
    pub(crate) fn deadline(&self) -> Option<Nanos> {
        match self {
            Self::Blast(_) => None,
            Self::Paced(source) => (source.next < source.end).then(|| source.due(source.next)),
            Self::Replay(source) => source.deadline(),
            Self::Venue(session) => session.deadline(),
        }
    }
}

/// The same message over and over.
pub(crate) struct BlastSource {
    /// Frames side by side.
    buf: Vec<u8>,
    frame: usize,
    head: usize,
    numbered: bool,
    /// Written, and to be written, of the current batch.
    at: usize,
    batch: usize,
    /// The first message behind the current batch.
    next: u64,
    end: u64,
}

impl BlastSource {
    pub(crate) fn new(range: Range<u64>, blast: &Blast) -> Self {
        let (head, used) = header(if blast.text { Opcode::Text } else { Opcode::Binary }, true, blast.size);
        let frame = used + blast.size;
        let count = (BUFFER / frame).max(1).min(usize::try_from(range.end - range.start).unwrap_or(usize::MAX));
        let mut buf = Vec::with_capacity(count * frame);
        for _ in 0..count {
            buf.extend_from_slice(&head[..used]);
            buf.resize(buf.len() + blast.size, b'x');
        }
        Self { buf, frame, head: used, numbered: blast.numbered, at: 0, batch: 0, next: range.start, end: range.end }
    }

    fn chunk(&mut self) -> &[u8] {
        if self.at == self.batch && self.next < self.end {
            let count = ((self.buf.len() / self.frame) as u64).min(self.end - self.next);
            if self.numbered {
                for (frame, number) in self.buf.chunks_exact_mut(self.frame).zip(self.next..self.next + count) {
                    frame[self.head..self.head + 8].copy_from_slice(&number.to_le_bytes());
                }
            }
            self.next += count;
            self.at = 0;
            self.batch = count as usize * self.frame;
        }
        &self.buf[self.at..self.batch]
    }

    fn wrote(&mut self, count: usize) -> Sent {
        let messages = ((self.at + count) / self.frame - self.at / self.frame) as u64;
        self.at += count;
        Sent { messages, payload_bytes: messages * (self.frame - self.head) as u64 }
    }
}

/// Messages that say when they were sent.
pub(crate) struct PacedSource {
    template: Vec<u8>,
    buf: Vec<u8>,
    frame: usize,
    head: usize,
    at: usize,
    next: u64,
    first: u64,
    end: u64,
    rate: f64,
    started: Nanos,
}

impl PacedSource {
    pub(crate) fn new(range: Range<u64>, paced: &Paced, now: Nanos) -> Self {
        let size = paced.size.max(PACED_SMALLEST);
        let (head, used) = header(Opcode::Binary, true, size);
        let mut template = head[..used].to_vec();
        template.resize(used + size, b'x');
        Self {
            frame: template.len(),
            template,
            buf: Vec::new(),
            head: used,
            at: 0,
            next: range.start,
            first: range.start,
            end: range.end,
            rate: paced.rate,
            started: now,
        }
    }

    fn due(&self, message: u64) -> Nanos {
        let after = (message - self.first) as f64 / self.rate * SECOND as f64;
        // A rate of nearly zero: later than any clock will say.
        self.started.saturating_add((after as u64).min(u64::MAX / 4))
    }

    fn chunk(&mut self, now: Nanos) -> &[u8] {
        if self.at == self.buf.len() {
            self.buf.clear();
            self.at = 0;
            let sent_at = clock::now().to_le_bytes();
            while self.next < self.end && self.due(self.next) <= now && self.buf.len() < BUFFER {
                let start = self.buf.len() + self.head;
                self.buf.extend_from_slice(&self.template);
                self.buf[start..start + 8].copy_from_slice(&sent_at);
                self.buf[start + 8..start + 16].copy_from_slice(&self.next.to_le_bytes());
                self.next += 1;
            }
        }
        &self.buf[self.at..]
    }

    fn wrote(&mut self, count: usize) -> Sent {
        let messages = ((self.at + count) / self.frame - self.at / self.frame) as u64;
        self.at += count;
        Sent { messages, payload_bytes: messages * (self.frame - self.head) as u64 }
    }
}

/// A feed that is played.
pub(crate) struct ReplaySource {
    feed: Arc<Feed>,
    /// 0: flat out.
    speed: f64,
    stamps: bool,
    /// When message 0 was due, or would have been.
    base: i64,
    /// The first byte not sent, and the message that it is in.
    at: usize,
    next: usize,
    /// The first message that is not due yet.
    due: usize,
    end: usize,
    gate: Option<Gate>,
}

/// Waits for what the client sent in the recording.
struct Gate {
    equal: bool,
    /// The first request that has not come.
    next: usize,
    /// When the last one came.
    came: Nanos,
    /// A message that arrives in fragments.
    partial: Vec<u8>,
    /// Playing waits for a request.
    waiting: bool,
    /// A message that was another than the recorded one.
    mismatch: Option<usize>,
}

impl ReplaySource {
    pub(crate) fn new(range: Range<u64>, replay: &Replay, feed: Arc<Feed>, now: Nanos) -> Self {
        let last = feed.len();
        let bound = |at: u64| usize::try_from(at).unwrap_or(usize::MAX).min(last);
        let (first, end) = (bound(range.start), bound(range.end));
        let gate = (replay.subscribe != Subscribe::Ignore && first == 0).then(|| Gate {
            equal: replay.subscribe == Subscribe::Equal,
            next: 0,
            came: now,
            partial: Vec::new(),
            waiting: false,
            mismatch: None,
        });
        let mut this = Self {
            speed: replay.speed,
            stamps: replay.stamps,
            base: 0,
            at: feed.start_of(first),
            next: first,
            due: first,
            end,
            gate,
            feed,
        };
        this.rebase(now);
        if first == 0 && this.allowed() > 0 {
            this.feed.set_started(now);
        }
        this
    }

    /// The next message is due at this time.
    fn rebase(&mut self, at: Nanos) {
        if self.next < self.end {
            self.base = at as i64 - self.after_base(self.feed.offset_of(self.next));
        }
    }

    fn after_base(&self, offset: u64) -> i64 {
        if self.speed > 0.0 { (offset as f64 / self.speed) as i64 } else { 0 }
    }

    /// The first message that waits for the client; the end where none does.
    fn allowed(&self) -> usize {
        let Some(gate) = &self.gate else { return self.end };
        self.feed.requests().get(gate.next).map_or(self.end, |request| request.before.min(self.end))
    }

    fn chunk(&mut self, now: Nanos) -> &[u8] {
        if self.next == self.due && self.next < self.end {
            self.find_due(now);
        }
        &self.feed.frames()[self.at..self.feed.start_of(self.due).max(self.at)]
    }

    fn find_due(&mut self, now: Nanos) {
        let allowed = self.allowed();
        if let Some(gate) = &mut self.gate {
            if allowed == self.next {
                gate.waiting = true;
                return;
            }
            if std::mem::take(&mut gate.waiting) {
                let (came, request) = (gate.came, gate.next - 1);
                let since = self.feed.offset_of(self.next).saturating_sub(self.feed.offset_of_request(request));
                let next_due = came.saturating_add_signed(self.after_base(since));
                self.rebase(next_due);
                if self.next == 0 {
                    self.feed.set_started(next_due);
                }
            }
        }
        let room = self.at + BUFFER;
        while self.due < allowed && (self.due == self.next || self.feed.start_of(self.due + 1) <= room) {
            if self.due_at(self.due) > now as i64 {
                break;
            }
            self.due += 1;
        }
    }

    fn due_at(&self, message: usize) -> i64 {
        self.base.saturating_add(self.after_base(self.feed.offset_of(message)))
    }

    fn wrote(&mut self, count: usize) -> Sent {
        self.at += count;
        let first = self.next;
        self.next = self.feed.message_at(self.at).min(self.due);
        let messages = self.next - first;
        if messages == 0 {
            return Sent { messages: 0, payload_bytes: 0 };
        }
        if self.stamps {
            self.feed.stamp(first, messages, clock::now());
        }
        Sent { messages: messages as u64, payload_bytes: self.feed.payload_of(first..self.next) }
    }

    fn deadline(&self) -> Option<Nanos> {
        let waiting = self.gate.as_ref().is_some_and(|gate| gate.waiting);
        (self.next < self.end && !waiting).then(|| self.due_at(self.next).max(0) as Nanos)
    }

    /// Takes in a frame from the client.
    pub(crate) fn on_frame(&mut self, fin: bool, payload: &[u8], now: Nanos) {
        let Some(gate) = &mut self.gate else { return };
        let Some(request) = self.feed.requests().get(gate.next) else { return };
        if gate.equal {
            let room = request.payload.len() + SLACK - gate.partial.len().min(request.payload.len() + SLACK);
            gate.partial.extend_from_slice(&payload[..payload.len().min(room)]);
        }
        if !fin {
            return;
        }
        if gate.equal && !same(&std::mem::take(&mut gate.partial), &request.payload) {
            gate.mismatch.get_or_insert(gate.next);
            return;
        }
        gate.next += 1;
        gate.came = now;
    }

    /// The number of a request that came otherwise than recorded.
    pub(crate) fn mismatch(&self) -> Option<usize> {
        self.gate.as_ref().and_then(|gate| gate.mismatch)
    }
}

/// Equal byte by byte, or as JSON.
fn same(one: &[u8], other: &[u8]) -> bool {
    let json = |bytes| serde_json::from_slice::<serde_json::Value>(bytes).ok();
    one == other || json(one).is_some_and(|value| json(other) == Some(value))
}

/// One send(2) takes about this much.
pub(crate) const BUFFER: usize = 256 << 10;

/// A paced message carries two numbers.
pub(crate) const PACED_SMALLEST: usize = 16;

/// A client's JSON may have other white space than the recorded one: this much more of it is kept for comparison.
const SLACK: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::feed::{FeedMessage, RecordedRequest};

    fn drain(source: &mut Source, now: Nanos, step: usize) -> (Vec<u8>, u64, u64) {
        let (mut bytes, mut messages, mut payload_bytes) = (Vec::new(), 0, 0);
        loop {
            let chunk = source.chunk(now);
            let taken = chunk.len().min(step);
            if taken == 0 {
                return (bytes, messages, payload_bytes);
            }
            bytes.extend_from_slice(&chunk[..taken]);
            let sent = source.wrote(taken);
            messages += sent.messages;
            payload_bytes += sent.payload_bytes;
        }
    }

    fn frames(mut bytes: &[u8]) -> Vec<Vec<u8>> {
        let mut out = Vec::new();
        while !bytes.is_empty() {
            let (header, used) = fastws_core::frame::decode(bytes, fastws_core::Role::Client, 0).unwrap().unwrap();
            let end = used + header.length as usize;
            out.push(bytes[used..end].to_vec());
            bytes = &bytes[end..];
        }
        out
    }

    #[test]
    fn a_blast_sends_exactly_its_range_however_it_is_cut() {
        for step in [1000, 262_144, usize::MAX] {
            let blast = Blast { size: 128, text: false, numbered: true };
            let mut source = Source::Blast(BlastSource::new(3..5003, &blast));
            assert!(!source.is_done());
            let (bytes, messages, payload_bytes) = drain(&mut source, 0, step);
            assert!(source.is_done() && !source.is_mid());
            assert_eq!((messages, payload_bytes), (5000, 5000 * 128));
            let numbers =
                frames(&bytes).iter().map(|f| u64::from_le_bytes(f[..8].try_into().unwrap())).collect::<Vec<_>>();
            assert!(numbers.into_iter().eq(3..5003));
        }
    }

    #[test]
    fn paced_messages_leave_when_they_are_due() {
        let mut source = Source::Paced(PacedSource::new(0..10, &Paced { rate: 1000.0, size: 16 }, 5_000_000));
        assert_eq!(drain(&mut source, 5_000_000, 7).1, 1);
        assert_eq!(source.deadline(), Some(6_000_000));
        assert_eq!(drain(&mut source, 5_999_999, 7).1, 0);
        assert_eq!(drain(&mut source, 8_000_000, 7).1, 3);
        assert_eq!(drain(&mut source, SECOND, 7).1, 6);
        assert!(source.is_done());
    }

    fn feed(requests: Vec<(usize, u64, &str)>) -> Arc<Feed> {
        let messages: Vec<FeedMessage> = (0..5u64)
            .map(|i| FeedMessage { at_ns: 100 + i * 1000, text: true, payload: vec![b'0' + i as u8; 200] })
            .collect();
        let request =
            |(before, at_ns, payload): (_, _, &str)| RecordedRequest { before, at_ns, payload: payload.into() };
        Arc::new(Feed::new(&messages).with_requests(requests.into_iter().map(request).collect()))
    }

    fn replay(feed: &Arc<Feed>, speed: f64, subscribe: Subscribe, now: Nanos) -> Source {
        let replay = Replay { name: String::new(), speed, subscribe, stamps: false };
        Source::Replay(Box::new(ReplaySource::new(0..u64::MAX, &replay, Arc::clone(feed), now)))
    }

    #[test]
    fn a_replay_keeps_the_recorded_times_divided_by_its_speed() {
        let feed = feed(vec![]);
        let mut source = replay(&feed, 2.0, Subscribe::Ignore, 10_000);
        assert_eq!(feed.started(), Some(10_000));
        assert_eq!(drain(&mut source, 10_000, 33).1, 1);
        assert_eq!(source.deadline(), Some(10_500));
        assert_eq!(drain(&mut source, 11_000, 33), (feed.frames()[204..612].to_vec(), 2, 400));
        assert_eq!(drain(&mut source, 99_000, 33).1, 2);
        assert!(source.is_done());
        let mut flat = replay(&feed, 0.0, Subscribe::Ignore, 10_000);
        assert_eq!(drain(&mut flat, 10_000, usize::MAX), (feed.frames().to_vec(), 5, 1000));
    }

    #[test]
    fn a_replay_waits_where_the_recorded_client_sent_and_goes_on_in_the_recorded_time() {
        let feed = feed(vec![(0, 0, "sub"), (2, 1600, "{\"a\": 1}")]);
        let mut source = replay(&feed, 1.0, Subscribe::Equal, 10_000);
        let on_frame = |source: &mut Source, fin, payload: &[u8], now| {
            let Source::Replay(source) = source else { panic!() };
            source.on_frame(fin, payload, now);
            source.mismatch()
        };
        assert_eq!((drain(&mut source, 20_000, 99).1, source.deadline(), feed.started()), (0, None, None));
        assert_eq!(on_frame(&mut source, true, b"sub", 30_000), None);
        assert_eq!(drain(&mut source, 30_000, 99).1, 1);
        assert_eq!(feed.started(), Some(30_000));
        assert_eq!(drain(&mut source, 50_000, 99).1, 1);
        assert_eq!(source.deadline(), None);
        assert_eq!(on_frame(&mut source, false, b"{\"a\"", 59_000), None);
        assert_eq!(on_frame(&mut source, true, b":1}", 60_000), None);
        assert_eq!(drain(&mut source, 60_499, 99).1, 0);
        assert_eq!(source.deadline(), Some(60_500));
        assert_eq!(drain(&mut source, 99_000, 99).1, 3);
        let mut other = replay(&feed, 1.0, Subscribe::Equal, 10_000);
        assert_eq!(on_frame(&mut other, true, b"bus", 11_000), Some(0));
    }
}
