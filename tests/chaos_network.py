"""Real time, real sockets: every fault of the embedded server and of a link, checked against the server's own report.

Four kinds of clients run at once against one server: one at a venue with all its faults, behind a link that is cut,
closed, truncated and delayed, and it sends orders with receipts (``Watched``); one that meets every fault of a step,
without a link (chaos_steps.py); one that changes connections, limited and with an extension, and one with two lines
(chaos_lines.py); and others that come and are shut down at any moment.

How much of what the venue wrote has to come depends on the end of the session:

==========================================  ==============================================================
The venue closed, and its Close came        All of it: Close is behind everything else.
We closed politely, no link was disturbed   All of it: the venue answers Close behind everything else.
We gave up for silence, no link disturbed   All of it: what was written before it had time enough to come.
A reset, a cut link, an end without Close   Its beginning: a reset destroys what is on its way.
==========================================  ==============================================================
"""

import asyncio
import contextlib
import ctypes
import functools
import gc
import itertools
import logging
import math
import os
import random
import sys
import threading
import time
from array import array
from dataclasses import dataclass, field

import orjson

import chaos_lines
import chaos_server
import chaos_steps
import fastws
from fastws.errors import MaybeSent, NotSent, SendError
from fastws.events import Connected, Disconnected, Ready
from fastws.session import Session
from fastws.testing import CloseAt, CutAt, DropAt, ExpireAt, RefuseAt, ResetAt, SilenceAt
from link import Link
from peers import PATIENCE

LIBC = ctypes.CDLL(None)

RATE = 1000
TOKENS = [f"token-{number}" for number in range(2000)]
LATE = 0.1
"""Seconds that a shutdown may end after its deadline."""

TURN = 0.003
"""Seconds between two turns of a loop that sleeps for a millisecond in each, where there is a processor for it."""

NEAR = 0.2
"""Seconds around its end in which a session's link may not have been cut, if all is to come."""

DELAYED = 1.2
"""Seconds before its end in which the link may not have been slow."""

RESUMED = 0.15
"""Seconds after a silence or a cut in which what the venue says again may still be on its way."""

FAULTS = (
    lambda rng, at: ResetAt(at),
    lambda rng, at: SilenceAt(at, rng.uniform(0.1, 2.0)),
    lambda rng, at: CloseAt(at, rng.choice((1000, 1001, 1011, 1012, 4000)), "fault"),
    lambda rng, at: RefuseAt(at, rng.uniform(0.1, 0.5), 503, None),
    lambda rng, at: CutAt(at, rng.uniform(0.1, 0.9)),
    lambda rng, at: DropAt(at, rng.randrange(1, 50)),
    lambda rng, at: ExpireAt(at, 4401),
)
DISTURBANCES = ("cut", "close", "truncate", "delay", "reconnect")


@dataclass
class Result:
    sessions: int = 0
    messages: int = 0
    outages: int = 0
    exact: dict = field(default_factory=dict)
    """By the end of the session: how many gave all that was written, and how many there were."""
    steps: int = 0
    """Sessions that met a step's fault and gave exactly what was sent before."""
    cases: int = 0
    changes: int = 0
    """Connections that were replaced by their age without a mark."""
    orders: dict = field(default_factory=dict)
    """By what their receipts said."""
    shutdowns: int = 0
    latest: float = 0.0
    """The worst lateness of a shutdown, in seconds."""
    sessions_alive: list = field(default_factory=list)
    """How many ``Session`` objects there were at those moments."""
    memory: list = field(default_factory=list)
    """MiB resident after each sixth of the run and at its end, without what the check keeps."""

    @property
    def grown(self):
        """MiB since a third of the run, when every kind of session has been."""
        return self.memory[-1] - self.memory[1]

    def __str__(self):
        exact = ", ".join(f"{kind} {all_of}/{of}" for kind, (all_of, of) in sorted(self.exact.items()))
        orders = ", ".join(f"{count} {said}" for said, count in sorted(self.orders.items()))
        return (
            f"{self.sessions} sessions, {self.messages:,} messages, {self.outages} outages; whole: {exact}; "
            f"{self.cases} faults of steps, {self.steps} sessions of them whole; "
            f"{self.changes} seamless changes; orders: {orders}; "
            f"{self.shutdowns} shutdowns, the latest {self.latest * 1e3:+.1f} ms from its deadline; "
            f"memory {self.grown:+.1f} MiB since a third ({', '.join(f'{each:.1f}' for each in self.memory)})"
        )


