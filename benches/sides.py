"""The tables of what a program may want besides: compression, and no event loop."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass

from amounts import amount, times
from results import Record, Row, Scenario, is_ours


@dataclass(frozen=True)
class Line:
    """A row: a scenario, and what of it is shown."""

    title: str
    scenario: str
    cpu: bool = False
    """CPU time of an operation, not what is compared."""


@dataclass(frozen=True)
class Side:
    """A table."""

    command: str
    """What measures it."""
    columns: tuple[str, ...]
    """Clients; one that was not measured has none."""
    lines: tuple[Line, ...]


COMPRESSION = Side(
    "compressed",
    (
        "fastws",
        "fastws callback",
        "fastws batches",
        "fastws sync",
        "websockets",
        "websockets sync",
        "picows.websockets",
        "aiohttp",
        "websocket-rs callback",
        "websocket-rs",
    ),
    (
        Line("receive, messages a second", "compressed-receive TCP"),
        Line("receive, CPU of a message", "compressed-receive TCP", cpu=True),
        Line("send, messages a second", "compressed-send TCP"),
        Line("send, CPU of a message", "compressed-send TCP", cpu=True),
        Line("memory of a connection behind messages", "compressed-memory TCP, after messages"),
        Line("the same after 11 s of silence", "compressed-memory TCP, after silence"),
    ),
)
BLOCKING = Side(
    "blocking",
    ("fastws sync", "websocket-rs sync", "websocket-client", "websockets sync"),
    (
        *(Line(f"round trip {size}, TCP", f"blocking-round-trip {size} TCP") for size in ("32 B", "256 B")),
        Line("the same, CPU", "blocking-round-trip 256 B TCP", cpu=True),
        *(Line(f"round trip {size}, TCP", f"blocking-round-trip {size} TCP") for size in ("8 KiB", "100 KiB")),
        Line("round trip 256 B, TLS", "blocking-round-trip 256 B TLS"),
        Line("receive 128 B, TCP", "blocking-ingest 128 B TCP"),
        Line("send 128 B, TCP", "blocking-send 128 B TCP"),
        Line("one-way latency at 10,000/s, p50", "blocking-latency 10,000/s 128 B TCP, p50"),
        Line("one-way latency at 10,000/s, p99", "blocking-latency 10,000/s 128 B TCP, p99"),
    ),
)


def table(side: Side, record: Record) -> str:
    """Ratios with the least and the most of the rounds, amounts where less is better; ours bold that lead."""
    found = [(line, scenario) for line in side.lines if (scenario := record.named(line.scenario)) is not None]
    if not found:
        return f'This record has none: `make bench-rivals ARGS="--only {side.command}"` measures it.'
    columns = [client for client in side.columns if any(client in scenario.rows for _, scenario in found)]
    lines = [f"| | {' | '.join(columns)} |", f"| ---{' | ---:' * len(columns)} |"]
    for line, scenario in found:
        cells = [line.title, *(cell(line, scenario, client) for client in columns)]
        lines.append("|" + "|".join(f" {words} " if words else " " for words in cells) + "|")
    return "\n".join(lines)


def cell(line: Line, scenario: Scenario, client: str) -> str:
    row = scenario.rows.get(client)
    if row is None:
        return ""
    if line.cpu:
        best = min(cpu(other) for other in scenario.rows.values() if not is_ours(other.client))
        return emphasised(f"{cpu(row):.2f} µs", client, leads=cpu(row) < best)
    return emphasised(compared(scenario, row), client, leads=scenario.loss(client) is None)


def emphasised(words: str, client: str, *, leads: bool) -> str:
    return f"**{words}**" if leads and is_ours(client) else words


def cpu(row: Row) -> float:
    return row.each("cpu_seconds") * 1e6


def compared(scenario: Scenario, row: Row) -> str:
    if not scenario.more_is_better:
        return amount(row.median, scenario.unit)
    if row.client == scenario.baselines[0]:
        return f"1 ({amount(row.median, scenario.unit)})"
    ratio = scenario.ratio(row.client)
    if ratio is None:
        return amount(row.median, scenario.unit)
    return f"{times(ratio.middle)} ({times(ratio.low)} … {times(ratio.high)})"


PARTS: dict[str, Callable[[Record], str]] = {
    "compression": functools.partial(table, COMPRESSION),
    "blocking": functools.partial(table, BLOCKING),
}
"""Each table, by the name of its marks."""
