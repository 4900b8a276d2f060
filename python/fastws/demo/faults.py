"""What goes wrong in the third phase, and when; and how long a client that has it in view should wait for things."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from fastws.testing import CloseAt, ExpireAt, RefuseAt, ResetAt, SilenceAt

if TYPE_CHECKING:
    from fastws.testing import VenueFault

SECONDS: Final = 12.0
"""How long the phase takes unless asked otherwise."""

_SHORTEST_SILENCE: Final = 0.3  # a busy machine is silent for a while, too


@dataclass(frozen=True, slots=True)
class FaultPlan:
    """The schedule of a phase that takes ``seconds``: all its times are shares of that.

    A reset, a silence that is longer than the client's patience, a Close 1012 with the venue refusing everybody for a
    while after it, and a token that expires.
    """

    seconds: float = SECONDS

    @property
    def faults(self) -> list[VenueFault]:
        """The faults in the order of their times."""
        at = self.seconds
        return [
            ResetAt(at * 0.13),
            SilenceAt(at * 0.30, max(at * 0.22, self.receive_timeout + 0.15)),
            CloseAt(at * 0.58, 1012, "service restart"),
            RefuseAt(at * 0.58, at * 0.05, retry_after=1),
            ExpireAt(at * 0.80),
        ]

    @property
    def labels(self) -> list[tuple[float, str]]:
        """When each fault begins, and what it is in words."""
        return [(fault.at, _words(fault)) for fault in self.faults]

    @property
    def outages(self) -> int:
        """How many sessions it ends."""
        return sum(not isinstance(fault, RefuseAt) for fault in self.faults)

    @property
    def tokens(self) -> list[str]:
        """Tokens enough for everybody who gets a new one when one expires."""
        return [f"demo-token-{number}" for number in range(1, 9)]

    @property
    def receive_timeout(self) -> float:
        """Seconds of silence after which the client leaves."""
        return max(self.seconds * 0.055, _SHORTEST_SILENCE)

    @property
    def first_delay(self) -> float:
        """Seconds before the first new dial."""
        return self.seconds * 0.018

    @property
    def longest_delay(self) -> float:
        """Seconds between two dials at most; a Retry-After counts up to this."""
        return self.seconds * 0.085

    @property
    def snapshot_every(self) -> float:
        """Seconds between two snapshots of a book, as the venue keeps them."""
        return self.seconds * 0.007


def _words(fault: VenueFault) -> str:
    match fault:
        case ResetAt():
            return "the venue resets the connection"
        case SilenceAt(_, seconds):
            return f"the venue falls silent for {seconds:.2g} s"
        case CloseAt(_, code, reason):
            return f"the venue closes with {code} ({reason})"
        case RefuseAt(_, seconds, status, retry_after):
            return f"the venue answers {status}, Retry-After {retry_after}, for {seconds:.2g} s"
        case ExpireAt(_, code):
            return f"the token expires: {code}"
    return type(fault).__name__