class Watched:
    """A client of the venue, with what it told, and what its streams gave."""

    def __init__(self, url, config, number, tls):
        self.attempts = itertools.count(1)
        self.number = number
        self.attempt = 0
        self.connections = []
        self.ready = []
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
        self.unsent = {}
        self.client.on(Disconnected, self.disconnected)

    def disconnected(self, event):
        for unsent in event.unsent:
            self.unsent[order_of(unsent.message)] = unsent.outcome

    def token(self):
        return next(FRESH)

    def headers(self):
        self.attempt = next(self.attempts)
        return {"X-Attempt": f"{self.number}.{self.attempt}"}


FRESH = itertools.cycle(TOKENS)


class Numbers:
    """Reads a stream into as little memory as that takes: the numbers of the feed, other messages apart."""

    def __init__(self, stream, rng, slow):
        self.stream, self.rng, self.slow = stream, rng, slow
        self.numbers = array("q")
        self.others = 0
        self.marks = []
        """Of each: how many numbers came before it, its class, the kind of its reason, and that in words."""
        self.seq = 0

    async def run(self):
        async for item in self.stream:
            data = item
            if isinstance(item, fastws.Message):
                assert item.seq == self.seq + 1, f"{item!r} behind {self.seq}"
                self.seq, data = item.seq, item.data
            if isinstance(item, fastws.Down | fastws.Outage):
                self.marks.append((len(self.numbers), type(item), item.reason.kind, str(item.reason)))
                continue
            number = data if isinstance(data, int) else number_of(data)
            if number is None or number < 0:
                self.others += 1
            else:
                self.numbers.append(number)
            if self.slow and self.rng.random() < self.slow:
                await asyncio.sleep(self.rng.uniform(0, 0.3))


class Trader:
    """Sends orders with receipts, and where the link is slow larger ones, so that some of them wait."""

    def __init__(self, client, rng, link):
        self.client, self.rng, self.link = client, rng, link
        self.accepted = set()
        self.said = {}
        """Of each receipt: the class of its error, None if it was written."""
        self.written_in = {}
        """The connection of each order whose receipt said so while that was the present one."""
        self.refused = set()
        self.count = 0

    async def run(self):
        rng = self.rng
        while True:
            await asyncio.sleep(rng.expovariate(40))
            self.count += 1
            number, size = self.count, LARGE if self.link.delay else rng.choice((0, 10, 2000))
            message = orjson.dumps({"order": number, "pad": "x" * size})
            try:
                receipt = await self.client.send(
                    message, text=True, receipt=True, timeout=rng.choice((0.01, 1)), urgent=rng.random() < 0.1
                )
            except (SendError, TimeoutError):
                self.refused.add(number)
            else:
                self.accepted.add(number)
                receipt.add_done_callback(functools.partial(self.told, number))

    @property
    def kept(self):
        """What the check keeps."""
        numbers = range(1, self.count + 1)
        return (self.accepted, self.said, self.written_in, self.refused, *numbers)

    def told(self, number, receipt):
        error = receipt.exception()
        self.said[number] = None if error is None else type(error)
        if error is None and self.client.is_ready:
            self.written_in[number] = self.client.snapshot().id


async def chaos(seconds, seed, *, tls=False):
    """One run; raises AssertionError if anything is not as it must be."""
    rng = random.Random(seed)
    threads = own_threads()
    feed = [(n / RATE, "text", chaos_steps.message(n)) for n in range(int(seconds * RATE))]
    moments = sorted(rng.uniform(0.5, seconds * 0.95) for _ in range(int(seconds * 0.8)))
    # All kinds before one of them comes again.
    makers = itertools.chain.from_iterable(iter(lambda: rng.sample(FAULTS, len(FAULTS)), None))
    faults = [next(makers)(rng, at) for at in moments]
    with no_secret_logged(), chaos_server.peer_elsewhere(tls=tls, feed=feed, tokens=TOKENS, faults=faults) as peer:
        del feed
        tls = fastws.TlsConfig(ca=peer.ca_pem) if peer.ca_pem else None
        descriptors = await descriptors_beside(peer, tls)
        with Link(peer.port, buffer=16 << 10) as link:
            result = await _Run(seconds, rng, peer, faults, link).main()
        async with asyncio.timeout(PATIENCE):  # others in this process may close theirs meanwhile, or a moment later
            while await descriptors_beside(peer, tls) > descriptors:
                await asyncio.sleep(0.01)
    left = own_threads() - threads
    assert not left, left
    return result


