"""The training run of a profile-guided build: the scenarios of the benchmarks, by each way to use fastws.

A tenth of the operations is enough to see which branches are taken. Each runs in a process of its own, which writes its
profile when it ends; so does the server's.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import clients
import measure
import peer
import scenarios

WAYS = (
    clients.FastwsIterate,
    clients.FastwsListener,
    clients.FastwsBatches,
    clients.FastwsStream,
    clients.FastwsStreamMarkers,
    clients.FastwsStreams,
    clients.FastwsSendNowait,
    clients.FastwsSendMany,
    clients.FastwsSync,
)
"""Not those that never sleep: they do the same, and look at the socket in vain so often that nothing else counted."""


def runs() -> Iterator[tuple[scenarios.Scenario, type[clients.Client]]]:
    """What is run: each scenario by each way that there is, once."""
    for scenario in scenarios.ALL:
        for way in WAYS:
            if not scenario.think_us and not scenario.punctual and measure.is_possible(way, scenario):
                yield scenario, way


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scale", type=float, default=0.1, help="part of the operations (default: 0.1)")
    args = parser.parse_args()
    with peer.running() as server:
        given = json.dumps(asdict(server))
        for scenario, way in runs():
            print(f"{scenario.name}, {way.name}", flush=True)
            command = [sys.executable, str(Path(measure.__file__)), way.name, scenario.name]
            command += ["--scale", str(args.scale)]
            subprocess.run(command, input=given, text=True, check=True, stdout=subprocess.DEVNULL)
    return 0


if __name__ == "__main__":
    sys.exit(main())
