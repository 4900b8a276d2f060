"""Picows' own way through proxies, for who uses it by itself; ``ws_connect`` of ours has fastws'."""

from __future__ import annotations

from typing import Any

from fastws.compat import _installed

from .api import WSSocketFactory

__all__ = ["WSSocketFactory"]


def __getattr__(name: str) -> Any:
    """What only the original has."""
    original = _installed.find("picows.proxy")
    if original is None or name.startswith("__"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(original, name)
