"""python/fastws/connection.py: what an open connection does, and how it ends."""

import asyncio
import gc
import threading
import time

import pytest

import fastws
from fastws import ConnectionClosedError, State
from fastws._options import Special
from peers import BINARY, PING, PONG, TEXT, Frame, Gate, Peer, binary, frame, numbered, text


async def test_text_is_str_and_binary_is_bytes():
    with Peer(lambda wire: (wire.send(text("grüß"), binary(b"\x00\xff")), wire.answer_close())) as peer:
        async with peer.connect() as ws:
            assert await ws.recv() == "grüß"
            assert await ws.recv() == b"\x00\xff"


async def test_decode_gives_the_kind_that_is_asked_for():
    def script(wire):
        wire.send(text("ä"), binary(b"abc"), text("ö"), binary(b"\xff"))
        wire.answer_close()

    with Peer(script) as peer:
        async with peer.connect() as ws:
            assert await ws.recv(decode=False) == "ä".encode()
            assert await ws.recv(decode=True) == "abc"
            assert await ws.recv() == "ö"
            with pytest.raises(UnicodeDecodeError):
                await ws.recv(decode=True)


async def test_messages_bytes_gives_both_as_bytes():
    with Peer(lambda wire: (wire.send(text("ä"), binary(b"\x00")), wire.answer_close())) as peer:
        async with peer.connect(messages="bytes") as ws:
            assert [await ws.recv(), await ws.recv()] == ["ä".encode(), b"\x00"]


async def test_a_message_in_fragments_is_put_together():
    def script(wire):
        wire.send(frame(TEXT, "gr\xfc".encode()[:3], fin=False), frame(PING, b"!"))
        wire.send(frame(0, "gr\xfc".encode()[3:], fin=False), frame(0, b"n", fin=True))
        return wire.answer_close()

    with Peer(script) as peer:
        async with peer.connect() as ws:
            assert await ws.recv() == "grün"
    assert peer.results[0][0] == Frame(PONG, b"!")


