"""Bytes of a socket: what is set on it, and reading and writing one that is not native."""

from __future__ import annotations

import errno
import selectors
import socket
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from ._exceptions import WebSocketConnectionClosedException, WebSocketTimeoutException
from ._ssl_compat import SSLEOFError, SSLError, SSLWantReadError, SSLWantWriteError
from ._utils import extract_err_message, extract_error_code

__all__ = [
    "DEFAULT_SOCKET_OPTION",
    "getdefaulttimeout",
    "recv",
    "recv_line",
    "send",
    "setdefaulttimeout",
    "sock_opt",
]

T = TypeVar("T")

Timeout = float | None

DEFAULT_SOCKET_OPTION: list[tuple[int, int, int]] = [
    (socket.SOL_TCP, socket.TCP_NODELAY, 1),
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
]
"""Set on each socket that is dialled, before ``sockopt``: level, option, value. A peer that is silent is probed."""
for _name, _value in (("TCP_KEEPIDLE", 30), ("TCP_KEEPINTVL", 10), ("TCP_KEEPCNT", 3)):
    if hasattr(socket, _name):
        DEFAULT_SOCKET_OPTION.append((socket.SOL_TCP, getattr(socket, _name), _value))

_default_timeout: Timeout = None


class sock_opt:  # noqa: N801
    """Options of a connection.

    Attributes:
        sockopt: What is set on its socket besides ``DEFAULT_SOCKET_OPTION``.
        sslopt: Options of TLS.
        timeout: Seconds that a call may wait; None for no limit.
        native: Whether fastws may have the socket that is dialled.
        frames: Whether messages in fragments are to be given so.
    """

    def __init__(self, sockopt: Sequence[tuple[Any, ...]] | None, sslopt: dict[str, Any] | None) -> None:
        self.sockopt: Sequence[tuple[Any, ...]] = [] if sockopt is None else sockopt
        self.sslopt: dict[str, Any] = {} if sslopt is None else sslopt
        self.timeout: Timeout = None
        self.native = False
        self.frames = False


def checked_timeout(timeout: Timeout) -> Timeout:
    """``timeout``, if it is one. Raises TypeError and ValueError."""
    if timeout is None:
        return None
    if not isinstance(timeout, int | float):
        raise TypeError(f"timeout is seconds (int or float), or None for no limit; not {timeout!r}")
    if timeout < 0:
        raise ValueError("Timeout value out of range")
    return timeout


def setdefaulttimeout(timeout: Timeout) -> None:
    """Sets the timeout of connections that are made without one: seconds, or None for no limit."""
    global _default_timeout  # noqa: PLW0603 - it is the process' setting
    _default_timeout = timeout


def getdefaulttimeout() -> Timeout:
    """The timeout of connections that are made without one."""
    return _default_timeout


def recv(sock: Any, bufsize: int) -> bytes:
    """Reads what there is, or comes next; ``bufsize`` bytes at most.

    Raises:
        WebSocketConnectionClosedException: The stream ended.
        WebSocketTimeoutException: Nothing came within the socket's timeout.
    """
    if not sock:
        raise WebSocketConnectionClosedException("socket is already closed.")
    try:
        received = _waiting(sock, lambda: sock.recv(bufsize), selectors.EVENT_READ, SSLWantReadError)
    except TimeoutError as error:
        raise WebSocketTimeoutException("Connection timed out") from error
    except SSLError as error:
        if _is_timeout(error):
            raise WebSocketTimeoutException(extract_err_message(error)) from error
        raise
    if received is None:
        raise WebSocketTimeoutException("Connection timed out waiting for data")
    data: bytes = received[0]
    if not data:
        raise WebSocketConnectionClosedException("Connection to remote host was lost.")
    return data


def recv_line(sock: Any) -> bytes:
    """Reads a line with its end, and nothing behind it."""
    line = b""
    while not line.endswith(b"\n"):
        line += recv(sock, 1)
    return line


def send(sock: Any, data: bytes | str) -> int:
    """Writes what can be written now; returns how many bytes that were, 0 if none could within the timeout.

    Raises:
        WebSocketConnectionClosedException: The stream ended.
        WebSocketTimeoutException: The socket's own timeout is over.
    """
    if not sock:
        raise WebSocketConnectionClosedException("socket is already closed.")
    written = data.encode() if isinstance(data, str) else data
    try:
        sent = _waiting(sock, lambda: sock.send(written), selectors.EVENT_WRITE, SSLWantWriteError)
    except SSLEOFError as error:
        raise WebSocketConnectionClosedException("socket is already closed.") from error
    except TimeoutError as error:
        raise WebSocketTimeoutException(extract_err_message(error)) from error
    except OSError as error:
        if _is_timeout(error):
            raise WebSocketTimeoutException(extract_err_message(error)) from error
        raise
    return 0 if sent is None else sent[0]


def _waiting(sock: Any, act: Callable[[], T], event: int, wants: type[Exception]) -> tuple[T] | None:
    """What ``act`` returns, a second time if the socket was not ready; none if it does not become so in time."""
    timeout = sock.gettimeout()
    if timeout == 0:
        return (act(),)
    try:
        return (act(),)
    except wants:
        pass
    except OSError as error:
        if extract_error_code(error) not in (errno.EAGAIN, errno.EWOULDBLOCK):
            raise
    selector = selectors.DefaultSelector()
    try:
        selector.register(sock, event)
        is_ready = selector.select(timeout)
    finally:
        selector.close()
    return (act(),) if is_ready else None


def _is_timeout(error: OSError) -> bool:
    """TLS has no class for it, but says so."""
    return "timed out" in (extract_err_message(error) or "")
