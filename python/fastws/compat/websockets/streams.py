"""The Sans-I/O streams of the installed ``websockets``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ._adopt import passes_through

if TYPE_CHECKING:
    from websockets.streams import *  # noqa: F403
else:
    passes_through(globals())
