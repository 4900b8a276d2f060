"""What became of a client's messages: of one, for its sender; of all that were not sent, at the end."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import Literal

from ._client import ClientError

__all__ = [
    "ConnectionLost",
    "MaybeSent",
    "NotConnected",
    "NotSent",
    "Outcome",
    "RequestTimeout",
    "SendError",
    "SendQueueFull",
    "ShutdownTimeout",
    "Unsent",
    "is_unsent",
    "tell_unsent",
    "unsent_messages",
]

Outcome = Literal["not_sent", "maybe_sent", "failed"]


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


def _sized(message: str | bytes) -> str:
    """A message for people, without what it says."""
    return f"text of {len(message)} characters" if isinstance(message, str) else f"binary of {len(message)} bytes"


_OUTCOMES: dict[Outcome, str] = {"not_sent": "not sent", "maybe_sent": "maybe sent", "failed": "given up"}
