"""DNS, addresses, sockets."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import ipaddress
import os
import socket
from collections.abc import Iterable
from typing import Any, NamedTuple

from .errors import DialError, SocketOptionError

__all__ = ["Address", "SocketOption", "configure", "ends", "name", "resolve", "start"]


class Address(NamedTuple):
    """An address of a host: family, and what ``socket.connect`` takes."""

    family: int
    sockaddr: tuple[Any, ...]


class SocketOption(NamedTuple):
    """An option of a socket, as ``socket.setsockopt`` takes it; ``shown`` is what asked for it, for people."""

    shown: str
    level: int
    option: int
    value: int | bytes
    remedy: str = ""
    """What to do where the kernel does not permit it."""


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


def start(address: Address, options: Iterable[SocketOption], uri: str) -> socket.socket:
    """A non-blocking socket with these options that is connecting to ``address``.

    Raises OSError; SocketOptionError if an option was refused.
    """
    sock = socket.socket(address.family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        configure(sock, options, uri)
        code = sock.connect_ex(address.sockaddr)
        if code not in (0, errno.EINPROGRESS, errno.EWOULDBLOCK):
            raise OSError(code, os.strerror(code))
    except BaseException:
        sock.close()
        raise
    return sock


def configure(sock: socket.socket, options: Iterable[SocketOption], uri: str) -> None:
    """Sets ``options``, in order. Raises SocketOptionError."""
    for option in options:
        try:
            sock.setsockopt(option.level, option.option, option.value)
        except OSError as error:
            refused = f"{uri}: the socket does not take {option.shown}: {error.strerror or error}"
            if option.remedy and error.errno in (errno.EPERM, errno.EACCES):
                refused += f"; {option.remedy}"
            raise SocketOptionError(refused, uri=uri, option=option.shown, errno=error.errno) from error


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
