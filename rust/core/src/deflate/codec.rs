//! One direction each: raw deflate streams cut into messages (RFC 7692 §7.2).

use std::borrow::Cow;
use std::cell::RefCell;
use std::thread::LocalKey;

use zlib_rs::{Deflate, DeflateConfig, DeflateFlush, Inflate, InflateFlush, Method, Status, Strategy};

use super::window::{Seat, Seats, Window};
use super::{FREE, Tuning};
use crate::error::{Error, Limit, Violation};

/// What a sender leaves away at the end of each message, and a receiver puts back (§7.2.1).
const TAIL: [u8; 4] = [0x00, 0x00, 0xff, 0xff];

/// zlib makes no window of 8 bits; one of 9 refers to 250 bytes at most, since it keeps 262 for looking ahead.
const LEAST_WINDOW: u8 = 9;

/// Final blocks in one frame (§7.2.3.4). A sender that ends its stream with each message has one, and no peer is known
/// that has two; each costs us a new stream and its window, and the peer two bytes.
const MOST_FINAL: usize = 16;

/// What a message is first given room for: bytes, and times what came for it.
const FIRST_ROOM: (usize, usize) = (512, 4);

/// Decompressors that stay in memory between messages, 45 KiB each. The connections beyond borrow one for each message,
/// which costs a microsecond.
static INFLATERS: Seats = Seats::new(64);

/// Compressors that stay, 170 KiB each. The connections beyond borrow one for each message and show it their window again,
/// which costs some 10 µs.
static DEFLATERS: Seats = Seats::new(16);

/// The receiving direction.
pub(super) struct Inflater {
    /// None between two messages, if it did not get a seat, or was given back.
    live: Option<Live<Inflate>>,
    window: Window,
    window_bits: u8,
    /// Compressed bytes of the message so far, and what they became.
    came: usize,
    became: usize,
}

/// A frame that is being inflated.
pub(super) struct Inflating {
    input: Vec<u8>,
    fin: bool,
    limit: usize,
    allowed: usize,
    used: usize,
    /// Of which `have` bytes are there.
    output: Vec<u8>,
    have: usize,
    finals: usize,
}

/// A stream in memory, and its right to stay there until the next message.
struct Live<T> {
    stream: T,
    seat: Option<Seat>,
}

impl Inflater {
    pub(super) fn new(window_bits: u8) -> Self {
        let window_bits = window_bits.max(LEAST_WINDOW);
        Self { live: None, window: Window::new(window_bits), window_bits, came: 0, became: 0 }
    }

    /// Whether memory can be given back.
    pub(super) fn may_park(&self) -> bool {
        self.live.is_some()
    }

    /// Keeps the window alone, but in the middle of a message.
    pub(super) fn park(&mut self) {
        if self.came == 0 {
            self.leave();
            self.window.settle();
        }
    }

    /// A stream without a seat is there for the next who has none.
    fn leave(&mut self) {
        if let Some(Live { stream, seat: None }) = self.live.take() {
            put_back(&SPARE_INFLATERS, stream);
        }
    }

    /// Begins with a frame. `limit` is what it may become; above [`FREE`] so is `max_ratio` times what came.
    pub(super) fn begin(&mut self, mut input: Vec<u8>, fin: bool, limit: usize, max_ratio: usize) -> Inflating {
        self.came += input.len();
        let allowed = self.came.saturating_mul(max_ratio).max(FREE).saturating_sub(self.became);
        if fin {
            input.extend_from_slice(&TAIL);
        }
        Inflating { input, fin, limit, allowed, used: 0, output: Vec::new(), have: 0, finals: 0 }
    }

    /// Inflates a frame to its end.
    pub(super) fn finish(&mut self, frame: &mut Inflating) -> Result<Vec<u8>, Error> {
        loop {
            if let Some(result) = self.go_on(frame, usize::MAX) {
                return result;
            }
        }
    }

    /// Goes on with a frame, to its end or (none) until it has become so many bytes and there is more.
    pub(super) fn go_on(&mut self, frame: &mut Inflating, pause: usize) -> Option<Result<Vec<u8>, Error>> {
        let result = self.inflate(frame, pause).transpose()?;
        match &result {
            Ok(output) if !frame.fin => self.became += output.len(),
            _ => (self.came, self.became) = (0, 0),
        }
        let stays = self.live.as_ref().is_some_and(|live| live.seat.is_some());
        if let Ok(output) = &result {
            self.window.push(output, stays);
        }
        if !stays {
            self.park();
        }
        Some(result)
    }

