"""Instructions of an operation, counted by valgrind, against a committed budget.

Time drifts on a machine that others use; the number of instructions hardly does. How they are counted: ``counting.py``.

``instructions.py`` prints a table and fails if a case takes more than its budget and the slack, or so much less that
the budget holds nothing any more; ``--update`` writes what was counted as the new budget. The committed budget is that
of one interpreter and one compiler. Elsewhere two commits are compared: ``--record FILE`` writes what was counted,
``--against FILE`` takes that for the budget, and fails only if a case takes more. ``--try-slow`` shows that the gate
holds: it slows a copy of the sources on purpose, and fails if a slowed case is not over budget.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import sysconfig
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import counting
import peer
import slow_paths
from counting import CASES, CannotCount, Case

BUDGET = Path(__file__).resolve().with_suffix(".json")
SLACK = 0.03
STALE = 0.06
"""A case that takes so much less than its budget could get slower unseen."""
TRIES = 3
"""How many messages arrive together depends on the machine's mood: the best of so many counts is held to the budget."""
CLOCK = "slowed"
"""What time a program is told while it is counted: figures that were counted otherwise are not comparable."""


def best(case: Case, server: peer.Peer, budget: float | None, package: Path | None = None) -> float:
    """The count, taken again while it is over the budget."""
    found = counting.each(case, server, package)
    for _ in range(1, TRIES):
        if budget is None or found <= budget * (1 + SLACK):
            break
        found = min(found, counting.each(case, server, package))
    return found


def count(cases: Sequence[Case], budget: dict[str, float], package: Path | None = None) -> dict[str, float]:
    """What each case takes, by its name."""
    with peer.running(feed=False) as server, ThreadPoolExecutor(os.cpu_count()) as pool:
        counts = pool.map(lambda case: best(case, server, budget.get(case.name), package), cases)
        return {case.name: count for case, count in zip(cases, counts, strict=True)}


def here() -> dict[str, str]:
    """What the figures depend on: half of the instructions are the interpreter's, and how it was built decides them."""
    rustc = subprocess.run(["rustc", "--version"], capture_output=True, text=True, check=False).stdout.split()
    optimized = "--enable-optimizations" in (sysconfig.get_config_var("CONFIG_ARGS") or "")
    return {
        "python": f"{platform.python_version()}{' (profile-guided)' if optimized else ''}",
        "compiler": platform.python_compiler(),
        "rustc": rustc[1] if len(rustc) > 1 else "unknown",
        "machine": platform.machine(),
        "clock": CLOCK,
    }


def budget_of(found: dict[str, Any]) -> str:
    """What a budget depends on, for people."""
    return ", ".join(f"{key} {found.get(key, 'unknown')}" for key in here())


def table(found: dict[str, float], budget: dict[str, float]) -> str:
    """A line for each case: what was counted, the budget, and the difference."""
    width = max(map(len, found))
    lines = [f"{'instructions of an operation':{width}}  {'counted':>9}  {'budget':>9}"]
    for name, count in found.items():
        line = f"{name:{width}}  {count:9,.0f}"
        if name in budget:
            change = count / budget[name] - 1
            line += f"  {budget[name]:9,.0f}  {change:+7.1%}{'  OVER' if change > SLACK else ''}"
        elif budget:
            line += f"  {'new':>9}"
        lines.append(line)
    return "\n".join(lines)


def over(found: dict[str, float], budget: dict[str, float]) -> list[str]:
    """The cases that take more than their budget and the slack. One without a budget is new, and does not."""
    return [name for name, count in found.items() if name in budget and count > budget[name] * (1 + SLACK)]


def judged(found: dict[str, float], budget: dict[str, float], *, committed: bool) -> list[str]:
    """What is wrong with the counts, a line each; nothing where there is no budget.

    The committed budget has every case and is tight; another commit's counts may be beaten, and may lack a case.
    """
    update = "make bench-instructions ARGS=--update"
    faults = []
    for name, count in found.items() if budget else ():
        if name in over({name: count}, budget):
            faults.append(f"over budget: {name}" + (f". If the cost is worth it: {update}" if committed else ""))
        elif committed and name not in budget:
            faults.append(f"no budget: {name}. {update} sets one")
        elif committed and count < budget[name] * (1 - STALE):
            faults.append(f"far below budget: {name}. Keep what was won: {update}")
    return faults


def try_slow() -> int:
    """Whether the slow paths that are put in on purpose are seen."""
    names = [name for path in slow_paths.SLOW_PATHS for name in path.cases]
    cases = [case for case in CASES if case.name in names]
    print("counted as it is, then with slow paths put in on purpose, which takes a build", flush=True)
    budget = count(cases, {})
    slow = count(cases, budget, slow_paths.slowed_package(sys.executable))
    print(table(slow, budget))
    unseen = sorted(set(names) - set(over(slow, budget)))
    for name in unseen:
        print(f"NOT SEEN: {name} goes through a slow path and is not over budget", file=sys.stderr)
    if not unseen:
        print("every slow path is seen")
    return 1 if unseen else 0


def write(path: Path, counts: dict[str, float]) -> None:
    rounded = {name: round(count) for name, count in counts.items()}
    path.write_text(json.dumps({**here(), "instructions": rounded}, indent=2) + "\n")


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="make bench-instructions ARGS=…", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--update", action="store_true", help="write what was counted as the new budget")
    what.add_argument("--record", type=Path, metavar="FILE", help="write what was counted there; nothing is judged")
    what.add_argument("--against", type=Path, metavar="FILE", help="judge by what --record wrote of another commit")
    what.add_argument("--try-slow", action="store_true", help="put slow paths in on purpose: the gate must see them")
    parser.add_argument("--only", default="", metavar="TEXT", help="cases whose name has this text")
    args = parser.parse_args()
    args.cases = [case for case in CASES if args.only in case.name]
    if not args.cases:
        parser.error(f"no case has {args.only!r} in its name; there are: {'; '.join(c.name for c in CASES)}")
    return args


def main() -> int:
    args = options()
    if missing := counting.needed():
        print(missing, file=sys.stderr)
        return 2
    try:
        return try_slow() if args.try_slow else count_and_judge(args)
    except (CannotCount, slow_paths.CannotSlow) as error:
        print(error, file=sys.stderr)
        return 1


def count_and_judge(args: argparse.Namespace) -> int:
    source = args.against or BUDGET
    kept: dict[str, Any] = json.loads(source.read_text()) if source.exists() else {}
    comparable = {key: kept.get(key) for key in here()} == here()
    judges = not (args.update or args.record)
    budget: dict[str, float] = kept.get("instructions", {}) if comparable and judges else {}
    found = count(args.cases, budget)
    print(table(found, budget))
    if args.update:
        old = kept.get("instructions", {}) if comparable else {}
        write(BUDGET, {case.name: (old | found)[case.name] for case in CASES if case.name in old | found})
        print("docs/benchmarks.md shows the budget: make charts")
    if args.record:
        write(args.record, found)
    if judges and not budget:
        print(
            f"NOTHING WAS JUDGED: {source.name} is of {budget_of(kept)}; this is {budget_of(here())}", file=sys.stderr
        )
    faults = judged(found, budget, committed=args.against is None)
    for fault in faults:
        print(fault, file=sys.stderr)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
