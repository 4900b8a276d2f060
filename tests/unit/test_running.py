"""Running, in the background and again, on wires in memory and a made-up clock (running.py, client.py)."""

import asyncio

import pytest

import fastws
from fastws.errors import (
    AlreadyRunning,
    AuthFailed,
    ClientStopped,
    DialError,
    RetriesExhausted,
)
from fastws.handshakes import Handshaker
from virtual_time import run_virtual
from wires import QUIET, URI, MemoryConnector, client_of


def refused():
    return DialError("127.0.0.1:1: connection refused", uri=URI, phase="tcp")


async def take(stream, count):
    return [await stream.recv() for _ in range(count)]


class Failing(Handshaker):
    """Fails with one error after the other, then succeeds."""

    name = "failing"

    def __init__(self, *errors):
        self.errors = list(errors)

    async def handshake(self, channel, context):
        if self.errors:
            raise self.errors.pop(0)


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
