"""Messages in fragments that are queued piece by piece: `delivery="mixed"` (rust/py/src/pieces.rs)."""

import asyncio
import gc
import tracemalloc
import zlib

import pytest

import fastws
import fastws.sync
from fastws import ConcurrencyError, ConnectionClosedError, ConnectionClosedOK
from fastws._options import Special
from peers import BINARY, CLOSE, PING, PONG, SMALL, TEXT, Frame, Gate, Peer, binary, close, frame, text, until_paused

pytestmark = pytest.mark.also_sync


def fragments(opcode, *payloads):
    """The frames of one message."""
    last = len(payloads) - 1
    return [frame(opcode if at == 0 else 0, payload, fin=at == last) for at, payload in enumerate(payloads)]


def sending(*frames):
    def script(wire):
        wire.send(*frames)
        return wire.answer_close()

    return script


SMILE = "😀".encode()

MESSAGES = [
    text("plain"),
    *fragments(TEXT, b"gr" + SMILE[:1], SMILE[1:3], SMILE[3:], b""),
    binary(b"\x00\xff"),
    *fragments(BINARY, b"", b"b", b"c" * 70_000),
    text("z"),
]

WHOLE = ["plain", "gr😀", b"\x00\xff", b"b" + b"c" * 70_000, "z"]

PIECES = [
    (TEXT, True, 0, b"plain"),
    (TEXT, False, 0, b"gr" + SMILE[:1]),
    (TEXT, False, 0, SMILE[1:3]),
    (TEXT, False, 0, SMILE[3:]),
    (TEXT, True, 0, b""),
    (BINARY, True, 0, b"\x00\xff"),
    (BINARY, False, 0, b""),
    (BINARY, False, 0, b"b"),
    (BINARY, True, 0, b"c" * 70_000),
    (TEXT, True, 0, b"z"),
]


@pytest.mark.parametrize("tls", [False, True], ids=["tcp", "tls"])
async def test_a_reader_of_messages_gets_them_whole(tls):
    with Peer(sending(*MESSAGES), tls=tls) as peer:
        async with peer.connect(_special=Special("mixed")) as ws:
            got = []
            for number in range(1, len(WHOLE) + 1):
                got.append(await ws.recv())
                assert ws.seq == number
                assert ws.received_ns > 0
            assert got == WHOLE
            stats = ws.stats()
            assert (stats.receive_queue_messages, stats.receive_queue_bytes) == (0, 0)


async def test_a_reader_of_pieces_gets_them_as_they_came():
    with Peer(sending(frame(PING, b"p"), *MESSAGES)) as peer:
        async with peer.connect(_special=Special("mixed")) as ws:
            assert [await ws._recv_piece() for _ in PIECES] == PIECES
            assert ws.seq == len(WHOLE)
            assert ws.stats().receive_queue_bytes == 0
    assert Frame(PONG, b"p") in peer.results[0]


@pytest.mark.parametrize("kind", ["auto", "bytes", "view"])
async def test_messages_and_pieces_are_in_the_form_that_was_chosen(kind):
    with Peer(sending(*MESSAGES, *MESSAGES)) as peer:
        async with peer.connect(_special=Special("mixed"), messages=kind) as ws:
            got = [await ws.recv() for _ in WHOLE]
            plain = [message.encode() if isinstance(message, str) else message for message in WHOLE]
            assert got == (WHOLE if kind == "auto" else plain)
            assert [await ws._recv_piece() for _ in PIECES] == PIECES


async def test_decode_gives_the_kind_that_is_asked_for():
    with Peer(sending(*fragments(TEXT, SMILE[:2], SMILE[2:]), *fragments(BINARY, b"a", b"b"))) as peer:
        async with peer.connect(_special=Special("mixed")) as ws:
            assert await ws.recv(decode=False) == SMILE
            assert await ws.recv(decode=True) == "ab"


async def test_pieces_and_messages_may_be_read_in_turn():
    with Peer(sending(*MESSAGES)) as peer:
        async with peer.connect(_special=Special("mixed")) as ws:
            assert await ws.recv() == "plain"
            assert [await ws._recv_piece() for _ in range(4)] == PIECES[1:5]
            assert await ws.recv() == b"\x00\xff"
            assert await ws.recv() == WHOLE[3]
            assert await ws._recv_piece() == PIECES[-1]


