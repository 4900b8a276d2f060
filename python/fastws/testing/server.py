"""The embedded server."""

from __future__ import annotations

import ipaddress
import os
import socket
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

from fastws import _core, _options

from .steps import Step, native
from .venue import Venue, VenueFault, options

__all__ = ["ConnectionReport", "RecordedFrame", "Server", "ServerStats"]


@dataclass(frozen=True, slots=True)
class ServerStats:
    """Counters of a server since it started. Sizes are bytes of payload."""

    accepted: int
    open: int
    requests: int
    resumed: int
    turned_away: int
    messages_in: int
    messages_out: int
    bytes_in: int
    bytes_out: int


@dataclass(frozen=True, slots=True)
class RecordedFrame:
    """A frame received, kept by a server with ``record=True``. Opcodes as in RFC 6455 §5.2."""

    at_ns: int
    opcode: int
    fin: bool
    size: int
    payload: bytes


@dataclass(frozen=True, slots=True)
class ConnectionReport:
    """What a server saw of one connection. Times are CLOCK_MONOTONIC, in nanoseconds."""

    id: int
    peer: str
    target: str
    headers: tuple[tuple[str, str], ...]
    subprotocol: str | None
    accepted_ns: int
    answered_ns: int | None
    ended_ns: int | None
    messages_in: int
    messages_out: int
    bytes_in: int
    bytes_out: int
    frames: tuple[RecordedFrame, ...]
    frames_dropped: int
    pings_ns: tuple[int, ...]
    pongs_ns: tuple[int, ...]
    close_received: tuple[int, str] | None
    peer_fin: bool
    peer_reset: bool
    error: str | None


