//! What the frame filter makes of data frames, at once or as work that is done elsewhere.

use super::receive::is_alone;
use super::{Busy, Connection};
use crate::Nanos;
use crate::config::Delivery;
use crate::error::{Error, Limit, Violation};
use crate::filter::{Direction, FilterFrame, Filtered, Work, WorkDone};
use crate::frame::{Header, Opcode};
use crate::sink::{Flow, PayloadBuf, Sink};
use crate::state::State;
use crate::utf8;

impl<B: PayloadBuf> Connection<B> {
    /// Whether the filter, if there is one, lets messages without RSV bits be, and none waits for work before them.
    #[inline]
    pub(super) fn passes_plain(&self) -> bool {
        self.filter.as_ref().is_none_or(|slot| slot.receiving.busy.is_none() && slot.filter.passes_plain())
    }

    /// A whole data frame on its way through the filter. `lies`: the payload is in the input.
    pub(super) fn filter_received<S: Sink<Buf = B>>(
        &mut self,
        frame: FilterFrame,
        opcode: Opcode,
        payload: &[u8],
        lies: bool,
        sink: &mut S,
    ) -> Result<Flow, Error> {
        let limit = self.assembly.allowance(&self.config.limits);
        let Some(slot) = &mut self.filter else { return Ok(Flow::Continue) };
        if slot.receiving.busy.is_some() {
            slot.receiving.push(frame, opcode, payload.to_vec());
            return Ok(Flow::Continue);
        }
        let bytes = payload.len();
        match slot.filter.decode(frame, payload, limit) {
            Filtered::Same(frame) => {
                let goes_on = slot.spend(payload.len());
                let flow = self.filtered(frame, opcode, payload, lies, sink)?;
                Ok(if goes_on { flow } else { Flow::Stop })
            }
            Filtered::Made(frame, payload) => {
                let goes_on = slot.spend(payload.len());
                let flow = self.filtered(frame, opcode, &payload, false, sink)?;
                Ok(if goes_on { flow } else { Flow::Stop })
            }
            Filtered::Work(run) => {
                let work = Work { direction: Direction::Receive, run };
                slot.receiving.begin(work, Busy { opcode, bytes, fin: frame.fin });
                Ok(Flow::Continue)
            }
            Filtered::Failed(error) => Err(error),
        }
    }

    /// A frame that came out of the filter. `lies`: the payload is in the input.
    fn filtered<S: Sink<Buf = B>>(
        &mut self,
        frame: FilterFrame,
        opcode: Opcode,
        payload: &[u8],
        lies: bool,
        sink: &mut S,
    ) -> Result<Flow, Error> {
        let header =
            Header { opcode: frame.opcode, fin: frame.fin, rsv: frame.rsv, key: None, length: payload.len() as u64 };
        let mut unit = self.unit(&header, opcode);
        self.assembly.admit_filtered(&header, &self.config.limits)?;
        if is_alone(&header) && matches!(self.config.delivery, Delivery::Messages | Delivery::Mixed) {
            unit.ascii = opcode == Opcode::Text && utf8::validate(payload).map_err(Violation::Utf8)?;
            self.stats.messages_received += 1;
            if lies {
                return Ok(sink.whole(unit, payload));
            }
            return sink.copied(unit, payload).map_err(|_| Limit::Memory { size: payload.len() }.into());
        }
        self.assembly.check(opcode, payload)?;
        self.assembly.make_room(payload.len(), 0, frame.fin, unit, |u, n| sink.lend(u, n))?;
        if let Some((buf, _)) = self.assembly.storage() {
            buf.extend(payload);
        }
        self.end_frame(header, opcode, sink)
    }

    /// Takes back the result of [`Work`], and goes on with what waited behind it.
    pub fn job_done<S: Sink<Buf = B>>(&mut self, direction: Direction, done: WorkDone, now: Nanos, sink: &mut S) {
        let Some(slot) = &mut self.filter else { return };
        if let Some(state) = done.state {
            slot.filter.restore(direction, state);
        }
        let Some(opcode) = slot.parked(direction).end(done.result.is_ok()) else { return };
        if self.state() == State::Closed {
            return;
        }
        if direction == Direction::Send {
            self.send_worked(done.result, now, sink);
            return;
        }
        if self.data_over() {
            return;
        }
        let mut outcome = done.result.and_then(|(frame, payload)| self.filtered(frame, opcode, &payload, false, sink));
        while outcome.is_ok() {
            let idle = self.filter.as_mut().filter(|slot| slot.receiving.busy.is_none());
            let Some((frame, opcode, payload)) = idle.and_then(|slot| slot.receiving.pop()) else { break };
            outcome = self.filter_received(frame, opcode, &payload, false, sink);
        }
        self.look_at_work(now);
        if let Err(error) = outcome {
            self.fail(error, now, sink);
        } else if self.filter.as_ref().is_some_and(|slot| slot.draining && slot.receiving.busy.is_none()) {
            self.data_ends(sink);
        }
    }
}
