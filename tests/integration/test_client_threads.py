"""A client belongs to the thread that runs it (_parts.py, sender.py)."""

import asyncio
from concurrent.futures import ThreadPoolExecutor

import pytest

import fastws
from fastws.errors import ClientStopped


async def test_what_other_threads_may_do_is_send_and_the_rest_says_so(fastws_server):
    client = fastws.WebSocketClient(fastws_server.url("/echo"))
    async with client:
        stream = client.stream()

        def elsewhere():
            client.send_threadsafe("from a thread").result(10)
            client.sender().send_threadsafe(b"bytes", text=True).result(10)
            for call in (
                client.reconnect,
                client.stream,
                lambda: client.send_nowait("x"),
                lambda: client.subscriptions.add("k", message="sub"),
                lambda: client.subscriptions.remove("k"),
                lambda: asyncio.run(client.shutdown()),
                lambda: asyncio.run(client.register_extension(fastws.Extension())),
            ):
                with pytest.raises(RuntimeError, match=r"belongs to the event loop of the thread .*send_threadsafe"):
                    call()

        await asyncio.to_thread(elsewhere)
        assert [await anext(stream), await anext(stream)] == ["from a thread", "bytes"]
        assert len(client.subscriptions) == 0
        assert client.snapshot().generation == 1

    def afterwards():
        with pytest.raises(ClientStopped):
            client.send_threadsafe("late").result(10)

    await asyncio.to_thread(afterwards)


async def test_a_stream_read_here_and_awaited_in_another_thread_takes_no_message(fastws_server):
    client = fastws.WebSocketClient(fastws_server.url("/echo"))
    async with client:
        stream = client.stream()
        for number in range(3):
            await client.send(str(number))
        assert await stream.recv() == "0"
        while stream.lag[0] < 2:
            await asyncio.sleep(0)
        awaitables = [stream.recv(), anext(stream), anext(stream.batches())]

        def elsewhere():
            for awaitable in awaitables:
                with pytest.raises(RuntimeError, match="belongs to the event loop of the thread"):
                    awaitable.send(None)

        await asyncio.to_thread(elsewhere)
        assert [await stream.recv(), await stream.recv()] == ["1", "2"]


async def test_a_stream_that_another_thread_reads_by_the_loop_gives_its_messages(fastws_server):
    client = fastws.WebSocketClient(fastws_server.url("/echo"))
    loop = asyncio.get_running_loop()
    async with client:
        stream = client.stream()
        for number in range(2):
            await client.send(str(number))

        def elsewhere():
            return [
                asyncio.run_coroutine_threadsafe(call(), loop).result(20) for call in (stream.recv, stream.__anext__)
            ]

        assert await asyncio.to_thread(elsewhere) == ["0", "1"]


def test_a_thread_cannot_send_before_the_client_runs_or_when_its_loop_is_closed(fastws_server, run):
    client = fastws.WebSocketClient(fastws_server.url("/echo"))
    with pytest.raises(RuntimeError, match="has not run yet"):
        client.send_threadsafe("early")

    async def main():
        async with client:
            pass

    run(main())
    with pytest.raises(RuntimeError, match="is closed"):
        client.send_threadsafe("late")


def test_a_client_that_ran_in_one_thread_runs_in_another(fastws_server):
    client = fastws.WebSocketClient(fastws_server.url("/echo"))
    seen = []

    async def main(name):
        async with client:
            stream = client.stream()
            await client.send(name)
            seen.append(await anext(stream))

    with ThreadPoolExecutor(1) as one, ThreadPoolExecutor(1) as other:
        for threads, name in ((one, "a"), (other, "b"), (one, "c")):
            threads.submit(asyncio.run, main(name)).result(20)
    assert seen == ["a", "b", "c"]


def test_a_client_that_a_reader_keeps_in_its_thread_is_refused_elsewhere_and_runs_there_again(fastws_server, run):
    client = fastws.WebSocketClient(fastws_server.url("/echo"))

    async def main():
        stream = client.stream()
        reading = asyncio.create_task(anext(stream))
        await asyncio.sleep(0)
        with ThreadPoolExecutor(1) as other:
            for _ in range(2):
                running = other.submit(asyncio.run, client.run())
                with pytest.raises(RuntimeError, match="belongs to the event loop of the thread"):
                    await asyncio.wrap_future(running)
        assert not client.is_running
        async with client:
            await client.send("x")
            assert await reading == "x"

    run(main())


async def test_who_waits_for_room_keeps_no_client_in_its_thread(fastws_server):
    class Looks(fastws.Extension):
        name = "looks"
        handles_messages = True

        def on_message(self, message, context):
            return message

    config = fastws.ClientConfig(queue_messages=4, close_timeout=0.1, shutdown_timeout=0.1)
    client = fastws.WebSocketClient(fastws_server.url("/echo"), config=config, extensions=[Looks()])
    async with client:
        stream = client.stream()
        for number in range(8):  # not so many that no connection is dialled
            await client.send(str(number))
        while client._ring._room() is None:
            await asyncio.sleep(0)
    assert client._parts.thread == 0

    async def again():
        async with client:
            pass

    await asyncio.to_thread(asyncio.run, again())
    stream.close()
