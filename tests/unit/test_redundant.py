"""Several lines to one feed, on wires in memory (redundant.py)."""

import asyncio

import pytest

import fastws
from fastws.errors import ConfigError, DialError
from virtual_time import run_virtual
from wires import MemoryConnector

CONFIG = fastws.ClientConfig(receive_timeout=None, ping_interval=None)


class Lines:
    """A connector for all lines: it knows them by their URIs."""

    name = "lines"

    def __init__(self):
        self.lines = {}

    async def connect(self, uri, options):
        line = self.lines.setdefault(uri, MemoryConnector())
        return await line.connect(uri, options)

    def wire(self, name):
        return self.lines[f"ws://{name}/"].wires[-1]


def redundant(lines, *names, **options):
    options.setdefault("key", lambda message: message)
    options.setdefault("retry", fastws.FixedDelay(1.0))
    uris = [f"ws://{name}/" for name in names or ("a", "b")]
    return fastws.RedundantClient(uris, config=CONFIG, connector=lines, **options)


async def turns():
    await asyncio.sleep(0.05)


def test_the_first_arrival_wins_and_each_message_comes_once():
    async def main():
        lines = Lines()
        async with redundant(lines) as feed:
            stream = feed.stream(markers=True)
            await turns()
            lines.wire("a").deliver("1", "2")
            await turns()
            lines.wire("b").deliver("1", "2", "3")
            await turns()
            lines.wire("a").deliver("3", "4")
            items = [await stream.recv() for _ in range(4)]
            assert [item.data for item in items] == ["1", "2", "3", "4"]
            assert [item.source for item in items] == ["line 1", "line 1", "line 2", "line 1"]
            await turns()
            first, second = feed.stats()
            assert (first.received, first.first, first.duplicates) == (4, 3, 1)
            assert (second.received, second.first, second.duplicates) == (3, 1, 2)

    run_virtual(main())


def test_the_loss_of_one_line_is_nobodys_outage():
    async def main():
        lines = Lines()
        async with redundant(lines) as feed:
            stream = feed.stream(markers=True)
            await turns()
            lines.wire("a").deliver("1")
            await turns()
            lines.wire("a").reset()
            await turns()
            lines.wire("b").deliver("1", "2")
            items = [await stream.recv() for _ in range(2)]
            assert [item.data for item in items] == ["1", "2"]
            assert feed.is_ready
            await asyncio.sleep(2)
            assert all(line.is_ready for line in feed.stats())

    run_virtual(main())


def test_the_loss_of_all_lines_is_marked_once():
    async def main():
        lines = Lines()
        async with redundant(lines) as feed:
            stream = feed.stream(markers=True)
            await turns()
            lines.wire("a").deliver("1")
            lines.wire("b").deliver("1")
            await turns()
            lines.wire("a").reset()
            await turns()
            lines.wire("b").reset()
            await asyncio.sleep(2)
            lines.wire("b").deliver("2")
            items = [await stream.recv() for _ in range(4)]
            assert [type(item).__name__ for item in items] == ["Message", "Down", "Outage", "Message"]
            assert (items[2].old_generation, items[2].new_generation) == (1, 2)

    run_virtual(main())


def test_it_is_ready_with_the_first_line_and_fails_only_with_the_last():
    async def main():
        lines = Lines()
        lines.lines["ws://a/"] = MemoryConnector(*[DialError("refused", uri="ws://a/", phase="tcp")] * 99)
        async with redundant(lines) as feed:
            stream = feed.stream()
            await turns()
            lines.wire("b").deliver("1")
            assert await stream.recv() == "1"
            assert [line.is_ready for line in feed.stats()] == [False, True]

        lines = Lines()
        for name in "ab":
            error = DialError("refused", uri=f"ws://{name}/", phase="tcp")
            lines.lines[f"ws://{name}/"] = MemoryConnector(then=error)
        with pytest.raises(fastws.RetriesExhausted):
            async with redundant(lines, retry=fastws.NoRetry()):
                pytest.fail("no line is ready")

    run_virtual(main())


def test_every_line_is_subscribed():
    async def main():
        lines = Lines()
        feed = redundant(lines)
        feed.add("BTC", message="subscribe BTC")
        async with feed:
            await turns()
            assert lines.wire("a").sent == lines.wire("b").sent == ["subscribe BTC"]
            assert feed.states() == {"BTC": ("confirmed", "confirmed")}

    run_virtual(main())


@pytest.mark.parametrize(
    ("arguments", "options", "field"),
    [
        (["ws://a/", 1], {"key": len}, "n"),
        ([["ws://a/"]], {"key": len}, "n"),
        ([["ws://a/", "ws://b/"], 3], {"key": len}, "n"),
        (["ws://a/"], {"key": "k"}, "key"),
        (["ws://a/"], {"key": len, "tap": print}, "tap"),
        (["ws://a/"], {"key": len, "window": 0}, "window"),
    ],
)
def test_wrong_arguments_are_named(arguments, options, field):
    with pytest.raises(ConfigError) as raised:
        fastws.RedundantClient(*arguments, **options)
    assert raised.value.field == field
