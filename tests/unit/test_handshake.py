"""Handshakers on a connection in memory, in virtual time. `fault_NN`: a fault of the model that ours must not have."""

import asyncio
import copy
import json
import logging
import pickle

import pytest

import fastws
from fastws import (
    AuthFailed,
    AuthHandshaker,
    ChainedHandshaker,
    ConnectionContext,
    HandshakeChannel,
    HandshakeError,
    Handshaker,
    HandshakeTimeout,
    NoOpHandshaker,
    SendMessageHandshaker,
    SubscribeHandshaker,
    chain_handshakers,
)
from fastws.handshakes import SupportsHandshake, perform
from fastws.handshakes.verdict import AUTHENTICATION, SUBSCRIPTION, Verdict, judge
from support.connection import FakeConnection, closed
from virtual_time import run_virtual

TOKEN = 'hunter2"},\\{"x'


def shake(handshaker, *messages, answer=None, **options):
    """Does a handshake; returns the connection and the channel."""

    async def main():
        connection = FakeConnection(*messages, answer=answer)
        channel = HandshakeChannel(connection, **options)
        await perform(handshaker, channel, ConnectionContext(1))
        return connection, channel

    return run_virtual(main())


def failed(handshaker, *messages, answer=None, **options):
    with pytest.raises(HandshakeError) as caught:
        shake(handshaker, *messages, answer=answer, **options)
    return caught.value


def left(channel):
    return [message.data for message in channel.unclaimed]


# The channel.


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


@pytest.mark.parametrize(
    ("handshaker", "limit"),
    [
        (Handshaker(), 30.0),
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


def test_a_deadline_moves_by_what_a_send_says_it_waits():
    class Sends(Handshaker):
        timeout = 1.0

        async def handshake(self, channel, context):
            channel.paced(5)
            await asyncio.sleep(5.9)
            await channel.send("x")

    async def main():
        channel = HandshakeChannel(FakeConnection())
        await perform(ChainedHandshaker(Sends(), timeout=1.0), channel, ConnectionContext(1))
        with pytest.raises(HandshakeTimeout):
            await perform(Sends().with_timeout(0.5), channel, ConnectionContext(1))

    run_virtual(main())


def test_pacing_outside_of_a_handshake_changes_nothing():
    async def main():
        channel = HandshakeChannel(FakeConnection())
        channel.paced(5)
        with channel.paused():
            pass
        async with channel.limit(1) as limit:
            channel.paced(1)
            with channel.paused(), channel.paused():
                await asyncio.sleep(10)
            await asyncio.sleep(1.5)
        assert not limit.expired()

    run_virtual(main())


# Authentication.


def confirms(_message):
    return '{"type":"authenticated"}'


def test_the_token_is_sent_as_it_is():
    connection, _ = shake(AuthHandshaker(TOKEN), answer=lambda _: "OK")
    assert connection.sent == [TOKEN]


def test_fault_05_a_token_is_escaped_in_json():
    connection, _ = shake(AuthHandshaker(TOKEN).json(), answer=confirms)
    assert [json.loads(message) for message in connection.sent] == [{"type": "auth", "token": TOKEN}]
    assert connection.sent[0].startswith('{"type":"auth","token":"hunter2')


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ('{"op": "login", "args": ["{}", "{}"]}', {"op": "login", "args": [TOKEN, TOKEN]}),
        ('{"auth": {}}', {"auth": TOKEN}),
        ('{"params": {}, "token": "Bearer {}"}', {"params": {}, "token": f"Bearer {TOKEN}"}),
    ],
)
def test_fault_05_a_custom_format_that_is_json_stays_json(template, expected):
    connection, _ = shake(AuthHandshaker(TOKEN).custom_format(template), answer=confirms)
    assert json.loads(connection.sent[0]) == expected


def test_a_custom_format_of_text_has_the_token_in_every_place():
    connection, _ = shake(AuthHandshaker("t").custom_format("AUTH {} {}"), answer=lambda _: "OK")
    assert connection.sent == ["AUTH t t"]


