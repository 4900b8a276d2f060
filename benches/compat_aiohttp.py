"""aiohttp's WebSocket client beside `fastws.compat.aiohttp`: one process, uvloop, turns against the embedded server.

.venv/bin/python benches/compat_aiohttp.py [rounds]
"""

import asyncio
import statistics
import sys
import time

import aiohttp

from fastws.compat.aiohttp import ws_connect
from fastws.runner import loop_factory
from fastws.testing import Server

PAYLOAD = b"x" * 256


async def ingest(opened, url, count):
    """Messages a second of an `async for` over a flood."""
    async with opened(url) as ws:
        start = time.perf_counter()
        seen = 0
        async for _ in ws:
            seen += 1
        assert seen == count, f"{seen} of {count} messages"
        return count / (time.perf_counter() - start)


async def round_trips(opened, url, count):
    """Round trips a second of `send_bytes` and `receive`."""
    async with opened(url) as ws:
        start = time.perf_counter()
        for _ in range(count):
            await ws.send_bytes(PAYLOAD)
            await ws.receive()
        return count / (time.perf_counter() - start)


MEASURED = (
    ("async for, 128 B", ingest, "/blast?n=60000&size=128", 60_000),
    ("async for, 1 KiB", ingest, "/blast?n=30000&size=1024", 30_000),
    ("round trips, 256 B", round_trips, "/echo", 4_000),
)


async def main(rounds):
    with Server() as server:
        async with aiohttp.ClientSession() as session:
            for name, measure, path, count in MEASURED:
                pairs = []
                for _ in range(rounds):
                    theirs = await measure(session.ws_connect, server.url(path), count)
                    pairs.append((theirs, await measure(ws_connect, server.url(path), count)))
                ratios = sorted(ours / theirs for theirs, ours in pairs)
                theirs, ours = (statistics.median(rates) for rates in zip(*pairs, strict=True))
                spread = f"{ratios[0]:.2f}-{ratios[-1]:.2f}"
                print(f"{name:20} aiohttp {theirs:10,.0f}/s  fastws {ours:10,.0f}/s  ", end="")
                print(f"ratio {statistics.median(ratios):.2f} ({spread})", flush=True)


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=loop_factory("uvloop")) as runner:
        runner.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 5))
