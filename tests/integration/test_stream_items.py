"""rust/py/src/ring/{decode,message,batch}.rs: what a stream gives, and what is made of messages before."""

import asyncio
import gc
import json

import orjson
import pytest

import fastws
from fastws import Batch, DecodeError, Down, Gap, Message, Outage, Stream, _core
from fastws.testing import Server
from peers import PATIENCE
from rings import attached, down, feed, numbered, outage, push, rest, ring, take, waits


async def test_with_markers_every_item_says_what_is_known_of_it():
    messages = ring()
    stream = Stream(messages, markers=True)
    messages._begin(1, 2, "a")
    messages._push("text", 10, 20, 30)
    message = await stream.recv()
    assert message == Message("text", 1, 1, 2, 10, 20, 30, "a")
    assert message != Message("text", 2, 1, 2, 10, 20, 30, "a")
    assert message != "text"
    assert hash(message) == hash(Message("text", 1, 1, 2, 10, 20, 30, "a"))
    assert repr(message) == "Message('text', seq=1, generation=1)"
    with pytest.raises(AttributeError):
        message.data = 3
    match message:
        case Message(data):
            assert data == "text"


async def test_markers_are_exactly_at_their_place():
    messages = ring()
    marked, plain = Stream(messages, markers=True), Stream(messages)
    gap = Gap(key="BTC", expected=3, got=5, seq=2, generation=1)
    messages._begin(1, 1)
    push(messages, "a", "b")
    messages._mark(gap)
    push(messages, "c")
    messages._mark(down(1))
    messages._mark(outage(1))
    messages._begin(2, 2)
    push(messages, "d")
    messages._mark(down(2))
    messages._end(fastws.FastwsError("the end"))
    got = await until_end(marked)
    assert [item.data if isinstance(item, Message) else item for item in got] == [
        "a",
        "b",
        gap,
        "c",
        down(1),
        outage(1),
        "d",
        down(2),
    ]
    assert [item.seq for item in got if isinstance(item, Message)] == [1, 2, 3, 4]
    assert [item.generation for item in got if isinstance(item, Message)] == [1, 1, 1, 2]
    assert await until_end(plain) == ["a", "b", "c", "d"]
    assert (plain.outages, plain.last_outage) == (1, outage(1)) == (marked.outages, marked.last_outage)
    assert gap.missing == 2


async def until_end(stream):
    got = []
    with pytest.raises(fastws.FastwsError):
        while True:
            got.append(await anext(stream))
    return got


async def test_markers_fall_between_the_messages_of_two_sessions():
    with Server() as server:
        messages = ring()
        streams = [Stream(messages, markers=True) for _ in range(2)]
        tasks = [asyncio.create_task(rest(stream)) for stream in streams]
        for generation in (1, 2, 3):
            if generation > 1:
                messages._mark(outage(generation - 1))
            await feed(messages, fastws.connect(server.url("/blast?n=3000&size=16&seq=1")), generation, generation)
            messages._mark(down(generation))
        messages._end(None)
        for items in await asyncio.gather(*tasks):
            kinds = [type(item) for item in items]
            assert kinds == [
                *[Message] * 3000,
                Down,
                Outage,
                *[Message] * 3000,
                Down,
                Outage,
                *[Message] * 3000,
                Down,
            ]
            numbers = [item for item in items if isinstance(item, Message)]
            assert [item.seq for item in numbers] == [*range(1, 9001)]
            assert [item.generation for item in numbers] == [1] * 3000 + [2] * 3000 + [3] * 3000


async def test_only_markers_can_be_marked():
    messages = ring()
    with pytest.raises(AttributeError):
        messages._mark("no marker")


# Decoding.


async def test_decode_gets_bytes_of_text_and_binary():
    messages = ring()
    stream = Stream(messages, decode=lambda raw: raw)
    plain, raw = Stream(messages), Stream(messages, decode=bytes)
    push(messages, "tëxt", b"\xff\x00", "ascii", "")
    expected = ["tëxt".encode(), b"\xff\x00", b"ascii", b""]
    assert await take(stream, 4) == expected
    assert await take(raw, 4) == expected
    assert await take(plain, 4) == ["tëxt", b"\xff\x00", "ascii", ""]


