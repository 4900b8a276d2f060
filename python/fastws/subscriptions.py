"""What a client is subscribed to: kept across reconnects, sent again in order, confirmed by the venue.

A *subscription* is a channel of the venue. It has nothing to do with ``client.stream()``, which is a local cursor.
"""

from __future__ import annotations

import asyncio
import functools
import logging
from collections.abc import AsyncGenerator, Iterator
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Protocol

import orjson

from . import _checks
from ._interrupt import Interrupt, Interrupted, cut, tell, users_code
from .errors import ConfigError, HandshakeError
from .handshakes import HandshakeMessage
from .handshakes.base import masked
from .subscription import (
    Message,
    Payload,
    Predicate,
    Restored,
    Standing,
    Subscription,
    SubscriptionError,
    SubscriptionState,
    UnknownSubscription,
    as_payload,
    note_failed,
    note_sent,
    says,
    says_first,
    stale_at,
    unconfirmed,
    unsettled,
)

if TYPE_CHECKING:
    from .handshakes import HandshakeChannel
    from .streams import Stream

__all__ = ["Subscription", "SubscriptionError", "SubscriptionState", "Subscriptions", "UnknownSubscription"]

log = logging.getLogger("fastws.client")

_NONE: frozenset[Any] = frozenset()


class _Client(Protocol):
    """What the registry needs of its client."""

    @property
    def is_ready(self) -> bool: ...

    def _check_thread(self) -> None: ...

    def _terminal(self) -> BaseException | None: ...

    @property
    def _is_held_up(self) -> bool: ...

    async def _send_replay(self, message: Message) -> None: ...

    def _observe(self) -> AsyncGenerator[Any] | Stream[Any]: ...

    def _stayed_silent(self, key: str, seconds: float) -> None: ...


