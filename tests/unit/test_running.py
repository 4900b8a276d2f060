"""Running, in the background and again, on wires in memory and a made-up clock (running.py, client.py)."""

import asyncio

import pytest

import fastws
from fastws.errors import (
    AlreadyRunning,
    AuthFailed,
    ClientStopped,
    RetriesExhausted,
)
from fastws.handshakes import Handshaker
from virtual_time import run_virtual
from wires import QUIET, URI, Failing, MemoryConnector, cancelled_inside, client_of, refused


def test_async_with_raises_what_makes_ready_impossible_and_not_twice():
    async def main():
        with pytest.raises(AuthFailed):
            async with client_of(MemoryConnector(), handshake=Failing(AuthFailed("bad token"))):
                pytest.fail("it is not ready")

    run_virtual(main())


def test_async_with_never_cancels_the_body_and_raises_at_its_clean_end():
    async def main():
        connector = MemoryConnector()
        client = client_of(connector, retry=fastws.NoRetry())
        reached = False
        with pytest.raises(RetriesExhausted):
            async with client:
                connector.wires[0].reset()
                await asyncio.sleep(5)
                reached = True
        assert reached

        connector = MemoryConnector()
        client = client_of(connector, retry=fastws.NoRetry())
        with pytest.raises(ZeroDivisionError):
            async with client:
                connector.wires[0].reset()
                await asyncio.sleep(5)
                raise ZeroDivisionError

    run_virtual(main())


@pytest.mark.parametrize("moment", ["dial", "backoff", "handshake", "session"])
def test_fault_17_shutdown_interrupts_every_wait(moment):
    async def main():
        class Slow(Handshaker):
            name = "slow"
            timeout = None

            async def handshake(self, channel, context):
                await channel.receive()

        connector = {
            "dial": MemoryConnector(lambda wire: asyncio.sleep(1000)),
            "backoff": MemoryConnector(refused()),
        }.get(moment, MemoryConnector())
        client = client_of(
            connector,
            retry=fastws.FixedDelay(1000),
            handshake=Slow() if moment == "handshake" else None,
            config=QUIET.replace(open_timeout=None),
        )
        task = asyncio.create_task(client.run())
        await asyncio.sleep(1)
        loop = asyncio.get_running_loop()
        before = loop.time()
        await client.shutdown()
        await task
        assert loop.time() - before < 0.1
        assert client.status is fastws.Status.DISCONNECTED

    run_virtual(main())


def test_fault_11_a_cancelled_run_leaves_nothing_and_may_run_again():
    async def main():
        connector = MemoryConnector()
        client = client_of(connector)
        task = asyncio.create_task(client.run())
        await client.wait_ready()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert connector.wires[0].closed_by_client == 1001
        assert not client.is_running
        with pytest.raises(ClientStopped, match="cancelled"):
            await client.send("x")
        async with client:
            assert client.is_ready
        assert client.snapshot().generation == 2

    run_virtual(main())


def test_it_runs_again_after_a_shutdown_and_streams_are_new():
    async def main():
        connector = MemoryConnector()
        client = client_of(connector)
        async with client:
            pass
        async with client:
            stream = client.stream()
            connector.wires[1].deliver("again")
            assert await stream.recv() == "again"

    run_virtual(main())


def test_a_run_that_begins_while_callbacks_still_hear_of_the_last_ones_end_is_told_once():
    class Hears(fastws.Extension):
        name = "hears"

        def __init__(self):
            self.events = []

        async def on_event(self, event, context):
            self.events.append(type(event).__name__)

    async def main():
        hears = Hears()
        client = client_of(MemoryConnector(), extensions=[hears])

        async def slow(event):
            await asyncio.sleep(3)

        client.on(fastws.events.Shutdown, slow)
        for _ in range(3):
            hears.events.clear()
            running = asyncio.create_task(client.run())
            await client.wait_ready()
            await client.shutdown()
            await asyncio.sleep(0.01)
            assert hears.events[:3] == ["Connecting", "Connected", "Ready"]
            assert len(hears.events) == len(set(hears.events))
        await running
        assert client._supervisor.hub._callbacks is not None
        assert len(client._supervisor.hub._callbacks) == 1

    run_virtual(main())


def test_a_shutdown_while_a_run_waits_for_the_last_ones_callbacks_counts():
    async def main():
        connector = MemoryConnector()
        client = client_of(connector)

        async def slow(event):
            await asyncio.sleep(3)

        client.on(fastws.events.Shutdown, slow)
        first = asyncio.create_task(client.run())
        await client.wait_ready()
        await client.shutdown()
        second = asyncio.create_task(client.run())
        await asyncio.sleep(0)
        await client.shutdown()
        await asyncio.gather(first, second)
        assert len(connector.attempts) == 1
        assert not client.is_running

    run_virtual(main())


