"""The live view: a dashboard that redraws itself in place on a terminal, or a line a second elsewhere.

`frame` turns a `DemoSnapshot` into lines and knows no terminal; `LiveView` writes them to one. The size is asked for
before every frame, so a resized window is right at the next one, without a signal handler of ours in the program.
"""

from __future__ import annotations

import logging
import math
import os
import sys
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Self, TextIO

from fastws.demo import client_view, terminal
from fastws.demo.terminal import BLUE, BOLD, CYAN, DIM, GREEN, YELLOW, Line

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from types import TracebackType

    from fastws.demo.client_view import ClientSnapshot, LogLine


@dataclass(frozen=True, slots=True)
class DemoSnapshot:
    """Everything the live view shows, at one moment.

    Attributes:
        title: what is played, like ``"simulated market, seed 7"``.
        setup: how, like ``"wss · uvloop"``.
        phase: name of the phase, like ``"paced 50x"``.
        received: messages received in this phase.
        expected: messages in the feed.
        bytes: payload bytes received in this phase.
        elapsed: seconds since the phase began.
        remaining: seconds it will still take, as far as known.
        rate: messages a second, now.
        byte_rate: bytes a second, now.
        rates: messages a second of the last samples, the newest last.
        latency: p50, p99 and p99.9 in nanoseconds; None where messages have no due time.
        channels: messages by channel.
        queue: messages received but not taken yet; None when unknown.
        batch: messages that came with the last wake-up.
        state: what is going on, in a word or two.
        client: the client, in the phase with faults.
    """

    title: str = ""
    setup: str = ""
    phase: str = ""
    received: int = 0
    expected: int = 0
    bytes: int = 0
    elapsed: float = 0.0
    remaining: float | None = None
    rate: float = 0.0
    byte_rate: float = 0.0
    rates: Sequence[float] = ()
    latency: tuple[int, int, int] | None = None
    channels: Mapping[str, int] = field(default_factory=dict)
    queue: int | None = None
    batch: int = 0
    state: str = ""
    client: ClientSnapshot | None = None


def frame(snapshot: DemoSnapshot, width: int, height: int, *, color: bool) -> list[str]:
    """Draw ``snapshot`` in at most ``height`` lines of at most ``width`` columns."""
    columns = min(width, _WIDEST)
    if snapshot.client is not None:
        lines = _with_client(snapshot, snapshot.client, columns, height)
        return [line.render(columns, color=color) for line in lines[:height]]
    top = [_title(snapshot, columns), _rule(columns)]
    progress = _progress(snapshot, columns)
    figures = _figures(snapshot, columns)
    bottom = [_rule(columns), _footer(snapshot, columns)]
    gaps = _gaps(height - len(top) - len(figures) - len(bottom) - 1)
    room = height - len(top) - len(figures) - len(bottom) - 1 - gaps
    channels = _channels(snapshot.channels, columns, max(room, 0))
    blank = [Line()]
    if gaps < _ALL_GAPS:
        lines = [*top, progress, *blank[:gaps], *figures, *blank[: gaps - 1], *channels, *bottom]
    else:
        scale = Line("  by channel, on a logarithmic scale", DIM) if channels else Line()
        lines = [*top, *blank, progress, *blank, *figures, scale, *channels, *blank, *bottom]
    return [line.render(columns, color=color) for line in lines[:height]]


def _with_client(snapshot: DemoSnapshot, client: ClientSnapshot, columns: int, height: int) -> list[Line]:
    top = [_title(snapshot, columns), _rule(columns)]
    p99 = snapshot.latency[1] if snapshot.latency else None
    middle = [
        client_view.state_line(client, columns),
        *_cells(client_view.figures(client, snapshot.rate, p99), columns),
        _spark(snapshot, columns),
    ]
    bottom = [_rule(columns), _footer(snapshot, columns)]
    blank = [Line()] * (height >= _TALL)
    rows = height - len(top) - len(middle) - len(bottom) - 1 - 4 * len(blank)
    log = client_view.quote_lines(client, columns, rows)
    log += client_view.log_lines(client.log, columns, rows - len(log))
    log += [Line()] * (rows - len(log))
    return [*top, *blank, _progress(snapshot, columns), *blank, *middle, *blank, *log, *blank, *bottom]


def plain_line(snapshot: DemoSnapshot) -> str:
    """Say the same in one line, for logs."""
    parts = [
        f"{snapshot.phase}: {snapshot.received:,} of {snapshot.expected:,}{_percent(snapshot)}",
        f"{snapshot.rate:,.0f} msg/s",
        f"{terminal.megabytes_text(snapshot.byte_rate)} MB/s",
    ]
    if snapshot.client is not None:
        parts.append(client_view.plain(snapshot.client))
    elif snapshot.latency:
        values = zip(("p50", "p99", "p99.9"), snapshot.latency, strict=True)
        parts.append(", ".join(f"{name} {terminal.duration_text(value)}" for name, value in values))
    return " · ".join(parts)


