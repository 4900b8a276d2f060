"""A WebSocket connection whose calls block. What happens for each message is native; here is what happens once."""

from __future__ import annotations

import concurrent.futures
import contextlib
import warnings
from collections.abc import Iterable, Iterator
from datetime import timedelta
from types import TracebackType
from typing import Any, NoReturn, Self

import orjson

from fastws import _core
from fastws.connection import BytesLike, Described, check_close, check_many, control_payload

__all__ = ["Connection", "Pong"]

Seconds = float | timedelta | None


class Pong(concurrent.futures.Future[float]):
    """What ``Connection.ping`` returns: a future of the latency in seconds, which ``result`` waits for.

    It is done when the matching Pong, or that of a later Ping, arrives. Where no helper reads, ``result`` does.
    """

    def __init__(self, ws: Connection) -> None:
        super().__init__()
        self._ws: Connection | None = ws
        self.add_done_callback(self._forget)

    def _forget(self, _done: object) -> None:
        self._ws = None

    def result(self, timeout: Seconds = None) -> float:
        """The latency in seconds.

        Args:
            timeout: Seconds (or a ``timedelta``) to wait; None for no limit.

        Raises:
            TimeoutError: No answer came within ``timeout``.
            ConnectionClosed: The connection ended before.
        """
        ws = self._ws
        if ws is not None and not self.done() and not ws._wait_for(self, timeout):
            raise TimeoutError("the ping was not answered in time")
        return super().result(0)


class Connection(Described, _core.SyncConnection):
    """A WebSocket connection without an event loop, made by ``fastws.sync.connect``.

    ``recv``, ``send`` and iteration are native. One thread receives, any number may send, close and ask at the same
    time. A context manager: leaving it closes the connection, with 1011 if an exception leaves it.
    """

    __slots__ = ()

    def batches(
        self, max_messages: int = 4096, max_bytes: int | None = None, max_wait: float | timedelta = 0.0
    ) -> Iterator[_core.Batch]:
        """Iterates over what has arrived, many messages at a time.

        Args:
            max_messages: Messages in a batch at most.
            max_bytes: Bytes in a batch at most; None for no limit. A larger message comes alone.
            max_wait: Seconds (or a ``timedelta``) to wait for more after a batch's first message; 0 takes what is here.

        It ends as iteration over the connection ends.

        Raises:
            ValueError: A limit is not more than zero, or ``max_wait`` less.
            TypeError: An argument is of another type; the text names it.
        """
        self._batch(max_messages, max_bytes, max_wait, takes=False)

        def batches() -> Iterator[_core.Batch]:
            with contextlib.suppress(StopIteration):
                while (batch := self._batch(max_messages, max_bytes, max_wait)) is not None:
                    yield batch

        return batches()

    @contextlib.contextmanager
    def cork(self, timeout: Seconds = None) -> Iterator[None]:
        """Collects what is sent in a ``with`` block, by any thread, so that it leaves together when the block ends.

        What is worth a system call of its own (64 KiB) leaves before. Blocks may be nested, the outermost one counts.

        Args:
            timeout: Seconds (or a ``timedelta``) that the end of the block may take, as in ``send``; None for no limit.
        """
        self._cork()
        try:
            yield
        finally:
            self._uncork(timeout)

    def send_many(self, messages: Iterable[str | bytes], *, timeout: Seconds = None) -> None:
        """Sends messages in order. They leave together, as in ``cork()``.

        Args:
            messages: Each as for ``send``.
            timeout: Seconds (or a ``timedelta``) that each may wait for room; None for no limit.

        Raises:
            ConnectionClosed, TimeoutError, TypeError: As for ``send``; the messages before were sent.
        """
        check_many(messages)
        with self.cork(timeout):
            for message in messages:
                self.send(message, timeout=timeout)

    def send_json(self, value: object, *, timeout: Seconds = None) -> None:
        """Sends ``value`` as JSON text (by orjson); ``timeout`` and exceptions are those of ``send``."""
        self.send(orjson.dumps(value), text=True, timeout=timeout)

    def ping(self, data: str | BytesLike | None = None) -> Pong:
        """Sends a Ping with up to 125 bytes (RFC 6455 §5.5.2); random data if none is given.

        Returns a future of the latency in seconds::

            latency = ws.ping().result(timeout=5)

        Raises:
            ConnectionClosed: The connection is closed or closing.
            ValueError: More than 125 bytes.
        """
        pong = Pong(self)
        self._ping(None if data is None else control_payload(data), pong)
        return pong

    def pong(self, data: str | BytesLike = b"") -> None:
        """Sends a Pong that answers no Ping (RFC 6455 §5.5.3). Pings are answered without this."""
        self._pong(control_payload(data))

    def close(self, code: int = 1000, reason: str = "") -> None:
        """Closes the connection.

        Sends a Close frame behind all queued data and waits for the peer's, ``close_timeout`` seconds at most. Does
        nothing on a closed connection. A thread that waits in ``recv`` gets what was received, then ConnectionClosed.

        What has arrived can still be received afterwards. What arrives while the receive queue is full is read and
        discarded, as the peer's Close lies behind it; ``stats().messages_discarded`` counts it. To get everything that
        a peer has to say, receive until it closes.

        An exception of a signal's handler, such as KeyboardInterrupt, gives the connection up at once.

        Raises:
            ValueError: The code may not be sent (RFC 6455 §7.4) or the reason is longer than 123 bytes of UTF-8.
            TypeError: The code is no int, or the reason no str.
        """
        check_close(code, reason)
        self._close(code, reason)
        try:
            self._wait_closed()
        except BaseException:
            self._abort("close() was interrupted")
            raise

    def wait_closed(self, timeout: Seconds = None) -> None:
        """Waits until the connection is closed.

        Args:
            timeout: Seconds (or a ``timedelta``) to wait; None for no limit.

        Raises:
            TimeoutError: It is not closed within ``timeout``.
        """
        if not self._wait_closed(timeout):
            raise TimeoutError("the connection was not closed in time")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        if exc_type is None:
            self.close()  # a subclass's may have no parameters
        else:
            self.close(1011)

    def __aenter__(self) -> NoReturn:
        self._abort("it was opened for `async with`")
        raise TypeError(
            "this connection blocks: write `with` instead of `async with`, or open it by an asynchronous connect()"
        )

    def __aexit__(self, *_: object) -> NoReturn:
        """Never called: there is no entering."""
        raise TypeError("this connection blocks: write `with`")

    def __repr__(self) -> str:
        return f"<fastws.sync.Connection {self.uri} {self._state}>"

    def __del__(self, _warn: Any = warnings.warn) -> None:
        if self._is_live:
            _warn(f"unclosed {self!r}; use `with` or close()", ResourceWarning, source=self, stacklevel=2)
            self._abandon()
