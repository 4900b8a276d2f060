"""What a session looks for by the clock (_watch.py), on wires in memory."""

import asyncio

import pytest

import fastws
from fastws.errors import (
    DataTimeout,
    KeepaliveTimeout,
    ReceiveTimeout,
)
from fastws.events import (
    Disconnected,
)
from rings import take
from virtual_time import run_virtual
from wires import QUIET, MemoryConnector, client_of


def test_fault_23_silence_is_cut_at_receive_timeout_and_a_timeout_of_none_never():
    async def main():
        connector = MemoryConnector()
        client = client_of(connector, config=fastws.ClientConfig(receive_timeout=20))
        seen = []
        client.on(Disconnected, seen.append)
        async with client:
            await asyncio.sleep(15)
            connector.wires[0].deliver("alive")
            await asyncio.sleep(19)
            assert seen == []
            await asyncio.sleep(2)
            (event,) = seen
            assert event.reason.kind == "receive_timeout"
            assert isinstance(event.reason.cause, ReceiveTimeout)
            assert str(event.reason).startswith("timeout")
            assert connector.wires[0].closed_by_client == "abort"

        quiet = client_of(MemoryConnector())
        async with quiet:
            await asyncio.sleep(7200)
            assert quiet.is_ready
            assert quiet.snapshot().reconnect_count == 0

    run_virtual(main())


def test_data_silence_is_a_cause_of_its_own_and_never_stable():
    async def main():
        connector = MemoryConnector()
        client = client_of(
            connector,
            config=QUIET.replace(data_timeout=30),
            retry=fastws.ExponentialBackoff(1.0, 100.0, 2.0, jitter=0),
        )
        seen = []
        client.on(Disconnected, seen.append)
        async with client:
            await asyncio.sleep(65)
            assert [event.reason.kind for event in seen] == ["data_timeout", "data_timeout"]
            assert isinstance(seen[0].reason.cause, DataTimeout)

    run_virtual(main())


def test_a_stream_that_is_not_read_is_named_once_and_in_the_cause(caplog):
    async def main():
        connector = MemoryConnector()
        client = client_of(connector, config=QUIET.replace(queue_messages=4))
        seen = []
        client.on(Disconnected, seen.append)
        async with client:
            stream = client.stream()
            wire = connector.wires[0]
            wire.deliver(*"abcdefgh")
            await asyncio.sleep(30)
            named = [record for record in caplog.records if "not read for" in record.getMessage()]
            assert len(named) == 1
            assert "Stream" in named[0].getMessage()
            client.reconnect()
            await asyncio.sleep(0.1)
            assert any("not read for" in note for note in seen[0].reason.cause.__notes__)
            assert await take(stream, 4) == ["a", "b", "c", "d"]

    run_virtual(main())


def test_a_stream_made_late_that_nobody_reads_is_named_too(caplog):
    async def main():
        connector = MemoryConnector()
        client = client_of(connector, config=QUIET.replace(queue_messages=4))
        async with client:
            await asyncio.sleep(15)
            stream = client.stream()
            connector.wires[0].deliver(*"abcdefgh")
            await asyncio.sleep(12)
            assert any("was not read for" in record.getMessage() for record in caplog.records)
            stream.close()

    run_virtual(main())


@pytest.mark.parametrize("after", [19.9, 20.0, 20.02])
def test_a_silence_has_one_name_whichever_timer_finds_it(after):
    kind = "keepalive" if after < 20 else "receive_timeout"

    async def main():
        connector, seen = MemoryConnector(), []
        client = client_of(connector, config=fastws.ClientConfig(receive_timeout=20))
        client.on(Disconnected, seen.append)
        async with client:
            await asyncio.sleep(after)
            connector.wires[0].keepalive_lost()
            await asyncio.sleep(0.001)
        reason = seen[0].reason
        assert reason.kind == kind
        if kind == "receive_timeout":
            assert isinstance(reason.cause, ReceiveTimeout)
            assert isinstance(reason.cause.__cause__, KeepaliveTimeout)
            assert str(reason).endswith(f"nothing received for {after:.3g} s (receive_timeout is 20 s)")

    run_virtual(main())
