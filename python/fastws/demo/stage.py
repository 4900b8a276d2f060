"""What the phase with faults plays: the feed by channels, at a speed of its own, and snapshots of its books."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from fastws.demo.channels import channel_of, decode
from fastws.demo.orders import ClientBooks, products, snapshot_table

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from fastws.demo.faults import FaultPlan
    from fastws.demo.play import Feed


@dataclass(frozen=True, slots=True)
class Stage:
    """A feed made ready for a venue.

    Attributes:
        feed: what is played.
        plan: what goes wrong.
        speed: at how many times its speed.
        tags: the channel of each message; None for one that goes to everybody.
        channels: all channels, in the order in which they are subscribed to.
        snapshots: for each channel what its snapshot is after so many messages.
        truth: the books at the end of the feed; None where there are none.
    """

    feed: Feed
    plan: FaultPlan
    speed: float
    tags: Sequence[str | None]
    channels: Sequence[str]
    snapshots: Mapping[str, Sequence[tuple[int, bytes]]]
    truth: ClientBooks | None

    @classmethod
    def of(cls, feed: Feed, plan: FaultPlan, *, has_books: bool) -> Stage:
        """Make ``feed`` last as long as ``plan``. Channels are products if it has books, else kinds of message."""
        speed = feed.seconds / plan.seconds if feed.seconds else 1.0
        if has_books:
            tags: list[str | None] = products(feed.messages)
            snapshots, truth = snapshot_table(feed.messages, feed.offsets, plan.snapshot_every * speed)
        else:
            tags = [channel_of(decode(message)) for message in feed.messages]
            snapshots, truth = {}, None
        channels = list(dict.fromkeys(tag for tag in tags if tag is not None))
        return cls(feed, plan, speed, tags, channels, snapshots, truth)
