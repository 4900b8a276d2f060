"""fastws.sync beside fastws: the same names, and arguments that differ where blocking makes them."""

import inspect

import pytest

import fastws
import fastws.sync

BOTH = sorted(
    name
    for name in dir(fastws.Connection)
    if not name.startswith("_") and name in dir(fastws.sync.Connection) and callable(getattr(fastws.Connection, name))
)

TIMEOUT = {"recv", "cork", "send_many", "send_json", "wait_closed"}
"""Have a deadline of their own here; there ``asyncio.timeout`` is one for everything."""


def parameters(function):
    return {
        name: (parameter.kind, parameter.default)
        for name, parameter in inspect.signature(function).parameters.items()
        if name != "self"
    }


def test_everything_that_blocks_is_there():
    loops = {"send_nowait", "send_threadsafe"}  # send() does it
    names = {name for name in dir(fastws.Connection) if not name.startswith("_")}
    assert names - set(dir(fastws.sync.Connection)) == loops
    assert {name for name in dir(fastws.sync.Connection) if not name.startswith("_")} <= names


@pytest.mark.parametrize("name", BOTH)
def test_methods_have_the_same_arguments(name):
    here, there = (parameters(getattr(kind, name)) for kind in (fastws.sync.Connection, fastws.Connection))
    if name in TIMEOUT:
        assert here.pop("timeout")[1] is None
    assert here == there


@pytest.mark.parametrize("name", BOTH)
def test_methods_say_what_they_do(name):
    assert inspect.getdoc(getattr(fastws.sync.Connection, name))
    assert not inspect.iscoroutinefunction(getattr(fastws.sync.Connection, name))


def test_connect_has_the_same_arguments():
    here, there = (
        {name: parameter for name, parameter in parameters(function).items() if not name.startswith("_")}
        for function in (fastws.sync.connect, fastws.connect.__init__)
    )
    assert here.pop("background")[1] is True
    for of_the_loop in ("listener", "busy_poll_max", "driver"):
        del there[of_the_loop]
    assert here == there


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"ssl": None}, "'ssl': use tls=, which takes an ssl.SSLContext"),
        ({"extra_headers": {}}, "'extra_headers': use additional_headers="),
        ({"extensions": []}, "'extensions': permessage-deflate is compression=\"deflate\""),
        ({"listener": None}, "'listener': there are no callbacks without an event loop"),
        ({"busy_poll_max": 1}, "'busy_poll_max': it is about event loops"),
        ({"open_timout": 1}, "did you mean open_timeout="),
    ],
)
def test_an_argument_that_there_is_not_is_answered_with_what_there_is(arguments, reason):
    with pytest.raises(TypeError, match=reason):
        fastws.sync.connect("ws://h/", **arguments)


def test_reconnect_takes_a_strategy_and_nothing_else():
    with pytest.raises(fastws.ConfigError, match="retry is a RetryStrategy such as"):
        fastws.sync.reconnect("ws://h/", retry=5)
