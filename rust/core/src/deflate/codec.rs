//! One direction each: raw deflate streams cut into messages (RFC 7692 §7.2).

use std::borrow::Cow;
use std::cell::RefCell;
use std::thread::LocalKey;

use zlib_rs::{Deflate, DeflateConfig, DeflateFlush, Inflate, InflateFlush, Method, Status, Strategy};

use super::window::{Seat, Seats, Window};
use super::{FREE, Tuning};
use crate::error::{Error, Limit, Violation};
use crate::scratch::Scratch;

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
    input: Scratch,
    fin: bool,
    limit: usize,
    allowed: usize,
    max_ratio: usize,
    used: usize,
    output: Scratch,
    /// What `output` may become before it is looked at again.
    room: usize,
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
    pub(super) fn begin(
        &mut self,
        payload: &[u8],
        fin: bool,
        limit: usize,
        max_ratio: usize,
    ) -> Result<Inflating, Error> {
        self.came += payload.len();
        let allowed = self.came.saturating_mul(max_ratio).max(FREE).saturating_sub(self.became);
        let tail = if fin { &TAIL[..] } else { &[] };
        let size = payload.len() + tail.len();
        let (output, mut input) = (Scratch::take(), Scratch::take());
        let copied = input.reserve(size).and_then(|()| input.extend(payload)).and_then(|()| input.extend(tail));
        copied.map_err(|_| Limit::Memory { size })?;
        Ok(Inflating { input, fin, limit, allowed, max_ratio, used: 0, output, room: 0, finals: 0 })
    }

    /// Inflates a frame to its end.
    pub(super) fn finish(&mut self, frame: &mut Inflating) -> Result<Scratch, Error> {
        loop {
            if let Some(result) = self.go_on(frame, usize::MAX) {
                return result;
            }
        }
    }

    /// Goes on with a frame, to its end or (none) until it has become so many bytes and there is more.
    pub(super) fn go_on(&mut self, frame: &mut Inflating, pause: usize) -> Option<Result<Scratch, Error>> {
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

    fn inflate(&mut self, frame: &mut Inflating, pause: usize) -> Result<Option<Scratch>, Error> {
        let (bits, window) = (self.window_bits, &self.window);
        let stream = &mut self.live.get_or_insert_with(|| live_behind(bits, window.last())).stream;
        let Inflating { input, limit, allowed, max_ratio, used, output, room, finals, .. } = frame;
        let most = (*limit).min(*allowed);
        loop {
            let have = output.len();
            if have == *room {
                if have > 0 && have >= pause {
                    return Ok(None);
                }
                let more = if have == 0 { FIRST_ROOM.0.max(input.len().saturating_mul(FIRST_ROOM.1)) } else { have };
                // One byte more than is allowed tells that there is more.
                *room = have.saturating_add(more).max(output.capacity()).min(most.saturating_add(1));
                output.reserve(*room).map_err(|_| Limit::Memory { size: *room })?;
            }
            let (before_in, before_out) = (stream.total_in(), stream.total_out());
            let to = &mut output.spare()[..*room - have];
            let status = stream.decompress(&input[*used..], to, InflateFlush::SyncFlush);
            *used += (stream.total_in() - before_in) as usize;
            output.advance((stream.total_out() - before_out) as usize);
            if output.len() > most {
                return Err(self.too_much(output.len() as u64, *limit, *allowed, *max_ratio));
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
                    see(stream, bits, &end_of(window.last(), output, 1 << bits));
                    if *used == input.len() {
                        break;
                    }
                }
                // Room is left: nothing more can be made of what came.
                Ok(_) if output.len() < *room => break,
                Ok(_) => {}
            }
        }
        Ok(Some(std::mem::take(output)))
    }

    fn too_much(&self, have: u64, limit: usize, allowed: usize, max_ratio: usize) -> Error {
        let before = self.became as u64;
        let size = have + before;
        if limit <= allowed {
            return Limit::Message { size, before, limit: limit.saturating_add(self.became) }.into();
        }
        Limit::Ratio { size, compressed: self.came, limit: max_ratio }.into()
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
    pub(super) fn run(&mut self, input: &[u8], fin: bool) -> Result<Scratch, Error> {
        let mut output = Scratch::take();
        // A stored block adds five bytes for each 16 KiB at worst; a flush has its tail.
        let mut room = input.len() / 2 + 64;
        let (settings, window) = (self.settings, &self.window);
        let stream = &mut self.live.get_or_insert_with(|| settings.live_behind(window.last())).stream;
        let mut used = 0;
        loop {
            output.reserve(output.len() + room).map_err(|_| Limit::Memory { size: output.len() + room })?;
            let (before_in, before_out) = (stream.total_in(), stream.total_out());
            let status = stream.compress(&input[used..], output.spare(), DeflateFlush::SyncFlush);
            used += (stream.total_in() - before_in) as usize;
            output.advance((stream.total_out() - before_out) as usize);
            if let Err(error) = status {
                return Err(Violation::Extension(format!("{}: {}", super::NAME, error.as_str())).into());
            }
            if !output.spare().is_empty() && used == input.len() {
                break;
            }
            room = output.len().max(64);
        }
        let stays = self.live.as_ref().is_some_and(|live| live.seat.is_some());
        self.window.push(input, stays);
        if !stays {
            self.park();
        }
        if fin {
            if output.ends_with(&TAIL) {
                output.truncate(output.len() - TAIL.len());
            }
            if output.is_empty() {
                output.extend(&[0]).map_err(|_| Limit::Memory { size: 1 })?; // §7.2.3.6
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
mod tests;
