import copy
import math
import pickle
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

import fastws
from fastws import retry
from fastws.errors import Close, CloseInfo
from fastws.retry import (
    FINAL_CLOSE_CODES,
    ClosePolicy,
    CustomRetry,
    ExponentialBackoff,
    Failure,
    FixedDelay,
    NoRetry,
    RetryBudget,
    RetryStrategy,
)


def closed(code, *, sent=None):
    received = None if code is None else Close(code, "")
    return fastws.ConnectionClosedError(
        CloseInfo(code or 1006, "", "remote", None, received, None if sent is None else Close(sent, ""))
    )


def failure(attempt=1, cause=None, phase="connect", **more):
    return Failure(OSError("reset") if cause is None else cause, phase, attempt, **more)


def refused(status, *fields):
    response = fastws.Response(status, "", fastws.Headers(fields))
    return fastws.InvalidStatus("no", uri="ws://h/", response=response)


FATAL = fastws.AuthFailed("bad token")

BACKOFFS = st.builds(
    lambda initial, factor, multiplier, jitter, full, seed: ExponentialBackoff(
        initial, initial * factor, multiplier, jitter=jitter, full_jitter=full, seed=seed
    ),
    st.floats(1e-3, 1e3),
    st.floats(1, 1e6),
    st.floats(1, 1e3),
    st.floats(0, 1),
    st.booleans(),
    st.integers(),
)


@pytest.mark.parametrize(
    ("preset", "initial", "maximum", "multiplier", "jitter"),
    [
        (ExponentialBackoff.fast(), 0.1, 5.0, 1.5, 0.1),
        (ExponentialBackoff.standard(), 1.0, 60.0, 2.0, 0.1),
        (ExponentialBackoff.conservative(), 2.0, 120.0, 2.0, 0.05),
    ],
)
def test_the_presets_are_the_models(preset, initial, maximum, multiplier, jitter):
    assert (preset.initial, preset.maximum, preset.multiplier, preset.jitter) == (initial, maximum, multiplier, jitter)
    assert (preset.full_jitter, preset.max_attempts, preset.seed, preset.immediate_first) == (False, None, None, False)


def test_delays_grow_to_the_maximum():
    backoff = ExponentialBackoff(1, 10, 2, jitter=0)
    assert [backoff.next_delay(failure(n)) for n in range(7)] == [1, 1, 2, 4, 8, 10, 10]
    assert backoff.next_delay(failure(10**9)) == 10


@given(BACKOFFS, st.integers(0, 10**6))
def test_a_delay_is_never_out_of_bounds(backoff, attempt):
    delay = backoff.next_delay(failure(attempt))
    assert 0 <= delay <= backoff.maximum


@given(BACKOFFS, st.integers(1, 100))
def test_jitter_is_at_most_its_share(backoff, attempt):
    exact = backoff.with_jitter(0).next_delay(failure(attempt))
    delay = backoff.with_full_jitter(False).next_delay(failure(attempt))
    assert exact * (1 - backoff.jitter) <= delay * (1 + 1e-12)
    assert delay <= exact * (1 + backoff.jitter) * (1 + 1e-12)
    assert backoff.with_full_jitter().next_delay(failure(attempt)) <= exact


@given(BACKOFFS)
def test_without_jitter_no_delay_is_shorter_than_the_one_before(backoff):
    exact = backoff.with_jitter(0)
    delays = [exact.next_delay(failure(n)) for n in range(200)]
    assert delays == sorted(delays)
    assert delays[1] == exact.initial


@given(BACKOFFS)
def test_a_seed_repeats_and_another_does_not(backoff):
    def delays(strategy):
        return [strategy.next_delay(failure(n)) for n in range(1, 30)]

    first = delays(backoff.with_seed(backoff.seed))
    assert first == delays(backoff.with_seed(backoff.seed))
    if backoff.full_jitter:
        assert first != delays(backoff.with_seed(backoff.seed + 1))


def test_without_a_seed_two_clients_differ():
    first, second = ExponentialBackoff.standard(), ExponentialBackoff.standard()
    assert first == second
    assert [first.next_delay(failure(1)) for _ in range(8)] != [second.next_delay(failure(1)) for _ in range(8)]


