"""rust/py/src/awaitable.rs: `await ws.recv()` without a Future is still what asyncio expects of an awaitable."""

import asyncio
import collections.abc
import gc
import inspect
import sys
import weakref

import pytest

from fastws import ConcurrencyError, ConnectionClosed, ConnectionClosedOK
from peers import Gate, Peer, binary, numbered, text


def numbers_then_close(count):
    return lambda wire: (wire.send(numbered(range(count))), wire.answer_close())


async def drained(ws, count):
    return [await ws.recv() for _ in range(count)]


async def test_gather_of_two_recvs_never_gives_a_message_twice():
    with Peer(numbers_then_close(2)) as peer:
        async with peer.connect() as ws:
            results = await asyncio.gather(ws.recv(), ws.recv(), return_exceptions=True)
            messages = [result for result in results if isinstance(result, str)]
            refused = [result for result in results if isinstance(result, ConcurrencyError)]
            assert len(messages) + len(refused) == 2
            messages += await drained(ws, 2 - len(messages))
            assert sorted(messages) == ["0", "1"]


async def test_gather_of_two_recvs_with_both_messages_queued_gives_both():
    with Peer(numbers_then_close(3)) as peer:
        async with peer.connect() as ws:
            assert await ws.recv() == "0"
            while ws.stats().receive_queue_messages < 2:
                await asyncio.sleep(0)
            assert await asyncio.gather(ws.recv(), ws.recv()) == ["1", "2"]


async def test_a_second_reader_is_refused_while_one_waits():
    gate = Gate()
    with Peer(lambda wire: (gate.wait(), wire.send(text("a")), wire.answer_close())) as peer:
        async with peer.connect() as ws:
            first = asyncio.create_task(ws.recv())
            await asyncio.sleep(0)
            with pytest.raises(ConcurrencyError, match="another task is already waiting"):
                await ws.recv()
            with pytest.raises(ConcurrencyError):
                await anext(ws)
            with pytest.raises(ConcurrencyError):
                await anext(ws.batches())
            gate.open()
            assert await first == "a"


async def test_two_awaitables_that_are_alive_are_two_objects():
    with Peer(numbers_then_close(2)) as peer:
        async with peer.connect() as ws:
            one, two = ws.recv(), ws.recv()
            assert one is not two
            assert [await one, await two] == ["0", "1"]


async def test_the_awaitable_is_used_again_when_nobody_has_it():
    with Peer(numbers_then_close(3)) as peer:
        async with peer.connect() as ws:
            seen = set()
            for _ in range(3):
                awaitable = ws.recv()
                seen.add(id(awaitable))
                await awaitable
                del awaitable
            assert len(seen) == 1


async def test_a_finished_awaitable_cannot_be_awaited_again():
    with Peer(numbers_then_close(2)) as peer:
        async with peer.connect() as ws:
            awaitable = ws.recv()
            assert await awaitable == "0"
            with pytest.raises(RuntimeError, match="awaited already"):
                await awaitable
            assert await ws.recv() == "1"


async def test_an_awaitable_that_a_task_waits_for_refuses_a_second_task():
    gate = Gate()
    with Peer(lambda wire: (gate.wait(), wire.send(text("a"), text("b")), wire.answer_close())) as peer:
        async with peer.connect() as ws:
            awaitable = ws.recv()

            async def read():
                return await awaitable

            first = asyncio.create_task(read())
            await asyncio.sleep(0)
            # As a coroutine says it; the first task is woken all the same.
            with pytest.raises(RuntimeError, match="being awaited already"):
                await read()
            gate.open()
            assert await first == "a"
            assert await ws.recv() == "b"


