"""DNS, addresses, sockets: Happy Eyeballs, and what is set before a socket connects."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from ._aside import Call, Calls, TooLate
from .errors import DialError, SocketOptionError

if TYPE_CHECKING:
    from ._io import Io

__all__ = [
    "Address",
    "Dialling",
    "SocketOption",
    "Tried",
    "begin",
    "configure",
    "connect",
    "local_addresses",
    "name",
    "no_connection",
    "reason",
    "resolve",
    "start",
]


_NONBLOCK = getattr(socket, "SOCK_NONBLOCK", 0)
"""Linux makes a socket that does not block in one system call."""


class Address(NamedTuple):
    """An address of a host: family, and what ``socket.connect`` takes."""

    family: int
    sockaddr: tuple[Any, ...] | str | bytes
    """A path for a Unix socket."""


class SocketOption(NamedTuple):
    """An option of a socket, as ``socket.setsockopt`` takes it; ``shown`` is what asked for it, for people."""

    shown: str
    level: int
    option: int
    value: int | bytes
    remedy: str = ""
    """What to do where the kernel does not permit it."""


class Dialling(NamedTuple):
    """How addresses are connected to: the arguments of these names of ``connect()``."""

    options: Sequence[SocketOption] = ()
    family: int = socket.AF_UNSPEC
    local_addr: tuple[str, int] | None = None
    happy_eyeballs_delay: float | None = 0.25
    interleave: int = 1
    dns_timeout: float | None = None


class Tried(NamedTuple):
    """What became of an address that was tried."""

    why: str = "no answer yet"
    """For people."""
    number: int | None = None
    """The system's, of the error; None if there is none."""

    @classmethod
    def in_vain(cls, error: OSError) -> Self:
        """It failed so."""
        return cls(reason(error), error.errno)


Local = Mapping[int, Any]
"""Addresses of this machine to bind to, by family; none for any."""


async def resolve(io: Io, host: str, port: int, uri: str, dialling: Dialling) -> list[Address]:
    """The addresses of ``host``, in the system's order (RFC 6724). Raises DialError."""
    family = dialling.family
    for known, rest in ((socket.AF_INET, ()), (socket.AF_INET6, (0, 0))):
        # A literal address; one with a zone is the resolver's, and so is one that is not of the family.
        if family in (socket.AF_UNSPEC, known):
            with contextlib.suppress(OSError, ValueError):
                socket.inet_pton(known, host)
                return [Address(known, (host, port, *rest))]
    call = _lookup(host, port, family)
    try:
        found = await io.wait(call, dialling.dns_timeout)
        if not found:
            raise OSError("it has no address")
    except TooLate as error:
        late = f"{uri}: the host {host!r} was not found within dns_timeout={dialling.dns_timeout:g} s"
        why = "no name server has answered" if call.has_begun else f"{_lookups.most} other lookups were under way"
        raise DialError(f"{late}: {why}", uri=uri, phase="dns") from error
    except (OSError, UnicodeError) as error:
        why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        of = "" if family == socket.AF_UNSPEC else f" with family={socket.AddressFamily(family).name}"
        raise DialError(f"{uri}: the host {host!r} was not found{of}: {why}", uri=uri, phase="dns") from error
    return list(dict.fromkeys(Address(kind, sockaddr) for kind, _, _, _, sockaddr in found))


def _lookup(host: str, port: int, family: int) -> Call[Sequence[tuple[Any, ...]]]:
    """Also where a loop has one of its own: it would be of the threads that the user's calls are in, or files'."""
    return _lookups.ask((host, port, family), lambda: socket.getaddrinfo(host, port, family, socket.SOCK_STREAM))


async def local_addresses(io: Io, dialling: Dialling, uri: str) -> Local:
    """The addresses of ``local_addr=``. Raises DialError."""
    if dialling.local_addr is None:
        return {}
    host, port = dialling.local_addr
    try:
        found = await resolve(io, host, port, uri, dialling)
    except DialError as error:
        raise DialError(f"{error}; it is that of local_addr=", uri=uri, phase="dns") from error
    return {address.family: address.sockaddr for address in reversed(found)}


def start(address: Address, options: Iterable[SocketOption], uri: str, local: Local = {}) -> socket.socket:  # noqa: B006
    """A non-blocking socket with these options that is connecting to ``address``.

    Raises OSError; SocketOptionError if an option was refused.
    """
    return begin(_socket(address, options, uri, local), address)


def begin(sock: socket.socket, address: Address) -> socket.socket:
    """``sock``, which is connecting to ``address`` now. Raises OSError, and closes it."""
    try:
        code = sock.connect_ex(address.sockaddr)
        if code not in (0, errno.EINPROGRESS, errno.EWOULDBLOCK):
            raise OSError(code, os.strerror(code))
        if code == errno.EWOULDBLOCK and address.family == _AF_UNIX:
            # Such a socket is not connecting: nothing would ever come of it.
            raise OSError(code, "its queue of connections is full: the server accepts none at the moment")
    except BaseException:
        sock.close()
        raise
    return sock


