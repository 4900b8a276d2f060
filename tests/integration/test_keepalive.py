"""Keepalive over a real socket: rust/core/src/keepalive.rs has the rules and their tests under a fake clock."""

import asyncio
import base64
import contextlib
import functools
import random
import re
import time
import zlib

import pytest

import fastws
from peers import PING, PONG, TEXT, Gate, Peer, binary, frame, ignoring_the_end, text, until_paused


async def test_a_peer_that_answers_stays_and_gives_the_latency(fastws_server):
    async with fastws.connect(fastws_server.url("/echo"), ping_interval=0.02, ping_timeout=5) as ws:
        while ws.stats().pongs_received < 4:
            await asyncio.sleep(0.005)
        await ws.send("still here")
        assert await ws.recv() == "still here"
        assert 0 < ws.latency < 5
        assert ws.stats().pings_sent >= ws.stats().pongs_received


async def test_a_peer_that_is_silent_is_given_up_and_that_is_said(fastws_server):
    for _ in range(30):
        start = time.perf_counter()
        async with contextlib.AsyncExitStack() as stack:
            stack.enter_context(contextlib.suppress(fastws.ConnectionClosed))
            ws = await stack.enter_async_context(
                fastws.connect(fastws_server.url("/silence"), ping_interval=0.05, ping_timeout=0.4, close_timeout=0.1)
            )
            with pytest.raises(fastws.ConnectionClosedError, match="keepalive ping timeout: ") as caught:
                await ws.recv()
            assert time.perf_counter() - start > 0.4
        assert isinstance(caught.value.__cause__, fastws.KeepaliveTimeout)
        assert ws.close_code == 1006
        assert ws.close_info.sent.code == 1011
        # A machine that stops this process for most of that time blocks the loop, and that is said instead.
        if "event loop blocked" not in str(caught.value):
            break
    assert re.search(r"peer silent \d\.\d s", str(caught.value))


async def test_without_ping_timeout_a_silent_peer_stays(fastws_server):
    async with fastws.connect(
        fastws_server.url("/silence"), ping_interval=0.01, ping_timeout=None, close_timeout=0.05
    ) as ws:
        while ws.stats().pings_sent < 20:
            await asyncio.sleep(0.005)
        assert ws.state == fastws.State.OPEN


async def test_without_ping_interval_there_are_no_pings(fastws_server):
    async with fastws.connect(fastws_server.url("/silence"), ping_interval=None, close_timeout=0.05) as ws:
        await asyncio.sleep(0.1)
        assert ws.stats().pings_sent == 0


async def test_any_byte_is_life_also_of_a_peer_that_answers_no_ping(fastws_server):
    url = fastws_server.url("/paced?rate=100&n=150&size=32&fault=ignore-pings")
    async with fastws.connect(url, ping_interval=0.05, ping_timeout=0.8) as ws:
        assert len([message async for message in ws]) == 150
        assert ws.stats().pings_sent >= 5
        assert ws.stats().pongs_received == 0


async def test_pings_go_out_while_nobody_receives_and_pongs_while_nobody_runs():
    def script(wire):
        wire.send(frame(PING, b"theirs"))
        seen = set()
        while seen != {PING, PONG}:
            got = wire.read_frame()
            seen.add(got.opcode)
            if got.opcode == PONG:
                assert got.payload == b"theirs"
        wire.answer_close()

    with Peer(script) as peer:
        async with peer.connect(ping_interval=0.05) as ws:
            while ws.stats().pings_sent < 1:
                await asyncio.sleep(0.01)


async def test_a_ping_is_answered_while_a_send_waits_for_room():
    """Our own queue is full of data; the pong passes it."""
    gate = Gate()

    def script(wire):
        wire.send(frame(PING, b"are you there"))
        gate.wait()
        frames = wire.answer_close()
        return [got.opcode for got in frames].index(PONG), len(frames)

    with Peer(script, buffers=16_384) as peer:
        async with peer.connect(max_send_bytes=1 << 20) as ws:
            waiting = [asyncio.create_task(ws.send(b"x" * 100_000)) for _ in range(100)]
            while not ws.stats().pings_received:
                await asyncio.sleep(0.005)
            gate.open()
            await asyncio.gather(*waiting)
    position, total = peer.results[0]
    # Behind what was with the kernel, before most of what waited.
    assert position < total / 2


