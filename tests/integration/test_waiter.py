"""rust/py/src/waiter.rs: waking and stepping the task that waits, and the waiter itself."""

import asyncio
import contextvars
import gc
import weakref

import pytest

from fastws import ConcurrencyError
from peers import Gate, Peer, numbered, send_on_request, suspended, text


async def test_a_stepped_task_sees_its_own_context():
    variable = contextvars.ContextVar("variable", default="nobody's")
    with Peer(send_on_request(3)) as peer:
        async with peer.connect() as ws:

            async def reader():
                variable.set("the reader's")
                seen = []
                for _ in range(3):
                    await ws.recv()
                    seen.append(variable.get())
                    variable.set(f"{variable.get()}!")
                return seen

            variable.set("the test's")
            task = asyncio.create_task(reader())
            for _ in range(3):
                await asyncio.sleep(0.001)
                await ws.send("go")
            assert await task == ["the reader's", "the reader's!", "the reader's!!"]
            assert variable.get() == "the test's"


async def test_current_task_is_the_stepped_one():
    with Peer(send_on_request(1)) as peer:
        async with peer.connect() as ws:

            async def reader():
                await ws.recv()
                return asyncio.current_task()

            task = asyncio.create_task(reader())
            await asyncio.sleep(0)
            await ws.send("go")
            assert await task is task


async def test_an_exception_of_a_stepped_task_stays_in_it():
    with Peer(send_on_request(2)) as peer:
        async with peer.connect() as ws:

            async def reader():
                await ws.recv()
                raise ZeroDivisionError

            task = asyncio.create_task(reader())
            await asyncio.sleep(0)
            await ws.send("go")
            with pytest.raises(ZeroDivisionError):
                await task
            await ws.send("go")
            assert await ws.recv() == "1"


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
def test_what_ends_the_program_propagates_and_the_state_stays_consistent(run, kind):
    gate = Gate()

    def script(wire):
        wire.send(numbered(range(5)))
        gate.wait()
        wire.send(numbered(range(5, 10)))
        wire.answer_close()

    with Peer(script) as peer:
        # One loop, run twice: the program is ended in between.
        loop = asyncio.new_event_loop() if run.loop_factory is None else run.loop_factory()
        kept = []

        async def first():
            ws = await peer.connect()
            kept.append(ws)
            assert await ws.recv() == "0"
            while ws.stats().receive_queue_messages < 4:
                await asyncio.sleep(0)

            async def reader():
                for number in range(1, 5):
                    assert await ws.recv() == str(number)
                gate.open()
                assert await ws.recv() == "5"
                raise kind

            await asyncio.create_task(reader())

        async def second():
            ws = kept.pop()
            assert [await ws.recv() for _ in range(4)] == ["6", "7", "8", "9"]
            other = await peer2.connect()
            await other.close()
            await ws.close()

        try:
            with pytest.raises(kind):
                loop.run_until_complete(first())
            with Peer() as peer2:
                for task in asyncio.all_tasks(loop):
                    task.cancel()
                loop.run_until_complete(second())
        finally:
            loop.run_until_complete(loop.shutdown_asyncgens())
            loop.close()


async def test_another_connection_of_the_dispatch_is_served_though_one_task_fails():
    gate = Gate()

    def script(wire):
        gate.wait()
        wire.send(text("x"))
        wire.answer_close()

    with Peer(script) as one, Peer(script) as two:
        async with one.connect() as a, two.connect() as b:

            async def fails():
                await a.recv()
                raise ZeroDivisionError

            failing, fine = asyncio.create_task(fails()), asyncio.create_task(b.recv())
            await asyncio.sleep(0)
            gate.open()
            assert await fine == "x"
            with pytest.raises(ZeroDivisionError):
                await failing


