"""A WebSocket connection. What happens for each message is native; this file has what happens once."""

from __future__ import annotations

import asyncio
import concurrent.futures
import warnings
from collections.abc import Awaitable, Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from enum import IntEnum
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import orjson

from . import _core, _policy
from .compression import AgreedCompression
from .errors import CloseInfo
from .http import Request, Response, parse_request

__all__ = ["Connection", "ConnectionStats", "State"]


BytesLike = bytes | bytearray | memoryview


class State(IntEnum):
    """The state of a connection (RFC 6455 §4.1, §7.1)."""

    CONNECTING = 0
    OPEN = 1
    CLOSING = 2
    CLOSED = 3


@dataclass(frozen=True, slots=True)
class ConnectionStats:
    """Counters of a connection since it opened. Sizes are bytes.

    ``receive_paused`` says that our own receive queue is full and nothing is read, ``receive_paused_seconds`` for how
    long by now. ``messages_discarded`` are those that came while ``close()`` waited for the peer and our own queue was
    full. ``writes`` are the system calls that wrote something.
    """

    messages_received: int
    messages_sent: int
    frames_received: int
    frames_sent: int
    payload_received: int
    payload_sent: int
    bytes_received: int
    bytes_sent: int
    writes: int
    pings_received: int
    pings_sent: int
    pongs_received: int
    pongs_sent: int
    messages_discarded: int
    receive_queue_messages: int
    receive_queue_bytes: int
    send_queue_messages: int
    send_queue_bytes: int
    receive_paused: bool
    receive_paused_seconds: float


if TYPE_CHECKING:
    from ._core import _Native
else:
    _Native = object  # the native class beside it is one


class Described(_Native):
    """What any connection tells of itself."""

    __slots__ = ()

    @property
    def state(self) -> State:
        """The state."""
        return State[self._state.upper()]

    @property
    def close_info(self) -> CloseInfo | None:
        """How the connection ended; None while it is open."""
        return _policy.close_info(self) if self._state in ("closing", "closed") else None

    @property
    def close_code(self) -> int | None:
        """The close code received; 1006 if the connection ended without one; None while that is not known.

        Whoever has had a ``ConnectionClosed`` of a Close frame or a failure knows it, though the connection is still
        being closed.
        """
        info = self._ended
        return None if info is None else info.code

    @property
    def close_reason(self) -> str | None:
        """The close reason received, or ``""``; None where ``close_code`` is."""
        info = self._ended
        return None if info is None else info.reason

    @property
    def _ended(self) -> CloseInfo | None:
        """How it ended, if that is decided: a Close frame came, it failed, or it is closed."""
        info = self.close_info
        is_decided = info is not None and (self._state == "closed" or info.rcvd is not None or info.cause is not None)
        return info if is_decided else None

    @property
    def request(self) -> Request:
        """The upgrade request as it was sent."""
        data = self._request
        assert data is not None, "a connection is made with its request"
        return parse_request(data)

    @property
    def response(self) -> Response | None:
        """The server's answer to the upgrade."""
        return _policy.response(self)

    @property
    def subprotocol(self) -> str | None:
        """The subprotocol that the server chose (RFC 6455 §1.9)."""
        answer = self.response
        return answer.headers.get("Sec-WebSocket-Protocol") if answer else None

    @property
    def compression(self) -> AgreedCompression | None:
        """On which terms messages are compressed (RFC 7692); None: they are not."""
        agreed = self._compression
        return None if agreed is None else AgreedCompression(*agreed)

    def stats(self) -> ConnectionStats:
        """Counters of the connection."""
        return ConnectionStats(**self._stats())


