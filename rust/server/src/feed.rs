//! Feeds: what a server once sent, encoded and ready to be sent again, and what its client sent meanwhile.

use std::fmt;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use fastws_core::deflate::{PerMessageDeflate, Terms};
use fastws_core::{Nanos, Opcode, Role};

use crate::output::{AT_ONCE, deflated, header, header_of};

/// One message of a feed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FeedMessage {
    /// When it came, on the feed's own clock.
    pub at_ns: u64,
    /// Text instead of binary.
    pub text: bool,
    /// Its payload.
    pub payload: Vec<u8>,
}

/// A feed to replay.
pub struct Feed {
    /// All messages as unmasked frames, one behind the other.
    frames: Vec<u8>,
    /// Where each frame ends.
    ends: Vec<usize>,
    /// When each message came.
    at: Vec<u64>,
    payload_bytes: u64,
    requests: Vec<RecordedRequest>,
    times: Arc<Times>,
    /// The same messages, compressed: made when they are wanted.
    deflated: Mutex<Vec<(Compressed, Arc<Feed>)>>,
    /// Whose messages these are, compressed.
    plain: Weak<Feed>,
}

/// How a feed is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Compressed {
    /// The window that messages refer back to, within a message and beyond.
    pub(crate) window_bits: u8,
    /// Each message by itself: whatever was sent before, it can be inflated. Otherwise it can as part of the whole feed
    /// alone, as the first that is compressed on a connection.
    pub(crate) alone: bool,
}

/// When a feed was played last.
#[derive(Default)]
struct Times {
    /// When message 0 was due; 0: never.
    started: AtomicU64,
    /// When each message of the last replay with stamps was given to the kernel.
    stamps: Mutex<Vec<Nanos>>,
}

/// A message that the recorded client sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordedRequest {
    /// The message of the feed that it stands in front of.
    pub before: usize,
    /// When it was sent, on the feed's clock; before message 0: the time of that one.
    pub at_ns: u64,
    /// Its payload.
    pub payload: Vec<u8>,
}

/// Why a recording cannot be read.
#[derive(Debug)]
pub struct FeedError {
    /// The file.
    pub path: PathBuf,
    /// The line, counted from 1; 0: the file as a whole.
    pub line: usize,
    /// What is wrong.
    pub reason: String,
}

impl Feed {
    /// A feed of these messages, in order. Times that go backwards count as no time passed.
    pub fn new(messages: &[FeedMessage]) -> Self {
        let mut feed = Self::empty();
        for message in messages {
            feed.push(message.at_ns, message.text, &message.payload);
        }
        feed
    }

    /// Reads a recording: JSON Lines, gzip'd or not, one event a line:
    /// `{"t": seconds, "dir": "open" | "send" | "recv", "text": …}` or `"b64": …` for binary.
    ///
    /// # Errors
    /// Names the file, the line and what is wrong with it.
    pub fn load(path: &Path) -> Result<Self, FeedError> {
        let fail = |line, reason: String| FeedError { path: path.to_owned(), line, reason };
        let file = File::open(path).map_err(|e| fail(0, e.to_string()))?;
        let mut file = BufReader::new(file);
        let compressed = file.fill_buf().map_err(|e| fail(0, e.to_string()))?.starts_with(&[0x1f, 0x8b]);
        let bytes: Box<dyn Read> =
            if compressed { Box::new(flate2::read::MultiGzDecoder::new(file)) } else { Box::new(file) };
        let mut lines = BufReader::new(bytes.take(MAX_FILE + 1));
        let mut feed = Self::empty();
        let mut first: Option<f64> = None;
        let (mut line, mut number, mut total) = (Vec::new(), 0, 0);
        loop {
            line.clear();
            let read = lines.read_until(b'\n', &mut line).map_err(|e| fail(number + 1, e.to_string()))?;
            if read == 0 {
                break;
            }
            number += 1;
            total += read as u64;
            if total > MAX_FILE {
                return Err(fail(number, format!("the recording is larger than {MAX_FILE} bytes")));
            }
            if line.trim_ascii().is_empty() {
                continue;
            }
            let event = Event::parse(&line).map_err(|reason| fail(number, reason))?;
            match event.direction {
                Direction::Open => {}
                Direction::Receive => {
                    let start = *first.get_or_insert(event.time);
                    feed.push(offset(event.time, start), event.text, &event.payload);
                }
                Direction::Send => {
                    let at_ns = first.map_or(0, |start| offset(event.time, start));
                    feed.requests.push(RecordedRequest { before: feed.len(), at_ns, payload: event.payload });
                }
            }
        }
        if feed.is_empty() {
            return Err(fail(0, "the recording has no received message".to_owned()));
        }
        Ok(feed)
    }

