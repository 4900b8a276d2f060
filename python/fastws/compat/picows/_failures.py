"""What picows raises where a connection does not open."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastws import errors
from fastws.compat import _tls_errors
from fastws.compat._os_errors import not_found
from fastws.compat._wording import Wording

from ._link import made_response
from .common import WSInvalidHeaderError, WSInvalidMessageError, WSInvalidStatusError, WSInvalidUpgradeError

if TYPE_CHECKING:
    from fastws.http import Response

__all__ = ["MAX_HEAD", "of"]

_ROOTS = "ssl_context=ssl.create_default_context(cafile=...)"
_IDENTITY = "ssl_context= with a context after load_cert_chain(...)"

worded = Wording(
    {"max_frame_size": "max_frame_size"},
    tls={"ca": _ROOTS, "certificate": _IDENTITY},
    proxy_tls={"ca": f"proxy_{_ROOTS}", "certificate": f"proxy_{_IDENTITY}"},
)
"""Our texts by the arguments of ``ws_connect``."""

MAX_HEAD = 16 * 1024
"""Bytes of the head of an answer, as picows has it."""


def of(error: Exception) -> Exception:
    """What picows would raise instead of ``error``; ``error`` itself if that is as good."""
    match error:
        case errors.OpenTimeout():
            return error
        case errors.InvalidHandshake():
            return _handshake(error, error.response)
        case errors.CertificateError():
            return _tls_errors.refused(error.fault, worded(str(error)))
        case errors.TlsError(lost=True):
            return ConnectionResetError(worded(str(error)))
        case errors.TlsError():
            return _tls_errors.failed(worded(str(error)))
        case errors.ProxyError():
            return _proxy(error)
        case errors.DialError():
            return _dial(error)
        case _:
            return error


def _handshake(error: errors.InvalidHandshake, answer: Response | None) -> Exception:
    text = str(error)
    if answer is None:
        if error.fault == "too_large":
            text = f"upgrade response headers exceed max_size threshold: {MAX_HEAD}"
        return WSInvalidMessageError(text)
    fields = list(answer.headers.raw_items())
    version = "HTTP/1.0" if error.fault == "version" else "HTTP/1.1"
    lines = [f"{version} {answer.status_code} {answer.reason_phrase}", *(f"{name}: {value}" for name, value in fields)]
    head = "\r\n".join(lines).encode("utf-8", "surrogateescape")
    if error.fault == "version":
        return WSInvalidMessageError(text, head, answer.body)
    response = made_response(answer.status_code, answer.reason_phrase, fields, answer.body)
    if answer.status_code != 101:
        said = f"expected upgrade response with status 101 Switching Protocols, but received {answer.status_code}"
        return WSInvalidStatusError(said, head, answer.body, response)
    upgrade, connection = response.headers.get("Upgrade"), response.headers.get("Connection")
    if (upgrade or "").lower() != "websocket":
        said = "cannot upgrade, invalid upgrade header"
        return WSInvalidUpgradeError(said, "Upgrade", upgrade, head, answer.body, response)
    if "upgrade" not in [token.strip() for token in (connection or "").lower().split(",")]:
        said = "cannot upgrade, invalid connection header"
        return WSInvalidUpgradeError(said, "Connection", connection, head, answer.body, response)
    name = _HEADERS.get(error.fault)
    if name is not None:
        said = f"cannot upgrade, invalid {name.lower()} response: {text}"
        return WSInvalidHeaderError(said, name, response.headers.get(name), head, answer.body, response)
    return WSInvalidMessageError(text, head, answer.body, response)


def _proxy(error: errors.ProxyError) -> Exception:
    if error.attempts:
        return _dial(error)
    try:
        import python_socks
    except ImportError:
        return error
    return python_socks.ProxyError(str(error))


def _dial(error: errors.DialError | errors.ProxyError) -> Exception:
    if isinstance(error, errors.DialError) and error.phase == "dns":
        return not_found(error, str(error))
    return error if error.errno is None else OSError(error.errno, str(error))


_HEADERS: dict[errors.UpgradeFault, str] = {
    "accept": "Sec-WebSocket-Accept",
    "extension": "Sec-WebSocket-Extensions",
    "subprotocol": "Sec-WebSocket-Protocol",
}
