"""The faults of the model that a session could have, on wires in memory (session.py, client.py)."""

import asyncio

import pytest

import fastws
from fastws.errors import MaybeSent, NotConnected, RetriesExhausted, SendQueueFull
from fastws.events import Disconnected
from virtual_time import run_virtual
from wires import QUIET, MemoryConnector, client_of


def stall(wire):
    """The peer reads nothing any more: no message finds room."""

    def full(message, text=None):
        raise SendQueueFull("full", message=message)

    async def never(message, text=None):
        await asyncio.Event().wait()

    wire.send_nowait, wire.send = full, never


def deaf(wire):
    """Its abort is heard by nobody: what comes later can be read too."""
    wire.abort = lambda: None


def test_fault_06_a_peer_that_reads_nothing_is_cut_by_its_silence_and_senders_are_told():
    async def main():
        connector = MemoryConnector(stall)
        client = client_of(connector, config=fastws.ClientConfig(receive_timeout=20, ping_interval=None))
        ends = []
        client.on(Disconnected, ends.append)
        loop = asyncio.get_running_loop()
        async with client:
            sending = asyncio.create_task(client.send("no room"))
            with pytest.raises(MaybeSent):  # what the wire made of it, it did not say
                await sending
            assert loop.time() == pytest.approx(20, abs=0.2)
            assert ends[0].reason.kind == "receive_timeout"
            assert not client.is_connected
            await client.wait_ready()
            await client.send("again")
            assert connector.wires[1].sent == ["again"]

    run_virtual(main())


def test_fault_06_a_peer_that_reads_nothing_does_not_hold_up_a_shutdown():
    async def main():
        connector = MemoryConnector(stall)
        client = client_of(connector)
        loop = asyncio.get_running_loop()
        async with client:
            sending = asyncio.create_task(client.send("no room"))
            await asyncio.sleep(1)
            before = loop.time()
            await client.shutdown(timeout=3)
            assert loop.time() - before <= 3.1
            with pytest.raises(MaybeSent):
                await sending

    run_virtual(main())


def test_fault_06_what_waits_for_a_peer_that_reads_nothing_is_given_up_at_the_deadline_and_reported():
    async def main():
        connector = MemoryConnector()
        client = client_of(connector, rate_limit=fastws.RateLimit(1, 1, burst=1))
        loop = asyncio.get_running_loop()
        async with client:
            client.send_nowait("takes the token")
            stall(connector.wires[0])
            client.send_nowait("waits for a token, then for room")
            await asyncio.sleep(2)
            before = loop.time()
            with pytest.raises(fastws.ShutdownTimeout) as raised:
                await client.shutdown(timeout=3)
            assert loop.time() - before == pytest.approx(3, abs=0.1)
            assert [(unsent.message, unsent.outcome) for unsent in raised.value.unsent] == [
                ("waits for a token, then for room", "maybe_sent")
            ]

    run_virtual(main())


@pytest.mark.parametrize("end", ["reset", "reconnect", "silence"])
def test_fault_07_nothing_of_an_old_connection_is_among_the_messages_of_the_new_one(end):
    async def main():
        connector = MemoryConnector(deaf)
        client = client_of(connector, config=QUIET.replace(data_timeout=60))
        async with client:
            with client.stream(markers=True) as stream:
                old = connector.wires[0]
                old.deliver("old")
                if end == "reset":
                    old.reset()
                elif end == "reconnect":
                    client.reconnect()
                new = await connector.wire(2)
                old.deliver(*[f"late {number}" for number in range(17)])
                await client.wait_ready()
                new.deliver("new")
                items = [await stream.recv() for _ in range(4)]
                await asyncio.sleep(5)
                assert stream.lag[0] == 0
            kinds = [type(item).__name__ for item in items]
            assert kinds == ["Message", "Down", "Outage", "Message"]
            assert [(item.data, item.generation) for item in items if isinstance(item, fastws.Message)] == [
                ("old", 1),
                ("new", 2),
            ]

    run_virtual(main())


@pytest.mark.parametrize("reads_late", [False, True])
def test_fault_08_the_last_messages_before_an_end_are_delivered(reads_late):
    async def main():
        connector = MemoryConnector()
        client = client_of(connector)
        sent = [str(number) for number in range(500)]
        async with client:
            with client.stream(markers=True) as stream:
                wire = connector.wires[0]
                wire.deliver(*sent)
                wire.server_close(1001)
                if reads_late:
                    await asyncio.sleep(10)
                got = [await stream.recv() for _ in range(len(sent) + 1)]
            assert [getattr(item, "data", None) for item in got] == [*sent, None]
            assert isinstance(got[-1], fastws.Down)

    run_virtual(main())


