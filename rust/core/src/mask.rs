//! Masking (RFC 6455 §5.3): each payload byte is combined with a byte of the key by exclusive or, in turn.
//!
//! The only `unsafe` of this crate: vector code chosen at run time on x86-64. Elsewhere the portable loop is left to the
//! compiler's vectoriser.
#![allow(unsafe_code)]

/// Masks or unmasks `data` in place; `offset` is the place of its first byte in the payload.
#[inline]
pub fn mask(data: &mut [u8], key: [u8; 4], offset: usize) {
    let key = rotated(key, offset);
    let (pointer, length) = (data.as_mut_ptr(), data.len());
    if length < VECTOR_MIN {
        portable_in_place(data, key);
        return;
    }
    // SAFETY: `length` bytes may be read and written at `pointer`; each byte is written after it was read, at the same
    // place.
    unsafe { vector(pointer, pointer, length, key) }
}

/// Masks `source` into `target` in one pass; `offset` is the place of the first byte in the payload.
///
/// # Panics
/// If the lengths differ.
#[inline]
pub fn mask_into(target: &mut [u8], source: &[u8], key: [u8; 4], offset: usize) {
    assert_eq!(target.len(), source.len(), "mask_into needs slices of one length");
    let key = rotated(key, offset);
    if source.len() < VECTOR_MIN {
        portable_into(target, source, key);
        return;
    }
    // SAFETY: both slices have that length, and they do not overlap: one of them is borrowed mutably.
    unsafe { vector(target.as_mut_ptr(), source.as_ptr(), source.len(), key) }
}

/// The key as the byte at `offset` sees it.
#[inline]
fn rotated(key: [u8; 4], offset: usize) -> [u8; 4] {
    u32::from_le_bytes(key).rotate_right(8 * (offset as u32 & 3)).to_le_bytes()
}

#[inline]
fn wide(key: [u8; 4]) -> u64 {
    u64::from(u32::from_ne_bytes(key)) * 0x1_0000_0001
}

#[inline]
fn portable_in_place(data: &mut [u8], key: [u8; 4]) {
    let key8 = wide(key);
    let mut words = data.chunks_exact_mut(8);
    for word in &mut words {
        if let Some(bytes) = word.first_chunk_mut::<8>() {
            *bytes = (u64::from_ne_bytes(*bytes) ^ key8).to_ne_bytes();
        }
    }
    for (byte, k) in words.into_remainder().iter_mut().zip(key.iter().cycle()) {
        *byte ^= k;
    }
}

#[inline]
fn portable_into(target: &mut [u8], source: &[u8], key: [u8; 4]) {
    let key8 = wide(key);
    let (mut to, mut from) = (target.chunks_exact_mut(8), source.chunks_exact(8));
    for (out, word) in (&mut to).zip(&mut from) {
        if let (Some(out), Some(bytes)) = (out.first_chunk_mut::<8>(), word.first_chunk::<8>()) {
            *out = (u64::from_ne_bytes(*bytes) ^ key8).to_ne_bytes();
        }
    }
    for ((out, byte), k) in to.into_remainder().iter_mut().zip(from.remainder()).zip(key.iter().cycle()) {
        *out = byte ^ k;
    }
}

/// # Safety
/// `length` bytes may be read at `source` and written at `target`; the ranges are the same or apart.
#[cfg(target_arch = "x86_64")]
#[inline]
unsafe fn vector(target: *mut u8, source: *const u8, length: usize, key: [u8; 4]) {
    // The standard library keeps what it asked the processor in an atomic.
    // SAFETY: each function runs only where its instructions exist; the caller's promise is passed on.
    unsafe {
        if length >= 512 && is_x86_feature_detected!("avx512f") {
            x86::avx512(target, source, length, key);
        } else if is_x86_feature_detected!("avx2") {
            x86::avx2(target, source, length, key);
        } else {
            x86::sse2(target, source, length, key);
        }
    }
}

/// # Safety
/// `length` bytes may be read at `source` and written at `target`; the ranges are the same or apart.
#[cfg(not(target_arch = "x86_64"))]
#[inline]
unsafe fn vector(target: *mut u8, source: *const u8, length: usize, key: [u8; 4]) {
    // SAFETY: the caller's promise. Equal ranges are masked in place, others as two slices that do not overlap.
    unsafe {
        if std::ptr::eq(target, source) {
            portable_in_place(std::slice::from_raw_parts_mut(target, length), key);
        } else {
            let source = std::slice::from_raw_parts(source, length);
            portable_into(std::slice::from_raw_parts_mut(target, length), source, key);
        }
    }
}

#[cfg(target_arch = "x86_64")]
// Loads and stores are the unaligned ones.
#[allow(clippy::cast_ptr_alignment)]
mod x86 {
    use std::arch::x86_64::{
        __m128i, __m256i, __m512i, _mm_loadu_si128, _mm_set1_epi32, _mm_storeu_si128, _mm_xor_si128,
        _mm256_loadu_si256, _mm256_set1_epi32, _mm256_storeu_si256, _mm256_xor_si256, _mm512_loadu_si512,
        _mm512_set1_epi32, _mm512_storeu_si512, _mm512_xor_si512,
    };

