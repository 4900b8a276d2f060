"""Batches: rust/py/src/batch.rs, and their delivery in rust/py/src/deliver.rs."""

import asyncio
import collections.abc
import datetime as dt
import random
import time
import zlib

import pytest

import fastws
from fastws import ConnectionClosed, Stream
from peers import BINARY, Gate, Peer, binary, frame, numbered, text
from rings import push, ring


async def test_a_batch_has_what_is_there_with_its_metadata():
    with Peer(lambda wire: (wire.send(numbered(range(10))), wire.answer_close())) as peer:
        async with peer.connect() as ws:
            assert await ws.recv() == "0"
            while ws.stats().receive_queue_messages < 9:
                await asyncio.sleep(0)
            batch = await anext(ws.batches())
            assert list(batch) == [str(number) for number in range(1, 10)]
            assert (len(batch), batch[0], batch[-1], batch[2:4]) == (9, "1", "9", ["3", "4"])
            assert (batch.first_seq, batch.last_seq) == (2, 10)
            assert batch.received_ns == ws.received_ns
            assert batch.received_mono_ns == ws.received_mono_ns
            assert "3" in batch
            assert "0" not in batch


async def test_max_messages_is_the_most_a_batch_has():
    with Peer(lambda wire: (wire.send(numbered(range(100))), wire.close())) as peer:
        ws = await peer.connect()
        got = []
        async for batch in ws.batches(max_messages=7):
            assert 1 <= len(batch) <= 7
            assert batch.last_seq - batch.first_seq + 1 == len(batch)
            got.extend(batch)
        assert got == [str(number) for number in range(100)]
        await ws.close()


async def test_max_bytes_bounds_a_batch_but_never_splits_a_message():
    sizes = [10, 10, 50, 10, 200, 10]
    with Peer(lambda wire: (wire.send(*(binary(b"x" * size) for size in sizes)), wire.answer_close())) as peer:
        async with peer.connect() as ws:
            while ws.stats().receive_queue_messages < 6:
                await asyncio.sleep(0)
            batches = ws.batches(max_bytes=60)
            got = [[len(message) for message in await anext(batches)] for _ in range(4)]
            assert got == [[10, 10], [50, 10], [200], [10]]


async def test_max_wait_gathers_what_comes_within_it():
    gate = Gate()

    def script(wire):
        wire.send(text("a"))
        gate.wait()
        wire.send(text("b"), text("c"))
        wire.answer_close()

    with Peer(script) as peer:
        async with peer.connect() as ws:
            batches = ws.batches(max_wait=10, max_messages=3)
            task = asyncio.create_task(anext(batches))
            while ws.stats().receive_queue_messages < 1:
                await asyncio.sleep(0)
            await asyncio.sleep(0)
            assert not task.done()
            gate.open()
            assert list(await task) == ["a", "b", "c"]


@pytest.mark.parametrize("max_wait", [0.05, dt.timedelta(milliseconds=50)], ids=["float", "timedelta"])
async def test_max_wait_ends_without_more(max_wait):
    with Peer(lambda wire: (wire.send(text("a")), wire.answer_close())) as peer:
        async with peer.connect() as ws:
            start = time.monotonic()
            assert list(await anext(ws.batches(max_wait=max_wait))) == ["a"]
            assert 0.04 < time.monotonic() - start < 5


async def test_max_wait_ends_at_once_with_the_connection():
    with Peer(lambda wire: (wire.send(text("a")), wire.close())) as peer:
        ws = await peer.connect()
        start = time.monotonic()
        got = [list(batch) async for batch in ws.batches(max_wait=30)]
        assert got == [["a"]]
        assert time.monotonic() - start < 10
        await ws.close()


async def test_a_cancelled_batch_loses_nothing_and_its_limits_bind_no_other_reader():
    gate = Gate()

    def script(wire):
        wire.send(text("a"))
        gate.wait()
        wire.send(text("b"))
        wire.answer_close()

    with Peer(script) as peer:
        async with peer.connect() as ws:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.02):
                    await anext(ws.batches(max_wait=60))
            assert await ws.recv() == "a"
            task = asyncio.create_task(ws.recv())
            await asyncio.sleep(0)
            gate.open()
            # Not after the minute that the batch would have waited.
            async with asyncio.timeout(5):
                assert await task == "b"


async def test_a_cancelled_batch_whose_moment_passes_does_not_hang_the_loop():
    with Peer(lambda wire: (wire.send(text("a")), wire.answer_close())) as peer:
        async with peer.connect() as ws:
            batches = ws.batches(max_wait=0.5)
            task = asyncio.create_task(anext(batches))
            while ws.stats().receive_queue_messages < 1:
                await asyncio.sleep(0)
            # Its moment passes while it is cancelled and has not come back.
            task.cancel()
            time.sleep(0.6)
            await asyncio.wait({task})
            await asyncio.sleep(0.03)
            assert task.cancelled()
            assert await ws.recv() == "a"


async def test_a_batch_that_waits_is_given_when_our_own_queue_is_full():
    with Peer(lambda wire: (wire.send(numbered(range(100))), wire.answer_close())) as peer:
        async with peer.connect(max_queue=10) as ws:
            async with asyncio.timeout(10):
                first = await anext(ws.batches(max_messages=4096, max_wait=30))
            assert len(first) >= 10
            got = list(first)
            while len(got) < 100:
                got.append(await ws.recv())
            assert got == [str(number) for number in range(100)]


