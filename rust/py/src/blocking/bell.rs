//! What wakes a thread that sleeps in poll(2) from another thread: a descriptor that is readable once it was rung.

use std::cell::RefCell;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::sync::Arc;

use crate::fork;

/// An eventfd; where there is none, a pipe.
pub struct Bell {
    read: OwnedFd,
    #[cfg(not(target_os = "linux"))]
    write: OwnedFd,
}

impl Bell {
    #[cfg(target_os = "linux")]
    pub fn new() -> io::Result<Self> {
        // SAFETY: a plain call.
        let fd = unsafe { libc::eventfd(0, libc::EFD_NONBLOCK | libc::EFD_CLOEXEC) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the descriptor is new, and nobody else's.
        Ok(Self { read: unsafe { OwnedFd::from_raw_fd(fd) } })
    }

    #[cfg(not(target_os = "linux"))]
    pub fn new() -> io::Result<Self> {
        let mut ends = [0; 2];
        // SAFETY: room for two descriptors.
        if unsafe { libc::pipe(ends.as_mut_ptr()) } < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the descriptors are new, and nobody else's.
        let (read, write) = unsafe { (OwnedFd::from_raw_fd(ends[0]), OwnedFd::from_raw_fd(ends[1])) };
        for fd in ends {
            // SAFETY: plain calls.
            unsafe {
                libc::fcntl(fd, libc::F_SETFL, libc::O_NONBLOCK);
                libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC);
            }
        }
        Ok(Self { read, write })
    }

    /// What to poll for reading.
    pub fn fd(&self) -> RawFd {
        self.read.as_raw_fd()
    }

    /// Wakes who sleeps; one that does not yet will not.
    pub fn ring(&self) {
        #[cfg(target_os = "linux")]
        let fd = self.read.as_raw_fd();
        #[cfg(not(target_os = "linux"))]
        let fd = self.write.as_raw_fd();
        let one = 1u64.to_ne_bytes();
        // SAFETY: eight bytes are read from `one`. One that is full was rung already.
        unsafe { libc::write(fd, one.as_ptr().cast(), one.len()) };
    }

    /// Takes note of all rings so far.
    pub fn quiet(&self) {
        let mut bytes = [0u8; 512];
        // SAFETY: that many bytes may be written. One that was not rung says so.
        unsafe { libc::read(self.fd(), bytes.as_mut_ptr().cast(), bytes.len()) };
    }
}

thread_local! {
    /// This thread's, and the process that made it: a forked child shares the descriptor with its parent.
    static OWN: RefCell<Option<(u32, Arc<Bell>)>> = const { RefCell::new(None) };
}

/// The bell of this thread, made when it is wanted first.
pub fn own() -> io::Result<Arc<Bell>> {
    let generation = fork::generation();
    OWN.with_borrow_mut(|own| match own {
        Some((made, bell)) if *made == generation => Ok(Arc::clone(bell)),
        _ => {
            let bell = Arc::new(Bell::new()?);
            *own = Some((generation, Arc::clone(&bell)));
            Ok(bell)
        }
    })
}