class Server:
    """A WebSocket server in native threads. Starts when it is made; a context manager stops it.

    Args:
        host: Address to listen on, or a name of this machine.
        port: Port to listen on; 0 for a free one.
        tls: Speak TLS, with a certificate made for the occasion; trust it by ``TlsConfig(ca=server.ca_pem)``.
        names: Names and addresses in the certificate besides localhost, 127.0.0.1 and ::1.
        tls12_only: Refuse TLS 1.3.
        threads: Threads, each with its share of the connections.
        cpus: Run the threads on these CPUs (Linux).
        spin: Seconds to look for events before sleeping.
        subprotocols: Subprotocols to choose from.
        headers: Headers added to every accepted upgrade.
        accept_delay: Seconds during which nothing is read of a new connection.
        record: Keep the frames received, for ``connections``.
        max_message: Largest message taken, in bytes.
        max_connections: Connections open at a time; more are closed at once.
        timeout: Seconds for TLS, for the request, and for the end of a closing handshake.

    Raises:
        OSError: The address cannot be listened on.
        ValueError, TypeError: An argument is wrong; the text names it.
    """

    def __init__(
        self,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        tls: bool = False,
        names: Sequence[str] = (),
        tls12_only: bool = False,
        threads: int = 1,
        cpus: Sequence[int] = (),
        spin: float = 0.0,
        subprotocols: Sequence[str] = (),
        headers: Sequence[tuple[str, str]] = (),
        accept_delay: float = 0.0,
        record: bool = False,
        max_message: int = 64 * 2**20,
        max_connections: int = 20_000,
        timeout: float = 10.0,
    ) -> None:
        self._tls = _options.switch("tls", tls)
        self._native = _core.TestServer(
            _address(host),
            _within("port", port, 0, 65_535),
            {
                "tls": tls,
                "names": _options.names("names", names),
                "tls12_only": _options.switch("tls12_only", tls12_only),
                "threads": _within("threads", threads, 1, 256),
                "cpus": _cpus(cpus),
                "spin": _core.seconds("spin", spin),
                "subprotocols": _options.names("subprotocols", subprotocols),
                "headers": _options.header_fields(headers, "headers"),
                "accept_delay": _core.seconds("accept_delay", accept_delay),
                "record": _options.switch("record", record),
                "max_message": _options.bound("max_message", max_message),
                "max_connections": _options.bound("max_connections", max_connections),
                "timeout": _core.seconds("timeout", timeout),
            },
        )

    @property
    def host(self) -> str:
        """The address listened on."""
        return self._native.host

    @property
    def port(self) -> int:
        """The port listened on."""
        return self._native.port

    @property
    def ca_pem(self) -> bytes:
        """The certificate authority that signed the server's certificate, as PEM; empty without TLS."""
        return self._native.ca_pem

    def url(self, target: str = "/echo") -> str:
        """The URL of ``target``: a path, and parameters as its query.

        ``/echo?think_us=`` (each answer takes so long); ``/blast?n=&size=&text=1&seq=1`` (a flood, then Close);
        ``/paced?rate=&n=&size=``; ``/replay/NAME?speed=&subscribe=1`` (a feed added before; speed 0 is flat out);
        ``/sink``; ``/silence``; ``/close?code=&reason=``; ``/status/CODE?header=Name:value&body=`` (refuses the
        upgrade); ``/raw?hex=``.

        On every path: ``fault=KIND[:ARGUMENT…][@WHEN]`` (``close:4001@100``, ``reset``, ``eof``, ``truncate``,
        ``half-close``, ``silence``, ``freeze``, ``stall:MS``, ``drip:BYTES:MS``, ``ignore-pings``, ``garbage:HEX``,
        ``wait:MS``, ``status:CODE``), ``ping_ms``, ``accept_ms``, ``glue`` (hex), ``header``, ``subprotocol``.
        """
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'wss' if self._tls else 'ws'}://{host}:{self.port}{_path('target', target, '/')}"

    def add_feed(self, name: str, messages: Iterable[tuple[float, Literal["text", "binary"], bytes]]) -> None:
        """Adds a feed for ``/replay/NAME``: seconds since its beginning, kind and payload of each message.

        Raises TypeError or ValueError for a message that is none of this kind, naming it.
        """
        if not isinstance(messages, Iterable):
            raise TypeError(f"messages is a list of (seconds, kind, payload), not {messages!r}")
        self._native.add_feed(_path("name", name), [_feed_message(message) for message in messages])

    def load_feed(self, name: str, path: str | os.PathLike[str]) -> None:
        """Adds a recorded feed: JSON Lines, gzip'd or not, a line an event (see the how-to on testing).

        Raises:
            OSError: The file cannot be read: FileNotFoundError and others.
            ValueError: It is no recording; the text names file, line and what is wrong with it.
        """
        file = os.fsdecode(path)
        with Path(file).open("rb") as opened:  # the native side says every failure as a ValueError
            opened.read(1)
        self._native.load_feed(_path("name", name), file)

    def script(self, path: str, steps: Iterable[Step]) -> None:
        """Lets every connection to ``path`` carry out ``steps``.

        Raises TypeError or ValueError naming the step and what is wrong with it.
        """
        if not isinstance(steps, Iterable):
            raise TypeError(f"steps is a list of steps such as Send(...), not {steps!r}")
        self._native.script(_path("path", path, "/"), [native(step) for step in steps])

    def add_venue(
        self,
        path: str,
        feed: str,
        *,
        speed: float = 1.0,
        tokens: Sequence[str] = (),
        channels: Iterable[str | None] | None = None,
        snapshots: Mapping[str, Iterable[tuple[int, str | bytes]]] | None = None,
        faults: Iterable[VenueFault] = (),
        autostart: bool = True,
    ) -> Venue:
        """Makes ``path`` a venue: it plays a feed on one clock for everybody, so who is away misses messages.

        A client sends ``{"type": "subscribe", "channel": C}`` and gets ``{"type": "subscribed", "channel": C}``, then
        what is due from now on. After the feed's last message a session stays open and silent. Requests may carry an
        ``"id"``, which their answers have too; errors are ``{"type": "error", "error": TEXT}``.

        Args:
            path: Where. What else is there, a script apart, is replaced.
            feed: The name of a feed added before.
            speed: Times real time, above 0. Faults do not go faster with it.
            tokens: If there are any, a client must first send ``{"type": "auth", "token": T}`` and gets
                ``{"type": "authenticated"}``; a wrong or expired one is answered by an error and Close 4401.
            channels: The channel of each message, in order: it goes to those who subscribed to that. None for a
                message, or for all: to everybody who subscribed to anything.
            snapshots: What ``{"type": "snapshot", "channel": C}`` is answered with: by channel, JSON objects that are
                right once so many messages of the feed were due, as ``(index, object)``; the last one by now is taken.
            faults: What goes wrong, and when.
            autostart: The first subscription starts the clock; False: ``Venue.start()`` does.

        Raises:
            ValueError: There is no such feed, or an argument is out of its range; the text names it.
        """
        path = path if path.startswith("/") else f"/{path}"
        values = options(feed, speed, tokens, channels, snapshots, faults, autostart)
        return Venue(self._native.add_venue(path, values), self.url(path), values["channels"])

    def replay_started_ns(self, name: str) -> int | None:
        """When the first message of the last replay of this feed was due: CLOCK_MONOTONIC, nanoseconds."""
        return self._native.replay_started_ns(name)

    def stats(self) -> ServerStats:
        """Counters."""
        return ServerStats(**self._native.stats())

    def connections(self) -> list[ConnectionReport]:
        """What was seen of each connection, in the order in which they were accepted."""
        reports = []
        for report in self._native.connections():
            frames = tuple(RecordedFrame(*frame) for frame in report.pop("frames"))
            lists: dict[str, Any] = {name: tuple(report.pop(name)) for name in ("headers", "pings_ns", "pongs_ns")}
            reports.append(ConnectionReport(frames=frames, **lists, **report))
        return reports

    def stop(self) -> None:
        """Closes all connections and ends the threads. Does nothing the second time."""
        self._native.stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.stop()

    def __repr__(self) -> str:
        return f"<fastws.testing.Server {self.url('/')}>"


