"""rust/py/src/ring/{feed,store}.rs: what connections receive is in the ring, in order, and nothing else is."""

import asyncio
import gc
import threading
import weakref

import pytest

import fastws
from fastws import ConcurrencyError, ConnectionClosed, Listener, Stream, _core, _policy
from fastws._options import Special
from fastws.testing import Server
from peers import CLOSE, Gate, Peer, frame, ignoring_the_end, numbered, text, until_paused
from rings import WATER, attached, feed, push, rest, ring, take, waits


def flood(count):
    return lambda wire: (wire.send(numbered(range(count))), wire.close())


def endless(chunk, blocked):
    """Sends it again and again; opens `blocked` when the client takes no more."""

    @ignoring_the_end
    def script(wire):
        wire.send_until_blocked(chunk)
        blocked.open()
        wire.finish()
        while True:
            wire.send(chunk)

    return script


@pytest.mark.parametrize("tls", [False, True], ids=["tcp", "tls"])
async def test_every_stream_gets_every_message_in_order(tls):
    with Server(tls=tls) as server:
        messages = ring()
        streams = [Stream(messages) for _ in range(3)]
        options = {"tls": fastws.TlsConfig(ca=server.ca_pem)} if tls else {}
        session = feed(messages, fastws.connect(server.url("/blast?n=50000&size=40&seq=1"), **options))
        tasks = [asyncio.create_task(rest(stream)) for stream in streams]
        await session
        messages._end(None)
        for got in await asyncio.gather(*tasks):
            assert [int.from_bytes(message[:8], "little") for message in got] == [*range(50_000)]
        assert all(stream.seq == 50_000 for stream in streams)
        assert messages.retained == messages.retained_bytes == 0


@pytest.mark.parametrize("size", [1, 1000, 20_000, 300_000])
async def test_messages_of_every_size_arrive_whole(size):
    with Server() as server:
        messages = ring()
        plain, parsed = Stream(messages), Stream(messages, decode=len)
        session = asyncio.create_task(feed(messages, fastws.connect(server.url(f"/blast?n=20&size={size}&text=1"))))
        lengths, texts = await asyncio.gather(take(parsed, 20), take(plain, 20))
        await session
        assert lengths == [size] * 20
        assert [len(message) for message in texts] == [size] * 20
        assert all(isinstance(message, str) for message in texts)


async def test_what_waited_in_the_connection_comes_first_with_its_own_stamps():
    first, second = Gate(), Gate()

    def script(wire):
        wire.send(numbered(range(3)))
        first.wait()
        wire.send(numbered(range(3, 5)))
        second.wait()
        wire.send(numbered(range(5, 7)))
        wire.close()

    with Peer(script) as peer:
        ws = await peer.connect()
        while ws.stats().receive_queue_messages < 3:
            await asyncio.sleep(0.001)
        first.open()
        while ws.stats().receive_queue_messages < 5:
            await asyncio.sleep(0.001)
        messages = ring()
        stream = Stream(messages, markers=True)
        messages._attach(ws, 3, 4, "line")
        second.open()
        got = await take(stream, 7)
        await ws.wait_closed()
    assert [message.data for message in got] == [str(number) for number in range(7)]
    assert [message.seq for message in got] == [*range(1, 8)]
    moments = [message.received_mono_ns for message in got]
    assert moments == sorted(moments)
    assert moments[0] == moments[2] < moments[3] == moments[4] < moments[5]
    assert {(message.generation, message.connection_id, message.source) for message in got} == {(3, 4, "line")}


@pytest.mark.loop_driver("a transport's reads have no stamps of the kernel's")
async def test_kernel_timestamps_are_those_of_the_reads():
    with Server() as server:
        messages = ring()
        stream = Stream(messages, markers=True)
        url = server.url("/paced?rate=200&n=20&size=16")
        await asyncio.gather(feed(messages, fastws.connect(url, kernel_timestamps=True)), take(stream, 19))
        last = await stream.recv()
        assert last.kernel_ns is not None
        assert 0 <= last.received_ns - last.kernel_ns < 10**9
        assert stream.kernel_ns == last.kernel_ns


