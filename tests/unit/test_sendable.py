"""What is no message is refused at the call, on every way to send (_sendable.py)."""

import array
import asyncio

import pytest

import fastws
from sendable import Passing, PassingAtOnce, refuses_all
from virtual_time import run_virtual
from wires import QUIET, MemoryConnector, client_of, refused


@pytest.mark.parametrize("policy", ["fail", "keep", "drop"])
def test_without_a_connection(policy):
    async def main():
        config = QUIET.replace(on_disconnect_send=policy)
        client = client_of(MemoryConnector(then=refused()), config=config)
        running = asyncio.create_task(client.run())
        await asyncio.sleep(0.1)
        await refuses_all(client)
        assert client.stats().waiting_messages == client.stats().messages_dropped == 0
        await client.shutdown()
        await running

    run_virtual(main())


@pytest.mark.parametrize(
    "options", [{}, {"extensions": [Passing()]}, {"extensions": [PassingAtOnce()]}], ids=["plain", "async", "looked at"]
)
def test_on_a_connection_of_a_connectors_own(options):
    async def main():
        connector = MemoryConnector()
        client = client_of(connector, **options)
        async with client:
            await refuses_all(client)
            assert connector.wires[0].sent == []

    run_virtual(main())


def test_where_the_rate_limit_lets_nothing_through():
    async def main():
        connector = MemoryConnector()
        client = client_of(connector, rate_limit=fastws.RateLimit(1, 1.0, burst=1))
        async with client:
            await client.send("first")
            await client.send("second")
            await refuses_all(client)
            await asyncio.sleep(60)
            assert connector.wires[0].sent == ["first", "second"]

    run_virtual(main())


@pytest.mark.parametrize("many", [5, None, {"a": 1}, {"a"}, "abc", b"abc", bytearray(b"abc")], ids=repr)
def test_send_many_takes_several_in_order(many):
    async def main():
        connector = MemoryConnector()
        client = client_of(connector)
        async with client:
            for sender in (client, client.sender()):
                with pytest.raises(TypeError, match=r"send_many\(\) takes"):
                    await sender.send_many(many)
            assert connector.wires[0].sent == []

    run_virtual(main())


@pytest.mark.parametrize("wrong", [5, None, 1.5, {1}, object()], ids=lambda wrong: type(wrong).__name__)
def test_what_subscribes(wrong):
    subscriptions = fastws.Subscriptions()
    for arguments in ({"message": wrong}, {"message": "sub", "unsubscribe": wrong}):
        if arguments["message"] == "sub" and wrong is None:
            continue  # there is none
        with pytest.raises(TypeError, match=f"not {type(wrong).__name__}"):
            subscriptions.add("key", **arguments)
    assert len(subscriptions) == 0


def test_what_has_a_buffer_is_sent_as_it_is_now():
    async def main():
        connector = MemoryConnector()
        client = client_of(connector, config=QUIET.replace(on_disconnect_send="keep"))
        async with client:
            connector.wires[0].reset()
            await asyncio.sleep(0.1)
            changing = bytearray(b"abc")
            for message in (changing, memoryview(b"abcd")[::2], array.array("H", [1, 2])):
                await client.send(message)
            changing[:] = b"xyz"
            wire = await connector.wire(2)
            await client.wait_ready()
            await asyncio.sleep(0.1)
            assert wire.sent == [b"abc", b"ac", array.array("H", [1, 2]).tobytes()]

    run_virtual(main())
