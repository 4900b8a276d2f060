"""Which messages came before."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable

from .errors import ConfigError

__all__ = ["Deduplicator"]


class Deduplicator:
    """Remembers the keys of the last messages.

    Args:
        key: Gets a message's payload, gives something hashable. None: the message is always new.
        window: Keys that are remembered, the oldest forgotten first.
    """

    __slots__ = ("_order", "_seen", "duplicates", "key", "window")

    def __init__(self, key: Callable[[str | bytes], Hashable | None], window: int = 65_536) -> None:
        if isinstance(window, bool) or not isinstance(window, int) or window < 1:
            raise ConfigError(f"window is a number of keys from 1, not {window!r}", field="window")
        self.key = key
        self._seen: set[Hashable] = set()
        self._order: deque[Hashable] = deque()
        self.window = window
        self.duplicates = 0
        """Messages that had come before."""

    def is_new(self, payload: str | bytes) -> bool:
        """Whether no message with this one's key came before; from now on, one has."""
        key = self.key(payload)
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

    def __contains__(self, payload: str | bytes) -> bool:
        return self.key(payload) in self._seen
