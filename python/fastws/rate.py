"""How fast a client may send, and how fast clients may dial."""

from __future__ import annotations

import asyncio
import heapq
import weakref
from collections.abc import Callable, Mapping
from enum import IntEnum
from types import TracebackType
from typing import Literal

from . import _checks
from .retry import Seconds

__all__ = ["ConnectLimiter", "Pacer", "Priority", "RateLimit", "RateLimits", "default_connect_limiter"]


class RateLimit:
    """At most ``n`` frames in ``per`` seconds, in the long run: a token bucket that starts full.

    It lets ``burst`` frames pass at once and then one every ``per / n`` seconds, so at most ``burst + n - 1`` in any
    span of ``per`` seconds. For a venue that counts strictly and punishes, ``burst=1`` spaces them evenly.

    Frames that may not be delayed (pings, pongs, Close) take tokens that are not there: those behind them wait longer.

    Args:
        n: Frames, from 1 on.
        per: Seconds (``float``) or ``timedelta``.
        burst: Frames that may pass at once; by default ``n``.
        scope: ``"connection"``: each connection starts with a full bucket. ``"shared"``: all connections of all clients
            that were given this object take from one. They must be of one event loop.

    Attributes: the arguments, ``per`` in seconds.

    Raises:
        ConfigError: An argument is wrong; it is named.
    """

    __slots__ = ("_at", "_tokens", "burst", "n", "per", "scope")

    def __init__(
        self,
        n: int,
        per: Seconds,
        burst: int | None = None,
        scope: Literal["connection", "shared"] = "connection",
    ) -> None:
        self.n = _checks.count("n", n, "frames")
        self.per = _checks.duration("per", per)
        self.burst = self.n if burst is None else _checks.count("burst", burst, "frames")
        self.scope = _checks.choice("scope", scope, ("connection", "shared"))
        self._tokens = float(self.burst)
        self._at: float | None = None

    def started(self) -> RateLimit:
        """That of a new connection: a full one, or this very one if it is shared."""
        return self if self.scope == "shared" else RateLimit(self.n, self.per, self.burst)

    def reserve(self, now: float, n: int = 1) -> float:
        """Takes ``n`` tokens, there or not. Returns the seconds until they will have been there.

        ``now`` is a time of any clock that never goes back, in seconds, always of the same.
        """
        self._fill(now)
        self._tokens -= n
        return max(0.0, -self._tokens * self.per / self.n)

    def take(self, now: float, n: int = 1) -> bool:
        """Takes ``n`` tokens if they are there; returns whether they were."""
        self._fill(now)
        if self._tokens + _ROUNDING < n:
            return False
        self._tokens -= n
        return True

    def give_back(self, n: int = 1) -> None:
        """Returns tokens that were taken and not used."""
        self._tokens = min(self._tokens + n, float(self.burst))

    def use(self, now: float) -> None:
        """A token that was taken before is used only now: what came meanwhile into a full bucket is lost."""
        self._fill(now)
        self._tokens = min(self._tokens, self.burst - 1.0)

    @property
    def debt(self) -> float:
        """Tokens taken that were not there, at the time of the last call."""
        return max(0.0, -self._tokens)

    def __repr__(self) -> str:
        burst = "" if self.burst == self.n else f", burst={self.burst}"
        scope = "" if self.scope == "connection" else f", scope={self.scope!r}"
        return f"RateLimit({self.n}, {self.per:g}{burst}{scope})"

    def _fill(self, now: float) -> None:
        if self._at is not None and now > self._at:
            self._tokens = min(self._tokens + (now - self._at) * self.n / self.per, float(self.burst))
        if self._at is None or now > self._at:
            self._at = now


class RateLimits:
    """A limit for all frames of a connection, and further ones for some of its messages.

    Args:
        default: For all; None for no limit.
        keys: For the messages sent with a key (``key=``): they need a token of both.

    Raises:
        ConfigError: They are not limits.
    """

    __slots__ = ("default", "keys")

    def __init__(self, default: RateLimit | None = None, keys: Mapping[str, RateLimit] | None = None) -> None:
        if default is not None and not isinstance(default, RateLimit):
            raise _checks.wrong("default", default, "a RateLimit or None")
        if keys is not None and not isinstance(keys, Mapping):
            raise _checks.wrong("keys", keys, "a mapping of names to RateLimit")
        for key, limit in (keys or {}).items():
            if not isinstance(key, str) or not isinstance(limit, RateLimit):
                raise _checks.wrong(f"keys[{key!r}]", limit, "a RateLimit under a name (str)")
        self.default = default
        self.keys = dict(keys or {})

    def started(self) -> RateLimits:
        """Those of a new connection."""
        return RateLimits(
            None if self.default is None else self.default.started(),
            {key: limit.started() for key, limit in self.keys.items()},
        )

    def __repr__(self) -> str:
        return f"RateLimits({self.default!r}, {self.keys!r})"


