"""The way of one connection's messages into the ring: by the driver's own hand, or through Python one by one."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterator
from itertools import repeat
from typing import TYPE_CHECKING, Any, Final

from ._core import Batch
from ._interrupt import cut, in_a_moment, leave, users_code
from ._parts import Gate, Parts
from .connection import Connection
from .errors import ConnectionClosed, ExtensionError

if TYPE_CHECKING:
    from .connector import Wire
    from .context import ConnectionContext
    from .handshakes import HandshakeMessage

__all__ = ["Intake"]

log = logging.getLogger("fastws.client")

Received = tuple[str | bytes, int, int, int | None]
"""A message, and when it was received."""

NO_TIME: Final = "there was no time left for them"
FAILED: Final = "one of them failed"


class Intake:
    """Brings what a connection receives to the client's streams.

    Where nothing in Python looks at messages, the driver writes them into the ring and this class is not on their way
    (``attach``). Where something does (a tap, an extension, a gate, a connection that is not the driver's), a task
    carries each of them (``start_carrying``).

    Args:
        parts: Of the client.
        wire: The connection.
        over: Called when it gives no more messages, with None, or when something went wrong on our side of it, with
            that. The first call counts.

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
        "_in_hand",
        "_is_attached",
        "_is_between",
        "_is_patient",
        "_is_watched",
        "_left",
        "_native",
        "_no_room",
        "_over",
        "_parts",
        "_past",
        "_rest",
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
        self._rest: Iterator[Received] = iter(())
        self._in_hand: Received | None = None
        self._is_between = False
        self._is_patient = False
        self._hurries = False
        self._stops = False
        self._is_attached = False
        self._is_watched = False
        self._left: asyncio.Task[None] | None = None
        self._past = ""  # why messages go past the extensions, if they do
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
        if self._task is not None or self._is_attached:
            return
        if native is None or self._is_looked_at:
            self.start_carrying([])
            return
        assert self.context is not None, "it was prepared"
        parts.ring._attach(native, self._generation, self.context.connection_id, parts.source)
        self._is_attached = True
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
        try:
            if self._task is not None:
                # It ends by itself, with the last message of a connection that has ended.
                await self._end_of(self._task)
        finally:
            task, self._task = self._task, None
            self._tell_unseen()
            if self._native is not None and task is None:
                self._detach(self._native)
                self.last_received_ns = self._native.received_ns or self.last_received_ns
            self.gate = self.order = None

    def _detach(self, native: Connection) -> None:
        self._is_attached = False
        self._parts.ring._detach(native)

    def _tell_unseen(self) -> None:
        """These could not be shown to the extensions, and that is no reason to lose them."""
        if self._unseen:
            uri, count, self._unseen = self._parts.supervisor.uri, self._unseen, 0
            log.warning("%s: messages that went past the extensions, as %s: %d", uri, self._past, count)

    def push(self, data: str | bytes, received_ns: int, mono_ns: int, kernel_ns: int | None) -> Any:
        """A message for the streams. Returns what to wait for until there is room for another, or None."""
        if self._left is not None:
            self._check_left()
        self.last_received_ns = received_ns
        if self._parts.pusher is not self:  # while two connections bring messages
            self._stamp()
        self._parts.ring._push(data, received_ns, mono_ns, kernel_ns)
        return self._parts.ring._room()

    @property
    def is_carrying(self) -> bool:
        """Whether a message is on its way through Python, or waits there for room: none is taken meanwhile."""
        return self._task is not None and not self._is_between and not self._task.done()

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
            self._detach(self._native)
        self._rest = (
            (message.data, message.received_ns, message.received_mono_ns, message.kernel_ns) for message in unclaimed
        )
        self._task = self._carrier()

    def _carrier(self) -> asyncio.Task[None]:
        """A task that carries the rest of what was taken from the connection, and what comes."""
        task = asyncio.get_running_loop().create_task(self._carry(), name="fastws messages")
        task.add_done_callback(self._carried)
        return task

    async def stop_carrying(self) -> None:
        """Stops that. What has been taken from the connection is delivered, even where there is no room for it."""
        task = self._task
        if task is None:
            return
        self._stops = True
        if self._is_between:
            task.cancel()
        try:
            await self._end_of(task)
        finally:
            self._task = None
            self._tell_unseen()
            self._stops = self._hurries = False
            self._past = ""

    async def _end_of(self, task: asyncio.Task[None]) -> None:
        """Waits for the task that carries messages, which is to end."""
        self._hurry()
        try:
            await self._parts.deadline.wait([task], self._parts.config.close_timeout)
        finally:
            if not task.done():
                await self._cut_short(task)

    async def _cut_short(self, task: asyncio.Task[None]) -> None:
        """The time is up: what was received goes past the extensions, and a hook that hangs is cancelled."""
        self._past = self._past or NO_TIME
        try:
            if self._is_patient:
                task.cancel()
            if not await in_a_moment([task]) and self._is_patient:
                self._leave_behind(task)
                task = self._task = self._carrier()
                await in_a_moment([task])
            await cut([task])  # else its connection gives nothing, and does not say that it has ended
        finally:
            if not task.done():
                self._left = task

    def _leave_behind(self, task: asyncio.Task[None]) -> None:
        """A hook does not end, though it was cancelled: its message goes on, and what is behind that can be carried."""
        leave(task)
        task.remove_done_callback(self._carried)
        self._left, self._is_patient = task, False
        if self._in_hand is not None:
            self._unseen += 1
            self.push(*self._in_hand)

    def _check_left(self) -> None:
        """Ends a task that was left behind: what it would do has been done."""
        if self._left is not None and asyncio.current_task() is self._left:
            raise asyncio.CancelledError

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

    async def _carry(self) -> None:
        """Carries messages to the streams where something in Python looks at each."""
        with users_code:  # a tap, extensions, the connection of a connector of one's own
            await self._carry_all()

    async def _carry_all(self) -> None:
        native = self._native
        batches = native.batches() if native is not None else None
        loop = asyncio.get_running_loop()
        while True:
            for received in self._rest:
                self._in_hand = received
                await self._incoming(*received)
            self._in_hand = None
            if self._stops:
                return
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
                moments = repeat(batch.received_ns), repeat(batch.received_mono_ns), repeat(batch.kernel_ns)
                self._rest = zip(batch, *moments, strict=False)
            else:
                self._parts.received_otherwise += 1
                self._parts.supervisor.update_activity()
                self._rest = iter([(batch, time.time_ns(), time.monotonic_ns(), None)])

    async def _incoming(self, data: str | bytes, received_ns: int, mono_ns: int, kernel_ns: int | None) -> None:
        """Brings a message past everything that looks at it, and waits until there is room for another."""
        parts = self._parts
        order = None if self.order is None else await self._in_line(self.order)
        try:
            if self.gate is not None and not self.gate(data, received_ns, mono_ns, kernel_ns):
                return
            if parts.tap is not None:
                parts.tap("in", received_ns, data)
            if parts.host.handles_messages:
                passed = await self._shown(data)
                if passed is None:
                    return
                data = passed
            room = self.push(data, received_ns, mono_ns, kernel_ns)
        finally:
            if order is not None:
                order.release()
        if room is not None and not self._hurries:
            self._no_room = asyncio.get_running_loop().create_future()
            await asyncio.wait([room, self._no_room], return_when=asyncio.FIRST_COMPLETED)

    async def _in_line(self, order: asyncio.Lock) -> asyncio.Lock | None:
        """Waits for its turn. Returns what is to be released then; None where there is no time for it."""
        if self._past:
            return None
        self._is_patient = True
        try:
            await order.acquire()
        except asyncio.CancelledError:
            if not self._was_cut_short():
                raise
            return None
        finally:
            self._is_patient = False
        return order

    async def _shown(self, data: str | bytes) -> str | bytes | None:
        """What the extensions make of a message; None if one of them keeps it. It is itself where it goes past them."""
        parts = self._parts
        assert self.context is not None, "it was prepared"
        if not self._past and parts.deadline.is_over:
            self._past = NO_TIME
        if not self._past:
            self._is_patient = True
            try:
                return await parts.host.process(data, self.context)
            except asyncio.CancelledError:
                if not self._was_cut_short():
                    raise
            except ExtensionError as error:
                if self._left is None:
                    # It ends the session, in which what was received is delivered all the same.
                    self._past = FAILED
                    self._over(error)
            finally:
                if self._left is not None:
                    self._check_left()
                self._is_patient = False
        self._unseen += 1
        return data

    def _was_cut_short(self) -> bool:
        """Whether it was us, and nobody else, who cancelled what a message waited for."""
        task = asyncio.current_task()
        return bool(self._past) and task is not None and task.uncancel() == 0

    def _carried(self, task: asyncio.Task[None]) -> None:
        if task.cancelled():
            return
        error = task.exception()
        if isinstance(error, ConnectionClosed):
            error = None
        # Else it was stopped, and the connection lives.
        if error is not None or (self._task is task and not self._stops):
            self._over(error)

    def _native_is_over(self, _future: object) -> None:
        if self._task is None:  # else that is not through yet, and will tell
            self._over(None)
