//! One connection of a venue: who it is, what it subscribed to, and which message of the feed comes next.

use std::collections::HashMap;
use std::sync::Arc;

use fastws_core::{Nanos, Opcode};

use super::report::{EndedBy, Segment, SessionLog};
use super::talk::{self, Request};
use super::{Venue, VenueFault};
use crate::clock;
use crate::output::Outbox;
use crate::source::{BUFFER, Sent};

/// A session. It is a source of frames, and takes in what the client says.
pub(crate) struct Session {
    venue: Arc<Venue>,
    log: Arc<SessionLog>,
    authenticated: bool,
    /// A request that arrives in fragments.
    partial: Vec<u8>,
    /// From which message on a channel is wanted.
    wanted: HashMap<String, usize>,
    /// The same by the channel's number.
    wanted_tags: Vec<usize>,
    /// From which message on those without a channel are wanted.
    wanted_untagged: usize,
    /// The first byte not sent, and the message that it is in.
    at: usize,
    next: usize,
    /// Behind the last message of the run that is being sent.
    due: usize,
    /// What was due until then is missed.
    missed: Option<Nanos>,
    /// What is sent next goes on where the last message ended.
    goes_on: bool,
    /// The first fault that is still to come.
    fault: usize,
    closing: Option<(u16, String)>,
    is_over: bool,
}

/// What a connection suffers now.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Suffered {
    Reset,
    /// Nothing is sent until then.
    Silence(Nanos),
    /// Nothing is sent or read until then.
    Cut(Nanos),
    /// It wants to close: see [`Session::take_close`].
    Close,
}

impl Session {
    pub(crate) fn new(venue: Arc<Venue>, connection_id: u64, now: Nanos) -> Self {
        let authenticated = venue.tokens.is_empty();
        Self {
            log: venue.log.session(connection_id, authenticated, now),
            authenticated,
            partial: Vec::new(),
            wanted: HashMap::new(),
            wanted_tags: vec![NEVER; venue.channels.len()],
            wanted_untagged: NEVER,
            at: 0,
            next: 0,
            due: 0,
            missed: None,
            goes_on: false,
            fault: venue.first_fault_after(now),
            closing: None,
            is_over: false,
            venue,
        }
    }

    // ---- what it is sent -------------------------------------------------------------------------------------------

    pub(crate) fn chunk(&mut self, now: Nanos) -> &[u8] {
        if self.next == self.due {
            self.find_due(now);
        }
        &self.venue.feed.frames()[self.at..self.venue.feed.start_of(self.due).max(self.at)]
    }

    /// Finds the next run of messages that are due, wanted, and side by side.
    fn find_due(&mut self, now: Nanos) {
        if self.closing.is_some() || self.wanted.is_empty() {
            return;
        }
        let position = self.venue.position_at(now);
        if let Some(until) = self.missed.take() {
            self.next = self.venue.position_at(until).max(self.next);
            self.goes_on = false;
        }
        while self.next < position && !self.wants(self.next) {
            self.next += 1;
        }
        self.due = self.next;
        self.at = self.venue.feed.start_of(self.next);
        let room = self.at + BUFFER;
        while self.due < position
            && self.wants(self.due)
            && (self.due == self.next || self.venue.feed.start_of(self.due + 1) <= room)
        {
            self.due += 1;
        }
    }

    fn wants(&self, message: usize) -> bool {
        let from = self.venue.tag(message).map_or(self.wanted_untagged, |tag| self.wanted_tags[tag]);
        message >= from && !self.venue.is_dropped(message)
    }

    pub(crate) fn wrote(&mut self, count: usize) -> Sent {
        self.at += count;
        let first = self.next;
        self.next = self.venue.feed.message_at(self.at).min(self.due);
        let messages = (self.next - first) as u64;
        if messages > 0 {
            self.log.wrote(Segment { first, end: self.next }, messages, self.goes_on);
            self.goes_on = true;
        }
        Sent { messages, payload_bytes: self.venue.feed.payload_of(first..self.next) }
    }

    pub(crate) fn is_mid(&self) -> bool {
        self.at > self.venue.feed.start_of(self.next)
    }

    pub(crate) fn is_done(&self) -> bool {
        self.is_over
    }

    /// When the next message is due, as far as that is known.
    pub(crate) fn deadline(&self) -> Option<Nanos> {
        if self.closing.is_some() || self.wanted.is_empty() {
            return None;
        }
        self.venue.due_at(self.next)
    }

    /// What is on its way is finished, what is due behind it is not sent.
    fn cut_run(&mut self) {
        self.due = self.next + usize::from(self.is_mid());
    }

    // ---- what it suffers -------------------------------------------------------------------------------------------

