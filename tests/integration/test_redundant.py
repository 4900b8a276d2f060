"""Several lines to one feed, over sockets: the same feed on two venues, each with faults of its own."""

import asyncio
import json

import fastws
from fastws.testing import CloseAt, RefuseAt, ResetAt, Server

COUNT = 600
STEP = 0.004
FEED = [(number * STEP, "text", f'{{"n":{number}}}'.encode()) for number in range(COUNT)]


def venues(server, *faults):
    """One venue for each of these lists of faults; all play the same feed."""
    server.add_feed("feed", FEED)
    return [
        server.add_venue(f"/line-{number}", "feed", faults=each, autostart=False)
        for number, each in enumerate(faults, 1)
    ]


def redundant(lines, **options):
    feed = fastws.RedundantClient(
        [line.url for line in lines], key=fastws.keys.json("n"), retry=fastws.FixedDelay(0.01), **options
    )
    feed.add(
        "all", message={"type": "subscribe", "channel": "all"}, ack=lambda message: message.get("type") == "subscribed"
    )
    return feed


async def until_last(stream):
    """Reads to the last message of the feed."""
    while json.loads(await stream.recv()).get("n") != COUNT - 1:
        pass


async def play(lines, feed, *generations):
    """Everything that a stream sees while the venues play their feed, and the lines have so many sessions: numbers, and
    markers.
    """
    with feed.stream(markers=True) as stream, feed.stream() as watched:
        async with feed:
            while not all(line.is_ready for line in feed.stats()):
                await asyncio.sleep(0.001)
            for line in lines:
                line.start()
            await until_last(watched)
            while tuple(line.generation for line in feed.stats()) != generations:
                await asyncio.sleep(0.01)
            stats = feed.stats()
        items = [item async for item in stream]
    found = []
    for item in items:
        if not isinstance(item, fastws.Message):
            found.append(item)
        elif "n" in (data := json.loads(item.data)):
            found.append(data["n"])
    return found, stats


async def test_a_line_that_is_lost_costs_nothing():
    with Server() as server:
        # The one is back long before the other goes.
        lines = venues(server, [ResetAt(0.4), CloseAt(1.2), ResetAt(2)], [CloseAt(0.8), ResetAt(1.6)])
        found, (first, second) = await play(lines, redundant(lines), 4, 3)
    assert isinstance(found.pop(), fastws.Down)
    assert sorted(found) == list(range(COUNT))
    assert first.first + second.first >= COUNT
    assert first.duplicates + second.duplicates > COUNT / 2


async def test_the_loss_of_all_lines_is_one_outage():
    with Server() as server:
        away = [RefuseAt(0.8, seconds, retry_after=None) for seconds in (0.4, 0.6)]
        lines = venues(server, [ResetAt(0.8), away[0]], [CloseAt(0.8, 1012), away[1]])
        found, _ = await play(lines, redundant(lines), 2, 2)
    markers = [item for item in found if not isinstance(item, int)]
    assert [type(marker) for marker in markers] == [fastws.Down, fastws.Outage, fastws.Down]
    _, outage, _ = markers
    assert (outage.old_generation, outage.new_generation) == (1, 2)
    assert outage.attempts >= 2
    assert 0.2e9 < outage.to_ns - outage.detected_ns < (COUNT * STEP - 0.8) * 1e9
    before, after = found[: found.index(markers[0])], found[found.index(outage) + 1 : -1]
    assert sorted(before) == list(range(len(before)))
    assert sorted(after) == list(range(COUNT - len(after), COUNT))
    assert 250 < len(before) + len(after) < COUNT


async def test_nobody_need_read_for_a_shutdown(fastws_server):
    feed = fastws.RedundantClient(
        fastws_server.url("/blast?n=1000000&size=64&seq=1"),
        3,
        key=fastws.keys.slice(0, 8),
        config=fastws.ClientConfig(queue_messages=64),
    )
    with feed.stream(markers=True) as stream:
        async with feed:
            while not feed._ring.is_full:
                await asyncio.sleep(0.001)
            async with asyncio.timeout(5):  # half of what a closing handshake may take
                await feed.shutdown()
        items = [item async for item in stream]
    assert len(items) > 64
    assert isinstance(items[-1], fastws.Down)
    numbers = [item.data[:8] for item in items[:-1]]
    assert len(set(numbers)) == len(numbers)
