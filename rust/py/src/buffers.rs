//! Read buffers: one a thread, lent for a wake-up. An idle connection owns none.

use std::cell::RefCell;

/// What is read at once. Large enough that one recv(2) takes what loopback or a 10 GbE card gathered in a turn, small
/// enough to stay in a core's second-level cache.
pub const READ_SIZE: usize = 256 << 10;

thread_local! {
    static SPARE: RefCell<Vec<Box<[u8]>>> = const { RefCell::new(Vec::new()) };
}

/// Takes the thread's buffer, or a new one while it is lent.
pub fn take() -> Box<[u8]> {
    SPARE.with_borrow_mut(Vec::pop).unwrap_or_else(|| vec![0; READ_SIZE].into_boxed_slice())
}

/// Gives a buffer back.
pub fn give(buffer: Box<[u8]>) {
    SPARE.with_borrow_mut(|spare| {
        if spare.len() < MAX_SPARE && buffer.len() == READ_SIZE {
            spare.push(buffer);
        }
    });
}

/// Nested wake-ups are rare; two buffers serve them.
const MAX_SPARE: usize = 2;
