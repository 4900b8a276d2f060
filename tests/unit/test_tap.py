"""What a tap is told, and that it disturbs nobody (_tap.py)."""

import asyncio

import pytest

import fastws
from fastws.errors import NotSent
from fastws.handshakes import Handshaker
from virtual_time import run_virtual
from wires import QUIET, URI, Failing, MemoryConnector, client_of, refused


class Login(Handshaker):
    name = "login"

    async def handshake(self, channel, context):
        await channel.send("secret")


def confirming(wire):
    """Confirms what is subscribed to, behind a message that is nobody's answer."""

    def on_send(wire, message):
        if isinstance(message, str) and message.startswith("sub "):
            wire.deliver("price", f"ok {message[4:]}")

    wire.on_send = on_send


def told_of(told):
    return [(direction, data) for direction, _, data in told]


@pytest.fixture
def told():
    return []


@pytest.fixture
def tap(told):
    return lambda *event: told.append(event)


def test_it_is_told_what_a_connection_accepts_as_it_is_on_the_wire(tap, told):
    async def main():
        client = client_of(MemoryConnector(), tap=tap)
        async with client:
            await client.send("text")
            client.send_nowait(bytearray(b"binary"))
            await client.send_json({"a": 1})
            await client.send("as binary", text=False)
            await client.send_many(["x", b"y"])
        assert told_of(told) == [
            ("open", URI),
            ("out", "text"),
            ("out", b"binary"),
            ("out", '{"a":1}'),
            ("out", b"as binary"),
            ("out", "x"),
            ("out", b"y"),
        ]
        assert all(isinstance(at_ns, int) and at_ns > 10**18 for _, at_ns, _ in told)

    run_virtual(main())


def test_what_was_dropped_expired_or_stopped_was_not_sent(tap, told):
    class Stops(fastws.Extension):
        name = "stops"
        handles_outgoing = True

        def on_send(self, message, context):
            return None if message == "stopped" else message

    async def main():
        for policy in ("drop", "keep"):
            connector = MemoryConnector(refused())
            client = client_of(
                connector, config=QUIET.replace(on_disconnect_send=policy), tap=tap, extensions=[Stops()]
            )
            running = asyncio.create_task(client.run())
            await asyncio.sleep(0.1)
            client.send_nowait("stopped")
            await client.send("stopped")
            await client.send("expires", expires=0.1)
            await client.send("kept")
            assert told == []
            await client.wait_ready()
            await asyncio.sleep(0.1)
            assert told_of(told) == [("open", URI), *([("out", "kept")] if policy == "keep" else [])]
            await client.shutdown()
            await running
            told.clear()

    run_virtual(main())


def test_what_subscribes_is_told_and_handshakes_are_not(tap, told):
    async def main():
        connector = MemoryConnector(then=confirming)
        client = client_of(connector, tap=tap, handshake=Login())
        client.subscriptions.add("a", message="sub a", unsubscribe="unsub a", ack=lambda message: message == "ok a")
        async with client, client.stream() as stream:
            assert await stream.recv() == "price"
            client.subscriptions.add("b", message={"op": "sub b"})
            client.subscriptions.remove("a")
            await asyncio.sleep(0.1)
            connector.wires[0].deliver("late")
            assert await stream.recv() == "late"
        assert "secret" in str(connector.wires[0].sent)
        assert told_of(told[:3]) == [("open", URI), ("out", "sub a"), ("in", "price")]
        assert told_of(told[3:]) == [("out", '{"op":"sub b"}'), ("out", "unsub a"), ("in", "late")]

    run_virtual(main())


def test_each_connection_is_told_of_without_its_secrets(tap, told):
    async def main():
        connector = MemoryConnector()
        client = fastws.WebSocketClient(
            "ws://user:secret@venue.example/feed?token=secret",
            connector=connector,
            config=QUIET,
            retry=fastws.FixedDelay(1),
            handshake=Failing(fastws.HandshakeError("no")),
            tap=tap,
        )
        async with client:
            connector.wires[1].reset()
            await connector.wire(3)
            await client.wait_ready()
        assert [direction for direction, _, _ in told] == ["open"] * 3
        assert all("venue.example/feed" in uri and "secret" not in uri for _, _, uri in told)

    run_virtual(main())


def test_what_it_raises_is_logged_now_and_then_and_reaches_nobody(caplog):
    def full(direction, at_ns, data):
        raise OSError("disk full")

    async def main():
        connector = MemoryConnector(then=confirming)
        client = client_of(connector, tap=full, config=QUIET.replace(on_disconnect_send="keep"))
        client.subscriptions.add("a", message="sub a", ack=lambda message: message == "ok a")
        async with client, client.stream() as stream:
            await client.send("order 1")
            client.send_nowait("order 2")
            receipt = await client.send("order 3", receipt=True)
            await receipt
            connector.wires[0].deliver("tick")
            assert [await stream.recv() for _ in range(2)] == ["price", "tick"]
            assert client.subscriptions.states() == {"a": "confirmed"}
        assert connector.wires[0].sent == ["sub a", "order 1", "order 2", "order 3"]
        assert [record.message for record in caplog.records] == [
            f"the tap {full.__qualname__} raised, 1 times by now: OSError('disk full')"
        ]

    run_virtual(main())


def test_what_ends_the_program_is_raised():
    def interrupted(direction, at_ns, data):
        if direction == "out":
            raise KeyboardInterrupt

    async def main():
        client = client_of(MemoryConnector(), tap=interrupted)
        async with client:
            with pytest.raises(KeyboardInterrupt):
                client.send_nowait("x")

    run_virtual(main())


def test_a_receipt_of_what_was_dropped_says_so_and_the_tap_says_nothing(tap, told):
    async def main():
        client = client_of(MemoryConnector(then=refused()), config=QUIET.replace(on_disconnect_send="drop"), tap=tap)
        running = asyncio.create_task(client.run())
        await asyncio.sleep(0.1)
        receipt = await client.send("x", receipt=True)
        with pytest.raises(NotSent, match="drop"):
            await receipt
        assert told == []
        await client.shutdown()
        await running

    run_virtual(main())
