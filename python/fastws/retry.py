"""When a client tries again: strategies, close codes that are final, and the one budget of a client.

A strategy is an immutable description: the delay is a function of the failure, and of chance. One strategy may serve
any number of clients. What a client remembers is in its ``RetryBudget``.
"""

from __future__ import annotations

import dataclasses
import inspect
import logging
import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Literal, Protocol, Self, TypeVar, runtime_checkable

from . import _checks
from ._interrupt import users_code
from .errors import (
    ConnectError,
    ConnectionClosed,
    DataTimeout,
    FastwsError,
    HandshakeError,
    RetriesExhausted,
    is_retryable,
)

__all__ = [
    "FINAL_CLOSE_CODES",
    "ClosePolicy",
    "CustomRetry",
    "ExponentialBackoff",
    "Failure",
    "FixedDelay",
    "NoRetry",
    "RetryBudget",
    "RetryStrategy",
]

Seconds = float | timedelta

STABLE_AFTER = 10.0
"""Seconds. A server that lets clients in and ends them for a reason of its own does so within a few."""

MAX_RETRY_AFTER = 3600.0
"""Seconds. Bounds Retry-After where a strategy has no maximum: maintenance takes an hour, a mistake may say years."""

FINAL_CLOSE_CODES: dict[int, str] = {
    1010: "a wire extension that the peer cannot do without was not agreed on; the next upgrade offers the same "
    "(RFC 6455 §7.4.1)",
    3000: "Unauthorized: the credentials are missing or wrong, and will be (IANA WebSocket Close Code Number Registry)",
    3003: "Forbidden: the credentials do not allow it (IANA WebSocket Close Code Number Registry)",
}
"""The close codes received after which a client does not come again, with the reason of each.

All others are worth another attempt, after the strategy's delay:

- 1000, 1001, 1005, 1006: the usual ends. A server's 1000 ends a session, not the need for the data.
- 1002, 1003, 1007, 1009: the peer did not like a frame or a message of the last session; the next need not send it.
- 1008: servers mean anything by it, often too many messages or an idle connection.
- 1011: an unexpected condition. 1012, 1013, 1014 (IANA): restart, overload, bad gateway: they ask to come again.
- 3008 (IANA): a timeout.
- 4000 to 4999: the venue's own. Name those that are final: ``final_close_codes={*FINAL_CLOSE_CODES, 4401}``.
"""


@dataclass(frozen=True, slots=True)
class ClosePolicy:
    """Which close codes, when received, are final.

    Args:
        final: Instead of ``FINAL_CLOSE_CODES``.

    Raises:
        ConfigError: Not close codes.
    """

    final: frozenset[int] = frozenset(FINAL_CLOSE_CODES)

    def __post_init__(self) -> None:
        object.__setattr__(self, "final", _checks.codes("final_close_codes", self.final))

    def is_final(self, code: int | None) -> bool:
        """Whether not to come again after a Close with this code; None is none."""
        return code in self.final

    def why(self, code: int) -> str:
        """The reason of a final code."""
        return FINAL_CLOSE_CODES.get(code, "in final_close_codes")


@dataclass(frozen=True, slots=True)
class Failure:
    """What a strategy decides about.

    Attributes:
        cause: Why; None if a session ended without an error.
        phase: ``"connect"``: a dial failed. ``"handshake"``: the application's handshake. ``"session"``: one that was
            Ready ended.
        attempt: Consecutive dials since the start or the last stable session. 0 if it is a stable session that ended.
        session_seconds: How long the session was Ready, in the phase ``"session"``.
        is_first: Whether it is the first one since the start or the last stable session.
        close_policy: Which close codes are final.
    """

    cause: BaseException | None
    phase: Literal["connect", "handshake", "session"]
    attempt: int
    session_seconds: float | None = None
    is_first: bool = field(default=False, kw_only=True)
    close_policy: ClosePolicy = field(default=ClosePolicy(), kw_only=True, repr=False)

    @property
    def close_code(self) -> int | None:
        """The code of the Close frame received, if it ended with one."""
        match self.cause:
            case HandshakeError():
                return self.cause.code
            case ConnectionClosed():
                return self.cause.rcvd.code if self.cause.rcvd is not None else None
            case _:
                return None

    @property
    def is_retryable(self) -> bool:
        """Whether another attempt may succeed: by the cause (``fastws.is_retryable``) and by the close code."""
        return is_retryable(self.cause) and not self.close_policy.is_final(self.close_code)

    @property
    def retry_after(self) -> float | None:
        """Seconds that the server asked to be left alone."""
        return self.cause.retry_after if isinstance(self.cause, ConnectError) else None


