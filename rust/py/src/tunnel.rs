//! TLS to a proxy before there is a connection: Python carries the bytes and talks to the proxy, then the connection takes
//! it over, with its own TLS inside or none.

use std::cell::RefCell;

use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::tls::{TlsContext, TlsStream};

/// A TLS stream between buffers.
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
    /// TLS to the server of this name, its first message in ``output``. Raises ValueError.
    #[new]
    fn new(context: &TlsContext, server_name: &str) -> PyResult<Self> {
        let mut stream = context.stream(server_name).map_err(PyValueError::new_err)?;
        stream.pump().map_err(PyValueError::new_err)?;
        Ok(Self { stream: RefCell::new(Some(Box::new(stream))) })
    }

    /// What is to be sent by now; it counts as sent.
    fn output<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        self.with(|stream| {
            let output = PyBytes::new(py, stream.output());
            stream.wrote(output.as_bytes().len());
            Ok(output)
        })
    }

    /// What these bytes carry. Raises ValueError if TLS finds something wrong; there may be something to send even then.
    fn receive<'py>(&self, py: Python<'py>, data: &[u8]) -> PyResult<Bound<'py, PyBytes>> {
        self.with(|stream| {
            let mut cipher = vec![0; MAX_RECORD + data.len()];
            let held = stream.put_incoming(&mut cipher);
            cipher[held..held + data.len()].copy_from_slice(data);
            let mut plain = Vec::new();
            stream.receive(&mut cipher[..held + data.len()], |payload| plain.extend_from_slice(payload));
            match stream.end() {
                Some(Err(error)) => Err(PyValueError::new_err(error.clone())),
                _ => Ok(PyBytes::new(py, &plain)),
            }
        })
    }

    /// Encrypts what is to be sent. Raises ValueError.
    fn send(&self, plain: &[u8]) -> PyResult<()> {
        self.with(|stream| stream.send(plain).map_err(PyValueError::new_err))
    }

    /// From here on this is TLS to the server of this name, inside of what it was; for a connection. Raises ValueError.
    fn enter(&self, context: &TlsContext, server_name: &str) -> PyResult<()> {
        let outer = self.take()?;
        let mut stream = context.stream(server_name).map_err(PyValueError::new_err)?.inside(outer);
        stream.pump().map_err(PyValueError::new_err)?;
        *self.stream.borrow_mut() = Some(Box::new(stream));
        Ok(())
    }

    /// Whether the TLS handshake is over.
    #[getter]
    fn is_established(&self) -> PyResult<bool> {
        self.with(|stream| Ok(stream.is_established()))
    }
}

impl TlsTunnel {
    /// The stream, for a connection.
    pub fn take(&self) -> PyResult<Box<TlsStream>> {
        self.stream.borrow_mut().take().ok_or_else(taken)
    }

    fn with<T>(&self, act: impl FnOnce(&mut TlsStream) -> PyResult<T>) -> PyResult<T> {
        act(self.stream.borrow_mut().as_mut().ok_or_else(taken)?)
    }
}

#[cold]
fn taken() -> PyErr {
    PyRuntimeError::new_err("a connection has taken this TLS stream over")
}

/// A record is never longer, with its header (RFC 8446 §5.2, RFC 5246 §6.2.3).
const MAX_RECORD: usize = 5 + (1 << 14) + 2048;
