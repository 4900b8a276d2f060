//! What the hub knows of a connection: for what its socket is watched, and whether it is held strongly.

use fastws_core::State;
use pyo3::prelude::*;

use super::{Conn, Inner};
use crate::driver::Phase;
use crate::hub::{Hub, Token};
use crate::poller::Interest;

impl Inner {
    /// The hub has it from here on, strongly, and watches its socket for this.
    pub(super) fn registered(&mut self, token: Token, interest: Interest) {
        (self.token, self.interest, self.strong) = (Some(token), interest, true);
    }

    /// What the socket is to be watched for.
    #[inline]
    pub(crate) fn wanted(&self) -> Interest {
        Interest {
            read: self.paused.is_none()
                && !self.held
                && !self.core.is_parked()
                && !self.core.has_stream_ended()
                && self.phase != Phase::Tcp,
            write: self.phase == Phase::Tcp || self.blocked,
        }
    }

    /// Whether something can be taken in.
    #[inline]
    pub(crate) fn may_read(&self) -> bool {
        self.fd >= 0 && self.wanted().read
    }

    /// Has the socket watched for what is wanted now. True: there is something to tidy, see [`Hub::tidy`].
    #[inline]
    pub(crate) fn watch(&mut self, hub: &Hub) -> bool {
        let (interest, Some(token)) = (self.wanted(), self.token) else { return false };
        if interest == self.interest {
            return false;
        }
        self.interest = interest;
        hub.set_interest(token, interest)
    }

    /// Whether somebody waits for what happens to the connection.
    pub(crate) fn wants_strong(&self, listening: bool) -> bool {
        listening
            || self.waiter.is_some()
            || self.ring.as_ref().is_some_and(|attached| attached.ring.get().store.borrow().is_awaited())
            || self.core.wants_write()
            || self.blocked
            || self.broken.is_some()
            || self.extras.as_ref().is_some_and(|extras| extras.is_writing())
            || self.core.state() != State::Open
            || !self.rare.pings.is_empty()
            || !self.rare.closing.is_empty()
            || self.rare.opening.is_some()
    }

    /// Has the hub hold the connection strongly, or weakly.
    #[inline]
    pub(crate) fn hold(&mut self, slf: &Bound<'_, Conn>, strong: bool) {
        if strong != self.strong
            && let Some(token) = self.token
        {
            self.strong = strong;
            slf.get().hub.get().set_strong(slf.py(), token, strong.then_some(slf));
        }
    }

    /// What is queued leaves without a caller. A registration that is returned wants another turn: writing failed.
    #[inline]
    pub(crate) fn keep_for_writing(&mut self, slf: &Bound<'_, Conn>) -> Option<Token> {
        let is_kept = self.blocked || self.broken.is_some() || !self.strong && self.core.wants_write();
        if is_kept { self.keep(slf) } else { None }
    }

    #[inline(never)]
    fn keep(&mut self, slf: &Bound<'_, Conn>) -> Option<Token> {
        self.watch(slf.get().hub.get());
        self.hold(slf, true);
        self.token.filter(|_| self.broken.is_some())
    }
}

impl Conn {
    /// Somebody waits for what happens to the connection: the hub holds it strongly.
    pub(crate) fn hold(slf: &Bound<'_, Self>) {
        slf.get().inner.borrow_mut().hold(slf, true);
    }

    /// Nobody reads any more: the hub holds the connection weakly again, unless something else keeps it.
    pub(crate) fn let_go(slf: &Bound<'_, Self>) {
        let inner = &mut *slf.get().inner.borrow_mut();
        if inner.strong && !inner.wants_strong(slf.get().listener.get().is_some()) {
            inner.hold(slf, false);
        }
    }
}
