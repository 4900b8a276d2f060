"""Every exception of fastws. All derive from ``FastwsError``.

Names follow ``websockets`` where it has them. An exception carries what an operator needs: the URI (with secrets
masked), the phase of opening that failed, the server's answer, how a connection ended. Which errors a later attempt may
not meet again is said in one place, ``is_retryable``.
"""

from types import FunctionType
from typing import Literal  # noqa: F401 - annotations of these classes are resolved in this module

from ._base import FastwsError, _restored
from ._client import (
    AlreadyRunning,
    AuthFailed,
    ClientError,
    ClientStopped,
    ConfigError,
    DataTimeout,
    DecodeError,
    ExtensionError,
    HandshakeError,
    HandshakeKind,
    HandshakeTimeout,
    ReceiveError,
    ReceiveTimeout,
    RecordingError,
    RetriesExhausted,
    SubscriberOverflow,
)
from ._connection import (
    Close,
    CloseInfo,
    ConcurrencyError,
    ConnectionClosed,
    ConnectionClosedError,
    ConnectionClosedOK,
    KeepaliveTimeout,
    PayloadTooBig,
    ProtocolError,
)
from ._opening import (
    CertificateError,
    CertificateFault,
    ConnectError,
    ConnectKind,
    DialError,
    InvalidHandshake,
    InvalidStatus,
    InvalidURI,
    OpenTimeout,
    Phase,
    ProxyError,
    RedirectError,
    SocketOptionError,
    TlsError,
    UpgradeFault,
)
from ._retryable import is_retryable
from ._sending import (
    ConnectionLost,
    MaybeSent,
    NotConnected,
    NotSent,
    Outcome,
    RequestTimeout,
    SendError,
    SendQueueFull,
    ShutdownTimeout,
    Unsent,
)
from ._sending import is_unsent as is_unsent
from ._sending import tell_unsent as tell_unsent
from ._sending import unsent_messages as unsent_messages

__all__ = [
    "AlreadyRunning",
    "AuthFailed",
    "CertificateError",
    "CertificateFault",
    "ClientError",
    "ClientStopped",
    "Close",
    "CloseInfo",
    "ConcurrencyError",
    "ConfigError",
    "ConnectError",
    "ConnectKind",
    "ConnectionClosed",
    "ConnectionClosedError",
    "ConnectionClosedOK",
    "ConnectionLost",
    "DataTimeout",
    "DecodeError",
    "DialError",
    "ExtensionError",
    "FastwsError",
    "HandshakeError",
    "HandshakeKind",
    "HandshakeTimeout",
    "InvalidHandshake",
    "InvalidStatus",
    "InvalidURI",
    "KeepaliveTimeout",
    "MaybeSent",
    "NotConnected",
    "NotSent",
    "OpenTimeout",
    "Outcome",
    "PayloadTooBig",
    "Phase",
    "ProtocolError",
    "ProxyError",
    "ReceiveError",
    "ReceiveTimeout",
    "RecordingError",
    "RedirectError",
    "RequestTimeout",
    "RetriesExhausted",
    "SendError",
    "SendQueueFull",
    "ShutdownTimeout",
    "SocketOptionError",
    "SubscriberOverflow",
    "TlsError",
    "Unsent",
    "UpgradeFault",
    "is_retryable",
]

# To users they are of this module: in tracebacks, in pickles, wherever a class is named.
for _each in (*map(globals().get, __all__), _restored, is_unsent, tell_unsent, unsent_messages):
    if isinstance(_each, type | FunctionType):
        _each.__module__ = __name__
del _each
