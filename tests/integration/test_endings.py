"""What is left by an exception that ends the program in the middle of a dispatch, by a peer that ends while reading is
paused, and by those who wait and give up.
"""

import asyncio
import contextlib
import gc
import os
import socket
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

import fastws
from fastws import _loop_io
from peers import CLOSE, Gate, Peer, frame, ignoring_the_end, numbered, text, until_paused


class Exits(fastws.Listener):
    """Keeps what it gets, and ends the program at a message that says so."""

    def __init__(self):
        self.kept = []

    def on_message(self, ws, message):
        self.kept.append(message)
        if bytes(message[:4] if isinstance(message, bytes) else message)[:4] == b"exit":
            ws.send_nowait("one")
            ws.send_nowait("two")
            raise SystemExit("enough")


def run_until_exit(runner, coroutine):
    with pytest.raises(SystemExit, match="enough"):
        runner.run(coroutine)


def test_a_view_that_was_kept_by_a_callback_that_ended_the_program_is_valid(run):
    listener = Exits()

    @ignoring_the_end
    def script(wire):
        wire.send(frame(2, b"exit" + b"v" * 100))
        wire.read_to_end()

    connections = []

    async def main():
        connections.append(await peer.connect(listener=listener, messages="view", close_timeout=0.1))
        await connections[0].wait_closed()

    async def afterwards():
        await connections.pop().close()

    with Peer(script) as peer, asyncio.Runner(loop_factory=run.loop_factory) as runner:
        run_until_exit(runner, main())
        runner.run(afterwards())
        gc.collect()
    assert bytes(listener.kept[0]) == b"exit" + b"v" * 100


def test_what_was_sent_before_the_program_was_ended_leaves(run):
    gate = Gate()

    def script(wire):
        wire.send(frame(2, b"exit"))
        got = [wire.read_frame().payload for _ in range(2)]
        gate.open()
        wire.answer_close()
        return got

    connections = []

    async def main():
        connections.append(await peer.connect(listener=Exits(), messages="bytes"))
        await connections[0].wait_closed()

    async def afterwards():
        await gate.opened()
        await connections[0].close()

    with Peer(script) as peer, asyncio.Runner(loop_factory=run.loop_factory) as runner:
        run_until_exit(runner, main())
        runner.run(afterwards())
    assert peer.results == [[b"one", b"two"]]


def test_what_ends_the_program_costs_no_other_connection_its_moment(run):
    """A message that ends the program and the end of another connection's wait fall into one dispatch."""
    gate, sent = Gate(), Gate()

    @ignoring_the_end
    def says_exit(wire):
        gate.wait()
        wire.send(frame(2, b"exit"))
        sent.open()
        wire.read_to_end()

    @ignoring_the_end
    def is_silent(wire):
        wire.read_to_end()

    connections = []

    async def main():
        connections.append(await loud.connect(listener=Exits(), messages="bytes", close_timeout=0.1))
        connections.append(await silent.connect(close_timeout=0.3))
        closing = asyncio.create_task(connections[1].close())
        await asyncio.sleep(0)
        gate.open()
        sent.wait()
        time.sleep(0.6)  # blocks the loop: both are due when it goes on
        await closing

    async def afterwards():
        async with asyncio.timeout(5):
            await connections[1].wait_closed()
        connections.pop(0)._abort("done")

    with Peer(says_exit) as loud, Peer(is_silent) as silent, asyncio.Runner(loop_factory=run.loop_factory) as runner:
        run_until_exit(runner, main())
        runner.run(afterwards())


@pytest.mark.parametrize("name", ["on_open", "on_close"])
def test_who_waits_is_told_though_a_callback_ends_the_program(run, name):
    def leave(self, *args):
        raise SystemExit("enough")

    listener = type("Leaves", (Exits,), {name: leave})()
    loop = (run.loop_factory or asyncio.new_event_loop)()
    tasks = []

    async def main():
        ws = await peer.connect(listener=listener, open_timeout=None, close_timeout=None)
        await ws.wait_closed()
        return "told"

    async def begin():
        tasks.append(asyncio.create_task(main()))
        await tasks[0]

    with Peer(ignoring_the_end(lambda wire: wire.close())) as peer:
        try:
            with pytest.raises(SystemExit, match="enough"):
                loop.run_until_complete(begin())
            assert loop.run_until_complete(asyncio.wait_for(tasks[0], 5)) == "told"
        finally:
            loop.close()


def told_after_exit(run, peer, wait_for):
    """Whether `wait_closed()` of a connection ends, though `wait_for(ws)` ended the program; the loop runs on."""
    loop = (run.loop_factory or asyncio.new_event_loop)()
    kept = []

    async def begin():
        await wait_for(kept)

    async def afterwards():
        return await asyncio.wait_for(asyncio.shield(kept[0]), 5)

    try:
        with pytest.raises(SystemExit, match="enough"):
            loop.run_until_complete(begin())
        loop.run_until_complete(afterwards())
    finally:
        for task in asyncio.all_tasks(loop):
            task.cancel()
        loop.run_until_complete(asyncio.sleep(0))
        loop.close()


