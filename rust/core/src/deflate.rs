//! permessage-deflate (RFC 7692): what is negotiated, and the filter that carries it out.

mod codec;
mod filter;
mod window;

pub use filter::PerMessageDeflate;

use crate::error::{Error, Incompatible, Misuse};
use crate::handshake::quoted_elements;

/// The extension's name (RFC 7692 §7).
pub const NAME: &str = "permessage-deflate";

/// The largest window: 32 KiB (RFC 1951 §2.1).
pub const MAX_WINDOW_BITS: u8 = 15;

const MIN_WINDOW_BITS: u8 = 8;

/// How we compress and what we inflate; nothing of this is told to the peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tuning {
    /// 0 (stored) to 9 (best).
    pub level: u8,
    /// 1 to 9: memory of the compressor, a little of its ratio.
    pub memory_level: u8,
    /// Messages of fewer bytes are sent as they are.
    pub threshold: usize,
    /// A message may be so many times as large as what came for it, above [`FREE`] bytes; 1032 is the most that the
    /// format can say.
    pub max_ratio: usize,
    /// Frames of at least so many bytes, compressed to inflate or plain to deflate, are worked on elsewhere.
    pub offload: usize,
}

/// What a message may grow to whatever its ratio.
pub const FREE: usize = 1 << 20;

impl Default for Tuning {
    fn default() -> Self {
        Self { level: 6, memory_level: 5, threshold: 32, max_ratio: 256, offload: 256 << 10 }
    }
}

/// What a client offers, and what a server is ready to accept. No value for a window means the largest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms {
    /// The server forgets its window after each message: the client needs no memory between them.
    pub server_no_context_takeover: bool,
    /// The same the other way round.
    pub client_no_context_takeover: bool,
    /// The largest window that the server may use, 8 to 15 bits.
    pub server_max_window_bits: u8,
    /// The largest window that the client will use.
    pub client_max_window_bits: u8,
}

impl Default for Terms {
    fn default() -> Self {
        Self {
            server_no_context_takeover: false,
            client_no_context_takeover: false,
            server_max_window_bits: MAX_WINDOW_BITS,
            client_max_window_bits: MAX_WINDOW_BITS,
        }
    }
}

impl Terms {
    /// Checks the ranges.
    ///
    /// # Errors
    /// [`Misuse::Config`], naming the parameter.
    pub fn check(self) -> Result<(), Misuse> {
        for (name, bits) in [
            ("server_max_window_bits", self.server_max_window_bits),
            ("client_max_window_bits", self.client_max_window_bits),
        ] {
            if !(MIN_WINDOW_BITS..=MAX_WINDOW_BITS).contains(&bits) {
                return Err(Misuse::Config(format!("{name} must be from 8 to 15, not {bits}")));
            }
        }
        Ok(())
    }

    /// What a client writes into its request (§7.1). That we can limit our window is said in any case (§7.1.2.2).
    pub fn offer(self) -> String {
        let mut text = NAME.to_owned();
        self.push_flags(&mut text);
        push_bits(&mut text, "server_max_window_bits", self.server_max_window_bits);
        text.push_str("; client_max_window_bits");
        if self.client_max_window_bits < MAX_WINDOW_BITS {
            text.push('=');
            text.push_str(&self.client_max_window_bits.to_string());
        }
        text
    }

    /// Parameters as in an offer, such as `server_max_window_bits=10; client_no_context_takeover`.
    ///
    /// # Errors
    /// Why they are none, in words.
    pub fn parse(text: &str) -> Result<Self, String> {
        let found = Parameters::parse(&format!("{NAME}; {text}"))?;
        Ok(Self {
            server_no_context_takeover: found.server_no_context_takeover,
            client_no_context_takeover: found.client_no_context_takeover,
            server_max_window_bits: found.server_max_window_bits.bits(),
            client_max_window_bits: found.client_max_window_bits.bits(),
        })
    }

    fn push_flags(self, text: &mut String) {
        for (name, is_set) in [
            ("server_no_context_takeover", self.server_no_context_takeover),
            ("client_no_context_takeover", self.client_no_context_takeover),
        ] {
            if is_set {
                text.push_str("; ");
                text.push_str(name);
            }
        }
    }

