//! A stream that encrypts and decrypts between the driver's buffers.

use rustls::client::UnbufferedClientConnection;
use rustls::unbuffered::{ConnectionState, EncodeError, EncryptError, UnbufferedStatus};

use super::notes::{self, Asked};
use super::words;
use crate::buffers;

/// One TLS connection, between buffers that the driver owns.
pub struct TlsStream {
    connection: UnbufferedClientConnection,
    /// The beginning of a record whose rest has not arrived.
    incoming: Vec<u8>,
    outgoing: Outgoing,
    established: bool,
    /// How the receiving half ended, once it has: by `close_notify`, or by an error.
    end: Option<Result<(), String>>,
    notified: bool,
    /// The server asked for a client certificate: with TLS 1.3 it says what it thinks of it when the handshake is over.
    asked: Option<Box<Asked>>,
    /// Messages that were wholly written when all records had left.
    pub left_messages: u64,
    /// The TLS that this one is inside of: a proxy's.
    outer: Option<Box<TlsStream>>,
    /// That one ended, and this one had not.
    cut_off: bool,
    /// It is to a proxy, whose errors are not the server's.
    to_proxy: bool,
}

/// Records to send, in storage of the thread's that is lent while there are some.
#[derive(Default)]
struct Outgoing {
    storage: Vec<u8>,
    written: usize,
    filled: usize,
}

impl TlsStream {
    pub fn new(connection: UnbufferedClientConnection) -> Self {
        Self {
            connection,
            incoming: Vec::new(),
            outgoing: Outgoing::default(),
            established: false,
            end: None,
            notified: false,
            asked: None,
            left_messages: 0,
            outer: None,
            cut_off: false,
            to_proxy: false,
        }
    }

    /// The same inside of an established one.
    pub fn inside(self, outer: Box<Self>) -> Self {
        Self { outer: Some(outer), ..self }
    }

    /// Whether it is inside of another one.
    pub fn has_outer(&self) -> bool {
        self.outer.is_some()
    }

    /// The same, whose errors from here on say that it is to a proxy.
    pub fn naming_proxy(self) -> Self {
        Self { to_proxy: true, ..self }
    }

    /// Whether the TLS handshake is over.
    pub fn is_established(&self) -> bool {
        self.established
    }

    /// How the receiving half ended, if it has: by `close_notify`, or by an error. Bytes behind that are ignored.
    pub fn end(&self) -> Option<&Result<(), String>> {
        self.end.as_ref()
    }

    /// Whether the TLS outside ended, and this one had not.
    pub fn is_cut_off(&self) -> bool {
        self.cut_off
    }

    /// What is to be worked through when `cipher` came: behind the bytes of an incomplete record.
    pub fn behind_incoming(&self, cipher: &[u8]) -> Vec<u8> {
        [&self.incoming, cipher].concat()
    }

    /// Puts the bytes of an incomplete record to the start of `buffer`; the next read goes behind them. Returns how many.
    pub fn put_incoming(&self, buffer: &mut [u8]) -> usize {
        if let Some(outer) = &self.outer {
            return outer.put_incoming(buffer);
        }
        let held = self.incoming.len();
        buffer[..held].copy_from_slice(&self.incoming);
        held
    }

    /// How many bytes may come of a read that were not in it: the beginning of a record that was inside of others.
    pub fn kept(&self) -> usize {
        if self.outer.is_some() { self.incoming.len() } else { 0 }
    }

    /// Works through records, gives what they carry to `take`, one by one, and keeps an incomplete one. See
    /// [`TlsStream::end`] for an end among them.
    pub fn receive(&mut self, cipher: &mut [u8], take: impl FnMut(&[u8])) {
        if self.end.is_some() {
            return;
        }
        let was_established = self.established;
        let outcome = match self.outer.take() {
            None => self.work_through(cipher, take),
            Some(outer) => self.work_through_both(outer, cipher, take),
        };
        self.seal();
        if let Err(error) = outcome {
            self.end = Some(Err(if self.to_proxy { words::to_proxy(&error) } else { error }));
        } else if self.end.is_none() && self.outer.as_ref().is_some_and(|outer| outer.end.is_some()) {
            (self.end, self.cut_off) = (Some(Ok(())), true);
        }
        if !was_established {
            self.asked = self.asked.take().or(notes::take().asked);
        }
    }

    fn work_through_both(
        &mut self,
        mut outer: Box<Self>,
        cipher: &mut [u8],
        take: impl FnMut(&[u8]),
    ) -> Result<(), String> {
        let mut records = std::mem::take(&mut self.incoming);
        let unwrapped = outer.work_through(cipher, |payload| records.extend_from_slice(payload));
        self.outer = Some(outer);
        let unwrapped = unwrapped.map_err(|error| words::to_proxy(&error));
        self.work_through(&mut records, take).and(unwrapped)
    }

    /// What is to be sent goes into records of the TLS outside, if there is one.
    fn seal(&mut self) {
        let Some(outer) = &mut self.outer else { return };
        let out = &mut self.outgoing;
        if out.written == out.filled {
            return;
        }
        if let Err(error) = outer.send(&out.storage[out.written..out.filled]) {
            self.end.get_or_insert(Err(words::to_proxy(&error)));
        }
        (out.written, out.filled) = (0, 0);
        buffers::give_records(std::mem::take(&mut out.storage));
    }

    /// What the error says, with what was noted on the way to it.
    #[cold]
    fn explained(&mut self, error: &rustls::Error) -> String {
        let noted = notes::take();
        self.asked = self.asked.take().or(noted.asked);
        noted.refused.unwrap_or_else(|| words::failed(error, self.asked.as_deref()))
    }

