"""Sending: what may be sent, the send queue's bounds, waiting for room, fragments (_policy.py, rust/py/src/conn.rs)."""

import array
import asyncio
import datetime as dt
import gc
import json
import random
import threading
import time
import warnings

import pytest

import fastws
from peers import BINARY, CLOSE, TEXT, Frame, Gate, Peer, Wire, ignoring_the_end

SMALL = 16_384
"""Socket buffers with which backpressure shows early."""


def stalled(gate):
    """A script that reads nothing before `gate` is open, and then everything."""

    def script(wire):
        gate.wait()
        frames = wire.read_to_close()
        wire.send(bytes((0x80 | CLOSE, 2)) + frames[-1].payload[:2])
        wire.end()
        return frames[:-1]

    return script


def peer_that_stalls(gate, **options):
    return Peer(stalled(gate), buffers=SMALL, **options)


async def fill(ws, message=b"x" * 4096):
    """Sends until the queue takes no more; returns how many messages it took."""
    number = 0
    while True:
        try:
            ws.send_nowait(message)
        except fastws.SendQueueFull:
            # What the kernel takes in the meantime leaves room again.
            await asyncio.sleep(0.01)
            try:
                ws.send_nowait(message)
            except fastws.SendQueueFull:
                return number
        number += 1


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


# Backpressure.


@pytest.mark.parametrize("tls", [False, True], ids=["tcp", "tls"])
async def test_above_write_limit_send_waits_until_the_peer_has_read(tls):
    gate = Gate()
    with peer_that_stalls(gate, tls=tls) as peer:
        async with peer.connect(write_limit=(1 << 16, 1 << 14)) as ws:
            number, sending = 0, None
            while True:
                sending = asyncio.ensure_future(ws.send(number.to_bytes(4096, "big")))
                number += 1
                done, _ = await asyncio.wait([sending], timeout=0.3)
                if not done:
                    break
            waiting = ws.stats()
            assert waiting.send_queue_bytes > 1 << 16
            gate.open()
            await sending
            assert ws.stats().send_queue_bytes <= 1 << 14
    assert [int.from_bytes(frame.payload, "big") for frame in peer.results[0]] == list(range(number))


@pytest.mark.parametrize(
    ("options", "size"),
    [({"max_send_queue": 10}, 20_000), ({"max_send_bytes": 100_000}, 5_000)],
    ids=["messages", "bytes"],
)
async def test_the_send_queue_is_bounded_and_send_nowait_says_so(options, size):
    gate = Gate()
    with peer_that_stalls(gate) as peer:
        async with peer.connect(**options) as ws:
            # More than the kernels' buffers hold, so that the rest is ours.
            taken = await fill(ws, b"x" * size)
            stats = ws.stats()
            assert stats.send_queue_messages <= options.get("max_send_queue", 1 << 30)
            assert stats.send_queue_bytes <= options.get("max_send_bytes", 1 << 30)
            with pytest.raises(fastws.SendQueueFull, match=f"{stats.send_queue_messages} messages"):
                ws.send_nowait(b"x" * size)
            # Pings and the Close frame have a room of their own.
            await ws.ping()
            gate.open()
    frames = [frame for frame in peer.results[0] if frame.opcode == BINARY]
    assert len(frames) == taken
    assert {frame.payload for frame in frames} == {b"x" * size}


async def test_those_who_wait_for_room_are_served_in_the_order_in_which_they_came():
    gate = Gate()
    with peer_that_stalls(gate) as peer:
        async with peer.connect(max_send_bytes=65_536) as ws:
            filled = await fill(ws)
            tasks = [asyncio.create_task(ws.send(b"%05d" % number * 800)) for number in range(50)]
            await asyncio.sleep(0)
            assert not any(task.done() for task in tasks)
            # Somebody who comes later, with a smaller message, passes nobody.
            with pytest.raises(fastws.SendQueueFull):
                ws.send_nowait(b"!")
            gate.open()
            await asyncio.gather(*tasks)
    assert [int(frame.payload[:5]) for frame in peer.results[0][filled:]] == list(range(50))


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


async def test_a_send_that_waits_can_be_thrown_into_and_closed():
    gate = Gate()
    with peer_that_stalls(gate) as peer:
        async with peer.connect(max_send_bytes=65_536) as ws:
            await fill(ws)
            thrown, closed = ws.send(b"x" * 4096), ws.send(b"y" * 4096)
            for waiting in (thrown, closed):
                assert asyncio.isfuture(waiting.send(None))
            with pytest.raises(KeyError):
                thrown.throw(KeyError("in"))
            closed.close()
            with pytest.raises(RuntimeError):
                closed.send(None)
            gate.open()
            await ws.send(b"last")  # nobody is counted as waiting any more
    assert peer.results[0][-1].payload == b"last"


