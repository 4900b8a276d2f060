//! What arrives, and what must come of it: the families of the Autobahn test suite, for either role.

use super::{End, Item, binary, close_payload, frame, head, mask_key, pieces, ping, quiet, text};
use fastws_core::{Config, Limits, Role, State};

/// What arrives at an end.
pub struct Case {
    pub name: String,
    pub wire: Vec<u8>,
    pub items: Vec<Item>,
    pub end: Outcome,
}

/// What became of the connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    Open,
    /// The peer's Close was answered by this payload.
    Closed(Vec<u8>),
    /// It was failed with this code.
    Failed(u16),
}

/// Small limits, so that every boundary can be met.
pub fn limited(role: Role) -> Config {
    let limits = Limits { max_message: 70_000, max_frame: 69_000, max_fragments: 6, ..Limits::default() };
    Config { limits, ..quiet(role) }
}

/// Runs every case: whole, byte by byte, in odd pieces, and cut in two at every place (of the short ones).
pub fn check_all(role: Role) -> usize {
    let cases = cases(role);
    for case in &cases {
        check(role, case, &[]);
        for sizes in [&[1][..], &[2], &[3], &[1, 7], &[5, 1, 2], &[1000, 1], &[1, 4096]] {
            if case.wire.len() < 5000 || sizes.len() > 1 {
                check(role, case, sizes);
            }
        }
        if case.wire.len() < 300 {
            for cut in 1..case.wire.len() {
                check(role, case, &[cut, usize::MAX]);
            }
        }
    }
    cases.len()
}

fn check(role: Role, case: &Case, sizes: &[usize]) {
    let mut end = End::open(limited(role));
    for piece in pieces(&case.wire, sizes) {
        end.feed(piece);
    }
    let context = format!("{role:?}: {} in {sizes:?}", case.name);
    assert!(end.unread.is_empty(), "{context}: everything is consumed");
    let mut items = case.items.clone();
    if case.end != Outcome::Open {
        items.push(Item::Over);
    }
    assert_eq!(end.items(), items, "{context}");
    let state = if case.end == Outcome::Open { State::Open } else { State::Closing };
    assert_eq!(end.conn.state(), state, "{context}: {:?}", end.conn.close_info());
    let closes = end.sent_closes();
    match &case.end {
        Outcome::Open => assert_eq!(closes, Vec::<Vec<u8>>::new(), "{context}"),
        Outcome::Closed(payload) => assert_eq!(closes, std::slice::from_ref(payload), "{context}"),
        Outcome::Failed(code) => {
            assert_eq!(closes.len(), 1, "{context}");
            assert_eq!(closes[0][..2], code.to_be_bytes(), "{context}");
            assert!(end.conn.close_info().cause.is_some(), "{context}");
        }
    }
}

fn cases(role: Role) -> Vec<Case> {
    let mut cases = Vec::new();
    for family in [framing, pings, reserved, fragmentation, utf8, closing, limits] {
        family(role, &mut |name, frames, items, end| {
            let wire = frames.concat();
            cases.push(Case { name: name.to_owned(), wire, items, end });
        });
    }
    cases
}

type Add<'a> = &'a mut dyn FnMut(&str, &[Vec<u8>], Vec<Item>, Outcome);

/// Autobahn 1: framing.
fn framing(role: Role, add: Add<'_>) {
    for length in [0, 1, 2, 3, 124, 125, 126, 127, 128, 255, 256, 4095, 65_535, 65_536, 68_999, 69_000] {
        let payload: Vec<u8> = (0..length).map(|at| (at % 251) as u8).collect();
        let letters = "*".repeat(length);
        add(&format!("binary {length}"), &[frame(role, 0x82, &payload)], vec![binary(&payload)], Outcome::Open);
        add(&format!("text {length}"), &[frame(role, 0x81, letters.as_bytes())], vec![text(&letters)], Outcome::Open);
    }
    let several = [frame(role, 0x81, b"a"), frame(role, 0x82, &[0xff; 200]), frame(role, 0x81, "é".as_bytes())];
    add("several at once", &several, vec![text("a"), binary(&[0xff; 200]), text("é")], Outcome::Open);
    let key = (role == Role::Server).then(mask_key);
    let mut medium = head(0x82, None, 126);
    medium[2..].copy_from_slice(&125u16.to_be_bytes());
    let mut long = head(0x82, None, 65_536);
    long[2..].copy_from_slice(&65_535u64.to_be_bytes());
    let mut negative = head(0x82, None, u64::MAX);
    negative[2] = 0x80;
    for (name, mut wire) in [("16 bits for 125", medium), ("64 bits for 65535", long), ("64th bit", negative)] {
        if let Some(key) = key {
            wire[1] |= 0x80;
            wire.extend_from_slice(&key);
        }
        add(name, &[wire], vec![], Outcome::Failed(1002));
    }
    let wrong = super::frame_as(0x81, if key.is_some() { None } else { Some([1, 2, 3, 4]) }, b"x");
    add("masked by a server, or not by a client", &[wrong], vec![], Outcome::Failed(1002));
}

