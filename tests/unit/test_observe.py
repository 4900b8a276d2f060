"""What a client counts (observe.py)."""

import asyncio
import itertools
from dataclasses import fields

import fastws
from fastws.errors import DialError
from virtual_time import run_virtual
from wires import QUIET, MemoryConnector, client_of

GAUGES = {"waiting_messages", "retained_messages", "streams", "ready", "generation"}


def counters(stats):
    return {field.name: getattr(stats, field.name) for field in fields(stats) if field.name not in GAUGES}


def test_counters_go_over_all_connections_and_never_back():
    async def main():
        connector = MemoryConnector(DialError("refused", uri="ws://venue.example/feed", phase="tcp"))
        client = client_of(connector, config=QUIET.replace(on_disconnect_send="drop"))
        assert set(counters(client.stats()).values()) == {0}
        seen = []
        client.on(None, lambda _event: seen.append(client.stats()))
        await client.send("dropped")
        for _ in range(2):
            async with client:
                with client.stream() as stream:
                    connector.wires[-1].deliver("a", "b")
                    assert [await stream.recv(), await stream.recv()] == ["a", "b"]
                await client.send("c")
                seen.append(client.stats())
        stats = client.stats()
        assert (stats.attempts, stats.connections, stats.sessions, stats.outages, stats.errors) == (3, 2, 2, 2, 1)
        assert (stats.messages_received, stats.messages_sent, stats.messages_dropped) == (4, 2, 1)
        assert (stats.ready, stats.streams, stats.generation) == (0, 0, 2)
        snapshot = client.state()
        assert (snapshot.messages_received, snapshot.messages_sent) == (4, 2)
        seen.append(stats)
        for before, after in itertools.pairwise(seen):
            for name, value in counters(before).items():
                assert value <= getattr(after, name), name

    run_virtual(main())


def test_gauges_tell_of_this_moment():
    async def main():
        connector = MemoryConnector()
        client = client_of(connector)
        async with client:
            with client.stream():
                connector.wires[0].deliver("a")
                await asyncio.sleep(1)
                stats = client.stats()
                assert (stats.ready, stats.streams, stats.retained_messages) == (1, 1, 1)

    run_virtual(main())


def test_prometheus_reads_them():
    text = client_of(MemoryConnector()).stats().as_prometheus(venue='a"b\\c\n')
    lines = text.splitlines()
    assert text.endswith("\n")
    assert "# TYPE fastws_client_attempts_total counter" in lines
    assert 'fastws_client_attempts_total{venue="a\\"b\\\\c\\n"} 0' in lines
    assert "# TYPE fastws_client_ready gauge" in lines
    assert len(lines) == 2 * len(fields(fastws.ClientStats))
