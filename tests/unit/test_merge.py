"""Where the messages of several lines have their markers, on wires in memory (_merge.py)."""

import asyncio
import logging
from types import SimpleNamespace

import pytest

import fastws
from fastws._merge import Line, Merger
from fastws.client import make_ring
from fastws.dedupe import Deduplicator, MessageKeys
from fastws.errors import DialError, HandshakeError
from fastws.events import Disconnected, DisconnectReason, Ready, Shutdown
from fastws.handshakes import Handshaker
from lines import Lines, redundant, shapes, turns
from rings import rest, take
from virtual_time import run_virtual
from wires import QUIET, MemoryConnector

SMALL = fastws.ClientConfig(receive_timeout=None, ping_interval=None, queue_messages=8)
"""Little room for messages that are not read: eight in the client, and eight in each line."""


def refused(name):
    return DialError("refused", uri=f"ws://{name}/", phase="tcp")


def test_the_loss_of_one_line_is_nobodys_outage():
    async def main():
        lines = Lines()
        async with redundant(lines) as feed:
            stream = feed.stream(markers=True)
            await turns()
            for number in range(20):
                lines.deliver(str(number))
                await turns()
                lines.wire("ab"[number % 2]).reset()
                await asyncio.sleep(2)
                assert all(line.is_ready for line in feed.stats())
        assert shapes(await rest(stream)) == [*map(str, range(20)), ("Down", 1)]

    run_virtual(main())


def test_the_loss_of_all_lines_is_marked_once():
    async def main():
        lines = Lines()
        async with redundant(lines) as feed:
            stream = feed.stream(markers=True)
            await turns()
            lines.deliver("1")
            await turns()
            lines.wire("a").reset()
            await turns()
            lines.wire("b").server_close(1012, "restart")
            await asyncio.sleep(2)
            lines.deliver("2")
            message, down, outage, _ = items = await take(stream, 4)
            assert shapes(items) == ["1", ("Down", 1), ("Outage", 1, 2), "2"]
            assert down.reason.code == 1012
            assert down.last_received_ns >= message.received_ns
            assert outage.reason is down.reason
            assert (outage.from_ns, outage.detected_ns) == (down.last_received_ns, down.detected_ns)
            assert outage.to_ns >= outage.detected_ns >= outage.from_ns

    run_virtual(main())


def test_down_comes_at_once_and_the_outage_before_any_message():
    async def main():
        lines = Lines()
        async with redundant(lines) as feed:
            stream = feed.stream(markers=True)
            await turns()
            lines.deliver("1")
            await turns()
            lines.reset()
            async with asyncio.timeout(0.1):
                assert shapes(await take(stream, 2)) == ["1", ("Down", 1)]
            async with asyncio.timeout(1.1):
                assert shapes(await take(stream, 1)) == [("Outage", 1, 2)]

    run_virtual(main())


def test_the_first_connections_are_no_outage_however_late_the_second_is():
    async def main():
        lines = Lines(a=MemoryConnector(refused("a"), refused("a")))
        async with redundant(lines) as feed:
            stream = feed.stream(markers=True)
            lines.deliver("1")
            await asyncio.sleep(5)
            assert all(line.is_ready for line in feed.stats())
            lines.deliver("2")
            await turns()
        assert shapes(await rest(stream)) == ["1", "2", ("Down", 1)]

    run_virtual(main())


def test_an_outage_while_nobody_reads_is_marked_at_its_place():
    async def main():
        lines = Lines()
        async with redundant(lines, config=SMALL) as feed:
            stream = feed.stream(markers=True)
            await turns()
            old = [str(number) for number in range(12)]
            lines.wire("a").deliver(*old)
            lines.wire("b").deliver(*old[:6])
            await asyncio.sleep(3)  # some wait in the lines: they lie before the outage
            lines.reset()
            await asyncio.sleep(3)
            new = [str(number) for number in range(12, 16)]
            lines.deliver(*new)
            await asyncio.sleep(3)
            assert shapes(await take(stream, 18)) == [*old, ("Down", 1), ("Outage", 1, 2), *new]
            await turns()
        assert shapes(await rest(stream)) == [("Down", 2)]

    run_virtual(main())


def test_two_outages_while_nobody_reads_are_two():
    async def main():
        lines = Lines()
        async with redundant(lines, config=SMALL) as feed:
            stream = feed.stream(markers=True)
            await turns()
            lines.wire("a").deliver(*"0123456789")
            await turns()
            for _ in range(2):
                lines.reset()
                await asyncio.sleep(3)
            lines.deliver("x")
            await turns()
            expected = [*"0123456789", ("Down", 1), ("Outage", 1, 2), ("Down", 2), ("Outage", 2, 3), "x"]
            assert shapes(await take(stream, 15)) == expected

    run_virtual(main())


