//! A request's target becomes a program: the path says what a connection does, the query how.
//!
//! | path | what it does | parameters |
//! | --- | --- | --- |
//! | `/`, `/echo` | echoes messages in kind | `n`, `think_us` |
//! | `/blast` | sends as fast as the socket takes it, then Close 1000 | `n`, `size`, `text=1`, `seq=1` |
//! | `/paced` | sends at a steady rate, then Close 1000 | `rate`, `n`, `size` |
//! | `/replay/NAME` | plays a registered feed, then Close 1000 | `speed`, `subscribe=1` or `json`, `stamps=1` |
//! | `/sink` | reads and counts | |
//! | `/silence` | reads, and sends nothing, not even pongs or Close | `read=0` |
//! | `/close` | closes right after opening | `code`, `reason`, `after_ms` |
//! | `/status/CODE` | refuses the upgrade | `header=Name:value`, `body` |
//! | `/raw` | sends these bytes, then reads | `hex` |
//!
//! On every path: `fault=KIND[:ARGUMENT…][@WHEN]` (see [`fault`]), `ping_ms`, `accept_ms` (delays the answer), `glue`
//! (bytes in hex, sent behind the 101 in the same write), `header=Name:value` (added to the answer), `subprotocol`,
//! `deflate=0` (no compression) or the terms on which it is accepted. `/blast`, `/paced` and venues compress nothing.

use std::borrow::Cow;
use std::time::Duration;

use fastws_core::deflate::Terms;

use crate::source::PACED_SMALLEST;
use crate::step::{Accept, At, Blast, Fault, Outgoing, Paced, Refusal, Replay, Step, Subscribe, with_faults};

/// The program of a target, without its faults from elsewhere; or what is wrong with it, and the status to refuse it with.
pub(crate) fn program(target: &str) -> Result<Vec<Step>, (u16, String)> {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let mut query = Query::parse(query);
    let steps = steps(path, &mut query).map_err(|reason| match reason {
        Wrong::Path => (404, UNKNOWN.to_owned()),
        Wrong::Query(reason) => (400, reason),
    })?;
    common(steps, &mut query).and_then(|steps| query.finish().map(|()| steps)).map_err(|reason| (400, reason))
}

/// The path of a target.
pub(crate) fn path_of(target: &str) -> &str {
    target.split_once('?').map_or(target, |(path, _)| path)
}

enum Wrong {
    Path,
    Query(String),
}

impl From<String> for Wrong {
    fn from(reason: String) -> Self {
        Self::Query(reason)
    }
}

fn steps(path: &str, query: &mut Query<'_>) -> Result<Vec<Step>, Wrong> {
    let steps = match path {
        "/" | "/echo" => {
            let echo = Step::Echo(query.number("n", u64::MAX)?);
            let think = query.number("think_us", 0)?;
            if think > 0 { vec![Step::Think(Duration::from_micros(think)), echo] } else { vec![echo] }
        }
        "/sink" => vec![Step::Expect(u64::MAX)],
        "/silence" => {
            vec![Step::Fault(Fault::Silence { read: query.flag("read", true)? }), Step::Expect(u64::MAX)]
        }
        "/close" => {
            let code = close_code(query.number("code", 1000)?)?;
            let reason = query.text("reason").unwrap_or_default();
            let wait = query.number("after_ms", 0)?;
            let close = Step::Send(Outgoing::Close(code, reason));
            if wait > 0 { vec![Step::Wait(Duration::from_millis(wait)), close] } else { vec![close] }
        }
        "/blast" => {
            let blast = Blast {
                size: size(query, 128)?,
                text: query.flag("text", false)?,
                numbered: query.flag("seq", false)?,
            };
            if blast.numbered && (blast.text || blast.size < 8) {
                return Err("seq=1 needs binary messages of at least 8 bytes".to_owned().into());
            }
            vec![Step::Blast(0..query.number("n", u64::MAX)?, blast), Step::End]
        }
        "/paced" => {
            let paced = Paced { rate: query.real("rate", 1000.0)?, size: size(query, 128)? };
            if paced.rate <= 0.0 || paced.size < PACED_SMALLEST {
                return Err(format!("rate must be above 0, size at least {PACED_SMALLEST}").into());
            }
            vec![Step::Paced(0..query.number("n", u64::MAX)?, paced), Step::End]
        }
        "/raw" => vec![Step::Send(Outgoing::Raw(hex("hex", &query.text("hex").unwrap_or_default())?))],
        _ => match path.strip_prefix("/replay/").map(percent_decoded) {
            Some(name) => vec![Step::Replay(0..u64::MAX, replay(name, query)?), Step::End],
            None => vec![refusal(path, query)?],
        },
    };
    Ok(steps)
}

