"""The third phase: a resilient client at a venue where things go wrong on schedule.

Nothing here opens a socket: the phase asks an `OpenRun` for its `Run`, takes items from that, and compares at the end.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections import deque
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final, Protocol

from fastws.demo.channels import decode
from fastws.demo.client_view import ClientSnapshot, LogLine
from fastws.demo.fault_report import FaultReport
from fastws.demo.histogram import LatencyHistogram
from fastws.demo.orders import ClientBooks
from fastws.demo.play import SessionFailed
from fastws.demo.sessions import Ledger, OutageRecord, SentSession, judge, silent_gaps
from fastws.demo.terminal import duration_text, seconds_text
from fastws.demo.view import DemoSnapshot, LiveView
from fastws.markers import Down, Outage

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence
    from contextlib import AbstractAsyncContextManager

    from fastws.demo.stage import Stage


class Run(Protocol):
    """A client at a venue that plays the feed."""

    @property
    def state(self) -> str:
        """The client's state, in a word; ``"ready"`` when it is."""

    @property
    def connections(self) -> int:
        """Connections made so far."""

    @property
    def subscriptions(self) -> tuple[int, int]:
        """Subscriptions confirmed, and all."""

    @property
    def position(self) -> int:
        """Messages of the feed that have been due."""

    @property
    def started_ns(self) -> int | None:
        """When the venue's clock was started: ``CLOCK_MONOTONIC``, nanoseconds."""

    def items(self) -> AsyncIterator[Any]:
        """Yield messages (``data``, ``generation``, ``received_mono_ns``) and markers.

        Raises:
            SessionFailed: the client gave up.
        """

    async def ask_for_books(self, products: Sequence[str]) -> None:
        """Ask the venue for snapshots; their answers come among the items."""

    def spans(self) -> list[range]:
        """The parts of the feed that were written, one for each session that got ready; empty where nothing was."""

    def sent(self) -> list[SentSession]:
        """The server's side of each session that got ready."""


class OpenRun(Protocol):
    """Starts a venue and a client."""

    def __call__(self, tell: Callable[[str], None]) -> AbstractAsyncContextManager[Run]:
        """Open the run; ``tell`` takes what happens to the client, in words. Leaving the context ends both."""


