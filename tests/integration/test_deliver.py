"""rust/py/src/deliver.rs: callbacks; batches are in test_batches.py. Python never runs under a borrow of the state of a
connection: whatever a callback does with it is allowed.
"""

import asyncio
import contextvars
import gc
import time
import weakref

import pytest

import fastws
from fastws import CloseInfo, ConcurrencyError, ConnectionClosed
from peers import CLOSE, TEXT, Frame, Gate, Peer, binary, frame, numbered, text


class Recorder(fastws.Listener):
    """Writes down what it is called with."""

    def __init__(self):
        self.calls = []

    def on_open(self, ws):
        self.calls.append(("open", ws.state.name))

    def on_message(self, ws, message):
        self.calls.append(("message", message))

    def on_close(self, ws, close):
        self.calls.append(("close", close.code, close.reason))

    @property
    def messages(self):
        return [call[1] for call in self.calls if call[0] == "message"]


async def test_the_order_is_open_messages_close():
    listener = Recorder()
    with Peer(lambda wire: (wire.send(text("a"), binary(b"b")), wire.close(1000, "bye"))) as peer:
        ws = await peer.connect(listener=listener)
        assert listener.calls[0] == ("open", "OPEN")
        await ws.wait_closed()
    assert listener.calls == [("open", "OPEN"), ("message", "a"), ("message", b"b"), ("close", 1000, "bye")]


async def test_on_open_runs_before_messages_glued_to_the_answer_and_may_send():
    class Opens(Recorder):
        def on_open(self, ws):
            super().on_open(ws)
            ws.send_nowait("subscribe")

    listener = Opens()

    def script(wire):
        wire.upgrade(behind=text("glued"))
        assert wire.read_frame() == Frame(TEXT, b"subscribe")
        wire.close()

    with Peer(script, upgrade=False) as peer:
        ws = await peer.connect(listener=listener)
        await ws.wait_closed()
    assert listener.calls == [("open", "OPEN"), ("message", "glued"), ("close", 1000, "")]


async def test_a_callback_that_sends_sends_in_order():
    class Echo(fastws.Listener):
        def on_message(self, ws, message):
            ws.send_nowait(f"1 {message}")
            ws.send(f"2 {message}")

    def script(wire):
        wire.send(numbered(range(100)))
        frames = wire.read_frames(200)
        wire.close()
        return [frame.payload.decode() for frame in frames]

    with Peer(script) as peer:
        ws = await peer.connect(listener=Echo())
        await ws.wait_closed()
    assert peer.results[0] == [f"{kind} {number}" for number in range(100) for kind in (1, 2)]


async def test_a_callback_that_closes_gets_what_came_before_the_peers_close():
    class Closes(Recorder):
        def on_message(self, ws, message):
            super().on_message(ws, message)
            if message == "3":
                # The native call that close() makes first, in the callback itself.
                ws._close(3000, "enough")

    listener = Closes()
    with Peer(lambda wire: (wire.send(numbered(range(10))), wire.answer_close())) as peer:
        ws = await peer.connect(listener=listener)
        await ws.wait_closed()
    assert listener.messages == [str(number) for number in range(10)]
    assert listener.calls[-1] == ("close", 3000, "enough")


async def test_a_callback_that_starts_close_and_sends_behind_it_is_refused():
    problems = []

    class Closes(fastws.Listener):
        def on_message(self, ws, message):
            tasks.append(asyncio.ensure_future(ws.close()))
            ws._close(1000, "")
            try:
                ws.send_nowait("too late")
            except ConnectionClosed as error:
                problems.append(error)

    tasks = []
    with Peer(lambda wire: (wire.send(text("a")), wire.answer_close())[1]) as peer:
        ws = await peer.connect(listener=Closes())
        await ws.wait_closed()
        await asyncio.gather(*tasks)
    assert len(problems) == 1
    assert [frame.opcode for frame in peer.results[0]] == [CLOSE]


