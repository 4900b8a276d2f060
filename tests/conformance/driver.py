"""Runs the Autobahn test suite against fastws and judges the reports; run.sh calls it.

One fuzzing server and one client process for each combination of event loop and API; with ``--tls``, by TLS. Passed
means for every case: OK or INFORMATIONAL, in behaviour and in the closing handshake. NON-STRICT is allowed in sections
3 and 4: there the server sends a good message and then a violation, and whether the echo of the first still leaves
before the connection is failed depends on how TCP cuts the stream; RFC 6455 allows both.
"""

from __future__ import annotations

import argparse
import asyncio
import collections
import json
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import fastws

HERE = Path(__file__).resolve().parent
SECTIONS = ("1.*", "2.*", "3.*", "4.*", "5.*", "6.*", "7.*", "9.*", "10.*", "12.*", "13.*")
DEFAULT_RUNS = (
    ("asyncio", "iterate"),
    ("uvloop", "iterate"),
    ("uvloop", "listener"),
    ("asyncio", "batches"),
    ("asyncio", "protocol"),
    ("uvloop", "protocol"),
    ("asyncio", "sync"),  # the loop only waits for the thread
)
MAY_BE_NON_STRICT = ("3", "4")
GOOD = ("OK", "INFORMATIONAL")
STUCK = 180.0
"""Seconds without a word from a client, whose own time limit for a case is shorter, until it is killed."""


@dataclass
class Answer:
    """What the client said about a case."""

    seconds: float
    said: str


@contextmanager
def fuzzing_server(args: argparse.Namespace, reports: Path) -> Iterator[int]:
    """A fuzzing server on a free port of the loopback interface."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    spec = {
        "url": f"ws://127.0.0.1:{port}",
        "outdir": str(reports),
        "options": {"failByDrop": False},
        "cases": args.cases,
        "exclude-cases": args.exclude,
        "exclude-agent-cases": {},
    }
    (reports / "spec.json").write_text(json.dumps(spec, indent=1))
    command = [args.python2, "-B", "-u", HERE / "fuzzing_server.py", args.packages, reports / "spec.json"]
    with (reports / "server.log").open("wb") as log:
        process = subprocess.Popen(command, cwd=reports, stdout=log, stderr=log)
    try:
        _await_port(process, port, reports / "server.log")
        yield port
    finally:
        process.kill()
        process.wait()


def _await_port(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    for _ in range(300):
        if process.poll() is not None:
            break
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    raise SystemExit(f"the fuzzing server did not start; the end of {log}:\n{log.read_text()[-2000:]}")


async def ask(port: int, path: str) -> list[str]:
    """The messages that the server sends to a control request."""
    async with fastws.connect(f"ws://127.0.0.1:{port}{path}", close_timeout=60) as ws:
        return [str(message) async for message in ws]


async def case_ids(port: int) -> dict[int, str]:
    """The number and the name of every case that the server will run."""
    (count,) = await ask(port, "/getCaseCount")
    names = {}
    for number in range(1, int(count) + 1):
        (info,) = await ask(port, f"/getCaseInfo?case={number}")
        names[number] = json.loads(info)["id"]
    return names


@contextmanager
def tls_front(port: int, folder: Path) -> Iterator[list[str]]:
    """TLS in front of a port: the client's options."""
    pem = folder / "server.pem"
    make = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost"
    subprocess.run([*make.split(), "-keyout", folder / "key.pem", "-out", pem], check=True, capture_output=True)
    with pem.open("ab") as file:
        file.write((folder / "key.pem").read_bytes())
    command = [sys.executable, "-B", HERE / "front.py", pem, str(port)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        line = process.stdout.readline().strip()
        # The server wants its own port in Host.
        yield ["--url", f"wss://127.0.0.1:{line}", "--host", f"127.0.0.1:{port}"]
    finally:
        process.kill()
        process.wait()


def drive(where: list[str], agent: str, loop: str, api: str, last: int, log: Path) -> dict[int, Answer]:
    """Sends the client through all cases. A client that dies or hangs costs one case; the next one goes on after it."""
    answers: dict[int, Answer] = {}
    while len(answers) < last:
        first = len(answers) + 1
        options = [*where, "--agent", agent, "--loop", loop, "--api", api]
        command = [sys.executable, "-B", "-X", "faulthandler", HERE / "client.py", *options, str(first), str(last)]
        with log.open("ab") as errors:
            client = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True)
        assert client.stdout is not None
        watchdog = threading.Timer(STUCK, client.kill)
        watchdog.start()
        for line in client.stdout:
            watchdog.cancel()
            number, seconds, said = line.rstrip("\n").split("\t")
            answers[int(number)] = Answer(float(seconds), said)
            watchdog = threading.Timer(STUCK, client.kill)
            watchdog.start()
        watchdog.cancel()
        code = client.wait()
        if len(answers) < last:
            what = signal.Signals(-code).name if code < 0 else f"exit status {code}"
            answers[len(answers) + 1] = Answer(0.0, f"unexpected end of the client: {what}; see {log}")
    return answers


