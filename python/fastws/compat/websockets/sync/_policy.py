"""What Python decides for a native blocking connection of the drop-in: the exceptions, and messages in fragments."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Protocol

from fastws._policy import not_finished
from fastws.compat.websockets import _policy
from fastws.compat.websockets._fragments import Fragments
from fastws.compat.websockets._policy import misuse, no_room, not_sendable, open_failed, tapped
from fastws.compat.websockets.exceptions import ConcurrencyError, ConnectionClosed, ConnectionClosedOK

if TYPE_CHECKING:
    from .connection import Connection

    class Accept(Protocol):
        """Whether the send queue has taken a piece, within the seconds that are left."""

        def __call__(self, piece: object, left: float | None, *, begins: bool, fin: bool) -> bool: ...


__all__ = [
    "closed",
    "concurrent",
    "iteration_over",
    "misuse",
    "no_message",
    "no_room",
    "not_sendable",
    "open_failed",
    "send_other",
    "tapped",
]

takes_past_deadlines = True
"""``recv(timeout=-1)`` looks for what is here, as in ``websockets``; else it is a ValueError."""


WRITE_LIMIT = 2**16
"""Bytes that may wait to be sent behind a ``send`` that has returned."""


def closed(ws: Connection) -> ConnectionClosed:
    """The exception of reading from or sending on a connection that ends. It says how, so the end is waited for."""
    if ws._state == "closing":
        ws._wait_closed()
    return _policy.closed(ws)


def iteration_over(ws: Connection) -> Exception:
    """What ends ``for``: a clean end ends it, any other is raised."""
    error = closed(ws)
    return StopIteration() if isinstance(error, ConnectionClosedOK) else error


def concurrent() -> Exception:
    """Two readers at once."""
    return ConcurrencyError("cannot call recv while another thread is already running recv or recv_streaming")


def no_message(timeout: float) -> TimeoutError:
    """Nothing came within ``timeout`` of ``recv``."""
    return TimeoutError(f"timed out in {timeout:.1f}s")


def send_other(ws: Connection, message: object, text: bool | None, timeout: float | None) -> None:
    """``send`` of what is neither str nor bytes-like: a message in fragments."""

    def accept(piece: object, left: float | None, *, begins: bool, fin: bool) -> bool:
        return ws._send_fragment(piece, text, fin, left, begins) is not None

    send_fragments(ws, message, timeout, accept)


def send_fragments(ws: Connection, message: object, timeout: float | None, accept: Accept) -> None:
    """A message in fragments, each of which ``accept`` is given as it comes: the whole takes ``timeout`` at most."""
    if isinstance(message, Mapping):
        raise not_sendable(message)
    if not isinstance(message, Iterable):
        raise TypeError("data must be str, bytes, or iterable")
    deadline = None if timeout is None else time.monotonic() + timeout
    fragments = Fragments(ws)
    with contextlib.ExitStack() as turn, _over_after(ws, fragments), fragments:

        def put(piece: object, *, fin: bool) -> None:
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            # The queue takes everything; that there is no room is said by what waits in it.
            is_late = left == 0 and fragments.has_begun and ws._stats()["send_queue_bytes"] > WRITE_LIMIT
            if is_late or not accept(piece, left, begins=not fragments.has_begun, fin=fin):
                assert timeout is not None
                raise not_finished(timeout, begun=fragments.has_begun)
            fragments.has_begun = not fin

        for piece in message:
            fragments.check(piece)
            if not fragments.has_begun:
                turn.enter_context(ws._sending())
            put(piece, fin=False)
        if fragments.has_begun:
            put(fragments.last, fin=True)


@contextlib.contextmanager
def _over_after(ws: Connection, fragments: Fragments) -> Iterator[None]:
    """Waits for the end, where a message cannot be finished: who hears of it finds the connection closed."""
    try:
        yield
    except TimeoutError:
        raise
    except Exception:
        if fragments.has_failed:
            ws._wait_closed()
        raise
