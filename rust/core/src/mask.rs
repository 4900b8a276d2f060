//! Masking (RFC 6455 §5.3): each payload byte is combined with a byte of the key by exclusive or, in turn.
//!
//! The only `unsafe` of this crate: vector code chosen at run time on x86-64. Elsewhere the portable loop is left to
//! the compiler's vectoriser.
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
fn xor8(bytes: [u8; 8], key: [u8; 4]) -> [u8; 8] {
    (u64::from_ne_bytes(bytes) ^ wide(key)).to_ne_bytes()
}

#[inline]
fn xor4(bytes: [u8; 4], key: [u8; 4]) -> [u8; 4] {
    (u32::from_ne_bytes(bytes) ^ u32::from_ne_bytes(key)).to_ne_bytes()
}

/// The odd end is masked as a whole word that overlaps the ones before it: read before they are written, written after.
#[inline]
fn portable_in_place(data: &mut [u8], key: [u8; 4]) {
    let length = data.len();
    if let Some(last) = data.last_chunk::<8>().copied() {
        for word in data.chunks_exact_mut(8) {
            if let Some(bytes) = word.first_chunk_mut::<8>() {
                *bytes = xor8(*bytes, key);
            }
        }
        if let Some(end) = data.last_chunk_mut::<8>() {
            *end = xor8(last, rotated(key, length));
        }
    } else if let (Some(first), Some(last)) = (data.first_chunk::<4>().copied(), data.last_chunk::<4>().copied()) {
        if let Some(start) = data.first_chunk_mut::<4>() {
            *start = xor4(first, key);
        }
        if let Some(end) = data.last_chunk_mut::<4>() {
            *end = xor4(last, rotated(key, length));
        }
    } else {
        for (byte, k) in data.iter_mut().zip(key) {
            *byte ^= k;
        }
    }
}

/// As [`portable_in_place`]; the slices have one length.
#[inline]
fn portable_into(target: &mut [u8], source: &[u8], key: [u8; 4]) {
    let length = source.len();
    if let Some(last) = source.last_chunk::<8>() {
        for (out, word) in target.chunks_exact_mut(8).zip(source.chunks_exact(8)) {
            if let (Some(out), Some(bytes)) = (out.first_chunk_mut::<8>(), word.first_chunk::<8>()) {
                *out = xor8(*bytes, key);
            }
        }
        if let Some(end) = target.last_chunk_mut::<8>() {
            *end = xor8(*last, rotated(key, length));
        }
    } else if let (Some(first), Some(last)) = (source.first_chunk::<4>(), source.last_chunk::<4>()) {
        if let Some(start) = target.first_chunk_mut::<4>() {
            *start = xor4(*first, key);
        }
        if let Some(end) = target.last_chunk_mut::<4>() {
            *end = xor4(*last, rotated(key, length));
        }
    } else {
        for ((out, byte), k) in target.iter_mut().zip(source).zip(key) {
            *out = byte ^ k;
        }
    }
}

