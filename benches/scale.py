"""Many connections in one process: what an idle one takes, whether a message costs the same beside 10,000 of them.

``soak.py --scale``. Over TCP and over TLS, at 10, 100, 1,000 and 10,000 idle connections: memory of each, connects per
second, and CPU per message of busy connections, whose messages are numbered. Then keepalive of all the idle ones, and
an hour's worth of messages (20 a second on each of 100) as fast as they come, beside them: nothing lost, memory flat.

It fails if a message is lost, a connection ends, a ping is not answered, memory grows by more than ``--growth`` MiB, a
message beside all the idle connections takes more than ``--flat`` times the CPU that it takes beside ten, or an idle
connection takes more than ``--kib-tcp`` or ``--kib-tls``, or more among many than among few.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import ctypes
import gc
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import descriptors
import fastws
import machine
import measure
import meter
import peer

AT_ONCE = 50
"""Connections opened at a time."""

PARTS = 10
"""The long run's parts."""

PATIENCE = 120.0
"""Seconds that one of them may take."""

WINDOWS = 3
"""CPU is taken in so many windows; the best counts, since others use the machine too."""


ENOUGH = 90
"""Connections of a step whose memory can be told: of fewer, it is lost in what the heap takes at a time."""

FLAT_MEMORY = 1.25
"""What a connection among many may take, times one among few."""


class Failed(SystemExit):
    """What was not as it has to be."""


@dataclass
class Step:
    """What was measured beside so many idle connections."""

    idle: int
    bytes_each: float
    connects_per_second: float
    cpu_us: float
    """CPU of a message, in microseconds."""
    worst_gap: float
    """Longest time between two turns of the loop, in seconds."""
    opened: int = 0
    """Connections that this step opened."""


@dataclass
class Idle:
    """Quiet connections, spread over the servers."""

    peers: Sequence[peer.Peer]
    tls: bool = False
    ping_interval: float | None = None
    connections: list[fastws.Connection] = field(default_factory=list)

    async def grow(self, count: int) -> float:
        """Opens connections until there are so many; returns how many a second."""
        missing, start = count - len(self.connections), time.perf_counter()
        shown = start
        while (left := count - len(self.connections)) > 0:
            first = len(self.connections)
            self.connections += await asyncio.gather(
                *(self._open(first + number) for number in range(min(left, AT_ONCE)))
            )
            if time.perf_counter() > shown + 2:
                shown = time.perf_counter()
                say(f"  {len(self.connections):,} of {count:,} idle connections")
        return missing / (time.perf_counter() - start)

    def _open(self, number: int) -> fastws.connect:
        server = self.peers[number % len(self.peers)]
        return opening(server, "/echo", tls=self.tls, ping_interval=self.ping_interval)._open()

    def check(self) -> None:
        """Raises Failed if one ended."""
        gone = [ws for ws in self.connections if ws.state is not fastws.State.OPEN]
        if gone:
            raise Failed(f"FAILED: {len(gone):,} idle connections ended; the first: {gone[0].close_info}")

    async def close(self) -> None:
        while self.connections:
            some = [self.connections.pop() for _ in range(min(len(self.connections), 10 * AT_ONCE))]
            await asyncio.gather(*(ws.close() for ws in some))


class Busy:
    """Connections that receive numbered messages at a steady rate; none may be missing."""

    def __init__(self) -> None:
        self.messages = 0
        self._group: list[asyncio.Task[None]] = []

    async def start(self, peers: Sequence[peer.Peer], count: int, rate: float, *, tls: bool) -> None:
        target = f"/paced?size=128&rate={rate}"
        sockets = [await opening(peers[number % len(peers)], target, tls=tls) for number in range(count)]
        self._group = [asyncio.create_task(self._read(ws)) for ws in sockets]

    async def _read(self, ws: fastws.Connection) -> None:
        expected = 0
        try:
            async for message in ws:
                number = int.from_bytes(message[8:16], "little")
                if number != expected:
                    raise Failed(f"FAILED: message {expected} of a busy connection was due, {number} came")
                expected += 1
                self.messages += 1
            raise Failed(f"FAILED: a busy connection ended: {ws.close_info}")
        finally:
            ws._abort("the run is over")

    def check(self) -> None:
        """Raises what ended a reader."""
        for task in self._group:
            if task.done():
                task.result()

    async def stop(self) -> None:
        self.check()
        for task in self._group:
            task.cancel()
        await asyncio.wait(self._group)


