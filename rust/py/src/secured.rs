//! TLS that Python does: when it is called. Nothing is borrowed then, since it runs what users gave their `SSLContext`, and
//! lets other threads run. What it is to do is taken out of the connection first, and what it did is put in afterwards.

use std::cell::RefCell;
use std::io;

use fastws_core::connection::Teardown;
use pyo3::prelude::*;

use crate::buffers;
use crate::conn::{Conn, Inner};
use crate::driver::Phase;
use crate::extras::receive;
use crate::hub::Hub;
use crate::tap::{self, Way};
use crate::tls::{Job, PythonTls, Tls};
use crate::transfer::{Input, Read, TLS_CHUNK};

impl Inner {
    fn python_tls(&mut self) -> Option<&mut PythonTls> {
        match self.tls.as_mut() {
            Some(Tls::Python(tls)) => Some(tls),
            _ => None,
        }
    }

    /// Whether Python does its TLS.
    #[inline]
    pub(crate) fn is_secured_by_python(&self) -> bool {
        matches!(self.tls.as_ref(), Some(Tls::Python(_)))
    }

    /// Whether Python found an error that nobody was told yet: the next read tells it, and no event of the socket's is
    /// waited for.
    pub(crate) fn has_failed_in_python(&self) -> bool {
        matches!(self.tls.as_ref(), Some(Tls::Python(tls)) if matches!(tls.end, Some(Err(_))))
            && !self.core.has_stream_ended()
    }

    /// Whether Python is at work, for another call: what was taken out for it has not left.
    pub(crate) fn is_python_at_work(&self) -> bool {
        matches!(self.tls.as_ref(), Some(Tls::Python(tls)) if tls.is_at_work)
    }

    /// Whether other calls came while Python was at work, which it is no more: they do not know what became of their part.
    pub(crate) fn take_left_to_python(&mut self) -> bool {
        self.python_tls().is_some_and(|tls| !tls.is_at_work && std::mem::take(&mut tls.has_more_to_do))
    }

    /// Reads records, for Python to work through.
    pub(crate) fn read_records(&mut self) -> io::Result<Read> {
        let mut cipher = buffers::take();
        let got = receive(self.fd, &mut self.extras, &self.queue, &mut cipher);
        if let (Ok(got), Some(tls)) = (&got, self.python_tls()) {
            tls.cipher.extend_from_slice(&cipher[..*got]);
        }
        let room = cipher.len();
        buffers::give(cipher);
        let got = got?;
        self.reads = self.reads.wrapping_add(1);
        Ok(if got < room { Read::Drained } else { Read::More })
    }

    /// What there is for Python to do, if it is not at it.
    fn next_job(&mut self, py: Python<'_>) -> Option<Job> {
        if matches!(self.phase, Phase::New | Phase::Tcp) {
            return None;
        }
        let core = &mut self.core;
        let Some(Tls::Python(tls)) = self.tls.as_mut() else { return None };
        tls.has_more_to_do |= tls.is_at_work;
        if tls.is_at_work || matches!(tls.end, Some(Err(_))) {
            return None;
        }
        let stream = tls.stream.as_ref()?.clone_ref(py);
        let may_send = tls.established && !self.blocked && self.broken.is_none() && tls.output().is_empty();
        let (mut plain, mut close) = (Vec::new(), false);
        if may_send {
            let (first, _) = core.output();
            plain.extend_from_slice(&first[..first.len().min(TLS_CHUNK)]);
            if plain.is_empty() {
                close = !tls.notified && core.teardown() != Teardown::Keep;
            } else {
                let (accepted, unsent) = core.accepted_messages();
                tls.left_messages = accepted.saturating_sub((unsent.not_begun + unsent.begun) as u64);
                tap::note(&mut self.extras, Way::Out, &plain, &[]);
                core.wrote(plain.len());
            }
        }
        let cipher = std::mem::take(&mut tls.cipher);
        if cipher.is_empty() && plain.is_empty() && !close && tls.begun {
            return None;
        }
        tls.begun = true;
        tls.notified |= close;
        tls.is_at_work = true;
        Some(Job { stream, cipher, plain, close })
    }

    /// Parses what Python has decrypted.
    fn take_decrypted(&mut self, py: Python<'_>, read: Read) -> PyResult<Read> {
        let Some(tls) = self.python_tls() else { return Ok(read) };
        let (has_received, has_ended) = (!tls.received.is_empty(), tls.end.is_some());
        if has_received {
            // What was parsed just now may lie in the buffer that goes.
            self.settle_slices(py)?;
            let mut received = self.python_tls().map(|tls| std::mem::take(&mut tls.received)).unwrap_or_default();
            if let Some(input) = self.input.take() {
                let rest = &input.buffer[input.start..input.end];
                if !rest.is_empty() {
                    received.splice(..0, rest.iter().copied());
                }
                buffers::give(input.buffer);
            }
            let end = received.len();
            self.input = Some(Input::of(received.into_boxed_slice(), end));
            self.parse(py);
        }
        // An end among the records is told by the next read, when what came before it was parsed.
        Ok(if has_ended { Read::More } else { read })
    }
}

/// Lets Python do its part of TLS until there is nothing more to do, and writes what it made.
pub(crate) fn secure(py: Python<'_>, inner: &RefCell<Inner>) -> PyResult<()> {
    loop {
        let Some(job) = inner.borrow_mut().next_job(py) else { return Ok(()) };
        let done = job.run(py);
        let outcome = {
            let mut inner = inner.borrow_mut();
            // It may have been given up meanwhile.
            let Some(tls) = inner.python_tls() else { return done.map(|_| ()) };
            let outcome = tls.take(done);
            if tls.established && inner.phase == Phase::Tls {
                inner.phase = Phase::Upgrade;
            }
            inner.flush();
            outcome
        };
        outcome?;
    }
}

/// What a read brought is decrypted and parsed.
#[cold]
pub(crate) fn receive_secured(py: Python<'_>, inner: &RefCell<Inner>, read: Read) -> PyResult<Read> {
    secure(py, inner)?;
    inner.borrow_mut().take_decrypted(py, read)
}

impl Conn {
    /// What was queued is encrypted and written, after a call that did all but that.
    #[cold]
    pub(crate) fn send_outside(slf: &Bound<'_, Self>) -> PyResult<()> {
        Self::work_outside(slf)?;
        let hub = slf.get().hub.bind(slf.py());
        let again = {
            let inner = &mut *slf.get().inner.borrow_mut();
            let failed = inner.has_failed_in_python();
            let token = inner.keep_for_writing(slf);
            token.or(inner.token.filter(|_| failed))
        };
        again.map_or(Ok(()), |token| Hub::run_soon(hub, token))
    }
}
