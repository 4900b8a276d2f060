"""The counters of a client over real connections."""

import fastws


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