def test_a_strategy_that_is_shared_has_no_memory_of_its_clients():
    backoff = ExponentialBackoff(1, 60, jitter=0)
    one, two = RetryBudget(backoff), RetryBudget(backoff)
    for _ in range(5):
        one.dial()
        one.failed(one.failure(OSError(), "connect"))
    two.dial()
    assert two.failed(two.failure(OSError(), "connect")) == 1
    one.dial()
    assert one.failed(one.failure(OSError(), "connect")) == 32


def test_max_attempts_is_a_number_of_dials():
    for strategy in (ExponentialBackoff(1, 2, max_attempts=3), FixedDelay(1).with_max_attempts(3)):
        assert [strategy.next_delay(failure(n)) is None for n in (1, 2, 3, 4)] == [False, False, True, True]


def test_each_with_gives_another_object():
    backoff = ExponentialBackoff(1, 10)
    changed = (
        backoff.with_initial(2)
        .with_maximum(timedelta(seconds=20))
        .with_multiplier(3)
        .with_jitter(0.5)
        .with_max_attempts(4)
        .with_seed(5)
        .with_immediate_first()
        .with_full_jitter()
    )
    assert changed == ExponentialBackoff(
        2, 20, 3, jitter=0.5, full_jitter=True, max_attempts=4, seed=5, immediate_first=True
    )
    assert not changed.with_jitter(0.1).full_jitter
    assert changed.with_max_attempts(None).max_attempts is None
    assert backoff == ExponentialBackoff(1, 10)
    with pytest.raises(AttributeError):
        backoff.initial = 3


def test_a_strategy_can_be_copied_and_pickled():
    for strategy in (ExponentialBackoff.fast(), ExponentialBackoff.fast().with_seed(3), FixedDelay(1), NoRetry()):
        assert pickle.loads(pickle.dumps(strategy)) == copy.deepcopy(strategy) == strategy


@pytest.mark.parametrize("bad", [0, -1, math.nan, math.inf, "1", None, True, 10**400, timedelta(0)])
@pytest.mark.parametrize(
    ("field", "make"),
    [
        ("initial", lambda bad: ExponentialBackoff(bad, 10)),
        ("maximum", lambda bad: ExponentialBackoff(1, bad)),
        ("delay", FixedDelay),
    ],
)
def test_a_delay_must_be_one(field, make, bad):
    with pytest.raises(fastws.ConfigError, match=rf"^{field} is seconds.*more than 0; not ") as caught:
        make(bad)
    assert caught.value.field == field


@pytest.mark.parametrize(
    ("field", "bad"),
    [
        *[("multiplier", bad) for bad in (0.5, 0, -1, math.nan, math.inf, "2", None, True)],
        *[("jitter", bad) for bad in (-0.1, 1.1, math.nan, "0", None)],
        *[("max_attempts", bad) for bad in (0, -1, 1.5, "3", True)],
        *[("seed", bad) for bad in (1.5, "a", True)],
        *[("full_jitter", bad) for bad in (1, None)],
        *[("immediate_first", bad) for bad in (1, None)],
    ],
)
def test_an_argument_that_is_wrong_is_named(field, bad):
    with pytest.raises(fastws.ConfigError, match=rf"^{field} is .*; not ") as caught:
        ExponentialBackoff(1, 10, **{field: bad})
    assert caught.value.field == field
    assert repr(bad) in str(caught.value)


def test_the_maximum_is_not_below_the_initial():
    with pytest.raises(fastws.ConfigError, match="maximum is not less than initial, 5; not 1"):
        ExponentialBackoff(5, 1)
    with pytest.raises(fastws.ConfigError, match="maximum"):
        ExponentialBackoff(1, 10).with_initial(11)
    with pytest.raises(fastws.ConfigError, match="max_attempts"):
        FixedDelay(1, max_attempts=0)


def test_built_in_strategies_give_up_where_nothing_can_change():
    for strategy in (ExponentialBackoff.fast(), FixedDelay(1), NoRetry()):
        assert isinstance(strategy, RetryStrategy)
        strategy.reset()
        assert strategy.next_delay(failure(cause=FATAL)) is None
        assert strategy.next_delay(failure(cause=closed(3000), phase="session")) is None
        assert strategy.next_delay(failure(cause=ValueError("a mistake in code"))) is None


