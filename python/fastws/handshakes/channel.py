"""What a handshaker talks through: it sends, it waits for an answer, and it swallows nothing."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import TYPE_CHECKING, Any, Final, Protocol

import orjson

from fastws._deadline import Limit
from fastws.errors import ConnectionClosed, HandshakeError

if TYPE_CHECKING:
    from fastws._tap import Tapping

__all__ = ["HandshakeChannel", "HandshakeMessage", "Predicate", "Source", "Unclaimed"]

Predicate = Callable[[Any], object]
"""Judges a decoded message: see ``HandshakeMessage.value``. What it returns counts by its truth."""


MISSHAPEN = (LookupError, TypeError, AttributeError, ValueError)
"""What a predicate raises on a message of another shape than it expects: then it does not hold."""


class Source(Protocol):
    """What a channel is built on: ``fastws.Connection``, or the connection of a connector of one's own."""

    def recv(self) -> Awaitable[Any]:
        """The next message; raises ``ConnectionClosed`` at the end. Cancelling it loses none."""

    def send(self, message: Any, /) -> Awaitable[None]:
        """Sends a message: ``str`` as text, ``bytes`` as binary."""


class HandshakeMessage:
    """A message received during a handshake.

    Attributes:
        data: The message as it was received: ``str``, ``bytes``, or a view where the connection gives views.
        received_ns: When: CLOCK_REALTIME, nanoseconds.
        received_mono_ns: The same moment on CLOCK_MONOTONIC, nanoseconds.
        kernel_ns: When the kernel had it, where the connection knows: CLOCK_REALTIME, nanoseconds.
    """

    __slots__ = ("_value", "data", "kernel_ns", "received_mono_ns", "received_ns")

    def __init__(
        self, data: Any, received_ns: int = 0, received_mono_ns: int = 0, kernel_ns: int | None = None
    ) -> None:
        self.data = data
        self.received_ns = received_ns
        self.received_mono_ns = received_mono_ns
        self.kernel_ns = kernel_ns
        self._value: Any = _UNKNOWN

    @property
    def value(self) -> Any:
        """The message decoded: the value of a JSON object or array, in text or binary; anything else as it is."""
        if self._value is _UNKNOWN:
            self._value = _decoded(self.data)
        return self._value

    def __repr__(self) -> str:
        unit = "characters" if isinstance(self.data, str) else "bytes"
        return f"<fastws.HandshakeMessage {len(self.data)} {unit}>"


Unclaimed = HandshakeMessage


