"""Real time, real sockets: every fault of the embedded server and of a link, checked against the venue's own report."""

import asyncio
import contextlib
import gc
import itertools
import os
import random
import time
from dataclasses import dataclass

import orjson

import fastws
from fastws.events import Connected, Disconnected, Ready
from fastws.testing import CloseAt, CutAt, DropAt, ExpireAt, RefuseAt, ResetAt, Server, SilenceAt
from link import Link

RATE = 1000
TOKENS = [f"token-{number}" for number in range(2000)]
LATE = 0.1
"""Seconds that a shutdown may end after its deadline."""


@dataclass
class Result:
    sessions: int
    messages: int
    outages: int
    shutdowns: int
    latest: float
    """The worst lateness of a shutdown, in seconds."""
    grown: int
    """Bytes of resident memory since a third of the run."""

    def __str__(self):
        return (
            f"{self.sessions} sessions, {self.messages:,} messages, {self.outages} outages; "
            f"{self.shutdowns} shutdowns, the latest {self.latest * 1e3:+.1f} ms from its deadline; "
            f"memory {self.grown / 2**20:+.1f} MiB"
        )


class Watched:
    """A client with what it told, and what its streams gave."""

    def __init__(self, url, config, number, tls):
        self.attempts = itertools.count(1)
        self.number = number
        self.attempt = 0
        self.ready = []
        self.ends = 0
        self.client = fastws.WebSocketClient(
            url,
            handshake=fastws.AuthHandshaker(self.token).custom_format(lambda token: {"type": "auth", "token": token}),
            headers=self.headers,
            config=config,
            tls=tls,
            retry=fastws.ExponentialBackoff(0.02, 0.3, 2.0, jitter=0.5),
        )
        self.client.subscriptions.add(
            "all",
            message={"type": "subscribe", "channel": "all"},
            ack=lambda m: isinstance(m, dict) and m.get("type") == "subscribed",
        )
        self.client.on(Connected, lambda event: self.connections.append(self.attempt))
        self.client.on(Ready, lambda event: self.ready.append(self.connections[event.id - 1]))
        self.client.on(Disconnected, self.disconnected)
        self.connections = []
        self.is_ready = False

    def disconnected(self, event):
        self.ends += 1

    def token(self):
        return next(FRESH)

    def headers(self):
        self.attempt = next(self.attempts)
        return {"X-Attempt": f"{self.number}.{self.attempt}"}


FRESH = itertools.cycle(TOKENS)


async def read(stream, items, rng, slow):
    async for item in stream:
        items.append(item)
        if rng.random() < slow:
            await asyncio.sleep(rng.uniform(0, 0.3))


async def chaos(seconds, seed, *, tls=False):
    """One run; raises AssertionError if anything is not as it must be."""
    rng = random.Random(seed)
    count = int(seconds * RATE)
    with Server(tls=tls) as server:
        server.add_feed("ticks", [(n / RATE, "text", b'{"n":%d}' % n) for n in range(count)])
        makers = (
            ResetAt,
            lambda at: SilenceAt(at, rng.uniform(0.1, 0.8)),
            lambda at: CloseAt(at, rng.choice((1000, 1001, 1011, 1012, 4000)), "fault"),
            lambda at: RefuseAt(at, rng.uniform(0.1, 0.5), 503, None),
            lambda at: CutAt(at, rng.uniform(0.1, 0.6)),
            lambda at: DropAt(at, rng.randrange(1, 50)),
            lambda at: ExpireAt(at, 4401),
        )
        moments = sorted(rng.uniform(0.5, seconds * 0.95) for _ in range(int(seconds * 0.8)))
        venue = server.add_venue(
            "/venue", "ticks", tokens=TOKENS, faults=[rng.choice(makers)(at) for at in moments], autostart=False
        )
        with Link(server.port) as link:
            url = server.url("/venue").replace(str(server.port), str(link.port))
            return await _run(seconds, rng, server, venue, link, url)


