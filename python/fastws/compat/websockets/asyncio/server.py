"""Servers are those of the installed ``websockets``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastws.compat.websockets._adopt import passes_through

if TYPE_CHECKING:
    from websockets.asyncio.server import Server, ServerConnection, basic_auth, serve, unix_serve

    from .connection import broadcast

    __all__ = ["Server", "ServerConnection", "basic_auth", "broadcast", "serve", "unix_serve"]
else:
    passes_through(globals())
