"""How several lines become one: which message is new, and where among the messages no line was ready.

That a line is ready, or is not, is known at once, from its events. Where its session ends is known in its stream only,
and that is read later where streams are slow. So an interval without a ready line, a *break*, is found by events and
marked by position: what was received before it is delivered before it. A line that has come to a break waits until the
others have come to it as well.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from ._interrupt import tell
from .events import Connected, Connecting, Disconnected, DisconnectReason, Event, Ready, Shutdown
from .markers import Down, Outage

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

    from ._core import Message, Ring
    from .client import WebSocketClient
    from .dedupe import Deduplicator, MessageKeys

__all__ = ["Line", "Merger"]


class _Session(NamedTuple):
    """A session of a line whose end the line has not come to.

    Attributes:
        generation: Its number on the line.
        breaks: Breaks before it.
        is_alone: Whether it took over from another one of the line while no other line was ready.
        connection_id: Of the line's connection.
    """

    generation: int
    breaks: int
    is_alone: bool
    connection_id: int


class Line:
    """One line, and how far its messages have come."""

    __slots__ = (
        "cause",
        "client",
        "first",
        "generation",
        "is_dialing",
        "is_ready",
        "key",
        "name",
        "over",
        "received",
        "sessions",
    )

    def __init__(self, name: str, client: WebSocketClient, key: MessageKeys) -> None:
        self.name = name
        self.client = client
        self.key = key
        self.received = 0
        self.first = 0
        self.cause: BaseException | None = None
        self.over: asyncio.Future[None] | None = None
        self.begin()

    def begin(self) -> None:
        """A run begins."""
        self.is_ready = False
        self.is_dialing = False
        self.generation = 0
        """The session of the message that it delivered last."""
        self.sessions: deque[_Session] = deque()
        self.cause = None

    @property
    def is_live(self) -> bool:
        """Whether it is ready, and not between a connection and the one that replaces it."""
        return self.is_ready and self.client._parts.down is None


@dataclass(slots=True)
class _Break:
    """An interval in which no line was ready."""

    number: int
    reason: DisconnectReason
    detected_ns: int
    dials: int
    """Dials before it."""
    down: Down | None = None
    """The marker of its beginning, if that is in the ring."""
    to_ns: int = 0
    """When a line was ready again; 0 if none is."""
    line: Line | None = None
    connection_id: int = 0
    attempts: int = 0
    unrestored: tuple[Any, ...] = ()


class Merger:
    """Puts the messages of several lines into one ring, each once, and marks where no line was ready.

    Args:
        ring: Where the streams read.
        dedupe: Knows what came before.
        lines: All lines.
    """

    __slots__ = (
        "_breaks",
        "_closed",
        "_dedupe",
        "_dials",
        "_generation",
        "_last_received_ns",
        "_lines",
        "_origin",
        "_passed",
        "_ring",
        "_waiters",
    )

    def __init__(self, ring: Ring, dedupe: Deduplicator, lines: Sequence[Line]) -> None:
        self._ring = ring
        self._dedupe = dedupe
        self._lines = lines
        self._generation = 0
        self._last_received_ns = 0
        self._dials = 0
        self._breaks: deque[_Break] = deque()
        """Those that are not marked to their end."""
        self._closed = 0
        """Breaks that ended, as a line was ready again."""
        self._passed = 0
        """Breaks that ended and are marked."""
        self._origin: Hashable = None
        self._waiters: list[asyncio.Future[None]] = []

    def begin(self) -> None:
        """A run begins: nothing has come before."""
        self._dedupe.clear()
        self._origin = None
        for line in self._lines:
            line.begin()

    # ---- what happens to a line, told at once ----------------------------------------------------------------------

    def tell(self, line: Line, event: Event) -> None:
        """Something happened to a line's connection."""
        if isinstance(event, Connecting):
            self._dials += 1
            line.is_dialing = True
        elif not isinstance(event, Connected):
            line.is_dialing = False
            if isinstance(event, Ready):
                self._began(line, event)
            elif isinstance(event, Disconnected | Shutdown):
                self._ended(line)

    def _began(self, line: Line, event: Ready) -> None:
        was_ready, line.is_ready = line.is_ready, True
        is_alone = was_ready and not self._is_another_live(line)
        self._generation = self._generation or 1
        if self._breaks and not self._breaks[-1].to_ns:
            found = self._breaks[-1]
            found.to_ns = time.time_ns()
            found.line, found.connection_id = line, event.id
            found.attempts = self._dials - found.dials
            found.unrestored = line.client.subscriptions.unrestored()
            self._closed += 1
            is_alone = False
        line.sessions.append(_Session(event.generation, self._closed, is_alone, event.id))
        self._settle()

    def _ended(self, line: Line) -> None:
        down = line.client._parts.down
        if not line.is_ready or (down is None and line.client.is_running):
            return  # it was not ready; or a connection ended that another one had replaced
        line.is_ready = False
        if self._is_another_live(line) or (self._breaks and not self._breaks[-1].to_ns):
            return
        self._breaks.append(
            _Break(
                number=self._closed,
                reason=down.reason if down is not None else DisconnectReason("shutdown"),
                detected_ns=down.detected_ns if down is not None else time.time_ns(),
                # One that is under way belongs to those that it takes.
                dials=self._dials - sum(each.is_dialing for each in self._lines),
            )
        )
        self._settle()

    def _is_another_live(self, line: Line) -> bool:
        return any(other.is_live for other in self._lines if other is not line)

    # ---- what comes out of a line's stream, in its order -----------------------------------------------------------

    async def reach(self, line: Line, generation: int) -> None:
        """Waits until messages of a session may be delivered: no line has any from before the break before it."""
        self.passed(line, generation - 1)
        line.generation = generation
        while line.sessions and line.sessions[0].breaks > self._passed:
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiters.append(waiter)
            await waiter

    def deliver(self, line: Line, message: Message[str | bytes]) -> None:
        """A message of the session that was reached."""
        line.received += 1
        self._last_received_ns = max(self._last_received_ns, message.received_ns)
        if not self._dedupe.is_new_key(line.key(message.data)):
            return
        line.first += 1
        self._begin(line, message.connection_id)
        self._ring._push(message.data, message.received_ns, message.received_mono_ns, message.kernel_ns)

    async def replaced(self, line: Line, outage: Outage) -> None:
        """Another session begins. Where it took over without proof, and no other line was ready, messages may lack."""
        await self.reach(line, outage.new_generation)
        if not line.sessions or not line.sessions[0].is_alone:
            return
        self._mark_outage(
            self._mark_down(outage.reason, outage.detected_ns),
            line,
            line.sessions[0].connection_id,
            outage.to_ns,
            outage.attempts,
            outage.unrestored,
        )

    def passed(self, line: Line, generation: int = sys.maxsize) -> None:
        """A line has come to the end of its session, and of those before it."""
        while line.sessions and line.sessions[0].generation <= generation:
            line.sessions.popleft()
        self._settle()

    # ---- inside ----------------------------------------------------------------------------------------------------

    def _settle(self) -> None:
        """Marks what every line has come to."""
        while self._breaks:
            found = self._breaks[0]
            if any(line.sessions and line.sessions[0].breaks <= found.number for line in self._lines):
                return
            if found.down is None:
                found.down = self._mark_down(found.reason, found.detected_ns)
            if found.line is None:
                return
            self._mark_outage(
                found.down, found.line, found.connection_id, found.to_ns, found.attempts, found.unrestored
            )
            self._breaks.popleft()
            self._passed += 1
            waiters, self._waiters = self._waiters, []
            tell(waiters)

    def _mark_down(self, reason: DisconnectReason, detected_ns: int) -> Down:
        down = Down(
            generation=self._generation,
            last_received_ns=self._last_received_ns,
            detected_ns=detected_ns,
            reason=reason,
        )
        self._ring._mark(down)
        return down

    def _mark_outage(
        self, down: Down, line: Line, connection_id: int, to_ns: int, attempts: int, unrestored: tuple[Any, ...]
    ) -> None:
        self._generation += 1
        self._last_received_ns = 0
        self._begin(line, connection_id)
        self._ring._mark(
            Outage(
                from_ns=down.last_received_ns,
                detected_ns=down.detected_ns,
                to_ns=to_ns,
                reason=down.reason,
                old_generation=down.generation,
                new_generation=self._generation,
                attempts=attempts,
                unrestored=unrestored,
            )
        )

    def _begin(self, line: Line, connection_id: int) -> None:
        """What is put into the ring from now on came over this connection."""
        origin = (self._generation, connection_id, line.name)
        if origin != self._origin:
            self._origin = origin
            self._ring._begin(*origin)
