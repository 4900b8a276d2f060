"""Instructions of an operation, counted by valgrind, against a committed budget.

Time drifts on a machine that others use; the number of instructions hardly does. Each case runs twice in a process of
its own, with fewer and with more operations; the difference, divided by theirs, is what one operation takes, without
the start of the interpreter and of the connection. The kernel's instructions are not counted, and valgrind knows no
AVX-512: the budget is that of the AVX2 path.

``instructions.py`` prints a table and fails if a case takes more than its budget and the slack, or so much less that
the budget holds nothing any more; ``--update`` writes what was counted as the new budget. The committed budget is that
of one interpreter and one compiler. Elsewhere two commits are compared: ``--record FILE`` writes what was counted,
``--against FILE`` takes that for the budget.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import sysconfig
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import clients
import peer
import scenarios

HERE = Path(__file__).resolve().parent
BUDGET = HERE / "instructions.json"
SLACK = 0.03
STALE = 0.06
"""A case that takes so much less than its budget could get slower unseen."""
TIMEOUT = 600.0
TRIES = 3
"""How many messages arrive together depends on the machine's mood: the best of so many counts is held to the budget."""


@dataclass(frozen=True)
class Case:
    """What is counted: a client, a scenario, and two numbers of operations."""

    client: type[clients.Client]
    scenario: str
    fewer: int
    more: int

    @property
    def name(self) -> str:
        return f"{self.scenario}, {self.client.name}"


ITERATE, LISTENER, BATCHES = clients.FastwsIterate, clients.FastwsListener, clients.FastwsBatches
NOWAIT = clients.FastwsSendNowait
STREAM, MARKERS, THREE = clients.FastwsStream, clients.FastwsStreamMarkers, clients.FastwsStreams
CASES = (
    Case(ITERATE, "round-trip 256 B TCP", 1_000, 5_000),
    Case(LISTENER, "round-trip 256 B TCP", 1_000, 5_000),
    Case(ITERATE, "round-trip 256 B TLS", 500, 2_500),
    Case(ITERATE, "ingest 128 B TCP", 100_000, 500_000),
    Case(LISTENER, "ingest 128 B TCP", 100_000, 500_000),
    Case(BATCHES, "ingest 128 B TCP", 100_000, 500_000),
    Case(STREAM, "ingest 128 B TCP", 100_000, 500_000),
    Case(MARKERS, "ingest 128 B TCP", 100_000, 500_000),
    Case(THREE, "ingest 128 B TCP", 50_000, 250_000),
    Case(ITERATE, "ingest 128 B TLS", 50_000, 250_000),
    Case(ITERATE, "send 128 B TCP", 20_000, 100_000),
    Case(ITERATE, "send 16 KiB TCP", 2_000, 10_000),
    Case(NOWAIT, "send-each-turn 128 B TCP", 5_000, 25_000),
)


class CannotCount(Exception):
    """Why an operation could not be counted."""


