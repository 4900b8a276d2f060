"""What the gate on instruction counts lets pass (benches/instructions.py)."""

import pytest

import instructions


@pytest.mark.parametrize(
    ("count", "fault"),
    [(1000, None), (1029, None), (945, None), (1031, "over budget"), (939, "far below budget")],
)
def test_a_count_is_held_to_its_budget_from_both_sides(count, fault):
    faults = instructions.judged({"case": count}, {"case": 1000})
    assert [each.partition(":")[0] for each in faults] == ([] if fault is None else [fault])


def test_a_case_without_a_budget_is_a_fault_and_without_any_budget_nothing_is_judged():
    assert instructions.judged({"new": 1}, {"case": 1000}) == [
        "no budget: new. make bench-instructions ARGS=--update sets one"
    ]
    assert instructions.judged({"case": 1}, {}) == []
