"""Everything ends by the deadline of a shutdown (_deadline.py), whatever is under way."""

import asyncio
import contextlib

import pytest

import fastws
from fastws._deadline import Deadline
from fastws.extensions import Extension
from fastws.handshakes import Handshaker
from virtual_time import run_virtual
from wires import URI, MemoryConnector, MemoryWire, client_of

CONFIG = fastws.ClientConfig(receive_timeout=None, ping_interval=None, extension_timeout=60, close_timeout=60)


async def late(limit):
    """When it ended; None: it did not."""
    try:
        async with limit:
            await asyncio.sleep(1000)
    except TimeoutError:
        assert limit.expired()
        return asyncio.get_running_loop().time()
    return None


@pytest.mark.parametrize(
    ("limit", "deadline", "end"),
    [(None, None, None), (5, None, 5), (5, 9, 5), (9, 5, 5), (None, 5, 5), (0, 5, 0)],
)
def test_a_limit_ends_at_its_time_or_at_the_deadline(limit, deadline, end):
    async def main():
        bound = Deadline()
        if deadline is not None:
            bound.set(deadline)
        assert await late(bound.limit(limit)) == (None if end is None else pytest.approx(end))

    run_virtual(main())


def test_a_deadline_holds_for_what_is_under_way_and_the_earliest_counts():
    async def main():
        bound = Deadline()
        ends = [asyncio.create_task(late(bound.limit(seconds))) for seconds in (None, 3, 50)]
        await asyncio.sleep(1)
        bound.set(10)
        bound.set(20)
        assert await asyncio.gather(*ends) == [pytest.approx(10), pytest.approx(3), pytest.approx(10)]
        assert await late(bound.until(1000)) == pytest.approx(10)
        bound.clear()
        assert await late(bound.until(12)) == pytest.approx(12)

    run_virtual(main())


class Hanging(Extension):
    """One of its hooks does not return."""

    name = "hanging"
    handles_messages = True

    def __init__(self, hook):
        self.hook = hook
        self.calls = []

    async def _may_hang(self, hook):
        self.calls.append(hook)
        if hook == self.hook:
            await asyncio.sleep(1000)

    async def on_init(self, context):
        await self._may_hang("on_init")

    async def on_connect(self, context):
        await self._may_hang("on_connect")

    async def on_message(self, message, context):
        await self._may_hang("on_message")
        return message

    async def on_disconnect(self, context, reason):
        await self._may_hang("on_disconnect")

    async def on_shutdown(self, context):
        await self._may_hang("on_shutdown")

    async def on_event(self, event, context):
        await self._may_hang(type(event).__name__)


HOOKS = ("on_init", "on_connect", "on_message", "on_disconnect", "on_shutdown", "Connected", "Ready", "Disconnected")


@pytest.mark.parametrize("hook", HOOKS)
@pytest.mark.parametrize("when", [0.5, 3.0])
def test_a_hook_that_hangs_does_not_hold_up_a_shutdown(hook, when):
    async def main():
        connector = MemoryConnector()
        hanging = Hanging(hook)
        client = client_of(connector, config=CONFIG, extensions=[hanging, Hanging2(None)])
        running = asyncio.create_task(client.run())
        await asyncio.sleep(when / 2)
        for wire in connector.wires:
            wire.deliver("message")
        await asyncio.sleep(when / 2)
        loop = asyncio.get_running_loop()
        began = loop.time()
        await client.shutdown(timeout=0.5)
        assert loop.time() - began <= 0.6
        await running
        assert hanging.calls.count("on_shutdown") == ("on_init" in hanging.calls and hook != "on_init")
        assert not any(wire.is_open for wire in connector.wires)

    run_virtual(main())


