//! Streams cut into messages, by themselves and against each other.

use proptest::prelude::*;

use super::*;

fn deflater(window_bits: u8) -> Deflater {
    Deflater::new(window_bits, &Tuning::default())
}

impl Inflater {
    fn run(&mut self, input: Vec<u8>, fin: bool, limit: usize, max_ratio: usize) -> Result<Vec<u8>, Error> {
        let mut frame = self.begin(&input, fin, limit, max_ratio)?;
        self.finish(&mut frame).map(Scratch::into_vec)
    }
}

impl Deflater {
    fn made(&mut self, input: &[u8], fin: bool) -> Result<Vec<u8>, Error> {
        self.run(input, fin).map(Scratch::into_vec)
    }
}

fn inflate(inflater: &mut Inflater, input: &[u8]) -> Result<Vec<u8>, Error> {
    inflater.run(input.to_vec(), true, usize::MAX - 1, usize::MAX)
}

/// Bytes of which none are repeated.
fn noise() -> Vec<u8> {
    (1..4000u32).flat_map(|n| n.wrapping_mul(n).wrapping_mul(2_654_435_761).to_le_bytes()).collect()
}

#[test]
fn the_examples_of_rfc_7692_are_inflated() {
    let mut inflater = Inflater::new(15);
    // §7.2.3.1, and §7.2.3.2: the second refers to the first.
    assert_eq!(inflate(&mut inflater, &[0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00]).unwrap(), b"Hello");
    assert_eq!(inflate(&mut inflater, &[0xf2, 0x00, 0x11, 0x00, 0x00]).unwrap(), b"Hello");
    let table: [&[u8]; 4] = [
        // §7.2.3.3: a block without compression.
        &[0x00, 0x05, 0x00, 0xfa, 0xff, 0x48, 0x65, 0x6c, 0x6c, 0x6f, 0x00],
        // §7.2.3.4: a final block.
        &[0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0x00],
        // §7.2.3.5: two blocks.
        &[0xf2, 0x48, 0x05, 0x00, 0x00, 0x00, 0xff, 0xff, 0xca, 0xc9, 0xc9, 0x07, 0x00],
        // The same in fragments (§7.2.3.1) is in the filter's tests.
        &[0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00],
    ];
    for input in table {
        assert_eq!(inflate(&mut Inflater::new(15), input).unwrap(), b"Hello", "{input:x?}");
    }
    // §7.2.3.6
    assert_eq!(inflate(&mut Inflater::new(15), &[0x00]).unwrap(), b"");
}

#[test]
fn messages_are_what_rfc_7692_shows() {
    let mut deflater = deflater(15);
    assert_eq!(deflater.made(b"Hello", true).unwrap(), [0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00]);
    assert_eq!(deflater.made(b"Hello", true).unwrap().len(), 5);
    for _ in 0..3 {
        let empty = deflater.made(b"", true).unwrap();
        assert!(!empty.is_empty());
        assert_eq!(inflate(&mut Inflater::new(15), &empty).unwrap(), b"");
    }
}

#[test]
fn what_refers_to_a_final_block_before_it_is_inflated() {
    let mut inflater = Inflater::new(15);
    assert_eq!(inflate(&mut inflater, &[0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0x00]).unwrap(), b"Hello");
    assert_eq!(inflate(&mut inflater, &[0xf2, 0x00, 0x11, 0x00, 0x00]).unwrap(), b"Hello");
}

#[test]
fn a_parked_codec_holds_its_window_alone_and_goes_on_as_if_nothing_had_been() {
    let text = noise();
    let message = |turn: usize| &text[turn * 100..turn * 100 + 2000];
    let (mut steady, mut deflater) = (deflater(12), deflater(12));
    let mut inflater = Inflater::new(12);
    for turn in 0..100 {
        let wire = deflater.made(message(turn), true).unwrap();
        let usual = steady.made(message(turn), true).unwrap().len();
        assert!(wire.len() <= usual + 16, "{} bytes where {usual} are usual", wire.len());
        assert_eq!(inflate(&mut inflater, &wire).unwrap(), message(turn));
        deflater.park();
        inflater.park();
        assert!(deflater.live.is_none() && inflater.live.is_none());
    }
}

