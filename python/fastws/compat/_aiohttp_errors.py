"""Which exception of aiohttp's a failed opening is."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple
from urllib.parse import urljoin, urlsplit

from fastws import errors, http
from fastws.redact import redact_uri

from . import _installed, _tls_errors
from ._aiohttp_types import (
    ClientConnectionError,
    ClientConnectorCertificateError,
    ClientConnectorDNSError,
    ClientConnectorError,
    ClientConnectorSSLError,
    ClientHttpProxyError,
    ClientProxyConnectionError,
    ClientResponseError,
    ConnectionTimeoutError,
    InvalidURL,
    InvalidUrlRedirectClientError,
    NonHttpUrlRedirectClientError,
    ServerDisconnectedError,
    TooManyRedirects,
    WSServerHandshakeError,
)
from ._os_errors import not_found
from ._wording import Wording

__all__ = ["headers_of", "key_of", "no_proxy", "raised_at_opening", "worded"]

worded = Wording(
    {"max_size": "max_msg_size", "max_frame_size": "max_msg_size"},
    tls={
        "ca": "ssl=ssl.create_default_context(cafile=...)",
        "certificate": "ssl= with a context after load_cert_chain(...)",
    },
)
"""Our texts by the arguments of ``ws_connect``."""


class Followed(NamedTuple):
    """A redirect that was followed, in the ``history`` of an exception; ``headers`` as those of the exception."""

    status: int
    reason: str
    headers: Any
    url: Any
    request_info: Any


def raised_at_opening(
    error: errors.ConnectError,
    url: str,
    fields: Sequence[tuple[str, str]],
    followed: Sequence[http.Response] = (),
) -> Exception:
    """What aiohttp raises for it; the caller makes ``error`` its cause.

    Args:
        error: Ours.
        url: What was asked for, as it was given.
        fields: Header fields of the request.
        followed: Redirects on the way.
    """
    way = [url]
    for redirect in followed:
        way.append(urljoin(way[-1], redirect.headers.get_all("Location")[0].strip()))
    request, history = _request_info(way[-1], fields), _history(way, fields, followed)
    match error:
        case errors.OpenTimeout(phase="upgrade"):
            return TimeoutError(str(error))
        case errors.OpenTimeout():
            return ConnectionTimeoutError(str(error))
        case errors.InvalidHandshake(response=None, fault="lost"):
            return ServerDisconnectedError(str(error))
        case errors.InvalidHandshake(response=None):
            return ClientResponseError(request, history, status=400, message=str(error))
        case errors.RedirectError(fault="location", response=answer):
            return _astray(answer.headers.get_all("Location")[0], str(error))
        case errors.RedirectError(fault="redirects", response=answer):
            return _of_answer(TooManyRedirects, answer, str(error), _request_info(url, fields), history)
        case errors.InvalidHandshake(response=answer):
            assert answer is not None
            message = "Invalid response status" if answer.status_code != 101 else str(error)
            return _of_answer(WSServerHandshakeError, answer, message, request, history)
        case errors.ProxyError(response=http.Response() as answer):
            if _is_secure(way[-1]):
                asked = _request_info(way[-1], (), "CONNECT")
                return _of_answer(ClientHttpProxyError, answer, answer.reason_phrase, asked, ())
            # aiohttp asks a proxy for ws:// as it asks a server.
            return _of_answer(WSServerHandshakeError, answer, "Invalid response status", request, history)
        case errors.ProxyError(tls=errors.TlsError() as tls):
            return _of_tls(tls, key_of(error.proxy), str(error))
        case errors.ProxyError():
            return ClientProxyConnectionError(key_of(error.proxy), _with_text(OSError, error.errno, error))
        case errors.TlsError():
            return _of_tls(error, key_of(way[-1]), str(error))
        case errors.DialError(phase="dns"):
            return ClientConnectorDNSError(key_of(way[-1]), not_found(error, worded(str(error))))
        case errors.DialError() | errors.SocketOptionError():
            return ClientConnectorError(key_of(way[-1]), _with_text(OSError, error.errno, error))
        case _:
            return ClientConnectionError(str(error))


def no_proxy(error: errors.ConfigError, given: object) -> Exception:
    """What aiohttp raises for the URL of a proxy that cannot be used; ``error`` itself if it is of something else."""
    return InvalidURL(redact_uri(str(given)), str(error)) if error.field == "proxy" else error


def _astray(location: str, text: str) -> Exception:
    """For a redirect to what is no place to go to."""
    scheme = location.partition(":")[0].strip().lower() if ":" in location else ""
    if scheme.isalpha() and scheme not in ("http", "https", "ws", "wss"):
        return NonHttpUrlRedirectClientError(location)
    return InvalidUrlRedirectClientError(location, text)


def _of_answer(
    kind: type[ClientResponseError], answer: http.Response, message: str, request: Any, history: tuple[Followed, ...]
) -> Exception:
    headers = headers_of(answer.headers.raw_items())
    return kind(request, history, status=answer.status_code, message=message, headers=headers)


def _of_tls(error: errors.TlsError, key: Any, text: str) -> Exception:
    if isinstance(error, errors.CertificateError):
        return ClientConnectorCertificateError(key, _tls_errors.refused(error.fault, worded(text)))
    if error.lost:
        return ClientConnectorError(key, ConnectionResetError(None, worded(text)))
    return ClientConnectorSSLError(key, _tls_errors.failed(worded(text)))


def _with_text(kind: type[OSError], number: int | None, error: Exception) -> OSError:
    return kind(number, worded(str(error)))


def _is_secure(url: str) -> bool:
    return urlsplit(url).scheme in ("wss", "https")


def key_of(url: str) -> Any:
    """The ``ConnectionKey`` that aiohttp's exceptions describe the server by."""
    parts, secure = urlsplit(url), _is_secure(url)
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


def _request_info(url: str, fields: Sequence[tuple[str, str]], method: str = "GET") -> Any:
    original = _installed.find("aiohttp")
    yarl = _installed.find("yarl")
    if original is None or yarl is None:
        return url
    asked = yarl.URL(url)
    return original.RequestInfo(asked.with_fragment(None), method, headers_of(fields), asked)


def _history(
    way: Sequence[str], fields: Sequence[tuple[str, str]], followed: Sequence[http.Response]
) -> tuple[Any, ...]:
    made = []
    for url, answer in zip(way, followed, strict=False):
        request = _request_info(url, fields)
        headers = headers_of(answer.headers.raw_items())
        made.append(Followed(answer.status_code, answer.reason_phrase, headers, getattr(request, "url", url), request))
    return tuple(made)
