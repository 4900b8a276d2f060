"""The HTTP messages of the opening handshake, as ``websockets`` has them."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass

from ._adopt import adopted
from .datastructures import Headers
from .version import version

__all__ = ["SERVER", "USER_AGENT", "Request", "Response"]

_PRODUCT = f"Python/{sys.version_info[0]}.{sys.version_info[1]} websockets/{version}"

USER_AGENT = os.environ.get("WEBSOCKETS_USER_AGENT", _PRODUCT)
"""The ``User-Agent`` that the drop-in sends by default: that of ``websockets``, since servers log and judge it."""

SERVER = os.environ.get("WEBSOCKETS_SERVER", _PRODUCT)


@adopted
@dataclass
class Request:
    """An upgrade request: path with query, and header fields."""

    path: str
    headers: Headers
    method: str = "GET"
    protocol: str = "HTTP/1.1"

    def serialize(self) -> bytes:
        """The request as it is sent."""
        return f"{self.method} {self.path} {self.protocol}\r\n".encode() + self.headers.serialize()


@adopted
@dataclass
class Response:
    """The server's answer to an upgrade request."""

    status_code: int
    reason_phrase: str
    headers: Headers
    body: bytes | bytearray = b""

    def serialize(self) -> bytes:
        """The answer as it is sent."""
        line = f"HTTP/1.1 {self.status_code} {self.reason_phrase}\r\n"
        return line.encode() + self.headers.serialize() + bytes(self.body)