async def test_a_blocked_loop_is_not_the_peers_silence():
    """The answer lies in the socket while the loop is blocked: it is read before silence is judged."""

    @ignoring_the_end
    def script(wire):
        while True:
            got = wire.read_frame()
            if got.opcode == PING:
                wire.send(frame(PONG, got.payload))
            elif got.opcode == 8:
                wire.send(frame(8, got.payload))
                return

    with Peer(script) as peer:
        async with peer.connect(ping_interval=0.02, ping_timeout=1) as ws:
            for _ in range(3):
                while ws.stats().pings_sent == ws.stats().pongs_received:
                    await asyncio.sleep(0.001)
                time.sleep(1.5)  # blocks the loop, which is what is tested
                await asyncio.sleep(0)
            assert ws.state == fastws.State.OPEN


async def test_a_loop_that_is_blocked_again_and_again_is_named(fastws_server):
    ws = await fastws.connect(fastws_server.url("/silence"), ping_interval=0.05, ping_timeout=0.1, close_timeout=0.1)
    while ws.state == fastws.State.OPEN:
        time.sleep(0.2)  # blocks the loop, which is what is tested
        await asyncio.sleep(0)
    with pytest.raises(fastws.ConnectionClosedError, match="event loop blocked"):
        await ws.recv()
    await ws.wait_closed()


async def test_our_own_full_queue_stops_the_clock_and_the_peer_lives():
    """Nobody receives for much longer than ping_timeout; what the peer sent is there, and the connection open."""

    def script(wire):
        wire.send(text("x") * 500)
        wire.send(*(text("y" * 100_000) for _ in range(100)))
        return wire.answer_close()

    with Peer(script, buffers=16_384) as peer:
        async with peer.connect(max_queue=100, ping_interval=0.02, ping_timeout=1) as ws:
            await until_paused(ws)
            await asyncio.sleep(1.5)
            assert ws.stats().receive_paused
            assert ws.state == fastws.State.OPEN
            for _ in range(600):
                await ws.recv()


async def test_a_user_ping_fails_with_the_connection(fastws_server):
    ws = await fastws.connect(fastws_server.url("/silence"), ping_interval=0.05, ping_timeout=1, close_timeout=0.1)
    waiting = await ws.ping()
    with pytest.raises(fastws.ConnectionClosedError, match="keepalive ping timeout"):
        await waiting
    await ws.wait_closed()


@functools.cache
def large_text():
    """A compressed text whose inflating takes some tenths of a second."""
    deflate = zlib.compressobj(1, wbits=-15)
    data = base64.b64encode(random.Random(1).randbytes(18 << 20))
    return frame(TEXT, (deflate.compress(data) + deflate.flush(zlib.Z_SYNC_FLUSH))[:-4], rsv=4)


def answering_pings_until(wire, opcode):
    while (got := wire.read_frame()).opcode != opcode:
        if got.opcode == PING:
            wire.send(frame(PONG, got.payload))
    return got


@pytest.mark.timing
async def test_a_peer_that_is_not_read_while_work_is_waited_for_is_not_silent():
    """The work of many connections waits for a few threads, and what is behind it, a Pong too, for the work."""
    begin = Gate()

    @ignoring_the_end
    def script(wire):
        wire.upgrade(headers="Sec-WebSocket-Extensions: permessage-deflate\r\n")
        answering_pings_until(wire, TEXT)
        begin.wait()
        wire.send(large_text(), binary(bytes(3000)))
        wire.send(frame(8, answering_pings_until(wire, 8).payload))

    options = {"ping_interval": 0.1, "ping_timeout": 0.3, "max_size": None}
    large_text()
    with Peer(script, upgrade=False) as peer:
        async with contextlib.AsyncExitStack() as stack:
            connecting = [peer.connect(compression=fastws.Deflate(offload=1000), **options) for _ in range(10)]
            opened = [await stack.enter_async_context(connect) for connect in connecting]
            for ws in opened:
                await ws.send("ready")
            begin.open()

            async def two(ws):
                return len(await ws.recv()), len(await ws.recv())

            assert await asyncio.gather(*map(two, opened)) == [(24 << 20, 3000)] * 10
