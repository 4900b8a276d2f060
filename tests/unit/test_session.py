"""One session's timers, where messages pass through Python (session.py)."""

import asyncio

import pytest

import fastws
from fastws._interrupt import InnerCancellation
from fastws.events import Disconnected
from fastws.handshakes import Handshaker
from virtual_time import run_virtual
from wires import QUIET, MemoryConnector, MemoryWire, cancelled_inside, client_of

URI = "ws://venue.example/feed"


@pytest.mark.parametrize("timeout", ["receive_timeout", "data_timeout"])
def test_a_stream_that_is_not_read_is_not_taken_for_the_peers_silence(timeout):
    async def main():
        connector = MemoryConnector()
        config = fastws.ClientConfig(**{"receive_timeout": None, "queue_messages": 4, timeout: 20})
        client = fastws.WebSocketClient(URI, connector=connector, config=config, retry=fastws.FixedDelay(1))
        seen = []
        client.on(Disconnected, seen.append)
        async with client:
            stream = client.stream()
            wire = connector.wires[0]
            for number in range(60):
                wire.deliver(str(number))
                await asyncio.sleep(1)
            assert seen == []
            for number in range(60):
                assert await stream.recv() == str(number)
            await asyncio.sleep(19)
            assert seen == []
            await asyncio.sleep(2)
            assert [event.reason.kind for event in seen] == [timeout]

    run_virtual(main())


def test_counters_of_a_connection_are_counted_once_also_while_its_end_is_told(fastws_server):
    async def main():
        client = fastws.WebSocketClient(fastws_server.url("/blast?n=7&size=16"), retry=fastws.NoRetry())
        stream = client.stream()
        seen = []
        client.on(fastws.Disconnected, lambda event: seen.append(client.snapshot().messages_received))
        with pytest.raises(fastws.RetriesExhausted):
            await client.run()
        assert seen == [7]
        assert client.snapshot().messages_received == 7
        await stream.aclose()

    asyncio.run(main())


def test_a_shutdown_in_the_turn_in_which_the_handshake_ends_is_a_shutdown():
    class Ending(Handshaker):
        name = "ending"

        async def handshake(self, channel, context):
            future = asyncio.get_running_loop().create_future()

            def both():
                stopping.append(asyncio.create_task(client.shutdown()))
                future.set_result(None)

            asyncio.get_running_loop().call_later(1, both)
            await future

    stopping = []
    connector = MemoryConnector()
    client = None

    async def main():
        nonlocal client
        client = fastws.WebSocketClient(
            URI, connector=connector, handshake=Ending(), config=fastws.ClientConfig(receive_timeout=None)
        )
        await client.run()
        await stopping[0]
        assert connector.wires[0].closed_by_client == 1001

    run_virtual(main())


def test_a_shutdown_while_a_session_closes_keeps_its_deadline():
    class Slow(MemoryWire):
        async def close(self, code=1000, reason=""):
            await asyncio.sleep(60)

    class Connector(MemoryConnector):
        async def connect(self, uri, options):
            return Slow(uri, options)

    async def main():
        client = fastws.WebSocketClient(URI, connector=Connector(), config=fastws.ClientConfig(receive_timeout=None))
        running = asyncio.create_task(client.run())
        await asyncio.sleep(1)
        client.reconnect()
        await asyncio.sleep(0.1)
        began = asyncio.get_running_loop().time()
        await client.shutdown(timeout=0.5)
        assert asyncio.get_running_loop().time() - began < 0.6
        await running

    run_virtual(main())


def test_what_is_cancelled_inside_of_a_connectors_own_connection_ends_the_client_with_a_cause():
    async def main():
        connector = MemoryConnector()
        client = client_of(connector)
        with pytest.raises(InnerCancellation) as raised:
            async with client:
                wire = connector.wires[0]
                wire.recv = wire.close = cancelled_inside
                wire.deliver("the last that it takes in the old way")
                await asyncio.sleep(5)
        assert isinstance(raised.value.__cause__, asyncio.CancelledError)
        assert wire.closed_by_client == "abort"

    run_virtual(main())


@pytest.mark.parametrize("error", [OSError("the network is gone"), TimeoutError("too late")])
def test_what_the_network_does_to_a_connectors_own_connection_is_for_the_strategy_to_judge(error):
    async def broken():
        raise error

    async def main():
        connector = MemoryConnector()
        client = client_of(connector)
        seen = []
        client.on(Disconnected, seen.append)
        async with client:
            wire = connector.wires[0]
            wire.recv = broken
            wire.deliver("the last that it takes in the old way")
            await connector.wire(2)
            await client.wait_ready()
            assert seen[0].reason.cause is error
            assert wire.closed_by_client == "abort"
            assert connector.attempts == [0, 1]

    run_virtual(main())


class Deaf(fastws.Extension):
    """Keeps the end of a session waiting."""

    name = "deaf"
    handles_messages = True

    def __init__(self):
        self.calls = []

    async def on_message(self, message, context):
        await asyncio.sleep(60)
        return message

    def on_connect(self, context):
        self.calls.append("connect")

    def on_disconnect(self, context, reason):
        self.calls.append(reason.kind)


@pytest.mark.parametrize("times", [1, 2, 3])
def test_a_session_is_accounted_for_whatever_cancels_its_end(times):
    async def main():
        connector, deaf = MemoryConnector(), Deaf()
        client = client_of(connector, extensions=[deaf], config=QUIET.replace(extension_timeout=None))
        seen = []
        client.on(Disconnected, seen.append)
        stream = client.stream(markers=True)
        running = asyncio.create_task(client.run())
        wire = await connector.wire(1)
        await client.wait_ready()
        wire.deliver("a", "b", "c")
        await asyncio.sleep(1)
        client.reconnect()
        await asyncio.sleep(0.1)
        for _ in range(times):
            running.cancel()
            await asyncio.sleep(0)
        with pytest.raises(asyncio.CancelledError):
            await running
        assert [event.reason.kind for event in seen] == ["requested"]
        assert deaf.calls == ["connect", "requested"]
        assert [getattr(item, "data", None) async for item in stream] == ["a", "b", "c", None]
        assert not client.is_ready

    run_virtual(main())  # which fails if a task is left


def test_a_session_that_was_not_ready_is_accounted_for_though_its_end_is_cancelled_once_more():
    class Never(Handshaker):
        name = "never"

        async def handshake(self, channel, context):
            await asyncio.sleep(1000)

    class Slow(MemoryWire):
        async def close(self, code=1000, reason=""):
            await asyncio.sleep(60)

    class Connector(MemoryConnector):
        make = Slow

    async def main():
        connector = Connector()
        client = client_of(connector, handshake=Never(), config=QUIET.replace(handshake_timeout=None))
        seen = []
        client.on(Disconnected, seen.append)
        running = asyncio.create_task(client.run())
        wire = await connector.wire(1)
        for _ in range(2):
            await asyncio.sleep(0.1)
            running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        assert [event.reason.kind for event in seen] == ["shutdown"]
        assert wire.closed_by_client == "abort"

    run_virtual(main())
