from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastws.events import DisconnectReason
from fastws.state import TRANSITIONS, ConnectionState, Status

NORMAL = DisconnectReason("normal")


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now

    def wall(self):
        return int(self.now * 1e9)


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def state(clock):
    return ConnectionState(clock, clock.wall)


ROADS = {
    Status.DISCONNECTED: [],
    Status.CONNECTING: ["connecting"],
    Status.RECONNECTING: ["reconnecting"],
    Status.CONNECTED: ["connecting", "connected"],
    Status.READY: ["connecting", "connected", "ready"],
    Status.SHUTTING_DOWN: ["shutting_down"],
}


def mark(state, status):
    """The method that leads to ``status``; from READY to READY another connection takes over."""
    if status is Status.READY and state.status is Status.READY:
        state.mark_replaced(state.reserve_id())
    elif status is Status.DISCONNECTED:
        state.mark_disconnected(NORMAL)
    else:
        getattr(state, f"mark_{status}")()


def test_the_table_has_every_state():
    assert set(TRANSITIONS) == set(ROADS) == set(Status)
    assert [str(status) for status in Status] == [status.value for status in Status]
    assert str(Status.SHUTTING_DOWN) == "shutting_down"


@pytest.mark.parametrize("before", Status)
@pytest.mark.parametrize("after", Status)
def test_every_edge_is_as_in_the_table(before, after, clock):
    state = ConnectionState(clock, clock.wall)
    for step in ROADS[before]:
        getattr(state, f"mark_{step}")()
    assert state.status is before
    if after in TRANSITIONS[before]:
        mark(state, after)
        assert state.status is after
    else:
        with pytest.raises(RuntimeError, match=f"a client that is {before} cannot become {after}"):
            mark(state, after)
        assert state.status is before


def test_a_connection_is_replaced_only_by_one_that_is_ready(state):
    state.mark_connecting()
    state.mark_connected()
    with pytest.raises(RuntimeError, match="connected cannot become ready"):
        state.mark_replaced(7)
    state.mark_ready()
    with pytest.raises(RuntimeError, match="ready cannot become ready"):
        state.mark_ready()


@given(st.lists(st.sampled_from(list(Status)), max_size=60))
def test_ids_and_generations_only_ever_grow(steps):
    clock = Clock()
    state = ConnectionState(clock, clock.wall)
    for status in steps:
        clock.now += 1
        before = (state.id, state.generation, state.total_attempts, state.reconnect_count)
        try:
            mark(state, status)
        except RuntimeError:
            assert status not in TRANSITIONS[state.status]
        after = (state.id, state.generation, state.total_attempts, state.reconnect_count)
        assert all(b <= a <= b + 2 for b, a in zip(before, after, strict=True))
        assert state.is_connected is (state.ready_at is not None and state.status is Status.READY)
        if state.status in (Status.CONNECTED, Status.READY):
            assert state.connected_at is not None
        if state.status is Status.DISCONNECTED:
            assert state.connected_at is state.ready_at is None


def test_a_life(state, clock):
    assert state.snapshot().id == state.snapshot().generation == 0
    state.mark_connecting()
    clock.now += 1
    error = OSError("refused")
    state.record_error(error)
    state.mark_reconnecting()
    assert (state.attempts, state.total_attempts, state.reconnect_count) == (2, 2, 0)
    clock.now += 1
    assert state.mark_connected() == 1
    assert not state.is_connected
    clock.now += 1
    assert state.mark_ready() == 1
    clock.now += 10
    seen = state.snapshot()
    assert seen.is_connected
    assert (seen.status, seen.id, seen.generation) == (Status.READY, 1, 1)
    assert (seen.connected_at, seen.ready_at, seen.last_activity) == (102.0, 103.0, 102.0)
    assert (seen.connection_duration, seen.taken_at, seen.changed_ns) == (11.0, 113.0, 103 * 10**9)
    assert (seen.error_count, seen.last_error, seen.last_disconnect) == (1, error, None)
    state.mark_stable()
    assert (state.attempts, state.total_attempts) == (0, 2)
    state.mark_disconnected(NORMAL)
    seen = state.snapshot()
    assert (seen.connected_at, seen.ready_at, seen.connection_duration) == (None, None, None)
    assert (seen.id, seen.generation, seen.last_disconnect) == (1, 1, NORMAL)
    state.mark_reconnecting()
    assert state.mark_connected() == 2
    assert (state.reconnect_count, state.attempts) == (1, 1)


