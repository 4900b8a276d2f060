//! The filter in its slot: which frames are compressed, and where the work is done.

use std::any::Any;

use super::codec::{Deflater, Inflater};
use super::{Terms, Tuning};
use crate::config::Role;
use crate::error::{Error, Violation};
use crate::filter::{Direction, FilterFrame, Filtered, FrameFilter, WorkDone};
use crate::frame::Opcode;
use crate::scratch::Scratch;

/// RSV1 says that a message is compressed (RFC 7692 §6).
const RSV1: u8 = 4;

/// A received frame that becomes so many times `offload`, and is not over, is large too: the rest is inflated elsewhere.
const LARGE: usize = 4;

/// permessage-deflate on one connection. Each direction's memory is taken when the first compressed message comes or goes.
pub struct PerMessageDeflate {
    tuning: Tuning,
    receiving: Way<Inflater>,
    sending: Way<Deflater>,
}

/// One direction.
struct Way<T> {
    codec: Option<T>,
    window_bits: u8,
    forgets: bool,
    /// The message under way is compressed.
    is_compressed: bool,
    /// It was used since `rest` looked last.
    is_used: bool,
}

impl<T: Send + 'static> Way<T> {
    fn new(window_bits: u8, forgets: bool) -> Self {
        Self { codec: None, window_bits, forgets, is_compressed: false, is_used: false }
    }

    /// What is left of the codec behind a frame, and what became of that.
    fn done(&mut self, codec: T, frame: FilterFrame, result: Result<Scratch, Error>) -> Filtered {
        self.codec = (!self.forgets_behind(frame)).then_some(codec);
        match result {
            Ok(payload) => Filtered::Made(frame, payload),
            Err(error) => Filtered::Failed(error),
        }
    }

    /// Has `run` make the payload of `frame` with the codec elsewhere.
    fn elsewhere(
        &self,
        mut codec: T,
        frame: FilterFrame,
        run: impl FnOnce(&mut T) -> Result<Scratch, Error> + Send + 'static,
    ) -> Filtered {
        let forgets = self.forgets_behind(frame);
        Filtered::Work(Box::new(move || {
            let result = run(&mut codec).map(|payload| (frame, payload.into_vec()));
            WorkDone { result, state: (!forgets).then(|| Box::new(codec) as Box<dyn Any + Send>) }
        }))
    }

    fn forgets_behind(&self, frame: FilterFrame) -> bool {
        self.forgets && frame.fin
    }

    fn restore(&mut self, state: Box<dyn Any + Send>) {
        self.codec = state.downcast().ok().map(|codec| *codec);
    }
}

impl PerMessageDeflate {
    /// The extension as it was negotiated, seen from one end.
    pub fn new(role: Role, terms: Terms, tuning: Tuning) -> Self {
        let client = (terms.client_max_window_bits, terms.client_no_context_takeover);
        let server = (terms.server_max_window_bits, terms.server_no_context_takeover);
        let (ours, theirs) = if role == Role::Client { (client, server) } else { (server, client) };
        Self { tuning, receiving: Way::new(theirs.0, theirs.1), sending: Way::new(ours.0, ours.1) }
    }

    /// Bytes above which work is done elsewhere.
    fn is_large(&self, size: usize) -> bool {
        size >= self.tuning.offload
    }
}

impl FrameFilter for PerMessageDeflate {
    fn reserved_bits(&self) -> u8 {
        RSV1
    }

