"""What of a sample is compared, in which unit, and whether more of it is better; and the table that shows it."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from meter import Sample
from results import baselines
from scenarios import Scenario

SHORT = {"picows callback": "picows"}
"""What stands above a column of ratios, if not the client's name."""

Samples = dict[str, list[Sample]]


@dataclass(frozen=True)
class Figure:
    """A figure by which clients are compared."""

    unit: Literal["/s", "µs", "KiB", "MiB"]
    better: Literal["more", "less"]
    of: Callable[[Sample], float]
    heading: str = "median"
    noise: float = 0.0
    """What is less is not told apart."""

    def shown(self, value: float) -> str:
        return f"{value:,.0f}/s" if self.unit == "/s" else f"{value:,.1f} {self.unit}"

    def ratio(self, value: float, to: float | None) -> str:
        """How many times better than another one, in either direction of ``better``."""
        if to is None:
            return "-"
        value, to = max(value, self.noise), max(to, self.noise)
        if value <= 0 or to <= 0:
            return "-"
        return f"×{value / to if self.better == 'more' else to / value:.2f}"


RATE = Figure("/s", "more", lambda sample: sample.rate)
GROWTH = Figure("MiB", "less", lambda sample: sample.grown_bytes / 2**20, noise=1.0)
P50 = Figure("µs", "less", lambda sample: sample.p50_us, "p50")
MEMORY = Figure("KiB", "less", lambda sample: sample.bytes_each / 1024)
FIGURES = {
    "idle": MEMORY,
    "compressed-memory": MEMORY,
    "latency": P50,
    "blocking-latency": P50,
    "connections": Figure("µs", "less", lambda sample: sample.cpu_us, "CPU each"),
    "stopped-consumer": GROWTH,
    "unawaited-sends": GROWTH,
}

Column = tuple[str, Callable[[list[Sample]], str]]
LATENCY: tuple[Column, ...] = (
    ("p99 µs", lambda taken: spread([sample.p99_us for sample in taken])),
    ("p99.9 µs", lambda taken: spread([sample.p999_us for sample in taken])),
)
OUTCOME: tuple[Column, ...] = (
    ("refused", lambda taken: f"{max(sample.refused for sample in taken):,}"),
    ("lost", lambda taken: f"{max(sample.lost for sample in taken):,}"),
)
SILENCE: tuple[Column, ...] = (
    ("after silence KiB", lambda taken: spread([sample.rested_each / 1024 for sample in taken])),
)
COLUMNS: dict[str, tuple[Column, ...]] = {
    "latency": LATENCY,
    "blocking-latency": LATENCY,
    "unawaited-sends": OUTCOME,
    "compressed-memory": SILENCE,
}
"""Columns that only some kinds of scenarios have."""

CPU: tuple[Column, ...] = (
    ("CPU µs", lambda taken: f"{statistics.median(sample.cpu_us for sample in taken):,.2f}"),
    ("switches", lambda taken: f"{statistics.median(sample.switches_each for sample in taken):.3f}"),
)


def figure(scenario: Scenario) -> Figure:
    """What is compared in a scenario."""
    return FIGURES.get(scenario.kind, RATE)


def spread(values: list[float]) -> str:
    """Median, least and most."""
    return f"{statistics.median(values):,.1f} ({min(values):,.1f} … {max(values):,.1f})"


def table(scenario: Scenario, samples: Samples, failures: dict[str, str]) -> str:
    """The scenario's rows, aligned, the best first."""
    of = figure(scenario)
    values = {name: [of.of(sample) for sample in taken] for name, taken in samples.items()}
    middle = {name: statistics.median(found) for name, found in values.items()}
    columns = COLUMNS.get(scenario.kind, ()) + CPU
    first, second = baselines(scenario.kind)
    heads = (
        scenario.name,
        of.heading,
        "min … max",
        SHORT.get(first, first),
        SHORT.get(second, second),
        *(head for head, _ in columns),
    )
    rows = [heads]
    rows += [
        (
            f"  {name}",
            of.shown(middle[name]),
            f"{of.shown(min(values[name]))} … {of.shown(max(values[name]))}",
            of.ratio(middle[name], middle.get(first)),
            of.ratio(middle[name], middle.get(second)),
            *(cell(samples[name]) for _, cell in columns),
        )
        for name in sorted(middle, key=middle.__getitem__, reverse=of.better == "more")
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(len(heads))]
    lines = []
    for row in rows:
        cells = [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
        lines.append("  ".join(cells))
    lines += [f"  {name}: failed: {why}" for name, why in failures.items()]
    return "\n".join(lines)
