"""However a client ends, it says what it could not send: in events, on its exception, in the log (client.py: _end)."""

import asyncio

import pytest

import fastws
import fastws.sync
from fastws.errors import ConnectError, NotSent
from fastws.events import Disconnected, Shutdown
from virtual_time import run_virtual
from wires import QUIET, Failing, MemoryConnector, client_of, refused

KEEPING = QUIET.replace(on_disconnect_send="keep", shutdown_timeout=3)

ORDERS = [("order 0", "not_sent"), ("order 1", "not_sent"), ("order 2", "not_sent")]


def seen(unsent):
    return [(each.message, each.outcome) for each in unsent]


class Watched:
    """A client, and what it tells."""

    def __init__(self, connector, **options):
        self.client = client_of(connector, **{"config": KEEPING, **options})
        self.events = []
        self.client.on(None, self.events.append)

    async def send_orders(self):
        for number in range(3):
            await self.client.send(f"order {number}")

    @property
    def told(self):
        """Each message once, by the event that tells of it."""
        return [(type(event), *each) for event in self.events for each in seen(getattr(event, "unsent", ()))]


def assert_says(error, caplog, count=3):
    assert error.__notes__ == [f"unsent messages: {count}"]
    assert [record.message for record in caplog.records if "unsent" in record.message] == [
        f"ws://venue.example/feed: the client has ended; unsent messages: {count}"
    ]
    assert "order" not in caplog.text


@pytest.mark.parametrize("final", [False, True])
def test_what_was_kept_when_it_gave_up_is_named(final, caplog):
    async def main():
        last = ConnectError("no", kind="certificate", phase="tls", uri="x") if final else refused()
        connector = MemoryConnector(refused(), refused(), then=last)
        watched = Watched(connector, retry=fastws.FixedDelay(1.0).with_max_attempts(3))
        running = asyncio.create_task(watched.client.run())
        await asyncio.sleep(0.1)
        await watched.send_orders()
        with pytest.raises(ConnectError if final else fastws.RetriesExhausted) as raised:
            await running
        assert seen(raised.value.unsent) == ORDERS
        assert_says(raised.value, caplog)
        assert watched.told == [(Shutdown, *order) for order in ORDERS]
        assert isinstance(watched.events[-1], Shutdown)
        assert watched.client.stats().messages_unsent == 3
        await watched.client.shutdown()

    run_virtual(main())


@pytest.mark.parametrize("is_ready", [False, True])
def test_what_was_kept_when_it_was_cancelled_is_named(is_ready, caplog):
    async def main():
        connector = MemoryConnector(then=None if is_ready else refused())
        watched = Watched(connector, rate_limit=fastws.RateLimit(1, 100.0, burst=1))
        running = asyncio.create_task(watched.client.run())
        await asyncio.sleep(0.1)
        await watched.send_orders()
        running.cancel()
        with pytest.raises(asyncio.CancelledError) as raised:
            await running
        left = ORDERS[is_ready:]
        assert seen(raised.value.unsent) == left
        assert_says(raised.value, caplog, len(left))
        assert watched.told == [(Shutdown, *order) for order in left]

    run_virtual(main())


def test_a_task_group_that_fails_tells_of_it_too():
    async def main():
        watched = Watched(MemoryConnector(then=refused()))
        with pytest.raises(ExceptionGroup):
            async with asyncio.TaskGroup() as group:
                group.create_task(watched.client.run())
                await asyncio.sleep(0.1)
                await watched.send_orders()
                raise LookupError("another task's")
        assert watched.told == [(Shutdown, *order) for order in ORDERS]

    run_virtual(main())


