//! A venue of the embedded server, for `fastws.testing`.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use fastws_server::{EndedBy, ScheduledFault, Server, SessionReport, Venue, VenueConfig, VenueFault};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyTuple};

use crate::testing::seconds;

/// A venue. Wrapped by `fastws.testing.Venue`.
#[pyclass(frozen, module = "fastws._core")]
pub struct TestVenue {
    venue: Arc<Venue>,
}

#[pymethods]
impl TestVenue {
    fn start(&self, py: Python<'_>) {
        py.detach(|| self.venue.start());
    }

    #[getter]
    fn started_ns(&self) -> Option<u64> {
        self.venue.started()
    }

    #[getter]
    fn position(&self) -> usize {
        self.venue.position()
    }

    fn report<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let report = py.detach(|| self.venue.report());
        let dict = PyDict::new(py);
        let dropped: Vec<_> = report.dropped.iter().map(|range| (range.start, range.end)).collect();
        dict.set_item("started_ns", report.started_ns)?;
        dict.set_item("position", report.position)?;
        dict.set_item("dropped", dropped)?;
        dict.set_item("accepted", report.accepted)?;
        dict.set_item("refused", report.refused)?;
        dict.set_item("accepted_ns", report.accepted_ns)?;
        dict.set_item("refused_ns", report.refused_ns)?;
        let sessions = report.sessions.iter().map(|session| session_dict(py, session));
        dict.set_item("sessions", sessions.collect::<PyResult<Vec<_>>>()?)?;
        Ok(dict)
    }
}

/// Reads the options of `fastws.testing.Server.add_venue` and adds the venue.
pub(crate) fn add(server: &Server, path: String, options: &Bound<'_, PyDict>) -> PyResult<TestVenue> {
    let get = |name: &'static str| options.get_item(name)?.ok_or_else(|| PyValueError::new_err(name));
    let name: String = get("feed")?.extract()?;
    let feed = server.feed(&name).ok_or_else(|| PyValueError::new_err(format!("no feed is called {name:?}")))?;
    let channels: Vec<Option<String>> = get("channels")?.extract()?;
    if !channels.is_empty() && channels.len() != feed.len() {
        let (given, wanted) = (channels.len(), feed.len());
        return Err(PyValueError::new_err(format!("channels has {given} entries for {wanted} messages")));
    }
    let mut snapshots = HashMap::new();
    for (channel, table) in get("snapshots")?.extract::<HashMap<String, Vec<(usize, Bound<'_, PyBytes>)>>>()? {
        let mut table: Vec<_> = table.into_iter().map(|(from, payload)| (from, payload.as_bytes().to_vec())).collect();
        table.sort_by_key(|(from, _)| *from);
        snapshots.insert(channel, table);
    }
    let faults = get("faults")?.extract::<Vec<Bound<'_, PyTuple>>>()?;
    let config = VenueConfig {
        feed,
        speed: get("speed")?.extract()?,
        tokens: get("tokens")?.extract()?,
        channels,
        snapshots,
        faults: faults.iter().map(read_fault).collect::<PyResult<_>>()?,
        autostart: get("autostart")?.extract()?,
    };
    Ok(TestVenue { venue: server.add_venue(path, config) })
}

/// A fault is a tuple: its name, when, then its values; `fastws.testing.venue` makes them.
fn read_fault(fault: &Bound<'_, PyTuple>) -> PyResult<ScheduledFault> {
    let at = |index: usize| fault.get_item(index);
    let span = |index: usize| -> PyResult<Duration> { seconds(at(index)?.extract()?) };
    let name: String = at(0)?.extract()?;
    let what = match name.as_str() {
        "reset" => VenueFault::Reset,
        "silence" => VenueFault::Silence(span(2)?),
        "close" => VenueFault::Close(at(2)?.extract()?, at(3)?.extract()?),
        "refuse" => VenueFault::Refuse { span: span(2)?, status: at(3)?.extract()?, retry_after: at(4)?.extract()? },
        "expire" => VenueFault::Expire(at(2)?.extract()?),
        "cut" => VenueFault::Cut(span(2)?),
        "drop" => VenueFault::Drop(at(2)?.extract()?),
        other => return Err(PyValueError::new_err(format!("unknown fault {other:?}"))),
    };
    Ok(ScheduledFault { at: span(1)?, fault: what })
}

fn session_dict<'py>(py: Python<'py>, session: &SessionReport) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    let subscribed: Vec<_> =
        session.subscribed.iter().map(|entry| (&entry.channel, entry.at_ns, entry.from, entry.until)).collect();
    let segments: Vec<_> = session.segments.iter().map(|segment| (segment.first, segment.end)).collect();
    let (ended_by, close_code) = match session.ended_by {
        None => (None, None),
        Some(EndedBy::Reset) => (Some("reset"), None),
        Some(EndedBy::Close(code)) => (Some("close"), Some(code)),
        Some(EndedBy::Client) => (Some("client"), None),
    };
    dict.set_item("connection_id", session.connection_id)?;
    dict.set_item("began_ns", session.began_ns)?;
    dict.set_item("authenticated_ns", session.authenticated_ns)?;
    dict.set_item("refused_tokens", session.refused_tokens)?;
    dict.set_item("subscribed", subscribed)?;
    dict.set_item("snapshots", session.snapshots)?;
    dict.set_item("written", session.written)?;
    dict.set_item("segments", segments)?;
    dict.set_item("faults", PyTuple::new(py, &session.faults)?)?;
    dict.set_item("ended_ns", session.ended_ns)?;
    dict.set_item("ended_by", ended_by)?;
    dict.set_item("close_code", close_code)?;
    Ok(dict)
}
