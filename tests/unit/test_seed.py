"""The migration page maps every row of the model to a name of ours and to a test; both are there."""

import ast
import asyncio
import functools
import inspect
import re
from pathlib import Path

import pytest

import fastws
import fastws.sync
import fastws.testing
from fastws import events
from model_faults import numbered_tests
from virtual_time import run_virtual
from wires import MemoryConnector, refused

TESTS = Path(__file__).parents[1]
PAGE = (TESTS.parent / "docs/howto/migrate-stream-tungstenite.md").read_text(encoding="utf-8")
ROWS = [[cell.strip() for cell in line.strip("| ").split(" | ")] for line in PAGE.splitlines() if line.startswith("| ")]
MAPPED = [row for row in ROWS if "::" in row[-1] and not row[0].isdigit()]
FAULTS = {int(row[0]): re.findall(r"`([^`]+)`", row[-1]) for row in ROWS if row[0].isdigit()}


@functools.cache
def parts_of(path):
    """The functions, classes and constants of a module of tests, and what each is in the source."""
    text = (TESTS / path).read_text(encoding="utf-8")
    parts = {}
    for node in ast.parse(text).body:
        names = (
            [node.name]
            if hasattr(node, "name")
            else [each.id for each in getattr(node, "targets", ()) if hasattr(each, "id")]
        )
        pieces = [*getattr(node, "decorator_list", ()), node]
        parts |= dict.fromkeys(names, "\n".join(ast.get_source_segment(text, piece) for piece in pieces))
    return parts


def source_of(test):
    """The source of a test, with what it uses of its module."""
    path, _, function = test.partition("::")
    parts, found, left = parts_of(path), {}, [function]
    while left:
        name = left.pop()
        if name in parts and name not in found:
            found[name] = parts[name]
            left += re.findall(r"\w+", parts[name])
    return "\n".join(found.values())


def last(name):
    return name.rpartition(".")[2]


WRITTEN = {"__aenter__": "async with", "__len__": "len"}
"""How they are called."""


def resolves(name):
    found = fastws
    for part in name.split("."):
        if hasattr(found, part):
            found = getattr(found, part)
        else:
            return isinstance(found, type) and part in inspect.signature(found).parameters
    return True


def test_the_page_is_parsed():
    assert len(MAPPED) > 150
    assert {len(row) for row in MAPPED} == {3}


@pytest.mark.parametrize("row", MAPPED, ids=lambda row: row[0])
def test_each_row_has_a_name_that_resolves_and_a_test_that_speaks_of_it(row):
    names = re.findall(r"`([A-Z][\w.]*|[a-z]+\.[\w.]+|is_retryable|chain_handshakers)`", row[1])
    allowed = {"TimeoutError", "ValueError"}
    assert names or row[1].startswith("not built: ")
    assert [name for name in names if name not in allowed and not resolves(name)] == []
    tests = re.findall(r"`([^`]+)`", row[2])
    for test in tests:
        path, _, function = test.partition("::")
        assert function in parts_of(path), test
    told = "\n".join(map(source_of, tests))
    unspoken = [name for name in names if not re.search(rf"\b{WRITTEN.get(last(name), last(name))}\b", told)]
    assert unspoken == [], "the test says nothing of it"


def test_each_fault_has_its_tests():
    assert sorted(FAULTS) == list(range(1, 26))
    for number, named in FAULTS.items():
        assert sorted(named) == sorted(numbered_tests()[number])


def test_defaults_of_the_settings():
    config, fast, stable = (
        fastws.ClientConfig(),
        fastws.ClientConfig.fast_reconnect(),
        fastws.ClientConfig.stable_connection(),
    )
    for name, values in {
        "receive_timeout": (20, 10, 60),
        "exit_on_first_failure": (False, False, False),
        "connect_timeout": (30, 10, 60),
        "handshake_retry_delay": (5, 0.5, 2),
        "ws_config": ({}, {}, {}),
        "send_queue_capacity": (256, 512, 128),
        "processor_error_policy": ("ignore", "ignore", "ignore"),
        "nodelay": (True, True, True),
        "channel_buffer_size": (4096, 4096, 4096),
    }.items():
        assert tuple(getattr(each, name) for each in (config, fast, stable)) == values, name


def test_defaults_of_extensions():
    assert (fastws.Extension.version, fastws.Extension.description) == ("1.0.0", "")
    assert (fastws.Extension.handles_lifecycle, fastws.Extension.handles_messages) == (True, False)
    config = fastws.LoggingConfig()
    assert (config.level, config.log_messages, config.max_message_len, config.prefix) == (
        fastws.LogLevel.INFO,
        False,
        200,
        "ws",
    )
    assert inspect.signature(fastws.AdvancedStatusViewer).parameters["history_limit"].default == 100


