"""nginx, HAProxy and stunnel in front of servers: what passes, what they cut, what they answer themselves."""

import asyncio
import http
import json
import os
import ssl

import pytest
from websockets.asyncio.server import serve

import fastws
from daemons import free_port
from fronts import FRONTS, front, nginx
from peers import Gate, Peer, authority_pem, ignoring_the_end, numbered, text, until_paused
from real_peers import new_identity

pytestmark = pytest.mark.network

websockets_behind = pytest.mark.parametrize("real", ["websockets"], indirect=True)
in_front = pytest.mark.parametrize(
    ("name", "tls"), [(name, tls) for name in FRONTS for tls in (False, True) if tls or name != "stunnel"]
)
of_http = pytest.mark.parametrize("name", ["nginx", "haproxy"])

MESSAGES = ["text", b"binary", "", b"", "ß" * 70_000, os.urandom(1 << 20)]


async def cut(ws):
    """How a connection ended that ended without a Close frame."""
    with pytest.raises(fastws.ConnectionClosedError) as caught:
        await ws.recv()
    await ws.wait_closed()
    assert (caught.value.code, caught.value.rcvd, ws.close_info.initiator) == (1006, None, None)
    assert type(caught.value.__cause__) is fastws.FastwsError
    return str(caught.value)


# What passes.


@websockets_behind
@in_front
async def test_all_that_is_of_the_connection_passes(real, name, tls, tmp_path):
    with front(name, tmp_path, real.port("deflate")) as before:
        for compression in (None, "deflate"):
            async with before.connect("/echo", tls=tls, compression=compression, subprotocols=["v1.feed"]) as ws:
                assert ws.subprotocol == "v1.feed"
                assert (ws.compression is None) is (compression is None)
                for message in MESSAGES:
                    await ws.send(message)
                    assert await ws.recv() == message
                await ws.send(["a", "b", "ß" * 70_000])
                assert await ws.recv() == "ab" + "ß" * 70_000
                assert 0 < await (await ws.ping(b"ours")) < 10
        async with before.connect("/pings", tls=tls) as ws:
            assert await ws.recv() == "answered"


@websockets_behind
@in_front
async def test_close_codes_and_reasons_pass(real, name, tls, tmp_path):
    with front(name, tmp_path, real.port()) as before:
        identity = new_identity()
        ws = await before.connect(f"/sink?id={identity}", tls=tls)
        await ws.close(4001, "ünïcödé")
        assert (ws.close_code, ws.close_info.initiator, ws.close_info.cause) == (4001, "local", None)
        ended = await real.ended(identity)
        assert (ended["code"], ended["reason"]) == (4001, "ünïcödé")
        async with before.connect("/goodbye?count=50&size=4096&code=4002&reason=enough", tls=tls) as ws:
            for number in range(50):
                assert int.from_bytes((await ws.recv())[:8]) == number
            with pytest.raises(fastws.ConnectionClosedError) as caught:
                await ws.recv()
            assert caught.value.rcvd == fastws.Close(4002, "enough")


@websockets_behind
@of_http
@pytest.mark.parametrize("tls", [False, True])
async def test_the_server_learns_where_we_asked(real, name, tls, tmp_path):
    with front(name, tmp_path, real.port()) as before:
        async with before.connect("/request", tls=tls) as ws:
            assert json.loads(await ws.recv()) == {
                "host": f"127.0.0.1:{before.ports[tls]}",
                "x-forwarded-proto": "https" if tls else "http",
                "x-forwarded-for": "127.0.0.1",
            }


@websockets_behind
@pytest.mark.parametrize("name", FRONTS)
@pytest.mark.parametrize("backend", ["webpki", "openssl"])
async def test_tls_by_each_backend(real, name, backend, tmp_path):
    with front(name, tmp_path, real.port()) as before:
        async with before.connect("/echo", tls=True, backend=backend) as ws:
            for message in MESSAGES:
                await ws.send(message)
                assert await ws.recv() == message
        with pytest.raises(fastws.CertificateError):
            await fastws.connect(before.url(tls=True), tls=backend)


@websockets_behind
@pytest.mark.parametrize(("name", "alpn"), [("nginx", "http2"), ("haproxy", "alpn h2,http/1.1")])
@pytest.mark.parametrize("offered", [(), ("http/1.1",)])
async def test_one_that_speaks_http_2_too_speaks_http_1_with_us(real, name, alpn, offered, tmp_path):
    with front(name, tmp_path, real.port(), alpn=alpn) as before:
        tls = fastws.TlsConfig(ca=authority_pem(), alpn=offered)
        async with fastws.connect(before.url("/echo", tls=True), tls=tls) as ws:
            await ws.send("through")
            assert await ws.recv() == "through"


