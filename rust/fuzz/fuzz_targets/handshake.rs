//! Any bytes as an answer to our request, as a request to our server, as a URI, and as headers of the user's.
#![no_main]

#[path = "../../core/tests/common/mod.rs"]
mod common;

use common::{End, Item, quiet};
use fastws_core::connection::StreamEnd;
use fastws_core::handshake::{ClientHandshake, RequestParts, RequestReader};
use fastws_core::limits::MAX_HEAD;
use fastws_core::uri::Uri;
use fastws_core::{Connection, Limits, Role};
use libfuzzer_sys::fuzz_target;

fn ends(client: bool, wire: &[u8], sizes: &[usize]) -> (Vec<Item>, End) {
    let mut end = if client {
        End::of(Connection::client(quiet(Role::Client), common::handshake().0))
    } else {
        End::of(Connection::server(quiet(Role::Server)))
    };
    end.feed_in(wire, sizes);
    let mut items = end.items();
    end.end(StreamEnd::Clean);
    items.extend(end.items());
    for item in &mut items {
        // What is shown of a refused answer is what of it had come.
        if let Item::Refused(why, _) = item {
            why.truncate(why.find(':').unwrap_or(why.len()));
        }
    }
    (items, end)
}

fuzz_target!(|input: (u8, [u8; 3], &[u8])| {
    let (choice, sizes, bytes) = input;
    let sizes: Vec<usize> = sizes.iter().map(|size| usize::from(*size).max(1)).collect();
    match choice % 4 {
        // With the right answer in front the rest is frames; else it is an answer or a request as it stands.
        0 | 1 => {
            let client = choice & 1 == 0;
            let answer = if choice & 0x40 == 0 { Vec::new() } else { common::handshake().1 };
            let wire = [if client { answer } else { Vec::new() }, bytes.to_vec()].concat();
            let (whole, end) = ends(client, &wire, &[wire.len().max(1)]);
            let (pieced, other) = ends(client, &wire, &sizes);
            assert_eq!(pieced, whole);
            let how = |end: &End| {
                let info = end.conn.close_info().clone();
                (info.received, info.sent, info.initiator, info.cause.as_ref().map(std::mem::discriminant))
            };
            assert_eq!(how(&other), how(&end));
            for item in &whole {
                if let Item::Requested(target) = item {
                    assert!(target.len() < MAX_HEAD && target.starts_with('/'), "{target:?}");
                }
            }
        }
        2 => {
            let text = String::from_utf8_lossy(bytes);
            let Ok(uri) = Uri::parse(&text) else { return };
            assert!(!uri.host.is_empty() && !uri.host.contains(char::is_whitespace), "{:?}", uri.host);
            assert!(uri.path_and_query.starts_with('/'), "{:?}", uri.path_and_query);
            // What is sent is a request that can be read, and nothing got out of its line.
            let client = ClientHandshake::new(&RequestParts::new(&uri, [7; 16])).expect("a URI makes a request");
            let request = client.request_bytes();
            let (used, read) = RequestReader::default().receive(request, &Limits::default()).expect("readable");
            assert_eq!(used, request.len());
            assert_eq!(read.expect("complete").target, uri.path_and_query);
        }
        _ => {
            let uri = Uri::parse("ws://h/").expect("a URI");
            let text = String::from_utf8_lossy(bytes);
            let headers: Vec<(String, String)> = text
                .split('\u{1}')
                .filter_map(|line| line.split_once('\u{2}'))
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect();
            let parts = RequestParts { headers: &headers, ..RequestParts::new(&uri, [7; 16]) };
            let Ok(client) = ClientHandshake::new(&parts) else { return };
            let request = client.request_bytes();
            let lines = request.split(|byte| *byte == b'\n').count();
            // The request line, five headers of ours, those of the user (which may replace ours), an empty line, and
            // what split() finds behind it.
            assert!(lines <= 8 + headers.len(), "{lines} lines of {} headers", headers.len());
            assert!(request.ends_with(b"\r\n\r\n"));
            assert_eq!(request.windows(4).filter(|window| window == b"\r\n\r\n").count(), 1);
        }
    }
});
