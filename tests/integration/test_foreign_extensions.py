"""What extensions in Python build upon: frames as they are, RSV bits of others, answers that are theirs to judge."""

import pytest

import fastws
import fastws.sync
from fastws import ConcurrencyError, ConnectionClosedError, _core, _options
from fastws._options import Special
from peers import BINARY, CLOSE, PING, PONG, SMALL, TEXT, Frame, Gate, Peer, frame, stalled, text

pytestmark = pytest.mark.also_sync

RAW = {"_special": Special("frames", rsv=0b101)}


async def test_bits_that_are_admitted_come_with_their_frames():
    coded = b"\xff\xfe\x80"  # no UTF-8
    frames = [
        frame(TEXT, coded, fin=False, rsv=4),
        frame(PING, b"p"),
        frame(0, coded, rsv=1),
        frame(BINARY, b"b" * 70_000, rsv=5),
        text("plain"),
    ]

    def script(wire):
        wire.send(*frames)
        return wire.answer_close()

    with Peer(script) as peer:
        async with peer.connect(**RAW) as ws:
            assert [await ws._recv_piece() for _ in range(5)] == [
                (TEXT, False, 4, coded),
                (PING, True, 0, b"p"),
                (0, True, 1, coded),
                (BINARY, True, 5, b"b" * 70_000),
                (TEXT, True, 0, b"plain"),
            ]
    assert [answer for answer in peer.results[0] if answer.opcode == PONG] == [Frame(PONG, b"p")]


@pytest.mark.parametrize("bad", [frame(TEXT, b"", rsv=2), frame(PING, b"", rsv=4)], ids=["data", "ping"])
async def test_other_bits_are_a_violation(bad):
    with Peer(lambda wire: (wire.send(bad), wire.read_to_end())) as peer:
        async with peer.connect(**RAW) as ws:
            with pytest.raises(ConnectionClosedError, match="reserved bits"):
                await ws.recv()


async def test_frames_leave_as_they_are():
    with Peer() as peer:
        async with peer.connect() as ws:
            for opcode, fin, rsv, data in [
                (TEXT, False, 4, b"\xff"),
                (PING, True, 2, b"between"),
                (0, False, 0, bytearray(b"z" * 70_000)),
                (PONG, True, 0, b""),
                (0, True, 7, memoryview(b"end")),
                (BINARY, True, 1, "ä"),
            ]:
                assert ws._try_send_frame(opcode, fin, rsv, data) is True
            await ws.send("whole")
            stats = ws.stats()
            assert (stats.messages_sent, stats.frames_sent, stats.pings_sent) == (3, 7, 1)
    got = peer.results[0]
    control = [Frame(PING, b"between", rsv=2), Frame(PONG, b"")]
    assert [one for one in got if one.opcode in (PING, PONG)] == control
    assert [one for one in got if one.opcode not in (PING, PONG, CLOSE)] == [
        Frame(TEXT, b"\xff", fin=False, rsv=4),
        Frame(0, b"z" * 70_000, fin=False),
        Frame(0, b"end", rsv=7),
        Frame(BINARY, "ä".encode(), rsv=1),
        Frame(TEXT, b"whole"),
    ]


async def test_frames_keep_the_order_of_fragments():
    with Peer() as peer:
        async with peer.connect() as ws:
            with pytest.raises(ConcurrencyError):
                ws._try_send_frame(0, True, 0, b"no beginning")
            assert ws._try_send_frame(TEXT, False, 0, b"a")
            assert ws._try_send_frame(BINARY, True, 0, b"another") is False
            assert ws._try_send_frame(0, True, 0, b"b")
    assert peer.results[0][:-1] == [Frame(TEXT, b"a", fin=False), Frame(0, b"b")]


@pytest.mark.parametrize(
    ("arguments", "error", "match"),
    [
        ((CLOSE, True, 0, b""), ValueError, "Close frame"),
        ((PING, False, 0, b""), ValueError, "one frame"),
        ((PING, True, 0, b"x" * 126), ValueError, "125"),
        ((TEXT, True, 8, b""), ValueError, "rsv"),
        ((3, True, 0, b""), ValueError, "no opcode 3"),
        ((TEXT, True, 0, 5), TypeError, "int"),
    ],
)
async def test_frames_that_cannot_be_are_refused(arguments, error, match):
    with Peer() as peer:
        async with peer.connect() as ws:
            with pytest.raises(error, match=match):
                ws._try_send_frame(*arguments)
    assert [answer.opcode for answer in peer.results[0]] == [CLOSE]


