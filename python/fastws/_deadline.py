"""When a shutdown has to be done, and everything that must not take longer."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Collection
from types import TracebackType
from typing import Any, Self

__all__ = ["Deadline", "Limit"]


class Deadline:
    """The end of all waiting, once it is known. A client has one; none is set until it is to shut down."""

    __slots__ = ("_running", "at")

    def __init__(self) -> None:
        self._running: list[asyncio.Timeout] = []
        self.at: float | None = None
        """The moment, on the loop's clock; None while nobody has set it."""

    def set(self, at: float) -> None:
        """Everything ends at ``at``, on the loop's clock, what has begun too. The earliest moment counts."""
        if self.at is not None and self.at <= at:
            return
        self.at = at
        for timeout in self._running:
            when = timeout.when()
            if not timeout.expired() and (when is None or when > at):
                timeout.reschedule(at)

    @property
    def is_over(self) -> bool:
        """Whether it has passed."""
        return self.at is not None and asyncio.get_running_loop().time() >= self.at

    def clear(self) -> None:
        """There is none: a run begins."""
        self.at = None

    def limit(self, seconds: float | None) -> Limit:
        """``asyncio.timeout(seconds)`` that ends at the deadline at the latest, whenever that is set."""
        return self.until(None if seconds is None else asyncio.get_running_loop().time() + seconds)

    def until(self, moment: float | None) -> Limit:
        """``asyncio.timeout_at(moment)`` that ends at the deadline at the latest, whenever that is set."""
        if self.at is not None:
            moment = self.at if moment is None else min(moment, self.at)
        return Limit(self._running, moment)

    async def wait(self, tasks: Collection[asyncio.Task[Any]], seconds: float | None) -> bool:
        """Waits for tasks, for ``seconds`` and to the deadline at most. Returns whether they have ended."""
        with contextlib.suppress(TimeoutError):
            async with self.limit(seconds):
                await asyncio.wait(tasks)
        return all(task.done() for task in tasks)


class Limit:
    """``asyncio.timeout_at(moment)`` that is among ``running`` while it is, so that others can move it."""

    __slots__ = ("_running", "_timeout")

    def __init__(self, running: list[asyncio.Timeout], moment: float | None) -> None:
        self._running = running
        self._timeout = asyncio.timeout_at(moment)

    def expired(self) -> bool:
        """Whether it took longer."""
        return self._timeout.expired()

    async def __aenter__(self) -> Self:
        await self._timeout.__aenter__()
        self._running.append(self._timeout)
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self._running.remove(self._timeout)
        await self._timeout.__aexit__(exc_type, exc, tb)
