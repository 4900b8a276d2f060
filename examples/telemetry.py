"""Telemetry fan-in: a client for each sensor, all readings in one place, and no stampede when everything drops at once.

The venue of this example resets every connection at the same moment. The clients come back as fast as their shared
limiter lets them, and each says that it was away.
"""

import asyncio
from collections import Counter

import orjson

import fastws
from fastws.testing import ResetAt, Server, Venue

SENSORS = [f"sensor-{number:02}" for number in range(40)]
READINGS = 4_000
DIALS, AT_A_TIME = 100, 10
"""Dials in a second, and at the same time, of all clients together."""


async def follow(
    sensor: str, venue: Venue, limiter: fastws.ConnectLimiter, ready: asyncio.Barrier, readings: asyncio.Queue
) -> None:
    retry = fastws.ExponentialBackoff(0.05, 1.0, full_jitter=True)
    client = fastws.WebSocketClient(venue.url, retry=retry, connect_limiter=limiter)
    client.subscriptions.add(sensor, message={"type": "subscribe", "channel": sensor}, ack=lambda m: m["channel"])
    async with client, client.stream(markers=True, decode=orjson.loads) as stream:
        await ready.wait()
        async for item in stream:
            await readings.put((sensor, item))
            if isinstance(item, fastws.Message) and item.data["type"] == "end":
                return


async def collect(venue: Venue) -> None:
    limiter = fastws.ConnectLimiter(DIALS, per=1.0, max_concurrent=AT_A_TIME)
    ready = asyncio.Barrier(len(SENSORS) + 1)
    readings: asyncio.Queue = asyncio.Queue(maxsize=1_000)
    received, outages, ended = Counter(), Counter(), 0
    async with asyncio.TaskGroup() as clients:
        for sensor in SENSORS:
            clients.create_task(follow(sensor, venue, limiter, ready, readings))
        await ready.wait()
        venue.start()
        while ended < len(SENSORS):
            match await readings.get():
                case sensor, fastws.Message(data={"type": "reading"}):
                    received[sensor] += 1
                case sensor, fastws.Outage():
                    outages[sensor] += 1
                case _, fastws.Message(data={"type": "end"}):
                    ended += 1
    back = [at for at in venue.report().accepted_ns if at > venue.started_ns]
    seconds = (back[-1] - back[0]) / 1e9
    print(f"{received.total():,} of {READINGS:,} readings of {len(received)} sensors, {outages.total()} outages")
    print(f"{len(back)} clients came back in {seconds:.2f} s: {DIALS} a second, {AT_A_TIME} at a time")
    assert set(outages.values()) == {1}, "each client tells of its outage, once"
    assert seconds > 0.9 * (len(back) - AT_A_TIME) / DIALS, "no faster than the limiter lets them"


with Server() as server:
    feed = [(index / 2_000, "text", b'{"type": "reading", "value": %d}' % (index % 100)) for index in range(READINGS)]
    server.add_feed("readings", [*feed, (READINGS / 2_000, "text", b'{"type": "end"}')])
    channels = [SENSORS[index % len(SENSORS)] for index in range(READINGS)] + [None]
    venue = server.add_venue("/sensors", "readings", channels=channels, faults=[ResetAt(1.0)], autostart=False)
    fastws.run(collect(venue))
