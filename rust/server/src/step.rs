//! What a connection does: a program of [`Step`]s, carried out in order. A request path is turned into such a program,
//! tests write their own, and a fault is a step too.

use std::ops::Range;
use std::time::Duration;

use fastws_core::deflate::Terms;

/// One step. It begins when everything before it has been given to the kernel.
///
/// A program that has none of `Accept`, `Refuse` and `Answer` begins with an `Accept`; steps in front of that one run
/// before the request is answered. After the last step messages are read and counted until the client goes.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// Accepts the upgrade.
    Accept(Accept),
    /// Refuses the upgrade and closes the stream.
    Refuse(Refusal),
    /// Answers the upgrade with these bytes, whatever they are; `{accept}` in them becomes the `Sec-WebSocket-Accept` of
    /// the request. What comes after them is as on an open connection.
    Answer(Vec<u8>),
    /// Sends something.
    Send(Outgoing),
    /// Waits until this many messages have come; those that came during earlier steps count. `u64::MAX`: for ever.
    Expect(u64),
    /// Waits. The connection goes on reading and answering pings.
    Wait(Duration),
    /// Echoes this many messages, frame by frame; `u64::MAX`: for ever. Messages that came earlier are not echoed.
    Echo(u64),
    /// Sends the messages of this range as fast as the socket takes them.
    Blast(Range<u64>, Blast),
    /// Sends the messages of this range at a steady rate.
    Paced(Range<u64>, Paced),
    /// Plays the messages of this range of a registered feed.
    Replay(Range<u64>, Replay),
    /// Takes part in the venue of this path.
    Venue(String),
    /// From now on an echo leaves this long after its message came, as if the answer took that much work.
    Think(Duration),
    /// From now on pings in this interval.
    PingEvery(Duration),
    /// Breaks something.
    Fault(Fault),
    /// Close 1000, then waits for the client's Close.
    End,
}

/// How an upgrade is accepted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Accept {
    /// Headers added to the response.
    pub headers: Vec<(String, String)>,
    /// The subprotocol chosen; none: the first of the server's that the client asks for.
    pub subprotocol: Option<String>,
    /// The terms of compression, if they are not the server's.
    pub deflate: Option<Option<Terms>>,
    /// Bytes sent behind the response in the same write.
    pub glued: Vec<u8>,
}

/// How an upgrade is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The HTTP status.
    pub status: u16,
    /// Headers of the response; `Content-Length` and `Connection: close` are added.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

/// Something to send. Data and Close are sent only while the connection is open, raw bytes always.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outgoing {
    /// A text message.
    Text(String),
    /// A binary message.
    Binary(Vec<u8>),
    /// A message in fragments: text or not, and the payload of each.
    Fragments(bool, Vec<Vec<u8>>),
    /// A Ping with this payload.
    Ping(Vec<u8>),
    /// A Pong with this payload.
    Pong(Vec<u8>),
    /// A Close frame. Codes that may not be sent are sent all the same.
    Close(Option<u16>, String),
    /// Bytes as they are.
    Raw(Vec<u8>),
}

/// The messages of a blast. All are alike, unless numbered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blast {
    /// Payload bytes of each.
    pub size: usize,
    /// Text instead of binary.
    pub text: bool,
    /// Each begins with its number, 8 bytes little-endian; binary, of at least 8 bytes.
    pub numbered: bool,
}

/// Messages at a steady rate: binary, each beginning with the time of its sending (`CLOCK_MONOTONIC`, nanoseconds) and its
/// number, 8 bytes little-endian each.
#[derive(Debug, Clone, PartialEq)]
pub struct Paced {
    /// Messages per second.
    pub rate: f64,
    /// Payload bytes of each, at least 16.
    pub size: usize,
}

/// The playing of a feed.
#[derive(Debug, Clone, PartialEq)]
pub struct Replay {
    /// The name that it was registered under.
    pub name: String,
    /// Times real time; 0: as fast as the socket takes it.
    pub speed: f64,
    /// Whether what the client sent in the recording is waited for.
    pub subscribe: Subscribe,
    /// Keep the time at which each message was given to the kernel.
    pub stamps: bool,
}

/// What a replay expects of the client, where the recorded client sent something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Subscribe {
    /// Nothing.
    #[default]
    Ignore,
    /// A message, whatever it says.
    Any,
    /// A message that is equal as JSON (or byte by byte, where it is none); another is answered with Close 1008.
    Equal,
}

/// Something that goes wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// A TCP reset.
    Reset,
    /// The end of the stream (`close_notify` on TLS, then FIN) without a Close frame.
    Eof,
    /// FIN alone: on TLS the stream is cut off without `close_notify`.
    Truncate,
    /// Ends the sending half as `Eof` does, and goes on reading.
    HalfClose,
    /// Nothing more is sent, not even pongs; reading goes on or not.
    Silence {
        /// Go on reading.
        read: bool,
    },
    /// Reads nothing for this long; none: ever again. Sending goes on.
    StallReading(Option<Duration>),
    /// From now on at most `chunk` bytes leave at a time, `delay` apart.
    Drip {
        /// Bytes at a time.
        chunk: usize,
        /// Time between.
        delay: Duration,
    },
    /// Pings are not answered any more.
    IgnorePings,
}

