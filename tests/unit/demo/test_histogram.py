from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastws.demo.histogram import LatencyHistogram

VALUES = st.lists(st.integers(0, 10**12), min_size=1, max_size=200)


def filled(values):
    it = LatencyHistogram()
    it.record_all(values)
    return it


@given(VALUES, st.floats(0, 1))
def test_a_quantile_is_the_order_statistic(values, fraction):
    exact = sorted(values)[max(math.ceil(fraction * len(values)), 1) - 1]
    assert abs(filled(values).quantile(fraction) - exact) <= exact / 128


@given(VALUES)
def test_the_ends_are_exact(values):
    it = filled(values)
    assert (it.min, it.max, it.count, it.total) == (min(values), max(values), len(values), sum(values))
    assert it.quantile(1) <= it.max
    assert it.quantile(0) >= it.min


@given(st.lists(st.tuples(st.integers(0, 10**9), st.integers(0, 5)), max_size=30))
def test_many_at_once_is_one_by_one(pairs):
    bulk = LatencyHistogram()
    for value, times in pairs:
        bulk.record(value, times)
    single = filled([value for value, times in pairs for _ in range(times)])
    fractions = (0, 0.25, 0.5, 0.99, 1)
    assert bulk.quantiles(fractions) == single.quantiles(fractions)
    assert (bulk.count, bulk.total, bulk.min, bulk.max) == (single.count, single.total, single.min, single.max)


@given(VALUES, VALUES)
def test_merging_is_recording_both(one, other):
    merged = filled(one)
    merged.merge(filled(other))
    both = filled(one + other)
    assert merged.quantiles((0, 0.5, 0.9, 1)) == both.quantiles((0, 0.5, 0.9, 1))
    assert (merged.count, merged.min, merged.max) == (both.count, both.min, both.max)


def test_small_values_are_exact():
    it = filled(range(128))
    assert it.quantiles([n / 128 for n in range(1, 129)]) == list(range(128))


def test_quantiles_come_in_the_order_asked_for():
    it = filled(range(1, 101))
    assert it.quantiles((0.99, 0.5, 0.1)) == [99, 50, 10]


def test_empty_is_zero():
    it = LatencyHistogram()
    it.merge(LatencyHistogram())
    assert it.quantiles((0.5, 0.99)) == [0, 0]
    assert (it.min, it.max, it.count) == (0, 0, 0)


def test_merging_into_an_empty_one_keeps_the_smallest():
    it = LatencyHistogram()
    it.merge(filled([500, 900]))
    assert (it.min, it.max) == (500, 900)


def test_below_zero_is_zero():
    it = filled([-5])
    assert (it.min, it.max, it.total, it.quantile(0.5)) == (0, 0, 0, 0)


def test_an_hour_fits():
    assert abs(filled([3_600 * 10**9]).quantile(0.5) - 3_600 * 10**9) <= 3_600 * 10**9 / 128


def test_memory_stays_bounded():
    it = filled(n * n for n in range(1, 200_000))
    assert len(it._buckets) < 64 * 40


@pytest.mark.parametrize("fraction", [-0.01, 1.01, math.nan])
def test_a_quantile_outside_is_refused(fraction):
    with pytest.raises(ValueError, match="between 0 and 1"):
        filled([1]).quantile(fraction)


def test_a_negative_count_is_refused():
    with pytest.raises(ValueError, match="must not be negative"):
        LatencyHistogram().record(5, -1)
