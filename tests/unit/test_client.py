"""The client's life on wires in memory and a made-up clock (client.py, session.py)."""

import asyncio
import gc
import weakref

import pytest

import fastws
from fastws.errors import (
    AuthFailed,
    ClientStopped,
    HandshakeError,
    RetriesExhausted,
)
from fastws.events import (
    Connected,
    Connecting,
    Disconnected,
    Error,
    FatalError,
    Ready,
    ReconnectScheduled,
    Shutdown,
)
from fastws.handshakes import Handshaker
from rings import take
from virtual_time import run_virtual
from wires import QUIET, Failing, MemoryConnector, client_of, refused


def names(events):
    return [type(event).__name__ for event in events]


def test_messages_of_all_sessions_come_in_order_and_what_happened_lies_between_them():
    async def main():
        connector = MemoryConnector()
        client = client_of(connector)
        async with client:
            with client.stream(markers=True) as stream:
                first = connector.wires[0]
                first.deliver("a", "b")
                first.server_close(1012, "restart")
                second = await connector.wire(2)
                second.deliver("c")
                items = await take(stream, 5)
            a, b, down, outage, c = items
            assert [item.data for item in (a, b, c)] == ["a", "b", "c"]
            assert [item.seq for item in (a, b, c)] == [1, 2, 3]
            assert [item.generation for item in (a, b, c)] == [1, 1, 2]
            assert [item.connection_id for item in (a, c)] == [1, 2]
            assert isinstance(down, fastws.Down)
            assert (down.generation, down.reason.kind, down.reason.code) == (1, "server_closed", 1012)
            assert isinstance(outage, fastws.Outage)
            assert (outage.old_generation, outage.new_generation, outage.attempts) == (1, 2, 1)
            assert outage.reason == down.reason

    run_virtual(main())


def test_a_stream_without_markers_waits_through_an_outage_and_counts_it():
    async def main():
        connector = MemoryConnector()
        client = client_of(connector)
        async with client:
            stream = client.stream()
            connector.wires[0].deliver("a")
            connector.wires[0].reset()
            (await connector.wire(2)).deliver("b")
            assert await take(stream, 2) == ["a", "b"]
            assert stream.outages == 1
            assert stream.last_outage.new_generation == 2

    run_virtual(main())


def test_an_outage_is_marked_once_even_if_no_message_follows_and_failed_sessions_extend_it():
    async def main():
        failed = HandshakeError("not now", kind="failed")
        connector = MemoryConnector(None, refused(), None, None)
        handshake = Failing()
        client = client_of(connector, handshake=handshake, config=QUIET.replace(handshake_retry_delay=0))
        async with client:
            stream = client.stream(markers=True)
            handshake.errors.append(failed)
            connector.wires[0].reset()
            down, outage = await take(stream, 2)
            assert isinstance(down, fastws.Down)
            assert isinstance(outage, fastws.Outage)
            assert outage.attempts == 3
            assert outage.new_generation == 2
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(5):
                    await stream.recv()

    run_virtual(main())


def test_events_of_a_whole_life_come_in_order():
    async def main():
        connector = MemoryConnector(refused())
        client = client_of(connector)
        seen = []
        client.on(None, seen.append)
        async with client:
            connector.wires[0].server_close(1001)
            await connector.wire(2)
            await client.wait_ready()
        assert names(seen) == [
            "Connecting", "Error", "ReconnectScheduled", "Connecting", "Connected", "Ready",
            "Disconnected", "ReconnectScheduled", "Connecting", "Connected", "Ready",
            "Disconnected", "Shutdown",
        ]  # fmt: skip
        assert seen[6].reason.kind == "normal"
        assert seen[11].reason.kind == "shutdown"
        assert [event.attempt for event in seen if isinstance(event, Connecting)] == [1, 2, 3]
        assert [event.generation for event in seen if isinstance(event, Ready)] == [1, 2]
        assert [event.id for event in seen if isinstance(event, Connected)] == [1, 2]
        assert isinstance(seen[-1], Shutdown)

    run_virtual(main())


