"""Authentication of servers, by its older name, is that of the installed ``websockets``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ._adopt import passes_through

if TYPE_CHECKING:
    from websockets.auth import *  # noqa: F403
else:
    passes_through(globals())
