"""Calls that block, in threads of our own: they take none of an executor's, and no exit waits for them."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import threading
import time
from collections.abc import Callable, Hashable
from types import TracebackType
from typing import Any, Generic, Protocol, TypeVar, cast

__all__ = ["Call", "Calls", "TooLate", "Wait", "in_thread", "on_loop"]

T = TypeVar("T")


class TooLate(Exception):
    """A call has not returned in time. No TimeoutError: the system has such errors of its own."""


class Call(Generic[T]):
    """One call, for all who ask for the same at the same time."""

    __slots__ = ("_act", "_asking", "_began", "_calls", "_error", "_from", "_is_over", "_result", "coming", "key")

    def __init__(self, calls: Calls, key: Hashable, act: Callable[[], T]) -> None:
        self.key = key
        self._calls = calls
        self._act = act
        self._asking: list[Callable[[], object]] = []
        self._began: float | None = None
        self._is_over = False
        self.coming = 0
        """So many have been given it and will ``tell`` it."""
        self._result: T | None = None
        self._error: BaseException | None = None
        self._from: TracebackType | None = None
        """Where it was raised: all who ask raise the same object, each from there."""

    @property
    def has_begun(self) -> bool:
        """Whether it has a thread, and waits for its turn no more."""
        return self._began is not None

    @property
    def takes_more(self) -> bool:
        """Whether others may join it. Where all have given it up its answer may be lost: who comes then asks anew."""
        return self._began is None or bool(self._asking) or time.monotonic() - self._began < _FRESH

    def tell(self, asking: Callable[[], object]) -> None:
        """Has ``asking`` called when it is over, in any thread."""
        with self._calls.lock:
            self.coming -= 1
            if not self._is_over:
                self._asking.append(asking)
                return
        asking()

    def leave(self, asking: Callable[[], object]) -> None:
        """``asking`` wants to hear no more. A call whose turn has not come is given up when the last one leaves."""
        with self._calls.lock:
            if asking in self._asking:
                self._asking.remove(asking)
                if not self._asking and not self.coming and self._calls.waiting.get(self.key) is self:
                    del self._calls.waiting[self.key]

    def begin(self) -> None:
        """Its turn has come."""
        self._began = time.monotonic()

    def run(self) -> None:
        """Calls."""
        try:
            self._result = self._act()
        except BaseException as error:  # noqa: BLE001 - whatever it is, it is the caller's
            own = error.__traceback__
            self._from = own and own.tb_next
            self._error = error

    def fail(self, error: Exception) -> None:
        """It cannot be called."""
        self._error = error

    def end(self) -> list[Callable[[], object]]:
        """It is over; these are to be told."""
        self._is_over = True
        asking, self._asking = self._asking, []
        return asking

    def result(self) -> T:
        """What it returned, or raises what it raised. It is over."""
        try:
            if self._error is not None:
                raise self._error.with_traceback(self._from)
            return cast("T", self._result)
        finally:
            del self  # which the error's traceback refers to


class Calls:
    """Calls that block, each in a daemon thread.

    Args:
        name: Of the threads.
        most: So many at a time; others wait for their turn.
    """

    def __init__(self, name: str, most: int) -> None:
        self.most = most
        self._name = name
        self.forget()
        _all.append(self)

    def ask(self, key: Hashable, act: Callable[[], T]) -> Call[T]:
        """The call of ``act``: one that is under way, if it is of the same ``key``."""
        with self.lock:
            call = self.waiting.get(key) or self._under_way.get(key)
            if call is not None and call.takes_more:
                call.coming += 1
                return call
            call = Call(self, key, act)
            call.coming = 1
            if self._threads >= self.most:
                self.waiting[key] = call
                return call
            self._threads += 1
            self._begin(call)
        try:
            threading.Thread(target=self._work, args=(call,), name=self._name, daemon=True).start()
        except RuntimeError as error:  # there are too many
            call.fail(OSError(errno.EAGAIN, str(error)))
            self._finish(call, go_on=False)
        return call

    def _begin(self, call: Call[Any]) -> None:
        call.begin()
        self._under_way[call.key] = call

    def _finish(self, call: Call[Any], *, go_on: bool) -> Call[Any] | None:
        """``call`` is over. The next one of those that wait, or none, and then the thread is over too."""
        with self.lock:
            if self._under_way.get(call.key) is call:
                del self._under_way[call.key]
            asking, more = call.end(), None
            if go_on and self.waiting:
                more = self.waiting.pop(next(iter(self.waiting)))
                self._begin(more)
            else:
                self._threads -= 1
        for tell in asking:
            tell()
        return more

    def _work(self, call: Call[Any] | None) -> None:
        while call is not None:
            call.run()
            call = self._finish(call, go_on=True)

    def forget(self) -> None:
        """Nothing is under way: a forked child has none of its parent's threads, one of which may have the lock."""
        # Whoever collects garbage while he has it may leave a call.
        self.lock = threading.RLock()
        self.waiting: dict[Hashable, Call[Any]] = {}
        self._under_way: dict[Hashable, Call[Any]] = {}
        self._threads = 0


class Wait(Protocol):
    """How a call is waited for: by an event loop, or by the thread. Raises TooLate after ``within`` seconds."""

    async def __call__(self, call: Call[T], within: float | None = None) -> T:
        """What it returns."""
        ...


async def on_loop(call: Call[T], within: float | None = None) -> T:
    """See ``Wait``; for the running loop."""
    loop = asyncio.get_running_loop()
    over: asyncio.Future[None] = loop.create_future()

    def tell() -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: it waits no more
            loop.call_soon_threadsafe(_settle, over)

    call.tell(tell)
    try:
        async with asyncio.timeout(within):
            await over
    except TimeoutError:
        raise TooLate from None
    finally:
        call.leave(tell)
    try:
        return call.result()
    finally:
        del call  # as above


def _settle(over: asyncio.Future[None]) -> None:
    if not over.done():
        over.set_result(None)


def in_thread(call: Call[T], within: float | None = None) -> T:
    """What ``call`` returns, waited for by this thread. Raises TooLate after ``within`` seconds."""
    over = threading.Event()
    call.tell(over.set)
    try:
        if not over.wait(within):
            raise TooLate
    finally:
        call.leave(over.set)
    try:
        return call.result()
    finally:
        del call  # as above


_FRESH = 1.0
"""Seconds for which a call is joined although nobody waits for it: so many threads more hang for each at most."""

_all: list[Calls] = []


def _after_fork() -> None:
    for calls in _all:
        calls.forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
