"""How a stream's messages come from the thread of the client to the one that reads them.

They are carried when they are asked for, many at a time, as a message by itself would cost a change of threads. What
was carried and not taken stays for the next call: one that gives up, or is interrupted, loses nothing.
"""

from __future__ import annotations

import asyncio
import operator
from collections import deque
from collections.abc import Iterator
from typing import Any, NamedTuple

from fastws import _core
from fastws._interrupt import ended
from fastws.client import WebSocketClient
from fastws.errors import SubscriberOverflow
from fastws.streams import Stream

from ._bell import Bell

__all__ = ["MOST", "Carrier", "Chunk", "Known", "Want"]

MOST = 4096
"""Messages that are carried at once, at most: what a batch has by default."""

MOST_BYTES = 1 << 20
"""Bytes that are carried at once, at most, but for a larger message: as much as waits in the client by default."""


class Want(NamedTuple):
    """What ``batches()`` asks for: its arguments."""

    messages: int
    size: int | None
    seconds: float


class Known(NamedTuple):
    """What is known of the item last taken."""

    seq: int = 0
    generation: int = 0
    connection_id: int = 0
    source: str | None = None
    received_ns: int = 0
    received_mono_ns: int = 0
    kernel_ns: int | None = None
    outages: int = 0
    last_outage: Any = None


class Chunk:
    """Messages that were received together, a marker, or an error, at its place."""

    __slots__ = ("_count", "batch", "error", "items", "last_outage", "outages")

    def __init__(
        self, item: Any, native: Stream[Any], error: BaseException | None = None, *, tells: bool = False
    ) -> None:
        self.batch: _core.Batch | None = item if isinstance(item, _core.Batch) else None
        self.error = error
        if self.batch is not None:
            items: list[Any] = self.batch._messages() if tells else self.batch.messages
        else:
            items = [item] if error is None else []
        self.items: Iterator[Any] = iter(items)
        """Those that were not taken."""
        self._count = len(items)
        self.outages, self.last_outage = native.outages, native.last_outage

    def __len__(self) -> int:
        return self._count

    @property
    def left(self) -> int:
        """How many were not taken."""
        return operator.length_hint(self.items)

    def known(self, before: Known) -> Known:
        """What is known of the message last taken; ``before`` it, and where it is no message."""
        taken, batch = self._count - self.left, self.batch
        if not taken:
            return before
        if batch is None:
            return before._replace(outages=self.outages, last_outage=self.last_outage)
        return Known(
            batch.first_seq + taken - 1,
            batch.generation,
            batch.connection_id,
            batch.source,
            batch.received_ns,
            batch.received_mono_ns,
            batch.kernel_ns,
            self.outages,
            self.last_outage,
        )


class Carrier:
    """Takes from a stream in the client's thread, and lays down where another thread finds it.

    Args:
        client: Whose thread it is.
        native: The stream.
        limit: Messages to carry at once; whoever reads may change it.
        singly: Messages have no numbers in a row, so each is carried by itself.
        tells: Messages are given with what is known of them.
    """

    __slots__ = (
        "_client",
        "_singly",
        "_task",
        "_tells",
        "asked",
        "bell",
        "carried",
        "here",
        "limit",
        "native",
        "over",
        "want",
    )

    def __init__(self, client: WebSocketClient, native: Stream[Any], limit: int, *, singly: bool, tells: bool) -> None:
        self._client = client
        self.native = native
        self._singly = singly
        self._tells = tells
        self._task: asyncio.Task[None] | None = None
        self.limit = limit
        self.want: Want | None = None
        """The batch that is asked for; None: messages."""
        self.asked = False
        """Something is to be carried, and was not yet."""
        self.here: deque[Chunk] = deque()
        self.over: tuple[BaseException | None] | None = None
        """The client is over and everything is here: why, if it was not shut down."""
        self.bell = Bell()
        """What the reading thread waits for."""
        self.carried = 0
        """Messages that were carried last."""

    # ---- in the client's thread ------------------------------------------------------------------------------------

    def serve(self) -> None:
        """Carries what is there, if it was asked for; else, as soon as something is."""
        if not self.asked or self._task is not None or self.native.closed:
            return
        if self.want is None or not self.want.seconds:
            chunks = self._take([])
            if chunks:
                self._lay(chunks)
                return
        self._task = asyncio.get_running_loop().create_task(self._carry(), name="fastws stream")

    def begin(self) -> None:
        """The client begins to run."""
        self.over = None
        self.serve()

    async def finish(self) -> None:
        """The client is over: everything that is left is carried."""
        if self._client.is_running:
            return  # it was started again
        await self._rest()
        while not self.native.closed:
            try:
                item = await anext(self._batches(MOST))
            except StopAsyncIteration:
                self.over = (None,)
                break
            except Exception as error:  # noqa: BLE001 - it is the reader's
                if self._is_end(error) or isinstance(error, SubscriberOverflow):
                    self.over = (error,)
                    break
                self.here.append(Chunk(None, self.native, error))
                continue
            self.here.append(self._chunk(item))
        self.asked = False
        self.bell.ring()

    def close(self) -> None:
        """Detaches the stream; nothing is carried any more."""
        if self._task is not None:
            self._task.cancel()
        self.native.close()
        self.bell.ring()

    async def _rest(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await ended((self._task,))

    async def _carry(self) -> None:
        """Waits for what is next, and carries it with what comes with it."""
        try:
            try:
                first = self._chunk(await anext(self._batches(self.limit)))
            except StopAsyncIteration:
                return  # the end is carried when it has come
            except Exception as error:  # noqa: BLE001 - it is the reader's
                if self._is_end(error):
                    return
                first = Chunk(None, self.native, error)
            self._lay(self._take([first]))
        finally:
            self._task = None

    def _lay(self, chunks: list[Chunk]) -> None:
        self.asked = False  # before they are seen: whoever has taken them asks again
        self.carried = sum(map(len, chunks))
        self.here.extend(chunks)
        self.bell.ring()

    def _take(self, chunks: list[Chunk]) -> list[Chunk]:
        """What is there, behind what was taken; it does not wait."""
        native, count = self.native, sum(map(len, chunks))
        _, size = native.lag
        while count < self.limit:
            waiting, left = native.lag
            if chunks and (self.want is not None or chunks[-1].error is not None or not waiting):
                break
            if size - left >= MOST_BYTES:
                break
            chunk = self._step(self.limit - count)
            if chunk is None:
                break
            chunks.append(chunk)
            count += max(1, len(chunk))
        return chunks

    def _step(self, limit: int) -> Chunk | None:
        awaitable = self._batches(limit).__anext__()
        try:
            awaitable.send(None)
        except StopIteration as got:
            return self._chunk(got.value)
        except StopAsyncIteration:
            return None
        except Exception as error:  # noqa: BLE001 - it is the reader's
            return None if self._is_end(error) else Chunk(None, self.native, error)
        awaitable.close()
        return None

    def _chunk(self, item: Any) -> Chunk:
        return Chunk(item, self.native, tells=self._tells)

    def _is_end(self, error: Exception) -> bool:
        """Whether it says why the client is over: it comes behind everything else, and again."""
        return type(error) is type(self._client._cause)

    def _batches(self, limit: int) -> Any:
        want, native = self.want, self.native
        native._be_exact(want is None)
        if want is not None:
            return native.batches(want.messages, want.size, want.seconds)
        return native.batches(1 if self._singly else limit, MOST_BYTES)