def test_failed_attempts_are_no_reconnections(state):
    state.mark_connecting()
    for _ in range(3):
        state.mark_reconnecting()
    state.mark_connected()
    assert (state.attempts, state.reconnect_count) == (4, 0)


def test_the_attempt_can_be_told(state):
    state.mark_connecting(1)
    state.mark_reconnecting(5)
    assert (state.attempts, state.total_attempts) == (5, 2)


def test_a_rotation_changes_the_connection_and_never_the_status(state, clock):
    state.mark_connecting()
    state.mark_connected()
    state.mark_ready()
    given_up, following = state.reserve_id(), state.reserve_id()
    clock.now += 5
    assert (given_up, following) == (2, 3)
    assert state.mark_replaced(following) == 2
    assert (state.id, state.generation, state.reconnect_count) == (3, 2, 1)
    assert (state.connected_at, state.ready_at) == (105.0, 105.0)
    assert state.changed_ns == 100 * 10**9


def test_a_shutdown_is_not_undone_by_a_connection_that_comes_late(state):
    state.mark_connecting()
    state.mark_shutting_down()
    assert state.is_shutdown_requested
    for late in (state.mark_connected, state.mark_connecting, state.mark_reconnecting):
        with pytest.raises(RuntimeError, match="shutting_down cannot become"):
            late()
    state.mark_shutting_down()
    state.mark_disconnected(DisconnectReason("shutdown"))
    state.mark_connecting()
    assert not state.is_shutdown_requested


def test_healthy_is_ready_and_not_silent(state, clock):
    assert not state.is_healthy(None)
    state.mark_connecting()
    state.mark_connected()
    assert not state.is_healthy(5)
    state.mark_ready()
    clock.now += 5
    assert not state.is_healthy(5)
    assert state.is_healthy(5.1)
    assert state.is_healthy(None)
    state.update_activity()
    assert state.is_healthy(5)
    state.update_activity(90.0)
    assert not state.is_healthy(5)
    state.mark_shutting_down()
    assert not state.is_healthy(None)


@dataclass
class Counters:
    messages_received: int = 1
    messages_sent: int = 2
    messages_discarded: int = 5
    bytes_received: int = 30
    bytes_sent: int = 40


def test_counters_go_over_all_connections(state):
    state.count(Counters())
    state.count(Counters())
    assert state.messages_discarded == 10
    seen = state.snapshot(Counters())
    assert (seen.messages_received, seen.messages_sent, seen.bytes_received, seen.bytes_sent) == (3, 6, 90, 120)
    seen = state.snapshot()
    assert (seen.messages_received, seen.messages_sent, seen.bytes_received, seen.bytes_sent) == (2, 4, 60, 80)


@pytest.mark.parametrize(("since", "ratio"), [(100.0, 0.5), (110.0, 1.0), (115.0, 1.0), (120.0, 0.0), (130.0, 0.0)])
def test_the_uptime_is_that_of_the_current_connection(state, clock, since, ratio):
    assert state.snapshot().uptime_ratio(0.0) == 0.0
    state.mark_connecting()
    clock.now = 110.0
    state.mark_connected()
    clock.now = 120.0
    assert state.snapshot().uptime_ratio(since) == ratio


def test_a_reset_keeps_what_never_restarts(state):
    state.mark_connecting()
    state.mark_connected()
    state.mark_ready()
    state.record_error(OSError())
    state.count(Counters())
    state.reset()
    seen = state.snapshot()
    assert (seen.status, seen.id, seen.generation) == (Status.DISCONNECTED, 1, 1)
    assert (seen.error_count, seen.messages_received, seen.attempts, seen.reconnect_count) == (0, 0, 0, 0)
    state.mark_connecting()
    assert state.mark_connected() == 2
