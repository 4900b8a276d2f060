"""What a client and its handles send, on wires in memory (sender.py)."""

import asyncio

import pytest

import fastws
from fastws.errors import ClientStopped, ConnectionLost, NotConnected, NotSent, RequestTimeout
from virtual_time import run_virtual
from wires import QUIET, MemoryConnector, client_of, refused


def test_a_request_gets_its_answer_and_streams_see_it_too():
    async def main():
        connector = MemoryConnector()
        client = client_of(connector)
        async with client:
            stream = client.stream()
            wire = connector.wires[0]
            wire.on_send = lambda wire, message: wire.deliver("noise", f"answer to {message}")
            answer = await client.request("q", match=lambda message: message.startswith("answer"))
            assert answer == "answer to q"
            assert [await stream.recv() for _ in range(2)] == ["noise", "answer to q"]
            wire.on_send = None
            with pytest.raises(RequestTimeout, match="within 5 s"):
                await client.request("q", match=bool, timeout=5)
            asking = asyncio.create_task(client.request("q", match=bool, timeout=None))
            await asyncio.sleep(0.1)
            wire.reset()
            with pytest.raises(ConnectionLost) as raised:
                await asking
            assert raised.value.outcome == "maybe_sent"

    run_virtual(main())


def test_a_sender_survives_reconnects():
    async def main():
        connector = MemoryConnector()
        client = client_of(connector)
        async with client:
            sender = client.sender()
            await sender.send("a")
            connector.wires[0].reset()
            await asyncio.sleep(0.1)
            with pytest.raises(NotConnected):
                await sender.send("lost")
            await connector.wire(2)
            await client.wait_ready()
            await sender.send_json({"b": 1})
            assert [wire.sent for wire in connector.wires] == [["a"], ['{"b":1}']]

    run_virtual(main())


@pytest.mark.parametrize("policy", ["fail", "keep", "drop"])
def test_from_the_shutdown_on_nothing_is_accepted(policy):
    async def main():
        connector = MemoryConnector()
        client = client_of(connector, config=QUIET.replace(on_disconnect_send=policy))
        async with client:
            await client.send("a")
            ending = asyncio.create_task(client.shutdown())
            await asyncio.sleep(0)
            assert connector.wires[0].is_open
            with pytest.raises(ClientStopped, match="shutting down"):
                client.send_nowait("b")
            with pytest.raises(ClientStopped, match="shutting down"):
                await client.sender().send("c")
            await ending
            assert connector.wires[0].sent == ["a"]
        async with client:
            await client.send("d")
            assert connector.wires[1].sent == ["d"]

    run_virtual(main())


def test_kept_messages_leave_after_the_next_ready():
    async def main():
        connector = MemoryConnector()
        client = client_of(connector, config=QUIET.replace(on_disconnect_send="keep"))
        async with client:
            connector.wires[0].reset()
            await asyncio.sleep(0.1)
            client.send_nowait("one")
            await client.send("two")
            second = await connector.wire(2)
            await client.wait_ready()
            await asyncio.sleep(0.1)
            assert second.sent == ["one", "two"]

    run_virtual(main())


SENDS = {
    "send_json": (lambda sender, name, **options: sender.send_json(name, **options), '"{}"'),
    "send_text": (lambda sender, name, **options: sender.send_text(name, **options), "{}"),
    "send_binary": (lambda sender, name, **options: sender.send_binary(name.encode(), **options), b"%s"),
}


@pytest.mark.parametrize("of", SENDS)
def test_whatever_is_sent_may_have_a_receipt_a_time_a_place_and_a_key(of):
    send, shape = SENDS[of]

    def wired(name):
        return shape % name.encode() if isinstance(shape, bytes) else shape.format(name)

    async def main():
        connector = MemoryConnector()
        limits = fastws.RateLimits(fastws.RateLimit(1, 10, burst=1), {"orders": fastws.RateLimit(1, 60, burst=1)})
        client = client_of(connector, rate_limit=limits)
        async with client:
            for sender in (client, client.sender()):
                wire = connector.wires[0]
                wire.sent.clear()
                await asyncio.sleep(600)
                first = await send(sender, "first", receipt=True, key="orders")
                await first
                stale = await send(sender, "stale", receipt=True, expires=5)
                assert await send(sender, "later", key="orders") is None
                urgent = await send(sender, "urgent", receipt=True, urgent=True)
                await urgent
                with pytest.raises(NotSent, match="expired"):
                    await stale
                await asyncio.sleep(600)
                assert wire.sent == [wired("first"), wired("urgent"), wired("later")]
                with pytest.raises(ValueError, match="timeout"):
                    await send(sender, "never", timeout=-1)

    run_virtual(main())


def test_many_that_find_no_room_in_time_are_not_sent():
    async def main():
        connector = MemoryConnector(None, then=refused())
        client = client_of(connector, config=QUIET.replace(on_disconnect_send="keep", keep_limit=2))
        with pytest.raises(fastws.ShutdownTimeout) as raised:
            async with client:
                connector.wires[0].reset()
                await asyncio.sleep(0.1)
                with pytest.raises(TimeoutError, match="no room within 3 s"):
                    await client.send_many(["a", "b", "c"], timeout=3)
        assert [unsent.message for unsent in raised.value.unsent] == ["a", "b"]

    run_virtual(main())


def test_many_expire_at_the_same_time_and_fall_under_one_limit():
    async def main():
        connector = MemoryConnector(None, refused())
        limits = fastws.RateLimits(None, {"orders": fastws.RateLimit(1, 10, burst=1)})
        client = client_of(connector, rate_limit=limits)
        async with client:
            await client.send_many(["a", "b", "c", "d"], expires=25, key="orders")
            await client.send("free")
            await asyncio.sleep(600)
            assert connector.wires[0].sent[0] == "a"
            assert set(connector.wires[0].sent) == {"a", "b", "c", "free"}
            assert client.stats().messages_expired == 1
            await client.send_many(["x"], expires=0)
            assert "x" not in connector.wires[0].sent

    run_virtual(main())


def test_many_that_wait_for_room_wait_idly_and_go_in_order():
    async def main():
        connector = MemoryConnector()
        config = QUIET.replace(send_queue_capacity=1)
        client = client_of(connector, config=config, rate_limit=fastws.RateLimit(1, 60.0))
        async with client:
            await client.wait_ready()
            messages = [str(number) for number in range(5)]
            await asyncio.gather(*(client.send(message) for message in messages))
            await asyncio.sleep(120)
            assert connector.wires[0].sent == messages

    run_virtual(main())