async def test_it_is_a_coroutine_and_never_a_future():
    with Peer(numbers_then_close(1)) as peer:
        async with peer.connect() as ws:
            awaitable = ws.recv()
            assert isinstance(awaitable, collections.abc.Coroutine)
            assert isinstance(awaitable, collections.abc.Awaitable)
            assert asyncio.iscoroutine(awaitable)
            assert inspect.isawaitable(awaitable)
            assert not asyncio.isfuture(awaitable)
            assert not hasattr(awaitable, "_asyncio_future_blocking")
            assert await awaitable == "0"
            sent = ws.send("x")
            assert isinstance(sent, collections.abc.Coroutine)
            assert not asyncio.isfuture(sent)
            await sent


async def test_create_task_of_recv():
    with Peer(numbers_then_close(2)) as peer:
        async with peer.connect() as ws:
            assert await asyncio.create_task(ws.recv()) == "0"
            assert await asyncio.create_task(anext(ws)) == "1"
            assert await asyncio.create_task(ws.send("x")) is None


async def test_ensure_future_and_run_coroutine_threadsafe():
    with Peer(numbers_then_close(2)) as peer:
        async with peer.connect() as ws:
            assert await asyncio.ensure_future(ws.recv()) == "0"
            loop = asyncio.get_running_loop()
            future = asyncio.run_coroutine_threadsafe(ws.recv(), loop)
            assert await asyncio.wrap_future(future) == "1"


async def test_wait_for_a_message_in_time_and_too_late():
    gate = Gate()
    with Peer(lambda wire: (gate.wait(), wire.send(numbered(range(2))), wire.answer_close())) as peer:
        async with peer.connect() as ws:
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(ws.recv(), 0.01)
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.01):
                    await ws.recv()
            gate.open()
            assert await asyncio.wait_for(ws.recv(), 20) == "0"
            async with asyncio.timeout(20):
                assert await ws.recv() == "1"


async def test_wait_for_zero_loses_nothing():
    with Peer(numbers_then_close(50)) as peer:
        async with peer.connect() as ws:
            got = []
            for _ in range(50):
                try:
                    got.append(await asyncio.wait_for(ws.recv(), 0))
                except TimeoutError:
                    await asyncio.sleep(0)
            assert got + await drained(ws, 50 - len(got)) == [str(number) for number in range(50)]


async def test_a_shielded_recv_goes_on_after_its_cancellation():
    gate = Gate()
    with Peer(lambda wire: (gate.wait(), wire.send(numbered(range(2))), wire.answer_close())) as peer:
        async with peer.connect() as ws:
            inner = asyncio.ensure_future(ws.recv())
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(asyncio.shield(inner), 0.01)
            gate.open()
            assert await inner == "0"
            assert await asyncio.shield(ws.recv()) == "1"


async def test_wait_for_the_first_of_two_connections():
    gate = Gate()
    quiet = Peer(lambda wire: (gate.wait(), wire.send(text("late")), wire.answer_close()))
    with quiet, Peer(numbers_then_close(3)) as busy:
        async with quiet.connect() as a, busy.connect() as b:
            slow = asyncio.create_task(a.recv())
            for number in range(3):
                fast = asyncio.create_task(b.recv())
                done, pending = await asyncio.wait({slow, fast}, return_when=asyncio.FIRST_COMPLETED)
                assert (done, pending) == ({fast}, {slow})
                assert fast.result() == str(number)
            gate.open()
            assert await slow == "late"


async def test_a_task_group_cancels_its_readers_with_a_failed_sibling():
    with Peer(lambda wire: (wire.read_frame(), wire.send(text("after")), wire.answer_close())) as peer:
        async with peer.connect() as ws:

            async def fail():
                raise ZeroDivisionError

            with pytest.raises(ExceptionGroup) as caught:
                async with asyncio.TaskGroup() as group:
                    group.create_task(ws.recv())
                    group.create_task(fail())
            assert isinstance(caught.value.exceptions[0], ZeroDivisionError)
            await ws.send("go")
            assert await ws.recv() == "after"


