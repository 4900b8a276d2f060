"""The verdict on a run with faults, on made-up sessions."""

from __future__ import annotations

import pytest

from fastws.demo.sessions import Ledger, SentSession, judge, silent_gaps

FEED = [f"m{number}" for number in range(100)]
CHANNELS = ["A", "B"]


def sent(first, end, *, ready_from=None, **more):
    return SentSession(range(first, end), first if ready_from is None else ready_from, CHANNELS, **more)


def ledger(*sessions, marked=True):
    """What a client has that got these messages in its sessions."""
    mine = Ledger()
    for generation, indexes in enumerate(sessions, 1):
        if generation > 1 and marked:
            mine.down(generation - 1, "gone", 1.0)
            mine.outage(generation - 1, generation, 2.0, 0.5, 1)
        for index in indexes:
            mine.message(generation, FEED[index])
    return mine


def test_what_was_missed_between_sessions_is_no_loss():
    verdict = judge(FEED, ledger(range(40), range(60, 100)), [sent(0, 40), sent(60, 100)], CHANNELS, 1)
    assert verdict.problems == []
    assert (verdict.missed, verdict.written, verdict.received, verdict.destroyed) == (20, 80, 80, 0)


def test_what_a_reset_destroyed_is_counted():
    verdict = judge(
        FEED, ledger(range(38), range(60, 100)), [sent(0, 40, may_lack_last=True), sent(60, 100)], CHANNELS, 1
    )
    assert verdict.problems == []
    assert (verdict.destroyed, verdict.sessions[0].destroyed) == (2, 2)


@pytest.mark.parametrize(
    ("got", "problem"),
    [
        (range(38), "session 1: 2 of 40 messages lost"),
        ([*range(20), *range(21, 40)], "session 1: message 20 is not the one that was written"),
        ([*range(20), 19, *range(20, 40)], "session 1: message 20 is not the one that was written"),
        ([1, 0, *range(2, 40)], "session 1: message 0 is not the one that was written"),
        (range(41), "session 1: message 40 is not the one that was written"),
    ],
)
def test_in_a_session_everything_arrives_once_and_in_order(got, problem):
    verdict = judge(FEED, ledger(got, range(60, 100)), [sent(0, 40), sent(60, 100)], CHANNELS, 1)
    assert verdict.problems == [problem]


def test_even_a_reset_destroys_only_the_last_ones():
    got = [*range(10), *range(11, 40)]
    verdict = judge(FEED, ledger(got, range(60, 100)), [sent(0, 40, may_lack_last=True), sent(60, 100)], CHANNELS, 1)
    assert verdict.problems == ["session 1: message 10 is not the one that was written"]


def test_what_was_missed_within_a_session_is_a_problem():
    torn = SentSession([*range(10), *range(15, 40)], 0, CHANNELS)
    got = [*range(10), *range(15, 40)]
    verdict = judge(FEED, ledger(got, range(40, 100)), [torn, sent(40, 100)], CHANNELS, 1)
    assert verdict.problems == ["5 messages were missed during a session, not between two"]


def test_while_a_session_subscribes_messages_may_be_missed():
    joining = SentSession([50, 53, *range(55, 100)], 55, CHANNELS)
    got = [50, 53, *range(55, 100)]
    assert judge(FEED, ledger(range(40), got), [sent(0, 40), joining], CHANNELS, 1).problems == []


def test_an_outage_that_is_not_marked_is_a_problem():
    verdict = judge(FEED, ledger(range(40), range(60, 100), marked=False), [sent(0, 40), sent(60, 100)], CHANNELS, 1)
    assert verdict.problems == [
        "2 sessions, but 0 outages marked between them",
        "1 faults end a session, but 0 outages were marked",
    ]


def test_an_outage_that_is_marked_twice_is_a_problem():
    mine = ledger(range(40), range(60, 100))
    mine.outage(1, 2, 2.0, 0.5, 1)
    problems = judge(FEED, mine, [sent(0, 40), sent(60, 100)], CHANNELS, 1).problems
    assert problems[0] == "the end of session 1 was marked 1 times, what followed 2 times"


