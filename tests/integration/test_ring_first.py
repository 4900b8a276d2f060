"""rust/py/src/ring/store.rs: what is kept until there is a first stream, and who is none."""

import asyncio

import pytest

import fastws
from fastws import Dropped, Message, Stream
from fastws.errors import ConfigError
from fastws.testing import Server
from rings import WATER, down, feed, outage, push, ring, take, waits


async def test_a_reader_aside_sees_what_comes_and_the_first_stream_has_everything_nevertheless():
    messages = ring()
    push(messages, "before")
    aside = Stream._aside(messages)
    push(messages, "a", "b")
    assert await take(aside, 2) == ["a", "b"]
    assert messages.streams == 0
    assert messages.retained == 3
    first, second = Stream(messages), Stream(messages)
    assert messages.streams == 2
    assert await take(first, 3) == ["before", "a", "b"]
    assert await waits(second)
    assert messages.retained == 0
    push(messages, "c")
    assert [await stream.recv() for stream in (aside, first, second)] == ["c"] * 3


async def test_what_a_connection_brings_is_kept_for_the_first_stream_while_only_others_read():
    with Server() as server:
        messages = ring()
        aside = Stream._aside(messages)
        session = asyncio.create_task(feed(messages, fastws.connect(server.url("/blast?n=3000&size=40&seq=1"))))
        seen = await take(aside, 3000)
        await session
        assert await take(Stream(messages), 3000) == seen
    assert [int.from_bytes(message[:8], "little") for message in seen] == [*range(3000)]


async def test_a_reader_aside_that_goes_leaves_what_is_kept_and_takes_nothing_from_a_stream():
    messages = ring()
    aside = Stream._aside(messages)
    push(messages, "a")
    aside.close()
    push(messages, "b")
    other = Stream._aside(messages)
    stream = Stream(messages)
    other.close()
    assert await take(stream, 2) == ["a", "b"]
    stream.close()
    push(messages, "lost on nobody")
    assert messages.retained == 0


async def test_reading_pauses_for_the_first_stream_though_others_have_read_everything():
    messages = ring(4, low=1)
    aside = Stream._aside(messages)
    push(messages, *"abcd")
    await take(aside, 4)
    assert messages.is_full
    room = messages._room()
    assert not room.done()
    stream = Stream(messages)
    assert await take(stream, 3) == ["a", "b", "c"]
    await room
    assert not messages.is_full


async def test_a_ring_that_receives_nothing_has_no_streams_and_shows_others_what_comes():
    with Server() as server:
        messages = ring(receive=False)
        with pytest.raises(ConfigError, match="receive=False has no streams") as raised:
            Stream(messages)
        assert raised.value.field == "receive"
        await feed(messages, fastws.connect(server.url("/blast?n=10000&size=100")))
        push(messages, "by hand")
        messages._mark(outage())
        assert messages.discarded == 10_001
        assert messages.seq == messages.retained == 0
        aside = Stream._aside(messages, markers=True)
        push(messages, "seen")
        messages._mark(outage())
        assert (await aside.recv()).data == "seen"
        assert await aside.recv() == outage()
        await asyncio.wait_for(feed(messages, fastws.connect(server.url("/blast?n=500&size=100"))), 10)
        assert len(await take(aside, 500)) == 500
        aside.close()
        assert messages.retained == 0
        assert messages.discarded == 10_502


async def test_markers_have_a_bound_of_their_own_where_nobody_has_made_a_stream():
    messages = ring()
    for generation in range(1, 10_001):
        messages._mark(down(generation))
    assert messages.retained == 256
    stream = Stream(messages, markers=True)
    assert [marker.generation for marker in await take(stream, 256)] == [*range(9_745, 10_001)]
    assert stream.dropped == 0


@pytest.mark.parametrize("watched", [False, True])
async def test_messages_that_had_to_go_for_markers_are_told(watched):
    messages = ring()
    aside = Stream._aside(messages) if watched else None
    messages._begin(7, 1)
    most = WATER[0]
    push(messages, *map(str, range(most)))
    for generation in range(most + 10):
        messages._mark(down(generation))
    stream = Stream(messages, markers=True)
    assert await stream.recv() == Dropped(count=10, first_seq=1, last_seq=10, generation=7)
    first = await stream.recv()
    assert isinstance(first, Message)
    assert (first.data, first.seq) == ("10", 11)
    assert stream.dropped == 10
    if aside is not None:
        aside.close()


async def test_a_reader_aside_that_is_behind_what_had_to_go_goes_on_behind_it():
    messages = ring(4, low=1)
    aside = Stream._aside(messages, markers=True)
    push(messages, "gone")
    for generation in range(600):
        messages._mark(down(generation))
    first = await aside.recv()
    assert first.generation > 0
    rest = [(await aside.recv()).generation for _ in range(messages.retained - 1)]
    assert rest == sorted(rest)
    assert rest[-1] == 599
