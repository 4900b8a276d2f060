"""A connection that is replaced before the venue cuts it, on wires in memory (rotation.py)."""

import asyncio
import contextlib

import pytest

import fastws
from fastws.errors import DialError, InvalidStatus
from fastws.events import Connected, Connecting, Disconnected, Error, Ready
from fastws.extensions import Extension
from fastws.handshakes import Handshaker
from fastws.http import Headers, Response
from rotating import AGE, CONFIG, YOUNG, client_of, everything, publish, subscribing, venue
from virtual_time import run_virtual
from wires import URI, MemoryConnector


def test_with_a_key_a_change_of_connections_loses_nothing_repeats_nothing_and_marks_nothing():
    async def main():
        connector = MemoryConnector()
        client = client_of(connector, message_key=lambda message: message)
        items = []
        async with client:
            reading = asyncio.create_task(everything(client.stream(markers=True), items))
            await publish(connector, range(AGE + 100))
            snapshot = client.snapshot()
        await reading
        shutdown = items.pop()
        assert isinstance(shutdown, fastws.Down)
        assert [item.data for item in items] == [str(number) for number in range(AGE + 100)]
        assert [item.seq for item in items] == list(range(1, AGE + 101))
        assert {item.generation for item in items} == {1, 2}
        assert [item.generation for item in items] == sorted(item.generation for item in items)
        assert snapshot.generation == snapshot.id == 2
        assert connector.wires[0].closed_by_client == 1000
        assert len(connector.wires) == 2

    run_virtual(main())


def test_it_goes_on_from_one_age_to_the_next():
    async def main():
        connector = MemoryConnector()
        client = client_of(connector, message_key=lambda message: message)
        items = []
        async with client:
            reading = asyncio.create_task(everything(client.stream(), items))
            await publish(connector, range(4 * AGE + 100))
            assert client.snapshot().generation == 5
        await reading
        assert items == [str(number) for number in range(4 * AGE + 100)]

    run_virtual(main(), limit=10 * 24 * 3600)


def test_events_tell_that_the_new_one_was_ready_before_the_old_one_ended():
    async def main():
        connector = MemoryConnector()
        client = client_of(connector, message_key=lambda message: message)
        seen = []
        async with client:
            await asyncio.sleep(AGE - 10)
            client.on(None, seen.append)
            await publish(connector, range(20))
        interesting = [event for event in seen if isinstance(event, Connected | Ready | Disconnected)]
        assert [type(event).__name__ for event in interesting] == ["Connected", "Ready", "Disconnected", "Disconnected"]
        assert interesting[2].reason.kind == "rotation"

    run_virtual(main())


def test_without_a_key_the_change_is_marked_and_what_was_on_its_way_still_comes():
    async def main():
        connector = MemoryConnector()
        client = client_of(connector)
        async with client:
            stream = client.stream(markers=True)
            await asyncio.sleep(AGE - 1)
            connector.wires[0].deliver("old")
            second = await connector.wire(2)
            second.deliver("new")
            items = [await stream.recv() for _ in range(4)]
            assert [type(item).__name__ for item in items] == ["Message", "Down", "Outage", "Message"]
            assert items[1].reason.kind == "rotation"
            assert [items[0].data, items[3].data] == ["old", "new"]
            assert (items[2].old_generation, items[2].new_generation) == (1, 2)

    run_virtual(main())


def test_a_second_connection_that_fails_is_tried_again_while_the_first_one_lives():
    async def main():
        refused = DialError("refused", uri=URI, phase="tcp")
        connector = MemoryConnector(None, refused, refused)
        client = client_of(connector, message_key=lambda message: message)
        items, told = [], []
        client.on(None, told.append)
        async with client:
            reading = asyncio.create_task(everything(client.stream(), items))
            await publish(connector, range(AGE + 100))
            assert client.snapshot().generation == 2
            snapshot = client.snapshot()
            assert (snapshot.reconnect_count, snapshot.total_attempts, snapshot.error_count) == (1, 4, 2)
        await reading
        assert [event.attempt for event in told if isinstance(event, Error)] == [1, 2]
        assert [event.attempt for event in told if isinstance(event, Connecting)] == [1, 1, 2, 3]
        assert items == [str(number) for number in range(AGE + 100)]
        assert len(connector.attempts) == 4

    run_virtual(main())


