"""What stands between the messages of a stream with ``markers=True``."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass

__all__ = ["Gap"]


@dataclass(frozen=True, slots=True)
class Gap:
    """Messages of a numbered sequence are missing here.

    Attributes:
        key: The sequence, such as an instrument.
        expected: The number that should have come.
        got: The number that came.
        generation: The generation of the message that came.
        received_ns: When that was received: CLOCK_REALTIME, nanoseconds.
    """

    key: Hashable
    expected: int
    got: int
    generation: int = 0
    received_ns: int = 0