class FaultPhase:
    """One pass over the feed, with faults, and what is known about it so far.

    Args:
        stage: what the venue plays, and what goes wrong.
        setup: how, in words.
        clock_ns: ``CLOCK_MONOTONIC``; for tests.
    """

    name: Final = "with faults"

    def __init__(self, stage: Stage, setup: str, clock_ns: Callable[[], int] = time.monotonic_ns) -> None:
        self._feed: Final = stage.feed
        self._plan: Final = stage.plan
        self._channels: Final = stage.channels
        self._truth: Final = stage.truth
        self._books: Final = None if stage.truth is None else ClientBooks()
        self._setup: Final = setup
        self._clock_ns: Final = clock_ns
        self._due_ns: Final = [int(offset / stage.speed * 1e9) for offset in stage.feed.offsets]
        self._ledger: Final = Ledger()
        self._latency: Final = LatencyHistogram()
        self._log: Final[list[LogLine | OutageRecord]] = []
        self._told = 0  # lines of the log that were written where there is no live view
        self._labels: Final = deque(stage.plan.labels)
        self._run: Run | None = None
        self._started = self._last = clock_ns()
        self._samples: Final[deque[tuple[int, int, int]]] = deque([(self._started, 0, 0)], maxlen=_SAMPLES + 1)
        self._bytes = 0
        self._cursor = 0  # where in the feed the last message was found
        self._generation = 0
        self._lag: int | None = None
        self._ask_at: float | None = None
        self._ready_ns = 0
        self._sent: list[SentSession] = []
        self._spans: Sequence[range] = ()
        self._error = ""
        self._ended = False

    async def play(self, open_run: OpenRun, view: LiveView) -> None:
        """Play the feed to its end, showing it in ``view``. How it ended is in `report`."""
        self._started = self._last = self._clock_ns()
        try:
            async with open_run(self._tell) as run:
                self._run = run
                count = len(self._channels)
                self._log.append(LogLine(self._now(), "good", f"authenticated, {count} subscriptions confirmed"))
                try:
                    await self._receive_and_watch(run, view)
                finally:
                    self._sent, self._spans = run.sent(), run.spans()
        except SessionFailed as failure:
            self._error = str(failure)
        self._ended = True
        self._write_log(view, everything=True)
        view.show(self.snapshot())

    async def _receive_and_watch(self, run: Run, view: LiveView) -> None:
        receiving = asyncio.get_running_loop().create_task(self._receive(run))
        try:
            await self._watch(run, view, receiving)
        finally:
            receiving.cancel()
            await asyncio.wait({receiving})
        if not receiving.cancelled():
            receiving.result()

    # ---- what comes ------------------------------------------------------------------------------------------------

    async def _receive(self, run: Run) -> None:
        async for item in run.items():
            if isinstance(item, Down):
                self._down(item)
            elif isinstance(item, Outage):
                self._outage(item)
            else:
                self._message(item.generation, item.data, item.received_mono_ns)

    def _message(self, generation: int, payload: str | bytes, received_ns: int) -> None:
        books = self._books
        if books is not None:
            decoded = decode(payload)
            if isinstance(decoded, dict) and decoded.get("type") == "book":
                self._resynced(books, decoded)
                return
            books.put(decoded)
        self._ledger.message(generation, payload)
        self._bytes += len(payload)
        self._last = received_ns
        if generation != self._generation:
            self._generation = generation
            spans = self._run.spans() if self._run is not None else []
            if len(spans) >= generation and spans[generation - 1]:
                self._cursor = spans[generation - 1].start
        self._find(payload, received_ns)

    def _find(self, payload: str | bytes, received_ns: int) -> None:
        """Find the message in the feed, and with that how late it is."""
        messages = self._feed.messages
        for index in range(self._cursor, min(self._cursor + _SEARCH, len(messages))):
            if messages[index] == payload:
                self._cursor = index + 1
                started = self._run.started_ns if self._run is not None else None
                if started is not None:
                    self._lag = max(received_ns - started - self._due_ns[index], 0)
                    self._latency.record(self._lag)
                return

    def _down(self, marker: Down) -> None:
        self._log.append(self._ledger.down(marker.generation, without_uri(str(marker.reason)), self._now()))
        if self._books is not None:
            self._books.outage()
        self._ask_at = None

    def _outage(self, marker: Outage) -> None:
        seconds = (marker.to_ns - (marker.from_ns or marker.detected_ns)) / 1e9
        old, new = marker.old_generation, marker.new_generation
        if self._ledger.outage(old, new, self._now(), seconds, marker.attempts) is None:
            self._tell(f"an outage is marked that nobody had: {old} to {new}")
        self._ready_ns = self._clock_ns()
        if self._books is not None and len(self._books):
            self._ask_at = self._now() + _SPACING * self._plan.snapshot_every

    def _resynced(self, books: ClientBooks, snapshot: dict[str, Any]) -> None:
        books[snapshot["product_id"]].resync(snapshot)
        outages = self._ledger.outages
        if not books.stale and outages and outages[-1].resync_seconds is None and outages[-1].outages:
            outages[-1].resync_seconds = (self._clock_ns() - self._ready_ns) / 1e9

    # ---- what is looked at now and then ----------------------------------------------------------------------------

    async def _watch(self, run: Run, view: LiveView, receiving: asyncio.Task[None]) -> None:
        """Sample, redraw, ask for books; return when everything has arrived, or the client is over."""
        total = len(self._feed.messages)
        late: int | None = None
        sampled = 0.0
        while not receiving.done():
            await asyncio.wait({receiving}, timeout=_LOOK_EVERY)
            now = self._now()
            if now - sampled >= _SAMPLE_EVERY:
                sampled = now
                self._samples.append((self._clock_ns(), self._ledger.count, self._bytes))
                self._look_at_outages(run.spans())
            self._tell_of_faults(run)
            await self._ask(run, now)
            self._write_log(view)
            if view.due():
                view.show(self.snapshot())
            if run.position < total:
                continue
            late = self._clock_ns() if late is None else late
            if self._is_complete(run):
                return
            if self._clock_ns() - late > _PATIENCE_NS:
                raise SessionFailed(f"{seconds_text(_PATIENCE_NS / 1e9)} after the feed's end something was missing")

    def _is_complete(self, run: Run) -> bool:
        outages = self._ledger.outages
        if self._labels or len(outages) < self._plan.outages or not all(record.outages for record in outages):
            return False
        spans = run.spans()
        if run.state != "ready" or not spans or len(spans) != max(len(self._ledger.received), 1):
            return False
        if self._books is not None and self._books.stale:
            return False
        last, total = run.sent()[-1], len(self._feed.messages)
        if last.ready_from < total and spans[-1].stop < total:
            return False  # what was due last has not been written yet
        return len(last.indexes) == (len(self._ledger.received[-1]) if self._ledger.received else 0)

    async def _ask(self, run: Run, now: float) -> None:
        if self._books is None or self._ask_at is None or now < self._ask_at:
            return
        stale = self._books.stale
        self._ask_at = now + _SPACING * self._plan.snapshot_every if stale else None
        if stale and run.state == "ready":
            await run.ask_for_books(stale)

    def _look_at_outages(self, spans: Sequence[range]) -> None:
        """Find out what each outage cost, as soon as the next session has begun."""
        self._spans = spans
        for record in self._ledger.outages:
            if record.missed is None and record.outages and len(self._spans) > record.generation:
                old, new = self._spans[record.generation - 1], self._spans[record.generation]
                if new:
                    arrived = old.stop if not old else old.start + len(self._ledger.received[record.generation - 1])
                    record.missed = max(new.start - min(arrived, old.stop), 0)

    def _tell_of_faults(self, run: Run) -> None:
        started = run.started_ns
        while self._labels and started is not None and self._clock_ns() - started >= self._labels[0][0] * 1e9:
            at, text = self._labels.popleft()
            self._log.append(LogLine(at + (started - self._started) / 1e9, "fault", text))

    def _tell(self, text: str) -> None:
        self._log.append(LogLine(self._now(), "event", without_uri(text)))

    def _now(self) -> float:
        return (self._clock_ns() - self._started) / 1e9

    # ---- what is shown ---------------------------------------------------------------------------------------------

    def _lines(self) -> list[LogLine]:
        lines: list[LogLine] = []
        for entry in self._log:
            if isinstance(entry, LogLine):
                lines.append(entry)
                continue
            lines.append(LogLine(entry.at, "down", entry.reason))
            if entry.outages:
                lines.append(LogLine(entry.until or entry.at, "outage", self._words(entry)))
        return sorted(lines, key=lambda line: line.at)

    def _words(self, record: OutageRecord) -> str:
        parts = [duration_text((record.seconds or 0) * 1e9)]
        if record.missed is not None:
            parts.append(f"{record.missed:,} messages missed")
        if record.resync_seconds is not None:
            parts.append(f"book resynced in {duration_text(record.resync_seconds * 1e9)}")
        return ", ".join(parts)

    def _write_log(self, view: LiveView, *, everything: bool = False) -> None:
        """Write new lines of the log, once nothing will change in them any more."""
        if view.live:
            return
        outages = self._ledger.outages
        is_open = bool(outages) and (
            outages[-1].missed is None or (self._books is not None and outages[-1].resync_seconds is None)
        )
        lines = self._lines()
        settled = lines if everything or not is_open else [line for line in lines if line.at <= outages[-1].at]
        for line in settled[self._told :]:
            view.note(line)
        self._told = max(self._told, len(settled))

    def snapshot(self) -> DemoSnapshot:
        """Return what the live view shows."""
        run = self._run
        now, count = self._clock_ns(), self._ledger.count
        samples = list(self._samples)
        since = samples[max(len(samples) - _NOW, 0)]
        latency = self._latency.quantiles((0.5, 0.99, 0.999)) if self._latency.count else None
        if run is not None and not self._ended:
            self._spans = run.spans()
        spans = [
            range(span.start, min(span.stop, span.start + len(got))) if span else span
            for span, got in zip(self._spans, self._ledger.received, strict=False)
        ]
        outages = self._ledger.outages
        books = self._books
        client = ClientSnapshot(
            state="done" if self._ended and not self._error else "connecting" if run is None else run.state,
            generation=len(self._ledger.received),
            connection=0 if run is None else run.connections,
            subscriptions=(0, len(self._channels)) if run is None else run.subscriptions,
            outages=len(outages),
            missed=sum(record.missed or 0 for record in outages),
            lag=self._lag,
            silent=max(now - self._last, 0) / 1e9,
            books=None if books is None else (len(books) - len(books.stale), len(books)),
            spans=spans,
            position=0 if run is None else run.position,
            log=self._lines(),
            quotes=() if books is None else books.quotes(),
        )
        elapsed = max(now - self._started, 0) / 1e9
        return DemoSnapshot(
            title=self._feed.title,
            setup=self._setup,
            phase=self.name,
            received=count,
            expected=len(self._feed.messages),
            bytes=self._bytes,
            elapsed=elapsed,
            remaining=None if self._ended else max(self._plan.seconds - elapsed, 0.0),
            rate=(count - since[1]) / max(now - since[0], 1) * 1e9,
            byte_rate=(self._bytes - since[2]) / max(now - since[0], 1) * 1e9,
            rates=[(b[1] - a[1]) / (b[0] - a[0]) * 1e9 for a, b in pairwise(samples) if b[0] > a[0]],
            latency=(latency[0], latency[1], latency[2]) if latency else None,
            state=self._error or ("done" if self._ended else "playing"),
            client=client,
        )

    def report(self) -> FaultReport:
        """Judge what has arrived until now; a run that was cut short need not have had every outage."""
        self._look_at_outages(self._spans)
        complete = self._ended and not self._error
        outages = self._plan.outages if complete else None
        sent = list(self._sent)
        if sent and not complete:
            sent[-1] = replace(
                sent[-1], may_lack_last=True
            )  # cut short by us: the last messages were still on their way
        return FaultReport(
            name=self.name,
            verdict=judge(self._feed.messages, self._ledger, sent, self._channels, outages),
            total=len(self._feed.messages),
            seconds=max(self._last - self._started, 0) / 1e9,
            latency=self._latency,
            books=None
            if self._books is None or self._truth is None
            else (self._books.equal(self._truth), len(self._truth)),
            # After a run that was cut short nobody knows what would have been marked.
            silent_gaps=silent_gaps(len(self._feed.messages), sent, self._ledger.marked) if complete else 0,
            jumps=0 if self._books is None else self._books.gaps,
            error=self._error,
            complete=complete,
        )


def without_uri(text: str) -> str:
    """Leave out the URI that stands before what happened there: here it is always the same."""
    return _URI.sub("", text)


_URI: Final = re.compile(r"wss?://\S+: ")
_LOOK_EVERY: Final = 0.02
_SAMPLE_EVERY: Final = 0.1
_SAMPLES: Final = 60
_NOW: Final = 6
_SEARCH: Final = 5_000
_SPACING: Final = 1.3  # a snapshot that is asked for this much later than the venue makes them is new enough
_PATIENCE_NS: Final = 10_000_000_000
