//! A message with what is known of it.

use pyo3::ffi;
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::types::{PyString, PyTuple};

use super::state::Stamp;
use crate::batch::Batch;

/// A message with what is known of it: what a stream with ``markers=True`` gives.
///
/// ``match`` takes it apart by its data: ``case Message(tick)``. Two are equal if all they say is.
#[pyclass(frozen, generic, module = "fastws._core")]
pub struct Message {
    /// The message: ``str`` or ``bytes``, or what ``decode`` made of it.
    #[pyo3(get)]
    data: Py<PyAny>,
    /// Its number among the messages of the client, from 1.
    #[pyo3(get)]
    seq: u64,
    /// The session that it came in: +1 each time that the client became Ready, from 1; 0 outside of one.
    #[pyo3(get)]
    generation: u64,
    /// The connection that it came over: +1 per upgrade.
    #[pyo3(get)]
    connection_id: u64,
    /// When it was received: CLOCK_REALTIME, nanoseconds, taken as its bytes were read.
    #[pyo3(get)]
    received_ns: u64,
    /// The same moment on CLOCK_MONOTONIC, nanoseconds.
    #[pyo3(get)]
    received_mono_ns: u64,
    /// When the kernel received it: CLOCK_REALTIME, nanoseconds; None without ``kernel_timestamps=True``.
    #[pyo3(get)]
    kernel_ns: Option<u64>,
    /// The line that it came over, as its connection was named; None if it was not.
    #[pyo3(get)]
    source: Option<Py<PyString>>,
}

impl Message {
    pub(super) fn of(py: Python<'_>, data: Py<PyAny>, seq: u64, stamp: &Stamp) -> PyResult<Py<PyAny>> {
        let origin = &*stamp.origin;
        let message = Self {
            data,
            seq,
            generation: origin.generation,
            connection_id: origin.connection_id,
            received_ns: stamp.realtime,
            received_mono_ns: stamp.monotonic,
            kernel_ns: stamp.kernel,
            source: origin.source.as_ref().map(|source| source.clone_ref(py)),
        };
        message.into_object(py)
    }

    /// A message of a batch of which all that is said is true of each.
    pub(crate) fn of_batch(py: Python<'_>, data: Py<PyAny>, seq: u64, batch: &Batch) -> PyResult<Py<PyAny>> {
        let message = Self {
            data,
            seq,
            generation: batch.generation,
            connection_id: batch.connection_id,
            received_ns: batch.received_ns,
            received_mono_ns: batch.received_mono_ns,
            kernel_ns: batch.kernel_ns,
            source: batch.source.as_ref().map(|source| source.clone_ref(py)),
        };
        message.into_object(py)
    }

    fn into_object(self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let data = self.data.as_ptr();
        // SAFETY: attached.
        let is_flat = unsafe { ffi::PyBytes_CheckExact(data) != 0 || ffi::PyUnicode_CheckExact(data) != 0 };
        let message = Py::new(py, self)?;
        if is_flat {
            // It cannot be part of a cycle: the collector need not look at it.
            // SAFETY: attached; the object is whole.
            unsafe { ffi::PyObject_GC_UnTrack(message.as_ptr().cast()) };
        }
        Ok(message.into_any())
    }

    fn fields<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        let stamps = (self.received_ns, self.received_mono_ns, self.kernel_ns);
        (&self.data, self.seq, self.generation, self.connection_id, stamps, &self.source).into_pyobject(py)
    }
}

#[pymethods]
impl Message {
    #[classattr]
    #[pyo3(name = "__match_args__")]
    const MATCH_ARGS: (&'static str,) = ("data",);

    #[new]
    #[pyo3(signature = (
        data, seq=0, generation=0, connection_id=0, received_ns=0, received_mono_ns=0, kernel_ns=None, source=None
    ))]
    #[expect(clippy::too_many_arguments, reason = "a record")]
    fn new(
        data: Py<PyAny>,
        seq: u64,
        generation: u64,
        connection_id: u64,
        received_ns: u64,
        received_mono_ns: u64,
        kernel_ns: Option<u64>,
        source: Option<Py<PyString>>,
    ) -> Self {
        Self { data, seq, generation, connection_id, received_ns, received_mono_ns, kernel_ns, source }
    }

    fn __eq__(&self, py: Python<'_>, other: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
        let Ok(other) = other.cast::<Self>() else { return Ok(py.NotImplemented()) };
        let equal = self.fields(py)?.eq(other.get().fields(py)?)?;
        Ok(equal.into_pyobject(py)?.to_owned().into_any().unbind())
    }

    fn __hash__(&self, py: Python<'_>) -> PyResult<isize> {
        self.fields(py)?.hash()
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        let data = self.data.bind(py).repr()?;
        Ok(format!("Message({data}, seq={}, generation={})", self.seq, self.generation))
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.data)
    }
}
