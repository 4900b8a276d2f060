"""Deadlines of fastws.sync.WebSocketClient, also while a callback holds its thread."""

import concurrent.futures
import contextlib
import re

import pytest

import fastws
import fastws.sync
from daemons import free_ports
from fastws.events import Ready
from fastws.testing import Echo, Expect, Send, Server
from peers import CLOSE, PATIENCE, Gate, Peer, close, text
from sync_clients import CONFIG, client_of, client_threads, take


@pytest.fixture
def plain():
    with Server(record=True) as server:
        yield server


@pytest.fixture
def threads():
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        yield pool


def test_every_deadline_is_a_timeout_error_and_nothing_is_lost(plain):
    plain.script("/quiet", [Expect(1), Send("a"), Echo()])
    with client_of(plain.url("/quiet")) as client:
        stream, events = client.stream(), client.events()
        for timeout in (0, 0.001, 0.02):
            with pytest.raises(TimeoutError):
                stream.recv(timeout=timeout)
        assert isinstance(events.recv(timeout=PATIENCE), Ready)
        with pytest.raises(TimeoutError):
            events.recv(timeout=0.001)
        client.subscriptions.add("k", message="sub", ack=lambda _: False)
        with pytest.raises(TimeoutError, match="not confirmed"):
            client.subscriptions.confirmed("k", timeout=0.01)
        with pytest.raises(fastws.RequestTimeout):
            client.request("x", match=lambda message: message == "never", timeout=0.01)
        assert stream.recv(timeout=PATIENCE) == "a"


def test_messages_that_come_at_the_deadline_are_not_lost(plain):
    """Deadlines as short as the pauses between messages."""
    plain.script("/echo", [Echo()])
    with client_of(plain.url("/echo")) as client:
        stream, got, late = client.stream(), [], 0
        for number in range(2000):
            client.send(str(number))
            try:
                got.append(stream.recv(timeout=0.00002 * (number % 7)))
            except TimeoutError:
                late += 1
        got += take(stream, 2000 - len(got))
        assert got == [str(number) for number in range(2000)]
        assert late


def test_a_client_that_is_not_ready_in_time_is_stopped():
    gate = Gate()
    with Peer(lambda wire: (wire.read_request(), gate.wait()), upgrade=False) as peer:
        client = client_of(peer.url)
        with pytest.raises(TimeoutError, match="not ready within"):
            client.start(timeout=0.05)
        gate.open()
        assert not client.is_running
        assert not client_threads()


def test_a_client_that_is_not_ready_in_time_says_what_failed():
    (port,) = free_ports(1)
    client = client_of(f"ws://127.0.0.1:{port}/", retry=fastws.FixedDelay(0.01))
    with pytest.raises(
        TimeoutError, match=r"not ready within 0\.9 s; the last attempt: .* connection refused"
    ) as raised:
        client.start(timeout=0.9)
    assert isinstance(raised.value.__cause__, fastws.ConnectError)
    assert raised.value.__cause__.kind == "refused"
    assert str(raised.value).count(client.uri) == 1


def test_a_stream_of_a_client_that_does_not_run_says_so(plain):
    client = client_of(plain.url("/echo"))
    stream = client.stream()
    with pytest.raises(TimeoutError, match="no message came in time: the client does not run; use `with client:`"):
        stream.recv(timeout=0.01)
    with client, pytest.raises(TimeoutError, match=r"no message came in time$"):
        stream.recv(timeout=0.01)


def test_run_ends_at_its_deadline(plain):
    client = client_of(plain.url("/echo"))
    with pytest.raises(TimeoutError, match="shut down"):
        client.run(timeout=0.05)
    assert not client.is_running


def test_a_send_without_room_is_a_timeout_and_was_not_sent():
    gate = Gate()

    def script(wire):
        gate.wait()
        return [frame.payload for frame in wire.answer_close()][:-1]

    config = CONFIG.replace(ws_config={"max_send_bytes": 100_000, "write_limit": 1000}, ping_interval=None)
    with Peer(script, buffers=16_384) as peer:
        with client_of(peer.url, config=config, retry=fastws.NoRetry()).start(PATIENCE) as client:
            sent = 0
            with pytest.raises(TimeoutError, match="not sent"):
                while True:
                    client.send(b"%d" % sent * 3000, timeout=0.05)
                    sent += 1
            gate.open()
            receipt = client.send(b"last", receipt=True)
            receipt.result(PATIENCE)
    assert len(peer.results[0]) == sent + 1
    assert peer.results[0][-1] == b"last"


# Deadlines while a callback holds the client's thread.


@contextlib.contextmanager
def held(client, ask=None):
    """A decoder does not return: it is called when the answer comes that `ask` or a message of ours brings about."""
    begun, gate = Gate(), Gate()

    def slow_decoder(data):
        begun.open()
        gate.wait()
        return data

    stream = client.stream(decode=slow_decoder)
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        reading = pool.submit(stream.recv, PATIENCE)
        try:
            client.send_threadsafe("hold") if ask is None else ask()
            begun.wait()
            yield
        finally:
            gate.open()
        reading.result()


