"""The command line of the installed ``websockets``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ._adopt import passes_through

if TYPE_CHECKING:
    from websockets.cli import *  # noqa: F403
else:
    passes_through(globals())
