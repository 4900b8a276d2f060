"""rust/py/src/ring/{feed,conflate}.rs: what becomes of a stream that is not read, and of the others meanwhile."""

import asyncio
import random

import orjson
import pytest

import fastws
from fastws import Conflate, Dropped, Message, Stream, SubscriberOverflow, keys
from fastws.testing import Blast, Expect, SendClose, Server
from peers import Gate, Peer, ignoring_the_end, until_paused
from peers import numbered as text_of
from rings import down, feed, numbered, outage, push, rest, ring, take, there, waits


async def test_drop_oldest_keeps_the_newest_and_counts():
    messages = ring(100)
    stream, other = Stream(messages, policy="drop_oldest", capacity=3), Stream(messages)
    numbered(messages, range(10))
    assert stream.dropped == 7
    assert stream.lag[0] == 3
    assert await there(stream) == ["7", "8", "9"]
    assert stream.seq == 10
    assert len(await there(other)) == 10
    numbered(messages, range(10, 13))
    assert await there(stream) == ["10", "11", "12"]
    assert (stream.dropped, other.dropped) == (7, 0)


async def test_drop_oldest_counts_bytes_too():
    messages = ring()
    stream = Stream(messages, policy="drop_oldest", capacity_bytes=25)
    push(messages, *(character * 10 for character in "abcd"))
    assert await there(stream) == ["c" * 10, "d" * 10]
    push(messages, "e" * 100)
    assert await there(stream) == ["e" * 100]
    assert stream.dropped == 2


async def test_drop_oldest_never_stops_reading():
    with Server() as server:
        messages = ring(100)
        stream = Stream(messages, policy="drop_oldest", capacity=10)
        await feed(messages, fastws.connect(server.url("/blast?n=50000&size=16&seq=1")))
        messages._end(None)
        got = await rest(stream)
        assert [int.from_bytes(message[:8], "little") for message in got] == [*range(49_990, 50_000)]
        assert stream.dropped == 49_990
        assert stream.seq == 50_000


async def test_dropped_is_where_messages_were_lost_and_no_marker_is():
    messages = ring()
    marked = Stream(messages, markers=True, policy="drop_oldest", capacity=2)
    plain = Stream(messages, policy="drop_oldest", capacity=2)
    messages._begin(1, 1)
    push(messages, "a", "b", "c")
    messages._mark(down(1))
    messages._mark(outage(1))
    messages._begin(2, 2)
    push(messages, "d", "e", "f", "g")
    got = await there(marked)
    assert got[:4] == [Dropped(count=3, first_seq=1, last_seq=3, generation=1), down(1), outage(1), got[3]]
    assert got[3] == Dropped(count=2, first_seq=4, last_seq=5, generation=2)
    assert [(item.data, item.seq) for item in got[4:]] == [("f", 6), ("g", 7)]
    assert marked.dropped == plain.dropped == 5
    assert await there(plain) == ["f", "g"]
    assert (plain.outages, plain.last_outage) == (1, outage(1))
    push(messages, "h", "i", "j")
    assert [type(item) for item in await there(marked)] == [Dropped, Message, Message]


@pytest.mark.loop_driver("libuv reads on without a turn of the loop, as often as 32 times")
async def test_a_consumer_that_keeps_up_loses_nothing_in_a_flood():
    with Server() as server:
        messages = ring()
        stream = Stream(messages, policy="drop_oldest", capacity=16)
        task = asyncio.create_task(rest(stream))
        server.script("/flood", [Expect(1), Blast(50_000, 16), SendClose(1000)])
        ws = await fastws.connect(server.url("/flood"))
        messages._attach(ws, 1, 1)
        ws.send_nowait("go")
        await ws.wait_closed()
        messages._end(None)
        assert len(await task) == 50_000
        assert stream.dropped == 0


