"""How the drop-in's connections on an event loop end, with the real websockets server as the peer."""

import asyncio
import socket

import pytest
import websockets
import websockets.asyncio.client
import websockets.asyncio.server
import websockets.exceptions
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory

from compat_peers import closed_of, closing, opened
from fastws.compat.websockets.asyncio.client import connect
from peers import Peer, frame, text


async def test_a_clean_end_of_the_peer():
    async with opened(closing(1001, "bye")) as ws:
        error = await closed_of(ws)
        assert type(error) is websockets.ConnectionClosedOK
        assert str(error) == "received 1001 (going away) bye; then sent 1001 (going away) bye"
        assert error.rcvd == websockets.Close(1001, "bye")
        assert (error.sent.code, error.rcvd_then_sent) == (1001, True)
        assert (ws.state, ws.close_code, ws.close_reason) == (websockets.State.CLOSED, 1001, "bye")
        assert [message async for message in ws] == []


async def test_an_error_of_the_peer():
    async with opened(closing(1011, "oops")) as ws:
        error = await closed_of(ws)
        assert type(error) is websockets.ConnectionClosedError
        with pytest.raises(websockets.ConnectionClosedError):
            async for _ in ws:
                pytest.fail("nothing was sent")


async def test_our_own_end():
    async with opened() as ws:
        await ws.close(4000, "enough")
        await ws.close()
        error = await closed_of(ws)
        assert str(error).startswith("sent 4000 (private use) enough; then received ")
        assert error.rcvd_then_sent is False
        with pytest.raises(websockets.ConnectionClosedError):
            await ws.send("a")
        with pytest.raises(websockets.ConnectionClosedError):
            await ws.ping()


async def test_an_end_without_a_close_frame():
    def leave(wire):
        wire.sock.shutdown(socket.SHUT_RDWR)

    with Peer(leave) as peer:
        async with connect(peer.url) as ws:
            error = await closed_of(ws)
            assert str(error) == "no close frame received or sent"
            assert isinstance(error.__cause__, EOFError)
            await ws.wait_closed()
            assert (ws.close_code, ws.close_reason) == (1006, "")


async def test_a_peer_that_answers_no_ping_is_given_up():
    def silent(wire):
        wire.read_to_end()

    with Peer(silent) as peer:
        async with connect(peer.url, ping_interval=0.02, ping_timeout=0.02, close_timeout=1) as ws:
            error = await closed_of(ws)
            assert str(error) == "sent 1011 (internal error) keepalive ping timeout; no close frame received"
            assert isinstance(error.__cause__, TimeoutError)


async def test_a_peer_that_breaks_the_protocol():
    def breaking(wire):
        wire.send(frame(3))

    with Peer(breaking) as peer:
        async with connect(peer.url, close_timeout=0.1) as ws:
            error = await closed_of(ws)
            assert error.sent.code == 1002
            assert isinstance(error.__cause__, websockets.exceptions.ProtocolError)


async def test_what_the_peer_says_behind_our_failure_does_not_count():
    def binary(wire):
        wire.send(frame(2, b"\xff"))
        wire.answer_close()

    with Peer(binary) as peer:
        async with connect(peer.url) as ws:
            with pytest.raises(websockets.ConnectionClosedError) as raised:
                _ = [piece async for piece in ws.recv_streaming(decode=True)]
            for error in (raised.value, await closed_of(ws), ws.close_exc):
                assert (error.rcvd, error.rcvd_then_sent) == (None, None)
                assert error.sent == websockets.Close(1007, "invalid start byte at position 0")
                assert isinstance(error.__cause__, UnicodeDecodeError)
            assert (ws.close_code, ws.close_reason) == (1006, "")


@pytest.mark.parametrize(
    ("max_size", "sent", "size", "before"),
    [
        (4, [frame(1, b"aa", fin=False), frame(0, b"bbb")], 3, 2),
        (4, [frame(1, b"aaaaa")], 5, None),
        ((9, 4), [frame(1, b"aaaaa")], 5, None),
        (0, [text(""), frame(1, b"a")], 1, None),
        (-1, [frame(1, b"a")], 1, None),
    ],
)
async def test_the_cause_has_the_sizes_of_what_was_too_big(max_size, sent, size, before):
    def script(wire):
        wire.send(*sent)
        wire.read_to_end()

    with Peer(script) as peer:
        in_python = [ClientPerMessageDeflateFactory(client_max_window_bits=None)]
        for extensions in (None, in_python):
            async with connect(peer.url, max_size=max_size, extensions=extensions, compression=None) as ws:
                with pytest.raises(websockets.ConnectionClosedError) as raised:
                    while True:
                        assert await ws.recv() == ""
                assert raised.value.sent.code == 1009
                cause = raised.value.__cause__
                assert type(cause) is websockets.exceptions.PayloadTooBig
                limit = 4 if isinstance(max_size, tuple) else max_size
                assert (cause.size, cause.max_size, cause.current_size) == (size, limit, before)


async def test_the_cause_says_where_text_is_none():
    def script(wire):
        wire.send(frame(1, b"ab\xff"))
        wire.read_to_end()

    with Peer(script) as peer:
        async with connect(peer.url) as ws:
            error = await closed_of(ws)
            assert error.sent.code == 1007
            assert isinstance(error.__cause__, UnicodeDecodeError)
            assert (error.__cause__.encoding, error.__cause__.start) == ("utf-8", 2)
            assert "invalid UTF-8" in str(error.__cause__)


async def test_close_gives_a_message_in_fragments_up():
    more = asyncio.Event()

    async def pieces():
        yield "a"
        more.set()
        await asyncio.Event().wait()

    async with opened() as ws:
        sending = asyncio.ensure_future(ws.send(pieces()))
        await more.wait()
        await ws.close()
        error = await closed_of(ws)
        assert (error.rcvd, error.sent) == (None, websockets.Close(1011, "close during fragmented message"))
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending


async def test_a_message_in_fragments_that_cannot_be_finished_fails_it():
    async with opened() as ws:
        with pytest.raises(TypeError, match="uniform types"):
            await ws.send(["a", b"b"])
        error = await closed_of(ws)
        assert (error.rcvd, error.sent) == (None, websockets.Close(1011, "error in fragmented message"))
        assert ws.close_code == 1006


async def test_what_is_no_text_is_said_by_the_await():
    async with opened() as ws:
        sends = ws.send("a"), ws.send("\ud800"), ws.send(b"\xff", text=True), ws.send(5), ws.send("b")
        outcome = await asyncio.gather(*sends, return_exceptions=True)
        assert [type(each) for each in outcome] == [
            type(None), UnicodeEncodeError, UnicodeDecodeError, TypeError, type(None),
        ]  # fmt: skip
        assert (await ws.recv(), await ws.recv()) == ("a", "b")


async def test_an_end_of_ours_is_no_failure_by_its_words():
    async with opened() as ws:
        await ws.close(1011, "error in fragmented message")
        assert (await closed_of(ws)).rcvd == websockets.Close(1011, "error in fragmented message")


async def test_close_takes_what_may_be_sent():
    async with opened() as ws:
        for code, reason in ((1005, ""), (999, ""), (1000, "x" * 124)):
            with pytest.raises(websockets.exceptions.ProtocolError):
                await ws.close(code, reason)
        assert ws.state is websockets.State.OPEN
