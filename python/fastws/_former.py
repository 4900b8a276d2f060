"""A session that another one has replaced: it closes beside that one, and what became of it is told when it has."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from ._account import Left
from ._interrupt import Interrupt, Interrupted, ended, tell
from .events import Disconnected

if TYPE_CHECKING:
    from ._parts import End, Parts
    from .session import Session

__all__ = ["Former"]


class Former:
    """What is still to be done for a session that another one has replaced, and to be known of it.

    It is made when nothing goes to that session any more. What was queued on its connection leaves with its Close, or
    does not. The successor keeps it to its own end; the session is held only while it closes.

    Args:
        parts: Of the client.

    Attributes:
        gone: Done when it is closed, and everything that was received is the streams'.
    """

    __slots__ = ("_closing", "_left", "_parts", "_patience", "_unanswered", "gone")

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._left = parts.outbox.detach()
        self._unanswered = tuple(each for each in parts.requests.under_way_now if not parts.outbox.holds(each[1]))
        self._patience = Interrupt()
        self._closing: asyncio.Task[None] | None = None
        self.gone: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def begin(self, session: Session, end: End) -> None:
        """Ends the session: from now on it closes, while its successor runs."""
        session.end(end)
        self._closing = asyncio.get_running_loop().create_task(self._close(session, end), name="fastws closing")

    async def let_go(self, *, at_once: bool = False) -> None:
        """Waits until it is closed: nothing of it is to come behind the end of its successor."""
        assert self._closing is not None, "it has begun"
        if at_once:
            self._patience.request()
        await ended([self._closing])
        self._closing.result()

    async def _close(self, session: Session, end: End) -> None:
        """It closes, and nobody misses it."""
        session.stop_watching()
        try:
            try:
                await self._patience.wait(session.close_politely())
            except Interrupted:
                session.abort("the connection that replaced it has ended")
            await session.let_former_go(at_once=True)
        finally:
            await self._account_for(session, end)

    async def _account_for(self, session: Session, end: End) -> None:
        parts, left, unanswered = self._parts, self._left, self._unanswered
        self._left, self._unanswered = Left(None, ()), ()  # they hold its connection
        # Only now it is known what became of what was queued on it.
        unsent = tuple(parts.outbox.settle(left))
        unanswered = tuple(each for each in unanswered if not parts.outbox.holds(each[1]))
        try:
            await session.intake.close()
        finally:
            session.release(end.cause)
            parts.requests.give_up(unanswered, parts.outbox)
            parts.supervisor.hub.publish(Disconnected(end.reason, unsent), is_state=False)
            tell((self.gone,))
