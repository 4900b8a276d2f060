"""Runs each `async def` test twice: on asyncio's own loop and on uvloop, or on those of `--loops`. One that is marked
`also_sync` runs once more: its `fastws.connect` is `fastws.sync.connect` then, in a thread.
"""

import asyncio
import contextlib
import functools
import gc
import inspect
import os

import pytest

import blocking
import daemons
from fastws.runner import loop_factory
from programs import run_program
from real_peers import PEERS, real_peer

LIMIT = float(os.environ.get("FASTWS_TEST_LIMIT", "30"))


def pytest_configure(config):
    config.addinivalue_line("markers", "loop_debug: runs in the debug mode of the loop")
    config.addinivalue_line("markers", "also_sync: runs on blocking connections too; also_sync(False) takes it back")


def pytest_generate_tests(metafunc):
    if inspect.iscoroutinefunction(metafunc.function) or "loop_name" in metafunc.fixturenames:
        if "loop_name" not in metafunc.fixturenames:
            metafunc.fixturenames.append("loop_name")
        marker = metafunc.definition.get_closest_marker("also_sync")
        is_sync_too = marker is not None and marker.args != (False,)
        loops = metafunc.config.getoption("--loops")
        metafunc.parametrize("loop_name", [*loops, "sync"] if is_sync_too else loops)


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem):
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    arguments = {name: pyfuncitem.funcargs[name] for name in pyfuncitem._fixtureinfo.argnames}
    debug = pyfuncitem.get_closest_marker("loop_debug") is not None

    async def main():
        async with asyncio.timeout(LIMIT):
            await pyfuncitem.obj(**arguments)

    name = pyfuncitem.callspec.params["loop_name"]
    is_sync = name == "sync"
    with (
        blocking.instead_of_loops() if is_sync else contextlib.nullcontext(),
        asyncio.Runner(loop_factory=loop_factory("asyncio" if is_sync else name), debug=debug) as runner,
    ):
        runner.run(main())
    return True


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
