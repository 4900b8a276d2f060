"""Running a program on the fastest event loop there is."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import inspect
import os
import sys
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, Literal, TypeVar

from . import _options

__all__ = ["run"]

T = TypeVar("T")


def run(
    main: Coroutine[Any, Any, T],
    *,
    loop: Literal["auto", "uvloop", "winloop", "rloop", "asyncio"] = "auto",
    debug: bool | None = None,
    spin: bool = False,
    cpu: int | None = None,
) -> T:
    """Runs ``main`` as ``asyncio.run`` does, on uvloop (Windows: winloop) where that is installed.

    Args:
        main: The coroutine to run.
        loop: ``"auto"``; ``"asyncio"``, its own; or ``"uvloop"``, ``"winloop"`` or ``"rloop"``, which is an ImportError
            where it is missing.
        debug: asyncio's debug mode.
        spin: The event loop never sleeps: it looks at all its sockets and timers in every turn. It takes a core whole,
            for the microseconds that a sleeping thread needs to wake.
        cpu: Number of the core that this thread runs on meanwhile (Linux); threads that it starts inherit that.

    Raises:
        RuntimeError: An event loop runs in this thread already.
        ValueError: There is no such core for this process, or ``loop`` is none of these.
        TypeError: ``main`` is no coroutine, or another argument is of a wrong type.
    """
    try:
        _require_coroutine(main)
        _options.switch("spin", spin)
        if debug is not None:
            _options.switch("debug", debug, ", or None for the default")
        _require_no_loop()
        factory = loop_factory(loop)
        with _pinned(cpu), asyncio.Runner(debug=debug, loop_factory=factory) as runner:
            if spin:
                _keep_awake(runner.get_loop())
            return runner.run(main)
    finally:
        if asyncio.iscoroutine(main):
            main.close()  # one that could not start is not complained of besides


def _require_coroutine(main: object) -> None:
    if not asyncio.iscoroutine(main):
        called = f": call it, {main.__name__}()" if inspect.iscoroutinefunction(main) else ""
        raise TypeError(f"main is a coroutine, such as main(), not {main!r}{called}")


def _require_no_loop() -> None:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    raise RuntimeError("fastws.run() starts an event loop, and one runs here already: `await` the coroutine instead")


@contextlib.contextmanager
def _pinned(cpu: int | None) -> Iterator[None]:
    """This thread stays on a core as long as the context lasts."""
    if cpu is None:
        yield
        return
    if isinstance(cpu, bool) or not isinstance(cpu, int):
        raise TypeError(f"cpu is the number of a core (int), not {cpu!r}")
    if sys.platform != "linux":
        raise ValueError(f"cpu={cpu}: a thread can be pinned to a core on Linux only; leave it out")
    allowed = os.sched_getaffinity(0)
    if cpu not in allowed:
        shown = ", ".join(map(str, sorted(allowed)))
        raise ValueError(f"cpu={cpu}: this process may run on the cores {shown}")
    os.sched_setaffinity(0, {cpu})
    try:
        yield
    finally:
        os.sched_setaffinity(0, allowed)


def _keep_awake(loop: asyncio.AbstractEventLoop) -> None:
    """Something is to be done in every turn of the loop, so none sleeps."""

    def turn() -> None:
        loop.call_soon(turn)

    turn()


def loop_factory(loop: str = "auto") -> Callable[[], asyncio.AbstractEventLoop] | None:
    """The factory for ``asyncio.Runner``: that of a package, or None for asyncio's own."""
    if loop == "asyncio":
        return None
    if loop not in ("auto", *_PACKAGES):
        raise ValueError(f'loop must be "auto", "uvloop", "winloop", "rloop" or "asyncio", not {loop!r}')
    package = loop if loop != "auto" else "winloop" if sys.platform == "win32" else "uvloop"
    try:
        factory: Callable[[], asyncio.AbstractEventLoop] = importlib.import_module(package).new_event_loop
    except ImportError:
        if loop == "auto":
            return None
        raise
    return factory


_PACKAGES = ("uvloop", "winloop", "rloop")
"""Event loops of others, each by ``new_event_loop`` of its package."""