def test_the_default_connector():
    assert fastws.DefaultConnector().name == "default"
    assert fastws.DefaultConnector.low_latency()._options == {
        "nodelay": True,
        "max_size": 64 * 2**20,
        "max_frame_size": 16 * 2**20,
    }
    tls = fastws.TlsConfig()
    assert fastws.DefaultConnector().with_nodelay(False).with_tls(tls)._options == {"nodelay": False, "tls": tls}
    assert fastws.DefaultConnector().with_options(max_size=1)._options == {"max_size": 1}


def test_the_models_ways_to_send():
    async def main():
        connector = MemoryConnector()
        async with fastws.WebSocketClient("ws://h/", connector=connector) as client:
            assert type(client.sender()) is fastws.Sender
            for sender in (client, client.sender()):
                await sender.send_async("a")
                await sender.send_timeout("b", 1)
                await sender.send_text("c")
                await sender.send_binary(b"d")
                sender.send_nowait("e")
            assert connector.wires[0].sent == ["a", "b", "c", b"d", "e"] * 2

    run_virtual(main())


def test_everything_is_in_the_package_but_two_events_that_are_no_exceptions():
    prelude = """
        WebSocketClient ClientBuilder ClientConfig Sender ClientError ConnectError HandshakeError SendError
        ReceiveError ExponentialBackoff FixedDelay NoRetry CustomRetry RetryStrategy ConnectionContext
        ConnectionSnapshot Status Extension ExtensionHost LoggingExtension LoggingConfig LogLevel StatusViewer
        AdvancedStatusViewer AuthHandshaker ChainedHandshaker NoOpHandshaker SubscribeHandshaker
        SendMessageHandshaker Handshaker chain_handshakers Connector DefaultConnector DisconnectReason
        ActivityHandle ConnectionSupervisor
    """
    for name in prelude.split():
        assert name in fastws.__all__, name
    for event in (events.Error, events.FatalError):
        assert not hasattr(fastws, event.__name__)
        assert not issubclass(event, BaseException)


def test_the_builder_makes_a_client_that_runs():
    seen = []

    class Logs(fastws.Extension):
        name = "logs"

        def on_connect(self, context):
            seen.append(context.metadata["who"])

    async def main():
        connector = MemoryConnector()
        builder = fastws.WebSocketClient.builder("ws://h/")
        assert type(builder) is fastws.ClientBuilder
        client = builder.connector(connector).extension(Logs()).metadata({"who": "me"}).build()
        async with client:
            await client.send("a")
        assert connector.wires[0].sent == ["a"]
        assert seen == ["me"]

    run_virtual(main())


def test_subscribe_is_stream_and_events_are_heard_two_ways():
    async def main():
        connector = MemoryConnector()
        client = fastws.WebSocketClient("ws://h/", connector=connector)
        told = client.events()
        heard = []
        client.on(fastws.Ready, heard.append)
        assert not client.is_ready
        async with client:
            assert client.is_connected
            assert client.is_ready
            stream, same = client.stream(), client.subscribe()
            connector.wires[0].deliver("a", b"b")
            assert [[await each.recv() for _ in range(2)] for each in (stream, same)] == [["a", b"b"]] * 2
        told = [event async for event in told]
        assert [type(event).__name__ for event in told] == [
            "Connecting",
            "Connected",
            "Ready",
            "Disconnected",
            "Shutdown",
        ]
        assert heard == [told[2]]

    run_virtual(main())


def test_a_failure_is_counted_named_and_told_as_an_event():
    async def main():
        client = fastws.WebSocketClient(
            "ws://h/", connector=MemoryConnector(refused(), refused()), retry=fastws.FixedDelay(1, max_attempts=2)
        )
        told = []
        client.on(None, told.append)
        with pytest.raises(fastws.RetriesExhausted) as raised:
            await client.run()
        fatal = next(event for event in told if isinstance(event, events.FatalError))
        assert fatal.error is raised.value
        errors = [event for event in told if isinstance(event, events.Error)]
        assert [event.attempt for event in errors] == [1, 2]
        assert errors[1].error is raised.value.__cause__
        seen = client.snapshot()
        assert (seen.error_count, seen.last_error, seen.is_connected) == (2, errors[1].error, False)

    run_virtual(main())


def test_a_connector_has_a_name_and_makes_wires():
    """Any object that has both will do: ``Connector`` and ``Wire`` are protocols."""

    async def main():
        connector = MemoryConnector()
        assert isinstance(await connector.connect("ws://h/", {}), fastws.Wire)
        assert not isinstance(object(), fastws.Wire)
        supervisor = fastws.ConnectionSupervisor("ws://h/", connector=connector)
        assert await supervisor.connect() is connector.wires[1]
        for method in ("name", "connect"):
            assert hasattr(fastws.Connector, method)
            assert hasattr(fastws.DefaultConnector(), method)

    run_virtual(main())


