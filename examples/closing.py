"""How a connection ends, and what it says about it: a clean end, a code of the venue's, and a reset."""

import asyncio

import fastws
from fastws.testing import Server


async def read(url: str) -> None:
    try:
        async with fastws.connect(url) as ws:
            count = 0
            async for _ in ws:
                count += 1
            print(f"ended cleanly after {count} messages: {ws.close_info}")
    except fastws.ConnectionClosedError as error:
        print(f"ended with code {error.code}: {error}")


async def main(server: Server) -> None:
    await asyncio.wait_for(read(server.url("/blast?n=3")), 10)
    await asyncio.wait_for(read(server.url("/close?code=4001&reason=session+expired")), 10)
    await asyncio.wait_for(read(server.url("/blast?n=100&fault=reset@50")), 10)


with Server() as server:
    fastws.run(main(server))
