"""Several lines to one feed, on wires in memory (redundant.py)."""

import asyncio
import contextlib
import logging

import pytest

import fastws
from fastws.errors import AlreadyRunning, ClientStopped, ConfigError, DialError, NotConnected, ShutdownTimeout
from fastws.events import Disconnected
from fastws.http import Headers, Response
from lines import Lines, redundant, shapes, turns
from rings import rest, take
from virtual_time import run_virtual
from wires import MemoryConnector

KEEPING = fastws.ClientConfig(receive_timeout=None, ping_interval=None, on_disconnect_send="keep")
SMALL = fastws.ClientConfig(receive_timeout=None, ping_interval=None, queue_messages=8)


def forbidden(name):
    """What no repetition mends."""
    response = Response(403, "Forbidden", Headers([]), b"")
    return fastws.InvalidStatus(f"ws://{name}/: 403", uri=f"ws://{name}/", response=response)


def refused(name):
    return DialError("refused", uri=f"ws://{name}/", phase="tcp")


def closes_slowly(wire):
    """The closing handshake takes three seconds."""
    close = wire.close

    async def later(code=1000, reason=""):
        await asyncio.sleep(3)
        await close(code, reason)

    wire.close = later


def is_nothing_open(lines):
    return not any(wire.is_open for line in lines.lines.values() for wire in line.wires)


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


# ---- life cycle


def test_it_runs_once_at_a_time():
    async def main():
        lines = Lines()
        feed = redundant(lines)
        assert not feed.is_running
        async with feed:
            assert feed.is_running
            with pytest.raises(AlreadyRunning):
                await feed.run()
            with pytest.raises(AlreadyRunning):
                async with feed:
                    pytest.fail("it runs")
            assert feed.is_running
            assert feed.is_ready
        assert not feed.is_running
        assert is_nothing_open(lines)

    run_virtual(main())


def test_a_line_that_runs_by_itself_is_in_the_way():
    async def main():
        feed = redundant(Lines())
        async with feed.lines[0]:
            with pytest.raises(AlreadyRunning):
                await feed.run()
            assert not feed.is_running
            assert feed.lines[0].is_ready

    run_virtual(main())


def test_it_can_run_again_and_everything_is_new():
    async def main():
        lines = Lines()
        feed = redundant(lines)
        stream = feed.stream(markers=True)
        for _ in range(3):
            async with feed:
                await turns()
                lines.deliver("1", "2")
                await turns()
                assert feed.is_ready
            assert not feed.is_ready
        # As a client of one line does: what lies between two runs was missed.
        assert shapes(await rest(stream)) == [
            *("1", "2", ("Down", 1)),
            *(("Outage", 1, 2), "1", "2", ("Down", 2)),
            *(("Outage", 2, 3), "1", "2", ("Down", 3)),
        ]
        assert [(line.received, line.generation) for line in feed.stats()] == [(6, 3), (6, 3)]

    run_virtual(main())


def test_the_body_is_never_cancelled_and_the_cause_is_raised_behind_it():
    async def main():
        lines = Lines(a=MemoryConnector(None), b=MemoryConnector(None))
        with pytest.raises(fastws.RetriesExhausted):
            async with redundant(lines, retry=fastws.NoRetry()) as feed:
                await turns()
                lines.reset()
                await turns()
                assert not feed.is_running
                with pytest.raises(fastws.RetriesExhausted):
                    await feed.wait_ready()
                with pytest.raises(fastws.RetriesExhausted):
                    await feed.stream().recv()

    run_virtual(main())


def test_the_bodys_own_exception_is_the_one_that_is_raised():
    async def main():
        lines = Lines(a=MemoryConnector(None), b=MemoryConnector(None))
        with pytest.raises(LookupError, match="mine"):
            async with redundant(lines, retry=fastws.NoRetry()):
                await turns()
                lines.reset()
                await turns()
                raise LookupError("mine")

    run_virtual(main())


def test_a_line_that_ends_for_good_is_logged_and_counted_and_the_others_go_on(caplog):
    async def main():
        lines = Lines(a=MemoryConnector(then=forbidden("a")))
        async with redundant(lines) as feed:
            stream = feed.stream(markers=True)
            await asyncio.sleep(60)
            first, second = feed.stats()
            assert (first.is_running, first.is_ready, second.is_running, second.is_ready) == (False, False, True, True)
            assert isinstance(first.cause, fastws.InvalidStatus)
            assert second.cause is None
            lines.deliver("1")
            await turns()
        assert shapes(await rest(stream)) == ["1", ("Down", 1)]
        assert [line.cause for line in feed.stats()] == [first.cause, None]

    with caplog.at_level(logging.WARNING, "fastws"):
        run_virtual(main())
    (record,) = caplog.records
    assert record.getMessage() == "line 1, ws://a/, is over: ws://a/: 403"


