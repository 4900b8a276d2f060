//! One thread of a server: a poll, and the connections whose turns it runs, each in its time.

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, Sender};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use fastws_core::Nanos;
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token, Waker};
use slab::Slab;

use crate::alarm::Alarm;
use crate::clock;
use crate::conn::{Conn, Turn};
use crate::report::ConnLog;
use crate::shared::Shared;
use crate::step::Step;
use crate::stream::{Scratch, Stream};

/// How others reach a shard.
#[derive(Clone)]
pub(crate) struct Handle {
    commands: Sender<Command>,
    waker: Arc<Waker>,
}

/// What others want of a shard.
enum Command {
    Adopt(TcpStream, SocketAddr, u64),
    /// Steps for one connection, or for all.
    Inject(Option<u64>, Vec<Step>),
}

impl Handle {
    pub(crate) fn wake(&self) {
        // It fails only where the poll is gone, and its thread with it.
        let _ = self.waker.wake();
    }

    pub(crate) fn inject(&self, id: Option<u64>, steps: Vec<Step>) {
        self.send(Command::Inject(id, steps));
    }

    fn send(&self, command: Command) {
        if self.commands.send(command).is_ok() {
            self.wake();
        }
    }
}

/// A thread's state.
pub(crate) struct Shard {
    shared: Arc<Shared>,
    poll: Poll,
    alarm: Alarm,
    commands: Receiver<Command>,
    handle: Handle,
    conns: Slab<Slot>,
    ids: HashMap<u64, usize>,
    timers: BTreeSet<(Nanos, usize)>,
    /// Connections that are to have a turn.
    ready: Vec<usize>,
    scratch: Scratch,
    door: Option<Door>,
}

struct Slot {
    conn: Conn,
    deadline: Option<Nanos>,
    is_ready: bool,
}

/// Where connections come in; one shard has it and deals them out.
struct Door {
    listener: TcpListener,
    shards: Vec<Handle>,
    next_id: u64,
    /// More may be waiting.
    open: bool,
    /// The system had no descriptor left: tried again then.
    retry: Option<Nanos>,
}

impl Shard {
    pub(crate) fn new(shared: Arc<Shared>) -> io::Result<Self> {
        let poll = Poll::new()?;
        let alarm = Alarm::new(poll.registry(), ALARM)?;
        let waker = Arc::new(Waker::new(poll.registry(), WAKER)?);
        let (sender, commands) = mpsc::channel();
        Ok(Self {
            scratch: Scratch::new(shared.tls.is_some()),
            shared,
            poll,
            alarm,
            commands,
            handle: Handle { commands: sender, waker },
            conns: Slab::new(),
            ids: HashMap::new(),
            timers: BTreeSet::new(),
            ready: Vec::new(),
            door: None,
        })
    }

    pub(crate) fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Gives this shard the listener; `shards` are those that share the connections.
    pub(crate) fn take_door(&mut self, mut listener: TcpListener, shards: Vec<Handle>) -> io::Result<()> {
        self.poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
        self.door = Some(Door { listener, shards, next_id: 1, open: true, retry: None });
        Ok(())
    }

    /// Runs until the server stops.
    pub(crate) fn run(mut self) {
        let spin = clock::nanos(self.shared.config.spin);
        let mut events = Events::with_capacity(1024);
        let mut active_at = clock::now();
        while !self.shared.stopping.load(Ordering::Acquire) {
            let timeout = self.timeout(active_at.saturating_add(spin));
            if let Err(error) = self.poll.poll(&mut events, timeout)
                && error.kind() != io::ErrorKind::Interrupted
            {
                break;
            }
            for event in &events {
                match event.token() {
                    ALARM | WAKER => {}
                    LISTENER => self.door.iter_mut().for_each(|door| door.open = true),
                    Token(key) => self.on_event(key, event),
                }
            }
            let now = clock::now();
            if !events.is_empty() {
                active_at = now;
            }
            self.obey(now);
            self.accept(now);
            self.wake_due(now);
            for key in std::mem::take(&mut self.ready) {
                self.turn(key);
            }
            self.shared.watch.touch();
        }
        self.stop();
    }

    fn timeout(&mut self, spin_until: Nanos) -> Option<Duration> {
        if !self.ready.is_empty() || self.door.as_ref().is_some_and(|door| door.open && door.retry.is_none()) {
            return Some(Duration::ZERO);
        }
        let retry = self.door.as_ref().and_then(|door| door.retry);
        let next = self.timers.first().map(|(at, _)| *at).into_iter().chain(retry).min();
        if next.is_none() && self.shared.config.spin.is_zero() {
            return self.alarm.set(None, 0);
        }
        let now = clock::now();
        if now < spin_until {
            return Some(Duration::ZERO);
        }
        self.alarm.set(next, now)
    }

    fn on_event(&mut self, key: usize, event: &mio::event::Event) {
        // It may be gone since, or another with the same key: then this is an event too many, which does no harm.
        if let Some(slot) = self.conns.get_mut(key) {
            slot.conn.stream.on_event(event);
            self.make_ready(key);
        }
    }

    fn make_ready(&mut self, key: usize) {
        if let Some(slot) = self.conns.get_mut(key).filter(|slot| !slot.is_ready) {
            slot.is_ready = true;
            self.ready.push(key);
        }
    }

    fn wake_due(&mut self, now: Nanos) {
        while let Some(&(at, key)) = self.timers.first() {
            if at > now {
                break;
            }
            self.timers.pop_first();
            if let Some(slot) = self.conns.get_mut(key) {
                slot.deadline = None;
            }
            self.make_ready(key);
        }
    }

