"""Fixtures of the benchmarks: the peer, the clients, and how a measurement becomes pytest-benchmark's.

What pytest-benchmark takes for the time of a round is the figure that the table of ``make bench-rivals`` compares, so
that ``--benchmark-compare`` compares it too: the time of one operation without what comes before and after it, the
median latency, the CPU time of a message; of memory a second stands for a KiB or a MiB.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import clients
import machine
import measure
import rivals
import scenarios
from figures import Figure, figure
from meter import Sample
from peer import Peer, running

ROUNDS = 5
SECONDS = {"µs": 1e-6, "KiB": 1.0, "MiB": 1.0}


class Figures:
    """A timer that goes on by what was measured, and by nothing else."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def add(self, of: Figure, sample: Sample) -> None:
        value = of.of(sample)
        self.now += 1 / value if of.better == "more" else value * SECONDS[of.unit]


FIGURES = Figures()


@pytest.fixture(scope="session")
def peer() -> Iterator[Peer]:
    core, _ = machine.cores()
    with running() as server:
        machine.pin(core)
        yield server


@pytest.fixture
def run(benchmark: Any, peer: Peer) -> Callable[[str, scenarios.Scenario], None]:
    """Runs a scenario with a client."""
    pytest.importorskip("uvloop")

    def run(name: str, scenario: scenarios.Scenario) -> None:
        if scenario.tls and not peer.wss:
            pytest.skip("the server of FASTWS_BENCH_WS speaks no TLS")
        if scenario.kind == "decode" and not peer.feed_messages:
            pytest.skip("the server of FASTWS_BENCH_WS replays no feed")
        if scenario.kind in scenarios.OURS and not peer.counts:
            pytest.skip("the server of FASTWS_BENCH_WS does not offer this")
        of, samples = figure(scenario), []

        def once() -> None:
            sample = _sample(name, scenario, peer)
            samples.append(sample)
            FIGURES.add(of, sample)

        benchmark.group = scenario.name
        benchmark.pedantic(once, rounds=ROUNDS, iterations=1)
        benchmark.extra_info.update(client=name, unit=of.unit, better=of.better, **_middle(of, samples))

    return run


def _sample(name: str, scenario: scenarios.Scenario, peer: Peer) -> Sample:
    if scenario.kind in scenarios.IN_MEMORY:
        outcome = rivals.run_once(name, scenario, peer, argparse.Namespace(loop="uvloop", scale=1.0))
        if isinstance(outcome, str):
            pytest.fail(outcome)
        return outcome
    client = clients.named(name)(peer.ca_pem)
    return measure.run(measure.measure(client, scenario, peer), "uvloop", spin=client.is_spinning)


def _middle(of: Figure, samples: list[Sample]) -> dict[str, Any]:
    """The sample in the middle, as extra information."""
    middle = sorted(samples, key=of.of)[len(samples) // 2]
    return asdict(middle) | {
        "value": statistics.median(of.of(sample) for sample in samples),
        "per_second": round(middle.rate),
        "cpu_us": round(middle.cpu_us, 3),
        "switches_each": round(middle.switches_each, 4),
    }


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        item.add_marker(pytest.mark.benchmark(timer=FIGURES))


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
