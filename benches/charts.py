"""Charts and tables of the documentation, from what `make bench-rivals` saved.

``charts.py`` draws what is recorded in ``benches/results.json``: the charts in ``docs/benchmarks/``, the generated
parts of ``docs/benchmarks.md``, and that of ``README.md`` if it has the marks. ``charts.py FILE…`` makes these files of
a run the record first. The same record gives the same bytes, so a test can tell whether the pictures are of the figures
that are committed.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import sides
from amounts import amount, times, unit_of
from bars import Bar, Chart, Panel
from groups import Group, measured
from results import BASELINE, PLAIN, SECOND, SPINNING, Record, Row, Scenario, compact, is_ours, read

ROOT = Path(__file__).resolve().parent.parent
RECORD = ROOT / "benches" / "results.json"
PAGE = ROOT / "docs" / "benchmarks.md"
CHARTS = ROOT / "docs" / "benchmarks"
README = ROOT / "README.md"
FLAME = "async-for.svg"
BUDGET = ROOT / "benches" / "instructions.json"
ENOUGH = 5
"""Rounds of a run whose figures may be quoted."""
CROWDED = 4
"""Scenarios that a chart has room for; a group of more has a chart for TCP and one for TLS."""


README_COLUMNS = (
    ("fastws", PLAIN),
    ("fastws, batches", "fastws batches"),
    ("fastws, callback", "fastws callback"),
    ("picows, callback", BASELINE),
    ("picows.websockets", "picows.websockets"),
    ("websocket-rs, callback", "websocket-rs callback"),
    ("aiohttp", "aiohttp"),
    ("websockets", SECOND),
)
README_ROWS = (
    ("receive 128 B, TCP", "ingest 128 B TCP"),
    ("receive 1 KiB, TCP", "ingest 1 KiB TCP"),
    ("receive and decode a feed (JSON, orjson), TCP", "decode TCP"),
    ("round trip 256 B, TCP", "round-trip 256 B TCP"),
    ("round trip 8 KiB, TCP", "round-trip 8 KiB TCP"),
    ("round trip 256 B, TLS", "round-trip 256 B TLS"),
    ("memory of an idle connection, TCP", "idle TCP"),
)


# ---- charts ----------------------------------------------------------------------------------------------------------


def charts(record: Record) -> Iterator[tuple[Group, str, Chart]]:
    """Each chart with its group and the name of its file."""
    for group in measured(record):
        found = group.scenarios(record)
        parts = [(group.slug, found)]
        if len(found) > CROWDED and len({scenario.is_tls for scenario in found}) > 1:
            parts = [(f"{group.slug}-{name}", [s for s in found if s.is_tls is tls]) for name, tls in TRANSPORTS]
        for slug, scenarios in parts:
            yield group, slug, chart(group, scenarios)


TRANSPORTS = (("tcp", False), ("tls", True))


def chart(group: Group, scenarios: list[Scenario]) -> Chart:
    transports = {"TLS" if scenario.is_tls else "TCP" for scenario in scenarios}
    title = f"{group.title}, {transports.pop()}" if len(transports) == 1 else group.title
    if group.absolute or all(scenario.ratio(scenario.baselines[0]) is None for scenario in scenarios):
        factor, suffix = scale_of(scenarios)
        panels = tuple(absolute_panel(group, scenario, factor) for scenario in scenarios)
        better = "longer" if scenarios[0].more_is_better else "shorter"
        return Chart(title, f"{better} is better; whiskers: least and most of all rounds", panels, None, suffix)
    base = " or ".join(dict.fromkeys(scenario.baselines[0] for scenario in scenarios))
    subtitle = f"times better than {base}: longer is better; whiskers: least and most of all rounds"
    return Chart(title, subtitle, tuple(ratio_panel(group, scenario) for scenario in scenarios))


def ratio_panel(group: Group, scenario: Scenario) -> Panel:
    drawn = []
    for row in scenario.ranked():
        ratio = scenario.ratio(row.client)
        if ratio is None:
            continue
        label = f"{times(ratio.middle)}× · {amount(row.median, scenario.unit)}"
        part, note = standing(scenario, row.client)
        drawn.append(Bar(row.client, part, ratio.middle, ratio.low, ratio.high, label, note))
    base = scenario.baselines[0]
    aside = "" if base in scenario.rows else f"{base} was not measured: no ratios"
    return Panel(heading(group, scenario), aside, tuple(drawn), tuple(scenario.failures.items()))


def absolute_panel(group: Group, scenario: Scenario, factor: float) -> Panel:
    drawn = []
    for row in scenario.ranked():
        middle, low, high = (value / factor for value in (row.median, min(row.values), max(row.values)))
        label = ", ".join([amount(row.median, scenario.unit), *outcomes(row)])
        part, note = standing(scenario, row.client)
        drawn.append(Bar(row.client, part, middle, low, high, label, note))
    return Panel(heading(group, scenario), "", tuple(drawn), tuple(scenario.failures.items()))


def outcomes(row: Row) -> list[str]:
    """What became of the messages that did not arrive."""
    return [f"{row.most(key):,} {key}" for key in ("refused", "lost") if row.most(key)]


def scale_of(scenarios: list[Scenario]) -> tuple[float, str]:
    """The unit of an axis of amounts: what to divide by, and its name."""
    highest = max(max(row.values) for scenario in scenarios for row in scenario.rows.values())
    factor, name = unit_of(highest, scenarios[0].unit)
    return factor, f" {name}"


def standing(scenario: Scenario, client: str) -> tuple[str, str]:
    """A bar's role, and the word that says how it stands to the rivals."""
    if not is_ours(client):
        return ("base" if client == scenario.baselines[0] else "rival"), ""
    loss = scenario.loss(client)
    if loss is not None and not loss.is_level:
        return "behind", "behind"
    return ("spin" if client in SPINNING else "ours"), "level" if loss is not None else ""


