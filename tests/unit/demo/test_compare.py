"""The other client among the same faults: what is counted, on made-up venues. A run of it is an integration test."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from fastws.demo.embedded import ready_sessions, sent_session
from fastws.testing import VenueSession, VenueSubscription


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


def test_a_session_counts_when_everything_is_subscribed_to_in_it():
    both = (("A", 8), ("B", 11))
    sessions = [session(range(8, 40), subscribed=both), session(subscribed=(("A", 60),)), session(subscribed=both)]
    assert ready_sessions(venue(*sessions), 2) == [sessions[0], sessions[2]]


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
