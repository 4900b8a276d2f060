//! The end of a wake-up: nothing may point into the read buffer, which goes back.

use pyo3::prelude::*;

use super::Input;
use crate::buffers;
use crate::conn::Inner;
use crate::view::PinnedBuffer;

impl Inner {
    /// The wake-up ends, or the buffer is used again: nothing may point into it.
    pub(crate) fn settle_slices(&mut self, py: Python<'_>) -> PyResult<()> {
        self.queue.settle(py)?;
        if self.shown.is_some() {
            self.keep_shown(py)?;
        }
        if let Some(attached) = &self.ring {
            attached.ring.get().store.borrow_mut().settle(py)?;
        }
        if !self.rare.views.is_empty() {
            self.settle_views();
        }
        Ok(())
    }

    /// Gives views that somebody kept bytes of their own, or the read buffer.
    fn settle_views(&mut self) {
        let views = std::mem::take(&mut self.rare.views);
        let mut pinning = Vec::new();
        for view in views {
            // SAFETY: attached. A count of one is ours: nobody kept the view.
            if unsafe { pyo3::ffi::Py_REFCNT(view.as_ptr()) } > 1 && view.get().settle() {
                pinning.push(view);
            }
        }
        if pinning.is_empty() {
            return;
        }
        if let Some(input) = self.input.take() {
            let rest = input.buffer[input.start..input.end].to_vec();
            let pinned = PinnedBuffer::new(input.buffer);
            for view in pinning {
                view.get().pin(&pinned);
            }
            if !rest.is_empty() {
                let mut buffer = buffers::take();
                buffer[..rest.len()].copy_from_slice(&rest);
                self.input = Some(Input { since: input.since, ..Input::of(buffer, rest.len()) });
            }
        }
    }

    /// The connection goes, and its read buffer: a failure is one of memory, and leaves nothing that points into it.
    pub(crate) fn settle_for_good(&mut self, py: Python<'_>) {
        if self.settle(py).is_ok() {
            return;
        }
        if let Some(attached) = &self.ring {
            attached.ring.get().store.borrow_mut().forget_slices();
        }
        self.settle_views();
    }

    /// The wake-up ends: the read buffer goes back, unless unparsed bytes are in it.
    pub(crate) fn settle(&mut self, py: Python<'_>) -> PyResult<()> {
        self.settle_slices(py)?;
        if self.input.as_ref().is_some_and(|input| input.start == input.end)
            && let Some(input) = self.input.take()
        {
            buffers::give(input.buffer);
        }
        self.queue.shrink();
        if let Some(attached) = &self.ring {
            attached.ring.get().store.borrow_mut().shrink();
        }
        if let Some(tls) = &mut self.tls {
            tls.rest();
        }
        Ok(())
    }
}
