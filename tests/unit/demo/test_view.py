from __future__ import annotations

import io
import logging
import re

import pytest

from fastws.demo import terminal
from fastws.demo.terminal import Line
from fastws.demo.view import DemoSnapshot, LiveView, frame, plain_line

ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
BUSY = DemoSnapshot(
    title="simulated market, seed 7",
    setup="wss · uvloop · CPython 3.13.0",
    phase="paced 50x",
    received=37_885,
    expected=60_000,
    bytes=6_200_000,
    elapsed=3.51,
    remaining=2.15,
    rate=10_708.4,
    byte_rate=1_340_000.0,
    rates=[float(n % 17) for n in range(60)],
    latency=(5_920, 285_000, 1_810_000),
    channels={"level2": 37_207, "matches": 275, "ticker": 275, "heartbeat": 88, "status": 36, "subscriptions": 4},
    batch=12,
    state="playing",
)
ODD = DemoSnapshot(
    title="t" * 300,
    setup="s" * 300,
    phase="a phase with a long name",
    received=2_000_000_000,
    expected=1_999_999_999,
    rate=1e9,
    byte_rate=1e12,
    latency=(0, 10**12, 10**15),
    channels={f"channel {n} \x1b[31m 取引": 10**n for n in range(12)} | {"c" * 300: 0},
    queue=10**9,
    state="x" * 300,
)


class Terminal(io.StringIO):
    encoding = "utf-8"

    def __init__(self, columns=80, rows=24, tty=True):
        super().__init__()
        self.size, self.tty = (columns, rows), tty

    def isatty(self):
        return self.tty


@pytest.fixture
def sized(monkeypatch):
    monkeypatch.setattr(terminal, "size_of", lambda stream: stream.size)


@pytest.mark.parametrize("color", [False, True])
@pytest.mark.parametrize("snapshot", [BUSY, ODD, DemoSnapshot()], ids=["busy", "odd", "empty"])
@pytest.mark.parametrize("width", [1, 5, 20, 40, 59, 80, 112, 119, 300])
@pytest.mark.parametrize("height", [1, 3, 8, 15, 24, 40, 100])
def test_a_frame_fits_its_terminal(snapshot, width, height, color):
    lines = frame(snapshot, width, height, color=color)
    assert len(lines) <= height
    shown = [ESCAPES.sub("", line) for line in lines]
    assert all(len(line) <= width for line in shown)
    assert not any("\x1b" in line or "\n" in line for line in shown)
    if not color:
        assert shown == lines


def test_a_frame_says_everything():
    text = "\n".join(frame(BUSY, 80, 24, color=False))
    for part in ("fastws demo", "seed 7", "wss", "paced 50x", "63%", "37,885 / 60,000", "10,708", "1.34", "5.92 µs"):
        assert part in text
    for part in ("285 µs", "1.81 ms", "level2", "98.2%", "3.51 s elapsed", "2.15 s to go", "batch 12", "playing"):
        assert part in text


def test_every_style_is_reset():
    for line in frame(BUSY, 80, 24, color=True):
        assert len(re.findall(r"\x1b\[0m", line)) == len(ESCAPES.findall(line)) / 2


def test_a_low_terminal_sums_up_the_channels_it_cannot_show():
    text = "\n".join(frame(BUSY, 80, 12, color=False))
    assert "level2" in text
    assert re.search(r"and \d more", text)
    assert "subscriptions" not in text


def test_no_due_times_no_latency():
    lines = frame(DemoSnapshot(latency=None), 80, 24, color=False)
    assert sum(line.count(terminal.ABSENT) for line in lines) == 3


def test_a_known_queue_is_shown():
    assert "queue 7" in "\n".join(frame(DemoSnapshot(queue=7), 80, 24, color=False))


def test_channel_names_cannot_draw():
    text = "\n".join(frame(ODD, 80, 40, color=False))
    assert "\x1b" not in text
    assert "取" not in text


def test_a_finished_phase_is_all_done():
    done = DemoSnapshot(phase="flat out", received=10, expected=10)
    line = next(line for line in frame(done, 80, 24, color=False) if "flat out" in line)
    assert "100%" in line
    assert "─" not in line


def test_a_plain_line_is_one_line():
    assert plain_line(BUSY) == (
        "paced 50x: 37,885 of 60,000 (63%) · 10,708 msg/s · 1.34 MB/s · p50 5.92 µs, p99 285 µs, p99.9 1.81 ms"
    )
    assert plain_line(DemoSnapshot(phase="x")) == "x: 0 of 0 · 0 msg/s · 0.00 MB/s"


def test_a_terminal_gets_its_cursor_back(sized):
    out = Terminal()
    with pytest.raises(KeyboardInterrupt), LiveView(out, environ={}) as view:
        view.show(BUSY)
        assert "\x1b[?25l" in out.getvalue()
        raise KeyboardInterrupt
    text = out.getvalue()
    assert text.startswith("\x1b[?1049h\x1b[?25l")
    assert text.endswith("\x1b[?25h\x1b[?1049l")


def test_what_is_logged_meanwhile_is_not_written_over_the_frame(sized, capsys, caplog):
    out, log = Terminal(), logging.getLogger("fastws.client")
    with LiveView(out, environ={}) as view:
        view.show(BUSY)
        log.warning("the dial was refused")  # the view says so itself
        log.error("the client failed")
        assert caplog.records == []
        assert capsys.readouterr().err == ""
    assert capsys.readouterr().err == "the client failed\n"
    log.warning("afterwards")
    assert [record.message for record in caplog.records] == ["afterwards"]


