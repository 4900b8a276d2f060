"""The clients under measurement, each driven the way its documentation shows for speed.

A client implements what it can of :class:`Client`; its methods start the meter after a warm-up and stop it at the last
operation. What a consumer does with a message is the same everywhere: count it, add its length (or decode it).
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import ssl
import sys
from collections.abc import Callable
from typing import Any

import orjson

from meter import Meter, Sample

WARM_UP = 200
"""Round trips before the measurement."""


class Client:
    """A way to use a library. ``share`` is the part of a scenario's operations that it does: slow ones do less."""

    name = ""
    package = ""
    share = 1.0

    def __init__(self, ca_pem: str) -> None:
        self.ca_pem = ca_pem
        self._context: ssl.SSLContext | None = None

    @classmethod
    def is_installed(cls) -> bool:
        return importlib.util.find_spec(cls.package) is not None

    def tls(self, url: str) -> ssl.SSLContext | None:
        """The context for a URL, made once."""
        if not url.startswith("wss:"):
            return None
        if self._context is None:
            self._context = ssl.create_default_context(cadata=self.ca_pem)
        return self._context

    async def open(self, url: str) -> Any:
        """An open connection."""
        raise NotImplementedError

    async def close(self, connection: Any) -> None:
        """Closes it, with the closing handshake."""
        await connection.close()

    async def round_trip(self, url: str, payload: bytes, count: int, meter: Meter) -> Sample:
        raise NotImplementedError

    async def ingest(self, url: str, count: int, meter: Meter, take: Callable[[Any], int]) -> Sample:
        raise NotImplementedError

    async def send(self, url: str, payload: bytes, count: int, meter: Meter) -> Sample:
        raise NotImplementedError

    def can(self, method: str) -> bool:
        return getattr(type(self), method) is not getattr(Client, method)


class FastwsIterate(Client):
    name = "fastws"
    package = "fastws"

    def options(self, url: str) -> dict[str, Any]:
        import fastws

        return {"tls": fastws.TlsConfig(ca=self.ca_pem.encode())} if url.startswith("wss:") else {}

    async def open(self, url: str) -> Any:
        import fastws

        return await fastws.connect(url, **self.options(url))

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
        if take is len:
            async for message in ws:
                seen += 1
                size += len(message)
        else:
            async for message in ws:
                seen += 1
                size += take(message)
        return _whole(meter.stop(seen), count)

    async def send(self, url: str, payload: bytes, count: int, meter: Meter) -> Sample:
        ws = await self.open(url)
        meter.start()
        for _ in range(count):
            await ws.send(payload)
        await ws.close()
        return meter.stop(count)


class FastwsListener(FastwsIterate):
    name = "fastws callback"

    async def round_trip(self, url: str, payload: bytes, count: int, meter: Meter) -> Sample:
        import fastws

        done: asyncio.Future[Sample] = asyncio.get_running_loop().create_future()

        class Echo(fastws.Listener):
            left = count + WARM_UP

            def on_message(self, ws: fastws.Connection, _message: str | bytes) -> None:
                self.left -= 1
                if self.left == count:
                    meter.start()
                elif self.left == 0:
                    done.set_result(meter.stop(count))
                    return
                ws.send_nowait(payload)

        ws = await fastws.connect(url, listener=Echo(), **self.options(url))
        ws.send_nowait(payload)
        sample = await done
        await ws.close()
        return sample

    async def ingest(self, url: str, count: int, meter: Meter, take: Callable[[Any], int]) -> Sample:
        import fastws

        class Take(fastws.Listener):
            seen = size = 0

            def on_message(self, _ws: fastws.Connection, message: str | bytes) -> None:
                self.seen += 1
                self.size += take(message)

        listener = Take()
        meter.start()
        ws = await fastws.connect(url, listener=listener, **self.options(url))
        await ws.wait_closed()
        return _whole(meter.stop(listener.seen), count)

    send = Client.send  # type: ignore[assignment]  # as FastwsIterate


class FastwsBatches(FastwsIterate):
    name = "fastws batches"
    round_trip = Client.round_trip  # type: ignore[assignment]  # one message is no batch
    send = Client.send  # type: ignore[assignment]

    async def ingest(self, url: str, count: int, meter: Meter, take: Callable[[Any], int]) -> Sample:
        seen = size = 0
        meter.start()
        ws = await self.open(url)
        async for batch in ws.batches():
            seen += len(batch)
            for message in batch:
                size += take(message)
        return _whole(meter.stop(seen), count)


class FastwsBusyPoll(FastwsIterate):
    """It never sleeps while answers come within 50 µs: a core's time for microseconds."""

    name = "fastws busy poll"
    ingest = Client.ingest  # type: ignore[assignment]  # a socket that is never empty needs no polling
    send = Client.send  # type: ignore[assignment]

    def options(self, url: str) -> dict[str, Any]:
        return super().options(url) | {"busy_poll": 50e-6}


