"""What Python decides for a native blocking connection of the drop-in: the exceptions, and messages in fragments."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from fastws._policy import not_finished
from fastws.compat.websockets import _policy
from fastws.compat.websockets._policy import misuse, no_room, not_sendable, open_failed, tapped
from fastws.compat.websockets.exceptions import ConcurrencyError, ConnectionClosed, ConnectionClosedOK

from ._modes import Sending

if TYPE_CHECKING:
    from .connection import Connection

__all__ = [
    "closed",
    "concurrent",
    "iteration_over",
    "misuse",
    "no_room",
    "not_sendable",
    "open_failed",
    "send_other",
    "tapped",
]

takes_past_deadlines = True
"""``recv(timeout=-1)`` looks for what is here, as in ``websockets``; else it is a ValueError."""


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


def send_other(ws: Connection, message: object, text: bool | None, timeout: float | None) -> None:
    """``send`` of what is neither str nor bytes-like: a message in fragments, each sent as the iterable gives it."""
    if isinstance(message, Mapping) or not isinstance(message, Iterable):
        raise not_sendable(message)
    pieces = iter(message)
    try:
        piece = next(pieces)
    except StopIteration:
        return
    kind: type | tuple[type, ...] = str if isinstance(piece, str) else (bytes, bytearray, memoryview)
    if not isinstance(piece, kind):
        _give_up(ws)
        raise TypeError("iterable must contain bytes or str")
    ws._enter(Sending)
    is_whole = False
    try:
        _send_fragment(ws, piece, text, timeout)
        for piece in pieces:
            if not isinstance(piece, kind):
                raise TypeError("iterable must contain uniform types")
            _send_fragment(ws, piece, text, timeout)
        # Nobody knows before that it was the last.
        _send_fragment(ws, "" if kind is str else b"", text, timeout, fin=True)
        is_whole = True
    finally:
        ws._leave(Sending)
        if not is_whole:
            _give_up(ws)


def _send_fragment(
    ws: Connection, piece: object, text: bool | None, timeout: float | None, *, fin: bool = False
) -> None:
    if not ws._send_fragment(piece, text, fin, timeout):
        raise not_finished(timeout, begun=True)


def _give_up(ws: Connection) -> None:
    """The message cannot be finished, and no other may begin: the connection is of no more use."""
    with contextlib.suppress(Exception):
        ws._close(1011, "error in fragmented message")
