"""What a session looks for by the clock (_watch.py), on wires in memory."""

import asyncio

import pytest

import fastws
from fastws import _core
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

counts_natively = pytest.mark.skipif(
    not _core._clock_at(), reason="a release build goes by the real clock; `make test` builds another"
)
"""The native module knows since when a stream is not read."""


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


@counts_natively
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

    run_virtual(main(), look_ns=1)


@counts_natively
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

    run_virtual(main(), look_ns=1)


@counts_natively
@pytest.mark.parametrize("full_at", [0.0, 1.0, 4.9, 7.0])
def test_a_stream_is_named_as_soon_as_it_was_not_read_for_five_seconds(full_at, caplog):
    async def main():
        connector = MemoryConnector()
        client = client_of(connector, config=QUIET.replace(queue_messages=4))
        async with client:
            stream = client.stream()
            await asyncio.sleep(full_at)
            connector.wires[0].deliver(*"abcdefgh")
            await asyncio.sleep(4.9)
            assert "not read for" not in caplog.text
            # Somebody looks every five seconds; from then on to the millisecond.
            await asyncio.sleep(0.2)
            assert "not read for 5 s" in caplog.text
            stream.close()

    run_virtual(main(), look_ns=1)


def test_who_waits_for_a_first_stream_is_named_however_late_it_is_full(caplog):
    async def main():
        connector = MemoryConnector()
        client = client_of(connector, config=QUIET.replace(queue_messages=4))
        async with client:
            await asyncio.sleep(600)
            connector.wires[0].deliver(*"abcdefgh")
            await asyncio.sleep(11)
            assert caplog.text.count("messages wait for a first client.stream()") == 1

    run_virtual(main())


def fill(wire):
    wire.deliver(*map(str, range(20)))


async def overfull(client, connector):
    """A stream that has five times of what it may have, and whose session has ended."""
    stream = client.stream()
    fill(connector.wires[0])
    await asyncio.sleep(1)
    client.reconnect()
    await asyncio.sleep(0.01)
    assert client._ring.is_overfull
    return stream


def test_no_connection_is_dialled_while_four_times_what_a_stream_may_have_waits_for_it():
    async def main():
        connector = MemoryConnector()
        client = client_of(connector, config=QUIET.replace(queue_messages=4))
        async with client:
            stream = await overfull(client, connector)
            await asyncio.sleep(30)
            assert connector.attempts == [0]
            assert await take(stream, 3) == ["0", "1", "2"]
            await asyncio.sleep(1)
            assert connector.attempts == [0]
            assert await take(stream, 17) == [str(number) for number in range(3, 20)]
            await connector.wire(2)
            await client.wait_ready()

    run_virtual(main())


def test_the_wait_for_room_ends_with_the_client_and_with_the_stream():
    async def main():
        connector = MemoryConnector()
        client = client_of(connector, config=QUIET.replace(queue_messages=4))
        async with client:
            stream = await overfull(client, connector)
            stream.close()
            await connector.wire(2)
            await client.wait_ready()
        before = asyncio.get_running_loop().time()
        async with client:
            stream = client.stream()
            fill(connector.wires[2])
            await asyncio.sleep(1)
            client.reconnect()
            await asyncio.sleep(1)
        assert asyncio.get_running_loop().time() - before < 3
        assert len([message async for message in stream]) == 20

    run_virtual(main())


@counts_natively
def test_who_keeps_a_connection_from_being_dialled_is_named(caplog):
    async def main():
        connector = MemoryConnector()
        client = client_of(connector, config=QUIET.replace(queue_messages=4))
        async with client:
            stream = await overfull(client, connector)
            await asyncio.sleep(5)
            assert caplog.text.count("not read for") == 1
            stream.close()

    run_virtual(main(), look_ns=1)


@pytest.mark.parametrize("message_key", [None, str])
def test_nor_is_one_to_replace_another_which_stays_until_there_is_room(message_key, caplog):
    async def main():
        connector = MemoryConnector()
        config = QUIET.replace(queue_messages=4, max_connection_age=60)
        client = client_of(connector, config=config, message_key=message_key)
        async with client:
            stream, told = client.stream(), []
            client.on(Disconnected, told.append)
            fill(connector.wires[0])
            while not client._ring.is_overfull:  # a stream that is merely full keeps no connection from being replaced
                await asyncio.sleep(1)
            now = len(connector.wires)
            assert now >= 2
            fill(connector.wires[-1])
            last = connector.wires[-1]
            await asyncio.sleep(600)
            assert len(connector.wires) == now
            assert last.is_open
            assert caplog.text.count("stays until streams are read") == 1
            assert {event.reason.kind for event in told} == {"rotation"}
            assert await take(stream, 40 if message_key is None else 20) == [str(number) for number in range(20)] * (
                2 if message_key is None else 1
            )
            await connector.wire(now + 1)
            await asyncio.sleep(61)
            assert not last.is_open
            assert client.is_ready

    run_virtual(main())


@pytest.mark.parametrize("end", ["reset", "reconnect", "shutdown"])
def test_a_session_that_waits_to_be_replaced_ends_as_any_other(end):
    async def main():
        connector = MemoryConnector()
        client = client_of(connector, config=QUIET.replace(queue_messages=4, max_connection_age=60))
        async with client:
            stream = client.stream()
            fill(connector.wires[0])
            await asyncio.sleep(100)
            fill(connector.wires[1])
            await asyncio.sleep(100)
            before = asyncio.get_running_loop().time()
            match end:
                case "reset":
                    connector.wires[1].reset()
                case "reconnect":
                    client.reconnect()
                case "shutdown":
                    await client.shutdown()
                    assert asyncio.get_running_loop().time() - before < 1
                    return
            await asyncio.sleep(1)
            assert len(connector.wires) == 2
            assert len(await take(stream, 40)) == 40
            await connector.wire(3)
            await client.wait_ready()

    run_virtual(main())


def test_who_waits_for_a_session_before_reading_on_gets_one_though_the_stream_is_full():
    async def main():
        connector = MemoryConnector()
        client = client_of(connector, config=QUIET.replace(queue_messages=4))
        async with client:
            stream = client.stream()
            connector.wires[0].deliver(*"abcdef")
            await asyncio.sleep(1)
            client.reconnect()
            await asyncio.sleep(0.01)
            assert client._ring.is_full
            await client.wait_ready()
            await client.send("answer")
            assert connector.wires[1].sent == ["answer"]
            assert await take(stream, 6) == list("abcdef")

    run_virtual(main())


def test_who_was_not_read_was_not_silent():
    """A ping is not answered while a message waits for room, and what came behind it is not known."""

    async def main():
        connector, seen = MemoryConnector(), []
        client = client_of(connector, config=fastws.ClientConfig(receive_timeout=20, queue_messages=4))
        client.on(Disconnected, seen.append)
        async with client:
            stream = client.stream()
            connector.wires[0].deliver(*"abcdefgh")
            await asyncio.sleep(30)
            connector.wires[0].keepalive_lost()
            client._session.look_whether_over()
            await asyncio.sleep(0.001)
            assert [event.reason.kind for event in seen] == ["keepalive"]
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
