"""permessage-deflate (RFC 7692) against CPython's zlib (compression.py, rust/core/src/deflate)."""

import asyncio
import json
import random
import re
import zlib

import pytest

import fastws
from peers import CLOSE, PING, PONG, TEXT, Frame, Peer, frame

RSV1 = 4
TAIL = b"\x00\x00\xff\xff"
TICKS = [
    json.dumps(
        {"type": "ticker", "product": f"P{n % 7}-USD", "price": n * 1.25, "sequence": n, "side": "buy", "best_bid": n}
        | {"time": f"2026-01-01T00:{n // 60:02}:{n % 60:02}.000000Z", "best_ask": n + 1}
    )
    for n in range(500)
]


class Codec:
    """The server's end of the extension."""

    def __init__(self, wire, *, ours=15, theirs=15, forget_ours=False, forget_theirs=False):
        self.wire = wire
        self._make = lambda: zlib.compressobj(wbits=-max(ours, 9))
        self._take = lambda: zlib.decompressobj(wbits=-max(theirs, 9))
        self._forgets = forget_ours, forget_theirs
        self._deflate, self._inflate = self._make(), self._take()

    def deflated(self, message):
        if self._forgets[0]:
            self._deflate = self._make()
        data = self._deflate.compress(message.encode()) + self._deflate.flush(zlib.Z_SYNC_FLUSH)
        assert data.endswith(TAIL)
        return data[:-4]

    def send(self, *messages):
        self.wire.send(b"".join(frame(TEXT, self.deflated(message), rsv=RSV1) for message in messages))

    def inflated(self, received):
        if not received.rsv & RSV1:
            return received.payload.decode()
        if self._forgets[1]:
            self._inflate = self._take()
        return self._inflate.decompress(received.payload + TAIL).decode()


def offer_of(wire):
    return re.search(rb"(?i)^Sec-WebSocket-Extensions: (.*?)\r?$", wire.request, re.MULTILINE)[1].decode()


def compressing(script, answer="permessage-deflate", **options):
    """A script that gets a codec, behind an upgrade with this answer."""

    def run(wire):
        wire.upgrade(headers=f"Sec-WebSocket-Extensions: {answer}\r\n")
        return script(Codec(wire, **options))

    return run


def echoing(codec):
    while (received := codec.wire.read_frame()).opcode != CLOSE:
        codec.send(codec.inflated(received))
    codec.wire.send(frame(CLOSE, received.payload))
    codec.wire.end()


@pytest.mark.parametrize("tls", [False, True], ids=["tcp", "tls"])
@pytest.mark.parametrize(
    ("answer", "options"),
    [
        ("permessage-deflate", {}),
        ("permessage-deflate; server_max_window_bits=9; client_max_window_bits=8", {"ours": 9, "theirs": 8}),
        ("permessage-deflate; server_max_window_bits=12; client_max_window_bits=10", {"ours": 12, "theirs": 10}),
        ("permessage-deflate; client_max_window_bits=15", {}),
        ("permessage-deflate; server_no_context_takeover", {"forget_ours": True}),
        ("permessage-deflate; client_no_context_takeover", {"forget_theirs": True}),
        (
            "permessage-deflate; client_no_context_takeover; server_no_context_takeover",
            {"forget_ours": True, "forget_theirs": True},
        ),
    ],
)
async def test_messages_survive_both_directions_on_all_terms(answer, options, tls):
    with Peer(compressing(echoing, answer, **options), upgrade=False, tls=tls) as peer:
        async with peer.connect(compression="deflate") as ws:
            for message in TICKS:
                await ws.send(message)
                assert await ws.recv() == message
            await ws.send("short")
            assert await ws.recv() == "short"
            stats = ws.stats()
            assert stats.payload_sent < sum(map(len, TICKS)) * (0.8 if "client_no" in answer else 0.5)


async def test_what_was_agreed_can_be_read():
    answer = "permessage-deflate; server_max_window_bits=10; client_no_context_takeover"
    with Peer(compressing(echoing, answer, ours=10, forget_theirs=True), upgrade=False) as peer:
        async with peer.connect(compression="deflate") as ws:
            assert ws.compression == fastws.AgreedCompression(
                server_no_context_takeover=False,
                client_no_context_takeover=True,
                server_max_window_bits=10,
                client_max_window_bits=12,
            )


async def test_a_server_that_takes_no_offer_gets_plain_messages():
    def script(wire):
        assert offer_of(wire) == "permessage-deflate; server_max_window_bits=12; client_max_window_bits=12"
        received = wire.read_frame()
        wire.answer_close()
        return received

    with Peer(script) as peer:
        async with peer.connect(compression="deflate") as ws:
            assert ws.compression is None
            await ws.send(TICKS[0] * 10)
    assert peer.results == [Frame(TEXT, (TICKS[0] * 10).encode())]


