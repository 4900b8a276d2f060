"""rust/py/src/ring/read.rs: how streams are read, how they wait and how they end."""

import asyncio
import collections.abc
import gc
import random
import sys
import time
import traceback
import tracemalloc
import weakref

import pytest

import fastws
from fastws import ClientStopped, ConcurrencyError, FastwsError, ReceiveError, Stream, _core
from fastws.testing import Server
from peers import Peer
from peers import numbered as text_of
from rings import attached, down, feed, numbered, outage, push, rest, ring, take, there, waits


async def test_plain_items_are_bare_values_and_the_stream_tells_about_the_last():
    messages = ring()
    stream = Stream(messages)
    assert (stream.seq, stream.generation, stream.connection_id, stream.received_ns) == (0, 0, 0, 0)
    assert (stream.kernel_ns, stream.source, stream.last_outage, stream.outages) == (None, None, None, 0)
    messages._begin(1, 1, "a")
    messages._push("text", 10, 20, 30)
    messages._begin(2, 2, "b")
    messages._push(b"bytes", 11, 21, None)
    assert stream.lag == (2, 9)
    assert await stream.recv() == "text"
    assert (stream.seq, stream.generation, stream.connection_id, stream.source) == (1, 1, 1, "a")
    assert (stream.received_ns, stream.received_mono_ns, stream.kernel_ns) == (10, 20, 30)
    assert stream.lag == (1, 5)
    assert await anext(stream) == b"bytes"
    assert (stream.seq, stream.generation, stream.connection_id, stream.source) == (2, 2, 2, "b")
    assert (stream.received_ns, stream.received_mono_ns, stream.kernel_ns) == (11, 21, None)
    assert stream.lag == (0, 0)


async def test_the_first_stream_starts_at_the_oldest_and_later_ones_live():
    messages = ring()
    numbered(messages, range(3))
    first = Stream(messages)
    second = Stream(messages)
    assert await first.recv() == "0"
    third = Stream(messages, start="oldest")
    numbered(messages, [3])
    assert await there(first) == ["1", "2", "3"]
    assert await there(second) == ["3"]
    assert second.seq == 4
    assert (await there(third))[-2:] == ["2", "3"]


async def test_a_waiting_reader_is_woken():
    messages = ring()
    stream = Stream(messages)
    task = asyncio.create_task(stream.recv())
    await asyncio.sleep(0)
    assert not task.done()
    push(messages, "a")
    assert await task == "a"


async def test_its_awaitable_is_a_coroutine():
    messages = ring()
    stream = Stream(messages)
    push(messages, *"abcde")
    awaitable = stream.recv()
    assert isinstance(awaitable, collections.abc.Coroutine)
    assert not asyncio.isfuture(awaitable)
    assert await awaitable == "a"
    with pytest.raises(RuntimeError, match="awaited already"):
        await awaitable
    assert await asyncio.create_task(stream.recv()) == "b"
    assert await asyncio.wait_for(stream.recv(), 1) == "c"
    # The first may give the loop a turn before it reads; then the second is refused. No message is given twice.
    results = await asyncio.gather(stream.recv(), stream.recv(), return_exceptions=True)
    assert results[0] == "d"
    assert results[1] == "e" or isinstance(results[1], ConcurrencyError)


async def test_a_second_reader_is_refused():
    messages = ring()
    stream = Stream(messages)
    first = asyncio.create_task(stream.recv())
    await asyncio.sleep(0)
    with pytest.raises(ConcurrencyError, match="this stream"):
        await stream.recv()
    with pytest.raises(ConcurrencyError):
        await anext(stream)
    push(messages, "a")
    assert await first == "a"


async def test_cancelling_a_reader_lets_the_next_one_read_at_once():
    messages = ring()
    stream = Stream(messages)
    first = asyncio.create_task(stream.recv())
    await asyncio.sleep(0)
    first.cancel()
    second = asyncio.create_task(stream.recv())
    await asyncio.sleep(0)
    push(messages, "a")
    assert await second == "a"
    assert first.cancelled()


