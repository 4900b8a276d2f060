"""What a transport does: sending, closing, exceptions of callbacks, room (picows.py; rust/py's `frame_transport`)."""

import asyncio
import contextlib
import logging
import socket

import pytest

from fastws.compat.picows import WSCloseCode, WSListener, WSMsgType, WSProtocolError, ws_connect
from fastws.runner import loop_factory
from peers import (
    BINARY,
    CLOSE,
    PING,
    PONG,
    TEXT,
    Frame,
    Gate,
    Peer,
    Wire,
    binary,
    close,
    frame,
    ignoring_the_end,
)


class Ours(Exception):
    """One of a user's own."""


def reading(wire):
    return wire.read_to_end()


async def sent(way, act):
    """The frames that a peer gets while `act(transport)` is done, and the connection is closed behind it."""
    with way.peer(reading) as peer:
        transport, _ = await way.connect(WSListener, peer)
        act(transport)
        transport.disconnect()
        await transport.wait_disconnected()
    return peer.results[0]


async def test_frames_leave_in_order_with_all_their_bits(way):
    buffer = bytearray(b"." * 14 + b"reused")

    def act(transport):
        transport.send(WSMsgType.TEXT, "t\u00e9", fin=False, rsv1=True)
        transport.send_ping(b"p")
        transport.send(WSMsgType.CONTINUATION, b"", True, 0, 1, 0)
        transport.send_reuse_external_bytearray(WSMsgType.BINARY, buffer, 14, True, False, False, True)
        transport.send_pong("q")
        transport.send(WSMsgType.BINARY, memoryview(b"abcdef")[::2])
        transport.send(WSMsgType.BINARY, bytearray(b"x" * 100_000))
        transport.send(0xB, None)

    assert await sent(way, act) == [
        Frame(TEXT, "t\u00e9".encode(), fin=False, rsv=4),
        Frame(PING, b"p"),
        Frame(0, b"", rsv=2),
        Frame(BINARY, b"reused", rsv=1),
        Frame(PONG, b"q"),
        Frame(BINARY, b"ace"),
        Frame(BINARY, b"x" * 100_000),
        Frame(0xB, b""),
    ]
    assert buffer == b"." * 14 + b"reused"


async def test_what_cannot_be_sent_is_refused(way):
    def act(transport):
        for wrong, error in ((object(), TypeError), ([b"a"], TypeError)):
            with pytest.raises(error, match="payload"):
                transport.send(WSMsgType.BINARY, wrong)
        for send in (transport.send_ping, transport.send_pong):
            with pytest.raises(ValueError, match="125"):
                send(b"x" * 126)
        with pytest.raises(ValueError, match="opcode"):
            transport.send(16, b"")
        for buffer, offset in ((None, 14), (bytearray(20), 13), (bytearray(20), 21), (bytearray(20), -1)):
            with pytest.raises(ValueError):
                transport.send_reuse_external_bytearray(WSMsgType.BINARY, buffer, offset)
        with pytest.raises(ValueError, match="send_close"):
            transport.send_reuse_external_bytearray(WSMsgType.CLOSE, bytearray(20), 14)
        for code in (1005, 1006, 999, 70_000, -1):
            with pytest.raises(ValueError):
                transport.send_close(code)
        with pytest.raises(UnicodeDecodeError):
            transport.send_close(1000, b"\xff")

    assert await sent(way, act) == []


async def test_nothing_is_sent_behind_a_close_frame(way):
    def act(transport):
        assert transport.close_handshake is None
        transport.send_close(WSCloseCode.GOING_AWAY, "bye")
        assert transport.is_close_frame_sent
        transport.send(WSMsgType.TEXT, b"late")
        transport.send_close(WSCloseCode.OK)

    assert await sent(way, act) == [Frame(CLOSE, b"\x03\xe9bye")]
    assert await sent(way, lambda transport: transport.send_close()) == [Frame(CLOSE, b"")]


async def test_the_listener_answers_a_close_frame_by_itself(way):
    class Answering(WSListener):
        def on_ws_frame(self, transport, frame):
            assert transport.close_handshake.recv.code == frame.get_close_code()
            transport.send(WSMsgType.TEXT, b"still open")
            transport.send_close(4000, frame.get_close_message())

    def script(wire):
        wire.send(close(1000, "why"))
        return wire.read_to_close()

    with way.peer(script) as peer:
        transport, _ = await way.connect(Answering, peer)
        await transport.wait_disconnected()
        assert peer.results[0] == [Frame(TEXT, b"still open"), Frame(CLOSE, b"\x0f\xa0why")]
    handshake = transport.close_handshake
    assert (handshake.recv.code, handshake.recv.reason) == (WSCloseCode.OK, "why")
    assert (handshake.sent.code, handshake.sent.reason) == (4000, "why")
    assert handshake.recv_then_sent


