//! All bytes of a connection, without TLS, for a log: the policy is told of them, when nothing is borrowed.

use std::cell::RefCell;

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::blocking::Blocking;
use crate::conn::{Conn, Inner};
use crate::extras::Extras;

/// Which way bytes went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    In,
    Out,
}

/// What passed by, in order. Nothing, received, is the stream's end; nothing, sent, is ours.
#[derive(Default)]
pub(crate) struct Tap(Vec<(Way, Vec<u8>)>);

/// Notes what passed, if somebody wants to know.
#[inline]
pub(crate) fn note(extras: &mut Option<Box<Extras>>, way: Way, first: &[u8], second: &[u8]) {
    if let Some(tap) = extras.as_mut().and_then(|extras| extras.tap.as_mut()) {
        tap.0.push((way, [first, second].concat()));
    }
}

/// The same of the first `count` bytes of two slices that were to be sent.
#[inline]
pub(crate) fn note_sent(extras: &mut Option<Box<Extras>>, first: &[u8], second: &[u8], count: usize) {
    if extras.is_some() {
        let of_first = count.min(first.len());
        note(extras, Way::Out, &first[..of_first], &second[..count - of_first]);
    }
}

impl Inner {
    /// Whether somebody is told of all bytes.
    #[inline]
    pub(crate) fn is_tapped(&self) -> bool {
        self.extras.as_ref().is_some_and(|extras| extras.tap.is_some())
    }

    fn take_noted(&mut self) -> Vec<(Way, Vec<u8>)> {
        let tap = self.extras.as_mut().and_then(|extras| extras.tap.as_mut());
        tap.map_or_else(Vec::new, |tap| std::mem::take(&mut tap.0))
    }
}

#[cold]
fn tell(ws: &Bound<'_, PyAny>, policy: &Py<PyAny>, inner: &RefCell<Inner>) -> PyResult<()> {
    let py = ws.py();
    let noted = inner.borrow_mut().take_noted();
    if noted.is_empty() {
        return Ok(());
    }
    let spans: Vec<_> = noted.iter().map(|(way, bytes)| (*way == Way::In, PyBytes::new(py, bytes))).collect();
    policy.bind(py).call_method1(intern!(py, "tapped"), (ws, spans)).map(|_| ())
}

impl Conn {
    /// Tells the policy what passed by.
    pub(crate) fn tell_tapped(slf: &Bound<'_, Self>) -> PyResult<()> {
        tell(slf.as_any(), &slf.get().policy, &slf.get().inner)
    }
}

impl Blocking {
    /// Tells the policy what passed by.
    pub(crate) fn tell_tapped(slf: &Bound<'_, Self>) -> PyResult<()> {
        let (policy, inner) = slf.get().tapped();
        tell(slf.as_any(), policy, inner)
    }
}
