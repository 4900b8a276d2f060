"""When what was sent leaves: the first of a turn, flush(), cork() (rust/py/src/driver.rs, rust/py/src/cork.rs).

`stats().writes` counts system calls that wrote; what arrives, and in which order, the peer says.
"""

import asyncio
import contextlib
import threading

import pytest

import fastws
from peers import BINARY, CLOSE, TEXT, Gate, Peer, fill, peer_that_stalls, text

BOTH = pytest.mark.parametrize("tls", [False, True], ids=["tcp", "tls"])


@contextlib.asynccontextmanager
async def opened(peer, **options):
    """A connection in a turn of the loop in which nothing was sent, and what counts its writes from here on."""
    async with peer.connect(ping_interval=None, **options) as ws:
        await asyncio.sleep(0)
        before = ws.stats().writes
        yield ws, lambda: ws.stats().writes - before


def answering(**options):
    return Peer(lambda wire: wire.answer_close(), **options)


def sent(peer):
    """The payloads that the peer got before Close."""
    assert peer.results[0][-1].opcode == CLOSE
    return [frame.payload for frame in peer.results[0][:-1]]


@BOTH
async def test_the_first_of_a_turn_leaves_at_once_and_the_others_together(tls):
    with answering(tls=tls) as peer:
        async with opened(peer) as (ws, writes):
            for turn in range(1, 4):
                ws.send_nowait("first")
                assert (writes(), ws.stats().send_queue_messages) == (2 * turn - 1, 0)
                ws.send_nowait("second")
                await ws.send("third")
                assert (writes(), ws.stats().send_queue_messages) == (2 * turn - 1, 2)
                await asyncio.sleep(0)
                assert (writes(), ws.stats().send_queue_messages) == (2 * turn, 0)
    assert sent(peer) == [b"first", b"second", b"third"] * 3


@BOTH
async def test_a_burst_after_single_sends_leaves_together_after_a_few(tls):
    with answering(tls=tls) as peer:
        async with opened(peer) as (ws, writes):
            for turn in range(1, 101):
                ws.send_nowait(f"{turn}")
                assert (writes(), ws.stats().send_queue_messages) == (turn, 0)
                await asyncio.sleep(0)
            # So many leave alone as turns in a row were not asked for their end, and one that asks.
            for _ in range(100):
                ws.send_nowait("burst")
            alone = writes() - 100
            assert 1 <= alone <= 8
            assert ws.stats().send_queue_messages == 100 - alone
            await asyncio.sleep(0)
            assert (writes(), ws.stats().send_queue_messages) == (101 + alone, 0)
            # It is learnt: the next burst is a write, and one for all the rest.
            for _ in range(100):
                ws.send_nowait("again")
            await asyncio.sleep(0)
            assert writes() == 103 + alone
    assert sent(peer) == [b"%d" % turn for turn in range(1, 101)] + [b"burst"] * 100 + [b"again"] * 100


@BOTH
async def test_flush_lets_out_what_is_queued(tls):
    with answering(tls=tls) as peer:
        async with opened(peer) as (ws, writes):
            assert ws.flush() is None
            assert writes() == 0
            ws.send_nowait("1")
            ws.send_nowait("2")
            ws.send_nowait("3")
            ws.flush()
            assert (writes(), ws.stats().send_queue_messages) == (2, 0)
            ws.flush()
            assert writes() == 2
            # It is the same turn still.
            ws.send_nowait("4")
            assert writes() == 2
            await asyncio.sleep(0)
            assert writes() == 3
    assert sent(peer) == [b"1", b"2", b"3", b"4"]


@BOTH
async def test_what_is_sent_in_a_cork_leaves_with_its_end_in_one_write(tls):
    with answering(tls=tls) as peer:
        async with opened(peer) as (ws, writes):
            with ws.cork() as nothing:
                assert nothing is None
                for number in range(100):
                    await ws.send(f"{number}")
                ws.send_nowait(b"last")
                await ws.pong(b"one of ours")
                assert (writes(), ws.stats().send_queue_messages) == (0, 101)
            assert ws.stats().send_queue_messages == 0
            # A control frame is a write of its own where TLS does not join them.
            assert writes() <= 2
    frames = peer.results[0][:-1]
    assert [frame.payload for frame in frames if frame.opcode in (TEXT, BINARY)] == [
        *(b"%d" % number for number in range(100)),
        b"last",
    ]