    fn decode(&mut self, frame: FilterFrame, payload: &[u8], limit: usize) -> Filtered {
        let marked = frame.rsv & RSV1 != 0;
        let plain = FilterFrame { rsv: frame.rsv & !RSV1, ..frame };
        if frame.opcode != Opcode::Continuation {
            self.receiving.is_compressed = marked;
        } else if marked {
            // §6.1: only the first frame of a message has it.
            return Filtered::Failed(Violation::ReservedBits(RSV1).into());
        }
        if !self.receiving.is_compressed {
            return Filtered::Same(plain);
        }
        let (is_large, max_ratio) = (self.is_large(payload.len()), self.tuning.max_ratio);
        let most_here = self.tuning.offload.saturating_mul(LARGE);
        let way = &mut self.receiving;
        way.is_used = true;
        let mut codec = way.codec.take().unwrap_or_else(|| Inflater::new(way.window_bits));
        let mut inflating = match codec.begin(payload, plain.fin, limit, max_ratio) {
            Ok(inflating) => inflating,
            Err(error) => return way.done(codec, plain, Err(error)),
        };
        if !is_large && let Some(result) = codec.go_on(&mut inflating, most_here) {
            return way.done(codec, plain, result);
        }
        way.elsewhere(codec, plain, move |codec| codec.finish(&mut inflating))
    }

    fn encode(&mut self, frame: FilterFrame, payload: &[u8]) -> Filtered {
        if frame.opcode != Opcode::Continuation {
            let is_small = frame.fin && payload.len() < self.tuning.threshold;
            self.sending.is_compressed = frame.compress.unwrap_or(!is_small);
        }
        if !self.sending.is_compressed {
            return Filtered::Same(frame);
        }
        self.sending.is_used = true;
        let rsv = if frame.opcode == Opcode::Continuation { frame.rsv } else { frame.rsv | RSV1 };
        let marked = FilterFrame { rsv, ..frame };
        let is_large = self.is_large(payload.len());
        let way = &mut self.sending;
        let mut codec = way.codec.take().unwrap_or_else(|| Deflater::new(way.window_bits, &self.tuning));
        if is_large {
            let payload = payload.to_vec();
            return way.elsewhere(codec, marked, move |codec| codec.run(&payload, marked.fin));
        }
        let result = codec.run(payload, marked.fin);
        way.done(codec, marked, result)
    }

    fn passes_plain(&self) -> bool {
        true
    }

    fn restore(&mut self, direction: Direction, state: Box<dyn Any + Send>) {
        match direction {
            Direction::Receive => self.receiving.restore(state),
            Direction::Send => self.sending.restore(state),
        }
    }

    fn may_rest(&self) -> bool {
        self.sending.codec.is_some() || self.receiving.codec.as_ref().is_some_and(Inflater::may_park)
    }

