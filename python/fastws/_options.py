"""What the arguments of ``connect()`` may be, and what a connection makes of them."""

from __future__ import annotations

import base64
import dataclasses
import functools
import socket
import ssl
import sys
import warnings
from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Any, Literal, NamedTuple
from urllib.parse import urlsplit

from . import _core, dial
from ._openssl import Context
from .compression import Compression, deflate_options
from .http import Headers, HeadersLike
from .tls import Backend, Security, TlsConfig

Seconds = float | timedelta | None

SocketOptions = Iterable[tuple[int, int, int | bytes]]


def check_target(uri: str, host: str | None, port: int | None, server_hostname: str | None) -> None:
    """Where to connect to, and under which name."""
    if not isinstance(uri, str):
        raise TypeError(f'uri is a str such as "wss://example.com/feed", not {type(uri).__name__}')
    for name, given in (("host", host), ("server_hostname", server_hostname)):
        if given is not None and not isinstance(given, str):
            raise TypeError(f"{name} is a name or an address (str), not {given!r}")
        if given is not None and (not given or any(character.isspace() for character in given)):
            raise ValueError(f"{name} must be a name or an address, not {given!r}")
    if port is not None and (isinstance(port, bool) or not isinstance(port, int)):
        raise TypeError(f"port is a number from 1 to 65535, not {port!r}")
    if port is not None and not 0 < port < 65_536:
        raise ValueError(f"port must be from 1 to 65535, not {port!r}")


def check_way(
    *, sock: socket.socket | None, unix: str | bytes | None, host: str | None, port: int | None, proxy: object
) -> None:
    """That there is one way to go: a socket of the user's own, a Unix socket, or a host."""
    for name, given in (("sock", sock), ("a Unix socket", unix)):
        if given is None:
            continue
        if host is not None or port is not None:
            raise ValueError(f"{name} is connected to as it is; leave out host and port")
        if proxy is not None and proxy is not True and not callable(proxy):
            raise ValueError(f"{name} needs no proxy; leave out proxy")
    if sock is not None and unix is not None:
        raise ValueError("a Unix socket is named, and sock given; leave out one of them")
    if unix is not None and not hasattr(socket, "AF_UNIX"):
        raise ValueError(f"there are no Unix sockets on this platform ({sys.platform})")
    if sock is not None:
        _check_sock(sock)


def check_driver(driver: str, *, busy_poll: Seconds, kernel_timestamps: bool) -> None:
    """Who moves the bytes."""
    if driver not in ("auto", "loop", "protocol"):
        raise ValueError(f'driver must be "auto", "loop" or "protocol", not {driver!r}')
    if driver == "protocol" and (busy_poll is not None or kernel_timestamps):
        name = "busy_poll" if busy_poll is not None else "kernel_timestamps"
        raise ValueError(
            f'{name} needs the socket itself, and driver="protocol" leaves it to a transport of asyncio\'s'
        )


def is_tcp(sock: socket.socket | None, unix: str | bytes | None) -> bool:
    """Whether it is TCP that the connection will be by."""
    return unix is None if sock is None else sock.family in (socket.AF_INET, socket.AF_INET6)


def _check_sock(sock: socket.socket) -> None:
    """A socket of the user's own."""
    if not isinstance(sock, socket.socket):
        raise TypeError(f"sock is a socket.socket, not {sock!r}")
    if sock.fileno() < 0:
        raise ValueError("sock is closed")
    if sock.type != socket.SOCK_STREAM:
        raise ValueError(f"sock must be a stream socket such as TCP's, not {sock.type!r}")
    if dial.is_listening(sock):
        raise ValueError("sock listens for connections; a connection needs a socket that is, or will be, connected")


Tls = TlsConfig | ssl.SSLContext | Backend | None


