//! The opening handshake against tungstenite's, each in both roles, and through streams cut anywhere.

use fastws_core::Limits;
use fastws_core::handshake::{ClientHandshake, Outcome, RequestParts, RequestReader, accept, accept_for};
use fastws_core::uri::Uri;
use proptest::prelude::*;
use tungstenite::handshake::derive_accept_key;
use tungstenite::handshake::server::create_response;
use tungstenite::http;

fn to_http(target: &str, headers: &[(String, String)]) -> http::Request<()> {
    let mut request = http::Request::builder().method("GET").uri(target).version(http::Version::HTTP_11);
    for (name, value) in headers {
        request = request.header(name, value);
    }
    request.body(()).unwrap()
}

#[test]
fn tungstenite_accepts_our_request_and_we_accept_its_answer() {
    for uri in ["ws://host/", "wss://user:password@[::1]:9000/päth?q=[1]", "ws://127.0.0.1:8080?x"] {
        let uri = Uri::parse(uri).unwrap();
        let (subprotocols, extensions) = (["mqtt".to_owned()], ["permessage-deflate".to_owned()]);
        let headers = [("X-Token".to_owned(), "secret".to_owned())];
        let parts = RequestParts {
            headers: &headers,
            subprotocols: &subprotocols,
            extensions: &extensions,
            origin: Some("https://example.com"),
            user_agent: Some("test"),
            ..RequestParts::new(&uri, [9; 16])
        };
        let mut client = ClientHandshake::new(&parts).unwrap();
        let (_, request) = RequestReader::default().receive(client.request_bytes(), &Limits::default()).unwrap();
        let request = request.unwrap();
        let lines: Vec<_> = request.headers.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        let theirs = create_response(&to_http(&request.target, &lines)).unwrap();
        let mut answer = b"HTTP/1.1 101 Switching Protocols\r\n".to_vec();
        for (name, value) in theirs.headers() {
            answer.extend_from_slice(format!("{name}: {}\r\n", value.to_str().unwrap()).as_bytes());
        }
        answer.extend_from_slice(b"\r\n");
        let (used, outcome) = client.receive(&answer, &Limits::default()).unwrap();
        assert_eq!(used, answer.len());
        assert!(matches!(outcome, Some(Outcome::Accepted(..))), "{outcome:?}");
    }
}

proptest! {
    #[test]
    fn accept_values_agree(key in "[A-Za-z0-9+/]{22}==") {
        prop_assert_eq!(accept_for(&key), derive_accept_key(key.as_bytes()));
    }

    #[test]
    fn a_handshake_succeeds_through_streams_cut_anywhere(
        nonce: [u8; 16],
        there in prop::collection::vec(1usize..50, 1..20),
        back in prop::collection::vec(1usize..50, 1..20),
        glued in prop::collection::vec(any::<u8>(), 0..20),
    ) {
        let limits = Limits::default();
        let uri = Uri::parse("wss://host/chat?room=1").unwrap();
        let subprotocols = ["a".to_owned(), "b".to_owned()];
        let parts = RequestParts { subprotocols: &subprotocols, ..RequestParts::new(&uri, nonce) };
        let mut client = ClientHandshake::new(&parts).unwrap();

        let (mut server, mut request) = (RequestReader::default(), None);
        for piece in cut(client.request_bytes(), &there) {
            prop_assert!(request.is_none());
            let (used, complete) = server.receive(piece, &limits).unwrap();
            prop_assert_eq!(used, piece.len());
            request = complete;
        }
        let head = accept(&request.unwrap(), Some("b"), &[]).unwrap();
        let answer = [head.as_slice(), &glued].concat();

        let mut consumed = 0;
        for piece in cut(&answer, &back) {
            let (used, outcome) = client.receive(piece, &limits).unwrap();
            consumed += used;
            if let Some(outcome) = outcome {
                let Outcome::Accepted(_, agreed) = outcome else { panic!("{outcome:?}") };
                prop_assert_eq!(agreed.subprotocol.as_deref(), Some("b"));
                break;
            }
        }
        prop_assert_eq!(consumed, head.len());
    }
}

/// The bytes in pieces of these sizes, over and over.
fn cut<'a>(mut bytes: &'a [u8], sizes: &[usize]) -> Vec<&'a [u8]> {
    let mut pieces = Vec::new();
    for &size in sizes.iter().cycle() {
        if bytes.is_empty() {
            break;
        }
        let (piece, rest) = bytes.split_at(size.min(bytes.len()));
        pieces.push(piece);
        bytes = rest;
    }
    pieces
}
