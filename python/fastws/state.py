"""The state of a client: which there are, what may follow what, and what is counted on the way."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from .events import DisconnectReason

__all__ = ["TRANSITIONS", "ConnectionSnapshot", "ConnectionState", "Status", "Traffic"]


class Status(StrEnum):
    """What a client is doing."""

    DISCONNECTED = "disconnected"
    """Nothing: it has not been started, it has ended, or a session has just ended."""
    CONNECTING = "connecting"
    """The first dial since the start, or the wait behind it."""
    CONNECTED = "connected"
    """The upgrade is done, the application's handshake runs."""
    READY = "ready"
    """The application's handshake is done: messages can be sent."""
    RECONNECTING = "reconnecting"
    """A later dial, or the wait behind it."""
    SHUTTING_DOWN = "shutting_down"
    """Shutdown was asked for; the Close and what is queued are on their way."""


TRANSITIONS: dict[Status, frozenset[Status]] = {
    Status.DISCONNECTED: frozenset({Status.CONNECTING, Status.RECONNECTING, Status.SHUTTING_DOWN}),
    Status.CONNECTING: frozenset(
        {Status.RECONNECTING, Status.CONNECTED, Status.DISCONNECTED, Status.SHUTTING_DOWN},
    ),
    Status.RECONNECTING: frozenset(
        {Status.RECONNECTING, Status.CONNECTED, Status.DISCONNECTED, Status.SHUTTING_DOWN},
    ),
    Status.CONNECTED: frozenset({Status.READY, Status.DISCONNECTED, Status.SHUTTING_DOWN}),
    # From READY to READY: another connection takes over before this one ends (rotation).
    Status.READY: frozenset({Status.READY, Status.DISCONNECTED, Status.SHUTTING_DOWN}),
    # Nothing but its end stops a shutdown; asking twice is no mistake.
    Status.SHUTTING_DOWN: frozenset({Status.SHUTTING_DOWN, Status.DISCONNECTED}),
}
"""What may follow what: the only table of it."""


class Traffic(Protocol):
    """Counters of a connection, as ``fastws.ConnectionStats`` has them."""

    @property
    def messages_received(self) -> int:
        """Messages from the peer."""

    @property
    def messages_sent(self) -> int:
        """Messages to the peer."""

    @property
    def messages_discarded(self) -> int:
        """Messages for which there was no room while it was closed."""

    @property
    def bytes_received(self) -> int:
        """Bytes read."""

    @property
    def bytes_sent(self) -> int:
        """Bytes written."""


@dataclass(frozen=True, slots=True)
class ConnectionSnapshot:
    """The state of a client at one moment. Times are seconds of the monotonic clock (``time.monotonic``).

    Attributes:
        status: What it is doing.
        id: Of the connection, the current or the last one; counts upgrades, from 1. 0 before the first.
        generation: Of the session, the current or the last one; counts those that got Ready, from 1. 0 before.
        connected_at: When the upgrade was done; None without a connection.
        ready_at: When it got Ready; None if it is not.
        last_activity: When something came from the peer last; None before.
        connection_duration: Seconds since ``connected_at``; None without a connection.
        reconnect_count: Connections made after the first.
        attempts: Consecutive dials since the start or the last stable session.
        total_attempts: All dials.
        error_count: Dials and handshakes that failed, and errors that ended sessions.
        last_error: The last of them.
        last_disconnect: Why the last session ended.
        messages_received, messages_sent: Of all connections.
        bytes_received, bytes_sent: Of all connections, on the wire.
        changed_ns: When ``status`` became what it is: CLOCK_REALTIME, nanoseconds.
        taken_at: When this was taken.
    """

    status: Status
    id: int
    generation: int
    connected_at: float | None
    ready_at: float | None
    last_activity: float | None
    connection_duration: float | None
    reconnect_count: int
    attempts: int
    total_attempts: int
    error_count: int
    last_error: BaseException | None
    last_disconnect: DisconnectReason | None
    messages_received: int
    messages_sent: int
    bytes_received: int
    bytes_sent: int
    changed_ns: int
    taken_at: float

    @property
    def is_connected(self) -> bool:
        """Whether it is Ready; in the model, which has no such state, already before the application's handshake."""
        return self.status is Status.READY

    def uptime_ratio(self, since: float) -> float:
        """The share of the time from ``since`` to ``taken_at`` that the current connection has been up, from 0 to 1."""
        span = self.taken_at - since
        if self.connected_at is None or span <= 0:
            return 0.0
        return min(1.0, (self.taken_at - max(self.connected_at, since)) / span)


