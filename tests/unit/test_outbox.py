"""What a client sends, across sessions, on wires in memory (outbox.py)."""

import asyncio
from types import SimpleNamespace

import pytest

from fastws.errors import ClientStopped, MaybeSent, NotConnected, NotSent, SendQueueFull
from fastws.outbox import Outbox, loop_time
from fastws.rate import Pacer, RateLimit, RateLimits
from virtual_time import run_virtual
from wires import MemoryWire


def outbox(policy="fail", capacity=4, cause=None):
    config = SimpleNamespace(send_queue_capacity=capacity, keep_limit=capacity, on_disconnect_send=policy)
    return Outbox(config, lambda: cause)


def test_a_ready_session_gets_messages_at_once_and_in_order():
    async def main():
        box, wire = outbox(), MemoryWire()
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
        box = outbox("keep", capacity=3)
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


def test_urgent_passes_what_waits():
    async def main():
        box = outbox("keep")
        box.send_nowait("old")
        box.send_nowait("cancel", urgent=True)
        wire = MemoryWire()
        box.begin(wire)
        await asyncio.sleep(0.1)
        assert wire.sent == ["cancel", "old"]

    run_virtual(main())


def test_what_expired_while_it_waited_is_not_sent():
    async def main():
        loop = asyncio.get_running_loop()
        box, receipt = outbox("keep"), loop.create_future()
        box.send_nowait("stale", expires=loop.time() + 5, receipt=receipt)
        box.send_nowait("fresh", expires=loop.time() + 60)
        await asyncio.sleep(10)
        wire = MemoryWire()
        box.begin(wire)
        await asyncio.sleep(0.1)
        assert wire.sent == ["fresh"]
        assert box.expired == 1
        with pytest.raises(NotSent, match="expired"):
            await receipt

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
        box = outbox("keep", cause=ClientStopped("over"))
        with pytest.raises(ClientStopped, match="over"):
            box.send_nowait("x")
        with pytest.raises(ClientStopped, match="over"):
            await box.send("x")

    run_virtual(main())


def test_who_waits_for_room_is_told_of_the_end():
    async def main():
        causes = [None]
        config = SimpleNamespace(send_queue_capacity=1, keep_limit=1, on_disconnect_send="keep")
        box = Outbox(config, lambda: causes[0])
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
        box, wire = outbox(capacity=1), MemoryWire()
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
        box = outbox("keep", capacity=1)
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
        box = outbox("keep", capacity=1)
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
        config = SimpleNamespace(send_queue_capacity=4, keep_limit=4, on_disconnect_send="fail")
        cause = []
        box, wire = Outbox(config, lambda: cause[0] if cause else None), MemoryWire()
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


def test_a_message_may_expire_that_was_kept_where_no_loop_runs():
    box = outbox("keep")
    box.send_nowait("stale", expires=loop_time() - 1)
    box.send_nowait("soon", expires=loop_time() + 0.001)
    box.send_nowait("fresh", expires=loop_time() + 60)
    assert (box.expired, box.waits) == (1, 2)

    async def main():
        while loop_time() < box._waiting[0].expires:
            await asyncio.sleep(0.001)
        wire = MemoryWire()
        box.begin(wire)
        while not wire.sent:
            await asyncio.sleep(0)
        assert wire.sent == ["fresh"]
        box.close()

    asyncio.run(main())
    assert box.expired == 2


def test_a_cancelled_send_that_waited_was_not_accepted():
    async def main():
        box = outbox("keep", capacity=1)
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


def test_what_expires_while_it_waits_for_the_rate_limit_is_not_sent_and_is_accounted_for():
    async def main():
        loop = asyncio.get_running_loop()
        box, wire = outbox("fail"), MemoryWire()
        box.begin(wire, Pacer(RateLimit(1, 10.0)))
        box.send_nowait("now")
        box.send_nowait("late", expires=loop.time() + 5)
        box.send_nowait("later", expires=loop.time() + 60)
        await asyncio.sleep(11)
        assert wire.sent == ["now", "later"]
        (unsent,) = told(box)
        assert (unsent.message, unsent.outcome) == ("late", "failed")

    run_virtual(main())


def told(box):
    """What the end of the session tells of."""
    return sum(box.end(), ())


class FullWire(MemoryWire):
    """A connector's own: it has no room until it is told, and waits by itself."""

    def __init__(self):
        super().__init__()
        self.room = asyncio.Event()

    def send_nowait(self, message, text=None):
        if self.is_open and not self.room.is_set():
            raise SendQueueFull("the wire has no room")
        super().send_nowait(message, text)

    async def send(self, message, text=None):
        await self.room.wait()
        super().send_nowait(message, text)


def test_a_connectors_own_connection_that_is_full_is_waited_for():
    async def main():
        loop = asyncio.get_running_loop()
        box, wire, receipt = outbox(), FullWire(), loop.create_future()
        box.begin(wire)
        with pytest.raises(SendQueueFull):
            box.send_nowait("at once")
        sending = asyncio.create_task(box.send("awaited", receipt=receipt))
        await asyncio.sleep(1)
        assert not sending.done()
        wire.room.set()
        async with asyncio.timeout(1):
            await sending
        assert wire.sent == ["awaited"]
        assert receipt.done()

    run_virtual(main())


