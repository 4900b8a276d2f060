"""What opening a connection raises, in the words of ``websockets``; ours is the cause, and says more."""

from __future__ import annotations

import errno
import socket
import ssl

from fastws import errors
from fastws.compat._os_errors import not_connected, not_found
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


def opening(error: errors.FastwsError, uri: str) -> Exception:
    """The exception of ``websockets`` for one of ours. What it does not know stays as it is."""
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
            return _from(_tls(error), error)
        case errors.ProxyError():
            return _proxy(error)
        case errors.InvalidStatus():
            return _from(InvalidStatus(_response(error.response)), error)
        case errors.InvalidHandshake():
            return _handshake(error)
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
    return _plain(not_connected(error, text))


def _plain(error: OSError) -> OSError:
    """Without a number it is its text alone."""
    return OSError(error.strerror) if error.errno is None else error


def _tls(error: errors.TlsError) -> Exception:
    text = worded(str(error))
    if isinstance(error, errors.CertificateError):
        return certificate_refused(text)
    if error.lost:
        return ConnectionResetError(errno.ECONNRESET, text)
    return ssl.SSLError(ssl.SSLErrorNumber.SSL_ERROR_SSL, f"[SSL] {text}")


def certificate_refused(text: str) -> ssl.SSLCertVerificationError:
    """As ``ssl`` says it, and then what is wrong in words."""
    said = next((words for sign, words in _CERTIFICATES.items() if sign in text), "")
    said = f"certificate verify failed: {said}" if said else "certificate verify failed"
    return ssl.SSLCertVerificationError(
        ssl.SSLErrorNumber.SSL_ERROR_SSL, f"[SSL: CERTIFICATE_VERIFY_FAILED] {said} ({text})"
    )


_CERTIFICATES = {
    "is not for the use": "unsuitable certificate purpose",
    "is not for": "Hostname mismatch, certificate is not valid for",
    "self-signed": "self-signed certificate",
    "expired on": "certificate has expired",
    "is not valid before": "certificate is not yet valid",
    "is revoked": "certificate revoked",
    "is not trusted": "unable to get local issuer certificate",
    "unknown issuer": "unable to get local issuer certificate",
}
"""What ``ssl`` says, by what our words have."""


# ---- Proxies ---------------------------------------------------------------------------------------------------------


def _proxy(error: errors.ProxyError) -> Exception:
    text = worded(str(error))
    is_socks = error.proxy.startswith("socks")
    if error.response is not None and 100 <= error.response.status_code < 600:
        return _from(InvalidProxyStatus(_response(error.response)), error)
    if error.attempts:
        made = _plain(not_connected(error, text))
        return _from(_socks_unreachable(made) if is_socks else made, error)
    if "made no TLS connection to itself" in text:
        refused = certificate_refused(text) if error.denied else ssl.SSLError(ssl.SSLErrorNumber.SSL_ERROR_SSL, text)
        return _from(refused, error)
    if is_socks:
        return _from(ProxyError("failed to connect to SOCKS proxy"), error.__cause__ or error)
    if "was not found" in text:
        return _from(socket.gaierror(socket.EAI_NONAME, text), error)
    return _from(InvalidProxyMessage("did not receive a valid HTTP response from proxy"), error)


def _socks_unreachable(error: OSError) -> OSError:
    """The same as python-socks has it, which is an OSError too."""
    from python_socks import ProxyConnectionError

    made: OSError = ProxyConnectionError(error.errno, str(error))
    return made


# ---- The server's answer ---------------------------------------------------------------------------------------------


def _handshake(error: errors.InvalidHandshake) -> Exception:
    answer = error.response
    if answer is None:
        lost = "the opening handshake was over" in str(error) or "was given up" in str(error)
        cause = EOFError("connection closed while reading HTTP status line") if lost else _unreadable(str(error))
        return _from(InvalidMessage("did not receive a valid HTTP response"), _from(cause, error))
    try:
        made = _fault(_response(answer), str(error))
    except InvalidHandshake as wrong:  # not of its grammar
        made = wrong
    return _from(made, error)


def _unreadable(text: str) -> ValueError:
    _, sign, line = text.partition('the answer is not an HTTP/1.1 response: "')
    if not sign:
        return ValueError(text)
    return ValueError(f"unsupported protocol; expected HTTP/1.1: {line.partition(chr(34))[0].removesuffix(_LINE_END)}")


_LINE_END = r"\r\n"


def _fault(answer: Response, text: str) -> Exception:
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
    if "Sec-WebSocket-Accept" in text:
        return InvalidHeaderValue("Sec-WebSocket-Accept", accepts[0])
    subprotocols = [name for value in headers.get_all("Sec-WebSocket-Protocol") for name in parse_subprotocol(value)]
    if len(subprotocols) > 1:
        return InvalidHeader("Sec-WebSocket-Protocol", f"multiple values: {', '.join(subprotocols)}")
    if "subprotocol" in text.lower() and subprotocols:
        return NegotiationError(f"unsupported subprotocol: {subprotocols[0]}")
    for value in headers.get_all("Sec-WebSocket-Extensions"):
        for name, parameters in parse_extension(value):
            return NegotiationError(f"Unsupported extension: name = {name}, params = {parameters}")
    return InvalidHandshake(text)
