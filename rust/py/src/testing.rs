//! The embedded server, for `fastws.testing`. It runs in threads of its own and knows nothing of Python.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use fastws_server::path::fault;
use fastws_server::{
    Accept, At, Blast, ConnectionReport, Feed, FeedMessage, Outgoing, Paced, Refusal, Replay, Server, ServerConfig,
    Step, Subscribe, TlsSettings,
};
use pyo3::exceptions::{PyKeyError, PyOSError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList, PyTuple};

use crate::venue::{self, TestVenue};

/// The embedded server. Wrapped by `fastws.testing.Server`.
#[pyclass(frozen, module = "fastws._core")]
pub struct TestServer {
    server: Server,
}

#[pymethods]
impl TestServer {
    #[new]
    fn new(py: Python<'_>, host: &str, port: u16, options: &Bound<'_, PyDict>) -> PyResult<Self> {
        let get = |name: &'static str| options.get_item(name)?.ok_or_else(|| PyKeyError::new_err(name));
        let host: IpAddr =
            host.parse().map_err(|_| PyValueError::new_err(format!("host must be an IP address, not {host:?}")))?;
        let tls = if get("tls")?.extract()? {
            Some(TlsSettings {
                names: get("names")?.extract()?,
                tls12_only: get("tls12_only")?.extract()?,
                ..TlsSettings::default()
            })
        } else {
            None
        };
        let config = ServerConfig {
            host,
            port,
            tls,
            threads: get("threads")?.extract()?,
            cpus: get("cpus")?.extract()?,
            spin: seconds(get("spin")?.extract()?)?,
            subprotocols: get("subprotocols")?.extract()?,
            headers: get("headers")?.extract()?,
            accept_delay: seconds(get("accept_delay")?.extract()?)?,
            record: get("record")?.extract()?,
            max_message: get("max_message")?.extract()?,
            max_connections: get("max_connections")?.extract()?,
            timeout: seconds(get("timeout")?.extract()?)?,
            ..ServerConfig::default()
        };
        let server = py.detach(|| Server::start(config)).map_err(|error| match error.raw_os_error() {
            // Two arguments make it the OSError of its kind, with `errno`.
            Some(code) => {
                let text = error.to_string();
                let text = text.split(" (os error").next().unwrap_or_default();
                PyOSError::new_err((code, format!("cannot listen on {}: {text}", SocketAddr::new(host, port))))
            }
            None => error.into(),
        })?;
        Ok(Self { server })
    }

    #[getter]
    fn host(&self) -> String {
        self.server.addr().ip().to_string()
    }

    #[getter]
    fn port(&self) -> u16 {
        self.server.port()
    }

    #[getter]
    fn ca_pem<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, self.server.ca_pem().unwrap_or_default().as_bytes())
    }

    /// `messages` are (seconds since the beginning, whether text, payload).
    fn add_feed(&self, name: String, messages: Vec<(f64, bool, Vec<u8>)>) -> PyResult<()> {
        let messages = messages
            .into_iter()
            .map(|(at, text, payload)| Ok(FeedMessage { at_ns: seconds(at)?.as_nanos() as u64, text, payload }))
            .collect::<PyResult<Vec<_>>>()?;
        self.server.register_feed(name, &messages);
        Ok(())
    }

    fn load_feed(&self, py: Python<'_>, name: String, path: String) -> PyResult<()> {
        let feed = py.detach(|| Feed::load(path.as_ref())).map_err(|e| PyValueError::new_err(e.to_string()))?;
        self.server.add_feed(name, feed);
        Ok(())
    }

    /// `steps` are tuples: a name, then its values; `fastws.testing.steps` makes them.
    fn script(&self, path: String, steps: Vec<Bound<'_, PyTuple>>) -> PyResult<()> {
        let mut program = Vec::new();
        for step in &steps {
            read_step(step, &mut program)?;
        }
        self.server.script(path, program, None);
        Ok(())
    }

    /// `options` are those of `fastws.testing.Server.add_venue`.
    fn add_venue(&self, path: String, options: &Bound<'_, PyDict>) -> PyResult<TestVenue> {
        venue::add(&self.server, path, options)
    }

    fn replay_started_ns(&self, name: &str) -> Option<u64> {
        self.server.replay_started_ns(name)
    }

    fn stats<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let stats = self.server.stats();
        let dict = PyDict::new(py);
        for (name, value) in [
            ("accepted", stats.accepted),
            ("open", stats.open),
            ("requests", stats.requests),
            ("resumed", stats.resumed),
            ("turned_away", stats.turned_away),
            ("messages_in", stats.messages_in),
            ("messages_out", stats.messages_out),
            ("bytes_in", stats.bytes_in),
            ("bytes_out", stats.bytes_out),
        ] {
            dict.set_item(name, value)?;
        }
        Ok(dict)
    }

    fn connections<'py>(&self, py: Python<'py>) -> PyResult<Vec<Bound<'py, PyDict>>> {
        self.server.connections().iter().map(|report| report_dict(py, report)).collect()
    }

    fn stop(&self, py: Python<'_>) {
        py.detach(|| self.server.stop());
    }
}