    fn inflate(&mut self, frame: &mut Inflating, pause: usize) -> Result<Option<Vec<u8>>, Error> {
        let (bits, window) = (self.window_bits, &self.window);
        let stream = &mut self.live.get_or_insert_with(|| live_behind(bits, window.last())).stream;
        let Inflating { input, limit, allowed, used, output, have, finals, .. } = frame;
        let most = (*limit).min(*allowed);
        loop {
            if *have == output.len() {
                if *have >= pause {
                    return Ok(None);
                }
                // One byte more than is allowed tells that there is more.
                let room = if *have == 0 { FIRST_ROOM.0.max(input.len().saturating_mul(FIRST_ROOM.1)) } else { *have };
                let size = have.saturating_add(room).min(most.saturating_add(1));
                if output.try_reserve_exact(size - *have).is_err() {
                    return Err(Limit::Memory { size }.into());
                }
                output.resize(size, 0);
            }
            let (before_in, before_out) = (stream.total_in(), stream.total_out());
            let status = stream.decompress(&input[*used..], &mut output[*have..], InflateFlush::SyncFlush);
            *used += (stream.total_in() - before_in) as usize;
            *have += (stream.total_out() - before_out) as usize;
            if *have > most {
                return Err(self.too_much(*have as u64, *limit, *allowed));
            }
            match status {
                Err(_) => {
                    let why = stream.error_message().unwrap_or("invalid data");
                    return Err(Violation::Extension(format!("{}: {why}", super::NAME)).into());
                }
                Ok(Status::StreamEnd) => {
                    // §7.2.3.4: a final block; what follows, if only the tail, is another stream. It may refer back.
                    *finals += 1;
                    if *finals > MOST_FINAL {
                        let text = format!("{}: more than {MOST_FINAL} final blocks in one frame", super::NAME);
                        return Err(Violation::Extension(text).into());
                    }
                    stream.reset(false);
                    see(stream, bits, &end_of(window.last(), &output[..*have], 1 << bits));
                    if *used == input.len() {
                        break;
                    }
                }
                // Room is left: nothing more can be made of what came.
                Ok(_) if *have < output.len() => break,
                Ok(_) => {}
            }
        }
        output.truncate(*have);
        Ok(Some(std::mem::take(output)))
    }

    fn too_much(&self, have: u64, limit: usize, allowed: usize) -> Error {
        let size = have + self.became as u64;
        if limit <= allowed {
            return Limit::Message { size, limit: limit.saturating_add(self.became) }.into();
        }
        Limit::Ratio { size, compressed: self.came }.into()
    }
}

impl Drop for Inflater {
    fn drop(&mut self) {
        self.leave();
    }
}

/// A stream that may refer back to what is before it. Without a seat it is one for every window, since that cannot be
/// changed later: what may be referred back to is bounded by what it is shown.
fn live_behind(window_bits: u8, before: &[u8]) -> Live<Inflate> {
    let seat = INFLATERS.take();
    let mut stream = match &seat {
        Some(_) => Inflate::new(false, window_bits),
        None => match take_spare(&SPARE_INFLATERS, |_| true) {
            Some(mut stream) => {
                stream.reset(false);
                stream
            }
            None => Inflate::new(false, super::MAX_WINDOW_BITS),
        },
    };
    see(&mut stream, window_bits, before);
    Live { stream, seat }
}

/// Shows a stream what was before it.
fn see(stream: &mut Inflate, window_bits: u8, before: &[u8]) {
    if !before.is_empty() {
        // A raw stream takes any dictionary.
        let _ = stream.set_dictionary(&before[before.len().saturating_sub(1 << window_bits)..]);
    }
}

/// The last bytes, so many at most, of what was before and what came behind it.
fn end_of<'a>(before: &[u8], behind: &'a [u8], most: usize) -> Cow<'a, [u8]> {
    match most.checked_sub(behind.len()) {
        None | Some(0) => behind[behind.len() - most..].into(),
        Some(missing) => [&before[before.len().saturating_sub(missing)..], behind].concat().into(),
    }
}

