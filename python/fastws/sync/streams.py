"""Streams whose calls block: a client's messages, and its events."""

from __future__ import annotations

import itertools
import threading
import time
from collections import deque
from collections.abc import Iterator
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

from fastws import _core, _policy, events, streams
from fastws.errors import ConcurrencyError, ReceiveError
from fastws.events import Event

from ._bell import Bell
from ._carrier import MOST, Carrier, Chunk, Known, Want
from ._thread import ClientThread
from .connection import Seconds

__all__ = ["EventStream", "Stream"]

T = TypeVar("T")

BRISK = 0.001
"""Seconds. What was carried ahead on a stream that may lose messages is to be taken within that time, so that what it
loses and what it gives are what they would be without threads in between."""


class Stream(Generic[T]):
    """An independent place in a client's messages, made by ``client.stream(...)``, for one thread at a time.

    Iterate over it, call ``recv()``, or iterate over ``batches()``. Each stream has every message from its start on,
    however fast others are. ``seq``, ``generation``, ``received_ns`` and their like tell about the item last given.

    Up to 4,096 messages, 1 MiB or ``capacity``, whichever is less, are taken from the client at once, and given one by
    one; they are not in its way any more. A stream that may lose messages (``policy=``) takes only what its reader is
    expected to be done with in a millisecond. ``filter``, ``decode`` and the key of a ``Conflate`` are called in the
    client's thread.

    A stream is a context manager; leaving it, ``close()`` and its collection detach it. Its keywords are those of
    ``fastws.Stream``.
    """

    __slots__ = (
        "__weakref__",
        "_carrier",
        "_got_at",
        "_known",
        "_lock",
        "_most",
        "_native",
        "_reader",
        "_thread",
    )

    def __init__(self, thread: ClientThread, options: dict[str, Any]) -> None:
        capacity = options.get("capacity")
        self._most = min(MOST, thread.client.config.queue_messages if capacity is None else capacity)
        is_lossless = options.get("policy", "block") == "block"
        singly = (
            options.get("filter") is not None
            or isinstance(options.get("policy"), streams.Conflate)
            or options.get("on_decode_error") == "skip"
        )

        def make() -> Carrier:
            native = thread.client.stream(**options)
            carrier = Carrier(
                thread.client,
                native,
                self._most if is_lossless else 1,
                singly=singly,
                tells=options.get("markers", False),
            )
            thread.guests.add(carrier)
            return carrier

        self._thread = thread
        self._carrier = thread.now(make)
        self._native: streams.Stream[T] = self._carrier.native
        self._got_at: float | None = None if is_lossless else 0.0
        self._known = Known()
        self._lock = threading.RLock()
        self._reader: object = None
        if thread.client._cause is not None and not thread.is_running:
            thread.errand(self._carrier.finish)

    # ---- receiving -------------------------------------------------------------------------------------------------

    def recv(self, timeout: Seconds = None) -> T:
        """Waits for the next message.

        Args:
            timeout: Seconds (or a ``timedelta``) to wait; 0 takes what is here, None waits without a limit. Giving up
                loses no message.

        Raises:
            TimeoutError: No message came within ``timeout``.
            ClientStopped: The client was shut down and every message was given. Any other end of the client raises its
                cause.
            SubscriberOverflow: The stream has ``policy="fail"`` and was too slow.
            DecodeError: ``decode`` failed; the next call gives the next message.
            ConcurrencyError: Another thread is waiting for a message of this stream.
            RuntimeError: It is called in the client's own thread, by a callback.
        """
        deadline = _deadline(timeout)
        while (chunk := self._front(deadline)) is not None:
            item: T
            for item in chunk.items:
                return item
        raise _policy.stream_closed() if self.closed else _policy.stream_over()

    def __iter__(self) -> Iterator[T]:
        return itertools.chain.from_iterable(self._each_chunk())

    def __next__(self) -> T:
        while (chunk := self._front(None)) is not None:
            item: T
            for item in chunk.items:
                return item
        raise StopIteration

    def batches(
        self, max_messages: int = 4096, max_bytes: int | None = None, max_wait: Seconds = 0.0
    ) -> Iterator[_core.Batch | Any]:
        """Iterates over what has arrived, many messages at a time.

        Args:
            max_messages: Messages in a batch at most.
            max_bytes: Bytes in a batch at most, before decoding; None for no limit. A larger message comes alone.
            max_wait: Seconds (or a ``timedelta``) to wait for more after a batch's first message; 0 takes what is here.

        A batch is of one session: it never spans a generation, a marker or two lines. With ``markers=True`` the markers
        come between the batches. It ends as ``for`` over the stream ends.

        Raises:
            ValueError: A limit is not more than zero.
            TypeError: An argument is of another type; the text names it.
        """
        want = Want(max_messages, max_bytes, 0.0 if max_wait is None else _core.seconds("max_wait", max_wait))
        self._thread.now(self._native.batches, *want)
        return self._each_batch(want)

    # ---- what is known of it ---------------------------------------------------------------------------------------

    @property
    def seq(self) -> int:
        """Number of the item last given among the messages of the client, from 1; 0 before the first."""
        return self._last.seq

    @property
    def generation(self) -> int:
        """The session of the item last given: +1 each time that the client became Ready, from 1; 0 before the first."""
        return self._last.generation

    @property
    def connection_id(self) -> int:
        """The connection of the item last given: +1 per upgrade; 0 before the first."""
        return self._last.connection_id

    @property
    def source(self) -> str | None:
        """The line that the item last given came over; None where it has no name."""
        return self._last.source

    @property
    def received_ns(self) -> int:
        """When the item last given was received: CLOCK_REALTIME, nanoseconds; 0 before the first."""
        return self._last.received_ns

    @property
    def received_mono_ns(self) -> int:
        """The same moment on CLOCK_MONOTONIC, nanoseconds."""
        return self._last.received_mono_ns

    @property
    def kernel_ns(self) -> int | None:
        """When the kernel received the item last given: CLOCK_REALTIME, nanoseconds; the last segment of its read.

        None without ``kernel_timestamps=True``, before the first message, and where the kernel gave none.
        """
        return self._last.kernel_ns

    @property
    def outages(self) -> int:
        """Outages that are behind the item last given."""
        return self._last.outages

    @property
    def last_outage(self) -> Any:
        """The last of them, an ``Outage``; None: there was none."""
        return self._last.last_outage

    @property
    def dropped(self) -> int:
        """Messages that the stream lost, as it was too slow: ``policy="drop_oldest"``."""
        return self._native.dropped

    @property
    def conflated(self) -> int:
        """Messages whose place a newer one of the same key took: ``policy=Conflate(key)``."""
        return self._native.conflated

    @property
    def skipped(self) -> int:
        """Messages that could not be decoded and were left out: ``on_decode_error="skip"``."""
        return self._native.skipped

    @property
    def lag(self) -> tuple[int, int]:
        """What waits for the stream's reader: (messages, bytes), before filter and decoder.

        Of what was carried already only the messages are counted.
        """
        messages, size = self._native.lag
        return messages + sum(chunk.left for chunk in tuple(self._carrier.here) if chunk.batch is not None), size

    @property
    def closed(self) -> bool:
        """Whether the stream was closed."""
        return self._native.closed

    # ---- its end ---------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Detaches the stream: iteration over it ends, and nothing waits for it any more."""
        self._thread.guests.discard(self._carrier)
        self._thread.now(self._carrier.close)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        if (carrier := getattr(self, "_carrier", None)) is not None:
            self._thread.guests.discard(carrier)
            self._thread.nudge(carrier.close)

    def __repr__(self) -> str:
        if self.closed:
            return "<fastws.sync.Stream closed>"
        messages, size = self.lag
        return f"<fastws.sync.Stream seq={self.seq}, {messages} messages of {size} bytes wait>"

    # ---- inside ----------------------------------------------------------------------------------------------------

    @property
    def _last(self) -> Known:
        with self._lock:
            here = self._carrier.here
            return here[0].known(self._known) if here else self._known

    def _each_chunk(self) -> Iterator[Iterator[T]]:
        while (chunk := self._front(None)) is not None:
            yield chunk.items

    def _each_batch(self, want: Want) -> Iterator[_core.Batch | Any]:
        while (chunk := self._front(None, want)) is not None:
            batch, taken = chunk.batch, len(chunk) - chunk.left
            if batch is None:
                yield from chunk.items
                continue
            count = min(chunk.left, want.messages)
            deque(itertools.islice(chunk.items, count), maxlen=0)  # they are given
            yield batch if count == len(chunk) else batch._part(taken, taken + count)

    def _front(self, deadline: float | None, want: Want | None = None) -> Chunk | None:
        """What is next, of which something is left; waits for it. None: there is nothing more."""
        carrier = self._carrier
        self._thread.refuse_callbacks()
        while not self.closed:
            with self._lock:
                while carrier.here:
                    chunk = carrier.here[0]
                    if chunk.left:
                        return chunk
                    # In this order: an exception of a signal's handler may come in between.
                    self._known = chunk.known(self._known)
                    carrier.here.popleft()
                    if chunk.error is not None:
                        raise chunk.error
            if (over := carrier.over) is not None:
                if carrier.here:
                    continue
                if over[0] is not None:
                    raise _policy.stream_failed(over[0])
                return None
            self._wait(deadline, want)
        return None

    def _wait(self, deadline: float | None, want: Want | None) -> None:
        """Asks for more, if nobody has, and waits for it."""
        carrier, reader = self._carrier, object()
        # An exception of a signal's handler may come in between, anywhere.
        try:
            with self._lock:
                if self._reader is not None:
                    raise ConcurrencyError(
                        "another thread is already waiting for a message of this stream; make a stream for each thread"
                    )
                self._reader = reader
            if not carrier.asked:
                self._pace()
                carrier.want, carrier.asked = want, True
            (self._thread.ask if deadline == 0 else self._thread.nudge)(carrier.serve)
            if not carrier.bell.acquire(timeout=_left(deadline)):
                why = "" if self._thread.is_running else ": the client does not run; use `with client:`, or start()"
                raise TimeoutError(f"no message came in time{why}")
            if self._got_at is not None:
                self._got_at = time.monotonic()
        finally:
            if self._reader is reader:
                self._reader = None

    def _pace(self) -> None:
        """How much is carried ahead, where messages may be lost: what is taken at once."""
        if self._got_at is not None:
            carrier = self._carrier
            is_brisk = time.monotonic() - self._got_at < BRISK
            carrier.limit = max(1, min(2 * carrier.carried if is_brisk else carrier.carried // 2, self._most))


class EventStream(Iterator[Event]):
    """The events of a client, in order: ``for event in client.events()``.

    Holds up to 256; when more wait, the oldest is dropped and counted. Ends after ``Shutdown``. Leaving ``with``,
    ``close()``, or nobody holding the stream detaches it. One that is made when the client is over holds that
    ``Shutdown``, and instead of it the next run, if that begins before it is read.
    """

    __slots__ = ("_inbox", "_reader", "_thread")

    def __init__(self, thread: ClientThread) -> None:
        hub = thread.client._supervisor.hub
        self._thread = thread
        self._inbox = _Inbox(hub)
        self._reader: object = None
        thread.now(hub.feed, self._inbox)

    @property
    def dropped(self) -> int:
        """Events that were dropped because they were not read in time."""
        return self._inbox.dropped

    def recv(self, timeout: Seconds = None) -> Event:
        """Waits for the next event.

        Args:
            timeout: Seconds (or a ``timedelta``) to wait; 0 takes what is here, None waits without a limit.

        Raises:
            TimeoutError: Nothing happened within ``timeout``.
            ReceiveError: The stream has ended.
            ConcurrencyError: Another thread is waiting for an event of this stream.
            RuntimeError: It is called in the client's own thread, by a callback.
        """
        self._thread.refuse_callbacks()
        deadline = _deadline(timeout)
        while True:
            if (event := self._inbox.next()) is not None:
                return event
            if self._inbox.is_over:
                raise ReceiveError("this stream of events has ended")
            self._wait(deadline)

    def __next__(self) -> Event:
        self._thread.refuse_callbacks()
        while (event := self._inbox.next()) is None:
            if self._inbox.is_over:
                raise StopIteration
            self._wait(None)
        return event

    def close(self) -> None:
        """Ends the iteration; what has not been read is forgotten."""
        self._thread.now(self._inbox.close)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.close()

    def _wait(self, deadline: float | None) -> None:
        reader = object()
        try:
            if self._reader is not None:
                raise ConcurrencyError(
                    "another thread is already waiting for an event of this stream; make one for each"
                )
            self._reader = reader
            if not self._inbox.bell.acquire(timeout=_left(deadline)):
                raise TimeoutError("nothing happened in time")
        finally:
            if self._reader is reader:
                self._reader = None


class _Inbox(events.EventStream):
    """Where the client's thread puts events, and another one takes them."""

    __slots__ = ("bell",)

    def __init__(self, hub: events.EventHub) -> None:
        super().__init__(hub)
        self.bell = Bell()

    def next(self) -> Event | None:
        try:
            event = self._queue.popleft()
        except IndexError:
            return None
        self._is_early = False
        return event

    @property
    def is_over(self) -> bool:
        return self._ended and not self._queue

    def _wake(self) -> None:
        self.bell.ring()


def _deadline(timeout: Seconds) -> float | None:
    """When a call is to be over that may last so long, on the monotonic clock; 0: at once."""
    seconds = None if timeout is None else _core.seconds("timeout", timeout)
    return seconds and time.monotonic() + seconds


def _left(deadline: float | None) -> float:
    """Seconds to wait, as a lock takes them."""
    return -1.0 if deadline is None else min(max(0.0, deadline - time.monotonic()), threading.TIMEOUT_MAX)
