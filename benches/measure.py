"""One measurement of one client; as a program in a process of its own, which it pins to a core.

``measure.py CLIENT SCENARIO`` reads the peer's JSON from standard input and prints the sample's.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import sys
import time
from collections.abc import Coroutine
from dataclasses import asdict
from typing import Any, TypeVar

import clients
import descriptors
import latency
import machine
import meter
import recorded
import scenarios
from peer import Peer

T = TypeVar("T")

MANY = 50
"""Connections opened at a time."""

OPENING = 3.0
"""Seconds in which many connections are opened before the server sends on any: a slow client would get no further."""

EXCHANGED = 40
"""Messages that a compressed connection carries in each direction before its memory is measured: a window of 4 KiB is
full then."""

SILENCE = 11.0
"""Seconds after which fastws has given back what it can: it looks every 5, and what was used since then stays."""

SETTLE = 0.3
"""Seconds that many connections run before they are measured."""


def is_possible(client: type[clients.Client], scenario: scenarios.Scenario) -> bool:
    """Whether the client has a way of its own to do this, and is to be measured."""
    chosen = not scenario.clients or client.name in scenario.clients
    return chosen and scenario.kind in client.kinds and (client.has_tls or not scenario.tls)


async def measure(client: clients.Client, scenario: scenarios.Scenario, peer: Peer) -> meter.Sample:
    """Measures, after a connection that loads and caches what a first one does."""
    scenario = scenario.shared(client.share)
    try:
        await client.close(await client.open(peer.url("/echo", tls=scenario.tls)))
        gc.collect()
        return await _measure(client, scenario, peer, meter.Meter())
    finally:
        await client.finish()


async def _measure(
    client: clients.Client, scenario: scenarios.Scenario, peer: Peer, stopwatch: meter.Meter
) -> meter.Sample:
    count = scenario.count
    url = peer.url(scenario.target(count), tls=scenario.tls, punctual=scenario.is_punctual)
    payload = b"x" * scenario.size
    match scenario.act:
        case "round-trip":
            return await client.round_trip(url, payload, count, stopwatch)
        case "ingest":
            return await client.ingest(url, count, stopwatch, len)
        case "decode":
            return await client.ingest(url, peer.feed_messages, stopwatch, clients.decoded)
        case "send":
            return await client.send(url, payload, count, stopwatch)
        case "send-each-turn":
            return await client.send_each_turn(url, payload, count, stopwatch)
        case "latency":
            latencies = latency.Latencies(scenario.rate)
            return latencies.tell(await client.latency(url, count, stopwatch, latencies.take))
        case "connect":
            stopwatch.start()
            for _ in range(count):
                await client.close(await client.open(url))
            return stopwatch.stop(count)
        case "compressed-receive":
            return await client.ingest(url, peer.recorded_messages, stopwatch, len)
        case "compressed-send":
            return await client.send_texts(url, recorded.texts(count), stopwatch)
        case "compressed-memory":
            return await _compressed(client, url, count, stopwatch)
        case "idle":
            return await _idle(client, url, count, stopwatch)
        case "connections":
            return await _connections(client, url, scenario, stopwatch)
        case "stopped-consumer":
            return await client.stop_consuming(url, scenarios.PAUSE, count, stopwatch)
        case "unawaited-sends":
            return await _unawaited(client, url, payload, scenario, peer, stopwatch)
        case _:
            raise ValueError(scenario.kind)


async def _idle(client: clients.Client, url: str, count: int, stopwatch: meter.Meter) -> meter.Sample:
    """Memory of a connection that is open and quiet, from the growth of the process."""
    descriptors.ensure(count + MANY, "the client")
    rounds = max(1, count // MANY)
    connections: list[Any] = [await client.open(url) for _ in range(MANY)]
    gc.collect()
    before = meter.resident()
    stopwatch.start()
    for _ in range(rounds):
        connections += await asyncio.gather(*(client.open(url) for _ in range(MANY)))
    sample = stopwatch.stop(rounds * MANY)
    await asyncio.sleep(0.1)
    gc.collect()
    sample.bytes_each = (meter.resident() - before) / sample.operations
    for connection in connections:
        await client.close(connection)
    return sample


async def _compressed(client: clients.Client, url: str, count: int, stopwatch: meter.Meter) -> meter.Sample:
    """Memory of a connection that compresses, from the growth of the process: behind messages, and behind silence."""
    descriptors.ensure(count + MANY, "the client")
    texts = recorded.texts(EXCHANGED * MANY)

    async def busy(number: int) -> Any:
        connection = await client.open(url)
        await client.exchange(connection, texts[number * EXCHANGED : (number + 1) * EXCHANGED])
        return connection

    rounds = max(1, count // MANY)
    connections: list[Any] = await asyncio.gather(*(busy(number) for number in range(MANY)))
    gc.collect()
    before = meter.resident()
    stopwatch.start()
    for _ in range(rounds):
        connections += await asyncio.gather(*(busy(number) for number in range(MANY)))
    sample = stopwatch.stop(rounds * MANY)
    gc.collect()
    sample.bytes_each = (meter.resident() - before) / sample.operations
    await asyncio.sleep(SILENCE)
    gc.collect()
    sample.rested_each = max(0.0, meter.resident() - before) / sample.operations
    for connection in connections:
        await client.leave(connection)
    return sample


async def _connections(
    client: clients.Client, url: str, scenario: scenarios.Scenario, stopwatch: meter.Meter
) -> meter.Sample:
    """CPU of a message, where many connections get a few messages each.

    They all begin when all are open, spread over the interval of two messages, so that they do not tick together.
    """
    descriptors.ensure(scenario.connections, "the client")
    counter = clients.Counter()
    watched = []
    begin = time.monotonic() + OPENING
    for first in range(0, scenario.connections, MANY):
        numbers = range(first, min(first + MANY, scenario.connections))
        left = max(0.0, begin - time.monotonic())
        waits = (1000 * (left + number / (scenario.connections * scenario.rate)) for number in numbers)
        watched += await asyncio.gather(*(client.watch(f"{url}&fault=wait:{wait:.0f}", counter) for wait in waits))
    await asyncio.sleep(max(0.0, begin - time.monotonic()) + SETTLE)
    gc.collect()
    before = counter.seen
    stopwatch.start()
    await asyncio.sleep(scenario.count / (scenario.connections * scenario.rate))
    sample = stopwatch.stop(counter.seen - before)
    for _, task in watched:
        if task is not None:
            task.cancel()
    await asyncio.gather(*(task for _, task in watched if task is not None), return_exceptions=True)
    await asyncio.gather(*(client.leave(connection) for connection, _ in watched))
    return sample


async def _unawaited(
    client: clients.Client,
    url: str,
    payload: bytes,
    scenario: scenarios.Scenario,
    peer: Peer,
    stopwatch: meter.Meter,
) -> meter.Sample:
    """Memory of sends that nobody awaits, and whether each was received or refused.

    Raises RuntimeError if fastws lost a message without a word: that is no figure, but a defect.
    """
    mark = peer.mark()
    sample = await client.send_unawaited(f"{url}&header=Run:{mark}", payload, scenario.count, stopwatch)
    received = peer.received(mark)
    sample.lost = scenario.count - sample.refused - received
    if client.package == "fastws" and sample.lost:
        raise RuntimeError(f"{received} messages arrived and {sample.refused} were refused, of {scenario.count}")
    return sample


def run(coroutine: Coroutine[Any, Any, T], loop: str, *, spin: bool = False) -> T:
    """Runs on an event loop of this name; one that never sleeps, if it is to spin."""
    if spin:
        import fastws

        return fastws.run(coroutine, loop="uvloop" if loop == "uvloop" else "asyncio", spin=True)
    if loop == "uvloop":
        import uvloop

        return uvloop.run(coroutine)
    return asyncio.run(coroutine)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("client")
    parser.add_argument("scenario")
    parser.add_argument("--loop", choices=("uvloop", "asyncio"), default="uvloop")
    parser.add_argument("--core", type=int)
    parser.add_argument("--scale", type=float, default=1.0)
    args = parser.parse_args()
    machine.pin(args.core)
    peer = Peer(**json.load(sys.stdin))
    scenario = next(scenario for scenario in scenarios.ALL if scenario.name == args.scenario).scaled(args.scale)
    client = clients.named(args.client)(peer.ca_pem, compresses=scenario.is_compressed)
    sample = run(measure(client, scenario, peer), args.loop, spin=client.is_spinning)
    print(json.dumps(asdict(sample)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
