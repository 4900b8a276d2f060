"""A consumer that stops, and sends that nobody awaits: a second stands for a MiB that memory grows by."""

from __future__ import annotations

from collections.abc import Callable

import scenarios
from scenarios import Scenario

SCENARIOS = scenarios.STOPPED_CONSUMER + scenarios.UNAWAITED_SENDS


def bench_memory(run: Callable[[str, Scenario], None], client: str, scenario: Scenario) -> None:
    run(client, scenario)