async def test_what_was_taken_in_part_is_not_to_be_had_whole():
    sent = Gate()

    def script(wire):
        first, second, third = fragments(TEXT, b"a", b"b", b"c")
        wire.send(first)
        sent.wait()
        wire.send(second, third, text("next"))
        return wire.answer_close()

    with Peer(script) as peer:
        async with peer.connect(_special=Special("mixed")) as ws:
            assert await ws._recv_piece() == (TEXT, False, 0, b"a")
            with pytest.raises(ConcurrencyError):
                await ws.recv()
            sent.open()
            assert await ws._recv_piece() == (TEXT, False, 0, b"b")
            with pytest.raises(ConcurrencyError):
                await ws.recv()
            assert await ws._recv_piece() == (TEXT, True, 0, b"c")
            assert await ws.recv() == "next"


@pytest.mark.parametrize("options", [{"max_queue": 4}, {"max_queue_bytes": 1000}, {"max_queue": 1}])
@pytest.mark.parametrize("tls", [False, True], ids=["tcp", "tls"])
async def test_a_message_longer_than_the_queue_does_not_stop_the_connection(options, tls):
    message = fragments(BINARY, *[bytes([number % 256]) * 1000 for number in range(2000)])
    whole = b"".join(bytes([number % 256]) * 1000 for number in range(2000))
    with Peer(sending(text("1"), *message, text("2"), *message), buffers=SMALL, tls=tls) as peer:
        async with peer.connect(_special=Special("mixed"), **options) as ws:
            assert [await ws.recv(), await ws.recv(), await ws.recv()] == ["1", whole, "2"]
            pieces = [await ws._recv_piece() for _ in range(2000)]
            assert b"".join(payload for *_, payload in pieces) == whole
            assert [fin for _, fin, *_ in pieces].index(True) == 1999


@pytest.mark.also_sync(False)
async def test_reading_pauses_while_pieces_wait_and_nobody_reads():
    blocked = Gate()

    def script(wire):
        wire.send(frame(BINARY, b"", fin=False))
        count = wire.send_until_blocked(frame(0, b"x" * 1000, fin=False))
        blocked.open()
        wire.finish()
        wire.send(frame(0))
        wire.answer_close()
        return count + 1

    with Peer(script, buffers=SMALL) as peer:
        async with peer.connect(_special=Special("mixed"), max_queue=64) as ws:
            await blocked.opened()
            await until_paused(ws)
            stats = ws.stats()
            assert 64 <= stats.receive_queue_messages <= 64 + 2048
            message = await ws.recv()
    assert len(message) == 1000 * peer.results[0]


@pytest.mark.parametrize("compressed", [False, True], ids=["plain", "deflate"])
async def test_the_limit_of_a_message_is_that_of_all_its_pieces(compressed):
    def script(wire):
        answer = "Sec-WebSocket-Extensions: permessage-deflate\r\n" if compressed else ""
        wire.upgrade(headers=answer)
        wire.send(*fragments(TEXT, b"a" * 50, b"b" * 50), *fragments(TEXT, b"c" * 50, b"d" * 50, b"e"))
        return wire.read_to_end()

    with Peer(script, upgrade=False) as peer:
        options = {"compression": "deflate"} if compressed else {}
        async with peer.connect(_special=Special("mixed"), max_size=100, **options) as ws:
            assert await ws.recv() == "a" * 50 + "b" * 50
            with pytest.raises(ConnectionClosedError, match="1009"):
                await ws.recv()
    assert [answer.payload[:2] for answer in peer.results[0] if answer.opcode == CLOSE] == [b"\x03\xf1"]


