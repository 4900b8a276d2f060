"""Carries out the hooks of extensions: in order, within a time limit, with one policy for what goes wrong."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from datetime import timedelta
from difflib import get_close_matches
from inspect import isawaitable
from time import monotonic
from typing import TYPE_CHECKING, Any, Final, Literal, get_args

from fastws._checks import choice, optional_duration
from fastws._deadline import Deadline
from fastws._interrupt import InnerCancellation, apart, users_code
from fastws.context import ConnectionContext
from fastws.errors import ConfigError, ExtensionError

from .base import Extension, Message, overrides

if TYPE_CHECKING:
    from fastws.events import DisconnectReason, Event

__all__ = ["ExtensionHost", "ExtensionPolicy"]

ExtensionPolicy = Literal["ignore", "disconnect", "fatal"]
"""What follows when a hook raises or takes too long: see ``ExtensionHost``."""

_HOOKS: Final = tuple(name for name in vars(Extension) if name.startswith("on_"))


class ExtensionHost:
    """The extensions of a client.

    A hook that raises, or that is ``async`` and takes longer than ``timeout``, is an ``ExtensionError`` that names
    extension and hook. What follows is the policy's:

    - ``"ignore"``: it is logged. A received message goes on as that extension got it.
    - ``"disconnect"``: it is raised to the client, which ends the session with this cause and connects again.
    - ``"fatal"``: it is raised to the client, which ends with it.

    Three cases do not depend on the policy. ``on_init``: it is raised. ``on_send``: it is raised to the sender and
    nothing is sent, since an extension that checks orders must not be passed by. ``on_disconnect`` and ``on_shutdown``:
    it is logged, since the session or the client ends anyway, and the other extensions get their call.

    An async hook is cancelled when its time is over; one that does not end even so is named in the log and left to
    itself, but for those of messages.

    A plain hook cannot be interrupted; one that blocks the event loop for longer than ``timeout`` is named in the log,
    once.

    Args:
        extensions: The first extensions; their ``on_init`` runs in ``start``.
        timeout: Seconds that an async hook may take; None for no limit.
        policy: What follows an error.

    Attributes:
        timeout: As given, in seconds.
        policy: As given.
        context: The context of the session, or of the last one.
        deadline: When everything has to be done: set while the client shuts down.

    Raises:
        ConfigError: Two extensions have the same name, or ``timeout`` or ``policy`` is not allowed.
        TypeError: One is no extension.
    """

    __slots__ = (
        "_arriving",
        "_connected",
        "_extensions",
        "_incoming",
        "_initialised",
        "_observers",
        "_outgoing",
        "_ready",
        "_running",
        "_slow",
        "_to_shut_down",
        "context",
        "deadline",
        "policy",
        "timeout",
    )

    def __init__(
        self,
        extensions: Iterable[Extension] = (),
        *,
        timeout: float | timedelta | None = 5.0,
        policy: ExtensionPolicy = "ignore",
    ) -> None:
        self.policy: ExtensionPolicy = choice("policy", policy, get_args(ExtensionPolicy))
        self.deadline = Deadline()
        self.timeout = optional_duration("timeout", timeout, "no limit")
        self.context = ConnectionContext(0, attempt=0)
        # Frozen sets: those of an idle client are all the same empty one.
        self._initialised: frozenset[int] = _NONE
        self._arriving: frozenset[str] = _NONE
        self._connected: frozenset[str] = _NONE
        self._to_shut_down: frozenset[str] = _NONE
        self._ready = False
        self._running = False
        self._slow: frozenset[tuple[str, str]] = _NONE
        self._set(())
        for extension in extensions:
            self._check(extension)
            self._set((*self._extensions, extension))

    @property
    def names(self) -> tuple[str, ...]:
        """The names, in order of registration."""
        return tuple(extension.name for extension in self._extensions)

    def __len__(self) -> int:
        return len(self._extensions)

    def __bool__(self) -> bool:
        return True

    def get(self, name: str) -> Extension | None:
        """The extension of this name, or None."""
        return next((extension for extension in self._extensions if extension.name == name), None)

    @property
    def handles_messages(self) -> bool:
        """Whether received messages have to go through ``process``."""
        return bool(self._incoming)

    @property
    def handles_outgoing(self) -> bool:
        """Whether messages to send have to go through ``process_outgoing``."""
        return bool(self._outgoing)

    @property
    def handles_events(self) -> bool:
        """Whether an extension wants events."""
        return bool(self._observers)

    async def start(self) -> None:
        """A run of the client begins: ``on_init`` of those that have not had it. Does nothing in a run.

        Raises:
            ExtensionError: One failed; the run has not begun.
        """
        if not self._running:  # a run that was ended by force may have left some
            self._connected, self._ready = _NONE, False
        for extension in self._extensions:
            await self._initialise(extension)
        self._running = True
        self._to_shut_down = frozenset(self.names) if self._extensions else _NONE

    async def register(self, extension: Extension) -> None:
        """Adds an extension, at any time: ``on_init``, and ``on_connect`` if a session is ready.

        Raises:
            ConfigError: There is one of this name.
            TypeError: It is no extension.
            ExtensionError: ``on_init`` failed; it is not registered. Or ``on_connect``, if the policy is not to ignore
                it; it is registered.
        """
        self._check(extension)
        self._arriving |= {extension.name}
        try:
            await self._initialise(extension)
        finally:
            self._arriving -= {extension.name}
        self._set((*self._extensions, extension))
        if self._running:
            self._to_shut_down |= {extension.name}
        if self._ready:
            await self._connect(extension)

    async def unregister(self, name: str) -> Extension:
        """Takes an extension out: ``on_disconnect`` if a session is ready, ``on_shutdown`` if the client runs.

        Raises:
            KeyError: There is none of this name.
        """
        extension = self.get(name)
        if extension is None:
            raise KeyError(name)
        self._set(tuple(other for other in self._extensions if other is not extension))
        self._initialised -= {id(extension)}
        if name in self._connected:
            self._connected -= {name}
            await self._quietly(extension, "on_disconnect", self.context, None)
        if name in self._to_shut_down:
            self._to_shut_down -= {name}
            await self._quietly(extension, "on_shutdown", self.context)
        return extension

    async def notify_connect(self, context: ConnectionContext) -> None:
        """A session is ready.

        Raises:
            ExtensionError: The first that failed, after all had their call; not if the policy is to ignore it.
        """
        self.context = context
        self._ready = True
        failure: ExtensionError | None = None
        for extension in self._extensions:
            if not self._ready:
                break  # it is over already: the others have nothing of it
            try:
                await self._connect(extension)
            except ExtensionError as error:
                failure = failure or error
        if failure is not None:
            raise failure

    async def notify_disconnect(self, context: ConnectionContext, reason: DisconnectReason | None = None) -> None:
        """A session is over: ``on_disconnect`` of those that had ``on_connect``.

        A cancellation ends the call that is under way; the others are made.
        """
        self._ready = False
        cancelled: asyncio.CancelledError | None = None
        for extension in reversed(self._extensions):
            if extension.name in self._connected:
                self._connected -= {extension.name}
                cancelled = await self._at_the_end(extension, "on_disconnect", context, reason) or cancelled
        if cancelled is not None:
            raise cancelled

    async def notify_shutdown(self, context: ConnectionContext | None = None) -> None:
        """The run is over: ``on_shutdown`` of all that have not had it since ``start``.

        A cancellation ends the call that is under way; the others are made.
        """
        self._running = False
        cancelled: asyncio.CancelledError | None = None
        for extension in reversed(self._extensions):
            if extension.name in self._to_shut_down:
                self._to_shut_down -= {extension.name}
                cancelled = await self._at_the_end(extension, "on_shutdown", context or self.context) or cancelled
        if cancelled is not None:
            raise cancelled

    async def notify_event(self, event: Event, context: ConnectionContext | None = None) -> None:
        """Something happened.

        Raises:
            ExtensionError: One failed; not if the policy is to ignore it.
        """
        for extension in self._observers:
            await self._by_policy(extension, "on_event", event, context or self.context)

    async def process(self, message: Message, context: ConnectionContext) -> Message | None:
        """What the extensions make of a received message; None if one of them keeps it.

        Raises:
            ExtensionError: One failed; not if the policy is to ignore it.
        """
        for extension in self._incoming:
            try:
                result = await self._message_of(extension, "on_message", extension.on_message, message, context)
            except Exception as error:
                failure = self._failure(extension, "on_message", error)
                if self.policy != "ignore":
                    raise failure from error
                _log(failure, error)
                continue
            if result is None:
                return None
            message = result
        return message

    async def process_outgoing(self, message: Message, context: ConnectionContext) -> Message | None:
        """What the extensions make of a message to send; None if one of them stops it.

        Raises:
            ExtensionError: One failed: the message is not to be sent.
        """
        for extension in reversed(self._outgoing):
            try:
                result = await self._message_of(extension, "on_send", extension.on_send, message, context)
            except Exception as error:
                raise self._failure(extension, "on_send", error) from error
            if result is None:
                return None
            message = result
        return message

    def _check(self, extension: object) -> None:
        if not isinstance(extension, Extension):
            raise TypeError(f"an extension is an instance of a class derived from fastws.Extension, not {extension!r}")
        if not (isinstance(extension.name, str) and extension.name):
            raise TypeError(f"an extension's name is a str, and not empty: {type(extension).__name__}.name")
        if extension.name in self._arriving or self.get(extension.name) is not None:
            raise ConfigError(
                f"there is an extension named {extension.name!r} already; give this one another name",
                field="extensions",
            )

    def _set(self, extensions: tuple[Extension, ...]) -> None:
        self._extensions: tuple[Extension, ...] = extensions
        self._incoming = tuple(e for e in extensions if e.handles_messages and overrides(e, "on_message"))
        self._outgoing = tuple(e for e in extensions if e.handles_outgoing and overrides(e, "on_send"))
        self._observers = tuple(e for e in extensions if e.handles_lifecycle and overrides(e, "on_event"))

    async def _initialise(self, extension: Extension) -> None:
        if id(extension) in self._initialised:
            return
        for hook, flag in (("on_message", "handles_messages"), ("on_send", "handles_outgoing")):
            # Who says it, even that it is False, means it.
            if overrides(extension, hook) and not _says(extension, flag):
                _LOGGER.warning(
                    "the extension %r has %s and does not say %s = True: it gets no messages",
                    extension.name,
                    hook,
                    flag,
                )
        for name in dir(type(extension)):
            if name.startswith("on_") and name not in _HOOKS and (meant := get_close_matches(name, _HOOKS, 1, 0.8)):
                _LOGGER.warning("the extension %r has %s, which is no hook; %s is", extension.name, name, meant[0])
        try:
            await self._call(extension, "on_init", self.context)
        except Exception as error:
            raise self._failure(extension, "on_init", error) from error
        self._initialised |= {id(extension)}

    async def _connect(self, extension: Extension) -> None:
        if extension.handles_lifecycle and extension.name not in self._connected:
            self._connected |= {extension.name}
            await self._by_policy(extension, "on_connect", self.context)

    async def _by_policy(self, extension: Extension, hook: str, *arguments: object) -> None:
        try:
            await self._call(extension, hook, *arguments)
        except Exception as error:
            failure = self._failure(extension, hook, error)
            if self.policy != "ignore":
                raise failure from error
            _log(failure, error)

    async def _at_the_end(self, extension: Extension, hook: str, *arguments: object) -> asyncio.CancelledError | None:
        """As ``_quietly``; what cancels the call is returned, to be raised when the others have had theirs."""
        try:
            await self._quietly(extension, hook, *arguments)
        except asyncio.CancelledError as error:
            return error
        return None

    async def _quietly(self, extension: Extension, hook: str, *arguments: object) -> None:
        try:
            await self._call(extension, hook, *arguments)
        except Exception as error:  # noqa: BLE001 - it is logged, whatever it is
            _log(self._failure(extension, hook, error), error)

    async def _call(self, extension: Extension, hook: str, *arguments: object) -> Any:
        started = monotonic()
        with users_code:
            result = getattr(extension, hook)(*arguments)
        self._watch(extension, hook, started)
        return await self._awaited(apart(result)) if isawaitable(result) else result

    async def _message_of(
        self,
        extension: Extension,
        hook: str,
        function: Callable[[Message, ConnectionContext], Message | Awaitable[Message | None] | None],
        message: Message,
        context: ConnectionContext,
    ) -> Message | None:
        started = monotonic()
        try:  # at less than the price of `users_code`, as it is for each message
            result: Any = function(message, context)
        except asyncio.CancelledError as error:
            raise InnerCancellation from error
        self._watch(extension, hook, started)
        if result is None or isinstance(result, str | bytes):
            return result
        if isawaitable(result):
            result = await self._awaited(result)
        return _message(result)

    async def _awaited(self, result: Awaitable[Any]) -> Any:
        if asyncio.current_task() is None:  # `send_nowait` in a callback, for which nothing can wait
            with users_code:
                return await result
        limit = self.deadline.limit(self.timeout)
        try:
            async with limit:
                with users_code:
                    return await result
        except TimeoutError as error:
            if limit.expired():
                raise _Late(self._why_late()) from error
            raise

    def _why_late(self) -> str:
        if self.deadline.is_over:
            return "it was not done when the client had to be shut down"
        return f"it took longer than {self.timeout:g} s"

    def _watch(self, extension: Extension, hook: str, started: float) -> None:
        if self.timeout is not None and monotonic() - started > self.timeout:
            self._name_slow(extension, hook)

    def _failure(self, extension: Extension, hook: str, error: Exception) -> ExtensionError:
        what = str(error) if isinstance(error, _Late | InnerCancellation | _WrongType) else f"it raised {error!r}"
        return ExtensionError(what, name=extension.name, hook=hook)

    def _name_slow(self, extension: Extension, hook: str) -> None:
        if (extension.name, hook) not in self._slow:
            self._slow |= {(extension.name, hook)}
            _LOGGER.warning(
                "the extension %r blocked the event loop in %s for more than %g s; let it await, or do less",
                extension.name,
                hook,
                self.timeout,
            )

    def __repr__(self) -> str:
        return f"<fastws.ExtensionHost {list(self.names)} {self.policy}>"


class _Late(TimeoutError):
    """An async hook took too long."""


class _WrongType(TypeError):
    """A hook returned what is no message."""


def _message(result: object) -> Message | None:
    if result is None or isinstance(result, str | bytes):
        return result
    if isinstance(result, bytearray | memoryview):
        return bytes(result)
    raise _WrongType(f"it returned {type(result).__name__}, not str, bytes or None")


def _says(extension: Extension, flag: str) -> bool:
    return flag in getattr(extension, "__dict__", {}) or any(
        flag in vars(kind) for kind in type(extension).__mro__ if kind is not Extension and issubclass(kind, Extension)
    )


def _log(failure: ExtensionError, error: Exception) -> None:
    _LOGGER.error("%s", failure, exc_info=error)


_NONE: Final[frozenset[Any]] = frozenset()

_LOGGER: Final = logging.getLogger("fastws.extensions")
