"""The way to a server, as ``websockets`` is told it: by the arguments of asyncio's ``loop.create_connection``."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import fastws
from fastws import _options
from fastws.tls import Security, TlsConfig

from .datastructures import Headers, HeadersLike
from .proxy import get_proxy, parse_proxy
from .typing import PathLike
from .uri import WebSocketURI

if TYPE_CHECKING:
    from fastws._opening import Make

    from ._facade import Facade

__all__ = ["Way", "admitted"]

Ssl = ssl.SSLContext | TlsConfig | bool | None


class Way(NamedTuple):
    """How a server is reached. ``of`` makes it."""

    tls: ssl.SSLContext | TlsConfig | None
    server_hostname: str | None
    host: str | None
    port: int | None
    sock: socket.socket | None
    unix: PathLike | None
    proxy: str | None
    proxy_tls: Security | None
    family: int
    local_addr: tuple[str, int] | None
    happy_eyeballs_delay: float | None
    interleave: int

    @classmethod
    def of(cls, uri: WebSocketURI, proxy: str | Literal[True] | None, kwargs: Mapping[str, Any]) -> Way:
        """The way that these arguments describe.

        Raises:
            InvalidProxy: The proxy's URL cannot be used.
            ValueError, TypeError: An argument is wrong.
        """
        given = dict(kwargs)
        unix, path, sock = given.pop("unix", False), given.pop("path", None), given.pop("sock", None)
        if unix:
            if path is None and sock is None:
                raise ValueError("no path and sock were specified")
            if path is not None and sock is not None:
                raise ValueError("path and sock can not be specified at the same time")
        elif path is not None:
            raise TypeError("create_connection() got an unexpected keyword argument 'path'")
        tls = given.pop("ssl", True)
        if uri.secure and (tls is None or tls is False):
            raise ValueError("ssl=None is incompatible with a wss:// URI")
        url = None if unix or sock is not None else get_proxy(uri) if proxy is True else proxy
        proxy_tls, proxy_name = given.pop("proxy_ssl", True), given.pop("proxy_server_hostname", None)
        security = None
        if url is not None:
            security = _proxy_security(parse_proxy(url).scheme, proxy_tls, proxy_name, given_tls="proxy_ssl" in kwargs)
        delay = given.pop("happy_eyeballs_delay", None)
        interleave = given.pop("interleave", None)
        host, port = given.pop("host", None), given.pop("port", None)
        if (host is not None or port is not None) and sock is not None:
            raise ValueError("host/port and sock can not be specified at the same time")
        way = cls(
            tls=None if tls is True or not uri.secure else tls,
            server_hostname=given.pop("server_hostname", None),
            host=host or None,
            port=port or None,
            sock=sock,
            unix=path,
            proxy=url,
            proxy_tls=security,
            family=given.pop("family", 0),
            local_addr=given.pop("local_addr", None),
            happy_eyeballs_delay=delay,
            interleave=(0 if delay is None else 1) if interleave is None else interleave,
        )
        for name in given:
            if name.removeprefix("proxy_") not in _BOUNDED_OTHERWISE:
                raise TypeError(f"create_connection() got an unexpected keyword argument {name!r}")
        return way

    @property
    def proxy_name(self) -> str | None:
        """The name that the proxy's certificate is checked for; None without TLS to one."""
        if self.proxy is None or self.proxy_tls is None:
            return None
        return self.proxy_tls.name(parse_proxy(self.proxy).host)

    def opening(
        self,
        uri: str,
        terms: Facade,
        *,
        headers: HeadersLike | None,
        user_agent: str | None,
        limits: Mapping[str, Any],
        make: Make | None = None,
        open_timeout: float | None = None,
    ) -> fastws.connect:
        """An attempt to open a connection. It follows no redirect."""
        subprotocols = terms.available_subprotocols
        return fastws.connect(
            uri,
            origin=terms.origin,
            subprotocols=list(subprotocols) if subprotocols else None,
            additional_headers=admitted(headers),
            user_agent_header=user_agent,
            tls=self.tls,
            server_hostname=self.server_hostname,
            host=self.host,
            port=self.port,
            sock=self.sock,
            family=self.family,
            local_addr=self.local_addr,
            happy_eyeballs_delay=self.happy_eyeballs_delay,
            interleave=self.interleave,
            proxy=self.proxy,
            max_redirects=0,
            open_timeout=open_timeout,
            _extensions=terms.offers(),
            _latin_1=True,
            _unix=self.unix,
            _make=make,
            _proxy_security=self.proxy_tls,
            **limits,
        )


def _proxy_security(scheme: str, tls: Ssl, server_hostname: str | None, *, given_tls: bool) -> Security | None:
    if scheme != "https":
        if given_tls and tls is not None:
            raise ValueError("proxy_ssl argument is incompatible with an http:// proxy")
        return None
    if tls is None or tls is False:
        raise ValueError("proxy_ssl=None is incompatible with an https:// proxy")
    return _options.security(None if tls is True else tls, server_hostname, secure=True)


def admitted(headers: HeadersLike | None) -> list[tuple[str, str]]:
    """Headers without those that the handshake itself sends: what is copied from a browser often has them."""
    if headers is None:
        return []
    fields = Headers(headers).raw_items()
    return [(name, str(value)) for name, value in fields if name.lower() not in _OWNED]


_OWNED = frozenset(
    {
        "connection",
        "upgrade",
        "sec-websocket-key",
        "sec-websocket-version",
        "sec-websocket-accept",
        "sec-websocket-extensions",
        "sec-websocket-protocol",
        "content-length",
        "transfer-encoding",
    }
)

_BOUNDED_OTHERWISE = frozenset({"ssl_handshake_timeout", "ssl_shutdown_timeout", "all_errors", "proto", "flags"})
"""``open_timeout`` and ``close_timeout`` bound TLS too; errors are of all addresses; TCP is the one protocol."""