/// The sending direction.
pub(super) struct Deflater {
    /// None between two messages, if it did not get a seat.
    live: Option<Live<Deflate>>,
    window: Window,
    settings: Settings,
}

/// What a compressor is made for.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Settings {
    window_bits: u8,
    level: u8,
    memory_level: u8,
}

thread_local! {
    /// Streams that nobody uses at the moment: to clear one costs less than to make it, and those that come and go would
    /// leave holes in the heap, which connections fill in part. A thread has its own.
    static SPARE_INFLATERS: Spare<Inflate> = const { RefCell::new(Vec::new()) };
    static SPARE_DEFLATERS: Spare<(Settings, Deflate)> = const { RefCell::new(Vec::new()) };
}

type Spare<T> = RefCell<Vec<T>>;

const MOST_SPARE: usize = 2;

/// None of a thread that is ending, as below.
fn take_spare<T>(spare: &'static LocalKey<Spare<T>>, suits: impl FnMut(&T) -> bool) -> Option<T> {
    spare
        .try_with(|spare| {
            let mut spare = spare.borrow_mut();
            let at = spare.iter().position(suits)?;
            Some(spare.remove(at))
        })
        .ok()?
}

fn put_back<T>(spare: &'static LocalKey<Spare<T>>, stream: T) {
    let _ = spare.try_with(|spare| {
        let mut spare = spare.borrow_mut();
        spare.push(stream);
        if spare.len() > MOST_SPARE {
            // The oldest goes: it may be of settings that nobody has any more.
            spare.remove(0);
        }
    });
}

impl Deflater {
    pub(super) fn new(window_bits: u8, tuning: &Tuning) -> Self {
        let settings = Settings {
            window_bits: window_bits.max(LEAST_WINDOW),
            level: tuning.level,
            memory_level: tuning.memory_level,
        };
        Self { live: None, window: Window::new(window_bits), settings }
    }

    /// Keeps the window alone. In the middle of a message too, since each frame ends with a flush.
    fn park(&mut self) {
        self.leave();
        self.window.settle();
    }

    fn leave(&mut self) {
        if let Some(live) = self.live.take() {
            put_back(&SPARE_DEFLATERS, (self.settings, live.stream));
        }
    }

    /// Deflates one frame of a message.
    pub(super) fn run(&mut self, input: &[u8], fin: bool) -> Result<Vec<u8>, Error> {
        // A stored block adds five bytes for each 16 KiB at worst; a flush has its tail.
        let mut output = vec![0; input.len() / 2 + 64];
        let (settings, window) = (self.settings, &self.window);
        let stream = &mut self.live.get_or_insert_with(|| settings.live_behind(window.last())).stream;
        let (mut used, mut have) = (0, 0);
        loop {
            if have == output.len() {
                output.resize(have + have.max(64), 0);
            }
            let (before_in, before_out) = (stream.total_in(), stream.total_out());
            let status = stream.compress(&input[used..], &mut output[have..], DeflateFlush::SyncFlush);
            used += (stream.total_in() - before_in) as usize;
            have += (stream.total_out() - before_out) as usize;
            if let Err(error) = status {
                return Err(Violation::Extension(format!("{}: {}", super::NAME, error.as_str())).into());
            }
            if have < output.len() && used == input.len() {
                break;
            }
        }
        output.truncate(have);
        let stays = self.live.as_ref().is_some_and(|live| live.seat.is_some());
        self.window.push(input, stays);
        if !stays {
            self.park();
        }
        if fin {
            if output.ends_with(&TAIL) {
                output.truncate(have - TAIL.len());
            }
            if output.is_empty() {
                output.push(0); // §7.2.3.6
            }
        }
        Ok(output)
    }
}

impl Drop for Deflater {
    fn drop(&mut self) {
        self.leave();
    }
}

impl Settings {
    /// A stream that may refer back to what is before it.
    fn live_behind(self, before: &[u8]) -> Live<Deflate> {
        let mut stream = match take_spare(&SPARE_DEFLATERS, |(settings, _)| *settings == self) {
            Some((_, mut stream)) => {
                stream.reset();
                stream
            }
            None => self.make(),
        };
        if !before.is_empty() {
            // Only a stream with a header, or with work under way, refuses it.
            let _ = stream.set_dictionary(before);
        }
        Live { stream, seat: DEFLATERS.take() }
    }

