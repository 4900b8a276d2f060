"""`WebSocket` and `create_connection`, on native connections."""

import contextlib
import select
import socket
import threading

import pytest

import peers
from fastws.compat import websocket_client as websocket
from fastws.compat.websocket_client import _line
from peers import BINARY, CLOSE, PING, PONG, TEXT, Gate, Peer, Wire
from websocket_client_side import connected, echo


@pytest.mark.parametrize("size", [0, 1, 125, 126, 65_535, 65_536, 300_000])
def test_sizes_are_those_of_frames(size):
    header = 6 if size < 126 else 8 if size < 65_536 else 14
    with Peer(echo) as peer, connected(peer) as ws:
        assert ws.send("x" * size) == header + size
        assert ws.recv() == "x" * size
        assert ws.send_binary(bytearray(size)) == header + size
        assert ws.recv() == bytes(size)


def test_ways_to_send():
    with Peer(echo) as peer, connected(peer) as ws:
        assert ws.send("ä") == 8
        assert ws.send_text("text") == 10
        ws.send_bytes(memoryview(b"bytes"))
        ws.send(b"text as bytes")
        ws.send("ä as latin-1", websocket.ABNF.OPCODE_BINARY)
        assert [ws.recv() for _ in range(5)] == [
            "ä",
            "text",
            b"bytes",
            "text as bytes",
            "ä as latin-1".encode("latin-1"),
        ]
        with pytest.raises(UnicodeDecodeError):
            ws.send(b"\xff")


def test_fragments_by_hand():
    abnf = websocket.ABNF
    with Peer(lambda wire: wire.read_frames(4)) as peer, connected(peer) as ws:
        character = "ä".encode()
        ws.send_frame(abnf.create_frame(character[:1], abnf.OPCODE_TEXT, 0))
        ws.ping("between")
        assert ws.send_frame(abnf.create_frame(character[1:], abnf.OPCODE_CONT, 1)) == 7
        ws.send_frame(abnf.create_frame(b"binary", abnf.OPCODE_BINARY))
    frames = [(frame.opcode, frame.fin, frame.payload) for frame in peer.results[0]]
    assert frames == [(TEXT, False, b"\xc3"), (PING, True, b"between"), (0, True, b"\xa4"), (BINARY, True, b"binary")]


def test_reserved_bits_are_sent():
    abnf = websocket.ABNF
    with Peer(lambda wire: wire.read_frame()) as peer, connected(peer) as ws:
        ws.send_frame(abnf(1, 1, 0, 1, abnf.OPCODE_BINARY, data=b"x"))
    assert peer.results == [(BINARY, b"x", True, 5)]


def test_fragments_are_finished_before_another_message():
    abnf = websocket.ABNF
    with Peer(lambda wire: wire.read_frames(3)) as peer, connected(peer) as ws:
        ws.send_frame(abnf.create_frame("one", abnf.OPCODE_TEXT, 0))
        for late in (lambda: ws.send("two"), lambda: ws.send_frame(abnf.create_frame("two", abnf.OPCODE_TEXT))):
            with pytest.raises(ValueError, match="begun"):
                late()
        ws.send_frame(abnf.create_frame(b"", abnf.OPCODE_CONT))
        with pytest.raises(ValueError):
            ws.send_frame(abnf.create_frame(b"", abnf.OPCODE_CONT))
        ws.send("two")
    assert [frame.payload for frame in peer.results[0]] == [b"one", b"", b"two"]


def test_frames_that_are_none_are_refused():
    abnf = websocket.ABNF
    with Peer() as peer, connected(peer) as ws:
        for frame in (
            abnf(2, 0, 0, 0, abnf.OPCODE_TEXT),
            abnf(1, 0, 0, 0, 5),
            abnf(1, opcode=abnf.OPCODE_PING, data="x" * 126),
        ):
            with pytest.raises(ValueError):
                ws.send_frame(frame)


def everything(wire):
    wire.send(
        peers.text("one"),
        peers.frame(PING, b"ping"),
        peers.frame(TEXT, b"fr\xc3", fin=False),
        peers.frame(PONG, b"pong"),
        peers.frame(0, b"\xa4gments"),
        peers.binary(b"two"),
        peers.close(1001, "away"),
    )
    return wire.read_to_close()


def test_messages_only():
    with Peer(everything) as peer, connected(peer) as ws:
        assert [ws.recv() for _ in range(4)] == ["one", "frägments", b"two", ""]
        assert not ws.connected
        with pytest.raises(websocket.WebSocketConnectionClosedException):
            ws.recv()
        assert ws.sock is None
        with pytest.raises(websocket.WebSocketConnectionClosedException):
            ws.send("late")
    pong, close = peer.results[0]
    assert (pong.opcode, pong.payload, close.payload) == (PONG, b"ping", b"\x03\xe9")


