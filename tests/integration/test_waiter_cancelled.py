"""rust/py/src/waiter.rs: cancelling the task that waits. Nothing is lost, nothing comes twice."""

import asyncio
import random
import threading

import pytest

from fastws import ConcurrencyError
from peers import Gate, Peer, numbered, send_on_request, suspended, text


def says_on_request(message, gate):
    """Answers the first frame, and opens the gate when that is in the client's socket."""

    def script(wire):
        wire.read_frame()
        wire.send(text(message))
        gate.open()
        wire.answer_close()

    return script


async def test_the_message_of_a_cancellation_is_kept():
    with Peer() as peer:
        async with peer.connect() as ws:
            task = await suspended(ws)
            task.cancel("because")
            with pytest.raises(asyncio.CancelledError) as caught:
                await task
            assert caught.value.args == ("because",)
            assert task.cancelled()


async def test_a_cancelled_reader_makes_room_for_the_next_one_at_once():
    with Peer(send_on_request(1)) as peer:
        async with peer.connect() as ws:
            first = await suspended(ws)
            first.cancel()
            # Not yet resumed, but it does not count any more.
            second = asyncio.create_task(ws.recv())
            await ws.send("go")
            assert await second == "0"
            assert first.cancelled()


async def test_a_cancelled_b_waiting_a_message_arrives_and_b_gets_it():
    """On uvloop I/O runs before pending `call_soon`s: the message comes between A's cancellation and A's resumption."""
    gate = Gate()
    with Peer(says_on_request("for b", gate)) as peer:
        async with peer.connect() as ws:
            a = await suspended(ws)
            a.cancel()
            # B enters while A is cancelled and not resumed, and the message is in the socket when the turn ends.
            b = asyncio.create_task(ws.recv())
            ws.send_nowait("go")
            gate.wait()
            assert await b == "for b"
            assert a.cancelled()


async def test_a_message_in_the_socket_when_the_reader_is_cancelled_goes_to_the_next_reader():
    gate = Gate()
    with Peer(says_on_request("kept", gate)) as peer:
        async with peer.connect() as ws:
            a = await suspended(ws)
            ws.send_nowait("go")
            gate.wait()
            a.cancel()
            with pytest.raises(asyncio.CancelledError):
                await a
            assert await ws.recv() == "kept"


async def test_cancelled_in_the_same_turn_as_woken_by_call_soon_keeps_the_message():
    """A waiter that was woken by `call_soon` (a task runs) and is then cancelled: the message stays in the queue."""
    with Peer(send_on_request(2)) as peer:
        async with peer.connect() as ws:
            task = await suspended(ws)
            await ws.send("go")
            # The first callback of a turn that finds the message before the task took it, if there is one.
            while not task.done():
                if ws.stats().receive_queue_messages:
                    task.cancel()
                await asyncio.sleep(0)
            if task.cancelled():
                assert await ws.recv() == "0"
            else:
                assert task.result() == "0"
            await ws.send("go")
            assert await ws.recv() == "1"


async def test_a_completed_inner_task_keeps_its_message_when_its_awaiter_is_cancelled():
    with Peer(send_on_request(2)) as peer:
        async with peer.connect() as ws:
            inner = asyncio.create_task(ws.recv())

            async def outer():
                return await asyncio.shield(inner)

            task = asyncio.create_task(outer())
            await asyncio.sleep(0)
            await ws.send("go")
            inner.add_done_callback(lambda _: task.cancel())
            with pytest.raises(asyncio.CancelledError):
                await task
            assert inner.result() == "0"
            await ws.send("go")
            assert await ws.recv() == "1"


async def test_swallowing_a_cancellation_and_reading_on():
    with Peer(send_on_request(1)) as peer:
        async with peer.connect() as ws:
            entered = asyncio.Event()

            async def stubborn():
                try:
                    await ws.recv()
                except asyncio.CancelledError:
                    asyncio.current_task().uncancel() if hasattr(asyncio.Task, "uncancel") else None
                    entered.set()
                    return await ws.recv()

            task = asyncio.create_task(stubborn())
            await asyncio.sleep(0)
            task.cancel()
            await entered.wait()
            await ws.send("go")
            assert await task == "0"


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_random_cancellations_under_load_lose_and_duplicate_nothing(seed):
    chance = random.Random(seed)
    total = 20_000

    def script(wire):
        pace = random.Random(seed + 100)
        number = 0
        while number < total:
            count = min(pace.choice((1, 2, 5, 20, 300)), total - number)
            wire.send(numbered(range(number, number + count)))
            number += count
        wire.answer_close()

    got = []
    cancelled = 0
    with Peer(script) as peer:
        async with peer.connect() as ws:

            async def reader():
                for _ in range(chance.choice((1, 3, 9))):
                    message = await ws.recv()
                    got.append(message)

            while len(got) < total:
                task = asyncio.create_task(reader())
                for _ in range(chance.randrange(4)):
                    await asyncio.sleep(0)
                if cancelled < 1200 and not task.done():
                    task.cancel()
                    cancelled += 1
                    # Sometimes another reader enters before the cancelled one came back.
                    if chance.random() < 0.5:
                        continue
                try:
                    await task
                except asyncio.CancelledError:
                    pass
                except ConcurrencyError:
                    await asyncio.sleep(0)
                if len(got) > total - 60:
                    got.extend([await ws.recv() for _ in range(total - len(got))])
    assert cancelled >= 1000
    assert got == [str(number) for number in range(total)]


@pytest.mark.parametrize("seed", [4, 5])
async def test_random_timeouts_of_each_kind_lose_and_duplicate_nothing(seed):
    chance = random.Random(seed)
    total = 3000

    def script(wire):
        for number in range(total):
            wire.send(text(str(number)))
            if number % 7 == 0:
                # Gives the reader a chance to be waiting.
                threading.Event().wait(0.0002)
        wire.answer_close()

    got = []
    timeouts = 0
    with Peer(script) as peer:
        async with peer.connect() as ws:
            batches = ws.batches(max_messages=7, max_wait=0.0003)
            while len(got) < total:
                limit = chance.choice((0.00005, 0.0002, 0.001))
                kind = chance.randrange(4)
                try:
                    if kind == 0:
                        got.append(await asyncio.wait_for(ws.recv(), limit))
                    elif kind == 1:
                        async with asyncio.timeout(limit):
                            got.append(await ws.recv())
                    elif kind == 2:
                        async with asyncio.timeout(limit):
                            got.extend(await anext(batches))
                    else:
                        done, _ = await asyncio.wait({task := asyncio.ensure_future(ws.recv())}, timeout=limit)
                        if not done:
                            task.cancel()
                            timeouts += 1
                            await asyncio.wait({task})
                            if task.cancelled():
                                continue
                        got.append(task.result())
                except TimeoutError:
                    timeouts += 1
    assert timeouts
    assert got == [str(number) for number in range(total)]
