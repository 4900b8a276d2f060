"""Trio is spoken by the installed ``websockets``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastws.compat.websockets._adopt import passes_through

if TYPE_CHECKING:
    from websockets.trio.router import *  # noqa: F403
else:
    passes_through(globals())
