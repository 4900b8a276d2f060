//! Several messages at once.

use pyo3::prelude::*;
use pyo3::types::{PyIterator, PyList, PyString};

use crate::gc;
use crate::ring::Message;

/// Messages that were received together: a sequence, with what is known of them.
#[pyclass(frozen, module = "fastws._core", sequence)]
pub struct Batch {
    pub messages: Py<PyList>,
    /// Number of the first message on its connection, or of a stream's in its client, from 1.
    #[pyo3(get)]
    pub first_seq: u64,
    /// Number of the last one.
    #[pyo3(get)]
    pub last_seq: u64,
    /// The session of a client that they came in: +1 each time that it became Ready, from 1; 0 without a client.
    #[pyo3(get)]
    pub generation: u64,
    /// The connection of a client that they came over: +1 per upgrade; 0 without a client.
    #[pyo3(get)]
    pub connection_id: u64,
    /// The line of a client that they came over, as it is named; None where it is not.
    #[pyo3(get)]
    pub source: Option<Py<PyString>>,
    /// When the last message was received: CLOCK_REALTIME, nanoseconds, taken as its bytes were read.
    #[pyo3(get)]
    pub received_ns: u64,
    /// The same moment on CLOCK_MONOTONIC, nanoseconds.
    #[pyo3(get)]
    pub received_mono_ns: u64,
    /// When the kernel received the last message: CLOCK_REALTIME, nanoseconds; the last segment of its read.
    ///
    /// None without ``kernel_timestamps=True``, and where the kernel gave none.
    #[pyo3(get)]
    pub kernel_ns: Option<u64>,
}

#[pymethods]
impl Batch {
    fn __len__(&self, py: Python<'_>) -> usize {
        self.messages.bind(py).len()
    }

    fn __getitem__<'py>(&self, py: Python<'py>, index: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        self.messages.bind(py).as_any().get_item(index)
    }

    fn __iter__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyIterator>> {
        self.messages.bind(py).try_iter()
    }

    fn __reversed__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.messages.bind(py).call_method0("__reversed__")
    }

    /// Position of the first message that equals this one, from ``start`` to before ``stop``.
    ///
    /// Raises ValueError if there is none.
    #[pyo3(signature = (message, start=0, stop=isize::MAX, /), text_signature = "($self, message, start=0, stop=sys.maxsize, /)")]
    fn index(&self, py: Python<'_>, message: &Bound<'_, PyAny>, start: isize, stop: isize) -> PyResult<usize> {
        self.messages.bind(py).call_method1("index", (message, start, stop))?.extract()
    }

    /// Messages that equal this one.
    #[pyo3(signature = (message, /))]
    fn count(&self, py: Python<'_>, message: &Bound<'_, PyAny>) -> PyResult<usize> {
        self.messages.bind(py).call_method1("count", (message,))?.extract()
    }

    fn __contains__(&self, py: Python<'_>, message: &Bound<'_, PyAny>) -> PyResult<bool> {
        self.messages.bind(py).contains(message)
    }

    /// The messages, as the list that holds them.
    #[getter]
    fn messages<'py>(&self, py: Python<'py>) -> Bound<'py, PyList> {
        self.messages.bind(py).clone()
    }

    /// Some of it, from one message to before another; for one whose numbers are in a row.
    fn _part(&self, py: Python<'_>, from: usize, to: usize) -> Self {
        Self {
            messages: self.messages.bind(py).get_slice(from, to).unbind(),
            first_seq: self.first_seq + from as u64,
            last_seq: (self.first_seq + to as u64).saturating_sub(1),
            generation: self.generation,
            connection_id: self.connection_id,
            source: self.source.as_ref().map(|source| source.clone_ref(py)),
            received_ns: self.received_ns,
            received_mono_ns: self.received_mono_ns,
            kernel_ns: self.kernel_ns,
        }
    }

    /// Its messages, each with what is known of it; for one that is exact, see `ring`, and whose numbers are in a row.
    fn _messages<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        let _paused = gc::pause(py);
        let items = self.messages.bind(py).iter();
        let messages = items.zip(self.first_seq..).map(|(data, seq)| Message::of_batch(py, data.unbind(), seq, self));
        PyList::new(py, messages.collect::<PyResult<Vec<_>>>()?)
    }

    fn __repr__(&self, py: Python<'_>) -> String {
        format!("<Batch of {} messages, {} to {}>", self.messages.bind(py).len(), self.first_seq, self.last_seq)
    }
}