@pytest.mark.parametrize(
    ("settings", "offer"),
    [
        ({}, "permessage-deflate; server_max_window_bits=12; client_max_window_bits=12"),
        ({"server_max_window_bits": 15, "client_max_window_bits": 15}, "permessage-deflate; client_max_window_bits"),
        (
            {"server_no_context_takeover": True, "client_no_context_takeover": True, "server_max_window_bits": 8},
            (
                "permessage-deflate; server_no_context_takeover; client_no_context_takeover; "
                "server_max_window_bits=8; client_max_window_bits=12"
            ),
        ),
    ],
)
async def test_the_offer_is_what_the_settings_say(settings, offer):
    def script(wire):
        wire.upgrade()
        wire.answer_close()
        return offer_of(wire)

    with Peer(script, upgrade=False) as peer:
        await (await peer.connect(compression=fastws.Deflate(**settings))).close()
    assert peer.results == [offer]


@pytest.mark.parametrize(
    ("answer", "match"),
    [
        ("permessage-deflate; server_max_window_bits=13", "above the 12 that were asked for"),
        ("permessage-deflate; client_max_window_bits", "needs a value here"),
        ("permessage-deflate; server_max_window_bits=7", "from 8 to 15"),
        ("permessage-deflate; x=1", "no parameter"),
        ("permessage-deflate; server_no_context_takeover=1", "takes no value"),
        ("permessage-deflate; server_no_context_takeover; server_no_context_takeover", "twice"),
        ("permessage-deflate, permessage-deflate", "2 extensions"),
        ("x-webkit-deflate-frame", "not offered"),
    ],
)
async def test_terms_that_cannot_be_accepted_are_refused_by_name(answer, match):
    with Peer(compressing(lambda codec: codec.wire.read_to_end(), answer), upgrade=False) as peer:
        with pytest.raises(fastws.InvalidHandshake, match=match):
            await peer.connect(compression="deflate")


async def test_fragments_with_control_frames_between_them():
    def script(codec):
        data = codec.deflated(TICKS[0])
        codec.wire.send(
            frame(TEXT, data[:5], fin=False, rsv=RSV1),
            frame(PING, b"p"),
            frame(0, data[5:9], fin=False),
            frame(0, b"", fin=False),
            frame(0, data[9:]),
        )
        codec.send(TICKS[1])
        pong = codec.wire.read_frame()
        codec.wire.answer_close()
        return pong

    with Peer(compressing(script), upgrade=False) as peer:
        async with peer.connect(compression="deflate") as ws:
            assert [await ws.recv(), await ws.recv()] == TICKS[:2]
    assert peer.results == [Frame(PONG, b"p")]


async def test_messages_that_are_not_marked_are_plain_and_do_not_touch_the_window():
    def script(codec):
        codec.send(TICKS[0])
        codec.wire.send(frame(TEXT, b"plain"))
        codec.send(TICKS[1])
        codec.wire.answer_close()

    with Peer(compressing(script), upgrade=False) as peer:
        async with peer.connect(compression="deflate") as ws:
            assert [await ws.recv() for _ in range(3)] == [TICKS[0], "plain", TICKS[1]]


@pytest.mark.parametrize(
    ("sent", "code", "match"),
    [
        (frame(TEXT, b"\xff\xff", rsv=RSV1), 1002, "permessage-deflate: invalid"),
        (frame(TEXT, b"\xf2\x48", fin=False, rsv=RSV1) + frame(0, b"\xcd", rsv=RSV1), 1002, "reserved"),
        (frame(PING, b"", rsv=RSV1), 1002, "reserved"),
        (frame(TEXT, b"x", rsv=2), 1002, "reserved"),
        (frame(TEXT, zlib.compress(b"\xff\xfe", wbits=-15) + b"\x00", rsv=RSV1), 1007, "UTF-8"),
        (frame(TEXT, b"\x03\x00" * 120_000 + b"\x00", rsv=RSV1), 1002, "more than 16 final blocks in one frame"),
    ],
    ids=["garbage", "rsv1 on a continuation", "rsv1 on a ping", "rsv2", "utf-8", "final blocks"],
)
async def test_what_breaks_rfc_7692_closes_the_connection(sent, code, match):
    def script(codec):
        codec.wire.send(sent)
        codec.wire.answer_close()

    with Peer(compressing(script), upgrade=False) as peer:
        ws = await peer.connect(compression="deflate")
        with pytest.raises(fastws.ConnectionClosedError):
            await ws.recv()
        await ws.wait_closed()
        assert ws.close_info.sent.code == code
        assert re.search(match, str(ws.close_info.cause))


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"max_size": 1 << 20}, "max_size"),
        (
            {"max_size": None, "compression": fastws.Deflate(max_ratio=100)},
            "limit of 100 times (max_ratio)",
        ),
    ],
)
async def test_a_bomb_is_refused_before_it_takes_memory(options, match):
    bomb = zlib.compressobj(wbits=-15)
    data = b"".join(bomb.compress(bytes(1 << 20)) for _ in range(64)) + bomb.flush(zlib.Z_SYNC_FLUSH)

    def script(codec):
        codec.wire.send(frame(TEXT, data[:-4], rsv=RSV1))
        codec.wire.answer_close()

    with Peer(compressing(script), upgrade=False) as peer:
        ws = await peer.connect(**{"compression": "deflate"} | options)
        with pytest.raises(fastws.ConnectionClosedError):
            await ws.recv()
        await ws.wait_closed()
        assert ws.close_info.sent.code == 1009
        assert isinstance(ws.close_info.cause, fastws.PayloadTooBig)
        assert match in str(ws.close_info.cause)