async def test_a_callback_that_aborts_is_not_called_after_on_close():
    class Aborts(Recorder):
        def on_message(self, ws, message):
            super().on_message(ws, message)
            if message == "3":
                ws._abort("enough")

    listener = Aborts()
    with Peer(lambda wire: (wire.send(numbered(range(10))), wire.read_to_end())) as peer:
        ws = await peer.connect(listener=listener)
        await ws.wait_closed()
    assert listener.calls[-1][0] == "close"
    assert sum(call[0] == "close" for call in listener.calls) == 1
    assert listener.messages[:4] == ["0", "1", "2", "3"]


async def test_recv_and_iteration_are_refused_with_a_listener_also_in_its_callbacks():
    problems = []

    class Reads(fastws.Listener):
        def on_message(self, ws, message):
            for awaitable in (ws.recv(), anext(ws), ws.batches().__anext__()):
                try:
                    awaitable.send(None)
                except ConcurrencyError as error:
                    problems.append(str(error))

    with Peer(lambda wire: (wire.send(text("a")), wire.answer_close())) as peer:
        async with peer.connect(listener=Reads()) as ws:
            with pytest.raises(ConcurrencyError, match="listener"):
                await ws.recv()
            while len(problems) < 3:
                await asyncio.sleep(0)
    assert all("listener" in problem for problem in problems)


async def test_an_exception_closes_with_1011_and_is_raised_by_wait_closed():
    class Raises(Recorder):
        def on_message(self, ws, message):
            super().on_message(ws, message)
            raise ZeroDivisionError(message)

    listener = Raises()
    with Peer(lambda wire: (wire.send(numbered(range(3))), wire.answer_close())[1]) as peer:
        ws = await peer.connect(listener=listener)
        with pytest.raises(ZeroDivisionError, match="0"):
            await ws.wait_closed()
        with pytest.raises(ConnectionClosed) as caught:
            await ws.send("x")
        assert isinstance(caught.value.__cause__, ZeroDivisionError)
    # Nothing after the message that it failed on.
    assert listener.messages == ["0"]
    assert listener.calls[-1][0] == "close"
    assert peer.results[0][-1].payload[:2] == (1011).to_bytes(2, "big")


async def test_a_listener_that_failed_gets_no_message_that_arrives_later():
    class Raises(Recorder):
        def on_message(self, ws, message):
            super().on_message(ws, message)
            raise ZeroDivisionError(message)

    listener = Raises()

    def script(wire):
        wire.send(text("a"))
        sent = wire.read_to_close()
        wire.send(text("b"), text("c"), frame(CLOSE, sent[-1].payload))
        wire.end()

    with Peer(script) as peer:
        ws = await peer.connect(listener=listener)
        with pytest.raises(ZeroDivisionError, match="a"):
            await ws.wait_closed()
    assert listener.messages == ["a"]


@pytest.mark.parametrize("name", ["on_open", "on_close"])
async def test_an_exception_of_the_other_callbacks_is_raised_by_wait_closed_too(name):
    def fail(self, *args):
        raise ZeroDivisionError

    listener = type("Feed", (Recorder,), {name: fail})()
    with Peer(lambda wire: wire.answer_close() if name == "on_open" else wire.close()) as peer:
        ws = await peer.connect(listener=listener)
        with pytest.raises(ZeroDivisionError):
            await ws.wait_closed()


@pytest.mark.parametrize("name", ["on_message", "on_close"])
async def test_an_exception_of_a_callback_is_not_silent_though_nobody_waits_for_the_end(name):
    def fail(self, *args):
        raise ZeroDivisionError("told")

    told = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: told.append(context))
    listener = type("Feed", (Recorder,), {name: fail})()
    with Peer(lambda wire: (wire.send(text("a")), wire.answer_close())) as peer:
        with pytest.raises(ZeroDivisionError, match="told"):
            async with peer.connect(listener=listener) as ws:
                while name == "on_message" and ws.state == fastws.State.OPEN:
                    await asyncio.sleep(0)
        assert [context["exception"].args for context in told] == [("told",)]
        assert told[0]["connection"] is ws
        assert "ZeroDivisionError('told')" in str(ws.close_info.cause)
        assert isinstance(ws.close_info.cause.__cause__, ZeroDivisionError)
        # The body's own exception goes first.
        with pytest.raises(KeyError):
            async with peer.connect(listener=listener) as ws:
                raise KeyError


