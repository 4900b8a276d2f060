"""One connection of a client, from its upgrade to its end: handshake, subscriptions, messages, timers, the account."""

from __future__ import annotations

import asyncio
import functools
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from ._policy import OK_CODES, closed_by
from .connection import Connection
from .context import ConnectionContext
from .errors import (
    ClientStopped,
    CloseInfo,
    ConnectionClosed,
    ConnectionClosedOK,
    DataTimeout,
    ExtensionError,
    HandshakeTimeout,
    KeepaliveTimeout,
    ReceiveTimeout,
    Unsent,
)
from .events import DisconnectReason
from .handshakes import HandshakeChannel, HandshakeMessage, SupportsHandshake, perform
from .markers import Down, Outage
from .rate import Pacer, Priority
from .retry import Failure

if TYPE_CHECKING:
    from ._core import Ring
    from .config import ClientConfig
    from .connector import Wire
    from .extensions import ExtensionHost
    from .outbox import Outbox
    from .rate import RateLimit, RateLimits
    from .subscriptions import Subscriptions
    from .supervisor import ConnectionSupervisor

__all__ = ["Parts", "Session", "Tap"]

log = logging.getLogger("fastws.client")

Tap = Callable[[str, int, str | bytes], Any]
"""``tap(direction, received_ns, data)``: direction is ``"in"`` or ``"out"``."""

GRACE = 0.05
"""Seconds between the suspicion of silence and the verdict, at most: what the kernel holds is read first."""


@dataclass(slots=True)
class Parts:
    """What the sessions of a client share."""

    config: ClientConfig
    supervisor: ConnectionSupervisor
    ring: Ring
    outbox: Outbox
    subscriptions: Subscriptions
    handshaker: SupportsHandshake
    host: ExtensionHost
    rate_limit: RateLimit | RateLimits | None
    tap: Tap | None
    metadata: dict[str, Any]
    source: str | None = None
    down: Down | None = None
    """The outage that is under way."""
    dials_at_down: int = 0
    unsent: tuple[Unsent, ...] = ()
    """What the last session left unsent."""


class End(NamedTuple):
    """Why a session ends."""

    reason: DisconnectReason
    cause: BaseException
    final: bool = False
    """No other session is to follow."""


