//! Pings, their answers, and the verdict when none comes.
//!
//! Any byte from the peer is life. A peer is dead when a ping was not answered, and no byte came, for `timeout`; but not
//! while it was us who did not listen: a full receive queue stops the clocks, and a blocked event loop gives the peer
//! another chance. The verdict names which of the three it was.

use std::collections::VecDeque;

use crate::{Nanos, SECOND};

/// The keepalive of one connection.
#[derive(Debug)]
pub struct Keepalive {
    interval: Option<Nanos>,
    timeout: Option<Nanos>,
    /// Outstanding pings, the oldest first.
    pings: VecDeque<Outstanding>,
    next_number: u64,
    /// When the next keepalive ping is due.
    due: Option<Nanos>,
    /// When the unanswered keepalive ping was queued, moved on by what was not the peer's silence.
    waiting_since: Option<Nanos>,
    /// When the last byte arrived.
    heard: Nanos,
    paused_since: Option<Nanos>,
    /// Time, since the unanswered ping, in which we did not listen.
    queue_full: Nanos,
    blocked: Nanos,
    latency: Option<Nanos>,
}

#[derive(Debug)]
struct Outstanding {
    number: u64,
    sent: Nanos,
    payload: Box<[u8]>,
}

/// What the driver is to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Nothing.
    Nothing,
    /// Send a Ping with this payload.
    Ping(Vec<u8>),
    /// Give the peer up; the text is the verdict.
    Dead(String),
}

impl Keepalive {
    /// `interval` between pings (none: never) and the `timeout` of an answer (none: for ever).
    pub fn new(interval: Option<Nanos>, timeout: Option<Nanos>) -> Self {
        Self {
            interval,
            timeout,
            pings: VecDeque::new(),
            next_number: 1,
            due: None,
            waiting_since: None,
            heard: 0,
            paused_since: None,
            queue_full: 0,
            blocked: 0,
            latency: None,
        }
    }

    /// The connection is open.
    pub fn start(&mut self, now: Nanos) {
        self.heard = now;
        self.due = self.interval.map(|interval| now.saturating_add(interval));
    }

    /// Bytes arrived.
    #[inline]
    pub fn on_bytes(&mut self, now: Nanos) {
        self.heard = now;
    }

    /// Queues a ping of the user's, with this payload or one that no outstanding ping has. Returns its number and
    /// payload.
    pub fn ping(&mut self, payload: Option<&[u8]>, now: Nanos) -> (u64, Vec<u8>) {
        let number = self.next_number;
        self.next_number += 1;
        // The number is unique; a prefix keeps made-up payloads apart from what users tend to send.
        let payload = payload.map_or_else(|| [b"fw".as_slice(), &number.to_be_bytes()].concat(), <[u8]>::to_vec);
        if self.pings.len() >= MAX_OUTSTANDING {
            self.pings.pop_front();
        }
        self.pings.push_back(Outstanding { number, sent: now, payload: payload.clone().into() });
        (number, payload)
    }

    /// A Pong arrived: the number and the round-trip time of the ping that it answers, which answers the earlier ones
    /// too (RFC 6455 §5.5.3).
    pub fn on_pong(&mut self, payload: &[u8], now: Nanos) -> Option<(u64, Nanos)> {
        // The latest of equal payloads: the peer may answer only the most recent ping.
        let at = self.pings.iter().rposition(|ping| *ping.payload == *payload)?;
        let ping = self.pings.drain(..=at).next_back()?;
        if self.pings.is_empty() {
            self.pings = VecDeque::new();
        }
        let rtt = now.saturating_sub(ping.sent);
        self.latency = Some(rtt);
        Some((ping.number, rtt))
    }

    /// Reading pauses: our own queue is full.
    pub fn pause(&mut self, now: Nanos) {
        self.paused_since.get_or_insert(now);
    }

    /// Reading goes on: the clocks go on where they stood.
    pub fn resume(&mut self, now: Nanos) {
        let Some(since) = self.paused_since.take() else { return };
        let span = now.saturating_sub(since);
        self.due = self.due.map(|due| due.saturating_add(span));
        if let Some(waiting) = &mut self.waiting_since {
            *waiting = waiting.saturating_add(span);
            self.queue_full += span;
        }
    }

    /// When [`Keepalive::on_tick`] is to be called next.
    pub fn deadline(&self) -> Option<Nanos> {
        if self.paused_since.is_some() {
            return None;
        }
        let death = self.waiting_since.and_then(|since| self.death_after(since));
        match (self.due, death) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }

    /// Tells the time. `lag` is how much later than the deadline this could be called: for so long the event loop was
    /// blocked. What had arrived was read before.
    pub fn on_tick(&mut self, now: Nanos, lag: Nanos) -> Action {
        if self.paused_since.is_some() {
            return Action::Nothing;
        }
        if let Some(since) = self.waiting_since {
            if self.heard > since {
                self.waiting_since = None;
            } else if let Some(death) = self.death_after(since)
                && now >= death
            {
                if lag >= self.timeout.unwrap_or(Nanos::MAX) / 2 && self.blocked == 0 {
                    // It was the loop that did not run: the peer's answer may be on its way.
                    self.blocked += lag;
                    self.waiting_since = Some(now);
                    return Action::Nothing;
                }
                return Action::Dead(self.verdict(now, since));
            }
        }
        let Some(due) = self.due.filter(|due| now >= *due) else { return Action::Nothing };
        // Pings keep their rhythm; those that a blocked loop missed are not made up for.
        let interval = self.interval.unwrap_or(SECOND);
        let missed = now.saturating_sub(due) / interval.max(1);
        self.due = Some(due.saturating_add(interval.saturating_mul(missed + 1)));
        let (_, payload) = self.ping(None, now);
        if self.waiting_since.is_none() {
            self.waiting_since = Some(now);
            self.queue_full = 0;
            self.blocked = 0;
        }
        Action::Ping(payload)
    }

    /// Round-trip time of the last ping that was answered.
    pub fn latency(&self) -> Option<Nanos> {
        self.latency
    }

    fn death_after(&self, since: Nanos) -> Option<Nanos> {
        self.timeout.map(|timeout| since.max(self.heard).saturating_add(timeout))
    }

    fn verdict(&self, now: Nanos, since: Nanos) -> String {
        let silent = now.saturating_sub(since.max(self.heard));
        let (span, what) = if self.blocked > silent && self.blocked >= self.queue_full {
            (self.blocked, "event loop blocked")
        } else if self.queue_full > silent {
            (self.queue_full, "receive queue full")
        } else {
            (silent, "peer silent")
        };
        format!("{what} {:.1} s", span as f64 / SECOND as f64)
    }
}