def test_each_message_is_in_one_event_and_what_the_end_left_is_on_the_exception():
    async def main():
        connector = MemoryConnector(then=None)
        watched = Watched(
            connector, config=KEEPING.replace(on_disconnect_send="fail"), rate_limit=fastws.RateLimit(1, 100.0, burst=1)
        )
        running = asyncio.create_task(watched.client.run())
        await asyncio.sleep(0.1)
        await watched.send_orders()
        running.cancel()
        with pytest.raises(asyncio.CancelledError) as raised:
            await running
        assert watched.told == [(Disconnected, *order) for order in ORDERS[1:]]
        assert seen(raised.value.unsent) == ORDERS[1:]

    run_virtual(main())


def test_a_body_that_raises_hears_what_was_not_sent(caplog):
    async def main():
        connector = MemoryConnector(None, then=refused())
        watched = Watched(connector)
        with pytest.raises(LookupError, match="the body's") as raised:
            async with watched.client:
                connector.wires[0].reset()
                await asyncio.sleep(0.1)
                await watched.send_orders()
                raise LookupError("the body's")
        assert seen(raised.value.unsent) == ORDERS
        assert_says(raised.value, caplog)
        assert watched.told == [(Shutdown, *order) for order in ORDERS]

    run_virtual(main())


def test_a_body_that_raises_what_ended_the_client_is_told_once():
    async def main():
        connector = MemoryConnector(None, then=refused())
        watched = Watched(connector, retry=fastws.FixedDelay(1.0).with_max_attempts(3))
        with pytest.raises(fastws.RetriesExhausted) as raised:
            async with watched.client:
                connector.wires[0].reset()
                await asyncio.sleep(0.1)
                await watched.send_orders()
                await anext(watched.client.stream())
        assert seen(raised.value.unsent) == ORDERS
        assert raised.value.__notes__ == ["unsent messages: 3"]

    run_virtual(main())


def test_who_is_cancelled_before_it_is_ready_hears_what_was_not_sent():
    async def main():
        watched = Watched(MemoryConnector(then=refused()))

        async def use():
            async with watched.client:
                raise AssertionError("it is never ready")

        using = asyncio.create_task(use())
        await asyncio.sleep(0.1)
        await watched.send_orders()
        using.cancel()
        with pytest.raises(asyncio.CancelledError) as raised:
            await using
        assert seen(raised.value.unsent) == ORDERS

    run_virtual(main())


def test_the_last_session_is_the_clients_end_where_none_follows():
    async def main():
        connector = MemoryConnector()
        watched = Watched(
            connector, config=KEEPING.replace(on_disconnect_send="fail"), rate_limit=fastws.RateLimit(1, 100.0, burst=1)
        )
        running = asyncio.create_task(watched.client.run())
        await asyncio.sleep(0.1)
        await watched.send_orders()
        connector.wires[0].reset()
        await asyncio.sleep(0.5)
        assert watched.told == [(Disconnected, *order) for order in ORDERS[1:]]
        await watched.client.shutdown()  # it has been told; that is no reason to call this end a late one
        await running
        assert watched.events[-1] == Shutdown(())

    run_virtual(main())


def test_a_clean_end_says_nothing(caplog):
    async def main():
        watched = Watched(MemoryConnector())
        async with watched.client:
            await watched.send_orders()
        assert watched.told == []
        assert not caplog.records

    run_virtual(main())


def test_what_expired_is_told_by_the_last_event_and_makes_no_clean_end_a_late_one(caplog):
    async def main():
        watched = Watched(MemoryConnector(then=refused()))
        running = asyncio.create_task(watched.client.run())
        await asyncio.sleep(0.1)
        receipt = await watched.client.send("quote", expires=1, receipt=True)
        await asyncio.sleep(5)
        await watched.client.shutdown()
        await running
        assert watched.told == [(Shutdown, "quote", "failed")]
        assert "unsent" not in caplog.text
        with pytest.raises(NotSent, match="expired"):
            await receipt

    run_virtual(main())


