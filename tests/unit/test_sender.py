"""What a client and its handles send, on wires in memory (sender.py)."""

import asyncio

import pytest

from fastws.errors import ConnectionLost, NotConnected, RequestTimeout
from virtual_time import run_virtual
from wires import QUIET, MemoryConnector, client_of


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
