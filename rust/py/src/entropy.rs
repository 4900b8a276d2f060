//! Mask keys: unpredictable (RFC 6455 §5.3), from a ChaCha8 keystream seeded by the operating system, one a thread.

use std::cell::RefCell;

use chacha20::ChaCha8;
use chacha20::cipher::{KeyIvInit, StreamCipher};

struct Keys {
    cipher: ChaCha8,
    block: [u8; BLOCK],
    used: usize,
    /// A forked child must not repeat its parent's keys.
    generation: u32,
}

thread_local! {
    static KEYS: RefCell<Option<Keys>> = const { RefCell::new(None) };
}

/// The next mask key.
pub fn mask_key() -> [u8; 4] {
    KEYS.with_borrow_mut(|keys| {
        let generation = crate::fork::generation();
        if keys.as_ref().is_none_or(|keys| keys.generation != generation) {
            *keys = Some(Keys::new(generation));
        }
        keys.as_mut().map_or([0; 4], Keys::next)
    })
}

/// 16 random bytes for `Sec-WebSocket-Key`.
pub fn nonce() -> [u8; 16] {
    let mut bytes = [0; 16];
    for four in bytes.chunks_exact_mut(4) {
        four.copy_from_slice(&mask_key());
    }
    bytes
}

impl Keys {
    fn new(generation: u32) -> Self {
        let (mut key, mut nonce) = ([0; 32], [0; 12]);
        fill(&mut key);
        fill(&mut nonce);
        Self { cipher: ChaCha8::new(&key.into(), &nonce.into()), block: [0; BLOCK], used: BLOCK, generation }
    }

    #[inline]
    fn next(&mut self) -> [u8; 4] {
        if self.used == BLOCK {
            self.block = [0; BLOCK];
            // 2^32 blocks of 64 bytes until the stream ends: 256 GiB of keys.
            if self.cipher.try_apply_keystream(&mut self.block).is_err() {
                *self = Self::new(self.generation);
                return self.next();
            }
            self.used = 0;
        }
        let key = [0, 1, 2, 3].map(|i| self.block[self.used + i]);
        self.used += 4;
        key
    }
}

fn fill(bytes: &mut [u8]) {
    // The operating system's source fails only where there is none; then no connection may be made.
    getrandom::fill(bytes).expect("the operating system gives random bytes");
}

const BLOCK: usize = 256;