def heading(group: Group, scenario: Scenario) -> str:
    """A scenario's name without the group's."""
    return scenario.name.removeprefix(scenario.kind).strip() or group.title


# ---- tables ----------------------------------------------------------------------------------------------------------


def table(record: Record) -> str:
    """Every figure, as one Markdown table."""
    columns = ["", "median<br>least … most", below(BASELINE, "least … most"), SECOND, "CPU µs", "switches"]
    lines = [f"| {' | '.join(columns)} |", f"| --- |{' ---: |' * (len(columns) - 1)}"]
    for scenario in record.scenarios:
        first, second = scenario.baselines
        against = "" if first == BASELINE else below("", f"to {first} and {second}")
        lines.append(f"| ***{scenario.name}***{against} |{' |' * (len(columns) - 1)}")
        lines += [f"| {' | '.join(table_row(scenario, row))} |" for row in scenario.ranked()]
        for client, why in scenario.failures.items():
            lines.append(f"| {client} | failed: {why.replace('|', '/')} |{' |' * (len(columns) - 2)}")
    return "\n".join(lines)


def table_row(scenario: Scenario, row: Row) -> list[str]:
    spread = f"{amount(min(row.values), scenario.unit)} … {amount(max(row.values), scenario.unit)}"
    base, other = scenario.baselines
    ratio, second = scenario.ratio(row.client, base), scenario.ratio(row.client, other)
    compared = f"×{times(ratio.middle)}" if ratio else ""
    if ratio and row.client != base:
        compared = below(compared, f"{times(ratio.low)} … {times(ratio.high)}")
    return [
        f"**{row.client}**" if is_ours(row.client) else row.client,
        below(", ".join([amount(row.median, scenario.unit), *outcomes(row)]), spread),
        compared,
        f"×{times(second.middle)}" if second else "",
        f"{row.each('cpu_seconds') * 1e6:,.2f}",
        f"{row.each('switches'):.3f}",
    ]


def below(words: str, others: str) -> str:
    """Two lines in a cell, the second of which stays in one."""
    return f"{words}<br>{others.replace(' ', '&nbsp;')}"


def readme(record: Record) -> str:
    """The README's table: ratios to the baseline, amounts for memory, bold what is ahead of every rival."""
    lines = [f"| | {' | '.join(title for title, _ in README_COLUMNS)} |", f"| ---{' | ---:' * len(README_COLUMNS)} |"]
    for title, name in README_ROWS:
        scenario = record.named(name)
        if scenario is not None:
            cells = [readme_cell(scenario, client) for _, client in README_COLUMNS]
            lines.append(f"| {title} | {' | '.join(cells)} |".replace("|  |", "| |").replace("|  |", "| |"))
    return "\n".join(lines)


def readme_cell(scenario: Scenario, client: str) -> str:
    row = scenario.rows.get(client)
    if row is None:
        return ""
    ratio = scenario.ratio(client)
    if scenario.unit == "KiB":
        words = f"{row.median:.1f} KiB"
    elif ratio is None:
        return ""
    elif client == BASELINE:
        words = f"1 ({amount(row.median, scenario.unit)})"
    else:
        words = f"{ratio.middle:.1f}" if ratio.middle >= 1.995 else f"{ratio.middle:.2f}"
    return f"**{words}**" if is_ours(client) and scenario.loss(client) is None else words


# ---- the page --------------------------------------------------------------------------------------------------------