class ConnectionState:
    """The mutable state behind the snapshots. Each change is checked against ``TRANSITIONS``.

    Args:
        clock: Monotonic seconds.
        wall: CLOCK_REALTIME in nanoseconds.

    The methods ``mark_…`` raise RuntimeError, which names both states, if the one may not follow the other.
    """

    __slots__ = (
        "_clock",
        "_connections",
        "_last_id",
        "_wall",
        "attempts",
        "bytes_received",
        "bytes_sent",
        "changed_ns",
        "connected_at",
        "error_count",
        "generation",
        "id",
        "last_activity",
        "last_disconnect",
        "last_error",
        "messages_discarded",
        "messages_received",
        "messages_sent",
        "outages",
        "ready_at",
        "status",
        "total_attempts",
    )

    def __init__(self, clock: Callable[[], float] = time.monotonic, wall: Callable[[], int] = time.time_ns) -> None:
        self._clock = clock
        self._wall = wall
        self._last_id = 0
        self.id = 0
        self.generation = 0
        self.reset()

    def reset(self) -> None:
        """Makes everything as new but ``id`` and ``generation``, which never restart."""
        self.status = Status.DISCONNECTED
        self.changed_ns = self._wall()
        self.connected_at: float | None = None
        self.ready_at: float | None = None
        self.last_activity: float | None = None
        self.attempts = 0
        self.total_attempts = 0
        self.error_count = 0
        self.last_error: BaseException | None = None
        self.last_disconnect: DisconnectReason | None = None
        self.messages_received = 0
        self.messages_sent = 0
        self.messages_discarded = 0
        self.bytes_received = 0
        self.bytes_sent = 0
        self.outages = 0
        self._connections = 0

    def mark_connecting(self, attempt: int | None = None) -> None:
        """The first dial begins; ``attempt`` as ``RetryBudget`` counts them, one more than before if it is left out."""
        self._become(Status.CONNECTING)
        self._dials(attempt)

    def mark_reconnecting(self, attempt: int | None = None) -> None:
        """A later dial begins, or the wait before it."""
        self._become(Status.RECONNECTING)
        self._dials(attempt)

    def mark_connected(self) -> int:
        """The upgrade is done. Returns the ``id`` of the connection."""
        self._become(Status.CONNECTED)
        self._takes(self.reserve_id())
        return self.id

    def mark_ready(self) -> int:
        """The application's handshake is done. Returns the ``generation`` of the session."""
        if self.status is not Status.CONNECTED:
            raise self._wrong(Status.READY)
        self._become(Status.READY)
        self.generation += 1
        self.ready_at = self._clock()
        return self.generation

    def reserve_id(self) -> int:
        """An ``id`` for a connection that will take over from the current one (``mark_replaced``), if it gets Ready."""
        self._last_id += 1
        return self._last_id

    def mark_dialling_beside(self) -> None:
        """A dial for a connection that may take over: it counts, but not among the consecutive ones (``attempts``)."""
        self.total_attempts += 1

    def mark_replaced(self, connection_id: int) -> int:
        """Another connection, which is Ready, takes over from a Ready one. Returns the new ``generation``."""
        if self.status is not Status.READY:
            raise self._wrong(Status.READY)
        self._become(Status.READY)
        self._takes(connection_id)
        self.generation += 1
        self.ready_at = self.connected_at
        return self.generation

    def mark_disconnected(self, reason: DisconnectReason) -> None:
        """The connection has ended, or no dial will follow the one that failed."""
        self._become(Status.DISCONNECTED)
        if self.ready_at is not None:
            self.outages += 1
        self.last_disconnect = reason
        self.connected_at = self.ready_at = None

    def mark_shutting_down(self) -> None:
        """Shutdown was asked for. The connection, if there is one, is still up."""
        self._become(Status.SHUTTING_DOWN)

    def mark_stable(self) -> None:
        """The session counts as stable: ``attempts`` begins again."""
        self.attempts = 0

    def record_error(self, error: BaseException) -> None:
        """Something failed."""
        self.error_count += 1
        self.last_error = error

    def update_activity(self, at: float | None = None) -> None:
        """Something came from the peer: at that time, by the same clock, or now."""
        self.last_activity = self._clock() if at is None else at

    def count(self, traffic: Traffic) -> None:
        """Adds the counters of a connection that has ended."""
        self.messages_received += traffic.messages_received
        self.messages_sent += traffic.messages_sent
        self.messages_discarded += traffic.messages_discarded
        self.bytes_received += traffic.bytes_received
        self.bytes_sent += traffic.bytes_sent

    @property
    def is_connected(self) -> bool:
        """Whether the client is Ready."""
        return self.status is Status.READY

    @property
    def is_shutdown_requested(self) -> bool:
        """Whether shutdown was asked for and is not over."""
        return self.status is Status.SHUTTING_DOWN

    @property
    def connections(self) -> int:
        """Connections made."""
        return self._connections

    @property
    def reconnect_count(self) -> int:
        """Connections made after the first."""
        return max(0, self._connections - 1)

    def is_healthy(self, timeout: float | None) -> bool:
        """Whether the client is Ready and something came from the peer less than ``timeout`` seconds ago."""
        if self.status is not Status.READY:
            return False
        assert self.last_activity is not None
        return timeout is None or self._clock() - self.last_activity < timeout

    def snapshot(self, live: Traffic | None = None) -> ConnectionSnapshot:
        """All of it at this moment; ``live`` are the counters of the current connection."""
        now = self._clock()
        return ConnectionSnapshot(
            status=self.status,
            id=self.id,
            generation=self.generation,
            connected_at=self.connected_at,
            ready_at=self.ready_at,
            last_activity=self.last_activity,
            connection_duration=None if self.connected_at is None else now - self.connected_at,
            reconnect_count=self.reconnect_count,
            attempts=self.attempts,
            total_attempts=self.total_attempts,
            error_count=self.error_count,
            last_error=self.last_error,
            last_disconnect=self.last_disconnect,
            messages_received=self.messages_received + (live.messages_received if live is not None else 0),
            messages_sent=self.messages_sent + (live.messages_sent if live is not None else 0),
            bytes_received=self.bytes_received + (live.bytes_received if live is not None else 0),
            bytes_sent=self.bytes_sent + (live.bytes_sent if live is not None else 0),
            changed_ns=self.changed_ns,
            taken_at=now,
        )

    def _become(self, status: Status) -> None:
        if status not in TRANSITIONS[self.status]:
            raise self._wrong(status)
        if status is not self.status:
            self.status = status
            self.changed_ns = self._wall()

    def _wrong(self, status: Status) -> RuntimeError:
        return RuntimeError(f"a client that is {self.status} cannot become {status}")

    def _dials(self, attempt: int | None) -> None:
        self.attempts = self.attempts + 1 if attempt is None else attempt
        self.total_attempts += 1

    def _takes(self, connection_id: int) -> None:
        self.id = connection_id
        self._connections += 1
        self.connected_at = self.last_activity = self._clock()
        self.ready_at = None