def test_what_a_line_brought_before_an_outage_comes_before_it():
    """One line is far behind: what only it has belongs to the time before."""

    async def main():
        lines = Lines()
        async with redundant(lines, config=SMALL) as feed:
            stream = feed.stream(markers=True)
            await turns()
            lines.wire("a").deliver("a1")
            lines.wire("b").deliver(*(f"b{number}" for number in range(8)))
            await turns()
            lines.reset()
            await asyncio.sleep(1.02)
            lines.wire("a").deliver("a2")
            await turns()
            items = shapes(await take(stream, 12))
            assert set(items[:9]) == {"a1", *(f"b{number}" for number in range(8))}
            assert items[9:] == [("Down", 1), ("Outage", 1, 2), "a2"]

    run_virtual(main())


def test_an_outage_while_one_line_waits_and_the_other_is_back_is_none():
    """That a line's end is read late does not make an outage of it."""

    async def main():
        lines = Lines()
        async with redundant(lines, config=SMALL) as feed:
            stream = feed.stream(markers=True)
            await turns()
            lines.wire("a").deliver(*"01234567")
            await turns()
            lines.wire("a").reset()
            await asyncio.sleep(2)
            lines.wire("b").deliver("x")
            await turns()
            lines.wire("b").reset()
            await asyncio.sleep(2)
            assert sorted(shapes(await take(stream, 9))) == [*"01234567", "x"]
            await turns()
        assert shapes(await rest(stream)) == [("Down", 1)]

    run_virtual(main())


def test_the_dials_of_all_lines_are_counted():
    async def main():
        a = MemoryConnector(None, *[refused("a")] * 3)
        b = MemoryConnector(None, *[refused("b")] * 5)
        lines = Lines(a=a, b=b)
        async with redundant(lines) as feed:
            stream = feed.stream(markers=True)
            await turns()
            lines.wire("b").reset()
            await asyncio.sleep(1.5)  # one dial before the outage, which fails
            assert len(b.attempts) == 2
            lines.wire("a").reset()
            await asyncio.sleep(10)
            _, outage = await take(stream, 2)
            assert len(a.attempts) == 5
            # a: at 2.5, 3.5, 4.5 and 5.5, when it is ready; b: at 2, 3, 4 and 5.
            assert outage.attempts == 8

    run_virtual(main())


def test_a_dial_that_is_under_way_counts_among_those_that_it_took():
    async def slow(wire):
        await asyncio.sleep(5)

    async def main():
        lines = Lines(a=MemoryConnector(None, refused("a"), then=refused("a")), b=MemoryConnector(None, slow))
        async with redundant(lines, retry=fastws.FixedDelay(100.0)) as feed:
            stream = feed.stream(markers=True)
            await turns()
            lines.wire("b").reset()
            await asyncio.sleep(102)
            lines.wire("a").reset()
            _, outage = await take(stream, 2)
            assert outage.attempts == 1

    run_virtual(main())


class Login(Handshaker):
    """Fails as often as it is told to."""

    name = "login"
    failures = 0

    async def handshake(self, channel, context):
        if self.failures:
            self.failures -= 1
            raise HandshakeError("not yet", kind="failed")


def test_sessions_that_never_got_ready_extend_the_outage():
    async def main():
        lines = Lines()
        login = Login()
        async with redundant(lines, handshake=login) as feed:
            stream = feed.stream(markers=True)
            await turns()
            login.failures = 6
            lines.reset()
            await asyncio.sleep(60)
            lines.deliver("1")
            items = await take(stream, 3)
            assert shapes(items) == [("Down", 1), ("Outage", 1, 2), "1"]
            assert items[1].attempts >= 7

    run_virtual(main())


def test_the_end_of_the_last_line_is_down_and_then_the_cause():
    async def main():
        lines = Lines(a=MemoryConnector(None), b=MemoryConnector(None))
        feed = redundant(lines, retry=fastws.NoRetry())
        stream = feed.stream(markers=True)
        running = asyncio.create_task(feed.run())
        await turns()
        await feed.wait_ready()
        await turns()
        lines.deliver("1")
        await turns()
        lines.reset()
        assert shapes(await take(stream, 2)) == ["1", ("Down", 1)]
        with pytest.raises(fastws.RetriesExhausted):
            await stream.recv()
        with pytest.raises(fastws.RetriesExhausted):
            await running

    run_virtual(main())


