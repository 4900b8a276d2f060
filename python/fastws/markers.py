"""What a stream with ``markers=True`` gives besides messages: what happened between them, at its exact place.

A marker is put behind everything that was received before it. Streams without markers count what they pass:
``stream.outages``, ``stream.last_outage`` and ``stream.dropped``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

__all__ = ["Down", "Dropped", "Gap", "Marker", "Outage"]


class Marker:
    """Base of all markers."""

    __slots__ = ()

    is_outage: ClassVar[bool] = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Down(Marker):
    """The session is over; it comes right after its last message.

    Attributes:
        generation: The session that ended.
        last_received_ns: When its last message was received: CLOCK_REALTIME, nanoseconds; 0 if it had none.
        detected_ns: When its end was noticed: CLOCK_REALTIME, nanoseconds.
        reason: Why it ended.
    """

    generation: int
    last_received_ns: int
    detected_ns: int
    reason: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Outage(Marker):
    """There was no session for a while; it comes right before the first message of the new one, even if none follows.

    Attributes:
        from_ns: When the last message before it was received: CLOCK_REALTIME, nanoseconds; 0 if the old session had
            none.
        detected_ns: When the end of the old session was noticed: CLOCK_REALTIME, nanoseconds.
        to_ns: When the new session became Ready: CLOCK_REALTIME, nanoseconds.
        reason: Why the old session ended.
        old_generation: The session before it.
        new_generation: The session after it.
        attempts: Dials that it took.
        unrestored: Keys of the subscriptions that the server has not confirmed again.
    """

    is_outage: ClassVar[bool] = True

    from_ns: int
    detected_ns: int
    to_ns: int
    reason: Any
    old_generation: int
    new_generation: int
    attempts: int
    unrestored: tuple[Any, ...] = ()


@dataclass(frozen=True, slots=True)
class Gap(Marker):
    """The venue's own numbering has a hole: messages are missing that were never received.

    Attributes:
        key: What is numbered, such as a product or a channel; None if all messages are.
        expected: The number that was due.
        got: The number that came.
        seq: The client's number of the message that has it; 0 if that is not known.
        generation: The session in which it was noticed.
        received_ns: When that message was received: CLOCK_REALTIME, nanoseconds.
    """

    key: Any
    expected: int
    got: int
    seq: int = 0
    generation: int = 0
    received_ns: int = 0

    @property
    def missing(self) -> int:
        """How many messages are missing; less than one where the numbers went back."""
        return self.got - self.expected


@dataclass(frozen=True, slots=True, kw_only=True)
class Dropped(Marker):
    """This stream was read too slowly, and as its policy is ``"drop_oldest"`` it lost messages here.

    Attributes:
        count: How many.
        first_seq: The number of the first of them.
        last_seq: The number of the last one.
        generation: The session that they came in.
    """

    count: int
    first_seq: int
    last_seq: int
    generation: int
