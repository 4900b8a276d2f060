from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastws.demo.verify import FeedCheck

SOURCE = [f"message {n}" for n in range(20)] + [b"\x00binary"]


def check(received, source=SOURCE, batch=3, *, ended=True):
    it = FeedCheck(source)
    for start in range(0, len(received), batch):
        it.add(received[start : start + batch])
    return it.verdict(ended=ended)


@pytest.mark.parametrize("batch", [1, 2, 7, 100])
def test_the_same_messages_are_equal(batch):
    verdict = check(SOURCE, batch=batch)
    assert verdict.equal
    assert verdict.hash_equal
    assert verdict.in_order
    assert (verdict.expected, verdict.received, verdict.lost, verdict.out_of_place) == (21, 21, 0, 0)
    assert verdict.first_difference is None
    assert verdict.bytes == sum(map(len, SOURCE))


def test_a_lost_message_is_found():
    verdict = check(SOURCE[:8] + SOURCE[9:])
    assert not verdict.equal
    assert not verdict.hash_equal
    assert verdict.in_order
    assert (verdict.lost, verdict.out_of_place, verdict.first_difference) == (1, 0, 8)
    assert verdict.difference == "the source's message 9 came in its place"


def test_a_repeated_message_is_found():
    verdict = check(SOURCE[:8] + SOURCE[7:])
    assert (verdict.lost, verdict.out_of_place, verdict.first_difference) == (0, 1, 8)
    assert verdict.difference == "the source's message 7 came again"
    assert not verdict.in_order


def test_two_swapped_messages_are_found():
    swapped = [*SOURCE[:5], SOURCE[6], SOURCE[5], *SOURCE[7:]]
    verdict = check(swapped)
    assert verdict.first_difference == 5
    assert not verdict.in_order
    assert not verdict.equal
    assert (verdict.lost, verdict.out_of_place) == (1, 1)  # 5 is missing where it belongs, and comes where it does not


def test_a_message_that_comes_too_late_is_out_of_place():
    verdict = check([*SOURCE[:8], SOURCE[11], SOURCE[9], *SOURCE[12:]])
    assert (verdict.lost, verdict.out_of_place, verdict.first_difference) == (3, 1, 8)


def test_a_changed_message_is_found():
    verdict = check([*SOURCE[:5], "message X", *SOURCE[6:]])
    assert (verdict.lost, verdict.out_of_place, verdict.first_difference) == (1, 1, 5)
    assert verdict.difference == "a text message of length 9 came that the source does not have"


def test_another_kind_is_another_message():
    verdict = check([*SOURCE[:5], SOURCE[5].encode(), *SOURCE[6:]])
    assert verdict.first_difference == 5
    assert "a binary message" in verdict.difference


def test_an_early_end_is_found():
    verdict = check(SOURCE[:8])
    assert (verdict.lost, verdict.out_of_place, verdict.first_difference) == (13, 0, 8)
    assert verdict.difference == "the session ended 13 messages early"
    assert not verdict.equal


def test_nothing_at_all_is_not_equal():
    assert not check([]).equal


def test_a_message_after_the_end_is_found():
    verdict = check([*SOURCE, "more"])
    assert verdict.first_difference == 21
    assert verdict.difference == "a text message of length 4 came after the end of the source"
    assert not verdict.equal


def test_a_session_that_we_cut_short_is_compared_that_far():
    verdict = check(SOURCE[:8], ended=False)
    assert verdict.hash_equal
    assert verdict.first_difference is None
    assert (verdict.expected, verdict.received, verdict.lost) == (21, 8, 0)
    assert not verdict.equal  # it was not all


def test_repeats_in_the_source_are_no_difference():
    source = ["beat"] * 5 + ["x"] + ["beat"] * 5
    assert check(source, source).equal
    assert check(source[1:], source).lost == 1


@given(st.lists(st.sampled_from("abcd")), st.lists(st.sampled_from("abcd")), st.integers(1, 5))
def test_equal_means_equal(source, received, batch):
    verdict = check(received, source, batch)
    assert verdict.equal == (source == received)
    assert verdict.hash_equal == (source == received)
    first = next((i for i, (a, b) in enumerate(zip(source, received, strict=False)) if a != b), None)
    if first is None and len(source) != len(received):
        first = min(len(source), len(received))
    assert verdict.first_difference == first
    assert verdict.received == len(received)
    assert 0 <= verdict.lost <= len(source)
    assert verdict.received == verdict.expected - verdict.lost + verdict.out_of_place
