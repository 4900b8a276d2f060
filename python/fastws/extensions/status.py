"""Extensions that know whether a client is connected. Keep the object that you register: it stays readable."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

from fastws._checks import count
from fastws.context import ConnectionContext

from .base import Extension

if TYPE_CHECKING:
    from fastws.events import DisconnectReason

__all__ = ["AdvancedStatusViewer", "SessionStatus", "StatusChange", "StatusViewer"]


class SessionStatus(StrEnum):
    """Whether a session is ready."""

    CONNECTED = "connected"
    DISCONNECTED = "disconnected"


class StatusChange(NamedTuple):
    """A change of the status: when (CLOCK_MONOTONIC, seconds), and to what."""

    at: float
    status: SessionStatus


class StatusViewer(Extension):
    """Knows whether a session is ready. May be read from any thread.

    ::

    status = fastws.StatusViewer()
    client = fastws.WebSocketClient(uri, extensions=[status])
    ...
    status.is_connected
    """

    name = "status_viewer"
    version = "2.0.0"
    description = "whether a session is ready"

    def __init__(self) -> None:
        self._status = SessionStatus.DISCONNECTED

    @property
    def current_status(self) -> SessionStatus:
        """The status."""
        return self._status

    @property
    def is_connected(self) -> bool:
        """Whether a session is ready."""
        return self._status is SessionStatus.CONNECTED

    def on_connect(self, context: ConnectionContext, /) -> None:
        """A session is ready."""
        self._status = SessionStatus.CONNECTED

    def on_disconnect(self, context: ConnectionContext, reason: DisconnectReason | None, /) -> None:
        """It is over."""
        self._status = SessionStatus.DISCONNECTED

    def on_shutdown(self, context: ConnectionContext, /) -> None:
        """The client has ended."""
        self._status = SessionStatus.DISCONNECTED


class AdvancedStatusViewer(StatusViewer):
    """Knows the same, and since when, how often, and how long in all.

    Args:
        history_limit: Changes that are kept, the oldest are forgotten first.
        clock: Gives seconds that only go forwards.
    """

    name = "advanced_status_viewer"
    description = "whether a session is ready, with history and uptime"

    def __init__(self, history_limit: int = 100, *, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._history: deque[StatusChange] = deque(maxlen=count("history_limit", history_limit, "changes"))
        self._since: float | None = None
        self._before = 0.0
        self._connections = 0

    @property
    def history(self) -> list[StatusChange]:
        """The last changes, oldest first."""
        return list(self._history)

    @property
    def uptime(self) -> float | None:
        """Seconds that the session has been ready by now; None while there is none."""
        since = self._since
        return None if since is None else self._clock() - since

    @property
    def total_uptime(self) -> float:
        """Seconds of all sessions together."""
        return self._before + (self.uptime or 0.0)

    @property
    def connection_count(self) -> int:
        """Sessions so far, forgotten ones too."""
        return self._connections

    def on_connect(self, context: ConnectionContext, /) -> None:
        """A session is ready."""
        super().on_connect(context)
        self._since = self._clock()
        self._connections += 1
        self._history.append(StatusChange(self._since, SessionStatus.CONNECTED))

    def on_disconnect(self, context: ConnectionContext, reason: DisconnectReason | None, /) -> None:
        """It is over."""
        super().on_disconnect(context, reason)
        self._end()

    def on_shutdown(self, context: ConnectionContext, /) -> None:
        """The client has ended."""
        super().on_shutdown(context)
        self._end()

    def _end(self) -> None:
        since, self._since = self._since, None
        if since is not None:
            now = self._clock()
            self._before += now - since
            self._history.append(StatusChange(now, SessionStatus.DISCONNECTED))