    /// What a server's answer to the offer of these terms comes to.
    ///
    /// A server that uses a larger window than it was asked for breaks §7.1.2.1; one that does not mention the window is
    /// taken to use the largest, since that can always be inflated.
    ///
    /// # Errors
    /// [`Incompatible::Extension`], saying which parameter cannot be accepted, and why.
    pub fn agreed(self, answer: &str) -> Result<Self, Error> {
        let refuse =
            |why: String| Error::from(Incompatible::Extension(format!("the server chose {:?}: {why}", answer.trim())));
        let found = Parameters::parse(answer).map_err(refuse)?;
        let server = match found.server_max_window_bits {
            Window::Unsaid => MAX_WINDOW_BITS,
            Window::Bare => return Err(refuse("server_max_window_bits needs a value here".to_owned())),
            Window::Bits(bits) if bits > self.server_max_window_bits => {
                let asked = self.server_max_window_bits;
                return Err(refuse(format!("server_max_window_bits is above the {asked} that were asked for")));
            }
            Window::Bits(bits) => bits,
        };
        let client = match found.client_max_window_bits {
            Window::Unsaid => self.client_max_window_bits,
            Window::Bare => return Err(refuse("client_max_window_bits needs a value here".to_owned())),
            // A larger one than was offered takes nothing away: the peer is ready for more than we use.
            Window::Bits(bits) => bits.min(self.client_max_window_bits),
        };
        if self.server_no_context_takeover && !found.server_no_context_takeover {
            return Err(refuse("server_no_context_takeover was asked for and is missing".to_owned()));
        }
        Ok(Self {
            server_no_context_takeover: found.server_no_context_takeover,
            client_no_context_takeover: found.client_no_context_takeover || self.client_no_context_takeover,
            server_max_window_bits: server,
            client_max_window_bits: client,
        })
    }

    /// A server's answer to the first offer that it can accept, and what both have agreed on; none if there is none.
    pub fn answer<'a>(self, offers: impl IntoIterator<Item = &'a str>) -> Option<(String, Self)> {
        offers.into_iter().find_map(|offer| self.accept(offer))
    }

    fn accept(self, offer: &str) -> Option<(String, Self)> {
        let asked = Parameters::parse(offer).ok()?;
        let server = match asked.server_max_window_bits {
            Window::Bare => return None,
            Window::Bits(bits) => bits.min(self.server_max_window_bits),
            Window::Unsaid => self.server_max_window_bits,
        };
        let client = match asked.client_max_window_bits {
            // §7.1.2.2: a client that does not mention it cannot be limited.
            Window::Unsaid => MAX_WINDOW_BITS,
            said => said.bits().min(self.client_max_window_bits),
        };
        let agreed = Self {
            server_no_context_takeover: asked.server_no_context_takeover || self.server_no_context_takeover,
            client_no_context_takeover: asked.client_no_context_takeover || self.client_no_context_takeover,
            server_max_window_bits: server,
            client_max_window_bits: client,
        };
        let mut text = NAME.to_owned();
        agreed.push_flags(&mut text);
        if asked.server_max_window_bits != Window::Unsaid || server < MAX_WINDOW_BITS {
            push_value(&mut text, "server_max_window_bits", server);
        }
        if asked.client_max_window_bits != Window::Unsaid && client < MAX_WINDOW_BITS {
            push_value(&mut text, "client_max_window_bits", client);
        }
        Some((text, agreed))
    }
}

fn push_bits(text: &mut String, name: &str, bits: u8) {
    if bits < MAX_WINDOW_BITS {
        push_value(text, name, bits);
    }
}

fn push_value(text: &mut String, name: &str, bits: u8) {
    text.extend(["; ", name, "=", &bits.to_string()]);
}

/// The parameters of one element of `Sec-WebSocket-Extensions`.
#[derive(Debug, Default, PartialEq, Eq)]
struct Parameters {
    server_no_context_takeover: bool,
    client_no_context_takeover: bool,
    server_max_window_bits: Window,
    client_max_window_bits: Window,
}

/// How a window is mentioned.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Window {
    #[default]
    Unsaid,
    /// Without a value.
    Bare,
    Bits(u8),
}

impl Window {
    fn bits(self) -> u8 {
        if let Self::Bits(bits) = self { bits } else { MAX_WINDOW_BITS }
    }
}

