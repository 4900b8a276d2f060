//! The server: its threads, and what its owner can say to it and ask of it.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use fastws_core::Nanos;
use mio::net::TcpListener;
use socket2::{Domain, Protocol, Socket, Type};

use crate::config::ServerConfig;
use crate::feed::{Feed, FeedError, FeedMessage};
use crate::report::{ConnectionReport, ServerStats};
use crate::shard::{Handle, Shard};
use crate::shared::Shared;
use crate::step::Step;
use crate::tls;
use crate::venue::{Venue, VenueConfig};

/// A running server. Dropping it stops it.
pub struct Server {
    shared: Arc<Shared>,
    shards: Vec<Handle>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    addr: SocketAddr,
    ca_pem: Option<String>,
    /// A forked child has this value, but not the threads.
    process: u32,
}

impl Server {
    /// Binds and starts the threads. When this returns, clients can connect.
    ///
    /// # Errors
    /// Where the address cannot be bound, a certificate not made, or a thread not started.
    pub fn start(config: ServerConfig) -> io::Result<Self> {
        let (tls, ca_pem) = match &config.tls {
            Some(settings) => tls::make(settings).map(|(tls, pem)| (Some(tls), Some(pem)))?,
            None => (None, None),
        };
        let listener = listen(SocketAddr::new(config.host, config.port))?;
        let addr = listener.local_addr()?;
        let (count, cpus) = (config.threads.clamp(1, MAX_THREADS), config.cpus.clone());
        let shared = Arc::new(Shared::new(config, tls));
        let mut shards = (0..count).map(|_| Shard::new(Arc::clone(&shared))).collect::<io::Result<Vec<_>>>()?;
        let handles: Vec<Handle> = shards.iter().map(Shard::handle).collect();
        shards[0].take_door(listener, handles.clone())?;
        let server =
            Self { shared, shards: handles, threads: Mutex::default(), addr, ca_pem, process: std::process::id() };
        for (number, shard) in shards.into_iter().enumerate() {
            let cpu = (!cpus.is_empty()).then(|| cpus[number % cpus.len()]);
            let run = move || {
                pin(cpu);
                shard.run();
            };
            let thread = std::thread::Builder::new().name(format!("fastws-server-{number}")).spawn(run)?;
            server.threads.lock().unwrap_or_else(PoisonError::into_inner).push(thread);
        }
        Ok(server)
    }

    /// The address that it listens on.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The port that it listens on.
    pub fn port(&self) -> u16 {
        self.addr.port()
    }