fn replay(name: String, query: &mut Query<'_>) -> Result<Replay, String> {
    let speed = query.real("speed", 1.0)?;
    if speed < 0.0 {
        return Err("speed must not be below 0".to_owned());
    }
    let subscribe = match query.text("subscribe").as_deref() {
        None | Some("0") => Subscribe::Ignore,
        Some("1" | "any") => Subscribe::Any,
        Some("json") => Subscribe::Equal,
        Some(other) => return Err(format!("subscribe is {other:?}, not 0, 1 or json")),
    };
    Ok(Replay { name, speed, subscribe, stamps: query.flag("stamps", false)? })
}

fn refusal(path: &str, query: &mut Query<'_>) -> Result<Step, Wrong> {
    let status = path.strip_prefix("/status/").ok_or(Wrong::Path)?;
    let status = status.parse().ok().filter(|status| (100..=999).contains(status));
    let status = status.ok_or_else(|| "the status must be a number of three digits".to_owned())?;
    let body = query.text("body").unwrap_or_default().into_bytes();
    Ok(Step::Refuse(Refusal { status, headers: query.headers()?, body }))
}

/// Parameters of every path.
fn common(mut steps: Vec<Step>, query: &mut Query<'_>) -> Result<Vec<Step>, String> {
    let mut faults = Vec::new();
    while let Some(text) = query.text("fault") {
        for one in text.split(',') {
            faults.push(fault(one)?);
        }
    }
    let delay = query.number("accept_ms", 0)?;
    if delay > 0 {
        faults.push((At::Request, vec![Step::Wait(Duration::from_millis(delay))]));
    }
    let interval = query.number("ping_ms", 0)?;
    if interval > 0 {
        faults.push((At::Open, vec![Step::PingEvery(Duration::from_millis(interval))]));
    }
    let accept = Accept {
        headers: query.headers()?,
        subprotocol: query.text("subprotocol"),
        deflate: query.text("deflate").map(|text| deflate(&text)).transpose()?,
        glued: hex("glue", &query.text("glue").unwrap_or_default())?,
    };
    if accept != Accept::default() {
        steps.insert(0, Step::Accept(accept));
    }
    Ok(with_faults(steps, faults))
}

/// Reads `0` (no compression), `1`, or parameters of permessage-deflate as in an offer, `;` or `,` between them.
fn deflate(text: &str) -> Result<Option<Terms>, String> {
    match text {
        "0" => Ok(None),
        "1" | "" => Ok(Some(Terms::default())),
        _ => Terms::parse(&text.replace(',', ";")).map(Some).map_err(|why| format!("deflate is {text:?}: {why}")),
    }
}

/// Reads `KIND[:ARGUMENT…][@WHEN]`, where `WHEN` is a number of messages, `open` (also without it) or `request`.
///
/// Kinds: `close[:CODE[:REASON]]`, `reset`, `eof`, `truncate`, `half-close`, `silence`, `freeze` (silence that does not
/// read either), `stall[:MS]` (reads nothing; without a time never again), `drip[:BYTES[:MS]]`, `ignore-pings`,
/// `garbage[:HEX]`, `wait:MS`, `ping[:TEXT]`, `status:CODE`.
pub fn fault(text: &str) -> Result<(At, Vec<Step>), String> {
    let (kind, at) = text.rsplit_once('@').unwrap_or((text, "open"));
    let at = match at {
        "request" => At::Request,
        "open" => At::Open,
        count => At::Message(count.parse().map_err(|_| format!("{count:?} is not a number of messages"))?),
    };
    let mut words = kind.split(':');
    let kind = words.next().unwrap_or_default();
    let first = words.next();
    let second = words.next();
    let number = |word: Option<&str>, default: u64| match word {
        None => Ok(default),
        Some(word) => word.parse().map_err(|_| format!("{word:?} in fault {text:?} is not a number")),
    };
    let span = |word, default| number(word, default).map(Duration::from_millis);
    let step = match kind {
        "close" => {
            let code = close_code(number(first, 1011)?)?;
            let reason = kind_rest(text, 2).unwrap_or_default();
            Step::Send(Outgoing::Close(code, reason.to_owned()))
        }
        "reset" => Step::Fault(Fault::Reset),
        "eof" => Step::Fault(Fault::Eof),
        "truncate" => Step::Fault(Fault::Truncate),
        "half-close" => Step::Fault(Fault::HalfClose),
        "silence" => Step::Fault(Fault::Silence { read: true }),
        "freeze" => Step::Fault(Fault::Silence { read: false }),
        "stall" => Step::Fault(Fault::StallReading(first.map(|word| span(Some(word), 0)).transpose()?)),
        "drip" => {
            let chunk = usize::try_from(number(first, 1)?).unwrap_or(usize::MAX).max(1);
            Step::Fault(Fault::Drip { chunk, delay: span(second, 1)? })
        }
        "ignore-pings" => Step::Fault(Fault::IgnorePings),
        "garbage" => Step::Send(Outgoing::Raw(first.map_or(Ok(GARBAGE.to_vec()), |word| hex("garbage", word))?)),
        "wait" => Step::Wait(span(first, 0)?),
        "ping" => Step::Send(Outgoing::Ping(first.unwrap_or_default().as_bytes().to_vec())),
        "status" => {
            let status = number(first, 503)?.clamp(100, 999) as u16;
            return Ok((At::Request, vec![Step::Refuse(Refusal { status, headers: Vec::new(), body: Vec::new() })]));
        }
        _ => return Err(format!("unknown fault {kind:?} in {text:?}")),
    };
    Ok((at, vec![step]))
}

