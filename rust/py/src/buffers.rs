//! Buffers of a thread, lent to its connections: for reading during a wake-up, for sending while something waits to be
//! sent. An idle connection owns none.

use std::cell::RefCell;

/// What is read at once. Large enough that one recv(2) takes what loopback or a 10 GbE card gathered in a turn, small
/// enough to stay in a core's second-level cache.
pub const READ_SIZE: usize = 256 << 10;

/// What a send queue starts with: a power of two, as its ring wants.
const SEND_SIZE: usize = 64 << 10;

/// What TLS records are written into: as many as leave in one write, see `transfer::TLS_CHUNK`, and what they add to it.
const RECORDS_SIZE: usize = 72 << 10;

thread_local! {
    static SPARE_RECORDS: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
    static SPARE: RefCell<Vec<Box<[u8]>>> = const { RefCell::new(Vec::new()) };
    static SPARE_SEND: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

/// Storage for a send queue.
#[inline]
pub fn take_send() -> Vec<u8> {
    SPARE_SEND.with_borrow_mut(Vec::pop).unwrap_or_else(|| vec![0; SEND_SIZE])
}

/// Takes storage of a send queue back; what has grown is freed.
#[inline]
pub fn give_send(storage: Vec<u8>) {
    SPARE_SEND.with_borrow_mut(|spare| {
        if spare.len() < MAX_SPARE && storage.len() == SEND_SIZE {
            spare.push(storage);
        }
    });
}

/// Storage for TLS records to send.
#[inline]
pub fn take_records() -> Vec<u8> {
    SPARE_RECORDS.with_borrow_mut(Vec::pop).unwrap_or_else(|| vec![0; RECORDS_SIZE])
}

/// Takes storage of TLS records back; what has grown is freed.
#[inline]
pub fn give_records(storage: Vec<u8>) {
    SPARE_RECORDS.with_borrow_mut(|spare| {
        if spare.len() < MAX_SPARE && storage.len() == RECORDS_SIZE {
            spare.push(storage);
        }
    });
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
