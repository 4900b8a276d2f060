"""fastws, by each of its ways."""

from __future__ import annotations

import asyncio
import functools
import itertools
import warnings
from collections.abc import AsyncIterable, Callable
from typing import Any, ClassVar

import fastws
import fastws.sync
from meter import Growth, Meter, Sample

from . import blocking
from .base import BLOCKING, COMPRESSED, WARM_UP, WAYS, Client, Counter, whole


class FastwsIterate(Client):
    """The plain API: ``await send()``, ``await recv()``, ``async for``."""

    name = "fastws"
    package = "fastws"
    kinds: ClassVar[frozenset[str]] = WAYS | COMPRESSED

    def options(self, url: str) -> dict[str, Any]:
        """Compression of every message, however small: rivals know no threshold."""
        options: dict[str, Any] = {"compression": fastws.Deflate(threshold=0)} if self.compresses else {}
        if url.startswith("wss:"):
            options["tls"] = fastws.TlsConfig(ca=self.ca_pem.encode())
        return options

    async def open(self, url: str) -> Any:
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
        async for message in ws:
            seen += 1
            size += take(message)
        sample = meter.stop(seen)
        await ws.wait_closed()
        return whole(sample, count)

    async def send(self, url: str, payload: bytes, count: int, meter: Meter) -> Sample:
        ws = await self.open(url)
        meter.start()
        for _ in range(count):
            await ws.send(payload)
        await ws.close()
        return meter.stop(count)

    def sender(self, connection: Any, payload: bytes) -> Callable[[], Any]:
        return functools.partial(connection.send, payload)

    async def send_unawaited(self, url: str, payload: bytes, count: int, meter: Meter) -> Sample:
        """``send()`` accepts at the call, so nothing need be awaited; what it does not accept it warns of."""
        ws = await self.open(url)
        send = self.sender(ws, payload)
        refused = 0

        def tell(_message: Warning | str, category: type[Warning], *_where: Any) -> None:
            nonlocal refused
            refused += issubclass(category, RuntimeWarning)

        growth = Growth()
        meter.start()
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            warnings.showwarning = tell
            for _ in range(count):
                send()
        await ws.close()
        sample = meter.stop(count)
        sample.grown_bytes, sample.refused = growth.bytes(), refused
        return sample

    def messages(self, connection: Any) -> AsyncIterable[Any]:
        return connection  # type: ignore[no-any-return]


class FastwsListener(FastwsIterate):
    name = "fastws callback"
    kinds: ClassVar[frozenset[str]] = frozenset(
        {"round-trip", "ingest", "decode", "latency", "connections", "compressed-receive"}
    )

    async def round_trip(self, url: str, payload: bytes, count: int, meter: Meter) -> Sample:
        done: asyncio.Future[Sample] = asyncio.get_running_loop().create_future()

        left = count + WARM_UP

        class Echo(fastws.Listener):
            def on_message(self, ws: fastws.Connection, _message: str | bytes) -> None:
                nonlocal left
                left -= 1
                if left == count:
                    meter.start()
                elif left == 0:
                    done.set_result(meter.stop(count))
                    return
                ws.send_nowait(payload)

        ws = await fastws.connect(url, listener=Echo(), **self.options(url))
        ws.send_nowait(payload)
        sample = await done
        await ws.close()
        return sample

    async def ingest(self, url: str, count: int, meter: Meter, take: Callable[[Any], int]) -> Sample:
        seen = size = 0

        class Take(fastws.Listener):
            def on_message(self, _ws: fastws.Connection, message: str | bytes) -> None:
                nonlocal seen, size
                seen += 1
                size += take(message)

        meter.start()
        ws = await fastws.connect(url, listener=Take(), **self.options(url))
        await ws.wait_closed()
        return whole(meter.stop(seen), count)

    async def watch(self, url: str, counter: Counter) -> tuple[Any, None]:
        class Count(fastws.Listener):
            def on_message(self, _ws: fastws.Connection, _message: str | bytes) -> None:
                counter.seen += 1

        return await fastws.connect(url, listener=Count(), **self.options(url)), None