async def test_as_completed_gives_each_message_once():
    with Peer(numbers_then_close(20)) as peer:
        async with peer.connect() as ws:
            got = []
            while len(got) < 20:
                for task in asyncio.as_completed([ws.recv() for _ in range(min(3, 20 - len(got)))]):
                    try:
                        got.append(await task)
                    except ConcurrencyError:
                        continue
            assert got == [str(number) for number in range(20)]


def eager(coroutine):
    """An eager task; by its class, since uvloop's `create_task` does not get on with 3.13's factory."""
    return asyncio.Task(coroutine, loop=asyncio.get_running_loop(), eager_start=True)


needs_eager = pytest.mark.skipif(sys.version_info < (3, 12), reason="eager tasks came with 3.12")


@needs_eager
async def test_eager_tasks_run_to_their_first_suspension_and_are_woken():
    gate = Gate()
    with Peer(lambda wire: (gate.wait(), wire.send(numbered(range(3))), wire.answer_close())) as peer:
        async with peer.connect() as ws:
            waiting = eager(ws.recv())
            assert not waiting.done()
            gate.open()
            assert await waiting == "0"
            while ws.stats().receive_queue_messages < 2:
                await asyncio.sleep(0)
            there = eager(ws.recv())
            assert there.done()
            assert there.result() == "1"
            assert await eager(ws.recv()) == "2"


@needs_eager
async def test_a_recv_started_eagerly_in_a_callback_of_another_connection_is_woken():
    tasks = []

    class Starts:
        def on_message(self, ws, message):
            tasks.append(eager(other.recv()))

    with Peer(lambda wire: (wire.read_frame(), wire.send(text("x")), wire.answer_close())) as feed:
        with Peer(lambda wire: (wire.read_frame(), wire.send(text("late")), wire.answer_close())) as late:
            async with late.connect() as other, feed.connect(listener=Starts()) as ws:
                await ws.send("go")
                while not tasks:
                    await asyncio.sleep(0)
                await other.send("go")
                assert await tasks[0] == "late"


@needs_eager
async def test_a_recv_started_eagerly_by_a_stepped_task_on_another_connection():
    """While a task is stepped from the driver, another one is entered eagerly inside it, and takes what is there."""
    with Peer(numbers_then_close(200)) as one, Peer(numbers_then_close(200)) as two:
        async with one.connect() as a, two.connect() as b:

            async def consume():
                got = []
                for _ in range(200):
                    got.append(await a.recv())
                    got.append(await eager(b.recv()))
                return got

            got = await eager(consume())
            assert got[::2] == got[1::2] == [str(number) for number in range(200)]


@pytest.mark.loop_debug
async def test_debug_mode_of_the_loop():
    with Peer(numbers_then_close(300)) as peer:
        async with peer.connect() as ws:
            assert asyncio.get_running_loop().get_debug()
            assert await asyncio.gather(ws.recv()) == ["0"]
            assert await asyncio.create_task(ws.recv()) == "1"
            got = []
            async for message in ws:
                got.append(message)
                if len(got) == 298:
                    break
            assert got == [str(number) for number in range(2, 300)]


@pytest.mark.parametrize("hook", [sys.settrace, sys.setprofile], ids=["trace", "profile"])
async def test_iteration_under_a_tracer_or_profiler(hook):
    events = []

    def tracer(frame, event, argument):
        events.append(event)
        return tracer

    before = sys.gettrace() if hook is sys.settrace else sys.getprofile()
    with Peer(numbers_then_close(1000)) as peer:
        async with peer.connect() as ws:
            got = []

            async def consume():
                async for message in ws:
                    got.append(message)
                    if len(got) == 1000:
                        return

            hook(tracer)
            try:
                await consume()
            finally:
                hook(before)
            assert got == [str(number) for number in range(1000)]
    assert events


