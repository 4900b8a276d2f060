"""When to connect again, as ``websockets`` decides it; and the names that older code imports from here."""

from __future__ import annotations

import os
import random
import traceback
from collections.abc import Generator
from typing import TYPE_CHECKING, Any

from fastws.compat._installed import unavailable

from ._adopt import PACKAGE, lazily, original, without_sockets
from .exceptions import InvalidMessage, InvalidStatus

if TYPE_CHECKING:
    from websockets.client import ClientProtocol

__all__ = ["ClientProtocol"]
if original(PACKAGE) is None:
    __all__ = [name for name in __all__ if name != "ClientProtocol"]

BACKOFF_INITIAL_DELAY = float(os.environ.get("WEBSOCKETS_BACKOFF_INITIAL_DELAY", "5"))
BACKOFF_MIN_DELAY = float(os.environ.get("WEBSOCKETS_BACKOFF_MIN_DELAY", "3.1"))
BACKOFF_MAX_DELAY = float(os.environ.get("WEBSOCKETS_BACKOFF_MAX_DELAY", "90.0"))
BACKOFF_FACTOR = float(os.environ.get("WEBSOCKETS_BACKOFF_FACTOR", "1.618"))


def process_exception(exc: Exception) -> Exception | None:
    """Whether connecting again may help after ``exc``: None if so, else the exception to raise.

    It may after errors of the network and of time, after a connection that ended in the handshake, and after the
    statuses 500, 502, 503 and 504.
    """
    return None if _may_pass(exc) else exc


def _may_pass(failure: Exception) -> bool:
    match failure:
        case InvalidStatus(response=answer):
            return answer.status_code in PASSING_STATUSES
        case InvalidMessage(__cause__=cause):
            return isinstance(cause, EOFError)
    return isinstance(failure, OSError)  # TimeoutError too


PASSING_STATUSES = frozenset({500, 502, 503, 504})


def backoff(
    initial_delay: float = BACKOFF_INITIAL_DELAY,
    min_delay: float = BACKOFF_MIN_DELAY,
    max_delay: float = BACKOFF_MAX_DELAY,
    factor: float = BACKOFF_FACTOR,
) -> Generator[float, None, None]:
    """Yields the seconds before each further attempt.

    Args:
        initial_delay: The first is random, up to this (RFC 6455 §7.2.3).
        min_delay: The second.
        max_delay: None is longer.
        factor: Each further one is so many times the one before.
    """
    yield random.random() * initial_delay  # noqa: S311 - it spreads clients in time
    delay = min_delay
    while delay < max_delay:
        yield delay
        delay *= factor
    while True:
        yield max_delay


class Waits:
    """How long an iteration over ``connect`` waits before it connects again.

    Args:
        terms: The ``connect`` with its ``process_exception``, ``reconnect_delays`` and ``logger``.
    """

    def __init__(self, terms: Any) -> None:
        self._terms = terms
        self._delays: Generator[float, None, None] | None = None

    def over(self) -> None:
        """A connection was opened and used: the next delays begin anew."""
        self._delays = None

    def after(self, failure: Exception) -> float:
        """Seconds, which are logged. Raises what ``process_exception`` says where it takes the failure for final."""
        try:
            final = self._terms.process_exception(failure)
        except Exception as raised:  # noqa: BLE001 - raising it means the same as returning it
            final = raised
        if final is failure:
            raise failure
        if final is not None:
            raise final from failure
        if self._delays is None:
            self._delays = self._terms.reconnect_delays()
        seconds = next(self._delays)
        said = traceback.format_exception_only(failure)[0].strip()
        self._terms.logger.info("connect failed; reconnecting in %.1f seconds: %s", seconds, said)
        return seconds


_deprecated, __dir__ = lazily(
    globals(),
    {},
    {"WebSocketClientProtocol": ".legacy.client", "connect": ".legacy.client", "unix_connect": ".legacy.client"},
)


def __getattr__(name: str) -> Any:
    if name != "ClientProtocol":
        return _deprecated(name)
    module = original(__name__)
    if module is None:
        raise unavailable(without_sockets(__name__, name), name)
    return module.ClientProtocol