    fn make(self) -> Deflate {
        Deflate::new_with_config(DeflateConfig {
            level: i32::from(self.level),
            method: Method::Deflated,
            window_bits: -i32::from(self.window_bits),
            mem_level: i32::from(self.memory_level),
            strategy: Strategy::Default,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn deflater(window_bits: u8) -> Deflater {
        Deflater::new(window_bits, &Tuning::default())
    }

    impl Inflater {
        fn run(&mut self, input: Vec<u8>, fin: bool, limit: usize, max_ratio: usize) -> Result<Vec<u8>, Error> {
            let mut frame = self.begin(input, fin, limit, max_ratio);
            self.finish(&mut frame)
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
        assert_eq!(deflater.run(b"Hello", true).unwrap(), [0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00]);
        assert_eq!(deflater.run(b"Hello", true).unwrap().len(), 5);
        for _ in 0..3 {
            let empty = deflater.run(b"", true).unwrap();
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
            let wire = deflater.run(message(turn), true).unwrap();
            let usual = steady.run(message(turn), true).unwrap().len();
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
        let first = deflater.run(long, true).unwrap();
        assert_eq!(inflate(&mut inflater, &first).unwrap(), long);
        assert_eq!(inflate(&mut inflater, &[0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0x00]).unwrap(), b"Hello");
        deflater.run(b"Hello", true).unwrap();
        let again = deflater.run(long, true).unwrap();
        assert!(again.len() < 20);
        assert_eq!(inflate(&mut inflater, &again).unwrap(), long);
    }

    #[test]
    fn what_is_before_a_final_block_is_shown_to_the_stream_behind_it_and_no_more_than_a_window() {
        let (before, long) = (noise(), vec![7; 5000]);
        for (window, output) in [(0, 0), (10, 0), (512, 0), (512, 100), (100, 100), (512, 512), (0, 5000), (512, 5000)]
        {
            let (window, output) = (&before[..window], &long[..output]);
            let all = [window, output].concat();
            assert_eq!(*end_of(window, output, 512), all[all.len().saturating_sub(512)..]);
        }
        // A final block that holds nothing is two bytes.
        let long = &before[..3000];
        for finals in [0, 1, MOST_FINAL] {
            let (mut inflater, mut deflater) = (Inflater::new(13), deflater(13));
            let first = deflater.run(long, true).unwrap();
            let wire = [deflater.run(&long[..2000], false).unwrap(), [0x03, 0x00].repeat(finals), vec![0]].concat();
            assert_eq!(inflate(&mut inflater, &first).unwrap(), long);
            assert_eq!(inflate(&mut inflater, &wire).unwrap(), &long[..2000]);
            let again = deflater.run(&long[1000..], true).unwrap();
            assert!(again.len() < 50);
            assert_eq!(inflate(&mut inflater, &again).unwrap(), &long[1000..]);
        }
    }

    #[test]
    fn final_blocks_are_bounded_by_the_frame() {
        let (mut inflater, mut deflater) = (Inflater::new(15), deflater(15));
        let large = deflater.run(&vec![0; 1 << 20], false).unwrap();
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
        let bomb = deflater(15).run(&vec![b'a'; 8 << 20], true).unwrap();
        assert!(bomb.len() < 10_000);
        let outcome = |limit, ratio| Inflater::new(15).run(bomb.clone(), true, limit, ratio);
        assert_eq!(outcome(8 << 20, usize::MAX).unwrap().len(), 8 << 20);
        let limit = (8 << 20) - 1;
        assert!(
            matches!(outcome(limit, usize::MAX), Err(Error::LimitExceeded(Limit::Message { limit: found, .. })) if found == limit)
        );
        assert!(matches!(outcome(16 << 20, 100), Err(Error::LimitExceeded(Limit::Ratio { size, compressed }))
            if size <= (1 << 20) + 1 && compressed == bomb.len()));
    }

    #[test]
    fn a_ratio_is_one_of_the_whole_message_however_it_is_cut() {
        let mut deflater = deflater(15);
        let pieces =
            [deflater.run(&vec![b'a'; 1 << 20], false).unwrap(), deflater.run(&vec![b'a'; 1 << 20], true).unwrap()];
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
            let wire = deflater.run(message, true).unwrap();
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
                    let wire = deflater.run(fragment, number == last).unwrap();
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
}