async def _run(seconds, rng, server, venue, link, url):
    config = fastws.ClientConfig(
        receive_timeout=0.5, open_timeout=1, handshake_timeout=1, handshake_retry_delay=0.02, close_timeout=0.5,
        queue_messages=512, restore_timeout=1,
    )  # fmt: skip
    tls = fastws.TlsConfig(ca=server.ca_pem) if server.ca_pem else None
    watched = Watched(url, config, 0, tls)
    client = watched.client
    await asyncio.sleep(0)
    tasks = asyncio.all_tasks()
    streams = [client.stream(markers=True), client.stream(start="oldest"), client.stream(start="oldest", decode=number)]
    items = [[] for _ in streams]
    readers = [
        asyncio.create_task(read(stream, into, rng, slow))
        for stream, into, slow in zip(streams, items, (0.0, 0.0005, 0.0), strict=True)
    ]
    running = asyncio.create_task(client.run())
    venue.start()
    began = time.monotonic()
    lateness = []
    others = [asyncio.create_task(_disturb(rng, link, client))]
    coming = asyncio.create_task(_come_and_go(rng, url, config, tls, lateness, began + seconds))
    await asyncio.sleep(seconds / 3)
    before = resident()
    await coming
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
    for task in others:
        if not task.cancelled():
            task.result()
    link.delay = 0.0
    lateness.append(await _shut_down(client, running, 0.5))
    await asyncio.gather(*readers)
    grown = resident() - before
    left = asyncio.all_tasks() - tasks
    assert not left, left
    _check(watched, server, venue, items)
    assert max(lateness) < LATE, f"a shutdown ended {max(lateness):.3f} s after its deadline"
    outages = sum(isinstance(item, fastws.Outage) for item in items[0])
    return Result(len(watched.ready), len(items[1]), outages, len(lateness), max(lateness), grown)


async def _disturb(rng, link, client):
    while True:
        await asyncio.sleep(rng.uniform(0.1, 1.5))
        match rng.randrange(5):
            case 0:
                link.cut()
            case 1:
                link.close()
            case 2:
                link.truncate(rng.randrange(1, 2000))
            case 3:
                link.delay = rng.uniform(0, 0.3)
                await asyncio.sleep(0.3)
                link.delay = 0.0
            case 4:
                client.reconnect("because")


async def _come_and_go(rng, url, config, tls, lateness, until):
    """Clients that are shut down at any moment, some while nobody reads."""
    for number in itertools.count(1):
        if time.monotonic() >= until:
            return
        other = Watched(url, config, number, tls).client
        stream = other.stream() if rng.random() < 0.5 else None
        running = asyncio.create_task(other.run())
        await asyncio.sleep(rng.uniform(0, 0.4))
        lateness.append(await _shut_down(other, running, 0.05))
        if stream is not None:
            stream.close()


async def _shut_down(client, running, seconds):
    began = time.monotonic()
    with contextlib.suppress(fastws.ShutdownTimeout):
        await client.shutdown(timeout=seconds)
    late = time.monotonic() - began - seconds
    await running
    return late


def _check(watched, server, venue, items):
    marked, plain, decoded = items
    by_header = {
        value: report.id
        for report in server.connections()
        for name, value in report.headers
        if name.lower() == "x-attempt"
    }
    by_id = {session.connection_id: session for session in venue.report().sessions}
    per_generation = {}
    shape = []
    for item in marked:
        if isinstance(item, fastws.Message):
            per_generation.setdefault(item.generation, []).append(orjson.loads(item.data).get("n"))
        else:
            shape.append(type(item))
    assert shape == [fastws.Down, *[fastws.Outage, fastws.Down] * (len(watched.ready) - 1)]
    assert [item.seq for item in marked if isinstance(item, fastws.Message)] == list(range(1, len(plain) + 1))
    assert plain == [item.data for item in marked if isinstance(item, fastws.Message)]
    assert decoded == [n for numbers in per_generation.values() for n in numbers]
    for generation, attempt in enumerate(watched.ready, 1):
        session = by_id[by_header[f"0.{attempt}"]]
        sent = venue.indexes(session)
        got = per_generation.get(generation, [])
        assert got == sent[: len(got)], f"generation {generation}: {len(got)} came, {len(sent)} were written"


def number(data):
    return orjson.loads(data).get("n")


def resident():
    gc.collect()
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