async def test_decode_is_called_once_for_all_that_share_it():
    with Server() as server:
        calls = 0

        def decode(raw):
            nonlocal calls
            calls += 1
            return [raw]

        messages = ring()
        streams = [Stream(messages, decode=decode), Stream(messages, decode=decode, markers=True)]
        streams.append(Stream(messages, decode=decode, policy="drop_oldest", capacity=10**6))
        other = Stream(messages, decode=len)
        tasks = [asyncio.create_task(rest(stream)) for stream in (*streams, other)]
        await feed(messages, fastws.connect(server.url("/blast?n=20000&size=16&text=1")))
        messages._end(None)
        first, second, third, lengths = await asyncio.gather(*tasks)
        assert calls == 20_000
        assert all(one is two.data is three for one, two, three in zip(first, second, third, strict=True))
        assert lengths == [16] * 20_000


async def test_a_bound_method_is_the_same_callable_each_time():
    class Book:
        calls = 0

        def decode(self, raw):
            self.calls += 1
            return raw

    messages, book = ring(), Book()
    streams = [Stream(messages, decode=book.decode) for _ in range(2)]
    push(messages, "a", "b")
    for stream in streams:
        assert await take(stream, 2) == [b"a", b"b"]
    assert book.calls == 2


async def test_a_method_of_a_builtin_is_the_same_callable_each_time():
    messages, seen, others = ring(), [], []
    streams = [Stream(messages, decode=seen.append) for _ in range(2)]
    streams.append(Stream(messages, decode=others.append))
    push(messages, "a", "b")
    for stream in streams:
        assert await take(stream, 2) == [None, None]
    assert seen == others == [b"a", b"b"]


async def test_a_stream_behind_finds_what_others_decoded_and_the_ring_lets_it_go():
    messages = ring()
    made = []

    class Item:
        pass

    def decode(_raw):
        made.append(Item())
        return made[-1]

    ahead, behind = Stream(messages, decode=decode), Stream(messages, decode=decode)
    push(messages, *"abc")
    first = await take(ahead, 3)
    assert await take(behind, 3) == first
    assert len(made) == 3
    await behind.aclose()
    push(messages, "d")
    await ahead.recv()
    assert len(made) == 4


async def test_a_stream_ahead_does_not_keep_those_behind_from_sharing():
    messages, seen = ring(), []
    behind = [Stream(messages, decode=seen.append) for _ in range(2)]
    push(messages, "a", "b")
    ahead = Stream(messages, decode=seen.append)
    push(messages, "c")
    assert await take(ahead, 1) == [None]
    for stream in behind:
        assert await take(stream, 3) == [None] * 3
    assert seen == [b"c", b"a", b"b"]


async def test_a_failing_decode_raises_and_the_stream_goes_on():
    messages = ring()
    streams = [Stream(messages, decode=orjson.loads) for _ in range(2)]
    messages._begin(4, 1)
    push(messages, "1", "{", "3")
    for stream in streams:
        assert await stream.recv() == 1
        with pytest.raises(DecodeError) as caught:
            await stream.recv()
        assert (caught.value.data, caught.value.generation) == (b"{", 4)
        assert caught.value.received_ns == 1001
        assert isinstance(caught.value.__cause__, json.JSONDecodeError)
        assert stream.seq == 2
        assert await stream.recv() == 3
        assert stream.skipped == 0


async def test_what_cannot_be_decoded_can_be_left_out():
    messages = ring()
    stream = Stream(messages, decode=orjson.loads, on_decode_error="skip")
    push(messages, "{", "1", "{", "{", "2")
    assert await take(stream, 2) == [1, 2]
    assert stream.skipped == 3
    push(messages, "{")
    assert await waits(stream)
    assert stream.skipped == 4


async def test_what_ends_the_program_passes_through_decode():
    messages = ring()

    def decode(_raw):
        raise KeyboardInterrupt

    stream = Stream(messages, decode=decode, on_decode_error="skip")
    push(messages, "a", "b")
    coroutine = stream.recv()
    with pytest.raises(KeyboardInterrupt):
        # Where the machine has stopped us for the time of a turn, the first gives the loop its turn.
        for _ in range(100):
            coroutine.send(None)
    assert stream.lag[0] == 1


async def test_decode_may_do_anything():
    with Server() as server:
        messages = ring()
        made = []
        async with attached(messages, fastws.connect(server.url("/echo"))) as ws:

            def decode(raw):
                number = int(raw)
                if number < 50:
                    ws.send_nowait(str(number + 1))
                made.append(Stream(messages))
                if number % 2:
                    made.pop(0)
                messages._push("0" if number == 100 else "1000", 1, 1)
                return number

            def odd(raw):
                gone = Stream(messages, filter=b"x")
                del gone
                return int(raw) < 1000

            stream = Stream(messages, decode=decode, filter=odd)
            ws.send_nowait("0")
            assert await take(stream, 51) == [*range(51)]