@pytest.mark.parametrize(("age", "again"), [(AGE, 300), (600, 60), (20, 5)])
def test_a_change_that_was_given_up_is_tried_again_while_the_old_connection_lives(age, again, caplog):
    async def main():
        refused = DialError("refused", uri=URI, phase="tcp")
        connector = MemoryConnector(None, refused, refused, refused, refused)
        retry = fastws.FixedDelay(0.001).with_max_attempts(2)
        config = CONFIG.replace(max_connection_age=age)
        client = client_of(connector, config=config, retry=retry, message_key=lambda message: message)
        async with client:
            await asyncio.sleep(age + again - 1)
            assert len(connector.attempts) == 3
            await asyncio.sleep(again)
            assert len(connector.attempts) == 5
            assert client.snapshot().generation == 1
            await asyncio.sleep(again + 10)
            assert client.snapshot().generation == 2

    run_virtual(main())
    assert caplog.text.count(f"could not be replaced, and stays: refused; trying again in {again} s") == 2


def test_attempts_at_a_second_connection_wait_for_as_long_as_the_server_and_the_handshake_want():
    async def main():
        busy = InvalidStatus("503", uri=URI, response=Response(503, "Busy", Headers([("Retry-After", "30")])))
        connector = MemoryConnector(None, busy, busy)
        client = client_of(connector, config=YOUNG, retry=fastws.FixedDelay(1), message_key=lambda message: message)
        at = []
        client.on(Connecting, lambda event: at.append(asyncio.get_running_loop().time()))
        async with client:
            await asyncio.sleep(130)
        assert at[:4] == pytest.approx([0, 60, 90, 120], abs=0.1)

        class Fails(Handshaker):
            name = "fails"

            async def handshake(self, channel, context):
                if context.connection_id in (2, 3):
                    raise fastws.HandshakeError("not yet", retryable=True)

        at.clear()
        config = YOUNG.replace(handshake_retry_delay=20)
        client = client_of(MemoryConnector(), config=config, retry=fastws.FixedDelay(1), handshake=Fails())
        client.on(Connecting, lambda event: at.append(asyncio.get_running_loop().time()))
        started = asyncio.get_running_loop().time()
        async with client:
            await asyncio.sleep(110)
        assert [moment - started for moment in at[:4]] == pytest.approx([0, 60, 80, 100], abs=0.1)

    run_virtual(main())


def test_a_stream_of_events_begins_with_the_clients_own_state_whatever_another_connection_does():
    async def main():
        connector = MemoryConnector(None, None, DialError("refused", uri=URI, phase="tcp"))
        retry = fastws.FixedDelay(10)
        client = client_of(connector, config=YOUNG, retry=retry, message_key=lambda message: message)
        async with client:
            client.stream()
            assert await anext(client.events()) == Ready(1, 1)
            await asyncio.sleep(75)
            assert client.snapshot().generation == 2
            assert await anext(client.events()) == Ready(2, 2)
            await asyncio.sleep(55)
            assert len(connector.attempts) == 3
            assert await anext(client.events()) == Ready(2, 2)

    run_virtual(main())


def test_a_reconnect_does_not_wait_for_a_second_connection_that_was_being_made_ready():
    async def main():
        class Hangs(Handshaker):
            name = "hangs"

            async def handshake(self, channel, context):
                if context.connection_id == 2:
                    await asyncio.Event().wait()

        def slow(wire):
            async def close(code=1000, reason=""):
                await asyncio.sleep(50)

            wire.close = close

        connector = MemoryConnector(None, slow)
        client = client_of(connector, config=YOUNG, retry=fastws.FixedDelay(1), handshake=Hangs())
        at = []
        client.on(Connecting, lambda event: at.append(asyncio.get_running_loop().time()))
        async with client:
            await asyncio.sleep(62)
            connector.wires[0].reset()
            await asyncio.sleep(5)
            assert client.is_ready
        assert at == pytest.approx([0, 60, 63], abs=0.1)

    run_virtual(main())


def test_an_old_connection_that_ends_meanwhile_is_an_outage_like_any_other():
    async def main():
        connector = MemoryConnector(None, lambda wire: asyncio.sleep(5))
        client = client_of(connector, message_key=lambda message: message)
        async with client:
            stream = client.stream(markers=True)
            await asyncio.sleep(AGE + 1)
            connector.wires[0].reset()
            down, outage = [await stream.recv() for _ in range(2)]
            assert isinstance(down, fastws.Down)
            assert isinstance(outage, fastws.Outage)
            assert down.reason.kind == "error"
            assert client.is_ready

    run_virtual(main())