async def test_thousands_of_cancellations_lose_and_repeat_nothing():
    count = 30_000

    def script(wire):
        for first in range(0, count, 50):
            wire.send(text_of(range(first, first + 50)))
            time.sleep(0.0005)
        wire.close()

    with Peer(script) as peer:
        messages = ring()
        streams = [Stream(messages) for _ in range(3)]
        chance = random.Random(7)
        cancelled = 0

        async def read(stream, got):
            async for message in stream:
                got.append(int(message))
                if chance.random() < 0.01:
                    await asyncio.sleep(0)

        async def harass(stream, got):
            nonlocal cancelled
            while True:
                task = asyncio.create_task(read(stream, got))
                for _ in range(chance.randrange(3)):
                    await asyncio.sleep(0)
                    if task.done():
                        break
                if chance.random() < 0.1:
                    await asyncio.sleep(chance.random() / 1000)
                if task.done():
                    return await task
                cancelled += task.cancel()
                await asyncio.wait([task])
                if not task.cancelled():
                    return await task

        got = [[] for _ in streams]
        tasks = [asyncio.create_task(harass(*pair)) for pair in zip(streams, got, strict=True)]
        await feed(messages, peer.connect())
        messages._end(None)
        await asyncio.gather(*tasks)
        assert cancelled > 500
        assert got == [[*range(count)]] * 3


async def test_a_hungry_reader_gives_the_loop_its_turns():
    messages = ring(10**7, 10**9)
    stream = Stream(messages)
    numbered(messages, range(200_000))
    ticks = 0

    async def tick():
        nonlocal ticks
        while True:
            await asyncio.sleep(0)
            ticks += 1

    ticking = asyncio.create_task(tick())
    await take(stream, 200_000)
    ticking.cancel()
    assert ticks > 20


async def test_a_clean_end_ends_the_iteration_after_everything():
    messages = ring()
    streams = [Stream(messages), Stream(messages)]
    waiting = asyncio.create_task(rest(streams[0]))
    await asyncio.sleep(0)
    push(messages, "a", "b")
    messages._end(None)
    push(messages, "c")  # what came late is given too
    assert await waiting == ["a", "b", "c"] or await there(streams[0]) == ["c"]
    assert await rest(streams[1]) == ["a", "b", "c"]
    assert await rest(streams[1]) == []
    with pytest.raises(ClientStopped):
        await streams[1].recv()


async def test_any_other_end_raises_the_cause_after_everything():
    messages = ring()
    streams = [Stream(messages), Stream(messages)]
    cause = ValueError("why")
    error = FastwsError("the end")
    error.__cause__ = cause
    error.add_note("a note")
    push(messages, "a")
    messages._end(error)
    raised = []
    for stream in streams:
        assert await anext(stream) == "a"
        with pytest.raises(FastwsError, match="the end") as caught:
            await anext(stream)
        raised.append(caught.value)
    assert raised[0] is not raised[1]
    assert all(one.__cause__ is cause and one.__notes__ == ["a note"] for one in raised)
    depths = []
    for _ in range(3):
        with pytest.raises(FastwsError) as caught:
            await streams[0].recv()
        depths.append(len(traceback.extract_tb(caught.value.__traceback__)))
    assert len(set(depths)) == 1


async def test_the_same_error_is_raised_where_it_cannot_be_copied():
    class Odd(Exception):
        def __init__(self, one, *, two):
            super().__init__(one)

        def __copy__(self):
            raise RuntimeError("no")

    messages = ring()
    stream = Stream(messages)
    error = Odd(1, two=2)
    messages._end(error)
    for _ in range(3):
        with pytest.raises(Odd) as caught:
            await stream.recv()
        assert caught.value is error
        assert len(traceback.extract_tb(error.__traceback__)) == 1


async def test_a_reader_that_waits_is_told_of_the_end():
    for error in (None, FastwsError("the end")):
        messages = ring()
        streams = [Stream(messages) for _ in range(3)]
        tasks = [asyncio.create_task(rest(stream)) for stream in streams]
        await asyncio.sleep(0)
        messages._end(error)
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert [type(result) for result in results] == [list if error is None else FastwsError] * 3