class _Run:
    def __init__(self, seconds, rng, peer, faults, link):
        self.seconds, self.rng = seconds, rng
        self.peer, self.faults, self.link = peer, faults, link
        self.url = peer.url("/venue").replace(str(peer.port), str(link.port))
        self.tls = fastws.TlsConfig(ca=peer.ca_pem) if peer.ca_pem else None
        self.config = fastws.ClientConfig(
            receive_timeout=0.5, open_timeout=1, handshake_timeout=1, handshake_retry_delay=0.02, close_timeout=0.5,
            queue_messages=512, restore_timeout=1, on_disconnect_send=rng.choice(("fail", "keep")),
        )  # fmt: skip
        self.disturbed = []
        """When the link was, and how."""
        self.lateness = []

    async def main(self):
        rng, seconds = self.rng, self.seconds
        await asyncio.sleep(0)
        tasks = asyncio.all_tasks()
        self.watched = watched = Watched(self.url, self.config, 0, self.tls)
        client = watched.client
        self.marked = Numbers(client.stream(markers=True), rng, 0.0)
        self.plain = Numbers(client.stream(start="oldest"), rng, 0.0005)
        self.decoded = Numbers(client.stream(start="oldest", decode=number_or_less), rng, 0.0)
        self.steps = chaos_steps.Steps(rng, self.peer, self.config, self.tls)
        self.lines = chaos_lines.Lines(rng, self.peer, self.config, self.tls, FRESH)
        self.trader = Trader(client, rng, self.link)
        readers = [self.marked, self.plain, self.decoded]
        lines = self.lines
        works = [*[reader.run() for reader in readers], self.steps.read(), *map(lines.read, lines.clients)]
        reading = [asyncio.create_task(work) for work in works]
        clients = [client, self.steps.client, *lines.clients.values()]
        running = [asyncio.create_task(each.run()) for each in clients]
        self.peer.start()
        until = time.monotonic() + seconds
        using = [asyncio.create_task(work) for work in (self.disturb(), self.trader.run(), lines.talk())]
        coming = asyncio.create_task(self.come_and_go(until))
        samples, alive = [], []
        for _ in range(6):
            await asyncio.sleep(seconds / 6)
            alive.append(sessions_alive())
            samples.append(resident() - self.kept())
        await coming
        for task in using:
            task.cancel()
        await asyncio.gather(*using, return_exceptions=True)
        for task in using:
            if not task.cancelled():
                task.result()
        self.link.delay = 0.0
        self.lateness += [await shut_down(each, 0.5) for each in clients]
        await asyncio.gather(*running, *reading)
        samples.append(resident() - self.kept())
        self.peer.stop()
        left = asyncio.all_tasks() - tasks
        assert not left, left
        late = max(self.lateness)
        ends = [f"{each:+.3f}" for each in self.lateness[-len(clients) :]]
        assert late < LATE, f"a shutdown ended {late:.3f} s after its deadline; the last ones {ends}"
        result = Result(len(watched.ready), len(self.plain.numbers), shutdowns=len(self.lateness), latest=late)
        result.sessions_alive = alive
        # Of each client one, of those that change connections another, and what came and went a moment ago.
        assert max(alive) <= 2 * (len(clients) + 2), f"sessions pile up: {alive}"
        result.memory = [sample / 2**20 for sample in samples]
        self.check_messages(result)
        self.check_orders(result)
        result.changes = lines.check()
        result.steps, result.cases = self.steps.check(), len(chaos_steps.CASES) - len(self.steps.missing)
        if seconds >= 60:
            self.check_coverage()
            assert result.changes
        return result

    # ---- what goes on

    async def disturb(self):
        rng, link = self.rng, self.link
        coming = itertools.chain.from_iterable(iter(lambda: rng.sample(DISTURBANCES, len(DISTURBANCES)), None))
        while True:
            await asyncio.sleep(rng.uniform(0.1, 4.0))
            how = next(coming)
            self.disturbed.append((time.monotonic(), how))
            match how:
                case "cut":
                    # Something waits to be sent then, or is on its way.
                    link.delay = rng.choice((0.0, 0.3))
                    self.disturbed.append((time.monotonic(), "delay"))
                    await asyncio.sleep(2 * link.delay)
                    self.disturbed.append((time.monotonic(), how))
                    link.cut()
                    link.delay = 0.0
                case "close":
                    link.close()
                case "truncate":
                    link.truncate(rng.randrange(1, 2000))
                case "delay":
                    link.delay = rng.uniform(0, 0.3)
                    await asyncio.sleep(0.3)
                    link.delay = 0.0
                case "reconnect":
                    self.watched.client.reconnect("because")

    async def come_and_go(self, until):
        """Clients that are shut down at any moment, some while nobody reads."""
        for number in itertools.count(1):
            if time.monotonic() >= until:
                return
            other = Watched(self.url, self.config, number, self.tls).client
            stream = other.stream() if self.rng.random() < 0.5 else None
            running = asyncio.create_task(other.run())
            await asyncio.sleep(self.rng.uniform(0, 0.4))
            self.lateness.append(await shut_down(other, 0.05))
            await running
            if stream is not None:
                stream.close()

    def kept(self):
        """Bytes that the check keeps."""
        read = [each.numbers for each in (self.marked, self.plain, self.decoded, self.steps)]
        return sum(map(sys.getsizeof, (*read, *self.lines.kept, *self.trader.kept)))

    # ---- what must be so

    def check_messages(self, result):
        ready, marks = self.watched.ready, self.marked.marks
        assert [mark for _, mark, _, _ in marks] == [
            fastws.Down,
            *[fastws.Outage, fastws.Down] * (len(ready) - 1),
        ]
        for other in (self.plain, self.decoded):
            assert other.numbers == self.marked.numbers
            assert other.others == self.marked.others
        by_header = {
            value: report
            for report in self.peer.connections
            for name, value in report.headers
            if name.lower() == "x-attempt"
        }
        by_id = {session.connection_id: session for session in self.peer.venue.sessions}
        begin = 0
        downs = [(end, kind, words) for end, mark, kind, words in marks if mark is fastws.Down]
        self.ended_politely = set()
        for generation, (attempt, (end, kind, words)) in enumerate(zip(ready, downs, strict=True), 1):
            report = by_header[f"0.{attempt}"]
            session = by_id[report.id]
            sent = self.peer.indexes(session)
            got = self.marked.numbers[begin:end].tolist()
            begin = end
            what = f"generation {generation}, {kind}, {words}: {len(got)} came, {len(sent)} were written; {session}"
            assert got == sent[: len(got)], what
            whole, of = result.exact.get(kind, (0, 0))
            if self.gives_all(kind, session, report):
                assert got == sent, what
                whole += 1
                if kind in ("requested", "shutdown"):
                    self.ended_politely.add(self.watched.connections.index(attempt) + 1)
            result.exact[kind] = whole, of + 1
        result.outages, self.whole = len(marks) // 2, result.exact

    def gives_all(self, kind, session, report):
        """Whether everything that the venue wrote must have come: see the table above."""
        if session.ended_by == "close" and kind in ("normal", "server_closed"):
            return True
        if session.ended_ns is None or self.is_disturbed(session) or "reset" in session.faults:
            return False
        ended = session.ended_ns / 1e9
        if kind in ("requested", "shutdown"):
            return report.close_received is not None and report.error is None and not self.is_cut(ended)
        is_silence = kind in ("receive_timeout", "keepalive") and "cut" not in session.faults
        return is_silence and not self.is_cut(ended)

    def is_disturbed(self, session):
        """Whether its link did something to it. What lives after a cut began after it."""
        began, ended = session.began_ns / 1e9, session.ended_ns / 1e9
        since = {"cut": ended - NEAR, "close": ended - NEAR, "truncate": began, "delay": ended - DELAYED}
        return any(since.get(how, math.inf) < at < ended + NEAR for at, how in self.disturbed)

    def is_cut(self, moment):
        """Whether the venue may just have begun to speak again."""
        began = self.peer.venue.started_ns / 1e9
        ends = [began + f.at + f.seconds for f in self.faults if isinstance(f, SilenceAt | CutAt)]
        return any(end - RESUMED < moment < end + RESUMED for end in ends)

    def check_orders(self, result):
        """No order came twice; what a receipt says is true."""
        came = {}
        for report in self.peer.connections:
            for frame in report.frames:
                number = order_of(frame.payload)
                if number is not None:
                    assert number not in came, f"order {number} came twice"
                    came[number] = report.id
        trader = self.trader
        assert not trader.refused & set(came), "refused, and sent nevertheless"
        assert set(came) <= trader.accepted | {trader.count}
        untold = trader.accepted - set(trader.said)
        assert not untold, f"nobody said what became of the orders {sorted(untold)}"
        for number, error in trader.said.items():
            said = "written" if error is None else error.__name__
            result.orders[said] = result.orders.get(said, 0) + 1
            assert error in (None, NotSent, MaybeSent)
            assert not (error is NotSent and number in came), f"order {number}: NotSent, and it came"
        result.orders["refused"] = len(trader.refused)
        for number, connection in trader.written_in.items():
            assert connection not in self.ended_politely or number in came, f"order {number} was written, and got lost"
        for number, outcome in self.watched.unsent.items():
            assert outcome != "not_sent" or number not in came, f"order {number} is said not to be sent, and it came"

    def check_coverage(self):
        assert not self.steps.missing, f"not met: {self.steps.missing}"
        assert {how for _, how in self.disturbed} == set(DISTURBANCES)
        assert len({type(fault) for fault in self.faults}) == len(FAULTS)
        suffered = {fault for session in self.peer.venue.sessions for fault in session.faults}
        assert suffered == {"reset", "silence", "close", "expire", "cut"}
        # Silence may have been met where the link was disturbed; the others come often enough.
        assert self.whole["requested"][0]
        assert self.whole["server_closed"][0]
        assert self.peer.venue.refused
        assert self.peer.venue.dropped


