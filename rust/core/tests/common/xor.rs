//! An extension that XORs, and both ends of a connection with it.

use std::any::Any;

use fastws_core::filter::{Direction, FilterFrame, Filtered, FrameFilter, WorkDone};
use fastws_core::{Config, Limit, Opcode, Role, Violation};

use crate::common::{End, frame, quiet};

/// XORs every byte with 0x20 and sets RSV1 on the first frame of a message. Payloads that begin with `J` leave as work,
/// with the count of frames so far as the state that travels; those that begin with `F` fail.
struct Xor {
    /// Frames decoded and encoded; none while the count travels.
    counts: [Option<u32>; 2],
}

impl Default for Xor {
    fn default() -> Self {
        Self { counts: [Some(0), Some(0)] }
    }
}

pub fn xor(payload: &[u8]) -> Vec<u8> {
    payload.iter().map(|byte| byte ^ 0x20).collect()
}

impl Xor {
    fn run(&mut self, direction: Direction, frame: FilterFrame, plain: u8, payload: &[u8]) -> Filtered {
        let count = self.counts[direction as usize].take().expect("no frame while the state travels");
        let is_first = frame.opcode != Opcode::Continuation;
        let rsv = if direction == Direction::Send && is_first { 4 } else { 0 };
        let out = FilterFrame { rsv, ..frame };
        match plain {
            b'J' => {
                let payload = payload.to_vec();
                Filtered::Work(Box::new(move || WorkDone {
                    result: if payload.ends_with(&[b'!' ^ if direction == Direction::Send { 0 } else { 0x20 }]) {
                        Err(Violation::Extension("the work failed".to_owned()).into())
                    } else {
                        Ok((out, xor(&payload)))
                    },
                    state: Some(Box::new(count + 1)),
                }))
            }
            b'F' => Filtered::Failed(Violation::Extension("no".to_owned()).into()),
            _ => {
                self.counts[direction as usize] = Some(count + 1);
                Filtered::Made(out, xor(payload).into())
            }
        }
    }
}

impl FrameFilter for Xor {
    fn reserved_bits(&self) -> u8 {
        4
    }

    fn decode(&mut self, frame: FilterFrame, payload: &[u8], limit: usize) -> Filtered {
        if payload.len() > limit {
            return Filtered::Failed(Limit::Message { size: payload.len() as u64, before: 0, limit }.into());
        }
        let plain = payload.first().map_or(0, |byte| byte ^ 0x20);
        self.run(Direction::Receive, frame, plain, payload)
    }

    fn encode(&mut self, frame: FilterFrame, payload: &[u8]) -> Filtered {
        let plain = payload.first().copied().unwrap_or_default();
        self.run(Direction::Send, frame, plain, payload)
    }

    fn restore(&mut self, direction: Direction, state: Box<dyn Any + Send>) {
        let count = *state.downcast::<u32>().expect("the count");
        assert!(self.counts[direction as usize].replace(count).is_none());
    }
}

pub fn filtered(role: Role) -> End {
    filtered_with(quiet(role))
}

pub fn filtered_with(config: Config) -> End {
    let mut end = End::open(config);
    end.conn.set_filter(Box::<Xor>::default());
    end
}

/// A frame as the extension at the other end makes it.
pub fn coded(role: Role, first: u8, payload: &[u8]) -> Vec<u8> {
    let rsv = if first.trailing_zeros() >= 4 { 0 } else { 0x40 };
    frame(role, first | rsv, &xor(payload))
}

/// Runs the work that waits, as a driver does; returns its direction.
pub fn work(end: &mut End) -> Option<Direction> {
    let work = end.conn.take_work()?;
    let done = (work.run)();
    end.conn.job_done(work.direction, done, end.now, &mut end.sink);
    Some(work.direction)
}

/// What was sent, decoded; control frames as they are.
pub fn sent(end: &mut End) -> Vec<(Opcode, bool, Vec<u8>)> {
    let frames = end.sent();
    frames
        .into_iter()
        .map(|(opcode, fin, payload)| (opcode, fin, if opcode.is_control() { payload } else { xor(&payload) }))
        .collect()
}
