"""What a client is subscribed to (subscriptions.py), with a client made up."""

import asyncio
import contextlib
from datetime import timedelta

import pytest

import fastws
from fastws.errors import ConfigError
from fastws.handshakes import HandshakeChannel
from fastws.rate import Pacer
from fastws.subscriptions import SubscriptionError, Subscriptions, SubscriptionState
from subscribing import Client, as_json, confirms, refuses, subscribe, turns
from virtual_time import run_virtual
from wires import MemoryWire


def test_a_subscription_is_sent_when_ready_and_is_confirmed_if_nothing_can_confirm_it():
    async def main():
        registry = Subscriptions()
        client = Client(registry)
        registry.add("a", message="sub a")
        assert client.sent == []
        assert registry.states() == {"a": SubscriptionState.PENDING}
        client.is_ready = True
        registry.add("b", message=subscribe("b"))
        await turns()
        assert client.sent == [as_json(subscribe("b"))]
        assert registry["b"].state is SubscriptionState.CONFIRMED
        await registry.aclose(None)

    run_virtual(main())


def test_references_are_counted_and_the_last_one_unsubscribes():
    async def main():
        registry = Subscriptions()
        client = Client(registry)
        client.is_ready = True
        registry.add("a", message="sub", unsubscribe="unsub")
        registry.add("a", message="sub", unsubscribe="unsub")
        await turns()
        assert client.sent == ["sub"]
        registry.remove("a")
        await turns()
        assert client.sent == ["sub"]
        registry.remove("a")
        await turns()
        assert client.sent == ["sub", "unsub"]
        assert "a" not in registry
        registry.add("b", message="sub b")
        for look_up in (registry.remove, registry.__getitem__):
            with pytest.raises(fastws.UnknownSubscription, match=r"no subscription has the key 'a'; there are: 'b'$"):
                look_up("a")
        with pytest.raises(KeyError):
            await registry.confirmed("a")
        await registry.aclose(None)

    run_virtual(main())


def test_an_acknowledgement_is_awaited_and_a_refusal_is_an_error():
    async def main():
        registry = Subscriptions()
        client = Client(registry)
        client.is_ready = True
        for key in ("a", "b"):
            registry.add(key, message=subscribe(key), ack=confirms(key), nack=refuses(key))
        await turns()
        good, bad = asyncio.create_task(registry.confirmed("a")), asyncio.create_task(registry.confirmed("b"))
        for message in ("no json", as_json([1]), as_json({"refused": "b"}), as_json({"confirmed": "a"})):
            client.messages.put_nowait(message)
        await good
        with pytest.raises(SubscriptionError, match=r"'b'.*refused"):
            await bad
        assert registry.states() == {"a": "confirmed", "b": "failed"}
        with pytest.raises(SubscriptionError):
            await registry.confirmed("b")
        await registry.aclose(None)

    run_virtual(main())


def test_an_acknowledgement_that_does_not_come_fails_after_its_time():
    async def main():
        registry = Subscriptions()
        client = Client(registry)
        client.is_ready = True
        registry.add("a", message="sub", ack=confirms("a"), ack_timeout=5)
        with pytest.raises(SubscriptionError, match="not confirmed within 5 s"):
            await registry.confirmed("a")
        assert asyncio.get_running_loop().time() == pytest.approx(5, abs=0.1)
        await registry.aclose(None)

    run_virtual(main())


def test_a_new_session_subscribes_to_everything_in_order_and_loses_no_message():
    async def main():
        registry = Subscriptions()
        Client(registry)
        for key in "abc":
            registry.add(key, message=f"sub {key}", ack=confirms(key))
        wire = MemoryWire()
        wire.deliver("early data", as_json({"confirmed": "b"}), "data", as_json({"confirmed": "a"}))
        wire.deliver(as_json({"confirmed": "c"}), "late data")
        channel = HandshakeChannel(wire)
        registry.begin(await registry.restore(channel, 2.0))
        assert wire.sent == ["sub a", "sub b", "sub c"]
        assert registry.unrestored() == ()
        assert [message.data for message in channel.unclaimed] == ["early data", "data"]
        registry.session_ended()
        assert registry.unrestored() == ("a", "b", "c")

    run_virtual(main())


def test_restoring_does_not_wait_for_ever_and_says_what_is_missing():
    async def main():
        registry = Subscriptions()
        Client(registry)
        registry.add("a", message="sub a", ack=confirms("a"))
        registry.add("b", message="sub b")
        registry.begin(await registry.restore(HandshakeChannel(MemoryWire()), 2.0))
        assert asyncio.get_running_loop().time() == 2
        assert registry.unrestored() == ("a",)
        await registry.aclose(None)

    run_virtual(main())


