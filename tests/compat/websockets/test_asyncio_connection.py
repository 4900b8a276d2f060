"""The drop-in's connection on an event loop, with the real websockets server as the peer."""

import asyncio
import contextlib
import gc
import logging
import socket
import threading
import weakref

import pytest
import websockets
import websockets.asyncio.client
import websockets.asyncio.server
import websockets.exceptions

from compat_peers import closed_of, closing, echo, opened
from fastws.compat.websockets import _facade
from fastws.compat.websockets.asyncio.client import connect
from fastws.compat.websockets.asyncio.connection import broadcast
from peers import CLOSE, PONG, TEXT, Peer, close, frame, text


def staying(message):
    """Sends a message, and leaves it to the client to go."""

    def handler(ws):
        ws.send(message)
        echo(ws)

    return handler


async def test_one_task_receives():
    async with opened() as ws:
        receiving = asyncio.ensure_future(ws.recv())
        await asyncio.sleep(0)
        said = "another coroutine is already running recv or recv_streaming"
        with pytest.raises(websockets.exceptions.ConcurrencyError, match=f"cannot call recv while {said}"):
            await ws.recv()
        with pytest.raises(websockets.exceptions.ConcurrencyError, match=f"cannot call recv_streaming while {said}"):
            await anext(ws.recv_streaming())
        await ws.send("a")
        assert await receiving == "a"


@pytest.mark.parametrize(
    ("pieces", "decode", "received"),
    [
        (["ä", "ö"], None, ["ä", "ö", ""]),
        (["ä", "ö"], False, ["ä".encode(), "ö".encode(), b""]),
        ([b"a", b"\xff"], None, [b"a", b"\xff", b""]),
        ([b"a", b"b"], True, ["a", "b", ""]),
    ],
)
async def test_fragments_are_received_as_they_come(pieces, decode, received):
    async with opened(lambda ws: ws.send(pieces)) as ws:
        assert [piece async for piece in ws.recv_streaming(decode)] == received
    async with opened(lambda ws: ws.send(pieces)) as ws:
        assert await ws.recv(decode) == type(received[0])().join(received)


async def test_a_character_may_be_cut_between_fragments():
    def cut(wire):
        wire.send(frame(TEXT, b"a\xc3", fin=False), frame(0, b"\xa4b"), text("c"))
        wire.answer_close()

    with Peer(cut) as peer:
        async with connect(peer.url) as ws:
            assert [piece async for piece in ws.recv_streaming()] == ["a", "äb"]
            assert await ws.recv() == "c"


async def test_binary_that_was_to_be_text_and_is_not_ends_the_connection():
    async with opened(staying(b"\xff")) as ws:
        with pytest.raises(websockets.ConnectionClosedError) as raised:
            await anext(ws.recv_streaming(decode=True))
        assert raised.value.sent.code == 1007
        assert isinstance(raised.value.__cause__, UnicodeDecodeError)


async def test_binary_that_is_not_text_cannot_be_received_as_text():
    def handler(ws):
        ws.send(b"\xff")
        ws.send(b"b")
        echo(ws)

    async with opened(handler) as ws:
        with pytest.raises(UnicodeDecodeError):
            await ws.recv(decode=True)
        assert await ws.recv(decode=True) == "b"


async def test_a_message_that_was_taken_in_part_is_gone_through_to_its_end():
    async with opened(lambda ws: ws.send(["a", "b"])) as ws:
        pieces = ws.recv_streaming()
        assert await anext(pieces) == "a"
        with pytest.raises(websockets.exceptions.ConcurrencyError):
            await ws.recv()
        with pytest.raises(websockets.exceptions.ConcurrencyError):
            await anext(ws.recv_streaming())
        assert [piece async for piece in pieces] == ["b", ""]


async def as_async(items):
    for item in items:
        yield item


@pytest.mark.parametrize("kind", [list, as_async])
@pytest.mark.parametrize(
    ("pieces", "as_text", "received"),
    [
        (["ä", "ö"], None, "äö"),
        (["ä", "ö"], False, "äö".encode()),
        ([b"a", bytearray(b"b"), memoryview(b"c")], None, b"abc"),
        ([b"a", b"b"], True, "ab"),
    ],
)
async def test_messages_are_sent_in_fragments(kind, pieces, as_text, received):
    async with opened() as ws:
        await ws.send(kind(pieces), text=as_text)
        await ws.send(kind([]))
        assert await ws.recv() == received


