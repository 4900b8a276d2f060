"""The echo client that the fuzzing server judges: ``client.py --url URL --loop uvloop --api iterate FIRST LAST``.

Prints ``CASE<TAB>SECONDS<TAB>EXCEPTION`` after each case. fastws is used as it comes, with all its defaults; nothing
here repairs what the library should do.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
import warnings
from collections.abc import Awaitable, Callable
from typing import Any

import fastws
import fastws.sync

CASE_TIMEOUT = 120.0

OPTIONS: dict[str, Any] = {"compression": "deflate"}
"""And ``tls`` and the Host header, where it is by TLS."""


async def iterate(uri: str) -> None:
    async with fastws.connect(uri, **OPTIONS) as ws:
        async for message in ws:
            await ws.send(message)


async def batches(uri: str) -> None:
    async with fastws.connect(uri, **OPTIONS) as ws:
        async for batch in ws.batches():
            for message in batch:
                await ws.send(message)


class Echo(fastws.Listener):
    def on_message(self, ws: fastws.Connection, message: str | bytes) -> None:
        ws.send_nowait(message)


async def listener(uri: str) -> None:
    ws = await fastws.connect(uri, listener=Echo(), **OPTIONS)
    await ws.wait_closed()


async def protocol(uri: str) -> None:
    async with fastws.connect(uri, driver="protocol", **OPTIONS) as ws:
        assert ws.driver == "protocol"
        async for message in ws:
            await ws.send(message)


def block(uri: str) -> None:
    with fastws.sync.connect(uri, **OPTIONS) as ws:
        for message in ws:
            ws.send(message)


async def blocking(uri: str) -> None:
    await asyncio.to_thread(block, uri)


APIS: dict[str, Callable[[str], Awaitable[None]]] = {
    "iterate": iterate,
    "batches": batches,
    "listener": listener,
    "protocol": protocol,
    "sync": blocking,
}


async def run(url: str, agent: str, api: str, first: int, last: int) -> None:
    for case in range(first, last + 1):
        start, said = time.perf_counter(), ""
        try:
            async with asyncio.timeout(CASE_TIMEOUT):
                await APIS[api](f"{url}/runCase?case={case}&agent={agent}")
        except fastws.ConnectionClosed as error:  # what most cases end with; the server has the verdict
            said = f"{type(error).__name__}: {error}"
        except Exception as error:
            said = f"unexpected {type(error).__name__}: {error}"
        print(case, f"{time.perf_counter() - start:.3f}", " ".join(said.split()), sep="\t", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", required=True)
    parser.add_argument("--host", help="the Host header, if not the URL's")
    parser.add_argument("--agent", required=True)
    parser.add_argument("--loop", choices=("asyncio", "uvloop"), required=True)
    parser.add_argument("--api", choices=tuple(APIS), required=True)
    parser.add_argument("first", type=int)
    parser.add_argument("last", type=int)
    args = parser.parse_args()
    if args.host:
        OPTIONS["additional_headers"] = {"Host": args.host}
    if args.url.startswith("wss:"):
        # What is tested is what goes on inside of it.
        warnings.simplefilter("ignore", RuntimeWarning)
        OPTIONS["tls"] = fastws.TlsConfig(verify=False)
    program = run(args.url, args.agent, args.api, args.first, args.last)
    if args.loop == "uvloop":
        import uvloop

        uvloop.run(program)
    else:
        asyncio.run(program)
    return 0


if __name__ == "__main__":
    sys.exit(main())