def test_a_shutdown_in_the_middle_of_a_change_leaves_nothing_open():
    async def main():
        connector = MemoryConnector()
        client = client_of(connector, message_key=lambda message: message)
        async with client:
            await asyncio.sleep(AGE + 1)
            assert len(connector.wires) == 2
        assert not any(wire.is_open for wire in connector.wires)

    run_virtual(main())


def test_a_shutdown_in_the_very_turn_of_the_change_is_a_shutdown(caplog):
    async def main():
        for turns in range(12):
            connector = MemoryConnector()
            client = client_of(connector, message_key=lambda message: message)
            items = []
            async with client:
                reading = asyncio.create_task(everything(client.stream(), items))
                await asyncio.sleep(AGE + 1)
                first, second = connector.wires
                first.deliver("1")
                await asyncio.sleep(0.01)
                second.deliver("1")
                for _ in range(turns):
                    await asyncio.sleep(0)
            await reading
            assert items == ["1"]
            assert not first.is_open
            assert not second.is_open

    run_virtual(main(), limit=48 * 3600)
    assert not [record for record in caplog.records if record.exc_info]


def test_a_stream_that_is_full_at_the_very_change_costs_nothing():
    async def main():
        connector = MemoryConnector()
        config = fastws.ClientConfig(receive_timeout=None, ping_interval=None, max_connection_age=AGE, queue_messages=4)
        client = client_of(connector, config=config, message_key=lambda message: message)
        items = []
        async with client:
            stream = client.stream(markers=True)
            for number in range(3):
                connector.wires[0].deliver(str(number))
            await asyncio.sleep(AGE + 1)
            assert len(connector.wires) == 2
            for number in range(3, 9):
                for wire in connector.wires:
                    wire.deliver(str(number))
                await asyncio.sleep(0.1)
            reading = asyncio.create_task(everything(stream, items))
            await asyncio.sleep(20)
            snapshot = client.snapshot()
        await reading
        assert [item.data for item in items[:-1]] == [str(number) for number in range(9)]
        assert snapshot.generation == 2
        assert len(connector.wires) == 2

    run_virtual(main())


def test_a_client_that_is_cancelled_while_the_second_connection_is_made_ready_leaves_nothing_open():
    class Slow(Handshaker):
        name = "slow"

        async def handshake(self, channel, context):
            if context.connection_id == 2:
                await asyncio.sleep(1000)

    async def main():
        connector = MemoryConnector()
        client = client_of(connector, handshake=Slow())
        running = asyncio.create_task(client.run())
        second = await connector.wire(2)
        await asyncio.sleep(1)
        assert client.is_ready
        assert second.is_open
        running.cancel()
        await asyncio.wait([running])
        assert [wire.is_open for wire in connector.wires] == [False, False]

    run_virtual(main())


def test_an_extension_that_fails_at_the_change_ends_the_new_session_and_the_client_goes_on():
    class Failing(Extension):
        name = "failing"
        connects = 0

        async def on_connect(self, context):
            self.connects += 1
            if self.connects == 2:
                raise RuntimeError("not this one")

    async def main():
        connector = MemoryConnector()
        extension = Failing()
        config = fastws.ClientConfig(
            receive_timeout=None, ping_interval=None, max_connection_age=AGE, processor_error_policy="disconnect"
        )
        client = client_of(connector, config=config, extensions=[extension])
        async with client:
            await connector.wire(3)
            await asyncio.sleep(2)
            assert client.is_ready
            assert extension.connects == 3
            assert [wire.is_open for wire in connector.wires] == [False, False, True]

    run_virtual(main())


def test_subscriptions_that_change_during_a_change_of_connections_reach_the_new_one():
    async def main():
        connector = MemoryConnector(then=venue)
        client = client_of(connector, message_key=lambda message: message)
        for key in ("a", "b"):
            subscribing(client, key)
        async with client:
            await asyncio.sleep(AGE + 1)
            old, new = connector.wires
            assert new.sent == ["sub a", "sub b"]
            subscribing(client, "c")
            client.subscriptions.remove("b")
            await client.subscriptions.confirmed("c")
            assert old.sent == ["sub a", "sub b", "sub c", "unsub b"]
            for wire in (old, new):
                wire.deliver("proof")
            await asyncio.sleep(0.1)
            assert client.snapshot().generation == 2
            assert new.sent == ["sub a", "sub b", "unsub b", "sub c"]
            await client.subscriptions.confirmed("c")
            assert client.subscriptions.states() == {"a": "confirmed", "c": "confirmed"}