class LiveView:
    """Writes snapshots to ``stream``: frames in place on a terminal, plain lines elsewhere.

    Use it as a context manager: leaving it, also by an exception or Ctrl-C, brings back the cursor and what the
    terminal showed before.

    Args:
        stream: where to write.
        plain: True for plain lines on a terminal too.
        clock: the time in seconds; for tests.
        environ: where ``NO_COLOR`` and ``TERM`` are looked up.
    """

    def __init__(
        self,
        stream: TextIO,
        *,
        plain: bool = False,
        clock: Callable[[], float] = time.monotonic,
        environ: Mapping[str, str] = os.environ,
    ) -> None:
        self.live: Final = not plain and terminal.is_terminal(stream, environ)
        self.interval: Final = _FRAME_EVERY if self.live else _LINE_EVERY
        self._stream: Final = stream
        self._color: Final = terminal.wants_color(stream, environ)
        self._clock: Final = clock
        self._due = -math.inf
        self._size = (0, 0)
        self._last_line = ""
        self._held: Final = _HeldLog()

    def __enter__(self) -> Self:
        if self.live:
            self._held.begin()
            self._write(_ENTER)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self.live:
            self._write(_LEAVE)
            self._held.end()

    def due(self) -> bool:
        """Tell whether it is time for the next frame or line; cheap enough to ask at every wake-up."""
        return self._clock() >= self._due

    def show(self, snapshot: DemoSnapshot) -> None:
        """Draw ``snapshot`` now, whether `due` or not; the next one is due `interval` seconds later."""
        self._due = self._clock() + self.interval
        if not self.live:
            line = plain_line(snapshot)
            if line != self._last_line:
                self._write(terminal.encodable([line], self._stream.encoding)[0] + "\n")
            self._last_line = line
            return
        size = terminal.size_of(self._stream)
        lines = frame(snapshot, size[0] - 1, size[1], color=self._color)  # the last column may wrap
        body = "\x1b[K\r\n".join(terminal.encodable(lines, self._stream.encoding))
        wipe = "" if size == self._size else _WIPE
        self._size = size
        self._write(f"{_BEGIN}{wipe}{_HOME}{body}\x1b[K\x1b[J{_END}")

    def note(self, entry: LogLine) -> None:
        """Write a line of the log, where there is no live view that shows it."""
        if not self.live:
            line = client_view.log_line(entry, _PLAIN).render(_PLAIN, color=self._color)
            self._write(terminal.encodable([line], self._stream.encoding)[0] + "\n")

    def _write(self, text: str) -> None:
        self._stream.write(text)
        self._stream.flush()


class _HeldLog(logging.Handler):
    """Keeps what is logged off the terminal while frames are drawn on it; errors are written to stderr afterwards.

    What the client warns of is in the view, in its own words.
    """

    def __init__(self) -> None:
        super().__init__()
        self._errors: Final[list[str]] = []
        self._loggers: Final = [logging.getLogger(name) for name in ("fastws", "asyncio")]
        self._propagated: list[bool] = []

    def begin(self) -> None:
        self._propagated = [logger.propagate for logger in self._loggers]
        for logger in self._loggers:
            logger.addHandler(self)
            logger.propagate = False

    def end(self) -> None:
        for logger, propagated in zip(self._loggers, self._propagated, strict=True):
            logger.removeHandler(self)
            logger.propagate = propagated
        for text in self._errors:
            sys.stderr.write(f"{text}\n")
        self._errors.clear()

    def emit(self, record: logging.LogRecord) -> None:
        if record.levelno >= logging.ERROR:
            self._errors.append(self.format(record))


def _title(snapshot: DemoSnapshot, columns: int) -> Line:
    line = Line(" fastws demo", BOLD).add(f"  {snapshot.title}", DIM)
    if line.width + len(snapshot.setup) + 3 > columns:
        line = Line(" fastws demo", BOLD)
    if line.width + len(snapshot.setup) + 3 > columns:
        return line
    return line.end_at(columns - 1, snapshot.setup, DIM)


def _rule(columns: int) -> Line:
    return Line("─" * columns, DIM)


def _progress(snapshot: DemoSnapshot, columns: int) -> Line:
    share = snapshot.received / snapshot.expected if snapshot.expected else 0.0
    counts = f"{snapshot.received:,} / {snapshot.expected:,}"
    if snapshot.client is not None and snapshot.expected:
        share = snapshot.client.position / snapshot.expected
    percent = f"{share:4.0%}" if share < 1 or snapshot.received == snapshot.expected else ">100%"
    line = Line(f"  {snapshot.phase:<{_PHASE}} ", BOLD)
    counted = f"{counts:>{2 * len(f'{snapshot.expected:,}') + 3}}"
    room = max(columns - line.width - len(percent) - len(counted) - 2 * _MARGIN - 1, 0)
    done = min(round(share * room), room)
    if snapshot.client is not None:
        line.extend(client_view.timeline(snapshot.client, max(snapshot.expected, 1), room))
    else:
        line.add("━" * done, GREEN if snapshot.received == snapshot.expected else CYAN)
        line.add("─" * (room - done), DIM)
    return line.add(f"  {percent}", BOLD).end_at(columns - _MARGIN, counted)