@in_front
async def test_a_burst_through_its_buffers_waits_for_us(name, tls, tmp_path):
    chunk = text("x" * 1_000) * 64

    def script(wire):
        whole = wire.send_until_blocked(chunk)
        gate.open()
        wire.finish()
        wire.send(numbered(range(10)))
        wire.answer_close()
        return whole + 1

    gate = Gate()
    with Peer(script) as peer, front(name, tmp_path, peer.port) as before:
        async with before.connect(tls=tls, max_queue=16, ping_interval=None) as ws:
            await gate.opened()
            await until_paused(ws)
            count = 0
            while len(message := await ws.recv()) == 1_000:
                count += 1
            assert [message] + [await ws.recv() for _ in range(9)] == [str(number) for number in range(10)]
    assert count == 64 * peer.results[0]


@in_front
async def test_one_message_larger_than_all_buffers_passes_both_ways(name, tls, tmp_path):
    message = os.urandom(12 << 20)

    def script(wire):
        received = wire.read_frame()
        wire.send(text("got it"))
        wire.answer_close()
        return received.payload

    with Peer(script) as peer, front(name, tmp_path, peer.port) as before:
        async with before.connect(tls=tls) as ws:
            await ws.send(message)
            assert await ws.recv() == "got it"
    assert peer.results == [message]


@websockets_behind
@in_front
async def test_a_close_passes_while_we_are_still_sending(real, name, tls, tmp_path):
    with front(name, tmp_path, real.port("small")) as before:
        async with before.connect("/echo", tls=tls) as ws:
            ws.send_nowait(bytes(8 << 20))
            with pytest.raises(fastws.ConnectionClosedError) as caught:
                await ws.recv()
            assert caught.value.rcvd.code == 1009


@websockets_behind
@in_front
async def test_a_crowd_passes(real, name, tls, tmp_path):
    message = os.urandom(100_000)
    with front(name, tmp_path, real.port()) as before:

        async def one():
            async with before.connect("/echo", tls=tls, open_timeout=30) as ws:
                for _ in range(3):
                    await ws.send(message)
                    assert await ws.recv() == message

        async with asyncio.TaskGroup() as tasks:
            for _ in range(50):
                tasks.create_task(one())


# What they cut.


IDLE = 1
"""Seconds: stunnel counts whole ones, and nginx does not move a timer by less than 0.3 s."""


@websockets_behind
@in_front
async def test_an_idle_connection_is_cut_without_a_close_frame(real, name, tls, tmp_path):
    with front(name, tmp_path, real.port(), idle=IDLE) as before:
        ws = await before.connect("/echo", tls=tls, ping_interval=None)
        await ws.send("x")
        assert await ws.recv() == "x"
        said = await cut(ws)
        assert ("reset by peer" if name == "stunnel" else "ended the stream without a Close frame") in said


@websockets_behind
@pytest.mark.parametrize(("name", "tls"), [("nginx", False), ("haproxy", True), ("stunnel", True)])
async def test_keepalive_keeps_it_alive(real, name, tls, tmp_path):
    with front(name, tmp_path, real.port(), idle=IDLE) as before:
        async with before.connect("/echo", tls=tls, ping_interval=IDLE / 10, ping_timeout=10) as ws:
            while ws.stats().pongs_received < 15:
                assert ws.state == fastws.State.OPEN
                await asyncio.sleep(0.01)
            await ws.send("x")
            assert await ws.recv() == "x"


@websockets_behind
@of_http
async def test_a_client_comes_back_after_each_cut_and_says_that_it_was_gone(real, name, tmp_path):
    with front(name, tmp_path, real.port(), idle=IDLE) as before:
        config = fastws.ClientConfig(ping_interval=None, receive_timeout=None)
        async with fastws.WebSocketClient(
            before.url("/burst?count=1&size=8"), retry=fastws.FixedDelay(0.01), config=config
        ) as client:
            stream = client.stream(markers=True)
            kinds = [type(await anext(stream)).__name__ for _ in range(7)]
    assert kinds == ["Message", "Down", "Outage", "Message", "Down", "Outage", "Message"]


@in_front
@pytest.mark.parametrize("end", ["reset", "cut", "half_close"])
async def test_a_server_that_is_gone_is_a_cut(name, tls, end, tmp_path):
    gate = Gate()

    @ignoring_the_end
    def script(wire):
        wire.send(text("hello"))
        gate.wait()
        getattr(wire, end)()
        wire.read_to_end()

    with Peer(script) as peer, front(name, tmp_path, peer.port) as before:
        ws = await before.connect(tls=tls)
        assert await ws.recv() == "hello"
        gate.open()
        await cut(ws)


