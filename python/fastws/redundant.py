"""Several connections to the same feed: the first arrival of each message wins."""

from __future__ import annotations

import asyncio
import functools
import time
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from ._core import Batch
from .client import WebSocketClient, make_ring
from .config import ClientConfig
from .dedupe import Deduplicator
from .errors import AlreadyRunning, ConfigError
from .events import DisconnectReason, Ready
from .markers import Down, Outage
from .receiving import Receiving
from .subscriptions import SubscriptionState

__all__ = ["LineStats", "RedundantClient"]

Key = Callable[[str | bytes], Hashable | None]


@dataclass(frozen=True, slots=True)
class LineStats:
    """What one line of a redundant client did.

    Attributes:
        name: The line.
        is_ready: Whether it has a session now.
        received: Messages that it received.
        first: Of those, how many nobody else had brought before.
        duplicates: Of those, how many somebody had.
        generation: Sessions that it had.
    """

    name: str
    is_ready: bool
    received: int
    first: int
    duplicates: int
    generation: int


class _Line:
    __slots__ = ("client", "first", "generation", "is_ready", "name", "received")

    def __init__(self, name: str, client: WebSocketClient) -> None:
        self.name = name
        self.client = client
        self.is_ready = False
        self.received = 0
        self.first = 0
        self.generation = 0


