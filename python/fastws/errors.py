"""Every exception of fastws. All derive from ``FastwsError``.

Names follow ``websockets`` where it has them. An exception carries what an operator needs: the URI (with secrets
masked), the phase of opening that failed, the server's answer, how a connection ended. Which errors a later attempt may
not meet again is said in one place, ``is_retryable``.
"""

from __future__ import annotations

import contextlib
import errno as _errno
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

from .redact import printable

if TYPE_CHECKING:
    from .http import Response

__all__ = [
    "AlreadyRunning",
    "AuthFailed",
    "CertificateError",
    "CertificateFault",
    "ClientError",
    "ClientStopped",
    "Close",
    "CloseInfo",
    "ConcurrencyError",
    "ConfigError",
    "ConnectError",
    "ConnectKind",
    "ConnectionClosed",
    "ConnectionClosedError",
    "ConnectionClosedOK",
    "ConnectionLost",
    "DataTimeout",
    "DecodeError",
    "DialError",
    "ExtensionError",
    "FastwsError",
    "HandshakeError",
    "HandshakeKind",
    "HandshakeTimeout",
    "InvalidHandshake",
    "InvalidStatus",
    "InvalidURI",
    "KeepaliveTimeout",
    "MaybeSent",
    "NotConnected",
    "NotSent",
    "OpenTimeout",
    "Outcome",
    "PayloadTooBig",
    "Phase",
    "ProtocolError",
    "ProxyError",
    "ReceiveError",
    "ReceiveTimeout",
    "RecordingError",
    "RedirectError",
    "RequestTimeout",
    "RetriesExhausted",
    "SendError",
    "SendQueueFull",
    "ShutdownTimeout",
    "SocketOptionError",
    "SubscriberOverflow",
    "TlsError",
    "Unsent",
    "UpgradeFault",
    "is_retryable",
]

Phase = Literal["uri", "dns", "proxy", "tcp", "tls", "upgrade"]

ConnectKind = Literal["invalid_url", "dns", "refused", "tcp", "tls", "certificate", "upgrade", "timeout", "io", "proxy"]

UpgradeFault = Literal["lost", "not_http", "too_large", "accept", "subprotocol", "extension", "answer"]

CertificateFault = Literal[
    "expired", "not_yet_valid", "name", "purpose", "self_signed", "untrusted", "revoked", "pin", "client", "other"
]

HandshakeKind = Literal["failed", "auth_failed", "timeout", "protocol", "closed"]

Outcome = Literal["not_sent", "maybe_sent", "failed"]


class FastwsError(Exception):
    """Base of every exception of fastws.

    Attributes:
        unsent: The messages that a client which ended so did not, or maybe not, send.
    """

    unsent: tuple[Unsent, ...] = ()

    def context(self, text: str) -> Self:
        """Adds a note that says what was under way, shown below the message in a traceback; returns the exception."""
        self.add_note(text)
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        # A process pool sends exceptions back pickled; the arguments of __init__ are not those of Exception.
        return _restored, (type(self), self.args), self.__dict__


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
        return is_retryable(self)

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
        return is_retryable(self)

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


class DialError(ConnectError, OSError):
    """No address of the host could be found or connected to. ``attempts`` names each address with its error."""

    def __init__(self, message: str, *, uri: str, phase: Phase, attempts: tuple[tuple[str, str], ...] = ()) -> None:
        super().__init__(message, uri=uri, phase=phase)
        self.attempts = attempts

    @property
    def kind(self) -> ConnectKind:
        """``"dns"``; ``"refused"`` if every address refused; ``"tcp"`` otherwise."""
        refusal = os.strerror(_errno.ECONNREFUSED).lower()
        if self.attempts and all(refusal in why.lower() for _, why in self.attempts):
            return "refused"
        return super().kind


