"""Runs websockets' own asyncio tests against the drop-in: a pytest plugin, ``-p asyncio_adapter``.

The tests stay as they are. What is adapted is how ``test_connection`` gets its connection: it lets asyncio make one on
a socket pair; ours takes the socket itself.
"""

import asyncio
import socket


def pytest_collection_modifyitems(items):
    for item in items:
        if item.module.__name__ == "tests.asyncio.test_connection" and item.cls.LOCAL.name == "CLIENT":
            item.cls.asyncSetUp = _set_up


async def _set_up(self):
    from tests.asyncio.connection import InterceptingConnection
    from tests.asyncio.test_connection import MS, Protocol, RecordingProtocol

    from fastws.compat.websockets.asyncio.client import ClientConnection

    self.loop = asyncio.get_running_loop()
    ours, remote = socket.socketpair()
    ours.setblocking(False)
    self.connection = ClientConnection(Protocol(self.LOCAL), ping_interval=None, close_timeout=2 * MS)
    await self.connection._start(ours.detach(), None, "ws://localhost/", opened=True)
    self.transport = self.connection.transport
    protocol = RecordingProtocol(self.REMOTE)
    _, self.remote_connection = await self.loop.create_connection(lambda: InterceptingConnection(protocol), sock=remote)
