"""permessage-deflate with servers that others have written, on the terms that each of them chooses (foreign/)."""

import json
import os
import zlib

import pytest

import fastws
from fastws import AgreedCompression, Deflate
from real_peers import new_identity

pytestmark = pytest.mark.network

TICKS = [json.dumps({"product": f"P{n % 7}-USD", "price": n * 1.25, "sequence": n, "side": "buy"}) for n in range(200)]
FAR = os.urandom(300)
"""What comes again after more than the 256 bytes of a window of 8 bits, which zlib cannot make."""
MESSAGES = ["", b"", "short", *TICKS, "x" * 1023, "y" * 1024, FAR * 20, os.urandom(70_000), "z" * (1 << 20), ""]

BOTH = {"server_no_context_takeover": True, "client_no_context_takeover": True}
WIDE = {"server_max_window_bits": 15, "client_max_window_bits": 15}

# What we offer, at which listener of the server (real_peers.DEFLATE), and what each server agrees to: whether server
# and client forget, and their window bits. aiohttp says nothing of the client's, so what was offered holds.
TERMS = {
    "defaults": ({}, "deflate", {"": (False, False, 12, 12)}),
    "we forget": ({"client_no_context_takeover": True}, "deflate", {"": (False, True, 12, 12)}),
    "it is to forget": ({"server_no_context_takeover": True}, "deflate", {"": (True, False, 12, 12)}),
    "both forget": (BOTH, "deflate", {"": (True, True, 12, 12)}),
    "the server makes both forget": ({}, "forgetful", {"": (True, True, 12, 12), "aiohttp": (False, False, 12, 12)}),
    "wide windows": (WIDE, "deflate", {"": (False, False, 15, 15)}),
    "a server that wants wide windows": (WIDE, "wide", {"": (False, False, 15, 15)}),
    "the server narrows both windows": ({}, "narrow", {"": (False, False, 9, 9), "aiohttp": (False, False, 12, 12)}),
    "the server narrows wide windows": (WIDE, "narrow", {"": (False, False, 9, 9), "aiohttp": (False, False, 15, 15)}),
    "narrow windows": (
        {"server_max_window_bits": 9, "client_max_window_bits": 9},
        "deflate",
        {"": (False, False, 9, 9)},
    ),
    "our narrowest window": ({"client_max_window_bits": 8}, "deflate", {"": (False, False, 12, 8)}),
}


@pytest.mark.parametrize("terms", TERMS)
async def test_messages_survive_on_all_terms(real, terms):
    settings, listener, agreed = TERMS[terms]
    async with real.connect("/echo", listener, compression=Deflate(threshold=0, **settings)) as ws:
        assert ws.compression == AgreedCompression(*agreed.get(real.name, agreed[""]))
        for message in MESSAGES:
            await ws.send(message)
            assert await ws.recv() == message
        await ws.send_many(MESSAGES)
        assert [await ws.recv() for _ in MESSAGES] == MESSAGES
        plain = 2 * sum(map(len, MESSAGES))
        assert ws.stats().payload_sent < plain / 3
        assert ws.stats().payload_received < plain / 3


async def test_the_narrowest_window_of_a_server(real):
    """zlib makes none of 8 bits: node's takes one of 9 without a word, and the others decline."""
    async with real.connect("/echo", "deflate", compression=Deflate(threshold=0, server_max_window_bits=8)) as ws:
        if real.name == "ws":
            assert ws.compression == AgreedCompression(False, False, 8, 12)
        else:
            assert ws.compression is None
        for message in MESSAGES:
            await ws.send(message)
            assert await ws.recv() == message


async def test_a_server_without_it(real):
    async with real.connect("/echo", "plain", compression="deflate") as ws:
        assert ws.compression is None
        for message in MESSAGES:
            await ws.send(message)
            assert await ws.recv() == message


async def test_messages_of_which_some_are_compressed(real):
    async with real.connect("/echo", "deflate", compression=Deflate(threshold=60)) as ws:
        for number, message in enumerate(MESSAGES * 2):
            await ws.send(message, compress=(True, False, None)[number % 3])
            assert await ws.recv() == message


async def test_what_we_compress_is_what_the_server_gets(real):
    identity = new_identity()
    async with real.connect("/sink", "deflate", query={"id": identity}, compression=Deflate(threshold=0, **WIDE)) as ws:
        await ws.send_many(TICKS * 20)
    ended = await real.ended(identity)
    assert (ended["messages"], ended["bytes"]) == (4000, len("".join(TICKS)) * 20)
    assert ws.stats().payload_sent < ended["bytes"] / 5


async def test_large_frames_are_worked_on_elsewhere_while_pings_are_answered(real):
    message = "".join(TICKS) * 400
    offloading = Deflate(offload=1 << 16)
    # With room for the answer: a pong may come behind it.
    room = {"max_size": None, "max_queue_bytes": 2 * len(message)}
    async with real.connect("/echo", "deflate", compression=offloading, **room) as ws:
        for _ in range(2):
            await ws.send(message)
            await (await ws.ping())
            assert await ws.recv() == message


async def test_a_bomb_of_a_real_server_is_refused(real):
    bomb = b"\0" * (8 << 20)
    assert len(bomb) / len(zlib.compress(bomb)) > 900
    async with real.connect("/echo", "deflate", compression=Deflate(max_ratio=100)) as ws:
        await ws.send(bomb)
        with pytest.raises(fastws.ConnectionClosedError) as caught:
            await ws.recv()
        assert caught.value.sent.code == 1009
        assert isinstance(caught.value.__cause__, fastws.PayloadTooBig)


@pytest.mark.parametrize("real", ["ws"], indirect=True)
async def test_the_threshold_of_ws(real):
    """Below it a message of ws is not compressed although its connection is."""
    async with real.connect("/echo", "threshold", compression="deflate") as ws:
        assert ws.compression == AgreedCompression(True, True, 12, 12)
        for size in (1023, 1024):
            before = ws.stats().payload_received
            await ws.send("x" * size)
            assert await ws.recv() == "x" * size
            assert (ws.stats().payload_received - before == size) is (size < 1024)


@pytest.mark.parametrize("real", ["ws"], indirect=True)
async def test_a_ws_that_insists_on_a_wide_window_refuses_a_narrower_one(real):
    with pytest.raises(fastws.InvalidStatus) as caught:
        await real.connect("/echo", "wide", compression="deflate")
    assert caught.value.response.status_code == 400
    assert b"Sec-WebSocket-Extensions" in caught.value.response.body


@pytest.mark.parametrize("terms", ["defaults", "both forget", "the server narrows both windows"])
def test_without_an_event_loop(real, terms):
    settings, listener, agreed = TERMS[terms]
    with real.connect("/echo", listener, by=fastws.sync.connect, compression=Deflate(threshold=0, **settings)) as ws:
        assert ws.compression == AgreedCompression(*agreed.get(real.name, agreed[""]))
        for message in MESSAGES:
            ws.send(message)
            assert ws.recv() == message
