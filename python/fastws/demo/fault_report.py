"""The report's part about the phase with faults: each session beside its source, each outage, and what others miss."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from fastws.demo import terminal
from fastws.demo.terminal import ABSENT, BOLD, DIM, GREEN, RED, YELLOW, Line

if TYPE_CHECKING:
    from fastws.demo.histogram import LatencyHistogram
    from fastws.demo.sessions import OutageRecord, RunVerdict, SessionVerdict


@dataclass(frozen=True, slots=True)
class FaultReport:
    """How the phase with faults went.

    Attributes:
        name: what it is called.
        verdict: the comparison with what the server wrote.
        total: messages of the feed.
        seconds: to its last message.
        latency: how late messages came, in nanoseconds.
        books: order books that are the true ones at the end, and all; None where there are none.
        silent_gaps: holes in what the venue wrote that no marker told of.
        jumps: jumps in the venue's numbers that no marker told of.
        error: why it ended before its time; empty if it did not.
        complete: it was played to its end.
    """

    name: str
    verdict: RunVerdict
    total: int
    seconds: float
    latency: LatencyHistogram | None
    books: tuple[int, int] | None
    silent_gaps: int
    jumps: int = 0
    error: str = ""
    complete: bool = True

    @property
    def passed(self) -> bool:
        """Whether everything is proven, and the run was complete."""
        return self.complete and not self.problems

    @property
    def problems(self) -> list[str]:
        """What is wrong, one line each."""
        problems = [self.error] if self.error else []
        problems += self.verdict.problems
        if self.silent_gaps:
            problems.append(f"{self.silent_gaps} holes in what the venue wrote that no marker told of")
        if self.jumps:
            problems.append(f"{self.jumps} jumps in the venue's numbers that no marker told of")
        if self.complete and self.books is not None and self.books[0] != self.books[1]:
            problems.append(f"{self.books[1] - self.books[0]} of {self.books[1]} order books are not the true ones")
        return problems


@dataclass(frozen=True, slots=True)
class RivalReport:
    """The same faults, met by another client in a reconnect loop.

    Attributes:
        name: the client, with its version.
        received: messages that arrived.
        total: messages of the feed.
        gaps: `silent_gaps` by the same measure: nothing in its stream tells of any.
        books: as in `FaultReport`.
        error: why there is no result; empty if there is one.
    """

    name: str
    received: int = 0
    total: int = 0
    gaps: int = 0
    books: tuple[int, int] | None = None
    error: str = ""


def render(report: FaultReport, rival: RivalReport | None, width: int) -> list[Line]:
    """Write the part of the report."""
    verdict = report.verdict
    lines = [Line("  ").add(report.name, BOLD), Line("  ").add("─" * min(width - 4, _RULE), DIM)]
    lines.append(_row("session", "written", "received", "in flight", "ended by", style=DIM))
    lines += [_session(number, session, width) for number, session in enumerate(verdict.sessions, 1)]
    lines.append(Line())
    for record in verdict.outages:
        lines += _outage(record, width)
    lines += [Line(), *_facts(report)]
    if rival is not None:
        lines += [Line(), *_beside(report, rival)]
    return lines


def _row(*cells: str, style: str = "") -> Line:
    line = Line("  ").add(f"{cells[0]:<9}", style)
    for cell in cells[1:4]:
        line.add(f"{cell:>11}", style)
    return line.add(f"   {cells[4]}", style)


def _session(number: int, session: SessionVerdict, width: int) -> Line:
    counts = (
        f"{session.written:,}",
        f"{session.received:,}",
        f"{session.destroyed:,}" if session.destroyed else ABSENT,
    )
    line = _row(f"{number}", *counts, "", style=RED if session.problem else "")
    return line.add(terminal.printable(session.ended_by or "the end of the feed", max(width - line.width, 8)))


def _outage(record: OutageRecord, width: int) -> list[Line]:
    down = Line("  ").add(f"{record.at:6.2f} s  ", DIM).add("DOWN    ", f"{BOLD};{RED}")
    down.add(terminal.printable(f"{record.generation}: {record.reason}", max(width - down.width - 1, 8)))
    if record.seconds is None:
        return [down]
    line = Line("            ").add("OUTAGE  ", f"{BOLD};{YELLOW}")
    parts = [terminal.duration_text(record.seconds * 1e9)]
    if record.missed is not None:
        parts.append(f"{record.missed:,} messages missed")
    if record.resync_seconds is not None:
        parts.append(f"book resynced in {terminal.duration_text(record.resync_seconds * 1e9)}")
    return [down, line.add(", ".join(parts))]


def _facts(report: FaultReport) -> list[Line]:
    verdict = report.verdict
    marked = sum(record.outages for record in verdict.outages)
    away = f"{verdict.missed:,} of {report.total:,}" + (
        f", and {verdict.destroyed:,} in flight" if verdict.destroyed else ""
    )
    rows = [
        (
            "lost or reordered in a session",
            "none" if not verdict.problems else "see below",
            _good(not verdict.problems),
        ),
        ("outages marked", f"{marked} of {max(len(verdict.sessions) - 1, 0)}, each once", _good(not verdict.problems)),
    ]
    if report.complete:
        rows.insert(0, ("missed while away", away, ""))
    if report.latency is not None and report.latency.count:
        p50, p99 = report.latency.quantiles((0.5, 0.99))
        rows.append(("latency p50, p99", f"{terminal.duration_text(p50)}, {terminal.duration_text(p99)}", ""))
    if report.complete and report.books is not None:
        equal, books = report.books
        rows.append(("books equal to the true ones", f"{equal} of {books}", _good(equal == books)))
    return [Line("  ").add(f"{name:<{_FACT}}", DIM).add(value, style) for name, value, style in rows]


def _beside(report: FaultReport, rival: RivalReport) -> list[Line]:
    if rival.error:
        return [Line("  ").add(f"{rival.name}: {rival.error}", YELLOW)]
    head = Line("  ").add(f"{'the same faults':<{_FACT}}", DIM)
    head.add(f"{'fastws':>{_COLUMN}}", BOLD).add(f"{rival.name:>{_COLUMN}}", BOLD)
    books = [ABSENT if one is None else f"{one[0]} of {one[1]}" for one in (report.books, rival.books)]
    marked = sum(record.outages for record in report.verdict.outages)
    rows = [
        ("messages received", f"{report.verdict.received:,}", f"{rival.received:,}", False),
        ("outages told in the stream", f"{marked}", "0", rival.gaps > 0),
        ("silent gaps", f"{report.silent_gaps}", f"{rival.gaps}", rival.gaps > 0),
        ("books equal to the true ones", *books, rival.books is not None and rival.books[0] != rival.books[1]),
    ]
    lines = [head]
    for name, ours, theirs, is_bad in rows:
        line = Line("  ").add(f"{name:<{_FACT}}", DIM).add(f"{ours:>{_COLUMN}}", GREEN if is_bad else "")
        lines.append(line.add(f"{theirs:>{_COLUMN}}", RED if is_bad else ""))
    return lines


def verdict_lines(report: FaultReport) -> list[tuple[str, str]]:
    """What is wrong, as lines of the verdict with their styles."""
    return [(f"✗ {report.name}: {problem}", RED) for problem in report.problems]


def _good(is_good: bool) -> str:
    return GREEN if is_good else RED


_RULE: Final = 68
_FACT: Final = 32
_COLUMN: Final = 18