pub(crate) fn seconds(value: f64) -> PyResult<Duration> {
    Duration::try_from_secs_f64(value)
        .map_err(|_| PyValueError::new_err(format!("a duration is zero or more seconds, not {value}")))
}

fn read_step(step: &Bound<'_, PyTuple>, program: &mut Vec<Step>) -> PyResult<()> {
    let at = |index: usize| step.get_item(index);
    let name: String = at(0)?.extract()?;
    program.push(match name.as_str() {
        "accept" => Step::Accept(Accept {
            headers: at(1)?.extract()?,
            subprotocol: at(2)?.extract()?,
            deflate: None,
            glued: at(3)?.extract()?,
        }),
        "refuse" => {
            Step::Refuse(Refusal { status: at(1)?.extract()?, headers: at(2)?.extract()?, body: at(3)?.extract()? })
        }
        "answer" => Step::Answer(at(1)?.extract()?),
        "text" => Step::Send(Outgoing::Text(at(1)?.extract()?)),
        "binary" => Step::Send(Outgoing::Binary(at(1)?.extract()?)),
        "fragments" => Step::Send(Outgoing::Fragments(at(1)?.extract()?, at(2)?.extract()?)),
        "ping" => Step::Send(Outgoing::Ping(at(1)?.extract()?)),
        "pong" => Step::Send(Outgoing::Pong(at(1)?.extract()?)),
        "close" => Step::Send(Outgoing::Close(at(1)?.extract()?, at(2)?.extract()?)),
        "raw" => Step::Send(Outgoing::Raw(at(1)?.extract()?)),
        "expect" => Step::Expect(at(1)?.extract::<Option<u64>>()?.unwrap_or(u64::MAX)),
        "wait" => Step::Wait(seconds(at(1)?.extract()?)?),
        "echo" => Step::Echo(at(1)?.extract::<Option<u64>>()?.unwrap_or(u64::MAX)),
        "blast" => Step::Blast(
            0..at(1)?.extract()?,
            Blast { size: at(2)?.extract()?, text: at(3)?.extract()?, numbered: at(4)?.extract()? },
        ),
        "paced" => Step::Paced(0..at(1)?.extract()?, Paced { rate: at(2)?.extract()?, size: at(3)?.extract()? }),
        "replay" => {
            let subscribe = match at(3)?.extract::<String>()?.as_str() {
                "any" => Subscribe::Any,
                "json" => Subscribe::Equal,
                _ => Subscribe::Ignore,
            };
            let (name, speed) = (at(1)?.extract()?, at(2)?.extract()?);
            Step::Replay(0..u64::MAX, Replay { name, speed, subscribe, stamps: false })
        }
        "ping_every" => Step::PingEvery(seconds(at(1)?.extract()?)?),
        "fault" => {
            let text: String = at(1)?.extract()?;
            let (when, steps) = fault(&text).map_err(PyValueError::new_err)?;
            if when != At::Open {
                return Err(PyValueError::new_err(format!(
                    "a fault of a script happens at its place: leave out @ in {text:?}"
                )));
            }
            program.extend(steps);
            return Ok(());
        }
        "end" => Step::End,
        other => return Err(PyValueError::new_err(format!("unknown step {other:?}"))),
    });
    Ok(())
}

fn report_dict<'py>(py: Python<'py>, report: &ConnectionReport) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    let frames = report.frames.iter().map(|frame| {
        (frame.at_ns, frame.opcode as u8, frame.fin, frame.size, PyBytes::new(py, &frame.payload)).into_pyobject(py)
    });
    dict.set_item("id", report.id)?;
    dict.set_item("peer", report.peer.to_string())?;
    dict.set_item("target", &report.target)?;
    dict.set_item("headers", &report.headers)?;
    dict.set_item("subprotocol", &report.subprotocol)?;
    dict.set_item("accepted_ns", report.accepted_ns)?;
    dict.set_item("answered_ns", report.answered_ns)?;
    dict.set_item("ended_ns", report.ended_ns)?;
    dict.set_item("messages_in", report.messages_in)?;
    dict.set_item("messages_out", report.messages_out)?;
    dict.set_item("bytes_in", report.bytes_in)?;
    dict.set_item("bytes_out", report.bytes_out)?;
    dict.set_item("frames", PyList::new(py, frames.collect::<PyResult<Vec<_>>>()?)?)?;
    dict.set_item("frames_dropped", report.frames_dropped)?;
    dict.set_item("pings_ns", &report.pings_ns)?;
    dict.set_item("pongs_ns", &report.pongs_ns)?;
    dict.set_item("close_received", &report.close_received)?;
    dict.set_item("peer_fin", report.peer_fin)?;
    dict.set_item("peer_reset", report.peer_reset)?;
    dict.set_item("error", &report.error)?;
    Ok(dict)
}