#[test]
fn a_decompressor_is_not_parked_in_the_middle_of_a_message() {
    let mut inflater = Inflater::new(15);
    inflater.run(vec![0xf2, 0x48, 0xcd], false, 100, 10).unwrap();
    inflater.park();
    assert_eq!(inflater.run(vec![0xc9, 0xc9, 0x07, 0x00], true, 100, 10).unwrap(), b"llo");
}

#[test]
fn what_refers_to_messages_before_a_final_block_is_inflated() {
    let long = &noise()[..500];
    let mut inflater = Inflater::new(15);
    let mut deflater = deflater(15);
    let first = deflater.made(long, true).unwrap();
    assert_eq!(inflate(&mut inflater, &first).unwrap(), long);
    assert_eq!(inflate(&mut inflater, &[0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0x00]).unwrap(), b"Hello");
    deflater.made(b"Hello", true).unwrap();
    let again = deflater.made(long, true).unwrap();
    assert!(again.len() < 20);
    assert_eq!(inflate(&mut inflater, &again).unwrap(), long);
}

#[test]
fn what_is_before_a_final_block_is_shown_to_the_stream_behind_it_and_no_more_than_a_window() {
    let (before, long) = (noise(), vec![7; 5000]);
    for (window, output) in [(0, 0), (10, 0), (512, 0), (512, 100), (100, 100), (512, 512), (0, 5000), (512, 5000)] {
        let (window, output) = (&before[..window], &long[..output]);
        let all = [window, output].concat();
        assert_eq!(*end_of(window, output, 512), all[all.len().saturating_sub(512)..]);
    }
    // A final block that holds nothing is two bytes.
    let long = &before[..3000];
    for finals in [0, 1, MOST_FINAL] {
        let (mut inflater, mut deflater) = (Inflater::new(13), deflater(13));
        let first = deflater.made(long, true).unwrap();
        let wire = [deflater.made(&long[..2000], false).unwrap(), [0x03, 0x00].repeat(finals), vec![0]].concat();
        assert_eq!(inflate(&mut inflater, &first).unwrap(), long);
        assert_eq!(inflate(&mut inflater, &wire).unwrap(), &long[..2000]);
        let again = deflater.made(&long[1000..], true).unwrap();
        assert!(again.len() < 50);
        assert_eq!(inflate(&mut inflater, &again).unwrap(), &long[1000..]);
    }
}

#[test]
fn final_blocks_are_bounded_by_the_frame() {
    let (mut inflater, mut deflater) = (Inflater::new(15), deflater(15));
    let large = deflater.made(&vec![0; 1 << 20], false).unwrap();
    let finals = |count| [&large[..], &[0x03, 0x00].repeat(count)].concat();
    let outcome = inflater.run(finals(120_000), true, usize::MAX - 1, usize::MAX);
    let error = outcome.unwrap_err();
    assert_eq!(error.to_string(), "permessage-deflate: more than 16 final blocks in one frame");
    assert_eq!(error.close_code(), Some(crate::CloseCode::PROTOCOL_ERROR));
    let mut inflater = Inflater::new(15);
    for fin in [false, false, true] {
        let wire = [finals(MOST_FINAL), vec![0; usize::from(fin)]].concat();
        let output = inflater.run(wire, fin, usize::MAX - 1, usize::MAX).unwrap();
        assert_eq!(output.len(), 1 << 20);
    }
}

