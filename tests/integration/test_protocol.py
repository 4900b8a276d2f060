"""Connections on a transport of asyncio's, by choice and on loops that watch no descriptors (wire.rs, _loop_io.py)."""

import asyncio
import contextlib
import errno
import gc
import select
import socket
import threading
import weakref

import pytest

import fastws
from fastws import _core
from fastws.errors import NotSent
from fastws.runner import loop_factory
from fastws.testing import End, Send, Server
from peers import SMALL, Gate, Peer, binary, close, closed_again, stalled, text


class Watchless(asyncio.SelectorEventLoop):
    """A loop as asyncio's default on Windows is one: with transports, and without ``add_reader``.

    Its ``sock_connect()`` has need of the others.
    """

    add_reader = asyncio.AbstractEventLoop.add_reader
    add_writer = asyncio.AbstractEventLoop.add_writer


@pytest.fixture(params=["watchless", "asyncio", "uvloop"])
def play(request):
    """Runs a coroutine on a loop of this kind."""
    factory = Watchless if request.param == "watchless" else loop_factory(request.param)

    def play(coroutine):
        async def bounded():
            async with asyncio.timeout(30):
                return await coroutine

        with asyncio.Runner(loop_factory=factory) as runner:
            return runner.run(bounded())

    play.watches = request.param != "watchless"
    return play


def options(play, **more):
    return {"driver": "protocol" if play.watches else "auto", **more}


def resetting(gate):
    """A script that reads nothing, and resets the connection when `gate` is open."""

    def script(wire):
        gate.wait()
        wire.reset()

    return script


def wait_for_reset(fd):
    """Until the kernel knows, and the loop has not looked."""
    poll = select.poll()
    poll.register(fd, 0)
    assert poll.poll(20_000)


@pytest.mark.parametrize("tls", [False, True], ids=["tcp", "tls"])
def test_messages_of_all_sizes_go_and_come(play, tls):
    async def main():
        with Server(tls=tls) as server:
            more = {"tls": fastws.TlsConfig(ca=server.ca_pem)} if tls else {}
            async with fastws.connect(server.url("/echo"), **options(play, **more)) as ws:
                assert ws.driver == "protocol"
                assert ws.remote_address == ("127.0.0.1", server.port)
                for size in (0, 1, 125, 126, 65_535, 65_536, 3_000_000):
                    await ws.send(b"x" * size)
                    assert await ws.recv() == b"x" * size
                assert await (await ws.ping()) > 0
            assert ws.driver == "protocol"
            assert (ws.close_code, ws.fileno()) == (1000, -1)

    play(main())


def test_a_flood_comes_whole_and_in_order_through_pauses(play):
    async def main():
        with Server() as server:
            target = server.url("/blast?n=100000&size=64&seq=1")
            async with fastws.connect(target, **options(play, max_queue=(100, 10))) as ws:
                count = 0
                async for message in ws:
                    assert int.from_bytes(message[:8], "little") == count
                    count += 1
                    if count % 5000 == 0:
                        await asyncio.sleep(0)
                assert count == 100_000

    play(main())


def test_what_a_slow_peer_has_not_taken_waits_in_our_queue_and_arrives(play):
    gate = Gate()

    def script(wire):
        gate.wait()
        return wire.read_to_end()

    async def main():
        with Peer(script, buffers=4096) as peer:
            ws = await peer.connect(**options(play))
            for _ in range(50):
                ws.send_nowait(b"x" * 100_000)
            assert ws.stats().send_queue_bytes > 1_000_000
            gate.open()
            await ws.close()
        frames = peer.results[0]
        assert [len(frame.payload) for frame in frames[:50]] == [100_000] * 50

    play(main())


