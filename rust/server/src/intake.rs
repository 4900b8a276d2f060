//! Where a connection's frames go: counted, recorded, echoed.

use fastws_core::handshake::Request;
use fastws_core::sink::OutOfMemory;
use fastws_core::{Error, Event, Flow, Nanos, Sink, Unit};

use crate::output::Outbox;
use crate::program::Active;
use crate::report::ConnLog;
use crate::source::Source;

/// Takes in what one call of `receive` finds.
pub(crate) struct Intake<'a> {
    pub(crate) active: &'a mut Active,
    pub(crate) outbox: &'a mut Outbox,
    pub(crate) log: &'a ConnLog,
    pub(crate) now: Nanos,
    /// Echoes and answers may be sent.
    pub(crate) open: bool,
    pub(crate) record: bool,
    pub(crate) tally: Tally,
}

/// What was found.
#[derive(Default)]
pub(crate) struct Tally {
    pub(crate) messages: u64,
    pub(crate) bytes: u64,
    pub(crate) echoed: u64,
    pub(crate) echoed_bytes: u64,
    /// Messages that no step was waiting for.
    pub(crate) early: u64,
    pub(crate) request: Option<Box<Request>>,
    pub(crate) refused: Option<Error>,
    /// The last ping: the answer to it answers all (RFC 6455 §5.5.3).
    pub(crate) ping: Option<Vec<u8>>,
}

impl Intake<'_> {
    /// What is to be done with every frame besides echoing it.
    #[inline]
    fn note(&mut self, unit: Unit, payload: &[u8]) {
        if self.record {
            self.log.frame(unit.opcode, unit.fin, payload, self.now);
        }
        if unit.opcode.is_control() {
            return;
        }
        self.tally.messages += u64::from(unit.fin);
        self.tally.bytes += payload.len() as u64;
        match self.active {
            Active::Source(Source::Replay(replay)) => replay.on_frame(unit.fin, payload, self.now),
            Active::Source(Source::Venue(session)) if self.open => {
                session.on_frame(unit.fin, payload, self.now, self.outbox);
            }
            _ => {}
        }
    }

    /// Whether a frame is to be echoed.
    #[inline]
    fn is_echoed(&mut self, unit: Unit, size: usize) -> bool {
        if !self.open || unit.opcode.is_control() || !matches!(self.active, Active::Echo(1..)) {
            return false;
        }
        self.tally.echoed += u64::from(unit.fin);
        self.tally.echoed_bytes += size as u64;
        true
    }

    /// Counts a message where a step counts; stops where the step has seen enough.
    #[inline]
    fn count(&mut self, unit: Unit) -> Flow {
        if unit.opcode.is_control() || !unit.fin {
            return Flow::Continue;
        }
        match self.active {
            Active::Echo(u64::MAX) | Active::Expect(u64::MAX) => Flow::Continue,
            Active::Echo(left @ 1..) | Active::Expect(left @ 1..) => {
                *left -= 1;
                if *left == 0 { Flow::Stop } else { Flow::Continue }
            }
            _ => {
                self.tally.early += 1;
                Flow::Continue
            }
        }
    }
}

impl Sink for Intake<'_> {
    type Buf = Vec<u8>;

    #[inline]
    fn whole(&mut self, unit: Unit, payload: &[u8]) -> Flow {
        self.note(unit, payload);
        if self.is_echoed(unit, payload.len()) {
            self.outbox.push(unit.opcode, unit.fin, payload);
        }
        self.count(unit)
    }

    fn lend(&mut self, _unit: Unit, capacity: usize) -> Result<Vec<u8>, OutOfMemory> {
        let mut buf = Vec::new();
        buf.try_reserve_exact(capacity).map_err(|_| OutOfMemory)?;
        Ok(buf)
    }

    fn assembled(&mut self, unit: Unit, payload: Vec<u8>) -> Flow {
        self.note(unit, &payload);
        if self.is_echoed(unit, payload.len()) {
            self.outbox.push_owned(unit.opcode, unit.fin, payload);
        }
        self.count(unit)
    }

    fn event(&mut self, event: Event<'_>) -> Flow {
        match event {
            Event::Requested(request) => self.tally.request = Some(request),
            Event::Refused { error, .. } => self.tally.refused = Some(error),
            Event::Ping(payload) => {
                self.log.ping(self.now);
                self.tally.ping = Some(payload.to_vec());
            }
            Event::Pong { .. } => self.log.pong(self.now),
            Event::Opened(_) | Event::DataOver => {}
        }
        Flow::Continue
    }
}

/// Takes nothing in: for calls that bring no data.
pub(crate) struct Deaf;

impl Sink for Deaf {
    type Buf = Vec<u8>;

    fn whole(&mut self, _unit: Unit, _payload: &[u8]) -> Flow {
        Flow::Continue
    }

    fn lend(&mut self, _unit: Unit, _capacity: usize) -> Result<Vec<u8>, OutOfMemory> {
        Ok(Vec::new())
    }

    fn assembled(&mut self, _unit: Unit, _payload: Vec<u8>) -> Flow {
        Flow::Continue
    }

    fn event(&mut self, _event: Event<'_>) -> Flow {
        Flow::Continue
    }
}
