"""An open connection: how it ended, what the peer did wrong, and what a caller must not do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from fastws.redact import printable

from ._base import FastwsError

__all__ = [
    "Close",
    "CloseInfo",
    "ConcurrencyError",
    "ConnectionClosed",
    "ConnectionClosedError",
    "ConnectionClosedOK",
    "KeepaliveTimeout",
    "PayloadTooBig",
    "ProtocolError",
]


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
