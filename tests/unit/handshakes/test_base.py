"""What all handshakers share: sending, chains, the objects (handshakes/base.py)."""

import asyncio
import copy
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
from fastws.handshakes import perform
from support.connection import FakeConnection, closed
from support.handshaking import failed, left, shake
from virtual_time import run_virtual
from wires import cancelled_inside


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


def test_a_connection_that_is_closed_says_so_when_sending():
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


def test_a_chain_is_done_in_order():
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
    with pytest.raises(TypeError, match="handshake"):
        type("Nothing", (Handshaker,), {})()
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


def test_what_is_cancelled_inside_of_a_handshake_fails_it():
    class Waits(Handshaker):
        name = "waits"

        async def handshake(self, channel, context):
            await cancelled_inside()

    error = failed(Waits())
    assert str(error) == "the handshake 'waits' failed: something that it waited for was cancelled"
    assert isinstance(error.__cause__.__cause__, asyncio.CancelledError)
    assert not error.is_retryable
