"""What a scripted connection does, step by step. See ``fastws.testing.Server.script``.

A script without ``Accept``, ``Refuse`` or ``Answer`` begins by accepting the upgrade. After its last
step the server reads and counts messages until the client goes.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from typing import Any, Literal, get_args

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
    """A step as the native server takes it: its name, then its values in order.

    Raises TypeError and ValueError naming the step's value that is wrong.
    """
    if type(step) not in _STEPS:
        raise TypeError(f"{step!r} is no step such as Send(...), Expect(1) or End()")
    for value in fields(step):
        _check(f"{type(step).__name__}.{value.name}", value.name, str(value.type), getattr(step, value.name))
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
                raise TypeError("SendFragments.fragments: all of a message must be of one type, str or bytes")
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


def _check(shown: str, name: str, kind: str, value: Any) -> None:
    """Whether a value of a step is of its field's type, and in its range."""
    if kind == "Any" or (kind.endswith(" | None") and value is None):
        return
    words, is_one = _KINDS[kind.removesuffix(" | None")]
    if not is_one(value):
        raise TypeError(f"{shown} is {words}{' or None' if kind.endswith(' | None') else ''}, not {value!r}")
    least, most = _RANGES.get(name, (-math.inf, math.inf))
    if name in _RANGES and not least <= value <= most:
        above = f"{least:g} or more" if most == _MANY else f"from {least:g} to {most:g}"
        raise ValueError(f"{shown} must be {above}, not {value!r}")


def _is_number(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_seconds(value: Any) -> bool:
    return _is_number(value) or isinstance(value, float)


def _is_bytes(value: Any) -> bool:
    return isinstance(value, bytes | bytearray | memoryview)


def _is_message(value: Any) -> bool:
    return isinstance(value, str) or _is_bytes(value)


def _are_fields(value: Any) -> bool:
    return isinstance(value, tuple | list) and all(
        isinstance(pair, tuple) and len(pair) == 2 and all(isinstance(part, str) for part in pair) for pair in value
    )


def _are_messages(value: Any) -> bool:
    return isinstance(value, tuple | list) and all(_is_message(piece) for piece in value)


_STEPS = get_args(Step)

_KINDS: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "int": ("a number (int)", _is_number),
    "float": ("a number (float)", _is_seconds),
    "bool": ("True or False", lambda value: isinstance(value, bool)),
    "str": ("a str", lambda value: isinstance(value, str)),
    "bytes": ("bytes", _is_bytes),
    "str | bytes": ("str or bytes", _is_message),
    "tuple[tuple[str, str], ...]": ("pairs of str, name and value", _are_fields),
    "tuple[str | bytes, ...]": ("a tuple of str or of bytes", _are_messages),
    "Literal['ignore', 'any', 'json']": ('"ignore", "any" or "json"', lambda value: value in ("ignore", "any", "json")),
}
"""The types of the fields above, as they are written there: in words, and how to tell."""

_MANY = 2**63 - 1

_RANGES: dict[str, tuple[float, float]] = {
    "code": (0, 65_535),
    "status": (100, 999),
    "count": (0, _MANY),
    "size": (0, _MANY),
    "seconds": (0, _MANY),
    "rate": (1e-6, 1e9),
    "speed": (0, 1e9),
}