def test_what_a_transport_refuses_was_not_sent(play, caplog):
    gate = Gate()

    async def main():
        with Peer(resetting(gate)) as peer:
            ws = await peer.connect(**options(play))
            gate.open()
            wait_for_reset(ws.fileno())
            for number in range(1, 13):
                ws.send_nowait(b"x" * 70_000)
                ws.flush()
                assert ws._unsent == (number, number, 0)
                assert ws._has_unsent
            written = ws._written_future()
            assert not written.done()
            with pytest.raises(fastws.ConnectionClosedError, match=r"errno|os error|reset|[Bb]roken"):
                await written
            await ws.wait_closed()
            assert ws._unsent == (12, 12, 0)
            assert ws._errno in (errno.ECONNRESET, errno.EPIPE)

    play(main())
    assert caplog.records == []


def test_what_a_transport_refuses_of_tls_is_not_written(play):
    gate = Gate()

    async def main():
        with Peer(resetting(gate), tls=True) as peer:
            ws = await peer.connect(**options(play))
            gate.open()
            wait_for_reset(ws.fileno())
            for _ in range(3):
                ws.send_nowait("order")
                ws.flush()
            accepted, not_begun, begun = ws._unsent
            assert (accepted, not_begun + begun) == (3, 3)
            with pytest.raises(fastws.ConnectionClosedError):
                await ws._written_future()
            assert ws._unsent == (accepted, not_begun, begun)

    play(main())


def test_what_a_transport_kept_when_it_was_lost_is_maybe_written(play):
    gate = Gate()

    async def main():
        with Peer(resetting(gate), buffers=SMALL) as peer:
            sockopts = ((socket.SOL_SOCKET, socket.SO_SNDBUF, SMALL),)
            ws = await peer.connect(**options(play, sockopts=sockopts))
            while ws._unsent[1:] == (0, 0):
                ws.send_nowait(b"x" * 1000)
                ws.flush()
            assert ws._has_unsent
            assert ws.stats().send_queue_bytes == 0
            accepted, not_begun, begun = ws._unsent
            assert (not_begun, begun) == (0, 1)
            gate.open()
            with pytest.raises(fastws.ConnectionClosedError):
                await ws._written_future()
            assert ws._unsent == (accepted, 0, 1)

    play(main())


@pytest.mark.parametrize("fills", [False, True], ids=["refused", "kept"])
def test_what_came_before_a_write_failed_is_received(play, fills):
    gate = Gate()

    def script(wire):
        gate.wait()
        wire.send(text("last words"), close(1009, "too big"))
        wire.reset()

    async def main():
        with Peer(script, buffers=SMALL) as peer:
            sockopts = ((socket.SOL_SOCKET, socket.SO_SNDBUF, SMALL),)
            ws = await peer.connect(**options(play, sockopts=sockopts))
            while fills and ws._unsent[1:] == (0, 0):
                ws.send_nowait(b"x" * 1000)
                ws.flush()
            gate.open()
            wait_for_reset(ws.fileno())
            ws.send_nowait(b"order")
            assert await ws.recv() == "last words"
            with pytest.raises(fastws.ConnectionClosedError) as raised:
                await ws.recv()
            assert (raised.value.rcvd.code, raised.value.rcvd.reason) == (1009, "too big")
            assert ws._unsent[1] > 0

    play(main())


@pytest.mark.parametrize("policy", ["fail", "keep"])
def test_a_client_knows_what_a_transport_refused(play, policy):
    gate = Gate()

    def collecting(wire):
        return [frame.payload.decode() for frame in wire.answer_close()[:-1]]

    async def main():
        with Peer(resetting(gate), collecting) as peer:
            config = fastws.ClientConfig(on_disconnect_send=policy, ws_config={"driver": "protocol"})
            client = fastws.WebSocketClient(peer.url, retry=fastws.ExponentialBackoff(0.001, 0.002), config=config)
            async with client:
                gate.open()
                wait_for_reset(client._parts.open[0].fileno())
                receipts = [await client.send(f"order {number}", receipt=True) for number in range(3)]
                outcomes = await asyncio.gather(*receipts, return_exceptions=True)
                await client.wait_ready()
                await client.send("last")
        return outcomes, peer.results[1]

    outcomes, received = play(main())
    if policy == "keep":
        assert outcomes == [None] * 3
        assert received == ["order 0", "order 1", "order 2", "last"]
    else:
        assert [type(outcome) for outcome in outcomes] == [NotSent] * 3
        assert received == ["last"]


