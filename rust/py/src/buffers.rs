//! Buffers of a thread, lent to its connections: for reading during a wake-up, for sending while something waits to be
//! sent. An idle connection owns none.

use std::cell::{Cell, RefCell};

/// What is read at once. Large enough that one recv(2) takes what loopback or a 10 GbE card gathered in a turn, small
/// enough to stay in a core's second-level cache.
pub const READ_SIZE: usize = 256 << 10;

/// What a send queue starts with: a power of two, as its ring wants. Twice what is worth a system call, so that messages of
/// up to 64 KiB never make it grow.
const SEND_SIZE: usize = 128 << 10;

/// The largest storage that is kept for the next large message: one of 1 MiB and its header.
const LARGE_SIZE: usize = 2 << 20;

/// What TLS records are written into: as many as leave in one write, see `transfer::TLS_CHUNK`, and what they add to it.
const RECORDS_SIZE: usize = 72 << 10;

thread_local! {
    static SPARE_RECORDS: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
    static SPARE: RefCell<Vec<Box<[u8]>>> = const { RefCell::new(Vec::new()) };
    static SPARE_SEND: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
    static SPARE_LARGE: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// Storage for a send queue that is about to take a message of so many bytes.
#[inline]
pub fn take_send(size: usize) -> Vec<u8> {
    if size > SEND_SIZE / 2 {
        return take_large(size);
    }
    SPARE_SEND.with_borrow_mut(Vec::pop).unwrap_or_else(|| vec![0; SEND_SIZE])
}

/// Room for the message, its header, and what is worth a system call behind it.
#[cold]
fn take_large(size: usize) -> Vec<u8> {
    let spare = SPARE_LARGE.take();
    let wanted = size.saturating_add(SEND_SIZE / 2);
    // What the queue cannot be lent it makes by itself, if the message is accepted at all.
    let Some(wanted) = wanted.checked_next_power_of_two().filter(|wanted| *wanted <= LARGE_SIZE) else {
        SPARE_LARGE.set(spare);
        return Vec::new();
    };
    if spare.len() >= wanted { spare } else { vec![0; wanted] }
}

/// Takes storage of a send queue back. What has grown is kept once, and freed if it is very large.
#[inline]
pub fn give_send(storage: Vec<u8>) {
    if storage.len() == SEND_SIZE {
        SPARE_SEND.with_borrow_mut(|spare| {
            if spare.len() < MAX_SPARE {
                spare.push(storage);
            }
        });
    } else if storage.len() > SEND_SIZE && storage.len() <= LARGE_SIZE {
        give_large(storage);
    }
}

#[cold]
fn give_large(storage: Vec<u8>) {
    let spare = SPARE_LARGE.take();
    SPARE_LARGE.set(if spare.len() > storage.len() { spare } else { storage });
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
