//! What a venue remembers: of each session, and of each request for one.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::{Arc, Mutex};

use fastws_core::Nanos;

use super::lock;

/// What a venue saw so far. Times are `CLOCK_MONOTONIC` in nanoseconds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VenueReport {
    /// When its clock was started.
    pub started_ns: Option<Nanos>,
    /// Messages of the feed that have been due.
    pub position: usize,
    /// Messages that are sent to nobody, because the schedule says so.
    pub dropped: Vec<Range<usize>>,
    /// Upgrades accepted.
    pub accepted: u64,
    /// Upgrades refused.
    pub refused: u64,
    /// When the first of those accepted were requested.
    pub accepted_ns: Vec<Nanos>,
    /// When the first of those refused were requested.
    pub refused_ns: Vec<Nanos>,
    /// The latest sessions, in the order in which they began.
    pub sessions: Vec<SessionReport>,
}

/// What became of one connection of a venue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionReport {
    /// The number of the connection, as in [`crate::ConnectionReport`].
    pub connection_id: u64,
    /// When it was accepted.
    pub began_ns: Nanos,
    /// When its token was accepted; where none is demanded: when it began.
    pub authenticated_ns: Option<Nanos>,
    /// Tokens refused.
    pub refused_tokens: u64,
    /// What it subscribed to, in order.
    pub subscribed: Vec<Subscribed>,
    /// Requests for snapshots that were answered.
    pub snapshots: u64,
    /// Messages of the feed that the stream took wholly.
    pub written: u64,
    /// The parts of the feed that it was played, without gaps in each.
    pub segments: Vec<Segment>,
    /// The faults that it suffered, by name.
    pub faults: Vec<&'static str>,
    /// When it was over.
    pub ended_ns: Option<Nanos>,
    /// What ended it.
    pub ended_by: Option<EndedBy>,
}

/// A subscription of a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscribed {
    /// To what.
    pub channel: String,
    /// When.
    pub at_ns: Nanos,
    /// From this message of the feed on.
    pub from: usize,
    /// Up to before this one; none: it was not ended.
    pub until: Option<usize>,
}

/// A part of the feed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment {
    /// The first message of the feed that was written wholly.
    pub first: usize,
    /// The message behind the last one.
    pub end: usize,
}

/// What ended a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndedBy {
    /// The venue's reset.
    Reset,
    /// The venue's Close, with this code.
    Close(u16),
    /// The client, in whatever way; or the server, which stopped.
    Client,
}

/// A venue's memory, bounded.
pub(super) struct VenueLog {
    most: usize,
    detail: Mutex<Detail>,
}

#[derive(Default)]
struct Detail {
    accepted: u64,
    refused: u64,
    accepted_at: Vec<Nanos>,
    refused_at: Vec<Nanos>,
    sessions: VecDeque<Arc<SessionLog>>,
}

impl VenueLog {
    /// Keeps the latest `most` sessions.
    pub(super) fn new(most: usize) -> Self {
        Self { most: most.max(1), detail: Mutex::default() }
    }

    pub(super) fn accepted(&self, now: Nanos) {
        let mut detail = lock(&self.detail);
        detail.accepted += 1;
        push_bounded(&mut detail.accepted_at, now, MAX_TIMES);
    }

    pub(super) fn refused(&self, now: Nanos) {
        let mut detail = lock(&self.detail);
        detail.refused += 1;
        push_bounded(&mut detail.refused_at, now, MAX_TIMES);
    }

    pub(super) fn session(&self, connection_id: u64, authenticated: bool, now: Nanos) -> Arc<SessionLog> {
        let report = SessionReport {
            connection_id,
            began_ns: now,
            authenticated_ns: authenticated.then_some(now),
            refused_tokens: 0,
            subscribed: Vec::new(),
            snapshots: 0,
            written: 0,
            segments: Vec::new(),
            faults: Vec::new(),
            ended_ns: None,
            ended_by: None,
        };
        let log = Arc::new(SessionLog(Mutex::new(report)));
        let mut detail = lock(&self.detail);
        if detail.sessions.len() >= self.most {
            detail.sessions.pop_front();
        }
        detail.sessions.push_back(Arc::clone(&log));
        log
    }

    pub(super) fn report(&self, started_ns: Option<Nanos>, position: usize, dropped: &[Range<usize>]) -> VenueReport {
        let detail = lock(&self.detail);
        VenueReport {
            started_ns,
            position,
            dropped: dropped.to_vec(),
            accepted: detail.accepted,
            refused: detail.refused,
            accepted_ns: detail.accepted_at.clone(),
            refused_ns: detail.refused_at.clone(),
            sessions: detail.sessions.iter().map(|session| lock(&session.0).clone()).collect(),
        }
    }
}

/// The live report of one session.
pub(super) struct SessionLog(Mutex<SessionReport>);

impl SessionLog {
    pub(super) fn authenticated(&self, accepted: bool, now: Nanos) {
        let mut report = lock(&self.0);
        if accepted {
            report.authenticated_ns.get_or_insert(now);
        } else {
            report.refused_tokens += 1;
        }
    }

    pub(super) fn subscribed(&self, channel: &str, from: usize, now: Nanos) {
        let entry = Subscribed { channel: channel.to_owned(), at_ns: now, from, until: None };
        push_bounded(&mut lock(&self.0).subscribed, entry, MAX_ENTRIES);
    }

    pub(super) fn unsubscribed(&self, channel: &str, until: usize) {
        let mut report = lock(&self.0);
        let open = report.subscribed.iter_mut().rev().find(|entry| entry.channel == channel && entry.until.is_none());
        if let Some(entry) = open {
            entry.until = Some(until);
        }
    }

    pub(super) fn snapshot(&self) {
        lock(&self.0).snapshots += 1;
    }

    pub(super) fn fault(&self, name: &'static str) {
        push_bounded(&mut lock(&self.0).faults, name, MAX_ENTRIES);
    }

    /// `count` messages in this part of the feed were written; whether it goes on where the last one ended.
    pub(super) fn wrote(&self, part: Segment, count: u64, goes_on: bool) {
        let mut report = lock(&self.0);
        report.written += count;
        match report.segments.last_mut().filter(|_| goes_on) {
            Some(last) => last.end = part.end,
            None => push_bounded(&mut report.segments, part, MAX_ENTRIES),
        }
    }

    /// The first cause stays.
    pub(super) fn ended(&self, by: EndedBy, now: Nanos) {
        let mut report = lock(&self.0);
        report.ended_by.get_or_insert(by);
        report.ended_ns.get_or_insert(now);
    }
}

fn push_bounded<T>(list: &mut Vec<T>, item: T, most: usize) {
    if list.len() < most {
        list.push(item);
    }
}

/// Requests whose times are kept.
const MAX_TIMES: usize = 65_536;

/// Entries kept of one session.
const MAX_ENTRIES: usize = 4096;
