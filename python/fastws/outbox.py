"""What a client sends: across reconnects, with an honest account of what became of it.

While a session is ready a message goes straight into the connection's send queue. Otherwise it fails, waits for the
next session or is dropped, as ``on_disconnect_send`` says. At a session's end every message that the kernel did not
take wholly is accounted for: ``not_sent`` if no byte of it was written, ``maybe_sent`` if some were.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

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
    from .config import ClientConfig
    from .connector import Wire

__all__ = ["Outbox", "Receipt"]

_NONE: deque[Any] = deque(maxlen=0)
"""Nothing waits, for the many of whom that is true; nothing is put into it."""

log = logging.getLogger("fastws.client")

Message = str | bytes
Receipt = asyncio.Future[None]
"""Done when the kernel has taken the message. Raises NotSent or MaybeSent if its connection ended before."""


class _Waiting(NamedTuple):
    message: Message
    text: bool | None
    expires: float | None
    receipt: Receipt | None
    key: str | None
    urgent: bool = False


class Outbox:
    """The messages of one client on their way out.

    Args:
        config: ``send_queue_capacity`` bounds what waits in either queue, ``on_disconnect_send`` chooses the policy.
        closed: The exception of sending when the client is over; None while it is not.
    """

    __slots__ = (
        "_capacity",
        "_closed",
        "_draining",
        "_keep_limit",
        "_native",
        "_pacer",
        "_policy",
        "_receipts",
        "_room",
        "_sent",
        "_tail",
        "_waiting",
        "_wire",
        "dropped",
        "expired",
        "failed",
        "sent_otherwise",
        "unsent",
    )

    def __init__(
        self,
        config: ClientConfig,
        closed: Callable[[], BaseException | None],
    ) -> None:
        self._capacity = config.send_queue_capacity
        self._keep_limit = config.keep_limit
        self._policy: Literal["fail", "keep", "drop"] = config.on_disconnect_send
        self._pacer: Pacer | None = None
        self._closed = closed
        self._wire: Wire | None = None
        self._native: Connection | None = None
        # An empty deque takes 760 bytes, and most clients wait for nothing: each is made when it is needed.
        self._waiting: deque[_Waiting] = _NONE
        # The last messages accepted by the connection: those that it has not written are the last of them.
        self._tail: deque[tuple[Message, bool | None]] = _NONE
        self._receipts: deque[tuple[int, Receipt]] = _NONE
        self._sent = 0
        self._room: deque[asyncio.Future[None]] = _NONE
        self._draining: asyncio.Task[None] | None = None
        self.dropped = 0
        self.expired = 0
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
        wire = self._wire
        if wire is not None and not self._waiting and (self._pacer is None or self._pacer.try_acquire(key)):
            try:
                self._hand_over(wire, message, text, receipt)
            except NotConnected:
                if self._policy == "fail":
                    raise
                # It ended, and the session is about to: the next one may send it.
            else:
                return
        self._queue(_Waiting(plain(message), text, expires, receipt, key, urgent))

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
        while True:
            # Before it is accepted: who gives up waiting, by a timeout or a cancellation, has sent nothing.
            native = self._native
            if native is not None and native._is_above_write_limit:
                with contextlib.suppress(ConnectionClosed):  # what can be done then is decided below
                    await native._drain_future()
            try:
                self.send_nowait(message, text, urgent=urgent, expires=expires, key=key, receipt=receipt)
            except SendQueueFull:
                await self._until_room()
            else:
                return

    async def _until_room(self) -> None:
        """Waits, first come first served, until something was sent or a session ended."""
        room: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if self._room is _NONE:
            self._room = deque()
        self._room.append(room)
        native = self._native
        if native is not None and not self._waiting:
            drained = native._drain_future(again=True)
            drained.add_done_callback(self._offer_room)
        try:
            await room
        finally:
            if room in self._room:
                self._room.remove(room)

    def _offer_room(self, drained: asyncio.Future[None] | None = None) -> None:
        if drained is not None and not drained.cancelled():
            drained.exception()  # a connection that ended is no error here
        while self._room:
            room = self._room.popleft()
            if not room.done():
                room.set_result(None)

    def _queue(self, item: _Waiting) -> None:
        error = self._closed()
        if error is not None:
            raise error
        if self._wire is None and self._policy != "keep":
            if self._policy == "drop":
                self.dropped += 1
                _fail(item.receipt, NotSent("not connected, and on_disconnect_send is 'drop'", message=item.message))
                return
            raise NotConnected(
                "nothing was sent; await client.wait_ready(), or keep messages with "
                "ClientConfig(on_disconnect_send='keep')",
                message=item.message,
            )
        limit, name, why = self._capacity, "send_queue_capacity", "the rate limit lets no more through"
        if self._wire is None:
            limit, name, why = self._keep_limit, "keep_limit", "there is no connection"
        if len(self._waiting) >= limit:
            raise SendQueueFull(f"{len(self._waiting)} messages wait already ({name}), as {why}", message=item.message)
        if self._waiting is _NONE:
            self._waiting = deque()
        if item.urgent:
            self._waiting.appendleft(item)
        else:
            self._waiting.append(item)
        self._drain()

    def _hand_over(self, wire: Wire, message: str | BytesLike, text: bool | None, receipt: Receipt | None) -> None:
        """Gives a message to the connection, which accepts it or raises."""
        try:
            if self._native is not None:
                self._native.send_nowait(message, text)
            else:
                wire.send_nowait(plain(message), text)
        except ConnectionClosed as error:
            # It ended, and the session is about to hear of it.
            raise NotConnected(f"nothing was sent: {error}", message=plain(message)) from error
        native = self._native
        if native is None:
            self.sent_otherwise += 1
            _succeed(receipt)
            return
        self._sent += 1
        if not native._has_unsent:
            if self._tail is not _NONE:
                self._tail = _NONE
            _succeed(receipt)
            return
        if self._tail is _NONE:
            self._tail = deque(maxlen=self._capacity + 1)
        self._tail.append((plain(message), text))
        if receipt is not None:
            if self._receipts is _NONE:
                self._receipts = deque()
            self._receipts.append((self._sent, receipt))
            self._watch()

    def corked(self) -> contextlib.AbstractContextManager[object]:
        """A block in which what is sent leaves together, where there is a connection that can do that."""
        return self._native.cork() if self._native is not None else contextlib.nullcontext()

    async def ping(self, data: str | BytesLike | None) -> float:
        """Sends a Ping, which takes a token and waits for none; its latency in seconds."""
        if self._native is None:
            raise NotConnected("no ping was sent; await client.wait_ready()")
        if self._pacer is not None:
            self._pacer.pay()
        return await (await self._native.ping(data))

    # ---- what waits ------------------------------------------------------------------------------------------------

    def _drain(self) -> None:
        """Lets what waits go, as fast as the rate limit allows."""
        if self._wire is None or not self._waiting or (self._draining is not None and not self._draining.done()):
            return
        self._draining = asyncio.get_running_loop().create_task(self._send_waiting(), name="fastws outbox")

    async def _send_waiting(self) -> None:
        while self._waiting and self._wire is not None:
            item = self._waiting[0]
            if self._has_expired(item):
                self._waiting.popleft()
                continue
            if self._pacer is not None:
                await self._pacer.acquire(Priority.URGENT if item.urgent else Priority.DATA, item.key)
                if not self._waiting:
                    return
                # Something urgent may have come first: the token serves whoever is first now.
                item = self._waiting[0]
            wire = self._wire
            if wire is None:
                return
            try:
                self._hand_over(wire, item.message, item.text, item.receipt)
            except SendQueueFull:
                assert self._native is not None
                try:
                    await self._native._drain_future(again=True)
                except ConnectionClosed:
                    return
                continue
            except NotConnected:
                return
            except Exception as error:  # noqa: BLE001 - a message that cannot be sent must not hold up the others
                self._waiting.popleft()
                self.failed += 1
                _fail(item.receipt, error)
                log.warning("a message that waited was not sent: %s", error)
                continue
            self._waiting.popleft()
            self._offer_room()

    def _has_expired(self, item: _Waiting) -> bool:
        if item.expires is None or item.expires > asyncio.get_running_loop().time():
            return False
        self.expired += 1
        _fail(item.receipt, NotSent("it expired while it waited for a connection", message=item.message))
        return True

    # ---- receipts --------------------------------------------------------------------------------------------------

    def _watch(self) -> None:
        native = self._native
        if native is None or len(self._receipts) != 1:
            return  # somebody watches already
        native._written_future().add_done_callback(self._written)

    def _written(self, future: asyncio.Future[None]) -> None:
        if future.cancelled() or future.exception() is not None or self._native is None:
            return  # the session's end gives the account
        self._settle(self._native)
        if self._receipts:
            self._native._written_future().add_done_callback(self._written)

    def _settle(self, native: Connection) -> None:
        _, not_begun, begun = native._unsent
        written = self._sent - not_begun - begun
        while self._receipts and self._receipts[0][0] <= written:
            _succeed(self._receipts.popleft()[1])

    # ---- sessions --------------------------------------------------------------------------------------------------

    @property
    def waits(self) -> int:
        """Messages that wait for a connection or for the rate limit."""
        return len(self._waiting)

    def begin(self, wire: Wire, pacer: Pacer | None = None) -> None:
        """A session is ready; ``pacer`` has its rate limits."""
        self._wire = wire
        self._pacer = pacer
        self._native = wire if isinstance(wire, Connection) else None
        # What a handshake sent was sent before.
        self._sent = self._native._unsent[0] if self._native is not None else 0
        self._tail.clear()
        self._drain()

    def end(self) -> tuple[Unsent, ...]:
        """The session is over: what of it was not sent."""
        native, self._wire, self._native, self._pacer = self._native, None, None, None
        if self._draining is not None:
            self._draining.cancel()
            self._draining = None
        lost: list[Unsent] = []
        if native is not None:
            self._settle(native)
            lost = self._account(native)
        if self._policy != "keep":
            lost += self._give_up("the connection ended")
        self.unsent += len(lost)
        self._offer_room()
        return tuple(lost)

    def _account(self, native: Connection) -> list[Unsent]:
        _, not_begun, begun = native._unsent
        count = not_begun + begun
        messages = list(self._tail)[-count:] if count else []
        self._tail.clear()
        receipts = dict(self._receipts)
        self._receipts.clear()
        first = self._sent - len(messages) + 1
        lost: list[Unsent] = []
        kept: list[_Waiting] = []
        for number, (message, text) in enumerate(messages, first):
            receipt = receipts.pop(number, None)
            if number < first + begun:
                why = "the connection ended while a part of it was on its way"
                lost.append(Unsent(message, "maybe_sent", why))
                _fail(receipt, MaybeSent(why, message=message))
            elif self._policy == "keep":
                kept.append(_Waiting(message, text, None, receipt, None))
            else:
                why = "the connection ended before it was on its way"
                lost.append(Unsent(message, "not_sent", why))
                _fail(receipt, NotSent(why, message=message))
        for receipt in receipts.values():
            _fail(receipt, MaybeSent("the connection ended"))
        if kept:
            self._waiting = deque((*kept, *self._waiting))
        return lost

    def _give_up(self, why: str) -> list[Unsent]:
        lost = [Unsent(item.message, "not_sent", why) for item in self._waiting]
        for item in self._waiting:
            _fail(item.receipt, NotSent(why, message=item.message))
        self._waiting.clear()
        return lost

    def close(self) -> tuple[Unsent, ...]:
        """The client is over: what waits is not sent."""
        lost = self.end()
        waited = self._give_up("the client was shut down")
        self.unsent += len(waited)
        self._offer_room()
        return (*lost, *waited)

    async def flushed(self) -> None:
        """Waits until nothing waits any more and the kernel has taken everything. Ends with the session."""
        while self._waiting and self._draining is not None and not self._draining.done():
            await asyncio.wait([self._draining])
        native = self._native
        if native is not None and native._has_unsent:
            try:
                await native._written_future()
            except FastwsError:
                return


def plain(message: str | BytesLike) -> Message:
    """A message that nobody can change any more."""
    return message if isinstance(message, str | bytes) else bytes(message)


def _succeed(receipt: Receipt | None) -> None:
    if receipt is not None and not receipt.done():
        receipt.set_result(None)


def _fail(receipt: Receipt | None, error: BaseException) -> None:
    if receipt is not None and not receipt.done():
        receipt.set_exception(error)
        receipt.exception()  # whether somebody looks is their affair