def test_keyboard_interrupt_in_a_callback_ends_the_program_and_the_connection_goes_on(run):
    class Interrupts(Recorder):
        def on_message(self, ws, message):
            super().on_message(ws, message)
            if message == "2":
                raise KeyboardInterrupt

    listener = Interrupts()
    loop = run.loop_factory() if run.loop_factory else asyncio.new_event_loop()
    with Peer(lambda wire: (wire.send(numbered(range(6))), wire.answer_close())) as peer:

        async def first():
            kept.append(await peer.connect(listener=listener))
            await kept[0].wait_closed()

        async def second():
            while len(listener.messages) < 6:
                await asyncio.sleep(0.001)
            await kept[0].close()

        kept = []
        try:
            with pytest.raises(KeyboardInterrupt):
                loop.run_until_complete(first())
            assert listener.messages[:3] == ["0", "1", "2"]  # uvloop ends its turn first
            loop.run_until_complete(second())
            for task in asyncio.all_tasks(loop):
                loop.run_until_complete(task)
        finally:
            loop.close()
    assert listener.messages == [str(number) for number in range(6)]


async def test_what_a_slow_listener_has_left_when_reading_resumes_is_delivered_though_nothing_more_comes():
    class Slow(Recorder):
        def on_message(self, ws, message):
            super().on_message(ws, message)
            until = time.perf_counter() + 30e-6
            while time.perf_counter() < until:
                pass

    listener = Slow()
    with Peer(lambda wire: (wire.send(numbered(range(1000))), wire.answer_close())) as peer:
        async with peer.connect(listener=listener, max_queue=(1000, 990)), asyncio.timeout(5):
            while len(listener.messages) < 1000:
                await asyncio.sleep(0.001)
    assert listener.messages == [str(number) for number in range(1000)]


async def test_a_callback_may_drop_the_last_references():
    class Forgets(fastws.Listener):
        def on_message(self, ws, message):
            kept.clear()
            gc.collect()
            got.append(message)

        def on_close(self, ws, close):
            ended.set()

    kept, got, ended = [], [], asyncio.Event()
    with Peer(lambda wire: (wire.read_frame(), wire.send(numbered(range(5))), wire.close())) as peer:
        kept.append(await peer.connect(listener=Forgets()))
        witness = weakref.ref(kept[0])
        kept[0].send_nowait("go")
        await ended.wait()
        await asyncio.sleep(0)
        gc.collect()
        assert witness() is None
    assert got == [str(number) for number in range(5)]


async def test_a_reader_that_is_stepped_may_drop_the_last_references():
    with Peer(lambda wire: (wire.read_frame(), wire.send(text("x")), wire.read_to_end())) as peer:
        done = asyncio.Event()

        async def reader(kept):
            await kept[0].recv()
            kept.clear()
            gc.collect()
            done.set()

        kept = [await peer.connect()]
        witness = weakref.ref(kept[0])
        task = asyncio.create_task(reader(kept))
        await asyncio.sleep(0)
        kept[0].send_nowait("go")
        # The frame that steps the reader holds the connection; it goes when that frame ends.
        with pytest.warns(ResourceWarning, match="unclosed"):
            await done.wait()
            await task
            gc.collect()
        assert witness() is None


async def test_callbacks_see_a_copy_of_the_context_that_connect_was_called_in():
    variable = contextvars.ContextVar("variable", default="nobody's")
    seen = []

    class Looks(fastws.Listener):
        def on_open(self, ws):
            seen.append(variable.get())

        def on_message(self, ws, message):
            seen.append(variable.get())
            variable.set(message)

        def on_close(self, ws, close):
            seen.append(variable.get())

    with Peer(lambda wire: (wire.read_frame(), wire.send(text("a"), text("b")), wire.close())) as peer:

        async def open_it():
            variable.set("connect's")
            ws = await peer.connect(listener=Looks())
            variable.set("changed later")
            return ws

        ws = await asyncio.create_task(open_it())
        await ws.send("go")
        await ws.wait_closed()
    assert seen == ["connect's", "connect's", "a", "b"]
    assert variable.get() == "nobody's"


