"""Which errors a later attempt may not meet again."""

from __future__ import annotations

from ._base import FastwsError
from ._client import AlreadyRunning, ClientStopped, ConfigError, HandshakeError, RetriesExhausted, may_agree_later
from ._connection import ConcurrencyError
from ._opening import ConnectError, InvalidURI, may_open_later

__all__ = ["is_retryable"]


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
            return may_agree_later(error)
        case ConnectError():
            return may_open_later(error)
        case _:
            return isinstance(error, FastwsError | OSError) and not isinstance(error, _FINAL_ERRORS)


_FINAL_ERRORS = (InvalidURI, ConfigError, ConcurrencyError, AlreadyRunning, ClientStopped, RetriesExhausted)
