"""Several lines to one feed, over sockets: the same feed on two venues, each with faults of its own."""

import asyncio
import json

import fastws
from fastws.testing import CloseAt, RefuseAt, ResetAt, Server

COUNT = 600
FEED = [(number * 0.001, "text", f'{{"n":{number}}}'.encode()) for number in range(COUNT)]


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


async def play(lines, feed):
    """Everything that a stream sees while the venues play their feed: numbers, and markers."""
    with feed.stream(markers=True) as stream:
        async with feed:
            while not all(line.is_ready for line in feed.stats()):
                await asyncio.sleep(0.001)
            for line in lines:
                line.start()
            while not all(line.position == COUNT for line in lines):
                await asyncio.sleep(0.01)
            await asyncio.sleep(0.1)
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
        lines = venues(server, [ResetAt(0.1), CloseAt(0.3), ResetAt(0.5)], [CloseAt(0.2), ResetAt(0.4)])
        found, (first, second) = await play(lines, redundant(lines))
    assert (first.generation, second.generation) == (4, 3)
    assert isinstance(found.pop(), fastws.Down)
    assert sorted(found) == list(range(COUNT))
    assert first.first + second.first >= COUNT
    assert first.duplicates + second.duplicates > COUNT / 2


async def test_the_loss_of_all_lines_is_one_outage():
    with Server() as server:
        away = [RefuseAt(0.2, seconds, retry_after=None) for seconds in (0.1, 0.15)]
        lines = venues(server, [ResetAt(0.2), away[0]], [CloseAt(0.2, 1012), away[1]])
        found, stats = await play(lines, redundant(lines))
    assert [line.generation for line in stats] == [2, 2]
    markers = [item for item in found if not isinstance(item, int)]
    assert [type(marker) for marker in markers] == [fastws.Down, fastws.Outage, fastws.Down]
    _, outage, _ = markers
    assert (outage.old_generation, outage.new_generation) == (1, 2)
    assert outage.attempts >= 2
    assert 0.05e9 < outage.to_ns - outage.detected_ns < 0.4e9
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
            await asyncio.sleep(0.1)
            async with asyncio.timeout(2):
                await feed.shutdown()
        items = [item async for item in stream]
    assert len(items) > 64
    assert isinstance(items[-1], fastws.Down)
    numbers = [item.data[:8] for item in items[:-1]]
    assert len(set(numbers)) == len(numbers)
