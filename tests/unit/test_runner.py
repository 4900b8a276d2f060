import asyncio
import gc
import os
import resource
import warnings

import pytest

import fastws
from fastws.runner import loop_factory


async def loop_module():
    return type(asyncio.get_running_loop()).__module__


def test_run_uses_uvloop_where_there_is_one():
    pytest.importorskip("uvloop", reason="uvloop is not installed on this platform")
    assert fastws.run(loop_module()).startswith("uvloop")
    assert fastws.run(loop_module(), loop="uvloop").startswith("uvloop")


def test_run_uses_asyncio_where_asked_to():
    assert fastws.run(loop_module(), loop="asyncio").startswith("asyncio")


def test_an_unknown_loop_is_refused():
    with pytest.raises(ValueError, match="uvloop"):
        loop_factory("trio")


@pytest.mark.parametrize("debug", [True, False])
def test_debug_reaches_the_loop(debug):
    async def is_debugging():
        return asyncio.get_running_loop().get_debug()

    assert fastws.run(is_debugging(), debug=debug) is debug


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_a_loop_that_spins_does_not_sleep(loop):
    async def switches():
        """How often this thread gave its core away by itself."""
        before = resource.getrusage(resource.RUSAGE_THREAD).ru_nvcsw
        for _ in range(50):
            await asyncio.sleep(0.004)
        return resource.getrusage(resource.RUSAGE_THREAD).ru_nvcsw - before

    sleeping = fastws.run(switches(), loop=loop)
    assert fastws.run(switches(), loop=loop, spin=True) < sleeping / 2


def test_the_thread_stays_on_its_core_as_long_as_the_program_runs():
    before = os.sched_getaffinity(0)
    cpu = max(before)

    async def cores():
        return os.sched_getaffinity(0)

    assert fastws.run(cores(), cpu=cpu) == {cpu}
    assert os.sched_getaffinity(0) == before


@pytest.mark.parametrize(
    ("cpu", "error", "match"),
    [(100_000, ValueError, "cpu=100000: this process may run on the cores"), ("1", TypeError, "number of a core")],
)
def test_a_core_that_is_not_there_is_named_and_nothing_runs(cpu, error, match):
    before = os.sched_getaffinity(0)
    with pytest.raises(error, match=match):
        fastws.run(loop_module(), cpu=cpu)
    assert os.sched_getaffinity(0) == before


def test_within_a_running_loop_it_says_so_and_leaves_no_warning():
    async def main():
        fastws.run(loop_module())

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(RuntimeError, match=r"one runs here already: `await`"):
            asyncio.run(main())
        gc.collect()


@pytest.mark.parametrize(
    ("main", "arguments", "match"),
    [
        (5, {}, "main is a coroutine, such as main.., not 5"),
        (loop_module, {}, r"call it, loop_module\(\)"),
        (None, {"debug": "x"}, "debug is True or False, or None for the default, not 'x'"),
        (None, {"spin": 1}, "spin is True or False, not 1"),
    ],
)
def test_a_wrong_argument_is_named(main, arguments, match):
    with pytest.raises(TypeError, match=match):
        fastws.run(loop_module() if main is None else main, **arguments)
