"""A seeded half hour of everything that can go wrong, on wires in memory, checked against what the server did.

`run(seed)` raises AssertionError, naming the seed and what differs. The test is the server: it knows what it put on each
wire before that ended, so what every stream has to give is known too, to the message.
"""

import asyncio
import random

import fastws
from fastws.errors import DialError, HandshakeError, SendError, SubscriberOverflow
from fastws.events import (
    Connected,
    Connecting,
    Disconnected,
    Error,
    FatalError,
    Ready,
    ReconnectScheduled,
    Shutdown,
)
from fastws.handshakes import Handshaker
from virtual_time import run_virtual
from wires import MemoryWire

URI = "ws://venue.example/feed"
CODES = (1000, 1001, 1002, 1006, 1008, 1011, 1012, 1013, 4000, 4321)
KEYS = 5

FOLLOWS = {
    None: {Connecting},
    Connecting: {Connected, Error, Shutdown},
    Error: {ReconnectScheduled, Shutdown},
    ReconnectScheduled: {Connecting, Shutdown},
    Connected: {Ready, Disconnected},
    Ready: {Disconnected},
    Disconnected: {Error, ReconnectScheduled, Shutdown},
    FatalError: {Shutdown},
    Shutdown: set(),
}
"""What may follow what among events, where no failure is final."""


class Login(Handshaker):
    """Asks to be let in; takes nothing but the answer."""

    name = "login"
    timeout = 5.0

    async def handshake(self, channel, context):
        await channel.send("login")
        answer = await channel.expect(lambda message: message in ("welcome", "denied"))
        if answer.value == "denied":
            raise HandshakeError("denied", kind="failed")


class Venue:
    """The connector and the server behind it."""

    name = "chaos"

    def __init__(self, rng):
        self.rng = rng
        self.wires = []
        self.dials = []
        self.tasks = set()
        self.number = 0

    async def connect(self, uri, options):
        rng = self.rng
        self.dials.append(now())
        match rng.choices(("open", "refused", "oserror", "slow", "hang"), (70, 14, 6, 6, 4))[0]:
            case "refused":
                raise DialError("127.0.0.1:1: connection refused", uri=uri, phase="tcp")
            case "oserror":
                raise ConnectionResetError("reset while it opened")
            case "slow":
                await asyncio.sleep(rng.uniform(0.1, 4))
            case "hang":
                await asyncio.sleep(3600)
        wire = MemoryWire(uri, options)
        wire.given = []
        wire.spoke_at = now()
        wire.on_send = self._answer
        self.wires.append(wire)
        self._start(self._serve(wire))
        return wire

    def close(self):
        for task in self.tasks:
            task.cancel()

    def _start(self, work):
        task = asyncio.create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    def give(self, wire, count):
        for _ in range(count):
            if not wire.is_open:
                return
            self.number += 1
            message = f"{self.number % KEYS}:{self.number}"
            wire.given.append(message)
            wire.spoke_at = now()
            wire.deliver(message)

    def _answer(self, wire, message):
        if message != "login":
            return
        self.give(wire, self.rng.choice((0, 0, 1, 3)))
        match self.rng.choices(("welcome", "denied", "close", "reset", "silence"), (84, 4, 4, 4, 4))[0]:
            case "welcome" | "denied" as answer:
                wire.deliver(answer)
            case "close":
                wire.server_close(1008, "go away")
            case "reset":
                wire.reset()
        if wire.is_open:
            self.give(wire, self.rng.choice((0, 2)))

    async def _serve(self, wire):
        rng = self.rng
        ends = now() + rng.expovariate(1 / 40)
        while wire.is_open and now() < ends:
            self.give(wire, int(rng.expovariate(1 / rng.choice((1, 4, 40)))))
            await asyncio.sleep(rng.expovariate(1 / 1.5))
        if not wire.is_open:
            return
        match rng.choices(("reset", "close", "silence", "burst", "keepalive"), (30, 30, 15, 20, 5))[0]:
            case "reset":
                wire.reset()
            case "keepalive":
                wire.keepalive_lost()
            case "close":
                self.close_by_server(wire)
            case "burst":
                self.give(wire, rng.randrange(1, 300))
                self.close_by_server(wire)

    def close_by_server(self, wire):
        wire.server_close(self.rng.choice(CODES), self.rng.choice(("", "restart", "é" * 20)))


