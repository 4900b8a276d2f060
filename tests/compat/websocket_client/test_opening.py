"""How `create_connection` opens: what it asks for, what it takes for an answer, and what it says of others."""

import contextlib
import gc
import re
import socket
import threading
import warnings

import pytest

import peers
from fastws.compat import websocket_client as websocket
from fastws.compat.websocket_client._line import Line
from peers import Gate, Peer, Wire
from websocket_client_side import connected, echo


def test_the_answer_is_told():
    def script(wire):
        wire.upgrade(
            headers="Sec-WebSocket-Protocol: Chat\r\nX-Twice: 1\r\nX-twice: 2\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\n"
        )
        return wire.request, wire.answer_close()

    with Peer(script, upgrade=False) as peer, connected(peer, subprotocols=["other", "Chat"]) as ws:
        assert (ws.getstatus(), ws.status) == (101, 101)
        assert ws.getsubprotocol() == ws.subprotocol == "chat"
        assert ws.headers["x-twice"] == "2"
        assert ws.getheaders()["set-cookie"] == "a=1; b=2"
        assert ws.handshake_response.status == 101


def requested(*, script=None, **options):
    """The lines of the request of a connection with these options."""

    def seen(wire):
        wire.upgrade()
        return wire.request, wire.answer_close()

    with Peer(seen, upgrade=False) as peer, connected(peer, **options):
        place = f"127.0.0.1:{peer.port}"
    lines = peer.results[0][0].decode().split("\r\n")
    return [re.sub("^Sec-WebSocket-Key: .{24}$", "KEY", line.replace(place, "PLACE")) for line in lines]


def test_the_usual_request():
    assert requested() == [
        "GET / HTTP/1.1",
        "Upgrade: websocket",
        "Host: PLACE",
        "Origin: http://PLACE",
        "KEY",
        "Sec-WebSocket-Version: 13",
        "Connection: Upgrade",
    ]


def test_a_request_has_its_headers_in_order():
    own = ["X-One: 1", "Sec-WebSocket-Protocol: chat", "User-Agent: me", "X-Two: 2"]
    lines = requested(header=own, cookie="a=b")
    assert lines[7:] == [*own, "Cookie: a=b"]


@pytest.mark.parametrize("form", [dict, list])
def test_header_fields(form):
    header = {"User-Agent": "me", "X-One": "1", "Connection": "upgrade", "Authorization": "Basic eA=="}
    if form is list:
        header = [f"{name}: {value}" for name, value in header.items()]
    lines = requested(header=header, cookie="a=b; c=d", origin="https://me.example", host="other.example")
    assert lines[2] == "Host: other.example"
    assert {
        "Origin: https://me.example",
        "User-Agent: me",
        "Authorization: Basic eA==",
        "X-One: 1",
        "Cookie: a=b; c=d",
    } <= {*lines}
    assert lines.count("Connection: Upgrade") == 1


def test_subprotocols_of_a_header_field():
    lines = requested(header=["Sec-WebSocket-Protocol: graphql-ws, chat"], suppress_origin=True)
    assert "Sec-WebSocket-Protocol: graphql-ws, chat" in lines
    assert not any(line.startswith("Origin") for line in lines)


def test_a_header_that_is_none_is_refused():
    script = peers.ignoring_the_end(Wire.read_to_end)
    with Peer(script, upgrade=False) as peer, pytest.raises(ValueError, match="control character"):
        connected(peer, header={"X": "a\r\nb"})


def test_a_refusal_says_why():
    def script(wire):
        wire.read_request()
        wire.send(b"HTTP/1.1 403 Forbidden\r\nX-Why: rules\r\nContent-Length: 4\r\n\r\nnope")
        wire.end()

    with Peer(script, upgrade=False) as peer, pytest.raises(websocket.WebSocketBadStatusException) as caught:
        connected(peer)
    error = caught.value
    assert (error.status_code, error.status_message, error.resp_body) == (403, "Forbidden", b"nope")
    assert error.resp_headers["x-why"] == "rules"
    assert str(error).startswith("Handshake status 403 Forbidden -+-+- {")
    assert str(error).endswith("-+-+- nope")


@pytest.mark.parametrize(
    ("answer", "kind", "text"),
    [
        (
            b"HTTP/1.1 101 Switching\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
            websocket.WebSocketException,
            "Invalid",
        ),
        (b"SSH-2.0-nothing\r\n\r\n", websocket.WebSocketException, "Invalid WebSocket Header"),
        (b"", websocket.WebSocketConnectionClosedException, "Connection to remote host was lost."),
    ],
)
def test_answers_that_are_none(answer, kind, text):
    def script(wire):
        wire.read_request()
        wire.send(answer)
        wire.end()

    with Peer(script, upgrade=False) as peer, pytest.raises(kind, match=text):
        connected(peer)


def test_a_subprotocol_that_was_not_asked_for():
    with (
        Peer(peers.ignoring_the_end(Wire.read_to_end)) as peer,
        pytest.raises(websocket.WebSocketException, match="Invalid"),
    ):
        connected(peer, subprotocols=["chat"])


