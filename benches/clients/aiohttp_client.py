"""aiohttp's client."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterable, Callable
from typing import Any, ClassVar

from meter import Meter, Sample

from .base import COMPRESSED, WARM_UP, WAYS, Client, whole


class Aiohttp(Client):
    name = "aiohttp"
    package = "aiohttp"
    share = 0.2

    kinds: ClassVar[frozenset[str]] = WAYS | COMPRESSED

    def __init__(self, ca_pem: str, *, compresses: bool = False) -> None:
        super().__init__(ca_pem, compresses=compresses)
        self._session: Any = None

    async def open(self, url: str) -> Any:
        """One session for all connections, as its documentation asks for."""
        import aiohttp

        if self._session is None:
            self._session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))
        compress = 15 if self.compresses else 0
        return await self._session.ws_connect(url, ssl=self.tls(url) or True, max_msg_size=0, compress=compress)

    async def finish(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def round_trip(self, url: str, payload: bytes, count: int, meter: Meter) -> Sample:
        ws = await self.open(url)
        for _ in range(WARM_UP):
            await ws.send_bytes(payload)
            await ws.receive_bytes()
        meter.start()
        for _ in range(count):
            await ws.send_bytes(payload)
            await ws.receive_bytes()
        sample = meter.stop(count)
        await ws.close()
        return sample

    async def ingest(self, url: str, count: int, meter: Meter, take: Callable[[Any], int]) -> Sample:
        seen = size = 0
        meter.start()
        ws = await self.open(url)
        async for message in ws:
            seen += 1
            size += take(message.data)
        return whole(meter.stop(seen), count)

    async def send(self, url: str, payload: bytes, count: int, meter: Meter) -> Sample:
        ws = await self.open(url)
        meter.start()
        for _ in range(count):
            await ws.send_bytes(payload)
        await ws.close()
        return meter.stop(count)

    async def send_texts(self, url: str, texts: list[str], meter: Meter) -> Sample:
        ws = await self.open(url)
        meter.start()
        for text in texts:
            await ws.send_str(text)
        await ws.close()
        return meter.stop(len(texts))

    async def exchange(self, connection: Any, texts: list[str]) -> None:
        for text in texts:
            await connection.send_str(text)
            await connection.receive_str()

    def sender(self, connection: Any, payload: bytes) -> Callable[[], Any]:
        return functools.partial(connection.send_bytes, payload)

    def messages(self, connection: Any) -> AsyncIterable[Any]:
        return connection  # type: ignore[no-any-return]

    @staticmethod
    def payload(message: Any) -> Any:
        return message.data