def security(tls: Tls, server_hostname: str | None, *, secure: bool) -> Security | None:
    """How a ``wss://`` URI is secured; None for a ``ws://`` URI."""
    if not secure:
        if tls is not None or server_hostname is not None:
            raise ValueError("tls and server_hostname are for wss:// URIs; this one is ws://")
        return None
    own = None
    match tls:
        case None:
            config = _USUAL_TLS
        case TlsConfig():
            config = tls
        case "system" | "webpki" | "openssl":
            config = TlsConfig(backend=tls)
        case ssl.SSLContext():
            if tls.protocol == ssl.PROTOCOL_TLS_SERVER:
                raise ValueError("tls is a server's SSLContext (PROTOCOL_TLS_SERVER); a client needs one of its own")
            config, own = TlsConfig(backend="openssl"), Context(tls)
        case _:
            raise TypeError(f'tls must be a TlsConfig, an ssl.SSLContext, "system", "webpki" or "openssl", not {tls!r}')
    if server_hostname is not None:
        config = dataclasses.replace(config, server_hostname=server_hostname)
    return Security(config, own)


def header_fields(headers: HeadersLike | None, name: str = "additional_headers") -> list[tuple[str, str]]:
    """Headers as pairs."""
    if headers is None:
        return []
    try:
        fields = list(Headers(headers).raw_items())
    except (TypeError, ValueError):
        fields = None
    # A string of two characters unpacks into a pair too.
    if fields is None or (isinstance(headers, Sequence) and any(isinstance(pair, str) for pair in headers)):
        # Not their values: one of them may be a secret.
        raise TypeError(f"{name} is a mapping or pairs of strings, name and value{_wrong_field(headers)}")
    return fields


def _wrong_field(headers: object) -> str:
    """Which of them is none, where that can be told."""
    if not isinstance(headers, Mapping):
        return f", not {type(headers).__name__}"
    for name, value in headers.items():
        if not isinstance(name, str) or not isinstance(value, str):
            return f"; the value of {name!r} is {type(value).__name__}"
    return ""


def checked_fields(headers: HeadersLike, name: str) -> list[tuple[str, str]]:
    """Headers as pairs that a request can be made with."""
    fields = header_fields(headers, name)
    _try_request(name, fields, [])
    return fields


def checked_subprotocols(subprotocols: Sequence[str]) -> list[str]:
    """Subprotocols that a request can be made with."""
    found = subprotocol_names(subprotocols)
    _try_request("subprotocols", [], found)
    return found


def _try_request(name: str, fields: list[tuple[str, str]], subprotocols: list[str]) -> None:
    try:
        # What a header may be is said in one place.
        _core.Request("ws://localhost/", fields, subprotocols, None, None, [])
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None


def subprotocol_names(subprotocols: Sequence[str] | None) -> list[str]:
    """``subprotocols`` as a list."""
    return [] if subprotocols is None else names("subprotocols", subprotocols)


def names(name: str, value: Sequence[str]) -> list[str]:
    """Names as a list."""
    is_many = isinstance(value, Iterable) and not isinstance(value, str | bytes)
    found = list(value) if is_many else []
    if not is_many or not all(isinstance(one, str) for one in found):
        raise TypeError(f'{name} is a sequence of names (str), such as ["a", "b"], not {value!r}')
    return found


class Special(NamedTuple):
    """What drop-ins want of a connection, and nobody else."""

    delivery: Literal["messages", "mixed", "frames", "messages and controls", "raw"] = "messages"
    """What the reader is given: also fragments, each frame, or control frames."""
    auto_pong: bool = True
    """Pings are answered by themselves."""
    rsv: int = 0
    """RSV bits that the peer may set, RSV1 being 4, for extensions in Python."""
    echo_reason: bool = False
    """A Close frame is answered with its reason, too."""
    tapped: bool = False
    """All bytes, without TLS, are told to the policy's ``tapped``."""
    warns: bool = True
    """It is said that a certificate is not checked; no affair of the native side."""
    least_size: int = 1
    """Of ``max_size`` and ``max_frame_size``; neither is that."""


SPECIAL = Special()


def settings(**given: Any) -> _core.Settings:
    """What connections of a kind share, checked. Made once for the same settings: most programs have one kind."""
    try:
        return _settings(**given)
    except TypeError:
        pass  # unhashable, if nothing worse: then it is said here
    return _core.Settings(checked(**given))


@functools.lru_cache(maxsize=64, typed=True)  # True is no 1 here
def _settings(**given: Any) -> _core.Settings:
    return _core.Settings(checked(**given))


