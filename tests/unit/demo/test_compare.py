"""The other client among the same faults: what is counted, on made-up venues. A run of it is an integration test."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from fastws.demo.compare import silent_gaps
from fastws.demo.embedded import sent_session
from fastws.testing import VenueSession, VenueSubscription

STAGE = SimpleNamespace(feed=SimpleNamespace(messages=["m"] * 100))


def session(*segments, subscribed=(("A", 0),), **more):
    entries = tuple(VenueSubscription(channel, 0, first, None) for channel, first in subscribed)
    fields = {"faults": (), "ended_by": None, "close_code": None, "ended_ns": None, **more}
    written = sum(map(len, segments))
    return VenueSession(
        1, 0, 0, 0, subscribed=entries, snapshots=0, written=written, segments=tuple(segments), **fields
    )


def venue(*sessions):
    return SimpleNamespace(
        report=lambda: SimpleNamespace(sessions=sessions),
        indexes=lambda session: [index for segment in session.segments for index in segment],
    )


@pytest.mark.parametrize(
    ("sessions", "gaps"),
    [
        ([session(range(100))], 0),
        ([session(range(40)), session(range(40, 100))], 0),
        ([session(range(40)), session(range(50, 100))], 1),
        ([session(range(40), range(60, 70)), session(range(80, 100))], 2),
        ([session(range(5, 90))], 2),
        ([session()], 1),
        ([], 1),
    ],
)
def test_a_silent_gap_is_where_the_consumer_sees_a_jump_and_no_word(sessions, gaps):
    assert silent_gaps(STAGE, venue(*sessions)) == gaps


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({}, ""),
        ({"ended_by": "reset", "faults": ("reset",)}, "a reset"),
        ({"ended_by": "close", "close_code": 1012, "faults": ("close",)}, "Close 1012"),
        ({"ended_by": "client", "faults": ("silence",)}, "the client, after silence"),
        ({"ended_by": "client"}, "the client"),
    ],
)
def test_what_the_venue_says_of_a_session(more, words):
    one = session(range(10, 20), subscribed=(("A", 8), ("B", 11)), **more)
    sent = sent_session(venue(one), one)
    assert (sent.ended_by, sent.ready_from, list(sent.subscribed)) == (words, 11, ["A", "B"])
    assert list(sent.indexes) == list(range(10, 20))
    assert sent.may_lack_last is (words in ("a reset", "the client"))