@pytest.mark.parametrize(
    ("made", "sent"),
    [("AUTH", "AUTH"), (b"\x01", b"\x01"), ({"sign": 'a"b'}, '{"sign":"a\\"b"}')],
)
def test_a_custom_format_may_be_a_callable(made, sent):
    connection, _ = shake(AuthHandshaker("t").custom_format(lambda token: made), answer=confirms)
    assert connection.sent == [sent]


def test_a_format_needs_a_place_for_the_token():
    with pytest.raises(ValueError, match=r"needs \{\}"):
        AuthHandshaker("t").custom_format('{"op":"login"}')
    with pytest.raises(TypeError, match="a format is a str"):
        AuthHandshaker("t").custom_format(3)


def test_a_callable_token_is_called_at_every_handshake():
    tokens = iter(["one", "two", "three", "four"])

    async def fetch():
        await asyncio.sleep(1)
        return next(tokens)

    for source in (lambda: next(tokens), fetch):
        handshaker = AuthHandshaker(source)
        sent = [shake(handshaker, answer=lambda _: "OK")[0].sent for _ in range(2)]
        assert sent in ([["one"], ["two"]], [["three"], ["four"]])


def test_a_token_that_cannot_be_fetched_is_retryable_if_the_network_is_to_blame():
    def unreachable():
        raise ConnectionRefusedError(TOKEN)

    def mistaken():
        raise KeyError(TOKEN)

    error = failed(AuthHandshaker(unreachable))
    assert error.is_retryable
    assert isinstance(error.__cause__, ConnectionRefusedError)
    error = failed(AuthHandshaker(mistaken))
    assert not error.is_retryable
    assert TOKEN not in str(error)
    error = failed(AuthHandshaker(lambda: None))
    assert "NoneType" in str(error)
    assert not error.is_retryable


def test_fault_05_a_close_is_no_confirmation():
    error = failed(AuthHandshaker(TOKEN), answer=lambda _: closed(4401, "token expired"))
    assert isinstance(error, AuthFailed)
    assert (error.kind, error.code, error.is_retryable) == ("auth_failed", 4401, False)
    assert "4401 token expired" in str(error)


@pytest.mark.parametrize("code", [1000, 1006, 1012, 4000])
def test_a_close_for_another_reason_may_be_tried_again(code):
    error = failed(AuthHandshaker(TOKEN), answer=lambda _: closed(code))
    assert not isinstance(error, AuthFailed)
    assert (error.kind, error.code, error.handshaker, error.is_retryable) == ("closed", code, "auth", True)


def test_which_codes_refuse_a_token_can_be_said():
    error = failed(AuthHandshaker(TOKEN, refused_codes={4000}), answer=lambda _: closed(4000))
    assert isinstance(error, AuthFailed)


def test_fault_05_an_error_that_is_null_is_no_failure():
    connection, channel = shake(AuthHandshaker(TOKEN), answer=lambda _: '{"error":null}')
    assert left(channel) == []
    assert len(connection.sent) == 1


def test_fault_05_data_is_neither_an_answer_nor_lost():
    data = ['{"type":"ticker","error":"no","price":1}', "[1,2]", b"\x00", "42", '{"e":"trade","status":"open"}']
    _, channel = shake(AuthHandshaker(TOKEN), *data, '{"type":"auth","status":"ok"}', "later")
    assert left(channel) == data


def test_fault_03_refused_for_good_is_said_so_and_is_not_retryable():
    error = failed(AuthHandshaker(TOKEN), answer=lambda _: json.dumps({"type": "error", "message": f"bad {TOKEN}"}))
    assert isinstance(error, AuthFailed)
    assert not error.is_retryable
    assert "bad ***" in str(error)
    assert "hunter2" not in str(error)


def test_a_server_that_is_not_able_to_say_may_be_asked_again():
    error = failed(AuthHandshaker(TOKEN), answer=lambda _: '{"type":"error","code":429,"message":"slow down"}')
    assert not isinstance(error, AuthFailed)
    assert error.is_retryable


