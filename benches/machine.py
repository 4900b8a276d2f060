"""The machine that measures: which cores to use, how busy it is, and a description to keep with the figures."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import sys
from pathlib import Path
from typing import Any

PACKAGES = ("fastws-client", "picows", "websockets", "aiohttp", "websocket-rs", "websocket-client", "uvloop", "orjson")


def cores() -> tuple[int | None, int | None]:
    """A core for the client and another for the server; (None, None) where that cannot be had."""
    if not hasattr(os, "sched_getaffinity"):
        return None, None
    free = sorted(os.sched_getaffinity(0))
    if len(free) < 2:
        return None, None
    # The last one and one that is not its sibling: cores of one hyper-thread pair share what is measured.
    server = free[-1]
    apart = [core for core in free[:-1] if core not in _siblings(server)]
    return (apart or free)[0], server


def _siblings(core: int) -> set[int]:
    path = Path(f"/sys/devices/system/cpu/cpu{core}/topology/thread_siblings_list")
    try:
        text = path.read_text().strip()
    except OSError:
        return {core}
    found: set[int] = set()
    for part in text.split(","):
        first, _, last = part.partition("-")
        found.update(range(int(first), int(last or first) + 1))
    return found


def pin(core: int | None) -> None:
    """Runs this process on one core from now on."""
    if core is not None:
        os.sched_setaffinity(0, {core})


def load() -> float:
    """The load average of the last minute; 0 where there is none."""
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0


def description() -> dict[str, Any]:
    """What a reader of the figures has to know."""
    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return {
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "kernel": f"{platform.system()} {platform.release().partition('-')[0]}",
        "python": sys.version.split()[0],
        "implementation": platform.python_implementation(),
        "packages": versions,
        "load": load(),
    }


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    for line in lines:
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()