def test_no_retry_gives_up_at_once():
    assert NoRetry().next_delay(failure(0)) is None
    assert NoRetry().next_delay(Failure(None, "session", 0, 3600.0)) is None


def test_a_function_sees_every_failure_and_decides():
    seen = []

    def decide(failure):
        seen.append(failure)
        return {1: 1, 2: timedelta(seconds=2), 3: 0}.get(failure.attempt)

    custom = CustomRetry(decide)
    failures = [failure(1), failure(2, FATAL), failure(3), failure(4)]
    assert [custom.next_delay(each) for each in failures] == [1.0, 2.0, 0.0, None]
    assert seen == failures
    assert [each.is_retryable for each in seen] == [True, False, True, True]
    custom.reset()


@pytest.mark.parametrize("bad", [-1, math.nan, "1", math.inf])
def test_what_a_function_says_must_be_a_delay_and_the_function_is_named(bad):
    def decide(failure):
        return bad

    with pytest.raises(fastws.ConfigError, match="decide"):
        CustomRetry(decide).next_delay(failure())


async def decide_later(failure):
    return 1.0


@pytest.mark.parametrize("bad", [decide_later, 1.0, None])
def test_a_function_is_plain(bad):
    with pytest.raises(fastws.ConfigError, match="fn is a plain function"):
        CustomRetry(bad)
    with pytest.raises(fastws.ConfigError, match="maximum"):
        CustomRetry(print, maximum=0)


@pytest.mark.parametrize("code", range(1000, 1016))
def test_of_the_standard_codes_one_is_final(code):
    assert ClosePolicy().is_final(code) is (code == 1010)


def test_codes_that_mean_you_may_not_are_final_and_each_has_its_reason():
    policy = ClosePolicy()
    assert policy.final == frozenset({1010, 3000, 3003}) == set(FINAL_CLOSE_CODES)
    assert all("RFC" in policy.why(code) or "IANA" in policy.why(code) for code in policy.final)
    for code in (3008, 4000, 4401, 4999, None):
        assert not policy.is_final(code)


def test_the_final_codes_can_be_chosen():
    policy = ClosePolicy(frozenset({4401}))
    assert policy.is_final(4401)
    assert not policy.is_final(3000)
    assert "final_close_codes" in policy.why(4401)
    assert retry.as_close_policy(None) == ClosePolicy()
    assert retry.as_close_policy(policy) is policy
    assert retry.as_close_policy([4401]) == policy


@pytest.mark.parametrize("bad", [{999}, {5000}, {"4401"}, "4401", 4401, {True}, {4401.0}])
def test_final_codes_are_close_codes(bad):
    with pytest.raises(fastws.ConfigError, match="final_close_codes is a set of close codes"):
        ClosePolicy(bad)


def test_only_a_code_that_was_received_counts():
    assert not Failure(closed(None, sent=3000), "session", 1).close_policy.is_final(None)
    assert Failure(closed(None, sent=3000), "session", 1).close_code is None
    assert Failure(closed(4000), "session", 1).close_code == 4000
    assert Failure(OSError(), "session", 1).close_code is None
    ended = fastws.HandshakeError("no", kind="closed", code=3003)
    assert Failure(ended, "handshake", 1).close_code == 3003
    assert not Failure(ended, "handshake", 1).is_retryable


# -- the budget -----------------------------------------------------------------------------------------


def budget(strategy=None, **more):
    return RetryBudget(ExponentialBackoff(1, 60, jitter=0) if strategy is None else strategy, **more)


def connect_fails(budget, cause=None):
    budget.dial()
    return budget.failed(budget.failure(OSError("refused") if cause is None else cause, "connect"))


def session_ends(budget, seconds, cause=None):
    return budget.failed(budget.failure(cause, "session", seconds))


def test_a_strategy_that_raises_is_named_beside_the_error_it_raised():
    def decide(failure):
        return 1 / 0

    for ask in (connect_fails, lambda budget: budget.delay_beside(OSError("refused"), 1)):
        with pytest.raises(ZeroDivisionError) as raised:
            ask(budget(CustomRetry(decide)))
        (note,) = raised.value.__notes__
        assert note.startswith("raised by the retry strategy CustomRetry(")
        assert note.endswith("asked after attempt 1")


