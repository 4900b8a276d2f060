"""websockets, and the drop-ins for it: picows' and ours."""

from __future__ import annotations

import functools
from abc import abstractmethod
from collections.abc import AsyncIterable, Callable
from typing import Any, ClassVar

from meter import Meter, Sample

from . import blocking
from .base import BLOCKING, COMPRESSED, WARM_UP, WAYS, Client, whole


class WebsocketsStyle(Client):
    """What ``websockets`` and its drop-ins share."""

    kinds: ClassVar[frozenset[str]] = WAYS | COMPRESSED

    @property
    def compression(self) -> str | None:
        return "deflate" if self.compresses else None

    @abstractmethod
    def connect(self, url: str) -> Any:
        """What ``connect`` of the library gives."""

    async def open(self, url: str) -> Any:
        return await self.connect(url)

    async def round_trip(self, url: str, payload: bytes, count: int, meter: Meter) -> Sample:
        ws = await self.open(url)
        for _ in range(WARM_UP):
            await ws.send(payload)
            await ws.recv()
        meter.start()
        for _ in range(count):
            await ws.send(payload)
            await ws.recv()
        sample = meter.stop(count)
        await ws.close()
        return sample

    async def ingest(self, url: str, count: int, meter: Meter, take: Callable[[Any], int]) -> Sample:
        seen = size = 0
        meter.start()
        ws = await self.open(url)
        async for message in ws:
            seen += 1
            size += take(message)
        return whole(meter.stop(seen), count)

    async def send(self, url: str, payload: bytes, count: int, meter: Meter) -> Sample:
        ws = await self.open(url)
        meter.start()
        for _ in range(count):
            await ws.send(payload)
        await ws.close()
        return meter.stop(count)

    def sender(self, connection: Any, payload: bytes) -> Callable[[], Any]:
        return functools.partial(connection.send, payload)

    def messages(self, connection: Any) -> AsyncIterable[Any]:
        return connection  # type: ignore[no-any-return]


class PicowsWebsockets(WebsocketsStyle):
    name = "picows.websockets"
    package = "picows"
    share = 0.4

    def connect(self, url: str) -> Any:
        import picows.websockets

        return picows.websockets.connect(url, compression=self.compression, proxy=None, ssl=self.tls(url))


class Websockets(WebsocketsStyle):
    name = "websockets"
    package = "websockets"
    share = 0.1

    def connect(self, url: str) -> Any:
        import websockets

        return websockets.connect(url, compression=self.compression, proxy=None, ssl=self.tls(url))


class FastwsDropIn(WebsocketsStyle):
    """``fastws.compat.websockets``, in what most of its users do all the time."""

    name = "fastws drop-in"
    package = "fastws"
    kinds: ClassVar[frozenset[str]] = frozenset({"round-trip", "ingest"})

    def connect(self, url: str) -> Any:
        from fastws.compat.websockets.asyncio.client import connect

        return connect(url, compression=self.compression, proxy=None, ssl=self.tls(url))


class WebsocketsSync(Websockets):
    """``websockets.sync.client``: a thread of its own reads for each connection."""

    name = "websockets sync"
    kinds: ClassVar[frozenset[str]] = BLOCKING | {"compressed-receive", "compressed-send"}

    async def open(self, url: str) -> Any:
        import websockets.sync.client

        return websockets.sync.client.connect(url, compression=self.compression, proxy=None, ssl=self.tls(url))

    async def close(self, connection: Any) -> None:
        connection.close()

    round_trip = blocking.round_trip
    ingest = blocking.ingest
    send = blocking.send
    send_texts = blocking.send_texts
