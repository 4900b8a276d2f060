"""Which messages came before."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Hashable

from .errors import ConfigError

__all__ = ["Deduplicator", "MessageKeys"]

log = logging.getLogger("fastws.client")


class MessageKeys:
    """The keys of messages, as a callable of the user's gives them. It never fails.

    Args:
        key: Gets a message's payload, gives something hashable, or None. A message for which it raises, or gives what
            cannot be hashed, has no key; the first such failure is logged.
        name: Whose keys they are, for the log.
    """

    __slots__ = ("_has_failed", "_key", "_name")

    def __init__(self, key: Callable[[str | bytes], Hashable | None], name: str) -> None:
        self._key = key
        self._name = name
        self._has_failed = False

    def __call__(self, payload: str | bytes) -> Hashable | None:
        """The key of a message; None if it has none."""
        try:
            key = self._key(payload)
            hash(key)
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - the user's; it is logged
            self._failed(error)
            return None
        return key

    def _failed(self, error: BaseException) -> None:
        if self._has_failed:
            return
        self._has_failed = True
        log.warning(
            "%s: the key %r failed, which is logged once: %r; a message without a key is never taken for a duplicate",
            self._name,
            self._key,
            error,
            exc_info=error,
        )


class Deduplicator:
    """Remembers the keys of the last messages.

    Args:
        key: Gets a message's payload, gives something hashable. None, or a failure: the message is always new.
        window: Keys that are remembered, the oldest forgotten first.
        name: Whose messages they are, for the log.
    """

    __slots__ = ("_order", "_seen", "duplicates", "key", "window")

    def __init__(
        self, key: Callable[[str | bytes], Hashable | None], window: int = 65_536, name: str = "messages"
    ) -> None:
        if isinstance(window, bool) or not isinstance(window, int) or window < 1:
            raise ConfigError(f"window is a number of keys from 1, not {window!r}", field="window")
        self.key = MessageKeys(key, name)
        """The key of a message; None if it has none."""
        self._seen: set[Hashable] = set()
        self._order: deque[Hashable] = deque()
        self.window = window
        self.duplicates = 0
        """Messages that had come before."""

    def is_new(self, payload: str | bytes) -> bool:
        """Whether no message with this one's key came before; from now on, one has."""
        return self.is_new_key(self.key(payload))

    def is_new_key(self, key: Hashable | None) -> bool:
        """As ``is_new``, of a message whose key is known."""
        if key is None:
            return True
        if key in self._seen:
            self.duplicates += 1
            return False
        self._seen.add(key)
        self._order.append(key)
        if len(self._order) > self.window:
            self._seen.discard(self._order.popleft())
        return True

    def clear(self) -> None:
        """Forgets every key."""
        self._seen.clear()
        self._order.clear()

    def __contains__(self, key: Hashable) -> bool:
        return key in self._seen
