"""rust/py/src/workers.rs: the threads that work on large frames, which all connections of a process share."""

WORK = """
        import random, zlib

        def echoing(wire):
            wire.upgrade(headers="Sec-WebSocket-Extensions: permessage-deflate\\r\\n")
            deflate, inflate = zlib.compressobj(wbits=-15), zlib.decompressobj(wbits=-15)
            while (got := wire.read_frame()).opcode != CLOSE:
                data = inflate.decompress(got.payload + b"\\0\\0\\xff\\xff") if got.rsv else got.payload
                data = deflate.compress(data) + deflate.flush(zlib.Z_SYNC_FLUSH)
                wire.send(frame(got.opcode, data[:-4], rsv=4))
            wire.send(frame(CLOSE, got.payload))

        def workers():
            found = 0
            for task in os.listdir("/proc/self/task"):
                with contextlib.suppress(OSError), open(f"/proc/self/task/{task}/comm") as name:
                    found += name.read().startswith("fastws-work")
            return found

        async def echoes(peer, count=20):
            async with peer.connect(compression=fastws.Deflate(offload=1000)) as ws:
                for number in range(count):
                    message = random.randbytes(5000)
                    await ws.send(message)
                    ws.send_nowait(str(number), compress=False)
                    assert await ws.recv() == message
                    assert await ws.recv() == str(number)
"""


def test_connections_share_a_few_threads_that_end_when_there_is_nothing_to_do(process):
    process(
        WORK
        + """
        async def main():
            assert workers() == 0
            most = 0
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(echoes(peer)) for _ in range(40)]
                while not all(task.done() for task in tasks):
                    most = max(most, workers())
                    await asyncio.sleep(0)
            assert 1 <= most <= 4, most
            while workers():
                await asyncio.sleep(0.1)
            await echoes(peer)

        with Peer(echoing, upgrade=False) as peer:
            run(main())
        print("ok")
        """
    )


def test_a_forked_child_has_threads_of_its_own(process):
    process(
        WORK
        + """
        with Peer(echoing, upgrade=False) as peer:
            run(echoes(peer))
            for _ in range(3):
                in_a_child(lambda: run(echoes(peer)))
            run(echoes(peer))
        print("ok")
        """
    )


def test_where_no_thread_can_be_made_the_loop_does_the_work(process):
    process(
        WORK
        + """
        import resource

        async def main(url):
            options = {"compression": fastws.Deflate(offload=1000), "close_timeout": 1}
            async with fastws.connect(url, **options) as ws:
                await ws.send("begin")
                assert await ws.recv() == "begin"
                if os.getuid() == 0:
                    os.setuid(65534)
                resource.setrlimit(resource.RLIMIT_NPROC, (1, 1))
                try:
                    threading.Thread(target=int).start()
                except RuntimeError:
                    pass
                else:
                    print("threads can be made nevertheless: ok")
                    return
                for number in range(20):
                    message = random.randbytes(5000)
                    await ws.send(message)
                    ws.send_nowait(str(number), compress=False)
                    assert await ws.recv() == message
                    assert await ws.recv() == str(number)
                assert workers() == 0

        # The peer has its thread before there can be no more.
        with Peer(echoing, upgrade=False) as peer:
            run(main(peer.url))
        print("ok")
        """
    )
