//! What the server saw: counters of everything, and a bounded report of each connection.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use fastws_core::{Nanos, Opcode};

use crate::clock;

/// Counters of a server. Bytes are payload bytes of data frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ServerStats {
    /// TCP connections accepted.
    pub accepted: u64,
    /// Connections not over yet.
    pub open: u64,
    /// Requests read.
    pub requests: u64,
    /// TLS handshakes completed that resumed a session.
    pub resumed: u64,
    /// TCP connections that could not be accepted, or were too many.
    pub turned_away: u64,
    /// Messages received.
    pub messages_in: u64,
    /// Messages sent.
    pub messages_out: u64,
    /// Bytes received.
    pub bytes_in: u64,
    /// Bytes sent.
    pub bytes_out: u64,
}

/// What is known of one connection. Times are `CLOCK_MONOTONIC` in nanoseconds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectionReport {
    /// Its number, from 1, in the order of acceptance.
    pub id: u64,
    /// The client's address.
    pub peer: SocketAddr,
    /// The request's target: path and query; empty before the request came.
    pub target: String,
    /// The request's headers, in order.
    pub headers: Vec<(String, String)>,
    /// The subprotocol chosen.
    pub subprotocol: Option<String>,
    /// When it was accepted.
    pub accepted_ns: Nanos,
    /// When the upgrade was answered.
    pub answered_ns: Option<Nanos>,
    /// When it was over.
    pub ended_ns: Option<Nanos>,
    /// Messages received.
    pub messages_in: u64,
    /// Messages sent.
    pub messages_out: u64,
    /// Payload bytes received.
    pub bytes_in: u64,
    /// Payload bytes sent.
    pub bytes_out: u64,
    /// Frames received, oldest first, if they are recorded.
    pub frames: Vec<RecordedFrame>,
    /// Frames that were not recorded since there were too many.
    pub frames_dropped: u64,
    /// When pings came.
    pub pings_ns: Vec<Nanos>,
    /// When pongs came.
    pub pongs_ns: Vec<Nanos>,
    /// The Close frame received: its code (1005 where it had none) and reason.
    pub close_received: Option<(u16, String)>,
    /// The client ended its sending half.
    pub peer_fin: bool,
    /// The client reset the connection.
    pub peer_reset: bool,
    /// What the client did wrong, or what went wrong with the stream.
    pub error: Option<String>,
}

/// One frame received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordedFrame {
    /// When.
    pub at_ns: Nanos,
    /// Its opcode.
    pub opcode: Opcode,
    /// The last of its message.
    pub fin: bool,
    /// The size of its payload.
    pub size: usize,
    /// The beginning of its payload, up to 64 KiB.
    pub payload: Vec<u8>,
}

impl ConnectionReport {
    /// Whether the connection is over.
    pub fn is_over(&self) -> bool {
        self.ended_ns.is_some()
    }

    /// The path of the request, without its query.
    pub fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or_default()
    }
}

/// Counters that threads share.
#[derive(Default)]
pub(crate) struct Counters {
    pub(crate) accepted: AtomicU64,
    pub(crate) open: AtomicU64,
    pub(crate) requests: AtomicU64,
    pub(crate) resumed: AtomicU64,
    pub(crate) turned_away: AtomicU64,
    pub(crate) messages_in: AtomicU64,
    pub(crate) messages_out: AtomicU64,
    pub(crate) bytes_in: AtomicU64,
    pub(crate) bytes_out: AtomicU64,
}

impl Counters {
    pub(crate) fn read(&self) -> ServerStats {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        ServerStats {
            accepted: read(&self.accepted),
            open: read(&self.open),
            requests: read(&self.requests),
            resumed: read(&self.resumed),
            turned_away: read(&self.turned_away),
            messages_in: read(&self.messages_in),
            messages_out: read(&self.messages_out),
            bytes_in: read(&self.bytes_in),
            bytes_out: read(&self.bytes_out),
        }
    }
}

/// The live report of one connection: its thread writes, anybody reads.
pub(crate) struct ConnLog {
    pub(crate) id: u64,
    peer: SocketAddr,
    accepted: Nanos,
    counters: Arc<Counters>,
    messages_in: AtomicU64,
    messages_out: AtomicU64,
    bytes_in: AtomicU64,
    bytes_out: AtomicU64,
    peer_fin: AtomicBool,
    peer_reset: AtomicBool,
    detail: Mutex<Detail>,
}

#[derive(Default)]
struct Detail {
    target: String,
    headers: Vec<(String, String)>,
    subprotocol: Option<String>,
    answered: Option<Nanos>,
    ended: Option<Nanos>,
    frames: Vec<RecordedFrame>,
    frame_bytes: usize,
    frames_dropped: u64,
    pings: Vec<Nanos>,
    pongs: Vec<Nanos>,
    close_received: Option<(u16, String)>,
    error: Option<String>,
}

impl ConnLog {
    pub(crate) fn new(id: u64, peer: SocketAddr, counters: &Arc<Counters>) -> Arc<Self> {
        counters.accepted.fetch_add(1, Ordering::Relaxed);
        counters.open.fetch_add(1, Ordering::Relaxed);
        Arc::new(Self {
            id,
            peer,
            accepted: clock::now(),
            counters: Arc::clone(counters),
            messages_in: AtomicU64::new(0),
            messages_out: AtomicU64::new(0),
            bytes_in: AtomicU64::new(0),
            bytes_out: AtomicU64::new(0),
            peer_fin: AtomicBool::new(false),
            peer_reset: AtomicBool::new(false),
            detail: Mutex::default(),
        })
    }

