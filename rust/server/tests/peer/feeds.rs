//! Feeds: made here, and recorded ones.

use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use fastws_server::{Feed, FeedMessage, RecordedRequest};
use tungstenite::Message;

use crate::{PATIENCE, connect, read_to_close, server};

fn messages() -> Vec<FeedMessage> {
    (0..50u64)
        .map(|i| FeedMessage {
            at_ns: 1_000_000 + i * 10_000_000,
            text: i % 3 > 0,
            payload: format!("message {i} {}", "x".repeat(i as usize * 10)).into_bytes(),
        })
        .collect()
}

fn as_sent(messages: &[FeedMessage]) -> Vec<Message> {
    messages
        .iter()
        .map(|message| {
            if message.text {
                Message::text(String::from_utf8(message.payload.clone()).unwrap())
            } else {
                Message::binary(message.payload.clone())
            }
        })
        .collect()
}

#[test]
fn a_feed_is_played_at_its_times_divided_by_the_speed_and_flat_out() {
    let server = server();
    let feed = messages();
    server.register_feed("market", &feed);
    assert_eq!(server.replay_started_ns("market"), None);
    for speed in ["10", "0"] {
        let mut client = connect(&server, &format!("/replay/market?speed={speed}&stamps=1"));
        assert_eq!(read_to_close(&mut client), (as_sent(&feed), Some(1000)));
        let (started, sent) = (server.replay_started_ns("market").unwrap(), server.replay_sent_ns("market"));
        assert_eq!(sent.len(), 50);
        assert!(sent.is_sorted() && sent[0] >= started);
        if speed == "10" {
            for (at, message) in sent.iter().zip(&feed) {
                assert!(*at >= started + (message.at_ns - 1_000_000) / 10, "sent before it was due");
            }
        }
    }
}

#[test]
fn a_fault_in_the_middle_does_not_shift_the_rest() {
    let server = server();
    let feed = messages();
    server.register_feed("market", &feed);
    let mut client = connect(&server, "/replay/market?speed=0&fault=wait:30@20,ping:mid@20");
    let mut seen = Vec::new();
    let mut ping_at = None;
    loop {
        match client.read().unwrap() {
            Message::Ping(payload) => ping_at = Some((seen.len(), payload)),
            Message::Close(_) => break,
            message => seen.push(message),
        }
    }
    assert_eq!(seen, as_sent(&feed));
    assert_eq!(ping_at.unwrap(), (20, "mid".into()));
}

#[test]
fn with_subscribe_it_waits_for_what_the_recorded_client_sent() {
    let server = server();
    let feed = messages();
    let request = |before: usize, payload: &str| RecordedRequest {
        before,
        at_ns: feed[before].at_ns,
        payload: payload.as_bytes().to_vec(),
    };
    let recorded = Feed::new(&feed).with_requests(vec![request(0, "{\"sub\": 1}"), request(30, "{\"pong\": 7}")]);
    server.add_feed("market", recorded);
    let mut client = connect(&server, "/replay/market?speed=0&subscribe=json");
    assert_eq!(server.replay_started_ns("market"), None);
    client.send(Message::text("{\"sub\":1}")).unwrap();
    let first: Vec<_> = (0..30).map(|_| client.read().unwrap()).collect();
    assert_eq!(first, as_sent(&feed[..30]));
    client.get_mut().set_read_timeout(Some(Duration::from_millis(30))).unwrap();
    assert!(client.read().is_err(), "message 30 came before the second request");
    client.get_mut().set_read_timeout(Some(PATIENCE)).unwrap();
    client.send(Message::text("{\"pong\":7}")).unwrap();
    assert_eq!(read_to_close(&mut client), (as_sent(&feed[30..]), Some(1000)));
    let mut other = connect(&server, "/replay/market?speed=0&subscribe=json");
    other.send(Message::text("{\"sub\":2}")).unwrap();
    assert_eq!(read_to_close(&mut other), (vec![], Some(1008)));
    let mut any = connect(&server, "/replay/market?speed=0&subscribe=1");
    any.send(Message::text("hello")).unwrap();
    any.send(Message::text("again")).unwrap();
    assert_eq!(read_to_close(&mut any), (as_sent(&feed), Some(1000)));
}