def test_what_comes_is_read_while_subscriptions_wait_for_the_rate_limit_and_the_rest_is_sent_in_the_session():
    async def main():
        registry = Subscriptions()
        client = Client(registry)
        wire = MemoryWire()

        def answer(wire, message):
            wire.deliver(as_json({"confirmed": message}), f"data of {message}")

        wire.on_send = answer
        for number in range(20):
            registry.add(str(number), message=str(number), ack=confirms(str(number)))
        pacer = Pacer(fastws.RateLimit(5, 1))
        channel = HandshakeChannel(wire, pace=pacer.acquire)
        restoring = asyncio.create_task(registry.restore(channel, 2.0))
        await asyncio.sleep(1.1)
        assert [message.data for message in channel.unclaimed] == [f"data of {number}" for number in range(10)]
        registry.begin(await restoring)
        assert asyncio.get_running_loop().time() == 2
        sent = len(wire.sent)
        assert 10 <= sent < 20
        assert registry.unrestored() == tuple(map(str, range(sent, 20)))
        client.is_ready = True
        registry.session_began()
        await turns()
        assert client.sent == [str(number) for number in range(sent, 20)]
        for number in range(sent, 20):
            client.messages.put_nowait(as_json({"confirmed": str(number)}))
        await registry.confirmed("19")
        assert registry.unrestored() == ()
        await registry.aclose(None)

    run_virtual(main())


def test_a_connection_whose_send_never_returns_is_not_waited_for():
    async def main():
        registry = Subscriptions()
        Client(registry)
        wire = MemoryWire()
        wire.send = lambda message: asyncio.get_running_loop().create_future()
        registry.add("a", message="sub a")
        registry.add("b", message="sub b", ack=confirms("b"))
        wire.deliver(as_json({"confirmed": "b"}))
        channel = HandshakeChannel(wire)
        registry.begin(await registry.restore(channel, 2.0))
        assert asyncio.get_running_loop().time() == 2
        assert registry.unrestored() == ("a", "b")
        assert len(channel.unclaimed) == 1, "what came before it was sent confirms nothing"
        await registry.aclose(None)

    run_virtual(main())


def test_a_connection_whose_recv_cannot_be_cancelled_is_given_up():
    async def main():
        registry = Subscriptions()
        Client(registry)
        wire, released = MemoryWire(), asyncio.Event()

        async def recv():
            while not released.is_set():
                with contextlib.suppress(asyncio.CancelledError):
                    await released.wait()

        wire.recv = recv
        registry.add("a", message="sub a", ack=confirms("a"))
        with pytest.raises(fastws.HandshakeError, match="does not end"):
            await registry.restore(HandshakeChannel(wire), 2.0)
        assert asyncio.get_running_loop().time() < 3
        released.set()

    run_virtual(main(), leaves_tasks=True)


def test_a_connection_that_ends_while_subscriptions_wait_for_the_rate_limit_says_so_at_once():
    async def main():
        registry = Subscriptions()
        Client(registry)
        wire = MemoryWire()
        for key in "ab":
            registry.add(key, message=key)
        pacer = Pacer(fastws.RateLimit(1, 30.0))
        restoring = asyncio.create_task(registry.restore(HandshakeChannel(wire, pace=pacer.acquire), 60.0))
        await asyncio.sleep(1)
        wire.reset()
        with pytest.raises(fastws.HandshakeError, match="reset by peer"):
            await restoring
        assert asyncio.get_running_loop().time() == 1

    run_virtual(main())


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"message": "x", "ack_timeout": 0}, "ack_timeout"),
        ({"message": "x", "ack_timeout": None}, "ack_timeout"),
        ({"message": "x", "match": bool, "data_timeout": timedelta(0)}, "data_timeout"),
        ({"message": "x", "data_timeout": 5}, "match"),
        ({"message": "x", "match": bool}, "match"),
        ({"message": "x", "nack": bool}, "nack"),
    ],
)
def test_wrong_arguments_are_named(options, field):
    with pytest.raises(ConfigError) as raised:
        Subscriptions().add("a", **options)
    assert raised.value.field == field


def test_a_key_with_another_message_is_refused_and_so_is_a_second_client():
    async def main():
        registry = Subscriptions()
        Client(registry)
        registry.add("a", message="x")
        with pytest.raises(ConfigError, match="another message"):
            registry.add("a", message="y")
        with pytest.raises(ConfigError, match="another client"):
            Client(registry)
        with pytest.raises(TypeError, match="str, bytes"):
            registry.add("b", message=5)
        with pytest.raises(TypeError, match="key"):
            registry.add(5, message="x")

    run_virtual(main())


def test_who_waits_is_told_of_the_end():
    async def main():
        registry = Subscriptions()
        client = Client(registry)
        client.is_ready = True
        registry.add("a", message="sub", ack=confirms("a"))
        registry.add("b", message="sub", ack=confirms("b"))
        first, second = asyncio.create_task(registry.confirmed("a")), asyncio.create_task(registry.confirmed("b"))
        await turns()
        registry.remove("a")
        with pytest.raises(SubscriptionError, match="removed"):
            await first
        await registry.aclose(OSError("the end"))
        with pytest.raises(OSError, match="the end"):
            await second

    run_virtual(main())