class Subscriptions:
    """The registry of a client: ``client.subscriptions``. It can be filled before the client runs and meanwhile."""

    __slots__ = ("_client", "_gone", "_items", "_observer", "_sending", "_timer")

    def __init__(self) -> None:
        self._client: _Client | None = None
        self._gone: tuple[Message, ...] = ()
        self._items: dict[str, Subscription] = {}
        self._observer: asyncio.Task[None] | None = None
        self._sending: frozenset[asyncio.Task[None]] = _NONE
        self._timer: asyncio.TimerHandle | None = None

    # ---- what users call -------------------------------------------------------------------------------------------

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

        Args:
            key: What to call it. Adding a key again counts one more reference, and sends nothing.
            message: What subscribes: ``str`` or ``bytes`` as they are, a dict or list as JSON.
            unsubscribe: What ends it, sent by the ``remove`` of the last reference.
            ack: Tells whether a message confirms it: gets the message decoded from JSON, or as it came if it is none.
                None: it is confirmed as soon as it is sent.
            nack: Tells whether a message refuses it; needs ``ack``.
            ack_timeout: Seconds (or a ``timedelta``) until an unconfirmed one counts as failed.
            match: Tells whether a message belongs to it, for ``data_timeout``.
            data_timeout: Seconds (or a ``timedelta``) without such a message after which it is stale: it is then sent
                again, once; if that does not help within the same time, the client reconnects. None for no limit.

        Raises:
            ConfigError: The arguments do not go together, or differ from those that the key has already (predicates
                are not compared: the first ones stay).
        """
        if self._client is not None:
            self._client._check_thread()
        if not isinstance(key, str):
            raise TypeError(f"key is a str, not {type(key).__name__}")
        if (match is None) is not (data_timeout is None):
            raise ConfigError(
                "match= and data_timeout= go together: which messages count, and how long without", field="match"
            )
        if nack is not None and ack is None:
            raise ConfigError("nack= needs ack=: what is confirmed when it is sent is not refused", field="nack")
        ack_timeout = _checks.duration("ack_timeout", ack_timeout)
        data_timeout = _checks.optional_duration("data_timeout", data_timeout, "no limit")
        for name, predicate in (("ack", ack), ("nack", nack), ("match", match)):
            if predicate is not None:
                _checks.plain_function(name, predicate, "gets a decoded message")
        wire = as_payload(message, "message")
        known = self._items.get(key)
        if known is not None:
            for name, given in (
                ("message", wire),
                ("unsubscribe", None if unsubscribe is None else as_payload(unsubscribe, "unsubscribe")),
                ("ack_timeout", ack_timeout),
                ("data_timeout", data_timeout),
            ):
                if getattr(known, name) != given:
                    raise ConfigError(f"the key {key!r} is subscribed already, with another {name}", field=name)
            known.references += 1
            return known
        item = Subscription(
            key=key,
            message=wire,
            unsubscribe=None if unsubscribe is None else as_payload(unsubscribe, "unsubscribe"),
            ack=ack,
            nack=nack,
            ack_timeout=ack_timeout,
            match=match,
            data_timeout=data_timeout,
        )
        self._items[key] = item
        if self._client is not None and self._client.is_ready:
            self._start(self._subscribe(item))
        return item

    def remove(self, key: str) -> None:
        """Takes one reference away; the last one unsubscribes. Raises UnknownSubscription."""
        if self._client is not None:
            self._client._check_thread()
        item = self[key]
        item.references -= 1
        if item.references:
            return
        del self._items[key]
        self._resolve(item, SubscriptionError(f"the subscription {key!r} was removed"))
        if item.unsubscribe is not None and self._client is not None and self._client.is_ready:
            self._start(self._client._send_replay(item.unsubscribe))

    async def confirmed(self, key: str) -> None:
        """Waits until ``key`` is confirmed in the present session or a later one.

        Bound it by ``asyncio.timeout``. Raises UnknownSubscription, or SubscriptionError if the venue refuses it or
        does not answer within ``ack_timeout``.
        """
        item = self[key]
        if self._client is not None and (over := self._client._terminal()) is not None:
            raise over
        if item.state is SubscriptionState.FAILED:
            raise SubscriptionError(f"{key!r}: {item.error}")
        if item.state is SubscriptionState.PENDING:
            future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            item._waiters = [*(item._waiters or ()), future]
            try:
                await future
            finally:
                item._waiters = [each for each in item._waiters or () if each is not future] or None

    def states(self) -> dict[str, SubscriptionState]:
        """The state of each key, in the order in which they are replayed."""
        return {key: item.state for key, item in self._items.items()}

    def __getitem__(self, key: str) -> Subscription:
        """The subscription of that key. Raises UnknownSubscription, which is a KeyError."""
        try:
            return self._items[key]
        except KeyError:
            raise UnknownSubscription(key, self._items) from None

    def __contains__(self, key: object) -> bool:
        return key in self._items

    def __iter__(self) -> Iterator[str]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)

    # ---- what the client calls -------------------------------------------------------------------------------------

    def bind(self, client: _Client) -> None:
        """Belongs to ``client`` from now on; a registry serves one."""
        if self._client is not None and self._client is not client:
            raise ConfigError(
                "these subscriptions belong to another client; make a registry for each", field="subscriptions"
            )
        self._client = client

    async def restore(self, channel: HandshakeChannel, timeout: float) -> Restored:  # noqa: ASYNC109 - the setting
        """Subscribes to everything on a new connection, before anybody sees its messages. Returns how that stands.

        Nothing changes for the present session, if there is one: ``begin`` makes it the standing of all. It takes
        ``timeout`` seconds at most: what is not sent by then ``session_began`` sends, and later confirmations are seen
        as they come. What the venue says meanwhile is read, so that no queue fills.
        """
        restored: Restored = {item: Standing() for item in self._items.values()}
        failed = Interrupt()
        hearing = asyncio.get_running_loop().create_task(self._hear(channel, restored), name="fastws subscriptions")
        hearing.add_done_callback(functools.partial(_interrupt_if_failed, failed))
        limit = asyncio.timeout(timeout)
        try:
            async with limit:
                await failed.wait(_send_all(channel, restored))
                if any(unsettled(restored)):
                    await asyncio.wait([hearing])
        except TimeoutError:
            if not limit.expired():
                raise
            log.info("not confirmed within %g s: %s", timeout, ", ".join(item.key for item in unsettled(restored)))
        except Interrupted:
            pass  # its error is raised below
        finally:
            await cut([hearing])
        if not hearing.done():
            raise HandshakeError("the connection's recv() does not end, though it was cancelled")
        if not hearing.cancelled():
            hearing.result()
        return restored

    async def _hear(self, channel: HandshakeChannel, restored: Restored) -> None:
        """Notes what the venue confirms and refuses, until that is everything."""
        with users_code:  # the wire may be a connector's own
            while any(unsettled(restored)):
                await channel.expect(lambda message: self._looks_at(message, unconfirmed(restored)))

    def begin(self, restored: Restored) -> None:
        """The connection that this was restored on is the client's from now on."""
        self.session_ended()
        self._gone = tuple(
            item.unsubscribe
            for item in restored
            if item.unsubscribe is not None and self._items.get(item.key) is not item
        )
        for item in self._items.values():
            item._standing = restored.get(item, item._standing)
            self._resolve_if_known(item)
        if any(self._watched()):
            self._start_observing()  # before anything that came late is given to streams

    def unrestored(self) -> tuple[str, ...]:
        """Keys that are not confirmed in the present session."""
        return tuple(item.key for item in self._items.values() if item.state is not SubscriptionState.CONFIRMED)

    def session_began(self) -> None:
        """Messages can be sent and observed now. What changed while the session was made ready is made up for."""
        gone, self._gone = self._gone, ()
        if self._client is not None:
            for message in gone:
                self._start(self._client._send_replay(message))
        for item in self._items.values():
            if item.sent_at is None:
                self._start(self._subscribe(item))
        self._observe_if_needed()

    def session_ended(self) -> None:
        """Nothing is confirmed any more, and what is on its way out was for the session that ended."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for task in self._sending:
            task.cancel()
        for item in self._items.values():
            item._standing = Standing()

    async def aclose(self, error: BaseException | None) -> None:
        """The client is over: whoever waits is told."""
        self.session_ended()
        for item in self._items.values():
            self._resolve(item, error or SubscriptionError("the client was shut down"))
        self._gone = ()
        tasks = [*self._sending, *([self._observer] if self._observer is not None else [])]
        self._observer = None
        self._sending = _NONE
        await cut(tasks)

    # ---- inside ----------------------------------------------------------------------------------------------------

    def _start(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work, name="fastws subscription")
        self._sending |= {task}
        task.add_done_callback(self._finished)

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._sending -= {task}
        if not task.cancelled() and (error := task.exception()) is not None:
            # The next session subscribes to everything anyway.
            log.info("a subscription was not sent: %s", error)

    async def _subscribe(self, item: Subscription) -> None:
        assert self._client is not None
        if item._standing.is_begun:
            return  # it was added by who heard that the client is ready, and would be made up for as well
        item._standing.is_begun = True
        if item.ack is not None or item.match is not None:
            self._observe_if_needed()
        await self._client._send_replay(item.message)
        note_sent(item, item._standing)
        self._resolve_if_known(item)
        self._observe_if_needed()

    def _resolve_if_known(self, item: Subscription) -> None:
        """Whoever waits for a subscription hears how it stands, as soon as that is known."""
        match item.state:
            case SubscriptionState.CONFIRMED:
                self._resolve(item, None)
            case SubscriptionState.FAILED:
                self._resolve(item, SubscriptionError(f"{item.key!r}: {item.error}"))

    def _resolve(self, item: Subscription, error: BaseException | None) -> None:
        waiters, item._waiters = item._waiters, None
        tell(waiters or (), error)

    def _looks_at(self, message: Any, pending: Restored) -> bool:
        """Whether ``message`` confirms or refuses some of these; then it is noted.

        A predicate that several share tells nothing of which it is: then it is the oldest.
        """
        held: list[Predicate] = []
        for item, standing in pending.items():
            if says_first(item, item.ack, message, held):
                standing.state, standing.error = SubscriptionState.CONFIRMED, None
                standing.last_data = asyncio.get_running_loop().time()
            elif says_first(item, item.nack, message, held):
                text = message if isinstance(message, str) else orjson.dumps(message, default=str).decode()
                note_failed(item, standing, f"refused: {masked(text)}")
        return bool(held)

    def _watched(self) -> tuple[Restored, list[Subscription]]:
        """What is still to be confirmed, and what is not to fall silent: nothing comes of what was refused."""
        pending = unconfirmed({item: item._standing for item in self._items.values()})
        timed = [item for item in self._items.values() if item.data_timeout is not None]
        return pending, [item for item in timed if item.state is not SubscriptionState.FAILED]

    def _observe_if_needed(self) -> None:
        if self._client is None or not self._client.is_ready or not any(self._watched()):
            return
        self._schedule()
        self._start_observing()

    def _start_observing(self) -> None:
        if self._client is not None and (self._observer is None or self._observer.done()):
            self._observer = asyncio.get_running_loop().create_task(
                self._watch(self._client._observe()), name="fastws subscriptions"
            )

    async def _watch(self, messages: AsyncGenerator[Any] | Stream[Any]) -> None:
        """Looks at messages for as long as a confirmation is missing or a freshness is watched."""
        try:
            async for message in messages:
                if not self.saw(message):
                    return
        finally:
            await messages.aclose()

    def saw(self, message: Any) -> bool:
        """A message came, whether or not streams get it. Returns whether another is to be looked at."""
        pending, timed = self._watched()
        if not pending and not timed:
            return False
        value = HandshakeMessage(message).value  # as `restore` shows it to the same predicates
        if self._looks_at(value, pending):
            for item in pending:
                self._resolve_if_known(item)
            self._schedule()
        now = asyncio.get_running_loop().time()
        for item in timed:
            if says(item, item.match, value):
                item._standing.last_data = now
                if item.state is SubscriptionState.STALE:
                    item._standing.state = SubscriptionState.CONFIRMED
        return True

    def _schedule(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        pending, timed = self._watched()
        dues = [item.sent_at + item.ack_timeout for item in pending if item.sent_at is not None]
        dues += [due for item in timed if (due := stale_at(item)) is not None]
        if dues:
            self._timer = asyncio.get_running_loop().call_at(min(dues), self._look_at_the_time)

    def _look_at_the_time(self) -> None:
        self._timer = None
        client = self._client
        if client is None or not client.is_ready:
            return
        now = asyncio.get_running_loop().time()
        pending, timed = self._watched()
        if client._is_held_up:
            # Nothing could be heard: the time of everything begins anew.
            for standing in (item._standing for item in (*pending, *timed)):
                if standing.sent_at is not None:
                    standing.sent_at = standing.last_data = now
        for item in pending:
            if item.sent_at is not None and now >= item.sent_at + item.ack_timeout:
                raised = f"; a predicate raised {item._misjudged} on a message" if item._misjudged else ""
                note_failed(item, item._standing, f"not confirmed within {item.ack_timeout:g} s{raised}")
                self._resolve_if_known(item)
        for item in timed:
            due = stale_at(item)
            if due is None or item.data_timeout is None or now < due:
                continue
            if item.state is SubscriptionState.STALE:
                client._stayed_silent(item.key, 2 * item.data_timeout)
                return
            log.warning(
                "the subscription %r is stale: nothing for %g s; subscribing again", item.key, item.data_timeout
            )
            item._standing.state, item._standing.last_data = SubscriptionState.STALE, now
            self._start(client._send_replay(item.message))
        self._schedule()


async def _send_all(channel: HandshakeChannel, restored: Restored) -> None:
    """Subscribes to these, one behind the other; what it is cancelled at is not begun."""
    for item, standing in restored.items():
        standing.is_begun = True
        try:
            await channel.send(item.message)  # which waits for a token first
        except BaseException:
            standing.is_begun = standing.state is not SubscriptionState.PENDING
            raise
        note_sent(item, standing)


def _interrupt_if_failed(interrupt: Interrupt, task: asyncio.Task[None]) -> None:
    if not task.cancelled() and task.exception() is not None:
        interrupt.request()
