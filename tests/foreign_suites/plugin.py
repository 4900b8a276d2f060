"""The pytest plugin of a run: leaves out what the suite leaves out, writes down what became of each test.

And how many connections fastws opened meanwhile, so that nobody takes tests for tests of ours that ask us for nothing.
"""

import fnmatch
import functools
import itertools
import json
from pathlib import Path

import pytest

from fastws._opening import Opening

_ORDER = ("passed", "skipped", "failed")


def pytest_addoption(parser):
    parser.addoption("--foreign-results", type=Path)
    parser.addoption("--foreign-left-out", type=Path)
    parser.addoption("--foreign-opened", type=Path)


def pytest_configure(config):
    if config.getoption("numprocesses", None):
        raise pytest.UsageError('other processes have no drop-ins: the suite needs arguments = ["-n", "0"]')
    config.pluginmanager.register(_Record(config.getoption("--foreign-results")), "foreign-record")
    _count(config)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config, items):
    patterns = json.loads(config.getoption("--foreign-left-out").read_text())
    left_out = [item for item in items if any(matches(item.nodeid, pattern) for pattern in patterns)]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


def matches(name, pattern):
    """Whether a test's name is one of a pattern's; brackets, as of parameters, stand for themselves."""
    return fnmatch.fnmatchcase(name, pattern.replace("[", "[[]"))


def _count(config):
    """Counts the connections that open, by whatever drop-in they are asked for, and writes how many at the end."""
    run, opened = Opening.run, itertools.count()

    @functools.wraps(run)
    async def counted(opening):
        connection = await run(opening)
        next(opened)
        return connection

    Opening.run = counted
    config.add_cleanup(lambda: config.getoption("--foreign-opened").write_text(str(next(opened))))


class _Record:
    """What became of each phase of each test, written at once: a crash may end them all."""

    def __init__(self, file):
        self._file = file
        self._file.write_text("")

    def _write(self, name, outcome, why):
        with self._file.open("a") as file:
            file.write(json.dumps([name, outcome, why]) + "\n")

    def pytest_runtest_logstart(self, nodeid, location):
        self._write(nodeid, "failed", "it never ended")

    def pytest_runtest_logreport(self, report):
        self._write(report.nodeid, report.outcome, _last_line(report))

    def pytest_collectreport(self, report):
        if report.failed:
            self._write(report.nodeid, "failed", _last_line(report))


def _last_line(report):
    lines = str(report.longrepr or "").strip().splitlines()
    errors = [line for line in lines if line.startswith("E  ")]
    return (errors or lines or [""])[-1].removeprefix("E").strip()[:300]
