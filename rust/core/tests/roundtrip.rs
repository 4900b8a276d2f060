//! Two machines against each other under a fake clock, over streams cut anywhere: what one side was told to send is what
//! the other one got, in order, whatever happened in between.

mod common;

use common::{End, Item, Pair, config, quiet};
use fastws_core::{Config, Connection, Limits, Misuse, Opcode, Role, SECOND, State};
use proptest::prelude::*;

/// What a side does.
#[derive(Debug, Clone)]
enum Act {
    Text(String),
    Binary(Vec<u8>),
    Fragments(Vec<Vec<u8>>),
    Ping(Option<Vec<u8>>),
    Pong(Vec<u8>),
    /// Moves up to so many bytes once.
    Move(usize, usize),
    /// Lets so many seconds pass.
    Pass(u64),
}

fn act() -> impl Strategy<Value = Act> {
    let payload = prop_oneof![
        4 => prop::collection::vec(any::<u8>(), 0..200),
        1 => (60_000usize..70_000).prop_map(|length| vec![0xa5; length]),
    ];
    prop_oneof![
        3 => "[a-zß世😀]{0,60}".prop_map(Act::Text),
        3 => payload.prop_map(Act::Binary),
        2 => prop::collection::vec(prop::collection::vec(any::<u8>(), 0..50), 1..5).prop_map(Act::Fragments),
        1 => prop::option::of(prop::collection::vec(any::<u8>(), 0..=125)).prop_map(Act::Ping),
        1 => prop::collection::vec(any::<u8>(), 0..=125).prop_map(Act::Pong),
        4 => (1usize..300, 1usize..300).prop_map(|(written, arrived)| Act::Move(written, arrived)),
        1 => (1u64..5).prop_map(Act::Pass),
    ]
}

/// What one side was told to send, and what it was given.
#[derive(Default)]
struct Side {
    sent: Vec<(Opcode, Vec<u8>)>,
    pings: Vec<u64>,
}

impl Side {
    fn act(&mut self, end: &mut End, act: &Act) {
        match act {
            Act::Text(text) => self.send(end, Opcode::Text, text.as_bytes()),
            Act::Binary(bytes) => self.send(end, Opcode::Binary, bytes),
            Act::Fragments(pieces) => {
                let last = pieces.len() - 1;
                let mut accepted = 0;
                for (at, piece) in pieces.iter().enumerate() {
                    match end.conn.send_fragment(Opcode::Binary, piece, at == last) {
                        Ok(()) => accepted += 1,
                        Err(Misuse::QueueFull { .. }) if accepted == 0 => return,
                        Err(other) => panic!("{other:?}"),
                    }
                }
                self.sent.push((Opcode::Binary, pieces.concat()));
            }
            Act::Ping(payload) => match end.conn.ping(payload.as_deref(), end.now) {
                Ok(number) => self.pings.push(number),
                Err(Misuse::QueueFull { .. }) => {}
                Err(other) => panic!("{other:?}"),
            },
            // Those that nobody asked for may be dropped: there is a bound on them.
            Act::Pong(payload) => drop(end.conn.pong(payload)),
            Act::Move(..) | Act::Pass(_) => unreachable!(),
        }
    }

    fn send(&mut self, end: &mut End, opcode: Opcode, payload: &[u8]) {
        match end.conn.send(opcode, payload) {
            Ok(()) => self.sent.push((opcode, payload.to_vec())),
            Err(Misuse::QueueFull { .. }) => {}
            Err(other) => panic!("{other:?}"),
        }
    }
}

fn received(items: &[Item]) -> Vec<(Opcode, Vec<u8>)> {
    let data = |item: &Item| match item {
        Item::Data { opcode, payload, .. } => Some((*opcode, payload.clone())),
        _ => None,
    };
    items.iter().filter_map(data).collect()
}

