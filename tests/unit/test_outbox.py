"""What a client sends, across sessions, on wires in memory (outbox.py)."""

import asyncio

import pytest

from fastws.errors import ClientStopped, NotConnected, NotSent, SendQueueFull
from fastws.outbox import Outbox
from fastws.rate import Pacer, RateLimit, RateLimits
from outboxes import outbox, told
from virtual_time import run_virtual
from wires import MemoryWire


def test_a_ready_session_gets_messages_at_once_and_in_order():
    async def main():
        box, wire = outbox(send_queue_capacity=4), MemoryWire()
        box.begin(wire)
        box.send_nowait("a")
        await box.send(bytearray(b"b"))
        box.send_nowait("c")
        assert wire.sent == ["a", b"b", "c"]

    run_virtual(main())


def test_fail_says_so_at_once():
    async def main():
        box = outbox()
        for sending in (box.send("secret"), box.send("secret")):
            with pytest.raises(NotConnected, match="wait_ready") as raised:
                await sending
            assert "secret" not in str(raised.value)
        with pytest.raises(NotConnected):
            box.send_nowait("x")

    run_virtual(main())


def test_drop_counts_and_fails_the_receipt():
    async def main():
        box = outbox("drop")
        receipt = asyncio.get_running_loop().create_future()
        await box.send("x", receipt=receipt)
        box.send_nowait("y")
        assert box.dropped == 2
        with pytest.raises(NotSent, match="drop"):
            await receipt

    run_virtual(main())


def test_keep_sends_in_order_after_the_next_ready_and_is_bounded():
    async def main():
        box = outbox("keep", send_queue_capacity=3)
        for number in range(3):
            box.send_nowait(str(number))
        with pytest.raises(SendQueueFull, match="no connection"):
            box.send_nowait("3")
        waiting = asyncio.create_task(box.send("3"))
        await asyncio.sleep(1)
        assert not waiting.done()
        wire = MemoryWire()
        box.begin(wire)
        await waiting
        await asyncio.sleep(0.1)
        assert wire.sent == ["0", "1", "2", "3"]

    run_virtual(main())


def test_what_is_sent_while_older_messages_wait_does_not_pass_them():
    async def main():
        box = outbox("keep")
        box.send_nowait("old")
        wire = MemoryWire()
        box.begin(wire)
        box.send_nowait("new")
        await asyncio.sleep(0.1)
        assert wire.sent == ["old", "new"]

    run_virtual(main())


def test_a_session_that_ended_under_a_send_is_not_connected_or_kept():
    async def main():
        wire = MemoryWire()
        box = outbox()
        box.begin(wire)
        wire.reset()
        with pytest.raises(NotConnected, match="reset"):
            box.send_nowait("x")

        kept = outbox("keep")
        kept.begin(wire)
        kept.send_nowait("x")
        await asyncio.sleep(0.1)
        assert told(kept) == ()
        assert kept.waits == 1
        after = MemoryWire()
        kept.begin(after)
        await asyncio.sleep(0.1)
        assert after.sent == ["x"]

    run_virtual(main())


def test_the_end_of_the_client_accounts_for_what_waits():
    async def main():
        box, receipt = outbox("keep"), asyncio.get_running_loop().create_future()
        box.send_nowait("x", receipt=receipt)
        (unsent,) = box.close()
        assert (unsent.message, unsent.outcome) == ("x", "not_sent")
        with pytest.raises(NotSent):
            await receipt

    run_virtual(main())


def test_after_the_end_the_cause_is_raised():
    async def main():
        box = outbox("keep", closed=lambda: ClientStopped("over"))
        with pytest.raises(ClientStopped, match="over"):
            box.send_nowait("x")
        with pytest.raises(ClientStopped, match="over"):
            await box.send("x")

    run_virtual(main())


def test_who_waits_for_room_is_told_of_the_end():
    async def main():
        causes = [None]
        box = outbox("keep", 1, lambda: causes[0])
        box.send_nowait("x")
        waiting = asyncio.create_task(box.send("y"))
        await asyncio.sleep(0.1)
        causes[0] = ClientStopped("over")
        box.close()
        with pytest.raises(ClientStopped):
            await waiting

    run_virtual(main())


def test_who_waits_for_room_gets_it_in_turn_and_few_are_woken():
    async def main():
        box, wire = outbox(send_queue_capacity=1), MemoryWire()
        box.begin(wire, Pacer(RateLimit(1, 1.0, burst=1)))
        tries = 0

        def counted(message, *args, **keywords):
            nonlocal tries
            tries += 1
            return Outbox.send_nowait(box, message, *args, **keywords)

        class Counted(Outbox):
            __slots__ = ()
            send_nowait = staticmethod(counted)

        box.__class__ = Counted
        sending = [asyncio.create_task(box.send(str(number))) for number in range(40)]
        for number in range(3):
            await asyncio.sleep(1.0)
            sending.append(asyncio.create_task(box.send(f"late {number}")))
        await asyncio.gather(*sending)
        await asyncio.sleep(2)
        assert wire.sent == [*map(str, range(40)), "late 0", "late 1", "late 2"]
        assert tries <= 3 * 43

    run_virtual(main())


