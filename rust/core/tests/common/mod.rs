//! What the tests of the machine share: a sink that records, one end with a fake clock, and two ends wired together.
#![allow(dead_code, reason = "each test binary uses its part of it")]
#![allow(missing_docs)]

pub mod cases;

use std::cell::Cell;
use std::rc::Rc;

use fastws_core::connection::{StreamEnd, Teardown};
use fastws_core::frame::{self, Header, MAX_HEADER};
use fastws_core::handshake::{ClientHandshake, RequestParts, RequestReader, accept};
use fastws_core::sink::OutOfMemory;
use fastws_core::uri::Uri;
use fastws_core::{
    Config, Connection, Event, Flow, Limits, Nanos, Opcode, PayloadBuf, Role, SECOND, Sink, State, Unit,
};

thread_local! {
    static MASKS: Cell<u32> = const { Cell::new(0x0102_0304) };
}

/// Mask keys that differ from each other and between their bytes, the same in every run.
pub fn mask_key() -> [u8; 4] {
    MASKS.with(|masks| {
        masks.set(masks.get().wrapping_mul(0x9e37_79b1).wrapping_add(0x7f4a_7c15));
        masks.get().to_be_bytes()
    })
}

pub fn config(role: Role) -> Config {
    Config::new(role, mask_key)
}

/// A configuration without keepalive.
pub fn quiet(role: Role) -> Config {
    Config { ping_interval: None, ..config(role) }
}

/// What a sink was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Item {
    Data {
        opcode: Opcode,
        fin: bool,
        rsv: u8,
        payload: Vec<u8>,
    },
    Ping(Vec<u8>),
    /// A pong, and the number of the ping that it answers.
    Pong(Vec<u8>, Option<u64>),
    Over,
    Opened(u16),
    Requested(String),
    Refused(String, Option<u16>),
}

pub fn text(payload: &str) -> Item {
    data(Opcode::Text, true, payload.as_bytes())
}

pub fn binary(payload: &[u8]) -> Item {
    data(Opcode::Binary, true, payload)
}

pub fn data(opcode: Opcode, fin: bool, payload: &[u8]) -> Item {
    Item::Data { opcode, fin, rsv: 0, payload: payload.to_vec() }
}

pub fn ping(payload: &[u8]) -> Item {
    Item::Ping(payload.to_vec())
}

/// Storage that checks what the machine promises: bytes are appended only where room was made.
#[derive(Debug)]
pub struct Buf {
    bytes: Vec<u8>,
    room: usize,
    ahead: Rc<Cell<usize>>,
    memory: Option<usize>,
}

impl PayloadBuf for Buf {
    fn len(&self) -> usize {
        self.bytes.len()
    }

    fn reserve(&mut self, capacity: usize) -> Result<(), OutOfMemory> {
        if self.memory.is_some_and(|memory| capacity > memory) {
            return Err(OutOfMemory);
        }
        self.ahead.set(self.ahead.get().max(capacity - self.bytes.len()));
        self.room = self.room.max(capacity);
        Ok(())
    }

    fn extend(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
        assert!(self.bytes.len() <= self.room, "{} bytes in room for {}", self.bytes.len(), self.room);
    }

    fn as_slice(&self) -> &[u8] {
        &self.bytes
    }

    fn as_mut_slice(&mut self) -> &mut [u8] {
        &mut self.bytes
    }
}

/// A sink that writes down what it is given.
#[derive(Debug, Default)]
pub struct Recorder {
    pub items: Vec<Item>,
    /// Whether each unit stops `receive`.
    pub stop: bool,
    /// Whether a violation is put off.
    pub puts_off: bool,
    /// Most bytes that were reserved beyond those held at that time.
    pub ahead: Rc<Cell<usize>>,
    /// Most bytes that one storage may have.
    pub memory: Option<usize>,
    /// Units that lay whole in the input, and those that were assembled.
    pub whole: usize,
    pub assembled: usize,
    /// Text is not looked at: `Delivery::Raw`.
    pub raw: bool,
}

impl Recorder {
    fn unit(&mut self, unit: Unit, payload: &[u8]) -> Flow {
        let is_text = match unit.opcode {
            Opcode::Text => !self.raw,
            // With `Delivery::Frames` the type of a continuation is not known here.
            Opcode::Continuation => unit.ascii,
            _ => false,
        };
        assert_eq!(unit.ascii, is_text && payload.is_ascii(), "{unit:?} of {payload:02x?}");
        self.items.push(Item::Data { opcode: unit.opcode, fin: unit.fin, rsv: unit.rsv, payload: payload.to_vec() });
        if self.stop { Flow::Stop } else { Flow::Continue }
    }

