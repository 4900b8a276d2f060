"""A client that meets every fault of the embedded server's steps, one a session, over and over; no link between them.

What a session has to give is known before it begins: so many messages, numbered, and then the fault. Only where the
fault destroys what is on its way may fewer come.
"""

import itertools
from array import array
from dataclasses import dataclass

import orjson

import fastws
from fastws.events import Connected, Ready
from fastws.testing import (
    Accept,
    Answer,
    End,
    Expect,
    Fault,
    Send,
    SendClose,
    SendFragments,
    SendPing,
    SendPong,
    SendRaw,
    Wait,
)

BURST = 2000
RATE = 5000
SILENT = {"receive_timeout"}
CLOSED = {"normal", "server_closed"}
LOST = {"error"}


@dataclass
class Case:
    """What one connection meets.

    Attributes:
        target: The path and query, with ``{at}`` for the number of messages before the fault.
        ends: How its session may end; empty where there is none.
        rest: The fault only delays: all of the messages come.
        is_lossy: What is on its way is destroyed.
        count: How many messages are sent, where that is always the same.
    """

    target: str
    ends: set = frozenset()
    rest: bool = False
    is_lossy: bool = False
    count: int | None = None


FEED = "/replay/burst?speed=1&fault={}"
CASES = {
    "reset": Case(FEED.format("reset@{at}"), LOST, is_lossy=True),
    "eof": Case(FEED.format("eof@{at}"), LOST),
    "truncate": Case(FEED.format("truncate@{at}"), LOST),
    "half-close": Case(FEED.format("half-close@{at}"), LOST),
    "silence": Case(FEED.format("silence@{at}"), SILENT | {"keepalive"}),
    "freeze": Case(FEED.format("freeze@{at}"), SILENT | {"keepalive"}),
    "stall for ever": Case(FEED.format("stall@{at}"), CLOSED, rest=True),
    "stall": Case(FEED.format("stall:200@{at}"), CLOSED, rest=True),
    "drip": Case(FEED.format("drip:200:1@{at}"), CLOSED, rest=True),
    "ignore-pings": Case(FEED.format("ignore-pings@{at},wait:5000@{at}"), SILENT | {"keepalive"}),
    "garbage": Case(FEED.format("garbage@{at}"), LOST),
    "half a frame": Case(FEED.format("garbage:817e04@{at},eof@{at}"), LOST),
    "pings that go unanswered, and others": Case(
        FEED.format("ignore-pings@{at},wait:700@{at}&ping_ms=50"), CLOSED, rest=True
    ),
    "wait": Case(FEED.format("wait:200@{at}"), CLOSED, rest=True),
    "ping": Case(FEED.format("ping:hello@{at}"), CLOSED, rest=True),
    "close 1000": Case(FEED.format("close:1000:bye@{at}"), CLOSED),
    "close 1011": Case(FEED.format("close:1011@{at}"), CLOSED),
    "close 4000": Case(FEED.format("close:4000:é@{at}"), CLOSED),
    "close without a code": Case(FEED.format("close:0@{at}"), CLOSED),
    "close with a code that may not be sent": Case(FEED.format("close:1006@{at}"), LOST),
    "reset behind a close": Case(FEED.format("close:1001@{at},reset@{at}"), CLOSED | LOST, is_lossy=True),
    "reset at the request": Case(FEED.format("reset@request")),
    "silence at the request": Case(FEED.format("silence@request")),
    "slow answer": Case(FEED.format("wait:1@{at}&accept_ms=300"), CLOSED, rest=True),
    "refusal": Case(FEED.format("status:503@request")),
    "no such path": Case("/nowhere"),
    "too many requests": Case("/status/429?header=Retry-After:0"),
    "reserved bits": Case("/raw?hex=f1026869", LOST, count=0),
    "paced": Case("/paced?rate=5000&n=300&size=16", CLOSED, count=300),
    "blast": Case("/blast?n=3000&seq=1&size=600", CLOSED, count=3000),
    "a wrong answer": Case("/wrong"),
    "half an answer": Case("/half-an-answer"),
    "pieces": Case("/pieces", CLOSED, count=3),
    "glued": Case("/glued", CLOSED, count=2),
    "talk": Case("/talk", CLOSED, count=2),
    "echoes": Case("/echo?fault=close:4001@2", CLOSED, count=2),
    "scripted faults": Case("/scripted", LOST, count=1),
}
"""Every way in which a connection may go, by name. ``reset`` and the like are those of steps.py and step.rs."""


