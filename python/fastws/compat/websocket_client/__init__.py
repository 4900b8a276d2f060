"""The package ``websocket`` of websocket-client, on ``fastws.sync``.

Module for module and name for name, so that the change is one line::

    import fastws.compat.websocket_client as websocket

Messages are framed, masked, checked and moved natively; the opening is that of ``fastws.sync``. What a program brings
itself (a socket that is no plain one, a function for mask keys, header fields that are the handshake's own) takes a
slower way, in Python, with the same results.
"""

from ._abnf import (
    ABNF,
    STATUS_ABNORMAL_CLOSED,
    STATUS_BAD_GATEWAY,
    STATUS_GOING_AWAY,
    STATUS_INVALID_EXTENSION,
    STATUS_INVALID_PAYLOAD,
    STATUS_MESSAGE_TOO_BIG,
    STATUS_NORMAL,
    STATUS_POLICY_VIOLATION,
    STATUS_PROTOCOL_ERROR,
    STATUS_SERVICE_RESTART,
    STATUS_STATUS_NOT_AVAILABLE,
    STATUS_TLS_HANDSHAKE_ERROR,
    STATUS_TRY_AGAIN_LATER,
    STATUS_UNEXPECTED_CONDITION,
    STATUS_UNSUPPORTED_DATA_TYPE,
    continuous_frame,
    frame_buffer,
)
from ._app import WebSocketApp, set_reconnect, setReconnect
from ._core import WebSocket, create_connection
from ._exceptions import (
    WebSocketAddressException,
    WebSocketBadStatusException,
    WebSocketConnectionClosedException,
    WebSocketException,
    WebSocketPayloadException,
    WebSocketProtocolException,
    WebSocketProxyException,
    WebSocketTimeoutException,
)
from ._logging import (
    debug,
    dump,
    enableTrace,
    error,
    isEnabledForDebug,
    isEnabledForError,
    isEnabledForTrace,
    trace,
    warning,
)
from ._socket import (
    DEFAULT_SOCKET_OPTION,
    getdefaulttimeout,
    recv,
    recv_line,
    send,
    setdefaulttimeout,
    sock_opt,
)

__version__ = "1.9.2"
"""The release of websocket-client whose names these are."""

__all__ = [
    "ABNF",
    "DEFAULT_SOCKET_OPTION",
    "STATUS_ABNORMAL_CLOSED",
    "STATUS_BAD_GATEWAY",
    "STATUS_GOING_AWAY",
    "STATUS_INVALID_EXTENSION",
    "STATUS_INVALID_PAYLOAD",
    "STATUS_MESSAGE_TOO_BIG",
    "STATUS_NORMAL",
    "STATUS_POLICY_VIOLATION",
    "STATUS_PROTOCOL_ERROR",
    "STATUS_SERVICE_RESTART",
    "STATUS_STATUS_NOT_AVAILABLE",
    "STATUS_TLS_HANDSHAKE_ERROR",
    "STATUS_TRY_AGAIN_LATER",
    "STATUS_UNEXPECTED_CONDITION",
    "STATUS_UNSUPPORTED_DATA_TYPE",
    "WebSocket",
    "WebSocketAddressException",
    "WebSocketApp",
    "WebSocketBadStatusException",
    "WebSocketConnectionClosedException",
    "WebSocketException",
    "WebSocketPayloadException",
    "WebSocketProtocolException",
    "WebSocketProxyException",
    "WebSocketTimeoutException",
    "continuous_frame",
    "create_connection",
    "debug",
    "dump",
    "enableTrace",
    "error",
    "frame_buffer",
    "getdefaulttimeout",
    "isEnabledForDebug",
    "isEnabledForError",
    "isEnabledForTrace",
    "recv",
    "recv_line",
    "send",
    "setReconnect",
    "set_reconnect",
    "setdefaulttimeout",
    "sock_opt",
    "trace",
    "warning",
]