def redirect(to, status=302):
    def script(wire):
        wire.read_request()
        wire.send(f"HTTP/1.1 {status} Elsewhere\r\nLocation: {to}\r\nContent-Length: 0\r\n\r\n".encode())
        wire.end()

    return script


def test_redirects_are_followed():
    with Peer(echo) as there, Peer(redirect(there.url), upgrade=False) as here, connected(here) as ws:
        ws.send("there")
        assert ws.recv() == "there"
        assert ws.status == 101


def test_redirects_have_a_limit():
    with contextlib.ExitStack() as stack:
        here = Peer(upgrade=False)
        here._scripts = (redirect(here.url),)
        stack.enter_context(here)
        with pytest.raises(websocket.WebSocketException, match="Redirect limit exhausted"):
            connected(here, redirect_limit=2)
        assert here.accepted == 3


@pytest.mark.parametrize(("to", "text"), [("http://example.com/", "Invalid redirect target"), ("", "Invalid redirect")])
def test_redirects_to_nowhere(to, text):
    with Peer(redirect(to), upgrade=False) as here, pytest.raises(websocket.WebSocketException, match=text):
        connected(here)


def test_nobody_listens():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        with pytest.raises(ConnectionRefusedError) as caught:
            websocket.create_connection(f"ws://127.0.0.1:{sock.getsockname()[1]}/", timeout=5)
    assert caught.value.remote_ip == "127.0.0.1"


def test_an_address_that_is_none():
    with pytest.raises(websocket.WebSocketAddressException):
        websocket.create_connection("ws://no-such-host.invalid/", timeout=20)


@pytest.mark.parametrize("url", ["example.com", "ws//example.com", "http://example.com", "ws:///path"])
def test_urls_that_are_none(url):
    with pytest.raises(ValueError):
        websocket.create_connection(url)


def test_a_server_that_does_not_answer():
    gate = Gate()
    with Peer(lambda _: gate.wait(), upgrade=False) as peer:
        with pytest.raises(websocket.WebSocketTimeoutException):
            connected(peer, timeout=0.1)
        gate.open()


def test_a_socket_of_ones_own():
    ours, theirs = socket.socketpair()
    done = []

    def serve():
        wire = Wire(theirs)
        wire.upgrade()
        done.append(wire.request)
        echo(wire)

    thread = threading.Thread(target=serve)
    thread.start()
    with contextlib.closing(websocket.create_connection("ws://inside/path", socket=ours, timeout=peers.PATIENCE)) as ws:
        ws.send("by a socket pair")
        assert ws.recv() == "by a socket pair"
        assert isinstance(ws.sock, Line)
    thread.join(peers.PATIENCE)
    assert done[0].startswith(b"GET /path HTTP/1.1\r\nUpgrade: websocket\r\nHost: inside\r\n")
    assert ours.fileno() == -1


def test_cookies_are_kept_for_their_domain():
    def script(wire):
        wire.upgrade(headers="Set-Cookie: kept=1; Domain=cookies.test\r\n")
        return wire.request, wire.answer_close()

    ours = []
    with Peer(script, upgrade=False) as peer:
        for _ in range(2):
            sock = socket.create_connection(("127.0.0.1", peer.port))
            with contextlib.closing(
                websocket.create_connection("ws://cookies.test/", socket=sock, cookie="own=2", timeout=peers.PATIENCE)
            ) as ws:
                ours.append(ws.status)
    first, second = (request.decode() for request, _ in peer.results)
    assert "Cookie: own=2" in first
    assert "Cookie: kept=1; own=2" in second


@pytest.mark.parametrize(
    ("target", "asked"),
    [("a b", "a%20b"), ("?q=ä b", "?q=%C3%A4%20b"), ("a\\b", "a%5Cb"), ("\x7f", "%7F"), ("a%20[b]+c;d=1?e=/", "")],
)
def test_what_a_request_target_cannot_have_is_percent_encoded(target, asked):
    def script(wire):
        wire.upgrade()
        return wire.request, wire.answer_close()

    with Peer(script, upgrade=False) as peer:
        websocket.create_connection(f"{peer.url}{target}", timeout=peers.PATIENCE).close()
    assert peer.results[0][0].startswith(f"GET /{asked or target} HTTP/1.1\r\n".encode())


def test_a_host_that_is_none():
    ours, theirs = socket.socketpair()
    with theirs, pytest.raises(websocket.WebSocketAddressException, match="bad URI"):
        websocket.create_connection("ws://no host/", socket=ours, timeout=1)


def test_a_connection_that_is_forgotten_is_named_with_its_port():
    with Peer(Wire.read_to_end) as peer, warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        websocket.create_connection(peer.url, timeout=peers.PATIENCE)
        gc.collect()
    assert any(f" ws://127.0.0.1:{peer.port}/ " in str(each.message) for each in warned)


@pytest.mark.parametrize("url", [None, 5, b"ws://localhost/"])
def test_a_url_is_text(url):
    with pytest.raises(TypeError, match=f"url is a str such as .*, not {type(url).__name__}"):
        websocket.create_connection(url)