@websockets_behind
@in_front
async def test_one_that_is_stopped_is_a_cut_and_refuses_from_then_on(real, name, tls, tmp_path):
    with front(name, tmp_path, real.port()) as before:
        ws = await before.connect("/echo", tls=tls)
        await ws.send("x")
        assert await ws.recv() == "x"
        before.process.terminate()
        assert ("TLS stream was cut off" if tls else "ended the stream") in await cut(ws)
        before.process.wait()
        with pytest.raises(fastws.DialError) as caught:
            await before.connect("/echo", tls=tls)
        assert (caught.value.kind, caught.value.is_retryable) == ("refused", True)


@pytest.mark.slow
@pytest.mark.timeout(150)
@websockets_behind
def test_an_nginx_as_it_comes_cuts_after_a_minute_whoever_pings_not(real, run, tmp_path):
    async def main():
        with front("nginx", tmp_path, real.port(), idle=None) as before:
            idle = await before.connect("/echo", ping_interval=None)
            async with before.connect("/echo") as pinging:
                await cut(idle)
                while pinging.stats().pongs_received < 4:
                    assert pinging.state == fastws.State.OPEN
                    await asyncio.sleep(0.1)
                await pinging.send("x")
                assert await pinging.recv() == "x"

    run(main())


# What they answer themselves.


@of_http
@pytest.mark.parametrize("tls", [False, True])
async def test_a_server_that_is_down(name, tls, tmp_path):
    status, word = {"nginx": (502, b"Bad Gateway"), "haproxy": (503, b"No server is available")}[name]
    with front(name, tmp_path, free_port()) as before:
        with pytest.raises(fastws.InvalidStatus, match=f"HTTP {status} {http.HTTPStatus(status).phrase}") as caught:
            await before.connect(tls=tls)
    assert caught.value.response.status_code == status
    assert word in caught.value.response.body
    assert (caught.value.kind, caught.value.is_retryable) == ("upgrade", True)


@of_http
async def test_a_client_waits_until_the_server_is_up(name, tmp_path):
    port, statuses, refused = free_port(), [], asyncio.Event()

    def next_delay(failure):
        statuses.append(failure.cause.response.status_code)
        if len(statuses) == 3:
            refused.set()
        return 0.01

    async def greet(ws):
        await ws.send("hello")
        await ws.wait_closed()

    with front(name, tmp_path, port) as before:
        client = fastws.WebSocketClient(before.url(), retry=fastws.CustomRetry(next_delay))
        running = asyncio.create_task(client.run())
        await refused.wait()
        async with serve(greet, "127.0.0.1", port):
            assert await anext(client.stream()) == "hello"
            await client.shutdown()
            await running
    assert set(statuses) == {502 if name == "nginx" else 503}


@of_http
async def test_a_server_that_says_nothing(name, tmp_path):
    gate = Gate()

    @ignoring_the_end
    def mute(wire):
        gate.wait()

    with Peer(mute, upgrade=False) as peer, front(name, tmp_path, peer.port, idle=0.3) as before:
        with pytest.raises(fastws.InvalidStatus, match="HTTP 504 Gateway Time-out") as caught:
            await before.connect()
        assert caught.value.is_retryable
        gate.open()


@websockets_behind
@pytest.mark.parametrize(
    ("name", "rules"),
    [
        ("nginx", "location /there { return 301 https://127.0.0.1:PORT/echo; }"),
        ("haproxy", "http-request redirect location https://127.0.0.1:PORT/echo code 301 if { path /there }"),
    ],
)
async def test_a_redirect_into_tls_is_followed(real, name, rules, tmp_path, monkeypatch):
    # What a ws:// URI may lead to is judged by the system's authorities.
    (tmp_path / "authority.pem").write_bytes(authority_pem())
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "authority.pem"))
    (tmp_path / "secure").mkdir()
    with front(name, tmp_path / "secure", real.port()) as secure:
        with front(name, tmp_path, real.port(), rules=rules.replace("PORT", str(secure.ports[True]))) as before:
            async with before.connect("/there") as ws:
                assert ws.uri == secure.url("/echo", tls=True)
                await ws.send("through")
                assert await ws.recv() == "through"
            with pytest.raises(fastws.InvalidStatus, match="301") as caught:
                await before.connect("/there", max_redirects=0)
            assert caught.value.response.headers["Location"] == f"https://127.0.0.1:{secure.ports[True]}/echo"


