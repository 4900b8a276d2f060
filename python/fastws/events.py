"""What a client tells about itself: events, and the hub that hands them to streams and callbacks.

``fastws.events.Error`` and ``fastws.events.FatalError`` are events, not exceptions, which is why they are found here
and not in ``fastws`` itself.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import time
import weakref
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Literal, Self, TypeVar, overload

from ._interrupt import cut, users_code
from .errors import ConcurrencyError, Unsent
from .redact import printable

__all__ = [
    "Connected",
    "Connecting",
    "DisconnectKind",
    "DisconnectReason",
    "Disconnected",
    "Error",
    "Event",
    "EventHub",
    "EventStream",
    "FatalError",
    "Ready",
    "ReconnectScheduled",
    "Shutdown",
]

CAPACITY = 256
"""Events that a stream holds. A client makes four for each attempt: this is a minute at the fastest strategy."""

DisconnectKind = Literal[
    "normal",
    "server_closed",
    "error",
    "receive_timeout",
    "data_timeout",
    "keepalive",
    "handshake",
    "rotation",
    "requested",
    "shutdown",
]


@dataclass(frozen=True, slots=True)
class DisconnectReason:
    """Why a session ended.

    Attributes:
        kind: ``"normal"``: closed with 1000, 1001 or no code. ``"server_closed"``: the server's Close had another code.
            ``"error"``: the connection was lost, or a rule was broken. ``"receive_timeout"``, ``"data_timeout"``,
            ``"keepalive"``: silence. ``"handshake"``: the application's handshake failed. ``"rotation"``: it had
            reached ``max_connection_age``. ``"requested"``: ``reconnect()``. ``"shutdown"``: the client ends.
        code: The close code received; None if no Close frame came.
        reason: The close reason received, or ``""``.
        initiator: Who sent the first Close frame: ``"local"``, ``"remote"``, or None.
        cause: The exception behind it, if there is one.
    """

    kind: DisconnectKind
    code: int | None = None
    reason: str = ""
    initiator: Literal["local", "remote"] | None = None
    cause: BaseException | None = None

    def __str__(self) -> str:
        text = _TEXTS[self.kind]
        if self.kind == "server_closed":
            return f"{text} (code: {self.code}): {printable(self.reason)}".removesuffix(": ")
        if self.cause is None or self.kind in ("normal", "shutdown"):
            return text
        return f"{text}: {str(self.cause) or type(self.cause).__name__}"


@dataclass(frozen=True, slots=True)
class Event:
    """Base of all events. Two that say the same are equal, whenever they happened.

    Attributes:
        at_ns: When it happened: CLOCK_REALTIME, nanoseconds.
    """

    at_ns: int = field(default_factory=time.time_ns, kw_only=True, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Connecting(Event):
    """A dial begins: the ``attempt``-th since the start or the last stable session, from 1."""

    attempt: int


@dataclass(frozen=True, slots=True)
class Connected(Event):
    """The upgrade is done; the application's handshake begins. ``id`` counts upgrades, from 1."""

    id: int


@dataclass(frozen=True, slots=True)
class Ready(Event):
    """The application's handshake is done. ``generation`` counts these, from 1."""

    id: int
    generation: int


@dataclass(frozen=True, slots=True)
class Disconnected(Event):
    """A connection that was up has ended. ``unsent`` are the messages that were not, or maybe not, sent."""

    reason: DisconnectReason
    unsent: tuple[Unsent, ...] = ()


@dataclass(frozen=True, slots=True)
class ReconnectScheduled(Event):
    """The next dial, which will be the ``attempt``-th, begins in ``delay`` seconds."""

    delay: float
    attempt: int


@dataclass(frozen=True, slots=True)
class Error(Event):
    """A dial or a handshake failed: the ``attempt``-th since the start or the last stable session."""

    error: BaseException
    attempt: int


@dataclass(frozen=True, slots=True)
class FatalError(Event):
    """The client gives up. ``run()`` raises ``error``; what was not sent is told by ``Shutdown``, which follows."""

    error: BaseException