def test_what_is_urgent_while_another_message_waits_for_such_a_connection_is_neither_lost_nor_sent_in_its_place():
    async def main():
        box, wire = outbox("keep"), FullWire()
        box.send_nowait("order")
        box.begin(wire)
        await asyncio.sleep(0.1)
        box.send_nowait("cancel", urgent=True)
        wire.room.set()
        await box.flushed()
        assert sorted(wire.sent) == ["cancel", "order"]

    run_virtual(main())


def test_what_expires_while_such_a_connection_sends_it_may_be_sent_and_is_not_sent_again():
    async def main():
        loop = asyncio.get_running_loop()
        for is_kept in (True, False):
            box, wire, receipt = outbox("keep"), FullWire(), loop.create_future()
            if is_kept:
                box.send_nowait("stale", expires=loop.time() + 5, receipt=receipt)
            box.begin(wire)
            if not is_kept:
                await box.send("stale", expires=loop.time() + 5, receipt=receipt)
            await asyncio.sleep(6)
            wire.room.set()
            box.send_nowait("fresh")
            await box.flushed()
            assert wire.sent == ["fresh"]
            with pytest.raises(MaybeSent, match="expired while the connection was sending it"):
                await receipt
            (unsent,) = told(box)
            assert (unsent.message, unsent.outcome) == ("stale", "maybe_sent")

    run_virtual(main())


class DrainingWire(FullWire):
    """It accepts first and waits afterwards, as many libraries do."""

    ends_in_error = False

    async def send(self, message, text=None):
        MemoryWire.send_nowait(self, message, text)
        await self.room.wait()
        if self.ends_in_error:
            raise self._error()


@pytest.mark.parametrize("policy", ["fail", "keep", "drop"])
def test_what_such_a_connection_was_sending_at_its_end_is_not_sent_twice(policy):
    async def main():
        loop = asyncio.get_running_loop()
        box, wire, receipt = outbox(policy), DrainingWire(), loop.create_future()
        box.begin(wire, Pacer(RateLimit(1, 1.0)))
        wire.room.set()
        box.send_nowait("first")
        wire.room.clear()
        box.send_nowait("order", receipt=receipt)
        await asyncio.sleep(2)
        assert wire.sent == ["first", "order"]
        (unsent,) = told(box)
        assert (unsent.message, unsent.outcome) == ("order", "maybe_sent")
        assert box.unsent == 1
        with pytest.raises(MaybeSent, match="while it was sending it"):
            await receipt
        again = MemoryWire()
        box.begin(again)
        box.send_nowait("next")
        await box.flushed()
        assert again.sent == ["next"]
        assert told(box) == ()
        await asyncio.sleep(0)

    run_virtual(main())


@pytest.mark.parametrize("policy", ["fail", "keep", "drop"])
@pytest.mark.parametrize("is_queued", [False, True])
def test_such_a_connection_that_raises_at_its_end_does_not_say_what_it_sent(policy, is_queued):
    async def main():
        box, wire, again = outbox(policy), DrainingWire(), MemoryWire()
        box.begin(wire, Pacer(RateLimit(1, 1.0, burst=2)))
        if is_queued:
            wire.room.set()
            box.send_nowait("one")
            box.send_nowait("two")
            wire.room.clear()
        sending = asyncio.create_task(box.send("order", receipt=(receipt := asyncio.Future())))
        await asyncio.sleep(2)
        wire.reset()
        wire.room.set()
        wire.ends_in_error = True
        await asyncio.sleep(0.1)
        if not is_queued:
            with pytest.raises(MaybeSent, match="while it was sending it"):
                await sending
        with pytest.raises(MaybeSent):
            await receipt
        lost = told(box)
        assert [(each.message, each.outcome) for each in lost] == ([("order", "maybe_sent")] if is_queued else [])
        box.begin(again)
        await box.flushed()
        assert again.sent == []
        box.close()
        await sending if is_queued else None

    run_virtual(main())


@pytest.mark.parametrize("policy", ["fail", "keep"])
def test_what_comes_after_such_a_connection_has_ended_was_not_sent(policy):
    async def main():
        box, wire, again = outbox(policy), FullWire(), MemoryWire()
        box.begin(wire)
        sending = asyncio.create_task(box.send("waits"))
        await asyncio.sleep(1)
        wire.reset()
        later = asyncio.create_task(box.send("later"))
        await asyncio.sleep(0)
        box.end()
        with pytest.raises(MaybeSent):
            await sending
        if policy == "fail":
            with pytest.raises(NotConnected):
                await later
        else:
            await later
            box.begin(again)
            await box.flushed()
            assert again.sent == ["later"]
        box.close()

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


