"""What became of what was sent, and since when nothing came (rust/py/src/conn.rs, transfer.rs)."""

import asyncio
import time

import pytest

import fastws
from fastws import _core
from fastws.testing import Server
from peers import BINARY, SMALL, Gate, Peer, fill, peer_that_stalls


def peer_that_reads_to_the_end(gate, **options):
    """It reads nothing before `gate` is open, and then everything, up to an end of any kind."""
    return Peer(lambda wire: (gate.wait(), wire.read_to_end())[1], buffers=SMALL, **options)


@pytest.mark.parametrize("tls", [False, True], ids=["tcp", "tls"])
async def test_every_message_is_either_written_or_accounted_for(tls):
    gate, size = Gate(), 4096
    with peer_that_reads_to_the_end(gate, tls=tls) as peer:
        async with peer.connect(max_send_queue=10) as ws:
            assert ws._unsent == (0, 0, 0)
            taken = await fill(ws, b"x" * size)
            accepted, not_begun, begun = ws._unsent
            assert ws._has_unsent
            assert accepted == taken
            assert not_begun > 0
            ws._abort("the test ends it")
            await ws.wait_closed()
            accepted, not_begun, begun = ws._unsent
            assert accepted == taken
            written = accepted - not_begun - begun
            gate.open()
    arrived = [frame for frame in peer.results[0] if frame.opcode == BINARY]
    # What was given to the kernel arrives; of the rest at most what was maybe written does.
    assert written <= len(arrived) <= written + begun
    assert not_begun > 0


async def test_what_is_worked_on_elsewhere_is_not_written_yet():
    """Such as a large message that another thread compresses."""
    gate = Gate()
    with peer_that_reads_to_the_end(gate) as peer:
        ws = await peer.connect()
        _core._work_elsewhere(ws, 1)
        for _ in range(3):
            ws.send_nowait(b"x" * 1000)
        written = ws._written_future()
        assert ws._unsent == (3, 3, 0)
        assert ws._has_unsent
        assert (ws.stats().send_queue_messages, ws.stats().send_queue_bytes) == (3, 3000)
        ws._abort("the test ends it")
        await ws.wait_closed()
        assert ws._unsent == (3, 3, 0)
        with pytest.raises(fastws.ConnectionClosed):
            await written
        gate.open()
    assert not [frame for frame in peer.results[0] if frame.opcode == BINARY]


async def test_written_is_told_when_the_kernel_has_taken_all_of_it():
    gate = Gate()
    with peer_that_stalls(gate) as peer:
        async with peer.connect(max_send_queue=10) as ws:
            await fill(ws)
            first, second = ws._written_future(), ws._written_future()
            await asyncio.sleep(0)
            assert not first.done()
            gate.open()
            await first
            assert second.done()
            assert ws._unsent[1:] == (0, 0)
            assert ws._written_future().done()


async def test_written_fails_when_the_connection_ends_before():
    gate = Gate()
    with peer_that_reads_to_the_end(gate) as peer:
        async with peer.connect(max_send_queue=10) as ws:
            await fill(ws)
            future = ws._written_future()
            ws._abort("the test ends it")
            with pytest.raises(fastws.ConnectionClosed):
                await future
            gate.open()


async def test_the_end_of_what_is_received_is_told_before_the_consumer_has_taken_it():
    with Server() as server:
        async with fastws.connect(server.url("/blast?n=9&size=10&fault=close:1012@5")) as ws:
            await ws._over_future()
            assert ws._over_future().done()
            for _ in range(5):
                await ws.recv()
            with pytest.raises(fastws.ConnectionClosed, match="1012"):
                await ws.recv()


async def test_silence_is_the_time_since_the_last_byte():
    with Server() as server:
        async with fastws.connect(server.url("/echo"), ping_interval=None) as ws:
            before = time.monotonic()
            await ws.send("x")
            await ws.recv()
            silence, passed = ws._silence, time.monotonic() - before
            assert 0 <= silence <= passed
            while ws._silence <= passed:
                await asyncio.sleep(0.001)
            assert not ws._is_paused
