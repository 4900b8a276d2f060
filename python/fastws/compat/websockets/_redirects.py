"""Which redirects are followed, as ``websockets`` follows them."""

from __future__ import annotations

import os
import urllib.parse
from typing import TypeGuard

from .datastructures import Headers, HeadersLike
from .exceptions import InvalidStatus, SecurityError
from .uri import WebSocketURI, parse_uri

__all__ = ["MAX_REDIRECTS", "is_cross_origin", "is_redirect", "redirected", "without_credentials"]

MAX_REDIRECTS = int(os.environ.get("WEBSOCKETS_MAX_REDIRECTS", "10"))
"""How many are followed at most."""


def is_redirect(error: Exception) -> TypeGuard[InvalidStatus]:
    """Whether the server sends us elsewhere."""
    return (
        isinstance(error, InvalidStatus)
        and error.response.status_code in _STATUSES
        and "Location" in error.response.headers
    )


def redirected(uri: str, error: InvalidStatus, *, has_sock: bool, is_unix: bool, moved: str | None) -> str:
    """The URI to go to.

    Args:
        uri: What was asked.
        error: The redirect.
        has_sock: The socket was given, and is used up.
        is_unix: It is a Unix socket.
        moved: What is not the URI's, in words, such as ``"host and port"``; None where all is.

    Raises:
        SecurityError: It leads from TLS to none.
        ValueError: It leads to where this connection cannot go.
        InvalidURI: It leads to no WebSocket URI.
    """
    new = urllib.parse.urljoin(uri, error.response.headers["Location"])
    old_parts, parts = parse_uri(uri), parse_uri(new)
    if has_sock:
        raise ValueError(f"cannot follow redirect to {new} with a preexisting socket")
    if old_parts.secure and not parts.secure:
        raise SecurityError(f"cannot follow redirect to non-secure URI {new}")
    if is_cross_origin(uri, new):
        if is_unix:
            raise ValueError(f"cannot follow cross-origin redirect to {new} with a Unix socket")
        if moved is not None:
            raise ValueError(f"cannot follow cross-origin redirect to {new} with an explicit {moved}")
    return new


def without_credentials(headers: HeadersLike | None, old: str, new: str) -> HeadersLike | None:
    """The headers for ``new``: those that speak of a secret stay at the origin of ``old``."""
    if headers is None or not is_cross_origin(old, new):
        return headers
    return Headers([(name, value) for name, value in Headers(headers).raw_items() if name.lower() not in _SECRET])


def is_cross_origin(old: str, new: str) -> bool:
    """Whether one URI is of another origin than the other."""
    return _origin(parse_uri(old)) != _origin(parse_uri(new))


def _origin(uri: WebSocketURI) -> tuple[bool, str, int]:
    return uri.secure, uri.host, uri.port


_STATUSES = (300, 301, 302, 303, 307, 308)

_SECRET = ("authorization", "cookie", "proxy-authorization")
