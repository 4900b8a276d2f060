"""Exceptions of the older API: the installed ones, where ``websockets`` is installed."""

from __future__ import annotations

import http

from fastws.compat.websockets._adopt import adopted
from fastws.compat.websockets.datastructures import Headers, HeadersLike
from fastws.compat.websockets.exceptions import InvalidHandshake, InvalidMessage
from fastws.compat.websockets.exceptions import ProtocolError as WebSocketProtocolError
from fastws.compat.websockets.typing import StatusLike

__all__ = ["AbortHandshake", "InvalidMessage", "InvalidStatusCode", "RedirectHandshake", "WebSocketProtocolError"]


@adopted
class InvalidStatusCode(InvalidHandshake):
    """The server refused the upgrade. Attributes: ``status_code`` and ``headers``, the arguments."""

    def __init__(self, status_code: int, headers: Headers) -> None:
        self.status_code = status_code
        self.headers = headers

    def __str__(self) -> str:
        return f"server rejected WebSocket connection: HTTP {self.status_code}"


@adopted
class AbortHandshake(InvalidHandshake):
    """A server's handler answers without an upgrade. Attributes: the arguments."""

    def __init__(self, status: StatusLike, headers: HeadersLike, body: bytes = b"") -> None:
        self.status = http.HTTPStatus(status)
        self.headers = Headers(headers)
        self.body = body

    def __str__(self) -> str:
        return f"HTTP {self.status:d}, {len(self.headers)} headers, {len(self.body)} bytes"


@adopted
class RedirectHandshake(InvalidHandshake):
    """The server redirects to ``uri``."""

    def __init__(self, uri: str) -> None:
        self.uri = uri

    def __str__(self) -> str:
        return f"redirect to {self.uri}"