# Filters.


async def test_a_filter_that_is_called_and_one_that_is_looked_for():
    with Server() as server:
        messages = ring()
        seen = []

        def even(raw):
            seen.append(type(raw))
            return int(raw) % 2 == 0

        called = Stream(messages, filter=even)
        found = Stream(messages, filter=b"99", markers=True)
        both = Stream(messages, filter=b"7", decode=int)
        tasks = [asyncio.create_task(rest(stream)) for stream in (called, found, both)]
        async with attached(messages, fastws.connect(server.url("/echo"))) as ws:
            for number in range(1000):
                await ws.send(str(number) if number % 3 else str(number).encode())
            while messages.seq < 1000:
                await asyncio.sleep(0.001)
        messages._end(None)
        evens, nineties, sevens = await asyncio.gather(*tasks)
        assert [int(item) for item in evens] == [*range(0, 1000, 2)]
        assert set(seen) == {bytes}
        expected = [number for number in range(1000) if "99" in str(number)]
        assert [(int(item.data), item.seq) for item in nineties] == [(number, number + 1) for number in expected]
        assert sevens == [number for number in range(1000) if "7" in str(number)]
        assert messages.retained == 0


async def test_what_a_filter_leaves_out_is_not_kept_for_a_reader_that_waits():
    messages = ring(10)
    stream = Stream(messages, filter=b"x")
    task = asyncio.create_task(stream.recv())
    await asyncio.sleep(0)
    numbered(messages, range(1000))
    assert messages.retained == 0
    assert not task.done()
    push(messages, "x")
    assert await task == "x"
    assert stream.seq == 1001


async def test_a_filter_that_fails_is_seen_by_its_reader():
    messages = ring()
    stream = Stream(messages, filter=lambda raw: int(raw) > 1)
    push(messages, "1", "x", "2")
    with pytest.raises(ValueError, match="invalid literal"):
        await stream.recv()
    assert await stream.recv() == "2"


# Batches.


async def batches(stream, **options):
    return [item async for item in stream.batches(**options)]


async def test_batches_have_what_is_there():
    messages = ring()
    streams = [Stream(messages), Stream(messages, decode=bytes), Stream(messages, decode=bytes.upper)]
    messages._begin(1, 2, "a")
    messages._push("a", 1, 2, 3)
    messages._push("b", 4, 5, 6)
    messages._end(None)
    for stream, expected in zip(streams, [["a", "b"], [b"a", b"b"], [b"A", b"B"]], strict=True):
        (batch,) = await batches(stream)
        assert isinstance(batch, Batch)
        assert batch.messages == expected
        assert (batch.first_seq, batch.last_seq, batch.generation) == (1, 2, 1)
        assert (batch.connection_id, batch.source) == (2, "a")
        assert (batch.received_ns, batch.received_mono_ns, batch.kernel_ns) == (4, 5, 6)
        assert stream.seq == 2


@pytest.mark.parametrize("decode", [None, bytes.decode], ids=["plain", "decoded"])
async def test_batches_are_within_their_limits(decode):
    messages = ring()
    streams = [Stream(messages, decode=decode) for _ in range(3)]
    push(messages, *(character * 10 for character in "abcdefg"))
    messages._end(None)
    assert [len(batch) for batch in await batches(streams[0], max_messages=3)] == [3, 3, 1]
    assert [len(batch) for batch in await batches(streams[1], max_bytes=25)] == [2, 2, 2, 1]
    assert [len(batch) for batch in await batches(streams[2], max_bytes=5)] == [1] * 7
    with pytest.raises(ValueError, match="at least 1"):
        streams[0].batches(0)