async def test_monitoring_of_raised_exceptions_sees_no_message_twice():
    if sys.version_info < (3, 12):
        pytest.skip("sys.monitoring came with 3.12")
    monitoring = sys.monitoring
    values = []
    tool = monitoring.PROFILER_ID
    monitoring.use_tool_id(tool, "test")
    try:
        with Peer(numbers_then_close(100)) as peer:
            async with peer.connect() as ws:
                monitoring.register_callback(
                    tool, monitoring.events.STOP_ITERATION, lambda code, offset, error: values.append(error)
                )
                monitoring.set_events(tool, monitoring.events.STOP_ITERATION)
                got = await drained(ws, 100)
                monitoring.set_events(tool, 0)
                assert got == [str(number) for number in range(100)]
    finally:
        monitoring.free_tool_id(tool)


async def test_driven_by_hand_it_yields_a_waiter_and_then_stops_with_the_message():
    gate = Gate()
    with Peer(lambda wire: (gate.wait(), wire.send(text("a")), wire.answer_close())) as peer:
        async with peer.connect() as ws:
            awaitable = ws.recv()
            waiter = awaitable.send(None)
            assert waiter._asyncio_future_blocking is True
            assert waiter.get_loop() is asyncio.get_running_loop()
            woken = asyncio.Event()
            waiter.add_done_callback(lambda _: woken.set())
            gate.open()
            await woken.wait()
            assert waiter.done()
            with pytest.raises(StopIteration) as caught:
                awaitable.send(None)
            assert caught.value.value == "a"


async def test_throw_raises_in_the_awaitable_and_lets_the_next_reader_in():
    with Peer(lambda wire: (wire.read_frame(), wire.send(text("a")), wire.answer_close())) as peer:
        async with peer.connect() as ws:
            for error in (KeyError("x"), KeyError):
                awaitable = ws.recv()
                awaitable.send(None)
                with pytest.raises(KeyError):
                    awaitable.throw(error)
                with pytest.raises(RuntimeError, match="awaited already"):
                    awaitable.send(None)
            with pytest.raises(TypeError):
                ws.recv().throw()
            await ws.send("go")
            assert await ws.recv() == "a"


async def test_throwing_what_is_no_exception_is_a_type_error_as_in_a_coroutine():
    with Peer(numbers_then_close(1)) as peer:
        async with peer.connect() as ws:
            for wrong in (1, str, object()):
                with pytest.raises(TypeError, match="exceptions must"):
                    ws.recv().throw(wrong)
            assert await ws.recv() == "0"


async def test_close_ends_the_awaitable_and_lets_the_next_reader_in():
    with Peer(lambda wire: (wire.read_frame(), wire.send(text("a")), wire.answer_close())) as peer:
        async with peer.connect() as ws:
            awaitable = ws.recv()
            awaitable.send(None)
            awaitable.close()
            awaitable.close()
            with pytest.raises(RuntimeError, match="awaited already"):
                await awaitable
            await ws.send("go")
            assert await ws.recv() == "a"


async def test_an_awaitable_that_was_never_awaited_takes_no_message_and_is_warned_of_at_the_next():
    said = "coroutine 'Connection.{}' was never awaited"
    with Peer(numbers_then_close(1)) as peer:
        async with peer.connect() as ws:
            ws.recv()
            with pytest.warns(RuntimeWarning, match=said.format("recv")):
                anext(ws)
            gc.collect()
            with pytest.warns(RuntimeWarning, match=said.format("__anext__")):
                await ws.close()
            assert await ws.recv() == "0"


async def test_the_exception_of_a_recv_that_fails_is_new_each_time():
    with Peer(lambda wire: wire.close(1000)) as peer:
        ws = await peer.connect()
        errors = []
        for _ in range(3):
            with pytest.raises(ConnectionClosedOK) as caught:
                await ws.recv()
            errors.append(caught.value)
        assert len({id(error) for error in errors}) == 3
        await ws.close()


