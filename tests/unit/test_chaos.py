"""Half an hour of resets, closes, silences, refusals, slow readers, orders and changes, in seconds: see chaos.py."""

import pytest

import chaos
from fastws import _core

SEEDS = range(20)


@pytest.mark.parametrize("seed", SEEDS)
def test_half_an_hour_of_chaos_loses_repeats_and_reorders_nothing(seed):
    run = chaos.run(seed)
    assert len(run.venue.wires) > 20
    assert len(run.full.data) > 2000
    assert len([order for order in run.trader.orders if order.receipt is not None]) > 100
    assert len([asked for asked in run.asker.asked if asked.answer is not None]) > (10 if run.plan.rate is None else 0)
    assert len(run.subscriber.log) > 20


@pytest.mark.skipif(not _core._clock_at(), reason="a release build goes by the real clock; `make test` builds another")
@pytest.mark.parametrize("seed", [3, 19, 27])
def test_a_seed_chooses_everything_there_is(seed):
    one, other = (chaos.run(seed) for _ in range(2))
    assert [at for at, _ in one.events] == [at for at, _ in other.events]
    assert [(at, text) for at, _, text in one.venue.sent] == [(at, text) for at, _, text in other.venue.sent]
    assert one.batches.items == other.batches.items
    for reader, twin in zip(one.readers, other.readers, strict=True):
        assert reader.marks == twin.marks
        assert reader.data == twin.data


def test_changes_of_connections_happen_and_some_are_seamless():
    taken_over = seamless = 0
    for seed in range(100, 130):
        run = chaos.run(seed)
        taken_over += len(run.history.taken_over)
        seamless += 2 * len(run.history.wires) - 1 - len(run.full.marks)
        if taken_over > 20 and seamless:
            return
    pytest.fail(f"{taken_over} connections taken over, {seamless} marks fewer than without a seamless change")


@pytest.mark.parametrize("first", range(1000, 1120, 20))
def test_a_shutdown_keeps_its_deadline_at_any_moment(first):
    for seed in range(first, first + 20):
        chaos.run(seed, seconds=seed % 40)


def test_the_seeds_choose_everything():
    plans = [chaos.Chaos(seed).plan for seed in SEEDS]
    assert {plan.policy for plan in plans} == {"fail", "keep", "drop"}
    assert {plan.rotation for plan in plans} == {"", "marked", "seamless"}
    assert {plan.outgoing for plan in plans} == {"", "sync", "async"}
    assert {look for plan in plans for look in plan.looks} == {"pass", "change", "drop", "fail"}
    assert {plan.is_async for plan in plans if plan.looks} == {True, False}
    assert {plan.taps for plan in plans} == {True, False}
    assert {plan.is_tight for plan in plans} == {True, False}
    assert {bool(plan.rate_keys) for plan in plans if plan.rate is not None} == {True, False}