def test_who_waits_is_told_though_the_last_message_ends_the_program(run):
    """What a slow callback left is delivered at the end, and raises there."""
    gate, over, called = Gate(), Gate(), []

    class Slow(fastws.Listener):
        def on_message(self, ws, message):
            time.sleep(0.005)  # more than a run: the rest is left
            if message == "15":
                raise SystemExit("enough")

        def on_close(self, ws, info):
            called.append(info)

    def script(wire):
        gate.wait()
        wire.send(numbered(range(16)))
        wire.reset()
        over.open()

    async def wait_for(kept):
        ws = await peer.connect(listener=Slow())
        kept.append(asyncio.ensure_future(ws.wait_closed()))
        await asyncio.sleep(0)
        gate.open()
        over.wait()  # blocks the loop: messages and reset come together
        await asyncio.sleep(20)

    with Peer(ignoring_the_end(script)) as peer:
        told_after_exit(run, peer, wait_for)
    assert len(called) == 1


def test_who_waits_is_told_though_a_task_that_a_timer_woke_ends_the_program(run):
    async def reads(ws):
        try:
            await ws.recv()
        except fastws.ConnectionClosed:
            raise SystemExit("enough") from None

    async def wait_for(kept):
        ws = await peer.connect(ping_interval=0.05, ping_timeout=0.1, close_timeout=0.5)
        kept.append(asyncio.ensure_future(ws.wait_closed()))
        kept.append(asyncio.ensure_future(reads(ws)))
        await asyncio.sleep(20)

    def script(wire):
        wire.read_to_end()

    with Peer(ignoring_the_end(script)) as peer:
        told_after_exit(run, peer, wait_for)


@pytest.mark.parametrize("tls", [False, True], ids=["tcp", "tls"])
async def test_what_was_accepted_leaves_though_the_peer_ended_its_half(tls):
    gate = Gate()

    def script(wire):
        gate.wait()
        with socket.socket(fileno=os.dup(wire.sock.fileno())) as plain:
            plain.shutdown(socket.SHUT_WR)
        time.sleep(0.3)  # nothing is read: what was accepted waits in all the buffers on the way
        return wire.read_to_end()

    with Peer(script, buffers=4096, tls=tls) as peer, socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        sock.connect(("127.0.0.1", peer.port))
        ws = await peer.connect(close_timeout=20, sock=sock)
        for number in range(300):
            ws.send_nowait(b"%08d" % number + b"x" * 992)
        gate.open()
        await ws.wait_closed()
    arrived = [int(got.payload[:8]) for got in peer.results[0] if got.opcode == 2]
    assert arrived == list(range(300))


def test_a_flood_of_control_frames_is_read_in_time(run):
    """A hundred thousand pongs in a megabyte or less cost no more than as many messages."""

    def script(wire):
        wire.send(frame(10) * 300_000, text("behind"))
        wire.answer_close()

    async def main():
        async with peer.connect() as ws:
            before = time.process_time()
            assert await ws.recv() == "behind"
            assert time.process_time() - before < 5

    with Peer(script) as peer:
        run(main())


@pytest.mark.loop_driver("asyncio's transports tell no reset while reading is paused")
async def test_a_reset_while_reading_is_paused_ends_all_waits():
    blocked = Gate()

    def script(wire):
        wire.send_until_blocked(numbered(range(1000)))
        blocked.open()
        wire.sock.recv(1)
        wire.reset()

    with Peer(script, buffers=16_384) as peer:
        ws = await peer.connect(max_queue=100, ping_interval=None, close_timeout=None)
        await blocked.opened()
        await until_paused(ws)
        with pytest.raises(fastws.ConnectionClosedError):
            await ws.send(b"x" * 10_000_000)
        await ws.wait_closed()
        assert await ws.recv() == "0"


async def test_room_that_came_before_it_was_waited_for_is_taken():
    gate = Gate()

    def script(wire):
        gate.wait()
        frames = wire.read_to_close()
        wire.send(frame(CLOSE, frames[-1].payload))
        wire.end()
        return frames

    with Peer(script, buffers=16_384) as peer:
        ws = await peer.connect(max_send_bytes=100_000)
        sending = [ws.send(b"x" * 20_000) for _ in range(400)]
        gate.open()
        for one in sending:
            await one
        await ws.close()
    assert len(peer.results[0]) == 401


async def test_waiting_for_room_after_the_end_raises():
    gate = Gate()
    with Peer(lambda wire: (gate.wait(), wire.reset()), buffers=16_384) as peer:
        ws = await peer.connect(max_send_bytes=100_000)
        while type(waiting := ws.send(b"x" * 20_000)).__name__ != "send_when_room":
            pass
        gate.open()
        await ws.wait_closed()
        with pytest.raises(fastws.ConnectionClosedError):
            await waiting


