"""websocket-rs by its callback, its iteration and its blocking client."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import sys
from collections.abc import AsyncIterable, Callable
from typing import Any, ClassVar

from meter import Meter, Sample

from . import blocking
from .base import BLOCKING, PATIENCE, WARM_UP, WAYS, Client, Counter, whole

SENDS_A_TURN = 256
"""Sends between two turns of the loop. Without any, it buffers everything, and many large messages are slower by far;
from 16 to 1,024 the difference is within the noise."""


class WebsocketRs(Client):
    """Its messages are zero-copy views; they are taken as such, without the copy that ``bytes`` would cost."""

    name = "websocket-rs callback"
    package = "websocket_rs"
    kinds: ClassVar[frozenset[str]] = frozenset(
        {
            "round-trip",
            "ingest",
            "decode",
            "latency",
            "connect",
            "idle",
            "connections",
            "compressed-receive",
        }
    )
    awaits_sends = False

    @classmethod
    def is_installed(cls) -> bool:
        return sys.version_info >= (3, 12) and super().is_installed()

    async def open(self, url: str, on_message: Callable[[Any], None] | None = None) -> Any:
        import websocket_rs

        return await websocket_rs.connect(
            url, ssl_context=self.tls(url), on_message=on_message, compression=self.compresses
        )

    async def close(self, connection: Any) -> None:
        connection.close()
        while not connection.closed:
            await asyncio.sleep(0)

    async def round_trip(self, url: str, payload: bytes, count: int, meter: Meter) -> Sample:
        done: asyncio.Future[Sample] = asyncio.get_running_loop().create_future()
        left = count + WARM_UP

        def echo(_message: Any) -> None:
            nonlocal left
            left -= 1
            if left == count:
                meter.start()
            elif left == 0:
                done.set_result(meter.stop(count))
                return
            ws.send(payload)

        ws = await self.open(url, echo)
        ws.send(payload)
        sample = await done
        ws.close()
        return sample

    async def ingest(self, url: str, count: int, meter: Meter, take: Callable[[Any], int]) -> Sample:
        done: asyncio.Future[Sample] = asyncio.get_running_loop().create_future()
        seen = size = 0

        def on_message(message: Any) -> None:
            nonlocal seen, size
            seen += 1
            size += take(message) if take is len else take(memoryview(message))
            if seen == count:
                done.set_result(meter.stop(count))

        meter.start()
        ws = await self.open(url, on_message)
        sample = await done
        ws.close()
        return sample

    async def watch(self, url: str, counter: Counter) -> tuple[Any, asyncio.Task[None] | None]:
        def on_message(_message: Any) -> None:
            counter.seen += 1

        return await self.open(url, on_message), None


class WebsocketRsIterate(WebsocketRs):
    name = "websocket-rs"
    kinds: ClassVar[frozenset[str]] = WAYS - {"connect", "idle"} | {"compressed-send", "compressed-memory"}
    """The rest as by callback. Its compression forgets its window after each message, in both directions."""

    async def end_sends(self, connection: Any) -> None:
        """Its ``close()`` does not wait for the server, which closes by itself behind the last message."""
        async with asyncio.timeout(PATIENCE * 4):
            with contextlib.suppress(RuntimeError, OSError):
                while not connection.closed:
                    await connection.recv()

    async def round_trip(self, url: str, payload: bytes, count: int, meter: Meter) -> Sample:
        ws = await self.open(url)
        for _ in range(WARM_UP):
            ws.send(payload)
            await ws.recv()
        meter.start()
        for _ in range(count):
            ws.send(payload)
            await ws.recv()
        sample = meter.stop(count)
        ws.close()
        return sample

    async def ingest(self, url: str, count: int, meter: Meter, take: Callable[[Any], int]) -> Sample:
        seen = size = 0
        meter.start()
        ws = await self.open(url)
        # It ends a stream with an exception; all messages come before it.
        with contextlib.suppress(Exception):
            async for message in ws:
                seen += 1
                size += take(message) if take is len else take(memoryview(message))
        return whole(meter.stop(seen), count)

    async def send(self, url: str, payload: bytes, count: int, meter: Meter) -> Sample:
        """It offers no way to wait for room: a turn of the loop now and then lets its transport write."""
        ws = await self.open(url)
        turn = asyncio.sleep
        meter.start()
        for number in range(count):
            ws.send(payload)
            if number % SENDS_A_TURN == 0:
                await turn(0)
        await self.end_sends(ws)
        return meter.stop(count)

    async def send_texts(self, url: str, texts: list[str], meter: Meter) -> Sample:
        ws = await self.open(url)
        turn = asyncio.sleep
        meter.start()
        for number, text in enumerate(texts):
            ws.send(text)
            if number % SENDS_A_TURN == 0:
                await turn(0)
        await self.end_sends(ws)
        return meter.stop(len(texts))

    async def exchange(self, connection: Any, texts: list[str]) -> None:
        for text in texts:
            connection.send(text)
            await connection.recv()

    def sender(self, connection: Any, payload: bytes) -> Callable[[], Any]:
        return functools.partial(connection.send, payload)

    def messages(self, connection: Any) -> AsyncIterable[Any]:
        return connection  # type: ignore[no-any-return]

    @staticmethod
    def payload(message: Any) -> Any:
        return memoryview(message)

    watch = Client.watch


class WebsocketRsSync(Client):
    """Its blocking client, which is the fastest where one message at a time comes; without TLS to a CA of one's own."""

    name = "websocket-rs sync"
    package = "websocket_rs"
    kinds: ClassVar[frozenset[str]] = frozenset({"round-trip", "latency"}) | BLOCKING
    has_tls = False

    @classmethod
    def is_installed(cls) -> bool:
        return WebsocketRs.is_installed()

    async def open(self, url: str) -> Any:
        import websocket_rs.sync.client

        return websocket_rs.sync.client.connect(url)

    async def close(self, connection: Any) -> None:
        connection.close()

    async def end_sends(self, connection: Any) -> None:
        """Its ``close()`` does not wait for the server, which closes by itself behind the last message."""
        with contextlib.suppress(Exception):
            while True:
                connection.recv()

    async def ingest(self, url: str, count: int, meter: Meter, take: Callable[[Any], int]) -> Sample:
        meter.start()
        ws = await self.open(url)
        recv = ws.recv
        for _ in range(count):
            take(recv())
        sample = meter.stop(count)
        ws.close()
        return sample

    round_trip = blocking.round_trip
    send = blocking.send
