//! What was accepted and is not written yet, who waits for that, and how a stream ends.

use fastws_core::State;
use fastws_core::connection::Teardown;
use pyo3::prelude::*;

use crate::conn::Inner;
use crate::driver::Phase;
use crate::tap::{self, Way};
use crate::tls::Tls;

impl Inner {
    /// Whether the kernel has not taken everything that was accepted.
    pub(crate) fn has_unsent(&self) -> bool {
        self.core.queued_bytes() > 0
            || self.has_ciphertext()
            || self.extras.as_ref().is_some_and(|extras| extras.kept().is_some())
    }

    /// Whether encrypted bytes wait for the kernel.
    pub(crate) fn has_ciphertext(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| !tls.output().is_empty())
    }

    /// Messages that the core has written, and that TLS or a transport keeps in part.
    fn messages_in_records(&self) -> usize {
        let (accepted, not_begun, begun) = self.in_core();
        let written = accepted.saturating_sub((not_begun + begun) as u64);
        let in_tls = self.tls.as_ref().filter(|tls| !tls.output().is_empty()).map(Tls::left_messages);
        let in_transport = self.extras.as_ref().and_then(|extras| extras.kept());
        match in_tls.into_iter().chain(in_transport).min() {
            Some(left) => written.saturating_sub(left) as usize,
            None => self.rare.in_records,
        }
    }

    /// What the core knows of messages: accepted ones, and of them those of which it has written nothing, and a part.
    pub(crate) fn in_core(&self) -> (u64, usize, usize) {
        let (accepted, unsent) = self.core.accepted_messages();
        (accepted, unsent.not_begun, unsent.begun)
    }

    /// Messages accepted since the connection opened; and those of them of which the kernel has taken nothing, and
    /// maybe a part.
    pub(crate) fn accepted(&self) -> (u64, usize, usize) {
        let (accepted, not_begun, begun) = self.in_core();
        let begun = begun + self.messages_in_records();
        let left = self.rare.refused_behind.map_or(begun, |left| left.min(begun));
        (accepted, not_begun + begun - left, left)
    }

    /// Those who waited for what has happened now: the send queue is at its low-water mark, their messages are written,
    /// no more messages will come.
    pub(crate) fn take_drained(&mut self) -> Vec<Py<PyAny>> {
        let mut drained: Vec<Py<PyAny>> = Vec::new();
        if !self.rare.writing.is_empty() {
            let (accepted, not_begun, begun) = self.accepted();
            let written = accepted.saturating_sub((not_begun + begun) as u64);
            let left = self.rare.writing.iter().take_while(|(number, _)| *number <= written).count();
            drained = self.rare.writing.drain(..left).map(|(_, future)| future).collect();
        }
        if self.core.data_over() {
            drained.append(&mut self.rare.overs);
        }
        if self.core.queued_bytes() <= self.settings.write_low {
            drained.append(&mut self.rare.draining);
        }
        drained
    }

    /// Whether nobody waits any more for what is on its way.
    fn is_lost(&self) -> bool {
        self.core.state() == State::Closed || self.broken.is_some()
    }

    fn half_close(&mut self) {
        if std::mem::replace(&mut self.half_closed, true) {
            return;
        }
        self.say_close_notify();
        match self.extras.as_mut().and_then(|extras| extras.wire()) {
            Some(wire) => wire.end(),
            None => {
                // SAFETY: a plain call; a socket that is gone says so, and the read will too.
                unsafe { libc::shutdown(self.fd, libc::SHUT_WR) };
            }
        }
    }

    fn say_close_notify(&mut self) {
        if let Some(tls) = &mut self.tls
            && tls.notify_close().is_ok()
            && !self.blocked
        {
            // Best effort: a peer that takes nothing will not miss it.
            let _ = self.flush_tls();
        }
    }

    /// Ends the stream, as far as the core wants it ended. True: it is to be [`finish`](Self::finish)ed.
    pub(crate) fn tear_down(&mut self) -> bool {
        if self.fd < 0 {
            return false;
        }
        match self.core.teardown() {
            Teardown::Keep => return false,
            // What TLS has taken over is not written yet: the core does not know of it.
            _ if self.core.state() != State::Closed
                && (self.blocked && self.has_ciphertext() || self.is_python_at_work()) =>
            {
                return false;
            }
            _ if self.extras.as_ref().is_some_and(|extras| extras.is_writing()) && !self.is_lost() => return false,
            Teardown::HalfClose => self.half_close(),
            Teardown::Close => return true,
        }
        false
    }

    /// Closes the stream; the socket is in no poller any more.
    pub(crate) fn finish(&mut self) {
        if !matches!(self.phase, Phase::Tcp | Phase::Tls) {
            self.say_close_notify();
        }
        self.core.stream_closed();
        tap::note(&mut self.extras, Way::Out, &[], &[]);
        let in_records = self.messages_in_records();
        if !self.has_wire() {
            // SAFETY: the descriptor is ours, out of the poller, and closed once.
            unsafe { libc::close(self.fd) };
        }
        self.fd = -1;
        if in_records > 0 {
            self.rare.in_records = in_records;
        }
        if self.is_secured_by_python() {
            // Python's object goes when nothing is borrowed.
            self.rare.tls = self.tls.take();
        }
        self.tls = None;
        self.paused = None;
        self.broken = None;
        self.blocked = false;
    }
}
