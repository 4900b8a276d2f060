//! What a hub knows of its connections: registrations, what is ready of them, and when their timers are due.

use std::collections::{BTreeSet, VecDeque};
use std::io;
use std::os::fd::RawFd;

use fastws_core::Nanos;
use fastws_core::filter::{Direction, WorkDone};
use pyo3::prelude::*;
use pyo3::types::PyWeakrefReference;

use super::Hub;
use super::direct::Direct;
use crate::conn::Conn;
use crate::poller::{Interest, Poller, Ready, TIMER, WAKE};

/// What a hub knows.
pub(super) struct State {
    pub poller: Poller,
    pub entries: Vec<Entry>,
    pub free: Vec<u32>,
    pub live: usize,
    pub timers: BTreeSet<(Nanos, u32)>,
    pub armed: Option<Nanos>,
    /// What the loop's own timer is to be set to, see `Hub::settle_timer`.
    pub asked: Option<Nanos>,
    /// The loop watches the poller's descriptor.
    pub watching: bool,
    /// Connections that have something to write at the end of this turn.
    pub flush: Vec<Token>,
    /// Connections that asked for another turn.
    pub soon: VecDeque<Token>,
    pub mail: Vec<Mail>,
    /// What was last ready: the list is used again.
    pub ready: Vec<Ready>,
    /// The connection that was last ready alone, and how often in a row it was read without asking the poller.
    pub alone: Option<Token>,
    pub guesses: u32,
    /// How often in a row it was.
    pub streak: i32,
    /// What the loop watches besides the poller.
    pub direct: Option<Direct>,
    /// The first of those that were put off to the next turn.
    pub first: Option<u64>,
}

/// A registration.
#[derive(Default)]
pub(super) struct Entry {
    pub generation: u32,
    pub fd: RawFd,
    pub weak: Option<Py<PyWeakrefReference>>,
    pub strong: Option<Py<Conn>>,
    pub interest: Interest,
    pub deadline: Option<Nanos>,
    /// It is in the list of those that asked for another turn.
    pub is_soon: bool,
}

/// Names a registration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Token {
    pub(super) index: u32,
    pub(super) generation: u32,
}

/// What other threads bring.
pub enum Mail {
    /// The result of a wire extension's work, or the panic that it ended in.
    Worked(Py<Conn>, Direction, std::thread::Result<WorkDone>),
}

/// Reads in a row without asking the poller: what other threads bring waits that long at most.
const MAX_GUESSES: u32 = 16;

/// Timers taken a turn; the rest comes with the next one.
const MAX_DUE: usize = 256;

