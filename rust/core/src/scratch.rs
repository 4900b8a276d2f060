//! Memory for what lives no longer than a call: a thread keeps some, so that a compressed message allocates nothing.

use std::cell::RefCell;
use std::collections::TryReserveError;
use std::ops::Deref;

thread_local! {
    static KEPT: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

/// What a thread keeps at most: one for what is read, one for what it becomes.
const MOST_KEPT: usize = 2;
/// Bytes of each; what is larger goes.
const MOST_BYTES: usize = 64 << 10;

/// Bytes, and room behind them in which anything may be.
#[derive(Default)]
pub struct Scratch {
    bytes: Vec<u8>,
    len: usize,
}

impl Scratch {
    /// Without bytes; its room may be that of an earlier one.
    pub fn take() -> Self {
        let bytes = KEPT.try_with(|kept| kept.borrow_mut().pop()).ok().flatten().unwrap_or_default();
        Self { bytes, len: 0 }
    }

    /// How many bytes there may be without more memory.
    pub fn capacity(&self) -> usize {
        self.bytes.len()
    }

    /// Makes room for so many bytes in all.
    ///
    /// # Errors
    /// Where memory cannot be had.
    pub fn reserve(&mut self, capacity: usize) -> Result<(), TryReserveError> {
        if let Some(missing) = capacity.checked_sub(self.bytes.len()) {
            self.bytes.try_reserve_exact(missing)?;
            self.bytes.resize(capacity, 0);
        }
        Ok(())
    }

    /// The room.
    pub fn spare(&mut self) -> &mut [u8] {
        &mut self.bytes[self.len..]
    }

    /// Counts bytes that were written to the start of the room.
    pub fn advance(&mut self, count: usize) {
        self.len += count;
        debug_assert!(self.len <= self.bytes.len());
    }

    /// Forgets what is behind so many bytes.
    pub fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
    }

    /// Adds bytes.
    ///
    /// # Errors
    /// Where memory cannot be had.
    pub fn extend(&mut self, bytes: &[u8]) -> Result<(), TryReserveError> {
        self.reserve(self.len + bytes.len())?;
        self.spare()[..bytes.len()].copy_from_slice(bytes);
        self.len += bytes.len();
        Ok(())
    }

    /// The bytes, to be kept.
    pub fn into_vec(mut self) -> Vec<u8> {
        let mut bytes = std::mem::take(&mut self.bytes);
        bytes.truncate(self.len);
        bytes
    }
}

impl Deref for Scratch {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

impl From<Vec<u8>> for Scratch {
    fn from(bytes: Vec<u8>) -> Self {
        Self { len: bytes.len(), bytes }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let bytes = std::mem::take(&mut self.bytes);
        if bytes.capacity() == 0 || bytes.capacity() > MOST_BYTES {
            return;
        }
        let _ = KEPT.try_with(|kept| {
            let mut kept = kept.borrow_mut();
            if kept.len() < MOST_KEPT {
                kept.push(bytes);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_one_leaves_the_next_has_room_in_and_does_not_see() {
        let mut first = Scratch::take();
        first.extend(b"of the first").unwrap();
        assert_eq!(*first, *b"of the first");
        drop(first);
        let mut second = Scratch::take();
        assert!(second.is_empty() && second.capacity() >= 12);
        second.extend(b"ab").unwrap();
        second.spare()[0] = b'c';
        second.advance(1);
        assert_eq!(*second, *b"abc");
        second.truncate(1);
        assert_eq!(second.into_vec(), b"a");
    }

    #[test]
    fn a_thread_keeps_little() {
        let many: Vec<_> = (0..5).map(|_| Scratch::from(vec![0; 100])).collect();
        drop(many);
        assert_eq!(KEPT.with_borrow(Vec::len), MOST_KEPT);
        KEPT.with_borrow_mut(Vec::clear);
        drop(Scratch::from(vec![0; MOST_BYTES + 1]));
        drop(Scratch::default());
        assert_eq!(KEPT.with_borrow(Vec::len), 0);
    }

    #[test]
    fn memory_that_cannot_be_had_is_an_error() {
        let mut scratch = Scratch::from(b"kept".to_vec());
        assert!(scratch.reserve(isize::MAX as usize).is_err());
        assert_eq!(*scratch, *b"kept");
    }
}