def test_every_exception_of_a_client_has_its_class():
    for kind in (
        fastws.ConnectError,
        fastws.HandshakeError,
        fastws.SendError,
        fastws.ReceiveError,
        fastws.ExtensionError,
        fastws.ClientStopped,
    ):
        assert issubclass(kind, fastws.FastwsError)
    assert fastws.HandshakeError("the connection was closed", kind="closed").kind == "closed"


def test_urgent_messages_pass_others_and_what_expired_is_not_sent():
    async def main():
        connector = MemoryConnector()
        client = fastws.WebSocketClient("ws://h/", connector=connector, rate_limit=fastws.RateLimit(1, 1.0, burst=1))
        async with client:
            sender = client.sender()
            await sender.send("a")
            await sender.send("b")
            receipt = await sender.send("late", expires=0.1, receipt=True)
            await sender.send("now", urgent=True)
            with pytest.raises(fastws.NotSent, match="expired"):
                await receipt
            await asyncio.sleep(5)
            assert connector.wires[0].sent == ["a", "now", "b"]

    run_virtual(main())


def test_a_deadline_for_retries_is_a_function():
    async def main():
        loop = asyncio.get_running_loop()
        until = loop.time() + 10
        retry = fastws.CustomRetry(lambda failure: 3.0 if loop.time() + 3 <= until else None)
        client = fastws.WebSocketClient("ws://h/", retry=retry, connector=MemoryConnector(*[refused()] * 9))
        with pytest.raises(fastws.RetriesExhausted) as raised:
            await client.run()
        assert (loop.time(), raised.value.attempts) == (9, 4)

    run_virtual(main())


def test_a_context_has_the_defaults_of_a_first_connection():
    context = fastws.ConnectionContext(7)
    assert (context.connection_id, context.reconnect_count, context.is_reconnection) == (7, 0, False)
    assert (context.attempt, context.metadata) == (1, {})
    with pytest.raises(TypeError, match="connection_id"):
        fastws.ConnectionContext()


def test_an_advanced_viewer_of_a_client_says_how_it_is():
    async def main():
        viewer = fastws.AdvancedStatusViewer(history_limit=2)
        connector = MemoryConnector()
        client = fastws.WebSocketClient("ws://h/", connector=connector, extensions=[viewer])
        assert (viewer.current_status, viewer.is_connected) == (fastws.SessionStatus.DISCONNECTED, False)
        async with client:
            assert (viewer.current_status, viewer.is_connected) == (fastws.SessionStatus.CONNECTED, True)
            assert viewer.uptime is not None
        assert (viewer.current_status, viewer.is_connected) == (fastws.SessionStatus.DISCONNECTED, False)
        assert (viewer.connection_count, len(viewer.history)) == (1, 2)

    run_virtual(main())


def test_limits_of_the_handshakers_that_come_with_it_can_be_changed():
    for handshaker in (
        fastws.SendMessageHandshaker("x"),
        fastws.AuthHandshaker("x"),
        fastws.SubscribeHandshaker(["a"]),
    ):
        changed = handshaker.with_timeout(3)
        assert type(changed) is type(handshaker)
        assert (changed.name, changed.timeout) == (handshaker.name, 3.0)
    chain = fastws.ChainedHandshaker(fastws.AuthHandshaker("x"))
    assert chain.with_timeout(3).timeout == 3.0
    assert chain.without_timeout().timeout is None
    assert len(chain) == 1
    assert len(fastws.ChainedHandshaker()) == 0


def test_the_settings_of_logging_can_each_be_changed():
    config = fastws.LoggingConfig().with_level(fastws.LogLevel.DEBUG).with_messages().with_max_len(7).with_prefix("x")
    assert config == fastws.LoggingConfig(fastws.LogLevel.DEBUG, True, 7, "x")
    assert fastws.LoggingExtension.with_config(config).config == config


def test_an_extension_host_says_whom_it_has():
    class Named(fastws.Extension):
        name = "named"

    host = fastws.ExtensionHost([Named()])
    assert (len(host), host.names) == (1, ("named",))
    assert host.get("named").version == "1.0.0"


def test_a_supervisor_alone():
    async def main():
        supervisor = fastws.ConnectionSupervisor("ws://user:secret@h/?t=1", connector=MemoryConnector())
        events_told = supervisor.events()
        await supervisor.connect()
        assert supervisor.uri == "ws://***@h/?***"
        assert supervisor.connection_id == supervisor.snapshot().id == 1
        assert not supervisor.is_connected
        supervisor.update_activity()
        supervisor.mark_disconnected(fastws.DisconnectReason("normal"))
        told = [await anext(events_told) for _ in range(3)]
        assert [type(event).__name__ for event in told] == ["Connecting", "Connected", "Disconnected"]
        assert not supervisor.is_shutdown_requested
        supervisor.shutdown()
        assert supervisor.is_shutdown_requested
        with pytest.raises(fastws.ClientStopped):
            await supervisor.connect()
        cause = OSError("gone")
        assert supervisor.fatal(cause) is cause
        assert (await anext(events_told)).error is cause

    run_virtual(main())