/// Faults by rule, for connections that do not know of them: steps put into the program of each connection that the
/// rule applies to.
#[derive(Debug, Clone, PartialEq)]
pub struct FaultRule {
    /// Only requests for this path.
    pub path: Option<String>,
    /// Which of the requests that the path fits, counted from 0.
    pub connections: Range<u64>,
    /// When.
    pub at: At,
    /// What then happens; the program goes on behind it.
    pub steps: Vec<Step>,
}

/// When a fault happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum At {
    /// Before the request is answered.
    Request,
    /// Right behind the answer.
    Open,
    /// After this many messages: sent, by steps that send; received, by those that receive.
    Message(u64),
}

/// Puts faults into a program.
pub(crate) fn with_faults(mut program: Vec<Step>, mut faults: Vec<(At, Vec<Step>)>) -> Vec<Step> {
    if !program.iter().any(Step::is_answer) {
        program.insert(0, Step::Accept(Accept::default()));
    }
    // The latest first, so that what is put in does not move the places of the others.
    faults.sort_by_key(|(at, _)| *at);
    for (at, steps) in faults.into_iter().rev() {
        let place = match at {
            At::Request => 0,
            At::Open => after_answer(&program),
            At::Message(count) => split_at(&mut program, count),
        };
        program.splice(place..place, steps);
    }
    program
}

fn after_answer(program: &[Step]) -> usize {
    program.iter().position(Step::is_answer).map_or(0, |at| at + 1)
}

/// Splits the step that handles message number `count`; the place between its halves.
fn split_at(program: &mut Vec<Step>, mut count: u64) -> usize {
    let mut place = after_answer(program);
    while count > 0 && place < program.len() {
        let messages = program[place].messages();
        if messages > count {
            let rest = program[place].split_off(count);
            program.insert(place + 1, rest);
        }
        count -= messages.min(count);
        place += 1;
    }
    if count > 0 {
        program.push(Step::Expect(count));
        place = program.len();
    }
    place
}

impl Step {
    fn is_answer(&self) -> bool {
        matches!(self, Self::Accept(_) | Self::Refuse(_) | Self::Answer(_))
    }

    fn messages(&self) -> u64 {
        match self {
            Self::Send(Outgoing::Text(_) | Outgoing::Binary(_) | Outgoing::Fragments(..)) => 1,
            Self::Expect(count) | Self::Echo(count) => *count,
            Self::Blast(range, _) | Self::Paced(range, _) | Self::Replay(range, _) => {
                range.end.saturating_sub(range.start)
            }
            _ => 0,
        }
    }

    /// Keeps the first `count` messages of a step that has more, and returns the rest.
    fn split_off(&mut self, count: u64) -> Self {
        let mut rest = self.clone();
        match (&mut *self, &mut rest) {
            (Self::Expect(first), Self::Expect(left)) | (Self::Echo(first), Self::Echo(left)) => {
                if *left != u64::MAX {
                    *left -= count;
                }
                *first = count;
            }
            (Self::Blast(first, _), Self::Blast(left, _))
            | (Self::Paced(first, _), Self::Paced(left, _))
            | (Self::Replay(first, _), Self::Replay(left, _)) => {
                first.end = first.start + count;
                left.start = first.end;
            }
            _ => {}
        }
        rest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blast(range: Range<u64>) -> Step {
        Step::Blast(range, Blast { size: 1, text: false, numbered: false })
    }

    fn accept() -> Step {
        Step::Accept(Accept::default())
    }

    #[test]
    fn a_fault_at_a_message_splits_the_step_that_handles_it() {
        let reset = Step::Fault(Fault::Reset);
        let fault = |at| vec![(at, vec![Step::Fault(Fault::Reset)])];
        let table = [
            (
                vec![blast(0..10), Step::End],
                At::Message(4),
                vec![accept(), blast(0..4), reset.clone(), blast(4..10), Step::End],
            ),
            (vec![blast(0..10), Step::End], At::Message(10), vec![accept(), blast(0..10), reset.clone(), Step::End]),
            (
                vec![Step::Echo(u64::MAX)],
                At::Message(2),
                vec![accept(), Step::Echo(2), reset.clone(), Step::Echo(u64::MAX)],
            ),
            (
                vec![Step::Expect(3), Step::Echo(5)],
                At::Message(4),
                vec![accept(), Step::Expect(3), Step::Echo(1), reset.clone(), Step::Echo(4)],
            ),
            (vec![Step::Echo(1)], At::Message(3), vec![accept(), Step::Echo(1), Step::Expect(2), reset.clone()]),
            (vec![Step::End], At::Open, vec![accept(), reset.clone(), Step::End]),
            (vec![Step::End], At::Request, vec![reset.clone(), accept(), Step::End]),
        ];
        for (program, at, expected) in table {
            assert_eq!(with_faults(program, fault(at)), expected, "{at:?}");
        }
    }

    #[test]
    fn several_faults_keep_their_places() {
        let wait = |ms| vec![Step::Wait(Duration::from_millis(ms))];
        let faults = vec![(At::Message(2), wait(2)), (At::Open, wait(0)), (At::Message(5), wait(5))];
        let [zero, two, five] = [0, 2, 5].map(|ms| Step::Wait(Duration::from_millis(ms)));
        assert_eq!(
            with_faults(vec![blast(0..9)], faults),
            [accept(), zero, blast(0..2), two, blast(2..5), five, blast(5..9)]
        );
    }
}
