"""The send queue's bounds, and waiting for room (_policy.py, rust/py/src/conn.rs)."""

import asyncio
import datetime as dt
import gc
import random
import socket
import time
import warnings

import pytest

import fastws
from peers import BINARY, SMALL, TEXT, Frame, Gate, Peer, fill, ignoring_the_end, peer_that_stalls


@pytest.mark.parametrize("tls", [False, True], ids=["tcp", "tls"])
async def test_above_write_limit_send_waits_until_the_peer_has_read(tls):
    gate = Gate()
    with peer_that_stalls(gate, tls=tls) as peer:
        async with peer.connect(write_limit=(1 << 16, 1 << 14)) as ws:
            number, sending = 0, None
            while True:
                sending = asyncio.ensure_future(ws.send(number.to_bytes(4096, "big")))
                number += 1
                done, _ = await asyncio.wait([sending], timeout=0.3)
                if not done:
                    break
            waiting = ws.stats()
            assert waiting.send_queue_bytes > 1 << 16
            gate.open()
            await sending
            assert ws.stats().send_queue_bytes <= 1 << 14
    assert [int.from_bytes(frame.payload, "big") for frame in peer.results[0]] == list(range(number))


@pytest.mark.parametrize(
    ("options", "size"),
    [({"max_send_queue": 10}, 20_000), ({"max_send_bytes": 100_000}, 5_000)],
    ids=["messages", "bytes"],
)
async def test_the_send_queue_is_bounded_and_send_nowait_says_so(options, size):
    gate = Gate()
    with peer_that_stalls(gate) as peer:
        async with peer.connect(**options) as ws:
            # More than the kernels' buffers hold, so that the rest is ours.
            taken = await fill(ws, b"x" * size)
            stats = ws.stats()
            assert stats.send_queue_messages <= options.get("max_send_queue", 1 << 30)
            assert stats.send_queue_bytes <= options.get("max_send_bytes", 1 << 30)
            with pytest.raises(fastws.SendQueueFull, match=f"{stats.send_queue_messages} messages"):
                ws.send_nowait(b"x" * size)
            # Pings and the Close frame have a room of their own.
            await ws.ping()
            gate.open()
    frames = [frame for frame in peer.results[0] if frame.opcode == BINARY]
    assert len(frames) == taken
    assert {frame.payload for frame in frames} == {b"x" * size}


async def test_those_who_wait_for_room_are_served_in_the_order_in_which_they_came():
    gate = Gate()
    with peer_that_stalls(gate) as peer:
        async with peer.connect(max_send_bytes=65_536) as ws:
            filled = await fill(ws)
            tasks = [asyncio.create_task(ws.send(b"%05d" % number * 800)) for number in range(50)]
            await asyncio.sleep(0)
            assert not any(task.done() for task in tasks)
            # Somebody who comes later, with a smaller message, passes nobody.
            with pytest.raises(fastws.SendQueueFull):
                ws.send_nowait(b"!")
            gate.open()
            await asyncio.gather(*tasks)
    assert [int(frame.payload[:5]) for frame in peer.results[0][filled:]] == list(range(50))


async def test_a_send_that_waits_can_be_thrown_into_and_closed():
    gate = Gate()
    with peer_that_stalls(gate) as peer:
        async with peer.connect(max_send_bytes=65_536) as ws:
            await fill(ws)
            thrown, closed = ws.send(b"x" * 4096), ws.send(b"y" * 4096)
            for waiting in (thrown, closed):
                assert asyncio.isfuture(waiting.send(None))
            with pytest.raises(KeyError):
                thrown.throw(KeyError("in"))
            closed.close()
            with pytest.raises(RuntimeError):
                closed.send(None)
            gate.open()
            await ws.send(b"last")  # nobody is counted as waiting any more
    assert peer.results[0][-1].payload == b"last"


async def test_a_message_in_fragments_passes_nobody_who_waits_for_room():
    gate = Gate()
    with peer_that_stalls(gate) as peer:
        async with peer.connect(max_send_bytes=65_536) as ws:
            filled = await fill(ws)
            # There is room for the fragments, and for nothing else.
            tasks = [asyncio.create_task(ws.send(b"f" * 4000)), asyncio.create_task(ws.send(iter([b"1", b"2"])))]
            await asyncio.sleep(0)
            assert not any(task.done() for task in tasks)
            gate.open()
            await asyncio.gather(*tasks)
    assert [frame.payload for frame in peer.results[0][filled:]] == [b"f" * 4000, b"1", b"2"]


