"""What enableTrace shows."""

import ast
import ssl

import pytest

import peers
from fastws.compat import websocket_client as websocket
from peers import PING, Peer
from websocket_client_side import connected, echo


@pytest.fixture
def traced(caplog):
    """What is traced, when it is called."""
    websocket.enableTrace(True)
    yield lambda: [record.getMessage() for record in caplog.records if record.name == "websocket"]
    websocket.enableTrace(False)


@pytest.mark.parametrize("size", [4, 200, 70_000])
@pytest.mark.parametrize("tls", [False, True])
def test_what_is_traced(traced, size, tls):
    with Peer(echo, tls=tls) as peer, connected(peer, sslopt={"cert_reqs": ssl.CERT_NONE} if tls else {}) as ws:
        ws.send("x" * size)
        assert ws.recv() == "x" * size
    said = traced()
    assert said[0] == "--- request header ---"
    assert said[1].startswith("GET / HTTP/1.1\r\n")
    assert "\r\nSec-WebSocket-Key: " in said[1]
    assert said[1].endswith("\r\n\r\n")
    assert said[2:5] == ["-----------------------", "--- response header ---", "HTTP/1.1 101 Switching Protocols"]
    kinds = [line.partition(": ") for line in said[said.index("-----------------------", 3) + 1 :]]
    shown = [(kind, what) for kind, _, what in kinds if not kind.endswith("raw")]
    data = b"x" * size
    assert shown == [
        ("++Sent decoded", f"fin=1 opcode=1 data={data!r}"),
        ("++Rcv decoded", f"fin=1 opcode=1 data={data!r}"),
        ("++Sent decoded", f"fin=1 opcode=8 data={peers.close()[2:]!r}"),
    ]
    [message, close] = [ast.literal_eval(what) for kind, _, what in kinds if kind == "++Sent raw"]
    assert len(message) == size + (6 if size < 126 else 8 if size < 65_536 else 14)
    assert websocket.ABNF.mask(message[-size - 4 : -size], message[-size:]) == data
    assert close[:2] == b"\x88\x82"


def test_a_pong_is_traced_although_nobody_sent_it(traced):
    def script(wire):
        wire.send(peers.frame(PING, b"there?"), peers.text("after"))
        return wire.answer_close()

    with Peer(script) as peer, connected(peer) as ws:
        assert ws.recv() == "after"
    assert "++Sent decoded: fin=1 opcode=10 data=b'there?'" in traced()


def test_a_refusal_is_traced(traced):
    def script(wire):
        wire.read_request()
        wire.send(b"HTTP/1.1 401 Unauthorized\r\nX-Why: rules\r\nContent-Length: 4\r\n\r\nnope")
        wire.end()

    with Peer(script, upgrade=False) as peer, pytest.raises(websocket.WebSocketBadStatusException):
        connected(peer)
    said = traced()
    assert said[1].startswith("GET / HTTP/1.1\r\n")
    assert said[3:] == [
        "--- response header ---",
        "HTTP/1.1 401 Unauthorized",
        "X-Why: rules",
        "Content-Length: 4",
        "-----------------------",
    ]


def test_secrets_of_the_handshake_are_not_traced(traced):
    def script(wire):
        wire.read_request()
        wire.send(b"HTTP/1.1 403 No\r\nSet-Cookie: id=secret\r\nContent-Length: 0\r\n\r\n")
        wire.end()

    with Peer(script, upgrade=False) as peer, pytest.raises(websocket.WebSocketBadStatusException):
        websocket.create_connection(
            f"{peer.url}feed?key=secret", header={"Authorization": "Bearer secret"}, cookie="id=secret", timeout=10
        )
    said = "\n".join(traced())
    assert "GET /feed?*** HTTP/1.1\r\n" in said
    assert "\r\nAuthorization: ***\r\n" in said
    assert "\nSet-Cookie: ***\n" in said
    assert "secret" not in said


def test_a_connection_of_before_is_traced(traced):
    websocket.enableTrace(False)
    with Peer(echo) as peer, connected(peer) as ws:
        websocket.enableTrace(True)
        ws.send("seen")
        assert ws.recv() == "seen"
    said = traced()
    assert "++Sent decoded: fin=1 opcode=1 data=b'seen'" in said
    assert "++Rcv decoded: fin=1 opcode=1 data=b'seen'" in said
