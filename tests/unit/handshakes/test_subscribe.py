"""Subscribing on a connection in memory (handshakes/subscribe.py)."""

import asyncio
import json

import pytest

from fastws import ConnectionContext, HandshakeChannel, HandshakeTimeout, SubscribeHandshaker
from fastws.handshakes import perform
from support.connection import FakeConnection
from support.handshaking import failed, left, shake
from virtual_time import run_virtual


def test_all_channels_are_sent_in_order():
    connection, _ = shake(SubscribeHandshaker(["a", 'b"', "a"]))
    assert [json.loads(message) for message in connection.sent] == [
        {"type": "subscribe", "channel": "a"},
        {"type": "subscribe", "channel": 'b"'},
    ]
    connection, _ = shake(SubscribeHandshaker(["a"]).custom_format("SUB {}"))
    assert connection.sent == ["SUB a"]
    connection, _ = shake(SubscribeHandshaker(["a"]).custom_format(lambda channel: {"sub": channel}))
    assert connection.sent == ['{"sub":"a"}']


def test_confirmations_may_come_in_any_order_with_data_between():
    data = ['{"channel":"b","price":1}', '{"type":"subscribed","channel":"other"}', b"\x00"]
    _, channel = shake(
        SubscribeHandshaker(["a", "b"]).wait_confirmation(),
        data[0],
        '{"type":"subscribed","channel":"b"}',
        data[1],
        data[2],
        '{"event":"subscribe","arg":{"channel":"a"}}',
        "later",
    )
    assert left(channel) == data


def test_one_message_may_confirm_several_channels():
    _, channel = shake(
        SubscribeHandshaker(["ticker", "level2"]).wait_confirmation(),
        '{"type":"subscriptions","channels":[{"name":"ticker"},{"name":"level2"}]}',
    )
    assert left(channel) == []


def test_a_confirmation_that_names_no_channel_is_of_the_oldest():
    _, channel = shake(
        SubscribeHandshaker(["a", "b"]).wait_confirmation(), '{"result":null,"id":1}', '{"result":null,"id":2}'
    )
    assert left(channel) == []


def test_a_refused_channel_is_named():
    error = failed(
        SubscribeHandshaker(["a", "b"]).wait_confirmation(),
        '{"type":"error","message":"no such channel","channel":"b"}',
    )
    assert (error.kind, error.handshaker, error.is_retryable) == ("failed", "subscribe", True)
    assert "'b'" in str(error)
    assert "no such channel" in str(error)
    assert "'a'" not in str(error)


def test_each_confirmation_has_its_time_and_what_is_missing_is_named():
    async def main():
        connection = FakeConnection()
        channel = HandshakeChannel(connection)
        handshaker = SubscribeHandshaker(["a", "b", "c"]).wait_confirmation()
        loop = asyncio.get_running_loop()
        loop.call_later(4, connection.give, '{"type":"subscribed","channel":"a"}')
        loop.call_later(8, connection.give, '{"type":"subscribed","channel":"b"}')
        with pytest.raises(HandshakeTimeout) as caught:
            await perform(handshaker, channel, ConnectionContext(1))
        assert loop.time() == 13
        return caught.value

    error = run_virtual(main())
    assert error.timeout == 5
    assert "no confirmation of 'c' within 5 s" in str(error)


def test_channels_are_confirmed_by_a_predicate():
    handshaker = SubscribeHandshaker(["a", "b"]).wait_confirmation(lambda message, channel: message["sub"] == channel)
    _, channel = shake(handshaker, '{"type":"subscribed","channel":"a"}', '{"sub":"b"}', "[]", '{"sub":"a"}')
    assert left(channel) == ['{"type":"subscribed","channel":"a"}', "[]"]
    handshaker = SubscribeHandshaker(["a"]).wait_confirmation(deny=lambda message, channel: message["no"] == channel)
    assert failed(handshaker, '{"no":"a"}').kind == "failed"


def test_a_single_string_is_no_list_of_channels():
    with pytest.raises(TypeError, match="not a single one"):
        SubscribeHandshaker("BTC-USD")
    with pytest.raises(TypeError, match="a channel is a str, not int"):
        SubscribeHandshaker([1])
