"""Callbacks from the socket's own event."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .connection import Connection
    from .errors import CloseInfo

__all__ = ["Listener"]


class Listener:
    """Receives a connection's messages by callbacks; pass an instance as ``listener=`` of ``fastws.connect``.

    Override what you need. Callbacks are plain functions: they run inside the socket's event, in a copy of the context
    that ``connect`` was called in. An exception in one closes the connection with 1011, goes to the loop's exception
    handler, and is raised by ``fastws.Connection.wait_closed`` and at the end of ``async with``. If ``on_batch`` is
    overridden it is called instead of ``on_message``.
    """

    def on_open(self, ws: Connection) -> None:
        """The connection is open; runs before ``connect`` returns and before any message."""

    def on_message(self, ws: Connection, message: str | bytes) -> None:
        """A message arrived."""

    def on_batch(self, ws: Connection, messages: list[str | bytes]) -> None:
        """Messages arrived together."""

    def on_close(self, ws: Connection, close: CloseInfo) -> None:
        """The connection is over; the last call, made once."""


class Callbacks:
    """The callbacks of a listener that are not inherited from ``Listener``, checked."""

    __slots__ = ("on_batch", "on_close", "on_message", "on_open")

    def __init__(self, listener: object) -> None:
        if inspect.isclass(listener):
            raise TypeError(f"listener is an instance: {listener.__name__}(...), not the class")
        self.on_open = _callback(listener, "on_open")
        self.on_batch = _callback(listener, "on_batch")
        self.on_message = None if self.on_batch else _callback(listener, "on_message")
        self.on_close = _callback(listener, "on_close")
        if not (self.on_message or self.on_batch):
            if isinstance(listener, Listener):
                raise TypeError(f"{type(listener).__name__} has neither on_message nor on_batch")
            raise TypeError(f"listener is an object with on_message or on_batch, as fastws.Listener, not {listener!r}")


def _callback(listener: object, name: str) -> Callable[..., Any] | None:
    callback = getattr(listener, name, None)
    if callback is None or getattr(callback, "__func__", None) is getattr(Listener, name):
        return None
    if _is_async(callback):
        raise TypeError(
            f"{type(listener).__name__}.{name} is an async function; a listener's callbacks are plain functions "
            "(start a task from one, or use `async for` on the connection)"
        )
    if not callable(callback):
        raise TypeError(f"{type(listener).__name__}.{name} is not callable")
    return callback  # type: ignore[no-any-return]


def _is_async(function: Any) -> bool:
    return any(
        inspect.iscoroutinefunction(candidate) or inspect.isasyncgenfunction(candidate)
        for candidate in (function, getattr(function, "__call__", None))  # noqa: B004 - an object with an async __call__
    )
