"""rust/py/src/listener.rs: what `on_message` may be. A bound method is taken apart when the connection is made, and a
Python function is called by its own entry; everything else is called as any callable is.
"""

import functools
import gc
import types
import weakref

import pytest

import fastws
from peers import Peer, binary, text

SENT = ["a", b"b", "ä"]


def script(wire):
    wire.send(text("a"), binary(b"b"), text("ä"))
    wire.close()


class Handler:
    """An object around a callable: `connect` asks for nothing but the attribute."""

    def __init__(self, on_message):
        self.on_message = on_message


def taker(taken):
    def take(_ws, message):
        taken.append(message)

    return take


def bound_method(taken):
    class Taker:
        def take(self, _ws, message):
            taken.append(message)

    return Taker().take


def method_of_a_class(taken):
    class Taker:
        @classmethod
        def take(cls, _ws, message):
            taken.append(message)

    return Taker.take


def callable_object(taken):
    class Taker:
        def __call__(self, _ws, message):
            taken.append(message)

    return Taker()


def method_around_an_object(taken):
    class Taker:
        def __call__(self, first, _ws, message):
            assert first == "first"
            taken.append(message)

    return types.MethodType(Taker(), "first")


def method_around_a_method(taken):
    class Taker:
        def take(self, first, _ws, message):
            assert first == "first"
            taken.append(message)

    return types.MethodType(Taker().take, "first")


def partial(taken):
    return functools.partial(lambda first, _ws, message: taken.append(message), "first")


def any_arguments(taken):
    return lambda *args: taken.append(args[1])


WAYS = (
    taker,
    bound_method,
    method_of_a_class,
    callable_object,
    method_around_an_object,
    method_around_a_method,
    partial,
    any_arguments,
)


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
async def test_any_callable_is_called_with_the_connection_and_the_message(way):
    taken = []
    with Peer(script) as peer:
        ws = await peer.connect(listener=Handler(way(taken)))
        await ws.wait_closed()
    assert taken == SENT


async def test_a_builtin_is_called_too():
    taken = {}
    with Peer(script) as peer:
        ws = await peer.connect(listener=Handler(taken.setdefault))
        await ws.wait_closed()
    assert taken == {ws: "a"}


async def test_code_that_a_function_gets_meanwhile_is_what_runs_next():
    taken = []

    def on_message(_ws, message, taken=None, change=None):
        taken.append(message)
        change()

    def other(_ws, message, taken=None, change=None):
        taken.append(("other", message))

    def change():
        on_message.__code__ = other.__code__

    on_message.__defaults__ = (taken, change)
    with Peer(script) as peer:
        ws = await peer.connect(listener=Handler(on_message))
        await ws.wait_closed()
    assert taken == ["a", ("other", b"b"), ("other", "ä")]


@pytest.mark.parametrize("bound", [False, True], ids=["function", "method"])
async def test_a_callback_that_takes_no_message_ends_the_connection_with_its_type_error(bound, caplog):
    class Short:
        def method(self):
            raise AssertionError

    def function():
        raise AssertionError

    with Peer(script) as peer:
        ws = await peer.connect(listener=Handler(Short().method if bound else function))
        with pytest.raises(TypeError, match="takes"):
            await ws.wait_closed()
    assert "listener" in caplog.text


async def test_a_connection_and_the_listener_that_holds_it_are_collected_together():
    class Holds(fastws.Listener):
        ws = None

        def on_message(self, ws, message):
            self.ws = ws

    listener = Holds()
    with Peer(script) as peer:
        ws = await peer.connect(listener=listener)
        await ws.wait_closed()
        assert listener.ws is ws
        seen = weakref.ref(listener), weakref.ref(ws)
        del listener, ws
        gc.collect()
    assert [reference() for reference in seen] == [None, None]
