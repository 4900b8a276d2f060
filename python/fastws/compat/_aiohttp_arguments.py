"""The arguments of ``ws_connect`` as ``fastws.connect`` has them."""

from __future__ import annotations

import base64
import ssl as _ssl
import warnings
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import quote, urlencode, urlsplit, urlunsplit

import fastws

from . import _installed
from ._aiohttp_types import ClientWSTimeout, InvalidUrlClientError, NonHttpUrlClientError

__all__ = [
    "CLOSE_TIMEOUT",
    "UNSET",
    "automatic_fields",
    "basic",
    "compression",
    "fields",
    "timeout",
    "tls",
    "websocket_url",
]

UNSET: Any = object()

CLOSE_TIMEOUT = 10.0
"""aiohttp's default, of its servers too."""

TIMEOUT = ClientWSTimeout(ws_receive=None, ws_close=CLOSE_TIMEOUT)

_SCHEMES = {"http": "ws", "https": "wss", "ws": "ws", "wss": "wss"}

_OWNED = frozenset({"connection", "upgrade", "sec-websocket-extensions", "sec-websocket-key", "sec-websocket-version"})
"""Header fields that the handshake itself sends; what is copied from a browser often has them."""


def websocket_url(url: Any, params: Any) -> tuple[str, str]:
    """The URL with ``params`` in its query: as it was given, and for ``fastws.connect``.

    Raises:
        InvalidUrlClientError: It has no host.
        NonHttpUrlClientError: It has another scheme.
        TypeError: It is no URL, or a value of ``params`` is of another type.
    """
    if not isinstance(url, str) and not hasattr(url, "raw_host"):
        raise TypeError(f"url is a str or a yarl.URL, not {url!r}")
    try:
        parts = urlsplit(str(url))
    except ValueError as error:
        raise InvalidUrlClientError(url) from error
    scheme = parts.scheme.lower()
    if scheme and scheme not in _SCHEMES:
        raise NonHttpUrlClientError(url)
    if not scheme or not parts.netloc:
        raise InvalidUrlClientError(url)
    query = parts.query
    if params:
        more = params if isinstance(params, str) else urlencode(_pairs(params), quote_via=quote)
        query = f"{query}&{more}" if query else more
    path = parts.path or "/"
    asked = urlunsplit((scheme, parts.netloc, path, query, parts.fragment))
    return asked, urlunsplit((_SCHEMES[scheme], parts.netloc, path, query, ""))


def _pairs(params: Any) -> list[tuple[str, str]]:
    pairs = []
    for name, value in params.items() if isinstance(params, Mapping) else params:
        for each in value if isinstance(value, list | tuple) else [value]:
            if isinstance(each, bool) or not isinstance(each, str | int | float):
                raise TypeError(f"a value of params is str, int or float, not {each!r}")
            pairs.append((str(name), str(each)))
    return pairs


def timeout(timeout: Any, receive_timeout: float | None) -> Any:
    """The ``ClientWSTimeout`` of what was given."""
    if timeout is UNSET:
        timeout = TIMEOUT
    elif not isinstance(timeout, ClientWSTimeout):
        _warn_of_end("parameter 'timeout' of type 'float'", "'timeout=ClientWSTimeout(ws_close=...)'")
        timeout = ClientWSTimeout(ws_close=timeout)
    if receive_timeout is not None:
        _warn_of_end("float parameter 'receive_timeout'", "parameter 'timeout=ClientWSTimeout(ws_receive=...)'")
        timeout = ClientWSTimeout(ws_receive=receive_timeout, ws_close=timeout.ws_close)
    return timeout


def _warn_of_end(what: str, instead: str) -> None:
    """As aiohttp does."""
    warnings.warn(f"{what} is deprecated, please use {instead}", DeprecationWarning, stacklevel=4)


def fields(headers: Any) -> list[tuple[str, str]]:
    """Headers of any kind as pairs, without those of the handshake itself."""
    if headers is None:
        return []
    pairs = headers.items() if hasattr(headers, "items") else headers
    return [(str(name), str(value)) for name, value in pairs if str(name).lower() not in _OWNED]


def automatic_fields(given: list[tuple[str, str]], skipped: Iterable[str]) -> list[tuple[str, str]]:
    """The header fields that aiohttp sends of itself, without those that are given or are to be skipped."""
    left_out = {name.lower() for name, _ in given} | {str(name).lower() for name in skipped}
    return [(name, value) for name, value in _automatic() if name.lower() not in left_out]


def _automatic() -> list[tuple[str, str]]:
    request, http = _installed.find("aiohttp.client_reqrep"), _installed.find("aiohttp.http")
    if request is None or http is None:
        fields = {"Accept": "*/*", "Accept-Encoding": "gzip, deflate"}
        return [*fields.items(), ("User-Agent", f"fastws/{fastws.__version__} (aiohttp)")]
    return [*request.ClientRequest.DEFAULT_HEADERS.items(), ("User-Agent", http.SERVER_SOFTWARE)]


def basic(auth: Any) -> str:
    """The value of an ``Authorization`` header."""
    if hasattr(auth, "encode"):  # aiohttp.BasicAuth
        return str(auth.encode())
    user, password = auth
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode("ascii")


def tls(ssl: Any, verify_ssl: bool | None, ssl_context: _ssl.SSLContext | None, fingerprint: Any) -> Any:
    """What ``fastws.connect`` takes as ``tls``. Raises TypeError."""
    if fingerprint is not None:
        raise TypeError("fingerprint: instead of it, fastws.TlsConfig has pins, which ssl= takes")
    if verify_ssl is False:
        ssl = False
    if ssl_context is not None:
        ssl = ssl_context
    if ssl is True or ssl is None:
        return None
    if ssl is False:
        return fastws.TlsConfig(verify=False)
    if isinstance(ssl, _ssl.SSLContext | fastws.TlsConfig):
        return ssl
    raise TypeError(
        f"ssl should be SSLContext, fastws.TlsConfig, or bool, got {ssl!r} instead; instead of a Fingerprint, "
        "fastws.TlsConfig has pins"
    )


def compression(compress: int) -> fastws.Deflate | None:
    """What ``fastws.connect`` takes as ``compression``. Raises ValueError."""
    if not compress:
        return None
    if not 9 <= compress <= 15:
        raise ValueError("Compress wbits must between 9 and 15, zlib does not support wbits=8")
    return fastws.Deflate(server_max_window_bits=compress, client_max_window_bits=compress)
