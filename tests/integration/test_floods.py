"""Compressed messages of which a few bytes become many: what a peer can make us hold, and for how long work."""

import asyncio
import contextlib
import functools
import zlib

import pytest

import fastws
import fastws.sync
from fastws import Stream
from peers import TEXT, Gate, Peer, frame, until_paused
from rings import ring

RSV1 = 4
QUEUE = 1 << 20
READ = 256 << 10
SIZE = 1 << 20
COUNT = 300

offloading = pytest.mark.parametrize("offload", [256 << 10, 1000], ids=["here", "elsewhere"])


@functools.cache
def bomb():
    """A message of 1 MiB in 1 KiB; it needs nothing that was before it."""
    deflate = zlib.compressobj(9, wbits=-15)
    return frame(TEXT, (deflate.compress(bytes(SIZE)) + deflate.flush(zlib.Z_SYNC_FLUSH))[:-4], rsv=RSV1)


def flooding(end, sent=None):
    def script(wire):
        wire.upgrade(headers="Sec-WebSocket-Extensions: permessage-deflate\r\n")
        wire.read_frame()
        with contextlib.suppress(OSError):
            wire.send(bomb() * COUNT)
            end(wire)
        if sent is not None:
            sent.open()

    return script


DRIVERS = pytest.mark.parametrize(
    "driver", [pytest.param("loop", marks=pytest.mark.loop_driver("it is the loop driver's")), "protocol"]
)


@offloading
@pytest.mark.parametrize("tls", [False, True], ids=["tcp", "tls"])
@DRIVERS
async def test_a_queue_is_bounded_by_what_messages_become(driver, tls, offload):
    deflate = fastws.Deflate(max_ratio=1032, offload=offload)
    with Peer(flooding(lambda wire: wire.answer_close()), upgrade=False, tls=tls) as peer:
        async with peer.connect(compression=deflate, driver=driver) as ws:
            await ws.send("begin")
            for _ in range(COUNT):
                await until_paused(ws) if ws.stats().messages_received < COUNT else None
                # Behind one that was worked on elsewhere waits another.
                assert ws.stats().receive_queue_bytes <= QUEUE + READ + SIZE * (2 if offload == 1000 else 1)
                assert len(await ws.recv()) == SIZE
        assert ws.stats().messages_received == COUNT


@DRIVERS
@pytest.mark.parametrize("end", ["end", "reset"])
async def test_what_a_peer_that_is_gone_has_left_is_bounded_too(driver, end):
    sent = Gate()
    with Peer(flooding(lambda wire: getattr(wire, end)(), sent), upgrade=False) as peer:
        ws = await peer.connect(compression=fastws.Deflate(max_ratio=1032), driver=driver)
        await ws.send("begin")
        await sent.opened()
        await until_paused(ws)
        for _ in range(20):  # were it read any further, it would be by now
            await asyncio.sleep(0.01)
        assert ws.stats().receive_queue_bytes <= QUEUE + (8 << 20) + READ + SIZE
        got = 0
        with contextlib.suppress(fastws.ConnectionClosed):
            while True:
                assert len(await ws.recv()) == SIZE
                got += 1
        # A reset takes away what the kernel holds; an end does not.
        assert got == COUNT or end == "reset"
        await ws.wait_closed()


@DRIVERS
async def test_a_ring_is_bounded_by_what_messages_become(driver):
    with Peer(flooding(lambda wire: wire.answer_close()), upgrade=False) as peer:
        messages = ring()
        stream = Stream(messages)
        async with peer.connect(compression=fastws.Deflate(max_ratio=1032), driver=driver) as ws:
            messages._attach(ws, 1, 1)
            await ws.send("begin")
            for _ in range(COUNT):
                await until_paused(ws) if ws.stats().messages_received < COUNT else None
                assert messages.retained_bytes <= QUEUE + READ + SIZE
                assert len(await stream.recv()) == SIZE
            messages._detach(ws)


@offloading
@pytest.mark.parametrize("background", [True, False], ids=["helped", "alone"])
@pytest.mark.parametrize("end", ["answer_close", "end"])
def test_a_blocking_connection_is_bounded_by_what_messages_become(background, offload, end):
    sent = Gate()
    deflate = fastws.Deflate(max_ratio=1032, offload=offload)
    with Peer(flooding(lambda wire: getattr(wire, end)(), sent), upgrade=False) as peer:
        with fastws.sync.connect(peer.url, compression=deflate, background=background) as ws:
            ws.send("begin")
            for number in range(COUNT):
                assert len(ws.recv()) == SIZE
                assert ws.stats().receive_queue_bytes <= QUEUE + READ + SIZE + (8 << 20) * (end == "end")
                if number == 0 and end == "end":
                    sent.wait()


async def test_small_messages_and_fragments_do_not_hold_the_loop():
    """Work is counted by the frame where nothing comes of it: a timer has its turns while a read is worked on."""
    turns = 0

    def script(wire):
        wire.upgrade(headers="Sec-WebSocket-Extensions: permessage-deflate\r\n")
        wire.read_frame()
        empty = b"\x03\x00" * 16
        wire.send(
            frame(TEXT, empty, fin=False, rsv=RSV1),
            frame(0, empty, fin=False) * 7000,
            frame(0, b"\x00"),
            frame(TEXT, b"end"),
        )
        wire.answer_close()

    async def count():
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    with Peer(script, upgrade=False) as peer:
        async with peer.connect(compression="deflate") as ws:
            await ws.send("begin")
            counting = asyncio.create_task(count())
            while not ws.stats().frames_received:
                await asyncio.sleep(0)
            turns = 0
            assert [await ws.recv(), await ws.recv()] == ["", "end"]
            counting.cancel()
    assert turns > 5