async def test_a_ring_that_opens_again_goes_on():
    messages = ring()
    stream = Stream(messages)
    push(messages, "a")
    messages._end(None)
    assert await rest(stream) == ["a"]
    messages._reopen()
    assert await waits(stream)
    push(messages, "b")
    assert await stream.recv() == "b"
    assert stream.seq == 2


async def test_a_stream_waits_through_an_outage():
    messages = ring()
    stream = Stream(messages)
    messages._begin(1, 1)
    push(messages, "a")
    messages._mark(down())
    assert await stream.recv() == "a"
    assert await waits(stream)
    assert (stream.outages, stream.last_outage) == (0, None)
    messages._mark(outage())
    messages._begin(2, 2)
    assert await waits(stream)
    assert (stream.outages, stream.last_outage) == (1, outage())
    push(messages, "b")
    assert await stream.recv() == "b"
    assert (stream.seq, stream.generation) == (2, 2)


async def test_a_closed_stream_ends_and_holds_nothing():
    messages = ring()
    stream, other = Stream(messages), Stream(messages)
    push(messages, "a", "b", "c")
    assert await stream.recv() == "a"
    await stream.aclose()
    await stream.aclose()
    assert stream.closed
    assert messages.streams == 1
    assert await rest(stream) == []
    with pytest.raises(ReceiveError, match="closed"):
        await stream.recv()
    # What it said last it still says.
    assert stream.seq == 1
    assert stream.lag == (0, 0)
    assert "closed" in repr(stream)
    assert await take(other, 3) == ["a", "b", "c"]
    assert messages.retained == 0


async def test_leaving_its_block_closes_a_stream():
    messages = ring()
    with pytest.raises(ZeroDivisionError):
        async with Stream(messages) as stream:
            push(messages, "a")
            assert await stream.recv() == "a"
            raise ZeroDivisionError
    assert stream.closed
    assert messages.streams == 0


async def test_closing_a_stream_wakes_its_reader():
    messages = ring()
    stream = Stream(messages)
    task = asyncio.create_task(rest(stream))
    await asyncio.sleep(0)
    await stream.aclose()
    assert await task == []


async def test_a_consumer_may_close_its_stream_in_the_loop():
    with Server() as server:
        messages = ring()
        stream, other = Stream(messages), Stream(messages)
        reading = asyncio.create_task(rest(other))
        session = asyncio.create_task(feed(messages, fastws.connect(server.url("/blast?n=20000&size=16"))))
        seen = 0
        async for _ in stream:
            seen += 1
            if seen == 1000:
                await stream.aclose()
        assert seen == 1000
        await session
        messages._end(None)
        assert len(await reading) == 20_000


async def test_a_consumer_may_make_and_drop_streams_while_messages_flow():
    with Server() as server:
        messages = ring()
        main = Stream(messages)
        session = asyncio.create_task(feed(messages, fastws.connect(server.url("/blast?n=50000&size=16&seq=1"))))
        seen, others = 0, []
        async for message in main:
            number = int.from_bytes(message[:8], "little")
            assert number == seen
            seen += 1
            if seen % 1000 == 0:
                others.append(Stream(messages, start="oldest" if seen % 2000 else "live"))
            if seen % 3000 == 0:
                others.pop(0)
            for other in others:
                if other.lag[0]:
                    taken = await other.recv()
                    assert int.from_bytes(taken[:8], "little") + 1 == other.seq
            if seen == 50_000:
                break
        await session


async def test_a_stream_that_nobody_has_is_detached():
    messages = ring()
    stream = Stream(messages)
    push(messages, "a")
    known = weakref.ref(stream)
    del stream
    assert known() is None
    assert messages.streams == messages.retained == 0


async def test_a_stream_in_a_cycle_is_collected():
    messages = ring()

    class Holder:
        pass

    holder = Holder()
    holder.stream = Stream(messages, decode=lambda raw, holder=holder: (raw, holder))
    holder.awaitable = holder.stream.recv()
    push(messages, "a")
    known = weakref.ref(holder)
    del holder
    gc.collect()
    assert known() is None
    assert messages.streams == 0


