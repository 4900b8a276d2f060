//! Where the core puts what it receives: into the connection's queue.

use std::collections::VecDeque;

use fastws_core::{Delivery, Event, Flow, Opcode, Sink, Unit};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyTuple};

use crate::gc;
use crate::landing::Landing;
use crate::queue::Queue;

/// Puts what the core receives into the queue.
pub(crate) struct QueueSink<'a, 'py> {
    py: Python<'py>,
    queue: &'a mut Queue,
    events: &'a mut VecDeque<Event>,
    delivery: Delivery,
    room: usize,
    failed: Option<PyErr>,
}

impl<'a, 'py> QueueSink<'a, 'py> {
    pub(crate) fn new(
        py: Python<'py>,
        queue: &'a mut Queue,
        events: &'a mut VecDeque<Event>,
        delivery: Delivery,
    ) -> Self {
        Self { py, queue, events, delivery, room: PARSE_MESSAGES, failed: None }
    }

    /// Whether Python had memory for everything.
    pub(crate) fn outcome(self) -> PyResult<()> {
        self.failed.map_or(Ok(()), Err)
    }

    fn flow(&mut self) -> Flow {
        self.room = self.room.saturating_sub(1);
        if self.room == 0 || self.failed.is_some() { Flow::Stop } else { Flow::Continue }
    }

    /// A fragment or frame: (opcode, fin, rsv, payload).
    fn push_piece(&mut self, unit: Unit, payload: &[u8]) {
        let _paused = gc::pause(self.py);
        let made = PyTuple::new(
            self.py,
            [
                (unit.opcode as u8).into_pyobject(self.py).map_or_else(|e| match e {}, Bound::into_any),
                unit.fin.into_pyobject(self.py).map_or_else(|e| match e {}, |b| b.to_owned().into_any()),
                unit.rsv.into_pyobject(self.py).map_or_else(|e| match e {}, Bound::into_any),
                PyBytes::new(self.py, payload).into_any(),
            ],
        );
        match made {
            Ok(piece) => self.queue.push_piece(piece.into_any().unbind(), payload.len()),
            Err(error) => self.failed = Some(error),
        }
    }
}

impl Sink for QueueSink<'_, '_> {
    type Buf = Landing;

    #[inline]
    fn whole(&mut self, unit: Unit, payload: &[u8]) -> Flow {
        if self.delivery == Delivery::Messages {
            self.queue.push_slice(unit, payload);
        } else if self.delivery == Delivery::Raw {
            self.queue.note_header(payload.len());
            self.queue.push_slice(unit, payload);
        } else {
            self.push_piece(unit, payload);
        }
        self.flow()
    }

    fn lend(&mut self, unit: Unit, capacity: usize) -> Result<Landing, fastws_core::sink::OutOfMemory> {
        let text = unit.opcode == Opcode::Text && self.queue.form == crate::queue::Form::Auto;
        Landing::new(text, capacity)
    }

    fn assembled(&mut self, unit: Unit, payload: Landing) -> Flow {
        if self.delivery == Delivery::Raw {
            self.queue.note_header(fastws_core::PayloadBuf::len(&payload));
        }
        if !matches!(self.delivery, Delivery::Messages | Delivery::Raw) {
            self.push_piece(unit, fastws_core::PayloadBuf::as_slice(&payload));
        } else if let Err(error) = self.queue.push_assembled(self.py, unit, payload) {
            self.failed = Some(error);
        }
        self.flow()
    }

    fn event(&mut self, event: Event) {
        // What the driver does not act on is not kept: a peer may send a hundred thousand pings in one read.
        match event {
            Event::Ping(_) | Event::DataOver | Event::Requested(_) | Event::Pong { answers: None, .. } => {}
            Event::Opened(_) | Event::Refused { .. } | Event::Pong { .. } => self.events.push_back(event),
        }
    }

    fn before_failure(&mut self) -> Flow {
        // The consumer gets to answer what came before, as it would if the network had cut the stream there.
        if self.queue.is_empty() { Flow::Continue } else { Flow::Stop }
    }
}

/// Messages parsed before the consumer is woken: it keeps what is parsed in the cache, and bounds an overshoot.
const PARSE_MESSAGES: usize = 2048;
