"""Sending: what a client and its handles do alike, and the handle."""

from __future__ import annotations

import asyncio
import concurrent.futures
from collections.abc import Coroutine, Iterable
from typing import TYPE_CHECKING, Any

import orjson

from . import _core
from ._account import fail
from ._direct import may_be_sent
from ._sendable import plain
from ._waiting import loop_time
from .connection import BytesLike, check_many
from .errors import NotSent
from .outbox import Receipt

if TYPE_CHECKING:
    from ._options import Seconds
    from ._parts import Parts

__all__ = ["Sender", "Sending"]


class Sending:
    """What sends messages: a client, or a handle of one."""

    __slots__ = ()

    _parts: Parts

    def send_nowait(
        self,
        message: str | BytesLike,
        text: bool | None = None,
        *,
        urgent: bool = False,
        expires: Seconds = None,
        key: str | None = None,
    ) -> None:
        """Sends a message, or raises at once.

        Args:
            message: ``str`` is sent as text, bytes-like as binary.
            text: True sends bytes-like as text, False sends ``str`` as binary.
            urgent: Pass those that wait for the rate limit or a connection.
            expires: Seconds after which a message that still waits is not sent any more. What a connection has accepted
                leaves: where the peer stopped reading, up to ``send_queue_capacity`` messages do so after their time.
            key: The rate limit that it falls under.

        Raises:
            NotConnected: There is no ready connection, and ``on_disconnect_send`` is ``"fail"``.
            SendQueueFull: There is no room; nothing was accepted.
            ClientStopped, …: The client is over; the cause.
            TypeError, ValueError: The message cannot be sent: it is neither text nor bytes, not UTF-8 with
                ``text=True``, or larger than the send queue.
        """
        if self._looks_at_outgoing:
            passed = self._outgoing_now(message)
            if passed is None:
                return
            message = passed
        self._parts.outbox.send_nowait(message, text, urgent=urgent, expires=_moment(expires), key=key)

    async def send(
        self,
        message: str | BytesLike,
        text: bool | None = None,
        *,
        timeout: Seconds = None,  # noqa: ASYNC109 - as asyncio.Queue has none, and the model has
        receipt: bool = False,
        urgent: bool = False,
        expires: Seconds = None,
        key: str | None = None,
    ) -> Receipt | None:
        """Sends a message; waits where there is no room. The other arguments are those of ``send_nowait``.

        Args:
            timeout: Seconds to wait for room; None for no limit.
            receipt: Return a future that is done when the kernel has taken the message, and raises ``NotSent`` or
                ``MaybeSent`` if the connection ended before that.

        Raises:
            TimeoutError: There was no room within ``timeout``: nothing was sent. (The connection of a ``Connector`` of
                your own may have sent it: then the text says so.)
            MaybeSent: Only of such a connection: the session ended while it was sending.
            NotConnected, ClientStopped, TypeError, …: As for ``send_nowait``.
        """
        future: Receipt | None = asyncio.get_running_loop().create_future() if receipt else None
        if self._looks_at_outgoing:
            passed = await self._outgoing(message)
            if passed is None:
                if future is not None:
                    fail(future, NotSent("an extension stopped it", message=plain(message)))
                return future
            message = passed
        seconds = None if timeout is None else _core.seconds("timeout", timeout)
        sending = self._parts.outbox.send(
            message, text, urgent=urgent, expires=_moment(expires), key=key, receipt=future
        )
        if seconds is None:
            await sending
        else:
            await self._within(seconds, sending)
        return future

    async def _within(self, seconds: float, sending: Coroutine[Any, Any, None]) -> None:
        """Gives up after so many seconds."""
        limit = asyncio.timeout(seconds)
        try:
            async with limit:
                await sending
        except TimeoutError as error:
            if not limit.expired():
                raise
            if may_be_sent(error):
                raise TimeoutError(f"maybe sent: the connector's connection was not done in {seconds:g} s") from error
            raise TimeoutError(f"not sent: no room within {seconds:g} s") from error

    async def send_async(self, message: str | BytesLike) -> None:
        """``send(message)``, as the model crate spells it."""
        await self.send(message)

    async def send_timeout(self, message: str | BytesLike, timeout: Seconds) -> None:  # noqa: ASYNC109 - the model's
        """``send(message, timeout=timeout)``, as the model crate spells it."""
        await self.send(message, timeout=timeout)

    async def send_many(
        self,
        messages: Iterable[str | BytesLike],
        text: bool | None = None,
        *,
        timeout: Seconds = None,  # noqa: ASYNC109 - as above
        expires: Seconds = None,
        key: str | None = None,
    ) -> None:
        """Sends messages in order, waiting for room where there is none. They leave together, as in ``cork()``.

        Args:
            messages: Each as for ``send``.
            text: As for ``send``.
            timeout: Seconds that each may wait for room; None for no limit.
            expires: As for ``send``, for each of them, from this call on.
            key: As for ``send``.

        Raises:
            TimeoutError, NotConnected, …: As for ``send``; the messages before were sent.
        """
        check_many(messages)
        moment = _moment(expires)
        with self._parts.outbox.corked():
            for message in messages:
                left = None if moment is None else max(moment - asyncio.get_running_loop().time(), 0.0)
                await self.send(message, text, timeout=timeout, expires=left, key=key)

    def send_threadsafe(
        self, message: str | BytesLike, text: bool | None = None, *, urgent: bool = False, key: str | None = None
    ) -> concurrent.futures.Future[None]:
        """Sends a message from another thread than that in which the client runs.

        Returns a future that is done when the message is accepted, as ``await send()`` would be, and raises what that
        does.

        Raises:
            RuntimeError: The client has not run yet, or its event loop is closed.
        """
        loop = self._parts.loop
        if loop is None:
            raise RuntimeError(f"{self._parts.supervisor.uri}: the client has not run yet")
        if loop.is_closed():
            raise RuntimeError(f"{self._parts.supervisor.uri}: the event loop of this client is closed")
        message = plain(message)

        async def send() -> None:
            await self.send(message, text, urgent=urgent, key=key)

        return asyncio.run_coroutine_threadsafe(send(), loop)

    async def send_json(
        self,
        value: object,
        *,
        timeout: Seconds = None,  # noqa: ASYNC109 - as above
        receipt: bool = False,
        urgent: bool = False,
        expires: Seconds = None,
        key: str | None = None,
    ) -> Receipt | None:
        """Sends ``value`` as JSON text (by orjson); all else is as for ``send``."""
        return await self.send(
            orjson.dumps(value), True, timeout=timeout, receipt=receipt, urgent=urgent, expires=expires, key=key
        )

    async def send_text(
        self,
        message: str,
        *,
        timeout: Seconds = None,  # noqa: ASYNC109 - as above
        receipt: bool = False,
        urgent: bool = False,
        expires: Seconds = None,
        key: str | None = None,
    ) -> Receipt | None:
        """Sends text; all else is as for ``send``."""
        return await self.send(message, True, timeout=timeout, receipt=receipt, urgent=urgent, expires=expires, key=key)

    async def send_binary(
        self,
        message: BytesLike,
        *,
        timeout: Seconds = None,  # noqa: ASYNC109 - as above
        receipt: bool = False,
        urgent: bool = False,
        expires: Seconds = None,
        key: str | None = None,
    ) -> Receipt | None:
        """Sends binary; all else is as for ``send``."""
        return await self.send(
            message, False, timeout=timeout, receipt=receipt, urgent=urgent, expires=expires, key=key
        )

    async def ping(self, data: str | BytesLike | None = None) -> float:
        """Sends a Ping; returns its latency in seconds. Raises NotConnected, ConnectionClosed."""
        return await self._parts.outbox.ping(data)

    # ---- who looks at what is sent ---------------------------------------------------------------------------------

    @property
    def _looks_at_outgoing(self) -> bool:
        return self._parts.host.handles_outgoing

    async def _outgoing(self, message: str | BytesLike) -> str | bytes | None:
        return await self._parts.host.process_outgoing(plain(message), self._parts.host.context)

    def _outgoing_now(self, message: str | BytesLike) -> str | bytes | None:
        looking = self._outgoing(message)
        try:
            looking.send(None)
        except StopIteration as done:
            passed: str | bytes | None = done.value
            return passed
        looking.close()
        raise TypeError("an extension has an async on_send, which send_nowait() cannot wait for: use await send()")


class Sender(Sending):
    """Sends through a client, whichever connection it has: made by ``client.sender()``.

    Hand it to code that shall send and do nothing else. It is bound to the client, not to a connection: after a
    reconnect it goes on.
    """

    __slots__ = ("_parts",)

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    @property
    def is_ready(self) -> bool:
        """Whether a message would leave at once."""
        return self._parts.supervisor.is_connected

    def __repr__(self) -> str:
        return f"<fastws.Sender {self._parts.supervisor.uri} {self._parts.supervisor.state.status}>"


def _moment(expires: Seconds) -> float | None:
    """When something expires that does so in so many seconds, on the loop's clock."""
    return None if expires is None else loop_time() + _core.seconds("expires", expires)
