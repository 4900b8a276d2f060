"""Pings: answered, sent by themselves, of a user's own kind, measured (compat/picows/picows.py)."""

import asyncio
import contextlib
import threading

import pytest

from fastws.compat.picows import WSAutoPingStrategy, WSCloseCode, WSListener, WSMsgType
from peers import CLOSE, PING, PONG, TEXT, Frame, Gate, binary, frame, text


def answering(kind=PONG, of=PING):
    """A script that answers frames of one kind by those of another, to the end."""

    def script(wire):
        seen = []
        try:
            while True:
                got = wire.read_frame()
                seen.append(got)
                if got.opcode == of:
                    wire.send(frame(kind, got.payload))
        except Exception:
            return seen

    return script


class Frames(WSListener):
    def __init__(self):
        self.frames = []
        self.came = asyncio.Event()

    def on_ws_frame(self, transport, frame):
        self.frames.append((frame.msg_type, frame.get_payload_as_bytes()))
        self.came.set()


async def test_pings_are_answered_and_not_shown_unless_the_listener_wants_them(way):
    def script(wire):
        wire.send(frame(PING, b"one"), text("end"))
        return wire.read_to_end()

    with way.peer(script) as peer:
        transport, frames = await way.connect(Frames, peer)
        await frames.came.wait()
        transport.disconnect()
        await transport.wait_disconnected()
    assert peer.results[0] == [Frame(PONG, b"one")]
    assert frames.frames == [(WSMsgType.TEXT, b"end")]

    with way.peer(script) as peer:
        transport, frames = await way.connect(Frames, peer, enable_auto_pong=False)
        while len(frames.frames) < 2:
            frames.came.clear()
            await frames.came.wait()
        transport.disconnect()
        await transport.wait_disconnected()
    assert peer.results[0] == []
    assert frames.frames == [(WSMsgType.PING, b"one"), (WSMsgType.TEXT, b"end")]


async def test_of_a_flood_of_pings_that_a_peer_does_not_read_the_answers_of_little_waits(way):
    gate = Gate()

    def script(wire):
        wire.send(frame(PING, b"x" * 125) * 200_000, text("end"))
        gate.wait()

    with way.peer(script) as peer:
        transport, frames = await way.connect(Frames, peer)
        await frames.came.wait()
        assert transport._unsent_bytes < 64 << 10
        gate.open()
        transport.disconnect(graceful=False)
        await transport.wait_disconnected()
    assert frames.frames == [(WSMsgType.TEXT, b"end")]


@pytest.mark.parametrize("strategy", list(WSAutoPingStrategy))
async def test_a_peer_that_answers_no_ping_is_given_up(way, strategy):
    with way.peer(lambda wire: wire.read_to_close()) as peer:
        transport, _ = await way.connect(
            WSListener,
            peer,
            enable_auto_ping=True,
            auto_ping_idle_timeout=0.05,
            auto_ping_reply_timeout=0.05,
            auto_ping_strategy=strategy,
        )
        await transport.wait_disconnected()
        assert transport.close_handshake.sent.code == WSCloseCode.GOING_AWAY
    ping, end = peer.results[0]
    assert (ping, end.opcode, end.payload[:2]) == (Frame(PING, b""), CLOSE, b"\x03\xe9")


async def test_one_that_answers_is_pinged_again_and_its_pongs_are_not_shown(way):
    with way.peer(answering()) as peer:
        pings = asyncio.Event()
        count = 0

        class Counting(Frames):
            def send_user_specific_ping(self, transport):
                nonlocal count
                count += 1
                super().send_user_specific_ping(transport)
                if count == 3:
                    pings.set()

        transport, frames = await way.connect(
            Counting, peer, enable_auto_ping=True, auto_ping_idle_timeout=1, auto_ping_reply_timeout=1
        )
        await pings.wait()
        assert not transport.is_disconnected
        transport.disconnect()
        await transport.wait_disconnected()
    assert frames.frames == []
    assert peer.results[0][:3] == [Frame(PING, b"")] * 3


async def test_what_comes_keeps_an_idle_ping_away(way):
    def script(wire):
        wire.sock.settimeout(0.01)
        for _ in range(30):
            wire.send(binary(b"x"))
            try:
                return wire.sock.recv(1)
            except TimeoutError:
                pass
        return None

    with way.peer(script) as peer:
        transport, frames = await way.connect(
            Frames, peer, enable_auto_ping=True, auto_ping_idle_timeout=5, auto_ping_reply_timeout=5
        )
        await transport.wait_disconnected()
    assert peer.results == [None]
    assert len(frames.frames) == 30


