"""Sending: what may be sent, and in fragments; from the end, and from elsewhere (_policy.py, rust/py/src/conn.rs)."""

import array
import asyncio
import json
import random
import threading

import pytest

import fastws
from peers import BINARY, CLOSE, SMALL, TEXT, Frame, Gate, Peer, Wire, fill, peer_that_stalls

BUFFER = array.array("H", range(300))


@pytest.mark.parametrize(
    ("message", "text", "expected"),
    [
        ("", None, Frame(TEXT, b"")),
        ("ascii", None, Frame(TEXT, b"ascii")),
        ("żółw 🐢", None, Frame(TEXT, "żółw 🐢".encode())),
        (b"\x00\xff", None, Frame(BINARY, b"\x00\xff")),
        (bytearray(b"12"), None, Frame(BINARY, b"12")),
        (memoryview(b"123456")[::2], None, Frame(BINARY, b"135")),
        (BUFFER, None, Frame(BINARY, BUFFER.tobytes())),
        ("żółw".encode(), True, Frame(TEXT, "żółw".encode())),
        ("żółw", False, Frame(BINARY, "żółw".encode())),
        ("x" * 125, None, Frame(TEXT, b"x" * 125)),
        ("x" * 126, None, Frame(TEXT, b"x" * 126)),
        (b"x" * 65_535, None, Frame(BINARY, b"x" * 65_535)),
        (b"x" * 65_536, None, Frame(BINARY, b"x" * 65_536)),
        (bytes(range(256)) * 12_000, None, Frame(BINARY, bytes(range(256)) * 12_000)),
    ],
    ids=["empty", "ascii", "text", "bytes", "bytearray", "memoryview with steps", "array", "bytes as text",
         "text as binary", "125", "126", "65535", "65536", "3 MB"],
)  # fmt: skip
@pytest.mark.parametrize("tls", [False, True], ids=["tcp", "tls"])
async def test_what_is_sent_arrives_as_that(message, text, expected, tls):
    with Peer(lambda wire: (wire.read_frames(2), wire.answer_close())[0], tls=tls) as peer:
        async with peer.connect() as ws:
            await ws.send(message, text)
            ws.send_nowait(message, text)
    assert peer.results == [[expected, expected]]


@pytest.mark.parametrize(
    ("message", "text", "kind", "match"),
    [
        (5, None, TypeError, "int"),
        (None, None, TypeError, "NoneType"),
        ({"op": "subscribe"}, None, TypeError, "send_json"),
        (b"\xff", True, UnicodeDecodeError, "utf-8"),
        ("\ud800", None, UnicodeEncodeError, "surrogates"),
        (object(), None, TypeError, "object"),
    ],
    ids=["int", "None", "dict", "bytes that are no text", "a lone surrogate", "object"],
)
async def test_what_cannot_be_sent_is_refused_and_nothing_leaves(message, text, kind, match):
    with Peer(lambda wire: wire.answer_close()) as peer:
        async with peer.connect() as ws:
            with pytest.raises(kind, match=match):
                await ws.send(message, text)
            with pytest.raises(kind, match=match):
                ws.send_nowait(message, text)
            assert ws.stats().messages_sent == 0
    assert [frame.opcode for frame in peer.results[0]] == [CLOSE]


async def test_a_message_is_accepted_by_the_call_and_not_by_the_await():
    with Peer(lambda wire: wire.answer_close()) as peer:
        async with peer.connect() as ws:
            first, second = ws.send("1"), ws.send("2")
            await second
            await first
    assert [frame.payload for frame in peer.results[0][:-1]] == [b"1", b"2"]


async def test_what_was_sent_may_change_afterwards():
    with Peer(lambda wire: wire.answer_close()) as peer:
        async with peer.connect() as ws:
            message = bytearray(b"before")
            sending = ws.send(message)
            message[:] = b"after!"
            await sending
    assert peer.results[0][0].payload == b"before"


async def test_send_many_and_send_json():
    with Peer(lambda wire: wire.answer_close()) as peer:
        async with peer.connect() as ws:
            await ws.send_many(["a", b"b", "c"])
            await ws.send_json({"op": "subscribe", "name": "żółw"})
    frames = peer.results[0]
    assert [(frame.opcode, frame.payload) for frame in frames[:3]] == [(TEXT, b"a"), (BINARY, b"b"), (TEXT, b"c")]
    assert frames[3].opcode == TEXT
    assert json.loads(frames[3].payload) == {"op": "subscribe", "name": "żółw"}


