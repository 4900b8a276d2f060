"""How a library takes fastws where it is installed, and websockets where it is not.

The library is written once, against the API of websockets; its users choose by what they install. Its pyproject.toml:

    dependencies = ["websockets>=13"]

    [project.optional-dependencies]
    fast = ["fastws-client>=0.1,<0.2"]
"""

import asyncio
import json
from typing import Any

from fastws import testing

try:
    from fastws.compat.websockets.asyncio.client import ClientConnection, connect
    from fastws.compat.websockets.exceptions import ConnectionClosed
except ImportError:
    from websockets.asyncio.client import ClientConnection, connect
    from websockets.exceptions import ConnectionClosed


class Ticker:
    """What the library offers: no name of either package is in its interface."""

    def __init__(self, uri: str) -> None:
        self._uri = uri
        self._ws: ClientConnection | None = None

    async def ask(self, question: dict[str, Any]) -> dict[str, Any]:
        """Sends a request and returns the answer, by a new connection if the last one is lost."""
        for _ in range(2):
            if self._ws is None:
                self._ws = await connect(self._uri)
            try:
                await self._ws.send(json.dumps(question))
                answer: dict[str, Any] = json.loads(await self._ws.recv())
            except ConnectionClosed:
                self._ws = None
            else:
                return answer
        raise ConnectionError(f"{self._uri} was lost twice")

    async def close(self) -> None:
        """Closes the connection."""
        if self._ws is not None:
            await self._ws.close()


async def main() -> None:
    with testing.Server() as server:
        ticker = Ticker(server.url("/echo"))
        print(await ticker.ask({"op": "subscribe", "channel": "BTC-USD"}))
        await ticker.close()
    print(f"connected by {connect.__module__}")


if __name__ == "__main__":
    asyncio.run(main())
