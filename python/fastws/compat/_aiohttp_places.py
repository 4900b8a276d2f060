"""A WebSocket of ours is one of the connections of its session's connector: it counts, and ends with it."""

from __future__ import annotations

import asyncio
import contextlib
import weakref
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ._aiohttp_response import ClientWebSocketResponse

__all__ = ["Place", "can_have_places", "placed"]


class Place:
    """What a connector has in the place of a connection of its own.

    Args:
        connector: Whose place it is, from now on.
        key: The ``ConnectionKey`` of the host, by which connections are counted.
    """

    __slots__ = ("__weakref__", "_connector", "_key", "_ws", "closed", "transport")

    def __init__(self, connector: Any, key: Any) -> None:
        self._connector: Any = connector
        self._key = key
        self._ws: weakref.ref[ClientWebSocketResponse] | None = None
        self.closed = None
        self.transport = None
        connector._acquired.add(self)
        if connector._limit_per_host:
            connector._acquired_per_host[key].add(self)

    def take(self, ws: ClientWebSocketResponse) -> None:
        """The place is its until it is closed, or forgotten."""
        self._ws = weakref.ref(ws, self._forgotten)
        ws._when_closed = self.leave

    def _forgotten(self, _: object) -> None:
        """In whichever thread garbage is collected."""
        connector = self._connector
        if connector is not None:
            with contextlib.suppress(RuntimeError):  # the loop is closed
                connector._loop.call_soon_threadsafe(self.leave)

    def leave(self) -> None:
        """Gives the place to who waits for one."""
        connector, self._connector = self._connector, None
        if connector is not None and not connector._loop.is_closed():
            connector._release_acquired(self._key, self)

    def close(self) -> None:
        """The connector closes."""
        ws = None if self._ws is None else self._ws()
        if ws is not None:
            ws.connection._abort("the connector of its session was closed")

    abort = close


def can_have_places(connector: Any) -> bool:
    """Whether its limits can be kept: those of an older aiohttp's are not so to be asked."""
    return hasattr(connector, "_wait_for_available_connection") and hasattr(connector, "_acquired_per_host")


async def placed(connector: Any, key: Any, url: object, limit: float | None) -> Place:
    """A place in a connector, which is waited for if it has none.

    Raises:
        ConnectionTimeoutError: There was none for ``limit`` seconds.
    """
    from ._aiohttp_types import ConnectionTimeoutError  # not before aiohttp itself is whole

    if connector._available_connections(key) <= 0:
        try:
            async with asyncio.timeout(limit):
                await connector._wait_for_available_connection(key, [])
        except TimeoutError as error:
            raise ConnectionTimeoutError(f"Connection timeout to host {url}") from error
    return Place(connector, key)