@pytest.mark.parametrize("kind", [list, as_async])
@pytest.mark.parametrize(
    ("pieces", "said"), [(["a", b"b"], "iterable must contain uniform types"), ([1], "iterable must contain bytes or")]
)
async def test_fragments_are_of_one_type(kind, pieces, said):
    async with opened() as ws:
        with pytest.raises(TypeError, match=said):
            await ws.send(kind(pieces))
        if len(pieces) > 1:
            assert (await closed_of(ws)).sent == websockets.Close(1011, "error in fragmented message")


async def test_what_cannot_be_sent():
    async with opened() as ws:
        with pytest.raises(TypeError, match="data is a dict-like object"):
            await ws.send({"a": 1})
        with pytest.raises(TypeError, match="data must be str, bytes, iterable, or async iterable"):
            await ws.send(1)


async def test_messages_wait_for_one_in_fragments():
    gate = asyncio.Event()

    async def pieces():
        yield "a"
        await gate.wait()
        yield "b"

    async with opened() as ws:
        in_fragments = asyncio.create_task(ws.send(pieces()))
        await asyncio.sleep(0)
        whole = asyncio.create_task(ws.send("c"))
        await asyncio.sleep(0)
        assert not whole.done()
        gate.set()
        await asyncio.gather(in_fragments, whole)
        assert [await ws.recv(), await ws.recv()] == ["ab", "c"]


async def test_pings_are_answered_and_may_not_be_doubled():
    def answer(wire):
        assert [each.payload for each in wire.read_frames(2)] == [b"one", b"two"]
        wire.send(frame(PONG, b"two"))
        wire.answer_close()

    with Peer(answer) as peer:
        async with connect(peer.url) as ws:
            one = await ws.ping("one")
            with pytest.raises(
                websockets.exceptions.ConcurrencyError, match="already waiting for a pong with the same"
            ):
                await ws.ping(b"one")
            two = await ws.ping(b"two")
            assert await one > 0
            assert await two > 0
            assert ws.latency > 0
            with pytest.raises(TypeError, match="data must be str or bytes-like"):
                await ws.ping([])


async def test_a_ping_that_nobody_waits_for_fails_in_silence(caplog):
    def leave(wire):
        wire.read_frame()
        wire.send(close())

    with Peer(leave) as peer:
        async with connect(peer.url) as ws:
            waited_for = await ws.ping()
            await ws.ping()
            with pytest.raises(websockets.ConnectionClosedOK):
                await waited_for
        del waited_for
        gc.collect()
    assert not caplog.records


async def test_broadcast_takes_connections_of_both_kinds(caplog):
    received = asyncio.Queue()

    async def handler(ws):
        async for message in ws:
            await received.put(message)

    async with websockets.asyncio.server.serve(handler, "localhost", 0) as server:
        uri = f"ws://localhost:{server.sockets[0].getsockname()[1]}/"
        async with connect(uri) as ours, websockets.asyncio.client.connect(uri) as theirs:
            for send in (broadcast, websockets.asyncio.server.broadcast):
                send([ours, theirs], "a")
                send([ours, theirs], b"b", text=True)
                assert sorted([await received.get() for _ in range(4)]) == ["a", "a", "b", "b"]
            await ours.close()
            broadcast([ours], "c", raise_exceptions=True)

            gate = asyncio.Event()

            async def pieces():
                yield "a"
                await gate.wait()

            async with connect(uri) as busy:
                sending = asyncio.create_task(busy.send(pieces()))
                await asyncio.sleep(0)
                with caplog.at_level(logging.WARNING, "websockets"):
                    broadcast([busy], "c")
                assert [record.getMessage() for record in caplog.records] == [
                    "skipped broadcast: sending a fragmented message"
                ]
                with pytest.raises(ExceptionGroup, match="skipped broadcast"):
                    broadcast([busy], "c", raise_exceptions=True)
                gate.set()
                await sending