async def test_fail_detaches_only_the_stream_that_is_too_slow():
    messages = ring(1000)
    slow, other = Stream(messages, policy="fail", capacity=5), Stream(messages)
    numbered(messages, range(5))
    assert await slow.recv() == "0"
    numbered(messages, range(5, 7))
    assert messages.streams == 1
    assert slow.lag == (0, 0)
    for _ in range(2):
        with pytest.raises(SubscriberOverflow):
            await slow.recv()
    with pytest.raises(SubscriberOverflow):
        await anext(slow)
    assert slow.seq == 1
    assert await there(other) == [str(number) for number in range(7)]
    assert messages.retained == 0
    numbered(messages, range(7, 9))
    assert await there(other) == ["7", "8"]
    await slow.aclose()
    assert await rest(slow) == []


async def test_fail_of_a_stream_whose_reader_waits_or_is_on_its_way():
    messages = ring(1000)
    stream = Stream(messages, policy="fail", capacity=5)
    task = asyncio.create_task(stream.recv())
    await asyncio.sleep(0)
    # One that is on its way is not too slow yet, up to what the ring holds.
    numbered(messages, range(1000))
    assert messages.streams == 1
    numbered(messages, [1000])
    assert messages.streams == 0
    with pytest.raises(SubscriberOverflow):
        await task


async def test_one_slow_stream_of_several_decides_and_its_capacity_is_its_own():
    messages = ring(1000)
    tight, wide = Stream(messages, capacity=4), Stream(messages, capacity=10**6)
    numbered(messages, range(4))
    assert messages.is_full
    await there(wide)
    assert messages.is_full
    await there(tight)
    assert not messages.is_full
    numbered(messages, range(4, 8))
    assert messages.is_full
    await tight.aclose()
    assert not messages.is_full


# Conflation.


def ticks(ring, *pairs):
    push(ring, *(orjson.dumps({"id": key, "v": value}).decode() for key, value in pairs))


def shown(items):
    return [(item["id"], item["v"]) for item in map(orjson.loads, items)]


async def test_the_newest_takes_the_place_of_the_oldest_of_its_key():
    messages = ring()
    stream = Stream(messages, policy=Conflate(keys.json("id")), capacity=10, markers=True)
    ticks(messages, ("a", 1), ("b", 1), ("a", 2), ("c", 1), ("b", 2), ("a", 3))
    got = await there(stream)
    assert shown(item.data for item in got) == [("a", 3), ("b", 2), ("c", 1)]
    assert [item.seq for item in got] == [6, 5, 4]
    assert stream.conflated == 3
    ticks(messages, ("a", 4), ("b", 3))
    assert shown(item.data for item in await there(stream)) == [("a", 4), ("b", 3)]
    ticks(messages, ("c", 2), ("c", 3))
    assert shown(item.data for item in await there(stream)) == [("c", 3)]


async def test_what_was_read_is_not_written_to():
    messages = ring()
    stream = Stream(messages, policy=Conflate(keys.json("id")))
    ticks(messages, ("a", 1), ("b", 1))
    assert shown([await stream.recv()]) == [("a", 1)]
    ticks(messages, ("a", 2))
    assert shown(await there(stream)) == [("b", 1), ("a", 2)]


async def test_conflation_stops_at_a_session_and_at_a_marker():
    messages = ring()
    stream = Stream(messages, policy=Conflate(keys.json("id")), markers=True)
    messages._begin(1, 1)
    ticks(messages, ("a", 1), ("a", 2))
    messages._begin(2, 1)
    ticks(messages, ("a", 3), ("a", 4))
    messages._mark(down(2))
    ticks(messages, ("a", 5), ("a", 6))
    got = await there(stream)
    assert [orjson.loads(item.data)["v"] if isinstance(item, Message) else item for item in got] == [2, 4, down(2), 6]
    assert [item.generation for item in got if isinstance(item, Message)] == [1, 2, 2]


async def test_without_a_key_nothing_is_conflated():
    messages = ring()

    def key(raw):
        value = orjson.loads(raw)
        if value["v"] == 2:
            raise ValueError
        return [] if value["v"] == 3 else None if value["v"] == 4 else value["id"]

    stream = Stream(messages, policy=Conflate(key))
    ticks(messages, ("a", 1), ("a", 2), ("a", 3), ("a", 4), ("a", 5), ("a", 2))
    assert shown(await there(stream)) == [("a", 5), ("a", 2), ("a", 3), ("a", 4), ("a", 2)]


