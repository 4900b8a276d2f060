"""Extensions of a client, on wires in memory."""

import asyncio

import pytest

import fastws
from virtual_time import run_virtual
from wires import MemoryConnector, client_of


def test_an_extension_may_come_while_it_runs_and_sees_the_next_message():
    async def main():
        class Loud(fastws.Extension):
            name = "loud"
            handles_messages = True
            seen = ()

            def on_message(self, message, context):
                return message.upper()

            def on_event(self, event, context):
                self.seen += (type(event).__name__,)

        connector = MemoryConnector()
        client = client_of(connector)
        loud = Loud()
        async with client:
            with client.stream() as stream:
                await client.register_extension(loud)
                connector.wires[0].deliver("a")
                assert await stream.recv() == "A"
            with pytest.raises((ValueError, fastws.ClientError)):
                await client.register_extension(Loud())
        assert loud.seen == ("Disconnected", "Shutdown")
        assert client.extensions.get("loud") is loud

    run_virtual(main())


def test_a_slow_hook_is_not_overtaken_by_that_of_a_later_event():
    class Slow(fastws.Extension):
        name = "slow"

        def __init__(self):
            self.seen = []

        async def on_event(self, event, context):
            if isinstance(event, fastws.events.Disconnected):
                await asyncio.sleep(1)
            self.seen.append(type(event).__name__)

    async def main():
        slow, connector = Slow(), MemoryConnector()
        client = client_of(connector, extensions=[slow])
        async with client:
            connector.wires[0].reset()
            await connector.wire(2)
            await client.wait_ready()
        assert slow.seen == [
            *("Connecting", "Connected", "Ready", "Disconnected", "ReconnectScheduled"),
            *("Connecting", "Connected", "Ready", "Disconnected", "Shutdown"),
        ]

    run_virtual(main())


def test_an_extension_may_ask_for_the_end_at_a_message():
    class Last(fastws.Extension):
        name = "last"
        handles_messages = True

        async def on_message(self, message, context):
            await client.shutdown()
            return message

    async def main():
        nonlocal client
        connector = MemoryConnector()
        client = client_of(connector, extensions=[Last()])
        began = asyncio.get_running_loop().time()
        stream = client.stream()
        running = asyncio.create_task(client.run())
        (await connector.wire(1)).deliver("the last one")
        assert await stream.recv() == "the last one"
        await running
        assert asyncio.get_running_loop().time() - began < 1

    client = None
    run_virtual(main())


@pytest.mark.parametrize("hook", ["on_init", "on_connect", "on_disconnect", "on_shutdown"])
def test_an_extension_may_ask_for_the_end_in_a_hook_that_the_client_waits_for(hook):
    async def ends(self, *arguments):
        await client.shutdown()

    async def main():
        nonlocal client
        last = type("Last", (fastws.Extension,), {"name": "last", hook: ends})()
        connector = MemoryConnector()
        client = client_of(connector, extensions=[last])
        running = asyncio.create_task(client.run())
        await asyncio.sleep(1)
        if hook in ("on_disconnect", "on_shutdown"):
            client.reconnect()
            await asyncio.sleep(1)
            await client.shutdown()
        await running
        assert asyncio.get_running_loop().time() < 3
        assert not any(wire.is_open for wire in connector.wires)

    client = None
    run_virtual(main())


@pytest.mark.parametrize("waits", [False, True])
def test_an_async_on_send_that_does_not_wait_serves_send_nowait_in_a_callback_too(waits):
    class Stamps(fastws.Extension):
        name = "stamps"
        handles_outgoing = True

        async def on_send(self, message, context):
            if waits:
                await asyncio.sleep(0)
            return f"{message}!"

    def send(told):
        try:
            client.send_nowait("order")
        except Exception as error:
            told.set_exception(error)
        else:
            told.set_result(None)

    async def main():
        nonlocal client
        loop, connector = asyncio.get_running_loop(), MemoryConnector()
        client = client_of(connector, extensions=[Stamps()])
        async with client:
            told = loop.create_future()
            loop.call_soon(send, told)
            if waits:
                with pytest.raises(TypeError, match="async on_send"):
                    await told
            else:
                await told
                assert connector.wires[0].sent == ["order!"]

    client = None
    run_virtual(main())