    pub fn take(&mut self) -> Vec<Item> {
        std::mem::take(&mut self.items)
    }
}

impl Sink for Recorder {
    type Buf = Buf;

    fn whole(&mut self, unit: Unit, payload: &[u8]) -> Flow {
        self.whole += 1;
        self.unit(unit, payload)
    }

    fn lend(&mut self, _: Unit, capacity: usize) -> Result<Buf, OutOfMemory> {
        let mut buf = Buf { bytes: Vec::new(), room: 0, ahead: Rc::clone(&self.ahead), memory: self.memory };
        buf.reserve(capacity)?;
        Ok(buf)
    }

    fn assembled(&mut self, unit: Unit, payload: Buf) -> Flow {
        self.assembled += 1;
        self.unit(unit, &payload.bytes)
    }

    fn event(&mut self, event: Event<'_>) -> Flow {
        let counts = matches!(event, Event::Ping(_) | Event::Pong { .. });
        self.items.push(match event {
            Event::Requested(request) => Item::Requested(request.target.clone()),
            Event::Opened(response) => Item::Opened(response.status),
            Event::Refused { error, response } => {
                Item::Refused(error.to_string(), response.map(|response| response.status))
            }
            Event::Ping(payload) => Item::Ping(payload.to_vec()),
            Event::Pong { payload, answers } => Item::Pong(payload.to_vec(), answers.map(|(number, _)| number)),
            Event::DataOver => Item::Over,
        });
        if self.stop && counts { Flow::Stop } else { Flow::Continue }
    }

    fn before_failure(&mut self) -> Flow {
        if self.puts_off { Flow::Stop } else { Flow::Continue }
    }
}

/// A frame that `to` would accept: masked for a server, with the shortest length. `first` is the first byte on the wire.
pub fn frame(to: Role, first: u8, payload: &[u8]) -> Vec<u8> {
    frame_as(first, (to == Role::Server).then(mask_key), payload)
}

pub fn frame_as(first: u8, key: Option<[u8; 4]>, payload: &[u8]) -> Vec<u8> {
    let mut wire = head(first, key, payload.len() as u64);
    let start = wire.len();
    wire.extend_from_slice(payload);
    if let Some(key) = key {
        wire[start..].iter_mut().enumerate().for_each(|(at, byte)| *byte ^= key[at % 4]);
    }
    wire
}

/// A header that announces `length` bytes.
pub fn head(first: u8, key: Option<[u8; 4]>, length: u64) -> Vec<u8> {
    let masked = u8::from(key.is_some()) << 7;
    let mut wire = vec![first];
    match length {
        0..=125 => wire.push(masked | length as u8),
        126..=0xffff => {
            wire.push(masked | 126);
            wire.extend_from_slice(&(length as u16).to_be_bytes());
        }
        _ => {
            wire.push(masked | 127);
            wire.extend_from_slice(&length.to_be_bytes());
        }
    }
    wire.extend_from_slice(key.as_ref().map_or(&[], <[u8; 4]>::as_slice));
    wire
}

/// The payload of a Close frame.
pub fn close_payload(code: u16, reason: &str) -> Vec<u8> {
    [&code.to_be_bytes(), reason.as_bytes()].concat()
}

/// Takes apart what `from` sent: headers (keys taken away) and unmasked payloads.
pub fn frames_of(from: Role, mut wire: &[u8]) -> Vec<(Header, Vec<u8>)> {
    let reader = other(from);
    let mut frames = Vec::new();
    while !wire.is_empty() {
        let (header, used) = frame::decode(wire, reader, 7).expect("valid").expect("a whole header");
        assert!(used <= MAX_HEADER);
        let end = used + header.length as usize;
        let mut payload = wire[used..end].to_vec();
        if let Some(key) = header.key {
            payload.iter_mut().enumerate().for_each(|(at, byte)| *byte ^= key[at % 4]);
        }
        frames.push((Header { key: None, ..header }, payload));
        wire = &wire[end..];
    }
    frames
}

pub fn other(role: Role) -> Role {
    match role {
        Role::Client => Role::Server,
        Role::Server => Role::Client,
    }
}