def test_a_newcomer_does_not_overtake_who_waits_for_room_and_what_is_urgent_does():
    async def main():
        box = outbox("keep", send_queue_capacity=1)
        box.send_nowait("0")
        sending = [asyncio.create_task(box.send("1")), asyncio.create_task(box.send("2"))]
        await asyncio.sleep(1)
        sending.append(asyncio.create_task(box.send("urgent 1", urgent=True)))
        sending.append(asyncio.create_task(box.send("urgent 2", urgent=True)))
        await asyncio.sleep(1)
        newcomer = asyncio.create_task(box.send("3"))
        wire = MemoryWire()
        box.begin(wire)  # and the newcomer runs before those who wait are woken
        await asyncio.gather(*sending, newcomer)
        await asyncio.sleep(0.1)
        assert wire.sent == ["0", "urgent 1", "urgent 2", "1", "2", "3"]

    run_virtual(main())


def test_who_gives_up_waiting_for_room_leaves_it_to_the_next():
    async def main():
        box = outbox("keep", send_queue_capacity=1)
        receipt = asyncio.get_running_loop().create_future()
        box.send_nowait("0", receipt=receipt)
        sending = [asyncio.create_task(box.send(str(number))) for number in range(1, 4)]
        await asyncio.sleep(1)
        box.withdraw(receipt)
        sending[0].cancel()  # its turn has come, and it does not take it
        await asyncio.sleep(1)
        assert sending[1].done()
        assert not sending[2].done()
        assert box.waits == 1
        box.close()
        await asyncio.wait(sending)

    run_virtual(main())


def test_nothing_is_accepted_once_the_client_shuts_down():
    async def main():
        cause = []
        box, wire = outbox(closed=lambda: cause[0] if cause else None), MemoryWire()
        box.begin(wire)
        box.send_nowait("a")
        cause.append(ClientStopped("shutting down"))
        box.stop()
        for sending in (box.send("b"), box.send("c", urgent=True)):
            with pytest.raises(ClientStopped):
                await sending
        assert wire.sent == ["a"]
        box.close()
        cause.clear()
        box.begin(wire)
        box.send_nowait("d")
        assert wire.sent == ["a", "d"]

    run_virtual(main())


def test_a_cancelled_send_that_waited_was_not_accepted():
    async def main():
        box = outbox("keep", send_queue_capacity=1)
        box.send_nowait("x")
        waiting = asyncio.create_task(box.send("y"))
        await asyncio.sleep(0.1)
        waiting.cancel()
        await asyncio.wait([waiting])
        wire = MemoryWire()
        box.begin(wire)
        await asyncio.sleep(0.1)
        assert wire.sent == ["x"]

    run_virtual(main())


def test_what_a_connection_of_ours_has_not_accepted_is_never_maybe_sent():
    """Whichever hears of the end first: the one who waits for its room, or the outbox."""

    async def main():
        loop = asyncio.get_running_loop()
        box = outbox("keep")
        box.send_nowait("kept", receipt=(receipt := loop.create_future()))

        class Native:
            """As much of a connection as a full one has."""

            _is_above_write_limit = _has_unsent = False
            _unsent = (0, 0, 0)

            def send_nowait(self, message, text=None):
                raise SendQueueFull("full")

            def _drain_future(self, again=False):
                return loop.create_future()

        box._wire = box._native = Native()
        box._drain()
        await asyncio.sleep(1)
        assert told(box) == ()
        assert not receipt.done()
        again = MemoryWire()
        box.begin(again)
        await box.flushed()
        assert again.sent == ["kept"]
        box.close()

    run_virtual(main())


def test_a_message_that_cannot_be_sent_takes_no_token():
    class Refusing(MemoryWire):
        def send_nowait(self, message, text=None):
            if message == "wrong":
                raise ValueError("not UTF-8")
            super().send_nowait(message, text)

    async def main():
        box, wire = outbox(), Refusing()
        box.begin(wire, Pacer(RateLimits(RateLimit(1, 10.0), {"k": RateLimit(1, 10.0)})))
        with pytest.raises(ValueError, match="UTF-8"):
            box.send_nowait("wrong", key="k")
        box.send_nowait("right", key="k")
        assert wire.sent == ["right"]

    run_virtual(main())