def test_dials_handshakes_and_sessions_count_together():
    one = budget()
    delays = []
    for phase in ("connect", "handshake", "session", "connect"):
        one.dial()
        delays.append(one.failed(one.failure(OSError(), phase, 0.0 if phase == "session" else None)))
    assert delays == [1, 2, 4, 8]
    assert one.attempt == 4


def test_a_server_that_ends_each_session_at_once_is_dialled_ever_more_slowly():
    one = budget()
    delays = []
    for _ in range(8):
        one.dial()
        one.ready()
        delays.append(session_ends(one, 0.001))
    assert delays == [1, 2, 4, 8, 16, 32, 60, 60]


def test_after_a_stable_session_it_begins_again():
    one = budget()
    for _ in range(4):
        connect_fails(one)
    one.dial()
    one.ready()
    assert session_ends(one, 9.9) == 16
    one.dial()
    assert session_ends(one, 10.0) == 1
    assert one.attempt == 0
    assert [connect_fails(one) for _ in range(3)] == [1, 2, 4]


def test_how_long_stable_is_can_be_chosen():
    one = budget(stable_after=0)
    for _ in range(3):
        one.dial()
        assert session_ends(one, 0.0) == 1


def test_a_session_in_which_no_data_came_is_never_stable():
    one = budget()
    delays = []
    for _ in range(3):
        one.dial()
        delays.append(session_ends(one, 3600, fastws.DataTimeout("no data")))
    assert delays == [1, 2, 4]


def test_stable_can_be_told():
    seen = []

    class Remembers:
        def next_delay(self, failure):
            seen.append(failure)
            return 1.0

        def reset(self):
            seen.append("reset")

    one = budget(Remembers())
    connect_fails(one)
    one.stable()
    assert one.attempt == 0
    connect_fails(one)
    assert [item if item == "reset" else (item.attempt, item.is_first) for item in seen] == [
        (1, True),
        "reset",
        (1, True),
    ]


def test_max_attempts_dials_and_no_more():
    one = budget(ExponentialBackoff(1, 60, jitter=0, max_attempts=3))
    assert [connect_fails(one) for _ in range(3)] == [1, 2, None]
    one = budget(FixedDelay(1, max_attempts=1))
    one.dial()
    assert session_ends(one, 3600) == 1  # a stable session ended: one dial more
    assert connect_fails(one) is None


def test_immediate_first_is_one_retry_and_not_two():
    one = budget(ExponentialBackoff(1, 60, jitter=0, immediate_first=True))
    assert [connect_fails(one) for _ in range(4)] == [0, 2, 4, 8]
    one.dial()
    assert session_ends(one, 3600) == 0
    assert [connect_fails(one) for _ in range(3)] == [1, 2, 4]


def test_the_server_may_ask_for_longer_up_to_the_maximum():
    assert connect_fails(budget(), refused(503, ("Retry-After", "7"))) == 7
    assert connect_fails(budget(), refused(429, ("Retry-After", "86400"))) == 60
    assert connect_fails(budget(), refused(503, ("Retry-After", "0"))) == 1
    assert connect_fails(budget(FixedDelay(1)), refused(503, ("Retry-After", "1800"))) == 1800
    assert connect_fails(budget(FixedDelay(1)), refused(503, ("Retry-After", "999999"))) == retry.MAX_RETRY_AFTER
    assert connect_fails(budget(CustomRetry(lambda _: 1, maximum=9)), refused(503, ("Retry-After", "10"))) == 9
    assert connect_fails(budget(), refused(401, ("Retry-After", "7"))) is None


def test_the_suggestions_of_the_model_are_not_imposed():
    slow = fastws.OpenTimeout("not open", uri="ws://h/", phase="tcp")
    assert slow.suggested_delay == 5.0
    assert connect_fails(budget(), slow) == 1


def test_after_a_handshake_it_waits_longer():
    one = budget(handshake_retry_delay=5.0)
    one.dial()
    assert one.failed(one.failure(fastws.HandshakeError("no"), "handshake")) == 5
    assert connect_fails(one) == 2
    for _ in range(2):
        one.dial()
    assert one.failed(one.failure(fastws.HandshakeError("no"), "handshake")) == 8


