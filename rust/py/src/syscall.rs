//! recv(2) and send(2).

use std::io;

pub fn receive(fd: i32, buffer: &mut [u8]) -> io::Result<usize> {
    // SAFETY: the buffer has that many bytes.
    unsafe { receive_raw(fd, buffer.as_mut_ptr(), buffer.len()) }
}

/// # Safety
/// `size` bytes may be written at `buffer`.
pub unsafe fn receive_raw(fd: i32, buffer: *mut u8, size: usize) -> io::Result<usize> {
    loop {
        // SAFETY: the caller's promise.
        let got = unsafe { libc::recv(fd, buffer.cast(), size, libc::MSG_DONTWAIT) };
        match got {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            1.. => return Ok(got as usize),
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