def test_a_line_that_was_shut_down_stays_down_and_is_nobodys_outage():
    async def main():
        lines = Lines()
        async with redundant(lines) as feed:
            stream = feed.stream(markers=True)
            await turns()
            await feed.lines[0].shutdown()
            lines.deliver("1")
            await asyncio.sleep(10)
            assert [line.is_running for line in feed.stats()] == [False, True]
            assert [line.cause for line in feed.stats()] == [None, None]
        assert shapes(await rest(stream)) == ["1", ("Down", 1)]

    run_virtual(main())


def test_the_last_lines_end_is_the_clients():
    async def main():
        lines = Lines(a=MemoryConnector(then=forbidden("a")), b=MemoryConnector(None, then=refused("b")))
        feed = redundant(lines, retry=fastws.FixedDelay(1.0, max_attempts=3))
        stream = feed.stream()
        running = asyncio.create_task(feed.run())
        await turns()
        lines.wire("b").reset()
        for wait in (stream.recv(), running):
            with pytest.raises(fastws.RetriesExhausted) as raised:
                await wait
            assert isinstance(raised.value.__cause__, DialError)
        with pytest.raises(fastws.RetriesExhausted):
            await feed.wait_ready()

    run_virtual(main())


def test_lines_are_shut_down_at_the_same_time():
    async def main():
        lines = Lines()
        loop = asyncio.get_running_loop()
        async with redundant(lines, "a", "b", "c") as feed:
            await turns()
            for name in "abc":
                closes_slowly(lines.wire(name))
            before = loop.time()
        assert loop.time() - before == pytest.approx(3)
        assert is_nothing_open(lines)
        assert not feed.is_running

    run_virtual(main())


def test_a_late_shutdown_tells_what_every_line_left_unsent():
    async def main():
        lines = Lines(a=MemoryConnector(None, then=refused("a")), b=MemoryConnector(None, then=refused("b")))
        with pytest.raises(ShutdownTimeout) as raised:
            async with redundant(lines, "a", "b", "c", config=KEEPING) as feed:
                await turns()
                for number in (0, 1):
                    lines.wire("ab"[number]).reset()
                    await turns()
                    feed.lines[number].send_nowait(f"order {number}")
        assert [unsent.message for unsent in raised.value.unsent] == ["order 0", "order 1"]
        assert raised.value.timeout == KEEPING.shutdown_timeout
        assert not feed.is_running
        assert is_nothing_open(lines)

    run_virtual(main())


def test_a_timeout_that_is_none_is_refused_and_nothing_ends():
    async def main():
        async with redundant(Lines()) as feed:
            with pytest.raises(ValueError, match="timeout"):
                await feed.shutdown(-1)
            assert feed.is_ready

    run_virtual(main())


def test_nobody_need_read_for_a_shutdown():
    async def main():
        lines = Lines()
        old = [str(number) for number in range(30)]
        async with redundant(lines, config=SMALL) as feed:
            stream = feed.stream(markers=True)
            await turns()
            lines.wire("a").deliver(*old)
            await turns()
            async with asyncio.timeout(1):
                await feed.shutdown()
        items = shapes(await rest(stream))
        assert items[-1] == ("Down", 1)
        assert items[:-1] == old[: len(items) - 1]
        assert len(items) > 8

    run_virtual(main())


@pytest.mark.parametrize("when", [0, 0.01, 2.0])
def test_an_exit_that_is_cancelled_leaves_no_line_running(when):
    async def main():
        lines = Lines()

        async def use():
            async with redundant(lines) as feed:
                await turns()
                for name in "ab":
                    closes_slowly(lines.wire(name))
                feeds.append(feed)

        feeds = []
        using = asyncio.create_task(use())
        while not feeds:
            await asyncio.sleep(0.01)
        await asyncio.sleep(when)
        using.cancel()
        with pytest.raises(asyncio.CancelledError):
            await using
        assert not feeds[0].is_running
        assert is_nothing_open(lines)

    run_virtual(main())


@pytest.mark.parametrize("when", [None, 0, 0.01, 5.0])
def test_a_run_that_is_cancelled_leaves_nothing_behind(when):
    async def main():
        lines = Lines()
        feed = redundant(lines, config=SMALL)
        stream = feed.stream(markers=True)
        running = asyncio.create_task(feed.run())
        if when is not None:
            await asyncio.sleep(when)
        if when:
            lines.deliver(*map(str, range(20)))  # nobody reads
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        assert not feed.is_running
        assert is_nothing_open(lines)
        with pytest.raises(NotConnected if when is None else ClientStopped):
            await feed.wait_ready()
        if when:
            items = shapes(await rest(stream))
            assert items[-1] == ("Down", 1)
        async with feed:  # and it can run again
            await turns()
            assert feed.is_ready

    run_virtual(main())


def test_an_entry_that_is_cancelled_leaves_nothing_behind():
    async def main():
        lines = Lines(a=MemoryConnector(then=refused("a")), b=MemoryConnector(then=refused("b")))
        feed = redundant(lines)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(5), feed:
                pytest.fail("no line is ready")
        assert not feed.is_running

    run_virtual(main())


