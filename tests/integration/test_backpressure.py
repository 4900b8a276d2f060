"""Our own queue: when it is full reading stops, the peer is made to wait, and nothing is lost."""

import asyncio
import time

import pytest

import fastws
from fastws.testing import Server
from peers import Gate, Peer, binary, ignoring_the_end, numbered, text, until_paused


def flood(count, blocked):
    """Sends numbered messages; opens `blocked` when the client takes no more."""

    def script(wire):
        chunk = numbered(range(1000))
        whole = wire.send_until_blocked(chunk)
        blocked.open()
        wire.finish()
        for _ in range(whole + 1, count):
            wire.send(chunk)
        wire.close()
        return whole

    return script


@pytest.mark.parametrize("tls", [False, True], ids=["tcp", "tls"])
@pytest.mark.parametrize(
    ("options", "bound"),
    [({"max_queue": 100}, 100), ({"max_queue": None, "max_queue_bytes": 10_000}, 10_000), ({}, 4096)],
    ids=["messages", "bytes", "default"],
)
async def test_a_consumer_that_is_slow_makes_the_peer_wait_and_loses_nothing(options, bound, tls):
    blocked = Gate()
    with Peer(flood(1000, blocked), buffers=16_384, tls=tls) as peer:
        async with peer.connect(**options) as ws:
            await blocked.opened()
            await until_paused(ws)
            stats = ws.stats()
            # What one read brought may pass the mark, not more.
            # The parser stops after 2048 messages, whatever a read brought.
            assert bound <= stats.receive_queue_messages + stats.receive_queue_bytes
            assert stats.receive_queue_messages <= max(bound, 4096) + 2048
            assert stats.receive_queue_bytes <= (1 << 20) + 262_144
            assert stats.receive_paused_seconds > 0
            got = [message async for message in ws]
    assert got == [str(number) for number in range(1000)] * 1000
    # The peer was stopped long before it had sent everything.
    assert peer.results[0] < 900


@pytest.mark.loop_driver("a transport closes its socket in the loop's next turn, and the loop waits for the peer here")
async def test_reading_goes_on_at_the_low_water_mark_and_not_before():
    blocked = Gate()
    with Peer(ignoring_the_end(flood(2000, blocked)), buffers=16_384) as peer:
        async with peer.connect(max_queue=(1000, 10)) as ws:
            await blocked.opened()
            await until_paused(ws)
            waiting = ws.stats().receive_queue_messages
            for _ in range(waiting - 11):
                await ws.recv()
            assert ws.stats().receive_paused
            for _ in range(3):
                await ws.recv()
            assert not ws.stats().receive_paused
            ws._abort("enough")


@pytest.mark.loop_driver("a transport closes its socket in the loop's next turn, and the loop waits for the peer here")
async def test_reading_pauses_also_where_a_timer_fills_the_queue_before_the_socket_has_its_turn():
    """One look at the sockets tells of a timer and of data; the timer reads first, and what was told then is stale."""
    gate, over = Gate(), Gate()

    @ignoring_the_end
    def script(wire):
        gate.wait()
        time.sleep(0.3)  # the loop is blocked meanwhile: its timer is due before the data comes
        chunk = numbered(range(1000))
        while not over.is_open:
            wire.send(chunk)

    with Peer(script) as peer:
        ws = await peer.connect(max_queue=100, ping_interval=0.2, ping_timeout=None, close_timeout=0.2)
        gate.open()
        time.sleep(0.8)  # blocks the loop, which is what is tested
        await until_paused(ws)
        for _ in range(20):  # were it read any further, it would be by now
            await asyncio.sleep(0.01)
        stats = ws.stats()
        over.open()
        ws._abort("done")
    assert stats.receive_paused
    assert stats.receive_queue_messages < 100_000


async def test_no_limit_takes_everything():
    def script(wire):
        for _ in range(300):
            wire.send(numbered(range(1000)))
        wire.close()

    with Peer(script) as peer:
        async with peer.connect(max_queue=None, max_queue_bytes=None) as ws:
            while ws.stats().messages_received < 300_000:
                await asyncio.sleep(0.01)
            assert ws.stats().receive_queue_messages == 300_000
            assert [message async for message in ws] == [str(number) for number in range(1000)] * 300


