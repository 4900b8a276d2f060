"""Throughput: everything that has arrived, in one list. Counts a flood of messages over TLS."""

import time

import fastws
from fastws.testing import Server

COUNT = 200_000


async def count(url: str, ca: bytes) -> None:
    received = size = 0
    start = time.perf_counter()
    async with fastws.connect(url, tls=fastws.TlsConfig(ca=ca)) as ws:
        async for batch in ws.batches():
            received += len(batch)
            size += sum(map(len, batch))
    seconds = time.perf_counter() - start
    print(f"{received:,} messages, {size / 1e6:.1f} MB, {received / seconds:,.0f} messages/s")
    assert received == COUNT, "the server sent them all before it closed"


with Server(tls=True) as server:
    fastws.run(count(server.url(f"/blast?n={COUNT}&size=128"), server.ca_pem))
