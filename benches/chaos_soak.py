"""``soak.py --chaos``: the resilient client under everything that goes wrong, for longer than the tests take.

Half hours of virtual time on wires in memory, each with a seed of its own, then minutes of real time over sockets
against the embedded server: its venue with all its faults, behind a link that is cut, closed, delayed and truncated,
and every fault of its steps. Whatever a stream gives is compared with what the server sent; see tests/chaos.py and
tests/chaos_network.py.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from fastws.runner import loop_factory

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

import chaos
import chaos_network

GROWTH = 2.0
"""MiB. Half a one was seen in two minutes; each connection that is kept by mistake costs a few KiB, a session more."""


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="make soak ARGS=--chaos…", description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=50, help="half hours of virtual time (default: 50)")
    parser.add_argument("--first", type=int, default=0, help="the first seed (default: 0)")
    parser.add_argument("--seconds", type=float, default=120.0, help="of real time (default: 120); 0 for none")
    parser.add_argument(
        "--growth",
        type=float,
        default=GROWTH,
        help=f"MiB that memory may grow since a third of it (default: {GROWTH:g})",
    )
    parser.add_argument("--tls", action="store_true", help="real time over TLS")
    parser.add_argument("--loop", choices=("uvloop", "asyncio"), default="uvloop")
    args = parser.parse_args(arguments)
    began, messages = time.monotonic(), 0
    for seed in range(args.first, args.first + args.seeds):
        messages += len(chaos.run(seed).full.data)
    print(
        f"{args.seeds} half hours of virtual time: {messages:,} messages, {time.monotonic() - began:.0f} s", flush=True
    )
    if args.seconds:
        with asyncio.Runner(loop_factory=loop_factory(args.loop)) as runner:
            result = runner.run(chaos_network.chaos(args.seconds, args.first, tls=args.tls))
        print(f"{args.seconds:g} s of real time: {result}")
        if result.grown > args.growth:
            print(f"FAILED: memory grew by {result.grown:.1f} MiB; {args.growth:g} MiB are allowed")
            return 1
    print("passed")
    return 0
