"""The resolver's numbers that an opening ended with: errors of asyncio's have them."""

from __future__ import annotations

import socket

from fastws.errors import DialError

__all__ = ["not_found"]


def not_found(error: DialError, text: str) -> socket.gaierror:
    """A name that was not found, with the resolver's number."""
    cause: BaseException | None = error
    while isinstance(cause, DialError):  # that of local_addr= is another's cause
        cause = cause.__cause__
    number = cause.errno if isinstance(cause, socket.gaierror) else None
    return socket.gaierror(socket.EAI_NONAME if number is None else number, text)