def test_fault_02_a_server_that_closes_at_once_is_met_by_the_strategy_and_nothing_else():
    async def main():
        connector = MemoryConnector(then=lambda wire: wire.server_close(1000))
        client = client_of(connector, retry=fastws.ExponentialBackoff(1.0, 16.0, 2.0, jitter=0))
        task = asyncio.create_task(client.run())
        await asyncio.sleep(60)
        await client.shutdown()
        await task
        assert connector.attempts == [0, 1, 3, 7, 15, 31, 47]

    run_virtual(main())


def test_a_stable_session_begins_the_count_anew():
    async def main():
        connector = MemoryConnector()
        client = client_of(connector, retry=fastws.ExponentialBackoff(1.0, 100.0, 2.0, jitter=0))
        async with client:
            for number in (1, 2, 3):
                (await connector.wire(number)).reset()
            fourth = await connector.wire(4)
            assert connector.attempts == pytest.approx([0, 1, 3, 7], abs=0.05)
            await asyncio.sleep(11)
            fourth.reset()
            await connector.wire(5)
            assert connector.attempts[4] - 18 == pytest.approx(1, abs=0.1)

    run_virtual(main())


def test_fault_03_no_retry_means_none_whatever_failed():
    async def main():
        for connector, options in (
            (MemoryConnector(refused()), {}),
            (MemoryConnector(), {"handshake": Failing(HandshakeError("no", kind="failed"))}),
            (MemoryConnector(lambda wire: wire.server_close(1000)), {}),
        ):
            client = client_of(connector, retry=fastws.NoRetry(), **options)
            with pytest.raises(RetriesExhausted):
                await client.run()
            assert len(connector.attempts) == 1

    run_virtual(main())


def test_fault_03_handshakes_that_fail_are_counted_with_the_dials():
    async def main():
        connector = MemoryConnector(refused())
        handshake = Failing(*[HandshakeError("no", kind="failed") for _ in range(9)])
        client = client_of(connector, handshake=handshake, retry=fastws.FixedDelay(1.0).with_max_attempts(3))
        with pytest.raises(RetriesExhausted, match="attempt 3") as raised:
            await client.run()
        assert isinstance(raised.value.__cause__, HandshakeError)
        assert len(connector.attempts) == 3
        assert client.snapshot().error_count == 3

    run_virtual(main())


def test_fault_04_a_permanent_refusal_is_raised_and_every_wait_gets_it():
    async def main():
        connector = MemoryConnector()
        client = client_of(connector, handshake=Failing(AuthFailed("bad token")))
        seen = []
        client.on(None, seen.append)
        stream = client.stream()
        with pytest.raises(AuthFailed):
            await client.run()
        assert [type(event) for event in seen[-2:]] == [FatalError, Shutdown]
        with pytest.raises(AuthFailed):
            await stream.recv()
        with pytest.raises(AuthFailed):
            await client.wait_ready()
        with pytest.raises(AuthFailed):
            await client.send("x")
        assert len(connector.attempts) == 1
        assert connector.wires[0].closed_by_client is not None

    run_virtual(main())


def test_fault_01_shutdown_waits_and_closes_and_streams_end_cleanly():
    async def main():
        connector = MemoryConnector()
        client = client_of(connector)
        task = asyncio.create_task(client.run())
        await client.wait_ready()
        stream = client.stream()
        connector.wires[0].deliver("last")
        await asyncio.sleep(0.1)
        await client.shutdown()
        assert task.done()
        assert not client.is_running
        assert connector.wires[0].closed_by_client == 1000
        assert [message async for message in stream] == ["last"]
        await client.shutdown()
        with pytest.raises(ClientStopped):
            await client.send("x")

    run_virtual(main())


def test_fault_12_reconnections_are_counted_and_attempts_are_something_else():
    async def main():
        connector = MemoryConnector(refused(), refused())
        client = client_of(connector)
        async with client:
            snapshot = client.snapshot()
            assert (snapshot.reconnect_count, snapshot.attempts, snapshot.total_attempts) == (0, 3, 3)
            assert snapshot.id == snapshot.generation == 1
            connector.wires[0].reset()
            await connector.wire(2)
            await client.wait_ready()
            snapshot = client.snapshot()
            assert (snapshot.reconnect_count, snapshot.total_attempts) == (1, 4)
            assert snapshot.last_disconnect.kind == "error"

    run_virtual(main())