async def test_one_who_waits_for_room_and_is_cancelled_sends_nothing_and_blocks_nobody():
    gate = Gate()
    with peer_that_stalls(gate) as peer:
        async with peer.connect(max_send_bytes=65_536) as ws:
            filled = await fill(ws)
            tasks = [asyncio.create_task(ws.send(b"%05d" % number * 800)) for number in range(40)]
            await asyncio.sleep(0)
            chosen = random.Random(7).sample(range(40), 20)
            for number in chosen:
                tasks[number].cancel()
            gate.open()
            results = await asyncio.gather(*tasks, return_exceptions=True)
            assert [number for number in range(40) if results[number] is not None] == sorted(chosen)
            assert all(isinstance(results[number], asyncio.CancelledError) for number in chosen)
            # Nobody is counted as waiting any more.
            ws.send_nowait(b"last")
    left = [int(frame.payload[:5]) for frame in peer.results[0][filled:-1]]
    assert left == [number for number in range(40) if number not in chosen]
    assert peer.results[0][-1].payload == b"last"


@pytest.mark.parametrize("ending", ["reset", "close", "abort"])
async def test_those_who_wait_for_room_hear_of_the_end(ending):
    gate = Gate()

    @ignoring_the_end
    def script(wire):
        gate.wait()
        if ending == "reset":
            wire.reset()
        elif ending == "close":
            wire.read_to_end()

    with Peer(script, buffers=SMALL) as peer:
        ws = await peer.connect(max_send_bytes=65_536, close_timeout=0.3)
        await fill(ws)
        tasks = [asyncio.create_task(ws.send(b"x" * 60_000)) for _ in range(5)]
        await asyncio.sleep(0)
        if ending == "abort":
            ws._abort("enough")
        elif ending == "close":
            closing = asyncio.create_task(ws.close())
            await asyncio.sleep(0)
        gate.open()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert [type(result) for result in results] == [
            fastws.ConnectionClosedOK if ending == "close" and ws.close_code == 1000 else type(results[0])
        ] * 5
        assert all(isinstance(result, fastws.ConnectionClosed) for result in results)
        if ending == "close":
            await closing


async def test_one_who_waits_above_write_limit_hears_of_the_end():
    gate = Gate()
    with Peer(lambda wire: (gate.wait(), wire.reset()), buffers=SMALL) as peer:
        # It is over at once, not when closing has lasted too long.
        ws = await peer.connect(close_timeout=None)
        sending = asyncio.create_task(ws.send(b"x" * 5_000_000))
        await asyncio.sleep(0)
        gate.open()
        with pytest.raises(fastws.ConnectionClosedError):
            await sending
        await ws.wait_closed()


async def test_what_waits_after_the_peers_half_close_costs_no_processor_and_ends_with_the_peer():
    ended, gone = Gate(), Gate()

    def script(wire):
        wire.half_close()
        ended.open()
        gone.wait()
        wire.reset()

    with Peer(script, buffers=SMALL) as peer:
        ws = await peer.connect(close_timeout=None)
        sending = asyncio.create_task(ws.send(b"x" * 5_000_000))
        await ended.opened()
        with pytest.raises(fastws.ConnectionClosedError):
            await ws.recv()
        before = time.process_time()
        await asyncio.sleep(0.4)
        assert time.process_time() - before < 0.2
        assert not sending.done()
        gone.open()
        with pytest.raises(fastws.ConnectionClosedError):
            await sending
        await ws.wait_closed()


async def test_one_who_waits_above_write_limit_may_be_cancelled_and_the_message_leaves():
    gate = Gate()
    with peer_that_stalls(gate) as peer:
        async with peer.connect() as ws:
            sending = asyncio.create_task(ws.send(b"x" * 5_000_000))
            await asyncio.sleep(0)
            sending.cancel()
            with pytest.raises(asyncio.CancelledError):
                await sending
            gate.open()
    assert [len(frame.payload) for frame in peer.results[0]] == [5_000_000]


async def test_a_message_for_which_there_was_no_room_and_that_nobody_awaited_is_warned_of():
    gate = Gate()
    with peer_that_stalls(gate) as peer:
        async with peer.connect(max_send_bytes=65_536) as ws:
            filled = await fill(ws)
            with pytest.warns(RuntimeWarning, match="a message of 60000 bytes was not sent"):
                ws.send(b"x" * 60_000)
                gc.collect()
            gate.open()
    assert len(peer.results[0]) == filled


async def test_a_message_that_was_accepted_needs_no_await_and_no_warning():
    with Peer(lambda wire: wire.answer_close()) as peer, warnings.catch_warnings():
        warnings.simplefilter("error")
        async with peer.connect() as ws:
            ws.send("1")
            gc.collect()
    assert peer.results[0][0].payload == b"1"


