"""How waits end: from elsewhere, without a task or an event for each; by who cancels; when others have, or refuse."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Coroutine, Iterable
from types import TracebackType
from typing import Any, Final, TypeVar

__all__ = [
    "InnerCancellation",
    "Interrupt",
    "Interrupted",
    "cut",
    "ended",
    "in_a_moment",
    "leave",
    "tell",
    "users_code",
]

T = TypeVar("T")

MOMENT: Final = 0.5
"""Seconds that a task which was told to end has for it: users' code may refuse to be cancelled."""

log = logging.getLogger("fastws.client")


class Interrupted(Exception):
    """The wait was ended by ``Interrupt.request``."""


class Interrupt:
    """Waits of one task that others may end.

    Built on ``asyncio.Timeout``, which knows how to tell its own cancellation from somebody else's: a cancellation of
    the task itself is never swallowed.
    """

    __slots__ = ("_scope", "is_requested")

    def __init__(self) -> None:
        self._scope: asyncio.Timeout | None = None
        self.is_requested = False

    def request(self) -> None:
        """Ends the wait that is under way, and every later one at once."""
        self.is_requested = True
        if self._scope is not None and not self._scope.expired():
            self._scope.reschedule(asyncio.get_running_loop().time())

    def clear(self) -> None:
        """Lets waits wait again."""
        self.is_requested = False

    async def wait(self, what: Awaitable[T]) -> T:
        """The result of ``what``; raises Interrupted if that was requested first."""
        if self.is_requested:
            if isinstance(what, Coroutine):
                what.close()
            raise Interrupted
        scope = asyncio.timeout(None)
        try:
            async with scope:
                self._scope = scope
                return await what
        except TimeoutError:
            if scope.expired():
                raise Interrupted from None
            raise
        finally:
            self._scope = None


class InnerCancellation(RuntimeError):
    """User code ended with a CancelledError, which is the cause, and nobody cancels the task that it runs in."""

    def __init__(self) -> None:
        super().__init__("something that it waited for was cancelled")


class _UsersCode:
    """``with users_code:`` around what users wrote, whether it is awaited or called.

    A CancelledError that is born in there, as of a task of theirs that was cancelled, is a mistake like any other:
    InnerCancellation. One that ends this task goes on.
    """

    __slots__ = ()

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        if isinstance(error, asyncio.CancelledError):
            try:
                task = asyncio.current_task()
            except RuntimeError:  # no loop runs here
                task = None
            if task is None or not task.cancelling():
                raise InnerCancellation from error


users_code: Final = _UsersCode()


def tell(waiters: Iterable[asyncio.Future[None]], error: BaseException | None = None) -> None:
    """Lets those go on who wait for these futures and were not cancelled; with an error, they get it."""
    for future in waiters:
        if future.done():
            continue
        if error is None:
            future.set_result(None)
        else:
            future.set_exception(error)


async def ended(tasks: Iterable[asyncio.Task[None]]) -> None:
    """Waits for tasks. To be cancelled meanwhile cancels them, and they are waited for all the same."""
    pending = {task for task in tasks if not task.done()}
    cancelled: asyncio.CancelledError | None = None
    while pending:
        try:
            _, pending = await asyncio.wait(pending)
        except asyncio.CancelledError as error:
            cancelled = error
            for task in pending:
                task.cancel()
            pending = {task for task in pending if not task.done()}
    for task in tasks:
        if not task.cancelled():
            task.exception()  # whoever needs it has it
    if cancelled is not None:
        raise cancelled


async def in_a_moment(tasks: Iterable[asyncio.Task[Any]]) -> bool:
    """Gives tasks that were told to end a moment for it, whatever cancels that. Returns whether they have ended."""
    loop = asyncio.get_running_loop()
    pending = {task for task in tasks if not task.done()}
    until = loop.time() + MOMENT
    cancelled: asyncio.CancelledError | None = None
    while pending and (left := until - loop.time()) > 0:
        try:
            _, pending = await asyncio.wait(pending, timeout=left)
        except asyncio.CancelledError as error:
            cancelled = error
            pending = {task for task in pending if not task.done()}
    if cancelled is not None:
        raise cancelled
    return not pending


async def cut(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Cancels tasks that run users' code, and waits for a moment. One that does not end is left to itself."""
    tasks = [task for task in tasks if not task.done()]
    for task in tasks:
        task.cancel()
    try:
        await in_a_moment(tasks)
    finally:
        for task in tasks:
            if not task.done():
                leave(task)
            elif not task.cancelled():
                task.exception()  # whoever needs it has it


def leave(task: asyncio.Task[Any]) -> None:
    """A task does not end, though it was cancelled: it is left to itself, and what it waits for is named in the log."""
    log.warning("%s does not end, though it was cancelled, and is left to itself", _users_part(task))
    _LEFT.add(task)  # an event loop holds it weakly
    task.add_done_callback(_LEFT.discard)


def _users_part(task: asyncio.Task[Any]) -> str:
    """The function of the user's that a task is in; its own name if there is none."""
    inner: Any = task.get_coro()
    while inner is not None:
        frame = getattr(inner, "cr_frame", None)
        if frame is not None and str(frame.f_globals.get("__name__")).partition(".")[0] not in ("fastws", "asyncio"):
            return str(inner.__qualname__)
        inner = getattr(inner, "cr_await", None)
    return task.get_name()


_LEFT: Final[set[asyncio.Task[Any]]] = set()