    /// The same with what the client sent, in the order of `before`.
    #[must_use]
    pub fn with_requests(mut self, mut requests: Vec<RecordedRequest>) -> Self {
        requests.sort_by_key(|request| request.before);
        self.requests = requests;
        self
    }

    fn empty() -> Self {
        Self {
            frames: Vec::new(),
            ends: Vec::new(),
            at: Vec::new(),
            payload_bytes: 0,
            requests: Vec::new(),
            times: Arc::default(),
            deflated: Mutex::default(),
            plain: Weak::new(),
        }
    }

    /// The same messages, compressed like this. It is done once, while others who want it wait.
    pub(crate) fn deflated(self: &Arc<Self>, how: Compressed) -> Arc<Self> {
        let mut made = self.deflated.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, feed)) = made.iter().find(|(of, _)| *of == how) {
            return Arc::clone(feed);
        }
        let feed = Arc::new(self.deflate(how));
        made.push((how, Arc::clone(&feed)));
        feed
    }

    fn deflate(self: &Arc<Self>, how: Compressed) -> Self {
        let terms = Terms {
            server_no_context_takeover: how.alone,
            server_max_window_bits: how.window_bits,
            ..Terms::default()
        };
        let mut deflate = PerMessageDeflate::new(Role::Server, terms, AT_ONCE);
        let mut feed = Self {
            at: self.at.clone(),
            payload_bytes: self.payload_bytes,
            requests: self.requests.clone(),
            times: Arc::clone(&self.times),
            plain: Arc::downgrade(self),
            ..Self::empty()
        };
        for message in 0..self.len() {
            let frame = &self.frames[self.start_of(message)..self.ends[message]];
            let opcode = if frame[0] & 0x0f == 1 { Opcode::Text } else { Opcode::Binary };
            let (head, payload) = deflated(&mut deflate, opcode, true, &frame[head_of(frame.len())..]);
            let (bytes, used) = header_of(head, payload.len());
            feed.frames.extend_from_slice(&bytes[..used]);
            feed.frames.extend_from_slice(&payload);
            feed.ends.push(feed.frames.len());
        }
        feed
    }

    fn push(&mut self, at_ns: u64, text: bool, payload: &[u8]) {
        let (head, used) = header(if text { Opcode::Text } else { Opcode::Binary }, true, payload.len());
        self.frames.extend_from_slice(&head[..used]);
        self.frames.extend_from_slice(payload);
        self.ends.push(self.frames.len());
        self.at.push(self.at.last().copied().unwrap_or(0).max(at_ns));
        self.payload_bytes += payload.len() as u64;
    }

    /// Messages.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether it has no message.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Payload bytes of all messages.
    pub fn payload_bytes(&self) -> u64 {
        self.payload_bytes
    }

    /// What the recorded client sent, in order.
    pub fn requests(&self) -> &[RecordedRequest] {
        &self.requests
    }

    /// The frames of all messages, one behind the other.
    pub(crate) fn frames(&self) -> &[u8] {
        &self.frames
    }

    /// Where a message's frame begins; for the number of messages, the end.
    pub(crate) fn start_of(&self, message: usize) -> usize {
        if message == 0 { 0 } else { self.ends[message - 1] }
    }

    /// The first message that ends behind this byte.
    pub(crate) fn message_at(&self, byte: usize) -> usize {
        self.ends.partition_point(|&end| end <= byte)
    }

    /// Payload bytes of these messages.
    pub(crate) fn payload_of(&self, messages: Range<usize>) -> u64 {
        if let Some(plain) = self.plain.upgrade() {
            return plain.payload_of(messages);
        }
        let bytes = self.start_of(messages.end) - self.start_of(messages.start);
        // Headers are 2, 4 or 10 bytes by the size of what follows.
        let heads: usize = messages.map(|at| head_of(self.start_of(at + 1) - self.start_of(at))).sum();
        (bytes - heads) as u64
    }

    /// How many messages are due so long after message 0, at this many times their speed.
    pub(crate) fn due_by(&self, after: Nanos, speed: f64) -> usize {
        let first = self.at.first().copied().unwrap_or(0);
        self.at.partition_point(|at| sped_up(at - first, speed) <= after)
    }

    /// How long after message 0 a message is due, at this many times its speed.
    pub(crate) fn offset_at(&self, message: usize, speed: f64) -> Nanos {
        sped_up(self.offset_of(message), speed)
    }

    /// When a message came, counted from message 0.
    pub(crate) fn offset_of(&self, message: usize) -> u64 {
        self.at[message] - self.at[0]
    }

    /// As [`Feed::offset_of`], of what the client sent; before message 0 it is 0.
    pub(crate) fn offset_of_request(&self, request: usize) -> u64 {
        self.requests[request].at_ns.saturating_sub(self.at.first().copied().unwrap_or(0))
    }

    /// When message 0 of the last replay was due.
    pub(crate) fn started(&self) -> Option<Nanos> {
        Some(self.times.started.load(Ordering::Acquire)).filter(|&at| at > 0)
    }

    pub(crate) fn set_started(&self, at: Nanos) {
        self.times.started.store(at, Ordering::Release);
    }

    /// When each message of the last replay with stamps was given to the kernel.
    pub(crate) fn stamps(&self) -> Vec<Nanos> {
        self.times.stamps.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Stamps the messages from `first` on.
    pub(crate) fn stamp(&self, first: usize, count: usize, at: Nanos) {
        let mut stamps = self.times.stamps.lock().unwrap_or_else(PoisonError::into_inner);
        stamps.truncate(first);
        let end = stamps.len() + count;
        stamps.resize(end, at);
    }
}

