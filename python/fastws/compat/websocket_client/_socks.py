"""What SOCKS proxies fail with: the exceptions of python-socks, if it is installed, and of websocket-client at once."""

from __future__ import annotations

from typing import cast

from ._exceptions import WebSocketAddressException, WebSocketProxyException

__all__ = [
    "HAVE_PYTHON_SOCKS",
    "PATIENCE",
    "ProxyConnectionError",
    "ProxyError",
    "ProxyTimeoutError",
    "ProxyType",
    "late",
    "refused",
    "unreachable",
]

try:
    from python_socks import ProxyConnectionError, ProxyError, ProxyTimeoutError, ProxyType

    HAVE_PYTHON_SOCKS = True
except ImportError:
    HAVE_PYTHON_SOCKS = False

    class ProxyError(Exception):  # type: ignore[no-redef]
        """What python-socks has, if it is installed."""

    class ProxyTimeoutError(Exception):  # type: ignore[no-redef]
        """What python-socks has, if it is installed."""

    class ProxyConnectionError(Exception):  # type: ignore[no-redef]
        """What python-socks has, if it is installed."""

    class ProxyType:  # type: ignore[no-redef]
        """What python-socks has, if it is installed."""


PATIENCE = 60.0
"""Seconds that a SOCKS proxy may take to open a way, unless ``http_proxy_timeout`` says; python-socks has that."""


def late(seconds: float, *, is_connected: bool) -> Exception:
    """The proxy was not connected to, or opened no way, in time."""
    theirs = ProxyTimeoutError if is_connected else ProxyConnectionError
    return _both(WebSocketProxyException, theirs, TimeoutError)(f"Proxy connection timed out: {seconds:g}")


def unreachable(text: str, cause: OSError, *, is_found: bool) -> Exception:
    """The proxy was not found, or could not be connected to; it is what the system says, too."""
    ours = WebSocketProxyException if is_found else WebSocketAddressException
    return _both(ours, ProxyConnectionError, type(cause))(cause.errno, text)


def refused(text: str, cause: BaseException) -> Exception:
    """What the proxy said, in ``cause``."""
    return _both(WebSocketProxyException, type(cause))(text)


def _both(ours: type[Exception], *theirs: type[BaseException]) -> type[Exception]:
    return cast("type[Exception]", type(ours.__name__, (ours, *theirs), {}))
