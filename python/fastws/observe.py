"""What a client counts."""

from __future__ import annotations

from dataclasses import dataclass, fields

__all__ = ["ClientStats"]


@dataclass(frozen=True, slots=True)
class ClientStats:
    """Counters of a client since it was made. They only grow, but for the gauges, which say so.

    Attributes:
        attempts: Connections that were tried.
        connections: Upgrades that succeeded.
        sessions: Application handshakes that succeeded.
        errors: Attempts and handshakes that failed.
        outages: Ready sessions that ended.
        messages_received: Messages received.
        messages_sent: Messages accepted by a connection.
        bytes_received: Bytes received, below TLS.
        bytes_sent: Bytes sent, below TLS.
        messages_unsent: Messages that a session's end left unsent, or maybe sent.
        messages_expired: Messages that expired while they waited.
        messages_dropped: Messages dropped as there was no connection (``on_disconnect_send="drop"``).
        waiting_messages: Gauge: messages that wait for a connection or the rate limit.
        retained_messages: Gauge: messages that the slowest stream has not taken.
        streams: Gauge: streams that are attached.
        ready: Gauge: 1 while a session is ready.
        generation: Gauge: number of the present session, or the last one.
    """

    attempts: int
    connections: int
    sessions: int
    errors: int
    outages: int
    messages_received: int
    messages_sent: int
    bytes_received: int
    bytes_sent: int
    messages_unsent: int
    messages_expired: int
    messages_dropped: int
    waiting_messages: int
    retained_messages: int
    streams: int
    ready: int
    generation: int

    def as_prometheus(self, prefix: str = "fastws_client", **labels: str) -> str:
        """The counters in Prometheus' text format, ``prefix_name_total`` each (gauges without ``_total``).

        Args:
            prefix: What the names begin with.
            labels: Labels of every sample, such as ``venue="x"``.
        """
        shown = ",".join(f'{name}="{_escaped(value)}"' for name, value in labels.items())
        shown = f"{{{shown}}}" if shown else ""
        lines = []
        for field in fields(self):
            is_gauge = field.name in _GAUGES
            name = f"{prefix}_{field.name}" + ("" if is_gauge else "_total")
            lines.append(f"# TYPE {name} {'gauge' if is_gauge else 'counter'}")
            lines.append(f"{name}{shown} {getattr(self, field.name)}")
        return "\n".join(lines) + "\n"


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


_GAUGES = frozenset({"waiting_messages", "retained_messages", "streams", "ready", "generation"})
