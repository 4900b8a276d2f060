"""DNS, addresses, sockets."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import errno
import os
import socket
import threading
from collections.abc import Iterable
from typing import Any, NamedTuple

from .errors import DialError, SocketOptionError

__all__ = [
    "Address",
    "Attempts",
    "SocketOption",
    "configure",
    "name",
    "reason",
    "resolve",
    "resolve_blocking",
    "start",
]


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
    if literal := _literal(host, port):
        return [literal]
    try:
        return _addresses(await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM))
    except (OSError, UnicodeError) as error:
        raise _not_found(host, uri, error) from error


def resolve_blocking(host: str, port: int, uri: str, timeout: float | None) -> list[Address]:
    """The same without an event loop. Raises TimeoutError after ``timeout`` seconds; the system's call goes on."""
    if literal := _literal(host, port):
        return [literal]
    answer: concurrent.futures.Future[Any] = concurrent.futures.Future()

    def ask() -> None:
        try:
            answer.set_result(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
        except (OSError, UnicodeError) as error:
            answer.set_exception(_not_found(host, uri, error))

    threading.Thread(target=ask, name="fastws-dns", daemon=True).start()
    return _addresses(answer.result(timeout))


def _literal(host: str, port: int) -> Address | None:
    """The address that ``host`` is, if it is none to be looked up; one with a zone is the resolver's."""
    for family, rest in ((socket.AF_INET, ()), (socket.AF_INET6, (0, 0))):
        with contextlib.suppress(OSError, ValueError):
            socket.inet_pton(family, host)
            return Address(family, (host, port, *rest))
    return None


def _addresses(found: list[Any]) -> list[Address]:
    return list(dict.fromkeys(Address(family, sockaddr) for family, _, _, _, sockaddr in found))


def _not_found(host: str, uri: str, error: OSError | UnicodeError) -> DialError:
    why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    failed = DialError(f"{uri}: the host {host!r} was not found: {why}", uri=uri, phase="dns")
    failed.__cause__ = error
    return failed


class Attempts:
    """The addresses of a host that were tried in vain."""

    __slots__ = ("_failures", "_refused", "_uri")

    def __init__(self, uri: str) -> None:
        self._uri = uri
        self._failures: list[tuple[str, str]] = []
        self._refused: list[SocketOptionError] = []

    def failed(self, address: Address, error: OSError | DialError | SocketOptionError) -> None:
        """Takes note of one; raises what would be the same for the next."""
        if isinstance(error, SocketOptionError):
            if error.errno != errno.ENOPROTOOPT:
                raise error
            self._refused.append(error)
            why = str(error).removeprefix(f"{self._uri}: ")
        else:
            why = str(error) if isinstance(error, DialError) else reason(error)
        self._failures.append((name(address), why))

    def error(self) -> SocketOptionError | DialError:
        """There is none left."""
        if self._refused and len(self._refused) == len(self._failures):
            return self._refused[0]
        tried = "; ".join(f"{address}: {why}" for address, why in self._failures)
        return DialError(
            f"{self._uri}: no connection: {tried}", uri=self._uri, phase="tcp", attempts=tuple(self._failures)
        )


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
