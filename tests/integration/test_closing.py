"""How a connection closes: by us, by the peer, by both, or not politely at all."""

import asyncio
import contextlib
import socket
import ssl
import time

import pytest

import fastws
from fastws import ConnectionClosedError, ConnectionClosedOK, State, TlsConfig
from peers import (
    BINARY,
    CLOSE,
    PATIENCE,
    TEXT,
    Frame,
    Gate,
    Peer,
    authority_pem,
    close,
    frame,
    ignoring_the_end,
    numbered,
    text,
)


async def test_close_is_a_handshake_with_our_code_and_reason():
    with Peer() as peer:
        ws = await peer.connect()
        assert (ws.state, ws.close_code, ws.close_info) == (State.OPEN, None, None)
        await ws.close(3001, "done")
        assert (ws.state, ws.close_code, ws.close_reason) == (State.CLOSED, 3001, "done")
        assert ws.close_info.initiator == "local"
        assert ws.close_info.cause is None
        assert ws.fileno() == -1
    assert peer.results[0] == [Frame(CLOSE, b"\x0b\xb9done")]


async def test_close_twice_and_after_the_end_does_nothing():
    with Peer() as peer:
        ws = await peer.connect()
        await asyncio.gather(ws.close(), ws.close(1001))
        await ws.close()
        await ws.wait_closed()
    assert len(peer.results[0]) == 1


@pytest.mark.parametrize(
    ("code", "reason"), [(1005, ""), (1006, ""), (1015, ""), (999, ""), (5000, ""), (1000, "x" * 124)]
)
async def test_a_close_that_may_not_be_sent_is_a_value_error_and_nothing_happens(code, reason):
    with Peer() as peer:
        async with peer.connect() as ws:
            with pytest.raises(ValueError):
                await ws.close(code, reason)
            assert ws.state is State.OPEN


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (1000, ConnectionClosedOK),
        (1001, ConnectionClosedOK),
        (None, ConnectionClosedOK),
        (1011, ConnectionClosedError),
        (4401, ConnectionClosedError),
    ],
)
async def test_a_close_of_the_peer_raises_by_its_code(code, kind):
    with Peer(lambda wire: wire.close(code, "why" if code else "")) as peer:
        async with peer.connect() as ws:
            with pytest.raises(kind) as caught:
                await ws.recv()
            assert type(caught.value) is kind
            assert caught.value.code == (code or 1005)
            assert caught.value.reason == ("why" if code else "")
            assert caught.value.rcvd_then_sent is True
            assert ws.close_info.initiator == "remote"
            with pytest.raises(kind):
                await ws.send("too late")
    assert peer.results[0][-1].opcode == CLOSE


async def test_messages_before_the_end_come_first_however_it_ends():
    for end in ("close", "cut", "reset"):

        def script(wire, end=end):
            wire.send(numbered(range(100)))
            if end == "reset":
                # A reset may overtake data that was not read: the client says that it has everything.
                wire.read_frame()
            getattr(wire, end)()

        with Peer(script) as peer:
            ws = await peer.connect()
            got = []
            with pytest.raises(fastws.ConnectionClosed):
                while True:
                    got.append(await ws.recv())
                    if len(got) == 100 and end == "reset":
                        await ws.send("all")
            assert got == [str(number) for number in range(100)]
            await ws.wait_closed()


async def test_iteration_ends_by_a_clean_close_and_raises_otherwise():
    with Peer(lambda wire: (wire.send(text("a")), wire.close(1000))) as peer:
        ws = await peer.connect()
        assert [message async for message in ws] == ["a"]
        await ws.close()
    with Peer(lambda wire: (wire.send(text("a")), wire.close(1011))) as peer:
        ws = await peer.connect()
        got = []
        with pytest.raises(ConnectionClosedError):
            async for message in ws:
                got.append(message)  # noqa: PERF401 - a comprehension would lose what came before the error
        assert got == ["a"]
        await ws.close()


async def test_a_simultaneous_close_ends_clean():
    gate = Gate()

    def script(wire):
        gate.wait()
        # The client's Close is on its way: ours crosses it.
        wire.send(close(1000, "me too"))
        frames = wire.read_to_close()
        wire.end()
        return frames

    with Peer(script) as peer:
        ws = await peer.connect()
        closing = asyncio.create_task(ws.close(1000, "me"))
        await asyncio.sleep(0)
        assert ws.state is State.CLOSING
        gate.open()
        await closing
        assert ws.close_info.rcvd == fastws.errors.Close(1000, "me too")
        assert ws.close_info.sent == fastws.errors.Close(1000, "me")
        assert ws.close_info.cause is None
    assert peer.results[0] == [Frame(CLOSE, b"\x03\xe8me")]


async def test_a_peer_that_never_answers_costs_close_timeout():
    with Peer(lambda wire: wire.read_to_end()) as peer:
        ws = await peer.connect(close_timeout=0.1)
        start = time.monotonic()
        await ws.close()
        assert 0.09 < time.monotonic() - start < 5
        assert ws.close_code == 1006
        assert "close_timeout" in str(ws.close_info.cause)


async def test_a_peer_that_answers_but_never_ends_the_stream_costs_close_timeout():
    gate = Gate()

    def script(wire):
        wire.send(frame(CLOSE, wire.read_to_close()[-1].payload))
        gate.wait()

    with Peer(script) as peer:
        ws = await peer.connect(close_timeout=1)
        await ws.close()
        assert ws.close_code == 1000
        gate.open()


