"""Clients of the venue that have more than one connection: one that changes them by age, and one with two lines.

They have what the others have not: a rate limit, an extension, a key. There is no link, so that what the venue wrote
to a session that it did not reset has arrived. None of it may be missing where no outage is marked, and nothing comes
twice. That is so of sessions that were ready: a second connection that ends before it takes over gives nothing, and one
that began while the first was kept silent has what nobody else was sent.
"""

import asyncio
import itertools
from array import array

import orjson

import fastws
from fastws.errors import SendError
from fastws.events import Connected, Ready

RATE, BURST = 50, 5
MARK = -1

WINDOW = 4096
"""Keys that the two lines remember: seconds of the feed. Memory is at its height as soon as there are so many."""

AGE = 0.8
"""Seconds after which a connection is replaced."""


class Counts(fastws.Extension):
    """Sees what comes and what goes, and passes it on."""

    name = "counts"
    handles_messages = True
    handles_outgoing = True

    def __init__(self):
        self.seen = array("q")
        self.begun = self.ended = self.sent = 0

    def on_connect(self, context):
        self.begun += 1

    def on_disconnect(self, context, reason):
        self.ended += 1

    def on_message(self, message, context):
        number = orjson.loads(message).get("n")
        if number is not None:
            self.seen.append(number)
        return message

    def on_send(self, message, context):
        self.sent += 1
        return message


class Lines:
    """Both clients, and what they gave."""

    def __init__(self, rng, peer, config, tls, tokens):
        self.rng, self.peer = rng, peer
        self.tokens = tokens
        self.counts = Counts()
        self.sent = self.attempt = 0
        self.connections, self.ready = [], set()
        """The attempts of the rotating client that made a connection, and which of those were ready."""
        options = {
            "handshake": fastws.AuthHandshaker(lambda: next(tokens)).json(),
            "tls": tls,
            "retry": fastws.ExponentialBackoff(0.02, 0.3, 2.0, jitter=0.5),
        }
        self.rotating = fastws.WebSocketClient(
            peer.url("/venue"),
            config=config.replace(max_connection_age=AGE, rotation_overlap=0.5),
            rate_limit=fastws.RateLimit(RATE, 1.0, burst=BURST),
            extensions=[self.counts],
            message_key=fastws.keys.json("n"),
            headers=self.headers,
            **options,
        )
        self.rotating.on(Connected, lambda event: self.connections.append(self.attempt))
        self.rotating.on(Ready, lambda event: self.ready.add(self.connections[event.id - 1]))
        self.redundant = fastws.RedundantClient(
            peer.url("/venue"),
            2,
            key=fastws.keys.json("n"),
            window=WINDOW,
            config=config,
            headers={"X-Line": "redundant"},
            **options,
        )
        for subscribe in (self.rotating.subscriptions.add, self.redundant.add):
            subscribe(
                "all",
                message={"type": "subscribe", "channel": "all"},
                ack=lambda m: isinstance(m, dict) and m.get("type") == "subscribed",
            )
        self.clients = {"rotating": self.rotating, "redundant": self.redundant}
        self.streams = {name: each.stream(markers=True) for name, each in self.clients.items()}
        self.items = {name: array("q") for name in self.clients}
        """Numbers of the feed, and MARK for a marker of an outage."""

    def headers(self):
        self.attempt += 1
        return {"X-Line": f"rotating {self.attempt}"}

    async def read(self, name):
        async for item in self.streams[name]:
            if isinstance(item, fastws.Down | fastws.Outage):
                self.items[name].append(MARK)
            elif isinstance(item, fastws.Message) and (number := number_of(item.data)) is not None:
                self.items[name].append(number)

    async def talk(self):
        """Says more than the limit allows."""
        while True:
            await asyncio.sleep(self.rng.expovariate(2 * RATE))
            try:
                self.rotating.send_nowait(b'{"said":%d}' % self.sent, text=True)
            except SendError:
                continue
            self.sent += 1

    @property
    def kept(self):
        """What the check keeps."""
        return (*self.items.values(), self.counts.seen)

    def check(self):
        """Raises AssertionError if anything is not as it must be. Returns how many changes nobody noticed."""
        names = {
            report.id: value
            for report in self.peer.connections
            for header, value in report.headers
            if header.lower() == "x-line"
        }
        ready = {"rotating": {f"rotating {attempt}" for attempt in self.ready}, "redundant": {"redundant"}}
        for name in self.clients:
            written = set()
            for session in self.peer.venue.sessions:
                if names.get(session.connection_id) in ready[name] and not {"reset", "cut"} & set(session.faults):
                    written.update(self.peer.indexes(session))
            self.check_one(name, written)
        for report in self.peer.connections:
            if names.get(report.id, "").startswith("rotating"):
                said = sum(b'"said"' in bytes(frame.payload) for frame in report.frames)
                seconds = ((report.ended_ns or report.accepted_ns) - report.accepted_ns) / 1e9
                assert said <= BURST + RATE * (seconds + 1), f"{said} messages in {seconds:.1f} s"
        counts = self.counts
        assert counts.begun == counts.ended
        assert set(self.items["rotating"]) <= {*counts.seen, MARK}
        assert counts.sent >= self.sent
        return counts.begun - 1 - self.items["rotating"].count(MARK) // 2

    def check_one(self, name, written):
        items = self.items[name]
        numbers = [number for number in items if number != MARK]
        assert len(numbers) == len(set(numbers)), f"{name}: messages came twice"
        for is_mark, chain in itertools.groupby(items, key=lambda number: number == MARK):
            if is_mark:
                continue
            # Of two lines, messages may change places.
            got = sorted(chain)
            missing = set(range(got[0], got[-1])) - set(got)
            assert not missing & written, f"{name}: without a mark, {sorted(missing & written)[:9]} did not come"


def number_of(data):
    number = orjson.loads(data).get("n")
    return number if number is not None and number >= 0 else None