async def test_pieces_of_compressed_messages_come_out_frame_by_frame():
    plain = "tick 😀 " * 50_000

    def script(wire):
        wire.upgrade(headers="Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover\r\n")
        codec = zlib.compressobj(wbits=-15)
        data = (codec.compress(plain.encode()) + codec.flush(zlib.Z_SYNC_FLUSH))[:-4]
        third = len(data) // 3
        frames = [
            frame(TEXT, data[:third], fin=False, rsv=4),
            frame(PING, b"p"),
            frame(0, data[third : 2 * third], fin=False),
            frame(0, data[2 * third :]),
        ]
        codec = zlib.compressobj(wbits=-15)
        data = (codec.compress(b"end") + codec.flush(zlib.Z_SYNC_FLUSH))[:-4]
        wire.send(*frames, frame(TEXT, data, rsv=4), *frames)
        return wire.answer_close()

    with Peer(script, upgrade=False) as peer:
        terms = fastws.Deflate(server_no_context_takeover=True)
        async with peer.connect(_special=Special("mixed"), compression=terms) as ws:
            assert await ws.recv() == plain
            assert await ws.recv() == "end"
            pieces = [await ws._recv_piece() for _ in range(3)]
            assert b"".join(payload for *_, payload in pieces).decode() == plain
            assert [piece[:3] for piece in pieces] == [(TEXT, False, 0), (TEXT, False, 0), (TEXT, True, 0)]


@pytest.mark.parametrize("by_piece", [False, True], ids=["message", "piece"])
async def test_a_close_in_the_middle_of_a_message_ends_it(by_piece):
    def script(wire):
        first, *_ = fragments(TEXT, b"a", b"b")
        wire.send(text("whole"), first)
        return wire.close(1001, "going")

    with Peer(script) as peer:
        async with peer.connect(_special=Special("mixed")) as ws:
            assert await ws.recv() == "whole"
            if by_piece:
                assert await ws._recv_piece() == (TEXT, False, 0, b"a")
            for _ in range(2):
                with pytest.raises(ConnectionClosedOK, match="1001"):
                    await (ws._recv_piece() if by_piece else ws.recv())
            # What is left of it is not lost, and no message.
            if not by_piece:
                assert await ws._recv_piece() == (TEXT, False, 0, b"a")
            with pytest.raises(ConnectionClosedOK):
                await ws.recv()


async def test_what_came_before_a_violation_is_given():
    first, last = fragments(TEXT, b"a", b"b")
    with Peer(lambda wire: (wire.send(first, last, first, b"\x83\x00"), wire.read_to_end())) as peer:
        async with peer.connect(_special=Special("mixed")) as ws:
            assert await ws.recv() == "ab"
            with pytest.raises(ConnectionClosedError, match="opcode"):
                await ws.recv()


async def test_bad_text_is_found_across_the_cuts_of_pieces():
    with Peer(lambda wire: (wire.send(*fragments(TEXT, SMILE[:2], b"A")), wire.read_to_end())) as peer:
        async with peer.connect(_special=Special("mixed")) as ws:
            assert await ws._recv_piece() == (TEXT, False, 0, SMILE[:2])
            with pytest.raises(ConnectionClosedError, match="UTF-8"):
                await ws._recv_piece()


async def test_whole_messages_are_read_by_piece_too():
    with Peer(sending(*MESSAGES)) as peer:
        async with peer.connect() as ws:
            got = [await ws._recv_piece() for _ in WHOLE]
            plain = [message.encode() if isinstance(message, str) else message for message in WHOLE]
            assert got == [
                (TEXT if isinstance(message, str) else BINARY, True, 0, payload)
                for message, payload in zip(WHOLE, plain, strict=True)
            ]


@pytest.mark.also_sync(False)
@pytest.mark.parametrize("by_piece", [False, True], ids=["message", "piece"])
async def test_a_reader_that_is_cancelled_between_pieces_loses_none(by_piece):
    """Each piece arrives at a reader that waits, and is cancelled: the next reader has it."""
    count = 50
    gates = [Gate() for _ in range(count)]
    payloads = [b"%d," % number for number in range(count)]

    def script(wire):
        for gate, piece in zip(gates, fragments(TEXT, *payloads), strict=True):
            gate.wait()
            wire.send(piece)
        return wire.answer_close()

    with Peer(script) as peer:
        async with peer.connect(_special=Special("mixed")) as ws:
            got = []
            for number, gate in enumerate(gates):
                reader = asyncio.ensure_future(ws._recv_piece() if by_piece else ws.recv())
                await asyncio.sleep(0)
                gate.open()
                while ws.stats().frames_received <= number:
                    await asyncio.sleep(0)
                reader.cancel()
                outcome = (await asyncio.gather(reader, return_exceptions=True))[0]
                if not isinstance(outcome, asyncio.CancelledError):
                    got.append(outcome)
            if by_piece:
                while len(got) < count:
                    got.append(await ws._recv_piece())
                assert [payload for *_, payload in got] == payloads
            else:
                if not got:
                    got.append(await ws.recv())
                assert got == [b"".join(payloads).decode()]


