//! Pings, their answers, and the verdict when none comes.
//!
//! Any byte from the peer is life. A peer is dead when a ping was not answered, and no byte came, for `timeout`; but
//! not while it was us who did not listen: a full receive queue stops the clocks, as does work on what was received that
//! reading waits for, and a blocked event loop gives the peer another chance. The verdict names the queue, the loop or
//! the peer.

use std::collections::VecDeque;

use crate::{Nanos, SECOND};

/// The keepalive of one connection.
#[derive(Debug)]
pub struct Keepalive {
    /// Zero: no pings.
    interval: Nanos,
    /// Zero: for ever.
    timeout: Nanos,
    /// Outstanding pings, the oldest first.
    pings: VecDeque<Outstanding>,
    next_number: u64,
    /// When the next keepalive ping is due.
    due: Option<Nanos>,
    /// When the unanswered keepalive ping was queued, moved on by what was not the peer's silence.
    waiting_since: Option<Nanos>,
    /// When the last byte arrived.
    heard: Nanos,
    /// Time since then in which reading was paused.
    unread: Nanos,
    paused_since: Option<Nanos>,
    /// Since when our own queue is full, and whether work is under way that reading waits for: two causes of a pause.
    full_since: Option<Nanos>,
    is_working: bool,
    /// Time since the unanswered ping in which we did not listen, as our own queue was full.
    queue_full: Nanos,
    /// Time before `waiting_since` in which the event loop was blocked.
    blocked: Nanos,
    /// The same since `waiting_since`.
    late: Nanos,
    /// The peer was given its other chance.
    pardoned: bool,
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
    /// Send a Ping, by [`Keepalive::ping`], if one can be sent.
    Ping,
    /// Give the peer up; the text is the verdict.
    Dead(String),
}

impl Keepalive {
    /// `interval` between pings (none or zero: never) and the `timeout` of an answer (none or zero: for ever). Only the
    /// pings of the interval are judged, not those of the user.
    pub fn new(interval: Option<Nanos>, timeout: Option<Nanos>) -> Self {
        Self {
            interval: interval.unwrap_or(0),
            timeout: timeout.unwrap_or(0),
            pings: VecDeque::new(),
            next_number: 1,
            due: None,
            waiting_since: None,
            heard: 0,
            paused_since: None,
            full_since: None,
            is_working: false,
            unread: 0,
            queue_full: 0,
            blocked: 0,
            late: 0,
            pardoned: false,
            latency: None,
        }
    }

    /// The connection is open.
    pub fn start(&mut self, now: Nanos) {
        self.heard = now;
        self.due = (self.interval > 0).then(|| now.saturating_add(self.interval));
    }

    /// Bytes arrived.
    #[inline]
    pub fn on_bytes(&mut self, now: Nanos) {
        self.heard = now;
        self.unread = 0;
    }

    /// Time since bytes arrived, without that in which nobody read.
    pub fn silence(&self, now: Nanos) -> Nanos {
        let until = self.paused_since.unwrap_or(now);
        until.saturating_sub(self.heard).saturating_sub(self.unread)
    }

    /// A ping is being queued, with this payload or one that no outstanding ping has. Returns its number and payload.
    pub fn ping(&mut self, payload: Option<&[u8]>, now: Nanos) -> (u64, Vec<u8>) {
        let number = self.next_number;
        self.next_number += 1;
        // The number is unique; a prefix keeps made-up payloads apart from what users send, short of malice to oneself.
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
        self.full_since.get_or_insert(now);
        self.paused_since.get_or_insert(now);
    }

    /// Our own queue has room: if nothing else is in the way, reading and the clocks go on.
    pub fn resume(&mut self, now: Nanos) {
        let Some(since) = self.full_since.take() else { return };
        if self.unanswered_since().is_some() {
            self.queue_full += now.saturating_sub(since);
        }
        self.go_on(now);
    }

