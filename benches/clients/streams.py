"""The streams of fastws' resilient client, on a ring that one connection feeds."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, ClassVar

from fastws import Stream, _core, _policy
from meter import Meter, Sample

from .base import whole
from .ours import FastwsIterate

WATER = (4096, 1024, 1 << 20, 1 << 18)
"""As a connection alone has it."""


class FastwsStream(FastwsIterate):
    """``async for`` over one stream."""

    name = "fastws stream"
    kinds: ClassVar[frozenset[str]] = frozenset({"ingest", "decode"})
    markers = False

    async def ingest(self, url: str, count: int, meter: Meter, take: Callable[[Any], int]) -> Sample:
        ring = _core.Ring(None, _policy, WATER)
        meter.start()
        ws = await self.open(url)
        streams = self.streams(ring, take)
        ring._attach(ws, 1, 1)
        seen = asyncio.gather(*(self.read(stream, take) for stream in streams))
        await ws.wait_closed()
        ring._end(None)
        return whole(meter.stop(min(await seen)), count)

    def streams(self, ring: _core.Ring, _take: Callable[[Any], int]) -> list[Stream[Any]]:
        return [Stream(ring)]

    async def read(self, stream: Stream[Any], take: Callable[[Any], int]) -> int:
        seen = size = 0
        async for message in stream:
            seen += 1
            size += take(message)
        return seen


class FastwsStreamMarkers(FastwsStream):
    """One stream whose items say what is known of them."""

    name = "fastws stream markers"

    def streams(self, ring: _core.Ring, _take: Callable[[Any], int]) -> list[Stream[Any]]:
        return [Stream(ring, markers=True)]

    async def read(self, stream: Stream[Any], take: Callable[[Any], int]) -> int:
        seen = size = 0
        async for message in stream:
            seen += 1
            size += take(message.data)
        return seen


class FastwsStreams(FastwsStream):
    """Three streams that share what is made of each message; what each gets is counted once."""

    name = "fastws 3 streams"

    def streams(self, ring: _core.Ring, take: Callable[[Any], int]) -> list[Stream[Any]]:
        return [Stream(ring, decode=take) for _ in range(3)]

    async def read(self, stream: Stream[Any], _take: Callable[[Any], int]) -> int:
        seen = size = 0
        async for length in stream:
            seen += 1
            size += length
        return seen