@runtime_checkable
class RetryStrategy(Protocol):
    """Decides how long to wait before the next dial. May have ``maximum``, seconds, which bounds Retry-After too."""

    def next_delay(self, failure: Failure) -> float | None:
        """Seconds until the next dial; None for none: the client ends with the failure as the cause."""
        ...

    def reset(self) -> None:
        """A session was stable. For strategies that remember; those that clients share should not."""
        ...


@dataclass(frozen=True, slots=True, init=False)
class ExponentialBackoff:
    """Waits longer after each failure: ``initial * multiplier ** (attempt - 1)``, at most ``maximum``.

    Args:
        initial: The first delay, more than 0.
        maximum: The longest, jitter included; not less than ``initial``.
        multiplier: From 1 on.
        jitter: The share, from 0 to 1, by which each delay is randomly longer or shorter.
        full_jitter: Any delay from 0 to the computed one instead: the most even spread of many clients.
        max_attempts: Dials in a row before the client gives up; None for no limit.
        seed: Makes the jitter repeat, for tests. None: unpredictable, different in each client.
        immediate_first: No delay after the first failure, and after the end of a stable session.

    Durations are seconds (``float``) or ``timedelta``.

    Raises:
        ConfigError: An argument is wrong; it is named.
    """

    initial: float
    maximum: float
    multiplier: float
    jitter: float
    full_jitter: bool
    max_attempts: int | None
    seed: int | None
    immediate_first: bool
    _random: random.Random = field(repr=False, compare=False)

    def __init__(
        self,
        initial: Seconds,
        maximum: Seconds,
        multiplier: float = 2.0,
        *,
        jitter: float = 0.1,
        full_jitter: bool = False,
        max_attempts: int | None = None,
        seed: int | None = None,
        immediate_first: bool = False,
    ) -> None:
        first, longest = _checks.duration("initial", initial), _checks.duration("maximum", maximum)
        if longest < first:
            raise _checks.wrong("maximum", maximum, f"not less than initial, {initial!r}")
        if seed is not None and (isinstance(seed, bool) or not isinstance(seed, int)):
            raise _checks.wrong("seed", seed, "a number (int), or None for jitter that nobody can predict")
        assign = object.__setattr__
        assign(self, "initial", first)
        assign(self, "maximum", longest)
        assign(self, "multiplier", _checks.number("multiplier", multiplier, 1))
        assign(self, "jitter", _checks.number("jitter", jitter, 0, 1))
        assign(self, "full_jitter", _checks.switch("full_jitter", full_jitter))
        assign(self, "max_attempts", _checks.optional_count("max_attempts", max_attempts, "no limit"))
        assign(self, "seed", seed)
        assign(self, "immediate_first", _checks.switch("immediate_first", immediate_first))
        # The system's generator has no state: none to repeat after a fork, none to keep for each client.
        assign(self, "_random", _SYSTEM if seed is None else random.Random(seed))  # noqa: S311 - a seed is for tests

    @classmethod
    def fast(cls) -> Self:
        """From 100 ms to 5 s, times 1.5, with 10 % jitter."""
        return cls(0.1, 5.0, 1.5, jitter=0.1)

    @classmethod
    def standard(cls) -> Self:
        """From 1 s to 60 s, times 2, with 10 % jitter."""
        return cls(1.0, 60.0, 2.0, jitter=0.1)

    @classmethod
    def conservative(cls) -> Self:
        """From 2 s to 120 s, times 2, with 5 % jitter."""
        return cls(2.0, 120.0, 2.0, jitter=0.05)

    def with_initial(self, initial: Seconds) -> Self:
        """The same with another ``initial``."""
        return self._with(initial=initial)

    def with_maximum(self, maximum: Seconds) -> Self:
        """The same with another ``maximum``."""
        return self._with(maximum=maximum)

    def with_multiplier(self, multiplier: float) -> Self:
        """The same with another ``multiplier``."""
        return self._with(multiplier=multiplier)

    def with_jitter(self, jitter: float) -> Self:
        """The same with another ``jitter``, and not ``full_jitter``."""
        return self._with(jitter=jitter, full_jitter=False)

    def with_full_jitter(self, full_jitter: bool = True) -> Self:
        """The same with ``full_jitter``."""
        return self._with(full_jitter=full_jitter)

    def with_max_attempts(self, max_attempts: int | None) -> Self:
        """The same with another ``max_attempts``."""
        return self._with(max_attempts=max_attempts)

    def with_seed(self, seed: int | None) -> Self:
        """The same with another ``seed``, and its jitter from the beginning."""
        return self._with(seed=seed)

    def with_immediate_first(self, immediate_first: bool = True) -> Self:
        """The same with ``immediate_first``."""
        return self._with(immediate_first=immediate_first)

    def next_delay(self, failure: Failure) -> float | None:
        """Seconds until the next dial; None if the failure is not retryable or was the last attempt's."""
        if _is_over(failure, self.max_attempts):
            return None
        if self.immediate_first and failure.is_first:
            return 0.0
        delay = self._grown(max(failure.attempt, 1))
        if self.full_jitter:
            return self._random.uniform(0.0, delay)
        return min(delay * (1.0 + self._random.uniform(-self.jitter, self.jitter)), self.maximum)

    def reset(self) -> None:
        """Nothing: there is nothing to forget."""

    def __reduce__(self) -> tuple[Any, ...]:
        # The system's generator cannot be pickled.
        return _made, (type(self), self._given())

    def _grown(self, attempt: int) -> float:
        try:
            return min(self.initial * self.multiplier ** (attempt - 1), self.maximum)
        except OverflowError:
            return self.maximum

    def _with(self, **changes: Any) -> Self:
        return _made(type(self), self._given() | changes)

    def _given(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in _BACKOFF_ARGUMENTS}