    /// Whether reading waits for work of ours on what was received.
    #[inline]
    pub fn set_working(&mut self, is_working: bool, now: Nanos) {
        if self.is_working == is_working {
            return;
        }
        self.is_working = is_working;
        if is_working {
            self.paused_since.get_or_insert(now);
        } else {
            self.go_on(now);
        }
    }

    /// The clocks go on where they stood, unless there is another cause of the pause.
    fn go_on(&mut self, now: Nanos) {
        if self.is_working || self.full_since.is_some() {
            return;
        }
        let Some(since) = self.paused_since.take() else { return };
        let span = now.saturating_sub(since);
        self.due = self.due.map(|due| due.saturating_add(span));
        self.unread += span;
        // Life heard before the pause answers the ping; the shifted moment would forget it.
        if let Some(waiting) = self.unanswered_since() {
            self.waiting_since = Some(waiting.saturating_add(span));
        } else {
            self.waiting_since = None;
        }
    }

    /// When [`Keepalive::on_tick`] is to be called next.
    pub fn deadline(&self) -> Option<Nanos> {
        if self.paused_since.is_some() {
            return None;
        }
        match (self.due, self.death()) {
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
        if let Some(since) = self.unanswered_since() {
            self.late += lag.min(now.saturating_sub(since));
            if self.death().is_some_and(|death| now >= death) {
                let was_blocked = self.timeout > 0 && self.late.saturating_mul(2) >= self.timeout;
                if !was_blocked || self.pardoned {
                    return Action::Dead(self.verdict(now, since));
                }
                // It was the loop that did not run: the peer's answer may be on its way. Once: a loop that is always
                // blocked does not make a dead peer live.
                self.pardoned = true;
                self.blocked += std::mem::take(&mut self.late);
                self.waiting_since = Some(now);
                return Action::Nothing;
            }
        } else {
            self.waiting_since = None;
        }
        let Some(due) = self.due.filter(|due| now >= *due) else { return Action::Nothing };
        // Pings keep their rhythm; those that a blocked loop missed are not made up for.
        let interval = if self.interval > 0 { self.interval } else { SECOND };
        let missed = now.saturating_sub(due) / interval;
        self.due = Some(due.saturating_add(interval.saturating_mul(missed + 1)));
        if self.waiting_since.is_none() {
            self.waiting_since = Some(now);
            (self.queue_full, self.blocked, self.late, self.pardoned) = (0, 0, 0, false);
        }
        Action::Ping
    }

    /// Round-trip time of the last ping that was answered; what we did not read meanwhile counts too.
    pub fn latency(&self) -> Option<Nanos> {
        self.latency
    }

    /// Since when a keepalive ping waits, no byte having come since.
    fn unanswered_since(&self) -> Option<Nanos> {
        self.waiting_since.filter(|since| self.heard <= *since)
    }

    fn death(&self) -> Option<Nanos> {
        if self.timeout == 0 {
            return None;
        }
        Some(self.unanswered_since()?.saturating_add(self.timeout))
    }

    /// The cause that made us blind for longer than we listened, else the peer. What we listened before the loop was
    /// found blocked does not count: a late timer does not tell when the block began.
    fn verdict(&self, now: Nanos, since: Nanos) -> String {
        let silent = now.saturating_sub(since);
        let listened = silent.saturating_sub(self.late);
        let blocked = self.blocked + self.late;
        if blocked > listened && blocked >= self.queue_full {
            spell(LOOP_BLOCKED, blocked)
        } else if self.queue_full > listened {
            spell(QUEUE_FULL, self.queue_full)
        } else {
            spell(PEER_SILENT, silent)
        }
    }
}

fn spell(what: &str, span: Nanos) -> String {
    format!("{what} {:.1} s", span as f64 / SECOND as f64)
}

const LOOP_BLOCKED: &str = "event loop blocked";
const QUEUE_FULL: &str = "receive queue full";
const PEER_SILENT: &str = "peer silent";

/// Outstanding pings that are remembered; a peer that answers none of so many is judged by the oldest that is left.
const MAX_OUTSTANDING: usize = 64;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn keepalive(interval: u64, timeout: u64) -> Keepalive {
        let mut keepalive = Keepalive::new(Some(interval * SECOND), Some(timeout * SECOND));
        keepalive.start(0);
        keepalive
    }

