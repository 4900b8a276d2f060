"""Time, CPU and context switches of a stretch of a program."""

from __future__ import annotations

import resource
import time
from dataclasses import dataclass
from pathlib import Path


@dataclass
class Sample:
    """One measurement."""

    operations: int
    seconds: float
    cpu_seconds: float
    """User and system together: on virtual machines only the sum means something."""
    switches: int
    """Voluntary context switches: how often the client slept."""
    bytes_each: float = 0.0
    """For idle connections: memory of each."""

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


def resident() -> int:
    """Bytes of memory that this process has to itself (Linux), or at its peak (elsewhere)."""
    try:
        lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    private = ("Private_Clean:", "Private_Dirty:")
    return sum(int(line.split()[1]) for line in lines if line.startswith(private)) * 1024