async def test_everything_received_is_in_the_ring_before_the_end_is_known():
    for _ in range(20):
        with Peer(flood(500)) as peer:
            messages = ring(10**9)
            ws = await peer.connect()
            messages._attach(ws, 1, 1)
            await ws.wait_closed()
            assert messages.seq == 500


async def test_detaching_leaves_nothing_behind_and_takes_nothing_more():
    gate = Gate()

    def script(wire):
        wire.send(numbered(range(10)))
        gate.wait()
        wire.send(numbered(range(10, 20)))
        wire.answer_close()

    with Peer(script) as peer:
        messages = ring()
        stream = Stream(messages)
        async with peer.connect() as ws:
            messages._attach(ws, 1, 1)
            assert await take(stream, 10) == [str(number) for number in range(10)]
            messages._detach(ws)
            messages._detach(ws)  # does nothing
            gate.open()
            assert await ws.recv() == "10"
            assert messages.seq == 10
            assert await waits(stream)
            messages._attach(ws, 2, 1)
            assert await take(stream, 9) == [str(number) for number in range(11, 20)]
            assert stream.generation == 2
            messages._detach(ws)


async def test_detaching_while_reading_is_paused_takes_what_was_read():
    blocked = Gate()
    with Peer(endless(numbered(range(1000)), blocked), buffers=16_384) as peer:
        messages = ring(100)
        stream = Stream(messages)
        ws = await peer.connect(max_queue=100)
        messages._attach(ws, 1, 1)
        await blocked.opened()
        await until_paused(ws)
        messages._detach(ws)
        assert not ws.stats().receive_paused
        got = await take(stream, stream.lag[0])
        assert got == [str(number % 1000) for number in range(len(got))]
        assert len(got) == messages.seq > 100
        # The rest is the connection's again, and follows without a hole.
        assert await ws.recv() == str(len(got) % 1000)
        ws._abort("enough")


async def test_messages_flow_on_through_attach_and_detach():
    with Server() as server:
        messages = ring()
        stream = Stream(messages)
        ws = await fastws.connect(server.url("/blast?n=30000&size=16&seq=1"))
        task = asyncio.create_task(rest(stream))
        direct = []
        with pytest.raises(ConnectionClosed):
            while True:
                messages._attach(ws, 1, 1)
                await asyncio.sleep(0.0005)
                messages._detach(ws)
                direct.append(int.from_bytes((await ws.recv())[:8], "little"))
        messages._end(None)
        streamed = [int.from_bytes(message[:8], "little") for message in await task]
        assert streamed == sorted(streamed)
        assert sorted(streamed + direct) == [*range(30_000)]


async def test_two_connections_feed_one_ring_each_under_its_own_name():
    with Server() as server:
        messages = ring()
        stream = Stream(messages, markers=True)
        url = server.url("/blast?n=5000&size=16&seq=1")
        sessions = asyncio.gather(
            feed(messages, fastws.connect(url), 1, 1, "a"), feed(messages, fastws.connect(url), 1, 2, "b")
        )
        got = await take(stream, 10_000)
        await sessions
        assert [message.seq for message in got] == [*range(1, 10_001)]
        for name, connection in (("a", 1), ("b", 2)):
            mine = [message for message in got if message.source == name]
            assert {message.connection_id for message in mine} == {connection}
            assert [int.from_bytes(message.data[:8], "little") for message in mine] == [*range(5000)]


@pytest.mark.parametrize("tls", [False, True], ids=["tcp", "tls"])
async def test_a_slow_stream_makes_the_server_wait_and_loses_nothing(tls):
    blocked = Gate()

    def script(wire):
        chunk = numbered(range(1000))
        whole = wire.send_until_blocked(chunk)
        blocked.open()
        wire.finish()
        for _ in range(whole + 1, 500):
            wire.send(chunk)
        wire.close()
        return whole

    with Peer(script, buffers=16_384, tls=tls) as peer:
        messages = ring(100)
        slow, fast = Stream(messages), Stream(messages, capacity=10**6)
        quick = asyncio.create_task(rest(fast))
        ws = await peer.connect(max_queue=100)
        messages._attach(ws, 1, 1)
        await blocked.opened()
        await until_paused(ws)
        assert messages.is_full
        assert 100 <= messages.retained <= 100 + 2048
        assert slow.lag[0] == messages.retained
        got = []
        async for message in slow:
            got.append(message)
            if len(got) == 500_000:
                break
        await ws.wait_closed()
        messages._end(None)
        assert got == [str(number) for number in range(1000)] * 500
        assert await quick == got
    assert peer.results[0] < 490


