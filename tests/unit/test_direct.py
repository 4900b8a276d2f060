"""What a connector's own connection sends by itself, as it has no room (_direct.py)."""

import asyncio
import contextlib

import pytest

from fastws.errors import MaybeSent, NotConnected, NotSent, SendQueueFull
from fastws.rate import Pacer, RateLimit
from outboxes import outbox, told
from virtual_time import run_virtual
from wires import MemoryWire


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


class Stubborn(FullWire):
    """Its send() lets nobody cancel it before there is room."""

    async def send(self, message, text=None):
        while not self.room.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await self.room.wait()


def test_what_such_a_connection_does_not_let_go_of_has_no_part_in_the_next_session():
    async def main():
        box, wire, again = outbox("keep"), Stubborn(), FullWire()
        for message in ("one", "two", "three"):
            box.send_nowait(message)
        box.begin(wire)
        await asyncio.sleep(1)
        assert [(each.message, each.outcome) for each in told(box)] == [("one", "maybe_sent")]
        box.begin(again)
        await asyncio.sleep(1)
        wire.room.set()
        await asyncio.sleep(1)
        again.room.set()
        await box.flushed()
        assert again.sent == ["two", "three"]
        box.close()

    run_virtual(main())


@pytest.mark.parametrize("why", ["end", "timeout"])
def test_who_sends_by_such_a_connection_is_not_held_up_by_it(why, caplog):
    async def main():
        loop = asyncio.get_running_loop()
        box, wire = outbox(), Stubborn()
        box.begin(wire)
        sending = asyncio.create_task(box.send("order"))
        await asyncio.sleep(1)
        if why == "end":
            box.end()
        else:
            sending.cancel()
        await asyncio.wait([sending])
        assert loop.time() < 2
        assert "Stubborn.send does not end" in caplog.text
        assert sending.cancelled() or isinstance(sending.exception(), MaybeSent)
        wire.room.set()
        await asyncio.sleep(0.1)
        box.close()

    run_virtual(main())
