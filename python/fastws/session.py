"""One connection of a client, from its upgrade to its end: handshake, subscriptions, messages, timers, the account."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

from ._intake import Intake
from ._interrupt import apart
from ._parts import End, Over, Parts
from ._policy import OK_CODES, closed_by
from ._watch import Watch
from .connection import Connection
from .connector import abort_wire, close_wire
from .context import ConnectionContext
from .errors import (
    ClientStopped,
    CloseInfo,
    DataTimeout,
    ExtensionError,
    FastwsError,
    HandshakeTimeout,
    KeepaliveTimeout,
    NotConnected,
    ReceiveTimeout,
)
from .events import DisconnectReason
from .handshakes import HandshakeChannel, HandshakeMessage, perform
from .markers import Down, Outage
from .rate import Pacer, Priority

if TYPE_CHECKING:
    from ._deadline import Limit
    from ._former import Former
    from .connector import Wire
    from .subscription import Restored

__all__ = ["NO_INFO", "Session"]


class Session:
    """One session."""

    __slots__ = (
        "_end",
        "_former",
        "_generation",
        "_is_down",
        "_native",
        "_on_ready",
        "_pacer",
        "_parts",
        "_restored",
        "_watch",
        "intake",
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
        self._pacer = (
            Pacer(parts.rate_limit, control_frames=self._sent_by_itself) if parts.rate_limit is not None else None
        )
        self._end: asyncio.Future[End] = asyncio.get_running_loop().create_future()
        self._generation = 0
        self._is_down = False
        self.intake = Intake(parts, wire, self._over)
        self._watch = Watch(parts, wire, self.intake, self.silent)
        self._restored: Restored = {}
        self.is_finishing = False
        self._former: Former | None = None

    # ---- the whole of it -------------------------------------------------------------------------------------------

    async def run(self) -> Over:
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
            reason = _reason("shutdown", None, ClientStopped("shut down"))
            await self._end_unready(reason, 1001, "the client is shutting down")
            raise
        except asyncio.CancelledError:
            parts.hurry()
            reason = _reason("shutdown", None, asyncio.CancelledError())
            await self._end_unready(reason, 1001, "the client was cancelled")
            raise
        except Exception as error:  # noqa: BLE001 - the strategy is asked, whatever it is
            if parts.redactor is not None:
                parts.redactor.error(error)
            reason = _reason("handshake", self._masked(self.wire.close_info), error)
            await self._end_unready(reason, 1000, "", 1)
            final = isinstance(error, ExtensionError) and parts.host.policy == "fatal"
            return Over(parts.supervisor.failure(error, "handshake"), final)
        self._ready(unclaimed)
        return await self.drive()

    async def _end_unready(self, reason: DisconnectReason, code: int, text: str, seconds: float | None = None) -> None:
        """It ends before it was ready; extensions may have had their ``on_connect`` nevertheless."""
        try:
            await self._close(code, text, seconds)
        finally:
            self._parts.supervisor.mark_disconnected(reason)
            if self.intake.context is not None:
                await self._parts.host.notify_disconnect(self.intake.context, reason)

    async def pace(self, priority: Priority) -> None:
        """Waits for a token of the rate limit, if there is one."""
        if self._pacer is not None:
            await self._pacer.acquire(priority)

    def replace_later(self) -> float:
        """Nothing could take its place: in so many seconds, which are returned, it is tried again."""
        return self._watch.replace_later()

    def stream_made(self) -> None:
        """There is a stream more: somebody has to read it."""
        self._watch.stream_made()

    def _sent_by_itself(self) -> int:
        """Control frames, which take a token each and wait for none."""
        return self._native._control_frames_sent if self._native is not None else 0

    def note_activity(self) -> None:
        """Lets the client's state know when something came last."""
        if self._native is not None and self._generation:
            self._parts.supervisor.state.update_activity(time.monotonic() - self._native._silence)

    @property
    def uri(self) -> str:
        """The URI, with secrets masked."""
        return self._parts.supervisor.uri

    @property
    def connection_id(self) -> int:
        """The connection's number, from 1; 0 before it is prepared."""
        return self.intake.context.connection_id if self.intake.context is not None else 0

    def silence(self) -> float:
        """Seconds without any byte, those left out in which our own queue was full."""
        return self._watch.silence(asyncio.get_running_loop().time())

    @property
    def is_held_up(self) -> bool:
        """Whether nothing can be heard at the moment, as our own queue is full."""
        return self.intake.is_carrying or (self._native is not None and self._native._is_paused)

    @property
    def is_ending(self) -> bool:
        """Whether its end is decided."""
        return self._end.done()

    def ended(self) -> asyncio.Future[End]:
        """A future that is done when its end is decided; cancelling it changes nothing."""
        return asyncio.shield(self._end)

    async def ping(self) -> None:
        """Waits for the peer's Pong. Raises NotConnected where the connection cannot tell."""
        if self._native is None:
            raise NotConnected("this connection sends no pings")
        await (await self._native.ping())

    async def give_up(self, *, at_once: bool = False) -> None:
        """Closes a connection that never became the client's; by force if there is no time for it."""
        try:
            await self.intake.stop_carrying()
            if at_once:
                self.abort("it never became the client's")
            else:
                await self._close(1001, "", 1)
        except BaseException:
            self.abort("it never became the client's")
            raise
        finally:
            if self._native is not None:
                self._parts.settle(self._native)

    async def finish(self, reason: DisconnectReason) -> None:
        """Receives what is on the way, and marks the end: another session takes over, but not seamlessly."""
        self.is_finishing = True
        await self.close_politely()
        await self.intake.close()
        self._mark_down(reason)

    def look_whether_over(self) -> None:
        """Ends, if the connection has ended and nobody took note."""
        if self.wire.close_info is not None:
            self._over(None)

    def check_open(self) -> None:
        """Raises why it ends, if it does."""
        self.look_whether_over()
        if self.is_ending:
            raise self._end.result().cause

    def end(self, end: End) -> None:
        """Ends the session: the first reason counts."""
        if not self._end.done():
            if self._watch.blocker is not None and isinstance(end.cause, FastwsError):
                end.cause.context(self._watch.blocker)
            self._end.set_result(end)

    # ---- before it is ready ----------------------------------------------------------------------------------------

    async def _begin(self, attempt: int) -> list[HandshakeMessage]:
        unclaimed = await self.prepare(self._parts.supervisor.state.id, attempt)
        await self.announce_to_extensions()
        return unclaimed

    async def announce_to_extensions(self) -> None:
        """``on_connect`` of the extensions: before it is ready, unless it has taken the place of another."""
        assert self.intake.context is not None, "it was prepared"
        await self._parts.host.notify_connect(self.intake.context)

    async def prepare(self, connection_id: int, attempt: int) -> list[HandshakeMessage]:
        """The application's handshake and the subscriptions. Returns the messages that nobody claimed."""
        parts = self._parts
        state = parts.supervisor.state
        context = self.intake.context = ConnectionContext(
            connection_id=connection_id,
            reconnect_count=state.reconnect_count,
            attempt=attempt,
            metadata=dict(parts.metadata) if parts.metadata else {},
        )
        pacer = self._pacer
        channel = HandshakeChannel(
            self.wire, pace=None if pacer is None else functools.partial(pacer.acquire, Priority.HANDSHAKE)
        )
        if parts.tap is not None:
            parts.tap("open", time.time_ns(), parts.supervisor.uri)
        await self._shake_hands(channel, context)
        channel.tap = parts.tap
        if len(parts.subscriptions):
            restoring = parts.subscriptions.restore(channel, parts.config.restore_timeout)
            # The wire may be a connector's own.
            self._restored = await (restoring if self._native is not None else apart(restoring))
        return channel.unclaimed

    async def _shake_hands(self, channel: HandshakeChannel, context: ConnectionContext) -> None:
        handshaker, limit = self._parts.handshaker, self._parts.config.handshake_timeout
        scope: Limit | None = None
        try:
            async with channel.limit(limit) as scope:
                await perform(handshaker, channel, context)
        except TimeoutError as error:
            if scope is None or not scope.expired():
                raise
            raise HandshakeTimeout(
                f"not done within {limit:g} s (handshake_timeout)", handshaker=handshaker.name, timeout=limit
            ) from error

    def _ready(self, unclaimed: list[HandshakeMessage]) -> None:
        """Everything is restored: from here on messages flow."""
        self.take_place(self._parts.supervisor.mark_ready())
        self.intake.open(unclaimed)
        self.go_live()

    def take_place(self, generation: int) -> None:
        """What is received from now on is of this session."""
        parts = self._parts
        self._watch.begin()
        self._generation = generation
        self.intake.begin(generation)
        parts.subscriptions.begin(self._restored)
        self._restored = {}
        if parts.down is not None:
            parts.ring._mark(self._outage(parts.down))
            parts.down = None

    def go_live(self) -> None:
        """It sends, it is watched, and everybody hears that it is ready."""
        parts = self._parts
        parts.outbox.begin(self.wire, self._pacer)
        self._watch.look()
        parts.supervisor.announce_ready()
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

    # ---- while it is ready -----------------------------------------------------------------------------------------

    async def drive(self) -> Over:
        """Runs a session that is ready until its end; see ``run``."""
        parts = self._parts
        loop = asyncio.get_running_loop()
        try:
            end = await parts.supervisor.wait(self._end)
        except (ClientStopped, asyncio.CancelledError) as stop:
            await self._shut_down(stop)
            raise
        if end.successor is not None:
            return Over(None, successor=end.successor)
        try:
            if end.reason.kind in ("requested", "rotation") or end.final:
                # The peer lives: what it has on the way is still received.
                await self.close_politely()
            else:
                self.abort(str(end.cause))
        finally:
            await self._account_for(end)
        seconds = loop.time() - self._watch.began
        failure = parts.supervisor.failure(end.cause, "session", seconds)
        return Over(failure, end.final, is_requested=end.reason.kind == "requested")

    async def _shut_down(self, stop: BaseException) -> None:
        """Sends what is queued, then Close, by the deadline."""
        self._parts.hurry()
        if self.is_ending and not self._end.cancelled() and (end := self._end.result()).successor is not None:
            await end.successor._shut_down(stop)
            return
        try:
            with contextlib.suppress(TimeoutError):
                async with self._parts.deadline.limit(None):
                    await self._parts.outbox.flushed()
            await self._close(1001 if isinstance(stop, asyncio.CancelledError) else 1000, "")
            await self.let_former_go()
        except BaseException:
            self.abort("the client was cancelled once more")
            raise
        finally:
            await self._account_for(End(_reason("shutdown", self.wire.close_info, stop), stop))

    async def _account_for(self, end: End) -> None:
        """The accounts of this session and of one that it took over from, whatever cancels that meanwhile."""
        try:
            await self.let_former_go(at_once=True)
        finally:
            await self._leave(end)

    async def _leave(self, end: End) -> None:
        """The account: everything received is in the ring, then that it ended; what was not sent; who is told."""
        self._watch.stop()
        try:
            await self.intake.close()
        finally:
            self._tell(end)
            assert self.intake.context is not None, "it was prepared"
            await self._parts.host.notify_disconnect(self.intake.context, end.reason)

    def _tell(self, end: End) -> None:
        """What is known at once, when everything received is in the ring."""
        parts = self._parts
        self._mark_down(end.reason)
        unsent, earlier = parts.outbox.end()
        parts.unsent = (*unsent, *earlier)
        self.release(end.cause)
        parts.subscriptions.session_ended()
        parts.supervisor.mark_disconnected(end.reason, parts.unsent)

    def release(self, cause: BaseException) -> None:
        """Nobody waits for a token of it any more, and what it counted is added up."""
        if self._pacer is not None:
            self._pacer.close(cause)
        if self._native is not None:
            self._parts.settle(self._native)

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
            last_received_ns=self.intake.last_received_ns,
            detected_ns=time.time_ns(),
            reason=reason,
        )
        parts.ring._mark(down)
        parts.down, parts.dials_at_down = down, parts.supervisor.state.total_attempts

    # ---- where one session replaces another ------------------------------------------------------------------------

    def follow(self, former: Former) -> None:
        """It has taken over from another one, which closes while this one runs."""
        self._former = former

    async def let_former_go(self, *, at_once: bool = False) -> None:
        """Waits until the one that it took over from is closed, if there is one."""
        former, self._former = self._former, None
        if former is not None:
            await former.let_go(at_once=at_once)

    def stop_watching(self) -> None:
        """Its timers are nobody's concern any more."""
        self._watch.stop()

    # ---- its end ---------------------------------------------------------------------------------------------------

    async def close_politely(self) -> None:
        """Closes the connection by a closing handshake that nobody but us wants."""
        await self._close(1000, "", min(self._parts.config.close_timeout, 2))

    async def _close(self, code: int, reason: str, seconds: float | None = None) -> None:
        """Closes the connection politely, and by force when that takes longer than ``seconds`` or the deadline."""
        await close_wire(self.wire, code, reason, self._parts.deadline.limit(seconds))

    def abort(self, why: str) -> None:
        """Ends the connection at once."""
        abort_wire(self.wire, why)

    def _over(self, error: BaseException | None) -> None:
        """The connection will give no more messages; with an error, because of a mistake on our side of it."""
        if error is not None:
            # Whether another attempt may mend it is the strategy's to say, as at the dial.
            final = isinstance(error, ExtensionError) and self._parts.host.policy == "fatal"
            self.end(End(_reason("error", None, error), error, final=final))
            return
        if self.is_finishing:
            return  # it ends as another one wants it to
        info = self.wire.close_info
        cause = info.cause if info is not None else None
        kind = "error"
        if isinstance(cause, KeepaliveTimeout):
            kind, silence = "keepalive", self._watch.found_silent(cause)
            if silence is not None:
                self.silent(silence)
                return
        if info is not None and info.rcvd is not None:
            kind = "normal" if info.rcvd.code in OK_CODES else "server_closed"
        info = self._masked(info)
        closed = closed_by(info if info is not None else NO_INFO)
        self.end(End(_reason(kind, info, closed), closed))

    def silent(self, error: ReceiveTimeout | DataTimeout) -> None:
        """Ends, as nothing came for too long."""
        kind: Literal["receive_timeout", "data_timeout"]
        kind = "receive_timeout" if isinstance(error, ReceiveTimeout) else "data_timeout"
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
