"""One-way latency: messages that carry the time of their sending, and the time at which user code has them.

Server and client read one clock, CLOCK_MONOTONIC. The server stamps a message right before send(2), whenever that is:
lateness of its own is not counted, but kept beside, since messages that leave late leave in bursts.
"""

from __future__ import annotations

import math
import struct
import time
from array import array
from collections.abc import Sequence
from typing import Any

from meter import Sample

WARM_UP = 0.02
"""The part of the messages, at their beginning, that is not counted."""

STAMP = struct.Struct("<Q")


class Latencies:
    """Collects the latencies of one connection's messages, in their order."""

    def __init__(self, rate: float) -> None:
        self._interval = 1e9 / rate
        self._sent = array("q")
        self._taken = array("q")

    def take(self, message: Any) -> int:
        """Takes a message in; the first thing that happens to it."""
        now = time.monotonic_ns()
        self._taken.append(now)
        self._sent.append(STAMP.unpack_from(message)[0])
        return 1

    def tell(self, sample: Sample) -> Sample:
        """The sample, with the latencies."""
        first = int(len(self._taken) * WARM_UP)
        pairs = zip(self._taken[first:], self._sent[first:], strict=True)
        ordered = sorted(taken - sent for taken, sent in pairs)
        sample.p50_us = percentile(ordered, 50) / 1000
        sample.p99_us = percentile(ordered, 99) / 1000
        sample.p999_us = percentile(ordered, 99.9) / 1000
        sample.worst_us = ordered[-1] / 1000
        sample.late_us = percentile(lateness(self._sent, self._interval), 99) / 1000
        return sample


def percentile(ordered: Sequence[float], percent: float) -> float:
    """The nearest-rank percentile: the least value that so many percent of all do not exceed."""
    if not ordered:
        raise ValueError("no values, no percentiles")
    # Rounded, since 99.9 % of 1,000 is a little more than 999 in binary.
    rank = math.ceil(round(percent / 100 * len(ordered), 9))
    return ordered[min(max(rank, 1), len(ordered)) - 1]


def lateness(sent: Sequence[int], interval: float) -> list[float]:
    """How late each message was sent, ordered, in comparison to the most punctual one."""
    against = [at - number * interval for number, at in enumerate(sent)]
    first = min(against)
    return sorted(at - first for at in against)
