import re

import pytest

import fastws
from fastws.listener import Callbacks


def test_only_what_is_overridden_is_called():
    class Some(fastws.Listener):
        def on_message(self, ws, message):
            pass

    callbacks = Callbacks(Some())
    assert callbacks.on_message is not None
    assert callbacks.on_open is None
    assert callbacks.on_batch is None
    assert callbacks.on_close is None


def test_batches_take_the_place_of_messages():
    class Both(fastws.Listener):
        def on_message(self, ws, message):
            pass

        def on_batch(self, ws, messages):
            pass

    assert Callbacks(Both()).on_message is None


class Awaits:
    async def __call__(self, ws, message):
        pass


async def yields(ws, message):
    yield


@pytest.mark.parametrize("callback", [Awaits(), yields], ids=["callable", "generator"])
def test_an_async_callback_of_another_kind_is_refused_too(callback):
    listener = type("Feed", (), {"on_message": staticmethod(callback)})()
    with pytest.raises(TypeError, match=r"Feed\.on_message is an async function"):
        fastws.connect("ws://h/", listener=listener)


@pytest.mark.parametrize("name", ["on_open", "on_message", "on_batch", "on_close"])
def test_an_async_callback_is_refused_and_named(name):
    async def callback(*args):
        pass

    listener = type("Feed", (fastws.Listener,), {name: callback})()
    with pytest.raises(TypeError, match=rf"Feed\.{name} is an async function"):
        fastws.connect("ws://h/", listener=listener)


def test_a_callback_that_cannot_be_called_is_refused():
    class Feed(fastws.Listener):
        on_message = "no"

    with pytest.raises(TypeError, match=r"Feed\.on_message is not callable"):
        fastws.connect("ws://h/", listener=Feed())


def test_the_class_instead_of_an_instance_is_refused():
    class Feed(fastws.Listener):
        def on_message(self, ws, message):
            pass

    with pytest.raises(TypeError, match=r"an instance: Feed\(\.\.\.\), not the class"):
        fastws.connect("ws://h/", listener=Feed)


@pytest.mark.parametrize("other", [print, "feed", 5])
def test_what_is_no_listener_is_shown(other):
    with pytest.raises(TypeError, match=f"listener is an object with on_message .*, not {re.escape(repr(other))}"):
        fastws.connect("ws://h/", listener=other)


def test_a_listener_without_callbacks_is_refused():
    with pytest.raises(TypeError, match="neither on_message nor on_batch"):
        fastws.connect("ws://h/", listener=fastws.Listener())