def test_waiting_for_the_first_line():
    async def main():
        lines = Lines(a=MemoryConnector(then=forbidden("a")), b=MemoryConnector(*[refused("b")] * 5))
        feed = redundant(lines)
        with pytest.raises(NotConnected, match="does not run"):
            await feed.wait_ready()
        running = asyncio.create_task(feed.run())
        await asyncio.sleep(0)
        given_up = asyncio.create_task(feed.wait_ready())
        waiting = [asyncio.create_task(feed.wait_ready()) for _ in range(3)]
        await asyncio.sleep(1)
        assert not feed.lines[0].is_running
        given_up.cancel()
        await asyncio.wait([given_up])
        assert given_up.cancelled()
        await asyncio.gather(*waiting)
        assert asyncio.get_running_loop().time() == pytest.approx(5)
        await feed.wait_ready()
        await feed.shutdown()
        await running
        with pytest.raises(ClientStopped):
            await feed.wait_ready()

    run_virtual(main())


def test_waiting_ends_with_the_cause_when_every_line_is_over():
    async def main():
        lines = Lines(a=MemoryConnector(then=forbidden("a")), b=MemoryConnector(refused("b"), then=forbidden("b")))
        feed = redundant(lines)
        running = asyncio.create_task(feed.run())
        await asyncio.sleep(0)
        waiting = [asyncio.create_task(feed.wait_ready()) for _ in range(2)]
        for wait in (*waiting, running):
            with pytest.raises(fastws.InvalidStatus, match="ws://b/"):
                await wait

    run_virtual(main())


def test_a_callback_of_a_line_may_shut_down():
    async def main():
        lines = Lines()
        feed = redundant(lines)

        async def stop(event):
            await feed.shutdown()
            stopped.append(feed.is_running)

        stopped = []
        async with asyncio.timeout(1):
            async with feed:
                await turns()
                feed.lines[0].on(Disconnected, stop)
                lines.wire("a").reset()
                while feed.is_running:
                    await turns()
        assert stopped == [False]

    run_virtual(main())


@pytest.mark.parametrize("is_cancelled", [False, True])
def test_a_shutdown_in_the_very_turn_in_which_it_begins_is_one(is_cancelled):
    async def main():
        lines = Lines()
        feed = redundant(lines)
        running = asyncio.create_task(feed.run())
        await asyncio.sleep(0)
        assert feed.is_running
        stopping = asyncio.create_task(feed.shutdown())
        await asyncio.sleep(0)
        if is_cancelled:
            stopping.cancel()
        await asyncio.wait([stopping])
        assert stopping.cancelled() is is_cancelled
        await running
        assert not feed.is_running
        assert is_nothing_open(lines)

    run_virtual(main())


def test_a_run_that_cannot_begin_is_none(monkeypatch):
    def on(client, kind, callback):
        raise RuntimeError("it belongs to another loop")

    async def main():
        feed = redundant(Lines())
        with monkeypatch.context() as patch:
            patch.setattr(fastws.WebSocketClient, "on", on)
            with pytest.raises(RuntimeError, match="another loop"):
                await feed.run()
        assert not feed.is_running
        assert feed.lines[0].stats().streams == 0

    run_virtual(main())


class Broken:
    """A key that cannot be compared."""

    def __hash__(self):
        return 1

    def __eq__(self, other):
        raise LookupError("cannot be compared")


def test_whatever_else_fails_ends_the_client_with_its_cause():
    async def main():
        lines = Lines()
        feed = redundant(lines, key=lambda message: Broken(), config=SMALL)
        stream = feed.stream(markers=True)
        running = asyncio.create_task(feed.run())
        await turns()
        lines.deliver(*map(str, range(20)))
        for wait in (running, feed.wait_ready()):
            with pytest.raises(LookupError, match="cannot be compared"):
                await wait
        assert not feed.is_running
        assert is_nothing_open(lines)
        assert shapes(await take(stream, 2)) == ["0", ("Down", 1)]
        with pytest.raises(LookupError):
            await stream.recv()

    run_virtual(main())


def test_nothing_happens_to_one_that_does_not_run():
    async def main():
        feed = redundant(Lines())
        await feed.shutdown()
        await feed.__aexit__(None, None, None)
        assert repr(feed) == "<fastws.RedundantClient of 2 lines>"
        with contextlib.closing(feed.stream()) as stream:
            assert stream.lag == (0, 0)

    run_virtual(main())


def test_a_cancelled_run_tells_what_every_line_left_unsent():
    async def main():
        lines = Lines(a=MemoryConnector(None, then=refused("a")), b=MemoryConnector(None, then=refused("b")))
        feed = redundant(lines, "a", "b", config=KEEPING)
        running = asyncio.create_task(feed.run())
        await feed.wait_ready()
        await turns()
        for number in (0, 1):
            lines.wire("ab"[number]).reset()
            await turns()
            feed.lines[number].send_nowait(f"order {number}")
        running.cancel()
        with pytest.raises(asyncio.CancelledError) as raised:
            await running
        assert [unsent.message for unsent in raised.value.unsent] == ["order 0", "order 1"]
        assert raised.value.__notes__ == ["unsent messages: 2"]
        assert is_nothing_open(lines)

    run_virtual(main())
