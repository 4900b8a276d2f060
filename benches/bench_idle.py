"""Memory of open, quiet connections: ``bytes_each`` in the extra information."""

from __future__ import annotations

from collections.abc import Callable

import scenarios
from scenarios import Scenario

SCENARIOS = scenarios.IDLE


def bench_idle(run: Callable[[str, Scenario], None], client: str, scenario: Scenario) -> None:
    run(client, scenario)