def checked(
    *,
    max_size: int | None,
    max_frame_size: int | None,
    max_fragments: int | None,
    max_queue: int | tuple[int, int] | None,
    max_queue_bytes: int | tuple[int, int] | None,
    write_limit: int | tuple[int, int],
    max_send_queue: int,
    max_send_bytes: int,
    ping_interval: Seconds,
    ping_timeout: Seconds,
    close_timeout: Seconds,
    messages: str,
    busy_poll: Seconds,
    busy_poll_max: Seconds,
    quickack: bool,
    kernel_timestamps: bool,
    compression: Compression,
    special: Special = SPECIAL,
) -> dict[str, Any]:
    """The settings by name, as the native side takes them. Raises TypeError and ValueError."""
    if max_send_queue is None or max_send_bytes is None:
        raise TypeError("max_send_queue and max_send_bytes are numbers: a send queue is always bounded")
    if write_limit is None:
        raise TypeError("write_limit is a number of bytes or a pair (high, low): await send() always has a limit")
    return {
        "max_size": limit("max_size", max_size, special.least_size),
        "max_frame_size": limit(
            "max_frame_size", max_size if max_frame_size is None else max_frame_size, special.least_size
        ),
        "max_fragments": limit("max_fragments", max_fragments),
        "max_send_bytes": bound("max_send_bytes", max_send_bytes),
        "max_send_messages": bound("max_send_queue", max_send_queue),
        "ping_interval": seconds("ping_interval", ping_interval, _OR_OFF),
        "ping_timeout": seconds("ping_timeout", ping_timeout),
        "close_timeout": seconds("close_timeout", close_timeout),
        "messages": messages,
        "water": (*marks("max_queue", max_queue), *marks("max_queue_bytes", max_queue_bytes)),
        "write_limit": marks("write_limit", write_limit),
        "busy_poll": polling(busy_poll, busy_poll_max),
        "quickack": quickack,
        "kernel_timestamps": kernel_timestamps,
        "deflate": deflate_options(compression),
        **{name: value for name, value in special._asdict().items() if name not in ("warns", "least_size")},
    }


def seconds(name: str, value: Seconds, otherwise: str = ", or None for no limit") -> float | None:
    """A duration that is more than nothing, or none."""
    if value is None:
        return None
    try:
        number = _core.seconds(name, value)
    except ValueError:
        number = 0
    if number == 0:
        raise ValueError(f"{name} must be more than 0 seconds{otherwise}; not {value!r}")
    return number


def polling(idle: Seconds, most: Seconds) -> tuple[float, float] | None:
    """The two bounds of busy polling: without a message, and in all."""
    wait, most_seconds = seconds("busy_poll", idle, _OR_OFF), seconds("busy_poll_max", most, "")
    if most_seconds is None:
        raise TypeError("busy_poll_max is seconds (float) or a timedelta: the event loop must have its turns")
    if wait is None:
        return None
    if wait > most_seconds:
        raise ValueError(
            f"busy_poll={idle!r} is longer than busy_poll_max={most!r}, which bounds a turn of the loop; both are "
            "seconds: 50 µs are 50e-6"
        )
    return wait, most_seconds


def dialling(
    options: Sequence[dial.SocketOption],
    family: int,
    local_addr: tuple[str, int] | None,
    happy_eyeballs_delay: Seconds,
    interleave: int,
    dns_timeout: Seconds,
) -> dial.Dialling:
    """How addresses are connected to."""
    if isinstance(family, bool) or family not in (socket.AF_UNSPEC, socket.AF_INET, socket.AF_INET6):
        raise ValueError(f"family is socket.AF_INET, socket.AF_INET6, or 0 for both, not {family!r}")
    if local_addr is not None:
        what = f'local_addr is a pair (host, port) such as ("10.0.0.1", 0), not {local_addr!r}'
        if not isinstance(local_addr, tuple) or len(local_addr) != 2:
            raise TypeError(what)
        host, port = local_addr
        if not isinstance(host, str) or isinstance(port, bool) or not isinstance(port, int):
            raise TypeError(what)
        if not host or not 0 <= port < 65_536:
            raise ValueError(what)
    delay = seconds("happy_eyeballs_delay", happy_eyeballs_delay, ", or None to try addresses one after the other")
    dns = seconds("dns_timeout", dns_timeout, ", or None to leave it to open_timeout")
    return dial.Dialling(options, family, local_addr, delay, count("interleave", interleave), dns)