# send(timeout=).


async def test_timeout_without_room_sends_nothing_and_says_so():
    gate = Gate()
    with peer_that_stalls(gate) as peer:
        async with peer.connect(max_send_bytes=65_536) as ws:
            filled = await fill(ws)
            with pytest.raises(TimeoutError, match=r"not sent: .* no room within 0\.05 s .*messages, .*bytes wait"):
                await ws.send(b"x" * 60_000, timeout=0.05)
            with pytest.raises(TimeoutError, match="within 0 s"):
                await ws.send(b"x" * 60_000, timeout=0)
            gate.open()
            await ws.send(b"y" * 60_000, timeout=20)
    assert [frame.payload[:1] for frame in peer.results[0][filled:]] == [b"y"]


async def test_timeout_above_write_limit_ends_the_wait_and_the_message_leaves():
    gate = Gate()
    with peer_that_stalls(gate) as peer:
        async with peer.connect() as ws:
            await ws.send(b"x" * 5_000_000, timeout=0.05)
            assert ws.stats().send_queue_bytes > 1 << 16
            gate.open()
    assert [len(frame.payload) for frame in peer.results[0]] == [5_000_000]


async def test_timeout_of_fragments_covers_the_wait_for_the_peer_too():
    gate = Gate()
    with peer_that_stalls(gate) as peer:
        async with peer.connect() as ws:
            await ws.send(b"x" * 5_000_000, timeout=0.05)
            await ws.send([b"y" * 200_000, b"z"], timeout=0.05)
            gate.open()
    assert [len(frame.payload) for frame in peer.results[0]] == [5_000_000, 200_000, 1]


async def test_a_fragment_without_room_in_a_queue_below_its_mark_waits_and_the_loop_runs():
    """What is queued is little, but with it the next fragment is too much: more must be written first."""
    gate = Gate()
    with peer_that_stalls(gate) as peer, socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        sock.connect(("127.0.0.1", peer.port))
        async with peer.connect(max_send_bytes=1_000_000, write_limit=(500_000, 499_999), sock=sock) as ws:
            while ws.stats().send_queue_bytes < 200_000:
                ws.send_nowait(b"x" * 10_000)
                await asyncio.sleep(0)
            asyncio.get_running_loop().call_later(0.05, gate.open)
            await ws.send([b"a", b"b" * 950_000, b"c"])
    assert [len(frame.payload) for frame in peer.results[0]][-3:] == [1, 950_000, 1]


async def test_a_timeout_may_be_a_timedelta():
    with Peer(lambda wire: wire.answer_close()) as peer:
        async with peer.connect() as ws:
            await ws.send("x", timeout=dt.timedelta(seconds=1))
            with pytest.raises(TimeoutError, match=r"not sent within 0\.05 s: nothing"):
                await ws.send(never(), timeout=dt.timedelta(milliseconds=50))


async def never():
    await asyncio.Event().wait()
    yield "x"


@pytest.mark.parametrize("wrong", ["1", b"1", object(), True], ids=["str", "bytes", "object", "bool"])
async def test_a_timeout_that_is_no_number_is_a_type_error(wrong):
    with Peer() as peer:
        async with peer.connect() as ws:
            with pytest.raises(TypeError, match="timeout"):
                await ws.send("x", timeout=wrong)
            assert ws.stats().messages_sent == 0


async def test_timeout_within_fragments_closes_only_if_a_part_was_sent():
    forever = asyncio.Event()

    async def pieces(*before):
        for piece in before:
            yield piece
        await forever.wait()

    with Peer(lambda wire: wire.answer_close()) as peer:
        async with peer.connect() as ws:
            with pytest.raises(TimeoutError, match=r"not sent within 0\.05 s: nothing"):
                await ws.send(pieces("1"), timeout=0.05)
            assert ws.state == fastws.State.OPEN
            with pytest.raises(TimeoutError, match=r"not sent within 0\.05 s: a part"):
                await ws.send(pieces("1", "2"), timeout=0.05)
            await ws.wait_closed()
    assert peer.results[0][0] == Frame(TEXT, b"1", fin=False)
    assert peer.results[0][1].payload[:2] == (1011).to_bytes(2, "big")


async def test_a_timeout_error_of_the_pieces_stays_what_it_is():
    async def pieces():
        yield "1"
        raise TimeoutError("mine")

    with Peer(lambda wire: wire.answer_close()) as peer:
        async with peer.connect() as ws:
            with pytest.raises(TimeoutError, match="mine"):
                await ws.send(pieces())
