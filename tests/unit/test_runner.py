import asyncio

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
