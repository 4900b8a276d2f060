"""What the arguments of ``connect()`` may be, and what a connection makes of them."""

from __future__ import annotations

import socket
from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import Literal

from . import _core, dial
from .http import Headers, HeadersLike
from .tls import TlsConfig

Seconds = float | timedelta | None


def check_target(uri: str, host: str | None, port: int | None, server_hostname: str | None) -> None:
    """Where to connect to, and under which name."""
    if not isinstance(uri, str):
        raise TypeError(f'uri is a str such as "wss://example.com/feed", not {uri!r}')
    for name, given in (("host", host), ("server_hostname", server_hostname)):
        if given is not None and not isinstance(given, str):
            raise TypeError(f"{name} is a name or an address (str), not {given!r}")
        if given is not None and (not given or any(character.isspace() for character in given)):
            raise ValueError(f"{name} must be a name or an address, not {given!r}")
    if port is not None and (isinstance(port, bool) or not isinstance(port, int)):
        raise TypeError(f"port is a number from 1 to 65535, not {port!r}")
    if port is not None and not 0 < port < 65_536:
        raise ValueError(f"port must be from 1 to 65535, not {port!r}")


def check_sock(sock: socket.socket | None, host: str | None, port: int | None) -> None:
    """A socket of the user's own."""
    if sock is None:
        return
    if host is not None or port is not None:
        raise ValueError("sock is connected already; leave out host and port")
    if not isinstance(sock, socket.socket):
        raise TypeError(f"sock is a socket.socket, not {sock!r}")
    if sock.fileno() < 0:
        raise ValueError("sock is closed")
    if dial.is_listening(sock):
        raise ValueError("sock listens for connections; a connection needs a socket that is, or will be, connected")


def tls_config(
    tls: TlsConfig | Literal["system", "webpki"] | None, server_hostname: str | None, *, secure: bool
) -> TlsConfig | None:
    """The TLS settings of a ``wss://`` URI; None for a ``ws://`` URI."""
    if not secure:
        if tls is not None or server_hostname is not None:
            raise ValueError("tls and server_hostname are for wss:// URIs; this one is ws://")
        return None
    match tls:
        case None:
            config = TlsConfig()
        case TlsConfig():
            config = tls
        case "system" | "webpki":
            config = TlsConfig(roots=tls)
        case _:
            raise TypeError(f'tls must be a TlsConfig, "system" or "webpki", not {tls!r}')
    if server_hostname is None:
        return config
    return TlsConfig(config.roots, config.ca, config.verify, server_hostname)


def header_fields(headers: HeadersLike | None) -> list[tuple[str, str]]:
    """``additional_headers`` as pairs."""
    try:
        fields = list(Headers(headers or ()).raw_items())
    except (TypeError, ValueError):
        fields = None
    # A string of two characters unpacks into a pair too.
    if fields is None or (isinstance(headers, Sequence) and any(isinstance(pair, str) for pair in headers)):
        raise TypeError(f"additional_headers is a mapping or pairs of strings, name and value, not {headers!r}")
    return fields


def subprotocol_names(subprotocols: Sequence[str] | None) -> list[str]:
    """``subprotocols`` as a list."""
    is_many = isinstance(subprotocols, Iterable) and not isinstance(subprotocols, str | bytes)
    names = list(subprotocols) if subprotocols is not None and is_many else []
    if (subprotocols is not None and not is_many) or not all(isinstance(name, str) for name in names):
        raise TypeError(f'subprotocols is a sequence of names (str), such as ["a", "b"], not {subprotocols!r}')
    return names


def seconds(name: str, value: Seconds) -> float | None:
    """A duration that is more than nothing, or none."""
    if value is None:
        return None
    try:
        number = _core.seconds(name, value)
    except ValueError:
        number = 0
    if number == 0:
        raise ValueError(f"{name} must be more than 0 seconds, or None for no limit; not {value!r}")
    return number


def busy_poll(idle: Seconds, most: Seconds) -> tuple[float, float] | None:
    """The two bounds of busy polling: without a message, and in all."""
    wait, most_seconds = seconds("busy_poll", idle), seconds("busy_poll_max", most)
    if most_seconds is None:
        raise TypeError("busy_poll_max is seconds (float) or a timedelta: the event loop must have its turns")
    if wait is None:
        return None
    if wait > most_seconds:
        raise ValueError(f"busy_poll_max ({most!r}) must be at least busy_poll ({idle!r})")
    return wait, most_seconds


def limit(name: str, value: int | None) -> int | None:
    """A number from 1 on, or none for no limit."""
    return None if value is None else bound(name, value, ", or None for no limit")


def bound(name: str, value: int, otherwise: str = "") -> int:
    """A number from 1 on."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} is a number (int){otherwise}; not {value!r}")
    if value < 1:
        raise ValueError(f"{name} must be at least 1{otherwise}; not {value!r}")
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