async def test_a_limit_in_bytes_pauses_too():
    blocked = Gate()
    with Peer(endless(text("x" * 1000), blocked), buffers=16_384) as peer:
        messages = ring(10**6, 50_000)
        stream = Stream(messages)
        async with attached(messages, peer.connect(max_queue_bytes=50_000)) as ws:
            await blocked.opened()
            await until_paused(ws)
            assert 50_000 <= messages.retained_bytes <= 50_000 + (256 << 10)
            before = messages.retained
            await take(stream, before - 13)
            assert ws.stats().receive_paused
            await take(stream, 1)
            assert not ws.stats().receive_paused


async def test_before_the_first_stream_the_ring_keeps_what_comes_and_pauses_when_it_is_full():
    blocked = Gate()
    with Peer(endless(numbered(range(1000)), blocked), buffers=16_384) as peer:
        messages = ring(100)
        async with attached(messages, peer.connect()) as ws:
            await blocked.opened()
            await until_paused(ws)
            assert messages.retained >= 100
            first = Stream(messages)
            live = Stream(messages)
            assert await take(first, 5) == ["0", "1", "2", "3", "4"]
            oldest = Stream(messages, start="oldest")
            # A live stream has nothing yet, but the first had all the rest.
            assert live.lag == (0, 0)
            assert await oldest.recv() in ("0", "5")


async def test_without_a_stream_any_more_nothing_is_kept():
    messages = ring()
    push(messages, "a", "b")
    stream = Stream(messages)
    await stream.aclose()
    assert messages.retained == 0
    push(messages, "c")
    assert (messages.retained, messages.seq) == (0, 3)
    late = Stream(messages, start="oldest")
    push(messages, "d")
    assert await late.recv() == "d"
    assert late.seq == 4


async def test_pushed_messages_carry_what_they_are_given_and_the_session_begun():
    messages = ring()
    messages._begin(2, 5, "spare")
    messages._push("text", 11, 12, 13)
    messages._push(b"bytes", 21, 22)
    messages._push(bytearray(b"other"), 31, 32, None)
    stream = Stream(messages, markers=True)
    first, second, third = await take(stream, 3)
    assert (first.data, first.received_ns, first.received_mono_ns, first.kernel_ns) == ("text", 11, 12, 13)
    assert (first.generation, first.connection_id, first.source, first.seq) == (2, 5, "spare", 1)
    assert (second.data, second.kernel_ns, second.seq) == (b"bytes", None, 2)
    assert (third.data, type(third.data)) == (b"other", bytes)


async def test_who_pushes_waits_for_room():
    messages = ring(4, low=1)
    stream = Stream(messages)
    assert messages._room() is None
    push(messages, *"abcd")
    room = messages._room()
    assert not room.done()
    await take(stream, 2)
    assert not room.done()
    await stream.recv()
    assert room.done()
    assert messages._room() is None


async def test_a_stream_that_goes_makes_room():
    messages = ring(4, low=1)
    stream = Stream(messages)
    push(messages, *"abcd")
    rooms = [messages._room(), messages._room()]
    await stream.aclose()
    assert all(room.done() for room in rooms)
    stream = Stream(messages)
    push(messages, *"abcd")
    room = messages._room()
    del stream
    gc.collect()
    await asyncio.wait_for(room, 5)


async def test_a_connection_that_feeds_a_ring_is_read_by_nobody_else():
    with Peer() as peer:
        messages = ring()
        async with peer.connect() as ws:
            messages._attach(ws, 1, 1)
            with pytest.raises(ConcurrencyError, match="streams"):
                await ws.recv()
            with pytest.raises(ConcurrencyError):
                ring()._attach(ws, 1, 1)
            messages._detach(ws)
            reader = asyncio.create_task(ws.recv())
            await asyncio.sleep(0)
            with pytest.raises(ConcurrencyError):
                messages._attach(ws, 1, 1)
            reader.cancel()

        class Take(Listener):
            def on_message(self, ws, message):
                pass

        async with peer.connect(listener=Take()) as ws:
            with pytest.raises(ConcurrencyError, match="listener"):
                messages._attach(ws, 1, 1)