async def test_a_reader_that_nobody_holds_waits_for_its_ring():
    messages = ring()
    got = []

    async def read():
        got.append(await Stream(messages).recv())

    asyncio.create_task(read())  # noqa: RUF006 - that nobody holds it is what is tested
    await asyncio.sleep(0)
    gc.collect()
    push(messages, "a")
    for _ in range(3):
        await asyncio.sleep(0)
    assert got == ["a"]
    assert messages.streams == 0


async def drained(messages):
    while messages.retained:
        await asyncio.sleep(0.001)


async def test_memory_stays_flat():
    with Server() as server:
        messages = ring()
        streams = [Stream(messages), Stream(messages, markers=True), Stream(messages, decode=len)]
        total = 60_000

        async def read(stream):
            seen = 0
            async for _ in stream:
                seen += 1
            return seen

        tasks = [asyncio.create_task(read(stream)) for stream in streams]
        await feed(messages, fastws.connect(server.url(f"/blast?n={total}&size=200")), 1, 1)
        await drained(messages)
        gc.collect()
        tracemalloc.start()
        before = tracemalloc.get_traced_memory()[0]
        blocks = sys.getallocatedblocks()
        for number in range(3):
            await feed(messages, fastws.connect(server.url(f"/blast?n={total}&size=200")), number + 2, number + 2)
            await drained(messages)
        gc.collect()
        grown = tracemalloc.get_traced_memory()[0] - before
        tracemalloc.stop()
        assert grown < 200_000
        assert sys.getallocatedblocks() - blocks < 3000
        messages._end(None)
        assert await asyncio.gather(*tasks) == [4 * total] * 3


@pytest.mark.loop_driver("a transport cannot be polled")
async def test_a_reader_under_busy_poll():
    with Server() as server:
        messages = ring()
        stream = Stream(messages)
        connecting = fastws.connect(server.url("/echo"), busy_poll=50e-6)
        async with attached(messages, connecting) as ws:
            for number in range(200):
                await ws.send(str(number))
                assert await stream.recv() == str(number)


async def test_round_trips_through_two_streams():
    with Server() as server:
        messages = ring()
        first, second = Stream(messages), Stream(messages)

        async def echo():
            return [message async for message in second]

        task = asyncio.create_task(echo())
        async with attached(messages, fastws.connect(server.url("/echo"))) as ws:
            for number in range(300):
                await ws.send(str(number))
                assert await first.recv() == str(number)
        messages._end(None)
        assert await task == [str(number) for number in range(300)]


@pytest.mark.loop_debug
async def test_in_debug_mode():
    messages = ring()
    stream = Stream(messages)
    task = asyncio.create_task(take(stream, 3))
    await asyncio.sleep(0)
    push(messages, *"abc")
    assert await task == [*"abc"]


async def test_arguments_are_checked_and_named():
    messages = ring()
    for error, options in [
        (ValueError, {"start": "newest"}),
        (ValueError, {"policy": "lossy"}),
        (ValueError, {"policy": "conflate"}),
        (TypeError, {"policy": 3}),
        (TypeError, {"policy": fastws.Conflate}),
        (ValueError, {"capacity": 0}),
        (TypeError, {"capacity": 1.5}),
        (TypeError, {"capacity_bytes": True}),
        (ValueError, {"capacity_bytes": -1}),
        (TypeError, {"filter": "text"}),
        (TypeError, {"decode": 3}),
        (ValueError, {"on_decode_error": "ignore"}),
        (TypeError, {"markers": 1}),
        (TypeError, {"unknown": 1}),
    ]:
        with pytest.raises(error, match=next(iter(options))):
            Stream(messages, **options)
    with pytest.raises(TypeError):
        Stream("no ring")
    with pytest.raises(TypeError, match="key"):
        fastws.Conflate("product_id")
    assert messages.streams == 0


def test_types_can_be_written():
    assert Stream[int] is not None
    assert _core.Message[int] is not None
