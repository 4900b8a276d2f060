"""fastws: the WebSocket client for those who cannot afford to lose a message or a microsecond.

::

    import fastws

    async def main():
        async with fastws.connect("wss://host/feed") as ws:
            await ws.send("hello")
            async for message in ws:
                ...

    fastws.run(main())
"""

from ._core import Batch, MessageView
from .connect import connect
from .connection import Connection, ConnectionStats, State
from .errors import (
    CertificateError,
    Close,
    CloseInfo,
    ConcurrencyError,
    ConnectError,
    ConnectionClosed,
    ConnectionClosedError,
    ConnectionClosedOK,
    DialError,
    FastwsError,
    InvalidHandshake,
    InvalidStatus,
    InvalidURI,
    KeepaliveTimeout,
    OpenTimeout,
    PayloadTooBig,
    ProtocolError,
    SendQueueFull,
    SocketOptionError,
    TlsError,
)
from .http import Headers, Request, Response
from .listener import Listener
from .runner import run
from .tls import TlsConfig
from .version import __version__

__all__ = [
    "Batch",
    "CertificateError",
    "Close",
    "CloseInfo",
    "ConcurrencyError",
    "ConnectError",
    "Connection",
    "ConnectionClosed",
    "ConnectionClosedError",
    "ConnectionClosedOK",
    "ConnectionStats",
    "DialError",
    "FastwsError",
    "Headers",
    "InvalidHandshake",
    "InvalidStatus",
    "InvalidURI",
    "KeepaliveTimeout",
    "Listener",
    "MessageView",
    "OpenTimeout",
    "PayloadTooBig",
    "ProtocolError",
    "Request",
    "Response",
    "SendQueueFull",
    "SocketOptionError",
    "State",
    "TlsConfig",
    "TlsError",
    "__version__",
    "connect",
    "run",
]
