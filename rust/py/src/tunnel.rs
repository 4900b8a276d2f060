//! TLS to a proxy before there is a connection: Python carries the bytes and talks to the proxy, then the connection takes
//! it over, with its own TLS inside or none.

use std::cell::RefCell;

use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::tls::{TlsContext, TlsStream};

/// What a call of `work` gave: plaintext, records to send, whether the handshake is over, and how the receiving half ended.
type Worked<'py> = (Bound<'py, PyBytes>, Bound<'py, PyBytes>, bool, Option<String>);

/// A TLS stream between buffers, with the methods of `fastws._openssl.Stream`.
#[pyclass(frozen, module = "fastws._core")]
pub struct TlsTunnel {
    stream: RefCell<Option<Box<TlsStream>>>,
}

// SAFETY: every access happens with the interpreter attached.
unsafe impl Send for TlsTunnel {}
// SAFETY: as above.
unsafe impl Sync for TlsTunnel {}

#[pymethods]
impl TlsTunnel {
    /// TLS to the server of this name. Raises ValueError.
    #[new]
    fn new(context: &TlsContext, server_name: &str) -> PyResult<Self> {
        let mut stream = context.stream(server_name).map_err(PyValueError::new_err)?;
        stream.pump().map_err(PyValueError::new_err)?;
        Ok(Self { stream: RefCell::new(Some(Box::new(stream))) })
    }

    /// See `fastws._openssl.Stream.work`.
    fn work<'py>(&self, py: Python<'py>, cipher: &[u8], plain: &[u8], close: bool) -> PyResult<Worked<'py>> {
        let mut stream = self.stream.borrow_mut();
        let stream = stream.as_mut().ok_or_else(taken)?;
        let mut received = Vec::new();
        if !cipher.is_empty() {
            let mut cipher = stream.behind_incoming(cipher);
            stream.receive(&mut cipher, |payload| received.extend_from_slice(payload));
        }
        let sent = if plain.is_empty() { Ok(()) } else { stream.send(plain) };
        let sent = if close { sent.and(stream.notify_close()) } else { sent };
        let end = match (stream.end(), sent) {
            (Some(Err(error)), _) => Some(error.clone()),
            (_, Err(error)) => Some(error),
            (Some(Ok(())), _) => Some(String::new()),
            (None, _) => None,
        };
        let records = PyBytes::new(py, stream.output());
        stream.wrote(records.as_bytes().len());
        Ok((PyBytes::new(py, &received), records, stream.is_established(), end))
    }

    /// From here on this is TLS to the server of this name, inside of what it was; for a connection. Raises ValueError.
    fn enter(&self, context: &TlsContext, server_name: &str) -> PyResult<()> {
        let outer = self.stream.borrow_mut().take().ok_or_else(taken)?;
        let mut stream = context.stream(server_name).map_err(PyValueError::new_err)?.inside(outer);
        stream.pump().map_err(PyValueError::new_err)?;
        *self.stream.borrow_mut() = Some(Box::new(stream));
        Ok(())
    }
}

impl TlsTunnel {
    /// The stream, for a connection.
    pub fn take(&self) -> PyResult<Box<TlsStream>> {
        let stream = self.stream.borrow_mut().take().ok_or_else(taken)?;
        Ok(if stream.has_outer() { stream } else { Box::new(stream.naming_proxy()) })
    }
}

#[cold]
fn taken() -> PyErr {
    PyRuntimeError::new_err("a connection has taken this TLS stream over")
}
