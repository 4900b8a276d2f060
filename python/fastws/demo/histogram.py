"""A latency histogram with log-linear buckets: constant memory, constant time a value, about 1.6 % resolution."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable


class LatencyHistogram:
    """Counts of durations in whole nanoseconds.

    Values below 128 ns are exact; above, every power of two is cut into 64 buckets, so a quantile is off by at most
    1/128 of itself (a bucket answers with its middle). The smallest and largest value are kept exactly.

    Attributes:
        count: values recorded.
        total: their sum, in nanoseconds.
    """

    __slots__ = ("_buckets", "_max", "_min", "count", "total")

    def __init__(self) -> None:
        self.count = 0
        self.total = 0
        self._buckets: dict[int, int] = {}
        self._min = 0
        self._max = 0

    def record(self, nanoseconds: int, times: int = 1) -> None:
        """Count ``nanoseconds`` (below 0 counts as 0: two clocks may disagree a little) ``times`` times.

        Raises:
            ValueError: ``times`` is negative.
        """
        if times <= 0:
            if times:
                msg = f"times must not be negative: {times}"
                raise ValueError(msg)
            return
        value = max(nanoseconds, 0)
        if not self.count or value < self._min:
            self._min = value
        self._max = max(self._max, value)
        self.count += times
        self.total += value * times
        shift = max(value.bit_length() - _PRECISION, 0)
        bucket = (shift << _PRECISION) + (value >> shift)
        self._buckets[bucket] = self._buckets.get(bucket, 0) + times

    def record_all(self, values: Iterable[int]) -> None:
        """Count every value of ``values`` once."""
        for value in values:
            self.record(value)

    def merge(self, other: LatencyHistogram) -> None:
        """Add the counts of ``other`` to this one."""
        if not other.count:
            return
        self._min = min(self._min, other._min) if self.count else other._min
        self._max = max(self._max, other._max)
        self.count += other.count
        self.total += other.total
        for bucket, times in other._buckets.items():
            self._buckets[bucket] = self._buckets.get(bucket, 0) + times

    def quantile(self, fraction: float) -> int:
        """Return the value that ``fraction`` (0 to 1) of all values do not exceed, in nanoseconds; 0 when empty.

        Raises:
            ValueError: ``fraction`` is outside 0 to 1.
        """
        return self.quantiles((fraction,))[0]

    def quantiles(self, fractions: Iterable[float]) -> list[int]:
        """Return `quantile` of each of ``fractions``, in their order, with one pass over the buckets."""
        wanted = list(fractions)
        for fraction in wanted:
            if not 0 <= fraction <= 1:
                msg = f"a quantile is between 0 and 1: {fraction}"
                raise ValueError(msg)
        found = [0] * len(wanted)
        if not self.count:
            return found
        ranks = sorted((max(_ceil(fraction * self.count), 1), place) for place, fraction in enumerate(wanted))
        buckets = iter(sorted(self._buckets.items()))
        seen, value = 0, 0
        for rank, place in ranks:
            while seen < rank:
                bucket, times = next(buckets)
                seen += times
                value = _middle(bucket)
            found[place] = min(max(value, self._min), self._max)
        return found

    @property
    def min(self) -> int:
        """The smallest value, in nanoseconds; 0 when empty."""
        return self._min

    @property
    def max(self) -> int:
        """The largest value, in nanoseconds; 0 when empty."""
        return self._max


def _ceil(value: float) -> int:
    return -int(-value // 1)


def _middle(bucket: int) -> int:
    """Return the middle of what falls into ``bucket``."""
    shift = max(bucket >> _PRECISION, 0)
    low = (bucket - (shift << _PRECISION)) << shift
    return low + ((1 << shift) - 1) // 2


_PRECISION: Final = 7  # bits of a value that are kept: 64 buckets for every power of two
