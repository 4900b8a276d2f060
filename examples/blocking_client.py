"""A client that stays, in a program without an event loop: one thread reads, another one asks, Ctrl-C ends both.

The venue of this example cuts the connection in the middle. The reader sees the outage at its place, and goes on.
"""

import threading

import orjson

import fastws
import fastws.sync
from fastws.testing import ResetAt, Server

TICKS = 2_000


def read(stream: fastws.sync.Stream, done: threading.Event) -> None:
    ticks = outages = 0
    for item in stream:
        if isinstance(item, fastws.markers.Outage):
            outages += 1
            print(f"away for {(item.to_ns - item.from_ns) / 1e6:.0f} ms, after {ticks} ticks")
        elif isinstance(item, fastws.Message):
            ticks += 1
            if item.data["type"] == "end":
                break
    print(f"{ticks} messages, {outages} outage")
    done.set()


with Server() as server:
    feed = [(number / 4_000, "text", orjson.dumps({"type": "tick", "n": number})) for number in range(TICKS)]
    server.add_feed("ticks", [*feed, (TICKS / 4_000, "text", b'{"type":"end"}')])
    venue = server.add_venue("/venue", "ticks", faults=[ResetAt(0.25)])
    client = fastws.sync.WebSocketClient(venue.url, retry=fastws.FixedDelay(0.05))
    client.subscriptions.add("ticks", message={"type": "subscribe", "channel": "ticks"}, ack=lambda m: m["channel"])
    done = threading.Event()
    with client.start(timeout=10):
        reader = threading.Thread(target=read, args=(client.stream(markers=True, decode=orjson.loads), done))
        reader.start()
        while not done.wait(0.1):
            try:
                print(f"round trip {client.ping(timeout=5) * 1e6:.0f} µs")
            except fastws.FastwsError as error:
                print(f"no ping now: {error}")
    reader.join()
    assert client.snapshot().reconnect_count == 1
