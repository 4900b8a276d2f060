"""Servers are those of the installed ``websockets``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastws.compat.websockets._adopt import passes_through

if TYPE_CHECKING:
    from websockets.asyncio.server import (  # noqa: TC004 - names of this module to type checkers alone
        Server,
        ServerConnection,
        basic_auth,
        serve,
        unix_serve,
    )

    from .connection import broadcast  # noqa: TC004

    __all__ = ["Server", "ServerConnection", "basic_auth", "broadcast", "serve", "unix_serve"]
else:
    passes_through(globals())
