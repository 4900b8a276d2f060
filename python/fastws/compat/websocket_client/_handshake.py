"""The upgrade: what is asked for, and whether the answer grants it."""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from . import _policy
from ._cookiejar import SimpleCookieJar
from ._exceptions import WebSocketBadStatusException, WebSocketException
from ._http import read_headers
from ._line import Line
from ._logging import dump, error
from ._socket import send

__all__ = ["SUPPORTED_REDIRECT_STATUSES", "handshake", "handshake_response"]

VERSION = 13

SUPPORTED_REDIRECT_STATUSES = (
    HTTPStatus.MOVED_PERMANENTLY,
    HTTPStatus.FOUND,
    HTTPStatus.SEE_OTHER,
    HTTPStatus.TEMPORARY_REDIRECT,
    HTTPStatus.PERMANENT_REDIRECT,
)
SUCCESS_STATUSES = (*SUPPORTED_REDIRECT_STATUSES, HTTPStatus.SWITCHING_PROTOCOLS)

CookieJar = SimpleCookieJar()
"""The process' cookies."""


class handshake_response:  # noqa: N801
    """The server's answer.

    Attributes:
        status: The HTTP status.
        headers: Header fields, names in lower case.
        subprotocol: The subprotocol that it chose, in lower case, or None.
    """

    def __init__(self, status: int, headers: dict[str, str], subprotocol: str | None) -> None:
        self.status = status
        self.headers = headers
        self.subprotocol = subprotocol
        CookieJar.add(headers.get("set-cookie"))


def handshake(sock: Any, url: str, hostname: str, port: int, resource: str, **options: Any) -> handshake_response:
    """Asks for the upgrade on ``sock``. A redirect is an answer, too.

    Raises:
        WebSocketBadStatusException: The answer is another one.
        WebSocketException: It does not grant what was asked for.
    """
    headers, key = _get_handshake_headers(resource, url, hostname, port, options)
    subprotocols = options.get("subprotocols")
    if isinstance(sock, Line):
        return _native(sock, (hostname, port, resource), headers, subprotocols)
    dump("request header", "\r\n".join(headers))
    request = "\r\n".join(headers).encode()
    while request:
        request = request[send(sock, request) :]
    status, answer = _get_resp_headers(sock)
    if status in SUPPORTED_REDIRECT_STATUSES:
        return handshake_response(status, answer, None)
    is_granted, subprotocol = _validate(answer, key, subprotocols)
    if not is_granted:
        raise WebSocketException("Invalid WebSocket Header")
    return handshake_response(status, answer, subprotocol)


def _native(
    line: Line, place: tuple[str, int, str], headers: list[str], subprotocols: Sequence[str] | None
) -> handshake_response:
    try:
        status, answer = line.upgrade(*place, headers)
    except WebSocketBadStatusException as refusal:
        if refusal.status_code not in SUPPORTED_REDIRECT_STATUSES:
            raise
        return handshake_response(refusal.status_code, refusal.resp_headers or {}, None)
    is_granted, subprotocol = _chosen(answer, subprotocols)
    if not is_granted:
        line.close()
        raise WebSocketException("Invalid WebSocket Header")
    return handshake_response(status, answer, subprotocol)


def is_native(options: Mapping[str, Any]) -> bool:
    """Whether fastws can ask what these options of ``connect`` ask for, and in their words."""
    if options.get("suppress_host") or options.get("connection") not in (None, "", "Connection: Upgrade"):
        return False
    lines = _lines(options.get("header"))
    return all(colon and _may_be_given(name.strip(), value.strip()) for name, colon, value in lines)


def _lines(header: Any) -> list[tuple[str, str, str]]:
    return [line.partition(":") for line in _header_lines(header)]


def _header_lines(header: Any) -> list[str]:
    if isinstance(header, Mapping):
        return [f"{name}: {value}" for name, value in header.items() if value is not None]
    return list(header or ())


def _may_be_given(name: str, value: str) -> bool:
    usual = _OWNED.get(name.lower(), value)
    return usual is not None and value.lower() == usual.lower()