@dataclass(frozen=True, slots=True, init=False)
class FixedDelay:
    """Waits the same after each failure.

    Args:
        delay: Seconds (``float``) or ``timedelta``, more than 0.
        max_attempts: Dials in a row before the client gives up; None for no limit.

    Raises:
        ConfigError: An argument is wrong; it is named.
    """

    delay: float
    max_attempts: int | None

    def __init__(self, delay: Seconds, *, max_attempts: int | None = None) -> None:
        object.__setattr__(self, "delay", _checks.duration("delay", delay))
        object.__setattr__(self, "max_attempts", _checks.optional_count("max_attempts", max_attempts, "no limit"))

    def with_max_attempts(self, max_attempts: int | None) -> Self:
        """The same with another ``max_attempts``."""
        return type(self)(self.delay, max_attempts=max_attempts)

    def next_delay(self, failure: Failure) -> float | None:
        """The delay; None if the failure is not retryable or was the last attempt's."""
        return None if _is_over(failure, self.max_attempts) else self.delay

    def reset(self) -> None:
        """Nothing."""


@dataclass(frozen=True, slots=True)
class NoRetry:
    """The first failure ends the client, and so does the end of a session, stable or not."""

    def next_delay(self, failure: Failure) -> float | None:  # noqa: ARG002 - whatever it is
        """None."""
        return None

    def reset(self) -> None:
        """Nothing."""


