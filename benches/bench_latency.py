"""From the server's send to the user's code: ``p50_us`` to ``worst_us`` in the extra information; the time is p50."""

from __future__ import annotations

from collections.abc import Callable

import scenarios
from scenarios import Scenario

SCENARIOS = scenarios.LATENCY


def bench_latency(run: Callable[[str, Scenario], None], client: str, scenario: Scenario) -> None:
    run(client, scenario)