def test_predicates_take_the_place_of_the_default():
    handshaker = AuthHandshaker(
        TOKEN, confirm=lambda m: m["ready"] == 1, deny=lambda m: m["why"] if m["ready"] == 2 else None
    )
    _, channel = shake(handshaker, '{"type":"authenticated"}', '{"type":"error","error":"x"}', '{"ready":1}')
    assert left(channel) == ['{"type":"authenticated"}', '{"type":"error","error":"x"}']
    error = failed(handshaker, '{"ready":2,"why":"no credit"}')
    assert isinstance(error, AuthFailed)
    assert "no credit" in str(error)


def test_a_confirmation_of_ones_own_keeps_the_default_of_refusing():
    handshaker = AuthHandshaker(TOKEN).with_confirmation(lambda message: message["op"] == "in")
    assert isinstance(failed(handshaker, '{"event":"error"}'), AuthFailed)
    _, channel = shake(handshaker, '{"event":"auth","ok":true}', '{"op":"in","event":"error"}')
    assert left(channel) == ['{"event":"auth","ok":true}']


def test_without_confirmation_nothing_is_waited_for():
    connection, channel = shake(AuthHandshaker("t").without_confirmation(), "tick")
    assert connection.sent == ["t"]
    assert left(channel) == []


YES, NO, LATER = Verdict.CONFIRMED, Verdict.DENIED, Verdict.UNAVAILABLE


@pytest.mark.parametrize(
    ("message", "verdict"),
    [
        # As venues write it.
        ({"event": "login", "code": "0", "msg": ""}, YES),
        ({"event": "error", "code": "60009", "msg": "Login failed"}, NO),
        ({"event": "auth", "status": "OK", "userId": 7}, YES),
        ({"event": "auth", "status": "FAILED", "code": 10100}, NO),
        ({"success": True, "ret_msg": "", "op": "auth"}, YES),
        ({"success": False, "ret_msg": "expired", "op": "auth"}, NO),
        ({"retCode": 0, "op": "auth"}, YES),
        ({"success": True, "request": {"op": "authKeyExpires"}}, YES),
        ({"jsonrpc": "2.0", "id": 1, "result": {"access_token": "x"}}, YES),
        ({"jsonrpc": "2.0", "id": 1, "error": {"code": 13004, "message": "invalid_credentials"}}, NO),
        ([{"ev": "status", "status": "connected"}], None),
        ([{"ev": "status", "status": "auth_success"}], YES),
        ([{"ev": "status", "status": "auth_failed"}], NO),
        ({"type": "auth_required"}, None),
        ({"type": "auth_ok"}, YES),
        ({"type": "auth_invalid", "message": "x"}, NO),
        ({"action": "auth", "code": 200}, YES),
        ({"type": "authorize_success", "connection_id": "1"}, YES),
        # By the fields.
        ({"error": None}, YES),
        ({"error": ""}, YES),
        ({"error": False}, YES),
        ({"type": "auth", "error": None}, YES),
        ({"error": "no"}, NO),
        ({"errors": ["no"]}, NO),
        ({"type": "AuthenticationError"}, NO),
        ({"type": "authenticated"}, YES),
        ({"type": "auth"}, None),
        ({"status": "ok"}, YES),
        ({"status": "pending"}, None),
        ({"status": 200}, YES),
        ({"status": 401}, NO),
        ({"status": 503}, LATER),
        ({"code": 4403, "reason": "x"}, NO),
        ({"error": "rate limit exceeded"}, LATER),
        ({"error": {"code": 429, "message": "x"}}, LATER),
        ({"result": False}, NO),
        ({"result": "invalid key"}, NO),
        ({"status": "not authenticated"}, NO),
        ({"type": "ticker", "error": None}, None),
        ({"type": "ticker", "success": True}, None),
        ({"type": "subscribe", "success": True}, None),
        ({"code": "AAPL", "price": 1}, None),
        ({"type": "welcome"}, None),
        ({}, None),
        ([1, 2, "error"], None),
        # Plain text.
        ("OK", YES),
        ("authenticated", YES),
        ("login successful", YES),
        ("ERROR bad token", NO),
        ("Unauthorized", NO),
        ("not authenticated", NO),
        ("error: too many requests", LATER),
        ("tick 42", None),
        ("ok " * 100, None),
        (b"\x00ok", None),
        (42, None),
        (None, None),
    ],
)
def test_what_the_default_makes_of_an_answer(message, verdict):
    assert judge(message, AUTHENTICATION) is verdict