fn pair(handshake: bool, ping_interval: Option<u64>) -> Pair {
    let with = |role| Config { ping_interval: ping_interval.map(|seconds| seconds * SECOND), ..config(role) };
    if handshake {
        let mut pair = Pair::of(
            End::of(Connection::client(with(Role::Client), common::handshake().0)),
            End::of(Connection::server(with(Role::Server))),
        );
        pair.pump(&[3, 7, 1]);
        pair.server.conn.accept(common::handshake().1, 0).unwrap();
        pair.pump(&[3, 7, 1]);
        pair.client.items();
        pair.server.items();
        pair
    } else {
        Pair::of(End::open(with(Role::Client)), End::open(with(Role::Server)))
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_sent_arrives_once_and_in_order(
        acts in prop::collection::vec((any::<bool>(), act()), 1..60),
        sizes in prop::collection::vec(1usize..500, 1..6),
        handshake: bool,
        closer in prop::option::of(any::<bool>()),
    ) {
        let mut pair = pair(handshake, Some(3));
        let (mut client, mut server) = (Side::default(), Side::default());
        let (mut at_client, mut at_server) = (Vec::new(), Vec::new());
        let mut now = 0;
        for (from_client, act) in &acts {
            match act {
                Act::Move(written, arrived) => {
                    pair.step(*written, *arrived);
                }
                Act::Pass(seconds) => {
                    // What is under way arrives before time passes: nobody is to be found silent.
                    pair.pump(&sizes);
                    now += seconds;
                    pair.client.at(now);
                    pair.server.at(now);
                }
                act if *from_client => client.act(&mut pair.client, act),
                act => server.act(&mut pair.server, act),
            }
            at_client.extend(pair.client.items());
            at_server.extend(pair.server.items());
        }
        match closer {
            Some(true) => pair.client.close(1000, "done"),
            Some(false) => pair.server.close(4000, ""),
            None => {}
        }
        pair.pump(&sizes);
        at_client.extend(pair.client.items());
        at_server.extend(pair.server.items());
        prop_assert_eq!(received(&at_server), client.sent);
        prop_assert_eq!(received(&at_client), server.sent);
        // Each ping is answered, or a later one is; none is answered twice.
        for (items, pings) in [(&at_client, &client.pings), (&at_server, &server.pings)] {
            let answered: Vec<u64> = items.iter().filter_map(|item| match item {
                Item::Pong(_, answers) => *answers,
                _ => None,
            }).collect();
            prop_assert!(answered.is_sorted_by(|a, b| a < b), "{answered:?}");
            if closer.is_none() && let Some(last) = pings.last() {
                prop_assert!(answered.last().is_some_and(|answer| answer >= last), "{answered:?} {pings:?}");
            }
        }
        if closer.is_some() {
            for end in [&pair.client, &pair.server] {
                prop_assert_eq!(end.conn.state(), State::Closed);
                let info = end.conn.close_info();
                prop_assert_eq!(&info.cause, &None);
                prop_assert_eq!(info.received.as_ref().map(|close| close.code), info.sent.as_ref().map(|close| close.code));
            }
        } else {
            prop_assert_eq!(pair.client.conn.state(), State::Open);
            prop_assert_eq!(pair.server.conn.state(), State::Open);
        }
    }

    #[test]
    fn a_bounded_queue_refuses_whole_messages_and_keeps_its_bound(
        messages in prop::collection::vec(0usize..3000, 1..60),
        most_bytes in 100usize..5000,
        most_messages in 1usize..20,
        moves in prop::collection::vec(1usize..2000, 1..10),
    ) {
        let bounded = Config { max_send_bytes: most_bytes, max_send_messages: most_messages, ..quiet(Role::Client) };
        let mut pair = Pair::of(End::open(bounded), End::open(quiet(Role::Server)));
        let (mut accepted, mut got) = (Vec::new(), Vec::new());
        for (number, length) in messages.into_iter().enumerate() {
            let payload = vec![number as u8; length];
            match pair.client.conn.send(Opcode::Binary, &payload) {
                Ok(()) => accepted.push((Opcode::Binary, payload)),
                Err(Misuse::QueueFull { messages, bytes }) => {
                    // There was a reason: no room by count or by size.
                    prop_assert!(messages >= most_messages || bytes + payload.len() + 14 > most_bytes);
                }
                Err(Misuse::MessageTooLarge { limit, .. }) => {
                    prop_assert!(limit == most_bytes && payload.len() + 14 > most_bytes);
                }
                Err(other) => panic!("{other:?}"),
            }
            prop_assert!(pair.client.conn.queued_messages() <= most_messages);
            pair.step(moves[number % moves.len()], usize::MAX);
            got.extend(pair.server.items());
        }
        pair.pump_all();
        got.extend(pair.server.items());
        prop_assert_eq!(received(&got), accepted);
        prop_assert_eq!(pair.client.conn.queued_bytes(), 0);
    }

    #[test]
    fn limits_bind_on_both_forms_of_a_message_alike(
        pieces in prop::collection::vec(0usize..40, 1..6),
        most in 1usize..100,
    ) {
        let limited = || {
            End::open(Config { limits: Limits { max_message: most, ..Limits::default() }, ..quiet(Role::Server) })
        };
        let total: usize = pieces.iter().sum();
        for fragmented in [false, true] {
            let mut pair = Pair::of(End::open(quiet(Role::Client)), limited());
            if fragmented {
                for (at, piece) in pieces.iter().enumerate() {
                    pair.client.conn.send_fragment(Opcode::Binary, &vec![1; *piece], at + 1 == pieces.len()).unwrap();
                }
            } else {
                pair.client.conn.send(Opcode::Binary, &vec![1; total]).unwrap();
            }
            pair.pump_all();
            prop_assert_eq!(received(&pair.server.items()).len(), usize::from(total <= most));
            let code = pair.client.conn.close_info().received.as_ref().and_then(|close| close.code);
            prop_assert_eq!(code.map(u16::from), (total > most).then_some(1009));
        }
    }
}