def prepare(server):
    """The paths that the cases need."""
    server.add_feed("burst", [(n / RATE, "text", message(n)) for n in range(BURST)])
    one, two, three = (message(n).decode() for n in range(3))
    server.script("/wrong", [Answer(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: nothing\r\n\r\n")])
    server.script("/half-an-answer", [Answer(b"HTTP/1.1 101 Swi"), Expect()])
    server.script(
        "/pieces", [SendFragments((one[:3], one[3:])), SendPing(b"?"), SendPong(), Send(two), Send(three), End()]
    )
    server.script("/glued", [Accept(glued=bytes((0x81, len(one))) + one.encode()), Send(two), End()])
    server.script("/talk", [Expect(2), Send(one), Wait(0.05), Send(two), SendClose(4321, "enough"), Expect()])
    server.script("/scripted", [Send(one), SendRaw(b"\x83\x00"), Fault("eof")])


def message(number):
    return b'{"n":%d}' % number


class Steps:
    """The client, and what it gave."""

    def __init__(self, rng, peer, config, tls):
        self.rng, self.peer = rng, peer
        self._coming = itertools.chain.from_iterable(iter(self._shuffled, None))
        self.tried = []
        """Each attempt: the case's name and how many messages come before its fault."""
        self.connections = []
        self.ready = []
        self.numbers = array("q")
        self.ends = []
        """Of each session: how many messages had come by then, and the reason."""
        self.client = fastws.WebSocketClient(
            self._uri, config=config, tls=tls, retry=fastws.CustomRetry(lambda failure: 0.02)
        )
        self.client.on(Connected, lambda event: self.connections.append(len(self.tried) - 1))
        self.client.on(Ready, self._is_ready)
        self.stream = self.client.stream(markers=True)

    async def read(self):
        async for item in self.stream:
            match item:
                case fastws.Message(data=data):
                    self.numbers.append(number_in(data))
                case fastws.Down(reason=reason):
                    self.ends.append((len(self.numbers), reason.kind))

    def check(self):
        """Raises AssertionError if a session gave anything but what it had to. Returns how many had to give all."""
        begin, exact = 0, 0
        for connection, (end, kind) in zip(self.ready, self.ends, strict=True):
            name, at = self.tried[connection]
            case = CASES[name]
            got = list(self.numbers[begin:end])
            begin = end
            count = case.count if case.count is not None else BURST if case.rest else at
            what = f"{name} at {at}: {len(got)} came, {count} were sent; {kind}"
            assert got == list(range(len(got))), what
            assert case.ends, f"{what}: there should be no session"
            if kind == "shutdown":
                continue  # at any point of it
            assert kind in case.ends, what
            assert len(got) <= count, what
            if not case.is_lossy:
                assert len(got) == count, what
                exact += 1
        return exact

    @property
    def missing(self):
        """Cases that have not been met."""
        return set(CASES) - {name for name, _ in self.tried}

    def _shuffled(self):
        return self.rng.sample(list(CASES), len(CASES))

    def _uri(self):
        name, at = next(self._coming), self.rng.randrange(1, 400)
        self.tried.append((name, at))
        return self.peer.url(CASES[name].target.replace("{at}", str(at)))

    def _is_ready(self, event):
        self.ready.append(self.connections[event.id - 1])
        if self.tried[self.ready[-1]][0] in ("talk", "echoes"):
            self.client.send_nowait(message(0).decode())
            self.client.send_nowait(message(1).decode())


def number_in(data):
    """Of JSON, of a blast, or of a paced message."""
    if isinstance(data, str):
        return orjson.loads(data)["n"]
    return int.from_bytes(data[:8] if len(data) == 600 else data[8:16], "little")