@pytest.mark.parametrize("size", [0, 1, 125, 126, 65535, 65536, 300_000, 5_000_000])
async def test_a_message_of_any_size_arrives_and_leaves(size):
    payload = bytes(range(256)) * (size // 256 + 1)
    payload = payload[:size]

    def script(wire):
        wire.send(binary(payload))
        return wire.answer_close()

    with Peer(script) as peer:
        async with peer.connect() as ws:
            assert await ws.recv() == payload
            await ws.send(payload)
    assert peer.results[0][0] == Frame(BINARY, payload)


async def test_a_large_text_in_one_byte_steps_is_one_message():
    whole = text("ü" * 200)

    def script(wire):
        for at in range(len(whole)):
            wire.send(whole[at : at + 1])
        wire.answer_close()

    with Peer(script) as peer:
        async with peer.connect() as ws:
            assert await ws.recv() == "ü" * 200


async def test_timestamps_and_numbers_describe_the_message_last_taken():
    gate = Gate()

    def script(wire):
        wire.send(text("a"), text("b"))
        gate.wait()
        wire.send(text("c"))
        wire.answer_close()

    with Peer(script) as peer:
        async with peer.connect() as ws:
            assert (ws.seq, ws.received_ns, ws.received_mono_ns) == (0, 0, 0)
            before = time.time_ns(), time.monotonic_ns()
            first = await ws.recv(), ws.seq, ws.received_ns, ws.received_mono_ns
            second = await ws.recv(), ws.seq
            gate.open()
            third = await ws.recv(), ws.seq, ws.received_ns, ws.received_mono_ns
            after = time.time_ns(), time.monotonic_ns()
        assert (first[:2], second, third[:2]) == (("a", 1), ("b", 2), ("c", 3))
        assert first[2] < third[2] <= after[0]
        assert first[3] < third[3] <= after[1]
        assert before[0] - first[2] < 5e9


async def test_the_moment_is_taken_when_the_bytes_were_read_and_not_when_the_consumer_wakes():
    with Peer(lambda wire: (wire.send(text("a")), wire.answer_close())) as peer:
        async with peer.connect() as ws:
            reader = asyncio.create_task(ws.recv())
            await reader
            seen = ws.received_mono_ns
            time.sleep(0.02)  # a busy consumer, not a synchronisation
            assert ws.received_mono_ns == seen
            assert time.monotonic_ns() - seen >= 20_000_000


async def test_stats_count_both_directions():
    def script(wire):
        wire.send(text("abc"), frame(PING, b"x"), binary(b"1234"))
        wire.read_frames(2)
        wire.send(frame(PONG, b""))
        wire.answer_close()

    with Peer(script) as peer:
        async with peer.connect() as ws:
            assert [await ws.recv(), await ws.recv()] == ["abc", b"1234"]
            await ws.send("hello")
            stats = ws.stats()
            assert (stats.messages_received, stats.payload_received, stats.pings_received) == (2, 7, 1)
            assert (stats.messages_sent, stats.payload_sent, stats.pongs_sent) == (1, 5, 1)
            assert not stats.receive_paused
        assert ws.stats().receive_queue_messages == 0


@pytest.mark.parametrize(
    ("raw", "code", "match"),
    [
        (b"\x83\x00", 1002, "opcode"),
        (b"\x91\x00", 1002, "reserved"),
        (b"\x81\x81abcd\x00", 1002, "mask"),
        (frame(TEXT, b"\xff"), 1007, "UTF-8"),
        (frame(0, b""), 1002, "continuation"),
        (b"\x82\x7f\x80" + b"\0" * 7, 1002, ""),
    ],
)
async def test_a_peer_that_breaks_the_protocol_is_told_so(raw, code, match):
    def script(wire):
        wire.send(text("before"), raw)
        return wire.read_to_end()

    with Peer(script) as peer:
        ws = await peer.connect()
        assert await ws.recv() == "before"
        with pytest.raises(ConnectionClosedError) as caught:
            await ws.recv()
        assert isinstance(caught.value.__cause__, fastws.ProtocolError)
        assert match in str(caught.value)
        await ws.wait_closed()
    assert peer.results[0][-1].payload[:2] == code.to_bytes(2, "big")


async def test_a_message_over_max_size_closes_with_1009():
    def script(wire):
        wire.send(binary(b"x" * 1000), b"\x82\x7e" + (1001).to_bytes(2, "big"))
        return wire.read_to_end()

    with Peer(script) as peer:
        ws = await peer.connect(max_size=1000)
        assert len(await ws.recv()) == 1000
        with pytest.raises(ConnectionClosedError) as caught:
            await ws.recv()
        assert isinstance(caught.value.__cause__, fastws.PayloadTooBig)
        await ws.close()
    assert peer.results[0][-1].payload[:2] == (1009).to_bytes(2, "big")


async def test_leaving_the_block_by_an_exception_closes_with_1011():
    with Peer() as peer:
        with pytest.raises(ZeroDivisionError):
            async with peer.connect():
                raise ZeroDivisionError
    assert peer.results[0][-1].payload == b"\x03\xf3"


async def test_a_connection_shows_itself_without_secrets():
    with Peer(lambda wire: (wire.answer_close(), wire.request)[1]) as peer:
        url = peer.url.replace("ws://", "ws://user:secret@") + "feed?token=secret"
        async with fastws.connect(url) as ws:
            shown = repr(ws) + ws.uri + str(ws.remote_address)
            assert "secret" not in shown
            assert "open" in repr(ws)
            assert ws.remote_address == ("127.0.0.1", peer.port)
            assert ws.request.path == "/feed?token=secret"
            assert ws.response.status_code == 101
    assert b"Authorization: Basic dXNlcjpzZWNyZXQ=" in peer.results[0]


async def test_bytes_glued_behind_the_answer_are_frames():
    def script(wire):
        wire.upgrade(behind=text("first") + text("second"))
        wire.answer_close()

    with Peer(script, upgrade=False) as peer:
        async with peer.connect() as ws:
            assert [await ws.recv(), await ws.recv()] == ["first", "second"]


async def test_every_call_from_another_thread_is_refused_and_names_the_owner():
    calls = [
        lambda ws: ws.send("x").send(None),
        lambda ws: ws.send(iter(["x"])).send(None),
        lambda ws: ws.send_nowait("x"),
        lambda ws: ws.recv().send(None),
        lambda ws: ws.batches(),
        lambda ws: anext(ws).send(None),
        lambda ws: ws.ping().send(None),
        lambda ws: ws.pong().send(None),
        lambda ws: ws.close().send(None),
        lambda ws: ws.wait_closed().send(None),
        lambda ws: ws.stats(),
        lambda ws: ws.fileno(),
    ]

    def elsewhere(ws):
        errors = []
        for call in calls:
            with pytest.raises(RuntimeError) as caught:
                call(ws)
            errors.append(str(caught.value))
        # What only tells is no call; a log may show the connection anywhere.
        assert ws.state == State.OPEN
        assert "open" in repr(ws)
        return errors

    with Peer(lambda wire: wire.answer_close()) as peer:
        async with peer.connect() as ws:
            for error in await asyncio.to_thread(elsewhere, ws):
                assert repr(threading.current_thread().name) in error
                assert "send_threadsafe" in error
            assert ws.stats().messages_sent == 0


async def test_what_another_thread_calls_the_loop_may_await(fastws_server):
    """As `run_coroutine_threadsafe` has it: any coroutine function is called there, and runs here."""

    def elsewhere(ws):
        def on_the_loop(coroutine):
            return asyncio.run_coroutine_threadsafe(coroutine, loop).result(20)

        for message in ("text", b"bytes", ["a", "b"], bytearray(b"more")):
            assert on_the_loop(ws.send(message)) is None
        taken = [on_the_loop(ws.recv()), on_the_loop(anext(ws)), on_the_loop(ws.recv(decode=False))]
        with pytest.raises(TypeError, match="not int"):
            on_the_loop(ws.send(5))
        return taken

    loop = asyncio.get_running_loop()
    async with fastws.connect(fastws_server.url("/echo")) as ws:
        assert await asyncio.to_thread(elsewhere, ws) == ["text", b"bytes", b"ab"]
        assert await ws.recv() == b"more"


async def test_a_recv_that_is_forgotten_is_warned_of_at_the_next_or_by_close_and_takes_no_message():
    said = "coroutine 'Connection.recv' was never awaited"
    with Peer(lambda wire: (wire.send(numbered(range(3))), wire.answer_close())) as peer:
        async with peer.connect() as ws:
            ws.recv()
            with pytest.warns(RuntimeWarning, match=said):
                assert await ws.recv() == "0"
            ws.recv().close()
            assert await ws.recv() == "1"
            kept = ws.recv()
            ws.recv()
            with pytest.warns(RuntimeWarning, match=said):
                await ws.close()
            assert await kept == "2"


async def test_a_task_of_recv_is_called_so_in_a_list_of_tasks():
    with Peer(lambda wire: wire.answer_close()) as peer:
        async with peer.connect() as ws:
            task = asyncio.create_task(ws.recv())
            await asyncio.sleep(0)
            assert "coro=<Connection.recv()>" in repr(task)
            for coroutine, name in ((task.get_coro(), "recv"), (anext(ws), "__anext__"), (ws.send("x"), "send")):
                assert (coroutine.__name__, coroutine.__qualname__) == (name, f"Connection.{name}")
                coroutine.close()


async def test_a_recv_called_here_and_awaited_in_another_thread_takes_no_message():
    def elsewhere(awaitables):
        errors = []
        for awaitable in awaitables:
            with pytest.raises(RuntimeError, match="belongs to the event loop of the thread") as caught:
                awaitable.send(None)
            errors.append(str(caught.value))
        return errors

    with Peer(lambda wire: (wire.send(numbered(range(3))), wire.answer_close())) as peer:
        async with peer.connect() as ws:
            assert await ws.recv() == "0"
            while ws.stats().receive_queue_messages < 2:
                await asyncio.sleep(0)
            awaitables = [ws.recv(), anext(ws), ws.recv(decode=False), anext(ws.batches())]
            for error in await asyncio.to_thread(elsewhere, awaitables):
                assert repr(threading.current_thread().name) in error
            assert [await ws.recv(), await ws.recv()] == ["1", "2"]


async def test_a_recv_awaited_in_another_thread_while_nothing_is_there_does_not_become_the_reader():
    gate = Gate()
    with Peer(lambda wire: (gate.wait(), wire.send(text("late")), wire.answer_close())) as peer:
        async with peer.connect() as ws:
            awaitable = ws.recv()

            def elsewhere():
                with pytest.raises(RuntimeError, match="belongs to the event loop of the thread"):
                    asyncio.run(asyncio.wait_for(awaitable, 20))

            await asyncio.to_thread(elsewhere)
            gate.open()
            assert await ws.recv() == "late"


@pytest.mark.parametrize(
    ("take", "options"),
    [
        (lambda ws: ws.recv(), {}),
        (lambda ws: ws.recv(decode=False), {}),
        (lambda ws: anext(ws.batches()), {}),
        (lambda ws: ws.recv(), {"messages": "view"}),
        (lambda ws: ws.recv(), {"_special": Special("frames")}),
    ],
    ids=["recv", "decode", "batches", "view", "frames"],
)
async def test_a_finalizer_may_use_the_connection_at_any_moment(take, options):
    """Collections begin wherever something is allocated: also while the connection is at work."""
    problems, calls = [], 0

    def use(phase, info):
        nonlocal calls
        if threading.current_thread() is not threading.main_thread():
            return
        calls += 1
        try:
            ws.stats()
            ws.send_nowait("collected")
        except BaseException as error:
            problems.append(error)

    def script(wire):
        for number in range(300):
            wire.send(text(str(number)))
            wire.read_frame()
        wire.answer_close()

    with Peer(script) as peer:
        async with peer.connect(**options) as ws:
            before = gc.get_threshold()
            gc.callbacks.append(use)
            gc.set_threshold(1, 1, 1)
            try:
                kept = []
                while (taken := ws.seq) < 300:
                    kept += [[] for _ in range(taken % 5)]  # so that the next is due elsewhere each time
                    assert await take(ws)
                    for _ in range(taken, ws.seq):
                        ws.send_nowait(b"")
            finally:
                gc.callbacks.remove(use)
                gc.set_threshold(*before)
    assert not problems
    assert calls > 20


@pytest.mark.parametrize("delivery", ["mixed", "frames"])
async def test_delivery_of_pieces_gives_opcode_fin_rsv_and_payload(delivery):
    """What drop-in layers build upon: each piece as it comes, large ones and those of one read alike."""
    large = b"l" * 300_000

    def script(wire):
        wire.send(frame(TEXT, "ż".encode()[:1], fin=False), frame(PING, b"p"), frame(0, "ż".encode()[1:]))
        wire.send(frame(BINARY, large), text("end"))
        return wire.answer_close()

    with Peer(script) as peer:
        async with peer.connect(_special=Special(delivery)) as ws:
            got = [await ws._recv_piece()]
            while got[-1][3] != b"end":
                got.append(await ws._recv_piece())
            expected = [
                (TEXT, False, 0, b"\xc5"),
                (PING, True, 0, b"p"),
                (0, True, 0, b"\xbc"),
                (BINARY, True, 0, large),
                (TEXT, True, 0, b"end"),
            ]
            if delivery == "mixed":
                # Control frames are none, and each has the opcode of its message.
                expected[1:3] = [(TEXT, True, 0, b"\xbc")]
            assert got == expected
            assert ws.stats().receive_queue_bytes == 0
    assert [answer.payload for answer in peer.results[0] if answer.opcode == PONG] == [b"p"]


async def test_several_messages_have_an_order(fastws_server):
    async with fastws.connect(fastws_server.url("/echo")) as ws:
        for wrong in ({"op": "subscribe"}, {"a"}, 5):
            with pytest.raises(TypeError, match="in order"):
                await ws.send_many(wrong)
        with pytest.raises(TypeError, match="str or bytes-like, not int"):
            ws.send_threadsafe(5)


@pytest.mark.parametrize(
    ("call", "error", "match"),
    [
        (lambda ws: ws.recv(decode=5), TypeError, "decode is True, False or None, not 5"),
        (lambda ws: ws.send("x", text="no"), TypeError, "text is True, False or None, not 'no'"),
        (lambda ws: ws.send_nowait("x", 1), TypeError, "text is True, False or None, not 1"),
        (lambda ws: ws.send("x", compress="z"), TypeError, "compress is True, False or None, not 'z'"),
        (lambda ws: ws.send_nowait("x", compress=1), TypeError, "compress is True, False or None, not 1"),
        (lambda ws: ws.batches("many"), TypeError, r"max_messages is a number \(int\); not 'many'"),
        (lambda ws: ws.batches(True), TypeError, r"max_messages is a number \(int\); not True"),
        (lambda ws: ws.batches(max_bytes=1.5), TypeError, r"max_bytes is a number \(int\), or None.*; not 1\.5"),
        (lambda ws: ws.batches(max_bytes=0), ValueError, "max_bytes must be at least 1, or None.*; not 0"),
        (lambda ws: ws.batches(max_wait="x"), TypeError, "max_wait is seconds .*, not 'x'"),
        (lambda ws: ws.close("a"), TypeError, r"code is a close code \(int\) such as 1000, not 'a'"),
        (lambda ws: ws.close(None), TypeError, "code is a close code"),
        (lambda ws: ws.close(1000, 5), TypeError, "reason is a str, not 5"),
    ],
)
async def test_a_wrong_argument_is_named_and_changes_nothing(fastws_server, call, error, match):
    async with fastws.connect(fastws_server.url()) as ws:
        with pytest.raises(error, match=match):
            await call(ws)
        await ws.send("x")
        assert await ws.recv() == "x"