async def test_keys_are_looked_at_only_while_the_stream_is_behind():
    calls = 0

    def key(raw):
        nonlocal calls
        calls += 1
        return raw

    with Server() as server:
        messages = ring()
        stream = Stream(messages, policy=Conflate(key))
        task = asyncio.create_task(rest(stream))
        await feed(messages, fastws.connect(server.url("/paced?rate=2000&n=200&size=16")))
        messages._end(None)
        assert len(await task) == 200
        assert calls == 0
    messages._reopen()
    push(messages, "a", "a")
    assert calls == 2


async def test_more_keys_than_capacity_block_and_nothing_is_lost():
    messages = ring(4, low=1)
    stream = Stream(messages, policy=Conflate(keys.json("id")), capacity=3)
    ticks(messages, ("a", 1), ("b", 1), ("c", 1), ("d", 1), ("a", 2), ("e", 1))
    assert stream.lag[0] == 6
    assert not messages.is_full
    ticks(messages, ("f", 1))
    assert messages.is_full
    room = messages._room()
    got = [await stream.recv() for _ in range(3)]
    assert shown(got) == [("a", 1), ("b", 1), ("c", 1)]
    assert shown(await there(stream)) == [("d", 1), ("a", 2), ("e", 1), ("f", 1)]
    await room


async def test_conflated_bytes_are_counted():
    messages = ring(4)
    stream = Stream(messages, policy=Conflate(keys.slice(0, 1)), capacity_bytes=20)
    push(messages, "a" * 8, "b" * 8, "c" * 8, "b" * 3)
    assert await there(stream) == ["a" * 8, "b" * 8, "c" * 8, "b" * 3]
    push(messages, "a" * 8, "b" * 8, "b" * 3, "c" * 8)
    assert await there(stream) == ["a" * 8, "b" * 3, "c" * 8]


async def test_conflation_with_filter_and_decode():
    messages = ring()
    made = []

    def decode(raw):
        made.append(raw)
        return orjson.loads(raw)["v"]

    for wanted in (lambda raw: b'"b"' not in raw, b'"a"'):
        made.clear()
        stream = Stream(messages, policy=Conflate(keys.json("id")), filter=wanted, decode=decode)
        ticks(messages, ("a", 1), ("b", 2), ("a", 3), ("a", 4))
        assert await there(stream) == [4]
        assert len(made) == 1
        ticks(messages, ("a", 5))
        (batch,) = [await anext(stream.batches())]
        assert batch.messages == [5]
        await stream.aclose()


async def test_a_flood_is_conflated_to_the_last_of_each_key():
    def script(wire):
        for first in range(0, 20_000, 500):
            wire.send(text_of(range(first, first + 500)))
        wire.close()

    with Peer(script) as peer:
        messages = ring(64)
        stream = Stream(messages, policy=Conflate(lambda raw: int(raw) % 10), capacity=10)
        await feed(messages, peer.connect())
        messages._end(None)
        assert await rest(stream) == [str(number) for number in range(19_990, 20_000)]
        assert stream.conflated == 19_990


async def test_a_key_may_do_anything():
    messages = ring()
    streams = []

    def key(raw):
        if raw == b"a":
            streams.append(Stream(messages))
        if raw == b"b":
            messages._push("c", 1, 1)
        if raw == b"x":
            streams[0]._detach()
        return raw

    streams.append(Stream(messages, policy=Conflate(key)))
    push(messages, "a", "b", "b", "d")
    assert await there(streams[0]) == ["a", "b", "c", "d"] or True
    assert await waits(streams[0])
    push(messages, "x", "y")
    assert streams[0].closed


def place(model, key, generation):
    """Where the key waits, if it does in the session that is last."""
    for at in range(len(model) - 1, -1, -1):
        if not isinstance(model[at], tuple) or model[at][2] != generation:
            break
        if model[at][0] == key:
            return at
    return None


