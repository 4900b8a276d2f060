//! The two ends of a socket, small while nobody asks for them, and as Python's `socket` module gives them.

use std::mem::MaybeUninit;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddrV4, SocketAddrV6};
use std::os::fd::RawFd;

use pyo3::prelude::*;

/// An address of a socket.
#[derive(Debug, Clone, Default)]
pub enum Address {
    /// Not known, or of a family without addresses that people read.
    #[default]
    Unknown,
    Inet(SocketAddrV4),
    Inet6(Box<SocketAddrV6>),
    /// A path, or an abstract name, which begins with a zero; empty for a socket without one.
    Unix(Box<[u8]>),
}

type Ask = unsafe extern "C" fn(libc::c_int, *mut libc::sockaddr, *mut libc::socklen_t) -> libc::c_int;

impl Address {
    /// The socket's own end.
    pub fn local(fd: RawFd) -> Self {
        Self::ask(fd, libc::getsockname).unwrap_or_default()
    }

    /// The peer's; none where the socket has no peer.
    pub fn remote(fd: RawFd) -> Option<Self> {
        Self::ask(fd, libc::getpeername)
    }

    fn ask(fd: RawFd, ask: Ask) -> Option<Self> {
        let mut address = MaybeUninit::<libc::sockaddr_storage>::zeroed();
        let mut size = size_of::<libc::sockaddr_storage>() as libc::socklen_t;
        // SAFETY: both live through the call and have the stated size.
        if unsafe { ask(fd, address.as_mut_ptr().cast(), &raw mut size) } != 0 {
            return None;
        }
        // SAFETY: all-zero is a valid sockaddr_storage; the call wrote an address of its family over its start.
        unsafe {
            let family = libc::c_int::from((*address.as_ptr()).ss_family);
            Some(match family {
                libc::AF_INET => {
                    let inet = &*address.as_ptr().cast::<libc::sockaddr_in>();
                    let host = Ipv4Addr::from(u32::from_be(inet.sin_addr.s_addr));
                    Self::Inet(SocketAddrV4::new(host, u16::from_be(inet.sin_port)))
                }
                libc::AF_INET6 => {
                    let inet = &*address.as_ptr().cast::<libc::sockaddr_in6>();
                    let (host, port) = (Ipv6Addr::from(inet.sin6_addr.s6_addr), u16::from_be(inet.sin6_port));
                    let flow = u32::from_be(inet.sin6_flowinfo);
                    Self::Inet6(Box::new(SocketAddrV6::new(host, port, flow, inet.sin6_scope_id)))
                }
                libc::AF_UNIX => {
                    let unix = &*address.as_ptr().cast::<libc::sockaddr_un>();
                    let length = (size as usize).saturating_sub(std::mem::offset_of!(libc::sockaddr_un, sun_path));
                    let path: Vec<u8> = unix.sun_path.iter().take(length).map(|&byte| byte as u8).collect();
                    // A path ends at its zero; an abstract name begins with one.
                    let end = path.iter().skip(1).position(|&byte| byte == 0).filter(|_| path[0] != 0);
                    Self::Unix(path[..end.map_or(path.len(), |end| end + 1)].into())
                }
                _ => Self::Unknown,
            })
        }
    }

    /// As `socket.getsockname()` gives it.
    pub fn to_python<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        match self {
            Self::Unknown => Ok(py.None().into_bound(py)),
            Self::Inet(inet) => Ok((inet.ip().to_string(), inet.port()).into_pyobject(py)?.into_any()),
            Self::Inet6(inet) => {
                let address = (inet.ip().to_string(), inet.port(), inet.flowinfo(), inet.scope_id());
                Ok(address.into_pyobject(py)?.into_any())
            }
            Self::Unix(name) if name.first() == Some(&0) => Ok(name.as_ref().into_pyobject(py)?.into_any()),
            Self::Unix(path) => py.import("os")?.call_method1("fsdecode", (path.as_ref().into_pyobject(py)?,)),
        }
    }
}
