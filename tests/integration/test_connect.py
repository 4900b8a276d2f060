"""Opening: the request, the answer, refusals, deadlines and their phases (connect.py)."""

import asyncio
import base64
import contextlib
import gc
import socket
import time
import warnings

import pytest

import fastws
from fastws.testing import Server
from peers import Gate, Peer, Wire, authority_pem, ignoring_the_end, no_descriptor_left, request_of, text

# The request.


async def test_the_request_has_what_rfc_6455_asks_for_and_says_who_we_are():
    with Peer() as peer:
        async with fastws.connect(f"{peer.url}v5/public?depth=5") as ws:
            assert ws.request.path == "/v5/public?depth=5"
    head, headers = request_of(peer)
    assert head == "GET /v5/public?depth=5 HTTP/1.1"
    names = dict(headers)
    assert names["Host"] == f"127.0.0.1:{peer.port}"
    assert names["Upgrade"] == "websocket"
    assert names["Connection"] == "Upgrade"
    assert names["Sec-WebSocket-Version"] == "13"
    assert len(base64.b64decode(names["Sec-WebSocket-Key"])) == 16
    assert names["User-Agent"] == f"fastws/{fastws.__version__}"
    assert "Sec-WebSocket-Extensions" not in names
    assert "Origin" not in names


async def test_a_nonce_is_used_once():
    with Peer() as peer:
        for _ in range(3):
            async with peer.connect():
                pass
    assert len({dict(request_of_wire(wire))["Sec-WebSocket-Key"] for wire in peer._wires}) == 3


def request_of_wire(wire):
    return [tuple(line.split(": ", 1)) for line in wire.request.decode().split("\r\n")[1:]]


async def test_headers_of_the_user_keep_their_order_and_their_duplicates():
    given = [("X-B", "1"), ("x-a", "2"), ("X-B", "3"), ("Cookie", "a=b; c=d"), ("X-Latin", "café")]
    with Peer() as peer:
        async with peer.connect(additional_headers=given, origin="https://example.com") as ws:
            assert ws.request.headers.get_all("x-b") == ["1", "3"]
    raw = peer._wires[0].request.split(b"\r\n")[1:]
    mine = [line for line in raw if line.split(b":")[0].lower() in (b"x-b", b"x-a", b"cookie", b"x-latin")]
    assert mine[:4] == [b"X-B: 1", b"x-a: 2", b"X-B: 3", b"Cookie: a=b; c=d"]
    assert mine[4].startswith(b"X-Latin: caf")
    assert b"Origin: https://example.com" in raw


async def test_host_and_user_agent_can_be_replaced_and_left_out():
    with Peer() as peer:
        async with peer.connect(additional_headers={"Host": "exchange.example"}, user_agent_header="bot/1"):
            pass
        async with peer.connect(user_agent_header=None):
            pass
    first, second = (request_of_wire(wire) for wire in peer._wires)
    assert [value for name, value in first if name == "Host"] == ["exchange.example"]
    assert [value for name, value in first if name == "User-Agent"] == ["bot/1"]
    assert not [value for name, value in second if name == "User-Agent"]


async def test_userinfo_becomes_basic_authorization_and_is_never_shown():
    with Peer() as peer:
        url = peer.url.replace("ws://", "ws://user:p%40ss@") + "feed?token=secret"
        async with fastws.connect(url) as ws:
            assert "secret" not in repr(ws)
            assert "p%40ss" not in repr(ws)
        assert dict(request_of(peer)[1])["Authorization"] == "Basic " + base64.b64encode(b"user:p@ss").decode()
    with pytest.raises(fastws.DialError) as caught:
        await fastws.connect(url)
    assert "secret" not in str(caught.value)
    assert "p%40ss" not in str(caught.value)


# The answer.


@pytest.mark.parametrize("kind", [list, tuple, iter])
async def test_a_subprotocol_is_negotiated(kind):
    with Peer(
        lambda wire: (wire.upgrade(headers="Sec-WebSocket-Protocol: b\r\n"), wire.answer_close()), upgrade=False
    ) as peer:
        async with peer.connect(subprotocols=kind(["a", "b"])) as ws:
            assert ws.subprotocol == "b"
            assert ws.response.status_code == 101
            assert ws.response.headers["upgrade"] == "websocket"
    assert dict(request_of(peer)[1])["Sec-WebSocket-Protocol"] == "a, b"