@pytest.mark.parametrize(
    "arguments",
    [
        {"max_messages": 0},
        {"max_messages": -1},
        {"max_bytes": 0},
        {"max_bytes": -1},
        {"max_wait": -1},
        {"max_wait": float("nan")},
        {"max_wait": float("inf")},
    ],
)
async def test_wrong_limits_are_value_errors(arguments):
    with Peer() as peer:
        async with peer.connect() as ws:
            with pytest.raises(ValueError):
                ws.batches(**arguments)


async def test_batches_end_by_a_clean_close_and_raise_otherwise():
    for code, raises in ((1000, False), (1011, True)):
        with Peer(lambda wire, code=code: (wire.send(text("a")), wire.close(code))) as peer:
            ws = await peer.connect()
            got = []
            try:
                async for batch in ws.batches():
                    got.extend(batch)
            except ConnectionClosed:
                assert raises
            else:
                assert not raises
            assert got == ["a"]
            await ws.close()


async def test_binary_batches_are_bytes():
    with Peer(lambda wire: (wire.send(binary(b"a"), frame(BINARY, b"")), wire.close())) as peer:
        ws = await peer.connect()
        assert [message async for batch in ws.batches() for message in batch] == [b"a", b""]
        await ws.close()


async def test_a_batch_is_a_sequence():
    with Peer(lambda wire: (wire.send(text("a"), text("b"), text("a")), wire.answer_close())) as peer:
        async with peer.connect() as ws:
            while ws.stats().receive_queue_messages < 3:
                await asyncio.sleep(0)
            batch = await anext(ws.batches())
    assert isinstance(batch, collections.abc.Sequence)
    assert [*reversed(batch)] == ["a", "b", "a"]
    assert (batch.index("b"), batch.index("a", 1), batch.count("a")) == (1, 2, 2)
    with pytest.raises(ValueError, match="z"):
        batch.index("z")
    match batch:
        case [first, *others]:
            assert (first, others) == ("a", ["b", "a"])
        case _:
            pytest.fail("no sequence pattern")


async def test_the_moment_of_a_message_costs_the_same_however_many_wait():
    """The stamps of what was taken are forgotten as they are asked for, not looked through each time."""

    def script(wire):
        for number in range(3000):
            wire.send(text(str(number)))
        wire.answer_close()

    with Peer(script) as peer:
        async with peer.connect(max_queue=None) as ws:
            while ws.stats().messages_received < 3000:
                await asyncio.sleep(0)
            before, moments = ws.received_ns, []
            for _ in range(3000):
                await ws.recv()
                moments.append(ws.received_ns)
            assert before == 0
            assert moments == sorted(moments)
            assert moments[0] > 0
            assert ws.received_ns == moments[-1]


def compressing(begun):
    """One message, and when that has begun a batch, another that fills the queue."""

    def script(wire):
        wire.upgrade(headers="Sec-WebSocket-Extensions: permessage-deflate\r\n")
        deflate = zlib.compressobj(wbits=-15)
        for message in (b"first", random.Random(1).randbytes(1_500_000)):
            data = (deflate.compress(message) + deflate.flush(zlib.Z_SYNC_FLUSH))[:-4]
            wire.send(frame(BINARY, data, rsv=4))
            if message == b"first":
                begun.wait()
        wire.answer_close()

    return script


offloading = pytest.mark.parametrize("offload", [1 << 40, 1000], ids=["here", "elsewhere"])


@offloading
async def test_a_batch_leaves_when_reading_pauses(offload):
    begun = Gate()
    with Peer(compressing(begun), upgrade=False) as peer:
        async with peer.connect(compression=fastws.Deflate(offload=offload)) as ws:
            reading = asyncio.ensure_future(anext(ws.batches(max_wait=20, max_messages=4096)))
            while not ws.stats().messages_received:
                await asyncio.sleep(0.01)
            begun.open()
            # Timers of others, 5 s the soonest, would wake the reader too.
            async with asyncio.timeout(3):
                assert [len(message) for message in await reading] == [5, 1_500_000]


@offloading
async def test_a_batch_of_a_stream_leaves_when_reading_pauses(offload):
    begun = Gate()
    with Peer(compressing(begun), upgrade=False) as peer:
        config = fastws.ClientConfig(ws_config={"compression": fastws.Deflate(offload=offload)})
        client = fastws.WebSocketClient(peer.url, config=config)
        stream = client.stream()
        async with client:
            reading = asyncio.ensure_future(anext(stream.batches(max_wait=20, max_messages=4096)))
            while not client.stats().messages_received:
                await asyncio.sleep(0.01)
            begun.open()
            async with asyncio.timeout(3):
                assert [len(message) for message in await reading] == [5, 1_500_000]


async def test_a_batch_whose_timer_could_not_be_set_leaves_nobody_waiting(monkeypatch):
    loop = asyncio.get_running_loop()
    if not isinstance(loop, asyncio.SelectorEventLoop):
        pytest.skip("only asyncio's own loop can be changed so")
    messages = ring()
    stream = Stream(messages)
    push(messages, "a")

    def fails(*_):
        raise ZeroDivisionError

    with monkeypatch.context() as patch:
        patch.setattr(loop, "call_later", fails)
        with pytest.raises(ZeroDivisionError):
            await anext(stream.batches(max_wait=10))
    assert not messages.is_awaited
    assert await stream.recv() == "a"