    /// A compressor may forget its window at any time: what it refers back to is its own affair. In the middle of a
    /// message too, since each frame ends with a flush. A decompressor keeps its window, and nothing else.
    fn rest(&mut self) {
        if !std::mem::take(&mut self.sending.is_used) {
            self.sending.codec = None;
        }
        if !std::mem::take(&mut self.receiving.is_used)
            && let Some(inflater) = &mut self.receiving.codec
        {
            inflater.park();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(terms: Terms, tuning: Tuning) -> (PerMessageDeflate, PerMessageDeflate) {
        (PerMessageDeflate::new(Role::Client, terms, tuning), PerMessageDeflate::new(Role::Server, terms, tuning))
    }

    fn frame(opcode: Opcode, rsv: u8, fin: bool) -> FilterFrame {
        FilterFrame { opcode, rsv, fin, compress: None }
    }

    /// What became of a payload, at once.
    fn ready(filtered: Filtered, payload: &[u8]) -> (FilterFrame, Vec<u8>) {
        match filtered {
            Filtered::Same(frame) => (frame, payload.to_vec()),
            Filtered::Made(frame, payload) => (frame, payload.into_vec()),
            Filtered::Failed(error) => panic!("{error}"),
            Filtered::Work(_) => panic!("work"),
        }
    }

    fn encoded(end: &mut PerMessageDeflate, frame: FilterFrame, payload: &[u8]) -> (FilterFrame, Vec<u8>) {
        ready(end.encode(frame, payload), payload)
    }

    fn decoded(end: &mut PerMessageDeflate, frame: FilterFrame, payload: &[u8]) -> (FilterFrame, Vec<u8>) {
        ready(end.decode(frame, payload, 100), payload)
    }

    const ALL: Tuning = Tuning { level: 6, memory_level: 5, threshold: 0, max_ratio: 1032, offload: usize::MAX };

    #[test]
    fn messages_come_back_whatever_was_agreed() {
        for server_no_context_takeover in [false, true] {
            for client_no_context_takeover in [false, true] {
                for bits in [8, 15] {
                    let terms = Terms {
                        server_no_context_takeover,
                        client_no_context_takeover,
                        server_max_window_bits: bits,
                        client_max_window_bits: bits,
                    };
                    let (mut client, mut server) = pair(terms, ALL);
                    let mut sizes = Vec::new();
                    for _ in 0..3 {
                        let (head, wire) = encoded(&mut client, frame(Opcode::Text, 0, true), b"price price");
                        assert_eq!(head.rsv, RSV1);
                        sizes.push(wire.len());
                        let (head, back) = decoded(&mut server, head, &wire);
                        assert_eq!((head.rsv, back.as_slice()), (0, &b"price price"[..]));
                    }
                    assert_eq!(sizes[1] < sizes[0], !client_no_context_takeover);
                    assert_eq!(sizes[2] == sizes[0], client_no_context_takeover);
                    // What forgets keeps no memory from one message to the next.
                    assert_eq!(client.sending.codec.is_none(), client_no_context_takeover);
                    assert_eq!(server.receiving.codec.is_none(), client_no_context_takeover);
                }
            }
        }
    }

    #[test]
    fn rsv1_is_on_the_first_frame_alone() {
        let (mut client, mut server) = pair(Terms::default(), ALL);
        let frames = [
            (frame(Opcode::Text, 0, false), &b"Hel"[..], RSV1),
            (frame(Opcode::Continuation, 0, false), &b""[..], 0),
            (frame(Opcode::Continuation, 0, true), &b"lo"[..], 0),
        ];
        for (plain, payload, rsv) in frames {
            let (head, wire) = encoded(&mut client, plain, payload);
            assert_eq!(head.rsv, rsv);
            let (head, back) = decoded(&mut server, head, &wire);
            assert_eq!((head, back.as_slice()), (plain, payload));
        }
        decoded(&mut server, frame(Opcode::Text, 0, false), b"a");
        let Filtered::Failed(error) = server.decode(frame(Opcode::Continuation, RSV1, true), b"b", 100) else {
            panic!()
        };
        assert_eq!(error, Violation::ReservedBits(RSV1).into());
    }

    #[test]
    fn the_fragments_of_rfc_7692_are_inflated() {
        // §7.2.3.1
        let (mut client, _) = pair(Terms::default(), ALL);
        let first = decoded(&mut client, frame(Opcode::Text, RSV1, false), &[0xf2, 0x48, 0xcd]).1;
        let second = decoded(&mut client, frame(Opcode::Continuation, 0, true), &[0xc9, 0xc9, 0x07, 0x00]).1;
        assert_eq!([first, second].concat(), b"Hello");
    }

    #[test]
    fn small_messages_are_sent_as_they_are_and_need_no_memory() {
        let (mut client, mut server) = pair(Terms::default(), Tuning { threshold: 10, ..ALL });
        let (head, wire) = encoded(&mut client, frame(Opcode::Text, 0, true), b"123456789");
        assert_eq!((head.rsv, wire.as_slice()), (0, &b"123456789"[..]));
        decoded(&mut server, head, &wire);
        assert!(client.sending.codec.is_none() && server.receiving.codec.is_none());
        assert_eq!(encoded(&mut client, frame(Opcode::Text, 0, true), b"1234567890").0.rsv, RSV1);
        let said = |compress| FilterFrame { compress, ..frame(Opcode::Text, 0, true) };
        assert_eq!(encoded(&mut client, said(Some(false)), b"1234567890").0.rsv, 0);
        assert_eq!(encoded(&mut client, said(Some(true)), b"1").0.rsv, RSV1);
        // How long a message in fragments becomes is not known at the first.
        assert_eq!(encoded(&mut client, frame(Opcode::Text, 0, false), b"1").0.rsv, RSV1);
    }

    #[test]
    fn a_compressor_that_was_not_used_gives_its_memory_back_and_nobody_notices() {
        let (mut client, mut server) = pair(Terms::default(), ALL);
        let mut sizes = Vec::new();
        for turn in 0..4 {
            let (head, wire) = encoded(&mut client, frame(Opcode::Text, 0, true), b"price price");
            sizes.push(wire.len());
            assert_eq!(decoded(&mut server, head, &wire).1, b"price price");
            client.rest();
            assert!(client.may_rest(), "it was just used");
            if turn == 1 {
                client.rest();
                assert!(!client.may_rest());
            }
        }
        assert_eq!(sizes[2], sizes[0]);
        assert_eq!(sizes[3], sizes[1]);
    }

    #[test]
    fn a_decompressor_that_was_not_used_gives_its_memory_back_and_keeps_its_window() {
        let (mut client, mut server) = pair(Terms::default(), ALL);
        for turn in 0..4 {
            let (head, wire) = encoded(&mut client, frame(Opcode::Text, 0, true), b"price price");
            assert_eq!(decoded(&mut server, head, &wire).1, b"price price");
            server.rest();
            if turn == 1 {
                assert!(server.may_rest(), "it was just used");
                server.rest();
                assert!(!server.may_rest());
            }
        }
    }

    #[test]
    fn large_frames_are_worked_on_elsewhere_and_the_window_travels() {
        let (mut client, mut server) = pair(Terms::default(), Tuning { offload: 1000, ..ALL });
        let data: Vec<u8> = (0..4000u32).map(|n| ((n * n) >> 5) as u8).collect();
        for _ in 0..2 {
            let Filtered::Work(work) = client.encode(frame(Opcode::Binary, 0, true), &data) else { panic!() };
            let done = work();
            client.restore(Direction::Send, done.state.unwrap());
            let (head, wire) = done.result.unwrap();
            match server.decode(head, &wire, 10_000) {
                Filtered::Same(_) => panic!("as it was"),
                Filtered::Made(_, back) => assert_eq!(*back, data),
                Filtered::Failed(error) => panic!("{error}"),
                Filtered::Work(work) => {
                    let done = work();
                    server.restore(Direction::Receive, done.state.unwrap());
                    assert_eq!(done.result.unwrap().1, data);
                }
            }
        }
        assert!(client.sending.codec.is_some() && server.receiving.codec.is_some());
    }

    #[test]
    fn what_becomes_large_is_inflated_elsewhere_from_there_on() {
        for forgets in [false, true] {
            let terms = Terms { client_no_context_takeover: forgets, ..Terms::default() };
            let tuning = Tuning { offload: 2000, max_ratio: 1032, ..ALL };
            let (mut client, _) = pair(terms, ALL);
            let (_, mut server) = pair(terms, tuning);
            for (size, is_large) in [(100, false), (3000, false), (1 << 20, true), (100, false)] {
                let text = vec![b'a'; size];
                let (head, wire) = encoded(&mut client, frame(Opcode::Text, 0, true), &text);
                assert!(wire.len() < tuning.offload);
                let payload = match server.decode(head, &wire, 1 << 20) {
                    Filtered::Work(run) if is_large => {
                        let done = run();
                        assert_eq!(done.state.is_none(), forgets);
                        if let Some(state) = done.state {
                            server.restore(Direction::Receive, state);
                        }
                        done.result.unwrap().1
                    }
                    filtered if !is_large => ready(filtered, &wire).1,
                    _ => panic!("inflated here"),
                };
                assert_eq!(payload, text);
            }
        }
    }
}
