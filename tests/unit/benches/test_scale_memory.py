"""What a connection may take, among few and among many (benches/scale.py)."""

import pytest

import scale


def steps(*each):
    """Steps of these KiB a connection: 10 connections, 100, 1,000, …"""
    counts = [10 * 10**number for number in range(len(each))]
    opened = [count - before for before, count in zip([0, *counts], counts, strict=False)]
    return [
        scale.Step(count, kib * 1024, 1000.0, 20.0, 0.0, new)
        for count, kib, new in zip(counts, each, opened, strict=True)
    ]


@pytest.mark.parametrize(
    ("each", "fault"),
    [
        ((9.0, 2.5, 1.9, 1.8), None),
        ((9.0, 2.0, 2.4), None),
        ((9.0, 4.1, 1.9), "takes 4.1 KiB; 4 are allowed"),
        ((1.0, 1.0, 1.9, 4.2), "takes 4.2 KiB; 4 are allowed"),
        ((1.0, 1.0, 1.1, 1.3), "takes 1.3 KiB among 10,000, 1.0 among 100; 1.25 times"),
        ((9.0,), None),
    ],
)
def test_memory_of_a_connection_is_bounded_and_flat(each, fault):
    if fault is None:
        scale.check_memory("TCP", steps(*each), 4)
        return
    with pytest.raises(scale.Failed, match=fault):
        scale.check_memory("TCP", steps(*each), 4)
