"""Servers that others have written: `websockets`, aiohttp, node's ws (foreign/)."""

import asyncio
import hashlib
import os

import pytest

import fastws
from peers import fill, until_paused
from real_peers import SMALL_SIZE, new_identity

pytestmark = pytest.mark.network

TEXT = "grüße, 世界 🦀 " * 40_000
MESSAGES = ["text", b"binary", "", b"", "0" * 125, b"1" * 126, "2" * 65_535, b"3" * 65_536, TEXT, os.urandom(1 << 20)]


def numbers(messages):
    return [int.from_bytes(message[:8]) for message in messages]


def answer(real, code):
    """What a server answers our close code with; RFC 6455 §5.5.1 has it send the same."""
    return 1000 if real.name == "aiohttp" else code


@pytest.mark.parametrize("listener", ["plain", "tls"])
async def test_messages_of_each_kind_and_size_come_back(real, listener):
    async with real.connect("/echo", listener) as ws:
        for message in MESSAGES:
            await ws.send(message)
            assert await ws.recv() == message
        await ws.send_many(MESSAGES)
        assert [await ws.recv() for _ in MESSAGES] == MESSAGES
        assert (ws.stats().messages_sent, ws.stats().messages_received) == (2 * len(MESSAGES), 2 * len(MESSAGES))


@pytest.mark.parametrize("listener", ["plain", "deflate"])
async def test_fragments_that_we_send_are_one_message(real, listener):
    async def later():
        for number in range(50):
            await asyncio.sleep(0)
            yield f"{number},".encode()

    async with real.connect("/echo", listener, compression="deflate") as ws:
        await ws.send(["a", "", "ß", TEXT, "end"])
        assert await ws.recv() == "aß" + TEXT + "end"
        await ws.send(later())
        assert await ws.recv() == b"".join([part async for part in later()])
        await ws.send([""])
        assert await ws.recv() == ""


@pytest.mark.parametrize("real", ["websockets", "ws"], indirect=True)  # aiohttp sends no fragments
@pytest.mark.parametrize("listener", ["plain", "deflate"])
async def test_fragments_that_come_are_one_message(real, listener):
    async with real.connect("/fragments", listener, query={"size": 999}, compression="deflate") as ws:
        for message in ["x" * 999, "y" * 1000, TEXT, os.urandom(1 << 20)]:
            await ws.send(message)
            assert await ws.recv() == message
        assert ws.stats().frames_received > 1000


async def test_pings_of_either_side_are_answered(real):
    async with real.connect("/echo") as ws:
        for payload in (b"", b"ours", b"x" * 125, None):
            assert 0 < await (await ws.ping(payload)) < 10
        assert 0 < ws.latency < 10
    async with real.connect("/pings") as ws:
        assert await ws.recv() == "answered"
        assert (ws.stats().pings_received, ws.stats().pongs_sent) == (1, 1)


async def test_keepalive_finds_the_server_alive(real):
    async with real.connect("/echo", ping_interval=0.02, ping_timeout=5) as ws:
        while ws.stats().pongs_received < 5:
            await asyncio.sleep(0.005)
        assert ws.state == fastws.State.OPEN


@pytest.mark.parametrize(
    ("offered", "agreed"),
    [(["v2.feed"], "v2.feed"), (["v0.feed", "v1.feed"], "v1.feed"), (["v0.feed"], None), (None, None)],
)
async def test_the_subprotocol_is_agreed_upon(real, offered, agreed):
    async with real.connect("/echo", subprotocols=offered) as ws:
        assert ws.subprotocol == agreed


@pytest.mark.parametrize("listener", ["plain", "tls"])
@pytest.mark.parametrize(("code", "reason"), [(1000, ""), (1001, "going"), (3000, "ünïcödé"), (4999, "x" * 123)])
async def test_the_server_learns_how_we_close(real, listener, code, reason):
    identity = new_identity()
    ws = await real.connect("/sink", listener, query={"id": identity})
    await ws.close(code, reason)
    assert (ws.close_info.initiator, ws.close_info.cause, ws.close_code) == ("local", None, answer(real, code))
    ended = await real.ended(identity)
    assert (ended["code"], ended["reason"]) == (code, reason)


@pytest.mark.parametrize("listener", ["plain", "tls"])
@pytest.mark.parametrize(("code", "reason"), [(1000, "done"), (1001, "going"), (1012, "restart"), (4001, "ünïcödé")])
async def test_we_learn_how_the_server_closes(real, listener, code, reason):
    query = {"count": 0, "size": 8, "code": code, "reason": reason, "id": new_identity()}
    async with real.connect("/goodbye", listener, query=query) as ws:
        with pytest.raises(fastws.ConnectionClosedOK if code < 1002 else fastws.ConnectionClosedError) as caught:
            await ws.recv()
        await ws.wait_closed()
        assert caught.value.rcvd == ws.close_info.rcvd == fastws.Close(code, reason)
        assert (ws.close_info.initiator, ws.close_info.cause) == ("remote", None)
    assert (await real.ended(query["id"]))["code"] == code


