"""The way of a connection's messages through Python, and its end (_intake.py)."""

import asyncio
import contextlib
import re

import pytest

import fastws
from fastws import ExtensionError, WebSocketClient
from fastws.events import Disconnected
from fastws.markers import Down
from virtual_time import run_virtual
from wires import QUIET, MemoryConnector, client_of

SENT = [str(number) for number in range(100)]


class Slow(fastws.Extension):
    name = "slow"
    handles_messages = True
    shown = 0

    async def on_message(self, message, context):
        await asyncio.sleep(1)
        self.shown += 1
        return f"shown {message}"


class Fails(fastws.Extension):
    """Fails on the message "3"."""

    name = "fails"
    handles_messages = True

    def on_message(self, message, context):
        if message == "3":
            raise ZeroDivisionError
        return f"shown {message}"


async def begun(client: WebSocketClient, connector: MemoryConnector):
    """The task of a client that is ready, its first wire, and a stream."""
    running = asyncio.create_task(client.run())
    wire = await connector.wire(1)
    await client.wait_ready()
    return running, wire, client.stream(markers=True)


async def to_the_end(stream):
    """The messages of a session, up to its end."""
    messages = []
    while not isinstance(item := await stream.recv(), Down):
        messages.append(item.data)
    return messages


def past(log):
    """How many messages went past the extensions, as the log says."""
    return [int(number) for number in re.findall(r"went past the extensions, as .*: (\d+)$", log, re.MULTILINE)]


@pytest.mark.parametrize("end", ["reconnect", "shutdown", "cancel"])
def test_what_there_is_no_time_to_show_to_an_extension_is_delivered_and_counted(end, caplog):
    async def main():
        connector, slow = MemoryConnector(), Slow()
        config = QUIET.replace(close_timeout=3, shutdown_timeout=3)
        client = client_of(connector, extensions=[slow], config=config)
        running, wire, stream = await begun(client, connector)
        wire.deliver(*SENT)
        await asyncio.sleep(5.5)
        match end:
            case "reconnect":
                client.reconnect()
            case "shutdown":
                await client.shutdown(3)
            case "cancel":
                running.cancel()
        got = await to_the_end(stream)
        assert asyncio.get_running_loop().time() == pytest.approx(8.5, abs=0.1)
        assert [message.removeprefix("shown ") for message in got] == SENT
        assert 5 <= slow.shown <= 9
        # At a deadline the hook may be late before it is cancelled: that is an error of its own.
        assert 99 - slow.shown <= sum(past(caplog.text)) <= 100 - slow.shown
        await client.shutdown()
        await asyncio.wait([running])

    run_virtual(main())


@pytest.mark.parametrize("fails_late", [False, True])
def test_a_hook_that_cannot_be_cancelled_costs_no_message_and_is_left_behind(fails_late, caplog):
    class Stubborn(fastws.Extension):
        name = "stubborn"
        handles_messages = True

        async def on_message(self, message, context):
            while message == "2" and not gate.done():
                with contextlib.suppress(asyncio.CancelledError):
                    await asyncio.shield(gate)
            if message == "2" and fails_late:
                raise ZeroDivisionError
            return f"shown {message}"

    async def main():
        nonlocal gate
        loop = asyncio.get_running_loop()
        gate = loop.create_future()
        connector = MemoryConnector()
        config = QUIET.replace(extension_timeout=None, processor_error_policy="disconnect")
        client = client_of(connector, extensions=[Stubborn()], config=config)
        running, wire, stream = await begun(client, connector)
        wire.deliver(*SENT[:5])
        await asyncio.sleep(1)
        before = loop.time()
        await client.shutdown(timeout=1)
        await running
        assert loop.time() - before < 3
        assert await to_the_end(stream) == ["shown 0", "shown 1", "2", "3", "4"]
        assert past(caplog.text) == [3]
        assert "Stubborn.on_message does not end" in caplog.text
        gate.set_result(None)
        await asyncio.sleep(0.1)
        assert [item async for item in stream] == []

    gate = None
    run_virtual(main())


@pytest.mark.parametrize("policy", ["disconnect", "fatal"])
def test_what_was_received_behind_a_message_that_a_hook_fails_on_is_delivered_before_the_end(policy, caplog):
    async def main():
        connector = MemoryConnector()
        config = QUIET.replace(processor_error_policy=policy)
        client = client_of(connector, extensions=[Fails()], config=config)
        ends = []
        client.on(Disconnected, ends.append)
        running, wire, stream = await begun(client, connector)
        wire.deliver(*SENT[:10])
        assert await to_the_end(stream) == ["shown 0", "shown 1", "shown 2", *SENT[3:10]]
        assert past(caplog.text) == [7]
        if policy == "disconnect":
            (await connector.wire(2)).deliver("a")
            await client.wait_ready()
            assert [(await stream.recv()).__class__.__name__, (await stream.recv()).data] == ["Outage", "shown a"]
            await client.shutdown()
            await running
        else:
            with pytest.raises(ExtensionError, match="ZeroDivisionError"):
                await running
            with pytest.raises(ExtensionError, match="ZeroDivisionError"):
                await stream.recv()
        assert isinstance(ends[0].reason.cause, ExtensionError)

    run_virtual(main())


def test_a_connection_that_does_not_say_that_it_has_ended_is_given_up_in_time():
    async def main():
        connector = MemoryConnector()
        client = client_of(connector, config=QUIET.replace(close_timeout=2))
        running, wire, stream = await begun(client, connector)
        wire.deliver("a")

        async def close(code=1000, reason=""):
            pass

        wire.close, wire.abort = close, lambda: None
        await client.shutdown(timeout=10)
        await running
        assert await to_the_end(stream) == ["a"]
        assert asyncio.get_running_loop().time() < 4

    run_virtual(main())
