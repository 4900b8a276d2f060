"""Frames as a listener gets them (compat/picows/picows.py, rust/py's `frames`)."""

import asyncio
import gc

import pytest

from fastws.compat.picows import WSCloseCode, WSFrame, WSListener, WSMsgType, WSProtocolError
from fastws.compat.picows.picows import _make_test_ws_frame
from peers import BINARY, CLOSE, PING, PONG, TEXT, Gate, binary, close, frame, text


class Keeper(WSListener):
    """Calls `look` with each frame, and keeps what that returns until there are so many."""

    def __init__(self, look=lambda frame: frame, enough=1):
        self.look = look
        self.enough = enough
        self.seen = []
        self.done = asyncio.Event()

    def on_ws_frame(self, transport, frame):
        self.seen.append(self.look(frame))
        if len(self.seen) == self.enough:
            self.done.set()


def bits(frame):
    return frame.msg_type, frame.fin, frame.rsv1, frame.rsv2, frame.rsv3, frame.get_payload_as_bytes()


def ending(*chunks):
    """A script that sends, and waits for the client's end."""

    def script(wire):
        wire.send(*chunks)
        wire.read_to_end()

    return script


async def kept(way, look, *chunks, enough=1, **options):
    with way.peer(ending(*chunks)) as peer:
        transport, keeper = await way.connect(lambda: Keeper(look, enough), peer, **options)
        await keeper.done.wait()
        transport.disconnect()
        await transport.wait_disconnected()
    return keeper.seen


async def test_frames_come_one_by_one_with_all_their_bits(way):
    chunks = [
        frame(TEXT, b"a", fin=False, rsv=4),
        frame(BINARY, b"", rsv=2),
        frame(PING, b"p"),
        frame(0, b"b" * 300, rsv=1),
        frame(PONG, b"q"),
        frame(BINARY, b"c" * 70_000, fin=False),
        text("\u00e9"),
    ]
    kinds = WSMsgType
    assert await kept(way, bits, *chunks, enough=7, enable_auto_pong=False) == [
        (kinds.TEXT, False, True, False, False, b"a"),
        (kinds.BINARY, True, False, True, False, b""),
        (kinds.PING, True, False, False, False, b"p"),
        (kinds.CONTINUATION, True, False, False, True, b"b" * 300),
        (kinds.PONG, True, False, False, False, b"q"),
        (kinds.BINARY, False, False, False, False, b"c" * 70_000),
        (kinds.TEXT, True, False, False, False, "\u00e9".encode()),
    ]


async def test_text_is_checked_when_it_is_asked_for(way):
    def look(frame):
        for method in (frame.get_payload_as_utf8_text, frame.get_payload_as_ascii_text):
            try:
                yield method()
            except UnicodeDecodeError as error:
                yield type(error)

    seen = await kept(
        way, lambda frame: list(look(frame)), text("plain"), text("\u00e9"), frame(TEXT, b"\xff"), enough=3
    )
    failed = UnicodeDecodeError
    assert seen == [["plain", "plain"], ["\u00e9", failed], [failed, failed]]


@pytest.mark.parametrize("size", [0, 5, 300, 100_000])
async def test_frames_and_views_outlive_their_callback(way, size):
    one, two = b"1" * size, b"2" * size
    both = lambda frame: (frame, frame.get_payload_as_memoryview())  # noqa: E731
    view = lambda frame: frame.get_payload_as_memoryview()  # noqa: E731
    more = [binary(b"x" * 500)] * 200
    for look in (lambda frame: frame, view, both):
        seen = await kept(way, look, binary(one), binary(two), *more, enough=202)
        gc.collect()
        for kept_one, payload in zip(seen[:2], (one, two), strict=True):
            parts = kept_one if isinstance(kept_one, tuple) else (kept_one,)
            for part in parts:
                if isinstance(part, memoryview):
                    assert (bytes(part), part.readonly, part.contiguous) == (payload, True, True)
                else:
                    assert part.get_payload_as_bytes() == part.get_payload_as_memoryview() == payload