def test_a_late_shutdown_tells_what_had_failed_too_and_how_long_it_took():
    async def main():
        watched = Watched(MemoryConnector(then=refused()))
        running = asyncio.create_task(watched.client.run())
        await asyncio.sleep(0.1)
        await watched.client.send("quote", expires=1)
        await watched.client.send("order")
        await asyncio.sleep(5)
        with pytest.raises(
            fastws.ShutdownTimeout, match=r"shut down in 0\.000 s of 30 s; unsent messages: 2"
        ) as raised:
            await watched.client.shutdown(30)
        await running
        assert seen(raised.value.unsent) == [("order", "not_sent"), ("quote", "failed")]
        assert watched.told == [(Shutdown, "order", "not_sent"), (Shutdown, "quote", "failed")]

    run_virtual(main())


@pytest.mark.parametrize("run", ["start", "run"])
def test_a_blocking_client_says_it_too(run):
    client = fastws.sync.WebSocketClient("ws://localhost:1/", config=KEEPING, retry=fastws.FixedDelay(60))
    client.send("order")
    with pytest.raises(TimeoutError) as raised:
        getattr(client, run)(timeout=0.01)
    assert seen(raised.value.unsent) == [("order", "not_sent")]
    assert raised.value.__notes__ == ["unsent messages: 1"]


# What waited and turns out to be unsendable.


def test_what_no_connection_can_send_is_refused_at_the_call():
    async def main():
        config = KEEPING.replace(ws_config={"max_send_bytes": 10_000})
        client = fastws.WebSocketClient("ws://127.0.0.1:9/", config=config)
        for message, text, error in (
            (b"\xff\xff", True, UnicodeDecodeError),
            ("\ud800", None, UnicodeEncodeError),
            ("\ud800", False, UnicodeEncodeError),
            (b"x" * 9_987, None, ValueError),
            ("ä" * 4_994, None, ValueError),
        ):
            for send in (client.send_nowait, client.sender().send_nowait):
                with pytest.raises(error, match=r"can never fit a send queue of 10000 bytes|codec"):
                    send(message, text)
            with pytest.raises(error):
                await client.send(message, text, receipt=True)
        client.send_nowait(b"x" * 9_986)
        client.send_nowait(b"\xff\xff")
        client.send_nowait("ä" * 4_993)
        assert client.stats().waiting_messages == 3

    run_virtual(main())


def test_what_a_connection_refuses_later_is_accounted_for(caplog):
    def picky(wire):
        def refuse(wire, message):
            if message == "too long":
                wire.sent.remove(message)
                raise ValueError("a message of 8 characters can never fit")

        wire.on_send = refuse

    async def main():
        connector = MemoryConnector(refused(), then=picky)
        watched = Watched(connector)
        running = asyncio.create_task(watched.client.run())
        await asyncio.sleep(0.1)
        receipt = await watched.client.send("too long", receipt=True)
        await watched.client.send("behind")
        await watched.client.wait_ready()
        await asyncio.sleep(0.1)
        assert connector.wires[0].sent == ["behind"]
        with pytest.raises(NotSent, match="can never fit") as raised:
            await receipt
        assert isinstance(raised.value.__cause__, ValueError)
        stats = watched.client.stats()
        assert (stats.messages_failed, stats.messages_unsent, stats.messages_expired) == (1, 0, 0)
        assert "fastws_client_messages_failed_total 1" in stats.as_prometheus()
        connector.wires[0].reset()
        await asyncio.sleep(0.1)
        assert watched.told == [(Disconnected, "too long", "failed")]
        assert [record.message for record in caplog.records if "waited" in record.message] == [
            "a message that waited was not sent: a message of 8 characters can never fit"
        ]
        await watched.client.shutdown()
        await running

    run_virtual(main())


def test_a_handshake_that_fails_for_good_leaves_what_was_kept():
    async def main():
        error = fastws.AuthFailed("no")
        watched = Watched(MemoryConnector(refused()), handshake=Failing(error))
        running = asyncio.create_task(watched.client.run())
        await asyncio.sleep(0.1)
        await watched.send_orders()
        with pytest.raises(fastws.AuthFailed) as raised:
            await running
        assert seen(raised.value.unsent) == ORDERS

    run_virtual(main())
