from __future__ import annotations

import re

import pytest

from fastws.demo.histogram import LatencyHistogram
from fastws.demo.report import DemoReport, PhaseReport, render_report
from fastws.demo.terminal import ABSENT
from fastws.demo.verify import FeedCheck

SOURCE = [f"message {n}" for n in range(1_000)]


def phase(name="flat out", received=None, *, latency=None, error="", ended=True, seconds=0.5):
    check = FeedCheck(SOURCE)
    check.add(SOURCE if received is None else received)
    verdict = check.verdict(ended=ended)
    return PhaseReport(name, verdict, seconds, latency, {"level2": 900, "ticker": 100}, error)


def rendered(*phases, width=80, color=False, **more):
    return render_report(DemoReport("a feed", "wss · uvloop", phases, **more), width, color=color)


def test_all_well():
    latency = LatencyHistogram()
    latency.record_all([10_000] * 995 + [5_000_000] * 5)
    phases = [phase("paced 50x", latency=latency), phase("flat out", seconds=0.001)]
    text = rendered(*phases)
    assert DemoReport("", "", phases).passed
    assert "✓ nothing lost, nothing reordered" in text
    assert re.search(r"messages sent +1,000 +1,000\n", text)
    assert re.search(r"messages received +1,000 +1,000\n", text)
    assert re.search(r"hash +(\w{8}) equal +\1 equal\n", text)
    assert re.search(r"order +kept +kept\n", text)
    assert re.search(r"messages/s +2,000 +1,000,000\n", text)
    assert re.search(rf"latency p50 +10.0 µs +{ABSENT}\n", text)
    assert re.search(rf"latency p99.9 +5.\d\d ms +{ABSENT}\n", text)
    assert "level2 900 · ticker 100" in text
    assert "\x1b" not in text


def test_a_loss_is_named():
    text = rendered(phase(), phase("paced 50x", SOURCE[:7] + SOURCE[9:]))
    assert "nothing lost" not in text
    assert "✗ paced 50x: 2 of 1,000 messages lost\n" in text
    assert "first difference at message 7: the source's message 9 came in its place\n" in text
    assert "flat out:" not in text
    assert re.search(r"hash +\w{8} equal +differs\n", text)


def test_another_order_is_named():
    text = rendered(phase(received=[*SOURCE[:7], SOURCE[8], SOURCE[7], *SOURCE[9:]]))
    assert "1 reordered, repeated or changed" in text
    assert re.search(r"order +broken\n", text)


def test_a_failed_session_is_named_even_if_all_had_arrived():
    failed = phase(error="connection lost")
    assert not DemoReport("", "", [failed]).passed
    text = rendered(failed)
    assert "✗ flat out: connection lost\n" in text
    assert "nothing lost" not in text


def test_an_interruption_is_no_loss():
    part = phase(received=SOURCE[:100], ended=False)
    text = rendered(part, interrupted=True)
    assert not DemoReport("", "", [part], interrupted=True).passed
    assert "interrupted; nothing lost, nothing reordered up to there\n" in text
    assert "✗" not in text
    assert re.search(r"hash +\w{8} equal\n", text)


def test_an_interruption_hides_no_loss():
    text = rendered(phase(received=SOURCE[1:100], ended=False), interrupted=True)
    assert "first difference at message 0" in text
    assert "interrupted; what had arrived was not right\n" in text


def test_even_a_whole_session_is_not_passed_when_interrupted():
    assert not DemoReport("", "", [phase()], interrupted=True).passed


def test_nothing_played_is_not_passed():
    assert not DemoReport("", "", []).passed
    assert "✗ nothing was played" in rendered()
    assert "interrupted" in rendered(interrupted=True)


def test_a_phase_without_a_message_has_no_rate():
    text = rendered(phase(received=[], seconds=0.0))
    assert re.search(rf"messages/s +{ABSENT}\n", text)


def test_notes_are_shown():
    assert "the feed's clock steps back 3 times" in rendered(phase(), notes=["the feed's clock steps back 3 times"])


@pytest.mark.parametrize("color", [False, True])
@pytest.mark.parametrize("width", [40, 60, 80, 200])
def test_the_report_fits(width, color):
    bad = phase("paced 50x", SOURCE[:7] + SOURCE[9:], error="the peer said something rather long " * 4)
    text = rendered(phase(), bad, width=width, color=color, notes=["a note " * 30])
    for line in text.splitlines():
        assert len(re.sub(r"\x1b\[[0-9;]*m", "", line)) <= width
    assert ("\x1b[" in text) == color