class HandshakeChannel:
    """A connection as a handshaker sees it. A session has one for all its handshakers.

    Messages that no handshaker claims are kept, in order, and go to the streams when the client is ready.

    Args:
        source: The connection.
        pace: Awaited before each message is sent, for a rate limit's tokens. The time it takes is not handshake time.
        max_unclaimed: Messages that are kept. More in front of the answer fail the handshake: they can neither be lost
            nor held without a bound.
        max_unclaimed_bytes: The same in bytes (characters of text).

    Attributes:
        unclaimed: The messages received that nobody claimed, oldest first.
        tap: Told of what is sent; None while handshakers speak, whose messages hold secrets.
    """

    __slots__ = (
        "_limits",
        "_max_unclaimed",
        "_max_unclaimed_bytes",
        "_pace",
        "_source",
        "_unclaimed_bytes",
        "predicate_error",
        "tap",
        "unclaimed",
    )

    def __init__(
        self,
        source: Source,
        *,
        pace: Callable[[], Awaitable[None]] | None = None,
        max_unclaimed: int = 65_536,
        max_unclaimed_bytes: int = 64 * 2**20,
    ) -> None:
        self._source = source
        self._pace = pace
        self._max_unclaimed = max_unclaimed
        self._max_unclaimed_bytes = max_unclaimed_bytes
        self._unclaimed_bytes = 0
        self._limits: list[asyncio.Timeout] = []
        self.unclaimed: list[HandshakeMessage] = []
        self.predicate_error: Exception | None = None
        self.tap: Tapping | None = None

    async def send(self, message: str | bytes) -> None:
        """Sends a message: ``str`` as text, ``bytes`` as binary.

        Raises:
            HandshakeError: The connection is closed; its kind is ``"closed"``.
        """
        if self._pace is not None:
            with self.paused():
                await self._pace()
        try:
            await self._source.send(message)
        except ConnectionClosed as error:
            raise _closed(error) from error
        if self.tap is not None:
            self.tap.sent(message, None)

    async def send_json(self, value: object) -> None:
        """Sends ``value`` as JSON text."""
        await self.send(orjson.dumps(value).decode())

    async def receive(self) -> HandshakeMessage:
        """Waits for the next message, whatever it is. It stays unclaimed unless it is given to ``claim``.

        Raises:
            HandshakeError: The connection closed (kind ``"closed"``, with the code), or too many messages are unclaimed
                (kind ``"failed"``).
        """
        message = await self._next()
        self._keep(message)
        return message

    async def expect(self, predicate: Predicate, *, seen: bool = False) -> HandshakeMessage:
        """Waits for the first message that ``predicate`` accepts, and claims it. The others stay unclaimed.

        Args:
            predicate: Gets a message's ``value``; see ``asked`` for what it may raise.
            seen: Look first at what was received earlier and is unclaimed, such as a greeting.

        Raises:
            HandshakeError: As ``receive`` does.
        """
        if seen:
            for message in self.unclaimed:
                if self.asked(predicate, message.value):
                    self.claim(message)
                    return message
        while True:
            message = await self._next()
            if self.asked(predicate, message.value):
                return message
            self._keep(message)

    def asked(self, predicate: Callable[..., object], value: Any, *more: object) -> object:
        """What ``predicate(value, *more)`` returns.

        A LookupError, TypeError, AttributeError or ValueError in it means that the message is of another shape, so no;
        should the handshake time out later, its error says so.
        """
        try:
            return predicate(value, *more)
        except MISSHAPEN as error:
            self.predicate_error = error
            return False

    def claim(self, message: HandshakeMessage) -> None:
        """Takes a message of ``receive`` for the handshake: no stream will see it.

        Raises:
            ValueError: It is claimed already, or of another channel.
        """
        for index in range(len(self.unclaimed) - 1, -1, -1):
            if self.unclaimed[index] is message:
                del self.unclaimed[index]
                self._unclaimed_bytes -= len(message.data)
                return
        raise ValueError("this message is claimed already, or of another channel")

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """A block in which the running time limits stand still."""
        now = asyncio.get_running_loop().time
        started = now()
        stopped = [(limit, when) for limit in self._limits if (when := limit.when()) is not None]
        stopped = [(limit, when) for limit, when in stopped if not limit.expired()]
        for limit, _ in stopped:
            limit.reschedule(None)
        try:
            yield
        finally:
            spent = now() - started
            for limit, when in stopped:
                limit.reschedule(when + spent)

    def limit(self, seconds: float | None) -> Limit:
        """``asyncio.timeout(seconds)``, but that time spent waiting for a rate limit does not count."""
        return Limit(self._limits, None if seconds is None else asyncio.get_running_loop().time() + seconds)

    async def _next(self) -> HandshakeMessage:
        source = self._source
        try:
            data = await source.recv()
        except ConnectionClosed as error:
            raise _closed(error) from error
        return HandshakeMessage(
            data,
            getattr(source, "received_ns", 0) or time.time_ns(),
            getattr(source, "received_mono_ns", 0) or time.monotonic_ns(),
            getattr(source, "kernel_ns", None),
        )

    def _keep(self, message: HandshakeMessage) -> None:
        self.unclaimed.append(message)
        self._unclaimed_bytes += len(message.data)
        if len(self.unclaimed) > self._max_unclaimed or self._unclaimed_bytes > self._max_unclaimed_bytes:
            raise HandshakeError(
                f"{len(self.unclaimed)} messages ({self._unclaimed_bytes} bytes) came and none was the answer; "
                "if it was among them, say by which predicate it is known"
            )


_UNKNOWN: Final = object()


def _decoded(data: Any) -> Any:
    raw = data if isinstance(data, str | bytes) else bytes(data)
    if raw[:256].lstrip()[:1] in ("{", "[", b"{", b"["):
        with contextlib.suppress(orjson.JSONDecodeError):
            return orjson.loads(raw)
    return raw.decode() if getattr(data, "is_text", False) and isinstance(raw, bytes) else raw


def _closed(error: ConnectionClosed) -> HandshakeError:
    return HandshakeError(str(error), kind="closed", code=error.code)
