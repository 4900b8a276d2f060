"""What a blocking client is subscribed to: the registry of its client, from any thread."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from fastws.subscription import Payload, Predicate, Subscription, SubscriptionState

from ._thread import ClientThread
from .connection import Seconds

__all__ = ["Subscriptions"]


class Subscriptions:
    """The registry of a client: ``client.subscriptions``. It can be filled before the client runs and meanwhile."""

    __slots__ = ("_thread",)

    def __init__(self, thread: ClientThread) -> None:
        self._thread = thread

    def add(
        self,
        key: str,
        *,
        message: Payload,
        unsubscribe: Payload | None = None,
        ack: Predicate | None = None,
        nack: Predicate | None = None,
        ack_timeout: float | timedelta = 10.0,
        match: Predicate | None = None,
        data_timeout: float | timedelta | None = None,
    ) -> Subscription:
        """Subscribes, now and after every reconnect, in the order of the first ``add``.

        Does not wait for the venue: ``confirmed`` does. Functions are called in the client's thread.

        Args:
            key: What to call it. Adding a key again counts one more reference, and sends nothing.
            message: What subscribes: ``str`` or ``bytes`` as they are, a dict or list as JSON.
            unsubscribe: What ends it, sent by the ``remove`` of the last reference.
            ack: Tells whether a message confirms it: gets the message decoded from JSON, or as it came if it is none.
                None: it is confirmed as soon as it is sent.
            nack: Tells whether a message refuses it.
            ack_timeout: Seconds (or a ``timedelta``) until an unconfirmed one counts as failed.
            match: Tells whether a message belongs to it, for ``data_timeout``.
            data_timeout: Seconds (or a ``timedelta``) without such a message after which it is stale: it is then sent
                again, once; if that does not help within the same time, the client reconnects. None for no limit.

        Raises:
            ConfigError: The arguments do not go together, or differ from those that the key has already (predicates
                are not compared: the first ones stay).
        """
        registry = self._thread.client.subscriptions
        return self._thread.now(
            lambda: registry.add(
                key,
                message=message,
                unsubscribe=unsubscribe,
                ack=ack,
                nack=nack,
                ack_timeout=ack_timeout,
                match=match,
                data_timeout=data_timeout,
            )
        )

    def remove(self, key: str) -> None:
        """Takes one reference away; the last one unsubscribes. Raises UnknownSubscription."""
        self._thread.now(self._thread.client.subscriptions.remove, key)

    def confirmed(self, key: str, *, timeout: Seconds = None) -> None:
        """Waits until ``key`` is confirmed in the present session or a later one.

        Args:
            key: The subscription.
            timeout: Seconds (or a ``timedelta``) to wait; None for no limit.

        Raises:
            TimeoutError: It is not confirmed within ``timeout``.
            UnknownSubscription: There is none of that key.
            SubscriptionError: The venue refuses it, or does not answer within ``ack_timeout``.
        """
        registry = self._thread.client.subscriptions
        self._thread.wait_for(timeout, f"the subscription {key!r} was not confirmed", registry.confirmed, key)

    def states(self) -> dict[str, SubscriptionState]:
        """The state of each key, in the order in which they are replayed."""
        return self._thread.now(self._thread.client.subscriptions.states)

    def __getitem__(self, key: str) -> Subscription:
        """The subscription of that key. Raises UnknownSubscription, which is a KeyError."""
        return self._thread.client.subscriptions[key]

    def __contains__(self, key: object) -> bool:
        return key in self._thread.client.subscriptions

    def __iter__(self) -> Iterator[str]:
        return iter(self.states())

    def __len__(self) -> int:
        return len(self._thread.client.subscriptions)