impl Parameters {
    /// §7.1: unknown parameters, repeated ones, and values out of range are refused, with why.
    fn parse(element: &str) -> Result<Self, String> {
        let mut found = Self::default();
        let mut parts = quoted_elements(element, ';');
        let name = parts.next().unwrap_or_default();
        if name != NAME {
            return Err(format!("this is not {NAME}"));
        }
        for part in parts {
            let (name, value) = match part.split_once('=') {
                Some((name, value)) => (name.trim(), Some(unquoted(value.trim()))),
                None => (part, None),
            };
            let seen = match name {
                "server_no_context_takeover" => flag(&mut found.server_no_context_takeover, name, value)?,
                "client_no_context_takeover" => flag(&mut found.client_no_context_takeover, name, value)?,
                "server_max_window_bits" => window(&mut found.server_max_window_bits, name, value)?,
                "client_max_window_bits" => window(&mut found.client_max_window_bits, name, value)?,
                _ => return Err(format!("there is no parameter {name:?}")),
            };
            if seen {
                return Err(format!("{name} is there twice"));
            }
        }
        Ok(found)
    }
}

/// Sets a flag; whether it was set before.
fn flag(slot: &mut bool, name: &str, value: Option<&str>) -> Result<bool, String> {
    match value {
        None => Ok(std::mem::replace(slot, true)),
        Some(value) => Err(format!("{name} takes no value, and has {value:?}")),
    }
}

/// Sets a window; whether it was set before.
fn window(slot: &mut Window, name: &str, value: Option<&str>) -> Result<bool, String> {
    let said = match value {
        None => Window::Bare,
        // §7.1.2: one or two digits, and no leading zero.
        Some("8") => Window::Bits(8),
        Some("9") => Window::Bits(9),
        Some(text) => match text.strip_prefix('1').and_then(|digit| digit.parse::<u8>().ok()) {
            Some(ones @ 0..=5) if text.len() == 2 => Window::Bits(10 + ones),
            _ => return Err(format!("{name} is from 8 to 15, not {text:?}")),
        },
    };
    Ok(std::mem::replace(slot, said) != Window::Unsaid)
}

