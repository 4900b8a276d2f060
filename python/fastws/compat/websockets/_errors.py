"""What opening a connection raises, in the words of ``websockets``; ours is the cause, and says more."""

from __future__ import annotations

import errno
import socket

from fastws import errors
from fastws.compat import _tls_errors
from fastws.compat._os_errors import not_found
from fastws.http import Response as OurResponse

from ._policy import headers_of, worded
from .exceptions import (
    InvalidHandshake,
    InvalidHeader,
    InvalidHeaderValue,
    InvalidMessage,
    InvalidProxyMessage,
    InvalidProxyStatus,
    InvalidStatus,
    InvalidUpgrade,
    InvalidURI,
    NegotiationError,
    ProxyError,
)
from .headers import parse_connection, parse_extension, parse_subprotocol, parse_upgrade
from .http11 import Response

__all__ = ["opening"]


def opening(error: errors.FastwsError, uri: str, *, asks: bool, blocks: bool = False) -> Exception:
    """The exception of ``websockets`` for one of ours. What it does not know stays as it is.

    Args:
        error: Ours.
        uri: What was asked for.
        asks: Whether subprotocols were.
        blocks: Whether it is of ``sync.client``.
    """
    match error:
        case errors.OpenTimeout():
            return _from(TimeoutError("timed out during opening handshake"), error)
        case errors.InvalidURI():
            return _from(InvalidURI(uri, str(error)), error)
        case errors.DialError():
            return _from(_dial(error), error)
        case errors.SocketOptionError():
            return _from(OSError(error.errno, str(error)), error)
        case errors.TlsError():
            return _from(_tls(error, blocks=blocks), error)
        case errors.ProxyError():
            return _proxy(error)
        case errors.InvalidStatus():
            return _from(InvalidStatus(_response(error.response)), error)
        case errors.InvalidHandshake():
            return _handshake(error, asks=asks)
    return error


def _from(made: Exception, cause: BaseException) -> Exception:
    made.__cause__ = cause
    return made


def _response(answer: OurResponse) -> Response:
    return Response(
        answer.status_code, answer.reason_phrase, headers_of(answer.headers.raw_items()), bytearray(answer.body)
    )


# ---- The network -----------------------------------------------------------------------------------------------------


def _dial(error: errors.DialError) -> OSError:
    text = str(error)
    if error.phase == "dns":
        return not_found(error, text)
    return _numbered(error.errno, text)


def _numbered(number: int | None, text: str) -> OSError:
    """As ConnectionRefusedError and the like; without a number it is its text alone."""
    return OSError(text) if number is None else OSError(number, text)


def _tls(error: errors.TlsError, *, blocks: bool) -> Exception:
    text = worded(str(error))
    if isinstance(error, errors.CertificateError):
        return _tls_errors.refused(error.fault, text)
    if error.lost:
        # A transport of asyncio's tells it otherwise than a socket whose calls block.
        return _tls_errors.cut_short(text) if blocks else ConnectionResetError(errno.ECONNRESET, text)
    return _tls_errors.failed(text)


# ---- Proxies ---------------------------------------------------------------------------------------------------------


def _proxy(error: errors.ProxyError) -> Exception:
    text = worded(str(error))
    is_socks = error.proxy.startswith("socks")
    if error.response is not None and 100 <= error.response.status_code < 600:
        return _from(InvalidProxyStatus(_response(error.response)), error)
    if error.attempts:
        made = _numbered(error.errno, text)
        return _from(_socks_unreachable(made) if is_socks else made, error)
    if isinstance(error.tls, errors.CertificateError):
        return _from(_tls_errors.refused(error.tls.fault, text), error)
    if error.tls is not None:
        return _from(_tls_errors.failed(text), error)
    if is_socks:
        return _from(ProxyError("failed to connect to SOCKS proxy"), error.__cause__ or error)
    if isinstance(error.__cause__, errors.DialError) and error.__cause__.phase == "dns":
        return _from(socket.gaierror(socket.EAI_NONAME, text), error)
    return _from(InvalidProxyMessage("did not receive a valid HTTP response from proxy"), error)


def _socks_unreachable(error: OSError) -> OSError:
    """The same as python-socks has it, which is an OSError too."""
    from python_socks import ProxyConnectionError

    made: OSError = ProxyConnectionError(error.errno, str(error))
    return made


# ---- The server's answer ---------------------------------------------------------------------------------------------


def _handshake(error: errors.InvalidHandshake, *, asks: bool) -> Exception:
    answer = error.response
    if answer is None or error.fault == "version":
        return _from(InvalidMessage("did not receive a valid HTTP response"), _from(_no_answer(error), error))
    try:
        made = _fault(_response(answer), error, asks=asks)
    except InvalidHandshake as wrong:  # not of its grammar
        made = wrong
    return _from(made, error)


def _no_answer(error: errors.InvalidHandshake) -> Exception:
    text = str(error)
    match error.fault:
        case "lost":
            return EOFError("connection closed while reading HTTP status line")
        case "not_http":
            line = text.split('"')[1].removesuffix(_LINE_END)  # what came is the one thing that is quoted
            wrong = "unsupported protocol; expected HTTP/1.1" if line.count(" ") > 1 else "invalid HTTP status line"
            return ValueError(f"{wrong}: {line}")
        case "version":
            assert error.response is not None
            line = f"HTTP/1.0 {error.response.status_code} {error.response.reason_phrase}"
            return ValueError(f"unsupported protocol; expected HTTP/1.1: {line}")
    return ValueError(text)


_LINE_END = r"\r\n"


def _fault(answer: Response, error: errors.InvalidHandshake, *, asks: bool) -> Exception:
    """What is wrong with an answer that was not taken (RFC 6455 §4.1)."""
    headers = answer.headers
    options = [option for value in headers.get_all("Connection") for option in parse_connection(value)]
    if "upgrade" not in [option.lower() for option in options]:
        return InvalidUpgrade("Connection", ", ".join(options) or None)
    protocols = [protocol for value in headers.get_all("Upgrade") for protocol in parse_upgrade(value)]
    if [protocol.lower() for protocol in protocols] != ["websocket"]:
        return InvalidUpgrade("Upgrade", ", ".join(protocols) or None)
    accepts = headers.get_all("Sec-WebSocket-Accept")
    if not accepts:
        return InvalidHeader("Sec-WebSocket-Accept")
    if len(accepts) > 1:
        return InvalidHeader("Sec-WebSocket-Accept", "multiple values")
    if error.fault == "accept":
        return InvalidHeaderValue("Sec-WebSocket-Accept", accepts[0])
    subprotocols = [name for value in headers.get_all("Sec-WebSocket-Protocol") for name in parse_subprotocol(value)]
    if subprotocols and not asks:
        return NegotiationError("no subprotocols supported")
    if len(subprotocols) > 1:
        return InvalidHeader("Sec-WebSocket-Protocol", f"multiple values: {', '.join(subprotocols)}")
    if error.fault == "subprotocol" and subprotocols:
        return NegotiationError(f"unsupported subprotocol: {subprotocols[0]}")
    for value in headers.get_all("Sec-WebSocket-Extensions"):
        for name, parameters in parse_extension(value):
            return NegotiationError(f"Unsupported extension: name = {name}, params = {parameters}")
    return InvalidHandshake(str(error))
