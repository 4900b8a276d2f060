"""Who waits for room: first come first served, and only who is first is woken."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any, NamedTuple

from ._interrupt import tell

__all__ = ["Turns"]

_NONE: deque[Any] = deque(maxlen=0)
"""Nobody waits, for the many of whom that is true."""


class _Place(NamedTuple):
    turn: asyncio.Future[None]
    urgent: bool


class Turns:
    """The line of those who wait. What is urgent is in front of what is not.

    Attributes:
        places: Of all of them, the first included that was told to look and has not yet.
    """

    __slots__ = ("places",)

    def __init__(self) -> None:
        self.places: deque[_Place] = _NONE

    async def wait(self, *, urgent: bool, again: bool = False) -> None:
        """Waits for one's turn; ``again``: it has come, and there was no room.

        Whose turn it was calls ``offer`` when it needs no room any more, whatever became of it.
        """
        place = _Place(asyncio.get_running_loop().create_future(), urgent)
        if self.places is _NONE:
            self.places = deque()
        count = sum(1 for each in self.places if each.urgent)
        self.places.insert(0 if again and urgent else count if again or urgent else len(self.places), place)
        try:
            await place.turn
        finally:
            self.places.remove(place)
            if not self.places:
                self.places = _NONE

    def offer(self) -> None:
        """There may be room: the first looks."""
        if self.places:
            tell((self.places[0].turn,))
