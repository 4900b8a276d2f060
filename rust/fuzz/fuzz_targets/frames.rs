//! Any bytes after the upgrade. However they are cut, and whichever way they are taken in, they give the same messages
//! and the same end; nothing is reserved on the word of a header.
#![no_main]

#[path = "../../core/tests/common/mod.rs"]
mod common;

use common::{End, quiet};
use fastws_core::connection::StreamEnd;
use fastws_core::limits::RESERVE_AHEAD;
use fastws_core::{Config, Delivery, Limits, Role, State};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (u8, [u8; 3], &[u8])| {
    let (choice, sizes, wire) = input;
    let role = if choice & 1 == 0 { Role::Client } else { Role::Server };
    let delivery = [Delivery::Messages, Delivery::Mixed, Delivery::Frames][usize::from(choice >> 1) % 3];
    let limits = match choice >> 6 {
        0 => Limits::default(),
        1 => Limits { max_message: 200, max_frame: 150, max_fragments: 5, ..Limits::default() },
        2 => Limits { max_message: usize::MAX, max_frame: usize::MAX, max_fragments: usize::MAX, ..Limits::default() },
        _ => Limits { max_message: 1 << 30, max_frame: 1 << 30, ..Limits::default() },
    };
    let sizes: Vec<usize> = sizes.iter().map(|size| usize::from(*size).max(1)).collect();
    let make = || End::open(Config { delivery, limits: limits.clone(), ..quiet(role) });
    let (mut whole, mut pieced, mut landed) = (make(), make(), make());
    whole.feed(wire);
    pieced.feed_in(wire, &sizes);
    landed.feed_landing(wire, &sizes);
    let items = whole.items();
    assert_eq!(pieced.items(), items);
    assert_eq!(landed.items(), items);
    let closes = whole.sent_closes();
    assert_eq!(pieced.sent_closes(), closes);
    assert_eq!(landed.sent_closes(), closes);
    assert!(closes.len() <= 1);
    for end in [&mut whole, &mut pieced, &mut landed] {
        assert!(end.sink.ahead.get() <= wire.len() + RESERVE_AHEAD, "{} bytes were reserved", end.sink.ahead.get());
        assert!(end.conn.stats().bytes_received <= wire.len() as u64);
        end.end(StreamEnd::Clean);
    }
    assert_eq!(pieced.conn.close_info(), whole.conn.close_info());
    assert_eq!(landed.conn.close_info(), whole.conn.close_info());
    assert_ne!(whole.conn.state(), State::Open);
});