    fn work_through(&mut self, cipher: &mut [u8], mut take: impl FnMut(&[u8])) -> Result<(), String> {
        let mut at = 0;
        loop {
            let UnbufferedStatus { mut discard, state } = self.connection.process_tls_records(&mut cipher[at..]);
            let mut more = true;
            match state {
                Err(error) => {
                    // What the peer is to be told is asked for with the same bytes, as rustls wants it.
                    self.collect_alert(&mut cipher[at + discard..]);
                    return Err(self.explained(&error));
                }
                Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                    while let Some(record) = traffic.next_record() {
                        let record = record.map_err(|e| e.to_string())?;
                        discard += record.discard;
                        take(record.payload);
                    }
                }
                Ok(ConnectionState::EncodeTlsData(mut encode)) => {
                    self.outgoing.append(false, |out| match encode.encode(out) {
                        Ok(n) => Ok(Ok(n)),
                        Err(EncodeError::InsufficientSize(size)) => Ok(Err(size.required_size)),
                        Err(error) => Err(error.to_string()),
                    })?;
                }
                Ok(ConnectionState::TransmitTlsData(transmit)) => transmit.done(),
                Ok(ConnectionState::WriteTraffic(_)) => {
                    self.established = true;
                    more = false;
                }
                Ok(ConnectionState::PeerClosed) => {
                    self.end = Some(Ok(()));
                    more = false;
                }
                Ok(_) => more = false,
            }
            at += discard;
            if !more {
                self.incoming.clear();
                self.incoming.extend_from_slice(&cipher[at..]);
                return Ok(());
            }
        }
    }

    /// The alert that tells the peer why, if rustls has one.
    fn collect_alert(&mut self, rest: &mut [u8]) {
        let UnbufferedStatus { state, .. } = self.connection.process_tls_records(rest);
        if let Ok(ConnectionState::EncodeTlsData(mut encode)) = state {
            // Best effort: the connection is over either way.
            let _ = self.outgoing.append(false, |out| match encode.encode(out) {
                Ok(n) => Ok(Ok(n)),
                Err(EncodeError::InsufficientSize(size)) => Ok(Err(size.required_size)),
                Err(error) => Err(error.to_string()),
            });
        }
    }

    /// Lets the handshake go on without input: its first message, or an alert.
    pub fn pump(&mut self) -> Result<(), String> {
        let mut incoming = std::mem::take(&mut self.incoming);
        let outcome = self.work_through(&mut incoming, |_| {});
        self.seal();
        outcome
    }

    /// Encrypts what is to be sent.
    pub fn send(&mut self, plain: &[u8]) -> Result<(), String> {
        let UnbufferedStatus { state, .. } = self.connection.process_tls_records(&mut []);
        match state.map_err(|e| e.to_string())? {
            ConnectionState::WriteTraffic(mut traffic) => {
                self.outgoing.append(true, |out| match traffic.encrypt(plain, out) {
                    Ok(n) => Ok(Ok(n)),
                    Err(EncryptError::InsufficientSize(size)) => Ok(Err(size.required_size)),
                    Err(error) => Err(error.to_string()),
                })?;
            }
            _ => return Err("TLS takes no data in this state".to_owned()),
        }
        self.seal();
        Ok(())
    }

    /// Says that nothing more will be sent.
    pub fn notify_close(&mut self) -> Result<(), String> {
        if self.notified || !self.established {
            return Ok(());
        }
        self.notified = true;
        let UnbufferedStatus { state, .. } = self.connection.process_tls_records(&mut []);
        if let ConnectionState::WriteTraffic(mut traffic) = state.map_err(|e| e.to_string())? {
            self.outgoing.append(false, |out| match traffic.queue_close_notify(out) {
                Ok(n) => Ok(Ok(n)),
                Err(EncryptError::InsufficientSize(size)) => Ok(Err(size.required_size)),
                Err(error) => Err(error.to_string()),
            })?;
        }
        self.seal();
        self.outer.as_mut().map_or(Ok(()), |outer| outer.notify_close())
    }

    /// Records to send.
    #[inline]
    pub fn output(&self) -> &[u8] {
        if let Some(outer) = &self.outer {
            return outer.output();
        }
        &self.outgoing.storage[self.outgoing.written..self.outgoing.filled]
    }

    /// Takes note that some were sent.
    #[inline]
    pub fn wrote(&mut self, count: usize) {
        if let Some(outer) = &mut self.outer {
            return outer.wrote(count);
        }
        let out = &mut self.outgoing;
        out.written += count;
        if out.written == out.filled {
            (out.written, out.filled) = (0, 0);
            buffers::give_records(std::mem::take(&mut out.storage));
        }
    }

    /// Gives memory back: the connection has nothing to do.
    pub fn rest(&mut self) {
        if self.incoming.is_empty() {
            self.incoming = Vec::new();
        }
        if let Some(outer) = &mut self.outer {
            outer.rest();
        }
    }
}

impl Outgoing {
    /// Appends what `write` writes into the room that is there, or that it says it needs. What is `large` gets storage of
    /// the thread's: a handshake does not, since many may be under way.
    fn append(
        &mut self,
        large: bool,
        mut write: impl FnMut(&mut [u8]) -> Result<Result<usize, usize>, String>,
    ) -> Result<(), String> {
        if large && self.storage.is_empty() {
            self.storage = buffers::take_records();
        }
        loop {
            let room = self.storage.len() - self.filled;
            match write(&mut self.storage[self.filled..])? {
                Ok(used) => {
                    self.filled += used;
                    return Ok(());
                }
                Err(needed) if needed > room => self.storage.resize(self.filled + needed, 0),
                Err(needed) => return Err(format!("TLS asked for {needed} bytes and refused {room}")),
            }
        }
    }
}