/// What stands behind the `skip`th colon, with its own colons, up to the `@`.
fn kind_rest(text: &str, skip: usize) -> Option<&str> {
    let kind = text.rsplit_once('@').map_or(text, |(kind, _)| kind);
    kind.splitn(skip + 1, ':').nth(skip)
}

/// The parameters that have not been taken.
struct Query<'a>(Vec<(Cow<'a, str>, Cow<'a, str>)>);

impl<'a> Query<'a> {
    fn parse(query: &'a str) -> Self {
        Self(form_urlencoded::parse(query.as_bytes()).collect())
    }

    fn text(&mut self, name: &str) -> Option<String> {
        let at = self.0.iter().position(|(known, _)| known == name)?;
        Some(self.0.remove(at).1.into_owned())
    }

    fn number(&mut self, name: &str, default: u64) -> Result<u64, String> {
        self.text(name).map_or(Ok(default), |text| {
            text.replace('_', "").parse().map_err(|_| format!("{name} is {text:?}, not a whole number"))
        })
    }

    fn real(&mut self, name: &str, default: f64) -> Result<f64, String> {
        let Some(text) = self.text(name) else { return Ok(default) };
        let number = text.parse().ok().filter(|number: &f64| number.is_finite());
        number.ok_or_else(|| format!("{name} is {text:?}, not a number"))
    }

    fn flag(&mut self, name: &str, default: bool) -> Result<bool, String> {
        match self.text(name).as_deref() {
            None => Ok(default),
            Some("0") => Ok(false),
            Some("1" | "") => Ok(true),
            Some(other) => Err(format!("{name} is {other:?}, not 0 or 1")),
        }
    }

    fn headers(&mut self) -> Result<Vec<(String, String)>, String> {
        let mut headers = Vec::new();
        while let Some(text) = self.text("header") {
            let (name, value) = text.split_once(':').ok_or_else(|| format!("header {text:?} has no colon"))?;
            headers.push((name.trim().to_owned(), value.trim().to_owned()));
        }
        Ok(headers)
    }

    fn finish(&self) -> Result<(), String> {
        self.0.first().map_or(Ok(()), |(name, _)| Err(format!("this path has no parameter {name:?}")))
    }
}

fn size(query: &mut Query<'_>, default: u64) -> Result<usize, String> {
    let size = query.number("size", default)?;
    usize::try_from(size).ok().filter(|&size| size <= MAX_SIZE).ok_or_else(|| format!("size may be {MAX_SIZE} at most"))
}

/// Any code can be sent; 0: a Close frame without one.
fn close_code(code: u64) -> Result<Option<u16>, String> {
    let code = u16::try_from(code).map_err(|_| format!("{code} is not a close code"))?;
    Ok((code > 0).then_some(code))
}

fn hex(name: &str, text: &str) -> Result<Vec<u8>, String> {
    let digits: Vec<u8> = text.chars().filter_map(|c| c.to_digit(16)).map(|digit| digit as u8).collect();
    if digits.len() != text.len() || !digits.len().is_multiple_of(2) {
        return Err(format!("{name} is {text:?}, not bytes in hexadecimal"));
    }
    Ok(digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect())
}