async def test_a_full_queue_costs_no_processor():
    blocked = Gate()
    with Peer(flood(1000, blocked), buffers=16_384) as peer:
        async with peer.connect(max_queue=100) as ws:
            await blocked.opened()
            await until_paused(ws)
            before = time.process_time()
            await asyncio.sleep(0.4)
            assert time.process_time() - before < 0.2
            async for _ in ws:
                pass


@pytest.mark.parametrize("tls", [False, True], ids=["tcp", "tls"])
async def test_closing_while_reading_is_paused_gets_the_answer_and_keeps_what_is_queued(tls):
    """The peer's Close lies behind data for which there is no room: that is let go, and counted."""
    blocked = Gate()

    def script(wire):
        whole = wire.send_until_blocked(numbered(range(1000)))
        blocked.open()
        wire.finish()
        for _ in range(300):
            wire.send(numbered(range(1000)))
        wire.answer_close()
        return whole + 301

    with Peer(script, buffers=16_384, tls=tls) as peer:
        ws = await peer.connect(max_queue=100, close_timeout=None)
        await blocked.opened()
        await until_paused(ws)
        await ws.close()
        assert ws.close_code == 1000
        stats = ws.stats()
        got = []
        with pytest.raises(fastws.ConnectionClosedOK):
            while True:
                got.append(await ws.recv())
    # What is kept is the beginning, without a gap.
    assert got == [str(number % 1000) for number in range(len(got))]
    assert len(got) >= 100
    assert stats.messages_discarded > 100_000
    assert len(got) + stats.messages_discarded == stats.messages_received == peer.results[0] * 1000
    assert ws.stats().receive_queue_bytes == 0


async def test_leaving_a_flood_in_the_middle_is_quick():
    with Server() as server:
        start = time.perf_counter()
        async with fastws.connect(server.url("/blast?n=1000000&size=1000")) as ws:
            async for _ in ws:
                break
        assert ws.close_code == 1000
        assert time.perf_counter() - start < 9


async def test_a_consumer_that_goes_on_while_we_close_loses_nothing_unless_its_queue_fills():
    asked = asyncio.Event()

    def script(wire):
        wire.send(numbered(range(50)))
        frames = wire.read_to_close()
        wire.send(numbered(range(50, 3000)))
        wire.send(bytes((0x88, 2)) + frames[-1].payload)
        wire.end()

    with Peer(script) as peer:
        ws = await peer.connect()

        async def consume():
            got = []
            async for message in ws:
                got.append(message)
                asked.set()
            return got

        consumer = asyncio.create_task(consume())
        await asked.wait()
        await ws.close()
        assert await consumer == [str(number) for number in range(3000)]
        assert ws.stats().messages_discarded == 0


async def test_the_end_of_a_peer_that_waits_is_told_behind_its_messages():
    """The peer resets while reading is paused: what we had taken is delivered, then the end."""
    blocked, paused = Gate(), Gate()

    def script(wire):
        wire.send_until_blocked(text("x" * 1000))
        blocked.open()
        paused.wait()
        wire.reset()

    with Peer(script, buffers=16_384) as peer:
        ws = await peer.connect(max_queue=16)
        await blocked.opened()
        await until_paused(ws)
        paused.open()
        count = 0
        with pytest.raises(fastws.ConnectionClosedError):
            while True:
                await ws.recv()
                count += 1
        assert count >= 16
        await ws.wait_closed()


async def test_what_a_full_queue_left_unparsed_came_when_it_was_read():
    count = 2500  # more than one call parses, in one segment

    def script(wire):
        wire.read_frame()
        wire.send(binary(b"x") * count)
        wire.answer_close()

    with Peer(script) as peer:
        async with peer.connect(max_queue=16) as ws:
            await ws.send("begin")
            await until_paused(ws)
            full = time.time_ns()
            for _ in range(count):
                await ws.recv()
                assert ws.received_ns <= full
