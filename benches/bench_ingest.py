"""A flood of messages, each counted."""

from __future__ import annotations

from collections.abc import Callable

import scenarios
from scenarios import Scenario

SCENARIOS = scenarios.INGEST


def bench_ingest(run: Callable[[str, Scenario], None], client: str, scenario: Scenario) -> None:
    run(client, scenario)
