"""How a client ends over real sockets: bounded, with an account, and with nothing left behind."""

import asyncio
import logging
import time

import pytest

import fastws
from fastws.extensions import Extension
from fastws.testing import Echo, Expect, Fault, Send, SendClose, Server
from peers import Gate, Peer, ignoring_the_end, no_descriptor_left, stalled

CONFIG = fastws.ClientConfig(handshake_retry_delay=0.01, shutdown_timeout=20, close_timeout=20)

ON_TIME = 5
"""Seconds that a shutdown takes at most which has less than one: what it may not wait for takes ten or more."""


class Counting(Extension):
    name = "counting"

    def __init__(self):
        self.calls = []

    def on_connect(self, context):
        self.calls.append("connect")

    def on_disconnect(self, context, reason):
        self.calls.append("disconnect")

    def on_shutdown(self, context):
        self.calls.append("shutdown")


def client_of(uri, **options):
    options.setdefault("retry", fastws.FixedDelay(0.01))
    options.setdefault("config", CONFIG)
    return fastws.WebSocketClient(uri, **options)


@pytest.mark.parametrize("how", ["shutdown", "body raises", "cancelled", "task group"])
async def test_every_way_out_leaves_nothing_and_calls_the_hooks_once(how, open_fds):
    counting = Counting()
    with Server(record=True) as server:
        client = client_of(server.url("/echo"), extensions=[counting])
        async with no_descriptor_left(open_fds):
            tasks = asyncio.all_tasks()
            match how:
                case "shutdown":
                    async with client:
                        await client.send("x")
                case "body raises":
                    with pytest.raises(ZeroDivisionError):
                        async with client:
                            raise ZeroDivisionError
                case "cancelled":
                    running = asyncio.create_task(client.run())
                    await asyncio.sleep(0)
                    await client.wait_ready()
                    running.cancel()
                    with pytest.raises(asyncio.CancelledError):
                        await running
                case "task group":
                    with pytest.raises(ExceptionGroup):
                        async with asyncio.TaskGroup() as group:
                            group.create_task(client.run())
                            await asyncio.sleep(0)
                            await client.wait_ready()
                            raise ZeroDivisionError
            assert asyncio.all_tasks() == tasks
        assert counting.calls == ["connect", "disconnect", "shutdown"]
        (report,) = server.connections()
        assert report.close_received[0] == (1001 if how in ("cancelled", "task group") else 1000)


async def test_failure_cancels_siblings_in_a_task_group():
    with Server() as server:
        client = client_of(server.url("/status/401"))
        with pytest.raises(ExceptionGroup) as raised:
            async with asyncio.TaskGroup() as group:
                group.create_task(client.run())
                group.create_task(asyncio.sleep(3600))
        assert raised.group_contains(fastws.InvalidStatus)


@pytest.mark.loop_driver("a transport keeps more than a part of one message")
async def test_a_shutdown_with_a_full_send_queue_ends_in_time_and_names_what_was_not_sent():
    gate = Gate()
    with Peer(ignoring_the_end(stalled(gate)), buffers=8192) as peer:
        client = client_of(peer.url)
        running = asyncio.create_task(client.run())
        await asyncio.sleep(0)
        await client.wait_ready()
        accepted = []
        try:
            while True:
                accepted.append(f"{len(accepted)} " + "x" * 4000)
                await client.send(accepted[-1], timeout=0.2)
        except TimeoutError:
            accepted.pop()
        began = time.monotonic()
        with pytest.raises(fastws.ShutdownTimeout) as raised:
            await client.shutdown(timeout=0.3)
        assert time.monotonic() - began < ON_TIME
        await running
        unsent = raised.value.unsent
        assert [entry.message for entry in unsent] == accepted[len(accepted) - len(unsent) :]
        assert [entry.outcome for entry in unsent if entry.outcome != "not_sent"] in ([], ["maybe_sent"])
        gate.open()


async def test_what_is_queued_leaves_before_the_close():
    with Server(record=True) as server:
        client = client_of(server.url("/sink"), config=CONFIG.replace(send_queue_capacity=2000))
        async with client:
            for number in range(1000):
                client.send_nowait(str(number))
        (report,) = server.connections()
        assert [int(frame.payload) for frame in report.frames if frame.opcode == 1] == list(range(1000))
        assert report.close_received[0] == 1000


async def test_a_shutdown_while_nobody_reads_ends_in_time_and_delivers_what_was_received():
    with Server() as server:
        client = client_of(
            server.url("/blast?n=1000000&size=64&seq=1"), config=CONFIG.replace(queue_messages=64, close_timeout=0.3)
        )
        running = asyncio.create_task(client.run())
        await asyncio.sleep(0)
        stream = client.stream()
        while not client._ring.is_full:
            await asyncio.sleep(0.001)
        began = time.monotonic()
        await client.shutdown(timeout=0.3)
        assert time.monotonic() - began < ON_TIME
        await running
        numbers = [int.from_bytes(message[:8], "little") async for message in stream]
        assert numbers == list(range(len(numbers)))
        assert len(numbers) >= 64