class FastwsBatches(FastwsIterate):
    """Many messages a time; one that comes alone is no batch."""

    name = "fastws batches"
    kinds: ClassVar[frozenset[str]] = frozenset({"ingest", "decode", "compressed-receive"})

    async def ingest(self, url: str, count: int, meter: Meter, take: Callable[[Any], int]) -> Sample:
        seen = size = 0
        meter.start()
        ws = await self.open(url)
        async for batch in ws.batches():
            seen += len(batch)
            for message in batch:
                size += take(message)
        sample = meter.stop(seen)
        await ws.wait_closed()
        return whole(sample, count)


class FastwsBusyPoll(FastwsIterate):
    """It never sleeps while the next message comes soon enough: a core's time for microseconds.

    A socket that is never empty needs no polling, so floods are not measured with it.
    """

    name = "fastws busy poll"
    kinds: ClassVar[frozenset[str]] = frozenset({"round-trip", "latency"})
    busy_poll = 50e-6

    def options(self, url: str) -> dict[str, Any]:
        return super().options(url) | {"busy_poll": self.busy_poll}

    async def latency(self, url: str, count: int, meter: Meter, take: Callable[[Any], int]) -> Sample:
        """It polls for twice the time between two messages of the scenario."""
        self.busy_poll = 200e-6
        return await super().latency(url, count, meter, take)


class FastwsSpin(FastwsIterate):
    """``fastws.run(spin=True)``: the whole loop never sleeps."""

    name = "fastws spin"
    kinds: ClassVar[frozenset[str]] = frozenset({"round-trip", "latency"})
    is_spinning = True


class FastwsSendNowait(FastwsIterate):
    """``send_nowait()``; it waits for room by ``await send()``, where there is none."""

    name = "fastws send_nowait"
    kinds: ClassVar[frozenset[str]] = frozenset({"send", "send-each-turn", "unawaited-sends"})
    awaits_sends = False

    async def send(self, url: str, payload: bytes, count: int, meter: Meter) -> Sample:
        ws = await self.open(url)
        meter.start()
        for _ in range(count):
            try:
                ws.send_nowait(payload)
            except fastws.SendQueueFull:
                await ws.send(payload)
        await ws.close()
        return meter.stop(count)

    def sender(self, connection: Any, payload: bytes) -> Callable[[], Any]:
        return functools.partial(connection.send_nowait, payload)

    send_unawaited = Client.send_unawaited
    """Each message that is not accepted is an error."""


class FastwsSendMany(FastwsIterate):
    """``send_many()``, once for all."""

    name = "fastws send_many"
    kinds: ClassVar[frozenset[str]] = frozenset({"send"})

    async def send(self, url: str, payload: bytes, count: int, meter: Meter) -> Sample:
        ws = await self.open(url)
        meter.start()
        await ws.send_many(itertools.repeat(payload, count))
        await ws.close()
        return meter.stop(count)


class FastwsGathered(FastwsIterate):
    """A task for each ``send()``: those for which there is no room wait in them."""

    name = "fastws gather"
    kinds: ClassVar[frozenset[str]] = frozenset({"unawaited-sends"})

    send_unawaited = Client.send_unawaited


class FastwsSync(FastwsIterate):
    """The blocking client."""

    name = "fastws sync"
    kinds: ClassVar[frozenset[str]] = (
        frozenset({"round-trip", "latency", "compressed-receive", "compressed-send"}) | BLOCKING
    )

    async def open(self, url: str) -> Any:
        return fastws.sync.connect(url, **self.options(url))

    async def close(self, connection: Any) -> None:
        connection.close()

    round_trip = blocking.round_trip
    ingest = blocking.ingest
    send = blocking.send
    send_texts = blocking.send_texts
