"""A long run under load: nothing lost, nothing reordered, memory flat.

Several connections at once, over TCP and TLS, in turn by each API: numbered floods, whose order is checked, echoes of
random sizes, and connections that come and go. Memory is looked at after every cycle; it may not grow from the end of
the first tenth of the run on by more than ``--growth`` MiB.

``--scale`` is another run: many connections at once, see scale.py. ``--chaos`` is the resilient client under every
fault, see chaos_soak.py.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import random
import sys
import time
from collections.abc import AsyncIterator

import fastws
import machine
import measure
import meter
import peer
import scale

FLOOD = 200_000
SIZE = 64
ECHOES = 300


class Soak:
    """The work of one run, and what it has done so far."""

    def __init__(self, server: peer.Peer, connections: int) -> None:
        self.server = server
        self.connections = connections
        self.messages = 0
        self.opened = 0
        self.random = random.Random(1)

    async def cycle(self) -> None:
        """All kinds of work at once."""
        async with asyncio.TaskGroup() as group:
            for number in range(self.connections):
                tls = bool(self.server.wss) and number % 2 == 1
                group.create_task(self.flood(tls, number % 3))
                group.create_task(self.echoes(tls))
                group.create_task(self.come_and_go(tls))

    async def open(self, target: str, *, tls: bool, listener: fastws.Listener | None = None) -> fastws.Connection:
        self.opened += 1
        trust = fastws.TlsConfig(ca=self.server.ca_pem.encode()) if tls else None
        return await fastws.connect(self.server.url(target, tls=tls), tls=trust, listener=listener)

    async def flood(self, tls: bool, way: int) -> None:
        target = f"/blast?seq=1&size={SIZE}&n={FLOOD}"
        expected = 0
        if way == 2:
            listener = Numbered()
            ws = await self.open(target, tls=tls, listener=listener)
            await ws.wait_closed()
            expected = listener.expected
        else:
            async for message in _messages(await self.open(target, tls=tls), in_batches=way == 1):
                expected = _check(message, expected)
        if expected != FLOOD:
            raise SystemExit(f"{expected} of {FLOOD} messages arrived")
        self.messages += expected

    async def echoes(self, tls: bool) -> None:
        async with await self.open("/echo", tls=tls) as ws:
            for _ in range(ECHOES):
                payload = self.random.randbytes(int(self.random.lognormvariate(6, 2.5)) % 300_000)
                await ws.send(payload)
                if await ws.recv() != payload:
                    raise SystemExit("an echo differs from what was sent")
            self.messages += ECHOES

    async def come_and_go(self, tls: bool) -> None:
        for turn in range(10):
            ws = await self.open("/echo", tls=tls)
            await ws.send("hello")
            if turn % 2:
                await ws.recv()
            await ws.close()


class Numbered(fastws.Listener):
    """Checks the numbers of a flood."""

    def __init__(self) -> None:
        self.expected = 0

    def on_message(self, _ws: fastws.Connection, message: str | bytes) -> None:
        self.expected = _check(message, self.expected)


async def _messages(ws: fastws.Connection, *, in_batches: bool) -> AsyncIterator[str | bytes]:
    if in_batches:
        async for batch in ws.batches():
            for message in batch:
                yield message
        return
    async for message in ws:
        yield message


def _check(message: str | bytes, expected: int) -> int:
    assert isinstance(message, bytes)
    number = int.from_bytes(message[:8], "little")
    if number != expected:
        raise SystemExit(f"message {expected} was due, {number} came")
    return expected + 1


async def soak(args: argparse.Namespace, server: peer.Peer) -> int:
    work = Soak(server, args.connections)
    start, cycles, settled = time.monotonic(), 0, 0
    least = sys.maxsize
    while (elapsed := time.monotonic() - start) < args.seconds or cycles < 3:
        await work.cycle()
        gc.collect()
        cycles += 1
        memory = meter.resident()
        if settled == 0 and cycles >= 2 and elapsed > args.seconds / 10:
            settled = memory
        least = min(least, memory)
        grown = (memory - settled) / 2**20 if settled else 0.0
        print(
            f"{elapsed:8.0f} s  {cycles} cycles  {work.messages:,} messages  {work.opened:,} connections  "
            f"{memory / 2**20:.1f} MiB  {grown:+.1f}",
            flush=True,
        )
        if settled and grown > args.growth:
            print(f"FAILED: memory grew by {grown:.1f} MiB since it had settled; {args.growth} MiB are allowed")
            return 1
    print(f"passed: {work.messages:,} messages in order, {work.opened:,} connections, memory flat")
    return 0


def main() -> int:
    if "--scale" in sys.argv[1:]:
        return scale.main([argument for argument in sys.argv[1:] if argument != "--scale"])
    if "--chaos" in sys.argv[1:]:
        import chaos_soak

        return chaos_soak.main([argument for argument in sys.argv[1:] if argument != "--chaos"])
    parser = argparse.ArgumentParser(prog="make soak ARGS=…", description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=3600.0, help="how long (default: an hour)")
    parser.add_argument("--connections", type=int, default=6, help="connections of each kind at a time (default: 6)")
    parser.add_argument("--growth", type=float, default=8.0, help="MiB that memory may grow (default: 8)")
    parser.add_argument("--loop", choices=("uvloop", "asyncio"), default="uvloop")
    parser.add_argument("--scale", action="store_true", help="10,000 idle and 100 busy connections instead; --scale -h")
    parser.add_argument("--chaos", action="store_true", help="the resilient client under every fault; --chaos -h")
    args = parser.parse_args()
    if args.seconds <= 0 or args.connections < 1:
        parser.error("--seconds is more than 0, --connections at least 1")
    core, _ = machine.cores()
    with peer.running() as server:
        machine.pin(core)
        return int(measure.run(soak(args, server), args.loop))


if __name__ == "__main__":
    sys.exit(main())