async def test_two_listeners_have_a_context_each():
    variable = contextvars.ContextVar("variable")
    seen = []

    class Looks(fastws.Listener):
        def on_message(self, ws, message):
            seen.append((message, variable.get()))

    with Peer(lambda wire: (wire.read_frame(), wire.send(wire.request[5:6] and text("x")), wire.close())) as peer:
        connections = []
        for name in ("one", "two"):
            variable.set(name)
            connections.append(await peer.connect(listener=Looks()))
        for ws in connections:
            await ws.send("go")
        await asyncio.gather(*(ws.wait_closed() for ws in connections))
    assert sorted(seen) == [("x", "one"), ("x", "two")]


async def test_on_batch_gets_what_arrived_in_lists():
    batches = []

    class Batches(fastws.Listener):
        def on_batch(self, ws, messages):
            batches.append(messages)

    with Peer(lambda wire: (wire.send(numbered(range(1000))), wire.close())) as peer:
        ws = await peer.connect(listener=Batches())
        await ws.wait_closed()
    assert [message for batch in batches for message in batch] == [str(number) for number in range(1000)]
    assert all(type(batch) is list and batch for batch in batches)
    assert len(batches) < 500


async def test_a_listener_gets_everything_in_order_over_many_turns():
    listener = Recorder()
    total = 50_000

    def script(wire):
        for start in range(0, total, 5000):
            wire.send(numbered(range(start, start + 5000)))
        wire.close()

    with Peer(script) as peer:
        ws = await peer.connect(listener=listener, max_queue=16)
        await ws.wait_closed()
    assert listener.messages == [str(number) for number in range(total)]
    assert listener.calls[-1][0] == "close"


async def test_a_slow_callback_does_not_keep_the_loop_from_its_timers():
    class Slow(Recorder):
        def on_message(self, ws, message):
            super().on_message(ws, message)
            time.sleep(0.0005)

    listener = Slow()
    with Peer(lambda wire: (wire.send(numbered(range(1000))), wire.answer_close())) as peer:
        async with peer.connect(listener=listener):
            turns = 0
            while len(listener.messages) < 1000:
                await asyncio.sleep(0)
                turns += 1
        # 500 ms of callbacks; a turn ends after about a millisecond (and 64 messages).
        assert turns >= 8


async def test_on_close_is_told_how_it_ended():
    told = []

    class Ends(fastws.Listener):
        def on_message(self, ws, message):
            pass

        def on_close(self, ws, close):
            told.append((close, ws.state.name, ws.close_code))

    with Peer(lambda wire: wire.reset()) as peer:
        ws = await peer.connect(listener=Ends())
        await ws.wait_closed()
    [(close, state, code)] = told
    assert isinstance(close, CloseInfo)
    assert (close.code, state, code) == (1006, "CLOSED", 1006)
    assert close.cause is not None


async def test_a_callback_that_runs_another_loops_work_gets_its_messages_in_order_later():
    """A nested run of the same dispatch: what arrives inside a callback comes after it."""
    depth = []

    class Nested(Recorder):
        def on_message(self, ws, message):
            depth.append(message)
            super().on_message(ws, f"{message} at {len(depth)}")
            if message == "0":
                # What a nested loop would do: the hub is called inside the callback.
                gate.wait()
                hub._on_ready()
            depth.pop()

    gate = Gate()

    def script(wire):
        wire.send(text("0"))
        wire.send(text("1"))
        gate.open()
        wire.answer_close()

    listener = Nested()
    with Peer(script) as peer:
        ws = None

        def hub_of(ws):
            return next(held for held in gc.get_referents(ws) if type(held).__name__ == "Hub")

        other = await peer.connect()
        hub = hub_of(other)
        ws = await peer.connect(listener=listener)
        while len(listener.messages) < 2:
            await asyncio.sleep(0)
        await asyncio.gather(ws.close(), other.close())
    assert listener.messages == ["0 at 1", "1 at 1"]
