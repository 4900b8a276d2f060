"""The resilient client: its streams, of one session that the server ends."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any, ClassVar

import fastws
from meter import Meter, Sample

from .base import whole
from .ours import FastwsIterate


class FastwsStream(FastwsIterate):
    """``async for`` over one stream."""

    name = "fastws stream"
    kinds: ClassVar[frozenset[str]] = frozenset({"ingest", "decode"})

    async def ingest(self, url: str, count: int, meter: Meter, take: Callable[[Any], int]) -> Sample:
        client = fastws.WebSocketClient(url, retry=fastws.NoRetry(), **self.options(url))
        streams = self.streams(client, take)
        meter.start()
        running = asyncio.ensure_future(client.run())
        seen = await asyncio.gather(*(self.read(stream, take) for stream in streams))
        sample = whole(meter.stop(min(seen)), count)
        with contextlib.suppress(fastws.RetriesExhausted):
            await running
        return sample

    def streams(self, client: fastws.WebSocketClient, _take: Callable[[Any], int]) -> list[fastws.Stream[Any]]:
        return [client.stream()]

    async def read(self, stream: fastws.Stream[Any], take: Callable[[Any], int]) -> int:
        seen = size = 0
        with contextlib.suppress(fastws.RetriesExhausted):
            async for message in stream:
                seen += 1
                size += take(message)
        return seen


class FastwsStreamMarkers(FastwsStream):
    """One stream whose items say what is known of them, and what happened between them."""

    name = "fastws stream markers"

    def streams(self, client: fastws.WebSocketClient, _take: Callable[[Any], int]) -> list[fastws.Stream[Any]]:
        return [client.stream(markers=True)]

    async def read(self, stream: fastws.Stream[Any], take: Callable[[Any], int]) -> int:
        seen = size = 0
        with contextlib.suppress(fastws.RetriesExhausted):
            async for item in stream:
                if isinstance(item, fastws.Message):
                    seen += 1
                    size += take(item.data)
        return seen


class FastwsStreams(FastwsStream):
    """Three streams that share what is made of each message; what each gets is counted once."""

    name = "fastws 3 streams"

    def streams(self, client: fastws.WebSocketClient, take: Callable[[Any], int]) -> list[fastws.Stream[Any]]:
        return [client.stream(decode=take) for _ in range(3)]

    async def read(self, stream: fastws.Stream[Any], _take: Callable[[Any], int]) -> int:
        seen = size = 0
        with contextlib.suppress(fastws.RetriesExhausted):
            async for length in stream:
                seen += 1
                size += length
        return seen
