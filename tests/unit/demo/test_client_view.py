"""What the live view shows of a client."""

from __future__ import annotations

import io

import pytest

from fastws.demo import client_view
from fastws.demo.client_view import ClientSnapshot, LogLine
from fastws.demo.view import DemoSnapshot, LiveView, frame, plain_line

LOG = [
    LogLine(1.5, "fault", "the venue resets the connection"),
    LogLine(1.5, "down", "error: connection reset"),
    LogLine(1.9, "outage", "387 ms, 61 messages missed, book resynced in 43.0 ms"),
]
CLIENT = ClientSnapshot(
    state="ready",
    generation=2,
    connection=3,
    subscriptions=(10, 10),
    outages=1,
    missed=61,
    lag=76_800,
    books=(10, 10),
    spans=[range(30), range(50, 70)],
    position=70,
    log=LOG,
    quotes=[(f"PRODUCT-{n}", "1.0", "2.0", n != 3) for n in range(10)],
)
ODD = ClientSnapshot(
    state="x" * 99,
    generation=10**9,
    connection=10**9,
    subscriptions=(0, 10**9),
    outages=10**9,
    missed=10**12,
    lag=10**15,
    spans=[range(0)],
    position=10**9,
    log=[LogLine(10**6, "event", "\x1b[31m 取引" * 99)] * 99,
    quotes=[("p" * 20, "1" * 12, "2" * 12, False)] * 50,
)


def shown(client, width=80, height=24, **more):
    snapshot = DemoSnapshot(title="a feed", setup="wss", phase="with faults", expected=100, client=client, **more)
    return frame(snapshot, width, height, color=False)


def test_the_timeline_shows_what_arrived_what_was_missed_and_what_is_to_come():
    line = client_view.timeline(CLIENT, 100, 20)
    assert line.render(99, color=False) == "━━━━━━╌╌╌╌━━━━──────"
    assert line.width == 20
    assert client_view.timeline(ClientSnapshot(), 1, 5).render(9, color=False) == "─────"


def test_a_frame_says_how_the_client_is_and_what_happened():
    lines = shown(CLIENT)
    text = "\n".join(lines)
    for words in ("● READY", "generation 2", "connection 3", "10/10 subscribed", "10/10 books", "76.8 µs", "61"):
        assert words in text
    assert "  1.90 s  OUTAGE 387 ms, 61 messages missed, book resynced in 43.0 ms" in text
    assert " 70%" in text


def test_without_a_session_the_time_without_data_is_shown():
    away = ClientSnapshot(state="reconnecting", generation=2, silent=0.42, subscriptions=(0, 10))
    text = "\n".join(shown(away))
    assert "○ RECONNECTING" in text
    assert "no data for" in text
    assert "0.42 s" in text
    silent = ClientSnapshot(state="ready", generation=2, silent=0.5, lag=100)
    assert "no data for" in "\n".join(shown(silent))


def test_books_are_shown_where_there_is_room():
    assert "PRODUCT-3" not in "\n".join(shown(CLIENT))
    text = "\n".join(shown(CLIENT, 112, 40))
    assert "○ PRODUCT-3" in text
    assert text.count("● PRODUCT-") == 9
    assert text.count("stale") == 1


@pytest.mark.parametrize("size", [(1, 1), (20, 5), (40, 12), (80, 24), (120, 40), (300, 100)])
@pytest.mark.parametrize("client", [CLIENT, ODD, ClientSnapshot()], ids=["busy", "odd", "new"])
def test_a_frame_fits(client, size):
    lines = shown(client, *size, received=50, rates=[1.0] * 60, latency=(1, 2, 3))
    assert len(lines) <= size[1]
    assert all(len(line) <= size[0] for line in lines)


def test_the_last_lines_of_the_log_are_shown():
    log = [LogLine(n, "event", f"line {n}") for n in range(50)]
    lines = [line.render(80, color=False) for line in client_view.log_lines(log, 80, 3)]
    assert [line.split()[-1] for line in lines] == ["47", "48", "49"]
    assert client_view.log_lines(log, 80, 0) == []
    assert client_view.log_lines(log, 80, -1) == []


def test_a_plain_line_says_the_same():
    line = plain_line(DemoSnapshot(phase="with faults", received=50, expected=100, client=CLIENT))
    assert "ready, generation 2, 1 outages, 10/10 books in sync" in line


def test_the_log_is_written_where_there_is_no_live_view():

    out = io.StringIO()
    LiveView(out, plain=True).note(LOG[1])
    assert out.getvalue() == "    1.50 s  DOWN   error: connection reset\n"