impl State {
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            poller: Poller::new()?,
            entries: Vec::new(),
            free: Vec::new(),
            live: 0,
            timers: BTreeSet::new(),
            armed: None,
            asked: None,
            watching: false,
            flush: Vec::new(),
            soon: VecDeque::new(),
            mail: Vec::new(),
            ready: Vec::new(),
            alone: None,
            guesses: 0,
            streak: 0,
            direct: None,
            first: None,
        })
    }

    /// Whether the loop watches the poller for nothing.
    pub fn is_idle(&self) -> bool {
        self.live == 0 && self.watching
    }

    pub fn entry(&mut self, token: Token) -> Option<&mut Entry> {
        self.entries.get_mut(token.index as usize).filter(|e| e.generation == token.generation && e.weak.is_some())
    }

    /// Takes the timers that are due, the earliest first.
    pub fn take_due(&mut self, now: Nanos) -> Vec<(Nanos, Token)> {
        let mut due = Vec::new();
        while due.len() < MAX_DUE
            && let Some((at, index)) = self.timers.first().copied().filter(|(at, _)| *at <= now)
        {
            self.timers.pop_first();
            let entry = &mut self.entries[index as usize];
            entry.deadline = None;
            due.push((at, Token { index, generation: entry.generation }));
        }
        due
    }

    /// What is ready, in a list that is to be given back.
    pub fn poll(&mut self) -> io::Result<Vec<Ready>> {
        let mut ready = std::mem::take(&mut self.ready);
        ready.clear();
        self.poller.poll(&mut ready)?;
        // Readable where reading was not wanted: an end or a reset. Told by the wish at this moment, as it may change
        // before the event has its turn.
        for event in &mut ready {
            let token = Token::from_key(event.token);
            event.hangup |= event.read && self.entry(token).is_some_and(|entry| !entry.interest.read);
        }
        // The system gives them in the same order every time: who was put off comes first now.
        if let Some(first) = self.first.take()
            && let Some(at) = ready.iter().position(|event| event.token == first)
        {
            ready.rotate_left(at);
        }
        self.guesses = 0;
        self.alone = match ready[..] {
            // Nothing: what was likely still is.
            [] => self.alone,
            [event] if self.live == 1 && !matches!(event.token, TIMER | WAKE) => {
                self.streak = self.streak.saturating_add(1);
                Some(Token::from_key(event.token))
            }
            _ => {
                self.streak = self.streak.min(0);
                None
            }
        };
        Ok(ready)
    }

    /// Leaves an event to the next turn. The set is level-triggered, so it comes again by itself; but not where reading
    /// is not wanted, which is told once.
    pub fn put_off(&mut self, event: Ready) {
        self.first.get_or_insert(event.token);
        let token = Token::from_key(event.token);
        let Some(entry) = self.entry(token) else { return };
        if !entry.interest.read {
            let (fd, interest) = (entry.fd, entry.interest);
            // As in `set_interest`.
            let _ = self.poller.modify(fd, event.token, interest);
        }
    }

    /// An event that was taken from the set and not looked at is told again.
    pub fn give_back(&mut self, event: Ready) {
        match event.token {
            TIMER => {
                self.armed = None;
                self.arm();
            }
            WAKE => self.poller.wake(),
            _ => self.put_off(event),
        }
    }

    /// The connection that is ready in all likelihood, if no timer is due and the poller was asked lately.
    pub fn guess(&mut self, now: Nanos) -> Option<Token> {
        let token = self.direct().or(self.alone)?;
        if self.live != 1 || self.guesses == MAX_GUESSES || self.armed.is_some_and(|at| at <= now) {
            return None;
        }
        self.entry(token).filter(|entry| entry.interest == Interest { read: true, write: false })?;
        self.guesses += 1;
        self.streak = self.streak.saturating_add(1);
        Some(token)
    }

    /// Sets the timer to the earliest deadline. One that is set too early stays: to look once in vain costs less than a
    /// system call for each deadline that moves.
    pub fn arm(&mut self) {
        let first = self.timers.first().map(|(at, _)| *at);
        let is_early_enough = first.zip(self.armed).is_some_and(|(first, armed)| armed <= first);
        if first != self.armed && !is_early_enough {
            self.armed = first;
            if !self.watching {
                self.asked = first;
                return;
            }
            // It fails only for a bad descriptor, and this one is ours.
            let _ = self.poller.set_timer(first);
        }
    }
}

impl Hub {
    /// Registers a connection's descriptor, strongly; -1 is one whose transport tells by itself what happens.
    pub fn register(slf: &Bound<'_, Self>, conn: &Bound<'_, Conn>, fd: RawFd, interest: Interest) -> PyResult<Token> {
        let this = slf.get();
        let weak = PyWeakrefReference::new(conn)?.unbind();
        let (token, watch, tidies) = {
            let mut state = this.state.borrow_mut();
            let state = &mut *state;
            let index = state.free.pop().unwrap_or_else(|| {
                state.entries.push(Entry::default());
                state.entries.len() as u32 - 1
            });
            let generation = state.entries[index as usize].generation;
            let token = Token { index, generation };
            if fd >= 0
                && let Err(error) = state.poller.add(fd, token.key(), interest)
            {
                state.free.push(index);
                return Err(error.into());
            }
            let entry = &mut state.entries[index as usize];
            *entry = Entry {
                generation,
                fd,
                weak: Some(weak),
                strong: Some(conn.clone().unbind()),
                interest,
                ..Entry::default()
            };
            state.live += 1;
            let watch = (fd >= 0 && !std::mem::replace(&mut state.watching, true)).then(|| state.poller.fd());
            if watch.is_some() {
                // Moments that the loop's own timer was to tell.
                state.armed = None;
                state.arm();
            }
            // It is alone no more.
            let tidies = state.direct().is_some_and(|other| {
                if let Some(entry) = state.entry(other) {
                    let (fd, interest) = (entry.fd, entry.interest);
                    let _ = state.poller.modify(fd, other.key(), interest);
                }
                state.leave_direct(other)
            });
            (token, watch, tidies)
        };
        if tidies {
            Self::tidy(slf);
        }
        if let Some(fd) = watch {
            let outcome = this.event_loop.bind(slf.py()).call_method1("add_reader", (fd, slf.getattr("_on_ready")?));
            if let Err(error) = outcome {
                this.state.borrow_mut().watching = false;
                this.deregister(slf.py(), token);
                return Err(error);
            }
        }
        Ok(token)
    }

