"""Sequence gaps: the decisions alone."""

import pytest

from fastws import ConfigError, Gap, Message, SequenceTracker
from fastws.gaps import Deliver, Duplicate, Quarantined, Resync, Sequences, Snapshot
from gap_items import extract


def machine(**options):
    return Sequences(extract, **options)


def fed(sequences, *messages):
    return [action for message in messages for action in sequences.feed(message)]


def test_what_is_in_order_is_delivered():
    sequences = machine()
    messages = [("a", 7), ("b", 1), ("a", 8), "no number", ("b", 2), ("a", 9)]
    assert fed(sequences, *messages) == [Deliver(message) for message in messages]
    assert sequences.stats.gaps == 0


def test_an_extract_that_takes_a_message_for_its_payload_is_told_where_that_is():
    sequences = Sequences(lambda item: (item["symbol"], item["seq"]))
    with pytest.raises(TypeError) as caught:
        sequences.feed(Message({"symbol": "BTC", "seq": 1}, 1, 1, 2, 10, 20, 30, None))
    assert "its payload is item.data" in caught.value.__notes__[0]
    with pytest.raises(TypeError) as caught:
        sequences.feed(["BTC", 1])
    assert not hasattr(caught.value, "__notes__")


def test_a_gap_is_marked_in_front_of_the_message_behind_it():
    sequences = machine()
    sequences.feed(("a", 1), generation=3)
    assert sequences.feed(("a", 5), generation=3, received_ns=99) == [
        Gap("a", 2, 5, generation=3, received_ns=99),
        Deliver(("a", 5)),
    ]
    assert sequences.feed(("a", 6), generation=3) == [Deliver(("a", 6))]
    assert (sequences.stats.gaps, sequences.stats.missing) == (1, 3)


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (("a", 11, 15), [Deliver(("a", 11, 15))]),
        (("a", 8, 11), [Deliver(("a", 8, 11))]),
        (("a", 12, 15), [Gap("a", 11, 12), Deliver(("a", 12, 15))]),
        (("a", 8, 10), [Duplicate("a")]),
    ],
)
def test_a_message_may_have_a_first_and_a_last_number(message, expected):
    sequences = machine()
    assert fed(sequences, ("a", 1, 10)) == [Deliver(("a", 1, 10))]
    assert fed(sequences, message) == expected


def test_a_last_number_below_the_first_is_refused():
    with pytest.raises(ValueError, match="below its first"):
        fed(machine(), ("a", 2, 1))


def test_duplicates_are_counted_and_dropped_by_choice():
    sequences = machine()
    assert fed(sequences, ("a", 1), ("a", 1)) == [Deliver(("a", 1)), Duplicate("a")]
    assert sequences.stats.duplicates == 1
    kept = machine(duplicates="deliver")
    assert fed(kept, ("a", 2), ("a", 1), ("a", 3)) == [
        Deliver(("a", 2)),
        Duplicate("a"),
        Deliver(("a", 1)),
        Deliver(("a", 3)),
    ]


def test_messages_are_held_until_the_sequence_is_in_order_again():
    sequences = machine(resync=True)
    assert fed(sequences, ("a", 1), ("a", 5), ("a", 6), ("b", 1)) == [
        Deliver(("a", 1)),
        Gap("a", 2, 5),
        Quarantined("a"),
        Resync("a", 2, 5),
        Quarantined("a"),
        Deliver(("b", 1)),
    ]
    assert sequences.is_quarantined("a")
    assert not sequences.is_quarantined("b")
    assert sequences.quarantined == 2
    assert sequences.resynced("a", 5) == [Deliver(("a", 6))]
    assert fed(sequences, ("a", 7)) == [Deliver(("a", 7))]
    assert sequences.stats.superseded == 1
    assert sequences.resynced("a", 5) == []
    assert sequences.resynced("never seen") == []


def test_a_snapshot_that_is_newer_than_all_that_is_held():
    sequences = machine(resync=True)
    fed(sequences, ("a", 1), ("a", 5))
    assert sequences.resynced("a", 10) == []
    assert fed(sequences, ("a", 9)) == [Duplicate("a")]
    assert fed(sequences, ("a", 11)) == [Deliver(("a", 11))]


