"""How many instructions an operation takes: valgrind counts them, of a client and a scenario.

Each case runs twice in a process of its own, with fewer and with more operations; the difference, divided by theirs, is
what one operation takes, without the start of the interpreter and of the connection. The kernel's instructions are not
counted, and valgrind knows no AVX-512: what is counted is the AVX2 path.

What a program does depends on the time, and valgrind makes it some fifty times slower: it is told a slower time, see
``slow_clock.c``.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import threading
from dataclasses import asdict, dataclass
from pathlib import Path

import clients
import peer
import scenarios

HERE = Path(__file__).resolve().parent
BUILD = HERE.parent / "build" / "bench"
TIMEOUT = 600.0


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
NOWAIT, DROP_IN = clients.FastwsSendNowait, clients.FastwsDropIn
STREAM, MARKERS, THREE = clients.FastwsStream, clients.FastwsStreamMarkers, clients.FastwsStreams
CASES = (
    Case(ITERATE, "round-trip 256 B TCP", 1_000, 5_000),
    Case(LISTENER, "round-trip 256 B TCP", 1_000, 5_000),
    Case(ITERATE, "round-trip 256 B TLS", 500, 2_500),
    Case(ITERATE, "ingest 128 B TCP", 50_000, 250_000),
    Case(LISTENER, "ingest 128 B TCP", 50_000, 250_000),
    Case(BATCHES, "ingest 128 B TCP", 50_000, 250_000),
    Case(STREAM, "ingest 128 B TCP", 50_000, 250_000),
    Case(MARKERS, "ingest 128 B TCP", 50_000, 250_000),
    Case(THREE, "ingest 128 B TCP", 50_000, 250_000),
    Case(ITERATE, "ingest 128 B TLS", 50_000, 250_000),
    Case(ITERATE, "send 128 B TCP", 20_000, 100_000),
    Case(ITERATE, "send 16 KiB TCP", 2_000, 10_000),
    Case(NOWAIT, "send-each-turn 128 B TCP", 5_000, 25_000),
    Case(DROP_IN, "round-trip 256 B TCP", 1_000, 5_000),
    Case(DROP_IN, "ingest 128 B TCP", 50_000, 250_000),
)


class CannotCount(Exception):
    """Why an operation could not be counted."""


def needed() -> str:
    """What is missing to count, and where it is to be had; empty if nothing is."""
    if shutil.which("valgrind") is None:
        return "no valgrind found, which counts the instructions (Debian/Ubuntu: apt install valgrind)"
    if shutil.which("cc") is None:
        return "no C compiler (cc) found, which builds the slow clock (Debian/Ubuntu: apt install build-essential)"
    return ""


def slow_clock() -> Path:
    """The library that slows a program's clock, built if it is not there or older than its source."""
    source, library = HERE / "slow_clock.c", BUILD / "slow_clock.so"
    if not library.exists() or library.stat().st_mtime < source.stat().st_mtime:
        BUILD.mkdir(parents=True, exist_ok=True)
        # Several cases are counted at a time.
        new = library.with_suffix(f".{os.getpid()}.{threading.get_ident()}")
        command = ["cc", "-O2", "-Wall", "-Wextra", "-shared", "-fPIC", "-o", str(new), str(source), "-ldl"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise CannotCount(f"{source.name}: {done.stderr.strip()}")
        new.replace(library)
    return library


def run(case: Case, operations: int, server: peer.Peer, tool: list[str], package: Path | None = None) -> str:
    """What a tool of valgrind's says of a process that does so many operations, with the package of a folder."""
    scenario = next(scenario for scenario in scenarios.ALL if scenario.name == case.scenario)
    # A slow client does a share of the operations: these are as many as are asked for nevertheless.
    scenario = scenario.shared(case.client.share)
    command = ["valgrind", *tool, sys.executable, str(HERE / "measure.py"), case.client.name, case.scenario]
    command += ["--scale", repr(operations / scenario.count)]
    environment = os.environ | {"PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "1", "LD_PRELOAD": str(slow_clock())}
    if package is not None:
        environment["PYTHONPATH"] = str(package)
    given = json.dumps(asdict(server))
    try:
        done = subprocess.run(
            command, input=given, capture_output=True, text=True, timeout=TIMEOUT, env=environment, check=False
        )
    except subprocess.TimeoutExpired:
        raise CannotCount(f"{case.name}: not done within {TIMEOUT:.0f} s") from None
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
        raise CannotCount(f"{case.name}: {lines[-1]}")
    return done.stderr


def instructions(case: Case, operations: int, server: peer.Peer, package: Path | None) -> int:
    """Of a whole process that does so many operations."""
    tool = ["--tool=cachegrind", "--cache-sim=no", "--cachegrind-out-file=/dev/null"]
    counted = re.search(r"I\s+refs:\s+([\d,]+)", run(case, operations, server, tool, package))
    if counted is None:
        raise CannotCount(f"{case.name}: valgrind counted nothing")
    return int(counted[1].replace(",", ""))


def each(case: Case, server: peer.Peer, package: Path | None = None) -> float:
    """Instructions of one operation."""
    fewer, more = (instructions(case, operations, server, package) for operations in (case.fewer, case.more))
    return (more - fewer) / (case.more - case.fewer)