    /// Ends a registration, from any thread; the descriptor is still open, and is to be closed only afterwards. True: the hub
    /// has a duplicate of it, until [`Hub::tidy`] or the loop's next turn behind `shutdown(2)`.
    pub fn deregister(&self, py: Python<'_>, token: Token) -> bool {
        let gone = {
            let mut state = self.state.borrow_mut();
            let Some(entry) = state.entry(token) else { return false };
            let entry = std::mem::replace(
                entry,
                Entry { generation: token.generation.wrapping_add(1) & 0x7fff_ffff, ..Entry::default() },
            );
            // A forked child shares the set with its parent: it must not touch it.
            if !self.is_forked() && entry.fd >= 0 {
                state.poller.remove(entry.fd);
            }
            if let Some(deadline) = entry.deadline {
                state.timers.remove(&(deadline, token.index));
            }
            state.free.push(token.index);
            state.live -= 1;
            let doubled = state.leave_direct(token);
            let turn_end = if state.live == 0 { self.turn_end.take() } else { None };
            if state.live == 0 && state.watching && self.depth.get() == 0 && !self.is_forked() {
                // The loop is left in its next turn, on its own thread. A dispatch looks by itself.
                state.poller.wake();
            }
            (entry.strong, entry.weak, turn_end, doubled)
        };
        let (strong, weak, turn_end, doubled) = gone;
        if let Some(turn_end) = turn_end {
            turn_end.drop_ref(py);
        }
        if let Some(strong) = strong {
            strong.drop_ref(py);
        }
        if let Some(weak) = weak {
            weak.drop_ref(py);
        }
        doubled
    }

    /// Watches the connection's descriptor for this. True: there is something to tidy; the loop's next turn does so if
    /// nobody does before.
    pub fn set_interest(&self, token: Token, interest: Interest) -> bool {
        let mut state = self.state.borrow_mut();
        let Some(entry) = state.entry(token) else { return false };
        if entry.interest == interest {
            return false;
        }
        entry.interest = interest;
        let fd = entry.fd;
        if fd < 0 {
            return false;
        }
        // A failure means that somebody closed the descriptor: the next read or write will say so.
        let _ = state.poller.modify(fd, token.key(), interest);
        state.leave_direct(token)
    }

    /// Holds the connection strongly or not.
    pub fn set_strong(&self, py: Python<'_>, token: Token, conn: Option<&Bound<'_, Conn>>) {
        let old = {
            let mut state = self.state.borrow_mut();
            let Some(entry) = state.entry(token) else { return };
            std::mem::replace(&mut entry.strong, conn.map(|conn| conn.clone().unbind()))
        };
        // A slot of a raw type is no frame of PyO3's: there, a plain drop would be put off.
        if let Some(old) = old {
            old.drop_ref(py);
        }
    }

    /// Wants the connection's `on_timer` at this moment. An earlier moment that is set already stays: the connection
    /// will find that nothing is due and set the next one.
    pub fn set_deadline(&self, token: Token, deadline: Option<Nanos>) {
        let Some(deadline) = deadline else { return };
        let mut state = self.state.borrow_mut();
        let Some(entry) = state.entry(token) else { return };
        if entry.deadline.is_some_and(|set| set <= deadline) {
            return;
        }
        let old = entry.deadline.replace(deadline);
        if let Some(old) = old {
            state.timers.remove(&(old, token.index));
        }
        state.timers.insert((deadline, token.index));
        state.arm();
    }
}

impl Token {
    pub fn key(self) -> u64 {
        u64::from(self.generation & 0x7fff_ffff) << 32 | u64::from(self.index)
    }

    pub fn from_key(key: u64) -> Self {
        Self { index: key as u32, generation: (key >> 32) as u32 }
    }
}