# Fragments.


def generator(*pieces):
    yield from pieces


async def asynchronous(*pieces):
    for piece in pieces:
        await asyncio.sleep(0)
        yield piece


@pytest.mark.parametrize("make", [lambda *pieces: list(pieces), generator, asynchronous], ids=["list", "iter", "async"])
@pytest.mark.parametrize(
    ("pieces", "text", "expected"),
    [
        (["one"], None, [Frame(TEXT, b"one")]),
        (["a", "b"], None, [Frame(TEXT, b"a", fin=False), Frame(0, b"b")]),
        ([b"a", bytearray(b"b"), memoryview(b"c")], None,
         [Frame(BINARY, b"a", fin=False), Frame(0, b"b", fin=False), Frame(0, b"c")]),
        ([b"\xc5", b"\xbb"], True, [Frame(TEXT, b"\xc5", fin=False), Frame(0, b"\xbb")]),
        (["", "", ""], None, [Frame(TEXT, b"", fin=False), Frame(0, b"", fin=False), Frame(0, b"")]),
        ([], None, []),
    ],
    ids=["one", "str", "bytes-like", "bytes as text", "empty pieces", "none"],
)  # fmt: skip
async def test_an_iterable_is_sent_in_fragments(make, pieces, text, expected):
    with Peer(lambda wire: wire.answer_close()) as peer:
        async with peer.connect() as ws:
            await ws.send(make(*pieces), text)
            await ws.send("behind")
    assert peer.results[0][:-1] == [*expected, Frame(TEXT, b"behind")]


async def test_a_message_waits_until_the_one_in_fragments_is_whole():
    middle = asyncio.Event()

    async def pieces():
        yield "1"
        yield "2"
        await middle.wait()
        yield "3"

    with Peer(lambda wire: wire.answer_close()) as peer:
        async with peer.connect() as ws:
            fragments = asyncio.create_task(ws.send(pieces()))
            while not ws.stats().frames_sent:
                await asyncio.sleep(0)
            whole = [asyncio.create_task(ws.send(f"whole {number}")) for number in range(3)]
            other = asyncio.create_task(ws.send(["a", "b"]))
            with pytest.raises(fastws.ConcurrencyError, match="fragment"):
                ws.send_nowait("now")
            await asyncio.sleep(0)
            assert not any(task.done() for task in whole)
            # Control frames may stand between fragments.
            await ws.ping()
            middle.set()
            await asyncio.gather(fragments, *whole, other)
    shown = [(frame.opcode, frame.payload, frame.fin) for frame in peer.results[0][:-1] if frame.opcode != 9]
    assert shown == [
        (TEXT, b"1", False),
        (0, b"2", False),
        (0, b"3", True),
        *((TEXT, b"whole %d" % number, True) for number in range(3)),
        (TEXT, b"a", False),
        (0, b"b", True),
    ]
    assert any(frame.opcode == 9 for frame in peer.results[0])


@pytest.mark.parametrize(
    ("pieces", "match"),
    [(["a", b"b", "c"], "one type"), (["a", "b", 5], "not int"), ([5], "not int")],
    ids=["mixed", "late", "first"],
)
async def test_a_wrong_piece_ends_the_connection_only_if_a_part_was_sent(pieces, match):
    with Peer(lambda wire: wire.answer_close()) as peer:
        async with peer.connect() as ws:
            with pytest.raises(TypeError, match=match):
                await ws.send(pieces)
            if peer_has_a_part := ws.stats().frames_sent:
                await ws.wait_closed()
            else:
                assert ws.state == fastws.State.OPEN
    assert bool(peer_has_a_part) == (len(pieces) == 3 and pieces[2] == 5)
    code = 1011 if peer_has_a_part else 1000
    assert peer.results[0][-1].payload[:2] == code.to_bytes(2, "big")


@pytest.mark.parametrize("pieces", [[b"\xff", b"b"], [b"a", b"b", b"\xc5"], [b"a", b"\xc5", b"a"]])
async def test_fragments_that_are_to_be_text_are_checked_across_their_cuts(pieces):
    with Peer(lambda wire: wire.answer_close()) as peer:
        async with peer.connect() as ws:
            with pytest.raises(UnicodeDecodeError):
                await ws.send(pieces, text=True)
    for frame in peer.results[0][:-1]:
        assert frame.payload in (b"a", b"b")
        assert not frame.fin


