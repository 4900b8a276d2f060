"""Who owns a connection, and what becomes of it when its owner goes (DESIGN §2, rule 1). Each case is a process of its
own: what goes wrong here ends the process.
"""

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

TESTS = Path(__file__).parent.parent

PRELUDE = """
import asyncio, faulthandler, gc, os, signal, sys, threading, warnings, weakref
sys.path.insert(0, {tests!r})
faulthandler.dump_traceback_later(30, exit=True)
from peers import *
from fastws.runner import loop_factory
import fastws

make_loop = loop_factory({loop!r}) or asyncio.new_event_loop

def quiet(wire):
    with contextlib.suppress(OSError):
        return wire.read_to_end()

def mute(wire):
    with contextlib.suppress(OSError):
        while wire.sock.recv(65536):
            pass

def run(coroutine):
    with asyncio.Runner(loop_factory=make_loop) as runner:
        return runner.run(coroutine)

def is_open(fd):
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True

"""


@pytest.fixture
def process(loop_name):
    """Runs a program in a new interpreter; it must end well and print what is expected last."""

    def process(program, *, expect="ok", warned=(), code=0):
        source = PRELUDE.format(tests=str(TESTS), loop=loop_name) + textwrap.dedent(program)
        result = subprocess.run(
            [sys.executable, "-X", "dev", "-W", "always", "-c", source],
            capture_output=True,
            text=True,
            timeout=50,
            env={**os.environ, "PYTHONASYNCIODEBUG": ""},
        )
        report = f"exit code {result.returncode}\n--- out\n{result.stdout}\n--- err\n{result.stderr}"
        assert result.returncode == code, report
        assert result.stdout.strip().endswith(expect), report
        for text in warned:
            assert text in result.stderr, report
        assert "panicked" not in result.stderr, report
        assert "Fatal" not in result.stderr, report
        return result

    return process


def test_a_dropped_connection_warns_with_its_name_and_closes_its_descriptor(process):
    process(
        """
        async def main():
            ws = await peer.connect()
            fd = ws.fileno()
            assert is_open(fd)
            del ws
            assert not is_open(fd)

        with Peer(quiet) as peer:
            run(main())
        print("ok")
        """,
        warned=["ResourceWarning: unclosed <fastws.Connection ws://127.0.0.1:"],
    )


def test_a_connection_in_a_cycle_with_its_task_is_collected_with_it(process):
    """The task holds its exception, whose traceback holds the frame, which holds the connection and the task."""
    process(
        """
        class Holder:
            pass

        async def fails():
            holder = Holder()
            holder.ws = ws = await peer.connect()
            holder.task = asyncio.current_task()
            descriptors.append(ws.fileno())
            witnesses.extend(weakref.ref(x) for x in (ws, holder, holder.task))
            await ws.send("ready")
            try:
                async with asyncio.timeout(0.01):
                    await ws.recv()
            except TimeoutError:
                raise ZeroDivisionError from None

        witnesses, descriptors = [], []

        async def main():
            task = asyncio.create_task(fails())
            await asyncio.wait({task})
            assert isinstance(task.exception(), ZeroDivisionError)
            del task
            gc.collect()
            assert [witness() for witness in witnesses] == [None] * 3
            assert not is_open(descriptors[0])

        with Peer(quiet) as peer:
            run(main())
        print("ok")
        """,
        warned=["unclosed <fastws.Connection"],
    )


def test_a_waiting_reader_that_nobody_else_holds_still_gets_its_message(process):
    """asyncio holds tasks weakly: the hub holds the connection of one that waits, and that holds the task."""
    process(
        """
        got = []

        async def reads():
            ws = await peer.connect()
            await ws.send("ready")
            got.append(await ws.recv())
            await ws.close()

        def script(wire):
            wire.read_frame()
            gate.wait()
            wire.send(text("late"))
            wire.answer_close()

        async def main():
            asyncio.create_task(reads())
            while not peer.accepted:
                await asyncio.sleep(0.001)
            for _ in range(5):
                await asyncio.sleep(0.002)
                gc.collect()
            gate.open()
            while not got:
                await asyncio.sleep(0.001)

        gate = Gate()
        with Peer(script) as peer:
            run(main())
        assert got == ["late"]
        print("ok")
        """
    )


