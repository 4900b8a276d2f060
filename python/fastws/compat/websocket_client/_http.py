"""Dialling, by proxies too, and TLS for sockets that are not native."""

from __future__ import annotations

from typing import Any

from . import _dialling, _line, _tls
from ._exceptions import WebSocketException
from ._logging import trace
from ._original import private
from ._policy import headers_of
from ._socket import recv_line
from ._socks import HAVE_PYTHON_SOCKS, ProxyConnectionError, ProxyError, ProxyTimeoutError, ProxyType
from ._url import parse_url

__all__ = [
    "HAVE_PYTHON_SOCKS",
    "ProxyConnectionError",
    "ProxyError",
    "ProxyTimeoutError",
    "ProxyType",
    "connect",
    "proxy_info",
    "read_headers",
]


class proxy_info:  # noqa: N801
    """The proxy that options of ``connect`` name.

    Attributes:
        proxy_host: Its host, or None for the environment's proxy, if any.
        proxy_port: Its port.
        auth: User and password, or None.
        no_proxy: Hosts, domains and networks that it is not for, or None.
        proxy_protocol: ``"http"``, ``"socks4"``, ``"socks4a"``, ``"socks5"`` or ``"socks5h"``.
        proxy_timeout: Seconds that a SOCKS proxy may take to open a way; None for 60. Nothing else counts.
    """

    def __init__(self, **options: Any) -> None:
        self.proxy_host: str | None = options.get("http_proxy_host")
        given = options if self.proxy_host else {}
        self.proxy_port: int | str | None = given.get("http_proxy_port", 0)
        self.auth: tuple[str, str] | None = given.get("http_proxy_auth")
        self.no_proxy: list[str] | None = given.get("http_no_proxy")
        self.proxy_protocol: str = given.get("proxy_type") or "http"
        self.proxy_timeout: float | None = given.get("http_proxy_timeout")
        if self.proxy_protocol not in ("http", "socks4", "socks4a", "socks5", "socks5h"):
            raise ProxyError("Only http, socks4, socks5 proxy protocols are supported")


def connect(url: str, options: Any, proxy: Any, socket: Any) -> tuple[Any, tuple[str, int, str]]:
    """A socket whose other end is the server, and its host, port and request target.

    Args:
        url: Of the server.
        options: A ``sock_opt``.
        proxy: A ``proxy_info``.
        socket: A socket of the user's own, which is connected; None to dial one.

    Raises:
        ValueError: The URL cannot be used.
        WebSocketAddressException: A host was not found.
        WebSocketProxyException: The proxy opened no way.
        OSError: No address could be connected to, or TLS failed.
    """
    host, port, resource, is_secure = parse_url(url)
    place = (host, port, resource)
    is_native = getattr(options, "native", False)
    wants_frames = getattr(options, "frames", False)
    if socket:
        return _line.adopt(socket, options.timeout, wants_frames=wants_frames) if is_native else socket, place
    sock = _dialling.dial(host, port, is_secure, options, proxy)
    if is_native:
        sslopt = _tls.complete(options.sslopt) if is_secure else None
        return _line.Line.of(sock, options.timeout, sslopt, wants_frames=wants_frames), place
    sock.settimeout(options.timeout)
    try:
        return (_ssl_socket(sock, options.sslopt, host) if is_secure else sock), place
    except BaseException:
        sock.close()
        raise


def _ssl_socket(sock: Any, user_sslopt: dict[str, Any], hostname: str) -> Any:
    """TLS of Python's ``ssl`` on a socket that is not native."""
    sslopt = _tls.complete(user_sslopt)
    return _wrap_sni_socket(sock, sslopt, _tls.name_of(sslopt, hostname), sslopt.get("check_hostname", True))


def _wrap_sni_socket(sock: Any, sslopt: dict[str, Any], hostname: str, check_hostname: bool) -> Any:
    return _tls.context_of(sslopt).wrap_socket(
        sock,
        do_handshake_on_connect=sslopt.get("do_handshake_on_connect", True),
        suppress_ragged_eofs=sslopt.get("suppress_ragged_eofs", True),
        server_hostname=hostname,
    )


def read_headers(sock: Any) -> tuple[Any, dict[str, str], str | None]:
    """Reads the head of an answer: status, header fields (names in lower case) and reason phrase.

    Raises:
        WebSocketException: It is not one of HTTP.
    """
    trace("--- response header ---")
    first = _line_of(sock)
    status, phrase = None, None
    headers: dict[str, str] = {}
    if first:
        _, _, rest = first.partition(" ")
        code, space, said = rest.partition(" ")
        if not code.isdecimal():
            raise WebSocketException(f"Invalid status line: {first!r}")
        status, phrase = int(code), said if space else None
        headers = _fields(sock)
    trace("-----------------------")
    return status, headers, phrase


def _fields(sock: Any) -> dict[str, str]:
    fields = []
    while line := _line_of(sock):
        name, colon, value = line.partition(":")
        if not colon:
            raise WebSocketException("Invalid header")
        fields.append((name, value.strip()))
    return headers_of(fields)


def _line_of(sock: Any) -> str:
    data = recv_line(sock)
    try:
        line = data.decode().strip()
    except UnicodeDecodeError as error:
        raise WebSocketException(f"Invalid header line, not valid UTF-8 at byte {error.start}: {data!r}") from error
    if line:
        trace(line)
    return line


__getattr__ = private("_http")
