"""A message there and back, one at a time."""

from __future__ import annotations

from collections.abc import Callable

import scenarios
from scenarios import Scenario

SCENARIOS = scenarios.ROUND_TRIPS + scenarios.THOUGHTFUL


def bench_round_trip(run: Callable[[str, Scenario], None], client: str, scenario: Scenario) -> None:
    run(client, scenario)
