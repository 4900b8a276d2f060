"""What a handshaker is, how one is carried out under its time limit, and how several make one."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Iterator
from datetime import timedelta
from inspect import isawaitable
from typing import Any, Final, Protocol, Self, TypeVar, runtime_checkable

import orjson

from fastws._checks import is_async, optional_duration
from fastws._interrupt import InnerCancellation, apart, users_code
from fastws.context import ConnectionContext
from fastws.errors import ConnectionClosed, HandshakeError, HandshakeTimeout, is_retryable
from fastws.redact import Redactor, printable

from .channel import HandshakeChannel, HandshakeMessage, Predicate

__all__ = [
    "ChainedHandshaker",
    "Handshaker",
    "NoOpHandshaker",
    "SendMessageHandshaker",
    "SupportsHandshake",
    "chain_handshakers",
    "perform",
]

T = TypeVar("T")


@runtime_checkable
class SupportsHandshake(Protocol):
    """What a client asks of a handshaker. ``Handshaker`` is the class to derive from."""

    @property
    def name(self) -> str:
        """How errors and logs call it."""

    @property
    def timeout(self) -> float | None:
        """Seconds that it may take, not counting the wait for a rate limit; None for no limit."""

    async def handshake(self, channel: HandshakeChannel, context: ConnectionContext, /) -> None:
        """Does it; raises ``HandshakeError`` if it fails."""

    def is_retryable(self, error: HandshakeError, /) -> bool:
        """Whether the client may try again after ``error``."""


class Handshaker(ABC):
    """What is to be said after the upgrade and before a client is ready: authentication, subscriptions.

    Derive from it and write ``handshake``. One object serves any number of connections and clients, so it keeps nothing
    of a connection in itself; ``context.metadata`` is the place for that::

        class Login(fastws.Handshaker):
            name = "login"
            timeout = 5.0

            async def handshake(self, channel, context):
                await channel.send_json({"op": "login"})
                answer = await channel.expect(lambda message: message["op"] == "login")
                context.metadata["session"] = answer.value["session"]

    Attributes:
        name: How errors and logs call it.
        timeout: Seconds that it may take, 30 by default, not counting the wait for a rate limit; None for no limit.
    """

    __slots__ = ()

    name: str = "handshaker"
    timeout: float | None = 30.0

    @abstractmethod
    async def handshake(self, channel: HandshakeChannel, context: ConnectionContext, /) -> None:
        """Does it, at every connection anew.

        Raises:
            HandshakeError: It failed. The client then closes the connection, and tries again if ``is_retryable``.
        """

    def is_retryable(self, error: HandshakeError, /) -> bool:
        """Whether the client may try again after ``error``: by default what the error says of itself."""
        return error.is_retryable

    def then(self, other: SupportsHandshake, /) -> ChainedHandshaker:
        """A handshaker that does this one, then ``other``."""
        return ChainedHandshaker(self, other)

    def with_timeout(self, timeout: float | timedelta | None) -> Self:
        """The same with another time limit, in seconds or as a ``timedelta``; None for no limit."""
        return changed(self, timeout=limit("timeout", timeout))

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"


class Frozen(Handshaker):
    """A handshaker whose attributes are set once."""

    __slots__ = ()

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"a {type(self).__name__} does not change; its methods make another one")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"a {type(self).__name__} does not change")

    def __setstate__(self, state: Any) -> None:
        # How copy and pickle fill what they have made: with a __dict__, or with that and slots.
        for part in state if isinstance(state, tuple) else (state,):
            fix(self, **(part or {}))


class NoOpHandshaker(Frozen):
    """Nothing is to be said."""

    __slots__ = ()

    name = "noop"
    timeout = None

    async def handshake(self, channel: HandshakeChannel, context: ConnectionContext, /) -> None:
        """Does nothing."""

    def with_timeout(self, timeout: float | timedelta | None) -> Self:
        """Itself: nothing takes no time."""
        limit("timeout", timeout)
        return self


Message = str | bytes
MessageSource = Message | Callable[[], Message | Awaitable[Message]]


class SendMessageHandshaker(Frozen):
    """Sends a message; waits for an answer only if it is told to.

    Args:
        message: ``str`` is sent as text, bytes-like as binary. Or a callable, async or not, that gives the message and
            is called at every handshake.
        timeout: Seconds for all of it.
    """

    __slots__ = ("_message", "_response", "timeout")

    name = "send_message"
    _message: MessageSource
    _response: Predicate | None

    def __init__(self, message: MessageSource, *, timeout: float | timedelta | None = 10.0) -> None:
        if not callable(message):
            message = _message(message)
        fix(self, _message=message, _response=None, timeout=limit("timeout", timeout))

    @classmethod
    def text(cls, message: str) -> Self:
        """Sends a text message."""
        if not isinstance(message, str):
            raise TypeError(f"a text message is str, not {type(message).__name__}")
        return cls(message)

    @classmethod
    def binary(cls, message: bytes) -> Self:
        """Sends a binary message."""
        if isinstance(message, str):
            raise TypeError("a binary message is bytes-like, not str")
        return cls(message)

    @classmethod
    def json(cls, value: object) -> Self:
        """Sends ``value``, as it is now, as JSON text."""
        return cls(orjson.dumps(value).decode())

    def with_response(self, predicate: Predicate | None = None) -> Self:
        """Waits, after sending, for the first message that ``predicate`` accepts; None: for the first of any kind."""
        return changed(self, _response=predicate_or_none("predicate", predicate) or _anything)

    async def handshake(self, channel: HandshakeChannel, context: ConnectionContext, /) -> None:
        """Sends, and waits if it is to."""
        message = await called(self._message) if callable(self._message) else self._message
        await channel.send(_message(message))
        if self._response is not None:
            await channel.expect(self._response)

    def __repr__(self) -> str:
        return "SendMessageHandshaker(***)"


class ChainedHandshaker(Frozen):
    """Handshakers done one behind the other; the first that fails ends it.

    Each has its own time limit and its own word on what is retryable.

    Args:
        handshakers: Those to do. May be none.
        timeout: Seconds for all together.
    """

    __slots__ = ("handshakers", "timeout")

    name = "chained"
    handshakers: tuple[SupportsHandshake, ...]

    def __init__(self, *handshakers: SupportsHandshake, timeout: float | timedelta | None = 60.0) -> None:
        for handshaker in handshakers:
            check(handshaker)
        fix(self, handshakers=handshakers, timeout=limit("timeout", timeout))

    def then(self, other: SupportsHandshake, /) -> ChainedHandshaker:
        """The same with one more at the end."""
        check(other)
        return changed(self, handshakers=(*self.handshakers, other))

    def without_timeout(self) -> Self:
        """The same without a limit for all together."""
        return self.with_timeout(None)

    async def handshake(self, channel: HandshakeChannel, context: ConnectionContext, /) -> None:
        """Does them in order."""
        for handshaker in self.handshakers:
            await perform(handshaker, channel, context)

    def __len__(self) -> int:
        return len(self.handshakers)

    def __iter__(self) -> Iterator[SupportsHandshake]:
        return iter(self.handshakers)

    def __bool__(self) -> bool:
        return True

    def __repr__(self) -> str:
        return f"ChainedHandshaker({', '.join(map(repr, self.handshakers))})"


def chain_handshakers(*handshakers: SupportsHandshake) -> ChainedHandshaker:
    """``ChainedHandshaker`` of these, with its 60 s for all together."""
    return ChainedHandshaker(*handshakers)


async def perform(handshaker: SupportsHandshake, channel: HandshakeChannel, context: ConnectionContext) -> None:
    """Does a handshake within the handshaker's time limit.

    Raises:
        HandshakeTimeout: It took longer.
        HandshakeError: It failed. ``handshaker`` names the one that failed, ``is_retryable`` is what that one says.
            Whatever else it raised is the cause; it is retryable if ``fastws.errors.is_retryable`` says so.
    """
    channel.predicate_error = None
    if type(handshaker) is NoOpHandshaker:
        return  # as for most clients: a connection is ready in the turn in which it is open
    deadline = channel.limit(handshaker.timeout)
    try:
        async with deadline:
            with users_code:
                await apart(handshaker.handshake(channel, context))
    except HandshakeError as error:
        _judged(handshaker, error)
        raise
    except ConnectionClosed as error:
        failure = HandshakeError(str(error), kind="closed", code=error.code)
        raise _judged(handshaker, failure) from error
    except TimeoutError as error:
        if deadline.expired():
            raise _judged(handshaker, _late(handshaker, channel)) from channel.predicate_error
        raise _judged(handshaker, _other(error)) from error
    except Exception as error:
        raise _judged(handshaker, _other(error)) from error


def check(handshaker: object) -> None:
    """Refuses what is no handshaker."""
    if isinstance(handshaker, type) or not isinstance(handshaker, SupportsHandshake):
        raise TypeError(f"a handshaker is an object with handshake(), name and timeout, not {handshaker!r}")


def limit(name: str, value: float | timedelta | None) -> float | None:
    """A time limit in seconds."""
    return optional_duration(name, value, "no limit")


def fix(handshaker: Handshaker, **attributes: object) -> None:
    """Sets attributes of a ``Frozen`` that is being made."""
    for name, value in attributes.items():
        object.__setattr__(handshaker, name, value)


H = TypeVar("H", bound=Handshaker)


def changed(handshaker: H, **attributes: object) -> H:
    """A copy with other attributes."""
    other = copy.copy(handshaker)
    fix(other, **attributes)
    return other


def predicate_or_none(name: str, predicate: T) -> T:
    """Refuses what is neither callable nor None."""
    if not (predicate is None or callable(predicate)):
        raise TypeError(f"{name} is a callable that gets a decoded message, or None, not {type(predicate).__name__}")
    if is_async(predicate):
        raise TypeError(f"{name} is a plain function: what an async one returns would always count as true")
    return predicate


def excerpt(message: HandshakeMessage, *secrets: str) -> str:
    """The beginning of a server's message, for an error: see ``masked``."""
    data = message.data
    return masked(data if isinstance(data, str) else bytes(data).decode("utf-8", "replace"), *secrets)