@pytest.mark.parametrize("listener", ["plain", "tls", "deflate"])
async def test_a_burst_waits_for_us(real, listener):
    count, size = 1_000, 16_384
    query = {"count": count, "size": size}
    async with real.connect("/burst", listener, query=query, max_queue=16, compression="deflate") as ws:
        await until_paused(ws)
        assert ws.stats().messages_received < count
        messages = [await ws.recv() for _ in range(count)]
        assert numbers(messages) == list(range(count))
        assert {len(message) for message in messages} == {size}


@pytest.mark.parametrize("listener", ["plain", "tls", "deflate"])
async def test_what_a_server_sent_before_it_closed_is_received(real, listener):
    query = {"count": 300, "size": 4096, "code": 4000, "reason": "enough"}
    async with real.connect("/goodbye", listener, query=query, max_queue=16, compression="deflate") as ws:
        await until_paused(ws)
        messages = []
        with pytest.raises(fastws.ConnectionClosedError) as caught:
            while True:
                messages.append(await ws.recv())
        assert numbers(messages) == list(range(300))
        assert caught.value.rcvd == fastws.Close(4000, "enough")


@pytest.mark.parametrize("listener", ["plain", "tls", "deflate"])
async def test_what_was_queued_before_we_close_arrives(real, listener):
    identity, messages = new_identity(), [f"{number:06}" * 1_000 for number in range(500)]
    ws = await real.connect("/sink", listener, query={"id": identity}, compression="deflate")
    for message in messages:
        ws.send_nowait(message)
    assert ws.stats().send_queue_bytes > 0
    await ws.close(4002, "all of it")
    assert ws.close_info.cause is None
    assert await real.ended(identity) == {
        "code": 4002,
        "reason": "all of it",
        "messages": 500,
        "bytes": 3_000_000,
        "digest": hashlib.sha256("".join(messages).encode()).hexdigest(),
    }


@pytest.mark.parametrize("listener", ["plain", "tls"])
async def test_a_server_that_takes_nothing_makes_us_wait(real, listener):
    identity, message = new_identity(), os.urandom(1 << 16)
    accepted = 0
    async with real.connect("/sink", listener, query={"id": identity, "stalled": 1}, max_send_bytes=1 << 20) as ws:
        with pytest.raises(TimeoutError):
            while True:  # the kernel may take some more in the meantime
                accepted += await fill(ws, message)
                await ws.send(message, timeout=0.1)
                accepted += 1
        waiting = asyncio.create_task(ws.send(message))
        await real.go(identity)
        await waiting
    ended = await real.ended(identity)
    assert accepted > 16
    assert (ended["code"], ended["messages"]) == (1000, accepted + 1)
    assert ended["digest"] == hashlib.sha256(message * (accepted + 1)).hexdigest()


@pytest.mark.parametrize("size", [SMALL_SIZE + 1, 8 * SMALL_SIZE])
async def test_a_message_that_is_too_big_for_the_server_is_refused_with_a_code(real, size):
    """Also while most of it is still to be sent."""
    async with real.connect("/echo", "small") as ws:
        await ws.send(bytes(SMALL_SIZE - 1))  # of its limit aiohttp takes none
        assert await ws.recv() == bytes(SMALL_SIZE - 1)
        ws.send_nowait(bytes(size))
        with pytest.raises(fastws.ConnectionClosedError) as caught:
            await ws.recv()
        assert caught.value.rcvd.code == 1009


async def test_closing_in_the_middle_of_a_burst_is_a_closing_handshake(real):
    query = {"count": 2_000, "size": 16_384, "id": new_identity()}
    ws = await real.connect("/burst", query=query, max_queue=16)
    assert numbers([await ws.recv()]) == [0]
    await ws.close(1001, "enough")
    assert (ws.close_code, ws.close_info.cause) == (answer(real, 1001), None)
    ended = await real.ended(query["id"])
    assert (ended["code"], ended["reason"]) == (1001, "enough")


async def test_a_client_comes_back_after_each_end(real):
    query = {"count": 3, "size": 8, "code": 1012, "reason": "restart"}
    async with fastws.WebSocketClient(real.url("/goodbye", **query), retry=fastws.FixedDelay(0.01)) as client:
        stream = client.stream()
        assert numbers([await anext(stream) for _ in range(9)]) == [0, 1, 2] * 3
        assert stream.generation == 3


# Without an event loop.


@pytest.mark.parametrize("listener", ["plain", "tls", "deflate"])
def test_without_an_event_loop(real, listener):
    ways = {"by": fastws.sync.connect, "compression": "deflate"}
    with real.connect("/echo", listener, **ways) as ws:
        for message in MESSAGES:
            ws.send(message)
            assert ws.recv() == message
        ws.send(["a", "b", TEXT])
        assert ws.recv() == "ab" + TEXT
        assert 0 < ws.ping(b"ours").result(10) < 10
    assert (ws.close_code, ws.close_info.cause) == (1000, None)
    with real.connect("/pings", listener, **ways) as ws:
        assert ws.recv() == "answered"
    query = {"count": 300, "size": 4096, "code": 4000, "reason": "enough"}
    with real.connect(
        "/goodbye", listener, by=fastws.sync.connect, query=query, max_queue=16, compression="deflate"
    ) as ws:
        messages = []
        with pytest.raises(fastws.ConnectionClosedError) as caught:
            while True:
                messages.append(ws.recv(10))
        assert numbers(messages) == list(range(300))
        assert caught.value.rcvd == fastws.Close(4000, "enough")
