//! recv(2), recvmsg(2) and send(2).

use std::io;
use std::os::fd::RawFd;

use fastws_core::Nanos;

/// # Safety
/// `size` bytes may be written at `buffer`.
#[inline]
pub unsafe fn receive_raw(fd: i32, buffer: *mut u8, size: usize) -> io::Result<usize> {
    // SAFETY: the caller's promise.
    received(|| unsafe { libc::recv(fd, buffer.cast(), size, libc::MSG_DONTWAIT) })
}

/// Receives, and tells when the kernel received the last segment of what it gave (CLOCK_REALTIME), if it says so.
///
/// # Safety
/// `size` bytes may be written at `buffer`.
#[cfg(target_os = "linux")]
pub unsafe fn receive_stamped(fd: i32, buffer: *mut u8, size: usize) -> io::Result<(usize, Option<Nanos>)> {
    let mut part = libc::iovec { iov_base: buffer.cast(), iov_len: size };
    let mut control = Control([0; 16]);
    // SAFETY: an all-zero msghdr is valid.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = &raw mut part;
    message.msg_iovlen = 1;
    let got = received(|| {
        message.msg_control = (&raw mut control).cast();
        message.msg_controllen = size_of::<Control>() as _;
        // SAFETY: the part and the room for control messages live through the call.
        unsafe { libc::recvmsg(fd, &raw mut message, libc::MSG_DONTWAIT) }
    })?;
    // SAFETY: recvmsg wrote `msg_controllen` bytes of whole control messages; these macros walk through them.
    unsafe {
        let mut header = libc::CMSG_FIRSTHDR(&raw const message);
        while !header.is_null() {
            if (*header).cmsg_level == libc::SOL_SOCKET && (*header).cmsg_type == libc::SCM_TIMESTAMPNS {
                let at = libc::CMSG_DATA(header).cast::<libc::timespec>().read_unaligned();
                return Ok((got, Some(at.tv_sec as Nanos * 1_000_000_000 + at.tv_nsec as Nanos)));
            }
            header = libc::CMSG_NXTHDR(&raw const message, header);
        }
    }
    Ok((got, None))
}

/// Other systems have no such timestamps; `fastws.connect` does not ask for them there.
///
/// # Safety
/// `size` bytes may be written at `buffer`.
#[cfg(not(target_os = "linux"))]
pub unsafe fn receive_stamped(fd: i32, buffer: *mut u8, size: usize) -> io::Result<(usize, Option<Nanos>)> {
    // SAFETY: the caller's promise.
    unsafe { receive_raw(fd, buffer, size) }.map(|got| (got, None))
}

/// Another descriptor of the same socket; none: there are too many.
pub fn duplicate(fd: RawFd) -> Option<RawFd> {
    // SAFETY: a plain system call.
    let double = unsafe { libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, 0) };
    (double >= 0).then_some(double)
}

/// Nothing goes either way any more.
pub fn shutdown(fd: RawFd) {
    // SAFETY: a plain system call; one that is not connected is none the worse.
    unsafe { libc::shutdown(fd, libc::SHUT_RDWR) };
}

/// Closes a descriptor that is the caller's.
pub fn close(fd: RawFd) {
    // SAFETY: a plain system call; the caller has it no more.
    unsafe { libc::close(fd) };
}

/// TCP acknowledges what was read at once, and what comes next.
pub fn acknowledge_at_once(fd: i32) {
    #[cfg(target_os = "linux")]
    {
        let on: libc::c_int = 1;
        // SAFETY: `on` lives through the call. That it was possible once is known; a socket that is gone says so to the
        // next read.
        unsafe {
            let size = size_of::<libc::c_int>() as libc::socklen_t;
            libc::setsockopt(fd, libc::IPPROTO_TCP, libc::TCP_QUICKACK, (&raw const on).cast(), size);
        }
    }
    #[cfg(not(target_os = "linux"))]
    let _ = fd;
}

/// What a call that receives brought: bytes, the end, or an error that is not an interruption.
#[inline]
fn received(mut call: impl FnMut() -> isize) -> io::Result<usize> {
    loop {
        match call() {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            got @ 1.. => return Ok(got as usize),
            _ => {
                let error = io::Error::last_os_error();
                if error.kind() != io::ErrorKind::Interrupted {
                    return Err(error);
                }
            }
        }
    }
}

/// Sends two slices in one call; returns how much of them the kernel took.
pub fn send_two(fd: i32, first: &[u8], second: &[u8]) -> io::Result<usize> {
    loop {
        let sent = if second.is_empty() {
            // SAFETY: the slice has that many bytes.
            unsafe { libc::send(fd, first.as_ptr().cast(), first.len(), FLAGS) }
        } else {
            let mut parts = [part(first), part(second)];
            // SAFETY: an all-zero msghdr is valid; the parts live through the call.
            unsafe {
                let mut message: libc::msghdr = std::mem::zeroed();
                message.msg_iov = parts.as_mut_ptr();
                message.msg_iovlen = 2;
                libc::sendmsg(fd, &raw const message, FLAGS)
            }
        };
        if sent >= 0 {
            return Ok(sent as usize);
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}

fn part(slice: &[u8]) -> libc::iovec {
    libc::iovec { iov_base: slice.as_ptr().cast_mut().cast(), iov_len: slice.len() }
}

#[cfg(any(target_os = "linux", target_os = "android"))]
const FLAGS: libc::c_int = libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT;
#[cfg(not(any(target_os = "linux", target_os = "android")))]
const FLAGS: libc::c_int = libc::MSG_DONTWAIT;

/// Room for control messages: the one that we ask for, and what `sockopts` may have asked for besides.
#[cfg(target_os = "linux")]
#[repr(C, align(8))]
struct Control([u64; 16]);
