"""One subscription: what it is, how far it has come on a connection, and what a message says of it."""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import orjson

from ._predicates import is_same
from .errors import ClientError
from .handshakes.channel import MISSHAPEN

__all__ = [
    "Message",
    "Payload",
    "Predicate",
    "Restored",
    "Standing",
    "Subscription",
    "SubscriptionError",
    "SubscriptionState",
    "UnknownSubscription",
    "as_payload",
    "note_failed",
    "note_sent",
    "says",
    "says_first",
    "stale_at",
    "unconfirmed",
    "unsettled",
]

log = logging.getLogger("fastws.client")

_MOST_SHOWN = 10
"""Keys that an error names."""

Message = str | bytes
Payload = Message | Mapping[str, Any] | list[Any]
Predicate = Callable[[Any], Any]


class SubscriptionState(StrEnum):
    """How far a subscription has come."""

    PENDING = "pending"
    """Not sent in this session, or sent and not confirmed yet."""
    CONFIRMED = "confirmed"
    """The venue confirmed it; or it was sent, and there is no ``ack`` to wait for."""
    STALE = "stale"
    """Confirmed, but nothing of it came for ``data_timeout``."""
    FAILED = "failed"
    """The venue refused it (``nack``), or did not confirm it within ``ack_timeout``."""


class SubscriptionError(ClientError):
    """A subscription was refused, was not confirmed in time, or is not known."""


class UnknownSubscription(SubscriptionError, KeyError):
    """No subscription has this key. ``key`` is it."""

    def __init__(self, key: object, known: Iterable[str] = ()) -> None:
        shown = ", ".join(repr(each) for each in itertools.islice(known, _MOST_SHOWN))
        super().__init__(f"no subscription has the key {key!r}; there are: {shown or 'none'}")
        self.key = key

    def __str__(self) -> str:
        return Exception.__str__(self)  # KeyError shows the repr of it


@dataclass(slots=True)
class Standing:
    """How a subscription stands on one connection."""

    state: SubscriptionState = SubscriptionState.PENDING
    error: str | None = None
    sent_at: float | None = None
    last_data: float | None = None
    is_begun: bool = False
    """It is sent, or about to be."""


@dataclass(slots=True, eq=False)
class Subscription:
    """A subscription and its state. Read it; the registry changes it."""

    key: str
    message: Message
    unsubscribe: Message | None
    ack: Predicate | None
    nack: Predicate | None
    ack_timeout: float
    match: Predicate | None
    data_timeout: float | None
    references: int = 1
    _standing: Standing = field(default_factory=Standing)
    _waiters: list[asyncio.Future[None]] | None = None
    _misjudged: str = ""
    """What a predicate raised last, for an error."""
    _has_complained: bool = False

    @property
    def state(self) -> SubscriptionState:
        """How far it has come in the present session."""
        return self._standing.state

    @property
    def error(self) -> str | None:
        """Why it failed; None if it did not."""
        return self._standing.error

    @property
    def sent_at(self) -> float | None:
        """When it was sent in the present session, on the loop's clock; None if it was not yet."""
        return self._standing.sent_at

    @property
    def last_data(self) -> float | None:
        """When a message of it came last, or it was sent or confirmed, on the loop's clock."""
        return self._standing.last_data

    def __repr__(self) -> str:
        return f"<Subscription {self.key!r} {self.state}, {self.references} references>"


Restored = dict[Subscription, Standing]
"""What a connection was subscribed to before it was ready, and how that stands on it."""


def note_sent(item: Subscription, standing: Standing) -> None:
    """It was sent just now."""
    standing.sent_at = standing.last_data = asyncio.get_running_loop().time()
    if item.ack is None:
        standing.state = SubscriptionState.CONFIRMED


def stale_at(item: Subscription) -> float | None:
    """When silence is too long, if it goes on; None for what is not confirmed: that is for ``ack_timeout``."""
    if item.data_timeout is None or item.last_data is None:
        return None
    if item.state in (SubscriptionState.PENDING, SubscriptionState.FAILED):
        return None
    return item.last_data + item.data_timeout


def note_failed(item: Subscription, standing: Standing, why: str) -> None:
    """The venue refused it, or did not confirm it in time."""
    standing.state, standing.error = SubscriptionState.FAILED, why
    log.warning("the subscription %r failed: %s", item.key, why)


def unconfirmed(standings: Restored) -> Restored:
    """Those that were sent, or are about to be, and that the venue has still to confirm."""
    return {
        item: standing
        for item, standing in standings.items()
        if item.ack is not None and standing.is_begun and standing.state is SubscriptionState.PENDING
    }


def unsettled(standings: Restored) -> list[Subscription]:
    """Those that are still to be sent, or to be confirmed."""
    return [item for item, standing in standings.items() if standing.state is SubscriptionState.PENDING]


def as_payload(value: Payload, name: str) -> Message:
    """A message as it is sent. Raises TypeError for what is none; ``name`` is the argument's."""
    match value:
        case str() | bytes():
            return value
        case bytearray() | memoryview():
            return bytes(value)
        case Mapping() | list() | tuple():
            return orjson.dumps(value).decode()
    raise TypeError(f"{name} is str, bytes, or a dict or list (sent as JSON), not {type(value).__name__}")


def says_first(item: Subscription, predicate: Predicate | None, message: Any, held: list[Predicate]) -> bool:
    """Whether a predicate holds that is none of those which ``held`` for this message already; then it is one."""
    if predicate is None or any(is_same(predicate, other) for other in held) or not says(item, predicate, message):
        return False
    held.append(predicate)
    return True


def says(item: Subscription, predicate: Predicate | None, message: Any) -> bool:
    """Whether a predicate of the user's holds; one that fails on a message of another shape does not."""
    if predicate is None:
        return False
    try:
        return bool(predicate(message))
    except MISSHAPEN as error:
        item._misjudged = type(error).__name__
        return False
    except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - the watch over the others goes on
        item._misjudged = type(error).__name__
        if not item._has_complained:
            item._has_complained = True
            log.warning("a predicate of the subscription %r raised %r; that counts as no", item.key, error)
        return False
