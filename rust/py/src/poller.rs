//! The set of file descriptors that a hub waits for, with one timer and one wake-up for other threads.
//!
//! Linux: epoll, timerfd and eventfd, level-triggered; the set is one descriptor that the event loop watches. Elsewhere on
//! Unix: the `polling` crate, whose descriptor (a kqueue) serves the same way.

use std::io;
use std::os::fd::RawFd;

use fastws_core::Nanos;

/// What a descriptor is watched for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Interest {
    pub read: bool,
    pub write: bool,
}

/// What is ready.
#[derive(Debug, Clone, Copy)]
pub struct Ready {
    pub token: u64,
    pub read: bool,
    pub write: bool,
    /// The peer reset the connection, both halves are over, or the peer's half while reading was not wanted: worth a
    /// read even where reading is paused.
    pub hangup: bool,
}

/// The token of the timer.
pub const TIMER: u64 = u64::MAX;
/// The token of the wake-up.
pub const WAKE: u64 = u64::MAX - 1;

#[cfg(all(target_os = "linux", not(fastws_portable)))]
mod imp {
    use super::{Interest, Nanos, RawFd, Ready, TIMER, WAKE, io};
    use std::mem::MaybeUninit;

    pub struct Poller {
        epoll: RawFd,
        timer: RawFd,
        wake: RawFd,
    }

    impl Poller {
        pub fn new() -> io::Result<Self> {
            // SAFETY: plain system calls without pointers.
            let (epoll, timer, wake) = unsafe {
                (
                    libc::epoll_create1(libc::EPOLL_CLOEXEC),
                    libc::timerfd_create(libc::CLOCK_MONOTONIC, libc::TFD_NONBLOCK | libc::TFD_CLOEXEC),
                    libc::eventfd(0, libc::EFD_NONBLOCK | libc::EFD_CLOEXEC),
                )
            };
            let this = Self { epoll, timer, wake };
            if epoll < 0 || timer < 0 || wake < 0 {
                return Err(io::Error::last_os_error());
            }
            let read = Interest { read: true, write: false };
            this.add(timer, TIMER, read)?;
            this.add(wake, WAKE, read)?;
            Ok(this)
        }

        pub fn fd(&self) -> RawFd {
            self.epoll
        }

        pub fn add(&self, fd: RawFd, token: u64, interest: Interest) -> io::Result<()> {
            self.control(libc::EPOLL_CTL_ADD, fd, token, interest)
        }

        pub fn modify(&self, fd: RawFd, token: u64, interest: Interest) -> io::Result<()> {
            self.control(libc::EPOLL_CTL_MOD, fd, token, interest)
        }

        pub fn remove(&self, fd: RawFd) {
            // A descriptor that somebody closed has left the set by itself.
            let _ = self.control(libc::EPOLL_CTL_DEL, fd, 0, Interest::default());
        }

        fn control(&self, operation: i32, fd: RawFd, token: u64, interest: Interest) -> io::Result<()> {
            let mut events = libc::EPOLLRDHUP;
            if interest.read {
                events |= libc::EPOLLIN;
            } else {
                // A FIN or a reset is told while reading is paused, but once: it would else be ready in every turn.
                events |= libc::EPOLLET;
            }
            if interest.write {
                events |= libc::EPOLLOUT;
            }
            let mut event = libc::epoll_event { events: events as u32, u64: token };
            // SAFETY: `event` lives through the call.
            let result = unsafe { libc::epoll_ctl(self.epoll, operation, fd, &raw mut event) };
            if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
        }

        /// What is ready now; never waits.
        pub fn poll(&mut self, ready: &mut Vec<Ready>) -> io::Result<()> {
            let mut events = [const { MaybeUninit::<libc::epoll_event>::uninit() }; MAX_EVENTS];
            // SAFETY: the array has room for MAX_EVENTS.
            let count = unsafe { libc::epoll_wait(self.epoll, events.as_mut_ptr().cast(), MAX_EVENTS as i32, 0) };
            if count < 0 {
                let error = io::Error::last_os_error();
                return if error.kind() == io::ErrorKind::Interrupted { Ok(()) } else { Err(error) };
            }
            for event in &events[..count as usize] {
                // SAFETY: epoll_wait wrote the first `count`.
                let event = unsafe { event.assume_init() };
                let (bits, token) = (event.events as i32, event.u64);
                match token {
                    TIMER => Self::drain(self.timer),
                    WAKE => Self::drain(self.wake),
                    _ => {}
                }
                ready.push(Ready {
                    token,
                    read: bits & (libc::EPOLLIN | libc::EPOLLRDHUP) != 0,
                    write: bits & libc::EPOLLOUT != 0,
                    hangup: bits & (libc::EPOLLHUP | libc::EPOLLERR) != 0,
                });
            }
            Ok(())
        }

        /// Fires the timer at this moment of CLOCK_MONOTONIC; none: never.
        pub fn set_timer(&mut self, at: Option<Nanos>) -> io::Result<()> {
            // A moment of zero would disarm the timer.
            let at = at.map_or(0, |at| at.max(1));
            let mut spec: libc::itimerspec = unsafe_zeroed();
            spec.it_value.tv_sec = (at / 1_000_000_000) as libc::time_t;
            spec.it_value.tv_nsec = (at % 1_000_000_000) as _;
            // SAFETY: `spec` lives through the call; the old value is not asked for.
            let result = unsafe {
                libc::timerfd_settime(self.timer, libc::TFD_TIMER_ABSTIME, &raw const spec, std::ptr::null_mut())
            };
            if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
        }

        /// Makes the set ready; from any thread.
        pub fn wake(&self) {
            let one = 1u64;
            // SAFETY: eight bytes are read from `one`. A full counter is awake already.
            unsafe { libc::write(self.wake, (&raw const one).cast(), 8) };
        }

