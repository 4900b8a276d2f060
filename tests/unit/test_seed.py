"""The migration page maps every row of the model to a name of ours and to a test; both are there."""

import ast
import asyncio
import functools
import inspect
import re
from pathlib import Path

import pytest

import fastws
from model_faults import numbered_tests
from virtual_time import run_virtual
from wires import MemoryConnector

TESTS = Path(__file__).parents[1]
PAGE = (TESTS.parent / "docs/howto/migrate-stream-tungstenite.md").read_text(encoding="utf-8")
ROWS = [[cell.strip() for cell in line.strip("| ").split(" | ")] for line in PAGE.splitlines() if line.startswith("| ")]
MAPPED = [row for row in ROWS if "::" in row[-1] and not row[0].isdigit()]
FAULTS = {int(row[0]): re.findall(r"`([^`]+)`", row[-1]) for row in ROWS if row[0].isdigit()}


@functools.cache
def tests_in(path):
    tree = ast.parse((TESTS / path).read_text(encoding="utf-8"))
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


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
def test_each_row_has_a_name_that_resolves_and_a_test_that_exists(row):
    names = re.findall(r"`([A-Z][\w.]*|[a-z]+\.[\w.]+|is_retryable|chain_handshakers)`", row[1])
    allowed = {"TimeoutError", "WebSocket"}
    assert names or row[1].startswith("not built: ")
    assert [name for name in names if name not in allowed and not resolves(name)] == []
    for test in re.findall(r"`([^`]+)`", row[2]):
        path, _, function = test.partition("::")
        assert function in tests_in(path), test


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
            for sender in (client, client.sender()):
                await sender.send_async("a")
                await sender.send_timeout("b", 1)
                await sender.send_text("c")
                await sender.send_binary(b"d")
                sender.send_nowait("e")
            assert connector.wires[0].sent == ["a", "b", "c", b"d", "e"] * 2

    run_virtual(main())


def test_a_supervisor_alone():
    async def main():
        supervisor = fastws.ConnectionSupervisor("ws://user:secret@h/?t=1", connector=MemoryConnector())
        events = supervisor.events()
        await supervisor.connect()
        assert supervisor.uri == "ws://***@h/?***"
        assert supervisor.connection_id == supervisor.snapshot().id == 1
        assert not supervisor.is_connected
        supervisor.mark_disconnected(fastws.DisconnectReason("normal"))
        told = [await anext(events) for _ in range(3)]
        assert [type(event).__name__ for event in told] == ["Connecting", "Connected", "Disconnected"]
        await asyncio.sleep(0)

    run_virtual(main())
