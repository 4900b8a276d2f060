"""The socket of a connection, for what may be asked of it."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .connection import Connection

__all__ = ["SocketView"]


class SocketView:
    """The socket as the user of a connection may have it: its addresses and options, not its bytes.

    Args:
        given: What ``create_connection`` was given.
    """

    def __init__(self, given: Any) -> None:
        self.family = given.family
        self.type = given.type
        self.proto = given.proto
        self.server_hostname: str | None = None
        """The name that the server's certificate was checked for; None without TLS."""
        self._fileno = -1

    def of(self, ws: Connection) -> SocketView:
        """It belongs to ``ws``."""
        self._fileno = ws.fileno()
        return self

    def fileno(self) -> int:
        """The descriptor, or -1 when it is closed."""
        return self._fileno

    def getsockname(self) -> Any:
        """Our end's address."""
        with self._borrowed() as sock:
            return sock.getsockname()

    def getpeername(self) -> Any:
        """The other end's address."""
        with self._borrowed() as sock:
            return sock.getpeername()

    def getsockopt(self, level: int, option: int, *size: int) -> Any:
        """An option, as ``socket.getsockopt`` gives it."""
        with self._borrowed() as sock:
            return sock.getsockopt(level, option, *size)

    def setsockopt(self, level: int, option: int, value: Any, *more: Any) -> None:
        """Sets an option, as ``socket.setsockopt`` does."""
        with self._borrowed() as sock:
            sock.setsockopt(level, option, value, *more)

    def gettimeout(self) -> None:
        """None: calls of the connection have timeouts of their own."""

    def settimeout(self, timeout: float | None) -> None:
        """Does nothing: calls of the connection have timeouts of their own."""

    @contextlib.contextmanager
    def _borrowed(self) -> Iterator[socket.socket]:
        sock = socket.socket(self.family, self.type, self.proto, fileno=self._fileno)
        try:
            yield sock
        finally:
            sock.detach()

    def __repr__(self) -> str:
        return f"<socket of a connection, fd={self._fileno}>"
