"""How far a subscription has come, and what messages say of it (subscription.py), with a client made up."""

import asyncio

import pytest

import fastws
from fastws.handshakes import HandshakeChannel
from fastws.rate import Pacer
from fastws.subscriptions import SubscriptionError, Subscriptions, SubscriptionState
from subscribing import Client, as_json, confirms, refuses, subscribe, turns
from virtual_time import run_virtual
from wires import MemoryWire


def test_a_predicate_that_failed_on_what_came_is_said_to_have():
    async def main():
        registry = Subscriptions()
        client = Client(registry)
        client.is_ready = True
        registry.add("a", message="sub", ack=lambda message: message["type"] == "ok", ack_timeout=5)
        confirmed = asyncio.create_task(registry.confirmed("a"))
        await turns()
        client.messages.put_nowait(as_json({"confirmed": "a"}))
        with pytest.raises(SubscriptionError, match="within 5 s; a predicate raised KeyError on a message"):
            await confirmed
        await registry.aclose(None)

    run_virtual(main())


def test_one_message_confirms_all_that_it_names():
    async def main():
        registry = Subscriptions()
        client = Client(registry)
        client.is_ready = True
        for key in "abcd":
            registry.add(
                key,
                message=subscribe(key),
                ack=lambda message, key=key: key in message["confirmed"],
                nack=lambda message, key=key: key in message["refused"],
            )
        await turns()
        client.messages.put_nowait(as_json({"confirmed": ["a", "c"], "refused": ["b", "d"]}))
        await registry.confirmed("c")
        assert registry.states() == {"a": "confirmed", "b": "failed", "c": "confirmed", "d": "failed"}
        await registry.aclose(None)

    run_virtual(main())


class Answers:
    """Predicates that do not tell channels apart."""

    def say_yes(self, message):
        return message["result"] is None

    def say_no(self, message):
        return message["result"] == "error"


@pytest.mark.parametrize("kind", ["functions", "methods"])
def test_a_message_that_does_not_say_which_is_for_the_oldest(kind):
    def says(message, result):
        return message["result"] == result

    def add(registry, key, answers):
        if kind == "methods":
            ack, nack = answers.say_yes, answers.say_no
        else:
            ack, nack = lambda message: message["result"] is None, lambda message, error="error": says(message, error)
        registry.add(key, message=key, ack=ack, nack=nack)

    async def main():
        registry = Subscriptions()
        client = Client(registry)
        client.is_ready = True
        answers = Answers()
        for key in "abc":
            add(registry, key, answers)
        await turns()
        for result in (None, "error", None):
            client.messages.put_nowait(as_json({"result": result}))
            await turns()
        assert registry.states() == {"a": "confirmed", "b": "failed", "c": "confirmed"}
        await registry.aclose(None)

    run_virtual(main())


@pytest.mark.parametrize("error", [RuntimeError("a mistake of mine"), asyncio.CancelledError()])
def test_a_predicate_that_raises_something_rare_is_named_once_and_stops_no_other(caplog, error):
    def broken(message):
        raise error

    async def main():
        registry = Subscriptions()
        client = Client(registry)
        client.is_ready = True
        registry.add("a", message="sub a", ack=broken)
        registry.add("b", message="sub b", ack=confirms("b"))
        await turns()
        for message in (as_json({"other": 1}), as_json({"confirmed": "b"})):
            client.messages.put_nowait(message)
        await registry.confirmed("b")
        assert registry.states() == {"a": "pending", "b": "confirmed"}
        await registry.aclose(None)

    run_virtual(main())
    assert caplog.text.count("a predicate of the subscription 'a' raised") == 1


def test_predicates_see_the_same_value_while_a_session_is_made_ready_and_after():
    async def main():
        seen = []

        def ack(message):
            seen.append(message)
            return message == "5"

        registry = Subscriptions()
        client = Client(registry)
        registry.add("a", message="sub", ack=ack)
        wire = MemoryWire()
        wire.deliver("5")
        await registry.restore(HandshakeChannel(wire), 2.0)
        assert registry.states() == {"a": "pending"}
        client.is_ready = True
        registry.session_began()
        await turns()
        client.messages.put_nowait("5")
        await registry.confirmed("a")
        assert seen == ["5", "5"]
        await registry.aclose(None)

    run_virtual(main())


def test_a_silent_channel_is_subscribed_again_once_and_then_the_client_reconnects():
    async def main():
        registry = Subscriptions()
        client = Client(registry)
        client.is_ready = True
        registry.add("a", message="sub", match=lambda message: message["channel"] == "a", data_timeout=10)
        for _ in range(3):
            await asyncio.sleep(8)
            client.messages.put_nowait(as_json({"channel": "a"}))
        assert client.sent == ["sub"]
        await asyncio.sleep(10.5)
        assert registry["a"].state is SubscriptionState.STALE
        assert client.sent == ["sub", "sub"]
        await asyncio.sleep(10.5)
        assert client.reconnects == [("a", 20)]
        await registry.aclose(None)

    run_virtual(main())