def test_dropped_by_another_thread(process):
    process(
        """
        async def main():
            boxes = [[await peer.connect()] for _ in range(20)]
            fds = [box[0].fileno() for box in boxes]
            threads = [threading.Thread(target=box.clear) for box in boxes]
            for thread in threads:
                thread.start()
            for _ in range(50):
                # The loop goes on meanwhile.
                ws = await peer.connect(close_timeout=0.001)
                await ws.close()
                if not any(thread.is_alive() for thread in threads):
                    break
            for thread in threads:
                thread.join()

        with Peer(quiet) as peer:
            run(main())
        print("ok")
        """,
        warned=["unclosed <fastws.Connection"],
    )


def test_dropped_after_the_loop_was_closed(process):
    process(
        """
        async def main():
            return await peer.connect(), await peer.connect(listener=Feed())

        class Feed:
            def on_message(self, ws, message):
                pass

        with Peer(quiet) as peer:
            both = run(main())
            fds = [ws.fileno() for ws in both]
            assert all(is_open(fd) for fd in fds)
            del both
            gc.collect()
            assert not any(is_open(fd) for fd in fds), fds
        print("ok")
        """,
    )


def test_calls_after_the_loop_was_closed_raise_and_nothing_leaves(process):
    process(
        """
        async def main():
            return await peer.connect()

        @ignoring_the_end
        def script(wire):
            got.append(wire.read_to_end())

        got = []
        with Peer(script) as peer:
            ws = run(main())
            for call in (lambda: ws.recv().send(None), lambda: ws.send_nowait("x"), lambda: ws.send("y").send(None),
                         lambda: ws.close().send(None), lambda: ws.wait_closed().send(None),
                         lambda: ws.ping().send(None), lambda: ws.send_threadsafe("z")):
                try:
                    call()
                except RuntimeError as error:
                    assert "closed" in str(error), error
                else:
                    raise AssertionError("not refused")
            # What only tells still does.
            assert ws.stats().messages_sent == 0
            assert "open" in repr(ws)
            del ws, call
            gc.collect()
        assert got in ([], [b""], [[]]), got
        print("ok")
        """,
    )


def test_another_loop_of_the_same_thread_is_refused_and_nothing_leaves(process):
    process(
        """
        async def main():
            return await peer.connect()

        async def elsewhere():
            for call in (lambda: ws.recv(), lambda: ws.send("y"), lambda: ws.ping(), lambda: ws.close(),
                         lambda: anext(ws)):
                try:
                    await call()
                except RuntimeError as error:
                    assert "belongs to the event loop" in str(error), error
                else:
                    raise AssertionError("not refused")
            try:
                ws.send_nowait("x")
            except RuntimeError as error:
                assert "not the one that runs here" in str(error), error
            assert ws.stats().messages_sent == 0

        def script(wire):
            got.append([frame.payload for frame in wire.answer_close()])

        got = []
        with Peer(script) as peer:
            home = asyncio.new_event_loop()
            ws = home.run_until_complete(main())
            run(elsewhere())
            ws.send_nowait("from nowhere")  # no loop runs: it leaves, or does when its loop goes on
            home.run_until_complete(ws.send("at home"))
            home.run_until_complete(ws.close())
            home.close()
        assert got[0][:2] == [b"from nowhere", b"at home"], got
        print("ok")
        """,
    )


def test_a_loop_that_is_stopped_with_open_connections(process):
    process(
        """
        async def consume():
            ws = await peer.connect()
            async for _ in ws:
                pass

        with Peer(ignoring_the_end(lambda wire: (wire.send(text("a")), wire.read_to_end()))) as peer:
            loop = make_loop()
            tasks = [loop.create_task(consume()) for _ in range(5)]
            loop.call_later(0.1, loop.stop)
            loop.run_forever()
            assert not any(task.done() for task in tasks)
            loop.close()
            del tasks, loop
            gc.collect()
        print("ok")
        """,
    )


def test_a_loop_that_is_stopped_and_goes_on(process):
    process(
        """
        def script(wire):
            wire.read_frame()
            wire.send(text("a"))
            wire.answer_close()

        async def main():
            async with peer.connect() as ws:
                asyncio.get_running_loop().call_soon(asyncio.get_running_loop().stop)
                await ws.send("go")
                return await ws.recv()

        with Peer(script) as peer:
            loop = make_loop()
            task = loop.create_task(main())
            loop.run_forever()
            assert not task.done()
            assert loop.run_until_complete(task) == "a"
            loop.close()
        print("ok")
        """,
    )


