"""The socket of a blocking connection, for what may be asked of it."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, Any, cast

from fastws.compat.websockets._transport import Socket

if TYPE_CHECKING:
    from .connection import Connection

__all__ = ["BlockingSocket"]


class BlockingSocket(Socket):
    """A connection's socket: its addresses and options, and where it has TLS of Python's ``ssl``, what that tells.

    Args:
        ws: The connection.
        tls: Its TLS, where Python's ``ssl`` does it.
        server_hostname: The name that the server's certificate was checked for; None without TLS.
    """

    def __init__(self, ws: Connection, tls: ssl.SSLObject | None, server_hostname: str | None) -> None:
        super().__init__(cast("Any", ws))
        self._tls = tls
        self.server_hostname = server_hostname

    def gettimeout(self) -> float | None:  # type: ignore[override]
        """None: calls of the connection have timeouts of their own."""
        return None

    def shutdown(self, how: int) -> None:
        """See ``socket.socket.shutdown``: the connection ends, whoever waits for it."""
        self._call("shutdown", how)

    def settimeout(self, timeout: float | None) -> None:
        """Does nothing: calls of the connection have timeouts of their own."""

    def version(self) -> str | None:
        """The version of TLS, such as ``"TLSv1.3"``; None without TLS of Python's ``ssl``."""
        return None if self._tls is None else self._tls.version()

    def cipher(self) -> tuple[str, str, int] | None:
        """The cipher suite, as ``ssl.SSLSocket.cipher`` has it; None without TLS of Python's ``ssl``."""
        return None if self._tls is None else self._tls.cipher()

    def getpeercert(self, binary_form: bool = False) -> Any:
        """The server's certificate, as ``ssl.SSLSocket.getpeercert`` has it; None without TLS of Python's ``ssl``."""
        return None if self._tls is None else self._tls.getpeercert(binary_form)
