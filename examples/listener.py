"""Low latency: callbacks from the socket's own event. Measures round trips."""

import asyncio
import statistics
import time

import fastws
from fastws.testing import Server

ROUND_TRIPS = 5_000


class RoundTrips(fastws.Listener):
    """Sends the next message as soon as the last one came back."""

    def __init__(self) -> None:
        self.done = asyncio.get_running_loop().create_future()
        self.seconds: list[float] = []
        self.sent = 0.0

    def on_open(self, ws: fastws.Connection) -> None:
        self.send(ws)

    def on_message(self, ws: fastws.Connection, message: str | bytes) -> None:
        self.seconds.append(time.perf_counter() - self.sent)
        if len(self.seconds) < ROUND_TRIPS:
            self.send(ws)
        else:
            self.done.set_result(None)

    def on_close(self, ws: fastws.Connection, close: fastws.CloseInfo) -> None:
        if not self.done.done():
            self.done.set_exception(close.cause or ConnectionError(f"closed with {close.code}"))

    def send(self, ws: fastws.Connection) -> None:
        self.sent = time.perf_counter()
        ws.send_nowait(b"x" * 256)


async def main(url: str) -> None:
    listener = RoundTrips()
    async with fastws.connect(url, listener=listener):
        await listener.done
    micro = sorted(seconds * 1e6 for seconds in listener.seconds)
    p99 = micro[len(micro) * 99 // 100]
    print(f"{len(micro):,} round trips: median {statistics.median(micro):.1f} µs, p99 {p99:.1f} µs")


with Server() as server:
    fastws.run(main(server.url("/echo")))
