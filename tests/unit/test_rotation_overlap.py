"""While one connection replaces another: what proves that they overlap, and what of both comes (rotation.py)."""

import asyncio
import gc

import pytest

import fastws
from fastws.dedupe import Deduplicator
from fastws.extensions import Extension
from fastws.rotation import MOST_LOOKS
from rotating import AGE, CONFIG, YOUNG, Slow, client_of, everything, publish, subscribing, venue
from virtual_time import run_virtual
from wires import MemoryConnector, MemoryWire, refused


def test_an_overlap_that_cannot_be_proven_is_marked():
    async def main():
        connector = MemoryConnector()
        client = client_of(connector, message_key=lambda message: message)
        async with client:
            stream = client.stream(markers=True)
            await asyncio.sleep(AGE - 1)
            second = await connector.wire(2)
            connector.wires[0].deliver("a")
            second.deliver("b")
            items = [await stream.recv() for _ in range(4)]
            assert [type(item).__name__ for item in items] == ["Message", "Down", "Outage", "Message"]
            assert [items[0].data, items[3].data] == ["a", "b"]

    run_virtual(main())


def test_a_key_that_fails_costs_the_proof_and_no_message(caplog):
    def key(message):
        raise LookupError("no number in it")

    async def main():
        connector = MemoryConnector()
        client = client_of(connector, message_key=key)
        async with client:
            stream = client.stream(markers=True)
            await asyncio.sleep(AGE - 1)
            second = await connector.wire(2)
            for number in range(3):
                connector.wires[0].deliver(f"old {number}")
                second.deliver(f"new {number}")
            items = [await stream.recv() for _ in range(8)]
            assert [item.data for item in items if isinstance(item, fastws.Message)] == [
                *(f"old {number}" for number in range(3)),
                *(f"new {number}" for number in range(3)),
            ]
            assert [type(item).__name__ for item in items[3:5]] == ["Down", "Outage"]
            assert items[3].reason.kind == "rotation"

    run_virtual(main())
    assert len([record for record in caplog.records if "no number in it" in record.getMessage()]) == 1


def test_what_is_held_of_the_new_line_has_a_bound_and_is_an_outage_beyond_it(monkeypatch):
    monkeypatch.setattr(fastws.rotation, "MAX_HELD", 10)

    async def main():
        connector = MemoryConnector()
        client = client_of(connector, message_key=lambda message: message)
        async with client:
            stream = client.stream(markers=True)
            await asyncio.sleep(AGE + 1)
            began = asyncio.get_running_loop().time()
            for number in range(20):
                connector.wires[1].deliver(str(number))
            items = [await stream.recv() for _ in range(22)]
            assert [type(item).__name__ for item in items[:2]] == ["Down", "Outage"]
            assert [item.data for item in items[2:]] == [str(number) for number in range(20)]
            assert asyncio.get_running_loop().time() - began < 1

    run_virtual(main())


def test_what_both_lines_bring_while_the_new_one_is_made_ready_comes_once():
    async def main():
        connector = MemoryConnector()
        client = client_of(connector, config=YOUNG, message_key=str, handshake=Slow())
        items = []
        async with client:
            reading = asyncio.create_task(everything(client.stream(), items))
            await publish(connector, range(100))
            assert client.snapshot().generation == 2
        await reading
        assert items == [str(number) for number in range(100)]

    run_virtual(main())


def test_what_comes_before_every_subscription_is_confirmed_is_no_proof_for_all_of_them():
    async def main():
        connector = MemoryConnector(venue)
        client = client_of(connector, message_key=lambda message: message if "ok" not in message else None)
        subscribing(client, "a")
        subscribing(client, "b")
        items = []
        async with client:
            reading = asyncio.create_task(everything(client.stream(markers=True), items))
            await asyncio.sleep(AGE + 0.1)
            old, new = await connector.wire(1), await connector.wire(2)
            new.deliver("ok a")
            for wire in (old, new):
                wire.deliver("a 1")  # b is not on the new line yet
            old.deliver("b 1")
            await asyncio.sleep(0.1)
            new.deliver("ok b")
            await asyncio.sleep(0.1)
            old.deliver("b 2")
            assert client.snapshot().generation == 1
            for wire in (old, new):
                wire.deliver("a 2")
            await asyncio.sleep(0.1)
            assert client.snapshot().generation == 2
        await reading
        assert [item.data for item in items[:-1] if "ok" not in item.data] == ["a 1", "b 1", "b 2", "a 2"]

    run_virtual(main())


