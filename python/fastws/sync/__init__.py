"""fastws without an event loop: the same names, and calls that block.

::

    import fastws.sync

    with fastws.sync.connect("wss://host/feed") as ws:
        ws.send("hello")
        for message in ws:
            ...
"""

from .connect import connect, unix_connect
from .connection import Connection, Pong
from .reconnect import reconnect

__all__ = ["Connection", "Pong", "connect", "reconnect", "unix_connect"]
