"""Which exception of aiohttp's a failed opening is."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any
from urllib.parse import urlsplit

from fastws import errors

from . import _installed, _tls_errors
from ._aiohttp_types import (
    ClientConnectionError,
    ClientConnectorCertificateError,
    ClientConnectorDNSError,
    ClientConnectorError,
    ClientConnectorSSLError,
    ClientProxyConnectionError,
    ConnectionTimeoutError,
    ServerDisconnectedError,
    WSServerHandshakeError,
)
from ._os_errors import not_found
from ._wording import Wording

__all__ = ["headers_of", "raised_at_opening", "worded"]

worded = Wording(
    {"max_size": "max_msg_size", "max_frame_size": "max_msg_size"},
    tls={
        "ca": "ssl=ssl.create_default_context(cafile=...)",
        "certificate": "ssl= with a context after load_cert_chain(...)",
    },
)
"""Our texts by the arguments of ``ws_connect``."""


def raised_at_opening(error: errors.ConnectError, url: str, fields: Sequence[tuple[str, str]]) -> Exception:
    """What aiohttp raises for it; the caller makes ``error`` its cause.

    Args:
        error: Ours.
        url: What was asked for, as it was given.
        fields: Header fields of the request.
    """
    match error:
        case errors.OpenTimeout(phase="upgrade"):
            return TimeoutError(str(error))
        case errors.OpenTimeout():
            return ConnectionTimeoutError(str(error))
        case errors.InvalidHandshake(response=None):
            return ServerDisconnectedError(str(error))
        case errors.InvalidHandshake(response=answer):
            assert answer is not None
            status = answer.status_code
            message = "Invalid response status" if status != 101 else str(error)
            headers = headers_of(answer.headers.raw_items())
            return WSServerHandshakeError(
                _request_info(url, fields), (), status=status, message=message, headers=headers
            )
        case errors.CertificateError():
            return ClientConnectorCertificateError(_key(url), _tls_errors.refused(error.fault, worded(str(error))))
        case errors.TlsError(lost=False):
            return ClientConnectorSSLError(_key(url), _tls_errors.failed(worded(str(error))))
        case errors.ProxyError():
            return ClientProxyConnectionError(_key(url), _with_text(OSError, error.errno, error))
        case errors.DialError(phase="dns"):
            return ClientConnectorDNSError(_key(url), not_found(error, worded(str(error))))
        case errors.DialError() | errors.SocketOptionError():
            return ClientConnectorError(_key(url), _with_text(OSError, error.errno, error))
        case _:
            return ClientConnectionError(str(error))


def _with_text(kind: type[OSError], number: int | None, error: Exception) -> OSError:
    return kind(number, worded(str(error)))


def _key(url: str) -> Any:
    """The ``ConnectionKey`` that aiohttp's exceptions describe the server by."""
    parts = urlsplit(url)
    secure = parts.scheme in ("wss", "https")
    port = parts.port or (443 if secure else 80)
    original = _installed.find("aiohttp.client_reqrep")
    if original is None:
        return parts.hostname, port, secure
    known = {"host": parts.hostname or "", "port": port, "is_ssl": secure, "ssl": True}
    return original.ConnectionKey(**{name: known.get(name) for name in original.ConnectionKey._fields})


def headers_of(fields: Iterable[tuple[str, str]]) -> Any:
    """Header fields as aiohttp has them, where it is installed; else a ``dict``."""
    multidict = _installed.find("multidict")
    return dict(fields) if multidict is None else multidict.CIMultiDictProxy(multidict.CIMultiDict(list(fields)))


def _request_info(url: str, fields: Sequence[tuple[str, str]]) -> Any:
    original = _installed.find("aiohttp")
    yarl = _installed.find("yarl")
    if original is None or yarl is None:
        return url
    asked = yarl.URL(url)
    return original.RequestInfo(asked.with_fragment(None), "GET", headers_of(fields), asked)
