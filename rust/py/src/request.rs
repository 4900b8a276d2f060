//! An upgrade request, and the URI that it goes to.

use std::cell::RefCell;

use fastws_core::handshake::ClientHandshake;
use fastws_core::uri::Uri;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyTuple;

use crate::{entropy, payload};

/// An upgrade request, ready to be sent.
#[pyclass(frozen, module = "fastws._core")]
pub struct Request {
    pub handshake: RefCell<Option<ClientHandshake>>,
    uri: Uri,
}

// SAFETY: every access happens with the interpreter attached.
unsafe impl Send for Request {}
// SAFETY: as above.
unsafe impl Sync for Request {}

/// Splits a URI: (secure, host, port, path with query, text without secrets). Raises ValueError.
#[pyfunction]
pub fn parse_uri<'py>(py: Python<'py>, uri: &str) -> PyResult<Bound<'py, PyTuple>> {
    let uri = Uri::parse(uri).map_err(|e| PyValueError::new_err(e.to_string()))?;
    payload::uri(py, &uri)
}

#[pymethods]
impl Request {
    /// The request for `uri` with these headers. Raises ValueError. With `any_extension` the extensions that the answer
    /// chooses are the caller's to judge. With `latin_1` a byte of a header value, of the answer's too, is a character.
    /// Headers of the names in `order` come first, in that order.
    #[new]
    #[pyo3(signature = (
        uri, headers, subprotocols, origin, user_agent, extensions, any_extension=false, latin_1=false, order=Vec::new()
    ))]
    #[allow(clippy::too_many_arguments, reason = "what a request is made of")]
    fn new(
        uri: &str,
        headers: Vec<(String, String)>,
        subprotocols: Vec<String>,
        origin: Option<String>,
        user_agent: Option<String>,
        extensions: Vec<String>,
        any_extension: bool,
        latin_1: bool,
        order: Vec<String>,
    ) -> PyResult<Self> {
        let uri = Uri::parse(uri).map_err(|e| PyValueError::new_err(e.to_string()))?;
        let handshake = payload::handshake(
            &uri,
            entropy::nonce(),
            headers,
            subprotocols,
            origin,
            user_agent,
            &extensions,
            any_extension,
            latin_1,
            &order,
        )
        .map_err(|e| PyValueError::new_err(e.to_string()))?;
        Ok(Self { handshake: RefCell::new(Some(handshake)), uri })
    }

    /// (secure, host, port, path with query, text without secrets).
    #[getter]
    fn uri<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        payload::uri(py, &self.uri)
    }
}
