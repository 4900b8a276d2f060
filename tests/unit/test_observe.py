"""What a client counts (observe.py)."""

import asyncio
import itertools
import re
from dataclasses import fields

import pytest

import fastws
from fastws.errors import DialError
from fastws.observe import as_prometheus
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


def read_prometheus(text):
    """The samples, and each metric's type, of a text in Prometheus' format, which is checked on the way."""
    samples, types = {}, {}
    assert text.endswith("\n")
    for line in text.splitlines():
        if line.startswith("# TYPE "):
            _, _, name, kind = line.split(" ")
            assert name not in types, f"{name} has two types"
            types[name] = kind
            continue
        name, labels, value = re.fullmatch(r"([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)", line, re.ASCII).groups()
        assert [*types][-1] == name, "samples stand below their type"
        assert (name, labels) not in samples, f"{line} comes twice"
        samples[name, labels] = float(value)
    return samples, types


def test_several_clients_are_one_text_with_one_type_for_each_name():
    async def main():
        connector = MemoryConnector()
        quiet, busy = client_of(MemoryConnector()), client_of(connector)
        async with busy:
            await busy.send("a")
            text = as_prometheus(
                [(quiet.stats(), {"venue": "x", "line": "1"}), (busy.stats(), {"line": "2", "venue": 'y"'})]
            )
        samples, types = read_prometheus(text)
        assert len(types) == len(fields(fastws.ClientStats))
        assert len(samples) == 2 * len(types)
        assert samples["fastws_client_messages_sent_total", 'line="1",venue="x"'] == 0
        assert samples["fastws_client_messages_sent_total", 'line="2",venue="y\\""'] == 1
        assert types["fastws_client_ready"] == "gauge"
        assert types["fastws_client_messages_sent_total"] == "counter"
        alone = read_prometheus(busy.stats().as_prometheus("mine:too"))[0]
        assert alone["mine:too_messages_sent_total", None] == 1
        assert as_prometheus([]) == ""

    run_virtual(main())


def test_what_prometheus_would_not_take_is_refused():
    async def main():
        stats = client_of(MemoryConnector()).stats()
        with pytest.raises(ValueError, match="the same labels"):
            as_prometheus([(stats, {"venue": "x"}), (stats, {"venue": "x"})])
        with pytest.raises(ValueError, match="the same labels"):
            as_prometheus([(stats, {}), (stats, {})])
        for labels in ({"a b": "x"}, {"": "x"}, {"1a": "x"}, {"ä": "x"}, {"a:b": "x"}):
            with pytest.raises(ValueError, match="no name in Prometheus"):
                as_prometheus([(stats, labels)])
        for prefix in ("", "a b", "1"):
            with pytest.raises(ValueError, match="no name in Prometheus"):
                stats.as_prometheus(prefix)

    run_virtual(main())
