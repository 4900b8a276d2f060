"""WebSocket URIs (RFC 6455 §3)."""

from __future__ import annotations

import urllib.parse
from dataclasses import dataclass, replace

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
    parts = urllib.parse.urlparse(uri)
    fault = _fault(parts)
    if fault is not None:
        raise InvalidURI(uri, fault)
    read = WebSocketURI(
        secure=parts.scheme == "wss",
        host=parts.hostname or "",
        port=parts.port or _PORTS[parts.scheme],
        path=parts.path,
        query=parts.query,
        username=_decoded(parts.username),
        password=_decoded(parts.password),
    )
    return read if uri.isascii() else _mapped(read)


def _fault(parts: urllib.parse.ParseResult) -> str | None:
    """Why they are of no WebSocket URI."""
    if parts.scheme not in _PORTS:
        return "scheme isn't ws or wss"
    if parts.hostname is None:
        return "hostname isn't provided"
    if parts.fragment:
        return "fragment identifier is meaningless"
    if parts.username is not None and parts.password is None:
        return "username provided without password"
    return None


def _decoded(part: str | None) -> str | None:
    return None if part is None else urllib.parse.unquote(part, errors="strict")


def _mapped(iri: WebSocketURI) -> WebSocketURI:
    """What an IRI is as a URI (RFC 3987 §3.1)."""
    return replace(
        iri,
        host=iri.host.encode("idna").decode("ascii"),
        path=urllib.parse.quote(iri.path, safe=_DELIMITERS),
        query=urllib.parse.quote(iri.query, safe=_DELIMITERS),
    )


_PORTS = {"ws": 80, "wss": 443}

# gen-delims and sub-delims of RFC 3987.
_DELIMITERS = ":/?#[]@!$&'()*+,;="
