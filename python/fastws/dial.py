"""DNS, addresses, sockets."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import socket
from collections.abc import Iterable
from typing import Any, NamedTuple

from .errors import DialError, SocketOptionError

__all__ = ["Address", "SocketOption", "configure", "name", "reason", "resolve", "start"]


_NONBLOCK = getattr(socket, "SOCK_NONBLOCK", 0)
"""Linux makes a socket that does not block in one system call."""


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
    for family, rest in ((socket.AF_INET, ()), (socket.AF_INET6, (0, 0))):
        # A literal address; one with a zone is the resolver's.
        with contextlib.suppress(OSError, ValueError):
            socket.inet_pton(family, host)
            return [Address(family, (host, port, *rest))]
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
    sock = socket.socket(address.family, socket.SOCK_STREAM | _NONBLOCK)
    try:
        if not _NONBLOCK:
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


def reason(error: OSError | str) -> str:
    """Why there is no connection, for people; of the native side there is the text, which ends in the number."""
    if isinstance(error, OSError):
        number, text = error.errno, error.strerror or str(error)
    else:
        text, _, rest = error.partition(" (os error ")
        digits = rest.removesuffix(")")
        number = int(digits) if digits.isdecimal() else None
    return _REASONS.get(number, text)


def is_listening(sock: socket.socket) -> bool:
    """Whether it waits for connections itself."""
    with contextlib.suppress(OSError):
        return sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN) != 0
    return False


def name(address: Address) -> str:
    """An address for people."""
    host, port = address.sockaddr[:2]
    return f"[{host}]:{port}" if address.family == socket.AF_INET6 else f"{host}:{port}"


_REASONS: dict[int | None, str] = {
    errno.ECONNREFUSED: "connection refused: nothing listens there",
    errno.ENETUNREACH: "network unreachable: this machine has no way there",
    errno.EHOSTUNREACH: "host unreachable: it is down, or a firewall refuses",
    errno.ETIMEDOUT: "no answer: it is down, or a firewall is silent",
}
