import struct
import time

import pytest

import latency
from meter import Sample


@pytest.mark.parametrize(
    ("percent", "expected"), [(0, 1), (50, 500), (50.01, 501), (99, 990), (99.9, 999), (99.91, 1000), (100, 1000)]
)
def test_a_percentile_is_the_least_value_that_so_many_do_not_exceed(percent, expected):
    assert latency.percentile(range(1, 1001), percent) == expected


def test_percentiles_of_few_values_are_values_that_were_measured():
    assert [latency.percentile([7.0], percent) for percent in (0, 50, 99.9)] == [7.0] * 3
    assert latency.percentile([1.0, 9.0], 50) == 1.0
    assert latency.percentile([1.0, 9.0], 50.1) == 9.0


def test_there_is_no_percentile_of_nothing():
    with pytest.raises(ValueError, match="no values"):
        latency.percentile([], 50)


def test_lateness_is_against_the_most_punctual_message():
    assert latency.lateness([1000, 1100, 1250, 1299], 100) == [0, 1, 1, 51]
    assert latency.lateness([50], 100) == [0]


def test_a_latency_is_from_the_stamp_to_the_taking_and_the_first_messages_do_not_count(monkeypatch):
    clock = iter(range(10**9, 2 * 10**9, 100_000))
    monkeypatch.setattr(time, "monotonic_ns", lambda: next(clock))
    latencies = latency.Latencies(rate=10_000)
    for number in range(100):
        on_the_way = 9_000_000 if number < 2 else 1_000 * (number + 1)
        sent = 10**9 + number * 100_000 - on_the_way
        assert latencies.take(struct.pack("<QQ", sent, number)) == 1
    sample = latencies.tell(Sample(100, 0.01, 0.0, 0))
    assert (sample.p50_us, sample.p99_us, sample.p999_us, sample.worst_us) == (51.0, 100.0, 100.0, 100.0)
    assert sample.late_us == pytest.approx(8_996.0)


def test_stamps_are_read_out_of_any_buffer():
    latencies = latency.Latencies(rate=10_000)
    for kind in (bytes, bytearray, memoryview):
        latencies.take(kind(struct.pack("<QQ", time.monotonic_ns(), 0) + b"x" * 112))
    assert 0 <= latencies.tell(Sample(3, 1.0, 0.0, 0)).worst_us < 60e6
