"""Half an hour of resets, closes, silences, refusals, slow readers and orders, in seconds: see chaos.py."""

import pytest

import chaos


@pytest.mark.parametrize("seed", range(6))
def test_half_an_hour_of_chaos_loses_repeats_and_reorders_nothing(seed):
    run = chaos.run(seed)
    assert len(run.venue.wires) > 20
    assert len(run.full.data) > 2000
