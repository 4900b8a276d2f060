"""How waits end: from elsewhere, without a task or an event for each; by who cancels; when others have, or refuse."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from inspect import CORO_CREATED, getcoroutinestate
from types import TracebackType
from typing import Any, Final, TypeVar

__all__ = [
    "InnerCancellation",
    "Interrupt",
    "Interrupted",
    "apart",
    "cut",
    "ended",
    "in_a_moment",
    "leave",
    "tell",
    "users_code",
    "whose_turn",
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


async def apart(users: Awaitable[T], *, late: Callable[[T], object] | None = None) -> T:
    """The result of ``users``, which users wrote, in a task of its own: what ends this wait need not wait for that.

    It is cancelled then, after its first step at the earliest, and left to itself if it does not end.

    Args:
        users: What is awaited, as in ``users_code``.
        late: Gets a result that nobody waits for any more.
    """
    work = _awaited(users)
    task = asyncio.get_running_loop().create_task(work)
    me = asyncio.current_task()
    assert me is not None, "it is awaited in a task"
    _APART[task] = me
    try:
        await asyncio.wait([task])
    except asyncio.CancelledError:
        while getcoroutinestate(work) == CORO_CREATED:
            with contextlib.suppress(asyncio.CancelledError):  # one is on its way already
                await asyncio.sleep(0)
        try:
            await cut([task])
        finally:
            if late is not None:
                _give(late, task)
        raise
    finally:
        del _APART[task]
    with users_code:  # it may have cancelled itself
        return task.result()


async def _awaited(users: Awaitable[T]) -> T:
    with users_code:
        return await users


def _give(late: Callable[[T], object], task: asyncio.Task[T]) -> None:
    if not task.done():
        task.add_done_callback(functools.partial(_give, late))
    elif not task.cancelled() and task.exception() is None:
        late(task.result())


def whose_turn() -> asyncio.Task[Any] | None:
    """The task that runs; or, where that is users' code ``apart``, the one that waits for it."""
    task = asyncio.current_task()
    while task in _APART:
        task = _APART[task]
    return task


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
    if task not in _APART.values():  # else it ends with its own wait for what does not
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


_APART: Final[dict[asyncio.Task[Any], asyncio.Task[Any]]] = {}
"""Users' code that runs in a task of its own, and the task that waits for it."""

_LEFT: Final[set[asyncio.Task[Any]]] = set()
