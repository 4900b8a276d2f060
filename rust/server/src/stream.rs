//! The bytes of one connection: TCP, or TLS over it; with a tap that can be turned down to a drip.

use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::net::Shutdown;
#[cfg(target_os = "linux")]
use std::os::fd::AsRawFd;
use std::time::Duration;

use fastws_core::connection::StreamEnd;
use fastws_core::{Broken, Nanos};
use mio::net::TcpStream;
use rustls::HandshakeKind;
use socket2::SockRef;

/// A non-blocking stream, and what is known of its readiness (events come once per change).
pub(crate) struct Stream {
    pub(crate) socket: TcpStream,
    tls: Option<Box<Tls>>,
    drip: Option<Drip>,
    pub(crate) readable: bool,
    writable: bool,
    /// The kernel told that the peer's sending half is over: a short read is not the last one.
    pub(crate) ending: bool,
}

struct Tls {
    connection: rustls::ServerConnection,
    /// `close_notify` came.
    ended: bool,
    counted: bool,
}

struct Drip {
    chunk: usize,
    delay: Nanos,
    next: Nanos,
}

/// Where a read is done: `plain` takes all that `cipher` can hold, and a record that was incomplete.
pub(crate) struct Scratch {
    pub(crate) plain: Vec<u8>,
    cipher: Vec<u8>,
    /// Storage for what the connection whose turn it is sends.
    pub(crate) spare: Vec<u8>,
}

/// What a read gave.
pub(crate) enum Received {
    /// This many bytes, at the start of `plain`.
    Bytes(usize),
    Nothing,
    End(StreamEnd),
    Reset,
}

impl Scratch {
    pub(crate) fn new(tls: bool) -> Self {
        // A TLS record may be 16 KiB and some; rustls keeps up to 64 KiB of an incomplete handshake message.
        let cipher = if tls { vec![0; READ] } else { Vec::new() };
        Self { plain: vec![0; READ + (128 << 10)], cipher, spare: Vec::new() }
    }
}

impl Stream {
    pub(crate) fn new(socket: TcpStream, tls: Option<rustls::ServerConnection>) -> Self {
        let tls = tls.map(|mut connection| {
            connection.set_buffer_limit(Some(READ));
            Box::new(Tls { connection, ended: false, counted: false })
        });
        Self { socket, tls, drip: None, readable: true, writable: true, ending: false }
    }

    /// Takes note of an event.
    pub(crate) fn on_event(&mut self, event: &mio::event::Event) {
        self.readable |= event.is_readable() || event.is_read_closed() || event.is_error();
        self.writable |= event.is_writable() || event.is_write_closed() || event.is_error();
        self.ending |= event.is_read_closed() || event.is_error();
    }

    /// Reads once.
    #[inline]
    pub(crate) fn read(&mut self, scratch: &mut Scratch, now: Nanos) -> Received {
        if self.tls.as_ref().is_some_and(|tls| tls.ended) {
            return Received::End(StreamEnd::Clean);
        }
        let (room, plain) = match &self.tls {
            None => (&mut scratch.plain[..READ], None),
            Some(_) => (&mut scratch.cipher[..], Some(&mut scratch.plain[..])),
        };
        let asked = room.len();
        let count = match self.socket.read(room) {
            Ok(0) => {
                self.readable = false;
                return Received::End(if plain.is_none() { StreamEnd::Clean } else { StreamEnd::Truncated });
            }
            Ok(count) => count,
            Err(e) if e.kind() == ErrorKind::Interrupted => return Received::Bytes(0),
            Err(e) if e.kind() == ErrorKind::WouldBlock => {
                self.readable = false;
                return Received::Nothing;
            }
            Err(e) if e.kind() == ErrorKind::ConnectionReset => return Received::Reset,
            Err(e) => return Received::End(StreamEnd::Error(Broken { text: e.to_string(), number: e.raw_os_error() })),
        };
        self.was_read(count, asked);
        let Some(plain) = plain else { return Received::Bytes(count) };
        self.decrypt(&scratch.cipher[..count], plain, now)
    }

    /// Takes note of a read. epoll(7): on a stream a short one means that it is drained.
    #[inline]
    pub(crate) fn was_read(&mut self, count: usize, asked: usize) {
        if SHORT_IS_DRAINED && count < asked && !self.ending {
            self.readable = false;
        }
    }

    pub(crate) fn is_tls(&self) -> bool {
        self.tls.is_some()
    }

    fn decrypt(&mut self, mut cipher: &[u8], plain: &mut [u8], now: Nanos) -> Received {
        let Some(tls) = &mut self.tls else { return Received::Nothing };
        let mut filled = 0;
        let failed = |e: &dyn std::fmt::Display| {
            Received::End(StreamEnd::Error(Broken { text: format!("TLS: {e}"), number: None }))
        };
        while !cipher.is_empty() && !tls.ended {
            if let Err(e) = tls.connection.read_tls(&mut cipher) {
                return failed(&e);
            }
            let state = match tls.connection.process_new_packets() {
                Ok(state) => state,
                Err(e) => {
                    // The alert that tells the client.
                    let _ = self.flush(now);
                    return failed(&e);
                }
            };
            let mut left = state.plaintext_bytes_to_read();
            while left > 0 {
                match tls.connection.reader().read(&mut plain[filled..]) {
                    Ok(count @ 1..) => {
                        filled += count;
                        left -= count.min(left);
                    }
                    _ => break,
                }
            }
            tls.ended = state.peer_has_closed();
        }
        if tls.ended {
            self.readable = true;
        }
        let _ = self.flush(now);
        Received::Bytes(filled)
    }

