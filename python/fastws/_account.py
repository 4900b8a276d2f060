"""What became of the messages that one connection accepted.

The connection numbers what it accepts, whoever sends: handshakes, replayed subscriptions, the user. Messages of the
user's that the kernel has not taken yet are remembered with their numbers, so that at the end each has its outcome.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from .connection import Connection
from .errors import MaybeSent, NotSent, Unsent

__all__ = ["Account", "Item", "Left", "Message", "Receipt", "fail", "succeed"]

Message = str | bytes

Receipt = asyncio.Future[None]
"""Done when the kernel has taken the message. Raises NotSent or MaybeSent if its connection ended before."""


class Item(NamedTuple):
    """A message of the user's, with what was said of it."""

    message: Message
    text: bool | None = None
    expires: float | None = None
    """When it is not to be sent any more, on the loop's clock."""
    receipt: Receipt | None = None
    key: str | None = None
    urgent: bool = False


class Account:
    """The messages of a connection that the kernel has not taken yet."""

    __slots__ = ("_is_watched", "_items", "_native")

    def __init__(self, native: Connection) -> None:
        self._native = native
        self._items: deque[tuple[int, Item]] = deque()
        self._is_watched = False

    def add(self, item: Item) -> None:
        """The connection accepted ``item`` just now, and the kernel has not taken everything."""
        self.settle()
        self._items.append((self._native._unsent[0], item))
        if item.receipt is not None:
            self._watch()

    def settle(self) -> None:
        """Forgets what the kernel has taken by now, and says so where somebody wants to know."""
        accepted, not_begun, begun = self._native._unsent
        written = accepted - not_begun - begun
        while self._items and self._items[0][0] <= written:
            succeed(self._items.popleft()[1].receipt)

    @property
    def is_settled(self) -> bool:
        """Whether the kernel has taken everything by now."""
        self.settle()
        return not self._items

    def when_written(self, tell: Callable[[object], None]) -> None:
        """Calls ``tell`` when the kernel has taken everything accepted by now, or the connection has ended."""

        def written(future: asyncio.Future[None]) -> None:
            if not future.cancelled():
                future.exception()  # that it ended is no error here
            tell(self)

        self._native._written_future().add_done_callback(written)

    def close(self, *, keeps: bool) -> tuple[list[Unsent], list[Item]]:
        """The connection has ended: what was lost, and, if ``keeps``, what another one may send without a risk."""
        self.settle()
        accepted, not_begun, _ = self._native._unsent
        lost: list[Unsent] = []
        kept: list[Item] = []
        for number, item in self._items:
            if number <= accepted - not_begun:
                why = "the connection ended while a part of it was on its way"
                lost.append(Unsent(item.message, "maybe_sent", why))
                fail(item.receipt, MaybeSent(why, message=item.message))
            elif keeps:
                kept.append(item)
            else:
                why = "the connection ended before it was on its way"
                lost.append(Unsent(item.message, "not_sent", why))
                fail(item.receipt, NotSent(why, message=item.message))
        self._items.clear()
        return lost, kept

    def _watch(self) -> None:
        if not self._is_watched:
            self._is_watched = True
            self._native._written_future().add_done_callback(self._written)

    def _written(self, future: asyncio.Future[None]) -> None:
        self._is_watched = False
        if future.cancelled() or future.exception() is not None:
            return  # the connection ended: `close` says what became of the rest
        self.settle()
        if any(item.receipt is not None for _, item in self._items):
            self._watch()


class Left(NamedTuple):
    """What is still to be known of a connection that nothing goes to any more."""

    account: Account | None
    cut: tuple[Unsent, ...]
    """Messages that a connector's own connection was sending."""


def succeed(receipt: Receipt | None) -> None:
    """The kernel has taken it."""
    if receipt is not None and not receipt.done():
        receipt.set_result(None)


def fail(receipt: Receipt | None, error: BaseException) -> None:
    """It was not, or maybe not, sent."""
    if receipt is not None and not receipt.done():
        receipt.set_exception(error)
        receipt.exception()  # whether somebody looks is their affair