    fn obey(&mut self, now: Nanos) {
        while let Ok(command) = self.commands.try_recv() {
            match command {
                Command::Adopt(socket, peer, id) => self.adopt(socket, peer, id, now),
                Command::Inject(Some(id), steps) => {
                    if let Some(&key) = self.ids.get(&id) {
                        self.inject(key, steps, now);
                    }
                }
                Command::Inject(None, steps) => {
                    let keys: Vec<usize> = self.conns.iter().map(|(key, _)| key).collect();
                    for key in keys {
                        self.inject(key, steps.clone(), now);
                    }
                }
            }
        }
    }

    fn inject(&mut self, key: usize, steps: Vec<Step>, now: Nanos) {
        if let Some(slot) = self.conns.get_mut(key) {
            slot.conn.inject(steps, now);
            self.make_ready(key);
        }
    }

    /// Lets in who waits at the door, a bounded number a turn.
    fn accept(&mut self, now: Nanos) {
        for _ in 0..ACCEPTED_A_TURN {
            let Some(door) = self.door.as_mut().filter(|door| door.open) else { return };
            if door.retry.is_some_and(|at| at > now) {
                return;
            }
            door.retry = None;
            match door.listener.accept() {
                Ok((socket, peer)) => {
                    let counters = &self.shared.counters;
                    if counters.open.load(Ordering::Relaxed) >= self.shared.config.max_connections as u64 {
                        counters.turned_away.fetch_add(1, Ordering::Relaxed);
                        continue;
                    }
                    let id = door.next_id;
                    door.next_id += 1;
                    let shard = ((id - 1) % door.shards.len() as u64) as usize;
                    if shard == 0 {
                        self.adopt(socket, peer, id, now);
                    } else {
                        door.shards[shard].send(Command::Adopt(socket, peer, id));
                    }
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => door.open = false,
                Err(e) if matches!(e.kind(), io::ErrorKind::Interrupted | io::ErrorKind::ConnectionAborted) => {}
                Err(_) => {
                    self.shared.counters.turned_away.fetch_add(1, Ordering::Relaxed);
                    door.retry = Some(now.saturating_add(ACCEPT_RETRY));
                    return;
                }
            }
        }
    }

    fn adopt(&mut self, socket: TcpStream, peer: SocketAddr, id: u64, now: Nanos) {
        let _ = socket.set_nodelay(true);
        let tls = match &self.shared.tls {
            None => None,
            Some(config) => match rustls::ServerConnection::new(Arc::clone(config)) {
                Ok(tls) => Some(tls),
                Err(_) => return,
            },
        };
        let entry = self.conns.vacant_entry();
        let key = entry.key();
        let mut stream = Stream::new(socket, tls);
        let interest = Interest::READABLE | Interest::WRITABLE;
        if self.poll.registry().register(&mut stream.socket, Token(key), interest).is_err() {
            self.shared.counters.turned_away.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let log = ConnLog::new(id, peer, &self.shared.counters);
        self.shared.logs.add(Arc::clone(&log), self.shared.config.max_reports);
        let conn = Conn::new(stream, Arc::clone(&self.shared), log, now);
        entry.insert(Slot { conn, deadline: None, is_ready: false });
        self.ids.insert(id, key);
        self.make_ready(key);
    }

    fn turn(&mut self, key: usize) {
        let Some(slot) = self.conns.get_mut(key) else { return };
        slot.is_ready = false;
        let now = clock::now();
        // A test peer reports its own faults; one connection's must not end the others.
        let turn = catch_unwind(AssertUnwindSafe(|| slot.conn.turn(now, &mut self.scratch))).unwrap_or_else(|_| {
            slot.conn.log.error("the server's code panicked: a bug of fastws");
            Turn::Gone
        });
        let deadline = match turn {
            Turn::Sleep(deadline) => deadline,
            Turn::Again => {
                self.make_ready(key);
                return;
            }
            Turn::Gone => {
                self.forget(key);
                return;
            }
        };
        if slot.deadline != deadline {
            if let Some(old) = slot.deadline {
                self.timers.remove(&(old, key));
            }
            if let Some(new) = deadline {
                self.timers.insert((new, key));
            }
            slot.deadline = deadline;
        }
    }

    fn forget(&mut self, key: usize) {
        let mut slot = self.conns.remove(key);
        if let Some(old) = slot.deadline {
            self.timers.remove(&(old, key));
        }
        let _ = self.poll.registry().deregister(&mut slot.conn.stream.socket);
        self.ids.remove(&slot.conn.log.id);
        let log = Arc::clone(&slot.conn.log);
        // What is seen as over is over.
        drop(slot);
        log.ended();
    }

    fn stop(mut self) {
        let now = clock::now();
        let keys: Vec<usize> = self.conns.iter().map(|(key, _)| key).collect();
        for key in keys {
            if let Some(slot) = self.conns.get_mut(key) {
                let _ = catch_unwind(AssertUnwindSafe(|| slot.conn.say_goodbye(now)));
            }
            self.forget(key);
        }
        self.shared.watch.touch();
    }
}

const LISTENER: Token = Token(usize::MAX);
const WAKER: Token = Token(usize::MAX - 1);
const ALARM: Token = Token(usize::MAX - 2);

const ACCEPTED_A_TURN: usize = 64;

/// Descriptors come back when connections end.
const ACCEPT_RETRY: Nanos = 10_000_000;
