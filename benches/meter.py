"""Time, CPU, context switches, memory and latency of a stretch of a program."""

from __future__ import annotations

import gc
import resource
import time
from dataclasses import dataclass
from pathlib import Path


@dataclass
class Sample:
    """One measurement. What a scenario does not measure is 0."""

    operations: int
    seconds: float
    cpu_seconds: float
    """User and system together: on virtual machines only the sum means something."""
    switches: int
    """Voluntary context switches: how often the client slept."""
    bytes_each: float = 0.0
    """For idle connections: memory of each."""
    rested_each: float = 0.0
    """The same after some silence."""
    grown_bytes: int = 0
    """Growth of the resident memory at its peak."""
    refused: int = 0
    """Messages that were not accepted, and an error or a warning said so of each."""
    lost: int = 0
    """Messages that were accepted and did not reach the server."""
    p50_us: float = 0.0
    p99_us: float = 0.0
    p999_us: float = 0.0
    worst_us: float = 0.0
    late_us: float = 0.0
    """How late the server sent: 99 % of its messages were not later. It is no part of the latency."""

    @property
    def rate(self) -> float:
        return self.operations / self.seconds

    @property
    def cpu_us(self) -> float:
        return self.cpu_seconds / self.operations * 1e6

    @property
    def switches_each(self) -> float:
        return self.switches / self.operations


class Meter:
    """Measures from ``start`` to ``stop``."""

    def start(self) -> None:
        self._usage = resource.getrusage(resource.RUSAGE_SELF)
        self._time = time.perf_counter()

    def stop(self, operations: int) -> Sample:
        seconds = time.perf_counter() - self._time
        before, after = self._usage, resource.getrusage(resource.RUSAGE_SELF)
        cpu = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
        return Sample(operations, seconds, cpu, after.ru_nvcsw - before.ru_nvcsw)


class Growth:
    """How much the resident memory of this process grows at its peak, from when this is made."""

    def __init__(self) -> None:
        gc.collect()
        # Without this file (it is Linux's), a peak of before hides what is not higher.
        if RESET_PEAK.exists():
            RESET_PEAK.write_text("5")
        self._before = _status("VmRSS") or _most()

    def bytes(self) -> int:
        return max(0, (_status("VmHWM") or _most()) - self._before)


RESET_PEAK = Path("/proc/self/clear_refs")


def _status(field: str) -> int:
    """A size that the kernel tells of this process, in bytes; 0 where it does not."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{field}:")), 0)


def _most() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def resident() -> int:
    """Bytes of memory that this process has to itself (Linux), or at its peak (elsewhere)."""
    try:
        lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    except OSError:
        return _most()
    private = ("Private_Clean:", "Private_Dirty:")
    return sum(int(line.split()[1]) for line in lines if line.startswith(private)) * 1024
