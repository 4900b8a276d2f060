"""What ``ws.transport`` is here: what live code asks a transport of asyncio's, answered by the native connection."""

from __future__ import annotations

import os
import socket
import ssl
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .asyncio.connection import Connection

__all__ = ["Transport"]


class Transport:
    """The socket of a connection, as far as it may be touched.

    Args:
        ws: The connection.
        ssl_object: The ``ssl.SSLObject`` of its TLS, where Python's ``ssl`` does it.
        sslcontext: Its context.
    """

    def __init__(
        self, ws: Connection, ssl_object: ssl.SSLObject | None = None, sslcontext: ssl.SSLContext | None = None
    ) -> None:
        self._ws = ws
        self._ssl_object = ssl_object
        self._sslcontext = sslcontext

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """What is known of the connection, by the names of ``asyncio.BaseTransport.get_extra_info``."""
        tls = self._ssl_object
        match name:
            case "sockname":
                found = self._ws.local_address
            case "peername":
                found = self._ws.remote_address
            case "socket":
                found = Socket(self._ws)
            case "ssl_object":
                found = tls
            case "sslcontext":
                found = self._sslcontext
            case "peercert" if tls is not None:
                found = tls.getpeercert()
            case "cipher" if tls is not None:
                found = tls.cipher()
            case "compression" if tls is not None:
                found = tls.compression()
            case _:
                found = None
        return default if found is None else found

    def get_protocol(self) -> Connection:
        """The connection, which is a protocol to transports."""
        return self._ws

    def is_closing(self) -> bool:
        """Whether the socket is closed, or about to be."""
        return self._ws.fileno() < 0

    def close(self) -> None:
        """Ends the connection without a closing handshake."""
        self._ws._abort("the transport was closed")

    abort = close

    def is_reading(self) -> bool:
        """Whether the socket is read: not while the receive queue is full."""
        return not (self.is_closing() or self._ws._is_paused)

    def can_write_eof(self) -> bool:
        """Whether the sending half can be ended alone."""
        return self._sslcontext is None

    def get_write_buffer_size(self) -> int:
        """Bytes that wait to be sent."""
        size: int = self._ws._stats()["send_queue_bytes"]
        return size

    def get_write_buffer_limits(self) -> tuple[int, int]:
        """Low and high water of what waits to be sent, in bytes."""
        return self._ws._write_limits

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self._ws!r}>"


class Socket:
    """The connection's socket, for looking at it and for its options: it is not for reading, writing or closing."""

    def __init__(self, ws: Connection) -> None:
        self._ws = ws

    def fileno(self) -> int:
        """Its descriptor; -1 once it is closed."""
        return self._ws.fileno()

    def _call(self, name: str, *args: Any) -> Any:
        # A descriptor of its own for as long as the call lasts, as a socket object closes what it has.
        with socket.socket(fileno=os.dup(self._ws.fileno())) as sock:
            found = getattr(sock, name)
            return found(*args) if callable(found) else found

    @property
    def family(self) -> int:
        """Its address family."""
        family: int = self._call("family")
        return family

    @property
    def type(self) -> int:
        """SOCK_STREAM."""
        return socket.SOCK_STREAM

    @property
    def proto(self) -> int:
        """Its protocol's number."""
        proto: int = self._call("proto")
        return proto

    def getsockname(self) -> Any:
        """Its own address."""
        return self._call("getsockname")

    def getpeername(self) -> Any:
        """The peer's address."""
        return self._call("getpeername")

    def getsockopt(self, *args: Any) -> Any:
        """See ``socket.socket.getsockopt``."""
        return self._call("getsockopt", *args)

    def setsockopt(self, *args: Any) -> None:
        """See ``socket.socket.setsockopt``."""
        self._call("setsockopt", *args)

    def gettimeout(self) -> float:
        """0: it does not block."""
        return 0.0

    def __repr__(self) -> str:
        return f"<{type(self).__name__} fd={self.fileno()}>"