# Subscriptions.


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


@pytest.mark.parametrize(
    ("message", "verdict"),
    [
        ({"event": "subscribe", "arg": {"channel": "tickers"}}, YES),
        ({"event": "subscriptionStatus", "status": "subscribed"}, YES),
        ({"event": "subscriptionStatus", "status": "error"}, NO),
        ({"event": "subscriptionStatus", "status": "unsubscribed"}, None),
        ({"type": "subscribed"}, YES),
        ({"type": "unsubscribed"}, None),
        ({"op": "subscribe", "success": False}, NO),
    ],
)
def test_what_the_default_makes_of_a_subscription(message, verdict):
    assert judge(message, SUBSCRIPTION) is verdict


def test_a_single_string_is_no_list_of_channels():
    with pytest.raises(TypeError, match="not a single one"):
        SubscribeHandshaker("BTC-USD")
    with pytest.raises(TypeError, match="a channel is a str, not int"):
        SubscribeHandshaker([1])


# Sending.


def test_messages_are_sent_as_their_kind():
    kinds = [
        (SendMessageHandshaker("text"), "text"),
        (SendMessageHandshaker(bytearray(b"x")), b"x"),
        (SendMessageHandshaker.text("text"), "text"),
        (SendMessageHandshaker.binary(b"x"), b"x"),
        (SendMessageHandshaker.json({"a": 'b"'}), '{"a":"b\\""}'),
        (SendMessageHandshaker(lambda: "made"), "made"),
    ]
    for handshaker, sent in kinds:
        connection, channel = shake(handshaker, "tick")
        assert connection.sent == [sent]
        assert left(channel) == []
    for wrong in (lambda: SendMessageHandshaker.text(b""), lambda: SendMessageHandshaker.binary("")):
        with pytest.raises(TypeError):
            wrong()
    with pytest.raises(TypeError, match=r"SendMessageHandshaker\.json"):
        SendMessageHandshaker({"a": 1})


def test_a_response_is_any_or_the_one_that_is_meant():
    _, channel = shake(SendMessageHandshaker("x").with_response(), "a", "b")
    assert left(channel) == []
    _, channel = shake(SendMessageHandshaker("x").with_response(lambda message: message == "b"), "a", "b")
    assert left(channel) == ["a"]
    assert failed(SendMessageHandshaker("x").with_response()).kind == "timeout"


def test_fault_19_a_connection_that_is_closed_says_so_when_sending():
    error = failed(SendMessageHandshaker("x"), closed(1012, "restart"))
    assert (error.kind, error.code, error.handshaker) == ("closed", 1012, "send_message")


# Chains.


def named(name, log, **attributes):
    class Logs(Handshaker):
        async def handshake(self, channel, context):
            log.append(name)
            context.metadata[name] = len(log)

    handshaker = Logs()
    for attribute, value in attributes.items():
        setattr(handshaker, attribute, value)
    return handshaker


def test_fault_18_a_chain_is_done_in_order_before_anything_is_ready():
    log = []
    first, second, third = (named(name, log) for name in "abc")
    chain = first.then(second).then(third)
    assert isinstance(chain, ChainedHandshaker)
    assert (len(chain), list(chain)) == (3, [first, second, third])
    assert chain_handshakers(first, second).handshakers == (first, second)
    shake(chain)
    assert log == ["a", "b", "c"]


def test_then_makes_a_new_object():
    auth, subscribe = AuthHandshaker("t"), SubscribeHandshaker(["a"])
    chain = auth.then(subscribe)
    longer = chain.then(auth)
    assert (len(chain), len(longer)) == (2, 3)
    assert longer.timeout == chain.timeout == 60
    assert chain.without_timeout().timeout is None
    assert chain.with_timeout(5).timeout == 5
    assert chain.timeout == 60
    assert len(ChainedHandshaker()) == 0
    shake(ChainedHandshaker())


