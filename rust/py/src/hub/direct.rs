//! A connection that is alone and busy is watched by the loop itself: an epoll inside of another costs the kernel a quarter
//! of a microsecond for each message.
//!
//! What the loop watches then is a duplicate of the descriptor, which is the hub's: the connection closes its own whenever
//! it likes, on whatever thread, and no number is used again that a loop still knows. The poller has the connection's, for
//! what cannot be told by reading; only the wish to read is the loop's.

use std::os::fd::RawFd;

use pyo3::prelude::*;

use super::registry::{State, Token};
use super::{Deeper, Hub};
use crate::errors::ends_program;
use crate::poller::Interest;
use crate::syscall;

/// So many wake-ups in a row for the only connection, and the loop watches it. Builds for tests do so soon.
const STREAK: i32 = if cfg!(debug_assertions) { 3 } else { 64 };

/// What the loop watches.
pub(super) struct Direct {
    token: Token,
    /// The duplicate.
    fd: RawFd,
    /// The poller has the connection again, or nobody: the loop is to forget it.
    is_stale: bool,
}

impl Drop for Direct {
    fn drop(&mut self) {
        syscall::close(self.fd);
    }
}

impl State {
    /// The connection that the loop itself watches.
    pub fn direct(&self) -> Option<Token> {
        self.direct.as_ref().filter(|direct| !direct.is_stale).map(|direct| direct.token)
    }

    /// The poller watches the connection again, as its interest says. True: the loop is to be told, see [`Hub::tidy`].
    pub fn leave_direct(&mut self, token: Token) -> bool {
        match &mut self.direct {
            Some(direct) if direct.token == token => {
                direct.is_stale = true;
                true
            }
            _ => false,
        }
    }
}

impl Hub {
    /// Has the loop watch the connection that was alone for long. Called where a dispatch ends.
    pub(super) fn go_direct(slf: &Bound<'_, Self>) -> PyResult<()> {
        let this = slf.get();
        let (token, fd) = {
            let mut state = this.state.borrow_mut();
            if state.streak < STREAK || state.direct.is_some() || this.depth.get() != 1 {
                return Ok(());
            }
            state.streak = 0;
            let Some(token) = state.alone.filter(|_| state.live == 1) else { return Ok(()) };
            let Some(entry) = state.entry(token) else { return Ok(()) };
            if entry.interest != READ || entry.fd < 0 {
                return Ok(());
            }
            (token, entry.fd)
        };
        // Without a descriptor to spare all stays as it is.
        let Some(fd) = syscall::duplicate(fd) else { return Ok(()) };
        let mut direct = Direct { token, fd, is_stale: false };
        let outcome = slf
            .getattr("_on_direct")
            .and_then(|on_direct| this.event_loop.bind(slf.py()).call_method1("add_reader", (fd, on_direct)));
        if let Err(error) = outcome {
            // Nor is a loop asked again that does not want to.
            this.state.borrow_mut().streak = i32::MIN;
            return if ends_program(slf.py(), &error) { Err(error) } else { Ok(()) };
        }
        {
            let state = &mut *this.state.borrow_mut();
            // The loop's code may have been anybody's.
            let wanted = state.live == 1;
            match state.entry(token).filter(|entry| wanted && entry.interest == READ).map(|entry| entry.fd) {
                Some(fd) => drop(state.poller.modify(fd, token.key(), Interest::default())),
                None => direct.is_stale = true,
            }
            state.direct = Some(direct);
        }
        Self::tidy(slf);
        Ok(())
    }

    /// Has the loop forget what it need not watch any more. To be called where nothing is borrowed, on the loop's thread.
    #[cold]
    pub fn tidy(slf: &Bound<'_, Self>) {
        let this = slf.get();
        let Some(direct) = this.state.borrow_mut().direct.take_if(|direct| direct.is_stale) else { return };
        if this.is_forked() {
            // The set that the loop waits for is the parent's, and knows this number.
            std::mem::forget(direct);
            return;
        }
        // A loop that is closed has forgotten it.
        let _ = this.event_loop.bind(slf.py()).call_method1("remove_reader", (direct.fd,));
    }

    /// The loop says that there is something to read.
    pub(super) fn on_direct(slf: &Bound<'_, Self>) -> PyResult<()> {
        let this = slf.get();
        let _deeper = Deeper::new(&this.depth);
        let token = this.state.borrow().direct();
        match token {
            Some(token) => Self::dispatch(slf, Some(token)),
            None => {
                Self::tidy(slf);
                Ok(())
            }
        }
    }
}

const READ: Interest = Interest { read: true, write: false };