def _figures(snapshot: DemoSnapshot, columns: int) -> list[Line]:
    latency: Sequence[int | None] = snapshot.latency or (None, None, None)
    shown = [
        ("messages/s", f"{snapshot.rate:,.0f}", BOLD + ";" + CYAN),
        ("MB/s", terminal.megabytes_text(snapshot.byte_rate), BOLD),
        *(
            (name, terminal.ABSENT if value is None else terminal.duration_text(value), BOLD)
            for name, value in zip(("p50", "p99", "p99.9"), latency, strict=True)
        ),
    ]
    return [*_cells(shown, columns), _spark(snapshot, columns)]


def _cells(shown: Sequence[tuple[str, str, str]], columns: int) -> list[Line]:
    cell = max((columns - _MARGIN) // len(shown), 11)
    heads, values = Line(), Line()
    for place, (name, value, style) in enumerate(shown):
        heads.to(_MARGIN + place * cell).add(name, DIM)
        values.to(_MARGIN + place * cell).add(value, style)
    return [heads, values]


def _spark(snapshot: DemoSnapshot, columns: int) -> Line:
    return Line(" " * _MARGIN).add(terminal.sparkline(snapshot.rates, min(columns - 2 * _MARGIN, _SAMPLES)), BLUE)


def _channels(channels: Mapping[str, int], columns: int, rows: int) -> list[Line]:
    """Draw a bar for each channel, the largest first; bars are logarithmic, since one channel is most of a feed."""
    ranked = sorted(channels.items(), key=lambda item: (-item[1], item[0]))
    if not ranked or not rows:
        return []
    hidden = ranked[rows - 1 :] if len(ranked) > rows else []
    shown = ranked[: len(ranked) - len(hidden)]
    total, most = sum(channels.values()), ranked[0][1]
    label = min(max(len(name) for name, _ in ranked), max(columns // 4, 8))
    digits = len(f"{most:,}")
    room = max(columns - _MARGIN - label - 2 - digits - 10 - 2, 0)
    lines = []
    for place, (name, count) in enumerate(shown):
        line = Line(" " * _MARGIN).add(f"{terminal.printable(name, label):<{label}}  ")
        line.add(terminal.bar(math.log1p(count) / math.log1p(most), room), _BARS[place % len(_BARS)])
        line.to(_MARGIN + label + 2 + room)
        lines.append(line.add(f"  {count:>{digits},}").add(f"{count / total:>8.1%}", DIM))
    if hidden:
        rest = sum(count for _, count in hidden)
        line = Line(" " * _MARGIN).add(f"{f'and {len(hidden)} more':<{label}}", DIM)
        line.to(_MARGIN + label + 2 + room)
        lines.append(line.add(f"  {rest:>{digits},}{rest / total:>8.1%}", DIM))
    return lines


def _footer(snapshot: DemoSnapshot, columns: int) -> Line:
    line = Line(" ").add(f" {snapshot.state or 'playing'}", GREEN)
    facts = [f"{terminal.seconds_text(snapshot.elapsed)} elapsed"]
    if snapshot.remaining is not None:
        facts.append(f"{terminal.seconds_text(snapshot.remaining)} to go")
    if snapshot.client is None:
        facts.append(f"batch {snapshot.batch:,}" if snapshot.queue is None else f"queue {snapshot.queue:,}")
    for fact in facts:
        if line.width + len(fact) + 3 <= columns:
            line.add(" · ", DIM).add(fact, DIM)
    if line.width + len(_HINT) + 3 <= columns:
        line.end_at(columns - 2, _HINT, DIM)
    return line


def _gaps(spare: int) -> int:
    """Decide how many blank lines ``spare`` lines can afford, the channels coming first."""
    if spare >= _ROOMY:
        return _ALL_GAPS
    return 2 if spare >= _TIGHT else 0


def _percent(snapshot: DemoSnapshot) -> str:
    return f" ({snapshot.received / snapshot.expected:.0%})" if snapshot.expected else ""


_FRAME_EVERY: Final = 0.1
_LINE_EVERY: Final = 1.0
_WIDEST: Final = 112
_PLAIN: Final = 120
_MARGIN: Final = 2
_PHASE: Final = 11
_SAMPLES: Final = 60
_ALL_GAPS: Final = 4
_ROOMY: Final = 11
_TIGHT: Final = 6
_TALL: Final = 20
_BARS: Final = (CYAN, BLUE, GREEN, YELLOW)
_HINT: Final = "Ctrl-C ends"
_BEGIN: Final = "\x1b[?2026h"  # a terminal that knows synchronised output shows the frame whole
_END: Final = "\x1b[?2026l"
_HOME: Final = "\x1b[H"
_WIPE: Final = "\x1b[2J"
_ENTER: Final = "\x1b[?1049h\x1b[?25l"  # the other screen, no cursor
_LEAVE: Final = "\x1b[0m\x1b[?25h\x1b[?1049l"
