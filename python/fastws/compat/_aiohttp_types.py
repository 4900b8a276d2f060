"""The names of aiohttp that its WebSockets use: aiohttp's own where it is installed, else ours by the same names."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, Any, NamedTuple

from . import _installed

__all__ = [
    "ClientConnectionError",
    "ClientConnectionResetError",
    "ClientConnectorCertificateError",
    "ClientConnectorDNSError",
    "ClientConnectorError",
    "ClientConnectorSSLError",
    "ClientError",
    "ClientHttpProxyError",
    "ClientProxyConnectionError",
    "ClientResponseError",
    "ClientWSTimeout",
    "ConnectionTimeoutError",
    "InvalidURL",
    "InvalidUrlClientError",
    "InvalidUrlRedirectClientError",
    "NonHttpUrlClientError",
    "NonHttpUrlRedirectClientError",
    "RedirectClientError",
    "ServerDisconnectedError",
    "ServerTimeoutError",
    "SocketTimeoutError",
    "TooManyRedirects",
    "WSCloseCode",
    "WSMessage",
    "WSMessageTextBytes",
    "WSMessageTypeError",
    "WSMsgType",
    "WSServerHandshakeError",
    "WebSocketError",
    "original",
]

original = _installed.find("aiohttp")

if TYPE_CHECKING or original is None:

    class WSCloseCode(IntEnum):
        """Close codes (RFC 6455 §7.4)."""

        OK = 1000
        GOING_AWAY = 1001
        PROTOCOL_ERROR = 1002
        UNSUPPORTED_DATA = 1003
        ABNORMAL_CLOSURE = 1006
        INVALID_TEXT = 1007
        POLICY_VIOLATION = 1008
        MESSAGE_TOO_BIG = 1009
        MANDATORY_EXTENSION = 1010
        INTERNAL_ERROR = 1011
        SERVICE_RESTART = 1012
        TRY_AGAIN_LATER = 1013
        BAD_GATEWAY = 1014

    class WSMsgType(IntEnum):
        """What a ``WSMessage`` is: an opcode (RFC 6455 §5.2), or what became of the connection."""

        CONTINUATION = 0x0
        TEXT = 0x1
        BINARY = 0x2
        CLOSE = 0x8
        PING = 0x9
        PONG = 0xA
        CLOSING = 0x100
        CLOSED = 0x101
        ERROR = 0x102

        text = TEXT
        binary = BINARY
        ping = PING
        pong = PONG
        close = CLOSE
        closing = CLOSING
        closed = CLOSED
        error = ERROR

    class WSMessage(NamedTuple):
        """What ``receive`` returns."""

        type: WSMsgType
        data: Any
        extra: str | None

        def json(self, *, loads: Callable[[Any], Any] = json.loads) -> Any:
            """The data, parsed."""
            return loads(self.data)

    class WSMessageTextBytes(NamedTuple):
        """What it returns for text that is not decoded."""

        type: WSMsgType
        data: Any
        extra: str | None

        def json(self, *, loads: Callable[[Any], Any] = json.loads) -> Any:
            """The data, parsed."""
            return loads(self.data)

    @dataclass(frozen=True, slots=True)
    class ClientWSTimeout:
        """Seconds: ``ws_receive`` for one ``receive``, ``ws_close`` for the closing handshake; None for no limit."""

        ws_receive: float | None = None
        ws_close: float | None = None

    class WebSocketError(Exception):
        """The peer violated the protocol; ``code`` is the close code that it was told."""

        def __init__(self, code: int, message: str) -> None:
            self.code = code
            super().__init__(code, message)

        def __str__(self) -> str:
            return str(self.args[1])

    class WSMessageTypeError(TypeError):
        """A message of another type than was asked for."""

    class ClientError(Exception):
        """Base of what a client raises."""

    class InvalidURL(ClientError, ValueError):
        """The URL cannot be used."""

    class InvalidUrlClientError(InvalidURL):
        """The URL cannot be used."""

    class NonHttpUrlClientError(ClientError):
        """The URL has another scheme than ws, wss, http or https."""

    class RedirectClientError(ClientError):
        """The server redirects to where we do not go."""

    class InvalidUrlRedirectClientError(InvalidUrlClientError, RedirectClientError):
        """The server redirects to what is no URL."""

    class NonHttpUrlRedirectClientError(NonHttpUrlClientError, RedirectClientError):
        """The server redirects to another scheme."""

    class ClientResponseError(ClientError):
        """The answer cannot be used; ``status`` is its status, 400 if it cannot be read."""

        def __init__(self, request_info: Any, history: Any, *, status: int, message: str, headers: Any = None) -> None:
            self.request_info = request_info
            self.history = history
            self.status = status
            self.message = message
            self.headers = headers
            super().__init__(request_info, history)

        def __str__(self) -> str:
            return f"{self.status}, message={self.message!r}"

    class WSServerHandshakeError(ClientResponseError):
        """The server's answer is not an upgrade."""

    class ClientHttpProxyError(ClientResponseError):
        """The proxy refused to open a way."""

    class TooManyRedirects(ClientResponseError):
        """The server redirected too often."""

    class ClientConnectionError(ClientError):
        """The connection was not made, or was lost."""

    class ClientConnectionResetError(ClientConnectionError, ConnectionResetError):
        """The connection is over, or about to be."""

    class ClientConnectorError(ClientConnectionError, OSError):
        """The connection was not made; ``os_error`` says why."""

        def __init__(self, connection_key: Any, os_error: OSError) -> None:
            self.connection_key = connection_key
            self.os_error = os_error
            super().__init__(os_error.errno, os_error.strerror)

    class ClientConnectorDNSError(ClientConnectorError):
        """The host was not found."""

    class ClientProxyConnectionError(ClientConnectorError):
        """The proxy was not reached, or one of SOCKS did not open a way."""

    class ClientConnectorSSLError(ClientConnectorError):
        """The TLS handshake failed."""

    class ClientConnectorCertificateError(ClientConnectorError):
        """The server's certificate was not accepted."""

    class ServerDisconnectedError(ClientConnectionError):
        """The server ended the connection before it was open."""

    class ServerTimeoutError(ClientConnectionError, asyncio.TimeoutError):
        """The server did not answer in time."""

    class ConnectionTimeoutError(ServerTimeoutError):
        """The connection was not made in time."""

    class SocketTimeoutError(ServerTimeoutError):
        """The server did not answer the request in time."""