/// Cuts `bytes` into pieces of these sizes in turn; the last size goes on.
pub fn pieces<'a>(bytes: &'a [u8], sizes: &[usize]) -> Vec<&'a [u8]> {
    let (mut rest, mut at, mut all) = (bytes, 0, Vec::new());
    while !rest.is_empty() {
        let size = sizes.get(at).or(sizes.last()).map_or(rest.len(), |&size| size.clamp(1, rest.len()));
        all.push(&rest[..size]);
        rest = &rest[size..];
        at += 1;
    }
    all
}

/// One end, its sink and its clock.
pub struct End {
    pub conn: Connection<Buf>,
    pub sink: Recorder,
    pub now: Nanos,
    /// What was read and not consumed.
    pub unread: Vec<u8>,
}

impl End {
    /// An end that is open.
    pub fn open(config: Config) -> Self {
        let raw = config.delivery == fastws_core::Delivery::Raw;
        let mut end = Self::of(Connection::open(config, 0));
        end.sink.raw = raw;
        end
    }

    pub fn of(conn: Connection<Buf>) -> Self {
        Self { conn, sink: Recorder::default(), now: 0, unread: Vec::new() }
    }

    pub fn role(&self) -> Role {
        self.conn.config().role
    }

    /// Feeds bytes that arrived, and what earlier was not consumed; goes on after `Flow::Stop`.
    pub fn feed(&mut self, bytes: &[u8]) -> &mut Self {
        self.unread.extend_from_slice(bytes);
        let mut input = std::mem::take(&mut self.unread);
        let mut at = 0;
        while at < input.len() {
            let state = self.conn.state();
            let used = self.conn.receive(&mut input[at..], self.now, &mut self.sink);
            assert!(used <= input.len() - at);
            at += used;
            if used == 0 && self.conn.state() == state {
                break;
            }
        }
        self.unread = input.split_off(at);
        self
    }

    pub fn feed_in(&mut self, bytes: &[u8], sizes: &[usize]) -> &mut Self {
        for piece in pieces(bytes, sizes) {
            self.feed(piece);
        }
        self
    }

    /// Feeds `wire` as a driver with a landing does: payloads in progress go straight into their storage.
    pub fn feed_landing(&mut self, wire: &[u8], sizes: &[usize]) -> &mut Self {
        let (mut at, mut turn) = (0, 0);
        while at < wire.len() {
            let size = sizes[turn % sizes.len()].clamp(1, wire.len() - at);
            turn += 1;
            match self.conn.landing() {
                Some(landing) => {
                    assert!(landing.room > 0);
                    let count = size.min(landing.room);
                    PayloadBuf::extend(landing.buf, &wire[at..at + count]);
                    at += count;
                    self.conn.landed(count, self.now, &mut self.sink);
                }
                None => {
                    self.feed(&wire[at..at + size]);
                    at += size;
                }
            }
        }
        self
    }

    /// Feeds a frame made for this end.
    pub fn frame(&mut self, first: u8, payload: &[u8]) -> &mut Self {
        let wire = frame(self.role(), first, payload);
        self.feed(&wire)
    }

    /// What is to be written, at most `most` bytes of it.
    pub fn write(&mut self, most: usize) -> Vec<u8> {
        let (first, second) = self.conn.output();
        let wire: Vec<u8> = first.iter().chain(second).copied().take(most).collect();
        self.conn.wrote(wire.len());
        wire
    }

    pub fn write_all(&mut self) -> Vec<u8> {
        let mut wire = Vec::new();
        while self.conn.wants_write() {
            let more = self.write(usize::MAX);
            assert!(!more.is_empty(), "what wants to be written is there");
            wire.extend_from_slice(&more);
        }
        wire
    }

    /// What is to be written, as frames: opcode, FIN and payload.
    pub fn sent(&mut self) -> Vec<(Opcode, bool, Vec<u8>)> {
        let wire = self.write_all();
        frames_of(self.role(), &wire)
            .into_iter()
            .map(|(header, payload)| (header.opcode, header.fin, payload))
            .collect()
    }

    /// The payloads of the Close frames among what is to be written.
    pub fn sent_closes(&mut self) -> Vec<Vec<u8>> {
        self.sent().into_iter().filter(|(opcode, ..)| *opcode == Opcode::Close).map(|(_, _, payload)| payload).collect()
    }

    pub fn end(&mut self, end: StreamEnd) -> &mut Self {
        self.conn.stream_ended(end, self.now, &mut self.sink);
        self
    }

