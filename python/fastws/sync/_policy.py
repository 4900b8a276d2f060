"""What Python decides for a native blocking connection, where that differs from one on an event loop."""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncIterable, Iterable, Mapping
from collections.abc import Set as AbstractSet
from typing import TYPE_CHECKING

from fastws import errors
from fastws._policy import Fragments, closed, late, misuse, no_room, not_finished, not_sendable, open_failed

if TYPE_CHECKING:
    from .connection import Connection

__all__ = [
    "closed",
    "concurrent",
    "iteration_over",
    "late",
    "misuse",
    "no_message",
    "no_room",
    "not_sendable",
    "open_failed",
    "send_other",
]


def iteration_over(ws: Connection) -> Exception:
    """What ends ``for``: a clean end ends it, any other is raised."""
    error = closed(ws)
    return StopIteration() if isinstance(error, errors.ConnectionClosedOK) else error


def concurrent() -> Exception:
    """Two readers at once."""
    return errors.ConcurrencyError(
        "another call is already waiting for a message of this connection; let one thread read and pass messages on"
    )


def no_message(timeout: float) -> TimeoutError:
    """Nothing came within ``timeout`` of ``recv``."""
    return TimeoutError(f"no message within {timeout:g} s")


def send_other(ws: Connection, message: object, text: bool | None, timeout: float | None) -> None:
    """``send`` of what is neither str nor bytes-like: a message in fragments."""
    if isinstance(message, Mapping | AbstractSet):
        raise not_sendable(message)
    if isinstance(message, AsyncIterable):
        raise TypeError("an async iterable needs an event loop: use fastws.connect, or give a plain iterable")
    if not isinstance(message, Iterable):
        raise TypeError(f"a message is str, bytes-like or an iterable of them, not {type(message).__name__}")
    deadline = None if timeout is None else time.monotonic() + timeout
    fragments = Fragments(text)
    begun = False

    def send(piece: object, *, fin: bool) -> None:
        nonlocal begun
        left = None if deadline is None else max(0.0, deadline - time.monotonic())
        has_left = ws._send_fragment(piece, text, fin, left, not begun)
        if has_left is None:
            raise not_finished(timeout, begun=begun)
        begun = not fin
        if fin and not has_left:
            raise late(ws)

    try:
        for piece in message:
            if (ready := fragments.add(piece)) is not None:
                send(ready, fin=False)
        if (ready := fragments.last()) is not None:
            send(ready, fin=True)
    finally:
        if begun:
            # The message cannot be finished, and no other may begin: the connection is of no more use.
            with contextlib.suppress(RuntimeError):
                ws._close(1011, "a message in fragments was given up")
