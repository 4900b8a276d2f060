"""Minutes of independent faults on several lines with one numbered source, checked against what each line was given.

Messages may change places between lines; none may be missing, or come twice, or lie on the wrong side of an outage.
"""

import asyncio
import random

import pytest

import fastws
from fastws.errors import DialError, HandshakeError
from fastws.events import Connecting, Disconnected, DisconnectReason, Ready
from fastws.handshakes import Handshaker
from virtual_time import run_virtual
from wires import MemoryWire

SECONDS = 300


class Login(Handshaker):
    """Asks to be let in; takes nothing but the answer."""

    name = "login"
    timeout = 5.0

    async def handshake(self, channel, context):
        await channel.send("login")
        if (await channel.expect(lambda message: message in ("welcome", "denied"))).value == "denied":
            raise HandshakeError("denied", kind="failed")


class Venue:
    """The connector of all lines and the server behind it: each message goes to every connection, sooner or later."""

    name = "venue"

    def __init__(self, rng):
        self.rng = rng
        self.wires = {}
        self.number = 0
        self.tasks = set()

    async def connect(self, uri, options):
        rng = self.rng
        match rng.choices(("open", "refused", "slow"), (55, 35, 10))[0]:
            case "refused":
                raise DialError("refused", uri=uri, phase="tcp")
            case "slow":
                await asyncio.sleep(rng.uniform(0.1, 4))
        wire = MemoryWire(uri, options)
        wire.given = []
        wire.lag = rng.choice((0.001, 0.05, 0.5, 3.0))
        wire.is_silent = False
        wire.on_send = self.answer
        self.wires.setdefault(uri, []).append(wire)
        self.start(self.fail(wire))
        return wire

    def answer(self, wire, message):
        match self.rng.choices(("welcome", "denied", "reset"), (90, 5, 5))[0]:
            case "welcome" | "denied" as answer:
                wire.deliver(answer)
            case "reset":
                wire.reset()

    def start(self, work):
        task = asyncio.create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def fail(self, wire):
        await asyncio.sleep(self.rng.expovariate(1 / 8))
        match self.rng.choice(("reset", "close", "silence", "keepalive", "slow")):
            case "reset":
                wire.reset()
            case "close":
                wire.server_close(self.rng.choice((1000, 1001, 1011, 1012, 4000)))
            case "silence":
                wire.is_silent = True
            case "keepalive":
                wire.keepalive_lost()
            case "slow":
                wire.lag = 8.0
                self.start(self.fail(wire))

    async def publish(self):
        while True:
            await asyncio.sleep(self.rng.expovariate(3))
            burst = range(self.number, self.number + self.rng.choice((1, 1, 2, 20)))
            self.number = burst.stop
            for wires in self.wires.values():
                asyncio.get_running_loop().call_later(wires[-1].lag, self.give, wires[-1], burst)

    def give(self, wire, numbers):
        if wire.is_open and not wire.is_silent:
            wire.given += map(str, numbers)
            wire.deliver(*map(str, numbers))


class Truth:
    """What was so, from the events of the lines alone."""

    def __init__(self, venue, feed):
        self.venue = venue
        self.ready = set()
        self.breaks = 0
        self.sessions = []
        self.dials = 0
        self.attempts = []
        for line in feed.lines:
            line.on(None, lambda event, line=line: self.hear(line, event))

    def hear(self, line, event):
        match event:
            case Connecting():
                self.dials += 1
            case Ready():
                if not self.ready and self.breaks:
                    self.attempts.append(self.dials)
                self.ready.add(line)
                self.sessions.append((self.breaks, self.venue.wires[line.uri][event.id - 1]))
            case Disconnected(reason=DisconnectReason(kind="rotation")):
                pass  # another connection had replaced it
            case Disconnected() if line in self.ready:
                self.ready.discard(line)
                if not self.ready:
                    self.breaks += 1
                    self.dials = 0

    def generations(self):
        """The messages of each interval with a line that was ready: what any of these lines was given."""
        seen, found = set(), []
        for number in range(self.breaks):
            given = {message for which, wire in self.sessions if which == number for message in wire.given}
            found.append(given - seen)
            seen |= given
        return found


async def read(rng, stream, items, longest):
    async for item in stream:
        items.append(item)
        if rng.random() < 0.005:
            await asyncio.sleep(rng.uniform(0, longest))


async def chaos(seed, age):
    rng = random.Random(seed)
    venue = Venue(random.Random(rng.random()))
    feed = fastws.RedundantClient(
        [f"ws://{name}/" for name in "abc"[: rng.choice((2, 2, 3))]],
        key=int,
        config=fastws.ClientConfig(
            receive_timeout=6,
            ping_interval=None,
            # What a connection that is replaced was not asked for yet is its successor's, which may be lost.
            queue_messages=rng.choice((8, 64, 4096)) if age is None else 4096,
            handshake_retry_delay=0.5,
            max_connection_age=age,
            rotation_overlap=2,
        ),
        retry=fastws.ExponentialBackoff(initial=1.0, maximum=8.0, seed=seed),
        handshake=Login(),
        connector=venue,
    )
    truth = Truth(venue, feed)
    items = [], []
    reading = [
        asyncio.create_task(read(rng, feed.stream(markers=True, start="oldest"), each, longest))
        for each, longest in zip(items, (0.5, 12), strict=True)
    ]
    running = asyncio.create_task(feed.run())
    publishing = asyncio.create_task(venue.publish())
    for _ in range(SECONDS // 10):
        await asyncio.sleep(rng.expovariate(1 / 10))
        rng.choice(feed.lines).reconnect("because")
    publishing.cancel()
    await asyncio.sleep(rng.choice((0, 10)))
    await feed.shutdown()
    await asyncio.gather(running, *reading)
    for task in (*venue.tasks, publishing):
        task.cancel()
    await asyncio.sleep(0)
    return truth, items, feed


@pytest.mark.parametrize(("seed", "age"), [(seed, None if seed < 8 else 10) for seed in range(12)])
def test_nothing_is_lost_or_repeated_and_each_outage_is_marked_once(seed, age):
    truth, (items, others), feed = run_virtual(chaos(seed, age), leaves_tasks=True)
    found, markers, generation = [[]], [], 1
    for item in items:
        if isinstance(item, fastws.Outage):
            assert (item.old_generation, item.new_generation) == (generation, generation + 1)
            generation += 1
        else:
            assert item.generation == generation
        if isinstance(item, fastws.Message):
            found[-1].append(item.data)
        elif item.reason.kind == "rotation":
            assert age is not None  # a line was replaced without proof, while no other was ready
        else:
            markers.append(item)
            if isinstance(item, fastws.Outage):
                found.append([])
    assert [set(each) for each in found] == truth.generations()
    assert sum(map(len, found)) == len(set().union(*found)), "a message came twice"
    kinds = [type(item) for item in markers]
    assert kinds == [fastws.Down, fastws.Outage] * (truth.breaks - 1) + [fastws.Down]
    for down, outage in zip(markers[::2], markers[1::2], strict=False):
        assert outage.reason is down.reason
        assert outage.from_ns == down.last_received_ns
        assert down.detected_ns == outage.detected_ns <= outage.to_ns
    # A dial that was under way when the last line was lost counts too.
    dials = [item.attempts for item in markers if isinstance(item, fastws.Outage)]
    lines = len(feed.lines)
    assert all(counted <= real < counted + lines for counted, real in zip(truth.attempts, dials, strict=True))
    assert others == items
    assert truth.breaks > 3
    assert sum(line.first for line in feed.stats()) == sum(map(len, found))
    assert any(line.duplicates for line in feed.stats())
