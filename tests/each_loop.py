"""Runs each `async def` test twice: on asyncio's own loop and on uvloop, or on those of `--loops`. One that is marked
`also_sync` runs once more: its `fastws.connect` is `fastws.sync.connect` then, in a thread.

Hooks for the conftest.py of a folder that has such tests.
"""

import asyncio
import contextlib
import inspect
import os

import pytest

import blocking
from fastws.runner import loop_factory

LIMIT = float(os.environ.get("FASTWS_TEST_LIMIT", "30"))


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
