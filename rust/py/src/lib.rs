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
mod extras;
mod fault;
mod fork;
mod future;
mod gc;
mod hub;
mod keys;
mod landing;
mod listener;
mod payload;
mod poller;
mod queue;
mod reader;
mod request;
mod ring;
mod secured;
mod settings;
mod sink;
mod syscall;
mod testing;
mod tls;
mod transfer;
mod tunnel;
mod venue;
mod view;
mod waiter;
mod wire;

use pyo3::prelude::*;

/// The native half of fastws.
#[pymodule(gil_used = true)]
mod _core {
    use pyo3::prelude::*;

    #[pymodule_export]
    use super::batch::Batch;
    #[pymodule_export]
    use super::blocking::Blocking;
    #[pymodule_export]
    use super::clock::seconds;
    #[pymodule_export]
    use super::conn::Conn;
    #[pymodule_export]
    use super::cork::Cork;
    #[pymodule_export]
    use super::fault::{panic_at, work_elsewhere};
    #[pymodule_export]
    use super::hub::Hub;
    #[pymodule_export]
    use super::keys::Key;
    #[pymodule_export]
    use super::request::{Request, parse_uri};
    #[pymodule_export]
    use super::ring::{Cursor, Message, Ring};
    #[pymodule_export]
    use super::settings::Settings;
    #[pymodule_export]
    use super::testing::TestServer;
    #[pymodule_export]
    use super::tls::{TlsContext, certificate_pin};
    #[pymodule_export]
    use super::tunnel::TlsTunnel;
    #[pymodule_export]
    use super::venue::TestVenue;
    #[pymodule_export]
    use super::view::MessageView;
    #[pymodule_export]
    use super::waiter::Waiter;
    #[pymodule_export]
    use super::wire::Protocol;

    #[pymodule_init]
    fn init(m: &Bound<'_, PyModule>) -> PyResult<()> {
        super::awaitable::prepare(m.py())?;
        let sequence = m.py().import("collections.abc")?.getattr("Sequence")?;
        sequence.call_method1("register", (m.py().get_type::<super::batch::Batch>(),))?;
        m.add("__version__", env!("CARGO_PKG_VERSION"))
    }
}
