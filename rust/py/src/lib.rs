//! `fastws._core`: the drivers of fastws (who calls recv and send, who is woken) and the translation to Python. What a
//! frame means is decided in `fastws-core`; what a connection is for, in the Python package.

#[cfg(not(unix))]
compile_error!("fastws needs the descriptors of a Unix system: its driver for Windows is not written");

mod address;
mod arguments;
mod awaitable;
mod batch;
mod blocking;
mod budget;
mod buffers;
mod clock;
mod conn;
mod cork;
mod deliver;
mod driver;
mod entropy;
mod errors;
mod extras;
mod fault;
mod fork;
mod frame_transport;
mod frames;
mod future;
mod gc;
mod hub;
mod keys;
mod landing;
mod listener;
mod payload;
mod pieces;
mod poller;
mod queue;
mod reader;
mod request;
mod ring;
mod secured;
mod settings;
mod sink;
mod syscall;
mod tap;
mod testing;
mod tls;
mod transfer;
mod tunnel;
mod venue;
mod view;
mod waiter;
mod wire;
mod workers;

use pyo3::exceptions::PyImportError;
use pyo3::ffi;
use pyo3::prelude::*;

/// The native half of fastws.
#[pymodule(gil_used = true)]
fn _core(m: &Bound<'_, PyModule>) -> PyResult<()> {
    let py = m.py();
    // Before anything is made: what is kept for all is one interpreter's.
    refuse_others(py)?;
    // Whose package this is, where another one of the name shares the folder.
    py.import("fastws._neighbour")?.call_method0("check")?;
    // Before a key is drawn: a child must not go on with its parent's.
    fork::watch();
    awaitable::prepare(py)?;
    m.add_class::<batch::Batch>()?;
    m.add_class::<blocking::Blocking>()?;
    m.add_class::<conn::Conn>()?;
    m.add_class::<cork::Cork>()?;
    m.add_class::<frame_transport::FrameTransport>()?;
    m.add_class::<frames::Frame>()?;
    m.add_class::<hub::Hub>()?;
    m.add_class::<keys::Key>()?;
    m.add_class::<request::Request>()?;
    m.add_class::<ring::Cursor>()?;
    m.add_class::<ring::Message>()?;
    m.add_class::<ring::Ring>()?;
    m.add_class::<settings::Settings>()?;
    m.add_class::<testing::TestServer>()?;
    m.add_class::<tls::TlsContext>()?;
    m.add_class::<tunnel::TlsTunnel>()?;
    m.add_class::<venue::TestVenue>()?;
    m.add_class::<view::MessageView>()?;
    m.add_class::<wire::Protocol>()?;
    m.add("Waiter", waiter::prepare(py)?)?;
    m.add_function(wrap_pyfunction!(clock::clock_at, m)?)?;
    m.add_function(wrap_pyfunction!(clock::seconds, m)?)?;
    m.add_function(wrap_pyfunction!(fault::panic_at, m)?)?;
    m.add_function(wrap_pyfunction!(fault::work_elsewhere, m)?)?;
    m.add_function(wrap_pyfunction!(frames::frame_kinds, m)?)?;
    m.add_function(wrap_pyfunction!(request::parse_uri, m)?)?;
    m.add_function(wrap_pyfunction!(tls::certificate_fault, m)?)?;
    m.add_function(wrap_pyfunction!(tls::certificate_pin, m)?)?;
    let sequence = py.import("collections.abc")?.getattr("Sequence")?;
    sequence.call_method1("register", (py.get_type::<batch::Batch>(),))?;
    m.add("__version__", env!("CARGO_PKG_VERSION"))
}

/// Refuses sub-interpreters. CPython does so itself where they have a lock of their own.
fn refuse_others(_: Python<'_>) -> PyResult<()> {
    // SAFETY: attached; both give what lives as long as the process, or as this interpreter.
    let is_main = unsafe { ffi::PyInterpreterState_Get() == ffi::PyInterpreterState_Main() };
    if is_main {
        return Ok(());
    }
    Err(PyImportError::new_err("fastws does not support sub-interpreters: import it in the main interpreter"))
}
