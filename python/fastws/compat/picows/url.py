"""URLs of servers and proxies: picows' own functions where it is installed."""

from __future__ import annotations

import dataclasses
import re
import urllib.parse
from typing import TYPE_CHECKING

from fastws.compat import _installed

from .common import WSError, WSHost, WSPort

__all__ = ["WSInvalidURL", "WSParsedURL", "parse_url"]


class _InvalidURL(WSError):
    """The URL is not one of a WebSocket server.

    Attributes:
        url: The URL.
    """

    def __init__(self, url: str, msg: str) -> None:
        super().__init__(f"{url} isn't a valid URL: {msg}")
        self.url = url


@dataclasses.dataclass(frozen=True, eq=False)
class _ParsedURL:
    """A URL in its parts."""

    url: str
    scheme: str
    is_secure: bool
    netloc: str
    host: WSHost
    """In lower case."""
    port: WSPort
    """The scheme's, where the URL has none."""
    path: str
    query: str
    username: str | None = None
    password: str | None = None

    @property
    def resource_name(self) -> str:
        """What the request asks for: path and query."""
        return (self.path or "/") + (f"?{self.query}" if self.query else "")

    @property
    def user_info(self) -> tuple[str, str] | None:
        """User and password, if both are there."""
        if self.username is None or self.password is None:
            return None
        return self.username, self.password


def _parse_url(url: str, check_scheme: bool = True) -> _ParsedURL:
    """The parts of ``url``. Raises WSInvalidURL."""
    split = urllib.parse.urlsplit(url)
    scheme, host = split.scheme, split.hostname or ""
    wrong = {
        "scheme isn't ws or wss": check_scheme and not _WEBSOCKET.fullmatch(scheme),
        "hostname isn't provided": not host,
        "fragment identifier is meaningless": bool(split.fragment),
    }
    for why, is_so in wrong.items():
        if is_so:
            raise WSInvalidURL(url, why)
    return _ParsedURL(
        url=url,
        scheme=scheme,
        is_secure=scheme in _PORTS,
        netloc=split.netloc,
        host=WSHost(host if host.isascii() else host.encode("idna").decode()),
        port=WSPort(split.port or _PORTS.get(scheme, 80)),
        path=_quoted(split.path),
        query=_quoted(split.query),
        username=None if split.username is None else _quoted(split.username),
        password=None if split.password is None else _quoted(split.password),
    )


def _quoted(text: str) -> str:
    """A part of a URL, or of an IRI (RFC 3987 §3.1): what is not ASCII of it is quoted."""
    return "".join(each if each.isascii() else urllib.parse.quote(each) for each in text)


_WEBSOCKET = re.compile("wss?")

_PORTS = {"wss": 443, "https": 443}
"""Of the schemes that are TLS; those of all others are 80."""


if TYPE_CHECKING:
    WSInvalidURL = _InvalidURL
    WSParsedURL = _ParsedURL
    parse_url = _parse_url
else:
    _original = _installed.find("picows.url")
    _InvalidURL.__name__ = _InvalidURL.__qualname__ = "WSInvalidURL"
    _ParsedURL.__name__ = _ParsedURL.__qualname__ = "WSParsedURL"
    WSInvalidURL = getattr(_original, "WSInvalidURL", _InvalidURL)
    WSParsedURL = getattr(_original, "WSParsedURL", _ParsedURL)
    parse_url = getattr(_original, "parse_url", _parse_url)