/// Outstanding pings that are remembered; a peer that answers none of so many is judged by the oldest that is left.
const MAX_OUTSTANDING: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    fn keepalive(interval: u64, timeout: u64) -> Keepalive {
        let mut keepalive = Keepalive::new(Some(interval * SECOND), Some(timeout * SECOND));
        keepalive.start(0);
        keepalive
    }

    fn ping_of(action: Action) -> Vec<u8> {
        match action {
            Action::Ping(payload) => payload,
            other => panic!("expected a ping, got {other:?}"),
        }
    }

    #[test]
    fn a_quiet_peer_that_answers_lives() {
        let mut keepalive = keepalive(20, 20);
        assert_eq!(keepalive.deadline(), Some(20 * SECOND));
        assert_eq!(keepalive.on_tick(19 * SECOND, 0), Action::Nothing);
        let mut now = 0;
        for _ in 0..10 {
            now += 20 * SECOND;
            let payload = ping_of(keepalive.on_tick(now, 0));
            keepalive.on_bytes(now + SECOND);
            assert_eq!(keepalive.on_pong(&payload, now + SECOND).map(|(_, rtt)| rtt), Some(SECOND));
        }
        assert_eq!(keepalive.latency(), Some(SECOND));
    }

    #[test]
    fn a_silent_peer_dies_after_the_timeout_of_its_ping() {
        let mut keepalive = keepalive(20, 15);
        ping_of(keepalive.on_tick(20 * SECOND, 0));
        assert_eq!(keepalive.deadline(), Some(35 * SECOND));
        assert_eq!(keepalive.on_tick(34 * SECOND, 0), Action::Nothing);
        assert_eq!(keepalive.on_tick(35 * SECOND, 0), Action::Dead("peer silent 15.0 s".to_owned()));
    }

    #[test]
    fn any_byte_is_life_even_without_a_pong() {
        let mut keepalive = keepalive(20, 15);
        ping_of(keepalive.on_tick(20 * SECOND, 0));
        keepalive.on_bytes(30 * SECOND);
        assert_eq!(keepalive.on_tick(35 * SECOND, 0), Action::Nothing);
        ping_of(keepalive.on_tick(40 * SECOND, 0));
        assert_eq!(keepalive.on_tick(55 * SECOND, 0), Action::Dead("peer silent 15.0 s".to_owned()));
    }

    #[test]
    fn a_timeout_longer_than_the_interval_counts_from_the_first_unanswered_ping() {
        let mut keepalive = keepalive(10, 25);
        for second in [10, 20, 30] {
            ping_of(keepalive.on_tick(second * SECOND, 0));
        }
        assert_eq!(keepalive.on_tick(35 * SECOND, 0), Action::Dead("peer silent 25.0 s".to_owned()));
    }

    #[test]
    fn a_full_receive_queue_stops_the_clocks_and_is_named() {
        let mut keepalive = keepalive(20, 15);
        ping_of(keepalive.on_tick(20 * SECOND, 0));
        keepalive.pause(25 * SECOND);
        assert_eq!(keepalive.deadline(), None);
        assert_eq!(keepalive.on_tick(100 * SECOND, 0), Action::Nothing);
        keepalive.resume(125 * SECOND);
        assert_eq!(keepalive.deadline(), Some(135 * SECOND));
        assert_eq!(keepalive.on_tick(134 * SECOND, 0), Action::Nothing);
        assert_eq!(keepalive.on_tick(135 * SECOND, 0), Action::Dead("receive queue full 100.0 s".to_owned()));
    }

    #[test]
    fn a_blocked_loop_gives_the_peer_another_chance_and_is_named() {
        let mut keepalive = keepalive(20, 15);
        ping_of(keepalive.on_tick(20 * SECOND, 0));
        assert_eq!(keepalive.on_tick(58 * SECOND, 23 * SECOND), Action::Nothing);
        ping_of(keepalive.on_tick(58 * SECOND, 0));
        ping_of(keepalive.on_tick(60 * SECOND, 0));
        assert_eq!(keepalive.on_tick(72 * SECOND, 0), Action::Nothing);
        assert_eq!(keepalive.on_tick(73 * SECOND, 0), Action::Dead("event loop blocked 23.0 s".to_owned()));
    }

    #[test]
    fn a_blocked_loop_whose_peer_answers_is_forgotten() {
        let mut keepalive = keepalive(20, 15);
        ping_of(keepalive.on_tick(20 * SECOND, 0));
        assert_eq!(keepalive.on_tick(58 * SECOND, 23 * SECOND), Action::Nothing);
        ping_of(keepalive.on_tick(58 * SECOND, 0));
        keepalive.on_bytes(59 * SECOND);
        ping_of(keepalive.on_tick(60 * SECOND, 0));
        assert_eq!(keepalive.on_tick(75 * SECOND, 0), Action::Dead("peer silent 15.0 s".to_owned()));
    }

    #[test]
    fn without_an_interval_or_a_timeout_nothing_is_due() {
        let mut never = Keepalive::new(None, Some(SECOND));
        never.start(0);
        assert_eq!((never.deadline(), never.on_tick(1000 * SECOND, 0)), (None, Action::Nothing));
        let mut patient = Keepalive::new(Some(SECOND), None);
        patient.start(0);
        for second in 1..100 {
            ping_of(patient.on_tick(second * SECOND, 0));
        }
        assert!(patient.pings.len() <= MAX_OUTSTANDING);
    }

    #[test]
    fn missed_pings_are_not_made_up_for() {
        let mut keepalive = Keepalive::new(Some(SECOND), None);
        keepalive.start(0);
        ping_of(keepalive.on_tick(10 * SECOND + 1, 9 * SECOND));
        assert_eq!(keepalive.on_tick(10 * SECOND + 2, 0), Action::Nothing);
        assert_eq!(keepalive.deadline(), Some(11 * SECOND));
    }

    #[test]
    fn a_pong_answers_its_ping_and_all_earlier_ones_and_a_stranger_none() {
        let mut keepalive = keepalive(20, 20);
        let (first, _) = keepalive.ping(Some(b"a"), 0);
        let (second, _) = keepalive.ping(Some(b"b"), 10);
        let (third, payload) = keepalive.ping(None, 20);
        assert!(first < second && second < third);
        assert_eq!(keepalive.on_pong(b"unasked", 25), None);
        assert_eq!(keepalive.on_pong(b"b", 30), Some((second, 20)));
        assert_eq!(keepalive.on_pong(b"a", 35), None);
        assert_eq!(keepalive.on_pong(&payload, 40), Some((third, 20)));
    }
}
