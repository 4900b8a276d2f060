"""What a thread waits for that reads what another one lays down."""

from __future__ import annotations

import contextlib
import threading

__all__ = ["Bell"]


class Bell:
    """Rung when there is news. Whoever waits looks first, waits, and looks again: a ring may be an old one."""

    __slots__ = ("_lock",)

    def __init__(self) -> None:
        self._lock = threading.Lock()  # free: it was rung
        self._lock.acquire()

    def ring(self) -> None:
        """Whoever waits looks again."""
        with contextlib.suppress(RuntimeError):  # it was rung already
            self._lock.release()

    def acquire(self, timeout: float) -> bool:
        """Waits until it is rung, -1: without a limit; handlers of signals run meanwhile. False: it was not."""
        return self._lock.acquire(timeout=timeout)
