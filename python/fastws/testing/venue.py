"""A venue: a feed on one clock for everybody, tokens, subscriptions, snapshots, and faults on a schedule."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from fastws import _core

__all__ = [
    "CloseAt",
    "CutAt",
    "DropAt",
    "ExpireAt",
    "RefuseAt",
    "ResetAt",
    "SilenceAt",
    "Venue",
    "VenueFault",
    "VenueReport",
    "VenueSession",
    "VenueSubscription",
]


@dataclass(frozen=True, slots=True)
class ResetAt:
    """Reset (RST) every session."""

    at: float


@dataclass(frozen=True, slots=True)
class SilenceAt:
    """Say nothing to the sessions that are open then, not even pongs, for so many seconds.

    What is due meanwhile is missed by them. Sessions that begin during the silence are healthy.
    """

    at: float
    seconds: float


@dataclass(frozen=True, slots=True)
class CloseAt:
    """Close every session with this code and reason."""

    at: float
    code: int = 1012
    reason: str = ""


@dataclass(frozen=True, slots=True)
class RefuseAt:
    """Refuse upgrades for so many seconds; ``retry_after`` (seconds, None for none) is told to who asks."""

    at: float
    seconds: float
    status: int = 503
    retry_after: int | None = 1


@dataclass(frozen=True, slots=True)
class ExpireAt:
    """Make the tokens that were used so far invalid, and close their sessions with this code."""

    at: float
    code: int = 4401


@dataclass(frozen=True, slots=True)
class CutAt:
    """Read and write nothing for so many seconds, and answer no upgrade; then everything arrives, late."""

    at: float
    seconds: float


@dataclass(frozen=True, slots=True)
class DropAt:
    """Send so many messages of the feed, from the next one due, to nobody: a gap in its sequence."""

    at: float
    count: int


VenueFault = ResetAt | SilenceAt | CloseAt | RefuseAt | ExpireAt | CutAt | DropAt
"""A fault. ``at`` is in seconds of the venue's clock, which runs in real time whatever the speed of the feed."""


@dataclass(frozen=True, slots=True)
class VenueSubscription:
    """What a session subscribed to: the messages of ``channel`` from index ``first`` on, up to before ``end``."""

    channel: str
    at_ns: int
    first: int
    end: int | None


@dataclass(frozen=True, slots=True)
class VenueSession:
    """One connection of a venue. Times are CLOCK_MONOTONIC, in nanoseconds.

    Attributes:
        connection_id: Its ``ConnectionReport.id``.
        began_ns: When it was accepted.
        authenticated_ns: When its token was accepted, None if none was; where none is demanded, when it began.
        refused_tokens: Tokens that were wrong or had expired.
        subscribed: Its subscriptions, in order.
        snapshots: Requests for a snapshot that were answered.
        written: Messages of the feed that were wholly given to the kernel (over TLS: to the TLS layer).
        segments: The parts of the feed, as ranges of indexes, that it was played; it missed what is between them.
        faults: The faults that it suffered: ``"reset"``, ``"silence"``, ``"close"``, ``"expire"``, ``"cut"``.
        ended_ns: When it was over; None while it is not.
        ended_by: ``"reset"`` and ``"close"`` by the venue, ``"client"`` by the client in whatever way.
        close_code: The code of the venue's Close.
    """

    connection_id: int
    began_ns: int
    authenticated_ns: int | None
    refused_tokens: int
    subscribed: tuple[VenueSubscription, ...]
    snapshots: int
    written: int
    segments: tuple[range, ...]
    faults: tuple[str, ...]
    ended_ns: int | None
    ended_by: Literal["reset", "close", "client"] | None
    close_code: int | None

    @property
    def first_index(self) -> int | None:
        """Index of the first message of the feed that was written; None if none was."""
        return self.segments[0].start if self.segments else None


@dataclass(frozen=True, slots=True)
class VenueReport:
    """What a venue saw so far. Times are CLOCK_MONOTONIC, in nanoseconds.

    Attributes:
        started_ns: When its clock was started; None if it was not.
        position: Messages of the feed that have been due.
        dropped: Messages that ``DropAt`` keeps from everybody, as ranges of indexes.
        accepted: Upgrades accepted.
        refused: Upgrades refused.
        accepted_ns: When the first 65,536 of those accepted were requested.
        refused_ns: When the first 65,536 of those refused were requested.
        sessions: The latest 20,000 sessions, in order.
    """

    started_ns: int | None
    position: int
    dropped: tuple[range, ...]
    accepted: int
    refused: int
    accepted_ns: tuple[int, ...]
    refused_ns: tuple[int, ...]
    sessions: tuple[VenueSession, ...]


