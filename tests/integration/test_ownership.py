"""Who owns a connection, and what becomes of it when its owner goes: docs/architecture.md, rule 1."""

import gc

import pytest

import fastws


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
            async for message in ws:
                got.append(message)
                if len(got) == 5:  # all of them
                    loop.call_soon(loop.stop)

        got = []
        with Peer(ignoring_the_end(lambda wire: (wire.send(text("a")), wire.read_to_end()))) as peer:
            loop = make_loop()
            tasks = [loop.create_task(consume()) for _ in range(5)]
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


async def test_a_ping_whose_answer_is_awaited_keeps_its_connection(fastws_server):
    async def latency():
        return await (await (await fastws.connect(fastws_server.url("/echo"))).ping())

    with pytest.warns(ResourceWarning):
        assert await latency() > 0
        gc.collect()


def test_another_thread_does_not_abort(process):
    process(
        """
        async def main():
            async with peer.connect() as ws:
                try:
                    await asyncio.to_thread(ws._abort, "elsewhere")
                except RuntimeError as error:
                    assert "belongs to the event loop of the thread" in str(error), error
                else:
                    raise AssertionError("not refused")
                assert ws.state is fastws.State.OPEN

        with Peer() as peer:
            run(main())
        print("ok")
        """
    )
