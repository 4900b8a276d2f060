"""Handshakes with the embedded server: what a venue does, scripted, as a handshaker sees it on a real connection."""

import asyncio
import json

import pytest

import fastws
from fastws import (
    AuthFailed,
    AuthHandshaker,
    ConnectionContext,
    HandshakeChannel,
    HandshakeError,
    HandshakeTimeout,
    SequenceTracker,
    SubscribeHandshaker,
)
from fastws.handshakes import perform
from fastws.testing import Expect, Fault, Send, SendClose, SendPing, SendPong

TOKEN = 'hunter2"'
TICKS = ['{"type":"ticker","seq":1}', '{"type":"ticker","seq":2}']


async def shake(server, steps, handshaker, **options):
    """Does a handshake with a server that carries out `steps`; returns what nobody claimed, and what comes after it."""
    server.script("/venue", [*steps, SendClose(1000)])
    async with fastws.connect(server.url("/venue"), **options) as ws:
        channel = HandshakeChannel(ws)
        await perform(handshaker, channel, ConnectionContext(1))
        return channel.unclaimed, [message async for message in ws]


@pytest.fixture
def server(fastws_server_factory):
    return fastws_server_factory(record=True)


def sent(server):
    """The text messages that the client sent."""
    return [frame.payload.decode() for frame in server.connections()[-1].frames if frame.opcode == 1]


async def test_authentication_with_data_around_the_answer(server):
    steps = [
        Send(TICKS[0]),
        Expect(1),
        SendPing(b"x"),
        SendPong(),
        Send('{"type":"auth","status":"ok"}'),
        Send(TICKS[1]),
    ]
    unclaimed, later = await shake(server, steps, AuthHandshaker(TOKEN).json())
    assert [message.data for message in unclaimed] == TICKS[:1]
    assert unclaimed[0].received_ns > 10**18
    assert unclaimed[0].received_mono_ns > 0
    assert later == TICKS[1:]
    assert [json.loads(message) for message in sent(server)] == [{"type": "auth", "token": TOKEN}]


async def test_subscriptions_with_data_between_their_confirmations(server):
    steps = [
        Expect(3),
        Send(TICKS[0]),
        Send('{"type":"subscribed","channel":"b"}'),
        Send(b"\x00binary"),
        Send('{"type":"subscribed","channel":"a"}'),
        Send(TICKS[1]),
    ]
    handshaker = AuthHandshaker("t").without_confirmation().then(SubscribeHandshaker(["a", "b"]).wait_confirmation())
    unclaimed, later = await shake(server, steps, handshaker)
    assert [message.data for message in unclaimed] == [TICKS[0], b"\x00binary"]
    assert later == TICKS[1:]
    assert len(sent(server)) == 3


async def test_views_are_kept_and_understood(server):
    steps = [Send(TICKS[0]), Expect(1), Send("OK")]
    unclaimed, later = await shake(server, steps, AuthHandshaker("t"), messages="view")
    assert [bytes(message.data).decode() for message in unclaimed] == TICKS[:1]
    assert unclaimed[0].value == {"type": "ticker", "seq": 1}
    assert later == []


async def test_fault_05_a_ping_is_no_confirmation_and_a_close_with_4401_refuses(server):
    with pytest.raises(AuthFailed) as caught:
        await shake(server, [Expect(1), SendPing(b"ok"), SendClose(4401, "token expired")], AuthHandshaker("t"))
    assert caught.value.code == 4401
    assert "token expired" in str(caught.value)
    assert isinstance(caught.value.__cause__, fastws.ConnectionClosed)


async def test_fault_05_a_ping_alone_confirms_nothing(server):
    server.script("/venue", [Expect(1), SendPing(b"ok"), Expect(2)])
    async with fastws.connect(server.url("/venue")) as ws:
        with pytest.raises(HandshakeTimeout):
            await perform(AuthHandshaker("t").with_timeout(1), HandshakeChannel(ws), ConnectionContext(1))
        assert ws.stats().pings_received == 1


async def test_a_refusal_does_not_tell_the_token(server):
    with pytest.raises(AuthFailed) as caught:
        await shake(server, [Expect(1), Send('{"error":"bad token hunter2"}')], AuthHandshaker("hunter2"))
    assert "bad token ***" in str(caught.value)


@pytest.mark.parametrize(
    ("step", "code"), [(SendClose(1012, "restart"), 1012), (Fault("reset"), 1006), (Fault("eof"), 1006)]
)
async def test_a_connection_that_ends_says_how(server, step, code):
    with pytest.raises(HandshakeError) as caught:
        await shake(server, [Expect(1), step], AuthHandshaker("t"))
    error = caught.value
    assert (error.kind, error.code, error.handshaker, error.is_retryable) == ("closed", code, "auth", True)


async def test_silence_is_a_timeout(server):
    with pytest.raises(HandshakeTimeout, match=r"no answer within 0\.5 s; 1 other message came"):
        await shake(server, [Send(TICKS[0]), Expect(2)], AuthHandshaker("t").with_timeout(0.5))


async def test_a_handshaker_serves_several_connections_at_once(server):
    tokens = iter(["one", "two", "three"])
    handshaker = AuthHandshaker(lambda: next(tokens)).json()
    steps = [Expect(1), Send("OK")]
    server.script("/venue", [*steps, SendClose(1000)])
    await asyncio.gather(*(shake(server, steps, handshaker) for _ in range(3)))
    frames = [frame.payload for report in server.connections() for frame in report.frames if frame.opcode == 1]
    assert sorted(json.loads(frame)["token"] for frame in frames) == ["one", "three", "two"]


async def test_gaps_are_found_in_the_iteration_of_a_connection(server):
    numbers = [1, 2, 5, 6]
    server.script("/feed", [*(Send(str(number)) for number in numbers), SendClose(1000)])
    tracker = SequenceTracker(lambda message: ("feed", int(message)) if isinstance(message, str) else None)
    async with fastws.connect(server.url("/feed")) as ws:
        items = [item async for item in tracker.track(ws)]
    assert items == ["1", "2", fastws.Gap("feed", 3, 5), "5", "6"]