class Priority(IntEnum):
    """Who goes first where several wait for tokens; among those of a kind, who came first."""

    HANDSHAKE = 0
    """What makes a connection ready: its handshake, and subscriptions that are made again before it is."""
    REPLAY = 1
    """Subscriptions that are made, or made again, on a connection that is ready."""
    URGENT = 2
    """Messages of the user's that jump the queue, such as cancelling an order."""
    DATA = 3
    """Messages of the user's."""


class Pacer:
    """Lets the frames of one connection pass as its limits allow. One for each connection.

    Args:
        limits: Of the client; each connection starts with its own (``started()``).
        clock: Seconds; by default the event loop's.
        control_frames: Tells how many control frames the connection has sent by itself; they pay afterwards.
    """

    __slots__ = ("_clock", "_control_frames", "_default", "_keys", "_paid")

    def __init__(
        self,
        limits: RateLimit | RateLimits,
        *,
        clock: Callable[[], float] | None = None,
        control_frames: Callable[[], int] | None = None,
    ) -> None:
        self._control_frames = control_frames
        self._paid = 0 if control_frames is None else control_frames()
        own = (RateLimits(limits) if isinstance(limits, RateLimit) else limits).started()
        self._clock = asyncio.get_running_loop().time if clock is None else clock
        self._default = None if own.default is None else _Gate(own.default, self._clock)
        self._keys = {key: _Gate(limit, self._clock) for key, limit in own.keys.items()}

    async def acquire(self, priority: Priority = Priority.DATA, key: str | None = None) -> None:
        """Waits for a token, and first for one of ``key`` if there is a limit for it.

        Who is cancelled has taken none. Raises what ``close()`` was given.
        """
        self._pay_for_control_frames()
        keyed = self._keys.get(key) if key is not None else None
        if keyed is not None:
            await keyed.acquire(priority)
        if self._default is not None:
            try:
                await self._default.acquire(priority)
            except BaseException:
                if keyed is not None:
                    keyed.pass_on()
                raise
            if keyed is not None:
                keyed.use()

    def try_acquire(self, key: str | None = None) -> bool:
        """Takes a token if one is there and nobody waits for it; returns whether."""
        self._pay_for_control_frames()
        keyed = self._keys.get(key) if key is not None else None
        if keyed is not None and not keyed.try_acquire():
            return False
        if self._default is not None and not self._default.try_acquire():
            if keyed is not None:
                keyed.pass_on()
            return False
        return True

    def give_back(self, key: str | None = None) -> None:
        """Returns what ``acquire`` or ``try_acquire`` took: nothing was sent."""
        for gate in (self._default, self._keys.get(key) if key is not None else None):
            if gate is not None:
                gate.pass_on()

    def pay(self, n: int = 1) -> None:
        """Counts ``n`` frames that were not to be delayed: control frames, and further frames of a message."""
        if self._default is not None:
            self._default.limit.reserve(self._clock(), n)

    def _pay_for_control_frames(self) -> None:
        if self._control_frames is not None and (unpaid := self._control_frames() - self._paid):
            self._paid += unpaid
            self.pay(unpaid)

    @property
    def waiting(self) -> int:
        """How many wait."""
        return sum(len(gate.waiters) for gate in (self._default, *self._keys.values()) if gate is not None)

    def close(self, error: BaseException) -> None:
        """The connection is over: those who wait get ``error``, and a shared limit what they had reserved."""
        for gate in (self._default, *self._keys.values()):
            if gate is not None:
                gate.close(error)