async def test_those_who_gave_up_waiting_for_the_end_are_forgotten():
    gate = Gate()
    with Peer(ignoring_the_end(lambda wire: (gate.wait(), wire.read_to_end()))) as peer:
        ws = await peer.connect()
        for _ in range(50):
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(ws.wait_closed(), 0.0001)
        assert not [held for held in gc.get_referents(ws) if asyncio.isfuture(held)]
        ws._abort("done")
        gate.open()


class Passing:
    """A transport of somebody's: another one, without its socket when that is lost."""

    def __init__(self, transport, socket):
        self._transport, self._socket, self.is_lost = transport, socket, False

    def __getattr__(self, name):
        return getattr(self._transport, name)

    def get_extra_info(self, name, default=None):
        return self._socket() if self.is_lost else self._transport.get_extra_info(name, default)


def without_socket():
    raise ZeroDivisionError


class WithoutDescriptor:
    def fileno(self):
        raise ZeroDivisionError


def lost_through(monkeypatch, socket):
    class Lost(_loop_io._Protocol):
        transport = None

        def connection_made(self, transport):
            Lost.transport = Passing(transport, socket)
            super().connection_made(Lost.transport)

        def connection_lost(self, error):
            Lost.transport.is_lost = True
            super().connection_lost(error or OSError("made up"))

    monkeypatch.setattr(_loop_io, "_Protocol", Lost)


@pytest.mark.parametrize("socket", [without_socket, WithoutDescriptor])
async def test_a_transport_that_fails_as_it_is_lost_ends_the_connection(monkeypatch, socket):
    lost_through(monkeypatch, socket)
    errors = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: errors.append(context["exception"]))
    gate = Gate()

    @ignoring_the_end
    def script(wire):
        gate.wait()
        wire.reset()

    with Peer(script) as peer:
        ws = await peer.connect(driver="protocol", ping_interval=None)
        reading = asyncio.ensure_future(ws.recv())
        await asyncio.sleep(0)
        gate.open()
        async with asyncio.timeout(10):
            with pytest.raises(fastws.ConnectionClosed):
                await reading
            await ws.wait_closed()
        assert [type(error) for error in errors] == [ZeroDivisionError]


@pytest.mark.skipif(os.getuid() != 0, reason="only root may have a socket hold so much")
async def test_of_a_transport_that_is_lost_no_more_is_read_than_a_socket_holds(monkeypatch):
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.setsockopt(socket.SOL_SOCKET, 32, 128 << 20)  # SO_SNDBUFFORCE
        theirs.setblocking(False)
        ours.setblocking(False)
        held = 0
        with contextlib.suppress(BlockingIOError):
            while held < 40 << 20:
                held += theirs.send(bytes(1 << 16))
        lost_through(monkeypatch, lambda: ours)
        gate = Gate()

        @ignoring_the_end
        def script(wire):
            gate.wait()
            wire.reset()

        with Peer(script) as peer:
            ws = await peer.connect(driver="protocol", ping_interval=None)
            gate.open()
            async with asyncio.timeout(10):
                await ws.wait_closed()
        left = 0
        with contextlib.suppress(BlockingIOError):
            while got := len(ours.recv(1 << 20)):
                left += got
        assert left >= held - (17 << 20) > 16 << 20


@pytest.mark.parametrize("tls", [False, True], ids=["tcp", "tls"])
@pytest.mark.parametrize(
    ("wire_bytes", "said"),
    [
        (text("whole"), "without a Close frame"),
        (frame(2, b"x" * 300)[:3], "in the middle of a frame's header"),
        (frame(2, b"x" * 300)[:52], "in the middle of a frame: 48 of its 300 bytes had come"),
        (frame(1, b"half", fin=False), "in the middle of a message, behind a fragment that was not the last"),
    ],
    ids=["nothing cut", "a header", "a frame", "a message"],
)
async def test_an_end_without_a_close_frame_says_what_it_cut(wire_bytes, said, tls):
    with Peer(lambda wire: wire.send(wire_bytes), tls=tls) as peer:
        async with peer.connect() as ws:
            with pytest.raises(fastws.ConnectionClosedError) as caught:
                while True:
                    await ws.recv()
    assert said in str(caught.value)
    assert str(caught.value.__cause__).endswith(said) or said == "without a Close frame"


@pytest.mark.parametrize(("scheme", "other"), [("ws", "wss"), ("wss", "ws")])
async def test_a_peer_that_hangs_up_without_an_answer_may_speak_the_other_scheme(scheme, other):
    with socket.create_server(("127.0.0.1", 0)) as listener, ThreadPoolExecutor(1) as threads:

        def hang_up():
            sock, _ = listener.accept()
            with sock:
                sock.recv(1 << 16)

        threads.submit(hang_up)
        with pytest.raises(fastws.ConnectError) as caught:
            await fastws.connect(f"{scheme}://127.0.0.1:{listener.getsockname()[1]}/", open_timeout=10)
    assert str(caught.value).endswith(f"use {other}://")