def test_a_ring_takes_the_loop_of_its_first_use_and_may_move(run):
    messages = ring()
    push(messages, "before any loop")
    stream = Stream(messages)

    async def use():
        async def later():
            await asyncio.sleep(0)
            push(messages, "a")

        task = asyncio.create_task(later())
        got = [await stream.recv()]
        if len(got) < 2:
            got.append(await stream.recv())
        await task
        return got

    assert run(use()) == ["before any loop", "a"]
    push(messages, "between")
    assert run(use()) == ["between", "a"]


def test_a_ring_belongs_to_the_thread_of_its_loop(run):
    messages = ring()
    stream = Stream(messages)
    errors = []

    def elsewhere():
        for call in (lambda: stream.recv().send(None), lambda: push(messages, "x"), lambda: messages._end(None)):
            try:
                call()
            except RuntimeError as error:
                errors.append(str(error))

    async def use():
        assert await waits(stream)
        thread = threading.Thread(target=elsewhere)
        thread.start()
        await asyncio.to_thread(thread.join)

    run(use())
    assert len(errors) == 3
    assert all("belongs to the event loop of the thread" in error for error in errors)


async def test_who_blocks_is_named_with_how_long():
    messages = ring(4)
    slow, quick = Stream(messages), Stream(messages)
    other = Stream(messages, policy="drop_oldest", capacity=1)
    push(messages, *"abc")
    assert messages._blocked_by() is None
    push(messages, "d")
    await take(quick, 4)
    messages._room()
    stream, seconds = messages._blocked_by()
    assert stream is slow
    await asyncio.sleep(0.2)
    _, later = messages._blocked_by()
    assert later >= seconds + 0.15
    await slow.recv()
    assert messages._blocked_by() is None
    push(messages, *"ef")
    stream, seconds = messages._blocked_by()
    assert stream is slow
    assert seconds < later
    assert other.dropped


async def test_connection_and_ring_and_reader_are_collected_together():
    with Peer(ignoring_the_end(lambda wire: wire.read_to_end())) as peer:
        messages = ring()
        ws = await peer.connect()
        messages._attach(ws, 1, 1)
        known = weakref.ref(messages), weakref.ref(ws)
        with pytest.warns(ResourceWarning):
            del messages, ws
            gc.collect()
        assert [ref() for ref in known] == [None, None]


async def test_a_reader_that_nobody_else_holds_waits_on():
    gate = Gate()
    got = []

    def script(wire):
        gate.wait()
        # Together: nobody holds the connection once the message was read, so an end that comes later may find it gone.
        wire.send(text("a") + frame(CLOSE, b"\x03\xe8"))
        wire.read_to_close()
        wire.end()

    with Peer(script) as peer:

        async def start():
            messages = ring()
            ws = await peer.connect()
            messages._attach(ws, 1, 1)

            async def read():
                got.append(await Stream(messages).recv())

            asyncio.create_task(read())  # noqa: RUF006 - that nobody holds it is what is tested
            await asyncio.sleep(0)
            return weakref.ref(ws)

        ws = await start()
        gc.collect()
        assert ws() is not None
        gate.open()
        while not got:
            await asyncio.sleep(0.001)
        assert got == ["a"]
        while ws() is not None:
            gc.collect()
            await asyncio.sleep(0.001)


async def test_bad_arguments_are_refused():
    with pytest.raises(ValueError, match="water"):
        _core.Ring(None, _policy, (1, 2, 3))
    messages = _core.Ring(asyncio.get_running_loop(), _policy, WATER)
    with pytest.raises(TypeError):
        messages._push(3, 1, 1)
    with Peer() as peer:
        async with peer.connect(_special=Special("frames")) as ws:
            with pytest.raises(ValueError, match="whole messages"):
                messages._attach(ws, 1, 1)