async def test_disconnecting_leaves_nothing_behind_and_may_be_said_again(way):
    with way.peer(reading) as peer:
        told = []

        class Told(WSListener):
            def on_ws_disconnected(self, transport):
                told.append(transport.is_disconnected)

        transport, _ = await way.connect(Told, peer)
        big = b"x" * 3_000_000
        transport.send(WSMsgType.BINARY, big)
        transport.disconnect()
        assert transport.underlying_transport.is_closing()
        transport.disconnect()
        transport.send(WSMsgType.BINARY, b"late")
        assert not transport.is_disconnected
        await transport.wait_disconnected()
        assert transport.is_disconnected
        transport.disconnect(False)
        transport.send(WSMsgType.BINARY, b"late")
        await transport.wait_disconnected()
    assert told == [True]
    assert peer.results[0] == [Frame(BINARY, big)]


async def test_aborting_drops_what_waits(way):
    gate = Gate()

    def script(wire):
        gate.wait()
        count = 0
        with contextlib.suppress(OSError):
            while data := wire.sock.recv(1 << 16):
                count += len(data)
        return count

    with way.peer(script, buffers=4096) as peer:
        transport, _ = await way.connect(WSListener, peer)
        transport.send(WSMsgType.BINARY, b"x" * 8_000_000)
        assert transport.underlying_transport.get_write_buffer_size() > 0
        transport.disconnect(False)
        await transport.wait_disconnected()
        gate.open()
    assert peer.results[0] < 8_000_000


async def test_writing_pauses_above_the_limit_and_goes_on_below_it(way):
    gate = Gate()

    def script(wire):
        gate.wait()
        return len(wire.read_to_end())

    class Writer(WSListener):
        def __init__(self):
            self.calls = []
            self.resumed = asyncio.Event()

        def pause_writing(self):
            self.calls.append("pause")

        def resume_writing(self):
            self.calls.append("resume")
            self.resumed.set()

    with way.peer(script, buffers=4096) as peer:
        transport, writer = await way.connect(Writer, peer)
        underlying = transport.underlying_transport
        underlying.set_write_buffer_limits(2000, 500)
        assert underlying.get_write_buffer_limits() == (500, 2000)
        transport.send(WSMsgType.BINARY, b"x" * 1000)
        count = 1
        while not writer.calls:
            await asyncio.sleep(0)
            transport.send(WSMsgType.BINARY, b"x" * 1000)
            count += 1
        # The loop has no turn until the gate is open: the kernel may take more than it has by now.
        assert underlying.get_write_buffer_size() > 2000
        for _ in range(10):
            transport.send(WSMsgType.BINARY, b"x" * 1000)
        assert writer.calls == ["pause"]
        gate.open()
        await writer.resumed.wait()
        assert writer.calls == ["pause", "resume"]
        assert underlying.get_write_buffer_size() <= 500
        transport.disconnect()
        await transport.wait_disconnected()
    assert peer.results == [count + 10]
    with pytest.raises(ValueError, match="high"):
        underlying.set_write_buffer_limits(1, 2)


async def test_a_listener_without_pause_writing_is_warned_of(way, caplog):
    with way.peer(ignoring_the_end(Wire.read_frame), buffers=4096) as peer:
        transport, _ = await way.connect(WSListener, peer)
        transport.send(WSMsgType.BINARY, b"x" * 8_000_000)
        assert "pause_writing" in caplog.text
        transport.disconnect(False)


@pytest.mark.parametrize("error", [Ours("mine"), WSProtocolError(WSCloseCode.POLICY_VIOLATION, "not so")])
async def test_an_exception_of_a_callback_ends_the_connection_and_is_raised(way, error):
    class Connected(WSListener):
        def on_ws_connected(self, transport):
            raise error

    class Framed(WSListener):
        def on_ws_frame(self, transport, frame):
            raise error

    expected = b"\x03\xf0not so" if isinstance(error, WSProtocolError) else b"\x03\xf3"

    def script(wire):
        wire.send(binary(b"x"))
        return wire.read_to_close()

    for listener in (Connected, Framed):
        with way.peer(script) as peer:
            transport, _ = await way.connect(listener, peer)
            with pytest.raises(type(error)) as caught:
                await transport.wait_disconnected()
            assert caught.value is error
        assert peer.results[0] == [Frame(CLOSE, expected)]


async def test_an_exception_of_on_ws_frame_may_be_let_pass(way, caplog):
    class Failing(WSListener):
        def __init__(self):
            self.count = 0
            self.done = asyncio.Event()

        def on_ws_frame(self, transport, frame):
            self.count += 1
            if self.count == 2:
                self.done.set()
            raise Ours(f"number {self.count}")

    with way.peer(lambda wire: (wire.send(binary(b"1"), binary(b"2")), wire.read_to_end())) as peer:
        transport, failing = await way.connect(Failing, peer, disconnect_on_exception=False)
        await failing.done.wait()
        transport.disconnect()
        await transport.wait_disconnected()
    assert "number 1" in caplog.text


