"""Private names of websocket-client that are not ours: where it is installed, its own are given."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastws.compat import _installed

__all__ = ["private"]


def private(module: str) -> Callable[[str], Any]:
    """A ``__getattr__`` for our module of that name."""

    def found(name: str) -> Any:
        if not name.startswith("__"):
            original = _installed.find(f"websocket.{module}")
            if original is not None and hasattr(original, name):
                return getattr(original, name)
        raise AttributeError(f"module 'fastws.compat.websocket_client.{module}' has no attribute {name!r}")

    return found
