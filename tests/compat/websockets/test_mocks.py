"""The drop-in's connections in tests of programs: ``unittest.mock`` takes its classes for those of ``websockets``."""

import inspect
import warnings
from unittest.mock import AsyncMock, MagicMock, create_autospec, patch

import pytest
import websockets.asyncio.client

import fastws
from compat_peers import echo, websockets_server
from fastws.compat.websockets import Headers
from fastws.compat.websockets.asyncio.client import ClientConnection, connect

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)
    import websockets.legacy.client

    from fastws.compat.websockets.legacy.client import WebSocketClientProtocol

KINDS = [
    (ClientConnection, websockets.asyncio.client.ClientConnection),
    (WebSocketClientProtocol, websockets.legacy.client.WebSocketClientProtocol),
]
MOCKS = [AsyncMock, MagicMock, create_autospec]


def awaited(kind):
    return {name for name in dir(kind) if inspect.iscoroutinefunction(inspect.getattr_static(kind, name))}


def spec_of(make, kind):
    return make(kind, instance=True) if make is create_autospec else make(spec=kind)


@pytest.mark.parametrize(("ours", "theirs"), KINDS)
def test_what_is_awaited_is_a_coroutine_function(ours, theirs):
    shared = awaited(theirs) & set(dir(ours))
    assert {"recv", "send", "close", "wait_closed", "ping", "pong"} <= shared
    assert shared - awaited(ours) == set()


@pytest.mark.parametrize("make", MOCKS)
@pytest.mark.parametrize("kind", [ours for ours, _ in KINDS])
async def test_a_mock_of_the_class_is_awaited(make, kind):
    ws = spec_of(make, kind)
    ws.recv.return_value = "hello"
    assert await ws.recv() == "hello"
    await ws.send("a", text=True)
    ws.send.assert_awaited_once_with("a", text=True)
    await ws.close(1001)
    await ws.wait_closed()
    assert isinstance(ws, kind)


async def test_an_autospec_knows_the_arguments():
    ws = create_autospec(ClientConnection, instance=True)
    with pytest.raises(TypeError, match="unexpected keyword argument 'nothing'"):
        await ws.send("a", nothing=True)
    with pytest.raises(TypeError, match="too many positional arguments"):
        await ws.recv(True, True)


async def test_a_mock_of_a_subclass_is_awaited():
    class Mine(ClientConnection):
        pass

    ws = AsyncMock(spec=Mine)
    ws.recv.return_value = "hello"
    assert await ws.recv() == "hello"


@pytest.mark.parametrize("kind", [ClientConnection, ClientConnection.__base__])
async def test_a_method_patched_in_the_class_is_that_of_its_instances(kind):
    with websockets_server(echo) as uri:
        async with connect(uri) as ws:
            with patch.object(kind, "recv", autospec=True, return_value="patched"):
                assert await ws.recv() == "patched"
            await ws.send("real")
            assert await ws.recv() == "real"


async def test_the_methods_of_an_instance_are_native_also_by_super():
    class Mine(ClientConnection):
        async def recv(self, decode=None):
            assert super().recv.__self__ is self
            assert inspect.isbuiltin(super().recv)
            return await super().recv(decode)

    with websockets_server(echo) as uri:
        async with connect(uri) as ws, connect(uri, create_connection=Mine) as mine:
            for connection, kind in (ws, ClientConnection), (mine, Mine):
                made = type(connection)
                assert isinstance(connection, kind)
                assert (made.__name__, made.__qualname__, made.__module__, made.__doc__) == (
                    kind.__name__,
                    kind.__qualname__,
                    kind.__module__,
                    kind.__doc__,
                )
                assert made.send is fastws.Connection.send
            assert type(ws).recv is fastws.Connection.recv
            assert type(ws).__aiter__ is fastws.Connection.__aiter__
            await mine.send("a")
            assert await mine.recv() == "a"
            await mine.send("b")
            assert await anext(aiter(mine)) == "b"


async def test_a_method_called_by_the_class_does_what_the_native_one_does():
    with websockets_server(echo) as uri:
        async with connect(uri, additional_headers=Headers({"X": "1"})) as ws:
            await ClientConnection.send(ws, b"a", text=True)
            assert await ClientConnection.recv(ws, decode=False) == b"a"
