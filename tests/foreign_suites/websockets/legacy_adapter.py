"""What ``tests/legacy/test_client_server.py`` of websockets needs to run against the drop-in: a pytest plugin.

The tests stay as they are. They wait for the end of a connection by the task that closes it in the original; here
``wait_closed`` tells of it.
"""

import asyncio
import importlib
import warnings

import fastws.compat

fastws.compat.install("websockets")

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)
    _client = importlib.import_module("fastws.compat.websockets.legacy.client")

_client.WebSocketClientProtocol.close_connection_task = property(
    lambda self: asyncio.ensure_future(self.wait_closed())  # the test's loop runs it
)