async def test_one_write_for_a_cork_and_what_follows_it_waits_for_the_end_of_the_turn():
    with answering() as peer:
        async with opened(peer) as (ws, writes):
            with ws.cork():
                ws.send_nowait("1")
                ws.send_nowait("2")
            assert writes() == 1
            ws.send_nowait("3")
            assert writes() == 1
            await asyncio.sleep(0)
            assert writes() == 2
            ws.send_nowait("4")
            assert writes() == 3
    assert sent(peer) == [b"1", b"2", b"3", b"4"]


async def test_corks_are_nested_and_one_may_be_used_again():
    with answering() as peer:
        async with opened(peer) as (ws, writes):
            cork = ws.cork()
            with cork:
                with ws.cork(), cork:
                    ws.send_nowait("1")
                ws.send_nowait("2")
                assert writes() == 0
            assert writes() == 1
            await asyncio.sleep(0)
            with cork:
                ws.send_nowait("3")
                assert writes() == 1
            assert writes() == 2
            # Nothing is corked any more.
            await asyncio.sleep(0)
            ws.send_nowait("4")
            assert writes() == 3
    assert sent(peer) == [b"1", b"2", b"3", b"4"]


async def test_an_exception_in_a_cork_passes_and_what_was_accepted_leaves():
    with answering() as peer:
        async with opened(peer) as (ws, writes):
            with pytest.raises(TypeError, match="int"), ws.cork():
                ws.send_nowait("1")
                ws.send_nowait("2")
                ws.send_nowait(3)
            assert (writes(), ws.stats().send_queue_messages) == (1, 0)
    assert sent(peer) == [b"1", b"2"]


async def test_a_cork_that_awaits_holds_nothing_beyond_the_end_of_a_turn():
    with answering() as peer:
        async with opened(peer) as (ws, writes):
            with ws.cork():
                for turn in range(1, 4):
                    ws.send_nowait("1")
                    ws.send_nowait("2")
                    assert writes() == turn - 1
                    await asyncio.sleep(0)
                    assert (writes(), ws.stats().send_queue_messages) == (turn, 0)
            assert writes() == 3
    assert sent(peer) == [b"1", b"2"] * 3


async def test_another_task_is_collected_too_and_cancelling_uncorks():
    with answering() as peer:
        async with opened(peer) as (ws, writes):

            async def corked():
                with ws.cork():
                    await asyncio.get_running_loop().create_future()

            task = asyncio.create_task(corked())
            await asyncio.sleep(0)
            ws.send_nowait("1")
            assert writes() == 0
            await asyncio.sleep(0)
            assert writes() == 1
            task.cancel()
            await asyncio.wait([task])
            ws.send_nowait("2")
            assert writes() == 2
    assert sent(peer) == [b"1", b"2"]


async def test_flush_in_a_cork():
    with answering() as peer:
        async with opened(peer) as (ws, writes):
            with ws.cork():
                ws.send_nowait("1")
                ws.send_nowait("2")
                ws.flush()
                assert (writes(), ws.stats().send_queue_messages) == (1, 0)
                ws.send_nowait("3")
                assert writes() == 1
            assert writes() == 2
    assert sent(peer) == [b"1", b"2", b"3"]


@pytest.mark.parametrize(
    ("options", "size"),
    [({}, 64 << 10), ({}, 200_000), ({"write_limit": 4096}, 8000)],
    ids=["64 KiB", "larger", "above write_limit"],
)
async def test_what_is_worth_a_system_call_leaves_a_cork_before_its_end(options, size):
    with answering() as peer:
        async with opened(peer, **options) as (ws, writes):
            with ws.cork():
                ws.send_nowait("1")
                assert writes() == 0
                ws.send_nowait(bytes(size))
                assert writes() >= 1
    assert sent(peer) == [b"1", bytes(size)]


async def test_await_send_above_a_small_write_limit_does_not_wait_for_the_turn():
    """What waits is what the kernel does not take, not what waits to be given to it."""
    with answering() as peer:
        async with opened(peer, write_limit=4096) as (ws, _):
            turns = 0

            async def count():
                nonlocal turns
                while True:
                    turns += 1
                    await asyncio.sleep(0)

            counting = asyncio.create_task(count())
            for _ in range(8):
                await ws.send(bytes(3000))
            assert turns == 0
            counting.cancel()
    assert sent(peer) == [bytes(3000)] * 8


@BOTH
async def test_send_many_is_one_write(tls):
    with answering(tls=tls) as peer:
        async with opened(peer) as (ws, writes):
            await ws.send_many(str(number) for number in range(50))
            assert (writes(), ws.stats().send_queue_messages) == (1, 0)
            with pytest.raises(TypeError, match="int"):
                await ws.send_many(["50", "51", 52])
            assert ws.stats().send_queue_messages == 0
    assert sent(peer) == [b"%d" % number for number in range(52)]


