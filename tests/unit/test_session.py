"""One session's timers, where messages pass through Python (session.py)."""

import asyncio

import pytest

import fastws
from fastws._interrupt import InnerCancellation
from fastws.events import Disconnected
from fastws.handshakes import Handshaker
from virtual_time import run_virtual
from wires import MemoryConnector, MemoryWire, cancelled_inside, client_of

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
