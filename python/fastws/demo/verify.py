"""Comparing what arrived with what was sent: by a running digest, and message by message."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from fastws.demo.feed import FeedDigest

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a comparison found.

    Attributes:
        expected: messages in the source.
        received: messages that arrived.
        bytes: payload bytes that arrived.
        expected_hash: digest of the source.
        received_hash: digest of what arrived.
        lost: messages of the source that did not arrive in their place.
        out_of_place: messages that arrived twice, too late, or changed.
        first_difference: index (from 0) of the first message that is not the source's; None when all are.
        difference: what is different there, in words; empty when nothing is.
    """

    expected: int
    received: int
    bytes: int
    expected_hash: str
    received_hash: str
    lost: int
    out_of_place: int
    first_difference: int | None
    difference: str

    @property
    def hash_equal(self) -> bool:
        """Whether the two digests are the same."""
        return self.expected_hash == self.received_hash

    @property
    def in_order(self) -> bool:
        """Whether everything that arrived came in the order of the source."""
        return not self.out_of_place

    @property
    def equal(self) -> bool:
        """Whether exactly the messages of the source arrived, in its order."""
        return self.hash_equal and self.first_difference is None and self.received == self.expected


class FeedCheck:
    """Follows a session and compares it with its source, about as fast as memory can be compared.

    Batches are compared as whole lists. Once a message differs, the rest is matched one by one: a message found further
    on in the source means that those before it were lost; one not found is out of place.
    """

    __slots__ = ("_difference", "_digest", "_expected", "_first", "_matched", "_out_of_place", "_places", "_position")

    def __init__(self, expected: Sequence[str | bytes]) -> None:
        self._expected: Final = list(expected)
        self._digest: Final = FeedDigest()
        self._position = 0  # of the message of the source that comes next
        self._matched = 0
        self._out_of_place = 0
        self._first: int | None = None
        self._difference = ""
        self._places: dict[str | bytes, list[int]] = {}  # filled at the first difference

    @property
    def received(self) -> int:
        """Messages so far."""
        return self._digest.count

    @property
    def size(self) -> int:
        """Payload bytes so far."""
        return self._digest.bytes

    def add(self, batch: list[str | bytes]) -> None:
        """Take the next messages that arrived, in order."""
        before = self._digest.count
        self._digest.update(batch)
        end = self._position + len(batch)
        if self._first is None and batch == self._expected[self._position : end]:
            self._position = end
            self._matched += len(batch)
            return
        for index, message in enumerate(batch, before):
            self._match(index, message)

    def verdict(self, *, ended: bool = True) -> Verdict:
        """Sum up.

        Args:
            ended: True: messages that have not arrived by now are lost. False: the session was cut short by us, so
                what arrived is compared with that much of the source.
        """
        source = FeedDigest()
        source.update(self._expected if ended else self._expected[: self._digest.count])
        first, difference = self._first, self._difference
        missing = len(self._expected) - self._digest.count
        if first is None and missing and ended:
            first, difference = self._digest.count, f"the session ended {missing:,} messages early"
        return Verdict(
            expected=len(self._expected),
            received=self._digest.count,
            bytes=self._digest.bytes,
            expected_hash=source.hexdigest(),
            received_hash=self._digest.hexdigest(),
            lost=max(source.count - self._matched, 0),
            out_of_place=self._out_of_place,
            first_difference=first,
            difference=difference,
        )

    def _match(self, index: int, message: str | bytes) -> None:
        expected, position = self._expected, self._position
        if position < len(expected) and message == expected[position]:
            self._position += 1
            self._matched += 1
            return
        if self._first is None:
            for place, known in enumerate(expected):
                self._places.setdefault(known, []).append(place)
        places = self._places.get(message, [])
        later = bisect_left(places, position)
        if self._first is None:
            self._first = index
            self._difference = self._in_words(message, places, later)
        if later < len(places):
            self._position = places[later] + 1
            self._matched += 1
        else:
            self._out_of_place += 1

    def _in_words(self, message: str | bytes, places: list[int], later: int) -> str:
        position = self._position
        if later < len(places):
            return f"the source's message {places[later]:,} came in its place"
        if places:
            return f"the source's message {places[-1]:,} came again"
        what = "a text message" if isinstance(message, str) else "a binary message"
        if position >= len(self._expected):
            return f"{what} of length {len(message):,} came after the end of the source"
        return f"{what} of length {len(message):,} came that the source does not have"