async def test_the_transport_tells_of_the_socket():
    async with opened() as ws:
        transport = ws.transport
        assert transport.get_extra_info("peername") == ws.remote_address
        assert transport.get_extra_info("sockname") == ws.local_address
        sock = transport.get_extra_info("socket")
        assert (sock.getsockname(), sock.getpeername()) == (ws.local_address, ws.remote_address)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        assert sock.fileno() == ws.fileno()
        assert transport.get_extra_info("ssl_object", "none") == "none"
        assert transport.get_write_buffer_size() == 0
        assert transport.get_write_buffer_limits() == (2**13, 2**15)
        assert (transport.is_closing(), transport.is_reading(), transport.can_write_eof()) == (False, True, True)
        transport.abort()
        await ws.wait_closed()
        assert transport.is_closing()
        assert ws.close_code == 1006


async def test_the_transport_reads_while_there_is_room():
    with Peer(lambda wire: wire.send(text("a"), text("b"), text("c")) or wire.answer_close()) as peer:
        async with connect(peer.url, max_queue=(2, 0)) as ws:
            async with asyncio.timeout(10):
                while ws.transport.is_reading():
                    await asyncio.sleep(0)
            assert [await ws.recv() for _ in range(3)] == ["a", "b", "c"]
            assert ws.transport.is_reading()
        assert not ws.transport.is_reading()


async def test_sending_on_a_closed_connection_is_told_by_the_await():
    """So that one that is closed does not keep the others of a ``gather`` from being sent to."""
    async with opened(closing(1000)) as gone, opened() as ws:
        await gone.wait_closed()
        sends = [gone.send("a"), ws.send("b"), gone.send(b"c"), gone.send(["d"])]
        outcomes = await asyncio.gather(*sends, return_exceptions=True)
        assert [type(outcome) for outcome in outcomes] == [
            websockets.ConnectionClosedOK,
            type(None),
            websockets.ConnectionClosedOK,
            websockets.ConnectionClosedOK,
        ]
        assert await ws.recv() == "b"


async def test_the_queue_is_bounded_by_messages():
    async with opened(lambda ws: [ws.send(str(number)) for number in range(100)], max_queue=4) as ws:
        assert (ws.max_queue_high, ws.max_queue_low) == (4, None)
        assert [message async for message in ws] == [str(number) for number in range(100)]


async def test_attributes_of_ones_own_and_weak_references():
    async with opened() as ws:
        ws.mine = 1
        assert (ws.mine, weakref.ref(ws)()) == (1, ws)
        assert ws.loop is asyncio.get_running_loop()
    known = weakref.ref(ws)
    del ws
    gc.collect()
    assert known() is None


async def test_iterations_can_be_closed():
    async with opened() as ws:
        await ws.send("a")
        async with contextlib.aclosing(aiter(ws)) as messages:
            assert await anext(messages) == "a"
        with pytest.raises(StopAsyncIteration):
            await anext(messages)
        await ws.send("b")
        assert await ws.recv() == "b"


async def test_sending_while_it_closes_says_how_it_ended():
    """That of the peer is waited for, as in websockets."""

    def script(wire):
        assert wire.read_frame().opcode == CLOSE
        asked.wait(20)
        wire.send(close())
        wire.end()

    asked = threading.Event()
    with Peer(script) as peer:
        async with connect(peer.url, compression=None) as ws:
            closing = asyncio.create_task(ws.close())
            await asyncio.sleep(0)
            calls = [ws.send("a"), ws.send(["a"]), ws.ping(), ws.pong()]
            waiting = [asyncio.ensure_future(call) for call in calls]
            for _ in range(3):
                await asyncio.sleep(0)
            assert not any(call.done() for call in waiting)
            asked.set()
            outcomes = await asyncio.gather(*waiting, return_exceptions=True)
            assert [type(outcome) for outcome in outcomes] == [websockets.ConnectionClosedOK] * 4
            await closing


async def test_a_close_frame_may_be_empty():
    async with opened(lambda ws: ws.recv()) as ws:
        with pytest.raises(websockets.ProtocolError, match="cannot send a reason without a code"):
            await ws.close(None, "why")
        await ws.close(None)
        assert ws.protocol.close_sent == websockets.Close(1005, "")