def test_reconnect_on_demand_is_polite_and_marked():
    async def main():
        connector = MemoryConnector()
        client = client_of(connector)
        async with client:
            stream = client.stream(markers=True)
            client.reconnect("a new token")
            down, _ = await take(stream, 2)
            assert (down.reason.kind, down.reason.reason) == ("requested", "a new token")
            assert connector.wires[0].closed_by_client == 1000

    run_virtual(main())


@pytest.mark.parametrize("retry", [fastws.NoRetry(), fastws.ExponentialBackoff(10, 60), fastws.FixedDelay(5)], ids=repr)
def test_a_reconnect_on_demand_is_no_failure_and_dials_at_once(retry):
    async def main():
        connector = MemoryConnector()
        client = client_of(connector, retry=retry)
        seen = []
        async with client:
            client.on(None, seen.append)
            for _ in range(3):
                client.reconnect()
                await asyncio.sleep(0.1)
                assert client.is_ready
            assert connector.attempts == pytest.approx([0, 0, 0.1, 0.2], abs=0.05)
            kinds = [type(event) for event in seen[:5]]
            assert kinds == [Disconnected, ReconnectScheduled, Connecting, Connected, Ready]
            scheduled = [event for event in seen if isinstance(event, ReconnectScheduled)]
            assert [(event.delay, event.attempt) for event in scheduled] == [(0, 1)] * 3
            assert client.snapshot().reconnect_count == 3
            assert client.snapshot().error_count == 0

    run_virtual(main())


def test_a_subscription_that_stays_silent_is_a_failure_and_no_stable_session():
    async def main():
        connector = MemoryConnector()
        client = client_of(connector, retry=fastws.FixedDelay(1.0).with_max_attempts(2))
        client.subscriptions.add("a", message="sub", match=lambda message: message == "a", data_timeout=10)
        ends = []
        client.on(Disconnected, ends.append)
        async with client:
            with pytest.raises(fastws.errors.RetriesExhausted) as raised:
                await client.stream().recv()
            assert isinstance(raised.value.__cause__, fastws.errors.DataTimeout)
            assert "the subscription 'a' stayed silent for 20 s" in str(raised.value.__cause__)
            assert asyncio.get_running_loop().time() == pytest.approx(41, abs=0.5)
            assert [end.reason.kind for end in ends] == ["data_timeout"] * 2
            with pytest.raises(fastws.errors.RetriesExhausted):
                await client.wait_ready()

    with pytest.raises(fastws.errors.RetriesExhausted):
        run_virtual(main())


def test_a_final_close_code_ends_the_client_with_it():
    async def main():
        connector = MemoryConnector(lambda wire: wire.server_close(4401, "expired"))
        config = QUIET.replace(final_close_codes={4401})
        with pytest.raises(fastws.ConnectionClosedError, match="4401"):
            await client_of(connector, config=config).run()
        assert len(connector.attempts) == 1

    run_virtual(main())


def test_messages_that_no_handshaker_claimed_come_first_in_order():
    async def main():
        class Hello(Handshaker):
            name = "hello"

            async def handshake(self, channel, context):
                await channel.expect(lambda message: message == "hello")

        connector = MemoryConnector(lambda wire: wire.deliver("one", "two", "hello", "three"))
        client = client_of(connector, handshake=Hello())
        async with client:
            stream = client.stream()
            assert await take(stream, 3) == ["one", "two", "three"]

    run_virtual(main())


def test_error_events_name_the_attempt():
    async def main():
        client = client_of(MemoryConnector(refused(), refused()))
        seen = []
        client.on(Error, seen.append)
        delays = []
        client.on(ReconnectScheduled, delays.append)
        async with client:
            pass
        assert [event.attempt for event in seen] == [1, 2]
        assert [event.attempt for event in delays] == [2, 3]

    run_virtual(main())


