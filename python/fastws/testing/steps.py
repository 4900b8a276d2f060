"""What a scripted connection does, step by step. See ``fastws.testing.Server.script``.

A script without ``Accept``, ``Refuse`` or ``Answer`` begins by accepting the upgrade. After its last
step the server reads and counts messages until the client goes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

__all__ = [
    "Accept",
    "Answer",
    "Blast",
    "Echo",
    "End",
    "Expect",
    "Fault",
    "Paced",
    "PingEvery",
    "Refuse",
    "Replay",
    "Send",
    "SendClose",
    "SendFragments",
    "SendPing",
    "SendPong",
    "SendRaw",
    "Step",
    "Wait",
    "native",
]


@dataclass(frozen=True, slots=True)
class Accept:
    """Accept the upgrade; ``glued`` are bytes sent behind the response in the same write."""

    headers: tuple[tuple[str, str], ...] = ()
    subprotocol: str | None = None
    glued: bytes = b""


@dataclass(frozen=True, slots=True)
class Refuse:
    """Refuse the upgrade with an HTTP status, and close the stream."""

    status: int
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class Answer:
    """Answer the upgrade with these bytes; ``{accept}`` in them becomes the right ``Sec-WebSocket-Accept``."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Send:
    """Send a message: text for ``str``, binary for ``bytes``."""

    message: str | bytes


@dataclass(frozen=True, slots=True)
class SendFragments:
    """Send a message in fragments, all ``str`` or all ``bytes``."""

    fragments: tuple[str | bytes, ...]


@dataclass(frozen=True, slots=True)
class SendPing:
    """Send a Ping."""

    data: bytes = b""


@dataclass(frozen=True, slots=True)
class SendPong:
    """Send a Pong."""

    data: bytes = b""


@dataclass(frozen=True, slots=True)
class SendClose:
    """Send a Close frame, also with a code that may not be sent; None for an empty one."""

    code: int | None = 1000
    reason: str = ""


@dataclass(frozen=True, slots=True)
class SendRaw:
    """Send bytes as they are."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Expect:
    """Wait until this many messages have come; None: for ever."""

    count: int | None = None


@dataclass(frozen=True, slots=True)
class Wait:
    """Wait this many seconds, reading and answering pings."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Echo:
    """Echo this many messages; None: for ever."""

    count: int | None = None


@dataclass(frozen=True, slots=True)
class Blast:
    """Send messages as fast as the socket takes them. ``numbered``: each begins with its number, 8 bytes."""

    count: int
    size: int = 128
    text: bool = False
    numbered: bool = False


@dataclass(frozen=True, slots=True)
class Paced:
    """Send messages at a steady rate.

    Each begins with the time of its sending (CLOCK_MONOTONIC, nanoseconds) and its number, 8 bytes little-endian each.
    """

    count: int
    rate: float = 1000.0
    size: int = 128


@dataclass(frozen=True, slots=True)
class Replay:
    """Play a feed that was added under this name; ``speed`` 0 is as fast as the socket takes it."""

    name: str
    speed: float = 1.0
    subscribe: Literal["ignore", "any", "json"] = "ignore"


@dataclass(frozen=True, slots=True)
class PingEvery:
    """From now on, a Ping in this interval of seconds."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Fault:
    """Break something.

    ``kind`` as in the ``fault=`` parameter of a path: ``"reset"``, ``"eof"``, ``"truncate"``, ``"half-close"``,
    ``"silence"``, ``"freeze"``, ``"stall[:MS]"``, ``"drip[:BYTES[:MS]]"``, ``"ignore-pings"``, ``"garbage[:HEX]"``.
    """

    kind: str


@dataclass(frozen=True, slots=True)
class End:
    """Send Close 1000 and wait for the client's."""

    _: Any = field(default=None, repr=False)


Step = (
    Accept
    | Refuse
    | Answer
    | Send
    | SendFragments
    | SendPing
    | SendPong
    | SendClose
    | SendRaw
    | Expect
    | Wait
    | Echo
    | Blast
    | Paced
    | Replay
    | PingEvery
    | Fault
    | End
)


def native(step: Step) -> tuple[Any, ...]:
    """A step as the native server takes it: its name, then its values in order."""
    match step:
        case Accept(headers, subprotocol, glued):
            return "accept", list(headers), subprotocol, glued
        case Refuse(status, headers, body):
            return "refuse", status, list(headers), body
        case Answer(data):
            return "answer", data
        case Send(str() as message):
            return "text", message
        case Send(message):
            return "binary", bytes(message)  # type: ignore[arg-type]
        case SendFragments(fragments):
            text = all(isinstance(piece, str) for piece in fragments)
            if not text and any(isinstance(piece, str) for piece in fragments):
                raise TypeError("all fragments of a message must be of one type, str or bytes")
            return "fragments", text, [p.encode() if isinstance(p, str) else bytes(p) for p in fragments]
        case SendPing(data):
            return "ping", data
        case SendPong(data):
            return "pong", data
        case SendClose(code, reason):
            return "close", code, reason
        case SendRaw(data):
            return "raw", data
        case Expect(count):
            return "expect", count
        case Wait(seconds):
            return "wait", seconds
        case Echo(count):
            return "echo", count
        case Blast(count, size, text, numbered):
            return "blast", count, size, text, numbered
        case Paced(count, rate, size):
            return "paced", count, rate, size
        case Replay(name, speed, subscribe):
            return "replay", name, speed, subscribe
        case PingEvery(seconds):
            return "ping_every", seconds
        case Fault(kind):
            return "fault", kind
        case End():
            return ("end",)
    raise TypeError(f"{step!r} is not a step")
