"""A connection that could not be opened: where, why, and whether to come again."""

from __future__ import annotations

import errno as _errno
from typing import TYPE_CHECKING, Any, Literal

from ._base import FastwsError

if TYPE_CHECKING:
    from fastws.http import Response

__all__ = [
    "CertificateError",
    "CertificateFault",
    "ConnectError",
    "ConnectKind",
    "DialError",
    "InvalidHandshake",
    "InvalidStatus",
    "InvalidURI",
    "OpenTimeout",
    "Phase",
    "ProxyError",
    "RedirectError",
    "SocketOptionError",
    "TlsError",
    "UpgradeFault",
    "may_open_later",
]

Phase = Literal["uri", "dns", "proxy", "tcp", "tls", "upgrade"]

ConnectKind = Literal["invalid_url", "dns", "refused", "tcp", "tls", "certificate", "upgrade", "timeout", "io", "proxy"]

UpgradeFault = Literal["lost", "not_http", "version", "too_large", "accept", "subprotocol", "extension", "answer"]

CertificateFault = Literal[
    "expired", "not_yet_valid", "name", "purpose", "self_signed", "untrusted", "revoked", "pin", "client", "other"
]


class InvalidURI(FastwsError, ValueError):
    """The URI cannot be used for a WebSocket connection (RFC 6455 §3).

    Attributes:
        kind: ``"invalid_url"``, as ``ConnectError.kind`` has it.
        is_retryable: False.
        suggested_delay: None.
    """

    @property
    def kind(self) -> ConnectKind:
        """``"invalid_url"``."""
        return "invalid_url"

    @property
    def is_retryable(self) -> bool:
        """False: the URI stays what it is."""
        return False

    @property
    def suggested_delay(self) -> float | None:
        """None."""
        return None


class ConnectError(FastwsError):
    """A connection could not be opened.

    Args:
        message: What happened, where, and what to do about it.
        uri: The URI, with userinfo and query masked.
        phase: What was under way.
        kind: What went wrong; by default what ``phase`` and the class say. For connectors of one's own.

    | ``kind``        | retryable | ``suggested_delay`` | the model's variant                   |
    | --------------- | --------- | ------------------- | ------------------------------------- |
    | ``invalid_url`` | no        |                     | InvalidUrl, InvalidUri (``InvalidURI``) |
    | ``dns``         | yes       | 0.5 s               | DnsResolution                         |
    | ``refused``     | yes       | 2 s                 | Refused                               |
    | ``tcp``         | yes       |                     | TcpConnect, TcpFailed                 |
    | ``tls``         | no        |                     | TlsHandshake, Tls                     |
    | ``certificate`` | no        |                     | TlsHandshake, Tls                     |
    | ``upgrade``     | by status | Retry-After         | WebSocketUpgrade, WebSocketFailed     |
    | ``timeout``     | yes       | 5 s                 | Timeout                               |
    | ``io``          | see below |                     | Io                                    |
    | ``proxy``       | see below | Retry-After         |                                       |

    Otherwise than in the model, where every refused upgrade is retryable, a status from 400 to 499 is not, but for 408,
    425 and 429, which ask for another attempt. A connection that was lost during the TLS handshake is ``io`` and
    retryable: a server that restarts looks so. An option that the kernel does not take is ``io`` too, and final unless
    it was short of memory. A proxy that refuses by its rules, or our credentials, is final, one that cannot be reached
    or cannot reach the server is not. A redirect that is not followed is final. The model's HandshakeFailed is
    ``HandshakeError``.

    Attributes:
        uri: The URI, with userinfo and query masked.
        phase: What was under way: ``"dns"``, ``"proxy"``, ``"tcp"``, ``"tls"`` or ``"upgrade"``.
    """

    _kind: ConnectKind | None = None

    def __init__(self, message: str, *, uri: str, phase: Phase, kind: ConnectKind | None = None) -> None:
        super().__init__(message)
        self.uri = uri
        self.phase = phase
        if kind is not None:
            self._kind = kind

    def __str__(self) -> str:
        return str(self.args[0]) if self.args else ""

    @property
    def kind(self) -> ConnectKind:
        """What went wrong; see the table."""
        return self._kind or _KIND_OF_PHASE[self.phase]

    @property
    def is_retryable(self) -> bool:
        """Whether another attempt may succeed; see ``is_retryable()``."""
        return may_open_later(self)

    @property
    def retry_after(self) -> float | None:
        """Seconds that the server asked to be left alone (RFC 9110 §10.2.3), or None."""
        return None

    @property
    def suggested_delay(self) -> float | None:
        """Seconds after which another attempt makes sense, or None.

        Only ``retry_after`` makes a client wait longer than its retry strategy says; the rest is for strategies of
        one's own.
        """
        return self.retry_after if self.retry_after is not None else _SUGGESTED_DELAYS.get(self.kind)

    def __reduce__(self) -> tuple[Any, ...]:
        restore, arguments, state = super().__reduce__()
        if isinstance(self, OSError):  # which keeps it elsewhere
            state = state | {"errno": self.errno}
        return restore, arguments, state


