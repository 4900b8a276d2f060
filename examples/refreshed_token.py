"""Authentication with a token that expires: the client asks for a fresh one and goes on by itself.

The venue of this example ends every session with Close 4401 when its token expires, and takes none twice.
"""

import asyncio

import fastws
from fastws.testing import ExpireAt, Server, Venue

TOKENS = ["token-1", "token-2", "token-3"]
MESSAGES = 1_500
UNAUTHORIZED = 4401


class TokenSource:
    """Gets tokens from where they are issued, one at a time, and keeps it until it is refused."""

    def __init__(self) -> None:
        self._issued = iter(TOKENS)
        self._token: str | None = None

    async def token(self) -> str:
        if self._token is None:
            await asyncio.sleep(0.01)  # an HTTP request, in real life
            self._token = next(self._issued)
            print(f"  a new token: {self._token}")
        return self._token

    def on_disconnect(self, event: fastws.events.Disconnected) -> None:
        print(f"disconnected: {event.reason}")
        if event.reason.code == UNAUTHORIZED:
            self._token = None


async def follow(venue: Venue) -> int:
    source = TokenSource()
    client = fastws.WebSocketClient(
        venue.url,
        # The callable is asked at every handshake. What it gives is masked wherever it could be shown.
        handshake=fastws.AuthHandshaker(source.token).json(),
        retry=fastws.ExponentialBackoff.fast(),
    )
    client.on(fastws.events.Disconnected, source.on_disconnect)
    client.subscriptions.add("ticks", message={"type": "subscribe", "channel": "ticks"})
    received = 0
    async with client:
        async for message in client.stream():
            if message == "end":
                break
            received += message.isdigit()
        print(f"{received:,} of {MESSAGES:,} messages in {client.snapshot().generation} sessions")
        return client.snapshot().generation


with Server() as server:
    feed = [(index / 1_000, "text", b"%d" % index) for index in range(MESSAGES)]
    server.add_feed("ticks", [*feed, (MESSAGES / 1_000, "text", b"end")])
    venue = server.add_venue("/ticks", "ticks", tokens=TOKENS, faults=[ExpireAt(0.4), ExpireAt(0.9)])
    sessions = fastws.run(follow(venue))
assert sessions == len(TOKENS), "one for each token"