def test_beside_plain_lines_it_is_written_as_always(caplog):
    with LiveView(Terminal(), plain=True, environ={}):
        logging.getLogger("fastws.client").warning("the dial was refused")
        assert [record.message for record in caplog.records] == ["the dial was refused"]


def test_a_frame_is_drawn_in_place(sized):
    out = Terminal(80, 24)
    with LiveView(out, environ={}) as view:
        view.show(BUSY)
        out.truncate(0)
        out.seek(0)
        view.show(BUSY)
        text = out.getvalue()
    assert "\x1b[2J" not in text  # nothing is blanked first: no flicker
    assert text.index("\x1b[H") < text.index("fastws demo")
    assert text.endswith("\x1b[K\x1b[J\x1b[?2026l")
    body = ESCAPES.sub("", text).split("\r\n")
    assert max(map(len, body)) <= 79  # the last column may wrap
    assert len(body) <= 24


def test_a_resized_terminal_is_cleared_once(sized):
    out = Terminal(80, 24)
    with LiveView(out, environ={}) as view:
        view.show(BUSY)
        out.size = (60, 15)
        view.show(BUSY)
        view.show(BUSY)
    text = out.getvalue()
    assert text.count("\x1b[2J") == 2
    narrow = ESCAPES.sub("", text[text.rindex("\x1b[H") :]).split("\r\n")
    assert max(map(len, narrow)) <= 59


def test_no_color_is_honoured(sized):
    out = Terminal()
    with LiveView(out, environ={"NO_COLOR": "1"}) as view:
        view.show(BUSY)
    assert not re.search(r"\x1b\[(0|1|2|3\d)(;3\d)?m(?!\x1b\[\?25h)", out.getvalue())
    assert "fastws demo" in out.getvalue()


@pytest.mark.parametrize(
    ("tty", "plain", "environ"), [(False, False, {}), (True, True, {}), (True, False, {"TERM": "dumb"})]
)
def test_without_a_terminal_there_are_plain_lines(tty, plain, environ):
    out = Terminal(tty=tty)
    with LiveView(out, plain=plain, environ=environ) as view:
        assert not view.live
        view.show(BUSY)
        view.show(BUSY)  # nothing new to say
    assert out.getvalue() == plain_line(BUSY) + "\n"


@pytest.mark.parametrize(("tty", "interval"), [(True, 0.1), (False, 1.0)])
def test_the_next_frame_is_due_in_time(sized, tty, interval):
    now = [5.0]
    view = LiveView(Terminal(tty=tty), clock=lambda: now[0], environ={})
    assert view.interval == interval
    assert view.due()
    view.show(BUSY)
    assert not view.due()
    now[0] += interval * 0.9
    assert not view.due()
    now[0] += interval * 0.2
    assert view.due()


def test_a_terminal_without_our_symbols_gets_ascii(sized):
    out = Terminal()
    out.encoding = "ascii"
    with LiveView(out, environ={}) as view:
        view.show(BUSY)
    assert out.getvalue().isascii()
    assert "5.92 us" in out.getvalue()


# The parts.


@pytest.mark.parametrize(
    ("share", "columns", "drawn"),
    [(0, 4, ""), (1, 4, "████"), (0.5, 4, "██"), (0.5, 1, "▌"), (1e-9, 4, "▏"), (2, 3, "███"), (-1, 3, ""), (1, 0, "")],
)
def test_bars(share, columns, drawn):
    assert terminal.bar(share, columns) == drawn


def test_sparklines():
    assert terminal.sparkline([0, 1, 2, 3, 4, 5, 6, 7], 8) == "▁▂▃▄▅▆▇█"
    assert terminal.sparkline([9, 9, 0, 8], 2) == "▁█"
    assert terminal.sparkline([0, 0], 5) == "▁▁"
    assert terminal.sparkline([], 5) == ""
    assert terminal.sparkline([1, 2], 0) == ""


@pytest.mark.parametrize(
    ("nanoseconds", "text"),
    [
        (0, "0 ns"),
        (999, "999 ns"),
        (1_000, "1.00 µs"),
        (42_000, "42.0 µs"),
        (999_400, "999 µs"),
        (999_600, "1.00 ms"),
        (2_345_678, "2.35 ms"),
        (9_999_999, "10.0 ms"),
        (1_500_000_000, "1.50 s"),
        (150_000_000_000, "2 min 30 s"),
        (179_900_000_000, "3 min 00 s"),
    ],
)
def test_durations(nanoseconds, text):
    assert terminal.duration_text(nanoseconds) == text


def test_a_line_is_cut_inside_its_styles():
    line = Line("abc", terminal.BOLD).add("def", terminal.DIM).end_at(10, "xy")
    assert line.width == 10
    assert line.render(4, color=False) == "abcd"
    assert line.render(2, color=True) == "\x1b[1mab\x1b[0m"
    assert Line("abc").end_at(3, "xy").render(80, color=False) == "abc xy"


def test_no_terminal_is_80_by_24():
    assert terminal.size_of(io.StringIO()) == (80, 24)
    closed = io.StringIO()
    closed.close()
    assert not terminal.is_terminal(closed, {})


@pytest.mark.parametrize(("text", "shown"), [("book", "book"), ("a\x1b[2Jb\n", "a?[2Jb?"), ("a" * 9, "aaaaaaa…")])
def test_printable(text, shown):
    assert terminal.printable(text, 8) == shown