def instructions(case: Case, operations: int, server: peer.Peer) -> int:
    """Of a whole process that does so many operations."""
    scenario = next(scenario for scenario in scenarios.ALL if scenario.name == case.scenario)
    command = ["valgrind", "--tool=cachegrind", "--cache-sim=no", "--cachegrind-out-file=/dev/null"]
    command += [sys.executable, str(HERE / "measure.py"), case.client.name, case.scenario]
    command += ["--scale", repr(operations / scenario.count)]
    environment = os.environ | {"PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "1"}
    try:
        done = subprocess.run(
            command,
            input=json.dumps(asdict(server)),
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
            env=environment,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise CannotCount(f"{case.name}: not done within {TIMEOUT:.0f} s") from None
    counted = re.search(r"I\s+refs:\s+([\d,]+)", done.stderr)
    if done.returncode != 0 or counted is None:
        lines = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
        raise CannotCount(f"{case.name}: {lines[-1]}")
    return int(counted[1].replace(",", ""))


def each(case: Case, server: peer.Peer) -> float:
    """Instructions of one operation."""
    fewer, more = (instructions(case, operations, server) for operations in (case.fewer, case.more))
    return (more - fewer) / (case.more - case.fewer)


def best(case: Case, server: peer.Peer, budget: float | None) -> float:
    """The count, taken again while it is over the budget."""
    found = each(case, server)
    for _ in range(1, TRIES):
        if budget is None or found <= budget * (1 + SLACK):
            break
        found = min(found, each(case, server))
    return found


def here() -> dict[str, str]:
    """What the figures depend on: half of the instructions are the interpreter's, and how it was built decides them."""
    rustc = subprocess.run(["rustc", "--version"], capture_output=True, text=True, check=False).stdout.split()
    optimized = "--enable-optimizations" in (sysconfig.get_config_var("CONFIG_ARGS") or "")
    return {
        "python": f"{platform.python_version()}{' (profile-guided)' if optimized else ''}",
        "compiler": platform.python_compiler(),
        "rustc": rustc[1] if len(rustc) > 1 else "unknown",
        "machine": platform.machine(),
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
        lines.append(line)
    return "\n".join(lines)


def judged(found: dict[str, float], budget: dict[str, float]) -> list[str]:
    """What is wrong with the counts, a line each; nothing where there is no budget."""
    faults = []
    for name, count in found.items() if budget else ():
        if name not in budget:
            faults.append(f"no budget: {name}. make bench-instructions ARGS=--update sets one")
        elif count > budget[name] * (1 + SLACK):
            faults.append(f"over budget: {name}. If the cost is worth it: make bench-instructions ARGS=--update")
        elif count < budget[name] * (1 - STALE):
            faults.append(f"far below budget: {name}. Keep what was won: make bench-instructions ARGS=--update")
    return faults


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--update", action="store_true", help="write what was counted as the new budget")
    parser.add_argument("--only", default="", metavar="TEXT", help="cases whose name has this text")
    parser.add_argument("--record", type=Path, metavar="FILE", help="write what was counted there; nothing is judged")
    parser.add_argument(
        "--against", type=Path, metavar="FILE", help="the budget is what --record wrote, of another commit"
    )
    args = parser.parse_args()
    if shutil.which("valgrind") is None:
        print("no valgrind found, which counts the instructions (Debian/Ubuntu: apt install valgrind)", file=sys.stderr)
        return 2
    cases = [case for case in CASES if args.only in case.name]
    if not cases:
        print(f"no case has {args.only!r} in its name; there are: {'; '.join(c.name for c in CASES)}", file=sys.stderr)
        return 2
    source = args.against or BUDGET
    kept: dict[str, Any] = json.loads(source.read_text()) if source.exists() else {}
    same = {key: kept.get(key) for key in here()} == here()
    judges = not (args.update or args.record)
    budget: dict[str, float] = kept.get("instructions", {}) if same and judges else {}
    if not same and args.against:
        print(f"{source} is of {budget_of(kept)}; this is {budget_of(here())}: not to be compared", file=sys.stderr)
        return 2
    if not same and judges:
        print(f"the budget is of {budget_of(kept)}; this is {budget_of(here())}: counted only, nothing judged")
    with peer.running() as server, ThreadPoolExecutor(os.cpu_count()) as pool:
        counts = pool.map(lambda case: best(case, server, budget.get(case.name)), cases)
        try:
            found = {case.name: count for case, count in zip(cases, counts, strict=True)}
        except CannotCount as error:
            print(error, file=sys.stderr)
            return 1
    print(table(found, budget))
    if args.update:
        old = kept.get("instructions", {}) if same else {}
        new = {case.name: round((old | found)[case.name]) for case in CASES if case.name in old | found}
        BUDGET.write_text(json.dumps({**here(), "instructions": new}, indent=2) + "\n")
    if args.record:
        new = {name: round(count) for name, count in found.items()}
        args.record.write_text(json.dumps({**here(), "instructions": new}, indent=2) + "\n")
    faults = judged(found, {} if args.against and not budget else budget)
    for fault in faults:
        print(fault, file=sys.stderr)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