async def test_a_users_own_pings_and_pongs(way):
    class Own(Frames):
        def send_user_specific_ping(self, transport):
            transport.send(WSMsgType.TEXT, b"ping")

        def is_user_specific_pong(self, frame):
            return frame.msg_type == WSMsgType.TEXT and frame.get_payload_as_memoryview() == b"ping"

    class Telling(Own):
        def is_user_specific_pong(self, frame):
            return False

        def on_ws_frame(self, transport, frame):
            super().on_ws_frame(transport, frame)
            transport.notify_user_specific_pong_received()

    for listener, shown in ((Own, 0), (Telling, 3)):
        with way.peer(answering(TEXT, of=TEXT)) as peer:
            transport, own = await way.connect(listener, peer)
            times = await transport.measure_roundtrip_time(3)
            transport.disconnect()
            await transport.wait_disconnected()
        assert len(times) == 3
        assert all(0 < time < 5 for time in times)
        assert len(own.frames) == shown
        assert peer.results[0] == [Frame(TEXT, b"ping")] * 3


async def test_while_it_is_measured_no_ping_is_sent_by_itself(way):
    def script(wire):
        seen = [wire.read_frame()]
        wire.sock.settimeout(1)
        with contextlib.suppress(TimeoutError):
            seen.append(wire.read_frame())
        wire.sock.settimeout(10)
        wire.send(frame(PONG))
        return seen

    with way.peer(script) as peer:
        transport, _ = await way.connect(
            WSListener, peer, enable_auto_ping=True, auto_ping_idle_timeout=0.5, auto_ping_reply_timeout=0.5
        )
        [took] = await transport.measure_roundtrip_time(1)
        transport.disconnect()
        await transport.wait_disconnected()
    assert took >= 1
    assert peer.results == [[Frame(PING, b"")]]


async def test_a_connection_lost_while_it_is_measured(way):
    with way.peer(lambda wire: wire.read_frame()) as peer:
        transport, _ = await way.connect(WSListener, peer)
        with pytest.raises(ConnectionResetError):
            await transport.measure_roundtrip_time(2)
        with pytest.raises(ConnectionResetError):
            await transport.measure_roundtrip_time(1)


async def test_who_gives_up_measuring_leaves_the_pings_to_themselves(way):
    """And who measures at the same time has its answer."""
    answers = threading.Event()

    def script(wire):
        seen = [wire.read_frame(), wire.read_frame()]
        answers.wait(10)
        wire.send(frame(PONG, seen[1].payload))
        seen.append(wire.read_frame())
        wire.read_to_end()
        return seen

    with way.peer(script) as peer:
        transport, _ = await way.connect(
            WSListener, peer, enable_auto_ping=True, auto_ping_idle_timeout=0.2, auto_ping_reply_timeout=0.1
        )
        first, second = (asyncio.ensure_future(transport.measure_roundtrip_time(1)) for _ in range(2))
        await asyncio.sleep(0)
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        answers.set()
        assert len(await second) == 1
        given_up = asyncio.ensure_future(transport.measure_roundtrip_time(1))
        await asyncio.sleep(0)
        given_up.cancel()
        with pytest.raises(asyncio.CancelledError):
            await given_up
        async with asyncio.timeout(5):
            await transport.wait_disconnected()  # as nobody answered a ping that was sent by itself
        assert transport.close_handshake.sent.code == WSCloseCode.GOING_AWAY


async def test_a_ping_that_fails_ends_the_connection(way, caplog):
    class Failing(WSListener):
        def send_user_specific_ping(self, transport):
            raise RuntimeError("no ping today")

    with way.peer(lambda wire: wire.read_to_close()) as peer:
        transport, _ = await way.connect(
            Failing, peer, enable_auto_ping=True, auto_ping_idle_timeout=0.01, auto_ping_reply_timeout=0.01
        )
        await transport.wait_disconnected()
    assert peer.results[0][0].payload[:2] == b"\x03\xf3"
    assert "no ping today" in caplog.text


async def test_the_answer_may_not_take_longer_than_the_next_ping(way):
    with way.peer(lambda wire: None) as peer:
        with pytest.raises(ValueError, match="auto_ping_reply_timeout"):
            await way.connect(
                WSListener, peer, enable_auto_ping=True, auto_ping_idle_timeout=1, auto_ping_reply_timeout=2
            )