@pytest.mark.parametrize("decode", [None, bytes.decode], ids=["plain", "decoded"])
async def test_batches_never_span_a_session_a_line_or_a_marker(decode):
    messages = ring()
    plain, marked = Stream(messages, decode=decode), Stream(messages, decode=decode, markers=True)
    messages._begin(1, 1, "a")
    push(messages, "a", "b")
    messages._begin(1, 1, "b")
    push(messages, "c")
    messages._mark(down(1))
    messages._mark(outage(1))
    messages._begin(2, 2, "b")
    push(messages, "d", "e")
    messages._begin(2, 2, "b")
    push(messages, "f")
    messages._mark(down(2))
    messages._end(None)
    got = await batches(plain)
    assert [batch.messages for batch in got] == [["a", "b"], ["c"], ["d", "e", "f"]]
    assert [(batch.first_seq, batch.last_seq, batch.generation) for batch in got] == [(1, 2, 1), (3, 3, 1), (4, 6, 2)]
    got = await batches(marked)
    assert [item.messages if isinstance(item, Batch) else item for item in got] == [
        ["a", "b"],
        ["c"],
        down(1),
        outage(1),
        ["d", "e", "f"],
        down(2),
    ]


async def test_a_batch_waits_for_more_and_no_longer():
    messages = ring()
    stream = Stream(messages)
    iterator = stream.batches(max_messages=3, max_wait=PATIENCE)
    task = asyncio.create_task(anext(iterator))
    await asyncio.sleep(0)
    push(messages, "a")
    await asyncio.sleep(0)
    push(messages, "b")
    await asyncio.sleep(0.01)
    assert not task.done()
    push(messages, "c", "d")
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert (await task).messages == ["a", "b", "c"]
    assert (await anext(stream.batches(max_messages=3, max_wait=0.05))).messages == ["d"]
    push(messages, "e")
    task = asyncio.create_task(anext(iterator))
    await asyncio.sleep(0)
    messages._mark(down())
    assert (await asyncio.wait_for(task, 5)).messages == ["e"]


async def test_a_batch_that_leaves_before_its_time_leaves_no_timer_behind():
    messages = ring()
    iterator = Stream(messages).batches(max_messages=2, max_wait=3600)
    waiters = waiters_alive()
    for _ in range(20):
        task = asyncio.create_task(anext(iterator))
        for message in ("a", "b"):
            await asyncio.sleep(0)
            push(messages, message)
        assert (await task).messages == ["a", "b"]
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0):
                push(messages, "c")
                await anext(iterator)
        push(messages, "d")
        assert (await anext(iterator)).messages == ["c", "d"]
    assert waiters_alive() <= waiters + 1


def waiters_alive():
    gc.collect()
    return sum(isinstance(each, _core.Waiter) for each in gc.get_objects())


async def test_cancelling_a_batch_loses_nothing():
    messages = ring()
    stream = Stream(messages)
    iterator = stream.batches(max_messages=100, max_wait=10)
    for number in range(50):
        push(messages, str(number))
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(anext(iterator), 0.001)
    assert await stream.recv() == "0"
    messages._end(None)
    assert (await anext(iterator)).messages == [str(number) for number in range(1, 50)]


async def test_a_batch_ends_before_what_cannot_be_decoded():
    messages = ring()
    stream = Stream(messages, decode=orjson.loads)
    push(messages, "1", "2", "{", "3", "{")
    iterator = stream.batches()
    assert (await anext(iterator)).messages == [1, 2]
    with pytest.raises(DecodeError):
        await anext(iterator)
    assert (await anext(iterator)).messages == [3]
    with pytest.raises(DecodeError):
        await stream.recv()
    skipping = Stream(messages, decode=orjson.loads, on_decode_error="skip")
    push(messages, "1", "{", "{", "2")
    (batch,) = [await anext(skipping.batches())]
    assert batch.messages == [1, 2]


async def test_batches_of_a_flood_are_whole():
    with Server() as server:
        messages = ring()
        streams = [Stream(messages), Stream(messages, markers=True), Stream(messages, filter=lambda raw: raw[0] % 2)]
        tasks = [asyncio.create_task(batches(stream, max_messages=1000)) for stream in streams]
        await feed(messages, fastws.connect(server.url("/blast?n=50000&size=16&seq=1")))
        messages._end(None)
        for stream, got in zip(streams, await asyncio.gather(*tasks), strict=True):
            numbers = [int.from_bytes(message[:8], "little") for batch in got for message in batch]
            assert numbers == [*range(1 if stream is streams[2] else 0, 50_000, 2 if stream is streams[2] else 1)]
            assert max(map(len, got)) <= 1000
            for batch in got:
                assert int.from_bytes(batch[0][:8], "little") + 1 == batch.first_seq
                assert int.from_bytes(batch[-1][:8], "little") + 1 == batch.last_seq


def test_a_message_can_be_made():
    assert Message(1) == Message(1, 0, 0, 0, 0, 0, None, None)
    assert _core.Message.__match_args__ == ("data",)