class Gaps:
    """The longest time between two turns of the event loop that a timer of a millisecond sees."""

    def __init__(self) -> None:
        self.worst = 0.0
        self._task = asyncio.create_task(self._watch())

    async def _watch(self) -> None:
        while True:
            before = time.perf_counter()
            await asyncio.sleep(0.001)
            self.worst = max(self.worst, time.perf_counter() - before - 0.001)

    async def stop(self) -> float:
        self._task.cancel()
        await asyncio.wait([self._task])
        return self.worst


def opening(server: peer.Peer, target: str, *, tls: bool, ping_interval: float | None = None) -> fastws.connect:
    trust = fastws.TlsConfig(ca=server.ca_pem.encode()) if tls else None
    # Fifty handshakes at once on a core that others use may take their time.
    return fastws.connect(server.url(target, tls=tls), tls=trust, ping_interval=ping_interval, open_timeout=60)


async def ladder(args: argparse.Namespace, peers: Sequence[peer.Peer], *, tls: bool) -> list[Step]:
    """Climbs to the number of idle connections, measuring at each step."""
    idle, busy, steps = Idle(peers, tls), Busy(), []
    await busy.start(peers, args.busy, args.rate, tls=tls)
    # What first connections load and cache, and the heap's first pages, are nobody's.
    warm = Idle(peers, tls)
    await warm.grow(AT_ONCE)
    reached = 0
    for count in steps_to(args.idle):
        before = settled()
        rate = await idle.grow(count)
        opened, reached = count - reached, count
        each = (settled() - before) / opened
        gaps = Gaps()
        cpu = min([await cost_of(busy, args.seconds / WINDOWS) for _ in range(WINDOWS)])
        steps.append(Step(count, each, rate, cpu, await gaps.stop(), opened))
        idle.check()
        busy.check()
        say(f"  {row(steps[-1])}")
    start = time.perf_counter()
    gc.collect()
    say(f"  a full garbage collection takes {(time.perf_counter() - start) * 1e3:.0f} ms: its cost is not flat")
    waiting = await with_a_reader(idle)
    say(f"  a task that waits in recv() takes {waiting / 1024:.1f} KiB more")
    await busy.stop()
    await warm.close()
    await idle.close()
    return steps


async def cost_of(busy: Busy, seconds: float) -> float:
    """Microseconds of CPU of a message."""
    stopwatch, before = meter.Meter(), busy.messages
    stopwatch.start()
    await asyncio.sleep(seconds)
    if busy.messages == before:
        raise Failed("FAILED: the busy connections received nothing")
    return stopwatch.stop(busy.messages - before).cpu_us


async def with_a_reader(idle: Idle) -> float:
    """Bytes that a task waiting for a message takes."""

    async def read(ws: fastws.Connection) -> None:
        with contextlib.suppress(fastws.ConnectionClosed):
            await ws.recv()

    before = settled()
    tasks = [asyncio.create_task(read(ws)) for ws in idle.connections]
    await asyncio.sleep(0)
    each = (settled() - before) / len(tasks)
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    return each


async def keepalive(args: argparse.Namespace, idle: Idle) -> None:
    """Pings of all idle connections, each answered."""
    await asyncio.sleep(args.ping_interval)
    before = pings(idle)
    gaps, stopwatch = Gaps(), meter.Meter()
    stopwatch.start()
    await asyncio.sleep(WINDOWS * args.ping_interval)
    sample = stopwatch.stop(1)
    worst = await gaps.stop()
    idle.check()
    sent, answered = (after - earlier for after, earlier in zip(pings(idle), before, strict=True))
    least = (WINDOWS - 1) * len(idle.connections)
    each = sample.cpu_seconds / max(1, answered) * 1e6
    say(
        f"  {sent:,} pings, {answered:,} answers in {sample.seconds:.1f} s: {each:.1f} µs of CPU each; at one in 20 s: "
        f"{each * len(idle.connections) / 20 / 1e4:.2f} % of a core. The loop's longest turn: {worst * 1e3:.1f} ms"
    )
    # What was sent in the last moment is answered in the next; an interval's are not allowed to be missing.
    if answered < least or any(ws.latency <= 0 for ws in idle.connections):
        raise Failed(f"FAILED: {answered:,} answers to pings came, at least {least:,} were due")


def pings(idle: Idle) -> tuple[int, int]:
    """Pings sent and pongs received, in all."""
    stats = [ws.stats() for ws in idle.connections]
    return sum(one.pings_sent for one in stats), sum(one.pongs_received for one in stats)


