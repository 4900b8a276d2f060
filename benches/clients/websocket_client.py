"""websocket-client: the blocking client that most programs have."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any, ClassVar

from meter import Meter, Sample

from . import blocking
from .base import BLOCKING, Client


class WebsocketClient(Client):
    """Sends are masked by Python unless wsaccel is there; without compression."""

    name = "websocket-client"
    package = "websocket"
    share = 0.2
    kinds: ClassVar[frozenset[str]] = BLOCKING

    async def open(self, url: str) -> Any:
        import websocket

        context = self.tls(url)
        return websocket.create_connection(url, sslopt={"context": context} if context else None)

    def sending(self, connection: Any) -> Callable[[Any], Any]:
        """Its ``send()`` is for text."""
        return connection.send_binary  # type: ignore[no-any-return]

    async def close(self, connection: Any) -> None:
        connection.close()

    async def end_sends(self, connection: Any) -> None:
        """Its ``close()`` waits for three seconds at most; the server closes by itself behind the last message."""
        with contextlib.suppress(Exception):
            while connection.connected:
                connection.recv()
        connection.close()

    async def ingest(self, url: str, count: int, meter: Meter, take: Callable[[Any], int]) -> Sample:
        seen = 0
        meter.start()
        ws = await self.open(url)
        recv = ws.recv
        for _ in range(count):
            take(recv())
            seen += 1
        sample = meter.stop(seen)
        ws.close()
        return sample

    round_trip = blocking.round_trip
    send = blocking.send
