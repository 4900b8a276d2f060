"""Plug-ins of a ``WebSocketClient``: what takes part in its life and, if it wants, sees its messages.

Not to be mixed up with wire extensions (RFC 6455 §9), which a single connection negotiates.
"""

from .base import Extension, Message
from .host import ExtensionHost, ExtensionPolicy
from .logging import LoggingConfig, LoggingExtension, LogLevel
from .status import AdvancedStatusViewer, SessionStatus, StatusChange, StatusViewer

__all__ = [
    "AdvancedStatusViewer",
    "Extension",
    "ExtensionHost",
    "ExtensionPolicy",
    "LogLevel",
    "LoggingConfig",
    "LoggingExtension",
    "Message",
    "SessionStatus",
    "StatusChange",
    "StatusViewer",
]
