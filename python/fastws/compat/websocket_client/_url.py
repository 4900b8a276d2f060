"""Where a URL leads, and by which proxy."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Sequence
from urllib.parse import unquote, urlsplit

from fastws import proxy as _proxy

from ._exceptions import WebSocketProxyException

__all__ = ["get_proxy_info", "parse_url"]

Auth = tuple[str, str] | None

_PORTS = {"ws": 80, "wss": 443}


def parse_url(url: str) -> tuple[str, int, str, bool]:
    """Host, port, request target, and whether TLS is wanted.

    Raises:
        ValueError: It is no URL, has no host, or its scheme is neither ``ws`` nor ``wss``.
        TypeError: It is no ``str``.
    """
    if not isinstance(url, str):
        raise TypeError(f'url is a str such as "wss://example.com/feed", not {type(url).__name__}')
    scheme, colon, rest = url.partition(":")
    if not colon:
        raise ValueError("url is invalid")
    parts = urlsplit(rest, scheme="http")
    if not parts.hostname:
        raise ValueError("hostname is invalid")
    port = parts.port
    if scheme not in _PORTS:
        raise ValueError(f"scheme {scheme} is invalid")
    target = parts.path or "/"
    if parts.query:
        target += f"?{parts.query}"
    return parts.hostname, port or _PORTS[scheme], target, scheme == "wss"


def get_proxy_info(
    hostname: str,
    is_secure: bool,
    proxy_host: str | None = None,
    proxy_port: int | str | None = 0,
    proxy_auth: Auth = None,
    no_proxy: Sequence[str] | None = None,
    proxy_type: str = "http",
) -> tuple[str | None, int | str | None, Auth]:
    """The proxy for ``hostname``: host, port (None: not said) and user and password; ``(None, 0, None)`` for none.

    Args:
        hostname: The server's.
        is_secure: Whether by TLS: then the environment's ``https_proxy`` counts, else its ``http_proxy``.
        proxy_host: A proxy that comes before the environment's.
        proxy_port: Its port.
        proxy_auth: User and password for it.
        no_proxy: Hosts, domains and networks that no proxy is for; by default those of the environment's ``no_proxy``.
        proxy_type: Nothing depends on it here.

    Raises:
        WebSocketProxyException: ``proxy_host`` without a port.
    """
    if _is_no_proxy_host(hostname, no_proxy):
        return None, 0, None
    if proxy_host:
        if not proxy_port:
            raise WebSocketProxyException("Cannot use port 0 when proxy_host specified")
        return proxy_host, proxy_port, proxy_auth
    found = _environment("https_proxy" if is_secure else "http_proxy")
    if not found:
        return None, 0, None
    parts = urlsplit(found)
    auth = (unquote(parts.username), unquote(parts.password or "")) if parts.username else None
    return parts.hostname, parts.port, auth


def _environment(name: str) -> str:
    return os.environ.get(name, os.environ.get(name.upper(), "")).replace(" ", "")


def _is_no_proxy_host(hostname: str, no_proxy: Sequence[str] | None) -> bool:
    listed = ",".join(no_proxy) if no_proxy else _environment("no_proxy")
    return _proxy.is_exempt(listed, hostname, 0)


def _is_address_in_network(ip: str, net: str) -> bool:
    try:
        return ipaddress.ip_address(ip) in ipaddress.ip_network(net)
    except ValueError:
        return False