@dataclass(frozen=True, slots=True)
class CustomRetry:
    """Asks a function, ``fn(failure)``, which gives seconds, a ``timedelta``, or None to end the client.

    It is asked about every failure, also those that are not retryable: look at ``failure.is_retryable``.

    Args:
        fn: A plain function; it must not wait.
        maximum: Bounds Retry-After; None for an hour.

    Raises:
        ConfigError: ``fn`` cannot be called, or is an ``async def``.
    """

    fn: Callable[[Failure], Seconds | None]
    maximum: float | None = None

    def __post_init__(self) -> None:
        if not callable(self.fn) or inspect.iscoroutinefunction(self.fn):
            raise _checks.wrong("fn", self.fn, "a plain function of a Failure that gives seconds, or None to give up")
        object.__setattr__(self, "maximum", _checks.optional_duration("maximum", self.maximum, "an hour"))

    def next_delay(self, failure: Failure) -> float | None:
        """What the function says.

        Raises:
            ConfigError: It says something that is no delay.
        """
        delay = self.fn(failure)
        if delay is None:
            return None
        return _checks.duration(f"the delay of {getattr(self.fn, '__qualname__', self.fn)!r}", delay, zero=True)

    def reset(self) -> None:
        """Nothing."""


class RetryBudget:
    """What one client remembers of its attempts: one budget for dials, handshakes and the ends of sessions.

    Args:
        strategy: How long to wait; shared or not.
        close_policy: Which close codes are final.
        handshake_retry_delay: Seconds that a client waits at least after the application's handshake failed.
        stable_after: Seconds that a session must be Ready to count as stable; then ``attempt`` begins again. One that
            ended because no data came (``DataTimeout``) never does.
        exit_on_first_failure: Give up if the first connection, which is until the first Ready, fails for any cause.

    Attributes:
        attempt: Consecutive dials since the start or the last stable session.

    Each run is told by ``begin()``, each dial by ``dial()``, each Ready by ``ready()``, each failure by ``failed()``.
    """

    __slots__ = (
        "_before",
        "_close_policy",
        "_exit_on_first_failure",
        "_failures",
        "_handshake_retry_delay",
        "_stable_after",
        "_strategy",
        "_was_ready",
        "attempt",
    )

    def __init__(
        self,
        strategy: RetryStrategy,
        *,
        close_policy: ClosePolicy | None = None,
        handshake_retry_delay: float = 0.0,
        stable_after: float = STABLE_AFTER,
        exit_on_first_failure: bool = False,
    ) -> None:
        self._strategy = strategy
        self._close_policy = close_policy if close_policy is not None else _DEFAULT_POLICY
        self._handshake_retry_delay = handshake_retry_delay
        self._stable_after = stable_after
        self._exit_on_first_failure = exit_on_first_failure
        self._was_ready = False
        self._failures = 0
        self._before = (0, 0)
        self.attempt = 0

    def begin(self) -> None:
        """A run begins: everything is counted anew, and its first connection is a first one."""
        self._was_ready = False
        self.stable()

    def dial(self) -> int:
        """A dial begins. Returns ``attempt``, from 1."""
        self.attempt += 1
        self._before = (self.attempt, self._failures)
        return self.attempt

    def ready(self) -> None:
        """A session is Ready."""
        self._was_ready = True

    def stable(self) -> None:
        """A session was stable, for a reason that the caller knows: ``attempt`` begins again."""
        self.attempt = 0
        self._failures = 0
        try:
            with users_code:
                self._strategy.reset()
        except Exception:  # noqa: BLE001 - a strategy of the user's; a session that runs does not end for it
            _log.exception("the retry strategy %r raised in reset()", self._strategy)

    def failure(
        self,
        cause: BaseException | None,
        phase: Literal["connect", "handshake", "session"],
        session_seconds: float | None = None,
    ) -> Failure:
        """A failure for ``failed()``."""
        return Failure(cause, phase, self.attempt, session_seconds, close_policy=self._close_policy)

    def failed(self, failure: Failure) -> float | None:
        """Seconds until the next dial, or None: the client ends.

        The delay is the longest of the strategy's, what the server asked for (Retry-After, at most the strategy's
        ``maximum``), and ``handshake_retry_delay`` after a handshake.

        Raises:
            ConfigError: The strategy gave something that is no delay.
        """
        if failure.phase == "session":
            self._was_ready = True
            if isinstance(failure.cause, DataTimeout):
                # However long it was taken for stable.
                self.attempt, self._failures = self._before
            elif self._was_stable(failure):
                self.stable()
        elif self._exit_on_first_failure and not self._was_ready:
            return None
        failure = dataclasses.replace(
            failure, attempt=self.attempt, is_first=self._failures == 0, close_policy=self._close_policy
        )
        self._failures += 1
        return self._delay(failure)

    def _delay(self, failure: Failure) -> float | None:
        """The longest of what the strategy, the server and ``handshake_retry_delay`` want."""
        delay = self._asked(failure)
        if delay is None:
            return None
        delay = _checks.duration(f"the delay of {type(self._strategy).__name__}", delay, zero=True)
        if failure.retry_after is not None:
            maximum = getattr(self._strategy, "maximum", None)
            delay = max(delay, min(failure.retry_after, MAX_RETRY_AFTER if maximum is None else maximum))
        if failure.phase == "handshake":
            delay = max(delay, self._handshake_retry_delay)
        return delay

    def delay_beside(
        self, error: BaseException, attempt: int, phase: Literal["connect", "handshake"] = "connect"
    ) -> float | None:
        """The delay after an attempt that is not counted here, as a session lives."""
        return self._delay(Failure(error, phase, attempt, is_first=attempt == 1, close_policy=self._close_policy))

    def given_up(self, failure: Failure) -> BaseException:
        """What a client ends with that ``failed()`` gave no further attempt.

        The cause itself if it is not retryable; else RetriesExhausted, whose ``__cause__`` it is.
        """
        failure = dataclasses.replace(failure, attempt=self.attempt, close_policy=self._close_policy)
        cause, code = failure.cause, failure.close_code
        if isinstance(cause, FastwsError) and code is not None and self._close_policy.is_final(code):
            return cause.context(f"close code {code} is final: {self._close_policy.why(code)}")
        if cause is not None and not failure.is_retryable:
            return cause
        why = f": {cause}" if cause is not None else ""
        if self._exit_on_first_failure and not self._was_ready:
            text = f"the first connection failed, and exit_on_first_failure is set{why}"
        else:
            text = f"{type(self._strategy).__name__} gives up after attempt {self.attempt}{why}"
        error = RetriesExhausted(text, attempts=self.attempt)
        error.__cause__ = cause
        return error

    def _asked(self, failure: Failure) -> float | None:
        try:
            with users_code:
                return self._strategy.next_delay(failure)
        except Exception as error:
            error.add_note(f"raised by the retry strategy {self._strategy!r}, asked after attempt {failure.attempt}")
            raise

    def _was_stable(self, failure: Failure) -> bool:
        return failure.session_seconds is not None and failure.session_seconds >= self._stable_after


def as_close_policy(codes: Iterable[int] | ClosePolicy | None) -> ClosePolicy:
    """``final_close_codes`` as a policy; None for the default."""
    if codes is None or codes == _DEFAULT_POLICY.final:
        return _DEFAULT_POLICY
    return codes if isinstance(codes, ClosePolicy) else ClosePolicy(_checks.codes("final_close_codes", codes))


def _made(kind: type[Backoff], arguments: dict[str, Any]) -> Backoff:
    return kind(**arguments)


def _is_over(failure: Failure, max_attempts: int | None) -> bool:
    return not failure.is_retryable or (max_attempts is not None and failure.attempt >= max_attempts)


Backoff = TypeVar("Backoff", bound=ExponentialBackoff)

_SYSTEM = random.SystemRandom()

_log = logging.getLogger("fastws.client")

_DEFAULT_POLICY = ClosePolicy()

_BACKOFF_ARGUMENTS = tuple(name for name in ExponentialBackoff.__slots__ if name != "_random")