def test_data_with_control_frames():
    with Peer(everything) as peer, connected(peer) as ws:
        received = [ws.recv_data(control_frame=True) for _ in range(6)]
    assert received == [
        (TEXT, b"one"),
        (PING, b"ping"),
        (PONG, b"pong"),
        (TEXT, "frägments".encode()),
        (BINARY, b"two"),
        (CLOSE, b"\x03\xe9away"),
    ]


def test_data_without_control_frames():
    with Peer(everything) as peer, connected(peer) as ws:
        opcode, frame = ws.recv_data_frame()
        assert (opcode, frame.fin, frame.data) == (TEXT, 1, b"one")
        assert ws.recv_data() == (TEXT, "frägments".encode())


def test_fragments_one_by_one():
    with Peer(everything) as peer, connected(peer, fire_cont_frame=True) as ws:
        received = [ws.recv_data_frame() for _ in range(4)]
        assert [(opcode, frame.data, frame.fin) for opcode, frame in received] == [
            (TEXT, b"one", 1),
            (TEXT, b"fr\xc3", 0),
            (0, b"\xa4gments", 1),
            (BINARY, b"two", 1),
        ]
        assert ws.recv() == ""


def test_a_subclass_sees_frames():
    class Counting(websocket.WebSocket):
        seen = ()

        def recv_frame(self):
            frame = super().recv_frame()
            self.seen += ((frame.opcode, frame.data),)
            return frame

    with Peer(everything) as peer, connected(peer, class_=Counting) as ws:
        assert [ws.recv(), ws.recv(), ws.recv()] == ["one", "frägments", b"two"]
        assert [opcode for opcode, _ in ws.seen] == [TEXT, PING, TEXT, PONG, 0, BINARY]


def test_iteration():
    with Peer(everything) as peer, connected(peer) as ws:
        iterator = iter(ws)
        assert next(iterator) == "one"
        assert next(ws) == "frägments"
        assert ws.next() == b"two"


def test_timeouts():
    gate = Gate()

    def script(wire):
        gate.wait()
        wire.send(peers.text("late"))
        return wire.answer_close()

    with Peer(script) as peer, connected(peer, timeout=peers.PATIENCE) as ws:
        assert ws.gettimeout() == ws.timeout == peers.PATIENCE
        ws.settimeout(0.05)
        assert ws.gettimeout() == ws.timeout == 0.05
        with pytest.raises(websocket.WebSocketTimeoutException):
            ws.recv()
        ws.settimeout(0)
        with pytest.raises(BlockingIOError):
            ws.recv()
        ws.sock.settimeout(peers.PATIENCE)
        gate.open()
        assert ws.recv() == "late"


def test_the_default_timeout():
    websocket.setdefaulttimeout(7)
    try:
        with Peer() as peer, contextlib.closing(websocket.create_connection(peer.url)) as ws:
            assert ws.gettimeout() == ws.sock.gettimeout() == 7
    finally:
        websocket.setdefaulttimeout(None)
    assert websocket.getdefaulttimeout() is None


def test_closing_keeps_the_answer():
    def script(wire):
        frames = wire.read_to_close()
        wire.send(peers.text("meanwhile"), peers.close(4000, "bye"))
        wire.end()
        return frames

    with Peer(script) as peer:
        ws = websocket.create_connection(peer.url, timeout=peers.PATIENCE)
        ws.close(4001, "enough", timeout=peers.PATIENCE)
        assert ws.close_frame.data == b"\x0f\xa0bye"
        assert ws.sock is None
        ws.close()  # again
    assert peer.results[0][0].payload == b"\x0f\xa1enough"


def test_closing_waits_so_long():
    gate = Gate()

    def script(wire):
        gate.wait()

    with Peer(script) as peer:
        ws = websocket.create_connection(peer.url, timeout=peers.PATIENCE)
        ws.close(timeout=0.05)
        assert ws.close_frame is None
        assert not ws.connected
        gate.open()


@pytest.mark.parametrize("status", [-1, 65_536])
def test_close_codes_that_are_none(status):
    with Peer() as peer, connected(peer) as ws:
        for close in (ws.close, ws.send_close):
            with pytest.raises(ValueError, match="invalid range"):
                close(status)


def test_close_codes_that_may_not_be_sent():
    with Peer(Wire.read_to_end) as peer, connected(peer) as ws:
        with pytest.raises(ValueError):
            ws.send_close(websocket.STATUS_ABNORMAL_CLOSED)
        assert ws.sock is not None