class DialError(ConnectError, OSError):
    """No address of the host could be found or connected to. ``attempts`` names each address with its error.

    Attributes:
        errno: The system's number of that error, if it is the same of all addresses; else None.
    """

    def __init__(
        self,
        message: str,
        *,
        uri: str,
        phase: Phase,
        attempts: tuple[tuple[str, str], ...] = (),
        errno: int | None = None,
    ) -> None:
        super().__init__(message, uri=uri, phase=phase)
        self.attempts = attempts
        self.errno = errno

    @property
    def kind(self) -> ConnectKind:
        """``"dns"``; ``"refused"`` if every address refused; ``"tcp"`` otherwise."""
        return "refused" if self.errno == _errno.ECONNREFUSED else super().kind


class ProxyError(ConnectError, OSError):
    """The proxy was not reached, or did not open a way to the server. The message names the proxy.

    Attributes:
        proxy: The proxy, without user and password: ``"http://proxy.example:3128"``.
        response: The answer of an HTTP proxy, without a body; None if there was none that can be read.
        reply: What a SOCKS proxy replied, in words; None where it did not reply.
        denied: Whether the proxy refused by its rules, or refused our credentials: another attempt will not mend it.
        attempts: The proxy's addresses with their errors, if none could be connected to.
        errno: The system's number of that error, if it is the same of all of them; else None.
        tls: What TLS to the proxy itself failed by; None if it was not that.
    """

    def __init__(
        self,
        message: str,
        *,
        uri: str,
        proxy: str,
        response: Response | None = None,
        reply: str | None = None,
        denied: bool = False,
        attempts: tuple[tuple[str, str], ...] = (),
        errno: int | None = None,
        tls: TlsError | None = None,
    ) -> None:
        super().__init__(message, uri=uri, phase="proxy")
        self.proxy = proxy
        self.response = response
        self.reply = reply
        self.denied = denied or (response is not None and response.status_code in _DENIALS)
        self.attempts = attempts
        self.errno = errno
        self.tls = tls

    @property
    def status(self) -> int | None:
        """The HTTP status of the proxy's answer, or None."""
        return None if self.response is None else self.response.status_code

    @property
    def retry_after(self) -> float | None:
        """Seconds that the proxy asked to be left alone (RFC 9110 §10.2.3), or None."""
        return None if self.response is None else self.response.retry_after


class SocketOptionError(ConnectError, OSError):
    """The kernel refused an option of the socket: it does not know it, the value is wrong, or it is not permitted.

    Attributes:
        option: The option and its value, as they were asked for.
        errno: Why, as ``errno`` has it: EPERM, EINVAL, ENOPROTOOPT and others.
    """

    def __init__(self, message: str, *, uri: str, option: str, errno: int | None) -> None:
        super().__init__(message, uri=uri, phase="tcp")
        self.option = option
        self.errno = errno

    @property
    def kind(self) -> ConnectKind:
        """``"io"``."""
        return "io"


class TlsError(ConnectError):
    """The TLS handshake failed.

    Attributes:
        lost: Whether the connection ended meanwhile, and TLS itself found nothing wrong.
    """

    def __init__(self, message: str, *, uri: str, phase: Phase = "tls", lost: bool = False) -> None:
        super().__init__(message, uri=uri, phase=phase)
        self.lost = lost

    @property
    def kind(self) -> ConnectKind:
        """``"tls"``, or ``"io"`` if the connection was lost."""
        return "io" if self.lost else "tls"


