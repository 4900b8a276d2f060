"""Sending by calls that block: what a client and its handles do alike, and the handle."""

from __future__ import annotations

import concurrent.futures
from collections.abc import Iterable

import orjson

from fastws._account import Receipt as LoopReceipt
from fastws._sendable import plain
from fastws.connection import BytesLike, check_many
from fastws.errors import NotConnected

from ._thread import ClientThread
from .connection import Seconds

__all__ = ["Receipt", "Sender", "Sending"]

Receipt = concurrent.futures.Future[None]
"""Done when the kernel has taken the message. Raises NotSent or MaybeSent if its connection ended before."""


class Sending:
    """What sends messages: a client, or a handle of one. Any number of threads may."""

    __slots__ = ()

    _thread: ClientThread

    def send_nowait(
        self,
        message: str | BytesLike,
        text: bool | None = None,
        *,
        urgent: bool = False,
        expires: Seconds = None,
        key: str | None = None,
    ) -> None:
        """Sends a message, or raises at once. A callback may call it too.

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
            TimeoutError: A callback has held the client's thread for 30 s; the text says whether the message was
                withdrawn.
        """
        self._thread.now(
            lambda: self._thread.client.send_nowait(message, text, urgent=urgent, expires=expires, key=key)
        )

    def send(
        self,
        message: str | BytesLike,
        text: bool | None = None,
        *,
        timeout: Seconds = None,
        receipt: bool = False,
        urgent: bool = False,
        expires: Seconds = None,
        key: str | None = None,
    ) -> Receipt | None:
        """Sends a message; waits where there is no room. The other arguments are those of ``send_nowait``.

        Where the client does not run it never waits: the message is kept, or refused, as ``on_disconnect_send`` says.

        Args:
            timeout: Seconds (or a ``timedelta``) to wait for room; None for no limit.
            receipt: Return a ``concurrent.futures.Future`` that is done when the kernel has taken the message, and
                raises ``NotSent`` or ``MaybeSent`` if the connection ended before that.

        Raises:
            TimeoutError: There was no room within ``timeout``: nothing was sent. (The connection of a ``Connector`` of
                your own may have sent it: then the text says so.) Or a callback holds the client's thread: the text
                says whether the message was withdrawn, or may be sent yet.
            MaybeSent: Only of such a connection: the session ended while it was sending.
            NotConnected, ClientStopped, …: As for ``send_nowait``.
            RuntimeError: It is called in the client's own thread, by a callback.
        """
        self._thread.refuse_callbacks()
        if not self._thread.is_running:
            if receipt:
                raise NotConnected("a receipt is given by a client that runs", message=plain(message))
            self.send_nowait(message, text, urgent=urgent, expires=expires, key=key)
            return None
        given: Receipt | None = concurrent.futures.Future() if receipt else None

        async def send() -> None:
            sent = await self._thread.client.send(
                message, text, timeout=timeout, receipt=receipt, urgent=urgent, expires=expires, key=key
            )
            if given is not None and sent is not None:
                sent.add_done_callback(lambda sent: _pass_on(sent, given))

        self._thread.wait_at_most(timeout, "the message was not accepted", _late, send)
        return given

    def send_timeout(self, message: str | BytesLike, timeout: Seconds) -> None:
        """``send(message, timeout=timeout)``, as the model crate spells it."""
        self.send(message, timeout=timeout)

    def send_many(
        self,
        messages: Iterable[str | BytesLike],
        text: bool | None = None,
        *,
        timeout: Seconds = None,
        expires: Seconds = None,
        key: str | None = None,
    ) -> None:
        """Sends messages in order, waiting for room where there is none. They leave together, and change threads once.

        Args:
            messages: Each as for ``send``.
            text: As for ``send``.
            timeout: Seconds (or a ``timedelta``) that each may wait for room; None for no limit.
            expires: As for ``send``, for each of them, from this call on.
            key: As for ``send``.

        Raises:
            TimeoutError, NotConnected, …: As for ``send``; the messages before were sent. Where a callback holds the
                client's thread, the text says whether all were withdrawn.
        """
        check_many(messages)
        mine = list(messages)

        async def send_many() -> None:
            await self._thread.client.send_many(mine, text, timeout=timeout, expires=expires, key=key)

        most = None if timeout is None else timeout * len(mine)
        self._thread.wait_at_most(most, "not all messages were accepted", _late, send_many)

    def send_threadsafe(
        self, message: str | BytesLike, text: bool | None = None, *, urgent: bool = False, key: str | None = None
    ) -> concurrent.futures.Future[None]:
        """Sends a message without waiting, in callbacks too.

        Returns a future that is done when the message is accepted, as ``send()`` would be, and raises what that does.

        Raises:
            NotConnected, ClientStopped, …: The client does not run.
        """
        message = plain(message)

        async def send() -> None:
            await self._thread.client.send(message, text, urgent=urgent, key=key)

        accepted = self._thread.submit(send)
        if accepted is None:
            raise self._thread.stopped()
        return accepted

    def send_json(
        self,
        value: object,
        *,
        timeout: Seconds = None,
        receipt: bool = False,
        urgent: bool = False,
        expires: Seconds = None,
        key: str | None = None,
    ) -> Receipt | None:
        """Sends ``value`` as JSON text (by orjson); all else is as for ``send``."""
        return self.send(
            orjson.dumps(value), True, timeout=timeout, receipt=receipt, urgent=urgent, expires=expires, key=key
        )

    def send_text(
        self,
        message: str,
        *,
        timeout: Seconds = None,
        receipt: bool = False,
        urgent: bool = False,
        expires: Seconds = None,
        key: str | None = None,
    ) -> Receipt | None:
        """Sends text; all else is as for ``send``."""
        return self.send(message, True, timeout=timeout, receipt=receipt, urgent=urgent, expires=expires, key=key)

    def send_binary(
        self,
        message: BytesLike,
        *,
        timeout: Seconds = None,
        receipt: bool = False,
        urgent: bool = False,
        expires: Seconds = None,
        key: str | None = None,
    ) -> Receipt | None:
        """Sends binary; all else is as for ``send``."""
        return self.send(message, False, timeout=timeout, receipt=receipt, urgent=urgent, expires=expires, key=key)

    def ping(self, data: str | BytesLike | None = None, *, timeout: Seconds = None) -> float:
        """Sends a Ping; returns its latency in seconds.

        Args:
            data: Up to 125 bytes (RFC 6455 §5.5.2); random ones if none are given.
            timeout: Seconds (or a ``timedelta``) to wait for the answer; None for no limit.

        Raises:
            TimeoutError: No answer came within ``timeout``.
            NotConnected, ConnectionClosed: There is no connection, or it ended before.
        """
        return self._thread.wait_for(timeout, "the ping was not answered", self._thread.client.ping, data)


class Sender(Sending):
    """Sends through a client, whichever connection it has: made by ``client.sender()``.

    Hand it to code that shall send and do nothing else, in any thread. It is bound to the client, not to a connection:
    after a reconnect it goes on.
    """

    __slots__ = ("_thread",)

    def __init__(self, thread: ClientThread) -> None:
        self._thread = thread

    @property
    def is_ready(self) -> bool:
        """Whether a message would leave at once."""
        return self._thread.client.is_connected

    def __repr__(self) -> str:
        return f"<fastws.sync.Sender {self._thread.client.uri} {self._thread.client.status}>"


def _late(held: str, is_withdrawn: bool) -> TimeoutError:
    fate = "Nothing was sent, nor will be" if is_withdrawn else "It may be sent, or have been"
    return TimeoutError(f"{held}. {fate}")


def _pass_on(sent: LoopReceipt, given: Receipt) -> None:
    """What became of a message is told in other threads too."""
    if sent.cancelled():
        given.cancel()
        return
    error = sent.exception()
    if not given.set_running_or_notify_cancel():
        return  # who has it does not want to know
    if error is not None:
        given.set_exception(error)
    else:
        given.set_result(None)
