"""WebSocket URIs (RFC 6455 §3)."""

from __future__ import annotations

import urllib.parse
from dataclasses import dataclass

from ._adopt import adopted
from .exceptions import InvalidURI

__all__ = ["WebSocketURI", "parse_uri"]


@adopted
@dataclass
class WebSocketURI:
    """A WebSocket URI: ``host`` in lower case, ``port`` always there, user and password decoded."""

    secure: bool
    host: str
    port: int
    path: str
    query: str
    username: str | None = None
    password: str | None = None

    @property
    def resource_name(self) -> str:
        """Path and query, as they are in a request."""
        return (self.path or "/") + (f"?{self.query}" if self.query else "")

    @property
    def user_info(self) -> tuple[str, str] | None:
        """User and password, if they are there."""
        return None if self.username is None else (self.username, self.password or "")


@adopted
def parse_uri(uri: str) -> WebSocketURI:
    """Reads a WebSocket URI. Raises InvalidURI."""
    parsed = urllib.parse.urlparse(uri)
    if parsed.scheme not in ("ws", "wss"):
        raise InvalidURI(uri, "scheme isn't ws or wss")
    if parsed.hostname is None:
        raise InvalidURI(uri, "hostname isn't provided")
    if parsed.fragment:
        raise InvalidURI(uri, "fragment identifier is meaningless")
    secure = parsed.scheme == "wss"
    host, path, query, username, password = parsed.hostname, parsed.path, parsed.query, parsed.username, parsed.password
    if username is not None:
        if password is None:
            raise InvalidURI(uri, "username provided without password")
        username, password = (urllib.parse.unquote(part, errors="strict") for part in (username, password))
    if not uri.isascii():
        host = host.encode("idna").decode()
        path, query = (urllib.parse.quote(part, safe=_DELIMITERS) for part in (path, query))
    return WebSocketURI(secure, host, parsed.port or (443 if secure else 80), path, query, username, password)


# gen-delims and sub-delims of RFC 3987.
_DELIMITERS = ":/?#[]@!$&'()*+,;="