def test_what_is_unrestored_is_that_of_the_line_that_is_back_first():
    async def main():
        lines = Lines()
        feed = redundant(lines, config=fastws.ClientConfig(receive_timeout=None, ping_interval=None, restore_timeout=1))
        feed.add("BTC", message="subscribe BTC", ack=lambda message: message == "BTC is on")
        stream = feed.stream(markers=True)
        async with feed:
            await asyncio.sleep(3)
            lines.reset()
            items = await take(stream, 2)
            assert items[1].unrestored == ("BTC",)

    run_virtual(main())


# ---- connections that are replaced before the venue cuts them

AGEING = fastws.ClientConfig(receive_timeout=None, ping_interval=None, max_connection_age=100, rotation_overlap=2)


@pytest.mark.parametrize("message_key", [None, lambda message: None])
def test_a_change_without_proof_is_marked_where_no_other_line_was_ready(message_key):
    async def main():
        lines = Lines(b=MemoryConnector(then=refused("b")))
        async with redundant(lines, config=AGEING, message_key=message_key) as feed:
            stream = feed.stream(markers=True)
            lines.deliver("1")
            await asyncio.sleep(110)
            assert len(lines.lines["ws://a/"].wires) == 2
            lines.deliver("2")
            items = await take(stream, 4)
            assert shapes(items) == ["1", ("Down", 1), ("Outage", 1, 2), "2"]
            assert items[1].reason.kind == "rotation"
            assert [item.generation for item in items if isinstance(item, fastws.Message)] == [1, 2]

    run_virtual(main())


def test_a_change_without_proof_is_nobodys_outage_while_another_line_is_ready():
    async def main():
        lines = Lines(b=MemoryConnector(*[refused("b")] * 20))
        async with redundant(lines, config=AGEING, message_key=None) as feed:
            stream = feed.stream(markers=True)
            lines.deliver("1")
            await asyncio.sleep(300)
            assert all(len(line.wires) == 3 for line in lines.lines.values())
            lines.deliver("2")
            await turns()
        assert shapes(await rest(stream)) == ["1", "2", ("Down", 1)]

    run_virtual(main())


def test_lines_of_one_age_change_one_after_the_other_which_is_nobodys_outage():
    async def main():
        lines = Lines()
        async with redundant(lines, config=AGEING, message_key=None) as feed:
            stream = feed.stream(markers=True)
            await turns()
            lines.deliver("1")
            await asyncio.sleep(110)
            assert all(len(line.wires) == 2 for line in lines.lines.values())
            lines.deliver("2")
            await turns()
        assert shapes(await rest(stream)) == ["1", "2", ("Down", 1)]

    run_virtual(main())


def test_the_key_proves_that_a_change_loses_nothing():
    async def main():
        lines = Lines(b=MemoryConnector(then=refused("b")))
        line = lines.line("ws://a/")
        async with redundant(lines, config=AGEING) as feed:
            stream = feed.stream(markers=True)
            for number in range(250):
                for wire in line.wires:
                    if wire.is_open:
                        wire.deliver(str(number))
                await asyncio.sleep(1)
            assert len(line.wires) == 3
        assert shapes(await rest(stream)) == [*map(str, range(250)), ("Down", 1)]

    run_virtual(main())


def test_a_line_that_is_lost_while_the_other_changes_connections_is_an_outage():
    async def main():
        lines = Lines(b=MemoryConnector(None, then=refused("b")))
        async with redundant(lines, config=AGEING, message_key=None) as feed:
            stream = feed.stream(markers=True)
            await asyncio.sleep(50)
            lines.wire("b").reset()
            await asyncio.sleep(60)
            assert len(lines.lines["ws://a/"].wires) == 2
            assert shapes(await take(stream, 2)) == [("Down", 1), ("Outage", 1, 2)]

    run_virtual(main())


# ---- keys


def test_a_key_that_fails_is_logged_once_a_line_and_its_messages_come_from_every_line(caplog):
    def key(message):
        if message == "odd":
            raise LookupError("no number in it")
        return message

    async def main():
        lines = Lines()
        async with redundant(lines, key=key) as feed:
            stream = feed.stream()
            await turns()
            for message in ("1", "odd", "odd", "2"):
                lines.deliver(message)
                await turns()
            assert [await stream.recv() for _ in range(6)] == ["1", "odd", "odd", "odd", "odd", "2"]
            await turns()
            assert sum(line.duplicates for line in feed.stats()) == 2

    with caplog.at_level(logging.WARNING, "fastws"):
        run_virtual(main())
    found = [record.getMessage() for record in caplog.records if "no number in it" in record.getMessage()]
    assert [text.split(",")[0] for text in found] == ["line 1", "line 2"]


