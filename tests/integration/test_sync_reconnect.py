"""fastws.sync.reconnect: one connection after the other."""

import time

import pytest

import fastws
import fastws.sync
from fastws import ExponentialBackoff, FixedDelay, NoRetry
from peers import Peer, text

AT_ONCE = FixedDelay(0.001)


def test_a_connection_follows_the_other():
    def script(wire):
        wire.send(text("a"))
        wire.close(1001)

    got = []
    with Peer(script) as peer:
        for ws in fastws.sync.reconnect(peer.url, retry=AT_ONCE, timeout=20):
            got.extend(ws)
            if len(got) == 3:
                break
    assert got == ["a"] * 3
    assert peer.accepted == 3


def test_a_connection_is_closed_when_the_loop_goes_on_or_is_left():
    seen = []
    with Peer() as peer:
        for ws in fastws.sync.reconnect(peer.url, retry=AT_ONCE):
            seen.append(ws)
            if len(seen) == 2:
                break
        assert [ws.state for ws in seen] == [fastws.State.CLOSED] * 2
        assert [ws.close_info.sent.code for ws in seen] == [1000, 1000]


def test_it_waits_as_the_strategy_says():
    asked = []

    def delay(failure):
        asked.append((failure.phase, failure.attempt))
        return 0.05 if len(asked) < 3 else None

    with Peer(lambda wire: wire.reset()) as peer:
        start = time.monotonic()
        with pytest.raises(fastws.RetriesExhausted):
            for ws in fastws.sync.reconnect(peer.url, retry=fastws.CustomRetry(delay)):
                with pytest.raises(fastws.ConnectionClosedError):
                    ws.recv()
        assert time.monotonic() - start >= 0.1
    assert asked == [("session", 1), ("session", 2), ("session", 3)]


def test_a_refused_dial_is_tried_again_until_the_deadline():
    start = time.monotonic()
    with pytest.raises(TimeoutError, match=r"no connection within 0\.3 s") as caught:
        next(fastws.sync.reconnect("ws://127.0.0.1:9/", retry=ExponentialBackoff.fast(), timeout=0.3))
    assert isinstance(caught.value.__cause__, fastws.DialError)
    assert time.monotonic() - start < 10


def test_what_no_repetition_mends_is_raised():
    with pytest.raises(fastws.InvalidURI):
        next(fastws.sync.reconnect("http://host/"))
    with pytest.raises(TypeError):
        next(fastws.sync.reconnect("ws://host/", listener=1))
    with pytest.raises(fastws.RetriesExhausted):
        next(fastws.sync.reconnect("ws://127.0.0.1:9/", retry=NoRetry()))
    with pytest.raises(fastws.ConfigError, match="timeout"):
        fastws.sync.reconnect("ws://host/", timeout=-1)


def test_a_final_close_code_ends_it():
    with Peer(lambda wire: wire.close(4401)) as peer:
        connections = fastws.sync.reconnect(peer.url, retry=AT_ONCE, final_close_codes={4401})
        with pytest.raises(fastws.ConnectionClosedError, match="4401"):
            for ws in connections:
                with pytest.raises(fastws.ConnectionClosedError):
                    ws.recv()
    assert peer.accepted == 1