    pub fn at(&mut self, seconds: u64) -> &mut Self {
        self.now = seconds * SECOND;
        self.conn.tick(self.now, 0, &mut self.sink);
        self
    }

    pub fn items(&mut self) -> Vec<Item> {
        self.sink.take()
    }

    pub fn send_text(&mut self, payload: &str) {
        self.conn.send(Opcode::Text, payload.as_bytes()).unwrap();
    }

    pub fn close(&mut self, code: u16, reason: &str) {
        self.conn.close(Some(code), reason, self.now).unwrap();
    }
}

/// A client's handshake with this request, and the answer that accepts it.
pub fn handshake() -> (ClientHandshake, Vec<u8>) {
    let uri = Uri::parse("ws://h/chat").unwrap();
    let parts = RequestParts {
        uri: &uri,
        nonce: *b"the sample nonce",
        headers: &[],
        subprotocols: &[],
        extensions: &[],
        any_extension: false,
        origin: None,
        user_agent: None,
        latin_1: false,
        order: &[],
    };
    let client = ClientHandshake::new(&parts).unwrap();
    let (_, request) = RequestReader::default().receive(client.request_bytes(), &Limits::default()).unwrap();
    (client, accept(&request.unwrap(), None, &[]).unwrap())
}

/// A client and a server, wired together as sockets would: what one end writes arrives at the other, in pieces.
pub struct Pair {
    pub client: End,
    pub server: End,
    to_server: Wire,
    to_client: Wire,
}

/// One direction of the stream.
#[derive(Default)]
struct Wire {
    bytes: Vec<u8>,
    closed: bool,
    told: bool,
}

impl Pair {
    /// Both ends open, keepalive off.
    pub fn open() -> Self {
        Self::of(End::open(quiet(Role::Client)), End::open(quiet(Role::Server)))
    }

    /// Both ends before the opening handshake.
    pub fn connect() -> Self {
        let (handshake, _) = handshake();
        Self::of(
            End::of(Connection::client(quiet(Role::Client), handshake)),
            End::of(Connection::server(quiet(Role::Server))),
        )
    }

    pub fn of(client: End, server: End) -> Self {
        Self { client, server, to_server: Wire::default(), to_client: Wire::default() }
    }

    /// Moves bytes once each way: up to `written` bytes leave an end, up to `arrived` reach the other.
    pub fn step(&mut self, written: usize, arrived: usize) -> bool {
        let out = move_out(&mut self.client, &mut self.to_server, written);
        let back = move_out(&mut self.server, &mut self.to_client, written);
        let into = move_in(&mut self.to_server, &mut self.server, arrived);
        let home = move_in(&mut self.to_client, &mut self.client, arrived);
        out | back | into | home
    }

    /// Moves bytes until nothing moves any more.
    pub fn pump(&mut self, sizes: &[usize]) {
        let mut at = 0;
        loop {
            let size = |at: usize| sizes.get(at % sizes.len().max(1)).copied().unwrap_or(usize::MAX).max(1);
            if !self.step(size(at), size(at + 1)) {
                return;
            }
            at += 2;
        }
    }

    pub fn pump_all(&mut self) {
        self.pump(&[]);
    }
}

fn move_out(end: &mut End, wire: &mut Wire, most: usize) -> bool {
    let bytes = end.write(most);
    assert!(!wire.closed || bytes.is_empty(), "nothing is written behind the end");
    wire.bytes.extend_from_slice(&bytes);
    let ends = match end.conn.teardown() {
        Teardown::Keep => false,
        Teardown::HalfClose => !std::mem::replace(&mut wire.closed, true),
        Teardown::Close => {
            wire.closed = true;
            end.conn.state() != State::Closed && {
                end.conn.stream_closed();
                true
            }
        }
    };
    !bytes.is_empty() || ends
}

fn move_in(wire: &mut Wire, end: &mut End, most: usize) -> bool {
    let count = wire.bytes.len().min(most);
    let bytes: Vec<u8> = wire.bytes.drain(..count).collect();
    if end.conn.state() != State::Closed && count > 0 {
        end.feed(&bytes);
    }
    let ends = wire.closed && wire.bytes.is_empty() && !std::mem::replace(&mut wire.told, true);
    if ends && end.conn.state() != State::Closed {
        end.end(StreamEnd::Clean);
    }
    count > 0 || ends
}