def test_a_feed_that_is_silent_on_a_connection_that_cannot_ping_is_marked():
    async def main():
        connector = MemoryConnector()
        client = client_of(connector, message_key=lambda message: message)
        async with client:
            stream = client.stream(markers=True)
            await asyncio.sleep(AGE + 10)
            assert [type(await stream.recv()).__name__ for _ in range(2)] == ["Down", "Outage"]

    run_virtual(main())


def test_what_the_old_connection_still_brings_is_not_lost_though_the_new_one_dies():
    async def main():
        connector = MemoryConnector()
        client = client_of(connector, message_key=lambda message: message)
        items = []
        async with client:
            reading = asyncio.create_task(everything(client.stream(markers=True), items))
            await asyncio.sleep(AGE + 1)
            old, new = connector.wires
            close = old.close

            async def slow(code=1000, reason=""):
                await asyncio.sleep(0.5)
                old.deliver("4", "5")  # on its way when the client's Close arrived
                await close(code, reason)

            old.close = slow
            for wire in connector.wires:
                wire.deliver("1", "2")
            new.deliver("3")
            old.deliver("3")
            await asyncio.sleep(0.1)
            assert client.snapshot().generation == 2
            new.deliver("4")
            await asyncio.sleep(1)
            new.reset()
            await asyncio.sleep(3)
        await reading
        kinds = [item.data if isinstance(item, fastws.Message) else type(item).__name__ for item in items]
        assert kinds == ["1", "2", "3", "4", "5", "Down", "Outage", "Down"]

    run_virtual(main())


@pytest.mark.parametrize("message_key", [str, None])
def test_taps_and_extensions_see_what_the_new_line_brings_before_it_takes_over(message_key):
    class Seeing(Extension):
        name = "seeing"
        handles_messages = True

        def on_message(self, message, context):
            return f"{message}!"

    async def main():
        connector, tapped = MemoryConnector(), []
        tap = lambda direction, received_ns, data: direction == "in" and tapped.append(data)  # noqa: E731 - one line
        client = client_of(
            connector, config=YOUNG, message_key=message_key, extensions=[Seeing()], tap=tap, handshake=Slow()
        )
        items = []
        async with client:
            reading = asyncio.create_task(everything(client.stream(), items))
            second = await connector.wire(2)
            second.deliver("1")
            await asyncio.sleep(4)
            for wire in connector.wires:
                if wire.is_open:
                    wire.deliver("2")
            await asyncio.sleep(10)
        await reading
        assert sorted(items) == ["1!", "2!"]
        assert sorted(tapped) == ["1", "2"]

    run_virtual(main())


def test_an_answer_that_comes_on_the_old_line_while_that_closes_still_comes():
    class Closing(MemoryWire):
        async def close(self, code=1000, reason=""):
            if self.is_open:
                self.deliver("answer")
            await super().close(code, reason)

    class Connector(MemoryConnector):
        async def connect(self, uri, options):
            await super().connect(uri, options)
            self.wires[-1] = Closing(uri, options)
            return self.wires[-1]

    async def main():
        connector = Connector()
        client = client_of(connector, config=YOUNG, message_key=lambda message: message if message.isdigit() else None)
        items = []
        async with client:
            reading = asyncio.create_task(everything(client.stream(), items))
            await publish(connector, range(100))
            assert client.snapshot().generation == 2
            assert sorted(item for item in items if item.isdigit()) == sorted(str(n) for n in range(100))
            assert "answer" in items
        await reading

    run_virtual(main())


