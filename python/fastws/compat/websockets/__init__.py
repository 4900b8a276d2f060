"""A drop-in for ``websockets`` 17: ``import fastws.compat.websockets as websockets``.

Its client is that of fastws, on an event loop (``connect``) and without (``sync.client``), with the names, parameters,
defaults and exceptions of ``websockets``. What is not the client's, such as ``serve``, is that of the installed
``websockets``; without it, an import fails. Exceptions, ``Headers``, ``State`` and the like are the installed package's
own classes where it is installed, so that either name catches and compares.

To put it in place without touching imports: ``fastws.compat.install("websockets")``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ._adopt import lazily, original
from .version import version as __version__  # noqa: F401

__all__ = [
    "ClientConnection",
    "ClientProtocol",
    "Close",
    "CloseCode",
    "ConcurrencyError",
    "ConnectionClosed",
    "ConnectionClosedError",
    "ConnectionClosedOK",
    "Data",
    "DuplicateParameter",
    "ExtensionName",
    "ExtensionParameter",
    "Frame",
    "HeaderLineTooLong",
    "Headers",
    "HeadersLike",
    "InvalidHandshake",
    "InvalidHeader",
    "InvalidHeaderFormat",
    "InvalidHeaderValue",
    "InvalidMessage",
    "InvalidMethod",
    "InvalidOrigin",
    "InvalidParameterName",
    "InvalidParameterValue",
    "InvalidProtocol",
    "InvalidProxy",
    "InvalidProxyMessage",
    "InvalidProxyStatus",
    "InvalidState",
    "InvalidStatus",
    "InvalidURI",
    "InvalidUpgrade",
    "LoggerLike",
    "MultipleValuesError",
    "NegotiationError",
    "Opcode",
    "Origin",
    "PayloadTooBig",
    "Protocol",
    "ProtocolError",
    "ProxyError",
    "Request",
    "RequestLineTooLong",
    "Response",
    "Router",
    "SecurityError",
    "Server",
    "ServerConnection",
    "ServerProtocol",
    "Side",
    "State",
    "StatusLike",
    "StatusLineTooLong",
    "Subprotocol",
    "TooManyFragments",
    "TooManyHeaders",
    "WebSocketException",
    "basic_auth",
    "broadcast",
    "connect",
    "route",
    "serve",
    "unix_connect",
    "unix_route",
    "unix_serve",
]

if original(__name__) is None:
    # What is not the client's is not there.
    __all__ = [
        name
        for name in __all__
        if name.removeprefix("unix_") not in ("Router", "route", "serve", "basic_auth")
        and name not in ("ClientProtocol", "Protocol", "Server", "ServerConnection", "ServerProtocol")
    ]

if TYPE_CHECKING:
    from .asyncio.client import ClientConnection, connect, unix_connect
    from .asyncio.connection import broadcast
    from .asyncio.router import Router, route, unix_route
    from .asyncio.server import Server, ServerConnection, basic_auth, serve, unix_serve
    from .client import ClientProtocol
    from .datastructures import Headers, HeadersLike, MultipleValuesError
    from .exceptions import (
        ConcurrencyError,
        ConnectionClosed,
        ConnectionClosedError,
        ConnectionClosedOK,
        DuplicateParameter,
        HeaderLineTooLong,
        InvalidHandshake,
        InvalidHeader,
        InvalidHeaderFormat,
        InvalidHeaderValue,
        InvalidMessage,
        InvalidMethod,
        InvalidOrigin,
        InvalidParameterName,
        InvalidParameterValue,
        InvalidProtocol,
        InvalidProxy,
        InvalidProxyMessage,
        InvalidProxyStatus,
        InvalidState,
        InvalidStatus,
        InvalidUpgrade,
        InvalidURI,
        NegotiationError,
        PayloadTooBig,
        ProtocolError,
        ProxyError,
        RequestLineTooLong,
        SecurityError,
        StatusLineTooLong,
        TooManyFragments,
        TooManyHeaders,
        WebSocketException,
    )
    from .frames import Close, CloseCode, Frame, Opcode
    from .http11 import Request, Response
    from .protocol import Protocol, Side, State
    from .server import ServerProtocol
    from .typing import Data, ExtensionName, ExtensionParameter, LoggerLike, Origin, StatusLike, Subprotocol
else:
    __getattr__, __dir__ = lazily(
        globals(),
        {
            "connect": ".asyncio.client",
            "unix_connect": ".asyncio.client",
            "ClientConnection": ".asyncio.client",
            "route": ".asyncio.router",
            "unix_route": ".asyncio.router",
            "Router": ".asyncio.router",
            "basic_auth": ".asyncio.server",
            "broadcast": ".asyncio.connection",
            "serve": ".asyncio.server",
            "unix_serve": ".asyncio.server",
            "ServerConnection": ".asyncio.server",
            "Server": ".asyncio.server",
            "ClientProtocol": ".client",
            "Headers": ".datastructures",
            "HeadersLike": ".datastructures",
            "MultipleValuesError": ".datastructures",
            "ConcurrencyError": ".exceptions",
            "ConnectionClosed": ".exceptions",
            "ConnectionClosedError": ".exceptions",
            "ConnectionClosedOK": ".exceptions",
            "DuplicateParameter": ".exceptions",
            "HeaderLineTooLong": ".exceptions",
            "InvalidHandshake": ".exceptions",
            "InvalidHeader": ".exceptions",
            "InvalidHeaderFormat": ".exceptions",
            "InvalidHeaderValue": ".exceptions",
            "InvalidMessage": ".exceptions",
            "InvalidMethod": ".exceptions",
            "InvalidOrigin": ".exceptions",
            "InvalidParameterName": ".exceptions",
            "InvalidParameterValue": ".exceptions",
            "InvalidProtocol": ".exceptions",
            "InvalidProxy": ".exceptions",
            "InvalidProxyMessage": ".exceptions",
            "InvalidProxyStatus": ".exceptions",
            "InvalidState": ".exceptions",
            "InvalidStatus": ".exceptions",
            "InvalidUpgrade": ".exceptions",
            "InvalidURI": ".exceptions",
            "NegotiationError": ".exceptions",
            "PayloadTooBig": ".exceptions",
            "ProtocolError": ".exceptions",
            "ProxyError": ".exceptions",
            "RequestLineTooLong": ".exceptions",
            "SecurityError": ".exceptions",
            "StatusLineTooLong": ".exceptions",
            "TooManyFragments": ".exceptions",
            "TooManyHeaders": ".exceptions",
            "WebSocketException": ".exceptions",
            "Close": ".frames",
            "CloseCode": ".frames",
            "Frame": ".frames",
            "Opcode": ".frames",
            "Request": ".http11",
            "Response": ".http11",
            "Protocol": ".protocol",
            "Side": ".protocol",
            "State": ".protocol",
            "ServerProtocol": ".server",
            "Data": ".typing",
            "ExtensionName": ".typing",
            "ExtensionParameter": ".typing",
            "LoggerLike": ".typing",
            "Origin": ".typing",
            "StatusLike": ".typing",
            "Subprotocol": ".typing",
        },
        {
            "BasicAuthWebSocketServerProtocol": ".legacy.auth",
            "basic_auth_protocol_factory": ".legacy.auth",
            "WebSocketClientProtocol": ".legacy.client",
            "AbortHandshake": ".legacy.exceptions",
            "InvalidStatusCode": ".legacy.exceptions",
            "RedirectHandshake": ".legacy.exceptions",
            "WebSocketProtocolError": ".legacy.exceptions",
            "WebSocketCommonProtocol": ".legacy.protocol",
            "WebSocketServer": ".legacy.server",
            "WebSocketServerProtocol": ".legacy.server",
        },
    )
