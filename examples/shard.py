"""More symbols than one core can take: several processes, each with the symbols that a stable hash gives it.

Every process decides by itself which symbols are its own, so nothing has to be handed out, and all agree: the hash is of
the symbol alone (`hash()` is salted, and differs from process to process).
"""

import asyncio
import multiprocessing
import os
import zlib
from concurrent.futures import ProcessPoolExecutor

import fastws
from fastws.testing import Blast, End, Expect, Server

PROCESSES = 2
SYMBOLS = [f"{base}-{quote}" for base in ("BTC", "ETH", "SOL", "XRP", "ADA", "DOGE") for quote in ("USD", "EUR", "GBP")]
MESSAGES = 2_000


def shard_of(symbol: str, shards: int) -> int:
    return zlib.crc32(symbol.encode()) % shards


async def consume(url: str, symbol: str) -> int:
    received = 0
    async with fastws.connect(url) as ws:
        await ws.send(f'{{"subscribe": "{symbol}"}}')
        async for _ in ws:
            received += 1
    return received


async def work(url: str, symbols: list[str]) -> dict[str, int]:
    counts = await asyncio.gather(*(consume(url, symbol) for symbol in symbols))
    return dict(zip(symbols, counts, strict=True))


def run_shard(url: str, shard: int) -> dict[str, int]:
    """The whole of one process: an event loop, on a core of its own where there are enough."""
    mine = [symbol for symbol in SYMBOLS if shard_of(symbol, PROCESSES) == shard]
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    cpu = cores[shard] if len(cores) > PROCESSES else None
    return fastws.run(work(url, mine), cpu=cpu)


def main() -> None:
    # A connection does not survive a fork, nor does an event loop: new interpreters.
    context = multiprocessing.get_context("spawn")
    with Server() as server, ProcessPoolExecutor(PROCESSES, mp_context=context) as pool:
        server.script("/feed", [Expect(1), Blast(MESSAGES, text=True), End()])
        futures = [pool.submit(run_shard, server.url("/feed"), shard) for shard in range(PROCESSES)]
        everything: dict[str, int] = {}
        for shard, future in enumerate(futures):
            counts = future.result()
            print(f"process {shard}: {len(counts)} symbols, {sum(counts.values()):,} messages")
            everything |= counts
    assert everything == dict.fromkeys(SYMBOLS, MESSAGES), "each symbol has one process, and none lost a message"


if __name__ == "__main__":
    main()