fn percent_decoded(text: &str) -> String {
    // As the value of a nameless parameter; a plus is a plus in a path.
    let text = text.replace('+', "%2B");
    let mut pairs = form_urlencoded::parse(text.as_bytes());
    pairs.next().map(|(name, _)| name.into_owned()).unwrap_or_default()
}

/// All RSV bits set, and an opcode that does not exist.
const GARBAGE: &[u8] = b"\xff\xff\xff\xff garbage";

/// A message made here is held in memory once.
const MAX_SIZE: usize = 256 << 20;

const UNKNOWN: &str =
    "no such path; there are /echo, /blast, /paced, /replay/NAME, /sink, /silence, /close, /status/CODE, /raw\n";

#[cfg(test)]
mod tests {
    use super::*;

    fn good(target: &str) -> Vec<Step> {
        program(target).unwrap()
    }

    fn accept() -> Step {
        Step::Accept(Accept::default())
    }

    #[test]
    fn paths_name_what_a_connection_does() {
        assert_eq!(good("/"), [accept(), Step::Echo(u64::MAX)]);
        let think = Step::Think(Duration::from_micros(50));
        assert_eq!(good("/echo?think_us=50&n=3"), [accept(), think, Step::Echo(3)]);
        assert_eq!(good("/sink"), [accept(), Step::Expect(u64::MAX)]);
        let blast = Blast { size: 5, text: true, numbered: false };
        assert_eq!(good("/blast?n=1_000&size=5&text=1"), [accept(), Step::Blast(0..1000, blast), Step::End]);
        let replay = Replay { name: "a b+".to_owned(), speed: 50.0, subscribe: Subscribe::Any, stamps: false };
        assert_eq!(
            good("/replay/a%20b+?speed=50&subscribe=1"),
            [accept(), Step::Replay(0..u64::MAX, replay), Step::End]
        );
        let headers = vec![("Retry-After".to_owned(), "3".to_owned())];
        let refusal = Refusal { status: 403, headers, body: b"go away".to_vec() };
        assert_eq!(good("/status/403?header=Retry-After:3&body=go+away"), [Step::Refuse(refusal)]);
        let close = Step::Send(Outgoing::Close(Some(4001), "a: b".to_owned()));
        assert_eq!(good("/close?code=4001&reason=a:%20b"), [accept(), close]);
    }

    #[test]
    fn faults_find_their_places() {
        let close = Step::Send(Outgoing::Close(Some(4001), "so: there".to_owned()));
        let drip = Step::Fault(Fault::Drip { chunk: 3, delay: Duration::from_millis(2) });
        assert_eq!(
            good("/echo?fault=close:4001:so:+there@100,drip:3:2"),
            [accept(), drip, Step::Echo(100), close, Step::Echo(u64::MAX)]
        );
        assert_eq!(good("/echo?fault=reset@request")[0], Step::Fault(Fault::Reset));
        assert_eq!(good("/echo?accept_ms=5")[0], Step::Wait(Duration::from_millis(5)));
        assert_eq!(good("/sink?fault=stall")[1], Step::Fault(Fault::StallReading(None)));
        let Step::Accept(accept) = &good("/echo?glue=81026869&header=X:y")[0] else { panic!() };
        assert_eq!((accept.glued.as_slice(), accept.headers.len()), (&b"\x81\x02hi"[..], 1));
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (target, status, reason) in [
            ("/nothing", 404, "no such path"),
            ("/blast?n=x", 400, "n is \"x\""),
            ("/blast?sise=3", 400, "no parameter \"sise\""),
            ("/blast?size=99999999999", 400, "at most"),
            ("/paced?rate=0", 400, "rate must be"),
            ("/paced?rate=nan", 400, "rate is \"nan\""),
            ("/paced?size=15", 400, "at least 16"),
            ("/replay/x?speed=-1", 400, "speed"),
            ("/raw?hex=0g", 400, "hexadecimal"),
            ("/raw?hex=%C3%A9", 400, "hexadecimal"),
            ("/status/x", 400, "three digits"),
            ("/echo?fault=explode@3", 400, "unknown fault \"explode\""),
            ("/echo?fault=reset@soon", 400, "\"soon\""),
        ] {
            let (got, text) = program(target).unwrap_err();
            assert!(got == status && text.contains(reason), "{target}: {got} {text}");
        }
    }
}
