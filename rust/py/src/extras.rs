//! What a connection may ask of a read besides its bytes: the kernel's timestamp, and that TCP acknowledges at once; or that
//! it reads no descriptor at all, but a transport of asyncio's; or that somebody is told of all bytes.
//!
//! Few connections do, so this is boxed, and a read without it is a plain recv(2).

use std::collections::VecDeque;
use std::io;

use fastws_core::Nanos;
use pyo3::gc::{PyTraverseError, PyVisit};

use crate::queue::Queue;
use crate::syscall;
use crate::tap::Tap;
use crate::wire::Wire;

/// What is asked of each read.
pub struct Extras {
    stamps: Option<Stamps>,
    /// TCP_QUICKACK is set again after each read: the kernel forgets it.
    quickack: bool,
    wire: Option<Box<Wire>>,
    is_by_wire: bool,
    /// What passed by since the policy was told.
    pub tap: Option<Tap>,
}

/// When the kernel received what was read.
#[derive(Default)]
struct Stamps {
    reads: VecDeque<Stamp>,
}

#[derive(Clone, Copy)]
struct Stamp {
    /// The newest message before the read: the read ended those behind it.
    behind: u64,
    at: Option<Nanos>,
}

impl Extras {
    pub fn new(stamps: bool, quickack: bool, tapped: bool) -> Option<Box<Self>> {
        let (stamps, tap) = (stamps.then(Stamps::default), tapped.then(Tap::default));
        (stamps.is_some() || quickack || tapped)
            .then(|| Box::new(Self { stamps, quickack, wire: None, is_by_wire: false, tap }))
    }

    /// What a connection has that reads a transport.
    pub fn of_wire() -> Self {
        Self { stamps: None, quickack: false, wire: None, is_by_wire: true, tap: None }
    }

    pub fn wire(&mut self) -> Option<&mut Wire> {
        self.wire.as_deref_mut()
    }

    /// Whether its bytes come and go by a wire, or did.
    pub fn is_by_wire(&self) -> bool {
        self.is_by_wire
    }

    /// Whether what is sent goes to the descriptor, unseen.
    pub fn is_direct(&self) -> bool {
        !self.is_by_wire && self.tap.is_none()
    }

    pub fn has_wire(&self) -> bool {
        self.wire.is_some()
    }

    /// See `Wire::kept`.
    pub fn kept(&self) -> Option<u64> {
        self.wire.as_ref()?.kept()
    }

    /// See `Wire::is_writing`.
    pub fn is_writing(&self) -> bool {
        self.wire.as_ref().is_some_and(|wire| wire.is_writing())
    }

    /// Whether a wire has something to be read.
    pub fn has_more(&self) -> bool {
        self.wire.as_ref().is_some_and(|wire| wire.has_more())
    }

    pub fn set_wire(&mut self, wire: Wire) {
        (self.wire, self.is_by_wire) = (Some(Box::new(wire)), true);
    }

    pub fn traverse(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        self.wire.as_ref().map_or(Ok(()), |wire| wire.traverse(visit))
    }

    pub fn take_wire(&mut self) -> Option<Box<Wire>> {
        self.wire.take()
    }

    /// When the kernel received the last segment of the read that ended message number `taken`, on CLOCK_REALTIME.
    pub fn stamp(&mut self, taken: u64) -> Option<Nanos> {
        self.stamps.as_mut()?.of(taken)
    }

    /// # Safety
    /// `size` bytes may be written at `buffer`.
    #[cold]
    unsafe fn receive(&mut self, fd: i32, queue: &Queue, buffer: *mut u8, size: usize) -> io::Result<usize> {
        if let Some(wire) = &mut self.wire {
            // SAFETY: the caller's promise; of what is there nothing is assumed.
            let got = wire.receive(unsafe { std::slice::from_raw_parts_mut(buffer.cast(), size) })?;
            if self.quickack {
                syscall::acknowledge_at_once(fd);
            }
            return Ok(got);
        }
        let got = match &mut self.stamps {
            // SAFETY: the caller's promise.
            None => unsafe { syscall::receive_raw(fd, buffer, size) }?,
            Some(stamps) => {
                // SAFETY: the caller's promise.
                let (got, at) = unsafe { syscall::receive_stamped(fd, buffer, size) }?;
                stamps.forget(queue.taken());
                stamps.add(Stamp { behind: queue.newest(), at });
                got
            }
        };
        if self.quickack {
            syscall::acknowledge_at_once(fd);
        }
        Ok(got)
    }
}

/// One recv(2), or what `extras` makes of it. `queue` has what was received before.
#[inline]
pub fn receive(fd: i32, extras: &mut Option<Box<Extras>>, queue: &Queue, buffer: &mut [u8]) -> io::Result<usize> {
    // SAFETY: the buffer has that many bytes.
    unsafe { receive_raw(fd, extras, queue, buffer.as_mut_ptr(), buffer.len()) }
}

/// # Safety
/// `size` bytes may be written at `buffer`.
#[inline]
pub unsafe fn receive_raw(
    fd: i32,
    extras: &mut Option<Box<Extras>>,
    queue: &Queue,
    buffer: *mut u8,
    size: usize,
) -> io::Result<usize> {
    match extras {
        // SAFETY: the caller's promise.
        None => unsafe { syscall::receive_raw(fd, buffer, size) },
        // SAFETY: the caller's promise.
        Some(extras) => unsafe { extras.receive(fd, queue, buffer, size) },
    }
}

/// One send(2) of two slices, or what a transport takes.
#[inline]
pub fn send(fd: i32, extras: &mut Option<Box<Extras>>, first: &[u8], second: &[u8]) -> io::Result<usize> {
    match extras.as_mut().and_then(|extras| extras.wire()) {
        None => syscall::send_two(fd, first, second),
        Some(wire) => wire.send(first, second),
    }
}

impl Stamps {
    fn add(&mut self, stamp: Stamp) {
        // Reads that ended no message, and those whose messages were let go, tell nothing.
        while self.reads.back().is_some_and(|last| last.behind >= stamp.behind) {
            self.reads.pop_back();
        }
        self.reads.push_back(stamp);
    }

    fn of(&mut self, taken: u64) -> Option<Nanos> {
        self.forget(taken);
        self.reads.front().filter(|stamp| stamp.behind < taken)?.at
    }

    /// The stamp of the message last taken is kept, older ones are not.
    fn forget(&mut self, taken: u64) {
        while self.reads.get(1).is_some_and(|next| next.behind < taken) {
            self.reads.pop_front();
        }
        if self.reads.len() < KEEP / 2 && self.reads.capacity() > KEEP {
            self.reads.shrink_to(KEEP / 2);
        }
    }
}

/// Stamps for which room is kept when a burst is over.
const KEEP: usize = 64;
