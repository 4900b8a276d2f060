"""Recorded feeds: reading and writing them, and a digest that two of them can be compared by.

A feed is one WebSocket session as JSON Lines, gzip'd or not, one line an event, in order::

    {"t": 1618677816.84, "dir": "open", "text": "wss://…"}     the connection opened
    {"t": …, "dir": "send", "text": "…"}                       what the client sent
    {"t": …, "dir": "recv", "text": "…"}                       a text message from the server
    {"t": …, "dir": "recv", "b64": "…"}                        a binary message, base64
"""

from __future__ import annotations

import base64
import binascii
import gzip
import hashlib
import math
import sys
import zlib
from array import array
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, cast

import orjson

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Sequence

Direction = Literal["open", "send", "recv"]
"""What an event is: the connection opened, the client sent, the client received."""


_GZIP: Final = b"\x1f\x8b"


class FeedError(ValueError):
    """A feed that cannot be read.

    The message names the file, the line (counted from 1; 0 when it is not about a line) and what is wrong.
    """

    def __init__(self, path: str | os.PathLike[str], line: int, problem: str) -> None:
        where = f"{path}, line {line}" if line else f"{path}"
        super().__init__(f"{where}: {problem}")
        self.path: Final = Path(path)
        self.line: Final = line
        self.problem: Final = problem


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened on a WebSocket.

    Attributes:
        t: when, in seconds since the Unix epoch. Recorded clocks may step back; nothing here relies on order.
        direction: ``"open"`` (the payload is the URL), ``"send"`` (client to server) or ``"recv"`` (server to client).
        payload: ``str`` for a text message, ``bytes`` for a binary one.
    """

    t: float
    direction: Direction
    payload: str | bytes


def read_feed(path: str | os.PathLike[str]) -> list[Event]:
    """Read every event of the file at ``path``, gzip'd or not, in file order.

    Empty lines are skipped, unknown fields ignored; time may go backwards (see `steps_back`).

    Raises:
        FeedError: the file is cut short, or has a line that is not an event.
        OSError: the file cannot be opened.
    """
    try:
        data = Path(path).read_bytes()
        if data.startswith(_GZIP):
            data = gzip.decompress(data)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise FeedError(path, 0, f"the gzip data is cut short or damaged ({error})") from error
    return [_event(path, number, line) for number, line in enumerate(data.split(b"\n"), 1) if line.strip()]


def write_feed(path: str | os.PathLike[str], events: Iterable[Event]) -> None:
    """Write ``events`` to ``path``, replacing it. The same events give the same bytes on every machine.

    Raises:
        OSError: the file cannot be written.
    """
    with Path(path).open("wb") as raw, gzip.GzipFile("", "wb", mtime=0, fileobj=raw) as file:
        for event in events:
            text = isinstance(event.payload, str)
            body = event.payload if isinstance(event.payload, str) else base64.b64encode(event.payload).decode()
            line = {"t": event.t, "dir": event.direction, "text" if text else "b64": body}
            file.write(orjson.dumps(line) + b"\n")


def received(events: Iterable[Event]) -> list[str | bytes]:
    """Return the payloads of the ``recv`` events, in order: what a client of this session has to receive."""
    return [event.payload for event in events if event.direction == "recv"]


def steps_back(events: Sequence[Event]) -> int:
    """Count the events that carry an earlier time than the one before them."""
    return sum(later.t < earlier.t for earlier, later in pairwise(events))


class FeedDigest:
    """A running, order-sensitive digest of messages, cheap enough to keep at a million messages a second.

    Two sequences of messages have the same digest only if they hold the same messages (kind, length, bytes) in the
    same order. How they were cut into batches makes no difference. Two SHA-256 run side by side: one over the payloads
    joined together, one over the lengths (text in code points, binary as the complement of its bytes), so that a
    whole batch costs two C calls instead of a handful a message.

    Attributes:
        count: messages so far.
        bytes: payload bytes so far (text counted in UTF-8).
    """

    __slots__ = ("_lengths", "_payloads", "bytes", "count")

    def __init__(self) -> None:
        self.count = 0
        self.bytes = 0
        self._payloads = hashlib.sha256(usedforsecurity=False)
        self._lengths = hashlib.sha256(usedforsecurity=False)

    def update(self, batch: Sequence[str | bytes]) -> None:
        """Add the messages of ``batch``, in order.

        Raises:
            TypeError: a message is neither ``str`` nor ``bytes``.
        """
        try:
            joined = "".join(cast("Sequence[str]", batch)).encode()
            lengths = array("q", map(len, batch))
        except TypeError:
            joined = b"".join([_encoded(message) for message in batch])
            lengths = array("q", [len(m) if isinstance(m, str) else ~len(m) for m in batch])
        if sys.byteorder == "big":
            lengths.byteswap()
        self._payloads.update(joined)
        self._lengths.update(lengths)
        self.count += len(batch)
        self.bytes += len(joined)

    def hexdigest(self) -> str:
        """Return the digest of everything so far as 64 hexadecimal digits; more messages may follow."""
        return hashlib.sha256(self._lengths.digest() + self._payloads.digest(), usedforsecurity=False).hexdigest()


def _encoded(message: object) -> bytes:
    if isinstance(message, str):
        return message.encode()
    if isinstance(message, bytes):
        return message
    msg = f"a message is str or bytes, not {type(message).__name__}"
    raise TypeError(msg)


def _event(path: str | os.PathLike[str], number: int, line: bytes) -> Event:
    try:
        fields = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        raise FeedError(path, number, f"not JSON ({error})") from error
    if not isinstance(fields, dict):
        raise FeedError(path, number, f"an event is a JSON object, not {type(fields).__name__}")
    for name in ("t", "dir"):
        if name not in fields:
            raise FeedError(path, number, f'the field "{name}" is missing')
    t, direction = fields["t"], fields["dir"]
    if isinstance(t, bool) or not isinstance(t, int | float) or not math.isfinite(t):
        raise FeedError(path, number, f'"t" is a number of seconds, not {t!r}')
    if direction not in _DIRECTIONS:
        raise FeedError(path, number, f'"dir" is one of {", ".join(_DIRECTIONS)}, not {direction!r}')
    return Event(float(t), direction, _payload(path, number, fields))


def _payload(path: str | os.PathLike[str], number: int, fields: dict[str, object]) -> str | bytes:
    if "text" in fields and "b64" in fields:
        raise FeedError(path, number, 'an event has "text" or "b64", not both')
    if "text" in fields:
        text = fields["text"]
        if isinstance(text, str):
            return text
        raise FeedError(path, number, f'"text" is a string, not {type(text).__name__}')
    if "b64" not in fields:
        raise FeedError(path, number, 'the field "text" or "b64" is missing')
    encoded = fields["b64"]
    if not isinstance(encoded, str):
        raise FeedError(path, number, f'"b64" is a string, not {type(encoded).__name__}')
    try:
        return base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError) as error:
        raise FeedError(path, number, f'"b64" is not base64 ({error})') from error


_DIRECTIONS: Final = ("open", "send", "recv")
