//! A TLS stream of Python's: a `fastws._openssl.Stream`, and what waits for it and for the kernel.

use pyo3::prelude::*;

/// What is held between two calls of Python.
pub struct PythonTls {
    /// None when the garbage collector has taken it: then nothing is sent any more, least of all in the clear.
    pub stream: Option<Py<PyAny>>,
    /// Records that were received and not worked through.
    pub cipher: Vec<u8>,
    /// What they carried, not parsed yet.
    pub received: Vec<u8>,
    pub established: bool,
    /// How the receiving half ended, once it has: by `close_notify`, or by an error.
    pub end: Option<Result<(), String>>,
    /// It ended because the TLS outside of it did.
    pub cut_off: bool,
    /// The handshake was begun.
    pub begun: bool,
    /// That nothing more will be sent was said.
    pub notified: bool,
    /// Python is at work.
    pub is_at_work: bool,
    /// Another call came while it was, and left its part to it.
    pub has_more_to_do: bool,
    pub left_messages: u64,
    outgoing: Vec<u8>,
    written: usize,
}

/// The TLS outside has ended, and the one inside had not: `fastws._openssl.CUT_OFF`.
const CUT_OFF: &str = "cut off";

/// What Python is asked to do.
pub struct Job {
    pub stream: Py<PyAny>,
    pub cipher: Vec<u8>,
    pub plain: Vec<u8>,
    pub close: bool,
}

/// What it gave: plaintext, records, whether the handshake is over, and how the receiving half ended: "" by `close_notify`,
/// [`CUT_OFF`], or an error's text.
#[derive(FromPyObject)]
pub struct Done(Vec<u8>, Vec<u8>, bool, Option<String>);

impl Job {
    /// Runs Python: nothing may be borrowed.
    pub fn run(&self, py: Python<'_>) -> PyResult<Done> {
        self.stream.bind(py).call_method1("work", (&*self.cipher, &*self.plain, self.close))?.extract()
    }
}

impl PythonTls {
    pub fn new(stream: Py<PyAny>) -> Self {
        Self {
            stream: Some(stream),
            cipher: Vec::new(),
            received: Vec::new(),
            established: false,
            end: None,
            cut_off: false,
            begun: false,
            notified: false,
            is_at_work: false,
            has_more_to_do: false,
            left_messages: 0,
            outgoing: Vec::new(),
            written: 0,
        }
    }

    /// Takes what a job brought.
    pub fn take(&mut self, done: PyResult<Done>) -> PyResult<()> {
        self.is_at_work = false;
        match done {
            Ok(Done(received, records, established, end)) => {
                self.received.extend_from_slice(&received);
                self.outgoing.extend_from_slice(&records);
                self.established |= established;
                if let Some(end) = end {
                    self.cut_off = end == CUT_OFF;
                    self.end = Some(if end.is_empty() || self.cut_off { Ok(()) } else { Err(end) });
                }
                Ok(())
            }
            Err(error) => {
                self.end = Some(Err("interrupted".to_owned()));
                Err(error)
            }
        }
    }

    pub fn output(&self) -> &[u8] {
        &self.outgoing[self.written..]
    }

    pub fn wrote(&mut self, count: usize) {
        self.written += count;
        if self.written == self.outgoing.len() {
            (self.outgoing, self.written) = (Vec::new(), 0);
        }
    }

    pub fn rest(&mut self) {
        if self.received.is_empty() {
            self.received = Vec::new();
        }
    }
}
