//! UTF-8 (RFC 3629), for whole messages and as it arrives (RFC 6455 §8.1).
//!
//! An offset in an error is where the first invalid sequence starts, counted from the beginning of the message. It is
//! found with the first byte that cannot continue that sequence, even if the message is not complete.

/// Validates a whole message; tells whether it is ASCII.
///
/// # Errors
/// The offset of the first invalid sequence.
#[inline]
pub fn validate(bytes: &[u8]) -> Result<bool, u64> {
    if bytes.is_ascii() {
        return Ok(true);
    }
    match simdutf8::compat::from_utf8(bytes) {
        Ok(_) => Ok(false),
        Err(error) => Err(error.valid_up_to() as u64),
    }
}

/// Validates a message that arrives in pieces.
#[derive(Debug, Clone, Default)]
pub struct Utf8 {
    /// The beginning of a character whose rest has not arrived.
    partial: [u8; 3],
    held: u8,
    seen_other: bool,
    /// Bytes before `partial`.
    valid: u64,
}

impl Utf8 {
    /// Validates the next piece; tells whether it is ASCII, and no character was under way.
    ///
    /// # Errors
    /// The offset of the first invalid sequence in the message.
    #[inline]
    pub fn push(&mut self, piece: &[u8]) -> Result<bool, u64> {
        if self.held == 0 && piece.is_ascii() {
            self.valid += piece.len() as u64;
            return Ok(true);
        }
        self.seen_other = true;
        self.push_slow(piece).map(|()| false)
    }

    /// Ends the message.
    ///
    /// # Errors
    /// The offset of a character that is not complete.
    pub fn finish(&self) -> Result<(), u64> {
        if self.held == 0 { Ok(()) } else { Err(self.valid) }
    }

    /// Whether everything so far is ASCII.
    pub fn is_ascii(&self) -> bool {
        !self.seen_other
    }

    /// Begins a new message.
    pub fn reset(&mut self) {
        *self = Self::default();
    }

    fn push_slow(&mut self, mut piece: &[u8]) -> Result<(), u64> {
        while self.held > 0 {
            let Some((&byte, rest)) = piece.split_first() else { return Ok(()) };
            let held = self.held as usize;
            let mut sequence = [0; 4];
            sequence[..held].copy_from_slice(&self.partial[..held]);
            sequence[held] = byte;
            piece = rest;
            match std::str::from_utf8(&sequence[..=held]) {
                Ok(_) => {
                    self.valid += held as u64 + 1;
                    self.held = 0;
                }
                Err(error) if error.error_len().is_none() => {
                    self.partial[held] = byte;
                    self.held += 1;
                }
                Err(_) => return Err(self.valid),
            }
        }
        match simdutf8::compat::from_utf8(piece) {
            Ok(_) => {
                self.valid += piece.len() as u64;
                Ok(())
            }
            Err(error) => {
                let valid = error.valid_up_to();
                self.valid += valid as u64;
                if error.error_len().is_some() {
                    return Err(self.valid);
                }
                let rest = &piece[valid..];
                self.partial[..rest.len()].copy_from_slice(rest);
                self.held = rest.len() as u8;
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Feeds one byte at a time; returns how many were taken before the error, and the error.
    fn drip(bytes: &[u8]) -> (usize, Option<u64>) {
        let mut utf8 = Utf8::default();
        for (at, byte) in bytes.iter().enumerate() {
            if let Err(offset) = utf8.push(&[*byte]) {
                return (at, Some(offset));
            }
        }
        (bytes.len(), utf8.finish().err())
    }

    #[test]
    fn the_first_byte_that_cannot_be_is_refused_at_once() {
        // Bytes, the index of the byte that is refused, the offset that is reported.
        let table: [(&[u8], usize, u64); 14] = [
            (b"\x80", 0, 0),
            (b"a\xff", 1, 1),
            (b"\xc0\x80", 0, 0),
            (b"\xc1\xbf", 0, 0),
            (b"\xe0\x80\x80", 1, 0),
            (b"\xed\xa0\x80", 1, 0),
            (b"\xf0\x80\x80\x80", 1, 0),
            (b"\xf4\x90\x80\x80", 1, 0),
            (b"\xf5\x80", 0, 0),
            (b"ab\xe2\x82a", 4, 2),
            (b"\xce\xba\xe1\xbd\xb9\xf4\x90", 6, 5),
            (b"\xf0\x9f\x98", 3, 0),
            (b"x\xc3", 2, 1),
            (b"\xe2\x82", 2, 0),
        ];
        for (bytes, refused, offset) in table {
            assert_eq!(drip(bytes), (refused, Some(offset)), "{bytes:02x?}");
        }
        assert_eq!(drip("κόσμε 😀".as_bytes()).1, None);
    }

    #[test]
    fn ascii_is_known() {
        let mut utf8 = Utf8::default();
        assert_eq!(utf8.push(b"abc"), Ok(true));
        assert!(utf8.is_ascii());
        assert_eq!(utf8.push("é".as_bytes()), Ok(false));
        assert!(!utf8.is_ascii());
        utf8.reset();
        assert!(utf8.is_ascii());
        assert_eq!(validate(b"plain"), Ok(true));
        assert_eq!(validate("é".as_bytes()), Ok(false));
        assert_eq!(validate(b"ab\xff"), Err(2));
    }

    proptest! {
        #[test]
        fn any_chunking_agrees_with_the_standard_library(
            bytes in prop_oneof![
                prop::collection::vec(any::<u8>(), 0..60),
                any::<String>().prop_map(String::into_bytes),
                (any::<String>(), any::<u8>(), 0usize..60).prop_map(|(text, byte, at)| {
                    let mut bytes = text.into_bytes();
                    let at = at.min(bytes.len());
                    bytes.insert(at, byte);
                    bytes
                }),
            ],
            cuts in prop::collection::vec(0usize..60, 0..6),
        ) {
            let expected = std::str::from_utf8(&bytes).map_err(|e| e.valid_up_to() as u64).err();
            prop_assert_eq!(validate(&bytes).err(), expected);
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(bytes.len())).collect();
            cuts.extend([0, bytes.len()]);
            cuts.sort_unstable();
            let mut utf8 = Utf8::default();
            let mut found = None;
            for pair in cuts.windows(2) {
                if let Err(offset) = utf8.push(&bytes[pair[0]..pair[1]]) {
                    found = Some(offset);
                    break;
                }
            }
            prop_assert_eq!(found.or_else(|| utf8.finish().err()), expected);
            prop_assert_eq!(drip(&bytes).1, expected);
        }
    }
}