async def test_a_view_of_a_frame_that_is_gone_is_valid(way):
    held = []

    def look(frame):
        held.append(frame.get_payload_as_memoryview()[2:4])

    await kept(way, look, binary(b"abcdef"), binary(b"ghijkl"), enough=2)
    assert [bytes(part) for part in held] == [b"cd", b"ij"]


async def test_the_last_of_a_read_knows_it_and_what_is_behind_each(way):
    gate = Gate()

    def script(wire):
        gate.wait()
        wire.send(binary(b"one"), text("three"), frame(PING))
        wire.read_to_end()

    look = lambda frame: (frame.last_in_buffer, frame.tail_size, frame.payload_size)  # noqa: E731
    with way.peer(script) as peer:
        transport, keeper = await way.connect(lambda: Keeper(look, 3), peer, enable_auto_pong=False)
        gate.open()
        await keeper.done.wait()
        transport.disconnect()
    assert keeper.seen == [(False, 9, 3), (False, 2, 5), (True, 0, 0)]


async def test_frames_that_come_with_the_answer_to_the_upgrade_come_after_it():
    from peers import Peer

    def script(wire):
        wire.upgrade(behind=text("at once"))
        wire.read_to_end()

    class Order(Keeper):
        def on_ws_connected(self, transport):
            self.seen.append("connected")

    from fastws.compat.picows import ws_connect

    with Peer(script, upgrade=False) as peer:
        transport, order = await ws_connect(lambda: Order(WSFrame.get_payload_as_utf8_text, 2), peer.url)
        await order.done.wait()
        transport.disconnect()
    assert order.seen == ["connected", "at once"]


async def test_a_close_frame_tells_code_and_reason(way):
    look = lambda frame: (frame.get_close_code(), frame.get_close_message(), frame.get_close_reason())  # noqa: E731
    assert await kept(way, look, close(1001, "h\u00e9")) == [(WSCloseCode.GOING_AWAY, "h\u00e9".encode(), "h\u00e9")]
    assert await kept(way, look, close(4321)) == [(4321, None, None)]
    assert await kept(way, look, close(None)) == [(WSCloseCode.NO_INFO, None, None)]


async def test_what_no_frame_may_be_ends_the_connection(way):
    cases = {
        b"\x83\x00": (1002, "opcode"),
        b"\x82\x80abcd": (1002, "Received masked frame from server"),
        b"\x09\x00": (1002, "fragmented"),
        frame(CLOSE, b"\x03\xee"): (1002, "1006"),
        frame(BINARY, b"x" * 70_000): (1009, "Received frame with payload size exceeding max allowed size"),
    }
    for wrong, (code, words) in cases.items():

        def script(wire, wrong=wrong):
            wire.send(wrong)
            return wire.read_to_close()

        with way.peer(script) as peer:
            transport, keeper = await way.connect(Keeper, peer, max_frame_size=66_000)
            with pytest.raises(WSProtocolError, match=words) as caught:
                await transport.wait_disconnected()
        assert caught.value.code == code
        assert transport.close_handshake.sent.code == code
        assert keeper.seen == []
        assert int.from_bytes(peer.results[0][-1].payload[:2]) == code


def test_a_frame_of_no_connection_is_made_for_tests():
    made = _make_test_ws_frame(WSMsgType.CLOSE, b"\x03\xe8bye", True, True)
    assert isinstance(made, WSFrame)
    assert str(made) == (
        "WSFrame(CLOSE, fin=True, rsv1=True, rsv2=False, rsv3=False, last_in_buffer=True, payload_sz=5, tail_sz=0)"
    )
    assert (made.get_close_code(), made.get_close_reason()) == (WSCloseCode.OK, "bye")
    other = _make_test_ws_frame(WSMsgType.TEXT, b"x", False, False)
    for method in (other.get_close_code, other.get_close_message, other.get_close_reason):
        with pytest.raises(AssertionError, match="only for CLOSE"):
            method()