def test_an_end_that_is_marked_twice_is_a_problem():
    mine = ledger(range(40), range(60, 100))
    mine.down(1, "again", 1.0)
    problems = judge(FEED, mine, [sent(0, 40), sent(60, 100)], CHANNELS, 1).problems
    assert problems == ["the end of session 1 was marked 2 times, what followed 1 times"]


def test_a_marker_that_fits_to_nothing_is_a_problem():
    mine = ledger(range(100))
    assert mine.outage(1, 2, 2.0, 0.5, 1) is None
    assert judge(FEED, mine, [sent(0, 100)], CHANNELS, 0).problems == ["1 markers fit to nothing"]


def test_subscriptions_have_to_be_made_again():
    forgetful = SentSession(range(60, 100), 60, ["B"])
    verdict = judge(FEED, ledger(range(40), range(60, 100)), [sent(0, 40), forgetful], CHANNELS, 1)
    assert verdict.problems == ["session 2 subscribed to B, not to A, B"]


def test_more_outages_than_faults_are_no_problem_but_fewer_are():
    run = ledger(range(40), range(60, 100)), [sent(0, 40), sent(60, 100)], CHANNELS
    assert judge(FEED, *run, 0).problems == []
    assert judge(FEED, *run, None).problems == []
    assert judge(FEED, *run, 2).problems == ["2 faults end a session, but 1 outages were marked"]


def test_a_run_that_was_cut_short_may_end_in_an_outage():
    mine = ledger(range(40))
    mine.down(1, "gone", 1.0)
    assert judge(FEED, mine, [sent(0, 40)], CHANNELS).problems == []


def test_a_run_that_was_cut_short_before_a_session_has_no_problem():
    assert judge(FEED, Ledger(), [], CHANNELS).problems == []


def test_a_session_without_messages_is_a_session():
    mine = ledger(range(40), [], range(60, 100))
    nothing = SentSession([], 50, CHANNELS)
    verdict = judge(FEED, mine, [sent(0, 40), nothing, sent(60, 100)], CHANNELS, 2)
    assert verdict.problems == []
    assert [session.received for session in verdict.sessions] == [40, 0, 40]


def test_a_session_that_the_server_does_not_know_is_a_problem():
    problems = judge(FEED, ledger(range(40), range(60, 100)), [sent(0, 40)], CHANNELS).problems
    assert problems[0] == "the client tells of 2 sessions, the server of 1"


def written(*parts, ready_from=0):
    return SentSession([index for part in parts for index in part], ready_from, CHANNELS)


@pytest.mark.parametrize(
    ("sessions", "marked", "gaps"),
    [
        ([written(range(100))], (), 0),
        ([written(range(40)), written(range(40, 100), ready_from=40)], (), 0),
        ([written(range(40)), written(range(50, 100), ready_from=50)], (), 1),
        ([written(range(40)), written(range(50, 100), ready_from=50)], (1,), 0),
        # Channel by channel: what was not written until the last one was there is the same hole.
        ([written(range(40)), written([52, 54, 55, 57], range(60, 100), ready_from=60)], (), 1),
        ([written(range(40)), written([52, 54, 55, 57], range(60, 100), ready_from=60)], (1,), 0),
        ([written(range(40)), written([40, 42], range(43, 100), ready_from=43)], (), 1),
        # No end of a session marks what is missing inside it.
        ([written(range(40), range(60, 70)), written(range(80, 100), ready_from=80)], (1,), 1),
        ([written(range(40), range(60, 70)), written(range(80, 100), ready_from=80)], (), 2),
        # Who was never there before misses nothing, and nobody is there at the end.
        ([written(range(5, 90), ready_from=5)], (), 1),
        ([written(range(5, 90), ready_from=5)], (1,), 0),
        ([written(range(5, 100), ready_from=3)], (), 1),
        ([written()], (), 1),
        ([], (), 1),
    ],
)
def test_a_silent_gap_is_a_hole_in_what_was_written_that_no_marker_told_of(sessions, marked, gaps):
    assert silent_gaps(100, sessions, marked) == gaps
