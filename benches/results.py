"""What `rivals.py` saved, read back: each scenario's clients with their median, spread, and ratio to picows' callback.

A ratio is that of two medians; its spread is that of the rounds, each client's sample against the baseline's of the
same round, since whatever the machine does meanwhile strikes both. A ratio larger than 1 is always the better one: also
of memory and of latency, where the smaller figure wins.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

BASELINE = "picows callback"
SECOND = "websockets"
PLAIN = "fastws"
SPINNING = ("fastws busy poll", "fastws spin")

ANOTHER = {"compressed": ("websockets", "picows.websockets"), "blocking": ("websocket-rs sync", "websocket-client")}
"""What else is compared with, by how the kind of scenario begins: picows' callback neither compresses nor blocks."""


def baselines(kind: str) -> tuple[str, str]:
    """The client that ratios are of, and another one."""
    return ANOTHER.get(kind.partition("-")[0], (BASELINE, SECOND))


LEVEL = 0.97
"""A rival that is ahead by less than this, and not in every round, is as fast: ratios drift by as much."""

TIE = 0.995
"""One that is ahead by less than this is as fast anyway."""

NOISE = {"MiB": 1.0}
"""Of a unit, what is not told apart: processes grow by as much for reasons of their own."""

PERCENTILES = (("p50", "p50_us", 1.0), ("p99", "p99_us", 1.0), ("p99.9", "p999_us", 1.0))

FIGURES = {
    "latency": PERCENTILES,
    "blocking-latency": PERCENTILES,
    "compressed-memory": (("after messages", "bytes_each", 1024.0), ("after silence", "rested_each", 1024.0)),
}
"""Of the kinds whose samples have several figures: the name of each, where it is, and what makes the unit of it."""


def is_ours(client: str) -> bool:
    return client == PLAIN or client.startswith(f"{PLAIN} ")


DOES_MORE = ("fastws stream", "fastws stream markers", "fastws 3 streams")
"""Of ours, those that no rival does the same as: they are measured against our own connection."""


@dataclass(frozen=True)
class Row:
    """A client's samples of one scenario."""

    client: str
    samples: tuple[dict[str, Any], ...]
    values: tuple[float, ...]
    """What is compared, one for each round, in the scenario's unit."""

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    def each(self, key: str) -> float:
        """The median of a sample's figure for one operation."""
        return statistics.median(float(sample[key] / sample["operations"]) for sample in self.samples)

    def most(self, key: str) -> int:
        """The largest of all rounds; 0 where the samples have no such figure."""
        return max(int(sample.get(key, 0)) for sample in self.samples)


@dataclass(frozen=True)
class Ratio:
    """How many times better than another client, with the least and the most of all rounds."""

    middle: float
    low: float
    high: float


@dataclass(frozen=True)
class Scenario:
    """One thing that was measured."""

    name: str
    kind: str
    """One of `scenarios.KINDS`."""
    unit: str
    """``/s``, ``µs``, ``KiB`` or ``MiB``."""
    more_is_better: bool
    rows: dict[str, Row]
    failures: dict[str, str]

    @property
    def is_tls(self) -> bool:
        return "TLS" in self.name.replace(",", "").split()

    @property
    def baselines(self) -> tuple[str, str]:
        """As `baselines`; the other one alone, where the first was not measured."""
        first, second = baselines(self.kind)
        return (first, second) if first in self.rows or second not in self.rows else (second, first)

    def ratio(self, client: str, to: str | None = None) -> Ratio | None:
        """To the baseline, or another client; None where one of the two was not measured, or nothing divides."""
        to = to or self.baselines[0]
        if client not in self.rows or to not in self.rows:
            return None
        one, other = self.rows[client], self.rows[to]
        pairs = [(one.median, other.median), *zip(one.values, other.values, strict=False)]
        noise = NOISE.get(self.unit, 0.0)
        pairs = [(max(ours, noise), max(theirs, noise)) for ours, theirs in pairs]
        if any(value <= 0 for pair in pairs for value in pair):
            return None
        middle, *rounds = (ours / theirs if self.more_is_better else theirs / ours for ours, theirs in pairs)
        return Ratio(middle, min(rounds), max(rounds))

    def ranked(self) -> list[Row]:
        """The best first."""
        return sorted(self.rows.values(), key=lambda row: row.median, reverse=self.more_is_better)

    def best_rival(self) -> Row | None:
        return next((row for row in self.ranked() if not is_ours(row.client)), None)

    def loss(self, client: str) -> Loss | None:
        """By how much the best rival is ahead of one of ours; None where it is not."""
        rival = self.best_rival()
        if rival is None or not is_ours(client) or client in DOES_MORE:
            return None
        noise = NOISE.get(self.unit, 0.0)
        ours, theirs = max(self.rows[client].median, noise), max(rival.median, noise)
        if ours == theirs or (ours > theirs) is self.more_is_better:
            return None
        return Loss(self.name, client, rival.client, self.ratio(client, rival.client))


