"""An extension that logs what happens to a client."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import TYPE_CHECKING, Any, Self

from fastws._checks import count
from fastws.context import ConnectionContext
from fastws.redact import Redactor, printable

from .base import Extension, Message

if TYPE_CHECKING:
    import re

    from fastws.events import DisconnectReason

__all__ = ["LogLevel", "LoggingConfig", "LoggingExtension"]


class LogLevel(IntEnum):
    """Levels, as numbers of the ``logging`` module."""

    ERROR = logging.ERROR
    WARN = logging.WARNING
    INFO = logging.INFO
    DEBUG = logging.DEBUG
    TRACE = 5


@dataclass(frozen=True, slots=True)
class LoggingConfig:
    """What a ``LoggingExtension`` logs.

    Attributes:
        level: The least important level that is logged.
        log_messages: Whether messages are logged, received and sent; they are of the level DEBUG.
        max_message_len: Characters of a text message that are shown.
        prefix: What every line begins with, in brackets; empty for nothing.

    Raises:
        ValueError: ``level`` is no level, or ``max_message_len`` is no number from 0 on.
    """

    level: LogLevel = LogLevel.INFO
    log_messages: bool = False
    max_message_len: int = 200
    prefix: str = "ws"

    def __post_init__(self) -> None:
        object.__setattr__(self, "level", LogLevel(self.level))
        count("max_message_len", self.max_message_len, "characters", least=0)

    def with_level(self, level: LogLevel | int) -> Self:
        """The same with another level."""
        return replace(self, level=LogLevel(level))

    def with_messages(self, log_messages: bool = True) -> Self:
        """The same with or without messages."""
        return replace(self, log_messages=log_messages)

    def with_max_len(self, max_message_len: int) -> Self:
        """The same with more or fewer characters."""
        return replace(self, max_message_len=max_message_len)

    def with_prefix(self, prefix: str) -> Self:
        """The same with another prefix."""
        return replace(self, prefix=prefix)


class LoggingExtension(Extension):
    """Logs what happens to a client.

    Ready sessions and their ends are of the level INFO; registration, shutdown and messages of DEBUG. Nothing is logged
    below the level of ``config``, nor what the logger is not enabled for. A message is shown up to ``max_message_len``
    characters, secrets masked first; a binary one by its size. As long as messages are not logged, they cost nothing.

    Args:
        config: What to log.
        logger: Where to.
        redact: Secrets to mask besides those that every ``fastws.Redactor`` masks: a ``Redactor``, or patterns for one.
    """

    name = "logging"
    version = "1.0.0"
    description = "logs sessions, and messages if it is told to"

    def __init__(
        self,
        config: LoggingConfig | None = None,
        *,
        logger: logging.Logger | None = None,
        redact: Redactor | Iterable[str | re.Pattern[str]] = (),
    ) -> None:
        self.config = config or LoggingConfig()
        self._logger = logger or logging.getLogger("fastws.ws")
        self._redactor = redact if isinstance(redact, Redactor) else Redactor(patterns=redact)
        self.handles_messages = self.handles_outgoing = self.config.log_messages and self.config.level <= LogLevel.DEBUG

    @classmethod
    def verbose(cls, **options: Any) -> Self:
        """Logs everything from DEBUG on, messages too. ``options`` are those of the class but ``config``."""
        return cls(LoggingConfig(level=LogLevel.DEBUG, log_messages=True), **options)

    @classmethod
    def with_config(cls, config: LoggingConfig) -> Self:
        """The model's spelling of ``LoggingExtension(config)``."""
        return cls(config)

    def on_init(self, context: ConnectionContext, /) -> None:
        """Says that it is there."""
        self._log(LogLevel.DEBUG, "logging extension registered")

    def on_connect(self, context: ConnectionContext, /) -> None:
        """Says that a session is ready."""
        if context.is_reconnection:
            self._log(
                LogLevel.INFO,
                "reconnected: connection %d, reconnection %d",
                context.connection_id,
                context.reconnect_count,
            )
        else:
            self._log(LogLevel.INFO, "connected: connection %d", context.connection_id)

    def on_disconnect(self, context: ConnectionContext, reason: DisconnectReason | None, /) -> None:
        """Says that a session is over, and why."""
        why = self._shown(str(reason)) if reason is not None else "no reason"
        self._log(LogLevel.INFO, "disconnected: connection %d: %s", context.connection_id, why)

    def on_shutdown(self, context: ConnectionContext, /) -> None:
        """Says that the client has ended."""
        self._log(LogLevel.DEBUG, "shut down")

    def on_message(self, message: Message, context: ConnectionContext, /) -> Message:
        """Shows a message."""
        self._log_message("received", message)
        return message

    def on_send(self, message: Message, context: ConnectionContext, /) -> Message:
        """Shows a message."""
        self._log_message("sending", message)
        return message

    def _log_message(self, what: str, message: Message) -> None:
        if self._is_logged(LogLevel.DEBUG):
            if isinstance(message, str):
                self._log(LogLevel.DEBUG, "%s text: %s", what, self._shown(message))
            else:
                self._log(LogLevel.DEBUG, "%s binary: <%d bytes>", what, len(message))

    def _shown(self, text: str) -> str:
        # Masked first: a secret that is cut is not recognised.
        text = self._redactor.filter(text)
        limit = self.config.max_message_len
        return printable(text if len(text) <= limit else f"{text[:limit]}...")

    def _is_logged(self, level: LogLevel) -> bool:
        return level >= self.config.level and self._logger.isEnabledFor(level)

    def _log(self, level: LogLevel, text: str, *arguments: object) -> None:
        if self._is_logged(level):
            prefix = self.config.prefix
            self._logger.log(level, f"[%s] {text}" if prefix else text, *([prefix] if prefix else []), *arguments)