@pytest.mark.also_sync(False)
async def test_iteration_and_batches_give_messages():
    script = sending(*MESSAGES * 3, close())
    for options in ({}, {"max_messages": 2}, {"max_bytes": 10}, {"max_wait": 0.05}):
        with Peer(script) as peer:
            async with peer.connect(_special=Special("mixed")) as ws:
                got = []
                async for batch in ws.batches(**options):
                    assert batch.last_seq - batch.first_seq + 1 == len(batch) > 0
                    assert len(batch) <= options.get("max_messages", 99)
                    assert batch.first_seq == len(got) + 1
                    got += batch
                assert got == WHOLE * 3
    with Peer(script) as peer:
        async with peer.connect(_special=Special("mixed")) as ws:
            assert [message async for message in ws] == WHOLE * 3


@pytest.mark.also_sync(False)
async def test_a_listener_gets_messages_whole():
    class Collect(fastws.Listener):
        def __init__(self):
            self.got = []

        def on_message(self, ws, message):
            self.got.append(message)

    listener = Collect()
    with Peer(sending(*MESSAGES * 2, close())) as peer:
        async with peer.connect(_special=Special("mixed"), listener=listener, max_queue=2) as ws:
            await ws.wait_closed()
            with pytest.raises(ConcurrencyError, match="listener"):
                await ws._recv_piece()
    assert listener.got == WHOLE * 2


@pytest.mark.also_sync(False)
async def test_two_readers_at_once_are_told_so():
    with Peer() as peer:
        async with peer.connect(_special=Special("mixed")) as ws:
            reader = asyncio.ensure_future(ws._recv_piece())
            await asyncio.sleep(0)
            for other in (ws.recv, ws._recv_piece):
                with pytest.raises(ConcurrencyError):
                    await other()
            reader.cancel()


@pytest.mark.also_sync(False)
async def test_pieces_go_with_the_connection():
    size = 1 << 20
    first, second = frame(BINARY, bytes(size), fin=False), frame(0, bytes(size), fin=False)
    sent = Gate()

    def script(wire):
        sent.wait()
        wire.send(first)
        wire.read_frame()
        wire.send(second)
        return wire.read_to_end()

    with Peer(script) as peer:
        ws = await peer.connect(_special=Special("mixed"))
        gc.collect()
        tracemalloc.start()
        sent.open()
        while ws.stats().receive_queue_bytes < size:
            await asyncio.sleep(0)
        reader = asyncio.ensure_future(ws.recv())
        while ws.stats().receive_queue_bytes:
            await asyncio.sleep(0)
        reader.cancel()
        await asyncio.wait([reader])
        await ws.send("more")
        while ws.stats().receive_queue_bytes < size:
            await asyncio.sleep(0)
        assert tracemalloc.get_traced_memory()[0] >= 2 * size
        ws._abort("over")
        await ws.wait_closed()
        del ws, reader
        gc.collect()
        left = tracemalloc.get_traced_memory()[0]
        tracemalloc.stop()
        assert left < size


def test_a_blocking_reader_that_gives_up_loses_no_piece():
    sent = Gate()

    def script(wire):
        first, second = fragments(TEXT, SMILE[:1], SMILE[1:])
        wire.send(first)
        sent.wait()
        wire.send(second, text("b"), *fragments(TEXT, b"c", b"d"))
        return wire.answer_close()

    with Peer(script) as peer, fastws.sync.connect(peer.url, _special=Special("mixed")) as ws:
        with pytest.raises(TimeoutError):
            ws.recv(timeout=0.01)
        sent.open()
        assert ws.recv() == "😀"
        got = []
        for batch in ws.batches(max_wait=0.01):
            got += batch
            if len(got) == 2:
                break
        assert got == ["b", "cd"]
        with pytest.raises(TimeoutError):
            ws._recv_piece(timeout=0)