async def test_done_callbacks_of_the_waiter_can_be_removed_and_are_called_late_too():
    with Peer(send_on_request(1)) as peer:
        async with peer.connect() as ws:
            awaitable = ws.recv()
            waiter = awaitable.send(None)
            called = []
            waiter.add_done_callback(called.append)
            assert waiter.remove_done_callback(called.append) == 1
            assert waiter.remove_done_callback(called.append) == 0
            assert not waiter.done()
            with pytest.raises(asyncio.InvalidStateError):
                waiter.result()
            await ws.send("go")
            while not waiter.done():
                await asyncio.sleep(0)
            assert called == []
            waiter.add_done_callback(called.append)
            await asyncio.sleep(0)
            assert called == [waiter]
            assert waiter.result() is None
            assert not waiter.cancelled()
            awaitable.close()
            assert await ws.recv() == "0"


async def test_a_reader_that_was_woken_and_is_stepped_late_is_not_overtaken():
    """Woken by `call_soon`, not yet back: a second reader is refused, since the message is the first one's."""
    with Peer(send_on_request(1)) as peer:
        async with peer.connect() as ws:
            awaitable = ws.recv()
            waiter = awaitable.send(None)
            await ws.send("go")
            while not waiter.done():
                await asyncio.sleep(0)
            with pytest.raises(ConcurrencyError):
                await ws.recv()
            with pytest.raises(StopIteration) as caught:
                awaitable.send(None)
            assert caught.value.value == "0"


def task_of_python(coroutine):
    """A task of asyncio's Python code, as debuggers and other loops have them."""
    return asyncio.tasks._PyTask(coroutine, loop=asyncio.get_running_loop())


async def test_a_task_of_pythons_waits_is_woken_and_is_cancelled_with_its_message():
    with Peer(send_on_request(3)) as peer:
        async with peer.connect() as ws:

            async def reader():
                return [await ws.recv(), await ws.recv()]

            task = task_of_python(reader())
            await asyncio.sleep(0)
            await ws.send("go")
            await ws.send("on")
            assert await task == ["0", "1"]
            task = task_of_python(reader())
            await asyncio.sleep(0)
            task.cancel("because")
            with pytest.raises(asyncio.CancelledError) as caught:
                await task
            assert caught.value.args == ("because",)
            await ws.send("go")
            assert await ws.recv() == "2"


async def test_the_waiter_has_what_a_future_has_by_names_that_are_not_interned_too():
    with Peer(lambda wire: wire.answer_close()) as peer:
        async with peer.connect() as ws:
            awaitable = ws.recv()
            waiter = awaitable.send(None)
            assert asyncio.isfuture(waiter)
            loop = asyncio.get_running_loop()
            for name in ("get_loop", " get_loop".strip()):
                assert getattr(waiter, name)() is loop
            blocking = " _asyncio_future_blocking".strip()
            assert getattr(waiter, blocking) is waiter._asyncio_future_blocking is True
            waiter._asyncio_future_blocking = False
            assert getattr(waiter, blocking) is waiter._asyncio_future_blocking is False
            setattr(waiter, blocking, [1])
            assert waiter._asyncio_future_blocking is True
            with pytest.raises(TypeError):
                del waiter._asyncio_future_blocking
            with pytest.raises(AttributeError):
                waiter.other = 1
            with pytest.raises(AttributeError):
                waiter.other  # noqa: B018
            with pytest.raises(TypeError):
                type(waiter)()
            awaitable.close()


async def test_callbacks_of_a_waiter_run_in_their_contexts_and_in_their_order():
    variable = contextvars.ContextVar("variable", default="none")
    called = []

    def callback(name):
        return lambda waiter: called.append((name, variable.get(), waiter))

    with Peer(lambda wire: wire.answer_close()) as peer:
        async with peer.connect() as ws:
            awaitable = ws.recv()
            waiter = awaitable.send(None)
            context = contextvars.copy_context()
            context.run(variable.set, "theirs")
            gone = callback("gone")
            waiter.add_done_callback(callback("first"), context=context)
            waiter.add_done_callback(gone)
            getattr(waiter, " add_done_callback".strip())(callback("second"), context=None)
            assert waiter.remove_done_callback(gone) == 1
            for arguments, keywords in [
                ((), {}),
                ((gone, context), {}),
                ((gone,), {"loop": 1}),
                ((), {"callback": gone}),
            ]:
                with pytest.raises(TypeError, match="takes a callback and context="):
                    waiter.add_done_callback(*arguments, **keywords)
            with pytest.raises(TypeError, match="takes msg="):
                waiter.cancel(message="no")
            assert not waiter.cancelled()
            assert waiter.cancel(msg="because")
            assert not waiter.cancel()
            assert waiter.cancelled()
            assert waiter.done()
            with pytest.raises(asyncio.CancelledError) as caught:
                waiter.exception()
            assert caught.value.args == ("because",)
            await asyncio.sleep(0)
            assert called == [("first", "theirs", waiter), ("second", "none", waiter)]
            awaitable.close()


