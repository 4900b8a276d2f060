"""A connection with the API of ``websockets``. Receiving and sending messages is the native class's."""

from __future__ import annotations

import asyncio
import codecs
import contextlib
import logging
import random
import ssl
import struct
import traceback
import weakref
from collections.abc import AsyncIterator, Awaitable, Iterable
from typing import TYPE_CHECKING, Any, Literal, Self, overload

from fastws.compat.websockets import _policy
from fastws.compat.websockets._facade import Facade, MaxQueue, WriteLimit, pair
from fastws.compat.websockets._shared import Agreed, check_close, control_payload, extended
from fastws.compat.websockets._transport import Transport
from fastws.compat.websockets.exceptions import ConcurrencyError, ConnectionClosed, ConnectionClosedOK
from fastws.compat.websockets.frames import CloseCode
from fastws.compat.websockets.protocol import CLOSED, CLOSING, OPEN, State
from fastws.compat.websockets.typing import BytesLike, Data, DataLike, LoggerLike

from ._methods import Native, Shown

if TYPE_CHECKING:
    import uuid


__all__ = ["Connection"]


class Connection(Agreed, Shown):  # type: ignore[misc]  # its handshake is that of websockets
    """A connection on an event loop; what ``connect`` gives is a ``ClientConnection``.

    ``recv``, ``send`` and iteration are native: an instance is of a class of the same name below that which was called,
    whose ``recv`` and ``send`` are coroutine functions. Attributes of one's own may be set, and subclasses may have an
    ``__init__`` of their own; ``create_connection=`` of ``connect`` takes them.

    Args:
        protocol: The terms of the connection.
        ping_interval: Seconds between keepalive pings; None for none.
        ping_timeout: Seconds that an answer may take; None for no limit.
        close_timeout: Seconds that the closing handshake may take; None for no limit.
        max_queue: Messages after which reading pauses, or a pair (high, low); None for no limit.
        write_limit: Bytes that wait to be sent above which ``send`` waits, or a pair (high, low).
    """

    protocol: Facade

    def __new__(
        cls,
        protocol: Facade,
        *,
        ping_interval: float | None = 20,
        ping_timeout: float | None = 20,
        close_timeout: float | None = 10,
        max_queue: MaxQueue = 16,
        write_limit: WriteLimit = 2**15,
        **_: Any,
    ) -> Self:
        """Makes the native connection; what a subclass's ``__init__`` takes besides is its own affair."""
        protocol = Facade.of(protocol)
        cls = _made(cls, is_native=protocol.is_native)  # noqa: PLW0642
        settings = protocol.settings(
            ping_interval=ping_interval,
            ping_timeout=ping_timeout,
            close_timeout=close_timeout,
            max_queue=max_queue,
            write_limit=write_limit,
        )
        return super().__new__(cls, asyncio.get_running_loop(), _policy, settings)

    def __init__(
        self,
        protocol: Facade,
        *,
        ping_interval: float | None = 20,
        ping_timeout: float | None = 20,
        close_timeout: float | None = 10,
        max_queue: MaxQueue = 16,
        write_limit: WriteLimit = 2**15,
    ) -> None:
        self.protocol = protocol = Facade.of(protocol)
        protocol.tells_of(self)
        self.ping_interval = ping_interval
        self.ping_timeout = ping_timeout
        self.close_timeout = close_timeout
        self.max_queue_high, self.max_queue_low = pair("max_queue", max_queue)
        self.write_limit_high, self.write_limit_low = pair("write_limit", write_limit)
        self.id: uuid.UUID = protocol.id
        self.logger: LoggerLike = logging.LoggerAdapter(protocol.logger, {"websocket": weakref.proxy(self)})
        self.debug = protocol.debug
        self._tls: tuple[ssl.SSLObject | None, ssl.SSLContext | None] = None, None
        self.pending_pings: dict[bytes, tuple[asyncio.Future[float], float]] = {}
        self._is_in_pieces = False

    def __init_subclass__(cls, **arguments: Any) -> None:
        """Iteration is by ``recv`` where a subclass has one of its own."""
        super().__init_subclass__(**arguments)
        if cls.recv not in (Shown.recv, Native.recv) and cls.__aiter__ is Connection.__aiter__:
            cls.__aiter__ = _by_recv  # type: ignore[method-assign, assignment]

    def connection_made(self, transport: Any) -> None:
        """Nothing: ``connect`` calls it for subclasses, when the connection is open."""

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing: it is called for subclasses, when TCP is over; ``exc`` is what the system ended it by, if it did."""

    def _tell_subclass(self) -> None:
        """Lets a subclass hear what ``asyncio`` tells a protocol."""
        if type(self).connection_lost is not Connection.connection_lost:
            know = weakref.ref(self)

            def lost(_: object) -> None:
                connection = know()
                if connection is not None:
                    cause = _policy.closed(connection).__cause__
                    connection.connection_lost(cause if isinstance(cause, OSError) else None)

            self._closed_future().add_done_callback(lost)
        self.connection_made(self.transport)

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The event loop that runs the connection."""
        return self._loop

    @property
    def state(self) -> State:  # type: ignore[override]  # that of websockets, which other code compares with
        """The state. It is CLOSED as soon as nothing more can be received, also while TCP is being closed."""
        if self._state == "closing":
            received, _, sent, _, _, kind, _ = self._close_info
            return CLOSED if kind is not None or (received is not None and sent is not None) else CLOSING
        return _STATES[self._state]

    @property
    def transport(self) -> Transport:
        """What is known of the socket."""
        return Transport(self, *self._tls)

    @property
    def send_in_progress(self) -> object:
        """What ``broadcast`` of the installed ``websockets`` asks: None unless a message is being sent in fragments."""
        return self._is_sending_fragments() or None

    fragmented_send_waiter = send_in_progress  # before release 15

    def send_data(self) -> None:
        """What that calls behind a message, which has left by itself here."""

    @property
    def _write_limits(self) -> tuple[int, int]:
        """Low and high water of what waits to be sent, in bytes."""
        high = self._write_limit
        return high // 4 if self.write_limit_low is None else self.write_limit_low, high

    @overload
    def recv_streaming(self, decode: Literal[True]) -> AsyncIterator[str]: ...

    @overload
    def recv_streaming(self, decode: Literal[False]) -> AsyncIterator[bytes]: ...

    @overload
    def recv_streaming(self, decode: bool | None = None) -> AsyncIterator[Data]: ...

    async def recv_streaming(self, decode: bool | None = None) -> AsyncIterator[Data]:
        """Receives the next message in the fragments in which it comes.

        The iteration is to be gone through to its end: until then neither ``recv`` nor another one can be begun.

        Args:
            decode: None gives text as ``str`` and binary as ``bytes``; True and False give ``str`` and ``bytes``.

        Raises:
            ConnectionClosed: The connection is closed and every message received was taken.
            ConcurrencyError: Another task is receiving.
        """
        if self._is_in_pieces:
            raise _policy.concurrent_streaming()
        try:
            opcode, fin, _, data = await self._recv_piece()
        except ConcurrencyError:
            raise _policy.concurrent_streaming() from None
        self._is_in_pieces = not fin
        decoder = _decoder(decode, is_text=opcode == 1)
        while True:
            if decoder is None:
                yield data
            else:
                try:
                    piece = decoder.decode(data, fin)
                except UnicodeDecodeError as error:
                    raise await self._not_text(error) from error
                yield piece
            if fin:
                return
            _, fin, _, data = await self._recv_piece()
            self._is_in_pieces = not fin

    async def _not_text(self, error: UnicodeDecodeError) -> ConnectionClosed:
        """What ``recv_streaming`` raises where it was told that binary is text, and it is not."""
        self._give_up(CloseCode.INVALID_DATA, f"{error.reason} at position {error.start}", error)
        await self._closed()
        return _policy.closed(self)

    async def ping(self, data: DataLike | None = None) -> Awaitable[float]:
        """Sends a Ping (RFC 6455 §5.5.2); four random bytes if nothing is given.

        Returns a future of the latency in seconds, done when the matching Pong, or that of a later Ping, arrives::

            latency = await (await ws.ping())

        Raises:
            ConnectionClosed: The connection is closed, or closing.
            ConcurrencyError: A Ping with the same data is not answered yet.
        """
        payload = None if data is None else control_payload(data)
        if self.state is not OPEN:
            raise await _policy.ended(self)
        if payload in self.pending_pings:
            raise ConcurrencyError("already waiting for a pong with the same data")
        while payload is None or payload in self.pending_pings:
            payload = struct.pack("!I", random.getrandbits(32))
        pong = self._ping(payload)
        self.pending_pings[payload] = (pong, self._loop.time())
        pong.add_done_callback(lambda future: self._answered(payload, future))
        return pong

    def _answered(self, payload: bytes, pong: asyncio.Future[float]) -> None:
        self.pending_pings.pop(payload, None)
        if not pong.cancelled():
            pong.exception()  # who did not wait for the answer does not want to hear of its failure either

    async def pong(self, data: DataLike = b"") -> None:
        """Sends a Pong that answers no Ping (RFC 6455 §5.5.3). Pings are answered without this.

        Raises:
            ConnectionClosed: The connection is closed, or closing.
        """
        payload = control_payload(data)
        if self.state is not OPEN:
            raise await _policy.ended(self)
        self._pong(payload)

    async def close(self, code: CloseCode | int = CloseCode.NORMAL_CLOSURE, reason: str = "") -> None:
        """Closes the connection: sends a Close frame and waits for the peer's and for the end of TCP.

        Does nothing on a closed connection. With None for a code the frame is empty. A message that is being sent in
        fragments is given up, with 1011.

        Raises:
            ProtocolError: The code may not be sent (RFC 6455 §7.4), or the reason is too long.
        """
        if self._state == "open":
            check_close(code, reason)
            if self._is_sending_fragments():
                self._give_up(CloseCode.INTERNAL_ERROR, "close during fragmented message")
            else:
                self._close(code, reason)
        await self._closed()

    def __repr__(self) -> str:
        return f"<{type(self).__module__}.{type(self).__qualname__} {self.uri} {self._state}>"