class ConnectLimiter:
    """Keeps clients that share it from dialling all at once, as a thousand would when their server restarts.

    First come, first served. Waiting here is not part of ``open_timeout``. Belongs to one event loop at a time.

    Args:
        n: Dials in ``per`` seconds; None for no limit.
        per: Seconds (``float``) or ``timedelta``.
        max_concurrent: Dials at a time; None for no limit.

    Attributes:
        dials: How many it has let pass.

    Raises:
        ConfigError: An argument is wrong; it is named.
    """

    __slots__ = ("_gate", "_inside", "_limit", "_semaphore", "dials", "max_concurrent")

    def __init__(self, n: int | None = 500, per: Seconds = 1.0, max_concurrent: int | None = 100) -> None:
        rate = _checks.optional_count("n", n, "no limit")
        self.max_concurrent = _checks.optional_count("max_concurrent", max_concurrent, "no limit")
        seconds = _checks.duration("per", per)
        # A burst of those that are let in at a time anyway, not of a whole `per`.
        burst = None if rate is None else min(rate, self.max_concurrent or rate)
        self._limit = None if rate is None else RateLimit(rate, seconds, burst)
        # Both refer to the event loop: they are there only while somebody dials or waits to.
        self._gate: _Gate | None = None
        self._semaphore: asyncio.Semaphore | None = None
        self._inside = 0
        self.dials = 0

    def slot(self) -> ConnectSlot:
        """``async with limiter.slot():`` is one dial."""
        return ConnectSlot(self)

    async def _enter(self) -> None:
        if not self._inside:
            if self._limit is not None:
                self._gate = _Gate(self._limit, asyncio.get_running_loop().time)
            if self.max_concurrent is not None:
                self._semaphore = asyncio.Semaphore(self.max_concurrent)
        self._inside += 1
        try:
            if self._semaphore is not None:
                await self._semaphore.acquire()
        except BaseException:
            self._go()
            raise
        try:
            if self._gate is not None:
                await self._gate.acquire(0)
        except BaseException:
            self._leave()
            raise
        self.dials += 1

    def _leave(self) -> None:
        if self._semaphore is not None:
            self._semaphore.release()
        self._go()

    def _go(self) -> None:
        self._inside -= 1
        if not self._inside:
            self._gate = self._semaphore = None


class ConnectSlot:
    """One dial under a ``ConnectLimiter``; entering waits until it may begin."""

    __slots__ = ("_limiter",)

    def __init__(self, limiter: ConnectLimiter) -> None:
        self._limiter = limiter

    async def __aenter__(self) -> None:
        await self._limiter._enter()

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self._limiter._leave()


def default_connect_limiter() -> ConnectLimiter:
    """The one that clients of the running event loop share unless they are given another: 100 at a time, 500/s."""
    loop = asyncio.get_running_loop()
    limiter = _defaults.get(loop)
    if limiter is None:
        limiter = _defaults[loop] = ConnectLimiter()
    return limiter


class _Gate:
    """Those who wait for tokens of one limit, by priority and then in order.

    While somebody waits, one token is reserved for whoever will be first when it is there. So several gates of a shared
    limit take turns, and an urgent message need not wait for one token more.
    """

    __slots__ = ("_clock", "_order", "_timer", "limit", "waiters")

    def __init__(self, limit: RateLimit, clock: Callable[[], float]) -> None:
        self.limit = limit
        self._clock = clock
        self._order = 0
        self._timer: asyncio.TimerHandle | None = None
        self.waiters: list[tuple[int, int, asyncio.Future[None]]] = []

    def try_acquire(self) -> bool:
        return not self.waiters and self.limit.take(self._clock())

    async def acquire(self, priority: int) -> None:
        if self.try_acquire():
            return
        future = asyncio.get_running_loop().create_future()
        self._order += 1
        entry = (priority, self._order, future)
        heapq.heappush(self.waiters, entry)
        self._reserve()
        try:
            await future
        except BaseException:
            if entry in self.waiters:
                self.waiters.remove(entry)
                heapq.heapify(self.waiters)
                if not self.waiters:
                    self._give_up_reservation()
            elif not future.cancelled() and future.exception() is None:
                self.pass_on()  # it had its token already
            raise

    def pass_on(self) -> None:
        """A token that was granted is not used."""
        if not self._grant():
            self.limit.give_back()

    def use(self) -> None:
        """A token that was granted is used now."""
        self._give_up_reservation()
        self.limit.use(self._clock())
        self._reserve()

    def close(self, error: BaseException) -> None:
        self._give_up_reservation()
        waiters, self.waiters = self.waiters, []
        for _, _, future in waiters:
            if not future.done():
                future.set_exception(error)

    def _reserve(self) -> None:
        while self.waiters and self._timer is None:
            wait = self.limit.reserve(self._clock())
            if wait > 0:
                self._timer = asyncio.get_running_loop().call_later(wait, self._on_token)
            elif not self._grant():
                self.limit.give_back()

    def _on_token(self) -> None:
        self._timer = None
        if not self._grant():
            self.limit.give_back()
        self._reserve()

    def _grant(self) -> bool:
        """Gives a token to the first who still wants it."""
        while self.waiters:
            _, _, future = heapq.heappop(self.waiters)
            if not future.done():
                future.set_result(None)
                if not self.waiters:
                    self._give_up_reservation()
                return True
        return False

    def _give_up_reservation(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
            self.limit.give_back()


# A token is there when its time has come by the clock, whatever the last bit of a sum says.
_ROUNDING = 1e-9

_defaults: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, ConnectLimiter] = weakref.WeakKeyDictionary()