async def test_frames_as_they_are_and_compression_exclude_each_other():
    def script(wire):
        wire.upgrade(headers="Sec-WebSocket-Extensions: permessage-deflate\r\n")
        wire.answer_close()

    with Peer(script, upgrade=False) as peer:
        async with peer.connect(compression="deflate") as ws:
            with pytest.raises(ValueError, match="compressed"):
                ws._try_send_frame(TEXT, True, 0, b"")


async def test_a_frame_that_finds_no_room_is_not_sent():
    gate = Gate()
    with Peer(stalled(gate), buffers=SMALL) as peer:
        async with peer.connect(max_send_bytes=100_000, write_limit=2**20) as ws:
            count = 0
            while ws._try_send_frame(BINARY, True, 0, b"x" * 10_000):
                count += 1
            gate.open()
    assert len(peer.results[0]) == count


@pytest.mark.also_sync(False)
@pytest.mark.parametrize(
    "wrong",
    [
        {"special": Special("mixed", rsv=4)},
        {"special": Special("messages", rsv=4)},
        {"special": Special("frames", rsv=8)},
        {"compression": "deflate"},
    ],
)
def test_bits_are_for_frames_without_compression(wrong):
    fine = {"special": Special("frames", rsv=4)}
    with pytest.raises(ValueError, match="rsv"):
        _settings(**fine | wrong)
    assert _settings(**fine).offer is None


async def test_an_answer_is_whoever_judges_the_extensions_own():
    offers = ["x-op; op=1", 'x-other; a="b, c"']

    def script(wire):
        wire.upgrade(headers="Sec-WebSocket-Extensions: x-new\r\nSec-WebSocket-Extensions: x-op; op=2\r\n")
        wire.send(frame(TEXT, b"\xff", rsv=4))
        wire.answer_close()
        return [line for line in wire.request.split(b"\r\n") if b"Extensions" in line]

    with Peer(script, upgrade=False) as peer:
        async with peer.connect(_extensions=offers, **RAW) as ws:
            assert [value for name, value in ws._response[2] if name.lower() == "sec-websocket-extensions"] == [
                "x-new",
                "x-op; op=2",
            ]
            assert await ws.recv() == (TEXT, True, 4, b"\xff")
    assert peer.results == [[b"Sec-WebSocket-Extensions: " + ", ".join(offers).encode()]]


async def test_nothing_is_offered_where_the_list_is_empty():
    def script(wire):
        wire.upgrade(headers="Sec-WebSocket-Extensions: x\r\n")
        wire.answer_close()
        return wire.request

    with Peer(script, upgrade=False) as peer:
        async with peer.connect(_extensions=[]) as ws:
            assert ("Sec-WebSocket-Extensions", "x") in ws._response[2]
    assert b"Extensions" not in peer.results[0]


def _settings(**given):
    fine = {
        "max_size": None,
        "max_frame_size": None,
        "max_fragments": None,
        "max_queue": None,
        "max_queue_bytes": None,
        "write_limit": 65_536,
        "max_send_queue": 1000,
        "max_send_bytes": 1 << 20,
        "ping_interval": None,
        "ping_timeout": None,
        "close_timeout": 10,
        "messages": "auto",
        "busy_poll": None,
        "busy_poll_max": 0.001,
        "quickack": False,
        "kernel_timestamps": False,
        "compression": None,
    }
    return _core.Settings(_options.checked(**fine | given))


def test_a_blocking_frame_waits_for_room():
    gate = Gate()
    with (
        Peer(stalled(gate), buffers=SMALL) as peer,
        fastws.sync.connect(peer.url, max_send_bytes=100_000, write_limit=2**20) as ws,
    ):
        count = 0
        while ws._send_frame(BINARY, True, 0, b"x" * 10_000, timeout=0.01):
            count += 1
        gate.open()
        assert ws._send_frame(BINARY, True, 2, b"last") is True
    assert len(peer.results[0]) == count + 1
    assert peer.results[0][-1] == Frame(BINARY, b"last", rsv=2)