async def test_nothing_of_the_last_message_lives_after_the_reader_suspended():
    gate = Gate()

    def script(wire):
        wire.send(binary(b"a" * 1000))
        gate.wait()
        wire.send(binary(b"b"))
        wire.answer_close()

    with Peer(script) as peer:
        async with peer.connect() as ws:
            message = await ws.recv()
            waiting = asyncio.create_task(ws.recv())
            await asyncio.sleep(0)
            assert sys.getrefcount(message) == 2
            assert not [holder for holder in gc.get_referrers(message) if type(holder).__module__ == "fastws._core"]
            gate.open()
            assert await waiting == b"b"


async def test_the_reused_stop_iteration_keeps_no_frame_and_no_message_alive():
    class Witness:
        pass

    gate = Gate()
    witnesses = []

    def script(wire):
        wire.send(numbered(range(10)))
        gate.wait()
        wire.send(text("end"))
        wire.answer_close()

    with Peer(script) as peer:
        async with peer.connect() as ws:

            async def consumer():
                local = Witness()
                witnesses.append(weakref.ref(local))
                try:
                    raise KeyError("context")
                except KeyError:
                    # The StopIteration is raised while another exception is handled.
                    return [await ws.recv() for _ in range(10)]

            assert len(await consumer()) == 10
            waiting = asyncio.create_task(ws.recv())
            await asyncio.sleep(0)
            # Without a collection: nothing refers to the frame.
            assert witnesses[0]() is None
            gate.open()
            assert await waiting == "end"


async def test_a_kept_stop_iteration_is_not_written_over():
    with Peer(numbers_then_close(3)) as peer:
        async with peer.connect() as ws:
            assert await ws.recv() == "0"
            while ws.stats().receive_queue_messages < 2:
                await asyncio.sleep(0)
            kept = []
            for _ in range(2):
                awaitable = ws.recv()
                try:
                    awaitable.send(None)
                except StopIteration as stop:
                    kept.append(stop)
                del awaitable
            assert [stop.value for stop in kept] == ["1", "2"]
            assert kept[0] is not kept[1]


async def test_references_stay_level_over_many_messages():
    with Peer(numbers_then_close(20_000)) as peer:
        async with peer.connect() as ws:
            await drained(ws, 1000)
            gc.collect()
            before = sys.getrefcount(ws), sys.getrefcount(None), len(gc.get_objects())
            await drained(ws, 18_000)
            gc.collect()
            after = sys.getrefcount(ws), sys.getrefcount(None), len(gc.get_objects())
            assert abs(after[0] - before[0]) < 10  # reading and waiting hold some, each message none
            assert abs(after[1] - before[1]) < 1000
            assert abs(after[2] - before[2]) < 500
            await drained(ws, 1000)


async def test_recv_after_the_end_raises_and_a_waiting_one_is_woken_by_the_end():
    with Peer(lambda wire: (wire.read_frame(), wire.cut())) as peer:
        ws = await peer.connect()
        waiting = asyncio.create_task(ws.recv())
        await ws.send("go")
        with pytest.raises(ConnectionClosed):
            await waiting
        with pytest.raises(ConnectionClosed):
            await ws.recv()
        await ws.close()


async def test_an_awaitable_closed_in_a_callback_of_another_connection_lets_go_of_its_own():
    """It is left while the hub is busy with another connection: the registration must become weak all the same."""

    class Stops:
        def on_message(self, ws, message):
            kept.pop().close()

    kept = []
    with Peer(lambda wire: wire.read_to_end()) as quiet:
        with Peer(lambda wire: (wire.read_frame(), wire.send(text("x")), wire.answer_close())) as busy:
            async with busy.connect(listener=Stops()) as b:
                a = await quiet.connect()
                awaitable = a.recv()
                awaitable.send(None)
                kept.append(awaitable)
                del awaitable
                await b.send("go")
                while kept:
                    await asyncio.sleep(0)
                dropped = weakref.ref(a)
                # Nobody refers to it, nobody waits for it: it is closed, and says so.
                with pytest.warns(ResourceWarning, match="unclosed"):
                    del a
                    gc.collect()
                assert dropped() is None