/// §9.1 of RFC 6455: a value may be quoted, but must be a token then, too.
fn unquoted(value: &str) -> &str {
    value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).unwrap_or(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn terms(flags: (bool, bool), bits: (u8, u8)) -> Terms {
        Terms {
            server_no_context_takeover: flags.0,
            client_no_context_takeover: flags.1,
            server_max_window_bits: bits.0,
            client_max_window_bits: bits.1,
        }
    }

    #[test]
    fn offers_are_written_as_rfc_7692_has_them() {
        let table = [
            (Terms::default(), "permessage-deflate; client_max_window_bits"),
            (
                terms((true, true), (12, 10)),
                "permessage-deflate; server_no_context_takeover; client_no_context_takeover; server_max_window_bits=12; \
                 client_max_window_bits=10",
            ),
        ];
        for (terms, expected) in table {
            assert_eq!(terms.offer(), expected);
        }
    }

    #[test]
    fn answers_are_accepted_or_refused_by_name() {
        let ours = terms((false, false), (12, 12));
        let agreed = |flags, bits| Ok(terms(flags, bits));
        let refused = |why: &str| Err(why.to_owned());
        let table = [
            ("permessage-deflate", agreed((false, false), (15, 12))),
            ("permessage-deflate ; server_max_window_bits = 12", agreed((false, false), (12, 12))),
            ("permessage-deflate; server_max_window_bits=\"8\"", agreed((false, false), (8, 12))),
            ("permessage-deflate;server_max_window_bits=9;client_max_window_bits=11", agreed((false, false), (9, 11))),
            ("permessage-deflate; client_no_context_takeover", agreed((false, true), (15, 12))),
            ("permessage-deflate; server_no_context_takeover", agreed((true, false), (15, 12))),
            (
                "permessage-deflate; server_max_window_bits=13",
                refused("server_max_window_bits is above the 12 that were asked for"),
            ),
            ("permessage-deflate; client_max_window_bits=13", agreed((false, false), (15, 12))),
            ("permessage-deflate; server_max_window_bits", refused("server_max_window_bits needs a value here")),
            ("permessage-deflate; client_max_window_bits", refused("client_max_window_bits needs a value here")),
            (
                "permessage-deflate; server_max_window_bits=16",
                refused("server_max_window_bits is from 8 to 15, not \"16\""),
            ),
            (
                "permessage-deflate; server_max_window_bits=7",
                refused("server_max_window_bits is from 8 to 15, not \"7\""),
            ),
            (
                "permessage-deflate; server_max_window_bits=08",
                refused("server_max_window_bits is from 8 to 15, not \"08\""),
            ),
            (
                "permessage-deflate; server_max_window_bits=1_",
                refused("server_max_window_bits is from 8 to 15, not \"1_\""),
            ),
            (
                "permessage-deflate; server_max_window_bits=+1",
                refused("server_max_window_bits is from 8 to 15, not \"+1\""),
            ),
            (
                "permessage-deflate; server_no_context_takeover=1",
                refused("server_no_context_takeover takes no value, and has \"1\""),
            ),
            (
                "permessage-deflate; server_no_context_takeover; server_no_context_takeover",
                refused("server_no_context_takeover is there twice"),
            ),
            (
                "permessage-deflate; server_max_window_bits=9; server_max_window_bits=9",
                refused("server_max_window_bits is there twice"),
            ),
            ("permessage-deflate; level=9", refused("there is no parameter \"level\"")),
        ];
        for (answer, expected) in table {
            let found = ours.agreed(answer).map_err(|error| error.to_string());
            match (found, expected) {
                (Err(found), Err(expected)) => assert!(found.ends_with(&expected), "{answer}: {found}"),
                (found, expected) => assert_eq!(found, expected, "{answer}"),
            }
        }
        let forgetful = terms((true, true), (15, 15));
        assert_eq!(
            forgetful.agreed("permessage-deflate; server_no_context_takeover"),
            Ok(terms((true, true), (15, 15)))
        );
        let error = forgetful.agreed("permessage-deflate").unwrap_err().to_string();
        assert!(error.ends_with("server_no_context_takeover was asked for and is missing"), "{error}");
    }

    #[test]
    fn a_server_takes_the_first_offer_that_it_can() {
        type Case = (&'static [&'static str], Option<(&'static str, Terms)>);
        let ours = terms((false, false), (12, 11));
        let table: [Case; 8] = [
            (&[], None),
            (&["x"], None),
            (&["permessage-deflate; a"], None),
            (&["permessage-deflate; server_max_window_bits"], None),
            (
                &["permessage-deflate"],
                Some(("permessage-deflate; server_max_window_bits=12", terms((false, false), (12, 15)))),
            ),
            (
                &["permessage-deflate; a", "permessage-deflate; client_max_window_bits"],
                Some((
                    "permessage-deflate; server_max_window_bits=12; client_max_window_bits=11",
                    terms((false, false), (12, 11)),
                )),
            ),
            (
                &["permessage-deflate; server_max_window_bits=9; client_max_window_bits=8"],
                Some((
                    "permessage-deflate; server_max_window_bits=9; client_max_window_bits=8",
                    terms((false, false), (9, 8)),
                )),
            ),
            (
                &["permessage-deflate; client_no_context_takeover; server_no_context_takeover"],
                Some((
                    "permessage-deflate; server_no_context_takeover; client_no_context_takeover; server_max_window_bits=12",
                    terms((true, true), (12, 15)),
                )),
            ),
        ];
        for (offers, expected) in table {
            let found = ours.answer(offers.iter().copied());
            assert_eq!(found.as_ref().map(|(text, terms)| (text.as_str(), *terms)), expected, "{offers:?}");
        }
    }

    #[test]
    fn what_one_end_offers_and_the_other_answers_is_agreed_by_both() {
        let bits = [8, 9, 12, 15];
        let all: Vec<Terms> = [(false, false), (true, false), (false, true), (true, true)]
            .into_iter()
            .flat_map(|flags| bits.into_iter().flat_map(move |a| bits.into_iter().map(move |b| terms(flags, (a, b)))))
            .collect();
        for client in &all {
            for server in &all {
                let (answer, of_server) = server.answer([client.offer().as_str()]).unwrap();
                assert_eq!(client.agreed(&answer), Ok(of_server), "{} -> {answer}", client.offer());
            }
        }
    }

    #[test]
    fn ranges_are_checked() {
        assert_eq!(terms((false, false), (8, 15)).check(), Ok(()));
        for (bits, name) in [((7, 15), "server_max_window_bits"), ((15, 16), "client_max_window_bits")] {
            let error = terms((false, false), bits).check().unwrap_err().to_string();
            assert!(error.contains(name) && error.contains("from 8 to 15"), "{error}");
        }
    }
}
