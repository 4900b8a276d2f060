"""A forked child may not use what its parent opened, nor disturb it."""

FORK = """
        def script(wire):
            for number in range(3):
                wire.read_frame()
                wire.send(text(str(number)))
            return wire.answer_close()

        async def main():
            async with peer.connect() as ws:
                await ws.send("a")
                assert await ws.recv() == "0"
                waiting = asyncio.create_task(ws.recv())
                await asyncio.sleep(0)
                if how == "queued":
                    ws.send_nowait("first leaves at once")
                def child():
                    nonlocal ws
                    in_the_child(ws)
                    if how == "exit":
                        del ws
                        gc.collect()

                # In the loop's thread, so that nothing of ours runs before the child is gone.
                in_a_child(child)
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
            refused(ws.flush)
            refused(ws.cork)
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


def test_a_child_that_runs_the_loop_does_not_make_its_parent_deaf(process):
    """The hub leaves its loop in the turn after its last connection ended: a child forked in between must not."""
    process(
        """
        async def main():
            async with first.connect() as ws:
                pass
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                child = os.fork()
            if child == 0:
                await asyncio.sleep(0)
                await asyncio.sleep(0)
                os._exit(0)
            _, status = os.waitpid(child, 0)
            assert status == 0, status
            async with asyncio.timeout(10), second.connect() as ws:
                await ws.send("a")
                assert await ws.recv() == "b"

        with Peer() as first, Peer(answering(lambda payload: text("b"))) as second:
            run(main())
        print("ok")
        """
    )


def test_children_of_one_parent_draw_keys_of_their_own(process):
    """Also where the parent drew one before anything of it could be forked: to check a header."""
    process(
        """
        def script(wire):
            wire.answer_close()
            return [line for line in wire.request.split(b"\\r\\n") if line.lower().startswith(b"sec-websocket-key")]

        def in_the_child():
            async def main():
                async with peer.connect():
                    pass

            asyncio.run(main())

        fastws.connect("ws://localhost/", proxy="http://localhost:1", proxy_headers={"X-One": "1"})
        with Peer(script) as peer:
            in_a_child(in_the_child)
            in_a_child(in_the_child)
        one, other = peer.results
        assert one and other and one != other, peer.results
        print("ok")
        """
    )