class CertificateError(TlsError):
    """A certificate was not accepted: the server's by us, or ours by the server, which may also miss one.

    The text says what is wrong with it: dates, names, issuer, use, key, revocation or pin.

    Attributes:
        fault: The same in a word: ``"expired"``, ``"not_yet_valid"``, ``"name"``, ``"purpose"``, ``"self_signed"``,
            ``"untrusted"``, ``"revoked"``, ``"pin"``, ``"client"`` where it is ours, or ``"other"``.
    """

    def __init__(self, message: str, *, uri: str, phase: Phase = "tls", fault: CertificateFault = "other") -> None:
        super().__init__(message, uri=uri, phase=phase)
        self.fault = fault

    @property
    def kind(self) -> ConnectKind:
        """``"certificate"``."""
        return "certificate"


class OpenTimeout(ConnectError, TimeoutError):
    """The connection was not open within ``open_timeout``; ``phase`` says what was still under way."""

    @property
    def kind(self) -> ConnectKind:
        """``"timeout"``."""
        return "timeout"


class InvalidHandshake(ConnectError):
    """The server's answer to the upgrade is not what RFC 6455 §4.2.2 wants.

    Attributes:
        response: The answer; None if there was none that can be read.
        fault: What is wrong with it: ``"lost"``, the connection ended before it was whole; ``"not_http"``;
            ``"version"``, HTTP/1.0; ``"too_large"``; ``"accept"``, ``"subprotocol"`` and ``"extension"`` of their
            headers; ``"answer"`` for anything else.
    """

    response: Response | None

    def __init__(
        self,
        message: str,
        *,
        uri: str,
        phase: Phase = "upgrade",
        response: Response | None = None,
        fault: UpgradeFault = "answer",
    ) -> None:
        super().__init__(message, uri=uri, phase=phase)
        self.response = response
        self.fault = fault


class InvalidStatus(InvalidHandshake):
    """The server refused the upgrade with another HTTP status than 101; ``response`` has status, headers and body."""

    response: Response

    def __init__(self, message: str, *, uri: str, response: Response) -> None:
        super().__init__(message, uri=uri, response=response)

    @property
    def retry_after(self) -> float | None:
        """Seconds that the server asked to be left alone (RFC 9110 §10.2.3), or None."""
        return self.response.retry_after


class RedirectError(InvalidHandshake):
    """The server redirects to where we do not go: too far, from TLS to none, or to no WebSocket URI.

    Attributes:
        chain: The URIs that were asked, in order, with userinfo and query masked; the last one was not.
        response: The answer that named it.
    """

    response: Response

    def __init__(self, message: str, *, uri: str, chain: tuple[str, ...], response: Response) -> None:
        super().__init__(message, uri=uri, response=response)
        self.chain = chain


def may_open_later(error: ConnectError) -> bool:
    """What ``is_retryable()`` says of an opening."""
    match error:
        case SocketOptionError():
            return error.errno in _RETRYABLE_OPTION_ERRORS
        case InvalidStatus():
            status = error.response.status_code
            return not 400 <= status < 500 or status in _RETRYABLE_REFUSALS
        case ProxyError():
            return not error.denied
        case RedirectError():
            return False
        case _:
            return error.kind not in _FINAL_KINDS


_KIND_OF_PHASE: dict[Phase, ConnectKind] = {
    "uri": "invalid_url",
    "dns": "dns",
    "proxy": "proxy",
    "tcp": "tcp",
    "tls": "tls",
    "upgrade": "upgrade",
}

# Seconds; the model's. For a Retry-After see ConnectError.retry_after.
_SUGGESTED_DELAYS: dict[ConnectKind, float] = {"dns": 0.5, "refused": 2.0, "timeout": 5.0}

_FINAL_KINDS: frozenset[ConnectKind] = frozenset({"invalid_url", "tls", "certificate"})

# RFC 9110 §15.5.9 (Request Timeout), RFC 8470 §5.2 (Too Early), RFC 6585 §4 (Too Many Requests): "come again".
_RETRYABLE_REFUSALS = frozenset({408, 425, 429})

# A proxy that wants other credentials, or does not connect us by its rules (RFC 9110 §15.5).
_DENIALS = frozenset({401, 403, 405, 407})

# A kernel short of memory may have some later; every other refusal of an option is for good.
_RETRYABLE_OPTION_ERRORS = frozenset({_errno.ENOBUFS, _errno.ENOMEM})