@pytest.mark.parametrize(
    ("status", "reason", "sent"),
    [
        (websocket.STATUS_ABNORMAL_CLOSED, "why", b"\x03\xe8"),
        (4001, "x" * 124, b"\x0f\xa1"),
        (4001, b"\xff", b"\x0f\xa1"),
    ],
)
def test_what_may_not_be_said_keeps_no_close_from_the_peer(status, reason, sent):
    with Peer() as peer, connected(peer) as ws:
        ws.close(status, reason)
        assert ws.sock is None
    assert peer.results[0][-1] == (CLOSE, sent, True, 0)


def test_closing_without_a_code():
    with Peer() as peer, connected(peer) as ws:
        ws.close(websocket.STATUS_STATUS_NOT_AVAILABLE)
        assert ws.close_frame.data == b""
    assert peer.results[0][-1].payload == b""


def test_a_close_frame_without_waiting():
    with Peer(echo) as peer, connected(peer) as ws:
        ws.send_close(1000, "done")
        assert not ws.connected
        assert ws.recv_data() == (CLOSE, b"\x03\xe8done")


def test_shutdown_says_nothing():
    with Peer(Wire.read_to_end) as peer:
        ws = websocket.create_connection(peer.url)
        ws.shutdown()
        assert ws.sock is None
        ws.shutdown()
    assert peer.results == [[]]


def test_abort_ends_a_call_of_another_thread():
    ended = []

    def receive():
        try:
            ws.recv()
        except websocket.WebSocketConnectionClosedException as error:
            ended.append(str(error))

    with Peer(Wire.read_to_end) as peer, connected(peer, timeout=None) as ws:
        thread = threading.Thread(target=receive)
        thread.start()
        ws.abort()
        thread.join(peers.PATIENCE)
        assert ended == ["Connection to remote host was lost."]