else:
    from aiohttp import (
        ClientConnectionError,
        ClientConnectionResetError,
        ClientConnectorCertificateError,
        ClientConnectorError,
        ClientConnectorSSLError,
        ClientError,
        ClientHttpProxyError,
        ClientProxyConnectionError,
        ClientResponseError,
        InvalidURL,
        ServerDisconnectedError,
        ServerTimeoutError,
        TooManyRedirects,
        WebSocketError,
        WSCloseCode,
        WSMessage,
        WSMsgType,
        WSServerHandshakeError,
    )
    from aiohttp.client_ws import ClientWSTimeout

    # Newer than the oldest aiohttp that is in use.
    ClientConnectorDNSError = getattr(original, "ClientConnectorDNSError", ClientConnectorError)
    ConnectionTimeoutError = getattr(original, "ConnectionTimeoutError", ServerTimeoutError)
    SocketTimeoutError = getattr(original, "SocketTimeoutError", ServerTimeoutError)
    WSMessageTextBytes = getattr(_installed.find("aiohttp.http"), "WSMessageTextBytes", WSMessage)
    InvalidUrlClientError = getattr(original, "InvalidUrlClientError", InvalidURL)
    NonHttpUrlClientError = getattr(original, "NonHttpUrlClientError", InvalidURL)
    RedirectClientError = getattr(original, "RedirectClientError", InvalidURL)
    InvalidUrlRedirectClientError = getattr(original, "InvalidUrlRedirectClientError", InvalidURL)
    NonHttpUrlRedirectClientError = getattr(original, "NonHttpUrlRedirectClientError", InvalidURL)
    WSMessageTypeError = getattr(original, "WSMessageTypeError", TypeError)