def test_a_snapshot_that_leaves_a_hole_is_not_enough():
    sequences = machine(resync=True)
    fed(sequences, ("a", 1), ("a", 5))
    assert sequences.resynced("a", 3) == [Resync("a", 4, 5, attempt=1)]
    assert sequences.resynced("a", 3) == [Resync("a", 4, 5, attempt=2)]
    assert sequences.resynced("a", 4) == [Deliver(("a", 5))]
    assert sequences.stats.gaps == 1


def test_a_resync_without_a_number_goes_on_with_what_is_held():
    sequences = machine(resync=True)
    fed(sequences, ("a", 1), ("a", 5), ("a", 6), ("a", 8), ("a", 9))
    assert sequences.resynced("a") == [
        Deliver(("a", 5)),
        Deliver(("a", 6)),
        Gap("a", 7, 8),
        Quarantined("a"),
        Resync("a", 7, 8),
    ]
    assert sequences.quarantined == 2
    assert sequences.resynced("a", 7) == [Deliver(("a", 8)), Deliver(("a", 9))]


def test_a_snapshot_in_band_begins_a_sequence_and_ends_a_quarantine():
    sequences = machine(resync=True)
    first, second = Snapshot("a", 10), Snapshot("a", 20)
    assert fed(sequences, first, ("a", 11)) == [Deliver(first), Deliver(("a", 11))]
    fed(sequences, ("a", 15), ("a", 20), ("a", 21))
    assert fed(sequences, second) == [Deliver(second), Deliver(("a", 21))]
    assert not sequences.is_quarantined("a")


def test_the_quarantine_is_bounded_and_what_was_dropped_is_missed_again():
    sequences = machine(resync=True, max_quarantine=2)
    fed(sequences, ("a", 1), ("a", 5), ("a", 6), ("a", 7))
    assert (sequences.quarantined, sequences.stats.dropped) == (2, 1)
    assert sequences.resynced("a", 4) == [Resync("a", 5, 6, attempt=1)]
    assert sequences.resynced("a", 5) == [Deliver(("a", 6)), Deliver(("a", 7))]


def test_a_connection_begins_anew_unless_numbers_go_on_over_it():
    sequences = machine(resync=True)
    sequences.feed(("a", 100), generation=1)
    sequences.feed(("a", 102), generation=1)
    assert sequences.feed(("a", 1), generation=2) == [Deliver(("a", 1))]
    assert sequences.stats.superseded == 1
    lasting = machine(across_generations=True)
    lasting.feed(("a", 100), generation=1)
    assert lasting.feed(("a", 102), generation=2) == [Gap("a", 101, 102, generation=2), Deliver(("a", 102))]


def test_a_sequence_may_be_forgotten():
    sequences = machine()
    fed(sequences, ("a", 1), ("b", 1))
    sequences.forget("a")
    assert fed(sequences, ("a", 7), ("b", 2)) == [Deliver(("a", 7)), Deliver(("b", 2))]
    sequences.forget()
    assert fed(sequences, ("b", 7)) == [Deliver(("b", 7))]


def test_arguments_are_checked():
    with pytest.raises(TypeError, match="extract is a callable"):
        Sequences("seq")
    with pytest.raises(ConfigError, match="max_quarantine"):
        machine(max_quarantine=0)
    with pytest.raises(ConfigError, match="duplicates"):
        machine(duplicates="keep")
    with pytest.raises(TypeError, match="resync is a callable"):
        SequenceTracker(extract, resync=3)
    with pytest.raises(ConfigError, match="resync_timeout"):
        SequenceTracker(extract, resync_timeout=-1)


def test_numbers_that_go_on_over_a_reconnect_are_held_over_it_too():
    sequences = machine(resync=True, across_generations=True)
    for number in (1, 3):
        sequences.feed(("a", number), generation=1)
    sequences.lost(1)
    assert sequences.quarantined == 1
    assert sequences.resynced("a", 2) == [Deliver(("a", 3))]
