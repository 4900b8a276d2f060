"""Every exception of fastws. All derive from ``FastwsError``.

Names follow ``websockets`` where it has them. An exception carries what an operator needs: the URI (with secrets
masked), the phase of opening that failed, the server's answer, how a connection ended.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from .http import Response

__all__ = [
    "CertificateError",
    "Close",
    "CloseInfo",
    "ConcurrencyError",
    "ConnectError",
    "ConnectionClosed",
    "ConnectionClosedError",
    "ConnectionClosedOK",
    "DialError",
    "FastwsError",
    "InvalidHandshake",
    "InvalidStatus",
    "InvalidURI",
    "KeepaliveTimeout",
    "OpenTimeout",
    "PayloadTooBig",
    "Phase",
    "ProtocolError",
    "SendQueueFull",
    "SocketOptionError",
    "TlsError",
]

Phase = Literal["uri", "dns", "tcp", "tls", "upgrade"]


class FastwsError(Exception):
    """Base of every exception of fastws."""


class InvalidURI(FastwsError, ValueError):
    """The URI cannot be used for a WebSocket connection (RFC 6455 §3)."""


class ConnectError(FastwsError):
    """A connection could not be opened.

    Attributes:
        uri: The URI, with userinfo and query masked.
        phase: What was under way: ``"dns"``, ``"tcp"``, ``"tls"`` or ``"upgrade"``.
    """

    def __init__(self, message: str, *, uri: str, phase: Phase) -> None:
        super().__init__(message)
        self.uri = uri
        self.phase = phase

    def __str__(self) -> str:
        return str(self.args[0]) if self.args else ""

    def __reduce__(self) -> tuple[Any, ...]:
        # A process pool sends exceptions back pickled.
        return _restored, (type(self), self.args), self.__dict__


class DialError(ConnectError, OSError):
    """No address of the host could be found or connected to. ``attempts`` names each address with its error."""

    def __init__(self, message: str, *, uri: str, phase: Phase, attempts: tuple[tuple[str, str], ...] = ()) -> None:
        super().__init__(message, uri=uri, phase=phase)
        self.attempts = attempts


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

    def __reduce__(self) -> tuple[Any, ...]:
        restore, arguments, state = super().__reduce__()
        return restore, arguments, state | {"errno": self.errno}


class TlsError(ConnectError):
    """The TLS handshake failed."""


class CertificateError(TlsError):
    """The server's certificate was not accepted."""


class OpenTimeout(ConnectError, TimeoutError):
    """The connection was not open within ``open_timeout``; ``phase`` says what was still under way."""


class InvalidHandshake(ConnectError):
    """The server's answer to the upgrade is not what RFC 6455 §4.2.2 wants."""

    response: Response | None

    def __init__(self, message: str, *, uri: str, phase: Phase = "upgrade", response: Response | None = None) -> None:
        super().__init__(message, uri=uri, phase=phase)
        self.response = response


class InvalidStatus(InvalidHandshake):
    """The server refused the upgrade with another HTTP status than 101; ``response`` has status, headers and body."""

    response: Response

    def __init__(self, message: str, *, uri: str, response: Response) -> None:
        super().__init__(message, uri=uri, response=response)


@dataclass(frozen=True, slots=True)
class Close:
    """A Close frame: its code (1005 if it had none) and reason (RFC 6455 §7.1.5, §7.1.6)."""

    code: int
    reason: str

    def __str__(self) -> str:
        return f"{self.code} {self.reason}".rstrip()


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


class SendQueueFull(FastwsError):
    """``send_nowait`` found no room: the peer takes data more slowly than it is sent."""


def _restored(kind: type[ConnectError], args: tuple[Any, ...]) -> ConnectError:
    error = kind.__new__(kind)
    error.args = args
    return error