class Venue:
    """A path of the embedded server that behaves as an exchange; made by ``Server.add_venue``."""

    def __init__(self, venue: _core.TestVenue, url: str, channels: Sequence[str | None]) -> None:
        self._native: Final = venue
        self._channels: Final = channels
        self.url: Final = url

    def start(self) -> None:
        """Starts the clock, unless it runs."""
        self._native.start()

    @property
    def started_ns(self) -> int | None:
        """When the clock was started: CLOCK_MONOTONIC, nanoseconds; None if it was not."""
        return self._native.started_ns

    @property
    def position(self) -> int:
        """How many messages of the feed have been due."""
        return self._native.position

    def report(self) -> VenueReport:
        """What it saw so far."""
        report = self._native.report()
        sessions = []
        for fields in report["sessions"]:
            fields["subscribed"] = tuple(VenueSubscription(*entry) for entry in fields["subscribed"])
            fields["segments"] = tuple(range(*ends) for ends in fields["segments"])
            sessions.append(VenueSession(**fields))
        report["sessions"] = tuple(sessions)
        report["dropped"] = tuple(range(*ends) for ends in report["dropped"] if ends[0] < ends[1])
        for name in ("accepted_ns", "refused_ns"):
            report[name] = tuple(report[name])
        return VenueReport(**report)

    def indexes(self, session: VenueSession) -> list[int]:
        """Which messages of the feed ``session`` was sent, in order: ``session.written`` indexes."""
        dropped = self.report().dropped
        wanted: dict[str | None, list[range]] = {None: []}
        for entry in session.subscribed:
            span = range(entry.first, sys.maxsize if entry.end is None else entry.end)
            wanted.setdefault(entry.channel, []).append(span)
            wanted[None].append(span)
        return [
            index
            for segment in session.segments
            for index in segment
            if any(index in span for span in wanted.get(self._channels[index] if self._channels else None, ()))
            and not any(index in gap for gap in dropped)
        ]

    def __repr__(self) -> str:
        return f"<fastws.testing.Venue {self.url}>"


def options(
    feed: str,
    speed: float,
    tokens: Iterable[str],
    channels: Iterable[str | None] | None,
    snapshots: Mapping[str, Iterable[tuple[int, str | bytes]]] | None,
    faults: Iterable[VenueFault],
    autostart: bool,
) -> dict[str, Any]:
    """The arguments of ``Server.add_venue`` as the native server takes them; raises ValueError naming what is wrong."""
    if not (speed > 0 and math.isfinite(speed)):
        raise ValueError(f"speed must be above 0, not {speed!r}")
    if isinstance(tokens, str):
        raise TypeError("tokens is a list of str, not a str")
    return {
        "feed": feed,
        "speed": float(speed),
        "tokens": list(tokens),
        "channels": list(channels or ()),
        "snapshots": {
            channel: [(index, _object(payload)) for index, payload in table]
            for channel, table in (snapshots or {}).items()
        },
        "faults": [_native(fault) for fault in faults],
        "autostart": autostart,
    }


def _native(fault: VenueFault) -> tuple[Any, ...]:
    """A fault as the native server takes it: its name, when, then its values in order."""
    for name in ("at", "seconds"):
        value = getattr(fault, name, 0)
        if not (value >= 0 and math.isfinite(value)):
            raise ValueError(f"{name} must be zero or more seconds, not {value!r}, in {fault!r}")
    match fault:
        case ResetAt(at):
            return "reset", at
        case SilenceAt(at, seconds):
            return "silence", at, seconds
        case CloseAt(at, code, reason):
            return "close", at, code, reason
        case RefuseAt(at, seconds, status, retry_after):
            return "refuse", at, seconds, status, retry_after
        case ExpireAt(at, code):
            return "expire", at, code
        case CutAt(at, seconds):
            return "cut", at, seconds
        case DropAt(at, count):
            return "drop", at, count
    raise TypeError(f"{fault!r} is not a fault of a venue")


def _object(payload: str | bytes) -> bytes:
    """A snapshot's payload: an id is put into it, so it must be a JSON object."""
    data = payload.encode() if isinstance(payload, str) else bytes(payload)
    if not (data.strip().startswith(b"{") and data.strip().endswith(b"}")):
        raise ValueError("a snapshot is a JSON object")
    return data
