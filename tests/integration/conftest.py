"""Each `async def` test runs on asyncio and on uvloop, see each_loop.py; fixtures of integration tests."""

import asyncio
import functools
import gc
import os

import pytest

import daemons
from each_loop import pytest_generate_tests, pytest_pyfunc_call  # noqa: F401 - hooks
from fastws.runner import loop_factory
from programs import run_program
from real_peers import PEERS, real_peer


def pytest_configure(config):
    config.addinivalue_line("markers", "loop_debug: runs in the debug mode of the loop")
    config.addinivalue_line("markers", "also_sync: runs on blocking connections too; also_sync(False) takes it back")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    if report.failed:
        report.sections += [(f"the end of {name}", text) for name, text in daemons.logs()]
    return report


@pytest.fixture(scope="session", params=PEERS)
def real(request, tmp_path_factory):
    """A server made with a library of others."""
    with real_peer(request.param, tmp_path_factory.mktemp(request.param)) as peer:
        yield peer


@pytest.fixture
def run(loop_name):
    """Runs a coroutine on the loop of this test's turn."""

    def run(coroutine, *, debug=None):
        with asyncio.Runner(loop_factory=loop_factory(loop_name), debug=debug) as runner:
            return runner.run(coroutine)

    run.loop_factory = loop_factory(loop_name)
    return run


@pytest.fixture
def process(loop_name):
    """Runs a program in an interpreter of its own, on the loop of this test's turn: `programs.run_program`."""
    return functools.partial(run_program, loop_name)


@pytest.fixture
def open_fds():
    """Counts the process's open descriptors."""

    def count():
        gc.collect()
        return len(os.listdir("/proc/self/fd"))

    return count


@pytest.fixture(autouse=True)
def _collected():
    """What a test leaves to the collector is collected in that test, not in the next one."""
    yield
    gc.collect()
