//! The connection's state. Everything that assigns it is in this file.

use std::fmt;

/// The state of a connection, in the words of RFC 6455 §4.1 and §7.1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum State {
    /// The opening handshake is under way.
    #[default]
    Connecting,
    /// Data may flow both ways.
    Open,
    /// A Close frame was sent or received, or the stream ended: no more data is accepted for sending.
    Closing,
    /// Over.
    Closed,
}

/// Holds the state and the rule of its changes: it only ever moves forward.
#[derive(Debug, Default)]
pub(crate) struct Machine(State);

impl Machine {
    pub(crate) fn get(&self) -> State {
        self.0
    }

    /// The upgrade was accepted.
    pub(crate) fn open(&mut self) {
        debug_assert_eq!(self.0, State::Connecting);
        self.advance(State::Open);
    }

    /// A Close frame went one of the ways, or the connection failed.
    pub(crate) fn closing(&mut self) {
        self.advance(State::Closing);
    }

    /// The stream is over, both ways.
    pub(crate) fn closed(&mut self) {
        self.advance(State::Closed);
    }

    fn advance(&mut self, to: State) {
        self.0 = self.0.max(to);
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Connecting => "connecting",
            Self::Open => "open",
            Self::Closing => "closing",
            Self::Closed => "closed",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_edge() {
        use State::{Closed, Closing, Connecting, Open};
        let from = [Connecting, Open, Closing, Closed];
        for start in from {
            let mut machine = Machine(start);
            machine.closing();
            assert_eq!(machine.get(), if start == Closed { Closed } else { Closing });
            let mut machine = Machine(start);
            machine.closed();
            assert_eq!(machine.get(), Closed);
        }
        let mut machine = Machine::default();
        machine.open();
        assert_eq!(machine.get(), Open);
    }
}