    /// The URL of a target (path and query) on this server.
    pub fn url(&self, target: &str) -> String {
        let scheme = if self.ca_pem.is_some() { "wss" } else { "ws" };
        let host = match self.addr.ip() {
            ip if !ip.is_unspecified() => ip,
            IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::LOCALHOST),
            IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::LOCALHOST),
        };
        let slash = if target.starts_with('/') { "" } else { "/" };
        format!("{scheme}://{}{slash}{target}", SocketAddr::new(host, self.port()))
    }

    /// The certificate to trust, in PEM; none without TLS.
    pub fn ca_pem(&self) -> Option<&str> {
        self.ca_pem.as_deref()
    }

    /// Whether it speaks TLS.
    pub fn is_tls(&self) -> bool {
        self.ca_pem.is_some()
    }

    /// Stops: open connections get a Close 1001 as far as they take it at once, and are closed; the threads end. Bounded,
    /// since no thread ever waits for a client. Calling it again does nothing.
    pub fn stop(&self) {
        if self.process != std::process::id() {
            return;
        }
        self.shared.stopping.store(true, Ordering::Release);
        for shard in &self.shards {
            shard.wake();
        }
        let threads = std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        for thread in threads {
            // It caught its panics, and has nothing to tell.
            let _ = thread.join();
        }
    }

    /// Counters of everything so far.
    pub fn stats(&self) -> ServerStats {
        self.shared.counters.read()
    }

    /// The reports of the connections, oldest first: all that are open, and the latest of those that are over.
    pub fn connections(&self) -> Vec<ConnectionReport> {
        self.shared.logs.reports()
    }

    /// The report of one connection.
    pub fn connection(&self, id: u64) -> Option<ConnectionReport> {
        self.shared.logs.report(id)
    }

    /// Waits until `done` says so, asking it whenever something happened; false: the time was over.
    pub fn wait_for(&self, timeout: Duration, mut done: impl FnMut(&Self) -> bool) -> bool {
        self.shared.watch.wait(timeout, || done(self))
    }

    /// Registers a feed, for `/replay/NAME`; one of that name is replaced.
    pub fn register_feed(&self, name: impl Into<String>, messages: &[FeedMessage]) {
        self.add_feed(name, Feed::new(messages));
    }

    /// Registers a feed with all that belongs to it.
    pub fn add_feed(&self, name: impl Into<String>, feed: Feed) {
        self.shared.add_feed(name.into(), feed);
    }

    /// Reads a recording and registers it under the file's name up to the first dot, which is returned.
    ///
    /// # Errors
    /// Names the file, the line and what is wrong with it.
    pub fn load_feed(&self, path: impl AsRef<Path>) -> Result<String, FeedError> {
        let path = path.as_ref();
        let feed = Feed::load(path)?;
        let file = path.file_name().unwrap_or_default().to_string_lossy();
        let name = file.split('.').next().unwrap_or_default().to_owned();
        self.add_feed(name.clone(), feed);
        Ok(name)
    }

    /// A registered feed.
    pub fn feed(&self, name: &str) -> Option<Arc<Feed>> {
        self.shared.feed(name)
    }

    /// The names of the registered feeds.
    pub fn feed_names(&self) -> Vec<String> {
        self.shared.feed_names()
    }

    /// When message 0 of the last replay of this feed was due (`CLOCK_MONOTONIC`, nanoseconds); none: it was not played.
    pub fn replay_started_ns(&self, name: &str) -> Option<Nanos> {
        self.feed(name)?.started()
    }

    /// When each message of the last replay with `stamps=1` was given to the kernel.
    pub fn replay_sent_ns(&self, name: &str) -> Vec<Nanos> {
        self.feed(name).map(|feed| feed.stamps()).unwrap_or_default()
    }

    /// Gives requests for this path a program: the next `times` of them, or all. Programs for one path take turns in the
    /// order in which they were given; after them the path means what it means without.
    pub fn script(&self, path: impl Into<String>, steps: Vec<Step>, times: Option<u64>) {
        self.shared.add_script(path.into(), steps, times);
    }

    /// Forgets all programs given by [`Server::script`].
    pub fn clear_scripts(&self) {
        self.shared.clear_scripts();
    }

    /// Makes a path a venue, which is returned; one that was there is replaced, for connections to come.
    pub fn add_venue(&self, path: impl Into<String>, config: VenueConfig) -> Arc<Venue> {
        let shards = self.shards.clone();
        let wake = Box::new(move || shards.iter().for_each(|shard| shard.inject(None, Vec::new())));
        let venue = Arc::new(Venue::new(config, self.shared.config.max_reports, wake));
        self.shared.add_venue(path.into(), Arc::clone(&venue));
        venue
    }

    /// Gives steps to one open connection, or to all: they come before what is left of its program. Faults in front
    /// happen at once, whatever is being sent; the rest begins at the end of a frame.
    pub fn inject(&self, id: Option<u64>, steps: &[Step]) {
        for shard in &self.shards {
            shard.inject(id, steps.to_vec());
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}

fn listen(addr: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    if addr.is_ipv6() {
        socket.set_only_v6(!addr.ip().is_unspecified())?;
    }
    // Elsewhere this would let two servers share a port.
    #[cfg(unix)]
    socket.set_reuse_address(true)?;
    socket.bind(&addr.into())?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(TcpListener::from_std(socket.into()))
}

#[cfg(target_os = "linux")]
fn pin(cpu: Option<usize>) {
    if let Some(cpu) = cpu.filter(|&cpu| cpu < rustix::thread::CpuSet::MAX_CPU) {
        let mut set = rustix::thread::CpuSet::new();
        set.set(cpu);
        // A CPU that is not there: then the thread runs anywhere.
        let _ = rustix::thread::sched_setaffinity(None, &set);
    }
}

#[cfg(not(target_os = "linux"))]
fn pin(_cpu: Option<usize>) {}

const MAX_THREADS: usize = 256;

/// The kernel cuts it to its own limit.
const BACKLOG: i32 = 4096;