@pytest.mark.parametrize("end", ["reset", "server_close", "reconnect", "rotation"])
@pytest.mark.parametrize("hook", ["on_message", "on_disconnect"])
def test_an_end_that_hangs_is_cut_short_by_a_shutdown_that_comes_later(end, hook):
    async def main():
        connector = MemoryConnector()
        age = 10 if end == "rotation" else None
        config = fastws.ClientConfig(
            receive_timeout=None, ping_interval=None, extension_timeout=60, close_timeout=60, max_connection_age=age
        )
        client = client_of(connector, config=config, extensions=[Hanging(hook)])
        running = asyncio.create_task(client.run())
        wire = await connector.wire(1)
        await asyncio.sleep(1)
        wire.deliver("message", "another")
        match end:
            case "reset":
                wire.reset()
            case "server_close":
                wire.server_close(1012, "restart")
            case "reconnect":
                client.reconnect()
            case "rotation":
                await asyncio.sleep(10)
        await asyncio.sleep(1)
        loop = asyncio.get_running_loop()
        began = loop.time()
        await client.shutdown(timeout=0.5)
        assert loop.time() - began <= 0.6
        await running

    run_virtual(main())


def test_a_cancelled_client_is_done_within_its_shutdown_timeout():
    async def main():
        connector = MemoryConnector()
        config = fastws.ClientConfig(receive_timeout=None, ping_interval=None, extension_timeout=60, shutdown_timeout=2)
        client = client_of(connector, config=config, extensions=[Hanging("on_disconnect"), Hanging2("on_shutdown")])
        running = asyncio.create_task(client.run())
        await connector.wire(1)
        await asyncio.sleep(1)
        running.cancel()
        began = asyncio.get_running_loop().time()
        await asyncio.wait([running])
        assert running.cancelled()
        assert asyncio.get_running_loop().time() - began <= 2.1

    run_virtual(main())


@pytest.mark.parametrize("times", [2, 3])
def test_a_cancellation_of_the_end_ends_the_hook_that_is_under_way_and_the_others_are_called(times):
    async def main():
        connector, others = MemoryConnector(), [Hanging(None), Hanging2("on_shutdown"), Hanging3("on_shutdown")]
        client = client_of(connector, config=CONFIG.replace(shutdown_timeout=60), extensions=others)
        running = asyncio.create_task(client.run())
        await connector.wire(1)
        await asyncio.sleep(1)
        for _ in range(times):
            running.cancel()
            await asyncio.sleep(1)
        await asyncio.wait([running], timeout=100)
        assert running.cancelled()
        assert [each.calls.count("on_shutdown") for each in others] == [1, 1, 1]

    run_virtual(main())


def test_tasks_are_waited_for_to_the_deadline_at_most():
    async def main():
        deadline, loop = Deadline(), asyncio.get_running_loop()
        quick, slow = asyncio.create_task(asyncio.sleep(1)), asyncio.create_task(asyncio.sleep(60))
        assert await deadline.wait([quick], 2)
        assert not await deadline.wait([quick, slow], 2)
        assert loop.time() == 3
        loop.call_later(1, deadline.set, loop.time() + 5)
        assert not await deadline.wait([slow], None)
        assert loop.time() == 8
        assert not slow.done()
        slow.cancel()
        await asyncio.wait([slow])

    run_virtual(main())


class Hanging2(Hanging):
    name = "hanging too"


class Hanging3(Hanging):
    name = "hanging as well"


# What does not let itself be cancelled.


class Stubborn(Hanging):
    """One of its hooks does not return before the gate opens, whoever cancels it."""

    def __init__(self, hook, gate):
        super().__init__(hook)
        self.gate = gate

    async def _may_hang(self, hook):
        self.calls.append(hook)
        if hook == self.hook:
            await insist(self.gate)


async def insist(gate):
    while not gate.done():
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.shield(gate)


async def open_again(gate):
    """Lets those go who were left behind."""
    gate.set_result(None)
    await asyncio.sleep(0.1)


