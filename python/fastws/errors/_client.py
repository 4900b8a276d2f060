"""The resilient client: its handshakes, what it receives, its settings and its life."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from ._base import FastwsError

__all__ = [
    "AlreadyRunning",
    "AuthFailed",
    "ClientError",
    "ClientStopped",
    "ConfigError",
    "DataTimeout",
    "DecodeError",
    "ExtensionError",
    "HandshakeError",
    "HandshakeKind",
    "HandshakeTimeout",
    "ReceiveError",
    "ReceiveTimeout",
    "RecordingError",
    "RetriesExhausted",
    "SubscriberOverflow",
    "may_agree_later",
]

HandshakeKind = Literal["failed", "auth_failed", "timeout", "protocol", "closed"]


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
        return may_agree_later(self)


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


def may_agree_later(error: HandshakeError) -> bool:
    """What ``is_retryable()`` says of a handshake."""
    return error.kind not in _FINAL_HANDSHAKES if error.retryable is None else error.retryable


_FINAL_HANDSHAKES: frozenset[HandshakeKind] = frozenset({"auth_failed", "protocol"})

_HANDSHAKE_VERBS: dict[HandshakeKind, str] = {
    "failed": "failed",
    "auth_failed": "was refused",
    "timeout": "took too long",
    "protocol": "broke its protocol",
    "closed": "was ended by the server",
}