async def test_messages_that_arrive_during_close_are_still_there():
    def script(wire):
        wire.read_to_close()
        wire.send(text("last words"), close(1000))
        wire.end()

    with Peer(script) as peer:
        ws = await peer.connect()
        closing = asyncio.create_task(ws.close())
        assert await ws.recv() == "last words"
        with pytest.raises(ConnectionClosedOK):
            await ws.recv()
        await closing


async def test_a_reset_is_1006_with_its_cause():
    with Peer(lambda wire: wire.reset()) as peer:
        ws = await peer.connect()
        with pytest.raises(ConnectionClosedError, match="reset") as caught:
            await ws.recv()
        assert caught.value.code == 1006
        assert caught.value.rcvd is None
        assert isinstance(caught.value.__cause__, fastws.FastwsError)
        await ws.close()


async def test_an_end_without_a_close_frame_is_1006_with_its_cause():
    with Peer(lambda wire: wire.cut()) as peer:
        ws = await peer.connect()
        with pytest.raises(ConnectionClosedError, match="without a Close frame") as caught:
            await ws.recv()
        assert caught.value.code == 1006
        await ws.close()


async def test_after_the_peers_half_close_what_is_queued_still_leaves():
    gate = Gate()

    def script(wire):
        wire.half_close()
        gate.wait()
        return wire.read_to_end()

    with Peer(script, buffers=4096) as peer:
        ws = await peer.connect()
        for _ in range(64):
            ws.send_nowait(b"x" * 65536)
        gate.open()
        with pytest.raises(ConnectionClosedError):
            await ws.recv()
        await ws.wait_closed()
    assert [len(frame.payload) for frame in peer.results[0] if frame.opcode == BINARY] == [65536] * 64


@pytest.mark.parametrize(
    ("sends", "code", "reason"),
    [(close(4001, "why"), 4001, "why"), (frame(0xF, b""), 1006, ""), (close(None), 1005, "")],
    ids=["a Close", "a violation", "a Close without a code"],
)
async def test_the_close_code_is_there_as_soon_as_somebody_was_told(sends, code, reason):
    gate = Gate()

    def script(wire):
        wire.send(sends)
        gate.wait()

    with Peer(script) as peer:
        ws = await peer.connect()
        with pytest.raises(fastws.ConnectionClosed) as raised:
            await ws.recv()
        assert ws.state is State.CLOSING
        assert (ws.close_code, ws.close_reason) == (code, reason) == (raised.value.code, raised.value.reason)
        gate.open()
        await ws.wait_closed()
        assert (ws.close_code, ws.close_reason) == (code, reason)


@pytest.mark.parametrize("tls", [False, True], ids=["tcp", "tls"])
@pytest.mark.parametrize(
    "driver", [pytest.param("loop", marks=pytest.mark.loop_driver("it is the loop driver")), "protocol"]
)
async def test_a_violation_in_a_large_message_behind_which_nothing_comes_is_acted_upon(driver, tls):
    def script(wire):
        wire.send(text("one"), frame(TEXT, b"x" * (1 << 20) + b"\xff"))
        return wire.read_to_close()

    with Peer(script, tls=tls) as peer:
        async with peer.connect(driver=driver) as ws:
            # One waits to be taken when the violation is found.
            while ws.state is State.OPEN:
                await asyncio.sleep(0.01)
            assert await ws.recv() == "one"
            with pytest.raises(ConnectionClosedError, match="UTF-8"):
                await ws.recv()
    assert peer.results[0] == [Frame(CLOSE, b"\x03\xefinvalid UTF-8 at byte 1048576")]


async def test_the_close_code_is_not_known_before_the_peer_has_answered():
    gate = Gate()

    def script(wire):
        wire.read_to_close()
        gate.wait()
        wire.send(close(1000, "me too"))
        wire.read_to_end()

    with Peer(script) as peer:
        ws = await peer.connect()
        closing = asyncio.create_task(ws.close(1000))
        while ws.state is State.OPEN:
            await asyncio.sleep(0)
        assert (ws.close_code, ws.close_reason) == (None, None)
        gate.open()
        await closing
        assert (ws.close_code, ws.close_reason) == (1000, "me too")


class Slow(fastws.Listener):
    """Uses up the turn of its connection."""

    def on_message(self, ws, message):
        time.sleep(0.01)


@pytest.mark.skipif(not hasattr(socket, "TCP_CORK"), reason="a segment cannot be held back")
@pytest.mark.parametrize("backend", ["system", "openssl"])
async def test_a_close_notify_that_a_slow_consumer_is_before_is_an_end(backend):
    """It came with the Close frame and was read: the socket has no event for it any more."""
    over = Gate()

    @ignoring_the_end
    def script(wire):
        wire.read_frame()
        wire.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 1)
        wire.send(text("last"), close())
        wire.sock.setblocking(False)
        with contextlib.suppress(ssl.SSLWantReadError):
            wire.sock.unwrap()  # it says close_notify, and does not wait for the other one
        wire.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 0)
        over.wait()

    with Peer(script, tls=True) as peer:
        tls = TlsConfig(backend=backend, ca=authority_pem())
        ws = await peer.connect(tls=tls, listener=Slow(), ping_interval=None, close_timeout=3600)
        try:
            await ws.send("go")
            await asyncio.wait_for(ws.wait_closed(), PATIENCE / 2)
            assert ws.close_code == 1000
        finally:
            over.open()
