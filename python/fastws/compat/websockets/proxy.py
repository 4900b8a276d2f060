"""Which proxy, as ``websockets`` chooses it."""

from __future__ import annotations

import urllib.parse
import urllib.request
from dataclasses import dataclass

from ._adopt import adopted
from .exceptions import InvalidProxy
from .uri import WebSocketURI

__all__ = ["Proxy", "get_proxy", "parse_proxy"]


@adopted
@dataclass
class Proxy:
    """A proxy: ``host`` in lower case, ``port`` always there, user and password decoded."""

    scheme: str
    host: str
    port: int
    username: str | None = None
    password: str | None = None

    @property
    def user_info(self) -> tuple[str, str] | None:
        """User and password, if they are there."""
        return None if self.username is None else (self.username, self.password or "")


@adopted
def parse_proxy(proxy: str) -> Proxy:
    """Reads a proxy's URL. Raises InvalidProxy."""
    parsed = urllib.parse.urlparse(proxy)
    if parsed.scheme not in ("socks5h", "socks5", "socks4a", "socks4", "https", "http"):
        raise InvalidProxy(proxy, f"scheme {parsed.scheme} isn't supported")
    if parsed.hostname is None:
        raise InvalidProxy(proxy, "hostname isn't provided")
    for part, given in (("path", parsed.path.strip("/")), ("query", parsed.query), ("fragment", parsed.fragment)):
        if given:
            raise InvalidProxy(proxy, f"{part} is meaningless")
    username, password = parsed.username, parsed.password
    if username is not None:
        if password is None:
            raise InvalidProxy(proxy, "username provided without password")
        username, password = (urllib.parse.unquote(part, errors="strict") for part in (username, password))
    host = parsed.hostname if proxy.isascii() else parsed.hostname.encode("idna").decode()
    port = parsed.port or (443 if parsed.scheme == "https" else 80)
    return Proxy(parsed.scheme, host, port, username, password)


@adopted
def get_proxy(uri: WebSocketURI) -> str | None:
    """The URL of the proxy that the environment names for ``uri``; None for none.

    The scheme's own variable counts first (``wss_proxy``, ``ws_proxy``), then ``socks_proxy``, ``https_proxy``, and for
    ``ws://`` ``http_proxy``; ``no_proxy`` before all.
    """
    if urllib.request.proxy_bypass(f"{uri.host}:{uri.port}"):
        return None
    proxies = urllib.request.getproxies()
    for scheme in ("wss", "socks", "https") if uri.secure else ("ws", "socks", "https", "http"):
        found = proxies.get(scheme)
        if found is not None:
            # What systems without environment variables have.
            own = scheme == "socks" and found.startswith("http://")
            return f"socks5h://{found.removeprefix('http://')}" if own else found
    return None
