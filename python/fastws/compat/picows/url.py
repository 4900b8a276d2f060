"""URLs of servers and proxies: picows' own functions where it is installed."""

from __future__ import annotations

import dataclasses
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
    parts = urllib.parse.urlsplit(url)
    if check_scheme and parts.scheme not in ("ws", "wss"):
        raise WSInvalidURL(url, "scheme isn't ws or wss")
    if parts.hostname is None:
        raise WSInvalidURL(url, "hostname isn't provided")
    if parts.fragment:
        raise WSInvalidURL(url, "fragment identifier is meaningless")
    is_secure = parts.scheme in ("wss", "https")
    port = parts.port or (443 if is_secure else 80)
    host, path, query, user, password = parts.hostname, parts.path, parts.query, parts.username, parts.password
    if not url.isascii():
        host = host.encode("idna").decode()
        path, query = _quoted(path), _quoted(query)
        user, password = user and _quoted(user), password and _quoted(password)
    return _ParsedURL(
        url, parts.scheme, is_secure, parts.netloc, WSHost(host), WSPort(port), path, query, user, password
    )


def _quoted(text: str) -> str:
    return urllib.parse.quote(text, safe=":/?#[]@!$&'()*+,;=%")


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
