"""One measurement of one client; as a program in a process of its own, which it pins to a core.

``measure.py CLIENT SCENARIO`` reads the peer's JSON from standard input and prints the sample's.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import sys
from dataclasses import asdict
from typing import Any

import clients
import descriptors
import machine
import meter
import scenarios
from peer import Peer

MANY = 50
"""Idle connections opened at a time."""


def is_possible(client: type[clients.Client], scenario: scenarios.Scenario) -> bool:
    """Whether the client has a way of its own to do this."""
    method = {"decode": "ingest", "connect": "open", "idle": "open"}.get(scenario.kind, scenario.kind)
    if scenario.kind in ("connect", "idle") and client in (
        clients.FastwsListener,
        clients.FastwsBatches,
        clients.FastwsBusyPoll,
        clients.WebsocketRsIterate,
    ):
        return False  # the same connection as another entry's
    return client("").can(method.replace("-", "_"))


async def measure(client: clients.Client, scenario: scenarios.Scenario, peer: Peer) -> meter.Sample:
    """Measures, after a connection that loads and caches what a first one does."""
    scenario = scenario.scaled(client.share)
    count = scenario.count
    url = peer.url(scenario.target(count), tls=scenario.tls)
    stopwatch = meter.Meter()
    await client.close(await client.open(peer.url("/echo", tls=scenario.tls)))
    gc.collect()
    match scenario.kind:
        case "round-trip":
            return await client.round_trip(url, b"x" * scenario.size, count, stopwatch)
        case "ingest":
            return await client.ingest(url, count, stopwatch, len)
        case "decode":
            return await client.ingest(url, peer.feed_messages, stopwatch, clients.decoded)
        case "send":
            return await client.send(url, b"x" * scenario.size, count, stopwatch)
        case "connect":
            stopwatch.start()
            for _ in range(count):
                await client.close(await client.open(url))
            return stopwatch.stop(count)
        case "idle":
            return await _idle(client, url, count, stopwatch)
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


def run(coroutine: Any, loop: str) -> Any:
    """Runs on an event loop of this name."""
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
    client = clients.named(args.client)(peer.ca_pem)
    print(json.dumps(asdict(run(measure(client, scenario, peer), args.loop))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