async def shut_down(client, seconds):
    """Returns by how many seconds that was late, in seconds that the machine gave us.

    A gap between the loop's turns counts only for what this thread computed in it: while it waits for a processor,
    it can keep no deadline.
    """
    deadline = time.monotonic() + seconds
    taken = 0.0

    async def count():
        nonlocal taken
        while True:
            at, computed = time.monotonic(), time.thread_time()
            await asyncio.sleep(0.001)
            gap = time.monotonic() - max(at, deadline)
            taken += max(0.0, gap - TURN - (time.thread_time() - computed))

    counting = asyncio.create_task(count())
    with contextlib.suppress(fastws.ShutdownTimeout):
        await client.shutdown(timeout=seconds)
    late = time.monotonic() - deadline
    # What has not ended yet is counted in the next turn.
    await asyncio.sleep(0.002)
    counting.cancel()
    await asyncio.wait([counting])
    return late - taken


def number_of(data):
    return orjson.loads(data).get("n")


def number_or_less(data):
    number = number_of(data)
    return -1 if number is None else number


def order_of(payload):
    """The number of an order; recorded payloads end at 64 KiB."""
    head, _, rest = bytes(payload if isinstance(payload, bytes) else payload.encode()).partition(b'{"order":')
    return int(rest.partition(b",")[0]) if rest and not head else None


