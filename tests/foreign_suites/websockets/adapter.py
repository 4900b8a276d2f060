"""Runs websockets' own tests against the drop-in: a pytest plugin, ``-p adapter``.

The tests stay as they are. What is adapted is how ``test_connection`` gets its connection: it makes one by hand of a
protocol and a socket pair; ours comes out of ``connect``, which is answered at the other end.
"""

import asyncio
import base64
import hashlib
import socket

import fastws.compat

fastws.compat.install("websockets")


def pytest_collection_modifyitems(config, items):
    kept, left = [], []
    for item in items:
        module, cls = item.module.__name__, item.cls and item.cls.__name__
        if module == "tests.asyncio.test_connection":
            if cls == "ServerConnectionTests":
                left.append(item)
                continue
            item.cls.asyncSetUp = _connection_set_up
        kept.append(item)
    config.hook.pytest_deselected(items=left)
    items[:] = kept


async def _connection_set_up(self):
    from tests.asyncio.connection import InterceptingConnection
    from tests.asyncio.test_connection import MS, RecordingProtocol

    from fastws.compat.websockets.asyncio.client import connect

    self.loop = asyncio.get_running_loop()
    ours, remote = socket.socketpair()
    remote.setblocking(False)
    opening = asyncio.ensure_future(
        _opened(connect("ws://localhost/", sock=ours, compression=None, ping_interval=None, close_timeout=2 * MS))
    )
    await _answer(self.loop, remote)
    self.connection = await opening
    self.transport = self.connection.transport
    protocol = RecordingProtocol(self.REMOTE)
    _, self.remote_connection = await self.loop.create_connection(lambda: InterceptingConnection(protocol), sock=remote)


async def _opened(opening):
    return await opening


async def _answer(loop, remote):
    """Answers an upgrade request, so that the other side is open."""
    request = b""
    while not request.endswith(b"\r\n\r\n"):
        request += await loop.sock_recv(remote, 4096)
    key = next(line for line in request.split(b"\r\n") if line.startswith(b"Sec-WebSocket-Key: "))[19:]
    accept = base64.b64encode(hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())
    await loop.sock_sendall(
        remote,
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n",
    )
