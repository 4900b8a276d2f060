"""What a connector's own connection sends by itself, as it has no room: it tells nobody of room, but waits with it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

from ._account import Item
from ._interrupt import cut, tell, users_code
from .errors import ConnectionClosed, MaybeSent, NotConnected

if TYPE_CHECKING:
    from ._waiting import Waiting
    from .connector import Wire

__all__ = ["CUT", "GIVEN_UP", "Direct", "may_be_sent"]

CUT = "the connection ended while it was sending it"
"""What is said of a message that such a connection waited for room with."""

GIVEN_UP = "given up while the connector's connection was sending it: it was maybe sent"
"""What the cancellation says of a message that such a connection had."""


def may_be_sent(error: TimeoutError) -> bool:
    """Whether who gave up waiting, by ``asyncio.timeout``, had left the message to a connector's own connection."""
    return error.__context__ is not None and error.__context__.args == (GIVEN_UP,)


class Direct:
    """Messages that such connections are sending.

    Args:
        waiting: Told of what expires meanwhile.
        accepted: Called with each that was sent.

    Attributes:
        tasks: Those of senders who wait for it themselves.
    """

    __slots__ = ("_accepted", "_left", "_waiting", "tasks")

    def __init__(self, waiting: Waiting, accepted: Callable[[Item], None]) -> None:
        self._waiting = waiting
        self._accepted = accepted
        self._left: asyncio.Future[None] | None = None
        self.tasks: frozenset[asyncio.Task[bool]] = frozenset()

    async def until_sent(self, wire: Wire, item: Item) -> bool:
        """Returns when it has sent it, or it has expired.

        Raises:
            NotConnected: It had ended already.
            MaybeSent: It ended meanwhile: it does not say whether before or behind the message.
        """
        if wire.close_info is not None:
            raise NotConnected("nothing was sent: the connection had ended", message=item.message)
        limit = asyncio.timeout_at(item.expires)
        try:
            async with limit:
                with users_code:
                    await wire.send(item.message, item.text)
        except TimeoutError:
            if not limit.expired():
                raise
            self._waiting.expired += 1
            self._waiting.lose(item, "maybe_sent", "it expired while the connection was sending it")
        except ConnectionClosed as error:
            raise MaybeSent(CUT, message=item.message) from error
        else:
            self._accepted(item)
        finally:
            _go_on_ending()
        return True

    async def while_there(self, sending: Coroutine[Any, Any, bool], item: Item) -> bool:
        """What ``sending`` returns. Such a connection may not know that the session is over.

        Raises:
            MaybeSent: It is over.
        """
        loop = asyncio.get_running_loop()
        if self._left is None:
            self._left = loop.create_future()
        left, task = self._left, loop.create_task(sending, name="fastws send")
        self.tasks |= {task}
        try:
            waits: list[asyncio.Future[Any]] = [left, task]
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self.tasks -= {task}
            await cut([task])
        if task.done() and not task.cancelled():
            return task.result()
        raise MaybeSent(CUT, message=item.message)

    def end(self) -> None:
        """The session is over."""
        if self._left is not None:
            tell((self._left,))
            self._left = None


def _go_on_ending() -> None:
    """A cancellation that users' code has swallowed counts all the same: what waits is another session's by now."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError
