"""picows by its own API: callbacks."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable
from typing import Any, ClassVar

from meter import Growth, Meter, Sample

from .base import FIRST, WARM_UP, WAYS, Client, Counter, in_order, whole


class Picows(Client):
    name = "picows callback"
    package = "picows"
    share = 0.5
    kinds: ClassVar[frozenset[str]] = WAYS
    awaits_sends = False

    async def listen(self, url: str, listener: Any) -> Any:
        import picows

        transport, _ = await picows.ws_connect(lambda: listener, url, ssl_context=self.tls(url))
        return transport

    async def open(self, url: str) -> Any:
        import picows

        return await self.listen(url, picows.WSListener())

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

        transport = await self.listen(url, Echo())
        transport.send(binary, payload)
        sample = await done
        transport.disconnect()
        return sample

    async def ingest(self, url: str, count: int, meter: Meter, take: Callable[[Any], int]) -> Sample:
        from picows import WSFrame, WSListener, WSMsgType, WSTransport

        close = WSMsgType.CLOSE

        seen = size = 0

        class Take(WSListener):
            def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
                nonlocal seen, size
                if frame.msg_type == close:
                    transport.send_close(frame.get_close_code())
                    transport.disconnect()
                    return
                seen += 1
                size += take(frame.get_payload_as_bytes())

        meter.start()
        transport = await self.listen(url, Take())
        await transport.wait_disconnected()
        return whole(meter.stop(seen), count)

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

        transport = await self.listen(url, Room())
        meter.start()
        for _ in range(count):
            if not writable.is_set():
                await writable.wait()
            transport.send(binary, payload)
        transport.send_close()
        await transport.wait_disconnected()
        return meter.stop(count)

    def sender(self, connection: Any, payload: bytes) -> Callable[[], Any]:
        from picows import WSMsgType

        return functools.partial(connection.send, WSMsgType.BINARY, payload)

    async def watch(self, url: str, counter: Counter) -> tuple[Any, None]:
        from picows import WSFrame, WSListener, WSTransport

        class Count(WSListener):
            def on_ws_frame(self, _transport: WSTransport, frame: WSFrame) -> None:
                frame.get_payload_as_bytes()
                counter.seen += 1

        return await self.listen(url, Count()), None

    async def stop_consuming(self, url: str, pause: float, count: int, meter: Meter) -> Sample:
        """A callback cannot wait; its consumer stops the transport from reading."""
        from picows import WSFrame, WSListener, WSTransport

        loop = asyncio.get_running_loop()
        done: asyncio.Future[Sample] = loop.create_future()

        class Stop(WSListener):
            growth: Growth
            seen = 0

            def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
                if done.done():
                    return
                try:
                    in_order(frame.get_payload_as_bytes(), self.seen)
                except RuntimeError as error:
                    done.set_exception(error)
                    return
                self.seen += 1
                if self.seen == FIRST:
                    self.growth = Growth()
                    meter.start()
                    transport.underlying_transport.pause_reading()
                    loop.call_later(pause, transport.underlying_transport.resume_reading)
                elif self.seen == FIRST + count:
                    sample = meter.stop(count)
                    sample.grown_bytes = self.growth.bytes()
                    done.set_result(sample)

        transport = await self.listen(url, Stop())
        sample = await done
        await self.leave(transport)
        return sample
