//! A venue: a path on which a feed plays on one clock for everybody, as an exchange does. Who is away misses messages.
//!
//! | module | its one decision |
//! | --- | --- |
//! | `venue` | the timetable: what is due when, what goes wrong when, whom it lets in |
//! | `venue::session` | what one connection is sent |
//! | `venue::talk` | what requests and answers look like |
//! | `venue::report` | what is remembered |
//!
//! The timetable never changes. Each session walks it by itself, so that the same clock gives the same messages and the
//! same faults however many threads there are.

mod report;
mod session;
mod talk;

use std::collections::HashMap;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use fastws_core::Nanos;

use crate::clock;
use crate::feed::Feed;
use crate::step::{Accept, Refusal, Step};

pub use report::{EndedBy, Segment, SessionReport, Subscribed, VenueReport};
pub(crate) use session::{Session, Suffered};

/// What a venue plays, and to whom.
#[derive(Debug, Clone)]
pub struct VenueConfig {
    /// What it plays.
    pub feed: Arc<Feed>,
    /// Times real time, above 0.
    pub speed: f64,
    /// Tokens that are valid; none: everybody is welcome.
    pub tokens: Vec<String>,
    /// The channel of each message of the feed: only who subscribed to it gets it. Empty, and a message without one: it
    /// goes to everybody who subscribed to anything.
    pub channels: Vec<Option<String>>,
    /// The answers to requests for a snapshot: by channel, what is right once so many messages of the feed were due.
    pub snapshots: HashMap<String, Vec<(usize, Vec<u8>)>>,
    /// What goes wrong.
    pub faults: Vec<ScheduledFault>,
    /// The first subscription starts the clock; otherwise [`Venue::start`] does.
    pub autostart: bool,
}

/// Something that goes wrong at a venue.
#[derive(Debug, Clone, PartialEq)]
pub struct ScheduledFault {
    /// When, on the venue's clock.
    pub at: Duration,
    /// What.
    pub fault: VenueFault,
}

/// What can go wrong at a venue. Sessions that begin later are not concerned, where nothing else is said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VenueFault {
    /// A TCP reset.
    Reset,
    /// For so long nothing is sent, pings are not answered, and what is due is missed.
    Silence(Duration),
    /// A Close frame with this code and reason.
    Close(u16, String),
    /// For so long upgrades are refused.
    Refuse {
        /// How long.
        span: Duration,
        /// With this HTTP status.
        status: u16,
        /// The header `Retry-After`, seconds.
        retry_after: Option<u64>,
    },
    /// The tokens used so far become invalid, and their sessions get this Close.
    Expire(u16),
    /// For so long nothing is read or written, and no upgrade is answered; then everything arrives late.
    Cut(Duration),
    /// So many messages, from the next one due, are never sent to anybody.
    Drop(usize),
}

/// A venue. Shared by its sessions.
pub struct Venue {
    feed: Arc<Feed>,
    speed: f64,
    tokens: Vec<String>,
    /// Names of channels; `tags` are numbers in it.
    channels: Vec<String>,
    /// The channel of each message; empty where there are none.
    tags: Vec<u32>,
    snapshots: HashMap<String, Vec<(usize, Vec<u8>)>>,
    /// In the order of their times.
    faults: Vec<ScheduledFault>,
    /// Messages that are never sent.
    dropped: Vec<Range<usize>>,
    autostart: bool,
    /// When it was started; 0: not yet.
    started: AtomicU64,
    /// When each token was used first.
    used: Mutex<HashMap<usize, Nanos>>,
    log: report::VenueLog,
    /// Gives every connection a turn: the clock was started.
    wake: Box<dyn Fn() + Send + Sync>,
}

impl Venue {
    pub(crate) fn new(config: VenueConfig, sessions: usize, wake: Box<dyn Fn() + Send + Sync>) -> Self {
        let mut channels: Vec<String> = Vec::new();
        let mut numbers: HashMap<String, u32> = HashMap::new();
        let mut tags = Vec::with_capacity(config.channels.len());
        for name in config.channels {
            tags.push(match name {
                None => UNTAGGED,
                Some(name) => *numbers.entry(name).or_insert_with_key(|name| {
                    channels.push(name.clone());
                    channels.len() as u32 - 1
                }),
            });
        }
        let mut faults = config.faults;
        faults.sort_by_key(|fault| fault.at);
        let mut this = Self {
            feed: config.feed,
            speed: config.speed,
            tokens: config.tokens,
            channels,
            tags,
            snapshots: config.snapshots,
            faults,
            dropped: Vec::new(),
            autostart: config.autostart,
            started: AtomicU64::new(0),
            used: Mutex::default(),
            log: report::VenueLog::new(sessions),
            wake,
        };
        let drops = this.faults.iter().filter_map(|scheduled| match scheduled.fault {
            VenueFault::Drop(count) => {
                let first = this.due_by(clock::nanos(scheduled.at));
                Some(first..first.saturating_add(count).min(this.feed.len()))
            }
            _ => None,
        });
        this.dropped = drops.collect();
        this
    }