@pytest.mark.parametrize("kind", [list, as_async])
async def test_what_is_no_piece_closes_the_connection(kind):
    async with opened() as ws:
        with pytest.raises(TypeError, match="iterable must contain bytes or str"):
            await ws.send(kind([None]))
        assert (await closed_of(ws)).sent == websockets.Close(1011, "error in fragmented message")


async def test_a_message_in_fragments_has_a_time_limit():
    async def pieces():
        yield "a"
        await asyncio.get_running_loop().create_future()

    async with opened() as ws:
        with pytest.raises(TimeoutError, match="a part of the message was"):
            await ws.send(pieces(), timeout=0.01)
        assert (await closed_of(ws)).sent == websockets.Close(1011, "error in fragmented message")


async def test_giving_up_what_has_not_begun_harms_nothing():
    gate = asyncio.Event()

    async def pieces():
        yield "a"
        await gate.wait()
        yield "b"

    async with opened() as ws:
        first = asyncio.create_task(ws.send(pieces()))
        await asyncio.sleep(0)
        second = asyncio.create_task(ws.send(["c"]))
        await asyncio.sleep(0)
        second.cancel()
        gate.set()
        await first
        assert await ws.recv() == "ab"


async def test_a_connection_goes_with_its_last_name():
    async with opened() as ws:
        assert ws.transport.get_protocol() is ws
    known = weakref.ref(ws)
    gc.disable()
    try:
        del ws
        for _ in range(3):  # the futures of its end
            await asyncio.sleep(0)
        assert known() is None
    finally:
        gc.enable()


@pytest.mark.parametrize(
    ("given", "marks"), [((None, 4), (16, 4)), ([16, 4], (16, 4)), (16, (16, 4)), (None, None), ((None, None), None)]
)
def test_marks_are_those_of_websockets(given, marks):
    assert _facade._marks(given) == marks


async def test_too_many_fragments_are_that(monkeypatch):
    monkeypatch.setattr(_facade, "MAX_FRAGMENTS", 3)
    async with opened(lambda ws: [ws.send(["a"] * 3), ws.recv()]) as ws:
        error = await closed_of(ws)
        assert error.sent.code == 1009
        assert str(error.__cause__) == "fragmented message exceeds limit of 3 frames"
        assert type(error.__cause__) is websockets.exceptions.TooManyFragments


async def test_what_another_thread_calls_the_loop_may_await():
    def elsewhere(ws):
        def on_the_loop(coroutine):
            return asyncio.run_coroutine_threadsafe(coroutine, loop).result(20)

        for message in ("text", b"bytes", ["a", "b"]):
            on_the_loop(ws.send(message))
        taken = [on_the_loop(ws.recv()) for _ in range(3)]
        with pytest.raises(TypeError, match="iterable"):
            on_the_loop(ws.send(5))
        return taken

    loop = asyncio.get_running_loop()
    async with opened() as ws:
        assert await asyncio.to_thread(elsewhere, ws) == ["text", b"bytes", "ab"]


async def test_what_another_thread_calls_is_not_for_its_own_loop():
    async with opened() as ws:
        for call in (lambda: ws.send("x"), ws.recv):
            with pytest.raises(RuntimeError, match="belongs to the event loop of the thread"):
                await asyncio.to_thread(lambda call=call: asyncio.run(asyncio.wait_for(call(), 20)))


async def test_latency_is_what_the_ping_said():
    async with opened() as ws:
        for _ in range(5):
            assert await (await ws.ping()) == ws.latency > 0


@pytest.mark.parametrize("is_async", [False, True])
async def test_an_iterable_that_raises_leaves_the_connection_closed(is_async):
    def pieces():
        yield "x"
        raise KeyError("gone")

    async def later():
        for piece in pieces():
            yield piece

    async with opened() as ws:
        with pytest.raises(KeyError):
            await ws.send(later() if is_async else pieces())
        assert (ws.state, ws.close_code) == (websockets.State.CLOSED, 1006)


async def test_arguments_of_close_that_cannot_be_are_named():
    async with opened() as ws:
        with pytest.raises(TypeError, match=r"^code is a close code .* not 'bye'$"):
            await ws.close("bye")
        with pytest.raises(TypeError, match=r"^reason is a str, not 5$"):
            await ws.close(1000, 5)
        await ws.send("open")
        assert await ws.recv() == "open"
