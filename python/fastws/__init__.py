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

from . import _core, events, keys, sync  # noqa: F401 - the native half refuses sub-interpreters before others do
from ._core import Batch, Message, MessageView
from .builder import ClientBuilder
from .client import WebSocketClient
from .compression import AgreedCompression, Deflate
from .config import ClientConfig
from .connect import connect, unix_connect
from .connection import Connection, ConnectionStats, State
from .connector import Connector, DefaultConnector, Wire
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
    ProxyError,
    ReceiveError,
    ReceiveTimeout,
    RecordingError,
    RedirectError,
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
from .extensions import (
    AdvancedStatusViewer,
    Extension,
    ExtensionHost,
    LoggingConfig,
    LoggingExtension,
    LogLevel,
    SessionStatus,
    StatusViewer,
)
from .gaps import SequenceTracker
from .handshakes import (
    AuthHandshaker,
    ChainedHandshaker,
    HandshakeChannel,
    HandshakeMessage,
    Handshaker,
    NoOpHandshaker,
    SendMessageHandshaker,
    SubscribeHandshaker,
    chain_handshakers,
)
from .http import Headers, Request, Response
from .listener import Listener
from .markers import Down, Dropped, Gap, Marker, Outage
from .observe import ClientStats
from .rate import (
    ConnectLimiter,
    RateLimit,
    RateLimits,
)
from .recorder import Recorder
from .redact import RedactingFilter, Redactor, redact_headers, redact_uri
from .redundant import LineStats, RedundantClient
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
from .sender import Sender
from .state import (
    ConnectionSnapshot,
    Status,
)
from .streams import Conflate, Stream
from .subscriptions import (
    Subscription,
    SubscriptionError,
    Subscriptions,
    SubscriptionState,
    UnknownSubscription,
)
from .supervisor import ActivityHandle, ConnectionSupervisor
from .tls import TlsConfig
from .version import __version__

__all__ = [
    "FINAL_CLOSE_CODES",
    "ActivityHandle",
    "AdvancedStatusViewer",
    "AgreedCompression",
    "AlreadyRunning",
    "AuthFailed",
    "AuthHandshaker",
    "Batch",
    "CertificateError",
    "ChainedHandshaker",
    "ClientBuilder",
    "ClientConfig",
    "ClientError",
    "ClientStats",
    "ClientStopped",
    "Close",
    "CloseInfo",
    "ClosePolicy",
    "ConcurrencyError",
    "ConfigError",
    "Conflate",
    "ConnectError",
    "ConnectLimiter",
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
    "ConnectionSupervisor",
    "Connector",
    "CustomRetry",
    "DataTimeout",
    "DecodeError",
    "DefaultConnector",
    "Deflate",
    "DialError",
    "DisconnectReason",
    "Disconnected",
    "Down",
    "Dropped",
    "Event",
    "EventStream",
    "ExponentialBackoff",
    "Extension",
    "ExtensionError",
    "ExtensionHost",
    "Failure",
    "FastwsError",
    "FixedDelay",
    "Gap",
    "HandshakeChannel",
    "HandshakeError",
    "HandshakeMessage",
    "HandshakeTimeout",
    "Handshaker",
    "Headers",
    "InvalidHandshake",
    "InvalidStatus",
    "InvalidURI",
    "KeepaliveTimeout",
    "LineStats",
    "Listener",
    "LogLevel",
    "LoggingConfig",
    "LoggingExtension",
    "Marker",
    "MaybeSent",
    "Message",
    "MessageView",
    "NoOpHandshaker",
    "NoRetry",
    "NotConnected",
    "NotSent",
    "OpenTimeout",
    "Outage",
    "PayloadTooBig",
    "ProtocolError",
    "ProxyError",
    "RateLimit",
    "RateLimits",
    "Ready",
    "ReceiveError",
    "ReceiveTimeout",
    "ReconnectScheduled",
    "Recorder",
    "RecordingError",
    "RedactingFilter",
    "Redactor",
    "RedirectError",
    "RedundantClient",
    "Request",
    "RequestTimeout",
    "Response",
    "RetriesExhausted",
    "RetryStrategy",
    "SendError",
    "SendMessageHandshaker",
    "SendQueueFull",
    "Sender",
    "SequenceTracker",
    "SessionStatus",
    "Shutdown",
    "ShutdownTimeout",
    "SocketOptionError",
    "State",
    "Status",
    "StatusViewer",
    "Stream",
    "SubscribeHandshaker",
    "SubscriberOverflow",
    "Subscription",
    "SubscriptionError",
    "SubscriptionState",
    "Subscriptions",
    "TlsConfig",
    "TlsError",
    "UnknownSubscription",
    "Unsent",
    "WebSocketClient",
    "Wire",
    "__version__",
    "chain_handshakers",
    "connect",
    "events",
    "is_retryable",
    "keys",
    "redact_headers",
    "redact_uri",
    "run",
    "sync",
    "unix_connect",
]