def test_what_expires_in_an_outage_makes_room_and_says_so_in_time():
    async def main():
        loop = asyncio.get_running_loop()
        box = outbox("keep", 3)
        receipts = [loop.create_future() for _ in range(3)]
        for number, receipt in enumerate(receipts):
            box.send_nowait(f"{number}", expires=loop.time() + 5 + number, receipt=receipt)
        with pytest.raises(SendQueueFull, match="keep_limit"):
            box.send_nowait("no room")
        for number, receipt in enumerate(receipts):
            with pytest.raises(NotSent, match="expired"):
                await receipt
            assert loop.time() == pytest.approx(5 + number, abs=0.01)
        assert (box.expired, box.waits) == (3, 0)
        for number in range(3):
            box.send_nowait(f"fresh {number}")
        box.begin(wire := MemoryWire())
        await box.flushed()
        assert wire.sent == ["fresh 0", "fresh 1", "fresh 2"]
        box.close()

    run_virtual(main())


def test_a_message_is_withdrawn_while_no_connection_has_it():
    async def main():
        loop = asyncio.get_running_loop()
        box = outbox("keep")
        first, second = loop.create_future(), loop.create_future()
        box.send_nowait("first", receipt=first)
        box.send_nowait("second", receipt=second)
        assert box.withdraw(first)
        assert not box.withdraw(first)
        with pytest.raises(NotSent, match="withdrawn"):
            await first
        box.begin(wire := MemoryWire())
        await box.flushed()
        assert wire.sent == ["second"]
        assert not box.withdraw(second)
        box.close()

    run_virtual(main())


def test_a_flush_waits_for_those_who_send_by_a_connectors_own_connection():
    async def main():
        box, wire = outbox(), FullWire()
        box.begin(wire)
        sending = asyncio.create_task(box.send("order"))
        await asyncio.sleep(0)
        flushing = asyncio.create_task(box.flushed())
        await asyncio.sleep(1)
        assert not flushing.done()
        wire.room.set()
        await flushing
        assert wire.sent == ["order"]
        await sending
        box.close()

    run_virtual(main())


@pytest.mark.parametrize("policy", ["fail", "keep", "drop"])
def test_who_sends_by_such_a_connection_hears_that_it_ended_meanwhile(policy):
    async def main():
        box, wire, again = outbox(policy), DrainingWire(), MemoryWire()
        box.begin(wire)
        sending = asyncio.create_task(box.send("order", receipt=(receipt := asyncio.Future())))
        await asyncio.sleep(1)
        box.end()
        box.begin(again)
        with pytest.raises(MaybeSent, match="while it was sending it"):
            await sending
        with pytest.raises(MaybeSent):
            await receipt
        await asyncio.sleep(1)
        assert (wire.sent, again.sent) == (["order"], [])

    run_virtual(main())


def test_each_message_that_waited_for_such_a_connection_pays_its_own_token():
    async def main():
        box, wire = outbox("keep"), FullWire()
        box.send_nowait("one")
        box.send_nowait("two")
        box.begin(wire, Pacer(RateLimit(1, 10.0)))
        await asyncio.sleep(1)
        wire.room.set()
        await asyncio.sleep(1)
        assert wire.sent == ["one"]
        await asyncio.sleep(10)
        assert wire.sent == ["one", "two"]
        box.end()

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


def test_what_is_urgent_leaves_in_order_and_waits_for_no_token_of_another_key():
    async def main():
        loop = asyncio.get_running_loop()
        box, wire = outbox(), MemoryWire()
        limits = RateLimits(None, {"a": RateLimit(1, 1000.0), "b": RateLimit(5, 1.0)})
        box.begin(wire, Pacer(limits))
        box.send_nowait("a1", key="a")
        box.send_nowait("a2", key="a")
        await asyncio.sleep(1)
        for text in ("b1", "b2", "b3"):
            box.send_nowait(text, key="b", urgent=True)
        await asyncio.sleep(0.1)
        assert wire.sent == ["a1", "b1", "b2", "b3"]
        await box.flushed()
        assert wire.sent[-1] == "a2"
        assert loop.time() == pytest.approx(1000, abs=1)

    run_virtual(main())


def test_what_is_cancelled_inside_of_a_connectors_own_connection_fails_one_message_and_holds_up_none():
    class Cancelled(FullWire):
        async def send(self, message, text=None):
            await self.room.wait()
            if message == "first":
                raise asyncio.CancelledError
            MemoryWire.send_nowait(self, message, text)

    async def main():
        box, wire, receipt = outbox("keep"), Cancelled(), asyncio.get_running_loop().create_future()
        box.send_nowait("first", receipt=receipt)
        box.send_nowait("second")
        box.begin(wire)
        await asyncio.sleep(1)
        wire.room.set()
        await box.flushed()
        assert wire.sent == ["second"]
        with pytest.raises(NotSent, match="was cancelled"):
            await receipt
        (unsent,) = told(box)
        assert (unsent.message, unsent.outcome) == ("first", "failed")

    run_virtual(main())
