"""The counters of a client over real connections."""

import asyncio

import fastws
from fastws.testing import Server


async def test_counters_stay_when_connections_end(fastws_server):
    client = fastws.WebSocketClient(
        fastws_server.url("/echo"), retry=fastws.FixedDelay(0.01), handshake=fastws.SendMessageHandshaker("hello")
    )
    before = client.stats()
    async with client:
        with client.stream() as stream:
            assert await stream.recv() == "hello"
            for number in range(3):
                await client.send(str(number))
                assert await stream.recv() == str(number)
            client.reconnect()
            assert await stream.recv() == "hello"
        live = client.stats()
        assert live.connections == 2
        assert (live.messages_sent, live.messages_received) == (5, 5)
        assert live.bytes_sent > before.bytes_sent
        assert client.snapshot().messages_sent == 5
    after = client.stats()
    assert (after.messages_sent, after.messages_received) == (5, 5)
    assert after.bytes_received >= live.bytes_received
    assert after.bytes_sent >= live.bytes_sent


async def test_what_there_was_no_room_for_while_a_connection_closed_is_counted():
    with Server() as server:
        config = fastws.ClientConfig(queue_messages=64, close_timeout=0.3)
        client = fastws.WebSocketClient(server.url("/blast?n=1000000&size=64"), config=config)
        async with client:
            stream = client.stream()
            while not client._ring.is_full:
                await asyncio.sleep(0.001)
            assert client.stats().messages_discarded == 0
        got = [message async for message in stream]
        stats = client.stats()
        assert stats.messages_discarded > 0
        assert len(got) + stats.messages_discarded == stats.messages_received
        assert f"fastws_client_messages_discarded_total {stats.messages_discarded}" in stats.as_prometheus()