async def test_close_in_a_cork_goes_behind_what_was_sent():
    with answering() as peer:
        async with opened(peer) as (ws, _):
            with ws.cork():
                ws.send_nowait("1")
                ws.send_nowait("2")
                await ws.close()
                with pytest.raises(fastws.ConnectionClosed):
                    ws.send_nowait("3")
    assert sent(peer) == [b"1", b"2"]


async def test_a_listener_corks():
    done = asyncio.get_running_loop().create_future()

    class Answer(fastws.Listener):
        def on_message(self, ws, message):
            before = ws.stats().writes
            with ws.cork():
                ws.send_nowait("1")
                ws.send_nowait("2")
                inside = ws.stats().writes - before
            done.set_result((inside, ws.stats().writes - before))

    def script(wire):
        wire.send(b"\x81\x01?")
        return wire.answer_close()

    with Peer(script) as peer:
        async with peer.connect(listener=Answer()):
            assert await done == (0, 1)
    assert sent(peer) == [b"1", b"2"]


async def test_flush_does_not_wait_for_a_peer_that_does_not_read():
    gate = Gate()
    with peer_that_stalls(gate) as peer:
        async with opened(peer, max_send_bytes=100_000) as (ws, writes):
            number = await fill(ws)
            full = writes()
            with ws.cork():
                ws.flush()
            assert writes() == full
            assert ws.stats().send_queue_bytes > 0
            gate.open()
    assert len(peer.results[0]) == number


# From the end, and from elsewhere.


async def test_both_do_nothing_on_a_closed_connection():
    with answering() as peer:
        async with opened(peer) as (ws, _):
            pass
        ws.flush()
        with ws.cork(), pytest.raises(fastws.ConnectionClosedOK):
            ws.send_nowait("x")
    assert sent(peer) == []


async def test_another_thread_is_refused():
    errors = []
    with answering() as peer:
        async with opened(peer) as (ws, writes):
            cork = ws.cork()

            def elsewhere():
                for call in (ws.flush, ws.cork, cork.__enter__):
                    try:
                        call()
                    except RuntimeError as error:
                        errors.append(str(error))

            ws.send_nowait("1")
            ws.send_nowait("2")
            thread = threading.Thread(target=elsewhere)
            thread.start()
            thread.join()
            assert writes() == 1
    assert len(errors) == 3
    assert all("thread" in error for error in errors)
    assert sent(peer) == [b"1", b"2"]


async def test_another_loop_is_refused():
    with answering() as peer:
        async with opened(peer) as (ws, _):

            def elsewhere():
                async def use():
                    for call in (ws.flush, ws.cork):
                        with pytest.raises(RuntimeError, match="belongs to the event loop"):
                            call()

                # A loop in the same thread, in the middle of the other one's turn.
                asyncio.events._set_running_loop(None)
                try:
                    asyncio.run(use())
                finally:
                    asyncio.events._set_running_loop(loop)

            loop = asyncio.get_running_loop()
            elsewhere()


async def test_a_cork_that_was_not_entered_is_not_left():
    with answering() as peer:
        async with opened(peer) as (ws, writes):
            with ws.cork():
                ws.send_nowait("1")
                with pytest.raises(RuntimeError, match="not entered"):
                    ws.cork().__exit__(None, None, None)
                ws.send_nowait("2")
                assert writes() == 0
            assert writes() == 1
    assert sent(peer) == [b"1", b"2"]


async def test_what_a_callback_sends_leaves_though_it_runs_a_loop_inside_of_itself():
    """As nest_asyncio does it: nothing that we do at the end of a dispatch comes while the callback waits."""
    loop = asyncio.get_running_loop()
    if not isinstance(loop, asyncio.SelectorEventLoop):
        pytest.skip("only asyncio's own loop can be run inside of itself")
    arrived, lasted = Gate(), []

    class Nesting(fastws.Listener):
        def on_message(self, ws, message):
            for number in range(3):
                ws.send_nowait(str(number))
            give_up = loop.time() + 10
            while not arrived.is_open and loop.time() < give_up:
                loop.call_later(0.01, lambda: None)
                loop._run_once()
            lasted.append(arrived.is_open)

    def script(wire):
        wire.send(text("go"))
        frames = wire.read_frames(3)
        arrived.open()
        wire.answer_close()
        return frames

    with Peer(script) as peer:
        async with peer.connect(listener=Nesting(), ping_interval=None):
            await arrived.opened()
    assert lasted == [True]
    assert [frame.payload for frame in peer.results[0]] == [b"0", b"1", b"2"]
