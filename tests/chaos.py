"""A seeded half hour of everything that can go wrong, on wires in memory, checked against what the server did.

`run(seed)` raises AssertionError, naming the seed and what differs. The test is the server: it knows what it put on
each wire before that ended, so what every stream has to give is known too, to the message. The seed chooses what is
set on the client (`Plan`), what the venue does (chaos_venue.py) and what users do (chaos_users.py); what must be so
is in chaos_checks.py. It chooses the time that passes while code runs, too (`Plan.look_ns`), so two runs are the
same; but a release build goes by the real clock where it waits for a batch, and where a reader has gone on for too
long.
"""

import asyncio
import gc
import logging
import random
import re
import types
from collections import Counter

import chaos_checks
import fastws
from chaos_users import (
    Asker,
    BatchReader,
    Disturber,
    Login,
    Looking,
    Outgoing,
    Reader,
    Subscriber,
    Tapped,
    Trader,
)
from chaos_venue import Venue, now, number_of
from fastws.events import Disconnected, Error, Ready
from fastws.session import Session
from virtual_time import run_virtual

URI = "ws://venue.example/feed"

INNER = re.compile(r"fastws\.(?!errors|events|markers|_core\.Message)|_asyncio\.Task|frame |coroutine ")
"""What belongs to the client alone: whoever reads it keeps messages, markers, events and errors."""

WAITING = ("fastws._account.Item", "fastws.handshakes.channel.HandshakeMessage")
"""What waits to be sent, and what came before a session was ready: as many as there are at that moment."""

FEW = 30
"""Objects of a kind that may be more at one moment than at another: there are more connections in between."""

LATE = 0.1
"""Seconds that a shutdown may end after its deadline."""


class Plan:
    """What a seed chooses of the client."""

    def __init__(self, rng, seed):
        self.policy = rng.choice(("fail", "keep", "drop"))
        self.strategy = {
            "initial": rng.uniform(0.1, 2), "maximum": 30.0, "multiplier": rng.uniform(1, 2.5), "seed": seed,
            "full_jitter": rng.random() < 0.5, "immediate_first": rng.random() < 0.3,
        }  # fmt: skip
        self.handshake_retry_delay = rng.choice((0.0, 0.5, 3.0))
        self.receive_timeout = rng.choice((6.0, 20.0))
        self.rotation = rng.choice(("", "marked", "seamless", "seamless"))
        if self.rotation:
            # Attempts beside a session ask the same strategy, so that only one without chance can be followed.
            self.strategy |= {"full_jitter": False, "jitter": 0.0}
        self.max_connection_age = rng.uniform(11, 60) if self.rotation else None
        self.is_tight = rng.random() < 0.3
        self.rate = None if self.is_tight else rng.choice((None, *RATES, RATES[-1]))
        self.rate_keys = list(self.rate.keys) if isinstance(self.rate, fastws.RateLimits) else []
        self.looks = [] if rng.random() < 0.4 else rng.sample(("pass", "change", "drop", "fail"), rng.choice((1, 2, 4)))
        self.is_async = rng.random() < 0.5
        self.outgoing = rng.choice(("", "", "sync", "async"))
        self.taps = rng.random() < 0.4
        self.shutdown_timeout = rng.choice((0.05, 0.5, 5.0))
        # As the native clock goes on while a stream is read, its reader yields: hardly ever, or behind a few messages.
        self.look_ns = random.Random(seed).choice((10, 1_000, 20_000, 50_000, 300_000))

    @property
    def may_send_at_once(self):
        return self.outgoing != "async"

    def __repr__(self):
        return f"Plan({', '.join(f'{name}={value!r}' for name, value in vars(self).items())})"


RATES = (
    fastws.RateLimit(3, 1.0, burst=5),
    fastws.RateLimit(40, 10.0, burst=1),
    fastws.RateLimits(fastws.RateLimit(4, 1.0), {"a": fastws.RateLimit(1, 2.0), "b": fastws.RateLimit(2, 1.0, 1)}),
)


