"""The report's part about the phase with faults."""

from __future__ import annotations

import re

import pytest

from fastws.demo.fault_report import FaultReport, RivalReport, render, verdict_lines
from fastws.demo.histogram import LatencyHistogram
from fastws.demo.report import DemoReport, PhaseReport, render_report
from fastws.demo.sessions import OutageRecord, RunVerdict, SessionVerdict
from fastws.demo.terminal import ABSENT
from fastws.demo.verify import FeedCheck

OUTAGE = OutageRecord(1, "error: reset", 1.5, 1.9, 0.387, 1, 61, 0.043, 1, 1)
SESSIONS = [SessionVerdict(1_000, 998, "a reset"), SessionVerdict(500, 500, "")]
RIVAL = RivalReport("websockets 17.4", 1_400, 1_561, 3, (2, 10))


def report(problems=(), outages=(OUTAGE,), **more):
    latency = LatencyHistogram()
    latency.record_all([100_000] * 10)
    fields = {"books": (10, 10), "silent_gaps": 0, **more}
    return FaultReport("with faults", RunVerdict(SESSIONS, outages, 61, problems), 1_561, 12.0, latency, **fields)


def text_of(report, rival=None, width=80):
    return "\n".join(line.render(width, color=False) for line in render(report, rival, width))


def test_all_well():
    text = text_of(report())
    assert re.search(r"1 +1,000 +998 +2 +a reset", text)
    assert re.search(rf"2 +500 +500 +{ABSENT} +the end of the feed", text)
    assert "1.50 s  DOWN    1: error: reset" in text
    assert "OUTAGE  387 ms, 61 messages missed, book resynced in 43.0 ms" in text
    assert re.search(r"missed while away +61 of 1,561, and 2 in flight", text)
    assert re.search(r"outages marked +1 of 1, each once", text)
    assert re.search(r"books equal to the true ones +10 of 10", text)
    assert report().passed


@pytest.mark.parametrize(
    ("more", "problem"),
    [
        ({"problems": ["session 1: 2 of 40 messages lost"]}, "session 1: 2 of 40 messages lost"),
        ({"error": "given up"}, "given up"),
        ({"silent_gaps": 2}, "2 holes in what the venue wrote that no marker told of"),
        ({"jumps": 2}, "2 jumps in the venue's numbers that no marker told of"),
        ({"books": (8, 10)}, "2 of 10 order books are not the true ones"),
    ],
)
def test_what_is_wrong_is_said_and_fails(more, problem):
    failed = report(**more)
    assert not failed.passed
    assert [text for text, _ in verdict_lines(failed)] == [f"✗ with faults: {problem}"]


def test_a_run_that_was_cut_short_says_what_it_knows():
    down = OutageRecord(2, "silence", 3.0)
    cut = report(outages=(OUTAGE, down), complete=False, books=(0, 10))
    text = text_of(cut)
    assert "books" not in text.replace("book resynced", "")
    assert "missed while away" not in text
    assert text.count("OUTAGE") == 1
    assert text.count("DOWN") == 2
    assert not cut.passed
    assert cut.problems == []


def test_another_client_stands_beside():
    text = text_of(report(), RIVAL)
    assert re.search(r"silent gaps +0 +3", text)
    assert re.search(r"books equal to the true ones +10 of 10 +2 of 10", text)
    assert "websockets: not there" in text_of(report(), RivalReport("websockets", error="not there"))


@pytest.mark.parametrize("width", [40, 80, 120])
def test_it_fits(width):
    long = OutageRecord(1, "x" * 300, 1.5, 1.9, 0.387, 1, 10**9, 0.043, 1, 1)
    lines = text_of(report(outages=(long,)), RIVAL, width).split("\n")
    assert all(len(line) <= width for line in lines)


def test_the_whole_report_depends_on_it():
    check = FeedCheck(["a"])
    check.add(["a"])
    phases = [PhaseReport("flat out", check.verdict(), 1.0, None, {})]
    good = DemoReport("a feed", "wss", phases, faults=report(), rival=RIVAL)
    assert good.passed
    text = render_report(good)
    assert "✓ nothing lost, nothing reordered" in text
    assert "✓ 1 outages, each marked once, every subscription made again" in text
    bad = DemoReport("a feed", "wss", phases, faults=report(problems=["something"]))
    assert not bad.passed
    assert "✗ with faults: something" in render_report(bad)
