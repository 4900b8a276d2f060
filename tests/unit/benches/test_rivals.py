import argparse
import dataclasses
import gzip
import itertools
import json
import mmap
import socket
import sys

import pytest

import clients
import fastws
import fastws.testing
import measure
import meter
import peer
import recorded
import rivals
import scenarios
from meter import Sample
from peers import SMALL, Gate, Peer, Wire, stalled
from scenarios import Scenario


def sample(**values):
    return Sample(**{"operations": 10, "seconds": 2.0, "cpu_seconds": 0.5, "switches": 4} | values)


def test_a_result_holds_what_a_chart_needs():
    taken = {"fastws": [sample(p50_us=12.0, p999_us=99.0), sample(p50_us=14.0)]}
    result = rivals.result(Scenario("latency", 128, rate=100), taken, {"aiohttp": "gone"})
    assert (result["scenario"], result["unit"], result["better"]) == ("latency 100/s 128 B TCP", "µs", "less")
    assert result["values"] == {"fastws": [12.0, 14.0]}
    assert result["failures"] == {"aiohttp": "gone"}
    again = json.loads(json.dumps(result))
    assert [Sample(**one) for one in again["samples"]["fastws"]] == taken["fastws"]


def run_rounds(monkeypatch, outcomes):
    def run_once(client, scenario, server, args):
        asked.append(client)
        return outcomes[client]

    asked = []
    monkeypatch.setattr(rivals, "run_once", run_once)
    args = argparse.Namespace(rounds=2)
    return asked, *rivals.run_rounds(Scenario("ingest"), list(outcomes), peer.Peer("ws://x"), args)


def test_rounds_are_interleaved_and_go_on_when_a_client_fails(monkeypatch):
    outcomes = {"one": sample(), "two": "exit status 139", "three": sample()}
    asked, samples, failures = run_rounds(monkeypatch, outcomes)
    assert asked == ["one", "two", "three", "one", "three"]
    assert {name: len(taken) for name, taken in samples.items()} == {"one": 2, "three": 2}
    assert failures == {"two": "exit status 139"}


def test_what_takes_long_and_hardly_varies_has_fewer_rounds(monkeypatch):
    monkeypatch.setattr(rivals, "run_once", lambda *_: sample())
    args = argparse.Namespace(rounds=5)
    samples, _ = rivals.run_rounds(Scenario("idle", rounds=2), ["one"], peer.Peer("ws://x"), args)
    assert len(samples["one"]) == 2
    args.rounds = 1
    samples, _ = rivals.run_rounds(Scenario("idle", rounds=2), ["one"], peer.Peer("ws://x"), args)
    assert len(samples["one"]) == 1


def test_another_server_is_asked_only_for_what_it_has_to_offer():
    args = argparse.Namespace(only=["latency", "1,000", "stopped", "unawaited", "send", "decode", "TLS", "compressed"])
    found = rivals.chosen(args, peer.Peer("ws://x"))
    assert {scenario.kind for scenario in found} == {"send", "send-each-turn", "blocking-send"}


def test_who_is_measured_in_what():
    latency = Scenario("latency", 128, rate=100)
    able = {client.name for client in clients.ALL if measure.is_possible(client, latency)}
    assert {"fastws", "fastws callback", "fastws busy poll", "fastws spin", "websocket-rs sync"} <= able
    assert not {"fastws batches", "fastws send_many", "fastws gather"} & able
    secure = Scenario("latency", 128, tls=True, rate=100)
    assert not measure.is_possible(clients.WebsocketRsSync, secure)


def test_slow_clients_do_less_but_not_of_what_is_paced_or_held_in_memory():
    assert Scenario("send", count=1000).shared(0.1).count == 100
    for kind in scenarios.FIXED:
        assert Scenario(kind, count=1000).shared(0.1).count == 1000