    /// # Safety
    /// As `vector`; the processor has AVX-512F.
    #[target_feature(enable = "avx512f")]
    pub unsafe fn avx512(target: *mut u8, source: *const u8, length: usize, key: [u8; 4]) {
        let keys = _mm512_set1_epi32(i32::from_ne_bytes(key));
        let mut at = 0;
        // SAFETY: `at + 64 <= length` in the loop; loads and stores need no alignment.
        unsafe {
            while at + 64 <= length {
                let bytes = _mm512_loadu_si512(source.add(at).cast::<__m512i>());
                _mm512_storeu_si512(target.add(at).cast::<__m512i>(), _mm512_xor_si512(bytes, keys));
                at += 64;
            }
            tail(target, source, at, length, key);
        }
    }

    /// # Safety
    /// As `vector`; the processor has AVX2.
    #[target_feature(enable = "avx2")]
    pub unsafe fn avx2(target: *mut u8, source: *const u8, length: usize, key: [u8; 4]) {
        let keys = _mm256_set1_epi32(i32::from_ne_bytes(key));
        let mut at = 0;
        // SAFETY: `at + 32 <= length` in the loop; loads and stores need no alignment.
        unsafe {
            while at + 32 <= length {
                let bytes = _mm256_loadu_si256(source.add(at).cast::<__m256i>());
                _mm256_storeu_si256(target.add(at).cast::<__m256i>(), _mm256_xor_si256(bytes, keys));
                at += 32;
            }
            tail(target, source, at, length, key);
        }
    }

    /// # Safety
    /// As `vector`. Every x86-64 processor has SSE2.
    pub unsafe fn sse2(target: *mut u8, source: *const u8, length: usize, key: [u8; 4]) {
        // SAFETY: `at + 16 <= length` in the loop; loads and stores need no alignment.
        unsafe {
            let keys = _mm_set1_epi32(i32::from_ne_bytes(key));
            let mut at = 0;
            while at + 16 <= length {
                let bytes = _mm_loadu_si128(source.add(at).cast::<__m128i>());
                _mm_storeu_si128(target.add(at).cast::<__m128i>(), _mm_xor_si128(bytes, keys));
                at += 16;
            }
            tail(target, source, at, length, key);
        }
    }

    /// What is left after whole vectors: `at` is a multiple of four, so the key starts anew.
    ///
    /// # Safety
    /// As `vector`; `at <= length`.
    #[inline]
    unsafe fn tail(target: *mut u8, source: *const u8, mut at: usize, length: usize, key: [u8; 4]) {
        // SAFETY: within `length`, by the loops' conditions; unaligned words are read and written as such.
        unsafe {
            while at + 8 <= length {
                let word = source.add(at).cast::<u64>().read_unaligned() ^ super::wide(key);
                target.add(at).cast::<u64>().write_unaligned(word);
                at += 8;
            }
            let mut k = 0;
            while at < length {
                *target.add(at) = *source.add(at) ^ key[k & 3];
                at += 1;
                k += 1;
            }
        }
    }
}

/// Below this the calls cost more than the vectors gain.
const VECTOR_MIN: usize = 32;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn naive(data: &[u8], key: [u8; 4], offset: usize) -> Vec<u8> {
        data.iter().enumerate().map(|(i, byte)| byte ^ key[(offset + i) & 3]).collect()
    }

    type Implementation = unsafe fn(*mut u8, *const u8, usize, [u8; 4]);

    fn implementations() -> Vec<(&'static str, Implementation)> {
        let mut all: Vec<(&'static str, Implementation)> = vec![("chosen", vector)];
        #[cfg(target_arch = "x86_64")]
        {
            all.push(("sse2", x86::sse2));
            if is_x86_feature_detected!("avx2") {
                all.push(("avx2", x86::avx2));
            }
            if is_x86_feature_detected!("avx512f") {
                all.push(("avx512", x86::avx512));
            }
        }
        all
    }

    const KEY: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

    #[test]
    fn every_implementation_equals_the_definition_for_every_length_offset_and_alignment() {
        let data: Vec<u8> = (0..400u32).map(|i| (i * 31 % 251) as u8).collect();
        for length in 0..=260 {
            for start in 0..8 {
                let source = &data[start..start + length];
                for offset in 0..5 {
                    let expected = naive(source, KEY, offset);
                    let mut in_place = source.to_vec();
                    mask(&mut in_place, KEY, offset);
                    assert_eq!(in_place, expected, "mask: length {length}, start {start}, offset {offset}");
                    let mut target = vec![0; length + start];
                    mask_into(&mut target[start..], source, KEY, offset);
                    assert_eq!(target[start..], expected, "mask_into: length {length}, start {start}, offset {offset}");
                }
                for (name, run) in implementations() {
                    let mut target = vec![0; length + start];
                    // SAFETY: both have that length.
                    unsafe { run(target.as_mut_ptr().add(start), source.as_ptr(), length, KEY) };
                    assert_eq!(target[start..], naive(source, KEY, 0), "{name}: length {length}, start {start}");
                }
                let mut portable = source.to_vec();
                portable_in_place(&mut portable, KEY);
                assert_eq!(portable, naive(source, KEY, 0));
                let mut portable = vec![0; length];
                portable_into(&mut portable, source, KEY);
                assert_eq!(portable, naive(source, KEY, 0));
            }
        }
    }

    proptest! {
        #[test]
        fn masking_in_pieces_is_masking_whole(data in prop::collection::vec(any::<u8>(), 0..5000), key: [u8; 4], cut in 0usize..5000) {
            let cut = cut.min(data.len());
            let mut pieces = data.clone();
            let (first, second) = pieces.split_at_mut(cut);
            mask(first, key, 0);
            mask(second, key, cut);
            prop_assert_eq!(&pieces, &naive(&data, key, 0));
            mask(&mut pieces, key, 0);
            prop_assert_eq!(pieces, data);
        }
    }
}