#[test]
fn a_message_is_bounded_and_so_is_what_it_may_grow_by() {
    let bomb = deflater(15).made(&vec![b'a'; 8 << 20], true).unwrap();
    assert!(bomb.len() < 10_000);
    let outcome = |limit, ratio| Inflater::new(15).run(bomb.clone(), true, limit, ratio);
    assert_eq!(outcome(8 << 20, usize::MAX).unwrap().len(), 8 << 20);
    let limit = (8 << 20) - 1;
    assert!(
        matches!(outcome(limit, usize::MAX), Err(Error::LimitExceeded(Limit::Message { limit: found, .. })) if found == limit)
    );
    assert!(matches!(outcome(16 << 20, 100), Err(Error::LimitExceeded(Limit::Ratio { size, compressed, limit }))
        if size <= (1 << 20) + 1 && compressed == bomb.len() && limit == 100));
}

#[test]
fn a_ratio_is_one_of_the_whole_message_however_it_is_cut() {
    let mut deflater = deflater(15);
    let pieces =
        [deflater.made(&vec![b'a'; 1 << 20], false).unwrap(), deflater.made(&vec![b'a'; 1 << 20], true).unwrap()];
    let mut inflater = Inflater::new(15);
    assert_eq!(inflater.run(pieces[0].clone(), false, usize::MAX - 1, 10).unwrap().len(), 1 << 20);
    assert!(matches!(
        inflater.run(pieces[1].clone(), true, usize::MAX - 1, 10),
        Err(Error::LimitExceeded(Limit::Ratio { .. }))
    ));
}

#[test]
fn what_is_no_deflate_stream_is_named() {
    let error = inflate(&mut Inflater::new(15), &[0xff, 0xff]).unwrap_err();
    assert!(error.to_string().contains("permessage-deflate: invalid"), "{error}");
}

/// A window of 8 bits, which zlib does not make: nothing of a message refers further back than 256 bytes.
#[test]
fn the_smallest_window_is_kept() {
    let text: Vec<u8> = (0..40u32).flat_map(|n| (n * n * 7919).to_le_bytes()).collect();
    let mut deflater = deflater(8);
    let mut before: Vec<u8> = Vec::new();
    for turn in 0..200usize {
        let message = &text[turn % 100..turn % 100 + 20];
        let wire = deflater.made(message, true).unwrap();
        let mut inflater = Inflater::new(15);
        let window = &before[before.len() - before.len().min(256)..];
        inflater.window.push(window, false);
        assert_eq!(inflate(&mut inflater, &wire).unwrap(), message);
        before.extend_from_slice(message);
    }
}

proptest! {
    #[test]
    fn what_is_deflated_is_inflated(
        window_bits in 8u8..=15,
        level in 0u8..=9,
        memory_level in 1u8..=9,
        forgets in any::<bool>(),
        both in any::<bool>(),
        parks in any::<(bool, bool)>(),
        messages in prop::collection::vec(prop::collection::vec(prop::collection::vec(0u8..4, 0..2000), 1..4), 1..6),
    ) {
        let tuning = Tuning { level, memory_level, ..Tuning::default() };
        let mut deflater = Deflater::new(window_bits, &tuning);
        let mut inflater = Inflater::new(window_bits);
        for fragments in messages {
            let last = fragments.len() - 1;
            for (number, fragment) in fragments.iter().enumerate() {
                let wire = deflater.made(fragment, number == last).unwrap();
                let back = inflater.run(wire, number == last, usize::MAX - 1, usize::MAX).unwrap();
                prop_assert_eq!(&back, fragment);
                if parks.0 {
                    deflater.park();
                }
                if parks.1 {
                    inflater.park();
                }
            }
            if forgets {
                deflater = Deflater::new(window_bits, &tuning);
                if both {
                    inflater = Inflater::new(window_bits);
                }
            }
        }
    }

    #[test]
    fn anything_may_come(
        pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..6),
        limit in 0usize..3000,
    ) {
        let mut inflater = Inflater::new(15);
        for piece in pieces {
            if let Ok(output) = inflater.run(piece, true, limit, 10) {
                prop_assert!(output.len() <= limit);
            }
        }
    }
}