def judge(names: dict[int, str], answers: dict[int, Answer], reports: Path, agent: str) -> list[str]:
    """The faults found in the server's reports, one line each; prints the summary line."""
    index = json.loads((reports / "index.json").read_text()).get(agent, {})
    verdicts: collections.Counter[str] = collections.Counter()
    faults = []
    for number, name in names.items():
        report = index.get(name, {"behavior": "MISSING", "behaviorClose": "MISSING"})
        behaviour, close = report["behavior"], report["behaviorClose"]
        verdicts[behaviour] += 1
        tolerated = behaviour == "NON-STRICT" and name.split(".")[0] in MAY_BE_NON_STRICT
        said = answers[number].said
        if (behaviour in GOOD or tolerated) and close in GOOD and not said.startswith("unexpected"):
            continue
        details = {}
        if "reportfile" in report:
            details = json.loads((reports / report["reportfile"]).read_text())
        faults.append(
            f"{name}: {behaviour}, close {close}: {details.get('result', '')} {details.get('resultClose', '')}"
            f"\n    the client: {said or 'no exception'}\n    {reports / report.get('reportfile', 'index.json')}"
        )
    counts = ", ".join(f"{count} {verdict}" for verdict, count in verdicts.most_common())
    seconds = sum(answer.seconds for answer in answers.values())
    print(f"{agent:<26} {len(names)} cases in {seconds:.0f} s: {counts}; {len(faults)} at fault", flush=True)
    return faults


def run(args: argparse.Namespace, loop: str, api: str) -> list[str]:
    """One run of all cases."""
    agent = f"fastws-{loop}-{api}{'-tls' if args.tls else ''}"
    reports = args.reports / agent
    shutil.rmtree(reports, ignore_errors=True)
    reports.mkdir(parents=True)
    with fuzzing_server(args, reports) as port:
        names = asyncio.run(case_ids(port))
        if not names:
            raise SystemExit(f"no case matches {' '.join(args.cases)}")
        where = tls_front(port, reports) if args.tls else nullcontext(["--url", f"ws://127.0.0.1:{port}"])
        with where as options:
            answers = drive(options, agent, loop, api, len(names), reports / "client.log")
        time.sleep(0.3)  # a result exists once the server has seen the end of the case's TCP connection
        asyncio.run(ask(port, f"/updateReports?agent={agent}"))
    if args.verbose:
        for number, name in names.items():
            print(f"  {name:<8} {answers[number].seconds:7.3f} s  {answers[number].said}")
    return judge(names, answers, reports, agent)


def main() -> int:
    parser = argparse.ArgumentParser(prog="make conformance ARGS=…", description="The Autobahn test suite on fastws.")
    parser.add_argument("--loop", choices=("asyncio", "uvloop"), help="only on this event loop")
    parser.add_argument(
        "--api", choices=("iterate", "listener", "batches", "protocol", "sync"), help="only through this API"
    )
    parser.add_argument("--cases", nargs="+", default=list(SECTIONS), metavar="CASE", help='such as "7.*" or 9.1.6')
    parser.add_argument("--exclude", nargs="+", default=[], metavar="CASE")
    parser.add_argument("--tls", action="store_true", help="by TLS")
    parser.add_argument("--verbose", "-v", action="store_true", help="a line for every case")
    for name in ("--python2", "--packages", "--reports"):
        parser.add_argument(name, type=Path, required=True, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.loop and args.api:
        runs = [(args.loop, args.api)]
    else:
        runs = [(loop, api) for loop, api in DEFAULT_RUNS if args.loop in (None, loop) and args.api in (None, api)]
    faults = [f"{loop}, {api}: {fault}" for loop, api in runs for fault in run(args, loop, api)]
    for fault in faults:
        print(f"AT FAULT {fault}")
    print(f"conformance: {'FAILED' if faults else 'passed'}; reports in {args.reports}")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