def basic_auth(auth: tuple[str, str], uri: str, fields: Iterable[tuple[str, str]]) -> tuple[str, str]:
    """The header field of user and password (RFC 7617)."""
    # Not the values: one of them is a secret.
    if not isinstance(auth, tuple) or len(auth) != 2 or not all(isinstance(part, str) for part in auth):
        raise TypeError("auth is a pair (user, password), a tuple of two str")
    user, password = auth
    if ":" in user or any(ord(character) < 32 or ord(character) == 127 for character in user + password):
        raise ValueError("auth: a user has no colon, and neither user nor password has control characters")
    if "@" in urlsplit(uri).netloc:
        raise ValueError("auth is given, and the URI has user and password too; leave out one of them")
    if any(name.lower() == "authorization" for name, _ in fields):
        raise ValueError("auth is given, and an Authorization header too; leave out one of them")
    return "Authorization", "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode("ascii")


def proxy_security(tls: Tls) -> Security:
    """How an ``https://`` proxy is secured."""
    try:
        return security(tls, None, secure=True) or Security(_USUAL_TLS)
    except (TypeError, ValueError) as error:
        raise type(error)(f"proxy_{error}") from None


def warn_of_no_verification(security: Security | None, whose: str) -> None:
    """What is on purpose is said nevertheless."""
    if security is not None and not security.config.verify:
        warnings.warn(
            f"TlsConfig(verify=False): the {whose}'s certificate is not checked; anybody on the way can read and "
            "change what is sent",
            RuntimeWarning,
            stacklevel=4,
        )


def proxy_fields(headers: HeadersLike | None) -> list[tuple[str, str]]:
    """Headers for a proxy, as pairs."""
    return [] if headers is None else checked_fields(headers, "proxy_headers")


def socket_options(
    *,
    is_tcp: bool,
    nodelay: bool,
    quickack: bool,
    so_busy_poll: Seconds,
    incoming_cpu: int | None,
    kernel_timestamps: bool,
    sockopts: SocketOptions,
) -> list[dial.SocketOption]:
    """What is set on the socket before it connects, in order."""
    options = []
    # On by default, it is no reason to refuse a socket that is not TCP.
    if switch("nodelay", nodelay) and is_tcp:
        options.append(dial.SocketOption("nodelay=True", socket.IPPROTO_TCP, socket.TCP_NODELAY, 1))
    if switch("kernel_timestamps", kernel_timestamps):
        on_linux("kernel_timestamps", True)
        options.append(dial.SocketOption("kernel_timestamps=True", socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1))
    if switch("quickack", quickack):
        on_linux("quickack", True)
        options.append(dial.SocketOption("quickack=True", socket.IPPROTO_TCP, _TCP_QUICKACK, 1))
    if so_busy_poll is not None:
        on_linux("so_busy_poll", so_busy_poll)
        shown = f"so_busy_poll={so_busy_poll!r}"
        time = _microseconds("so_busy_poll", so_busy_poll)
        options.append(dial.SocketOption(shown, socket.SOL_SOCKET, _SO_BUSY_POLL, time, _BUSY_POLL_REMEDY))
    if incoming_cpu is not None:
        if isinstance(incoming_cpu, bool) or not isinstance(incoming_cpu, int):
            raise TypeError(f"incoming_cpu is the number of a core (int) or None, not {incoming_cpu!r}")
        if not 0 <= incoming_cpu < 2**31:
            raise ValueError(f"incoming_cpu is the number of a core, from 0 on, not {incoming_cpu!r}")
        on_linux("incoming_cpu", incoming_cpu)
        shown = f"incoming_cpu={incoming_cpu}"
        options.append(dial.SocketOption(shown, socket.SOL_SOCKET, _SO_INCOMING_CPU, incoming_cpu))
    options.extend(_socket_option(entry) for entry in _entries(sockopts))
    return options