def machine(record: Record) -> str:
    about = record.machine
    packages = ", ".join(f"{name} {version}" for name, version in about.get("packages", {}).items())
    load = f"{about['load']:.1f} before and {about.get('load after', about['load']):.1f} after"
    python = f"{about.get('implementation', 'Python')} {about['python']}, {record.loop}"
    lines = [f"{about['cpu']}, {about['cores']} cores, {about['kernel']}; {python}; {packages}."]
    lines.append(f"{record.rounds} rounds; load average {load}.")
    if record.rounds < ENOUGH:
        lines.append(
            f"\n**A look, no figures to quote:** these are {record.rounds} short rounds on a machine that others used."
        )
    return "\n".join(lines)


def losses(record: Record) -> str:
    """Where a rival's median is better than one of ours."""
    found = record.losses()
    if not found:
        return "In this run no rival's median was better than ours anywhere."
    lines = []
    for loss in found:
        how = f"{times(loss.ratio.middle)} of {loss.rival}" if loss.ratio else f"behind {loss.rival}"
        spread = f" ({times(loss.ratio.low)} … {times(loss.ratio.high)})" if loss.ratio else ""
        when = "level" if loss.is_level else "in every round" if loss.is_certain else "not in every round"
        lines.append(f"- {loss.scenario}: *{loss.client}* {how}{spread}, {when}")
    return "\n".join(lines)


def pictures(record: Record) -> str:
    """A section a group, with its charts."""
    parts: list[str] = []
    last = None
    for group, slug, drawn in charts(record):
        if group != last:
            parts += [f"### {group.title}", *([group.about] if group.about else [])]
            last = group
        parts.append(
            f"![{drawn.title}: bars of each client; the figures are in the table below]({CHARTS.name}/{slug}.svg)"
        )
    return "\n\n".join(parts)


def budget(_record: Record) -> str:
    """The committed instructions of an operation: what the page tells of them has one source."""
    kept = json.loads(BUDGET.read_text(encoding="utf-8"))
    lines = ["| instructions of an operation, in user space | |", "| --- | ---: |"]
    return "\n".join(lines + [f"| {name} | {count:,} |" for name, count in kept["instructions"].items()])


PARTS = {"machine": machine, "budget": budget, "charts": pictures, "losses": losses, "table": table, **sides.PARTS}


def written(page: str, record: Record) -> str:
    """The page with its generated parts anew. Raises ValueError if a marker is missing."""
    for name, make in PARTS.items():
        page = between(page, name, make(record))
    return page


def marks(name: str) -> tuple[str, str]:
    return f"<!-- {name}: written by make charts -->", f"<!-- end of {name} -->"


def between(page: str, name: str, words: str) -> str:
    begin, end = marks(name)
    pattern = re.compile(f"{re.escape(begin)}.*?{re.escape(end)}", re.DOTALL)
    if not pattern.search(page):
        raise ValueError(f"no part {begin} … {end} to write")
    return pattern.sub(lambda _: f"{begin}\n\n{words}\n\n{end}", page, count=1)


def generated(record: Record) -> dict[Path, str]:
    """Every file that a record makes, with its text."""
    files = {CHARTS / f"{slug}.svg": drawn.svg(slug) for _, slug, drawn in charts(record)}
    files[PAGE] = written(PAGE.read_text(encoding="utf-8"), record)
    front = README.read_text(encoding="utf-8")
    for name, make in {"numbers": readme, **sides.PARTS}.items():
        if marks(name)[0] in front:
            front = files[README] = between(front, name, make(record))
    return files


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make charts ARGS=…", description=__doc__.splitlines()[0])
    parser.add_argument(
        "runs",
        nargs="*",
        type=Path,
        metavar="FILE",
        help="saved by make bench-rivals: becomes the record, several as one",
    )
    parser.add_argument("--table", action="store_true", help="print the table of all figures, write nothing")
    parser.add_argument("--readme", action="store_true", help="print the README's table, write nothing")
    return parser.parse_args()


def main() -> int:
    args = options()
    try:
        record = read(args.runs or [RECORD])
    except OSError as error:
        print(f"{error.filename}: {error.strerror}", file=sys.stderr)
        return 1
    except ValueError as error:
        print(error, file=sys.stderr)
        return 1
    if args.table or args.readme:
        print(table(record) if args.table else readme(record))
        return 0
    if not record.scenarios:
        print(f"{', '.join(map(str, args.runs or [RECORD]))}: no scenario was measured there", file=sys.stderr)
        return 1
    if args.runs:
        RECORD.write_text(compact(record.raw), encoding="utf-8")
        record = read([RECORD])
    files = generated(record)
    CHARTS.mkdir(exist_ok=True)
    for old in CHARTS.glob("*.svg"):
        if old not in files and old.name != FLAME:
            old.unlink()
    for path, words in files.items():
        path.write_text(words, encoding="utf-8")
    drawn = sum(path.suffix == ".svg" for path in files)
    pages = ", ".join(str(path.relative_to(ROOT)) for path in files if path.suffix != ".svg")
    print(f"{drawn} charts in {CHARTS.relative_to(ROOT)}/; {pages}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