async def test_send_threadsafe_keeps_what_may_change():
    with Peer(lambda wire: wire.answer_close()) as peer:
        async with peer.connect() as ws:
            message = bytearray(b"before")
            future = ws.send_threadsafe(message)
            message[:] = b"after!"
            await asyncio.wrap_future(future)
    assert peer.results[0][0].payload == b"before"


async def test_a_message_in_fragments_passes_nobody_who_waits_for_room():
    gate = Gate()
    with peer_that_stalls(gate) as peer:
        async with peer.connect(max_send_bytes=65_536) as ws:
            filled = await fill(ws)
            # There is room for the fragments, and for nothing else.
            tasks = [asyncio.create_task(ws.send(b"f" * 4000)), asyncio.create_task(ws.send(generator(b"1", b"2")))]
            await asyncio.sleep(0)
            assert not any(task.done() for task in tasks)
            gate.open()
            await asyncio.gather(*tasks)
    assert [frame.payload for frame in peer.results[0][filled:]] == [b"f" * 4000, b"1", b"2"]


async def test_one_who_waits_for_room_and_is_cancelled_sends_nothing_and_blocks_nobody():
    gate = Gate()
    with peer_that_stalls(gate) as peer:
        async with peer.connect(max_send_bytes=65_536) as ws:
            filled = await fill(ws)
            tasks = [asyncio.create_task(ws.send(b"%05d" % number * 800)) for number in range(40)]
            await asyncio.sleep(0)
            chosen = random.Random(7).sample(range(40), 20)
            for number in chosen:
                tasks[number].cancel()
            gate.open()
            results = await asyncio.gather(*tasks, return_exceptions=True)
            assert [number for number in range(40) if results[number] is not None] == sorted(chosen)
            assert all(isinstance(results[number], asyncio.CancelledError) for number in chosen)
            # Nobody is counted as waiting any more.
            ws.send_nowait(b"last")
    left = [int(frame.payload[:5]) for frame in peer.results[0][filled:-1]]
    assert left == [number for number in range(40) if number not in chosen]
    assert peer.results[0][-1].payload == b"last"


@pytest.mark.parametrize("ending", ["reset", "close", "abort"])
async def test_those_who_wait_for_room_hear_of_the_end(ending):
    gate = Gate()

    @ignoring_the_end
    def script(wire):
        gate.wait()
        if ending == "reset":
            wire.reset()
        elif ending == "close":
            wire.read_to_end()

    with Peer(script, buffers=SMALL) as peer:
        ws = await peer.connect(max_send_bytes=65_536, close_timeout=0.3)
        await fill(ws)
        tasks = [asyncio.create_task(ws.send(b"x" * 60_000)) for _ in range(5)]
        await asyncio.sleep(0)
        if ending == "abort":
            ws._abort("enough")
        elif ending == "close":
            closing = asyncio.create_task(ws.close())
            await asyncio.sleep(0)
        gate.open()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert [type(result) for result in results] == [
            fastws.ConnectionClosedOK if ending == "close" and ws.close_code == 1000 else type(results[0])
        ] * 5
        assert all(isinstance(result, fastws.ConnectionClosed) for result in results)
        if ending == "close":
            await closing


async def test_one_who_waits_above_write_limit_hears_of_the_end():
    gate = Gate()
    with Peer(lambda wire: (gate.wait(), wire.reset()), buffers=SMALL) as peer:
        # It is over at once, not when closing has lasted too long.
        ws = await peer.connect(close_timeout=None)
        sending = asyncio.create_task(ws.send(b"x" * 5_000_000))
        await asyncio.sleep(0)
        gate.open()
        with pytest.raises(fastws.ConnectionClosedError):
            await sending
        await ws.wait_closed()


async def test_what_waits_after_the_peers_half_close_costs_no_processor_and_ends_with_the_peer():
    ended, gone = Gate(), Gate()

    def script(wire):
        wire.half_close()
        ended.open()
        gone.wait()
        wire.reset()

    with Peer(script, buffers=SMALL) as peer:
        ws = await peer.connect(close_timeout=None)
        sending = asyncio.create_task(ws.send(b"x" * 5_000_000))
        await ended.opened()
        with pytest.raises(fastws.ConnectionClosedError):
            await ws.recv()
        before = time.process_time()
        await asyncio.sleep(0.4)
        assert time.process_time() - before < 0.2
        assert not sending.done()
        gone.open()
        with pytest.raises(fastws.ConnectionClosedError):
            await sending
        await ws.wait_closed()


