"""What waits for a connection, or for the rate limit: in which order, until when, and what was given up meanwhile."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

from ._account import Item, Receipt, fail
from .errors import MaybeSent, NotSent, Outcome, Unsent

__all__ = ["Waiting", "loop_time"]

_NONE: deque[Any] = deque(maxlen=0)
"""Nothing waits, for the many of whom that is true; nothing is put into it."""


def loop_time() -> float:
    """The time by the event loop's clock; where none runs, by the monotonic one, which is what loops go by."""
    try:
        return asyncio.get_running_loop().time()
    except RuntimeError:
        return time.monotonic()


class Waiting:
    """Messages that no connection has accepted yet, the urgent ones first.

    Args:
        keep_limit: How many of those that were given up are remembered, until somebody is told of them.
        room: Called when there is room for others, though none was sent.

    Attributes:
        items: The messages, in the order in which they are to leave.
        in_hand: That which a connector's own connection is sending: it does not expire here, nor is it withdrawn.
        expired: How many have expired, here or while they were sent.
    """

    __slots__ = ("_keep_limit", "_lost", "_room", "_timer", "expired", "in_hand", "items")

    def __init__(self, keep_limit: int, room: Callable[[], None]) -> None:
        self._keep_limit = keep_limit
        self._room = room
        # An empty deque takes 760 bytes, and most clients wait for nothing: each is made when it is needed.
        self.items: deque[Item] = _NONE
        self._lost: deque[Unsent] = _NONE
        self._timer: asyncio.TimerHandle | None = None
        self.in_hand: Item | None = None
        self.expired = 0

    # ---- what comes and goes ---------------------------------------------------------------------------------------

    def put(self, item: Item) -> None:
        """It waits behind the others, or behind those that are urgent as well."""
        if self.items is _NONE:
            self.items = deque()
        if item.urgent:
            self.items.insert(sum(1 for each in self.items if each.urgent), item)
        else:
            self.items.append(item)
        if item.expires is not None:
            self._look_at(item.expires)

    def put_back(self, items: Iterable[Item]) -> None:
        """These may be sent again, and wait before all else."""
        self.items = deque((*items, *self.items))
        for item in items:
            if item.expires is not None:
                self._look_at(item.expires)

    def take_out(self, item: Item) -> None:
        """It waits no more; something urgent may have come before it while it was sent."""
        for place, waiting in enumerate(self.items):
            if waiting is item:
                del self.items[place]
                return

    def holds(self, receipt: Receipt) -> bool:
        """Whether the message that the receipt is for waits."""
        return any(item.receipt is receipt for item in self.items)

    def withdraw(self, receipt: Receipt) -> bool:
        """Takes out the message that the receipt is for, if no connection has it."""
        for item in self.items:
            if item.receipt is receipt and item is not self.in_hand:
                self.take_out(item)
                fail(receipt, NotSent("it was withdrawn", message=item.message))
                self._room()
                return True
        return False

    def give_up(self, why: str) -> list[Unsent]:
        """Nothing waits any more. Returns what did."""
        lost = [Unsent(item.message, "not_sent", why) for item in self.items]
        for item in self.items:
            fail(item.receipt, NotSent(why, message=item.message))
        self.items.clear()
        return lost

    # ---- what is given up one by one -------------------------------------------------------------------------------

    def lose(self, item: Item, outcome: Outcome, why: str, cause: BaseException | None = None) -> None:
        """It will not be sent again: who has its receipt hears so now, the others when they are told what was lost."""
        error = (MaybeSent if outcome == "maybe_sent" else NotSent)(why, message=item.message)
        error.__cause__ = cause
        fail(item.receipt, error)
        if self._lost is _NONE:
            self._lost = deque(maxlen=self._keep_limit)
        self._lost.append(Unsent(item.message, outcome, why))

    def take_lost(self) -> tuple[Unsent, ...]:
        """What was lost since this was asked last."""
        lost, self._lost = self._lost, _NONE
        return tuple(lost)

    # ---- what expires ----------------------------------------------------------------------------------------------

    def has_expired(self, item: Item) -> bool:
        """Whether it has; then it is lost."""
        if item.expires is None or item.expires > loop_time():
            return False
        self.expired += 1
        self.lose(item, "failed", "it expired while it waited")
        return True

    def let_expire(self) -> None:
        """Gives up what has expired, wherever it stands."""
        count = len(self.items)
        self.items = deque(item for item in self.items if item is self.in_hand or not self.has_expired(item))
        if len(self.items) < count:  # who waits for room asks for this: to be told of none would wake each other
            self._room()

    def look(self) -> None:
        """Looks for what has expired, now and whenever something is to."""
        if self._timer is None:
            self._on_timer()

    def stop_looking(self) -> None:
        """Nobody is to be told any more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look_at(self, when: float) -> None:
        """Something expires then. Where no loop runs yet, it is looked at when the next session begins."""
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            return
        if self._timer is not None:
            if self._timer.when() <= when:
                return
            self._timer.cancel()
        self._timer = loop.call_at(when, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        if not self.items:
            return
        self.let_expire()
        dues = [item.expires for item in self.items if item.expires is not None and item is not self.in_hand]
        if dues:
            self._look_at(min(dues))