async def hour(args: argparse.Namespace, peers: Sequence[peer.Peer]) -> None:
    """An hour's worth of messages, as fast as they come; memory is looked at after each part, when all were taken."""
    part = part_of(args)
    sockets = [
        await opening(peers[number % len(peers)], peer.PARTS, tls=False, ping_interval=args.ping_interval)
        for number in range(args.busy)
    ]
    memories: list[int] = []
    start = time.perf_counter()
    for done in range(part * args.busy, PARTS * part * args.busy + 1, part * args.busy):
        try:
            async with asyncio.timeout(PATIENCE):
                await asyncio.gather(*(take(ws, part) for ws in sockets))
        except TimeoutError:
            raise Failed(f"FAILED: {part:,} messages on each did not arrive within {PATIENCE:g} s") from None
        memories.append(settled())
        rate = done / (time.perf_counter() - start)
        say(f"  {done:,} messages in order, {rate:,.0f}/s, {memories[-1] / 2**20:.1f} MiB")
    # A connection whose reading is paused keeps a read buffer, so memory goes up and down by some: growth is what the
    # least of the last parts has more than the most of the first ones.
    grown = (min(memories[-3:]) - max(memories[:3])) / 2**20
    say(f"  the least of the last three parts against the most of the first three: {grown:+.1f} MiB")
    if grown > args.growth:
        raise Failed(f"FAILED: memory grew by {grown:.1f} MiB; {args.growth:g} are allowed")
    await asyncio.gather(*(ws.close() for ws in sockets))


def part_of(args: argparse.Namespace) -> int:
    """Messages of a part, on one connection."""
    return int(args.messages / args.busy / PARTS)


async def take(ws: fastws.Connection, count: int) -> None:
    await ws.send("more")
    for expected in range(count):
        message = await ws.recv()
        number = int.from_bytes(message[:8], "little")
        if number != expected:
            raise Failed(f"FAILED: message {expected} was due, {number} came")


async def climb(args: argparse.Namespace, peers: Sequence[peer.Peer], *, tls: bool) -> None:
    name = "TLS" if tls else "TCP"
    say(f"{name}: up to {args.idle:,} idle connections beside {args.busy} with {args.rate:g} messages a second each")
    steps = await ladder(args, peers, tls=tls)
    factor = steps[-1].cpu_us / steps[0].cpu_us
    text = f"a message beside {args.idle:,} takes {factor:.2f} times the CPU of one beside {steps[0].idle}"
    if factor > args.flat:
        raise Failed(f"FAILED: {name}: {text}; {args.flat:g} times are allowed")
    say(f"  {text} ({args.flat:g} are allowed)")
    check_memory(name, steps, args.kib_tls if tls else args.kib_tcp)


def check_memory(name: str, steps: Sequence[Step], allowed: float) -> None:
    """Raises Failed if a connection takes more KiB than are allowed, or more among many than among few."""
    told = [(step.idle, step.bytes_each / 1024) for step in steps if step.opened >= ENOUGH]
    if not told:
        return
    (few, first), (many, last) = told[0], told[-1]
    most = max(kib for _, kib in told)
    if most > allowed:
        raise Failed(f"FAILED: {name}: an idle connection takes {most:.1f} KiB; {allowed:g} are allowed")
    text = f"an idle connection takes {last:.1f} KiB among {many:,}"
    if last > first * FLAT_MEMORY:
        raise Failed(f"FAILED: {name}: {text}, {first:.1f} among {few}; {FLAT_MEMORY:g} times that are allowed")
    say(f"  {text} ({allowed:g} are allowed)")


async def stay(args: argparse.Namespace, peers: Sequence[peer.Peer]) -> None:
    say(f"keepalive: {args.idle:,} idle connections, a ping every {args.ping_interval:g} s")
    idle = Idle(peers, ping_interval=args.ping_interval)
    await idle.grow(args.idle)
    await keepalive(args, idle)
    say(f"{part_of(args) * PARTS * args.busy:,} messages on {args.busy} connections, beside them")
    await hour(args, peers)
    idle.check()
    await idle.close()


async def run_phase(args: argparse.Namespace, peers: Sequence[peer.Peer]) -> None:
    match args.phase:
        case "tcp" | "tls":
            await climb(args, peers, tls=args.phase == "tls")
        case "stay":
            await stay(args, peers)