def _within(name: str, value: int, least: int, most: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} is a number from {least} to {most}, not {value!r}")
    if not least <= value <= most:
        raise ValueError(f"{name} must be between {least} and {most}, not {value}")
    return value


def _cpus(cpus: Sequence[int]) -> list[int]:
    numbers = list(cpus) if isinstance(cpus, Iterable) and not isinstance(cpus, str | bytes) else None
    if numbers is None or not all(isinstance(cpu, int) and not isinstance(cpu, bool) and cpu >= 0 for cpu in numbers):
        raise TypeError(f"cpus is a sequence of numbers of cores (int), not {cpus!r}")
    return numbers


def _feed_message(message: Any) -> tuple[float, bool, bytes]:
    match message:
        case (at, "text" | "binary" as kind, bytes() | bytearray() | memoryview() as payload):
            return _core.seconds("the time of a feed's message", at), kind == "text", bytes(payload)
    raise TypeError(f'a message of a feed is (seconds, "text" or "binary", bytes), not {message!r}')


def _path(name: str, value: str, prefix: str = "") -> str:
    if not isinstance(value, str):
        raise TypeError(f"{name} is a str, not {value!r}")
    return value if value.startswith(prefix) else prefix + value


def _address(host: str) -> str:
    """The address of a host name; the server itself takes addresses only."""
    if not isinstance(host, str):
        raise TypeError(f"host is an address or a name of this machine (str), not {host!r}")
    try:
        return str(ipaddress.ip_address(host))
    except ValueError:
        pass
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError as error:
        raise ValueError(
            f"host must be an address or a name of this machine, not {host!r}: {error.strerror}"
        ) from error
    return str(found[0][4][0])