#[test]
fn a_bad_recording_is_named_by_file_line_and_fault() {
    let good = r#"{"t":1.5,"dir":"recv","text":"x"}"#;
    let folder = std::env::temp_dir().join(format!("fastws-server-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    for (number, (bad, reason)) in [
        ("{\"t\":1", "not JSON"),
        (r#"{"dir":"recv","text":"x"}"#, "\"t\" is missing"),
        (r#"{"t":1,"dir":"got","text":"x"}"#, "\"dir\" is"),
        (r#"{"t":1,"dir":"recv"}"#, "one of \"text\" and \"b64\""),
        (r#"{"t":1,"dir":"recv","b64":"&"}"#, "not base64"),
    ]
    .into_iter()
    .enumerate()
    {
        let path = folder.join(format!("bad{number}.jsonl.gz"));
        let mut gz = flate2::write::GzEncoder::new(fs::File::create(&path).unwrap(), flate2::Compression::fast());
        write!(gz, "{good}\n\n{bad}\n").unwrap();
        gz.finish().unwrap();
        let error = server().load_feed(&path).unwrap_err();
        assert_eq!(error.line, 3);
        let text = error.to_string();
        assert!(text.contains("bad") && text.contains(", line 3: ") && text.contains(reason), "{text}");
    }
    let plain = folder.join("good.jsonl");
    fs::write(&plain, format!("{good}\n{good}")).unwrap();
    let server = server();
    assert_eq!(server.load_feed(&plain).unwrap(), "good");
    assert_eq!(server.feed("good").unwrap().len(), 2);
    assert!(server.load_feed(folder.join("none.jsonl.gz")).is_err());
    fs::remove_dir_all(&folder).unwrap();
}

/// The recordings under `FASTWS_FEEDS`.
fn recordings() -> Vec<PathBuf> {
    let folder = std::env::var_os("FASTWS_FEEDS")
        .map_or_else(|| PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/feeds")), PathBuf::from);
    let files = fs::read_dir(&folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut files: Vec<_> = files.filter(|path| path.to_string_lossy().ends_with(".jsonl.gz")).collect();
    files.sort();
    if files.is_empty() {
        eprintln!("skipped: no recordings in {}; set FASTWS_FEEDS", folder.display());
    }
    files
}

#[test]
fn every_recording_is_played_whole_flat_out() {
    let server = server();
    for path in recordings() {
        let name = server.load_feed(&path).unwrap();
        let feed = server.feed(&name).unwrap();
        let mut client = connect(&server, &format!("/replay/{name}?speed=0"));
        let (messages, code) = read_to_close(&mut client);
        let bytes: u64 = messages.iter().map(|message| message.len() as u64).sum();
        assert_eq!((messages.len(), bytes, code), (feed.len(), feed.payload_bytes(), Some(1000)), "{name}");
        let report = server.connections().pop().unwrap();
        assert_eq!((report.messages_out, report.bytes_out), (feed.len() as u64, bytes), "{name}");
    }
}

#[test]
fn every_recording_answers_its_recorded_subscriptions() {
    let server = server();
    for path in recordings() {
        let name = server.load_feed(&path).unwrap();
        let feed = server.feed(&name).unwrap();
        let mut client = connect(&server, &format!("/replay/{name}?speed=0&subscribe=json"));
        let mut seen = 0;
        let mut requests = feed.requests().iter().peekable();
        loop {
            while let Some(request) = requests.next_if(|request| request.before <= seen) {
                client.send(Message::text(String::from_utf8(request.payload.clone()).unwrap())).unwrap();
            }
            match client.read().unwrap() {
                Message::Close(frame) => {
                    assert_eq!(frame.map(|frame| u16::from(frame.code)), Some(1000), "{name}");
                    break;
                }
                _ => seen += 1,
            }
        }
        assert_eq!(seen, feed.len(), "{name}");
    }
}