    #[test]
    fn a_quiet_peer_that_answers_lives() {
        let mut keepalive = keepalive(20, 20);
        assert_eq!(keepalive.deadline(), Some(20 * SECOND));
        assert_eq!(keepalive.on_tick(19 * SECOND, 0), Action::Nothing);
        let mut now = 0;
        for _ in 0..10 {
            now += 20 * SECOND;
            assert_eq!(keepalive.on_tick(now, 0), Action::Ping);
            let (_, payload) = keepalive.ping(None, now);
            keepalive.on_bytes(now + SECOND);
            assert_eq!(keepalive.on_pong(&payload, now + SECOND).map(|(_, rtt)| rtt), Some(SECOND));
        }
        assert_eq!(keepalive.latency(), Some(SECOND));
    }

    #[test]
    fn a_silent_peer_dies_after_the_timeout_of_its_ping() {
        let mut keepalive = keepalive(20, 15);
        assert_eq!(keepalive.on_tick(20 * SECOND, 0), Action::Ping);
        assert_eq!(keepalive.deadline(), Some(35 * SECOND));
        assert_eq!(keepalive.on_tick(34 * SECOND, 0), Action::Nothing);
        assert_eq!(keepalive.on_tick(35 * SECOND, 0), Action::Dead("peer silent 15.0 s".to_owned()));
    }

    #[test]
    fn any_byte_is_life_even_without_a_pong() {
        let mut keepalive = keepalive(20, 15);
        assert_eq!(keepalive.on_tick(20 * SECOND, 0), Action::Ping);
        keepalive.on_bytes(30 * SECOND);
        assert_eq!(keepalive.on_tick(35 * SECOND, 0), Action::Nothing);
        assert_eq!(keepalive.on_tick(40 * SECOND, 0), Action::Ping);
        assert_eq!(keepalive.on_tick(55 * SECOND, 0), Action::Dead("peer silent 15.0 s".to_owned()));
    }

    #[test]
    fn a_timeout_longer_than_the_interval_counts_from_the_first_unanswered_ping() {
        let mut keepalive = keepalive(10, 25);
        for second in [10, 20, 30] {
            assert_eq!(keepalive.on_tick(second * SECOND, 0), Action::Ping);
        }
        assert_eq!(keepalive.on_tick(35 * SECOND, 0), Action::Dead("peer silent 25.0 s".to_owned()));
    }

    #[test]
    fn a_full_receive_queue_stops_the_clocks_and_is_named() {
        let mut keepalive = keepalive(20, 15);
        assert_eq!(keepalive.on_tick(20 * SECOND, 0), Action::Ping);
        keepalive.pause(25 * SECOND);
        assert_eq!(keepalive.deadline(), None);
        assert_eq!(keepalive.on_tick(100 * SECOND, 0), Action::Nothing);
        keepalive.resume(125 * SECOND);
        assert_eq!(keepalive.deadline(), Some(135 * SECOND));
        assert_eq!(keepalive.on_tick(134 * SECOND, 0), Action::Nothing);
        assert_eq!(keepalive.on_tick(135 * SECOND, 0), Action::Dead("receive queue full 100.0 s".to_owned()));
    }

