"""The numbers of the system that an opening ended with: asyncio's own errors have them, and so are of a subclass."""

from __future__ import annotations

import socket

from fastws import dial
from fastws.errors import DialError, ProxyError

__all__ = ["not_connected", "not_found"]


def not_found(error: DialError, text: str) -> socket.gaierror:
    """A name that was not found, with the resolver's number."""
    cause: BaseException | None = error
    while isinstance(cause, DialError):  # that of local_addr= is another's cause
        cause = cause.__cause__
    number = cause.errno if isinstance(cause, socket.gaierror) else None
    return socket.gaierror(socket.EAI_NONAME if number is None else number, text)


def not_connected(error: DialError | ProxyError, text: str) -> OSError:
    """With the number that all of the attempts failed with, as ConnectionRefusedError and the like; else with None."""
    numbers = {dial.number(why) for _, why in error.attempts}
    return OSError(numbers.pop() if len(numbers) == 1 else None, text)