def venue(wire):
    """Answers what asks for it. Returns what it got."""
    got = []
    while (frame := wire.read_frame()).opcode != CLOSE:
        got.append(frame.payload.decode())
        if got[-1] == "hold":
            wire.send(text("a"))
    wire.send(close())
    wire.end()
    return got


HELD = r"held.<locals>.slow_decoder \(test_sync_client_deadlines.py:\d+\) holds the client's thread"
SHORT = 0.05


def test_deadlines_are_kept_while_a_callback_holds_the_thread(monkeypatch):
    """The decoder returns when all is over: what waited for it would not come back."""
    monkeypatch.setattr("fastws.sync._thread.GRACE", SHORT)
    with Peer(venue) as peer, client_of(peer.url) as client:
        stream, events, sender = client.stream(), client.events(), client.sender()
        client.subscriptions.add("k", message="sub")
        with held(client):
            for timeout in (0, SHORT):
                with pytest.raises(TimeoutError, match="no message came"):
                    stream.recv(timeout=timeout)
            with pytest.raises(TimeoutError, match="nothing happened"):
                while True:
                    events.recv(timeout=SHORT)
            for what, call in [
                ("not ready", lambda: client.wait_ready(timeout=SHORT)),
                ("the message was not accepted", lambda: client.send("1", timeout=SHORT)),
                ("the message was not accepted", lambda: client.send_json({}, timeout=SHORT)),
                ("the message was not accepted", lambda: sender.send("2", timeout=SHORT, receipt=True)),
                ("the ping was not answered", lambda: client.ping(timeout=SHORT)),
                ("was not confirmed", lambda: client.subscriptions.confirmed("k", timeout=SHORT)),
                ("no answer", lambda: client.request("3", match=lambda _: True, timeout=SHORT)),
            ]:
                with pytest.raises(TimeoutError, match=rf"{what} within 0.05 s: {HELD}") as raised:
                    call()
                assert re.search("was withdrawn|Nothing was sent|was not sent", str(raised.value))
            with pytest.raises(TimeoutError, match=rf"not all messages were accepted within 0.1 s: {HELD}"):
                client.send_many(["4", "5"], timeout=SHORT)
        client.send("last")
    # What came too late was not done later.
    assert peer.results == [["sub", "hold", "last"]]


@pytest.mark.parametrize("asks", ["ping", "request"])
def test_what_had_begun_when_a_callback_held_the_thread_may_have_been_done(asks, threads):
    with Peer(venue) as peer, client_of(peer.url) as client:
        if asks == "ping":
            error, call = TimeoutError, lambda: client.ping("hold", timeout=1)
        else:
            error, call = fastws.RequestTimeout, lambda: client.request("hold", match=lambda _: False, timeout=1)
        calls = []
        with held(client, lambda: calls.append(threads.submit(call))):
            with pytest.raises(error, match=rf"within 1 s: {HELD}") as raised:
                calls[0].result(PATIENCE)
            if asks == "ping":
                assert "it may be done, or have been" in str(raised.value)
            else:
                assert raised.value.outcome == "maybe_sent"
    assert peer.results == [["hold"]]


def test_calls_without_a_deadline_are_given_up_while_a_callback_holds_the_thread(monkeypatch):
    with Peer(venue) as peer, client_of(peer.url) as client:
        got = []
        stream = client.stream()
        with held(client):
            monkeypatch.setattr("fastws.sync._thread.TURN_LIMIT", SHORT)
            for call in (
                client.snapshot,
                client.stats,
                client.is_healthy,
                client.reconnect,
                client.stream,
                client.events,
                stream.close,
                client.subscriptions.states,
                lambda: client.on(None, got.append),
                lambda: client.send_nowait("x"),
                lambda: client.subscriptions.add("k", message="sub"),
            ):
                with pytest.raises(TimeoutError, match=rf"not done within 0.05 s: {HELD}. The call was withdrawn"):
                    call()
            monkeypatch.undo()
        client.send("last")
    assert peer.results == [["hold", "last"]]
    assert not any(isinstance(event, Ready) for event in got)


def test_a_shutdown_is_given_up_while_a_callback_holds_the_thread_and_goes_on():
    with Peer(venue) as peer:
        client = client_of(peer.url).start(PATIENCE)
        with held(client):
            with pytest.raises(TimeoutError, match=rf"not shut down within 0.05 s: {HELD}. It is done when"):
                client.shutdown(timeout=SHORT)
            assert client.is_running
        client.shutdown()
        assert not client.is_running
        client = client_of(peer.url, config=CONFIG.replace(shutdown_timeout=SHORT))
        with contextlib.ExitStack() as stack:
            with pytest.raises(TimeoutError, match=rf"not shut down within 0.05 s: {HELD}"), client:
                stack.enter_context(held(client))
        client._thread.join(client._thread.last)
        assert not client.is_running
