//! What a connection tells of itself, whoever drives it.

/// Gives a class these attributes: one that has `inner`, and says by `check` and `is_forked` whose it is.
macro_rules! described {
    ($class:ident) => {
        #[pymethods]
        impl $class {
            /// The terms of compression that were agreed on: (server and client without context takeover, window bits
            /// of the server and of the client). None: messages are not compressed.
            #[getter]
            fn _compression(&self) -> Option<(bool, bool, u8, u8)> {
                $crate::payload::terms(&self.inner.borrow())
            }

            /// How far it has come: "new", "tcp", "tls", "upgrade", "open" or "closed".
            #[getter]
            fn _phase(&self) -> &'static str {
                self.inner.borrow().phase.name()
            }

            /// "connecting", "open", "closing" or "closed".
            #[getter]
            fn _state(&self) -> String {
                self.inner.borrow().state().to_string()
            }

            /// How it ended: (received code, received reason, sent code, sent reason, initiator, cause kind, cause
            /// text).
            #[getter]
            fn _close_info<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, pyo3::types::PyTuple>> {
                let _paused = $crate::gc::pause(py);
                $crate::payload::close_info(py, self.inner.borrow().core.close_info())
            }

            /// The limit of ours that ended it, if one did: its setting, the size that it was for, and of that before
            /// the last frame, and the limit.
            #[getter]
            fn _limit(&self) -> Option<(&'static str, Option<u64>, u64, usize)> {
                $crate::payload::limit(self.inner.borrow().core.close_info())
            }

            /// Where a text that ended it is no UTF-8, in bytes; none: it was another cause.
            #[getter]
            fn _not_utf8_at(&self) -> Option<u64> {
                $crate::payload::not_utf8_at(self.inner.borrow().core.close_info())
            }

            /// The system's number of the error that ended it, or that it could not be connected by; none: it was no other.
            #[getter]
            fn _errno(&self) -> Option<i32> {
                $crate::payload::system_error(self.inner.borrow().core.close_info())
            }

            /// The exception of a listener's callback, if one ended the connection.
            #[getter]
            fn _listener_error(&self, py: Python<'_>) -> Option<Py<PyAny>> {
                self.inner.borrow().rare.listener_error.as_ref().map(|error| error.clone_ref(py))
            }

            /// The response: (status, reason, headers, body), or none.
            #[getter]
            fn _response<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, pyo3::types::PyTuple>>> {
                let _paused = $crate::gc::pause(py);
                let packed = self.inner.borrow().response.clone();
                packed.map(|packed| $crate::payload::unpack_response(py, &packed)).transpose()
            }

            /// The request as it was sent, or none.
            #[getter]
            fn _request(&self) -> Option<Vec<u8>> {
                self.inner.borrow().request.as_deref().map(<[u8]>::to_vec)
            }

            /// The URI, with userinfo and query masked.
            #[getter]
            fn uri<'py>(&self, py: Python<'py>) -> Bound<'py, pyo3::types::PyString> {
                let uri = self.inner.borrow().uri.as_ref().map(|uri| uri.bind(py).clone());
                uri.unwrap_or_else(|| pyo3::types::PyString::intern(py, ""))
            }

            /// The socket's own address, as ``socket.getsockname()`` gives it; None before it is connected.
            #[getter]
            fn local_address<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
                let address = self.inner.borrow().local.clone();
                address.to_python(py)
            }

            /// The peer's address, as ``socket.getpeername()`` gives it; None before it is connected.
            #[getter]
            fn remote_address<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
                let address = self.inner.borrow().remote.clone();
                address.to_python(py)
            }

            /// The socket's descriptor, or -1 when it is closed. Do not read, write or close it.
            fn fileno(&self) -> PyResult<std::os::fd::RawFd> {
                self.check()?;
                Ok(self.inner.borrow().fd)
            }

            /// When the message last taken was received: CLOCK_REALTIME, nanoseconds; 0 before the first.
            #[getter]
            fn received_ns(&self) -> u64 {
                self.inner.borrow_mut().queue.stamp().map_or(0, |(realtime, _)| realtime)
            }

            /// The same moment on CLOCK_MONOTONIC, nanoseconds.
            #[getter]
            fn received_mono_ns(&self) -> u64 {
                self.inner.borrow_mut().queue.stamp().map_or(0, |(_, monotonic)| monotonic)
            }

            /// When the kernel received the message last taken: CLOCK_REALTIME, nanoseconds; the last segment of its
            /// read.
            ///
            /// None without ``kernel_timestamps=True``, before the first message, and where the kernel gave none.
            #[getter]
            fn kernel_ns(&self) -> Option<u64> {
                self.inner.borrow_mut().kernel_stamp()
            }

            /// Number of the message last taken, from 1; 0 before the first.
            #[getter]
            fn seq(&self) -> u64 {
                self.inner.borrow().queue.taken()
            }

            /// Round-trip time of the last ping that was answered, in seconds; 0 before the first.
            #[getter]
            fn latency(&self) -> f64 {
                self.inner.borrow().core.latency().map_or(0.0, $crate::clock::to_seconds)
            }

            /// Counters, by name.
            fn _stats<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, pyo3::types::PyDict>> {
                self.check()?;
                let _paused = $crate::gc::pause(py);
                $crate::payload::stats(py, &self.inner.borrow())
            }

            /// Whether it should have been closed: it is the last reference that goes.
            #[getter]
            fn _is_live(&self) -> bool {
                self.inner.try_borrow().is_ok_and(|inner| inner.fd >= 0) && !self.is_forked()
            }
        }
    };
}

pub(crate) use described;