def test_native_keys_take_the_text_of_messages():
    async def main():
        lines = Lines()
        async with redundant(lines, key=fastws.keys.json("sequence")) as feed:
            stream = feed.stream()
            await turns()
            lines.deliver('{"sequence": 1, "line": 1}', b'{"sequence": 2}')
            await turns()
            assert [await stream.recv(), await stream.recv()] == ['{"sequence": 1, "line": 1}', b'{"sequence": 2}']
            assert [line.received - line.duplicates for line in feed.stats()] == [2, 0]

    run_virtual(main())


def test_each_message_keeps_what_is_known_of_it():
    async def main():
        lines = Lines()
        async with redundant(lines) as feed:
            stream = feed.stream(markers=True)
            await turns()
            lines.wire("b").reset()
            await asyncio.sleep(2)
            lines.wire("a").deliver("1", "2")
            await turns()
            lines.wire("b").deliver("2", "3")
            items = await take(stream, 3)
            assert [(item.data, item.source, item.connection_id, item.generation, item.seq) for item in items] == [
                ("1", "line 1", 1, 1, 1),
                ("2", "line 1", 1, 1, 2),
                ("3", "line 2", 2, 1, 3),
            ]
            assert items[0].received_ns <= items[1].received_ns <= items[2].received_ns

    run_virtual(main())


# ---- the merger by itself, told what lines tell


class FakeClient:
    """What a line's client is asked for."""

    uri = "ws://fake/"
    is_running = True
    subscriptions = SimpleNamespace(unrestored=lambda: ())

    def __init__(self):
        self._parts = SimpleNamespace(down=None)


class Told:
    """A merger of two lines, and what its streams see."""

    def __init__(self):
        self.ring = make_ring(QUIET)
        key = MessageKeys(lambda message: message, "test")
        self.lines = [Line(f"line {number}", FakeClient(), key) for number in (1, 2)]
        self.merger = Merger(self.ring, Deduplicator(len), self.lines)
        self.stream = fastws.Stream(self.ring, markers=True)

    def ready(self, line, generation=1):
        line.client._parts.down = None
        self.merger.tell(line, Ready(generation, generation))

    def down(self, line, kind, generation=1):
        """The end of a session is in the line's stream; whether it is read is another matter."""
        line.client._parts.down = fastws.Down(
            generation=generation, last_received_ns=1, detected_ns=2, reason=DisconnectReason(kind)
        )
        return line.client._parts.down

    def outage(self, down):
        return fastws.Outage(
            from_ns=down.last_received_ns, detected_ns=down.detected_ns, to_ns=3, reason=down.reason,
            old_generation=down.generation, new_generation=down.generation + 1, attempts=1,
        )  # fmt: skip

    async def seen(self):
        self.ring._end()
        return shapes(await rest(self.stream))


def test_a_line_between_two_connections_is_not_ready_and_its_change_is_part_of_the_outage():
    async def main():
        told = Told()
        first, second = told.lines
        told.ready(first)
        told.ready(second)
        changing = told.down(first, "rotation")
        lost = told.down(second, "error")
        told.merger.tell(second, Disconnected(lost.reason))
        told.merger.passed(second, 1)
        told.merger.passed(first, 1)
        assert (await told.stream.recv()).reason is lost.reason
        told.ready(first, 2)
        await told.merger.replaced(first, told.outage(changing))
        assert await told.seen() == [("Outage", 1, 2)]

    run_virtual(main())


def test_a_client_that_ends_without_a_word_of_its_session_has_lost_it():
    async def main():
        told = Told()
        (line, _) = told.lines
        told.ready(line)
        line.client.is_running = False
        told.merger.tell(line, Shutdown())
        told.merger.passed(line)
        told.merger.tell(line, Shutdown())
        assert await told.seen() == [("Down", 1)]

    run_virtual(main())


def test_who_waits_for_the_others_may_give_up():
    async def main():
        told = Told()
        first, second = told.lines
        for line in told.lines:
            told.ready(line)
        for line in told.lines:
            told.merger.tell(line, Disconnected(told.down(line, "error").reason))
        told.ready(first, 2)
        told.merger.passed(first, 1)
        waits = [asyncio.create_task(told.merger.reach(first, 2)) for _ in range(2)]
        await turns()
        assert not any(wait.done() for wait in waits)
        waits[0].cancel()
        await turns()
        told.merger.passed(second)
        await waits[1]
        assert waits[0].cancelled()
        assert await told.seen() == [("Down", 1), ("Outage", 1, 2)]

    run_virtual(main())