    /// The next fault, if it is due.
    pub(crate) fn suffer(&mut self, now: Nanos) -> Option<Suffered> {
        loop {
            let venue = Arc::clone(&self.venue);
            let scheduled = venue.faults.get(self.fault)?;
            let at = venue.time_of(scheduled).filter(|&at| at <= now)?;
            self.fault += 1;
            let (name, suffered) = match &scheduled.fault {
                VenueFault::Reset => {
                    self.log.ended(EndedBy::Reset, now);
                    ("reset", Suffered::Reset)
                }
                VenueFault::Silence(span) => {
                    let until = at.saturating_add(clock::nanos(*span));
                    self.missed = self.missed.max(Some(until));
                    self.cut_run();
                    ("silence", Suffered::Silence(until))
                }
                VenueFault::Cut(span) => ("cut", Suffered::Cut(at.saturating_add(clock::nanos(*span)))),
                VenueFault::Close(code, reason) => {
                    self.close(*code, reason);
                    ("close", Suffered::Close)
                }
                VenueFault::Expire(code) if self.authenticated && !venue.tokens.is_empty() => {
                    self.close(*code, "the token has expired");
                    ("expire", Suffered::Close)
                }
                VenueFault::Expire(_) | VenueFault::Refuse { .. } | VenueFault::Drop(_) => continue,
            };
            self.log.fault(name);
            return Some(suffered);
        }
    }

    /// When the next fault is due.
    pub(crate) fn fault_deadline(&self) -> Option<Nanos> {
        self.venue.time_of(self.venue.faults.get(self.fault)?)
    }

    fn close(&mut self, code: u16, reason: &str) {
        self.closing.get_or_insert_with(|| (code, reason.to_owned()));
        self.cut_run();
    }

    /// The Close to send, once everything before it was written; after it the session is over.
    pub(crate) fn take_close(&mut self, now: Nanos) -> Option<(u16, String)> {
        let close = self.closing.take()?;
        self.is_over = true;
        self.log.ended(EndedBy::Close(close.0), now);
        Some(close)
    }

    // ---- what it says ----------------------------------------------------------------------------------------------

    /// Takes in a frame, and answers into `outbox`.
    pub(crate) fn on_frame(&mut self, fin: bool, payload: &[u8], now: Nanos, outbox: &mut Outbox) {
        if self.closing.is_some() || self.is_over {
            return;
        }
        if self.partial.len() + payload.len() > LONGEST_REQUEST {
            return self.close(1009, "a request is too long");
        }
        if fin && self.partial.is_empty() {
            return self.on_message(payload, now, outbox);
        }
        self.partial.extend_from_slice(payload);
        if fin {
            let whole = std::mem::take(&mut self.partial);
            self.on_message(&whole, now, outbox);
        }
    }

    fn on_message(&mut self, payload: &[u8], now: Nanos, outbox: &mut Outbox) {
        let (request, id) = talk::parse(payload);
        let answer = match request {
            Request::Auth(token) if self.venue.tokens.is_empty() || self.venue.takes(&token, now) => {
                self.authenticated = true;
                self.log.authenticated(true, now);
                talk::answer(&[("type", "authenticated")], id)
            }
            Request::Auth(_) => {
                self.log.authenticated(false, now);
                self.close(UNAUTHORIZED, "unauthorized");
                error("unauthorized", id)
            }
            _ if !self.authenticated => {
                self.close(UNAUTHORIZED, "unauthorized");
                error("unauthorized", id)
            }
            Request::Subscribe(channel) => match self.subscribe(&channel, now) {
                Ok(()) => talk::answer(&[("type", "subscribed"), ("channel", &channel)], id),
                Err(why) => talk::answer(&[("type", "error"), ("error", why), ("channel", &channel)], id),
            },
            Request::Unsubscribe(channel) => {
                self.unsubscribe(&channel);
                talk::answer(&[("type", "unsubscribed"), ("channel", &channel)], id)
            }
            Request::Snapshot(channel) => match self.venue.snapshot(&channel, now) {
                Some(object) => {
                    self.log.snapshot();
                    talk::with_id(object, id)
                }
                None => talk::answer(&[("type", "error"), ("error", "no snapshot"), ("channel", &channel)], id),
            },
            Request::Wrong(why) => error(why, id),
        };
        outbox.push(Opcode::Text, true, &answer);
    }

