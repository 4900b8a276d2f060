//! Waking a poll at a time: to the microsecond by a timerfd on Linux, else by the poll's own timeout in milliseconds.

use std::io;
use std::time::Duration;

use fastws_core::Nanos;

#[cfg(target_os = "linux")]
pub(crate) use linux::Alarm;
#[cfg(not(target_os = "linux"))]
pub(crate) use portable::Alarm;

#[cfg(target_os = "linux")]
mod linux {
    use std::os::fd::{AsRawFd, OwnedFd};

    use mio::unix::SourceFd;
    use mio::{Interest, Registry, Token};
    use rustix::time::{
        Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
    };

    use super::{Duration, Nanos, io};

    /// A timerfd in the poll. It is never read: setting it anew is enough, as events come once per expiry.
    pub(crate) struct Alarm {
        timer: OwnedFd,
        set: Option<Nanos>,
    }

    impl Alarm {
        pub(crate) fn new(registry: &Registry, token: Token) -> io::Result<Self> {
            let timer = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC)?;
            registry.register(&mut SourceFd(&timer.as_raw_fd()), token, Interest::READABLE)?;
            Ok(Self { timer, set: None })
        }

        /// Sets the time of the next wake-up; returns the timeout to poll with.
        pub(crate) fn set(&mut self, at: Option<Nanos>, now: Nanos) -> Option<Duration> {
            if at.is_some_and(|at| at <= now) {
                return Some(Duration::ZERO);
            }
            if at != self.set {
                self.set = at;
                // Zero would disarm it, which is what no time means.
                let value = at.map_or(0, |at| at.min(i64::MAX as u64)).into_timespec();
                let zero = 0.into_timespec();
                let spec = Itimerspec { it_interval: zero, it_value: value };
                if timerfd_settime(&self.timer, TimerfdTimerFlags::ABSTIME, &spec).is_err() {
                    self.set = None;
                    return at.map(|at| Duration::from_nanos(at - now));
                }
            }
            None
        }
    }

    trait IntoTimespec {
        fn into_timespec(self) -> Timespec;
    }

    impl IntoTimespec for u64 {
        fn into_timespec(self) -> Timespec {
            let second = fastws_core::SECOND;
            Timespec { tv_sec: (self / second) as i64, tv_nsec: (self % second) as _ }
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod portable {
    use mio::{Registry, Token};

    use super::{Duration, Nanos, io};

    /// The poll's own timeout.
    pub(crate) struct Alarm;

    impl Alarm {
        #[allow(clippy::unnecessary_wraps)]
        pub(crate) fn new(_registry: &Registry, _token: Token) -> io::Result<Self> {
            Ok(Self)
        }

        /// Returns the timeout to poll with.
        #[allow(clippy::unused_self)]
        pub(crate) fn set(&mut self, at: Option<Nanos>, now: Nanos) -> Option<Duration> {
            at.map(|at| Duration::from_nanos(at.saturating_sub(now)))
        }
    }
}