@pytest.mark.parametrize("hook", HOOKS)
@pytest.mark.parametrize("end", ["shutdown", "cancel"])
def test_a_hook_that_cannot_be_cancelled_does_not_hold_up_the_end_and_is_named(hook, end, caplog):
    async def main():
        loop = asyncio.get_running_loop()
        gate, connector, last = loop.create_future(), MemoryConnector(), Hanging2(None)
        config = CONFIG.replace(extension_timeout=None, shutdown_timeout=0.5)
        client = client_of(connector, config=config, extensions=[last, Stubborn(hook, gate)])
        running = asyncio.create_task(client.run())
        await asyncio.sleep(0.5)
        for wire in connector.wires:
            wire.deliver("message")
        await asyncio.sleep(0.5)
        began = loop.time()
        if end == "shutdown":
            await client.shutdown()
        else:
            running.cancel()
        await asyncio.wait([running])
        assert loop.time() - began <= 1.6
        assert not any(wire.is_open for wire in connector.wires)
        assert ("on_shutdown" in last.calls) is (hook != "on_init")
        assert f"Hanging.{hook if hook in vars(Hanging) else 'on_event'} does not end" in caplog.text
        assert caplog.text.count("does not end") == 1
        await open_again(gate)

    run_virtual(main())


@pytest.mark.parametrize("hook", ["on_connect", "on_disconnect", "Disconnected"])
def test_a_hook_that_cannot_be_cancelled_has_its_time_limit_and_the_client_goes_on(hook, caplog):
    async def main():
        loop = asyncio.get_running_loop()
        gate, connector = loop.create_future(), MemoryConnector()
        stubborn = Stubborn(hook, gate)
        client = client_of(connector, config=CONFIG.replace(extension_timeout=3), extensions=[stubborn])
        async with client:
            connector.wires[0].reset()
            await asyncio.sleep(10)
            assert len(connector.wires) == 2
            assert client.is_ready
            assert f"the extension 'hanging', {hook if hook in vars(Hanging) else 'on_event'}: it took" in caplog.text
            stubborn.hook = None
            await asyncio.sleep(10)
            assert stubborn.calls[-1] == "Ready"  # nobody waits behind it
        await open_again(gate)

    run_virtual(main())


@pytest.mark.parametrize("end", ["shutdown", "cancel"])
@pytest.mark.parametrize("who", ["uri", "headers", "connect", "handshake", "send", "close"])
def test_no_code_of_the_users_that_cannot_be_cancelled_holds_up_the_end(who, end, caplog):
    class Wire(MemoryWire):
        async def send(self, message, text=None):
            if who == "send":
                await insist(gate)
            await super().send(message, text)

        async def close(self, code=1000, reason=""):
            if who == "close":
                await insist(gate)
            await super().close(code, reason)

    class Connector(MemoryConnector):
        make = Wire

        async def connect(self, uri, options):
            if who == "connect":
                await insist(gate)
            return await super().connect(uri, options)

    class Shakes(Handshaker):
        name = "shakes"

        async def handshake(self, channel, context):
            if who == "handshake":
                await insist(gate)

    async def uri():
        if who == "uri":
            await insist(gate)
        return URI

    async def headers():
        if who == "headers":
            await insist(gate)
        return {}

    async def main():
        nonlocal gate
        loop = asyncio.get_running_loop()
        gate, connector = loop.create_future(), Connector()
        config = CONFIG.replace(shutdown_timeout=0.5, handshake_timeout=60, open_timeout=60)
        client = fastws.WebSocketClient(uri, connector=connector, headers=headers, handshake=Shakes(), config=config)
        client.subscriptions.add("key", message="subscribe")
        running = asyncio.create_task(client.run())
        await asyncio.sleep(1)
        began = loop.time()
        if end == "shutdown":
            await client.shutdown()
        else:
            running.cancel()
        await asyncio.wait([running])
        assert loop.time() - began <= 1.6
        assert caplog.text.count("does not end") == 1
        await open_again(gate)
        assert not any(wire.is_open for wire in connector.wires)  # not even one that came too late

    gate = None
    run_virtual(main())