    /// Starts the clock, unless it runs.
    pub fn start(&self) {
        self.start_at(clock::now());
    }

    fn start_at(&self, now: Nanos) {
        if self.started.compare_exchange(0, now.max(1), Ordering::AcqRel, Ordering::Acquire).is_ok() {
            (self.wake)();
        }
    }

    /// When the clock was started.
    pub fn started(&self) -> Option<Nanos> {
        Some(self.started.load(Ordering::Acquire)).filter(|&at| at > 0)
    }

    /// How many messages of the feed have been due.
    pub fn position(&self) -> usize {
        self.position_at(clock::now())
    }

    /// What is known so far.
    pub fn report(&self) -> VenueReport {
        self.log.report(self.started(), self.position(), &self.dropped)
    }

    /// What becomes of a request.
    pub(crate) fn admit(&self, path: &str, now: Nanos) -> Vec<Step> {
        let mut wait = Duration::ZERO;
        for (until, fault) in self.under_way(now) {
            match fault {
                VenueFault::Refuse { status, retry_after, .. } => {
                    self.log.refused(now);
                    let headers = retry_after.map(|seconds| ("Retry-After".to_owned(), seconds.to_string()));
                    let body = b"the venue is down\n".to_vec();
                    return vec![Step::Refuse(Refusal {
                        status: *status,
                        headers: headers.into_iter().collect(),
                        body,
                    })];
                }
                VenueFault::Cut(_) => wait = wait.max(Duration::from_nanos(until - now)),
                _ => {}
            }
        }
        self.log.accepted(now);
        let steps = [Step::Wait(wait), Step::Accept(Accept::default()), Step::Venue(path.to_owned())];
        steps.into_iter().skip(usize::from(wait.is_zero())).collect()
    }

    /// Faults that last and are not over, and when they will be.
    fn under_way(&self, now: Nanos) -> impl Iterator<Item = (Nanos, &VenueFault)> {
        let begun = &self.faults[..self.first_fault_after(now)];
        begun.iter().filter_map(move |scheduled| {
            let span = match &scheduled.fault {
                VenueFault::Refuse { span, .. } | VenueFault::Cut(span) => *span,
                _ => return None,
            };
            let until = self.time_of(scheduled)?.saturating_add(clock::nanos(span));
            (until > now).then_some((until, &scheduled.fault))
        })
    }

    fn time_of(&self, scheduled: &ScheduledFault) -> Option<Nanos> {
        Some(self.started()?.saturating_add(clock::nanos(scheduled.at)))
    }

    /// The first fault that is still to come.
    fn first_fault_after(&self, now: Nanos) -> usize {
        self.faults.partition_point(|scheduled| self.time_of(scheduled).is_some_and(|at| at <= now))
    }

    fn position_at(&self, now: Nanos) -> usize {
        self.started().map_or(0, |started| if now < started { 0 } else { self.due_by(now - started) })
    }

    /// How many messages are due so long after the start.
    fn due_by(&self, after: Nanos) -> usize {
        self.feed.due_by(after, self.speed)
    }

    /// When a message is due; none: that is not known yet, or there is no such message.
    fn due_at(&self, message: usize) -> Option<Nanos> {
        (message < self.feed.len()).then_some(())?;
        Some(self.started()?.saturating_add(self.feed.offset_at(message, self.speed)))
    }

    fn is_dropped(&self, message: usize) -> bool {
        self.dropped.iter().any(|range| range.contains(&message))
    }

    /// The channel of a message, as a number.
    fn tag(&self, message: usize) -> Option<usize> {
        self.tags.get(message).filter(|&&tag| tag != UNTAGGED).map(|&tag| tag as usize)
    }

    /// Whether a token opens this venue.
    fn takes(&self, token: &str, now: Nanos) -> bool {
        let Some(number) = self.tokens.iter().position(|known| known == token) else { return false };
        let first_used = *lock(&self.used).entry(number).or_insert(now);
        !self.faults[..self.first_fault_after(now)].iter().any(|scheduled| {
            matches!(scheduled.fault, VenueFault::Expire(_))
                && self.time_of(scheduled).is_some_and(|at| at >= first_used)
        })
    }

