"""rust/py/src/ring/{batch,state}.rs and ring.rs: what a blocking client's thread needs of a ring."""

import asyncio
import json
import threading

import pytest

from fastws import Stream
from rings import push, ring, take, waits


async def a_batch(stream, *limits):
    return await anext(stream.batches(*limits))


@pytest.mark.parametrize("decode", [None, json.loads], ids=["plain", "decoded"])
async def test_an_exact_batch_is_of_messages_that_were_received_together(decode):
    messages = ring()
    stream = Stream(messages, decode=decode)
    for moment in (10, 10, 20, 20, 20, 30):
        messages._push("1", moment, moment)
    stream._be_exact(True)
    got = []
    while len(got) < 3:
        batch = await a_batch(stream)
        got.append((batch.first_seq, batch.last_seq, batch.received_ns, len(batch)))
        if batch.last_seq == 6:
            break
    assert {size for *_, size in got} <= {1, 2, 3}
    for first, last, received_ns, size in got:
        assert size == last - first + 1
        assert received_ns == (10, 10, 20, 20, 20, 30)[first - 1] == (10, 10, 20, 20, 20, 30)[last - 1]
    for moment in (40, 50):
        messages._push("1", moment, moment)
    stream._be_exact(False)
    while stream.seq < 8:
        batch = await a_batch(stream)
    assert batch.received_ns == 50


async def test_a_part_of_a_batch_has_its_numbers():
    messages = ring()
    stream = Stream(messages)
    push(messages, *"abcde")
    batch = await a_batch(stream)
    part = batch._part(1, 3)
    assert (list(part), part.first_seq, part.last_seq) == (["b", "c"], 2, 3)
    assert (part.generation, part.received_ns) == (batch.generation, batch.received_ns)
    assert list(batch) == [*"abcde"]
    whole = part._messages()
    assert [(message.data, message.seq) for message in whole] == [("b", 2), ("c", 3)]
    assert all(message.received_ns == batch.received_ns for message in whole)


async def test_a_ring_that_was_left_is_used_by_another_thread():
    messages = ring()
    stream = Stream(messages)
    assert await waits(stream)  # in this loop
    got = []

    async def elsewhere():
        push(messages, "c")
        got.extend(await take(stream, 1))
        messages._leave()

    def run():
        try:
            asyncio.run(elsewhere())
        except RuntimeError as error:
            got.append(str(error))

    for _ in range(2):
        thread = threading.Thread(target=run)
        thread.start()
        await asyncio.to_thread(thread.join)
        if len(got) == 1:
            messages._leave()
    assert "belongs to the event loop of the thread" in got[0]
    assert got[1:] == ["c"]
