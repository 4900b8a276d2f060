"""One connection of a client, from its upgrade to its end: handshake, subscriptions, messages, timers, the account."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ._account import Account
from ._core import Batch
from ._parts import End, Gate, Over, Parts
from ._policy import OK_CODES, closed_by
from .connection import Connection
from .context import ConnectionContext
from .errors import (
    ClientStopped,
    CloseInfo,
    ConnectionClosed,
    DataTimeout,
    ExtensionError,
    FastwsError,
    HandshakeTimeout,
    KeepaliveTimeout,
    ReceiveTimeout,
)
from .events import Disconnected, DisconnectReason
from .handshakes import HandshakeChannel, HandshakeMessage, perform
from .markers import Down, Outage
from .rate import Pacer, Priority

if TYPE_CHECKING:
    from .connector import Wire
    from .handshakes.channel import TimeLimit

__all__ = ["NO_INFO", "Session"]

log = logging.getLogger("fastws.client")

BLOCKED_FOR = 5.0
"""Seconds after which a stream that is not read is named."""

GRACE = 0.05
"""Seconds between the suspicion of silence and the verdict, at most: what the kernel holds is read first."""


class Session:
    """One session."""

    __slots__ = (
        "_began",
        "_blocked",
        "_blocker",
        "_context",
        "_data_at",
        "_end",
        "_generation",
        "_heard",
        "_hurries",
        "_is_between",
        "_is_down",
        "_is_old",
        "_is_watched",
        "_last_received_ns",
        "_native",
        "_no_room",
        "_on_ready",
        "_pacer",
        "_parts",
        "_pump",
        "_stable",
        "_stops",
        "_suspected",
        "_timer",
        "account",
        "connection_id",
        "gate",
        "is_finishing",
        "wire",
    )

    def __init__(self, parts: Parts, wire: Wire, on_ready: Callable[[], None]) -> None:
        self._parts = parts
        self._on_ready = on_ready
        self.wire = wire
        self._native = wire if isinstance(wire, Connection) else None
        if self._native is not None:
            parts.opened(self._native)
        self._pacer = Pacer(parts.rate_limit) if parts.rate_limit is not None else None
        self._context: ConnectionContext | None = None
        self._end: asyncio.Future[End] = asyncio.get_running_loop().create_future()
        self._pump: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._generation = 0
        self._began = self._heard = self._data_at = asyncio.get_running_loop().time()
        self._last_received_ns = 0
        self._suspected = False
        self._stable = False
        self._is_between = False
        self._hurries = False
        self._stops = False
        self._is_watched = False
        self._is_old = False
        self._is_down = False
        self._no_room: asyncio.Future[None] | None = None
        self.connection_id = 0
        self.gate: Gate | None = None
        self.is_finishing = False
        self.account: Account | None = None
        self._blocked: tuple[tuple[int, int], float] | None = None
        self._blocker: str | None = None

    # ---- the whole of it -------------------------------------------------------------------------------------------

    async def run(self, shutdown_deadline: Callable[[], float]) -> Over:
        """Runs until the connection ends, or another one has taken over.

        Raises:
            ClientStopped: ``shutdown`` was called; the connection is closed by then.
        """
        parts = self._parts
        attempt = parts.supervisor.state.attempts
        try:
            unclaimed = await parts.supervisor.wait(self._begin(attempt))
            if parts.supervisor.is_shutdown_requested:  # in the very turn in which the handshake ended
                raise ClientStopped(f"{self.uri}: the client was shut down")
        except ClientStopped:
            await self._close(1001, "the client is shutting down", shutdown_deadline())
            await self._not_ready(_reason("shutdown", None, ClientStopped("shut down")))
            raise
        except asyncio.CancelledError:
            await self._close(1001, "the client was cancelled", shutdown_deadline())
            await self._not_ready(_reason("shutdown", None, asyncio.CancelledError()))
            raise
        except Exception as error:  # noqa: BLE001 - the strategy is asked, whatever it is
            if parts.redactor is not None:
                parts.redactor.error(error)
            reason = _reason("handshake", self._masked(self.wire.close_info), error)
            await self._close(1000, "", asyncio.get_running_loop().time() + 1)
            await self._not_ready(reason)
            final = isinstance(error, ExtensionError) and parts.host.policy == "fatal"
            return Over(parts.supervisor.failure(error, "handshake"), final)
        self._ready(unclaimed)
        return await self.drive(shutdown_deadline)

    async def _not_ready(self, reason: DisconnectReason) -> None:
        """It ended before it was ready; extensions may have had their ``on_connect`` nevertheless."""
        self._parts.supervisor.mark_disconnected(reason)
        if self._context is not None:
            await self._parts.host.notify_disconnect(self._context, reason)

    async def pace(self, priority: Priority) -> None:
        """Waits for a token of the rate limit, if there is one."""
        if self._pacer is not None:
            await self._pacer.acquire(priority)

    def note_activity(self) -> None:
        """Lets the client's state know when something came last."""
        if self._native is not None and self._generation:
            self._parts.supervisor.state.update_activity(time.monotonic() - self._native._silence)

    @property
    def is_ending(self) -> bool:
        """Whether its end is decided."""
        return self._end.done()

    def ended(self) -> asyncio.Future[End]:
        """A future that is done when its end is decided; cancelling it changes nothing."""
        return asyncio.shield(self._end)

    async def give_up(self) -> None:
        """Closes a connection that never became the client's; by force if there is no time for it."""
        try:
            await self.stop_carrying()
            await self._close(1001, "", asyncio.get_running_loop().time() + 1)
        except BaseException:
            self._abort("it never became the client's")
            raise
        finally:
            if self._native is not None:
                self._parts.settle(self._native)

    async def finish(self, reason: DisconnectReason) -> None:
        """Receives what is on the way, and marks the end: another session takes over, but not seamlessly."""
        self.is_finishing = True
        limit = min(self._parts.config.close_timeout, 2)
        await self._close(1000, "", asyncio.get_running_loop().time() + limit)
        await self._stop_receiving()
        self._mark_down(reason)

    def is_own_task(self) -> bool:
        """Whether the task that carries messages is the one that runs: an extension's hook asks."""
        return self._pump is not None and asyncio.current_task() is self._pump

    def look_whether_over(self) -> None:
        """Ends, if the connection has ended and nobody took note."""
        if self.wire.close_info is not None:
            self._over(None)

    def bring(self, data: str | bytes, received_ns: int, mono_ns: int, kernel_ns: int | None) -> None:
        """A message for the streams that was held."""
        self._push(data, received_ns, mono_ns, kernel_ns)

    def carry_no_more(self) -> None:
        """Messages need not pass through Python any more."""
        if self._pump is None or self._looks_at_messages or self._native is None or self.is_ending:
            return
        pump = self._pump
        self._stops = True
        if self._is_between:
            pump.cancel()
        pump.remove_done_callback(self._carried)
        pump.add_done_callback(self._attach_after)

    def _attach_after(self, pump: asyncio.Task[None]) -> None:
        self._stops = False
        if self._pump is pump:
            self._pump = None
        if not pump.cancelled() and pump.exception() is not None:
            self._carried(pump)
        elif not self.is_ending:
            self.attach()

    def end(self, end: End) -> None:
        """Ends the session: the first reason counts."""
        if not self._end.done():
            if self._blocker is not None and isinstance(end.cause, FastwsError):
                end.cause.context(self._blocker)
            self._end.set_result(end)

    # ---- before it is ready ----------------------------------------------------------------------------------------

    async def _begin(self, attempt: int) -> list[HandshakeMessage]:
        unclaimed = await self.prepare(self._parts.supervisor.state.id, attempt)
        await self.announce_to_extensions()
        return unclaimed

    async def announce_to_extensions(self) -> None:
        """``on_connect`` of the extensions."""
        assert self._context is not None, "it was prepared"
        await self._parts.host.notify_connect(self._context)

    async def prepare(self, connection_id: int, attempt: int) -> list[HandshakeMessage]:
        """The application's handshake and the subscriptions. Returns the messages that nobody claimed."""
        parts = self._parts
        state = parts.supervisor.state
        self.connection_id = connection_id
        self._context = ConnectionContext(
            connection_id=connection_id,
            reconnect_count=state.reconnect_count,
            attempt=attempt,
            metadata=dict(parts.metadata) if parts.metadata else {},
        )
        pacer = self._pacer
        channel = HandshakeChannel(
            self.wire, pace=None if pacer is None else functools.partial(pacer.acquire, Priority.HANDSHAKE)
        )
        await self._shake_hands(channel)
        if len(parts.subscriptions):
            await parts.subscriptions.restore(channel, parts.config.restore_timeout)
        return channel.unclaimed

    async def _shake_hands(self, channel: HandshakeChannel) -> None:
        handshaker, limit = self._parts.handshaker, self._parts.config.handshake_timeout
        assert self._context is not None
        scope: TimeLimit | None = None
        try:
            async with channel.limit(limit) as scope:
                await perform(handshaker, channel, self._context)
        except TimeoutError as error:
            if scope is None or not scope.expired():
                raise
            raise HandshakeTimeout(
                f"not done within {limit:g} s (handshake_timeout)", handshaker=handshaker.name, timeout=limit
            ) from error

    def _ready(self, unclaimed: list[HandshakeMessage]) -> None:
        """Everything is restored: from here on messages flow."""
        self.take_place(self._parts.supervisor.mark_ready())
        if self._looks_at_messages:
            self.start_carrying(unclaimed)
        else:
            for message in unclaimed:
                self._push(message.data, message.received_ns, message.received_mono_ns, message.kernel_ns)
            self.attach()
        self.go_live()

    def take_place(self, generation: int) -> None:
        """What is received from now on is of this session."""
        parts = self._parts
        self._began = self._heard = self._data_at = asyncio.get_running_loop().time()
        self._generation = generation
        parts.ring._begin(generation, self.connection_id, parts.source)
        if parts.down is not None:
            parts.ring._mark(self._outage(parts.down))
            parts.down = None

    def go_live(self) -> None:
        """It sends, it is watched, and everybody hears that it is ready."""
        parts = self._parts
        parts.outbox.begin(self.wire, self._pacer)
        self._tick()
        parts.supervisor.announce_ready()
        self._on_ready()
        parts.subscriptions.session_began()

    def attach(self) -> None:
        """Lets messages go to the streams without passing through Python, where that is possible."""
        native, parts = self._native, self._parts
        if self._pump is not None:
            return
        if native is None or self._looks_at_messages:
            self.start_carrying([])
            return
        parts.ring._attach(native, self._generation, self.connection_id, parts.source)
        if not self._is_watched:
            self._is_watched = True
            native._over_future().add_done_callback(self._over)

    def start_carrying(self, unclaimed: list[HandshakeMessage]) -> None:
        """Lets messages pass through Python, if they do not yet."""
        if self._pump is not None:
            return
        if self._native is not None:
            self._parts.ring._detach(self._native)
        self._pump = asyncio.get_running_loop().create_task(self._carry(unclaimed), name="fastws messages")
        self._pump.add_done_callback(self._carried)

    async def stop_carrying(self) -> None:
        """Stops that. What has been taken from the connection is delivered, even where there is no room for it."""
        pump, self._pump = self._pump, None
        if pump is None or pump.done():
            return
        self._stops = True
        self._hurry()
        if self._is_between:
            pump.cancel()
        done, _ = await asyncio.wait([pump], timeout=self._parts.config.close_timeout)
        if not done:
            log.warning("%s: an extension held up the end of a session", self.uri)
            pump.cancel()
            await asyncio.wait([pump])
        self._stops = self._hurries = False

    def _hurry(self) -> None:
        """Whoever carries messages does not wait for room any more."""
        self._hurries = True
        if self._no_room is not None and not self._no_room.done():
            self._no_room.set_result(None)

    @property
    def _looks_at_messages(self) -> bool:
        return self._parts.tap is not None or self._parts.host.handles_messages

    def _outage(self, down: Down) -> Outage:
        parts = self._parts
        return Outage(
            from_ns=down.last_received_ns,
            detected_ns=down.detected_ns,
            to_ns=time.time_ns(),
            reason=down.reason,
            old_generation=down.generation,
            new_generation=self._generation,
            attempts=parts.supervisor.state.total_attempts - parts.dials_at_down,
            unrestored=parts.subscriptions.unrestored(),
        )

    # ---- messages through Python -----------------------------------------------------------------------------------

    async def _carry(self, unclaimed: list[HandshakeMessage]) -> None:
        """Carries messages to the streams where something in Python looks at each."""
        for message in unclaimed:
            await self._incoming(message.data, message.received_ns, message.received_mono_ns, message.kernel_ns)
        native = self._native
        batches = native.batches() if native is not None else None
        loop = asyncio.get_running_loop()
        while not self._stops:
            # Silence is counted from here: nothing could be heard while a message waited for room.
            self._heard = self._data_at = loop.time()
            self._is_between = True
            try:
                batch = await (anext(batches) if batches is not None else self.wire.recv())
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
        parts = self._parts
        if self.gate is not None and not self.gate(data, received_ns, mono_ns, kernel_ns):
            return
        if parts.tap is not None:
            parts.tap("in", received_ns, data)
        if parts.host.handles_messages:
            assert self._context is not None, "it was prepared"
            passed = await parts.host.process(data, self._context)
            if passed is None:
                return
            data = passed
        room = self._push(data, received_ns, mono_ns, kernel_ns)
        if room is not None and not self._hurries:
            self._no_room = asyncio.get_running_loop().create_future()
            await asyncio.wait([room, self._no_room], return_when=asyncio.FIRST_COMPLETED)

    def _push(self, data: str | bytes, received_ns: int, mono_ns: int, kernel_ns: int | None) -> Any:
        self._last_received_ns = received_ns
        self._parts.ring._push(data, received_ns, mono_ns, kernel_ns)
        return self._parts.ring._room()

    def _carried(self, pump: asyncio.Task[None]) -> None:
        if pump.cancelled():
            return
        error = pump.exception()
        if error is None or isinstance(error, ConnectionClosed):
            self._over(None)
        elif isinstance(error, ExtensionError):
            self.end(End(_reason("error", None, error), error, final=self._parts.host.policy == "fatal"))
        else:
            self.end(End(_reason("error", None, error), error, final=True))

    # ---- while it is ready -----------------------------------------------------------------------------------------

    async def drive(self, shutdown_deadline: Callable[[], float]) -> Over:
        """Runs a session that is ready until its end; see ``run``."""
        parts = self._parts
        loop = asyncio.get_running_loop()
        try:
            end = await parts.supervisor.wait(self._end)
        except (ClientStopped, asyncio.CancelledError) as stop:
            await self._shut_down(stop, shutdown_deadline())
            raise
        if end.successor is not None:
            await self._retire(end)
            return Over(None, successor=end.successor)
        if end.reason.kind in ("requested", "rotation") or end.final:
            # The peer lives: what it has on the way is still received.
            await self._close(1000, "", loop.time() + min(parts.config.close_timeout, 2))
        else:
            self._abort(str(end.cause))
        await self._leave(end)
        seconds = loop.time() - self._began
        return Over(parts.supervisor.failure(end.cause, "session", seconds), end.final)

    async def _shut_down(self, stop: BaseException, deadline: float) -> None:
        """Sends what is queued, then Close, by the deadline."""
        if self.is_ending and not self._end.cancelled() and (end := self._end.result()).successor is not None:
            await self._retire(end)
            await end.successor._shut_down(stop, deadline)
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(deadline):
                await self._parts.outbox.flushed()
        await self._close(1001 if isinstance(stop, asyncio.CancelledError) else 1000, "", deadline)
        await self._leave(End(_reason("shutdown", self.wire.close_info, stop), stop))

    async def _leave(self, end: End) -> None:
        """The account: everything received is in the ring, then that it ended; what was not sent; who is told."""
        parts = self._parts
        if self._timer is not None:
            self._timer.cancel()
        await self._stop_receiving()
        self._mark_down(end.reason)
        unsent = parts.unsent = parts.outbox.end()
        if self._pacer is not None:
            self._pacer.close(end.cause)
        parts.subscriptions.session_ended()
        if self._native is not None:
            parts.settle(self._native)
        parts.supervisor.mark_disconnected(end.reason, unsent)
        assert self._context is not None
        await parts.host.notify_disconnect(self._context, end.reason)

    def _masked(self, info: CloseInfo | None) -> CloseInfo | None:
        """How a connection ended, without the secrets that the client was told of."""
        redactor = self._parts.redactor
        return info if info is None or redactor is None else redactor.close_info(info)

    def _mark_down(self, reason: DisconnectReason) -> None:
        parts = self._parts
        if self._is_down:
            return
        self._is_down = True
        down = Down(
            generation=self._generation,
            last_received_ns=self._last_received_ns,
            detected_ns=time.time_ns(),
            reason=reason,
        )
        parts.ring._mark(down)
        parts.down, parts.dials_at_down = down, parts.supervisor.state.total_attempts

    async def _stop_receiving(self) -> None:
        """Everything that was received is in the ring; the connection has ended."""
        native = self._native
        if self._pump is not None:
            if not self._pump.done():
                # It ends by itself, with the last message of a connection that has ended.
                self._hurry()
                await asyncio.wait([self._pump], timeout=self._parts.config.close_timeout)
            await self.stop_carrying()
        elif native is not None:
            self._parts.ring._detach(native)
            self._last_received_ns = native.received_ns or self._last_received_ns

    async def _retire(self, end: End) -> None:
        """Another session has taken over: this one closes, and nobody misses it."""
        parts = self._parts
        if self._timer is not None:
            self._timer.cancel()
        await self.stop_carrying()
        await self._close(1000, "", asyncio.get_running_loop().time() + min(parts.config.close_timeout, 2))
        if self._native is not None:
            parts.settle(self._native)
        if self._pacer is not None:
            self._pacer.close(end.cause)
        # Only now it is known: what was queued on the old connection left with its Close, or did not.
        unsent = tuple(parts.outbox.settle(self.account))
        parts.supervisor.hub.publish(Disconnected(end.reason, unsent))

    async def _close(self, code: int, reason: str, deadline: float) -> None:
        """Closes the connection politely, and by force when that takes too long."""
        try:
            async with asyncio.timeout_at(deadline):
                await self.wire.close(code, reason)
        except TimeoutError:
            self._abort("the closing handshake took too long")
        except Exception:
            log.debug("closing failed", exc_info=True)
            self._abort("closing failed")
        except BaseException:
            self._abort("there was no time for the closing handshake")
            raise

    def _abort(self, why: str) -> None:
        if self._native is not None:
            self._native._abort(why)
            return
        abort = getattr(self.wire, "abort", None)
        if abort is not None:
            abort()

    def _over(self, future: object) -> None:
        """The connection will give no more messages."""
        if (future is not None and self._pump is not None) or self.is_finishing:
            return  # whoever carries them is not through yet, or it ends as another one wants it to
        info = self.wire.close_info
        cause = info.cause if info is not None else None
        kind = "keepalive" if isinstance(cause, KeepaliveTimeout) else "error"
        if info is not None and info.rcvd is not None:
            kind = "normal" if info.rcvd.code in OK_CODES else "server_closed"
        info = self._masked(info)
        error = closed_by(info if info is not None else NO_INFO)
        self.end(End(_reason(kind, info, error), error))

    # ---- timers ----------------------------------------------------------------------------------------------------

    def _tick(self) -> None:
        """Looks at every timer of the session, and comes back when the next is due."""
        loop = asyncio.get_running_loop()
        parts, config = self._parts, self._parts.config
        now = loop.time()
        self._timer = None
        dues: list[float] = []
        for limit, silence, kind in (
            (config.receive_timeout, self._silence, "receive_timeout"),
            (config.data_timeout, self._data_silence, "data_timeout"),
        ):
            if limit is None:
                continue
            seconds = silence(now)
            if seconds < limit:
                dues.append(now + max(limit - seconds, 0.001))
            elif not self._suspected:
                self._suspected = True
                self._timer = loop.call_later(min(GRACE, limit / 10), self._tick)
                return
            else:
                self._silent(kind, seconds, limit)
                return
        self._suspected = False
        if parts.ring.streams:
            self._look_for_blockers(now)
            dues.append(now + BLOCKED_FOR)
        if not self._stable:
            stable_at = self._began + config.stable_after
            if now >= stable_at:
                self._stable = True
                self._parts.supervisor.mark_stable()
            else:
                dues.append(stable_at)
        if config.max_connection_age is not None and not self._is_old:
            due = self._began + config.max_connection_age
            if now >= due:
                self._is_old = True
                self._parts.rotate()
            else:
                dues.append(due)
        if dues:
            self._timer = loop.call_at(min(dues), self._tick)

    def _look_for_blockers(self, now: float) -> None:
        """Names a stream that is not read and keeps everybody waiting: once, and in the cause of the session's end."""
        blocked = self._parts.ring._blocked_by()
        place = (id(blocked[0]), blocked[0].seq) if blocked is not None else None
        if blocked is None or self._blocked is None or self._blocked[0] != place:
            self._blocked = (place, now) if place is not None else None
            self._blocker = None
            return
        stream, seconds = blocked[0], now - self._blocked[1]
        if seconds < BLOCKED_FOR - 0.1:
            return
        if self._blocker is None:
            log.warning("%s: reading waits for %r, which was not read for %.3g s", self.uri, stream, seconds)
        self._blocker = f"reading waited for {stream!r}, which was not read for {seconds:.3g} s"

    @property
    def uri(self) -> str:
        """The URI, with secrets masked."""
        return self._parts.supervisor.uri

    def _silence(self, now: float) -> float:
        """Seconds without any byte, those left out in which our own queue was full."""
        if self._native is not None:
            return self._native._silence
        if self._is_carrying:
            self._heard = now
        return now - self._heard

    @property
    def _is_carrying(self) -> bool:
        """Whether a message is on its way through Python, or waits there for room: none is taken meanwhile."""
        return self._pump is not None and not self._is_between

    def _data_silence(self, now: float) -> float:
        """The same without a message."""
        native = self._native
        if self._is_carrying:
            self._data_at = now
        elif native is not None:
            if native._is_paused:
                self._data_at = now
            elif native.received_mono_ns:
                ago = (time.monotonic_ns() - native.received_mono_ns) / 1e9
                self._data_at = max(self._data_at, now - ago)
        return now - self._data_at

    def _silent(self, kind: str, seconds: float, limit: float) -> None:
        what = "nothing" if kind == "receive_timeout" else "no message"
        text = f"{self.uri}: {what} received for {seconds:.3g} s ({kind} is {limit:g} s)"
        error = (ReceiveTimeout if kind == "receive_timeout" else DataTimeout)(text, timeout=limit)
        self.end(End(_reason(kind, None, error), error))


def _reason(kind: Any, info: CloseInfo | None, cause: BaseException | None) -> DisconnectReason:
    code = info.rcvd.code if info is not None and info.rcvd is not None else None
    return DisconnectReason(
        kind=kind,
        code=code,
        reason=info.reason if info is not None else "",
        initiator=info.initiator if info is not None else None,
        cause=cause,
    )


NO_INFO = CloseInfo(code=1006, reason="", initiator=None, cause=None, rcvd=None, sent=None)