def test_the_first_that_fails_ends_a_chain():
    log = []
    error = failed(AuthHandshaker("t").then(named("never", log)), '{"error":"no"}')
    assert isinstance(error, AuthFailed)
    assert error.handshaker == "auth"
    assert log == []


def test_a_chain_honours_the_time_limits_inside():
    async def main():
        loop = asyncio.get_running_loop()
        channel = HandshakeChannel(FakeConnection())
        chain = NoOpHandshaker().then(AuthHandshaker("t").with_timeout(2))
        with pytest.raises(HandshakeTimeout) as caught:
            await perform(chain, channel, ConnectionContext(1))
        assert (loop.time(), caught.value.handshaker, caught.value.timeout) == (2, "auth", 2)
        with pytest.raises(HandshakeTimeout) as caught:
            await perform(chain.with_timeout(1), channel, ConnectionContext(1))
        assert (loop.time(), caught.value.handshaker, caught.value.timeout) == (3, "chained", 1)

    run_virtual(main())


def test_a_chain_honours_what_is_retryable_inside():
    class Stubborn(AuthHandshaker):
        def is_retryable(self, error):
            return isinstance(error, AuthFailed)

    assert failed(NoOpHandshaker().then(Stubborn("t")), '{"error":"no"}').is_retryable
    assert not failed(NoOpHandshaker().then(Stubborn("t"))).is_retryable


def test_a_failure_of_ones_own_has_the_name_of_its_handshaker():
    class Mine(Handshaker):
        name = "mine"

        async def handshake(self, channel, context):
            raise HandshakeError("no", kind="protocol")

    error = failed(NoOpHandshaker().then(Mine()))
    assert (error.handshaker, error.is_retryable) == ("mine", False)


def test_handshakers_share_the_context():
    async def main():
        log, context = [], ConnectionContext(1)
        await perform(named("a", log).then(named("b", log)), HandshakeChannel(FakeConnection()), context)
        assert context.metadata == {"a": 1, "b": 2}

    run_virtual(main())


# The objects.


@pytest.mark.parametrize(
    "handshaker",
    [
        NoOpHandshaker(),
        SendMessageHandshaker("secret"),
        AuthHandshaker("secret"),
        SubscribeHandshaker(["a"]),
        ChainedHandshaker(AuthHandshaker("secret")),
    ],
)
def test_a_handshaker_does_not_change(handshaker):
    for name in ("timeout", "name", "other"):
        with pytest.raises(AttributeError):
            setattr(handshaker, name, 1)
    other = handshaker.with_timeout(3)
    assert type(other) is type(handshaker)
    assert handshaker.timeout != 3
    assert copy.deepcopy(handshaker).timeout == handshaker.timeout
    assert pickle.loads(pickle.dumps(handshaker)).timeout == handshaker.timeout
    assert "secret" not in repr(handshaker) + repr(other) + str(handshaker)


@pytest.mark.parametrize("timeout", [0, -1, float("nan"), float("inf"), True, "5"])
def test_a_time_limit_is_checked(timeout):
    for make in (
        lambda: AuthHandshaker("t", timeout=timeout),
        lambda: SubscribeHandshaker([], timeout=timeout),
        lambda: ChainedHandshaker(timeout=timeout),
        lambda: NoOpHandshaker().with_timeout(timeout),
    ):
        with pytest.raises(fastws.ConfigError, match="timeout"):
            make()


def test_what_is_no_handshaker_is_refused():
    for wrong in (None, "auth", AuthHandshaker, object()):
        with pytest.raises(TypeError, match="a handshaker is an object"):
            NoOpHandshaker().then(wrong)
    with pytest.raises(TypeError, match="token is a str"):
        AuthHandshaker(b"t")
    with pytest.raises(TypeError, match="confirm is a callable"):
        AuthHandshaker("t", confirm="ok")


def test_tokens_are_in_no_log(caplog):
    caplog.set_level(logging.DEBUG)
    for answer in ('{"error":"hunter2"}', "ERROR hunter2", closed(4401, "bad token hunter2")):
        error = failed(AuthHandshaker("hunter2").json(), answer)
        assert "hunter2" not in f"{error} {error!r}"
    assert "hunter2" not in caplog.text
