"""Connections opened and closed, one after the other."""

from __future__ import annotations

from collections.abc import Callable

import scenarios
from scenarios import Scenario

SCENARIOS = scenarios.CONNECT


def bench_connect(run: Callable[[str, Scenario], None], client: str, scenario: Scenario) -> None:
    run(client, scenario)