class Picows(Client):
    name = "picows callback"
    package = "picows"
    share = 0.5

    async def _open(self, url: str, listener: Any) -> Any:
        import picows

        transport, _ = await picows.ws_connect(lambda: listener, url, ssl_context=self.tls(url))
        return transport

    async def open(self, url: str) -> Any:
        import picows

        return await self._open(url, picows.WSListener())

    async def close(self, connection: Any) -> None:
        connection.send_close()
        await connection.wait_disconnected()

    async def round_trip(self, url: str, payload: bytes, count: int, meter: Meter) -> Sample:
        from picows import WSFrame, WSListener, WSMsgType, WSTransport

        done: asyncio.Future[Sample] = asyncio.get_running_loop().create_future()
        binary = WSMsgType.BINARY

        class Echo(WSListener):
            left = count + WARM_UP

            def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
                if done.done():
                    return
                frame.get_payload_as_bytes()
                self.left -= 1
                if self.left == count:
                    meter.start()
                elif self.left == 0:
                    done.set_result(meter.stop(count))
                    return
                transport.send(binary, payload)

        transport = await self._open(url, Echo())
        transport.send(binary, payload)
        sample = await done
        transport.disconnect()
        return sample

    async def ingest(self, url: str, count: int, meter: Meter, take: Callable[[Any], int]) -> Sample:
        from picows import WSFrame, WSListener, WSMsgType, WSTransport

        close = WSMsgType.CLOSE

        class Take(WSListener):
            seen = size = 0

            def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
                if frame.msg_type == close:
                    transport.send_close(frame.get_close_code())
                    transport.disconnect()
                    return
                self.seen += 1
                self.size += take(frame.get_payload_as_bytes())

        listener = Take()
        meter.start()
        transport = await self._open(url, listener)
        await transport.wait_disconnected()
        return _whole(meter.stop(listener.seen), count)

    async def send(self, url: str, payload: bytes, count: int, meter: Meter) -> Sample:
        from picows import WSListener, WSMsgType

        writable = asyncio.Event()
        writable.set()
        binary = WSMsgType.BINARY

        class Room(WSListener):
            def pause_writing(self) -> None:
                writable.clear()

            def resume_writing(self) -> None:
                writable.set()

        transport = await self._open(url, Room())
        meter.start()
        for _ in range(count):
            if not writable.is_set():
                await writable.wait()
            transport.send(binary, payload)
        transport.send_close()
        await transport.wait_disconnected()
        return meter.stop(count)


class WebsocketsStyle(Client):
    """What ``websockets`` and its drop-ins share."""

    def connect(self, url: str) -> Any:
        raise NotImplementedError

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
        return _whole(meter.stop(seen), count)

    async def send(self, url: str, payload: bytes, count: int, meter: Meter) -> Sample:
        ws = await self.open(url)
        meter.start()
        for _ in range(count):
            await ws.send(payload)
        await ws.close()
        return meter.stop(count)


class PicowsWebsockets(WebsocketsStyle):
    name = "picows.websockets"
    package = "picows"
    share = 0.4

    def connect(self, url: str) -> Any:
        import picows.websockets

        return picows.websockets.connect(url, compression=None, proxy=None, ssl=self.tls(url))


class Websockets(WebsocketsStyle):
    name = "websockets"
    package = "websockets"
    share = 0.1

    def connect(self, url: str) -> Any:
        import websockets

        return websockets.connect(url, compression=None, proxy=None, ssl=self.tls(url))


class Aiohttp(Client):
    name = "aiohttp"
    package = "aiohttp"
    share = 0.2

    async def open(self, url: str) -> Any:
        import aiohttp

        session = aiohttp.ClientSession()
        try:
            ws = await session.ws_connect(url, ssl=self.tls(url) or True, max_msg_size=0)
        except BaseException:
            await session.close()
            raise
        return ws, session

    async def close(self, connection: Any) -> None:
        ws, session = connection
        await ws.close()
        await session.close()

    async def round_trip(self, url: str, payload: bytes, count: int, meter: Meter) -> Sample:
        connection = await self.open(url)
        ws, _ = connection
        for _ in range(WARM_UP):
            await ws.send_bytes(payload)
            await ws.receive_bytes()
        meter.start()
        for _ in range(count):
            await ws.send_bytes(payload)
            await ws.receive_bytes()
        sample = meter.stop(count)
        await self.close(connection)
        return sample

    async def ingest(self, url: str, count: int, meter: Meter, take: Callable[[Any], int]) -> Sample:
        seen = size = 0
        meter.start()
        connection = await self.open(url)
        async for message in connection[0]:
            seen += 1
            size += take(message.data)
        sample = meter.stop(seen)
        await self.close(connection)
        return _whole(sample, count)

    async def send(self, url: str, payload: bytes, count: int, meter: Meter) -> Sample:
        connection = await self.open(url)
        meter.start()
        for _ in range(count):
            await connection[0].send_bytes(payload)
        await connection[0].close()
        sample = meter.stop(count)
        await self.close(connection)
        return sample


class WebsocketRs(Client):
    """Its messages are zero-copy views; they are taken as such, without the copy that ``bytes`` would cost."""

    name = "websocket-rs callback"
    package = "websocket_rs"

    @classmethod
    def is_installed(cls) -> bool:
        return sys.version_info >= (3, 12) and super().is_installed()

    async def open(self, url: str, on_message: Callable[[Any], None] | None = None) -> Any:
        import websocket_rs

        return await websocket_rs.connect(url, ssl_context=self.tls(url), on_message=on_message)

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


class WebsocketRsIterate(WebsocketRs):
    name = "websocket-rs"

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
        return _whole(meter.stop(seen), count)


def decoded(message: Any) -> int:
    """Takes a JSON message."""
    orjson.loads(message)
    return 1


def _whole(sample: Sample, count: int) -> Sample:
    if sample.operations != count:
        raise RuntimeError(f"{sample.operations} messages arrived, not {count}")
    return sample


ALL: tuple[type[Client], ...] = (
    FastwsIterate,
    FastwsListener,
    FastwsBatches,
    FastwsBusyPoll,
    Picows,
    PicowsWebsockets,
    WebsocketRs,
    WebsocketRsIterate,
    Aiohttp,
    Websockets,
)


def installed() -> list[type[Client]]:
    """The clients that can be measured here, ours first."""
    return [client for client in ALL if client.is_installed()]


def named(name: str) -> type[Client]:
    return next(client for client in ALL if client.name == name)