class ProxyError(ConnectError, OSError):
    """The proxy was not reached, or did not open a way to the server. The message names the proxy.

    Attributes:
        proxy: The proxy, without user and password: ``"http://proxy.example:3128"``.
        response: The answer of an HTTP proxy, without a body; None if there was none that can be read.
        reply: What a SOCKS proxy replied, in words; None where it did not reply.
        denied: Whether the proxy refused by its rules, or refused our credentials: another attempt will not mend it.
        attempts: The proxy's addresses with their errors, if none could be connected to.
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
        tls: TlsError | None = None,
    ) -> None:
        super().__init__(message, uri=uri, phase="proxy")
        self.proxy = proxy
        self.response = response
        self.reply = reply
        self.denied = denied or (response is not None and response.status_code in _DENIALS)
        self.attempts = attempts
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

    def __reduce__(self) -> tuple[Any, ...]:
        restore, arguments, state = super().__reduce__()
        return restore, arguments, state | {"errno": self.errno}


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
            ``"too_large"``; ``"accept"``, ``"subprotocol"`` and ``"extension"`` of their headers; ``"answer"`` for
            anything else.
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


@dataclass(frozen=True, slots=True)
class Close:
    """A Close frame: its code (1005 if it had none) and reason (RFC 6455 §7.1.5, §7.1.6)."""

    code: int
    reason: str

    def __str__(self) -> str:
        return f'{self.code} "{printable(self.reason)}"' if self.reason else str(self.code)


@dataclass(frozen=True, slots=True)
class CloseInfo:
    """How a connection ended.

    Attributes:
        code: The code received; 1005 for a Close frame without one, 1006 where no Close frame came.
        reason: The reason received, or ``""``.
        initiator: Who sent the first Close frame: ``"local"``, ``"remote"``, or None if none was sent.
        cause: Why it ended, unless by a completed closing handshake.
        rcvd: The Close frame received, if any.
        sent: The Close frame sent, if any.
    """

    code: int
    reason: str
    initiator: Literal["local", "remote"] | None
    cause: FastwsError | None
    rcvd: Close | None
    sent: Close | None


class ConnectionClosed(FastwsError):
    """The connection is closed or closing.

    Attributes:
        rcvd: The Close frame received, or None.
        sent: The Close frame sent, or None.
        rcvd_then_sent: Whether the one received came first; None unless both went.
        info: All of it, with the cause.
    """

    def __init__(self, info: CloseInfo) -> None:
        super().__init__(info)
        self.info = info
        self.rcvd = info.rcvd
        self.sent = info.sent
        both = info.rcvd is not None and info.sent is not None
        self.rcvd_then_sent = (info.initiator == "remote") if both else None

    @property
    def code(self) -> int:
        """The close code: see ``CloseInfo.code``."""
        return self.info.code

    @property
    def reason(self) -> str:
        """The close reason received, or ``""``."""
        return self.info.reason

    def __str__(self) -> str:
        info = self.info
        if info.rcvd is None:
            if info.cause is not None:
                why = str(info.cause)
            elif info.sent is not None:
                why = "closing: the peer has not answered our Close frame yet"
            else:
                why = "no Close frame received"
            parts = [why]
            if info.sent is not None:
                # The reason that we gave is mostly the cause.
                parts.append(f"sent {info.sent.code if why.startswith(info.sent.reason) else info.sent}")
        else:
            parts = [f"received {info.rcvd}"]
            if info.sent is not None:
                parts.append(f"{'then' if info.initiator == 'remote' else 'after we'} sent {info.sent}")
        return "; ".join(parts)


class ConnectionClosedOK(ConnectionClosed):
    """It ended by a closing handshake with 1000, 1001 or no code on both sides, or is about to: ours was sent."""


class ConnectionClosedError(ConnectionClosed):
    """It ended in any other way; ``__cause__`` says why where there is more to say."""


class ProtocolError(FastwsError):
    """The peer broke the protocol; the message names the rule."""


class PayloadTooBig(ProtocolError):
    """A frame or message was over a limit: ``max_size``, ``max_frame_size`` or ``max_fragments``."""


class KeepaliveTimeout(FastwsError, TimeoutError):
    """No answer to a ping within ``ping_timeout``; the message says whose silence it was."""


class ConcurrencyError(FastwsError, RuntimeError):
    """Two tasks read from one connection at the same time, or something else that only one may do at a time."""


class ClientError(FastwsError):
    """Base of what a ``WebSocketClient`` raises beyond what its connections do."""


class HandshakeError(ClientError):
    """The application's handshake (authentication, subscriptions) after the upgrade failed.

    Args:
        message: What happened, without secrets.
        kind: ``"failed"``, ``"auth_failed"``, ``"timeout"``, ``"protocol"`` or ``"closed"``.
        handshaker: The name of the handshaker.
        code: The close code received, for ``"closed"`` and where a Close refused the credentials.
        retryable: Whether a later attempt may succeed; by default what ``kind`` says: not ``"auth_failed"`` and
            ``"protocol"``.

    Attributes: the arguments, and ``is_retryable``.
    """

    def __init__(
        self,
        message: str,
        *,
        kind: HandshakeKind = "failed",
        handshaker: str = "handshaker",
        code: int | None = None,
        retryable: bool | None = None,
    ) -> None:
        super().__init__(message)
        self.kind = kind
        self.handshaker = handshaker
        self.code = code
        self.retryable = retryable

    def __str__(self) -> str:
        return f"the handshake {self.handshaker!r} {_HANDSHAKE_VERBS[self.kind]}: {super().__str__()}"

    @property
    def is_retryable(self) -> bool:
        """Whether another attempt may succeed."""
        return is_retryable(self)


class AuthFailed(HandshakeError):
    """The server did not accept the credentials, by a message or by a Close with ``code``. Not retryable."""

    def __init__(
        self, message: str, *, handshaker: str = "auth", code: int | None = None, retryable: bool | None = None
    ) -> None:
        super().__init__(message, kind="auth_failed", handshaker=handshaker, code=code, retryable=retryable)


class HandshakeTimeout(HandshakeError, TimeoutError):
    """The handshake was not over in time. ``timeout`` is the limit in seconds."""

    def __init__(
        self,
        message: str,
        *,
        handshaker: str = "handshaker",
        timeout: float | None = None,
        retryable: bool | None = None,
    ) -> None:
        super().__init__(message, kind="timeout", handshaker=handshaker, retryable=retryable)
        self.timeout = timeout


class SendError(ClientError):
    """A message was not, or maybe not, sent.

    Args:
        why: Why; never what the message says.
        message: The message, of which only the size is kept.

    Attributes:
        why: As given.
        size: Characters of a text, bytes of a binary message; None if there is no single message.
    """

    _prefix = ""

    def __init__(self, why: str, *, message: str | bytes | None = None) -> None:
        super().__init__(why)
        self.why = why
        self.size = None if message is None else len(message)
        self._shown = "" if message is None else f" ({_sized(message)})"

    def __str__(self) -> str:
        return f"{self._prefix}{self.why}{self._shown}"


class NotConnected(SendError):
    """There is no session that is Ready to send in, and messages are not kept for the next one. Nothing was sent."""

    _prefix = "not connected: "


class NotSent(SendError):
    """The session ended, or the message expired, before a byte of it reached the kernel: sending it again is safe."""

    _prefix = "not sent: "


class MaybeSent(SendError):
    """The session ended when some or all of the message had reached the kernel: whether the peer has it is unknown."""

    _prefix = "maybe sent: "


class SendQueueFull(SendError):
    """``send_nowait`` found no room: the peer takes data more slowly than it is sent. Nothing was accepted."""


class ConnectionLost(SendError):
    """The session of a ``request()`` ended before its answer came.

    Attributes:
        outcome: ``"not_sent"`` or ``"maybe_sent"``: whether the peer may have the request.
    """

    def __init__(self, why: str, *, outcome: Outcome, message: str | bytes | None = None) -> None:
        super().__init__(why, message=message)
        self.outcome = outcome

    def __str__(self) -> str:
        return f"no answer, and the request was {_OUTCOMES[self.outcome]}: {super().__str__()}"


class RequestTimeout(SendError, TimeoutError):
    """The answer to a ``request()`` did not come in time.

    Attributes:
        timeout: The limit in seconds.
        outcome: ``"not_sent"`` or ``"maybe_sent"``: whether the peer may have the request.
    """

    def __init__(
        self,
        why: str,
        *,
        timeout: float | None = None,
        outcome: Outcome = "maybe_sent",
        message: str | bytes | None = None,
    ) -> None:
        super().__init__(why, message=message)
        self.timeout = timeout
        self.outcome = outcome

    def __str__(self) -> str:
        return super().__str__() + ("; the request was not sent" if self.outcome == "not_sent" else "")


class ReceiveError(ClientError):
    """Messages do not come, or not all."""


class DecodeError(ReceiveError):
    """The ``decode`` of a stream raised; ``__cause__`` is what it raised. The stream stands behind the message.

    Attributes:
        data: The message as received; not in ``str()``.
        generation: The session it came in, as in ``Message.generation``.
        received_ns: When it came: CLOCK_REALTIME, nanoseconds.
    """

    def __init__(self, data: str | bytes, generation: int, received_ns: int) -> None:
        super().__init__()
        self.data = data
        self.generation = generation
        self.received_ns = received_ns

    def __str__(self) -> str:
        why = f": {type(self.__cause__).__name__}" if self.__cause__ is not None else ""
        return f"decode failed on a message of generation {self.generation}, {len(self.data)} bytes{why}"


class SubscriberOverflow(ReceiveError):
    """A stream with ``policy="fail"`` was not read fast enough; it is detached from the client, which goes on."""


class ReceiveTimeout(ReceiveError, TimeoutError):
    """Nothing at all came for ``receive_timeout``: the peer is dead. ``timeout`` is the limit in seconds."""

    def __init__(self, message: str, *, timeout: float | None = None) -> None:
        super().__init__(message)
        self.timeout = timeout


class DataTimeout(ReceiveError, TimeoutError):
    """No message came for ``data_timeout``, while the peer is alive. ``timeout`` is the limit in seconds."""

    def __init__(self, message: str, *, timeout: float | None = None) -> None:
        super().__init__(message)
        self.timeout = timeout


class ExtensionError(ClientError):
    """A hook of an extension raised, which is ``__cause__``, or took too long.

    Attributes:
        name: The extension's name.
        hook: The hook: ``"on_init"``, ``"on_message"`` and so on.
    """

    def __init__(self, message: str, *, name: str, hook: str) -> None:
        super().__init__(message)
        self.name = name
        self.hook = hook

    def __str__(self) -> str:
        return f"the extension {self.name!r}, {self.hook}: {super().__str__()}"


class RecordingError(ClientError, OSError):
    """A recording cannot be written, or is not complete. ``path`` is its file."""

    def __init__(self, message: str, *, path: Path) -> None:
        super().__init__(message)
        self.path = path

    def __str__(self) -> str:
        return str(self.args[0])


class AlreadyRunning(ClientError, RuntimeError):
    """The client runs already; it can run again when that has ended."""


class ClientStopped(ClientError):
    """The client was shut down, or has not been started: what was asked for needs one that runs."""


class ShutdownTimeout(ClientError, TimeoutError):
    """The shutdown was not clean within its deadline; the client has ended nevertheless.

    Attributes:
        timeout: The deadline in seconds.
        unsent: The messages that were not, or maybe not, sent; those too that failed before and no earlier session's
            end has told of.
    """

    def __init__(self, message: str, *, timeout: float | None = None, unsent: tuple[Unsent, ...] = ()) -> None:
        super().__init__(message)
        self.timeout = timeout
        self.unsent = unsent

    def __str__(self) -> str:
        return f"{super().__str__()}; {unsent_messages(self.unsent)}" if self.unsent else super().__str__()


class RetriesExhausted(ClientError):
    """The retry strategy allows no further attempt; ``__cause__`` is the last failure.

    Attributes:
        attempts: Consecutive dials since the start or the last stable session.
    """

    def __init__(self, message: str, *, attempts: int) -> None:
        super().__init__(message)
        self.attempts = attempts


class ConfigError(ClientError, ValueError):
    """A setting is wrong. The message names it, its value, and what is allowed.

    Attributes:
        field: The name of the setting.
    """

    def __init__(self, message: str, *, field: str) -> None:
        super().__init__(message)
        self.field = field


@dataclass(frozen=True, slots=True)
class Unsent:
    """A message that a client could not send, or does not know whether it did.

    Attributes:
        message: The message. ``repr`` shows its type and size only.
        outcome: ``"not_sent"``: no byte of it reached the kernel. ``"maybe_sent"``: some did. ``"failed"``: it was
            given up for a reason of its own, such as its expiry.
        why: Why.
    """

    message: str | bytes
    outcome: Outcome
    why: str

    def __repr__(self) -> str:
        return f"Unsent({_sized(self.message)}, outcome={self.outcome!r}, why={self.why!r})"


def unsent_messages(unsent: tuple[Unsent, ...]) -> str:
    """How many there are, as errors, notes and the log say it."""
    return f"unsent messages: {len(unsent)}"


def is_unsent(unsent: tuple[Unsent, ...]) -> bool:
    """Whether something is among them that its sender may still believe to have been sent, or to be sent yet."""
    return any(each.outcome != "failed" for each in unsent)


def tell_unsent(error: BaseException, unsent: tuple[Unsent, ...]) -> None:
    """Lets ``error`` say what was not sent: its attribute ``unsent`` has it, and a note says how much. But once."""
    own = getattr(error, "unsent", ())
    if not unsent or own == unsent:
        return
    if isinstance(own, tuple):  # else it is something else of the user's exception
        with contextlib.suppress(AttributeError):
            error.unsent = (*own, *unsent)  # type: ignore[attr-defined]
    if is_unsent(unsent) and not isinstance(error, ShutdownTimeout):
        error.add_note(unsent_messages(unsent))


def is_retryable(error: BaseException | None) -> bool:
    """Whether a later attempt may succeed where this one ended with ``error``. None, a clean end, is retryable.

    Retryable: what the network, the peer or time may change. Not retryable: what only a person can change (URI, TLS,
    credentials, a refusal with most of the statuses from 400 to 499, a wrong setting), and exceptions that are neither
    of fastws nor OSError (as TimeoutError is): they are mistakes in code. Close codes are judged by
    ``fastws.retry.ClosePolicy``.
    """
    match error:
        case None:
            return True
        case HandshakeError():
            return error.kind not in _FINAL_HANDSHAKES if error.retryable is None else error.retryable
        case SocketOptionError():
            return error.errno in _RETRYABLE_OPTION_ERRORS
        case InvalidStatus():
            status = error.response.status_code
            return not 400 <= status < 500 or status in _RETRYABLE_REFUSALS
        case ProxyError():
            return not error.denied
        case RedirectError():
            return False
        case ConnectError():
            return error.kind not in _FINAL_KINDS
        case _:
            return isinstance(error, FastwsError | OSError) and not isinstance(error, _FINAL_ERRORS)


_FINAL_ERRORS = (InvalidURI, ConfigError, ConcurrencyError, AlreadyRunning, ClientStopped, RetriesExhausted)

_FINAL_HANDSHAKES: frozenset[HandshakeKind] = frozenset({"auth_failed", "protocol"})

_HANDSHAKE_VERBS: dict[HandshakeKind, str] = {
    "failed": "failed",
    "auth_failed": "was refused",
    "timeout": "took too long",
    "protocol": "broke its protocol",
    "closed": "was ended by the server",
}

_OUTCOMES: dict[Outcome, str] = {"not_sent": "not sent", "maybe_sent": "maybe sent", "failed": "given up"}


def _restored(kind: type[FastwsError], args: tuple[Any, ...]) -> FastwsError:
    error = kind.__new__(kind)
    error.args = args
    return error


def _sized(message: str | bytes) -> str:
    """A message for people, without what it says."""
    return f"text of {len(message)} characters" if isinstance(message, str) else f"binary of {len(message)} bytes"


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
