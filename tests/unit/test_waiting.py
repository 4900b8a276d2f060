"""What waits for a connection or the rate limit: its order, and what expires (_waiting.py)."""

import asyncio

import pytest

from fastws._waiting import loop_time
from fastws.errors import NotSent, SendQueueFull
from fastws.rate import Pacer, RateLimit, RateLimits
from outboxes import outbox, told
from virtual_time import run_virtual
from wires import MemoryWire


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


def test_a_message_may_expire_that_was_kept_where_no_loop_runs():
    box = outbox("keep")
    box.send_nowait("stale", expires=loop_time() - 1)
    box.send_nowait("soon", expires=loop_time() + 0.001)
    box.send_nowait("fresh", expires=loop_time() + 60)
    assert (box.expired, box.waits) == (1, 2)

    async def main():
        while loop_time() < box._waiting.items[0].expires:
            await asyncio.sleep(0.001)
        wire = MemoryWire()
        box.begin(wire)
        while not wire.sent:
            await asyncio.sleep(0)
        assert wire.sent == ["fresh"]
        box.close()

    asyncio.run(main())
    assert box.expired == 2


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