    /// What is due from now on is wanted.
    fn subscribe(&mut self, channel: &str, now: Nanos) -> Result<(), &'static str> {
        let tag = self.venue.channels.iter().position(|known| known == channel);
        if tag.is_none() && !self.venue.channels.is_empty() {
            return Err("unknown channel");
        }
        if self.wanted.contains_key(channel) {
            return Ok(());
        }
        if self.wanted.len() >= MAX_SUBSCRIPTIONS {
            return Err("too many subscriptions");
        }
        if self.venue.autostart {
            self.venue.start_at(now);
        }
        // What is due at this very moment is sent, which is what a clock started just now needs.
        let from = self.venue.position_at(now.saturating_sub(1)).max(self.next);
        if self.wanted.is_empty() {
            self.wanted_untagged = from;
            if !self.is_mid() {
                (self.next, self.due) = (from, from);
                self.at = self.venue.feed.start_of(from);
                self.goes_on = false;
            }
        }
        if let Some(tag) = tag {
            self.wanted_tags[tag] = from;
        }
        self.wanted.insert(channel.to_owned(), from);
        self.log.subscribed(channel, from, now);
        Ok(())
    }

    fn unsubscribe(&mut self, channel: &str) {
        if self.wanted.remove(channel).is_none() {
            return;
        }
        self.cut_run();
        if let Some(tag) = self.venue.channels.iter().position(|known| known == channel) {
            self.wanted_tags[tag] = NEVER;
        }
        if self.wanted.is_empty() {
            self.wanted_untagged = NEVER;
        }
        self.log.unsubscribed(channel, self.due);
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.log.ended(EndedBy::Client, clock::now());
    }
}

fn error(why: &str, id: Option<serde_json::Value>) -> Vec<u8> {
    talk::answer(&[("type", "error"), ("error", why)], id)
}

/// No message has this number.
const NEVER: usize = usize::MAX;

/// The code of many venues; HTTP's 401 among those that applications may use (RFC 6455 §7.4.2).
const UNAUTHORIZED: u16 = 4401;