def start_phase(phase: str, arguments: list[str], peers: Sequence[peer.Peer]) -> int:
    """Runs a phase in a process of its own, whose memory no other one has touched."""
    command = [sys.executable, Path(__file__), *arguments, "--phase", phase]
    given = json.dumps([asdict(server) for server in peers])
    return subprocess.run(command, input=given, text=True, check=False).returncode


def steps_to(count: int) -> list[int]:
    return [step for step in (10, 100, 1_000, 10_000, 100_000) if step < count] + [count]


def settled() -> int:
    """Memory in use: without what waits for the collector, and what the allocator keeps for later (glibc)."""
    gc.collect()
    with contextlib.suppress(AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
    return meter.resident()


def row(step: Step) -> str:
    return (
        f"{step.idle:7,} idle: {step.bytes_each / 1024:6.1f} KiB each, {step.connects_per_second:7,.0f} connects/s, "
        f"{step.cpu_us:5.1f} µs of CPU a message, the loop's longest turn {step.worst_gap * 1e3:.1f} ms"
    )


def addresses(connections: int) -> list[str]:
    """Loopback addresses with enough local ports: a connection to one server needs a port of its own."""
    try:
        low, high = map(int, Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split())
    except OSError:
        low, high = 49_152, 65_535  # RFC 6335 §6
    # Some are others', and some still wait for the last packets of connections that are closed.
    free = (high - low + 1) // 2
    count = -(-connections // free)
    if count > 1 and not sys.platform.startswith("linux"):
        raise Failed(f"{connections:,} connections need as many local ports; there are {high - low + 1:,}")
    return [f"127.0.0.{number}" for number in range(1, count + 1)]


def say(text: str) -> None:
    print(text, flush=True)


def main(arguments: list[str] | None = None) -> int:
    arguments = sys.argv[1:] if arguments is None else arguments
    parser = argparse.ArgumentParser(
        prog='make soak ARGS="--scale …"', description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--idle", type=int, default=10_000, help="idle connections (default: 10,000)")
    parser.add_argument("--busy", type=int, default=100, help="busy connections (default: 100)")
    parser.add_argument("--rate", type=float, default=100.0, help="messages a second on each of them (default: 100)")
    parser.add_argument("--seconds", type=float, default=6.0, help="how long CPU is measured at a step (default: 6)")
    parser.add_argument("--flat", type=float, default=1.25, help="allowed factor of a message's CPU (default: 1.25)")
    parser.add_argument("--kib-tcp", type=float, default=4.0, help="allowed KiB of a connection, TCP (default: 4)")
    parser.add_argument("--kib-tls", type=float, default=24.0, help="allowed KiB of a connection, TLS (default: 24)")
    parser.add_argument("--ping-interval", type=float, default=2.0, help="seconds between pings (default: 2)")
    parser.add_argument("--messages", type=int, default=7_200_000, help="messages of the long run (default: an hour's)")
    parser.add_argument("--growth", type=float, default=4.0, help="MiB that memory may grow meanwhile (default: 4)")
    parser.add_argument("--phases", default="tcp,tls,stay", help="what is run, in order (default: tcp,tls,stay)")
    parser.add_argument("--loop", choices=("uvloop", "asyncio"), default="uvloop")
    parser.add_argument("--phase", choices=("tcp", "tls", "stay"), help=argparse.SUPPRESS)
    args = parser.parse_args(arguments)
    phases = args.phases.split(",")
    if args.idle < 20 or args.busy < 1 or args.messages < PARTS * args.busy:
        parser.error("at least 20 idle connections, a busy one, and ten messages for each of these")
    if not set(phases) <= {"tcp", "tls", "stay"}:
        parser.error("phases are tcp, tls and stay, with commas between them")
    connections = args.idle + args.busy + AT_ONCE
    descriptors.ensure(connections, "the client")
    core, _ = machine.cores()
    if args.phase:
        servers = [peer.Peer(**server) for server in json.load(sys.stdin)]
        machine.pin(core)
        measure.run(run_phase(args, servers), args.loop)
        return 0
    hosts, start = addresses(connections), time.perf_counter()
    each = -(-connections // len(hosts))
    with contextlib.ExitStack() as stack:
        servers = [
            stack.enter_context(peer.running(host, feed=False, connections=each, part=part_of(args))) for host in hosts
        ]
        failed = [phase for phase in phases if start_phase(phase, arguments, servers) != 0]
    if failed:
        say(f"FAILED: {', '.join(failed)}; see above")
        return 1
    say(
        f"passed in {time.perf_counter() - start:.0f} s: all messages in order, all pings answered, memory and CPU flat"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