        fn drain(fd: RawFd) {
            let mut count = 0u64;
            // SAFETY: eight bytes are written to `count`.
            unsafe { libc::read(fd, (&raw mut count).cast(), 8) };
        }
    }

    impl Drop for Poller {
        fn drop(&mut self) {
            for fd in [self.timer, self.wake, self.epoll] {
                if fd >= 0 {
                    // SAFETY: the descriptor is ours and closed once.
                    unsafe { libc::close(fd) };
                }
            }
        }
    }

    fn unsafe_zeroed() -> libc::itimerspec {
        // SAFETY: all-zero is a valid itimerspec (it means disarmed).
        unsafe { std::mem::zeroed() }
    }

    /// Events taken a turn; level-triggered, so the rest comes with the next turn.
    const MAX_EVENTS: usize = 256;
}

#[cfg(any(not(target_os = "linux"), fastws_portable))]
mod imp {
    use super::{Interest, Nanos, RawFd, Ready, TIMER, WAKE, io};
    use std::os::fd::{AsRawFd, BorrowedFd};
    use std::sync::{Arc, Condvar, Mutex, PoisonError, Weak};
    use std::time::Duration;

    use polling::{Event, Events, PollMode};

    pub struct Poller {
        inner: Arc<polling::Poller>,
        events: Events,
        alarm: Arc<Alarm>,
        timer: Option<Nanos>,
        has_thread: bool,
    }

    /// What a thread of the poller's own waits for: these sets have no timer that they all agree on.
    struct Alarm {
        state: Mutex<Setting>,
        changed: Condvar,
    }

    #[derive(Default)]
    struct Setting {
        at: Option<Nanos>,
        over: bool,
    }

    impl Poller {
        pub fn new() -> io::Result<Self> {
            let alarm = Alarm { state: Mutex::default(), changed: Condvar::new() };
            Ok(Self {
                inner: Arc::new(polling::Poller::new()?),
                events: Events::new(),
                alarm: Arc::new(alarm),
                timer: None,
                has_thread: false,
            })
        }

        pub fn fd(&self) -> RawFd {
            self.inner.as_raw_fd()
        }

        pub fn add(&self, fd: RawFd, token: u64, interest: Interest) -> io::Result<()> {
            // SAFETY: the hub removes a descriptor before its connection closes it.
            unsafe { self.inner.add_with_mode(fd, event(token, interest), mode(interest)) }
        }

        pub fn modify(&self, fd: RawFd, token: u64, interest: Interest) -> io::Result<()> {
            // SAFETY: as for `add`; the descriptor is open.
            let fd = unsafe { BorrowedFd::borrow_raw(fd) };
            self.inner.modify_with_mode(fd, event(token, interest), mode(interest))
        }

        pub fn remove(&self, fd: RawFd) {
            // SAFETY: as for `modify`.
            let _ = self.inner.delete(unsafe { BorrowedFd::borrow_raw(fd) });
        }

        /// What is ready now; never waits.
        pub fn poll(&mut self, ready: &mut Vec<Ready>) -> io::Result<()> {
            self.events.clear();
            self.inner.wait(&mut self.events, Some(Duration::ZERO))?;
            ready.extend(self.events.iter().map(|event| Ready {
                token: event.key as u64,
                read: event.readable,
                write: event.writable,
                hangup: event.is_interrupt() || event.is_err().unwrap_or(false),
            }));
            if self.timer.is_some_and(|at| crate::clock::monotonic() >= at) {
                self.timer = None;
                ready.push(Ready { token: TIMER, read: true, write: false, hangup: false });
            }
            // A wake-up is not an event of its own here: letters are looked for in every turn.
            ready.push(Ready { token: WAKE, read: true, write: false, hangup: false });
            Ok(())
        }

        pub fn set_timer(&mut self, at: Option<Nanos>) -> io::Result<()> {
            self.timer = at;
            if at.is_some() && !self.has_thread {
                // The thread keeps no descriptor open: it ends by itself soon after the poller has.
                let (alarm, poller) = (Arc::clone(&self.alarm), Arc::downgrade(&self.inner));
                std::thread::Builder::new().name("fastws-timer".to_owned()).spawn(move || alarm.run(&poller))?;
                self.has_thread = true;
            }
            self.alarm.set(|setting| setting.at = at);
            Ok(())
        }

        pub fn wake(&self) {
            let _ = self.inner.notify();
        }
    }

    impl Drop for Poller {
        fn drop(&mut self) {
            self.alarm.set(|setting| setting.over = true);
        }
    }

    impl Alarm {
        fn set(&self, change: impl FnOnce(&mut Setting)) {
            change(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner));
            self.changed.notify_one();
        }

        fn run(&self, poller: &Weak<polling::Poller>) {
            let mut setting = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            while !setting.over {
                let left = setting.at.map(|at| at.saturating_sub(crate::clock::monotonic()));
                setting = match left {
                    None => self.changed.wait(setting).unwrap_or_else(PoisonError::into_inner),
                    Some(0) => {
                        setting.at = None;
                        if let Some(poller) = poller.upgrade() {
                            let _ = poller.notify();
                        }
                        setting
                    }
                    Some(left) => {
                        let waited = self.changed.wait_timeout(setting, Duration::from_nanos(left));
                        waited.unwrap_or_else(PoisonError::into_inner).0
                    }
                };
            }
        }
    }

    fn event(token: u64, interest: Interest) -> Event {
        Event::new(token as usize, interest.read, interest.write)
    }

    /// As on Linux: while reading is paused an end is told once.
    fn mode(interest: Interest) -> PollMode {
        if interest.read { PollMode::Level } else { PollMode::Edge }
    }
}

pub use imp::Poller;
