"""What a handshake reads and sends through, in virtual time (handshakes/channel.py)."""

import asyncio

import pytest

import fastws
from fastws import (
    AuthHandshaker,
    ChainedHandshaker,
    ConnectionContext,
    HandshakeChannel,
    Handshaker,
    HandshakeTimeout,
    NoOpHandshaker,
    SendMessageHandshaker,
    SubscribeHandshaker,
    chain_handshakers,
)
from fastws.handshakes import SupportsHandshake, perform
from support.connection import FakeConnection
from support.handshaking import TOKEN, failed, left, shake
from virtual_time import run_virtual


def test_what_nobody_claims_is_kept_in_order_with_its_stamps():
    class Greets(Handshaker):
        async def handshake(self, channel, context):
            await channel.expect(lambda message: message["type"] == "hello")

    _, channel = shake(Greets(), "tick 1", b"\x00", '{"type":"hello"}', "tick 2")
    assert left(channel) == ["tick 1", b"\x00"]
    assert [message.received_ns for message in channel.unclaimed] == [10**9, 2 * 10**9]
    assert [message.received_mono_ns for message in channel.unclaimed] == [10**9, 2 * 10**9]


def test_a_received_message_is_unclaimed_until_it_is_claimed():
    class Takes(Handshaker):
        async def handshake(self, channel, context):
            first = await channel.receive()
            await channel.receive()
            channel.claim(first)
            with pytest.raises(ValueError, match="claimed already"):
                channel.claim(first)

    _, channel = shake(Takes(), "a", "b")
    assert left(channel) == ["b"]


def test_expect_can_look_at_what_came_before():
    class Second(Handshaker):
        async def handshake(self, channel, context):
            await channel.receive()
            await channel.receive()
            found = await channel.expect(lambda message: message == "greeting", seen=True)
            assert found.data == "greeting"

    _, channel = shake(Second(), "greeting", "tick")
    assert left(channel) == ["tick"]


def test_messages_without_a_bound_fail_the_handshake():
    flood = [str(number) for number in range(20)]
    error = failed(AuthHandshaker(TOKEN), *flood, max_unclaimed=10)
    assert error.kind == "failed"
    assert "11 messages" in str(error)
    error = failed(AuthHandshaker(TOKEN), *flood, max_unclaimed_bytes=10)
    assert "12 bytes" in str(error)


def test_a_message_decodes_objects_and_arrays_and_nothing_else():
    decoded = [
        ('{"a": 1}', {"a": 1}),
        (' [1, "x"]', [1, "x"]),
        (b'{"a": 1}', {"a": 1}),
        ("42", "42"),
        ("{no json", "{no json"),
        (b"\x00\x01", b"\x00\x01"),
        ("", ""),
    ]
    for data, value in decoded:
        assert fastws.HandshakeMessage(data).value == value


def test_a_predicate_that_does_not_fit_a_message_is_no_match_and_the_timeout_says_so():
    error = failed(AuthHandshaker(TOKEN, confirm=lambda message: message["op"] == "login"), "[1, 2]", "tick")
    assert isinstance(error, HandshakeTimeout)
    assert "a predicate raised TypeError" in str(error)
    assert isinstance(error.__cause__, TypeError)


def test_a_predicate_with_a_mistake_fails_the_handshake_for_good():
    error = failed(AuthHandshaker(TOKEN, confirm=lambda message: 1 / 0), "tick")
    assert error.kind == "failed"
    assert isinstance(error.__cause__, ZeroDivisionError)
    assert not error.is_retryable


def test_cancelling_a_handshake_is_no_failure():
    async def main():
        channel = HandshakeChannel(FakeConnection())
        task = asyncio.create_task(perform(AuthHandshaker(TOKEN), channel, ConnectionContext(1)))
        await asyncio.sleep(1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    run_virtual(main())


# Time.


def test_each_handshaker_has_its_time_limit():
    async def main():
        loop = asyncio.get_running_loop()
        with pytest.raises(HandshakeTimeout) as caught:
            await perform(AuthHandshaker(TOKEN), HandshakeChannel(FakeConnection()), ConnectionContext(1))
        assert loop.time() == 10
        return caught.value

    error = run_virtual(main())
    assert (error.handshaker, error.timeout, error.kind) == ("auth", 10.0, "timeout")
    assert error.is_retryable
    assert isinstance(error, TimeoutError)
    assert "no answer within 10 s; nothing came" in str(error)


class Plain(Handshaker):
    async def handshake(self, channel, context):
        pass


@pytest.mark.parametrize(
    ("handshaker", "limit"),
    [
        (Plain(), 30.0),
        (NoOpHandshaker(), None),
        (SendMessageHandshaker("x"), 10.0),
        (AuthHandshaker("x"), 10.0),
        (SubscribeHandshaker(["a", "b", "c"]), 15.0),
        (ChainedHandshaker(), 60.0),
    ],
)
def test_default_time_limits(handshaker, limit):
    assert handshaker.timeout == limit
    assert isinstance(handshaker, SupportsHandshake)


def test_waiting_for_a_rate_limit_is_not_handshake_time():
    async def main():
        loop = asyncio.get_running_loop()

        async def pace():
            await asyncio.sleep(100)

        channel = HandshakeChannel(FakeConnection(), pace=pace)
        with pytest.raises(HandshakeTimeout):
            await perform(chain_handshakers(AuthHandshaker(TOKEN)), channel, ConnectionContext(1))
        assert loop.time() == 110

    run_virtual(main())


def test_a_limit_stands_still_while_a_message_waits_to_be_sent():
    async def main():
        connection = FakeConnection()
        channel = HandshakeChannel(connection, pace=lambda: asyncio.sleep(10))
        with channel.paused():
            pass
        async with channel.limit(1) as limit:
            with channel.paused():
                await channel.send("x")
            await asyncio.sleep(0.5)
        assert not limit.expired()
        assert connection.sent == ["x"]

    run_virtual(main())
