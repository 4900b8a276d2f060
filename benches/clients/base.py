"""A way to use a library, and what all of them share."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import ssl
from abc import ABC, abstractmethod
from collections.abc import AsyncIterable, Callable
from typing import Any, ClassVar

import orjson

from meter import Growth, Meter, Sample

WARM_UP = 200
"""Round trips before the measurement."""

FIRST = 1_000
"""Messages that a consumer takes before it stops, so that buffers have the size that they need anyway."""

PATIENCE = 5.0
"""Seconds to close connections whose measurement is over."""

WAYS = frozenset(
    {
        "round-trip",
        "ingest",
        "decode",
        "send",
        "send-each-turn",
        "latency",
        "connect",
        "idle",
        "connections",
        "stopped-consumer",
        "unawaited-sends",
    }
)
"""All kinds of scenarios that have an event loop and no compression."""

COMPRESSED = frozenset({"compressed-receive", "compressed-send", "compressed-memory"})
"""Those with permessage-deflate."""

BLOCKING = frozenset({"blocking-round-trip", "blocking-ingest", "blocking-send", "blocking-latency"})
"""Those without an event loop."""


class Counter:
    """Messages seen, by all connections of a process."""

    __slots__ = ("seen",)

    def __init__(self) -> None:
        self.seen = 0


class Client(ABC):
    """A way to use a library."""

    name = ""
    package = ""
    share = 1.0
    """The part of a scenario's operations that it does: slow ones do less."""
    kinds: ClassVar[frozenset[str]] = frozenset()
    """The kinds of scenarios that it is measured in."""
    has_tls = True
    """Whether it can be told which certificate to trust."""
    is_spinning = False
    """Whether it runs on a loop that never sleeps, by ``fastws.run``."""
    awaits_sends = True
    """Whether its call to send gives something that is to be awaited."""

    def __init__(self, ca_pem: str, *, compresses: bool = False) -> None:
        self.ca_pem = ca_pem
        self.compresses = compresses
        """Whether its connections offer permessage-deflate, on the terms that the library offers by itself."""
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

    @abstractmethod
    async def open(self, url: str) -> Any:
        """An open connection."""

    async def close(self, connection: Any) -> None:
        """Closes it, with the closing handshake, behind all that was sent."""
        await connection.close()

    async def end_sends(self, connection: Any) -> None:
        """Closes it, when the server has all that was sent."""
        await self.close(connection)

    async def finish(self) -> None:  # noqa: B027 - most share nothing
        """Releases what the connections shared."""

    @abstractmethod
    async def round_trip(self, url: str, payload: bytes, count: int, meter: Meter) -> Sample:
        """Sends a message and takes it back, so many times."""

    @abstractmethod
    async def ingest(self, url: str, count: int, meter: Meter, take: Callable[[Any], int]) -> Sample:
        """Takes messages until the server closes."""

    async def latency(self, url: str, count: int, meter: Meter, take: Callable[[Any], int]) -> Sample:
        """Takes messages that come one by one, until the server closes."""
        return await self.ingest(url, count, meter, take)

    async def send(self, url: str, payload: bytes, count: int, meter: Meter) -> Sample:
        """Sends as fast as the library takes it, with its own way to wait for room, until the server has all."""
        raise NotImplementedError(f"{self.name} is not measured so: its kinds leave that out")

    async def send_texts(self, url: str, texts: list[str], meter: Meter) -> Sample:
        """Sends these as ``send`` does."""
        connection = await self.open(url)
        meter.start()
        for text in texts:
            await connection.send(text)
        await self.end_sends(connection)
        return meter.stop(len(texts))

    def sending(self, connection: Any) -> Callable[[Any], Any]:
        """The call that sends a message, whatever it is, without an event loop."""
        return connection.send  # type: ignore[no-any-return]

    async def exchange(self, connection: Any, texts: list[str]) -> None:
        """Sends these, each when the one before came back."""
        for text in texts:
            await connection.send(text)
            await connection.recv()

    def sender(self, connection: Any, payload: bytes) -> Callable[[], Any]:
        """The call that sends a message."""
        raise NotImplementedError(f"{self.name} is not measured so: its kinds leave that out")

    async def send_each_turn(self, url: str, payload: bytes, count: int, meter: Meter) -> Sample:
        """Sends one message a turn of the event loop, until the server has all."""
        connection = await self.open(url)
        send = self.sender(connection, payload)
        turn = asyncio.sleep
        meter.start()
        if self.awaits_sends:
            for _ in range(count):
                await send()
                await turn(0)
        else:
            for _ in range(count):
                send()
                await turn(0)
        await self.end_sends(connection)
        return meter.stop(count)

    async def send_unawaited(self, url: str, payload: bytes, count: int, meter: Meter) -> Sample:
        """Sends all in one turn of the event loop, and waits for nothing in between.

        Where the call itself sends, what it returns is dropped. Where it is a coroutine, dropping it would send
        nothing: a task is made of each (``gather``), as by a program that fires and forgets. All messages are one
        object, so that memory is what the client holds, not what its user does.
        """
        connection = await self.open(url)
        send = self.sender(connection, payload)
        refused = 0
        growth = Growth()
        meter.start()
        if self.awaits_sends:
            outcomes = await asyncio.gather(*(send() for _ in range(count)), return_exceptions=True)
            refused = sum(isinstance(outcome, BaseException) for outcome in outcomes)
        else:
            for _ in range(count):
                try:
                    send()
                except Exception:
                    refused += 1
        await self.end_sends(connection)
        sample = meter.stop(count)
        sample.grown_bytes, sample.refused = growth.bytes(), refused
        return sample

    def messages(self, connection: Any) -> AsyncIterable[Any]:
        """What to iterate over for a connection's messages."""
        raise NotImplementedError(f"{self.name} is not measured so: its kinds leave that out")

    @staticmethod
    def payload(message: Any) -> Any:
        """The bytes of a message of ``messages``."""
        return message

    async def watch(self, url: str, counter: Counter) -> tuple[Any, asyncio.Task[None] | None]:
        """A connection whose messages are counted: by a task of its own, or by a callback."""
        connection = await self.open(url)

        async def count() -> None:
            with contextlib.suppress(Exception):
                async for _ in self.messages(connection):
                    counter.seen += 1

        return connection, asyncio.create_task(count())

    async def stop_consuming(self, url: str, pause: float, count: int, meter: Meter) -> Sample:
        """Takes numbered messages, stops for ``pause`` seconds while the loop goes on, and takes ``count`` more."""
        connection = await self.open(url)
        growth, seen = None, 0
        async for message in self.messages(connection):
            in_order(self.payload(message), seen)
            seen += 1
            if seen == FIRST:
                growth = Growth()
                meter.start()
                await asyncio.sleep(pause)
            elif seen == FIRST + count:
                break
        assert growth is not None, "the flood ended early"
        sample = whole(meter.stop(seen - FIRST), count)
        sample.grown_bytes = growth.bytes()
        await self.leave(connection)
        return sample

    async def leave(self, connection: Any) -> None:
        """Closes a connection whose end is not measured."""
        with contextlib.suppress(Exception):
            async with asyncio.timeout(PATIENCE):
                await self.close(connection)


def decoded(message: Any) -> int:
    """Takes a JSON message."""
    orjson.loads(message)
    return 1


def in_order(payload: Any, expected: int) -> None:
    """Checks the number of a message of ``/blast?seq=1``."""
    number = int.from_bytes(payload[:8], "little")
    if number != expected:
        raise RuntimeError(f"message {number} arrived where {expected} was due")


def whole(sample: Sample, count: int) -> Sample:
    if sample.operations != count:
        raise RuntimeError(f"{sample.operations} messages arrived, not {count}")
    return sample
