"""fastws beside its rivals: interleaved rounds, each measurement in a fresh process on a core of its own.

The server runs on another core. Rounds go A B C, A B C, …, so that whatever the machine does meanwhile strikes all
alike. Of each client the table shows the median, its spread over the rounds, how many times better it is than picows'
callback and websockets, and CPU time (user and system together) and voluntary context switches for an operation; of
latencies the percentiles, of sends that nobody awaits what was refused and what was lost besides. A client that never
sleeps looks fast only while the server answers at once; the row with a server that thinks for 50 µs shows it. A server
that sleeps is late itself, which hides what clients do: *punctual* rows are against one that never does.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import clients
import machine
import measure
import peer
import scenarios
from figures import Samples, figure, table
from meter import Sample

HERE = Path(__file__).resolve().parent
OUTPUT = HERE.parent / "build" / "bench"
TIMEOUT = 60.0
"""Seconds that a measurement may take, times the scale; each is made to take less than 15."""


def run_once(client: str, scenario: scenarios.Scenario, server: peer.Peer, args: argparse.Namespace) -> Sample | str:
    """A measurement in a process of its own; what went wrong, if it did."""
    core, _ = machine.cores()
    timeout = TIMEOUT * max(1.0, args.scale)
    command = [sys.executable, str(HERE / "measure.py"), client, scenario.name, "--loop", args.loop]
    command += ["--scale", str(args.scale), *([] if core is None else ["--core", str(core)])]
    try:
        done = subprocess.run(
            command, input=json.dumps(asdict(server)), capture_output=True, text=True, timeout=timeout, check=False
        )
    except subprocess.TimeoutExpired:
        return f"not done within {timeout:.0f} s"
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines()
        return lines[-1] if lines else f"exit status {done.returncode}"
    return Sample(**json.loads(done.stdout.splitlines()[-1]))


def run_rounds(
    scenario: scenarios.Scenario, names: list[str], server: peer.Peer, args: argparse.Namespace
) -> tuple[Samples, dict[str, str]]:
    """All rounds of a scenario. A client that fails once is left out, and the reason kept."""
    samples: Samples = {name: [] for name in names}
    failures: dict[str, str] = {}
    rounds = min(args.rounds, scenario.rounds or args.rounds)
    for round_number in range(rounds):
        for name in names:
            if name in failures:
                continue
            progress(f"{scenario.name}: round {round_number + 1} of {rounds}, {name}")
            outcome = run_once(name, scenario, server, args)
            if isinstance(outcome, str):
                failures[name] = outcome
            else:
                samples[name].append(outcome)
    progress("")
    return {name: taken for name, taken in samples.items() if taken and name not in failures}, failures


def progress(text: str) -> None:
    if sys.stderr.isatty():
        sys.stderr.write(f"\r\x1b[K{text}")
        sys.stderr.flush()


def chosen(args: argparse.Namespace, server: peer.Peer) -> list[scenarios.Scenario]:
    """The scenarios to run: those asked for that the server can serve."""
    found = [s for s in scenarios.ALL if not args.only or any(word.lower() in s.name.lower() for word in args.only)]
    offers_thought = probe(server, scenarios.THOUGHTFUL[0]) if any(s.think_us for s in found) else True
    return [
        scenario
        for scenario in found
        if not (scenario.tls and not server.wss)
        and not (scenario.kind == "decode" and not server.feed_messages)
        and not (scenario.is_compressed and not server.recorded_messages)
        and not (scenario.kind in scenarios.OURS and not server.counts)
        and not (scenario.punctual and not server.punctual_ws)
        and (offers_thought or not scenario.think_us)
    ]


def probe(server: peer.Peer, scenario: scenarios.Scenario) -> bool:
    """Whether the server knows the scenario's target."""
    ours = clients.FastwsIterate(server.ca_pem)

    async def try_it() -> None:
        await ours.close(await ours.open(server.url(scenario.target(1))))

    try:
        measure.run(try_it(), "asyncio")
    except Exception:
        return False
    return True


def result(scenario: scenarios.Scenario, samples: Samples, failures: dict[str, str]) -> dict[str, Any]:
    """A scenario's part of the JSON: what was measured, and of each sample the figure that the table compares."""
    of = figure(scenario)
    return {
        "scenario": scenario.name,
        "kind": scenario.kind,
        "unit": of.unit,
        "better": of.better,
        "values": {name: [of.of(sample) for sample in taken] for name, taken in samples.items()},
        "samples": {name: [asdict(sample) for sample in taken] for name, taken in samples.items()},
        "failures": failures,
    }


def save(args: argparse.Namespace, results: list[dict[str, Any]], about: dict[str, Any]) -> Path:
    OUTPUT.mkdir(parents=True, exist_ok=True)
    path: Path = args.json or OUTPUT / f"rivals-{time.strftime('%Y%m%d-%H%M%S')}.json"
    path.write_text(
        json.dumps({"machine": about, "rounds": args.rounds, "loop": args.loop, "results": results}, indent=1)
    )
    return path


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make bench-rivals ARGS=…", description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5, help="rounds of each scenario (default: 5)")
    parser.add_argument(
        "--only", nargs="+", metavar="WORD", help='scenarios whose name contains it, such as "128 B TCP"'
    )
    parser.add_argument("--clients", nargs="+", metavar="NAME", help="only these clients")
    parser.add_argument(
        "--quick", action="store_true", help="2 rounds with a fifth of the operations: a look, no figures"
    )
    parser.add_argument("--scale", type=float, default=1.0, help="times the number of operations")
    parser.add_argument("--loop", choices=("uvloop", "asyncio"), default="uvloop")
    parser.add_argument(
        "--json", type=Path, metavar="PATH", help=f"where to save (default: a new file in {OUTPUT.name}/)"
    )
    args = parser.parse_args()
    if args.quick:
        args.rounds, args.scale = min(args.rounds, 2), args.scale * 0.2
    known = [scenario.name for scenario in scenarios.ALL]
    here = [client.name for client in clients.installed()]
    if args.rounds < 1 or args.scale <= 0:
        parser.error("--rounds is at least 1, --scale more than 0")
    if args.only and not any(word.lower() in name.lower() for word in args.only for name in known):
        parser.error(f"--only: no scenario has that in its name; there are: {', '.join(known)}")
    if args.clients and not set(args.clients) & set(here):
        parser.error(f"--clients: none of them is here; there are: {', '.join(here)}")
    return args


def main() -> int:
    args = options()
    about = machine.description()
    packages = ", ".join(f"{name} {version}" for name, version in about["packages"].items())
    print(
        f"{about['cpu']}, {about['cores']} cores, {about['kernel']}, Python {about['python']}, {args.loop}\n{packages}"
    )
    if machine.cores() == (None, None):
        print("WARNING: client and server share cores here; the figures mean little")
    if about["load"] > 1:
        print(f"WARNING: this machine is busy (load average {about['load']:.1f}); figures are for quiet ones")
    names = [client.name for client in clients.installed() if not args.clients or client.name in args.clients]
    results = []
    with peer.running() as server:
        for scenario in chosen(args, server):
            able = [name for name in names if measure.is_possible(clients.named(name), scenario)]
            samples, failures = run_rounds(scenario, able, server, args)
            print(f"\n{table(scenario, samples, failures)}", flush=True)
            results.append(result(scenario, samples, failures))
    about["load after"] = machine.load()
    print(f"\nsaved in {save(args, results, about)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
