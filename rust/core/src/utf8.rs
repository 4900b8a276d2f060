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
    if is_ascii(bytes) {
        return Ok(true);
    }
    match simdutf8::compat::from_utf8(bytes) {
        Ok(_) => Ok(false),
        Err(error) => Err(error.valid_up_to() as u64),
    }
}

/// As `<[u8]>::is_ascii`, which goes byte by byte through what its blocks leave over: 30 ns of 189 bytes against 5
/// here, where the odd end is a block that overlaps the one before it.
#[inline]
fn is_ascii(bytes: &[u8]) -> bool {
    if let Some(last) = bytes.last_chunk::<64>() {
        return bytes[..bytes.len() & !63].is_ascii() && last.is_ascii();
    }
    if let (Some(first), Some(last)) = (bytes.first_chunk::<32>(), bytes.last_chunk::<32>()) {
        return all_low(first) & all_low(last);
    }
    if let (Some(first), Some(last)) = (bytes.first_chunk::<16>(), bytes.last_chunk::<16>()) {
        return all_low(first) & all_low(last);
    }
    if let (Some(first), Some(last)) = (bytes.first_chunk::<8>(), bytes.last_chunk::<8>()) {
        return all_low(first) & all_low(last);
    }
    all_low(bytes)
}

/// No early exit: the compiler makes vectors of it.
#[inline]
fn all_low(block: &[u8]) -> bool {
    block.iter().fold(0, |any, byte| any | byte) < 0x80
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
    /// The offset of the first invalid sequence in the message; then nothing but [`Utf8::reset`] makes sense.
    #[inline]
    pub fn push(&mut self, piece: &[u8]) -> Result<bool, u64> {
        if self.held == 0 && is_ascii(piece) {
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

    #[test]
    fn one_high_byte_is_seen_at_every_place_of_every_length() {
        for length in 0..200 {
            let mut bytes = vec![0x7f; length];
            assert!(is_ascii(&bytes), "{length}");
            for at in 0..length {
                bytes[at] = 0x80;
                assert!(!is_ascii(&bytes), "{length}, {at}");
                bytes[at] = 0x7f;
            }
        }
    }

    /// Against the definition: a byte is refused exactly when no character begins with what it completes.
    #[test]
    fn refused_is_exactly_what_begins_no_character() {
        let telling = [0x00, 0x7f, 0x80, 0x8f, 0x90, 0x9f, 0xa0, 0xbf, 0xc0, 0xc2, 0xe0, 0xf0, 0xff];
        let mut begins = std::collections::HashSet::new();
        for character in '\0'..=char::MAX {
            let mut buffer = [0; 4];
            let encoded = character.encode_utf8(&mut buffer).as_bytes();
            // What begins any character begins one of these, too.
            if !encoded[1..].iter().all(|byte| telling.contains(byte)) {
                continue;
            }
            begins.extend((1..=encoded.len()).map(|count| encoded[..count].to_vec()));
        }
        let mut sequences: Vec<Vec<u8>> = (0..=255).map(|byte| vec![byte]).collect();
        while let Some(sequence) = sequences.pop() {
            let (refused, _) = drip(&sequence);
            let is_refused = refused < sequence.len();
            assert_eq!(is_refused, !begins.contains(&sequence), "{sequence:02x?}");
            let is_whole = std::str::from_utf8(&sequence).is_ok();
            if !is_refused && !is_whole {
                sequences.extend(telling.iter().map(|byte| [&sequence[..], &[*byte]].concat()));
            }
        }
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
                // The piece with the first impossible byte is refused, and no other.
                let impossible = std::str::from_utf8(&bytes[..pair[1]]).is_err_and(|error| error.error_len().is_some());
                let outcome = utf8.push(&bytes[pair[0]..pair[1]]);
                prop_assert_eq!(outcome.is_err(), impossible);
                if let Err(offset) = outcome {
                    found = Some(offset);
                    break;
                }
                prop_assert_eq!(utf8.is_ascii(), bytes[..pair[1]].is_ascii());
            }
            prop_assert_eq!(found.or_else(|| utf8.finish().err()), expected);
            prop_assert_eq!(drip(&bytes).1, expected);
        }
    }
}