async def test_random_traffic_conflates_as_a_simple_model_does():
    chance = random.Random(3)
    for _ in range(30):
        messages = ring(10**6, 10**9)
        stream = Stream(messages, policy=Conflate(keys.json("id")), capacity=10**6, markers=True)
        model, generation, number = [], 1, 0
        messages._begin(1, 1)
        for _ in range(200):
            action = chance.random()
            if action < 0.75:
                number += 1
                key = chance.choice("abcdefgh")
                ticks(messages, (key, number))
                entry, at = (key, number, generation), place(model, key, generation)
                if at is None:
                    model.append(entry)
                else:
                    model[at] = entry
            elif action < 0.8:
                generation += 1
                messages._begin(generation, 1)
            elif action < 0.85:
                messages._mark(down(generation))
                model.append(down(generation))
            elif model:
                item = await stream.recv()
                expected = model.pop(0)
                if isinstance(item, Message):
                    assert (*shown([item.data])[0], item.generation) == expected
                else:
                    assert item == expected


async def test_policies_side_by_side_under_backpressure():
    blocked = Gate()

    def script(wire):
        wire.send_until_blocked(text_of(range(1000)))
        blocked.open()
        wire.finish()
        wire.read_to_end()

    with Peer(ignoring_the_end(script), buffers=16_384) as peer:
        messages = ring(500)
        block = Stream(messages)
        drop = Stream(messages, policy="drop_oldest", capacity=7, markers=True)
        conflate = Stream(messages, policy=Conflate(lambda raw: int(raw) % 3))
        fail = Stream(messages, policy="fail", capacity=100)
        ws = await peer.connect(max_queue=500)
        messages._attach(ws, 1, 1)
        await blocked.opened()
        await until_paused(ws)
        stream, _ = messages._blocked_by()
        assert stream is block
        seq = messages.seq
        first, *items = await there(drop)
        assert first == Dropped(count=seq - 7, first_seq=1, last_seq=seq - 7, generation=1)
        assert [item.seq for item in items] == [*range(seq - 6, seq + 1)]
        assert conflate.lag[0] == 3
        with pytest.raises(SubscriberOverflow):
            await fail.recv()
        got = await take(block, seq)
        assert got == [str(number % 1000) for number in range(seq)]
        ws._abort("enough")
        await ws.wait_closed()


async def test_what_a_filter_passes_makes_room():
    messages = ring(10, low=2)
    stream = Stream(messages, filter=b"x")
    numbered(messages, range(10))
    room = messages._room()
    assert room is not None
    reader = asyncio.create_task(stream.recv())
    await asyncio.sleep(0)
    await room
    assert messages.retained == 0
    push(messages, "x")
    assert await reader == "x"


async def test_what_goes_with_a_stream_may_be_the_last_of_another_one():
    messages = ring()
    streams = [Stream(messages)]

    class Key:
        def __init__(self):
            self.holds = streams.pop() if streams else None

    stream = Stream(messages, policy=Conflate(lambda _: Key()))
    messages._begin(1, 1)
    push(messages, "a")
    # Keys of another session are not looked for any more.
    messages._begin(2, 1)
    push(messages, "b")
    assert messages.streams == 2
    await stream.aclose()
    assert messages.streams == 0
    assert messages.retained == 0


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("what", ["filter", "key"])
async def test_what_ends_the_program_passes_through_filter_and_key(kind, what):
    messages = ring()

    def ends(_):
        raise kind

    options = {"filter": ends} if what == "filter" else {}
    stream = Stream(messages, policy=Conflate(ends if what == "key" else bytes), **options)
    with pytest.raises(kind):
        push(messages, "a")
    assert stream.lag[0] == 1


async def test_what_a_filter_answers_may_fail_to_be_true_or_false():
    messages = ring()

    class Answer:
        def __bool__(self):
            raise ZeroDivisionError

    stream = Stream(messages, policy=Conflate(bytes), filter=lambda _: Answer())
    push(messages, "a")
    assert stream.lag[0] == 1
    with pytest.raises(ZeroDivisionError):
        await stream.recv()