def test_a_send_that_cannot_be_cancelled_does_not_keep_the_end_waiting(caplog):
    async def main():
        registry = Subscriptions()
        client = Client(registry)
        client.is_ready = True
        gate = asyncio.get_running_loop().create_future()

        async def stubborn(message):
            while not gate.done():
                with contextlib.suppress(asyncio.CancelledError):
                    await asyncio.shield(gate)

        client._send_replay = stubborn
        registry.add("a", message="sub")
        await turns()
        await registry.aclose(None)
        assert asyncio.get_running_loop().time() < 1
        assert "stubborn does not end" in caplog.text
        gate.set_result(None)
        await turns()

    run_virtual(main())


def test_what_is_added_while_a_session_is_made_ready_is_subscribed_to_in_it():
    async def main():
        registry = Subscriptions()
        client = Client(registry)
        registry.add("a", message="sub a", ack=confirms("a"))
        wire = MemoryWire()
        restoring = asyncio.create_task(registry.restore(HandshakeChannel(wire), 2.0))
        await turns()
        registry.add("b", message="sub b")
        registry.begin(await restoring)
        assert wire.sent == ["sub a"]
        client.is_ready = True
        registry.session_began()
        await turns()
        assert client.sent == ["sub b"]
        await registry.aclose(None)

    run_virtual(main())


def test_a_restore_behind_which_the_session_failed_confirms_nothing_in_the_next():
    async def main():
        registry = Subscriptions()
        Client(registry)
        registry.add("a", message="sub a", ack=confirms("a"))
        wire = MemoryWire()
        wire.deliver(as_json({"confirmed": "a"}))
        await registry.restore(HandshakeChannel(wire), 2.0)
        registry.begin(await registry.restore(HandshakeChannel(MemoryWire()), 2.0))
        assert registry.unrestored() == ("a",)
        await registry.aclose(None)

    run_virtual(main())


def test_restoring_a_second_connection_changes_nothing_until_it_takes_over():
    async def main():
        registry = Subscriptions()
        client = Client(registry)
        client.is_ready = True
        for key in "ab":
            registry.add(key, message=f"sub {key}", unsubscribe=f"unsub {key}", ack=confirms(key))
        await turns()
        for key in "ab":
            client.messages.put_nowait(as_json({"confirmed": key}))
        await registry.confirmed("b")
        wire = MemoryWire()
        restoring = asyncio.create_task(registry.restore(HandshakeChannel(wire), 2.0))
        await turns()
        assert wire.sent == ["sub a", "sub b"]
        assert registry.states() == {"a": "confirmed", "b": "confirmed"}
        registry.remove("b")
        registry.add("c", message="sub c")
        wire.deliver(as_json({"confirmed": "a"}))
        restored = await restoring
        await turns()
        client.sent.clear()
        registry.begin(restored)
        registry.session_began()
        await turns()
        assert client.sent == ["unsub b", "sub c"]
        assert registry.states() == {"a": "confirmed", "c": "confirmed"}


def test_what_is_removed_while_a_session_is_made_ready_is_unsubscribed_in_it():
    async def main():
        registry = Subscriptions()
        client = Client(registry)
        registry.add("a", message="sub a", unsubscribe="unsub a", ack=confirms("a"))
        wire = MemoryWire()
        restoring = asyncio.create_task(registry.restore(HandshakeChannel(wire), 2.0))
        await turns()
        assert wire.sent == ["sub a"]
        registry.remove("a")
        registry.begin(await restoring)
        client.is_ready = True
        registry.session_began()
        await turns()
        assert client.sent == ["unsub a"]
        await registry.aclose(None)

    run_virtual(main())


def test_who_waits_for_a_confirmation_in_vain_is_forgotten():
    async def main():
        registry = Subscriptions()
        registry.add("a", message="sub", ack=confirms("a"))
        longer = asyncio.create_task(registry.confirmed("a"))
        for _ in range(3):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(1):
                    await registry.confirmed("a")
        assert len(registry["a"]._waiters) == 1
        registry.remove("a")
        with pytest.raises(SubscriptionError, match="removed"):
            await longer

    run_virtual(main())


def test_durations_are_seconds_or_timedeltas():
    registry = Subscriptions()
    match = lambda message: True  # noqa: E731 - compared below
    kept = registry.add(
        "a", message="x", match=match, ack_timeout=timedelta(seconds=5), data_timeout=timedelta(minutes=1)
    )
    assert (kept.ack_timeout, kept.data_timeout) == (5, 60)
    assert registry.add("a", message="x", match=match, ack_timeout=5, data_timeout=60.0) is kept