@contextlib.contextmanager
def no_secret_logged():
    """Looks at everything that the library logs. Nobody else gets it: who keeps records keeps the frames in them."""

    class Reading(logging.Handler):
        def emit(self, record):
            text = self.format(record)
            if "token-" in text:
                found.append(text)

    found, logger, reading = [], logging.getLogger("fastws"), Reading()
    before = logger.level, logger.propagate
    logger.addHandler(reading)
    logger.setLevel(logging.DEBUG)
    logger.propagate = False
    try:
        yield
    finally:
        logger.removeHandler(reading)
        logger.level, logger.propagate = before
    assert not found, found[0]


def own_threads():
    """Those of Python, without those of the loop's executor, which stay."""
    threads = threading.enumerate()
    return {thread.name for thread in threads if not thread.name.startswith(("asyncio_", "uvloop_"))}


async def descriptors_beside(peer, tls):
    """Open descriptors, with those that all connections of a loop share. Two, as one may have another of its own."""
    idle = {"tls": tls, "ping_interval": None}
    async with fastws.connect(peer.url("/sink"), **idle), fastws.connect(peer.url("/sink"), **idle):
        gc.collect()
        return len(os.listdir("/proc/self/fd"))


def sessions_alive():
    gc.collect()
    return sum(isinstance(each, Session) for each in gc.get_objects())


def resident():
    """Bytes resident, without what malloc keeps for later: that is as much as the busiest moment took."""
    gc.collect()
    if hasattr(LIBC, "malloc_trim"):
        LIBC.malloc_trim(0)
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


LARGE = 60_000
"""Bytes of a large order: the venue takes no larger ones, and the server's recording keeps no more."""