@pytest.mark.parametrize("how", ["waiting", "listening", "idle", "sending", "closing"])
def test_the_interpreter_exits_with_open_connections(process, how):
    process(
        """
        HOW = "@how@"

        class Feed:
            def on_message(self, ws, message):
                pass

        async def main():
            global kept
            kept = ws = await peer.connect(listener=Feed() if HOW == "listening" else None)
            if HOW == "waiting":
                global task
                task = asyncio.create_task(ws.recv())
                await asyncio.sleep(0)
            elif HOW == "sending":
                for _ in range(50):
                    ws.send_nowait(b"x" * 1_000_000)
            elif HOW == "closing":
                global closing
                closing = asyncio.create_task(ws.close())
                await asyncio.sleep(0)

        peer = Peer(lambda wire: Gate().wait())
        loop = make_loop()
        loop.run_until_complete(main())
        print("ok", flush=True)
        # The loop is neither stopped nor closed, nothing is cancelled.
        """.replace("@how@", how)
    )


def test_the_interpreter_exits_from_inside_a_callback(process):
    process(
        """
        class Feed:
            def on_message(self, ws, message):
                print("ok", flush=True)
                sys.exit(3)

        async def main():
            ws = await peer.connect(listener=Feed())
            await ws.wait_closed()

        peer = Peer(ignoring_the_end(lambda wire: (wire.send(text("a")), wire.read_to_end())))
        run(main())
        """,
        code=3,
    )


FORK = """
        def script(wire):
            for number in range(3):
                wire.read_frame()
                wire.send(text(str(number)))
            return wire.answer_close()

        def refused(call):
            try:
                call()
            except RuntimeError as error:
                assert "process" in str(error), error
            else:
                raise AssertionError("not refused")

        async def main():
            async with peer.connect() as ws:
                await ws.send("a")
                assert await ws.recv() == "0"
                waiting = asyncio.create_task(ws.recv())
                await asyncio.sleep(0)
                if how == "queued":
                    ws.send_nowait("first leaves at once")
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    child = os.fork()
                if child == 0:
                    try:
                        in_the_child(ws)
                    except BaseException as error:
                        import traceback
                        traceback.print_exc()
                        os._exit(1)
                    if how == "exit":
                        del ws
                        gc.collect()
                        os._exit(0)
                    os._exit(0)
                # In the loop's thread, so that nothing of ours runs before the child is gone.
                _, status = os.waitpid(child, 0)
                assert status == 0, status
                if how != "queued":
                    await ws.send("b")
                assert await waiting == "1"
                await ws.send("c")
                assert await ws.recv() == "2"
"""


def test_a_forked_child_is_refused_every_call_and_the_parent_goes_on(process):
    process(
        FORK
        + """
        def in_the_child(ws):
            refused(ws.recv)
            refused(lambda: ws.__anext__())
            refused(lambda: ws.batches().__anext__())
            refused(lambda: ws.send("x"))
            refused(lambda: ws.send_nowait("x"))
            refused(lambda: ws.send(["x", "y"]).send(None))
            refused(lambda: ws.send_threadsafe("x"))
            refused(lambda: ws.ping().send(None))
            refused(lambda: ws.pong().send(None))
            refused(lambda: ws.close().send(None))
            refused(lambda: ws.wait_closed().send(None))

        how = "calls"
        with Peer(script) as peer:
            run(main())
        assert [frame.opcode for frame in peer.results[0]] == [CLOSE]
        print("ok")
        """
    )


def test_a_forked_child_that_drops_the_connection_does_not_disturb_the_parent(process):
    process(
        FORK
        + """
        def in_the_child(ws):
            del ws
            gc.collect()

        how = "exit"
        with Peer(script) as peer:
            run(main())
        assert [frame.opcode for frame in peer.results[0]] == [CLOSE]
        print("ok")
        """
    )


