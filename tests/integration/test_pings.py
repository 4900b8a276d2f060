"""Pings and pongs of an open connection, their latency and their ends."""

import asyncio
import gc

import pytest

from fastws import ConnectionClosedError, ConnectionClosedOK
from peers import PING, PONG, TEXT, Frame, Peer, close, frame, text


async def test_ping_gives_its_latency():
    def script(wire):
        ping = wire.read_frame()
        assert ping == Frame(PING, b"abc")
        wire.send(frame(PONG, ping.payload))
        wire.answer_close()

    with Peer(script) as peer:
        async with peer.connect() as ws:
            assert ws.latency == 0
            latency = await (await ws.ping("abc"))
            assert 0 < latency < 5
            assert ws.latency == pytest.approx(latency, abs=0.05)


@pytest.mark.parametrize("data", ["żó", b"by", bytearray(b"by"), memoryview(b"by")])
async def test_pings_and_pongs_carry_text_and_bytes_of_any_kind(data):
    with Peer(lambda wire: wire.answer_close()) as peer:
        async with peer.connect() as ws:
            await ws.ping(data)
            await ws.pong(data)
            for send in (ws.ping, ws.pong):
                with pytest.raises(TypeError, match="not int"):
                    await send(5)
    expected = data.encode() if isinstance(data, str) else bytes(data)
    assert [(got.opcode, got.payload) for got in peer.results[0][:2]] == [(PING, expected), (PONG, expected)]


async def test_a_pong_answers_earlier_pings_too_and_an_unsolicited_one_answers_none():
    def script(wire):
        pings = wire.read_frames(3)
        wire.send(frame(PONG, b"nobody asked"), frame(PONG, pings[1].payload))
        assert wire.read_frame() == Frame(TEXT, b"go on")
        wire.send(frame(PONG, pings[2].payload))
        wire.answer_close()

    with Peer(script) as peer:
        async with peer.connect() as ws:
            waiters = [await ws.ping() for _ in range(3)]
            await waiters[1]
            assert [waiter.done() for waiter in waiters] == [True, True, False]
            await ws.send("go on")
            await waiters[2]


@pytest.mark.parametrize("payload", [b"", b"x" * 125])
async def test_behind_a_flood_of_pings_in_one_read_comes_what_was_sent(payload):
    count = 50_000

    def script(wire):
        wire.send(frame(PING, payload) * count, text("behind"))
        return wire.answer_close()

    with Peer(script) as peer:
        async with peer.connect() as ws:
            async for message in ws:
                assert message == "behind"
                break
            assert ws.stats().pings_received == count
    assert peer.results[0][-2] == Frame(PONG, payload)


async def test_a_ping_that_waits_when_the_connection_ends_raises():
    with Peer(lambda wire: (wire.read_frame(), wire.reset())) as peer:
        async with peer.connect() as ws:
            with pytest.raises(ConnectionClosedError):
                await (await ws.ping())


async def test_an_unsolicited_pong_can_be_sent():
    with Peer() as peer:
        async with peer.connect() as ws:
            await ws.pong("here")
    assert peer.results[0][0] == Frame(PONG, b"here")


async def test_pings_that_nobody_waits_for_any_more_do_not_pile_up():
    with Peer(lambda wire: (wire.read_to_close(), wire.send(close(1000)), wire.end())) as peer:
        async with peer.connect() as ws:
            kept = await ws.ping()
            for _ in range(1000):
                (await ws.ping()).cancel()
                await asyncio.sleep(0)
            assert len([held for held in gc.get_referents(ws) if asyncio.isfuture(held)]) <= 64
            assert not kept.done()
        with pytest.raises(ConnectionClosedOK):
            await kept
