"""The final report: each phase beside what it should have received, and one line with the verdict."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from fastws.demo import fault_report, terminal
from fastws.demo.terminal import ABSENT, BOLD, DIM, GREEN, RED, YELLOW, Line

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from fastws.demo.fault_report import FaultReport, RivalReport
    from fastws.demo.histogram import LatencyHistogram
    from fastws.demo.verify import Verdict


@dataclass(frozen=True, slots=True)
class PhaseReport:
    """How one phase went.

    Attributes:
        name: like ``"paced 50x"``.
        verdict: the comparison with the source.
        seconds: from the moment the session was open to its last message.
        latency: how late messages came against their due time, in nanoseconds; None where they had none.
        channels: messages by channel.
        error: why the phase ended before its time; empty if it did not.
    """

    name: str
    verdict: Verdict
    seconds: float
    latency: LatencyHistogram | None
    channels: Mapping[str, int]
    error: str = ""

    @property
    def passed(self) -> bool:
        """Whether everything arrived, in order, and nothing went wrong."""
        return self.verdict.equal and not self.error


@dataclass(frozen=True, slots=True)
class DemoReport:
    """The whole demo.

    Attributes:
        title: what was played.
        setup: how: transport, loop, Python.
        phases: those that were started, in order.
        notes: remarks about the feed.
        interrupted: the user ended it.
        faults: the phase with faults, if it was started.
        rival: another client among the same faults, if that was asked for.
    """

    title: str
    setup: str
    phases: Sequence[PhaseReport]
    notes: Sequence[str] = ()
    interrupted: bool = False
    faults: FaultReport | None = None
    rival: RivalReport | None = None

    @property
    def passed(self) -> bool:
        """Whether every phase was played to its end and was equal, and the one with faults is proven."""
        is_proven = self.faults is None or self.faults.passed
        return bool(self.phases) and not self.interrupted and all(phase.passed for phase in self.phases) and is_proven


def render_report(report: DemoReport, width: int = 80, *, color: bool = False) -> str:
    """Write the report in lines of at most ``width`` columns, ending with a newline."""
    lines = [Line(), Line(" fastws demo", BOLD).add(f"  {report.title}"), Line("  ").add(report.setup, DIM), Line()]
    lines += _table(report.phases, width)
    lines += [Line()]
    if report.phases:
        lines += [*_channels(report.phases[-1].channels, width), Line()]
    if report.faults is not None and (report.faults.verdict.sessions or report.faults.problems):
        lines += [*fault_report.render(report.faults, report.rival, width), Line()]
    notes = [*report.notes, *([_LATENCY] if any(phase.latency for phase in report.phases) else [])]
    lines += [wrapped for note in notes for wrapped in _wrap(note, DIM, width)]
    lines += [Line()] if notes else []
    lines += [wrapped for line in _verdict(report) for wrapped in _wrap(*line, width)]
    return "".join(line.render(width, color=color) + "\n" for line in lines)


def _table(phases: Sequence[PhaseReport], width: int) -> list[Line]:
    columns = max((width - _LABEL - _MARGIN) // max(len(phases), 1), 1)
    column = min(max(_COLUMN, *(len(phase.name) + 3 for phase in phases), 0), columns)
    head = Line().to(_MARGIN + _LABEL)
    for phase in phases:
        head.add(f"{phase.name:>{column}}", BOLD)
    lines = [head, Line("  ").add("─" * (_LABEL + column * len(phases)), DIM)]
    for label, cell in _ROWS:
        line = Line("  ").add(f"{label:<{_LABEL}}", DIM)
        for phase in phases:
            text, style = cell(phase)
            line.add(f"{text:>{column}}", style)
        lines.append(line)
    return lines


def _channels(channels: Mapping[str, int], width: int) -> list[Line]:
    """List the channels with their counts, as many to a line as fit."""
    lines: list[Line] = []
    line = Line("  ").add(f"{'channels':<{_LABEL}}", DIM)
    start = line.width
    for name, count in sorted(channels.items(), key=lambda item: (-item[1], item[0])):
        entry = f"{terminal.printable(name, 24)} {count:,}"
        if line.width > start and line.width + 3 + len(entry) > width:
            lines.append(line)
            line = Line(" " * start)
        line.add(" · " if line.width > start else "", DIM).add(entry)
    return [*lines, line]


def _verdict(report: DemoReport) -> list[tuple[str, str]]:
    if report.passed:
        proven = [("✓ nothing lost, nothing reordered", f"{BOLD};{GREEN}")]
        if report.faults is not None:
            outages = len(report.faults.verdict.outages)
            proven.append((f"✓ {outages} outages, each marked once, every subscription made again", f"{BOLD};{GREEN}"))
        return proven
    lines = []
    for phase in report.phases:
        verdict = phase.verdict
        if phase.error:
            lines.append((f"✗ {phase.name}: {phase.error}", RED))
        if not verdict.hash_equal or verdict.first_difference is not None:
            lines.append((f"✗ {phase.name}: {_what_differs(verdict)}", RED))
        if verdict.first_difference is not None:
            lines.append((f"  first difference at message {verdict.first_difference:,}: {verdict.difference}", RED))
    if report.faults is not None:
        lines += fault_report.verdict_lines(report.faults)
    if report.interrupted:
        so_far = "what had arrived was not right" if lines else "nothing lost, nothing reordered up to there"
        lines.append((f"{ABSENT} interrupted; {so_far}", f"{BOLD};{YELLOW}"))
    elif not report.phases:
        lines.append(("✗ nothing was played", RED))
    return lines


def _what_differs(verdict: Verdict) -> str:
    parts = []
    if verdict.lost:
        parts.append(f"{verdict.lost:,} of {verdict.expected:,} messages lost")
    if verdict.out_of_place:
        parts.append(f"{verdict.out_of_place:,} reordered, repeated or changed")
    return ", ".join(parts) or "the digests differ"


def _wrap(text: str, style: str, width: int) -> list[Line]:
    """Cut ``text`` at blanks into lines of ``width`` columns, indented."""
    lines = []
    line = Line(" ")
    for word in text.split(" "):
        if line.width + 1 + len(word) > width and line.width > _MARGIN:
            lines.append(line)
            line = Line("   ")
        line.add(f" {word}", style)
    return [*lines, line]


def _count(value: int) -> str:
    return f"{value:,}"


def _received(phase: PhaseReport) -> tuple[str, str]:
    verdict = phase.verdict
    return _count(verdict.received), "" if verdict.received == verdict.expected else RED


def _hash(phase: PhaseReport) -> tuple[str, str]:
    verdict = phase.verdict
    return (f"{verdict.received_hash[:8]} equal", GREEN) if verdict.hash_equal else ("differs", RED)


def _order(phase: PhaseReport) -> tuple[str, str]:
    return ("kept", GREEN) if phase.verdict.in_order else ("broken", RED)


def _rate(phase: PhaseReport) -> tuple[str, str]:
    return (_count(round(phase.verdict.received / phase.seconds)), BOLD) if phase.seconds > 0 else (ABSENT, "")


def _byte_rate(phase: PhaseReport) -> tuple[str, str]:
    return (terminal.megabytes_text(phase.verdict.bytes / phase.seconds), "") if phase.seconds > 0 else (ABSENT, "")


def _latency(fraction: float) -> Callable[[PhaseReport], tuple[str, str]]:
    def cell(phase: PhaseReport) -> tuple[str, str]:
        if phase.latency is None or not phase.latency.count:
            return ABSENT, DIM
        return terminal.duration_text(phase.latency.quantile(fraction)), ""

    return cell


_LATENCY: Final = "latency: from the time a message was due at the server until the client had read it"
_MARGIN: Final = 2
_LABEL: Final = 18
_COLUMN: Final = 17
_ROWS: Final[tuple[tuple[str, Callable[[PhaseReport], tuple[str, str]]], ...]] = (
    ("messages sent", lambda phase: (_count(phase.verdict.expected), "")),
    ("messages received", _received),
    ("hash", _hash),
    ("order", _order),
    ("duration", lambda phase: (terminal.duration_text(phase.seconds * 1e9), "")),
    ("messages/s", _rate),
    ("MB/s", _byte_rate),
    ("latency p50", _latency(0.5)),
    ("latency p99", _latency(0.99)),
    ("latency p99.9", _latency(0.999)),
)
