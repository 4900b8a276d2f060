"""What a program brings itself: sockets that are not plain, mask keys, fields of the handshake's own."""

import contextlib
import socket
import ssl
import struct
import threading

import pytest

import peers
from fastws.compat import websocket_client as websocket
from fastws.compat.websocket_client._line import Line
from peers import CLOSE, PING, PONG, TEXT, Peer, Wire

KEY = "k9kFAUWNAMmf5OEMfTlOEA=="


def everything(wire):
    wire.send(
        peers.text("one"),
        peers.frame(PING, b"ping"),
        peers.frame(TEXT, b"fr\xc3", fin=False),
        peers.frame(PONG, b"pong"),
        peers.frame(0, b"\xa4gments"),
        peers.binary(b"x" * 70_000),
    )
    frames = wire.read_frames(3)
    wire.send(peers.close(1001, "away"))
    return frames + wire.read_to_close()


WAYS = {
    "mask key": {"get_mask_key": lambda _: b"abcd"},
    "no host": {"suppress_host": True},
    "connection": {"connection": "Connection: keep-alive, Upgrade"},
    "key": {"header": {"Sec-WebSocket-Key": KEY}},
    "extensions": {"header": ["Sec-WebSocket-Extensions: x-none"]},
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("secure", [False, True])
def test_the_same_comes_the_slow_way(way, secure):
    def script(wire):
        wire.upgrade()
        return everything(wire)

    options = dict(WAYS[way])
    with Peer(script, upgrade=False, tls=secure) as peer:
        sslopt = {"context": ssl.create_default_context(cadata=peers.authority_pem().decode())} if secure else {}
        ws = websocket.WebSocket(options.pop("get_mask_key", None), sslopt=sslopt)
        ws.connect(peer.url, timeout=peers.PATIENCE, **options)
        assert not isinstance(ws.sock, Line)
        assert ws.is_ssl() is secure
        assert [ws.recv(), ws.recv(), ws.recv()] == ["one", "frägments", b"x" * 70_000]
        assert ws.send("tëxt") == 6 + 5
        ws.send_binary(b"y" * 70_000)
        assert ws.recv_data() == (CLOSE, b"\x03\xe9away")
        assert not ws.connected
        ws.shutdown()
    pong, text, binary, close = peer.results[0]
    assert (pong.opcode, pong.payload) == (PONG, b"ping")
    assert (text.payload, binary.payload) == ("tëxt".encode(), b"y" * 70_000)
    assert close.payload == b"\x03\xe8"


def requested(**options):
    def script(wire):
        wire.upgrade()
        return wire.request.decode().split("\r\n"), wire.answer_close()

    with Peer(script, upgrade=False) as peer:
        ws = websocket.WebSocket()
        ws.connect(peer.url, timeout=peers.PATIENCE, **options)
        ws.close()
    return peer.results[0][0]


def test_requests_that_are_not_native():
    assert not any(line.startswith("Host") for line in requested(suppress_host=True))
    assert "Connection: keep-alive, Upgrade" in requested(connection="Connection: keep-alive, Upgrade")
    owned = {"Sec-WebSocket-Key": KEY, "Sec-WebSocket-Version": "13"}
    lines = requested(header=owned, subprotocols=None)
    assert [line for line in lines if line.startswith("Sec-")] == [f"{name}: {value}" for name, value in owned.items()]


def test_mask_keys_of_ones_own():
    with contextlib.ExitStack() as stack:
        ours, theirs = stack.enter_context(socket.socket()), socket.create_server(("127.0.0.1", 0))
        stack.enter_context(theirs)
        ours.connect(theirs.getsockname())
        server, _ = theirs.accept()
        stack.enter_context(server)
        ws = websocket.WebSocket()
        ws.set_mask_key(lambda _: "abcd")
        ws.sock, ws.connected = ours, True
        assert ws.send("Hello") == 11
        assert server.recv(100) == b"\x81\x85abcd)\x07\x0f\x08\x0e"
        server.sendall(peers.frame(CLOSE, struct.pack("!H", 1000)))
        ws.close()
        assert ws.close_frame.data == b"\x03\xe8"


class Wrapped:
    """A socket of a class of its own, as those of SOCKS libraries are."""

    def __init__(self, sock):
        self._sock = sock

    def __getattr__(self, name):
        return getattr(self._sock, name)


def test_sockets_of_other_classes():
    ours, theirs = socket.socketpair()

    def serve():
        wire = Wire(theirs)
        wire.upgrade()
        wire.send(peers.text("hello"))
        wire.answer_close()

    thread = threading.Thread(target=serve)
    thread.start()
    ws = websocket.create_connection("ws://inside/", socket=Wrapped(ours), timeout=peers.PATIENCE)
    assert isinstance(ws.sock, Wrapped)
    assert ws.recv() == "hello"
    ws.close()
    thread.join(peers.PATIENCE)
    ours.close()


def slow(peer, **options):
    return contextlib.closing(websocket.create_connection(peer.url, suppress_host=True, **options))


def test_timeouts():
    gate = peers.Gate()

    def script(wire):
        wire.send(peers.text("half")[:3])
        gate.wait()
        wire.send(peers.text("half")[3:])
        return wire.answer_close()

    with Peer(script) as peer, slow(peer, timeout=peers.PATIENCE) as ws:
        ws.settimeout(0.05)
        for _ in range(2):
            with pytest.raises(websocket.WebSocketTimeoutException):
                ws.recv()
        gate.open()
        ws.settimeout(peers.PATIENCE)
        assert ws.recv() == "half"


@pytest.mark.parametrize(
    ("wrong", "kind"),
    [
        (peers.frame(TEXT, b"\xff"), websocket.WebSocketPayloadException),
        (peers.frame(0, b"nothing to continue"), websocket.WebSocketProtocolException),
        (peers.frame(TEXT, b"a", fin=False) + peers.text("b"), websocket.WebSocketProtocolException),
        (peers.frame(TEXT, b"x", rsv=4), websocket.WebSocketProtocolException),
        (peers.frame(7, b"x"), websocket.WebSocketProtocolException),
        (peers.frame(CLOSE, b"x"), websocket.WebSocketProtocolException),
        (peers.close(1005), websocket.WebSocketProtocolException),
        (peers.frame(PING, b"", fin=False), websocket.WebSocketProtocolException),
    ],
)
def test_a_peer_that_violates(wrong, kind):
    def script(wire):
        wire.send(wrong)
        return wire.read_to_end()

    with Peer(script) as peer, slow(peer, timeout=peers.PATIENCE) as ws:
        with pytest.raises(kind):
            ws.recv()
        ws.shutdown()


def test_a_stream_that_ends():
    with Peer(Wire.end) as peer, slow(peer, timeout=peers.PATIENCE) as ws:
        with pytest.raises(websocket.WebSocketConnectionClosedException, match="Connection to remote host was lost"):
            ws.recv()
        assert ws.sock is None


def test_an_app():
    def script(wire):
        wire.send(peers.text("one"), peers.frame(PING, b"ping"), peers.close(4000, "why"))
        return wire.read_to_end()

    noted = []
    with Peer(script) as peer:
        app = websocket.WebSocketApp(
            peer.url,
            get_mask_key=lambda _: b"abcd",
            on_message=lambda _, message: noted.append(message),
            on_ping=lambda _, payload: noted.append(payload),
            on_close=lambda _, code, reason: noted.append((code, reason)),
        )
        app.run_forever()
    assert noted == ["one", b"ping", (4000, "why")]