def test_a_reader_that_is_always_behind_does_not_keep_the_next_change_from_happening():
    async def main():
        connector = MemoryConnector()
        config = CONFIG.replace(max_connection_age=120, queue_messages=8)
        client = client_of(connector, config=config, message_key=lambda message: message)

        async def slowly(stream):
            async for _ in stream:
                await asyncio.sleep(1)

        async with client:
            reading = asyncio.create_task(slowly(client.stream()))
            await publish(connector, range(2400), every=0.4)
            assert client.snapshot().generation >= 3
            assert sum(wire.is_open for wire in connector.wires) <= 2
        reading.cancel()
        await asyncio.wait([reading])

    run_virtual(main())


def test_what_both_lines_brought_comes_once_though_the_new_one_ends_before_streams_were_read():
    class Slowly(MemoryWire):
        left = ()

        async def close(self, code=1000, reason=""):
            await asyncio.sleep(1)
            self.deliver(*self.left)  # on its way when the client's Close arrived
            await super().close(code, reason)

    async def main():
        connector = MemoryConnector()
        connector.make = Slowly
        config = CONFIG.replace(max_connection_age=120, queue_messages=4)
        client = client_of(connector, config=config, message_key=lambda message: message)
        numbers, items = [str(number) for number in range(10)], []
        async with client:
            stream = client.stream(markers=True)
            old, new = await connector.wire(1), await connector.wire(2)
            old.left = numbers[3:8]
            old.deliver(*numbers[:3])
            new.deliver(*numbers)
            # The new line's first message that the old one had not brought fills the streams; the others wait behind.
            await asyncio.sleep(config.rotation_overlap * MOST_LOOKS)
            assert client.snapshot().generation == 2
            assert not old.is_open
            client.reconnect()
            await asyncio.sleep(0.5)
            reading = asyncio.create_task(everything(stream, items))
            await asyncio.sleep(10)
        await reading
        kinds = [item.data if isinstance(item, fastws.Message) else type(item).__name__ for item in items]
        assert kinds == [*numbers, "Down", "Outage", "Down"]

    run_virtual(main())


def test_what_both_lines_brought_is_forgotten_with_the_new_one():
    async def main():
        connector = MemoryConnector()
        client = client_of(connector, config=YOUNG, message_key=lambda message: message)
        async with client:
            reading = asyncio.create_task(everything(client.stream(), []))
            await connector.wire(2)
            for wire in connector.wires:
                wire.deliver("1")
            await asyncio.sleep(1)
            assert client.snapshot().generation == 2
            assert deduplicators_alive() == 1
            connector.then = refused()
            connector.wires[1].reset()
            await asyncio.sleep(1)
            assert not client.is_ready
            assert deduplicators_alive() == 0
        await reading

    run_virtual(main())


def deduplicators_alive():
    gc.collect()
    return sum(isinstance(each, Deduplicator) for each in gc.get_objects())


def test_an_extension_that_is_slow_does_not_keep_the_next_change_from_happening():
    class Closing(Extension):
        name = "closing"

        async def on_disconnect(self, context, reason):
            await asyncio.sleep(1)

    async def main():
        connector = MemoryConnector()
        client = client_of(connector, config=YOUNG, message_key=lambda message: message, extensions=[Closing()])
        async with client:
            reading = asyncio.create_task(everything(client.stream(), []))
            await publish(connector, range(400), every=0.4)
            assert client.snapshot().generation == 3
        await reading

    run_virtual(main())


def test_messages_without_a_key_prove_nothing():
    async def main():
        connector = MemoryConnector()
        client = client_of(connector, message_key=lambda message: None)
        async with client:
            stream = client.stream(markers=True)
            await asyncio.sleep(AGE - 1)
            reading = asyncio.create_task(publish(connector, range(20)))
            kinds = [type(await stream.recv()).__name__ for _ in range(20)]
            assert {"Down", "Outage"} < set(kinds)
            await reading

    run_virtual(main())