def test_data_makes_a_stale_channel_fresh_again():
    async def main():
        registry = Subscriptions()
        client = Client(registry)
        client.is_ready = True
        registry.add("a", message="sub", match=lambda message: message["channel"] == "a", data_timeout=10)
        await asyncio.sleep(11)
        assert registry["a"].state is SubscriptionState.STALE
        client.messages.put_nowait(as_json({"channel": "a"}))
        await turns()
        assert registry["a"].state is SubscriptionState.CONFIRMED
        await asyncio.sleep(9)
        assert client.reconnects == []
        await registry.aclose(None)

    run_virtual(main())


def test_silence_is_counted_from_the_confirmation_on():
    async def main():
        registry = Subscriptions()
        client = Client(registry)
        client.is_ready = True
        registry.add("a", message="sub", ack=confirms("a"), match=lambda message: "channel" in message, data_timeout=3)
        await asyncio.sleep(5)
        assert registry.states() == {"a": "pending"}
        client.messages.put_nowait(as_json({"confirmed": "a"}))
        await asyncio.sleep(2.9)
        assert registry.states() == {"a": "confirmed"}
        await asyncio.sleep(0.2)
        assert registry.states() == {"a": "stale"}
        assert client.sent == ["sub", "sub"]
        await registry.aclose(None)

    run_virtual(main())


def test_while_nothing_can_be_heard_no_time_of_a_subscription_passes():
    async def main():
        registry = Subscriptions()
        client = Client(registry)
        client.is_ready = True
        registry.add("a", message="sub a", ack=confirms("a"), ack_timeout=5)
        registry.add("b", message="sub b", match=lambda message: message["channel"] == "b", data_timeout=5)
        await turns()
        client._is_held_up = True
        await asyncio.sleep(60)
        assert registry.states() == {"a": "pending", "b": "confirmed"}
        client._is_held_up = False
        await asyncio.sleep(11)
        assert registry.states() == {"a": "failed", "b": "stale"}
        await registry.aclose(None)

    run_virtual(main())


@pytest.mark.parametrize("refusal", [{"refused": "a"}, None])
def test_what_the_venue_does_not_give_is_failed_and_no_silence_ends_the_session_for_it(refusal):
    async def main():
        registry = Subscriptions()
        client = Client(registry)
        client.is_ready = True
        key = {"ack": confirms("a"), "nack": refuses("a"), "ack_timeout": 10, "data_timeout": 10}
        registry.add("a", message="sub", match=lambda message: message["channel"] == "a", **key)
        await turns()
        if refusal is not None:
            client.messages.put_nowait(as_json(refusal))
        await asyncio.sleep(100)
        assert registry.states() == {"a": "failed"}
        assert client.sent == ["sub"]
        assert client.reconnects == []
        await registry.aclose(None)

    run_virtual(main())


def test_a_refusal_that_echoes_a_token_does_not_show_it(caplog):
    async def main():
        registry = Subscriptions()
        client = Client(registry)
        client.is_ready = True
        registry.add("a", message="sub", ack=confirms("a"), nack=refuses("a"))
        await turns()
        client.messages.put_nowait(as_json({"refused": "a", "token": "hunter2"}))
        with pytest.raises(SubscriptionError) as raised:
            await registry.confirmed("a")
        assert "hunter2" not in str(raised.value) + caplog.text
        await registry.aclose(None)

    run_virtual(main())


def test_the_wait_for_a_token_of_the_rate_limit_is_no_time_of_an_acknowledgement():
    async def main():
        registry = Subscriptions()
        client = Client(registry)
        loop = asyncio.get_running_loop()
        wire = MemoryWire()
        wire.on_send = lambda wire, message: loop.call_later(
            4, client.messages.put_nowait, as_json({"confirmed": message})
        )
        for key in ("a", "b"):
            registry.add(key, message=key, ack=None if key == "a" else confirms(key), ack_timeout=10)
        pacer = Pacer(fastws.RateLimit(1, 30.0))
        registry.begin(await registry.restore(HandshakeChannel(wire, pace=pacer.acquire), 31.0))
        client.is_ready = True
        registry.session_began()
        assert registry["a"].sent_at == 0
        assert registry["b"].sent_at == 30
        await registry.confirmed("b")
        assert loop.time() == 34
        await registry.aclose(None)

    run_virtual(main())