/// One line of a recording.
struct Event {
    time: f64,
    direction: Direction,
    text: bool,
    payload: Vec<u8>,
}

enum Direction {
    Open,
    Send,
    Receive,
}

impl Event {
    fn parse(line: &[u8]) -> Result<Self, String> {
        let value: serde_json::Value = serde_json::from_slice(line).map_err(|e| format!("not JSON: {e}"))?;
        let field = |name| value.get(name);
        let time = field("t").and_then(serde_json::Value::as_f64).ok_or("\"t\" is missing or not a number")?;
        let direction = match field("dir").and_then(serde_json::Value::as_str) {
            Some("open") => Direction::Open,
            Some("send") => Direction::Send,
            Some("recv") => Direction::Receive,
            other => return Err(format!("\"dir\" is {other:?}, not \"open\", \"send\" or \"recv\"")),
        };
        let (text, payload) = match (field("text").map(|v| v.as_str()), field("b64").map(|v| v.as_str())) {
            (Some(Some(text)), None) => (true, text.as_bytes().to_vec()),
            (None, Some(Some(b64))) => {
                (false, STANDARD.decode(b64).map_err(|e| format!("\"b64\" is not base64: {e}"))?)
            }
            _ => return Err("one of \"text\" and \"b64\" must be there, as a string".to_owned()),
        };
        Ok(Self { time, direction, text, payload })
    }
}

fn sped_up(offset: u64, speed: f64) -> Nanos {
    (offset as f64 / speed) as Nanos
}

fn head_of(frame: usize) -> usize {
    match frame {
        0..=127 => 2,
        128..=65_539 => 4,
        _ => 10,
    }
}

fn offset(time: f64, start: f64) -> u64 {
    ((time - start) * 1e9).max(0.0).round() as u64
}

impl fmt::Display for FeedError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.path.display())?;
        if self.line > 0 {
            write!(f, ", line {}", self.line)?;
        }
        write!(f, ": {}", self.reason)
    }
}

impl std::error::Error for FeedError {}

impl fmt::Debug for Feed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Feed")
            .field("messages", &self.len())
            .field("requests", &self.requests.len())
            .finish_non_exhaustive()
    }
}

/// A recording may unpack to this; they are held in memory whole.
const MAX_FILE: u64 = 2 << 30;
