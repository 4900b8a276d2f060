"""A session that another one has replaced, while it closes, on wires in memory (_former.py)."""

import asyncio
import gc

import pytest

from fastws.errors import SendQueueFull
from fastws.events import Disconnected, Ready
from fastws.session import Session
from rotating import AGE, CONFIG, YOUNG, client_of, publish
from virtual_time import run_virtual
from wires import MemoryConnector, MemoryWire


@pytest.mark.parametrize("message_key", [str, None])
def test_a_session_that_was_replaced_does_not_live_on(message_key):
    async def main():
        connector = MemoryConnector()
        client = client_of(connector, config=YOUNG, message_key=message_key)
        async with client:
            await publish(connector, range(400))
            await asyncio.wait([client._rotating])
            assert len(connector.wires) > 5
            gc.collect()
            sessions = [each for each in gc.get_objects() if isinstance(each, Session)]
            assert [each for each in sessions if each._parts is client._parts] == [client._session]

    run_virtual(main())


class ClosesSlowly(MemoryConnector):
    """Its first wire never comes to the end of its close(); what was sent meanwhile is in `late`."""

    class Wire(MemoryWire):
        async def close(self, code=1000, reason=""):
            await asyncio.sleep(60)

    async def connect(self, uri, options):
        await super().connect(uri, options)
        if len(self.wires) == 1:
            self.wires[0] = self.Wire(uri, options)
        return self.wires[-1]


async def changed(connector, client):
    """Both lines have brought the same, and the new one has just taken over."""
    await asyncio.sleep(AGE + 1)
    for wire in connector.wires:
        wire.deliver("1")
    while client.snapshot().generation == 1:
        await asyncio.sleep(0.01)


def test_a_new_connection_that_dies_while_the_old_one_still_closes_is_down_at_once():
    async def main():
        connector = ClosesSlowly()
        client = client_of(connector, message_key=str)
        loop, items = asyncio.get_running_loop(), []

        async def read():
            items.extend([(loop.time(), item) async for item in client.stream(markers=True)])

        async with client:
            reading = asyncio.create_task(read())
            await changed(connector, client)
            died = loop.time()
            connector.wires[0].deliver("2")  # received, and not read yet
            connector.wires[1].reset()
            await asyncio.sleep(0.001)
            assert not client.is_ready
            assert connector.wires[0].closed_by_client == "abort"
            await connector.wire(3)
            assert connector.attempts[2] == died + 1
            await asyncio.sleep(1)
        await reading
        shown = [(at, getattr(item, "data", type(item).__name__)) for at, item in items]
        assert shown[1:4] == [(died, "2"), (died, "Down"), (died + 1, "Outage")]

    run_virtual(main())


@pytest.mark.parametrize("ends", ["shutdown", "cancel"])
def test_an_end_while_the_old_connection_still_closes_leaves_nothing(ends):
    async def main():
        connector = ClosesSlowly()
        client = client_of(connector, message_key=str)
        stream, told = client.stream(markers=True), []
        client.on(Disconnected, lambda event: told.append(event.reason.kind))
        running = asyncio.create_task(client.run())
        await changed(connector, client)
        before = asyncio.get_running_loop().time()
        if ends == "shutdown":
            await client.shutdown()
        else:
            running.cancel()
        await asyncio.wait([running])
        assert asyncio.get_running_loop().time() - before <= 2
        assert not any(wire.is_open for wire in connector.wires)
        assert told == ["rotation", "shutdown"]
        assert [type(item).__name__ async for item in stream] == ["Message", "Down"]

    run_virtual(main())  # which fails if a task is left


@pytest.mark.parametrize("times", [2, 3])
@pytest.mark.parametrize("moment", ["at the change", "while it closes"])
def test_what_the_old_connection_was_sending_is_told_though_the_end_is_cancelled_once_more(moment, times):
    class NeverSent(ClosesSlowly.Wire):
        def send_nowait(self, message, text=None):
            raise SendQueueFull("no room")

        async def send(self, message, text=None):
            await asyncio.sleep(10 * AGE)

    class Connector(ClosesSlowly):
        Wire = NeverSent

    async def main():
        connector = Connector()
        client = client_of(connector, message_key=str, config=CONFIG.replace(on_disconnect_send="keep"))
        stream, told = client.stream(markers=True), []
        client.on(Disconnected, told.append)
        await client.send("order")
        running = asyncio.create_task(client.run())
        if moment == "at the change":
            client.on(Ready, lambda event: event.generation == 2 and running.cancel())
        await changed(connector, client)
        for _ in range(times):
            running.cancel()
            await asyncio.sleep(0.001)
        with pytest.raises(asyncio.CancelledError):
            await running
        assert [event.reason.kind for event in told] == ["rotation", "shutdown"]
        assert [(each.message, each.outcome) for each in told[0].unsent] == [("order", "maybe_sent")]
        assert not any(wire.is_open for wire in connector.wires)
        assert [type(item).__name__ async for item in stream] == ["Message", "Down"]

    run_virtual(main())