    pub(crate) fn counters(&self) -> &Counters {
        &self.counters
    }

    pub(crate) fn received(&self, messages: u64, bytes: u64) {
        add(&self.messages_in, &self.counters.messages_in, messages);
        add(&self.bytes_in, &self.counters.bytes_in, bytes);
    }

    pub(crate) fn sent(&self, messages: u64, bytes: u64) {
        add(&self.messages_out, &self.counters.messages_out, messages);
        add(&self.bytes_out, &self.counters.bytes_out, bytes);
    }

    pub(crate) fn requested(&self, target: &str, headers: Vec<(String, String)>) {
        self.counters.requests.fetch_add(1, Ordering::Relaxed);
        let mut detail = self.detail();
        target.clone_into(&mut detail.target);
        detail.headers = headers;
    }

    pub(crate) fn answered(&self, subprotocol: Option<String>, at: Nanos) {
        let mut detail = self.detail();
        detail.subprotocol = subprotocol;
        detail.answered = Some(at);
    }

    pub(crate) fn frame(&self, opcode: Opcode, fin: bool, payload: &[u8], at: Nanos) {
        let mut detail = self.detail();
        let kept = payload.len().min(MAX_RECORDED);
        if detail.frames.len() >= MAX_FRAMES || detail.frame_bytes + kept > MAX_FRAME_BYTES {
            detail.frames_dropped += 1;
            return;
        }
        detail.frame_bytes += kept;
        let payload_kept = payload[..kept].to_vec();
        detail.frames.push(RecordedFrame { at_ns: at, opcode, fin, size: payload.len(), payload: payload_kept });
    }

    pub(crate) fn ping(&self, at: Nanos) {
        push_bounded(&mut self.detail().pings, at);
    }

    pub(crate) fn pong(&self, at: Nanos) {
        push_bounded(&mut self.detail().pongs, at);
    }

    pub(crate) fn close_received(&self, code: u16, reason: &str) {
        self.detail().close_received.get_or_insert_with(|| (code, reason.to_owned()));
    }

    pub(crate) fn peer_fin(&self) {
        self.peer_fin.store(true, Ordering::Relaxed);
    }

    pub(crate) fn peer_reset(&self) {
        self.peer_reset.store(true, Ordering::Relaxed);
    }

    /// The first error stays.
    pub(crate) fn error(&self, text: &str) {
        self.detail().error.get_or_insert_with(|| text.to_owned());
    }

    pub(crate) fn ended(&self) {
        self.counters.open.fetch_sub(1, Ordering::Relaxed);
        self.detail().ended = Some(clock::now());
    }

    pub(crate) fn report(&self) -> ConnectionReport {
        let detail = self.detail();
        ConnectionReport {
            id: self.id,
            peer: self.peer,
            target: detail.target.clone(),
            headers: detail.headers.clone(),
            subprotocol: detail.subprotocol.clone(),
            accepted_ns: self.accepted,
            answered_ns: detail.answered,
            ended_ns: detail.ended,
            messages_in: self.messages_in.load(Ordering::Relaxed),
            messages_out: self.messages_out.load(Ordering::Relaxed),
            bytes_in: self.bytes_in.load(Ordering::Relaxed),
            bytes_out: self.bytes_out.load(Ordering::Relaxed),
            frames: detail.frames.clone(),
            frames_dropped: detail.frames_dropped,
            pings_ns: detail.pings.clone(),
            pongs_ns: detail.pongs.clone(),
            close_received: detail.close_received.clone(),
            peer_fin: self.peer_fin.load(Ordering::Relaxed),
            peer_reset: self.peer_reset.load(Ordering::Relaxed),
            error: detail.error.clone(),
        }
    }

    fn is_over(&self) -> bool {
        self.detail().ended.is_some()
    }

    fn detail(&self) -> MutexGuard<'_, Detail> {
        self.detail.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The reports of a server, oldest first.
#[derive(Default)]
pub(crate) struct Logs(Mutex<VecDeque<Arc<ConnLog>>>);

impl Logs {
    /// Adds one; the oldest that is over goes where there are too many.
    pub(crate) fn add(&self, log: Arc<ConnLog>, most: usize) {
        let mut logs = self.lock();
        if logs.len() >= most.max(1) {
            let over = logs.iter().position(|log| log.is_over());
            logs.remove(over.unwrap_or(0));
        }
        logs.push_back(log);
    }

    pub(crate) fn reports(&self) -> Vec<ConnectionReport> {
        // Not under the lock: reports may be long, and connections are accepted meanwhile.
        let logs: Vec<_> = self.lock().iter().cloned().collect();
        logs.iter().map(|log| log.report()).collect()
    }

    pub(crate) fn report(&self, id: u64) -> Option<ConnectionReport> {
        let log = self.lock().iter().find(|log| log.id == id).cloned();
        log.map(|log| log.report())
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Arc<ConnLog>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn add(one: &AtomicU64, all: &AtomicU64, more: u64) {
    one.fetch_add(more, Ordering::Relaxed);
    all.fetch_add(more, Ordering::Relaxed);
}

fn push_bounded(times: &mut Vec<Nanos>, at: Nanos) {
    if times.len() < MAX_TIMES {
        times.push(at);
    }
}

/// Kept of one payload.
const MAX_RECORDED: usize = 64 << 10;

/// Kept of one connection: enough for any test, harmless for a flood.
const MAX_FRAMES: usize = 65_536;
const MAX_FRAME_BYTES: usize = 64 << 20;
const MAX_TIMES: usize = 4096;