def test_a_second_connection_that_fails_behind_its_subscriptions_changes_nothing_for_the_first():
    def resets(wire):
        wire.on_send = lambda wire, message: wire.reset()

    async def main():
        connector = MemoryConnector(venue, resets, resets, venue)
        client = client_of(connector)
        subscribing(client, "a")
        async with client:
            waiting = []
            client.on(Connected, lambda event: waiting.append(client.subscriptions.states()))
            await connector.wire(4)
            await asyncio.sleep(0.1)
            assert waiting == [{"a": "confirmed"}] * 3
            assert client.subscriptions.states() == {"a": "confirmed"}
            assert client.snapshot().generation == 2

    run_virtual(main())


def test_a_second_connection_that_dies_before_it_takes_over_is_followed_by_another(caplog):
    async def main():
        connector = MemoryConnector()
        client = client_of(connector, message_key=lambda message: message)
        items = []
        async with client:
            reading = asyncio.create_task(everything(client.stream(markers=True), items))
            second = await connector.wire(2)
            await asyncio.sleep(1)
            second.deliver("only here")
            second.reset()
            third = await connector.wire(3)
            for wire in (connector.wires[0], third):
                wire.deliver("1")
            await asyncio.sleep(1)
            assert client.snapshot().generation == 2
        await reading
        assert [item.data for item in items[:-1]] == ["1"]

    run_virtual(main())
    assert "could not be" not in caplog.text


@pytest.mark.parametrize("message_key", [None, str])
def test_a_second_connection_that_dies_while_the_change_waits_leaves_the_first_alone(message_key):
    async def main():
        connector = MemoryConnector()
        client = client_of(connector, message_key=message_key)
        told, items = [], []
        client.on(Disconnected, told.append)
        async with client:
            reading = asyncio.create_task(everything(client.stream(markers=True), items))
            asking = asyncio.create_task(client.request("?", match=lambda message: message == "!", timeout=None))
            second = await connector.wire(2)
            first = connector.wires[0]
            for wire in (first, second):
                wire.deliver("1")  # with a key: the proof
            await asyncio.sleep(1)
            second.reset()  # while an answer is awaited
            third = await connector.wire(3)
            assert first.is_open
            assert client.snapshot().generation == 1
            assert told == []
            first.deliver("!")
            assert await asking == "!"
            for wire in (first, third):
                wire.deliver("2")
            await asyncio.sleep(10)
            assert client.snapshot().generation == 2
            assert not first.is_open
            assert third.is_open
            assert client.stats().errors == 1
        await reading
        kinds = [getattr(item, "data", type(item).__name__) for item in items]
        if message_key is not None:
            assert kinds == ["1", "!", "2", "Down"]
        else:
            assert kinds[:2] == ["1", "!"]

    run_virtual(main())


def test_a_connector_that_cannot_be_cancelled_does_not_keep_a_shutdown_waiting(caplog):
    class Stubborn(MemoryConnector):
        async def connect(self, uri, options):
            if self.wires:
                while not gate.done():
                    with contextlib.suppress(asyncio.CancelledError):
                        await asyncio.shield(gate)
                raise DialError("refused", uri=URI, phase="tcp")
            return await super().connect(uri, options)

    async def main():
        nonlocal gate
        loop = asyncio.get_running_loop()
        gate = loop.create_future()
        client = client_of(Stubborn())
        async with client:
            await asyncio.sleep(AGE + 1)
            before = loop.time()
            await client.shutdown(timeout=1)
            assert loop.time() - before < 2
        assert "Stubborn.connect does not end" in caplog.text
        gate.set_result(None)
        await asyncio.sleep(0.1)

    gate = None
    run_virtual(main())


def test_a_connector_that_cannot_be_cancelled_does_not_keep_a_reconnect_waiting():
    class Stubborn(MemoryConnector):
        dials = 0

        async def connect(self, uri, options):
            self.dials += 1
            while self.dials == 2 and not gate.done():
                with contextlib.suppress(asyncio.CancelledError):
                    await asyncio.shield(gate)
            return await super().connect(uri, options)

    async def main():
        nonlocal gate
        gate, connector = asyncio.get_running_loop().create_future(), Stubborn()
        client = client_of(connector, config=CONFIG.replace(open_timeout=None))
        async with client:
            await asyncio.sleep(AGE + 1)
            connector.wires[0].reset()
            await asyncio.sleep(2)
            assert connector.dials == 3
            assert client.is_ready
            gate.set_result(None)
            await asyncio.sleep(1)
            assert [wire.is_open for wire in connector.wires] == [False, True, False]  # one came too late

    gate = None
    run_virtual(main())