/// Autobahn 2: pings and pongs.
fn pings(role: Role, add: Add<'_>) {
    for payload in [&b""[..], b"Hello", &[0, 0xff, 0xfe], &[0xfe; 125]] {
        add(&format!("ping {payload:?}"), &[frame(role, 0x89, payload)], vec![ping(payload)], Outcome::Open);
        let pong = Item::Pong(payload.to_vec(), None);
        add(&format!("unasked pong {payload:?}"), &[frame(role, 0x8a, payload)], vec![pong], Outcome::Open);
    }
    for first in [0x88, 0x89, 0x8a] {
        add("control of 126", &[frame(role, first, &[b'x'; 126])], vec![], Outcome::Failed(1002));
        add("control without FIN", &[frame(role, first & 0x7f, b"")], vec![], Outcome::Failed(1002));
    }
    let burst: Vec<Vec<u8>> = (0..10u8).map(|n| frame(role, 0x89, &[n])).collect();
    add("ten pings", &burst, (0..10u8).map(|n| ping(&[n])).collect(), Outcome::Open);
}

/// Autobahn 3 and 4: reserved bits and opcodes.
fn reserved(role: Role, add: Add<'_>) {
    let before = || frame(role, 0x81, b"before");
    for bits in 1..8u8 {
        for opcode in [0x81, 0x82, 0x89, 0x88] {
            let wire = [before(), frame(role, opcode | bits << 4, b""), frame(role, 0x81, b"after")];
            add(&format!("reserved bits {bits:03b} on {opcode:x}"), &wire, vec![text("before")], Outcome::Failed(1002));
        }
    }
    for opcode in [3, 4, 5, 6, 7, 11, 12, 13, 14, 15u8] {
        for payload in [&b""[..], b"x"] {
            let wire = [before(), frame(role, 0x80 | opcode, payload), frame(role, 0x89, b"after")];
            add(&format!("reserved opcode {opcode}"), &wire, vec![text("before")], Outcome::Failed(1002));
        }
    }
}

/// Autobahn 5: fragments.
fn fragmentation(role: Role, add: Add<'_>) {
    let f = |first, payload: &[u8]| frame(role, first, payload);
    let two = [f(0x01, b"fragment1"), f(0x80, b"fragment2")];
    add("two fragments", &two, vec![text("fragment1fragment2")], Outcome::Open);
    let three = [f(0x02, b"a"), f(0x00, b""), f(0x80, b"c")];
    add("an empty one between", &three, vec![binary(b"ac")], Outcome::Open);
    let empty = [f(0x01, b""), f(0x00, b""), f(0x80, b"")];
    add("only empty fragments", &empty, vec![text("")], Outcome::Open);
    let empty_ends = [f(0x01, b""), f(0x00, b"middle"), f(0x80, b"")];
    add("empty first and last", &empty_ends, vec![text("middle")], Outcome::Open);
    let between = [f(0x01, b"a"), f(0x89, b"ping"), f(0x00, b"b"), f(0x8a, b"pong"), f(0x80, b"c")];
    let items = vec![ping(b"ping"), Item::Pong(b"pong".to_vec(), None), text("abc")];
    add("control frames between fragments", &between, items, Outcome::Open);
    let again = [f(0x01, b"a"), f(0x80, b"b"), f(0x82, b"c"), f(0x02, b"d"), f(0x80, b"e")];
    add("one message after the other", &again, vec![text("ab"), binary(b"c"), binary(b"de")], Outcome::Open);
    let large = [f(0x02, &vec![1; 40_000]), f(0x80, &vec![1; 30_000])];
    add("large fragments", &large, vec![binary(&[1; 70_000])], Outcome::Open);
    for (name, first, second) in [
        ("continuation of nothing", 0x80, 0x81),
        ("unfinished continuation of nothing", 0x00, 0x80),
        ("text inside a text message", 0x01, 0x81),
        ("binary inside a text message", 0x01, 0x82),
        ("unfinished text inside a binary message", 0x02, 0x01),
    ] {
        add(name, &[f(first, b"x"), f(second, b"y")], vec![], Outcome::Failed(1002));
    }
    let after = [f(0x01, b"a"), f(0x80, b"b"), f(0x80, b"c")];
    add("continuation after the end", &after, vec![text("ab")], Outcome::Failed(1002));
    let closed = [f(0x01, b"a"), f(0x88, b""), f(0x80, b"b")];
    add("closed between fragments", &closed, vec![], Outcome::Closed(vec![]));
}