async def connect(
    io: Io,
    addresses: Sequence[Address],
    dialling: Dialling,
    uri: str,
    *,
    local: Local,
    tried: dict[str, Tried],
) -> socket.socket:
    """A non-blocking socket that is connected to that address which answers first (Happy Eyeballs, RFC 8305).

    Args:
        io: Who waits.
        addresses: Where to, in the order of preference.
        dialling: What is set on sockets, and how long an address has for itself.
        uri: What messages call it.
        local: What sockets are bound to.
        tried: Is told of each address as it is tried, and why it failed.

    Raises:
        DialError: None could be connected to; it names all of them.
        SocketOptionError: The kernel refused an option.
    """
    refused: list[SocketOptionError] = []

    def made(address: Address) -> socket.socket:
        shown = name(address)
        tried[shown] = Tried()
        try:
            return _socket(address, dialling.options, uri, local)
        except SocketOptionError as error:
            refused.append(error)
            tried[shown] = Tried(str(error).removeprefix(f"{uri}: "), error.errno)
            raise
        except OSError as error:
            tried[shown] = Tried.in_vain(error)
            raise

    def failed(address: Address, error: OSError | str) -> None:
        if not isinstance(error, SocketOptionError):
            tried[name(address)] = Tried(error) if isinstance(error, str) else Tried.in_vain(error)

    try:
        return await io.race(addresses, dialling, made, failed)
    except OSError as error:
        lasting = [each for each in refused if each.errno != errno.ENOPROTOOPT]
        if lasting or (refused and len(refused) == len(tried)):
            refusal = (lasting or refused)[0]
            raise refusal from refusal.__cause__
        raise no_connection(uri, tried) from error


def no_connection(uri: str, tried: Mapping[str, Tried]) -> DialError:
    """No address could be connected to: these were tried, and failed so."""
    numbers = {each.number for each in tried.values()}
    return DialError(
        f"{uri}: no connection: {attempts(tried)}",
        uri=uri,
        phase="tcp",
        attempts=tuple((address, each.why) for address, each in tried.items()),
        errno=numbers.pop() if len(numbers) == 1 else None,
    )


def attempts(tried: Mapping[str, Tried]) -> str:
    """Addresses and what became of them, for people."""
    return "; ".join(f"{address}: {each.why}" for address, each in tried.items())


def _socket(address: Address, options: Iterable[SocketOption], uri: str, local: Local) -> socket.socket:
    """A non-blocking socket for ``address``. Raises OSError; SocketOptionError if an option was refused."""
    sock = socket.socket(address.family, socket.SOCK_STREAM | _NONBLOCK)
    try:
        if not _NONBLOCK:
            sock.setblocking(False)
        configure(sock, options, uri)
        if local:
            _bind(sock, local)
    except BaseException:
        sock.close()
        raise
    return sock


def _bind(sock: socket.socket, local: Local) -> None:
    own = local.get(sock.family)
    if own is None:
        raise OSError(errno.EADDRNOTAVAIL, f"local_addr= has no address of its kind ({sock.family.name})")
    try:
        sock.bind(own)
    except OSError as error:
        shown = name(Address(sock.family, own))
        raise OSError(error.errno, f"not from local_addr= {shown}: {error.strerror or error}") from error


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


def reason(error: OSError) -> str:
    """Why there is no connection, for people."""
    number, text = error.errno, error.strerror or str(error)
    if number is None:
        return text
    if text.startswith("Connect call failed"):
        text = os.strerror(number)  # asyncio's words name the address, which is said already
    return _REASONS.get(number, text)


def is_listening(sock: socket.socket) -> bool:
    """Whether it waits for connections itself."""
    with contextlib.suppress(OSError):
        return sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN) != 0
    return False


def name(address: Address) -> str:
    """An address for people."""
    if isinstance(address.sockaddr, str | bytes):
        return f"the Unix socket {os.fsdecode(address.sockaddr)!r}"
    host, port = address.sockaddr[:2]
    return f"[{host}]:{port}" if address.family == socket.AF_INET6 else f"{host}:{port}"


_lookups = Calls("fastws-dns", most=64)

_AF_UNIX: int = getattr(socket, "AF_UNIX", -1)

_REASONS = {
    errno.ECONNREFUSED: "connection refused: nothing listens there",
    errno.ENETUNREACH: "network unreachable: this machine has no way there",
    errno.EHOSTUNREACH: "host unreachable: it is down, or a firewall refuses",
    errno.ETIMEDOUT: "no answer: it is down, or a firewall is silent",
}
