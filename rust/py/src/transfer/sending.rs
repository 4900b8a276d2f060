//! From the caller to the kernel: what is queued, and how it is written, plain or by TLS.

use std::io;

use fastws_core::{Connection, Misuse, Opcode};

use crate::buffers;
use crate::conn::Inner;
use crate::driver::Phase;
use crate::extras::send;
use crate::landing::Landing;
use crate::syscall::send_two;
use crate::tap::{self, Way};
use crate::tls::Tls;

use super::broken;

/// Where a fragment stands in its message.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fragment {
    /// It is the first, as its sender says; false leaves that to the core.
    pub begins: bool,
    /// It is the last.
    pub fin: bool,
}

/// Plaintext given to TLS at once: four records.
pub(crate) const TLS_CHUNK: usize = 64 << 10;

impl Inner {
    /// Queues a message.
    #[inline]
    pub(crate) fn accept(&mut self, opcode: Opcode, payload: &[u8], compress: Option<bool>) -> Result<(), Misuse> {
        self.with_storage(payload.len(), |core| core.send_as(opcode, payload, compress))
    }

    /// Queues a fragment of a message.
    pub(crate) fn accept_fragment(
        &mut self,
        opcode: Opcode,
        payload: &[u8],
        Fragment { begins, fin }: Fragment,
    ) -> Result<(), Misuse> {
        self.with_storage(payload.len(), |core| {
            if begins { core.begin_fragments(opcode, payload, fin) } else { core.send_fragment(opcode, payload, fin) }
        })
    }

    /// Has the core queue so many bytes, in storage of the thread's if its queue has none.
    #[inline]
    pub(crate) fn with_storage(
        &mut self,
        size: usize,
        put: impl FnOnce(&mut Connection<Landing>) -> Result<(), Misuse>,
    ) -> Result<(), Misuse> {
        if !self.core.queue_mut().has_storage() {
            self.lend_for_sending(size);
        }
        let outcome = put(&mut self.core);
        if outcome.is_err() {
            self.take_back_storage();
        }
        outcome
    }

    #[inline(never)]
    fn lend_for_sending(&mut self, size: usize) {
        let storage = buffers::take_send(size);
        if !storage.is_empty() {
            self.core.queue_mut().lend_storage(storage);
        }
    }

    /// Takes the storage of an empty send queue back: an idle connection has none.
    fn take_back_storage(&mut self) {
        if let Some(storage) = self.core.queue_mut().take_storage() {
            buffers::give_send(storage);
        }
    }

    /// Whether what is sent is the first of this turn, as far as is known, and nobody collects.
    #[inline]
    pub(crate) fn leaves_at_once(&self, turn: u64) -> bool {
        self.sent_turn != turn && self.corks == 0 && !self.blocked
    }

    /// Sends a small message to a plain socket without queueing it, if nothing is in its way. True: the kernel took it;
    /// false: what it did not take is queued; none: nothing was done.
    #[inline]
    pub(crate) fn send_past_queue(&mut self, opcode: Opcode, payload: &[u8]) -> Option<bool> {
        let is_plain = self.tls.is_none() && self.extras.as_ref().is_none_or(|extras| extras.is_direct());
        if !is_plain || self.broken.is_some() || self.fd < 0 {
            return None;
        }
        let (fd, mut whole) = (self.fd, false);
        let write = |frame: &[u8]| {
            // An error strikes again where what is queued is written.
            let sent = send_two(fd, frame, &[]).unwrap_or(0);
            whole = sent == frame.len();
            sent
        };
        let done = self.core.send_past_queue(opcode, payload, write);
        // What is refused is refused again.
        if !matches!(done, Ok(true)) {
            return None;
        }
        self.writes += 1;
        Some(whole)
    }

    /// Writes what is to be written, as far as the kernel takes it.
    #[inline]
    pub(crate) fn flush(&mut self) {
        // TLS has what the core does not know of.
        if self.core.wants_write() || self.tls.is_some() || self.core.queue_mut().has_storage() {
            self.write_out();
        }
    }

    fn write_out(&mut self) {
        if self.blocked || self.broken.is_some() || self.fd < 0 || matches!(self.phase, Phase::New | Phase::Tcp) {
            return;
        }
        let outcome = if self.tls.is_some() { self.flush_tls() } else { self.flush_plain() };
        self.take_back_storage();
        if let Err(error) = outcome {
            if error.kind() == io::ErrorKind::WouldBlock {
                self.blocked = true;
            } else {
                self.broken = Some(Box::new(broken(&error)));
                if self.core.has_stream_ended() {
                    // Nothing more comes and nothing more leaves.
                    self.core.stream_closed();
                }
            }
        }
    }

    fn flush_plain(&mut self) -> io::Result<()> {
        loop {
            let (first, second) = self.core.output();
            if first.is_empty() {
                return Ok(());
            }
            let (sent, total) = (send(self.fd, &mut self.extras, first, second)?, first.len() + second.len());
            self.writes += 1;
            tap::note_sent(&mut self.extras, first, second, sent);
            self.core.wrote(sent);
            if sent < total {
                return Err(io::ErrorKind::WouldBlock.into());
            }
        }
    }

    pub(super) fn flush_tls(&mut self) -> io::Result<()> {
        let Some(tls) = &mut self.tls else { return Ok(()) };
        loop {
            while !tls.output().is_empty() {
                let sent = send(self.fd, &mut self.extras, tls.output(), &[])?;
                self.writes += 1;
                tls.wrote(sent);
            }
            let Tls::Rustls(tls) = tls else { return Ok(()) };
            if !tls.is_established() {
                return Ok(());
            }
            let (first, _) = self.core.output();
            if first.is_empty() {
                return Ok(());
            }
            let chunk = &first[..first.len().min(TLS_CHUNK)];
            let (accepted, unsent) = self.core.accepted_messages();
            tls.left_messages = accepted.saturating_sub((unsent.not_begun + unsent.begun) as u64);
            tls.send(chunk).map_err(io::Error::other)?;
            let count = chunk.len();
            tap::note(&mut self.extras, Way::Out, chunk, &[]);
            self.core.wrote(count);
        }
    }
}