def test_several_threads_receive():
    count = 200
    received = []

    def receive():
        received.extend(int(ws.recv()) for _ in range(count))

    def script(wire):
        wire.send(peers.numbered(range(2 * count)))
        return wire.answer_close()

    with Peer(script) as peer, connected(peer) as ws:
        threads = [threading.Thread(target=receive) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(peers.PATIENCE)
    assert sorted(received) == list(range(2 * count))


@pytest.mark.parametrize(
    ("wrong", "kind"),
    [
        (peers.frame(TEXT, b"\xff"), websocket.WebSocketPayloadException),
        (peers.frame(0, b"nothing to continue"), websocket.WebSocketProtocolException),
        (peers.frame(TEXT, b"x", rsv=4), websocket.WebSocketProtocolException),
    ],
)
def test_a_peer_that_violates(wrong, kind):
    def script(wire):
        wire.send(peers.text("before"), wrong)
        return wire.read_to_end()

    with Peer(script) as peer, connected(peer) as ws:
        assert ws.recv() == "before"
        with pytest.raises(kind):
            ws.recv()


def test_a_stream_that_ends():
    def script(wire):
        wire.send(peers.text("before"))
        wire.end()

    with Peer(script) as peer, connected(peer) as ws:
        assert ws.recv() == "before"
        with pytest.raises(websocket.WebSocketConnectionClosedException, match="Connection to remote host was lost"):
            ws.recv()
        assert ws.sock is None
        assert not ws.connected


def test_select_knows_what_was_read_already():
    gate = Gate()

    def script(wire):
        wire.send(peers.numbered(range(5)))
        gate.wait()
        wire.send(peers.text("more"))
        return wire.answer_close()

    def is_readable(timeout):
        return bool(select.select([ws.sock], [], [], timeout)[0])

    with Peer(script) as peer, connected(peer) as ws:
        received = []
        while len(received) < 5:
            assert is_readable(peers.PATIENCE)
            received.append(ws.recv())
        assert received == list("01234")
        assert not is_readable(0)
        gate.open()
        assert is_readable(peers.PATIENCE)
        assert ws.fileno() == ws.sock.fileno() != socket.socket.fileno(ws.sock)
        assert ws.recv() == "more"


def test_select_knows_the_end():
    def script(wire):
        wire.send(peers.text("last"), peers.close())
        return wire.read_to_close()

    with Peer(script) as peer, connected(peer) as ws:
        poll = select.poll()
        poll.register(ws.fileno(), select.POLLIN)
        assert poll.poll(peers.PATIENCE * 1000)
        assert ws.recv() == "last"
        assert poll.poll(peers.PATIENCE * 1000)
        assert ws.recv() == ""
        assert poll.poll(0)
        with pytest.raises(websocket.WebSocketConnectionClosedException):
            ws.recv()


def test_the_socket_is_one():
    option = (socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)
    with Peer(echo) as peer, connected(peer, sockopt=[option]) as ws:
        assert ws.sock.getpeername() == ("127.0.0.1", peer.port)
        assert ws.sock.getsockname()[0] == "127.0.0.1"
        assert ws.sock.getsockopt(*option[:2]) >= 65_536
        assert ws.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1
        assert ws.sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        assert ws.sock.getblocking()
        ws.sock.setblocking(False)
        assert ws.sock.timeout == 0
        for call in (ws.sock.recv, ws.sock.send):
            with pytest.raises(OSError, match="recv_frame"):
                call(b"")
        assert not ws.is_ssl()
        with pytest.raises(ValueError):
            ws.sock.settimeout(-1)


def test_a_context_manager():
    with Peer() as peer:
        with websocket.WebSocket() as ws:
            ws.connect(peer.url)
            assert ws.connected
        assert not ws.connected


def test_without_a_connection():
    ws = websocket.WebSocket()
    with pytest.raises(websocket.WebSocketException, match="not established"):
        ws.fileno()
    for call in (ws.recv, lambda: ws.send("x"), ws.ping):
        with pytest.raises(websocket.WebSocketConnectionClosedException):
            call()
    assert (ws.status, ws.headers, ws.subprotocol) == (None, None, None)
    ws.close()
    ws.abort()


@pytest.mark.parametrize("wrong", [5, 1.5, ["a"], object()])
def test_what_can_not_be_sent_is_named(wrong):
    with Peer(echo) as peer, connected(peer) as ws:
        for send in (ws.send, ws.send_binary, ws.ping):
            with pytest.raises(TypeError, match=f"a payload is str or bytes-like, not {type(wrong).__name__}"):
                send(wrong)
        ws.send("after")
        assert ws.recv() == "after"


@pytest.mark.parametrize(
    ("timeout", "kind", "said"),
    [
        ("x", TypeError, "timeout is seconds .*, or None for no limit; not 'x'"),
        ([1], TypeError, "timeout is seconds"),
        (-1, ValueError, "Timeout value out of range"),
    ],
)
def test_a_timeout_is_seconds(timeout, kind, said):
    ws = websocket.WebSocket()
    for call in (
        lambda: websocket.create_connection("ws://127.0.0.1:1/", timeout=timeout),
        lambda: ws.connect("ws://127.0.0.1:1/", timeout=timeout),
        lambda: ws.settimeout(timeout),
    ):
        with pytest.raises(kind, match=said):
            call()
    assert ws.gettimeout() is None


@pytest.mark.parametrize("stays", [True, False])
def test_behind_the_peers_close_there_is_nothing(stays):
    def script(wire):
        wire.send(peers.close())
        if stays:
            wire.read_to_end()
        else:
            wire.read_frame()
            wire.end()

    with Peer(script) as peer, connected(peer) as ws:
        assert ws.recv() == ""
        with pytest.raises(websocket.WebSocketConnectionClosedException, match="socket is already closed"):
            ws.send("late")
        with pytest.raises(websocket.WebSocketConnectionClosedException, match="Connection to remote host was lost"):
            ws.recv()
        assert not ws.connected


@pytest.mark.parametrize("timeout", [0, 0.05])
@pytest.mark.parametrize("by", ["send_binary", "send_frame"])
def test_what_does_not_leave_in_time_is_a_timeout_and_leaves_with_the_next_calls(timeout, by):
    abnf = websocket.ABNF
    payload = b"x" * 20_000_000
    gate = Gate()
    with Peer(peers.stalled(gate), buffers=peers.SMALL) as peer, connected(peer) as ws:
        ws.settimeout(timeout)
        with pytest.raises(websocket.WebSocketTimeoutException, match="bytes leave with the next calls"):
            getattr(ws, by)(payload if by == "send_binary" else abnf.create_frame(payload, abnf.OPCODE_BINARY))
        gate.open()
        ws.settimeout(peers.PATIENCE)
        ws.send("last")
        ws.close()
    assert [frame.payload for frame in peer.results[0]] == [b"x" * 20_000_000, b"last"]


def test_where_greenlets_stop_is_said_once(monkeypatch):
    class GreenSocket(socket.socket):
        __module__ = "gevent._socket3"

    monkeypatch.setattr(_line, "_has_warned", False)
    monkeypatch.setattr(socket, "socket", GreenSocket)
    with Peer(echo, echo) as peer:
        with pytest.warns(RuntimeWarning, match="gevent has patched socket.socket") as warned, connected(peer):
            pass
        assert [each.category for each in warned].count(RuntimeWarning) == 1  # besides what is collected meanwhile
        with connected(peer) as ws:
            ws.send("hello")
            assert ws.recv() == "hello"
