//! A venue, as another implementation's client sees it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use fastws_server::{
    EndedBy, FeedMessage, ScheduledFault, Server, ServerConfig, Venue, VenueConfig, VenueFault, VenueReport,
};
use tungstenite::Message;

use crate::{Client, PATIENCE, connect, read_to_close, server, try_connect};

/// Two hundred messages, a millisecond apart.
fn add_venue(server: &Server, faults: Vec<ScheduledFault>, tokens: &[&str]) -> Arc<Venue> {
    let message = |i: u64| FeedMessage { at_ns: i * 1_000_000, text: true, payload: i.to_string().into_bytes() };
    play(server, &(0..200).map(message).collect::<Vec<_>>(), faults, tokens)
}

fn play(server: &Server, feed: &[FeedMessage], faults: Vec<ScheduledFault>, tokens: &[&str]) -> Arc<Venue> {
    server.register_feed("feed", feed);
    let config = VenueConfig {
        feed: server.feed("feed").unwrap(),
        speed: 1.0,
        tokens: tokens.iter().map(|&token| token.to_owned()).collect(),
        channels: Vec::new(),
        snapshots: HashMap::new(),
        faults,
        autostart: true,
    };
    server.add_venue("/venue", config)
}

fn at(ms: u64, fault: VenueFault) -> ScheduledFault {
    ScheduledFault { at: Duration::from_millis(ms), fault }
}

fn ask(client: &mut Client, request: &str) -> String {
    client.send(Message::text(request)).unwrap();
    client.read().unwrap().into_text().unwrap().to_string()
}

fn subscribe(client: &mut Client) {
    let answer = ask(client, r#"{"type":"subscribe","channel":"all"}"#);
    assert_eq!(answer, r#"{"channel":"all","type":"subscribed"}"#);
}

fn numbers(messages: &[Message]) -> Vec<usize> {
    messages.iter().map(|message| message.to_text().unwrap().parse().unwrap()).collect()
}

fn over(server: &Server, venue: &Venue, sessions: usize) -> VenueReport {
    let ended = || venue.report().sessions.iter().filter(|session| session.ended_ns.is_some()).count();
    assert!(server.wait_for(PATIENCE, |_| ended() >= sessions));
    venue.report()
}

#[test]
fn two_threads_share_one_clock() {
    let server = Server::start(ServerConfig { threads: 2, ..ServerConfig::default() }).unwrap();
    let message = |i: u64| FeedMessage { at_ns: i * 10_000_000, text: true, payload: i.to_string().into_bytes() };
    let restart = at(1500, VenueFault::Close(1012, "restart".into()));
    let venue = play(&server, &(0..200).map(message).collect::<Vec<_>>(), vec![restart], &[]);
    // The first one never subscribes: it must learn by itself that the clock was started on another thread.
    let mut idle = connect(&server, "/venue");
    let mut one = connect(&server, "/venue");
    subscribe(&mut one);
    let mut two = connect(&server, "/venue");
    subscribe(&mut two);
    let (first, code) = read_to_close(&mut one);
    assert_eq!((numbers(&first), code), ((0..first.len()).collect(), Some(1012)));
    let (second, code) = read_to_close(&mut two);
    let second = numbers(&second);
    assert_eq!((second.clone(), code), ((second[0]..second[0] + second.len()).collect(), Some(1012)));
    assert_eq!(read_to_close(&mut idle), (vec![], Some(1012)));
    let report = over(&server, &venue, 3);
    assert!(report.sessions.iter().all(|session| session.ended_by == Some(EndedBy::Close(1012))));
    assert_eq!(report.sessions.iter().map(|session| session.written).sum::<u64>(), (first.len() + second.len()) as u64);
}

#[test]
fn faults_reach_a_client_that_does_not_read() {
    let server = server();
    let payload = vec![b'x'; 1 << 20];
    let flood: Vec<_> = (0..64).map(|_| FeedMessage { at_ns: 0, text: true, payload: payload.clone() }).collect();
    let venue = play(&server, &flood, vec![at(100, VenueFault::Reset)], &[]);
    let mut client = connect(&server, "/venue");
    subscribe(&mut client);
    let report = over(&server, &venue, 1);
    assert_eq!(report.sessions[0].ended_by, Some(EndedBy::Reset));
    assert!(report.sessions[0].written < 64);
}

#[test]
fn an_upgrade_is_refused_with_retry_after() {
    let server = server();
    let refuse = VenueFault::Refuse { span: PATIENCE, status: 503, retry_after: Some(2) };
    let venue = add_venue(&server, vec![at(0, refuse)], &["token"]);
    let mut early = connect(&server, "/venue");
    assert_eq!(ask(&mut early, r#"{"type":"auth","token":"token"}"#), r#"{"type":"authenticated"}"#);
    venue.start();
    let Err(tungstenite::Error::Http(response)) = try_connect(&server, server.url("/venue")) else { panic!() };
    assert_eq!((response.status().as_u16(), response.headers()["retry-after"].to_str().unwrap()), (503, "2"));
    subscribe(&mut early);
    assert_eq!((venue.report().accepted, venue.report().refused), (1, 1));
}