def masked(text: str, *secrets: str) -> str:
    """The beginning of what a server said, for an error: without these secrets and what else looks like one."""
    # A shorter one would be found in ordinary words.
    text = Redactor(*(secret for secret in secrets if len(secret) >= _SHORTEST_SECRET)).filter(text)
    return printable(text if len(text) <= _EXCERPT else f"{text[:_EXCERPT]}...")


async def called(source: Callable[..., T | Awaitable[T]], *arguments: object) -> T:
    """What a callable, async or not, gives."""
    result = source(*arguments)
    return await result if isawaitable(result) else result


def _judged(handshaker: SupportsHandshake, error: HandshakeError) -> HandshakeError:
    if error.handshaker == Handshaker.name:
        error.handshaker = handshaker.name
    error.retryable = bool(handshaker.is_retryable(error))
    return error


def _late(handshaker: SupportsHandshake, channel: HandshakeChannel) -> HandshakeTimeout:
    count = len(channel.unclaimed)
    came = f"{count} other message{'s' if count > 1 else ''} came" if count else "nothing came"
    why = f"no answer within {handshaker.timeout:g} s; {came}"
    if channel.predicate_error is not None:
        why += f", and a predicate raised {type(channel.predicate_error).__name__} on one of them"
    return HandshakeTimeout(why, handshaker=handshaker.name, timeout=handshaker.timeout)


def _other(error: Exception) -> HandshakeError:
    what = str(error) if isinstance(error, InnerCancellation) else f"{type(error).__name__} was raised in it"
    return HandshakeError(what, retryable=is_retryable(error))


def _message(message: Any) -> Message:
    if isinstance(message, str | bytes):
        return message
    try:
        return memoryview(message).tobytes()
    except TypeError:
        raise TypeError(
            f"a handshake's message is str or bytes-like, not {type(message).__name__}; for JSON use "
            "SendMessageHandshaker.json(...)"
        ) from None


def _anything(_message: object) -> bool:
    return True


_EXCERPT: Final = 200
"""Characters."""

_SHORTEST_SECRET: Final = 4
"""Characters."""