def test_a_forked_child_can_have_connections_of_its_own(process):
    process(
        FORK
        + """
        def in_the_child(ws):
            async def own():
                async with other.connect() as mine:
                    await mine.send("a")
                    assert await mine.recv() == "0"

            # The parent's loop is running, as far as this thread knows.
            asyncio._set_running_loop(None)
            loop = make_loop()
            loop.run_until_complete(own())

        how = "own"
        def short(wire):
            wire.read_frame()
            wire.send(text("0"))
            wire.answer_close()

        with Peer(script) as peer, Peer(short) as other:
            run(main())
        print("ok")
        """
    )


def test_multiprocessing_by_fork_with_an_open_connection(process):
    process(
        """
        import multiprocessing

        def work(queue):
            gc.collect()
            queue.put("done")

        def script(wire):
            wire.read_frame()
            wire.send(text("a"))
            wire.answer_close()

        async def main():
            async with peer.connect() as ws:
                context = multiprocessing.get_context("fork")
                queue = context.SimpleQueue()
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    child = context.Process(target=work, args=(queue,))
                    child.start()
                assert queue.get() == "done"
                child.join()
                assert child.exitcode == 0
                await ws.send("go")
                assert await ws.recv() == "a"

        with Peer(script) as peer:
            run(main())
        print("ok")
        """
    )


REUSED = """
        # The number of a closed descriptor is used again by something that epoll refuses: uvloop aborts the process if
        # it still has the number. The loop must only ever know the hub, and the hub must forget a descriptor first.
        def reuse(fd):
            assert not is_open(fd)
            plain = os.open(__import__("tempfile").mkstemp()[1], os.O_RDWR)
            if plain != fd:
                os.dup2(plain, fd)
                os.close(plain)

        async def turns():
            for _ in range(5):
                await asyncio.sleep(0.001)
"""


def test_the_number_of_a_closed_connection_is_reused_by_a_regular_file(process):
    process(
        REUSED
        + """
        async def main():
            for _ in range(3):
                ws = await peer.connect()
                fd = ws.fileno()
                await ws.close()
                reuse(fd)
                await turns()
                other = await peer.connect()
                await other.close()
                await turns()
                os.close(fd)

        with Peer() as peer:
            run(main())
        print("ok")
        """
    )


def test_the_number_of_a_dropped_connection_is_reused_by_a_regular_file(process):
    process(
        REUSED
        + """
        async def main():
            keep = await peer.connect()
            for _ in range(3):
                ws = await peer.connect()
                fd = ws.fileno()
                del ws
                reuse(fd)
                await turns()
                assert keep.state is fastws.State.OPEN
                os.close(fd)
            del keep
            await turns()

        with Peer(quiet) as peer:
            run(main())
        print("ok")
        """,
        warned=["unclosed"],
    )


def test_the_number_of_the_hubs_own_descriptor_is_reused_after_its_loop_left_it(process):
    process(
        REUSED
        + """
        def pollers():
            found = []
            for fd in range(3, 100):
                with contextlib.suppress(OSError):
                    if "eventpoll" in os.readlink(f"/proc/self/fd/{fd}"):
                        found.append(fd)
            return found

        async def main():
            before = pollers()
            ws = await peer.connect()
            fds = [fd for fd in pollers() if fd not in before]
            assert len(fds) == 1
            del ws
            gc.collect()
            await turns()
            gc.collect()
            await turns()
            # The hub is gone with its last connection, or it is kept for the next; its number must not be watched.
            for fd in fds:
                if not is_open(fd):
                    reuse(fd)
            await turns()
            async with peer.connect(close_timeout=0.01):
                await turns()
            await turns()

        with Peer(quiet) as peer:
            run(main())
        print("ok")
        """,
        warned=["unclosed"],
    )


def test_the_number_of_a_connection_whose_dial_was_cancelled_is_reused(process):
    process(
        REUSED
        + """
        async def main():
            for _ in range(3):
                before = {int(fd) for fd in os.listdir("/proc/self/fd")}
                task = asyncio.create_task(peer.connect().__aenter__())
                while not peer.accepted:
                    await asyncio.sleep(0.001)
                await turns()
                new = [fd for fd in {int(fd) for fd in os.listdir("/proc/self/fd")} - before if is_open(fd)]
                task.cancel()
                await asyncio.wait({task})
                for fd in new:
                    if not is_open(fd):
                        reuse(fd)
                await turns()

        with Peer(mute, upgrade=False) as peer:
            run(main())
        print("ok")
        """
    )