    /// The snapshot of a channel that is right at this moment.
    fn snapshot(&self, channel: &str, now: Nanos) -> Option<&[u8]> {
        let table = self.snapshots.get(channel)?;
        let position = self.position_at(now);
        let after = table.partition_point(|(from, _)| *from <= position);
        table[..after].last().map(|(_, payload)| payload.as_slice())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

const UNTAGGED: u32 = u32::MAX;

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::feed::FeedMessage;

    pub(crate) const MS: Nanos = 1_000_000;

    /// Ten messages, 10 ms apart.
    pub(crate) fn feed() -> Arc<Feed> {
        let message = |i: u64| FeedMessage { at_ns: 5 * MS + i * 10 * MS, text: true, payload: format!("m{i}").into() };
        Arc::new(Feed::new(&(0..10).map(message).collect::<Vec<_>>()))
    }

    pub(crate) fn config() -> VenueConfig {
        VenueConfig {
            feed: feed(),
            speed: 1.0,
            tokens: Vec::new(),
            channels: Vec::new(),
            snapshots: HashMap::new(),
            faults: Vec::new(),
            autostart: true,
        }
    }

    pub(crate) fn at(ms: u64, fault: VenueFault) -> ScheduledFault {
        ScheduledFault { at: Duration::from_millis(ms), fault }
    }

    pub(crate) fn venue(config: VenueConfig) -> Arc<Venue> {
        Arc::new(Venue::new(config, 100, Box::new(|| {})))
    }

    #[test]
    fn the_clock_says_what_was_due() {
        let venue = venue(VenueConfig { speed: 2.0, ..config() });
        assert_eq!((venue.position_at(99 * MS), venue.due_at(0)), (0, None));
        venue.start_at(100 * MS);
        venue.start_at(200 * MS);
        assert_eq!(venue.started(), Some(100 * MS));
        for (now, position) in [(99, 0), (100, 1), (104, 1), (105, 2), (145, 10), (9999, 10)] {
            assert_eq!(venue.position_at(now * MS), position, "at {now}");
        }
        assert_eq!((venue.due_at(1), venue.due_at(10)), (Some(105 * MS), None));
    }

    #[test]
    fn upgrades_are_refused_and_delayed_on_schedule() {
        let refuse = VenueFault::Refuse { span: Duration::from_millis(10), status: 503, retry_after: Some(2) };
        let faults = vec![at(50, VenueFault::Cut(Duration::from_millis(20))), at(20, refuse)];
        let venue = venue(VenueConfig { faults, ..config() });
        let kind = |now: u64| match &venue.admit("/v", now * MS)[0] {
            Step::Refuse(refusal) => format!("{} {:?}", refusal.status, refusal.headers),
            Step::Wait(span) => format!("{span:?}"),
            step => format!("{step:?}").chars().take(6).collect(),
        };
        assert_eq!(kind(25), "Accept");
        venue.start_at(1000 * MS);
        assert_eq!(
            [1019, 1020, 1029, 1030, 1050, 1060, 1070].map(kind),
            [
                "Accept",
                "503 [(\"Retry-After\", \"2\")]",
                "503 [(\"Retry-After\", \"2\")]",
                "Accept",
                "20ms",
                "10ms",
                "Accept"
            ]
        );
        let report = venue.report();
        assert_eq!((report.accepted, report.refused), (6, 2));
        assert_eq!(report.refused_ns, [1020 * MS, 1029 * MS]);
    }

    #[test]
    fn an_expiry_spares_tokens_that_were_not_used_before_it() {
        let faults = vec![at(20, VenueFault::Expire(4401)), at(60, VenueFault::Expire(4401))];
        let venue = venue(VenueConfig { faults, tokens: vec!["one".into(), "two".into(), "three".into()], ..config() });
        assert!(venue.takes("one", 5 * MS));
        venue.start_at(10 * MS);
        assert!(venue.takes("one", 29 * MS) && !venue.takes("four", 29 * MS));
        assert!(!venue.takes("one", 30 * MS) && venue.takes("two", 31 * MS) && venue.takes("two", 69 * MS));
        assert!(!venue.takes("two", 70 * MS) && venue.takes("three", 70 * MS + 1));
    }

    #[test]
    fn a_snapshot_is_the_last_that_is_right() {
        let table = vec![(2, b"two".to_vec()), (4, b"four".to_vec())];
        let venue = venue(VenueConfig { snapshots: HashMap::from([("A".to_owned(), table)]), ..config() });
        venue.start_at(MS);
        for (ms, expected) in [(1, None), (11, Some("two")), (30, Some("two")), (31, Some("four")), (999, Some("four"))]
        {
            assert_eq!(venue.snapshot("A", ms * MS), expected.map(str::as_bytes), "at {ms}");
        }
        assert_eq!(venue.snapshot("B", 11 * MS), None);
    }

    #[test]
    fn what_is_dropped_is_known_from_the_beginning() {
        let venue =
            venue(VenueConfig { faults: vec![at(25, VenueFault::Drop(2)), at(90, VenueFault::Drop(9))], ..config() });
        assert_eq!(venue.report().dropped, [3..5, 10..10]);
        assert!(!venue.is_dropped(2) && venue.is_dropped(3) && venue.is_dropped(4) && !venue.is_dropped(5));
    }
}
