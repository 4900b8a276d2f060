"""The logger ``websocket``, and what is traced on it."""

from __future__ import annotations

import logging

__all__ = [
    "debug",
    "dump",
    "enableTrace",
    "error",
    "isEnabledForDebug",
    "isEnabledForError",
    "isEnabledForTrace",
    "trace",
    "warning",
]

_logger = logging.getLogger("websocket")
_logger.addHandler(logging.NullHandler())

_usual_level = _logger.getEffectiveLevel()
_traces = False
_handler: logging.Handler | None = None


def enableTrace(traceable: bool, handler: logging.Handler | None = None, level: str = "DEBUG") -> None:  # noqa: N802
    """Logs handshakes and frames from now on, or no longer.

    Args:
        traceable: Whether to.
        handler: Where to; by default stderr.
        level: The logger's level while it does, by name.
    """
    global _traces, _handler  # noqa: PLW0603 - it is the process' setting
    if _handler is not None:
        _logger.removeHandler(_handler)
    _traces = bool(traceable)
    _handler = (handler or logging.StreamHandler()) if traceable else None
    if _handler is not None:
        _logger.addHandler(_handler)
    _logger.setLevel(getattr(logging, level) if traceable else _usual_level)


def dump(title: str, message: str) -> None:
    """Logs something long under a title, while frames are traced."""
    for line in (f"--- {title} ---", message, "-" * 23):
        trace(line)


def trace(msg: str) -> None:
    """Logs ``msg`` while frames are traced."""
    if _traces:
        _logger.debug(msg)


def debug(msg: str) -> None:
    """Logs ``msg``."""
    _logger.debug(msg)


def info(msg: str) -> None:
    """Logs ``msg``."""
    _logger.info(msg)


def warning(msg: str) -> None:
    """Logs ``msg``."""
    _logger.warning(msg)


def error(msg: str) -> None:
    """Logs ``msg``."""
    _logger.error(msg)


def isEnabledForError() -> bool:  # noqa: N802
    """Whether errors are logged."""
    return _logger.isEnabledFor(logging.ERROR)


def isEnabledForDebug() -> bool:  # noqa: N802
    """Whether what is for debugging is logged."""
    return _logger.isEnabledFor(logging.DEBUG)


def isEnabledForTrace() -> bool:  # noqa: N802
    """Whether frames are traced."""
    return _traces