    /// Whether a TLS handshake was completed since this was asked last, and if so whether it resumed a session.
    pub(crate) fn take_handshake(&mut self) -> Option<bool> {
        let tls = self.tls.as_mut().filter(|tls| !tls.counted && !tls.connection.is_handshaking())?;
        tls.counted = true;
        Some(tls.connection.handshake_kind() == Some(HandshakeKind::Resumed))
    }

    /// Writes what the stream takes of this; 0: nothing now.
    #[inline]
    pub(crate) fn write(&mut self, slices: &[IoSlice<'_>], now: Nanos) -> io::Result<usize> {
        if self.tls.is_none() {
            return blocked_is_zero(self.write_socket(slices, now));
        }
        self.flush(now)?;
        let Some(tls) = self.tls.as_mut().filter(|tls| !tls.connection.wants_write()) else { return Ok(0) };
        let count = tls.connection.writer().write_vectored(slices)?;
        self.flush(now)?;
        Ok(count)
    }

    /// Writes what TLS holds; whether nothing is left.
    pub(crate) fn flush(&mut self, now: Nanos) -> io::Result<bool> {
        let Some(mut tls) = self.tls.take() else { return Ok(true) };
        let mut outcome = Ok(0);
        while outcome.is_ok() && tls.connection.wants_write() {
            outcome = tls.connection.write_tls(&mut Wire { stream: self, now });
        }
        let flushed = !tls.connection.wants_write();
        self.tls = Some(tls);
        blocked_is_zero(outcome).map(|_| flushed)
    }

    /// Whether TLS holds nothing that is to be written.
    #[inline]
    pub(crate) fn is_flushed(&self) -> bool {
        self.tls.as_ref().is_none_or(|tls| !tls.connection.wants_write())
    }

    fn write_socket(&mut self, slices: &[IoSlice<'_>], now: Nanos) -> io::Result<usize> {
        if !self.may_write(now) {
            return Err(ErrorKind::WouldBlock.into());
        }
        let result = match &mut self.drip {
            None => self.socket.write_vectored(slices),
            Some(drip) => {
                let Some(first) = slices.iter().find(|slice| !slice.is_empty()) else { return Ok(0) };
                drip.next = now.saturating_add(drip.delay);
                self.socket.write(&first[..first.len().min(drip.chunk)])
            }
        };
        match &result {
            Err(e) if e.kind() == ErrorKind::WouldBlock => self.writable = false,
            Err(e) if e.kind() == ErrorKind::Interrupted => return self.write_socket(slices, now),
            _ => {}
        }
        result
    }

    /// Whether the stream may take bytes now.
    #[inline]
    pub(crate) fn may_write(&self, now: Nanos) -> bool {
        self.writable && self.drip.as_ref().is_none_or(|drip| drip.next <= now)
    }

    /// When the drip lets the next bytes through.
    pub(crate) fn drip_deadline(&self) -> Option<Nanos> {
        self.drip.as_ref().filter(|_| self.writable).map(|drip| drip.next)
    }

    pub(crate) fn set_drip(&mut self, chunk: usize, delay: Nanos) {
        self.drip = Some(Drip { chunk: chunk.max(1), delay: delay.max(1), next: 0 });
    }

    /// Says `close_notify`.
    pub(crate) fn notify(&mut self) {
        if let Some(tls) = &mut self.tls {
            tls.connection.send_close_notify();
        }
    }

    /// Ends the sending half.
    pub(crate) fn shut_down(&mut self) {
        // An error means that it is over already.
        let _ = self.socket.shutdown(Shutdown::Write);
    }

    /// Whether the kernel holds bytes that it has not sent even once.
    #[cfg(target_os = "linux")]
    pub(crate) fn has_unsent(&self) -> bool {
        let mut unsent: libc::c_int = 0;
        // SAFETY: SIOCOUTQNSD writes one int, here to `unsent`; the descriptor is open as long as the socket lives.
        let done = unsafe { libc::ioctl(self.socket.as_raw_fd(), SIOCOUTQNSD, &raw mut unsent) };
        done == 0 && unsent > 0
    }

    /// Whether the kernel holds bytes that it has not sent even once; here it does not say.
    #[cfg(not(target_os = "linux"))]
    pub(crate) fn has_unsent(&self) -> bool {
        false
    }

    /// Makes the close of the socket a reset.
    pub(crate) fn reset_on_close(&mut self) {
        let _ = SockRef::from(&self.socket).set_linger(Some(Duration::ZERO));
    }
}

/// The socket, as rustls sees it.
struct Wire<'a> {
    stream: &'a mut Stream,
    now: Nanos,
}

impl Write for Wire<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.stream.write_socket(&[IoSlice::new(bytes)], self.now)
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        self.stream.write_socket(slices, self.now)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn blocked_is_zero(result: io::Result<usize>) -> io::Result<usize> {
    match result {
        Err(e) if e.kind() == ErrorKind::WouldBlock => Ok(0),
        other => other,
    }
}

/// One recv(2) takes this much.
const READ: usize = 256 << 10;

const SHORT_IS_DRAINED: bool = cfg!(any(target_os = "linux", target_os = "android"));

/// `linux/sockios.h`.
#[cfg(target_os = "linux")]
const SIOCOUTQNSD: libc::Ioctl = 0x894B;
