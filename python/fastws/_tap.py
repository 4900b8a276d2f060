"""What a tap is told of: connections, messages. It only looks: what it raises is logged and reaches nobody."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Any

__all__ = ["Tap", "Tapping"]

Tap = Callable[[str, int, str | bytes], Any]
"""``tap(direction, at_ns, data)``: ``"in"``: a message was received; ``"out"``: a connection accepted one of the user's
or of the subscriptions'; ``"open"``: a connection was opened, and the data is its URI with secrets masked."""

EVERY = 60.0
"""Seconds from one line in the log about a tap to the next."""

log = logging.getLogger("fastws.client")


class Tapping:
    """Calls the tap of a client.

    Args:
        tap: The user's.
    """

    __slots__ = ("_failures", "_quiet_until", "_tap")

    def __init__(self, tap: Tap) -> None:
        self._tap = tap
        self._failures = 0
        self._quiet_until = 0.0

    def __call__(self, direction: str, at_ns: int, data: str | bytes) -> None:
        """Tells it."""
        try:
            self._tap(direction, at_ns, data)
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - whatever it is, the message goes its way
            self._failed(error)

    def sent(self, message: str | bytes, text: bool | None) -> None:
        """A connection accepted a message just now; as it is on the wire, ``str`` if it is text."""
        if text and isinstance(message, bytes):
            message = message.decode("utf-8", "replace")
        elif text is False and isinstance(message, str):
            message = message.encode("utf-8", "replace")
        self("out", time.time_ns(), message)

    def _failed(self, error: BaseException) -> None:
        self._failures += 1
        now = time.monotonic()
        if now >= self._quiet_until:
            self._quiet_until = now + EVERY
            name = getattr(self._tap, "__qualname__", type(self._tap).__qualname__)
            log.warning("the tap %s raised, %d times by now: %r", name, self._failures, error, exc_info=error)