class Thoughtful(fastws.Extension):
    name = "thoughtful"
    handles_messages = True

    async def on_message(self, message, context):
        await asyncio.sleep(0.01)
        return message


@pytest.mark.parametrize("end", ["close", "reset", "reconnect", "shutdown"])
def test_fault_08_what_was_received_goes_through_a_slow_extension_before_the_end(end):
    async def main():
        connector = MemoryConnector()
        client = client_of(connector, extensions=[Thoughtful()])
        sent = [str(number) for number in range(100)]
        async with client:
            stream = client.stream(markers=True)
            wire = connector.wires[0]
            wire.deliver(*sent)
            await asyncio.sleep(0.1)
            match end:
                case "close":
                    wire.server_close(1001)
                case "reset":
                    wire.reset()
                case "reconnect":
                    client.reconnect()
                case "shutdown":
                    await client.shutdown()
            got = [await stream.recv() for _ in range(len(sent) + 1)]
        assert [getattr(item, "data", None) for item in got] == [*sent, None]
        assert isinstance(got[-1], fastws.Down)

    run_virtual(main())


def test_fault_09_a_shutdown_sends_what_waits_and_then_close():
    async def main():
        connector = MemoryConnector()
        client = client_of(connector, rate_limit=fastws.RateLimit(10, 1, burst=1))
        async with client:
            for number in range(5):
                client.send_nowait(str(number))
            wire = connector.wires[0]
            assert wire.sent == ["0"]
            await client.shutdown()
            assert wire.sent == ["0", "1", "2", "3", "4"]
            assert wire.closed_by_client == 1000

    run_virtual(main())


def test_fault_09_what_a_shutdown_could_not_send_is_reported():
    async def main():
        connector = MemoryConnector()
        client = client_of(connector, rate_limit=fastws.RateLimit(1, 10, burst=1))
        task = asyncio.create_task(client.run())
        while not client.is_running:
            await asyncio.sleep(0)
        await client.wait_ready()
        for number in range(3):
            client.send_nowait(str(number))
        with pytest.raises(fastws.ShutdownTimeout) as raised:
            await client.shutdown(timeout=2)
        await task
        assert [(unsent.message, unsent.outcome) for unsent in raised.value.unsent] == [
            ("1", "not_sent"),
            ("2", "not_sent"),
        ]
        assert connector.wires[0].closed_by_client is not None

    run_virtual(main())


def test_fault_16_the_close_code_and_reason_reach_events_markers_and_the_strategy():
    async def main():
        failures = []

        def decide(failure):
            failures.append(failure)
            return None if failure.close_code == 4001 else 1.0

        connector = MemoryConnector(None, lambda wire: wire.server_close(4001, "subscription has ended"))
        client = client_of(connector, retry=fastws.CustomRetry(decide))
        ends = []
        client.on(Disconnected, ends.append)
        stream = client.stream(markers=True)
        with pytest.raises(RetriesExhausted) as raised:
            async with client:
                connector.wires[0].server_close(1012, "restart")
                await asyncio.sleep(30)
        assert [(end.reason.kind, end.reason.code, end.reason.reason, end.reason.initiator) for end in ends] == [
            ("server_closed", 1012, "restart", "remote"),
            ("server_closed", 4001, "subscription has ended", "remote"),
        ]
        assert str(ends[0].reason) == "server closed (code: 1012): restart"
        down = await stream.recv()
        assert down.reason == ends[0].reason
        assert [failure.close_code for failure in failures] == [1012, 4001]
        assert raised.value.__cause__.rcvd.code == 4001

    run_virtual(main())


def test_fault_20_streams_end_with_the_client_and_not_with_a_session():
    async def main():
        connector = MemoryConnector()
        client = client_of(connector)
        got = []

        async def consume():
            got.extend([message async for message in client.stream(policy="drop_oldest", capacity=1)])

        async with client:
            consumer = asyncio.create_task(consume())
            await asyncio.sleep(0)
            connector.wires[0].deliver("a")
            await asyncio.sleep(1)
            connector.wires[0].server_close(1000)
            second = await connector.wire(2)
            second.deliver("b", "c", "d")
            await asyncio.sleep(1)
            assert not consumer.done()
        await consumer
        assert (got[0], got[-1]) == ("a", "d")

        failing = client_of(MemoryConnector(), retry=fastws.NoRetry())
        stream = failing.stream()
        with pytest.raises(RetriesExhausted):
            async with failing:
                failing._session.wire.reset()
                await asyncio.sleep(1)
        with pytest.raises(RetriesExhausted):
            await stream.recv()

    run_virtual(main())


