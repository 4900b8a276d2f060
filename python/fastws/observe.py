"""What a client counts."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from ._parts import Parts

__all__ = ["ClientStats", "as_prometheus"]


@dataclass(frozen=True, slots=True)
class ClientStats:
    """Counters of a client since it was made. They only grow, but for the gauges, which say so.

    Attributes:
        attempts: Connections that were tried; one that is scheduled counts already.
        connections: Upgrades that succeeded.
        sessions: Application handshakes that succeeded.
        errors: Attempts and handshakes that failed, and errors that ended sessions.
        outages: Ready sessions that ended before another had taken over, the last one at a shutdown included.
        messages_received: Messages received, those of handshakes included.
        messages_sent: Messages accepted by a connection, those of handshakes included.
        messages_discarded: Messages received and let go, for which there was no room while a connection was closed.
        bytes_received: Bytes received, below TLS.
        bytes_sent: Bytes sent, below TLS.
        messages_unsent: Messages that a session's end left unsent, or maybe sent.
        messages_expired: Messages that expired while they waited.
        messages_failed: Messages that waited and that the connection refused then, such as too large ones.
        messages_dropped: Messages dropped as there was no connection (``on_disconnect_send="drop"``).
        waiting_messages: Gauge: messages that wait for a connection or the rate limit.
        retained_messages: Gauge: messages that the slowest stream has not taken.
        streams: Gauge: streams that are attached.
        ready: Gauge: 1 while a session is ready.
        generation: Gauge: number of the present session, or the last one.

    Connections of a ``Connector`` of one's own, other than ``fastws.Connection``, count messages after the handshake,
    and no bytes.
    """

    attempts: int
    connections: int
    sessions: int
    errors: int
    outages: int
    messages_received: int
    messages_sent: int
    messages_discarded: int
    bytes_received: int
    bytes_sent: int
    messages_unsent: int
    messages_expired: int
    messages_failed: int
    messages_dropped: int
    waiting_messages: int
    retained_messages: int
    streams: int
    ready: int
    generation: int

    def as_prometheus(self, prefix: str = "fastws_client", **labels: str) -> str:
        """The counters in Prometheus' text format, ``prefix_name_total`` each (gauges without ``_total``).

        Those of several clients are to be one text: ``fastws.observe.as_prometheus`` makes it.

        Args:
            prefix: What the names begin with.
            labels: Labels of every sample, such as ``venue="x"``.

        Raises:
            ValueError: The prefix or the name of a label is none in Prometheus.
        """
        return as_prometheus([(self, labels)], prefix)


def as_prometheus(clients: Iterable[tuple[ClientStats, Mapping[str, str]]], prefix: str = "fastws_client") -> str:
    """The counters of several clients as one text in Prometheus' format, which allows each name's ``# TYPE`` once.

    ::

        text = as_prometheus((client.stats(), {"venue": name}) for name, client in clients.items())

    Args:
        clients: What each has counted, with the labels of its samples.
        prefix: What the names begin with.

    Raises:
        ValueError: Two have the same labels, or the prefix or the name of a label is none in Prometheus.
    """
    shown: dict[str, ClientStats] = {}
    for stats, labels in clients:
        key = ",".join(f'{_named(name)}="{_escaped(labels[name])}"' for name in sorted(labels))
        if key in shown:
            raise ValueError(f"two clients have the same labels: {{{key}}}")
        shown[key] = stats
    lines = []
    for field in fields(ClientStats) if shown else ():
        is_gauge = field.name in _GAUGES
        name = f"{_named(prefix, ':')}_{field.name}" + ("" if is_gauge else "_total")
        lines.append(f"# TYPE {name} {'gauge' if is_gauge else 'counter'}\n")
        for key, stats in shown.items():
            lines.append(f"{name}{f'{{{key}}}' if key else ''} {getattr(stats, field.name)}\n")
    return "".join(lines)


class LiveTraffic(NamedTuple):
    """What was counted by connections that are not in the supervisor's state yet."""

    messages_received: int
    messages_sent: int
    messages_discarded: int
    bytes_received: int
    bytes_sent: int


def live_traffic(parts: Parts) -> LiveTraffic:
    """What the open connections of a client have counted, and what connections counted that do not do so themselves."""
    live = [connection.stats() for connection in parts.open]
    return LiveTraffic(
        sum((each.messages_received for each in live), parts.received_otherwise),
        sum((each.messages_sent for each in live), parts.outbox.sent_otherwise),
        sum(each.messages_discarded for each in live),
        sum(each.bytes_received for each in live),
        sum(each.bytes_sent for each in live),
    )


def client_stats(parts: Parts) -> ClientStats:
    """What the sessions of a client have counted by now."""
    state, outbox, ring = parts.supervisor.state, parts.outbox, parts.ring
    live = live_traffic(parts)
    return ClientStats(
        attempts=state.total_attempts,
        connections=state.connections,
        sessions=state.generation,
        errors=state.error_count,
        outages=state.outages,
        messages_received=state.messages_received + live.messages_received,
        messages_sent=state.messages_sent + live.messages_sent,
        messages_discarded=state.messages_discarded + live.messages_discarded,
        bytes_received=state.bytes_received + live.bytes_received,
        bytes_sent=state.bytes_sent + live.bytes_sent,
        messages_unsent=outbox.unsent,
        messages_expired=outbox.expired,
        messages_failed=outbox.failed,
        messages_dropped=outbox.dropped,
        waiting_messages=outbox.waits,
        retained_messages=ring.retained,
        streams=ring.streams,
        ready=int(state.is_connected),
        generation=state.generation,
    )


def _named(name: str, more: str = "") -> str:
    """A name that Prometheus takes."""
    if not re.fullmatch(f"[a-zA-Z_{more}][a-zA-Z0-9_{more}]*", name):
        raise ValueError(f"{name!r} is no name in Prometheus: letters of ASCII, digits and underscores")
    return name


def _escaped(value: object) -> str:
    return str(value).replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


_GAUGES = frozenset({"waiting_messages", "retained_messages", "streams", "ready", "generation"})
