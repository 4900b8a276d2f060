"""What handshakers and extensions know about the session they work in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Self

__all__ = ["ConnectionContext"]


@dataclass(slots=True)
class ConnectionContext:
    """One session of a client. All its handshakers and extensions share one: what one puts in, the others find.

    Attributes:
        connection_id: Counts upgrades, from 1; it never restarts.
        reconnect_count: Connections made after the first, by now.
        attempt: Consecutive dials since the start or the last stable session; this session's is the last of them.
        metadata: Whatever they want to tell each other, such as a session token. May hold secrets: ``repr`` shows the
            names only.
    """

    connection_id: int
    reconnect_count: int = 0
    attempt: int = 1
    metadata: dict[str, Any] = field(default_factory=dict)

    @property
    def is_reconnection(self) -> bool:
        """Whether the client was connected before."""
        return self.reconnect_count > 0

    def with_reconnect_count(self, reconnect_count: int) -> Self:
        """A copy with another ``reconnect_count``; the metadata is copied too."""
        return replace(self, reconnect_count=reconnect_count, metadata=dict(self.metadata))

    def with_attempt(self, attempt: int) -> Self:
        """A copy with another ``attempt``; the metadata is copied too."""
        return replace(self, attempt=attempt, metadata=dict(self.metadata))

    def with_metadata(self, metadata: Mapping[str, Any] | None = None, /, **more: Any) -> Self:
        """A copy with more metadata."""
        return replace(self, metadata={**self.metadata, **(metadata or {}), **more})

    def put_metadata(self, name: str, value: Any) -> None:
        """Sets one item for everybody who shares this context."""
        self.metadata[name] = value

    def get_metadata(self, name: str, default: Any = None) -> Any:
        """One item, or ``default``."""
        return self.metadata.get(name, default)

    def update(self, connection_id: int, reconnect_count: int, attempt: int = 1) -> None:
        """Makes this the context of another connection; the metadata stays."""
        self.connection_id = connection_id
        self.reconnect_count = reconnect_count
        self.attempt = attempt

    def __repr__(self) -> str:
        return (
            f"ConnectionContext(connection_id={self.connection_id}, reconnect_count={self.reconnect_count}, "
            f"attempt={self.attempt}, metadata={sorted(self.metadata)})"
        )
