"""Playing a feed: receive every message of a session, decode it, count it, compare it, and show how it goes.

Nothing here opens a socket: a phase asks an `OpenSession` for its session, and takes batches from it.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter, deque
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Final, Protocol

from fastws.demo.channels import channel_of, decode
from fastws.demo.feed import Event, received, steps_back
from fastws.demo.histogram import LatencyHistogram
from fastws.demo.report import PhaseReport
from fastws.demo.terminal import TIMES
from fastws.demo.verify import FeedCheck
from fastws.demo.view import DemoSnapshot, LiveView

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence
    from contextlib import AbstractAsyncContextManager

STALL_SECONDS: Final = 20.0
"""A phase ends as failed when no message came for this long (beyond the feed's own longest pause)."""


class SessionFailed(Exception):
    """A session could not be opened, or ended other than it should; the message says how."""


class Session(Protocol):
    """A connection on which the peer plays the feed, from its first message."""

    def batches(self) -> AsyncIterator[tuple[int, list[str | bytes]]]:
        """Yield what arrives: when it was read (``CLOCK_MONOTONIC``, nanoseconds) and the messages in order.

        Ends when the peer closes normally.

        Raises:
            SessionFailed: the session ended in any other way.
        """

    def started_ns(self) -> int | None:
        """Return when message 0 was due (``CLOCK_MONOTONIC``, nanoseconds); None if the peer does not say."""

    def queued(self) -> int | None:
        """Return how many messages are received but not taken yet; None when unknown."""


class OpenSession(Protocol):
    """Connects and makes the peer play at ``speed`` times real time; 0 is as fast as it can."""

    def __call__(self, speed: float) -> AbstractAsyncContextManager[Session]:
        """Open the session; leaving the context closes it."""


@dataclass(frozen=True, slots=True)
class Feed:
    """A feed as the demo plays it.

    Attributes:
        title: what it is, in a few words.
        messages: the payloads that have to arrive.
        offsets: seconds from the first message to each; where recorded time steps back, the latest so far.
        notes: remarks for the report.
    """

    title: str
    messages: Sequence[str | bytes]
    offsets: Sequence[float]
    notes: Sequence[str] = ()

    @classmethod
    def of(cls, title: str, events: Sequence[Event]) -> Feed:
        """Take the received messages of ``events``."""
        times = [event.t for event in events if event.direction == "recv"]
        offsets, latest = [], 0.0
        for t in times:
            latest = max(latest, t - times[0])
            offsets.append(latest)
        back = steps_back(events)
        notes = (f"the feed's clock steps back {back:,} times; the order is the file's",) if back else ()
        return cls(title, received(events), offsets, notes)

    @property
    def seconds(self) -> float:
        """From the first message to the last."""
        return self.offsets[-1] if self.offsets else 0.0

    @property
    def longest_pause(self) -> float:
        """The longest time without a message, in seconds."""
        return max((later - earlier for earlier, later in pairwise(self.offsets)), default=0.0)


class Phase:
    """One pass over the feed at one speed, and what is known about it so far."""

    def __init__(self, feed: Feed, speed: float, setup: str, clock_ns: Callable[[], int] = time.monotonic_ns) -> None:
        self.name: Final = f"paced {speed:g}{TIMES}" if speed else "flat out"
        self._feed: Final = feed
        self._speed: Final = speed
        self._setup: Final = setup
        self._clock_ns: Final = clock_ns
        self._check: Final = FeedCheck(feed.messages)
        self._channels: Final[Counter[str]] = Counter()
        self._latency: Final = LatencyHistogram() if speed else None
        self._due_ns: Final = [int(offset / speed * 1e9) for offset in feed.offsets] if speed else []
        self._first_due: int | None = None
        self._started = self._last = clock_ns()
        self._batch = 0
        self._queued: int | None = None
        self._samples: Final[deque[tuple[int, int, int]]] = deque([(self._started, 0, 0)], maxlen=_SAMPLES + 1)
        self._error = ""
        self._ended = False
        self._state = "connecting"

    async def play(self, open_session: OpenSession, view: LiveView, stall: float = STALL_SECONDS) -> None:
        """Receive the whole session, showing it in ``view``. How it ended is in `report`.

        A session that fails, or stalls for ``stall`` seconds, is an error in the report, not an exception.
        """
        self._started = self._last = self._clock_ns()
        patience = stall + (self._feed.longest_pause / self._speed if self._speed else 0.0)
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(patience) as deadline:
                watcher = loop.create_task(self._watch(view, deadline, patience))
                try:
                    async with open_session(self._speed) as session:
                        await self._receive(session)
                finally:
                    watcher.cancel()
                    await asyncio.wait({watcher})
                if not watcher.cancelled():
                    watcher.result()  # the view could not be drawn: say so
        except TimeoutError:
            self._error = f"no message for {patience:.0f} s"
        except SessionFailed as failure:
            self._error = str(failure)
        self._ended = True
        self._state = self._error or "done"
        view.show(self.snapshot())

    async def _receive(self, session: Session) -> None:
        self._state = "playing"
        self._started = self._last = self._clock_ns()
        self._samples.append((self._started, 0, 0))
        check, channels = self._check, self._channels
        async for received_ns, messages in session.batches():
            if self._latency is not None:
                self._record_latency(session, self._latency, received_ns, len(messages))
            check.add(messages)
            channels.update(map(channel_of, map(decode, messages)))
            self._batch = len(messages)
            self._queued = session.queued()
            self._last = self._clock_ns()

    def _record_latency(self, session: Session, latency: LatencyHistogram, received_ns: int, count: int) -> None:
        if self._first_due is None:
            started = session.started_ns()
            self._first_due = received_ns if started is None else started
        first_due, position = self._first_due, self._check.received
        for due in self._due_ns[position : position + count]:
            latency.record(received_ns - first_due - due)

    async def _watch(self, view: LiveView, deadline: asyncio.Timeout, patience: float) -> None:
        """Take a sample and redraw a few times a second; move the deadline on while messages come."""
        loop = asyncio.get_running_loop()
        seen = 0
        while True:
            await asyncio.sleep(_SAMPLE_EVERY)
            self._samples.append((self._clock_ns(), self._check.received, self._check.size))
            if self._check.received != seen:
                seen = self._check.received
                deadline.reschedule(loop.time() + patience)
            if view.due():
                view.show(self.snapshot())

    def snapshot(self) -> DemoSnapshot:
        """Return what the live view shows."""
        now = self._clock_ns() if self._state == "playing" else self._last
        received_now, total = self._check.received, len(self._feed.messages)
        samples = [*self._samples, (now, received_now, self._check.size)]
        rates = [(b[1] - a[1]) / (b[0] - a[0]) * 1e9 for a, b in pairwise(samples[:-1]) if b[0] > a[0]]
        since = samples[max(len(samples) - _NOW, 0)]
        if self._state != "playing":
            since = (self._started, 0, 0)  # at the end, the rate of the whole phase
        span = max(now - since[0], 1) / 1e9
        elapsed = max(now - self._started, 0) / 1e9
        if self._speed:
            remaining: float | None = max(self._feed.seconds / self._speed - elapsed, 0.0)
        else:
            remaining = (total - received_now) * elapsed / received_now if received_now else None
        latency = self._latency.quantiles((0.5, 0.99, 0.999)) if self._latency and self._latency.count else None
        return DemoSnapshot(
            title=self._feed.title,
            setup=self._setup,
            phase=self.name,
            received=received_now,
            expected=total,
            bytes=self._check.size,
            elapsed=elapsed,
            remaining=remaining if received_now < total else None,
            rate=(received_now - since[1]) / span,
            byte_rate=(self._check.size - since[2]) / span,
            rates=rates,
            latency=(latency[0], latency[1], latency[2]) if latency else None,
            channels=self._channels,
            queue=self._queued,
            batch=self._batch,
            state=self._state,
        )

    def report(self) -> PhaseReport:
        """Sum up what has arrived until now; what is missing counts as lost only if the phase came to its end."""
        return PhaseReport(
            name=self.name,
            verdict=self._check.verdict(ended=self._ended),
            seconds=(self._last - self._started) / 1e9,
            latency=self._latency,
            channels=dict(self._channels),
            error=self._error,
        )


_SAMPLE_EVERY: Final = 0.1
_SAMPLES: Final = 60
_NOW: Final = 6  # samples that "now" is the mean of: half a second