class RedundantClient(Receiving):
    """The same feed over several lines. A message is delivered when the first of them brings it, and once.

    ::

        async with RedundantClient([uri_a, uri_b], key=fastws.keys.json("sequence")) as feed:
            async for message in feed.stream():
                ...

    Args:
        uri: One URI for all lines, or one for each.
        n: How many lines.
        key: Tells messages apart: gets a message's payload, gives something hashable, the same on every line. None: it
            is delivered from whichever line brings it, and never taken for a duplicate.
        window: Keys that are remembered. A line that lags by more messages than that brings duplicates.
        config: For every line.
        options: More keywords of ``WebSocketClient``, for every line.

    Streams see ``Down`` when the last line that was ready is lost, and ``Outage`` when there is one again.

    Raises:
        ConfigError: An argument is wrong.
    """

    __slots__ = (
        "__weakref__",
        "_begun",
        "_dedupe",
        "_down",
        "_generation",
        "_last_received_ns",
        "_lines",
        "_ring",
        "_task",
    )

    def __init__(
        self,
        uri: str | Sequence[str],
        n: int | None = None,
        *,
        key: Key,
        window: int = 65_536,
        config: ClientConfig | None = None,
        **options: Any,
    ) -> None:
        uris = [uri] * (2 if n is None else n) if isinstance(uri, str) else list(uri)
        if n is not None and len(uris) != n:
            raise ConfigError(f"n is {n}, and {len(uris)} URIs were given", field="n")
        if len(uris) < 2:
            raise ConfigError("a redundant client has two lines at least; use WebSocketClient for one", field="n")
        if not callable(key):
            raise ConfigError(f"key is a callable, not {type(key).__name__}", field="key")
        for name in ("subscriptions", "tap"):
            if name in options:
                raise ConfigError(f"{name}= is each line's own; use add() and lines", field=name)
        config = config if config is not None else ClientConfig()
        self._dedupe = Deduplicator(key, window)
        self._ring = make_ring(config)
        self._lines = [
            _Line(f"line {number}", WebSocketClient(uri, config=config, **options))
            for number, uri in enumerate(uris, 1)
        ]
        self._generation = 0
        self._last_received_ns = 0
        self._down: Down | None = None
        self._task: asyncio.Task[None] | None = None
        self._begun: asyncio.Future[None] | None = None

    # ---- what users call -------------------------------------------------------------------------------------------

    @property
    def lines(self) -> tuple[WebSocketClient, ...]:
        """The clients, one a line."""
        return tuple(line.client for line in self._lines)

    @property
    def is_ready(self) -> bool:
        """Whether one line at least is ready."""
        return any(line.client.is_ready for line in self._lines)

    def stats(self) -> tuple[LineStats, ...]:
        """What each line did."""
        return tuple(
            LineStats(
                name=line.name,
                is_ready=line.client.is_ready,
                received=line.received,
                first=line.first,
                duplicates=line.received - line.first,
                generation=line.client.snapshot().generation,
            )
            for line in self._lines
        )

    def add(self, key: str, **options: Any) -> None:
        """Subscribes every line: see ``Subscriptions.add``."""
        for line in self._lines:
            line.client.subscriptions.add(key, **options)

    def remove(self, key: str) -> None:
        """Unsubscribes every line."""
        for line in self._lines:
            line.client.subscriptions.remove(key)

    def states(self) -> dict[str, tuple[SubscriptionState, ...]]:
        """The state of each subscription, one for each line."""
        every = [line.client.subscriptions.states() for line in self._lines]
        return {key: tuple(states[key] for states in every) for key in every[0]}

    async def __aenter__(self) -> Self:
        """Runs every line; returns when the first is ready, or raises when none can be."""
        if self._task is not None:
            raise AlreadyRunning("this client runs already")
        self._begun = asyncio.get_running_loop().create_future()
        self._task = asyncio.get_running_loop().create_task(self.run(), name="fastws redundant client")
        try:
            await self._begun
            await self.wait_ready()
        except BaseException:
            await self.__aexit__(None, None, None)
            raise
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        task, self._task = self._task, None
        if task is None:
            return
        for line in self._lines:
            await line.client.shutdown()
        try:
            await task
        except Exception:
            if exc is None:
                raise

    async def wait_ready(self) -> None:
        """Waits for the first line that is ready. Raises the cause if all of them are over."""
        waits = [asyncio.ensure_future(line.client.wait_ready()) for line in self._lines]
        try:
            pending = set(waits)
            while pending:
                done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
                if any(not wait.cancelled() and wait.exception() is None for wait in done):
                    return
            waits[0].result()
        finally:
            for wait in waits:
                wait.cancel()
            await asyncio.gather(*waits, return_exceptions=True)

    async def run(self) -> None:
        """Runs every line until ``shutdown``; raises the first line's cause when all of them are over."""
        loop = asyncio.get_running_loop()
        self._ring._reopen()
        carrying = [loop.create_task(self._carry(line), name=f"fastws {line.name}") for line in self._lines]
        running = [loop.create_task(line.client.run(), name=f"fastws {line.name}") for line in self._lines]
        error: BaseException | None = None
        try:
            await asyncio.sleep(0)  # each line has begun to run
            if self._begun is not None and not self._begun.done():
                self._begun.set_result(None)
            outcomes = await asyncio.gather(*running, return_exceptions=True)
            await asyncio.gather(*carrying, return_exceptions=True)
            failures = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
            error = failures[0] if len(failures) == len(self._lines) else None
        except BaseException as cancelled:
            error = cancelled
            raise
        finally:
            for task in (*running, *carrying):
                task.cancel()
            await asyncio.gather(*running, *carrying, return_exceptions=True)
            self._ring._end(error if isinstance(error, Exception) else None)
        if error is not None:
            raise error

    async def shutdown(self, timeout: float | None = None) -> None:  # noqa: ASYNC109 - that of each line
        """Ends every line."""
        await asyncio.gather(*(line.client.shutdown(timeout) for line in self._lines))

    # ---- inside ----------------------------------------------------------------------------------------------------

    async def _carry(self, line: _Line) -> None:
        """Brings a line's messages to the streams, but for those that another line has brought."""
        with line.client.stream(markers=True) as stream:
            stop = line.client.on(Ready, functools.partial(self._ready, line))
            try:
                async for item in stream.batches():
                    if isinstance(item, Batch):
                        await self._bring(line, item)
                    elif isinstance(item, Down) and item.generation >= line.generation:
                        # Otherwise it has another session already.
                        self._lost(line, item.reason)
            finally:
                stop()

    async def _bring(self, line: _Line, batch: Batch) -> None:
        self._ring._begin(self._generation, batch.generation, line.name)
        self._last_received_ns = batch.received_ns
        line.received += len(batch)
        for message in batch:
            if not self._dedupe.is_new(message):
                continue
            line.first += 1
            self._ring._push(message, batch.received_ns, batch.received_mono_ns, batch.kernel_ns)
        room = self._ring._room()
        if room is not None:
            await room

    def _ready(self, line: _Line, event: Ready) -> None:
        line.generation = event.generation
        if line.is_ready:
            return
        was_ready = any(other.is_ready for other in self._lines)
        line.is_ready = True
        if was_ready:
            return
        self._generation += 1
        self._ring._begin(self._generation, 0, line.name)
        if self._down is not None:
            down, self._down = self._down, None
            self._ring._mark(
                Outage(
                    from_ns=down.last_received_ns,
                    detected_ns=down.detected_ns,
                    to_ns=time.time_ns(),
                    reason=down.reason,
                    old_generation=down.generation,
                    new_generation=self._generation,
                    attempts=0,
                    unrestored=line.client.subscriptions.unrestored(),
                )
            )

    def _lost(self, line: _Line, reason: DisconnectReason) -> None:
        line.is_ready = False
        if any(other.is_ready for other in self._lines) or self._down is not None:
            return
        self._down = Down(
            generation=self._generation,
            last_received_ns=self._last_received_ns,
            detected_ns=time.time_ns(),
            reason=reason,
        )
        self._ring._mark(self._down)

    def __repr__(self) -> str:
        return f"<fastws.RedundantClient of {len(self._lines)} lines>"