@pytest.mark.skipif(sys.platform != "linux", reason="the peak can be reset on Linux only")
def test_growth_is_of_the_peak_since_then():
    size = 48 << 20
    _touched(size).close()
    growth = meter.Growth()
    assert growth.bytes() < size // 4
    held = _touched(size // 2)
    assert growth.bytes() > size // 4
    held.close()
    assert size // 4 < growth.bytes() < size


def _touched(size):
    """Memory of its own from the kernel: what the allocator gives may be resident already."""
    held = mmap.mmap(-1, size)
    held[:: mmap.PAGESIZE] = b"x" * (size // mmap.PAGESIZE)
    return held


@pytest.mark.parametrize(
    "scenario",
    [
        Scenario("send-each-turn", 128, count=200),
        Scenario("latency", 128, count=200, rate=2000),
        Scenario("connections", 128, count=1500, rate=50, connections=60),
    ],
    ids=lambda scenario: scenario.kind,
)
@pytest.mark.parametrize("client", [clients.FastwsIterate, clients.FastwsListener, clients.FastwsSendNowait])
def test_our_clients_do_what_they_are_measured_in(client, scenario, bench_peer, monkeypatch):
    monkeypatch.setattr(measure, "OPENING", 1.0)
    if not measure.is_possible(client, scenario):
        pytest.skip("another entry's")
    taken = measure.run(measure.measure(client(""), scenario, bench_peer), "asyncio")
    if scenario.kind == "connections":
        assert taken.operations > 0
    else:
        assert taken.operations == scenario.count
    if scenario.kind == "latency":
        assert 0 < taken.p50_us <= taken.p99_us <= taken.p999_us <= taken.worst_us


@pytest.fixture
def recorded_peer(bench_peer, monkeypatch):
    """The benchmarks' peer with a recorded feed of few messages."""
    monkeypatch.setattr(measure, "SILENCE", 0.0)
    monkeypatch.setattr(measure, "MANY", 5)
    with fastws.testing.Server() as server:
        texts = recorded.texts(RECORDED)
        server.add_feed(peer.RECORDED, [(0.0, "text", text.encode()) for text in texts])
        yield dataclasses.replace(bench_peer, ws=server.url("/").removesuffix("/"), recorded_messages=len(texts))
        agreed = [dict(report.headers).get("Sec-WebSocket-Extensions", "") for report in server.connections()]
        assert all("permessage-deflate" in offer for offer in agreed)


RECORDED = 300


@pytest.mark.parametrize("kind", scenarios.COMPRESSED)
@pytest.mark.parametrize(
    "client", [clients.FastwsIterate, clients.FastwsListener, clients.FastwsBatches, clients.FastwsSync]
)
def test_our_clients_compress_where_that_is_measured(client, kind, recorded_peer):
    scenario = Scenario(kind, count=10 if kind == "compressed-memory" else RECORDED)
    if not measure.is_possible(client, scenario):
        pytest.skip("another entry's")
    taken = measure.run(measure.measure(client("", compresses=True), scenario, recorded_peer), "asyncio")
    assert taken.operations == scenario.count


@pytest.mark.parametrize(
    "scenario",
    [
        Scenario("blocking-round-trip", 32, count=100),
        Scenario("blocking-ingest", 128, count=1000),
        Scenario("blocking-send", 128, count=1000),
        Scenario("blocking-latency", 128, count=200, rate=2000),
    ],
    ids=lambda scenario: scenario.kind,
)
def test_our_blocking_client_does_what_it_is_measured_in(scenario, bench_peer):
    taken = measure.run(measure.measure(clients.FastwsSync(""), scenario, bench_peer), "asyncio")
    assert taken.operations == scenario.count


@pytest.mark.parametrize("folder", [True, False], ids=["recorded", "generated"])
def test_recorded_messages_begin_again_where_more_are_wanted(folder, monkeypatch, tmp_path):
    monkeypatch.setattr(recorded, "FOLDER", tmp_path)
    monkeypatch.setattr(recorded, "GENERATED", 50)
    if folder:
        events = [{"dir": "open", "text": "wss://x"}, {"dir": "send", "text": "s"}, {"dir": "recv", "text": "a"}]
        events += [{"dir": "recv", "b64": "YWE="}, {"dir": "recv", "text": "b"}]
        with gzip.open(tmp_path / "one.jsonl.gz", "wt") as file:
            file.writelines(json.dumps(event) + "\n" for event in events)
        assert recorded.texts(5) == ["a", "b", "a", "b", "a"]
    else:
        found = recorded.texts(120)
        once = found[: found.index(found[0], 1)]
        assert 0 < len(once) <= 50
        assert found == (once * 120)[:120]


class Unhearing:
    """What `measure` wants of a server; this one reads nothing before the gate is open, and its buffers are small."""

    def __init__(self, gate):
        # The first connection is only there to warm up.
        self._peer = Peer(Wire.answer_close, stalled(gate), buffers=SMALL)

    def url(self, target, **_):
        return self._peer.url.removesuffix("/") + target

    def mark(self):
        return "marked"

    def received(self, _mark):
        with self._peer:  # until its threads are done
            pass
        return len(self._peer.results[-1])


@pytest.mark.parametrize("client", [clients.FastwsIterate, clients.FastwsSendNowait, clients.FastwsGathered])
def test_of_unawaited_sends_each_is_received_or_refused_with_a_word(client, monkeypatch):
    """The server reads when the last one was tried: 32 MiB, of which the send queue takes 8 MiB and the kernel less."""
    many = Scenario("unawaited-sends", 16 << 10, count=2_000)
    queue = 500
    gate, tried = Gate(), itertools.count(1)

    async def open_small(self, url):
        buffer = (socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        return await fastws.connect(url, max_send_queue=queue, sockopts=[buffer])

    class Counting(client):
        def sender(self, connection, payload):
            send = super().sender(connection, payload)

            def counted():
                try:
                    return send()
                finally:
                    if next(tried) == many.count:
                        gate.open()

            return counted

    monkeypatch.setattr(clients.FastwsIterate, "open", open_small)
    taken = measure.run(measure.measure(Counting(""), many, Unhearing(gate)), "asyncio")
    assert (taken.operations, taken.lost) == (many.count, 0)
    if client is clients.FastwsGathered:
        assert taken.refused == 0
    else:
        assert many.count // 2 < taken.refused <= many.count - queue


def test_a_consumer_that_stops_gets_every_message_in_its_order(bench_peer, monkeypatch):
    monkeypatch.setattr(scenarios, "PAUSE", 0.1)
    flood = Scenario("stopped-consumer", 1 << 10, count=500)
    taken = measure.run(measure.measure(clients.FastwsIterate(""), flood, bench_peer), "asyncio")
    assert taken.operations == 500


def test_rows_against_a_punctual_server_are_named_so_and_of_few_clients():
    rows = {scenario.name: scenario for scenario in scenarios.PUNCTUAL}
    assert list(rows) == [
        "round-trip 256 B TCP punctual",
        "round-trip 256 B TLS punctual",
        "round-trip 8 KiB TCP punctual",
        "round-trip 100 KiB TCP punctual",
    ]
    for row in rows.values():
        assert row.is_punctual
        assert row.target(10) == "/echo"
        measured = {client.name for client in clients.ALL if measure.is_possible(client, row)}
        assert measured == set(scenarios.PUNCTUAL_CLIENTS)


def test_rows_against_a_punctual_server_are_left_out_where_there_is_none():
    args = argparse.Namespace(only=["punctual"])
    assert rivals.chosen(args, peer.Peer("ws://x", "wss://x")) == []
    served = peer.Peer("ws://x", "wss://x", punctual_ws="ws://y", punctual_wss="wss://y")
    assert rivals.chosen(args, served) == list(scenarios.PUNCTUAL)