@pytest.mark.parametrize("status", ["101 Switching Protocols", "101", "101 ", "101 Web Socket Protocol Handshake ☃"])
async def test_any_reason_will_do(status):
    def script(wire):
        wire.upgrade(status=status)
        wire.answer_close()

    with Peer(script, upgrade=False) as peer:
        async with peer.connect():
            pass


@pytest.mark.parametrize(
    ("answer", "match", "fault"),
    [
        (b"HTTP/1.1 101 OK\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n", "Sec-WebSocket-Accept", "accept"),
        (b"HTTP/1.1 101 OK\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: x\r\n\r\n",
         "Sec-WebSocket-Accept", "accept"),
        (b"HTTP/1.1 101 OK\r\nConnection: Upgrade\r\n\r\n", "Upgrade", "answer"),
        (b"HTTP/1.1 101 OK\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n", "Upgrade", "answer"),
        (b"HTTP/1.1 101 OK\r\nUpgrade: websocket\r\nConnection: close\r\n\r\n", "Connection", "answer"),
        (b"SSH-2.0-OpenSSH_9.6\r\n", "HTTP", "not_http"),
        (b"\x16\x03\x01\x02\x00", "HTTP", "not_http"),
        (b"HTTP/1.1 101 OK\r\nno colon\r\n\r\n", "header", "answer"),
        (b"HTTP/1.1 101 OK\r\nX: " + b"y" * 200_000, "header", "too_large"),
        (b"", "the stream ended before the opening handshake was over", "lost"),
        (b"HTTP/1.1 101 OK\r\nUpgr", "the stream ended before the opening handshake was over", "lost"),
    ],
    ids=["no accept", "wrong accept", "no upgrade", "another upgrade", "no connection", "ssh", "tls", "no colon",
         "endless header", "nothing", "cut off"],
)  # fmt: skip
async def test_an_answer_that_is_no_upgrade_is_refused_and_says_why(answer, match, fault, open_fds):
    def script(wire):
        wire.read_request()
        wire.send(answer)
        wire.end()

    async with no_descriptor_left(open_fds):
        with Peer(ignoring_the_end(script), upgrade=False) as peer:
            with pytest.raises(fastws.InvalidHandshake, match=match) as caught:
                await peer.connect()
            assert caught.value.uri == peer.url
            assert (caught.value.phase, caught.value.fault) == ("upgrade", fault)
            assert "127.0.0.1" in str(caught.value)


async def test_a_refusal_shows_no_secrets_and_writes_nothing_to_a_terminal():
    def script(wire):
        wire.read_request()
        body = b"\x1b[31mred\x1b]0;title\x07 \xe2\x80\xae abc"
        wire.send(
            b"HTTP/1.1 302 Found\r\nLocation: https://user:hunter2@host/there?token=hunter2\r\n"
            b"Content-Length: %d\r\n\r\n%b" % (len(body), body)
        )
        wire.end()

    with Peer(ignoring_the_end(script), upgrade=False) as peer:
        with pytest.raises(fastws.InvalidStatus) as caught:
            await peer.connect(max_redirects=0)
    shown = str(caught.value)
    assert "HTTP 302 Found to https://***@host/there?***: \\x1b[31mred" in shown
    assert "hunter2" not in shown
    assert shown.isprintable()
    assert caught.value.response.headers["Location"].endswith("?token=hunter2")


async def test_one_connect_is_one_connection_at_a_time(fastws_server):
    connecting = fastws.connect(fastws_server.url("/echo"))
    async with connecting as first:
        with pytest.raises(RuntimeError, match="call connect"):
            async with connecting:
                pass
        await first.send("still here")
        assert await first.recv() == "still here"
    async with connecting as second:
        assert second is not first
        assert second.state == fastws.State.OPEN
    assert first.state == second.state == fastws.State.CLOSED


async def test_the_request_is_read_back_as_it_was_given(fastws_server):
    async with fastws.connect(fastws_server.url("/echo"), additional_headers={"X-A": "日本é"}) as ws:
        assert ws.request.headers["X-A"] == "日本é"