async def test_what_there_is_no_time_to_show_to_an_extension_is_delivered_all_the_same():
    class Slow(Extension):
        name = "slow"
        handles_messages = True

        async def on_message(self, message, context):
            await asyncio.sleep(0.01)
            return message

    with Server() as server:
        client = client_of(server.url("/blast?n=1000000&size=64&seq=1"), extensions=[Slow()])
        running = asyncio.create_task(client.run())
        await asyncio.sleep(0)
        stream = client.stream()
        while client.snapshot().messages_received < 5000:
            await asyncio.sleep(0.001)
        await client.shutdown(timeout=0.3)
        await running
        numbers = [int.from_bytes(message[:8], "little") async for message in stream]
        assert numbers == list(range(len(numbers)))
        stats = client.stats()
        assert len(numbers) + stats.messages_discarded == stats.messages_received


@pytest.mark.parametrize("delay", range(50))
async def test_a_shutdown_at_any_moment_is_on_time(delay):
    """Against a server that does everything badly; the moment is 2 ms later each time."""
    with Server() as server:
        server.script("/bad", [Send("a"), Expect(1), Fault("silence")])
        uris = ["/bad", "/echo", "/silence", "/status/503", "/close?code=1012", "/echo?fault=freeze@open"]
        client = client_of(
            lambda: server.url(uris[client.snapshot().total_attempts % len(uris)]),
            config=CONFIG.replace(receive_timeout=0.05),
        )
        running = asyncio.create_task(client.run())
        ending = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_later(0.002 * delay, ending.set_result, None)
        await ending
        began = time.monotonic()
        await client.shutdown(timeout=0.05)
        assert time.monotonic() - began < ON_TIME
        await running


def test_ctrl_c_closes_politely_and_calls_the_hooks(process):
    process(
        """
        from fastws.testing import Server

        class Hooks(fastws.Extension):
            name = "hooks"
            calls = []
            def on_shutdown(self, context):
                self.calls.append("shutdown")

        async def main(url):
            client = fastws.WebSocketClient(url, extensions=[Hooks()])
            async with client:
                asyncio.get_running_loop().call_soon(signal.raise_signal, signal.SIGINT)
                async for _ in client.stream():
                    pass

        # A program in the background, as of a build server, may have inherited that SIGINT is ignored.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        with Server() as server:
            try:
                fastws.run(main(server.url("/echo")))
            except KeyboardInterrupt:
                (report,) = server.connections()
                assert report.close_received is not None, report
                assert Hooks.calls == ["shutdown"]
                print("ok")
        """
    )


SECRETS = ("hunter2", "q-secret", "h-secret", "t-secret", "c-secret")


async def test_no_secret_shows_in_logs_events_or_errors(caplog):
    caplog.set_level(logging.DEBUG)
    shown, seen = [], []
    with Server() as server:
        server.script("/closing", [Echo(1), SendClose(1012, "restart")])
        server.script("/refusing", [Expect(1), Send('{"error": "no such token t-secret"}'), SendClose(4401, "bad")])
        for path in (
            "/status/503",
            "/closing",
            "/refusing",
            "/status/401",
            "/echo?fault=reset@open",
            "/echo?fault=silence",
        ):
            mark = "&" if "?" in path else "?"
            uri = server.url(path).replace("//", "//user:hunter2@") + f"{mark}apikey=q-secret"
            client = fastws.WebSocketClient(
                uri,
                retry=fastws.FixedDelay(0.01).with_max_attempts(3),
                handshake=fastws.AuthHandshaker("t-secret").json(),
                headers={"Authorization": "Bearer h-secret", "Cookie": "session=c-secret"},
                extensions=[fastws.LoggingExtension()],
                config=CONFIG.replace(receive_timeout=0.2, handshake_timeout=0.2, open_timeout=1),
            )
            client.on(None, seen.append)
            events = client.events()
            try:
                async with client:
                    pass
            except Exception as error:
                while error is not None:
                    shown += [str(error), repr(error), *getattr(error, "__notes__", ())]
                    error = error.__cause__ or error.__context__
            shown += [str(event) for event in [event async for event in events]]
            shown += [repr(client), str(client.snapshot()), repr(client.snapshot()), repr(client.config)]
    shown += [text for event in seen for text in (str(event), repr(event))]
    shown += [record.getMessage() for record in caplog.records]
    assert len(shown) > 50
    for secret in SECRETS:
        found = [text for text in shown if secret in text]
        assert not found, f"{secret} in {found[0]}"
