"""The server of a chaos in virtual time: a venue with one feed, and an exact account of what each wire was given.

It plays the part of the connector, too. Whoever connects and logs in gets the feed from where it is, or a few messages
before that, and each wire is late by a time of its own: so two wires that are open at a time overlap. Messages of the
feed have a number; acknowledgements and answers have none, and go to one wire only.
"""

import asyncio
from collections import deque

from fastws.errors import DialError, SendQueueFull
from wires import MemoryWire

CODES = (1000, 1001, 1002, 1006, 1008, 1011, 1012, 1013, 4000, 4321)
KEYS = 5


def feed_message(number):
    return f"{number % KEYS}:{number}"


def number_of(message):
    """The number of a message of the feed, as str or bytes, changed by an extension or not; None for another one."""
    if isinstance(message, bytes):
        message = message.decode()
    key, colon, number = message.rstrip("!").partition(":")
    return int(number) if colon and key.isdigit() else None


class VenueWire(MemoryWire):
    """A wire with an account of both directions; it may have little room, and be slow to close."""

    def __init__(self, uri, options, rng, *, is_tight):
        super().__init__(uri, options)
        self.given = []
        self.claimable = set()
        """Acknowledgements given before it was ready: whoever waits for them may keep them from the streams."""
        self.subscribed = set()
        self.sent_at = []
        self.spoke_at = self.opened_at
        self.ended_at = None
        self.is_ready = False
        self.is_silent = False
        self.is_joined = False
        self.lag = rng.choice((0.0, 0.0, 0.01, 0.3))
        self.late = deque()
        self.closing = rng.choices((0.0, 0.05, 0.5, 60.0), (60, 20, 15, 5))[0]
        self._is_tight = is_tight
        self._accepts_first = is_tight and rng.random() < 0.5
        self._room = [now(), 0]
        self._turn = asyncio.Lock()

    def give(self, message):
        if self.is_open:
            self.given.append(message)
            self.spoke_at = now()
            self.deliver(message)

    def send_nowait(self, message, text=None):
        if self.is_open and self._is_tight and not self._has_room():
            raise SendQueueFull("the wire has no room")
        self.sent_at.append(now())
        try:
            super().send_nowait(message, text)
        except BaseException:
            del self.sent_at[len(self.sent) :]
            raise

    async def send(self, message, text=None):
        async with self._turn:  # first come, first served
            if self._accepts_first:  # and waits for room behind it, as many libraries do
                self.sent_at.append(now())
                super().send_nowait(message, text)
                await asyncio.sleep(ROOM_AGAIN)
                return
            while True:
                try:
                    self.send_nowait(message, text)
                except SendQueueFull:
                    await asyncio.sleep(ROOM_AGAIN / 4)
                else:
                    return

    async def close(self, code=1000, reason=""):
        if self.closing and self.is_open:
            await asyncio.sleep(self.closing)
        await super().close(code, reason)

    def _has_room(self):
        since, used = self._room
        if now() >= since + ROOM_AGAIN:
            since, used = now(), 0
        self._room = [since, used + 1]
        return used < ROOM

    def _end(self, info):
        if self.is_open:
            self.ended_at = now()
        super()._end(info)