class Session:
    """One session."""

    __slots__ = (
        "_began",
        "_context",
        "_data_at",
        "_end",
        "_generation",
        "_heard",
        "_last_received_ns",
        "_native",
        "_on_ready",
        "_pacer",
        "_parts",
        "_pump",
        "_stable",
        "_suspected",
        "_timer",
        "_was_ready",
        "wire",
    )

    def __init__(self, parts: Parts, wire: Wire, on_ready: Callable[[], None]) -> None:
        self._parts = parts
        self._on_ready = on_ready
        self.wire = wire
        self._native = wire if isinstance(wire, Connection) else None
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
        self._was_ready = False

    # ---- the whole of it -------------------------------------------------------------------------------------------

    async def run(self, shutdown_deadline: Callable[[], float]) -> tuple[Failure, bool]:
        """Runs until the connection ends.

        Returns what to tell the retry strategy, and whether this was the last session.

        Raises:
            ClientStopped: ``shutdown`` was called; the connection is closed by then.
        """
        parts = self._parts
        attempt = parts.supervisor.state.attempts
        try:
            unclaimed = await parts.supervisor.wait(self._open(attempt))
        except ClientStopped:
            await self._close(1001, "the client is shutting down", shutdown_deadline())
            parts.supervisor.mark_disconnected(_reason("shutdown", None, ClientStopped("shut down")))
            raise
        except asyncio.CancelledError:
            await self._close(1001, "the client was cancelled", shutdown_deadline())
            parts.supervisor.mark_disconnected(_reason("shutdown", None, asyncio.CancelledError()))
            raise
        except Exception as error:  # noqa: BLE001 - the strategy is asked, whatever it is
            reason = _reason("handshake", self.wire.close_info, error)
            await self._close(1000, "", asyncio.get_running_loop().time() + 1)
            parts.supervisor.mark_disconnected(reason)
            final = isinstance(error, ExtensionError) and parts.host.policy == "fatal"
            return parts.supervisor.failure(error, "handshake"), final
        self._ready(unclaimed)
        return await self._drive(shutdown_deadline)

    async def pace(self, priority: Priority) -> None:
        """Waits for a token of the rate limit, if there is one."""
        if self._pacer is not None:
            await self._pacer.acquire(priority)

    def end(self, end: End) -> None:
        """Ends the session: the first reason counts."""
        if not self._end.done():
            self._end.set_result(end)

    # ---- before it is ready ----------------------------------------------------------------------------------------

    async def _open(self, attempt: int) -> list[HandshakeMessage]:
        parts = self._parts
        state = parts.supervisor.state
        self._context = ConnectionContext(
            connection_id=state.id,
            reconnect_count=state.reconnect_count,
            attempt=attempt,
            metadata=dict(parts.metadata),
        )
        pacer = self._pacer
        channel = HandshakeChannel(
            self.wire, pace=None if pacer is None else functools.partial(pacer.acquire, Priority.HANDSHAKE)
        )
        await self._shake_hands(channel)
        if len(parts.subscriptions):
            await parts.subscriptions.restore(channel, parts.config.restore_timeout)
        await parts.host.notify_connect(self._context)
        return channel.unclaimed

    async def _shake_hands(self, channel: HandshakeChannel) -> None:
        handshaker, limit = self._parts.handshaker, self._parts.config.handshake_timeout
        assert self._context is not None
        try:
            async with channel.limit(limit) as scope:
                await perform(handshaker, channel, self._context)
        except TimeoutError as error:
            if not scope.expired():
                raise
            raise HandshakeTimeout(
                f"not done within {limit:g} s (handshake_timeout)", handshaker=handshaker.name, timeout=limit
            ) from error

    def _ready(self, unclaimed: list[HandshakeMessage]) -> None:
        """Everything is restored: from here on messages flow."""
        parts, native = self._parts, self._native
        supervisor, ring = parts.supervisor, parts.ring
        loop = asyncio.get_running_loop()
        self._was_ready = True
        self._began = self._heard = self._data_at = loop.time()
        self._generation = supervisor.mark_ready()
        ring._begin(self._generation, supervisor.state.id, parts.source)
        if parts.down is not None:
            ring._mark(self._outage(parts.down))
            parts.down = None
        if parts.tap is None and not parts.host.handles_messages:
            for message in unclaimed:
                self._push(message.data, message.received_ns, message.received_mono_ns, message.kernel_ns)
        else:
            self._pump = loop.create_task(self._carry(unclaimed), name="fastws messages")
        if native is None and self._pump is None:
            self._pump = loop.create_task(self._carry([]), name="fastws messages")
        if self._pump is not None:
            self._pump.add_done_callback(self._carried)
        elif native is not None:
            ring._attach(native, self._generation, supervisor.state.id, parts.source)
            native._over_future().add_done_callback(self._over)
        parts.outbox.begin(self.wire, self._pacer)
        self._tick()
        supervisor.announce_ready()
        self._on_ready()
        parts.subscriptions.session_began()

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
        if native is not None:
            async for batch in native.batches():
                for data in batch:
                    await self._incoming(data, batch.received_ns, batch.received_mono_ns, batch.kernel_ns)
            return
        loop = asyncio.get_running_loop()
        while True:
            data = await self.wire.recv()
            self._heard = self._data_at = loop.time()
            self._parts.supervisor.update_activity()
            await self._incoming(data, time.time_ns(), time.monotonic_ns(), None)

    async def _incoming(self, data: str | bytes, received_ns: int, mono_ns: int, kernel_ns: int | None) -> None:
        parts = self._parts
        if parts.tap is not None:
            parts.tap("in", received_ns, data)
        if parts.host.handles_messages:
            assert self._context is not None
            passed = await parts.host.process(data, self._context)
            if passed is None:
                return
            data = passed
        room = self._push(data, received_ns, mono_ns, kernel_ns)
        if room is not None:
            await room

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

    async def _drive(self, shutdown_deadline: Callable[[], float]) -> tuple[Failure, bool]:
        parts = self._parts
        loop = asyncio.get_running_loop()
        try:
            end = await parts.supervisor.wait(asyncio.shield(self._end))
        except (ClientStopped, asyncio.CancelledError) as stop:
            deadline = shutdown_deadline()
            try:
                async with asyncio.timeout_at(deadline):
                    await parts.outbox.flushed()
            except TimeoutError:
                pass
            await self._close(1001 if isinstance(stop, asyncio.CancelledError) else 1000, "", deadline)
            await self._leave(End(_reason("shutdown", self.wire.close_info, stop), stop))
            raise
        if end.reason.kind in ("requested", "rotation") or end.final:
            # The peer lives: what it has on the way is still received.
            await self._close(1000, "", loop.time() + min(parts.config.close_timeout, 2))
        else:
            self._abort(str(end.cause))
        await self._leave(end)
        seconds = loop.time() - self._began
        return parts.supervisor.failure(end.cause, "session", seconds), end.final

    async def _leave(self, end: End) -> None:
        """The account: everything received is in the ring, then that it ended; what was not sent; who is told."""
        parts, native = self._parts, self._native
        if self._timer is not None:
            self._timer.cancel()
        if self._pump is not None:
            self._pump.cancel()
            await asyncio.wait([self._pump])
        elif native is not None:
            parts.ring._detach(native)
            self._last_received_ns = native.received_ns or self._last_received_ns
        down = Down(
            generation=self._generation,
            last_received_ns=self._last_received_ns,
            detected_ns=time.time_ns(),
            reason=end.reason,
        )
        parts.ring._mark(down)
        parts.down, parts.dials_at_down = down, parts.supervisor.state.total_attempts
        unsent = parts.unsent = parts.outbox.end()
        if self._pacer is not None:
            self._pacer.close(end.cause)
        parts.subscriptions.session_ended()
        if native is not None:
            parts.supervisor.state.count(native.stats())
        parts.supervisor.mark_disconnected(end.reason, unsent)
        assert self._context is not None
        await parts.host.notify_disconnect(self._context, end.reason)

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

    def _abort(self, why: str) -> None:
        if self._native is not None:
            self._native._abort(why)
            return
        abort = getattr(self.wire, "abort", None)
        if abort is not None:
            abort()

    def _over(self, _future: object) -> None:
        """The connection will give no more messages."""
        info = self.wire.close_info
        cause = info.cause if info is not None else None
        kind = "keepalive" if isinstance(cause, KeepaliveTimeout) else "error"
        if info is not None and info.rcvd is not None:
            kind = "normal" if info.rcvd.code in OK_CODES else "server_closed"
        error = closed_by(info if info is not None else _NO_INFO)
        self.end(End(_reason(kind, info, error), error))

    # ---- timers ----------------------------------------------------------------------------------------------------

    def _tick(self) -> None:
        """Looks at every timer of the session, and comes back when the next is due."""
        loop = asyncio.get_running_loop()
        config = self._parts.config
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
        if not self._stable:
            stable_at = self._began + config.stable_after
            if now >= stable_at:
                self._stable = True
                self._parts.supervisor.mark_stable()
            else:
                dues.append(stable_at)
        if config.max_connection_age is not None:
            due = self._began + config.max_connection_age
            if now >= due:
                self.end(End(_reason("rotation", None, None), ConnectionClosedOK(_NO_INFO)))
                return
            dues.append(due)
        if dues:
            self._timer = loop.call_at(min(dues), self._tick)

    def _silence(self, now: float) -> float:
        """Seconds without any byte, those left out in which our own queue was full."""
        return self._native._silence if self._native is not None else now - self._heard

    def _data_silence(self, now: float) -> float:
        """The same without a message."""
        native = self._native
        if native is not None:
            if native._is_paused:
                self._data_at = now
            elif native.received_mono_ns:
                ago = (time.monotonic_ns() - native.received_mono_ns) / 1e9
                self._data_at = max(self._data_at, now - ago)
        return now - self._data_at

    def _silent(self, kind: str, seconds: float, limit: float) -> None:
        what = "nothing" if kind == "receive_timeout" else "no message"
        text = f"{self._parts.supervisor.uri}: {what} received for {seconds:.3g} s ({kind} is {limit:g} s)"
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


_NO_INFO = CloseInfo(code=1006, reason="", initiator=None, cause=None, rcvd=None, sent=None)
