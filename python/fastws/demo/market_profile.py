"""How real market data arrives, in numbers: kinds of message, sizes, gaps and bursts of two recorded sessions.

The numbers are in ``market_profile.json``, as ``python -m fastws.demo.profile_feed`` printed them (that module says
how they are computed) for a Coinbase session (level2, ticker and matches of ten products) and a Kraken session (the
book of ten pairs, 1,000 levels deep), 30 seconds each, from the public sample data of the cryptofeed project.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any

import orjson

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class Quantiles:
    """A distribution, known by its quantiles.

    Attributes:
        probabilities: ascending, from 0 to 1.
        values: the value at each probability.
    """

    probabilities: tuple[float, ...]
    values: tuple[int, ...]

    def at(self, probability: float) -> float:
        """Return the value at ``probability`` (0 to 1), on a straight line between the known ones.

        Only additions, multiplications and divisions: the same result on every machine.
        """
        points = self.probabilities
        high = min(bisect_right(points, probability), len(points) - 1)
        low = high - 1
        share = (probability - points[low]) / (points[high] - points[low])
        return self.values[low] + share * (self.values[high] - self.values[low])


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of message: ``count`` of them, their ``share`` of all, and their ``sizes`` in bytes."""

    count: int
    share: float
    sizes: Quantiles


@dataclass(frozen=True, slots=True)
class Bursts:
    """How messages bunch together; a burst is a run of messages each less than `Profile.burst_us` apart.

    Attributes:
        count: bursts in the session.
        lengths: messages in a burst.
        inside_us: gaps inside a burst, in microseconds.
        between_us: gaps between bursts, in microseconds.
        same_product_inside: probability that the next message is about the same product, inside a burst.
        same_product_between: the same across the gap between two bursts.
    """

    count: int
    lengths: Quantiles
    inside_us: Quantiles
    between_us: Quantiles
    same_product_inside: float
    same_product_between: float


@dataclass(frozen=True, slots=True)
class Session:
    """One measured session, or several pooled.

    Attributes:
        messages: how many were received.
        seconds: from the first to the last.
        bytes: their payload bytes.
        kinds: per kind (``delta``, ``snapshot``, ``trade``, ``ticker``, ``heartbeat``, ``subscription``, ``status``).
        gaps_us: time between one message and the next, in microseconds.
        bursts: how messages bunch together.
        products: each product's share of the messages, largest first.
        deletions: share of book changes that remove a level.
    """

    messages: int
    seconds: float
    bytes: int
    kinds: Mapping[str, Kind]
    gaps_us: Quantiles
    bursts: Bursts
    products: tuple[float, ...]
    deletions: float


@dataclass(frozen=True, slots=True)
class Profile:
    """The measured ``sessions`` by name, all of them ``pooled``, and what counts as one burst (microseconds)."""

    sessions: Mapping[str, Session]
    pooled: Session
    burst_us: int


@cache
def recorded() -> Profile:
    """Return the numbers that come with the package."""
    return parse(orjson.loads(resources.files(__package__).joinpath("market_profile.json").read_bytes()))


def parse(numbers: dict[str, Any]) -> Profile:
    """Turn what `fastws.demo.profile_feed.profile` measured into a `Profile`."""
    points = tuple(numbers["probabilities"])
    return Profile(
        sessions={name: _session(points, session) for name, session in numbers["sessions"].items()},
        pooled=_session(points, numbers["pooled"]),
        burst_us=numbers["burst_us"],
    )


def _session(points: tuple[float, ...], numbers: dict[str, Any]) -> Session:
    bursts = numbers["bursts"]
    return Session(
        messages=numbers["messages"],
        seconds=numbers["seconds"],
        bytes=numbers["bytes"],
        kinds={
            name: Kind(kind["count"], kind["share"], Quantiles(points, tuple(kind["sizes"])))
            for name, kind in numbers["kinds"].items()
        },
        gaps_us=Quantiles(points, tuple(numbers["gaps_us"])),
        bursts=Bursts(
            count=bursts["count"],
            lengths=Quantiles(points, tuple(bursts["lengths"])),
            inside_us=Quantiles(points, tuple(bursts["inside_us"])),
            between_us=Quantiles(points, tuple(bursts["between_us"])),
            same_product_inside=bursts["same_product_inside"],
            same_product_between=bursts["same_product_between"],
        ),
        products=tuple(numbers["products"]),
        deletions=numbers["deletions"],
    )