def test_async_callbacks_are_through_when_it_is_over_and_may_ask_for_the_end():
    async def main():
        connector = MemoryConnector()
        client = client_of(connector)
        through = []

        async def slow(event):
            await asyncio.sleep(0.5)
            through.append(type(event).__name__)

        async def stop(event):
            await client.shutdown()

        client.on(Shutdown, slow)
        client.on(Ready, stop)
        await client.run()
        assert through == ["Shutdown"]

    run_virtual(main())


def test_a_run_that_waits_for_the_end_of_the_last_one_keeps_its_thread():
    async def main():
        client = client_of(MemoryConnector())

        async def slow(event):
            await asyncio.sleep(1)

        client.on(Shutdown, slow)
        for _ in range(2):
            running = asyncio.create_task(client.run())
            await client.wait_ready()
            with pytest.raises(RuntimeError, match="belongs to the event loop of the thread"):
                await asyncio.to_thread(client.reconnect)
            await client.shutdown()
        await running

    asyncio.run(main())


def test_a_strategy_that_fails_when_it_is_reset_ends_no_session(caplog):
    class Broken(fastws.FixedDelay):
        def reset(self):
            raise RuntimeError("broken reset")

    async def main():
        connector = MemoryConnector()
        config = fastws.ClientConfig(receive_timeout=None, ping_interval=None, stable_after=1)
        async with client_of(connector, retry=Broken(1.0), config=config) as client:
            await asyncio.sleep(2)
            assert client.is_ready
        assert len(connector.wires) == 1

    run_virtual(main())
    assert "broken reset" in caplog.text


def test_an_acknowledgement_that_comes_between_restoring_and_ready_counts():
    class Slow(fastws.Extension):
        name = "slow"

        async def on_connect(self, context):
            await asyncio.sleep(1)

    async def main():
        connector = MemoryConnector()
        client = client_of(connector, config=QUIET.replace(restore_timeout=0.1), extensions=[Slow()])
        client.subscriptions.add("a", message="sub", ack=lambda message: message == "ack")
        running = asyncio.create_task(client.run())
        wire = await connector.wire(1)
        await asyncio.sleep(0.5)
        wire.deliver("ack")
        await client.wait_ready()
        await asyncio.sleep(0.1)
        assert client.subscriptions.states() == {"a": "confirmed"}
        assert await client.stream().recv() == "ack"
        await client.shutdown()
        await running

    run_virtual(main())


@pytest.mark.parametrize("begins", ["never", "later"])
@pytest.mark.parametrize("kind", ["one line", "two lines"])
def test_a_stream_that_waits_for_a_client_that_does_not_run_is_named(kind, begins, caplog):
    async def main():
        connector = MemoryConnector()
        options = {"connector": connector, "config": QUIET}
        uri = "ws://venue.example/feed"
        client = (
            fastws.WebSocketClient(uri, **options)
            if kind == "one line"
            else fastws.RedundantClient(uri, 2, key=str, **options)
        )
        with client.stream() as stream, client.stream():
            await asyncio.sleep(60)
            assert caplog.messages == []  # nobody waits
            reading = asyncio.create_task(stream.recv())
            if begins == "later":
                await asyncio.sleep(1)
                async with client:
                    connector.wires[0].deliver("hello")
                    assert await reading == "hello"
                    await asyncio.sleep(10)
            else:
                await asyncio.sleep(60)
                reading.cancel()
                await asyncio.wait([reading])
        said = [message for message in caplog.messages if "the client does not run" in message]
        assert len(said) == (begins == "never")
        assert not said or "a stream waits, and the client does not run: use `async with client:`" in said[0]

    run_virtual(main())


def test_a_client_that_never_ran_is_not_kept_by_what_looks_after_it():
    async def main():
        client = client_of(MemoryConnector())
        client.stream().close()
        gone = weakref.ref(client)
        del client
        gc.collect()
        assert gone() is None
        await asyncio.sleep(10)

    run_virtual(main())