async def test_a_comparison_that_fails_loses_no_callback():
    class Strange:
        def __eq__(self, other):
            raise ZeroDivisionError

        __hash__ = None

    called = []
    with Peer(lambda wire: wire.answer_close()) as peer:
        async with peer.connect() as ws:
            awaitable = ws.recv()
            waiter = awaitable.send(None)
            waiter.add_done_callback(called.append)
            waiter.add_done_callback(called.append)
            with pytest.raises(ZeroDivisionError):
                waiter.remove_done_callback(Strange())
            waiter.cancel()
            await asyncio.sleep(0)
            assert called == [waiter, waiter]
            awaitable.close()


async def test_a_comparison_that_ends_the_wait_loses_no_callback():
    class Strange:
        def __eq__(self, other):
            waiter.cancel()
            return False

        __hash__ = None

    called = []
    with Peer(lambda wire: wire.answer_close()) as peer:
        async with peer.connect() as ws:
            awaitable = ws.recv()
            waiter = awaitable.send(None)
            waiter.add_done_callback(called.append)
            waiter.add_done_callback(called.append)
            assert waiter.remove_done_callback(Strange()) == 0
            await asyncio.sleep(0)
            assert called == [waiter, waiter]
            awaitable.close()


async def test_a_waiter_in_a_cycle_with_its_callbacks_is_collected():
    class Callback:
        def __call__(self, waiter):
            pass

    with Peer(lambda wire: wire.answer_close()) as peer:
        async with peer.connect() as ws:
            witnesses = []
            for _ in range(10):
                awaitable = ws.recv()
                waiter = awaitable.send(None)
                for _ in range(2):
                    callback = Callback()
                    callback.waiter = waiter
                    witnesses.append(weakref.ref(callback))
                    waiter.add_done_callback(callback)
                awaitable.close()
                del awaitable, waiter, callback
            gc.collect()
            assert [witness() for witness in witnesses] == [None] * 20


def test_a_task_wakes_in_spite_of_what_interrupts_its_waking(run):
    loop = asyncio.new_event_loop() if run.loop_factory is None else run.loop_factory()
    interrupted = []

    async def main():
        async with peer.connect() as ws:
            task = await suspended(ws)

            def interrupt():
                del loop.create_future
                interrupted.append(task.done())
                raise KeyboardInterrupt

            await ws.send("go")
            loop.create_future = interrupt
            return await task

    try:
        if not isinstance(loop, asyncio.SelectorEventLoop):
            pytest.skip("only asyncio's own loop can be interrupted there")
        with Peer(send_on_request(1)) as peer:
            task = loop.create_task(main())
            with pytest.raises(KeyboardInterrupt):
                loop.run_until_complete(task)
            assert interrupted == [False]
            assert loop.run_until_complete(asyncio.wait_for(task, 10)) == "0"
    finally:
        loop.close()


def test_a_task_wakes_where_asyncio_has_nothing_written_in_c(process):
    process(
        """
        async def main():
            async with peer.connect() as ws:
                task = asyncio.create_task(ws.recv())
                await asyncio.sleep(0)
                await ws.send("go")
                assert await asyncio.wait_for(task, 10) == "go"

        def script(wire):
            wire.read_frame()
            wire.send(text("go"))
            wire.answer_close()

        sys.modules["_asyncio"] = None
        with Peer(script) as peer:
            run(main())
        print("ok")
        """
    )