_OWNED: dict[str, str | None] = {
    "connection": "Upgrade",
    "upgrade": "websocket",
    "sec-websocket-version": str(VERSION),
    "sec-websocket-key": None,
    "sec-websocket-accept": None,
    "sec-websocket-extensions": None,
    "content-length": None,
    "transfer-encoding": None,
}
"""Fields that are the handshake's own, and the value that may be said once more."""


def _get_handshake_headers(
    resource: str, url: str, host: str, port: int, options: Mapping[str, Any]
) -> tuple[list[str], str]:
    """The request's lines, the empty ones behind it too, and the key whose answer it wants."""
    name = f"[{host}]" if ":" in host else host
    place = name if port in (80, 443) else f"{name}:{port}"
    header = options.get("header")
    own = {} if not isinstance(header, Mapping) else header
    lines = [f"GET {resource} HTTP/1.1", "Upgrade: websocket"]
    if not options.get("suppress_host"):
        lines.append(f"Host: {options.get('host') or place}")
    if not options.get("suppress_origin"):
        origin = options.get("origin")
        if origin is None:
            origin = f"{'https' if url.startswith('wss:') else 'http'}://{place}"
        lines.append(f"Origin: {origin}")
    if "Sec-WebSocket-Key" in own:
        key = str(own["Sec-WebSocket-Key"])
    else:
        key = _create_sec_websocket_key()
        lines.append(f"Sec-WebSocket-Key: {key}")
    if "Sec-WebSocket-Version" not in own:
        lines.append(f"Sec-WebSocket-Version: {VERSION}")
    lines.append(options.get("connection") or "Connection: Upgrade")
    if subprotocols := options.get("subprotocols"):
        lines.append(f"Sec-WebSocket-Protocol: {','.join(subprotocols)}")
    lines += _header_lines(header)
    cookies = [cookie for cookie in (CookieJar.get(host), options.get("cookie")) if cookie]
    if cookies:
        lines.append(f"Cookie: {'; '.join(cookies)}")
    return [*lines, "", ""], key


def _get_resp_headers(sock: Any, success_statuses: tuple[int, ...] = SUCCESS_STATUSES) -> tuple[int, dict[str, str]]:
    """The answer's status and header fields. Raises WebSocketBadStatusException, with what it says."""
    status, headers, phrase = read_headers(sock)
    if status in success_statuses:
        return status, headers
    body = None
    if length := headers.get("content-length"):
        try:
            missing = int(length)
        except ValueError:
            raise WebSocketException(f"Invalid content-length header: {length!r}") from None
        body = _body(sock, missing)
    raise _policy.refused(status, phrase or "", headers.items(), body)


def _body(sock: Any, size: int) -> bytes:
    from . import _socket

    body = b""
    while len(body) < size:
        body += _socket.recv(sock, min(size - len(body), 16_384))
    return body


def _validate(headers: Mapping[str, str], key: str, subprotocols: Sequence[str] | None) -> tuple[bool, str | None]:
    """Whether the answer grants the upgrade (RFC 6455 §4.2.2), and the subprotocol."""
    for name, wanted in (("upgrade", "websocket"), ("connection", "upgrade")):
        if wanted not in [each.strip().lower() for each in headers.get(name, "").split(",")]:
            return False, None
    is_chosen, subprotocol = _chosen(headers, subprotocols)
    accept = base64.b64encode(hashlib.sha1(f"{key}{_GUID}".encode(), usedforsecurity=False).digest())
    given = headers.get("sec-websocket-accept", "").encode()
    if not is_chosen or not hmac.compare_digest(accept.lower(), given.lower()):
        return False, None
    return True, subprotocol


def _chosen(headers: Mapping[str, str], subprotocols: Sequence[str] | None) -> tuple[bool, str | None]:
    """Whether a subprotocol is as it was asked for, and which."""
    if not subprotocols:
        return True, None
    chosen = headers.get("sec-websocket-protocol", "").lower()
    if chosen not in [subprotocol.lower() for subprotocol in subprotocols]:
        error(f"Invalid subprotocol: {subprotocols}")
        return False, None
    return True, chosen


def _create_sec_websocket_key() -> str:
    return base64.b64encode(os.urandom(16)).decode()


_GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
"""RFC 6455 §1.3."""
