"""The small functions of the handshake and of masking."""

from __future__ import annotations

import base64
import hashlib
import secrets
import socket
import sys

from ._adopt import adopted
from .typing import BytesLike

__all__ = ["accept_key", "apply_mask", "get_socket_name"]

GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


@adopted
def generate_key() -> str:
    """A new ``Sec-WebSocket-Key`` (RFC 6455 §4.1)."""
    return base64.b64encode(secrets.token_bytes(16)).decode()


@adopted
def accept_key(key: str) -> str:
    """The ``Sec-WebSocket-Accept`` of a key (RFC 6455 §4.2.2)."""
    return base64.b64encode(hashlib.sha1(f"{key}{GUID}".encode(), usedforsecurity=False).digest()).decode()


@adopted
def apply_mask(data: BytesLike, mask: bytes | bytearray) -> bytes:
    """Masks, or unmasks (RFC 6455 §5.3). Raises ValueError if the mask has not 4 bytes."""
    if len(mask) != 4:
        raise ValueError("mask must contain 4 bytes")
    size = len(data)
    whole = int.from_bytes(bytes(data), sys.byteorder) ^ int.from_bytes((mask * (size // 4 + 1))[:size], sys.byteorder)
    return whole.to_bytes(size, sys.byteorder)


@adopted
def get_socket_name(sock: socket.socket) -> str:
    """A socket's own address for people."""
    name = sock.getsockname()
    match sock.family:
        case socket.AF_INET:
            return f"{name[0]}:{name[1]}"
        case socket.AF_INET6:
            return f"[{name[0]}]:{name[1]}"
    return str(name)
