"""DNS, addresses, sockets."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import ipaddress
import os
import socket
from typing import Any, NamedTuple

from .errors import DialError

__all__ = ["Address", "ends", "name", "resolve", "start"]


class Address(NamedTuple):
    """An address of a host: family, and what ``socket.connect`` takes."""

    family: int
    sockaddr: tuple[Any, ...]


async def resolve(loop: asyncio.AbstractEventLoop, host: str, port: int, uri: str) -> list[Address]:
    """The addresses of ``host``, in the system's order (RFC 6724). Raises DialError."""
    with contextlib.suppress(ValueError):
        literal = ipaddress.ip_address(host)
        if literal.version == 4:
            return [Address(socket.AF_INET, (host, port))]
        if "%" not in host:
            return [Address(socket.AF_INET6, (host, port, 0, 0))]
    try:
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise DialError(f"{uri}: the host {host!r} was not found: {why}", uri=uri, phase="dns") from error
    return list(dict.fromkeys(Address(family, sockaddr) for family, _, _, _, sockaddr in found))


def start(address: Address, *, nodelay: bool) -> socket.socket:
    """A non-blocking socket that is connecting to ``address``. Raises OSError."""
    sock = socket.socket(address.family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        if nodelay:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        code = sock.connect_ex(address.sockaddr)
        if code not in (0, errno.EINPROGRESS, errno.EWOULDBLOCK):
            raise OSError(code, os.strerror(code))
    except BaseException:
        sock.close()
        raise
    return sock


def is_listening(sock: socket.socket) -> bool:
    """Whether it waits for connections itself."""
    with contextlib.suppress(OSError):
        return sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN) != 0
    return False


def ends(sock: socket.socket) -> tuple[Any, Any]:
    """The remote and the local address of a socket, as far as it has them."""
    remote = local = None
    with contextlib.suppress(OSError):
        local = sock.getsockname()
        remote = sock.getpeername()
    return remote, local


def name(address: Address) -> str:
    """An address for people."""
    host, port = address.sockaddr[:2]
    return f"[{host}]:{port}" if address.family == socket.AF_INET6 else f"{host}:{port}"
