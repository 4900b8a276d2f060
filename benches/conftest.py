"""Fixtures of the benchmarks: the peer, the clients, and how a measurement becomes pytest-benchmark's."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import clients
import machine
import measure
import scenarios
from peer import Peer, running

ROUNDS = 5


@pytest.fixture(scope="session")
def peer() -> Iterator[Peer]:
    core, _ = machine.cores()
    with running() as server:
        machine.pin(core)
        yield server


@pytest.fixture(scope="module", params=["uvloop"])
def loop(request: pytest.FixtureRequest) -> Iterator[asyncio.AbstractEventLoop]:
    uvloop = pytest.importorskip("uvloop")
    loop = uvloop.new_event_loop()
    yield loop
    loop.close()


@pytest.fixture
def run(benchmark: Any, peer: Peer, loop: asyncio.AbstractEventLoop) -> Callable[[str, scenarios.Scenario], None]:
    """Runs a scenario with a client; the benchmark's time is that of all its operations."""

    def run(name: str, scenario: scenarios.Scenario) -> None:
        if scenario.tls and not peer.wss:
            pytest.skip("the server of FASTWS_BENCH_WS speaks no TLS")
        if scenario.kind == "decode" and not peer.feed_messages:
            pytest.skip("the server of FASTWS_BENCH_WS replays no feed")
        client = clients.named(name)(peer.ca_pem)
        samples = []

        def once() -> None:
            samples.append(loop.run_until_complete(measure.measure(client, scenario, peer)))

        benchmark.group = scenario.name
        benchmark.pedantic(once, rounds=ROUNDS, iterations=1)
        samples.sort(key=lambda sample: sample.rate)
        middle = samples[len(samples) // 2]
        benchmark.extra_info.update(
            client=name,
            operations=middle.operations,
            per_second=round(middle.rate),
            cpu_us=round(middle.cpu_us, 3),
            switches=round(middle.switches_each, 4),
            bytes_each=round(middle.bytes_each),
        )

    return run


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Every scenario with every client, for the scenarios that the module names as SCENARIOS."""
    if "scenario" not in metafunc.fixturenames:
        return
    pairs = [
        pytest.param(scenario, client.name, id=f"{scenario.name}, {client.name}")
        for scenario in metafunc.module.SCENARIOS
        for client in clients.installed()
        if measure.is_possible(client, scenario)
    ]
    metafunc.parametrize(("scenario", "client"), pairs)
