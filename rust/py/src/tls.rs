//! TLS, by rustls or by Python's `ssl`: the configuration, what is verified and how that is said, and streams between the
//! driver's buffers.

use pyo3::exceptions::PyValueError;
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;

use crate::tunnel::TlsTunnel;

mod context;
mod identity;
mod itself;
mod notes;
mod python;
mod stream;
mod verify;
mod words;

pub use context::TlsContext;
pub use python::{Job, PythonTls};
pub use stream::TlsStream;
pub use verify::{certificate_fault, certificate_pin};

/// The TLS of a connection. rustls works within a borrow of its state; Python cannot, see `secured`.
pub enum Tls {
    Rustls(Box<TlsStream>),
    Python(Box<PythonTls>),
}

impl Tls {
    /// The TLS of a connection that begins, with its first message: by a `TlsContext` for a server of that name, by a
    /// `TlsTunnel`, which is taken over, or by a stream of Python's.
    pub fn begin(tls: Option<&Bound<'_, PyAny>>, server_name: Option<&str>) -> PyResult<Option<Self>> {
        let Some(tls) = tls else { return Ok(None) };
        if let Ok(context) = tls.cast::<TlsContext>() {
            let mut stream = context.get().stream(server_name.unwrap_or_default()).map_err(PyValueError::new_err)?;
            stream.pump().map_err(PyValueError::new_err)?;
            return Ok(Some(Self::Rustls(Box::new(stream))));
        }
        if let Ok(tunnel) = tls.cast::<TlsTunnel>() {
            return Ok(Some(Self::Rustls(tunnel.get().take()?)));
        }
        Ok(Some(Self::Python(Box::new(PythonTls::new(tls.clone().unbind())))))
    }

    /// Whether the TLS handshake is over.
    pub fn is_established(&self) -> bool {
        match self {
            Self::Rustls(tls) => tls.is_established(),
            Self::Python(tls) => tls.established,
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

    /// Whether it ended because the TLS outside of it did, a proxy's: it was cut off.
    pub fn is_cut_off(&self) -> bool {
        match self {
            Self::Rustls(tls) => tls.is_cut_off(),
            Self::Python(tls) => tls.cut_off,
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