@dataclass(frozen=True, slots=True)
class Shutdown(Event):
    """The client has ended, for whatever reason. The last event: streams of events end behind it.

    ``unsent`` are the messages that were not sent and of which no ``Disconnected`` has told.
    """

    unsent: tuple[Unsent, ...] = ()


E = TypeVar("E", bound=Event)

Callback = Callable[[E], Awaitable[None] | None]


class EventHub:
    """Hands the events of one client to its streams and callbacks. Belongs to the event loop's thread."""

    __slots__ = ("__weakref__", "_backlog", "_callbacks", "_last", "_streams", "_tasks", "_waiting")

    def __init__(self) -> None:
        self._last: Event | None = None
        # Made when first needed: most clients have none of them.
        self._streams: weakref.WeakSet[EventStream] | None = None
        self._waiting: set[EventStream] | None = None
        self._callbacks: list[_Registered] | None = None
        self._tasks: set[asyncio.Task[None]] | None = None
        self._backlog: deque[Event] | None = None

    def publish(self, event: Event, *, is_state: bool = True) -> None:
        """Tells everybody, in the order of the calls; never blocks and never raises what a callback does.

        An event published by a callback is told when all have been told the one before.

        Args:
            event: What happened.
            is_state: Whether it says how the client is from now on: not where it is about another connection than the
                client's.
        """
        if is_state and not isinstance(event, Error):
            self._last = event
        for stream in tuple(self._streams or ()):
            stream._put(event)
        if self._backlog is not None:
            self._backlog.append(event)
            return
        if not self._callbacks:
            return
        self._backlog = deque((event,))
        try:
            while self._backlog:
                following = self._backlog.popleft()
                for registered in tuple(self._callbacks):
                    if registered.kind is None or isinstance(following, registered.kind):
                        self._call(registered, following)
        finally:
            self._backlog = None

    def stream(self) -> EventStream:
        """A stream of events that begins with the current state: the last event but for ``Error``."""
        stream = EventStream(self)
        self.feed(stream)
        return stream

    def feed(self, stream: EventStream) -> None:
        """Lets a stream have the current state, and all that is published from now on."""
        if self._streams is None:
            self._streams = weakref.WeakSet()
        self._streams.add(stream)
        if isinstance(self._last, Shutdown):
            stream._begin_early(self._last)
        elif self._last is not None:
            stream._put(self._last)

    @overload
    def on(self, kind: None, callback: Callback[Event]) -> Callable[[], None]: ...

    @overload
    def on(self, kind: type[E], callback: Callback[E]) -> Callable[[], None]: ...

    def on(self, kind: type[Event] | None, callback: Callback[Any]) -> Callable[[], None]:
        """Calls ``callback`` with every later event of the class ``kind``, or with every one if that is None.

        A plain function is called at once. An ``async def`` runs as a task of its own; several may run at a time. What
        they raise is logged with the callback's name and does not reach the client.

        Returns:
            A function that ends it.

        Raises:
            TypeError: ``kind`` is not a class of events, or ``callback`` cannot be called.
        """
        if kind is not None and not (isinstance(kind, type) and issubclass(kind, Event)):
            raise TypeError(f"kind is a class of fastws.events, such as Ready, or None for all; not {kind!r}")
        if not callable(callback):
            raise TypeError(f"callback is a function that takes an event, not {callback!r}")
        registered = _Registered(kind, callback)
        if self._callbacks is None:
            self._callbacks = []
        self._callbacks.append(registered)

        def remove() -> None:
            if self._callbacks is not None and registered in self._callbacks:
                self._callbacks.remove(registered)

        return remove

    async def aclose(self, timeout: float | None = 0.0) -> None:  # noqa: ASYNC109 - it cancels what is left
        """Ends all streams, and waits ``timeout`` seconds for async callbacks before it cancels them.

        None waits until they are done. The task that calls this is not waited for, nor, for longer than a moment, one
        that does not let itself be cancelled. The hub can be used again.
        """
        for stream in tuple(self._streams or ()):
            stream._end()
        tasks = {task for task in self._tasks or () if task is not asyncio.current_task()}
        if not tasks:
            return
        try:
            await asyncio.wait(tasks, timeout=timeout)
        finally:
            await cut(tasks)
            if self._tasks is not None:
                self._tasks -= tasks

    def _call(self, registered: _Registered, event: Event) -> None:
        name = _name(registered.callback)
        try:
            with users_code:
                result = registered.callback(event)
        except Exception:  # noqa: BLE001 - the user's; it is logged
            _log.exception("the callback %s raised at the event %s", name, type(event).__name__)
            return
        if inspect.isawaitable(result):
            if self._tasks is None:
                self._tasks = set()
            task = asyncio.ensure_future(_awaited(result, name, event))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)


