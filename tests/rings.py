"""A client's ring without a client: what is pushed and attached by hand."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import fastws
from fastws import _core, _policy, markers

WATER = (4096, 1024, 1 << 20, 1 << 18)


def ring(
    messages: int = 4096, size: int = 1 << 20, *, low: int | None = None, low_size: int | None = None, **options: Any
) -> _core.Ring:
    water = (messages, messages // 4 if low is None else low, size, size // 4 if low_size is None else low_size)
    return _core.Ring(None, _policy, water, **options)


def push(ring: _core.Ring, *messages: Any) -> None:
    for message in messages:
        ring._push(message, 1_000 + ring.seq, 2_000 + ring.seq, None)


def numbered(ring: _core.Ring, numbers: Any) -> None:
    push(ring, *(str(number) for number in numbers))


def down(generation: int = 1) -> markers.Down:
    return markers.Down(generation=generation, last_received_ns=1, detected_ns=2, reason="lost")


def outage(old: int = 1) -> markers.Outage:
    return markers.Outage(
        from_ns=1,
        detected_ns=2,
        to_ns=3,
        reason="lost",
        old_generation=old,
        new_generation=old + 1,
        attempts=2,
        unrestored=(),
    )


async def take(stream: Any, count: int) -> list[Any]:
    return [await stream.recv() for _ in range(count)]


async def rest(stream: Any) -> list[Any]:
    """Everything to the end."""
    return [item async for item in stream]


async def there(stream: Any) -> list[Any]:
    """Everything that is there: it does not wait."""
    items = []
    while not await waits(stream, items):
        pass
    return items


async def waits(stream: Any, items: list[Any] | None = None) -> bool:
    """Whether a reader of it has to wait; if not, what it gets is added to ``items``."""
    task = asyncio.ensure_future(stream.recv())
    for _ in range(4):  # a reader may give the loop a turn first
        await asyncio.sleep(0)
    task.cancel()
    try:
        item = await task
    except asyncio.CancelledError:
        return True
    if items is not None:
        items.append(item)
    return False


@contextlib.asynccontextmanager
async def attached(ring: _core.Ring, connecting: Any, generation: int = 1, connection: int = 1, source: Any = None):
    """A connection that feeds the ring."""
    ws = await connecting
    ring._attach(ws, generation, connection, source)
    try:
        yield ws
    finally:
        ring._detach(ws)
        ws._abort("the test is over")
        await ws.wait_closed()


async def feed(ring: _core.Ring, connecting: Any, generation: int = 1, connection: int = 1, source: Any = None) -> None:
    """A session: everything that a server sends until it closes."""
    ws: fastws.Connection = await connecting
    ring._attach(ws, generation, connection, source)
    await ws.wait_closed()
    ring._detach(ws)