def test_fault_21_what_a_slow_stream_loses_is_told_where_and_costs_no_other():
    async def main():
        connector = MemoryConnector()
        client = client_of(connector)
        async with client:
            whole = client.stream()
            slow = client.stream(policy="drop_oldest", capacity=3, markers=True)
            connector.wires[0].deliver(*"abcdefgh")
            await asyncio.sleep(1)
            dropped, *rest = [await slow.recv() for _ in range(4)]
            assert isinstance(dropped, fastws.Dropped)
            assert (dropped.count, dropped.first_seq, dropped.last_seq) == (5, 1, 5)
            assert [(item.seq, item.data) for item in rest] == [(6, "f"), (7, "g"), (8, "h")]
            assert slow.dropped == 5
            assert [await whole.recv() for _ in range(8)] == list("abcdefgh")
            assert whole.dropped == 0

    run_virtual(main())


def test_fault_18_connected_is_said_when_the_application_may_speak_and_can_be_waited_for():
    async def main():
        connector = MemoryConnector()
        client = client_of(connector, handshake=fastws.SendMessageHandshaker("hello").with_response())
        task = asyncio.create_task(client.run())
        wire = await connector.wire(1)
        waiting = asyncio.create_task(client.wait_connected())
        await asyncio.sleep(1)
        assert client.status is fastws.Status.CONNECTED
        assert not client.is_connected
        assert not client.snapshot().is_connected
        assert not waiting.done()
        with pytest.raises(NotConnected):
            client.send_nowait("too early")
        wire.deliver("welcome")
        await waiting
        assert client.is_connected
        assert wire.sent == ["hello"]
        await client.shutdown()
        await task

    run_virtual(main())


def test_fault_19_after_a_handshake_that_failed_senders_are_told_that_there_is_no_connection():
    async def main():
        connector = MemoryConnector(lambda wire: wire.server_close(1012))
        client = client_of(
            connector, handshake=fastws.SendMessageHandshaker("hello").with_response(), retry=fastws.FixedDelay(100)
        )
        task = asyncio.create_task(client.run())
        await connector.wire(1)
        await asyncio.sleep(1)
        assert client.status is fastws.Status.RECONNECTING
        for sending in (client.send("x"), client.sender().send("x")):
            with pytest.raises(NotConnected):
                await sending
        with pytest.raises(NotConnected):
            client.send_nowait("x")
        await client.shutdown()
        await task

    run_virtual(main())


def test_fault_14_what_is_final_is_raised_itself_and_the_status_says_so():
    async def main():
        client = client_of(MemoryConnector(), handshake=Refused())
        with pytest.raises(fastws.AuthFailed):
            await client.run()
        assert client.status is fastws.Status.DISCONNECTED

    run_virtual(main())


class Refused(fastws.Handshaker):
    name = "refused"

    async def handshake(self, channel, context):
        raise fastws.AuthFailed("bad token")


class Failing(fastws.Extension):
    name = "failing"
    handles_messages = True

    def on_message(self, message, context):
        raise ZeroDivisionError


def test_fault_25_an_extension_that_ends_each_session_waits_for_the_strategy_like_everybody():
    async def main():
        connector = MemoryConnector(then=lambda wire: wire.deliver("a"))
        client = client_of(
            connector,
            extensions=[Failing()],
            retry=fastws.ExponentialBackoff(1, 16, jitter=0),
            config=QUIET.replace(processor_error_policy="disconnect"),
        )
        ends = []
        client.on(Disconnected, ends.append)
        task = asyncio.create_task(client.run())
        await asyncio.sleep(20)
        await client.shutdown()
        await task
        assert connector.attempts == pytest.approx([0, 1, 3, 7, 15], abs=0.1)
        assert "failing" in str(ends[0].reason)
        assert isinstance(ends[0].reason.cause, fastws.ExtensionError)

    run_virtual(main())


def test_fault_25_an_extension_may_end_the_client():
    async def main():
        connector = MemoryConnector(lambda wire: wire.deliver("a"))
        config = QUIET.replace(processor_error_policy="fatal")
        with pytest.raises(fastws.ExtensionError, match="failing"):
            await client_of(connector, extensions=[Failing()], config=config).run()

    run_virtual(main())
