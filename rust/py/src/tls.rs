//! TLS, by rustls or by Python's `ssl`: the configuration, what is verified and how that is said, and streams between the
//! driver's buffers.

use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;

mod context;
mod identity;
mod notes;
mod python;
mod stream;
mod verify;
mod words;

pub use context::TlsContext;
pub use python::{Job, PythonTls};
pub use stream::TlsStream;
pub use verify::certificate_pin;

/// The TLS of a connection. rustls works within a borrow of its state; Python cannot, see `secured`.
pub enum Tls {
    Rustls(Box<TlsStream>),
    Python(Box<PythonTls>),
}

impl Tls {
    /// The TLS of a connection that begins, with its first message: by a `TlsContext`, or by a stream of Python's.
    pub fn begin(context: Option<&Bound<'_, PyAny>>, server_name: Option<&str>) -> Result<Option<Self>, String> {
        let Some(context) = context else { return Ok(None) };
        match context.cast::<TlsContext>() {
            Ok(native) => TlsContext::begin(Some(native.get()), server_name),
            Err(_) => Ok(Some(Self::Python(Box::new(PythonTls::new(context.clone().unbind()))))),
        }
    }

    /// How the receiving half ended, if it has: by `close_notify`, or by an error. Bytes behind that are ignored.
    #[inline]
    pub fn end(&self) -> Option<&Result<(), String>> {
        match self {
            Self::Rustls(tls) => tls.end(),
            Self::Python(tls) => tls.end.as_ref(),
        }
    }

    /// Records to send.
    #[inline]
    pub fn output(&self) -> &[u8] {
        match self {
            Self::Rustls(tls) => tls.output(),
            Self::Python(tls) => tls.output(),
        }
    }

    /// Takes note that some were sent.
    #[inline]
    pub fn wrote(&mut self, count: usize) {
        match self {
            Self::Rustls(tls) => tls.wrote(count),
            Self::Python(tls) => tls.wrote(count),
        }
    }

    /// Messages that were wholly written when all records had left.
    pub fn left_messages(&self) -> u64 {
        match self {
            Self::Rustls(tls) => tls.left_messages,
            Self::Python(tls) => tls.left_messages,
        }
    }

    /// Says that nothing more will be sent. Python's was asked before, see `secured`.
    pub fn notify_close(&mut self) -> Result<(), String> {
        match self {
            Self::Rustls(tls) => tls.notify_close(),
            Self::Python(_) => Ok(()),
        }
    }

    /// Gives memory back: the connection has nothing to do.
    #[inline]
    pub fn rest(&mut self) {
        match self {
            Self::Rustls(tls) => tls.rest(),
            Self::Python(tls) => tls.rest(),
        }
    }

    pub fn traverse(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        match self {
            Self::Rustls(_) => Ok(()),
            Self::Python(tls) => visit.call(&tls.stream),
        }
    }

    /// Lets go of what is Python's.
    pub fn clear(&mut self) -> Option<Py<PyAny>> {
        match self {
            Self::Rustls(_) => None,
            Self::Python(tls) => tls.stream.take(),
        }
    }
}