async def test_who_waits_for_fragments_to_end_is_served_when_they_do():
    """Also where the last fragment leaves at once, so that nothing else happens to the connection."""
    go, end = asyncio.Event(), asyncio.Event()

    async def pieces():
        yield "1"
        yield "2"
        await go.wait()
        yield "3"
        await end.wait()

    with Peer(lambda wire: wire.answer_close()) as peer:
        async with peer.connect(ping_interval=None) as ws:
            first = asyncio.create_task(ws.send(pieces()))
            while not ws.stats().frames_sent:
                await asyncio.sleep(0)
            second = asyncio.create_task(ws.send("whole"))
            await asyncio.sleep(0)
            go.set()
            while ws.stats().frames_sent < 2:
                await asyncio.sleep(0)
            assert not second.done()
            end.set()
            async with asyncio.timeout(5):
                await first
                await second
    assert [frame.payload for frame in peer.results[0][:4]] == [b"1", b"2", b"3", b"whole"]


async def test_fragments_larger_than_the_send_queue_leave_as_the_peer_reads():
    piece = bytes(range(256)) * 128
    with Peer(lambda wire: wire.answer_close(), buffers=SMALL) as peer:
        async with peer.connect(max_send_bytes=100_000) as ws:
            await ws.send(piece for _ in range(100))
            assert ws.stats().send_queue_bytes <= 100_000
    frames = peer.results[0][:-1]
    assert [frame.opcode for frame in frames] == [BINARY] + [0] * 99
    assert [frame.fin for frame in frames] == [False] * 99 + [True]
    assert all(frame.payload == piece for frame in frames)


# From the end, and from elsewhere.


async def test_sending_on_a_connection_that_is_closed_or_closing_raises():
    with Peer(lambda wire: wire.answer_close()) as peer:
        ws = await peer.connect()
        closing = asyncio.create_task(ws.close())
        await asyncio.sleep(0)
        for send in (ws.send, ws.send_nowait):
            with pytest.raises(fastws.ConnectionClosed):
                await send("x") if send is ws.send else send("x")
        await closing
        for send in (ws.send, ws.send_nowait):
            with pytest.raises(fastws.ConnectionClosedOK):
                await send("x") if send is ws.send else send("x")
        with pytest.raises(fastws.ConnectionClosedOK):
            await ws.send(["a", "b"])
        with pytest.raises(fastws.ConnectionClosedOK):
            await ws.send_many(["a"])


async def test_send_threadsafe_keeps_what_may_change():
    with Peer(lambda wire: wire.answer_close()) as peer:
        async with peer.connect() as ws:
            message = bytearray(b"before")
            future = ws.send_threadsafe(message)
            message[:] = b"after!"
            await asyncio.wrap_future(future)
    assert peer.results[0][0].payload == b"before"


async def test_send_threadsafe_waits_for_room_too():
    gate = Gate()
    with peer_that_stalls(gate) as peer:
        async with peer.connect(max_send_bytes=65_536) as ws:
            filled = await fill(ws)
            futures = []

            def other():
                futures.append(ws.send_threadsafe(b"from a thread" * 4000))

            thread = threading.Thread(target=other)
            thread.start()
            thread.join()
            await asyncio.sleep(0.05)
            assert not futures[0].done()
            gate.open()
            await asyncio.wrap_future(futures[0])
    assert [frame.payload for frame in peer.results[0][filled:]] == [b"from a thread" * 4000]


async def test_a_socket_that_takes_one_byte_at_a_time_gets_everything_in_order():
    """The smallest buffers there are, messages of every length form, three senders."""

    def script(wire: Wire):
        return wire.answer_close()

    with Peer(script, buffers=2048) as peer:
        async with peer.connect(max_send_bytes=300_000) as ws:

            async def sender(name):
                source = random.Random(name)
                for number in range(60):
                    size = source.choice([0, 1, 125, 126, 127, 4000, 65_535, 65_536, 70_000])
                    await ws.send(b"%d %d " % (name, number) + bytes(size))

            async with asyncio.TaskGroup() as group:
                for name in range(3):
                    group.create_task(sender(name))
    got = [tuple(int(part) for part in frame.payload.split(b" ")[:2]) for frame in peer.results[0][:-1]]
    assert len(got) == 180
    for name in range(3):
        assert [number for owner, number in got if owner == name] == list(range(60))