const LONGEST_REQUEST: usize = 64 << 10;
const MAX_SUBSCRIPTIONS: usize = 10_000;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::tests::{MS, at, config, venue};
    use super::super::{SessionReport, VenueConfig};
    use super::*;

    /// Everything that a session sends by itself until then, as the numbers of messages.
    fn played(session: &mut Session, now: u64) -> Vec<usize> {
        let mut numbers = Vec::new();
        loop {
            let chunk = session.chunk(now * MS);
            let count = chunk.len().min(3);
            if count == 0 {
                return numbers;
            }
            let before = session.next;
            if session.wrote(count).messages > 0 {
                numbers.push(before);
            }
        }
    }

    fn say(session: &mut Session, text: &str, now: u64) -> String {
        let mut outbox = Outbox::default();
        session.on_frame(true, text.as_bytes(), now * MS, &mut outbox);
        let (slices, count) = outbox.slices();
        let bytes: Vec<u8> = slices[..count].iter().flat_map(|slice| slice.to_vec()).collect();
        String::from_utf8_lossy(bytes.get(2..).unwrap_or_default()).into_owned()
    }

    fn subscribe(session: &mut Session, channel: &str, now: u64) -> String {
        say(session, &format!(r#"{{"type":"subscribe","channel":"{channel}"}}"#), now)
    }

    fn report(venue: &Venue, session: usize) -> SessionReport {
        venue.report().sessions[session].clone()
    }

    fn parts(report: &SessionReport) -> Vec<(usize, usize)> {
        report.segments.iter().map(|segment| (segment.first, segment.end)).collect()
    }

    #[test]
    fn who_is_away_misses_messages() {
        let venue = venue(config());
        let mut one = Session::new(Arc::clone(&venue), 1, 90 * MS);
        assert!(played(&mut one, 90).is_empty());
        assert_eq!(subscribe(&mut one, "any", 100), r#"{"channel":"any","type":"subscribed"}"#);
        assert_eq!(venue.started(), Some(100 * MS));
        assert_eq!((played(&mut one, 120), one.deadline()), (vec![0, 1, 2], Some(130 * MS)));
        drop(one);
        let mut two = Session::new(Arc::clone(&venue), 2, 155 * MS);
        subscribe(&mut two, "any", 156);
        assert_eq!((played(&mut two, 175), played(&mut two, 999)), (vec![6, 7], vec![8, 9]));
        assert_eq!(two.deadline(), None);
        let (one, two) = (report(&venue, 0), report(&venue, 1));
        assert_eq!((one.written, parts(&one), one.ended_by), (3, vec![(0, 3)], Some(EndedBy::Client)));
        assert_eq!((two.written, parts(&two), two.ended_by), (4, vec![(6, 10)], None));
        assert_eq!(two.subscribed[0].from, 6);
    }

    #[test]
    fn a_session_is_sent_its_channels_only() {
        let channels = (0..10).map(|i| [Some("A"), Some("B"), None][i % 3].map(str::to_owned)).collect();
        let venue = venue(VenueConfig { channels, autostart: false, ..config() });
        let mut session = Session::new(Arc::clone(&venue), 1, 0);
        assert!(subscribe(&mut session, "C", 0).contains("unknown channel"));
        subscribe(&mut session, "A", 0);
        assert_eq!((venue.started(), session.deadline()), (None, None));
        venue.start_at(100 * MS);
        assert_eq!(played(&mut session, 130), [0, 2, 3]);
        subscribe(&mut session, "B", 135);
        assert_eq!(played(&mut session, 150), [4, 5]);
        say(&mut session, r#"{"type":"unsubscribe","channel":"A"}"#, 155);
        assert_eq!(played(&mut session, 999), [7, 8]);
        let report = report(&venue, 0);
        let subscribed: Vec<_> = report.subscribed.iter().map(|s| (s.channel.as_str(), s.from, s.until)).collect();
        assert_eq!(subscribed, [("A", 0, Some(6)), ("B", 4, None)]);
        assert_eq!((report.written, parts(&report)), (7, vec![(0, 9)]));
    }

    #[test]
    fn without_a_token_there_is_nothing() {
        let venue = venue(VenueConfig { tokens: vec!["good".into()], ..config() });
        for (text, refused) in [(r#"{"type":"auth","token":"bad"}"#, 1), (r#"{"type":"subscribe","channel":"A"}"#, 0)] {
            let mut session = Session::new(Arc::clone(&venue), 1, 0);
            assert_eq!(say(&mut session, text, 1), r#"{"error":"unauthorized","type":"error"}"#);
            assert_eq!(say(&mut session, r#"{"type":"auth","token":"good"}"#, 1), "");
            assert_eq!(session.take_close(2), Some((4401, "unauthorized".to_owned())));
            assert!(session.is_done());
            let report = venue.report().sessions.pop().unwrap();
            assert_eq!((report.refused_tokens, report.ended_by), (refused, Some(EndedBy::Close(4401))));
        }
        let mut session = Session::new(Arc::clone(&venue), 3, 0);
        assert_eq!(
            say(&mut session, r#"{"type":"auth","token":"good","id":1}"#, 1),
            r#"{"id":1,"type":"authenticated"}"#
        );
        subscribe(&mut session, "A", 5);
        assert_eq!(played(&mut session, 5), [0]);
    }

    #[test]
    fn faults_come_on_schedule_to_those_who_are_there() {
        let faults = vec![
            at(20, VenueFault::Silence(Duration::from_millis(25))),
            at(60, VenueFault::Cut(Duration::from_millis(10))),
            at(65, VenueFault::Drop(1)),
            at(80, VenueFault::Close(1012, "restart".to_owned())),
            at(80, VenueFault::Reset),
        ];
        let venue = venue(VenueConfig { faults, ..config() });
        let mut session = Session::new(Arc::clone(&venue), 1, 0);
        subscribe(&mut session, "any", 100);
        assert_eq!((session.suffer(119 * MS), session.fault_deadline()), (None, Some(120 * MS)));
        assert_eq!(played(&mut session, 119), [0, 1]);
        assert_eq!(session.suffer(121 * MS), Some(Suffered::Silence(145 * MS)));
        // What was due during the silence is missed, what was due during the cut is late, what is dropped never comes.
        assert_eq!(played(&mut session, 151), [5]);
        assert_eq!(session.suffer(161 * MS), Some(Suffered::Cut(170 * MS)));
        assert_eq!(played(&mut session, 170), [6]);
        assert_eq!(session.suffer(185 * MS), Some(Suffered::Close));
        assert!(played(&mut session, 999).is_empty());
        assert_eq!(session.take_close(185 * MS), Some((1012, "restart".to_owned())));
        assert_eq!(session.suffer(186 * MS), Some(Suffered::Reset));
        let report = report(&venue, 0);
        assert_eq!((report.written, parts(&report)), (4, vec![(0, 2), (5, 7)]));
        assert_eq!(report.faults, ["silence", "cut", "close", "reset"]);
        assert_eq!(report.ended_by, Some(EndedBy::Close(1012)));
        let mut late = Session::new(Arc::clone(&venue), 2, 190 * MS);
        assert_eq!((late.suffer(999 * MS), late.fault_deadline()), (None, None));
    }

    #[test]
    fn requests_may_come_in_pieces_but_not_without_end() {
        let venue = venue(config());
        let mut session = Session::new(Arc::clone(&venue), 1, 0);
        let mut outbox = Outbox::default();
        session.on_frame(false, br#"{"type":"subscribe","#, 0, &mut outbox);
        session.on_frame(true, br#""channel":"A"}"#, 0, &mut outbox);
        assert_eq!(report(&venue, 0).subscribed.len(), 1);
        let blanks = " ".repeat(40_000);
        session.on_frame(false, blanks.as_bytes(), 0, &mut outbox);
        session.on_frame(false, blanks.as_bytes(), 0, &mut outbox);
        assert_eq!(session.take_close(0).unwrap().0, 1009);
    }
}