/// # Safety
/// `length` bytes may be read at `source` and written at `target`; the ranges are the same or apart.
/// `length >= VECTOR_MIN`.
#[cfg(target_arch = "x86_64")]
#[inline]
unsafe fn vector(target: *mut u8, source: *const u8, length: usize, key: [u8; 4]) {
    // The standard library keeps what it asked the processor in an atomic.
    // SAFETY: each function runs only where its instructions exist and for no less than one of its vectors; the
    // caller's promise is passed on.
    unsafe {
        if length >= AVX512_MIN && is_x86_feature_detected!("avx512f") {
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
/// `length >= VECTOR_MIN`.
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

/// One shape for each width: whole vectors, and the odd end as one that overlaps them, which in place must be read
/// before they are written. `length` and the place of the last vector are equal modulo four, so the key turns with
/// `length`.
#[cfg(target_arch = "x86_64")]
// Loads and stores through pointers to vectors; those that need an alignment say so.
#[allow(clippy::cast_ptr_alignment)]
mod x86 {
    use std::arch::x86_64::{
        __m128i, __m256i, __m512i, _mm_loadu_si128, _mm_set1_epi32, _mm_storeu_si128, _mm_xor_si128,
        _mm256_loadu_si256, _mm256_set1_epi32, _mm256_store_si256, _mm256_storeu_si256, _mm256_xor_si256,
        _mm512_loadu_si512, _mm512_set1_epi32, _mm512_store_si512, _mm512_storeu_si512, _mm512_xor_si512,
    };

    use super::rotated;

    /// Stores that are aligned save up to a quarter (16 KiB, Ice Lake), so the start, too, is a vector that overlaps
    /// the others.
    ///
    /// # Safety
    /// As `vector`; `length >= 32`. The processor has AVX2.
    #[target_feature(enable = "avx2")]
    pub unsafe fn avx2(target: *mut u8, source: *const u8, length: usize, key: [u8; 4]) {
        let first = target.addr().wrapping_neg() & 31;
        let last = length - 32;
        // SAFETY: every access is of 32 bytes that end within `length`: `length >= 32`, and by the conditions of the
        // loops. `target + at` is a multiple of 32 there; loads, and the stores at the ends, need no alignment.
        unsafe {
            let start = _mm256_loadu_si256(source.cast::<__m256i>());
            let end = _mm256_loadu_si256(source.add(last).cast::<__m256i>());
            let keys = _mm256_set1_epi32(i32::from_ne_bytes(rotated(key, first)));
            let mut at = first;
            // A block is loaded before any of it is stored: where the slices are a little more than a multiple of 4 KiB
            // apart, a load waits for the store before it (1.7 times the time, 16 KiB).
            let mut block = [keys; 8];
            while at + 256 <= length {
                for (step, vector) in block.iter_mut().enumerate() {
                    *vector = _mm256_loadu_si256(source.add(at + 32 * step).cast::<__m256i>());
                }
                for (step, vector) in block.iter().enumerate() {
                    _mm256_store_si256(target.add(at + 32 * step).cast::<__m256i>(), _mm256_xor_si256(*vector, keys));
                }
                at += 256;
            }
            while at < last {
                let bytes = _mm256_loadu_si256(source.add(at).cast::<__m256i>());
                _mm256_store_si256(target.add(at).cast::<__m256i>(), _mm256_xor_si256(bytes, keys));
                at += 32;
            }
            let keys = _mm256_set1_epi32(i32::from_ne_bytes(key));
            _mm256_storeu_si256(target.cast::<__m256i>(), _mm256_xor_si256(start, keys));
            let keys = _mm256_set1_epi32(i32::from_ne_bytes(rotated(key, length)));
            _mm256_storeu_si256(target.add(last).cast::<__m256i>(), _mm256_xor_si256(end, keys));
        }
    }

    /// # Safety
    /// As `vector`; `length >= 64`. The processor has AVX-512F.
    #[target_feature(enable = "avx512f")]
    pub unsafe fn avx512(target: *mut u8, source: *const u8, length: usize, key: [u8; 4]) {
        let first = target.addr().wrapping_neg() & 63;
        let last = length - 64;
        // SAFETY: every access is of 64 bytes that end within `length`: `length >= 64`, and by the conditions of the
        // loops. `target + at` is a multiple of 64 there; loads, and the stores at the ends, need no alignment.
        unsafe {
            let start = _mm512_loadu_si512(source.cast::<__m512i>());
            let end = _mm512_loadu_si512(source.add(last).cast::<__m512i>());
            let keys = _mm512_set1_epi32(i32::from_ne_bytes(rotated(key, first)));
            let mut at = first;
            let mut block = [keys; 8];
            while at + 512 <= length {
                for (step, vector) in block.iter_mut().enumerate() {
                    *vector = _mm512_loadu_si512(source.add(at + 64 * step).cast::<__m512i>());
                }
                for (step, vector) in block.iter().enumerate() {
                    _mm512_store_si512(target.add(at + 64 * step).cast::<__m512i>(), _mm512_xor_si512(*vector, keys));
                }
                at += 512;
            }
            while at < last {
                let bytes = _mm512_loadu_si512(source.add(at).cast::<__m512i>());
                _mm512_store_si512(target.add(at).cast::<__m512i>(), _mm512_xor_si512(bytes, keys));
                at += 64;
            }
            let keys = _mm512_set1_epi32(i32::from_ne_bytes(key));
            _mm512_storeu_si512(target.cast::<__m512i>(), _mm512_xor_si512(start, keys));
            let keys = _mm512_set1_epi32(i32::from_ne_bytes(rotated(key, length)));
            _mm512_storeu_si512(target.add(last).cast::<__m512i>(), _mm512_xor_si512(end, keys));
        }
    }

    /// # Safety
    /// As `vector`; `length >= 16`. Every x86-64 processor has SSE2.
    pub unsafe fn sse2(target: *mut u8, source: *const u8, length: usize, key: [u8; 4]) {
        // SAFETY: every access is of 16 bytes that end within `length`: `length >= 16`, and by the conditions of the
        // loops (`at < last`). Loads and stores need no alignment.
        unsafe {
            let keys = _mm_set1_epi32(i32::from_ne_bytes(key));
            let last = length - 16;
            let end = _mm_loadu_si128(source.add(last).cast::<__m128i>());
            let mut at = 0;
            while at < last {
                let bytes = _mm_loadu_si128(source.add(at).cast::<__m128i>());
                _mm_storeu_si128(target.add(at).cast::<__m128i>(), _mm_xor_si128(bytes, keys));
                at += 16;
            }
            let keys = _mm_set1_epi32(i32::from_ne_bytes(rotated(key, length)));
            _mm_storeu_si128(target.add(last).cast::<__m128i>(), _mm_xor_si128(end, keys));
        }
    }
}

/// Below this the calls cost more than the vectors gain.
const VECTOR_MIN: usize = 32;

/// Below this the wider vectors gain little; some processors lower their clock for them.
#[cfg(target_arch = "x86_64")]
const AVX512_MIN: usize = 512;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn naive(data: &[u8], key: [u8; 4], offset: usize) -> Vec<u8> {
        data.iter().enumerate().map(|(i, byte)| byte ^ key[(offset + i) & 3]).collect()
    }

    type Implementation = unsafe fn(*mut u8, *const u8, usize, [u8; 4]);

    /// Each with the shortest length that it takes.
    fn implementations() -> Vec<(&'static str, usize, Implementation)> {
        let mut all: Vec<(&'static str, usize, Implementation)> = vec![("chosen", VECTOR_MIN, vector)];
        #[cfg(target_arch = "x86_64")]
        {
            all.push(("sse2", 16, x86::sse2));
            if is_x86_feature_detected!("avx2") {
                all.push(("avx2", 32, x86::avx2));
            }
            if is_x86_feature_detected!("avx512f") {
                all.push(("avx512", 64, x86::avx512));
            }
        }
        all
    }

    const KEY: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

    #[test]
    fn every_implementation_equals_the_definition_for_every_length_offset_and_alignment() {
        let data: Vec<u8> = (0..400u32).map(|i| (i * 31 % 251) as u8).collect();
        let implementations = implementations();
        // Miri takes a thousand times as long: with it every seventh length, which is odd and even, near and far.
        for length in (0..=260).step_by(if cfg!(miri) { 7 } else { 1 }) {
            for (start, offset) in (0..8).flat_map(|start| (0..8).map(move |offset| (start, offset))) {
                let what = format!("length {length}, start {start}, offset {offset}");
                let source = &data[start..start + length];
                let expected = naive(source, KEY, offset);
                // Bytes around the target are not to be touched.
                let around = 7 - start;
                let mut target = vec![0xee; around + length + 9];
                let mut check = |name: &str, run: &dyn Fn(&mut [u8])| {
                    target.fill(0xee);
                    run(&mut target[around..around + length]);
                    assert_eq!(target[around..around + length], expected, "{name}: {what}");
                    let untouched = target[..around].iter().chain(&target[around + length..]).all(|byte| *byte == 0xee);
                    assert!(untouched, "{name}: {what}");
                };
                let key = rotated(KEY, offset);
                check("mask_into", &|out| mask_into(out, source, KEY, offset));
                check("portable_into", &|out| portable_into(out, source, key));
                check("mask", &|out| {
                    out.copy_from_slice(source);
                    mask(out, KEY, offset);
                });
                check("portable_in_place", &|out| {
                    out.copy_from_slice(source);
                    portable_in_place(out, key);
                });
                for (name, _, run) in implementations.iter().filter(|(_, shortest, _)| length >= *shortest) {
                    // SAFETY: both have that length, which the implementation takes.
                    check(name, &|out| unsafe { run(out.as_mut_ptr(), source.as_ptr(), length, key) });
                    check(name, &|out| {
                        out.copy_from_slice(source);
                        let pointer = out.as_mut_ptr();
                        // SAFETY: as above; the ranges are the same.
                        unsafe { run(pointer, pointer, length, key) };
                    });
                }
            }
        }
    }

    #[test]
    #[should_panic(expected = "one length")]
    fn slices_of_two_lengths_are_refused() {
        mask_into(&mut [0; 40], &[0; 41], KEY, 0);
    }

    proptest! {
        #[test]
        fn masking_in_pieces_is_masking_whole(
            data in prop::collection::vec(any::<u8>(), 0..5000),
            key: [u8; 4],
            cut in 0usize..5000,
        ) {
            let cut = cut.min(data.len());
            let expected = naive(&data, key, 0);
            let mut pieces = data.clone();
            let (first, second) = pieces.split_at_mut(cut);
            mask(first, key, 0);
            mask(second, key, cut);
            prop_assert_eq!(&pieces, &expected);
            mask(&mut pieces, key, 0);
            prop_assert_eq!(&pieces, &data);
            mask_into(&mut pieces[..cut], &data[..cut], key, 0);
            mask_into(&mut pieces[cut..], &data[cut..], key, cut);
            prop_assert_eq!(&pieces, &expected);
            for (_, _, run) in implementations().iter().filter(|(_, shortest, _)| data.len() >= *shortest) {
                pieces.fill(0);
                // SAFETY: both have that length, which the implementation takes.
                unsafe { run(pieces.as_mut_ptr(), data.as_ptr(), data.len(), key) };
                prop_assert_eq!(&pieces, &expected);
            }
        }
    }
}
