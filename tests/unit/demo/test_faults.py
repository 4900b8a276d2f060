"""The schedule of the phase with faults."""

from __future__ import annotations

import pytest

from fastws.demo.faults import FaultPlan
from fastws.testing import RefuseAt, ResetAt, SilenceAt


@pytest.mark.parametrize("seconds", [2.0, 12.0, 60.0])
def test_a_plan_fits_into_its_time_and_leaves_room_between_outages(seconds):
    plan = FaultPlan(seconds)
    times = [fault.at for fault in plan.faults]
    assert times == sorted(times)
    assert times[0] > 0
    assert times[-1] < seconds * 0.9
    silence = next(fault for fault in plan.faults if isinstance(fault, SilenceAt))
    assert silence.seconds > plan.receive_timeout
    assert silence.at + plan.receive_timeout + plan.longest_delay < plan.faults[2].at
    assert plan.first_delay < plan.longest_delay


def test_every_fault_but_the_refusal_ends_a_session():
    plan = FaultPlan()
    assert plan.outages == 4 == sum(not isinstance(fault, RefuseAt) for fault in plan.faults)
    assert isinstance(plan.faults[0], ResetAt)
    assert len(set(plan.tokens)) > 2


def test_faults_are_told_in_words():
    text = " ".join(words for _, words in FaultPlan(10).labels)
    for word in ("resets", "silent for 2.2 s", "1012 (service restart)", "503, Retry-After 1", "token expires: 4401"):
        assert word in text