/// Autobahn 6: UTF-8.
fn utf8(role: Role, add: Add<'_>) {
    let f = |first, payload: &[u8]| frame(role, first, payload);
    let sample = "κόσμε – 世界 😀 \u{10ffff} \u{0} \u{fffe}";
    add("text of many lengths", &[f(0x81, sample.as_bytes())], vec![text(sample)], Outcome::Open);
    let bytes = sample.as_bytes();
    for cut in 0..=bytes.len() {
        let wire = [f(0x01, &bytes[..cut]), f(0x80, &bytes[cut..])];
        add(&format!("cut at {cut}"), &wire, vec![text(sample)], Outcome::Open);
    }
    let mut drips: Vec<Vec<u8>> = "é世😀".as_bytes()[..5].iter().map(|byte| f(0x00, &[*byte])).collect();
    drips[0] = f(0x01, &"é".as_bytes()[..1]);
    drips.push(f(0x80, "😀".as_bytes()));
    add("one byte a fragment", &drips, vec![text("é世😀")], Outcome::Open);
    for bad in [
        &b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xed\xa0\x80edited"[..],
        b"\x80",
        b"\xbf\x80",
        b"\xfe",
        b"\xff",
        b"\xc0\xaf",
        b"\xe0\x80\xaf",
        b"\xf0\x80\x80\xaf",
        b"\xf8\x88\x80\x80\x80",
        b"\xc1\xbf",
        b"\xed\xa0\x80",
        b"\xed\xbf\xbf",
        b"\xf4\x90\x80\x80",
        b"abc\xc3",
        b"\xe2\x82",
        b"\xf0\x9f\x98",
    ] {
        let name = format!("bad UTF-8 {bad:02x?}");
        add(&name, &[f(0x81, bad), f(0x81, b"after")], vec![], Outcome::Failed(1007));
        add(&format!("{name} in fragments"), &[f(0x01, bad), f(0x80, b"")], vec![], Outcome::Failed(1007));
        add(&format!("{name} as binary"), &[f(0x82, bad)], vec![binary(bad)], Outcome::Open);
    }
    let open_end = [f(0x01, b"\xe2\x82"), f(0x89, b"x"), f(0x80, b"")];
    add("a character not finished", &open_end, vec![ping(b"x")], Outcome::Failed(1007));
    let next = [f(0x82, b"\xe2\x82"), f(0x81, b"\xac")];
    add("binary leaves no character behind", &next, vec![binary(b"\xe2\x82")], Outcome::Failed(1007));
}

/// Autobahn 7: the closing handshake.
fn closing(role: Role, add: Add<'_>) {
    let f = |first, payload: &[u8]| frame(role, first, payload);
    add("empty Close", &[f(0x88, b"")], vec![], Outcome::Closed(vec![]));
    for code in [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999] {
        let echoed = close_payload(code, "");
        for reason in ["", "bye", "é世😀", &"x".repeat(123)] {
            let wire = [f(0x88, &close_payload(code, reason))];
            add(&format!("close {code} {reason:?}"), &wire, vec![], Outcome::Closed(echoed.clone()));
        }
    }
    for code in [0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65_535] {
        let wire = [f(0x88, &close_payload(code, ""))];
        add(&format!("close {code}"), &wire, vec![], Outcome::Failed(1002));
    }
    add("close payload of one byte", &[f(0x88, b"\x03")], vec![], Outcome::Failed(1002));
    for reason in [&b"\xff"[..], b"ok\xce\xba\xed\xa0\x80", b"cut\xe2\x82"] {
        let wire = [f(0x88, &[b"\x03\xe8", reason].concat())];
        add(&format!("close reason {reason:02x?}"), &wire, vec![], Outcome::Failed(1007));
    }
    let after = [f(0x81, b"a"), f(0x88, b"\x03\xe8"), f(0x81, b"b"), f(0x89, b"c"), f(0x88, b"\x03\xe9"), f(0x83, b"")];
    add("anything after Close", &after, vec![text("a")], Outcome::Closed(close_payload(1000, "")));
}

/// Autobahn 9 and 10, and ours: limits.
fn limits(role: Role, add: Add<'_>) {
    let f = |first, payload: &[u8]| frame(role, first, payload);
    let key = (role == Role::Server).then(mask_key);
    for length in [69_001, 70_001, 1 << 32, 1 << 62, i64::MAX as u64] {
        let wire = [f(0x82, b"ok"), head(0x82, key, length)];
        add(&format!("frame of {length}"), &wire, vec![binary(b"ok")], Outcome::Failed(1009));
    }
    let message = [f(0x02, &vec![7; 40_000]), f(0x00, &vec![7; 30_000]), f(0x80, b"")];
    add("message at its limit", &message, vec![binary(&[7; 70_000])], Outcome::Open);
    let over = [f(0x02, &vec![7; 40_000]), f(0x00, &vec![7; 30_000]), head(0x80, key, 1)];
    add("message over its limit", &over, vec![], Outcome::Failed(1009));
    let mut six: Vec<Vec<u8>> = (0..5).map(|n| f(u8::from(n == 0), b"x")).collect();
    let mut seven = six.clone();
    six.push(f(0x80, b"x"));
    add("as many fragments as there may be", &six, vec![text("xxxxxx")], Outcome::Open);
    seven.extend([f(0x00, b"x"), f(0x80, b"x")]);
    add("one fragment more", &seven, vec![], Outcome::Failed(1009));
}