async def test_a_subprotocol_or_an_extension_that_was_not_asked_for_is_refused():
    for headers, match in (
        ("Sec-WebSocket-Protocol: c\r\n", "subprotocol"),
        ("Sec-WebSocket-Extensions: permessage-deflate\r\n", "extension"),
    ):

        def script(wire, headers=headers):
            wire.upgrade(headers=headers)
            wire.read_to_end()

        with Peer(script, upgrade=False) as peer:
            with pytest.raises(fastws.InvalidHandshake, match=match) as caught:
                await peer.connect(subprotocols=["a", "b"])
            assert caught.value.fault == match


@pytest.mark.parametrize(
    ("target", "status", "body"),
    [
        ("/status/401?body=token+expired&header=WWW-Authenticate:Bearer", 401, b"token expired"),
        ("/status/302?header=Location:wss://elsewhere.example/", 302, b""),
        ("/status/429?header=Retry-After:7", 429, b""),
        ("/status/200?body=hello", 200, b"hello"),
        ("/nowhere", 404, b"no such path"),
    ],
)
async def test_a_refusal_keeps_status_headers_and_body(target, status, body, fastws_server):
    with pytest.raises(fastws.InvalidStatus, match=str(status)) as caught:
        await fastws.connect(fastws_server.url(target), max_redirects=0)
    response = caught.value.response
    assert response.status_code == status
    assert response.body.startswith(body)
    if "header=" in target:
        name, value = target.split("header=")[1].split(":", 1)
        assert response.headers[name] == value
    if body:
        assert body.decode() in str(caught.value)


async def test_the_body_of_a_refusal_is_bounded():
    def script(wire):
        wire.read_request()
        wire.send(b"HTTP/1.1 503 No\r\nContent-Length: 100000000\r\n\r\n")
        for _ in range(1000):
            wire.send(b"x" * 100_000)

    with Peer(ignoring_the_end(script), upgrade=False) as peer:
        with pytest.raises(fastws.InvalidStatus) as caught:
            await peer.connect()
    assert 0 < len(caught.value.response.body) <= 1 << 20


async def test_what_is_glued_to_the_answer_is_delivered_and_in_front():
    def script(wire):
        wire.upgrade(text("1") + text("2") + text("3")[:2])
        wire.send(text("3")[2:])
        wire.close()

    with Peer(script, upgrade=False) as peer:
        async with peer.connect() as ws:
            assert [message async for message in ws] == ["1", "2", "3"]


async def test_an_answer_in_single_bytes_is_one():
    class Drip(Wire):
        def send(self, *chunks):
            for chunk in chunks:
                for at in range(len(chunk)):
                    self.sock.sendall(chunk[at : at + 1])

    def script(wire):
        drip = Drip(wire.sock)
        drip.upgrade(text("x"))
        drip.close()

    with Peer(script, upgrade=False) as peer:
        async with peer.connect() as ws:
            assert await ws.recv() == "x"


# Addresses.


async def test_open_timeout_names_the_phase_upgrade(open_fds):
    gate = Gate()
    async with no_descriptor_left(open_fds):
        with Peer(ignoring_the_end(lambda wire: gate.wait()), upgrade=False) as peer:
            with pytest.raises(fastws.OpenTimeout, match=r"not open within 0\.5 s; the server had not ans") as caught:
                await peer.connect(open_timeout=0.5)
            assert caught.value.phase == "upgrade"
            assert isinstance(caught.value, TimeoutError)
            gate.open()


async def test_open_timeout_names_the_phase_tls():
    gate = Gate()
    with Peer(ignoring_the_end(lambda wire: gate.wait()), upgrade=False) as peer:
        with pytest.raises(fastws.OpenTimeout, match="TLS handshake") as caught:
            tls = fastws.TlsConfig(ca=authority_pem())
            await fastws.connect(peer.url.replace("ws:", "wss:"), tls=tls, open_timeout=1)
        assert caught.value.phase == "tls"
        gate.open()


