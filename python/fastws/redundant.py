"""Several connections to the same feed: the first arrival of each message wins."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ._checks import is_async
from ._core import Message
from ._interrupt import ended
from ._merge import Line, Merger
from .client import WebSocketClient, make_ring
from .config import ClientConfig
from .dedupe import Deduplicator, MessageKeys
from .errors import AlreadyRunning, ClientStopped, ConfigError, ShutdownTimeout, tell_unsent
from .events import Event, Ready, Shutdown
from .markers import Down, Outage
from .receiving import Receiving
from .running import Running
from .subscription import SubscriptionState

if TYPE_CHECKING:
    from ._options import Seconds
    from .streams import Stream

__all__ = ["LineStats", "RedundantClient"]

log = logging.getLogger("fastws.client")

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
        is_running: Whether it has a session, or tries to. False: it is over, and the others go on without it.
        cause: Why it is over; None if it is not, or was shut down.
    """

    name: str
    is_ready: bool
    received: int
    first: int
    duplicates: int
    generation: int
    is_running: bool = False
    cause: BaseException | None = None


class RedundantClient(Running, Receiving):
    """The same feed over several lines. A message is delivered when the first of them brings it, and once.

    ::

        async with RedundantClient([uri_a, uri_b], key=fastws.keys.json("sequence")) as feed:
            async for message in feed.stream():
                ...

    Args:
        uri: One URI for all lines, or one for each.
        n: How many lines. 2 if there is one URI.
        key: Tells messages apart: gets a message's payload, gives something hashable, the same on every line. Or one
            of ``fastws.keys``. A message whose key is None, or for which it fails, is delivered from whichever line
            brings it, and never taken for a duplicate; the first failure on a line is logged. It is the lines'
            ``message_key`` too, unless ``options`` have another.
        window: Keys that are remembered. A line that lags by more messages than that brings duplicates.
        config: For every line.
        options: More keywords of ``WebSocketClient``, for every line.

    Streams with ``markers=True`` see ``Down`` when the last line that was ready is lost, and ``Outage`` when there is
    one again; the loss of a line is nobody's outage while another one is ready. Everything that was received before a
    ``Down`` comes before it, over whichever line, however slowly it is read.

    It receives. To send, to ask, for events and for extensions there are its ``lines``, each a ``WebSocketClient``.

    A line that ends for good, such as one that is refused, is logged and seen in ``stats()``; the others go on. When
    all of them have, the client ends with the cause of the last.

    Raises:
        ConfigError: An argument is wrong.
    """

    __slots__ = (
        "__weakref__",
        "_hurry",
        "_last",
        "_lines",
        "_merger",
        "_ring",
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
        super().__init__()
        if n is not None and (isinstance(n, bool) or not isinstance(n, int)):
            raise ConfigError(f"n is a number of lines (int), not {n!r}", field="n")
        if not isinstance(uri, str) and (callable(uri) or not isinstance(uri, Iterable)):
            raise ConfigError(f"uri is a str, or a list of one for each line, not {type(uri).__name__}", field="uri")
        uris = [uri] * (2 if n is None else n) if isinstance(uri, str) else list(uri)
        if n is not None and len(uris) != n:
            raise ConfigError(f"n is {n}, and {len(uris)} URIs were given", field="n")
        if len(uris) < 2:
            raise ConfigError("a redundant client has two lines at least; use WebSocketClient for one", field="n")
        if not callable(key) or is_async(key):
            raise ConfigError(f"key is a plain function, not async, and not {type(key).__name__}", field="key")
        if config is not None and not config.receive:
            raise ConfigError("a redundant client is there to receive: leave receive=False away", field="receive")
        for name in ("subscriptions", "tap"):
            if name in options:
                raise ConfigError(f"{name}= is each line's own; use add() and lines", field=name)
        config = config if config is not None else ClientConfig()
        options.setdefault("message_key", key)
        self._ring = make_ring(config)
        self._lines: list[Line] = []
        for number, each in enumerate(uris, 1):
            client = WebSocketClient(each, config=config, **options)
            self._lines.append(Line(f"line {number}", client, MessageKeys(key, f"line {number}, {client.uri}")))
        self._merger = Merger(self._ring, Deduplicator(key, window), self._lines)
        self._last: BaseException | None = None
        self._hurry: asyncio.Future[None] | None = None

    # ---- what users call -------------------------------------------------------------------------------------------

    @property
    def lines(self) -> tuple[WebSocketClient, ...]:
        """The clients, one a line."""
        return tuple(line.client for line in self._lines)

    @property
    def _name(self) -> str:
        return repr(self)

    @property
    def is_ready(self) -> bool:
        """Whether one line at least is ready."""
        return any(line.client.is_ready for line in self._lines)

    def stats(self) -> tuple[LineStats, ...]:
        """What each line did since the client was made, and what it is now."""
        return tuple(
            LineStats(
                name=line.name,
                is_ready=line.client.is_ready,
                received=line.received,
                first=line.first,
                duplicates=line.received - line.first,
                generation=line.client.snapshot().generation,
                is_running=line.client.is_running,
                cause=line.cause,
            )
            for line in self._lines
        )

    def add(self, key: str, **options: Any) -> None:
        """Subscribes every line: see ``Subscriptions.add``."""
        done: list[Line] = []
        try:
            for line in self._lines:
                line.client.subscriptions.add(key, **options)
                done.append(line)
        except BaseException:
            for line in done:
                line.client.subscriptions.remove(key)
            raise

    def remove(self, key: str) -> None:
        """Unsubscribes every line."""
        for line in self._lines:
            line.client.subscriptions.remove(key)

    def states(self) -> dict[str, tuple[SubscriptionState, ...]]:
        """The state of each subscription, one for each line."""
        every = [line.client.subscriptions.states() for line in self._lines]
        return {key: tuple(states[key] for states in every) for key in every[0]}

    # ---- running ---------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Runs every line until ``shutdown``, or raises why the last one ended.

        Raises:
            AlreadyRunning: It runs already, or one of its lines does.
            RetriesExhausted, ConnectError, HandshakeError, …: All lines are over; what the last of them raised.
        """
        if self._is_running or any(line.client.is_running for line in self._lines):
            raise AlreadyRunning(f"{self!r}: this client runs already, or one of its lines")
        loop = asyncio.get_running_loop()
        self._ring._reopen()
        self._merger.begin()
        with contextlib.ExitStack() as stack:
            streams = []
            for line in self._lines:
                line.over = loop.create_future()
                streams.append(stack.enter_context(line.client.stream(markers=True)))
                stack.callback(line.client.on(None, functools.partial(self._tell, line)))
            self._is_running = True
            self._cause = self._last = None
            self._hurry = loop.create_future()
            running = [loop.create_task(self._run_line(line), name=f"fastws {line.name}") for line in self._lines]
            # They begin to read when the lines have begun to run.
            carrying = [
                loop.create_task(self._carry(line, stream), name=f"fastws messages of {line.name}")
                for line, stream in zip(self._lines, streams, strict=True)
            ]
            error: BaseException | None = None
            try:
                await asyncio.wait(carrying, return_when=asyncio.FIRST_EXCEPTION)
                for task in carrying:
                    if task.done():
                        task.result()
                error = self._last
            except BaseException as failure:
                error = failure
                await self._break_off(running, carrying)
                raise
            finally:
                self._end(error)
                await ended(running)  # what they told is still being heard
        if error is not None:
            raise error

    async def shutdown(self, timeout: Seconds = None) -> None:  # noqa: ASYNC109 - that of each line
        """Ends every line, all at the same time: sends what is queued, then Close. Nothing happens if it does not run.

        It goes on where the wait for it is cancelled.

        Args:
            timeout: Seconds for all of it; None: ``ClientConfig.shutdown_timeout``.

        Raises:
            ShutdownTimeout: Some messages were not sent by then; ``unsent`` has those of all lines.
        """
        if not self._is_running:
            return
        now = asyncio.get_running_loop().time
        began, over = now(), self._until_over()
        stops = asyncio.gather(*(line.client.shutdown(timeout) for line in self._lines), return_exceptions=True)
        late: list[ShutdownTimeout] = []
        for outcome in await asyncio.shield(stops):
            if isinstance(outcome, ShutdownTimeout):
                late.append(outcome)
            elif isinstance(outcome, BaseException):
                raise outcome
        await over
        if late:
            unsent = tuple(message for each in late for message in each.unsent)
            seconds = late[0].timeout
            text = f"{self!r}: shut down in {now() - began:.3f} s of {seconds:g} s"
            raise ShutdownTimeout(text, timeout=seconds, unsent=unsent)

    # ---- inside ----------------------------------------------------------------------------------------------------

    async def _run_line(self, line: Line) -> None:
        try:
            await line.client.run()
        except Exception as error:  # noqa: BLE001 - the others go on; the last one's is raised by run()
            log.warning("%s, %s, is over: %s", line.name, line.client.uri, str(error) or type(error).__name__)

    def _tell(self, line: Line, event: Event) -> None:
        self._merger.tell(line, event)
        if isinstance(event, Ready):
            self._tell_waiters()
        elif isinstance(event, Shutdown):
            assert line.over is not None, "it runs"
            cause = line.client._cause
            self._last = line.cause = None if isinstance(cause, ClientStopped) else cause
            if not line.over.done():
                line.over.set_result(None)
            if all(each.over is not None and each.over.done() for each in self._lines):
                self._stop_waiting()

    def _stop_waiting(self) -> None:
        """What the lines have received goes to the streams whether or not there is room: no more will come."""
        if self._hurry is not None and not self._hurry.done():
            self._hurry.set_result(None)

    async def _carry(self, line: Line, stream: Stream[Any]) -> None:
        """Brings a line's messages to the streams, until the line is over and everything of it is there."""
        assert line.over is not None, "it runs"
        try:
            while (item := await self._next(line, stream)) is not None:
                if isinstance(item, Message):
                    await self._bring(line, item)
                elif isinstance(item, Down):
                    self._merger.passed(line, item.generation)
                elif isinstance(item, Outage):
                    await self._merger.replaced(line, item)
        finally:
            self._merger.passed(line)
        await line.over

    async def _next(self, line: Line, stream: Stream[Any]) -> Any:
        try:
            return await anext(stream)
        except StopAsyncIteration:
            return None
        except Exception:
            if line.client._cause is None:
                raise
            return None  # the line has ended so

    async def _bring(self, line: Line, message: Message[str | bytes]) -> None:
        assert self._hurry is not None, "it runs"
        if message.generation != line.generation:
            await self._merger.reach(line, message.generation)
        self._merger.deliver(line, message)
        room = self._ring._room()
        if room is not None and not self._hurry.done():
            await asyncio.wait([room, self._hurry], return_when=asyncio.FIRST_COMPLETED)

    async def _break_off(self, running: Sequence[asyncio.Task[None]], carrying: Sequence[asyncio.Task[None]]) -> None:
        """Ends the lines at once; what they received is still delivered."""
        for task in running:
            task.cancel()
        try:
            await ended(running)
        finally:
            self._stop_waiting()
            for line, task in zip(self._lines, carrying, strict=True):
                if line.over is None or not line.over.done():
                    task.cancel()  # the line had not begun
            await ended(carrying)

    def _end(self, error: BaseException | None) -> None:
        """Everybody is told, whatever happened."""
        for line in self._lines:
            self._merger.passed(line)
        self._conclude(error)
        if error is not None:
            others = (line.client for line in self._lines if line.client._cause is not error)
            tell_unsent(error, tuple(message for client in others for message in client._unsent))
        self._ring._end(error if isinstance(error, Exception) else None)
        self._is_running = False
        self._tell_over()

    def __repr__(self) -> str:
        return f"<fastws.RedundantClient of {len(self._lines)} lines>"
