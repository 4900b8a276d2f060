"""What the migration page (docs/howto/migrate-stream-tungstenite.md) maps, over real sockets."""

import asyncio

import pytest

import fastws
from fastws.testing import Echo, Expect, Send, SendClose, Server
from peers import Gate, peer_that_stalls
from rings import take

RETRY = fastws.FixedDelay(0.01)


async def test_the_models_ways_to_send_reach_the_server_and_a_ping_is_answered():
    with Server(record=True) as server:
        async with fastws.WebSocketClient(server.url("/echo")) as client:
            stream = client.stream()
            for sender in (client, client.sender()):
                await sender.send_text("a")
                await sender.send_binary(b"b")
                await sender.send_async("c")
                await sender.send_timeout("d", 5)
                sender.send_nowait("e")
                assert await take(stream, 5) == ["a", b"b", "c", "d", "e"]
                assert 0 < await sender.ping("probe") < 5
            assert len(server.connections()[0].pings_ns) == 2


@pytest.mark.parametrize("way", ["client", "sender", "send_timeout"])
async def test_a_send_without_room_gives_up_at_its_timeout_and_was_not_sent(way):
    gate = Gate()
    config = fastws.ClientConfig(send_queue_capacity=1, ping_interval=None, receive_timeout=None, close_timeout=5)
    with peer_that_stalls(gate) as peer:
        async with fastws.WebSocketClient(peer.url, config=config) as client:
            sender = client.sender() if way == "sender" else client
            send = sender.send_timeout if way == "send_timeout" else sender.send
            accepted = 0
            with pytest.raises(TimeoutError, match=r"^not sent: no room within 0\.2 s$"):
                while accepted < 1000:
                    await send(accepted.to_bytes(100_000, "big"), timeout=0.2)
                    accepted += 1
            with pytest.raises(fastws.SendQueueFull):
                sender.send_nowait(b"refused")
            gate.open()
    assert [int.from_bytes(frame.payload, "big") for frame in peer.results[0]] == list(range(accepted))


async def test_a_message_that_no_queue_can_hold_is_a_value_error_and_the_session_goes_on():
    config = fastws.ClientConfig(ws_config={"max_send_bytes": 1000})
    with Server() as server:
        async with fastws.WebSocketClient(server.url("/echo"), config=config) as client:
            stream = client.stream()
            for sending in (client.send, client.send_nowait):
                with pytest.raises(ValueError, match=r"of \d+ bytes can never fit a send queue of 1000 bytes"):
                    done = sending("x" * 2000)
                    await done
            await client.send("fits")
            assert await take(stream, 1) == ["fits"]
            assert client.snapshot().id == 1


async def test_headers_cookies_authorization_and_subprotocols_go_with_every_upgrade():
    with Server(subprotocols=["feed.v2"]) as server:
        server.script("/end", [Send("a"), SendClose(1012)])
        fresh = iter(range(1, 10))
        client = fastws.WebSocketClient(
            server.url("/end"),
            retry=RETRY,
            headers=lambda: {"Authorization": f"Bearer {next(fresh)}", "Cookie": "session=abc"},
            subprotocols=["feed.v1", "feed.v2"],
        )
        async with client:
            assert await take(client.stream(), 2) == ["a", "a"]
        first, second = server.connections()[:2]
        for number, report in enumerate((first, second), 1):
            assert ("Authorization", f"Bearer {number}") in report.headers
            assert ("Cookie", "session=abc") in report.headers
            assert report.subprotocol == "feed.v2"


async def test_the_uri_is_asked_for_at_every_attempt_and_may_name_another_host():
    with Server() as first, Server() as second:
        first.script("/end", [Send("a"), SendClose(1012)])
        second.script("/on", [Send("b"), Echo()])
        asked = iter([first.url("/end?ticket=1"), "ws://127.0.0.1:1/", second.url("/on?ticket=2")])
        async with fastws.WebSocketClient(lambda: next(asked), retry=RETRY) as client:
            assert await take(client.stream(), 2) == ["a", "b"]
            assert client.snapshot().reconnect_count == 1
        assert [report.target for report in first.connections()] == ["/end?ticket=1"]
        assert [report.target for report in second.connections()] == ["/on?ticket=2"]


async def test_a_connection_is_closed_with_a_code_and_a_reason():
    with Server() as server:
        async with fastws.connect(server.url("/echo")) as ws:
            assert isinstance(ws, fastws.Connection)
            await ws.close(4000, "done here")
        [report] = server.connections()
        assert report.close_received == (4000, "done here")


async def test_a_circuit_breaker_is_a_strategy_of_ones_own():
    class Breaker:
        """Dials three times quickly, then leaves the venue alone for a while."""

        def next_delay(self, failure):
            seen.append(failure.attempt)
            return 0.2 if failure.attempt == 3 else 0.001

        def reset(self):
            pass

    seen = []
    with Server() as server:
        server.script("/end", [SendClose(1013)])
        server.script("/on", [Send("a"), Expect(1)])
        uris = iter([server.url("/end")] * 3 + [server.url("/on")])
        began = asyncio.get_running_loop().time()
        async with fastws.WebSocketClient(lambda: next(uris), retry=Breaker()) as client:
            assert await take(client.stream(), 1) == ["a"]
            assert asyncio.get_running_loop().time() - began >= 0.2
    assert seen == [1, 2, 3]