@websockets_behind
async def test_an_nginx_that_was_not_told_of_upgrades(real, tmp_path):
    """It asks the server for something else, which the server says."""
    with nginx(tmp_path, real.port(), idle=30, upgrade="proxy_http_version 1.1;") as before:
        with pytest.raises(fastws.InvalidStatus, match="HTTP 426 Upgrade Required") as caught:
            await before.connect("/echo")
    assert not caught.value.is_retryable


@websockets_behind
async def test_an_nginx_that_wants_a_password(real, tmp_path):
    (tmp_path / "passwords").write_text("user:{PLAIN}hunter2\n")
    rules = f'auth_basic "feeds"; auth_basic_user_file {tmp_path}/passwords;'
    with nginx(tmp_path, real.port(), idle=30, rules=rules) as before:
        async with before.connect("/echo", auth=("user", "hunter2")) as ws:
            await ws.send("through")
            assert await ws.recv() == "through"
        for auth in (None, ("user", "hunter3")):
            with pytest.raises(fastws.InvalidStatus, match="HTTP 401") as caught:
                await before.connect("/echo", auth=auth)
            assert caught.value.response.headers["WWW-Authenticate"] == 'Basic realm="feeds"'
            assert not caught.value.is_retryable


@websockets_behind
async def test_an_nginx_that_wants_a_client_certificate(real, tmp_path):
    from certificates import CLIENT, Authority

    authority = Authority("Clients")
    (tmp_path / "clients.pem").write_bytes(authority.pem)
    rules = f"ssl_client_certificate {tmp_path}/clients.pem; ssl_verify_client on;"
    with nginx(tmp_path, real.port(), idle=30, rules=rules) as before:
        ours, theirs = authority.issue("client", use=CLIENT), Authority("Others").issue("client", use=CLIENT)
        for shown, body in ((ours, None), (theirs, b"certificate error"), (None, b"No required SSL certificate")):
            identity = {} if shown is None else {"certificate": shown.pem, "key": shown.key_pem()}
            opening = fastws.connect(
                before.url("/echo", tls=True), tls=fastws.TlsConfig(ca=authority_pem(), **identity)
            )
            if body is None:
                async with opening as ws:
                    await ws.send("through")
                    assert await ws.recv() == "through"
            else:  # nginx lets everyone in, and says so in HTTP
                with pytest.raises(fastws.InvalidStatus, match="HTTP 400") as caught:
                    await opening
                assert body in caught.value.response.body


@websockets_behind
async def test_an_nginx_that_is_asked_too_often(real, tmp_path):
    rules = "limit_req zone=dials; limit_req_status 429; add_header Retry-After 7 always;"
    limits = "limit_req_zone $remote_addr zone=dials:64k rate=1r/m;"
    with nginx(tmp_path, real.port(), idle=30, rules=rules, limits=limits) as before:
        async with before.connect("/echo"):
            pass
        with pytest.raises(fastws.InvalidStatus, match="HTTP 429") as caught:
            await before.connect("/echo")
        assert (caught.value.is_retryable, caught.value.retry_after, caught.value.suggested_delay) == (True, 7, 7)


async def test_tls_to_a_port_without_and_the_other_way_round(tmp_path):
    with front("nginx", tmp_path, free_port()) as before:
        with pytest.raises(fastws.TlsError):
            await fastws.connect(f"wss://127.0.0.1:{before.ports[False]}/", tls=ssl.create_default_context())
        with pytest.raises(fastws.InvalidStatus, match="HTTP 400") as caught:
            await fastws.connect(f"ws://127.0.0.1:{before.ports[True]}/")
        assert b"plain HTTP request was sent to HTTPS port" in caught.value.response.body


# Without an event loop.


@websockets_behind
@in_front
def test_without_an_event_loop(real, name, tls, tmp_path):
    with front(name, tmp_path, real.port("deflate"), idle=IDLE) as before:
        for compression in (None, "deflate"):
            with before.connect("/echo", tls=tls, by=fastws.sync.connect, compression=compression) as ws:
                for message in MESSAGES:
                    ws.send(message)
                    assert ws.recv(10) == message
                assert 0 < ws.ping(b"ours").result(10) < 10
            assert (ws.close_code, ws.close_info.cause) == (1000, None)
        ws = before.connect("/echo", tls=tls, by=fastws.sync.connect, ping_interval=None)
        with pytest.raises(fastws.ConnectionClosedError) as caught:
            ws.recv(10)
        assert (caught.value.code, caught.value.rcvd) == (1006, None)