class Connection(Described, _core.Connection):
    """A WebSocket connection, made by ``fastws.connect``.

    ``recv``, ``send``, ``send_nowait``, iteration and ``batches`` are native: they cost no Python. A connection belongs
    to the event loop and the thread that made it; from other threads use ``send_threadsafe``.
    """

    __slots__ = ()

    async def send_many(self, messages: Iterable[str | bytes]) -> None:
        """Sends messages in order, waiting for room where there is none. They leave together, as in ``cork()``."""
        check_many(messages)
        with self.cork():
            for message in messages:
                await self.send(message)

    async def send_json(self, value: object) -> None:
        """Sends ``value`` as JSON text (by orjson)."""
        await self.send(orjson.dumps(value), text=True)

    def send_threadsafe(self, message: str | bytes, text: bool | None = None) -> concurrent.futures.Future[None]:
        """Sends a message from another thread.

        Returns a future that is done when the message is accepted by the send queue, as ``await send()`` would be.
        Raises RuntimeError if the event loop is closed.
        """
        if not isinstance(message, str | bytes):
            # Somebody else may change it before the loop gets to it.
            try:
                message = memoryview(message).tobytes()
            except TypeError:
                raise TypeError(f"a message is str or bytes-like, not {type(message).__name__}") from None
        loop = self._loop
        if loop.is_closed():
            raise RuntimeError("the event loop of this connection is closed")

        async def send() -> None:
            await self.send(message, text)

        return asyncio.run_coroutine_threadsafe(send(), loop)

    async def ping(self, data: str | BytesLike | None = None) -> Awaitable[float]:
        """Sends a Ping with up to 125 bytes (RFC 6455 §5.5.2); random data if none is given.

        Returns an awaitable of the latency in seconds, done when the matching Pong, or that of a later Ping, arrives::

            latency = await (await ws.ping())

        A Pong lies behind what was sent before it, and nothing is read while the receive queue is full: receive
        meanwhile.
        """
        return self._ping(None if data is None else control_payload(data))

    async def pong(self, data: str | BytesLike = b"") -> None:
        """Sends a Pong that answers no Ping (RFC 6455 §5.5.3). Pings are answered without this."""
        self._pong(control_payload(data))

    async def close(self, code: int = 1000, reason: str = "") -> None:
        """Closes the connection.

        Sends a Close frame behind all queued data and waits for the peer's, ``close_timeout`` seconds at most. Does
        nothing on a closed connection.

        What has arrived can still be received afterwards. What arrives while the receive queue is full is read and
        discarded, as the peer's Close lies behind it; ``stats().messages_discarded`` counts it. To get everything that
        a peer has to say, receive until it closes.

        Raises:
            ValueError: The code may not be sent (RFC 6455 §7.4) or the reason is longer than 123 bytes of UTF-8.
            TypeError: The code is no int, or the reason no str.
        """
        check_close(code, reason)
        self._close(code, reason)
        await self._closed()

    async def wait_closed(self) -> None:
        """Waits until the connection is closed; raises the exception of a listener's callback that closed it."""
        await self._closed()
        if self._listener_error is not None:
            raise self._listener_error

    async def _closed(self) -> None:
        future = self._closed_future()
        try:
            await future
        finally:
            if future.cancelled():
                self._forget_closed(future)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        await (self.close() if exc_type is None else self.close(1011))  # a subclass's may have no parameters
        if exc_type is None and self._listener_error is not None:
            raise self._listener_error

    def __repr__(self) -> str:
        return f"<fastws.Connection {self.uri} {self._state}>"

    def __del__(self, _warn: Any = warnings.warn) -> None:
        if self._is_live:
            _warn(f"unclosed {self!r}; use `async with` or close()", ResourceWarning, source=self, stacklevel=2)
            self._abandon()


def check_many(messages: Iterable[object]) -> None:
    """What ``send_many`` takes."""
    if isinstance(messages, str | bytes | bytearray | memoryview):
        raise TypeError(
            f"send_many() takes several messages, such as a list; send() takes one {type(messages).__name__}"
        )
    if isinstance(messages, Mapping | AbstractSet) or not isinstance(messages, Iterable):
        raise TypeError(f"send_many() takes messages in order, such as a list, not {type(messages).__name__}")


def check_close(code: int, reason: str) -> None:
    """What ``close`` takes."""
    if isinstance(code, bool) or not isinstance(code, int):
        raise TypeError(f"code is a close code (int) such as 1000, not {code!r}")
    if not isinstance(reason, str):
        raise TypeError(f"reason is a str, not {reason!r}")


def control_payload(data: str | BytesLike) -> bytes:
    """The payload of a Ping or Pong."""
    if isinstance(data, str):
        return data.encode()
    if not isinstance(data, BytesLike):
        raise TypeError(f"a ping or pong carries str or bytes-like, not {type(data).__name__}")
    return bytes(data)
