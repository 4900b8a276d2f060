"""The socket under a `WebSocket`: its descriptors, and what its end is."""

import contextlib
import gc
import os
import select
import socket
import threading

import pytest

import peers
from fastws.compat import websocket_client as websocket
from fastws.compat.websocket_client._readiness import Signal
from peers import CLOSE, Gate, Peer, Wire
from websocket_client_side import connected


@pytest.fixture
def is_as_before():
    """Whether nothing is open that was not open before the test."""
    if not os.path.isdir("/proc/self/fd"):
        pytest.skip("the system does not list descriptors")

    def opened():
        gc.collect()
        return set(peers.descriptors().items())

    with Peer() as peer, connected(peer) as ws:
        ws.settimeout(0.01)
        with pytest.raises(websocket.WebSocketTimeoutException):
            ws.recv()  # a thread that has waited once keeps the descriptor that wakes it
    before = opened()
    return lambda: opened() <= before


def test_what_it_is_shown_as():
    with Peer() as peer, connected(peer) as ws:
        sock = ws.sock
        port = sock.getsockname()[1]
        shown = f"family=2, type=1, proto=0, laddr=('127.0.0.1', {port}), raddr=('127.0.0.1', {peer.port})>"
        assert repr(sock) == f"<{type(sock).__module__}.Line fd={socket.socket.fileno(sock)}, {shown}"
        ws.close()
        assert repr(sock) == f"<{type(sock).__module__}.Line [closed] fd=-1, family=2, type=1, proto=0>"


@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
@pytest.mark.parametrize("is_waited_for", [False, True])
@pytest.mark.parametrize("end", ["dropped", "closed", "closed by the peer and dropped"])
def test_it_leaves_no_descriptor(end, is_waited_for, is_as_before):
    def script(wire):
        wire.send(peers.text("one"), peers.close() if "peer" in end else peers.text("two"))
        with contextlib.suppress(OSError):
            wire.read_to_end()

    def use(peer):
        ws = websocket.create_connection(peer.url, timeout=peers.PATIENCE)
        assert not is_waited_for or select.select([ws], [], [], peers.PATIENCE)[0]
        assert ws.recv() == "one"
        assert ws.recv() == ("" if "peer" in end else "two")
        sock = ws.sock
        if end == "closed":
            ws.shutdown()
            return sock
        return None

    with Peer(script) as peer:
        kept = use(peer)
        gc.collect()
    assert is_as_before(), kept


def test_a_signal_leaves_no_descriptor(is_as_before):
    ours, theirs = socket.socketpair()
    fd = ours.fileno()
    with ours, theirs:
        Signal(fd).set(True)
        signal = Signal(fd)
        assert signal.fileno() >= 0
        for _ in range(2):
            signal.close()
        assert signal.fileno() == -1
    assert is_as_before()


def test_closing_lets_the_answer_to_the_peers_close_leave():
    ours, theirs = socket.socketpair()
    is_full, is_answered, has_room = Gate(), Gate(), Gate()
    sent, received = [], []

    def serve():
        wire = Wire(theirs)
        wire.upgrade()
        is_full.wait()
        wire.send(peers.close(4000))
        is_answered.wait()
        received.extend(wire.read_frames(len(sent) - 1))
        has_room.open()
        received.extend(wire.read_to_end())

    theirs.settimeout(peers.PATIENCE)
    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    with ours, theirs:
        ws = websocket.create_connection("ws://inside/", socket=ours, timeout=peers.PATIENCE)
        ws.settimeout(0)
        with pytest.raises(websocket.WebSocketTimeoutException):
            while True:
                sent.append(b"x" * 10_000)
                ws.send_binary(sent[-1])
        is_full.open()
        ws.settimeout(peers.PATIENCE)
        assert ws.recv() == ""
        is_answered.open()
        has_room.wait()
        ws.close()
        thread.join(peers.PATIENCE)
    assert [frame.opcode for frame in received[len(sent) :]] == [CLOSE]


@pytest.mark.parametrize("said", ["bye", ""])
def test_closing_waits_for_the_peers_close_and_not_for_the_end_of_its_stream(said):
    closed = Gate()

    def script(wire):
        frames = wire.read_to_close()
        wire.send(peers.text("not taken"), peers.close(1000 if said else None, said))
        closed.wait()
        return frames

    with Peer(script) as peer:
        ws = websocket.create_connection(peer.url, timeout=peers.PATIENCE)
        ws.close(timeout=None)
        closed.open()
    assert bytes(ws.close_frame.data) == (b"\x03\xe8bye" if said else b"")
    assert [frame.opcode for frame in peer.results[0]] == [CLOSE]


def test_closing_ends_with_the_stream():
    def script(wire):
        wire.read_to_close()
        wire.end()

    with Peer(script) as peer:
        ws = websocket.create_connection(peer.url, timeout=peers.PATIENCE)
        ws.close(timeout=None)
    assert ws.close_frame is None
