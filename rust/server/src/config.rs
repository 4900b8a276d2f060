//! What a server is told when it starts.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use fastws_core::deflate::Terms;

use crate::step::FaultRule;

/// The configuration of a [`crate::Server`].
#[derive(Debug, Clone)]
pub struct ServerConfig {
    /// The address to listen on; `::` listens for IPv4 too.
    pub host: IpAddr,
    /// The port; 0: a free one.
    pub port: u16,
    /// Speak TLS, with a certificate made for the occasion.
    pub tls: Option<TlsSettings>,
    /// Threads, each with its share of the connections.
    pub threads: usize,
    /// Run the threads on these CPUs, one after the other (Linux only).
    pub cpus: Vec<usize>,
    /// Look for events this long before sleeping: quicker answers for a CPU that is never idle.
    pub spin: Duration,
    /// Subprotocols to choose from: the first that the client asks for.
    pub subprotocols: Vec<String>,
    /// Messages are compressed for clients that offer it, on these terms.
    pub deflate: Option<Terms>,
    /// Headers added to every 101.
    pub headers: Vec<(String, String)>,
    /// Read nothing of a new connection for this long, also no TLS.
    pub accept_delay: Duration,
    /// Faults for connections that do not ask for them.
    pub faults: Vec<FaultRule>,
    /// Keep the frames received.
    pub record: bool,
    /// The largest message taken, bytes.
    pub max_message: usize,
    /// Connections open at a time; more are closed at once.
    pub max_connections: usize,
    /// Reports kept of connections that are over.
    pub max_reports: usize,
    /// The time for TLS, the request, and, once the closing handshake began, for the end.
    pub timeout: Duration,
}

/// The server's side of TLS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsSettings {
    /// Names and addresses in the certificate besides `localhost`, `127.0.0.1` and `::1`.
    pub names: Vec<String>,
    /// Offer session tickets.
    pub tickets: bool,
    /// TLS 1.2 only.
    pub tls12_only: bool,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            host: IpAddr::V4(Ipv4Addr::LOCALHOST),
            port: 0,
            tls: None,
            threads: 1,
            cpus: Vec::new(),
            spin: Duration::ZERO,
            subprotocols: Vec::new(),
            deflate: Some(Terms::default()),
            headers: Vec::new(),
            accept_delay: Duration::ZERO,
            faults: Vec::new(),
            record: false,
            max_message: 64 << 20,
            max_connections: 20_000,
            max_reports: 20_000,
            timeout: Duration::from_secs(10),
        }
    }
}

impl Default for TlsSettings {
    fn default() -> Self {
        Self { names: Vec::new(), tickets: true, tls12_only: false }
    }
}
