"""The phase with faults without sockets: runs made of lists, on a loop whose clock jumps."""

from __future__ import annotations

import asyncio
import contextlib
import io
from types import SimpleNamespace

import orjson
import pytest

from fastws.demo import market
from fastws.demo.faults import FaultPlan
from fastws.demo.feed import Event
from fastws.demo.orders import snapshot_table
from fastws.demo.play import Feed, SessionFailed
from fastws.demo.resilient import FaultPhase, without_uri
from fastws.demo.sessions import SentSession
from fastws.demo.stage import Stage
from fastws.demo.view import LiveView
from fastws.markers import Down, Outage
from virtual_time import run_virtual

PLAN = FaultPlan(2.0)
EVENTS = [Event(n / 100, "recv", f'{{"type":"ticker","n":{n}}}') for n in range(200)]
STAGE = Stage.of(Feed.of("a feed", EVENTS), PLAN, has_books=False)
CUTS = [range(30), range(40, 70), range(90, 120), range(130, 160), range(165, 200)]
"""Five sessions: as many as the plan's faults make."""


def message(generation, payload, at_ns=0):
    return SimpleNamespace(generation=generation, data=payload, received_mono_ns=at_ns)


def markers(generation):
    down = Down(generation=generation, last_received_ns=0, detected_ns=0, reason="error: wss://host/x: gone")
    outage = Outage(
        from_ns=0,
        detected_ns=0,
        to_ns=250_000_000,
        reason="gone",
        old_generation=generation,
        new_generation=generation + 1,
        attempts=1,
    )
    return [down, outage]


def items_of(stage, cuts):
    items = []
    for generation, cut in enumerate(cuts, 1):
        items += markers(generation - 1) if generation > 1 else []
        items += [message(generation, stage.feed.messages[index]) for index in cut]
    return items


class ListRun:
    """A run whose client gets these items, a millisecond apart."""

    def __init__(self, stage, cuts, items, table=None):
        self.state, self.connections, self.subscriptions = "ready", 5, (1, 1)
        self.position, self.started_ns = len(stage.feed.messages), 0
        self._stage, self._cuts, self._items = stage, cuts, items
        self._table, self.asked, self._answers = table, [], asyncio.Queue()

    async def items(self):
        for item in self._items:
            await asyncio.sleep(0.001)
            while not self._answers.empty():
                yield self._answers.get_nowait()
            if isinstance(item, BaseException):
                raise item
            yield item
        while True:
            yield await self._answers.get()

    async def ask_for_books(self, products):
        self.asked.append(list(products))
        for product in products:
            payload = self._table[product][-1][1]
            self._answers.put_nowait(message(99, payload.decode()))

    def spans(self):
        return self._cuts

    def sent(self):
        return [SentSession(cut, cut.start, list(self._stage.channels)) for cut in self._cuts]


def play(items, *, stage=STAGE, cuts=CUTS, table=None, run_of=ListRun):
    """Play a phase; return its report, what was written, and the run."""
    out = io.StringIO()
    runs = []

    async def main():
        loop = asyncio.get_running_loop()
        phase = FaultPhase(stage, "test", clock_ns=lambda: int(loop.time() * 1e9))

        @contextlib.asynccontextmanager
        async def open_run(tell):
            runs.append(run_of(stage, cuts, items, table))
            tell("wss://host/x: the dial was refused")
            yield runs[0]

        await phase.play(open_run, LiveView(out, plain=True, clock=loop.time))
        return phase.report()

    return run_virtual(main()), out.getvalue(), runs[0]


def test_a_run_is_proven():
    report, text, _ = play(items_of(STAGE, CUTS))
    assert report.problems == []
    assert report.passed
    assert [session.received for session in report.verdict.sessions] == [30, 30, 30, 30, 35]
    assert [record.missed for record in report.verdict.outages] == [10, 20, 10, 5]
    assert report.verdict.missed == 45
    assert text.count("DOWN") == text.count("OUTAGE") == 4
    assert "DOWN   error: gone" in text
    assert "OUTAGE 250 ms, 20 messages missed" in text
    assert "FAULT  the token expires: 4401" in text
    assert "the dial was refused" in text
    assert "wss://" not in text


def test_every_line_of_the_log_is_written_once():
    _, text, _ = play(items_of(STAGE, CUTS))
    log = [line for line in text.split("\n") if line.startswith("  ")]
    assert len(log) == len(set(log)) == 5 + 8 + 2


def test_a_message_that_is_lost_is_found():
    items = items_of(STAGE, CUTS)
    del items[10]
    report, _, _ = play(items)
    assert not report.passed
    assert "session 1: message 10 is not the one that was written" in report.problems


def test_an_outage_that_is_not_marked_is_found():
    items = [item for item in items_of(STAGE, CUTS) if not isinstance(item, Outage)]
    report, _, _ = play(items)
    assert not report.passed
    assert "5 sessions, but 0 outages marked between them" in report.problems


def test_a_client_that_gives_up_is_an_error():
    report, _, _ = play([*items_of(STAGE, CUTS[:1]), SessionFailed("given up")], cuts=CUTS[:1])
    assert (report.error, report.passed, report.complete) == ("given up", False, False)


def test_books_are_asked_for_after_an_outage_until_they_are_right():
    stage = Stage.of(Feed.of("market", market.simulate(5, 1_500)), PLAN, has_books=True)
    table, _ = snapshot_table(stage.feed.messages, stage.feed.offsets, 1.0)
    cuts = [range(300), range(400, 700), range(800, 900), range(1_000, 1_200), range(1_300, 1_500)]
    report, text, run = play(items_of(stage, cuts), stage=stage, cuts=cuts, table=table)
    assert report.problems == []
    assert report.books == (10, 10)
    assert run.asked
    assert "book resynced in" in text


def test_books_that_stay_wrong_fail():
    class Deaf(ListRun):
        async def ask_for_books(self, products):
            self.asked.append(products)

    stage = Stage.of(Feed.of("market", market.simulate(5, 1_500)), PLAN, has_books=True)
    cuts = [range(300), range(400, 700), range(800, 900), range(1_000, 1_200), range(1_300, 1_500)]
    report, _, run = play(items_of(stage, cuts), stage=stage, cuts=cuts, run_of=Deaf)
    assert not report.passed
    assert "something was missing" in report.error
    assert len(run.asked) > 1, "it asks again"


def test_an_exception_that_is_not_the_peers_is_not_hidden():
    with pytest.raises(ZeroDivisionError):
        play([*items_of(STAGE, CUTS[:1]), ZeroDivisionError()])


def test_channels_are_products_where_there_are_books_else_kinds():
    assert list(STAGE.channels) == ["ticker"]
    assert STAGE.truth is None
    stage = Stage.of(Feed.of("market", market.simulate(5, 500)), PLAN, has_books=True)
    assert len(stage.channels) == 10
    assert None in stage.tags
    assert stage.speed == pytest.approx(stage.feed.seconds / 2)
    index, payload = stage.snapshots[stage.channels[0]][-1]
    assert index <= 500
    assert orjson.loads(payload)["product_id"] == stage.channels[0]


def test_a_uri_is_left_out():
    assert without_uri("wss://host:1/x?y: it broke") == "it broke"
    assert without_uri("timeout: ws://[::1]:1/: nothing came") == "timeout: nothing came"
