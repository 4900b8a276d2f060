//! What a stream of messages may refer back to: its last bytes. Between two messages they are all that a codec needs to
//! go on, so that a connection need not keep a codec (compressor 170 KiB, decompressor 45) to keep its context (4 KiB).

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// The last bytes that went through one direction.
#[derive(Debug)]
pub(super) struct Window {
    bytes: Vec<u8>,
    size: usize,
}

impl Window {
    pub(super) fn new(bits: u8) -> Self {
        Self { bytes: Vec::new(), size: 1 << bits }
    }

    /// What may be referred to.
    pub(super) fn last(&self) -> &[u8] {
        &self.bytes[self.bytes.len().saturating_sub(self.size)..]
    }

    /// Takes note of what went through. `room`: it may take twice the memory, so that not each message moves all.
    pub(super) fn push(&mut self, data: &[u8], room: bool) {
        let data = &data[data.len().saturating_sub(self.size)..];
        let most = if room { 2 * self.size } else { self.size };
        if self.bytes.len() + data.len() > most {
            self.keep(self.size - data.len());
        }
        let need = self.bytes.len() + data.len();
        if need > self.bytes.capacity() {
            self.bytes.reserve_exact(need.next_power_of_two().min(most) - self.bytes.len());
        }
        self.bytes.extend_from_slice(data);
    }

    /// Gives back what is not needed until the next message.
    pub(super) fn settle(&mut self) {
        self.keep(self.size);
        self.bytes.shrink_to(self.size);
    }

    fn keep(&mut self, count: usize) {
        let surplus = self.bytes.len().saturating_sub(count);
        self.bytes.drain(..surplus);
    }
}

/// How many codecs of a kind may stay in memory between messages, in the whole process.
#[derive(Debug)]
pub(super) struct Seats {
    taken: AtomicUsize,
    count: usize,
}

impl Seats {
    pub(super) const fn new(count: usize) -> Self {
        Self { taken: AtomicUsize::new(0), count }
    }

    /// One of them, if one is free.
    pub(super) fn take(&'static self) -> Option<Seat> {
        self.taken.fetch_update(Relaxed, Relaxed, |taken| (taken < self.count).then_some(taken + 1)).ok()?;
        Some(Seat(self))
    }
}

/// The right of one codec to stay; free again when it is dropped.
#[derive(Debug)]
pub(super) struct Seat(&'static Seats);

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.taken.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_window_is_the_end_of_all_that_went_through(
            pieces in prop::collection::vec((prop::collection::vec(any::<u8>(), 0..1500), any::<(bool, bool)>()), 0..20),
        ) {
            let mut window = Window::new(9);
            let mut all = Vec::new();
            for (piece, (room, settles)) in pieces {
                window.push(&piece, room);
                all.extend_from_slice(&piece);
                if settles {
                    window.settle();
                    prop_assert!(window.bytes.capacity() <= 512);
                }
                prop_assert!(window.bytes.len() <= 1024);
                prop_assert_eq!(window.last(), &all[all.len().saturating_sub(512)..]);
            }
        }
    }

    #[test]
    fn a_seat_is_free_again_when_it_is_left() {
        static SEATS: Seats = Seats::new(2);
        let (first, second) = (SEATS.take(), SEATS.take());
        assert!(first.is_some() && second.is_some() && SEATS.take().is_none());
        drop(first);
        assert!(SEATS.take().is_some());
    }
}
