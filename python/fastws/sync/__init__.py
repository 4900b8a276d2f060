"""fastws without an event loop: the same names, and calls that block.

::

    import fastws.sync

    with fastws.sync.connect("wss://host/feed") as ws:
        ws.send("hello")
        for message in ws:
            ...
"""

from .client import ClientBuilder, WebSocketClient
from .connect import connect, unix_connect
from .connection import Connection, Pong
from .reconnect import reconnect
from .sender import Receipt, Sender
from .streams import EventStream, Stream
from .subscriptions import Subscriptions

__all__ = [
    "ClientBuilder",
    "Connection",
    "EventStream",
    "Pong",
    "Receipt",
    "Sender",
    "Stream",
    "Subscriptions",
    "WebSocketClient",
    "connect",
    "reconnect",
    "unix_connect",
]