async def test_one_who_waits_above_write_limit_may_be_cancelled_and_the_message_leaves():
    gate = Gate()
    with peer_that_stalls(gate) as peer:
        async with peer.connect() as ws:
            sending = asyncio.create_task(ws.send(b"x" * 5_000_000))
            await asyncio.sleep(0)
            sending.cancel()
            with pytest.raises(asyncio.CancelledError):
                await sending
            gate.open()
    assert [len(frame.payload) for frame in peer.results[0]] == [5_000_000]


async def test_a_message_for_which_there_was_no_room_and_that_nobody_awaited_is_warned_of():
    gate = Gate()
    with peer_that_stalls(gate) as peer:
        async with peer.connect(max_send_bytes=65_536) as ws:
            filled = await fill(ws)
            with pytest.warns(RuntimeWarning, match="a message of 60000 bytes was not sent"):
                ws.send(b"x" * 60_000)
                gc.collect()
            gate.open()
    assert len(peer.results[0]) == filled


async def test_a_message_that_was_accepted_needs_no_await_and_no_warning():
    with Peer(lambda wire: wire.answer_close()) as peer, warnings.catch_warnings():
        warnings.simplefilter("error")
        async with peer.connect() as ws:
            ws.send("1")
            gc.collect()
    assert peer.results[0][0].payload == b"1"


# send(timeout=).


async def test_timeout_without_room_sends_nothing_and_says_so():
    gate = Gate()
    with peer_that_stalls(gate) as peer:
        async with peer.connect(max_send_bytes=65_536) as ws:
            filled = await fill(ws)
            with pytest.raises(TimeoutError, match=r"not sent: .* no room within 0\.05 s .*messages, .*bytes wait"):
                await ws.send(b"x" * 60_000, timeout=0.05)
            with pytest.raises(TimeoutError, match="within 0 s"):
                await ws.send(b"x" * 60_000, timeout=0)
            gate.open()
            await ws.send(b"y" * 60_000, timeout=20)
    assert [frame.payload[:1] for frame in peer.results[0][filled:]] == [b"y"]


async def test_timeout_above_write_limit_ends_the_wait_and_the_message_leaves():
    gate = Gate()
    with peer_that_stalls(gate) as peer:
        async with peer.connect() as ws:
            await ws.send(b"x" * 5_000_000, timeout=0.05)
            assert ws.stats().send_queue_bytes > 1 << 16
            gate.open()
    assert [len(frame.payload) for frame in peer.results[0]] == [5_000_000]


async def test_a_timeout_may_be_a_timedelta():
    with Peer(lambda wire: wire.answer_close()) as peer:
        async with peer.connect() as ws:
            await ws.send("x", timeout=dt.timedelta(seconds=1))
            with pytest.raises(TimeoutError, match=r"not sent within 0\.05 s: nothing"):
                await ws.send(never(), timeout=dt.timedelta(milliseconds=50))


async def never():
    await asyncio.Event().wait()
    yield "x"


@pytest.mark.parametrize("wrong", ["1", b"1", object()], ids=["str", "bytes", "object"])
async def test_a_timeout_that_is_no_number_is_a_type_error(wrong):
    with Peer() as peer:
        async with peer.connect() as ws:
            with pytest.raises(TypeError, match="timeout"):
                await ws.send("x", timeout=wrong)
            assert ws.stats().messages_sent == 0


async def test_timeout_within_fragments_closes_only_if_a_part_was_sent():
    forever = asyncio.Event()

    async def pieces(*before):
        for piece in before:
            yield piece
        await forever.wait()

    with Peer(lambda wire: wire.answer_close()) as peer:
        async with peer.connect() as ws:
            with pytest.raises(TimeoutError, match=r"not sent within 0\.05 s: nothing"):
                await ws.send(pieces("1"), timeout=0.05)
            assert ws.state == fastws.State.OPEN
            with pytest.raises(TimeoutError, match=r"not sent within 0\.05 s: a part"):
                await ws.send(pieces("1", "2"), timeout=0.05)
            await ws.wait_closed()
    assert peer.results[0][0] == Frame(TEXT, b"1", fin=False)
    assert peer.results[0][1].payload[:2] == (1011).to_bytes(2, "big")


async def test_a_timeout_error_of_the_pieces_stays_what_it_is():
    async def pieces():
        yield "1"
        raise TimeoutError("mine")

    with Peer(lambda wire: wire.answer_close()) as peer:
        async with peer.connect() as ws:
            with pytest.raises(TimeoutError, match="mine"):
                await ws.send(pieces())


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