class Venue:
    """The connector and the server behind it."""

    name = "chaos"

    def __init__(self, rng, *, is_tight=False, looks_back=True):
        self.looks_back = looks_back
        """Whether who joins gets what was before, which comes again then."""
        self.rng = rng
        self.is_tight = is_tight
        self.wires = []
        self.sent = []
        """What came on all wires: when, which wire, what."""
        self.tasks = set()
        self.number = 0
        self.serial = 0

    async def connect(self, uri, options):
        rng = self.rng
        match rng.choices(("open", "refused", "oserror", "slow", "hang"), (70, 14, 6, 6, 4))[0]:
            case "refused":
                raise DialError("127.0.0.1:1: connection refused", uri=uri, phase="tcp")
            case "oserror":
                raise ConnectionResetError("reset while it opened")
            case "slow":
                await asyncio.sleep(rng.uniform(0.1, 4))
            case "hang":
                await asyncio.sleep(3600)
        wire = VenueWire(uri, options, rng, is_tight=self.is_tight)
        wire.on_send = self._heard
        self.wires.append(wire)
        self._start(self._serve(wire))
        return wire

    def open(self):
        self._start(self._feed())

    def close(self):
        for task in self.tasks:
            task.cancel()

    def _start(self, work):
        task = asyncio.create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    # ---- the feed

    async def _feed(self):
        rng = self.rng
        while True:
            self.emit(int(rng.expovariate(1 / rng.choice((1, 4, 40)))))
            await asyncio.sleep(rng.expovariate(1 / 1.5))

    def emit(self, count):
        for number in range(self.number + 1, self.number + count + 1):
            for wire in self.wires:
                if wire.is_joined and wire.is_open:
                    wire.late.append((now() + wire.lag, feed_message(number)))
        self.number += count
        for wire in self.wires:
            if wire.late and wire.is_open:
                asyncio.get_running_loop().call_later(wire.lag, self._give_due, wire)
                if not wire.lag:
                    self._give_due(wire)

    def _give_due(self, wire, by=None):
        by = now() + 1e-9 if by is None else by
        while wire.late and wire.late[0][0] <= by:
            wire.give(wire.late.popleft()[1])

    def _join(self, wire, back):
        """The feed from ``back`` messages ago on; returns those."""
        wire.is_joined = True
        return [feed_message(number) for number in range(max(self.number - back, 0) + 1, self.number + 1)]

    # ---- what a wire hears

    def _heard(self, wire, message):
        self.sent.append((now(), wire, message))
        if wire.is_silent:
            return
        words = message.split()
        match words[0]:
            case "login":
                self._answer_login(wire)
            case "sub":
                wire.subscribed.add(words[1])
                if self.rng.random() < 0.93:
                    self._later(self.rng.choice((0, 0, 0.05, 1)), self._say, wire, f"ack {words[1]}")
            case "unsub":
                wire.subscribed.discard(words[1])
            case "ask":
                if self.rng.random() < 0.8:
                    self._later(self.rng.choice((0, 0.02, 1, 4)), self._say, wire, f"answer {words[1]}")

    def _later(self, seconds, what, *arguments):
        if seconds:
            asyncio.get_running_loop().call_later(seconds, what, *arguments)
        else:
            what(*arguments)

    def _say(self, wire, text):
        if wire.is_silent or not wire.is_open:
            return
        self.serial += 1
        message = f"{text} #{self.serial}"
        if not wire.is_ready:
            wire.claimable.add(message)
        wire.give(message)

    def _answer_login(self, wire):
        rng = self.rng
        back, early = self._join(wire, rng.choice((0, 0, 1, 5)) if self.looks_back else 0), rng.choice((0, 1, 3))
        for message in back[:early]:
            wire.give(message)
        match rng.choices(("welcome", "denied", "close", "reset", "silence"), (84, 4, 4, 4, 4))[0]:
            case "welcome" | "denied" as answer:
                wire.deliver(answer)
            case "close":
                wire.server_close(1008, "go away")
            case "reset":
                wire.reset()
        for message in back[early:]:
            wire.give(message)

    # ---- how a wire ends

    async def _serve(self, wire):
        rng = self.rng
        await asyncio.sleep(rng.expovariate(1 / 40))
        if not wire.is_open:
            return
        match rng.choices(("reset", "close", "silence", "burst", "keepalive"), (30, 30, 15, 20, 5))[0]:
            case "reset":
                wire.reset()
            case "keepalive":
                wire.keepalive_lost()
            case "silence":
                wire.is_silent, wire.is_joined = True, False
                wire.late.clear()
            case "close":
                self._close(wire)
            case "burst":
                self.emit(rng.randrange(1, 300))
                self._give_due(wire, by=float("inf"))
                self._close(wire)

    def _close(self, wire):
        wire.server_close(self.rng.choice(CODES), self.rng.choice(("", "restart", "é" * 20)))


def now():
    return asyncio.get_running_loop().time()


ROOM, ROOM_AGAIN = 3, 0.2
"""Messages that a tight wire takes in so many seconds."""
