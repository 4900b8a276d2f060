//! How long a consumer may take messages before the loop has its turn.

use fastws_core::Nanos;

use crate::clock;

/// Time for which a consumer may take messages without giving the loop a turn.
const RUN: u64 = 500_000;

/// Messages after which the time is looked at, at most. A slow consumer has its time looked at more often.
const CHECK: u32 = 64;

/// A consumer's run: it begins when its task is woken, and is used up by time.
pub(crate) struct Budget {
    /// When the run began, when the time was last looked at, and messages until the next look.
    pub start: Nanos,
    looked: Nanos,
    pub left: u32,
    /// Messages from look to look.
    step: u32,
    /// The loop's turn in which the run began, or was last found long.
    pub turn: u64,
}

impl Budget {
    pub const fn new() -> Self {
        Self { start: 0, looked: 0, left: 1, step: 1, turn: 0 }
    }

    /// A new run begins.
    pub fn begin(&mut self) {
        self.begin_at(clock::monotonic());
    }

    /// The same, where the time is known.
    #[inline]
    pub fn begin_at(&mut self, now: Nanos) {
        self.start = now;
        self.looked = self.start;
        self.left = self.step;
    }

    /// A message is about to be taken: whether the run is used up.
    #[inline]
    pub fn is_used_up(&mut self) -> bool {
        self.left -= 1;
        self.left == 0 && self.look_at_the_time()
    }

    /// Whether the run is used up; and when to look again: each look shall see a quarter of the budget at most.
    #[cold]
    fn look_at_the_time(&mut self) -> bool {
        let now = clock::monotonic();
        let passed = now - std::mem::replace(&mut self.looked, now);
        let share = RUN / 4;
        self.step = match passed {
            _ if passed > share => (u64::from(self.step) * share / passed).max(1) as u32,
            _ if passed < share / 2 => (self.step * 2).min(CHECK),
            _ => self.step,
        };
        self.left = self.step;
        now - self.start > RUN
    }

    /// The loop went on meanwhile, as its consumer awaited something else: a new run begins.
    pub fn had_a_turn(&mut self, turn: u64) -> bool {
        let had = std::mem::replace(&mut self.turn, turn) != turn;
        if had {
            self.start = self.looked;
        }
        had
    }
}
