//! Where the core puts what it receives: into the connection's queue.

use std::collections::VecDeque;

use fastws_core::{Delivery, Event, Flow, Opcode, PayloadBuf, Sink, Unit};
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::landing::Landing;
use crate::queue::{Form, Queue};
use crate::{gc, pieces};

/// Puts what the core receives into the queue.
pub(crate) struct QueueSink<'a, 'py> {
    py: Python<'py>,
    queue: &'a mut Queue,
    events: &'a mut VecDeque<Event<'static>>,
    delivery: Delivery,
    /// What lies whole in the input is a message, and nothing is behind the queue's slots.
    takes_slices: bool,
    room: usize,
    lost: Option<usize>,
}

impl<'a, 'py> QueueSink<'a, 'py> {
    pub(crate) fn new(
        py: Python<'py>,
        queue: &'a mut Queue,
        events: &'a mut VecDeque<Event<'static>>,
        delivery: Delivery,
    ) -> Self {
        let takes_slices = match delivery {
            Delivery::Messages => true,
            Delivery::Mixed => !queue.has_pieces(),
            Delivery::Frames | Delivery::Raw => false,
        };
        Self { py, queue, events, delivery, takes_slices, room: PARSE_MESSAGES, lost: None }
    }

    /// Bytes that Python had no memory for: nothing is kept behind them.
    pub(crate) fn lost(self) -> Option<usize> {
        self.lost
    }

    fn flow(&mut self) -> Flow {
        self.room = self.room.saturating_sub(1);
        if self.room == 0 || self.lost.is_some() { Flow::Stop } else { Flow::Continue }
    }

    /// What lies whole in the input: a frame, or a message behind pieces.
    #[inline(never)]
    fn push_other(&mut self, unit: Unit, payload: &[u8]) {
        if self.lost.is_some() {
            return;
        }
        let outcome = match self.delivery {
            Delivery::Raw => {
                self.queue.push_frame(unit, payload);
                Ok(())
            }
            Delivery::Messages | Delivery::Mixed => self.queue.push_whole(self.py, unit, payload),
            Delivery::Frames => self.push_piece(unit, payload),
        };
        self.kept(&outcome, payload.len());
    }

    /// Whether so many bytes were kept; there is one reason only why not.
    fn kept(&mut self, outcome: &PyResult<()>, size: usize) {
        if outcome.is_err() {
            self.lost = Some(size);
            self.takes_slices = false;
        }
    }

    /// A frame: (opcode, fin, rsv, payload).
    fn push_piece(&mut self, unit: Unit, payload: &[u8]) -> PyResult<()> {
        let _paused = gc::pause(self.py);
        let bytes = PyBytes::new(self.py, payload).into_any();
        let piece = pieces::made(self.py, unit.opcode, unit.fin, unit.rsv, bytes)?;
        self.queue.push_piece(piece, payload.len());
        Ok(())
    }
}

impl Sink for QueueSink<'_, '_> {
    type Buf = Landing;

    #[inline]
    fn whole(&mut self, unit: Unit, payload: &[u8]) -> Flow {
        if self.takes_slices {
            self.queue.push_slice(unit, payload);
        } else {
            self.push_other(unit, payload);
        }
        self.flow()
    }

    fn lend(&mut self, unit: Unit, capacity: usize) -> Result<Landing, fastws_core::sink::OutOfMemory> {
        let is_piece = self.delivery == Delivery::Mixed && self.queue.is_piece(unit);
        let text = unit.opcode == Opcode::Text && self.queue.form == Form::Auto && !is_piece;
        Landing::new(text, capacity)
    }

    fn assembled(&mut self, unit: Unit, payload: Landing) -> Flow {
        if self.lost.is_some() {
            return Flow::Stop;
        }
        let size = PayloadBuf::len(&payload);
        let outcome = match self.delivery {
            Delivery::Mixed if self.queue.is_piece(unit) => {
                self.takes_slices = false;
                self.queue.push_fragment(self.py, unit, payload)
            }
            Delivery::Messages | Delivery::Mixed if unit.opcode.is_control() => {
                // Slices stay at the end of the queue: what came before becomes objects first.
                self.queue.settle(self.py).and_then(|()| self.push_piece(unit, payload.as_slice()))
            }
            Delivery::Messages | Delivery::Mixed => self.queue.push_assembled(self.py, unit, payload),
            Delivery::Raw => {
                self.queue.note_header(size);
                self.queue.push_assembled(self.py, unit, payload)
            }
            Delivery::Frames => self.push_piece(unit, payload.as_slice()),
        };
        self.kept(&outcome, size);
        self.flow()
    }

    fn copied(&mut self, unit: Unit, payload: &[u8]) -> Result<Flow, fastws_core::sink::OutOfMemory> {
        if self.lost.is_some() {
            return Ok(Flow::Stop);
        }
        let outcome = self.queue.push_copy(self.py, unit, payload);
        self.kept(&outcome, payload.len());
        Ok(self.flow())
    }

    fn event(&mut self, event: Event<'_>) -> Flow {
        // What the driver does not act on is not kept.
        let kept = match event {
            Event::Ping(_) | Event::DataOver | Event::Requested(_) | Event::Pong { answers: None, .. } => None,
            Event::Pong { answers, .. } => Some(Event::Pong { payload: &[], answers }),
            Event::Opened(response) => Some(Event::Opened(response)),
            Event::Refused { error, response } => Some(Event::Refused { error, response }),
        };
        self.events.extend(kept);
        // A peer may send a hundred thousand pings in one read.
        self.flow()
    }

    fn before_failure(&mut self) -> Flow {
        // The consumer gets to answer what came before, as it would if the network had cut the stream there.
        if self.queue.is_empty() && !self.queue.has_pieces() { Flow::Continue } else { Flow::Stop }
    }
}

/// Messages parsed before the consumer is woken: it keeps what is parsed in the cache, and bounds an overshoot.
const PARSE_MESSAGES: usize = 2048;