class EventStream(AsyncIterator[Event]):
    """The events of a client, in order: ``async for event in client.events()``.

    Holds up to 256; when more wait, the oldest is dropped and counted. Ends after ``Shutdown``. Leaving ``async with``
    or ``with``, ``aclose()``, or nobody holding the stream detaches it. One that is made when the client is over holds
    that ``Shutdown``, and instead of it the next run, if that begins before it is read.

    Attributes:
        dropped: Events that were dropped because they were not read in time.
    """

    __slots__ = ("__weakref__", "_ended", "_hub", "_is_early", "_queue", "_waiter", "dropped")

    def __init__(self, hub: EventHub) -> None:
        self._hub = hub
        self._queue: deque[Event] = deque()
        self._waiter: asyncio.Future[None] | None = None
        self._ended = False
        self._is_early = False
        self.dropped = 0

    async def __anext__(self) -> Event:
        while not self._queue:
            if self._ended:
                raise StopAsyncIteration
            await self._wait()
        self._is_early = False
        return self._queue.popleft()

    async def _wait(self) -> None:
        if self._waiter is not None:
            raise ConcurrencyError("another task is already waiting for an event of this stream; make one for each")
        hub = self._hub
        self._waiter = asyncio.get_running_loop().create_future()
        # Event loops hold tasks weakly: without this a task that only waits here could be collected.
        if hub._waiting is None:
            hub._waiting = set()
        hub._waiting.add(self)
        try:
            await self._waiter
        finally:
            self._waiter = None
            hub._waiting.discard(self)

    async def aclose(self) -> None:
        """Ends the iteration; what has not been read is forgotten."""
        self.close()

    def close(self) -> None:
        """As ``aclose()``."""
        self._is_early = False
        self._queue.clear()
        self._end()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.close()

    def _begin_early(self, event: Shutdown) -> None:
        """The client is over, and may run again before this is read."""
        self._is_early = self._ended = True
        self._queue.append(event)

    def _put(self, event: Event) -> None:
        if self._is_early:
            self._is_early = self._ended = False
            self._queue.clear()
        if self._ended:
            return
        if len(self._queue) == CAPACITY:
            self._queue.popleft()
            self.dropped += 1
        self._queue.append(event)
        if isinstance(event, Shutdown):
            self._end()
        else:
            self._wake()

    def _end(self) -> None:
        self._ended = True
        if self._hub._streams is not None and not self._is_early:
            self._hub._streams.discard(self)
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


@dataclass(frozen=True, slots=True, eq=False)
class _Registered:
    kind: type[Event] | None
    callback: Callback[Any]


async def _awaited(result: Awaitable[None], name: str, event: Event) -> None:
    try:
        with users_code:
            await result
    except Exception:  # noqa: BLE001 - as above
        _log.exception("the callback %s raised at the event %s", name, type(event).__name__)


def _name(callback: Callback[Any]) -> str:
    return str(getattr(callback, "__qualname__", None) or type(callback).__qualname__)


_log = logging.getLogger("fastws")

_TEXTS: dict[DisconnectKind, str] = {
    "normal": "normal closure",
    "server_closed": "server closed",
    "error": "error",
    "receive_timeout": "timeout",
    "data_timeout": "no data",
    "keepalive": "keepalive",
    "handshake": "handshake",
    "rotation": "rotation",
    "requested": "reconnect requested",
    "shutdown": "shutdown",
}