def test_timers_fire_without_a_descriptor(play):
    async def main():
        with Server() as server:
            async with fastws.connect(server.url("/echo"), **options(play)) as ws:
                await ws.send("one")
                async for batch in ws.batches(max_wait=0.02):
                    assert list(batch) == ["one"]
                    break
            # A peer that says nothing is given up.
            gate = Gate()
            with Peer(stalled(gate)) as peer:
                ws = await peer.connect(**options(play, ping_interval=0.05, ping_timeout=0.05, close_timeout=0.05))
                with pytest.raises(fastws.ConnectionClosedError, match="keepalive ping timeout"):
                    await ws.recv()
                await ws.wait_closed()
                gate.open()

    play(main())


def test_work_that_leaves_the_thread_comes_back(play):
    async def main():
        with Server() as server:
            more = options(play, compression=fastws.Deflate(threshold=0))
            async with fastws.connect(server.url("/echo?deflate=1"), **more) as ws:
                text = "0123456789" * 400_000
                await ws.send(text)
                assert await ws.recv() == text

    play(main())


def test_a_client_reconnects_and_marks_what_lay_between(play):
    async def main():
        with Server() as server:
            server.script("/feed", [Send("a"), End()])
            client = fastws.WebSocketClient(
                server.url("/feed"),
                retry=fastws.ExponentialBackoff(0.001, 0.002),
                config=fastws.ClientConfig(ws_config={"driver": "protocol"}),
            )
            async with client:
                stream = client.stream(markers=True)
                kinds = [type(await stream.recv()).__name__ for _ in range(4)]
            assert kinds == ["Message", "Down", "Outage", "Message"]

    play(main())


def test_a_listener_is_called_and_its_connection_is_held(play):
    class Listener:
        def __init__(self):
            self.got = []
            self.closed = asyncio.get_running_loop().create_future()

        def on_message(self, ws, message):
            self.got.append(message)

        def on_close(self, ws, *_):
            self.closed.set_result(None)

    async def main():
        listener = Listener()
        with Server() as server:
            await fastws.connect(server.url("/blast?n=1000&size=16"), listener=listener, **options(play))
            gc.collect()
            await listener.closed
        assert len(listener.got) == 1000

    play(main())


def test_one_that_nobody_has_any_more_is_closed(play):
    async def main():
        with Peer(lambda wire: wire.read_to_end()) as peer:
            ws = await peer.connect(**options(play))
            gone = weakref.ref(ws)
            with pytest.warns(ResourceWarning, match="unclosed"):
                del ws
                gc.collect()
            assert gone() is None
            await asyncio.sleep(0)
        assert peer.results == [[]]

    play(main())


def test_nothing_stays_open(play, open_fds):
    async def main():
        with Server() as server:
            async with fastws.connect(server.url("/echo"), **options(play)):
                before = open_fds()
                async with fastws.connect(server.url("/echo"), **options(play)) as ws:
                    await ws.send("x")
                    await ws.recv()
                with pytest.raises(fastws.InvalidStatus):
                    await fastws.connect(server.url("/refuse/403"), **options(play))
                with pytest.raises(fastws.DialError):
                    await fastws.connect("ws://127.0.0.1:9/", **options(play))
                await closed_again(open_fds, before)

    play(main())


def test_a_send_from_another_thread_leaves(play):
    async def main():
        with Server() as server:
            async with fastws.connect(server.url("/echo"), **options(play)) as ws:
                thread = threading.Thread(target=lambda: ws.send_threadsafe("from afar"))
                thread.start()
                assert await ws.recv() == "from afar"
                thread.join()

    play(main())


# The loop ends with its transport open, as the program does.
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_what_ends_the_program_ends_it(play):
    class Listener:
        def on_message(self, ws, message):
            raise SystemExit("enough")

    async def main():
        with Peer(lambda wire: (wire.send(binary(b"x")), wire.read_to_end())) as peer:
            await peer.connect(listener=Listener(), **options(play))
            await asyncio.Event().wait()

    with pytest.raises(SystemExit, match="enough"), contextlib.suppress(asyncio.CancelledError):
        play(main())