    #[test]
    fn work_that_reading_waits_for_stops_the_clocks_and_is_nobodys_silence() {
        let mut keepalive = keepalive(20, 15);
        assert_eq!(keepalive.on_tick(20 * SECOND, 0), Action::Ping);
        keepalive.set_working(true, 25 * SECOND);
        keepalive.pause(35 * SECOND);
        assert_eq!((keepalive.deadline(), keepalive.silence(35 * SECOND)), (None, 25 * SECOND));
        keepalive.set_working(false, 85 * SECOND);
        assert_eq!(keepalive.deadline(), None);
        keepalive.set_working(true, 86 * SECOND);
        keepalive.resume(87 * SECOND);
        assert_eq!(keepalive.on_tick(100 * SECOND, 0), Action::Nothing);
        keepalive.set_working(false, 125 * SECOND);
        assert_eq!((keepalive.deadline(), keepalive.silence(126 * SECOND)), (Some(135 * SECOND), 26 * SECOND));
        assert_eq!(keepalive.queue_full, 52 * SECOND);
        keepalive.on_bytes(127 * SECOND);
        assert_eq!(keepalive.on_tick(140 * SECOND, 0), Action::Ping);
        keepalive.set_working(true, 141 * SECOND);
        keepalive.set_working(false, 241 * SECOND);
        assert_eq!(keepalive.on_tick(255 * SECOND, 0), Action::Dead("peer silent 15.0 s".to_owned()));
    }

    #[test]
    fn a_blocked_loop_gives_the_peer_another_chance_and_is_named() {
        let mut keepalive = keepalive(20, 15);
        assert_eq!(keepalive.on_tick(20 * SECOND, 0), Action::Ping);
        assert_eq!(keepalive.on_tick(58 * SECOND, 23 * SECOND), Action::Nothing);
        assert_eq!(keepalive.on_tick(58 * SECOND, 0), Action::Ping);
        assert_eq!(keepalive.on_tick(60 * SECOND, 0), Action::Ping);
        assert_eq!(keepalive.on_tick(72 * SECOND, 0), Action::Nothing);
        assert_eq!(keepalive.on_tick(73 * SECOND, 0), Action::Dead("event loop blocked 23.0 s".to_owned()));
    }