async def test_open_timeout_names_the_phase_tcp():
    # A listener whose backlog is full does not answer any more.
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        url = f"ws://127.0.0.1:{listener.getsockname()[1]}/"
        fillers = []
        for _ in range(3):
            filler = socket.socket()
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
            fillers.append(filler)
        try:
            with pytest.raises(fastws.OpenTimeout, match="TCP connection") as caught:
                await fastws.connect(url, open_timeout=0.2)
            assert caught.value.phase == "tcp"
        finally:
            for filler in fillers:
                filler.close()


async def test_open_timeout_names_the_phase_dns(monkeypatch):
    from fastws import dial

    async def never(*_):
        await asyncio.Event().wait()

    monkeypatch.setattr(dial, "resolve", never)
    with pytest.raises(fastws.OpenTimeout, match="name was being looked up") as caught:
        await fastws.connect("ws://slow.example/", open_timeout=0.05)
    assert caught.value.phase == "dns"


async def test_opening_may_be_cancelled_and_leaves_nothing(open_fds):
    gate = Gate()

    @ignoring_the_end
    def script(wire):
        gate.wait()

    async with no_descriptor_left(open_fds):
        with Peer(script, upgrade=False) as peer, warnings.catch_warnings():
            warnings.simplefilter("error")
            for turns in range(8):
                task = asyncio.create_task(peer.connect()._open())
                for _ in range(turns):
                    await asyncio.sleep(0)
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
            gc.collect()
            gate.open()


async def test_open_timeout_does_not_outlive_the_opening():
    @ignoring_the_end
    def script(wire):
        wire.upgrade()
        wire.answer_close()

    with Peer(script, upgrade=False) as peer:
        for limit in (0.2, 2):
            # On a machine that others use an opening may take longer than the first.
            with contextlib.suppress(fastws.OpenTimeout):
                async with peer.connect(open_timeout=limit) as ws:
                    await asyncio.sleep(limit + 0.1)
                    await ws.send("still here")
                break
        else:
            pytest.fail("not open within two seconds")


async def test_many_connections_open_at_once():
    with Server() as server:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(fastws.connect(server.url())._open()) for _ in range(100)]
        connections = [task.result() for task in tasks]
        for number, ws in enumerate(connections):
            ws.send_nowait(str(number))
        assert [await ws.recv() for ws in connections] == [str(number) for number in range(100)]
        await asyncio.gather(*(ws.close() for ws in connections))
        assert server.stats().accepted == 100


# Loops.


def test_without_asyncio_it_says_so():
    opening = fastws.connect("ws://127.0.0.1/")._open()
    with pytest.raises(RuntimeError, match="fastws needs asyncio; found no event loop"):
        opening.send(None)


def test_trio_is_named():
    trio = pytest.importorskip("trio", reason="trio is not installed")

    async def main():
        await fastws.connect("ws://127.0.0.1/")

    with pytest.raises(RuntimeError, match="fastws needs asyncio; found trio"):
        trio.run(main)


async def test_iterating_over_connect_says_what_to_write():
    with pytest.raises(TypeError, match="does not reconnect"):
        async for _ in fastws.connect("ws://127.0.0.1/"):
            pass


@pytest.mark.parametrize("answer", ["upgraded", "refused"])
async def test_an_opening_that_is_decided_in_the_deadlines_turn_counts(answer):
    """The loop was blocked past the deadline, and the server's answer lies there when it goes on."""
    asked = Gate()

    @ignoring_the_end
    def script(wire):
        wire.sock.recv(1, socket.MSG_PEEK)
        asked.open()
        if answer == "upgraded":
            wire.upgrade()
            wire.answer_close()
        else:
            wire.read_request()
            wire.send(b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n")

    with Peer(script, upgrade=False) as peer:
        opening = asyncio.ensure_future(asyncio.wait_for(peer.connect(open_timeout=1)._open(), 10))
        await asked.opened()
        time.sleep(1.2)  # blocks the loop, which is what is tested
        [outcome] = await asyncio.gather(opening, return_exceptions=True)
        if isinstance(outcome, fastws.OpenTimeout):
            # uvloop runs timers before it looks at sockets: the time was over first.
            assert type(asyncio.get_running_loop()).__module__.startswith("uvloop")
            assert outcome.phase == "upgrade"
        elif answer == "upgraded":
            assert outcome.state == fastws.State.OPEN
            await outcome.close()
        else:
            assert isinstance(outcome, fastws.InvalidStatus)
