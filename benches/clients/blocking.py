"""What blocking clients do: a plain loop in one thread. Each of these is a method of a ``Client``."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from meter import Meter, Sample

from .base import WARM_UP, Client, whole


async def round_trip(self: Client, url: str, payload: bytes, count: int, meter: Meter) -> Sample:
    ws = await self.open(url)
    send, recv = self.sending(ws), ws.recv
    for _ in range(WARM_UP):
        send(payload)
        recv()
    meter.start()
    for _ in range(count):
        send(payload)
        recv()
    sample = meter.stop(count)
    ws.close()
    return sample


async def ingest(self: Client, url: str, count: int, meter: Meter, take: Callable[[Any], int]) -> Sample:
    seen = size = 0
    meter.start()
    ws = await self.open(url)
    for message in ws:
        seen += 1
        size += take(message)
    sample = meter.stop(seen)
    ws.close()
    return whole(sample, count)


async def send(self: Client, url: str, payload: bytes, count: int, meter: Meter) -> Sample:
    return await _send_all(self, url, (payload for _ in range(count)), count, meter)


async def send_texts(self: Client, url: str, texts: list[str], meter: Meter) -> Sample:
    return await _send_all(self, url, texts, len(texts), meter)


async def _send_all(self: Client, url: str, messages: Iterable[Any], count: int, meter: Meter) -> Sample:
    ws = await self.open(url)
    send = self.sending(ws)
    meter.start()
    for message in messages:
        send(message)
    await self.end_sends(ws)
    return meter.stop(count)
