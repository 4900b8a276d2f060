"""`make faults`: shows that the tests with a fault of the model in their names fail on what the model does.

Each fault of model_faults.py is put into a copy of python/fastws, with the native module that is installed, and the
tests of its number run on that. Each of them must fail, in one of its cases at least, by an assertion, by hanging or
with an error of fastws: any other error, such as a name that is not defined, says that the edit is wrong, and nothing
of the test. Without an edit all of them must pass. As a plugin of pytest this file notes how each test went.
"""

import argparse
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import pytest

from model_faults import FAULTS, SOURCES, TESTS

LIMIT = 10
"""Seconds after which a test of a fault hangs; the slowest takes one."""

PATIENCE = 60
"""Seconds for a test that is to pass: a busy machine is late, and that is no fault."""

REPORT = "FASTWS_FAULTS_REPORT"
"""Where the plugin writes, a line for each test that ran."""


def main():
    parser = argparse.ArgumentParser(prog="make faults ARGS=…", description=__doc__.splitlines()[0])
    parser.add_argument("numbers", nargs="*", type=int, help="of the faults; all of them if there is none")
    parser.add_argument("-v", "--verbose", action="store_true", help="how each test went")
    parser.add_argument("-j", "--jobs", type=int, default=os.cpu_count(), help="faults at the same time")
    options = parser.parse_args()
    faults = [fault for fault in FAULTS if fault.number in options.numbers or not options.numbers]
    if unknown := set(options.numbers) - {fault.number for fault in faults}:
        parser.error(f"there is no fault {', '.join(map(str, sorted(unknown)))}; they are 1 to {FAULTS[-1].number}")
    with tempfile.TemporaryDirectory(prefix="fastws-faults-") as directory:
        plain = Path(directory, "plain")
        shutil.copytree(
            SOURCES, plain / "fastws", ignore=shutil.ignore_patterns("__pycache__", "_core*.so", "_core*.pyd")
        )
        shutil.copy(importlib.util.find_spec("fastws._core").origin, plain / "fastws")
        verdicts = [say("    without a fault all pass", passes(plain, faults))]
        if all(verdicts):
            with ThreadPoolExecutor(options.jobs) as pool:
                for fault, verdict in zip(faults, pool.map(lambda each: caught(plain, each), faults), strict=True):
                    names = ", ".join(test.partition("::")[2] for test in fault.tests)
                    verdicts.append(say(f"{fault.number:3} {fault.what}: {names}", verdict, options.verbose))
    return 0 if all(verdicts) else 1


class Verdict(NamedTuple):
    """Whether it is as it should be; why, in lines; what pytest said; and how long it took."""

    good: bool
    lines: list[str]
    output: str
    seconds: float


def say(what, verdict, verbose=False):
    print(f"{'ok' if verdict.good else 'FAILED':6} {verdict.seconds:5.1f} s {what}", flush=True)
    if verbose or not verdict.good:
        print(*verdict.lines, sep="\n", flush=True)
    if not verdict.good:
        print(verdict.output, flush=True)
    return verdict.good


def passes(plain, faults):
    """Whether the tests pass without an edit."""
    began = time.monotonic()
    tests = [test for fault in faults for test in fault.tests]
    outcomes, output = run(plain, tests, PATIENCE)
    wrong = [test for test in tests if {outcome["how"] for outcome in outcomes[test]} != {"passed"}]
    return Verdict(not wrong, [told(test, outcomes) for test in wrong], output, time.monotonic() - began)


def caught(plain, fault):
    """Whether the tests of a fault fail when it is in a copy of the sources."""
    began = time.monotonic()
    copy = plain.parent / str(fault.number)
    shutil.copytree(plain, copy)
    for edit in fault.edits:
        path = copy / "fastws" / edit.path
        path.write_text(edit.applied(path.read_text("utf-8")), "utf-8")
        for compiled in path.parent.glob(f"__pycache__/{path.stem}.*"):
            compiled.unlink()
    outcomes, output = run(copy, fault.tests, LIMIT)
    hows = [{outcome["how"] for outcome in outcomes[test]} for test in fault.tests]
    good = bool(hows) and all("caught" in how and "broken" not in how for how in hows)
    return Verdict(good, [told(test, outcomes) for test in fault.tests], output, time.monotonic() - began)


def told(test, outcomes):
    """How a test went, in one line for each of its cases that ended differently."""
    ends = sorted({f"{outcome['how']} {outcome['error']}" for outcome in outcomes[test]}) or ["was not run"]
    return f"    {test}: " + "; ".join(ends)


def run(copy, tests, limit):
    """Runs tests on a copy of the sources, each for so many seconds at most.

    Returns how they went, by name, and what pytest said.
    """
    report = copy / "report"
    report.write_text("", "utf-8")
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(map(str, (copy, TESTS))),
        "FASTWS_TEST_LIMIT": str(limit),
        REPORT: str(report),
    }
    options = ["-p", "run_model_faults", "-p", "no:cacheprovider", "-q", "--tb=short"]
    # The loop makes no difference to a fault.
    options += ["-k", "not uvloop", f"--timeout={limit}"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, *(str(TESTS / test) for test in tests)],
        cwd=TESTS.parent,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    outcomes = defaultdict(list)
    for line in report.read_text("utf-8").splitlines():
        outcome = json.loads(line)
        outcomes[outcome.pop("test")].append(outcome)
    return outcomes, done.stdout + done.stderr


def pytest_sessionstart():
    import fastws

    copy = Path(os.environ[REPORT]).parent
    if Path(fastws.__file__).parent.parent != copy:
        pytest.exit(f"fastws is {fastws.__file__} and not that of {copy}", 3)


def pytest_runtest_makereport(item, call):
    from fastws import FastwsError

    error = call.excinfo
    if error is None and call.when != "call":
        return
    if error is None:
        how = "passed"
    elif error.errisinstance(pytest.skip.Exception):
        how = "skipped"
    elif call.when != "call":
        how = f"failed in its {call.when}"
    else:
        ours = error.errisinstance((AssertionError, pytest.fail.Exception, TimeoutError, FastwsError))
        how = "caught" if ours else "broken"
    test = f"{item.path.relative_to(TESTS).as_posix()}::{item.originalname}"
    outcome = {"test": test, "how": how, "error": " ".join(error.exconly().split())[:160] if error is not None else ""}
    with open(os.environ[REPORT], "a", encoding="utf-8") as report:
        report.write(f"{json.dumps(outcome)}\n")


if __name__ == "__main__":
    sys.exit(main())
