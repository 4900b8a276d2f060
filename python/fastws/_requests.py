"""Requests that wait for their answers, and what a change of connections means for them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from typing import Any

from .streams import Stream

__all__ = ["Requests"]


class Requests:
    """The requests of a client that are under way.

    An answer comes on the connection that the request went out on. So a change of connections holds new requests back,
    lets the others be answered, and gives up those that are not in time.
    """

    __slots__ = ("_answered", "_held", "_streams")

    def __init__(self) -> None:
        self._streams: tuple[Stream[Any], ...] = ()
        self._held: asyncio.Future[None] | None = None
        self._answered: asyncio.Future[None] | None = None

    async def may_begin(self) -> None:
        """Waits while a change of connections is under way."""
        while self._held is not None:
            await asyncio.shield(self._held)

    @contextlib.contextmanager
    def under_way(self, answers: Stream[Any]) -> Iterator[None]:
        """A request waits for its answer among ``answers``, which ends if there will be none."""
        self._streams += (answers,)
        try:
            yield
        finally:
            self._streams = tuple(each for each in self._streams if each is not answers)
            if not self._streams and self._answered is not None and not self._answered.done():
                self._answered.set_result(None)

    def hold(self) -> None:
        """No request begins until ``go_on``."""
        if self._held is None:
            self._held = asyncio.get_running_loop().create_future()

    async def answered(self) -> None:
        """Waits until none is under way."""
        if self._streams:
            self._answered = asyncio.get_running_loop().create_future()
            await self._answered

    @property
    def streams(self) -> tuple[Stream[Any], ...]:
        """Where those that are under way wait for their answers."""
        return self._streams

    def give_up(self, streams: tuple[Stream[Any], ...]) -> None:
        """The answers that are awaited among these will not come any more."""
        for answers in streams:
            answers.close()

    def go_on(self) -> None:
        """Requests may begin again."""
        held, self._held = self._held, None
        if held is not None:
            held.set_result(None)