async def test_an_exception_of_on_ws_disconnected_is_raised(way):
    class Failing(WSListener):
        def on_ws_disconnected(self, transport):
            raise Ours("at the end")

    with way.peer(reading) as peer:
        transport, _ = await way.connect(Failing, peer)
        transport.disconnect()
        with pytest.raises(Ours, match="at the end"):
            await transport.wait_disconnected()


def test_what_ends_the_program_is_not_held_up(loop_name):
    class Interrupted(WSListener):
        def on_ws_frame(self, transport, frame):
            raise KeyboardInterrupt

    async def main(peer):
        transport, _ = await ws_connect(Interrupted, peer.url)
        try:
            await transport.wait_disconnected()
        finally:
            transport.disconnect(False)

    with (
        Peer(ignoring_the_end(lambda wire: (wire.send(binary(b"x")), wire.read_frame()))) as peer,
        pytest.raises(KeyboardInterrupt),
        asyncio.Runner(loop_factory=loop_factory(loop_name)) as runner,
    ):
        runner.run(main(peer))


async def test_calls_from_another_thread_are_refused(way):
    with way.peer(reading) as peer:
        transport, _ = await way.connect(WSListener, peer)
        calls = {
            "send": (WSMsgType.TEXT, b"x"),
            "send_ping": (),
            "send_pong": (),
            "send_close": (),
            "disconnect": (),
            "notify_user_specific_pong_received": (),
            "send_reuse_external_bytearray": (WSMsgType.TEXT, bytearray(20), 14),
        }
        for name, arguments in calls.items():
            with pytest.raises(RuntimeError, match=rf"WSTransport\.{name} called from a wrong thread"):
                await asyncio.to_thread(getattr(transport, name), *arguments)
        transport.disconnect()
        await transport.wait_disconnected()
    assert peer.results[0] == []


async def test_the_underlying_transport_tells_of_the_socket_and_writes_raw_bytes(way):
    with way.peer(lambda wire: wire.sock.recv(1)) as peer:
        transport, _ = await way.connect(WSListener, peer)
        assert (transport.is_secure, transport.is_client_side) == (way.secure, True)
        underlying = transport.underlying_transport
        sock = underlying.get_extra_info("socket")
        assert underlying.get_extra_info("peername") == sock.getpeername() == ("127.0.0.1", peer.port)
        assert underlying.get_extra_info("sockname") == sock.getsockname()
        assert underlying.get_extra_info("nothing", 7) == 7
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        assert (sock.family, sock.type, sock.fileno() >= 0) == (socket.AF_INET, socket.SOCK_STREAM, True)
        underlying.writelines([b"\x7f"])
        await transport.wait_disconnected()
        assert sock.fileno() == -1
        with pytest.raises(OSError):
            sock.getsockname()
    assert peer.results == [b"\x7f"]


async def test_reading_can_be_held(way):
    first, second = Gate(), Gate()

    class Counting(WSListener):
        def __init__(self):
            self.seen = []
            self.came = asyncio.Event()

        def on_ws_frame(self, transport, frame):
            self.seen.append(frame.get_payload_as_bytes())
            self.came.set()

    def script(wire):
        first.wait()
        wire.send(binary(b"1"))
        second.open()
        wire.read_to_end()

    with way.peer(script) as peer:
        transport, counting = await way.connect(Counting, peer)
        underlying = transport.underlying_transport
        underlying.pause_reading()
        assert not underlying.is_reading()
        first.open()
        await second.opened()
        for _ in range(20):
            await asyncio.sleep(0.001)
        assert counting.seen == []
        underlying.resume_reading()
        assert underlying.is_reading()
        await counting.came.wait()
        assert counting.seen == [b"1"]
        transport.disconnect()


async def test_what_happens_is_logged(way, caplog):
    caplog.set_level(logging.INFO, logger="picows.mine")
    with way.peer(reading) as peer:
        transport, _ = await way.connect(WSListener, peer, logger_name="mine")
        transport.disconnect()
        await transport.wait_disconnected()
    assert [record.name for record in caplog.records] == ["picows.mine"] * 2
    assert "established" in caplog.messages[0]


async def test_a_frame_of_a_peer_that_resets_is_an_end(way):
    with way.peer(lambda wire: (wire.send(frame(BINARY, b"x")), wire.reset())) as peer:
        transport, _ = await way.connect(WSListener, peer)
        await transport.wait_disconnected()
    assert transport.close_handshake is None