def _entries(sockopts: Any) -> list[Any]:
    if isinstance(sockopts, str | bytes) or not isinstance(sockopts, Iterable):
        raise TypeError(f"sockopts is a sequence of (level, option, value), not {sockopts!r}")
    return list(sockopts)


def _socket_option(entry: Any) -> dial.SocketOption:
    if not isinstance(entry, tuple) or len(entry) != 3:
        raise TypeError(f"sockopts has tuples (level, option, value), not {entry!r}")
    level, option, value = entry
    if isinstance(value, bytearray | memoryview):
        value = bytes(value)
    if not (isinstance(level, int) and isinstance(option, int) and isinstance(value, int | bytes)):
        raise TypeError(f"sockopts: level and option are numbers (int), the value is int or bytes, not {entry!r}")
    numbers = [number for number in (level, option, value) if isinstance(number, int)]
    if not all(-(2**31) <= number < 2**31 for number in numbers):
        raise ValueError(f"sockopts: the numbers of {entry!r} must fit a C int; give a larger value as bytes")
    return dial.SocketOption(f"sockopts ({level:d}, {option:d}, {value!r})", level, option, value)


def switch(name: str, value: bool, otherwise: str = "") -> bool:
    """True or False."""
    if not isinstance(value, bool):
        raise TypeError(f"{name} is True or False{otherwise}, not {value!r}")
    return value


def on_linux(name: str, value: object) -> None:
    """An argument that has a meaning on Linux only."""
    if sys.platform != "linux":
        raise ValueError(f"{name}={value!r}: there is no such thing on this platform ({sys.platform}), only on Linux")


def _microseconds(name: str, value: Seconds) -> int:
    number = seconds(name, value, _OR_OFF)
    assert number is not None
    if number > 1:
        raise ValueError(f"{name} is seconds, at most 1, not {value!r}; 50 µs are 50e-6")
    return max(1, round(number * 1e6))


def limit(name: str, value: int | None, least: int = 1) -> int | None:
    """A number from ``least`` on, or none for no limit."""
    return None if value is None else bound(name, value, ", or None for no limit", least)


def count(name: str, value: int) -> int:
    """A number from 0 on."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} is a number (int), not {value!r}")
    if value < 0:
        raise ValueError(f"{name} is a number from 0 on, not {value!r}")
    return value


def bound(name: str, value: int, otherwise: str = "", least: int = 1) -> int:
    """A number from ``least`` on."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} is a number (int){otherwise}; not {value!r}")
    if value < least:
        raise ValueError(f"{name} must be at least {least}{otherwise}; not {value!r}")
    return min(value, 2**62)


def marks(name: str, value: int | tuple[int, int] | None) -> tuple[int, int]:
    """High and low water: a number stands for itself and its quarter, as in ``websockets``."""
    if value is None:
        return 2**62, 2**62
    if isinstance(value, list) or (isinstance(value, tuple) and len(value) != 2):
        raise ValueError(f"{name} is a number or a pair (high, low), a tuple; not {value!r}")
    high, low = value if isinstance(value, tuple) else (value, None)
    if high is None:
        return 2**62, 2**62
    checked = bound(name, high, " or a pair (high, low)")
    if low is None:
        low = checked // 4
    if isinstance(low, bool) or not isinstance(low, int) or not 0 <= low <= checked:
        raise ValueError(f"{name}: the low-water mark must be between 0 and {checked}, not {low!r}")
    return checked, low


_USUAL_TLS = TlsConfig()

_OR_OFF = ", or None to leave it off"

# asm-generic/socket.h; `socket` has not all of them in all versions, and none where they do not exist.
_SO_TIMESTAMPNS = 35
_SO_BUSY_POLL = 46
_SO_INCOMING_CPU = 49
_TCP_QUICKACK = 12

_BUSY_POLL_REMEDY = (
    "this kernel wants CAP_NET_ADMIN for more than the sysctl net.core.busy_read: give the process that capability "
    "(AmbientCapabilities= of systemd, --cap-add=NET_ADMIN of a container), or set that sysctl to the microseconds "
    "wanted and leave so_busy_poll out"
)