class Chaos:
    """One run."""

    def __init__(self, seed, seconds=1800.0):
        self.seed = seed
        self.rng = rng = random.Random(seed)
        self.seconds = seconds * rng.uniform(0.97, 1.0)
        self.plan = Plan(rng, seed)
        self.events = []
        self.tapped = Tapped()

    async def main(self):
        rng, plan = self.rng, self.plan
        self.venue = venue = Venue(self.branch(), is_tight=plan.is_tight, looks_back=plan.rotation != "seamless")
        self.looking = [Looking(self.branch(), does, is_async=plan.is_async) for does in plan.looks]
        outgoing = [Outgoing(is_async=plan.outgoing == "async")] if plan.outgoing else []
        self.client = client = fastws.WebSocketClient(
            URI,
            connector=venue,
            config=fastws.ClientConfig(
                receive_timeout=plan.receive_timeout,
                open_timeout=10,
                queue_messages=rng.choice((16, 200, 4096)),
                on_disconnect_send=plan.policy,
                keep_limit=10_000,
                handshake_retry_delay=plan.handshake_retry_delay,
                max_connection_age=plan.max_connection_age,
                rotation_overlap=3.0,
            ),
            handshake=Login(),
            retry=fastws.ExponentialBackoff(**plan.strategy),
            rate_limit=plan.rate,
            extensions=[*self.looking, *outgoing],
            tap=self.tapped if plan.taps else None,
            message_key=number_of if plan.rotation == "seamless" else None,
        )
        client.on(None, lambda event: self.events.append((now(), event)))
        client.on(Ready, lambda event: setattr(venue.wires[event.id - 1], "is_ready", True))
        self.readers = readers = self.make_readers(client)
        self.trader = Trader(self.branch(), client, plan)
        self.asker = Asker(self.branch(), client)
        self.subscriber = Subscriber(self.branch(), client)
        users = [self.trader, self.asker, self.subscriber, Disturber(self.branch(), client)]
        others = self.alive()  # of what ran before in this process
        venue.open()
        reading = [asyncio.create_task(reader.run()) for reader in readers]
        using = [asyncio.create_task(user.run()) for user in users]
        running = asyncio.create_task(client.run())
        # When every kind of session has been, nothing of them may pile up any more.
        await asyncio.sleep(self.seconds / 3)
        before = self.alive()
        await asyncio.sleep(self.seconds * 2 / 3)
        self.check_leaks(before)
        await self.shut_down(running, using)
        venue.close()
        await asyncio.sleep(0)
        async with asyncio.timeout(600):
            await asyncio.gather(*reading)
        alive = {kind: count - others.get(kind, 0) for kind, count in self.alive().items() if kind in WAITING}
        left = {kind: count for kind, count in alive.items() if count > FEW}
        assert not left, f"it is over, and these live on: {left}"
        self.history = chaos_checks.check(self)

    def branch(self):
        """A generator of its own for each, so that what one of them does changes nothing for the others."""
        return random.Random(self.rng.random())

    def make_readers(self, client):
        def reader(kind=Reader, slow=0.004, longest=12.0, **options):
            return kind(self.branch(), client.stream(start="oldest", **options), slow=slow, longest=longest)

        self.full = reader(markers=True)
        self.others = [reader(), reader(slow=0.0)]
        self.batches = reader(BatchReader)
        self.dropping = reader(markers=True, policy="drop_oldest", capacity=20, slow=0.05, longest=20)
        self.conflating = reader(markers=True, policy=fastws.Conflate(feed_key), slow=0.05, longest=20)
        self.failing = reader(markers=True, policy="fail", capacity=200, slow=0.01)
        self.decoded = reader(markers=True, decode=decoded, filter=b"0")
        return [self.full, *self.others, self.batches, self.dropping, self.conflating, self.failing, self.decoded]

    def alive(self):
        """How many objects there are of each kind that users of the client are not given to keep."""
        # The tracebacks of errors hold what failed, for as long as somebody holds the errors.
        causes = [event.reason.cause for _, event in self.events if isinstance(event, Disconnected)]
        for error in (*causes, *(event.error for _, event in self.events if isinstance(event, Error))):
            forget_frames(error)
        for asked in self.asker.asked:
            forget_frames(asked.error)
        gc.collect()
        kinds = Counter(kind_of(each) for each in gc.get_objects())
        return Counter({kind: count for kind, count in kinds.items() if INNER.match(kind)})

    def check_leaks(self, before):
        """Only the present session lives, and one that takes its place; and nothing else of those that are over."""
        after = self.alive()
        parts = self.client._parts
        left = [each for each in gc.get_objects() if isinstance(each, Session) and each._parts is parts]
        assert len(left) <= 2, f"sessions that nobody needs any more live on: {left}"
        grown = {
            kind: (before[kind], count)
            for kind, count in after.items()
            if count > before[kind] + FEW and kind not in WAITING and self.seconds > 600
        }
        assert not grown, f"{len(self.venue.wires)} connections, and these pile up: {grown}"

    async def shut_down(self, running, using):
        """At this very moment, whatever goes on; users notice only later."""
        self.left = ()
        began = now()
        try:
            await self.client.shutdown(timeout=self.plan.shutdown_timeout)
        except fastws.ShutdownTimeout as error:
            self.left = error.unsent
        late = now() - began - self.plan.shutdown_timeout
        assert late < LATE, f"the shutdown ended {late:.3f} s after its deadline"
        await running
        for task in using:
            task.cancel()
        await asyncio.wait(using)
        for task in using:
            if not task.cancelled() and not isinstance(task.exception(), fastws.ClientStopped):
                task.result()
        await asyncio.sleep(0)


def kind_of(each):
    """Its type, or what it runs: a change of connections and those who wait for it have many coroutines at once."""
    match each:
        case types.CoroutineType():
            return f"coroutine {each.__qualname__}"
        case types.FrameType():
            return f"frame {each.f_code.co_qualname}"
    return f"{type(each).__module__}.{type(each).__qualname__}"


def forget_frames(error):
    while error is not None:
        error.__traceback__ = None
        if error.__context__ is not error.__cause__:
            forget_frames(error.__context__)
        error = error.__cause__


def feed_key(data):
    """What messages of the feed are conflated by; others are not."""
    return None if number_of(data) is None else data.split(b":")[0]


def decoded(data):
    number = number_of(data)
    return data if number is None else number


def run(seed, seconds=1800.0):
    """One run; returns it."""
    chaos = Chaos(seed, seconds)
    logging.disable()  # pytest keeps what is logged, and so the frames of every traceback
    try:
        run_virtual(chaos.main(), look_ns=chaos.plan.look_ns)
    except BaseException as error:
        error.add_note(f"chaos with seed {seed}: {chaos.plan}")
        raise
    finally:
        logging.disable(logging.NOTSET)
    return chaos
