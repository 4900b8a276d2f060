"""Replacing a connection before the venue cuts it: the new one is ready before the old one is given up.

Both are open for a while. If messages can be told apart (``message_key``), nothing is lost and nothing comes twice:
the messages of the new line are held until one of them has come on both, which proves that the lines overlap; then the
new one takes over and what the old one brought is left out. Where none comes on either for that long, it is proof
enough that both lines answer a Ping. Without a key, or without a proof, the change is marked as an outage.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Hashable
from typing import TYPE_CHECKING, Any

from ._former import Former
from ._parts import End, Parts
from ._watch import room_for_a_session
from .dedupe import Deduplicator
from .errors import ClientStopped, ConnectionClosedOK, ExtensionError, FastwsError
from .events import Connected, DisconnectReason
from .handshakes import HandshakeMessage
from .session import NO_INFO, Session

if TYPE_CHECKING:
    from .connector import Wire

__all__ = ["Rotation"]

log = logging.getLogger("fastws.client")

MOST_LOOKS = 96
"""How often at most: it takes twelve times as long if streams are never read."""

LOOKS = 8
"""How often it is looked, within ``rotation_overlap``, whether a line is heard or waits for streams."""

REASON = DisconnectReason("rotation")

MAX_HELD = 65_536
"""Messages of the new line that are held while none of them has come on both; then it is an outage."""

MAX_HELD_BYTES = 64 << 20
"""The same in bytes, or characters of text."""


class Rotation:
    """One change of connections.

    Args:
        parts: Of the client.
        old: The session that has reached its age.
        make: Makes a session on an open connection.
        changed: Told of the new session, before anybody else is.
    """

    __slots__ = (
        "_ahead",
        "_changed",
        "_dedupe",
        "_former",
        "_full",
        "_held",
        "_held_bytes",
        "_held_keys",
        "_is_quiet",
        "_make",
        "_old",
        "_parts",
        "_proof",
        "_unproving",
    )

    def __init__(
        self, parts: Parts, old: Session, make: Callable[[Wire], Session], changed: Callable[[Session], None]
    ) -> None:
        self._parts = parts
        self._old = old
        self._make = make
        self._changed = changed
        self._held: list[HandshakeMessage] = []
        self._held_bytes = 0
        self._held_keys: set[Hashable] = set()
        self._is_quiet = True
        self._unproving = 0
        self._proof: asyncio.Future[bool]
        self._full: asyncio.Future[None]
        self._ahead: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._dedupe: Deduplicator | None = None
        self._former: Former | None = None

    async def run(self) -> None:
        """Lets another session take over, if the old one does not end before. Ends when the old one is wholly gone."""
        new, unclaimed, proven = await self._second()
        if self._old.is_ending:
            # The ordinary way is under way: another connection, and an outage that says so.
            self._parts.requests.go_on()
            await new.give_up(at_once=not self._parts.supervisor.is_shutdown_requested)
            return
        try:
            self._take_over(new, unclaimed, proven=proven)
        finally:
            self._parts.requests.go_on()
        await self._tell_extensions(new)
        await self._end_overlap(new)

    def _go_on(self) -> None:
        """The old connection stays."""
        old = self._old
        self._parts.requests.go_on()
        old.intake.gate = old.intake.order = None
        old.is_finishing = False
        if not old.is_ending:
            old.intake.carry_no_more()
            old.intake.attach()  # what it had not been asked for yet is still the streams'
            old.look_whether_over()

    async def _second(self) -> tuple[Session, list[HandshakeMessage], bool]:
        """A second connection, what its handshake left over, and whether it is proven that it overlaps the old one.

        It is ready to take over, which is to be done at once, and everything else waits for that. Attempts follow the
        retry strategy, while the old connection lives.
        """
        supervisor, old = self._parts.supervisor, self._old
        attempt = 0
        while True:
            await self._room()
            attempt += 1
            new: Session | None = None
            self._remember_old()
            try:
                new = self._make(await supervisor.spare(attempt))
                connection_id = supervisor.state.reserve_id()
                supervisor.hub.publish(Connected(connection_id), is_state=False)
                unclaimed = await new.prepare(connection_id, attempt)
                proven = self._dedupe is not None and not old.is_ending and await self._overlap(new, unclaimed)
                if not old.is_ending:
                    self._parts.requests.hold()
                    await self._quiet_down(new, proven=proven)
                if supervisor.is_shutdown_requested:
                    raise ClientStopped(f"{supervisor.uri}: the client is shutting down")
                if not old.is_ending:
                    new.check_open()
            except BaseException as error:
                try:
                    if new is not None:
                        # The next attempt waits for nothing.
                        at_once = old.is_ending and not supervisor.is_shutdown_requested
                        await new.give_up(at_once=at_once)
                finally:
                    self._go_on()
                if isinstance(error, ClientStopped) or not isinstance(error, Exception) or old.is_ending:
                    raise
                # Whatever it is, the old connection lives.
                delay = supervisor.spare_failed(error, attempt, "connect" if new is None else "handshake")
                if delay is None:
                    raise
                log.info("%s: no second connection yet: %s; trying again in %.3g s", supervisor.uri, error, delay)
            else:
                return new, unclaimed, proven
            await asyncio.sleep(delay)

    async def _room(self) -> None:
        """Waits as a reconnect does: each line brings some of which nobody asks whether there is room.

        The old one lives meanwhile. Should the venue end it, another could not be read either.
        """
        parts = self._parts
        if parts.ring.is_overfull:
            uri, age = parts.supervisor.uri, parts.config.max_connection_age
            log.warning("%s: the connection has reached its age of %g s and stays until streams are read", uri, age)
            await room_for_a_session(parts, is_watched=True)

    def _remember_old(self) -> None:
        """From here on what the old line brings is known: the new one may bring it too, as soon as it is open."""
        loop, key = asyncio.get_running_loop(), self._parts.message_key
        self._held, self._held_bytes, self._held_keys = [], 0, set()
        self._proof, self._full = loop.create_future(), loop.create_future()
        if key is not None:
            self._dedupe = Deduplicator(key, 1 << 20, self._parts.supervisor.uri)
            self._old.intake.gate, self._old.intake.order = self._on_old, asyncio.Lock()
            self._old.intake.start_carrying([])

    async def _overlap(self, new: Session, unclaimed: list[HandshakeMessage]) -> bool:
        """Both lines bring messages: whether it is proven that nothing falls between them."""
        # What came before the venue had confirmed everything proves nothing for all channels.
        self._unproving, self._is_quiet = len(unclaimed), True
        new.intake.gate = self._on_new
        new.intake.start_carrying(unclaimed)
        ends = [self._old.ended(), new.ended()]
        asking = asyncio.get_running_loop().create_task(self._ask_both(new), name="fastws rotation")
        try:
            waits: list[asyncio.Future[Any]] = [self._proof, asking, *ends]
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            if new.is_ending and not self._old.is_ending:
                raise ends[1].result().cause
        finally:
            asking.cancel()
            for end in ends:
                end.cancel()
        proven = self._proof.done() and self._proof.result()
        if not proven and not self._old.is_ending:
            log.warning("%s: the overlap of two connections could not be proven", self._parts.supervisor.uri)
        return proven

    async def _ask_both(self, new: Session) -> None:
        """Waits for as long as the lines may take to bring the same message, and asks both if none came.

        On a line that is in order nothing of what went before a Pong is still to come.
        """
        await self._while_heard(self._old)
        if not self._is_quiet:
            return
        with contextlib.suppress(TimeoutError, FastwsError):
            async with asyncio.timeout(self._parts.config.rotation_overlap):
                await asyncio.gather(self._old.ping(), new.ping())
                if self._is_quiet:
                    self._decide(proven=True)
                else:
                    await self._proof

    async def _while_heard(self, line: Session) -> None:
        """Waits for ``rotation_overlap``; time in which the line waits for streams counts within bounds."""
        heard = 0
        for _ in range(MOST_LOOKS):
            await asyncio.sleep(self._parts.config.rotation_overlap / LOOKS)
            is_heard = not line.intake.is_carrying
            heard += is_heard
            if is_heard and heard >= LOOKS:  # and everything that was received has been looked at
                return

    def _on_old(self, data: str | bytes, _received_ns: int, _mono_ns: int, _kernel_ns: int | None) -> bool:
        assert self._dedupe is not None
        self._is_quiet = False
        key = self._dedupe.key(data)
        if key is not None:
            self._dedupe.is_new_key(key)
            if key in self._held_keys:
                self._decide(proven=True)
        return True

    def _on_new(self, data: str | bytes, received_ns: int, mono_ns: int, kernel_ns: int | None) -> bool:
        assert self._dedupe is not None
        self._held.append(HandshakeMessage(data, received_ns, mono_ns, kernel_ns))
        key = self._dedupe.key(data)
        if self._unproving:
            self._unproving -= 1
        else:
            self._is_quiet = False
            if key is not None:
                self._held_keys.add(key)
                if key in self._dedupe:
                    self._decide(proven=True)
        self._held_bytes += len(data)
        if len(self._held) >= MAX_HELD or self._held_bytes >= MAX_HELD_BYTES:
            self._decide(proven=False)
            if not self._full.done():
                self._full.set_result(None)
        return False

    def _decide(self, *, proven: bool) -> None:
        if not self._proof.done():
            self._proof.set_result(proven)

    async def _quiet_down(self, new: Session, *, proven: bool) -> None:
        """What can be awaited before the change, which is made in one go."""
        parts, old = self._parts, self._old
        settling = asyncio.get_running_loop().create_task(self._settled(), name="fastws rotation")
        try:
            waits: list[asyncio.Future[Any]] = [settling, self._full]
            await asyncio.wait(waits, timeout=2, return_when=asyncio.FIRST_COMPLETED)
        finally:
            if not settling.done():
                settling.cancel()
                log.info("%s: something waits for the old connection, which closes", parts.supervisor.uri)
        if not proven:
            new.check_open()
            await old.finish(REASON)
        await new.intake.stop_carrying()

    async def _settled(self) -> None:
        """Waits until everything sent has left, and what was asked is answered."""
        await self._parts.outbox.flushed()
        await self._parts.requests.answered()

    def _take_over(self, new: Session, unclaimed: list[HandshakeMessage], *, proven: bool) -> None:
        parts, old = self._parts, self._old
        former = self._former = Former(parts)
        generation = parts.supervisor.mark_replaced(new.connection_id)
        new.take_place(generation)
        held, self._held = self._held if self._dedupe is not None else unclaimed, []
        self._held_keys.clear()
        # What the old one still brings until it has closed comes first where the new one is behind, and but once.
        if proven:
            new.intake.gate, old.intake.gate = self._not_again, self._not_yet
        else:
            new.intake.gate = old.intake.gate = None
        new.intake.order = old.intake.order if proven else None
        if proven:
            old.intake.begin(generation)
            new.intake.start_carrying(held)
        else:
            new.intake.open(held)
        self._changed(new)
        new.follow(former)
        former.begin(old, End(REASON, ConnectionClosedOK(NO_INFO), successor=new))
        new.go_live()

    async def _tell_extensions(self, new: Session) -> None:
        host = self._parts.host
        try:
            await host.notify_disconnect(host.context, REASON)
            await new.announce_to_extensions()
        except ExtensionError as error:
            new.end(End(DisconnectReason("error", cause=error), error, final=host.policy == "fatal"))

    def _not_again(self, data: str | bytes, _received_ns: int, _mono_ns: int, _kernel_ns: int | None) -> bool:
        """Whether the old line has not brought a message of the new one; the venue's answers count in any case."""
        assert self._dedupe is not None
        assert self._former is not None, "it has taken over"
        key = self._dedupe.key(data)
        if self._dedupe.is_new_key(key):
            if key is not None and self._former.gone.done() and not self._ahead.done():
                self._ahead.set_result(None)
            return True
        self._parts.subscriptions.saw(data)
        return False

    def _not_yet(self, data: str | bytes, _received_ns: int, _mono_ns: int, _kernel_ns: int | None) -> bool:
        """Whether the new line has not brought a message of the old one, which closes."""
        assert self._dedupe is not None
        return self._dedupe.is_new(data)

    async def _end_overlap(self, new: Session) -> None:
        """Waits until the old line is gone for so long that nothing of it can come again."""
        if new.intake.gate is None:
            return
        assert self._former is not None, "it has taken over"
        await self._former.gone
        await self._while_heard(new)
        if new.intake.is_carrying:
            # It has waited for streams all the time. What comes behind a message that the old one had not is new.
            ended = new.ended()
            waits: list[asyncio.Future[Any]] = [self._ahead, ended]
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            ended.cancel()
            if not self._ahead.done():
                return  # it gives what it has before it is gone, and that may be what the old one brought
        new.intake.gate = new.intake.order = None
        if not new.is_ending:
            new.intake.carry_no_more()
