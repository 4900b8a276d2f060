"""The way of one connection's messages into the ring: by the driver's own hand, or through Python one by one."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ._core import Batch
from ._interrupt import users_code
from ._parts import Gate, Parts
from .connection import Connection
from .errors import ConnectionClosed

if TYPE_CHECKING:
    from .connector import Wire
    from .context import ConnectionContext
    from .handshakes import HandshakeMessage

__all__ = ["Intake"]

log = logging.getLogger("fastws.client")


class Intake:
    """Brings what a connection receives to the client's streams.

    Where nothing in Python looks at messages, the driver writes them into the ring and this class is not on their way
    (``attach``). Where something does (a tap, an extension, a gate, a connection that is not the driver's), a task
    carries each of them (``start_carrying``).

    Args:
        parts: Of the client.
        wire: The connection.
        over: Called once when it gives no more messages: with None, or with what went wrong on our side of it.

    Attributes:
        context: For extensions; the connection's id is in it. It is there as soon as the session is prepared.
        gate: Asked before anything else whether a message goes on, if there is one.
        order: Held by a message from the gate to the ring, where two connections bring the same ones.
        last_received_ns: When the last message was received, in nanoseconds since the epoch.
        waits_since: When the task began to wait for what it took last, on the loop's clock.
    """

    __slots__ = (
        "_generation",
        "_hurries",
        "_is_between",
        "_is_watched",
        "_native",
        "_no_room",
        "_over",
        "_parts",
        "_stops",
        "_task",
        "_unseen",
        "_wire",
        "context",
        "gate",
        "last_received_ns",
        "order",
        "waits_since",
    )

    def __init__(self, parts: Parts, wire: Wire, over: Callable[[BaseException | None], None]) -> None:
        self._parts = parts
        self._wire = wire
        self._native = wire if isinstance(wire, Connection) else None
        self._over = over
        self._task: asyncio.Task[None] | None = None
        self._generation = 0
        self._is_between = False
        self._hurries = False
        self._stops = False
        self._is_watched = False
        self._unseen = 0
        self._no_room: asyncio.Future[None] | None = None
        self.context: ConnectionContext | None = None
        self.gate: Gate | None = None
        self.order: asyncio.Lock | None = None
        self.last_received_ns = 0
        self.waits_since = 0.0

    def begin(self, generation: int) -> None:
        """What is received from now on is of the session with this number."""
        self._generation = generation
        self._stamp()

    def _stamp(self) -> None:
        """What is pushed from now on is this connection's."""
        assert self.context is not None, "it was prepared"
        self._parts.pusher = self
        self._parts.ring._begin(self._generation, self.context.connection_id, self._parts.source)

    def attach(self) -> None:
        """Lets messages go to the streams without passing through Python, where that is possible."""
        native, parts = self._native, self._parts
        if self._task is not None:
            return
        if native is None or self._is_looked_at:
            self.start_carrying([])
            return
        assert self.context is not None, "it was prepared"
        parts.ring._attach(native, self._generation, self.context.connection_id, parts.source)
        if not self._is_watched:
            self._is_watched = True
            native._over_future().add_done_callback(self._native_is_over)

    def open(self, unclaimed: list[HandshakeMessage]) -> None:
        """Brings what the handshake left over, then everything else."""
        if self._is_looked_at:
            self.start_carrying(unclaimed)
            return
        for message in unclaimed:
            self.push(message.data, message.received_ns, message.received_mono_ns, message.kernel_ns)
        self.attach()

    async def close(self) -> None:
        """Everything that was received is in the ring; the connection has ended."""
        task = self._task
        if task is not None:
            # It ends by itself, with the last message of a connection that has ended.
            self._hurry()
            await self._waited_for(task)
            if self._task is task:
                await self.stop_carrying()
                self._tell_unseen()
                self.gate = self.order = None
                return
        if self._native is not None:
            self._parts.ring._detach(self._native)
            self.last_received_ns = self._native.received_ns or self.last_received_ns
        self.gate = self.order = None

    def _tell_unseen(self) -> None:
        """There was no time to show these to the extensions, and they are no reason to lose them."""
        if self._unseen:
            uri, count, self._unseen = self._parts.supervisor.uri, self._unseen, 0
            log.warning("%s: %d messages went past the extensions: the time for the shutdown was over", uri, count)

    def push(self, data: str | bytes, received_ns: int, mono_ns: int, kernel_ns: int | None) -> Any:
        """A message for the streams. Returns what to wait for until there is room for another, or None."""
        self.last_received_ns = received_ns
        if self._parts.pusher is not self:  # while two connections bring messages
            self._stamp()
        self._parts.ring._push(data, received_ns, mono_ns, kernel_ns)
        return self._parts.ring._room()

    @property
    def is_carrying(self) -> bool:
        """Whether a message is on its way through Python, or waits there for room: none is taken meanwhile."""
        return self._task is not None and not self._is_between

    def is_own_task(self) -> bool:
        """Whether the task that carries messages is the one that runs: an extension's hook asks."""
        return self._task is not None and asyncio.current_task() is self._task

    # ---- through Python --------------------------------------------------------------------------------------------

    @property
    def _is_looked_at(self) -> bool:
        return self.gate is not None or self._parts.tap is not None or self._parts.host.handles_messages

    def start_carrying(self, unclaimed: list[HandshakeMessage]) -> None:
        """Lets messages pass through Python, if they do not yet."""
        if self._task is not None:
            return
        if self._native is not None:
            self._parts.ring._detach(self._native)
        self._task = asyncio.get_running_loop().create_task(self._carry(unclaimed), name="fastws messages")
        self._task.add_done_callback(self._carried)

    async def stop_carrying(self) -> None:
        """Stops that. What has been taken from the connection is delivered, even where there is no room for it."""
        task, self._task = self._task, None
        if task is None or task.done():
            return
        self._stops = True
        self._hurry()
        if self._is_between:
            task.cancel()
        if not await self._waited_for(task):
            log.warning("%s: an extension held up the end of a session", self._parts.supervisor.uri)
            task.cancel()
            await asyncio.wait([task])
        self._stops = self._hurries = False

    async def _waited_for(self, task: asyncio.Task[None]) -> bool:
        """Whether it is done in time."""
        with contextlib.suppress(TimeoutError):
            async with self._parts.deadline.limit(self._parts.config.close_timeout):
                await asyncio.wait([task])
        return task.done()

    def carry_no_more(self) -> None:
        """Messages need not pass through Python any more."""
        task = self._task
        if task is None or self._is_looked_at or self._native is None:
            return
        self._stops = True
        if self._is_between:
            task.cancel()
        task.remove_done_callback(self._carried)
        task.add_done_callback(self._attach_after)

    def _attach_after(self, task: asyncio.Task[None]) -> None:
        self._stops = False
        if self._task is task and (task.cancelled() or task.exception() is None):
            self._task = None
            self.attach()
        else:
            self._carried(task)

    def _hurry(self) -> None:
        """Whoever carries messages does not wait for room any more."""
        self._hurries = True
        if self._no_room is not None and not self._no_room.done():
            self._no_room.set_result(None)

    async def _carry(self, unclaimed: list[HandshakeMessage]) -> None:
        """Carries messages to the streams where something in Python looks at each."""
        with users_code:  # a tap, extensions, the connection of a connector of one's own
            await self._carry_all(unclaimed)

    async def _carry_all(self, unclaimed: list[HandshakeMessage]) -> None:
        for message in unclaimed:
            await self._incoming(message.data, message.received_ns, message.received_mono_ns, message.kernel_ns)
        native = self._native
        batches = native.batches() if native is not None else None
        loop = asyncio.get_running_loop()
        while not self._stops:
            # Silence is counted from here: nothing could be heard while a message waited for room.
            self.waits_since = loop.time()
            self._is_between = True
            try:
                batch = await (anext(batches) if batches is not None else self._wire.recv())
            except StopAsyncIteration:
                return
            finally:
                self._is_between = False
            if isinstance(batch, Batch):
                for data in batch:
                    await self._incoming(data, batch.received_ns, batch.received_mono_ns, batch.kernel_ns)
            else:
                self._parts.received_otherwise += 1
                self._parts.supervisor.update_activity()
                await self._incoming(batch, time.time_ns(), time.monotonic_ns(), None)

    async def _incoming(self, data: str | bytes, received_ns: int, mono_ns: int, kernel_ns: int | None) -> None:
        if self.order is None:
            room = await self._bring(data, received_ns, mono_ns, kernel_ns)
        else:
            async with self.order:
                room = await self._bring(data, received_ns, mono_ns, kernel_ns)
        if room is not None and not self._hurries:
            self._no_room = asyncio.get_running_loop().create_future()
            await asyncio.wait([room, self._no_room], return_when=asyncio.FIRST_COMPLETED)

    async def _bring(self, data: str | bytes, received_ns: int, mono_ns: int, kernel_ns: int | None) -> Any:
        """Brings a message past everything that looks at it. Returns what ``push`` does; None if it was kept."""
        parts = self._parts
        if self.gate is not None and not self.gate(data, received_ns, mono_ns, kernel_ns):
            return None
        if parts.tap is not None:
            parts.tap("in", received_ns, data)
        if parts.host.handles_messages and parts.deadline.is_over:
            self._unseen += 1
        elif parts.host.handles_messages:
            assert self.context is not None, "it was prepared"
            passed = await parts.host.process(data, self.context)
            if passed is None:
                return None
            data = passed
        return self.push(data, received_ns, mono_ns, kernel_ns)

    def _carried(self, task: asyncio.Task[None]) -> None:
        if task.cancelled():
            return
        error = task.exception()
        if isinstance(error, ConnectionClosed):
            error = None
        if error is not None or self._task is task:  # else it was stopped, and the connection lives
            self._over(error)

    def _native_is_over(self, _future: object) -> None:
        if self._task is None:  # else that is not through yet, and will tell
            self._over(None)
