"""What a client sends: across reconnects, with an honest account of what became of it.

While a session is ready a message goes straight into the connection's send queue. Otherwise it fails, waits for the
next session or is dropped, as ``on_disconnect_send`` says. At a session's end every message that the kernel did not
take wholly is accounted for: ``not_sent`` if no byte of it was written, ``maybe_sent`` if some were.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

from ._account import Account, Item, Left, Receipt, fail, succeed
from ._direct import CUT, GIVEN_UP, Direct
from ._interrupt import tell
from ._sendable import check, plain
from ._turns import Turns
from ._waiting import Waiting
from .connection import BytesLike, Connection
from .errors import (
    ConnectionClosed,
    FastwsError,
    MaybeSent,
    NotConnected,
    NotSent,
    SendQueueFull,
    Unsent,
)
from .rate import Pacer, Priority

if TYPE_CHECKING:
    from ._tap import Tapping
    from .config import ClientConfig
    from .connector import Wire

__all__ = ["Outbox", "Receipt"]

log = logging.getLogger("fastws.client")


class Outbox:
    """The messages of one client on their way out.

    Args:
        config: ``send_queue_capacity`` bounds what waits in either queue, ``on_disconnect_send`` chooses the policy.
        closed: The exception of sending when the client is over; None while it is not.
        max_bytes: What fits a connection's send queue, where that is known before there is one.
        tap: Told of each message that a connection accepts.
    """

    __slots__ = (
        "_account",
        "_ahead",
        "_capacity",
        "_closed",
        "_cut",
        "_direct",
        "_draining",
        "_followed",
        "_is_pacing",
        "_is_stopped",
        "_keep_limit",
        "_max_bytes",
        "_native",
        "_pacer",
        "_policy",
        "_room",
        "_tap",
        "_waiting",
        "_wire",
        "dropped",
        "failed",
        "sent_otherwise",
        "unsent",
    )

    def __init__(
        self,
        config: ClientConfig,
        closed: Callable[[], BaseException | None],
        max_bytes: int | None = None,
        tap: Tapping | None = None,
    ) -> None:
        self._capacity = config.send_queue_capacity
        self._keep_limit = config.keep_limit
        self._policy: Literal["fail", "keep", "drop"] = config.on_disconnect_send
        self._pacer: Pacer | None = None
        self._closed = closed
        self._max_bytes = max_bytes
        self._tap = tap
        self._wire: Wire | None = None
        self._native: Connection | None = None
        self._waiting = Waiting(config.keep_limit, self._offer_room)
        self._account: Account | None = None
        self._ahead: tuple[Left, ...] = ()
        self._followed: asyncio.Future[None] | None = None
        self._room = Turns()
        self._is_stopped = False
        self._draining: asyncio.Task[None] | None = None
        self._cut: tuple[Unsent, ...] = ()
        self._direct = Direct(self._waiting, self._accepted)
        self._is_pacing = False
        self.dropped = 0
        self.failed = 0
        self.sent_otherwise = 0
        self.unsent = 0

    # ---- sending ---------------------------------------------------------------------------------------------------

    def send_nowait(
        self,
        message: str | BytesLike,
        text: bool | None = None,
        *,
        urgent: bool = False,
        expires: float | None = None,
        key: str | None = None,
        receipt: Receipt | None = None,
    ) -> None:
        """Accepts a message or raises at once: see ``WebSocketClient.send_nowait``."""
        if self._is_stopped:
            self._check_over()
        if expires is not None and self._waiting.has_expired(Item(plain(message), text, expires, receipt)):
            return  # it waited for room until then
        wire = self._wire
        may_go = wire is not None and not self._waiting.items and (urgent or not self._ahead)
        if wire is not None and may_go and (self._pacer is None or self._pacer.try_acquire(key)):
            try:
                self._hand_over(wire, message, text)
            except Exception as error:
                if self._pacer is not None:
                    self._pacer.give_back(key)
                if not isinstance(error, NotConnected) or self._policy == "fail":
                    raise
                # It ended, and the session is about to: the next one may send it.
            else:
                if self._all_left():
                    succeed(receipt)
                else:
                    self._remember(Item(plain(message), text, expires, receipt, key, urgent))
                return
        self._queue(Item(plain(message), text, expires, receipt, key, urgent))

    async def send(
        self,
        message: str | BytesLike,
        text: bool | None = None,
        *,
        urgent: bool = False,
        expires: float | None = None,
        key: str | None = None,
        receipt: Receipt | None = None,
    ) -> None:
        """Accepts a message when there is room for it: see ``WebSocketClient.send``."""
        native = self._native
        if not (self._room.places or (native is not None and native._is_above_write_limit)):
            try:
                self.send_nowait(message, text, urgent=urgent, expires=expires, key=key, receipt=receipt)
            except SendQueueFull:
                pass
            else:
                return
        await self._send_in_turn(Item(plain(message), text, expires, receipt, key, urgent))

    async def _send_in_turn(self, item: Item) -> None:
        """As ``send``, where there may be no room, or others wait for it."""
        message, text, expires, receipt, key, urgent = item
        has_waited = False
        try:
            while True:
                # Before it is accepted: who gives up waiting, by a timeout or a cancellation, has sent nothing.
                native = self._native
                if native is not None and native._is_above_write_limit:
                    with contextlib.suppress(ConnectionClosed):  # what can be done then is decided below
                        await native._drain_future()
                if self._room.places and not (has_waited or urgent):
                    has_waited = True
                    await self._room.wait(urgent=False)
                try:
                    self.send_nowait(message, text, urgent=urgent, expires=expires, key=key, receipt=receipt)
                except SendQueueFull:
                    if self._native is not None or self._wire is None or self._waiting.items:
                        again, has_waited = has_waited, True
                        await self._until_room(urgent=urgent, again=again)
                    else:
                        has_waited = True
                        self._offer_room()  # such a connection is waited for by any number
                        if await self._send_itself(self._wire, item):
                            return
                else:
                    return
        finally:
            if has_waited:
                self._offer_room()

    async def _send_itself(self, wire: Wire, item: Item) -> bool:
        """A connector's own connection has no room; it tells nobody of room, but waits by itself. False: it did not.

        Raises:
            MaybeSent: The session ended meanwhile; what such a connection has done with the message, nobody knows.
            CancelledError: Nor does anybody when the caller gave up (``may_be_sent``).
        """
        pacer = self._pacer
        if pacer is not None and not pacer.try_acquire(item.key):
            return False
        try:
            if await self._direct.while_there(self._direct.until_sent(wire, item), item):
                succeed(item.receipt)
                return True
        except NotConnected:
            pass  # what can be done then is decided by the caller
        except SendQueueFull:
            await self._until_room(urgent=item.urgent)
        except MaybeSent as error:
            fail(item.receipt, error)
            raise
        except asyncio.CancelledError as error:
            error.args = (GIVEN_UP,)
            raise
        except BaseException:
            if pacer is not None:
                pacer.give_back(item.key)
            raise
        if pacer is not None:
            pacer.give_back(item.key)
        return False

    async def _until_room(self, *, urgent: bool, again: bool = False) -> None:
        """Waits until something was sent or a session ended, and it is the turn of this message."""
        native = self._native
        if native is not None and not self._waiting.items:
            drained = native._drain_future(again=True)
            drained.add_done_callback(self._offer_room)
        await self._room.wait(urgent=urgent, again=again)

    def _offer_room(self, drained: asyncio.Future[None] | None = None) -> None:
        if drained is not None and not drained.cancelled():
            drained.exception()  # a connection that ended is no error here
        self._room.offer()

    def _check_over(self) -> None:
        error = self._closed()
        if error is not None:
            raise error

    def _queue(self, item: Item) -> None:
        self._check_over()
        check(item.message, item.text, self._max_bytes)
        if self._wire is None and self._policy != "keep":
            if self._policy == "drop":
                self.dropped += 1
                fail(item.receipt, NotSent("not connected, and on_disconnect_send is 'drop'", message=item.message))
                return
            raise NotConnected(
                "nothing was sent; await client.wait_ready(), or keep messages with "
                "ClientConfig(on_disconnect_send='keep')",
                message=item.message,
            )
        limit, name, why = self._capacity, "send_queue_capacity", "the rate limit lets no more through"
        if self._ahead:
            why = "the connection that was replaced has not sent what it accepted"
        if self._wire is None:
            limit, name, why = self._keep_limit, "keep_limit", "there is no connection"
        if self.waits >= limit:
            self._waiting.let_expire()
        if self.waits >= limit:
            raise SendQueueFull(f"{self.waits} messages wait already ({name}), as {why}", message=item.message)
        self._waiting.put(item)
        if item.urgent and self._is_pacing and self._draining is not None:
            self._draining.cancel()  # it waits for the token of another one, maybe of another key
            self._draining = None
        self._drain()

    def _hand_over(self, wire: Wire, message: str | BytesLike, text: bool | None) -> None:
        """Gives a message to the connection, which accepts it or raises."""
        try:
            if self._native is not None:
                self._native.send_nowait(message, text)
            else:
                wire.send_nowait(plain(message), text)
                self.sent_otherwise += 1
        except ConnectionClosed as error:
            # It ended, and the session is about to hear of it.
            raise NotConnected(f"nothing was sent: {error}", message=plain(message)) from error
        if self._tap is not None:
            self._tap.sent(plain(message), text)

    def _accepted(self, item: Item) -> None:
        """A connector's own connection has sent it."""
        self.sent_otherwise += 1
        if self._tap is not None:
            self._tap.sent(item.message, item.text)

    def _all_left(self) -> bool:
        """Whether the kernel has taken everything that the connection accepted."""
        native = self._native
        if native is None:
            return True
        if native._has_unsent:
            return False
        if self._account is not None:
            self._account.settle()
            self._account = None
        return True

    def _remember(self, item: Item) -> None:
        """What becomes of this message, which the kernel has not taken, is to be known."""
        assert self._native is not None, "what is no connection of ours tells nothing"
        if self._account is None:
            self._account = Account(self._native)
        self._account.add(item)

    def corked(self) -> contextlib.AbstractContextManager[object]:
        """A block in which what is sent leaves together, where there is a connection that can do that."""
        return self._native.cork() if self._native is not None else contextlib.nullcontext()

    async def ping(self, data: str | BytesLike | None) -> float:
        """Sends a Ping, which waits for no token; its latency in seconds."""
        if self._native is None:
            raise self._closed() or NotConnected("no ping was sent; await client.wait_ready()")
        return await (await self._native.ping(data))

    # ---- what waits ------------------------------------------------------------------------------------------------

    def _drain(self) -> None:
        """Lets what waits go, as fast as the rate limit allows."""
        if not self._has_due or (self._draining is not None and not self._draining.done()):
            return
        self._draining = asyncio.get_running_loop().create_task(self._send_waiting(), name="fastws outbox")

    @property
    def _has_due(self) -> bool:
        """Whether something waits that is not to be behind what a connection before this one has still to send."""
        items = self._waiting.items
        return self._wire is not None and bool(items) and (not self._ahead or items[0].urgent)

    async def _send_waiting(self) -> None:
        pacer = self._pacer
        paid: tuple[str | None] | None = None  # the token that was taken, for this key, and not used yet
        try:
            while self._has_due and self._wire is not None:
                item = self._waiting.items[0]
                if self._waiting.has_expired(item):
                    self._waiting.take_out(item)
                    continue
                if pacer is not None and paid != (item.key,):
                    if paid is not None:
                        pacer.give_back(paid[0])
                        paid = None
                    await self._pace(pacer, item)
                    # Meanwhile something urgent may have come first, and the message may have expired.
                    paid = (item.key,)
                    continue
                try:
                    if not await self._hand_over_when_room(self._wire, item):
                        continue
                except NotConnected:
                    return
                except Exception as error:  # noqa: BLE001 - a message that cannot be sent must not hold up the others
                    self.failed += 1
                    self._waiting.lose(item, "failed", str(error), error)
                    log.warning("a message that waited was not sent: %s", error)
                else:
                    paid = None
                    if self._all_left():
                        succeed(item.receipt)
                    else:
                        self._remember(item)
                self._waiting.take_out(item)
                self._offer_room()
        finally:
            if pacer is not None and paid is not None:
                pacer.give_back(paid[0])

    async def _pace(self, pacer: Pacer, item: Item) -> None:
        self._is_pacing = True
        try:
            await pacer.acquire(Priority.URGENT if item.urgent else Priority.DATA, item.key)
        finally:
            self._is_pacing = False

    async def _hand_over_when_room(self, wire: Wire, item: Item) -> bool:
        """As ``_hand_over``; or waits, and returns False: something else may be due first by now."""
        try:
            self._hand_over(wire, item.message, item.text)
        except SendQueueFull:
            if self._native is not None:
                try:
                    await self._native._drain_future(again=True)
                except ConnectionClosed as error:
                    raise NotConnected(f"nothing was sent: {error}", message=item.message) from error
                return False
            self._waiting.in_hand = item
            try:
                return await self._direct.until_sent(wire, item)
            except MaybeSent:
                self._cut_off(item)
            finally:
                if self._waiting.in_hand is item:
                    self._waiting.in_hand = None
        return True

    def _cut_off(self, item: Item) -> None:
        """A connector's own connection ended while it was sending this."""
        self.unsent += 1
        fail(item.receipt, MaybeSent(CUT, message=item.message))
        self._cut += (Unsent(item.message, "maybe_sent", CUT),)

    # ---- sessions --------------------------------------------------------------------------------------------------

    @property
    def is_native(self) -> bool:
        """Whether what is sent goes straight into the driver's queue: it is accepted without a turn of the loop."""
        return self._native is not None

    def holds(self, receipt: Receipt | None) -> bool:
        """Whether the message that the receipt is for still waits here: no connection has it."""
        return receipt is not None and self._waiting.holds(receipt)

    @property
    def over(self) -> BaseException | None:
        """Why nothing can be sent any more; None if that is not so."""
        return self._closed()

    @property
    def waits(self) -> int:
        """Messages that wait for a connection or for the rate limit."""
        return len(self._waiting.items)

    @property
    def expired(self) -> int:
        """Messages that were given up, as their time was over."""
        return self._waiting.expired

    def begin(self, wire: Wire, pacer: Pacer | None = None) -> None:
        """A session is ready; ``pacer`` has its rate limits."""
        self._wire = wire
        self._pacer = pacer
        self._native = wire if isinstance(wire, Connection) else None
        self._drain()
        self._waiting.look()
        self._offer_room()

    def stop(self) -> None:
        """The client shuts down: from now on nothing is accepted."""
        self._is_stopped = True

    def end(self) -> tuple[tuple[Unsent, ...], tuple[Unsent, ...]]:
        """The session is over: what of it was not sent, and what was given up meanwhile."""
        lost = self.settle(self._detach())
        if self._policy != "keep":
            waited = self._waiting.give_up("the connection ended")
            self.unsent += len(waited)
            lost += waited
        earlier = self._waiting.take_lost()
        self._offer_room()
        return tuple(lost), earlier

    def detach(self) -> Left:
        """Nothing goes to this connection any more: another takes over. Returns what is still to be known of it.

        Until it has sent what it accepted, or that is settled, only what is urgent goes to the other one: nothing
        overtakes what may have to be sent again.
        """
        left = self._detach()
        if left.account is not None and not left.account.is_settled:
            self._ahead += (left,)
            left.account.when_written(self._let_follow)
        return left

    def _let_follow(self, settled: object) -> None:
        """What a connection was to send before others is sent, or it has ended and will be settled."""
        if isinstance(settled, Account) and not settled.is_settled:
            return
        ahead = tuple(left for left in self._ahead if left is not settled and left.account is not settled)
        if ahead != self._ahead:
            self._ahead = ahead
            self._tell_followers()
            self._drain()

    def _tell_followers(self) -> None:
        if self._followed is not None:
            tell((self._followed,))
            self._followed = None

    def _detach(self) -> Left:
        account, self._account = self._account, None
        self._wire = self._native = self._pacer = None
        self._tell_followers()
        self._direct.end()
        if self._draining is not None:
            self._draining.cancel()
            self._draining = None
        if self._waiting.in_hand is not None:
            item, self._waiting.in_hand = self._waiting.in_hand, None
            self._waiting.take_out(item)
            self._cut_off(item)
        cut, self._cut = self._cut, ()
        return Left(account, cut)

    def settle(self, left: Left) -> list[Unsent]:
        """The connection has ended: what of it was lost. What may be sent again waits, before all else."""
        if left.account is None:
            return [*left.cut]
        lost, kept = left.account.close(keeps=self._policy == "keep")
        self.unsent += len(lost)
        if kept:
            self._waiting.put_back(kept)
        self._let_follow(left)
        self._drain()
        return [*left.cut, *lost]

    def withdraw(self, receipt: Receipt) -> bool:
        """Takes out the message that the receipt is for, if no connection has it."""
        return self._waiting.withdraw(receipt)

    def close(self) -> tuple[Unsent, ...]:
        """The client is over: what waits is not sent. Returns what nobody has told of yet."""
        self._is_stopped = False  # there is nothing to accept it, until the client runs again
        early = [each for left in self._ahead for each in self.settle(left)]
        lost, failed = self.end()
        waited = self._waiting.give_up("the client has ended")
        self.unsent += len(waited)
        self._waiting.stop_looking()
        self._offer_room()
        return (*early, *lost, *waited, *failed)

    async def flushed(self) -> None:
        """Waits until nothing waits any more and the kernel has taken everything. Ends with the session."""
        while True:
            under_way: list[asyncio.Future[Any]] = [*self._direct.tasks]
            if self.waits and self._draining is not None and not self._draining.done():
                under_way.append(self._draining)
            if self.waits and self._ahead and self._wire is not None:
                # A connection before this one has still to send, or to say that it did not.
                if self._followed is None:
                    self._followed = asyncio.get_running_loop().create_future()
                under_way.append(self._followed)
            if not under_way:
                break
            await asyncio.wait(under_way, return_when=asyncio.FIRST_COMPLETED)
        native = self._native
        if native is not None and native._has_unsent:
            try:
                await native._written_future()
            except FastwsError:
                return