@pytest.mark.parametrize("offload", [1, 1 << 40])
async def test_large_messages_keep_their_place_wherever_the_work_is_done(offload):
    rng = random.Random(1)
    messages = [json.dumps([rng.random() for _ in range(rng.choice((1, 2000, 20_000)))]) for _ in range(30)]

    with Peer(compressing(echoing), upgrade=False) as peer:
        async with peer.connect(compression=fastws.Deflate(offload=offload, threshold=0), max_queue_bytes=None) as ws:
            for message in messages:
                ws.send_nowait(message)
            assert [await ws.recv() for _ in messages] == messages


async def test_a_close_waits_for_what_is_still_being_compressed():
    message = json.dumps(list(range(300_000)))

    def script(codec):
        received = codec.wire.read_to_close()
        codec.wire.send(frame(CLOSE, received[-1].payload))
        codec.wire.end()
        return [codec.inflated(each) for each in received[:-1]]

    with Peer(compressing(script), upgrade=False) as peer:
        async with peer.connect(compression=fastws.Deflate(offload=1)) as ws:
            ws.send_nowait(message)
            ws.send_nowait("behind it", compress=True)
    assert peer.results == [[message, "behind it"]]


async def test_each_message_can_be_sent_otherwise():
    def script(codec):
        received = codec.wire.read_to_close()
        codec.wire.send(frame(CLOSE, received[-1].payload))
        codec.wire.end()
        return [(each.rsv, codec.inflated(each)) for each in received[:-1]]

    with Peer(compressing(script), upgrade=False) as peer:
        async with peer.connect(compression=fastws.Deflate(threshold=50)) as ws:
            await ws.send(TICKS[0])
            await ws.send(TICKS[0], compress=False)
            await ws.send("short")
            ws.send_nowait("short", compress=True)
            ws.send_nowait(TICKS[1], compress=None)
    expected = [(RSV1, TICKS[0]), (0, TICKS[0]), (0, "short"), (RSV1, "short"), (RSV1, TICKS[1])]
    assert peer.results == [expected]


async def test_fragments_that_we_send_are_one_compressed_message():
    async def pieces():
        for piece in (TICKS[0], "", TICKS[1]):
            yield piece

    def script(codec):
        received = codec.wire.read_to_close()
        codec.wire.send(frame(CLOSE, received[-1].payload))
        codec.wire.end()
        data = b"".join(each.payload for each in received[:-1])
        return [each.rsv for each in received[:-1]], codec.inflated(Frame(TEXT, data, rsv=RSV1))

    with Peer(compressing(script), upgrade=False) as peer:
        async with peer.connect(compression="deflate") as ws:
            await ws.send(pieces())
    ((marks, message),) = peer.results
    assert marks[0] == RSV1
    assert not any(marks[1:])
    assert message == TICKS[0] + TICKS[1]


async def test_a_client_that_stays_takes_it_as_a_setting(fastws_server):
    config = fastws.ClientConfig(ws_config={"compression": "deflate"})
    async with fastws.WebSocketClient(fastws_server.url("/echo"), config=config) as client:
        stream = client.stream()
        for message in TICKS[:50]:
            await client.send(message)
        assert [await anext(stream) for _ in range(50)] == TICKS[:50]
        stats = client.stats()
        assert stats.bytes_sent < sum(map(len, TICKS[:50])) / 2


async def test_the_embedded_server_compresses_on_the_terms_of_the_path(fastws_server):
    for query, agreed in (
        ("deflate=0", None),
        ("deflate=1", (False, False, 12, 12)),
        ("deflate=server_max_window_bits%3D9,client_no_context_takeover", (False, True, 9, 12)),
    ):
        async with fastws.connect(fastws_server.url(f"/echo?{query}"), compression="deflate") as ws:
            assert ws.compression == agreed
            for message in TICKS[:20]:
                await ws.send(message)
                assert await ws.recv() == message


