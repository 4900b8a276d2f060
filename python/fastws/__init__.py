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

from . import events, keys, markers
from ._core import Batch, Message, MessageView
from .connect import connect
from .connection import Connection, ConnectionStats, State
from .context import ConnectionContext
from .errors import (
    AlreadyRunning,
    AuthFailed,
    CertificateError,
    ClientError,
    ClientStopped,
    Close,
    CloseInfo,
    ConcurrencyError,
    ConfigError,
    ConnectError,
    ConnectionClosed,
    ConnectionClosedError,
    ConnectionClosedOK,
    ConnectionLost,
    DataTimeout,
    DecodeError,
    DialError,
    ExtensionError,
    FastwsError,
    HandshakeError,
    HandshakeTimeout,
    InvalidHandshake,
    InvalidStatus,
    InvalidURI,
    KeepaliveTimeout,
    MaybeSent,
    NotConnected,
    NotSent,
    OpenTimeout,
    PayloadTooBig,
    ProtocolError,
    ReceiveError,
    ReceiveTimeout,
    RequestTimeout,
    RetriesExhausted,
    SendError,
    SendQueueFull,
    ShutdownTimeout,
    SocketOptionError,
    SubscriberOverflow,
    TlsError,
    Unsent,
    is_retryable,
)
from .events import (
    Connected,
    Connecting,
    Disconnected,
    DisconnectReason,
    Event,
    EventStream,
    Ready,
    ReconnectScheduled,
    Shutdown,
)
from .http import Headers, Request, Response
from .listener import Listener
from .markers import Down, Dropped, Gap, Outage
from .retry import (
    FINAL_CLOSE_CODES,
    ClosePolicy,
    CustomRetry,
    ExponentialBackoff,
    Failure,
    FixedDelay,
    NoRetry,
    RetryStrategy,
)
from .runner import run
from .state import (
    ConnectionSnapshot,
    Status,
)
from .streams import Conflate, Stream
from .tls import TlsConfig
from .version import __version__

__all__ = [
    "FINAL_CLOSE_CODES",
    "AlreadyRunning",
    "AuthFailed",
    "Batch",
    "CertificateError",
    "ClientError",
    "ClientStopped",
    "Close",
    "CloseInfo",
    "ClosePolicy",
    "ConcurrencyError",
    "ConfigError",
    "Conflate",
    "ConnectError",
    "Connected",
    "Connecting",
    "Connection",
    "ConnectionClosed",
    "ConnectionClosedError",
    "ConnectionClosedOK",
    "ConnectionContext",
    "ConnectionLost",
    "ConnectionSnapshot",
    "ConnectionStats",
    "CustomRetry",
    "DataTimeout",
    "DecodeError",
    "DialError",
    "DisconnectReason",
    "Disconnected",
    "Down",
    "Dropped",
    "Event",
    "EventStream",
    "ExponentialBackoff",
    "ExtensionError",
    "Failure",
    "FastwsError",
    "FixedDelay",
    "Gap",
    "HandshakeError",
    "HandshakeTimeout",
    "Headers",
    "InvalidHandshake",
    "InvalidStatus",
    "InvalidURI",
    "KeepaliveTimeout",
    "Listener",
    "MaybeSent",
    "Message",
    "MessageView",
    "NoRetry",
    "NotConnected",
    "NotSent",
    "OpenTimeout",
    "Outage",
    "PayloadTooBig",
    "ProtocolError",
    "Ready",
    "ReceiveError",
    "ReceiveTimeout",
    "ReconnectScheduled",
    "Request",
    "RequestTimeout",
    "Response",
    "RetriesExhausted",
    "RetryStrategy",
    "SendError",
    "SendQueueFull",
    "Shutdown",
    "ShutdownTimeout",
    "SocketOptionError",
    "State",
    "Status",
    "Stream",
    "SubscriberOverflow",
    "TlsConfig",
    "TlsError",
    "Unsent",
    "__version__",
    "connect",
    "events",
    "is_retryable",
    "keys",
    "markers",
    "run",
]
