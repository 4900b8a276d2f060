"""A generated market session as fast as it comes, every message through orjson."""

from __future__ import annotations

from collections.abc import Callable

import scenarios
from scenarios import Scenario

SCENARIOS = scenarios.DECODE


def bench_decode(run: Callable[[str, Scenario], None], client: str, scenario: Scenario) -> None:
    run(client, scenario)