@pytest.mark.parametrize(
    "cause", [OSError(), fastws.OpenTimeout("late", uri="", phase="tcp"), fastws.HandshakeError("no")]
)
def test_exit_on_first_failure_is_for_the_first_connection_and_any_cause(cause):
    phase = "handshake" if isinstance(cause, fastws.HandshakeError) else "connect"
    first = budget(exit_on_first_failure=True)
    first.dial()
    assert first.failed(first.failure(cause, phase)) is None
    later = budget(exit_on_first_failure=True)
    later.dial()
    later.ready()
    assert session_ends(later, 0.1) == 1
    later.dial()
    assert later.failed(later.failure(cause, phase)) == 2


def test_final_close_codes_end_it_whatever_the_phase():
    one = budget(close_policy=ClosePolicy(frozenset({4401})))
    one.dial()
    assert session_ends(one, 3600, closed(4401)) is None
    assert session_ends(one, 3600, closed(3000)) == 1
    assert one.failed(one.failure(fastws.HandshakeError("no", kind="closed", code=4401), "handshake")) is None


def test_a_strategy_that_says_no_delay_is_named():
    class Broken:
        def next_delay(self, failure):
            return -1

        def reset(self):
            pass

    with pytest.raises(fastws.ConfigError, match="the delay of Broken"):
        connect_fails(budget(Broken()))


def ends_with(budget, cause, phase="connect"):
    budget.dial()
    failed = budget.failure(cause, phase)
    assert budget.failed(failed) is None
    return budget.given_up(failed)


def test_what_a_client_ends_with_is_the_cause_if_nothing_can_change():
    assert ends_with(budget(), FATAL, "handshake") is FATAL
    certificate = fastws.CertificateError("no", uri="wss://h/")
    assert ends_with(budget(NoRetry()), certificate) is certificate
    unauthorized = closed(3000)
    assert ends_with(budget(), unauthorized, "session") is unauthorized
    assert "3000 is final: Unauthorized" in unauthorized.__notes__[0]


def test_what_a_client_ends_with_is_else_that_its_retries_are_exhausted():
    cause = OSError("refused")
    error = ends_with(budget(NoRetry()), cause)
    assert isinstance(error, fastws.RetriesExhausted)
    assert (error.attempts, error.__cause__) == (1, cause)
    assert str(error) == "NoRetry gives up after attempt 1: refused"
    error = ends_with(budget(exit_on_first_failure=True), cause)
    assert "exit_on_first_failure" in str(error)
    assert error.__cause__ is cause
    error = ends_with(budget(NoRetry()), None, "session")
    assert str(error) == "NoRetry gives up after attempt 1"


def test_fault_22_the_jitter_of_one_cycle_is_not_that_of_the_next():
    strategy = ExponentialBackoff(1, 60, jitter=0.5)

    def cycle():
        strategy.reset()
        return [strategy.next_delay(failure(attempt)) for attempt in range(1, 9)]

    assert cycle() != cycle()


@pytest.mark.parametrize(
    ("initial", "multiplier"), [(0, 2), (-1, 2), (math.nan, 2), (math.inf, 2), (1, -1), (1, 0), (1, math.nan)]
)
def test_fault_22_numbers_that_make_no_delay_are_refused_by_name_when_they_are_given(initial, multiplier):
    with pytest.raises(fastws.ConfigError, match=r"^(initial|multiplier) is "):
        ExponentialBackoff(initial, 60, multiplier)
    with pytest.raises(fastws.ConfigError, match="jitter"):
        ExponentialBackoff(1, 60, jitter=math.nan)


def test_fault_22_no_jitter_goes_over_the_maximum_and_all_of_it_may_be_random():
    strategy = ExponentialBackoff(1, 2, jitter=1.0, seed=1)
    assert all(0 <= strategy.next_delay(failure(attempt)) <= 2 for attempt in range(1, 200))
    full = ExponentialBackoff(1, 2, full_jitter=True, seed=1)
    delays = [full.next_delay(failure(9)) for _ in range(200)]
    assert min(delays) < 0.2
    assert 1.8 < max(delays) <= 2