async def _by_recv(connection: Connection) -> AsyncIterator[Data]:
    with contextlib.suppress(ConnectionClosedOK):
        while True:
            yield await connection.recv()


def broadcast(
    connections: Iterable[Any], message: DataLike, *, text: bool | None = None, raise_exceptions: bool = False
) -> None:
    """Sends a message to many connections at once, without waiting for any.

    Connections that are not open are left out; of those that are sending a message in fragments, and of failures, the
    log tells.

    Args:
        connections: Ours, and those of the installed ``websockets``.
        message: The message.
        text: True sends bytes-like as text, False sends ``str`` as binary.
        raise_exceptions: Raise an ExceptionGroup of what failed, instead of logging it.
    """
    if not isinstance(message, str | BytesLike):
        raise TypeError("data must be str or bytes")
    failed: list[Exception] = []
    for connection in connections:
        if connection.protocol.state is not OPEN:
            continue
        try:
            _send_at_once(connection, message, text)
        except ConcurrencyError:
            if raise_exceptions:
                failed.append(ConcurrencyError("sending a fragmented message"))
            else:
                connection.logger.warning("skipped broadcast: sending a fragmented message")
        except Exception as error:  # noqa: BLE001 - whatever it is, the others get theirs
            if raise_exceptions:
                failure = RuntimeError("failed to write message")
                failure.__cause__ = error
                failed.append(failure)
            else:
                shown = traceback.format_exception_only(error)[0].strip()
                connection.logger.warning("skipped broadcast: failed to write message: %s", shown)
    if failed:
        raise ExceptionGroup("skipped broadcast", failed)


def _send_at_once(connection: Any, message: DataLike, text: bool | None) -> None:
    if isinstance(connection, Connection):
        connection.send_nowait(message, text)
        return
    if connection.send_in_progress is not None:
        raise ConcurrencyError("sending a fragmented message")
    is_text = isinstance(message, str) if text is None else text
    data = message.encode() if isinstance(message, str) else message
    (connection.protocol.send_text if is_text else connection.protocol.send_binary)(data)
    connection.send_data()


def _decoder(decode: bool | None, *, is_text: bool) -> codecs.IncrementalDecoder | None:
    """Of pieces, of which one may end in the middle of a character."""
    wanted = is_text if decode is None else decode
    return codecs.getincrementaldecoder("utf-8")() if wanted else None


def _made(kind: Any, *, is_native: bool) -> Any:
    """``kind`` as its instances are, for frames that are native or that extensions in Python have to see."""
    if is_native:
        base: Any = Native
    else:
        from ._extended import ExtendedConnection as base  # noqa: N813
    return kind if issubclass(kind, base) else extended(kind, base)


_STATES = {
    "connecting": State.CONNECTING,
    "open": State.OPEN,
    "closed": State.CLOSED,
}
