"""The real ``websockets`` server, in a thread, for what stands in for its client."""

import contextlib
import threading

import pytest
import websockets.sync.server

from fastws.compat.websockets.asyncio.client import connect
from peers import server_context


@contextlib.contextmanager
def websockets_server(handler, *, tls=False, unix=None, **options):
    """A server on a free port, or at the path ``unix``; gives its URI."""
    options["ssl"] = server_context() if tls else None
    if unix is None:
        serving = websockets.sync.server.serve(handler, "localhost", 0, **options)
    else:
        serving = websockets.sync.server.unix_serve(handler, unix, **options)
    with serving as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            port = "" if unix is not None else f":{server.socket.getsockname()[1]}"
            yield f"{'wss' if tls else 'ws'}://localhost{port}/"
        finally:
            server.shutdown()
            thread.join()


def echo(ws):
    """Sends everything back, fragments as fragments."""
    with contextlib.suppress(websockets.exceptions.ConnectionClosed):
        while True:
            ws.send(ws.recv())


@contextlib.asynccontextmanager
async def opened(handler=echo, **arguments):
    with websockets_server(handler) as uri:
        async with connect(uri, **{"compression": None} | arguments) as ws:
            yield ws


def closing(code, reason=""):
    return lambda ws: ws.close(code, reason)


async def closed_of(ws):
    with pytest.raises(websockets.ConnectionClosed) as raised:
        await ws.recv()
    return raised.value