class Reader:
    """Reads a stream at a pace of its own, gives up waits, and keeps what it got."""

    def __init__(self, rng, stream, *, slow=0.004, longest=12.0):
        self.rng, self.stream, self.slow, self.longest = rng, stream, slow, longest
        self.items = []
        self.error = None

    async def run(self):
        rng = self.rng
        while True:
            try:
                if rng.random() < 0.2:
                    async with asyncio.timeout(rng.choice((0, 0.001, 0.3))):
                        self.items.append(await self.stream.recv())
                else:
                    self.items.append(await self.stream.recv())
            except TimeoutError:
                await asyncio.sleep(0)
                continue
            except Exception as error:
                self.error = error
                return
            if rng.random() < self.slow:
                await asyncio.sleep(rng.uniform(0, self.longest))

    @property
    def data(self):
        return [item.data for item in self.items if isinstance(item, fastws.Message)]


class BatchReader(Reader):
    async def run(self):
        async for batch in self.stream.batches(max_messages=self.rng.choice((3, 50)), max_wait=0.1):
            self.items.append((batch.generation, batch.first_seq, list(batch)))
            if self.rng.random() < self.slow:
                await asyncio.sleep(self.rng.uniform(0, self.longest))


class Chaos:
    """One run."""

    def __init__(self, seed, seconds=1800.0):
        self.seed, self.seconds = seed, seconds
        self.rng = rng = random.Random(seed)
        self.policy = rng.choice(("fail", "keep", "drop"))
        self.strategy = {
            "initial": rng.uniform(0.1, 2), "maximum": 30.0, "multiplier": rng.uniform(1, 2.5), "seed": seed,
            "full_jitter": rng.random() < 0.5, "immediate_first": rng.random() < 0.3,
        }  # fmt: skip
        self.handshake_retry_delay = rng.choice((0.0, 0.5, 3.0))
        self.receive_timeout = rng.choice((6.0, 20.0))
        self.events = []
        self.accepted, self.refused = [], []
        self.sent = 0

    async def main(self):
        rng = self.rng
        self.venue = venue = Venue(random.Random(rng.random()))
        config = fastws.ClientConfig(
            receive_timeout=self.receive_timeout,
            open_timeout=10,
            queue_messages=rng.choice((16, 200, 4096)),
            on_disconnect_send=self.policy,
            keep_limit=10_000,
            handshake_retry_delay=self.handshake_retry_delay,
        )
        self.client = client = fastws.WebSocketClient(
            URI,
            connector=venue,
            config=config,
            handshake=Login(),
            retry=fastws.ExponentialBackoff(**self.strategy),
        )
        client.on(None, lambda event: self.events.append((now(), event)))
        reader = lambda kind=Reader, slow=0.004, longest=12.0, **options: kind(  # noqa: E731 - a name for a partial
            random.Random(rng.random()), client.stream(start="oldest", **options), slow=slow, longest=longest
        )
        self.full = reader(markers=True)
        self.others = [reader(), reader(slow=0.0)]
        self.batches = reader(BatchReader)
        self.dropping = reader(markers=True, policy="drop_oldest", capacity=20, slow=0.05, longest=20)
        self.conflating = reader(
            markers=True, policy=fastws.Conflate(lambda data: data.split(b":")[0]), slow=0.05, longest=20
        )
        self.failing = reader(markers=True, policy="fail", capacity=200, slow=0.01)
        self.decoded = reader(markers=True, decode=lambda data: int(data.split(b":")[1]), filter=b"0")
        everyone = [
            self.full, *self.others, self.batches, self.dropping, self.conflating, self.failing, self.decoded
        ]  # fmt: skip
        runs = [asyncio.create_task(reader.run()) for reader in everyone]
        work = [asyncio.create_task(each) for each in (self.send(), self.disturb())]
        running = asyncio.create_task(client.run())
        await asyncio.sleep(self.seconds)
        for task in work:
            task.cancel()
        await asyncio.wait(work)
        began = now()
        self.left = ()
        try:
            await client.shutdown(timeout=5)
        except fastws.ShutdownTimeout as error:
            self.left = error.unsent
        assert now() - began < 5.1, "the shutdown was late"
        await running
        venue.close()
        async with asyncio.timeout(600):
            await asyncio.gather(*runs)
        for task in work:
            if not task.cancelled():
                task.result()
        await asyncio.sleep(0)
        self.check()

    # ---- what users do

    async def send(self):
        rng = random.Random(self.rng.random())
        client = self.client
        while True:
            await asyncio.sleep(rng.expovariate(1))
            for _ in range(rng.choice((1, 1, 5))):
                self.sent += 1
                message = f"order {self.sent}"
                try:
                    if rng.random() < 0.5:
                        client.send_nowait(message)
                    else:
                        async with asyncio.timeout(rng.choice((0.01, 3))):
                            await client.send(message)
                except (SendError, TimeoutError):
                    self.refused.append(message)
                else:
                    self.accepted.append(message)

    async def disturb(self):
        rng = random.Random(self.rng.random())
        client = self.client
        while True:
            await asyncio.sleep(rng.expovariate(1 / 20))
            match rng.randrange(4):
                case 0:
                    client.reconnect("because")
                case 1:
                    waiting = asyncio.create_task(client.wait_ready())
                    await asyncio.sleep(rng.choice((0, 0.001, 1)))
                    waiting.cancel()
                    await asyncio.wait([waiting])
                case 2:
                    with client.stream() as stream:
                        try:
                            async with asyncio.timeout(rng.uniform(0, 2)):
                                async for _ in stream:
                                    pass
                        except TimeoutError:
                            pass
                case 3:
                    async for _ in client.events():
                        break

    # ---- what must be so

    def check(self):
        self.check_events()
        self.check_attempts()
        self.check_silence()
        generations = self.generations()
        self.check_full(generations)
        everything = [message for given in generations for message in given]
        for each in self.others:
            assert each.items == everything, f"{difference(each.items, everything)}"
            assert each.stream.outages == max(len(generations) - 1, 0)
        self.check_batches(generations)
        self.check_dropping(everything)
        self.check_conflating(generations)
        self.check_failing(everything)
        assert self.decoded.data == [int(m.split(":")[1]) for m in everything if "0" in m]
        self.check_sent()

    def check_events(self):
        last, status = None, None
        ids, ready = 0, 0
        for _, event in self.events:
            assert type(event) in FOLLOWS[last], f"{event!r} after {last}"
            last = type(event)
            if isinstance(event, Connected):
                ids += 1
                assert event.id == ids
            if isinstance(event, Ready):
                ready += 1
                assert (event.id, event.generation) == (ids, ready)
        assert last is Shutdown, status

    def check_attempts(self):
        """Each delay is the strategy's, and each dial comes when it is over."""
        twin = fastws.ExponentialBackoff(**self.strategy)
        attempt, ready_at, failures, phase, due = 0, None, 0, "connect", None
        for at, event in self.events:
            match event:
                case Connecting():
                    attempt += 1
                    assert event.attempt == attempt, f"{event!r} at {at}: {attempt} was due"
                    assert due is None or abs(at - due) < 1e-6, f"a dial at {at}, due at {due}"
                    phase = "connect"
                case Connected():
                    phase = "handshake"
                case Ready():
                    phase, ready_at = "session", at
                case Disconnected():
                    if phase == "session" and at - ready_at >= 10:
                        attempt, failures = 0, 0
                case ReconnectScheduled():
                    failure = fastws.Failure(None, phase, attempt, is_first=failures == 0)
                    failures += 1
                    delay = twin.next_delay(failure)
                    if phase == "handshake":
                        delay = max(delay, self.handshake_retry_delay)
                    assert event.delay == delay, f"{event!r} at {at}: {delay} was due"
                    due = at + delay

    def check_silence(self):
        """Nobody who spoke is cut for silence."""
        by_id = dict(enumerate(self.venue.wires, 1))
        number = 0
        for at, event in self.events:
            if isinstance(event, Connected):
                number = event.id
            if isinstance(event, Disconnected) and event.reason.kind == "receive_timeout":
                silent = at - by_id[number].spoke_at
                assert silent >= self.receive_timeout - 1e-6, f"cut at {at} {silent} s after a message"

    def generations(self):
        """What the server put on the wire of each session that got ready."""
        return [self.venue.wires[event.id - 1].given for _, event in self.events if isinstance(event, Ready)]

    def check_full(self, generations):
        expected = []
        for number, given in enumerate(generations, 1):
            if number > 1:
                expected.append(("outage", number - 1, number))
            expected += [(message, number) for message in given]
            expected.append(("down", number))
        seen = [shape(item) for item in self.full.items]
        assert seen == expected, difference(seen, expected)
        assert [i.seq for i in self.full.items if isinstance(i, fastws.Message)] == list(
            range(1, sum(map(len, generations)) + 1)
        )
        reasons = [event.reason for _, event in self.ready_ends()]
        assert [item.reason for item in self.full.items if isinstance(item, fastws.Down)] == reasons
        outages = [item for item in self.full.items if isinstance(item, fastws.Outage)]
        assert [item.reason for item in outages] == reasons[: len(outages)]
        dials, counts = 0, []
        for _, event in self.events:
            if isinstance(event, Connecting):
                dials += 1
            if isinstance(event, Ready):
                counts.append(dials)
                dials = 0
        assert [item.attempts for item in outages] == counts[1:]

    def ready_ends(self):
        is_ready = False
        for at, event in self.events:
            if isinstance(event, Disconnected) and is_ready:
                yield at, event
            is_ready = isinstance(event, Ready) or (is_ready and not isinstance(event, Disconnected))

    def check_batches(self, generations):
        seen = [[] for _ in generations]
        due = 1
        for generation, first, messages in self.batches.items:
            assert first == due
            due += len(messages)
            seen[generation - 1] += messages
        assert seen == generations

    def check_dropping(self, everything):
        place = 0
        for item in self.dropping.items:
            if isinstance(item, fastws.Dropped):
                assert item.first_seq == place + 1
                assert item.count == item.last_seq - item.first_seq + 1
                place = item.last_seq
            elif isinstance(item, fastws.Message):
                assert item.seq == place + 1
                assert item.data == everything[place]
                place += 1
        assert place == len(everything)
        shapes = [shape(i) for i in self.dropping.items if isinstance(i, fastws.Down | fastws.Outage)]
        assert shapes == [shape(i) for i in self.full.items if not isinstance(i, fastws.Message)]

    def check_conflating(self, generations):
        """Of each key the newest of every session; what came, once; markers all."""
        items = self.conflating.items
        shapes = [shape(i) for i in items if not isinstance(i, fastws.Message)]
        assert shapes == [shape(i) for i in self.full.items if not isinstance(i, fastws.Message)]
        everything = [message for given in generations for message in given]
        seen = [[] for _ in generations]
        for item in items:
            if isinstance(item, fastws.Message):
                assert everything[item.seq - 1] == item.data
                seen[item.generation - 1].append(item.data)
        for given, got in zip(generations, seen, strict=True):
            assert len(set(got)) == len(got)
            for key in range(KEYS):
                due = [m for m in given if m.startswith(f"{key}:")]
                came = [m for m in got if m.startswith(f"{key}:")]
                assert came == [m for m in due if m in set(came)], "a key's messages came in another order"
                assert came[-1:] == due[-1:], "the newest of a key is missing"

    def check_failing(self, everything):
        reader = self.failing
        assert reader.data == everything[: len(reader.data)]
        if len(reader.data) < len(everything):
            assert isinstance(reader.error, SubscriberOverflow), repr(reader.error)

    def check_sent(self):
        sent = [message for wire in self.venue.wires for message in wire.sent if message != "login"]
        assert len(set(sent)) == len(sent), "an order went twice"
        left = {unsent.message for unsent in self.left}
        for _, event in self.events:
            if isinstance(event, Disconnected):
                left |= {unsent.message for unsent in event.unsent}
        assert not left & set(sent)
        dropped = self.client._outbox.dropped if self.policy == "drop" else 0
        missing = [message for message in self.accepted if message not in set(sent) and message not in left]
        assert len(missing) == dropped, f"accepted, and nobody knows where they are: {missing[:5]}"
        assert not set(sent) & set(self.refused), "refused, and sent nevertheless"
        numbers = [int(message.split()[1]) for message in sent]
        assert numbers == sorted(numbers), "orders went in another order"
        for wire in self.venue.wires:
            assert [m for m in wire.sent if m == "login"] == ["login"]
            assert wire.sent[0] == "login"


def shape(item):
    match item:
        case fastws.Message():
            return item.data, item.generation
        case fastws.Down():
            return "down", item.generation
        case fastws.Outage():
            return "outage", item.old_generation, item.new_generation
        case fastws.Dropped():
            return "dropped", item.first_seq, item.last_seq


def difference(seen, expected):
    for place, (one, other) in enumerate(zip(seen, expected, strict=False)):
        if one != other:
            return f"item {place}: {other} was due, {one} came; then {seen[place + 1 : place + 4]}"
    return f"{len(seen)} came, {len(expected)} were due; the first that differs: {(seen + expected)[min(len(seen), len(expected)) :][:3]}"


def now():
    return asyncio.get_running_loop().time()


def run(seed, seconds=1800.0):
    """One run; returns it."""
    chaos = Chaos(seed, seconds)
    try:
        run_virtual(chaos.main())
    except BaseException as error:
        error.add_note(f"chaos with seed {seed}")
        raise
    return chaos