@dataclass(frozen=True)
class Loss:
    """Where a rival's median is better than that of one of ours."""

    scenario: str
    client: str
    rival: str
    ratio: Ratio | None

    @property
    def is_certain(self) -> bool:
        """Whether the rival was ahead in every round."""
        return self.ratio is None or self.ratio.high < 1

    @property
    def is_level(self) -> bool:
        """Whether another run could as well say the contrary."""
        return self.ratio is not None and self.ratio.middle >= (TIE if self.is_certain else LEVEL)


@dataclass(frozen=True)
class Record:
    """A run of `rivals.py`."""

    machine: dict[str, Any]
    rounds: int
    loop: str
    scenarios: tuple[Scenario, ...]
    raw: dict[str, Any] = field(repr=False)

    def named(self, name: str) -> Scenario | None:
        return next((scenario for scenario in self.scenarios if scenario.name == name), None)

    def losses(self) -> list[Loss]:
        """The greatest first."""
        found = [scenario.loss(client) for scenario in self.scenarios for client in scenario.rows]
        return sorted(filter(None, found), key=lambda loss: loss.ratio.middle if loss.ratio else 0.0)


def read(paths: Iterable[Path]) -> Record:
    """A record of one run, or of several on the same machine: a later one's scenarios replace an earlier one's.

    Raises OSError where there is no such file, and ValueError where one is no record, or where the runs are not of one
    machine, one set of packages and one number of rounds.
    """
    raw: dict[str, Any] = {}
    for path in paths:
        found = _parsed(path)
        if not raw:
            raw = found
            continue
        if _identity(found) != _identity(raw) or not _agree(found, raw):
            raise ValueError(f"{path} is of another machine, of other packages or of another number of rounds")
        packages = raw["machine"].get("packages", {}) | found["machine"].get("packages", {})
        raw = raw | {"machine": raw["machine"] | {"packages": packages}}
        merged = {result["scenario"]: result for result in raw["results"] + found["results"]}
        raw = raw | {"results": list(merged.values())}
    scenarios = tuple(scenario for result in raw["results"] for scenario in _scenarios(result) if scenario.rows)
    return Record(raw["machine"], raw["rounds"], raw["loop"], scenarios, raw)


def _parsed(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        found = None
    if not isinstance(found, dict) or not {"machine", "rounds", "loop", "results"} <= found.keys():
        raise ValueError(f"{path} is no record of a run: make bench-rivals saves one in build/bench/, as JSON")
    return found


def compact(raw: dict[str, Any]) -> str:
    """The same as JSON with a line a scenario and six digits a figure: what is committed changes by the line."""
    head = {key: value for key, value in raw.items() if key != "results"}
    lines = [json.dumps(head, ensure_ascii=False)[:-1] + ', "results": [']
    results = [json.dumps(_rounded(result), ensure_ascii=False, separators=(",", ":")) for result in raw["results"]]
    return "\n".join([*lines, ",\n".join(results), "]}"]) + "\n"


def _identity(raw: dict[str, Any]) -> tuple[Any, ...]:
    about = {key: value for key, value in raw["machine"].items() if key != "packages" and not key.startswith("load")}
    return about, raw["rounds"], raw["loop"]


def _agree(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether the packages that both were measured with are the same. One may have had more."""
    here, there = one["machine"].get("packages", {}), other["machine"].get("packages", {})
    return all(here[name] == there[name] for name in here.keys() & there.keys())


def _scenarios(result: dict[str, Any]) -> Iterable[Scenario]:
    """One, or one for each figure of its samples."""
    if result["kind"] in FIGURES:
        for name, key, divisor in FIGURES[result["kind"]]:
            values = {c: [s.get(key, 0.0) / divisor for s in samples] for c, samples in result["samples"].items()}
            yield _scenario(result, f"{result['scenario']}, {name}", values)
    else:
        yield _scenario(result, result["scenario"], result["values"])


def _scenario(result: dict[str, Any], name: str, values: dict[str, list[float]]) -> Scenario:
    rows = {
        client: Row(client, tuple(samples), tuple(values[client]))
        for client, samples in result["samples"].items()
        if samples
    }
    return Scenario(name, result["kind"], result["unit"], result["better"] == "more", rows, result["failures"])


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        short = float(f"{value:.6g}")
        return int(short) if short.is_integer() else short
    if isinstance(value, dict):
        return {key: _rounded(inner) for key, inner in value.items() if inner != 0 or key in KEPT}
    if isinstance(value, list):
        return [_rounded(inner) for inner in value]
    return value


KEPT = ("operations", "seconds", "cpu_seconds", "switches")
"""Of a sample, what is written even where it is 0; the rest is 0 where a scenario does not measure it."""
