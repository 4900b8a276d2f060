"""Running a program on the fastest event loop there is."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Literal, TypeVar

__all__ = ["run"]

T = TypeVar("T")


def run(
    main: Coroutine[Any, Any, T], *, loop: Literal["auto", "uvloop", "asyncio"] = "auto", debug: bool | None = None
) -> T:
    """Runs ``main`` as ``asyncio.run`` does, on uvloop where it is installed.

    Args:
        main: The coroutine to run.
        loop: ``"auto"``, ``"uvloop"`` (ImportError where it is missing) or ``"asyncio"``.
        debug: asyncio's debug mode.
    """
    with asyncio.Runner(debug=debug, loop_factory=loop_factory(loop)) as runner:
        return runner.run(main)


def loop_factory(loop: str = "auto") -> Callable[[], asyncio.AbstractEventLoop] | None:
    """The factory for ``asyncio.Runner``: uvloop's, or None for asyncio's own."""
    if loop not in ("auto", "uvloop", "asyncio"):
        raise ValueError(f'loop must be "auto", "uvloop" or "asyncio", not {loop!r}')
    if loop == "asyncio":
        return None
    try:
        import uvloop
    except ImportError:
        if loop == "uvloop":
            raise
        return None
    return uvloop.new_event_loop