def test_what_expired_long_before_makes_no_clean_end_a_late_one():
    async def main():
        client = client_of(MemoryConnector(), rate_limit=fastws.RateLimit(1, 10.0, burst=1))
        ends = []
        client.on(fastws.events.Disconnected, ends.append)
        async with client:
            client.send_nowait("a")
            client.send_nowait("b", expires=1)
            await asyncio.sleep(3600)
        assert [(unsent.message, unsent.outcome) for unsent in ends[0].unsent] == [("b", "failed")]

    run_virtual(main())


def test_who_waits_for_a_subscription_of_a_client_that_is_over_hears_why():
    async def main():
        connector = MemoryConnector()
        client = client_of(connector, retry=fastws.NoRetry())
        client.subscriptions.add("X", message="sub X", ack=lambda message: message == "ok")
        async with client:
            connector.wires[0].reset()
            await asyncio.sleep(1)
            with pytest.raises(RetriesExhausted):
                await client.subscriptions.confirmed("X")
            with pytest.raises(RetriesExhausted):
                await client.ping()

    with pytest.raises(RetriesExhausted):
        run_virtual(main())


def test_it_runs_once_at_a_time():
    async def main():
        client = client_of(MemoryConnector())
        async with client:
            with pytest.raises(AlreadyRunning):
                await client.run()

    run_virtual(main())


def test_after_a_shutdown_extensions_have_their_time_again():
    class Slow(fastws.Extension):
        name = "slow"
        handles_outgoing = True

        async def on_init(self, context):
            await asyncio.sleep(0.1)

        async def on_send(self, message, context):
            await asyncio.sleep(0.1)
            return message

    async def main():
        client = client_of(MemoryConnector())
        async with client:
            pass
        await asyncio.sleep(100)
        await client.register_extension(Slow())
        with pytest.raises(ClientStopped):
            await client.send("late")

    run_virtual(main())


def test_a_client_whose_run_is_a_task_can_be_waited_for_at_once():
    async def main():
        client = client_of(MemoryConnector())
        async with asyncio.TaskGroup() as group:
            group.create_task(client.run())
            await client.wait_ready()
            await client.send("hello", timeout=1)
            await client.shutdown()

    run_virtual(main())


def test_what_is_cancelled_inside_of_a_handshake_is_an_error_of_the_group_around_the_client():
    class Waits(Handshaker):
        name = "waits"

        async def handshake(self, channel, context):
            if context.is_reconnection:
                await cancelled_inside()

    async def main():
        connector = MemoryConnector()
        client = client_of(connector, handshake=Waits())

        async def child():
            async with client:
                connector.wires[0].reset()
                await asyncio.sleep(5)

        with pytest.raises(ExceptionGroup) as raised:
            async with asyncio.TaskGroup() as group:
                group.create_task(child())
        assert [type(error) for error in raised.value.exceptions] == [fastws.HandshakeError]

    run_virtual(main())


def test_a_run_in_the_background_that_was_cancelled_from_elsewhere_says_so():
    async def main():
        client = client_of(MemoryConnector())
        with pytest.raises(ClientStopped, match="cancelled"):
            async with client:
                (background,) = [task for task in asyncio.all_tasks() if task.get_name().startswith("fastws client")]
                background.cancel()
                await asyncio.wait([background])
        assert asyncio.current_task().cancelling() == 0

    run_virtual(main())


def test_a_second_run_begins_without_an_outage_and_with_a_first_connection_that_may_fail_the_only_time():
    async def main():
        connector = MemoryConnector()
        client = client_of(connector, config=QUIET.replace(exit_on_first_failure=True))
        for number in range(2):
            stream = client.stream(markers=True)
            async with client:
                connector.wires[number].deliver("one")
            assert [type(item).__name__ async for item in stream] == ["Message", "Down"]
            assert stream.outages == 0
        connector.script = [refused()]
        with pytest.raises(RetriesExhausted, match="exit_on_first_failure"):
            await client.run()

    run_virtual(main())


@pytest.mark.parametrize("kind", ["one line", "two lines"])
def test_with_and_await_say_that_it_is_async_with(kind):
    async def main():
        client = client_of(MemoryConnector()) if kind == "one line" else fastws.RedundantClient(URI, 2, key=str)
        with pytest.raises(TypeError, match=r"Client is asynchronous: write `async with client:`"):
            with client:
                pytest.fail("it does not begin")
        with pytest.raises(TypeError, match=r"Client is not awaited: write `async with client:`, or `await client.run"):
            await client

    run_virtual(main())