async def test_a_feed_is_replayed_compressed_and_the_same():
    with fastws.testing.Server() as server:
        server.add_feed("ticks", [(0.0, "text", tick.encode()) for tick in TICKS])
        url = server.url("/replay/ticks?speed=0")
        async with fastws.connect(url, compression="deflate") as ws:
            assert [message async for message in ws] == TICKS
            compressed = ws.stats().bytes_received
        async with fastws.connect(url) as ws:
            assert [message async for message in ws] == TICKS
            assert ws.stats().bytes_received > compressed * 1.1


@pytest.mark.parametrize("bits", [9, 12, 15])
async def test_a_feed_is_compressed_as_a_whole_where_a_connection_begins_with_it(bits):
    """Its messages refer to one another then, within the window that was agreed."""
    long = [f"{number}{'x' * 40}{tick}" for number, tick in enumerate(TICKS)] + ["".join(TICKS)] * 2
    with fastws.testing.Server() as server:
        server.add_feed("ticks", [(0.0, "text", text.encode()) for text in long])
        sizes = []
        for more in ("", "&deflate=server_no_context_takeover"):
            url = server.url(f"/replay/ticks?speed=0{more}")
            terms = fastws.Deflate(server_max_window_bits=bits)
            async with fastws.connect(url, compression=terms) as ws:
                assert [message async for message in ws] == long
                sizes.append(ws.stats().bytes_received)
        assert sizes[0] < 0.8 * sizes[1]


async def test_a_feed_behind_other_messages_is_compressed_message_by_message():
    with fastws.testing.Server() as server:
        server.add_feed("ticks", [(0.0, "text", tick.encode()) for tick in TICKS])
        steps = [fastws.testing.Echo(1), fastws.testing.Replay("ticks", speed=0), fastws.testing.Echo(1)]
        server.script("/late", steps)
        async with fastws.connect(server.url("/late"), compression="deflate") as ws:
            await ws.send(TICKS[0])
            assert [await ws.recv() for _ in range(len(TICKS) + 1)] == [TICKS[0], *TICKS]
            await ws.send(TICKS[1])
            assert await ws.recv() == TICKS[1]


async def test_more_connections_than_codecs_that_stay_keep_their_contexts():
    """64 decompressors and 16 compressors stay between messages; the other connections keep their windows."""
    with fastws.testing.Server() as server:
        lines = [await fastws.connect(server.url("/echo"), compression=fastws.Deflate(threshold=0)) for _ in range(80)]
        for turn in range(12):
            for number, ws in enumerate(lines):
                await ws.send(TICKS[(turn + number) % len(TICKS)])
            for number, ws in enumerate(lines):
                assert await ws.recv() == TICKS[(turn + number) % len(TICKS)]
        received = [ws.stats().bytes_received for ws in lines]
        assert max(received) < 1.3 * min(received), "all refer back to what was before"
        for ws in lines:
            await ws.close()


@pytest.mark.parametrize(
    ("compression", "error", "match"),
    [
        ("gzip", ValueError, 'compression is "deflate"'),
        (True, TypeError, 'compression is "deflate"'),
    ],
)
def test_what_is_no_compression_is_refused(compression, error, match):
    with pytest.raises(error, match=match):
        fastws.connect("ws://host", compression=compression)


@pytest.mark.parametrize(
    ("settings", "error", "match"),
    [
        ({"level": 10}, ValueError, "level must be from 0 to 9, not 10"),
        ({"server_max_window_bits": 7}, ValueError, "server_max_window_bits must be from 8 to 15"),
        ({"threshold": -1}, ValueError, "threshold must be at least 0"),
        ({"max_ratio": None}, TypeError, "max_ratio is a number"),
        ({"client_no_context_takeover": 1}, TypeError, "client_no_context_takeover is True or False"),
    ],
)
def test_settings_are_checked(settings, error, match):
    with pytest.raises(error, match=match):
        fastws.Deflate(**settings)


async def test_cancelling_a_receiver_loses_no_message():
    def script(codec):
        codec.send(*TICKS[:200])
        codec.wire.answer_close()

    with Peer(compressing(script), upgrade=False) as peer:
        async with peer.connect(compression=fastws.Deflate(offload=1)) as ws:
            got = []
            while len(got) < 200:
                receiving = asyncio.create_task(ws.recv())
                await asyncio.sleep(0)
                if not receiving.cancel():
                    got.append(receiving.result())
                    continue
                try:
                    got.append(await receiving)
                except asyncio.CancelledError:
                    await asyncio.sleep(0.001)
            assert got == TICKS[:200]