    #[test]
    fn a_blocked_loop_whose_peer_answers_is_forgotten() {
        let mut keepalive = keepalive(20, 15);
        assert_eq!(keepalive.on_tick(20 * SECOND, 0), Action::Ping);
        assert_eq!(keepalive.on_tick(58 * SECOND, 23 * SECOND), Action::Nothing);
        assert_eq!(keepalive.on_tick(58 * SECOND, 0), Action::Ping);
        keepalive.on_bytes(59 * SECOND);
        assert_eq!(keepalive.on_tick(60 * SECOND, 0), Action::Ping);
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
            assert_eq!(patient.on_tick(second * SECOND, 0), Action::Ping);
            patient.ping(None, second * SECOND);
        }
        assert!(patient.pings.len() <= MAX_OUTSTANDING);
    }

    #[test]
    fn missed_pings_are_not_made_up_for() {
        let mut keepalive = Keepalive::new(Some(SECOND), None);
        keepalive.start(0);
        assert_eq!(keepalive.on_tick(10 * SECOND + 1, 9 * SECOND), Action::Ping);
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

    #[test]
    fn of_equal_payloads_the_latest_is_answered_and_the_earlier_with_it() {
        let mut keepalive = keepalive(20, 20);
        keepalive.ping(Some(b"same"), 0);
        let (second, _) = keepalive.ping(Some(b"same"), 10);
        assert_eq!(keepalive.on_pong(b"same", 30), Some((second, 20)));
        assert_eq!(keepalive.on_pong(b"same", 40), None);
    }

    #[test]
    fn silence_leaves_out_what_nobody_read() {
        let mut keepalive = Keepalive::new(None, None);
        keepalive.start(100);
        assert_eq!(keepalive.silence(130), 30);
        keepalive.pause(150);
        assert_eq!(keepalive.silence(400), 50);
        keepalive.resume(450);
        assert_eq!(keepalive.silence(460), 60);
        keepalive.on_bytes(500);
        assert_eq!(keepalive.silence(505), 5);
    }

    #[test]
    fn life_heard_before_a_pause_is_not_forgotten() {
        let mut keepalive = keepalive(20, 15);
        assert_eq!(keepalive.on_tick(20 * SECOND, 0), Action::Ping);
        keepalive.on_bytes(22 * SECOND);
        assert_eq!(keepalive.deadline(), Some(40 * SECOND));
        keepalive.pause(25 * SECOND);
        assert_eq!(keepalive.deadline(), None);
        keepalive.resume(125 * SECOND);
        assert_eq!(keepalive.on_tick(135 * SECOND, 0), Action::Nothing);
        assert_eq!(keepalive.on_tick(140 * SECOND, 0), Action::Ping);
        assert_eq!(keepalive.on_tick(155 * SECOND, 0), Action::Dead("peer silent 15.0 s".to_owned()));
    }

    #[test]
    fn the_verdict_names_what_made_us_blind_for_longer_than_we_listened() {
        // Interval 10, timeout 25, a ping at 10 s; each row: ticks as (now, lag), then the last words.
        let table: [(&[(u64, u64)], &str); 6] = [
            (&[(35, 0)], "peer silent 25.0 s"),
            (&[(41, 6)], "peer silent 31.0 s"),
            // Blocked for most of the wait, though the tick of death itself was on time.
            (&[(33, 13), (35, 0), (60, 0)], "peer silent 25.0 s"),
            (&[(70, 35), (95, 0)], "event loop blocked 35.0 s"),
            // The other chance is given once; blocked again, it is the loop.
            (&[(50, 15), (90, 15)], "event loop blocked 30.0 s"),
            (&[(50, 15), (75, 0)], "peer silent 25.0 s"),
        ];
        for (ticks, verdict) in table {
            let mut keepalive = keepalive(10, 25);
            assert_eq!(keepalive.on_tick(10 * SECOND, 0), Action::Ping);
            let mut last = Action::Nothing;
            for (now, lag) in ticks {
                assert!(!matches!(last, Action::Dead(_)), "{ticks:?}: {last:?}");
                last = keepalive.on_tick(now * SECOND, lag * SECOND);
            }
            assert_eq!(last, Action::Dead(verdict.to_owned()), "{ticks:?}");
        }
    }

    #[test]
    fn an_interval_of_zero_is_none() {
        let mut keepalive = Keepalive::new(Some(0), Some(0));
        keepalive.start(0);
        assert_eq!((keepalive.deadline(), keepalive.on_tick(SECOND, 0)), (None, Action::Nothing));
    }

    proptest! {
        /// A driver that keeps its deadlines: a peer that answers within the timeout never dies, one that is silent
        /// does after an interval and a timeout, whatever pauses there are.
        #[test]
        fn the_living_live_and_the_dead_die(
            interval in 1u64..30,
            timeout in 1u64..30,
            answers in any::<bool>(),
            delay in 0u64..30,
            pauses in prop::collection::vec((0u64..40, 1u64..40), 0..4),
        ) {
            let mut keepalive = keepalive(interval, timeout);
            let delay = delay.min(timeout - 1) * SECOND + 1;
            let mut pauses = pauses.into_iter();
            let mut next_pause = pauses.next().map(|(at, span)| (at * SECOND, span * SECOND));
            let (mut now, mut paused, mut answer) = (0, 0, None);
            let mut dead = false;
            while now < 400 * SECOND {
                let due = keepalive.deadline().unwrap();
                let next = due.min(answer.unwrap_or(due));
                if let Some((at, span)) = next_pause.filter(|(at, _)| *at <= next) {
                    now = now.max(at);
                    keepalive.pause(now);
                    prop_assert_eq!(keepalive.deadline(), None);
                    now += span;
                    paused += span;
                    keepalive.resume(now);
                    next_pause = pauses.next().map(|(at, span)| (now + at * SECOND, span * SECOND));
                } else if let Some(at) = answer.take_if(|answer| *answer <= due) {
                    now = now.max(at);
                    keepalive.on_bytes(now);
                } else {
                    now = now.max(due);
                    match keepalive.on_tick(now, 0) {
                        Action::Ping if answers => { answer.get_or_insert(now + delay); }
                        Action::Dead(_) => { dead = true; break }
                        _ => {}
                    }
                }
            }
            prop_assert_eq!(dead, !answers);
            if dead {
                prop_assert_eq!(now - paused, (interval + timeout) * SECOND);
            }
        }
    }
}