# The loop ends with its transport open, as the program does.
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_what_ends_the_program_ends_it_on_a_loop_made_of_uvloops():
    uvloop = pytest.importorskip("uvloop")

    class Mine(uvloop.Loop):
        pass

    class Listener:
        def on_message(self, ws, message):
            raise SystemExit("enough")

    async def main():
        with Peer(lambda wire: (wire.send(binary(b"x")), wire.read_to_end())) as peer:
            ws = await peer.connect(listener=Listener(), driver="protocol")
            async with asyncio.timeout(20):
                await ws.wait_closed()

    with (
        pytest.raises(SystemExit, match="enough"),
        contextlib.suppress(asyncio.CancelledError),
        asyncio.Runner(loop_factory=Mine) as runner,
    ):
        runner.run(main())


def test_a_loop_that_watches_nothing_says_so_where_it_is_asked_to():
    async def main():
        with pytest.raises(RuntimeError, match=r'Watchless watches no sockets .* driver="protocol"'):
            await fastws.connect("ws://127.0.0.1:9/", driver="loop")
        with pytest.raises(ValueError, match="busy_poll needs the loop driver"):
            await fastws.connect("ws://127.0.0.1:9/", busy_poll=1e-5)

    with asyncio.Runner(loop_factory=Watchless) as runner:
        runner.run(main())


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"driver": "proactor"}, 'driver must be "auto", "loop" or "protocol"'),
        ({"driver": "protocol", "busy_poll": 1e-5}, "busy_poll needs the socket itself"),
        ({"driver": "protocol", "kernel_timestamps": True}, "kernel_timestamps needs the socket itself"),
    ],
)
def test_what_goes_with_no_transport_is_said(arguments, match):
    with pytest.raises(ValueError, match=match):
        fastws.connect("ws://host/", **arguments)


@pytest.mark.loop_driver("one of the two is the loop driver")
def test_both_drivers_share_a_loop(play):
    if not play.watches:
        pytest.skip("the loop driver needs add_reader")

    async def main():
        with Server() as server:
            url = server.url("/echo")
            async with fastws.connect(url, driver="protocol") as one, fastws.connect(url, driver="loop") as two:
                assert (one.driver, two.driver) == ("protocol", "loop")
                for ws in (one, two):
                    await ws.send(ws.driver)
                    assert await ws.recv() == ws.driver
                assert isinstance(one, _core.Connection)

    play(main())


@pytest.mark.loop_driver("one of the two is the loop driver")
def test_timers_go_on_when_a_loop_connection_has_left(play):
    if not play.watches:
        pytest.skip("the loop driver needs add_reader")

    async def main():
        with Server() as server:
            before = await fastws.connect(server.url("/echo"), ping_interval=0.02)
            await before.close()
            await asyncio.sleep(0.1)  # its moment passes, and the hub leaves the loop
            gate = Gate()
            with Peer(stalled(gate)) as peer:
                ws = await peer.connect(driver="protocol", close_timeout=0.05)
                async with asyncio.timeout(5):
                    await ws.close()
                gate.open()
            assert before.fileno() == -1

    play(main())


def test_a_reader_whose_timer_could_not_be_set_is_in_nobodys_way(play):
    async def main():
        loop = asyncio.get_running_loop()
        if not isinstance(loop, Watchless):
            pytest.skip("the others need no timer of the loop's")
        with Peer(lambda wire: (wire.send(text("a")), wire.answer_close())) as peer:
            async with peer.connect(**options(play)) as ws:
                while ws.stats().receive_queue_messages < 1:
                    await asyncio.sleep(0)

                def fails(*_):
                    raise ZeroDivisionError

                loop.call_later = fails
                with pytest.raises(ZeroDivisionError):
                    await anext(ws.batches(max_wait=0.001, max_messages=2))
                del loop.call_later
                assert await ws.recv() == "a"

    play(main())
